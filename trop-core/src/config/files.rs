//! Finds, reads and validates configuration files.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::layer::Layer;
use super::reader::{Problem, WHOLE};
use super::schema::{self, FileKind};
use crate::model::{Error, Result, paths};
use crate::os::fs::is_missing;

/// The project's file, shared by everybody who works on the project.
const PROJECT_FILE: &str = "trop.yaml";
/// The project's private file. It may exist beside `trop.yaml` or instead of it.
const PRIVATE_FILE: &str = "trop.local.yaml";
/// The user's file, in the data directory.
pub(crate) const USER_FILE: &str = "config.yaml";

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Which project files are part of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discovery {
    /// Those of the nearest directory that has any, searched upward from the physical working directory.
    #[default]
    WorkingDirectory,
    /// Those of the nearest directory that has any, searched upward from this one.
    From(PathBuf),
    /// This file. If its name is `trop.yaml` or `trop.local.yaml`, both files of its directory.
    File(PathBuf),
    /// No project files, and no user's file either.
    Off,
}

impl Discovery {
    /// Combines three options, of which at most one may be given: `is_on` is false to read no files at all,
    /// `start_dir` is where the upward search begins, and `config_file` is the only project file to read.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `discovery` or `config_file` when more than one option is given.
    pub fn new(is_on: bool, start_dir: Option<PathBuf>, config_file: Option<PathBuf>) -> Result<Discovery> {
        match (is_on, start_dir, config_file) {
            (true, None, None) => Ok(Discovery::WorkingDirectory),
            (true, Some(directory), None) => Ok(Discovery::From(directory)),
            (true, None, Some(file)) => Ok(Discovery::File(file)),
            (false, None, None) => Ok(Discovery::Off),
            (is_on, ..) => Err(Error::invalid(
                if is_on { "config_file" } else { "discovery" },
                "Cannot specify more than one of a start directory, a configuration file and no discovery",
            )),
        }
    }
}

/// Returns the project files that a discovery selects, the lowest precedence first.
///
/// # Errors
/// [`Error::InvalidArgument`] when a named file is missing or is not a regular file;
/// [`Error::UnresolvablePath`] when the start directory cannot be resolved; [`Error::Config`] when a
/// directory cannot be searched; [`Error::Io`].
pub(super) fn discover(discovery: &Discovery) -> Result<Vec<PathBuf>> {
    match discovery {
        Discovery::Off => Ok(Vec::new()),
        Discovery::File(file) => named("config_file", file),
        Discovery::From(start) => upward(&start.canonicalize().map_err(|error| Error::UnresolvablePath {
            argument: "start_dir",
            path: start.clone(),
            reason: error.to_string(),
        })?),
        Discovery::WorkingDirectory => match paths::working_directory() {
            Ok(start) => upward(&start),
            // A working directory that was removed has no files above it. Operations that need the directory
            // itself report the error.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        },
    }
}

fn upward(start: &Path) -> Result<Vec<PathBuf>> {
    for directory in start.ancestors() {
        let found = files_in(directory)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// The project files that exist in a directory. Only their names are checked, so that a file which cannot be
/// read is reported when it is loaded, not skipped.
fn files_in(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in [PROJECT_FILE, PRIVATE_FILE] {
        let path = directory.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => found.push(path),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    Ok(found)
}

/// Resolves a file that the caller named: both project files of its directory if it has one of their names,
/// else the file alone. Errors name `argument`.
pub(super) fn named(argument: &'static str, file: &Path) -> Result<Vec<PathBuf>> {
    check_named(argument, file)?;
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |source| Error::io_of(Some(argument), "resolve", parent, source);
    let directory = parent.canonicalize().map_err(failed)?;
    match file.file_name() {
        Some(name) if name == PROJECT_FILE || name == PRIVATE_FILE => files_in(&directory),
        Some(name) => Ok(vec![directory.join(name)]),
        None => Err(Error::invalid(argument, format!("'{}' is not a file", file.display()))),
    }
}

/// Returns an error for a path that is missing or is not a regular file.
pub(crate) fn check_named(argument: &'static str, file: &Path) -> Result<()> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Error::invalid(argument, format!("'{}' is not a file", file.display()))),
        Err(error) if is_missing(&error) => {
            Err(Error::invalid(argument, format!("Configuration file not found: '{}'", file.display())))
        }
        // The name contains a NUL.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(Error::invalid(argument, error.to_string()))
        }
        Err(source) => Err(Error::io_of(Some(argument), "read", file, source)),
    }
}

/// The user's file of a data directory, if there is one.
///
/// Errors are ignored here: whatever prevents looking for this file also prevents opening the database, which
/// reports it.
pub(super) fn of_user(data_dir: &Path) -> Option<PathBuf> {
    let path = data_dir.join(USER_FILE);
    fs::symlink_metadata(&path).is_ok().then_some(path)
}

/// Reads the settings of a file.
///
/// # Errors
/// [`Error::Config`] for a file that cannot be read or breaks a rule.
pub(super) fn load(path: &Path, kind: FileKind) -> Result<Layer> {
    let text = contents(path).map_err(|error| unreadable(path, &error))?;
    let (layer, problems) = read(path, kind, text);
    log::trace!("trop: configuration file '{}'", path.display());
    accept(&problems)?;
    Ok(layer)
}

/// The first problem as an error, if there is any.
fn accept(problems: &[Problem]) -> Result<()> {
    let [Problem { path, line, field, reason }, more @ ..] = problems else { return Ok(()) };
    let more = match more.len() {
        0 => String::new(),
        count => format!(" (and {count} more: trop validate lists them)"),
    };
    let reason = format!("invalid in '{}' line {line}: {reason}{more}", path.display());
    Err(Error::Config { setting: field, reason })
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error::Config { setting: WHOLE, reason: format!("cannot read '{}': {error}", path.display()) }
}

/// Returns every problem of one configuration file, sorted by line; empty if the file is valid.
///
/// A file called `config.yaml` is checked as a user's file, any other as a project file. No other file, no
/// environment variable and no database is read.
///
/// # Errors
/// [`Error::InvalidArgument`] when it is missing or is not a regular file, [`Error::Io`] when it cannot be
/// read.
pub fn validate(path: &Path) -> Result<Vec<Problem>> {
    check_named("file", path)?;
    let text = contents(path).map_err(|source| Error::io_of(Some("file"), "read", path, source))?;
    Ok(read(path, kind_of(path), text).1)
}

/// Checks a text as [`validate`] would check a file with this name and this content.
///
/// # Errors
/// [`Error::Config`] for the first problem.
pub(crate) fn check(path: &Path, text: &str) -> Result<()> {
    accept(&read(path, kind_of(path), Ok(text.to_owned())).1)
}

/// Returns the text of a file that is to be edited; empty if the file does not exist.
///
/// # Errors
/// [`Error::Io`] when it cannot be read; [`Error::Config`] when it breaks a rule.
pub(crate) fn text(path: &Path) -> Result<String> {
    let text = match contents(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        other => other.map_err(|source| Error::io_of(None, "read", path, source))?,
    };
    accept(&read(path, kind_of(path), text.clone()).1)?;
    Ok(text.unwrap_or_default())
}

fn kind_of(path: &Path) -> FileKind {
    if path.file_name().is_some_and(|name| name == USER_FILE) { FileKind::User } else { FileKind::Project }
}

fn read(path: &Path, kind: FileKind, text: Result<String, &'static str>) -> (Layer, Vec<Problem>) {
    match text {
        Ok(text) => schema::read(path, kind, &text),
        Err(fault) => {
            let reason = format!("Parse error: {fault}");
            (Layer::default(), vec![Problem { path: path.to_path_buf(), line: 1, field: WHOLE, reason }])
        }
    }
}

/// Returns the text of a file. The inner error says why the content is not usable as text.
fn contents(path: &Path) -> io::Result<Result<String, &'static str>> {
    // Opening a pipe could block for ever, and reading a device might never end.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(if bytes.len() as u64 > MAX_BYTES {
        Err("the file is larger than 1 MiB")
    } else {
        String::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text")
    })
}
