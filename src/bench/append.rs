//! Appends: a closed or an open loop of clients, beside servers that do less.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tonic::transport::Channel;

use super::disk_use::DiskUse;
use super::process::{self, DataDir, ServerProcess};
use super::site::{Place, Site, extent, own_ledger};
use super::supply::supply;
use super::tally::Tally;
use super::workload::{ACCOUNTS, Cast, EVENT_BYTES};
use super::{BenchError, Load, connect, floor, load, pace, ratio, rounded};

/// How long is waited until the projection has caught up.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(900);
/// How often it is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// The load.
    pub load: Load,
    /// Where.
    pub place: Place,
    /// Whether to measure also what the machine could do at most.
    pub floor: bool,
    /// How long after the load, and after the projection has caught up, disk and memory are weighed.
    pub settle: Duration,
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
    /// Events a second that were to be sent; `None`: each client waited for its answer.
    pub rate: Option<f64>,
    /// Events that the server was too busy for; they are not among `events`.
    pub busy: u64,
    /// Requests that were sent late, since too many were in flight.
    pub held_back: u64,
    /// What it took of the server; `None`: not known.
    pub server: Option<ServerFigures>,
}

/// What a load took of a server that was started for it.
#[derive(Clone, Debug, Serialize)]
pub struct ServerFigures {
    /// Processor time until the projection had caught up, for each event, in microseconds.
    pub cpu_us_per_event: f64,
    /// Entries of the ledger, with those of earlier runs.
    pub entries: u64,
    /// Bytes of the log for each entry, without what is written ahead.
    pub log_bytes_per_event: f64,
    /// Of the segment that is written to; `None` where nothing is in it.
    pub hot_bytes_per_event: Option<f64>,
    /// Of the segments before it; `None` where there is none.
    pub sealed_bytes_per_event: Option<f64>,
    /// Bytes of everything on the disk for each entry: log, ids, snapshots, projections.
    pub disk_bytes_per_event: f64,
    /// Memory after the load and the time to settle, in bytes.
    pub rss_bytes: u64,
    /// The most memory that it ever took, in bytes.
    pub peak_rss_bytes: u64,
    /// Threads after the load.
    pub threads: u64,
    /// By how many entries the projection was behind when the load ended.
    pub lag_entries: u64,
    /// How long it took until it was not, in seconds.
    pub lag_s: f64,
    /// The same as a part of the load's length.
    pub lag_of_load: f64,
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
    /// Half of the requests of the server that only acknowledges took at most so long.
    pub noop_p50_us: f64,
}

/// Measures.
///
/// # Errors
/// Where a server cannot be started or reached, or refuses an event.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let site = Site::open(&options.place).await?;
    let measured = measured(&site, &options.load, options.settle).await?;
    site.close().await?;
    let floor = if options.floor { Some(floor_of(options).await?) } else { None };
    Ok(measured.report(&options.load, floor))
}

/// What is known of a load.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) tally: Tally,
    fsyncs: Option<u64>,
    /// Of the server, in seconds.
    cpu: Option<f64>,
    client_cpu: f64,
    server: Option<ServerFigures>,
}

/// Runs a load, and looks at the server before and after.
pub(super) async fn measured(site: &Site, load: &Load, settle: Duration) -> Result<Measured, BenchError> {
    let channels = site.channels(load.connections).await?;
    let shares = begun(&channels, &site.ledger, load).await?;
    let (syncs, cpu, own) =
        (syncs(site).await, site.server().and_then(ServerProcess::cpu), process::own_cpu());
    let tally = load::run(&channels, shares, load).await?;
    let client_cpu = process::own_cpu() - own;
    let cpu_after = site.server().and_then(ServerProcess::cpu);
    let fsyncs = syncs.zip(self::syncs(site).await).map(|(before, after)| after.saturating_sub(before));
    let used = |after: Option<f64>| cpu.zip(after).map(|(before, after)| after - before);
    let server = figures(site, &tally, cpu, settle).await?;
    Ok(Measured { tally, fsyncs, cpu: used(cpu_after), client_cpu, server })
}

/// Opens the accounts, and makes what is sent.
async fn begun(
    channels: &[Channel],
    ledger: &str,
    load: &Load,
) -> Result<Vec<super::supply::Share>, BenchError> {
    let shares = if load.rate.is_some() { pace::SHARES } else { load.clients };
    let mut cast = Cast::new(ACCOUNTS, shares, load.mix);
    if let Some(channel) = channels.first() {
        let known = extent(channel, ledger).await?.accounts;
        cast = cast.returning(usize::try_from(known).unwrap_or(ACCOUNTS));
    }
    load::open(channels, ledger, cast).await?;
    Ok(supply(ledger, cast, load).await)
}

async fn syncs(site: &Site) -> Option<u64> {
    site.server()?.metrics().await?.syncs()
}

/// Waits until the projection has caught up, and weighs what is there then.
async fn figures(
    site: &Site,
    tally: &Tally,
    cpu_before: Option<f64>,
    settle: Duration,
) -> Result<Option<ServerFigures>, BenchError> {
    let (Some(server), Some(data)) = (site.server(), site.data()) else { return Ok(None) };
    let Some((entries, lag_entries, lag)) = caught_up(server, &site.ledger).await? else { return Ok(None) };
    let Some((before, after)) = cpu_before.zip(server.cpu()) else { return Ok(None) };
    tokio::time::sleep(settle).await;
    let Some(memory) = server.memory() else { return Ok(None) };
    let disk =
        disk_use(&data.join("ledgers").join(&site.ledger))?.with_rest(disk_use(&data.join("projections"))?);
    Ok(Some(ServerFigures {
        cpu_us_per_event: rounded((after - before) * 1e6 / (tally.events.max(1)) as f64),
        entries,
        log_bytes_per_event: rounded(disk.log_bytes as f64 / entries.max(1) as f64),
        hot_bytes_per_event: each(disk.hot_bytes, entries.saturating_sub(disk.hot_from)),
        sealed_bytes_per_event: each(disk.log_bytes.saturating_sub(disk.hot_bytes), disk.hot_from),
        disk_bytes_per_event: rounded(disk.all_bytes as f64 / entries.max(1) as f64),
        rss_bytes: memory.rss_bytes,
        peak_rss_bytes: memory.peak_bytes,
        threads: memory.threads,
        lag_entries,
        lag_s: rounded(lag.as_secs_f64()),
        lag_of_load: ratio(lag.as_secs_f64(), tally.elapsed.as_secs_f64()),
    }))
}

/// Bytes for each of some entries; `None` where there is none.
fn each(bytes: u64, entries: u64) -> Option<f64> {
    (entries > 0).then(|| rounded(bytes as f64 / entries as f64))
}

fn disk_use(data: &Path) -> Result<DiskUse, BenchError> {
    DiskUse::of(data).map_err(|e| BenchError::because("the data directory cannot be weighed", e))
}

/// How many entries there are, by how many the projection was behind at first, and how long it took to catch up.
async fn caught_up(server: &ServerProcess, ledger: &str) -> Result<Option<(u64, u64, Duration)>, BenchError> {
    let (began, mut first) = (Instant::now(), None);
    loop {
        let positions = server.metrics().await.and_then(|page| page.positions(ledger));
        let Some((log, projected)) = positions else { return Ok(None) };
        let lag_entries = *first.get_or_insert(log.saturating_sub(projected));
        if projected >= log {
            let lag = if lag_entries == 0 { Duration::ZERO } else { began.elapsed() };
            return Ok(Some((log, lag_entries, lag)));
        }
        if began.elapsed() > CAUGHT_UP_WITHIN {
            return Err(BenchError("the projection does not reach the end of the log".to_owned()));
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The same load at the servers that do less.
async fn floor_of(options: &Options) -> Result<Floor, BenchError> {
    let fdatasync = super::blocking(|| {
        floor::fdatasync_p50().map_err(|e| BenchError::because("the disk cannot be measured", e))
    });
    let fdatasync = fdatasync.await?;
    let noop = floor_load(options, "noop").await?;
    let raw = floor_load(options, "raw").await?;
    Ok(Floor {
        noop_events_per_s: rounded(noop.events_per_s()),
        raw_events_per_s: rounded(raw.events_per_s()),
        raw_p50_us: raw.micros(0.5),
        fdatasync_p50_us: rounded(fdatasync.as_secs_f64() * 1e6),
        noop_p50_us: noop.micros(0.5),
    })
}

async fn floor_load(options: &Options, kind: &str) -> Result<Tally, BenchError> {
    let data = DataDir::at(None)?;
    let arguments = ["bench", "floor-server", "--kind", kind];
    let server = ServerProcess::start(&options.place.program, &arguments, &data).await?;
    let channels = connect(server.grpc(), options.load.connections).await?;
    let shares = begun(&channels, &own_ledger(), &options.load).await?;
    load::run(&channels, shares, &options.load).await
}

impl Measured {
    fn report(&self, load: &Load, floor: Option<Floor>) -> Report {
        let tally = &self.tally;
        let per_cpu = |cpu: f64| (cpu > 0.0).then(|| rounded(tally.events as f64 / cpu));
        Report {
            events_per_s: rounded(tally.events_per_s()),
            p50_us: tally.micros(0.5),
            p99_us: tally.micros(0.99),
            p999_us: tally.micros(0.999),
            fsyncs: self.fsyncs,
            events_per_cpu_s: self.cpu.and_then(per_cpu),
            client_cpu_s: rounded(self.client_cpu),
            floor,
            events: tally.events,
            seconds: rounded(tally.elapsed.as_secs_f64()),
            clients: load.clients,
            connections: load.connections,
            batch: load.batch,
            stream: load.stream,
            event_bytes: EVENT_BYTES,
            rate: load.rate,
            busy: tally.busy,
            held_back: tally.held_back,
            server: self.server.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{FloorKind, Mix, Until, serve_floor};
    use expect_test::expect;
    use std::path::PathBuf;

    fn tally() -> Tally {
        let mut tally = Tally { events: 100, elapsed: Duration::from_secs(2), ..Tally::default() };
        (1..=1_000_u64).for_each(|n| tally.latencies.saturating_record(n * 1_000));
        tally
    }

    fn a_load() -> Load {
        let until = Until::After(Duration::from_secs(5));
        Load { clients: 8, connections: 2, batch: 1, stream: false, until, rate: None, mix: Mix::Whole }
    }

    #[test]
    fn the_json_of_a_report_keeps_its_promise() {
        let floor = Floor {
            noop_events_per_s: 80_000.0,
            raw_events_per_s: 50_000.0,
            raw_p50_us: 125.0,
            fdatasync_p50_us: 64.5,
            noop_p50_us: 70.0,
        };
        let server = ServerFigures {
            cpu_us_per_event: 20.5,
            entries: 115,
            log_bytes_per_event: 325.0,
            hot_bytes_per_event: None,
            sealed_bytes_per_event: Some(150.0),
            disk_bytes_per_event: 500.0,
            rss_bytes: 1 << 20,
            peak_rss_bytes: 2 << 20,
            threads: 9,
            lag_entries: 12,
            lag_s: 0.5,
            lag_of_load: 0.25,
        };
        let (tally, server) = (tally(), Some(server));
        let measured = Measured { tally, fsyncs: Some(7), cpu: Some(0.5), client_cpu: 0.25, server };
        let report = measured.report(&a_load(), Some(floor));
        expect![[r#"{"events_per_s":50.0,"p50_us":500.22,"p99_us":990.21,"p999_us":999.42,"fsyncs":7,"events_per_cpu_s":200.0,"client_cpu_s":0.25,"floor":{"noop_events_per_s":80000.0,"raw_events_per_s":50000.0,"raw_p50_us":125.0,"fdatasync_p50_us":64.5,"noop_p50_us":70.0},"events":100,"seconds":2.0,"clients":8,"connections":2,"batch":1,"stream":false,"event_bytes":229,"rate":null,"busy":0,"held_back":0,"server":{"cpu_us_per_event":20.5,"entries":115,"log_bytes_per_event":325.0,"hot_bytes_per_event":null,"sealed_bytes_per_event":150.0,"disk_bytes_per_event":500.0,"rss_bytes":1048576,"peak_rss_bytes":2097152,"threads":9,"lag_entries":12,"lag_s":0.5,"lag_of_load":0.25}}"#]].assert_eq(&serde_json::to_string(&report).unwrap());
    }

    #[test]
    fn what_is_not_known_is_null_and_never_infinite() {
        let measured = Measured { tally: tally(), cpu: Some(0.0), ..Measured::default() };
        let json = serde_json::to_value(measured.report(&a_load(), None)).unwrap();
        for name in ["fsyncs", "events_per_cpu_s", "floor", "server", "rate"] {
            assert!(json[name].is_null(), "{name}: {json}");
        }
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

    fn at(server: String) -> Place {
        Place { program: PathBuf::new(), server: Some(server), data: None }
    }

    async fn measured_at(kind: FloorKind, load: Load) -> Report {
        let dir = tempfile::tempdir().unwrap();
        let place = at(floor_server(kind, dir.path().to_owned()).await);
        run(&Options { load, place, floor: false, settle: Duration::ZERO }).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_way_to_send_is_acknowledged_and_counted() {
        let short = Load { until: Until::After(Duration::from_millis(200)), ..a_load() };
        let paced = Load { rate: Some(500.0), ..short };
        for load in [short, Load { batch: 50, ..short }, Load { stream: true, ..short }, paced] {
            let report = measured_at(FloorKind::Raw, load).await;
            assert!(report.events > 0 && report.events.is_multiple_of(load.batch as u64), "{report:?}");
            assert!(report.p50_us > 0.0 && report.p50_us <= report.p99_us, "{report:?}");
            assert!(report.seconds < 5.0, "{report:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_number_of_events_is_sent_to_the_last_one() {
        for load in [a_load(), Load { stream: true, ..a_load() }, Load { rate: Some(5_000.0), ..a_load() }] {
            let report = measured_at(FloorKind::Noop, Load { until: Until::Events(1_001), ..load }).await;
            assert_eq!(report.events, 1_001, "{report:?}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_is_not_there_is_named() {
        let place = at("127.0.0.1:1".to_owned());
        let why =
            run(&Options { load: a_load(), place, floor: false, settle: Duration::ZERO }).await.unwrap_err();
        assert_eq!(why.0, "cannot reach the server at 127.0.0.1:1: is it running?");
    }
}
