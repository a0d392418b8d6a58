//! The native half of the npm package `trop`: results and errors as plain data for `index.js`.
//!
//! A failed call does not throw. It answers with a [`Failure`](results::Failure), of which `index.js` makes
//! an exception of its own realm. `index.js` has checked the types of all arguments.

#![allow(
    clippy::must_use_candidate,
    clippy::needless_pass_by_value,
    reason = "the callers are JavaScript, their arguments owned"
)]

pub mod call;
pub mod lease;
pub mod operations;
pub mod results;
pub mod switches;

use std::path::PathBuf;
use std::time::Duration;

use napi::bindgen_prelude::External;
use napi_derive::napi;
use trop_core::{Discovery, Port, PortRange, Registry, RegistryOptions, contain, validate};

use call::{Answer, Handle, Returned, answer, run, run_on};
use results::ProblemFields;
use switches::Switches;

/// A registry whose database is not opened yet. `busy_timeout` is in milliseconds, `excluded` a comma list of
/// ports and ranges.
#[napi]
#[allow(clippy::too_many_arguments, reason = "one for each value")]
pub fn open(
    data_dir: Option<String>,
    create: Option<bool>,
    busy_timeout: Option<i64>,
    ports: Option<(i64, i64)>,
    excluded: Option<String>,
    avoid_unsafe_ports: Option<bool>,
    discovery: Option<bool>,
    start_dir: Option<String>,
    config_file: Option<String>,
    variables: Option<bool>,
    check_all_interfaces: Option<bool>,
    switches: u32,
) -> Answer<External<Registry>> {
    answer(contain(|| {
        let mut options = RegistryOptions::default();
        options.data_dir = data_dir.map(PathBuf::from);
        options.create = create.unwrap_or(options.create);
        // `index.js` lets no negative number through.
        options.busy_timeout = busy_timeout.map(|number| Duration::from_millis(number.unsigned_abs()));
        if let Some((min, max)) = ports {
            let (min, max) = (Port::new("ports", min)?, Port::new("ports", max)?);
            options.ports = Some(PortRange::new("ports", min, max)?);
        }
        if let Some(list) = excluded {
            options.excluded.insert_list("excluded", &list)?;
        }
        options.avoid_unsafe_ports = avoid_unsafe_ports;
        let (start_dir, config_file) = (start_dir.map(PathBuf::from), config_file.map(PathBuf::from));
        options.discovery = Discovery::new(discovery.unwrap_or(true), start_dir, config_file)?;
        options.variables = variables.unwrap_or(options.variables);
        options.occupancy = Switches(switches).occupancy(check_all_interfaces);
        Registry::open_lazily(options).map(External::new)
    }))
}

/// Opens the database of a registry.
#[napi]
pub fn connect(handle: Handle, directory: Option<String>, later: bool) -> Returned<bool> {
    run_on((handle, directory), later, false, || Ok(|registry: &Registry| registry.connect().map(|()| true)))
}

/// Closes a registry.
#[napi]
pub fn close(handle: &External<Registry>) -> Answer<bool> {
    answer(contain(|| {
        handle.close();
        Ok(true)
    }))
}

/// The data directory of a registry.
#[napi]
pub fn data_dir(handle: &External<Registry>) -> String {
    handle.data_dir().to_string_lossy().into_owned()
}

/// Everything wrong with a configuration file.
#[napi]
pub fn validate_config(later: bool, file: String) -> Returned<Vec<ProblemFields>> {
    run(later, || {
        let file = PathBuf::from(file);
        // A path that cannot be made absolute is then not found, which is the error to report.
        let file = std::path::absolute(&file).unwrap_or(file);
        Ok(move || Ok(validate(&file)?.into_iter().map(ProblemFields::from).collect::<Vec<_>>()))
    })
}
