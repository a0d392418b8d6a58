//! `exclude`: adds ports to the exclusions of a configuration file.

use std::path::PathBuf;

use crate::config::{ExclusionEdit, USER_FILE, add_exclusions};
use crate::model::{Error, PortRange, PortSet, Result};
use crate::registry::Registry;

/// The file whose exclusions are edited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExclusionFile {
    /// The project's `trop.local.yaml`, else its `trop.yaml`, as the registry found them.
    #[default]
    Project,
    /// `config.yaml` in the data directory, which is created if it is missing.
    Global,
}

/// What to exclude, and in which file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExcludeRequest {
    /// The ports.
    pub ports: PortRange,
    /// The file to edit.
    pub file: ExclusionFile,
    /// Whether ports that are reserved or leased may be excluded.
    pub force: bool,
}

impl ExcludeRequest {
    /// Excludes ports in the project's file, unless one of them is reserved or leased.
    #[must_use]
    pub fn new(ports: PortRange) -> ExcludeRequest {
        ExcludeRequest { ports, file: ExclusionFile::Project, force: false }
    }
}

impl Registry {
    /// The path of a file whose exclusions can be edited.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when the registry found no project file.
    pub fn exclusion_file(&self, file: ExclusionFile) -> Result<PathBuf> {
        match file {
            ExclusionFile::Global => Ok(self.data_dir().join(USER_FILE)),
            // Never the user's own file instead: that would change every project's settings.
            ExclusionFile::Project => self.configuration().project_files.last().cloned().ok_or_else(|| {
                Error::invalid(
                    "file",
                    "there is no trop.yaml or trop.local.yaml at or above the working directory; \
                     make one, or use --global for the file of all projects",
                )
            }),
        }
    }

    /// Adds ports to the exclusions of one file; ports that are there already are no error.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when a port is reserved or leased and `force` is false, or no file is
    /// found; [`Error::Config`] when the file is not valid; [`Error::Io`]; every error of the database. The
    /// file is unchanged then.
    pub fn exclude(&self, request: &ExcludeRequest) -> Result<ExclusionEdit> {
        let path = self.exclusion_file(request.file)?;
        // Read in any case: a failure of the database must not be taken for "not reserved".
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
