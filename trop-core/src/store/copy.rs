//! A private copy of the database in memory, which a dry run changes instead of the file.

use std::time::Duration;

use rusqlite::Connection;
use rusqlite::backup::Backup;

use super::file::distrust_schema;
use super::transaction::{Transaction, TransactionMode};
use super::{schema, upgrade};
use crate::model::Result;

pub(crate) struct Copy(Connection);

impl Copy {
    /// Copies a snapshot, and migrates the copy if it is of version 1.
    pub(super) fn of(snapshot: &Connection) -> Result<Copy> {
        schema::check(snapshot)?;
        let mut memory = Connection::open_in_memory()?;
        Backup::new(snapshot, &mut memory)?.run_to_completion(i32::MAX, Duration::ZERO, None)?;
        Copy::completed(memory)
    }

    pub(super) fn blank() -> Result<Copy> {
        Copy::completed(Connection::open_in_memory()?)
    }

    fn completed(connection: Connection) -> Result<Copy> {
        distrust_schema(&connection)?;
        let copy = Copy(connection);
        copy.write(|connection| {
            if schema::bring_up_to_date(connection)? == schema::State::Old {
                upgrade::run(connection)?;
                schema::bring_up_to_date(connection)?;
            }
            Ok(())
        })?;
        Ok(copy)
    }

    pub(super) fn connection(&self) -> &Connection {
        &self.0
    }

    pub(super) fn read<T>(&self, query: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        query(&*Transaction::begin(&self.0, TransactionMode::Deferred)?)
    }

    pub(super) fn write<T>(&self, change: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let transaction = Transaction::begin(&self.0, TransactionMode::Immediate)?;
        let value = change(&transaction)?;
        transaction.commit()?;
        Ok(value)
    }
}
