//! The shell of tokenledger: everything that talks. The law stands in the crate `ledger`; a module here knows only what
//! stands lower in this list (see `ARCHITECTURE.md`).

pub mod bench;
pub mod cli;

pub mod audit;

pub mod server;

pub mod grpc;
pub mod http;

pub mod import;
pub mod json;

pub mod auth;
pub mod wire;

pub mod export;
pub mod scrub;

pub mod ledgers;

pub mod follower;
pub mod notary;
pub mod reader;
pub mod restorer;
pub mod writer;

pub mod witness;

pub mod projection;
pub mod store;

pub mod anchors;
pub mod clock;
pub mod keyfile;
pub mod lock;
pub mod metrics;
pub mod packer;
pub mod priority;
mod trees;
pub mod whole;
