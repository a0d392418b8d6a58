//! Reads the registry without changing it.

use std::path::{Path, PathBuf};

use super::lease::Holder;
use crate::model::{Key, Port, Reservation, Result, paths};
use crate::registry::Registry;
use crate::store;

/// Which reservations to return: those that match every field that is given.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Filter {
    /// Exactly this project, untrimmed.
    pub project: Option<String>,
    /// Exactly this tag, untrimmed.
    pub tag: Option<String>,
    /// This path and everything below it, compared as text or with the symbolic links of both followed. It
    /// need not exist.
    pub path: Option<PathBuf>,
}

impl Registry {
    /// The reservation of exactly this key.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn find(&self, key: &Key) -> Result<Option<Reservation>> {
        self.read(|snapshot| store::by_key(snapshot, key))
    }

    /// The reservation that has a port; [`Registry::holder`] knows leases too.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn find_port(&self, port: Port) -> Result<Option<Reservation>> {
        Ok(match self.holder(port)? {
            Some(Holder::Reservation(reservation)) => Some(reservation),
            _ => None,
        })
    }

    /// Every reservation, ordered by path, then tag, the untagged one first.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn list(&self) -> Result<Vec<Reservation>> {
        self.read(store::list)
    }

    /// The reservations that match a filter, in the order of [`Registry::list`].
    ///
    /// # Errors
    /// As [`Key::new`] for the filter's path, and every error of the database.
    pub fn list_filtered(&self, filter: &Filter) -> Result<Vec<Reservation>> {
        let below = filter.path.as_deref().map(Below::new).transpose()?;
        let mut reservations = self.list()?;
        reservations.retain(|reservation| {
            filter.project.as_deref().is_none_or(|project| reservation.project.as_deref() == Some(project))
                && filter
                    .tag
                    .as_deref()
                    .is_none_or(|tag| reservation.key.tag().is_some_and(|stored| stored.as_str() == tag))
        });
        // Done outside the transaction, because following symbolic links can hang on some file systems.
        if let Some(below) = below {
            let mut last: Option<(String, bool)> = None;
            reservations.retain(|reservation| {
                let path = reservation.key.path();
                match &last {
                    // The rows are ordered by path, so each path is resolved once.
                    Some((previous, answer)) if previous == path => *answer,
                    _ => last.insert((path.to_owned(), below.contains(Path::new(path)))).1,
                }
            });
        }
        Ok(reservations)
    }

    /// The distinct projects of all reservations, in the order of their bytes.
    ///
    /// # Errors
    /// Every error of the database.
    pub fn projects(&self) -> Result<Vec<String>> {
        let mut projects: Vec<_> = self.list()?.into_iter().filter_map(|row| row.project).collect();
        projects.sort_unstable();
        projects.dedup();
        Ok(projects)
    }
}

/// A path and everything below it.
struct Below {
    normal: PathBuf,
    canonical: Option<PathBuf>,
}

impl Below {
    fn new(path: &Path) -> Result<Below> {
        let normal = PathBuf::from(paths::normalise("path", path)?);
        let canonical = normal.canonicalize().ok();
        Ok(Below { normal, canonical })
    }

    fn contains(&self, path: &Path) -> bool {
        if path.starts_with(&self.normal) {
            return true;
        }
        let Some(canonical) = &self.canonical else { return false };
        path.canonicalize().is_ok_and(|path| path.starts_with(canonical))
    }
}
