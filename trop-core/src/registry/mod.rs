//! An open registry.

mod closing_range;
mod owner;
mod recent_keys;
mod session;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;

pub(crate) use owner::{Reaper, keepers, maker_has_ended, noted_ends};
pub(crate) use session::LeaseSession;

use crate::config::{Configuration, Discovery, PortUse, RegistryOptions};
use crate::fork;
use crate::machine::CheckoutCache;
use crate::model::{Error, Port, PortRange, Result, contain, paths};
use crate::store::data_dir::{data_dir, ensure_own};
use crate::store::{ConnectionSlot, Database};
use closing_range::ClosingRange;
use recent_keys::RecentKeys;

/// An open registry: a handle that is cheap to clone and may be used by any number of threads.
///
/// It keeps one connection to the database, which is closed with the last clone. Each of its leases is a
/// clone, too. It survives `fork`: parent and child may both go on using it.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    state: Arc<RegistryState>,
    /// The options it was opened with, from which the configuration with another project file is resolved.
    options: RegistryOptions,
    configuration: Configuration,
    /// The physical working directory when the registry was opened, to which paths have to be related.
    base: Option<PathBuf>,
    poisoned: AtomicBool,
}

/// The connection, the leases taken through it, which end with it, and what was found lately.
struct RegistryState {
    connection: ConnectionSlot,
    /// Shared with the leases that have lost their handles, which go on without the registry.
    session: Arc<LeaseSession>,
    recent_keys: RecentKeys,
    checkouts: CheckoutCache,
    closing_range: ClosingRange,
}

impl RegistryState {
    fn new(connection: ConnectionSlot, session: Arc<LeaseSession>) -> RegistryState {
        RegistryState {
            connection,
            session,
            recent_keys: RecentKeys::default(),
            checkouts: CheckoutCache::default(),
            closing_range: ClosingRange::default(),
        }
    }
}

impl Drop for RegistryState {
    fn drop(&mut self) {
        if Arc::strong_count(&self.session) == 1 {
            self.session.close(&self.connection);
        }
    }
}

impl Registry {
    /// Opens the registry, creating the data directory and the database if they are absent.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty data directory, a lock wait above 2147483 s or a configuration
    /// file that was named and is missing, [`Error::Config`], [`Error::NoDataDir`], [`Error::Io`],
    /// [`Error::Busy`], [`Error::Schema`], [`Error::Corrupt`], [`Error::Unsupported`], [`Error::SecondCopy`].
    pub fn open(options: RegistryOptions) -> Result<Registry> {
        let registry = Registry::open_lazily(options)?;
        registry.connect()?;
        Ok(registry)
    }

    /// Like [`Registry::open`], but the database is opened at the first use, for callers that must not wait
    /// here. The data directory, the working directory and the configuration are determined now.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] and [`Error::Config`] as for [`Registry::open`], [`Error::NoDataDir`] when
    /// none is named and there is no place for one, [`Error::Io`] without a working directory.
    pub fn open_lazily(options: RegistryOptions) -> Result<Registry> {
        Registry::open_with(options, Arc::default())
    }

    fn open_with(options: RegistryOptions, session: Arc<LeaseSession>) -> Result<Registry> {
        let mut directory = data_dir(options.data_dir.as_deref())?;
        if directory.is_relative() {
            // Made absolute, so that the handle keeps its directory when the process changes its working
            // directory.
            directory = paths::current_dir()?.join(directory);
        }
        ensure_own(&directory)?;
        let configuration = Configuration::resolve(options.clone(), &directory)?;
        log::trace!("trop: data directory '{}'", directory.display());
        let connection = ConnectionSlot::new(directory, configuration.create, configuration.busy_timeout);
        let inner = Inner {
            state: Arc::new(RegistryState::new(connection, session)),
            options,
            configuration,
            base: paths::working_directory().ok(),
            poisoned: AtomicBool::new(false),
        };
        Ok(Registry(Arc::new(inner)))
    }

    /// Opens the database now, unless it is open.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn connect(&self) -> Result<()> {
        self.connection().run(|_| Ok(()))
    }

    /// The process-wide registry of the current data directory and working directory, with default options;
    /// the database is opened at the first use and kept open.
    ///
    /// # Errors
    /// As [`Registry::open_lazily`].
    pub fn shared() -> Result<Registry> {
        Registry::shared_in(None)
    }

    /// Like [`Registry::shared`], with a data directory that the caller looked up, for languages with an
    /// environment of their own; none means that of [`data_dir`](crate::data_dir).
    ///
    /// # Errors
    /// As [`Registry::open_lazily`].
    pub fn shared_in(directory: Option<&Path>) -> Result<Registry> {
        /// The data directory and the working directory.
        type Directories = (PathBuf, Option<PathBuf>);
        /// The most recently used first. Bounded, because each registry keeps files open and a program may
        /// change its directory often.
        static SHARED: Mutex<Vec<(Directories, Registry)>> = Mutex::new(Vec::new());
        const MOST: usize = 8;

        fork::ensure_usable()?;
        let directories: Directories = (data_dir(directory)?, paths::current_dir().ok());
        let cached = fork::locked_on(&SHARED, |shared| {
            let index = shared.iter().position(|(other, _)| *other == directories)?;
            shared[..=index].rotate_right(1);
            Some(shared[0].1.clone())
        });
        if let Some(registry) = cached.filter(Registry::is_usable) {
            return Ok(registry);
        }
        // One owner for all of them: a program that changes its directory often, and keeps numbers without
        // handles, would else have a lock file open for each directory.
        let session = fork::locked_on(&SHARED, |shared| {
            let same = shared.iter().find(|((data_dir, _), _)| *data_dir == directories.0);
            same.map(|(_, registry)| Arc::clone(&registry.0.state.session))
        });
        let session = session.filter(|session| !session.is_closed()).unwrap_or_default();
        let data_dir = Some(directories.0.clone());
        let options = RegistryOptions { data_dir, ..RegistryOptions::default() };
        let opened = Registry::open_with(options, session)?;
        let kept = opened.clone();
        let evicted = fork::locked_on(&SHARED, move |shared| {
            shared.insert(0, (directories, kept));
            (shared.len() > MOST).then(|| shared.pop())
        });
        drop(evicted);
        Ok(opened)
    }

    /// Returns a registry in memory that starts as a copy of this one. A request to it has exactly the result
    /// that it would have here, and changes nothing here. It takes no lock and creates no files.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn dry_run(&self) -> Result<Registry> {
        let state = RegistryState::new(self.connection().copy()?, Arc::new(self.session().dry_run()));
        Ok(self.derived(Arc::new(state), self.configuration().clone()))
    }

    /// Returns this registry with the configuration of another project file, but with the same connection,
    /// leases, lock wait and base of related paths.
    ///
    /// # Errors
    /// As [`Configuration::resolve`].
    pub(crate) fn configured_by(&self, file: &Path) -> Result<Registry> {
        let options = self.0.options.clone();
        let configuration = Configuration::resolve_for(options, self.data_dir(), Some(file))?;
        Ok(self.derived(Arc::clone(&self.0.state), configuration))
    }

    /// A registry with another state or configuration, and otherwise like this one.
    fn derived(&self, state: Arc<RegistryState>, configuration: Configuration) -> Registry {
        Registry(Arc::new(Inner {
            state,
            options: self.0.options.clone(),
            configuration,
            base: self.0.base.clone(),
            poisoned: AtomicBool::new(false),
        }))
    }

    /// Closes the registry for all its clones and ends its leases; later calls fail with [`Error::Closed`].
    /// Closing twice is no error.
    ///
    /// An operation of another thread is not interrupted.
    pub fn close(&self) {
        self.session().close(self.connection());
        self.connection().close();
    }

    /// Runs a call that came from another language: a panic becomes [`Error::Panic`] and poisons the registry
    /// for all its clones, so that every later call fails the same way.
    ///
    /// # Errors
    /// Those of `call`, and [`Error::Panic`].
    pub fn contain<T>(&self, call: impl FnOnce(&Registry) -> Result<T>) -> Result<T> {
        if self.0.poisoned.load(Ordering::SeqCst) {
            return Err(Error::Panic { message: "an earlier call on this registry panicked".to_owned() });
        }
        let result = contain(|| call(self));
        if matches!(result, Err(Error::Panic { .. })) {
            self.0.poisoned.store(true, Ordering::SeqCst);
        }
        result
    }

    /// Whether it was closed, through any of its clones.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.connection().is_closed()
    }

    fn is_usable(&self) -> bool {
        !self.is_closed() && !self.0.poisoned.load(Ordering::SeqCst)
    }

    /// The data directory, absolute.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.connection().directory()
    }

    /// The settings it works with.
    #[must_use]
    pub fn configuration(&self) -> &Configuration {
        &self.0.configuration
    }

    /// Where project files were looked for, if they were.
    pub(crate) fn discovery_start(&self) -> Option<Result<&Path>> {
        match &self.0.options.discovery {
            Discovery::WorkingDirectory => Some(self.base()),
            Discovery::From(start) => Some(Ok(start)),
            Discovery::File(_) | Discovery::Off => None,
        }
    }

    pub(crate) fn connection(&self) -> &ConnectionSlot {
        &self.0.state.connection
    }

    pub(crate) fn session(&self) -> &Arc<LeaseSession> {
        &self.0.state.session
    }

    pub(crate) fn checkouts(&self) -> &CheckoutCache {
        &self.0.state.checkouts
    }

    pub(crate) fn closing_range(&self) -> &ClosingRange {
        &self.0.state.closing_range
    }

    pub(crate) fn recent_keys(&self) -> &RecentKeys {
        &self.0.state.recent_keys
    }

    /// Returns the reaper, which ends the leases of dead owners, inside the caller's write transaction.
    pub(crate) fn reaper<'a>(&'a self, connection: &'a Connection) -> Reaper<'a> {
        Reaper { connection, directory: self.data_dir(), is_dry_run: self.connection().is_copy() }
    }

    /// Runs a query on one snapshot of the database, without a lock that blocks writers. The query may run
    /// more than once.
    pub(crate) fn read<T>(&self, mut query: impl FnMut(&Connection) -> Result<T>) -> Result<T> {
        self.connection().run(|database| database.read(&mut query))
    }

    /// Runs a change in one write transaction, which is committed completely or not at all. The transaction
    /// also ends the leases that were closed while the database was busy. The change may run more than once.
    pub(crate) fn write<T>(&self, change: impl FnMut(&Connection) -> Result<T>) -> Result<T> {
        self.write_within(self.connection().timeout(), change)
    }

    /// Like [`Registry::write`], with another bound for all waits.
    pub(crate) fn write_within<T>(
        &self,
        wait: Duration,
        mut change: impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        let (value, ended) = self.connection().run_within(wait, |database: &Database| {
            database.write(|transaction| {
                let ended = self.session().remove_closed(transaction)?;
                Ok((change(transaction)?, ended))
            })
        })?;
        self.session().forget(&ended);
        Ok(value)
    }

    pub(crate) fn range(&self, used: PortUse, min: Option<Port>, max: Option<Port>) -> Result<PortRange> {
        match (min, max) {
            (Some(min), Some(max)) => PortRange::new("min", min, max),
            (min, max) => self.configuration().range(used, min, max),
        }
    }

    pub(crate) fn is_related(&self, path: &str) -> Result<bool> {
        if self.configuration().allow_unrelated_path {
            return Ok(true);
        }
        let base = self.base()?;
        Ok(paths::is_related(path.as_ref(), base))
    }

    pub(crate) fn unrelated(&self, path: &str) -> Error {
        let base = self.base().map(Path::to_path_buf).unwrap_or_default();
        Error::UnrelatedPath { path: path.to_owned(), base }
    }

    pub(crate) fn base(&self) -> Result<&Path> {
        // Reports why there is no working directory now. If there is one again, the reason is not known any
        // more.
        self.0.base.as_deref().ok_or_else(|| {
            let gone = || Error::io_of(None, "resolve", Path::new("."), std::io::ErrorKind::NotFound.into());
            paths::working_directory().err().unwrap_or_else(gone)
        })
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("data_dir", &self.data_dir()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_registry_that_was_closed_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let shared = || Registry::shared_in(Some(directory.path())).unwrap();
        let first = shared();
        assert!(Arc::ptr_eq(&first.0, &shared().0));
        first.close();
        assert!(first.is_closed());
        assert_eq!(first.list().unwrap_err().code(), crate::Code::Closed);
        assert_eq!(shared().list().unwrap(), []);
    }

    #[test]
    fn a_panic_is_contained_and_poisons_every_clone() {
        let directory = tempfile::tempdir().unwrap();
        let options = RegistryOptions { data_dir: Some(directory.path().into()), ..Default::default() };
        let registry = Registry::open(options).unwrap();
        let clone = registry.clone();
        let error = registry.contain(|_| -> Result<()> { panic!("boom {}", 1) }).unwrap_err();
        assert!(matches!(&error, Error::Panic { message } if message == "boom 1"), "{error}");
        let error = clone.contain(Registry::list).unwrap_err();
        assert_eq!(error.code(), crate::Code::Panic);
    }
}
