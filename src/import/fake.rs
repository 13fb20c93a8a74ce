//! A ledger in memory, as far as an import sees one.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;

use ledger::event::{AccountId, Event, Kind};
use ledger::types::Emitter;
use uuid::Uuid;

use super::{Outcome, Target};

#[derive(Default)]
pub(super) struct FakeLedger {
    pub(super) events: Vec<Event>,
    pub(super) batches: Vec<usize>,
    pub(super) asked: Vec<usize>,
    /// Events of this kind are refused.
    pub(super) refuses: Option<Kind>,
    ids: HashMap<(Emitter, Uuid), Event>,
    accounts: HashSet<AccountId>,
}

impl FakeLedger {
    pub(super) fn knowing(account: &str) -> Self {
        let mut ledger = Self::default();
        ledger.accounts.insert(AccountId::new(account).unwrap());
        ledger
    }

    fn append_one(&mut self, event: Event) -> Outcome {
        if Some(event.fact.kind()) == self.refuses {
            return Outcome::Refused { reason: "the policy says no".to_owned() };
        }
        let key = (event.emitter.clone(), event.event_id);
        match self.ids.get(&key) {
            Some(held) if *held == event => return Outcome::AlreadyPresent,
            Some(_) => return Outcome::Refused { reason: "its id was used for another event".to_owned() },
            None => self.ids.insert(key, event.clone()),
        };
        self.accounts.extend(event.account.clone());
        self.events.push(event);
        Outcome::Appended
    }
}

impl Target for FakeLedger {
    type Error = Infallible;

    async fn known(&mut self, accounts: &[AccountId]) -> Result<Vec<bool>, Infallible> {
        self.asked.push(accounts.len());
        Ok(accounts.iter().map(|account| self.accounts.contains(account)).collect())
    }

    async fn append(&mut self, events: Vec<Event>) -> Result<Vec<Outcome>, Infallible> {
        self.batches.push(events.len());
        Ok(events.into_iter().map(|event| self.append_one(event)).collect())
    }
}
