//! Failures around the registry: each is reported by its code, changes nothing, and later calls work again.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "rights and limits of this process are taken away by system calls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{
    Process, Scratch, allow, become_nobody, code, filter_system_call, free_ports, isolated, isolated_by,
    listed, port, range, release, reserve, works,
};
use trop_core::{Code, Error, Family, LeaseRequest, Refusal, Registry, RegistryOptions, ScanRequest};

fn opened(dir: &Path) -> Result<Registry, Error> {
    Registry::open(common::options(dir))
}

#[track_caller]
fn assert_errno<T>(result: Result<T, Error>, errno: i32) {
    let error = result.err().expect("this was expected to fail");
    assert_eq!((error.code(), error.errno()), (Code::Io, Some(errno)), "{error}");
    assert_eq!(error.argument(), Some("data_dir"));
}

#[test]
fn a_data_directory_that_cannot_be_one() {
    let scratch = Scratch::new();
    let file = scratch.root().join("file");
    fs::write(&file, "mine").unwrap();
    assert_errno(opened(&file), libc::ENOTDIR);
    assert_errno(opened(&file.join("below")), libc::ENOTDIR);
    assert_errno(opened(&scratch.root().join("x".repeat(300))), libc::ENAMETOOLONG);
    assert_eq!(fs::read(&file).unwrap(), b"mine");

    fs::create_dir_all(scratch.database()).unwrap();
    assert_eq!(opened(&scratch.dir()).unwrap_err().code(), Code::Corrupt);
    assert_eq!(fs::read_dir(scratch.dir()).unwrap().count(), 1, "nothing is left behind");

    // SQLite's own limit on the length of a path is lower than the system's.
    let long = scratch.root().join("x".repeat(250)).join("y".repeat(250)).join("z");
    assert_errno(opened(&long), libc::ENAMETOOLONG);

    let dangling = scratch.root().join("dangling");
    symlink(scratch.root().join("nowhere"), &dangling).unwrap();
    assert_eq!(code(opened(&dangling)), Code::Io);

    for bad in ["", "a\0b"] {
        assert_eq!(code(opened(Path::new(bad))), Code::InvalidArgument);
    }
}

#[test]
fn a_data_directory_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let scratch = Scratch::new();
    let names: [&[u8]; 6] = [b"caf\xe9", b"file:x?mode=ro", b"a%20b#c", b"-", b" ", b"line\nbreak"];
    for name in names {
        let dir = scratch.root().join(std::ffi::OsStr::from_bytes(name));
        assert_eq!(reserve(&opened(&dir).unwrap(), "/p", "a").unwrap(), 20000, "{}", dir.display());
        assert!(dir.join("trop.db").is_file());
    }
}

#[test]
fn nothing_is_created_unasked() {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    options.create = false;
    assert_eq!(code(Registry::open(options.clone())), Code::NoDataDir);
    assert!(!scratch.dir().exists());
    fs::create_dir(scratch.dir()).unwrap();
    assert_eq!(code(Registry::open(options.clone())), Code::NoDataDir);
    assert_eq!(fs::read_dir(scratch.dir()).unwrap().count(), 0);
    drop(scratch.open());
    let registry = Registry::open(options).unwrap();
    reserve(&registry, "/p", "a").unwrap();
    // Gone while it is open: the same answer.
    fs::remove_dir_all(scratch.dir()).unwrap();
    assert_eq!(code(registry.list()), Code::NoDataDir);
}

#[test]
fn the_lock_wait_has_a_limit() {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    options.busy_timeout = Some(std::time::Duration::from_secs(2_147_483));
    assert!(Registry::open(options.clone()).is_ok());
    options.busy_timeout = Some(std::time::Duration::from_millis(2_147_483_001));
    let error = Registry::open(options).unwrap_err();
    assert_eq!((error.code(), error.argument()), (Code::InvalidArgument, Some("busy_timeout")));
}

#[test]
fn a_closed_registry_says_so_in_every_call() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let clone = registry.clone();
    registry.close();
    registry.close();
    assert_eq!(code(reserve(&clone, "/p", "a")), Code::Closed);
    assert_eq!(code(release(&clone, "/p", "a")), Code::Closed);
    assert_eq!(code(clone.list()), Code::Closed);
    assert_eq!(code(clone.find_port(port(20000))), Code::Closed);
    assert!(listed(&scratch.open()).is_empty());
}

#[test]
fn a_directory_that_cannot_be_looked_into_is_not_taken_for_an_absent_one() {
    isolated("a_directory_that_cannot_be_looked_into_is_not_taken_for_an_absent_one", |scratch| {
        reserve(&scratch.open(), "/p", "a").unwrap();
        allow(scratch.root(), 0o755);
        allow(&scratch.dir(), 0o000);
        become_nobody();
        let mut options = common::options(&scratch.dir());
        options.create = false;
        assert_errno(Registry::open(options), libc::EACCES);
    });
}

#[test]
fn a_directory_without_permission() {
    isolated("a_directory_without_permission", |scratch| {
        reserve(&scratch.open(), "/p", "a").unwrap();
        let (empty, closed) = (scratch.root().join("empty"), scratch.root().join("closed"));
        for directory in [&empty, &closed] {
            fs::create_dir(directory).unwrap();
        }
        fs::copy(scratch.database(), closed.join("trop.db")).unwrap();
        allow(scratch.root(), 0o755);
        allow(&empty, 0o555);
        allow(&closed, 0o000);
        allow(&scratch.dir(), 0o555);
        allow(&scratch.database(), 0o644);
        let before = fs::read(scratch.database()).unwrap();
        become_nobody();
        assert_errno(opened(&empty), libc::EACCES);
        assert_errno(opened(&empty.join("below")), libc::EACCES);
        assert_errno(opened(&closed), libc::EACCES);
        let registry = opened(&scratch.dir()).unwrap();
        assert_errno(reserve(&registry, "/p", "b"), libc::EACCES);
        assert_eq!(before, fs::read(scratch.database()).unwrap());
    });
}

#[test]
fn a_database_without_permission() {
    isolated("a_database_without_permission", |scratch| {
        reserve(&scratch.open(), "/p", "a").unwrap();
        allow(scratch.root(), 0o755);
        allow(&scratch.dir(), 0o777);
        for (mode, file) in [(0o000, "unreadable"), (0o444, "unwritable")] {
            let directory = scratch.root().join(file);
            fs::create_dir(&directory).unwrap();
            allow(&directory, 0o777);
            fs::copy(scratch.database(), directory.join("trop.db")).unwrap();
            allow(&directory.join("trop.db"), mode);
        }
        become_nobody();
        assert_errno(opened(&scratch.root().join("unreadable")), libc::EACCES);
        let registry = opened(&scratch.root().join("unwritable")).unwrap();
        assert_errno(reserve(&registry, "/p", "b"), libc::EACCES);
    });
}

/// Trap 97 (one failing probe ends the look).
#[test]
fn low_ports_without_the_right_to_bind_them() {
    isolated("low_ports_without_the_right_to_bind_them", |scratch| {
        allow(scratch.root(), 0o777);
        become_nobody();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, 1)).is_ok() {
            eprintln!("every user may bind low ports here");
            return;
        }
        let first: u16 = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start")
            .unwrap()
            .trim()
            .parse()
            .unwrap();
        let mut options = RegistryOptions::default();
        options.data_dir = Some(scratch.dir());
        options.ports = Some(range(first - 5, first + 50));
        let registry = Registry::open(options).unwrap();
        assert!(reserve(&registry, "/p", "a").unwrap() >= first);
        let mut low = common::request("/p", "b");
        (low.min, low.max) = (Some(port(first - 5)), Some(port(first - 1)));
        let error = registry.reserve(&low).unwrap_err();
        let Error::Exhausted { blockers, .. } = &error else { panic!("{error}") };
        assert_eq!((blockers.occupied, blockers.reserved, blockers.excluded), (5, 0, 0));
        let text = error.to_string();
        assert!(text.contains(&format!("TCP probe of 127.0.0.1:{}", first - 5)), "{text}");
        assert!(text.contains("Permission denied") && text.contains("this user may not bind"), "{text}");
        // By number, and in the words of those that only look.
        let mut wish = common::request("/p", "c");
        (wish.preferred, wish.min) = (Some(port(first - 1)), Some(port(first - 1)));
        assert_eq!(registry.reserve(&wish).unwrap().refusal, Some(Refusal::Forbidden));
        let explained = registry.explain(port(first - 1)).unwrap();
        assert!(explained.is_forbidden() && !explained.is_occupied(), "{explained}");
        assert!(explained.to_string().contains("may not bind"), "{explained}");
        assert!(!registry.explain(port(first)).unwrap().is_forbidden());
        let mut scanned = ScanRequest::default();
        scanned.max = Some(port(first));
        let scan = registry.scan(&scanned).unwrap();
        assert_eq!((scan.forbidden.iter().count(), scan.doubts.len()), (5, 20));
        assert!(!scan.forbidden.contains(port(first)));
    });
}

fn limit(resource: libc::__rlimit_resource_t, value: libc::rlim_t) {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` outlives both calls.
    unsafe {
        assert_eq!(libc::getrlimit(resource, &raw mut limit), 0);
        limit.rlim_cur = value.min(limit.rlim_max);
        assert_eq!(libc::setrlimit(resource, &raw const limit), 0);
    }
}

#[test]
fn no_space_for_the_log() {
    isolated("no_space_for_the_log", |scratch| {
        // SAFETY: without the signal the write itself fails.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let registry = scratch.open();
        let log = scratch.dir().join("trop.db-wal");
        let mut reserved = Vec::new();
        // Filled to different places: in the middle of a page, of a transaction, at its end.
        for extra in [0, 100, 2000, 5000, 9000] {
            limit(libc::RLIMIT_FSIZE, fs::metadata(&log).unwrap().len() + extra);
            let failure = (0..100).find_map(|number| {
                let tag = format!("{extra} {number}");
                match reserve(&registry, "/p", &tag) {
                    Ok(port) => reserved.push((port, tag)),
                    Err(error) => return Some(error),
                }
                None
            });
            assert_errno(failure.map_or(Ok(()), Err), libc::EIO);
            limit(libc::RLIMIT_FSIZE, libc::RLIM_INFINITY);
            let tag = format!("{extra} after");
            reserved.push((reserve(&registry, "/p", &tag).unwrap(), tag));
        }
        let mut found: Vec<_> = listed(&registry).into_iter().map(|row| (row.0, row.2)).collect();
        found.sort();
        reserved.sort();
        assert_eq!(found, reserved);
        common::assert_sound(&scratch.database());
    });
}

#[test]
fn no_space_for_a_new_registry() {
    isolated("no_space_for_a_new_registry", |_| {
        // SAFETY: without the signal the write itself fails.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        let whole = Scratch::new();
        let registry = whole.open();
        let files = fs::read_dir(whole.dir()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len());
        let largest = files.max().unwrap();
        drop(registry);
        for size in [0, 100, 1024, 4096, 20000, largest - 1] {
            let scratch = Scratch::new();
            limit(libc::RLIMIT_FSIZE, size);
            assert_errno(opened(&scratch.dir()), libc::EIO);
            limit(libc::RLIMIT_FSIZE, libc::RLIM_INFINITY);
            assert_eq!(reserve(&scratch.open(), "/p", "a").unwrap(), 20000, "{size}");
            common::assert_sound(&scratch.database());
        }
    });
}

#[test]
fn no_space_on_the_device() {
    let inside = ["--mount"];
    let Some(mut launcher) = namespace(&inside) else { return };
    launcher.extend(["sh", "-c", "mount -t tmpfs -o size=256k tmpfs /mnt && exec \"$@\"", "sh"]);
    isolated_by(&launcher, "no_space_on_the_device", |_| {
        let dir = Path::new("/mnt/data");
        let registry = opened(dir).unwrap();
        fs::write("/mnt/filler", vec![0; 1 << 20]).unwrap_err();
        let failure = (0..1000).find_map(|number| reserve(&registry, "/p", &number.to_string()).err());
        assert_errno(failure.map_or(Ok(()), Err), libc::ENOSPC);
        let before = listed(&registry);
        assert_errno(reserve(&registry, "/p", "more"), libc::ENOSPC);
        fs::remove_file("/mnt/filler").unwrap();
        reserve(&registry, "/p", "more").unwrap();
        assert_eq!(listed(&registry).len(), before.len() + 1);
        common::assert_sound(&dir.join("trop.db"));
    });
}

/// How to start a program in namespaces of its own, where that is permitted.
fn namespace<'a>(kinds: &[&'a str]) -> Option<Vec<&'a str>> {
    let launchers: [&[&str]; 2] = [&["unshare"], &["unshare", "--user", "--map-root-user"]];
    for launcher in launchers {
        let mut whole = launcher.to_vec();
        whole.extend(kinds);
        if works(whole[0], &[&whole[1..], &["true"]].concat()) {
            return Some(whole);
        }
    }
    eprintln!("namespaces are not permitted here");
    None
}

/// From now on this thread cannot make IPv6 sockets, as on a host without them.
fn lose_ipv6() {
    let ipv6 = (0, libc::AF_INET6.cast_unsigned());
    filter_system_call(
        libc::SYS_socket,
        Some(ipv6),
        libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT.cast_unsigned(),
    );
}

/// Trap 96 (no IPv6).
#[test]
fn a_host_without_ipv6_allocates_and_scans() {
    isolated("a_host_without_ipv6_allocates_and_scans", |scratch| {
        lose_ipv6();
        let error = TcpListener::bind("[::1]:0").unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
        let first = free_ports(2);
        let _bound = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let mut options = RegistryOptions::default();
        options.data_dir = Some(scratch.dir());
        options.ports = Some(range(first, first + 1));
        for all in [false, true] {
            options.occupancy.check_all_interfaces = Some(all);
            let registry = Registry::open(options.clone()).unwrap();
            assert_eq!(reserve(&registry, "/p", "a").unwrap(), first + 1, "IPv4 is probed all the same");
            release(&registry, "/p", "a").unwrap();
            let scan = registry.scan(&ScanRequest::default()).unwrap();
            assert_eq!(scan.doubts, []);
            let found: Vec<_> =
                scan.findings.iter().map(|found| (found.port.get(), found.probe.family)).collect();
            assert_eq!(found, vec![(first, Family::Ipv4); if all { 2 } else { 1 }]);
            let lease = registry.lease(&LeaseRequest::default()).unwrap();
            assert_eq!(lease.port().get(), first + 1);
        }
    });
}

/// In a network namespace of its own, loopback is down and has no addresses; sandboxes may differ.
#[test]
fn a_host_without_loopback_addresses_allocates() {
    let Some(launcher) = namespace(&["--net"]) else { return };
    isolated_by(&launcher, "a_host_without_loopback_addresses_allocates", |scratch| {
        let mut options = RegistryOptions::default();
        options.data_dir = Some(scratch.dir());
        options.ports = Some(range(20000, 20009));
        let registry = Registry::open(options).unwrap();
        assert_eq!(reserve(&registry, "/p", "a").unwrap(), 20000);
    });
}

#[test]
fn too_many_open_files() {
    isolated("too_many_open_files", |scratch| {
        drop(scratch.open());
        let held = fs::File::open("/dev/null").unwrap();
        // Everything that is open stays open; nothing new can be.
        limit(libc::RLIMIT_NOFILE, 3);
        assert_errno(opened(&scratch.dir()), libc::EMFILE);
        limit(libc::RLIMIT_NOFILE, libc::RLIM_INFINITY);
        drop(held);
        let registry = scratch.open();
        limit(libc::RLIMIT_NOFILE, 3);
        reserve(&registry, "/p", "a").unwrap();
    });
}

#[test]
fn the_database_is_deleted_while_it_is_open() {
    isolated("the_database_is_deleted_while_it_is_open", |scratch| {
        let (registry, second) = (scratch.open(), scratch.open());
        for remove in [
            (|scratch: &Scratch| fs::remove_file(scratch.database()).unwrap()) as fn(&Scratch),
            |scratch| fs::remove_dir_all(scratch.dir()).unwrap(),
            |scratch| fs::rename(scratch.dir(), scratch.root().join("moved away")).unwrap(),
        ] {
            for tag in ["a", "b"] {
                reserve(&registry, "/p", tag).unwrap();
                reserve(&second, "/q", tag).unwrap();
            }
            remove(scratch);
            assert_eq!(reserve(&registry, "/new", "a").unwrap(), 20000, "a new file");
            assert_eq!(reserve(&second, "/new", "b").unwrap(), 20001, "the same new file");
            assert_eq!(listed(&scratch.open()).len(), 2);
            common::assert_sound(&scratch.database());
        }
    });
}

/// The new one is made by another process, whose log must not be deleted by closing the connection to the old
/// one.
#[test]
fn the_registry_is_replaced_by_another_process() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    reserve(&registry, "/p", "old").unwrap();
    fs::rename(scratch.dir(), scratch.root().join("old")).unwrap();
    fs::create_dir(scratch.dir()).unwrap();
    let mut other = Process::python(
        &scratch.database(),
        "db.execute('PRAGMA journal_mode = WAL')
db.execute('CREATE TABLE metadata (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL) STRICT')
say('made')
sys.stdin.readline()
assert db.execute('SELECT tag FROM reservations').fetchall() == [('a',)]",
    );
    assert_eq!(other.hear(), "made");
    assert_eq!(reserve(&registry, "/p", "a").unwrap(), 20000);
    other.unlock();
    assert_eq!(listed(&registry), [(20000, "/p".to_owned(), "a".to_owned())]);
    common::assert_sound(&scratch.database());
}

/// Where a registry goes whose home directory cannot be used. Only looked at: these places belong to the user
/// of this machine.
#[test]
fn a_home_directory_that_cannot_be_used_is_passed_over() {
    isolated("a_home_directory_that_cannot_be_used_is_passed_over", |scratch| {
        let (home, closed) = (scratch.root().join("home"), scratch.root().join("closed"));
        for (directory, mode) in [(&home, 0o777), (&closed, 0o555)] {
            fs::create_dir(directory).unwrap();
            allow(directory, mode);
        }
        fs::create_dir(home.join(".trop")).unwrap();
        allow(&home.join(".trop"), 0o777);
        fs::write(scratch.root().join("file"), "").unwrap();
        allow(scratch.root(), 0o755);
        let chosen = |home: &Path| {
            // SAFETY: no other thread of this process reads the environment.
            unsafe {
                std::env::remove_var("TROP_DATA_DIR");
                std::env::set_var("HOME", home);
            }
            trop_core::data_dir(None).unwrap()
        };
        assert_eq!(chosen(&home), home.join(".trop"));
        // Who comes back to a home directory comes back to its registry, whatever has happened to it.
        assert_eq!(chosen(scratch.root()), scratch.root().join(".trop"));
        fs::rename(home.join(".trop"), scratch.root().join("away")).unwrap();
        fs::write(home.join(".trop"), "").unwrap();
        assert_eq!(chosen(&home), home.join(".trop"));
        fs::remove_file(home.join(".trop")).unwrap();
        fs::rename(scratch.root().join("away"), home.join(".trop")).unwrap();
        become_nobody();
        assert_eq!(chosen(&home), home.join(".trop"));
        let elsewhere = [&closed, &closed.join("below"), &scratch.root().join("file"), Path::new("")];
        for home in elsewhere {
            let directory = chosen(home);
            assert!(directory.is_absolute() && !directory.starts_with(scratch.root()), "{directory:?}");
            assert_eq!(chosen(home), directory);
        }
        // A database there that may not be written is as good as none, unless it is named.
        reserve(&opened(&home.join(".trop")).unwrap(), "/p", "a").unwrap();
        allow(&home.join(".trop/trop.db"), 0o444);
        // By another name, because the choice for this one is kept.
        assert!(!chosen(&home.join("../home")).starts_with(&home));
        assert_eq!(listed(&opened(&home.join(".trop")).unwrap()).len(), 1);
        // One that is named is never replaced.
        assert_errno(opened(&closed.join("data")), libc::EACCES);
        assert_errno(opened(&scratch.root().join("file/data")), libc::ENOTDIR);
    });
}
