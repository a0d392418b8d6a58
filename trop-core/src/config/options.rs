//! How a registry is opened.

use std::path::PathBuf;
use std::time::Duration;

use super::files::Discovery;
use super::setting::Uses;
use crate::machine::OccupancyPolicy;
use crate::model::{Port, PortRange, PortSet};

/// How to open a registry. All fields have defaults.
///
/// Values given here override environment variables, and these override files; see
/// [`Configuration`](crate::Configuration).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RegistryOptions {
    /// The data directory; none means that of [`data_dir`](crate::data_dir).
    pub data_dir: Option<PathBuf>,
    /// Whether a missing data directory or database is created, unless the configuration forbids it; true by
    /// default.
    pub create: bool,
    /// How long to wait for other processes and threads that use the database, 0 fails at once; none means
    /// the configured wait, 5 seconds by default.
    pub busy_timeout: Option<Duration>,
    /// The ports to choose from, for reservations and for leases; none means the configured ranges,
    /// [`PortRange::RESERVATIONS`] and [`PortRange::LEASES`] by default.
    pub ports: Option<PortRange>,
    /// Replaces the lower end of both ranges. One end alone that does not fit the range of leases is an error
    /// when a lease is asked for.
    pub min: Option<Port>,
    /// Replaces the upper end of both ranges.
    pub max: Option<Port>,
    /// Ports never to choose, besides those the configuration excludes.
    pub excluded: PortSet,
    /// Whether no search chooses a port that web clients refuse to connect to; none means what is configured,
    /// true by default.
    pub avoid_unsafe_ports: Option<bool>,
    /// Occupancy switches to turn on, in addition to those that the configuration turns on.
    pub occupancy: OccupancyPolicy,
    /// Which configuration files apply.
    pub discovery: Discovery,
    /// Whether environment variables are part of the configuration; true by default. `TROP_DATA_DIR` always
    /// is.
    pub variables: bool,
    /// Which settings the registry is going to use; all by default.
    pub uses: Uses,
    /// The word for the values given here in messages: `argument` by default.
    pub origin: &'static str,
}

impl Default for RegistryOptions {
    fn default() -> RegistryOptions {
        RegistryOptions {
            data_dir: None,
            create: true,
            busy_timeout: None,
            ports: None,
            min: None,
            max: None,
            excluded: PortSet::default(),
            avoid_unsafe_ports: None,
            occupancy: OccupancyPolicy::default(),
            discovery: Discovery::default(),
            variables: true,
            uses: Uses::ALL,
            origin: "argument",
        }
    }
}
