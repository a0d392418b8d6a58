//! A cache of the project and task that git gives for the working directory.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::git::{Inferred, Repository, names_for};
use crate::fork;
use crate::model::paths;

/// Caches the names of the checkout whose root is the working directory, which most reservations are for.
/// They are never out of date, because they depend only on the directory's name and on `.git/HEAD`, and the
/// stamp of that file is compared each time.
pub(crate) struct CheckoutCache {
    last: Mutex<Option<Checkout>>,
    /// A file that changed less than this long ago is not cached: another change could leave it with the same
    /// time stamp, because some file systems store times in steps of two seconds.
    settled: Duration,
}

struct Checkout {
    directory: PathBuf,
    head: Stamp,
    names: Inferred,
}

impl Default for CheckoutCache {
    fn default() -> CheckoutCache {
        CheckoutCache { last: Mutex::default(), settled: Duration::from_secs(3) }
    }
}

impl CheckoutCache {
    /// Like [`git::names_for`](super::git::names_for), but cached.
    pub(crate) fn names_for(&self, path: &Path) -> Inferred {
        let is_working_directory = paths::working_directory().is_ok_and(|directory| directory == path);
        let names = if is_working_directory { self.checkout_at(path) } else { None };
        names.unwrap_or_else(|| names_for(path))
    }

    /// The names of a checkout whose root is exactly this directory. Its path contains no symbolic links.
    fn checkout_at(&self, directory: &Path) -> Option<Inferred> {
        let head = Stamp::of(&directory.join(".git/HEAD"))?;
        let known = self.with(|last| {
            let known = last.as_ref().filter(|known| known.directory == directory && known.head == head);
            known.map(|known| known.names.clone())
        });
        if known.is_some() {
            return known;
        }
        let repository =
            Repository::at(directory).filter(|found| matches!(found, Repository::Checkout { .. }))?;
        let names = repository.names();
        if head.is_older_than(self.settled) {
            let checkout = Checkout { directory: directory.to_path_buf(), head, names: names.clone() };
            self.with(|last| *last = Some(checkout));
        }
        Some(names)
    }

    fn with<T>(&self, run: impl FnOnce(&mut Option<Checkout>) -> T) -> T {
        fork::locked_on(&self.last, run)
    }
}

/// Identifies the content of a file: it changes when git replaces the file, and when another program writes
/// into it.
#[derive(PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    size: u64,
    changed: Duration,
}

impl Stamp {
    #[cfg(unix)]
    fn of(path: &Path) -> Option<Stamp> {
        use std::fs;
        use std::os::unix::fs::MetadataExt;
        let metadata = fs::metadata(path).ok().filter(fs::Metadata::is_file)?;
        let changed =
            Duration::new(metadata.ctime().try_into().ok()?, metadata.ctime_nsec().try_into().ok()?);
        Some(Stamp { file: (metadata.dev(), metadata.ino()), size: metadata.len(), changed })
    }

    /// On other systems no stamp is reliable, so nothing is cached.
    #[cfg(not(unix))]
    fn of(_path: &Path) -> Option<Stamp> {
        None
    }

    fn is_older_than(&self, age: Duration) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        now.checked_sub(self.changed).is_some_and(|old| old >= age)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;

    use super::*;

    fn names(known: &CheckoutCache, directory: &Path) -> (Option<String>, Option<String>) {
        let names = known.checkout_at(directory).unwrap_or_else(|| names_for(directory));
        assert_eq!(names, names_for(directory));
        (names.project, names.task)
    }

    fn checkout(directory: &Path, branch: &str) {
        for part in ["objects", "refs"] {
            fs::create_dir_all(directory.join(".git").join(part)).unwrap();
        }
        switch(directory, branch);
    }

    /// Replaces the file by a new one, as git does.
    fn switch(directory: &Path, branch: &str) {
        let new = directory.join(".git/HEAD.lock");
        fs::write(&new, format!("ref: refs/heads/{branch}\n")).unwrap();
        fs::rename(new, directory.join(".git/HEAD")).unwrap();
    }

    #[test]
    fn the_names_are_those_of_now() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path().canonicalize().unwrap();
        let (shop, store) = (root.join("shop"), root.join("store"));
        checkout(&shop, "main");
        checkout(&store, "other");
        let known = CheckoutCache { settled: Duration::ZERO, ..CheckoutCache::default() };
        let some = |text: &str| Some(text.to_owned());
        for branch in ["main", "a", "b", "a"] {
            switch(&shop, branch);
            for _ in 0..2 {
                assert_eq!(names(&known, &shop), (some("shop"), some(branch)));
            }
        }
        assert_eq!(names(&known, &store), (some("store"), some("other")));
        assert_eq!(names(&known, &shop), (some("shop"), some("a")));
        // Written in place by another program than git.
        fs::write(shop.join(".git/HEAD"), "ref: refs/heads/longer\n").unwrap();
        assert_eq!(names(&known, &shop), (some("shop"), some("longer")));
        // The same `.git/HEAD` in a directory that was renamed.
        assert_eq!(names(&known, &store), (some("store"), some("other")));
        fs::rename(&store, root.join("mall")).unwrap();
        assert_eq!(names(&known, &root.join("mall")), (some("mall"), some("other")));

        // The cached names are used: without `objects` git would not recognise the repository any more.
        fs::remove_dir(root.join("mall/.git/objects")).unwrap();
        assert_eq!(known.checkout_at(&root.join("mall")).unwrap().task, some("other"));
        // A file that has just been changed is not cached.
        let careful = CheckoutCache { settled: Duration::MAX, ..CheckoutCache::default() };
        assert_eq!(names(&careful, &root.join("mall")), (None, None));
        fs::create_dir(root.join("mall/.git/objects")).unwrap();
        assert_eq!(names(&careful, &root.join("mall")), (some("mall"), some("other")));
        assert!(careful.with(|last| last.is_none()));
    }
}
