//! `release`: give ports back.

use std::path::PathBuf;
use std::slice;

use super::lease::{Holder, LeaseInfo, find_keepers};
use crate::model::{Error, Key, Port, Reservation, Result, Tag, paths};
use crate::registry::Registry;
use crate::store::{self, Selection};

/// What to release: by default every reservation of the physical working directory, tagged or not.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReleaseRequest {
    /// The path; none means the physical working directory.
    pub path: Option<PathBuf>,
    /// Only the reservation with this tag.
    pub tag: Option<Tag>,
    /// Only the reservation without a tag.
    pub untagged_only: bool,
    /// Whether the same is released of every path below it.
    pub recursive: bool,
    /// Whether the path may be unrelated to the working directory; true by default.
    pub allow_unrelated_path: bool,
}

impl Default for ReleaseRequest {
    fn default() -> ReleaseRequest {
        ReleaseRequest {
            path: None,
            tag: None,
            untagged_only: false,
            recursive: false,
            allow_unrelated_path: true,
        }
    }
}

impl ReleaseRequest {
    /// Replaces the path by the absolute path that it means now, for requests that are executed later or on
    /// another thread.
    ///
    /// # Errors
    /// As [`Key::new`].
    pub fn pin_path(&mut self) -> Result<()> {
        paths::pin(&mut self.path)
    }
}

impl Registry {
    /// Releases a port, whatever its path. Returns who had it; a port that nobody has is no error. A lease is
    /// ended only with `force`, unless its owner is dead or is this registry.
    ///
    /// # Errors
    /// [`Error::Leased`], [`Error::Busy`] and every error of the database. Nothing is changed then.
    pub fn release_port(&self, port: Port, force: bool) -> Result<Option<Holder>> {
        let may_end = |lease: &LeaseInfo| force || !lease.alive || self.session().has(lease.id());
        let released = self.write(|transaction| match self.holder_in(transaction, port)? {
            None => Ok(Ok(None)),
            Some(Holder::Reservation(row)) => {
                store::remove(transaction, &row.key)?;
                Ok(Ok(Some(Holder::Reservation(row))))
            }
            Some(Holder::Lease(lease)) if may_end(&lease) => {
                store::remove_lease(transaction, lease.id())?;
                Ok(Ok(Some(Holder::Lease(lease))))
            }
            Some(Holder::Lease(lease)) => Ok(Err(lease)),
        })?;
        let released = released.map_err(|mut lease| {
            find_keepers(slice::from_mut(&mut lease));
            Error::Leased { port, holder: lease.holder() }
        })?;
        if let Some(Holder::Lease(lease)) = &released {
            self.session().forget(&[lease.id()].into());
        }
        Ok(released)
    }

    /// Releases the selected reservations, all or none. Returns how many there were; 0 is no error.
    ///
    /// # Errors
    /// As [`Registry::release_listed`].
    pub fn release(&self, request: &ReleaseRequest) -> Result<usize> {
        Ok(self.release_listed(request)?.len())
    }

    /// Like [`Registry::release`], but returns the reservations, ordered by path, then tag.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when both a tag and `untagged_only` are given, [`Error::Busy`],
    /// [`Error::UnrelatedPath`], and every error of the database. Nothing is changed then.
    pub fn release_listed(&self, request: &ReleaseRequest) -> Result<Vec<Reservation>> {
        let selection = match (&request.tag, request.untagged_only) {
            (Some(_), true) => {
                return Err(Error::invalid(
                    "untagged_only",
                    "Cannot specify both a tag and the untagged reservation only",
                ));
            }
            (Some(tag), false) => Selection::Tagged(tag),
            (None, true) => Selection::Untagged,
            (None, false) => Selection::All,
        };
        let key = Key::new(request.path.as_deref(), None)?;
        let related = request.allow_unrelated_path || self.is_related(key.path())?;
        self.write(|transaction| {
            if !related {
                return Err(self.unrelated(key.path()));
            }
            let rows = store::select(transaction, key.path(), selection, request.recursive)?;
            for row in &rows {
                store::remove(transaction, &row.key)?;
            }
            Ok(rows)
        })
    }
}
