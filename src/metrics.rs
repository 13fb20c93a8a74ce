//! What an operator watches: counters and gauges in Prometheus' text form.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};

use ledger::entry::Record;
use ledger::log::{FRAME_BYTES, PackedTotals, Tail};
use ledger::sequencer::{Accepted, Refused};
use ledger::types::{LedgerName, Time};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByLedger {
    ledger: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByRule {
    ledger: String,
    reason: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByWitness {
    ledger: String,
    witness: String,
    reason: &'static str,
}

type Count = Family<ByLedger, Counter>;
type Level = Family<ByLedger, Gauge<i64, AtomicI64>>;

/// All metrics of a server.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    accepted: Count,
    repeated: Count,
    refused: Family<ByRule, Counter<u64, AtomicU64>>,
    entries: Count,
    bytes: Count,
    syncs: Count,
    position: Level,
    checkpoint: Level,
    unwitnessed: Level,
    witness_failures: Family<ByWitness, Counter>,
    packed: Level,
    packed_saved: Level,
    projected: Level,
    stopped: Level,
    rebuilds: Count,
    scrubbed: Level,
    scrubbed_bytes: Counter,
    scrub_damage: Level,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tokenledger");
        let count = |registry: &mut Registry, name: &str, help: &str| {
            let family = Count::default();
            registry.register(name, help, family.clone());
            family
        };
        let level = |registry: &mut Registry, name: &str, help: &str| {
            let family = Level::default();
            registry.register(name, help, family.clone());
            family
        };
        let refused = Family::default();
        registry.register("append_refused", "Events refused, by reason", refused.clone());
        let witness_failures = Family::default();
        let help = "Times that a witness did not cosign, by witness and reason";
        registry.register("witness_failures", help, witness_failures.clone());
        let scrubbed_bytes = Counter::default();
        let help = "Bytes of logs that the scrub has read again";
        registry.register("scrub_checked_bytes", help, scrubbed_bytes.clone());
        Self {
            accepted: count(&mut registry, "append_accepted", "Events accepted for the first time"),
            repeated: count(&mut registry, "append_repeated", "Events that were there already"),
            refused,
            entries: count(&mut registry, "log_entries", "Entries made durable"),
            bytes: count(&mut registry, "log_bytes", "Bytes of entries and frames made durable"),
            syncs: count(&mut registry, "log_syncs", "Groups made durable, each with one sync"),
            position: level(&mut registry, "log_next_position", "Position of the next entry"),
            checkpoint: level(&mut registry, "checkpoint_size", "Entries that the newest checkpoint covers"),
            unwitnessed: level(
                &mut registry,
                "checkpoint_unwitnessed",
                "1 where fewer witnesses than must have cosigned the checkpoint that they were offered last",
            ),
            witness_failures,
            packed: level(&mut registry, "log_packed_segments", "Sealed segments that are compressed"),
            packed_saved: level(
                &mut registry,
                "log_packed_saved_bytes",
                "Bytes of the disk that compressing segments saves",
            ),
            projected: level(
                &mut registry,
                "projection_next_position",
                "Position up to which queries answer",
            ),
            stopped: level(&mut registry, "log_stopped", "1 where a ledger takes no appends"),
            rebuilds: count(&mut registry, "projection_rebuilds", "Projections thrown away and built anew"),
            scrubbed: level(
                &mut registry,
                "scrub_last_complete_timestamp_seconds",
                "When the scrub had last checked every byte of the ledger's log, in seconds since 1970",
            ),
            scrub_damage: level(
                &mut registry,
                "scrub_damage",
                "Damages that the scrub found in the last round",
            ),
            scrubbed_bytes,
            registry: Arc::new(registry),
        }
    }
}

impl Metrics {
    /// The metrics of one ledger.
    #[must_use]
    pub fn of(&self, ledger: &LedgerName) -> LedgerMetrics {
        let label = ByLedger { ledger: ledger.to_string() };
        LedgerMetrics {
            all: self.clone(),
            accepted: self.accepted.get_or_create(&label).clone(),
            repeated: self.repeated.get_or_create(&label).clone(),
            entries: self.entries.get_or_create(&label).clone(),
            bytes: self.bytes.get_or_create(&label).clone(),
            syncs: self.syncs.get_or_create(&label).clone(),
            position: self.position.get_or_create(&label).clone(),
            projected: self.projected.get_or_create(&label).clone(),
            stopped: self.stopped.get_or_create(&label).clone(),
            rebuilds: self.rebuilds.get_or_create(&label).clone(),
            ledger: label.ledger,
        }
    }

    /// The scrub has read more of the logs.
    pub fn scrubbing(&self, bytes: u64) {
        self.scrubbed_bytes.inc_by(bytes);
    }

    /// All metrics in Prometheus' text form.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}

/// The metrics of one ledger. Each is looked up by its label once, not at every event.
#[derive(Clone)]
pub struct LedgerMetrics {
    /// For what is counted rarely.
    all: Metrics,
    ledger: String,
    accepted: Counter,
    repeated: Counter,
    entries: Counter,
    bytes: Counter,
    syncs: Counter,
    position: Gauge<i64, AtomicI64>,
    projected: Gauge<i64, AtomicI64>,
    stopped: Gauge<i64, AtomicI64>,
    rebuilds: Counter,
}

impl LedgerMetrics {
    fn label(&self) -> ByLedger {
        ByLedger { ledger: self.ledger.clone() }
    }

    /// Answers were found.
    pub fn answered(&self, results: &[Result<Accepted, Refused>]) {
        let accepted = results.iter().filter(|r| r.as_ref().is_ok_and(|a| !a.already_present)).count();
        let repeated = results.iter().filter(|r| r.as_ref().is_ok_and(|a| a.already_present)).count();
        self.accepted.inc_by(accepted as u64);
        self.repeated.inc_by(repeated as u64);
        for refused in results.iter().filter_map(|result| result.as_ref().err()) {
            let label = ByRule { ledger: self.ledger.clone(), reason: refused.reason().to_owned() };
            self.all.refused.get_or_create(&label).inc();
        }
    }

    /// A group became durable.
    pub fn written(&self, group: &[Record], tail: &Tail) {
        let bytes: usize = group.iter().map(|record| record.entry.len() + FRAME_BYTES).sum();
        self.entries.inc_by(group.len() as u64);
        self.bytes.inc_by(bytes as u64);
        self.syncs.inc();
        self.position(tail.next.0);
    }

    /// The log ends here.
    pub fn position(&self, next: u64) {
        self.position.set(i64::try_from(next).unwrap_or(i64::MAX));
    }

    /// A checkpoint was issued that covers so many entries.
    pub fn checkpoint(&self, size: u64) {
        self.all.checkpoint.get_or_create(&self.label()).set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    /// Whether too few witnesses cosign.
    pub fn unwitnessed(&self, unwitnessed: bool) {
        self.all.unwitnessed.get_or_create(&self.label()).set(unwitnessed.into());
    }

    /// A witness did not cosign.
    pub fn witness_failed(&self, witness: &str, reason: &'static str) {
        let label = ByWitness { ledger: self.ledger.clone(), witness: witness.to_owned(), reason };
        self.all.witness_failures.get_or_create(&label).inc();
    }

    /// So much of the log is packed.
    pub fn packed(&self, totals: &PackedTotals) {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let label = self.label();
        let saved = totals.bytes_before.saturating_sub(totals.bytes);
        self.all.packed.get_or_create(&label).set(number(totals.segments));
        self.all.packed_saved.get_or_create(&label).set(number(saved));
    }

    /// Queries answer up to here.
    pub fn projected(&self, next: u64) {
        self.projected.set(i64::try_from(next).unwrap_or(i64::MAX));
    }

    /// The ledger takes no more appends.
    pub fn stopped(&self) {
        self.stopped.set(1);
    }

    /// A projection was thrown away.
    pub fn rebuilt(&self) {
        self.rebuilds.inc();
    }

    /// The scrub has checked the whole log, and found so many damages.
    pub fn scrubbed(&self, now: Time, damages: u64) {
        self.all.scrubbed.get_or_create(&self.label()).set(now.0 / 1_000_000_000);
        self.all.scrub_damage.get_or_create(&self.label()).set(i64::try_from(damages).unwrap_or(i64::MAX));
    }
}
