//! The judge, which hashes every entry into the chain and into the tree, beside one thread that only hashes it once.

use std::num::NonZeroUsize;

use std::path::Path;

use serde::Serialize;

use super::disk_use::DiskUse;
use super::offline::{Took, judge, plain_hashes};
use super::site::{Place, Site};
use super::{BenchError, blocking, median, ratio, rounded};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// Events that the ledger is filled up to before.
    pub events: u64,
    /// How often each is measured, in turns.
    pub rounds: usize,
}

/// What was measured, medians. Other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Entries a second of one thread that hashes `previous link || entry`; reading is not counted.
    pub plain_events_per_s: f64,
    /// Entries a second of the judge with one thread; reading is counted.
    pub one_thread_events_per_s: f64,
    /// With two.
    pub two_threads_events_per_s: f64,
    /// One thread, as a part of the plain hashes.
    pub one_thread_of_plain: f64,
    /// Two threads, as a part of the plain hashes.
    pub two_threads_of_plain: f64,
    /// Entries of the ledger.
    pub entries: u64,
    /// Bytes of its log.
    pub log_bytes: u64,
    /// How often each was measured.
    pub rounds: usize,
}

/// Fills a ledger, ends its server, and judges.
///
/// # Errors
/// Where a server cannot be started, or the log is not what was written.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let site = Site::open(&options.place).await?;
    let channel = site.channel().await?;
    let entries = site.fill(&channel, options.events).await?.entries;
    let stopped = site.stop().await?;
    let (data, ledger_dir) = (stopped.data.path().to_owned(), stopped.ledger_dir());
    let used = DiskUse::of(&ledger_dir).map_err(|e| BenchError::because("the log cannot be weighed", e))?;
    let options = options.clone();
    blocking(move || {
        let rates = Rates::of(&data, &ledger_dir, options.rounds)?;
        Ok(rates.report(entries, used.log_bytes, options.rounds))
    })
    .await
}

/// Entries a second, of every round.
#[derive(Debug, Default)]
struct Rates {
    plain: Vec<f64>,
    one: Vec<f64>,
    two: Vec<f64>,
}

impl Rates {
    fn of(data: &Path, ledger_dir: &Path, rounds: usize) -> Result<Self, BenchError> {
        let mut rates = Self::default();
        const ONE: NonZeroUsize = NonZeroUsize::MIN;
        const TWO: NonZeroUsize = ONE.saturating_add(1);
        // The first turn only brings the files into memory.
        judge(data, ONE)?;
        for _ in 0..rounds {
            rates.plain.push(rate(plain_hashes(ledger_dir)?));
            rates.one.push(rate(judge(data, ONE)?));
            rates.two.push(rate(judge(data, TWO)?));
        }
        Ok(rates)
    }

    fn report(self, entries: u64, log_bytes: u64, rounds: usize) -> Report {
        let (plain, one, two) = (median(self.plain), median(self.one), median(self.two));
        Report {
            plain_events_per_s: rounded(plain),
            one_thread_events_per_s: rounded(one),
            two_threads_events_per_s: rounded(two),
            one_thread_of_plain: ratio(one, plain),
            two_threads_of_plain: ratio(two, plain),
            entries,
            log_bytes,
            rounds,
        }
    }
}

fn rate(took: Took) -> f64 {
    super::per_s(took.entries, took.time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_json_of_a_report_keeps_its_promise() {
        let rates = Rates { plain: vec![4.0, 2.0, 3.0], one: vec![1.5], two: vec![6.0] };
        expect![[r#"{"plain_events_per_s":3.0,"one_thread_events_per_s":1.5,"two_threads_events_per_s":6.0,"one_thread_of_plain":0.5,"two_threads_of_plain":2.0,"entries":9,"log_bytes":90,"rounds":3}"#]]
            .assert_eq(&serde_json::to_string(&rates.report(9, 90, 3)).unwrap());
    }
}
