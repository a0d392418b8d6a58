//! A log whose room is kept when nobody has the database open any more, for whoever opens it next.
//!
//! By itself SQLite deletes the log then. Whoever comes next makes a new one, and waits for the disk twice as
//! often: for the file's name, its room, and for its beginning before the rest. Here the log stays, with a
//! mark over its beginning. To SQLite that is a log without anything in it, like one whose beginning a
//! rollback journal that is kept has lost, so other programs may use and delete it, and `trop.db` alone is
//! the whole database as ever.
//!
//! The mark says two more things, and it is written by whoever knows them to be true:
//!
//! - The name of the file survives a power cut: everything in the log was moved into the database, and before
//!   that SQLite waits for the log and its directory. So they need not be waited for again.
//! - There was one transaction in the log. When the next ones are written over it, a power cut may leave any
//!   of the old and any of the new pages. Of the old log that leaves all or nothing, as of any transaction,
//!   and all of it is in the database already. So the new beginning need not be on the disk before what
//!   follows it. Of several transactions it could leave the first alone, and SQLite would take the database
//!   back to it.
//!
//! Both are true of one database only, so the mark tells which: a copy and a backup that was put back are
//! others.

use std::io::Read;
use std::path::Path;

use super::format::LOG_HEADER;
use crate::os::fs::open_without_waiting;

/// What stands instead of the header; after this text comes which database it belongs to.
const TEXT: &[u8; 16] = b"trop: empty log\n";

/// Whether a file is a log that is kept and has nothing in it, of whatever database.
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

    /// Longer ones are deleted, such as that of a new registry. A reservation takes half of it.
    const MOST_BYTES: u64 = 16384;

    /// The database that a log belongs to by its name, none if the file is no log.
    fn database(log: &Path) -> Option<&Path> {
        log.as_os_str().as_bytes().strip_suffix(b"-wal").map(|name| Path::new(OsStr::from_bytes(name)))
    }

    /// The mark that a log has if it was kept with its database as that is now.
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

    /// Marks a file that SQLite is about to delete, if it is a log and may be kept. Nobody else has the
    /// database open.
    pub(in crate::os::vfs) fn keep(log: &Path) -> Result<bool> {
        let Some(database) = database(log) else { return Ok(false) };
        let database = fs::metadata(database)?;
        let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
        let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(log)?;
        let metadata = file.metadata()?;
        // SQLite deletes the log of an empty database too, which does not have what is in the log. And nobody
        // is to be shut out by a log that has kept the owner or the rights that the database once had.
        let rights = |of: &Metadata| (of.uid(), of.gid(), of.mode());
        // Nothing for the group, nothing for others.
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

    /// How many transactions there are in a log; none if it is none. Behind them may be what an earlier log
    /// has left. Formats are those of "The WAL File Format" at <https://sqlite.org/fileformat2.html>.
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
