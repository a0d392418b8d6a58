//! Processes: their parents, their users, and handlers around `fork`.

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
    let mut record = std::mem::MaybeUninit::<libc::passwd>::uninit();
    let mut text = vec![0_u8; 16 * 1024];
    let mut found = std::ptr::null_mut();
    // SAFETY: all pointers are valid for the call, and the length is that of the buffer. A non-null result
    // points to `record`, which is then whole and whose name is NUL-terminated text inside the buffer, alive
    // until the end.
    unsafe {
        let status =
            libc::getpwuid_r(user, record.as_mut_ptr(), text.as_mut_ptr().cast(), text.len(), &raw mut found);
        if status != 0 || found.is_null() {
            return None;
        }
        std::ffi::CStr::from_ptr((*found).pw_name).to_str().ok().map(str::to_owned)
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn user_of_process(_process_id: u32) -> Option<String> {
    None
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
