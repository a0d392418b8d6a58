//! Link settings of the shared library.

#[path = "src/abi.rs"]
#[allow(unreachable_pub, reason = "public in the library")]
mod abi;
use abi::TROP_ABI_VERSION;

fn main() {
    println!("cargo::rerun-if-changed=src/abi.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    match system.as_str() {
        "linux" | "android" | "freebsd" | "netbsd" | "openbsd" => {
            println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libtrop.so.{TROP_ABI_VERSION}");
            // Handlers that run around fork stay registered: the code must not be unloaded under them.
            println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
        }
        "macos" => {
            let name = format!("@rpath/libtrop.{TROP_ABI_VERSION}.dylib");
            println!("cargo::rustc-cdylib-link-arg=-Wl,-install_name,{name}");
        }
        _ => {}
    }
}
