//! The lowest free port of a range, at a cost that does not depend on how many are taken.

use rusqlite::Connection;

use super::rows;
use crate::model::{Error, Port, PortRange, PortSet, Result};

/// The result of a search for a port.
pub(crate) enum Found {
    Port(Port),
    /// Every port of the range is reserved, excluded or was not accepted.
    Nothing,
}

/// Returns the lowest port of the range that is neither reserved nor excluded and that `accept` accepts, in
/// the caller's transaction.
pub(crate) fn lowest_free(
    connection: &Connection,
    range: PortRange,
    excluded: &PortSet,
    mut accept: impl FnMut(Port) -> bool,
) -> Result<Found> {
    for rebuilt in [false, true] {
        let found = search(connection, range, excluded, &mut accept)?;
        if let Some(found @ Found::Port(_)) = found {
            return Ok(found);
        }
        // Rebuild once: the set may lack ports that another program freed by REPLACE, which by default fires
        // no delete trigger.
        if rebuilt || !rebuild(connection, range)? {
            return found.ok_or_else(disagreement);
        }
    }
    Err(disagreement())
}

fn disagreement() -> Error {
    Error::corrupt("the free ports of the range disagree with the reservations")
}

/// Searches the set of free ports. Returns `None` if the set lists a reserved port as free.
fn search(
    connection: &Connection,
    range: PortRange,
    excluded: &PortSet,
    accept: &mut impl FnMut(Port) -> bool,
) -> Result<Option<Found>> {
    let mut statement = connection.prepare_cached(
        "SELECT word, free FROM trop_free_ports WHERE word BETWEEN ?1 AND ?2 AND open ORDER BY word",
    )?;
    let mut rows = statement.query([range.min().get() / 64, range.max().get() / 64])?;
    while let Some(row) = rows.next()? {
        let word: u16 = row.get(0)?;
        let free = row.get::<_, i64>(1)?.cast_unsigned();
        let shut = excluded.words()[usize::from(word) % PortSet::WORDS];
        let mut candidates = free & range_mask(range, word) & !shut;
        while candidates != 0 {
            #[allow(clippy::cast_possible_truncation, reason = "below 64")]
            let port = Port::from_number(word * 64 + candidates.trailing_zeros() as u16);
            candidates &= candidates - 1;
            let Some(port) = port else { continue };
            if accept(port) {
                let is_reserved = rows::is_reserved(connection, port)?;
                return Ok((!is_reserved).then_some(Found::Port(port)));
            }
        }
    }
    Ok(Some(Found::Nothing))
}

/// The bits of a word that lie in the range.
fn range_mask(range: PortRange, word: u16) -> u64 {
    let (min, max) = (range.min().get(), range.max().get());
    let low = if word == min / 64 { u64::MAX << (min % 64) } else { u64::MAX };
    let high = if word == max / 64 { u64::MAX >> (63 - max % 64) } else { u64::MAX };
    low & high
}

/// Rebuilds the words of the range from the reservations. Returns whether any of them was wrong. Only then
/// are all other words rebuilt as well.
pub(super) fn rebuild(connection: &Connection, range: PortRange) -> Result<bool> {
    let words = range.min().get() / 64..=range.max().get() / 64;
    let (first, last) = (words.start() * 64, words.end() * 64 + 63);
    let mut free = [u64::MAX; PortSet::WORDS];
    free[0] &= !1; // There is no port 0.
    // Numbers that are not ports are read too, so that they are reported as damage.
    let mut statement = connection.prepare_cached(
        "SELECT port FROM reservations WHERE port BETWEEN ?1 AND ?2 OR port < 1 OR port > 65535",
    )?;
    let mut reserved = statement.query([first, last])?;
    while let Some(row) = reserved.next()? {
        let port = usize::from(rows::port(row, 0)?.get());
        free[port / 64] &= !(1 << (port % 64));
    }
    let mut store = connection.prepare_cached(
        "INSERT INTO trop_free_ports (word, free, open) VALUES (?1, ?2, ?2 <> 0)
         ON CONFLICT (word) DO UPDATE SET free = excluded.free, open = excluded.open
         WHERE free <> excluded.free OR open <> excluded.open",
    )?;
    let mut changed = 0;
    for word in words {
        changed += store.execute([i64::from(word), free[usize::from(word)].cast_signed()])?;
    }
    if changed == 0 {
        return Ok(false);
    }
    log::debug!("trop: {changed} words of the free ports were out of date");
    if range != PortRange::ALL {
        // If one word is wrong, others may be wrong too.
        rebuild(connection, PortRange::ALL)?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mask_covers_exactly_the_range() {
        let range = |min, max| {
            PortRange::new("ports", Port::new("min", min).unwrap(), Port::new("max", max).unwrap()).unwrap()
        };
        for (min, max) in [(1, 65535), (5000, 5000), (63, 64), (64, 127), (5000, 7000), (65535, 65535)] {
            let range = range(min, max);
            let total: u32 = (range.min().get() / 64..=range.max().get() / 64)
                .map(|word| range_mask(range, word).count_ones())
                .sum();
            assert_eq!(total, range.count(), "{range}");
        }
    }
}
