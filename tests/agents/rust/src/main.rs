//! The Rust agent.
fn main() {}
