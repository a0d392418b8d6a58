//! Replaces the text of a file atomically.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::fork;
use crate::model::{Error, Result};

/// How long to wait for another process that edits a file in the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// A lock that admits one editor at a time to a directory. The file itself is not locked, because it is
/// replaced and the lock would stay with the old one.
pub(super) struct Editing {
    path: PathBuf,
    #[cfg_attr(not(unix), allow(dead_code, reason = "locked until it is dropped"))]
    lock: File,
}

impl Editing {
    /// Waits up to 10 s for other editors. Symbolic links are followed: the file that they point to is
    /// edited.
    pub(super) fn begin(path: &Path) -> Result<Editing> {
        let path = match path.canonicalize() {
            Ok(path) => path,
            Err(error) if error.kind() == io::ErrorKind::NotFound && !path.is_symlink() => path.to_path_buf(),
            Err(error) => return Err(Error::io_of(None, "resolve", path, error)),
        };
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |error| Error::io_of(None, "lock the directory", parent, error);
        #[cfg(unix)]
        let lock = File::open(parent).map_err(failed)?;
        #[cfg(not(unix))]
        let lock = File::create(parent.join(".trop-edit.lock")).map_err(failed)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Editing { path, lock }),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(10));
                }
                Err(TryLockError::WouldBlock) => return Err(failed(io::ErrorKind::TimedOut.into())),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }

    /// Replaces the file, which keeps its permissions and owner; a new one is private to the user.
    pub(super) fn replace(&self, text: &str) -> Result<()> {
        let failed = |error| Error::io_of(None, "write", &self.path, error);
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let mut new =
            fork::locked(|| tempfile::Builder::new().prefix(".trop-").tempfile_in(parent)).map_err(failed)?;
        new.write_all(text.as_bytes()).map_err(failed)?;
        if let Ok(old) = fs::metadata(&self.path) {
            #[cfg(unix)]
            {
                use std::os::unix::fs::MetadataExt;
                // Only root may give a file to another user. For others a failure is harmless: the file stays
                // their own.
                let _ = std::os::unix::fs::fchown(new.as_file(), Some(old.uid()), Some(old.gid()));
            }
            new.as_file().set_permissions(old.permissions()).map_err(failed)?;
        }
        new.as_file().sync_all().map_err(failed)?;
        new.persist(&self.path).map_err(|error| failed(error.error))?;
        #[cfg(unix)]
        // The file is complete in any case. Syncing the directory makes the rename durable where that is
        // supported.
        let _ = self.lock.sync_all();
        Ok(())
    }
}
