//! The service to ask.

use std::pin::Pin;
use std::sync::Arc;

use ledger::event::{Text, TokenDigest, TokenId};
use ledger::sequencer::Receipt;
use ledger::types::{Emitter, Position};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request, Response, Status};
use uuid::Uuid;

use super::{existing, page};
use crate::clock::Clock;
use crate::ledgers::Ledgers;
use crate::reader::{AskError, Entry, Filter, Moment, Reader};
use crate::wire::answers::query_service_server::QueryService;
use crate::wire::pb;
use crate::wire::status::{invalid, status};
use crate::wire::{Encoded, convert, events};

/// How many bytes of entries one message of a tail holds, about.
const TAIL_BYTES: usize = 256 * 1024;
/// How many messages of a tail wait for a slow reader; then the tail waits, and nobody else.
const TAIL_MESSAGES: usize = 4;

/// Answers questions.
#[derive(Clone)]
pub struct Query {
    ledgers: Arc<Ledgers>,
}

impl Query {
    /// Answers from these ledgers.
    #[must_use]
    pub fn new(ledgers: Arc<Ledgers>) -> Self {
        Self { ledgers }
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.ledgers.shared().clock)
    }
}

fn filter(filter: Option<pb::EventFilter>) -> Result<Filter, Status> {
    let filter = filter.unwrap_or_default();
    let some = |text: String| (!text.is_empty()).then_some(text);
    if !filter.kind.is_empty() && ledger::event::Kind::of_name(&filter.kind).is_none() {
        let kinds: Vec<&str> = ledger::event::Kind::ALL.iter().map(|kind| kind.name()).collect();
        return Err(invalid(
            "invalid_request",
            format!("field `filter.kind` is not a kind of event; kinds are {}", kinds.join(", ")),
        ));
    }
    Ok(Filter {
        account: some(filter.account),
        actor: some(filter.actor),
        run: some(filter.run),
        kind: some(filter.kind),
        token: some(filter.token),
        correlation: some(filter.correlation_id),
        from: convert::time("filter.from", filter.from)?,
        to: convert::time("filter.to", filter.to)?,
    })
}

fn token_id(token: &str) -> Result<TokenId, Status> {
    TokenId::new(token).map_err(|e| invalid("invalid_request", format!("field `token` {e}")))
}

fn min_position(position: Option<u64>) -> Option<Position> {
    position.map(Position)
}

/// The entry of an event id.
pub(super) async fn find(
    reader: &Reader,
    writer: &crate::writer::Writer,
    key: pb::EventKey,
) -> Result<Entry, Status> {
    let event_id = Uuid::try_parse(&key.event_id)
        .map_err(|_| invalid("invalid_request", "field `key.event_id` is not a UUID"))?;
    let emitter: Emitter =
        key.emitter.parse().map_err(|e| invalid("invalid_request", format!("field `key.emitter`: {e}")))?;
    let found = writer.find(emitter, event_id).await?;
    let position = found.ok_or_else(|| {
        status(Code::NotFound, "event_not_found", "no event of this emitter has this id in this ledger")
    })?;
    Ok(reader.ask(Some(position), move |moment| moment.entry(position)).await?)
}

#[tonic::async_trait]
impl QueryService for Query {
    async fn get_event(
        &self,
        request: Request<pb::GetEventRequest>,
    ) -> Result<Response<pb::GetEventResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let entry = match request.which {
            Some(pb::get_event_request::Which::Position(p)) => {
                ledger.reader.ask(None, move |moment| moment.entry(Position(p))).await?
            }
            Some(pb::get_event_request::Which::Key(key)) => find(&ledger.reader, &ledger.writer, key).await?,
            None => return Err(invalid("invalid_request", "say which event: by `position` or by `key`")),
        };
        let event = Some(convert::ledger_event(&entry));
        Ok(Response::new(pb::GetEventResponse { event, entry: entry.record.entry.to_vec() }))
    }

    async fn list_events(
        &self,
        request: Request<pb::ListEventsRequest>,
    ) -> Result<Response<Encoded>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let filter = filter(request.filter)?;
        let query = ("events", ledger.name.to_string(), filter.clone(), request.descending);
        let start = page::open_number(&query, &request.page_token)?.map(Position);
        let (limit, descending) = (page::size(request.page_size), request.descending);
        let answer = ledger
            .reader
            .ask(min_position(request.min_position), move |moment| {
                let found = moment.events(&resolved(moment, &filter)?, start, descending, limit)?;
                let next = found.next.map(|next| page::token(&query, &next.to_string()));
                Ok(events::list_response(&found, &next.unwrap_or_default(), moment.next())?)
            })
            .await?;
        Ok(Response::new(answer))
    }

    type TailEventsStream = Pin<Box<dyn Stream<Item = TailMessage> + Send>>;

    async fn tail_events(
        &self,
        request: Request<pb::TailEventsRequest>,
    ) -> Result<Response<Self::TailEventsStream>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let (sender, receiver) = mpsc::channel(TAIL_MESSAGES);
        let (reader, mut stopping) = (ledger.reader.clone(), self.ledgers.stopping());
        tokio::spawn(async move {
            let from = Position(request.from_position);
            tokio::select! {
                () = tail(&reader, from, request.stop_at_end, &sender) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {
                    let message = "the server is shutting down; go on from the next position";
                    // A reader that is too slow to take this sees the connection end.
                    let _ = sender.try_send(Err(status(Code::Unavailable, "shutting_down", message)));
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn get_receipt(
        &self,
        request: Request<pb::GetReceiptRequest>,
    ) -> Result<Response<pb::GetReceiptResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let entry = find(&ledger.reader, &ledger.writer, request.key.unwrap_or_default()).await?;
        let (header, _) = ledger::entry::decode(&entry.record.entry)
            .map_err(|e| status(Code::DataLoss, "log_unreadable", e.to_string()))?;
        let receipt = convert::receipt(&Receipt::of(&header, entry.record.link));
        Ok(Response::new(pb::GetReceiptResponse { receipt: Some(receipt) }))
    }

    async fn get_account(
        &self,
        request: Request<pb::GetAccountRequest>,
    ) -> Result<Response<pb::GetAccountResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let (as_of, now) = (convert::as_of(request.as_of)?, self.clock().now());
        let account = request.account;
        let (then, reflects) = ledger
            .reader
            .ask(min_position(request.min_position), move |moment| {
                Ok((moment.account(&moment.resolve(&account)?, &as_of, now)?, moment.next()))
            })
            .await?;
        let account = Some(convert::account(&ledger.name, &then));
        Ok(Response::new(pb::GetAccountResponse { account, reflects: reflects.0 }))
    }

    async fn list_accounts(
        &self,
        request: Request<pb::ListAccountsRequest>,
    ) -> Result<Response<pb::ListAccountsResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let query = ("accounts", ledger.name.to_string(), request.prefix.clone());
        let after = page::open(&query, &request.page_token)?;
        let (limit, now) = (page::size(request.page_size), self.clock().now());
        let ((accounts, next), reflects) = ledger
            .reader
            .ask(min_position(request.min_position), move |moment| {
                Ok((moment.accounts(&request.prefix, after.as_deref(), limit, now)?, moment.next()))
            })
            .await?;
        Ok(Response::new(pb::ListAccountsResponse {
            accounts: accounts.iter().map(|then| convert::account(&ledger.name, then)).collect(),
            next_page_token: next.map_or_else(String::new, |next| page::token(&query, &next)),
            reflects: reflects.0,
        }))
    }

    async fn get_token(
        &self,
        request: Request<pb::GetTokenRequest>,
    ) -> Result<Response<pb::GetTokenResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let (as_of, now) = (convert::as_of(request.as_of)?, self.clock().now());
        let (token, account) = (token_id(&request.token)?, request.account);
        let (found, reflects) = ledger
            .reader
            .ask(min_position(request.min_position), move |moment| {
                let account = if account.is_empty() { None } else { Some(moment.resolve(&account)?) };
                let found = moment.tokens(account.as_ref(), &token, &as_of, now)?;
                if found.is_empty() {
                    return Err(AskError::NotFound(format!("there was no token {token} then")));
                }
                Ok((found, moment.next()))
            })
            .await?;
        let tokens = found.iter().map(|found| convert::owned_token(&ledger.name, found)).collect();
        Ok(Response::new(pb::GetTokenResponse { tokens, reflects: reflects.0 }))
    }

    async fn lookup_token(
        &self,
        request: Request<pb::LookupTokenRequest>,
    ) -> Result<Response<pb::LookupTokenResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let (as_of, now) = (convert::as_of(request.as_of)?, self.clock().now());
        let digest = TokenDigest::new(&request.digest)
            .map_err(|e| invalid("invalid_request", format!("field `digest` {e}")))?;
        let (found, reflects) = ledger
            .reader
            .ask(min_position(request.min_position), move |moment| {
                Ok((moment.tokens_by_digest(&digest, &as_of, now)?, moment.next()))
            })
            .await?;
        if found.is_empty() {
            return Err(status(Code::NotFound, "token_not_found", "no token of this ledger has this digest"));
        }
        let tokens = found.iter().map(|found| convert::owned_token(&ledger.name, found)).collect();
        Ok(Response::new(pb::LookupTokenResponse { tokens, reflects: reflects.0 }))
    }

    async fn find_deletions(
        &self,
        request: Request<pb::FindDeletionsRequest>,
    ) -> Result<Response<pb::FindDeletionsResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let filter = filter(Some(pb::EventFilter {
            run: request.run,
            actor: request.actor,
            from: request.from,
            to: request.to,
            ..pb::EventFilter::default()
        }))?;
        let query = ("deletions", ledger.name.to_string(), filter.clone());
        let start = page::open_number(&query, &request.page_token)?.map(Position);
        let limit = page::size(request.page_size);
        let (found, reflects) = ledger
            .reader
            .ask(min_position(request.min_position), move |moment| {
                Ok((moment.deletions(&filter, start, limit)?, moment.next()))
            })
            .await?;
        Ok(Response::new(pb::FindDeletionsResponse {
            deletions: found.items.iter().map(|(deletion, now)| convert::deletion(deletion, *now)).collect(),
            next_page_token: found
                .next
                .map_or_else(String::new, |next| page::token(&query, &next.to_string())),
            reflects: reflects.0,
        }))
    }

    async fn get_state_root(
        &self,
        request: Request<pb::GetStateRootRequest>,
    ) -> Result<Response<pb::GetStateRootResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let position = request.position.map(Position);
        if position.is_some_and(|position| position >= ledger.reader.log().tail().next) {
            return Err(status(Code::NotFound, "not_found", "the ledger ends before this position"));
        }
        let (root, entries, accounts) =
            ledger.reader.ask(position, move |moment| moment.root(position)).await?;
        Ok(Response::new(pb::GetStateRootResponse {
            root: root.0.to_vec(),
            entries: entries.0,
            accounts: accounts as u64,
        }))
    }
}

/// A filter with its account as an id. One that nobody has stays as it is, and finds nothing but refusals.
fn resolved(moment: &Moment, filter: &Filter) -> Result<Filter, AskError> {
    let Some(account) = &filter.account else { return Ok(filter.clone()) };
    let account = match moment.resolve(account) {
        Ok(id) => id.to_string(),
        Err(AskError::NotFound(_)) if Text::new(account).is_ok() => account.clone(),
        Err(error) => return Err(error),
    };
    Ok(Filter { account: Some(account), ..filter.clone() })
}

type TailMessage = Result<Encoded, Status>;

/// Sends everything from a position on, first what is there, then what comes. Only what is durable is ever read, and the
/// log never shows a part of a batch.
async fn tail(reader: &Reader, from: Position, stop_at_end: bool, out: &mpsc::Sender<TailMessage>) {
    let mut tail = reader.tail();
    let mut next = from;
    let end = tail.borrow().next;
    loop {
        let durable = tail.borrow_and_update().next;
        let to = if stop_at_end { end } else { durable };
        while next < to {
            match read(reader, next, to).await {
                Ok((events, behind)) => {
                    next = behind;
                    if out.send(Ok(events)).await.is_err() {
                        return;
                    }
                }
                Err(failed) => {
                    let _ = out.send(Err(failed)).await;
                    return;
                }
            }
        }
        if stop_at_end {
            return;
        }
        tokio::select! {
            changed = tail.changed() => if changed.is_err() {
                return;
            },
            () = out.closed() => return,
        }
    }
}

/// The next events, and the position behind them.
async fn read(reader: &Reader, from: Position, to: Position) -> Result<(Encoded, Position), Status> {
    let log = Arc::clone(reader.log());
    let read = tokio::task::spawn_blocking(move || {
        let mut records = log.read(from, TAIL_BYTES)?;
        records.truncate(usize::try_from(to.0 - from.0).unwrap_or(usize::MAX));
        let behind = Position(from.0 + records.len() as u64);
        Ok::<_, AskError>((events::tail_response(from, &records)?, behind))
    });
    let (answer, behind) = read.await.map_err(|_| AskError::Closing)??;
    if behind == from {
        return Err(AskError::NotFound(format!("position {from} can't be read")).into());
    }
    Ok((answer, behind))
}
