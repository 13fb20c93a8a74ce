//! `tokenledger witness`: takes checkpoints over HTTP, and cosigns those that go on from all that it has seen.

use std::fs::{File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use ledger::checkpoint::VerifierKey;
use ledger::checkpoint::cosignature::CosignerSecret;
use ledger::disk::{Disk, Open};
use ledger::witness::{REQUEST_BYTES_MAX, Refused, SIZE_TYPE, StateError, Witness};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::clock::Clock;

/// How long a shutdown waits for what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(5);
const NANOS: i64 = 1_000_000_000;

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
    let desk = Arc::new(Desk { witness: Mutex::new(witness), clock, _lock: lock });
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
    match disk.open(&path, Open::New) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(io(error)),
    }
    let file = File::open(&path).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(WitnessError::InUse(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

struct Desk {
    /// One request after the other: see [`Witness`].
    witness: Mutex<Witness>,
    clock: Arc<dyn Clock>,
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
    /// `None` where an earlier request ended in a way that leaves open what is known.
    fn answer(&self, body: &[u8]) -> Option<Result<Vec<u8>, Refused>> {
        let mut witness = self.witness.lock().ok()?;
        let seconds = u64::try_from(self.clock.now().0 / NANOS).unwrap_or_default();
        let answer = witness.add_checkpoint(body, seconds);
        match &answer {
            Err(refused @ Refused::Inconsistent(_)) => {
                let request = String::from_utf8_lossy(body);
                tracing::error!(%refused, ?request, "A LOG HAS SIGNED TWO HISTORIES; keep this line, it is evidence");
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
        Refused::Conflict(size) => (status, [(CONTENT_TYPE, SIZE_TYPE)], format!("{size}\n")).into_response(),
        _ => (status, format!("{refused}\n")).into_response(),
    }
}
