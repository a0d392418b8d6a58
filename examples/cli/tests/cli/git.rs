//! Names from git for new reservations.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::{Machine, port, run, text};

const NOTHING: [&str; 0] = [];

fn git(directory: &Path, arguments: &[&str]) {
    let mut command = Command::new("git");
    command.current_dir(directory).env_clear().env("PATH", std::env::var_os("PATH").unwrap());
    command.env("HOME", directory).env("GIT_CONFIG_NOSYSTEM", "1");
    command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"]);
    let outcome = run(command.args(["-c", "init.defaultBranch=trunk"]).args(arguments));
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

/// A repository with one commit.
fn repository(machine: &Machine, name: &str) -> std::path::PathBuf {
    let directory = machine.directory(name);
    git(&directory, &["init", "-q"]);
    git(&directory, &["commit", "-q", "--allow-empty", "-m", "first"]);
    directory
}

/// Project and task of a new reservation for the working directory.
fn names(machine: &Machine, directory: &Path) -> (Value, Value) {
    let row = reserve(machine, directory, &NOTHING);
    (row["project"].clone(), row["task"].clone())
}

fn reserve(machine: &Machine, directory: &Path, arguments: &[&str]) -> Value {
    let mut command = machine.command(["reserve", "--tag", "git", "--skip-occupancy-check"]);
    let outcome = run(command.args(arguments).current_dir(directory));
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""), "{outcome:?}");
    let rows = machine.rows();
    let row = rows.iter().find(|row| row["port"] == port(&outcome));
    row.unwrap().clone()
}

#[test]
fn a_repository_gives_its_name_and_branch_from_anywhere_inside() {
    let machine = Machine::new();
    let shop = repository(&machine, "work/shop");
    git(&shop, &["checkout", "-q", "-b", "feat/one"]);
    let expected = (json!("shop"), json!("feat/one"));
    assert_eq!(names(&machine, &shop), expected);
    assert_eq!(names(&machine, &machine.directory("work/shop/deep/er")), expected);
    assert_eq!(names(&machine, &shop.join(".git/refs")), expected);
    let missing = machine.trop(["reserve", "--quiet", "--path", "shop/missing/tail"]);
    assert_eq!(missing.code, 0);
    let rows = machine.rows();
    let row = rows.iter().find(|row| row["path"].as_str().unwrap().ends_with("missing/tail")).unwrap();
    assert_eq!((row["project"].clone(), row["task"].clone()), expected, "from the nearest existing parent");
    assert_eq!(names(&machine, &machine.path("work")), (Value::Null, Value::Null));
}

#[test]
fn an_unborn_branch_counts_and_a_detached_head_is_none() {
    let machine = Machine::new();
    let unborn = machine.directory("work/unborn");
    git(&unborn, &["init", "-q"]);
    assert_eq!(names(&machine, &unborn), (json!("unborn"), json!("trunk")));
    let detached = repository(&machine, "work/detached");
    git(&detached, &["checkout", "-q", "--detach"]);
    assert_eq!(names(&machine, &detached), (json!("detached"), Value::Null));
}

#[test]
fn a_linked_worktree_belongs_to_its_repository() {
    let machine = Machine::new();
    let shop = repository(&machine, "work/shop.git");
    git(&shop, &["worktree", "add", "-q", "../cart-fix"]);
    assert_eq!(names(&machine, &shop), (json!("shop"), json!("trunk")), "a checkout named like a bare one");
    assert_eq!(names(&machine, &machine.path("work/cart-fix")), (json!("shop"), json!("cart-fix")));
    git(&machine.path("work"), &["clone", "-q", "--bare", "shop.git", "store.git"]);
    let bare = machine.path("work/store.git");
    assert_eq!(names(&machine, &bare), (json!("store"), json!("trunk")));
    git(&bare, &["worktree", "add", "-q", "../pay"]);
    assert_eq!(names(&machine, &machine.path("work/pay")), (json!("store"), json!("pay")));
}

#[test]
fn a_submodule_is_a_repository_of_its_own() {
    let machine = Machine::new();
    let library = repository(&machine, "work/library");
    let shop = repository(&machine, "work/shop");
    git(&shop, &["submodule", "--quiet", "add", text(&library), "vendored"]);
    let vendored = machine.path("work/shop/vendored");
    assert_eq!(names(&machine, &vendored), (json!("vendored"), json!("trunk")));
    git(&vendored, &["worktree", "add", "-q", "../../side"]);
    assert_eq!(names(&machine, &machine.path("work/side")), (json!("vendored"), json!("side")));
}

#[test]
fn variables_of_git_do_not_redirect() {
    let machine = Machine::new();
    let (shop, other) = (repository(&machine, "work/shop"), repository(&machine, "work/other"));
    let mut command = machine.command(["reserve", "--path", text(&shop)]);
    command.env("GIT_DIR", other.join(".git")).env("GIT_WORK_TREE", &other);
    assert_eq!(run(&mut command).code, 0);
    assert_eq!(machine.rows()[0]["project"], "shop");
}

/// Trap 30 (omitted fields are cleared).
#[test]
fn only_new_keys_and_fields_without_a_value_ask_git() {
    let machine = Machine::new();
    let shop = repository(&machine, "work/shop");
    let row = reserve(&machine, &shop, &["--project", "mine"]);
    assert_eq!((&row["project"], &row["task"]), (&json!("mine"), &json!("trunk")));
    git(&shop, &["checkout", "-q", "-b", "later"]);
    for arguments in [&[][..], &["--overwrite"]] {
        let row = reserve(&machine, &shop, arguments);
        assert_eq!((&row["project"], &row["task"]), (&json!("mine"), &json!("trunk")));
    }
    let row = reserve(&machine, &shop, &["--clear-project", "--clear-task", "--allow-change"]);
    assert_eq!((&row["project"], &row["task"]), (&Value::Null, &Value::Null));
    let row = reserve(&machine, &shop, &[]);
    assert_eq!((&row["project"], &row["task"]), (&Value::Null, &Value::Null), "not inferred again");
    let row = reserve(&machine, &machine.directory("work/shop/a"), &["--clear-project"]);
    assert_eq!((&row["project"], &row["task"]), (&Value::Null, &json!("later")));
}

#[test]
fn invalid_candidates_and_broken_repositories_are_none() {
    let machine = Machine::new();
    let blank = repository(&machine, "work/ ");
    assert_eq!(names(&machine, &blank), (Value::Null, json!("trunk")));
    let long = machine.directory(&format!("work/{}", "x".repeat(240)));
    git(&long, &["init", "-q"]);
    let branch = "y".repeat(256);
    fs::write(long.join(".git/HEAD"), format!("ref: refs/heads/{branch}\n")).unwrap();
    assert_eq!(names(&machine, &long), (json!("x".repeat(240)), Value::Null));
    fs::write(long.join(".git/HEAD"), b"ref: refs/heads/caf\xe9\n").unwrap();
    assert_eq!(names(&machine, &machine.directory(&format!("work/{}/in", "x".repeat(240)))).1, Value::Null);

    let dangling = machine.directory("work/dangling");
    fs::write(dangling.join(".git"), "gitdir: /nowhere\n").unwrap();
    assert_eq!(names(&machine, &dangling), (Value::Null, Value::Null));
    let empty = machine.directory("work/shop");
    git(&empty, &["init", "-q"]);
    let inner = machine.directory("work/shop/inner/.git");
    assert_eq!(names(&machine, inner.parent().unwrap()), (json!("shop"), json!("trunk")), "git goes on too");
    let foreign = std::ffi::OsStr::from_bytes(b"caf\xe9");
    let main = machine.path("work").join(foreign);
    fs::create_dir(&main).unwrap();
    git(&main, &["init", "-q"]);
    git(&main, &["commit", "-q", "--allow-empty", "-m", "first"]);
    git(&main, &["worktree", "add", "-q", "../tree"]);
    assert_eq!(names(&machine, &machine.path("work/tree")), (Value::Null, json!("tree")));
}
