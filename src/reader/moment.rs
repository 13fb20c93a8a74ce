//! A ledger at one position: entries, accounts and tokens.

use std::collections::BTreeSet;
use std::sync::Arc;

use ledger::entry::Record;
use ledger::event::{AccountId, Recorded, TokenDigest, TokenId};
use ledger::log::LogStore;
use ledger::replay;
use ledger::state::{Slot, State};
use ledger::types::{Position, StateRoot, Time};

use super::{AccountThen, AsOf, AskError, Entry, Found};
use crate::projection::Tag;
use crate::store::View;

/// How many entries are read at once.
const READ_ENTRIES: usize = 512;

/// A ledger at one position.
pub struct Moment {
    log: Arc<dyn LogStore>,
    view: View,
}

impl Moment {
    pub(super) fn new(log: Arc<dyn LogStore>, view: View) -> Self {
        Self { log, view }
    }

    /// The index as of this position.
    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// How many entries it reflects.
    #[must_use]
    pub fn next(&self) -> Position {
        Position(self.view.cursor())
    }

    /// The last position that it reflects.
    fn last(&self) -> Position {
        Position(self.view.cursor().saturating_sub(1))
    }

    /// One entry.
    ///
    /// # Errors
    /// [`AskError::NotFound`] beyond the end.
    pub fn entry(&self, position: Position) -> Result<Entry, AskError> {
        let beyond =
            || AskError::NotFound(format!("there is no position {position}; the ledger ends before it"));
        if position >= self.next() {
            return Err(beyond());
        }
        let record = self.log.read(position, 1)?.into_iter().next().ok_or_else(beyond)?;
        let recorded = replay::recorded(&record, position)?;
        Ok(Entry { record, recorded })
    }

    /// The entries at some positions, as they stand in the log.
    pub(super) fn records(&self, positions: &[Position]) -> Result<Vec<Record>, AskError> {
        Ok(self.log.read_many(positions)?)
    }

    /// Calls `each` with the events at some positions, in their order, until it returns `false`.
    fn each(&self, positions: &[u64], mut each: impl FnMut(Recorded) -> bool) -> Result<(), AskError> {
        for some in positions.chunks(READ_ENTRIES) {
            let positions: Vec<Position> = some.iter().copied().map(Position).collect();
            for (record, position) in self.records(&positions)?.iter().zip(positions) {
                if !each(replay::recorded(record, position)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn list(&self, tag: Tag, key: &str) -> Result<Vec<u64>, AskError> {
        Ok(self.view.postings(tag as u8, key.as_bytes(), 0..u64::MAX, false, usize::MAX)?)
    }

    /// All events of an account in order of position.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn history(&self, account: &AccountId) -> Result<Vec<Recorded>, AskError> {
        let mut history = Vec::new();
        self.each(&self.list(Tag::Account, account.as_str())?, |recorded| {
            if recorded.event.account.as_ref() == Some(account) {
                history.push(recorded);
            }
            true
        })?;
        Ok(history)
    }

    /// The account of an id, or of a handle where only one account has it; a live one goes before deleted ones.
    ///
    /// # Errors
    /// [`AskError::NotFound`], [`AskError::Ambiguous`].
    pub fn resolve(&self, text: &str) -> Result<AccountId, AskError> {
        let not_found = || AskError::NotFound(format!("there is no account with the id or handle {text}"));
        let id = AccountId::new(text).map_err(|e| AskError::Invalid(format!("the account {e}")))?;
        if self.is_known(&id)? {
            return Ok(id);
        }
        let mut there = Vec::new();
        let mut gone = Vec::new();
        for account in self.ever_with_handle(text)? {
            let Some(slot) = Slot::fold(&account, &self.history(&account)?) else { continue };
            let life = slot.current();
            if life.handle.as_str() == text {
                let deleted = life.status == ledger::state::Status::Deleted;
                if deleted { gone.push(account) } else { there.push(account) }
            }
        }
        let found = if there.is_empty() { gone } else { there };
        match found.as_slice() {
            [] => Err(not_found()),
            [one] => Ok(one.clone()),
            many => Err(AskError::Ambiguous {
                handle: text.to_owned(),
                count: many.len(),
                accounts: many.iter().take(10).map(ToString::to_string).collect(),
            }),
        }
    }

    /// Whether there is an event about an account; a refusal that only names it does not count.
    fn is_known(&self, account: &AccountId) -> Result<bool, AskError> {
        // As a rule the newest event says so, and it is found without reading the rest of a long list.
        let mut range = 0..u64::MAX;
        let mut wanted = 1;
        loop {
            let (tag, key) = (Tag::Account as u8, account.as_str().as_bytes());
            let some = self.view.postings(tag, key, range.clone(), true, wanted)?;
            let Some(last) = some.last() else { return Ok(false) };
            range.end = *last;
            wanted = READ_ENTRIES;
            let mut known = false;
            self.each(&some, |recorded| {
                known = recorded.event.account.as_ref() == Some(account);
                !known
            })?;
            if known {
                return Ok(true);
            }
        }
    }

    /// The accounts that had a handle at any time.
    pub(crate) fn ever_with_handle(&self, handle: &str) -> Result<BTreeSet<AccountId>, AskError> {
        self.accounts_of(Tag::Handle, handle)
    }

    /// An account at a moment.
    ///
    /// # Errors
    /// [`AskError::NotFound`] where it never existed then.
    pub fn account(&self, account: &AccountId, as_of: &AsOf, now: Time) -> Result<AccountThen, AskError> {
        let history = self.history(account)?;
        let then: Vec<&Recorded> = history.iter().filter(|r| as_of.holds(r)).collect();
        let slot = Slot::fold(account, then.iter().copied())
            .ok_or_else(|| AskError::NotFound(format!("account {account} did not exist then")))?;
        let at = match (as_of.occurred_at.or(as_of.known_at), as_of.position) {
            (Some(at), _) => at,
            (None, Some(position)) => self.entry(position.min(self.last()))?.recorded.event.occurred_at,
            (None, None) => now,
        };
        let reflects = as_of.position.map_or(self.last(), |p| p.min(self.last()));
        Ok(AccountThen { slot, at, reflects })
    }

    /// Accounts by id, with the id after which the next page begins.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn accounts(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
        now: Time,
    ) -> Result<(Vec<AccountThen>, Option<String>), AskError> {
        let after = after.map(str::as_bytes);
        let keys = self.view.keys(Tag::Account as u8, after, prefix.as_bytes(), limit.saturating_add(1))?;
        let more = keys.len() > limit;
        let ids: Vec<String> =
            keys.into_iter().take(limit).filter_map(|key| String::from_utf8(key).ok()).collect();
        let next = if more { ids.last().cloned() } else { None };
        let mut accounts = Vec::with_capacity(ids.len());
        for id in ids {
            let id = AccountId::new(&id).map_err(|e| AskError::Invalid(e.to_string()))?;
            match self.account(&id, &AsOf::default(), now) {
                Ok(account) => accounts.push(account),
                // An account that was only ever refused.
                Err(AskError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok((accounts, next))
    }

    /// The tokens with an id, of one account or of all.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn tokens(
        &self,
        account: Option<&AccountId>,
        token: &TokenId,
        as_of: &AsOf,
        now: Time,
    ) -> Result<Vec<Found>, AskError> {
        let accounts = match account {
            Some(account) => BTreeSet::from([account.clone()]),
            None => self.accounts_of(Tag::Token, token.as_str())?,
        };
        self.find_tokens(accounts, as_of, now, |id, _| id == token)
    }

    /// The tokens with a digest.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn tokens_by_digest(
        &self,
        digest: &TokenDigest,
        as_of: &AsOf,
        now: Time,
    ) -> Result<Vec<Found>, AskError> {
        let accounts = self.accounts_of(Tag::Digest, digest.as_str())?;
        self.find_tokens(accounts, as_of, now, |_, token| token.digest.as_ref() == Some(digest))
    }

    fn accounts_of(&self, tag: Tag, key: &str) -> Result<BTreeSet<AccountId>, AskError> {
        let mut accounts = BTreeSet::new();
        self.each(&self.list(tag, key)?, |recorded| {
            accounts.extend(recorded.event.account);
            true
        })?;
        Ok(accounts)
    }

    fn find_tokens(
        &self,
        accounts: BTreeSet<AccountId>,
        as_of: &AsOf,
        now: Time,
        wanted: impl Fn(&TokenId, &ledger::state::Token) -> bool,
    ) -> Result<Vec<Found>, AskError> {
        let mut found = Vec::new();
        for account in accounts {
            let then = match self.account(&account, as_of, now) {
                Ok(then) => then,
                Err(AskError::NotFound(_)) => continue,
                Err(error) => return Err(error),
            };
            let tokens = &then.slot.current().tokens;
            let ids = tokens.iter().filter(|(id, token)| wanted(id, token)).map(|(id, _)| id);
            found.extend(ids.map(|token| Found { account: then.clone(), token }));
        }
        Ok(found)
    }

    /// The root of the whole state after a position, how many entries it covers, and how many accounts.
    ///
    /// # Errors
    /// As reading the log.
    pub fn root(&self, position: Option<Position>) -> Result<(StateRoot, Position, usize), AskError> {
        let to = position.map_or(self.next(), |p| p.next().min(self.next()));
        let mut state = State::default();
        replay::replay(self.log.as_ref(), Position(0), to, |_, recorded| {
            state.apply(&recorded);
            true
        })?;
        Ok((state.root(), to, state.accounts()))
    }
}
