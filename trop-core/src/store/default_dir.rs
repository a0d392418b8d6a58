//! Chooses the data directory when none is named. Nothing is created here.
//!
//! It is `~/.trop` wherever that is possible. Sandboxes, services and build systems have no home directory,
//! or one that cannot be used. Their processes must find the same registry nevertheless, so the other places
//! depend only on the user, except for the last one.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::file::{DATABASE, exists};
use crate::fork;
use crate::model::paths;
use crate::model::{Error, Result};
use crate::os::file_system::untrusted_file_system;
use crate::os::fs::{ensure_can_create_in, ensure_writable, is_missing};
#[cfg(unix)]
use crate::os::process;

/// The variable that names the data directory when a caller does not.
pub(super) const VARIABLE: &str = "TROP_DATA_DIR";

/// The directory in a home directory.
const IN_HOME: &str = ".trop";

/// What Nix and Debian call the home of users that must not have one. Root could create them, and Nix fails
/// where they exist.
const NO_HOMES: [&str; 2] = ["/homeless-shelter", "/nonexistent"];

/// What the choice depends on.
struct Surroundings<'a> {
    /// The home directory by the environment.
    home: Option<PathBuf>,
    /// Looks up the home directory in the password file.
    password_home: &'a dyn Fn() -> Option<PathBuf>,
    /// Directories below shared ones, in the order of preference.
    shared: Vec<PathBuf>,
}

/// The outcome of a choice.
#[derive(Debug)]
struct Choice {
    directory: PathBuf,
    /// Whether it is below a directory that others can write as well, and does not survive a reboot.
    is_shared: bool,
    /// The places that were preferred, each with the reason why it cannot be used.
    passed_over: Vec<String>,
}

/// What was chosen in this process, so that it is asked for only once.
struct Memory {
    /// A program that changes its home directory and changes it back is in the first registry again.
    chosen: BTreeMap<Asked, PathBuf>,
    /// All directories below shared ones that were ever chosen.
    shared: Vec<PathBuf>,
}

/// What a choice is remembered by: the home directory by the environment, and the user.
type Asked = (Option<PathBuf>, u32);

static MEMORY: Mutex<Memory> = Mutex::new(Memory { chosen: BTreeMap::new(), shared: Vec::new() });

/// Returns the data directory of this user. The choice for a home directory and a user is kept, so that a
/// process does not go on in another registry because a place came or went, and to be fast.
///
/// # Errors
/// [`Error::NoDataDir`] when there is no place for one.
pub(super) fn default_dir() -> Result<PathBuf> {
    // The mutex may be locked for ever in such a process, in which nothing can be opened anyway.
    fork::ensure_usable()?;
    let asked = (paths::home(), user());
    let known = fork::locked_on(&MEMORY, |memory| memory.chosen.get(&asked).cloned());
    if let Some(directory) = known {
        return Ok(directory);
    }
    let choice = choose(Surroundings {
        home: asked.0.clone(),
        password_home: &password_home,
        shared: shared_places(asked.1),
    })?;
    let is_new = fork::locked_on(&MEMORY, |memory| {
        memory.chosen.insert(asked, choice.directory.clone());
        let is_new = choice.is_shared && !memory.shared.contains(&choice.directory);
        if is_new {
            memory.shared.push(choice.directory.clone());
        }
        is_new
    });
    let (shown, reasons) = (choice.directory.display(), choice.passed_over.join("; "));
    if is_new {
        log::warn!(
            "trop: the data directory is '{shown}', where reservations do not survive a reboot, \
             because {reasons}; set {VARIABLE} to name another"
        );
    } else if !choice.passed_over.is_empty() {
        log::info!("trop: the data directory is '{shown}', because {reasons}");
    }
    Ok(choice.directory)
}

/// Whether this process chose the directory, below one that others can write as well.
pub(super) fn is_shared(directory: &Path) -> bool {
    fork::locked_on(&MEMORY, |memory| memory.shared.iter().any(|chosen| chosen == directory))
}

/// Forgets that the directory was chosen, because it turned out not to be usable.
pub(super) fn forget(directory: &Path) {
    fork::locked_on(&MEMORY, |memory| {
        memory.chosen.retain(|_, chosen| chosen != directory);
    });
}

fn choose(surroundings: Surroundings<'_>) -> Result<Choice> {
    let Surroundings { home, password_home, shared } = surroundings;
    let first = home.as_ref().map_or_else(|| Path::new("~").join(IN_HOME), |home| home.join(IN_HOME));
    let mut passed_over = Vec::new();
    if home.is_none() {
        passed_over.push("HOME is not set".to_owned());
    } else if !first.is_absolute() {
        // It would be another one in each working directory.
        passed_over.push(format!("'{}' cannot be used (it is no absolute path)", first.display()));
    } else if is_usable(&first, home_obstacle, &mut passed_over) {
        return Ok(Choice { directory: first, is_shared: false, passed_over });
    }
    if let Some(other) = password_home().filter(|other| other.is_absolute() && Some(other) != home.as_ref()) {
        let directory = other.join(IN_HOME);
        if is_usable(&directory, home_obstacle, &mut passed_over) {
            return Ok(Choice { directory, is_shared: false, passed_over });
        }
    }
    for directory in shared {
        if is_usable(&directory, shared_obstacle, &mut passed_over) {
            return Ok(Choice { directory, is_shared: true, passed_over });
        }
    }
    let reason = format!("{}; set {VARIABLE} to a local directory", passed_over.join("; "));
    Err(Error::NoDataDir { path: first, reason })
}

/// Whether there is no obstacle to using the directory. One that there is gets noted.
fn is_usable(directory: &Path, obstacle: fn(&Path) -> Option<String>, passed_over: &mut Vec<String>) -> bool {
    let found = obstacle(directory);
    let is_usable = found.is_none();
    passed_over.extend(found.map(|reason| format!("'{}' cannot be used ({reason})", directory.display())));
    is_usable
}

/// Why a directory in a home directory cannot be used, if it cannot. It need not exist.
fn home_obstacle(directory: &Path) -> Option<String> {
    if NO_HOMES.iter().any(|none| directory.starts_with(none)) {
        return Some("that stands for no home directory".to_owned());
    }
    for existing in directory.ancestors() {
        match fs::metadata(existing) {
            Ok(metadata) if !metadata.is_dir() => {
                return Some(format!("'{}' is not a directory", existing.display()));
            }
            Ok(_) => return access_obstacle(existing, existing == directory),
            Err(error) if is_missing(&error) && is_dangling(existing) => {
                return Some(format!("'{}' is a symbolic link to nothing", existing.display()));
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Some(error.to_string()),
        }
    }
    Some("it has no existing parent".to_owned())
}

/// Why a directory below a shared one cannot be used, if it cannot. It need not exist, but the shared one
/// must. Nobody else may be able to replace it, to look into it or to decide where it leads.
#[cfg(unix)]
pub(super) fn shared_obstacle(directory: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;

    const STICKY: u32 = 0o1000;
    const WRITE_FOR_OTHERS: u32 = 0o022;
    const ANYTHING_FOR_OTHERS: u32 = 0o077;

    let user = process::effective_user();
    let parent = directory.parent()?;
    match fs::metadata(parent) {
        Ok(metadata) if !metadata.is_dir() => {
            return Some(format!("'{}' is not a directory", parent.display()));
        }
        Ok(metadata) => {
            let is_own = metadata.uid() == user && metadata.mode() & WRITE_FOR_OTHERS == 0;
            if !is_own && metadata.mode() & STICKY == 0 {
                return Some(format!("others could replace what is in '{}'", parent.display()));
            }
        }
        Err(error) => return Some(error.to_string()),
    }
    match fs::symlink_metadata(directory) {
        Ok(metadata) if metadata.is_symlink() => Some("it is a symbolic link".to_owned()),
        Ok(metadata) if !metadata.is_dir() => Some("it is not a directory".to_owned()),
        Ok(metadata) if metadata.uid() != user => Some("it belongs to another user".to_owned()),
        Ok(metadata) if metadata.mode() & ANYTHING_FOR_OTHERS != 0 => {
            Some("other users have rights to it".to_owned())
        }
        Ok(_) => access_obstacle(directory, true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => access_obstacle(parent, false),
        Err(error) => Some(error.to_string()),
    }
}

/// There are no such places.
#[cfg(not(unix))]
pub(super) fn shared_obstacle(_directory: &Path) -> Option<String> {
    None
}

/// Why the data directory, or one that it would be created in, cannot be used, if it cannot. It exists.
fn access_obstacle(existing: &Path, is_data_directory: bool) -> Option<String> {
    if let Err(error) = ensure_can_create_in(existing) {
        return Some(error.to_string());
    }
    // What else may be wrong with a database does not make the registry go elsewhere.
    if is_data_directory
        && exists(existing).unwrap_or(true)
        && let Err(error) = ensure_writable(&existing.join(DATABASE))
    {
        return Some(format!("{DATABASE}: {error}"));
    }
    match untrusted_file_system(existing) {
        Ok(None) => None,
        Ok(Some(name)) => Some(format!("it is on {name}, where locks cannot be trusted")),
        Err(error) => Some(error.to_string()),
    }
}

/// Whether something that does not exist has a name nevertheless.
fn is_dangling(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[cfg(unix)]
fn user() -> u32 {
    process::effective_user()
}

#[cfg(not(unix))]
fn user() -> u32 {
    0
}

#[cfg(unix)]
fn password_home() -> Option<PathBuf> {
    process::home_of_user(process::effective_user())
}

#[cfg(not(unix))]
fn password_home() -> Option<PathBuf> {
    None
}

#[cfg(unix)]
fn shared_places(user: u32) -> Vec<PathBuf> {
    let temporary = std::env::var_os("TMPDIR").map(PathBuf::from);
    places_of(user, Path::new("/run/user"), Path::new("/tmp"), temporary)
}

#[cfg(not(unix))]
fn shared_places(_user: u32) -> Vec<PathBuf> {
    Vec::new()
}

/// The places below shared directories. Only the last one differs between processes of a user.
#[cfg(unix)]
fn places_of(user: u32, run: &Path, tmp: &Path, temporary: Option<PathBuf>) -> Vec<PathBuf> {
    let name = format!("trop-{user}");
    let mut places = vec![run.join(user.to_string()).join("trop"), tmp.join(&name)];
    places
        .extend(temporary.filter(|other| other.is_absolute() && other != tmp).map(|other| other.join(name)));
    places
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown, symlink};

    use tempfile::TempDir;

    use super::*;

    /// A machine with a home directory and the shared directories, all in a temporary one.
    struct Machine {
        root: TempDir,
        user: u32,
    }

    impl Machine {
        fn new() -> Machine {
            let machine = Machine { root: tempfile::tempdir().unwrap(), user: process::effective_user() };
            for (name, mode) in [("home", 0o755), ("other", 0o755), ("run", 0o755), ("tmp", 0o1777)] {
                machine.make(name, mode);
            }
            machine.make(&format!("run/{}", machine.user), 0o700);
            machine
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.path().join(name)
        }

        fn make(&self, name: &str, mode: u32) {
            fs::DirBuilder::new().mode(mode).create(self.path(name)).unwrap();
            // Whatever the umask is.
            self.allow(name, mode);
        }

        fn allow(&self, name: &str, mode: u32) {
            fs::set_permissions(self.path(name), Permissions::from_mode(mode)).unwrap();
        }

        fn run_dir(&self) -> PathBuf {
            self.path(&format!("run/{}/trop", self.user))
        }

        fn tmp_dir(&self) -> PathBuf {
            self.path(&format!("tmp/trop-{}", self.user))
        }

        fn choose(
            &self,
            home: Option<&Path>,
            other: Option<&Path>,
            temporary: Option<&str>,
        ) -> Result<Choice> {
            let temporary = temporary.map(|name| self.path(name));
            let shared = places_of(self.user, &self.path("run"), &self.path("tmp"), temporary);
            let home = home.map(Path::to_path_buf);
            choose(Surroundings { home, password_home: &|| other.map(Path::to_path_buf), shared })
        }

        /// What is chosen without any home directory.
        #[track_caller]
        fn homeless(&self) -> Choice {
            self.choose(None, None, None).unwrap()
        }
    }

    #[test]
    fn the_home_directory_comes_first_and_nothing_is_created() {
        let machine = Machine::new();
        for home in ["home", "home/missing/for/now", "link"] {
            if home == "link" {
                symlink("home", machine.path(home)).unwrap();
            }
            let choice =
                machine.choose(Some(&machine.path(home)), Some(&machine.path("other")), None).unwrap();
            assert_eq!(choice.directory, machine.path(home).join(".trop"));
            assert!(!choice.is_shared && choice.passed_over.is_empty());
        }
        assert_eq!(fs::read_dir(machine.path("home")).unwrap().count(), 0);
        // With a directory, with a database, and with one that is of no use.
        machine.make("home/.trop", 0o700);
        let at_home = || {
            let choice = machine.choose(Some(&machine.path("home")), None, None).unwrap();
            assert_eq!(choice.directory, machine.path("home/.trop"));
        };
        at_home();
        fs::write(machine.path("home/.trop/trop.db"), "damaged").unwrap();
        at_home();
        fs::remove_file(machine.path("home/.trop/trop.db")).unwrap();
        machine.make("home/.trop/trop.db", 0o700);
        at_home();
    }

    #[test]
    fn without_a_usable_home_directory_the_password_file_has_one() {
        let machine = Machine::new();
        fs::write(machine.path("file"), "").unwrap();
        fs::write(machine.path("home/.trop"), "a file").unwrap();
        machine.make("dangling", 0o755);
        symlink("nowhere", machine.path("dangling/.trop")).unwrap();
        symlink("loop", machine.path("loop")).unwrap();
        let bad = ["file", "file/below", "home", "dangling", "dangling/.trop", "loop", &"x".repeat(300)];
        let homes = bad.map(|name| machine.path(name));
        let homes = homes
            .iter()
            .map(PathBuf::as_path)
            .chain([NO_HOMES[0], NO_HOMES[1], "relative", "."].map(Path::new))
            .map(Some);
        for home in homes.chain([None]) {
            let choice = machine.choose(home, Some(&machine.path("other")), None).unwrap();
            assert_eq!(choice.directory, machine.path("other/.trop"), "{home:?}");
            assert!(!choice.is_shared);
            assert_eq!(choice.passed_over.len(), 1, "{choice:?}");
        }
        // One that is the same, or that is no path from the root, is no other home.
        for other in [machine.path("file"), PathBuf::from("relative")] {
            let choice = machine.choose(Some(&machine.path("file")), Some(&other), None).unwrap();
            assert_eq!((choice.directory, choice.passed_over.len()), (machine.run_dir(), 1));
        }
    }

    #[test]
    fn without_any_home_directory_it_is_below_a_shared_one() {
        let machine = Machine::new();
        let choice = machine.homeless();
        assert_eq!((choice.directory, choice.is_shared), (machine.run_dir(), true));
        // The directory of the user is not made: the system does that when somebody logs in.
        fs::remove_dir(machine.run_dir().parent().unwrap()).unwrap();
        let choice = machine.homeless();
        assert_eq!((choice.directory, choice.is_shared), (machine.tmp_dir(), true));
        machine.make("mine", 0o700);
        let last = machine.path(&format!("mine/trop-{}", machine.user));
        let with_temporary = || machine.choose(Some(&machine.path("none/x")), None, Some("mine")).unwrap();
        fs::write(machine.path("none"), "").unwrap();
        assert_eq!(with_temporary().directory, machine.tmp_dir());
        fs::remove_dir(machine.path("tmp")).unwrap();
        assert_eq!(with_temporary().directory, last);
        assert!(!last.exists());

        fs::remove_dir(machine.path("mine")).unwrap();
        let error = machine.choose(Some(&machine.path("none/x")), None, Some("mine")).unwrap_err();
        assert!(
            matches!(&error, Error::NoDataDir { path, .. } if *path == machine.path("none/x/.trop")),
            "{error}"
        );
        let text = error.to_string();
        for tried in [machine.path("none/x/.trop"), machine.run_dir(), machine.tmp_dir(), last] {
            assert!(text.contains(&format!("'{}' cannot be used (", tried.display())), "{text}");
        }
        let unset = machine.choose(None, None, None).unwrap_err().to_string();
        assert!(unset.contains("HOME is not set") && unset.contains(VARIABLE), "{unset}");
    }

    #[test]
    fn a_directory_that_is_not_the_user_s_alone_is_passed_over() {
        let machine = Machine::new();
        fs::remove_dir(machine.run_dir().parent().unwrap()).unwrap();
        let directory = machine.tmp_dir();
        let own = || assert_eq!(machine.homeless().directory, directory);
        let passed_over = |reason: &str| {
            let error = machine.choose(None, None, None).unwrap_err().to_string();
            assert!(
                error.contains(&format!("'{}' cannot be used ({reason}", directory.display())),
                "{error}"
            );
        };
        let name = format!("tmp/trop-{}", machine.user);

        machine.make(&name, 0o700);
        own();
        for mode in [0o770, 0o720, 0o701, 0o755, 0o777] {
            machine.allow(&name, mode);
            passed_over("other users have rights to it");
        }
        machine.allow(&name, 0o700);
        own();
        if machine.user == 0 {
            chown(&directory, Some(65534), None).unwrap();
            passed_over("it belongs to another user");
        }
        fs::remove_dir(&directory).unwrap();
        for target in [machine.path("home"), machine.path("nowhere")] {
            symlink(target, &directory).unwrap();
            passed_over("it is a symbolic link");
            fs::remove_file(&directory).unwrap();
        }
        fs::write(&directory, "").unwrap();
        passed_over("it is not a directory");
        fs::remove_file(&directory).unwrap();

        // The directory above it: sticky, or the user's own and nobody else's to write.
        for (mode, is_safe) in [(0o777, false), (0o775, false), (0o755, true), (0o700, true), (0o1777, true)]
        {
            machine.allow("tmp", mode);
            if is_safe { own() } else { passed_over("others could replace what is in") }
        }
        if machine.user == 0 {
            chown(machine.path("tmp"), Some(65534), None).unwrap();
            own();
            machine.allow("tmp", 0o755);
            passed_over("others could replace what is in");
        }
    }
}
