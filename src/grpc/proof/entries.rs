//! Stored entries, sent out as they are.

use std::sync::Arc;

use ledger::log::LogStore;
use ledger::types::Position;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::ledgers::Ledger;
use crate::reader::AskError;
use crate::wire::pb;
use crate::wire::status::status;

/// How many bytes of entries one message holds, about.
const MESSAGE_BYTES: usize = 512 * 1024;
/// How many messages wait for a slow reader.
const MESSAGES: usize = 4;

type Message = Result<pb::StreamEntriesResponse, Status>;

/// Sends the entries from one position up to, not including, another. All of them are durable.
pub(super) fn stream(
    ledger: &Ledger,
    from: Position,
    to: Position,
    mut stopping: watch::Receiver<bool>,
) -> ReceiverStream<Message> {
    let (sender, receiver) = mpsc::channel(MESSAGES);
    let log = Arc::clone(ledger.reader.log());
    tokio::spawn(async move {
        tokio::select! {
            () = send(log, from, to, &sender) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {
                let message = "the server is shutting down; go on from the next position";
                let _ = sender.try_send(Err(status(Code::Unavailable, "shutting_down", message)));
            }
        }
    });
    ReceiverStream::new(receiver)
}

async fn send(log: Arc<dyn LogStore>, from: Position, to: Position, out: &mpsc::Sender<Message>) {
    let mut next = from;
    while next < to {
        let log = Arc::clone(&log);
        let read = tokio::task::spawn_blocking(move || read(log.as_ref(), next, to)).await;
        let message = read.map_err(|_| Status::from(AskError::Closing)).flatten();
        next = match &message {
            Ok(sent) => Position(next.0 + sent.entries.len() as u64),
            Err(_) => to,
        };
        if out.send(message).await.is_err() {
            return;
        }
    }
}

fn read(log: &dyn LogStore, from: Position, to: Position) -> Message {
    let mut records = log.read(from, MESSAGE_BYTES).map_err(AskError::Log)?;
    records.truncate(usize::try_from(to.0 - from.0).unwrap_or(usize::MAX));
    if records.is_empty() {
        return Err(AskError::NotFound(format!("position {from} can't be read")).into());
    }
    let entries = records.into_iter().map(|record| record.entry).collect();
    Ok(pb::StreamEntriesResponse { first_position: from.0, entries })
}
