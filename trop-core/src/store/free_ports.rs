//! The search for a free port of a range, at a cost that does not depend on how many are taken.

use rusqlite::Connection;

use super::rows;
use crate::model::{Error, Port, PortRange, PortSet, Result};

/// Which free ports a search prefers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// The lowest one.
    Lowest,
    /// The lowest one that nobody has given up since the free ports of the range last began to count as
    /// rested. They begin to when none is left that has rested.
    RestedFirst,
}

/// The result of a search for a port.
#[derive(Clone, Copy)]
pub(crate) enum Found {
    Port(Port),
    /// Every port of the range is reserved, excluded or was not accepted.
    Nothing,
}

/// Returns the first port of the range, in this order, that is neither reserved nor excluded and that
/// `accept` accepts, in the caller's transaction. `accept` may be asked about a port twice.
pub(crate) fn next_free(
    connection: &Connection,
    range: PortRange,
    order: Order,
    excluded: &PortSet,
    mut accept: impl FnMut(Port) -> bool,
) -> Result<Found> {
    let mut found = search(connection, range, order, excluded, &mut accept)?;
    if order == Order::RestedFirst
        && matches!(found, Some(Found::Nothing))
        && rest_is_over(connection, range)?
    {
        found = search(connection, range, order, excluded, &mut accept)?;
    }
    if let Some(port @ Found::Port(_)) = found {
        return Ok(port);
    }
    // Rebuild once: the set may lack ports that another program freed by REPLACE, which by default fires no
    // delete trigger.
    if rebuild(connection, range)? {
        if order == Order::RestedFirst {
            rest_is_over(connection, range)?;
        }
        found = search(connection, range, order, excluded, &mut accept)?;
    }
    found.ok_or_else(|| Error::corrupt("the free ports of the range disagree with the reservations"))
}

/// Searches the set of free ports. Returns `None` if the set lists a reserved port as free.
fn search(
    connection: &Connection,
    range: PortRange,
    order: Order,
    excluded: &PortSet,
    accept: &mut impl FnMut(Port) -> bool,
) -> Result<Option<Found>> {
    let mut statement = connection.prepare_cached(match order {
        Order::Lowest => {
            "SELECT word, free FROM trop_free_ports WHERE word BETWEEN ?1 AND ?2 AND any_free ORDER BY word"
        }
        Order::RestedFirst => {
            "SELECT word, rested FROM trop_free_ports
             WHERE word BETWEEN ?1 AND ?2 AND any_rested ORDER BY word"
        }
    })?;
    let mut rows = statement.query(words(range))?;
    let mut found = Some(Found::Nothing);
    // For each word the ports that were not accepted.
    let mut passed_over = Vec::new();
    'words: while let Some(row) = rows.next()? {
        let word: u16 = row.get(0)?;
        let bits = row.get::<_, i64>(1)?.cast_unsigned();
        let shut = excluded.words()[usize::from(word) % PortSet::WORDS];
        let candidates = bits & range_mask(range, word) & !shut;
        let mut left = candidates;
        while left != 0 {
            #[allow(clippy::cast_possible_truncation, reason = "below 64")]
            let port = Port::from_number(word * 64 + left.trailing_zeros() as u16);
            if let Some(port) = port.filter(|port| accept(*port)) {
                found = (!rows::is_reserved(connection, port)?).then_some(Found::Port(port));
                passed_over.push((word, candidates & !left));
                break 'words;
            }
            left &= left - 1;
        }
        passed_over.push((word, candidates));
    }
    drop(rows);
    if order == Order::RestedFirst {
        passed_over.retain(|(_, ports)| *ports != 0);
        rest(connection, &passed_over)?;
    }
    Ok(found)
}

/// These ports do not count as rested any more, so that the next search does not come upon them again.
fn rest(connection: &Connection, ports: &[(u16, u64)]) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "UPDATE trop_free_ports SET rested = rested & ~?2, any_rested = (rested & ~?2) <> 0 WHERE word = ?1",
    )?;
    for (word, bits) in ports {
        statement.execute((word, bits.cast_signed()))?;
    }
    Ok(())
}

/// The ports of the range that are free and have rested, as far as the set knows, and those at the ends of
/// its words.
pub(crate) fn rested_ports(connection: &Connection, range: PortRange) -> Result<PortSet> {
    let mut statement = connection.prepare_cached(
        "SELECT word, rested FROM trop_free_ports WHERE word BETWEEN ?1 AND ?2 AND any_rested",
    )?;
    let mut rows = statement.query(words(range))?;
    let mut ports = PortSet::default();
    while let Some(row) = rows.next()? {
        ports.insert_word(usize::from(row.get::<_, u16>(0)?), row.get::<_, i64>(1)?.cast_unsigned());
    }
    Ok(ports)
}

/// From now on every free port of the range counts as rested. Returns whether any did not.
pub(crate) fn rest_is_over(connection: &Connection, range: PortRange) -> Result<bool> {
    let mut statement = connection.prepare_cached(
        "UPDATE trop_free_ports SET rested = rested | (free & ?2), any_rested = 1
         WHERE word = ?1 AND (free & ?2 & ~rested) <> 0",
    )?;
    let [first, last] = words(range);
    let mut changed = 0;
    for word in first..=last {
        changed += statement.execute((word, range_mask(range, word).cast_signed()))?;
    }
    Ok(changed > 0)
}

/// The first and the last word of the range.
fn words(range: PortRange) -> [u16; 2] {
    [range.min().get() / 64, range.max().get() / 64]
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
    let [first, last] = words(range);
    let mut free = [u64::MAX; PortSet::WORDS];
    free[0] &= !1; // There is no port 0.
    // Numbers that are not ports are read too, so that they are reported as damage.
    let mut statement = connection.prepare_cached(
        "SELECT port FROM reservations WHERE port BETWEEN ?1 AND ?2 OR port < 1 OR port > 65535",
    )?;
    let mut reserved = statement.query([first * 64, last * 64 + 63])?;
    while let Some(row) = reserved.next()? {
        let port = usize::from(rows::port(row, 0)?.get());
        free[port / 64] &= !(1 << (port % 64));
    }
    let mut store = connection.prepare_cached(
        "INSERT INTO trop_free_ports (word, free, rested, any_free, any_rested)
         VALUES (?1, ?2, ?2, ?2 <> 0, ?2 <> 0)
         ON CONFLICT (word) DO UPDATE
         SET free = excluded.free, rested = rested & excluded.free,
             any_free = excluded.any_free, any_rested = (rested & excluded.free) <> 0
         WHERE free <> excluded.free OR any_free <> excluded.any_free
            OR rested & ~excluded.free <> 0 OR any_rested <> (rested <> 0)",
    )?;
    let mut changed = 0;
    for word in first..=last {
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
