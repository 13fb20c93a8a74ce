//! The law of tokenledger: what an event is, how it is chained and stored, what follows from it.
//!
//! This crate has no network, no async, no clock and no randomness: time and identifiers arrive as inputs, so the
//! same input gives the same bytes, the same links and the same answers.

pub mod disk;
pub mod entry;
pub mod inspect;
pub mod log;
pub mod types;
pub mod verify;
