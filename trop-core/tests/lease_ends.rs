//! How leases end: while the database is busy, and when nobody has a handle of them any more.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use common::fork::{Gate, fork};
use common::{Process, Scratch, code, isolated, options, port, query, range, request};
use trop_core::{Code, Holder, Lease, LeaseRequest, OccupancyPolicy, Port, Registry, forgotten_ports};

fn ranged(scratch: &Scratch, min: u16, max: u16) -> Registry {
    let mut options = options(&scratch.dir());
    options.ports = Some(range(min, max));
    Registry::open(options).unwrap()
}

fn any() -> LeaseRequest {
    LeaseRequest::default()
}

fn preferring(number: u16) -> LeaseRequest {
    let mut request = any();
    request.preferred = Some(port(number));
    request
}

fn leased(registry: &Registry, number: u16) -> Lease {
    let lease = registry.lease(&preferring(number)).unwrap();
    assert_eq!(lease.port().get(), number);
    lease
}

fn numbers(ports: &[Port]) -> Vec<u16> {
    ports.iter().map(|port| port.get()).collect()
}

fn is_alive(registry: &Registry, number: u16) -> bool {
    matches!(registry.holder(port(number)).unwrap(), Some(Holder::Lease(lease)) if lease.alive)
}

/// The file of the only owner.
fn owner_file(scratch: &Scratch) -> PathBuf {
    theirs(scratch, Path::new(""))
}

/// The file of the other of two owners.
fn theirs(scratch: &Scratch, mine: &Path) -> PathBuf {
    let mut files = fs::read_dir(scratch.dir()).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path != mine && path.to_str().unwrap().contains("/owner-")).unwrap()
}

fn length(scratch: &Scratch) -> u64 {
    fs::metadata(owner_file(scratch)).unwrap().len()
}

fn serial(scratch: &Scratch, number: u16) -> i64 {
    let sql = format!("SELECT serial FROM trop_leases WHERE port = {number}");
    query(&scratch.database(), &sql)[0][0].as_i64().unwrap()
}

fn append(file: &Path, bytes: &[u8]) {
    OpenOptions::new().append(true).open(file).unwrap().write_all(bytes).unwrap();
}

/// Ends something while another process holds the write lock.
fn while_busy(scratch: &Scratch, end: impl FnOnce()) {
    let lock = Process::locking(&scratch.database());
    end();
    lock.unlock();
}

/// The owner idles afterwards, so that nothing but its note says that the leases have ended.
#[test]
fn nobody_is_refused_because_of_a_lease_that_ended_in_a_busy_moment() {
    let scratch = Scratch::new();
    let idle = ranged(&scratch, 20000, 20003);
    let [closed, dropped, third, kept] = [20000, 20001, 20002, 20003].map(|number| leased(&idle, number));
    while_busy(&scratch, || {
        closed.close();
        drop(dropped);
        drop(third);
    });
    fork(|| {
        let other = ranged(&scratch, 20000, 20003);
        assert_eq!([20000, 20003].map(|number| is_alive(&other, number)), [false, true]);
        // By number, as a lease and as a reservation; and the last one of the range.
        let first = leased(&other, 20000);
        let mut wish = request("/", "a");
        wish.preferred = Some(port(20001));
        assert_eq!(other.reserve(&wish).unwrap().reservation.port.get(), 20001);
        let last = other.lease(&any()).unwrap();
        assert_eq!(last.port().get(), 20002);
        assert_eq!(code(other.lease(&any())), Code::Exhausted);
        assert_eq!(code(other.release_port(port(20003), false)), Code::Conflict);
        first.close();
        last.close();
    })
    .join();
    assert!(kept.is_open() && length(&scratch) > 0);
    // The next change of the registry itself.
    assert_eq!(idle.release_port(port(20001), false).unwrap().map(|_| ()), Some(()));
    assert_eq!(length(&scratch), 0);
    assert!(is_alive(&idle, 20003));
}

#[test]
fn neighbours_and_groups_take_the_place_of_noted_leases() {
    let scratch = Scratch::new();
    let idle = ranged(&scratch, 20000, 20003);
    let leases = idle.lease_many(4, &any()).unwrap();
    while_busy(&scratch, || drop(leases));
    fork(|| {
        let other = ranged(&scratch, 20000, 20003);
        let mut neighbours = any();
        neighbours.contiguous = true;
        assert_eq!(other.lease_many(4, &neighbours).unwrap().len(), 4);
    })
    .join();
}

/// What a crash, a full disk or another user has left in the file ends nothing, and hides no note.
#[test]
fn notes_are_read_among_anything_else() {
    let scratch = Scratch::new();
    let idle = ranged(&scratch, 20000, 20002);
    let [first, second, third] = [20000, 20001, 20002].map(|number| leased(&idle, number));
    let (file, other) = (owner_file(&scratch), ranged(&scratch, 20000, 20002));
    let [_, kept, _] = [20000, 20001, 20002].map(|number| serial(&scratch, number));
    let whole = format!("{kept:016x}");
    append(&file, b"\xff\0 garbage");
    append(&file, format!("\n{}\n+{}\n {whole}\n{whole} \n0{whole}\n", &whole[1..], &whole[1..]).as_bytes());
    append(&file, format!("\n{}", &whole[..15]).as_bytes());
    assert!([20000, 20001, 20002].iter().all(|number| is_alive(&other, *number)));
    assert_eq!(code(other.lease(&any())), Code::Exhausted);

    while_busy(&scratch, || first.close());
    assert_eq!([20000, 20001, 20002].map(|number| is_alive(&other, number)), [false, true, true]);
    assert_eq!(leased(&other, 20000).port().get(), 20000);
    assert!(second.is_open() && third.is_open());
    // Only the owner's own file counts.
    let _lease = leased(&other, 20000);
    fs::write(theirs(&scratch, &file), format!("\n{whole}\n")).unwrap();
    assert!(is_alive(&other, 20001));
    append(&file, format!("\n{whole}\n").as_bytes());
    assert_eq!([20001, 20002].map(|number| is_alive(&other, number)), [false, true]);
}

/// The file and the lock are those of the parent, also in its children.
#[test]
fn a_child_keeps_nothing_of_what_its_parent_has_ended() {
    let scratch = Scratch::new();
    let parent = ranged(&scratch, 20000, 20002);
    let [noted, closed_with_registry, forgotten] =
        [20000, 20001, 20002].map(|number| leased(&parent, number));
    let (mut forked, mut done) = (Gate::new(), Gate::new());
    let child = fork(|| {
        // This does nothing here.
        noted.close();
        forked.open();
        done.wait();
    });
    forked.wait();
    assert!(forgotten.forget());
    let other = ranged(&scratch, 20000, 20002);
    assert_eq!([20000, 20001, 20002].map(|number| is_alive(&other, number)), [true; 3]);
    while_busy(&scratch, || {
        noted.close();
        assert!(closed_with_registry.is_open());
        assert!(is_alive(&other, 20001));
        parent.close();
    });
    assert_eq!([20000, 20001, 20002].map(|number| is_alive(&other, number)), [false; 3], "the child lives");
    assert_eq!(other.lease_many(3, &any()).unwrap().len(), 3);
    done.open();
    child.join();
}

/// People keep numbers, not handles.
#[test]
fn forgotten_leases_go_on_without_handle_and_registry() {
    isolated("forgotten_leases_go_on_without_handle_and_registry", |scratch| {
        let five = || ranged(scratch, 20000, 20004);
        let other = five();
        for number in 20000..20004 {
            assert!(leased(&five(), number).forget());
        }
        let registry = five();
        assert_eq!(registry.port(&any()).unwrap().get(), 20004);
        drop(registry);
        assert_eq!(code(other.lease(&any())), Code::Exhausted);
        assert_eq!(code(five().port(&any())), Code::Exhausted);
        assert_eq!(numbers(&forgotten_ports()), [20000, 20001, 20002, 20003]);
        assert_eq!(other.leases().unwrap().iter().filter(|lease| lease.alive).count(), 5);
    });
}

#[test]
fn closing_a_registry_ends_its_numbers() {
    isolated("closing_a_registry_ends_its_numbers", |scratch| {
        let registry = ranged(scratch, 20000, 20004);
        let closed = registry.lease(&any()).unwrap();
        closed.close();
        assert!(!closed.forget(), "it has ended");
        assert!(leased(&registry, 20000).forget());
        assert_eq!(registry.ports(3, &any()).unwrap().len(), 3);
        let other = ranged(scratch, 20000, 20004);
        assert_eq!(code(other.lease_many(2, &any())), Code::Exhausted);
        assert!(registry.release_port(port(20000), false).unwrap().is_some(), "its own");
        assert_eq!(forgotten_ports(), []);
        assert!(leased(&registry, 20000).forget());
        registry.close();
        assert_eq!(forgotten_ports(), []);
        assert_eq!(other.lease_many(5, &any()).unwrap().len(), 5);
        assert_eq!(code(registry.port(&any())), Code::Closed);
    });
}

#[test]
fn of_more_than_256_forgotten_leases_the_oldest_end() {
    isolated("of_more_than_256_forgotten_leases_the_oldest_end", |scratch| {
        let (numbers, forgotten) = (20400..20420, 20000..20300);
        let (mine, theirs) = (scratch.open(), scratch.open());
        // Bare numbers are not counted, and what was closed neither.
        let mut bare = any();
        (bare.min, bare.max) = (Some(port(20400)), Some(port(20419)));
        assert_eq!(mine.ports(20, &bare).unwrap().len(), 20);
        let closing = scratch.open();
        assert!((20500..20600).all(|number| leased(&closing, number).forget()));
        closing.close();
        for number in forgotten.clone() {
            let registry = if number % 2 == 0 { &mine } else { &theirs };
            assert!(leased(registry, number).forget());
        }
        let left: Vec<_> = forgotten_ports().iter().map(|port| port.get()).collect();
        assert_eq!(left, (20044..20300).collect::<Vec<_>>());
        drop((mine, theirs));
        fork(|| {
            let other = scratch.open();
            assert!(forgotten.clone().all(|number| is_alive(&other, number) == (number >= 20044)));
            assert!(numbers.clone().all(|number| is_alive(&other, number)));
            drop(leased(&other, 20043));
            assert_ne!(other.lease(&preferring(20044)).unwrap().port().get(), 20044);
            // A child has its own, and those of its parent are none of them.
            assert!((20500..20800).all(|number| leased(&other, number).forget()));
            assert_eq!(forgotten_ports().len(), 256);
        })
        .join();
        let other = scratch.open();
        assert!(forgotten.clone().all(|number| is_alive(&other, number) == (number >= 20044)));
    });
}

#[test]
fn forgotten_leases_end_with_the_last_process_that_shares_them() {
    isolated("forgotten_leases_end_with_the_last_process_that_shares_them", |scratch| {
        let other = scratch.open();
        let mut done = Gate::new();
        fork(|| {
            assert!(leased(&scratch.open(), 20000).forget());
            scratch.open().port(&preferring(20001)).unwrap();
            fork(|| {
                // Its registries and those of its parent come and go.
                assert!(leased(&scratch.open(), 20002).forget());
                done.wait();
            });
        })
        .join();
        assert_eq!([20000, 20001].map(|number| is_alive(&other, number)), [true; 2], "the grandchild lives");
        done.open();
        while is_alive(&other, 20000) {
            std::thread::yield_now();
        }
        assert_eq!(leased(&other, 20001).port().get(), 20001);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn a_forgotten_lease_holds_its_port() {
    isolated("a_forgotten_lease_holds_its_port", |scratch| {
        let mut options = options(&scratch.dir());
        options.occupancy = OccupancyPolicy::default();
        let registry = Registry::open(options.clone()).unwrap();
        let mut held = any();
        held.hold = true;
        let lease = registry.lease(&held).unwrap();
        let number = lease.port().get();
        assert!(lease.forget());
        let bare = Registry::open(options).unwrap().port(&held).unwrap().get();
        let is_free = |number| common::bind_plainly((Ipv4Addr::LOCALHOST, number).into()).is_ok();
        assert!(!is_free(number) && !is_free(bare));
        assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok());
        registry.close();
        assert!(is_free(number) && !is_free(bare));
    });
}
