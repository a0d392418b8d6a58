//! The C interface of trop. The conventions at the top of the header (in `cbindgen.toml`) tell callers what
//! they must do; they are the safety contract of every function here.
#![allow(unsafe_code)]
#![allow(non_camel_case_types, reason = "the names are those of the header")]
#![allow(clippy::missing_safety_doc, reason = "the header's conventions are the safety contract")]
#![allow(clippy::doc_markdown, reason = "the documentation is that of the header")]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic))]

pub mod abi;
mod arguments;
pub mod clean;
pub mod error;
pub mod flags;
pub mod group;
pub mod lease;
pub mod lookup;
mod options;
pub mod registry;
pub mod reservation;
pub mod reserve;
pub mod strings;
pub mod version;

#[cfg(test)]
mod tests;
