//! `exclude`, `compact-exclusions` and `scan --autoexclude`: only the list of one file is edited.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::{Machine, Outcome, assert_failure, text};

const PROJECT: &str =
    "# ours\nproject: shop # name\nports: {min: 5000}\n\nexcluded_ports:\n  # web\n  - 8080\n";

fn machine() -> Machine {
    let machine = Machine::new();
    fs::write(machine.path("work/trop.yaml"), PROJECT).unwrap();
    machine
}

fn project(machine: &Machine) -> String {
    fs::read_to_string(machine.path("work/trop.yaml")).unwrap()
}

fn succeeds(outcome: &Outcome) -> &str {
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    &outcome.stdout
}

/// Traps 84 (values of other sources are written), 85 (comments go), 89 (a port is excluded twice).
#[test]
fn only_the_list_changes_and_a_covered_port_changes_nothing() {
    let machine = machine();
    assert!(
        succeeds(&machine.trop(["exclude", "9000..9001"])).contains(text(&machine.path("work/trop.yaml")))
    );
    let after = PROJECT.to_owned() + "  - {start: 9000, end: 9001}\n";
    assert_eq!(project(&machine), after);
    for covered in ["8080", "9001", "9000..9001"] {
        assert_ne!(succeeds(&machine.trop(["exclude", covered])), "");
        assert_eq!(project(&machine), after, "{covered}");
    }
    assert_eq!(succeeds(&machine.trop(["--quiet", "exclude", "8081"])), "");
    assert_eq!(project(&machine), after.replace("- 8080", "- {start: 8080, end: 8081}"));
    assert!(!machine.path("data/config.yaml").exists());
}

/// Traps 87 (an edit that is refused later), 92 (overflow at the highest port).
#[test]
fn bad_ports_are_refused_and_nothing_is_written() {
    let machine = machine();
    for bad in ["0", "65536", "x", "", "5..4", "1..70000", "0..5", "1...3", "-"] {
        assert_failure(&machine.trop(["exclude", bad]), 4, &["Invalid", "port"]);
    }
    assert_eq!(project(&machine), PROJECT);
    succeeds(&machine.trop(["exclude", "65530..65535"]));
    assert!(project(&machine).contains("{start: 65530, end: 65535}"));
}

#[test]
fn a_reserved_port_needs_force() {
    let machine = machine();
    let port = machine.reserve([""; 0]);
    let range = format!("{port}..{}", port + 1);
    machine.refuses(4, &["reserved", "force"], ["exclude", &range]);
    assert_eq!(project(&machine), PROJECT);
    succeeds(&machine.trop(["exclude", &range, "--force"]));
    assert!(project(&machine).contains(&format!("start: {port}, ")));
}

/// Trap 88 (a failure counts as not reserved).
#[test]
fn a_database_that_cannot_answer_is_an_error() {
    let machine = machine();
    machine.directory("data");
    fs::write(machine.database(), "this is no database, however long it is").unwrap();
    for arguments in [&["exclude", "9000"][..], &["exclude", "9000", "--force"]] {
        assert_failure(&machine.trop(arguments), 6, &["database"]);
        assert_eq!(project(&machine), PROJECT);
    }
}

/// Trap 86 (the wrong file is edited).
#[test]
fn without_a_project_file_nothing_is_edited_unless_global() {
    let machine = Machine::new();
    assert_failure(&machine.trop(["exclude", "9000"]), 4, &["--global"]);
    assert_failure(&machine.trop(["scan", "--autoexclude"]), 4, &["--global"]);
    assert!(!machine.path("data/config.yaml").exists());
    succeeds(&machine.trop(["exclude", "9000", "--global"]));
    let file = machine.path("data/config.yaml");
    assert_eq!(fs::read_to_string(&file).unwrap(), "excluded_ports:\n  - 9000\n");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn the_private_file_goes_first_and_the_nearest_directory_before_others() {
    let machine = machine();
    let below = machine.directory("work/a/b");
    let local = machine.path("work/a/trop.local.yaml");
    fs::write(&local, "# private\n").unwrap();
    succeeds(&crate::support::run(machine.command(["exclude", "9000"]).current_dir(&below)));
    assert_eq!(fs::read_to_string(&local).unwrap(), "# private\nexcluded_ports:\n  - 9000\n");
    assert_eq!(project(&machine), PROJECT);
}

/// Trap 91 (the file is lost).
#[test]
fn links_and_permissions_survive_and_nothing_is_left_behind() {
    let machine = Machine::new();
    let real = machine.path("real.yaml");
    fs::write(&real, "# real\n").unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).unwrap();
    symlink(&real, machine.path("work/trop.yaml")).unwrap();
    succeeds(&machine.trop(["exclude", "9000"]));
    assert!(machine.path("work/trop.yaml").is_symlink());
    assert!(fs::read_to_string(&real).unwrap().contains("9000"));
    assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    let names: Vec<_> =
        fs::read_dir(machine.path("work")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(names, ["trop.yaml"]);
}

/// Trap 91 (the file is lost).
#[test]
fn concurrent_editors_lose_nothing() {
    let machine = machine();
    let children: Vec<_> = (0..12)
        .map(|number| {
            let port = (20_000 + 2 * number).to_string();
            machine.command(["exclude", &port, "--quiet"]).spawn().unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let after = project(&machine);
    assert!((0..12).all(|number| after.contains(&format!("- {}\n", 20_000 + 2 * number))), "{after}");
}

/// Traps 87 (an edit that is refused later), 90 (compacting drops entries).
#[test]
fn compacting_an_invalid_file_changes_nothing() {
    let machine = Machine::new();
    let file = machine.path("work/x.yaml");
    for bad in [
        "excluded_ports: [9..5]\n",
        "excluded_ports: [0]\n",
        "excluded_ports: [1\n",
        "project: a\n---\nproject: b\n",
        "excluded_ports: [1, 2]\nports: {max: 5}\n",
    ] {
        fs::write(&file, bad).unwrap();
        assert_failure(&machine.trop(["compact-exclusions", "x.yaml"]), 7, &["x.yaml"]);
        assert_eq!(fs::read_to_string(&file).unwrap(), bad);
    }
    assert_failure(&machine.trop(["compact-exclusions", "missing.yaml"]), 4, &["not found"]);
    assert_failure(&machine.trop(["compact-exclusions", "."]), 4, &["not a file"]);
}

/// Traps 90 (compacting drops entries), 129 (notes in quiet mode).
#[test]
fn compacting_merges_and_says_so() {
    let machine = Machine::new();
    let file = machine.path("work/x.yaml");
    let text = "excluded_ports: [8080, 8081, 8082, 8083] # web\nproject: a\n";
    fs::write(&file, text).unwrap();
    assert!(succeeds(&machine.trop(["compact-exclusions", "x.yaml", "--dry-run"])).contains("Dry run"));
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
    assert!(succeeds(&machine.trop(["compact-exclusions", "x.yaml"])).contains("Compacted"));
    let after = "excluded_ports: [{start: 8080, end: 8083}] # web\nproject: a\n";
    assert_eq!(fs::read_to_string(&file).unwrap(), after);
    assert!(succeeds(&machine.trop(["compact-exclusions", "x.yaml"])).contains("already optimal"));
    assert_eq!(succeeds(&machine.trop(["--quiet", "compact-exclusions", "x.yaml"])), "");
    fs::write(&file, "excluded_ports:\n- 8083..8090\n- 8080..8085\n").unwrap();
    assert!(succeeds(&machine.trop(["compact-exclusions", "x.yaml"])).contains("Compacted"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "excluded_ports:\n- {start: 8080, end: 8090}\n");
    fs::write(&file, "project: a\n").unwrap();
    assert!(succeeds(&machine.trop(["compact-exclusions", "x.yaml"])).contains("no excluded ports"));
    assert!(!machine.path("data").exists());
}

#[test]
fn autoexclude_adds_what_is_occupied_and_not_reserved() {
    let machine = machine();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let scan = ["scan", "--min", &port, "--max", &port, "--autoexclude", "--autocompact"];
    let outcome = machine.trop(scan);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(project(&machine).contains(&format!("- {port}\n")), "{outcome:?}");
    let after = project(&machine);
    machine.sql(&format!("INSERT INTO reservations VALUES ('/w', '', {port}, NULL, NULL, 1, 1)"));
    fs::write(machine.path("work/trop.yaml"), PROJECT).unwrap();
    assert_eq!(machine.trop(scan).code, 0);
    assert_eq!(project(&machine), PROJECT, "{after}");
}

/// The list is compacted only after something was added to it.
#[test]
fn autocompact_follows_an_addition_only() {
    let machine = Machine::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let scan = |more: &[&str]| {
        let range = ["scan", "--min", &port.to_string(), "--max", &port.to_string()].map(str::to_owned);
        let more = more.iter().map(|flag| (*flag).to_owned());
        assert_eq!(machine.trop(range.into_iter().chain(more)).code, 0);
        project(&machine)
    };
    let scattered = format!("excluded_ports: [9, 8, {port}]\n");
    fs::write(machine.path("work/trop.yaml"), &scattered).unwrap();
    assert_eq!(scan(&["--autoexclude", "--autocompact"]), scattered);
    fs::write(machine.path("work/trop.yaml"), "excluded_ports: [9, 8]\n").unwrap();
    assert_eq!(scan(&["--autocompact"]), "excluded_ports: [9, 8]\n");
    assert_eq!(
        scan(&["--autoexclude", "--autocompact"]),
        format!("excluded_ports: [{{start: 8, end: 9}}, {port}]\n")
    );
    fs::write(machine.path("work/trop.yaml"), "excluded_ports: [9, 8]\n").unwrap();
    assert_eq!(scan(&["--autoexclude"]), format!("excluded_ports: [9, 8, {port}]\n"));
}
