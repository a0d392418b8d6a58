//! The output of `reserve-group` and `autoreserve` in real shells, and how the calling shell is detected.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::groups::{SHOP, command, machine, trop};
use crate::support::{Machine, run};

/// Where the program is, if it is installed.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let found =
        std::env::split_paths(&path).map(|directory| directory.join(program)).find(|file| file.is_file());
    if found.is_none() {
        println!("skipped: {program} is not installed");
    }
    found
}

/// The environment that a shell passes on after it has evaluated a script.
fn variables(
    machine: &Machine,
    shell: &str,
    options: &[&str],
    script: &str,
) -> Option<BTreeMap<String, String>> {
    let mut command = Command::new(installed(shell)?);
    command.args(options).arg(script.replace("TROP", env!("CARGO_BIN_EXE_trop")));
    command.current_dir(machine.path("work")).env_clear();
    command.env("HOME", machine.path("home")).env("TROP_DATA_DIR", machine.path("data"));
    command.env("PATH", std::env::var_os("PATH").unwrap()).env("TROP_SKIP_OCCUPANCY_CHECK", "1");
    let outcome = run(&mut command);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let pairs = outcome.stdout.lines().filter_map(|line| line.split_once('='));
    Some(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Trap 8 (output is evaluated unchecked): what the documentation tells users to evaluate sets exactly these
/// variables.
#[test]
fn shells_evaluate_the_output() {
    let machine = machine(SHOP);
    for (shell, options, script) in [
        ("bash", &["--norc", "--noprofile", "-uec"][..], "eval \"$('TROP' autoreserve)\"; env"),
        ("sh", &["-uec"], "eval \"$('TROP' reserve-group trop.yaml)\"; env"),
        ("dash", &["-uec"], "eval \"$('TROP' autoreserve --shell sh)\"; env"),
        ("sh", &["-uec"], "'TROP' autoreserve --format dotenv > .env; set -a; . ./.env; env"),
        ("zsh", &["-fuec"], "eval \"$('TROP' autoreserve)\"; env"),
        ("zsh", &["-fuec"], "eval \"$('TROP' autoreserve --shell zsh)\"; env"),
        ("fish", &["--no-config", "-c"], "'TROP' autoreserve --shell fish | source; env"),
        (
            "pwsh",
            &["-NoProfile", "-Command"],
            "& 'TROP' autoreserve --shell pwsh | Out-String | Invoke-Expression; \
             Get-ChildItem env: | ForEach-Object { \"$($_.Name)=$($_.Value)\" }",
        ),
    ] {
        let Some(found) = variables(&machine, shell, options, script) else { continue };
        for (name, port) in [("API_V2", "5001"), ("db_port", "5002"), ("WEB_PORT", "8080")] {
            assert_eq!(found.get(name).map(String::as_str), Some(port), "{shell}: {script}: {found:?}");
        }
    }
    assert_eq!(machine.rows().len(), 3);
}

#[test]
fn a_failure_leaves_a_shell_nothing_to_evaluate() {
    let machine = machine("reservations: {services: {'x;export A=1': {}}}\n");
    let script =
        "set +e; before=$(env); eval \"$('TROP' autoreserve)\"; test \"$before\" = \"$(env)\" && env";
    assert!(variables(&machine, "sh", &["-uc"], script).is_some());
}

/// The shell is detected from variables; without any of them there is output too.
#[test]
fn the_shell_is_detected() {
    let machine = machine(SHOP);
    let bash = include_str!("../golden/group.sh");
    let (fish, powershell) = (include_str!("../golden/group.fish"), include_str!("../golden/group.ps1"));
    for (variables, expected) in [
        (&[][..], bash),
        (&[("SHELL", "/bin/bash")], bash),
        (&[("SHELL", "/usr/bin/fish")], fish),
        (&[("SHELL", "/usr/bin/pwsh")], powershell),
        (&[("SHELL", "/usr/bin/zsh")], bash),
        (&[("FISH_VERSION", "3.7"), ("SHELL", "/bin/bash")], fish),
        (&[("PSModulePath", "x"), ("SHELL", "/bin/bash")], powershell),
        (&[("PSModulePath", "x"), ("FISH_VERSION", "3.7")], fish),
        (&[("ZSH_VERSION", "5.9"), ("FISH_VERSION", "3.7"), ("PSModulePath", "x")], bash),
    ] {
        let mut detected = command(&machine, &["autoreserve"]);
        let outcome = run(detected.envs(variables.iter().copied()));
        assert_eq!((outcome.code, outcome.stdout.as_str()), (0, expected), "{variables:?}");
        assert!(!outcome.stderr.contains("Warning"), "{outcome:?}");
        // `--shell` comes before what is detected, and the other formats are for no shell.
        let mut explicit = command(&machine, &["reserve-group", "trop.yaml", "--shell", "fish"]);
        assert_eq!(run(explicit.envs(variables.iter().copied())).stdout, fish);
        let mut json = command(&machine, &["autoreserve", "--format", "json"]);
        assert_eq!(run(json.envs(variables.iter().copied())).stdout, include_str!("../golden/group.json"));
    }
}

/// Trap 10 (an unknown shell is taken for bash).
#[test]
fn a_shell_that_bash_is_only_a_guess_for_is_told() {
    let machine = machine(SHOP);
    let stderr = |arguments: &[&str], shell: &str| {
        let outcome = run(command(&machine, arguments).env("SHELL", shell));
        assert_eq!(outcome.code, 0, "{outcome:?}");
        outcome.stderr
    };
    for shell in ["/usr/bin/nu", "/bin/csh", "tcsh", "/x/elvish"] {
        let name = shell.rsplit('/').next().unwrap();
        let told = stderr(&["autoreserve"], shell);
        assert!(told.contains(&format!("Warning: the output is for bash, which '{name}'")), "{told}");
        assert!(told.contains("--shell"), "{told}");
        for arguments in [
            &["--quiet", "autoreserve"][..],
            &["autoreserve", "--shell", "bash"],
            &["autoreserve", "--format", "dotenv"],
            &["autoreserve", "--format", "json"],
        ] {
            assert!(!stderr(arguments, shell).contains("Warning"), "{arguments:?}");
        }
    }
    let told = stderr(&["autoreserve"], "/bin/n\nexport A=1");
    assert!(told.lines().all(|line| !line.starts_with("export")), "{told}");
    assert_eq!(trop(&machine, &["autoreserve"]).stdout, include_str!("../golden/group.sh"));
}
