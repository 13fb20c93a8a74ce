//! The shell of tokenledger: everything that talks.

pub mod json;
