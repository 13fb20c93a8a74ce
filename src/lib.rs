//! The shell of tokenledger: everything that talks. The law stands in the crate `ledger`; a module here knows only what
//! stands lower in this list (see `ARCHITECTURE.md`).

pub mod cli;
pub mod server;

pub mod import;
pub mod json;

pub mod wire;
