//! The server: listens, serves, drains.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use ledger::disk::RealDisk;
use ledger::log::SegmentOptions;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::server::TcpIncoming;
use tonic_health::server::HealthReporter;

use crate::anchors::Trust;
use crate::auth::identify;
use crate::clock::SystemClock;
use crate::grpc::{Admin, Append, MESSAGE_BYTES_MAX, Proof, Query, Restore};
use crate::ledgers::{Ledgers, OpenError, Shared};
use crate::metrics::Metrics;
use crate::notary::Signing;
use crate::scrub::Scrub;
use crate::store::quiet_sled_panics;
use crate::wire::DESCRIPTORS;
use crate::wire::answers::query_service_server::QueryServiceServer;
use crate::wire::pb::admin_service_server::AdminServiceServer;
use crate::wire::pb::append_service_server::AppendServiceServer;
use crate::wire::pb::proof_service_server::ProofServiceServer;
use crate::wire::pb::restore_service_server::RestoreServiceServer;

/// How long a shutdown waits for what is under way.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// How much of that is kept for the ledgers.
const DRAIN_LEDGERS: Duration = Duration::from_secs(3);
/// How often health is looked at.
const HEALTH_EVERY: Duration = Duration::from_millis(500);
/// How long a call may take until it begins to answer.
const CALL_MAX: Duration = Duration::from_secs(120);
/// The most streams of one connection.
const STREAMS_MAX: u32 = 1_024;

/// How to serve.
#[derive(Clone)]
pub struct ServeOptions {
    /// The data directory.
    pub data: PathBuf,
    /// Where gRPC listens; port 0: any.
    pub listen: SocketAddr,
    /// Where metrics are served, if they are; port 0: any.
    pub metrics: Option<SocketAddr>,
    /// Logs as JSON instead of text.
    pub log_json: bool,
    /// How fast the scrub reads the logs, in MiB a second; 0: no scrub.
    pub scrub_rate: u64,
    /// Whether sealed segments are compressed in the background.
    pub pack: bool,
    /// With which key checkpoints are signed; without one, there are none.
    pub signing: Option<Signing>,
    /// What is known of the ledgers from elsewhere.
    pub trust: Trust,
}

/// Why a server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Not a loopback address.
    #[error(
        "{0} can be reached from other machines, and this server has no TLS: listen on 127.0.0.1 or [::1] (put a proxy that authenticates in front for others)"
    )]
    NotLoopback(SocketAddr),
    /// The address can't be had.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// The data directory can't be opened.
    #[error("{0}")]
    Open(#[from] OpenError),
    /// The scrub cannot be started.
    #[error("no thread can be had for the scrub: {0}")]
    Scrub(std::io::Error),
    /// The descriptors of the API are broken.
    #[error("reflection: {0}")]
    Reflection(String),
}

/// A server that runs.
pub struct Running {
    /// Where gRPC listens.
    pub grpc: SocketAddr,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
    ledgers: Arc<Ledgers>,
    scrub: Option<Scrub>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    /// Stops taking calls, waits for those under way, at most 10 seconds, and lets the ledgers finish. Returns whether
    /// all was done in time.
    pub async fn stop(self) -> bool {
        let deadline = Instant::now() + DRAIN_MAX;
        self.ledgers.stop();
        self.stop.send_replace(true);
        if let Some(scrub) = self.scrub {
            let _ = tokio::task::spawn_blocking(|| scrub.stop()).await;
        }
        let aborts: Vec<_> = self.tasks.iter().map(JoinHandle::abort_handle).collect();
        let ledgers = self.ledgers;
        let finish = async move {
            for task in self.tasks {
                let _ = task.await;
            }
        };
        // One silent connection would keep a graceful stop waiting for ever.
        let graceful = tokio::time::timeout_at(deadline - DRAIN_LEDGERS, finish).await.is_ok();
        aborts.iter().for_each(tokio::task::AbortHandle::abort);
        let drained = tokio::time::timeout_at(deadline, ledgers.drain()).await.is_ok();
        graceful && drained
    }
}

/// Starts a server.
///
/// # Errors
/// [`ServeError`].
pub async fn start(options: ServeOptions) -> Result<Running, ServeError> {
    for address in std::iter::once(options.listen).chain(options.metrics) {
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
    }
    if options.signing.is_none() {
        tracing::warn!(
            "no key was given (`--key FILE`): no checkpoints are signed, and nothing can be proved to others"
        );
    }
    quiet_sled_panics();
    let (listener, grpc) = listen(options.listen).await?;
    let metrics_listener = match options.metrics {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let metrics = Metrics::default();
    let ledgers = Ledgers::open(Shared {
        data: options.data,
        disk: Arc::new(RealDisk),
        clock: Arc::new(SystemClock),
        metrics: metrics.clone(),
        segments: SegmentOptions::default(),
        pack: options.pack,
        signing: options.signing,
        trust: options.trust,
    })
    .await?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = vec![tokio::spawn(serve_grpc(listener, Arc::clone(&ledgers), stopped.clone())?)];
    let metrics_address = metrics_listener.as_ref().map(|(_, address)| *address);
    if let Some((listener, _)) = metrics_listener {
        tasks.push(tokio::spawn(serve_metrics(listener, metrics, stopped)));
    }
    let scrub = Scrub::start(&ledgers, options.scrub_rate).map_err(ServeError::Scrub)?;
    Ok(Running { grpc, metrics: metrics_address, ledgers, scrub, stop, tasks })
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |error| ServeError::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

async fn stops(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

fn serve_grpc(
    listener: TcpListener,
    ledgers: Arc<Ledgers>,
    stopped: watch::Receiver<bool>,
) -> Result<impl Future<Output = ()> + Send, ServeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .map_err(|e| ServeError::Reflection(e.to_string()))?;
    let append = AppendServiceServer::new(Append::new(Arc::clone(&ledgers)))
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let query = QueryServiceServer::new(Query::new(Arc::clone(&ledgers)));
    let restore = RestoreServiceServer::new(Restore::new(Arc::clone(&ledgers)));
    let proof = ProofServiceServer::new(Proof::new(Arc::clone(&ledgers)));
    let admin = AdminServiceServer::new(Admin::new(Arc::clone(&ledgers)));
    let router = as_served(tonic::transport::Server::builder())
        .trace_fn(|request| match request_id(request) {
            // Without an id there is nothing by which its lines could be told from others.
            None => tracing::Span::none(),
            Some(id) => tracing::info_span!("call", method = request.uri().path(), request = id),
        })
        .add_service(InterceptedService::new(append, identify))
        .add_service(InterceptedService::new(query, identify))
        .add_service(InterceptedService::new(restore, identify))
        .add_service(InterceptedService::new(proof, identify))
        .add_service(InterceptedService::new(admin, identify))
        .add_service(health_service)
        .add_service(reflection);
    let watching = tokio::spawn(watch_health(health, Arc::downgrade(&ledgers), stopped.clone()));
    drop(ledgers);
    Ok(async move {
        let incoming = accepted_from(listener);
        if let Err(error) = router.serve_with_incoming_shutdown(incoming, stops(stopped)).await {
            tracing::error!(%error, "the server failed");
        }
        watching.abort();
    })
}

/// How connections are treated; what is measured beside the product shares it.
pub(crate) fn as_served(server: tonic::transport::Server) -> tonic::transport::Server {
    server
        .timeout(CALL_MAX)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
}

/// The connections of a socket. The builder's option of the same name is for sockets that it opens itself; without it an
/// answer of several packets waits for the caller's delayed acknowledgement: 40 ms.
pub(crate) fn accepted_from(listener: TcpListener) -> TcpIncoming {
    TcpIncoming::from(listener).with_nodelay(Some(true))
}

/// The id that a caller gave its request, if it did.
fn request_id<B>(request: &axum::http::Request<B>) -> Option<String> {
    let id = request.headers().get("x-request-id")?.to_str().ok()?;
    Some(id.chars().filter(|c| !c.is_control()).take(128).collect())
}

/// Appends are healthy while no ledger has stopped; reads while the server runs.
async fn watch_health(
    health: HealthReporter,
    ledgers: std::sync::Weak<Ledgers>,
    stopped: watch::Receiver<bool>,
) {
    health.set_serving::<QueryServiceServer<Query>>().await;
    health.set_serving::<RestoreServiceServer<Restore>>().await;
    health.set_serving::<AdminServiceServer<Admin>>().await;
    while !*stopped.borrow() {
        let Some(ledgers) = ledgers.upgrade() else { return };
        if ledgers.all().iter().any(|ledger| ledger.writer.stopped().is_some()) {
            health.set_not_serving::<AppendServiceServer<Append>>().await;
        } else {
            health.set_serving::<AppendServiceServer<Append>>().await;
        }
        drop(ledgers);
        tokio::time::sleep(HEALTH_EVERY).await;
    }
}

async fn serve_metrics(listener: TcpListener, metrics: Metrics, stopped: watch::Receiver<bool>) {
    let text = move || {
        let text = metrics.text();
        async move { ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text) }
    };
    let router = Router::new().route("/metrics", get(text));
    let served = axum::serve(listener, router).with_graceful_shutdown(stops(stopped));
    if let Err(error) = served.await {
        tracing::error!(%error, "metrics are not served any more");
    }
}

/// Runs a server until it is told to stop: prints one line when it can serve, drains on SIGTERM or Ctrl-C.
///
/// # Errors
/// [`ServeError`].
pub async fn run(options: ServeOptions) -> Result<ExitCode, ServeError> {
    start_logging(options.log_json);
    let running = start(options).await?;
    // Whoever reads the ready line may ask at once.
    let asked = asked_to_stop();
    print_ready(&running);
    asked.await;
    tracing::info!("stopping: no new calls are taken");
    let in_time = running.stop().await;
    if !in_time {
        tracing::warn!("some calls were cut off after 10 seconds; what was acknowledged is durable");
    }
    Ok(ExitCode::SUCCESS)
}

#[expect(clippy::print_stdout, reason = "the line by which scripts know that the server can serve")]
fn print_ready(running: &Running) {
    let metrics = running.metrics.map(|address| format!(r#","metrics":"{address}""#)).unwrap_or_default();
    println!(r#"{{"ready":true,"grpc":"{}"{metrics}}}"#, running.grpc);
}

/// From now on, waits for SIGTERM or Ctrl-C.
pub fn asked_to_stop() -> impl Future<Output = ()> {
    let (mut terminated, mut interrupted) =
        (signalled(SignalKind::terminate()), signalled(SignalKind::interrupt()));
    async move {
        tokio::select! {
            () = next(&mut terminated) => {}
            () = next(&mut interrupted) => {}
        }
    }
}

fn signalled(kind: SignalKind) -> Option<Signal> {
    signal(kind).inspect_err(|error| tracing::warn!(%error, "a signal cannot be listened for")).ok()
}

async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// Logs go to standard error; `RUST_LOG` says how much.
pub fn start_logging(json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second call in one process keeps the first logger.
    let _ = if json { builder.json().try_init() } else { builder.try_init() };
}
