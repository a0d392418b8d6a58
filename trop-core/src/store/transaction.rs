//! Transactions whose statements stay prepared: parsing them anew would cost as much as a look-up.

use std::ops::Deref;

use rusqlite::Connection;

use crate::error::Result;

/// How a transaction begins.
#[derive(Clone, Copy)]
pub(super) enum Lock {
    /// None; one consistent look.
    Snapshot,
    /// The only one who writes.
    Writer,
    /// The only one at all.
    Exclusive,
}

/// An open transaction, undone when it is dropped.
pub(super) struct Transaction<'c>(&'c Connection);

impl<'c> Transaction<'c> {
    /// The connection must not be in a transaction.
    pub(super) fn begin(connection: &'c Connection, lock: Lock) -> Result<Transaction<'c>> {
        run(
            connection,
            match lock {
                Lock::Snapshot => "BEGIN",
                Lock::Writer => "BEGIN IMMEDIATE",
                Lock::Exclusive => "BEGIN EXCLUSIVE",
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
        // Not after a commit, nor where a failure has undone it already.
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
