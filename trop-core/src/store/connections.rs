//! Every connection of this process, in one table that is read and written under the lock of
//! [`fork`](crate::fork).
//!
//! An operation takes its connection out of the table and puts it back, so the table is not locked while
//! SQLite works or waits. Before a fork all connections are closed; each is opened again at its next use.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::attempt::{Attempt, Failure};
use super::connection::Database;
use super::{data_dir, lock_wait, sqlite_error};
use crate::fork::{self, Inside};
use crate::model::{Error, Result};
use crate::os::fs::{self, FileId};
use crate::os::lock_queue;

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

type Slots = BTreeMap<u64, Slot>;

/// The table, locked.
struct Table {
    /// Declared first, so that it is unlocked first: no thread may hold it without holding `lock`.
    slots: MutexGuard<'static, Slots>,
    lock: fork::Guard,
}

/// A registry's entry in the table.
struct Slot {
    /// The file that the slot's connection is on, or was on last.
    file: Option<FileId>,
    state: State,
    /// The registry was closed. An operation that still uses the connection closes it when it ends.
    closing: bool,
}

enum State {
    /// No connection: not opened yet, or closed for a fork.
    Cold,
    /// A thread is opening the connection.
    Opening,
    /// A thread is using the connection.
    Busy,
    /// Ready for use.
    Idle(Box<Database>),
}

impl Table {
    fn lock() -> Table {
        let lock = fork::lock();
        Table { slots: Table::slots(&lock), lock }
    }

    fn slots(_lock: &fork::Guard) -> MutexGuard<'static, Slots> {
        static SLOTS: Mutex<Slots> = Mutex::new(BTreeMap::new());
        SLOTS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the table changes. The deadline does not count while a fork is pending.
    fn wait(self, deadline: Instant, timeout: Duration) -> Result<Table> {
        if !fork::is_pending() && Instant::now() >= deadline {
            return Err(Error::Busy { waited: timeout });
        }
        let Table { slots, lock } = self;
        drop(slots);
        let lock = lock.wait(deadline);
        Ok(Table { slots: Table::slots(&lock), lock })
    }

    /// Wakes all threads that wait for a change.
    fn notify(&self) {
        self.lock.notify();
    }
}

/// Whether a thread is using or opening a connection.
fn is_any_in_use(lock: &fork::Guard) -> bool {
    Table::slots(lock).values().any(|slot| matches!(slot.state, State::Busy | State::Opening))
}

/// Closes every connection to a file, without a checkpoint.
fn close_all(lock: &fork::Guard) {
    for slot in Table::slots(lock).values_mut() {
        match std::mem::replace(&mut slot.state, State::Cold) {
            // A copy in memory has no file locks, so it survives a fork.
            State::Idle(copy) if copy.file().is_none() => slot.state = State::Idle(copy),
            State::Idle(database) => database.close_without_checkpoint(),
            _ => {}
        }
    }
}

/// What a connection is for. This decides how it is opened.
#[derive(Clone, Copy, PartialEq)]
enum Purpose {
    /// Reading and writing. A missing directory and database are created if `create` is set.
    Use { create: bool },
    /// Inspecting an existing file, whatever its content, without changing it.
    Inspect,
    /// Replacing the content of an existing file while no other connection has it open.
    Replace,
    /// Changing a copy in memory, which cannot be opened again.
    Copy,
}

/// A registry's place in the table; its connection is opened at the first use.
pub(crate) struct ConnectionSlot {
    id: u64,
    directory: PathBuf,
    /// Bounds every wait.
    timeout: Duration,
    purpose: Purpose,
}

impl ConnectionSlot {
    /// `directory` is absolute; `create` says whether it and the database may be created; `timeout` bounds
    /// every wait.
    pub(crate) fn new(directory: PathBuf, create: bool, timeout: Duration) -> ConnectionSlot {
        ConnectionSlot::register(directory, timeout, Purpose::Use { create })
    }

    /// Returns a slot for a private copy of the database in memory. If there is no database yet, the copy is
    /// what the first use would create. No files are created.
    pub(crate) fn copy(&self) -> Result<ConnectionSlot> {
        if self.is_closed() {
            fork::ensure_usable()?;
            return Err(Error::Closed);
        }
        let copy = ConnectionSlot::register(self.directory.clone(), self.timeout, Purpose::Copy);
        if self.is_copy() || data_dir::exists(&self.directory)? {
            let database = self.run(Database::copy)?;
            copy.install(|| Ok(database))?;
        } else if self.creates() {
            copy.install(Database::blank)?;
        } else {
            return Err(Error::no_database(&self.directory));
        }
        Ok(copy)
    }

    /// Returns a slot for inspecting an existing file, whatever its content, without changing it.
    pub(crate) fn for_inspection(&self) -> ConnectionSlot {
        ConnectionSlot::register(self.directory.clone(), self.timeout, Purpose::Inspect)
    }

    /// Returns a slot that may create a missing database, even if this one may not.
    pub(crate) fn for_creation(&self) -> ConnectionSlot {
        ConnectionSlot::new(self.directory.clone(), true, self.timeout)
    }

    /// Returns a slot for replacing an existing database while no other connection has it open.
    pub(crate) fn for_replacement(&self) -> ConnectionSlot {
        ConnectionSlot::register(self.directory.clone(), self.timeout, Purpose::Replace)
    }

    fn register(directory: PathBuf, timeout: Duration, purpose: Purpose) -> ConnectionSlot {
        fork::protect(fork::Handlers {
            is_any_in_use,
            wake_sleepers: lock_queue::wake_own_threads,
            close_all,
        });
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        if !fork::is_broken() {
            let slot = Slot { file: None, state: State::Cold, closing: false };
            Table::lock().slots.insert(id, slot);
        }
        ConnectionSlot { id, directory, timeout, purpose }
    }

    /// Whether it is for a copy in memory.
    pub(crate) fn is_copy(&self) -> bool {
        self.purpose == Purpose::Copy
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The bound for all waits.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn creates(&self) -> bool {
        self.purpose == Purpose::Use { create: true }
    }

    fn database(&self) -> PathBuf {
        self.directory.join(data_dir::DATABASE)
    }

    /// Runs an operation with exclusive use of the connection. An operation that was interrupted before it
    /// committed anything is run again.
    pub(crate) fn run<T>(&self, operation: impl FnMut(&Database) -> Attempt<T>) -> Result<T> {
        self.run_within(self.timeout, operation)
    }

    /// Like [`ConnectionSlot::run`], with another bound for all waits.
    pub(crate) fn run_within<T>(
        &self,
        wait: Duration,
        mut operation: impl FnMut(&Database) -> Attempt<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + wait;
        for tries in 0.. {
            let result =
                self.check_out(deadline, tries > 0).and_then(|checkout| operation(checkout.database()?));
            // A few more tries even after the deadline, because interruptions are short.
            let may_retry = tries < 5 || Instant::now() < deadline;
            match result {
                Ok(value) => return Ok(value),
                Err(Failure::Retry) if may_retry => {}
                Err(Failure::Retry) => break,
                Err(Failure::Error(Error::Busy { .. })) if lock_wait::was_interrupted() && may_retry => {}
                Err(Failure::Error(error)) => {
                    return Err(sqlite_error::complete(error, &self.database(), wait));
                }
            }
        }
        Err(Error::Busy { waited: wait })
    }

    /// Closes the connection, now or as soon as the operation that uses it is done. Idempotent.
    pub(crate) fn close(&self) {
        if fork::is_broken() {
            // There may be no thread left to release the lock.
            return;
        }
        let mut table = Table::lock();
        let Some(slot) = table.slots.get_mut(&self.id) else { return };
        slot.closing = true;
        match std::mem::replace(&mut slot.state, State::Busy) {
            in_use @ (State::Opening | State::Busy) => {
                slot.state = in_use;
                table.notify();
            }
            unused => {
                drop(table);
                self.retire(unused);
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        fork::is_broken() || Table::lock().slots.get(&self.id).is_none_or(|slot| slot.closing)
    }

    /// Removes the slot of a closed registry. Closing the connection may run a checkpoint, so the table is
    /// not locked meanwhile. The slot stays busy until then, so that a fork waits.
    fn retire(&self, state: State) {
        let inside = Inside::enter();
        drop(state);
        drop(inside);
        let mut table = Table::lock();
        table.slots.remove(&self.id);
        table.notify();
    }

    /// Gives a new slot its connection. Waits for pending forks first.
    fn install(&self, make: impl FnOnce() -> Result<Database>) -> Result<()> {
        fork::ensure_usable()?;
        let deadline = Instant::now() + self.timeout;
        let mut table = Table::lock();
        while fork::is_pending() {
            table = table.wait(deadline, self.timeout)?;
        }
        table.slots.get_mut(&self.id).ok_or(Error::Closed)?.state = State::Opening;
        drop(table);
        let mut checkout = Checkout::new(self, None, deadline);
        checkout.database = Some(Box::new(make()?));
        Ok(())
    }

    /// Takes the connection out of the table, or opens one. After an interrupted try the connection is used
    /// again only if its file was not replaced.
    fn check_out(&self, deadline: Instant, was_interrupted: bool) -> Attempt<Checkout<'_>> {
        fork::ensure_usable()?;
        let mut table = Table::lock();
        loop {
            let slot = table.slots.get_mut(&self.id).filter(|slot| !slot.closing).ok_or(Error::Closed)?;
            match slot.state {
                _ if fork::is_pending() => {}
                State::Cold => {
                    drop(table);
                    return self.open(deadline);
                }
                State::Idle(_) => {
                    let State::Idle(database) = std::mem::replace(&mut slot.state, State::Busy) else {
                        continue;
                    };
                    drop(table);
                    let mut checkout = Checkout::new(self, Some(database), deadline);
                    if !was_interrupted || checkout.database().is_ok_and(Database::is_current) {
                        return Ok(checkout);
                    }
                    checkout.database = None;
                    drop(checkout);
                    table = Table::lock();
                    continue;
                }
                State::Opening | State::Busy => {}
            }
            table = table.wait(deadline, self.timeout)?;
        }
    }

    fn open(&self, deadline: Instant) -> Attempt<Checkout<'_>> {
        let open = match self.purpose {
            Purpose::Use { .. } => Database::open,
            Purpose::Inspect => Database::open_for_inspection,
            Purpose::Replace => Database::open_exclusively,
            Purpose::Copy => return Err(Error::Closed.into()),
        };
        data_dir::prepare(&self.directory, self.creates())?;
        let path = self.database();
        let file = fs::file_id(&path).map_err(|source| Error::io("inspect the database", &path, source))?;
        let Some(is_connected) = self.begin_opening(file, deadline)? else {
            // Another thread opened this very slot meanwhile.
            return self.check_out(deadline, false);
        };
        let mut checkout = Checkout::new(self, None, deadline);
        if !is_connected && fs::has_descriptor_on(file) {
            // The descriptor may belong to a thread that is opening another slot: it may have found this file
            // at its path when files were replaced.
            return Err(if self.is_another_opening() {
                Failure::Retry
            } else {
                Error::SecondCopy { path }.into()
            });
        }
        let database = open(&path)?;
        if database.file() != Some(file) {
            // The file was replaced after its identity was read.
            return Err(Failure::Retry);
        }
        checkout.database = Some(Box::new(database));
        checkout.become_busy();
        Ok(checkout)
    }

    /// Waits until no other thread is opening the file, because one would take the other's descriptor for
    /// that of a second copy of SQLite. Then marks the slot as opening it. Returns whether this process
    /// already has a connection to the file; `None` if the slot is not cold any more.
    fn begin_opening(&self, file: FileId, deadline: Instant) -> Result<Option<bool>> {
        let mut table = Table::lock();
        while fork::is_pending()
            || table
                .slots
                .values()
                .any(|slot| slot.file == Some(file) && matches!(slot.state, State::Opening))
        {
            table = table.wait(deadline, self.timeout)?;
        }
        let is_connected = table
            .slots
            .values()
            .any(|slot| slot.file == Some(file) && matches!(slot.state, State::Idle(_) | State::Busy));
        let slot = table.slots.get_mut(&self.id).filter(|slot| !slot.closing).ok_or(Error::Closed)?;
        if !matches!(slot.state, State::Cold) {
            return Ok(None);
        }
        slot.state = State::Opening;
        slot.file = Some(file);
        Ok(Some(is_connected))
    }

    fn is_another_opening(&self) -> bool {
        let table = Table::lock();
        table.slots.iter().any(|(id, slot)| *id != self.id && matches!(slot.state, State::Opening))
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        self.close();
    }
}

/// A connection that was taken out of the table. It is put back when this is dropped.
struct Checkout<'s> {
    slot: &'s ConnectionSlot,
    database: Option<Box<Database>>,
    _inside: Inside,
}

impl<'s> Checkout<'s> {
    fn new(slot: &'s ConnectionSlot, database: Option<Box<Database>>, deadline: Instant) -> Checkout<'s> {
        let inside = Inside::enter();
        lock_wait::start(deadline);
        Checkout { slot, database, _inside: inside }
    }

    fn database(&self) -> Result<&Database> {
        self.database.as_deref().ok_or(Error::Closed)
    }

    /// Marks the slot as busy instead of opening, so that other threads may open connections to the same
    /// file.
    fn become_busy(&self) {
        let mut table = Table::lock();
        if let Some(slot) = table.slots.get_mut(&self.slot.id) {
            slot.state = State::Busy;
        }
        table.notify();
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        let database = self.database.take().filter(|database| database.is_reusable());
        let state = database.map_or(State::Cold, State::Idle);
        let mut table = Table::lock();
        match table.slots.get_mut(&self.slot.id) {
            Some(slot) if !slot.closing => {
                slot.state = state;
                table.notify();
            }
            _ => {
                drop(table);
                self.slot.retire(state);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Key, Port, Reservation, Tag, Timestamp};
    use crate::store;

    #[test]
    fn what_is_written_while_the_file_is_replaced_goes_to_the_new_one() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("data");
        let slot = || ConnectionSlot::new(directory.clone(), true, Duration::from_secs(5));
        let (old, new) = (slot(), slot());
        let port = |number| Port::new("port", number).unwrap();
        let write = |database: &Database, tag: &str, number| {
            let now = Timestamp::now();
            let reservation = Reservation {
                port: port(number),
                key: Key::stored("/p".to_owned(), Some(Tag::new(tag)?)),
                project: None,
                task: None,
                created_at: now,
                last_used_at: now,
            };
            database.write(|connection| store::insert(connection, &reservation))
        };
        old.run(|database| write(database, "before", 5000)).unwrap();
        let mut tries = 0;
        old.run(|database| {
            tries += 1;
            if tries == 1 {
                // As if this had waited for the lock meanwhile.
                std::fs::remove_dir_all(&directory).unwrap();
                new.run(|database| write(database, "theirs", 5000)).unwrap();
            }
            write(database, "mine", 5001)
        })
        .unwrap();
        assert_eq!(tries, 2);
        let rows = new.run(|database| database.read(store::list)).unwrap();
        assert_eq!(rows.iter().map(|row| row.port.get()).collect::<Vec<_>>(), [5001, 5000]);
    }
}
