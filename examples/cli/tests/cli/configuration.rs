//! Configuration files: where they are found, their order of priority, and how errors in them are reported.

use std::ffi::OsStr;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::support::{Machine, Outcome, assert_failure, run, text};

fn write(machine: &Machine, file: &str, content: &str) {
    let path = machine.path(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Reserves a new key without probes and returns its port.
fn reserve_in(machine: &Machine, directory: &Path, arguments: &[&str]) -> u16 {
    let tag = machine.rows().len().to_string();
    let mut command = machine.command(["reserve", "--quiet", "--tag", &tag]);
    command.args(arguments).current_dir(directory).env("TROP_SKIP_OCCUPANCY_CHECK", "yes");
    port(&run(&mut command))
}

fn reserve(machine: &Machine, arguments: &[&str], variables: &[(&str, &str)]) -> u16 {
    let tag = machine.rows().len().to_string();
    let mut command = machine.command(["reserve", "--tag", &tag]);
    command.args(arguments).env("TROP_SKIP_OCCUPANCY_CHECK", "1").envs(variables.iter().copied());
    port(&run(&mut command))
}

fn port(outcome: &Outcome) -> u16 {
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    outcome.stdout.trim_end().parse().unwrap()
}

/// A command with the probes off and a variable set.
fn with(machine: &Machine, arguments: &[&str], variables: &[(&str, &str)]) -> Command {
    let mut command = machine.command(arguments);
    command.env("TROP_SKIP_OCCUPANCY_CHECK", "1").envs(variables.iter().copied());
    command
}

/// Trap 64 (looking upward ends at once).
#[test]
fn files_are_found_from_the_physical_working_directory_upward() {
    let machine = Machine::without_range();
    let deep = machine.directory("work/a/b/c");
    assert_eq!(reserve_in(&machine, &deep, &[]), 5000);
    write(&machine, "work/trop.yaml", "ports: {min: 6100}\n");
    assert_eq!(reserve_in(&machine, &deep, &[]), 6100);
    assert_eq!(reserve_in(&machine, &machine.path("work"), &[]), 6101);
    // Through a link, the parents of its target count.
    machine.directory("elsewhere");
    symlink(&deep, machine.path("elsewhere/link")).unwrap();
    assert_eq!(reserve_in(&machine, &machine.path("elsewhere/link"), &[]), 6102);
    // Only the nearest directory that has either file; those further up are not merged.
    write(&machine, "work/a/trop.local.yaml", "excluded_ports: [5001..5005]\n");
    assert_eq!(reserve_in(&machine, &deep, &[]), 5006);
    write(&machine, "work/a/b/trop.yaml", "ports: {min: 6200}\n");
    assert_eq!(reserve_in(&machine, &deep, &[]), 6200);
    // The files of the reserved path do not count.
    let path = text(&deep);
    assert_eq!(reserve_in(&machine, &machine.path("work"), &["--path", path]), 6103);
}

#[test]
fn no_other_names_are_recognised() {
    let machine = Machine::without_range();
    for name in [".trop.yaml", "trop.yml", "config.yaml", "Trop.yaml", ".trop.local.yaml", "trop.local.yml"] {
        write(&machine, &format!("work/{name}"), "broken: [");
    }
    assert_eq!(reserve(&machine, &[], &[]), 5000);
}

/// Traps 70 (commands read different sources), 71 (a setting as a flag only).
#[test]
fn each_source_weighs_more_than_the_one_before() {
    let machine = Machine::without_range();
    assert_eq!(reserve(&machine, &[], &[]), 5000);
    write(&machine, "data/config.yaml", "ports: {min: 5100}\n");
    assert_eq!(reserve(&machine, &[], &[]), 5100);
    write(&machine, "work/trop.yaml", "ports: {min: 5200}\n");
    assert_eq!(reserve(&machine, &[], &[]), 5200);
    write(&machine, "work/trop.local.yaml", "ports: {min: 5300}\n");
    assert_eq!(reserve(&machine, &[], &[]), 5300);
    assert_eq!(reserve(&machine, &[], &[("TROP_PORT_MIN", "5400")]), 5400);
    assert_eq!(reserve(&machine, &["--min", "5500"], &[("TROP_PORT_MIN", "5400")]), 5500);
}

#[test]
fn the_user_file_is_that_of_the_selected_data_directory() {
    let machine = Machine::without_range();
    write(&machine, "home/.trop/config.yaml", "broken: [");
    write(&machine, "data/config.yaml", "ports: {min: 5100}\n");
    write(&machine, "other/config.yaml", "ports: {min: 5200}\n");
    assert_eq!(reserve(&machine, &[], &[]), 5100);
    assert_eq!(reserve(&machine, &["--data-dir", "../other"], &[]), 5200);
    assert_eq!(
        reserve(&machine, &[], &[("TROP_DATA_DIR", text(&machine.path("other")))]),
        5200,
        "the same key"
    );
}

#[test]
fn exclusions_of_all_sources_add_up() {
    let machine = Machine::without_range();
    write(&machine, "data/config.yaml", "excluded_ports: [5000]\n");
    write(&machine, "work/trop.yaml", "excluded_ports: [5001, '5001', {start: 5002, end: 5003}]\n");
    write(&machine, "work/trop.local.yaml", "excluded_ports: [5004..5005, '5006 .. 5007']\n");
    assert_eq!(reserve(&machine, &[], &[("TROP_EXCLUDED_PORTS", " 5008 , ,5009..5010,")]), 5011);
    assert_eq!(reserve(&machine, &[], &[("TROP_EXCLUDED_PORTS", "")]), 5008);
}

/// Trap 73 (a range judged too early).
#[test]
fn a_range_is_judged_when_all_sources_are_known() {
    let machine = Machine::without_range();
    write(&machine, "work/trop.yaml", "ports: {min: 8000}\n");
    let spoiled =
        ["validation error", "min 8000", text(&machine.path("work/trop.yaml")).to_owned().leak(), "line 1"];
    machine.refuses(7, &spoiled, ["reserve"]);
    assert_eq!(reserve(&machine, &["--max", "9000"], &[]), 8000);
    assert_eq!(reserve(&machine, &["--min", "6100"], &[]), 6100);
    assert_eq!(reserve(&machine, &[], &[("TROP_PORT_MAX", "8100")]), 8001);
    let variables = [("TROP_PORT_MAX", "7500")];
    let tokens = ["min 8000", "max 7500", "variable TROP_PORT_MAX"];
    machine.refuses_command(7, &tokens, &mut with(&machine, &["reserve"], &variables));
    assert_eq!(reserve(&machine, &["--max", "9000"], &variables), 8002);
    machine.refuses(7, &["max 7999", "command line"], ["reserve", "--max", "7999"]);
    // Commands that use no range are not stopped by a bad one.
    assert_eq!(machine.trop(["list"]).code, 0);
}

/// Trap 74 (two upper ends).
#[test]
fn either_upper_form_replaces_both() {
    let machine = Machine::without_range();
    write(&machine, "work/trop.yaml", "ports: {min: 6100, max: 6100}\n");
    write(&machine, "work/trop.local.yaml", "ports: {min: 6100, max_offset: 1}\n");
    assert_eq!(reserve(&machine, &[], &[]), 6100);
    assert_eq!(reserve(&machine, &[], &[]), 6101);
    machine.refuses_command(6, &["6100..6101", "exhausted"], &mut with(&machine, &["reserve"], &[]));
    machine.refuses_command(
        6,
        &["6100..6100"],
        &mut with(&machine, &["reserve"], &[("TROP_PORT_MAX", "6100")]),
    );
    // The offset is added to the effective lower end.
    assert_eq!(reserve(&machine, &["--min", "7100"], &[]), 7100);
    assert_eq!(reserve(&machine, &["--min", "7100"], &[]), 7101);
    machine.refuses_command(6, &["7100..7101"], &mut with(&machine, &["reserve", "--min", "7100"], &[]));
    // If both variables are set, the offset wins.
    let both = [("TROP_PORT_MAX", "6100"), ("TROP_PORT_MAX_OFFSET", "2")];
    assert_eq!(reserve(&machine, &[], &both), 6102);
    machine.refuses(7, &["65535", "max_offset 1"], ["reserve", "--min", "65535"]);
    // A source that sets only the lower end leaves the upper end as it is.
    write(&machine, "work/trop.local.yaml", "ports: {min: 6099}\n");
    assert_eq!(reserve(&machine, &[], &[]), 6099);
    machine.refuses_command(6, &["6099..6100"], &mut with(&machine, &["reserve"], &[]));
}

/// Trap 75 (one probe switch resets the others).
#[test]
fn setting_one_probe_leaves_the_others_as_they_are() {
    let machine = Machine::new();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = udp.local_addr().unwrap().port().to_string();
    let reserve = |variables: &[(&str, &str)]| {
        let mut command = machine.command(["reserve", "--min", &port, "--max", &port]);
        run(command.envs(variables.iter().copied())).code
    };
    assert_eq!(reserve(&[]), 6);
    assert_eq!(reserve(&[("TROP_SKIP_IPV6", "1")]), 6);
    write(&machine, "work/trop.yaml", "occupancy_check: {skip_udp: true}\n");
    assert_eq!(reserve(&[("TROP_SKIP_UDP", "no")]), 6);
    write(&machine, "work/trop.local.yaml", "occupancy_check: {skip_tcp: true}\n");
    assert_eq!(reserve(&[("TROP_SKIP_IPV6", "1")]), 0, "the user of the port is seen by UDP on IPv4 only");
}

/// Traps 70 (commands read different sources), 71 (a setting as a flag only).
#[test]
fn switches_are_honoured_from_every_source() {
    let machine = Machine::new();
    let elsewhere = machine.directory("elsewhere");
    let stranger = ["reserve", "--path", text(&elsewhere)];
    for (file, content) in [
        ("data/config.yaml", "disable_autoinit: true\nallow_unrelated_path: true\noutput_format: json\n"),
        ("work/trop.yaml", "disable_autoinit: true\nallow_unrelated_path: true\noutput_format: json\n"),
        ("work/trop.local.yaml", "disable_autoinit: true\nallow_unrelated_path: true\noutput_format: json\n"),
    ] {
        assert_eq!(machine.trop(["list", "--disable-autoinit"]).code, 3, "{file}");
        write(&machine, file, content);
        machine.refuses(3, &["Data directory not found"], ["list"]);
        assert_eq!(run(&mut with(&machine, &["list"], &[("TROP_DISABLE_AUTOINIT", "off")])).stdout, "[]\n");
        assert!(machine.trop(["list", "--format", "table"]).stdout.starts_with("PORT"));
        assert!(
            run(&mut with(&machine, &["list"], &[("TROP_OUTPUT_FORMAT", "CSV")])).stdout.starts_with("port,")
        );
        assert_eq!(run(&mut with(&machine, &stranger, &[])).code, 0);
        machine.refuses_command(
            1,
            &["unrelated"],
            &mut with(&machine, &stranger, &[("TROP_ALLOW_UNRELATED_PATH", "False")]),
        );
        fs::remove_file(machine.path(file)).unwrap();
        machine.refuses_command(1, &["unrelated"], &mut with(&machine, &stranger, &[]));
        let allowed = [("TROP_ALLOW_UNRELATED_PATH", "on")];
        assert_eq!(run(&mut with(&machine, &["release", "--path", stranger[2]], &allowed)).code, 0);
        fs::remove_dir_all(machine.path("data")).unwrap();
        let forbidden = [("TROP_DISABLE_AUTOINIT", "YES")];
        machine.refuses_command(3, &["Data directory not found"], &mut with(&machine, &["list"], &forbidden));
    }
}

/// Traps 71 (a setting as a flag only), 80 (a long lock wait overflows).
#[test]
fn the_lock_wait_comes_from_every_source_and_has_a_limit() {
    let machine = Machine::new();
    machine.reserve([""; 0]);
    write(&machine, "data/config.yaml", "maximum_lock_wait_seconds: 0\n");
    let lock = machine.lock();
    machine.refuses(2, &["database lock timeout", "0s"], ["release"]);
    write(&machine, "data/config.yaml", "maximum_lock_wait_seconds: 60\n");
    for variable in ["TROP_BUSY_TIMEOUT", "TROP_MAXIMUM_LOCK_WAIT_SECONDS"] {
        machine.refuses_command(2, &["0s"], &mut with(&machine, &["release"], &[(variable, "0")]));
    }
    // The alias has a lower priority, the flag a higher one.
    let variables = [("TROP_BUSY_TIMEOUT", "0"), ("TROP_MAXIMUM_LOCK_WAIT_SECONDS", "x")];
    machine.refuses_command(2, &["0s"], &mut with(&machine, &["release"], &variables));
    let variables = [("TROP_BUSY_TIMEOUT", "60")];
    machine.refuses_command(2, &["0s"], &mut with(&machine, &["release", "--busy-timeout", "0"], &variables));
    lock.release();

    let limit = "must not exceed 2147483";
    for value in ["2147484", "99999999999999999999999999"] {
        let variables = [("TROP_BUSY_TIMEOUT", value)];
        machine.refuses_command(7, &[limit, "TROP_BUSY_TIMEOUT"], &mut with(&machine, &["list"], &variables));
    }
    machine.refuses(7, &[limit, "command line"], ["list", "--busy-timeout", "2147484"]);
    write(&machine, "data/config.yaml", "maximum_lock_wait_seconds: 2147484\n");
    assert_failure(&machine.trop(["list"]), 7, &[limit, text(&machine.path("data/config.yaml"))]);
    write(&machine, "data/config.yaml", "maximum_lock_wait_seconds: 2147483\n");
    assert_eq!(machine.trop(["list"]).code, 0);
}

/// Trap 76 (where a value came from).
#[test]
fn messages_name_the_file_the_variable_or_the_command_line() {
    let machine = Machine::new();
    machine.directory("data");
    write(&machine, "data/config.yaml", "\nproject: shop\n");
    let user = machine.path("data/config.yaml");
    machine.refuses(7, &["validation error", "project", text(&user), "line 2"], ["list"]);
    fs::remove_file(&user).unwrap();
    write(&machine, "work/trop.local.yaml", "output_format: json\nallow_change: yes\nproject: ''\n");
    let private = machine.path("work/trop.local.yaml");
    machine.refuses(7, &["allow_change", text(&private), "line 2", "1 more", "trop validate"], ["list"]);
    fs::remove_file(&private).unwrap();
    let malformed = [("TROP_OUTPUT_FORMAT", "xml")];
    machine.refuses_command(
        7,
        &["validation error", "output_format", "variable TROP_OUTPUT_FORMAT"],
        &mut with(&machine, &["list"], &malformed),
    );
    machine.refuses(7, &["validation error", "command line"], ["list", "--busy-timeout", "9999999"]);
}

/// Trap 76 (where a value came from).
#[test]
fn a_file_that_cannot_be_used_stops_every_command_that_reads_it() {
    let machine = Machine::new();
    let commands: [&[&str]; 4] = [&["reserve"], &["release"], &["list"], &["port-info", "5000"]];
    for file in ["data/config.yaml", "work/trop.yaml", "work/trop.local.yaml"] {
        machine.directory("data");
        let path = machine.path(file);
        for content in ["unknown: 1\n", "- 1\n", "a: [\n", "ports: {min: 1, max: 2}\n---\n"] {
            write(&machine, file, content);
            for command in commands {
                assert_failure(&machine.trop(command), 7, &["validation error", text(&path)]);
            }
        }
        fs::remove_file(&path).unwrap();
        // A file that exists but cannot be read is an error.
        symlink("nowhere", &path).unwrap();
        machine.refuses(7, &["cannot read", text(&path)], ["list"]);
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        machine.refuses(7, &["cannot read", text(&path)], ["list"]);
        fs::remove_dir(&path).unwrap();
        let fifo = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(fifo.success());
        machine.refuses(7, &["cannot read", text(&path)], ["list"]);
        fs::remove_file(&path).unwrap();
        write(&machine, file, "");
        assert!(!machine.database().exists());
    }
    assert_eq!(machine.trop(["list"]).code, 0, "empty files say nothing");
}

#[test]
fn an_unfit_file_does_not_drive_the_terminal() {
    let machine = Machine::new();
    write(&machine, "work/trop.yaml", "\"x\\nexport EVIL=1\\e[2J\": 1\n");
    let outcome = machine.trop(["list"]);
    assert_failure(&outcome, 7, &["unknown key"]);
    assert!(!outcome.stderr.contains("EVIL") && !outcome.stderr.contains('\u{1b}'), "{outcome:?}");
    write(&machine, "work/trop.yaml", "excluded_ports: [\"x\\nexport EVIL=1\\e[2J\"]\n");
    assert!(!machine.trop(["list"]).stderr.contains('\u{1b}'));
}

#[test]
fn the_order_of_faults_is_that_of_the_contract() {
    let machine = Machine::new();
    let elsewhere = machine.directory("elsewhere");
    let elsewhere = text(&elsewhere);
    write(&machine, "work/trop.yaml", "unknown: 1\n");
    assert_eq!(machine.trop(["reserve", "--frobnicate"]).code, 2);
    machine.refuses(4, &[], ["reserve", "--port", "0"]);
    machine.refuses(4, &[], ["reserve", "--min", "2", "--max", "1"]);
    machine.refuses(4, &[], ["release", "--tag="]);
    machine.refuses(7, &[], ["reserve", "--path", "/.."]);
    machine.refuses(7, &[], ["reserve", "--disable-autoinit"]);
    machine.refuses(7, &[], ["list", "--disable-autoinit"]);
    fs::remove_file(machine.path("work/trop.yaml")).unwrap();
    machine.reserve([""; 0]);
    write(&machine, "work/trop.yaml", "unknown: 1\n");
    let lock = machine.lock();
    assert_failure(&machine.trop(["release", "--path", elsewhere, "--busy-timeout", "0"]), 7, &[]);
    lock.release();
}

#[test]
fn a_file_without_permission_to_read_it_is_not_passed_over() {
    for file in ["data/config.yaml", "work/trop.yaml", "work/trop.local.yaml"] {
        let machine = Machine::new();
        write(&machine, file, "excluded_ports: [8080, 8081]\n");
        let path = machine.path(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        for command in [&["list"][..], &["exclude", "9000"], &["reserve"]] {
            machine.refuses_command(7, &["cannot read", text(&path)], &mut machine.as_nobody(command));
        }
        for command in ["validate", "compact-exclusions"] {
            machine.refuses_command(5, &[text(&path)], &mut machine.as_nobody([command, text(&path)]));
        }
    }
}

/// In order of priority: the flag, the variable, the private file, the project's file, git. Each can be
/// switched off.
#[test]
fn the_project_and_the_task_come_from_the_heaviest_source() {
    let machine = Machine::new();
    assert!(
        Command::new("git")
            .args(["init", "-q", "-b", "trunk"])
            .arg(machine.work())
            .status()
            .unwrap()
            .success()
    );
    let stored = |arguments: &[&str], variables: &[(&str, &str)]| {
        let tag = machine.rows().len().to_string();
        let mut command = with(&machine, &["reserve", "--tag", &tag], variables);
        assert_eq!(run(command.args(arguments)).code, 0);
        let row = machine.rows().into_iter().find(|row| row["tag"] == tag.as_str()).unwrap();
        (row["project"].as_str().map(str::to_owned), row["task"].as_str().map(str::to_owned))
    };
    let pair = |project: &str, task: &str| (Some(project.to_owned()), Some(task.to_owned()));
    assert_eq!(stored(&[], &[]), pair("work", "trunk"));
    write(&machine, "work/trop.yaml", "project: ' shared '\n");
    assert_eq!(stored(&[], &[]), pair("shared", "trunk"));
    write(&machine, "work/trop.local.yaml", "project: private\n");
    assert_eq!(stored(&[], &[]), pair("private", "trunk"));
    let variables = [("TROP_PROJECT", " variable "), ("TROP_TASK", "later")];
    assert_eq!(stored(&[], &variables), pair("variable", "later"));
    assert_eq!(stored(&["--project", "flag ", "--task", "now"], &variables), pair("flag", "now"));
    assert_eq!(stored(&["--clear-project", "--clear-task"], &variables), (None, None));
    // An explicit value from any source may not change a stored one.
    let refused = &mut with(&machine, &["reserve", "--tag", "0"], &[]);
    machine.refuses_command(1, &["sticky field 'project'", "'work'", "'private'"], refused);
}

#[test]
fn the_home_directory_has_two_names() {
    let machine = Machine::new();
    let home = machine.directory("home");
    for variable in ["HOME", "USERPROFILE"] {
        let shows = |arguments: &[&str], expected: &Path| {
            let mut command = machine.command(arguments);
            command.env_remove("TROP_DATA_DIR").env_remove("HOME").env(variable, &home);
            assert_eq!(run(&mut command).stdout, format!("{}\n", text(expected)), "{variable}");
        };
        shows(&["show-data-dir"], &home.join(".trop"));
        shows(&["show-path", "--path", "~"], &home);
        shows(&["show-path", "--path", "~/a/./b/../c/"], &home.join("a/c"));
    }
}

/// The setting `output_format` is for lists only: `scan` does not use it.
#[test]
fn the_output_format_is_for_list_only() {
    let machine = Machine::new();
    write(&machine, "work/trop.yaml", "output_format: json\n");
    let scan = ["scan", "--min", "25900", "--max", "25900"];
    let outcome = run(&mut with(&machine, &scan, &[("TROP_OUTPUT_FORMAT", "csv")]));
    assert_eq!((outcome.code, outcome.stdout.starts_with("Port\t")), (0, true), "{outcome:?}");
    assert_eq!(machine.trop(["list"]).stdout, "[]\n");
}

/// Trap 66 (a strange working directory).
#[test]
fn a_working_directory_that_is_no_text_has_files_too() {
    let machine = Machine::new();
    let odd = machine.path("work").join(OsStr::from_bytes(b"caf\xe9"));
    if fs::create_dir(&odd).is_err() {
        return; // Not every file system has such names.
    }
    write(&machine, "work/trop.yaml", "output_format: json\n");
    assert_eq!(run(machine.command(["list"]).current_dir(&odd)).stdout, "[]\n");
    fs::write(odd.join("trop.yaml"), "output_format: tsv\n").unwrap();
    assert!(run(machine.command(["list"]).current_dir(&odd)).stdout.starts_with("port\tpath"));
    let refused = run(machine.command(["reserve"]).current_dir(&odd));
    assert_failure(&refused, 6, &["UTF-8"]);
}
