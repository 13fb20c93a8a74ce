//! `bench`: how fast it is here.

mod shown;

use std::ffi::OsString;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::Global;
use super::exit::{Exit, Failure};
use super::moment;
use super::print::{Printer, Shown};
use super::settings;
use crate::bench::{self, BenchError, FloorKind, Load, Mix, Place, Question, Until};
use crate::server::asked_to_stop;

/// Measures how fast it is on this machine
#[derive(Debug, Args)]
pub struct Bench {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Appends from many clients
    Append(Append),
    /// Asks about accounts at random
    Query(Query),
    /// Reads everything back in one stream
    Tail(Filled),
    /// Folds a log anew, and builds its projection anew
    Rebuild(Filled),
    /// Judges a log, beside a thread that only hashes
    Verify(Rounds),
    /// Brings deleted accounts back
    Restore(Restore),
    /// Starts a server again after a power cut, and after an end in order
    Restart(Restart),
    /// Weighs many idle ledgers
    Ledgers(Ledgers),
    /// Appends with a full verify beside it, and without
    Audit(Audit),
    /// Appends with checkpoints and without, and proves events
    Proof(Proofs),
    /// A server that does less than a ledger must, to compare with
    #[command(hide = true)]
    FloorServer(FloorServer),
}

/// Where it is measured.
#[derive(Debug, Args)]
struct Kept {
    /// The data directory of the server that is started, made where it is missing and kept; without it, one that is
    /// removed
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// A ledger that holds something before it is measured.
#[derive(Debug, Args)]
struct Filled {
    /// Events that the ledger is filled up to before
    #[arg(long, value_name = "N", default_value_t = 250_000, value_parser = clap::value_parser!(u64).range(1..))]
    events: u64,
    #[command(flatten)]
    kept: Kept,
}

#[derive(Debug, Args)]
struct Rounds {
    #[command(flatten)]
    filled: Filled,
    /// How often each is measured, in turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

/// Who sends, and how much at a time.
#[derive(Debug, Args)]
struct Senders {
    /// Requests in flight in all
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Connections that they share
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Events of one request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    batch: u16,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = moment::duration)]
    duration: Duration,
}

#[derive(Debug, Args)]
struct Append {
    #[command(flatten)]
    senders: Senders,
    /// One stream a connection, instead of a call a request
    #[arg(long, conflicts_with = "batch")]
    stream: bool,
    /// Send so many events a second whatever becomes of those before, and count from when each should have been sent
    #[arg(long, value_name = "EVENTS_PER_S", conflicts_with_all = ["stream", "clients"], value_parser = rate)]
    rate: Option<f64>,
    /// Send so many events, however long it takes
    #[arg(long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// What the events are: the whole mix, or tokens issued, which all stay live
    #[arg(long, value_enum, default_value = "whole")]
    mix: MixName,
    /// Also measure what the machine could do at most
    #[arg(long)]
    floor: bool,
    /// How long to wait after the load before the disk is weighed
    #[arg(long, value_name = "TIME", value_parser = moment::duration)]
    settle: Option<Duration>,
    #[command(flatten)]
    kept: Kept,
}

#[derive(Debug, Args)]
struct Query {
    /// What is asked
    question: QuestionName,
    /// Questions in flight in all
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    clients: u16,
    /// Connections that they share
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    connections: u16,
    /// Events of an answer at most
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    page: u32,
    /// For how long
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = moment::duration)]
    duration: Duration,
    #[command(flatten)]
    filled: Filled,
}

#[derive(Debug, Args)]
struct Restore {
    /// Accounts that are deleted and brought back
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    accounts: u16,
    /// Events of each account before
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..))]
    events_per_account: u16,
    #[command(flatten)]
    kept: Kept,
}

#[derive(Debug, Args)]
struct Restart {
    #[command(flatten)]
    filled: Filled,
    /// Events behind the last snapshot when the power is cut
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    tail: u64,
    /// How often each is measured, in turns
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
}

#[derive(Debug, Args)]
struct Ledgers {
    /// How many
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..))]
    ledgers: u16,
    /// How often each is appended to
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    #[command(flatten)]
    kept: Kept,
}

#[derive(Debug, Args)]
struct Audit {
    #[command(flatten)]
    senders: Senders,
    #[command(flatten)]
    rounds: Rounds,
}

#[derive(Debug, Args)]
struct Proofs {
    #[command(flatten)]
    rounds: Rounds,
    /// How many proofs to ask for
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..))]
    proofs: u64,
    /// How long each load is
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = moment::duration)]
    duration: Duration,
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

#[derive(Clone, Copy, Debug, ValueEnum)]
enum MixName {
    Whole,
    Tokens,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum QuestionName {
    /// The newest events of an account
    History,
    /// An account as it is now
    Account,
    /// The token with a digest
    Digest,
}

fn rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or("not a number of events a second above 0")
}

impl From<BenchError> for Failure {
    fn from(error: BenchError) -> Self {
        Self::Failed(error.0)
    }
}

impl Bench {
    /// Whether the clients share one thread: what they do is little, and threads that wake each other would take a third
    /// of a small machine's processors from the server that is measured.
    pub(super) fn on_one_thread(&self) -> bool {
        matches!(self.what, What::Append(_) | What::Query(_))
    }

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
        // Only a server named on this very command line is loaded: settings may name one that people use.
        let server = settings::flag(arguments, "--server").map(|_| global.server.clone());
        match self.what {
            What::FloorServer(floor) => floor.serve().await?,
            What::Append(append) => print(printer, bench::append(&append.options(server)?)).await?,
            What::Query(query) => print(printer, bench::query(&query.options(server)?)).await?,
            What::Tail(Filled { events, kept }) => {
                print(printer, bench::tail(&kept.place(server)?, events)).await?;
            }
            What::Restore(restore) => print(printer, bench::restore(&restore.options(server)?)).await?,
            own => own.run_own(server, printer).await?,
        }
        Ok(Exit::Done)
    }
}

impl What {
    /// Those that need a directory, and so a server of their own.
    async fn run_own(self, server: Option<String>, printer: &mut Printer) -> Result<(), Failure> {
        if server.is_some() {
            let why = "this measures a directory, so it starts a server of its own: leave --server out";
            return Err(Failure::Usage(why.to_owned()));
        }
        match self {
            Self::Rebuild(Filled { events, kept }) => {
                print(printer, bench::rebuild(&kept.place(None)?, events)).await
            }
            Self::Verify(verify) => print(printer, bench::verify(&verify.options()?)).await,
            Self::Restart(restart) => print(printer, bench::restart(&restart.options()?)).await,
            Self::Ledgers(ledgers) => print(printer, bench::ledgers(&ledgers.options()?)).await,
            Self::Audit(audit) => print(printer, bench::audit(&audit.options()?)).await,
            Self::Proof(proofs) => print(printer, bench::proof(&proofs.options()?)).await,
            Self::Append(_) | Self::Query(_) | Self::Tail(_) | Self::Restore(_) | Self::FloorServer(_) => {
                Ok(())
            }
        }
    }
}

/// Prints what is measured, unless somebody ends it before.
async fn print<T: Shown>(
    printer: &mut Printer,
    measured: impl Future<Output = Result<T, BenchError>>,
) -> Result<(), Failure> {
    let report = tokio::select! {
        report = measured => report?,
        () = asked_to_stop() => return Err(Failure::because("interrupted; nothing is left behind")),
    };
    printer.one(&report)
}

impl Kept {
    fn place(&self, server: Option<String>) -> Result<Place, Failure> {
        if server.is_some() && self.data.is_some() {
            let why = "--data is for a server that is started here: name either it or --server";
            return Err(Failure::Usage(why.to_owned()));
        }
        let program = std::env::current_exe().map_err(|e| {
            Failure::Failed(format!("the program does not find itself to start a server: {e}"))
        })?;
        Ok(Place { program, server, data: self.data.clone() })
    }
}

impl Senders {
    fn load(&self) -> Load {
        Load {
            clients: self.clients.into(),
            connections: self.connections.min(self.clients).into(),
            batch: self.batch.into(),
            stream: false,
            until: Until::After(self.duration),
            rate: None,
            mix: Mix::Whole,
        }
    }
}

impl Append {
    fn options(&self, server: Option<String>) -> Result<bench::Options, Failure> {
        let load = self.senders.load();
        let mix = match self.mix {
            MixName::Whole => Mix::Whole,
            MixName::Tokens => Mix::Tokens,
        };
        let until = self.events.map_or(load.until, Until::Events);
        let load = Load { stream: self.stream, rate: self.rate, until, mix, ..load };
        let (place, floor, settle) = (self.kept.place(server)?, self.floor, self.settle.unwrap_or_default());
        Ok(bench::Options { load, place, floor, settle })
    }
}

impl Query {
    fn options(&self, server: Option<String>) -> Result<bench::QueryOptions, Failure> {
        Ok(bench::QueryOptions {
            place: self.filled.kept.place(server)?,
            question: match self.question {
                QuestionName::History => Question::History,
                QuestionName::Account => Question::Account,
                QuestionName::Digest => Question::Digest,
            },
            events: self.filled.events,
            clients: self.clients.into(),
            connections: self.connections.min(self.clients).into(),
            page: self.page,
            duration: self.duration,
        })
    }
}

impl Rounds {
    fn options(&self) -> Result<bench::VerifyOptions, Failure> {
        let place = self.filled.kept.place(None)?;
        Ok(bench::VerifyOptions { place, events: self.filled.events, rounds: self.rounds.into() })
    }
}

impl Restore {
    fn options(&self, server: Option<String>) -> Result<bench::RestoreOptions, Failure> {
        Ok(bench::RestoreOptions {
            place: self.kept.place(server)?,
            accounts: self.accounts.into(),
            events_per_account: self.events_per_account.into(),
        })
    }
}

impl Restart {
    fn options(&self) -> Result<bench::RestartOptions, Failure> {
        Ok(bench::RestartOptions {
            place: self.filled.kept.place(None)?,
            events: self.filled.events,
            tail: self.tail,
            rounds: self.rounds.into(),
        })
    }
}

impl Ledgers {
    fn options(&self) -> Result<bench::LedgersOptions, Failure> {
        let place = self.kept.place(None)?;
        Ok(bench::LedgersOptions { place, ledgers: self.ledgers.into(), rounds: self.rounds.into() })
    }
}

impl Audit {
    fn options(&self) -> Result<bench::AuditOptions, Failure> {
        let filled = self.rounds.options()?;
        Ok(bench::AuditOptions {
            place: filled.place,
            events: filled.events,
            load: self.senders.load(),
            rounds: filled.rounds,
        })
    }
}

impl Proofs {
    fn options(&self) -> Result<bench::ProofOptions, Failure> {
        let filled = self.rounds.options()?;
        Ok(bench::ProofOptions {
            place: filled.place,
            events: filled.events,
            proofs: self.proofs,
            duration: self.duration,
            rounds: filled.rounds,
        })
    }
}

impl FloorServer {
    async fn serve(self) -> Result<(), BenchError> {
        let kind = match self.kind {
            FloorName::Noop => FloorKind::Noop,
            FloorName::Raw => FloorKind::Raw,
        };
        bench::serve_floor(kind, &self.data, self.listen, &mut std::io::stdout()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_above_nothing() {
        assert_eq!(rate("20000.5"), Ok(20_000.5));
        for wrong in ["0", "-1", "inf", "NaN", "many", ""] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_directory_and_a_server_are_not_both_measured() {
        let kept = Kept { data: Some("d".into()) };
        assert!(matches!(kept.place(Some("s".into())), Err(Failure::Usage(_))));
        assert_eq!(kept.place(None).unwrap().data, Some("d".into()));
    }
}
