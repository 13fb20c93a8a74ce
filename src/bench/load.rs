//! The closed loop: each client sends its next request when the last one is acknowledged.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use super::bytes_codec::BytesCodec;
use super::supply::{Share, batch_of};
use super::tally::Tally;
use super::workload::{Cast, Workload};
use super::{BenchError, Load, Until, pace};
use crate::wire::pb;

/// Events of one request while the accounts are made.
const OPENING_BATCH: usize = 500;

/// Makes the accounts, tokens and grants that the load is about.
pub(super) async fn open(channels: &[Channel], ledger: &str, cast: Cast) -> Result<(), BenchError> {
    for share in 0..cast.shares.min(cast.accounts) {
        send_all(channels, ledger, Workload::new(cast, share).opening()).await?;
    }
    Ok(())
}

/// Sends events in batches, one after the other.
pub(super) async fn send_all(
    channels: &[Channel],
    ledger: &str,
    events: Vec<pb::Event>,
) -> Result<(), BenchError> {
    let Some(channel) = channels.first() else { return Err(BenchError("there is no connection".to_owned())) };
    for batch in events.chunks(OPENING_BATCH) {
        let request = batch_of(ledger, batch.to_vec());
        call(Grpc::new(channel.clone()), request, Batch(batch.len())).await?;
    }
    Ok(())
}

/// Sends everything until the time is over or nothing is left.
pub(super) async fn run(channels: &[Channel], shares: Vec<Share>, load: &Load) -> Result<Tally, BenchError> {
    if let Some(rate) = load.rate {
        return pace::run(channels, shares, load, rate).await;
    }
    let begin = Instant::now();
    let deadline = match load.until {
        Until::After(time) => Some(begin + time),
        Until::Events(_) => None,
    };
    let mut clients = JoinSet::new();
    if load.stream {
        for (connection, shares) in dealt(shares, channels.len()).into_iter().enumerate() {
            let Some(channel) = channels.get(connection) else { continue };
            clients.spawn(stream(Grpc::new(channel.clone()), shares, begin, deadline));
        }
    } else {
        for (client, share) in shares.into_iter().enumerate() {
            let Some(channel) = channels.get(client % channels.len().max(1)) else { continue };
            clients.spawn(calls(Grpc::new(channel.clone()), share, Batch(load.batch), begin, deadline));
        }
    }
    let mut whole = Tally::default();
    while let Some(ended) = clients.join_next().await {
        whole.add(&ended.map_err(|e| BenchError::because("a client stopped", e))??);
    }
    Ok(whole)
}

/// How many events one request has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Batch(pub(super) usize);

async fn calls(
    grpc: Grpc<Channel>,
    mut share: Share,
    batch: Batch,
    begin: Instant,
    deadline: Option<Instant>,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::default();
    while let Some(request) = share.next().await {
        let sent = Instant::now();
        if deadline.is_some_and(|deadline| sent >= deadline) {
            break;
        }
        call(grpc.clone(), request, batch).await?;
        tally.acknowledge(batch.0 as u64, sent);
    }
    tally.elapsed = begin.elapsed();
    Ok(tally)
}

/// One request, and its acknowledgement.
///
/// # Errors
/// Where the connection is lost, or the server does not acknowledge every event.
pub(super) async fn call(grpc: Grpc<Channel>, request: Bytes, batch: Batch) -> Result<(), BenchError> {
    sent(grpc, request, batch).await.map_err(|e| refused(e.message()))
}

/// The same, for one to whom a busy server is an answer: `Ok(false)`.
pub(super) async fn try_call(grpc: Grpc<Channel>, request: Bytes, batch: Batch) -> Result<bool, BenchError> {
    match sent(grpc, request, batch).await {
        Ok(()) => Ok(true),
        Err(status) if status.code() == Code::ResourceExhausted => Ok(false),
        Err(status) => Err(refused(status.message())),
    }
}

async fn sent(grpc: Grpc<Channel>, request: Bytes, batch: Batch) -> Result<(), Status> {
    if batch.0 == 1 { single(grpc, request).await } else { several(grpc, request, batch.0).await }
}

async fn single(mut grpc: Grpc<Channel>, request: Bytes) -> Result<(), Status> {
    ready(&mut grpc).await?;
    let path = PathAndQuery::from_static("/tokenledger.v1.AppendService/Append");
    let answer = grpc.unary(Request::new(request), path, BytesCodec::<pb::AppendResponse>::default()).await?;
    let receipt = answer.into_inner().accepted.and_then(|accepted| accepted.receipt);
    receipt.map(drop).ok_or_else(|| Status::internal("it gave no receipt"))
}

async fn several(mut grpc: Grpc<Channel>, request: Bytes, events: usize) -> Result<(), Status> {
    ready(&mut grpc).await?;
    let path = PathAndQuery::from_static("/tokenledger.v1.AppendService/AppendBatch");
    let codec = BytesCodec::<pb::AppendBatchResponse>::default();
    let results = grpc.unary(Request::new(request), path, codec).await?.into_inner().results;
    results.iter().try_for_each(acknowledged)?;
    if results.len() == events { Ok(()) } else { Err(Status::internal("it did not answer every event")) }
}

async fn ready(grpc: &mut Grpc<Channel>) -> Result<(), Status> {
    grpc.ready().await.map_err(|e| Status::unavailable(format!("the connection was lost: {e}")))
}

fn acknowledged(result: &pb::AppendResult) -> Result<(), Status> {
    match &result.result {
        Some(pb::append_result::Result::Accepted(_)) => Ok(()),
        Some(pb::append_result::Result::Refused(refusal)) => {
            Err(Status::new(Code::from(refusal.code), refusal.message.clone()))
        }
        None => Err(Status::internal("it did not answer an event")),
    }
}

fn refused(why: &str) -> BenchError {
    BenchError::because("the server refused an event of the benchmark", why)
}

/// The shares of the clients, dealt to as many streams as there are connections.
fn dealt(shares: Vec<Share>, connections: usize) -> Vec<Vec<Share>> {
    let mut streams: Vec<Vec<Share>> = (0..connections).map(|_| Vec::new()).collect();
    for (client, share) in shares.into_iter().enumerate() {
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
    mut shares: Vec<Share>,
    begin: Instant,
    deadline: Option<Instant>,
) -> Result<Tally, BenchError> {
    let mut tally = Tally::default();
    if shares.is_empty() {
        return Ok(tally);
    }
    let lost = |e: Status| refused(e.message());
    let (sender, receiver) = mpsc::channel(shares.len());
    ready(&mut grpc).await.map_err(lost)?;
    let path = PathAndQuery::from_static("/tokenledger.v1.AppendService/AppendStream");
    let codec = BytesCodec::<pb::AppendStreamResponse>::default();
    let mut flight: VecDeque<(usize, Instant)> = VecDeque::new();
    for (client, share) in shares.iter_mut().enumerate() {
        if let Some(request) = share.next().await {
            flight.push_back((client, Instant::now()));
            let _ = sender.send(request).await;
        }
    }
    let answer =
        grpc.streaming(Request::new(ReceiverStream::new(receiver)), path, codec).await.map_err(lost)?;
    let mut answers = answer.into_inner();
    while let Some((client, sent)) = flight.pop_front() {
        let answer = answers.message().await.map_err(lost)?.ok_or_else(|| refused("the stream ended"))?;
        acknowledged(&answer.result.unwrap_or_default()).map_err(lost)?;
        tally.acknowledge(1, sent);
        let over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let next = match shares.get_mut(client) {
            Some(share) if !over => share.next().await,
            _ => None,
        };
        if let Some(request) = next {
            flight.push_back((client, Instant::now()));
            let _ = sender.send(request).await;
        }
    }
    tally.elapsed = begin.elapsed();
    Ok(tally)
}
