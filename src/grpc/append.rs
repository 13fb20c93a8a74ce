//! The service to record events.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use ledger::sequencer::{Accepted, Proposal, REQUEST_EVENTS_MAX, Refused, Request as Asked};
use ledger::types::LedgerName;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use tonic::{Code, Request, Response, Status, Streaming};

use crate::auth::Identity;
use crate::ledgers::{Ledger, Ledgers, OpenError};
use crate::wire::pb;
use crate::wire::pb::append_service_server::AppendService;
use crate::wire::{convert, status};

/// How many events of a stream are handed to the writer at once, where so many have arrived.
const STREAM_CHUNK_MAX: usize = 128;
/// How many of these are decided before the first of them is acknowledged.
const STREAM_CHUNKS_IN_FLIGHT_MAX: usize = 8;

/// Records events.
#[derive(Clone)]
pub struct Append {
    ledgers: Arc<Ledgers>,
}

impl Append {
    /// Records in these ledgers.
    #[must_use]
    pub fn new(ledgers: Arc<Ledgers>) -> Self {
        Self { ledgers }
    }

    async fn ledger(&self, name: &LedgerName) -> Result<Arc<Ledger>, Status> {
        self.ledgers.get_or_open(name).await.map_err(|e: OpenError| {
            tracing::error!(ledger = %name, error = %e, "the ledger can't be opened");
            status::status(Code::Unavailable, "ledger_unavailable", e.to_string())
        })
    }
}

/// Checks that a caller may send an event.
fn allowed(identity: &Identity, proposal: Proposal, from_export: bool) -> Result<Proposal, Status> {
    identity.may_emit(&proposal.event().emitter, from_export)?;
    if proposal.event().fact.kind().is_ledgers_own() && !from_export {
        return Err(status::invalid(
            "kind_reserved",
            format!("{} events are the ledger's own; nobody sends them", proposal.event().fact.kind().name()),
        ));
    }
    Ok(proposal)
}

async fn record_one(
    ledger: &Ledger,
    proposal: Proposal,
    validate_only: bool,
) -> Result<Result<Accepted, Refused>, Status> {
    let request = Asked { proposals: vec![proposal], atomic: false, validate_only, strict: false };
    let answer = ledger.writer.append(request).await?.into_iter().next();
    answer.ok_or_else(|| status::status(Code::Internal, "no_answer", "the writer gave no answer"))
}

#[tonic::async_trait]
impl AppendService for Append {
    async fn append(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        let identity = Identity::of(&request)?;
        let request = request.into_inner();
        let name = convert::ledger_name(&request.ledger)?;
        let proposal = allowed(&identity, convert::proposal(request.proposal)?, false)?;
        let ledger = self.ledger(&name).await?;
        match record_one(&ledger, proposal, request.validate_only).await? {
            Ok(accepted) => {
                let accepted = convert::accepted(&accepted, request.validate_only);
                Ok(Response::new(pb::AppendResponse { accepted: Some(accepted) }))
            }
            Err(refused) => Err(status::refused(&refused)),
        }
    }

    async fn append_batch(
        &self,
        request: Request<pb::AppendBatchRequest>,
    ) -> Result<Response<pb::AppendBatchResponse>, Status> {
        let identity = Identity::of(&request)?;
        let request = request.into_inner();
        let name = convert::ledger_name(&request.ledger)?;
        if request.proposals.is_empty() || request.proposals.len() > REQUEST_EVENTS_MAX {
            let message =
                format!("a batch has 1 to {REQUEST_EVENTS_MAX} events; split it (nothing was recorded)");
            return Err(status::invalid("batch_size", message));
        }
        let parsed: Vec<Result<Proposal, Status>> = request
            .proposals
            .into_iter()
            .map(|p| convert::proposal(Some(p)).and_then(|p| allowed(&identity, p, request.from_export)))
            .collect();
        if request.atomic
            && let Some((index, Err(wrong))) = parsed.iter().enumerate().find(|(_, p)| p.is_err())
        {
            let message = format!("event number {index} of the batch: {}", wrong.message());
            return Err(Status::with_details(wrong.code(), message, wrong.details().to_vec().into()));
        }
        let ledger = self.ledger(&name).await?;
        let results = record_batch(&ledger, parsed, request.atomic, request.validate_only).await?;
        Ok(Response::new(pb::AppendBatchResponse { results }))
    }

    type AppendStreamStream = Pin<Box<dyn Stream<Item = Result<pb::AppendStreamResponse, Status>> + Send>>;

    async fn append_stream(
        &self,
        request: Request<Streaming<pb::AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let identity = Identity::of(&request)?;
        let mut incoming = request.into_inner().ready_chunks(STREAM_CHUNK_MAX);
        let (answers, outgoing) = mpsc::channel(STREAM_CHUNKS_IN_FLIGHT_MAX);
        let append = self.clone();
        tokio::spawn(async move {
            let mut stopping = append.ledgers.stopping();
            loop {
                // A silent stream must not keep a server that is going down.
                let messages = tokio::select! {
                    messages = incoming.next() => messages,
                    _ = stopping.wait_for(|stopping| *stopping) => Some(vec![Err(shutting_down())]),
                };
                let Some(messages) = messages else { return };
                let (messages, broken) = up_to_first_error(messages);
                for run in runs_by_ledger(messages) {
                    // Begun in order, so the writer gets them in order; the answers are awaited in order below.
                    let begun = append.begin(&identity, run).await;
                    if answers.send(Ok(begun)).await.is_err() {
                        return;
                    }
                }
                if let Some(broken) = broken {
                    let _ = answers.send(Err(broken)).await;
                    return;
                }
            }
        });
        let acknowledged = ReceiverStream::new(outgoing)
            .then(|begun| async move {
                match begun {
                    Ok(begun) => begun.await.into_iter().map(Ok).collect(),
                    Err(broken) => vec![Err(broken)],
                }
            })
            .flat_map(futures::stream::iter);
        Ok(Response::new(Box::pin(acknowledged)))
    }
}

/// The messages before the first error, and the error.
fn up_to_first_error(
    messages: Vec<Result<pb::AppendStreamRequest, Status>>,
) -> (Vec<pb::AppendStreamRequest>, Option<Status>) {
    let mut whole = Vec::with_capacity(messages.len());
    for message in messages {
        match message {
            Ok(message) => whole.push(message),
            Err(broken) => return (whole, Some(broken)),
        }
    }
    (whole, None)
}

/// Messages that follow one another for the same ledger.
fn runs_by_ledger(messages: Vec<pb::AppendStreamRequest>) -> Vec<Vec<pb::AppendStreamRequest>> {
    let mut runs: Vec<Vec<pb::AppendStreamRequest>> = Vec::new();
    for message in messages {
        match runs.last_mut() {
            Some(run) if run.first().is_some_and(|first| first.ledger == message.ledger) => run.push(message),
            _ => runs.push(vec![message]),
        }
    }
    runs
}

fn shutting_down() -> Status {
    let message = "the server is shutting down; send what was not acknowledged again when it is back";
    status::status(Code::Unavailable, "shutting_down", message)
}

/// Events of a stream that are on their way: an answer for each.
type Begun = Pin<Box<dyn Future<Output = Vec<pb::AppendStreamResponse>> + Send>>;

impl Append {
    /// Hands messages of a stream, all for one ledger, to the writer; what comes back resolves when they are durable.
    /// Each is recorded or refused for itself: that they are handed over together only saves the writer work.
    async fn begin(&self, identity: &Identity, messages: Vec<pb::AppendStreamRequest>) -> Begun {
        let count = messages.len();
        let prepared = async {
            let name = messages.first().map(|message| message.ledger.as_str()).unwrap_or_default();
            self.ledger(&convert::ledger_name(name)?).await
        };
        let ledger = match prepared.await {
            Ok(ledger) => ledger,
            Err(wrong) => return Box::pin(std::future::ready(refused_all(count, &wrong))),
        };
        let parsed = messages
            .into_iter()
            .map(|message| convert::proposal(message.proposal).and_then(|p| allowed(identity, p, false)));
        let mut proposals = Vec::with_capacity(count);
        let wrong: Vec<Option<Status>> = parsed.map(|p| p.map(|p| proposals.push(p)).err()).collect();
        let request = Asked { proposals, atomic: false, validate_only: false, strict: false };
        let begun = ledger.writer.begin(request).await;
        Box::pin(async move {
            let answered = begun.finish().await.map_err(Status::from);
            let results = answered.and_then(|answers| in_order(wrong, answers, false));
            match results {
                Ok(results) => results.into_iter().map(acknowledgement).collect(),
                Err(wrong) => refused_all(count, &wrong),
            }
        })
    }
}

fn acknowledgement(result: pb::AppendResult) -> pb::AppendStreamResponse {
    pb::AppendStreamResponse { result: Some(result) }
}

/// The same refusal for each of several events.
fn refused_all(count: usize, wrong: &Status) -> Vec<pb::AppendStreamResponse> {
    let refused = || pb::append_result::Result::Refused(status::refusal_of(wrong));
    (0..count).map(|_| acknowledgement(pb::AppendResult { result: Some(refused()) })).collect()
}

/// Records the events of a batch that are well-formed, and answers for each in order.
async fn record_batch(
    ledger: &Ledger,
    parsed: Vec<Result<Proposal, Status>>,
    atomic: bool,
    validate_only: bool,
) -> Result<Vec<pb::AppendResult>, Status> {
    let mut proposals = Vec::with_capacity(parsed.len());
    let wrong: Vec<Option<Status>> = parsed.into_iter().map(|p| p.map(|p| proposals.push(p)).err()).collect();
    let answers = if proposals.is_empty() {
        Vec::new()
    } else {
        ledger.writer.append(Asked { proposals, atomic, validate_only, strict: false }).await?
    };
    in_order(wrong, answers, validate_only)
}

/// One answer for each event: that of the writer where the event was well-formed.
fn in_order(
    wrong: Vec<Option<Status>>,
    answers: Vec<Result<Accepted, Refused>>,
    validate_only: bool,
) -> Result<Vec<pb::AppendResult>, Status> {
    let mut answers = answers.into_iter();
    let results = wrong.into_iter().map(|wrong| {
        let result = match wrong.map_or_else(|| answers.next().map(Ok), |wrong| Some(Err(wrong)))? {
            Ok(Ok(accepted)) => {
                pb::append_result::Result::Accepted(convert::accepted(&accepted, validate_only))
            }
            Ok(Err(refused)) => pb::append_result::Result::Refused(status::refusal(&refused)),
            Err(wrong) => pb::append_result::Result::Refused(status::refusal_of(&wrong)),
        };
        Some(pb::AppendResult { result: Some(result) })
    });
    results
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| status::status(Code::Internal, "no_answer", "the writer gave too few answers"))
}
