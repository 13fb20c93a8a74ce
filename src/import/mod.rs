//! Bringing the past in: CloudTrail's files and the product's own exports, delivered to a ledger in batches.
//!
//! Reading and delivering are apart. [`cloudtrail`] and [`ndjson`] turn files into events; a [`Target`] takes them, over
//! the network or, in tests, in memory. Nothing here decides what is true: the ledger may refuse any event, which is
//! then named as a [`Problem`] while the rest goes on.

pub mod cloudtrail;
mod delivery;
#[cfg(test)]
mod fake;
pub mod ndjson;
mod summary;

pub use delivery::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Outcome, Target};
pub use summary::{PROBLEMS_MAX, Problem, Problems, Summary};

/// How far an import has come, for a progress bar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Files read so far, and how many there are.
    Reading {
        /// Files read.
        files: u64,
        /// Files in all.
        of: u64,
    },
    /// Events delivered so far, and how many there are, where that is known.
    Delivering {
        /// Events delivered.
        events: u64,
        /// Events in all.
        of: Option<u64>,
    },
}

/// Where progress is shown. Called often; must return at once.
pub type Show<'a> = &'a mut (dyn FnMut(Progress) + Send);
