//! Printing: results on standard output, everything else on standard error.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::ValueEnum;
use clap::error::{ContextKind, ContextValue};
use serde_json::Value;
use trop_core::{Error, LeaseInfo, OutputFormat, ProcessState, Reservation, Result, Tag};

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

/// What a subcommand prints, and how it ends.
#[derive(Default)]
pub(crate) struct Report {
    result: Vec<u8>,
    notes: Vec<String>,
    failure: Option<Failure>,
}

/// How a subcommand ends that does not succeed.
pub(crate) enum Failure {
    /// A negative answer: what was found, which `--quiet` does not suppress, and a line that sums it up.
    Negative { findings: Vec<String>, summary: String },
    /// It failed after printing notes.
    Error(Error),
    /// The exit status of `trop run`, and the error if the program could not be run.
    Status(u8, Option<Error>),
}

impl Report {
    /// A result, complete with its line ends.
    pub(crate) fn result(result: impl Into<Vec<u8>>) -> Report {
        Report { result: result.into(), ..Report::default() }
    }

    /// A negative answer: what was found, which `--quiet` does not suppress, and a line that sums it up.
    pub(crate) fn negative(findings: Vec<String>, summary: String) -> Report {
        Report { failure: Some(Failure::Negative { findings, summary }), ..Report::default() }
    }

    /// The negative answer to an assertion, with its reason.
    pub(crate) fn failed_assertion(reason: &str) -> Report {
        Report::negative(Vec::new(), format!("Assertion failed: {reason}"))
    }

    /// Ends with this exit status, and prints the error if there is one.
    pub(crate) fn status(status: u8, failure: Option<Error>) -> Report {
        Report { failure: Some(Failure::Status(status, failure)), ..Report::default() }
    }

    /// Lets it end with an error, which is printed after the notes.
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
    /// [`Error::Io`] if the result could not be written. A closed pipe is no error: whoever reads may stop
    /// early.
    pub(crate) fn print(self, quiet: bool) -> Result<Option<Failure>> {
        let mut stdout = io::stdout().lock();
        check_written(stdout.write_all(&self.result).and_then(|()| stdout.flush()))?;
        if !quiet {
            self.notes.iter().for_each(|note| line(note));
        }
        Ok(self.failure)
    }
}

/// Prints one line on standard error. Nothing is left to report it on if that fails.
pub(crate) fn line(text: &str) {
    let _ = io::stderr().write_all(format!("{}\n", escape(text)).as_bytes());
}

/// Prints what clap answers instead of running a subcommand: help, the version, or a syntax error.
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
    let printed = answer.print();
    if !answer.use_stderr() {
        check_written(printed)?;
    }
    Ok(ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2)))
}

/// Whether it was written; a closed pipe counts as success.
fn check_written(result: io::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(error)),
        _ => Ok(()),
    }
}

pub(crate) fn cannot_write(source: io::Error) -> Error {
    Error::Io { action: "write to", path: "standard output".into(), argument: None, source }
}

/// Records for people and for programs, in the order of their columns.
pub(crate) struct Listing<'l> {
    pub(crate) columns: &'l [&'l str],
    /// The headings of the table; if there are none, the names of the columns in capitals.
    pub(crate) headings: &'l [&'l str],
    /// The text for an absent value in the table, and the one in csv and tsv.
    pub(crate) absent: [&'l str; 2],
    pub(crate) records: Vec<Value>,
    /// A column of paths, and the home directory that the table writes as `~` in it.
    pub(crate) shortened: Option<(&'l str, PathBuf)>,
}

impl Listing<'_> {
    pub(crate) fn print(&self, format: Format) -> Result<Vec<u8>> {
        match format {
            Format::Table => Ok(self.table().into_bytes()),
            Format::Json => self.json().map_err(|error| cannot_write(error.into())),
            Format::Csv => self.delimited(b',').map_err(cannot_write),
            Format::Tsv => self.delimited(b'\t').map_err(cannot_write),
        }
    }

    fn table(&self) -> String {
        let mut table = match self.headings {
            [] => self.columns.join("\t").to_uppercase(),
            headings => headings.join("\t"),
        };
        table.push('\n');
        for record in &self.records {
            let field = |column: &&str| {
                let text = field(record, column, self.absent[0]);
                let shown = match &self.shortened {
                    Some((paths, home)) if paths == column => shorten(&text, home),
                    _ => text.as_ref().into(),
                };
                escape(&shown).into_owned()
            };
            table += &self.columns.iter().map(field).collect::<Vec<_>>().join("\t");
            table.push('\n');
        }
        table
    }

    fn json(&self) -> serde_json::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(&self.records)?;
        text.push(b'\n');
        Ok(text)
    }

    fn delimited(&self, delimiter: u8) -> io::Result<Vec<u8>> {
        let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
        writer.write_record(self.columns)?;
        for record in &self.records {
            writer.write_record(
                self.columns.iter().map(|column| field(record, column, self.absent[1]).into_owned()),
            )?;
        }
        writer.into_inner().map_err(csv::IntoInnerError::into_error)
    }
}

/// A value of a record as text.
fn field<'r>(record: &'r Value, column: &str, absent: &'r str) -> Cow<'r, str> {
    match &record[column] {
        Value::Null => absent.into(),
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

/// The path with the home directory it lies below written as `~`.
fn shorten<'p>(path: &'p str, home: &Path) -> Cow<'p, str> {
    let below = Path::new(path).strip_prefix(home).ok().filter(|_| home.is_absolute());
    match below.and_then(Path::to_str) {
        Some(rest) if !rest.is_empty() => format!("~/{rest}").into(),
        _ => path.into(),
    }
}

/// One reservation in labelled lines.
pub(crate) fn describe(reservation: &Reservation) -> String {
    let path = reservation.key.path();
    let exists = if Path::new(path).exists() { "yes" } else { "no" };
    labelled([
        ("Port", Some(reservation.port.to_string())),
        ("Path", Some(path.to_owned())),
        ("Tag", reservation.key.tag().map(Tag::to_string)),
        ("Project", reservation.project.clone()),
        ("Task", reservation.task.clone()),
        ("Created", Some(reservation.created_at.to_string())),
        ("Last used", Some(reservation.last_used_at.to_string())),
        ("Path exists", Some(exists.to_owned())),
    ])
}

/// One lease in labelled lines.
pub(crate) fn describe_lease(lease: &LeaseInfo) -> String {
    let ended = if lease.process_state == ProcessState::Ended { ", which has ended" } else { "" };
    labelled([
        ("Port", Some(lease.port.to_string())),
        ("Label", lease.label.clone()),
        ("Leased by", lease.pid.map(|pid| format!("process {pid}{ended}"))),
        ("Kept by", lease.keeper()),
        ("Command", lease.command.clone()),
        ("Directory", Some(lease.directory.clone())),
        ("Since", Some(lease.since.to_string())),
        ("Age", Some(format!("{} s", lease.age().as_secs()))),
        ("Owner", Some(if lease.alive { "alive" } else { "gone" }.to_owned())),
    ])
}

/// A line for each value that is known.
fn labelled<const N: usize>(lines: [(&str, Option<String>); N]) -> String {
    let mut text = String::new();
    for (label, value) in lines {
        if let Some(value) = value {
            text.extend([label, ": ", &escape(&value), "\n"]);
        }
    }
    text
}

/// The text with escapes for whatever would break its line or control a terminal.
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

/// Whether a character controls terminals, breaks lines, or changes the writing direction.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}')
        || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
