//! `validate`: every rule of configuration files, and how a violation is reported.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;

use crate::support::{Machine, Outcome, assert_failure, assert_syntax_error, text};

/// A file with this text under `services:`.
fn group(services: &str) -> String {
    let indented: Vec<String> = services.lines().map(|line| format!("    {line}")).collect();
    format!("reservations:\n  services:\n{}\n", indented.join("\n"))
}

fn validate(machine: &Machine, name: &str, content: &str) -> Outcome {
    fs::write(machine.path("work").join(name), content).unwrap();
    machine.trop(["validate", name])
}

fn assert_valid(content: &str) {
    let machine = Machine::new();
    let outcome = validate(&machine, "trop.yaml", content);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{content}: {outcome:?}");
    assert!(outcome.stdout.contains("valid"), "{outcome:?}");
    assert!(!machine.path("data").exists());
}

/// Expects one finding for each of these fields, in this order, and a line with their number.
fn assert_findings(outcome: &Outcome, path: &str, fields: &[(&str, usize)]) {
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{outcome:?}");
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(lines.last().unwrap().starts_with("Error: "), "{outcome:?}");
    assert!(lines.last().unwrap().contains("invalid"), "{outcome:?}");
    assert_eq!(lines.len(), fields.len() + 1, "{outcome:?}");
    for (line, (field, number)) in lines.iter().zip(fields) {
        let start = format!("validation error: {field}: '{path}' line {number}: ");
        assert!(line.starts_with(&start), "{start}: {outcome:?}");
    }
}

#[test]
fn valid_files_are_valid() {
    for content in [
        "",
        "# nothing\n",
        "---\n",
        "null\n",
        "reservations:\n  services: {}\n",
        "project: null\nports: null\nexcluded_ports: ~\ncleanup:\noccupancy_check:\nreservations: null\n",
        "project: '  the café  '\n",
        "ports: {min: 5000}\n",
        "ports: {min: 1, max: 65535}\n",
        "ports: {min: 5000, max: 5000}\n",
        "ports: {min: 1, max_offset: 65534}\n",
        "excluded_ports: [5001, '5001', 5005..5009, '5005..5009', '5005 .. 5009', {start: 5005, end: 5009}, \
         7..7]\n",
        "cleanup: {expire_after_days: 4294967295}\n",
        "occupancy_check: {skip: true, skip_ip4: false, skip_ip6: True, skip_tcp: FALSE, skip_udp: true}\n",
        "occupancy_check: {check_all_interfaces: true}\n",
        "disable_autoinit: true\ndisable_autoprune: true\ndisable_autoexpire: true\n",
        "allow_unrelated_path: true\nallow_change_project: true\nallow_change_task: true\n\
         allow_change: false\n",
        "maximum_lock_wait_seconds: 0\noutput_format: tsv\n",
        "maximum_lock_wait_seconds: 2147483\n",
        &group("' web ': {env: WEB_PORT}\ndb: {offset: 65535, preferred: 65535}\n9x: {offset: 1, env: _9}\n"),
        &group("web:\n"),
        "x: &a [1]\n".replace('x', "excluded_ports").as_str(),
    ] {
        assert_valid(content);
    }
    let project = format!("project: {}\n", "x".repeat(255));
    assert_valid(&project);
}

#[test]
fn quiet_does_not_silence_the_answer() {
    let machine = Machine::new();
    fs::write(machine.path("work/good.yaml"), "").unwrap();
    fs::write(machine.path("work/bad.yaml"), "x: 1\ny: 2\n").unwrap();
    let good = machine.trop(["--quiet", "validate", "good.yaml"]);
    assert_eq!((good.code, good.stderr.as_str()), (0, ""));
    assert!(good.stdout.contains("valid"));
    let bad = machine.trop(["--quiet", "validate", "bad.yaml"]);
    assert_findings(&bad, "bad.yaml", &[("configuration", 1), ("configuration", 2)]);
}

#[test]
fn a_file_that_cannot_be_checked_is_another_failure() {
    let machine = Machine::new();
    assert_syntax_error(&machine.trop(["validate"]));
    machine.refuses(4, &["not found", "missing.yaml"], ["validate", "missing.yaml"]);
    machine.refuses(4, &["not found"], ["validate", "missing/trop.yaml"]);
    machine.refuses(4, &["not a file"], ["validate", "."]);
    machine.refuses(4, &["not a file"], ["validate", "/dev/null"]);
    symlink("loop.yaml", machine.path("work/loop.yaml")).unwrap();
    machine.refuses(5, &["loop.yaml"], ["validate", "loop.yaml"]);
}

/// Trap 82 (only the first problem).
#[test]
fn every_problem_is_reported_with_its_line() {
    let machine = Machine::new();
    let content = "project: ''\n\
                   ports:\n  max: 70000\n  max_offset: 0\n\
                   excluded_ports:\n- 0\n- 9..8\n- {start: 3}\n- ok\n\
                   surprise: 1\n\
                   disable_autoinit: yes\n\
                   disable_autoinit: true\n\
                   cleanup: {expire_after_days: 0}\n";
    let outcome = validate(&machine, "trop.yaml", content);
    let fields = [
        ("project", 1),
        ("ports.min", 3),
        ("ports.max", 3),
        ("ports.max_offset", 4),
        ("ports.max_offset", 4),
        ("excluded_ports", 6),
        ("excluded_ports", 7),
        ("excluded_ports", 8),
        ("excluded_ports", 9),
        ("configuration", 10),
        ("disable_autoinit", 11),
        ("configuration", 12),
        ("cleanup.expire_after_days", 13),
    ];
    assert_findings(&outcome, "trop.yaml", &fields);
    for token in
        ["Cannot be empty", "required", "entry 1", "entry 2", "entry 3", "entry 4", "'surprise'", "twice"]
    {
        assert!(outcome.stderr.contains(token), "{token}: {outcome:?}");
    }
    assert!(outcome.stderr.ends_with("13 problems\n"), "{outcome:?}");
}

#[test]
fn each_broken_rule_names_its_field() {
    let machine = Machine::new();
    for (field, content) in [
        ("configuration", "- a\n"),
        ("configuration", "text\n"),
        ("configuration", "5\n"),
        ("configuration", "Project: x\n"),
        ("configuration", "? [a]\n: 1\n"),
        ("project", "project: 5\n"),
        ("project", "project: true\n"),
        ("project", "project: [x]\n"),
        ("project", "project: \"a\\0b\"\n"),
        ("project", "project: '   '\n"),
        ("ports", "ports: 5000\n"),
        ("ports", "ports: {min: 1, step: 2}\n"),
        ("ports.min", "ports: {}\n"),
        ("ports.min", "ports: {min: 0}\n"),
        ("ports.min", "ports: {min: '5000'}\n"),
        ("ports.min", "ports: {min: 5000.0}\n"),
        ("ports.min", "ports: {min: -1}\n"),
        ("ports.min", "ports: {min: 99999999999999999999999999999999999999999999}\n"),
        ("ports.max", "ports: {min: 5000, max: 4999}\n"),
        ("ports.max", "ports: {min: 5000, max: 65536}\n"),
        ("ports.max_offset", "ports: {min: 5000, max: 6000, max_offset: 10}\n"),
        ("ports.max_offset", "ports: {min: 5000, max_offset: 0}\n"),
        ("ports.max_offset", "ports: {min: 5000, max_offset: 60536}\n"),
        ("lease_ports.min", "lease_ports: {max: 20000}\n"),
        ("lease_ports.max", "lease_ports: {min: 20000, max: 19999}\n"),
        ("lease_ports.max_offset", "lease_ports: {min: 20000, max_offset: 45536}\n"),
        ("lease_ports", "lease_ports: 20000\n"),
        ("excluded_ports", "excluded_ports: 5001\n"),
        ("excluded_ports", "excluded_ports: [70000]\n"),
        ("excluded_ports", "excluded_ports: [1..70000]\n"),
        ("excluded_ports", "excluded_ports: [null]\n"),
        ("excluded_ports", "excluded_ports: [{start: 5, end: 4}]\n"),
        ("cleanup", "cleanup: 30\n"),
        ("cleanup.expire_after_days", "cleanup: {expire_after_days: 4294967296}\n"),
        ("occupancy_check", "occupancy_check: {skip_ipv4: true}\n"),
        ("occupancy_check.skip", "occupancy_check: {skip: 'true'}\n"),
        ("occupancy_check.skip_ip6", "occupancy_check: {skip_ip6: 1}\n"),
        ("disable_autoprune", "disable_autoprune: on\n"),
        ("allow_change", "allow_change: [true]\n"),
        ("maximum_lock_wait_seconds", "maximum_lock_wait_seconds: -1\n"),
        ("maximum_lock_wait_seconds", "maximum_lock_wait_seconds: 1.5\n"),
        ("output_format", "output_format: Table\n"),
        ("output_format", "output_format: xml\n"),
        ("reservations", "reservations: []\n"),
        ("reservations.services", "reservations: {}\n"),
        ("reservations.services", "reservations: {services: null}\n"),
        ("reservations.services", "reservations: {services: [web]}\n"),
        ("reservations.base", "reservations: {base: 65536, services: {}}\n"),
        ("reservations.base", "ports: {min: 5000, max: 5100}\nreservations: {base: 5101, services: {}}\n"),
        (
            "reservations.base",
            "ports: {min: 5000, max_offset: 9}\nreservations: {base: 5010, services: {}}\n",
        ),
        ("reservations.base", "ports: {min: 5000}\nreservations: {base: 4999, services: {}}\n"),
        ("reservations.services.offset", &group("web: {offset: -1}\n")),
        ("reservations.services.offset", &group("web: {offset: 65536}\n")),
        ("reservations.services.offset", &group("a: {}\nb: {preferred: 9000}\n")),
        ("reservations.services.preferred", &group("web: {preferred: 0}\n")),
        ("reservations.services.preferred", &group("a: {preferred: 9}\nb: {preferred: 9, offset: 1}\n")),
        ("reservations.services", &group("web: {port: 1}\n")),
        ("reservations.services", &group("web: 8080\n")),
    ] {
        let outcome = validate(&machine, "trop.yaml", content);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{content}: {outcome:?}");
        let start = format!("validation error: {field}: 'trop.yaml' line ");
        assert!(outcome.stderr.starts_with(&start), "{start} {content}: {outcome:?}");
        assert_eq!(outcome.stderr.lines().count(), 2, "{content}: {outcome:?}");
        // The same file stops the commands that read it, and changes nothing.
        machine.refuses(7, &["validation error", field, text(&machine.path("work/trop.yaml"))], ["reserve"]);
    }
}

#[test]
fn what_is_no_document_is_a_parse_error() {
    let machine = Machine::new();
    let deep = "[".repeat(10_000);
    let large = format!("# {}\n", "x".repeat(1 << 20));
    for content in ["a: [1", "a: 1\n---\nb: 2\n", "a:\n\t- b\n", "project: !x y\n", "\"", &deep, &large] {
        let outcome = validate(&machine, "trop.yaml", content);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{outcome:?}");
        assert!(
            outcome.stderr.contains("Parse error") && outcome.stderr.contains("'trop.yaml' line "),
            "{outcome:?}"
        );
        machine.refuses(7, &["validation error", "Parse error", "trop.yaml"], ["list"]);
    }
    fs::write(machine.path("work/trop.yaml"), b"project: caf\xe9\n").unwrap();
    let outcome = machine.trop(["validate", "trop.yaml"]);
    assert!(outcome.code == 1 && outcome.stderr.contains("UTF-8"), "{outcome:?}");
}

#[test]
fn a_hostile_document_ends_quickly() {
    let machine = Machine::new();
    let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
    for level in 1..30 {
        let below = vec![format!("*a{}", level - 1); 10].join(",");
        writeln!(bomb, "a{level}: &a{level} [{below}]").unwrap();
    }
    let outcome = validate(&machine, "trop.yaml", &bomb);
    assert!(outcome.code == 1 && outcome.stderr.contains("Parse error"), "{outcome:?}");
}

/// Trap 77 (a project's keys in the user's file).
#[test]
fn project_keys_are_refused_in_a_user_file() {
    let machine = Machine::new();
    let content = "project: shop\nreservations:\n  services: {}\n";
    let outcome = validate(&machine, "config.yaml", content);
    assert_findings(&outcome, "config.yaml", &[("project", 1), ("reservations", 3)]);
    assert_eq!(validate(&machine, "trop.yaml", content).code, 0);
    assert_eq!(validate(&machine, "config.yaml", "project: null\nreservations: null\n").code, 0);
}

/// Traps 1 (names that are no variables), 3 (a bad name is quoted), 5 (upper case of Unicode), 7 (an error
/// repeats hostile text).
#[test]
fn a_tag_that_makes_no_variable_is_refused_and_not_repeated() {
    let machine = Machine::new();
    for tag in [
        "9web",
        "web port",
        "a.b",
        "w\u{e9}b",
        "stra\u{df}e",
        "\u{17f}",
        "x\\nexport EVIL=1",
        "$(id)",
        "\\e[31m",
    ] {
        let outcome = validate(&machine, "trop.yaml", &group(&format!("\"{tag}\": {{}}\n")));
        assert_findings(&outcome, "trop.yaml", &[("reservations.services", 3)]);
        for echo in [tag, "EVIL", "\u{1b}", "u{1b}", "export"] {
            assert!(!outcome.stderr.contains(echo), "{tag}: {outcome:?}");
        }
    }
    for tag in ["EVIL\\0=1".to_owned(), "EVIL".repeat(64)] {
        let outcome = validate(&machine, "trop.yaml", &group(&format!("\"{tag}\": {{env: FINE}}\n")));
        assert_findings(&outcome, "trop.yaml", &[("reservations.services", 3)]);
        assert!(!outcome.stderr.contains("EVIL"), "{outcome:?}");
    }
    for name in ["", "9x", "a b", "a-b", "\u{e9}", "A;B", "EVIL=1", &"X".repeat(256)] {
        let outcome = validate(&machine, "trop.yaml", &group(&format!("web: {{env: \"{name}\"}}\n")));
        assert_findings(&outcome, "trop.yaml", &[("reservations.services.env", 3)]);
        assert!(name.is_empty() || !outcome.stderr.contains(&format!(" {name}")), "{outcome:?}");
    }
    assert_valid(&group(&format!("9web: {{env: {}}}\n", "X".repeat(255))));
}

/// Trap 4 (two services with one name).
#[test]
fn services_need_names_that_differ_by_more_than_case() {
    let machine = Machine::new();
    for services in [
        "api-server: {}\napi_server: {offset: 1}\n",
        "web: {}\nWEB: {offset: 1}\n",
        "web: {}\ndb: {offset: 1, env: WEB}\n",
        "a: {env: WEB_PORT}\nb: {offset: 1, env: web_port}\n",
    ] {
        let outcome = validate(&machine, "trop.yaml", &group(services));
        assert_findings(&outcome, "trop.yaml", &[("reservations.services.env", 4)]);
    }
}

/// Trap 25 (tags with their blanks).
#[test]
fn tags_are_compared_trimmed() {
    let machine = Machine::new();
    let outcome = validate(&machine, "trop.yaml", &group("web: {}\n\" web\\t\": {offset: 1, env: OTHER}\n"));
    assert_findings(&outcome, "trop.yaml", &[("reservations.services", 4)]);
    assert!(outcome.stderr.contains("must be unique after trimming whitespace"), "{outcome:?}");
    let blank = validate(&machine, "trop.yaml", &group("'  ': {env: X}\n"));
    assert!(blank.stderr.contains("Cannot be empty"), "{blank:?}");
}

#[test]
fn nothing_but_the_file_is_looked_at() {
    let machine = Machine::new();
    fs::write(machine.path("work/trop.yaml"), "broken: [").unwrap();
    fs::create_dir(machine.path("data")).unwrap();
    fs::write(machine.path("data/config.yaml"), "broken: [").unwrap();
    fs::write(machine.path("work/other.yaml"), "").unwrap();
    let outcome =
        crate::support::run(machine.command(["validate", "other.yaml"]).env("TROP_BUSY_TIMEOUT", "x"));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(!machine.database().exists());
    let unused = machine.trop(["validate", "missing", "--busy-timeout", "2147484"]);
    assert_failure(&unused, 4, &["not found"]);
}
