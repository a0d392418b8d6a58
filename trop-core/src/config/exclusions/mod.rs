//! Editing the `excluded_ports` of one configuration file.

mod document;
mod file;
mod layout;
mod text;

use std::path::{Path, PathBuf};

use super::files::{self, check_named};
use crate::model::{Error, PortSet, Result};
use file::Editing;
use text::Edit;

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

/// Adds ports to the exclusions of a file, which is created if it is missing. With `compact` the list is
/// compacted afterwards if anything was added.
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
        Some(edit)
    })
}

/// Rewrites the exclusions of a file as the fewest sorted entries that name the same ports. With `dry_run`
/// the file is not written, and the result says what would change.
///
/// # Errors
/// [`Error::InvalidArgument`] when there is no such file, [`Error::Config`] when it is not valid,
/// [`Error::Io`]. The file is unchanged then.
pub fn compact_exclusions(path: &Path, dry_run: bool) -> Result<ExclusionEdit> {
    check_named("path", path)?;
    edit(path, dry_run, text::compact)
}

fn edit(path: &Path, dry_run: bool, change: impl FnOnce(&str) -> Option<Edit>) -> Result<ExclusionEdit> {
    let editing = Editing::begin(path)?;
    let whole = files::text(path)?;
    let (mark, text) = whole.split_at(if whole.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 });
    let edit = change(text).ok_or_else(|| Error::Config {
        setting: document::KEY,
        reason: format!(
            "'{}': it is written in a form that trop cannot edit; change it by hand",
            path.display()
        ),
    })?;
    let changed = edit.text.is_some();
    if let Some(text) = edit.text {
        let whole = [mark, &text].concat();
        files::check(path, &whole)?;
        if !dry_run {
            editing.replace(&whole)?;
        }
    }
    Ok(ExclusionEdit { path: path.to_path_buf(), changed, before: edit.before, after: edit.after })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file that breaks any rule is never rewritten, not even where its list alone could be. Traps 87 (an
    /// edit that is refused later), 90 (compacting drops entries).
    #[test]
    fn what_is_invalid_or_beyond_editing_is_refused_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.yaml");
        let ports = "1000".parse().unwrap();
        for bad in [
            "excluded_ports: [0]",
            "excluded_ports: [9..5]",
            "excluded_ports: [{start: 9, end: 5}]",
            "excluded_ports: [{start: 9}]",
            "excluded_ports: [{start: 1, end: 2, step: 1}]",
            "excluded_ports: [70000]",
            "excluded_ports: 5",
            "excluded_ports: [[5]]",
            "excluded_ports: [5]\nexcluded_ports: [6]",
            "excluded_ports: [1, 2]\nunknown: 1",
            "excluded_ports: [1, 2]\nports: {max: 5}",
            "excluded_ports: []\n---\nproject: b",
            "project: [",
            "- 1",
            "just text",
            // Valid YAML that cannot be edited without changing something else.
            "excluded_ports: [&a 5, 6]",
            "excluded_ports: [5, *a]",
            "excluded_ports: &a [5, 6]",
            "excluded_ports: [{start: 0x10, end: 0x20}, 33]",
        ] {
            std::fs::write(&path, bad).unwrap();
            for result in [add_exclusions(&path, &ports, true), compact_exclusions(&path, false)] {
                let error = result.expect_err(bad);
                assert_eq!(error.code(), crate::Code::Config, "{bad}: {error}");
                assert!(error.to_string().contains("x.yaml'"), "{error}");
            }
            assert_eq!(std::fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
