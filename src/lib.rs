//! The shell of tokenledger: everything that talks.

pub mod import;
pub mod json;
