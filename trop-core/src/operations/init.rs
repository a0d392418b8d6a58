//! `init`: set up a data directory, or start over in one.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempDir};

use crate::config::{Discovery, RegistryOptions, USER_FILE};
use crate::model::{Error, Result};
use crate::os::fs::is_missing;
use crate::registry::Registry;
use crate::store::Failure;
use crate::store::data_dir::{self, DATABASE};

/// Every setting with its default, commented out.
const TEMPLATE: &str = include_str!("config_template.yaml");

/// How to set up a data directory.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct InitRequest {
    /// Whether an existing database is replaced by an empty one.
    pub overwrite: bool,
    /// Whether a commented `config.yaml` is written, if there is none.
    pub with_config: bool,
}

/// What [`Registry::init`] did, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Initialized {
    /// Whether the data directory was missing.
    pub created_directory: bool,
    /// Whether there was a database, which is replaced.
    pub replaced_database: bool,
    /// Whether `config.yaml` is written; none if that was not asked for.
    pub wrote_config: Option<bool>,
}

impl Registry {
    /// What [`Registry::init`] would do; nothing is created or changed.
    ///
    /// # Errors
    /// [`Error::AlreadyExists`] when there is a database that is not to be replaced, [`Error::Corrupt`] when
    /// something that is not a file has its name, [`Error::NoDataDir`] when the directory was chosen below a
    /// shared one and is not this user's alone, [`Error::Io`].
    pub fn dry_run_init(&self, request: &InitRequest) -> Result<Initialized> {
        let directory = self.data_dir();
        data_dir::ensure_own(directory)?;
        let exists = data_dir::exists(directory)?;
        if exists && !request.overwrite {
            return Err(Error::AlreadyExists { path: directory.join(DATABASE) });
        }
        let path = directory.join(USER_FILE);
        let has_config = match fs::symlink_metadata(&path) {
            Ok(_) => true,
            Err(error) if is_missing(&error) => false,
            Err(source) => return Err(Error::io("inspect the configuration file", &path, source)),
        };
        Ok(Initialized {
            created_directory: !self.has_data_dir()?,
            replaced_database: exists,
            wrote_config: request.with_config.then_some(!has_config),
        })
    }

    /// Makes the data directory, an empty database and, if asked for, a configuration file, whether or not
    /// the registry may create a database by itself.
    ///
    /// A database is replaced in one transaction, so that it is complete, old or new, at any time; one that
    /// is damaged is replaced as a file.
    ///
    /// # Errors
    /// As [`Registry::dry_run_init`]; [`Error::Busy`] while another process has the database open, and every
    /// error of the database. An old database is unchanged then.
    pub fn init(&self, request: &InitRequest) -> Result<Initialized> {
        let mut plan = self.dry_run_init(request)?;
        let directory = self.data_dir();
        if !plan.replaced_database {
            data_dir::prepare(directory, true)?;
        }
        // Written before the database is changed, because nothing should fail afterwards.
        let config = (plan.wrote_config == Some(true)).then(|| write_config_aside(directory)).transpose()?;
        if plan.replaced_database {
            self.replace_database()?;
        } else {
            self.connection().for_creation().run(|database| database.write(|_| Ok(())))?;
        }
        if let Some(config) = config {
            plan.wrote_config = Some(publish_config(config, directory)?);
        }
        Ok(plan)
    }

    fn replace_database(&self) -> Result<()> {
        let directory = self.data_dir();
        let result = self.connection().for_replacement().run(|database| match database.reset() {
            // The exclusive lock on the damaged file is held meanwhile.
            Err(Failure::Error(Error::Corrupt { .. })) => {
                database.forget_files()?;
                Ok(replace_file(directory)?)
            }
            result => result,
        });
        match result {
            // The database could not even be opened, so no other program can use it either.
            Err(Error::Corrupt { .. }) => replace_file(directory),
            result => result,
        }
    }
}

/// Replaces a database that cannot be used by a new file. The files beside it are moved away, because a log
/// that was left would be written into the new database.
fn replace_file(directory: &Path) -> Result<()> {
    let fail = |source| Error::io("replace the database in", directory, source);
    let aside = Builder::new().prefix(".trop-init-").tempdir_in(directory).map_err(fail)?;
    // No settings are read: `init` creates a database even if they forbid that.
    let options = RegistryOptions {
        data_dir: Some(aside.path().to_path_buf()),
        discovery: Discovery::Off,
        variables: false,
        ..RegistryOptions::default()
    };
    Registry::open(options)?.close();

    let mut moved = Vec::new();
    let result = move_companions(directory, &aside, &mut moved)
        .and_then(|()| fs::rename(aside.path().join(DATABASE), directory.join(DATABASE)));
    if let Err(source) = result {
        for (from, to) in moved {
            // If this fails too, nothing else can be done.
            let _ = fs::rename(to, from);
        }
        return Err(fail(source));
    }
    Ok(())
}

fn move_companions(
    directory: &Path,
    aside: &TempDir,
    moved: &mut Vec<(PathBuf, PathBuf)>,
) -> std::io::Result<()> {
    for suffix in ["-wal", "-shm", "-journal"] {
        let from = directory.join(format!("{DATABASE}{suffix}"));
        let to = aside.path().join(format!("old{suffix}"));
        match fs::rename(&from, &to) {
            Ok(()) => moved.push((from, to)),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Writes the configuration file under a temporary name. Only the user can read it, as `tempfile` creates it.
fn write_config_aside(directory: &Path) -> Result<NamedTempFile> {
    let write = || {
        let mut file = Builder::new().prefix(".trop-config-").tempfile_in(directory)?;
        file.write_all(TEMPLATE.as_bytes())?;
        file.as_file().sync_all()?;
        Ok(file)
    };
    write().map_err(|source| Error::io("write the configuration file in", directory, source))
}

/// Gives the configuration file its name. Returns false if another process has created one meanwhile.
fn publish_config(config: NamedTempFile, directory: &Path) -> Result<bool> {
    let path = directory.join(USER_FILE);
    match config.persist_noclobber(&path) {
        Ok(_) => Ok(true),
        Err(failure) if failure.error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(failure) => Err(Error::io("write the configuration file", &path, failure.error)),
    }
}
