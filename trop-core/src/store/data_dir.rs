//! Finds and creates the data directory.

use std::env;
use std::fs::{self, DirBuilder, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use crate::fork;
use crate::model::paths;
use crate::model::{Error, Result};
use crate::os::fs::{failure, untrusted_file_system};

/// The database's file name inside the data directory.
pub(crate) const DATABASE: &str = "trop.db";

/// The variable that names the data directory when a caller does not.
const VARIABLE: &str = "TROP_DATA_DIR";

/// The data directory as configured: the given one, else `TROP_DATA_DIR`, else `~/.trop`. Creates nothing.
///
/// # Errors
/// [`Code::InvalidArgument`](crate::Code::InvalidArgument) when it is empty, or there is no home directory.
pub fn data_dir(given: Option<&Path>) -> Result<PathBuf> {
    let variable = if given.is_none() { env::var_os(VARIABLE) } else { None };
    let chosen = match (given, variable) {
        (Some(path), _) => path.to_path_buf(),
        (None, Some(path)) if path.is_empty() => {
            return Err(Error::invalid(
                "data_dir",
                format!("the variable {VARIABLE} is empty; unset it or name a directory"),
            ));
        }
        (None, Some(path)) => PathBuf::from(path),
        (None, None) => {
            let home = paths::home().ok_or_else(|| Error::UnresolvablePath {
                argument: "data_dir",
                path: PathBuf::from("~/.trop"),
                reason: format!("there is no home directory (HOME is not set); set {VARIABLE}"),
            })?;
            home.join(".trop")
        }
    };
    if chosen.as_os_str().is_empty() {
        return Err(Error::invalid("data_dir", "Cannot be empty"));
    }
    if chosen.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(Error::invalid("data_dir", "Cannot contain a NUL character"));
    }
    Ok(chosen)
}

/// Creates the directory and an empty database file, both private to the user, unless there is a database.
///
/// # Errors
/// [`Error::NoDataDir`] when there is no database and `create` is false; [`Error::Io`];
/// [`Error::Unsupported`] on a network file system.
pub(crate) fn prepare(directory: &Path, create: bool) -> Result<()> {
    if exists(directory)? {
        return refuse_network(directory);
    }
    if !create {
        return Err(Error::NoDataDir { path: directory.to_path_buf() });
    }
    private_directories().create(directory).map_err(|source| {
        // Something that is not a directory has the name.
        let taken = source.kind() == io::ErrorKind::AlreadyExists;
        let source = if taken { failure(io::ErrorKind::NotADirectory) } else { source };
        Error::io("create the data directory", directory, source)
    })?;
    refuse_network(directory)?;
    // SQLite would create the file with the mode that the umask allows. The file is created under another
    // name and then linked into place, because closing a descriptor of the database file itself would drop
    // every lock that this process has on it. Its name is not made by `tempfile`, whose random numbers make
    // the standard library allocate a thread description that memory checkers report as possibly lost.
    let name = format!(".trop-new-{:016x}", RandomState::new().hash_one(std::process::id()));
    let path = directory.join(name);
    let create = || private_files().open(&path).and_then(|_| tempfile::TempPath::try_from_path(&path));
    // Not during a fork: a child would take the inherited descriptor for that of another copy of SQLite.
    let empty =
        fork::locked(create).map_err(|source| Error::io("create the database in", directory, source))?;
    let database = directory.join(DATABASE);
    match empty.persist_noclobber(&database) {
        Ok(()) => Ok(()),
        // Another process was faster.
        Err(failure) if failure.error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(failure) => Err(Error::io("create the database", &database, failure.error)),
    }
}

/// Whether there is a database in the directory.
///
/// # Errors
/// [`Error::Io`] when that cannot be determined, [`Error::Corrupt`] when something that is not a file has its
/// name.
pub(crate) fn exists(directory: &Path) -> Result<bool> {
    let database = directory.join(DATABASE);
    match fs::metadata(&database) {
        Ok(metadata) if metadata.is_file() => Ok(true),
        Ok(_) => Err(Error::Corrupt {
            path: database,
            reason: "it is a directory or another thing that is not a file".to_owned(),
        }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(false)
        }
        Err(source) => Err(Error::io("inspect the database", &database, source)),
    }
}

fn private_files() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn private_directories() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

fn refuse_network(directory: &Path) -> Result<()> {
    let found = untrusted_file_system(directory)
        .map_err(|source| Error::io("inspect the data directory", directory, source))?;
    match found {
        None => Ok(()),
        Some(name) => Err(Error::Unsupported {
            reason: format!(
                "the data directory '{}' is on {name}, where locks between programs cannot be trusted; \
                 set {VARIABLE} to a local directory (ports belong to one machine)",
                directory.display()
            ),
        }),
    }
}
