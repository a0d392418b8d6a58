//! `scan`, and `port-info --include-occupancy`.

use std::net::{TcpListener, UdpSocket};

use serde_json::{Value, json};

use crate::support::{Machine, Outcome, Program, assert_failure, assert_syntax_error, run, text};

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

/// Trap 100 (an invented owner).
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

/// Traps 102 (a quiet scan has notes), 129 (notes in quiet mode).
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

/// The policy of files and variables counts, switched off as a whole too. Trap 98 (a policy of their own).
#[test]
fn the_effective_policy_is_that_of_every_look() {
    let machine = Machine::new();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = number(udp.local_addr().unwrap().port());
    let found = |flags: &[&str], variables: &[(&str, &str)]| {
        let mut command = machine.command(["scan", "--min", &port, "--max", &port, "--format", "json"]);
        let scanned = json_of(&run(command.args(flags).envs(variables.iter().copied()))).len();
        let mut command = machine.command(["port-info", &port, "--include-occupancy"]);
        let told = run(command.args(flags).envs(variables.iter().copied())).stdout;
        assert_eq!(told.contains("Port is currently in use"), scanned > 0, "{told}");
        (scanned, told.contains("switch every probe off"))
    };
    assert_eq!(found(&[], &[]), (1, false));
    for file in ["data/config.yaml", "work/trop.yaml", "work/trop.local.yaml"] {
        for (policy, expected) in [
            ("skip: true", (0, true)),
            ("skip_udp: true", (0, false)),
            ("skip_ip4: true", (0, false)),
            ("skip_tcp: true, skip_ip6: true", (1, false)),
            ("check_all_interfaces: true", (2, false)),
        ] {
            std::fs::write(machine.path(file), format!("occupancy_check: {{{policy}}}\n")).unwrap();
            assert_eq!(found(&[], &[]), expected, "{file}: {policy}");
        }
        // The variable has a higher priority; a flag adds one setting.
        assert_eq!(found(&["--skip-tcp"], &[]), (2, false), "{file}");
        assert_eq!(found(&[], &[("TROP_CHECK_ALL_INTERFACES", "no")]), (1, false), "{file}");
        std::fs::remove_file(machine.path(file)).unwrap();
    }
    assert_eq!(found(&[], &[("TROP_SKIP_OCCUPANCY_CHECK", "1")]), (0, true));
}

/// Trap 93 (a switch removes too many probes).
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
    let off = ["scan", "--min", "25900", "--max", "25910", "--skip-tcp", "--skip-udp"];
    let with = |format: &str| {
        let outcome = machine.trop(off.iter().copied().chain(["--format", format]));
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
        outcome.stdout
    };
    assert_eq!(with("json"), "[]\n");
    assert_eq!(with("csv"), format!("{HEADER}\n"));
    assert!(with("table").starts_with("Port\t"));
}

/// The name of a program is escaped in every format. Traps 127 (stored text drives the
/// terminal), 136 (no golden file).
#[cfg(target_os = "linux")]
#[test]
fn each_format_is_as_it_was() {
    let machine = Machine::new();
    let script = "import socket, sys\n\
         open('/proc/self/comm', 'w').write('e\\x1b[2J\\n\",\\tx)')\n\
         listener = socket.socket()\n\
         listener.bind(('127.0.0.1', 0))\n\
         listener.listen()\n\
         print(listener.getsockname()[1], flush=True)\n\
         sys.stdin.read()";
    let program = Program::start(script);
    let port = program.said().to_owned();
    let user = Program::start("import getpass\nprint(getpass.getuser())").said().to_owned();
    // Replace what differs from run to run.
    let stable = |outcome: Outcome| {
        assert_eq!(outcome.code, 0, "{outcome:?}");
        let text = outcome.stdout.replace(&port, "PORT").replace(&user, "USER");
        // A small number may be part of another one.
        [("\t", "\t"), (",", ","), (": ", ",\n"), (": ", "\n")].iter().fold(text, |text, (before, after)| {
            text.replace(&format!("{before}{}{after}", program.id()), &format!("{before}PID{after}"))
        })
    };
    for (format, golden) in [
        ("table", include_str!("../golden/scan.table")),
        ("json", include_str!("../golden/scan.json")),
        ("csv", include_str!("../golden/scan.csv")),
        ("tsv", include_str!("../golden/scan.tsv")),
    ] {
        let arguments = ["scan", "--min", &port, "--max", &port, "--quiet", "--format", format];
        assert_eq!(stable(machine.trop(arguments)), golden, "{format}");
    }
    let info = stable(machine.trop(["port-info", &port, "--include-occupancy"]));
    assert_eq!(info, include_str!("../golden/port-info.txt"));
    program.release();
}

/// The offset counts from the effective lower end, wherever that comes from. Trap 99 (the offset form is
/// forgotten).
#[test]
fn the_range_of_a_scan_may_be_given_by_its_offset() {
    let machine = Machine::without_range();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let found = |min: u16, arguments: &[&str]| {
        let ports = format!("ports: {{min: {min}, max_offset: 1}}\n");
        std::fs::write(machine.path("work/trop.yaml"), ports).unwrap();
        let range = ["scan", "--format", "json"];
        let records = json_of(&machine.trop(range.iter().chain(arguments)));
        records.iter().filter(|record| record["port"] == port).count()
    };
    let (below, above) = (number(port - 1), number(port + 1));
    assert_eq!(found(port - 1, &[]), 1);
    assert_eq!(found(port - 2, &[]), 0);
    assert_eq!(found(port - 2, &["--min", &below]), 1);
    assert_eq!(found(port - 2, &["--max", &above]), 1);
    assert_failure(
        &machine.trop(["scan", "--max", "1024"]),
        7,
        &[text(&machine.path("work/trop.yaml")), "max 1024 (command line)"],
    );
}

/// Trap 97 (one failing probe ends the look).
#[test]
fn ports_that_may_not_be_bound_are_doubts_and_end_nothing() {
    let file = "/proc/sys/net/ipv4/ip_unprivileged_port_start";
    let Some(first) = std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u16>().ok())
    else {
        return;
    };
    let Some(listener) = (first..first + 20).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok())
    else {
        return;
    };
    let bound = listener.local_addr().unwrap().port();
    let machine = Machine::new();
    if first < 3 {
        return; // Everybody may bind every port here.
    }
    let (low, high) = (number(first - 2), number(bound));
    let scan = |more: &[&str]| {
        let arguments = ["scan", "--min", &low, "--max", &high, "--skip-ipv6", "--format", "json"];
        run(&mut machine.as_nobody(arguments.iter().chain(more)))
    };
    let outcome = scan(&[]);
    let bound_ports: Vec<_> = json_of(&outcome).iter().map(|record| record["port"].clone()).collect();
    assert!(bound_ports.contains(&json!(bound)), "{outcome:?}");
    assert!(bound_ports.iter().all(|port| port.as_u64() >= Some(first.into())), "{outcome:?}");
    assert!(outcome.stderr.contains("4 probes could not tell"), "{outcome:?}");
    assert!(outcome.stderr.contains("Permission denied"), "{outcome:?}");
    let verbose = scan(&["--verbose"]);
    for doubt in [format!("TCP probe of 127.0.0.1:{low}"), format!("UDP probe of 127.0.0.1:{}", first - 1)] {
        let line = format!("Possibly occupied: {doubt} (IPv4 localhost): ");
        assert!(verbose.stderr.contains(&line), "{line}: {verbose:?}");
    }
    assert_eq!(verbose.stderr.matches("Possibly occupied: ").count(), 4, "{verbose:?}");
    assert_eq!(scan(&["--quiet"]).stderr, "");
    // `reserve` avoids these ports too, and names the reason if there are no others.
    let low = ["reserve", "--min", &low, "--max", &number(first - 1)].map(str::to_owned);
    assert_failure(&run(&mut machine.as_nobody(&low)), 6, &["exhausted", "TCP probe of 127.0.0.1:"]);
}

/// Trap 103 (a port promised to stay free).
#[test]
fn nothing_is_promised_about_the_next_moment() {
    let machine = Machine::new();
    let bound = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = number(bound.local_addr().unwrap().port());
    drop(bound);
    let info = machine.trop(["port-info", &free, "--include-occupancy"]).stdout;
    assert!(info.contains("free (nothing has it at this moment)"), "{info}");
    assert!(machine.trop(["scan", "--help"]).stdout.contains("may be bound before it is used"));
    let readme = include_str!("../../../../README.md");
    assert!(readme.contains("trop cannot prevent a program that does not use it from binding the port"));
}

/// Trap 92 (overflow at the highest port).
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
    assert_failure(&machine.trop(["scan", "--min", "26000"]), 7, &["26000"]);
    assert!(!machine.database().exists());
}

#[test]
fn a_scan_needs_no_write_lock() {
    let machine = Machine::new();
    machine.trop(["list"]);
    let lock = machine.lock();
    let outcome = machine.trop(["--busy-timeout", "0", "scan", "--min", "25900", "--max", "25901"]);
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

/// Trap 98 (a policy of their own).
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
