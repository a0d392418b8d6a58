//! Where a registry has lately found nothing but closing ports.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fork;
use crate::machine::KernelSockets;
use crate::model::PortRange;

/// The range in which the last search came upon so many closing ports that it took one of them. In a suite of
/// quick server tests all ports of a range are closing; were each search to look for others first, and to ask
/// the kernel about all sockets, it would take thirty times as long (`make bench BENCH=churn`).
#[derive(Default)]
pub(crate) struct ClosingRange(Mutex<Option<Noted>>);

#[derive(Clone)]
struct Noted {
    range: PortRange,
    since: Instant,
    /// Which sockets were bound when the kernel was last asked.
    bound: Option<Arc<KernelSockets>>,
}

impl ClosingRange {
    /// How long it is remembered. Ports are closing for up to a minute.
    const LASTS: Duration = Duration::from_secs(1);
    /// How long the kernel's answer is used at least. Somebody who binds a closing port right after the
    /// answer is as little to be noticed as somebody who binds it right after a lease.
    const ANSWER_LASTS: Duration = Duration::from_millis(5);
    /// How many times as long as the question took it is used. With 50,000 closing connections that is some
    /// milliseconds.
    const ANSWER_LASTS_TIMES: u32 = 4;

    /// Notes that a search in this range has met nothing but closing ports, and what the kernel has told it.
    pub(crate) fn note(&self, range: PortRange, bound: Option<&Arc<KernelSockets>>) {
        self.note_at(range, bound, Instant::now());
    }

    /// Notes what the kernel has told.
    pub(crate) fn note_answer(&self, bound: Option<&Arc<KernelSockets>>) {
        fork::locked_on(&self.0, |noted| {
            if let Some(noted) = noted {
                noted.bound = bound.cloned();
            }
        });
    }

    /// Whether a search in this range need not look for other ports.
    pub(crate) fn is(&self, range: PortRange) -> bool {
        self.is_at(range, Instant::now())
    }

    /// What the kernel has told just now.
    pub(crate) fn answer(&self) -> Option<Arc<KernelSockets>> {
        let bound = fork::locked_on(&self.0, |noted| noted.as_ref()?.bound.clone());
        let lasts = |took: Duration| ClosingRange::ANSWER_LASTS.max(took * ClosingRange::ANSWER_LASTS_TIMES);
        bound.filter(|bound| bound.age() < lasts(bound.took()))
    }

    fn note_at(&self, range: PortRange, bound: Option<&Arc<KernelSockets>>, since: Instant) {
        let noted = Noted { range, since, bound: bound.cloned() };
        fork::locked_on(&self.0, |former| *former = Some(noted));
    }

    fn is_at(&self, range: PortRange, now: Instant) -> bool {
        fork::locked_on(&self.0, |noted| {
            let is_current = |noted: &Noted| now.duration_since(noted.since) < ClosingRange::LASTS;
            noted.as_ref().is_some_and(|noted| noted.range == range && is_current(noted))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Port;

    #[test]
    fn it_is_remembered_for_a_second_and_for_that_range() {
        let (closing, now) = (ClosingRange::default(), Instant::now());
        assert!(!closing.is_at(PortRange::ALL, now));
        closing.note_at(PortRange::ALL, None, now);
        assert!(closing.is_at(PortRange::ALL, now));
        assert!(closing.is_at(PortRange::ALL, now + Duration::from_millis(999)));
        assert!(!closing.is_at(PortRange::ALL, now + Duration::from_secs(1)));
        assert!(!closing.is_at(PortRange::only(Port::MAX), now));
    }
}
