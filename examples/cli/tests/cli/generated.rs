//! Completions and the manual page, which are generated from the definitions of the parser.

use std::collections::BTreeSet;

use crate::support::{Machine, assert_syntax_error};

/// All long options in a help text.
fn options(help: &str) -> BTreeSet<String> {
    let words = help.split(|character: char| !(character.is_ascii_alphanumeric() || character == '-'));
    words.filter(|word| word.starts_with("--") && word.len() > 2).map(str::to_owned).collect()
}

/// The names of all subcommands, and the long options of all help texts.
fn model(machine: &Machine) -> (Vec<String>, BTreeSet<String>) {
    let help = machine.trop(["--help"]).stdout;
    let (_, rest) = help.split_once("Commands:\n").unwrap();
    let list = rest.split("\n\n").next().unwrap();
    let names: Vec<String> =
        list.lines().map(|line| line.split_whitespace().next().unwrap().to_owned()).collect();
    assert!(names.len() > 6, "{names:?}");
    let mut all = BTreeSet::new();
    for name in names.iter().filter(|name| *name != "help") {
        let help = machine.trop([name, "--help"]).stdout;
        let names_once = |line: &str| line.matches("[env: ").count() <= 1;
        assert!(help.lines().all(names_once), "{name}: {help}");
        // Lines of prose and of examples may name options of other commands.
        let definitions = help.lines().filter(|line| line.trim_start().starts_with('-'));
        all.extend(definitions.flat_map(|line| options(line.split_whitespace().next().unwrap())));
    }
    (names, all)
}

/// Trap 122 (completions for another name).
#[test]
fn completions_are_for_this_command_and_complete() {
    let machine = Machine::new();
    let (commands, options) = model(&machine);
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let outcome = machine.trop(["completions", shell, "--quiet"]);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{shell}");
        for command in &commands {
            assert!(outcome.stdout.contains(command.as_str()), "{shell}: {command}");
        }
        for option in &options {
            let spelled = if shell == "fish" { option.replacen("--", "-l ", 1) } else { option.clone() };
            assert!(outcome.stdout.contains(&spelled), "{shell}: {option}");
        }
        assert!(!outcome.stdout.contains("trop-cli"), "{shell}");
        let loud = machine.trop(["completions", shell]);
        assert_eq!((&loud.stdout, loud.code), (&outcome.stdout, 0));
        assert!(loud.stderr.contains("To install"), "{shell}");
    }
    assert!(machine.trop(["completions", "bash"]).stdout.contains("complete -F _trop"));
    assert_syntax_error(&machine.trop(["completions", "tcsh"]));
    assert!(!machine.path("data").exists());
}

/// The script works in a real shell, where one is installed. Trap 122 (completions for another name).
#[test]
fn bash_completes_subcommands_and_options() {
    let machine = Machine::new();
    let script = machine.trop(["completions", "bash"]).stdout;
    let ask = |words: &str, index: usize| {
        let program = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={index}; \
             _trop trop \"${{COMP_WORDS[{index}]}}\" \"${{COMP_WORDS[{index}-1]}}\"; \
             echo \"${{COMPREPLY[@]}}\""
        );
        let output = std::process::Command::new("bash").args(["--norc", "-c", &program]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(ask("trop assert-", 1).contains("assert-reservation"));
    assert!(ask("trop list --filter", 2).contains("--filter-path"));
}

/// Trap 123 (a manual written by hand).
#[test]
fn the_manual_page_has_every_subcommand_and_option() {
    let machine = Machine::new();
    let (commands, options) = model(&machine);
    let outcome = machine.trop(["manual"]);
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let page = outcome.stdout.replace("\\-", "-");
    assert!(page.contains(".TH trop 1"), "{page}");
    for command in commands.iter().filter(|command| *command != "help") {
        assert!(page.contains(&format!(".SH \"TROP {}\"", command.to_uppercase())), "{command}");
    }
    for option in options {
        assert!(page.contains(&option), "{option}");
    }
    assert!(!page.contains("EXTRA"));
    assert!(!machine.trop(["--help"]).stdout.contains("manual"), "it is for packagers");
    assert!(!machine.path("data").exists());
}
