//! What is promised, and from which figures it is seen.

use serde_json::Value;

use super::Round;
use super::table::Line;

/// A bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Bound {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
}

/// A promise.
pub(super) struct Promise {
    /// What it is called on the command line.
    pub(super) name: &'static str,
    /// What is promised, for people.
    pub(super) what: &'static str,
    pub(super) bound: Bound,
    /// The commands whose figures it takes.
    pub(super) runs: &'static [&'static str],
    /// Only where much time is given.
    pub(super) long: bool,
    /// Its value in one round; `None` where a figure is missing.
    value: fn(&Round) -> Option<f64>,
}

impl Promise {
    /// Its line in the table.
    pub(super) fn line(&self, rounds: &[Round]) -> Line {
        let mut values: Vec<f64> = rounds.iter().filter_map(self.value).filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let median = values.get(values.len().saturating_sub(1) / 2).copied();
        let kept = median.map(|median| match self.bound {
            Bound::AtLeast(bound) => median >= bound,
            Bound::AtMost(bound) => median <= bound,
        });
        let range = values.first().copied().zip(values.last().copied());
        Line {
            name: self.name,
            what: self.what,
            bound: self.bound,
            median,
            range,
            rounds: values.len(),
            kept,
        }
    }
}

/// A figure of a run.
fn figure(round: &Round, run: &str, pointer: &str) -> Option<f64> {
    round.get(run)?.pointer(pointer).and_then(Value::as_f64)
}

/// One figure as a part of another.
fn part(round: &Round, of: (&str, &str), to: (&str, &str)) -> Option<f64> {
    let to = figure(round, to.0, to.1).filter(|to| *to > 0.0)?;
    Some(figure(round, of.0, of.1)? / to)
}

/// The throughput of a load as a part of the raw floor in the same run.
fn of_floor(round: &Round, run: &str) -> Option<f64> {
    part(round, (run, "/events_per_s"), (run, "/floor/raw_events_per_s"))
}

fn greater(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one?.max(other?))
}

macro_rules! promise {
    ($name:literal, $what:literal, $bound:expr, $runs:expr, $long:expr, $value:expr) => {
        Promise { name: $name, what: $what, bound: $bound, runs: $runs, long: $long, value: $value }
    };
}

use Bound::{AtLeast, AtMost};

/// All promises, in the order of the table.
pub(super) const PROMISES: &[Promise] = &[
    promise!(
        "unary-1",
        "unary, 64 in flight, 1 connection, of the raw floor",
        AtLeast(0.85),
        &["unary-1"],
        false,
        |r| of_floor(r, "unary-1")
    ),
    promise!(
        "unary-4",
        "unary, 64 in flight, 4 connections, of the raw floor",
        AtLeast(0.85),
        &["unary-4"],
        false,
        |r| of_floor(r, "unary-4")
    ),
    promise!(
        "batch-100",
        "batches of 100, 8 in flight, of the raw floor",
        AtLeast(0.5),
        &["batch-100"],
        false,
        |r| of_floor(r, "batch-100")
    ),
    promise!(
        "batch-1000",
        "batches of 1,000, 8 in flight, of the raw floor",
        AtLeast(0.5),
        &["batch-1000"],
        false,
        |r| of_floor(r, "batch-1000")
    ),
    promise!(
        "lag",
        "projections caught up after so many times the load's length",
        AtMost(4.0),
        &["batch-100", "batch-1000"],
        false,
        |r| greater(
            figure(r, "batch-100", "/server/lag_of_load"),
            figure(r, "batch-1000", "/server/lag_of_load"),
        )
    ),
    promise!(
        "stream",
        "a stream with 800 in flight, of batches of 100",
        AtLeast(1.0),
        &["batch-100", "stream"],
        false,
        |r| part(r, ("stream", "/events_per_s"), ("batch-100", "/events_per_s"),)
    ),
    promise!(
        "alone",
        "p50 of one client, of no-op p50 + write and sync of 4 KiB",
        AtMost(1.4),
        &["alone"],
        false,
        |r| {
            let floor =
                figure(r, "alone", "/floor/noop_p50_us")? + figure(r, "alone", "/floor/fdatasync_p50_us")?;
            Some(figure(r, "alone", "/p50_us")? / floor)
        }
    ),
    promise!(
        "half-peak",
        "p99 at half of the peak, open loop, of its p50",
        AtMost(5.0),
        &["unary-1", "half-peak"],
        false,
        |r| part(r, ("half-peak", "/p99_us"), ("half-peak", "/p50_us"),)
    ),
    promise!(
        "rebuild-fold",
        "entries folded a second, of 1 M",
        AtLeast(300_000.0),
        &["rebuild"],
        false,
        |r| figure(r, "rebuild", "/fold_events_per_s")
    ),
    promise!(
        "rebuild-store",
        "entries indexed a second, of 1 M",
        AtLeast(100_000.0),
        &["rebuild"],
        false,
        |r| figure(r, "rebuild", "/store_events_per_s")
    ),
    promise!(
        "verify-1",
        "verify with one thread, of a plain loop of hashes",
        AtLeast(0.85),
        &["verify"],
        false,
        |r| figure(r, "verify", "/one_thread_of_plain")
    ),
    promise!(
        "verify-2",
        "verify with two threads, of the same loop",
        AtLeast(1.6),
        &["verify"],
        false,
        |r| figure(r, "verify", "/two_threads_of_plain")
    ),
    promise!(
        "tail",
        "events read back over gRPC a second, of 1 M",
        AtLeast(600_000.0),
        &["tail"],
        false,
        |r| figure(r, "tail", "/events_per_s")
    ),
    promise!(
        "history",
        "histories of 50 events a second, 8 clients",
        AtLeast(8_000.0),
        &["history"],
        false,
        |r| figure(r, "history", "/answers_per_s")
    ),
    promise!("bytes-hot", "bytes of the log for each event, hot", AtMost(325.0), &["million"], false, |r| {
        figure(r, "million", "/server/hot_bytes_per_event")
    }),
    promise!(
        "bytes-sealed",
        "bytes of the log for each event, sealed",
        AtMost(150.0),
        &["million"],
        false,
        |r| figure(r, "million", "/server/sealed_bytes_per_event")
    ),
    promise!(
        "bytes-sealed-10m",
        "bytes of the log for each event, sealed, of 10 M",
        AtMost(150.0),
        &["ten-million"],
        true,
        |r| figure(r, "ten-million", "/server/sealed_bytes_per_event")
    ),
    promise!(
        "bytes-all",
        "bytes for each event with everything, hot, of what was sent",
        AtMost(2.5),
        &["batch-100"],
        false,
        |r| part(r, ("batch-100", "/server/disk_bytes_per_event"), ("batch-100", "/event_bytes"),)
    ),
    promise!("memory-10m", "memory after 10 M events, MB", AtMost(300.0), &["ten-million"], true, |r| Some(
        figure(r, "ten-million", "/server/rss_bytes")? / 1e6
    )),
    promise!(
        "memory-tokens",
        "memory with 1 M live tokens, MB",
        AtMost(600.0),
        &["tokens"],
        false,
        |r| Some(figure(r, "tokens", "/server/rss_bytes")? / 1e6)
    ),
    promise!(
        "growth-cpu",
        "processor time of an append at 10 M, of that at 100 k",
        AtMost(1.1),
        &["ten-million", "history-small", "growth-small", "growth-large"],
        true,
        |r| part(
            r,
            ("growth-large", "/server/cpu_us_per_event"),
            ("growth-small", "/server/cpu_us_per_event"),
        )
    ),
    promise!(
        "growth-history",
        "p50 of a history at 10 M, of that at 100 k",
        AtMost(1.5),
        &["ten-million", "history-small", "history-large"],
        true,
        |r| part(r, ("history-large", "/p50_us"), ("history-small", "/p50_us"),)
    ),
    promise!(
        "restart",
        "restart after a kill, 1 GiB, a tail of 10,000 events, ms",
        AtMost(1_000.0),
        &["restart"],
        false,
        |r| figure(r, "restart", "/after_kill_ms")
    ),
    promise!(
        "audit",
        "appends beside a full verify, of those without",
        AtLeast(0.65),
        &["audit"],
        false,
        |r| figure(r, "audit", "/audited_of_alone")
    ),
    promise!(
        "ledgers-threads",
        "threads of an idle ledger, of 1,000",
        AtMost(0.02),
        &["ledgers"],
        false,
        |r| {
            let more = figure(r, "ledgers", "/threads_after")? - figure(r, "ledgers", "/threads_before")?;
            Some(more.max(0.0) / figure(r, "ledgers", "/ledgers")?)
        }
    ),
    promise!(
        "ledgers-memory",
        "memory of an idle ledger, of 1,000, kB",
        AtMost(100.0),
        &["ledgers"],
        false,
        |r| greater(
            figure(r, "ledgers", "/rss_per_ledger_bytes"),
            figure(r, "ledgers", "/rss_per_ledger_after_restart_bytes"),
        )
        .map(|bytes| bytes / 1e3)
    ),
    promise!(
        "signed-batches",
        "batches of 100 with tree and checkpoints, of those without",
        AtLeast(0.85),
        &["proof"],
        false,
        |r| figure(r, "proof", "/batches_signed_of_unsigned")
    ),
    promise!(
        "signed-unary",
        "single events with tree and checkpoints, of those without",
        AtLeast(0.85),
        &["proof"],
        false,
        |r| figure(r, "proof", "/unary_signed_of_unsigned")
    ),
    promise!("proof-hashes", "hashes of a proof at 10 M", AtMost(24.0), &["proof-10m"], true, |r| figure(
        r,
        "proof-10m",
        "/hashes_max"
    )),
    promise!(
        "proof-time",
        "p50 of a proof at 10 M, asked for over gRPC, us",
        AtMost(1_000.0),
        &["proof-10m"],
        true,
        |r| figure(r, "proof-10m", "/proof_p50_us")
    ),
    promise!(
        "proof-check",
        "p50 of the check of a proof at 10 M, us",
        AtMost(50.0),
        &["proof-10m"],
        true,
        |r| { figure(r, "proof-10m", "/check_p50_us") }
    ),
    promise!(
        "restore",
        "an incident of 1,000 accounts brought back, ms",
        AtMost(60_000.0),
        &["restore"],
        false,
        |r| figure(r, "restore", "/incident_ms")
    ),
];
