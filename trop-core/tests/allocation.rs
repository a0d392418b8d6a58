//! Which port a request gets, which it does not get and why, and what a path means.
#![cfg(unix)]
#![allow(unsafe_code, reason = "the environment is changed")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::symlink;
use std::path::Path;

use common::{Scratch, code, free_ports, isolated, listed, port, range, reserve};
use trop_core::{
    Blockers, Code, Error, Key, LeaseRequest, Port, Refusal, Registry, RegistryOptions, ReserveRequest,
};

#[test]
fn a_preferred_port_is_refused_for_the_first_reason() {
    let scratch = Scratch::new();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let bound = listener.local_addr().unwrap().port();
    let mut options = RegistryOptions::default();
    options.data_dir = Some(scratch.dir());
    options.ports = Some(range(1024, 65535));
    let excluded = if bound == 2000 { 2001 } else { 2000 };
    options.excluded.insert(port(excluded));
    options.excluded.insert(port(65535));
    let registry = Registry::open(options).unwrap();
    let mut taken = common::request("/p", "taken");
    taken.preferred = Some(port(3000));
    taken.max = Some(port(3000));
    let taken = registry.reserve(&taken).unwrap().reservation.port;
    for (number, preferred, refusal) in [
        (1, 1023, Refusal::OutsideRange),
        (2, taken.get(), Refusal::Reserved),
        (3, excluded, Refusal::Excluded),
        (4, bound, Refusal::Occupied),
    ] {
        let mut request = common::request("/p", &number.to_string());
        request.preferred = Some(port(preferred));
        let reserved = registry.reserve(&request).unwrap();
        assert_eq!((reserved.refusal, reserved.created), (Some(refusal), true), "{preferred}");
        assert_ne!(reserved.reservation.port, port(preferred));
        // An existing key keeps its port, whatever is wished for.
        request.preferred = Some(port(4000));
        let again = registry.reserve(&request).unwrap();
        assert_eq!((again.refusal, again.created), (None, false));
        assert_eq!(again.reservation.port, reserved.reservation.port);
    }
    // Outside the range comes before reserved.
    let mut request = common::request("/p", "5");
    (request.preferred, request.min) = (Some(taken), Some(port(taken.get() + 1)));
    assert_eq!(registry.reserve(&request).unwrap().refusal, Some(Refusal::OutsideRange));
}

#[test]
fn an_exhausted_range_says_what_blocks_it() {
    let scratch = Scratch::new();
    let first = free_ports(8);
    let mut options = RegistryOptions::default();
    options.data_dir = Some(scratch.dir());
    options.ports = Some(range(first, first + 7));
    options.excluded.insert_range(range(first, first + 1));
    let registry = Registry::open(options).unwrap();
    let _tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, first + 2)).unwrap();
    let _udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, first + 3)).unwrap();
    // Counted once: it is reserved first, and excluded besides.
    let mut on_excluded = common::request("/p", "5");
    on_excluded.preferred = Some(port(first));
    for tag in ["1", "2", "3", "4"] {
        reserve(&registry, "/p", tag).unwrap();
    }
    let before = common::dump(&scratch.database());
    let error = registry.reserve(&on_excluded).unwrap_err();
    let Error::Exhausted { blockers: Blockers { reserved, excluded, occupied, probe_failure, .. }, .. } =
        &error
    else {
        panic!("{error}")
    };
    assert_eq!((*reserved, *excluded, *occupied, probe_failure), (4, 2, 2, &None));
    let text = error.to_string();
    assert!(text.contains("port range") && text.contains("exhausted"), "{text}");
    assert_eq!(common::dump(&scratch.database()), before);
}

#[test]
fn a_request_may_replace_either_end_of_the_range() {
    let scratch = Scratch::new();
    let registry = scratch.open();
    let attempt = |name: &str, min: Option<u16>, max: Option<u16>| {
        let mut request = common::request("/p", name);
        (request.min, request.max) = (min.map(port), max.map(port));
        registry.reserve(&request).map(|reserved| reserved.reservation.port.get())
    };
    assert_eq!(attempt("a", Some(21000), None).unwrap(), 21000);
    assert_eq!(attempt("b", None, Some(20000)).unwrap(), 20000);
    assert_eq!(attempt("c", Some(1), Some(1)).unwrap(), 1);
    assert_eq!(attempt("d", Some(65535), Some(65535)).unwrap(), 65535);
    let error = attempt("e", Some(21001), Some(21000)).unwrap_err();
    assert_eq!((error.code(), error.argument()), (Code::InvalidArgument, Some("min")));
    for (min, max) in [(Some(22000), None), (None, Some(19999))] {
        let error = attempt("e", min, max).unwrap_err();
        assert_eq!((error.code(), error.argument()), (Code::Config, Some("ports")));
    }
    assert_eq!(listed(&registry).len(), 4);
}

#[test]
fn the_guard_looks_at_text_first_and_follows_links_second() {
    isolated("the_guard_looks_at_text_first_and_follows_links_second", |scratch| {
        let root = scratch.root().canonicalize().unwrap();
        for directory in ["real/work/deep", "real/other"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        symlink(root.join("real"), root.join("link")).unwrap();
        symlink(root.join("real/other"), root.join("real/work/outside")).unwrap();
        std::env::set_current_dir(root.join("link/work")).unwrap();
        let registry = scratch.open();
        let guarded = |path: &Path| {
            let mut request = ReserveRequest::default();
            request.path = Some(path.to_path_buf());
            request.allow_unrelated_path = false;
            registry.reserve(&request).map(|reserved| reserved.reservation.key.path().to_owned())
        };
        for related in
            ["real", "real/work", "real/work/deep", "link/work/missing/tail", "link", "real/work/outside"]
        {
            let path = root.join(related);
            assert_eq!(Path::new(&guarded(&path).unwrap()), path, "stored as given");
        }
        for relative in ["deep", ".", "..", "./missing/../deep"] {
            guarded(Path::new(relative)).unwrap();
        }
        let before = common::dump(&scratch.database());
        for unrelated in ["real/other", "real/workshop", "link/other", "elsewhere"] {
            assert_eq!(code(guarded(&root.join(unrelated))), Code::UnrelatedPath, "{unrelated}");
        }
        assert_eq!(common::dump(&scratch.database()), before, "not even a time of use");
        // Without a path: the physical working directory.
        let bare = registry.reserve(&ReserveRequest::default()).unwrap();
        assert_eq!(Path::new(bare.reservation.key.path()), root.join("real/work"));
    });
}

#[test]
fn the_working_directory_has_vanished() {
    isolated("the_working_directory_has_vanished", |scratch| {
        let gone = scratch.root().join("gone");
        fs::create_dir(&gone).unwrap();
        std::env::set_current_dir(&gone).unwrap();
        let early = scratch.open();
        fs::remove_dir(&gone).unwrap();
        let late = scratch.open();
        for registry in [&early, &late] {
            let error = registry.reserve(&ReserveRequest::default()).unwrap_err();
            assert_eq!((error.code(), error.errno()), (Code::Io, Some(libc::ENOENT)));
            assert_eq!(code(Key::new(Some(Path::new("relative")), None)), Code::Io);
            assert_eq!(reserve(registry, "/absolute", "a").unwrap(), 20000, "only what needs it fails");
            assert_eq!(listed(registry).len(), 1);
        }
        assert_eq!(code(Registry::open(common::options(Path::new("relative")))), Code::Io);
        let mut guarded = common::request("/absolute", "b");
        guarded.allow_unrelated_path = false;
        assert_eq!(code(late.reserve(&guarded)), Code::Io);
    });
}

#[test]
fn the_registry_stays_where_it_was_when_the_process_moves() {
    isolated("the_registry_stays_where_it_was_when_the_process_moves", |scratch| {
        std::env::set_current_dir(scratch.root()).unwrap();
        let registry = Registry::open(common::options(Path::new("data"))).unwrap();
        reserve(&registry, "/p", "a").unwrap();
        std::env::set_current_dir("/").unwrap();
        fs::remove_dir_all(scratch.dir()).unwrap();
        reserve(&registry, "/p", "b").unwrap();
        assert!(scratch.database().exists());
        assert_eq!(registry.data_dir(), scratch.dir().canonicalize().unwrap());
    });
}

#[test]
fn a_home_that_is_no_absolute_path_is_refused_and_not_stored() {
    isolated("a_home_that_is_no_absolute_path_is_refused_and_not_stored", |scratch| {
        // SAFETY: no other thread of this process reads the environment.
        unsafe { std::env::set_var("HOME", "relative") };
        let registry = scratch.open();
        for path in ["~", "~/x"] {
            let error = reserve(&registry, path, "a").unwrap_err();
            assert_eq!((error.code(), error.argument()), (Code::InvalidArgument, Some("path")));
        }
        // SAFETY: as above.
        unsafe { std::env::set_var("HOME", "/home/of/somebody") };
        reserve(&registry, "~/x/../y", "a").unwrap();
        assert_eq!(listed(&registry), [(20000, "/home/of/somebody/y".to_owned(), "a".to_owned())]);
    });
}

#[test]
fn the_highest_and_lowest_ports_are_ports_too() {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    options.ports = Some(trop_core::PortRange::new("ports", Port::MIN, Port::MAX).unwrap());
    options.excluded.insert_range(range(2, 65534));
    // Or 1 would be passed over.
    options.avoid_unsafe_ports = Some(false);
    let registry = Registry::open(options).unwrap();
    assert_eq!(reserve(&registry, "/p", "a").unwrap(), 1);
    assert_eq!(reserve(&registry, "/p", "b").unwrap(), 65535);
    let error = reserve(&registry, "/p", "c").unwrap_err();
    let Error::Exhausted { blockers, .. } = error else { panic!("{error}") };
    assert_eq!((blockers.reserved, blockers.excluded), (2, 65533));
}

/// The "bad ports" of the Fetch standard that lie in the default range.
const UNSAFE: [u16; 11] = [5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697];

fn lease_request(ends: Option<(u16, u16)>, preferred: Option<u16>) -> LeaseRequest {
    let mut request = LeaseRequest::default();
    request.occupancy.skip = true;
    request.preferred = preferred.map(port);
    (request.min, request.max) = ends.map(|(min, max)| (port(min), port(max))).unzip();
    request
}

/// No probes are made, so nothing on the machine matters although these are numbers of the default range.
#[test]
fn no_search_chooses_a_port_that_web_clients_refuse() {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    options.ports = Some(range(5000, 7000));
    let registry = Registry::open(options).unwrap();
    let everything = registry.lease_many(1990, &lease_request(None, None)).unwrap();
    assert!(everything.iter().all(|lease| !UNSAFE.contains(&lease.port().get())));
    let error = registry.lease(&lease_request(None, None)).unwrap_err();
    let Error::Exhausted { blockers, .. } = &error else { panic!("{error}") };
    assert_eq!((blockers.reserved, blockers.refused), (1990, 11));
    assert!(
        error.to_string().contains("exhausted: 1990 reserved, 11 refused by web clients after cleanup"),
        "{error}"
    );
    // By number, and where nothing else is asked for.
    assert_eq!(registry.lease(&lease_request(None, Some(6000))).unwrap().port(), port(6000));
    assert_eq!(registry.lease(&lease_request(Some((5060, 5061)), None)).unwrap().port(), port(5060));
    drop(everything);

    let mut neighbours = lease_request(Some((5058, 5063)), None);
    neighbours.contiguous = true;
    let ports =
        |leases: &[trop_core::Lease]| -> Vec<_> { leases.iter().map(|lease| lease.port().get()).collect() };
    let run = registry.lease_many(2, &neighbours).unwrap();
    assert_eq!(ports(&run), [5058, 5059]);
    drop(run);
    assert_eq!(code(registry.lease_many(3, &neighbours)), Code::Exhausted);
    neighbours.preferred = Some(port(5061));
    assert_eq!(ports(&registry.lease_many(2, &neighbours).unwrap()), [5061, 5062]);

    let explained = registry.explain(port(6000)).unwrap();
    assert!(explained.refused && explained.to_string().contains("by number"), "{explained}");
    assert!(!registry.explain(port(6001)).unwrap().refused);
}

/// Whatever has it bound, this test or another program.
#[test]
fn a_port_that_is_bound_counts_as_that_even_if_web_clients_refuse_it() {
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 10080));
    let scratch = Scratch::new();
    let mut options = RegistryOptions::default();
    options.data_dir = Some(scratch.dir());
    options.ports = Some(range(10079, 10080));
    options.excluded.insert(port(10079));
    let registry = Registry::open(options).unwrap();
    let counted = |skip| {
        let mut request = LeaseRequest::default();
        request.occupancy.skip = skip;
        let error = registry.lease(&request).unwrap_err();
        let Error::Exhausted { blockers, .. } = error else { panic!("{error}") };
        (blockers.excluded, blockers.occupied, blockers.refused)
    };
    assert_eq!((counted(false), counted(true)), ((1, 1, 0), (1, 0, 1)));
}

#[test]
fn ports_that_web_clients_refuse_are_chosen_where_that_is_said_not_to_matter() {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    options.ports = Some(range(5060, 5062));
    options.avoid_unsafe_ports = Some(false);
    let registry = Registry::open(options).unwrap();
    assert_eq!(registry.lease(&lease_request(None, None)).unwrap().port(), port(5060));
    assert!(!registry.explain(port(5060)).unwrap().refused);
}
