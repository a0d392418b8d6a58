//! What git knows about a directory, read from its files. No program is run, and no variable such as
//! `GIT_DIR` is read.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::model::identifier;
use crate::os::fs::open_without_waiting;

/// The most that is read of a file, in bytes. The files read here are far shorter.
const MOST_BYTES: u64 = 65536;

/// Names for a reservation; each is absent when there is none or it breaks the identifier rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Inferred {
    /// The directory name of the main repository.
    pub(crate) project: Option<String>,
    /// The directory name of a linked worktree, else the branch.
    pub(crate) task: Option<String>,
}

/// The names for a path. The repository is searched upward from the nearest existing directory. Failures are
/// not reported: they yield no names.
pub(super) fn names_for(path: &Path) -> Inferred {
    let Some(start) = path.ancestors().find(|ancestor| ancestor.is_dir()) else { return Inferred::default() };
    let Ok(start) = start.canonicalize() else { return Inferred::default() };
    for directory in start.ancestors() {
        if let Some(repository) = Repository::at(directory) {
            return repository.names();
        }
    }
    Inferred::default()
}

pub(super) enum Repository {
    /// A checkout (or submodule), and the directory with git's data.
    Checkout {
        directory: PathBuf,
        data: PathBuf,
    },
    /// A linked worktree and the data of the repository it belongs to.
    Worktree {
        directory: PathBuf,
        common: PathBuf,
    },
    Bare {
        data: PathBuf,
    },
    /// A broken repository. The search ends here, as git's own search does.
    Unusable,
}

impl Repository {
    pub(super) fn at(directory: &Path) -> Option<Repository> {
        let owned = directory.to_path_buf();
        let dot_git = directory.join(".git");
        if let Ok(found) = dot_git.metadata() {
            if found.is_file() {
                return Some(Repository::linked(owned, &dot_git).unwrap_or(Repository::Unusable));
            }
            if is_git_directory(&dot_git) {
                return Some(Repository::Checkout { directory: owned, data: dot_git });
            }
        }
        if !is_git_directory(directory) {
            return None;
        }
        Some(match directory.parent() {
            Some(parent) if directory.file_name().is_some_and(|name| name == ".git") => {
                Repository::Checkout { directory: parent.to_path_buf(), data: owned }
            }
            _ => Repository::Bare { data: owned },
        })
    }

    /// The repository that a `.git` file points to. A linked worktree shares the data of its repository, a
    /// submodule has its own.
    fn linked(directory: PathBuf, dot_git: &Path) -> Option<Repository> {
        let data = directory.join(path(read_bytes(dot_git)?.strip_prefix(b"gitdir:")?)?);
        let common_file = data.join("commondir");
        if !common_file.is_file() {
            return is_git_directory(&data).then_some(Repository::Checkout { directory, data });
        }
        let common = data.join(path(&read_bytes(&common_file)?)?).canonicalize().ok()?;
        Some(Repository::Worktree { directory, common })
    }

    pub(super) fn names(&self) -> Inferred {
        match self {
            Repository::Checkout { directory, data } => {
                Inferred { project: repository_name(directory), task: branch(data) }
            }
            Repository::Worktree { directory, common } => {
                Inferred { project: main_name(common), task: name(directory) }
            }
            Repository::Bare { data } => Inferred { project: repository_name(data), task: branch(data) },
            Repository::Unusable => Inferred::default(),
        }
    }
}

/// Whether this is a data directory of git, by the test that git itself uses.
fn is_git_directory(directory: &Path) -> bool {
    let head = directory.join("HEAD");
    // Most directories have no HEAD, so it is checked first.
    let Ok(found) = head.symlink_metadata() else { return false };
    (found.is_file() || found.is_symlink())
        && directory.join("objects").is_dir()
        && directory.join("refs").is_dir()
}

/// The name of the repository with this data directory: that of its checkout, if it has one.
fn main_name(common: &Path) -> Option<String> {
    if common.file_name().is_some_and(|name| name == ".git") {
        return repository_name(common.parent()?);
    }
    match checkout_of(common) {
        Some(checkout) => repository_name(&checkout),
        None => repository_name(common),
    }
}

/// Where a submodule is checked out: `core.worktree` in the configuration of its data directory.
fn checkout_of(common: &Path) -> Option<PathBuf> {
    let configuration = read(&common.join("config"))?;
    let mut in_core = false;
    for line in configuration.lines().map(str::trim) {
        if line.starts_with('[') {
            in_core = line.eq_ignore_ascii_case("[core]");
        } else if let Some((key, value)) = line.split_once('=')
            && in_core
            && key.trim().eq_ignore_ascii_case("worktree")
        {
            return common.join(value.trim().trim_matches('"')).canonicalize().ok();
        }
    }
    None
}

/// The full name of the current branch, even one without a commit; none for a detached HEAD.
fn branch(data: &Path) -> Option<String> {
    let head = data.join("HEAD");
    let text = read(&head).and_then(|text| Some(text.strip_prefix("ref:")?.trim().to_owned()));
    // Old versions of git made HEAD a symbolic link.
    let target = text.or_else(|| Some(fs::read_link(&head).ok()?.to_str()?.to_owned()))?;
    // With the reftable format HEAD says `refs/heads/.invalid`.
    let branch = target.strip_prefix("refs/heads/").filter(|branch| *branch != ".invalid")?;
    valid("task", branch)
}

fn repository_name(directory: &Path) -> Option<String> {
    let name = directory.file_name()?.to_str()?;
    valid("project", name.strip_suffix(".git").unwrap_or(name))
}

fn name(directory: &Path) -> Option<String> {
    valid("task", directory.file_name()?.to_str()?)
}

fn valid(field: &'static str, text: &str) -> Option<String> {
    identifier(field, text).ok().map(str::to_owned)
}

/// A path as it stands in a file of git. It need not be UTF-8.
fn path(bytes: &[u8]) -> Option<PathBuf> {
    let end = bytes.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r'))?;
    let bytes = bytes[..=end].strip_prefix(b" ").unwrap_or(&bytes[..=end]);
    #[cfg(unix)]
    let text = std::os::unix::ffi::OsStrExt::from_bytes(bytes);
    #[cfg(not(unix))]
    let text = std::ffi::OsStr::new(std::str::from_utf8(bytes).ok()?);
    Some(Path::new::<std::ffi::OsStr>(text).to_path_buf())
}

/// The text of a small ordinary file.
fn read(path: &Path) -> Option<String> {
    String::from_utf8(read_bytes(path)?).ok()
}

fn read_bytes(path: &Path) -> Option<Vec<u8>> {
    let mut file = open_without_waiting(path).ok()?;
    // Nearly all files are shorter, and one system call reads them.
    let mut bytes = vec![0; 1024];
    let length = loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => break result.ok()?,
        }
    };
    let is_whole = length < bytes.len();
    bytes.truncate(length);
    if !is_whole {
        file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    }
    Some(bytes)
}
