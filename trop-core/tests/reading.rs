//! Looking at a registry takes no lock that a writer would notice, needs no right to write, and changes
//! nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::time::Duration;

use common::{
    Process, Scratch, VERSION_2, allow, become_nobody, code, isolated, key, listed, port, query, reserve,
};
use trop_core::{Code, Registry};

fn impatient(scratch: &Scratch) -> Registry {
    let mut options = common::options(&scratch.dir());
    options.busy_timeout = Some(Duration::ZERO);
    Registry::open(options).unwrap()
}

/// Every look works and sees `rows` rows.
fn look(registry: &Registry, rows: usize) {
    assert_eq!(registry.list().unwrap().len(), rows);
    assert_eq!(registry.find_port(port(65000)).unwrap(), None);
    assert_eq!(registry.find(&key("/nobody", "x")).unwrap(), None);
}

#[test]
fn a_database_of_another_program_is_read_while_somebody_writes() {
    for journal in ["WAL", "DELETE"] {
        let scratch = Scratch::made_by(&format!(
            "{VERSION_2}
db.execute(\"INSERT INTO reservations VALUES ('/p', 'theirs', 20000, NULL, NULL, 1, 1)\")
db.execute('PRAGMA journal_mode = {journal}')"
        ));
        let before = fs::read(scratch.database()).unwrap();
        let writer = Process::locking(&scratch.database());
        let registry = impatient(&scratch);
        look(&registry, 1);
        assert_eq!(code(reserve(&registry, "/p", "mine")), Code::Busy, "{journal}");
        writer.unlock();
        look(&registry, 1);
        registry.close();
        assert_eq!(fs::read(scratch.database()).unwrap(), before, "{journal}: a look changed the file");

        let registry = impatient(&scratch);
        assert_eq!(reserve(&registry, "/p", "mine").unwrap(), 20001);
        look(&registry, 2);
        assert_eq!(query(&scratch.database(), "PRAGMA journal_mode"), serde_json::json!([["wal"]]));
    }
}

/// Trap 116 (reading needs the right to write).
#[test]
fn nothing_needs_to_be_writable() {
    isolated("nothing_needs_to_be_writable", |scratch| {
        reserve(&scratch.open(), "/p", "a").unwrap();
        let before = fs::read(scratch.database()).unwrap();
        allow(scratch.root(), 0o755);
        let modes = [(0o555, 0o644), (0o777, 0o444), (0o555, 0o444)];
        let directories = modes.map(|(directory, file)| {
            let copy = scratch.root().join(format!("copy of {directory:o} {file:o} ?#%"));
            fs::create_dir(&copy).unwrap();
            fs::write(copy.join("trop.db"), &before).unwrap();
            allow(&copy.join("trop.db"), file);
            allow(&copy, directory);
            copy
        });
        become_nobody();
        for directory in directories {
            let registry = Registry::open(common::options(&directory)).unwrap();
            look(&registry, 1);
            look(&registry, 1);
            assert_eq!(code(reserve(&registry, "/p", "b")), Code::Io, "{}", directory.display());
            assert_eq!(fs::read(directory.join("trop.db")).unwrap(), before);
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "something is left behind");
        }
    });
}

#[test]
fn a_reader_without_rights_sees_what_a_running_writer_committed() {
    isolated("a_reader_without_rights_sees_what_a_running_writer_committed", |scratch| {
        reserve(&scratch.open(), "/p", "a").unwrap();
        let mut writer = Process::python(
            &scratch.database(),
            "
db.execute(\"INSERT INTO reservations VALUES ('/p', 'new', 20001, NULL, NULL, 1, 1)\")
say('committed')
sys.stdin.readline()",
        );
        assert_eq!(writer.hear(), "committed");
        allow(scratch.root(), 0o755);
        for entry in fs::read_dir(scratch.dir()).unwrap() {
            allow(&entry.unwrap().path(), 0o644);
        }
        allow(&scratch.dir(), 0o555);
        become_nobody();
        let registry = impatient(scratch);
        assert_eq!(listed(&registry).len(), 2, "the log is read too");
        writer.say("enough");
        writer.finish();
    });
}

#[test]
fn a_registry_that_became_writable_is_written() {
    isolated("a_registry_that_became_writable_is_written", |scratch| {
        allow(scratch.root(), 0o777);
        become_nobody();
        reserve(&scratch.open(), "/p", "a").unwrap();
        allow(&scratch.database(), 0o400);
        let registry = impatient(scratch);
        look(&registry, 1);
        assert_eq!(code(reserve(&registry, "/p", "b")), Code::Io);
        allow(&scratch.database(), 0o600);
        assert_eq!(reserve(&registry, "/p", "b").unwrap(), 20001);
        look(&registry, 2);
    });
}

#[test]
fn a_dry_run_shows_what_would_happen_and_changes_nothing() {
    let scratch = Scratch::new();
    let dry_run = Registry::open_lazily(common::options(&scratch.dir())).unwrap().dry_run().unwrap();
    assert_eq!(reserve(&dry_run, "/p", "first").unwrap(), 20000);
    assert_eq!(
        reserve(&dry_run.dry_run().unwrap(), "/p", "second").unwrap(),
        20001,
        "a dry run of a dry run"
    );
    assert!(!scratch.dir().exists(), "a dry run without a registry makes none");

    reserve(&scratch.open(), "/p", "a").unwrap();
    let before = fs::read(scratch.database()).unwrap();
    let writer = Process::locking(&scratch.database());
    let registry = impatient(&scratch);
    let dry_run = registry.dry_run().unwrap();
    assert_eq!(reserve(&dry_run, "/p", "b").unwrap(), 20001);
    assert_eq!(common::release(&dry_run, "/p", "a").unwrap(), 1);
    assert_eq!(listed(&dry_run), [(20001, "/p".to_owned(), "b".to_owned())]);
    writer.unlock();
    assert_eq!(listed(&registry), [(20000, "/p".to_owned(), "a".to_owned())]);
    drop((registry, dry_run));
    assert_eq!(fs::read(scratch.database()).unwrap(), before);
}

#[test]
fn a_closed_registry_is_not_validated() {
    let scratch = Scratch::new();
    let registry = impatient(&scratch);
    registry.validate().unwrap();
    registry.close();
    assert_eq!(registry.validate().unwrap_err().code(), Code::Closed);
}
