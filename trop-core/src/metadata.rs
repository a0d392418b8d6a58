//! The project and the task of a reservation: what was asked for, and what may be stored.

use crate::error::{Error, Result};
use crate::tag::identifier;

/// What a request says about the project or the task of a reservation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Field {
    /// Nothing: the registry's setting counts; without one an existing reservation keeps what it has and a new
    /// one gets what git says.
    #[default]
    Omitted,
    /// This text, which follows the rule of [`identifier`](crate::identifier).
    Set(String),
    /// None, whatever settings and git say.
    Clear,
}

impl Field {
    /// What two options mean, of which at most one may say something: a text, and the wish to store none, which is the
    /// option called `clear`.
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

/// What the request or the setting says, trimmed; omitted if neither says anything.
pub(crate) fn explicit(field: &'static str, asked: &Field, setting: Option<&str>) -> Result<Field> {
    let text = match (asked, setting) {
        (Field::Set(text), _) => text,
        (Field::Omitted, Some(text)) => text,
        (other, _) => return Ok(other.clone()),
    };
    Ok(Field::Set(identifier(field, text)?.to_owned()))
}

/// What a new key gets.
pub(crate) fn initial(asked: &Field, inferred: Option<&str>) -> Option<String> {
    match asked {
        Field::Omitted => inferred.map(str::to_owned),
        Field::Set(text) => Some(text.clone()),
        Field::Clear => None,
    }
}

/// What an existing key gets.
pub(crate) fn changed(
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
