//! The seam to time.

use ledger::types::Time;

/// Tells the time.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> Time;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Time {
        Time(chrono::Utc::now().timestamp_nanos_opt().unwrap_or(i64::MAX))
    }
}
