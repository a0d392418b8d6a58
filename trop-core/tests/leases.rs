//! Leases: ports that end with their owner.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{Scratch, code, listed, options, port, reserve};
use trop_core::{Code, Holder, LeaseRequest, Registry};

fn files(scratch: &Scratch) -> Vec<String> {
    let names = std::fs::read_dir(scratch.dir()).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("owner-")).collect()
}

#[test]
fn a_lease_lasts_until_it_is_dropped_or_closed() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let request = LeaseRequest::default();
    let (first, second) = (registry.lease(&request).unwrap(), registry.lease(&request).unwrap());
    assert_eq!((first.port().get(), second.port().get()), (5000, 5001));
    assert_eq!(reserve(&registry, "/w", "a").unwrap(), 5002);
    assert!(matches!(registry.holder(port(5000)).unwrap(), Some(Holder::Lease(lease)) if lease.alive));
    assert_eq!(listed(&registry).len(), 1);
    drop(first);
    assert_eq!(registry.holder(port(5000)).unwrap(), None);
    second.close().unwrap();
    second.close().unwrap();
    assert!(!second.is_open());
    assert_eq!(registry.leases().unwrap(), []);
    assert_eq!(files(&scratch).len(), 1);
    drop(second);
    drop(registry);
    assert_eq!(files(&scratch).len(), 0);
}

#[test]
fn releasing_a_leased_port_closes_the_lease() {
    let scratch = Scratch::new();
    let (registry, another) = (scratch.open(), scratch.open());
    let lease = registry.lease(&LeaseRequest::default()).unwrap();
    let foreign = another.lease(&LeaseRequest::default()).unwrap();
    let rehearsal = registry.rehearsal().unwrap();
    assert!(rehearsal.release_port(lease.port(), false).unwrap().is_some());
    assert_eq!(code(rehearsal.release_port(foreign.port(), false)), Code::Conflict);
    assert!(lease.is_open());
    assert_eq!(registry.leases().unwrap().len(), 2);
    assert!(registry.release_port(lease.port(), false).unwrap().is_some());
    assert!(!lease.is_open());
    let again = registry.lease(&LeaseRequest::default()).unwrap();
    assert_eq!(again.port(), lease.port());
    lease.close().unwrap();
    assert!(again.is_open());
    assert_eq!(registry.own_leases().unwrap().len(), 1);
}

#[test]
fn closing_the_registry_ends_its_leases_only() {
    let scratch = Scratch::new();
    let (mine, yours) = (scratch.open(), scratch.open());
    let (my_lease, your_lease) =
        (mine.lease(&LeaseRequest::default()).unwrap(), yours.lease(&LeaseRequest::default()).unwrap());
    mine.close();
    assert!(!my_lease.is_open());
    my_lease.close().unwrap();
    assert!(your_lease.is_open());
    assert_eq!(code(mine.lease(&LeaseRequest::default())), Code::Closed);
    assert_eq!(yours.leases().unwrap().len(), 1);
    assert_eq!(yours.lease(&LeaseRequest::default()).unwrap().port().get(), 5000);
}

#[test]
fn several_leases_are_given_together_or_not_at_all() {
    let scratch = Scratch::new();
    let registry = Registry::open({
        let mut options = options(&scratch.dir());
        options.ports = Some(common::range(5000, 5009));
        options
    })
    .unwrap();
    let request = LeaseRequest::default();
    let mut neighbours = LeaseRequest::default();
    neighbours.contiguous = true;
    let kept = registry.lease(&request).unwrap();
    let mut third = LeaseRequest::default();
    third.preferred = Some(port(5003));
    let other = registry.lease(&third).unwrap();
    assert_eq!(other.port().get(), 5003);
    let run = registry.lease_many(3, &neighbours).unwrap();
    assert_eq!(run.iter().map(|lease| lease.port().get()).collect::<Vec<_>>(), [5004, 5005, 5006]);
    drop(run);
    assert_eq!(code(registry.lease_many(7, &neighbours)), Code::Exhausted);
    assert_eq!(code(registry.lease_many(9, &request)), Code::Exhausted);
    assert_eq!(registry.leases().unwrap().len(), 2);
    let rest = registry.lease_many(8, &request).unwrap();
    assert_eq!(rest.len(), 8);
    for count in [0, 11] {
        assert_eq!(code(registry.lease_many(count, &request)), Code::InvalidArgument);
    }
    drop((kept, other));
}
