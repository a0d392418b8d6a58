//! Link settings of the command.

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux")
        && var("CARGO_CFG_TARGET_ENV").as_deref() == Ok("gnu")
    {
        // The unwinder, built in: libgcc_s.so would be found, loaded and linked at every start.
        println!("cargo::rustc-link-lib=static:-bundle=gcc_eh");
    }
}
