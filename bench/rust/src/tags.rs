//! The tags of this process.

use std::collections::VecDeque;
use std::process;

use crate::Result;

/// Makes tags, and knows which are reserved.
#[derive(Default)]
pub(crate) struct Tags {
    made: usize,
    /// The oldest first.
    reserved: VecDeque<String>,
}

impl Tags {
    /// Tags nobody had: PID-1, PID-2 and so on.
    pub(crate) fn make(&mut self, count: usize) -> Vec<String> {
        let first = self.made + 1;
        self.made += count;
        (first..=self.made).map(|number| format!("{}-{number}", process::id())).collect()
    }

    /// Keeps the made tags whose reservation went well.
    pub(crate) fn keep<T, E>(&mut self, tags: Vec<String>, reserved: &[std::result::Result<T, E>]) {
        let reserved = tags.into_iter().zip(reserved).filter(|(_, result)| result.is_ok());
        self.reserved.extend(reserved.map(|(tag, _)| tag));
    }

    /// The tags that have been reserved for longest.
    pub(crate) fn oldest(&self, count: usize) -> Result<Vec<String>> {
        if count > self.reserved.len() {
            return Err(format!("only {} tags are reserved", self.reserved.len()).into());
        }
        Ok(self.reserved.iter().take(count).cloned().collect())
    }

    /// Drops the oldest tags, except those whose release failed.
    pub(crate) fn drop_oldest<T, E>(&mut self, released: &[std::result::Result<T, E>]) {
        let mut released = released.iter().map(std::result::Result::is_ok);
        self.reserved.retain(|_| !released.next().unwrap_or(false));
    }

    /// The tag that was reserved last.
    pub(crate) fn last(&self) -> Option<&str> {
        self.reserved.back().map(String::as_str)
    }
}
