//! What is printed: results on standard output, everything else on standard error.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::ValueEnum;
use clap::error::{ContextKind, ContextValue};
use serde_json::Value;
use trop_core::{Error, OutputFormat, Reservation, Result, Tag};

use crate::help;

/// How a list is printed.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Csv,
    Tsv,
}

impl From<OutputFormat> for Format {
    fn from(format: OutputFormat) -> Format {
        match format {
            OutputFormat::Json => Format::Json,
            OutputFormat::Csv => Format::Csv,
            OutputFormat::Tsv => Format::Tsv,
            _ => Format::Table,
        }
    }
}

/// What a command has to say.
#[derive(Default)]
pub(crate) struct Report {
    result: Vec<u8>,
    notes: Vec<String>,
    failure: Option<Failure>,
}

/// How a command ends that has something to say before it fails.
pub(crate) enum Failure {
    /// A negative answer: what was found, which `--quiet` does not suppress, and a line that sums it up.
    Refusal {
        findings: Vec<String>,
        summary: String,
    },
    Error(Error),
}

impl Report {
    /// A result, complete with its line ends.
    pub(crate) fn result(result: impl Into<Vec<u8>>) -> Report {
        Report { result: result.into(), ..Report::default() }
    }

    /// A negative answer: what was found, which `--quiet` does not suppress, and a line that sums it up.
    pub(crate) fn refusal(findings: Vec<String>, summary: String) -> Report {
        Report { failure: Some(Failure::Refusal { findings, summary }), ..Report::default() }
    }

    /// The answer to an assertion is no, and why.
    pub(crate) fn failed_assertion(reason: &str) -> Report {
        Report::refusal(Vec::new(), format!("Assertion failed: {reason}"))
    }

    /// Ends with a failure after the notes.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failure = Some(Failure::Error(error));
    }

    /// Adds a line for people, which `--quiet` suppresses.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Prints the result, then the notes, and returns the failure there may be.
    ///
    /// # Errors
    /// [`Error::Io`] when the result could not be written. A closed pipe is no error: the reader has seen enough.
    pub(crate) fn print(self, quiet: bool) -> Result<Option<Failure>> {
        let mut stdout = io::stdout().lock();
        written(stdout.write_all(&self.result).and_then(|()| stdout.flush()))?;
        if !quiet {
            self.notes.iter().for_each(|note| line(note));
        }
        Ok(self.failure)
    }
}

/// Prints one line on standard error. There is nobody left to tell when that fails.
pub(crate) fn line(text: &str) {
    let _ = io::stderr().write_all(format!("{}\n", escape(text)).as_bytes());
}

/// Prints what clap answers instead of running a command: help, the version, or what is wrong with the syntax.
///
/// # Errors
/// [`Error::Io`] when help could not be written.
pub(crate) fn help_or_usage(mut answer: clap::Error) -> Result<ExitCode> {
    // Clap echoes what was typed as it is.
    let hostile: Vec<(ContextKind, ContextValue)> = answer
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) if text.contains(is_unsafe) => {
                Some((kind, ContextValue::String(escape(text).into_owned())))
            }
            _ => None,
        })
        .collect();
    if !hostile.is_empty() {
        // A suggestion repeats what was typed, already formatted.
        answer.remove(ContextKind::Suggested);
    }
    for (kind, value) in hostile {
        answer.insert(kind, value);
    }
    if answer.use_stderr() && answer.get(ContextKind::Usage).is_none() {
        answer.insert(ContextKind::Usage, ContextValue::StyledStr(help::command().render_usage()));
    }
    let printed = answer.print();
    if !answer.use_stderr() {
        written(printed)?;
    }
    Ok(ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2)))
}

fn written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(error)),
        _ => Ok(()),
    }
}

fn cannot_write(source: io::Error) -> Error {
    Error::Io { action: "write to", path: "standard output".into(), source }
}

/// What a list shows of one thing, in each format.
pub(crate) trait Record<const N: usize> {
    const COLUMNS: [&str; N];
    const HEADINGS: [&str; N];

    fn json(&self) -> Value;
    /// For csv and tsv.
    fn fields(&self) -> [Cow<'_, str>; N];
    /// For the table; the paths of a list may be shorter there.
    fn cells(&self, home: Option<&Path>) -> [Cow<'_, str>; N];
}

/// All records in one format, with its header; the table shortens `home`, if given, to `~`.
///
/// # Errors
/// [`Error::Io`] when the text cannot be made.
pub(crate) fn records<const N: usize, R: Record<N>>(
    records: &[R],
    format: Format,
    home: Option<&Path>,
) -> Result<Vec<u8>> {
    match format {
        Format::Table => {
            let rows = records.iter().map(|record| record.cells(home).map(|cell| escape(&cell).into_owned()));
            let lines = std::iter::once(R::HEADINGS.map(str::to_owned)).chain(rows);
            Ok(lines.map(|line| line.join("\t") + "\n").collect::<String>().into_bytes())
        }
        Format::Json => {
            let rows: Vec<_> = records.iter().map(R::json).collect();
            let mut text = serde_json::to_vec_pretty(&rows).map_err(|error| cannot_write(error.into()))?;
            text.push(b'\n');
            Ok(text)
        }
        Format::Csv => delimited(records, b',').map_err(cannot_write),
        Format::Tsv => delimited(records, b'\t').map_err(cannot_write),
    }
}

fn delimited<const N: usize, R: Record<N>>(records: &[R], delimiter: u8) -> io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    writer.write_record(R::COLUMNS)?;
    for record in records {
        writer.write_record(record.fields().each_ref().map(|field| field.as_bytes()))?;
    }
    writer.into_inner().map_err(csv::IntoInnerError::into_error)
}

/// The path with the home directory it lies below written as `~`.
fn shorten<'p>(path: &'p str, home: Option<&Path>) -> Cow<'p, str> {
    let below =
        home.filter(|home| home.is_absolute()).and_then(|home| Path::new(path).strip_prefix(home).ok());
    match below.and_then(Path::to_str) {
        Some(rest) if !rest.is_empty() => format!("~/{rest}").into(),
        _ => path.into(),
    }
}

impl Record<7> for Reservation {
    const COLUMNS: [&str; 7] = ["port", "path", "tag", "project", "task", "created_at", "last_used_at"];
    const HEADINGS: [&str; 7] = ["PORT", "PATH", "TAG", "PROJECT", "TASK", "CREATED_AT", "LAST_USED_AT"];

    fn json(&self) -> Value {
        self.to_json()
    }

    fn fields(&self) -> [Cow<'_, str>; 7] {
        values(self).map(Option::unwrap_or_default)
    }

    fn cells(&self, home: Option<&Path>) -> [Cow<'_, str>; 7] {
        let mut cells = values(self).map(|value| value.unwrap_or("-".into()));
        cells[1] = shorten(self.key.path(), home);
        cells
    }
}

fn values(reservation: &Reservation) -> [Option<Cow<'_, str>>; 7] {
    [
        Some(reservation.port.to_string().into()),
        Some(reservation.key.path().into()),
        reservation.key.tag().map(|tag| tag.as_str().into()),
        reservation.project.as_deref().map(Cow::from),
        reservation.task.as_deref().map(Cow::from),
        Some(reservation.created_at.to_string().into()),
        Some(reservation.last_used_at.to_string().into()),
    ]
}

/// One reservation in labelled lines.
pub(crate) fn describe(reservation: &Reservation) -> String {
    let path = reservation.key.path();
    let exists = if Path::new(path).exists() { "yes" } else { "no" };
    let lines = [
        ("Port", Some(reservation.port.to_string())),
        ("Path", Some(path.to_owned())),
        ("Tag", reservation.key.tag().map(Tag::to_string)),
        ("Project", reservation.project.clone()),
        ("Task", reservation.task.clone()),
        ("Created", Some(reservation.created_at.to_string())),
        ("Last used", Some(reservation.last_used_at.to_string())),
        ("Path exists", Some(exists.to_owned())),
    ];
    let mut text = String::new();
    for (label, value) in lines {
        if let Some(value) = value {
            text.extend([label, ": ", &escape(&value), "\n"]);
        }
    }
    text
}

/// Text that stays on its line and cannot drive a terminal.
pub(crate) fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_unsafe(character) {
            safe.extend(character.escape_default());
        } else {
            safe.push(character);
        }
    }
    safe.into()
}

/// Whether a character controls terminals, breaks lines, or turns the direction of what follows.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
