//! A log whose room is kept when nobody has the database open any more, for whoever opens it next.
//!
//! By itself SQLite deletes the log then. Whoever comes next makes a new one, and waits for the disk twice as often:
//! for the file's name, its room, and for its beginning before the rest. Here the log stays, with a mark over its
//! beginning. To SQLite that is a log without anything in it, like one whose beginning a rollback journal that is kept
//! has lost, so other programs may use and delete it, and `trop.db` alone is the whole database as ever.
//!
//! The mark says two more things, and it is written by whoever knows them to be true:
//!
//! - The name of the file survives a power cut: everything in the log was moved into the database, and before that
//!   SQLite waits for the log and its directory. So they need not be waited for again.
//! - There was one transaction in the log. When the next ones are written over it, a power cut may leave any of the
//!   old and any of the new pages. Of the old log that leaves all or nothing, as of any transaction, and all of it is in the
//!   database already. So the new beginning need not be on the disk before what follows it. Of several transactions it
//!   could leave the first alone, and SQLite would take the database back to it.

use std::fs::{self, OpenOptions};
use std::io::{Read, Result};
use std::path::Path;

use super::log::{FRAME_HEADER, LOG_HEADER};
use crate::os::open_without_waiting;

/// Instead of the header.
pub(super) const MARK: [u8; LOG_HEADER] = *b"trop: an empty log, kept as room";

/// Longer ones are deleted, such as that of a new registry. A reservation takes half of it.
#[cfg(unix)]
const MOST_BYTES: u64 = 16384;

/// Whether a file is a log that is kept and has nothing in it.
pub(crate) fn is_kept(log: &Path) -> bool {
    let mut header = [0; LOG_HEADER];
    open_without_waiting(log).and_then(|mut log| log.read_exact(&mut header)).is_ok() && header == MARK
}

/// Marks a file that SQLite is about to delete, if it is a log and may be kept. Nobody else has the database open.
#[cfg(unix)]
pub(super) fn keep(log: &Path) -> Result<bool> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    let Some(database) = log.as_os_str().as_bytes().strip_suffix(b"-wal") else { return Ok(false) };
    let flags = libc::O_NONBLOCK | libc::O_NOFOLLOW;
    let mut file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(log)?;
    let mut bytes = vec![0; LOG_HEADER];
    file.read_exact(&mut bytes)?;
    if bytes == MARK {
        return Ok(true);
    }
    file.by_ref().take(MOST_BYTES).read_to_end(&mut bytes)?;
    // SQLite deletes the log of an empty database too, which does not have what is in the log.
    let may_be_kept = transactions(&bytes) == Some(1)
        && file.metadata()?.len() <= MOST_BYTES
        && fs::metadata(OsStr::from_bytes(database))?.len() > 0;
    if may_be_kept {
        file.write_all_at(&MARK, 0)?;
    }
    Ok(may_be_kept)
}

/// How many transactions there are in a log. Behind them may be what an earlier log has left. Formats are those of
/// "The WAL File Format" at <https://sqlite.org/fileformat2.html>.
#[cfg(unix)]
fn transactions(log: &[u8]) -> Option<usize> {
    let (header, frames) = log.split_at_checked(LOG_HEADER)?;
    let page = u32::from_be_bytes(header[8..12].try_into().ok()?);
    let salt = &header[16..24];
    let frames = frames.chunks_exact(FRAME_HEADER + usize::try_from(page).ok()?);
    Some(frames.filter(|frame| frame[8..16] == *salt && frame[4..8] != [0; 4]).count())
}
