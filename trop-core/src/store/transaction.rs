//! Transactions that begin and end with prepared statements: parsing these each time would cost as much as a
//! query.

use std::ops::Deref;

use rusqlite::Connection;

use crate::model::Result;

/// How a transaction begins.
#[derive(Clone, Copy)]
pub(super) enum TransactionMode {
    /// Without a lock. All reads see one snapshot.
    Deferred,
    /// With the write lock. No other connection writes meanwhile.
    Immediate,
    /// With the exclusive lock. No other connection writes meanwhile, and except in WAL mode none reads
    /// either.
    Exclusive,
}

/// An open transaction. It is rolled back when it is dropped before it was committed.
pub(super) struct Transaction<'c>(&'c Connection);

impl<'c> Transaction<'c> {
    /// The connection must not be in a transaction.
    pub(super) fn begin(connection: &'c Connection, mode: TransactionMode) -> Result<Transaction<'c>> {
        run(
            connection,
            match mode {
                TransactionMode::Deferred => "BEGIN",
                TransactionMode::Immediate => "BEGIN IMMEDIATE",
                TransactionMode::Exclusive => "BEGIN EXCLUSIVE",
            },
        )?;
        Ok(Transaction(connection))
    }

    pub(super) fn commit(self) -> Result<()> {
        run(self.0, "COMMIT")
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        // Not after a commit, and not after a failure that has already rolled it back.
        if !self.0.is_autocommit() {
            // A connection that could not end its transaction is not used again.
            let _ = run(self.0, "ROLLBACK");
        }
    }
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.0
    }
}

fn run(connection: &Connection, statement: &str) -> Result<()> {
    connection.prepare_cached(statement)?.execute([])?;
    Ok(())
}
