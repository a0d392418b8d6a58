//! Python values as arguments of the core.
//!
//! A value the core cannot take is a typed error that names its argument, also where Python itself would
//! complain first: about an integer too large for C, or text that has no encoding. A value of another type is
//! a `TypeError`.

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError};
use pyo3::prelude::*;
use pyo3::types::PyString;
use trop_core::{
    Discovery, Error, Field, GroupKey, Lease, OccupancyPolicy, Port, PortRange, PortSet, Protocol, Result,
    Tag,
};

use crate::errors::exception;

/// An argument as the caller passed it; `None` if it was left out.
pub(crate) type Given<'a, 'py> = Option<&'a Bound<'py, PyAny>>;

pub(crate) fn path(argument: &'static str, given: Given<'_, '_>) -> PyResult<Option<PathBuf>> {
    given.map(|value| required_path(argument, value)).transpose()
}

/// A path that must be given.
pub(crate) fn required_path(argument: &'static str, given: &Bound<'_, PyAny>) -> PyResult<PathBuf> {
    // ASCII is the same in every file system encoding.
    if let Ok(text) = given.cast::<PyString>()
        && let Ok(text) = text.to_str()
        && text.is_ascii()
    {
        return Ok(PathBuf::from(text));
    }
    extract(argument, given, "a path that the file system encoding can express")
}

pub(crate) fn tag(given: Given<'_, '_>) -> PyResult<Option<Tag>> {
    given.map(|value| checked(value.py(), Tag::new(&utf8("tag", value)?))).transpose()
}

pub(crate) fn port(argument: &'static str, given: Given<'_, '_>) -> PyResult<Option<Port>> {
    given.map(|value| required_port(argument, value)).transpose()
}

/// A pair of ports, the lowest and the highest, as a tuple or another sequence.
pub(crate) fn ports(given: &Bound<'_, PyAny>) -> PyResult<PortRange> {
    let ends: Vec<Bound<'_, PyAny>> = extract("ports", given, "a pair of ports")?;
    let [min, max] = ends.as_slice() else {
        return Err(invalid(given.py(), "ports", "must be a pair of ports (min, max)"));
    };
    let (min, max) = (required_port("ports", min)?, required_port("ports", max)?);
    checked(given.py(), PortRange::new("ports", min, max))
}

/// An iterable of ports and of lists as text (`5001, 5005..5009`), or one such text.
pub(crate) fn excluded(given: &Bound<'_, PyAny>) -> PyResult<PortSet> {
    let mut set = PortSet::default();
    let mut insert = |entry: &Bound<'_, PyAny>| {
        if entry.is_instance_of::<PyString>() {
            checked(entry.py(), set.insert_list("excluded", &utf8("excluded", entry)?))
        } else {
            required_port("excluded", entry).map(|port| set.insert(port))
        }
    };
    if given.is_instance_of::<PyString>() {
        insert(given)?;
    } else {
        for entry in given.try_iter().map_err(|error| named(given.py(), "excluded", error))? {
            insert(&entry?)?;
        }
    }
    Ok(set)
}

/// A length of time in seconds.
pub(crate) fn seconds(argument: &'static str, given: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let accepted = "a number of seconds from 0 to 2147483";
    let seconds: f64 = extract(argument, given, accepted)?;
    Duration::try_from_secs_f64(seconds)
        .map_err(|_| invalid(given.py(), argument, &format!("{seconds:?} is not {accepted}")))
}

/// A number of days; 0 is refused by the core.
pub(crate) fn days(given: Given<'_, '_>) -> PyResult<Option<u32>> {
    given.map(|value| number("days", value, "a number of days (1 to 4294967295)")).transpose()
}

/// A number of ports; the core checks its limits.
pub(crate) fn count(given: &Bound<'_, PyAny>) -> PyResult<u32> {
    number("count", given, "a number of ports (1 to 65535)")
}

/// How many connections may wait to be accepted.
pub(crate) fn backlog(given: Given<'_, '_>) -> PyResult<i32> {
    given.map_or(Ok(Lease::BACKLOG), |value| {
        number("backlog", value, "a number of connections (0 to 2147483647)")
    })
}

/// How long to wait for a listener.
pub(crate) fn timeout(given: Given<'_, '_>) -> PyResult<Duration> {
    given.map_or(Ok(Lease::WAIT), |value| seconds("timeout", value))
}

/// The address or name to listen on.
pub(crate) fn host<'a>(given: Given<'a, '_>) -> PyResult<Cow<'a, str>> {
    given.map_or(Ok(Cow::Borrowed(Lease::HOST)), |value| utf8("host", value))
}

pub(crate) fn protocol(given: Given<'_, '_>) -> PyResult<Protocol> {
    let Some(value) = given else { return Ok(Protocol::Tcp) };
    match &*utf8("protocol", value)? {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        _ => Err(invalid(value.py(), "protocol", "must be \"tcp\" or \"udp\"")),
    }
}

pub(crate) fn text(argument: &'static str, given: Given<'_, '_>) -> PyResult<Option<String>> {
    given.map(|value| Ok(utf8(argument, value)?.into_owned())).transpose()
}

/// What a call does to the stored project or task. `clear` is the name of the switch that removes it, and
/// `is_cleared` whether it was set.
pub(crate) fn field(
    py: Python<'_>,
    argument: &'static str,
    given: Given<'_, '_>,
    clear: &'static str,
    is_cleared: bool,
) -> PyResult<Field> {
    checked(py, Field::new(clear, text(argument, given)?, is_cleared))
}

pub(crate) fn group_key(given: Given<'_, '_>) -> PyResult<GroupKey> {
    let Some(value) = given else { return Ok(GroupKey::Tag) };
    match &*utf8("by", value)? {
        "tag" => Ok(GroupKey::Tag),
        "variable" => Ok(GroupKey::Variable),
        _ => Err(invalid(value.py(), "by", "must be \"tag\" or \"variable\"")),
    }
}

/// Which configuration files are read.
pub(crate) fn discovery(
    py: Python<'_>,
    is_on: bool,
    start_dir: Given<'_, '_>,
    config_file: Given<'_, '_>,
) -> PyResult<Discovery> {
    let (start_dir, config_file) = (path("start_dir", start_dir)?, path("config_file", config_file)?);
    checked(py, Discovery::new(is_on, start_dir, config_file))
}

/// The options of the occupancy check, in the order of the keywords.
pub(crate) fn occupancy(switches: [bool; 5], check_all_interfaces: Option<bool>) -> OccupancyPolicy {
    let mut policy = OccupancyPolicy::default();
    [policy.skip, policy.skip_tcp, policy.skip_udp, policy.skip_ipv4, policy.skip_ipv6] = switches;
    policy.check_all_interfaces = check_all_interfaces;
    policy
}

pub(crate) fn required_port(argument: &'static str, value: &Bound<'_, PyAny>) -> PyResult<Port> {
    let number: i64 = extract(argument, value, "a port number (1 to 65535)")?;
    checked(value.py(), Port::new(argument, number))
}

fn number<T: TryFrom<i64>>(argument: &'static str, value: &Bound<'_, PyAny>, accepted: &str) -> PyResult<T> {
    let number: i64 = extract(argument, value, accepted)?;
    T::try_from(number).map_err(|_| invalid(value.py(), argument, &format!("{number} is not {accepted}")))
}

fn utf8<'a>(argument: &'static str, value: &'a Bound<'_, PyAny>) -> PyResult<Cow<'a, str>> {
    extract(argument, value, "text that UTF-8 can express")
}

fn extract<'a, 'py, T>(argument: &'static str, value: &'a Bound<'py, PyAny>, accepted: &str) -> PyResult<T>
where
    T: FromPyObject<'a, 'py>,
{
    let py = value.py();
    value.extract().map_err(|error: T::Error| {
        let error: PyErr = error.into();
        if error.is_instance_of::<PyOverflowError>(py) || error.is_instance_of::<PyUnicodeEncodeError>(py) {
            return invalid(py, argument, &format!("it is not {accepted}"));
        }
        named(py, argument, error)
    })
}

/// Adds the argument's name to a `TypeError`.
fn named(py: Python<'_>, argument: &str, error: PyErr) -> PyErr {
    if error.is_instance_of::<PyTypeError>(py) {
        return PyTypeError::new_err(format!("argument '{argument}': {}", error.value(py)));
    }
    error
}

fn checked<T>(py: Python<'_>, result: Result<T>) -> PyResult<T> {
    result.map_err(|error| exception(py, &error))
}

fn invalid(py: Python<'_>, argument: &'static str, reason: &str) -> PyErr {
    exception(py, &Error::InvalidArgument { argument, reason: reason.to_owned() })
}
