//! `tokenledger witness`: takes checkpoints over HTTP, and cosigns those that go on from all that it has seen.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ledger::checkpoint::VerifierKey;
use ledger::checkpoint::cosignature::CosignerSecret;
use ledger::disk::Disk;
use ledger::witness::{REQUEST_BYTES_MAX, Refused, SIZE_TYPE, StateError, Witness};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::lock;

/// How long a shutdown waits for what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const NANOS: i64 = 1_000_000_000;
/// How often something is said that others can have it say.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// How to witness.
pub struct WitnessOptions {
    /// Its key.
    pub key: CosignerSecret,
    /// The public keys of the logs that it looks at.
    pub logs: Vec<VerifierKey>,
    /// The directory in which it keeps what it knows.
    pub state: PathBuf,
    /// Where it listens; port 0: any.
    pub listen: SocketAddr,
}

/// Why a witness does not run.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// Not a loopback address.
    #[error(
        "{0} can be reached from other machines, and a witness has no TLS: listen on 127.0.0.1 or [::1], and put a proxy with a certificate in front for others"
    )]
    NotLoopback(SocketAddr),
    /// The address can't be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// Another process has its directory.
    #[error(
        "{0} is in use by another witness; stop that one first: two that do not know of each other must not sign with one key"
    )]
    InUse(PathBuf),
    /// Its directory can't be used.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
    /// What it knows can't be read.
    #[error("{0}")]
    State(#[from] StateError),
}

/// A witness that runs.
pub struct Running {
    /// Where it listens.
    pub http: SocketAddr,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    /// Takes no more requests, and waits for those under way. What was answered is durable.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout(DRAIN_MAX, self.task).await.is_err() {
            abort.abort();
        }
    }
}

/// Starts a witness.
///
/// # Errors
/// [`WitnessError`].
pub async fn start(
    options: WitnessOptions,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
) -> Result<Running, WitnessError> {
    let address = options.listen;
    if !address.ip().is_loopback() {
        return Err(WitnessError::NotLoopback(address));
    }
    let lock = lock(disk.as_ref(), &options.state)?;
    let witness = Witness::open(options.key, &options.logs, disk, options.state)?;
    let failed = |error| WitnessError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let http = listener.local_addr().map_err(failed)?;
    let desk = Arc::new(Desk { witness: Mutex::new(witness), clock, said: Default::default(), _lock: lock });
    let (stop, mut stopped) = watch::channel(false);
    let router = Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(desk);
    let stopping = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let task = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stopping).await {
            tracing::error!(%error, "the witness failed");
        }
    });
    Ok(Running { http, stop, task })
}

/// Locks a directory for this process.
fn lock(disk: &dyn Disk, dir: &Path) -> Result<File, WitnessError> {
    let path = dir.join("lock");
    let io = |error| WitnessError::Io { path: path.clone(), error };
    disk.make_dir(dir).map_err(io)?;
    lock::hold(disk, &path).map_err(io)?.ok_or_else(|| WitnessError::InUse(dir.to_owned()))
}

struct Desk {
    /// One request after the other: see [`Witness`].
    witness: Mutex<Witness>,
    clock: Arc<dyn Clock>,
    /// When it was said last that a log has forked, and that a proof was wrong: whoever reaches this witness can have it
    /// say so again.
    said: [Mutex<Option<Instant>>; 2],
    _lock: File,
}

async fn add_checkpoint(State(desk): State<Arc<Desk>>, body: Bytes) -> Response {
    match tokio::task::spawn_blocking(move || desk.answer(&body)).await {
        Ok(Some(Ok(line))) => (StatusCode::OK, line).into_response(),
        Ok(Some(Err(refused))) => refusal(&refused),
        Ok(None) | Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

impl Desk {
    /// Whether it is time to say something again.
    fn may_say(said: &Mutex<Option<Instant>>) -> bool {
        let mut said = said.lock().unwrap_or_else(PoisonError::into_inner);
        let may = said.is_none_or(|said| said.elapsed() >= SAY_EVERY);
        if may {
            *said = Some(Instant::now());
        }
        may
    }

    /// `None` where an earlier request ended in a way that leaves open what is known.
    fn answer(&self, body: &[u8]) -> Option<Result<Vec<u8>, Refused>> {
        let mut witness = self.witness.lock().ok()?;
        let seconds = u64::try_from(self.clock.now().0 / NANOS).unwrap_or_default();
        let answer = witness.add_checkpoint(body, seconds);
        match &answer {
            Err(refused @ Refused::Fork { note, .. }) if Self::may_say(&self.said[0]) => {
                tracing::error!(%refused, note, "A LOG HAS SIGNED TWO HISTORIES; keep this note: with the one in the state it is evidence");
            }
            Err(refused @ Refused::Inconsistent(_)) if Self::may_say(&self.said[1]) => {
                tracing::warn!(%refused, "not cosigned: the log has forked, or somebody has sent a wrong proof");
            }
            Err(refused @ (Refused::Keep(_) | Refused::Sign(_))) => tracing::error!(%refused, "not cosigned"),
            Err(refused) => tracing::debug!(%refused, "not cosigned"),
            Ok(_) => {}
        }
        Some(answer)
    }
}

fn refusal(refused: &Refused) -> Response {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match refused {
        Refused::Conflict(size) | Refused::Fork { size, .. } => {
            (status, [(CONTENT_TYPE, SIZE_TYPE)], format!("{size}\n")).into_response()
        }
        _ => (status, format!("{refused}\n")).into_response(),
    }
}
