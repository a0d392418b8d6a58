//! What a log looks like. See "The WAL File Format" at <https://sqlite.org/fileformat2.html>.

/// What stands before each page in a log: the page's number, the size of the database if this page ends a
/// transaction, else 0, and checksums. See "The WAL File Format" at <https://sqlite.org/fileformat2.html>.
pub(super) const FRAME_HEADER: usize = 24;

/// What a log begins with.
pub(super) const LOG_HEADER: usize = 32;
