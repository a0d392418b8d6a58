//! Finds and creates the data directory.

use std::env;
use std::fs::DirBuilder;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use super::default_dir::{self, VARIABLE};
pub(crate) use super::file::{DATABASE, exists};
use crate::fork;
use crate::model::{Error, Result};
use crate::os::file_system::untrusted_file_system;
use crate::os::fs::{create_private, failure, give_to_owner_of_parent};

/// The data directory as configured: the given one, else `TROP_DATA_DIR`, else the default. Creates nothing.
///
/// The default is `~/.trop`. Where that cannot be used, it is the first of these that can: `.trop` in the
/// home directory of the password file, `/run/user/UID/trop`, `/tmp/trop-UID`, `$TMPDIR/trop-UID`. Two
/// processes of a user have the same default if the same of these places can be used by both. It does not
/// change while a process runs, unless `HOME` or the user does, or opening the registry there fails.
///
/// # Errors
/// [`Code::InvalidArgument`](crate::Code::InvalidArgument) when it is empty,
/// [`Code::NoDataDir`](crate::Code::NoDataDir) when none is named and none of the places can be used.
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
        (None, None) => default_dir::default_dir()?,
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
/// [`Error::NoDataDir`] when there is no database and `create` is false, or when the directory was chosen
/// below a shared one and is not this user's alone; [`Error::Io`]; [`Error::Unsupported`] on a file system
/// whose locks cannot be trusted.
pub(crate) fn prepare(directory: &Path, create: bool) -> Result<()> {
    let is_shared = default_dir::is_shared(directory);
    // The next one who needs a directory looks for a place again.
    prepare_in(directory, create, is_shared).inspect_err(|_| default_dir::forget(directory))
}

/// Refuses a directory that was chosen below a shared one and is not this user's alone: nothing may be read
/// from it, not even a configuration file.
///
/// # Errors
/// [`Error::NoDataDir`].
pub(crate) fn ensure_own(directory: &Path) -> Result<()> {
    refuse_foreign(directory, default_dir::is_shared(directory))
        .inspect_err(|_| default_dir::forget(directory))
}

fn prepare_in(directory: &Path, create: bool, is_shared: bool) -> Result<()> {
    // Since it was chosen, somebody else may have created something of that name.
    refuse_foreign(directory, is_shared)?;
    if exists(directory)? {
        return refuse_untrusted(directory);
    }
    if !create {
        return Err(Error::no_database(directory));
    }
    match private_directories(!is_shared).create(directory) {
        Ok(()) => give_to_owner_of_parent(directory),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            // Something else may have the name: a file, a link to nothing.
            if !directory.is_dir() {
                let source = failure(io::ErrorKind::NotADirectory);
                return Err(Error::io("create the data directory", directory, source));
            }
        }
        Err(source) => return Err(Error::io("create the data directory", directory, source)),
    }
    refuse_foreign(directory, is_shared)?;
    refuse_untrusted(directory)?;
    create_database(directory)
}

/// Creates an empty database file.
fn create_database(directory: &Path) -> Result<()> {
    // SQLite would create the file with the mode that the umask allows. The file is created under another
    // name and then linked into place, because closing a descriptor of the database file itself would drop
    // every lock that this process has on it. Its name is not made by `tempfile`, whose random numbers make
    // the standard library allocate a thread description that memory checkers report as possibly lost.
    let name = format!(".trop-new-{:016x}", RandomState::new().hash_one(std::process::id()));
    let path = directory.join(name);
    let create = || create_private(&path).and_then(|_| tempfile::TempPath::try_from_path(&path));
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

fn private_directories(recursive: bool) -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(recursive);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Refuses a directory below a shared one that is not this user's alone.
fn refuse_foreign(directory: &Path, is_shared: bool) -> Result<()> {
    let obstacle = if is_shared { default_dir::shared_obstacle(directory) } else { None };
    obstacle.map_or(Ok(()), |obstacle| {
        let reason = format!("'{}' cannot be used ({obstacle})", directory.display());
        Err(Error::NoDataDir { path: directory.to_path_buf(), reason })
    })
}

fn refuse_untrusted(directory: &Path) -> Result<()> {
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

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// What somebody else can make between the choice and the first use.
    #[test]
    fn below_a_shared_directory_only_a_private_directory_is_used() {
        let shared = tempfile::tempdir().unwrap();
        let (directory, theirs) = (shared.path().join("trop"), shared.path().join("theirs"));
        prepare(&theirs, true).unwrap();
        symlink(&theirs, &directory).unwrap();
        let refused = |directory: &Path, reason: &str| {
            let error = prepare_in(directory, true, true).unwrap_err();
            assert!(matches!(error, Error::NoDataDir { .. }), "{error}");
            assert!(error.to_string().contains(reason), "{error}");
        };
        refused(&directory, "symbolic link");
        fs::remove_file(&directory).unwrap();
        symlink(shared.path().join("nowhere"), &directory).unwrap();
        refused(&directory, "symbolic link");
        assert!(!shared.path().join("nowhere").exists());
        fs::remove_file(&directory).unwrap();

        let error = prepare_in(&directory, false, true).unwrap_err();
        assert!(error.to_string().contains("creating one is switched off"), "{error}");
        prepare_in(&directory, true, true).unwrap();
        assert_eq!(fs::metadata(&directory).unwrap().mode() & 0o7777, 0o700);
        prepare_in(&directory, true, true).unwrap();
        // The directories above are not made.
        refused(&shared.path().join("missing/trop"), "No such file");
        assert!(!shared.path().join("missing").exists());
    }
}
