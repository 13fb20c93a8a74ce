//! Witnesses: others who cosign the checkpoints of this server's ledgers, and the small one that this program is itself.

mod before;
mod client;
mod courier;
mod policy;
pub mod server;

pub(crate) use before::{Denial, Question, ask};
pub(crate) use courier::{Answered, Courier, Offer};
pub use policy::{PolicyError, WitnessAt, Witnesses};
