//! Rebuilds: the fold alone, and the projection in the store.

use std::time::{Duration, Instant};

use serde::Serialize;
use tonic::transport::Channel;

use super::process::ServerProcess;
use super::site::{Place, Site};
use super::{BenchError, blocking, offline, per_s, rounded};
use crate::wire::pb;
use pb::admin_service_client::AdminServiceClient;

/// What was measured. Other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Entries folded into a state, a second; no index.
    pub fold_events_per_s: f64,
    /// How long that took, in seconds.
    pub fold_s: f64,
    /// Entries indexed in the store by a server, a second, until the new projection had taken over.
    pub store_events_per_s: f64,
    /// How long that took, in seconds.
    pub store_s: f64,
    /// Processor time of the server for it, in seconds.
    pub server_cpu_s: Option<f64>,
    /// The most memory that the server ever took, in bytes.
    pub peak_rss_bytes: Option<u64>,
    /// Entries of the ledger.
    pub entries: u64,
}

/// Fills a ledger up to so many events, and rebuilds what follows from it.
///
/// # Errors
/// Where a server cannot be started, or does not finish.
pub async fn run(place: &Place, events: u64) -> Result<Report, BenchError> {
    let site = Site::open(place).await?;
    let channel = site.channel().await?;
    let entries = site.fill(&channel, events).await?.entries;
    let cpu = site.server().and_then(ServerProcess::cpu);
    let store = rebuilt(&channel, &site.ledger).await?;
    let cpu = cpu.zip(site.server().and_then(ServerProcess::cpu)).map(|(before, after)| after - before);
    let memory = site.server().and_then(ServerProcess::memory);
    let stopped = site.stop().await?;
    let dir = stopped.ledger_dir();
    let fold = blocking(move || offline::fold(&dir)).await?;
    Ok(Report {
        fold_events_per_s: per_s(fold.entries, fold.time),
        fold_s: rounded(fold.time.as_secs_f64()),
        store_events_per_s: per_s(entries, store),
        store_s: rounded(store.as_secs_f64()),
        server_cpu_s: cpu.map(rounded),
        peak_rss_bytes: memory.map(|memory| memory.peak_bytes),
        entries,
    })
}

/// Has the projection rebuilt, and says how long it took.
async fn rebuilt(channel: &Channel, ledger: &str) -> Result<Duration, BenchError> {
    let began = Instant::now();
    let request = pb::RebuildProjectionRequest { ledger: ledger.to_owned() };
    let mut admin = AdminServiceClient::new(channel.clone());
    let steps = admin.rebuild_projection(request).await.map_err(|e| BenchError::asked(&e))?;
    let (mut steps, mut finished) = (steps.into_inner(), false);
    while let Some(step) = steps.message().await.map_err(|e| BenchError::asked(&e))? {
        finished = step.finished;
    }
    if finished { Ok(began.elapsed()) } else { Err(BenchError("the rebuild did not finish".to_owned())) }
}
