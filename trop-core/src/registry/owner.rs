//! Owners of leases. An owner is an open registry in one process and in the children that this process forks.
//! It is alive while it holds a lock on its own lock file. The kernel releases the lock when the last of
//! these processes ends, however it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::{self, File, TryLockError};
use std::hash::{BuildHasher, RandomState};
use std::io::{ErrorKind, Read, Write as _};
use std::path::Path;

use rusqlite::Connection;

use crate::model::{Error, Port, Result};
use crate::os::file_locks::{is_listed_as_locked, processes_with_lock};
use crate::os::fs::{create_private, is_linked, open_without_waiting};
use crate::os::process::{has_ended, identity};
use crate::store;

/// What the names of lock files begin with.
const PREFIX: &str = "owner-";

/// The longest command line that is stored, in characters.
const MAX_COMMAND: usize = 200;

/// This process as an owner.
pub(super) struct Owner {
    /// The id of its row, which is valid as long as that row has this owner's file.
    pub(super) id: i64,
    file: String,
    /// Holds the lock until it is closed. It is never unlocked explicitly, because that would release the
    /// lock for forked children too.
    lock: File,
    /// Whether [`Owner::note_ended`] may have written to the file.
    has_notes: bool,
    /// The data directory with a shared lock, where that can be had: `systemd-tmpfiles` then leaves the files
    /// in it alone, of which it removes those in `/tmp` that were not touched for days.
    _directory_lock: Option<File>,
}

impl Owner {
    /// Creates the file, locks it, and stores the row, inside the caller's write transaction.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where files cannot be locked, [`Error::Io`], and every error of the database.
    pub(super) fn create(connection: &Connection, directory: &Path) -> Result<Owner> {
        let file = new_name();
        let path = directory.join(&file);
        let lock = create_private(&path).map_err(|source| Error::io("create", &path, source))?;
        show_to_users_of_the_database(&lock, directory);
        let id = lock
            .try_lock()
            .map_err(|error| no_locks(&path, &error))
            .and_then(|()| store::insert_owner(connection, &file, std::process::id(), &command()));
        match id {
            Ok(id) => {
                let directory = File::open(directory).ok();
                let directory_lock = directory.filter(|directory| directory.try_lock_shared().is_ok());
                Ok(Owner { id, file, lock, _directory_lock: directory_lock, has_notes: false })
            }
            Err(error) => {
                // The owner was not stored, so no other process knows its file.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    /// Returns its id and the name of its file. The owner is stored only if the database has a row with both,
    /// because the database may have been replaced, or the transaction rolled back that stored it. Returns
    /// `None` if the file was removed, because other processes then take the owner for dead.
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

    /// Appends the serial numbers of leases that have ended and are still in the database. What cannot be
    /// written is left out: these leases end with the next change of their registry, or with the owner.
    pub(super) fn note_ended(&mut self, serials: impl IntoIterator<Item = i64>) {
        let mut notes = String::new();
        for serial in serials {
            // Each has a line of its own even after one that was cut off.
            let _ = write!(notes, "\n{serial:016x}\n");
        }
        self.has_notes = true;
        let _ = (&self.lock).write_all(notes.as_bytes());
    }

    /// Removes these notes, once the leases are no longer in the database.
    pub(super) fn clear_notes(&mut self) {
        if self.has_notes {
            self.has_notes = self.lock.set_len(0).is_err();
        }
    }
}

/// A name that no other owner has, ever. It tells which process has made it, so that others can tell whether
/// that one has ended although a child keeps the lock, or although they may not open the file.
fn new_name() -> String {
    let random = RandomState::new().hash_one(std::process::id());
    match identity() {
        Some(process) => format!("{PREFIX}{random:016x}-{process}"),
        None => format!("{PREFIX}{random:016x}"),
    }
}

/// Whoever may read the database may read the file of an owner, which is how its lock is tested. Without that
/// another user of a shared directory could only guess.
#[cfg(unix)]
fn show_to_users_of_the_database(lock: &File, directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let Ok(database) = fs::metadata(directory.join(store::data_dir::DATABASE)) else { return };
    let readers = database.permissions().mode() & 0o044;
    if readers != 0 {
        // If it fails, they have to guess.
        let _ = lock.set_permissions(fs::Permissions::from_mode(0o600 | readers));
    }
}

#[cfg(not(unix))]
fn show_to_users_of_the_database(_lock: &File, _directory: &Path) {}

/// Whether the process that has made an owner's file has ended. None if that cannot be told.
pub(crate) fn maker_has_ended(file: &str) -> Option<bool> {
    let (_, process) = file.strip_prefix(PREFIX)?.split_once('-')?;
    has_ended(process)
}

/// The processes that keep owners alive, as far as they can be found: by the owner's file, the lowest id.
pub(crate) fn keepers() -> BTreeMap<String, u32> {
    processes_with_lock(is_name)
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
    // Control characters are replaced, because the text is shown on terminals.
    line.chars()
        .map(|character| if character.is_control() { ' ' } else { character })
        .take(MAX_COMMAND)
        .collect()
}

/// What the lock file of an owner tells.
enum OwnerState {
    /// It is missing or not locked, or the name is not that of a lock file.
    Dead,
    /// It is locked, or that cannot be determined. The file, if it can be opened.
    Alive(Option<File>),
}

impl OwnerState {
    fn read(directory: &Path, file: &str) -> OwnerState {
        if !is_name(file) {
            return OwnerState::Dead;
        }
        // A shared lock, so that processes which check at the same moment do not take each other for the
        // owner. Closing the file releases it.
        match open_without_waiting(&directory.join(file)) {
            Ok(opened) if opened.try_lock_shared().is_ok() => OwnerState::Dead,
            Ok(opened) => OwnerState::Alive(Some(opened)),
            Err(error) if error.kind() == ErrorKind::NotFound => OwnerState::Dead,
            // The lock may be in the list of the system, but need not. Without it, the process that has made
            // the file decides.
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied
                    && maker_has_ended(file) == Some(true)
                    && !is_listed_as_locked(&directory.join(file)) =>
            {
                OwnerState::Dead
            }
            Err(_) => OwnerState::Alive(None),
        }
    }
}

fn is_alive(directory: &Path, file: &str) -> bool {
    matches!(OwnerState::read(directory, file), OwnerState::Alive(_))
}

/// The serial numbers of leases that a live owner has noted as ended; `None` if the owner is dead.
pub(crate) fn noted_ends(directory: &Path, file: &str) -> Option<BTreeSet<i64>> {
    match OwnerState::read(directory, file) {
        OwnerState::Dead => None,
        OwnerState::Alive(file) => Some(file.map(|file| notes(&file)).unwrap_or_default()),
    }
}

/// Reads what [`Owner::note_ended`] has written, whatever else the file contains.
fn notes(file: &File) -> BTreeSet<i64> {
    /// More than the notes of as many leases as there are ports.
    const MOST_BYTES: u64 = 2 << 20;
    let mut text = Vec::new();
    if file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
        // What was read before an error is as good as all else.
        let _ = file.take(MOST_BYTES).read_to_end(&mut text);
    }
    text.split(|byte| *byte == b'\n').filter_map(serial).collect()
}

fn serial(line: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(line).ok()?;
    let is_whole = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    i64::from_str_radix(text, 16).ok().filter(|_| is_whole)
}

/// Whether a text is a name of a lock file: 16 hexadecimal digits and perhaps the identity of the process. It
/// cannot lead out of the data directory.
fn is_name(file: &str) -> bool {
    const RANDOM: usize = 16;
    let is_plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    let is_random = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    file.strip_prefix(PREFIX).is_some_and(|rest| {
        rest.len() >= RANDOM && rest.len() <= 100 && rest.bytes().all(is_plain) && is_random(&rest[..RANDOM])
    })
}

/// Ends the leases of dead owners, as part of the transaction that allocates ports.
pub(crate) struct Reaper<'a> {
    pub(super) connection: &'a Connection,
    pub(super) directory: &'a Path,
    /// In a dry run the copy in memory is changed as the database would be, but no lock files are removed.
    pub(super) is_dry_run: bool,
}

impl Reaper<'_> {
    /// Checks up to 8 owners, in the order of their ids from the one after `after` and then from the lowest,
    /// and reaps those that are dead. Returns the id of the last one. `own` is known to be alive.
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

    /// Reaps every dead owner, every lease without an owner, and what owners have noted as ended. Returns
    /// whether a lease ended.
    pub(crate) fn reap_all(&self) -> Result<bool> {
        let (mut dead, mut noted) = (BTreeMap::new(), BTreeMap::new());
        let mut last = i64::MIN;
        while let Some((id, file)) = store::next_owner(self.connection, last)? {
            last = id;
            match noted_ends(self.directory, &file) {
                None => drop(dead.insert(id, file)),
                Some(serials) if serials.is_empty() => {}
                Some(serials) => drop(noted.insert(id, serials)),
            }
        }
        let mut ended = self.remove(dead)? + self.remove_ownerless_leases()?;
        if !noted.is_empty() {
            let is_noted = |owner, serial| noted.get(&owner).is_some_and(|ends| ends.contains(&serial));
            ended += store::remove_leases(self.connection, is_noted)?;
        }
        self.remove_orphaned_lock_files(usize::MAX)?;
        Ok(ended > 0)
    }

    /// Ends leases whose owners are not stored. Returns how many there were.
    pub(super) fn remove_ownerless_leases(&self) -> Result<usize> {
        store::remove_owners(self.connection, &store::unknown_owners(self.connection)?)
    }

    /// Frees a port if it is leased by a dead owner, or by one that has noted the end of this lease. Returns
    /// whether it was.
    pub(crate) fn reap_port(&self, port: Port) -> Result<bool> {
        let Some((lease, owner, file)) = store::lease_of(self.connection, port)? else { return Ok(false) };
        match file.as_deref().and_then(|file| noted_ends(self.directory, file)) {
            None => Ok(self.remove(BTreeMap::from([(owner, file.unwrap_or_default())]))? > 0),
            Some(ends) if ends.contains(&lease.serial) => store::remove_lease(self.connection, lease),
            Some(_) => Ok(false),
        }
    }

    /// Removes lock files of owners that were never stored, because their process was killed during the
    /// transaction. Checks no more than `most` files.
    pub(super) fn remove_orphaned_lock_files(&self, most: usize) -> Result<()> {
        if self.is_dry_run {
            return Ok(());
        }
        let Ok(entries) = fs::read_dir(self.directory) else { return Ok(()) };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        for name in names.filter(|name| is_name(name)).take(most) {
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
