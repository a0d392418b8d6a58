//! Who holds leases, and how the end of an owner is noticed: killed, forked, contained, recycled, by the
//! hundred.
#![cfg(unix)]
#![allow(unsafe_code, reason = "system calls the standard library does not have")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{BufRead, BufReader, Read, pipe};
use std::net::{Ipv4Addr, TcpListener};
use std::process::{self, Command};
use std::sync::{Barrier, Mutex};
use std::thread;

use common::fork::{Gate, adopt_orphans, fork, join_orphan};
use common::{
    Process, Scratch, code, filter_system_call, free_ports, hear, isolated, port, python, query, range,
    reserve, say, works,
};
use trop_core::{Code, Holder, Lease, LeaseRequest, OccupancyPolicy, ProcessState, Registry};

fn one(registry: &Registry) -> Lease {
    registry.lease(&LeaseRequest::default()).unwrap()
}

fn preferring(registry: &Registry, number: u16) -> u16 {
    let mut request = LeaseRequest::default();
    request.preferred = Some(port(number));
    registry.lease(&request).unwrap().port().get()
}

fn is_alive(registry: &Registry, number: u16) -> bool {
    matches!(registry.holder(port(number)).unwrap(), Some(Holder::Lease(lease)) if lease.alive)
}

/// How many leases are alive.
fn alive(registry: &Registry) -> usize {
    registry.leases().unwrap().iter().filter(|lease| lease.alive).count()
}

fn owner_files(scratch: &Scratch) -> usize {
    let names = fs::read_dir(scratch.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().starts_with("owner-")).count()
}

fn count(scratch: &Scratch, table: &str) -> i64 {
    query(&scratch.database(), &format!("SELECT count(*) FROM {table}"))[0][0].as_i64().unwrap()
}

/// Takes leases and closes them for ever, and really uses each of them, until it is killed.
fn take_and_bind() -> ! {
    let dir = trop_core::data_dir(None).unwrap();
    let first: u16 = hear().unwrap().parse().unwrap();
    let mut options = common::options(&dir);
    options.ports = Some(range(first, first + RANGE - 1));
    // The sockets of the dead are closed in any order.
    options.occupancy = OccupancyPolicy::default();
    loop {
        let registry = Registry::open(options.clone()).unwrap();
        for round in 0..6 {
            let mut request = LeaseRequest::default();
            request.contiguous = round % 2 == 0;
            let leases = registry.lease_many(1 + round % 3, &request).unwrap();
            let bound: Vec<_> = leases
                .iter()
                .map(|lease| TcpListener::bind((Ipv4Addr::LOCALHOST, lease.port().get())))
                .collect();
            if let Some(error) = bound.iter().find_map(|bound| bound.as_ref().err()) {
                fs::write(dir.join(format!("failed-{}", process::id())), error.to_string()).unwrap();
            }
            say("bound");
            drop(bound);
            match round {
                0 => {
                    for lease in leases {
                        lease.close();
                    }
                }
                1 => registry.close(),
                _ => drop(leases),
            }
            if registry.is_closed() {
                break;
            }
        }
    }
}

const RANGE: u16 = 48;

/// Never two live owners on one port, and nothing of the dead is left.
#[test]
fn owners_are_killed_at_any_moment() {
    const NAME: &str = "owners_are_killed_at_any_moment";
    if common::role().as_deref() == Some("worker") {
        take_and_bind();
    }
    let scratch = Scratch::new();
    let first = free_ports(RANGE);
    let mut options = common::options(&scratch.dir());
    options.ports = Some(range(first, first + RANGE - 1));
    let registry = Registry::open(options).unwrap();
    let start = || {
        let mut worker = Process::start(NAME, "worker", &scratch.dir());
        worker.say(&first.to_string());
        worker
    };
    let mut workers: Vec<_> = (0..8).map(|_| start()).collect();
    let random = RandomState::new();
    for round in 0..500 {
        let draw = usize::try_from(random.hash_one(round) >> 32).unwrap();
        let worker = &mut workers[draw % 8];
        for _ in 0..=draw / 8 % 6 {
            assert_eq!(worker.hear(), "bound");
        }
        let id = worker.id();
        worker.kill();
        for lease in registry.leases().unwrap() {
            assert!(!(lease.alive && lease.pid == Some(id)), "{lease:?} of a process that was killed");
        }
        *worker = start();
    }
    workers.iter_mut().for_each(Process::kill);
    let files = fs::read_dir(scratch.dir()).unwrap().map(|entry| entry.unwrap().path());
    let failed: Vec<_> = files
        .filter(|path| path.to_str().unwrap().contains("/failed-"))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(failed, Vec::<String>::new(), "leased ports that somebody else had");
    assert_eq!(alive(&registry), 0);
    let all = registry.lease_many(u32::from(RANGE), &LeaseRequest::default()).unwrap();
    assert_eq!(all.len(), usize::from(RANGE), "the next request gets every port there is");
    registry.validate().unwrap();
    drop((all, registry));
    common::assert_sound(&scratch.database());
    for _ in 0..3 {
        drop(one(&scratch.open()));
    }
    assert_eq!(
        (owner_files(&scratch), count(&scratch, "trop_owners"), count(&scratch, "reservations")),
        (0, 0, 0)
    );
}

#[test]
fn a_recycled_process_id_means_nothing() {
    const NAME: &str = "a_recycled_process_id_means_nothing";
    let dir = || trop_core::data_dir(None).unwrap();
    if common::role().as_deref() == Some("owner") {
        let registry = Registry::open(common::options(&dir())).unwrap();
        let mut request = LeaseRequest::default();
        request.preferred = Some(port(20000));
        let _lease = registry.lease(&request).unwrap();
        say("leased");
        hear();
        process::exit(0);
    }
    let scratch = Scratch::new();
    let registry = scratch.open();
    let mut options = common::options(&scratch.dir());
    options.ports = Some(range(20000, 20000));
    let narrow = Registry::open(options).unwrap();
    let recycle =
        |id: u32| python(&scratch.database(), &format!("db.execute('UPDATE trop_owners SET pid = {id}')"));

    let mut dead = Process::start(NAME, "owner", &scratch.dir());
    assert_eq!(dead.hear(), "leased");
    dead.kill();
    recycle(process::id());
    assert!(!is_alive(&registry, 20000), "its id is that of a process that runs");
    assert_eq!(one(&narrow).port(), port(20000));

    let mut live = Process::start(NAME, "owner", &scratch.dir());
    assert_eq!(live.hear(), "leased");
    recycle(dead.id());
    assert!(is_alive(&registry, 20000), "its id is that of a process that has ended");
    assert_eq!(preferring(&registry, 20000), 20001);
    assert_eq!(code(narrow.lease(&LeaseRequest::default())), Code::Exhausted);
    live.unlock();
    assert_eq!(preferring(&registry, 20000), 20000);
}

/// As in a container that shares the data directory: neither side knows the other's process ids.
#[test]
#[cfg(target_os = "linux")]
fn a_second_namespace_of_process_ids_ends_no_lease() {
    const NAME: &str = "a_second_namespace_of_process_ids_ends_no_lease";
    if common::role().as_deref() == Some("inside") {
        let registry = Registry::open(common::options(&trop_core::data_dir(None).unwrap())).unwrap();
        let outside = registry.leases().unwrap().remove(0).pid.unwrap();
        assert!(outside != process::id());
        assert!(is_alive(&registry, 20000));
        assert_eq!(preferring(&registry, 20000), 20001);
        let mut request = LeaseRequest::default();
        (request.min, request.max) = (Some(port(20000)), Some(port(20000)));
        assert_eq!(code(registry.lease(&request)), Code::Exhausted);
        let lease = one(&registry);
        say(&format!("{} {}", lease.port(), process::id()));
        hear();
        std::mem::forget(lease);
        process::exit(0);
    }
    let launchers: [&[&str]; 2] =
        [&["unshare", "--pid", "--fork"], &["unshare", "--user", "--map-root-user", "--pid", "--fork"]];
    let Some(launcher) =
        launchers.iter().find(|launcher| works(launcher[0], &[&launcher[1..], &["true"]].concat()))
    else {
        eprintln!("namespaces of process ids are not permitted here");
        return;
    };
    let scratch = Scratch::new();
    let registry = scratch.open();
    let lease = one(&registry);
    let mut inside = Process::start_by(launcher, NAME, "inside", &scratch.dir());
    assert_eq!(inside.hear(), "20002 1", "it is the first process of its namespace");
    let of_other = registry.leases().unwrap().into_iter().find(|lease| lease.port == port(20002)).unwrap();
    assert_eq!((of_other.process_state, of_other.kept_by), (ProcessState::Unknown, None));
    let text = registry.explain(port(20002)).unwrap().to_string();
    assert!(text.contains("that process is running, or one that it has forked."), "{text}");
    assert!(is_alive(&registry, 20000) && is_alive(&registry, 20002));
    assert_eq!(preferring(&registry, 20002), 20003);
    inside.unlock();
    assert!(!is_alive(&registry, 20002), "although there is a process 1 here");
    assert_eq!(preferring(&registry, 20002), 20002);
    assert!(lease.is_open());
}

/// By its lock a program that cleans temporary directories knows that a directory is in use.
#[test]
fn a_data_directory_with_leases_is_locked_against_cleaners() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let may_clean = || fs::File::open(scratch.dir()).unwrap().try_lock().is_ok();
    assert!(may_clean());
    let lease = one(&registry);
    let other = one(&scratch.open());
    assert!(!may_clean());
    other.close();
    lease.close();
    registry.close();
    drop(other);
    assert!(may_clean());
}

#[test]
fn a_child_ends_first() {
    isolated("a_child_ends_first", |scratch| {
        let registry = scratch.open();
        let lease = one(&registry);
        fork(|| {
            assert!(lease.is_open());
            assert_eq!(registry.own_leases().unwrap(), []);
            // What was inherited is not this process's to close.
            lease.close();
            assert!(lease.is_open());
            reserve(&registry, "/child", "a").unwrap();
            let own = one(&registry);
            assert_eq!(own.port(), port(20002));
            assert_eq!(registry.own_leases().unwrap().len(), 1);
            own.close();
            assert!(!own.is_open());
            std::mem::forget(one(&registry));
            registry.close();
            assert_eq!(code(registry.lease(&LeaseRequest::default())), Code::Closed);
            assert!(is_alive(&scratch.open(), 20000));
            let other = scratch.open();
            std::mem::forget(one(&other));
        })
        .join();
        assert!(lease.is_open() && is_alive(&registry, 20000));
        assert_eq!(registry.own_leases().unwrap().len(), 1);
        assert!(!is_alive(&registry, 20002));
        assert_eq!(preferring(&registry, 20002), 20002, "the child's port is free again");
        assert_ne!(preferring(&scratch.open(), 20000), 20000, "the parent's is not");
        // A child that only drops what it inherited.
        let mut inherited = Some((lease, registry.clone()));
        fork(|| drop(inherited.take())).join();
        assert!(is_alive(&registry, 20000));
    });
}

#[test]
#[cfg(target_os = "linux")]
fn the_parent_ends_first() {
    isolated("the_parent_ends_first", |scratch| {
        adopt_orphans();
        let mut gate = Gate::new();
        let (told, tell) = pipe().unwrap();
        fork(|| {
            let registry = scratch.open();
            let lease = one(&registry);
            let own = &registry.leases().unwrap()[0];
            assert_eq!((own.process_state, own.kept_by), (ProcessState::Running, None));
            let child = fork(|| {
                gate.wait();
                assert!(lease.is_open());
                reserve(&registry, "/child", "a").unwrap();
                assert_eq!(one(&registry).port(), port(20002));
            });
            let ids = format!("{} {}\n", process::id(), child.0);
            std::io::Write::write_all(&mut &tell, ids.as_bytes()).unwrap();
            std::mem::forget(lease);
        })
        .join();
        let mut ids = String::new();
        BufReader::new(told).read_line(&mut ids).unwrap();
        let (parent, child) = ids.trim_end().split_once(' ').unwrap();
        let registry = scratch.open();
        assert!(is_alive(&registry, 20000), "the child has it");
        let kept = &registry.leases().unwrap()[0];
        assert_eq!((kept.pid, kept.kept_by), (Some(parent.parse().unwrap()), Some(child.parse().unwrap())));
        assert_eq!(kept.process_state, ProcessState::Ended);
        assert!(kept.holder().ends_with(&format!(", which has ended; process {child} keeps it")));
        let refused = registry.release_port(port(20000), false).unwrap_err().to_string();
        assert!(refused.contains(&format!(", which has ended; process {child} keeps it")), "{refused}");
        let text = registry.explain(port(20000)).unwrap().to_string();
        assert!(text.contains(&format!("that process has ended, and process {child} keeps it.")), "{text}");
        assert!(text.contains("It comes back by itself when that one ends."), "{text}");
        assert_eq!(preferring(&registry, 20000), 20001);
        assert_eq!(count(scratch, "trop_owners"), 2);
        gate.open();
        join_orphan();
        assert!(!is_alive(&registry, 20000));
        assert_eq!(preferring(&registry, 20000), 20000);
    });
}

/// A lease that the parent closed is gone, whatever its child still has.
#[test]
fn the_parent_closes_while_the_child_lives() {
    isolated("the_parent_closes_while_the_child_lives", |scratch| {
        let registry = scratch.open();
        let leases = [one(&registry), one(&registry)];
        let mut gate = Gate::new();
        let child = fork(|| gate.wait());
        leases[0].close();
        assert_eq!(preferring(&scratch.open(), 20000), 20000);
        registry.close();
        assert_eq!(preferring(&scratch.open(), 20001), 20001);
        assert_eq!(owner_files(scratch), 0);
        gate.open();
        child.join();
    });
}

#[test]
fn a_program_that_a_child_starts_has_no_leases() {
    isolated("a_program_that_a_child_starts_has_no_leases", |scratch| {
        let (held, mut input) = pipe().unwrap();
        let mut program = None;
        let (mut told, tell) = pipe().unwrap();
        fork(|| {
            let registry = scratch.open();
            std::mem::forget(one(&registry));
            // Returns when the program runs.
            let started = Command::new("cat").stdin(held).stdout(tell).spawn().unwrap();
            program = Some(started);
        })
        .join();
        std::io::Write::write_all(&mut input, b"x").unwrap();
        told.read_exact(&mut [0]).unwrap();
        let registry = scratch.open();
        assert!(!is_alive(&registry, 20000), "the program runs, the lease has ended");
        assert_eq!(preferring(&registry, 20000), 20000);
        drop(input);
        assert_eq!(told.read(&mut [0]).unwrap(), 0, "it has ended too");
    });
}

/// Without the call that locks, as on a file system that has none.
#[test]
#[cfg(target_os = "linux")]
fn a_file_system_without_locks() {
    isolated("a_file_system_without_locks", |scratch| {
        let before = scratch.open();
        let lease = one(&before);
        filter_system_call(libc::SYS_flock, None, libc::SECCOMP_RET_ERRNO | libc::ENOLCK.cast_unsigned());
        let registry = scratch.open();
        let error = registry.lease(&LeaseRequest::default()).unwrap_err();
        assert_eq!(error.code(), Code::Unsupported);
        assert!(error.to_string().contains("working locks"), "{error}");
        assert_eq!((owner_files(scratch), count(scratch, "trop_owners")), (1, 1));
        assert_eq!(reserve(&registry, "/w", "a").unwrap(), 20001);
        assert!(is_alive(&registry, 20000), "what cannot be told counts as alive");
        drop(lease);
        assert_eq!(reserve(&registry, "/w", "b").unwrap(), 20000);
    });
}

/// The registry had no lease when they were forked, so that nothing in it told them apart.
#[test]
fn siblings_lease_through_a_registry_without_leases() {
    isolated("siblings_lease_through_a_registry_without_leases", |scratch| {
        let registry = scratch.open();
        let (mut ready, mut go) = (Gate::new(), Gate::new());
        let mut children = Vec::new();
        for _ in 0..3 {
            children.push(fork(|| {
                let leases: Vec<_> = (0..5).map(|_| one(&registry)).collect();
                ready.open();
                go.wait();
                drop(leases);
            }));
            ready.wait();
        }
        assert_eq!(alive(&registry), 15);
        // Each of these lets one of them go on, whichever it is.
        for _ in &children {
            go.open();
        }
        for child in children {
            child.join();
        }
        // One that was closed before stays closed in a child.
        registry.close();
        fork(|| assert_eq!(code(registry.lease(&LeaseRequest::default())), Code::Closed)).join();
        common::assert_sound(&scratch.database());
    });
}

/// A thousand that have ended and many that have not: each allocation looks at a few, and none is ever in the
/// way.
#[test]
fn a_thousand_dead_owners_and_hundreds_of_live_ones() {
    let make = "
import fcntl, os
def owner(index, port, alive):
    name = f'owner-{index:016x}'
    file = open(os.path.join(os.path.dirname(sys.argv[1]), name), 'w')
    if alive:
        fcntl.flock(file, fcntl.LOCK_EX)
        files.append(file)
    db.execute('INSERT INTO trop_owners VALUES (?, ?, 1, ?, 1)', (index, name, 'test'))
    row = (os.path.dirname(sys.argv[1]), f'lease-x{index}', port)
    db.execute('INSERT INTO reservations VALUES (?, ?, ?, NULL, NULL, 1, 253402300799)', row)
    db.execute('INSERT INTO trop_leases VALUES (?, ?, ?, NULL, ?)', (port, index, index, '/'))
files = []
db.execute('BEGIN IMMEDIATE')
for index in range(1, 1501):
    owner(index, 20000 + index, index > 1000)
db.execute('COMMIT')
say('made')
sys.stdin.readline()
";
    let scratch = Scratch::new();
    drop(scratch.open());
    let mut live = Process::python(&scratch.database(), make);
    assert_eq!(live.hear(), "made");
    let mut options = common::options(&scratch.dir());
    options.ports = Some(range(20000, 21500));
    let registry = Registry::open(options).unwrap();
    assert_eq!(registry.leases().unwrap().iter().filter(|lease| lease.alive).count(), 500);
    assert_eq!(preferring(&registry, 20400), 20400, "dead, and far behind");
    assert_eq!(preferring(&registry, 21400), 20000, "alive");

    let left = || -> BTreeSet<u64> {
        let rows = query(&scratch.database(), "SELECT id FROM trop_owners WHERE command = 'test'");
        rows.as_array().unwrap().iter().map(|row| row[0].as_u64().unwrap()).collect()
    };
    let mut before = left();
    for _ in 0..12 {
        drop(one(&registry));
        let after = left();
        assert!(after.is_subset(&before) && after.len() + 8 >= before.len());
        assert!((1001..=1500).all(|id| after.contains(&id)), "a live one was ended");
        before = after;
    }
    assert!(before.len() < 1450, "little was done in passing");
    // Every port of the dead at once.
    let all = registry.lease_many(1001, &LeaseRequest::default()).unwrap();
    assert_eq!((left().len(), all.len()), (500, 1001));
    assert_eq!(code(registry.lease(&LeaseRequest::default())), Code::Exhausted);
    drop(all);
    registry.validate().unwrap();
    live.unlock();

    // Ordinary allocations alone remove them too, a few at a time.
    let patient = scratch.open();
    while left().len() > 100 {
        for _ in 0..10 {
            drop(one(&patient));
        }
    }
    drop((registry, patient));
    common::assert_sound(&scratch.database());
}

/// Files of owners that were killed before they were stored.
#[test]
fn files_of_owners_nobody_knows_disappear() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    for index in 0..20 {
        fs::write(scratch.dir().join(format!("owner-{index:016x}")), "").unwrap();
    }
    fs::write(scratch.dir().join("owner of this.txt"), "").unwrap();
    for _ in 0..3 {
        drop(one(&scratch.open()));
    }
    assert_eq!(owner_files(&scratch), 0);
    assert!(scratch.dir().join("owner of this.txt").exists());
    drop(registry);
}

/// Keeping a closed registry keeps no lease alive. In a process of its own, because a program that another
/// test starts has the lock as well between its fork and its exec.
#[test]
fn the_first_lease_is_taken_while_the_registry_is_closed() {
    isolated("the_first_lease_is_taken_while_the_registry_is_closed", |scratch| {
        let others = scratch.open();
        for _ in 0..200 {
            let (registry, barrier) = (scratch.open(), Barrier::new(2));
            thread::scope(|scope| {
                scope.spawn(|| {
                    barrier.wait();
                    _ = registry.lease(&LeaseRequest::default()).map(std::mem::forget);
                });
                barrier.wait();
                registry.close();
            });
            assert_eq!(alive(&others), 0);
        }
    });
}

/// Whichever comes first has ended it.
#[test]
fn a_lease_is_closed_while_the_registry_is_closed() {
    let scratch = Scratch::new();
    for _ in 0..200 {
        let (registry, barrier) = (scratch.open(), Barrier::new(2));
        let lease = one(&registry);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                lease.close();
            });
            barrier.wait();
            registry.close();
        });
    }
}

#[test]
fn threads_take_and_close_leases_while_the_registry_is_closed() {
    let scratch = Scratch::new();
    for _ in 0..15 {
        let registry = scratch.open();
        let (barrier, taken) = (Barrier::new(7), Mutex::new(BTreeSet::new()));
        thread::scope(|scope| {
            let users: Vec<_> = (0..6)
                .map(|index| {
                    let (registry, barrier, taken) = (registry.clone(), &barrier, &taken);
                    scope.spawn(move || {
                        let mut kept = Vec::new();
                        for round in 0.. {
                            if round == 10 {
                                barrier.wait();
                            }
                            let lease = match registry.lease(&LeaseRequest::default()) {
                                Ok(lease) => lease,
                                Err(error) => {
                                    assert!(round >= 10);
                                    return (error.code(), kept);
                                }
                            };
                            let number = lease.port();
                            assert!(round >= 10 || taken.lock().unwrap().insert(number), "{number} twice");
                            match (round + index) % 3 {
                                0 => kept.push(lease),
                                close => {
                                    taken.lock().unwrap().remove(&number);
                                    if close == 1 {
                                        lease.close();
                                    }
                                }
                            }
                        }
                        unreachable!()
                    })
                })
                .collect();
            barrier.wait();
            registry.close();
            for user in users {
                let (code, kept) = user.join().unwrap();
                assert_eq!(code, Code::Closed);
                assert!(kept.iter().all(|lease| !lease.is_open()));
                for lease in kept {
                    lease.close();
                }
            }
        });
    }
    let registry: Registry = scratch.open();
    assert_eq!(alive(&registry), 0);
    for _ in 0..30 {
        drop(one(&registry));
    }
    drop(registry);
    assert_eq!((owner_files(&scratch), count(&scratch, "reservations")), (0, 0));
    scratch.open().validate().unwrap();
    common::assert_sound(&scratch.database());
}
