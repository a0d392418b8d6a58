//! The format of a write-ahead log. See "The WAL File Format" at <https://sqlite.org/fileformat2.html>.

/// The size in bytes of the header before each page of a log. It has the page's number, the size of the
/// database if this page ends a transaction, else 0, and checksums.
pub(super) const FRAME_HEADER: usize = 24;

/// The size in bytes of the header that a log begins with.
pub(super) const LOG_HEADER: usize = 32;
