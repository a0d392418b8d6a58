//! An open registry.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::Connection;

use crate::config::{Configuration, Discovery, Uses};
use crate::data_dir::data_dir;
use crate::error::{Error, Result, contain};
use crate::git;
use crate::lease::Tenure;
use crate::occupancy::OccupancyPolicy;
use crate::paths;
use crate::port::{Port, PortRange, PortSet};
use crate::recent::Recent;
use crate::store::{self, Seat};

/// How to open a registry. All fields have defaults.
///
/// What is given here has more weight than variables, and these more than files; see [`Configuration`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// The data directory; none means `TROP_DATA_DIR`, else `~/.trop`.
    pub data_dir: Option<PathBuf>,
    /// Whether a missing data directory or database is created, unless the configuration forbids it; true by default.
    pub create: bool,
    /// How long to wait for other processes and threads that use the database, 0 fails at once; none means the
    /// configured wait, 5 seconds by default.
    pub busy_timeout: Option<Duration>,
    /// The ports to choose from; none means the configured range, 5000 to 7000 by default.
    pub ports: Option<PortRange>,
    /// Replaces the lower end of the range.
    pub min: Option<Port>,
    /// Replaces the upper end of the range.
    pub max: Option<Port>,
    /// Ports never to choose, besides those the configuration excludes.
    pub excluded: PortSet,
    /// How to find out whether something else has a port: switches that are on beside those the configuration turns on.
    pub occupancy: OccupancyPolicy,
    /// Which configuration files apply.
    pub discovery: Discovery,
    /// Whether environment variables are part of the configuration; true by default. `TROP_DATA_DIR` always is.
    pub variables: bool,
    /// What the registry is for; everything by default.
    pub uses: Uses,
    /// How messages call the values given here: `argument` by default.
    pub origin: &'static str,
}

impl Default for RegistryOptions {
    fn default() -> RegistryOptions {
        RegistryOptions {
            data_dir: None,
            create: true,
            busy_timeout: None,
            ports: None,
            min: None,
            max: None,
            excluded: PortSet::default(),
            occupancy: OccupancyPolicy::default(),
            discovery: Discovery::default(),
            variables: true,
            uses: Uses::ALL,
            origin: "argument",
        }
    }
}

/// An open registry: a handle that is cheap to clone and may be used by any number of threads.
///
/// It keeps one connection to the database, which is closed with the last clone. It survives `fork`: parent
/// and child may both go on using it.
#[derive(Clone)]
pub struct Registry(Arc<Inner>);

struct Inner {
    place: Arc<Place>,
    /// What it was opened with, for what is configured by another project file.
    options: RegistryOptions,
    configuration: Configuration,
    /// The physical working directory when the registry was opened, the base of the path guard.
    base: Option<PathBuf>,
    poisoned: AtomicBool,
}

/// The connection, the leases taken through it, which end with it, and what spares it some looks.
struct Place {
    seat: Seat,
    tenure: Tenure,
    recent: Recent,
    git: git::Known,
}

impl Place {
    fn new(seat: Seat, tenure: Tenure) -> Place {
        Place { seat, tenure, recent: Recent::default(), git: git::Known::default() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.tenure.end(&self.seat);
    }
}

impl Registry {
    /// Opens the registry, creating the data directory and the database if they are absent.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for an empty data directory, a lock wait above 2147483 s or a configuration file that
    /// was named and is missing, [`Error::Config`], [`Error::NoDataDir`], [`Error::Io`], [`Error::Busy`],
    /// [`Error::Schema`], [`Error::Corrupt`], [`Error::Unsupported`], [`Error::SecondCopy`].
    pub fn open(options: RegistryOptions) -> Result<Registry> {
        let registry = Registry::open_lazily(options)?;
        registry.connect()?;
        Ok(registry)
    }

    /// As [`Registry::open`], except that the database is opened at the first use: for callers that must not
    /// wait here. The data directory, the working directory and the configuration are those of now.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] and [`Error::Config`] as for [`Registry::open`], [`Error::Io`] without a working
    /// directory.
    pub fn open_lazily(options: RegistryOptions) -> Result<Registry> {
        let mut directory = data_dir(options.data_dir.as_deref())?;
        if directory.is_relative() {
            // The handle means the same directory after the process has changed its own.
            directory = paths::current_dir()?.join(directory);
        }
        let configuration = Configuration::resolve(options.clone(), &directory)?;
        log::trace!("trop: data directory '{}'", directory.display());
        let seat = Seat::new(directory, configuration.create, configuration.busy_timeout);
        let inner = Inner {
            place: Arc::new(Place::new(seat, Tenure::default())),
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
        self.seat().with(|_| Ok(()))
    }

    /// The process-wide registry of the current data directory and working directory, with default options;
    /// the database is opened at the first use and kept open.
    ///
    /// # Errors
    /// As [`Registry::open_lazily`].
    pub fn shared() -> Result<Registry> {
        Registry::shared_in(None)
    }

    /// As [`Registry::shared`], in a data directory that a language with an environment of its own looked up;
    /// none means `TROP_DATA_DIR`, else `~/.trop`.
    ///
    /// # Errors
    /// As [`Registry::open_lazily`].
    pub fn shared_in(directory: Option<&Path>) -> Result<Registry> {
        type Place = (PathBuf, Option<PathBuf>);
        /// The most recently used first. Bounded, because each keeps files open and programs change directories.
        static SHARED: Mutex<Vec<(Place, Registry)>> = Mutex::new(Vec::new());
        const MOST: usize = 8;

        store::usable()?;
        let place: Place = (data_dir(directory)?, paths::current_dir().ok());
        // Locked nowhere else, so that a child never inherits it locked.
        let cached = store::locked_on(&SHARED, |shared| {
            let index = shared.iter().position(|(other, _)| *other == place)?;
            shared[..=index].rotate_right(1);
            Some(shared[0].1.clone())
        });
        if let Some(registry) = cached.filter(Registry::is_usable) {
            return Ok(registry);
        }
        let data_dir = Some(place.0.clone());
        let opened = Registry::open_lazily(RegistryOptions { data_dir, ..RegistryOptions::default() })?;
        let kept = opened.clone();
        let evicted = store::locked_on(&SHARED, move |shared| {
            shared.insert(0, (place, kept));
            (shared.len() > MOST).then(|| shared.pop())
        });
        drop(evicted);
        Ok(opened)
    }

    /// A registry in memory that starts as a copy of this one: what is done with it shows exactly what the same
    /// request would do here, and changes nothing. It needs no lock and creates no files.
    ///
    /// # Errors
    /// As [`Registry::open`].
    pub fn rehearsal(&self) -> Result<Registry> {
        let place = Place::new(self.seat().copy()?, self.tenure().rehearsal());
        Ok(self.derived(Arc::new(place), self.configuration().clone()))
    }

    /// This registry as a project file configures it: with the same connection, leases, lock wait and base of the path
    /// guard.
    ///
    /// # Errors
    /// As [`Configuration::resolve`].
    pub(crate) fn configured_by(&self, file: &Path) -> Result<Registry> {
        let options = self.0.options.clone();
        let configuration = Configuration::resolve_for(options, self.data_dir(), Some(file))?;
        Ok(self.derived(Arc::clone(&self.0.place), configuration))
    }

    /// A registry elsewhere, or with other settings, that was opened as this one was.
    fn derived(&self, place: Arc<Place>, configuration: Configuration) -> Registry {
        Registry(Arc::new(Inner {
            place,
            options: self.0.options.clone(),
            configuration,
            base: self.0.base.clone(),
            poisoned: AtomicBool::new(false),
        }))
    }

    /// Closes the registry for all its clones and ends its leases; later calls fail with [`Error::Closed`]. Closing twice
    /// is no error.
    ///
    /// An operation of another thread is not interrupted.
    pub fn close(&self) {
        self.tenure().end(self.seat());
        self.seat().close();
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

    /// Whether it was closed, through whichever clone.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.seat().is_closed()
    }

    fn is_usable(&self) -> bool {
        !self.is_closed() && !self.0.poisoned.load(Ordering::SeqCst)
    }

    /// The data directory, absolute.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        self.seat().directory()
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

    pub(crate) fn seat(&self) -> &Seat {
        &self.0.place.seat
    }

    pub(crate) fn tenure(&self) -> &Tenure {
        &self.0.place.tenure
    }

    pub(crate) fn git(&self) -> &git::Known {
        &self.0.place.git
    }

    pub(crate) fn recent(&self) -> &Recent {
        &self.0.place.recent
    }

    /// One change, complete or not at all. Leases that were closed while the database was busy end with it.
    pub(crate) fn write<T>(&self, change: impl FnMut(&Connection) -> Result<T>) -> Result<T> {
        self.write_in(self.seat().timeout(), change)
    }

    /// As [`Registry::write`], with another bound for all waits.
    pub(crate) fn write_in<T>(
        &self,
        wait: Duration,
        mut change: impl FnMut(&Connection) -> Result<T>,
    ) -> Result<T> {
        let (value, ended) = self.seat().with_in(wait, |database| {
            database.write(|transaction| {
                let ended = self.tenure().end_closed(transaction)?;
                Ok((change(transaction)?, ended))
            })
        })?;
        self.tenure().forget(&ended);
        Ok(value)
    }

    pub(crate) fn range(&self, min: Option<Port>, max: Option<Port>) -> Result<PortRange> {
        match (min, max) {
            (Some(min), Some(max)) => PortRange::new("min", min, max),
            (min, max) => self.configuration().range(min, max),
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
        // What went wrong when the registry was opened is still wrong, or it is not known any more.
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
