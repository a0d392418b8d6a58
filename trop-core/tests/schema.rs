//! What is in the database file, whose files are accepted, and which are left alone.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use common::{Process, Scratch, VERSION_2, code, dump, key, listed, port, python, query, reserve};
use serde_json::{Value, json};
use trop_core::{Code, LeaseRequest, Registry};

/// Everything SQLite knows about the tables and indexes of version 2.
fn shape(database: &Path) -> Value {
    python(
        database,
        "
answer = {}
for table in ('metadata', 'reservations'):
    indexes = db.execute(f'PRAGMA index_list({table})').fetchall()
    sql = db.execute('SELECT sql FROM sqlite_schema WHERE name = ?', [table]).fetchone()[0]
    answer[table] = {
        'columns': db.execute(f'PRAGMA table_xinfo({table})').fetchall(),
        'strict': [row[2:] for row in db.execute('PRAGMA table_list') if row[1] == table],
        'indexes': sorted([row[1:], db.execute(f'PRAGMA index_xinfo({row[1]})').fetchall()] for row in indexes),
        'sql': ''.join(sql.split()),
        'triggers_and_more': db.execute('SELECT type FROM sqlite_schema WHERE tbl_name = ? AND type NOT IN '
            '(\"table\", \"index\") AND name NOT LIKE \"trop%\"', [table]).fetchall(),
    }
answer['version'] = db.execute('SELECT value, typeof(value) FROM metadata WHERE key = \"schema_version\"').fetchall()
",
    )
}

#[test]
fn a_new_database_has_exactly_schema_version_2() {
    let (reference, scratch) = (Scratch::made_by(VERSION_2), Scratch::new());
    let registry = scratch.open();
    assert_eq!(shape(&scratch.database()), shape(&reference.database()));
    let others = query(
        &scratch.database(),
        "SELECT type, name FROM sqlite_schema WHERE name NOT LIKE '%reservations%' ORDER BY name",
    );
    let expected = json!([
        ["table", "metadata"],
        ["index", "sqlite_autoindex_metadata_1"],
        ["index", "sqlite_autoindex_trop_owners_1"],
        ["table", "trop_free_ports"],
        ["trigger", "trop_free_ports_delete"],
        ["index", "trop_free_ports_free"],
        ["trigger", "trop_free_ports_insert"],
        ["index", "trop_free_ports_rested"],
        ["trigger", "trop_free_ports_update"],
        ["table", "trop_leases"],
        ["trigger", "trop_leases_delete"],
        ["trigger", "trop_leases_insert"],
        ["trigger", "trop_leases_move"],
        ["trigger", "trop_leases_update"],
        ["table", "trop_owners"]
    ]);
    assert_eq!(others, expected);
    let metadata = query(&scratch.database(), "SELECT * FROM metadata ORDER BY key");
    assert_eq!(metadata, json!([["ext_compat", "2"], ["ext_version", "2"], ["schema_version", "2"]]));
    assert_eq!(query(&scratch.database(), "PRAGMA journal_mode"), json!([["wal"]]));
    common::assert_sound(&scratch.database());
    drop(registry);
}

#[test]
fn a_database_of_another_version_2_program_is_taken_over_with_its_rows() {
    let scratch = Scratch::made_by(&format!(
        "{VERSION_2}
db.execute('PRAGMA user_version = 7')
db.execute(\"INSERT INTO metadata VALUES ('theirs', 'kept')\")
db.execute(\"INSERT INTO reservations VALUES ('/p', '', 20001, 'project', 'task', 10, 5)\")
db.execute(\"INSERT INTO reservations VALUES ('/p', 'web', 20000, NULL, NULL, 10, 253402300799)\")
assert db.execute('PRAGMA journal_mode').fetchone() == ('delete',)"
    ));
    let registry = scratch.open();
    let rows = registry.list().unwrap();
    assert_eq!(rows[0].project.as_deref(), Some("project"));
    assert_eq!(rows[0].task.as_deref(), Some("task"));
    assert_eq!((rows[0].created_at.seconds(), rows[0].last_used_at.seconds()), (10, 5));
    assert_eq!(reserve(&registry, "/p", "web").unwrap(), 20000, "an existing key keeps its port");
    assert_eq!(reserve(&registry, "/p", "new").unwrap(), 20002, "theirs are not given out");
    let database = scratch.database();
    assert_eq!(query(&database, "SELECT value FROM metadata WHERE key = 'theirs'"), json!([["kept"]]));
    assert_eq!(query(&database, "PRAGMA journal_mode"), json!([["wal"]]));
    assert_eq!(shape(&database), shape(&Scratch::made_by(VERSION_2).database()));
    common::assert_sound(&database);
}

#[test]
fn empty_and_unversioned_files_become_a_registry() {
    for made in [
        "",
        "db.execute('CREATE TABLE metadata (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT')",
        "db.execute('CREATE TABLE metadata (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT')
db.execute(\"INSERT INTO metadata VALUES ('theirs', 'kept')\")",
        "db.execute('PRAGMA journal_mode = WAL')",
        "db.execute('CREATE TABLE gone (x)'); db.execute('DROP TABLE gone')",
    ] {
        let scratch = Scratch::made_by(made);
        fs::OpenOptions::new().append(true).create(true).open(scratch.database()).unwrap();
        let registry = scratch.open();
        assert_eq!(reserve(&registry, "/p", "a").unwrap(), 20000, "{made}");
        assert_eq!(shape(&scratch.database()), shape(&Scratch::made_by(VERSION_2).database()), "{made}");
    }
}

#[test]
fn files_of_others_and_of_other_versions_are_refused_and_stay_as_they_are() {
    let versioned = |version: &str| {
        format!(
            "{VERSION_2}\ndb.execute('UPDATE metadata SET value = ?', [{version:?}])\ndb.execute('PRAGMA journal_mode = WAL')"
        )
    };
    let cases = [
        (Code::Schema, versioned("3")),
        (Code::Schema, versioned("9223372036854775807")),
        (Code::Corrupt, versioned("0")),
        (Code::Corrupt, versioned("-1")),
        (Code::Corrupt, versioned("")),
        (Code::Corrupt, versioned("two")),
        (Code::Corrupt, versioned("2.0")),
        (Code::Corrupt, versioned("99999999999999999999")),
        (Code::Schema, "db.execute('CREATE TABLE theirs (x)')".to_owned()),
        (Code::Schema, "db.execute('CREATE VIEW theirs AS SELECT 1')".to_owned()),
        (Code::Schema, format!("{VERSION_2}\ndb.execute('DELETE FROM metadata')")),
        (Code::Schema, format!("{VERSION_2}\ndb.execute('DROP TABLE metadata')")),
        (Code::Corrupt, "db.execute('CREATE TABLE metadata (a, b)')".to_owned()),
        (
            Code::Schema,
            format!(
                "{VERSION_2}\ndb.execute(\"INSERT INTO metadata VALUES ('ext_version', '9'), ('ext_compat', '3')\")"
            ),
        ),
        (
            Code::Schema,
            format!("{VERSION_2}\ndb.execute(\"INSERT INTO metadata VALUES ('ext_version', '9')\")"),
        ),
        (
            Code::Corrupt,
            format!("{VERSION_2}\ndb.execute(\"INSERT INTO metadata VALUES ('ext_version', 'x')\")"),
        ),
    ];
    for (expected, made) in cases {
        let scratch = Scratch::made_by(&made);
        let before = fs::read(scratch.database()).unwrap();
        let error = Registry::open(common::options(&scratch.dir())).unwrap_err();
        assert_eq!(error.code(), expected, "{made}\n{error}");
        assert_eq!(error.argument(), Some("data_dir"));
        assert!(error.to_string().contains(scratch.database().to_str().unwrap()), "{error}");
        assert!(before == fs::read(scratch.database()).unwrap(), "changed: {made}");
        assert_eq!(fs::read_dir(scratch.dir()).unwrap().count(), 1, "files were left behind: {made}");
    }
}

#[test]
fn what_is_no_database_is_corrupt_and_never_a_lock_problem() {
    let valid = {
        let scratch =
            Scratch::made_by(&format!("{VERSION_2}\ndb.execute(\"CREATE TABLE more (x DEFAULT 'long')\")"));
        fs::read(scratch.database()).unwrap()
    };
    let mut damaged = valid.clone();
    damaged[100..4096].fill(0xff);
    let cases: [&[u8]; 7] =
        [b"xy", b"hello, world\n", &[0; 5000], &[b'#'; 5000], &valid[..700], &valid[..4096], &damaged];
    for content in cases {
        let scratch = Scratch::new();
        fs::create_dir(scratch.dir()).unwrap();
        fs::write(scratch.database(), content).unwrap();
        let error = Registry::open(common::options(&scratch.dir())).unwrap_err();
        assert_eq!(error.code(), Code::Corrupt, "{} bytes: {error}", content.len());
        assert!(error.to_string().contains("database"), "{error}");
        assert!(content == fs::read(scratch.database()).unwrap(), "{} bytes changed", content.len());
    }
}

/// Its program was killed: the newest content is in the log only.
#[test]
fn a_refused_database_keeps_its_log() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.dir()).unwrap();
    let mut owner = Process::python(
        &scratch.database(),
        &format!(
            "db.execute('PRAGMA journal_mode = WAL')\n{VERSION_2}
db.execute(\"UPDATE metadata SET value = '3'\")\nsay('made')\nsys.stdin.readline()"
        ),
    );
    assert_eq!(owner.hear(), "made");
    owner.kill();
    let log = scratch.dir().join("trop.db-wal");
    let before = (fs::read(scratch.database()).unwrap(), fs::read(&log).unwrap());
    assert_eq!(code(Registry::open(common::options(&scratch.dir()))), Code::Schema);
    assert!(before == (fs::read(scratch.database()).unwrap(), fs::read(&log).unwrap()));
}

#[test]
fn an_older_or_damaged_extension_is_rebuilt_and_a_newer_compatible_one_left_alone() {
    let scratch = Scratch::new();
    let database = scratch.database();
    reserve(&scratch.open(), "/p", "a").unwrap();
    for damage in [
        "db.execute(\"DELETE FROM metadata WHERE key LIKE 'ext%'\")",
        "db.execute(\"UPDATE metadata SET value = '0' WHERE key = 'ext_version'\")",
        "db.execute('DROP TABLE trop_free_ports')",
        "db.execute('DROP TABLE trop_leases')",
        "db.execute('DROP TRIGGER trop_free_ports_delete')",
        // How another program changes a table's layout: its triggers go with it.
        "db.executescript('CREATE TABLE new AS SELECT * FROM reservations; DROP TABLE reservations')
sql = open(sys.argv[1] + '.sql').read()
exec(sql)
db.executescript('INSERT INTO reservations SELECT * FROM new; DROP TABLE new')",
    ] {
        let create = VERSION_2
            .replace("CREATE TABLE metadata (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT;", "")
            .replace("INSERT INTO metadata VALUES ('schema_version', '2');", "");
        fs::write(scratch.dir().join("trop.db.sql"), create).unwrap();
        // Once while nobody has it open, once while a registry does.
        for open_before in [false, true] {
            let early = open_before.then(|| scratch.open());
            python(&database, damage);
            let registry = early.unwrap_or_else(|| scratch.open());
            assert_eq!(reserve(&registry, "/p", "a").unwrap(), 20000, "{damage}");
            assert_eq!(reserve(&registry, "/p", "b").unwrap(), 20001, "{damage}");
            common::release(&registry, "/p", "b").unwrap();
            common::assert_sound(&database);
            let extension = "SELECT count(*) FROM sqlite_schema WHERE name LIKE 'trop%'";
            assert_eq!(query(&database, extension), json!([[12]]), "{damage}");
        }
    }

    let newer = "db.executescript(\"UPDATE metadata SET value = '3' WHERE key = 'ext_version'; \
                 CREATE TABLE trop_future (x); DROP INDEX trop_free_ports_free\")";
    python(&database, newer);
    let schema = "SELECT * FROM sqlite_schema ORDER BY name";
    let before = (query(&database, schema), query(&database, "SELECT * FROM metadata"));
    let registry = scratch.open();
    assert_eq!(reserve(&registry, "/p", "b").unwrap(), 20001);
    assert_eq!(before, (query(&database, schema), query(&database, "SELECT * FROM metadata")));

    // The newer program upgrades again while this one has it open.
    python(
        &database,
        "db.executescript(\"UPDATE metadata SET value = '4' WHERE key LIKE 'ext%'; CREATE TABLE trop_far_future (x)\")",
    );
    let before = dump(&database);
    assert_eq!(code(reserve(&registry, "/p", "c")), Code::Schema);
    assert_eq!(code(registry.list()), Code::Schema);
    assert_eq!(dump(&database), before);
}

#[test]
fn a_registry_whose_log_was_switched_off_gets_it_back() {
    let scratch = Scratch::new();
    reserve(&scratch.open(), "/p", "a").unwrap();
    assert_eq!(query(&scratch.database(), "PRAGMA journal_mode = DELETE"), json!([["delete"]]));
    assert_eq!(reserve(&scratch.open(), "/p", "b").unwrap(), 20001);
    assert_eq!(query(&scratch.database(), "PRAGMA journal_mode"), json!([["wal"]]));
}

#[test]
fn the_free_set_is_a_hint_and_the_rows_are_the_truth() {
    let scratch = Scratch::new();
    let registry = Registry::open({
        let mut options = common::options(&scratch.dir());
        options.ports = Some(common::range(20000, 20003));
        options
    })
    .unwrap();
    for name in ["a", "b", "c", "d"] {
        reserve(&registry, "/p", name).unwrap();
    }
    // Replacing fires no delete trigger: the set does not learn that 20000 is free now.
    python(
        &scratch.database(),
        "db.execute(\"INSERT OR REPLACE INTO reservations VALUES ('/p', 'a', 9000, NULL, NULL, 1, 1)\")",
    );
    assert_eq!(reserve(&registry, "/p", "e").unwrap(), 20000);
    common::assert_sound(&scratch.database());
    // Nor does it know about rows written while it was wrong.
    python(
        &scratch.database(),
        "db.execute(\"DELETE FROM reservations WHERE tag IN ('b', 'c')\")\ndb.execute('UPDATE trop_free_ports SET free = -1')",
    );
    assert_eq!(reserve(&registry, "/p", "f").unwrap(), 20001);
    python(&scratch.database(), "db.execute('UPDATE trop_free_ports SET free = 0')");
    assert_eq!(reserve(&registry, "/p", "g").unwrap(), 20002);
    python(&scratch.database(), "db.execute('DELETE FROM trop_free_ports')");
    assert_eq!(code(reserve(&registry, "/p", "h")), Code::Exhausted);
    python(&scratch.database(), "db.execute(\"DELETE FROM reservations WHERE tag = 'f'\")");
    assert_eq!(reserve(&registry, "/p", "h").unwrap(), 20001);
    common::assert_sound(&scratch.database());
}

#[test]
fn a_leased_row_is_nobodys_to_change() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let path = scratch.dir();
    let path = path.to_str().unwrap();
    let lease = registry.lease(&LeaseRequest::default()).unwrap();
    assert_eq!(lease.port(), common::port(20000));
    let rows = || {
        let all = "SELECT * FROM reservations JOIN trop_leases USING (port) JOIN trop_owners ON id = owner";
        query(&scratch.database(), all)
    };
    let before = rows();
    python(
        &scratch.database(),
        "
for change in ('DELETE FROM reservations', 'UPDATE reservations SET port = 20005', 'UPDATE reservations SET last_used_at = 0'):
    try:
        db.execute(change)
    except sqlite3.IntegrityError as error:
        assert 'leased' in str(error), error
    else:
        raise AssertionError(change)",
    );
    assert_eq!(
        common::release(&registry, path, "lease-20000").unwrap(),
        0,
        "a lease is not released by its path"
    );
    assert!(registry.list().unwrap().is_empty(), "nor listed");
    assert_eq!(reserve(&registry, "/p", "a").unwrap(), 20001, "but its port is taken");
    common::release(&registry, "/p", "a").unwrap();
    assert_eq!(rows(), before);
}

#[test]
fn the_rule_of_another_program_is_a_conflict_that_changes_nothing() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    for name in ["a", "b"] {
        reserve(&registry, "/p", name).unwrap();
    }
    python(
        &scratch.database(),
        "db.executescript(\"CREATE TRIGGER theirs BEFORE DELETE ON reservations WHEN OLD.tag = 'b' \
         BEGIN SELECT RAISE(ABORT, 'not on a Sunday'); END\")",
    );
    let before = dump(&scratch.database());
    let mut all = trop_core::ReleaseRequest::default();
    all.path = Some("/p".into());
    let error = registry.release(&all).unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert!(error.to_string().contains("not on a Sunday"), "{error}");
    assert_eq!(dump(&scratch.database()), before);
    assert_eq!(reserve(&registry, "/p", "c").unwrap(), 20002);
}

#[test]
fn a_row_with_a_bad_value_is_named_by_its_field_and_disturbs_nobody_else() {
    let text = |sql: &str| format!("'{sql}'");
    let cases = [
        ("path", text("relative")),
        ("path", text("")),
        ("path", text("/p/")),
        ("path", text("/p/../q")),
        ("path", "CAST(x'2fff' AS TEXT)".to_owned()),
        ("tag", text(" padded ")),
        ("tag", text("  ")),
        ("tag", "CAST(x'ff' AS TEXT)".to_owned()),
        ("tag", format!("'{}'", "x".repeat(256))),
        ("port", "0".to_owned()),
        ("port", "65536".to_owned()),
        ("port", "-1".to_owned()),
        ("port", "9223372036854775807".to_owned()),
        ("project", text("")),
        ("project", text(" p")),
        ("task", text("")),
        ("created_at", "-1".to_owned()),
        ("created_at", "253402300800".to_owned()),
        ("last_used_at", "-9223372036854775808".to_owned()),
        ("last_used_at", "9223372036854775807".to_owned()),
    ];
    for (field, value) in cases {
        let scratch = Scratch::new();
        let registry = scratch.open();
        reserve(&registry, "/p", "bad").unwrap();
        let sql = format!("UPDATE reservations SET {field} = {value}");
        let change =
            format!("db.execute('PRAGMA ignore_check_constraints = 1')\ndb.execute({})", Value::from(sql));
        python(&scratch.database(), &change);
        let named = |error: trop_core::Error| {
            assert_eq!(error.code(), Code::Corrupt, "{field} = {value}: {error}");
            assert!(error.to_string().contains(&format!("field={field}")), "{field} = {value}: {error}");
        };
        named(registry.list().unwrap_err());
        if !matches!(field, "path" | "tag") {
            named(registry.find(&key("/p", "bad")).unwrap_err());
            named(reserve(&registry, "/p", "bad").unwrap_err());
        }
        if field != "port" {
            named(registry.find_port(port(20000)).unwrap_err());
        }
        let free = if field == "port" { 20000 } else { 20001 };
        assert_eq!(reserve(&registry, "/q", "good").unwrap(), free, "{field} = {value}");
        assert!(registry.find(&key("/q", "good")).unwrap().is_some());
        // An exhausted range looks at every row again.
        let mut request = common::request("/q", "more");
        (request.min, request.max) = (Some(port(free)), Some(port(free)));
        let error = registry.reserve(&request).unwrap_err();
        if field == "port" {
            named(error);
        } else {
            assert_eq!(error.code(), Code::Exhausted);
        }
    }
}

#[test]
fn files_are_private_whatever_the_umask() {
    let scratch = Scratch::new();
    // The umask is the whole process's, so it takes another one.
    let status = Command::new("sh")
        .args(["-c", "umask 0; exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "files_are_private_child", "--nocapture"])
        .env("TROP_TEST_ROLE", "private")
        .env("TROP_DATA_DIR", scratch.root().join("made/below/data"))
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
fn files_are_private_child() {
    if common::role().as_deref() != Some("private") {
        return;
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let dir = trop_core::data_dir(None).unwrap();
    let registry = Registry::open(common::options(&dir)).unwrap();
    reserve(&registry, "/p", "a").unwrap();
    assert_eq!(listed(&registry).len(), 1);
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(dir.parent().unwrap()), 0o700, "a parent made on the way");
    let mut names: Vec<_> = fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["trop.db", "trop.db-shm", "trop.db-wal"]);
    for name in names {
        assert_eq!(mode(&dir.join(&name)), 0o600, "{}", name.display());
    }
}

/// What ends the storms and the killings of other tests fails when there is something to see. Trap 133 (a
/// test never seen to fail).
#[test]
fn the_check_of_soundness_sees_each_fault() {
    for fault in [
        "",
        "UPDATE trop_free_ports SET free = free | (1 << (20000 & 63)) WHERE word = 20000 >> 6",
        "UPDATE trop_free_ports SET free = free & ~(1 << (20001 & 63)) WHERE word = 20001 >> 6",
        "DELETE FROM trop_free_ports WHERE word = 3",
        "UPDATE trop_free_ports SET any_free = 0 WHERE word = 3",
        "UPDATE trop_free_ports SET any_rested = 0 WHERE word = 3",
        "UPDATE trop_free_ports SET rested = -1 WHERE word = 20000 >> 6",
        // An index of something else than it holds.
        "UPDATE reservations SET created_at = 1;
         PRAGMA writable_schema = ON;
         UPDATE sqlite_schema SET sql = replace(sql, 'last_used_at', 'created_at')
         WHERE name = 'idx_reservations_last_used'",
    ] {
        let scratch = Scratch::new();
        assert_eq!(reserve(&scratch.open(), "/p", "a").unwrap(), 20000);
        python(&scratch.database(), &format!("db.executescript({})", Value::from(fault)));
        let check = std::panic::catch_unwind(|| common::assert_sound(&scratch.database()));
        assert_eq!(check.is_err(), !fault.is_empty(), "{fault}");
    }
}
