//! Environment variables as a source of settings.

use std::env;
use std::ffi::OsString;

use super::layer::{Layer, Origin, OutputFormat, Value};
use super::reader::plain_reason;
use super::setting::{Kind, MAX_LOCK_WAIT, Setting, Uses};
use crate::model::{Error, Port, Result, trimmed};

/// How much a program reports besides its results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogMode {
    /// Failures only.
    Quiet,
    /// Notes and warnings too.
    #[default]
    Normal,
    /// Details too.
    Verbose,
}

impl LogMode {
    /// The mode that `TROP_LOG_MODE` names, in any case; [`LogMode::Normal`] if it is unset or unknown.
    #[must_use]
    pub fn from_environment() -> LogMode {
        let [name, ..] = Setting::LogMode.variables() else { return LogMode::Normal };
        match env::var(name).unwrap_or_default().to_ascii_lowercase().as_str() {
            "quiet" => LogMode::Quiet,
            "verbose" => LogMode::Verbose,
            _ => LogMode::Normal,
        }
    }
}

/// Reads the environment variables of the settings in `uses`.
///
/// # Errors
/// [`Error::Config`] that names the first malformed variable.
pub(super) fn read(uses: Uses) -> Result<Layer> {
    let mut layer = Layer::default();
    for setting in Setting::ALL.into_iter().filter(|setting| uses.include(*setting)) {
        let Some((variable, text)) = variable(setting) else { continue };
        let value = text
            .into_string()
            .map_err(|_| "it is not valid UTF-8".to_owned())
            .and_then(|text| parse(setting.kind(), &text));
        match value {
            // Later settings override earlier ones, so `TROP_PORT_MAX_OFFSET` overrides `TROP_PORT_MAX`.
            Ok(value) => layer.set(setting, value, Origin::Variable(variable)),
            Err(reason) => {
                let reason = format!("variable {variable}: {reason}");
                return Err(Error::Config { setting: setting.name(), reason });
            }
        }
    }
    Ok(layer)
}

/// The first variable of a setting that is set, and its text.
fn variable(setting: Setting) -> Option<(&'static str, OsString)> {
    setting.variables().iter().find_map(|name| Some((*name, env::var_os(name)?)))
}

/// Parses the text of a variable. The error says why it is not a valid value.
fn parse(kind: Kind, text: &str) -> Result<Value, String> {
    match kind {
        Kind::Switch => to_boolean(text).map(Value::Switch),
        Kind::Identifier => trimmed(text).map(|text| Value::Text(text.to_owned())),
        Kind::Port => Port::parse("ports", text).map(Value::Port).map_err(plain_reason),
        Kind::Number { min, max } => to_number(text, min, max).map(Value::Number),
        Kind::LockWait => to_lock_wait(text).map(Value::Number),
        Kind::Ports => text.parse().map(Value::Ports).map_err(plain_reason),
        Kind::OutputFormat => to_format(text).map(Value::OutputFormat),
        Kind::Group | Kind::Elsewhere => Err("it cannot be set by a variable".to_owned()),
    }
}

fn to_number(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (min..=max).contains(number))
        .ok_or_else(|| format!("must be a whole number from {min} to {max}"))
}

fn to_lock_wait(text: &str) -> Result<u64, String> {
    let above = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && text.parse::<u64>().map_or(true, |seconds| seconds > MAX_LOCK_WAIT);
    if above {
        return Err(format!("must not exceed {MAX_LOCK_WAIT}"));
    }
    to_number(text, 0, MAX_LOCK_WAIT)
}

fn to_format(text: &str) -> Result<OutputFormat, String> {
    OutputFormat::parse(&text.to_ascii_lowercase()).ok_or_else(|| format!("must be {}", OutputFormat::NAMES))
}

fn to_boolean(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("must be true, 1, yes or on, or false, 0, no or off".to_owned()),
    }
}
