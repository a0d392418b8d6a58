//! The project and the task of a reservation: what was asked for, and what may be stored.

use crate::config::Configuration;
use crate::machine::{CheckoutCache, Inferred};
use crate::model::{Error, Reservation, Result, Timestamp, identifier};

/// What a request says about the project or the task of a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// Nothing. The registry's setting applies; without one an existing reservation keeps its value, and a
    /// new one gets the name that git gives.
    #[default]
    Omitted,
    /// This text, which follows the rule of [`identifier`](crate::identifier).
    Set(String),
    /// No value, whatever the settings and git say.
    Clear,
}

impl Field {
    /// Combines two options, of which at most one may be given: the text to store, and a switch to store
    /// none. `clear` is the name of the switch in the error.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `clear` when both are given.
    pub fn new(clear: &'static str, text: Option<String>, is_cleared: bool) -> Result<Field> {
        match (text, is_cleared) {
            (Some(_), true) => Err(Error::invalid(clear, "Cannot specify both a text and clearing it")),
            (Some(text), false) => Ok(Field::Set(text)),
            (None, true) => Ok(Field::Clear),
            (None, false) => Ok(Field::Omitted),
        }
    }
}

/// The project and the task that a request asks for, with everything decided that does not depend on the
/// database.
pub(super) struct Metadata {
    pub(super) project: Field,
    pub(super) task: Field,
    may_change_project: bool,
    may_change_task: bool,
    /// The names that git gives, once they were looked up.
    inferred: Option<Inferred>,
}

impl Metadata {
    /// Combines the request and the configuration. `may_change` says which changes the request permits.
    pub(super) fn new(
        configuration: &Configuration,
        project: &Field,
        task: &Field,
        may_change: MayChange,
    ) -> Result<Metadata> {
        Ok(Metadata {
            project: explicit("project", project, configuration.project.as_deref())?,
            task: explicit("task", task, configuration.task.as_deref())?,
            may_change_project: may_change.project || configuration.allow_change_project,
            may_change_task: may_change.task || configuration.allow_change_task,
            inferred: None,
        })
    }

    /// Whether a new key needs the names that git gives, and they were not looked up yet.
    pub(super) fn needs_git(&self) -> bool {
        self.inferred.is_none() && (self.project == Field::Omitted || self.task == Field::Omitted)
    }

    /// Looks up the names that git gives for a path, which may be slow.
    pub(super) fn ask_git(&mut self, checkouts: &CheckoutCache, path: &str) {
        self.inferred = Some(checkouts.names_for(path.as_ref()));
    }

    /// The project and the task of a new key.
    pub(super) fn initial(&self) -> (Option<String>, Option<String>) {
        let inferred = self.inferred.as_ref();
        let project = inferred.and_then(|inferred| inferred.project.as_deref());
        let task = inferred.and_then(|inferred| inferred.task.as_deref());
        (initial(&self.project, project), initial(&self.task, task))
    }

    /// Whether a request at `now` would leave an existing reservation unchanged.
    pub(super) fn keeps(&self, stored: &Reservation, now: Timestamp) -> bool {
        let keeps = |asked: &Field, stored: Option<&str>| match asked {
            Field::Omitted => true,
            Field::Set(text) => stored == Some(text),
            Field::Clear => stored.is_none(),
        };
        stored.last_used_at == now
            && keeps(&self.project, stored.project.as_deref())
            && keeps(&self.task, stored.task.as_deref())
    }

    /// Returns an existing reservation as it is after a request at `now`.
    ///
    /// # Errors
    /// [`Error::StickyField`] for a change that is not permitted.
    pub(super) fn used(&self, stored: &Reservation, now: Timestamp) -> Result<Reservation> {
        let Reservation { project, task, .. } = stored;
        let project = changed("project", project.as_deref(), &self.project, self.may_change_project)?;
        let task = changed("task", task.as_deref(), &self.task, self.may_change_task)?;
        Ok(Reservation { project, task, last_used_at: now, ..stored.clone() })
    }
}

/// Which stored fields a request may change.
#[derive(Clone, Copy)]
pub(super) struct MayChange {
    pub(super) project: bool,
    pub(super) task: bool,
}

/// The value of the request, else of the setting, trimmed; omitted if neither is given.
fn explicit(field: &'static str, asked: &Field, setting: Option<&str>) -> Result<Field> {
    let text = match (asked, setting) {
        (Field::Set(text), _) => text,
        (Field::Omitted, Some(text)) => text,
        (other, _) => return Ok(other.clone()),
    };
    Ok(Field::Set(identifier(field, text)?.to_owned()))
}

/// The value for a new key.
fn initial(asked: &Field, inferred: Option<&str>) -> Option<String> {
    match asked {
        Field::Omitted => inferred.map(str::to_owned),
        Field::Set(text) => Some(text.clone()),
        Field::Clear => None,
    }
}

/// The value for an existing key.
fn changed(
    field: &'static str,
    stored: Option<&str>,
    asked: &Field,
    may_change: bool,
) -> Result<Option<String>> {
    let stored = stored.map(str::to_owned);
    let requested = match asked {
        Field::Omitted => return Ok(stored),
        Field::Set(text) => Some(text.clone()),
        Field::Clear => None,
    };
    if requested != stored && !may_change {
        return Err(Error::StickyField { field, stored, requested });
    }
    Ok(requested)
}
