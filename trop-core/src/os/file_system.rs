//! The file system that a path is on, and whether SQLite's locks and shared memory can be trusted there.

use std::io;
use std::path::Path;

/// What the file system is called, if it is one on which SQLite's locks or shared memory cannot be trusted:
/// one that several machines may have mounted, or one that hands every access on to another program. The path
/// must exist.
#[cfg(target_os = "linux")]
pub(crate) fn untrusted_file_system(path: &Path) -> io::Result<Option<String>> {
    let number = number_of(path)?;
    // The common ones have numbers of their own, so that the list of mounts is rarely read.
    if LOCAL.contains(&number) {
        return Ok(None);
    }
    Ok(untrusted(number, || type_of(path)))
}

/// What a file system is called, if it is refused by its number or by its type in the list of mounts. That
/// list may name another mount, which the right one hides; so it only adds to what the number says, and
/// absolves only what is known to be served by a program.
#[cfg(target_os = "linux")]
fn untrusted(number: u32, kind: impl FnOnce() -> Option<Vec<u8>>) -> Option<String> {
    let by_number = untrusted_number(number).map(str::to_owned);
    if number == FUSE {
        let is_served = |kind: &Vec<u8>| kind.starts_with(b"fuse") || kind == b"virtiofs";
        kind().filter(is_served).map_or(by_number, |kind| untrusted_type(&kind))
    } else {
        by_number.or_else(|| untrusted_type(&kind()?))
    }
}

/// The number of everything that a program serves.
#[cfg(target_os = "linux")]
const FUSE: u32 = 0x6573_5546;

/// Numbers of ext2 to ext4, XFS, Btrfs, tmpfs, overlayfs, ZFS, F2FS and bcachefs.
#[cfg(target_os = "linux")]
const LOCAL: [u32; 8] =
    [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994, 0x794c_7630, 0x2fc1_2fc1, 0xf2f5_2010, 0xca45_1a4e];

/// The number by which the kernel knows the kind of a file system.
#[cfg(target_os = "linux")]
fn number_of(path: &Path) -> io::Result<u32> {
    let status = statfs(path)?;
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the field is 32 bits wide on some architectures and sign-extended on others"
    )]
    Ok(status.f_type as u32)
}

/// Whether the type, as in `/proc/self/mountinfo`, is refused, and what to call it.
#[cfg(target_os = "linux")]
fn untrusted_type(kind: &[u8]) -> Option<String> {
    let name = match kind {
        b"nfs" | b"nfs4" => "NFS",
        b"cifs" | b"smb3" | b"smbfs" => "SMB",
        b"afs" | b"auristorfs" => "AFS",
        b"9p" => "9p",
        b"virtiofs" => "virtiofs",
        b"lustre" => "Lustre",
        b"gpfs" | b"mmfs" => "GPFS",
        b"ceph" => "Ceph",
        b"beegfs" | b"fhgfs" => "BeeGFS",
        b"vboxsf" => "vboxsf",
        b"prl_fs" => "prl_fs",
        b"vmhgfs" => "vmhgfs",
        b"ocfs2" => "OCFS2",
        b"gfs2" => "GFS2",
        b"fuse.fuse-overlayfs" => return None,
        // Not `fuseblk`: that is a local block device, which a program serves.
        b"fuse" => "FUSE",
        kind if kind.starts_with(b"fuse.") => return Some(String::from_utf8_lossy(kind).into_owned()),
        _ => return None,
    };
    Some(name.to_owned())
}

/// The same by number, from Linux's `include/uapi/linux/magic.h`, statfs(2) and the sources of those that are
/// not part of Linux.
#[cfg(target_os = "linux")]
fn untrusted_number(number: u32) -> Option<&'static str> {
    Some(match number {
        0x6969 => "NFS",
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => "SMB",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x0102_1997 => "9p",
        FUSE => "FUSE",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x00c3_6400 => "Ceph",
        0x1983_0326 => "BeeGFS",
        0x786f_4256 => "vboxsf",
        0x7c7c_6673 => "prl_fs",
        0xbacb_acbc => "vmhgfs",
        0x7461_636f => "OCFS2",
        0x0116_1970 => "GFS2",
        _ => return None,
    })
}

/// The type of the file system that a path is on, by the list of mounts; none if that cannot be read.
#[cfg(target_os = "linux")]
fn type_of(path: &Path) -> Option<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let physical = path.canonicalize().ok()?;
    let mounts = std::fs::read("/proc/self/mountinfo").ok()?;
    type_in(&mounts, physical.as_os_str().as_bytes()).map(<[u8]>::to_vec)
}

/// The type that a text like `/proc/self/mountinfo` has for the longest mount point above a physical path.
#[cfg(target_os = "linux")]
fn type_in<'mounts>(mounts: &'mounts [u8], path: &[u8]) -> Option<&'mounts [u8]> {
    let mut found = None;
    let mut longest = 0;
    for line in mounts.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        let Some(length) = fields.nth(4).and_then(|point| covered(point, path)) else { continue };
        // The type is behind the dash that ends any number of optional fields.
        let kind = fields.skip_while(|field| *field != b"-").nth(1);
        // Of several mounts on one point the last one is on top.
        if length >= longest && kind.is_some() {
            (found, longest) = (kind, length);
        }
    }
    found
}

/// How many bytes of the path the mount point covers, if the path is on or below it.
#[cfg(target_os = "linux")]
fn covered(mut point: &[u8], path: &[u8]) -> Option<usize> {
    let mut rest = path;
    while let Some((byte, remaining)) = unescaped(point) {
        rest = rest.strip_prefix(&[byte])?;
        point = remaining;
    }
    let length = path.len() - rest.len();
    // The root directory is the only mount point that ends with a slash.
    (matches!(rest, [] | [b'/', ..]) || path[..length] == *b"/").then_some(length)
}

/// The first byte of a field, and what follows it. The kernel writes space, tab, line feed and backslash as a
/// backslash and three octal digits.
#[cfg(target_os = "linux")]
fn unescaped(field: &[u8]) -> Option<(u8, &[u8])> {
    match field {
        [b'\\', high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', rest @ ..] => {
            Some((((high - b'0') << 6) | ((middle - b'0') << 3) | (low - b'0'), rest))
        }
        [first, rest @ ..] => Some((*first, rest)),
        [] => None,
    }
}

#[cfg(target_os = "macos")]
pub(crate) fn untrusted_file_system(path: &Path) -> io::Result<Option<String>> {
    let status = statfs(path)?;
    let name: Vec<u8> =
        status.f_fstypename.iter().take_while(|byte| **byte != 0).map(|byte| byte.cast_unsigned()).collect();
    let name = match name.as_slice() {
        b"nfs" => "NFS",
        b"smbfs" => "SMB",
        b"afpfs" => "AFP",
        b"9p" => "9p",
        b"virtiofs" => "virtiofs",
        b"macfuse" | b"osxfuse" => "FUSE",
        _ => return Ok(None),
    };
    Ok(Some(name.to_owned()))
}

#[cfg(any(target_os = "linux", target_os = "macos"))]
fn statfs(path: &Path) -> io::Result<libc::statfs> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut status = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` is NUL-terminated, and statfs writes a whole `statfs` when it returns 0.
    unsafe {
        if libc::statfs(path.as_ptr(), status.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(status.assume_init())
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
pub(crate) fn untrusted_file_system(_path: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = br"22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 27 0:40 / /home rw shared:2 master:1 - nfs4 server:/home rw,vers=4.2
31 30 254:0 /var/ada /home/ada rw - ext4 /dev/vda rw
32 31 0:41 / /home/ada/far rw - fuse.sshfs ada@far: rw
33 31 0:42 / /home/ada/with\040blank\011\134 rw - virtiofs shared rw
34 27 0:43 / /twice rw - nfs server:/twice rw
35 34 0:44 / /twice rw - tmpfs tmpfs rw
36 27 0:45 / /broken
37 27 8:1 / /media/stick rw - fuseblk /dev/sda1 rw
";

    #[test]
    fn the_longest_mount_point_above_a_path_has_its_type() {
        let kind = |path: &str| type_in(MOUNTS, path.as_bytes()).map(|kind| str::from_utf8(kind).unwrap());
        for (path, expected) in [
            ("/", "ext4"),
            ("/tmp/x", "ext4"),
            ("/home", "nfs4"),
            ("/home/eve/.trop", "nfs4"),
            ("/homeless", "ext4"),
            // A bind mount.
            ("/home/ada", "ext4"),
            ("/home/ada/.trop", "ext4"),
            ("/home/adam", "nfs4"),
            ("/home/ada/far/a/b", "fuse.sshfs"),
            ("/home/ada/with blank\t\\", "virtiofs"),
            ("/home/ada/with blank\t\\/a", "virtiofs"),
            (r"/home/ada/with\040blank\011\134", "ext4"),
            ("/twice/a", "tmpfs"),
            ("/broken/a", "ext4"),
            ("/media/stick/a", "fuseblk"),
        ] {
            assert_eq!(kind(path), Some(expected), "{path}");
        }
        assert_eq!(type_in(b"", b"/"), None);
        assert_eq!(type_in(b"31 30 254:0 / /home/ada rw - ext4 /dev/vda rw\n", b"/home"), None);
    }

    #[test]
    fn types_are_refused_by_name() {
        let refused = "nfs nfs4 cifs smb3 afs 9p virtiofs lustre gpfs ceph beegfs vboxsf prl_fs vmhgfs ocfs2 \
            gfs2 fuse fuse.sshfs fuse.bindfs fuse.s3fs fuse.fuse-overlayfs2";
        for kind in refused.split_ascii_whitespace() {
            assert!(untrusted_type(kind.as_bytes()).is_some(), "{kind}");
        }
        for kind in ["ext4", "tmpfs", "overlay", "fuse.fuse-overlayfs", "fuseblk", "fusectl", "nfsd", "msdos"]
        {
            assert_eq!(untrusted_type(kind.as_bytes()), None, "{kind}");
        }
        assert_eq!(untrusted_type(b"nfs4").as_deref(), Some("NFS"));
        assert_eq!(untrusted_type(b"fuse.sshfs").as_deref(), Some("fuse.sshfs"));
    }

    /// The list of mounts may name one that is hidden below another.
    #[test]
    fn the_number_and_the_type_must_both_be_harmless() {
        let name = |number, kind: &str| untrusted(number, || Some(kind.as_bytes().to_vec()));
        for kind in ["ext4", "nfs4", "fuse.fuse-overlayfs", "fuseblk"] {
            assert_eq!(name(0x6969, kind).as_deref(), Some("NFS"), "{kind}");
        }
        assert_eq!(name(FUSE, "ext4").as_deref(), Some("FUSE"));
        assert_eq!(name(FUSE, "virtiofs").as_deref(), Some("virtiofs"));
        assert_eq!(name(FUSE, "fuse.sshfs").as_deref(), Some("fuse.sshfs"));
        assert_eq!((name(FUSE, "fuse.fuse-overlayfs"), name(FUSE, "fuseblk")), (None, None));
        assert_eq!((name(1, "ext4"), name(1, "gpfs").as_deref()), (None, Some("GPFS")));
        assert_eq!((untrusted(FUSE, || None).as_deref(), untrusted(1, || None)), (Some("FUSE"), None));
    }

    #[test]
    fn without_a_list_of_mounts_numbers_decide() {
        assert_eq!(untrusted_number(0x6969), Some("NFS"));
        assert_eq!(untrusted_number(0xff53_4d42), Some("SMB"));
        assert_eq!(untrusted_number(0x0102_1997), Some("9p"));
        for number in LOCAL {
            assert_eq!(untrusted_number(number), None, "{number:x}");
        }
    }

    #[test]
    fn this_machine_has_a_list_of_mounts() {
        assert_eq!(type_of(Path::new("/proc")).as_deref(), Some(&b"proc"[..]));
        assert_eq!(untrusted_file_system(Path::new("/proc")).unwrap(), None);
        assert!(untrusted_file_system(Path::new("/missing")).is_err());
    }
}
