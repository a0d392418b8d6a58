//! Files that are moved, linked or guarded, and other programs with rules of their own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use common::{
    Process, Scratch, allow, become_nobody, code, isolated, isolated_by, listed, options, python, range,
    reserve, works,
};
use trop_core::{Code, Registry};

#[test]
fn one_file_under_two_names_is_no_second_copy() {
    isolated("one_file_under_two_names_is_no_second_copy", |scratch| {
        let first = scratch.open();
        reserve(&first, "/p", "a").unwrap();
        let other = scratch.root().join("other");
        fs::create_dir(&other).unwrap();
        symlink(scratch.database(), other.join("trop.db")).unwrap();
        let second = Registry::open(options(&other)).unwrap();
        assert_eq!(reserve(&second, "/p", "b").unwrap(), 20001);
        assert_eq!(listed(&first).len(), 2);
    });
}

#[test]
fn a_database_that_was_moved_is_no_second_copy() {
    isolated("a_database_that_was_moved_is_no_second_copy", |scratch| {
        let first = scratch.open();
        reserve(&first, "/p", "a").unwrap();
        let other = scratch.root().join("other");
        fs::create_dir(&other).unwrap();
        for entry in fs::read_dir(scratch.dir()).unwrap() {
            let entry = entry.unwrap();
            fs::rename(entry.path(), other.join(entry.file_name())).unwrap();
        }
        assert_eq!(listed(&Registry::open(options(&other)).unwrap()).len(), 1);
        assert!(listed(&first).is_empty(), "the directory has a new registry");
    });
}

#[test]
fn a_second_copy_is_noticed_without_a_list_of_descriptors() {
    let unshare = ["unshare", "--mount"];
    if !works(unshare[0], &[unshare[1], "mount", "-t", "tmpfs", "none", "/proc"]) {
        eprintln!("this user may not hide /proc");
        return;
    }
    let hide = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /proc && exec \"$@\"", "sh"];
    isolated_by(&hide, "a_second_copy_is_noticed_without_a_list_of_descriptors", |scratch| {
        drop(scratch.open());
        let theirs = fs::File::open(scratch.database()).unwrap();
        assert_eq!(code(Registry::open(options(&scratch.dir()))), Code::SecondCopy);
        drop(theirs);
        assert!(listed(&scratch.open()).is_empty());
    });
}

#[test]
fn a_log_is_found_where_a_link_leads() {
    isolated("a_log_is_found_where_a_link_leads", |scratch| {
        drop(scratch.open());
        let mut writer = Process::python(
            &scratch.database(),
            "
db.execute(\"INSERT INTO reservations VALUES ('/p', 'new', 20001, NULL, NULL, 1, 1)\")
say('committed')
sys.stdin.readline()",
        );
        assert_eq!(writer.hear(), "committed");
        let other = scratch.root().join("other");
        fs::create_dir(&other).unwrap();
        symlink(scratch.database(), other.join("trop.db")).unwrap();
        allow(scratch.root(), 0o755);
        for entry in fs::read_dir(scratch.dir()).unwrap() {
            allow(&entry.unwrap().path(), 0o666);
        }
        allow(&scratch.dir(), 0o777);
        allow(&other, 0o555);
        become_nobody();
        let linked = Registry::open(options(&other)).unwrap();
        assert_eq!(listed(&linked).len(), 1);
        assert_eq!(reserve(&linked, "/p", "mine").unwrap(), 20000, "the file itself is writable");
        writer.say("enough");
        writer.finish();
    });
}

#[test]
fn what_a_reader_without_rights_cannot_see_whole_is_not_called_corrupt() {
    isolated("what_a_reader_without_rights_cannot_see_whole_is_not_called_corrupt", |scratch| {
        drop(scratch.open());
        python(
            &scratch.database(),
            "
db.execute('PRAGMA journal_mode = DELETE')
db.execute('BEGIN')
for i in range(600):
    db.execute(\"INSERT INTO reservations VALUES ('/kept', ?, ?, NULL, NULL, 1, 1)\", [str(i), 21000 + i])
db.execute('COMMIT')",
        );
        // A small cache makes half of a transaction reach the file.
        let mut writer = Process::python(
            &scratch.database(),
            "
db.execute('PRAGMA cache_size = 3')
db.execute('BEGIN IMMEDIATE')
db.execute('DELETE FROM reservations WHERE port < 21300')
say('half written')
sys.stdin.readline()",
        );
        assert_eq!(writer.hear(), "half written");
        allow(scratch.root(), 0o755);
        for entry in fs::read_dir(scratch.dir()).unwrap() {
            allow(&entry.unwrap().path(), 0o644);
        }
        allow(&scratch.dir(), 0o555);
        // Killed from outside later, by a process that still may.
        become_nobody();
        let mut patient = options(&scratch.dir());
        patient.busy_timeout = Some(Duration::from_millis(200));
        let answer = Registry::open(patient).and_then(|registry| registry.list());
        assert_eq!(code(answer), Code::Busy);
        writer.say("enough");
        writer.finish();
    });
}

#[test]
fn a_rule_that_ignores_a_row_is_a_conflict() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    reserve(&registry, "/p", "a").unwrap();
    python(
        &scratch.database(),
        "db.executescript(\"\"\"CREATE TRIGGER theirs BEFORE INSERT ON reservations WHEN NEW.path LIKE '/q%'
            BEGIN SELECT RAISE(IGNORE); END\"\"\")",
    );
    assert_eq!(code(reserve(&registry, "/q", "1")), Code::Conflict);
    assert_eq!(code(reserve(&registry, "/q", "2")), Code::Conflict);
    assert_eq!(reserve(&registry, "/p", "b").unwrap(), 20001);
}

#[test]
fn a_rule_that_spoils_the_free_ports_does_not_hold_the_lock_for_ever() {
    let scratch = Scratch::new();
    let mut narrow = options(&scratch.dir());
    narrow.ports = Some(range(20000, 20001));
    let registry = Registry::open(narrow).unwrap();
    reserve(&registry, "/p", "a").unwrap();
    python(
        &scratch.database(),
        "db.executescript(\"\"\"UPDATE trop_free_ports SET free = 0;
            CREATE TRIGGER theirs AFTER UPDATE ON trop_free_ports
            BEGIN UPDATE trop_free_ports SET free = 0 WHERE word = NEW.word; END\"\"\")",
    );
    let (said, heard) = mpsc::channel();
    let clone = registry.clone();
    thread::spawn(move || said.send(code(reserve(&clone, "/q", "1"))));
    assert_eq!(heard.recv_timeout(Duration::from_secs(30)), Ok(Code::Exhausted));
}

#[test]
fn a_closed_registry_has_no_dry_run() {
    let scratch = Scratch::new();
    let registry = Registry::open_lazily(options(&scratch.dir())).unwrap();
    registry.close();
    assert_eq!(code(registry.dry_run()), Code::Closed);
}
