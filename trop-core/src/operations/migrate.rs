//! `migrate`: move reservations from one path to another.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::model::{Error, Key, Migration, Move, Reservation, Result, paths};
use crate::registry::Registry;
use crate::store;

/// Which reservations to move, and where. Neither path need exist; links are not followed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MigrateRequest {
    /// The path whose reservations are moved, with all tags.
    pub from: PathBuf,
    /// The path they are moved to.
    pub to: PathBuf,
    /// Whether the reservations of all paths below `from` are moved too; false by default.
    pub recursive: bool,
    /// Whether reservations that hold a key at the destination are removed; false by default.
    pub force: bool,
}

impl MigrateRequest {
    /// A request to move the reservations of exactly `from`.
    #[must_use]
    pub fn new(from: impl Into<PathBuf>, to: impl Into<PathBuf>) -> MigrateRequest {
        MigrateRequest { from: from.into(), to: to.into(), recursive: false, force: false }
    }

    /// Replaces both paths by the absolute paths that they mean now, for requests that are executed later or
    /// on another thread.
    ///
    /// # Errors
    /// [`Error::UnresolvablePath`] and [`Error::InvalidArgument`] for a path that cannot be resolved or
    /// stored.
    pub fn pin_paths(&mut self) -> Result<()> {
        self.from = paths::normalise("from", &self.from)?.into();
        self.to = paths::normalise("to", &self.to)?.into();
        Ok(())
    }
}

impl Registry {
    /// Moves reservations to another path: port, tag, project, task and both times stay as they are.
    ///
    /// If source and destination overlap, the result is as if all rows were removed first and then inserted.
    /// A source that is the destination is no error, and neither is a recursive move of nothing.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is nothing at exactly the source and the move is not recursive,
    /// [`Error::MigrationConflict`] with the plan when keys at the destination are taken and it is not
    /// forced, [`Error::UnresolvablePath`], [`Error::Busy`], and every error of the database. Nothing is
    /// changed then.
    pub fn migrate(&self, request: &MigrateRequest) -> Result<Migration> {
        let from = paths::normalise("from", &request.from)?;
        let to = paths::normalise("to", &request.to)?;
        self.write(|transaction| {
            let mut migration = plan(transaction, from.clone(), to.clone(), request.recursive)?;
            if migration.moves.is_empty() && !request.recursive {
                let what = format!("a reservation of exactly '{from}'; those below it move recursively only");
                return Err(Error::NotFound { what });
            }
            if !migration.conflicts.is_empty() && !request.force {
                return Err(Error::MigrationConflict { plan: Box::new(migration) });
            }
            if migration.from == migration.to {
                migration.moves.clear();
            }
            execute(transaction, &migration)?;
            Ok(migration)
        })
    }
}

fn plan(connection: &Connection, from: String, to: String, recursive: bool) -> Result<Migration> {
    // Compared by components and in memory: a pattern in SQL cannot distinguish `/a/b` from `/a/bc` and also
    // take `%` literally.
    let (moving, staying): (Vec<_>, Vec<_>) = store::list(connection)?.into_iter().partition(|row| {
        let path = row.key.path();
        path == from || recursive && Path::new(path).starts_with(&from)
    });
    let mut moves = Vec::with_capacity(moving.len());
    for before in moving {
        let path = moved(before.key.path(), &from, &to)?;
        let key = Key::stored(path, before.key.tag().cloned());
        moves.push(Move { before, key });
    }
    let taken: BTreeSet<&Key> = moves.iter().map(|row| &row.key).collect();
    let conflicts = staying.into_iter().filter(|row| taken.contains(&row.key)).collect();
    Ok(Migration { from, to, moves, conflicts })
}

/// The new path: the destination with the part of the path that is below the source.
fn moved(path: &str, from: &str, to: &str) -> Result<String> {
    let rest = Path::new(path).strip_prefix(from).unwrap_or(Path::new(""));
    let target = if rest.as_os_str().is_empty() { PathBuf::from(to) } else { Path::new(to).join(rest) };
    paths::normalise("to", &target)
}

/// Removes all rows, then inserts them, so that they cannot collide with each other in any order.
fn execute(connection: &Connection, migration: &Migration) -> Result<()> {
    for row in &migration.conflicts {
        store::remove(connection, &row.key)?;
    }
    for row in &migration.moves {
        store::remove(connection, &row.before.key)?;
    }
    for row in &migration.moves {
        store::insert(connection, &Reservation { key: row.key.clone(), ..row.before.clone() })?;
    }
    Ok(())
}
