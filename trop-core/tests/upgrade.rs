//! Databases of schema version 1: migrated completely or left as they are.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{Process, Scratch, code, listed, python, query, reserve};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::json;
use trop_core::{Code, Registry};

/// Schema version 1, with whatever is declared for the port.
fn version_1(port: &str) -> String {
    format!(
        "
db.executescript('''
CREATE TABLE metadata (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE reservations (
  path TEXT NOT NULL, tag TEXT, {port}, project TEXT, task TEXT,
  created_at INTEGER NOT NULL, last_used_at INTEGER NOT NULL, PRIMARY KEY (path, tag)
);
CREATE INDEX idx_reservations_port ON reservations (port);
CREATE INDEX idx_reservations_project ON reservations (project);
CREATE INDEX idx_reservations_last_used ON reservations (last_used_at);
INSERT INTO metadata VALUES ('schema_version', '1'), ('theirs', 'kept');
INSERT INTO reservations VALUES
  ('/p', NULL, 20000, 'project', 'task', 10, 5), ('/p', 'web', 20001, NULL, NULL, 10, 20), ('/q', NULL, 21000, NULL, NULL, 0, 0);
''')
"
    )
}

fn old() -> String {
    version_1("port INTEGER NOT NULL")
}

/// The text of the tables and indexes of version 2.
const SHAPE: &str = "SELECT name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'trop%' \
                     AND tbl_name NOT LIKE 'trop%' ORDER BY name";

#[test]
fn every_row_and_all_metadata_survive() {
    for (port, journal) in [
        ("port INTEGER NOT NULL", "DELETE"),
        ("port INTEGER NOT NULL UNIQUE", "WAL"),
        ("port INTEGER NOT NULL UNIQUE CHECK (port > 0)", "TRUNCATE"),
    ] {
        let scratch = Scratch::made_by(&format!(
            "{}\ndb.execute('PRAGMA journal_mode = {journal}').fetchone()",
            version_1(port)
        ));
        let database = scratch.database();
        let rows = "SELECT path, coalesce(tag, ''), port, project, task, created_at, last_used_at \
                    FROM reservations ORDER BY 1, 2";
        let before = query(&database, rows);
        let registry = scratch.open();
        assert_eq!(listed(&registry).len(), 3, "{port}");
        assert_eq!(query(&database, rows), before);
        let metadata = "SELECT * FROM metadata WHERE key NOT LIKE 'ext%' ORDER BY key";
        assert_eq!(query(&database, metadata), json!([["schema_version", "2"], ["theirs", "kept"]]));
        let fresh = Scratch::new();
        fresh.open();
        let text = |database: &std::path::Path| query(database, SHAPE);
        assert_eq!(text(&database), text(&fresh.database()));
        assert_eq!(reserve(&registry, "/p", "new").unwrap(), 20002);
        assert_eq!(query(&database, "PRAGMA journal_mode"), json!([["wal"]]));
        common::assert_sound(&database);
    }
}

#[test]
fn a_write_migrates_too_and_the_next_one_does_not() {
    let scratch = Scratch::made_by(&old());
    let registry = scratch.open();
    assert_eq!(
        query(&scratch.database(), "SELECT value FROM metadata WHERE key = 'schema_version'"),
        json!([["1"]])
    );
    assert_eq!(reserve(&registry, "/p", "web").unwrap(), 20001);
    assert_eq!(reserve(&registry, "/p", "db").unwrap(), 20002);
    common::assert_sound(&scratch.database());
}

/// What version 2 cannot hold is counted by category; nothing is picked, dropped or changed. Traps 104
/// (untagged rows twice), 112 (a repair under the same version), 113 (one of several rows is picked).
#[test]
fn what_version_2_cannot_hold_is_refused_with_counts() {
    let insert = |values: &str| format!("db.execute(\"INSERT INTO reservations VALUES {values}\")");
    let cases = [
        (insert("('/p', NULL, 1, NULL, NULL, 0, 0)"), "duplicate keys (path and tag): 1"),
        (insert("('/q', NULL, 1, NULL, NULL, 0, 0), ('/p', NULL, 2, NULL, NULL, 0, 0)"), "(path and tag): 2"),
        (insert("('/x', NULL, 20000, NULL, NULL, 0, 0)"), "duplicate ports: 1"),
        (insert("('/x', '', 1, NULL, NULL, 0, 0)"), "empty tags: 1"),
        (insert("('/x', 'a', 0, NULL, NULL, 0, 0), ('/x', 'b', 65536, NULL, NULL, 0, 0)"), "1 to 65535: 2"),
        (
            insert("('/x', 'a', 'http', NULL, NULL, 0, 0), ('/x', 'b', 1.5, NULL, NULL, 0, 0)"),
            "1 to 65535: 2",
        ),
        (insert("('/x', 'a', 1, NULL, NULL, -1, 0)"), "negative or non-integer times: 1"),
        (insert("('/x', 'a', 1, NULL, NULL, 0, 'soon')"), "negative or non-integer times: 1"),
        (
            insert("('/x', 'a', 1, x'00', NULL, 0, 0), (x'2f', 'a', 2, NULL, NULL, 0, 0)"),
            "values of a wrong type: 2",
        ),
        (insert("('/x', ' a ', 1, NULL, NULL, 0, 0)"), "field=tag"),
        (insert("('relative', 'a', 1, NULL, NULL, 0, 0)"), "field=path"),
        (insert("('/x', 'a', 1, '', NULL, 0, 0)"), "field=project"),
        (insert("('/x', 'a', 1, NULL, NULL, 0, 999999999999999)"), "field=last_used_at"),
        (insert("('/p', NULL, 20000, NULL, NULL, 0, 0)"), "(path and tag): 1; duplicate ports: 1"),
        (
            "db.execute(\"INSERT INTO metadata VALUES ('blob', x'00')\")".to_owned(),
            "metadata of a wrong type: 1",
        ),
        (
            "db.execute('CREATE TABLE reservations_v2 (x)')".to_owned(),
            "left-over tables of an interrupted migration: 1",
        ),
        ("db.execute('ALTER TABLE reservations ADD COLUMN more')".to_owned(), "unknown layout"),
        ("db.execute('CREATE INDEX theirs ON reservations (task)')".to_owned(), "unknown layout"),
        ("db.execute('CREATE VIEW theirs AS SELECT * FROM reservations')".to_owned(), "unknown layout"),
        ("db.execute('CREATE TABLE theirs (x REFERENCES Reservations)')".to_owned(), "unknown layout"),
    ];
    for (fault, token) in cases {
        let scratch = Scratch::made_by(&format!("{}\n{fault}", old()));
        let before = fs::read(scratch.database()).unwrap();
        let registry = scratch.open();
        for error in [registry.list().expect_err(&fault), reserve(&registry, "/p", "web").unwrap_err()] {
            assert_eq!(error.code(), Code::Schema, "{fault}: {error}");
            assert!(error.to_string().contains(token), "{fault}: {error}");
            assert!(error.to_string().contains("Nothing was changed"), "{error}");
        }
        drop(registry);
        assert!(before == fs::read(scratch.database()).unwrap(), "changed: {fault}");
        assert_eq!(fs::read_dir(scratch.dir()).unwrap().count(), 1, "{fault}");
    }
}

#[test]
fn reading_without_the_right_to_write_refuses() {
    common::isolated("reading_without_the_right_to_write_refuses", |scratch| {
        fs::create_dir(scratch.dir()).unwrap();
        python(&scratch.database(), &old());
        let before = fs::read(scratch.database()).unwrap();
        common::allow(scratch.root(), 0o755);
        common::allow(&scratch.database(), 0o444);
        common::allow(&scratch.dir(), 0o555);
        common::become_nobody();
        let registry = scratch.open();
        // A request that leaves the names to git, as most do, and one that does not.
        let reserved = registry.reserve(&trop_core::ReserveRequest::default()).map(|_| ());
        for refused in [registry.list().map(|_| ()), reserved, reserve(&registry, "/p", "db").map(|_| ())] {
            let error = refused.unwrap_err();
            assert_eq!(error.code(), Code::Schema, "{error}");
            assert!(error.to_string().contains("needs the right to write"), "{error}");
        }
        assert_eq!(fs::read(scratch.database()).unwrap(), before);
    });
}

#[test]
fn a_dry_run_migrates_its_copy_only() {
    let scratch = Scratch::made_by(&old());
    let before = fs::read(scratch.database()).unwrap();
    let dry_run = scratch.open().dry_run().unwrap();
    assert_eq!(reserve(&dry_run, "/p", "db").unwrap(), 20002);
    assert_eq!(before, fs::read(scratch.database()).unwrap());

    let broken = Scratch::made_by(&format!("{}\ndb.execute('UPDATE reservations SET port = 1')", old()));
    assert_eq!(code(broken.open().dry_run()), Code::Schema);
}

/// For [`only_one_process_migrates`] and [`killed_at_any_moment_it_is_complete_in_either_version`].
#[test]
fn migrator() {
    let Some(path) = common::role() else { return };
    let registry = Registry::open(common::options(&trop_core::data_dir(None).unwrap())).unwrap();
    common::say("ready");
    if path == "/wait" {
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }
    common::say(&reserve(&registry, "/p", "web").unwrap().to_string());
}

/// All looked at version 1 before any of them gets the lock. Trap 114 (two programs migrate one file).
#[test]
fn only_one_process_migrates() {
    for _ in 0..5 {
        let scratch = Scratch::made_by(&old());
        let lock = Process::locking(&scratch.database());
        let mut processes: Vec<_> =
            (0..4).map(|_| Process::start("migrator", "/wait", &scratch.dir())).collect();
        for process in &mut processes {
            assert_eq!(process.hear(), "ready");
        }
        for process in &mut processes {
            process.say("go on");
        }
        lock.unlock();
        for process in &mut processes {
            assert_eq!(process.hear(), "20001");
        }
        assert_eq!(query(&scratch.database(), "SELECT count(*) FROM reservations"), json!([[3]]));
        common::assert_sound(&scratch.database());
    }
}

/// Trap 135 (being killed is harmless).
#[test]
fn killed_at_any_moment_it_is_complete_in_either_version() {
    let many = "
db.execute('''WITH RECURSIVE port(n) AS (SELECT 40000 UNION ALL SELECT n + 1 FROM port WHERE n < 55000)
INSERT INTO reservations SELECT '/many/' || n, NULL, n, NULL, NULL, 0, 0 FROM port''')";
    let template = Scratch::made_by(&format!("{}{many}", old()));
    let bytes = fs::read(template.database()).unwrap();
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut versions = std::collections::BTreeSet::new();
    // As long as it takes here, measured once.
    let whole = {
        let scratch = Scratch::new();
        fs::create_dir(scratch.dir()).unwrap();
        fs::write(scratch.database(), &bytes).unwrap();
        let start = Instant::now();
        scratch.open().list().unwrap();
        u32::try_from(start.elapsed().as_micros()).unwrap() * 5 / 4
    };
    for round in 0..30 {
        let scratch = Scratch::new();
        fs::create_dir(scratch.dir()).unwrap();
        fs::write(scratch.database(), &bytes).unwrap();
        let mut process = Process::start("migrator", "/go", &scratch.dir());
        assert_eq!(process.hear(), "ready");
        let pause = Duration::from_micros(u64::from(random.next_u32() % whole));
        let start = Instant::now();
        while start.elapsed() < pause {
            std::thread::yield_now();
        }
        process.kill();
        let state = query(
            &scratch.database(),
            "SELECT value, (SELECT count(*) FROM reservations), \
             (SELECT count(*) FROM sqlite_schema WHERE name LIKE 'trop_old%'), \
             (SELECT strict FROM pragma_table_list WHERE name = 'reservations') \
             FROM metadata WHERE key = 'schema_version'",
        );
        let expected = [json!([["1", 15004, 0, 0]]), json!([["2", 15004, 0, 1]])];
        assert!(expected.contains(&state), "round {round}: {state}");
        versions.insert(state.to_string());
        assert_eq!(scratch.open().list().unwrap().len(), 15004, "round {round}");
        common::assert_sound(&scratch.database());
    }
    assert!(!versions.is_empty());
}

#[test]
fn a_version_1_that_is_put_in_place_of_an_open_registry_is_migrated() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    reserve(&registry, "/p", "a").unwrap();
    let drop_all = "db.executescript('DROP TABLE reservations; DROP TABLE metadata; DROP TABLE trop_free_ports; \
                    DROP TABLE trop_owners; DROP TABLE trop_leases')";
    python(&scratch.database(), &format!("{drop_all}\n{}", old()));
    assert_eq!(reserve(&registry, "/p", "web").unwrap(), 20001);
    common::assert_sound(&scratch.database());
    python(&scratch.database(), &format!("{drop_all}\n{}", old()));
    assert_eq!(listed(&registry).len(), 3);
}
