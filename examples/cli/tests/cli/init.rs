//! `init`: what is created, what is replaced, and what is left alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::{Machine, Outcome, assert_failure, run, text};

const NOTHING: [&str; 0] = [];

fn names(machine: &Machine) -> Vec<String> {
    let entries = fs::read_dir(machine.path("data")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Expects success with nothing on standard error, and returns standard output.
fn init(machine: &Machine, arguments: &[&str]) -> String {
    let outcome = machine.trop([&["init"], arguments].concat());
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    assert!(outcome.stdout.lines().count() <= 10, "{outcome:?}");
    outcome.stdout
}

fn contains(text: &str, tokens: &[&str]) {
    for token in tokens {
        assert!(text.contains(token), "{token}: {text}");
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Trap 118 (others may read).
#[test]
fn a_directory_and_an_empty_database_are_made_for_the_user_alone() {
    let machine = Machine::new();
    let deep = machine.path("new/deep/data");
    let outcome = run(machine.command(["init", "--with-config", "--data-dir"]).arg(&deep));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let tokens = ["Initialized trop", text(&deep), "Created data directory", "Created database", "config"];
    contains(&outcome.stdout, &tokens);
    assert_eq!(mode(&deep), 0o700);
    for file in ["trop.db", "config.yaml"] {
        assert_eq!(mode(&deep.join(file)), 0o600, "{file}");
    }
    assert!(!machine.path("data").exists());
    let list = run(machine.command(["list", "--data-dir"]).arg(&deep));
    assert_eq!((list.code, list.stdout.lines().count()), (0, 1));

    machine.directory("data");
    let said = init(&machine, &["--disable-autoinit"]);
    contains(&said, &["Initialized trop", "Created database"]);
    assert!(!said.contains("Created data directory"), "{said}");
    assert_eq!(names(&machine), ["trop.db"]);
    assert_eq!(machine.trop(["assert-data-dir", "--validate"]).code, 0);
}

#[test]
fn an_existing_database_is_left_alone() {
    let machine = Machine::new();
    machine.reserve(NOTHING);
    let state = || {
        (fs::read(machine.database()).unwrap(), fs::metadata(machine.database()).unwrap().modified().unwrap())
    };
    let before = state();
    machine.refuses(6, &["already exists", "--overwrite"], ["init"]);
    machine.refuses(6, &["already exists"], ["init", "--with-config", "--quiet"]);
    assert_eq!(state(), before);
    assert_eq!(names(&machine), ["trop.db"]);
}

#[test]
fn overwrite_leaves_an_empty_working_database() {
    let machine = Machine::new();
    assert!(init(&machine, &["--overwrite"]).contains("Created database"));
    machine.reserve(["--tag", "a"]);
    machine.sql("CREATE TABLE theirs (x); CREATE VIEW v AS SELECT * FROM theirs");
    machine.sql("CREATE INDEX \"i \"\"x\" ON theirs (x)");
    contains(&init(&machine, &["--overwrite"]), &["Initialized trop", "Recreated database"]);
    assert_eq!(names(&machine), ["trop.db"]);
    assert!(machine.rows().is_empty());
    assert_eq!(machine.trop(["assert-data-dir", "--validate"]).code, 0);
    machine.reserve(NOTHING);
    // The log (WAL) is kept beside the database.
    assert_eq!(names(&machine), ["trop.db", "trop.db-wal"]);
    init(&machine, &["--overwrite"]);
    assert_eq!(names(&machine), ["trop.db"]);
}

/// The log of a program that was killed must not come back in the new database. Trap 117 (overwriting leaves
/// a mixture).
#[test]
fn overwrite_takes_care_of_what_lies_beside_the_database() {
    let killed = |machine: &Machine| {
        let program = "import os, sqlite3, sys\n\
             connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
             connection.execute(\"INSERT INTO reservations VALUES ('/x', '', 6001, NULL, NULL, 1, 1)\")\n\
             os.kill(os.getpid(), 9)";
        let mut python = std::process::Command::new("python3");
        assert!(!python.args(["-c", program]).arg(machine.database()).status().unwrap().success());
        assert_eq!(names(machine), ["trop.db", "trop.db-shm", "trop.db-wal"]);
    };
    let machine = Machine::new();
    machine.reserve(NOTHING);
    killed(&machine);
    init(&machine, &["--overwrite"]);
    assert!(machine.rows().is_empty());
    assert_eq!(names(&machine), ["trop.db"]);

    // The same if the database itself is damaged.
    machine.reserve(NOTHING);
    killed(&machine);
    fs::write(machine.database(), "no database any more ".repeat(200)).unwrap();
    contains(&init(&machine, &["--overwrite"]), &["Recreated database"]);
    assert!(machine.rows().is_empty());
    assert_eq!(machine.trop(["assert-data-dir", "--validate"]).code, 0);
    assert_eq!(names(&machine), ["trop.db"]);
    assert_eq!(mode(&machine.database()), 0o600);
}

#[test]
fn overwrite_replaces_databases_of_any_kind() {
    for made in [
        "UPDATE metadata SET value = '3' WHERE key = 'schema_version'",
        "UPDATE metadata SET value = 'x'",
        "DROP TABLE metadata",
        "INSERT INTO trop_leases VALUES (5000, 1, 1, NULL, '/')",
        "PRAGMA journal_mode = DELETE",
    ] {
        let machine = Machine::new();
        machine.reserve(NOTHING);
        machine.sql(made);
        init(&machine, &["--overwrite"]);
        assert!(machine.rows().is_empty(), "{made}");
        assert_eq!(machine.trop(["assert-data-dir", "--validate"]).code, 0, "{made}");
    }
    let machine = Machine::new();
    machine.reserve(NOTHING);
    machine.sql(
        "WITH RECURSIVE port(n) AS (SELECT 10000 UNION ALL SELECT n + 1 FROM port WHERE n < 14000)
         INSERT INTO reservations SELECT '/srv/' || n, '', n, NULL, NULL, 0, 0 FROM port;
         PRAGMA wal_checkpoint(TRUNCATE);",
    );
    let mut damaged = fs::read(machine.database()).unwrap();
    damaged[20 * 1024..].fill(0x5a);
    fs::write(machine.database(), damaged).unwrap();
    init(&machine, &["--overwrite"]);
    assert!(machine.rows().is_empty());
    assert_eq!(machine.trop(["assert-data-dir", "--validate"]).code, 0);
    assert_eq!(names(&machine), ["trop.db"]);
}

/// The new file beside it is made whatever the settings say about databases that are missing. Trap 78 (init
/// reads what it replaces).
#[test]
fn overwrite_of_a_damaged_database_needs_no_setting() {
    let machine = Machine::new();
    for (file, text) in [
        ("work/trop.yaml", "ports: ["),
        ("work/trop.yaml", "disable_autoinit: true"),
        ("data/config.yaml", "x: 1"),
    ] {
        machine.directory("data");
        fs::write(machine.path(file), text).unwrap();
        fs::write(machine.database(), "no database any more ".repeat(200)).unwrap();
        let mut command = machine.command(["init", "--overwrite"]);
        command.env("TROP_DISABLE_AUTOINIT", "1").env("TROP_TASK", " ");
        let outcome = run(&mut command);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{text}: {outcome:?}");
        fs::remove_file(machine.path(file)).unwrap();
        assert!(machine.rows().is_empty());
    }
}

/// Whether it writes or has it open only. Trap 117 (overwriting leaves a mixture).
#[test]
fn overwrite_is_refused_while_another_process_has_the_database() {
    let machine = Machine::new();
    machine.reserve(NOTHING);
    let lock = machine.lock();
    let arguments = ["init", "--overwrite", "--with-config", "--busy-timeout", "0"];
    machine.refuses(2, &["database lock timeout", "0s"], arguments);
    lock.release();
    assert_eq!(names(&machine), ["trop.db"]);

    let reader = machine.holder(&["open"]);
    machine.refuses(2, &["database lock timeout"], ["init", "--overwrite", "--busy-timeout", "0"]);
    reader.release();
    assert_eq!(machine.rows().len(), 1);
    init(&machine, &["--overwrite"]);
    assert!(machine.rows().is_empty());
}

/// Trap 117 (overwriting leaves a mixture).
#[test]
fn a_failure_leaves_the_old_database() {
    let machine = Machine::new();
    machine.reserve(NOTHING);
    let before = machine.rows();
    // Stands for every failure on the way. Permissions would not do: root may write everywhere.
    machine.sql("PRAGMA journal_mode = DELETE");
    fs::create_dir(machine.path("data/trop.db-wal")).unwrap();
    fs::create_dir(machine.path("data/trop.db-journal")).unwrap();
    let outcome = machine.trop(["init", "--overwrite"]);
    assert_ne!(outcome.code, 0, "{outcome:?}");
    assert_eq!(outcome.stdout, "");
    fs::remove_dir(machine.path("data/trop.db-wal")).unwrap();
    fs::remove_dir(machine.path("data/trop.db-journal")).unwrap();
    assert_eq!(machine.rows(), before);
    assert_eq!(names(&machine), ["trop.db"]);
}

#[test]
fn a_configuration_is_written_only_where_there_is_none() {
    let machine = Machine::new();
    assert!(!init(&machine, &[]).contains("config"));
    assert_eq!(names(&machine), ["trop.db"]);
    contains(&init(&machine, &["--overwrite", "--with-config"]), &["Recreated database", "config.yaml"]);
    assert_eq!(names(&machine), ["config.yaml", "trop.db"]);

    // Not even one that does not parse is read or changed. Trap 78 (init reads what it replaces).
    let config = machine.path("data/config.yaml");
    fs::write(&config, "{ not: yaml").unwrap();
    contains(&init(&machine, &["--overwrite", "--with-config"]), &["not overwritten"]);
    assert_eq!(fs::read_to_string(&config).unwrap(), "{ not: yaml");
    fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("nowhere", &config).unwrap();
    contains(&init(&machine, &["--overwrite", "--with-config"]), &["not overwritten"]);
}

/// Every key of the user file with its default, and nothing else: uncommented it is valid and changes
/// nothing. Trap 81 (a template of unreal keys).
#[test]
fn the_template_shows_the_real_settings_and_defaults() {
    let machine = Machine::new();
    init(&machine, &["--with-config"]);
    let template = fs::read_to_string(machine.path("data/config.yaml")).unwrap();
    let mut settings = Vec::new();
    let mut block = String::new();
    for line in template.lines().filter(|line| !line.is_empty() && !line.starts_with("##")) {
        let line = line.strip_prefix("# ").expect(line);
        let (key, value) = line.trim_start().split_once(':').expect(line);
        match (line.starts_with("  "), value.trim()) {
            (false, "") => key.clone_into(&mut block),
            (false, value) => settings.push(format!("{key}={value}")),
            (true, value) => settings.push(format!("{block}.{key}={value}")),
        }
    }
    let expected = [
        "ports.min=5000",
        "ports.max=7000",
        "lease_ports.min=10000",
        "lease_ports.max=29999",
        "excluded_ports=[]",
        "avoid_unsafe_ports=true",
        "cleanup.expire_after_days=30",
        "occupancy_check.skip=false",
        "occupancy_check.skip_tcp=false",
        "occupancy_check.skip_udp=false",
        "occupancy_check.skip_ip4=false",
        "occupancy_check.skip_ip6=false",
        "disable_autoinit=false",
        "disable_autoprune=false",
        "disable_autoexpire=false",
        "allow_unrelated_path=false",
        "allow_change_project=false",
        "allow_change_task=false",
        "allow_change=false",
        "maximum_lock_wait_seconds=5",
        "output_format=table",
    ];
    assert_eq!(settings, expected);
    assert!(template.contains("max_offset"), "not together with max, so only in words");
    assert!(template.contains("check_all_interfaces"), "its default is neither value, so only in words");

    let effective = || {
        let mut options = trop_core::RegistryOptions::default();
        options.data_dir = Some(machine.path("data"));
        options.discovery = trop_core::Discovery::From(machine.path("work"));
        options.variables = false;
        let registry = trop_core::Registry::open_lazily(options).unwrap();
        let c = registry.configuration();
        format!(
            "{:?}",
            (
                (c.ports, &c.excluded, c.occupancy, c.expire_after_days, c.busy_timeout, c.output_format),
                (c.create, c.disable_autoprune, c.disable_autoexpire),
                (c.allow_unrelated_path, c.allow_change_project, c.allow_change_task),
            )
        )
    };
    let defaults = effective();
    let uncommented: String =
        template.lines().map(|line| line.strip_prefix("# ").unwrap_or(line).to_owned() + "\n").collect();
    let file = machine.path("data/config.yaml");
    fs::write(&file, &uncommented).unwrap();
    assert_eq!(machine.trop(["validate", text(&file)]).code, 0);
    assert_eq!(effective(), defaults);
    fs::write(&file, uncommented.replace("5000", "5001")).unwrap();
    assert_ne!(effective(), defaults, "the file is read");
}

/// Traps 42 (a dry run creates files), 44 (a dry run says nothing).
#[test]
fn a_dry_run_tells_and_changes_nothing() {
    let machine = Machine::new();
    let said = init(&machine, &["--dry-run", "--with-config", "--overwrite"]);
    contains(&said, &["Dry-run", "Would", machine.path("data").to_str().unwrap(), "config"]);
    assert!(!said.contains("Remove"), "{said}");
    assert!(!machine.path("data").exists());

    machine.reserve(NOTHING);
    let before = fs::read(machine.database()).unwrap();
    contains(&init(&machine, &["--dry-run"]), &["Dry-run", "Would", "already exists", "ERROR"]);
    contains(&init(&machine, &["--dry-run", "--overwrite"]), &["Dry-run", "Would", "Remove"]);
    assert_eq!(fs::read(machine.database()).unwrap(), before);
    assert_eq!(names(&machine), ["trop.db"]);
}

/// Traps 79 (a bad lock wait is noticed late), 129 (notes in quiet mode).
#[test]
fn quiet_is_silent_and_bad_settings_come_first() {
    let machine = Machine::new();
    let silent = Outcome { code: 0, stdout: String::new(), stderr: String::new() };
    assert_eq!(machine.trop(["init", "--dry-run", "--quiet"]), silent);
    assert_failure(&machine.trop(["init", "--busy-timeout", "2147484"]), 7, &["must not exceed 2147483"]);
    for (variable, value) in [
        ("TROP_BUSY_TIMEOUT", "x"),
        ("TROP_BUSY_TIMEOUT", "2147484"),
        ("TROP_MAXIMUM_LOCK_WAIT_SECONDS", "-1"),
        ("TROP_DISABLE_AUTOINIT", "maybe"),
    ] {
        for arguments in [&["init", "--with-config"][..], &["init", "--dry-run"]] {
            machine.refuses_command(7, &[variable], machine.command(arguments).env(variable, value));
        }
    }
    assert!(!machine.path("data").exists());
    assert_eq!(machine.trop(["init", "--quiet", "--with-config"]), silent);
    assert_eq!(names(&machine), ["config.yaml", "trop.db"]);
}

#[test]
fn the_later_data_directory_wins() {
    let machine = Machine::new();
    let (first, second) = (machine.path("first"), machine.path("second"));
    let outcome = run(machine
        .command(["--data-dir", text(&first), "init", "--data-dir", text(&second)])
        .env("HOME", ""));
    assert_eq!(
        (outcome.code, first.exists(), second.join("trop.db").exists()),
        (0, false, true),
        "{outcome:?}"
    );
}
