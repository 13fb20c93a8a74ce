//! Many ledgers in one directory, each appended to now and then: what an idle one costs.

use std::time::Duration;

use serde::Serialize;
use tonic::transport::Channel;

use super::process::{Memory, ServerProcess};
use super::site::{Place, Site, extent};
use super::workload::{Cast, Mix, Workload};
use super::{BenchError, load, rounded};

/// How long everything has to come to rest: the runtime keeps a thread without work for ten seconds.
const REST: Duration = Duration::from_secs(12);
/// Ledgers that are appended to at the same time.
const AT_ONCE: usize = 8;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// How many ledgers.
    pub ledgers: usize,
    /// How often each is appended to.
    pub rounds: usize,
}

/// What was measured. Other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Memory of a ledger that was appended to and is idle, in bytes.
    pub rss_per_ledger_bytes: f64,
    /// The same after a restart.
    pub rss_per_ledger_after_restart_bytes: f64,
    /// Threads of the server with one ledger.
    pub threads_before: u64,
    /// With all of them.
    pub threads_after: u64,
    /// Memory of the server with one ledger.
    pub rss_before_bytes: u64,
    /// With all of them.
    pub rss_after_bytes: u64,
    /// Processor time of the server while nothing happens, of one core, in percent.
    pub idle_cpu_percent: f64,
    /// How long it takes to start again, in milliseconds.
    pub restart_ms: f64,
    /// How many ledgers.
    pub ledgers: usize,
}

/// Appends to many ledgers, and weighs the server.
///
/// # Errors
/// Where a server cannot be started, or refuses an event.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let site = Site::open(&options.place).await?;
    let channel = site.channel().await?;
    appended(&channel, &site.ledger).await?;
    let before = weighed(&site).await?;
    for _ in 0..options.rounds {
        append_to_all(&channel, &site.ledger, options.ledgers).await?;
    }
    let after = weighed(&site).await?;
    let idle_cpu_percent = idle_cpu(&site).await;
    let site = site.stop().await?.serve().await?;
    let restart = site.server().map(ServerProcess::start_time).unwrap_or_default();
    let again = weighed(&site).await?;
    site.close().await?;
    let each = |memory: Memory| {
        rounded(memory.rss_bytes.saturating_sub(before.rss_bytes) as f64 / options.ledgers.max(1) as f64)
    };
    Ok(Report {
        rss_per_ledger_bytes: each(after),
        rss_per_ledger_after_restart_bytes: each(again),
        threads_before: before.threads,
        threads_after: after.threads.max(again.threads),
        rss_before_bytes: before.rss_bytes,
        rss_after_bytes: after.rss_bytes,
        idle_cpu_percent,
        restart_ms: super::millis(restart),
        ledgers: options.ledgers,
    })
}

/// One append to each ledger, a few at once.
async fn append_to_all(channel: &Channel, ledger: &str, ledgers: usize) -> Result<(), BenchError> {
    let names: Vec<String> = (0..ledgers).map(|n| format!("{ledger}-{n}")).collect();
    for some in names.chunks(AT_ONCE) {
        let appends = some.iter().map(|name| appended(channel, name));
        futures::future::try_join_all(appends).await?;
    }
    Ok(())
}

/// A few events about one account.
async fn appended(channel: &Channel, ledger: &str) -> Result<(), BenchError> {
    let known = usize::try_from(extent(channel, ledger).await?.accounts).unwrap_or(1);
    let events = Workload::new(Cast::new(1, 1, Mix::Whole).returning(known), 0).opening();
    load::send_all(std::slice::from_ref(channel), ledger, events).await
}

/// What the server takes once it has come to rest.
async fn weighed(site: &Site) -> Result<Memory, BenchError> {
    tokio::time::sleep(REST).await;
    let memory = site.server().and_then(ServerProcess::memory);
    memory.ok_or_else(|| BenchError("this weighs a server, so it needs one of its own".to_owned()))
}

async fn idle_cpu(site: &Site) -> f64 {
    let cpu = || site.server().and_then(ServerProcess::cpu).unwrap_or(0.0);
    let before = cpu();
    tokio::time::sleep(REST).await;
    rounded((cpu() - before) / REST.as_secs_f64() * 100.0)
}
