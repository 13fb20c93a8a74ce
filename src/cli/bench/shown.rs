//! How what was measured is printed.

use crate::bench::{
    AuditReport, LedgersReport, ProofReport, QueryReport, RebuildReport, Report, RestartReport,
    RestoreReport, ServerFigures, TailReport, VerifyReport,
};
use crate::cli::print::{Section, Shown};

type Facts = Vec<(&'static str, String)>;

fn whole(value: f64) -> String {
    format!("{value:.0}")
}

fn micros(value: f64) -> String {
    format!("{value:.1} us")
}

fn millis(value: f64) -> String {
    format!("{value:.1} ms")
}

fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

fn percent(part: f64) -> String {
    format!("{:.1} %", part * 100.0)
}

/// `known(value, whole)`: nothing where it is not known.
fn known<T>(value: Option<T>, told: impl Fn(T) -> String) -> String {
    value.map(told).unwrap_or_default()
}

impl Shown for Report {
    const FIELDS: &'static [&'static str] = &[
        "events_per_s",
        "p50_us",
        "p99_us",
        "p999_us",
        "fsyncs",
        "events_per_cpu_s",
        "client_cpu_s",
        "floor",
        "clients",
        "connections",
        "batch",
        "stream",
    ];
    const COLUMNS: &'static [&'static str] = &["events/s", "p50 us", "p99 us"];

    fn row(&self) -> Vec<String> {
        [self.events_per_s, self.p50_us, self.p99_us].map(|value| value.to_string()).to_vec()
    }

    fn page(&self) -> Vec<Section> {
        let mut facts: Facts = vec![
            ("events a second", whole(self.events_per_s)),
            ("half of the requests within", micros(self.p50_us)),
            ("99 of 100 within", micros(self.p99_us)),
            ("999 of 1,000 within", micros(self.p999_us)),
            ("syncs of the disk", known(self.fsyncs, |n| n.to_string())),
            ("events a second of the server's processor time", known(self.events_per_cpu_s, whole)),
            ("processor time of the clients", seconds(self.client_cpu_s)),
        ];
        if self.busy > 0 {
            facts.push(("events that the server was too busy for", self.busy.to_string()));
        }
        if self.held_back > 0 {
            facts.push(("requests held back, since too many were in flight", self.held_back.to_string()));
        }
        facts.extend(self.server.iter().flat_map(figures));
        if let Some(floor) = &self.floor {
            facts.extend([
                ("floor: decode and acknowledge", format!("{:.0} events a second", floor.noop_events_per_s)),
                ("floor: link, write, sync", format!("{:.0} events a second", floor.raw_events_per_s)),
                ("floor: half of its requests within", micros(floor.raw_p50_us)),
                ("one write of 4 KiB and its sync", micros(floor.fdatasync_p50_us)),
            ]);
        }
        vec![Section::facts(&facts), Section::line(load_of(self))]
    }
}

fn load_of(report: &Report) -> String {
    let sent = match report.rate {
        Some(rate) => format!("{rate:.0} to be sent a second"),
        None => format!("{} in flight", report.clients),
    };
    format!(
        "{} events of {} bytes in {:.1} s, {sent}, {} a request, connections: {}{}",
        report.events,
        report.event_bytes,
        report.seconds,
        report.batch,
        report.connections,
        if report.stream { ", streamed" } else { "" }
    )
}

fn figures(server: &ServerFigures) -> Facts {
    vec![
        ("processor time of an event, with its index", micros(server.cpu_us_per_event)),
        ("bytes of the log for each event", whole(server.log_bytes_per_event)),
        ("of the segment that is written to", known(server.hot_bytes_per_event, whole)),
        ("of the segments before it", known(server.sealed_bytes_per_event, whole)),
        ("bytes on the disk for each event", whole(server.disk_bytes_per_event)),
        ("memory after the load", megabytes(server.rss_bytes)),
        ("the most memory", megabytes(server.peak_rss_bytes)),
        ("entries that the projection was behind", server.lag_entries.to_string()),
        ("until it was not", seconds(server.lag_s)),
    ]
}

/// What has only facts to show: the fields of its CSV form, and of its table.
macro_rules! shown {
    ($report:ty, $fields:expr, $facts:expr) => {
        impl Shown for $report {
            const FIELDS: &'static [&'static str] = $fields;
            const COLUMNS: &'static [&'static str] = &["measured", "value"];

            fn row(&self) -> Vec<String> {
                let facts: fn(&$report) -> Facts = $facts;
                facts(self)
                    .into_iter()
                    .next()
                    .map(|(name, value)| vec![name.to_owned(), value])
                    .unwrap_or_default()
            }

            fn page(&self) -> Vec<Section> {
                let facts: fn(&$report) -> Facts = $facts;
                vec![Section::facts(&facts(self))]
            }
        }
    };
}

shown!(
    QueryReport,
    &["question", "answers_per_s", "p50_us", "p99_us", "p999_us", "answers_per_cpu_s", "client_cpu_s"],
    |report| vec![
        ("answers a second", whole(report.answers_per_s)),
        ("half of them within", micros(report.p50_us)),
        ("99 of 100 within", micros(report.p99_us)),
        ("999 of 1,000 within", micros(report.p999_us)),
        ("things in an answer", format!("{:.1}", report.things_per_answer)),
        ("answers a second of the server's processor time", known(report.answers_per_cpu_s, whole)),
        ("processor time of the clients", seconds(report.client_cpu_s)),
        ("entries of the ledger", report.entries.to_string()),
    ]
);

shown!(
    TailReport,
    &["events_per_s", "events", "seconds", "bytes", "server_cpu_s", "client_cpu_s"],
    |report| vec![
        ("events a second", whole(report.events_per_s)),
        ("events", report.events.to_string()),
        ("time", seconds(report.seconds)),
        ("bytes", megabytes(report.bytes)),
        ("processor time of the server", known(report.server_cpu_s, seconds)),
        ("processor time of the client", seconds(report.client_cpu_s)),
    ]
);

shown!(
    RebuildReport,
    &["fold_events_per_s", "fold_s", "store_events_per_s", "store_s", "server_cpu_s", "entries"],
    |report| vec![
        ("entries folded a second", whole(report.fold_events_per_s)),
        ("entries indexed a second", whole(report.store_events_per_s)),
        ("time of the fold", seconds(report.fold_s)),
        ("time of the index", seconds(report.store_s)),
        ("processor time of the server for it", known(report.server_cpu_s, seconds)),
        ("the most memory of the server", known(report.peak_rss_bytes, megabytes)),
        ("entries of the ledger", report.entries.to_string()),
    ]
);

shown!(
    VerifyReport,
    &[
        "plain_events_per_s",
        "one_thread_events_per_s",
        "two_threads_events_per_s",
        "one_thread_of_plain",
        "two_threads_of_plain",
        "entries"
    ],
    |report| vec![
        ("entries hashed a second, and nothing else", whole(report.plain_events_per_s)),
        ("judged by one thread", whole(report.one_thread_events_per_s)),
        ("which is", percent(report.one_thread_of_plain)),
        ("judged by two threads", whole(report.two_threads_events_per_s)),
        ("which is, of one that only hashes", percent(report.two_threads_of_plain)),
        ("entries of the ledger", report.entries.to_string()),
        ("bytes of its log", megabytes(report.log_bytes)),
    ]
);

shown!(
    RestoreReport,
    &["restores_per_s", "incident_ms", "plan_ms", "apply_ms", "accounts", "entries"],
    |report| vec![
        ("accounts back, a second", whole(report.restores_per_s)),
        ("the whole incident", millis(report.incident_ms)),
        ("its plan", millis(report.plan_ms)),
        ("its execution", millis(report.apply_ms)),
        ("accounts", report.accounts.to_string()),
        ("entries of the ledger", report.entries.to_string()),
    ]
);

shown!(
    RestartReport,
    &["after_kill_ms", "after_stop_ms", "entries", "tail", "log_bytes", "rounds"],
    |report| vec![
        ("until it serves, after a kill", millis(report.after_kill_ms)),
        ("until it serves, after an end in order", millis(report.after_stop_ms)),
        ("entries of the ledger", report.entries.to_string()),
        ("of these behind the last snapshot at the kill", report.tail.to_string()),
        ("bytes of its log", megabytes(report.log_bytes)),
    ]
);

shown!(
    LedgersReport,
    &[
        "rss_per_ledger_bytes",
        "rss_per_ledger_after_restart_bytes",
        "threads_before",
        "threads_after",
        "idle_cpu_percent",
        "restart_ms",
        "ledgers"
    ],
    |report| vec![
        ("bytes of memory of an idle ledger", whole(report.rss_per_ledger_bytes)),
        ("after a restart", whole(report.rss_per_ledger_after_restart_bytes)),
        ("threads with one ledger", report.threads_before.to_string()),
        ("threads with all", report.threads_after.to_string()),
        ("processor time while nothing happens", format!("{:.1} %", report.idle_cpu_percent)),
        ("until it serves again", millis(report.restart_ms)),
        ("ledgers", report.ledgers.to_string()),
    ]
);

shown!(
    AuditReport,
    &["audited_of_alone", "alone_events_per_s", "audited_events_per_s", "verifies", "entries", "rounds"],
    |report| vec![
        ("beside a verify, of what it is alone", percent(report.audited_of_alone)),
        ("events a second alone", whole(report.alone_events_per_s)),
        ("events a second beside a verify", whole(report.audited_events_per_s)),
        ("verifies that ended meanwhile", report.verifies.to_string()),
        ("entries of the ledger at first", report.entries.to_string()),
    ]
);

shown!(
    ProofReport,
    &[
        "batches_signed_of_unsigned",
        "unary_signed_of_unsigned",
        "proof_p50_us",
        "proof_p99_us",
        "hashes_max",
        "check_p50_us",
        "whole_check_p50_us",
        "entries",
        "rounds"
    ],
    |report| vec![
        ("batches with tree and checkpoints, of those without", percent(report.batches_signed_of_unsigned)),
        ("single events, the same", percent(report.unary_signed_of_unsigned)),
        ("half of the proofs are there within", micros(report.proof_p50_us)),
        ("99 of 100 within", micros(report.proof_p99_us)),
        ("the most hashes of a proof", report.hashes_max.to_string()),
        ("half of them are checked within", micros(report.check_p50_us)),
        ("99 of 100 within", micros(report.check_p99_us)),
        ("the same with the signature and the whole file", micros(report.whole_check_p50_us)),
        ("entries of the ledger", report.entries.to_string()),
    ]
);
