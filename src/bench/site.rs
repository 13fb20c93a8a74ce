//! Where it is measured: a server that is started for it, or one that runs.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::checkpoint::PrivateKey;
use tonic::Code;
use tonic::transport::Channel;
use uuid::Uuid;

use super::load;
use super::process::{DataDir, ServerProcess};
use super::supply::supply;
use super::workload::{ACCOUNTS, Cast, Mix};
use super::{BenchError, Load, Until, connect};
use crate::wire::pb;
use pb::admin_service_client::AdminServiceClient;

/// The ledger in a directory that is kept, so that a later run finds it.
const KEPT_LEDGER: &str = "bench";
/// How often a projection is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(2);
/// How long a projection may take for what was filled in.
const PROJECTED_WITHIN: Duration = Duration::from_secs(600);
/// How a ledger is filled.
const FILL_CLIENTS: usize = 8;
const FILL_BATCH_MAX: u64 = 500;
/// Events of each account of a ledger that is filled with few.
const EVENTS_AN_ACCOUNT: u64 = 50;

/// Where to measure.
#[derive(Clone, Debug)]
pub struct Place {
    /// The program that runs as the server.
    pub program: PathBuf,
    /// The server to ask instead; nothing is known of its processor and its disk then.
    pub server: Option<String>,
    /// The data directory, made where it is missing and kept; `None`: one that is removed.
    pub data: Option<PathBuf>,
}

/// A server, and the ledger in it that the measurement is about.
pub(super) struct Site {
    pub(super) url: String,
    pub(super) ledger: String,
    server: Option<(ServerProcess, DataDir)>,
    program: PathBuf,
    kept: bool,
}

/// How far a ledger is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) entries: u64,
    pub(super) projected: u64,
    pub(super) accounts: u64,
}

impl Site {
    /// Starts a server, unless one is given.
    pub(super) async fn open(place: &Place) -> Result<Self, BenchError> {
        if let Some(url) = &place.server {
            let (program, kept) = (place.program.clone(), place.data.is_some());
            return Ok(Self { url: url.clone(), ledger: own_ledger(), server: None, program, kept });
        }
        Self::on(place, DataDir::at(place.data.as_deref())?).await
    }

    /// Starts a server that signs checkpoints.
    pub(super) async fn open_signed(place: &Place) -> Result<(Self, PrivateKey), BenchError> {
        let (data, key) = DataDir::at(place.data.as_deref())?.signed()?;
        Ok((Self::on(place, data).await?, key))
    }

    async fn on(place: &Place, data: DataDir) -> Result<Self, BenchError> {
        let ledger = if place.data.is_some() { KEPT_LEDGER.to_owned() } else { own_ledger() };
        let (program, kept) = (place.program.clone(), place.data.is_some());
        let server = ServerProcess::serve(&program, &data).await?;
        Ok(Self { url: server.grpc().to_owned(), ledger, server: Some((server, data)), program, kept })
    }

    /// The server, where it was started here.
    pub(super) fn server(&self) -> Option<&ServerProcess> {
        self.server.as_ref().map(|(server, _)| server)
    }

    /// Its data directory, where it was started here.
    pub(super) fn data(&self) -> Option<&Path> {
        self.server.as_ref().map(|(_, data)| data.path())
    }

    /// Connections to it.
    pub(super) async fn channels(&self, connections: usize) -> Result<Vec<Channel>, BenchError> {
        connect(&self.url, connections).await
    }

    /// One connection to it.
    pub(super) async fn channel(&self) -> Result<Channel, BenchError> {
        let mut channels = self.channels(1).await?;
        channels.pop().ok_or_else(|| BenchError("there is no connection".to_owned()))
    }

    /// How far the ledger is.
    pub(super) async fn extent(&self, channel: &Channel) -> Result<Extent, BenchError> {
        extent(channel, &self.ledger).await
    }

    /// Waits until queries reflect everything that is recorded, and says how long that took.
    pub(super) async fn projected(&self, channel: &Channel) -> Result<Duration, BenchError> {
        let began = Instant::now();
        loop {
            let extent = self.extent(channel).await?;
            if extent.projected >= extent.entries {
                return Ok(began.elapsed());
            }
            if began.elapsed() > PROJECTED_WITHIN {
                return Err(BenchError("the projection does not reach the end of the log".to_owned()));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    /// Fills the ledger up to so many events, and waits until queries reflect them.
    pub(super) async fn fill(&self, channel: &Channel, events: u64) -> Result<Extent, BenchError> {
        let there = self.extent(channel).await?;
        if there.entries < events {
            let accounts = usize::try_from(events / EVENTS_AN_ACCOUNT).unwrap_or(ACCOUNTS).min(ACCOUNTS);
            let known = usize::try_from(there.accounts).unwrap_or(ACCOUNTS);
            let cast = Cast::new(accounts, FILL_CLIENTS, Mix::Whole).returning(known);
            let channels = [channel.clone()];
            load::open(&channels, &self.ledger, cast).await?;
            let missing = events.saturating_sub(self.extent(channel).await?.entries);
            if missing > 0 {
                let batch = (missing / FILL_CLIENTS as u64).clamp(1, FILL_BATCH_MAX);
                let load = filling(Until::Events(missing), usize::try_from(batch).unwrap_or(1));
                let shares = supply(&self.ledger, cast, &load).await;
                load::run(&channels, shares, &load).await?;
            }
        }
        self.projected(channel).await?;
        self.extent(channel).await
    }

    /// Ends the server in order, and keeps its directory for whatever is done without it.
    pub(super) async fn stop(self) -> Result<Stopped, BenchError> {
        let Some((server, data)) = self.server else {
            return Err(BenchError("this measures a directory, so it needs a server of its own".to_owned()));
        };
        server.stop().await?;
        Ok(Stopped { data, ledger: self.ledger, program: self.program, kept: self.kept })
    }

    /// Ends the server as a power cut would.
    pub(super) fn kill(self) -> Result<Stopped, BenchError> {
        let Some((server, data)) = self.server else {
            return Err(BenchError("this measures a directory, so it needs a server of its own".to_owned()));
        };
        server.kill();
        Ok(Stopped { data, ledger: self.ledger, program: self.program, kept: self.kept })
    }

    /// Ends what was started here: in order where the directory is kept.
    pub(super) async fn close(self) -> Result<(), BenchError> {
        if self.kept && self.server.is_some() { self.stop().await.map(drop) } else { Ok(()) }
    }
}

/// The directory of a server that has ended.
pub(super) struct Stopped {
    pub(super) data: DataDir,
    pub(super) ledger: String,
    program: PathBuf,
    kept: bool,
}

impl Stopped {
    /// Starts a server on it again.
    pub(super) async fn serve(self) -> Result<Site, BenchError> {
        let server = ServerProcess::serve(&self.program, &self.data).await?;
        let (url, ledger) = (server.grpc().to_owned(), self.ledger);
        let (program, kept) = (self.program, self.kept);
        Ok(Site { url, ledger, server: Some((server, self.data)), program, kept })
    }

    /// The directory of the ledger.
    pub(super) fn ledger_dir(&self) -> PathBuf {
        self.data.path().join("ledgers").join(&self.ledger)
    }
}

/// How far a ledger is; nowhere, where there is none or the server does not know.
pub(super) async fn extent(channel: &Channel, ledger: &str) -> Result<Extent, BenchError> {
    let request = pb::DescribeLedgerRequest { ledger: ledger.to_owned() };
    let described = match AdminServiceClient::new(channel.clone()).describe_ledger(request).await {
        Ok(described) => described.into_inner(),
        Err(status) if matches!(status.code(), Code::NotFound | Code::Unimplemented) => {
            return Ok(Extent::default());
        }
        Err(status) => return Err(BenchError::asked(&status)),
    };
    let ledger = described.ledger.unwrap_or_default();
    Ok(Extent { entries: ledger.entries, projected: ledger.projected, accounts: described.accounts })
}

/// A ledger of the benchmark's own, so that it never writes among anybody's events.
pub(super) fn own_ledger() -> String {
    let id = Uuid::new_v4().simple().to_string();
    format!("{KEPT_LEDGER}-{}", id.get(..8).unwrap_or_default())
}

/// The load by which a ledger is filled.
fn filling(until: Until, batch: usize) -> Load {
    Load { clients: FILL_CLIENTS, connections: 1, batch, stream: false, until, rate: None, mix: Mix::Whole }
}
