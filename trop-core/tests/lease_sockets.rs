//! Sockets on leased ports: kept from the kernel, given to the owner, waited for, and explained.
#![cfg(unix)]
#![allow(unsafe_code, reason = "system calls the standard library does not have")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use common::fork::{Gate, adopt_orphans, fork, join_orphan};
use common::{Process, Scratch, bind_plainly, code, free_ports, isolated_by, port, range, reserve, works};
use trop_core::{
    Code, Error, Holder, Lease, LeaseRequest, OccupancyPolicy, Port, Protocol, Registry, RegistryOptions,
    ScanRequest,
};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// Long enough for anything that is going to happen at all.
const LONG: Duration = Duration::from_secs(60);

/// One test after the other: probes at the same time see each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// With all probes, on ports nobody else uses.
fn probing(scratch: &Scratch, count: u16) -> Registry {
    let first = free_ports(count);
    let mut options: RegistryOptions = common::options(&scratch.dir());
    options.occupancy = OccupancyPolicy::default();
    options.ports = Some(range(first, first + count - 1));
    Registry::open(options).unwrap()
}

fn lease(registry: &Registry) -> Lease {
    registry.lease(&LeaseRequest::default()).unwrap()
}

fn held(registry: &Registry) -> Lease {
    let mut request = LeaseRequest::default();
    request.hold = true;
    registry.lease(&request).unwrap()
}

fn address(lease: &Lease) -> SocketAddr {
    (LOOPBACK, lease.port().get()).into()
}

#[test]
fn a_lease_obeys_the_occupancy_policy_and_the_exclusions() {
    let _alone = alone();
    let scratch = Scratch::new();
    let first = free_ports(4);
    let mut options = common::options(&scratch.dir());
    options.occupancy = OccupancyPolicy::default();
    options.ports = Some(range(first, first + 3));
    options.excluded.insert(port(first + 1));
    let registry = Registry::open(options).unwrap();
    let _bound = UdpSocket::bind((LOOPBACK, first)).unwrap();
    assert_eq!(lease(&registry).port().get(), first + 2);
    let mut request = LeaseRequest::default();
    for refused in [first, first + 1] {
        request.preferred = Some(port(refused));
        let given = registry.lease(&request).unwrap().port().get();
        assert!(given == first + 2 || given == first + 3, "{given}");
    }
    request.preferred = Some(port(first));
    request.occupancy.skip_udp = true;
    assert_eq!(registry.lease(&request).unwrap().port().get(), first);
    request = LeaseRequest::default();
    request.contiguous = true;
    assert_eq!(code(registry.lease_many(3, &request)), Code::Exhausted);
    assert_eq!(registry.lease_many(2, &request).unwrap()[0].port().get(), first + 2);
}

#[test]
#[cfg(target_os = "linux")]
fn a_held_port_is_bound_and_a_server_can_listen_on_it_once() {
    let _alone = alone();
    let scratch = Scratch::new();
    let registry = probing(&scratch, 4);
    let lease = held(&registry);
    let address = address(&lease);
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(bind_plainly(address).unwrap_err().kind(), ErrorKind::AddrInUse);
    let server = TcpListener::bind(address).unwrap();
    TcpStream::connect(address).unwrap();
    assert_eq!(TcpListener::bind(address).unwrap_err().kind(), ErrorKind::AddrInUse, "a second server");
    assert_eq!(code(lease.listen("127.0.0.1", 1)), Code::Io);
    drop(server);
    lease.close();
    // With the lease closed, nobody holds the port.
    let mut request = LeaseRequest::default();
    (request.hold, request.contiguous) = (true, true);
    let run = registry.lease_many(3, &request).unwrap();
    for lease in &run {
        assert_eq!(bind_plainly(self::address(lease)).unwrap_err().kind(), ErrorKind::AddrInUse);
    }
    drop(run);
    assert_eq!(registry.lease_many(4, &LeaseRequest::default()).unwrap().len(), 4, "all is free again");
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        let lease = held(&registry);
        let there = (Ipv6Addr::LOCALHOST, lease.port().get()).into();
        assert_eq!(bind_plainly(there).unwrap_err().kind(), ErrorKind::AddrInUse);
    }
}

/// With probes left out, the holding itself finds out who has a port.
#[test]
#[cfg(target_os = "linux")]
fn what_cannot_be_held_is_not_leased() {
    let _alone = alone();
    let scratch = Scratch::new();
    let registry = probing(&scratch, 3);
    let first = registry.configuration().ports.min().get();
    let _bound = bind_plainly((LOOPBACK, first).into()).unwrap();
    let mut request = LeaseRequest::default();
    (request.hold, request.occupancy.skip) = (true, true);
    assert_eq!(registry.lease(&request).unwrap().port().get(), first + 1);
    request.preferred = Some(port(first));
    assert_eq!(registry.lease(&request).unwrap().port().get(), first + 2);
    request.contiguous = true;
    assert_eq!(registry.lease_many(2, &request).unwrap()[0].port().get(), first + 1);
    assert_eq!(code(registry.lease_many(3, &request)), Code::Exhausted);
    for contiguous in [false, true] {
        (request.preferred, request.contiguous) = (None, contiguous);
        match registry.lease_many(3, &request).unwrap_err() {
            Error::Exhausted { blockers, .. } => {
                let counts = (blockers.reserved, blockers.excluded, blockers.occupied);
                // Ports of this very request count as reserved unless they are to be neighbours.
                assert_eq!(counts, (if contiguous { 0 } else { 2 }, 0, 1));
            }
            error => panic!("{error}"),
        }
    }
    assert_eq!(registry.leases().unwrap(), []);
}

/// In a network of its own where the kernel has a handful of ports to choose from, so that it runs out of
/// others.
#[test]
#[cfg(target_os = "linux")]
fn the_kernel_never_picks_a_held_port() {
    const NAME: &str = "the_kernel_never_picks_a_held_port";
    let _alone = alone();
    let script = "ip link set lo up 2>/dev/null; echo 40000 40007 > /proc/sys/net/ipv4/ip_local_port_range && exec \"$@\"";
    let launchers: [&[&str]; 2] = [&["unshare", "--net"], &["unshare", "--user", "--map-root-user", "--net"]];
    let setup = ["sh", "-c", script, "sh"];
    let whole = launchers.map(|launcher| [launcher, &setup].concat());
    // Inside, the range is the network's own.
    let Some(launcher) =
        whole.iter().find(|launcher| works(launcher[0], &[&launcher[1..], &["true"]].concat()))
    else {
        eprintln!("networks of one's own are not permitted here");
        return;
    };
    isolated_by(launcher, NAME, |scratch| {
        if TcpListener::bind((LOOPBACK, 0)).is_err() {
            eprintln!("there is no loopback address in a network of one's own");
            return;
        }
        let mut options = common::options(&scratch.dir());
        options.occupancy = OccupancyPolicy::default();
        options.ports = Some(range(40000, 40007));
        let registry = Registry::open(options).unwrap();
        let mut request = LeaseRequest::default();
        request.hold = true;
        let leases = registry.lease_many(6, &request).unwrap();
        let mut picked = Vec::new();
        while let Ok(listener) = TcpListener::bind((LOOPBACK, 0)) {
            picked.push(listener);
        }
        let ports: Vec<_> = picked.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert!(!ports.is_empty() && ports.iter().all(|port| *port > 40005), "{ports:?}");
        drop((picked, leases));
        TcpListener::bind((LOOPBACK, 0)).unwrap();

        // A connection that the kernel begins at the very port it leads to is answered by itself.
        let lease = lease(&registry);
        assert_eq!(code(lease.wait_listening(Duration::from_millis(500))), Code::NotListening);
    });
}

#[test]
fn a_socket_from_the_lease_is_the_callers() {
    let _alone = alone();
    let scratch = Scratch::new();
    let registry = probing(&scratch, 4);
    for lease in [lease(&registry), held(&registry)] {
        let address = address(&lease);
        let listener = lease.listen("127.0.0.1", 5).unwrap();
        assert_eq!(listener.local_addr().unwrap(), address);
        let client = TcpStream::connect(address).unwrap();
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
        assert_eq!(code(lease.listen("127.0.0.1", 5)), Code::Io, "one listens already");
        drop((listener, client));
        // Also beside the connection that is still being closed.
        drop(lease.listen("localhost", 0).unwrap());
        assert!(lease.is_open());
        let bound = lease.bind(Protocol::Tcp, "127.0.0.1").unwrap();
        bound.listen(1).unwrap();
        let datagrams = lease.bind(Protocol::Udp, "127.0.0.1").unwrap();
        assert_eq!(datagrams.local_addr().unwrap().as_socket().unwrap(), address);
        assert_eq!(code(lease.bind(Protocol::Udp, "127.0.0.1")), Code::Io);
        drop(bound);

        for host in ["", "no such host", "127.0.0.1\0", "999.1.1.1"] {
            let error = lease.listen(host, 1).unwrap_err();
            assert_eq!((error.code(), error.argument()), (Code::InvalidArgument, Some("host")), "{host:?}");
        }
        let error = lease.listen("127.0.0.1", -1).unwrap_err();
        assert_eq!((error.code(), error.argument()), (Code::InvalidArgument, Some("backlog")));
        // Not an address of this host (RFC 5737).
        assert_eq!(code(lease.listen("192.0.2.1", 1)), Code::Io);

        // The socket outlives the lease, and the lease ended.
        lease.close();
        assert_eq!(code(lease.listen("127.0.0.1", 1)), Code::Closed);
        assert_eq!(code(lease.bind(Protocol::Udp, "127.0.0.1")), Code::Closed);
        assert_eq!(code(lease.wait_listening(LONG)), Code::Closed);
        drop(datagrams);
    }
    let orphaned = lease(&registry);
    registry.close();
    assert_eq!(code(orphaned.listen("127.0.0.1", 1)), Code::Closed);
    assert_eq!(code(orphaned.wait_listening(LONG)), Code::Closed);
}

#[test]
fn waiting_for_ones_own_server() {
    let _alone = alone();
    let scratch = Scratch::new();
    let registry = probing(&scratch, 2);
    let lease = lease(&registry);
    let error = lease.wait_listening(Duration::ZERO).unwrap_err();
    assert_eq!(error.code(), Code::NotListening);
    assert!(error.to_string().contains("nothing accepted connections"), "{error}");
    assert_eq!(code(lease.wait_listening(Duration::from_millis(30))), Code::NotListening);
    // Bound and not listening is not enough.
    let bound = lease.bind(Protocol::Tcp, "127.0.0.1").unwrap();
    assert_eq!(code(lease.wait_listening(Duration::from_millis(30))), Code::NotListening);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lease.wait_listening(LONG));
        bound.listen(1).unwrap();
        waiting.join().unwrap().unwrap();
    });
    drop(bound);
    if let Ok(listener) = lease.listen("::1", 1) {
        lease.wait_listening(LONG).unwrap();
        drop(listener);
    }
    // Closed by another thread while one waits.
    thread::scope(|scope| {
        let waiting = scope.spawn(|| lease.wait_listening(Duration::MAX));
        lease.close();
        assert_eq!(code(waiting.join().unwrap()), Code::Closed);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn waiting_for_the_server_of_a_child_or_of_its_child() {
    let _alone = alone();
    common::isolated("waiting_for_the_server_of_a_child_or_of_its_child", |scratch| {
        adopt_orphans();
        let registry = probing(scratch, 2);
        let lease = lease(&registry);
        for generations in [1, 2] {
            let mut gate = Gate::new();
            let child = fork(|| {
                let mut serve = || {
                    let _listener = TcpListener::bind(address(&lease)).unwrap();
                    gate.wait();
                };
                if generations == 1 { serve() } else { fork(serve).join() }
            });
            lease.wait_listening(LONG).unwrap();
            gate.open();
            child.join();
        }
        // A forked child has the lease too: it may wait for a server of the parent's, or of its own.
        let listener = lease.listen("127.0.0.1", 5).unwrap();
        fork(|| lease.wait_listening(LONG).unwrap()).join();
        drop(listener);
        fork(|| {
            let _listener = lease.listen("127.0.0.1", 5).unwrap();
            lease.wait_listening(LONG).unwrap();
        })
        .join();

        // One whose parent has gone belongs to whoever looks after it now.
        let mut gate = Gate::new();
        fork(|| {
            fork(|| {
                let _listener = TcpListener::bind(address(&lease)).unwrap();
                gate.wait();
            });
        })
        .join();
        lease.wait_listening(LONG).unwrap();
        gate.open();
        join_orphan();
    });
}

fn foreign_server(lease: &Lease) -> Process {
    let script = format!(
        "import socket
server = socket.create_server(('127.0.0.1', {}))
say('listening')
sys.stdin.readline()",
        lease.port()
    );
    let memory = std::path::Path::new(":memory:");
    let mut server = Process::python(memory, &script);
    assert_eq!(server.hear(), "listening");
    server
}

#[test]
#[cfg(target_os = "linux")]
fn somebody_else_listens_on_the_leased_port() {
    const NAME: &str = "somebody_else_listens_on_the_leased_port";
    let _alone = alone();
    if common::role().as_deref() == Some("waiting") {
        // Not a descendant of the server's parent, nor the other way round.
        let first: u16 = common::hear().unwrap().parse().unwrap();
        let mut options = common::options(&trop_core::data_dir(None).unwrap());
        options.ports = Some(range(first, first));
        let registry = Registry::open(options).unwrap();
        let lease = lease(&registry);
        common::say("leased");
        common::hear();
        // At once: nobody waits for what somebody else has.
        let error = lease.wait_listening(Duration::MAX).unwrap_err();
        assert_eq!(error.code(), Code::NotListening);
        common::say(&error.to_string());
        process::exit(0);
    }
    let scratch = Scratch::new();
    let registry = probing(&scratch, 1);
    let lease = lease(&registry);
    let server = foreign_server(&lease);
    lease.close();
    let mut waiting = Process::start(NAME, "waiting", &scratch.dir());
    waiting.say(&lease.port().to_string());
    assert_eq!(waiting.hear(), "leased");
    waiting.say("wait");
    let told = waiting.hear();
    assert!(told.contains(&format!("process {} (", server.id())), "{told}");
    waiting.finish();

    let explained = registry.explain(lease.port()).unwrap();
    assert_eq!(explained.occupancy.owner.process_id, Some(server.id()));
    let json = explained.to_json();
    assert_eq!(
        (json["occupied"].as_bool(), json["process_id"].as_u64()),
        (Some(true), Some(server.id().into()))
    );
    server.unlock();
}

#[test]
fn each_kind_of_holder_is_explained() {
    let _alone = alone();
    let scratch = Scratch::new();
    let registry = probing(&scratch, 4);
    let range = registry.configuration().ports;
    let first = range.min().get();
    let text = |number: u16| registry.explain(port(number)).unwrap().to_string();
    let holds = |text: String, words: &[&str]| {
        for word in words {
            assert!(text.contains(word), "'{word}' is missing: {text}");
        }
    };

    holds(text(first), &["not reserved and not leased", "No program has port"]);
    let listener = TcpListener::bind((LOOPBACK, first)).unwrap();
    holds(
        text(first),
        &["not reserved", "It is bound (TCP IPv4", &format!("process {}", process::id()), "To get it"],
    );

    let mut request = LeaseRequest::default();
    request.label = Some("the web".to_owned());
    let lease = registry.lease(&request).unwrap();
    let number = lease.port().get();
    assert_eq!(number, first + 1);
    let owner = format!("process {}", process::id());
    holds(text(number), &["leased for 'the web'", &owner, "running", "No program has port"]);
    let json = registry.explain(port(number)).unwrap().to_json();
    assert_eq!((json["lease"]["state"].as_str(), json["occupied"].as_bool()), (Some("alive"), Some(false)));
    let socket = lease.listen("127.0.0.1", 1).unwrap();
    holds(text(number), &["leased", "It is bound", &owner]);

    reserve(&registry, "/w", "a").unwrap();
    holds(text(first + 2), &["reserved for '/w' with the tag 'a'", "release --port"]);
    holds(text(1), &["not reserved", "outside the port range"]);

    // What other programs write is shown, not executed, by a terminal.
    let unusual =
        "db.execute(\"UPDATE trop_owners SET command = 'a' || char(27) || '[31m' || char(10) || 'b'\")";
    common::python(&scratch.database(), unusual);
    let shown = text(number);
    assert!(shown.contains("\\u{1b}[31m\\nb") && !shown.contains('\u{1b}'), "{shown}");

    // An owner that nobody knows counts as dead.
    common::python(&scratch.database(), "db.execute('DELETE FROM trop_owners')");
    holds(text(number), &["was leased", "nobody knows", "ended"]);
    assert!(matches!(registry.holder(port(number)).unwrap(), Some(Holder::Lease(lease)) if !lease.alive));
    drop((socket, listener));
}

#[test]
fn a_scan_tells_leased_ports_from_others() {
    let _alone = alone();
    let scratch = Scratch::new();
    let registry = probing(&scratch, 2);
    let lease = lease(&registry);
    let other = registry.configuration().ports.max().get();
    let sockets = (lease.listen("127.0.0.1", 1).unwrap(), TcpListener::bind((LOOPBACK, other)).unwrap());
    let scan = || registry.scan(&ScanRequest::default()).unwrap().unreserved();
    assert_eq!(scan().iter().map(Port::get).collect::<Vec<_>>(), [other]);
    lease.close();
    assert_eq!(scan().iter().count(), 2);
    drop(sockets);
}
