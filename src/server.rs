//! The server, as the command line starts it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

/// What the server is told.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// The directory that holds everything.
    pub data: PathBuf,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where to serve metrics.
    pub metrics: Option<SocketAddr>,
    /// Whether the log is JSON.
    pub log_json: bool,
}

/// The server cannot be started.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("this build holds no server")]
pub struct NoServer;

/// A server that runs.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub grpc: SocketAddr,
}

impl Running {
    /// Stops it, after what is under way.
    pub async fn stop(self) {}
}

/// Starts a server in this process.
///
/// # Errors
/// Where it cannot start.
#[expect(clippy::unused_async, reason = "the signature of a server")]
pub async fn start(_options: ServeOptions) -> Result<Running, NoServer> {
    Err(NoServer)
}

/// Runs a server until it is asked to stop.
///
/// # Errors
/// Where it cannot start.
pub async fn run(options: ServeOptions) -> Result<ExitCode, NoServer> {
    start(options).await?.stop().await;
    Ok(ExitCode::SUCCESS)
}
