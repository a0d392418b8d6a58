//! Writes a new list into the text and leaves everything else unchanged.

use super::document::{Document, Item, KEY, List, Root};
use super::text::Entry;

impl<'t> Document<'t> {
    /// Returns the text with a new list; `None` if the old one is in a form that cannot be edited.
    pub(super) fn with(&self, entries: &[Entry<'_>]) -> Option<String> {
        let eol = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        match &self.list {
            None => Some(self.with_new_list(entries, eol)),
            Some(List::Null { start, end }) if matches!(self.root, Root::Flow { .. }) => {
                Some(self.splice(*start, *end, &format!(" {}", self.flow(entries))))
            }
            Some(List::Null { start, end }) => {
                let Root::Block { column } = self.root else { return None };
                let without = self.splice(*start, *end, "");
                let line_end = without[*start..].find('\n').map(|offset| start + offset + 1);
                let (head, tail) = without.split_at(line_end.unwrap_or(without.len()));
                let mut text = head.to_owned();
                end_line(&mut text, eol);
                Some(text + &fresh_lines(entries, column, eol) + tail)
            }
            Some(List::Flow { start, end, items }) => {
                let list = self.flow_list(*start, *end, items, entries, eol);
                Some(self.splice(*start, *end, &list))
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
        // The list has to come before `...`, which ends a document.
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
            .map(|entry| match entry.unchanged() {
                Some(item) => self.text[item.start..item.end].to_owned(),
                None => entry.text(),
            })
            .collect();
        format!("[{}]", texts.join(", "))
    }

    /// A list in brackets: on one line, or with one line per entry when there are comments to keep.
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
                // A comment on a line of its own belongs to the next entry, any other to the one before.
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
            let text = match entry.unchanged() {
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
    fn block(&self, items: &[Item], entries: &[Entry<'_>], eol: &str) -> Option<String> {
        let (first, last) = (items.first()?, items.last()?);
        let region = self.line_start(first.start)..self.line_end(last.end);
        let indent = self.indent(first)?;
        let mut lines = String::new();
        for entry in entries {
            for item in &entry.replaces {
                lines += self.lines_before(items, item)?;
            }
            if let Some(item) = entry.unchanged() {
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
        Some(self.splice(region.start, region.end, &lines))
    }

    /// The comments and blank lines between an entry and the one before it.
    fn lines_before(&self, items: &[Item], item: &Item) -> Option<&'t str> {
        self.indent(item)?;
        let before = items.iter().rev().find(|other| other.start < item.start);
        let start = self.line_start(item.start);
        Some(before.map_or("", |before| &self.text[self.line_end(before.end).min(start)..start]))
    }

    /// The spaces before the dash of an entry. None if something else stands there.
    fn indent(&self, item: &Item) -> Option<&'t str> {
        let line = &self.text[self.line_start(item.start)..item.start];
        line.trim_end().strip_suffix('-').filter(|indent| indent.trim().is_empty())
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Where the next line begins.
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

/// The comments in text between words, and where each begins.
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
