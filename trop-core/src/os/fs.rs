//! Files: their identity, and whether they can be read and written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

#[cfg(unix)]
use super::process::effective_user;

/// The path of a file beside a database: the database's path with a suffix.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The identity of a file, whatever path or descriptor leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

/// The identity of what is at the path now.
#[cfg(unix)]
pub(crate) fn file_id(path: &Path) -> io::Result<FileId> {
    use std::os::unix::fs::MetadataExt;
    let metadata = fs::metadata(path)?;
    Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
}

/// Opens a path for reading without blocking: opening a pipe would otherwise wait for a writer.
pub(crate) fn open_without_waiting(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    options.open(path)
}

/// Creates a file for reading and appending that only its user may use. There must be nothing at the path, no
/// link either. What root creates in the directory of another user belongs to that user, who can go on
/// without root then, as SQLite does it beside a database.
#[cfg(unix)]
pub(crate) fn create_private(path: &Path) -> io::Result<fs::File> {
    use std::os::fd::{AsRawFd, FromRawFd};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = fs::OpenOptions::new();
    options.read(true).append(true).create_new(true).mode(0o600);
    let (0, Some(directory), Some(name)) = (effective_user(), path.parent(), path.file_name()) else {
        return options.open(path);
    };
    // The user may replace the directory meanwhile by a link to another one, so it is opened only once.
    let directory = fs::OpenOptions::new().read(true).custom_flags(libc::O_DIRECTORY).open(directory)?;
    let user = directory.metadata()?;
    let name = std::ffi::CString::new(name.as_bytes())?;
    let flags =
        libc::O_RDWR | libc::O_APPEND | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: `name` is NUL-terminated, and a descriptor that is not negative is new and used only here.
    let file = unsafe {
        match libc::openat(directory.as_raw_fd(), name.as_ptr(), flags, 0o600) {
            descriptor if descriptor >= 0 => fs::File::from_raw_fd(descriptor),
            _ => return Err(io::Error::last_os_error()),
        }
    };
    give_away(&file, &user);
    Ok(file)
}

/// Gives a directory that root has just created to the owner of the one above. In the home directory of a
/// user it is the user's, who could not use it otherwise.
#[cfg(unix)]
pub(crate) fn give_to_owner_of_parent(directory: &Path) {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
    let Some(parent) = directory.parent().filter(|_| effective_user() == 0) else { return };
    let no_link = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let created = fs::OpenOptions::new().read(true).custom_flags(no_link).open(directory);
    if let (Ok(owner), Ok(created)) = (fs::metadata(parent), created)
        && created.metadata().is_ok_and(|found| found.uid() == 0)
    {
        give_away(&created, &owner);
    }
}

#[cfg(not(unix))]
pub(crate) fn give_to_owner_of_parent(_directory: &Path) {}

/// Gives what root has created to the owner of something else, if that is not root.
#[cfg(unix)]
fn give_away(created: &fs::File, owner: &fs::Metadata) {
    use std::os::unix::fs::{MetadataExt, fchown};
    if owner.uid() != 0 {
        // In some containers root cannot do it. It is as good as anything else of root's then.
        let _ = fchown(created, Some(owner.uid()), Some(owner.gid()));
    }
}

#[cfg(not(unix))]
pub(crate) fn create_private(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new().read(true).append(true).create_new(true).open(path)
}

/// Whether an open file still has a name.
#[cfg(unix)]
pub(crate) fn is_linked(file: &fs::File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
}

/// On other systems an open file cannot be removed.
#[cfg(not(unix))]
pub(crate) fn is_linked(_file: &fs::File) -> bool {
    true
}

/// On other systems the path stands for the file, so a replaced database is not noticed.
#[cfg(not(unix))]
pub(crate) fn file_id(path: &Path) -> io::Result<FileId> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    fs::canonicalize(path)?.hash(&mut hasher);
    Ok(FileId { device: 0, inode: hasher.finish() })
}

/// Whether this process has a file descriptor on the file, whichever code opened it.
#[cfg(unix)]
pub(crate) fn has_descriptor_on(file: FileId) -> bool {
    if let Some(found) = is_among_lowest(file) {
        return found;
    }
    let list = if cfg!(target_os = "linux") { DESCRIPTORS } else { "/dev/fd" };
    let numbers: Vec<i32> = match fs::read_dir(list) {
        Ok(entries) => {
            entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
        }
        // The list is not mounted, or no descriptor is left to read it. Try the numbers that a process
        // usually has.
        Err(_) => (0..4096).collect(),
    };
    numbers.into_iter().any(|descriptor| descriptor_id(descriptor) == Some(file))
}

#[cfg(unix)]
const DESCRIPTORS: &str = "/proc/self/fd";

/// From this number on, trying one descriptor after another takes longer than listing them.
#[cfg(unix)]
const MANY_DESCRIPTORS: i32 = 256;

/// Like [`has_descriptor_on`], but faster, for processes whose descriptors all have low numbers, as most
/// have. Returns `None` if that is not known. Newer Linux kernels report the number of descriptors as the
/// size of the directory; see `/proc/pid/fd` in proc(5).
#[cfg(unix)]
fn is_among_lowest(file: FileId) -> Option<bool> {
    let count = || fs::metadata(DESCRIPTORS).ok().and_then(|list| usize::try_from(list.len()).ok());
    let all = count().filter(|_| cfg!(target_os = "linux"))?;
    let mut seen = 0;
    for descriptor in 0..MANY_DESCRIPTORS {
        if seen == all {
            // This is conclusive unless another thread opened or closed a descriptor meanwhile.
            return (seen > 0 && count() == Some(all)).then_some(false);
        }
        if let Some(id) = descriptor_id(descriptor) {
            if id == file {
                return Some(true);
            }
            seen += 1;
        }
    }
    None
}

/// The identity of the file that a descriptor is open on, if it is open.
#[cfg(unix)]
fn descriptor_id(descriptor: i32) -> Option<FileId> {
    let mut status = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat writes a whole `stat` when it returns 0, and accepts any number as a descriptor.
    let status = unsafe {
        if libc::fstat(descriptor, status.as_mut_ptr()) != 0 {
            return None;
        }
        status.assume_init()
    };
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss, reason = "the types differ between systems")]
    let id = FileId { device: status.st_dev as u64, inode: status.st_ino as u64 };
    Some(id)
}

/// On other systems locks do not belong to processes, so a second copy of SQLite is harmless.
#[cfg(not(unix))]
pub(crate) fn has_descriptor_on(_file: FileId) -> bool {
    false
}

/// An error of this kind with the number that the operating system would report.
pub(crate) fn failure(kind: io::ErrorKind) -> io::Error {
    #[cfg(unix)]
    let error = io::Error::from_raw_os_error(match kind {
        io::ErrorKind::StorageFull => libc::ENOSPC,
        io::ErrorKind::NotADirectory => libc::ENOTDIR,
        io::ErrorKind::PermissionDenied => libc::EACCES,
        io::ErrorKind::OutOfMemory => libc::ENOMEM,
        _ => libc::EIO,
    });
    #[cfg(not(unix))]
    let error = kind.into();
    error
}

/// Whether an error says that there is nothing at a path.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Why this user may not write the database.
pub(crate) fn write_failure(database: &Path) -> io::Error {
    ensure_writable(database).err().unwrap_or_else(|| failure(io::ErrorKind::PermissionDenied))
}

/// Fails if this user may not write the database and the files that SQLite needs beside it.
#[cfg(unix)]
pub(crate) fn ensure_writable(database: &Path) -> io::Result<()> {
    access(database, libc::R_OK | libc::W_OK)?;
    access(database.parent().unwrap_or(database), libc::W_OK | libc::X_OK)
}

/// Fails if this user may not create files in the directory.
#[cfg(unix)]
pub(crate) fn ensure_can_create_in(directory: &Path) -> io::Result<()> {
    access(directory, libc::W_OK | libc::X_OK)
}

#[cfg(not(unix))]
pub(crate) fn ensure_can_create_in(directory: &Path) -> io::Result<()> {
    fs::metadata(directory).map(|_| ())
}

#[cfg(not(unix))]
pub(crate) fn ensure_writable(database: &Path) -> io::Result<()> {
    if fs::metadata(database)?.permissions().readonly() {
        Err(failure(io::ErrorKind::PermissionDenied))
    } else {
        Ok(())
    }
}

/// Finds out why SQLite could not open a database, which it does not report, without opening the database.
#[cfg(unix)]
pub(crate) fn open_failure(database: &Path) -> io::Error {
    // SQLite's limit, with room for the suffixes of its other files.
    if database.as_os_str().len() > 512 - "-journal".len() {
        return io::Error::from_raw_os_error(libc::ENAMETOOLONG);
    }
    // The remaining cause is mostly a limit on open files, which affects any file.
    let any = || fs::read_dir(database.parent().unwrap_or(database)).err();
    ensure_writable(database).err().or_else(any).unwrap_or_else(|| io::Error::other("SQLite cannot open it"))
}

#[cfg(not(unix))]
pub(crate) fn open_failure(_database: &Path) -> io::Error {
    io::Error::other("SQLite cannot open it")
}

#[cfg(unix)]
fn access(path: &Path, mode: libc::c_int) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `path` is NUL-terminated.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), mode, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether the error is a loop of symbolic links.
pub(crate) fn is_link_loop(error: &io::Error) -> bool {
    #[cfg(unix)]
    let is_loop = error.raw_os_error() == Some(libc::ELOOP);
    // ERROR_CANT_RESOLVE_FILENAME.
    #[cfg(not(unix))]
    let is_loop = error.raw_os_error() == Some(1921);
    is_loop
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

    use super::*;

    #[test]
    fn descriptors_are_found_by_identity() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let id = file_id(file.path()).unwrap();
        assert!(has_descriptor_on(id));
        let path = file.into_temp_path();
        assert!(!has_descriptor_on(id));
        // Also where the number is far from the others.
        for lowest in [MANY_DESCRIPTORS - 1, MANY_DESCRIPTORS, 2 * MANY_DESCRIPTORS] {
            let file = fs::File::open(&path).unwrap();
            // SAFETY: a plain system call on an open descriptor. The new one is used only here.
            let far =
                unsafe { OwnedFd::from_raw_fd(libc::fcntl(file.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest)) };
            drop(file);
            assert!(has_descriptor_on(id), "{}", far.as_raw_fd());
            drop(far);
            assert!(!has_descriptor_on(id));
        }
    }
}
