//! The project and the task of a reservation: what was asked for, and what may be stored.

use crate::config::Configuration;
use crate::machine::{CheckoutCache, Inferred};
use crate::model::{Error, Reservation, Result, Timestamp, identifier};

/// What a request says about the project or the task of a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// Nothing: the registry's setting counts; without one an existing reservation keeps what it has and a
    /// new one gets what git says.
    #[default]
    Omitted,
    /// This text, which follows the rule of [`identifier`](crate::identifier).
    Set(String),
    /// None, whatever settings and git say.
    Clear,
}

impl Field {
    /// What two options mean, of which at most one may say something: a text, and the wish to store none,
    /// which is the option called `clear`.
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

/// The project and the task a request stores, with everything decided that does not depend on the database.
pub(super) struct Metadata {
    pub(super) project: Field,
    pub(super) task: Field,
    may_change_project: bool,
    may_change_task: bool,
    /// What git said, once it was asked.
    inferred: Option<Inferred>,
}

impl Metadata {
    /// What a request asks for and the configuration adds; `may_change` says what the request permits.
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

    /// Whether git has something to say about a new key and was not asked yet.
    pub(super) fn needs_git(&self) -> bool {
        self.inferred.is_none() && (self.project == Field::Omitted || self.task == Field::Omitted)
    }

    /// Asks git about a path, which may be slow.
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

    /// Whether using an existing reservation now would leave it as it is.
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

    /// An existing reservation as it is after being used now.
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

/// What the request or the setting says, trimmed; omitted if neither says anything.
fn explicit(field: &'static str, asked: &Field, setting: Option<&str>) -> Result<Field> {
    let text = match (asked, setting) {
        (Field::Set(text), _) => text,
        (Field::Omitted, Some(text)) => text,
        (other, _) => return Ok(other.clone()),
    };
    Ok(Field::Set(identifier(field, text)?.to_owned()))
}

/// What a new key gets.
fn initial(asked: &Field, inferred: Option<&str>) -> Option<String> {
    match asked {
        Field::Omitted => inferred.map(str::to_owned),
        Field::Set(text) => Some(text.clone()),
        Field::Clear => None,
    }
}

/// What an existing key gets.
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
