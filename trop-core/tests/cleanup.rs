//! What clean-up and overwriting leave alone: rows of unreadable directories, leases, damaged rows,
//! exclusions.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;

use common::{Scratch, allow, become_nobody, code, isolated, listed, port, python, range, reserve};
use trop_core::{Code, LeaseRequest, Refusal, Registry, ReleaseRequest};

/// Trap 50 (an unreadable directory is missing).
#[test]
fn a_directory_behind_closed_doors_keeps_its_reservations() {
    isolated("a_directory_behind_closed_doors_keeps_its_reservations", |scratch| {
        let root = scratch.root().to_str().unwrap();
        let (closed, inside) = (format!("{root}/closed"), format!("{root}/closed/inside"));
        let registry = scratch.open();
        for path in [&inside, &format!("{root}/gone")] {
            reserve(&registry, path, "a").unwrap();
        }
        registry.close();
        fs::create_dir_all(&inside).unwrap();
        for (path, mode) in [(scratch.root(), 0o755), (&scratch.dir(), 0o777), (&scratch.database(), 0o666)] {
            allow(path, mode);
        }
        allow(closed.as_ref(), 0o000);
        become_nobody();
        let cleanup = scratch.open().autoclean(None).unwrap();
        assert_eq!(cleanup.total(), 1);
        let kept: Vec<_> =
            cleanup.preserved.iter().map(|kept| (kept.path.as_str(), kept.cause.as_str())).collect();
        assert_eq!(kept, [(inside.as_str(), "permission denied")]);
        assert_eq!(listed(&scratch.open()).len(), 1);
    });
}

#[test]
fn leases_are_nobodys_reservations() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    reserve(&registry, "/gone/stale", "a").unwrap();
    let lease = registry.lease(&LeaseRequest::default()).unwrap();
    assert_eq!(lease.port(), port(20001));
    assert_eq!(registry.prune().unwrap().total(), 1);
    assert_eq!(registry.expire(Some(1)).unwrap().total(), 0);
    let mut below = ReleaseRequest::default();
    (below.path, below.recursive) = (Some("/".into()), true);
    assert_eq!(registry.release(&below).unwrap(), 0);
    let mut request = common::request("/", "b");
    (request.min, request.max) = (Some(port(20001)), Some(port(20001)));
    (request.disable_autoprune, request.disable_autoexpire, request.force) = (false, false, true);
    assert_eq!(code(registry.reserve(&request)), Code::Exhausted);
    assert_eq!(registry.find_port(port(20001)).unwrap(), None);
    assert!(lease.is_open() && registry.leases().unwrap().len() == 1);
}

/// Trap 54 (a failure leaves a part done).
#[test]
fn a_damaged_row_stops_a_cleanup_before_it_removes_anything() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    reserve(&registry, "/gone", "a").unwrap();
    reserve(&registry, "/gone", "b").unwrap();
    python(&scratch.database(), "db.execute(\"UPDATE reservations SET task = ' ' WHERE tag = 'b'\")");
    let before = common::dump(&scratch.database());
    assert_eq!(code(registry.prune()), Code::Corrupt);
    assert_eq!(code(registry.autoclean(Some(1))), Code::Corrupt);
    assert_eq!(common::dump(&scratch.database()), before);
}

/// Trap 52 (zero days).
#[test]
fn zero_days_are_refused() {
    let registry = Scratch::new().open();
    assert_eq!(code(registry.expire(Some(0))), Code::InvalidArgument);
    assert_eq!(code(registry.autoclean(Some(0))), Code::InvalidArgument);
}

/// Traps 28 (a flag does nothing), 33 (one ignore flag does more).
#[test]
fn only_the_preferred_port_may_be_excluded_and_only_by_asking() {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    options.ports = Some(range(21000, 21009));
    options.excluded.insert_range(range(21000, 21005));
    let registry = Registry::open(options).unwrap();
    let ask = |change: &dyn Fn(&mut trop_core::ReserveRequest)| {
        let mut request = common::request("/p", "a");
        request.preferred = Some(port(21003));
        request.overwrite = true;
        change(&mut request);
        let reserved = registry.reserve(&request).unwrap();
        (reserved.reservation.port.get(), reserved.refusal)
    };
    let refused = (21006, Some(Refusal::Excluded));
    assert_eq!(ask(&|_| ()), refused);
    assert_eq!(ask(&|request| request.ignore_occupied = true), refused);
    assert_eq!(ask(&|request| request.ignore_exclusions = true), (21003, None));
    assert_eq!(ask(&|_| ()), refused, "its own port is an ordinary candidate");
    assert_eq!(ask(&|request| request.force = true), (21003, None));
    let without = ask(&|request| {
        request.preferred = None;
        request.ignore_exclusions = true;
    });
    assert_eq!(without, (21006, None));
    common::assert_sound(&scratch.database());
}

/// Traps 34 (force takes another key's port), 39 (a key that appears meanwhile).
#[test]
fn a_key_that_appears_before_the_lock_is_an_existing_one() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    reserve(&registry, "/p", "other").unwrap();
    let mut writer = common::Process::locking_and(
        &scratch.database(),
        "INSERT INTO reservations VALUES ('/p', 'a', 21500, 'theirs', NULL, 1000, 1000)",
    );
    std::thread::scope(|scope| {
        // Whether it is met before or after the commit, the row is seen under the lock.
        let asked = scope.spawn(|| registry.reserve(&common::request("/p", "a")).unwrap());
        writer.say("go on");
        let reserved = asked.join().unwrap();
        assert_eq!((reserved.created, reserved.reservation.port), (false, port(21500)));
        assert_eq!(reserved.reservation.project.as_deref(), Some("theirs"));
    });
    writer.finish();
}
