//! The shell of tokenledger: everything that talks. The law stands in the crate `ledger`; a module here knows only what
//! stands lower in this list (see `ARCHITECTURE.md`).

pub mod bench;
pub mod cli;
pub mod server;

pub mod import;
pub mod json;

pub mod clock;
pub mod follower;
pub mod metrics;
pub mod projection;
pub mod reader;
pub mod restorer;
pub mod store;
pub mod wire;
pub mod writer;
