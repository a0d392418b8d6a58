//! Configuration files: which there are, reading them, and checking one by itself.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::layer::Layer;
use super::reader::{Problem, WHOLE};
use super::schema::{self, FileKind};
use crate::model::{Error, Result, paths};

/// The project's file, for everybody who works on it.
const PROJECT_FILE: &str = "trop.yaml";
/// The project's file that is not shared, beside or instead of the other.
const PRIVATE_FILE: &str = "trop.local.yaml";
/// The user's file, in the data directory.
pub(crate) const USER_FILE: &str = "config.yaml";

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Which project files are part of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discovery {
    /// Those of the nearest directory from the physical working directory upward that has any.
    #[default]
    WorkingDirectory,
    /// Those of the nearest directory from this one upward that has any.
    From(PathBuf),
    /// This file; if its name is `trop.yaml` or `trop.local.yaml`, both of its directory.
    File(PathBuf),
    /// None, and no user's file either.
    Off,
}

impl Discovery {
    /// What three options mean, of which at most one may say something: whether files are read at all, where
    /// the search upward begins, and the only project file.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for `discovery` or `config_file` when they contradict each other.
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

/// The project files of a discovery, the one with less weight first.
///
/// # Errors
/// [`Error::InvalidArgument`] when a named file is missing or no file; [`Error::UnresolvablePath`] when the
/// start directory is; [`Error::Io`].
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
            // There are no files above a directory that is gone; who needs the directory itself will say so.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        },
    }
}

fn upward(start: &Path) -> Result<Vec<PathBuf>> {
    for directory in start.ancestors() {
        let found = both(directory)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

/// Those of the two files a directory has, whatever they are: one that cannot be read must not be passed
/// over.
fn both(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for name in [PROJECT_FILE, PRIVATE_FILE] {
        let path = directory.join(name);
        match fs::symlink_metadata(&path) {
            Ok(_) => found.push(path),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(unreadable(&path, &error)),
        }
    }
    Ok(found)
}

/// A file the caller named, or both of its directory if it has one of their names; `argument` is named in the
/// error.
pub(super) fn named(argument: &'static str, file: &Path) -> Result<Vec<PathBuf>> {
    check_named(argument, file)?;
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |source| Error::io_of(Some(argument), "resolve", parent, source);
    let directory = parent.canonicalize().map_err(failed)?;
    match file.file_name() {
        Some(name) if name == PROJECT_FILE || name == PRIVATE_FILE => both(&directory),
        Some(name) => Ok(vec![directory.join(name)]),
        None => Err(Error::invalid(argument, format!("'{}' is not a file", file.display()))),
    }
}

/// Refuses a file that is missing or is something else.
pub(crate) fn check_named(argument: &'static str, file: &Path) -> Result<()> {
    match fs::metadata(file) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(Error::invalid(argument, format!("'{}' is not a file", file.display()))),
        Err(error) if is_absent(&error) => {
            Err(Error::invalid(argument, format!("Configuration file not found: '{}'", file.display())))
        }
        // A NUL in the name.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            Err(Error::invalid(argument, error.to_string()))
        }
        Err(source) => Err(Error::io_of(Some(argument), "read", file, source)),
    }
}

/// The user's file of a data directory, if there is one.
///
/// What keeps it from being looked for keeps the database from being opened, which will say so.
pub(super) fn of_user(data_dir: &Path) -> Option<PathBuf> {
    let path = data_dir.join(USER_FILE);
    fs::symlink_metadata(&path).is_ok().then_some(path)
}

/// What a file says.
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

/// Everything wrong with one configuration file: nothing if it is valid.
///
/// A file called `config.yaml` is judged as a user's file, any other as a project file. No other file, no
/// variable and no database is looked at.
///
/// # Errors
/// [`Error::InvalidArgument`] when it is missing or no file, [`Error::Io`] when it cannot be read.
pub fn validate(path: &Path) -> Result<Vec<Problem>> {
    check_named("file", path)?;
    let text = contents(path).map_err(|source| Error::io_of(Some("file"), "read", path, source))?;
    Ok(read(path, kind_of(path), text).1)
}

/// Judges a text as [`validate`] would judge a file of this name that has it.
///
/// # Errors
/// [`Error::Config`] for the first problem.
pub(crate) fn check(path: &Path, text: &str) -> Result<()> {
    accept(&read(path, kind_of(path), Ok(text.to_owned())).1)
}

/// The text of a file that is to be edited; empty if there is none.
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

/// The text of a file, or why it has none.
fn contents(path: &Path) -> io::Result<Result<String, &'static str>> {
    // A pipe would wait for ever and a device never end.
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

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
