use std::fs::File;
use std::net::TcpListener;
use std::process::Stdio;

use crate::support::{Machine, Outcome, port, run, text};

const NOTHING: [&str; 0] = [];

#[test]
fn the_same_key_has_the_same_port_and_another_key_another() {
    let machine = Machine::new();
    let untagged = machine.reserve(NOTHING);
    let web = machine.reserve(["--tag", "web"]);
    assert_ne!(untagged, web);
    assert_eq!(machine.reserve(NOTHING), untagged);
    assert_eq!(machine.reserve(["--tag", " web "]), web, "tags are trimmed");
    assert_eq!(machine.reserve(["--tag", "web", "--path", "."]), web);
    assert_eq!(machine.reserve(["--tag", "web", "--path", &machine.work()]), web);
    assert_ne!(machine.reserve(["--path", ".."]), untagged);
    assert_eq!(machine.rows().len(), 3);
    assert!((24000..=25999).contains(&web));
}

#[test]
fn the_path_comes_from_the_flag_else_the_variable_else_the_working_directory() {
    let machine = Machine::new();
    let (a, b) = (machine.directory("work/a"), machine.directory("work/b"));
    let from_variable = port(&run(machine.command(["reserve"]).env("TROP_PATH", &a)));
    assert_eq!(machine.reserve(["--path", "a"]), from_variable);
    let from_flag = port(&run(machine.command(["reserve", "--path", "b"]).env("TROP_PATH", &a)));
    assert_eq!(machine.reserve(["--path", text(&b)]), from_flag);
    let here = machine.reserve(NOTHING);
    let paths: Vec<_> = machine.rows().iter().map(|row| (row["path"].clone(), row["port"].clone())).collect();
    assert_eq!(
        paths,
        [
            (machine.work().into(), here.into()),
            (text(&a).into(), from_variable.into()),
            (text(&b).into(), from_flag.into())
        ]
    );
}

/// Trap 40 (links in the stored path).
#[test]
fn a_physical_working_directory_and_a_link_given_as_path_are_different_keys() {
    let machine = Machine::new();
    let link = machine.path("link");
    std::os::unix::fs::symlink(machine.path("work"), &link).unwrap();
    let here = machine.reserve(NOTHING);
    assert_eq!(port(&run(machine.command(["reserve"]).current_dir(&link))), here);
    assert_ne!(port(&run(machine.command(["reserve"]).env("TROP_PATH", &link))), here);
    assert_eq!(machine.rows()[0]["path"], text(&link));
    assert_eq!(machine.rows()[1]["path"], machine.work());
}

#[test]
fn a_path_that_does_not_exist_is_accepted_with_a_warning() {
    let machine = Machine::new();
    let outcome = machine.trop(["reserve", "--path", "later\u{7}"]);
    port(&outcome);
    assert_eq!(
        outcome.stderr,
        format!("Warning: the path '{}/later\\u{{7}}' does not exist\n", machine.work())
    );
    assert_eq!(machine.reserve(["--quiet", "--path", "later\u{7}"]), port(&outcome));
}

#[test]
fn a_preferred_port_is_used_or_the_reason_given() {
    let machine = Machine::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let occupied = taken.local_addr().unwrap().port().to_string();
    // Away from the ports other tests ask for: a probe of theirs would make this one look occupied.
    let wanted = machine.reserve(["--tag", "probe", "--min", "25500", "--max", "25899"]);
    assert_eq!(machine.trop(["release", "--tag", "probe"]).code, 0);

    let wish = wanted.to_string();
    let range = ["--min", "25500", "--max", "65535", "--port"];
    let ask = |tag: &str, preferred: &str| -> Outcome {
        run(machine.command(["reserve", "--tag", tag]).args(range).arg(preferred))
    };
    let first = ask("a", &wish);
    assert_eq!((port(&first), first.stderr.as_str()), (wanted, ""));
    for (tag, preferred, reason) in [
        ("b", wish.as_str(), "another path or tag has it"),
        ("c", occupied.as_str(), "using it"),
        ("d", "25499", "outside the port range"),
        ("a", "25950", "have a port already"),
    ] {
        let outcome = ask(tag, preferred);
        assert_ne!(port(&outcome).to_string(), preferred);
        assert!(outcome.stderr.starts_with(&format!("Warning: preferred port {preferred} ")), "{outcome:?}");
        assert!(outcome.stderr.contains(reason), "{outcome:?}");
        let quiet = run(machine.command(["--quiet", "reserve", "--tag", tag]).args(range).arg(preferred));
        assert_eq!((port(&quiet), quiet.stderr.as_str()), (port(&outcome), ""));
    }
    assert_eq!(port(&ask("a", "25499")), wanted, "a wish does not move a key");
    drop(taken);
}

#[test]
fn an_exhausted_range_is_a_failure_that_changes_nothing() {
    let machine = Machine::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ends = ["reserve", "--min", &port, "--max", &port];
    machine.reserve(["--tag", "other"]);
    machine.refuses(6, &["port range", "exhausted", "1 occupied"], ends);
    machine.refuses(6, &["port range", "exhausted", "1 occupied"], ends.iter().chain(&["--port", "5000"]));
}

/// Trap 39 (a key that appears meanwhile).
#[test]
fn processes_that_ask_for_one_key_get_one_port_and_others_get_others() {
    let machine = Machine::new();
    assert_eq!(machine.trop(["list"]).code, 0);
    let lock = machine.lock();
    let spawn = |tag: &str| {
        let mut command = machine.command(["reserve", "--busy-timeout", "60", "--tag", tag]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let same: Vec<_> = (0..4).map(|_| spawn("same")).collect();
    let different: Vec<_> = ["a", "b", "c", "d"].map(spawn).into();
    lock.release();
    let end = |child: std::process::Child| port(&child.wait_with_output().unwrap().into());
    let mut ports: Vec<u16> = same.into_iter().map(end).collect();
    ports.dedup();
    assert_eq!(ports.len(), 1);
    ports.extend(different.into_iter().map(end));
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 5);
    assert_eq!(machine.rows().len(), 5);
}

/// Traps 120 (text is put into SQL), 127 (stored text drives the terminal).
#[test]
fn hostile_tags_are_stored_as_they_are() {
    let machine = Machine::new();
    let tags = [
        "two\nlines",
        "a\tb",
        "esc\u{1b}[2J",
        "quo\"te's",
        "$(id)`id`;,",
        "日本語 é",
        "--tag",
        "%_",
        "'); DROP",
    ];
    for tag in tags {
        let option = format!("--tag={tag}");
        let port = machine.reserve([&option]);
        assert_eq!(machine.reserve([&option]), port);
    }
    let mut stored: Vec<_> =
        machine.rows().iter().map(|row| row["tag"].as_str().unwrap().to_owned()).collect();
    stored.sort_unstable();
    let mut expected = tags.map(str::to_owned);
    expected.sort_unstable();
    assert_eq!(stored, expected);
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_behind_a_stream_is_no_panic() {
    let machine = Machine::new();
    let full = || File::options().write(true).open("/dev/full").unwrap();
    for arguments in [&["reserve"][..], &["list"], &["port-info", "5000"], &["--help"], &["--version"]] {
        let outcome = run(machine.command(arguments).stdout(full()));
        crate::support::assert_failure(&outcome, 5, &["standard output"]);
    }
    let warned = run(machine.command(["reserve", "--path", "missing"]).stderr(full()));
    port(&warned);
    assert_eq!(run(machine.command(["reserve", "--port", "0"]).stderr(full())).code, 4);
    assert_eq!(run(machine.command(["reserve", "--nope"]).stderr(full())).code, 2);
}
