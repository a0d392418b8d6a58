//! What counts as in use: servers on any address, closing connections, bound sockets, and who is asked.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "the tests of this file use common/, which makes system calls")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Mutex, MutexGuard, PoisonError};

use common::{
    Scratch, code, filter_system_call, free_ports, isolated, isolated_by, port, range, reserve, works,
};
use socket2::{Domain, Socket, Type};
use trop_core::{
    Code, Error, LeaseRequest, OccupancyPolicy, Port, Refusal, Registry, RegistryOptions, ReserveRequest,
    ScanRequest, Verdict,
};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const OTHER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// One test after the other: probes at the same time see each other.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A registry that makes all probes in a range of its own.
fn probing(scratch: &Scratch, count: u16) -> (Registry, u16) {
    let first = free_ports(count);
    let mut options: RegistryOptions = common::options(&scratch.dir());
    options.occupancy = OccupancyPolicy::default();
    options.ports = Some(range(first, first + count - 1));
    (Registry::open(options).unwrap(), first)
}

fn lease_of(preferred: Option<u16>) -> LeaseRequest {
    let mut request = LeaseRequest::default();
    request.preferred = preferred.map(port);
    request
}

/// The port of a lease from the same range in a registry of its own, where every number has rested.
fn leased(registry: &Registry, request: &LeaseRequest) -> u16 {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    (options.occupancy, options.ports) = (OccupancyPolicy::default(), Some(registry.configuration().ports));
    Registry::open(options).unwrap().lease(request).unwrap().port().get()
}

fn wished(tag: &str, preferred: u16) -> ReserveRequest {
    let mut request = common::request("/p", tag);
    request.preferred = Some(port(preferred));
    request
}

/// Serves one client on a port and closes first, as HTTP/1.0 servers do: it is closing then.
fn use_up(address: impl Into<IpAddr>, number: u16) {
    let address = SocketAddr::new(address.into(), number);
    let listener = TcpListener::bind(address).unwrap();
    let mut client = TcpStream::connect(address).unwrap();
    drop(listener.accept().unwrap());
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

/// Bound with `SO_REUSEADDR` and not listening, as a server is for a moment.
fn bind_with_reuse(number: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&SocketAddr::from((LOOPBACK, number)).into()).unwrap();
    socket
}

/// Whether the kernel tells which sockets are bound (Linux 6.8); else no port counts as closing.
fn kernel_tells() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    let is_new = (numbers.next(), numbers.next()) >= (Some(6), Some(8));
    if !is_new {
        eprintln!("this kernel does not tell which sockets are bound");
    }
    is_new
}

#[test]
fn a_server_on_any_address_is_in_the_way_of_a_lease() {
    let _alone = alone();
    let scratch = Scratch::new();
    let (registry, first) = probing(&scratch, 3);
    let addresses: [IpAddr; 4] = [
        Ipv4Addr::UNSPECIFIED.into(),
        Ipv6Addr::UNSPECIFIED.into(),
        OTHER.into(),
        Ipv6Addr::LOCALHOST.into(),
    ];
    for address in addresses {
        let Ok(server) = TcpListener::bind((address, first)) else {
            eprintln!("{address} cannot be bound here");
            continue;
        };
        assert_eq!(leased(&registry, &lease_of(None)), first + 1, "{address}");
        assert_eq!(leased(&registry, &lease_of(Some(first))), first + 1, "{address}");
        drop(server);
        let Ok(datagrams) = UdpSocket::bind((address, first)) else { continue };
        assert_eq!(leased(&registry, &lease_of(None)), first + 1, "{address}, UDP");
        drop(datagrams);
        assert_eq!(leased(&registry, &lease_of(None)), first, "{address}, afterwards");
    }
    // A reservation looks at loopback only, unless it is told otherwise, and a lease if it is told to.
    let _server = TcpListener::bind((OTHER, first)).unwrap();
    let mut everywhere = common::request("/p", "everywhere");
    everywhere.occupancy.check_all_interfaces = Some(true);
    assert_eq!(registry.reserve(&everywhere).unwrap().reservation.port.get(), first + 1);
    let mut loopback = LeaseRequest::default();
    loopback.occupancy.check_all_interfaces = Some(false);
    assert_eq!(leased(&registry, &loopback), first);
    assert_eq!(reserve(&registry, "/p", "web").unwrap(), first);

    let mut options = common::options(&scratch.dir());
    (options.occupancy, options.ports) = (OccupancyPolicy::default(), Some(registry.configuration().ports));
    options.occupancy.check_all_interfaces = Some(false);
    let configured = Registry::open(options).unwrap();
    let _other = TcpListener::bind((OTHER, first + 2)).unwrap();
    let lease = configured.lease(&LeaseRequest::default()).unwrap();
    assert_eq!(lease.port().get(), first + 2, "as the registry says");
    drop(lease);
    let mut everywhere = LeaseRequest::default();
    everywhere.min = Some(port(first + 2));
    everywhere.occupancy.check_all_interfaces = Some(true);
    assert_eq!(code(configured.lease(&everywhere)), Code::Exhausted, "as the request says");
}

#[test]
fn whoever_wishes_for_a_closing_port_gets_it_and_a_search_prefers_others() {
    let _alone = alone();
    if !kernel_tells() {
        return;
    }
    let scratch = Scratch::new();
    let (registry, first) = probing(&scratch, 4);
    use_up(LOOPBACK, first);
    assert_eq!(leased(&registry, &lease_of(None)), first + 1);
    assert_eq!(reserve(&registry, "/p", "search").unwrap(), first + 1);
    assert_eq!(leased(&registry, &lease_of(Some(first))), first);
    let reserved = registry.reserve(&wished("wish", first)).unwrap();
    assert_eq!((reserved.reservation.port.get(), reserved.refusal), (first, None));
    common::release(&registry, "/p", "wish").unwrap();

    // Neighbours: clean ones, else closing ones among them.
    let mut neighbours = LeaseRequest::default();
    neighbours.contiguous = true;
    common::release(&registry, "/p", "search").unwrap();
    let run = |count| registry.lease_many(count, &neighbours).unwrap()[0].port().get();
    assert_eq!((run(3), run(4)), (first + 1, first));
    // They are counted when neighbours cannot be had.
    let _server = TcpListener::bind((LOOPBACK, first + 3)).unwrap();
    let error = registry.lease_many(4, &neighbours).unwrap_err();
    let Error::Exhausted { blockers, .. } = &error else { panic!("{error}") };
    assert_eq!((blockers.occupied, blockers.closing), (1, 1));
    let text = error.to_string();
    assert!(text.contains("exhausted: 1 occupied, 1 closing; there are no 4 neighbours"), "{text}");

    // Where there are no others, the lowest is given out.
    for number in [first + 1, first + 2] {
        use_up(LOOPBACK, number);
    }
    assert_eq!(leased(&registry, &lease_of(None)), first);
    assert_eq!(reserve(&registry, "/p", "last").unwrap(), first);
    assert_eq!(reserve(&registry, "/p", "next").unwrap(), first + 1);
}

#[test]
fn a_group_gets_the_closing_ports_it_prefers() {
    let _alone = alone();
    if !kernel_tells() {
        return;
    }
    let scratch = Scratch::new();
    let (registry, first) = probing(&scratch, 6);
    let file = scratch.root().join("trop.yaml");
    let write = |preferred: &str| {
        let text =
            format!("reservations: {{services: {{web: {{offset: 0{preferred}}}, api: {{offset: 1}}}}}}\n");
        fs::write(&file, text).unwrap();
    };
    let ports = || {
        let mut request = trop_core::GroupRequest::default();
        request.file = Some(file.clone());
        let group = registry.dry_run().unwrap().reserve_group(&request).unwrap();
        group.members.iter().map(|member| member.port().get()).collect::<Vec<_>>()
    };
    use_up(LOOPBACK, first + 1);
    write(&format!(", preferred: {}", first + 1));
    assert_eq!(ports(), [first + 2, first + 1], "by tag: the api, then the web");
    write("");
    assert_eq!(ports(), [first + 3, first + 2], "from the lowest base without it");
}

#[test]
fn a_search_ends_at_many_closing_ports() {
    let _alone = alone();
    if !kernel_tells() {
        return;
    }
    let scratch = Scratch::new();
    let (registry, first) = probing(&scratch, 34);
    for number in first..first + 31 {
        use_up(LOOPBACK, number);
    }
    assert_eq!(leased(&registry, &lease_of(None)), first + 31);
    use_up(LOOPBACK, first + 31);
    assert_eq!(leased(&registry, &lease_of(None)), first, "after 32 it takes the first");
    assert_eq!(reserve(&registry, "/p", "a").unwrap(), first, "for a reservation too");
    assert_eq!(reserve(&registry, "/p", "b").unwrap(), first + 32, "after 31 it does not");
}

/// Trap 95 (address reuse hides the owner).
#[test]
fn a_bound_socket_that_does_not_listen_keeps_its_port() {
    let _alone = alone();
    let scratch = Scratch::new();
    let (registry, first) = probing(&scratch, 2);
    // Also beside connections that are being closed.
    use_up(LOOPBACK, first);
    let _bound = bind_with_reuse(first);
    let datagrams = UdpSocket::bind((LOOPBACK, first + 1)).unwrap();
    for request in [lease_of(None), lease_of(Some(first))] {
        let error = registry.lease(&request).unwrap_err();
        let Error::Exhausted { blockers, .. } = &error else { panic!("{error}") };
        assert_eq!((blockers.occupied, blockers.closing), (2, 0));
    }
    drop(datagrams);
    assert_eq!(leased(&registry, &lease_of(Some(first))), first + 1);
    let reserved = registry.reserve(&wished("a", first)).unwrap();
    assert_eq!((reserved.reservation.port.get(), reserved.refusal), (first + 1, Some(Refusal::Occupied)));
    if kernel_tells() {
        assert!(registry.explain(port(first)).unwrap().is_occupied());
        assert_eq!(registry.scan(&ScanRequest::default()).unwrap().unreserved().iter().count(), 1);
    }
}

#[test]
fn closing_ports_are_told_from_ports_that_somebody_has() {
    let _alone = alone();
    if !kernel_tells() {
        return;
    }
    let scratch = Scratch::new();
    let (registry, first) = probing(&scratch, 3);
    use_up(LOOPBACK, first);
    let _server = TcpListener::bind((LOOPBACK, first + 1)).unwrap();
    let explained = registry.explain(port(first)).unwrap();
    assert!(explained.is_closing() && !explained.is_occupied(), "{explained}");
    let text = explained.to_string();
    assert!(
        text.contains("closing, for up to 60 s; a server that sets SO_REUSEADDR can use it now"),
        "{text}"
    );
    assert!(!text.contains("bound") && !text.contains("process"), "{text}");
    let free = registry.explain(port(first + 2)).unwrap();
    assert!(!free.is_closing() && !free.is_occupied(), "{free}");
    assert!(registry.explain(port(first + 1)).unwrap().is_occupied());

    let scan = registry.scan(&ScanRequest::default()).unwrap();
    let found: Vec<_> = scan.findings.iter().map(|finding| (finding.port.get(), finding.status())).collect();
    assert_eq!(found, [(first, "closing"), (first + 1, "occupied")]);
    assert_eq!(scan.unreserved().iter().map(Port::get).collect::<Vec<_>>(), [first + 1]);
    if TcpListener::bind((Ipv6Addr::LOCALHOST, first + 2)).is_ok() {
        use_up(Ipv6Addr::LOCALHOST, first + 2);
        assert!(registry.explain(port(first + 2)).unwrap().is_closing());
    }
}

#[test]
fn a_scan_tells_which_ports_web_clients_refuse() {
    let scratch = Scratch::new();
    let mut options = common::options(&scratch.dir());
    options.ports = Some(range(6664, 6670));
    let refused = |options: &RegistryOptions| {
        let registry = Registry::open(options.clone()).unwrap();
        let scan = registry.scan(&ScanRequest::default()).unwrap();
        scan.refused.iter().map(Port::get).collect::<Vec<_>>()
    };
    assert_eq!(refused(&options), [6665, 6666, 6667, 6668, 6669]);
    options.avoid_unsafe_ports = Some(false);
    assert_eq!(refused(&options), [0_u16; 0]);
}

/// Other programs are in the way, so nothing is gained by removing reservations; with one of them in the way
/// it is.
#[test]
fn a_lease_cleans_up_only_if_reservations_are_in_the_way() {
    let _alone = alone();
    let scratch = Scratch::new();
    let (registry, first) = probing(&scratch, 3);
    let mut elsewhere = common::request("/missing", "stale");
    (elsewhere.min, elsewhere.max) = (Some(port(first + 2)), Some(port(first + 2)));
    registry.reserve(&elsewhere).unwrap();
    let _servers = [first, first + 1].map(|number| TcpListener::bind((OTHER, number)).unwrap());
    let mut request = LeaseRequest::default();
    (request.min, request.max) = (Some(port(first)), Some(port(first + 1)));
    let text = registry.lease(&request).unwrap_err().to_string();
    assert!(text.contains("exhausted: 2 occupied; widen"), "{text}");
    assert!(!text.contains("cleanup") && !text.contains("disabled"), "{text}");
    assert_eq!(common::listed(&registry).len(), 1);
    request.max = Some(port(first + 2));
    let lease = registry.lease(&request).unwrap();
    assert_eq!(lease.port().get(), first + 2);
    assert_eq!(common::listed(&registry), []);
}

/// The contract asks `explain` and the like not to disturb anybody by binding, and sandboxes may forbid even
/// to ask the kernel.
#[test]
fn the_kernel_is_asked_and_nothing_is_bound_to_explain() {
    let _alone = alone();
    if !kernel_tells() {
        return;
    }
    isolated("the_kernel_is_asked_and_nothing_is_bound_to_explain", |scratch| {
        let (registry, first) = probing(scratch, 2);
        let _server = TcpListener::bind((LOOPBACK, first)).unwrap();
        filter_system_call(libc::SYS_bind, None, libc::SECCOMP_RET_ERRNO | libc::EIO.cast_unsigned());
        TcpListener::bind((LOOPBACK, first + 1)).unwrap_err();
        assert!(registry.explain(port(first)).unwrap().is_occupied());
        let free = registry.port_occupancy(port(first + 1));
        assert!(free.probes.iter().all(|(_, verdict)| *verdict == Verdict::Free), "{free:?}");
    });
}

#[test]
fn where_the_kernel_may_not_be_asked_ports_are_probed() {
    let _alone = alone();
    isolated("where_the_kernel_may_not_be_asked_ports_are_probed", |scratch| {
        let netlink = (0, libc::AF_NETLINK.cast_unsigned());
        filter_system_call(
            libc::SYS_socket,
            Some(netlink),
            libc::SECCOMP_RET_ERRNO | libc::EACCES.cast_unsigned(),
        );
        let (registry, first) = probing(scratch, 8);
        let _servers: Vec<_> =
            (first..first + 5).map(|number| TcpListener::bind((LOOPBACK, number)).unwrap()).collect();
        use_up(LOOPBACK, first + 5);
        // Nobody tells whether a server is about to listen there.
        assert_eq!(leased(&registry, &lease_of(None)), first + 6);
        assert_eq!(leased(&registry, &lease_of(Some(first + 5))), first + 6);
        assert!(registry.explain(port(first)).unwrap().is_occupied());
        assert!(registry.explain(port(first + 5)).unwrap().is_occupied());
        assert!(!registry.explain(port(first + 6)).unwrap().is_occupied());
    });
}

/// With IPv6 switched off for the network, as by `sysctl net.ipv6.conf.all.disable_ipv6=1`.
#[test]
fn a_network_without_ipv6_leases() {
    const NAME: &str = "a_network_without_ipv6_leases";
    let _alone = alone();
    let script = "ip link set lo up && echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && exec \"$@\"";
    let launcher = ["unshare", "--net", "sh", "-c", script, "sh"];
    if !works(launcher[0], &[&launcher[1..], &["true"]].concat()) {
        eprintln!("networks of one's own are not permitted here");
        return;
    }
    isolated_by(&launcher, NAME, |scratch| {
        assert!(TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err());
        let (registry, first) = probing(scratch, 3);
        assert_eq!(leased(&registry, &lease_of(None)), first);
        let _server = TcpListener::bind((OTHER, first)).unwrap();
        let _datagrams = UdpSocket::bind((LOOPBACK, first + 1)).unwrap();
        assert_eq!(leased(&registry, &lease_of(None)), first + 2);
        assert_eq!(reserve(&registry, "/p", "a").unwrap(), first);
    });
}
