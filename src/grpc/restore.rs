//! The service to bring accounts back.

use std::sync::Arc;

use ledger::restore::WINDOW_SECONDS;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::existing;
use crate::ledgers::Ledgers;
use crate::wire::convert;
use crate::wire::pb;
use crate::wire::pb::restore_service_server::RestoreService;
use crate::wire::status::invalid;

/// The widest window before a deletion, in seconds: a day.
const WINDOW_SECONDS_MAX: u32 = 24 * 60 * 60;

/// Brings accounts back.
#[derive(Clone)]
pub struct Restore {
    ledgers: Arc<Ledgers>,
}

impl Restore {
    /// Restores in these ledgers.
    #[must_use]
    pub fn new(ledgers: Arc<Ledgers>) -> Self {
        Self { ledgers }
    }
}

fn plan_id(text: &str) -> Result<Uuid, Status> {
    Uuid::try_parse(text)
        .map_err(|_| invalid("invalid_request", "field `plan` is not a UUID, as `restore plan` prints it"))
}

#[tonic::async_trait]
impl RestoreService for Restore {
    async fn plan_restore(
        &self,
        request: Request<pb::PlanRestoreRequest>,
    ) -> Result<Response<pb::PlanRestoreResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let window = request.window_seconds.unwrap_or(WINDOW_SECONDS);
        if window > WINDOW_SECONDS_MAX {
            return Err(invalid("invalid_request", "field `window_seconds` is at most 86,400 (a day)"));
        }
        let id = match request.request_id.as_str() {
            "" => Uuid::new_v4(),
            text => Uuid::try_parse(text)
                .map_err(|_| invalid("invalid_request", "field `request_id` is not a UUID"))?,
        };
        let actor = convert::actor(request.actor)?;
        let planned =
            ledger.restorer.plan(id, request.accounts, window, actor, !request.validate_only).await?;
        Ok(Response::new(pb::PlanRestoreResponse { plan: Some(convert::plan(&planned)) }))
    }

    async fn get_plan(
        &self,
        request: Request<pb::GetPlanRequest>,
    ) -> Result<Response<pb::GetPlanResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let planned = ledger.restorer.get(plan_id(&request.plan)?).await?;
        Ok(Response::new(pb::GetPlanResponse { plan: Some(convert::plan(&planned)) }))
    }

    async fn apply_restore(
        &self,
        request: Request<pb::ApplyRestoreRequest>,
    ) -> Result<Response<pb::ApplyRestoreResponse>, Status> {
        let request = request.into_inner();
        let ledger = existing(&self.ledgers, &request.ledger)?;
        let hash = match request.hash.as_slice() {
            [] => None,
            bytes => Some(
                bytes.try_into().map_err(|_| invalid("invalid_request", "field `hash` is not 32 bytes"))?,
            ),
        };
        let actor = convert::actor(request.actor)?;
        let restored = ledger.restorer.apply(plan_id(&request.plan)?, hash, actor).await?;
        Ok(Response::new(pb::ApplyRestoreResponse { receipt: Some(convert::restored(&restored)) }))
    }
}
