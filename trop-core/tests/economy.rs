//! Work that calls avoid: needless writes, locks and queries. Nothing here measures time.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use common::{Process, Scratch, isolated, options, port, release, reserve};
use trop_core::{Code, Field, LeaseRequest, Registry, RegistryOptions, ReleaseRequest, ReserveRequest};

/// How many write system calls this process has made, to any file.
fn writes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    io.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap().parse().unwrap()
}

#[test]
fn a_change_is_written_in_one_piece() {
    isolated("a_change_is_written_in_one_piece", |scratch| {
        let registry = scratch.open();
        let leases: Vec<_> = (0..3).map(|_| registry.lease(&LeaseRequest::default()).unwrap()).collect();
        let before = writes();
        for number in 0..20 {
            reserve(&registry, "/p", &number.to_string()).unwrap();
        }
        let reserved = writes() - before;
        let more: Vec<_> = (0..20).map(|_| registry.lease(&LeaseRequest::default()).unwrap()).collect();
        let both = writes() - before;
        assert_eq!((reserved, both), (20, 40));
        drop((leases, more));
        common::assert_sound(&scratch.database());
    });
}

/// Runs something within one second of the clock; again if the second changed meanwhile.
fn within_a_second<T>(mut run: impl FnMut() -> T) -> T {
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    loop {
        let (began, result) = (second(), run());
        if second() == began {
            return result;
        }
    }
}

#[test]
fn asking_again_within_the_second_takes_no_lock() {
    let scratch = Scratch::new();
    let mut options: RegistryOptions = options(&scratch.dir());
    options.busy_timeout = Some(Duration::ZERO);
    let registry = Registry::open(options.clone()).unwrap();
    let other = Registry::open(options).unwrap();
    let request = common::request("/p", "a");
    let port = registry.reserve(&request).unwrap().reservation.port;
    let mut busy = Process::python(
        &scratch.database(),
        "for line in sys.stdin:\n\
         \x20   db.execute(line.strip())\n\
         \x20   say('done')",
    );
    let mut execute = |statement: &str| {
        busy.say(statement);
        assert_eq!(busy.hear(), "done");
    };
    let (again, changed, anew, elsewhere) = within_a_second(|| {
        registry.reserve(&request).unwrap();
        execute("BEGIN IMMEDIATE");
        let again = registry.reserve(&request);
        let mut changed = request.clone();
        changed.project = Field::Set("other".to_owned());
        let changed = registry.reserve(&changed);
        let mut anew = request.clone();
        anew.overwrite = true;
        let anew = registry.reserve(&anew);
        let elsewhere = other.reserve(&request);
        execute("ROLLBACK");
        (again, changed, anew, elsewhere)
    });
    let again = again.unwrap();
    assert_eq!((again.reservation.port, again.created, again.refusal), (port, false, None));
    // What would change something needs the lock, and so does a registry that has not stored the key itself.
    for other in [changed, anew, elsewhere] {
        assert_eq!(other.unwrap_err().code(), Code::Busy);
    }
}

#[test]
fn asking_again_within_the_second_sees_what_others_did() {
    let scratch = Scratch::new();
    let (registry, other) = (scratch.open(), scratch.open());
    let request = common::request("/p", "a");
    for _ in 0..20 {
        let first = registry.reserve(&request).unwrap().reservation.port;
        assert_eq!(release(&other, "/p", "a").unwrap(), 1);
        let taken = reserve(&other, "/q", "b").unwrap();
        assert_eq!(taken, first.get());
        let second = registry.reserve(&request).unwrap();
        assert!(second.created);
        assert_ne!(second.reservation.port, first);
        let mut project = request.clone();
        (project.project, project.allow_project_change) = (Field::Set("theirs".to_owned()), true);
        other.reserve(&project).unwrap();
        assert_eq!(registry.reserve(&request).unwrap().reservation.project.as_deref(), Some("theirs"));
        project.project = Field::Set("mine".to_owned());
        project.allow_project_change = false;
        assert_eq!(registry.reserve(&project).unwrap_err().code(), Code::StickyField);
        assert_eq!(release(&registry, "/p", "a").unwrap() + release(&registry, "/q", "b").unwrap(), 2);
    }
}

/// A key that this registry has stored before is looked up under the lock at once. If it is gone, git is
/// asked after the lock was given up.
#[test]
fn a_known_key_that_is_gone_gets_its_names_anew() {
    let scratch = Scratch::new();
    let checkout = scratch.root().canonicalize().unwrap().join("shop");
    for part in ["objects", "refs"] {
        fs::create_dir_all(checkout.join(".git").join(part)).unwrap();
    }
    let (registry, other) = (scratch.open(), scratch.open());
    let mut request = ReserveRequest::default();
    request.path = Some(checkout.clone());
    for branch in ["one", "two"] {
        fs::write(checkout.join(".git/HEAD"), format!("ref: refs/heads/{branch}\n")).unwrap();
        let reserved = registry.reserve(&request).unwrap();
        assert!(reserved.created);
        let names = (reserved.reservation.project, reserved.reservation.task);
        assert_eq!(names, (Some("shop".to_owned()), Some(branch.to_owned())));
        // An existing key keeps its names, whatever git says.
        fs::write(checkout.join(".git/HEAD"), "ref: refs/heads/later\n").unwrap();
        assert_eq!(registry.reserve(&request).unwrap().reservation.task.as_deref(), Some(branch));
        assert_eq!(
            {
                let mut request = ReleaseRequest::default();
                request.path = Some(checkout.clone());
                other.release(&request).unwrap()
            },
            1
        );
    }
}

/// More keys than a registry remembers.
#[test]
fn any_number_of_keys_is_asked_for_again() {
    let scratch = Scratch::new();
    let mut options = options(&scratch.dir());
    options.occupancy.skip = true;
    let registry = Registry::open(options).unwrap();
    let all = || -> Vec<u16> {
        (0..1500).map(|number| reserve(&registry, "/p", &number.to_string()).unwrap()).collect()
    };
    let first = all();
    assert_eq!(all(), first);
    assert_eq!(first[0], port(20000).get());
}
