//! The closed loop: each client sends its next request when the last one is acknowledged.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hdrhistogram::Histogram;
use prost::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use super::bytes_codec::BytesCodec;
use super::workload::{ACCOUNTS, EVENT_BYTES, Workload};
use super::{BenchError, Load};
use crate::wire::pb;

/// How many bytes of events are made beforehand at most.
const PREPARED_BYTES_MAX: usize = 384 * 1024 * 1024;
/// More events a second than this are not to be expected, one by one or in batches.
const SINGLE_EVENTS_PER_S_MAX: f64 = 100_000.0;
const BATCH_EVENTS_PER_S_MAX: f64 = 1_000_000.0;
/// Events of one request while the accounts are made.
const OPENING_BATCH: usize = 500;

/// What became of the load.
#[derive(Debug)]
pub(super) struct Tally {
    /// Events acknowledged.
    pub(super) events: u64,
    /// From the first request to the last acknowledgement.
    pub(super) elapsed: Duration,
    /// Of requests, in nanoseconds.
    pub(super) latencies: Histogram<u64>,
}

impl Default for Tally {
    fn default() -> Self {
        // One nanosecond to one minute in three digits: bounds that the histogram always takes.
        #[expect(clippy::unwrap_used, reason = "the bounds are constants")]
        let latencies = Histogram::new_with_bounds(1, 60_000_000_000, 3).unwrap();
        Self { events: 0, elapsed: Duration::ZERO, latencies }
    }
}

impl Tally {
    pub(super) fn events_per_s(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.events as f64 / self.elapsed.as_secs_f64() }
    }

    fn acknowledge(&mut self, events: u64, since: Instant) {
        self.events += events;
        let nanos = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(nanos);
    }

    fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.elapsed = self.elapsed.max(other.elapsed);
        // Both have the same bounds, so that nothing can fall out.
        let _ = self.latencies.add(&other.latencies);
    }
}

/// Makes the accounts, tokens and grants that the load is about.
pub(super) async fn open(channels: &[Channel], ledger: &str, clients: usize) -> Result<(), BenchError> {
    let Some(channel) = channels.first() else { return Err(BenchError("there is no connection".to_owned())) };
    for client in 0..clients.min(ACCOUNTS) {
        let events = Workload::new(client, clients).opening();
        for batch in events.chunks(OPENING_BATCH) {
            let request = encoded_batch(ledger, batch.to_vec());
            call_batch(Grpc::new(channel.clone()), request, batch.len()).await?;
        }
    }
    Ok(())
}

/// What each client will send, encoded, on as many threads as there are.
pub(super) async fn requests(ledger: &str, load: Load) -> Result<Vec<Vec<Bytes>>, BenchError> {
    let most = if load.batch > 1 { BATCH_EVENTS_PER_S_MAX } else { SINGLE_EVENTS_PER_S_MAX };
    let wanted = (most * load.duration.as_secs_f64()) as usize;
    let events = wanted.clamp(load.clients * load.batch, PREPARED_BYTES_MAX / EVENT_BYTES);
    let each = (events / load.clients / load.batch).max(1);
    let mut makers = JoinSet::new();
    for client in 0..load.clients {
        let ledger = ledger.to_owned();
        makers.spawn_blocking(move || share(&ledger, client, load, each));
    }
    let shares = makers.join_all().await;
    Ok(shares)
}

/// The requests of one client.
fn share(ledger: &str, client: usize, load: Load, requests: usize) -> Vec<Bytes> {
    let mut workload = Workload::new(client, load.clients);
    let ledger = ledger.to_owned();
    let request = |_| match (load.batch, load.stream) {
        (1, false) => {
            let proposal = Some(proposed(workload.next()));
            encoded(&pb::AppendRequest { ledger: ledger.clone(), proposal, validate_only: false })
        }
        (1, true) => encoded(&pb::AppendStreamRequest {
            ledger: ledger.clone(),
            proposal: Some(proposed(workload.next())),
        }),
        (batch, _) => encoded_batch(&ledger, (0..batch).map(|_| workload.next()).collect()),
    };
    (0..requests).map(request).collect()
}

fn proposed(event: pb::Event) -> pb::Proposal {
    pb::Proposal { event: Some(event), expected_version: None }
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn encoded_batch(ledger: &str, events: Vec<pb::Event>) -> Bytes {
    let proposals = events.into_iter().map(proposed).collect();
    encoded(&pb::AppendBatchRequest { ledger: ledger.to_owned(), proposals, ..Default::default() })
}

/// Sends everything until the time is over or nothing is left.
pub(super) async fn run(
    channels: &[Channel],
    requests: Vec<Vec<Bytes>>,
    load: Load,
) -> Result<Tally, BenchError> {
    let begin = Instant::now();
    let deadline = begin + load.duration;
    let mut clients = JoinSet::new();
    if load.stream {
        for (connection, shares) in streams(requests, channels.len()).into_iter().enumerate() {
            let Some(channel) = channels.get(connection) else { continue };
            clients.spawn(stream(Grpc::new(channel.clone()), shares, begin, deadline));
        }
    } else {
        for (client, share) in requests.into_iter().enumerate() {
            let Some(channel) = channels.get(client % channels.len().max(1)) else { continue };
            clients.spawn(calls(Grpc::new(channel.clone()), share, load.batch, begin, deadline));
        }
    }
    let mut whole = Tally::default();
    while let Some(ended) = clients.join_next().await {
        whole.add(&ended.map_err(|e| BenchError::because("a client stopped", e))??);
    }
    Ok(whole)
}

async fn calls(
    grpc: Grpc<Channel>,
    requests: Vec<Bytes>,
    batch: usize,
    begin: Instant,
    deadline: Instant,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::default();
    for request in requests {
        let sent = Instant::now();
        if sent >= deadline {
            break;
        }
        if batch == 1 {
            call_single(grpc.clone(), request).await?;
        } else {
            call_batch(grpc.clone(), request, batch).await?;
        }
        tally.acknowledge(batch as u64, sent);
    }
    tally.elapsed = begin.elapsed();
    Ok(tally)
}

async fn call_single(mut grpc: Grpc<Channel>, request: Bytes) -> Result<(), BenchError> {
    ready(&mut grpc).await?;
    let path = PathAndQuery::from_static("/tokenledger.v1.AppendService/Append");
    let codec = BytesCodec::<pb::AppendResponse>::default();
    let answer = grpc.unary(Request::new(request), path, codec).await.map_err(|e| refused(e.message()))?;
    let receipt = answer.into_inner().accepted.and_then(|accepted| accepted.receipt);
    receipt.map(drop).ok_or_else(|| refused("it gave no receipt"))
}

async fn call_batch(mut grpc: Grpc<Channel>, request: Bytes, events: usize) -> Result<(), BenchError> {
    ready(&mut grpc).await?;
    let path = PathAndQuery::from_static("/tokenledger.v1.AppendService/AppendBatch");
    let codec = BytesCodec::<pb::AppendBatchResponse>::default();
    let answer = grpc.unary(Request::new(request), path, codec).await.map_err(|e| refused(e.message()))?;
    let results = answer.into_inner().results;
    results.iter().try_for_each(acknowledged)?;
    if results.len() == events { Ok(()) } else { Err(refused("it did not answer every event")) }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), BenchError> {
    grpc.ready().await.map_err(|e| BenchError::because("the connection was lost", e))
}

fn acknowledged(result: &pb::AppendResult) -> Result<(), BenchError> {
    match &result.result {
        Some(pb::append_result::Result::Accepted(_)) => Ok(()),
        Some(pb::append_result::Result::Refused(refusal)) => Err(refused(&refusal.message)),
        None => Err(refused("it did not answer an event")),
    }
}

fn refused(why: &str) -> BenchError {
    BenchError::because("the server refused an event of the benchmark", why)
}

/// The shares of the clients, dealt to as many streams as there are connections.
fn streams(requests: Vec<Vec<Bytes>>, connections: usize) -> Vec<Vec<Vec<Bytes>>> {
    let mut streams: Vec<Vec<Vec<Bytes>>> = vec![Vec::new(); connections];
    for (client, share) in requests.into_iter().enumerate() {
        if let Some(stream) = streams.get_mut(client % connections.max(1)) {
            stream.push(share);
        }
    }
    streams
}

/// One stream with as many requests in flight as it has clients. Acknowledgements come in the order of requests, so a
/// client's turn comes when its last request is acknowledged.
async fn stream(
    mut grpc: Grpc<Channel>,
    shares: Vec<Vec<Bytes>>,
    begin: Instant,
    deadline: Instant,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::default();
    let mut shares: Vec<std::vec::IntoIter<Bytes>> = shares.into_iter().map(Vec::into_iter).collect();
    if shares.is_empty() {
        return Ok(tally);
    }
    let (sender, receiver) = mpsc::channel(shares.len());
    ready(&mut grpc).await?;
    let path = PathAndQuery::from_static("/tokenledger.v1.AppendService/AppendStream");
    let codec = BytesCodec::<pb::AppendStreamResponse>::default();
    let lost = |e: tonic::Status| refused(e.message());
    let mut flight: VecDeque<(usize, Instant)> = VecDeque::new();
    for (client, share) in shares.iter_mut().enumerate() {
        if let Some(request) = share.next() {
            flight.push_back((client, Instant::now()));
            let _ = sender.send(request).await;
        }
    }
    let answer =
        grpc.streaming(Request::new(ReceiverStream::new(receiver)), path, codec).await.map_err(lost)?;
    let mut answers = answer.into_inner();
    while let Some((client, sent)) = flight.pop_front() {
        let answer = answers.message().await.map_err(lost)?.ok_or_else(|| refused("the stream ended"))?;
        acknowledged(&answer.result.unwrap_or_default())?;
        tally.acknowledge(1, sent);
        let next =
            if Instant::now() < deadline { shares.get_mut(client).and_then(Iterator::next) } else { None };
        if let Some(request) = next {
            flight.push_back((client, Instant::now()));
            let _ = sender.send(request).await;
        }
    }
    tally.elapsed = begin.elapsed();
    Ok(tally)
}
