//! Which keys a registry has stored within the current second.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::reservation::{Key, Timestamp};
use crate::store;

/// Asked for once more within the second, such a key needs no change: its time of last use is a whole second. Locked for
/// moments only and with forks kept out, so that no child ever inherits it locked.
#[derive(Default)]
pub(crate) struct Recent(Mutex<Option<Second>>);

struct Second {
    time: Timestamp,
    keys: BTreeSet<Key>,
}

impl Recent {
    /// How many keys are kept. More are not worth their memory: forgetting one costs a change that nobody needed.
    const MOST: usize = 256;

    pub(crate) fn add(&self, key: &Key, time: Timestamp) {
        self.with(|second| {
            let current =
                second.take().filter(|second| second.time == time && second.keys.len() < Recent::MOST);
            let current = current.unwrap_or_else(|| Second { time, keys: BTreeSet::new() });
            second.insert(current).keys.insert(key.clone());
        });
    }

    pub(crate) fn has(&self, key: &Key, time: Timestamp) -> bool {
        self.with(|second| {
            second.as_ref().is_some_and(|second| second.time == time && second.keys.contains(key))
        })
    }

    fn with<T>(&self, run: impl FnOnce(&mut Option<Second>) -> T) -> T {
        store::locked(|| run(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
