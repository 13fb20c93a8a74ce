//! The promises of tokenledger, one module a theme. Everything here goes over gRPC to a real server, or to its files.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test that fails says where")]

mod harness;

/// What is acknowledged is durable, once, and answered alike for ever.
mod append;
