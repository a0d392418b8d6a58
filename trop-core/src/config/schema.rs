//! The keys of a configuration file. Turns a document into a layer and a list of problems.

use std::path::Path;

use super::document::{self, Node};
use super::group_reader::{self, Stated};
use super::layer::{GroupChange, Layer, Value};
use super::reader::{Problem, Reader, WHOLE};
use super::setting::{Files, PortUse, Setting};

/// Which rules a file has to follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileKind {
    /// `config.yaml` in a data directory. It may define neither a project nor a group.
    User,
    /// `trop.yaml`, `trop.local.yaml` or a file of any other name.
    Project,
}

/// Reads a text into a layer and a list of problems. The layer is usable only when the list is empty.
pub(super) fn read(path: &Path, kind: FileKind, text: &str) -> (Layer, Vec<Problem>) {
    let mut reader = Reader::new(path);
    let layer = match document::parse(text) {
        Ok(None) => Layer::default(),
        Ok(Some(root)) => read_root(&mut reader, kind, &root),
        Err(fault) => {
            reader.report(fault.line.max(1), WHOLE, format!("Parse error: {}", fault.reason));
            Layer::default()
        }
    };
    (layer, reader.into_problems())
}

fn read_root(reader: &mut Reader<'_>, kind: FileKind, root: &Node) -> Layer {
    let mut layer = Layer::default();
    let keys = keys();
    let Some(fields) = reader.fields(root, WHOLE, &keys) else { return layer };
    if kind == FileKind::User {
        for setting in Setting::ALL.into_iter().filter(|setting| setting.files() == Files::Project) {
            if let Some(node) = fields.get(setting.name()) {
                let reason = "it belongs in a project file (trop.yaml), not in the user's own";
                reader.report(node.line, setting.name(), reason);
            }
        }
    }
    let mut stated = Stated::default();
    for key in keys {
        let Some(node) = fields.get(key) else { continue };
        match PortUse::ALL.into_iter().find(|range| range.block() == key) {
            Some(range) => {
                let ends = read_range(reader, range, node, &mut layer);
                if range == PortUse::Reservations {
                    stated = ends;
                }
            }
            None => read_key(reader, key, node, &mut layer),
        }
    }
    layer.group = match fields.get(Setting::Reservations.name()) {
        Some(node) => {
            group_reader::read(reader, node, stated).map_or(GroupChange::Inherit, GroupChange::Replace)
        }
        None => match null(root, Setting::Reservations.name()) {
            Some(node) if kind == FileKind::Project => GroupChange::Clear(reader.origin(node.line)),
            _ => GroupChange::Inherit,
        },
    };
    layer
}

/// The keys of the top level.
fn keys() -> Vec<&'static str> {
    let mut keys: Vec<_> = in_files().map(|setting| setting.keys().0).collect();
    keys.dedup();
    keys
}

fn in_files() -> impl Iterator<Item = Setting> {
    Setting::ALL.into_iter().filter(|setting| setting.files() != Files::None)
}

/// Reads the setting of a top-level key, or all settings of its block.
fn read_key(reader: &mut Reader<'_>, key: &'static str, node: &Node, layer: &mut Layer) {
    let (settings, names): (Vec<_>, Vec<_>) = block(key).unzip();
    if names.is_empty() {
        for setting in in_files().filter(|setting| setting.name() == key) {
            read_value(reader, setting, node, layer);
        }
        return;
    }
    let fields = reader.fields(node, key, &names).unwrap_or_default();
    for (setting, name) in settings.into_iter().zip(names) {
        if let Some(node) = fields.get(name) {
            read_value(reader, setting, node, layer);
        }
    }
}

fn read_value(reader: &mut Reader<'_>, setting: Setting, node: &Node, layer: &mut Layer) {
    if let Some(value) = reader.value(setting, node) {
        layer.set(setting, value, reader.origin(node.line));
    }
}

/// The settings of a block, each with its key inside the block.
fn block(key: &str) -> impl Iterator<Item = (Setting, &'static str)> {
    in_files().filter_map(move |setting| match setting.keys() {
        (block, Some(name)) if block == key => Some((setting, name)),
        _ => None,
    })
}

/// Reads the block of a port range. Returns the ends of the range that the file gives.
fn read_range(reader: &mut Reader<'_>, range: PortUse, node: &Node, layer: &mut Layer) -> Stated {
    let (min_name, max_name, offset_name) =
        (range.min().name(), range.max().name(), range.max_offset().name());
    let names: Vec<_> = block(range.block()).map(|(_, name)| name).collect();
    let Some(fields) = reader.fields(node, range.block(), &names) else { return Stated::default() };
    let [min_node, max_node, offset_node] =
        ["min", "max", "max_offset"].map(|name| fields.get(name).copied());
    let min = min_node.and_then(|node| reader.value(range.min(), node));
    if min_node.is_none() {
        reader.report(node.line, min_name, format!("it is required in a `{}` block", range.block()));
    }
    let max = max_node.and_then(|node| reader.value(range.max(), node));
    let offset = offset_node.and_then(|node| reader.value(range.max_offset(), node));
    if let (Some(_), Some(node)) = (max_node, offset_node) {
        reader.report(node.line, offset_name, "give either `max` or `max_offset`, not both");
    }
    let mut stated =
        Stated { min: min.as_ref().and_then(Value::port), max: max.as_ref().and_then(Value::port) };
    if let (Some(min), Some(max), Some(node)) = (stated.min, stated.max, max_node)
        && min > max
    {
        reader.report(node.line, max_name, format!("{max} is below min {min}"));
    }
    if let (Some(min), Some(Value::Number(offset)), Some(node)) = (stated.min, &offset, offset_node) {
        stated.max = min.above(*offset);
        if stated.max.is_none() {
            reader.report(node.line, offset_name, format!("min {min} plus {offset} is above 65535"));
        }
    }
    // If both `max` and `max_offset` are given, an error was reported, and it does not matter which one is
    // set.
    for (setting, value, node) in [
        (range.min(), min, min_node),
        (range.max(), max, max_node),
        (range.max_offset(), offset, offset_node),
    ] {
        if let (Some(value), Some(node)) = (value, node) {
            layer.set(setting, value, reader.origin(node.line));
        }
    }
    stated
}

/// The node of a top-level key whose value is null, if there is one.
fn null<'n>(root: &'n Node, name: &str) -> Option<&'n Node> {
    use document::Value::{Map, Null, Plain, Quoted};
    let Map(entries) = &root.value else { return None };
    let found = entries.iter().find(
        |(key, value)| matches!((&key.value, &value.value), (Plain(key) | Quoted(key), Null) if key == name),
    );
    found.map(|(key, _)| key)
}
