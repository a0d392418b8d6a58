//! Who holds the lock of a file, as far as the operating system tells.

use std::collections::BTreeMap;
use std::path::Path;

/// The processes that have an exclusively locked file open: by the names of the files that are sought, each
/// without its directory, the lowest process id. Forked children share the lock and are processes like any
/// other. Processes that this one may not look at are missing, and on other systems than Linux all are.
#[cfg(target_os = "linux")]
pub(crate) fn processes_with_lock(is_sought: impl Fn(&str) -> bool) -> BTreeMap<String, u32> {
    let mut found = BTreeMap::new();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    for id in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let descriptors = std::fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        for descriptor in descriptors {
            // Only the text of the link is read. What it leads to may hang.
            let Ok(target) = std::fs::read_link(descriptor.path()) else { continue };
            let Some(name) = target.file_name().and_then(|name| name.to_str()) else { continue };
            if is_sought(name) && has_exclusive_lock(id, &descriptor.file_name().to_string_lossy()) {
                let holder = found.entry(name.to_owned()).or_insert(id);
                *holder = id.min(*holder);
            }
        }
    }
    found
}

/// Whoever only looks at such a file has it open too, for an instant.
#[cfg(target_os = "linux")]
fn has_exclusive_lock(process_id: u32, descriptor: &str) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{process_id}/fdinfo/{descriptor}")).unwrap_or_default();
    info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK") && line.contains(" WRITE "))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn processes_with_lock(_is_sought: impl Fn(&str) -> bool) -> BTreeMap<String, u32> {
    BTreeMap::new()
}

/// Whether the list of all locks has one of a file, which need not be open for that. That it has none proves
/// nothing: containers do not see all locks, and some file systems have other numbers in the list.
#[cfg(target_os = "linux")]
pub(crate) fn is_listed_as_locked(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let (Ok(metadata), Ok(list)) = (std::fs::symlink_metadata(path), std::fs::read_to_string("/proc/locks"))
    else {
        return false;
    };
    let device = metadata.dev();
    let id = format!("{:02x}:{:02x}:{}", libc::major(device), libc::minor(device), metadata.ino());
    // `1: FLOCK  ADVISORY  WRITE 4711 08:01:131085 0 EOF`
    list.lines().any(|line| line.split_ascii_whitespace().any(|field| field == id))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn is_listed_as_locked(_path: &Path) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_found_with_its_process() {
        let file = tempfile::Builder::new().prefix("trop-lock-").tempfile().unwrap();
        let name = file.path().file_name().unwrap().to_str().unwrap().to_owned();
        let find = || processes_with_lock(|sought| sought == name).remove(&name);
        assert_eq!((find(), is_listed_as_locked(file.path())), (None, false));
        file.as_file().try_lock_shared().unwrap();
        assert_eq!(find(), None, "whoever looks shares it");
        file.as_file().unlock().unwrap();
        file.as_file().try_lock().unwrap();
        assert_eq!(find(), Some(std::process::id()));
        // On some file systems the list has other numbers.
        let listed = std::fs::read_to_string("/proc/locks").unwrap();
        assert!(is_listed_as_locked(file.path()) || !listed.contains(&std::process::id().to_string()));
    }
}
