//! Restarts: how long it takes until a server can serve again, after a power cut and after an end in order.

use serde::Serialize;

use super::disk_use::DiskUse;
use super::process::ServerProcess;
use super::site::{Place, Site};
use super::{BenchError, median, millis};

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// Events that the ledger is filled up to before.
    pub events: u64,
    /// Events behind the last snapshot when the power is cut.
    pub tail: u64,
    /// How often each is measured, in turns.
    pub rounds: usize,
}

/// What was measured: medians, in milliseconds. Other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// From the start of the process to its ready line, after it was killed.
    pub after_kill_ms: f64,
    /// The same after it was ended in order.
    pub after_stop_ms: f64,
    /// Entries of the ledger.
    pub entries: u64,
    /// Events behind the last snapshot when it was killed.
    pub tail: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// How often each was measured.
    pub rounds: usize,
}

/// Fills a ledger, and starts its server again and again.
///
/// # Errors
/// Where a server cannot be started.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let mut site = Site::open(&options.place).await?;
    let channel = site.channel().await?;
    let mut entries = site.fill(&channel, options.events).await?.entries;
    let (mut killed, mut stopped) = (Vec::new(), Vec::new());
    for _ in 0..options.rounds {
        // The end in order writes a snapshot, so that exactly the tail lies behind it.
        site = site.stop().await?.serve().await?;
        stopped.extend(site.server().map(|server| millis(ServerProcess::start_time(server))));
        let channel = site.channel().await?;
        entries = site.fill(&channel, entries + options.tail).await?.entries;
        site = site.kill()?.serve().await?;
        killed.extend(site.server().map(|server| millis(ServerProcess::start_time(server))));
    }
    let data = site.data().map(DiskUse::of).transpose();
    let used = data.map_err(|e| BenchError::because("the log cannot be weighed", e))?;
    site.close().await?;
    Ok(Report {
        after_kill_ms: median(killed),
        after_stop_ms: median(stopped),
        entries,
        tail: options.tail,
        log_bytes: used.unwrap_or_default().log_bytes,
        rounds: options.rounds,
    })
}
