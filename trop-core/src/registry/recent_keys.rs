//! Which keys a registry has stored lately, and when.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::fork;
use crate::model::{Key, Timestamp};

/// The keys that a registry has stored lately. Such a key most likely still has its reservation, so git need
/// not be asked about it. Within the same second its row would not change at all, because the time of last
/// use is stored in whole seconds.
#[derive(Default)]
pub(crate) struct RecentKeys(Mutex<BTreeMap<Key, Timestamp>>);

impl RecentKeys {
    /// The largest number of keys. A key that was forgotten only costs a query.
    const MOST: usize = 1024;

    /// When a key was last stored.
    pub(crate) fn time(&self, key: &Key) -> Option<Timestamp> {
        self.with(|keys| keys.get(key).copied())
    }

    pub(crate) fn add(&self, key: Key, time: Timestamp) {
        self.with(|keys| {
            if keys.len() >= RecentKeys::MOST && !keys.contains_key(&key) {
                keys.clear();
            }
            keys.insert(key, time);
        });
    }

    fn with<T>(&self, run: impl FnOnce(&mut BTreeMap<Key, Timestamp>) -> T) -> T {
        fork::locked_on(&self.0, run)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_bounded_and_the_last_one_is_among_them() {
        let recent = RecentKeys::default();
        let key = |number: usize| Key::stored(format!("/{number}"), None);
        for number in 0..=2 * RecentKeys::MOST {
            recent.add(key(number), Timestamp::LAST);
            assert_eq!(recent.time(&key(number)), Some(Timestamp::LAST));
        }
        assert!(recent.with(|keys| keys.len()) <= RecentKeys::MOST);
        assert_eq!(recent.time(&key(0)), None);
    }
}
