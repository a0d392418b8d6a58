//! Edits `excluded_ports` in the text of a valid configuration file and leaves everything else unchanged.

use super::document::{Document, Item};
use crate::model::{Port, PortRange, PortSet};

/// The result of an edit.
pub(super) struct Edit {
    /// The new text; none when nothing had to change.
    pub(super) text: Option<String>,
    /// The number of entries before, none without a list.
    pub(super) before: Option<usize>,
    pub(super) after: usize,
}

/// Adds ports with as few entries as possible: entries that overlap or touch a new one are merged into it.
/// Returns `None` if the list is written in a form that cannot be edited.
pub(super) fn add(text: &str, ports: &PortSet) -> Option<Edit> {
    let mut edit = Edit { text: None, before: None, after: 0 };
    for (index, range) in ports.ranges().into_iter().enumerate() {
        let current = edit.text.as_deref().unwrap_or(text);
        let document = Document::parse(current)?;
        if index == 0 {
            edit.before = document.count();
        }
        edit.after = document.items().len();
        let mut expected = document.ports();
        if range.ports().all(|port| expected.contains(port)) {
            continue;
        }
        expected.insert_range(range);
        let entries = merge(document.items(), range);
        edit.after = entries.len();
        edit.text = Some(document.with(&entries).filter(|changed| document.is_faithful(changed, &expected))?);
    }
    Some(edit)
}

/// Rewrites the list as the fewest sorted entries that name the same ports, unless it already is. Returns
/// `None` as [`add`] does.
pub(super) fn compact(text: &str) -> Option<Edit> {
    let document = Document::parse(text)?;
    let items = document.items();
    let before = document.count();
    let ports = document.ports();
    let ranges = ports.ranges();
    let after = ranges.len();
    if items.iter().map(|item| item.range).eq(ranges.iter().copied()) {
        return Some(Edit { text: None, before, after });
    }
    let entries: Vec<Entry<'_>> = ranges
        .into_iter()
        .map(|range| Entry {
            range,
            replaces: items.iter().filter(|item| range.contains(item.range.min())).collect(),
        })
        .collect();
    let changed = document.with(&entries).filter(|changed| document.is_faithful(changed, &ports))?;
    Some(Edit { text: Some(changed), before, after })
}

/// An entry of the new list, and the entries of the old list that it replaces.
pub(super) struct Entry<'d> {
    pub(super) range: PortRange,
    pub(super) replaces: Vec<&'d Item>,
}

impl Entry<'_> {
    /// The old entry, if it has exactly this range and can stay as it is written.
    pub(super) fn unchanged(&self) -> Option<&Item> {
        match self.replaces.as_slice() {
            [item] if item.range == self.range => Some(item),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> String {
        let (min, max) = (self.range.min(), self.range.max());
        if min == max { min.to_string() } else { format!("{{start: {min}, end: {max}}}") }
    }
}

fn merge(items: &[Item], range: PortRange) -> Vec<Entry<'_>> {
    let mut merged = Entry { range, replaces: Vec::new() };
    let mut taken = vec![false; items.len()];
    // Each merged entry may extend the range so that it touches another one.
    while let Some(index) =
        (0..items.len()).find(|index| !taken[*index] && touch(items[*index].range, merged.range))
    {
        taken[index] = true;
        merged.range = hull(items[index].range, merged.range);
    }
    merged.replaces = items.iter().zip(&taken).filter_map(|(item, taken)| taken.then_some(item)).collect();
    let mut merged = Some(merged);
    let mut entries = Vec::new();
    for (item, taken) in items.iter().zip(taken) {
        if !taken {
            entries.push(Entry { range: item.range, replaces: vec![item] });
        } else if let Some(merged) = merged.take() {
            entries.push(merged);
        }
    }
    entries.extend(merged);
    entries
}

/// Whether two ranges overlap or are adjacent. Computed in 32 bits, because 65535 + 1 does not fit into 16.
fn touch(a: PortRange, b: PortRange) -> bool {
    let wide = |port: Port| u32::from(port.get());
    wide(a.min()) <= wide(b.max()) + 1 && wide(b.min()) <= wide(a.max()) + 1
}

fn hull(a: PortRange, b: PortRange) -> PortRange {
    PortRange::new("ports", a.min().min(b.min()), a.max().max(b.max())).unwrap_or(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(text: &str, ports: &str) -> Option<String> {
        add(text, &ports.parse().unwrap()).unwrap().text
    }

    fn compacted(text: &str) -> Option<String> {
        compact(text).unwrap().text
    }

    /// Trap 85 (comments go).
    #[test]
    fn a_list_is_made_where_there_is_none() {
        for (before, after) in [
            ("", "excluded_ports:\n  - 5001\n"),
            ("# mine\n", "# mine\nexcluded_ports:\n  - 5001\n"),
            ("project: a # x", "project: a # x\nexcluded_ports:\n  - 5001\n"),
            ("project: a\r\n", "project: a\r\nexcluded_ports:\r\n  - 5001\r\n"),
            ("---\nproject: a\n...\n", "---\nproject: a\nexcluded_ports:\n  - 5001\n...\n"),
            ("{project: a}\n", "{project: a, excluded_ports: [5001]}\n"),
            ("{}", "{excluded_ports: [5001]}"),
            ("excluded_ports:\nproject: a\n", "excluded_ports:\n  - 5001\nproject: a\n"),
            ("excluded_ports: [] # none\n", "excluded_ports: [5001] # none\n"),
        ] {
            assert_eq!(added(before, "5001").as_deref(), Some(after), "{before:?}");
        }
        let null = added("excluded_ports: null # yet\n", "5001").unwrap();
        assert!(null.contains("# yet\n  - 5001\n"), "{null}");
    }

    /// Traps 85 (comments go), 89 (a port is excluded twice).
    #[test]
    fn what_touches_is_merged_and_the_rest_stays() {
        let text = "a: 1 # one\nexcluded_ports: # list\n  # web\n  - 8080 # main\n  # api\n  - \"9000..9010\" # ä\n\n\
                    # end\nb: {c: d}\n";
        assert_eq!(added(text, "8080"), None);
        assert_eq!(added(text, "9001..9005"), None);
        assert_eq!(
            added(text, "9011").unwrap(),
            "a: 1 # one\nexcluded_ports: # list\n  # web\n  - 8080 # main\n  # api\n  # ä\n  \
             - {start: 9000, end: 9011}\n\n# end\nb: {c: d}\n"
        );
        assert_eq!(added(text, "70").unwrap(), text.replace("# ä\n", "# ä\n  - 70\n"));
        assert_eq!(
            added("excluded_ports: [1, 3, 9]", "2").unwrap(),
            "excluded_ports: [{start: 1, end: 3}, 9]"
        );
        assert_eq!(
            added("excluded_ports: [65534]", "65535").unwrap(),
            "excluded_ports: [{start: 65534, end: 65535}]"
        );
    }

    /// Trap 90 (compacting drops entries).
    #[test]
    fn compacting_sorts_merges_and_keeps_comments() {
        let text =
            "excluded_ports:\n- 8083 # d\n# c\n- 8082\n- start: 8080 # a\n  end: 8081 # b\n- 22\nz: 1\n";
        assert_eq!(
            compacted(text).unwrap(),
            "excluded_ports:\n- 22\n# c\n# d\n# a\n# b\n- {start: 8080, end: 8083}\nz: 1\n"
        );
        assert_eq!(compacted("excluded_ports: [3, 1]").unwrap(), "excluded_ports: [1, 3]");
        assert_eq!(compacted("excluded_ports: [1, 3..5, {start: 8, end: 9}]"), None);
        assert_eq!(compacted("project: a"), None);
        let flow = compacted("excluded_ports: [\n  2, # two\n  # one\n  1,\n]\nz: 1\n").unwrap();
        assert!(
            flow.contains("# two") && flow.contains("# one") && flow.contains("{start: 1, end: 2}"),
            "{flow}"
        );
    }
}
