//! Disks for tests: one in memory that can lose its power, and one that fails on request.
//!
//! For tests only. They are not behind `cfg(test)` because the tests of other crates use them too; the product never
//! does.

#[cfg(test)]
mod contract;
mod faulty;
mod memory;

pub use faulty::{Call, Failure, FaultyDisk};
pub use memory::{MemoryDisk, Pending};
