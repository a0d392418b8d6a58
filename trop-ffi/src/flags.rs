//! Flags that more than one call takes. They use the upper 16 bits. A flag of a single call uses the lower 16
//! bits, has the name of its call and is defined beside it. Each call refuses the flags that it does not
//! take.

use std::borrow::Cow;

use trop_core::{Error, OccupancyPolicy, Registry, Result};

/// Do everything on a copy in memory: the result is the same, and nothing is changed.
pub const TROP_DRY_RUN: u32 = 1 << 16;
/// Override what would refuse the call; each call says what that is.
pub const TROP_FORCE: u32 = 1 << 17;
/// Include every path below the given one.
pub const TROP_RECURSIVE: u32 = 1 << 18;
/// Refuse a path that is neither the working directory nor above or below it.
pub const TROP_REFUSE_UNRELATED_PATH: u32 = 1 << 19;
/// Allow the stored project to be changed.
pub const TROP_ALLOW_PROJECT_CHANGE: u32 = 1 << 20;
/// Allow the stored task to be changed.
pub const TROP_ALLOW_TASK_CHANGE: u32 = 1 << 21;
/// Make no occupancy probe at all.
pub const TROP_SKIP_OCCUPANCY_CHECK: u32 = 1 << 22;
/// Make no TCP probe.
pub const TROP_SKIP_TCP: u32 = 1 << 23;
/// Make no UDP probe.
pub const TROP_SKIP_UDP: u32 = 1 << 24;
/// Make no IPv4 probe.
pub const TROP_SKIP_IPV4: u32 = 1 << 25;
/// Make no IPv6 probe.
pub const TROP_SKIP_IPV6: u32 = 1 << 26;
/// A socket on any address counts, not only one that keeps others from loopback: the default for leases.
pub const TROP_CHECK_ALL_INTERFACES: u32 = 1 << 27;
/// Only sockets that keep others from loopback count: the default for reservations.
pub const TROP_CHECK_LOOPBACK_ONLY: u32 = 1 << 28;

/// All flags that [`occupancy`] reads, for the calls that probe ports.
pub(crate) const OCCUPANCY: u32 = TROP_SKIP_OCCUPANCY_CHECK
    | TROP_SKIP_TCP
    | TROP_SKIP_UDP
    | TROP_SKIP_IPV4
    | TROP_SKIP_IPV6
    | TROP_CHECK_ALL_INTERFACES
    | TROP_CHECK_LOOPBACK_ONLY;

/// How to probe ports, as the flags say.
pub(crate) fn occupancy(flags: u32) -> Result<OccupancyPolicy> {
    let has = |flag| flags & flag != 0;
    let mut policy = OccupancyPolicy::default();
    policy.skip = has(TROP_SKIP_OCCUPANCY_CHECK);
    policy.skip_tcp = has(TROP_SKIP_TCP);
    policy.skip_udp = has(TROP_SKIP_UDP);
    policy.skip_ipv4 = has(TROP_SKIP_IPV4);
    policy.skip_ipv6 = has(TROP_SKIP_IPV6);
    policy.check_all_interfaces = match (has(TROP_CHECK_ALL_INTERFACES), has(TROP_CHECK_LOOPBACK_ONLY)) {
        (false, false) => None,
        (true, true) => {
            let reason =
                "TROP_CHECK_ALL_INTERFACES and TROP_CHECK_LOOPBACK_ONLY exclude each other".to_owned();
            return Err(Error::InvalidArgument { argument: "flags", reason });
        }
        (all, _) => Some(all),
    };
    Ok(policy)
}

/// The registry that a call works on: with `TROP_DRY_RUN` a copy in memory.
pub(crate) fn dry_run_if_asked(registry: &Registry, flags: u32) -> Result<Cow<'_, Registry>> {
    Ok(match flags & TROP_DRY_RUN {
        0 => Cow::Borrowed(registry),
        _ => Cow::Owned(registry.dry_run()?),
    })
}
