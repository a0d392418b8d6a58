//! Owners of leases. An owner is an open registry in one process, with the children that process forks. It is
//! alive while a lock is held on a file of its own, which the kernel releases however the last of these
//! processes ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::Path;

use rusqlite::Connection;

use crate::model::{Error, Port, Result};
use crate::os::fs::{is_linked, open_without_waiting};
use crate::store;

/// What the names of owner files begin with.
const PREFIX: &str = "owner-";

/// The longest command line that is stored, in characters.
const MAX_COMMAND: usize = 200;

/// This process as an owner.
pub(super) struct Owner {
    /// Its row, as long as that has this owner's file.
    pub(super) id: i64,
    file: String,
    /// Holds the lock until it is closed. Never unlocked: that would end it for forked children too.
    lock: File,
}

impl Owner {
    /// Makes the file, locks it, and stores the row, inside the caller's write transaction.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where files cannot be locked, [`Error::Io`], and every error of the database.
    pub(super) fn create(connection: &Connection, directory: &Path) -> Result<Owner> {
        let file = format!("{PREFIX}{:016x}", RandomState::new().hash_one(std::process::id()));
        let path = directory.join(&file);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let lock = options.open(&path).map_err(|source| Error::io("create", &path, source))?;
        let id = lock
            .try_lock()
            .map_err(|error| no_locks(&path, &error))
            .and_then(|()| store::insert_owner(connection, &file, std::process::id(), &command()));
        match id {
            Ok(id) => Ok(Owner { id, file, lock }),
            Err(error) => {
                // Nobody knows of it.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Its id and the name of its file. It is stored while the database has a row with both: the database may
    /// have been replaced, or the transaction that stored it undone. None if its file was removed, so that
    /// others take it for dead.
    pub(super) fn key(&self) -> Option<(i64, String)> {
        is_linked(&self.lock).then(|| (self.id, self.file.clone()))
    }

    /// Removes its row, its leases and its file, inside the caller's write transaction.
    pub(super) fn remove(&self, connection: &Connection, directory: &Path) -> Result<()> {
        if store::has_owner(connection, self.id, &self.file)? {
            store::remove_owners(connection, &BTreeSet::from([self.id]))?;
        }
        let _ = fs::remove_file(directory.join(&self.file));
        Ok(())
    }

    /// Keeps the lock until this process ends: the process it was forked from is not done with it.
    pub(super) fn inherit(self) {
        std::mem::forget(self.lock);
    }
}

fn no_locks(path: &Path, error: &TryLockError) -> Error {
    Error::Unsupported {
        reason: format!(
            "leases need a file system with working locks, and '{}' cannot be locked ({error}); \
             reservations work all the same",
            path.display()
        ),
    }
}

/// The command line of this process, for people.
fn command() -> String {
    let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let line = if words.is_empty() {
        std::env::current_exe().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default()
    } else {
        words.join(" ")
    };
    // Shown on terminals.
    line.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_COMMAND)
        .collect()
}

/// Whether the owner with this file is alive. What cannot be told counts as alive; a file that is missing
/// does not.
pub(crate) fn is_alive(directory: &Path, file: &str) -> bool {
    if !is_name(file) {
        return false;
    }
    // Shared, so that others who look at the same moment are not taken for the owner. Closing lets go of it.
    match open_without_waiting(&directory.join(file)) {
        Ok(opened) => opened.try_lock_shared().is_err(),
        Err(error) => error.kind() != ErrorKind::NotFound,
    }
}

/// Whether text from the database is the name of a file in the data directory, and of no other.
fn is_name(file: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    file.starts_with(PREFIX) && file.len() <= 100 && file.bytes().all(is_plain)
}

/// Ends the leases of dead owners, as part of the transaction that wants ports.
pub(crate) struct Reaper<'a> {
    pub(super) connection: &'a Connection,
    pub(super) directory: &'a Path,
    /// In a dry run the copy in memory is changed as the database would be, but the files are not the copy's.
    pub(super) is_dry_run: bool,
}

impl Reaper<'_> {
    /// Looks at up to 8 owners, those that follow `after` and then from the first on, and reaps those that
    /// are dead. Returns the last one. `own` is known to be alive.
    pub(super) fn reap_next(&self, after: i64, own: Option<i64>) -> Result<i64> {
        const MOST: usize = 8;
        let mut dead = BTreeMap::new();
        let (mut last, mut is_second_round) = (after, false);
        for _ in 0..MOST {
            let mut next = store::next_owner(self.connection, last)?;
            if next.is_none() && !is_second_round {
                is_second_round = true;
                next = store::next_owner(self.connection, i64::MIN)?;
            }
            let Some((id, file)) = next.filter(|(id, _)| !is_second_round || *id <= after) else { break };
            last = id;
            if own != Some(id) && !is_alive(self.directory, &file) {
                dead.insert(id, file);
            }
        }
        self.remove(dead)?;
        Ok(last)
    }

    /// Reaps every dead owner. Returns whether a lease ended with one of them.
    pub(crate) fn reap_all(&self) -> Result<bool> {
        let mut dead = BTreeMap::new();
        let mut last = i64::MIN;
        while let Some((id, file)) = store::next_owner(self.connection, last)? {
            last = id;
            if !is_alive(self.directory, &file) {
                dead.insert(id, file);
            }
        }
        let ended = self.remove(dead)? + self.remove_ownerless_leases()?;
        self.remove_orphaned_lock_files(usize::MAX)?;
        Ok(ended > 0)
    }

    /// Ends leases whose owners are not stored. Returns how many there were.
    pub(super) fn remove_ownerless_leases(&self) -> Result<usize> {
        store::remove_owners(self.connection, &store::unknown_owners(self.connection)?)
    }

    /// Frees a port if it is leased by a dead owner. Returns whether it was.
    pub(crate) fn reap_port(&self, port: Port) -> Result<bool> {
        match store::owner_of(self.connection, port)? {
            Some((id, file)) if file.as_deref().is_none_or(|file| !is_alive(self.directory, file)) => {
                Ok(self.remove(BTreeMap::from([(id, file.unwrap_or_default())]))? > 0)
            }
            _ => Ok(false),
        }
    }

    /// Removes files of owners that were never stored, because their process was killed in mid-transaction.
    /// Looks at no more than `most` files.
    pub(super) fn remove_orphaned_lock_files(&self, most: usize) -> Result<()> {
        if self.is_dry_run {
            return Ok(());
        }
        let Ok(entries) = fs::read_dir(self.directory) else { return Ok(()) };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        for name in names.filter(|name| name.starts_with(PREFIX)).take(most) {
            if !store::is_owner_file(self.connection, &name)? && !is_alive(self.directory, &name) {
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
        Ok(())
    }

    /// Removes owners with their leases and files. Returns how many leases ended.
    fn remove(&self, owners: BTreeMap<i64, String>) -> Result<usize> {
        let (ids, files): (BTreeSet<_>, Vec<_>) = owners.into_iter().unzip();
        let ended = store::remove_owners(self.connection, &ids)?;
        for file in files.iter().filter(|file| !self.is_dry_run && is_name(file)) {
            let _ = fs::remove_file(self.directory.join(file));
        }
        Ok(ended)
    }
}
