//! Restores: an incident that took accounts with their tokens, and how long it takes until they are back.

use std::time::Instant;

use serde::Serialize;
use tonic::transport::Channel;
use uuid::Uuid;

use super::site::{Place, Site};
use super::workload::{Cast, Mix, Workload, name_of};
use super::{BenchError, load, millis, per_s};
use crate::wire::pb;
use pb::restore_service_client::RestoreServiceClient;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// Accounts that are deleted and brought back, at most 1,000.
    pub accounts: usize,
    /// Events of each account before.
    pub events_per_account: usize,
}

/// What was measured. Other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Accounts brought back, a second, from the first question to the receipt.
    pub restores_per_s: f64,
    /// The whole incident, in milliseconds.
    pub incident_ms: f64,
    /// The plan of it.
    pub plan_ms: f64,
    /// Its execution.
    pub apply_ms: f64,
    /// Accounts brought back.
    pub accounts: usize,
    /// Events of the ledger before.
    pub entries: u64,
}

/// Deletes accounts with live tokens, and brings them back by one plan.
///
/// # Errors
/// Where a server cannot be started or reached, or an account does not come back.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let site = Site::open(&options.place).await?;
    let channel = site.channel().await?;
    struck(&site, &channel, options).await?;
    site.projected(&channel).await?;
    let entries = site.extent(&channel).await?.entries;
    let began = Instant::now();
    let plan = plan(&site, &channel, options.accounts).await?;
    let planned = began.elapsed();
    let restored = apply(&site, &channel, plan).await?;
    let whole = began.elapsed();
    site.close().await?;
    if restored != options.accounts {
        return Err(BenchError(format!("{restored} of {} accounts came back", options.accounts)));
    }
    Ok(Report {
        restores_per_s: per_s(restored as u64, whole),
        incident_ms: millis(whole),
        plan_ms: millis(planned),
        apply_ms: millis(whole.saturating_sub(planned)),
        accounts: restored,
        entries,
    })
}

/// Accounts with a history, and then the incident.
async fn struck(site: &Site, channel: &Channel, options: &Options) -> Result<(), BenchError> {
    let known = usize::try_from(site.extent(channel).await?.accounts).unwrap_or(usize::MAX);
    if known > 0 && known < options.accounts {
        return Err(BenchError(format!("the ledger in this directory has only {known} accounts")));
    }
    // Those that are there already are struck, however many there are beside them.
    let cast = Cast::new(options.accounts, 1, Mix::Whole).returning(known.min(options.accounts));
    let mut workload = Workload::new(cast, 0);
    let mut events = workload.opening();
    let more = options.events_per_account.saturating_sub(events.len() / options.accounts.max(1) + 1);
    events.extend((0..more * options.accounts).map(|_| workload.next()));
    events.extend(workload.deletions(&format!("incident-{}", Uuid::new_v4().simple())));
    load::send_all(std::slice::from_ref(channel), &site.ledger, events).await
}

fn responder() -> Option<pb::Actor> {
    Some(pb::Actor { kind: pb::ActorKind::Human.into(), id: "responder".to_owned() })
}

async fn plan(site: &Site, channel: &Channel, accounts: usize) -> Result<pb::RestorePlan, BenchError> {
    let request = pb::PlanRestoreRequest {
        ledger: site.ledger.clone(),
        accounts: (0..accounts).map(name_of).collect(),
        actor: responder(),
        ..Default::default()
    };
    let mut service = restores(channel);
    let answer = service.plan_restore(request).await.map_err(|e| BenchError::asked(&e))?;
    answer.into_inner().plan.ok_or_else(|| BenchError("the server made no plan".to_owned()))
}

/// Carries a plan out, and says how many accounts came back.
async fn apply(site: &Site, channel: &Channel, plan: pb::RestorePlan) -> Result<usize, BenchError> {
    let request = pb::ApplyRestoreRequest {
        ledger: site.ledger.clone(),
        plan: plan.plan,
        hash: plan.hash,
        actor: responder(),
    };
    let answer = restores(channel).apply_restore(request).await.map_err(|e| BenchError::asked(&e))?;
    let items = answer.into_inner().receipt.unwrap_or_default().items;
    Ok(items.iter().filter(|item| item.outcome() == pb::RestoreOutcome::Restored).count())
}

/// A plan of 1,000 accounts is larger than what a client takes by default.
fn restores(channel: &Channel) -> RestoreServiceClient<Channel> {
    RestoreServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX)
}
