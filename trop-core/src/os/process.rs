//! Processes: their parents, their users, and handlers around `fork`.

use std::path::PathBuf;

/// Registers handlers that run around every `fork` of this process: before it, and after it in the parent and
/// in the child.
#[cfg(unix)]
pub(crate) fn on_fork(
    prepare: unsafe extern "C" fn(),
    parent: unsafe extern "C" fn(),
    child: unsafe extern "C" fn(),
) {
    // SAFETY: the three functions live as long as this library, and the C library forgets them when it is
    // unloaded.
    unsafe { libc::pthread_atfork(Some(prepare), Some(parent), Some(child)) };
}

/// The name of the user that a process belongs to, if it is known.
#[cfg(target_os = "linux")]
pub(crate) fn user_of_process(process_id: u32) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let user = std::fs::metadata(format!("/proc/{process_id}")).ok()?.uid();
    let text = std::fs::read(PASSWORDS).ok()?;
    String::from_utf8(entry_of(user, &text)?.0.to_vec()).ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn user_of_process(_process_id: u32) -> Option<String> {
    None
}

/// The user with whose rights this process works.
#[cfg(unix)]
pub(crate) fn effective_user() -> u32 {
    // SAFETY: a plain system call.
    unsafe { libc::geteuid() }
}

/// The home directory that the password file has for a user, if it has one.
#[cfg(target_os = "linux")]
pub(crate) fn home_of_user(user: u32) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let text = std::fs::read(PASSWORDS).ok()?;
    let (_, home) = entry_of(user, &text)?;
    (!home.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(home)))
}

/// The file is read without the C library: `getpwuid_r` loads other libraries for users that are not in it,
/// by which a statically linked program crashes, and these may ask the network.
#[cfg(target_os = "linux")]
const PASSWORDS: &str = "/etc/passwd";

/// The name and the home directory of a user in the text of a password file.
#[cfg(target_os = "linux")]
fn entry_of(user: u32, text: &[u8]) -> Option<(&[u8], &[u8])> {
    text.split(|byte| *byte == b'\n').find_map(|line| {
        // Name, password, user, group, comment, home directory, shell.
        let mut fields = line.split(|byte| *byte == b':');
        let (name, number, home) = (fields.next()?, fields.nth(1)?, fields.nth(2)?);
        (str::from_utf8(number).ok()?.parse() == Ok(user)).then_some((name, home))
    })
}

/// The home directory that the system has for a user, if it has one.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn home_of_user(user: u32) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut record = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut text = vec![0_u8; 16 * 1024];
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are valid for the call, and the length is that of the buffer. A non-null result
    // points to `record`, which is then whole and whose directory is NUL-terminated text inside the buffer,
    // alive until the end.
    unsafe {
        let status =
            libc::getpwuid_r(user, record.as_mut_ptr(), text.as_mut_ptr().cast(), text.len(), &raw mut found);
        if status != 0 || found.is_null() {
            return None;
        }
        let home = std::ffi::CStr::from_ptr((*found).pw_dir).to_bytes();
        (!home.is_empty()).then(|| PathBuf::from(std::ffi::OsStr::from_bytes(home)))
    }
}

/// The parent of a process, if it is known. If the process that started it has ended, this is the one that
/// adopted it.
#[cfg(target_os = "linux")]
pub(crate) fn parent_of_process(process_id: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn parent_of_process(_process_id: u32) -> Option<u32> {
    None
}

/// Distinguishes this process from every other one: of other containers, of other boots, and those that have
/// its id before or after it. None where the system does not tell. Consists of letters, digits and hyphens.
#[cfg(target_os = "linux")]
pub(crate) fn identity() -> Option<String> {
    let id = std::process::id();
    Some(format!("{:016x}-{id}-{:x}", world()?, start_of_process(id)?))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn identity() -> Option<String> {
    None
}

/// Whether the process with this [`identity`] has ended. None if that cannot be told, as of a process of
/// another container.
#[cfg(target_os = "linux")]
pub(crate) fn has_ended(identity: &str) -> Option<bool> {
    let mut fields = identity.split('-');
    let (world_of_process, id, start) = (fields.next()?, fields.next()?, fields.next()?);
    let (id, start): (u32, _) = (id.parse().ok()?, u64::from_str_radix(start, 16).ok()?);
    if u64::from_str_radix(world_of_process, 16).ok()? != world()? {
        return None;
    }
    // Processes of other users may be hidden in `/proc`, but not from a signal.
    let signalled = libc::pid_t::try_from(id).ok().filter(|id| *id > 0)?;
    // SAFETY: a plain system call; signal 0 does nothing.
    let exists = unsafe { libc::kill(signalled, 0) } == 0
        || std::io::Error::last_os_error().raw_os_error() != Some(libc::ESRCH);
    if !exists {
        return Some(true);
    }
    Some(start_of_process(id)? != start || is_zombie(id))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn has_ended(_identity: &str) -> Option<bool> {
    None
}

/// A number for where a process id and a start time mean a single process: this boot and these namespaces.
#[cfg(target_os = "linux")]
fn world() -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    // Otherwise it is the `/proc` of another container.
    if std::fs::read_link("/proc/self").ok()?.as_os_str() != std::process::id().to_string().as_str() {
        return None;
    }
    let boot = std::fs::read("/proc/sys/kernel/random/boot_id").ok()?;
    let processes = std::fs::read_link("/proc/self/ns/pid").ok()?;
    // Linux 5.6 is the first to have one.
    let times = std::fs::read_link("/proc/self/ns/time").unwrap_or_default();
    let text = [&boot, processes.as_os_str().as_bytes(), times.as_os_str().as_bytes()].concat();
    // FNV-1a. Every build has to find the same number.
    let hash = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    Some(text.iter().fold(0xcbf2_9ce4_8422_2325, hash))
}

/// When a process started, in ticks of the clock since the boot.
#[cfg(target_os = "linux")]
fn start_of_process(process_id: u32) -> Option<u64> {
    stat_of_process(process_id)?.split_ascii_whitespace().nth(19)?.parse().ok()
}

/// Whether a process has ended and its parent has not asked for its exit status yet.
#[cfg(target_os = "linux")]
fn is_zombie(process_id: u32) -> bool {
    let state = stat_of_process(process_id).unwrap_or_default();
    // The first thread of a process may end before the others.
    let threads = || std::fs::read_dir(format!("/proc/{process_id}/task")).map_or(1, Iterator::count);
    state.starts_with(['Z', 'X']) && threads() <= 1
}

/// What `/proc/PID/stat` has after the name of the program, which may contain anything: state, parent, ...
#[cfg(target_os = "linux")]
fn stat_of_process(process_id: u32) -> Option<String> {
    let stat = std::fs::read(format!("/proc/{process_id}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    Some(stat.rsplit_once(')')?.1.trim_start().to_owned())
}

/// The working directory of a process, if it is known and means the same to this one. It need not exist any
/// more.
#[cfg(target_os = "linux")]
pub(crate) fn directory_of_process(process_id: u32) -> Option<PathBuf> {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let link = |process: &str, name| std::fs::read_link(format!("/proc/{process}/{name}")).ok();
    let process = process_id.to_string();
    // Another container has other files under the same names.
    if link(&process, "ns/mnt")? != link("self", "ns/mnt")? {
        return None;
    }
    let directory = link(&process, "cwd")?;
    // What the kernel puts behind the name of a directory that was removed.
    let name = directory.as_os_str().as_bytes();
    Some(match name.strip_suffix(b" (deleted)") {
        Some(name) if !directory.exists() => OsString::from_vec(name.to_vec()).into(),
        _ => directory,
    })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn directory_of_process(_process_id: u32) -> Option<PathBuf> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_that_of_one_process() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let own = identity().unwrap();
        let fields: Vec<_> = own.split('-').collect();
        let of_child = format!("{}-{}-{:x}", fields[0], child.id(), start_of_process(child.id()).unwrap());
        assert_eq!((has_ended(&own), has_ended(&of_child)), (Some(false), Some(false)));
        child.kill().unwrap();
        while !is_zombie(child.id()) {
            std::thread::yield_now();
        }
        assert_eq!(has_ended(&of_child), Some(true), "nobody has asked for its status yet");
        child.wait().unwrap();
        assert_eq!(has_ended(&of_child), Some(true));
        let later =
            format!("{}-{}-{:x}", fields[0], fields[1], u64::from_str_radix(fields[2], 16).unwrap() + 1);
        assert_eq!(has_ended(&later), Some(true), "another process has this id now");
        let elsewhere = format!("0-{}-{}", fields[1], fields[2]);
        for unknown in
            ["", "x", "1-2", &elsewhere, &format!("{}-0-1", fields[0]), &format!("{}--1", fields[0])]
        {
            assert_eq!(has_ended(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn users_are_found_in_the_password_file_by_their_number() {
        let text: &[u8] = b"root:x:0:0:root:/root:/bin/bash\n# a comment\n\n+::::::\nbroken:x:7\n\
            ada:x:1000:7:Ada, L.,:/home/ada:/bin/sh\nnone:x:1001:1001:::\nbob:x:7:7::/home/b c:";
        let entry = |user| entry_of(user, text).map(|(name, home)| (name.to_vec(), home.to_vec()));
        let expected = |name: &str, home: &str| Some((name.into(), home.into()));
        assert_eq!(entry(0), expected("root", "/root"));
        assert_eq!(entry(1000), expected("ada", "/home/ada"));
        assert_eq!(entry(7), expected("bob", "/home/b c"));
        assert_eq!(entry(1001), expected("none", ""));
        assert_eq!(entry(100), None);
        assert_eq!(entry_of(0, b""), None);
    }
}
