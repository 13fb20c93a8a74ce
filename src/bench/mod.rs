//! How fast is it here? A closed loop of clients against a server, beside what the machine could do at most.
//!
//! Everything of one report is measured in one run, since a disk may be ten times slower a minute later. Events are
//! made and encoded beforehand, so that clients cost little on the cores that they share with the server.

mod bytes_codec;
mod floor;
mod load;
mod process;
mod workload;

use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use tonic::transport::{Channel, Endpoint};

pub use floor::{Kind as FloorKind, serve as serve_floor};
use load::Tally;
use process::ServerProcess;
pub use workload::EVENT_BYTES;

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
    /// For how long.
    pub duration: Duration,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The load.
    pub load: Load,
    /// The program that runs as the server.
    pub program: PathBuf,
    /// The server to ask instead; nothing is known of its processor and its disk then.
    pub server: Option<String>,
    /// Whether to measure also what the machine could do at most.
    pub floor: bool,
}

/// Why nothing was measured. One line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BenchError(pub String);

impl BenchError {
    fn because(what: &str, why: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {why}"))
    }
}

/// What was measured. Times in microseconds; other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Events acknowledged, a second.
    pub events_per_s: f64,
    /// Half of the requests took at most so long.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// How often the server made its log durable; `None`: not known.
    pub fsyncs: Option<u64>,
    /// Events for each second of the server's processor time; `None`: not known.
    pub events_per_cpu_s: Option<f64>,
    /// Processor time of the clients, in seconds.
    pub client_cpu_s: f64,
    /// What the machine could do at most; `None`: not measured.
    pub floor: Option<Floor>,
    /// Events acknowledged.
    pub events: u64,
    /// How long it took, in seconds. Less than asked for where the events made beforehand were used up.
    pub seconds: f64,
    /// Requests in flight.
    pub clients: usize,
    /// Connections.
    pub connections: usize,
    /// Events of one request.
    pub batch: usize,
    /// Whether they were streamed.
    pub stream: bool,
    /// Bytes of one event as sent.
    pub event_bytes: usize,
}

/// What the machine could do at most, with the same clients.
#[derive(Clone, Debug, Serialize)]
pub struct Floor {
    /// A server that decodes and acknowledges.
    pub noop_events_per_s: f64,
    /// A server that also links, writes and syncs; no state, no questions.
    pub raw_events_per_s: f64,
    /// Half of its requests took at most so long.
    pub raw_p50_us: f64,
    /// One thread that writes 4 KiB over old bytes and syncs.
    pub fdatasync_p50_us: f64,
}

/// Measures.
///
/// # Errors
/// Where a server cannot be started or reached, or refuses an event.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let load = options.load;
    let ledger = workload::ledger_name();
    let (tally, fsyncs, cpu, client_cpu) = match &options.server {
        Some(url) => {
            let (tally, client_cpu) = load_at(url, &ledger, load).await?;
            (tally, None, None, client_cpu)
        }
        None => own_server(options, &ledger).await?,
    };
    let floor = if options.floor { Some(floor_of(options, &ledger).await?) } else { None };
    Ok(report(load, &tally, fsyncs, cpu, client_cpu, floor))
}

/// Runs the load, and says how much processor time the clients took for it.
async fn load_at(url: &str, ledger: &str, load: Load) -> Result<(Tally, f64), BenchError> {
    let channels = connect(url, load.connections).await?;
    load::open(&channels, ledger, load.clients).await?;
    let requests = load::requests(ledger, load).await?;
    let before = process::own_cpu();
    let tally = load::run(&channels, requests, load).await?;
    Ok((tally, process::own_cpu() - before))
}

type Measured = (Tally, Option<u64>, Option<f64>, f64);

async fn own_server(options: &Options, ledger: &str) -> Result<Measured, BenchError> {
    let server = ServerProcess::start(&options.program, &["serve", "--metrics", "127.0.0.1:0"]).await?;
    let channels = connect(server.grpc(), options.load.connections).await?;
    load::open(&channels, ledger, options.load.clients).await?;
    let requests = load::requests(ledger, options.load).await?;
    let (syncs, cpu, own) = (server.syncs().await, server.cpu(), process::own_cpu());
    let tally = load::run(&channels, requests, options.load).await?;
    let own = process::own_cpu() - own;
    let cpu = cpu.zip(server.cpu()).map(|(before, after)| after - before);
    let syncs = syncs.zip(server.syncs().await).map(|(before, after)| after.saturating_sub(before));
    Ok((tally, syncs, cpu, own))
}

async fn floor_of(options: &Options, ledger: &str) -> Result<Floor, BenchError> {
    let fdatasync =
        floor::fdatasync_p50().map_err(|e| BenchError::because("the disk cannot be measured", e))?;
    let mut tallies = Vec::new();
    for kind in ["noop", "raw"] {
        let server =
            ServerProcess::start(&options.program, &["bench", "floor-server", "--kind", kind]).await?;
        tallies.push(load_at(server.grpc(), ledger, options.load).await?.0);
    }
    let rate = |index: usize| tallies.get(index).map_or(0.0, Tally::events_per_s);
    Ok(Floor {
        noop_events_per_s: rounded(rate(0)),
        raw_events_per_s: rounded(rate(1)),
        raw_p50_us: tallies.get(1).map_or(0.0, |tally| micros(&tally.latencies, 0.5)),
        fdatasync_p50_us: rounded(fdatasync.as_secs_f64() * 1e6),
    })
}

fn report(
    load: Load,
    tally: &Tally,
    fsyncs: Option<u64>,
    cpu: Option<f64>,
    client_cpu: f64,
    floor: Option<Floor>,
) -> Report {
    let per_cpu = |cpu: f64| (cpu > 0.0).then(|| rounded(tally.events as f64 / cpu));
    Report {
        events_per_s: rounded(tally.events_per_s()),
        p50_us: micros(&tally.latencies, 0.5),
        p99_us: micros(&tally.latencies, 0.99),
        p999_us: micros(&tally.latencies, 0.999),
        fsyncs,
        events_per_cpu_s: cpu.and_then(per_cpu),
        client_cpu_s: rounded(client_cpu),
        floor,
        events: tally.events,
        seconds: rounded(tally.elapsed.as_secs_f64()),
        clients: load.clients,
        connections: load.connections,
        batch: load.batch,
        stream: load.stream,
        event_bytes: EVENT_BYTES,
    }
}

/// A quantile of latencies that were recorded in nanoseconds.
fn micros(latencies: &Histogram<u64>, quantile: f64) -> f64 {
    rounded(latencies.value_at_quantile(quantile) as f64 / 1e3)
}

/// To a hundredth: more digits than that are noise.
fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
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
    use expect_test::expect;

    fn tally() -> Tally {
        let mut tally = Tally { events: 100, elapsed: Duration::from_secs(2), ..Tally::default() };
        (1..=1_000_u64).for_each(|n| tally.latencies.saturating_record(n * 1_000));
        tally
    }

    fn a_load() -> Load {
        Load { clients: 8, connections: 2, batch: 1, stream: false, duration: Duration::from_secs(5) }
    }

    #[test]
    fn the_json_of_a_report_keeps_its_promise() {
        let floor = Floor {
            noop_events_per_s: 80_000.0,
            raw_events_per_s: 50_000.0,
            raw_p50_us: 125.0,
            fdatasync_p50_us: 64.5,
        };
        let report = report(a_load(), &tally(), Some(7), Some(0.5), 0.25, Some(floor));
        expect![[r#"{"events_per_s":50.0,"p50_us":500.22,"p99_us":990.21,"p999_us":999.42,"fsyncs":7,"events_per_cpu_s":200.0,"client_cpu_s":0.25,"floor":{"noop_events_per_s":80000.0,"raw_events_per_s":50000.0,"raw_p50_us":125.0,"fdatasync_p50_us":64.5},"events":100,"seconds":2.0,"clients":8,"connections":2,"batch":1,"stream":false,"event_bytes":229}"#]].assert_eq(&serde_json::to_string(&report).unwrap());
    }

    #[test]
    fn what_is_not_known_is_null_and_never_infinite() {
        let report = report(a_load(), &tally(), None, Some(0.0), 0.0, None);
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["fsyncs"].is_null() && json["events_per_cpu_s"].is_null() && json["floor"].is_null());
    }

    /// Hands the line that a server prints to the test.
    struct Line(std::sync::mpsc::Sender<Vec<u8>>);

    impl std::io::Write for Line {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.send(bytes.to_vec()).map(|()| bytes.len()).map_err(std::io::Error::other)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    async fn floor_server(kind: FloorKind, data: PathBuf) -> String {
        let (sender, lines) = std::sync::mpsc::channel();
        tokio::spawn(async move {
            serve_floor(kind, &data, ([127, 0, 0, 1], 0).into(), &mut Line(sender)).await.unwrap();
        });
        let line = tokio::task::spawn_blocking(move || {
            let mut line = Vec::new();
            while !line.ends_with(b"\n") {
                line.extend(lines.recv().unwrap());
            }
            line
        });
        let ready: serde_json::Value = serde_json::from_slice(&line.await.unwrap()).unwrap();
        ready["grpc"].as_str().unwrap().to_owned()
    }

    async fn measured(kind: FloorKind, load: Load) -> Report {
        let dir = tempfile::tempdir().unwrap();
        let server = Some(floor_server(kind, dir.path().to_owned()).await);
        run(&Options { load, program: PathBuf::new(), server, floor: false }).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_way_to_send_is_acknowledged_and_counted() {
        let short = Load { duration: Duration::from_millis(200), ..a_load() };
        for load in [short, Load { batch: 50, ..short }, Load { stream: true, ..short }] {
            let report = measured(FloorKind::Raw, load).await;
            assert!(report.events > 0 && report.events.is_multiple_of(load.batch as u64), "{report:?}");
            assert!(report.p50_us > 0.0 && report.p50_us <= report.p99_us, "{report:?}");
            assert!(report.seconds < 5.0, "{report:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_is_not_there_is_named() {
        let options = Options {
            load: a_load(),
            program: PathBuf::new(),
            server: Some("127.0.0.1:1".to_owned()),
            floor: false,
        };
        let why = run(&options).await.unwrap_err();
        assert_eq!(why.0, "cannot reach the server at 127.0.0.1:1: is it running?");
    }
}
