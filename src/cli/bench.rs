//! `bench`: how fast it is here.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::Global;
use super::exit::{Exit, Failure};
use super::moment;
use super::print::{Printer, Section, Shown};
use super::settings;
use crate::bench::{self, BenchError, FloorKind, Load, Options, Report};

/// Measures how fast it is on this machine
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Appends from clients that each wait for their acknowledgement
    Append(Append),
    /// A server that does less than a ledger must, to compare with
    #[command(hide = true)]
    FloorServer(FloorServer),
}

#[derive(Debug, Args)]
struct Append {
    /// Requests in flight in all
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Connections that they share
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Events of one request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
    /// One stream a connection, instead of a call a request
    #[arg(long, conflicts_with = "batch")]
    stream: bool,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = moment::duration)]
    duration: Duration,
    /// Also measure what the machine could do at most
    #[arg(long)]
    floor: bool,
}

#[derive(Debug, Args)]
struct FloorServer {
    #[arg(long, value_enum)]
    kind: FloorName,
    #[arg(long)]
    data: PathBuf,
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FloorName {
    Noop,
    Raw,
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Self::Failed(error.0)
    }
}

impl Bench {
    /// Carries it out.
    ///
    /// # Errors
    /// Where a server cannot be started or reached, or refuses an event.
    pub async fn run(
        self,
        global: &Global,
        arguments: &[OsString],
        printer: &mut Printer,
    ) -> Result<Exit, Failure> {
        match self.what {
            What::Append(append) => {
                // Only a server named on this very command line is loaded: settings may name one that people use.
                let named = settings::flag(arguments, "--server").map(|_| global.server.clone());
                let options = append.options(named)?;
                let report = tokio::select! {
                    report = bench::run(&options) => report?,
                    _ = tokio::signal::ctrl_c() => return Err(Failure::because("interrupted; nothing is left behind")),
                };
                printer.one(&report)?;
            }
            What::FloorServer(FloorServer { kind, data, listen }) => {
                let kind = match kind {
                    FloorName::Noop => FloorKind::Noop,
                    FloorName::Raw => FloorKind::Raw,
                };
                bench::serve_floor(kind, &data, listen, &mut std::io::stdout()).await?;
            }
        }
        Ok(Exit::Done)
    }
}

impl Append {
    fn options(&self, server: Option<String>) -> Result<Options, Failure> {
        let program = std::env::current_exe().map_err(|e| {
            Failure::Failed(format!("the program does not find itself to start a server: {e}"))
        })?;
        let load = Load {
            clients: self.clients.into(),
            connections: self.connections.min(self.clients).into(),
            batch: self.batch.into(),
            stream: self.stream,
            duration: self.duration,
        };
        Ok(Options { load, program, server, floor: self.floor })
    }
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
        let known = |value: Option<f64>| value.map(|value| format!("{value:.0}")).unwrap_or_default();
        let micros = |value: f64| format!("{value:.1} us");
        let mut facts = vec![
            ("events a second", format!("{:.0}", self.events_per_s)),
            ("half of the requests within", micros(self.p50_us)),
            ("99 of 100 within", micros(self.p99_us)),
            ("999 of 1,000 within", micros(self.p999_us)),
            ("syncs of the disk", self.fsyncs.map(|n| n.to_string()).unwrap_or_default()),
            ("events a second of the server's processor time", known(self.events_per_cpu_s)),
            ("processor time of the clients", format!("{:.2} s", self.client_cpu_s)),
        ];
        if let Some(floor) = &self.floor {
            facts.extend([
                ("floor: decode and acknowledge", format!("{:.0} events a second", floor.noop_events_per_s)),
                ("floor: link, write, sync", format!("{:.0} events a second", floor.raw_events_per_s)),
                ("floor: half of its requests within", micros(floor.raw_p50_us)),
                ("one write of 4 KiB and its sync", micros(floor.fdatasync_p50_us)),
            ]);
        }
        let told = format!(
            "{} events of {} bytes in {:.1} s, {} in flight, {} a request, connections: {}{}",
            self.events,
            self.event_bytes,
            self.seconds,
            self.clients,
            self.batch,
            self.connections,
            if self.stream { ", streamed" } else { "" }
        );
        vec![Section::facts(&facts), Section::line(told)]
    }
}
