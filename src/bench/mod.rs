//! How fast is it here? Loads against a server, beside what the machine could do at most.
//!
//! Everything of one report is measured in one run, since a disk may be ten times slower a minute later. Events are
//! made and encoded beforehand, so that clients cost little on the cores that they share with the server.

mod append;
mod audit;
mod bytes_codec;
mod disk_use;
mod floor;
mod ledgers;
mod load;
mod metrics_page;
mod offline;
mod pace;
mod process;
mod proof;
mod query;
mod rebuild;
mod restart;
mod restore;
mod site;
mod supply;
mod tail;
mod tally;
mod verify;
mod workload;

use std::time::Duration;

use tonic::transport::{Channel, Endpoint};

pub use append::{Floor, Options, Report, ServerFigures, run as append};
pub use audit::{Options as AuditOptions, Report as AuditReport, run as audit};
pub use floor::{Kind as FloorKind, serve as serve_floor};
pub use ledgers::{Options as LedgersOptions, Report as LedgersReport, run as ledgers};
pub use proof::{Options as ProofOptions, Report as ProofReport, run as proof};
pub use query::{Options as QueryOptions, Question, Report as QueryReport, run as query};
pub use rebuild::{Report as RebuildReport, run as rebuild};
pub use restart::{Options as RestartOptions, Report as RestartReport, run as restart};
pub use restore::{Options as RestoreOptions, Report as RestoreReport, run as restore};
pub use site::Place;
pub use tail::{Report as TailReport, run as tail};
pub use verify::{Options as VerifyOptions, Report as VerifyReport, run as verify};
pub use workload::{EVENT_BYTES, Mix};

/// When a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// After this time.
    After(Duration),
    /// When so many events were sent.
    Events(u64),
}

/// How the server is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Requests in flight in all, at least 1.
    pub clients: usize,
    /// Connections that they share, at least 1.
    pub connections: usize,
    /// Events of one request, 1 to 1,000.
    pub batch: usize,
    /// One stream a connection, instead of a call a request.
    pub stream: bool,
    /// When it ends.
    pub until: Until,
    /// Events a second that are sent whatever becomes of those before; `None`: each client waits for its answer.
    pub rate: Option<f64>,
    /// What the events are made of.
    pub mix: Mix,
}

/// Why nothing was measured. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BenchError(pub String);

impl BenchError {
    fn because(what: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }

    fn asked(status: &tonic::Status) -> Self {
        Self::because("the server did not answer", status.message())
    }
}

/// Work for a thread that may wait.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BenchError> + Send + 'static,
) -> Result<T, BenchError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| BenchError::because("the measurement stopped", e))?
}

/// To a hundredth: more digits than that are noise.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// So many a second; 0 where no time went by.
fn per_s(count: u64, time: Duration) -> f64 {
    if time.is_zero() { 0.0 } else { rounded(count as f64 / time.as_secs_f64()) }
}

fn millis(time: Duration) -> f64 {
    rounded(time.as_secs_f64() * 1e3)
}

/// How much one is of the other; 0 where there is no other.
fn ratio(of: f64, to: f64) -> f64 {
    if to > 0.0 { (of / to * 1e4).round() / 1e4 } else { 0.0 }
}

/// The middle one, the lower of two; 0 where there is none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

async fn connect(url: &str, connections: usize) -> Result<Vec<Channel>, BenchError> {
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let endpoint = Endpoint::from_shared(full).map_err(|e| BenchError::because(url, e))?.tcp_nodelay(true);
    let mut channels = Vec::with_capacity(connections);
    for _ in 0..connections {
        let channel = endpoint.connect().await;
        channels.push(
            channel.map_err(|_| BenchError(format!("cannot reach the server at {url}: is it running?")))?,
        );
    }
    Ok(channels)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_divided_is_nothing_and_never_infinite() {
        assert_eq!((per_s(7, Duration::ZERO), ratio(1.0, 0.0), median(Vec::new())), (0.0, 0.0, 0.0));
        assert_eq!((per_s(7, Duration::from_secs(2)), ratio(1.0, 3.0)), (3.5, 0.3333));
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median(vec![9.0, 1.0, 5.0]), 5.0);
        assert_eq!(median(vec![9.0, 1.0]), 1.0);
    }
}
