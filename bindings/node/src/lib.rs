//! The Node module.
