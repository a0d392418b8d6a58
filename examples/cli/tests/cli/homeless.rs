//! Users without a home directory. The places that are used instead are the same for all tests, so each test
//! has file systems of its own mounted on them, which only root can do.

use std::process::Command;

use crate::faults::everybody;
use crate::support::{Outcome, assert_failure, run};

/// A shell script that hides the homes and the shared directories of this machine behind empty file systems
/// with these options.
fn hide(options: &str, run: &str, tmp: &str) -> String {
    format!(
        "set -eu
        home=$(getent passwd 0 | cut -d: -f6)
        mount -t tmpfs -o mode=755{run} tmpfs /run
        mount -t tmpfs -o mode=700{options} tmpfs \"$home\"
        mount -t tmpfs -o mode=1777{tmp} tmpfs /tmp\n"
    )
}

/// Runs a shell script with this command as `$1`, in file systems of its own; none if that is not allowed.
fn script(text: &str, arguments: &[&str]) -> Option<Outcome> {
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh", env!("CARGO_BIN_EXE_trop")]);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path))).current_dir("/");
        command
    };
    let is_allowed = unshare("mount -t tmpfs tmpfs /run").output().is_ok_and(|tried| tried.status.success());
    if !is_allowed {
        eprintln!("skipped: this user may not mount file systems");
        return None;
    }
    Some(run(unshare(text).args(arguments)))
}

/// Processes with and without `HOME` meet, if neither can have a home directory.
#[test]
fn a_user_without_a_home_directory_has_a_registry() {
    let test = hide("", "", "")
        + r#"
        cp "$1" /run/trop
        cd /tmp
        variables="TROP_PORT_MIN=24000 TROP_PORT_MAX=25999 TROP_LEASE_PORT_MIN=24000 TROP_LEASE_PORT_MAX=25999
            TROP_SKIP_OCCUPANCY_CHECK=1"
        nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups env -i $variables "$@"; }

        nobody /run/trop show-data-dir
        nobody HOME= /run/trop show-data-dir
        nobody HOME=/homeless-shelter /run/trop --quiet show-data-dir
        ls -A /tmp
        echo made:
        nobody /run/trop reserve --tag a
        nobody HOME=/homeless-shelter /run/trop --quiet reserve --tag a
        nobody HOME=/dev/null /run/trop --quiet reserve --tag b
        stat -c '%a %u' /tmp/trop-65534 /tmp/trop-65534/trop.db
        echo the user is logged in:
        mkdir -p /run/user/65534
        chown 65534:65534 /run/user/65534
        chmod 700 /run/user/65534
        nobody /run/trop --quiet reserve --tag b
        nobody /run/trop --quiet show-data-dir
        rm -r /run/user/65534
        echo somebody else was here:
        rm -r /tmp/trop-65534
        mkdir -m 777 /run/theirs
        ln -s /run/theirs /tmp/trop-65534
        nobody /run/trop reserve --tag a && exit 9
        mkdir -m 1777 /run/tmp
        nobody TMPDIR=/run/tmp /run/trop --quiet show-data-dir
        ls -A /run/theirs
        echo named:
        nobody TROP_DATA_DIR=/run/missing/data /run/trop list --quiet && exit 9
        nobody TROP_DATA_DIR=/tmp/named /run/trop reserve --tag a"#;
    let Some(outcome) = script(&test, &[]) else { return };
    let expected = "/tmp/trop-65534\n/tmp/trop-65534\n/tmp/trop-65534\n\
        made:\n24000\n24000\n24001\n700 65534\n600 65534\n\
        the user is logged in:\n24000\n/run/user/65534/trop\n\
        somebody else was here:\n/run/tmp/trop-65534\n\
        named:\n24000\n";
    assert_eq!((outcome.stdout.as_str(), outcome.code), (expected, 0), "{outcome:?}");
    let mut lines = outcome.stderr.lines();
    for _ in 0..3 {
        let line = lines.next().unwrap();
        let start =
            "Warning: the data directory is '/tmp/trop-65534', where reservations do not survive a reboot";
        assert!(line.starts_with(start) && line.contains("HOME is not set"), "{outcome:?}");
    }
    let refused = lines.next().unwrap();
    assert!(
        refused.starts_with("Error: Data directory not found: HOME is not set; ")
            && refused.contains("'/tmp/trop-65534' cannot be used (it is a symbolic link)"),
        "{outcome:?}"
    );
    assert!(lines.next().unwrap().starts_with("Error: cannot create the data directory '/run/missing/data'"));
    assert_eq!(lines.next(), None, "{outcome:?}");
}

/// The home directories of the environment and of the password file.
#[test]
fn a_home_directory_that_cannot_be_used_is_replaced_by_that_of_the_password_file() {
    let test = hide("", "", "")
        + r#"
        export TROP_PORT_MIN=24000 TROP_PORT_MAX=25999 TROP_LEASE_PORT_MIN=24000 TROP_LEASE_PORT_MAX=25999
        export TROP_SKIP_OCCUPANCY_CHECK=1
        mkdir /tmp/given /tmp/read-only
        mount -t tmpfs -o ro tmpfs /tmp/read-only
        touch /tmp/file
        cd /tmp
        for HOME in "" /homeless-shelter /nonexistent/x /tmp/file /tmp/read-only; do
            export HOME
            test "$("$1" show-data-dir)" = "$home/.trop"
            test ! -e "$home/.trop/trop.db" || echo "made for $HOME"
        done
        for HOME in "" /homeless-shelter /tmp/read-only "$home"; do
            "$1" reserve
        done
        HOME=/tmp/given "$1" show-data-dir
        HOME=/tmp/given "$1" reserve
        LC_ALL=C ls -A "$home" /tmp/given /tmp/read-only
        test ! -e /homeless-shelter
        echo with a read-only database:
        mount -o remount,ro "$home"
        HOME=$home "$1" show-data-dir
        HOME=$home "$1" --quiet --data-dir "$home/.trop" list | wc -l"#;
    let Some(outcome) = script(&test, &[]) else { return };
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let (before, after) = outcome.stdout.split_once("with a read-only database:\n").unwrap();
    assert_eq!(after, "/tmp/trop-0\n2\n", "{outcome:?}");
    let home = before.lines().find_map(|line| line.strip_suffix(':')).unwrap();
    let expected = "24000\n24000\n24000\n24000\n/tmp/given/.trop\n24000\n".to_owned()
        + &format!("{home}:\n.trop\n\n/tmp/given:\n.trop\n\n/tmp/read-only:\n");
    assert_eq!(before, expected);
    // A home directory is nothing to warn of; the last one is not, and says so.
    let warnings: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(warnings.len(), 1, "{outcome:?}");
    assert!(warnings[0].contains("'/tmp/trop-0'") && warnings[0].contains("Read-only"), "{outcome:?}");
}

/// Traps 128 (several exit codes for one fault), 130 (no home directory).
#[test]
fn without_any_place_everybody_fails_alike() {
    let test = hide(",ro", ",ro", ",ro") + "trop=$1; shift; exec \"$trop\" \"$@\"";
    let also: [&[&str]; 4] = [&["init"], &["init", "--dry-run"], &["show-data-dir"], &["assert-data-dir"]];
    for command in everybody().chain(also) {
        let Some(outcome) = script(&test, command) else { return };
        assert_failure(
            &outcome,
            3,
            &["Data directory not found", "HOME is not set", "/tmp/trop-0", "Read-only"],
        );
    }
}

/// File systems that another program serves are told apart by their type; all have the same number. Only a
/// mounted one shows that; the other types are tested in `os/file_system.rs` of the core.
#[test]
fn a_file_system_that_a_program_serves_is_no_place_for_a_registry() {
    let test = hide("", "", "")
        + r#"
        test -w /dev/fuse || exit 77
        served="/run/with blank"
        mkdir "$served"
        for kind in fuse.sshfs fuse fuse.fuse-overlayfs; do
            python3 "$2" $kind "$served" < /dev/null > /dev/null 2> /run/failure || exit 77
            trap 'umount -l "$served"' EXIT
            HOME=$served "$1" show-data-dir
            HOME=$home TROP_DATA_DIR=$served "$1" list || echo $?
            umount "$served"
            trap - EXIT
        done"#;
    let holder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuse_holder.py");
    let Some(outcome) = script(&test, &[holder]) else { return };
    if outcome.code == 77 {
        eprintln!("skipped: there is no FUSE");
        return;
    }
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let [first, _, second, _, third, _] = outcome.stdout.lines().collect::<Vec<_>>()[..] else {
        panic!("{outcome:?}");
    };
    assert_eq!((first == second, third), (true, "/run/with blank/.trop"), "{outcome:?}");
    assert!(first.ends_with("/.trop") && !first.starts_with("/run"), "{outcome:?}");
    let errors: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!(errors.len(), 3, "{outcome:?}");
    for (error, kind) in errors.iter().zip(["fuse.sshfs", "FUSE"]) {
        let expected =
            format!("Error: unsupported: the data directory '/run/with blank' is on {kind}, where locks");
        assert!(error.starts_with(&expected), "{outcome:?}");
    }
    assert!(errors[2].contains("cannot create the database"), "{outcome:?}");
}
