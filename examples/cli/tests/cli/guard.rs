//! The path guard: at, above or below the working directory, by whole components.

use std::os::unix::fs::symlink;

use crate::support::{Machine, text};

fn machine() -> Machine {
    let machine = Machine::new();
    for directory in ["work/below", "workshop", "elsewhere"] {
        machine.directory(directory);
    }
    machine
}

#[test]
fn related_paths_are_accepted() {
    let machine = machine();
    for path in [".", "below", "./below/../below", "..", "/"] {
        machine.reserve(["--path", path]);
        assert!(machine.trop(["release", "--path", path]).stderr.contains("Released 1 port"), "{path}");
    }
}

#[test]
fn unrelated_paths_are_refused_unless_allowed() {
    let machine = machine();
    machine.reserve(["--tag", "mine"]);
    for path in ["elsewhere", "workshop", "work/../elsewhere", "elsewhere/missing"] {
        let path = machine.path(path);
        let path = text(&path);
        let spelled = path.replace("work/../", "");
        let tokens =
            ["path relationship violation", "unrelated", &spelled, &machine.work(), "--allow-unrelated-path"];
        machine.refuses(1, &tokens, ["reserve", "--path", path]);
        machine.refuses_command(1, &tokens, machine.command(["--quiet", "reserve"]).env("TROP_PATH", path));
        machine.reserve(["--quiet", "--path", path, "--allow-unrelated-path"]);
        machine.refuses(1, &tokens, ["reserve", "--path", path]);
        machine.refuses(1, &tokens, ["release", "--path", path]);
        let released = machine.trop(["release", "--path", path, "--allow-unrelated-path"]);
        assert!(released.stderr.contains("Released 1 port"), "{released:?}");
    }
    assert_eq!(machine.rows().len(), 1);
}

#[test]
fn links_are_followed_only_where_the_text_is_unrelated() {
    let machine = machine();
    symlink(machine.path("work"), machine.path("elsewhere/to-work")).unwrap();
    symlink(machine.path("elsewhere"), machine.path("work/to-elsewhere")).unwrap();
    symlink(machine.path("workshop"), machine.path("elsewhere/to-workshop")).unwrap();
    for related in
        ["elsewhere/to-work", "elsewhere/to-work/below", "elsewhere/to-work/missing", "work/to-elsewhere"]
    {
        let path = machine.path(related);
        machine.reserve(["--quiet", "--path", text(&path)]);
        assert!(machine.rows().iter().any(|row| row["path"] == text(&path)), "stored as it was given");
    }
    let unrelated = machine.path("elsewhere/to-workshop");
    machine.refuses(1, &["unrelated"], ["reserve", "--path", text(&unrelated)]);
}

#[test]
fn a_refused_path_does_not_drive_the_terminal() {
    let machine = machine();
    machine.reserve(["--tag", "mine"]);
    let path = machine.path("else\nexport PORT=1\u{1b}[2J\u{202e}where");
    machine.refuses(1, &["else\\nexport PORT=1\\u{1b}[2J\\u{202e}where"], ["reserve", "--path", text(&path)]);
}
