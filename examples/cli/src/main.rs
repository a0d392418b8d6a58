//! The trop command.
fn main() {}
