//! Environment variables as a source of settings.

use std::env;

use super::layer::{Layer, Origin, OutputFormat, Sourced, Upper};
use super::schema::{MAX_LOCK_WAIT, plain_reason};
use super::setting::{PROBES, SWITCHES, Setting, Uses};
use crate::model::{Error, Port, PortSet, Result, trimmed};

/// How much a program is to say beside its results.
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
    /// What `TROP_LOG_MODE` says; anything unknown is ignored.
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

/// What the variables of the used settings say.
///
/// # Errors
/// [`Error::Config`] that names the first malformed variable.
pub(super) fn read(uses: Uses) -> Result<Layer> {
    let mut layer = Layer::default();
    let text = |setting| variable(uses, setting);
    layer.project = text(Setting::Project)?.map(to_identifier).transpose()?;
    layer.task = text(Setting::Task)?.map(to_identifier).transpose()?;
    layer.min = text(Setting::PortMin)?.map(|given| given.convert(to_port)).transpose()?;
    let max = text(Setting::PortMax)?.map(|given| given.convert(|text| to_port(text).map(Upper::Max)));
    let offset = text(Setting::PortMaxOffset)?
        .map(|given| given.convert(|text| to_number(text, 1, 65534).map(Upper::Offset)));
    layer.upper = match (max.transpose()?, offset.transpose()?) {
        (_, Some(offset)) => Some(offset),
        (max, None) => max,
    };
    if let Some(given) = text(Setting::ExcludedPorts)? {
        layer.excluded = given.convert(to_set)?.value;
    }
    layer.expire_after_days = text(Setting::ExpireAfterDays)?
        .map(|given| given.convert(|text| to_number(text, 1, u32::MAX.into())))
        .transpose()?;
    layer.busy_timeout = text(Setting::BusyTimeout)?.map(|given| given.convert(to_lock_wait)).transpose()?;
    layer.output_format = text(Setting::OutputFormat)?.map(|given| given.convert(to_format)).transpose()?;
    for setting in SWITCHES.into_iter().chain(PROBES.map(|(_, setting)| setting)) {
        if let Some(given) = text(setting)? {
            layer.switches.insert(setting, given.convert(to_boolean)?);
        }
    }
    Ok(layer)
}

/// The text of a variable that is set.
struct Given {
    setting: Setting,
    variable: &'static str,
    text: String,
}

impl Given {
    fn convert<T>(self, convert: impl FnOnce(&str) -> Result<T, String>) -> Result<Sourced<T>> {
        match convert(&self.text) {
            Ok(value) => Ok(Sourced { value, origin: Origin::Variable(self.variable) }),
            Err(reason) => Err(malformed(self.setting, self.variable, &reason)),
        }
    }
}

/// The first variable of a setting that is set; none if the setting is not used.
fn variable(uses: Uses, setting: Setting) -> Result<Option<Given>> {
    if !uses.include(setting) {
        return Ok(None);
    }
    for variable in setting.variables() {
        if let Some(text) = env::var_os(variable) {
            let text =
                text.into_string().map_err(|_| malformed(setting, variable, "it is not valid UTF-8"))?;
            return Ok(Some(Given { setting, variable, text }));
        }
    }
    Ok(None)
}

fn malformed(setting: Setting, variable: &str, reason: &str) -> Error {
    Error::Config { setting: setting.name(), reason: format!("variable {variable}: {reason}") }
}

fn to_identifier(given: Given) -> Result<Sourced<String>> {
    given.convert(|text| trimmed(text).map(str::to_owned))
}

fn to_port(text: &str) -> Result<Port, String> {
    Port::parse("ports", text).map_err(plain_reason)
}

fn to_number<T: TryFrom<u64>>(text: &str, min: u64, max: u64) -> Result<T, String> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|number| digits && (min..=max).contains(number))
        .and_then(|number| T::try_from(number).ok())
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

fn to_set(text: &str) -> Result<PortSet, String> {
    text.parse().map_err(plain_reason)
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
