//! Groups as an in-process caller meets them: which ports they get, when they keep them, and what a failure
//! leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use common::{Scratch, code, free_ports, listed, query};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use trop_core::{
    Code, Discovery, Error, GroupFormat, GroupKey, GroupOutcome, GroupRequest, Refusal, Registry,
    RegistryOptions, ReservedGroup, Result, Shell,
};

/// A project's directory and a data directory beside it. The path of the group's rows is `path`.
struct Place {
    scratch: Scratch,
    project: PathBuf,
    path: String,
}

impl Place {
    fn new(yaml: &str) -> Place {
        let scratch = Scratch::new();
        let project = scratch.root().canonicalize().unwrap().join("project");
        fs::create_dir(&project).unwrap();
        fs::create_dir(scratch.dir()).unwrap();
        let path = project.to_str().unwrap().to_owned();
        let place = Place { scratch, project, path };
        place.write("trop.yaml", yaml);
        place
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.project.join(name), text).unwrap();
    }

    fn options(&self) -> RegistryOptions {
        let mut options = common::options(&self.scratch.dir());
        options.discovery = Discovery::From(self.project.clone());
        // The range is that of the files.
        options.ports = None;
        options
    }

    fn open(&self) -> Registry {
        Registry::open(self.options()).unwrap()
    }

    fn try_reserve(&self) -> Result<ReservedGroup> {
        self.open().reserve_group(&GroupRequest::default())
    }

    fn reserve(&self) -> ReservedGroup {
        self.try_reserve().unwrap()
    }

    fn force(&self) -> Result<ReservedGroup> {
        self.open().reserve_group(&forced())
    }

    /// Another program's row.
    fn insert(&self, path: &str, tag: &str, port: u16) {
        self.sql(&format!("INSERT INTO reservations VALUES ('{path}', '{tag}', {port}, NULL, NULL, 1, 1)"));
    }

    fn sql(&self, sql: &str) {
        self.open();
        query(&self.scratch.database(), sql);
    }

    /// Expects a failure that changes nothing, and returns it.
    fn fails(&self, code: Code, request: &GroupRequest) -> String {
        let registry = self.open();
        let before = registry.list().unwrap();
        let error = registry.reserve_group(request).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert_eq!(self.open().list().unwrap(), before, "{error}");
        error.to_string()
    }

    /// The rows of the path: tag, port, project, task, created, used.
    fn rows(&self) -> serde_json::Value {
        let sql =
            "SELECT tag, port, project, task, created_at, last_used_at FROM reservations ORDER BY path, tag";
        query(&self.scratch.database(), sql)
    }

    /// Makes the rows look old, so that every later change shows.
    fn age(&self) {
        self.sql("UPDATE reservations SET created_at = 1000, last_used_at = 2000");
    }
}

fn forced() -> GroupRequest {
    let mut request = GroupRequest::default();
    request.force = true;
    request
}

fn ports(group: &ReservedGroup) -> Vec<(&str, u16)> {
    group.members.iter().map(|member| (member.tag(), member.port().get())).collect()
}

fn services(text: &str) -> String {
    format!("ports: {{min: 20000, max: 20100}}\nreservations:\n  services: {{{text}}}\n")
}

const WEB_API_DB: &str = "web: {preferred: 8080}, api: {offset: 1}, db: {offset: 2}";

/// Traps 16 (a preferred port outside the range), 17 (a preferred port that is taken), 18 (the pattern takes
/// a preferred port): a preferred port may lie outside the range, an unavailable one is no failure, and what
/// one service got is not found at the offset of another.
#[test]
fn new_groups_get_the_ports_of_the_contract() {
    for (yaml, taken, expected) in [
        (WEB_API_DB, vec![], vec![("api", 20001), ("db", 20002), ("web", 8080)]),
        (
            "external: {preferred: 65535, offset: 9}, admin: {preferred: 20000, offset: 8}, web: {}, api: {offset: 1}",
            vec![],
            vec![("admin", 20000), ("api", 20002), ("external", 65535), ("web", 20001)],
        ),
        // Taken: it falls back to its offset, 0 unless told otherwise.
        (WEB_API_DB, vec![8080], vec![("api", 20001), ("db", 20002), ("web", 20000)]),
        (
            "web: {preferred: 8080, offset: 5}, api: {}",
            vec![8080, 20005, 20006],
            vec![("api", 20002), ("web", 20007)],
        ),
        // The base itself need not be free, and offsets are not compressed.
        ("a: {offset: 1}, b: {offset: 10}", vec![20000], vec![("a", 20001), ("b", 20010)]),
        ("a: {offset: 0}, b: {offset: 10}", vec![20010, 20001, 20012], vec![("a", 20003), ("b", 20013)]),
        // A pinned port in the middle of the pattern moves all of it.
        (
            "a: {}, b: {offset: 2}, c: {preferred: 20002, offset: 7}",
            vec![],
            vec![("a", 20001), ("b", 20003), ("c", 20002)],
        ),
        // Nobody needs a base.
        ("a: {preferred: 1}, b: {preferred: 9999, offset: 1}", vec![], vec![("a", 1), ("b", 9999)]),
        ("a: {offset: 100}", vec![], vec![("a", 20100)]),
    ] {
        let place = Place::new(&services(yaml));
        for port in &taken {
            place.insert("/elsewhere", &port.to_string(), *port);
        }
        let group = place.reserve();
        assert_eq!(ports(&group), expected, "{yaml}");
        assert_eq!((group.outcome, group.cleanup.is_none()), (GroupOutcome::Created, true), "{yaml}");
        assert_eq!((&group.path, &group.file), (&place.path, &place.project.join("trop.yaml")));
        let refusals =
            group.members.iter().filter(|member| member.refusal == Some(Refusal::Reserved)).count();
        assert_eq!(refusals, usize::from(taken.contains(&8080)), "{yaml}");
        let times: BTreeSet<_> = group
            .members
            .iter()
            .flat_map(|member| [member.reservation.created_at, member.reservation.last_used_at])
            .collect();
        assert_eq!(times.len(), 1, "one instant for all: {yaml}");
        assert_eq!(ports(&place.reserve()), expected, "{yaml}");
        common::assert_sound(&place.scratch.database());
    }
}

#[test]
fn the_search_starts_at_the_base_and_ends_at_the_range() {
    let yaml = |base: u16| {
        let services = "{a: {}, b: {offset: 1}}";
        format!("ports: {{min: 20000, max: 20100}}\nreservations: {{base: {base}, services: {services}}}\n")
    };
    assert_eq!(ports(&Place::new(&yaml(20050)).reserve()), [("a", 20050), ("b", 20051)]);
    let place = Place::new(&yaml(20100));
    let text = place.fails(Code::Exhausted, &GroupRequest::default());
    assert!(text.contains("port range 20000..20100 exhausted") && text.contains("no room"), "{text}");
    // In the range of the file, but not in the effective one.
    let mut options = Place::new("").options();
    let place = Place::new(&yaml(20050));
    options.discovery = Discovery::From(place.project.clone());
    options.data_dir = Some(place.scratch.dir());
    options.ports = Some(common::range(21000, 21100));
    let error = Registry::open(options).unwrap().reserve_group(&GroupRequest::default()).unwrap_err();
    assert_eq!(error.code(), Code::Config);
    assert!(error.to_string().contains("reservations.base"), "{error}");
}

#[test]
fn ports_that_are_excluded_or_in_use_are_passed_over() {
    let first = free_ports(10);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 3)).unwrap();
    let place = Place::new(&format!(
        "ports: {{min: {first}, max: {}}}\nexcluded_ports: [{}, 9999]\nreservations:\n  services:\n    a: {{}}\n    \
         b: {{offset: 2}}\n    c: {{preferred: 9999, offset: 4}}\n    d: {{preferred: {}, offset: 5}}\n",
        first + 9,
        first,
        first + 3,
    ));
    let mut options = place.options();
    options.occupancy.skip = false;
    let registry = Registry::open(options).unwrap();
    let group = registry.reserve_group(&GroupRequest::default()).unwrap();
    // Base + 0 would be excluded, + 1 would put b on the listener.
    let base = first + 2;
    assert_eq!(ports(&group), [("a", base), ("b", base + 2), ("c", base + 4), ("d", base + 5)]);
    let refusals: Vec<_> = group.members.iter().filter_map(|member| member.refusal).collect();
    assert_eq!(refusals, [Refusal::Excluded, Refusal::Occupied]);

    // Traps 11 (a group is allocated again), 24 (ports that change): what is stored is not tested again, and
    // nothing moves.
    place.age();
    let yaml = fs::read_to_string(place.project.join("trop.yaml")).unwrap();
    place.write("trop.local.yaml", &format!("excluded_ports: [{base}]"));
    let _mine = TcpListener::bind((Ipv4Addr::LOCALHOST, base + 2)).unwrap();
    let again = registry.reserve_group(&GroupRequest::default()).unwrap();
    assert_eq!((ports(&again), again.outcome), (ports(&group), GroupOutcome::Kept));
    assert_eq!(ports(&place.reserve()), ports(&group));
    drop(listener);
    assert_eq!(fs::read_to_string(place.project.join("trop.yaml")).unwrap(), yaml);
}

/// What the contract says, as simply as possible.
fn model(blocked: &BTreeSet<u16>, wishes: &[(u16, Option<u16>)], min: u16, max: u16) -> Option<Vec<u16>> {
    let pinned: Vec<_> =
        wishes.iter().map(|(_, preferred)| preferred.filter(|port| !blocked.contains(port))).collect();
    let offsets: Vec<u16> =
        wishes.iter().zip(&pinned).filter(|(_, pin)| pin.is_none()).map(|((offset, _), _)| *offset).collect();
    let fits = |base: u16| {
        offsets.iter().all(|offset| {
            let port = base + offset;
            port <= max && !blocked.contains(&port) && !pinned.contains(&Some(port))
        })
    };
    let base = (min..=max).find(|base| fits(*base))?;
    Some(wishes.iter().zip(&pinned).map(|((offset, _), pin)| pin.unwrap_or(base + offset)).collect())
}

#[test]
fn the_allocation_agrees_with_a_model() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut exhausted = 0;
    for _ in 0..60 {
        let mut below = |limit: u16| u16::try_from(random.next_u32() % u32::from(limit)).unwrap();
        let (min, max) = (20000, 20000 + 8 + below(20));
        let reserved: BTreeSet<u16> = (0..below(12)).map(|_| 20000 + below(28)).collect();
        let excluded: BTreeSet<u16> = (0..below(6)).map(|_| 20000 + below(28)).collect();
        let mut offsets: Vec<u16> = (0..12).collect();
        let mut preferred: Vec<u16> = (19995..20030).collect();
        let wishes: Vec<(u16, Option<u16>)> = (0..=below(4))
            .map(|_| {
                let offset = offsets.remove(usize::from(below(u16::try_from(offsets.len()).unwrap())));
                let port = preferred.remove(usize::from(below(u16::try_from(preferred.len()).unwrap())));
                (offset, (below(3) == 0).then_some(port))
            })
            .collect();
        let mut yaml = format!(
            "ports: {{min: {min}, max: {max}}}\nexcluded_ports: {:?}\ndisable_autoprune: true\n\
             disable_autoexpire: true\nreservations:\n  services:\n",
            Vec::from_iter(&excluded)
        );
        for (index, (offset, preferred)) in wishes.iter().enumerate() {
            let preferred = preferred.map(|port| format!(", preferred: {port}")).unwrap_or_default();
            writeln!(yaml, "    s{index}: {{offset: {offset}{preferred}}}").unwrap();
        }
        let place = Place::new(&yaml);
        let registry = place.open();
        for number in &reserved {
            let mut request = common::request("/e", &number.to_string());
            request.preferred = Some(common::port(*number));
            (request.min, request.max) = (request.preferred, request.preferred);
            request.ignore_exclusions = true;
            registry.reserve(&request).unwrap();
        }
        let expected = model(&reserved.union(&excluded).copied().collect(), &wishes, min, max);
        match place.try_reserve() {
            Ok(group) => {
                let found: Vec<u16> = group.members.iter().map(|member| member.port().get()).collect();
                assert_eq!(Some(found), expected, "{yaml}{reserved:?}");
            }
            Err(error) => {
                assert_eq!((error.code(), expected), (Code::Exhausted, None), "{yaml}{reserved:?}");
                exhausted += 1;
            }
        }
    }
    assert!((5..55).contains(&exhausted), "both happen: {exhausted}");
}

/// Traps 11 (a group is allocated again), 23 (omitted fields are cleared), 24 (ports that change).
#[test]
fn asking_again_keeps_ports_creation_and_metadata() {
    for yaml in [WEB_API_DB, "web: {preferred: 8080}, api: {preferred: 65535, offset: 1}"] {
        let place = Place::new(&(services(yaml) + "project: shop\n"));
        let mut request = GroupRequest::default();
        request.task = Some(" checkout ".to_owned());
        let group = place.open().reserve_group(&request).unwrap();
        assert!(group.members.iter().all(|member| member.reservation.task.as_deref() == Some("checkout")));
        place.age();
        // Neither the project nor the task is given any more.
        place.write("trop.yaml", &services(yaml));
        let again = place.reserve();
        assert_eq!((ports(&again), again.outcome), (ports(&group), GroupOutcome::Kept));
        let mut used = BTreeSet::new();
        for member in &again.members {
            let row = &member.reservation;
            assert_eq!((row.project.as_deref(), row.task.as_deref()), (Some("shop"), Some("checkout")));
            assert_eq!((row.created_at.seconds(), row.last_used_at.seconds() > 2000), (1000, true));
            used.insert(row.last_used_at);
        }
        assert_eq!(used.len(), 1, "one instant");
        let rows: Vec<_> = again.members.iter().map(|member| member.reservation.clone()).collect();
        assert_eq!(place.open().list().unwrap(), rows, "what is told is what is stored");
    }
}

/// Traps 14 (mended piece by piece), 27 (a foreign row blocks in silence): nothing is repaired, and the
/// message tells which of the situations it is.
#[test]
fn what_is_stored_and_is_not_the_group_is_a_conflict() {
    let hostile = "evil\u{1b}[2J";
    let spec = services(WEB_API_DB);
    for (change, tokens) in [
        (
            "DELETE FROM reservations WHERE tag = 'api'".to_owned(),
            ["1 of 3 services", "without a reservation"],
        ),
        (
            "INSERT INTO reservations SELECT path, 'other', 21500, NULL, NULL, 1, 1 FROM reservations LIMIT 1"
                .to_owned(),
            ["1 of 4 tagged reservations", "reserve --tag"],
        ),
        (
            format!("UPDATE reservations SET tag = '{hostile}' WHERE tag = 'db'"),
            ["1 of 3 services", "1 of 3 tagged"],
        ),
        ("UPDATE reservations SET port = 20003 WHERE tag = 'db'".to_owned(), ["shape", "offsets"]),
        ("UPDATE reservations SET port = 2 WHERE tag = 'db'".to_owned(), ["shape", "offsets"]),
        // 1 is where the offset would lead to no base at all.
        ("UPDATE reservations SET port = 1 WHERE tag = 'api'".to_owned(), ["shape", "offsets"]),
        (
            "UPDATE reservations SET port = port + 1000 WHERE tag <> 'web'".to_owned(),
            ["outside the port range", "20000..20100"],
        ),
        // Base 19999.
        (
            "UPDATE reservations SET port = port - 1 WHERE tag <> 'web'".to_owned(),
            ["outside the port range", "base"],
        ),
        (
            "UPDATE reservations SET port = port + 99 WHERE tag <> 'web'".to_owned(),
            ["outside the port range", "base"],
        ),
    ] {
        let place = Place::new(&spec);
        place.reserve();
        place.sql(&change);
        let text = place.fails(Code::Conflict, &GroupRequest::default());
        assert!(text.starts_with("reservation conflict: "), "{text}");
        for token in tokens.iter().chain(&["forcing the request replaces", &place.path]) {
            assert!(text.contains(token), "{token}: {text}");
        }
        assert!(!text.contains("evil") && !text.contains("other"), "{text}");
        let replaced = place.force().unwrap();
        assert_eq!(replaced.outcome, GroupOutcome::Replaced, "{change}");
        assert_eq!(ports(&replaced), [("api", 20001), ("db", 20002), ("web", 8080)], "{change}");
        assert_eq!(place.open().list().unwrap().len(), 3, "{change}");
    }
}

#[test]
fn stored_ports_that_the_group_could_have_are_kept() {
    for change in [
        // From another base of the range.
        "UPDATE reservations SET port = port + 50 WHERE tag <> 'web'",
        // The preferred port was not to be had.
        "UPDATE reservations SET port = 20000 WHERE tag = 'web'",
    ] {
        let place = Place::new(&services(WEB_API_DB));
        place.reserve();
        place.sql(change);
        let before = listed(&place.open());
        let group = place.reserve();
        assert_eq!(group.outcome, GroupOutcome::Kept, "{change}");
        assert_eq!(listed(&place.open()), before, "{change}");
        assert!(group.members.iter().all(|member| member.refusal.is_none()));
        // By force it is refreshed all the same.
        assert_eq!(place.force().unwrap().outcome, GroupOutcome::Kept, "{change}");
        assert_eq!(listed(&place.open()), before, "{change}");
    }
}

#[test]
fn untagged_rows_and_those_of_other_paths_are_nobodys_business() {
    let place = Place::new(&services(WEB_API_DB));
    let (path, below, above) =
        (place.path.clone(), format!("{}/below", place.path), place.project.parent().unwrap());
    place.insert(&path, "", 20001);
    place.insert(&below, "web", 20003);
    place.insert(above.to_str().unwrap(), "web", 20004);
    place.insert(&format!("{path}2"), "web", 8080);
    let foreign = |place: &Place| {
        let sql = format!("SELECT * FROM reservations WHERE path <> '{path}' OR tag = '' ORDER BY port");
        query(&place.scratch.database(), &sql)
    };
    let before = foreign(&place);
    // Base 20004 is free only for web.
    assert_eq!(ports(&place.reserve()), [("api", 20006), ("db", 20007), ("web", 20005)]);
    assert_eq!(place.reserve().outcome, GroupOutcome::Kept);
    place.sql(&format!("UPDATE reservations SET tag = 'x' WHERE path = '{path}' AND tag = 'db'"));
    assert_eq!(place.force().unwrap().outcome, GroupOutcome::Replaced);
    assert_eq!(foreign(&place), before);
}

/// Trap 15 (a failed replacement loses rows), and what a replacement stores.
#[test]
fn a_forced_replacement_is_all_or_nothing() {
    let place = Place::new(&services("old: {}, older: {offset: 1}"));
    let mut request = GroupRequest::default();
    request.task = Some("checkout".to_owned());
    place.open().reserve_group(&request).unwrap();
    place.age();
    // Another key's port, an exclusion and the range all stay in the way.
    place.insert("/elsewhere", "x", 8080);
    let small = "ports: {min: 20000, max: 20002}\nexcluded_ports: [20001]\ndisable_autoprune: true\ndisable_autoexpire: true\n";
    place.write("trop.yaml", &format!("{small}reservations:\n  services: {{{WEB_API_DB}}}\n"));
    let text = place.fails(Code::Exhausted, &forced());
    assert!(text.contains("exhausted"), "{text}");

    place.write("trop.yaml", &services(WEB_API_DB));
    let group = place.force().unwrap();
    assert_eq!(ports(&group), [("api", 20001), ("db", 20002), ("web", 20000)]);
    for member in &group.members {
        let row = &member.reservation;
        assert!(row.created_at.seconds() > 1000 && row.created_at == row.last_used_at, "{row:?}");
        assert_eq!(row.task.as_deref(), Some("checkout"), "carried over, because all had it");
    }

    // They do not agree: what the new ones are to have must be said, and force cannot help.
    place.sql("UPDATE reservations SET project = 'p' WHERE tag = 'web'");
    place.write("trop.yaml", &services("new: {}"));
    let text = place.fails(Code::Conflict, &forced());
    assert!(text.contains("the same project") && !text.contains("forcing"), "{text}");
    place.write("trop.yaml", &(services("new: {}") + "project: shop\n"));
    request = forced();
    request.task = Some("search".to_owned());
    let group = place.open().reserve_group(&request).unwrap();
    let row = &group.members[0].reservation;
    assert_eq!((row.project.as_deref(), row.task.as_deref()), (Some("shop"), Some("search")));
    assert_eq!(place.open().list().unwrap().len(), 2);
}

/// Trap 23 (omitted fields are cleared), and each permission for its own field.
#[test]
fn project_and_task_stick_to_each_row() {
    let place = Place::new(&(services(WEB_API_DB) + "project: shop\n"));
    let with_task = |task: &str| {
        let mut request = GroupRequest::default();
        request.task = Some(task.to_owned());
        request
    };
    place.open().reserve_group(&with_task("checkout")).unwrap();
    place.age();
    assert!(place.fails(Code::StickyField, &with_task("search")).contains("sticky field 'task'"));
    let mut request = with_task("search");
    request.allow_project_change = true;
    place.fails(Code::StickyField, &request);
    request.allow_task_change = true;
    let group = place.open().reserve_group(&request).unwrap();
    assert!(group.members.iter().all(|member| member.reservation.task.as_deref() == Some("search")));
    assert_eq!(group.outcome, GroupOutcome::Kept);

    place.write("trop.yaml", &(services(WEB_API_DB) + "project: store\n"));
    let text = place.fails(Code::StickyField, &GroupRequest::default());
    assert!(text.contains("sticky field 'project'") && text.contains("'shop'"), "{text}");
    request = GroupRequest::default();
    request.allow_task_change = true;
    place.fails(Code::StickyField, &request);
    place.write("trop.yaml", &(services(WEB_API_DB) + "project: store\nallow_change_project: true\n"));
    assert_eq!(place.reserve().members[2].reservation.project.as_deref(), Some("store"));

    // One row that differs is enough, be it the last.
    place.write("trop.yaml", &(services(WEB_API_DB) + "project: store\n"));
    place.sql("UPDATE reservations SET project = NULL WHERE tag = 'web'");
    place.fails(Code::StickyField, &GroupRequest::default());
    assert_eq!(place.force().unwrap().outcome, GroupOutcome::Kept);
    assert_eq!(place.reserve().members[2].reservation.project.as_deref(), Some("store"));
    for bad in ["", " ", "a\0b"] {
        let text = place.fails(Code::InvalidArgument, &with_task(bad));
        assert!(text.starts_with("Invalid task: "), "{text}");
    }
}

#[test]
fn names_come_from_git_for_new_groups_only() {
    let place = Place::new(&services(WEB_API_DB));
    for directory in ["objects", "refs"] {
        fs::create_dir_all(place.project.join(".git").join(directory)).unwrap();
    }
    let branch = |name: &str| place.write(".git/HEAD", &format!("ref: refs/heads/{name}\n"));
    branch("feat/one");
    let names = |group: &ReservedGroup| -> BTreeSet<_> {
        let of = |member: &trop_core::Member| {
            (member.reservation.project.clone(), member.reservation.task.clone())
        };
        group.members.iter().map(of).collect()
    };
    let expected = BTreeSet::from([(Some("project".to_owned()), Some("feat/one".to_owned()))]);
    assert_eq!(names(&place.reserve()), expected);
    branch("feat/two");
    assert_eq!(names(&place.reserve()), expected);
    place.sql("UPDATE reservations SET tag = 'x' WHERE tag = 'db'");
    assert_eq!(names(&place.force().unwrap()), expected, "a replacement carries over");
    place.sql("DELETE FROM reservations");
    place.write("trop.yaml", &(services(WEB_API_DB) + "project: shop\n"));
    let expected = BTreeSet::from([(Some("shop".to_owned()), Some("feat/two".to_owned()))]);
    assert_eq!(names(&place.reserve()), expected);
}

#[test]
fn an_exhausted_range_is_cleaned_up_once_in_the_same_transaction() {
    let yaml = |more: &str| {
        format!(
            "ports: {{min: 20000, max: 20002}}\n{more}\nreservations:\n  services: {{a: {{}}, b: {{offset: 1}}}}\n"
        )
    };
    let place = Place::new(&yaml(""));
    place.insert(&format!("{}/gone", place.path), "x", 20001);
    place.insert("/", "old", 21500);
    let both = "disable_autoprune: true\ndisable_autoexpire: true";
    for (more, tokens) in [
        (both, vec!["automatic pruning and expiration disabled"]),
        (
            "disable_autoprune: true\ncleanup: {expire_after_days: 90000}",
            vec!["automatic pruning disabled", "after cleanup"],
        ),
    ] {
        place.write("trop.yaml", &yaml(more));
        // By force neither.
        for request in [GroupRequest::default(), forced()] {
            let text = place.fails(Code::Exhausted, &request);
            for token in tokens.iter().chain(&["port range", "exhausted", "1 reserved", "no room"]) {
                assert!(text.contains(token), "{token}: {text}");
            }
        }
    }
    // What the clean-up removes is put back when it does not help.
    place.write("trop.yaml", &yaml("excluded_ports: [20001]"));
    let text = place.fails(Code::Exhausted, &GroupRequest::default());
    assert!(text.contains("remaining blockers after the single retry: excluded"), "{text}");

    place.write("trop.yaml", &yaml(""));
    let group = place.reserve();
    assert_eq!(ports(&group), [("a", 20000), ("b", 20001)]);
    let cleanup = group.cleanup.unwrap();
    assert_eq!((cleanup.pruned.len(), cleanup.expired.len()), (1, 1));
    assert_eq!(place.open().list().unwrap().len(), 2);
}

/// Traps 2 (names judged late), 6 (committed before it is formatted), 9 (an unknown shell is noticed late):
/// the second look, and that all is formatted before anything is committed.
#[test]
fn what_cannot_be_formatted_is_not_stored() {
    let place = Place::new(&services(WEB_API_DB));
    let spoil = |name: &'static str| {
        move |group: &ReservedGroup| {
            let mut group = group.clone();
            name.clone_into(&mut group.members[1].variable);
            group.format(GroupFormat::Json(GroupKey::Tag))
        }
    };
    for name in ["", "9A", "A B", "A\nexport B=1", "$(id)", "A;B", "é", "WEB", "web", "A-B"] {
        let registry = place.open();
        let error = registry.reserve_group_with(&GroupRequest::default(), spoil(name)).unwrap_err();
        assert_eq!(error.code(), Code::Config, "{name}");
        assert!(name.len() < 3 || !error.to_string().contains(name), "{error}");
        assert_eq!(registry.list().unwrap(), [], "{name}");
    }
    // Nor is a refresh, nor a replacement.
    place.reserve();
    place.age();
    let before = place.rows();
    let registry = place.open();
    code(registry.reserve_group_with(&GroupRequest::default(), spoil("A B")));
    assert_eq!(place.rows(), before);
    place.write("trop.yaml", &services("new: {}, newer: {offset: 1}"));
    code(place.open().reserve_group_with(&forced(), spoil("A B")));
    assert_eq!(place.rows(), before);
    let refuse = |_: &ReservedGroup| -> Result<()> { Err(Error::Closed) };
    assert_eq!(code(place.open().reserve_group_with(&forced(), refuse)), Code::Closed);
    assert_eq!(place.rows(), before);
}

/// Trap 26 (the order of a hash map).
#[test]
fn names_are_in_the_order_of_the_tags() {
    let place =
        Place::new(&services("z: {env: Z1}, B: {offset: 1}, a: {offset: 2}, é: {offset: 3, env: lower}"));
    let group = place.reserve();
    let by = |key| -> Vec<String> {
        group.ports_by(key).unwrap().into_iter().map(|(name, port)| format!("{name}={port}")).collect()
    };
    assert_eq!(by(GroupKey::Tag), ["B=20001", "a=20002", "z=20000", "é=20003"]);
    assert_eq!(by(GroupKey::Variable), ["B=20001", "A=20002", "Z1=20000", "lower=20003"]);
}

/// Traps 19 (a group sees one file only), 20 (an overlay removes the group), 21 (services of two files are
/// mixed), 22 (null is taken for omitted): which file supplies what.
#[test]
fn files_are_merged_by_their_rules() {
    let place = Place::new(&services(WEB_API_DB));
    // An overlay without the key inherits the group, and adds to the exclusions.
    place.write("trop.local.yaml", "excluded_ports: [20001]\n");
    let group = place.reserve();
    assert_eq!(ports(&group), [("api", 20002), ("db", 20003), ("web", 8080)]);
    assert_eq!(group.file, place.project.join("trop.yaml"));
    // Ports and exclusions of one file, the group of the other, as a whole.
    place.sql("DELETE FROM reservations");
    place.write("trop.local.yaml", "excluded_ports: [20000]\nreservations: {services: {web: {}}}\n");
    let group = place.reserve();
    assert_eq!(ports(&group), [("web", 20001)]);
    assert_eq!(group.file, place.project.join("trop.local.yaml"));
    // The overlay alone, with the default range.
    fs::remove_file(place.project.join("trop.yaml")).unwrap();
    place.sql("DELETE FROM reservations");
    assert_eq!(ports(&place.reserve()), [("web", 5000)]);
    place.sql("DELETE FROM reservations");

    place.write("trop.yaml", &services(WEB_API_DB));
    for (local, token) in [
        ("reservations: null\n", "trop.local.yaml' line 1 removes"),
        ("reservations: {services: {}}\n", "`reservations.services` is empty"),
    ] {
        place.write("trop.local.yaml", local);
        let text = place.fails(Code::NotFound, &GroupRequest::default());
        assert!(text.contains(token), "{text}");
    }
    place.write("trop.local.yaml", "");
    place.write("trop.yaml", "ports: {min: 20000, max: 20100}\n");
    let text = place.fails(Code::NotFound, &GroupRequest::default());
    assert!(text.contains("there are no `reservations` in") && text.contains("trop.local.yaml'"), "{text}");
    // The null of a user's file says nothing.
    place.write("trop.yaml", &services("web: {}"));
    fs::write(place.scratch.dir().join("config.yaml"), "reservations: null\nexcluded_ports: [20001]\n")
        .unwrap();
    place.sql("DELETE FROM reservations");
    assert_eq!(ports(&place.reserve()), [("web", 20000)]);
}

#[test]
fn a_file_may_be_named_whatever_the_registry_was_opened_with() {
    let place = Place::new(&services(WEB_API_DB));
    place.write("other.yaml", "reservations: {services: {only: {offset: 7}}}\n");
    let mut options = place.options();
    options.discovery = Discovery::Off;
    options.ports = Some(common::range(20000, 20009));
    // Not read either.
    fs::write(place.scratch.dir().join("config.yaml"), "broken: [").unwrap();
    let registry = Registry::open(options).unwrap();
    let mut request = GroupRequest::default();
    let error = registry.reserve_group(&request).unwrap_err();
    assert!(matches!(error, Error::NoProjectFile { .. }), "{error}");
    for name in ["trop.yaml", "trop.local.yaml", "./trop.yaml"] {
        request.file = Some(place.project.join(name));
        place.write("trop.local.yaml", "excluded_ports: [20001]\n");
        let group = registry.reserve_group(&request).unwrap();
        assert_eq!(ports(&group), [("api", 20002), ("db", 20003), ("web", 8080)], "{name}");
        assert_eq!((&group.path, &group.file), (&place.path, &place.project.join("trop.yaml")));
    }
    // A file of another name stands alone, and its rows are those of the same directory.
    request.file = Some(place.project.join("other.yaml"));
    assert_eq!(code(registry.reserve_group(&request)), Code::Conflict);
    registry
        .release(&{
            let mut release = trop_core::ReleaseRequest::default();
            release.path = Some(place.project.clone());
            release
        })
        .unwrap();
    assert_eq!(ports(&registry.reserve_group(&request).unwrap()), [("only", 20007)]);
    for (file, token) in [("missing.yaml", "not found"), (".", "not a file")] {
        request.file = Some(place.project.join(file));
        let error = registry.reserve_group(&request).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument);
        assert!(error.to_string().contains(token), "{error}");
    }
    place.write("broken.yaml", "reservations: [");
    request.file = Some(place.project.join("broken.yaml"));
    assert_eq!(code(registry.reserve_group(&request)), Code::Config);
}

/// Trap 13 (the spelling of the file's name): the path is the physical directory the file's name is in,
/// wherever the file itself is.
#[test]
fn the_path_is_the_physical_directory_of_the_name() {
    let place = Place::new("");
    let shared = place.project.join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("group.yaml"), services("web: {}")).unwrap();
    let linked = place.project.join("linked");
    fs::create_dir(&linked).unwrap();
    symlink(shared.join("group.yaml"), linked.join("trop.yaml")).unwrap();
    symlink(&linked, place.project.join("way")).unwrap();
    let registry = place.open();
    let mut request = GroupRequest::default();
    for spelling in [
        "linked/trop.yaml",
        "way/trop.yaml",
        "way/../project/linked/./trop.yaml",
        "shared/../linked/trop.yaml",
    ] {
        // Links first, dots second, as the system does it.
        let file = match spelling.strip_prefix("way/../project/") {
            Some(rest) => place.project.join("way/..").join(rest),
            None => place.project.join(spelling),
        };
        request.file = Some(file);
        let group = registry.reserve_group(&request).unwrap();
        assert_eq!(Path::new(&group.path), linked, "{spelling}");
    }
    assert_eq!(listed(&registry).len(), 1);
    let mut options = place.options();
    options.discovery = Discovery::From(place.project.join("way"));
    assert_eq!(
        Registry::open(options).unwrap().reserve_group(&GroupRequest::default()).unwrap().path,
        linked.to_str().unwrap()
    );

    let latin = place.project.join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&latin).unwrap();
    fs::write(latin.join("trop.yaml"), services("web: {}")).unwrap();
    request.file = Some(latin.join("trop.yaml"));
    let error = registry.reserve_group(&request).unwrap_err();
    assert!(error.to_string().contains("not valid UTF-8"), "{error}");
    assert_eq!(listed(&registry).len(), 1);
}

/// The file of another program has neither the leases nor the set of free ports yet.
#[test]
fn a_database_of_another_program_is_used_at_once() {
    let place = Place::new(&services(WEB_API_DB));
    common::python(&place.scratch.database(), common::VERSION_2);
    query(
        &place.scratch.database(),
        &format!("INSERT INTO reservations VALUES ('{}', '', 20000, NULL, NULL, 1, 1)", place.path),
    );
    let group = place.reserve();
    assert_eq!(ports(&group), [("api", 20001), ("db", 20002), ("web", 8080)]);
    common::assert_sound(&place.scratch.database());
}

#[test]
fn a_group_goes_with_its_directory() {
    let place = Place::new(&services(WEB_API_DB));
    place.insert(&place.scratch.root().canonicalize().unwrap().to_string_lossy(), "stays", 21000);
    let registry = place.open();
    registry.reserve_group(&GroupRequest::default()).unwrap();
    fs::remove_dir_all(&place.project).unwrap();
    assert_eq!(registry.prune().unwrap().pruned.len(), 3);
    assert_eq!(listed(&registry).len(), 1);
}

#[test]
fn a_dry_run_shows_the_real_plan_and_changes_nothing() {
    let place = Place::new(&services(WEB_API_DB));
    place.insert("/elsewhere", "x", 20001);
    let registry = place.open();
    let before = common::dump(&place.scratch.database());
    let rehearsed = registry.dry_run().unwrap().reserve_group(&GroupRequest::default()).unwrap();
    assert_eq!(common::dump(&place.scratch.database()), before);
    assert_eq!(ports(&rehearsed), ports(&registry.reserve_group(&GroupRequest::default()).unwrap()));
    place.sql("DELETE FROM reservations WHERE tag = 'db'");
    let dry_run = registry.dry_run().unwrap();
    assert_eq!(code(dry_run.reserve_group(&GroupRequest::default())), Code::Conflict);
}

#[test]
fn a_big_group_is_one_step() {
    let mut yaml = "ports: {min: 20000, max: 65535}\nreservations:\n  services:\n".to_owned();
    for number in 0..2000 {
        writeln!(yaml, "    s{number:04}: {{offset: {number}}}").unwrap();
    }
    let place = Place::new(&yaml);
    // Every base below is spoiled by one of these.
    for port in [20976, 22975, 24974] {
        place.insert("/elsewhere", &port.to_string(), port);
    }
    let group = place.reserve();
    let expected: Vec<u16> = (24975..26975).collect();
    assert_eq!(group.members.iter().map(|member| member.port().get()).collect::<Vec<_>>(), expected);
    assert_eq!(place.reserve().outcome, GroupOutcome::Kept);
    assert_eq!(group.format(GroupFormat::Export(Shell::Bash)).unwrap().lines().count(), 2000);
    common::assert_sound(&place.scratch.database());
}

/// Threads with registries of their own, all at once: one set, and one of them made it.
#[test]
fn contenders_for_one_group_get_one_set() {
    let place = Place::new(&services(WEB_API_DB));
    let barrier = Barrier::new(8);
    let answers: Vec<ReservedGroup> = thread::scope(|scope| {
        let start = || {
            scope.spawn(|| {
                let registry = Registry::open_lazily(place.options()).unwrap();
                barrier.wait();
                registry.reserve_group(&GroupRequest::default()).unwrap()
            })
        };
        let threads: Vec<_> = (0..8).map(|_| start()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| ports(answer) == ports(&answers[0])), "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| answer.outcome == GroupOutcome::Created).count(), 1);
    assert_eq!(place.open().list().unwrap().len(), 3);
    common::assert_sound(&place.scratch.database());
}

#[test]
fn the_path_guard_is_the_requests_choice() {
    let place = Place::new(&services(WEB_API_DB));
    let mut request = GroupRequest::default();
    request.allow_unrelated_path = false;
    let text = place.fails(Code::UnrelatedPath, &request);
    assert!(text.contains(&place.path), "{text}");
    // Permissions for fields do not lift it; its own, the setting and force do.
    (request.allow_project_change, request.allow_task_change) = (true, true);
    place.fails(Code::UnrelatedPath, &request);
    place.write("trop.local.yaml", "allow_unrelated_path: true\n");
    assert_eq!(ports(&place.open().reserve_group(&request).unwrap()).len(), 3);
    fs::remove_file(place.project.join("trop.local.yaml")).unwrap();
    place.age();
    place.fails(Code::UnrelatedPath, &request);
    request.force = true;
    place.open().reserve_group(&request).unwrap();
}
