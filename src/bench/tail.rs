//! Everything read back over gRPC.

use std::time::Instant;

use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use super::bytes_codec::BytesCodec;
use super::process::{self, ServerProcess};
use super::query::Answer;
use super::site::{Place, Site};
use super::{BenchError, per_s, rounded};
use crate::wire::pb;

/// What was measured. Other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Events read, a second.
    pub events_per_s: f64,
    /// Events read: all that the ledger has.
    pub events: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Bytes of the messages.
    pub bytes: u64,
    /// Processor time of the server, in seconds; `None`: not known.
    pub server_cpu_s: Option<f64>,
    /// Processor time of the client, in seconds.
    pub client_cpu_s: f64,
}

/// Fills a ledger up to so many events, and reads them all back in one stream.
///
/// # Errors
/// Where a server cannot be started or reached, or does not give every event.
pub async fn run(place: &Place, events: u64) -> Result<Report, BenchError> {
    let site = Site::open(place).await?;
    let channel = site.channel().await?;
    let entries = site.fill(&channel, events).await?.entries;
    let (cpu, own, began) = (site.server().and_then(ServerProcess::cpu), process::own_cpu(), Instant::now());
    let (events, bytes) = read(&channel, &site.ledger).await?;
    let (elapsed, own) = (began.elapsed(), process::own_cpu() - own);
    let cpu = cpu.zip(site.server().and_then(ServerProcess::cpu)).map(|(before, after)| after - before);
    site.close().await?;
    if events < entries {
        return Err(BenchError(format!("the server gave {events} of {entries} events")));
    }
    Ok(Report {
        events_per_s: per_s(events, elapsed),
        events,
        seconds: rounded(elapsed.as_secs_f64()),
        bytes,
        server_cpu_s: cpu.map(rounded),
        client_cpu_s: rounded(own),
    })
}

/// Reads a ledger to its end: how many events there were, and how many bytes.
async fn read(channel: &Channel, ledger: &str) -> Result<(u64, u64), BenchError> {
    let request = pb::TailEventsRequest { ledger: ledger.to_owned(), from_position: 0, stop_at_end: true };
    let mut grpc = Grpc::new(channel.clone());
    grpc.ready().await.map_err(|e| BenchError::because("the connection was lost", e))?;
    let path = PathAndQuery::from_static("/tokenledger.v1.QueryService/TailEvents");
    let codec = BytesCodec::<Answer>::default();
    let request = Request::new(Bytes::from(request.encode_to_vec()));
    let answer = grpc.server_streaming(request, path, codec).await.map_err(|e| BenchError::asked(&e))?;
    let mut messages = answer.into_inner();
    let (mut events, mut bytes) = (0, 0);
    while let Some(message) = messages.message().await.map_err(|e| BenchError::asked(&e))? {
        events += message.things.len() as u64;
        bytes += message.things.iter().map(|event| event.len() as u64).sum::<u64>();
        if let Some(last) = message.things.last() {
            check_last(last, events)?;
        }
    }
    Ok((events, bytes))
}

/// The last event of a message stands where counting says it must.
fn check_last(event: &Bytes, events: u64) -> Result<(), BenchError> {
    let last = pb::LedgerEvent::decode(event.clone())
        .map_err(|_| BenchError("the server's answer is not valid protobuf".to_owned()))?;
    if last.position + 1 == events {
        Ok(())
    } else {
        Err(BenchError(format!("event number {events} stands at position {}", last.position)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_in_what_is_read_is_an_error() {
        let event =
            |position| Bytes::from(pb::LedgerEvent { position, ..Default::default() }.encode_to_vec());
        assert!(check_last(&event(9), 10).is_ok());
        assert!(check_last(&event(10), 10).unwrap_err().0.contains("position 10"));
        assert!(check_last(&Bytes::from_static(&[0xFF]), 1).is_err());
    }
}
