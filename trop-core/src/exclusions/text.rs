//! Editing `excluded_ports` in the text of one YAML document; everything else stays as it was written.

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use crate::port::{Port, PortRange, PortSet};

const KEY: &str = "excluded_ports";

/// What became of a text.
pub(super) struct Edit {
    /// The new text; none when nothing had to change.
    pub(super) text: Option<String>,
    /// The number of entries before, none without a list.
    pub(super) before: Option<usize>,
    pub(super) after: usize,
}

/// Adds ports, as few entries as possible: what overlaps or touches a new entry is merged into it.
pub(super) fn add(text: &str, ports: &PortSet) -> Result<Edit, String> {
    let mut edit = Edit { text: None, before: None, after: 0 };
    for (index, range) in ports.ranges().into_iter().enumerate() {
        let current = edit.text.as_deref().unwrap_or(text);
        let document = Document::parse(current)?;
        let count = document.list.as_ref().map(|list| list.items().len());
        if index == 0 {
            edit.before = count;
        }
        edit.after = count.unwrap_or_default();
        let mut expected = document.ports();
        if range.ports().all(|port| expected.contains(port)) {
            continue;
        }
        expected.insert_range(range);
        let entries = merge(document.items(), range);
        edit.after = entries.len();
        let changed = document.with(&entries)?;
        document.verify(&changed, &expected)?;
        edit.text = Some(changed);
    }
    Ok(edit)
}

/// Rewrites the list as the fewest sorted entries that name the same ports, unless it is that already.
pub(super) fn compact(text: &str) -> Result<Edit, String> {
    let document = Document::parse(text)?;
    let items = document.items();
    let before = document.list.as_ref().map(|list| list.items().len());
    let ports = document.ports();
    let ranges = ports.ranges();
    let after = ranges.len();
    if items.iter().map(|item| item.range).eq(ranges.iter().copied()) {
        return Ok(Edit { text: None, before, after });
    }
    let entries: Vec<Entry<'_>> = ranges
        .into_iter()
        .map(|range| Entry {
            range,
            replaces: items.iter().filter(|item| range.contains(item.range.min())).collect(),
        })
        .collect();
    let changed = document.with(&entries)?;
    document.verify(&changed, &ports)?;
    Ok(Edit { text: Some(changed), before, after })
}

/// An entry of the new list, and those of the old list it stands for.
struct Entry<'d> {
    range: PortRange,
    replaces: Vec<&'d Item>,
}

impl Entry<'_> {
    /// The old entry that says exactly this already.
    fn kept(&self) -> Option<&Item> {
        match self.replaces.as_slice() {
            [item] if item.range == self.range => Some(item),
            _ => None,
        }
    }

    fn text(&self) -> String {
        let (min, max) = (self.range.min(), self.range.max());
        if min == max { min.to_string() } else { format!("{{start: {min}, end: {max}}}") }
    }
}

fn merge(items: &[Item], range: PortRange) -> Vec<Entry<'_>> {
    let mut merged = Entry { range, replaces: Vec::new() };
    let mut taken = vec![false; items.len()];
    // An entry that is taken in makes the range longer, which may reach another one.
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

/// Whether two ranges overlap or are neighbours; counted wider than a port, for the highest one's sake.
fn touch(a: PortRange, b: PortRange) -> bool {
    let wide = |port: Port| u32::from(port.get());
    wide(a.min()) <= wide(b.max()) + 1 && wide(b.min()) <= wide(a.max()) + 1
}

fn hull(a: PortRange, b: PortRange) -> PortRange {
    PortRange::new("ports", a.min().min(b.min()), a.max().max(b.max())).unwrap_or(a)
}

/// One entry of the list in the text.
struct Item {
    range: PortRange,
    /// Where its first word begins and its last one ends.
    start: usize,
    end: usize,
    /// Its words: what lies between them can be a comment.
    words: Vec<(usize, usize)>,
}

enum List {
    Null { start: usize, end: usize },
    Block(Vec<Item>),
    Flow { start: usize, end: usize, items: Vec<Item> },
}

impl List {
    fn items(&self) -> &[Item] {
        match self {
            List::Null { .. } => &[],
            List::Block(items) | List::Flow { items, .. } => items,
        }
    }
}

enum Root {
    Nothing,
    Block {
        column: usize,
    },
    /// Between the braces.
    Flow {
        end: usize,
        is_empty: bool,
    },
}

struct Document<'t> {
    text: &'t str,
    root: Root,
    list: Option<List>,
    /// Everything but the list: what an edit must not change.
    rest: Vec<String>,
}

type Events<'t> = std::iter::Peekable<std::vec::IntoIter<(Event<'t>, Span)>>;

impl<'t> Document<'t> {
    fn parse(text: &'t str) -> Result<Document<'t>, String> {
        let parsed: Result<Vec<_>, _> = Parser::new_from_str(text).collect();
        let events = parsed
            .map_err(|error| format!("parse error in line {}: {}", error.marker().line(), error.info()))?;
        let documents = events.iter().filter(|(event, _)| matches!(event, Event::DocumentStart(..))).count();
        if documents > 1 {
            return Err("there is more than one YAML document in the file".to_owned());
        }
        let events: Vec<_> = events
            .into_iter()
            .filter(|(event, _)| {
                !matches!(
                    event,
                    Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd
                )
            })
            .collect();
        let mut document = Document { text, root: Root::Nothing, list: None, rest: Vec::new() };
        document.read(events.into_iter().peekable())?;
        Ok(document)
    }

    fn read(&mut self, mut events: Events<'t>) -> Result<(), String> {
        let style = match events.next() {
            None => return Ok(()),
            Some((Event::Scalar(text, ScalarStyle::Plain, ..), _)) if text.is_empty() => return Ok(()),
            Some((Event::MappingStart(style, ..), _)) => style,
            Some(_) => return Err("the top level is not a mapping".to_owned()),
        };
        let mut column = None;
        let mut keys = Vec::new();
        while let Some((event, span)) = events.next() {
            let name = match event {
                Event::MappingEnd => {
                    self.root = match style {
                        StructureStyle::Block => Root::Block { column: column.unwrap_or(0) },
                        StructureStyle::Flow => {
                            Root::Flow { end: bytes(span)?.1.saturating_sub(1), is_empty: keys.is_empty() }
                        }
                    };
                    return Ok(());
                }
                Event::Scalar(name, ..) => name,
                _ => return Err(format!("a key in line {} is not text", span.start.line())),
            };
            column.get_or_insert(span.start.col());
            if keys.contains(&name) {
                return Err(format!(
                    "line {}: the key '{}' is there twice",
                    span.start.line(),
                    name.escape_debug()
                ));
            }
            if name == KEY {
                self.list = Some(list(&mut events)?);
            } else {
                self.rest.push(name.to_string());
                self.skip(&mut events)?;
            }
            keys.push(name);
        }
        Err("the top level does not end".to_owned())
    }

    /// Notes one value that is none of ours.
    fn skip(&mut self, events: &mut Events<'t>) -> Result<(), String> {
        let mut depth = 0_usize;
        for (event, _) in events.by_ref() {
            match event {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.rest.push(format!("{event:?}"));
            if depth == 0 {
                return Ok(());
            }
        }
        Err("a value is missing".to_owned())
    }

    fn items(&self) -> &[Item] {
        self.list.as_ref().map(List::items).unwrap_or_default()
    }

    fn ports(&self) -> PortSet {
        let mut ports = PortSet::default();
        self.items().iter().for_each(|item| ports.insert_range(item.range));
        ports
    }

    /// The last guard: the new text is read again, and says what it should and nothing else.
    fn verify(&self, changed: &str, expected: &PortSet) -> Result<(), String> {
        let again = Document::parse(changed);
        if again.is_ok_and(|again| again.ports() == *expected && again.rest == self.rest) {
            return Ok(());
        }
        Err(format!("'{KEY}' is written in a form that trop cannot edit; change it by hand"))
    }

    /// The text with another list.
    fn with(&self, entries: &[Entry<'_>]) -> Result<String, String> {
        let eol = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        match &self.list {
            None => Ok(self.with_new_list(entries, eol)),
            Some(List::Null { start, end }) if matches!(self.root, Root::Flow { .. }) => {
                Ok(self.splice(*start, *end, &format!(" {}", self.flow(entries))))
            }
            Some(List::Null { start, end }) => {
                let Root::Block { column } = self.root else { return Ok(self.text.to_owned()) };
                let without = self.splice(*start, *end, "");
                let line_end = without[*start..].find('\n').map(|offset| start + offset + 1);
                let (head, tail) = without.split_at(line_end.unwrap_or(without.len()));
                let mut text = head.to_owned();
                end_line(&mut text, eol);
                Ok(text + &fresh_lines(entries, column, eol) + tail)
            }
            Some(List::Flow { start, end, items }) => {
                let list = self.flow_list(*start, *end, items, entries, eol);
                Ok(self.splice(*start, *end, &list))
            }
            Some(List::Block(items)) => self.block(items, entries, eol),
        }
    }

    fn with_new_list(&self, entries: &[Entry<'_>], eol: &str) -> String {
        let column = match self.root {
            Root::Flow { end, is_empty } => {
                let comma = if is_empty { "" } else { ", " };
                return self.splice(end, end, &format!("{comma}{KEY}: {}", self.flow(entries)));
            }
            Root::Block { column } => column,
            Root::Nothing => 0,
        };
        // Before the mark that ends a document, if there is one.
        let mut offset = 0;
        let mut end = self.text.len();
        for line in self.text.split_inclusive('\n') {
            if line.trim_end() == "..." {
                end = offset;
            }
            offset += line.len();
        }
        let (head, tail) = self.text.split_at(end);
        let mut text = head.to_owned();
        end_line(&mut text, eol);
        text.extend([" ".repeat(column).as_str(), KEY, ":", eol]);
        text + &fresh_lines(entries, column, eol) + tail
    }

    fn splice(&self, start: usize, end: usize, new: &str) -> String {
        [&self.text[..start], new, &self.text[end..]].concat()
    }

    fn flow(&self, entries: &[Entry<'_>]) -> String {
        let texts: Vec<_> = entries
            .iter()
            .map(|entry| match entry.kept() {
                Some(item) => self.text[item.start..item.end].to_owned(),
                None => entry.text(),
            })
            .collect();
        format!("[{}]", texts.join(", "))
    }

    /// A list in brackets: on one line, or on a line each when there are comments to keep.
    fn flow_list(
        &self,
        start: usize,
        end: usize,
        items: &[Item],
        entries: &[Entry<'_>],
        eol: &str,
    ) -> String {
        let mut at = start;
        let mut of_items: Vec<Vec<&str>> = vec![Vec::new(); items.len()];
        let mut first = Vec::new();
        for index in 0..=items.len() {
            let next = items.get(index).map_or(end, |item| item.start);
            let gap = &self.text[at..next];
            for (offset, comment) in comments(gap) {
                // On the line of the entry before, or on a line of its own before the next.
                let own_line = gap[..offset].contains('\n');
                let owner =
                    if own_line { index.min(items.len().saturating_sub(1)) } else { index.wrapping_sub(1) };
                of_items.get_mut(owner).unwrap_or(&mut first).push(comment);
            }
            if let Some(item) = items.get(index) {
                of_items[index].extend(self.comments_inside(item));
                at = item.end;
            }
        }
        if first.is_empty() && of_items.iter().all(Vec::is_empty) {
            return self.flow(entries);
        }
        let mut list = format!("[{eol}");
        for comment in first {
            list.extend(["  ", comment, eol]);
        }
        for entry in entries {
            for item in &entry.replaces {
                let index = items.iter().position(|other| other.start == item.start);
                for comment in index.map(|index| of_items[index].as_slice()).unwrap_or_default() {
                    list.extend(["  ", *comment, eol]);
                }
            }
            let text = match entry.kept() {
                Some(item) => self.text[item.start..item.end].to_owned(),
                None => entry.text(),
            };
            list.extend(["  ", text.as_str(), ",", eol]);
        }
        list + "  ]"
    }

    fn comments_inside(&self, item: &Item) -> Vec<&'t str> {
        item.words
            .windows(2)
            .flat_map(|pair| comments(&self.text[pair[0].1..pair[1].0]))
            .map(|(_, comment)| comment)
            .collect()
    }

    /// A list of lines that begin with a dash.
    fn block(&self, items: &[Item], entries: &[Entry<'_>], eol: &str) -> Result<String, String> {
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return Err(format!("'{KEY}' has no entries"));
        };
        let region = self.line_start(first.start)..self.line_end(last.end);
        let indent = self.indent(first)?;
        let mut lines = String::new();
        for entry in entries {
            for item in &entry.replaces {
                lines += self.lines_before(items, item)?;
            }
            if let Some(item) = entry.kept() {
                lines += &self.text[self.line_start(item.start)..self.line_end(item.end)];
                end_line(&mut lines, eol);
                continue;
            }
            for item in &entry.replaces {
                let tail = &self.text[item.end..self.line_end(item.end)];
                let behind = comments(tail).into_iter().map(|(_, comment)| comment);
                for comment in self.comments_inside(item).into_iter().chain(behind) {
                    lines.extend([indent, comment, eol]);
                }
            }
            lines.extend([indent, "- ", &entry.text(), eol]);
        }
        Ok(self.splice(region.start, region.end, &lines))
    }

    /// The comments and blank lines between an entry and the one before it.
    fn lines_before(&self, items: &[Item], item: &Item) -> Result<&'t str, String> {
        self.indent(item)?;
        let before = items.iter().rev().find(|other| other.start < item.start);
        let start = self.line_start(item.start);
        Ok(before.map_or("", |before| &self.text[self.line_end(before.end).min(start)..start]))
    }

    /// The blanks before the dash of an entry.
    fn indent(&self, item: &Item) -> Result<&'t str, String> {
        let line = &self.text[self.line_start(item.start)..item.start];
        let indent = line.trim_end().strip_suffix('-').filter(|indent| indent.trim().is_empty());
        indent.ok_or_else(|| format!("'{KEY}' is written in a form that trop cannot edit; change it by hand"))
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Behind the line's end.
    fn line_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |newline| at + newline + 1)
    }
}

fn fresh_lines(entries: &[Entry<'_>], column: usize, eol: &str) -> String {
    let line = |entry: &Entry<'_>| format!("{}  - {}{eol}", " ".repeat(column), entry.text());
    entries.iter().map(line).collect()
}

fn end_line(text: &mut String, eol: &str) {
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str(eol);
    }
}

/// The comments in text that has no words, and where each begins.
fn comments(gap: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut offset = 0;
    for line in gap.split_inclusive('\n') {
        if let Some(start) = line.find('#') {
            found.push((offset + start, line[start..].trim_end()));
        }
        offset += line.len();
    }
    found
}

fn bytes(span: Span) -> Result<(usize, usize), String> {
    let range = span.byte_range().ok_or("positions are unknown")?;
    Ok((range.start, range.end))
}

fn list(events: &mut Events<'_>) -> Result<List, String> {
    let (event, span) = events.next().ok_or("the list is missing")?;
    let start = bytes(span)?.0;
    let style = match event {
        Event::Scalar(text, ScalarStyle::Plain, 0, None)
            if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") =>
        {
            return Ok(List::Null { start, end: bytes(span)?.1 });
        }
        Event::SequenceStart(style, 0, None) => style,
        _ => return Err(format!("line {}: '{KEY}' is not a plain list", span.start.line())),
    };
    let mut items = Vec::new();
    while let Some((event, span)) = events.next() {
        let line = span.start.line();
        let item = match event {
            Event::SequenceEnd => {
                return Ok(match style {
                    StructureStyle::Block => List::Block(items),
                    StructureStyle::Flow => List::Flow { start, end: bytes(span)?.1, items },
                });
            }
            Event::Scalar(text, _, 0, None) => {
                let (start, end) = bytes(span)?;
                entry(&text).map(|range| Item { range, start, end, words: vec![(start, end)] })
            }
            Event::MappingStart(style, 0, None) => mapping(style, bytes(span)?.0, events),
            _ => Err("it is neither a port nor a range".to_owned()),
        };
        items.push(
            item.map_err(|reason| format!("line {line}: entry {} of '{KEY}': {reason}", items.len() + 1))?,
        );
    }
    Err("the list does not end".to_owned())
}

fn entry(text: &str) -> Result<PortRange, String> {
    PortRange::parse("entry", text).map_err(|error| error.to_string())
}

/// `{start: 5005, end: 5009}` in any style.
fn mapping(style: StructureStyle, start: usize, events: &mut Events<'_>) -> Result<Item, String> {
    let expected = || "a range has exactly the keys 'start' and 'end'".to_owned();
    let (mut low, mut high) = (None, None);
    let mut words = Vec::new();
    loop {
        match events.next() {
            Some((Event::Scalar(key, ..), key_span)) => {
                let Some((Event::Scalar(value, _, 0, None), span)) = events.next() else {
                    return Err(expected());
                };
                words.extend([bytes(key_span)?, bytes(span)?]);
                let slot = match &*key {
                    "start" => &mut low,
                    "end" => &mut high,
                    _ => return Err(expected()),
                };
                let port = Port::parse("port", &value).map_err(|error| error.to_string())?;
                if slot.replace(port).is_some() {
                    return Err(expected());
                }
            }
            Some((Event::MappingEnd, span)) => {
                let last = words.last().map_or(start, |word| word.1);
                let end = if style == StructureStyle::Flow { bytes(span)?.1 } else { last };
                words.push((end, end));
                let (Some(low), Some(high)) = (low, high) else { return Err(expected()) };
                let range = PortRange::new("range", low, high).map_err(|error| error.to_string())?;
                return Ok(Item { range, start, end, words });
            }
            _ => return Err(expected()),
        }
    }
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

    /// Trap 85.
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

    /// Traps 85, 89.
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

    /// Trap 90.
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

    /// Traps 87, 90.
    #[test]
    fn what_is_invalid_is_refused() {
        for bad in [
            "excluded_ports: [0]",
            "excluded_ports: [9..5]",
            "excluded_ports: [{start: 9, end: 5}]",
            "excluded_ports: [{start: 9}]",
            "excluded_ports: [{start: 1, end: 2, step: 1}]",
            "excluded_ports: [70000]",
            "excluded_ports: 5",
            "excluded_ports: [&a 5]",
            "excluded_ports: [[5]]",
            "excluded_ports: [5]\nexcluded_ports: [6]",
            "a: 1\n---\nb: 1",
            "a: [",
            "- 1",
            "just text",
        ] {
            assert!(compact(bad).is_err(), "{bad}");
            assert!(add(bad, &"1000".parse().unwrap()).is_err(), "{bad}");
        }
    }
}
