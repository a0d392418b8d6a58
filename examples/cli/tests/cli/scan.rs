//! `scan` and what `port-info` tells about sockets.

use std::net::{TcpListener, UdpSocket};

use serde_json::{Value, json};

use crate::support::{Machine, Outcome, assert_failure, assert_syntax_error};

const HEADER: &str =
    "port,status,reserved,protocol,address_family,scope,address,process_id,process_name,user,owner_status";

fn number(port: u16) -> String {
    port.to_string()
}

/// Scans exactly one port.
fn scan(machine: &Machine, port: u16, more: &[&str]) -> Outcome {
    let port = number(port);
    machine.trop(["scan", "--min", &port, "--max", &port].iter().chain(more))
}

fn json_of(outcome: &Outcome) -> Vec<Value> {
    assert_eq!(outcome.code, 0, "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// Trap 100.
#[test]
fn an_occupied_port_is_a_record_with_its_owner() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let outcome = scan(&machine, port, &["--format", "json"]);
    let records = json_of(&outcome);
    assert_eq!(records.len(), 1, "{outcome:?}");
    let record = &records[0];
    let keys: Vec<_> = HEADER.split(',').collect();
    assert_eq!(record.as_object().unwrap().len(), keys.len());
    assert!(keys.iter().all(|key| record.get(key).is_some()), "{record}");
    assert_eq!(record["port"], port);
    assert_eq!(record["status"], "occupied");
    assert_eq!(record["reserved"], false);
    assert_eq!(record["protocol"], "tcp");
    assert_eq!(record["address_family"], "ipv4");
    assert_eq!(record["scope"], "localhost");
    assert_eq!(record["address"], "127.0.0.1");
    if cfg!(target_os = "linux") {
        assert_eq!(record["process_id"], std::process::id());
        assert!(record["process_name"].is_string(), "{record}");
        let complete = record["user"].is_string();
        assert_eq!(record["owner_status"], if complete { "available" } else { "partial" });
    }
    assert!(outcome.stderr.contains("1 port is occupied and not reserved"), "{outcome:?}");
    assert_eq!(outcome.stdout, scan(&machine, port, &["--format", "JSON"]).stdout);
}

/// Traps 102, 129.
#[test]
fn notes_are_silent_in_quiet_mode_and_the_result_stays() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let loud = scan(&machine, port, &[]);
    let quiet = scan(&machine, port, &["--quiet"]);
    assert_eq!((quiet.code, quiet.stderr.as_str()), (0, ""), "{quiet:?}");
    assert_eq!(quiet.stdout, loud.stdout);
    assert_ne!(loud.stderr, "");
}

#[test]
fn a_reserved_port_says_so_and_is_not_counted() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = number(listener.local_addr().unwrap().port());
    machine.trop(["list"]);
    machine.sql(&format!("INSERT INTO reservations VALUES ('/w', '', {port}, NULL, NULL, 1, 1)"));
    let outcome = machine.trop(["scan", "--min", &port, "--max", &port, "--format", "csv"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let expected = format!("{HEADER}\n{port},occupied (reserved),true,tcp,ipv4,localhost,127.0.0.1,");
    assert!(outcome.stdout.starts_with(&expected), "{outcome:?}");
    let tsv = machine.trop(["scan", "--min", &port, "--max", &port, "--format", "tsv"]);
    assert!(tsv.stdout.starts_with(&HEADER.replace(',', "\t")), "{tsv:?}");
    let table = machine.trop(["scan", "--min", &port, "--max", &port]);
    assert!(table.stdout.lines().next().unwrap().contains("Port"), "{table:?}");
    assert!(table.stdout.lines().nth(1).unwrap().starts_with(&port), "{table:?}");
}

/// Trap 93.
#[test]
fn each_flag_removes_its_own_probes_only() {
    let machine = Machine::new();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port();
    let count = |flags: &[&str]| {
        let flags: Vec<&str> = flags.iter().copied().chain(["--format", "json"]).collect();
        json_of(&scan(&machine, port, &flags)).len()
    };
    assert_eq!(count(&[]), 1);
    assert_eq!(count(&["--skip-tcp"]), 1);
    assert_eq!(count(&["--skip-ipv6"]), 1);
    assert_eq!(count(&["--skip-udp"]), 0);
    assert_eq!(count(&["--skip-ipv4"]), 0);
    assert_eq!(count(&["--skip-tcp", "--skip-udp"]), 0);
    assert_eq!(count(&["--check-all-interfaces"]), 2, "the wildcard address too");
    assert_syntax_error(&scan(&machine, port, &["--skip-occupancy-check"]));
}

#[test]
fn records_come_in_the_order_of_the_contract() {
    let machine = Machine::new();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = tcp.local_addr().unwrap().port();
    let Ok(_udp) = UdpSocket::bind(("127.0.0.1", port)) else { return };
    let Ok(_tcp6) = TcpListener::bind(("::1", port)) else { return };
    let outcome = scan(&machine, port, &["--format", "json", "--check-all-interfaces"]);
    let order: Vec<_> =
        json_of(&outcome).iter().map(|record| json!([record["protocol"], record["address"]])).collect();
    assert_eq!(
        order,
        [
            json!(["tcp", "127.0.0.1"]),
            json!(["udp", "127.0.0.1"]),
            json!(["tcp", "0.0.0.0"]),
            json!(["udp", "0.0.0.0"]),
            json!(["tcp", "::1"]),
            json!(["tcp", "::"]),
        ]
    );
}

#[test]
fn nothing_found_is_a_header_or_an_empty_array() {
    let machine = Machine::new();
    let off = ["scan", "--min", "20000", "--max", "20010", "--skip-tcp", "--skip-udp"];
    let with = |format: &str| {
        let outcome = machine.trop(off.iter().copied().chain(["--format", format]));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        outcome.stdout
    };
    assert_eq!(with("json"), "[]\n");
    assert_eq!(with("csv"), format!("{HEADER}\n"));
    assert!(with("table").starts_with("Port\t"));
}

/// Trap 92.
#[test]
fn the_highest_port_ends_the_scan() {
    let machine = Machine::new();
    let outcome = machine.trop(["scan", "--min", "65530", "--max", "65535", "--format", "json"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

#[test]
fn bad_ranges_are_refused() {
    let machine = Machine::new();
    for bad in ["0", "70000", "abc"] {
        assert_failure(&machine.trop(["scan", "--min", bad]), 4, &["Invalid", "port"]);
    }
    assert_failure(&machine.trop(["scan", "--min", "9000", "--max", "8000"]), 7, &["validation error"]);
    assert_failure(&machine.trop(["scan", "--min", "9000"]), 7, &["9000"]);
    assert!(!machine.database().exists());
}

#[test]
fn a_scan_needs_no_write_lock() {
    let machine = Machine::new();
    machine.trop(["list"]);
    let lock = machine.lock();
    let outcome = machine.trop(["--busy-timeout", "0", "scan", "--min", "20000", "--max", "20001"]);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    lock.release();
}

#[test]
fn port_info_tells_who_has_the_socket() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = number(listener.local_addr().unwrap().port());
    let outcome = machine.trop(["port-info", &port, "--include-occupancy"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    for token in [
        "not reserved\n\nOccupancy",
        "Port is currently in use\nTCP IPv4 localhost at 127.0.0.1\nProcess ID: ",
        "Process: ",
        "User: ",
        "Owner metadata: ",
    ] {
        assert!(outcome.stdout.contains(token), "{token}: {outcome:?}");
    }
    assert!(!outcome.stdout.contains("UDP"), "{outcome:?}");
    assert!(!machine.trop(["port-info", &port]).stdout.contains("Occupancy"));
}

/// Trap 98.
#[test]
fn port_info_tells_free_from_not_looked_at() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = number(listener.local_addr().unwrap().port());
    let with = |flags: &[&str]| {
        let outcome = machine.trop(["port-info", &port, "--include-occupancy"].iter().chain(flags));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stdout
    };
    assert!(with(&["--skip-tcp"]).contains("Port is free"));
    for off in
        [&["--skip-occupancy-check"][..], &["--skip-tcp", "--skip-udp"], &["--skip-ipv4", "--skip-ipv6"]]
    {
        let text = with(off);
        assert!(text.contains("switch every probe off") && !text.contains("free"), "{text}");
    }
}

#[test]
fn occupancy_flags_require_include_occupancy() {
    let machine = Machine::new();
    for flag in [
        "--skip-occupancy-check",
        "--skip-tcp",
        "--skip-udp",
        "--skip-ipv4",
        "--skip-ipv6",
        "--check-all-interfaces",
    ] {
        assert_syntax_error(&machine.trop(["port-info", "5000", flag]));
    }
    assert_failure(&machine.trop(["port-info", "0", "--include-occupancy"]), 4, &["Invalid", "port"]);
    assert_syntax_error(&machine.trop(["port-info", "65536", "--include-occupancy"]));
}
