//! `reserve-group` and `autoreserve`: output, errors, and the rows they leave.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Machine, Outcome, assert_failure, assert_syntax_error, run, text};

/// The group that the contract's examples use.
pub(crate) const SHOP: &str = "\
ports: {min: 5000, max: 5100}
reservations:
  services:
    web: {preferred: 8080, env: WEB_PORT}
    api-v2: {offset: 1}
    db: {offset: 2, env: db_port}
";

pub(crate) fn machine(yaml: &str) -> Machine {
    let machine = Machine::without_range();
    write(&machine, "trop.yaml", yaml);
    machine
}

fn write(machine: &Machine, name: &str, content: &str) {
    fs::write(machine.path("work").join(name), content).unwrap();
}

/// The command without probes, so that other programs on the machine do not matter.
pub(crate) fn command(machine: &Machine, arguments: &[&str]) -> Command {
    let mut command = machine.command(arguments);
    command.env("TROP_SKIP_OCCUPANCY_CHECK", "1");
    command
}

pub(crate) fn trop(machine: &Machine, arguments: &[&str]) -> Outcome {
    run(&mut command(machine, arguments))
}

fn refuses(machine: &Machine, code: i32, tokens: &[&str], arguments: &[&str]) {
    machine.refuses_command(code, tokens, &mut command(machine, arguments));
}

/// The two ways to ask for the same group; the first names the file.
fn both<'a>(options: &[&'a str]) -> [Vec<&'a str>; 2] {
    [[&["reserve-group", "trop.yaml"], options].concat(), [&["autoreserve"], options].concat()]
}

fn column(machine: &Machine, name: &str) -> Vec<Value> {
    machine.rows().iter().map(|row| row[name].clone()).collect()
}

fn age(machine: &Machine) {
    machine.sql("UPDATE reservations SET created_at = 1000, last_used_at = 2000");
}

/// Traps 11 (a group is allocated again), 12 (two commands answer differently), 24 (ports that change), 26
/// (the order of a hash map): the same bytes from both commands, however often they are asked.
#[test]
fn each_format_is_as_it_was() {
    let machine = machine(SHOP);
    for (options, golden) in [
        (&["--format", "json"][..], include_str!("../golden/group.json")),
        (&["--format", "export", "--shell", "bash"], include_str!("../golden/group.sh")),
        (&["--shell", "sh"], include_str!("../golden/group.sh")),
        (&["--shell", "ZSH"], include_str!("../golden/group.sh")),
        (&["--shell", "fish"], include_str!("../golden/group.fish")),
        (&["--shell", "PowerShell"], include_str!("../golden/group.ps1")),
        (&["--shell", "ps"], include_str!("../golden/group.ps1")),
        (&["--format", "dotenv"], include_str!("../golden/group.env")),
    ] {
        for arguments in [both(options), both(options)].concat() {
            let outcome = trop(&machine, &arguments);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (0, golden), "{arguments:?}");
            assert!(outcome.stderr.contains("Reserved 3 ports"), "{outcome:?}");
            let quiet = trop(&machine, &[&["--quiet"], &arguments[..]].concat());
            assert_eq!(quiet, Outcome { code: 0, stdout: golden.to_owned(), stderr: String::new() });
            let verbose = trop(&machine, &[&["--verbose"], &arguments[..]].concat());
            assert_eq!((verbose.code, verbose.stdout.as_str()), (0, golden));
        }
    }
    for arguments in both(&["--format", "human"]) {
        let outcome = trop(&machine, &arguments);
        let expected = include_str!("../golden/group.txt").replace("WORK", &machine.work());
        assert_eq!((outcome.code, outcome.stdout), (0, expected), "{arguments:?}");
    }
}

#[test]
fn notes_say_what_was_done_and_where_it_comes_from() {
    let machine = machine(SHOP);
    let work = machine.work();
    let first = trop(&machine, &["autoreserve"]);
    assert_eq!(first.stderr, format!("Discovered '{work}/trop.yaml'\nReserved 3 ports for '{work}'\n"));
    let again = trop(&machine, &["reserve-group", "trop.yaml"]);
    assert_eq!(again.stderr, format!("Reserved 3 ports for '{work}' as before\n"));
    machine.sql("UPDATE reservations SET tag = 'x' WHERE tag = 'db'");
    let forced = trop(&machine, &["reserve-group", "--force", "trop.yaml"]);
    assert_eq!(forced.stderr, format!("Reserved 3 ports for '{work}' in place of others\n"));
    assert_eq!(forced.stdout, first.stdout);
    // A preferred port that cannot be had is no error.
    machine
        .sql("DELETE FROM reservations; INSERT INTO reservations VALUES ('/x', '', 8080, NULL, NULL, 1, 1)");
    let outcome = trop(&machine, &["reserve-group", "trop.yaml"]);
    let warning = "Warning: preferred port 8080 of 'web' was not used: another path or tag has it\n";
    assert_eq!(outcome.stderr, format!("{warning}Reserved 3 ports for '{work}'\n"));
    assert_eq!(outcome.stdout, "export API_V2=5001\nexport db_port=5002\nexport WEB_PORT=5000\n");
}

#[test]
fn what_these_commands_do_not_have_is_a_syntax_error() {
    let machine = machine(SHOP);
    for options in [
        &["--project", "x"][..],
        &["--min", "5000"],
        &["--max", "5000"],
        &["--port", "5000"],
        &["--tag", "x"],
        &["--clear-task"],
        &["--disable-autoclean"],
        &["--format", "JSON"],
        &["--format", "table"],
        &["--format"],
        &["--force", "--force"],
    ] {
        for arguments in both(options) {
            assert_syntax_error(&trop(&machine, &arguments));
        }
    }
    assert_syntax_error(&trop(&machine, &["reserve-group"]));
    assert_syntax_error(&trop(&machine, &["autoreserve", "trop.yaml"]));
    assert!(!machine.path("data").exists());
}

/// Trap 9 (an unknown shell is noticed late).
#[test]
fn an_unknown_shell_is_noticed_before_anything_else() {
    let machine = machine("broken: [");
    for shell in ["csh", "", "bash ", "b\nexport A=1"] {
        for options in [
            &["--shell", shell][..],
            &["--shell", shell, "--format", "json"],
            &["--dry-run", "--shell", shell],
        ] {
            for arguments in both(options) {
                refuses(&machine, 6, &["validation error", "bash"], &arguments);
                assert!(!trop(&machine, &arguments).stderr.contains("export"));
            }
        }
    }
    assert!(!machine.path("data").exists());
}

#[test]
fn files_that_are_missing_or_no_files_come_before_everything_that_is_read() {
    let machine = Machine::new();
    machine.directory("work/directory");
    for options in [
        &[][..],
        &["--dry-run"],
        &["--disable-autoinit"],
        &["--task", ""],
        &["--dry-run", "--disable-autoinit"],
    ] {
        let group = |file| [&["reserve-group", file], options].concat();
        refuses(&machine, 4, &["not found", "'missing.yaml'"], &group("missing.yaml"));
        refuses(&machine, 4, &["not found"], &group("missing/trop.yaml"));
        refuses(&machine, 4, &["not a file", "'directory'"], &group("directory"));
        if !options.contains(&"--task") {
            refuses(
                &machine,
                4,
                &["No trop configuration file found"],
                &[&["autoreserve"], options].concat(),
            );
        }
    }
    // Files of other names are not looked for.
    for name in [".trop.yaml", "trop.yml", "config.yaml"] {
        write(&machine, name, SHOP);
    }
    let start = machine.work();
    refuses(&machine, 4, &["No trop configuration file found", "trop.local.yaml", &start], &["autoreserve"]);
    assert!(!machine.path("data").exists());
    // `TROP_PATH` does not change where files are looked for.
    let elsewhere = machine.directory("elsewhere");
    fs::write(elsewhere.join("trop.yaml"), SHOP).unwrap();
    let mut command = command(&machine, &["autoreserve"]);
    machine.refuses_command(4, &["No trop configuration file found"], command.env("TROP_PATH", &elsewhere));
    // Nothing is found from a working directory that was deleted.
    let gone = machine.directory("gone");
    let script = format!("rmdir '{}' && exec '{}' autoreserve", text(&gone), env!("CARGO_BIN_EXE_trop"));
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]).current_dir(&gone).env("TROP_DATA_DIR", machine.path("data"));
    assert_failure(&run(&mut shell), 5, &["working directory"]);
}

#[test]
fn bad_files_and_missing_groups_change_nothing() {
    for (yaml, code, tokens) in [
        ("a: [", 7, &["validation error", "Parse error", "trop.yaml' line"][..]),
        ("reservations: [", 7, &["Parse error"]),
        ("reservations: {}", 7, &["reservations.services", "required"]),
        ("reservations: {services: null}", 7, &["reservations.services", "required"]),
        ("reservations: {services: {}}", 6, &["reservations.services", "empty", "required"]),
        ("reservations: {services: [web]}", 7, &["validation error", "reservations.services"]),
        ("reservations: null", 6, &["`reservations: null`", "trop.yaml' line 1"]),
        ("ports: {min: 5000}", 6, &["`reservations`", "trop.yaml'"]),
        ("", 6, &["`reservations`"]),
        ("reservations: {base: 0, services: {web: {}}}", 7, &["reservations.base"]),
        (
            "reservations: {base: 4000, services: {web: {}}}",
            7,
            &["reservations.base", "5000..7000", "built-in default"],
        ),
        ("reservations: {services: {web: {offset: -1}}}", 7, &["reservations.services.offset"]),
        ("reservations: {services: {web: {offset: 65536}}}", 7, &["reservations.services.offset"]),
        ("reservations: {services: {web: {preferred: 0}}}", 7, &["reservations.services.preferred"]),
        ("reservations: {services: {web: {}, api: {}}}", 7, &["reservations.services.offset", "same offset"]),
        ("reservations: {services: {web: {}, api: {preferred: 1}}}", 7, &["same offset"]),
        ("reservations: {services: {a: {preferred: 1}, b: {offset: 1, preferred: 1}}}", 7, &["same port"]),
        ("reservations: {services: {a: {port: 1}}}", 7, &["unknown key", "offset, preferred, env"]),
        (
            "project: ' '\nreservations: {services: {a: {}}}",
            7,
            &["Cannot be empty", "project", "trop.yaml' line 1"],
        ),
    ] {
        let machine = machine(yaml);
        for options in [&[][..], &["--dry-run"], &["--force"], &["--format", "json"]] {
            for arguments in both(options) {
                refuses(&machine, code, tokens, &arguments);
            }
        }
        assert!(!machine.path("data").exists(), "{yaml}");
    }
}

/// Traps 1 (names that are no variables), 2 (names judged late), 3 (a bad name is quoted), 4 (two services
/// with one name), 5 (upper case of Unicode), 7 (an error repeats hostile text), 25 (tags with their blanks):
/// nothing is printed, nothing stored, and nothing hostile repeated, whatever the format.
#[test]
fn hostile_names_are_refused_and_never_repeated() {
    let long = format!("{}: {{}}", "A".repeat(256));
    let hostile = [
        r#""x; touch HOSTILE": {}"#,
        r#""$(touch HOSTILE)": {}"#,
        r#""`touch HOSTILE`": {}"#,
        r#""HOSTILE\nexport PATH=/": {}"#,
        r#""HOSTILE\e[2J": {}"#,
        r#""HOSTILE ": {env: "A B"}"#,
        r#"web: {env: "HOSTILE=1; id"}"#,
        r#"web: {env: "HOSTILE\nexport B"}"#,
        r#"web: {env: "9HOSTILE"}"#,
        r#"web: {env: ""}"#,
        r#"web: {env: "wéb-HOSTILE"}"#,
        "9HOSTILE: {}",
        "web HOSTILE: {}",
        "a.HOSTILE: {}",
        "wéHOSTILE: {}",
        "HOSTILEß: {}",
        "HOSTILE\u{17f}: {}",
        r#""HOSTILE\0": {}"#,
        r#""  ": {env: HOSTILE}"#,
        &long,
    ];
    let twice = [
        "HOSTILE-x: {}, HOSTILE_x: {offset: 1}",
        "HOSTILE: {}, hostile: {offset: 1}",
        "web: {env: HOSTILE_}, HOSTILE-: {offset: 1}",
        "web: {env: HOSTILE}, api: {env: hostile, offset: 1}",
    ];
    let trimmed =
        [r#"HOSTILE: {}, " HOSTILE ": {offset: 1, env: OTHER}"#, r#"HOSTILE: {}, "HOSTILE\u2003": {}"#];
    for services in hostile.iter().chain(&twice).chain(&trimmed) {
        let machine = machine(&format!("reservations: {{services: {{good: {{offset: 9}}, {services}}}}}\n"));
        let unique = trimmed.contains(services).then_some("must be unique after trimming whitespace");
        for format in ["export", "dotenv", "json", "human"] {
            for arguments in
                [both(&["--format", format]), both(&["--dry-run", "--force", "--format", format])].concat()
            {
                let outcome = trop(&machine, &arguments);
                assert_failure(&outcome, 7, &["validation error", unique.unwrap_or("reservations.services")]);
                assert!(!outcome.stderr.to_lowercase().contains("hostile"), "{services}: {outcome:?}");
                assert!(
                    !outcome.stderr.contains(&"A".repeat(20)) && !outcome.stderr.contains("export"),
                    "{outcome:?}"
                );
            }
        }
        // A shell that evaluates the output does nothing.
        let script = format!("eval \"$('{}' autoreserve)\"; ls", env!("CARGO_BIN_EXE_trop"));
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &script])
            .current_dir(machine.path("work"))
            .env("TROP_DATA_DIR", machine.path("data"));
        assert_eq!(run(&mut shell).stdout, "trop.yaml\n", "{services}");
        assert!(!machine.path("data").exists(), "{services}");
    }
}

/// A tag with an explicit variable name can be any text: it is trimmed, stored, and escaped for people.
#[test]
fn strange_tags_with_good_names_are_fine() {
    let hostile = r#"" web\nexport A=1\e[2J ": {env: WEB, preferred: 8080}"#;
    let yaml = format!("reservations: {{services: {{{hostile}, \"日本\": {{env: _J, offset: 1}}}}}}");
    let machine = machine(&yaml);
    machine.trop(["list"]);
    machine.sql("INSERT INTO reservations VALUES ('/x', '', 8080, NULL, NULL, 1, 1)");
    for options in [&["--format", "human"][..], &["--dry-run"], &["--format", "json"], &[]] {
        let outcome = trop(&machine, &both(options)[1]);
        assert_eq!(outcome.code, 0, "{outcome:?}");
        for line in
            outcome.stderr.lines().chain(outcome.stdout.lines().filter(|_| options.contains(&"human")))
        {
            assert!(!line.trim_start().starts_with("export") && !line.contains('\u{1b}'), "{line}");
        }
    }
    assert_eq!(trop(&machine, &["autoreserve"]).stdout, "export WEB=5000\nexport _J=5001\n");
    let json: Value =
        serde_json::from_str(&trop(&machine, &["autoreserve", "--format", "json"]).stdout).unwrap();
    assert_eq!(json, json!({"web\nexport A=1\u{1b}[2J": 5000, "日本": 5001}));
    assert_eq!(column(&machine, "tag")[..2], [json!("web\nexport A=1\u{1b}[2J"), json!("日本")]);
}

/// Traps 14 (mended piece by piece), 27 (a foreign row blocks in silence).
#[test]
fn a_conflict_tells_what_differs_and_how_to_replace_it() {
    let machine = machine(SHOP);
    trop(&machine, &["autoreserve"]);
    age(&machine);
    machine.sql("UPDATE reservations SET tag = 'evil' || char(10) || 'export A=1' WHERE tag = 'db'");
    for options in
        [&[][..], &["--dry-run"], &["--format", "json"], &["--allow-change", "--allow-unrelated-path"]]
    {
        for arguments in both(options) {
            refuses(
                &machine,
                6,
                &["reservation conflict", "1 of 3 services", "reserve --tag", "--force"],
                &arguments,
            );
            assert!(!trop(&machine, &arguments).stderr.contains("evil"));
        }
    }
    // The replacement, first as a dry run.
    let before = machine.rows();
    let outcome = trop(&machine, &["autoreserve", "--force", "--dry-run"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    assert_eq!(machine.rows(), before);
    assert_eq!(trop(&machine, &["autoreserve", "--force"]).stdout, include_str!("../golden/group.sh"));
    assert_eq!(column(&machine, "tag"), ["api-v2", "db", "web"]);
    assert!(column(&machine, "created_at").iter().all(|time| time != &before[0]["created_at"]));
}

/// Trap 15 (a failed replacement loses rows), and that a failed insert leaves nothing.
#[test]
fn a_rule_of_another_program_undoes_the_whole_group() {
    let machine = machine(SHOP);
    machine.trop(["list"]);
    let trigger = "CREATE TRIGGER no BEFORE INSERT ON reservations WHEN NEW.tag = 'db'
        BEGIN SELECT RAISE(ABORT, 'not this one'); END";
    machine.sql(trigger);
    for arguments in both(&[]) {
        refuses(&machine, 6, &["not this one"], &arguments);
        assert_eq!(machine.rows(), [] as [Value; 0]);
    }
    machine.sql("DROP TRIGGER no");
    trop(&machine, &["autoreserve"]);
    age(&machine);
    machine.sql("DELETE FROM reservations WHERE tag = 'api-v2'");
    machine.sql(trigger);
    for arguments in both(&["--force"]) {
        refuses(&machine, 6, &["not this one"], &arguments);
        assert_eq!(column(&machine, "tag"), ["db", "web"]);
    }
}

#[test]
fn project_and_task_come_from_where_they_may() {
    let machine = machine(SHOP);
    let mut request = command(&machine, &["autoreserve"]);
    assert_eq!(run(request.env("TROP_PROJECT", "shop").env("TROP_TASK", "variable")).code, 0);
    assert_eq!(column(&machine, "task"), ["variable"; 3]);
    age(&machine);
    // A task that is omitted, or equal after trimming, changes nothing.
    assert_eq!(trop(&machine, &["autoreserve", "--task", " variable "]).code, 0);
    assert_eq!(
        (column(&machine, "project"), column(&machine, "task")),
        (vec![json!("shop"); 3], vec![json!("variable"); 3])
    );
    age(&machine);
    for (options, flag, field) in [
        (&["--task", "flag"][..], "--allow-task-change", "sticky field 'task'"),
        (&["--task", "flag", "--allow-project-change"], "--allow-task-change", "sticky field 'task'"),
    ] {
        for arguments in both(options) {
            refuses(&machine, 1, &[field, flag], &arguments);
            refuses(&machine, 1, &[field, flag], &[&arguments[..], &["--dry-run"]].concat());
        }
    }
    // The flag beats the variable.
    let mut request = command(&machine, &["autoreserve", "--task", "flag", "--allow-task-change"]);
    assert_eq!(run(request.env("TROP_TASK", "variable")).code, 0);
    assert_eq!(column(&machine, "task"), ["flag"; 3]);
    write(&machine, "trop.yaml", &format!("{SHOP}project: store\n"));
    refuses(
        &machine,
        1,
        &["sticky field 'project'", "--allow-project-change", "'shop'"],
        &["autoreserve", "--allow-task-change"],
    );
    for (arguments, project) in [
        (&["autoreserve", "--allow-project-change"][..], "store"),
        (&["autoreserve", "--allow-change"], "p2"),
        (&["autoreserve", "--force"], "p3"),
    ] {
        write(&machine, "trop.yaml", &format!("{SHOP}project: {project}\n"));
        assert_eq!(trop(&machine, arguments).code, 0, "{arguments:?}");
        assert_eq!(column(&machine, "project"), [project; 3]);
    }
    for arguments in both(&["--task", " "]) {
        refuses(&machine, 7, &["task", "Cannot be empty"], &arguments);
    }
    machine.refuses_command(7, &["TROP_TASK"], command(&machine, &["autoreserve"]).env("TROP_TASK", ""));
}

/// Trap 13 (the spelling of the file's name): every spelling stores one absolute directory.
#[test]
fn every_spelling_of_the_file_is_one_group() {
    let machine = machine(SHOP);
    machine.directory("work/below");
    symlink(machine.path("work"), machine.path("link")).unwrap();
    let absolute = machine.path("work/trop.yaml");
    for spelling in [
        "trop.yaml",
        "./trop.yaml",
        "below/../trop.yaml",
        "../work/trop.yaml",
        "../link/trop.yaml",
        text(&absolute),
    ] {
        let outcome = trop(&machine, &["reserve-group", spelling]);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (0, include_str!("../golden/group.sh")),
            "{outcome:?}"
        );
    }
    // From a directory below, through the link, and both.
    for directory in ["work/below", "link", "link/below"] {
        let mut command = command(&machine, &["autoreserve"]);
        let outcome = run(command.current_dir(machine.path(directory)));
        assert_eq!(outcome.stdout, include_str!("../golden/group.sh"), "{outcome:?}");
        assert!(
            outcome.stderr.contains(&format!("Discovered '{}/trop.yaml'", machine.work())),
            "{outcome:?}"
        );
    }
    assert_eq!(column(&machine, "path"), [machine.work().as_str(); 3]);
    // `prune` keeps it, because the stored path exists.
    assert!(machine.trop(["prune"]).stderr.contains("Removed 0"));

    let latin = machine.path("work").join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    fs::create_dir(&latin).unwrap();
    fs::copy(machine.path("work/trop.yaml"), latin.join("trop.yaml")).unwrap();
    assert_failure(&run(command(&machine, &["autoreserve"]).current_dir(&latin)), 6, &["not valid UTF-8"]);
    for options in [&[][..], &["--dry-run"]] {
        let missing = [&["--data-dir", "none", "--disable-autoinit", "autoreserve"], options].concat();
        assert_failure(&run(command(&machine, &missing).current_dir(&latin)), 6, &["not valid UTF-8"]);
    }
}

/// Traps 19 (a group sees one file only), 20 (an overlay removes the group), 22 (null is taken for omitted):
/// the whole configuration counts, and a private file overlays the other.
#[test]
fn the_private_file_overlays_the_project_file() {
    let machine = machine(SHOP);
    write(&machine, "trop.local.yaml", "excluded_ports: [5001]\n");
    let expected = "{\n  \"api-v2\": 5002,\n  \"db\": 5003,\n  \"web\": 8080\n}\n";
    for file in ["trop.yaml", "trop.local.yaml"] {
        assert_eq!(trop(&machine, &["reserve-group", file, "--format", "json"]).stdout, expected);
    }
    let outcome = trop(&machine, &["autoreserve"]);
    assert!(outcome.stderr.contains("/trop.yaml'"), "{outcome:?}");
    let before = machine.rows();
    write(&machine, "trop.local.yaml", "reservations: null\n");
    for arguments in [both(&[]), both(&["--dry-run"]), both(&["--force"])].concat() {
        refuses(&machine, 6, &["`reservations: null`", "trop.local.yaml' line 1"], &arguments);
    }
    assert_eq!(machine.rows(), before);
    // A file with another name counts alone, without range and exclusions of the files beside it.
    write(&machine, "trop.local.yaml", "reservations: {services: {solo: {}}}\nexcluded_ports: [5000]\n");
    write(&machine, "ports.yaml", "reservations: {services: {solo: {}}}\n");
    machine.trop(["release"]);
    assert_eq!(trop(&machine, &["reserve-group", "ports.yaml"]).stdout, "export SOLO=5000\n");
    machine.trop(["release"]);
    let outcome = trop(&machine, &["autoreserve"]);
    assert_eq!(outcome.stdout, "export SOLO=5001\n");
    assert!(
        outcome.stderr.contains("Discovered") && outcome.stderr.contains("/trop.local.yaml'"),
        "{outcome:?}"
    );
    // The user's file and the variables count too.
    machine.trop(["release"]);
    fs::write(machine.path("data/config.yaml"), "excluded_ports: [5000]\n").unwrap();
    let mut request = command(&machine, &["reserve-group", "ports.yaml"]);
    assert_eq!(run(request.env("TROP_EXCLUDED_PORTS", "5001,5002")).stdout, "export SOLO=5003\n");
    machine.trop(["release"]);
    let mut request = command(&machine, &["reserve-group", "ports.yaml"]);
    assert_eq!(run(request.env("TROP_PORT_MIN", "6100")).stdout, "export SOLO=6100\n");
}

#[test]
fn the_path_guard_is_looked_at_under_the_lock() {
    let machine = machine(SHOP);
    machine.trop(["list"]);
    let elsewhere = machine.directory("elsewhere");
    let file = machine.path("work/trop.yaml");
    let group = |options: &[&str]| {
        let mut command = command(&machine, &[&["reserve-group", text(&file)], options].concat());
        command.current_dir(&elsewhere);
        command
    };
    let tokens = [
        "path relationship violation",
        "unrelated",
        &machine.work(),
        text(&elsewhere),
        "--allow-unrelated-path",
    ];
    for options in [&[][..], &["--allow-change"], &["--format", "json"]] {
        machine.refuses_command(1, &tokens, &mut group(options));
    }
    // The exception: a dry run works from anywhere, and prints what the real run would print.
    let outcome = run(&mut group(&["--dry-run"]));
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
    for token in ["Warning: the real run would be refused", "unrelated", "Dry run", "5001  api-v2"] {
        assert!(outcome.stderr.contains(token), "{token}: {outcome:?}");
    }
    assert_eq!(run(&mut group(&["--dry-run", "--quiet"])).stderr, "");
    // Every other error stays an error.
    assert_failure(
        &run(&mut group(&["--dry-run", "--disable-autoinit", "--data-dir", "none"])),
        3,
        &["Data directory not found"],
    );
    for permitted in [
        &mut group(&["--allow-unrelated-path"]),
        &mut group(&["--force"]),
        group(&[]).env("TROP_ALLOW_UNRELATED_PATH", "1"),
    ] {
        let outcome = run(permitted);
        assert_eq!(
            (outcome.code, outcome.stdout.as_str()),
            (0, include_str!("../golden/group.sh")),
            "{outcome:?}"
        );
    }
    age(&machine);
    let lock = machine.lock();
    for command in [
        &mut group(&["--busy-timeout", "0"]),
        &mut command(&machine, &["autoreserve", "--busy-timeout", "0"]),
    ] {
        let outcome = run(command);
        assert_failure(&outcome, 2, &["database lock timeout", "0s"]);
    }
    // A dry run waits for no lock.
    let preview = trop(&machine, &["autoreserve", "--dry-run", "--busy-timeout", "0"]);
    assert_eq!(preview.code, 0, "{preview:?}");
    lock.release();
    assert_eq!(column(&machine, "last_used_at"), ["1970-01-01 00:33:20"; 3]);
}

#[test]
fn a_dry_run_shows_the_real_plan_and_creates_nothing() {
    let machine = machine(SHOP);
    let plan = format!(
        "Dry run: would reserve 3 ports for '{}':\n  5001  api-v2 (API_V2)\n  5002  db (db_port)\n  \
         8080  web (WEB_PORT)\n",
        machine.work()
    );
    for arguments in both(&["--dry-run"]) {
        let outcome = trop(&machine, &arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{outcome:?}");
        assert!(outcome.stderr.ends_with(&plan), "{outcome:?}");
        let quiet = trop(&machine, &[&["--quiet"], &arguments[..]].concat());
        assert_eq!(quiet, Outcome { code: 0, stdout: String::new(), stderr: String::new() });
        refuses(
            &machine,
            3,
            &["Data directory not found"],
            &[&arguments[..], &["--disable-autoinit"]].concat(),
        );
    }
    refuses(&machine, 3, &["Data directory not found"], &["autoreserve", "--disable-autoinit"]);
    assert!(!machine.path("data").exists());
    trop(&machine, &["autoreserve"]);
    age(&machine);
    let before = machine.rows();
    let outcome = trop(&machine, &["autoreserve", "--dry-run"]);
    assert!(outcome.stderr.contains("Dry run: would return 3 ports"), "{outcome:?}");
    assert_eq!(machine.rows(), before);
    // A dry run fails where the real run would.
    write(
        &machine,
        "trop.yaml",
        "ports: {min: 5000, max: 5001}\nreservations: {services: {a: {offset: 2}}}\n",
    );
    machine.trop(["release"]);
    for arguments in [both(&[]), both(&["--dry-run"])].concat() {
        refuses(&machine, 6, &["port range", "exhausted", "no room", "after cleanup"], &arguments);
    }
}

#[test]
fn an_exhausted_range_is_cleaned_up_and_told() {
    let machine =
        machine("ports: {min: 5000, max: 5001}\nreservations: {services: {a: {}, b: {offset: 1}}}\n");
    machine.trop(["list"]);
    let stale = "INSERT INTO reservations VALUES ('/gone/by/now', '', 5001, NULL, NULL, 1, 1)";
    machine.sql(stale);
    for variable in ["TROP_DISABLE_AUTOPRUNE", "TROP_DISABLE_AUTOEXPIRE"] {
        let mut request = command(&machine, &["autoreserve", "--dry-run"]);
        let outcome = run(request.env(variable, "1"));
        assert!(outcome.stderr.contains("Automatic cleanup"), "one is enough: {outcome:?}");
    }
    let mut request = command(&machine, &["autoreserve", "--force"]);
    request.env("TROP_DISABLE_AUTOPRUNE", "1").env("TROP_DISABLE_AUTOEXPIRE", "1");
    machine.refuses_command(
        6,
        &["port range", "exhausted", "automatic pruning and expiration disabled"],
        &mut request,
    );
    let outcome = trop(&machine, &["autoreserve"]);
    assert_eq!(outcome.stdout, "export A=5000\nexport B=5001\n");
    assert!(outcome.stderr.contains("Automatic cleanup: "), "{outcome:?}");
    assert_eq!(machine.rows().len(), 2);
    machine.trop(["release"]);
    machine.sql(stale);
    assert_eq!(trop(&machine, &["--quiet", "autoreserve"]).stderr, "");
}

/// A reader that closes the pipe early is no error, and the rows are stored.
#[test]
fn an_output_nobody_reads_is_no_failure() {
    let machine = machine(SHOP);
    let script = format!("'{}' autoreserve --quiet | true", env!("CARGO_BIN_EXE_trop"));
    let mut piped = Command::new("sh");
    piped.args(["-c", &script]).current_dir(machine.path("work")).env("TROP_DATA_DIR", machine.path("data"));
    piped.env("TROP_SKIP_OCCUPANCY_CHECK", "1");
    let outcome = run(&mut piped);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(machine.rows().len(), 3);
}
