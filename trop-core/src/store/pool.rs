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
use crate::os::{self, FileId, queue};

static TABLE: Mutex<Table> = Mutex::new(Table { slots: BTreeMap::new(), waiters: 0 });
static CHANGED: Condvar = Condvar::new();
static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// Set in a child whose fork came from inside an operation: its copy of SQLite cannot be used any more.
static BROKEN: AtomicBool = AtomicBool::new(false);

/// How often this process is the child of a fork that trop has seen. Process ids are used again, this is not.
static GENERATION: AtomicU64 = AtomicU64::new(0);

struct Table {
    slots: BTreeMap<u64, Slot>,
    /// How many threads wait for a change.
    waiters: usize,
}

struct Slot {
    /// The file this slot's connection is on, while it has one.
    file: Option<FileId>,
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
        Seat::take(directory, create, timeout, false)
    }

    /// A place for a private copy of the database in memory, as it is now or would be after its first use. Nothing
    /// is created.
    pub(crate) fn copy(&self) -> Result<Seat> {
        if self.is_closed() {
            usable()?;
            return Err(Error::Closed);
        }
        let copy = Seat::take(self.directory.clone(), self.create, self.timeout, true);
        if data_dir::exists(&self.directory)? {
            let database = self.with(Database::copy)?;
            copy.fill(|| Ok(database))?;
        } else if self.create {
            copy.fill(|| Database::blank(&self.database()))?;
        } else {
            return Err(Error::NoDataDir { path: self.directory.clone() });
        }
        Ok(copy)
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

    /// Gives a new seat its connection, while no thread forks.
    fn fill(&self, make: impl FnOnce() -> Result<Database>) -> Result<()> {
        usable()?;
        let deadline = Instant::now() + self.timeout;
        let mut table = lock();
        while FORKS_PENDING.load(Ordering::SeqCst) > 0 {
            table = self.wait(table, deadline)?;
        }
        let slot = table.slots.get_mut(&self.id).ok_or(Error::Closed)?;
        slot.state = State::Opening;
        drop(table);
        let mut checkout = Checkout::new(self, None, deadline);
        checkout.database = Some(Box::new(make()?));
        Ok(())
    }

    fn take(directory: PathBuf, create: bool, timeout: Duration, is_copy: bool) -> Seat {
        static FORK_HANDLERS: Once = Once::new();
        #[cfg(unix)]
        FORK_HANDLERS.call_once(|| os::on_fork(before_fork, after_fork_in_parent, after_fork_in_child));
        #[cfg(not(unix))]
        FORK_HANDLERS.call_once(|| {});

        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        if !BROKEN.load(Ordering::SeqCst) {
            let state = State::Cold;
            lock().slots.insert(id, Slot { file: None, state, closing: false });
        }
        Seat { id, directory, create, timeout, is_copy, opener: Database::open }
    }

    /// Whether it is a place for a copy in memory.
    pub(crate) fn is_copy(&self) -> bool {
        self.is_copy
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The bound for all waits.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    fn database(&self) -> PathBuf {
        self.directory.join(data_dir::DATABASE)
    }

    /// Runs an operation on the connection, alone. It runs again when a fork interrupted its wait for a lock;
    /// nothing has been committed then.
    pub(crate) fn with<T>(&self, operation: impl FnMut(&Database) -> Result<T>) -> Result<T> {
        self.with_in(self.timeout, operation)
    }

    /// As [`Seat::with`], with another bound for all waits.
    pub(crate) fn with_in<T>(
        &self,
        wait: Duration,
        mut operation: impl FnMut(&Database) -> Result<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + wait;
        for tries in 0.. {
            let result =
                self.check_out(deadline, tries > 0).and_then(|checkout| operation(checkout.database()?));
            match result {
                // A few more tries even without time to wait: what interrupted is over at once.
                Err(Error::Busy { .. })
                    if wait::interrupted() && (tries < 5 || Instant::now() < deadline) => {}
                Err(error) => return Err(error.located(&self.database(), wait)),
                Ok(value) => return Ok(value),
            }
        }
        Err(Error::Busy { waited: wait })
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
        BROKEN.load(Ordering::SeqCst) || lock().slots.get(&self.id).is_none_or(|slot| slot.closing)
    }

    /// Ends a closed registry's slot. Closing a connection may write a checkpoint, so the table is not locked
    /// meanwhile, but the slot stays: a fork has to wait.
    fn finish(&self, state: State) {
        INSIDE.set(INSIDE.get() + 1);
        drop(state);
        INSIDE.set(INSIDE.get() - 1);
        let mut table = lock();
        table.slots.remove(&self.id);
        table.changed();
    }

    /// Takes the connection out of the table, opened if need be. A connection that an earlier try gave up is looked at: its
    /// file may have been replaced.
    fn check_out(&self, deadline: Instant, was_interrupted: bool) -> Result<Checkout<'_>> {
        usable()?;
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
                    if !was_interrupted || checkout.database().is_ok_and(Database::is_current) {
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
        let path = self.database();
        let file = os::file_id(&path).map_err(|source| Error::io("inspect the database", &path, source))?;
        let mut table = lock();
        // One thread at a time opens a file: else one would take the other's descriptor for a second copy's.
        while FORKS_PENDING.load(Ordering::SeqCst) > 0
            || table
                .slots
                .values()
                .any(|slot| slot.file == Some(file) && matches!(slot.state, State::Opening))
        {
            table = self.wait(table, deadline)?;
        }
        let connected = table
            .slots
            .values()
            .any(|slot| slot.file == Some(file) && matches!(slot.state, State::Idle(_) | State::Busy));
        let slot = table.slots.get_mut(&self.id).filter(|slot| !slot.closing).ok_or(Error::Closed)?;
        if !matches!(slot.state, State::Cold) {
            // Another thread opened this very slot meanwhile.
            drop(table);
            return self.check_out(deadline, false);
        }
        slot.state = State::Opening;
        slot.file = Some(file);
        drop(table);

        let mut checkout = Checkout::new(self, None, deadline);
        if !connected && os::has_descriptor_on(file) {
            // A thread that is opening another file may have met this one, where files are replaced.
            let others_open =
                lock().slots.iter().any(|(id, slot)| *id != self.id && matches!(slot.state, State::Opening));
            if others_open {
                return Err(wait::interrupt());
            }
            return Err(Error::SecondCopy { path });
        }
        let database = (self.opener)(&path)?;
        if database.file() != Some(file) {
            // Replaced between the look and the opening.
            return Err(wait::interrupt());
        }
        checkout.database = Some(Box::new(database));
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

/// A number that differs between a process and every child it forked.
pub(crate) fn generation() -> u64 {
    GENERATION.load(Ordering::SeqCst)
}

/// Fails in a process that was forked from inside an operation.
pub(crate) fn usable() -> Result<()> {
    if BROKEN.load(Ordering::SeqCst) {
        let reason = "this process was forked from inside a trop call".to_owned();
        return Err(Error::Unsupported { reason });
    }
    Ok(())
}

/// Runs something while no thread forks. It must be short and may neither drop nor use a [`Seat`].
pub(crate) fn locked<T>(run: impl FnOnce() -> T) -> T {
    let _table = (!BROKEN.load(Ordering::SeqCst)).then(lock);
    run()
}

/// Runs something on what a mutex guards, while no thread forks, so that no child ever inherits it locked. As for
/// [`locked`], which it is part of; whoever locks such a mutex does it by this.
pub(crate) fn locked_on<S, T>(state: &Mutex<S>, run: impl FnOnce(&mut S) -> T) -> T {
    locked(|| run(&mut state.lock().unwrap_or_else(PoisonError::into_inner)))
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
        let database = self.database.take().filter(|database| database.is_reusable());
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
        // Again and again: one may have been about to fall asleep.
        queue::wake_own();
        let waited = CHANGED.wait_timeout(table, Duration::from_millis(2));
        table = waited.unwrap_or_else(PoisonError::into_inner).0;
    }
    table.waiters -= 1;
    for slot in table.slots.values_mut() {
        match std::mem::replace(&mut slot.state, State::Cold) {
            // Memory has no locks.
            State::Idle(copy) if copy.file().is_none() => slot.state = State::Idle(copy),
            State::Idle(database) => database.close_without_checkpoint(),
            _ => {}
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
    GENERATION.fetch_add(1, Ordering::SeqCst);
    match HELD.take().map(ManuallyDrop::into_inner) {
        Some(mut table) => {
            // The other threads do not exist here, neither those that wait nor those about to fork.
            FORKS_PENDING.store(0, Ordering::SeqCst);
            table.waiters = 0;
        }
        None => BROKEN.store(true, Ordering::SeqCst),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reservation::{Key, Reservation, Timestamp};
    use crate::store;

    #[test]
    fn what_is_written_while_the_file_is_replaced_goes_to_the_new_one() {
        let scratch = tempfile::tempdir().unwrap();
        let directory = scratch.path().join("data");
        let seat = || Seat::new(directory.clone(), true, Duration::from_secs(5));
        let (old, new) = (seat(), seat());
        let port = |number| crate::port::Port::new("port", number).unwrap();
        let write = |database: &Database, tag: &str, number| {
            let now = Timestamp::now();
            let reservation = Reservation {
                port: port(number),
                key: Key::stored("/p".to_owned(), Some(crate::tag::Tag::new(tag)?)),
                project: None,
                task: None,
                created_at: now,
                last_used_at: now,
            };
            database.write(|connection| store::insert(connection, &reservation))
        };
        old.with(|database| write(database, "before", 5000)).unwrap();
        let mut tries = 0;
        old.with(|database| {
            tries += 1;
            if tries == 1 {
                // As if this had waited for the lock meanwhile.
                std::fs::remove_dir_all(&directory).unwrap();
                new.with(|database| write(database, "theirs", 5000)).unwrap();
            }
            write(database, "mine", 5001)
        })
        .unwrap();
        assert_eq!(tries, 2);
        let rows = new.with(|database| database.read(store::list)).unwrap();
        assert_eq!(rows.iter().map(|row| row.port.get()).collect::<Vec<_>>(), [5001, 5000]);
    }
}
