//! Many processes and threads at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use common::{Process, Scratch, code, dump, hear, isolated, listed, reserve, say};
use trop_core::{Code, Registry, Result};

/// Opens the registry in the current default directory, then reserves on command: path, tag and range in a
/// line.
#[test]
fn contender() {
    if common::role().as_deref() != Some("contend") {
        return;
    }
    let directory = trop_core::data_dir(None).unwrap();
    let registry = Registry::open(common::options(&directory)).unwrap();
    say("ready");
    while let Some(line) = hear() {
        let fields: Vec<&str> = line.split('\t').collect();
        let mut request = common::request(fields[0], fields[1]);
        let number = |text: &str| Some(common::port(text.parse().unwrap()));
        (request.min, request.max) = (number(fields[2]), number(fields[3]));
        match registry.reserve(&request) {
            Ok(reserved) => say(&format!("{}\t{}", reserved.reservation.port, reserved.created)),
            Err(error) => say(error.code().name()),
        }
    }
    std::process::exit(0);
}

/// The answers of as many processes as there are tags, all told to reserve at once.
fn contend(scratch: &Scratch, tags: &[String], min: u16, max: u16) -> Vec<String> {
    let start = |_| Process::start("contender", "contend", &scratch.dir());
    let mut processes: Vec<_> = tags.iter().map(start).collect();
    for process in &mut processes {
        assert_eq!(process.hear(), "ready");
    }
    for (process, tag) in processes.iter_mut().zip(tags) {
        process.say(&format!("/p\t{tag}\t{min}\t{max}"));
    }
    processes.iter_mut().map(Process::hear).collect()
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[test]
fn of_20_contenders_for_11_ports_11_get_one_and_9_are_told_it_is_exhausted() {
    let scratch = Scratch::new();
    let answers = contend(&scratch, &numbered(20), 20000, 20010);
    let ports: BTreeSet<_> = answers.iter().filter(|answer| answer.ends_with("\ttrue")).collect();
    assert_eq!(ports.len(), 11, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| *answer == "TROP_EXHAUSTED").count(), 9, "{answers:?}");
    let before = dump(&scratch.database());
    assert_eq!(contend(&scratch, &["late".to_owned()], 20000, 20010), ["TROP_EXHAUSTED"]);
    assert_eq!(dump(&scratch.database()), before);
    common::assert_sound(&scratch.database());
}

#[test]
fn contenders_on_a_wide_range_get_the_lowest_ports_one_each() {
    let scratch = Scratch::new();
    let answers: BTreeSet<_> = contend(&scratch, &numbered(10), 20000, 21999).into_iter().collect();
    let expected: BTreeSet<_> = (20000..20010).map(|port| format!("{port}\ttrue")).collect();
    assert_eq!(answers, expected);
}

#[test]
fn contenders_for_one_key_get_one_row_and_the_same_port() {
    for count in [2, 16] {
        let scratch = Scratch::new();
        let answers = contend(&scratch, &vec!["web".to_owned(); count], 20000, 21999);
        assert_eq!(answers.iter().filter(|answer| *answer == "20000\ttrue").count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|answer| *answer == "20000\tfalse").count(), count - 1);
        assert_eq!(listed(&scratch.open()).len(), 1);
    }
}

/// Opens a registry in each directory it hears of.
#[test]
fn opener() {
    if common::role().as_deref() != Some("open") {
        return;
    }
    while let Some(line) = hear() {
        let registry = Registry::open(common::options(Path::new(&line)));
        let tag = std::process::id().to_string();
        match registry.and_then(|registry| reserve(&registry, "/p", &tag)) {
            Ok(port) => say(&port.to_string()),
            Err(error) => say(&error.to_string()),
        }
    }
    std::process::exit(0);
}

#[test]
fn a_missing_directory_is_opened_by_32_processes_at_once() {
    let scratch = Scratch::new();
    let start = |_| Process::start("opener", "open", scratch.root());
    let mut processes: Vec<_> = (0..32).map(start).collect();
    let expected: BTreeSet<String> = (20000..20032).map(|port| port.to_string()).collect();
    for round in 0..12 {
        let directory = scratch.root().join(format!("{round}/data"));
        for process in &mut processes {
            process.say(directory.to_str().unwrap());
        }
        let answers: BTreeSet<_> = processes.iter_mut().map(Process::hear).collect();
        assert_eq!(answers, expected);
        for entry in std::fs::read_dir(&directory).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(name.to_string_lossy().starts_with("trop.db"), "left behind: {}", name.display());
        }
    }
    processes.into_iter().for_each(Process::finish);
}

/// A destructor of a thread-local uses the registry, as exit handlers do: other thread-locals may be gone.
#[test]
fn a_registry_is_used_in_the_destructor_of_a_thread() {
    struct Last(Registry, std::sync::mpsc::Sender<Result<u16>>);
    impl Drop for Last {
        fn drop(&mut self) {
            let _ = self.1.send(reserve(&self.0, "/p", "last"));
        }
    }
    thread_local!(static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) });
    let scratch = Scratch::new();
    let registry = scratch.open();
    let (say, said) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        // Made before any thread-local of trop, so that it is dropped after them.
        LAST.set(Some(Last(registry.clone(), say)));
        reserve(&registry, "/p", "first").unwrap()
    });
    assert_eq!(thread.join().unwrap(), 20000);
    assert_eq!(said.recv().unwrap().unwrap(), 20001);
}

/// Neither the one at the head of the queue, which is stopped, nor one behind it, which is killed.
#[test]
#[cfg(target_os = "linux")]
fn a_stopped_process_holds_up_nobody() {
    let scratch = Scratch::new();
    let directory = scratch.dir().to_str().unwrap().to_owned();
    assert_eq!(reserve(&scratch.open(), "/p", "a").unwrap(), 20000);
    let lock = Process::locking(&scratch.database());
    let wait_in_queue = || {
        let mut process = Process::start("opener", "open", scratch.root());
        process.say(&directory);
        let maps = format!("/proc/{}/maps", process.id());
        while !std::fs::read_to_string(&maps).unwrap().contains("trop.db-queue") {
            thread::yield_now();
        }
        process
    };
    let (mut next, mut killed) = (wait_in_queue(), wait_in_queue());
    let mut others = [(); 3].map(|()| wait_in_queue());
    signal(&next, libc::SIGSTOP);
    killed.kill();
    lock.unlock();
    let ports: BTreeSet<_> = others.iter_mut().map(Process::hear).collect();
    assert_eq!(ports, ["20001", "20002", "20003"].map(str::to_owned).into());
    signal(&next, libc::SIGCONT);
    assert_eq!(next.hear(), "20004");
    others.into_iter().chain([next]).for_each(Process::finish);
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "the standard library knows one signal only")]
fn signal(process: &Process, signal: libc::c_int) {
    // SAFETY: a plain system call; the process is ours and not waited for.
    assert_eq!(unsafe { libc::kill(process.id().try_into().unwrap(), signal) }, 0);
}

/// Runs all at the same moment in threads of their own.
fn together<T: Send>(count: usize, run: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(count);
    thread::scope(|scope| {
        let start = |index| {
            let (barrier, run) = (&barrier, &run);
            scope.spawn(move || {
                barrier.wait();
                run(index)
            })
        };
        let threads: Vec<_> = (0..count).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn threads_share_a_handle_and_have_handles_of_their_own() {
    let scratch = Scratch::new();
    let shared = scratch.open();
    let all = together(16, |index| {
        let own = if index % 2 == 0 { shared.clone() } else { scratch.open() };
        let reserve = |number| reserve(&own, "/p", &format!("{index}-{number}"));
        (0..40).map(reserve).collect::<Result<Vec<_>>>().unwrap()
    });
    let ports: BTreeSet<_> = all.into_iter().flatten().collect();
    assert_eq!(ports, (20000..20640).collect());
    common::assert_sound(&scratch.database());
}

/// A thread that lets go of the handle and takes it again at once must not shut out those that wait.
#[test]
fn nobody_is_starved_of_a_shared_handle() {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    options.busy_timeout = None;
    let registry = Registry::open(options).unwrap();
    together(8, |index| {
        let tag = index.to_string();
        for _ in 0..200 {
            reserve(&registry, "/p", &tag).unwrap();
            common::release(&registry, "/p", &tag).unwrap();
        }
    });
}

#[test]
fn first_opening_by_threads_through_different_handles() {
    isolated("first_opening_by_threads_through_different_handles", |scratch| {
        for round in 0..20 {
            let directory = scratch.root().join(round.to_string());
            let ports = together(8, |index| {
                let registry = Registry::open(common::options(&directory)).unwrap();
                reserve(&registry, "/p", &index.to_string()).unwrap()
            });
            assert_eq!(BTreeSet::from_iter(ports), (20000..20008).collect());
        }
    });
}

#[test]
fn a_lock_is_waited_for_as_long_as_configured_and_not_at_all_for_0() {
    let scratch = Scratch::new();
    reserve(&scratch.open(), "/p", "a").unwrap();
    let database = scratch.database();
    let lock = Process::locking(&database);
    let registry = |wait| {
        let mut options = common::options(&scratch.dir());
        options.busy_timeout = Some(wait);
        Registry::open(options).unwrap()
    };
    for wait in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(400)] {
        let registry = registry(wait);
        let start = Instant::now();
        let error = reserve(&registry, "/p", "b").unwrap_err();
        assert_eq!(error.code(), Code::Busy);
        assert!(error.to_string().contains("lock timeout"), "{error}");
        assert!(start.elapsed() >= wait, "{:?} of {wait:?}", start.elapsed());
        assert_eq!(code(common::release(&registry, "/p", "a")), Code::Busy);
        assert_eq!(listed(&registry).len(), 1, "readers do not wait");
    }

    // Waiting for another thread that uses the handle counts towards the lock wait.
    let handle = registry(Duration::from_secs(1));
    let waits = together(12, |index| {
        let start = Instant::now();
        assert_eq!(code(reserve(&handle, "/p", &index.to_string())), Code::Busy);
        start.elapsed()
    });
    assert!(waits.iter().all(|wait| *wait >= Duration::from_secs(1)), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait < Duration::from_secs(8)), "one after the other: {waits:?}");

    // Released in time: success.
    let patient = scratch.open();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| reserve(&patient, "/p", "b"));
        lock.unlock();
        assert_eq!(waiting.join().unwrap().unwrap(), 20001);
    });
}

/// Somebody else's rollback-mode database, which is locked while it has to become a log-mode one. Trap 111
/// (switching to the log does not wait).
#[test]
fn the_switch_to_the_log_waits_too() {
    let scratch = Scratch::made_by(
        "db.execute('CREATE TABLE metadata (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT')",
    );
    let lock = Process::locking(&scratch.database());
    let mut options = common::options(&scratch.dir());
    options.busy_timeout = Some(Duration::from_millis(300));
    let start = Instant::now();
    assert_eq!(code(Registry::open(options)), Code::Busy);
    assert!(start.elapsed() >= Duration::from_millis(300));
    let dir = scratch.dir();
    let waiting = thread::spawn(move || Registry::open(common::options(&dir)));
    lock.unlock();
    assert_eq!(reserve(&waiting.join().unwrap().unwrap(), "/p", "a").unwrap(), 20000);
}

#[test]
fn closing_ends_later_calls_and_no_running_one() {
    isolated("closing_ends_later_calls_and_no_running_one", |scratch| {
        let registry = scratch.open();
        let lock = Process::locking(&scratch.database());
        let running = {
            let registry = registry.clone();
            thread::spawn(move || reserve(&registry, "/p", "a"))
        };
        let second = wait_until_in_use(&registry);
        registry.close();
        registry.close();
        assert_eq!(code(registry.list()), Code::Closed);
        assert_eq!(code(second.join().unwrap()), Code::Closed);
        // The closed registry's running call still has the file open: that is no second copy.
        let other = scratch.open();
        lock.unlock();
        assert_eq!(running.join().unwrap().unwrap(), 20000);
        assert_eq!(listed(&other).len(), 1);
        assert_eq!(code(reserve(&registry, "/p", "b")), Code::Closed);
    });
}

/// Returns once a thread is inside an operation: a look-up of another thread, which is left waiting, says so.
fn wait_until_in_use(registry: &Registry) -> thread::JoinHandle<Result<Vec<trop_core::Reservation>>> {
    loop {
        let (registry, (done, answered)) = (registry.clone(), mpsc::channel());
        let thread = thread::spawn(move || {
            let rows = registry.list();
            let _ = done.send(());
            rows
        });
        if answered.recv_timeout(Duration::from_millis(500)).is_err() {
            return thread;
        }
    }
}
