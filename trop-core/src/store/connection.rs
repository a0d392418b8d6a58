//! A connection to the database, by what may be done with it.

use std::path::Path;

use rusqlite::Connection;

use super::attempt::Attempt;
use super::copy::Copy;
use super::file::{DatabaseFile, leave_log_alone};
use super::reader::Reader;
use super::writer::Writer;
use crate::model::{Error, Result};
use crate::os::fs::{FileId, is_writable};

/// An open connection.
pub(crate) enum Database {
    /// On a file that this user may write.
    Writer(Writer),
    /// On a file that this user may only read, or that is only to be looked at.
    Reader(Reader),
    /// On a private copy in memory.
    Copy(Copy),
}

impl Database {
    /// Opens an existing file. An empty one gets its schema; a refused one stays as it is; any other is
    /// changed by the first write only, because whoever just reads must neither wait for writers nor need
    /// their rights.
    pub(super) fn open(path: &Path) -> Attempt<Database> {
        let file = DatabaseFile::at(path)?;
        Ok(if is_writable(&file.real) {
            Database::Writer(Writer::open(file)?)
        } else {
            Database::Reader(Reader::open(file)?)
        })
    }

    /// Opens an existing file to look at it whatever is in it. It stays as it is, log and all.
    pub(super) fn open_for_inspection(path: &Path) -> Attempt<Database> {
        Ok(Database::Reader(Reader::open_for_inspection(DatabaseFile::at(path)?)?))
    }

    /// Opens an existing file for [`Database::reset`]. Fails with [`Error::Busy`] while anybody else has it
    /// open.
    pub(super) fn open_exclusively(path: &Path) -> Attempt<Database> {
        Ok(Database::Writer(Writer::open_exclusively(DatabaseFile::at(path)?)?))
    }

    /// A private copy in memory of what is committed now; takes no lock that writers would notice. A file of
    /// version 1 is not migrated, but its copy is.
    pub(super) fn copy(&self) -> Attempt<Database> {
        self.inspect(|snapshot| Ok(Database::Copy(Copy::of(snapshot)?)))
    }

    /// A private registry in memory that is as empty as a new one would be.
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

    /// Whether the connection serves every call. One that only reads must not be kept: rights and files
    /// change. Nor one that could not end its transaction.
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

    /// Closes so that the files stay as they are.
    pub(super) fn close_without_checkpoint(self) {
        // Failing leaves a checkpoint to be made, which is slow and otherwise harmless.
        let _ = leave_log_alone(self.connection());
    }

    /// Closing will leave the log alone, because it may be another file's by then.
    pub(crate) fn forget_files(&self) -> Result<()> {
        leave_log_alone(self.connection())
    }

    /// One consistent look at the database, without any lock that writers would notice.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        match self {
            Database::Writer(writer) => writer.read(look),
            Database::Reader(reader) => reader.read(look),
            Database::Copy(copy) => Ok(copy.read(look)?),
        }
    }

    /// As [`Database::read`], whatever schema there is.
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        match self {
            Database::Writer(writer) => writer.inspect(look),
            Database::Reader(reader) => reader.inspect(look),
            Database::Copy(copy) => Ok(copy.read(look)?),
        }
    }

    /// A look for whoever is about to change something and will look again: the file may have been replaced
    /// and its schema is not checked. None for what fails, which will fail then too, except that nothing is
    /// waited for twice.
    pub(crate) fn peek_unchecked<T>(
        &self,
        look: impl FnOnce(&Connection) -> Result<T>,
    ) -> Attempt<Option<T>> {
        match look(self.connection()) {
            Ok(seen) => Ok(Some(seen)),
            Err(error @ Error::Busy { .. }) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }

    /// One change, complete or not at all; the only writer on this machine while it lasts.
    pub(crate) fn write<T>(&self, change: impl FnOnce(&Connection) -> Result<T>) -> Attempt<T> {
        match self {
            Database::Writer(writer) => writer.write(change),
            Database::Reader(reader) => Err(reader.refuse_write().into()),
            Database::Copy(copy) => Ok(copy.write(change)?),
        }
    }

    /// Empties the database, whatever schema it had, in one transaction. It was opened exclusively.
    pub(crate) fn reset(&self) -> Attempt<()> {
        match self {
            Database::Writer(writer) => Ok(writer.reset()?),
            Database::Reader(reader) => Err(reader.refuse_write().into()),
            Database::Copy(_) => Ok(()),
        }
    }
}
