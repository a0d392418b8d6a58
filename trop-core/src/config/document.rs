//! YAML text as a tree whose nodes know their line, with limits against hostile files.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};

/// The deepest nesting that is accepted; settings need four levels.
const MAX_DEPTH: usize = 32;

/// The largest number of nodes that is accepted. Nodes that an alias repeats count again.
const MAX_NODES: usize = 250_000;

#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    /// A boolean, a number or text without quotes.
    Plain(String),
    /// Text in quotes or in a block.
    Quoted(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

/// Why a text is not a valid document.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) line: usize,
    pub(super) reason: String,
}

impl Fault {
    fn new(line: usize, reason: impl Into<String>) -> Fault {
        Fault { line, reason: reason.into() }
    }
}

/// Parses a text that holds one YAML document. Returns `None` when the document is empty or null.
pub(super) fn parse(text: &str) -> Result<Option<Node>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder::default();
    for next in Parser::new_from_str(text) {
        let (event, span) =
            next.map_err(|error| Fault::new(error.marker().line(), error.info().replace('\n', " ")))?;
        builder.take(event, span.start.line())?;
    }
    Ok(builder.root.filter(|root| !matches!(root.value, Value::Null)))
}

/// A list or mapping whose end has not been parsed yet.
enum Open {
    List { line: usize, anchor: usize, items: Vec<Node> },
    Map { line: usize, anchor: usize, entries: Vec<(Node, Node)>, key: Option<Node> },
}

#[derive(Default)]
struct Builder {
    root: Option<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    documents: usize,
    nodes: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, line: usize) -> Result<(), Fault> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Fault::new(line, "there is more than one YAML document in the file"));
                }
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    return Err(Fault::new(line, "an alias refers to what it is part of"));
                };
                self.nodes += count(node);
                self.check(line)?;
                let mut node = node.clone();
                node.line = line;
                self.place(node, 0);
            }
            Event::Scalar(text, style, anchor, tag) => {
                if tag.is_some() {
                    return Err(Fault::new(line, "YAML tags are not supported"));
                }
                self.count_one(line)?;
                let value = match style {
                    ScalarStyle::Plain if is_null(&text) => Value::Null,
                    ScalarStyle::Plain => Value::Plain(text.into_owned()),
                    _ => Value::Quoted(text.into_owned()),
                };
                self.place(Node { line, value }, anchor);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.begin(line, tag.is_some(), Open::List { line, anchor, items: Vec::new() })?;
            }
            Event::MappingStart(_, anchor, tag) => {
                let map = Open::Map { line, anchor, entries: Vec::new(), key: None };
                self.begin(line, tag.is_some(), map)?;
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { line, anchor, items }) => {
                    self.place(Node { line, value: Value::List(items) }, anchor);
                }
                Some(Open::Map { line, anchor, entries, .. }) => {
                    self.place(Node { line, value: Value::Map(entries) }, anchor);
                }
                None => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, line: usize, tagged: bool, collection: Open) -> Result<(), Fault> {
        if tagged {
            return Err(Fault::new(line, "YAML tags are not supported"));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(Fault::new(line, format!("nested deeper than {MAX_DEPTH} levels")));
        }
        self.count_one(line)?;
        self.open.push(collection);
        Ok(())
    }

    fn place(&mut self, node: Node, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => *key = Some(node),
                Some(key) => entries.push((key, node)),
            },
        }
    }

    fn count_one(&mut self, line: usize) -> Result<(), Fault> {
        self.nodes += 1;
        self.check(line)
    }

    fn check(&self, line: usize) -> Result<(), Fault> {
        if self.nodes > MAX_NODES {
            return Err(Fault::new(line, format!("it has more than {MAX_NODES} values")));
        }
        Ok(())
    }
}

/// Counts a node and everything in it. [`MAX_NODES`] keeps this recursion below about 700 levels, because a
/// chain of n nested aliases counts 1 + 2 + ... + n nodes.
fn count(node: &Node) -> usize {
    match &node.value {
        Value::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Map(entries) => {
            1 + entries.iter().map(|(key, value)| count(key) + count(value)).sum::<usize>()
        }
        _ => 1,
    }
}

fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn fault(text: &str) -> (usize, String) {
        let fault = parse(text).unwrap_err();
        (fault.line, fault.reason)
    }

    #[test]
    fn nothing_in_a_file_is_no_document() {
        for text in ["", "\n\n", "# a comment\n", "---\n", "~\n", "\u{feff}"] {
            assert!(parse(text).unwrap().is_none(), "{text:?}");
        }
    }

    #[test]
    fn what_cannot_be_a_document_is_a_fault_with_its_line() {
        assert_eq!(fault("a: 1\n---\nb: 1\n").0, 2);
        assert_eq!(fault("a: 1\nb: !thing 2\n").0, 2);
        assert_eq!(fault("a: &x\n  b: *x\n").0, 2);
        for broken in ["a: [1", "a: *nothing", "a: b: c", "\"", "a:\n\t- b"] {
            parse(broken).unwrap_err();
        }
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = "[".repeat(100_000);
        parse(&deep).unwrap_err();
        let deep = "- ".repeat(40) + "x";
        parse(&deep).unwrap_err();
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for level in 1..12 {
            let below = vec![format!("*a{}", level - 1); 10].join(",");
            writeln!(bomb, "a{level}: &a{level} [{below}]").unwrap();
        }
        assert!(fault(&bomb).1.contains("more than"));
        // Nesting by aliases only.
        let mut chain = "a0: &a0 [x]\n".to_owned();
        for level in 1..20_000 {
            writeln!(chain, "a{level}: &a{level} [*a{}]", level - 1).unwrap();
        }
        parse(&chain).unwrap_err();
    }

    #[test]
    fn an_alias_repeats_its_anchor() {
        let node = parse("a: &x [1]\nb: *x\n").unwrap().unwrap();
        let Value::Map(entries) = node.value else { panic!() };
        assert_eq!(entries[1].1.line, 2);
        assert!(matches!(&entries[1].1.value, Value::List(items) if items.len() == 1));
    }
}
