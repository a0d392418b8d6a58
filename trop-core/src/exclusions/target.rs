//! Which file an exclusion is written to.

use std::io;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::paths;

/// The file whose exclusions are edited.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExclusionFile {
    /// The nearest `trop.local.yaml`, else `trop.yaml`, at or above the working directory.
    Discovered,
    /// `config.yaml` in the data directory, made if it is missing.
    Global,
    /// This one.
    Path(PathBuf),
}

impl ExclusionFile {
    /// The path of the file.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when no project file is found, [`Error::Io`] without a working directory or
    /// when it cannot be told.
    pub fn locate(&self, data_dir: &Path) -> Result<PathBuf> {
        match self {
            ExclusionFile::Path(path) => return Ok(path.clone()),
            ExclusionFile::Global => return Ok(data_dir.join("config.yaml")),
            ExclusionFile::Discovered => {}
        }
        let start = paths::working_directory()?;
        for directory in start.ancestors() {
            for name in ["trop.local.yaml", "trop.yaml"] {
                let file = directory.join(name);
                match file.metadata() {
                    Ok(_) => return Ok(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(Error::io("inspect", &file, error)),
                }
            }
        }
        // Never the user's own file instead: that would change every project's settings.
        Err(Error::invalid(
            "file",
            format!(
                "there is no trop.yaml or trop.local.yaml at or above '{}'; \
                 make one, or use --global for the file of all projects",
                start.display()
            ),
        ))
    }
}
