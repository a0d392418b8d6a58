//! A write-ahead log that is kept after the last connection is closed, for the next program that opens the
//! database.
//!
//! By default SQLite deletes the log then. The next program creates a new one, and waits for the disk twice
//! as often: for the name of the file, for its space, and for its header before the rest. Here the log stays,
//! and a mark overwrites its header. SQLite takes a log without a valid header for an empty one, so other
//! programs may use and delete it, and `trop.db` alone is the whole database as always.
//!
//! The mark also states two facts. It is written only when both are known to be true:
//!
//! - The name of the file survives a power cut. A checkpoint has moved everything in the log into the
//!   database, and before a checkpoint SQLite syncs the log and its directory. So they need not be synced
//!   again.
//! - The log had exactly one transaction. When the next ones overwrite it, a power cut may leave any mixture
//!   of old and new pages. The old transaction is then read completely or not at all, because of its
//!   checksums, and all of it is in the database already. So the new header need not be on the disk before
//!   what follows it. If the old log had several transactions, the first alone could be left, and SQLite
//!   would take the database back to it.
//!
//! Both facts hold for one database file only, so the mark identifies it by its inode and its time of
//! modification. A copy or a restored backup is another file.
//!
//! SQLite can keep the log by itself (`SQLITE_FCNTL_PERSIST_WAL`). Measured with new reservations by the
//! command, that takes 1.5 times as long as the mark, and 1.9 times as long as soon as the log does not grow
//! for ever, which is no faster than deleting it. docs/design.md has the figures and the whole argument.

use std::io::Read;
use std::path::Path;

use super::format::LOG_HEADER;
use crate::os::fs::open_without_waiting;

/// The text with which the mark begins. The identity of the database follows it.
const TEXT: &[u8; 16] = b"trop: empty log\n";

/// Whether a file is an empty log that was kept, for any database.
pub(crate) fn is_reusable(log: &Path) -> bool {
    let mut header = [0; LOG_HEADER];
    open_without_waiting(log).and_then(|mut log| log.read_exact(&mut header)).is_ok()
        && header.starts_with(TEXT)
}

#[cfg(unix)]
pub(super) use unix::{keep, mark};

#[cfg(unix)]
mod unix {
    use std::ffi::OsStr;
    use std::fs::{self, Metadata, OpenOptions};
    use std::io::{Read, Result};
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
    use std::path::Path;

    use crate::os::vfs::format::{FRAME_HEADER, LOG_HEADER};
    use crate::os::vfs::reusable_wal::TEXT;

    /// The size in bytes of the longest log that is kept. Longer ones, such as that of a new registry, are
    /// deleted. A reservation takes half of it.
    const MOST_BYTES: u64 = 16384;

    /// The path of the database that a log belongs to; `None` if the name is not that of a log.
    fn database(log: &Path) -> Option<&Path> {
        log.as_os_str().as_bytes().strip_suffix(b"-wal").map(|name| Path::new(OsStr::from_bytes(name)))
    }

    /// The mark of a log that was kept for its database in the present state.
    pub(in crate::os::vfs) fn mark(log: &Path) -> Option<[u8; LOG_HEADER]> {
        Some(mark_with(&fs::metadata(database(log)?).ok()?))
    }

    fn mark_with(database: &Metadata) -> [u8; LOG_HEADER] {
        let mut mark = [0; LOG_HEADER];
        let time = database.mtime().wrapping_mul(1_000_000_000).wrapping_add(database.mtime_nsec());
        mark[..16].copy_from_slice(TEXT);
        mark[16..24].copy_from_slice(&database.ino().to_be_bytes());
        mark[24..].copy_from_slice(&time.to_be_bytes());
        mark
    }

    /// Marks a file that SQLite is about to delete, if it is a log and may be kept. Returns whether it is
    /// kept. No other connection has the database open.
    pub(in crate::os::vfs) fn keep(log: &Path) -> Result<bool> {
        let Some(database) = database(log) else { return Ok(false) };
        let database = fs::metadata(database)?;
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
        let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(log)?;
        let metadata = file.metadata()?;
        // SQLite also deletes the log of an empty database, which does not contain what is in the log. A log
        // whose owner or mode differs from those of the database is not kept either, because it could lock
        // other users out.
        let rights = |of: &Metadata| (of.uid(), of.gid(), of.mode());
        // No permissions for the group and for others.
        let is_private = metadata.mode().trailing_zeros() >= 6 && rights(&metadata) == rights(&database);
        if database.len() == 0 || metadata.len() > MOST_BYTES || !is_private {
            return Ok(false);
        }
        let mut bytes = Vec::new();
        file.by_ref().take(MOST_BYTES).read_to_end(&mut bytes)?;
        let mark = mark_with(&database);
        if bytes.starts_with(&mark) {
            return Ok(true);
        }
        let has_one = transactions(&bytes) == Some(1);
        if has_one {
            file.write_all_at(&mark, 0)?;
        }
        Ok(has_one)
    }

    /// The number of transactions in a log; `None` if it is not a valid log. Frames of an earlier log may
    /// follow them; their salts differ, so they do not count. For the format see "The WAL File Format" at
    /// <https://sqlite.org/fileformat2.html>.
    fn transactions(log: &[u8]) -> Option<usize> {
        let (header, frames) = log.split_at_checked(LOG_HEADER)?;
        let number = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let (magic, page) = (number(0)?, number(8)?);
        if magic & !1 != 0x377f_0682 || !page.is_power_of_two() || !(512..=65536).contains(&page) {
            return None;
        }
        let frames = frames.chunks_exact(FRAME_HEADER + usize::try_from(page).ok()?);
        Some(frames.filter(|frame| frame[8..16] == header[16..24] && frame[4..8] != [0; 4]).count())
    }
}
