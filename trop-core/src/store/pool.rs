//! Every connection of this process, in one table behind one lock.
//!
//! SQLite does not survive `fork`: its table of file locks is inherited, so that even a connection the child
//! opens by itself would take no locks. Therefore all connections are closed before every fork and opened
//! again, lazily, on both sides. The forking thread holds the table's lock across the fork, so no other
//! thread can be anywhere inside it, and it is the only lock there is: a child never inherits one that nobody
//! will release. An operation takes its connection out of the table and puts it back; nothing is locked
//! while SQLite works or waits.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Database;
use super::wait::{self, FORKS_PENDING};
use crate::data_dir;
use crate::error::{Error, Result};
use crate::os::{self, FileId};

static TABLE: Mutex<Table> = Mutex::new(Table { slots: BTreeMap::new(), waiters: 0 });
static CHANGED: Condvar = Condvar::new();
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// Set in a child whose fork came from inside an operation: its copy of SQLite cannot be used any more.
static BROKEN: AtomicBool = AtomicBool::new(false);

struct Table {
    slots: BTreeMap<u64, Slot>,
    /// How many threads wait for a change.
    waiters: usize,
}

struct Slot {
    /// The directory of the file this slot's connection is on, while it has one.
    directory: Option<FileId>,
    state: State,
    /// The registry was closed while an operation used the connection, which closes it at its end.
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

/// A registry's place in the table; its connection is opened at the first use.
pub(crate) struct Seat {
    id: u64,
    directory: PathBuf,
    create: bool,
    timeout: Duration,
    /// The connection is on a copy in memory and cannot be opened again.
    is_copy: bool,
    opener: Opener,
}

/// How the file is opened.
type Opener = fn(&Path) -> Result<Database>;

impl Seat {
    /// `directory` is absolute; `create` allows to make it and the database; `timeout` bounds every wait.
    pub(crate) fn new(directory: PathBuf, create: bool, timeout: Duration) -> Seat {
        Seat::take(directory, create, timeout, None)
    }

    /// A place for a private copy of the database in memory, as it is now or would be after its first use. Nothing
    /// is created. The copy is gone after a fork.
    pub(crate) fn copy(&self) -> Result<Seat> {
        let path = self.database();
        let copy = if data_dir::exists(&self.directory)? {
            self.with(Database::copy)?
        } else if self.create {
            Database::blank(&path)?
        } else {
            return Err(Error::NoDataDir { path: self.directory.clone() });
        };
        Ok(Seat::take(self.directory.clone(), self.create, self.timeout, Some(Box::new(copy))))
    }

    /// A place for looking at an existing file whatever is in it, without changing it.
    pub(crate) fn for_inspection(&self) -> Seat {
        let mut seat = Seat::new(self.directory.clone(), false, self.timeout);
        seat.opener = Database::open_for_inspection;
        seat
    }

    /// A place for making a database that is missing, whatever this one may create.
    pub(crate) fn for_creation(&self) -> Seat {
        Seat::new(self.directory.clone(), true, self.timeout)
    }

    /// A place for replacing an existing database, which nobody else has open meanwhile.
    pub(crate) fn for_replacement(&self) -> Seat {
        let mut seat = Seat::new(self.directory.clone(), false, self.timeout);
        seat.opener = Database::open_exclusively;
        seat
    }

    fn take(directory: PathBuf, create: bool, timeout: Duration, copy: Option<Box<Database>>) -> Seat {
        static FORK_HANDLERS: Once = Once::new();
        #[cfg(unix)]
        FORK_HANDLERS.call_once(|| os::on_fork(before_fork, after_fork_in_parent, after_fork_in_child));
        #[cfg(not(unix))]
        FORK_HANDLERS.call_once(|| {});

        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        let is_copy = copy.is_some();
        if !BROKEN.load(Ordering::SeqCst) {
            let state = copy.map_or(State::Cold, State::Idle);
            lock().slots.insert(id, Slot { directory: None, state, closing: false });
        }
        Seat { id, directory, create, timeout, is_copy, opener: Database::open }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn database(&self) -> PathBuf {
        self.directory.join(data_dir::DATABASE)
    }

    /// Runs an operation on the connection, alone. It runs again when a fork interrupted its wait for a lock;
    /// nothing has been committed then.
    pub(crate) fn with<T>(&self, mut operation: impl FnMut(&Database) -> Result<T>) -> Result<T> {
        let deadline = Instant::now() + self.timeout;
        loop {
            let result = self.check_out(deadline).and_then(|checkout| operation(checkout.database()?));
            match result {
                Err(Error::Busy { .. }) if wait::interrupted() => {}
                Err(error) => return Err(error.located(&self.database(), self.timeout)),
                Ok(value) => return Ok(value),
            }
        }
    }

    /// Closes the connection, now or as soon as the operation that uses it is done. Idempotent.
    pub(crate) fn close(&self) {
        if BROKEN.load(Ordering::SeqCst) {
            // Nobody may be left to release the table's lock.
            return;
        }
        let mut table = lock();
        let Some(slot) = table.slots.get_mut(&self.id) else { return };
        slot.closing = true;
        match std::mem::replace(&mut slot.state, State::Busy) {
            in_use @ (State::Opening | State::Busy) => {
                slot.state = in_use;
                table.changed();
            }
            unused => {
                drop(table);
                self.finish(unused);
            }
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        lock().slots.get(&self.id).is_none_or(|slot| slot.closing)
    }

    /// Ends a closed registry's slot. Closing a connection may write a checkpoint, so the table is not locked
    /// meanwhile, but the slot stays: a fork has to wait.
    fn finish(&self, state: State) {
        drop(state);
        let mut table = lock();
        table.slots.remove(&self.id);
        table.changed();
    }

    fn check_out(&self, deadline: Instant) -> Result<Checkout<'_>> {
        if BROKEN.load(Ordering::SeqCst) {
            return Err(Error::Unsupported {
                reason: "this process was forked from inside a trop call".to_owned(),
            });
        }
        let mut table = lock();
        loop {
            let slot = table.slots.get_mut(&self.id).filter(|slot| !slot.closing).ok_or(Error::Closed)?;
            match slot.state {
                _ if FORKS_PENDING.load(Ordering::SeqCst) > 0 => {}
                State::Cold if self.is_copy => return Err(Error::Closed),
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
                    if checkout.database().is_ok_and(Database::is_current) {
                        return Ok(checkout);
                    }
                    checkout.database = None;
                    drop(checkout);
                    table = lock();
                    continue;
                }
                State::Opening | State::Busy => {}
            }
            table = self.wait(table, deadline)?;
        }
    }

    fn open(&self, deadline: Instant) -> Result<Checkout<'_>> {
        data_dir::prepare(&self.directory, self.create)?;
        let identify = |path: &Path| {
            os::file_id(path).map_err(|source| Error::io("inspect the data directory", path, source))
        };
        let directory = identify(&self.directory)?;
        let mut table = lock();
        // One thread at a time opens a file for the first time: else one would take the other's descriptor
        // for a second copy's.
        while FORKS_PENDING.load(Ordering::SeqCst) > 0
            || table
                .slots
                .values()
                .any(|slot| slot.directory == Some(directory) && matches!(slot.state, State::Opening))
        {
            table = self.wait(table, deadline)?;
        }
        let connected = table.slots.values().any(|slot| {
            slot.directory == Some(directory) && matches!(slot.state, State::Idle(_) | State::Busy)
        });
        let slot = table.slots.get_mut(&self.id).filter(|slot| !slot.closing).ok_or(Error::Closed)?;
        if !matches!(slot.state, State::Cold) {
            // Another thread opened this very slot meanwhile.
            drop(table);
            return self.check_out(deadline);
        }
        slot.state = State::Opening;
        slot.directory = Some(directory);
        drop(table);

        let mut checkout = Checkout::new(self, None, deadline);
        let path = self.database();
        if !connected && os::has_descriptor_on(identify(&path)?) {
            return Err(Error::SecondCopy { path });
        }
        checkout.database = Some(Box::new((self.opener)(&path)?));
        checkout.become_busy();
        Ok(checkout)
    }

    /// Waits for a change of the table. A fork is waited for however short the time.
    fn wait<'t>(&self, mut table: MutexGuard<'t, Table>, deadline: Instant) -> Result<MutexGuard<'t, Table>> {
        let left = deadline.saturating_duration_since(Instant::now());
        let forking = FORKS_PENDING.load(Ordering::SeqCst) > 0;
        if left.is_zero() && !forking {
            return Err(Error::Busy { waited: self.timeout });
        }
        table.waiters += 1;
        let mut table = if forking {
            CHANGED.wait(table).unwrap_or_else(PoisonError::into_inner)
        } else {
            CHANGED.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0
        };
        table.waiters -= 1;
        Ok(table)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.close();
    }
}

impl Table {
    /// Wakes whoever waits; to be called before the lock is released.
    fn changed(&self) {
        if self.waiters > 0 {
            CHANGED.notify_all();
        }
    }
}

/// Runs something while no thread forks. It must be short and may neither drop nor use a [`Seat`].
pub(crate) fn locked<T>(run: impl FnOnce() -> T) -> T {
    let _table = (!BROKEN.load(Ordering::SeqCst)).then(lock);
    run()
}

fn lock() -> MutexGuard<'static, Table> {
    // Nothing panics while it is held; if something did, the table is still whole.
    TABLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A connection outside the table; returns there when dropped.
struct Checkout<'s> {
    seat: &'s Seat,
    database: Option<Box<Database>>,
}

impl<'s> Checkout<'s> {
    fn new(seat: &'s Seat, database: Option<Box<Database>>, deadline: Instant) -> Checkout<'s> {
        INSIDE.set(INSIDE.get() + 1);
        wait::start(deadline);
        Checkout { seat, database }
    }

    fn database(&self) -> Result<&Database> {
        self.database.as_deref().ok_or(Error::Closed)
    }

    /// From `Opening` to `Busy`: others may open connections of their own now.
    fn become_busy(&self) {
        let mut table = lock();
        if let Some(slot) = table.slots.get_mut(&self.seat.id) {
            slot.state = State::Busy;
        }
        table.changed();
    }
}

impl Drop for Checkout<'_> {
    fn drop(&mut self) {
        let database = self.database.take().filter(|database| database.is_writable());
        let state = database.map_or(State::Cold, State::Idle);
        let mut table = lock();
        match table.slots.get_mut(&self.seat.id) {
            Some(slot) if !slot.closing => {
                slot.state = state;
                table.changed();
                drop(table);
            }
            _ => {
                drop(table);
                self.seat.finish(state);
            }
        }
        INSIDE.set(INSIDE.get() - 1);
    }
}

thread_local! {
    /// How many connections this thread has taken out.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
    /// The table's lock, held by the forking thread across the fork.
    /// Without a destructor: programs may fork in exit handlers, after the thread's destructors.
    static HELD: Cell<Option<ManuallyDrop<MutexGuard<'static, Table>>>> = const { Cell::new(None) };
}

/// Waits until no thread is inside SQLite and closes every connection without a checkpoint.
#[cfg(unix)]
extern "C" fn before_fork() {
    if INSIDE.get() > 0 || BROKEN.load(Ordering::SeqCst) {
        // A signal handler forks in the middle of an operation of this very thread: waiting would never end.
        return;
    }
    FORKS_PENDING.fetch_add(1, Ordering::SeqCst);
    let mut table = lock();
    table.waiters += 1;
    while table.slots.values().any(|slot| matches!(slot.state, State::Busy | State::Opening)) {
        table = CHANGED.wait(table).unwrap_or_else(PoisonError::into_inner);
    }
    table.waiters -= 1;
    for slot in table.slots.values_mut() {
        if let State::Idle(database) = std::mem::replace(&mut slot.state, State::Cold) {
            database.close_without_checkpoint();
        }
    }
    HELD.set(Some(ManuallyDrop::new(table)));
}

#[cfg(unix)]
extern "C" fn after_fork_in_parent() {
    if let Some(table) = HELD.take().map(ManuallyDrop::into_inner) {
        FORKS_PENDING.fetch_sub(1, Ordering::SeqCst);
        table.changed();
    }
}

#[cfg(unix)]
extern "C" fn after_fork_in_child() {
    match HELD.take().map(ManuallyDrop::into_inner) {
        Some(mut table) => {
            // The other threads do not exist here, neither those that wait nor those about to fork.
            FORKS_PENDING.store(0, Ordering::SeqCst);
            table.waiters = 0;
        }
        None => BROKEN.store(true, Ordering::SeqCst),
    }
}
