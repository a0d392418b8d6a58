//! Overwriting, the ignore flags, force, exhausted ranges, and dry runs of `reserve`.

use std::fs;
use std::net::{TcpListener, UdpSocket};

use serde_json::Value;

use crate::support::{Machine, Outcome, port, run, text};

const SKIP: &str = "--skip-occupancy-check";

fn created(machine: &Machine, port: u16) -> Value {
    let rows = machine.rows();
    rows.iter().find(|row| row["port"] == port).unwrap()["created_at"].clone()
}

fn age(machine: &Machine) {
    machine.sql("UPDATE reservations SET created_at = 1000");
}

/// Traps 28 (a flag does nothing), 35 (overwriting forgets its own port), 36 (a wish moves a key).
#[test]
fn overwriting_takes_the_preferred_or_lowest_port_and_keeps_the_creation() {
    let machine = Machine::new();
    let range = ["--min", "25000", "--max", "25003", SKIP];
    let reserve = |extra: &[&str]| machine.reserve(range.iter().chain(extra));
    assert_eq!(reserve(&["--tag", "low"]), 25000);
    assert_eq!(reserve(&[]), 25001);
    age(&machine);
    let ask = machine.trop(["reserve", "--port", "25003"]);
    assert_eq!(port(&ask), 25001, "a wish moves nobody");
    assert_eq!(reserve(&["--overwrite"]), 25001, "its own port is a candidate");
    assert_eq!(reserve(&["--overwrite", "--port", "25001"]), 25001);
    assert_eq!(reserve(&["--overwrite", "--port", "25003"]), 25003);
    assert_eq!(created(&machine, 25003), "1970-01-01 00:16:40");
    machine.trop(["release", "--tag", "low"]);
    assert_eq!(reserve(&["--force"]), 25000, "the lowest candidate");
    assert_eq!(created(&machine, 25000), "1970-01-01 00:16:40");
    assert_eq!(machine.reserve(["--min", "25003", "--max", "25003", SKIP]), 25000, "the range moved");
    assert_eq!(machine.rows().len(), 1);
}

/// What became of its port later moves no key, and no probe is made for it. Trap 36 (a wish moves a key).
#[test]
fn an_existing_key_keeps_a_port_that_is_bound_excluded_and_out_of_range() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port();
    let ends = own.to_string();
    assert_eq!(machine.reserve(["--min", &ends, "--max", &ends, SKIP]), own);
    age(&machine);
    machine.sql("UPDATE reservations SET last_used_at = 2000");
    fs::write(machine.path("work/trop.yaml"), format!("excluded_ports: [{own}]\n")).unwrap();
    // Quiet, because this test program has the port and works elsewhere.
    assert_eq!(machine.reserve(["--min", "25000", "--max", "25001", "--quiet"]), own);
    assert_eq!(port(&machine.trop(["reserve", "--port", "25000", "--ignore-occupied"])), own);
    assert_eq!(created(&machine, own), "1970-01-01 00:16:40");
    assert_ne!(machine.rows()[0]["last_used_at"], "1970-01-01 00:33:20", "refreshed");
}

#[test]
fn an_overwrite_that_finds_nothing_leaves_the_row() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = listener.local_addr().unwrap().port().to_string();
    machine.reserve(["--min", &own, "--max", &own, SKIP]);
    age(&machine);
    let before = fs::metadata(machine.database()).unwrap().len();
    let only = ["reserve", "--overwrite", "--min", &own, "--max", &own];
    machine.refuses(6, &["exhausted", "remaining blockers after the single retry: occupied"], only);
    machine.refuses(6, &["exhausted"], only.iter().chain(&["--dry-run"]));
    assert_eq!(fs::metadata(machine.database()).unwrap().len(), before);
}

/// Trap 34 (force takes another key's port).
#[test]
fn force_never_takes_another_keys_port_or_leaves_the_range() {
    let machine = Machine::new();
    let range = ["--min", "25100", "--max", "25101", SKIP];
    machine.reserve(range.iter().chain(&["--tag", "other"]));
    let outcome = run(machine.command(["reserve", "--force", "--port", "25100"]).args(range));
    assert_eq!(port(&outcome), 25101);
    assert!(outcome.stderr.contains("another path or tag has it"), "{outcome:?}");
    let outcome = run(machine.command(["reserve", "--force", "--port", "25102"]).args(range));
    assert_eq!(port(&outcome), 25101);
    assert!(outcome.stderr.contains("outside the port range"), "{outcome:?}");
    assert_eq!(machine.rows().len(), 2);
    let more = ["reserve", "--force", "--port", "25100", "--tag", "more"];
    machine.refuses(6, &["exhausted", "2 reserved"], more.iter().chain(&range));
}

/// Traps 28 (a flag does nothing), 33 (one ignore flag does more), 93 (a switch removes too many probes).
#[test]
fn a_preferred_port_in_use_can_be_had_by_asking() {
    let machine = Machine::new();
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    let used = listener.local_addr().unwrap().port();
    let wish = used.to_string();
    let range = ["--min", "1024", "--max", "65535", "--port", &wish, "--tag"];
    let ask = |tag: &str, extra: &[&str]| -> Outcome {
        run(machine.command(["reserve"]).args(range).arg(tag).args(extra))
    };
    assert_ne!(port(&ask("a", &[])), used);
    assert_ne!(port(&ask("b", &["--ignore-exclusions"])), used);
    assert_ne!(port(&ask("c", &["--skip-tcp", "--skip-ipv6", "--check-all-interfaces"])), used);
    for flags in [
        &["--ignore-occupied"][..],
        &["--force"],
        &[SKIP],
        &["--skip-udp", "--skip-ipv6"],
        &["--skip-ipv4"],
        &["--skip-udp", "--skip-tcp"],
    ] {
        assert_eq!(port(&ask("d", flags)), used, "{flags:?}");
        assert_eq!(machine.trop(["release", "--tag", "d"]).code, 0);
    }
}

/// Three stale rows fill the range: a missing directory, an old one, and one that stays.
fn full() -> Machine {
    let machine = Machine::new();
    let gone = machine.directory("work/gone");
    for (path, tag) in [("gone", "x"), (".", "old"), (".", "kept")] {
        machine.reserve(["--path", path, "--tag", tag, "--min", "25200", "--max", "25202", SKIP]);
    }
    fs::remove_dir(gone).unwrap();
    machine.sql("UPDATE reservations SET last_used_at = 1000, created_at = 900 WHERE tag = 'old'");
    machine
}

const FULL: [&str; 8] = ["reserve", "--min", "25200", "--max", "25202", SKIP, "--tag", "new"];

/// Trap 37 (no single, whole clean-up).
#[test]
fn an_exhausted_range_is_cleaned_up_and_tried_once_more() {
    let machine = full();
    let preferred = FULL.iter().chain(&["--port", "25201"]);
    let dry = machine.trop(preferred.clone().chain(&["--dry-run"]));
    assert!(dry.stderr.contains("Dry run: would reserve port 25201"), "{dry:?}");
    assert!(dry.stderr.contains("Automatic cleanup"), "{dry:?}");
    assert_eq!(machine.rows().len(), 3);
    let outcome = machine.trop(preferred);
    assert_eq!(port(&outcome), 25201, "the preferred port is tried again");
    assert!(outcome.stderr.contains("Automatic cleanup"), "{outcome:?}");
    assert!(outcome.stderr.contains("1 pruned and 1 expired"), "{outcome:?}");
    let tags: Vec<_> = machine.rows().iter().map(|row| row["tag"].as_str().unwrap().to_owned()).collect();
    assert_eq!(tags, ["kept", "new"]);
    let quiet = run(full().command(FULL).arg("--quiet"));
    assert_eq!((port(&quiet), quiet.stderr.as_str()), (25200, ""));
}

/// Traps 28 (a flag does nothing), 38 (clean-up switches as flags only).
#[test]
fn each_half_of_the_cleanup_can_be_switched_off() {
    for force in [&[][..], &["--force"]] {
        for (flags, expected, left) in [
            (&["--disable-autoprune"][..], 25201, ["new", "kept", "x"]),
            (&["--disable-autoexpire"], 25200, ["kept", "new", "old"]),
        ] {
            let machine = full();
            let outcome = run(machine.command(FULL).args(flags).args(force));
            assert_eq!(port(&outcome), expected, "{outcome:?}");
            let mut tags: Vec<_> =
                machine.rows().iter().map(|row| row["tag"].as_str().unwrap().to_owned()).collect();
            let mut left = left;
            tags.sort();
            left.sort_unstable();
            assert_eq!(tags, left);
        }
        for flags in [&["--disable-autoprune", "--disable-autoexpire"][..], &["--disable-autoclean"]] {
            let machine = full();
            let arguments = || FULL.iter().chain(flags).chain(force);
            let tokens = ["port range", "exhausted", "automatic pruning and expiration disabled", "widen"];
            machine.refuses(6, &tokens, arguments());
            assert!(!machine.trop(arguments()).stderr.contains("after cleanup"));
        }
    }
}

/// Traps 38 (clean-up switches as flags only), 70 (commands read different sources), 71 (a setting as a flag
/// only).
#[test]
fn the_switches_of_the_cleanup_come_from_every_source() {
    let force = |force: bool| FULL.into_iter().chain(force.then_some("--force"));
    for file in ["data/config.yaml", "work/trop.yaml", "work/trop.local.yaml"] {
        for forced in [false, true] {
            let machine = full();
            let write = |text: &str| fs::write(machine.path(file), text).unwrap();
            write("disable_autoprune: true\ndisable_autoexpire: true\n");
            machine.refuses(6, &["exhausted", "automatic pruning and expiration disabled"], force(forced));
            // One setting the other way, from a source with a higher priority.
            let mut command = machine.command(force(forced));
            assert_eq!(port(&run(command.env("TROP_DISABLE_AUTOEXPIRE", "false"))), 25201, "{file}");
        }
        let machine = full();
        fs::write(machine.path(file), "cleanup: {expire_after_days: 4294967295}\ndisable_autoprune: true\n")
            .unwrap();
        machine.refuses(6, &["after cleanup", "automatic pruning disabled"], FULL);
        let mut command = machine.command(FULL);
        assert_eq!(port(&run(command.env("TROP_EXPIRE_AFTER_DAYS", "30"))), 25201, "{file}");
    }
    for variable in ["TROP_DISABLE_AUTOPRUNE", "TROP_DISABLE_AUTOEXPIRE"] {
        let machine = full();
        let half = machine.command(FULL).env(variable, "1").output().unwrap();
        let expected = if variable.ends_with("PRUNE") { 25201 } else { 25200 };
        assert_eq!(port(&half.into()), expected, "{variable}");
    }
    let machine = full();
    let mut command = machine.command(force(true));
    command.env("TROP_DISABLE_AUTOPRUNE", "1").env("TROP_DISABLE_AUTOEXPIRE", "1");
    machine.refuses_command(6, &["automatic pruning and expiration disabled"], &mut command);
}

/// Traps 70 (commands read different sources), 71 (a setting as a flag only), 75 (one probe switch resets the
/// others).
#[test]
fn what_is_probed_and_permitted_comes_from_every_source() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let used = socket.local_addr().unwrap().port().to_string();
    let reserve = ["reserve", "--min", &used, "--max", &used];
    for file in ["data/config.yaml", "work/trop.yaml", "work/trop.local.yaml"] {
        let machine = Machine::new();
        machine.reserve(["--project", "shop", "--task", "cart", SKIP, "--tag", "sticky"]);
        let write = |text: &str| fs::write(machine.path(file), text).unwrap();
        write("occupancy_check: {skip_udp: true}\n");
        // A different setting from the command line leaves this one as it is.
        machine.reserve(reserve[1..].iter().chain(&["--skip-ipv6"]));
        assert_eq!(machine.trop(["release", "--untagged-only"]).code, 0);
        let mut command = machine.command(reserve);
        machine.refuses_command(6, &["exhausted"], command.env("TROP_SKIP_UDP", "off"));
        for leaf in ["skip", "skip_ip4"] {
            write(&format!("occupancy_check: {{{leaf}: true}}\n"));
            machine.reserve(&reserve[1..]);
            assert_eq!(machine.trop(["release", "--untagged-only"]).code, 0);
        }
        let sticky = |field: &'static str| ["reserve", "--tag", "sticky", field, "other"];
        write("allow_change_project: true\n");
        machine.refuses(1, &["sticky field 'task'"], sticky("--task"));
        assert_eq!(machine.trop(sticky("--project")).code, 0);
        write("allow_change_task: true\n");
        machine.refuses(1, &["sticky field 'project'"], ["reserve", "--tag", "sticky", "--clear-project"]);
        assert_eq!(machine.trop(sticky("--task")).code, 0);
        write("allow_change: true\n");
        machine.reserve(["--tag", "sticky", "--clear-project", "--clear-task"]);
        let mut command = machine.command(sticky("--project"));
        machine.refuses_command(1, &["sticky field 'project'"], command.env("TROP_ALLOW_CHANGE", "0"));
    }
}

/// Trap 37 (no single, whole clean-up).
#[test]
fn a_cleanup_that_does_not_help_is_undone() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let used = listener.local_addr().unwrap().port().to_string();
    let gone = machine.directory("work/gone");
    machine.reserve(["--path", "gone", "--min", &used, "--max", &used, SKIP]);
    fs::remove_dir(gone).unwrap();
    let only = ["reserve", "--min", &used, "--max", &used];
    for extra in [&[][..], &["--force"], &["--port", &used]] {
        let tokens = ["after cleanup", "remaining blockers after the single retry: occupied"];
        machine.refuses(6, &tokens, only.iter().chain(extra));
    }
    let partial = only.iter().chain(&["--disable-autoprune"]);
    let tokens = ["after cleanup", "single retry: reserved;", "automatic pruning disabled"];
    machine.refuses(6, &tokens, partial);
    let partial = only.iter().chain(&["--disable-autoexpire"]);
    let tokens = ["after cleanup", "single retry: occupied;", "automatic expiration disabled"];
    machine.refuses(6, &tokens, partial);
    assert_eq!(machine.rows().len(), 1);
}

/// Traps 41 (a dry run promises too much), 42 (a dry run creates files), 44 (a dry run says nothing), 45 (a
/// dry run needs the lock).
#[test]
fn a_dry_run_tells_the_port_and_the_refusal_of_the_real_run() {
    let machine = Machine::new();
    let ask = ["reserve", "--min", "25300", "--max", "25300", SKIP];
    let dry = machine.trop(ask.iter().chain(&["--dry-run"]));
    assert_eq!((dry.code, dry.stdout.as_str()), (0, ""), "{dry:?}");
    assert_eq!(dry.stderr, format!("Dry run: would reserve port 25300 for {}\n", machine.work()));
    let quiet = machine.trop(ask.iter().chain(&["--dry-run", "--quiet"]));
    assert_eq!((quiet.code, quiet.stdout.as_str(), quiet.stderr.as_str()), (0, "", ""));
    machine.refuses(3, &[], ask.iter().chain(&["--dry-run", "--disable-autoinit"]));
    assert!(!machine.path("data").exists());

    machine.reserve(&ask[1..]);
    age(&machine);
    let lock = machine.lock();
    let dry = machine.trop(ask.iter().chain(&["--dry-run", "--busy-timeout", "0"]));
    assert!(dry.stderr.contains("Dry run: would return port 25300"), "{dry:?}");
    lock.release();
    machine.refuses(6, &["exhausted"], ask.iter().chain(&["--dry-run", "--tag", "b"]));
    let elsewhere = machine.directory("elsewhere");
    machine.refuses(1, &["unrelated"], ask.iter().chain(&["--dry-run", "--path", text(&elsewhere)]));
}
