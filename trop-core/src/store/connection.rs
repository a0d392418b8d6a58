//! A connection to the database: one that writes, one that only reads, or a private copy in memory.

use std::path::Path;

use rusqlite::Connection;

use super::attempt::Attempt;
use super::copy::Copy;
use super::file::{DatabaseFile, leave_log_alone};
use super::reader::Reader;
use super::writer::Writer;
use crate::model::{Error, Result};
use crate::os::fs::{FileId, ensure_writable};

/// An open connection.
pub(crate) enum Database {
    /// On a file that this user may write.
    Writer(Writer),
    /// On a file that this user may only read, or that is only inspected.
    Reader(Reader),
    /// On a private copy in memory.
    Copy(Copy),
}

impl Database {
    /// Opens an existing file. An empty file gets the schema, and a file that is refused stays unchanged. Any
    /// other file is changed only by the first write, because reading must neither wait for writers nor need
    /// write permission.
    pub(super) fn open(path: &Path) -> Attempt<Database> {
        let file = DatabaseFile::at(path)?;
        Ok(if ensure_writable(&file.real).is_ok() {
            Database::Writer(Writer::open(file)?)
        } else {
            Database::Reader(Reader::open(file)?)
        })
    }

    /// Opens an existing file for inspection, whatever its content. Neither the file nor its log is changed.
    pub(super) fn open_for_inspection(path: &Path) -> Attempt<Database> {
        Ok(Database::Reader(Reader::open_for_inspection(DatabaseFile::at(path)?)?))
    }

    /// Opens an existing file for [`Database::reset`]. Fails with [`Error::Busy`] while another connection
    /// has it open.
    pub(super) fn open_exclusively(path: &Path) -> Attempt<Database> {
        Ok(Database::Writer(Writer::open_exclusively(DatabaseFile::at(path)?)?))
    }

    /// Returns a private copy in memory of the committed data, without a lock that blocks writers. A file of
    /// version 1 is not migrated, but its copy is.
    pub(super) fn copy(&self) -> Attempt<Database> {
        self.inspect(|snapshot| Ok(Database::Copy(Copy::of(snapshot)?)))
    }

    /// Returns a private database in memory, as empty as a new one.
    pub(super) fn blank() -> Result<Database> {
        Ok(Database::Copy(Copy::blank()?))
    }

    /// Which file the connection is on; none for a copy in memory.
    pub(super) fn file(&self) -> Option<FileId> {
        match self {
            Database::Writer(writer) => Some(writer.file().id),
            Database::Reader(reader) => Some(reader.file().id),
            Database::Copy(_) => None,
        }
    }

    /// Whether the file at the path is still the one the connection is on.
    pub(super) fn is_current(&self) -> bool {
        match self {
            Database::Writer(writer) => writer.file().is_current(),
            Database::Reader(reader) => reader.file().is_current(),
            Database::Copy(_) => true,
        }
    }

    /// Whether the connection may be kept for the next operation. One that only reads is not kept, because
    /// permissions and files change, and neither is one that could not end its transaction.
    pub(super) fn is_reusable(&self) -> bool {
        match self {
            Database::Writer(writer) => writer.is_reusable(),
            Database::Reader(_) => false,
            Database::Copy(copy) => copy.connection().is_autocommit(),
        }
    }

    fn connection(&self) -> &Connection {
        match self {
            Database::Writer(writer) => writer.connection(),
            Database::Reader(reader) => reader.connection(),
            Database::Copy(copy) => copy.connection(),
        }
    }

    /// Closes the connection without changing the files.
    pub(super) fn close_without_checkpoint(self) {
        // If this fails, closing runs a checkpoint, which is slow but harmless.
        let _ = leave_log_alone(self.connection());
    }

    /// Makes closing leave the log alone, because by then it may belong to another file.
    pub(crate) fn forget_files(&self) -> Result<()> {
        leave_log_alone(self.connection())
    }

    /// Runs a query on one snapshot of the database, without a lock that blocks writers.
    pub(crate) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        match self {
            Database::Writer(writer) => writer.read(query),
            Database::Reader(reader) => reader.read(query),
            Database::Copy(copy) => Ok(copy.read(query)?),
        }
    }

    /// As [`Database::read`], whatever schema there is.
    pub(crate) fn inspect<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        match self {
            Database::Writer(writer) => writer.inspect(query),
            Database::Reader(reader) => reader.inspect(query),
            Database::Copy(copy) => Ok(copy.read(query)?),
        }
    }

    /// Runs a query without checking whether the file was replaced and which schema it has. Only for callers
    /// that begin a write transaction afterwards, which checks both. Returns `None` if the query fails,
    /// because the transaction will then report the failure. Only [`Error::Busy`] is returned, so that the
    /// same lock is not waited for twice.
    pub(crate) fn peek_unchecked<T>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T>,
    ) -> Attempt<Option<T>> {
        match query(self.connection()) {
            Ok(seen) => Ok(Some(seen)),
            Err(error @ Error::Busy { .. }) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// Runs one write transaction. It is committed completely or not at all, and no other connection writes
    /// meanwhile.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        match self {
            Database::Writer(writer) => writer.write(change),
            Database::Reader(reader) => Err(reader.refuse_write().into()),
            Database::Copy(copy) => Ok(copy.write(change)?),
        }
    }

    /// Empties the database, whatever schema it had, in one transaction. The connection must have been opened
    /// exclusively.
    pub(crate) fn reset(&self) -> Attempt<()> {
        match self {
            Database::Writer(writer) => Ok(writer.reset()?),
            Database::Reader(reader) => Err(reader.refuse_write().into()),
            Database::Copy(_) => Ok(()),
        }
    }
}
