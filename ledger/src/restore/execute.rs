//! A plan carried out: the facts of an item become events.

use uuid::Uuid;

use super::conflict::{Conflict, Reason};
use super::item::{Item, item};
use super::{Neighbours, Terms};
use crate::event::{Actor, Cause, Difference, Event, Fact, Recorded, RestoreOutcome, Text};
use crate::types::{AccountDigest, Emitter, Time};

/// By whose word a plan is carried out, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The plan.
    pub plan: Uuid,
    /// The terms under which it was made.
    pub terms: Terms,
    /// Now.
    pub now: Time,
    /// Who carries it out.
    pub actor: Actor,
    /// Why. The correlation id becomes that of the plan, whatever is given.
    pub cause: Cause,
}

/// What became of an item, and what is to be appended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// What becomes of the account.
    pub outcome: RestoreOutcome,
    /// The events to append: all or none, and only if the account still has `version` events.
    pub events: Vec<Event>,
    /// How many events of the account this was worked out from.
    pub version: u64,
    /// Why it does not come back, if it does not.
    pub refusals: Vec<Conflict>,
    /// The account before its deletion began.
    pub digest_before: Option<AccountDigest>,
    /// The account once the events are folded in.
    pub digest_after: Option<AccountDigest>,
    /// Where the two differ, and why.
    pub differences: Vec<Difference>,
}

/// Turns an item into the events that carry it out. `history` is all events of the account by now, `neighbours` answer as
/// of now.
///
/// The item is worked out again; unless the very same facts come out, the account is refused with `changed_since_plan`,
/// since what was approved is no longer what would be done. An account that this plan has brought back already is
/// `Restored` with nothing left to append. The ids of events are UUIDs (version 5) of the plan and `ACCOUNT/INDEX`, so
/// even a repetition that knows nothing of the first adds nothing.
#[must_use]
pub fn execute(
    planned: &Item,
    history: &[Recorded],
    neighbours: &dyn Neighbours,
    order: &Order,
) -> Execution {
    if let Some(done) = done(history, order.plan) {
        return done;
    }
    let current = item(&planned.account, history, &order.terms, neighbours);
    if planned.outcome == RestoreOutcome::Refused {
        return Execution::not_restored(planned, current.version);
    }
    if current.outcome != RestoreOutcome::Restored {
        return Execution::not_restored(&current, current.version);
    }
    if current.facts != planned.facts {
        return Execution::changed(&current);
    }
    Execution {
        outcome: RestoreOutcome::Restored,
        events: order.events(planned),
        version: current.version,
        refusals: Vec::new(),
        digest_before: planned.digest_before,
        digest_after: planned.digest_after,
        differences: planned.differences.clone(),
    }
}

/// What a plan has done to the account already.
fn done(history: &[Recorded], wanted: Uuid) -> Option<Execution> {
    let version = u64::try_from(history.len()).unwrap_or(u64::MAX);
    history.iter().find_map(|recorded| match &recorded.event.fact {
        Fact::AccountRestored { plan, digest_before, digest_after, differences, .. }
            if *plan == Some(wanted) && recorded.event.emitter == Emitter::ledger() =>
        {
            Some(Execution {
                outcome: RestoreOutcome::Restored,
                events: Vec::new(),
                version,
                refusals: Vec::new(),
                digest_before: *digest_before,
                digest_after: *digest_after,
                differences: differences.clone(),
            })
        }
        _ => None,
    })
}

impl Execution {
    fn not_restored(item: &Item, version: u64) -> Self {
        Self {
            outcome: item.outcome,
            events: Vec::new(),
            version,
            refusals: item.conflicts.iter().filter(|c| c.blocks()).cloned().collect(),
            digest_before: item.digest_before,
            digest_after: item.digest_after,
            differences: Vec::new(),
        }
    }

    fn changed(current: &Item) -> Self {
        let detail = "more has happened to the account since the plan was made; plan again and look at it";
        Self {
            outcome: RestoreOutcome::Refused,
            refusals: vec![Conflict::new(Reason::ChangedSincePlan, "account", detail)],
            digest_after: None,
            ..Self::not_restored(current, current.version)
        }
    }
}

impl Order {
    fn events(&self, item: &Item) -> Vec<Event> {
        let facts = item.facts.iter().cloned().enumerate();
        facts.map(|(index, fact)| self.event(item, index, self.stamp(fact))).collect()
    }

    fn event(&self, item: &Item, index: usize, fact: Fact) -> Event {
        let name = format!("{}/{index}", item.account);
        Event {
            event_id: Uuid::new_v5(&self.plan, name.as_bytes()),
            emitter: Emitter::ledger(),
            emitter_sequence: None,
            occurred_at: self.now,
            actor: self.actor.clone(),
            cause: Cause { correlation_id: Some(Text::own(&self.plan.to_string())), ..self.cause.clone() },
            account: Some(item.account.clone()),
            fact,
        }
    }

    fn stamp(&self, fact: Fact) -> Fact {
        let own = Some(self.plan);
        match fact {
            Fact::AccountRestored { incarnation, digest_before, digest_after, differences, .. } => {
                Fact::AccountRestored { plan: own, incarnation, digest_before, digest_after, differences }
            }
            Fact::TokenReinstated { token, .. } => Fact::TokenReinstated { token, plan: own },
            fact => fact,
        }
    }
}
