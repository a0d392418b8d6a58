//! Leases: ports that end with their owner.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use std::time::Duration;

use common::fork::fork;
use common::{
    Process, Scratch, allow, become_nobody, code, dump, isolated, listed, options, port, python, query,
    range, reserve,
};
use trop_core::{
    Code, ExcludeRequest, Filter, GroupRequest, Holder, Lease, LeaseRequest, MigrateRequest, Registry,
    ReleaseRequest,
};

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
    assert_eq!((first.port().get(), second.port().get()), (20000, 20001));
    assert_eq!(reserve(&registry, "/w", "a").unwrap(), 20002);
    assert!(matches!(registry.holder(port(20000)).unwrap(), Some(Holder::Lease(lease)) if lease.alive));
    assert_eq!(listed(&registry).len(), 1);
    drop(first);
    assert_eq!(registry.holder(port(20000)).unwrap(), None);
    second.close();
    second.close();
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
    let dry_run = registry.dry_run().unwrap();
    assert!(dry_run.release_port(lease.port(), false).unwrap().is_some());
    assert_eq!(code(dry_run.release_port(foreign.port(), false)), Code::Conflict);
    assert!(lease.is_open());
    assert_eq!(registry.leases().unwrap().len(), 2);
    assert!(registry.release_port(lease.port(), false).unwrap().is_some());
    assert!(!lease.is_open());
    let again = registry.lease(&preferring(lease.port().get())).unwrap();
    assert_eq!(again.port(), lease.port());
    lease.close();
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
    my_lease.close();
    assert!(your_lease.is_open());
    assert_eq!(code(mine.lease(&LeaseRequest::default())), Code::Closed);
    assert_eq!(yours.leases().unwrap().len(), 1);
    assert_eq!(yours.lease(&preferring(20000)).unwrap().port().get(), 20000);
}

#[test]
fn several_leases_are_given_together_or_not_at_all() {
    let scratch = Scratch::new();
    let registry = Registry::open({
        let mut options = options(&scratch.dir());
        options.ports = Some(common::range(20000, 20009));
        options
    })
    .unwrap();
    let request = LeaseRequest::default();
    let mut neighbours = LeaseRequest::default();
    neighbours.contiguous = true;
    let kept = registry.lease(&request).unwrap();
    let mut third = LeaseRequest::default();
    third.preferred = Some(port(20003));
    let other = registry.lease(&third).unwrap();
    assert_eq!(other.port().get(), 20003);
    let run = registry.lease_many(3, &neighbours).unwrap();
    assert_eq!(run.iter().map(|lease| lease.port().get()).collect::<Vec<_>>(), [20004, 20005, 20006]);
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

/// Leases of another owner that has ended.
fn ended(scratch: &Scratch, count: u32) {
    fork(|| {
        let leases = scratch.open().lease_many(count, &preferring(20000)).unwrap();
        std::mem::forget(leases);
    })
    .join();
}

fn preferring(number: u16) -> LeaseRequest {
    let mut request = LeaseRequest::default();
    request.preferred = Some(port(number));
    request
}

fn neighbours() -> LeaseRequest {
    let mut request = LeaseRequest::default();
    request.contiguous = true;
    request
}

fn numbers(leases: &[Lease]) -> Vec<u16> {
    leases.iter().map(|lease| lease.port().get()).collect()
}

fn ranged(scratch: &Scratch, min: u16, max: u16) -> Registry {
    let mut options = options(&scratch.dir());
    options.ports = Some(range(min, max));
    Registry::open(options).unwrap()
}

fn is_alive(registry: &Registry, number: u16) -> Option<bool> {
    match registry.holder(port(number)).unwrap() {
        Some(Holder::Lease(lease)) => Some(lease.alive),
        Some(holder) => panic!("{holder:?}"),
        None => None,
    }
}

#[test]
fn what_is_told_about_a_lease() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let mut request = LeaseRequest::default();
    request.label = Some("  the web server ".to_owned());
    let lease = registry.lease(&request).unwrap();
    assert_eq!(lease.label(), Some("the web server"));
    let told = registry.leases().unwrap().remove(0);
    assert_eq!((told.port, told.label.as_deref()), (port(20000), Some("the web server")));
    assert_eq!((told.state(), told.pid), ("alive", Some(std::process::id())));
    assert!(told.command.as_deref().unwrap().contains("leases"), "{told:?}");
    assert_eq!(told.directory, std::env::current_dir().unwrap().to_str().unwrap());
    assert_eq!(told.to_json()["state"], "alive");
    assert_eq!(registry.own_leases().unwrap(), [told]);
    let other = scratch.open();
    assert_eq!(other.leases().unwrap().len(), 1);
    assert_eq!(other.own_leases().unwrap(), []);

    for label in ["", "  ", "a\0b", &"x".repeat(256)] {
        request.label = Some(label.to_owned());
        let error = registry.lease(&request).unwrap_err();
        assert_eq!((error.code(), error.argument()), (Code::InvalidArgument, Some("label")));
    }
    assert_eq!(registry.leases().unwrap().len(), 1);
}

#[test]
fn leases_are_no_reservations() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let lease = registry.lease(&LeaseRequest::default()).unwrap();
    reserve(&registry, "/w", "a").unwrap();
    ended(&scratch, 1);
    let before = dump(&scratch.database());

    assert_eq!(listed(&registry), [(20001, "/w".to_owned(), "a".to_owned())]);
    let mut filter = Filter::default();
    filter.path = Some(scratch.dir());
    assert_eq!(registry.list_filtered(&filter).unwrap(), []);
    assert_eq!(registry.find_port(port(20000)).unwrap(), None);
    for row in
        query(&scratch.database(), "SELECT tag FROM reservations WHERE port <> 20001").as_array().unwrap()
    {
        let key = common::key(scratch.dir().to_str().unwrap(), row[0].as_str().unwrap());
        assert_eq!(registry.find(&key).unwrap(), None);
        assert_eq!(common::release(&registry, key.path(), row[0].as_str().unwrap()).unwrap(), 0);
    }
    let mut release = ReleaseRequest::default();
    (release.path, release.recursive) = (Some(scratch.dir()), true);
    assert_eq!(registry.release(&release).unwrap(), 0);
    assert_eq!(registry.expire(Some(1)).unwrap().total(), 0);
    let mut migrate = MigrateRequest::new(scratch.root(), "/elsewhere");
    migrate.recursive = true;
    assert_eq!(registry.migrate(&migrate).unwrap().moves, []);
    let exact = registry.migrate(&MigrateRequest::new(scratch.dir(), "/elsewhere"));
    assert_eq!(code(exact), Code::NotFound);
    assert_eq!(code(registry.exclude(&ExcludeRequest::new(range(20000, 20000)))), Code::InvalidArgument);
    assert_eq!(before, dump(&scratch.database()), "nothing of all that changed anything");

    let pruned = registry.autoclean(None).unwrap();
    assert_eq!(pruned.pruned.iter().map(|row| row.port.get()).collect::<Vec<_>>(), [20001]);
    assert_eq!(registry.leases().unwrap().len(), 2);

    // A group whose services live in the data directory itself.
    let file = scratch.dir().join("trop.yaml");
    std::fs::write(&file, "project: p\nreservations:\n  services:\n    web:\n      preferred: 20002\n")
        .unwrap();
    let mut group = GroupRequest::default();
    group.file = Some(file);
    group.occupancy.skip = true;
    let group = registry.reserve_group(&group).unwrap();
    assert_eq!(group.members[0].reservation.port.get(), 20002, "the lease of its preferred port had ended");
    assert!(lease.is_open());
    registry.validate().unwrap();
    common::assert_sound(&scratch.database());
}

#[test]
fn the_key_of_a_lease_is_nobody_elses() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let directory = scratch.dir();
    let path = directory.to_str().unwrap();
    // Names that look like those of leases are in nobody's way.
    assert_eq!(reserve(&registry, path, "lease-20001").unwrap(), 20000);
    let lease = registry.lease(&LeaseRequest::default()).unwrap();
    assert_eq!(lease.port().get(), 20001);

    let tag = query(&scratch.database(), "SELECT tag FROM reservations WHERE port = 20001");
    let tag = tag[0][0].as_str().unwrap();
    let before = dump(&scratch.database());
    assert_eq!(code(reserve(&registry, path, tag)), Code::Conflict);
    let mut forced = common::request(path, tag);
    forced.force = true;
    assert_eq!(code(registry.reserve(&forced)), Code::Conflict);
    let mut migrate = MigrateRequest::new(path, path);
    migrate.force = true;
    registry.migrate(&migrate).unwrap();
    assert_eq!(before, dump(&scratch.database()));
    assert!(lease.is_open());
    drop(lease);
    assert_eq!(reserve(&registry, path, tag).unwrap(), 20001);
}

#[test]
fn programs_that_know_nothing_of_leases_cannot_end_them() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let lease = registry.lease(&LeaseRequest::default()).unwrap();
    reserve(&registry, "/w", "a").unwrap();
    let before = dump(&scratch.database());
    for sql in [
        "DELETE FROM reservations WHERE port = 20000",
        "DELETE FROM reservations",
        "UPDATE reservations SET last_used_at = 0 WHERE port = 20000",
        "UPDATE reservations SET port = 21000 WHERE port = 20000",
        "UPDATE OR REPLACE reservations SET port = 20000 WHERE port = 20001",
        "INSERT OR REPLACE INTO reservations VALUES ('/w', 'b', 20000, NULL, NULL, 1, 1)",
    ] {
        let script = format!(
            "try:\n    db.execute({sql:?})\nexcept sqlite3.IntegrityError as error:\n    answer = str(error)"
        );
        let answer = python(&scratch.database(), &script);
        assert_eq!(answer, "the port is leased by a running program", "{sql}");
    }
    assert_eq!(before, dump(&scratch.database()));
    python(&scratch.database(), "db.execute(\"DELETE FROM reservations WHERE path = '/w'\")");
    lease.close();
    assert_eq!(reserve(&registry, "/w", "b").unwrap(), 20000);
}

/// Another program made the table anew without its rows, so that the leases have none.
#[test]
fn leases_whose_rows_are_gone_are_in_nobodys_way() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let lost = registry.lease(&LeaseRequest::default()).unwrap();
    python(
        &scratch.database(),
        "for name in ('insert', 'move', 'delete', 'update'):
    db.execute('DROP TRIGGER trop_leases_' + name)
db.execute('DELETE FROM reservations')
db.execute(\"INSERT INTO reservations VALUES ('/theirs', '', 20000, NULL, NULL, 1, 1)\")",
    );
    let lease = registry.lease(&LeaseRequest::default()).unwrap();
    assert_eq!(lease.port().get(), 20001);
    lost.close();
    assert_eq!(
        listed(&registry),
        [(20000, "/theirs".to_owned(), String::new())],
        "not the lost lease's to remove"
    );
    python(&scratch.database(), "db.execute(\"DELETE FROM reservations WHERE path = '/theirs'\")");
    assert_eq!(registry.lease(&preferring(20000)).unwrap().port().get(), 20000);
    registry.validate().unwrap();
}

#[test]
fn releasing_a_port_ends_only_what_may_be_ended() {
    let scratch = Scratch::new();
    let (mine, yours) = (scratch.open(), scratch.open());
    let (first, second) =
        (mine.lease(&LeaseRequest::default()).unwrap(), yours.lease(&LeaseRequest::default()).unwrap());
    assert_eq!(yours.release_port(port(21000), false).unwrap(), None);
    let before = dump(&scratch.database());
    let error = yours.release_port(port(20000), false).unwrap_err();
    assert_eq!((error.code(), error.argument()), (Code::Conflict, Some("port")));
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    assert_eq!(before, dump(&scratch.database()));

    // By force; the port is leased again, and whoever had it before has no say in that.
    assert!(matches!(yours.release_port(port(20000), true).unwrap(), Some(Holder::Lease(_))));
    let again = yours.lease(&preferring(20000)).unwrap();
    assert_eq!(again.port().get(), 20000);
    assert_eq!(code(mine.release_port(port(20000), false)), Code::Conflict);
    assert_eq!(mine.own_leases().unwrap(), []);
    first.close();
    drop(first);
    assert_eq!(is_alive(&mine, 20000), Some(true));

    // One's own, in a dry run first.
    let dry_run = yours.dry_run().unwrap();
    assert!(dry_run.release_port(port(20001), false).unwrap().is_some());
    drop(dry_run);
    assert!(second.is_open());
    assert!(yours.release_port(port(20001), false).unwrap().is_some());
    assert!(!second.is_open());
    assert_eq!(code(second.listen("127.0.0.1", 1)), Code::Closed);

    // One that has ended, and a reservation.
    ended(&scratch, 1);
    let released = mine.release_port(port(20002), false).unwrap();
    assert!(matches!(released, Some(Holder::Lease(lease)) if !lease.alive));
    reserve(&mine, "/w", "a").unwrap();
    assert!(matches!(mine.release_port(port(20001), false).unwrap(), Some(Holder::Reservation(_))));
    assert_eq!(yours.leases().unwrap().len(), 1);
}

#[test]
fn neighbours_are_found_wherever_they_are() {
    let scratch = Scratch::new();
    let mut options = options(&scratch.dir());
    options.ports = Some(range(65500, 65535));
    options.excluded = "65503".parse().unwrap();
    let registry = Registry::open(options.clone()).unwrap();
    let run =
        |count, request: &LeaseRequest| registry.lease_many(count, request).map(|leases| numbers(&leases));
    assert_eq!(run(3, &neighbours()).unwrap(), [65500, 65501, 65502]);
    assert_eq!(run(4, &neighbours()).unwrap(), [65504, 65505, 65506, 65507], "not across an excluded port");
    let mut preferring = neighbours();
    preferring.preferred = Some(port(65533));
    assert_eq!(run(3, &preferring).unwrap(), [65533, 65534, 65535]);
    assert_eq!(run(1, &preferring).unwrap(), [65533]);
    assert_eq!(run(4, &preferring).unwrap(), [65508, 65509, 65510, 65511], "four do not fit there");
    preferring.preferred = Some(port(4000));
    assert_eq!(run(3, &preferring).unwrap(), [65512, 65513, 65514]);
    assert_eq!(run(19, &neighbours()).unwrap()[0], 65504, "so many have not rested");
    assert_eq!(run(3, &neighbours()).unwrap(), [65500, 65501, 65502], "all of them begin anew");
    assert_eq!(run(32, &neighbours()).unwrap().last(), Some(&65535));

    let in_the_way = registry.lease(&self::preferring(65520)).unwrap();
    let error = registry.lease_many(32, &neighbours()).unwrap_err();
    assert_eq!(error.code(), Code::Exhausted);
    assert!(error.to_string().contains("32"), "{error}");
    drop(in_the_way);
    assert_eq!(run(32, &neighbours()).unwrap().len(), 32);

    // What has ended is in the way of no run, neither the preferred one nor the only one there is, although
    // it is not met in passing: owners that are alive come first, more than two allocations look at.
    let alive = registry.lease(&self::preferring(65500)).unwrap();
    let crowd: Vec<_> = (0..20).map(|_| scratch.open().lease(&LeaseRequest::default()).unwrap()).collect();
    for (number, count, expected) in [(Some(65520), 4, 65520), (None, 32, 65504)] {
        let registry = Registry::open(options.clone()).unwrap();
        drop(registry.lease(&LeaseRequest::default()).unwrap());
        fork(|| {
            let ended =
                [65510, 65521, 65522].map(|number| registry.lease(&self::preferring(number)).unwrap());
            std::mem::forget(ended);
        })
        .join();
        preferring.preferred = number.map(port);
        let leases = registry.lease_many(count, &preferring).unwrap();
        assert_eq!(numbers(&leases), (expected..=65535).take(leases.len()).collect::<Vec<_>>());
    }
    registry.validate().unwrap();
    drop((alive, crowd));
}

#[test]
fn several_with_a_preference_begin_with_it() {
    let scratch = Scratch::new();
    let registry = ranged(&scratch, 20000, 20004);
    let leases = registry.lease_many(3, &preferring(20003)).unwrap();
    assert_eq!(numbers(&leases), [20003, 20000, 20001]);
    assert_eq!(numbers(&registry.lease_many(2, &preferring(20003)).unwrap()), [20002, 20004]);
    assert_eq!(registry.lease(&preferring(21000)).unwrap().port().get(), 20002, "outside the range");
}

#[test]
fn a_count_that_is_impossible_changes_nothing() {
    let scratch = Scratch::new();
    let registry = ranged(&scratch, 20000, 20002);
    let kept = registry.lease(&LeaseRequest::default()).unwrap();
    let before = dump(&scratch.database());
    for count in [0, 4, u32::MAX] {
        for request in [LeaseRequest::default(), neighbours()] {
            let error = registry.lease_many(count, &request).unwrap_err();
            assert_eq!((error.code(), error.argument()), (Code::InvalidArgument, Some("count")));
        }
    }
    assert_eq!(code(registry.lease_many(3, &LeaseRequest::default())), Code::Exhausted);
    let mut request = LeaseRequest::default();
    request.min = Some(port(20003));
    assert_eq!(code(registry.lease(&request)), Code::Config);
    request.max = Some(port(20002));
    assert_eq!(code(registry.lease(&request)), Code::InvalidArgument);
    assert_eq!(before, dump(&scratch.database()));
    assert_eq!(registry.lease_many(2, &LeaseRequest::default()).unwrap().len(), 2);
    assert!(kept.is_open());
}

/// With a lock wait of weeks: whoever waited would be ended by the watchdog.
#[test]
fn ending_never_waits_and_what_has_ended_is_removed_by_the_next_change() {
    isolated("ending_never_waits_and_what_has_ended_is_removed_by_the_next_change", |scratch| {
        let mut patient = options(&scratch.dir());
        patient.busy_timeout = Some(Duration::from_secs(2_000_000));
        let registry = Registry::open(patient.clone()).unwrap();
        let mut hasty = patient.clone();
        hasty.busy_timeout = Some(Duration::ZERO);
        let hasty = Registry::open(hasty).unwrap();
        let closing = Registry::open(patient).unwrap();
        let (dropped, ended) = (
            registry.lease(&LeaseRequest::default()).unwrap(),
            registry.lease(&LeaseRequest::default()).unwrap(),
        );
        let (refused, closed) = (
            hasty.lease(&LeaseRequest::default()).unwrap(),
            closing.lease(&LeaseRequest::default()).unwrap(),
        );

        let lock = Process::locking(&scratch.database());
        drop(dropped);
        ended.close();
        refused.close();
        refused.close();
        closing.close();
        assert!(!ended.is_open() && !refused.is_open() && !closed.is_open());
        assert_eq!(registry.own_leases().unwrap(), []);
        assert_eq!([20000, 20001].map(|number| is_alive(&registry, number)), [Some(false); 2]);
        assert_eq!(is_alive(&hasty, 20002), Some(false));
        assert_eq!(is_alive(&registry, 20003), Some(false));
        lock.unlock();

        // Not an allocation, and not even a change.
        assert_eq!(common::release(&registry, "/nobody", "a").unwrap(), 0);
        assert_eq!(registry.leases().unwrap().len(), 2);
        assert_eq!(hasty.release_port(port(21000), false).unwrap(), None);
        assert_eq!(registry.leases().unwrap().len(), 1);
        assert_eq!(registry.lease(&preferring(20003)).unwrap().port().get(), 20003);
        drop((registry, hasty, ended, refused));
        assert_eq!(files(scratch), Vec::<String>::new());
    });
}

#[test]
fn a_dry_run_gives_no_leases_and_ends_none() {
    let scratch = Scratch::new();
    let registry = ranged(&scratch, 20000, 20002);
    let kept = registry.lease(&preferring(20002)).unwrap();
    ended(&scratch, 2);
    let (before, owners) = (dump(&scratch.database()), files(&scratch));
    let dry_run = registry.dry_run().unwrap();
    assert_eq!(code(dry_run.lease(&LeaseRequest::default())), Code::Unsupported);
    for number in [20000, 20001] {
        let mut request = common::request("/w", &number.to_string());
        request.preferred = Some(port(number));
        assert_eq!(dry_run.reserve(&request).unwrap().reservation.port.get(), number);
    }
    assert_eq!(code(reserve(&dry_run, "/w", "more")), Code::Exhausted);
    drop(dry_run);
    assert_eq!((before, owners), (dump(&scratch.database()), files(&scratch)));
    assert!(kept.is_open());
}

#[test]
fn the_data_directory_disappears_under_live_leases() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let moved = scratch.root().join("moved");
    let gone = registry.lease(&LeaseRequest::default()).unwrap();
    std::fs::remove_dir_all(scratch.dir()).unwrap();
    gone.close();
    assert!(!scratch.dir().exists(), "closing makes no database");
    let old = registry.lease(&LeaseRequest::default()).unwrap();
    assert_eq!(old.port().get(), 20000);
    std::fs::rename(scratch.dir(), &moved).unwrap();
    // The owner's lock file moved with the directory.
    let there = Registry::open(options(&moved)).unwrap();
    assert_eq!(is_alive(&there, 20000), Some(true));
    assert_eq!(there.lease(&LeaseRequest::default()).unwrap().port().get(), 20001);
    let new = registry.lease(&LeaseRequest::default()).unwrap();
    assert_eq!((new.port().get(), old.is_open()), (20000, false));
    old.close();
    assert_eq!(is_alive(&registry, 20000), Some(true), "it is another lease");
    // The owner of the former database is dead.
    assert_eq!(there.lease(&preferring(20000)).unwrap().port().get(), 20000);
    drop((registry, new, gone, old));
    assert_eq!(files(&scratch), Vec::<String>::new());
}

/// Its leases have ended for everybody, so the owner must know it too, and no new one may end with the file.
#[test]
fn the_file_of_an_owner_is_removed_by_hand() {
    let scratch = Scratch::new();
    let (registry, other) = (scratch.open(), scratch.open());
    let ended = registry.lease(&LeaseRequest::default()).unwrap();
    std::fs::remove_file(scratch.dir().join(&files(&scratch)[0])).unwrap();
    assert_eq!(is_alive(&registry, 20000), Some(false));
    let new = registry.lease(&LeaseRequest::default()).unwrap();
    assert!(!ended.is_open() && new.is_open());
    assert_eq!(is_alive(&other, new.port().get()), Some(true));
    assert_ne!(other.lease(&preferring(new.port().get())).unwrap().port(), new.port());
}

/// Names in the database are looked up in the data directory and nowhere else, and whatever is there is not
/// waited for.
#[test]
fn hostile_names_of_owner_files() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let victim = scratch.root().join("owner-victim");
    std::fs::write(&victim, "").unwrap();
    let pipe = scratch.dir().join("owner-00000000000000ab");
    let long = format!("owner-{}", "a".repeat(400));
    for name in [
        "../owner-victim",
        "owner-/../../owner-victim",
        "",
        "owner-\0",
        "trop.db",
        "owner-..",
        &long,
        "owner-00000000000000ab",
    ] {
        ended(&scratch, 1);
        if name == "owner-00000000000000ab" {
            assert!(common::works("mkfifo", &[pipe.to_str().unwrap()]));
        }
        let set =
            format!("db.execute('UPDATE trop_owners SET file = ?', ({},))", serde_json::Value::from(name));
        python(&scratch.database(), &set);
        assert_eq!(is_alive(&registry, 20000), Some(false), "{name:?}");
        let registry = scratch.open();
        assert_eq!(registry.lease(&preferring(20000)).unwrap().port().get(), 20000, "{name:?}");
        drop(registry);
        let owners = query(&scratch.database(), "SELECT count(*) FROM trop_owners");
        assert_eq!(owners, serde_json::json!([[0]]), "{name:?}");
    }
    assert!(victim.exists() && !pipe.exists());
}

#[test]
fn an_owner_nobody_knows_is_dead() {
    let scratch = Scratch::new();
    let registry = ranged(&scratch, 20000, 20001);
    for by_preference in [true, false] {
        let former = scratch.open();
        let lease = former.lease_many(2, &LeaseRequest::default()).unwrap();
        python(&scratch.database(), "db.execute('DELETE FROM trop_owners')");
        let told = registry.leases().unwrap().remove(0);
        assert_eq!((told.alive, told.pid, told.command), (false, None, None));
        if by_preference {
            assert_eq!(registry.lease(&preferring(20001)).unwrap().port().get(), 20001);
        }
        assert_eq!(registry.lease_many(2, &LeaseRequest::default()).unwrap().len(), 2);
        drop((lease, former));
    }
    registry.validate().unwrap();
}

/// An owner whose file may not be opened counts as alive until its process is known to have ended, and
/// whoever may only read can look.
#[test]
fn owners_of_another_user_live_as_long_as_their_processes() {
    isolated("owners_of_another_user_live_as_long_as_their_processes", |scratch| {
        let registry = scratch.open();
        let lease = registry.lease(&LeaseRequest::default()).unwrap();
        ended(scratch, 1);
        for path in [scratch.root(), &scratch.dir()] {
            allow(path, 0o755);
        }
        for name in ["trop.db", "trop.db-wal", "trop.db-shm"] {
            allow(&scratch.dir().join(name), 0o644);
        }
        fork(|| {
            become_nobody();
            let reader = scratch.open();
            assert_eq!(code(reader.lease(&LeaseRequest::default())), Code::Io);
            // Whoever is not root to begin with is the owner all the same.
            let is_root = std::fs::File::open(scratch.dir().join(&files(scratch)[0])).is_err();
            let is_unknown = is_root && !cfg!(target_os = "linux");
            assert_eq!(
                [20000, 20001].map(|number| is_alive(&reader, number)),
                [Some(true), Some(is_unknown)]
            );
        })
        .join();
        assert_eq!([20000, 20001].map(|number| is_alive(&registry, number)), [Some(true), Some(false)]);
        drop(lease);
    });
}

/// In a file that only other programs have written to there is no table of leases, and looking makes none.
#[test]
fn a_database_that_has_never_seen_a_lease() {
    let last = 253_402_300_799_u64;
    let rows =
        format!("db.execute(\"INSERT INTO reservations VALUES ('/w', 'a', 20000, NULL, NULL, 1, {last})\")");
    let scratch = Scratch::made_by(&[common::VERSION_2, &rows].concat());
    let before = dump(&scratch.database());
    let registry = scratch.open();
    assert_eq!(registry.leases().unwrap(), []);
    assert!(matches!(registry.holder(port(20000)).unwrap(), Some(Holder::Reservation(_))));
    assert_eq!(registry.holder(port(20001)).unwrap(), None);
    assert_eq!(listed(&registry).len(), 1);
    assert!(registry.find(&common::key("/w", "a")).unwrap().is_some());
    assert_eq!(before, dump(&scratch.database()));

    let file = scratch.root().join("trop.yaml");
    std::fs::write(&file, "reservations:\n  services:\n    web:\n      preferred: 20001\n").unwrap();
    let mut group = GroupRequest::default();
    group.file = Some(file);
    group.occupancy.skip = true;
    assert_eq!(registry.reserve_group(&group).unwrap().members[0].reservation.port.get(), 20001);
    assert_eq!(registry.lease(&LeaseRequest::default()).unwrap().port().get(), 20002);
    // Its last use is the latest time there is, as that of a lease.
    assert_eq!(reserve(&registry, "/w", "a").unwrap(), 20000);
}

/// A late client of a server that has gone must not meet the next one.
#[test]
fn a_number_that_was_given_up_rests_as_long_as_another_is_left() {
    let scratch = Scratch::new();
    let (registry, wide) = (ranged(&scratch, 20000, 20004), ranged(&scratch, 20000, 20049));
    let next = |registry: &Registry| registry.lease(&LeaseRequest::default()).unwrap().port().get();
    let kept = registry.lease(&preferring(20002)).unwrap();
    assert_eq!([(); 4].map(|()| next(&registry)), [20000, 20001, 20003, 20004]);
    assert_eq!([(); 3].map(|()| next(&wide)), [20005, 20006, 20007], "of whoever it was");
    // When none is left they begin anew, and other numbers go on resting.
    assert_eq!([(); 5].map(|()| next(&registry)), [20000, 20001, 20003, 20004, 20000]);
    kept.close();
    assert_eq!([(); 4].map(|()| next(&registry)), [20001, 20003, 20004, 20000]);
    assert_eq!(registry.lease(&preferring(20000)).unwrap().port().get(), 20000, "who wants it has it");
    assert_eq!(next(&wide), 20001, "the narrow range has begun anew");
    assert_eq!(next(&wide), 20002);
    assert_eq!(next(&wide), 20003);
    assert_eq!(next(&wide), 20004);
    assert_eq!(next(&wide), 20008);

    // What the dead had rests too, and so does a reservation's number.
    ended(&scratch, 3);
    reserve(&wide, "/p", "a").unwrap();
    common::release(&wide, "/p", "a").unwrap();
    assert_eq!(next(&wide), 20011);
    common::assert_sound(&scratch.database());
}

#[test]
fn neighbours_rest_too() {
    let scratch = Scratch::new();
    let registry = ranged(&scratch, 20000, 20008);
    let run = |count| numbers(&registry.lease_many(count, &neighbours()).unwrap());
    assert_eq!(run(2), [20000, 20001]);
    assert_eq!(run(3), [20002, 20003, 20004]);
    assert_eq!(run(4), [20005, 20006, 20007, 20008]);
    assert_eq!(run(2), [20000, 20001], "none has rested");
    assert_eq!(run(8), [20000, 20001, 20002, 20003, 20004, 20005, 20006, 20007], "not so many have");
    assert_eq!(registry.lease_many(10, &neighbours()).unwrap_err().code(), Code::InvalidArgument);
    common::assert_sound(&scratch.database());
}

/// `trop run --port 4123` means that port, though leases without a wish begin at 10000.
#[test]
fn a_wish_lies_outside_a_range_that_nobody_has_set() {
    let scratch = Scratch::new();
    let mut open = options(&scratch.dir());
    open.ports = None;
    let unset = Registry::open(open.clone()).unwrap();
    assert_eq!(numbers(&unset.lease_many(1, &preferring(4123)).unwrap()), [4123]);
    let mut run = preferring(4123);
    run.contiguous = true;
    assert_eq!(numbers(&unset.lease_many(2, &run).unwrap()), [4123, 4124]);

    let mut request = preferring(4123);
    (request.min, request.max) = (Some(port(20000)), Some(port(20010)));
    assert_eq!(unset.lease(&request).unwrap().port().get(), 20000);
    open.ports = Some(range(20000, 20010));
    let set = Registry::open(open).unwrap();
    assert_eq!(set.lease(&preferring(4123)).unwrap().port().get(), 20001);
    assert_eq!(numbers(&set.lease_many(2, &run).unwrap()), [20002, 20003]);
}

/// Whoever may read the database can test the lock of an owner; other files of a similar name stay.
#[test]
fn an_owners_file_is_for_the_users_of_the_database() {
    use std::fs::{Permissions, metadata, set_permissions, write};
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let notes = scratch.dir().join("owner-manual.txt");
    let mode_of_owner = || {
        let _lease = scratch.open().lease(&LeaseRequest::default()).unwrap();
        let [file] = &files(&scratch).into_iter().filter(|name| name.len() > 20).collect::<Vec<_>>()[..]
        else {
            panic!("one owner")
        };
        metadata(scratch.dir().join(file)).unwrap().permissions().mode() & 0o777
    };
    drop(scratch.open());
    write(&notes, "how to own").unwrap();
    assert_eq!(mode_of_owner(), 0o600);
    for (database, owner) in [(0o660, 0o640), (0o666, 0o644)] {
        set_permissions(scratch.database(), Permissions::from_mode(database)).unwrap();
        assert_eq!(mode_of_owner(), owner);
    }
    assert!(notes.exists());
}
