//! The switches of the occupancy check, shared by the commands that look whether a port is in use.

use clap::Args;
use trop_core::OccupancyPolicy;

#[derive(Args)]
#[command(next_help_heading = "Occupancy check")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct Occupancy {
    /// Do not look whether a program uses a port
    #[arg(long)]
    skip_occupancy_check: bool,

    /// Do not look at TCP
    #[arg(long)]
    skip_tcp: bool,

    /// Do not look at UDP
    #[arg(long)]
    skip_udp: bool,

    /// Do not look at IPv4 addresses
    #[arg(long)]
    skip_ipv4: bool,

    /// Do not look at IPv6 addresses
    #[arg(long)]
    skip_ipv6: bool,

    /// Look at all addresses of this machine, not only at loopback
    #[arg(long)]
    check_all_interfaces: bool,
}

impl Occupancy {
    pub(crate) fn policy(&self) -> OccupancyPolicy {
        let mut policy = OccupancyPolicy::default();
        policy.skip = self.skip_occupancy_check;
        policy.skip_tcp = self.skip_tcp;
        policy.skip_udp = self.skip_udp;
        policy.skip_ipv4 = self.skip_ipv4;
        policy.skip_ipv6 = self.skip_ipv6;
        policy.check_all_interfaces = self.check_all_interfaces;
        policy
    }
}
