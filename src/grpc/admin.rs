//! The service to look after ledgers.

use std::pin::Pin;
use std::sync::Arc;

use ledger::types::Position;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status};

use super::{existing, page};
use crate::ledgers::{Ledger, Ledgers};
use crate::wire::pb;
use crate::wire::pb::admin_service_server::AdminService;
use ledger::event::timestamp;

/// Looks after ledgers.
#[derive(Clone)]
pub struct Admin {
    ledgers: Arc<Ledgers>,
}

impl Admin {
    /// Looks after these ledgers.
    #[must_use]
    pub fn new(ledgers: Arc<Ledgers>) -> Self {
        Self { ledgers }
    }
}

fn describe(ledger: &Ledger) -> pb::Ledger {
    let tail = ledger.reader.log().tail();
    let recorded = tail.next > Position(0);
    pb::Ledger {
        name: format!("ledgers/{}", ledger.name),
        ledger: ledger.name.to_string(),
        uid: tail.uid.to_string(),
        entries: tail.next.0,
        head: tail.link.0.to_vec(),
        last_recorded_at: recorded.then(|| timestamp(tail.recorded_at)),
        projected: ledger.projection.seen().borrow().next.0,
        stopped: ledger.writer.stopped().unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn list_ledgers(
        &self,
        request: Request<pb::ListLedgersRequest>,
    ) -> Result<Response<pb::ListLedgersResponse>, Status> {
        let request = request.into_inner();
        let after = page::open(&"ledgers", &request.page_token)?;
        let all = self.ledgers.all();
        let rest = all.iter().filter(|l| after.as_deref().is_none_or(|after| l.name.as_str() > after));
        let mut ledgers: Vec<&Arc<Ledger>> = rest.collect();
        let limit = page::size(request.page_size);
        let more = ledgers.len() > limit;
        ledgers.truncate(limit);
        let next = if more { ledgers.last().map(|ledger| ledger.name.to_string()) } else { None };
        Ok(Response::new(pb::ListLedgersResponse {
            ledgers: ledgers.into_iter().map(|ledger| describe(ledger)).collect(),
            next_page_token: next.map_or_else(String::new, |next| page::token(&"ledgers", &next)),
        }))
    }

    async fn describe_ledger(
        &self,
        request: Request<pb::DescribeLedgerRequest>,
    ) -> Result<Response<pb::DescribeLedgerResponse>, Status> {
        let ledger = existing(&self.ledgers, &request.into_inner().ledger)?;
        let (accounts, emitters) = ledger
            .writer
            .inspect(|state| {
                let emitters = state.registers().emitters().map(|(emitter, progress)| pb::EmitterProgress {
                    emitter: emitter.to_string(),
                    last_sequence: progress.last,
                    missing: progress.missing,
                });
                (state.accounts() as u64, emitters.collect())
            })
            .await?;
        let damage = ledger.damage.iter().map(|d| pb::Damage {
            position: d.position.0,
            file: d.file.clone(),
            offset: d.offset,
            reason: d.reason.clone(),
        });
        Ok(Response::new(pb::DescribeLedgerResponse {
            ledger: Some(describe(&ledger)),
            accounts,
            emitters,
            damage: damage.collect(),
        }))
    }

    type RebuildProjectionStream =
        Pin<Box<dyn Stream<Item = Result<pb::RebuildProjectionResponse, Status>> + Send>>;

    async fn rebuild_projection(
        &self,
        request: Request<pb::RebuildProjectionRequest>,
    ) -> Result<Response<Self::RebuildProjectionStream>, Status> {
        let ledger = existing(&self.ledgers, &request.into_inner().ledger)?;
        let (sender, receiver) = mpsc::channel(16);
        ledger.projection.rebuild(sender).await;
        let progress = ReceiverStream::new(receiver)
            .map(|(done, total, finished)| Ok(pb::RebuildProjectionResponse { done, total, finished }));
        Ok(Response::new(Box::pin(progress)))
    }
}
