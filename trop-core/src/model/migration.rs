//! What moving reservations from one path to another changes.

use serde_json::{Value, json};

use super::reservation::{Key, Reservation};

/// What [`Registry::migrate`](crate::Registry::migrate) did, or would have done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The normal form of the source.
    pub from: String,
    /// The normal form of the destination.
    pub to: String,
    /// The reservations to move, ordered by their old path, then tag. Empty when a recursive migration finds
    /// none, or when the source is the destination.
    pub moves: Vec<Move>,
    /// Other reservations that have a key at the destination. They are removed if the migration is forced.
    pub conflicts: Vec<Reservation>,
}

impl Migration {
    /// The migration as a JSON object with `from`, `to`, `moves` (an array of objects as of
    /// [`Reservation::to_json`], as they were, with the new path as `to`) and `conflicts` (an array as of
    /// [`Reservation::to_json`]).
    #[must_use]
    pub fn to_json(&self) -> Value {
        let moved = |row: &Move| {
            let mut object = row.before.to_json();
            object["to"] = row.key.path().into();
            object
        };
        json!({
            "from": self.from,
            "to": self.to,
            "moves": self.moves.iter().map(moved).collect::<Vec<_>>(),
            "conflicts": self.conflicts.iter().map(Reservation::to_json).collect::<Vec<_>>(),
        })
    }
}

/// One reservation that changes its path and nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Move {
    /// The reservation as it was.
    pub before: Reservation,
    /// Its new key.
    pub key: Key,
}
