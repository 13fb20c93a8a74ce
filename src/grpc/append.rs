//! The service to record events.

use std::pin::Pin;
use std::sync::Arc;

use ledger::sequencer::{Accepted, Proposal, REQUEST_EVENTS_MAX, Refused, Request as Asked};
use ledger::types::LedgerName;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Code, Request, Response, Status, Streaming};

use crate::auth::Identity;
use crate::ledgers::{Ledger, Ledgers, OpenError};
use crate::wire::pb;
use crate::wire::pb::append_service_server::AppendService;
use crate::wire::{convert, status};

/// How many events of one stream are decided before the first of them is acknowledged.
const STREAM_IN_FLIGHT_MAX: usize = 1_024;

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

    async fn ledger(&self, name: &LedgerName) -> Result<Ledger, Status> {
        self.ledgers.get_or_open(name).await.map_err(|e: OpenError| {
            tracing::error!(ledger = %name, error = %e, "the ledger can't be opened");
            status::status(Code::Unavailable, "ledger_unavailable", e.to_string())
        })
    }
}

/// Checks that a caller may send an event.
fn allowed(identity: &Identity, proposal: Proposal, from_export: bool) -> Result<Proposal, Status> {
    identity.may_emit(&proposal.event.emitter, from_export)?;
    if proposal.event.fact.kind().is_ledgers_own() && !from_export {
        return Err(status::invalid(
            "kind_reserved",
            format!("{} events are the ledger's own; nobody sends them", proposal.event.fact.kind().name()),
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
        let mut incoming = request.into_inner();
        let (answers, outgoing) = mpsc::channel(STREAM_IN_FLIGHT_MAX);
        let append = self.clone();
        tokio::spawn(async move {
            let mut stopping = append.ledgers.stopping();
            loop {
                // A silent stream must not keep a server that is going down.
                let message = tokio::select! {
                    message = incoming.next() => message,
                    _ = stopping.wait_for(|stopping| *stopping) => Some(Err(shutting_down())),
                };
                let Some(message) = message else { return };
                let answer = match message {
                    Ok(message) => {
                        let (append, identity) = (append.clone(), identity.clone());
                        // Begun in order, so the writer gets them in order; the answers are awaited in order below.
                        Ok(append.begin(&identity, message).await)
                    }
                    Err(broken) => Err(broken),
                };
                let last = answer.is_err();
                if answers.send(answer).await.is_err() || last {
                    return;
                }
            }
        });
        let acknowledged =
            ReceiverStream::new(outgoing).then(|begun| async move { Ok(acknowledgement(begun?.await)) });
        Ok(Response::new(Box::pin(acknowledged)))
    }
}

fn shutting_down() -> Status {
    let message = "the server is shutting down; send what was not acknowledged again when it is back";
    status::status(Code::Unavailable, "shutting_down", message)
}

/// An event of a stream that is on its way, or why it is not.
type Begun = Pin<Box<dyn Future<Output = Result<Result<Accepted, Refused>, Status>> + Send>>;

impl Append {
    /// Hands one message of a stream to the writer; what comes back resolves when it is durable.
    async fn begin(&self, identity: &Identity, message: pb::AppendStreamRequest) -> Begun {
        let prepared = async {
            let name = convert::ledger_name(&message.ledger)?;
            let proposal = allowed(identity, convert::proposal(message.proposal)?, false)?;
            Ok::<_, Status>((self.ledger(&name).await?, proposal))
        };
        match prepared.await {
            Err(wrong) => Box::pin(std::future::ready(Err(wrong))),
            Ok((ledger, proposal)) => {
                let request =
                    Asked { proposals: vec![proposal], atomic: false, validate_only: false, strict: false };
                let answer = ledger.writer.begin(request).await;
                Box::pin(async move {
                    let answers = answer.finish().await?;
                    let first = answers.into_iter().next();
                    first.ok_or_else(|| {
                        status::status(Code::Internal, "no_answer", "the writer gave no answer")
                    })
                })
            }
        }
    }
}

fn acknowledgement(outcome: Result<Result<Accepted, Refused>, Status>) -> pb::AppendStreamResponse {
    let result = match outcome {
        Ok(Ok(accepted)) => pb::append_result::Result::Accepted(convert::accepted(&accepted, false)),
        Ok(Err(refused)) => pb::append_result::Result::Refused(status::refusal(&refused)),
        Err(wrong) => pb::append_result::Result::Refused(status::refusal_of(&wrong)),
    };
    pb::AppendStreamResponse { result: Some(pb::AppendResult { result: Some(result) }) }
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
