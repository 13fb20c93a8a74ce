//! `witness`: cosigns the checkpoints of others' logs.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use ledger::checkpoint::VerifierKey;
use ledger::disk::RealDisk;

use super::exit::{Exit, Failure};
use super::serve::LogFormat;
use crate::clock::SystemClock;
use crate::keyfile;
use crate::server::{asked_to_stop, start_logging};
use crate::witness::server::{WitnessOptions, start};

/// Witnesses logs: cosigns each checkpoint that goes on from all it has seen before
///
/// Run it on another machine than the server, and by somebody else. It answers `POST /add-checkpoint` as C2SP's
/// tlog-witness says. How to set up two machines: `docs/witnesses.md`.
#[derive(Debug, Args)]
pub struct Witness {
    /// The file of the witness' private key (`tokenledger key generate --witness`)
    #[arg(long, value_name = "FILE", env = "TOKENLEDGER_WITNESS_KEY")]
    key: PathBuf,
    /// The public key of a log to witness (`tokenledger key show`); give it again for each log
    #[arg(long = "log", value_name = "KEY", required = true)]
    logs: Vec<VerifierKey>,
    /// The directory that holds what it has cosigned; made where it is not there. Never put an older copy back
    #[arg(long, value_name = "DIR", env = "TOKENLEDGER_WITNESS_STATE")]
    state: PathBuf,
    /// Where to listen; port 0: any, the ready line says which
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "TOKENLEDGER_WITNESS_LISTEN",
        default_value = "127.0.0.1:7430"
    )]
    listen: SocketAddr,
    /// In which form to write the log, on standard error
    #[arg(long, value_enum, env = "TOKENLEDGER_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

impl Witness {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the witness cannot start.
    pub async fn run(self) -> Result<Exit, Failure> {
        start_logging(self.log_format == LogFormat::Json);
        let key = keyfile::read_cosigner(&self.key).map_err(Failure::because)?;
        let options = WitnessOptions { key, logs: self.logs, state: self.state, listen: self.listen };
        let running =
            start(options, Arc::new(RealDisk), Arc::new(SystemClock)).await.map_err(Failure::because)?;
        // Whoever reads the ready line may ask at once.
        let asked = asked_to_stop();
        print_ready(running.http);
        asked.await;
        running.stop().await;
        Ok(Exit::Done)
    }
}

#[expect(clippy::print_stdout, reason = "the line by which scripts know that the witness can answer")]
fn print_ready(http: SocketAddr) {
    println!(r#"{{"ready":true,"http":"{http}"}}"#);
}
