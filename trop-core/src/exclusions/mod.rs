//! `exclude`, `compact-exclusions`: editing the `excluded_ports` of one configuration file.

mod file;
mod target;
mod text;

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::port::{PortRange, PortSet};
use crate::registry::Registry;
use file::Editing;
use text::Edit;

pub use target::ExclusionFile;

/// What to exclude, and where that is written down.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExcludeRequest {
    /// The ports.
    pub ports: PortRange,
    /// The file to edit.
    pub file: ExclusionFile,
    /// Whether ports that somebody has may be excluded.
    pub force: bool,
}

impl ExcludeRequest {
    /// Excludes ports in the project's file, unless somebody has one of them.
    #[must_use]
    pub fn new(ports: PortRange) -> ExcludeRequest {
        ExcludeRequest { ports, file: ExclusionFile::Discovered, force: false }
    }
}

/// What was done with a file's `excluded_ports`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExclusionEdit {
    /// The file.
    pub path: PathBuf,
    /// Whether it was changed, or would be in a dry run.
    pub changed: bool,
    /// The number of entries before; none if there was no list.
    pub before: Option<usize>,
    /// The number of entries afterwards.
    pub after: usize,
}

impl Registry {
    /// Adds ports to the exclusions of one file; ports that are there already are no error.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when a port is reserved or leased and `force` is false, or no file is found;
    /// [`Error::Config`] when the file is not valid; [`Error::Io`]; every error of the database. The file is
    /// unchanged then.
    pub fn exclude(&self, request: &ExcludeRequest) -> Result<ExclusionEdit> {
        let path = request.file.locate(self.data_dir())?;
        // Asked in any case: a database that cannot answer is no "not reserved".
        let reserved = self.taken_ports(request.ports)?;
        let first = reserved.iter().next().filter(|_| !request.force);
        if let Some(port) = first {
            return Err(Error::invalid(
                "port",
                format!("{port} is reserved; release it first, or exclude it all the same by force"),
            ));
        }
        let mut ports = PortSet::default();
        ports.insert_range(request.ports);
        add_exclusions(&path, &ports, false)
    }
}

/// Adds ports to the exclusions of a file, which is made if it is missing, and compacts them afterwards if
/// asked to and something was added.
///
/// # Errors
/// [`Error::Config`] when the file is not valid, [`Error::Io`]. The file is unchanged then.
pub fn add_exclusions(path: &Path, ports: &PortSet, compact: bool) -> Result<ExclusionEdit> {
    edit(path, false, |text| {
        let mut edit = text::add(text, ports)?;
        if let Some(changed) = edit.text.as_deref().filter(|_| compact) {
            let compacted = text::compact(changed)?;
            edit.after = compacted.after;
            edit.text = compacted.text.or(edit.text);
        }
        Ok(edit)
    })
}

/// Rewrites the exclusions of a file as the fewest sorted entries that name the same ports; a dry run only tells.
///
/// # Errors
/// [`Error::InvalidArgument`] when there is no such file, [`Error::Config`] when it is not valid, [`Error::Io`].
/// The file is unchanged then.
pub fn compact_exclusions(path: &Path, dry_run: bool) -> Result<ExclusionEdit> {
    let invalid = |what: &str| Err(Error::invalid("path", format!("'{}' {what}", path.display())));
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => {}
        Ok(_) => return invalid("is not a file"),
        Err(error)
            if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return invalid("was not found");
        }
        Err(error) => return Err(Error::io("inspect", path, error)),
    }
    edit(path, dry_run, text::compact)
}

fn edit(
    path: &Path,
    dry_run: bool,
    change: impl FnOnce(&str) -> Result<Edit, String>,
) -> Result<ExclusionEdit> {
    let refused = |reason: String| Error::Config {
        setting: "excluded_ports",
        reason: format!("'{}': {reason}; the file was not changed", path.display()),
    };
    let editing = Editing::begin(path)?;
    let bytes = editing.read()?.unwrap_or_default();
    let whole =
        String::from_utf8(bytes).map_err(|_| refused("parse error: it is not valid UTF-8".to_owned()))?;
    let (mark, text) = whole.split_at(if whole.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 });
    let edit = change(text).map_err(refused)?;
    let changed = edit.text.is_some();
    if let Some(text) = edit.text.filter(|_| !dry_run) {
        editing.replace(&[mark, &text].concat())?;
    }
    Ok(ExclusionEdit { path: path.to_path_buf(), changed, before: edit.before, after: edit.after })
}
