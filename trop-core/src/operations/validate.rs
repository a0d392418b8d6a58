//! `validate`: checks the database.

use crate::model::{Error, Result};
use crate::os::fs::is_missing;
use crate::registry::Registry;
use crate::store;
use crate::store::data_dir;

impl Registry {
    /// Whether the data directory exists. Nothing is created.
    ///
    /// # Errors
    /// [`Error::Io`] when that cannot be determined.
    pub fn has_data_dir(&self) -> Result<bool> {
        match std::fs::metadata(self.data_dir()) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if is_missing(&error) => Ok(false),
            Err(source) => Err(Error::io("inspect the data directory", self.data_dir(), source)),
        }
    }

    /// Checks the database in every respect: version, structure, every row, duplicates, pages.
    ///
    /// It only reads: nothing is created, migrated, repaired or rewritten, whatever the options of the
    /// registry.
    ///
    /// # Errors
    /// [`Error::Corrupt`] for the first fault found, also when there is no database; [`Error::Schema`] for a
    /// version this program does not serve; [`Error::Unsupported`] when the file is not accessible;
    /// [`Error::Busy`]; [`Error::Closed`].
    pub fn validate(&self) -> Result<()> {
        let database = self.data_dir().join(data_dir::DATABASE);
        let check = || {
            // The check opens a connection of its own, which does not know whether the registry was closed.
            if self.is_closed() {
                return Err(Error::Closed);
            }
            if !data_dir::exists(self.data_dir())? {
                let reason = format!("the directory does not contain {}", data_dir::DATABASE);
                return Err(Error::Corrupt { path: database.clone(), reason });
            }
            self.connection().for_inspection().run(|database| database.inspect(store::validate))
        };
        check().map_err(|error| match error {
            Error::Io { action, path, source, .. } => Error::Unsupported {
                reason: format!(
                    "the database cannot be checked: cannot {action} '{}': {source}",
                    path.display()
                ),
            },
            error => error,
        })
    }
}
