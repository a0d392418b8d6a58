//! The flags of more than one call. Each call says which it takes and refuses the others; those of one call alone are
//! named after it, stand beside it and use the lower 16 bits.

use std::borrow::Cow;

use trop_core::{OccupancyPolicy, Registry, Result};

/// Do everything on a copy in memory: the result is what the call would return, and nothing is changed.
pub const TROP_DRY_RUN: u32 = 1 << 16;
/// Do it whatever speaks against it; what that is says each call.
pub const TROP_FORCE: u32 = 1 << 17;
/// Everything below the path too.
pub const TROP_RECURSIVE: u32 = 1 << 18;
/// Refuse a path that is neither the working directory nor above or below it.
pub const TROP_REFUSE_UNRELATED_PATH: u32 = 1 << 19;
/// The stored project may be changed.
pub const TROP_ALLOW_PROJECT_CHANGE: u32 = 1 << 20;
/// The stored task may be changed.
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
/// Probe the wildcard addresses too, not only loopback.
pub const TROP_CHECK_ALL_INTERFACES: u32 = 1 << 27;

/// The six that [`occupancy`] reads.
pub(crate) const OCCUPANCY: u32 = TROP_SKIP_OCCUPANCY_CHECK
    | TROP_SKIP_TCP
    | TROP_SKIP_UDP
    | TROP_SKIP_IPV4
    | TROP_SKIP_IPV6
    | TROP_CHECK_ALL_INTERFACES;

pub(crate) fn occupancy(flags: u32) -> OccupancyPolicy {
    let has = |flag| flags & flag != 0;
    let mut policy = OccupancyPolicy::default();
    policy.skip = has(TROP_SKIP_OCCUPANCY_CHECK);
    policy.skip_tcp = has(TROP_SKIP_TCP);
    policy.skip_udp = has(TROP_SKIP_UDP);
    policy.skip_ipv4 = has(TROP_SKIP_IPV4);
    policy.skip_ipv6 = has(TROP_SKIP_IPV6);
    policy.check_all_interfaces = has(TROP_CHECK_ALL_INTERFACES);
    policy
}

/// The registry to change: a copy in memory for a dry run.
pub(crate) fn stage(registry: &Registry, flags: u32) -> Result<Cow<'_, Registry>> {
    Ok(match flags & TROP_DRY_RUN {
        0 => Cow::Borrowed(registry),
        _ => Cow::Owned(registry.dry_run()?),
    })
}
