//! Forked processes: both sides go on, and neither harms the other.
#![cfg(unix)]
#![allow(unsafe_code, reason = "the standard library cannot fork")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::collections::BTreeSet;
use std::fs::File;
use std::process::{self, Command};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use common::fork::{Forked, Gate, fork};
use common::{Process, Scratch, code, isolated, key, listed, python, release, reserve, say};
use trop_core::{Code, Registry};

fn tags(registry: &Registry) -> BTreeSet<String> {
    let rows = listed(registry);
    let ports: BTreeSet<_> = rows.iter().map(|row| row.0).collect();
    assert_eq!(ports.len(), rows.len(), "{rows:?}");
    rows.into_iter().map(|row| row.2).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn both_sides_go_on_with_the_same_handle() {
    isolated("both_sides_go_on_with_the_same_handle", |scratch| {
        let registry = scratch.open();
        let port = reserve(&registry, "/p", "before").unwrap();
        let child = fork(|| {
            assert_eq!(reserve(&registry, "/p", "before").unwrap(), port);
            for number in 0..50 {
                reserve(&registry, "/p", &format!("child {number}")).unwrap();
            }
            assert_eq!(release(&registry, "/p", "child 7").unwrap(), 1);
        });
        for number in 0..50 {
            reserve(&registry, "/p", &format!("parent {number}")).unwrap();
        }
        assert_eq!(release(&registry, "/p", "parent 7").unwrap(), 1);
        child.join();
        assert_eq!(tags(&registry).len(), 99);
        common::assert_sound(&scratch.database());
    });
}

/// Uses the registry before and after the other side closed it.
fn stay(registry: &Registry, ready: &mut Gate, closed: &mut Gate) {
    reserve(registry, "/p", "staying").unwrap();
    ready.open();
    closed.wait();
    reserve(registry, "/p", "after").unwrap();
    assert_eq!(tags(registry), set(&["before", "staying", "leaving", "after"]));
}

fn leave(registry: &Registry, ready: &mut Gate, closed: &mut Gate) {
    reserve(registry, "/p", "leaving").unwrap();
    ready.wait();
    registry.close();
    closed.open();
    assert_eq!(code(registry.list()), Code::Closed);
}

/// SQLite deletes the log when it closes the last connection it knows of. It must not while the other process
/// uses it.
#[test]
fn closing_on_one_side_keeps_what_the_other_commits() {
    isolated("closing_on_one_side_keeps_what_the_other_commits", |_| {
        for child_leaves in [true, false] {
            let scratch = Scratch::new();
            let registry = scratch.open();
            reserve(&registry, "/p", "before").unwrap();
            let (mut ready, mut closed) = (Gate::new(), Gate::new());
            let (child, parent) = if child_leaves {
                (leave as fn(&_, &mut _, &mut _), stay as _)
            } else {
                (stay as _, leave as fn(&_, &mut _, &mut _))
            };
            let forked = fork(|| child(&registry, &mut ready, &mut closed));
            parent(&registry, &mut ready, &mut closed);
            forked.join();
            assert_eq!(tags(&scratch.open()), set(&["before", "staying", "leaving", "after"]));
            common::assert_sound(&scratch.database());
        }
    });
}

#[test]
fn a_child_outlives_its_parent() {
    isolated("a_child_outlives_its_parent", |scratch| {
        let registry = scratch.open();
        let (mut orphaned, mut done) = (Gate::new(), Gate::new());
        fork(|| {
            let registry = scratch.open();
            fork(|| {
                reserve(&registry, "/p", "early").unwrap();
                orphaned.wait();
                reserve(&registry, "/p", "late").unwrap();
                done.open();
            });
            reserve(&registry, "/p", "parent").unwrap();
        })
        .join();
        orphaned.open();
        done.wait();
        assert_eq!(tags(&registry), set(&["early", "late", "parent"]));
        common::assert_sound(&scratch.database());
    });
}

#[test]
fn generations_of_children_and_handles_opened_in_them() {
    fn descend(registry: &Registry, scratch: &Scratch, depth: usize) {
        let own = scratch.open();
        reserve(registry, "/p", &format!("inherited {depth}")).unwrap();
        reserve(&own, "/p", &format!("own {depth}")).unwrap();
        if depth < 4 {
            let children = [(); 2].map(|()| fork(|| descend(&own, scratch, depth + 1)));
            reserve(registry, "/p", &format!("again {depth}")).unwrap();
            children.into_iter().for_each(Forked::join);
        }
    }
    isolated("generations_of_children_and_handles_opened_in_them", |scratch| {
        let registry = scratch.open();
        descend(&registry, scratch, 0);
        assert_eq!(tags(&registry).len(), 5 * 2 + 4);
        common::assert_sound(&scratch.database());
    });
}

/// Threads that own locks, connections and waits at the moment of the fork do not exist in the child.
#[test]
fn other_threads_are_in_the_middle_of_something() {
    isolated("other_threads_are_in_the_middle_of_something", |scratch| {
        let shared = scratch.open();
        let stop = AtomicBool::new(false);
        let forks = AtomicUsize::new(0);
        thread::scope(|scope| {
            for index in 0..4 {
                let (stop, shared) = (&stop, &shared);
                scope.spawn(move || {
                    let own = scratch.open();
                    let tag = format!("thread {index}");
                    for round in 0.. {
                        // The last round leaves the row.
                        let last = stop.load(Ordering::SeqCst);
                        let registry = if round % 2 == 0 { shared } else { &own };
                        reserve(registry, "/p", &tag).unwrap();
                        if last {
                            break;
                        }
                        assert_eq!(release(registry, "/p", &tag).unwrap(), 1);
                        if round % 5 == 0 {
                            // Forks also happen while registries are opened and closed, and while there are
                            // copies in memory.
                            listed(&scratch.open());
                            let missing = common::options(&scratch.root().join("missing"));
                            let dry_run = Registry::open_lazily(missing).unwrap().dry_run().unwrap();
                            reserve(&dry_run, "/p", &tag).unwrap();
                        }
                    }
                });
            }
            // Two threads fork, so that one can want to while the other does.
            let forkers = [0, 1].map(|index| {
                let (shared, forks) = (&shared, &forks);
                scope.spawn(move || {
                    for round in 0..25 {
                        let tag = format!("child {index} {round}");
                        let child = fork(|| {
                            reserve(shared, "/p", &tag).unwrap();
                            reserve(&scratch.open(), "/p", &format!("{tag} own")).unwrap();
                        });
                        reserve(shared, "/p", &format!("forker {index} {round}")).unwrap();
                        child.join();
                        forks.fetch_add(1, Ordering::SeqCst);
                    }
                })
            });
            for forker in forkers {
                forker.join().unwrap();
            }
            stop.store(true, Ordering::SeqCst);
        });
        assert_eq!(forks.into_inner(), 50);
        assert_eq!(tags(&shared).len(), 4 + 50 * 3);
        common::assert_sound(&scratch.database());
    });
}

/// The fork does not wait for the lock. The parent's wait goes on after it, and the child waits by itself.
#[test]
fn a_thread_waits_for_another_process_while_its_process_forks() {
    isolated("a_thread_waits_for_another_process_while_its_process_forks", |scratch| {
        let registry = scratch.open();
        let lock = Process::locking(&scratch.database());
        thread::scope(|scope| {
            let waiting = [0, 1, 2, 3].map(|index| {
                let registry = if index % 2 == 0 { registry.clone() } else { scratch.open() };
                scope.spawn(move || reserve(&registry, "/p", &format!("thread {index}")).unwrap())
            });
            let children: Vec<_> = (0..10)
                .map(|index| {
                    // Not to synchronise: to let the waits reach any of their stages.
                    thread::sleep(Duration::from_millis(index));
                    let registry = &registry;
                    fork(move || {
                        reserve(registry, "/p", &format!("child {index}")).unwrap();
                    })
                })
                .collect();
            lock.unlock();
            children.into_iter().for_each(Forked::join);
            for thread in waiting {
                thread.join().unwrap();
            }
        });
        assert_eq!(tags(&registry).len(), 14);
        common::assert_sound(&scratch.database());
    });
}

/// A wait that a fork interrupted still ends when it was to end.
#[test]
fn forks_do_not_prolong_a_wait() {
    isolated("forks_do_not_prolong_a_wait", |scratch| {
        let mut options = common::options(&scratch.dir());
        options.busy_timeout = Some(Duration::from_millis(700));
        let registry = Registry::open(options).unwrap();
        let lock = Process::locking(&scratch.database());
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let waiting = [0, 1].map(|index| {
                let registry = &registry;
                scope.spawn(move || code(reserve(registry, "/p", &index.to_string())))
            });
            let forking = scope.spawn(|| {
                while !done.load(Ordering::SeqCst) {
                    fork(|| ()).join();
                    thread::sleep(Duration::from_millis(5));
                }
            });
            assert_eq!(waiting.map(|thread| thread.join().unwrap()), [Code::Busy; 2]);
            done.store(true, Ordering::SeqCst);
            forking.join().unwrap();
        });
        lock.unlock();
        assert!(listed(&registry).is_empty());
    });
}

/// The connection of a closed registry is still a connection while a call uses it.
#[test]
fn a_registry_is_closed_while_in_use_and_then_forks() {
    isolated("a_registry_is_closed_while_in_use_and_then_forks", |scratch| {
        let other = scratch.open();
        for round in 0..30 {
            let registry = scratch.open();
            let stopped = thread::scope(|scope| {
                let users = [0, 1].map(|index| {
                    let registry = registry.clone();
                    scope.spawn(move || {
                        loop {
                            match reserve(&registry, "/p", &format!("{round} {index}")) {
                                Ok(_) => _ = release(&registry, "/p", &format!("{round} {index}")),
                                Err(error) => break error.code(),
                            }
                        }
                    })
                });
                reserve(&registry, "/q", &round.to_string()).unwrap();
                registry.close();
                fork(|| {
                    reserve(&other, "/child", &round.to_string()).unwrap();
                })
                .join();
                users.map(|user| user.join().unwrap())
            });
            assert_eq!(stopped, [Code::Closed; 2]);
            reserve(&other, "/parent", &round.to_string()).unwrap();
        }
        let rows = listed(&other).into_iter();
        assert_eq!(rows.filter(|row| row.1 != "/p").count(), 90);
        common::assert_sound(&scratch.database());
    });
}

#[test]
fn the_shared_registry_survives_too() {
    // The default data directory of this process is one of its own.
    isolated("the_shared_registry_survives_too", |_| {
        let path = |name: &str| common::request("/p", name);
        let before = Registry::shared().unwrap().reserve(&path("before")).unwrap().reservation.port;
        let child = fork(|| {
            let registry = Registry::shared().unwrap();
            assert_eq!(registry.reserve(&path("before")).unwrap().reservation.port, before);
            registry.reserve(&path("child")).unwrap();
        });
        Registry::shared().unwrap().reserve(&path("parent")).unwrap();
        child.join();
        assert_eq!(tags(&Registry::shared().unwrap()), set(&["before", "child", "parent"]));
    });
}

#[test]
fn a_child_that_starts_another_program_leaves_nothing_open_in_it() {
    if common::role().as_deref() == Some("executed") {
        let registry = Registry::open(common::options(&trop_core::data_dir(None).unwrap())).unwrap();
        say(&reserve(&registry, "/p", "executed").unwrap().to_string());
        process::exit(0);
    }
    let scratch = Scratch::new();
    let registry = scratch.open();
    assert_eq!(reserve(&registry, "/p", "before").unwrap(), 20000);
    let name = "a_child_that_starts_another_program_leaves_nothing_open_in_it";
    let mut other = Process::start(name, "executed", &scratch.dir());
    assert_eq!(reserve(&registry, "/p", "meanwhile").unwrap() + other.hear().parse::<u16>().unwrap(), 40003);
    other.finish();
    // Programs see none of our descriptors.
    let open = "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if n > '2' and os.path.exists(f'/proc/self/fd/{n}')])";
    if cfg!(target_os = "linux") {
        let output = Command::new("python3").args(["-c", open]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !text.contains("trop.db"), "{text}");
    }
}

/// A logger is code of the application that runs inside an operation, and may fork there.
#[test]
fn a_fork_from_inside_an_operation_leaves_an_unusable_child_and_a_sound_parent() {
    struct Forking(OnceLock<Registry>);
    impl log::Log for Forking {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, _: &log::Record<'_>) {
            let Some(registry) = self.0.get() else { return };
            fork(|| {
                assert_eq!(code(registry.list()), Code::Unsupported);
                let directory = tempfile::tempdir().unwrap();
                assert_eq!(code(Registry::open(common::options(directory.path()))), Code::Unsupported);
                registry.close();
                fork(|| registry.close()).join();
            })
            .join();
        }
        fn flush(&self) {}
    }
    static LOGGER: Forking = Forking(OnceLock::new());
    let name = "a_fork_from_inside_an_operation_leaves_an_unusable_child_and_a_sound_parent";
    isolated(name, |scratch| {
        log::set_logger(&LOGGER).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
        let registry = scratch.open();
        LOGGER.0.set(registry.clone()).unwrap();
        python(&scratch.database(), "db.execute('UPDATE trop_free_ports SET free = 0')");
        assert_eq!(reserve(&registry, "/p", "a").unwrap(), 20000, "found after a correction that is logged");
        fork(|| assert_eq!(reserve(&registry, "/p", "b").unwrap(), 20001)).join();
        assert_eq!(tags(&registry), set(&["a", "b"]));
    });
}

/// In exit handlers the destructors of the thread have run already.
#[test]
fn an_exit_handler_forks() {
    extern "C" fn at_exit() {
        // SAFETY: the child ends at once.
        let child = unsafe { libc::fork() };
        if child == 0 {
            // SAFETY: a plain call.
            unsafe { libc::_exit(0) }
        }
        Forked(child).join();
    }
    let name = "an_exit_handler_forks";
    isolated(name, |scratch| {
        let registry = scratch.open();
        // SAFETY: the handler stays valid for the life of the process.
        unsafe { libc::atexit(at_exit) };
        fork(|| ()).join();
        reserve(&registry, "/p", "a").unwrap();
        process::exit(0);
    });
}

#[test]
fn a_second_copy_of_sqlite_in_the_process_is_refused() {
    isolated("a_second_copy_of_sqlite_in_the_process_is_refused", |scratch| {
        reserve(&scratch.open(), "/p", "a").unwrap();
        let foreign = File::open(scratch.database()).unwrap();
        let error = Registry::open(common::options(&scratch.dir())).unwrap_err();
        assert_eq!(error.code(), Code::SecondCopy);
        assert!(error.to_string().contains("trop.db"), "{error}");
        // The child inherits the descriptor of the second copy, so it is refused there too.
        fork(|| assert_eq!(code(Registry::open(common::options(&scratch.dir()))), Code::SecondCopy)).join();
        drop(foreign);

        let first = scratch.open();
        let link = scratch.root().join("link");
        std::os::unix::fs::symlink(scratch.dir(), &link).unwrap();
        let second = Registry::open(common::options(&link)).unwrap();
        assert_eq!(reserve(&second, "/p", "b").unwrap(), 20001);
        assert!(first.find(&key("/p", "b")).unwrap().is_some());
        drop(second);
        assert_eq!(reserve(&first, "/p", "c").unwrap(), 20002);
    });
}
