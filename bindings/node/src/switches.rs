//! Options that are switches, as bits of one number. The bits are defined only here: `index.js` finds that of
//! the option `skipTcp` as `SKIP_TCP`.

#![allow(missing_docs, reason = "they are the core's options")]

use napi_derive::napi;
use trop_core::OccupancyPolicy;

#[napi]
pub const SKIP_OCCUPANCY_CHECK: u32 = 1;
#[napi]
pub const SKIP_TCP: u32 = 1 << 1;
#[napi]
pub const SKIP_UDP: u32 = 1 << 2;
#[napi]
pub const SKIP_IPV4: u32 = 1 << 3;
#[napi]
pub const SKIP_IPV6: u32 = 1 << 4;
#[napi]
pub const DRY_RUN: u32 = 1 << 5;
#[napi]
pub const ALLOW_UNRELATED_PATH: u32 = 1 << 6;
#[napi]
pub const CLEAR_PROJECT: u32 = 1 << 7;
#[napi]
pub const CLEAR_TASK: u32 = 1 << 8;
#[napi]
pub const OVERWRITE: u32 = 1 << 9;
#[napi]
pub const IGNORE_OCCUPIED: u32 = 1 << 10;
#[napi]
pub const IGNORE_EXCLUSIONS: u32 = 1 << 11;
#[napi]
pub const ALLOW_PROJECT_CHANGE: u32 = 1 << 12;
#[napi]
pub const ALLOW_TASK_CHANGE: u32 = 1 << 13;
#[napi]
pub const FORCE: u32 = 1 << 14;
#[napi]
pub const DISABLE_AUTOPRUNE: u32 = 1 << 15;
#[napi]
pub const DISABLE_AUTOEXPIRE: u32 = 1 << 16;
#[napi]
pub const UNTAGGED_ONLY: u32 = 1 << 17;
#[napi]
pub const RECURSIVE: u32 = 1 << 18;
#[napi]
pub const CONTIGUOUS: u32 = 1 << 19;
#[napi]
pub const HOLD: u32 = 1 << 20;

/// The switches of a call.
#[derive(Clone, Copy)]
pub struct Switches(pub u32);

impl Switches {
    /// Whether the call must change nothing.
    pub fn dry_run(self) -> bool {
        self.has(DRY_RUN)
    }

    /// Whether one of them is on.
    pub fn has(self, switch: u32) -> bool {
        self.0 & switch != 0
    }

    /// Those of the occupancy check, and its one option that is no switch.
    pub fn occupancy(self, check_all_interfaces: Option<bool>) -> OccupancyPolicy {
        let mut policy = OccupancyPolicy::default();
        policy.skip = self.has(SKIP_OCCUPANCY_CHECK);
        policy.skip_tcp = self.has(SKIP_TCP);
        policy.skip_udp = self.has(SKIP_UDP);
        policy.skip_ipv4 = self.has(SKIP_IPV4);
        policy.skip_ipv6 = self.has(SKIP_IPV6);
        policy.check_all_interfaces = check_all_interfaces;
        policy
    }
}
