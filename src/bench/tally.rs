//! What became of a load.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Events acknowledged, and how long that took.
#[derive(Debug)]
pub(super) struct Tally {
    /// Events acknowledged.
    pub(super) events: u64,
    /// From the first request to the last acknowledgement.
    pub(super) elapsed: Duration,
    /// Of requests, in nanoseconds.
    pub(super) latencies: Histogram<u64>,
    /// Events that the server was too busy for.
    pub(super) busy: u64,
    /// Requests that had to wait until fewer were in flight.
    pub(super) held_back: u64,
}

impl Default for Tally {
    fn default() -> Self {
        // One nanosecond to one minute in three digits: bounds that the histogram always takes.
        #[expect(clippy::unwrap_used, reason = "the bounds are constants")]
        let latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        Self { events: 0, elapsed: Duration::ZERO, latencies, busy: 0, held_back: 0 }
    }
}

impl Tally {
    /// Events a second.
    pub(super) fn events_per_s(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.events as f64 / self.elapsed.as_secs_f64() }
    }

    /// A request of so many events was answered, which should have been sent at `since`.
    pub(super) fn acknowledge(&mut self, events: u64, since: Instant) {
        self.acknowledged(events, since.elapsed());
    }

    /// A request of so many events was answered after `latency`.
    pub(super) fn acknowledged(&mut self, events: u64, latency: Duration) {
        self.events += events;
        self.latencies.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes in another.
    pub(super) fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.busy += other.busy;
        self.held_back += other.held_back;
        self.elapsed = self.elapsed.max(other.elapsed);
        // Both have the same bounds, so that nothing can fall out.
        let _ = self.latencies.add(&other.latencies);
    }

    /// A quantile of the latencies, in microseconds.
    pub(super) fn micros(&self, quantile: f64) -> f64 {
        super::rounded(self.latencies.value_at_quantile(quantile) as f64 / 1e3)
    }
}
