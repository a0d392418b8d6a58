//! Processes that are killed at any moment: what they were told stays true, and the file stays sound.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by them")]

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{Process, Scratch, listed, release, reserve, say};
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// Reserves and releases for ever, and tells each step: what it has, and what it is about to give back.
#[test]
fn victim() {
    let Some(path) = common::role() else { return };
    let registry = trop_core::Registry::open(common::options(&trop_core::data_dir(None).unwrap())).unwrap();
    for step in 0_u64.. {
        let tag = (step * 7 % 20).to_string();
        if registry.find(&common::key(&path, &tag)).unwrap().is_some() {
            say(&format!("releasing {tag}"));
            assert_eq!(release(&registry, &path, &tag).unwrap(), 1);
            say(&format!("released {tag}"));
        } else {
            say(&format!("has {tag} {}", reserve(&registry, &path, &tag).unwrap()));
        }
    }
}

/// Trap 135 (being killed is harmless).
#[test]
fn killed_processes_lose_nothing_and_break_nothing() {
    let scratch = Scratch::new();
    let survivor = scratch.open();
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut told: [BTreeMap<String, u16>; 2] = Default::default();
    for round in 0..40 {
        // Two at a time, so that one is in the middle of something when the other dies.
        let mut victims =
            ["/victim/0", "/victim/1"].map(|path| Process::start("victim", path, &scratch.dir()));
        for (index, victim) in victims.iter_mut().enumerate() {
            let mut unsure = None;
            let mut hear = |line: String| {
                let fields: Vec<&str> = line.split(' ').collect();
                match fields[..] {
                    ["has", tag, port] => _ = told[index].insert(tag.to_owned(), port.parse().unwrap()),
                    ["releasing", tag] => unsure = Some(tag.to_owned()),
                    ["released", tag] => {
                        told[index].remove(tag);
                        unsure = None;
                    }
                    _ => panic!("{line}"),
                }
            };
            for _ in 0..random.next_u32() % 60 {
                hear(victim.hear());
            }
            let pause = Duration::from_micros(u64::from(random.next_u32() % 400));
            let start = Instant::now();
            while start.elapsed() < pause {
                std::hint::spin_loop();
            }
            victim.kill();
            while let Some(line) = victim.listen() {
                hear(line);
            }
            let path = format!("/victim/{index}");
            let found = listed(&survivor).into_iter().filter(|(_, other, _)| *other == path);
            let found: BTreeMap<String, u16> = found.map(|(port, _, tag)| (tag, port)).collect();
            for (tag, port) in &told[index] {
                assert!(
                    found.get(tag) == Some(port) || unsure.as_ref() == Some(tag),
                    "round {round}: {tag} had {port}: {found:?}"
                );
            }
            let untold = found.iter().filter(|(tag, _)| !told[index].contains_key(*tag)).count();
            assert!(untold <= 1, "round {round}: at most the last step was not told: {found:?}");
            // The next victim starts from what is there.
            told[index] = found;
        }
        assert_eq!(survivor.reserve(&common::request("/survivor", "own")).unwrap().created, round == 0);
    }
    common::assert_sound(&scratch.database());
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    let mut names: Vec<_> = std::fs::read_dir(scratch.dir()).unwrap().map(name).collect();
    // Perhaps nobody had to wait.
    names.retain(|name| name != "trop.db-queue");
    names.sort();
    assert_eq!(
        names,
        ["trop.db", "trop.db-shm", "trop.db-wal"],
        "nothing but the database and its companions"
    );
}

/// Killed while they open and create: the next one finds a usable directory.
#[test]
fn killed_while_creating_the_registry() {
    let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    for _ in 0..15 {
        let scratch = Scratch::new();
        let mut creators: Vec<_> =
            (0..3).map(|index| Process::start("victim", &format!("/{index}"), &scratch.dir())).collect();
        let seen = Instant::now();
        // As soon as there is a directory, or a little later.
        while !scratch.dir().exists() && seen.elapsed() < Duration::from_secs(60) {
            std::hint::spin_loop();
        }
        let pause = Duration::from_micros(u64::from(random.next_u32() % 3000));
        let start = Instant::now();
        while start.elapsed() < pause {
            std::hint::spin_loop();
        }
        creators.iter_mut().for_each(Process::kill);
        let registry = scratch.open();
        reserve(&registry, "/after", "a").unwrap();
        common::assert_sound(&scratch.database());
    }
}

/// Edits a file, unless it is killed by the system call whose number is its role.
#[cfg(target_os = "linux")]
#[test]
fn editor() {
    let Some(number) = common::role() else { return };
    let file = trop_core::data_dir(None).unwrap().join("x.yaml");
    common::filter_system_call(number.parse().unwrap(), None, libc::SECCOMP_RET_KILL_PROCESS);
    trop_core::add_exclusions(&file, &"9000..9100".parse().unwrap(), true).unwrap();
    say("edited");
}

/// Killed at each step of an edit, and at none: the file is the old one or the new one. Traps 84 (values of
/// other sources are written), 91 (the file is lost), 135 (being killed is harmless).
#[cfg(target_os = "linux")]
#[test]
fn killed_while_editing_a_file() {
    let old = "# mine\nexcluded_ports:\n  - 9050 # web\n".to_owned() + &"# and so on\n".repeat(1000);
    let new = old.replace("- 9050 # web\n", "# web\n  - {start: 9000, end: 9100}\n");
    let renaming = [
        #[cfg(target_arch = "x86_64")]
        libc::SYS_rename,
        libc::SYS_renameat,
        libc::SYS_renameat2,
    ];
    let steps = [libc::SYS_write, libc::SYS_fchown, libc::SYS_fchmod, libc::SYS_fsync];
    let mut states = Vec::new();
    for step in steps.into_iter().chain(renaming).chain([libc::SYS_reboot]) {
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.dir()).unwrap();
        let file = scratch.dir().join("x.yaml");
        std::fs::write(&file, &old).unwrap();
        let said = Process::start("editor", &step.to_string(), &scratch.dir()).listen();
        let found = std::fs::read_to_string(&file).unwrap();
        assert!(found == if said.is_some() { &*new } else { &*old }, "system call {step}: {found:.100}");
        states.push(said.is_some());
        // A temporary file that was left behind does not disturb the next edit.
        trop_core::add_exclusions(&file, &"9000..9100".parse().unwrap(), true).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap() == new);
    }
    let killed = states.iter().filter(|edited| !**edited).count();
    assert!(killed > steps.len() && states.ends_with(&[true]), "{states:?}");
}
