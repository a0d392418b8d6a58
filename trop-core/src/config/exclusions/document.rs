//! Locates `excluded_ports` in the text of a valid configuration file.
//!
//! Only forms that can be edited line by line are supported. Parsing returns `None` for everything else that
//! YAML allows, such as anchors and aliases.

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use crate::model::{Port, PortRange, PortSet};

pub(super) const KEY: &str = "excluded_ports";

/// An entry of the list, with byte offsets into the text.
pub(super) struct Item {
    pub(super) range: PortRange,
    /// The span of the entry, including the braces of a mapping in braces.
    pub(super) start: usize,
    pub(super) end: usize,
    /// The start and end of each of its words. Comments can stand between them.
    pub(super) words: Vec<(usize, usize)>,
}

/// The value of `excluded_ports`.
pub(super) enum List {
    /// The key without a value.
    Null { start: usize, end: usize },
    /// Lines that begin with a dash.
    Block(Vec<Item>),
    /// In brackets.
    Flow { start: usize, end: usize, items: Vec<Item> },
}

impl List {
    pub(super) fn items(&self) -> &[Item] {
        match self {
            List::Null { .. } => &[],
            List::Block(items) | List::Flow { items, .. } => items,
        }
    }
}

/// The top level of the document.
pub(super) enum Root {
    /// It is empty.
    Nothing,
    /// Keys on lines of their own, which begin at this column.
    Block { column: usize },
    /// In braces.
    Flow {
        /// The offset of the closing brace.
        end: usize,
        is_empty: bool,
    },
}

pub(super) struct Document<'t> {
    pub(super) text: &'t str,
    pub(super) root: Root,
    pub(super) list: Option<List>,
    /// Everything but the list: what an edit must not change.
    rest: Vec<String>,
}

type Events<'t> = std::vec::IntoIter<(Event<'t>, Span)>;

impl<'t> Document<'t> {
    pub(super) fn parse(text: &'t str) -> Option<Document<'t>> {
        let mut events: Vec<_> = Parser::new_from_str(text).collect::<Result<_, _>>().ok()?;
        events.retain(|(event, _)| {
            !matches!(
                event,
                Event::StreamStart | Event::StreamEnd | Event::DocumentStart(..) | Event::DocumentEnd
            )
        });
        let mut document = Document { text, root: Root::Nothing, list: None, rest: Vec::new() };
        document.read(events.into_iter())?;
        Some(document)
    }

    fn read(&mut self, mut events: Events<'t>) -> Option<()> {
        // The file is valid, so anything other than a mapping is empty or null.
        let Some((Event::MappingStart(style, ..), _)) = events.next() else { return Some(()) };
        let mut column = None;
        let mut is_empty = true;
        loop {
            match events.next()? {
                (Event::MappingEnd, span) => {
                    self.root = match style {
                        StructureStyle::Block => Root::Block { column: column.unwrap_or(0) },
                        StructureStyle::Flow => {
                            Root::Flow { end: bytes(span)?.1.saturating_sub(1), is_empty }
                        }
                    };
                    return Some(());
                }
                (Event::Scalar(name, ..), span) => {
                    column.get_or_insert(span.start.col());
                    is_empty = false;
                    if name == KEY {
                        self.list = Some(list(&mut events)?);
                    } else {
                        self.rest.push(name.into_owned());
                        self.skip(&mut events)?;
                    }
                }
                _ => return None,
            }
        }
    }

    /// Reads the value of another key, to compare it after the edit.
    fn skip(&mut self, events: &mut Events<'t>) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            let (event, _) = events.next()?;
            match event {
                Event::MappingStart(..) | Event::SequenceStart(..) => depth += 1,
                Event::MappingEnd | Event::SequenceEnd => depth = depth.saturating_sub(1),
                _ => {}
            }
            self.rest.push(format!("{event:?}"));
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// The number of entries; none without a list.
    pub(super) fn count(&self) -> Option<usize> {
        self.list.as_ref().map(|list| list.items().len())
    }

    pub(super) fn items(&self) -> &[Item] {
        self.list.as_ref().map(List::items).unwrap_or_default()
    }

    pub(super) fn ports(&self) -> PortSet {
        let mut ports = PortSet::default();
        self.items().iter().for_each(|item| ports.insert_range(item.range));
        ports
    }

    /// Whether an edited text has the expected ports and leaves everything else unchanged. Checked before any
    /// file is written.
    pub(super) fn is_faithful(&self, changed: &str, expected: &PortSet) -> bool {
        Document::parse(changed).is_some_and(|again| again.ports() == *expected && again.rest == self.rest)
    }
}

fn bytes(span: Span) -> Option<(usize, usize)> {
    let range = span.byte_range()?;
    Some((range.start, range.end))
}

fn list(events: &mut Events<'_>) -> Option<List> {
    let (event, span) = events.next()?;
    let (start, end) = bytes(span)?;
    let style = match event {
        Event::Scalar(_, ScalarStyle::Plain, 0, None) => return Some(List::Null { start, end }),
        Event::SequenceStart(style, 0, None) => style,
        _ => return None,
    };
    let mut items = Vec::new();
    loop {
        let (event, span) = events.next()?;
        let (from, to) = bytes(span)?;
        items.push(match event {
            Event::SequenceEnd => {
                return Some(match style {
                    StructureStyle::Block => List::Block(items),
                    StructureStyle::Flow => List::Flow { start, end: to, items },
                });
            }
            Event::Scalar(text, _, 0, None) => {
                let range = PortRange::parse(KEY, &text).ok()?;
                Item { range, start: from, end: to, words: vec![(from, to)] }
            }
            Event::MappingStart(style, 0, None) => mapping(style, from, events)?,
            _ => return None,
        });
    }
}

/// `{start: 5005, end: 5009}` in any style.
fn mapping(style: StructureStyle, start: usize, events: &mut Events<'_>) -> Option<Item> {
    let (mut low, mut high) = (None, None);
    let mut words = Vec::new();
    loop {
        match events.next()? {
            (Event::Scalar(key, ..), key_span) => {
                let (Event::Scalar(value, _, 0, None), span) = events.next()? else { return None };
                words.extend([bytes(key_span)?, bytes(span)?]);
                let end = if key == "start" { &mut low } else { &mut high };
                *end = Some(Port::parse(KEY, &value).ok()?);
            }
            (Event::MappingEnd, span) => {
                let last = words.last().map_or(start, |word| word.1);
                let end = if style == StructureStyle::Flow { bytes(span)?.1 } else { last };
                words.push((end, end));
                let range = PortRange::new(KEY, low?, high?).ok()?;
                return Some(Item { range, start, end, words });
            }
            _ => return None,
        }
    }
}
