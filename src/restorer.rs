//! Drives restores: gathers what a plan needs to know, records the plan, and carries it out through the writer.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use ledger::event::{
    AccountId, Actor, ActorKind, Cause, Difference, Event, Fact, Handle, Namespace, NotRestored, Recorded,
    RestoreOutcome, Text,
};
use ledger::restore::{self, Execution, Neighbours, Order, Plan, Terms};
use ledger::sequencer::{Proposal, Receipt, Refused, Request};
use ledger::state::{Slot, Status};
use ledger::types::{AccountDigest, Emitter, Position, Time};
use uuid::Uuid;

use crate::clock::Clock;
use crate::reader::{AskError, Moment, Reader};
use crate::writer::{WriteError, Writer};

/// The most accounts of one plan.
pub const PLAN_ACCOUNTS_MAX: usize = 1_000;
/// The most bytes that the accounts of a plan take up in one event, with the outcome of each.
const PLAN_BYTES_MAX: usize = 56 * 1024;
/// What the outcome of an account takes up beside its id, at most.
const ITEM_BYTES: usize = 40;
/// How often an account is worked out anew because it changed in between.
const ATTEMPTS_MAX: usize = 5;

/// Why a restore did not happen.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A question had no answer.
    #[error("{0}")]
    Ask(#[from] AskError),
    /// The writer did not write.
    #[error("{0}")]
    Write(#[from] WriteError),
    /// The ledger refused its own event.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// There is no such plan.
    #[error("there is no plan {0} in this ledger; make one with `restore plan`")]
    NoPlan(Uuid),
    /// The plan is not what was agreed to, or cannot be worked out any more as it was.
    #[error("plan {plan}: {reason}; plan anew")]
    PlanChanged {
        /// The plan.
        plan: Uuid,
        /// How it differs.
        reason: &'static str,
    },
}

/// A plan with its id.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The id.
    pub id: Uuid,
    /// What it says.
    pub plan: Arc<Plan>,
    /// Its hash.
    pub hash: [u8; 32],
    /// Where it was completed.
    completed: Option<Position>,
}

/// What became of an account.
#[derive(Clone, Debug)]
pub struct RestoredItem {
    /// The account.
    pub account: AccountId,
    /// What became of it.
    pub outcome: RestoreOutcome,
    /// The account before its deletion began.
    pub digest_before: Option<AccountDigest>,
    /// The account after its restore.
    pub digest_after: Option<AccountDigest>,
    /// Where they differ, or why it did not come back.
    pub differences: Vec<Difference>,
    /// The event that restored it.
    pub position: Option<Position>,
}

/// What was done by a plan.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The plan.
    pub planned: Planned,
    /// Proof that its completion was recorded.
    pub proof: Receipt,
    /// One for each account.
    pub items: Vec<RestoredItem>,
}

/// Restores accounts of one ledger. Cheap to clone.
#[derive(Clone)]
pub struct Restorer {
    reader: Reader,
    writer: Writer,
    clock: Arc<dyn Clock>,
}

impl Restorer {
    /// Restores by this reader and writer.
    #[must_use]
    pub fn new(reader: Reader, writer: Writer, clock: Arc<dyn Clock>) -> Self {
        Self { reader, writer, clock }
    }

    /// Works out a plan for accounts (ids or handles), and records it unless it is only to be looked at.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub async fn plan(
        &self,
        id: Uuid,
        accounts: Vec<String>,
        window_seconds: u32,
        actor: Option<Actor>,
        record: bool,
    ) -> Result<Planned, RestoreError> {
        if accounts.is_empty() || accounts.len() > PLAN_ACCOUNTS_MAX {
            return Err(RestoreError::Invalid(format!("a plan is for 1 to {PLAN_ACCOUNTS_MAX} accounts")));
        }
        if let Some(planned) = self.find(id).await? {
            return self.same_accounts(planned, accounts).await;
        }
        let terms = Terms { planned_at: self.clock.now(), window_seconds };
        let plan = self
            .reader
            .ask(None, move |moment| {
                let ids: BTreeSet<AccountId> =
                    accounts.iter().map(|a| moment.resolve(a)).collect::<Result<_, _>>()?;
                let ids: Vec<AccountId> = ids.into_iter().collect();
                let bytes: usize = ids.iter().map(|id| id.as_str().len() + ITEM_BYTES).sum();
                if bytes > PLAN_BYTES_MAX {
                    let message = "the plan does not fit in one event; plan for fewer accounts at a time";
                    return Err(AskError::Invalid(message.to_owned()));
                }
                work_out(moment, &ids, Position(moment.next().0.saturating_sub(1)), terms)
            })
            .await?;
        let planned = Planned { id, hash: plan.hash(), plan: Arc::new(plan), completed: None };
        if record {
            self.record_plan(&planned, actor).await?;
        }
        Ok(planned)
    }

    /// A plan that was asked for again, if it is for the same accounts.
    async fn same_accounts(&self, planned: Planned, accounts: Vec<String>) -> Result<Planned, RestoreError> {
        let resolve = move |moment: &Moment| {
            accounts.iter().map(|a| moment.resolve(a)).collect::<Result<BTreeSet<_>, _>>()
        };
        let asked = self.reader.ask(None, resolve).await?;
        if asked.iter().eq(planned.plan.items.iter().map(|item| &item.account)) {
            return Ok(planned);
        }
        let reason = "a plan for other accounts has this id already";
        Err(RestoreError::PlanChanged { plan: planned.id, reason })
    }

    async fn record_plan(&self, planned: &Planned, actor: Option<Actor>) -> Result<(), RestoreError> {
        let terms = planned.plan.terms;
        let fact = Fact::RestorePlanned {
            plan: planned.id,
            hash: planned.hash,
            pinned: planned.plan.pinned,
            accounts: planned.plan.items.iter().map(|item| item.account.clone()).collect(),
            window_seconds: terms.window_seconds,
        };
        self.record(planned.id, "planned", terms.planned_at, actor, fact).await.map(drop)
    }

    /// Records an event of the ledger's own about a plan.
    async fn record(
        &self,
        plan: Uuid,
        what: &str,
        at: Time,
        actor: Option<Actor>,
        fact: Fact,
    ) -> Result<Receipt, RestoreError> {
        let correlation_id = Text::new(&plan.to_string()).ok();
        let event = Event {
            event_id: Uuid::new_v5(&plan, what.as_bytes()),
            emitter: Emitter::ledger(),
            emitter_sequence: None,
            occurred_at: at,
            actor: actor.map_or_else(unknown_actor, Ok)?,
            cause: Cause { correlation_id, ..Cause::default() },
            account: None,
            fact,
        };
        let request = strict(vec![Proposal::new(event, None)]);
        let answer = self.writer.append(request).await?.into_iter().next();
        Ok(answer.ok_or(WriteError::Closing)??.receipt)
    }

    /// A plan that was recorded, worked out once more.
    ///
    /// # Errors
    /// [`RestoreError::NoPlan`], [`RestoreError::PlanChanged`].
    pub async fn get(&self, id: Uuid) -> Result<Planned, RestoreError> {
        self.find(id).await?.ok_or(RestoreError::NoPlan(id))
    }

    async fn find(&self, id: Uuid) -> Result<Option<Planned>, RestoreError> {
        let Some(known) = self.writer.inspect(move |state| state.registers().plan(&id).cloned()).await?
        else {
            return Ok(None);
        };
        let (position, pinned, accounts) = (known.position, known.pinned, known.accounts.clone());
        let window_seconds = known.window_seconds;
        let plan = self
            .reader
            .ask(Some(position), move |moment| {
                let planned_at = moment.entry(position)?.recorded.event.occurred_at;
                work_out(moment, &accounts, pinned, Terms { planned_at, window_seconds })
            })
            .await?;
        if plan.hash() != known.hash {
            let reason =
                "it can't be worked out any more as it was recorded (a newer program plans in another way)";
            return Err(RestoreError::PlanChanged { plan: id, reason });
        }
        Ok(Some(Planned { id, plan: Arc::new(plan), hash: known.hash, completed: known.completed }))
    }

    /// Carries a plan out. Asked again, it goes on where it stopped, and in the end says the same.
    ///
    /// # Errors
    /// [`RestoreError`]; what was restored before stays restored.
    pub async fn apply(
        &self,
        id: Uuid,
        hash: Option<[u8; 32]>,
        actor: Option<Actor>,
    ) -> Result<Restored, RestoreError> {
        let planned = self.get(id).await?;
        if hash.is_some_and(|hash| hash != planned.hash) {
            let reason = "it has another hash than the one that was agreed to";
            return Err(RestoreError::PlanChanged { plan: id, reason });
        }
        if planned.completed.is_none() {
            let mut restored = 0;
            let mut not_restored = Vec::new();
            for index in 0..planned.plan.items.len() {
                match self.restore(&planned, index, actor.clone()).await? {
                    None => restored += 1,
                    Some(item) => not_restored.push(item),
                }
            }
            let fact = Fact::RestoreCompleted { plan: id, hash: planned.hash, restored, not_restored };
            match self.record(id, "completed", self.clock.now(), actor, fact).await {
                // Somebody else carried the same plan out at the same time; there is one receipt.
                Ok(_) | Err(RestoreError::Refused(Refused::IdTaken { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        self.receipt(planned).await
    }

    /// Restores one account; says why if it does not come back.
    async fn restore(
        &self,
        planned: &Planned,
        index: usize,
        actor: Option<Actor>,
    ) -> Result<Option<NotRestored>, RestoreError> {
        let account = planned.plan.items[index].account.clone();
        let refused = |reason: &str| NotRestored {
            account: account.clone(),
            outcome: RestoreOutcome::Refused,
            reason: reason.to_owned(),
        };
        for _ in 0..ATTEMPTS_MAX {
            let execution = self.execution(planned, index, actor.clone()).await?;
            if execution.outcome != RestoreOutcome::Restored {
                let reason = execution.refusals.first().map_or("refused", |c| c.reason.name());
                return Ok(Some(NotRestored { outcome: execution.outcome, ..refused(reason) }));
            }
            if execution.events.is_empty() {
                return Ok(None);
            }
            match self.append(execution).await? {
                Ok(()) => return Ok(None),
                Err(Refused::VersionMoved { .. }) => {}
                Err(other) => return Ok(Some(refused(other.reason()))),
            }
        }
        Ok(Some(refused("changed_since_plan")))
    }

    async fn execution(
        &self,
        planned: &Planned,
        index: usize,
        actor: Option<Actor>,
    ) -> Result<Execution, RestoreError> {
        let order = Order {
            plan: planned.id,
            terms: planned.plan.terms,
            now: self.clock.now(),
            actor: actor.map_or_else(unknown_actor, Ok)?,
            cause: Cause::default(),
        };
        let plan = Arc::clone(&planned.plan);
        Ok(self
            .reader
            .ask(None, move |moment| {
                let item = &plan.items[index];
                let history = moment.history(&item.account)?;
                let around = Around::of(moment, moment.next());
                let execution = restore::execute(item, &history, &around, &order);
                around.checked(execution)
            })
            .await?)
    }

    async fn append(&self, execution: Execution) -> Result<Result<(), Refused>, RestoreError> {
        let version = execution.version;
        // The batch is atomic: the first event guards all.
        let proposals = execution
            .events
            .into_iter()
            .enumerate()
            .map(|(index, event)| Proposal::new(event, (index == 0).then_some(version)));
        let answers = self.writer.append(strict(proposals.collect())).await?;
        let refusal =
            answers.into_iter().filter_map(Result::err).find(|r| !matches!(r, Refused::WithBatch { .. }));
        Ok(refusal.map_or(Ok(()), Err))
    }

    /// What the log says of a completed plan.
    async fn receipt(&self, planned: Planned) -> Result<Restored, RestoreError> {
        let id = planned.id;
        let completed = self
            .writer
            .inspect(move |state| state.registers().plan(&id).and_then(|plan| plan.completed))
            .await?
            .ok_or(RestoreError::NoPlan(id))?;
        let order = Order {
            plan: id,
            terms: planned.plan.terms,
            now: planned.plan.terms.planned_at,
            actor: unknown_actor()?,
            cause: Cause::default(),
        };
        let plan = Arc::clone(&planned.plan);
        let (proof, items) = self
            .reader
            .ask(Some(completed), move |moment| {
                let entry = moment.entry(completed)?;
                let Fact::RestoreCompleted { not_restored, .. } = &entry.recorded.event.fact else {
                    return Err(AskError::NotFound(format!("position {completed} completes no restore")));
                };
                let (header, _) = ledger::entry::decode(&entry.record.entry)
                    .map_err(|e| AskError::Invalid(e.to_string()))?;
                let proof = Receipt::of(&header, entry.record.link);
                let mut items = Vec::with_capacity(plan.items.len());
                for item in &plan.items {
                    items.push(match not_restored.iter().find(|n| n.account == item.account) {
                        Some(not) => refused_item(item, not),
                        None => restored_item(moment, item, &order)?,
                    });
                }
                Ok((proof, items))
            })
            .await?;
        Ok(Restored { planned, proof, items })
    }
}

fn restored_item(moment: &Moment, item: &restore::Item, order: &Order) -> Result<RestoredItem, AskError> {
    let history = moment.history(&item.account)?;
    let around = Around::of(moment, moment.next());
    let execution = around.checked(restore::execute(item, &history, &around, order))?;
    let of_plan = |r: &&Recorded| matches!(r.event.fact, Fact::AccountRestored { plan: Some(p), .. } if p == order.plan);
    Ok(RestoredItem {
        account: item.account.clone(),
        outcome: RestoreOutcome::Restored,
        digest_before: execution.digest_before,
        digest_after: execution.digest_after,
        differences: execution.differences,
        position: history.iter().find(of_plan).map(|r| r.position),
    })
}

fn refused_item(item: &restore::Item, not: &NotRestored) -> RestoredItem {
    let conflict = item.conflicts.iter().find(|c| c.reason.name() == not.reason);
    RestoredItem {
        account: item.account.clone(),
        outcome: not.outcome,
        digest_before: item.digest_before,
        digest_after: None,
        differences: vec![Difference {
            what: conflict.map_or_else(|| "account".to_owned(), |c| c.what.clone()),
            reason: not.reason.clone(),
            detail: conflict.map_or_else(
                || "the account changed after the plan was made; plan anew".to_owned(),
                |c| c.detail.clone(),
            ),
        }],
        position: None,
    }
}

fn strict(proposals: Vec<Proposal>) -> Request {
    Request { proposals, atomic: true, validate_only: false, strict: true }
}

fn unknown_actor() -> Result<Actor, RestoreError> {
    let id = Text::new("unknown").map_err(|e| RestoreError::Invalid(e.to_string()))?;
    Ok(Actor { kind: ActorKind::Unknown, id })
}

/// Works out a plan as of a position.
fn work_out(
    moment: &Moment,
    accounts: &[AccountId],
    pinned: Position,
    terms: Terms,
) -> Result<Plan, AskError> {
    let mut histories = Vec::with_capacity(accounts.len());
    for account in accounts {
        histories.push((account, moment.history(account)?));
    }
    let around = Around::of(moment, pinned.next());
    let plan = restore::plan(histories.iter().map(|(a, h)| (*a, h.as_slice())), pinned, terms, &around);
    around.checked(plan)
}

/// The other accounts as of a position.
struct Around<'a> {
    moment: &'a Moment,
    before: Position,
    /// The first question that had no answer.
    failed: RefCell<Option<AskError>>,
}

impl<'a> Around<'a> {
    fn of(moment: &'a Moment, before: Position) -> Self {
        Self { moment, before, failed: RefCell::new(None) }
    }

    /// What was worked out, unless a question about another account had no answer.
    fn checked<T>(&self, value: T) -> Result<T, AskError> {
        self.failed.borrow_mut().take().map_or(Ok(value), Err)
    }

    fn slot(&self, account: &AccountId) -> Option<Slot> {
        match self.moment.history(account) {
            Ok(history) => Slot::fold(account, history.iter().filter(|r| r.position < self.before)),
            Err(error) => {
                self.failed.borrow_mut().get_or_insert(error);
                None
            }
        }
    }
}

impl Neighbours for Around<'_> {
    fn holders(&self, namespace: Option<&Namespace>, handle: &Handle) -> Vec<AccountId> {
        let ever = self.moment.ever_with_handle(handle.as_str()).unwrap_or_else(|error| {
            self.failed.borrow_mut().get_or_insert(error);
            Default::default()
        });
        let holds = |account: &AccountId| {
            self.slot(account).is_some_and(|slot| {
                let life = slot.current();
                life.status != Status::Deleted
                    && life.namespace.as_ref() == namespace
                    && life.handle == *handle
            })
        };
        ever.into_iter().filter(holds).collect()
    }

    fn status(&self, account: &AccountId) -> Option<Status> {
        self.slot(account).map(|slot| slot.current().status)
    }
}
