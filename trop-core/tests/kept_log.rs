//! The log that stays after the last close: whoever reads it next finds nothing in it.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::path::PathBuf;

use common::fork::fork;
use common::{Scratch, VERSION_2, allow, become_nobody, code, isolated, listed, python, query, reserve};
use trop_core::{Code, Registry};

const MARK: &[u8] = b"trop: empty log\n";

fn log(scratch: &Scratch) -> PathBuf {
    scratch.dir().join("trop.db-wal")
}

/// A registry with two ports, `a` and `b`, whose log was kept.
fn kept() -> Scratch {
    let scratch = Scratch::new();
    // Making the schema is a transaction too.
    reserve(&scratch.open(), "/p", "a").unwrap();
    assert!(!log(&scratch).exists(), "there were two transactions in it");
    reserve(&scratch.open(), "/p", "b").unwrap();
    assert!(is_kept(&scratch));
    scratch
}

fn is_kept(scratch: &Scratch) -> bool {
    fs::read(log(scratch)).is_ok_and(|log| log.starts_with(MARK))
}

fn tags(registry: &Registry) -> Vec<String> {
    listed(registry).into_iter().map(|(_, _, tag)| tag).collect()
}

#[test]
fn the_log_of_one_change_is_kept_and_of_more_it_is_not() {
    let scratch = kept();
    let size = || fs::metadata(log(&scratch)).unwrap().len();
    let before = size();
    assert_eq!(tags(&scratch.open()), ["a", "b"]);
    assert!(is_kept(&scratch), "whoever just looks leaves it");
    for tag in ["c", "d"] {
        reserve(&scratch.open(), "/p", tag).unwrap();
        assert!(is_kept(&scratch));
    }
    assert_eq!(size(), before, "its room is used again");
    let registry = scratch.open();
    reserve(&registry, "/p", "e").unwrap();
    reserve(&registry, "/p", "f").unwrap();
    drop(registry);
    assert!(!log(&scratch).exists());
    common::assert_sound(&scratch.database());
    assert_eq!(tags(&scratch.open()), ["a", "b", "c", "d", "e", "f"]);
}

/// A copied database, a backup that is put back, another file in its place: the log of another database would
/// damage them.
#[test]
fn the_file_alone_is_the_whole_database_and_any_other_file_too() {
    let scratch = kept();
    let alone = fs::read(scratch.database()).unwrap();
    let copy = Scratch::new();
    fs::create_dir(copy.dir()).unwrap();
    fs::write(copy.database(), &alone).unwrap();
    assert_eq!(tags(&copy.open()), ["a", "b"]);

    reserve(&scratch.open(), "/p", "c").unwrap();
    assert!(is_kept(&scratch));
    fs::write(scratch.database(), &alone).unwrap();
    assert_eq!(tags(&scratch.open()), ["a", "b"], "the backup");
    assert!(!log(&scratch).exists(), "it was the log of another one");
    reserve(&scratch.open(), "/p", "c").unwrap();

    let theirs = Scratch::made_by(&format!(
        "{VERSION_2}db.execute(\"INSERT INTO reservations VALUES ('/p', 'theirs', 21000, NULL, NULL, 1, 1)\")"
    ));
    fs::copy(theirs.database(), scratch.database()).unwrap();
    assert!(is_kept(&scratch));
    assert_eq!(tags(&scratch.open()), ["theirs"]);
    reserve(&scratch.open(), "/p", "d").unwrap();
    common::assert_sound(&scratch.database());

    fs::write(scratch.database(), "").unwrap();
    assert_eq!(tags(&scratch.open()), [""; 0], "an empty file is a new registry");
    assert!(
        !log(&scratch).exists(),
        "what it had in it may still be on the disk, and belongs to another one"
    );
}

/// Whoever may use the database must be able to use its log, which still has the owner and mode that it was
/// made with.
#[test]
fn the_log_of_a_shared_database_is_not_kept() {
    let scratch = kept();
    for (database, of_log, stays) in
        [(0o600, 0o600, true), (0o600, 0o660, false), (0o660, 0o660, false), (0o644, 0o600, false)]
    {
        allow(&scratch.database(), 0o600);
        reserve(&scratch.open(), "/p", "once").unwrap();
        common::release(&scratch.open(), "/p", "once").unwrap();
        assert!(is_kept(&scratch));
        allow(&scratch.database(), database);
        allow(&log(&scratch), of_log);
        assert_eq!(tags(&scratch.open()), ["a", "b"]);
        assert_eq!(log(&scratch).exists(), stays, "{database:o} {of_log:o}");
    }
}

/// A log that still holds a transaction is read, and not taken for an empty one.
#[test]
fn what_a_killed_program_left_in_the_log_is_read() {
    let scratch = kept();
    let registry = scratch.open();
    reserve(&registry, "/p", "c").unwrap();
    // A fork lets go of the files as they are, and so does a program that is killed.
    fork(|| ()).join();
    let left = fs::read(log(&scratch)).unwrap();
    assert!(!left.starts_with(MARK));
    let copy = Scratch::new();
    fs::create_dir(copy.dir()).unwrap();
    fs::copy(scratch.database(), copy.database()).unwrap();
    fs::write(log(&copy), left).unwrap();
    allow(&log(&copy), 0o600);
    assert_eq!(tags(&copy.open()), ["a", "b", "c"]);
    assert!(is_kept(&copy), "it was one transaction, and is in the file now");
    assert_eq!(query(&copy.database(), "SELECT count(*) FROM reservations"), serde_json::json!([[3]]));
}

#[test]
fn programs_that_know_nothing_of_it_use_it() {
    let scratch = kept();
    python(
        &scratch.database(),
        "
db.execute(\"INSERT INTO reservations VALUES ('/p', 'theirs', 21000, NULL, NULL, 1, 1)\")
assert db.execute('PRAGMA integrity_check').fetchall() == [('ok',)]",
    );
    assert!(!log(&scratch).exists(), "they delete it");
    assert_eq!(tags(&scratch.open()), ["a", "b", "theirs"]);
    reserve(&scratch.open(), "/p", "c").unwrap();
    assert!(is_kept(&scratch));
    common::assert_sound(&scratch.database());
}

/// Reading a database with a kept log needs no right to write, and a pipe in its place is not waited for.
#[test]
fn nothing_of_it_needs_to_be_writable_or_a_file() {
    isolated("nothing_of_it_needs_to_be_writable_or_a_file", |scratch| {
        let original = kept();
        allow(scratch.root(), 0o755);
        fs::create_dir(scratch.dir()).unwrap();
        let copy = |name: &str| fs::copy(original.dir().join(name), scratch.dir().join(name)).unwrap();
        copy("trop.db");
        copy("trop.db-wal");
        for name in ["trop.db", "trop.db-wal"] {
            allow(&scratch.dir().join(name), 0o444);
        }
        allow(&scratch.dir(), 0o555);
        let pipe = Scratch::new();
        allow(pipe.root(), 0o755);
        fs::create_dir(pipe.dir()).unwrap();
        fs::copy(original.database(), pipe.database()).unwrap();
        allow(&pipe.database(), 0o444);
        assert!(common::works("mkfifo", &[log(&pipe).to_str().unwrap()]));
        become_nobody();
        for directory in [scratch.dir(), pipe.dir()] {
            let registry = Registry::open(common::options(&directory)).unwrap();
            assert_eq!(tags(&registry), ["a", "b"]);
            assert_eq!(code(reserve(&registry, "/p", "c")), Code::Io);
            assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "something is left behind");
        }
    });
}
