//! What can be done with a registry: methods of `Registry`, and the functions of the module.

mod leases;
mod lookup;
mod maintenance;
mod reserve;

pub(crate) use maintenance::validate_config;
