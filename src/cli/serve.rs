//! `serve`: the server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ledger::anchor::Known;
use ledger::event::Text;
use ledger::types::LedgerName;

use super::exit::{Exit, Failure};
use crate::anchors::Trust;
use crate::keyfile::{self, KeyFile};
use crate::ledgers::OpenError;
use crate::notary::Signing;
use crate::scrub;
use crate::server::{self, ServeError, ServeOptions};
use crate::witness::{WitnessAt, Witnesses};

/// Runs the server until it is asked to stop
#[derive(Debug, Args)]
pub struct Serve {
    /// The directory that holds everything; made where it is not there
    #[arg(long, value_name = "DIR", env = "TOKENLEDGER_DATA")]
    data: PathBuf,
    /// Where to listen; port 0: any, the ready line says which
    #[arg(long, value_name = "ADDR:PORT", env = "TOKENLEDGER_LISTEN", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,
    /// Where to serve metrics for Prometheus, at /metrics
    #[arg(long, value_name = "ADDR:PORT", env = "TOKENLEDGER_METRICS")]
    metrics: Option<SocketAddr>,
    /// In which form to write the log, on standard error
    #[arg(long, value_enum, env = "TOKENLEDGER_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// How fast to read all logs again in the background, in MiB a second, to find damage early; 0: not at all
    #[arg(long, value_name = "MIB", env = "TOKENLEDGER_SCRUB_RATE", default_value_t = scrub::RATE_MIB_DEFAULT)]
    scrub_rate: u64,
    /// Whether to compress sealed segments in the background
    #[arg(long, value_enum, env = "TOKENLEDGER_PACK", default_value = "on")]
    pack: Switch,
    /// The file of the private key that signs checkpoints (`tokenledger key generate`); without it there are none
    #[arg(long, value_name = "FILE", env = "TOKENLEDGER_KEY")]
    key: Option<PathBuf>,
    /// How often to sign a checkpoint at most, while something is new
    #[arg(long, value_name = "TIME", env = "TOKENLEDGER_CHECKPOINT_EVERY", default_value = "100ms", value_parser = super::moment::duration)]
    checkpoint_every: Duration,
    /// A witness that cosigns checkpoints: its public key, a space and its address; give it again for each witness
    #[arg(long = "witness", value_name = "KEY URL", requires = "key")]
    witnesses: Vec<WitnessAt>,
    /// How many witnesses must have cosigned a checkpoint before it is published; 0: it is published at once
    #[arg(long, value_name = "K", env = "TOKENLEDGER_WITNESS_QUORUM", default_value_t = 0)]
    witness_quorum: usize,
    /// The file that keeps each ledger's newest checkpoint, outside of the data directory; a log that does not go on from
    /// it is refused. Made where it is not there, while the ledgers are empty
    #[arg(long, value_name = "FILE", env = "TOKENLEDGER_ANCHOR")]
    anchor: Option<PathBuf>,
    /// Makes the anchor file from what the ledgers have now
    #[arg(long)]
    anchor_init: bool,
    /// A file with a signed checkpoint that a ledger must go on from; may be given several times
    #[arg(long, value_name = "FILE")]
    expect_checkpoint: Vec<PathBuf>,
    /// A ledger that may contradict what is known of it, which is recorded in it for ever; may be given several times
    #[arg(long, value_name = "LEDGER", requires = "override_reason")]
    override_checkpoint: Vec<LedgerName>,
    /// Why it may; recorded with it
    #[arg(long, value_name = "TEXT", requires = "override_checkpoint", value_parser = Text::note)]
    override_reason: Option<Text>,
}

/// Whether something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Switch {
    /// It is.
    On,
    /// It is not.
    Off,
}

/// In which form the server writes its log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// JSON for programs.
    Json,
}

impl Serve {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot start, or had to stop.
    pub async fn run(self) -> Result<Exit, Failure> {
        // Not left to the parser, to which a file named among the settings is a default.
        if self.anchor_init && self.anchor.is_none() {
            return Err(Failure::Usage(
                "--anchor-init needs to know which file: add `--anchor FILE`".to_owned(),
            ));
        }
        let key = self.key.as_deref().map(keyfile::read).transpose().map_err(Failure::because)?;
        let every = self.checkpoint_every;
        let witnesses = Witnesses::new(self.witnesses, self.witness_quorum)
            .map_err(|error| Failure::Usage(error.to_string()))?;
        let witnesses = (witnesses.count() > 0).then(|| Arc::new(witnesses));
        let signing = |KeyFile { key, rotations }| Signing {
            rotations: rotations.into(),
            witnesses,
            ..Signing::new(key, every)
        };
        let expected = self.expect_checkpoint.iter().map(|path| expected(path)).collect::<Result<_, _>>()?;
        let options = ServeOptions {
            signing: key.map(signing),
            trust: Trust {
                anchor: self.anchor,
                anchor_init: self.anchor_init,
                expected,
                overridden: self.override_checkpoint.into_iter().collect(),
                override_reason: self.override_reason,
            },
            data: self.data,
            listen: self.listen,
            metrics: self.metrics,
            log_json: self.log_format == LogFormat::Json,
            scrub_rate: self.scrub_rate,
            pack: self.pack == Switch::On,
        };
        let code = server::run(options).await.map_err(|error| match error {
            ServeError::Open(OpenError::Contradicted(_)) => Failure::Unverified(error.to_string()),
            _ => Failure::because(error),
        })?;
        Ok(if code == std::process::ExitCode::SUCCESS { Exit::Done } else { Exit::Failed })
    }
}

/// Reads a checkpoint.
fn expected(path: &Path) -> Result<Known, Failure> {
    let note = std::fs::read(path).map_err(|error| Failure::at(path, &error))?;
    Known::read(&note).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))
}
