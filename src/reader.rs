//! Answers questions from the index and the log, each at one position. A doubtful answer is never given: the index is
//! thrown away, and the question asked again once it is built anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ledger::entry::Record;
use ledger::event::{AccountId, Fact, Kind, Recorded, TokenDigest, TokenId};
use ledger::log::{LogStore, ReadError, Tail};
use ledger::replay;
use ledger::state::{Slot, State, TokenStatus};
use ledger::types::{Position, StateRoot, Time};
use tokio::sync::watch;

use crate::follower::Projection;
use crate::projection::{Tag, hour};
use crate::store::{StoreError, View};

/// How long a question waits for the index to reach what was recorded before it was asked.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// How often a question is asked again after the index was thrown away.
const ATTEMPTS_MAX: usize = 5;
/// How many positions are looked at between two pages of the index.
const CHUNK: usize = 512;
/// A filter by time alone uses the index where it spans at most so many hours.
const HOURS_MAX: usize = 24 * 31;

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The index is doubtful.
    #[error("{0}")]
    Doubtful(#[from] StoreError),
    /// The log cannot be read there.
    #[error("{0}")]
    Log(#[from] ReadError),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// A handle that several accounts have.
    #[error("{count} accounts have the handle {handle}: ask by id ({})", .accounts.join(", "))]
    Ambiguous {
        /// The handle.
        handle: String,
        /// How many accounts.
        count: usize,
        /// Some of them.
        accounts: Vec<String>,
    },
    /// The question itself is wrong.
    #[error("{0}")]
    Invalid(String),
    /// The index has not got there yet.
    #[error(
        "answers reflect {reflects} of {wanted} entries so far, since the projection is being built; try again shortly"
    )]
    Behind {
        /// How many entries are reflected.
        reflects: u64,
        /// How many were asked for.
        wanted: u64,
    },
    /// The server is going down.
    #[error("the server is shutting down; try again")]
    Closing,
}

/// A moment of the past.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsOf {
    /// After the event at this position.
    pub position: Option<Position>,
    /// What had occurred by then.
    pub occurred_at: Option<Time>,
    /// What was recorded by then.
    pub known_at: Option<Time>,
}

impl AsOf {
    fn holds(&self, recorded: &Recorded) -> bool {
        self.position.is_none_or(|p| recorded.position <= p)
            && self.occurred_at.is_none_or(|t| recorded.event.occurred_at <= t)
            && self.known_at.is_none_or(|t| recorded.recorded_at <= t)
    }
}

/// An account at a moment.
#[derive(Clone, Debug)]
pub struct AccountThen {
    /// The account id with its lives.
    pub slot: Slot,
    /// The moment for which it is told what has expired.
    pub at: Time,
    /// The last position that the answer reflects.
    pub reflects: Position,
}

/// A token that was found, with its account.
#[derive(Clone, Debug)]
pub struct Found {
    /// The account.
    pub account: AccountThen,
    /// The token.
    pub token: TokenId,
}

impl Found {
    /// Whether the token works.
    #[must_use]
    pub fn usable(&self) -> bool {
        let account = self.account.slot.current();
        let token = account.tokens.get(&self.token);
        account.status == ledger::state::Status::Live
            && token.is_some_and(|t| t.status(self.account.at) == TokenStatus::Active)
    }
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// About this account.
    pub account: Option<String>,
    /// By this actor.
    pub actor: Option<String>,
    /// Of this run.
    pub run: Option<String>,
    /// Of this kind.
    pub kind: Option<String>,
    /// About this token.
    pub token: Option<String>,
    /// With this correlation id.
    pub correlation: Option<String>,
    /// Occurred at or after.
    pub from: Option<Time>,
    /// Occurred before.
    pub to: Option<Time>,
}

impl Filter {
    /// Whether an event passes.
    #[must_use]
    pub fn holds(&self, recorded: &Recorded) -> bool {
        let event = &recorded.event;
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| value == Some(wanted))
        };
        let refused = match &event.fact {
            Fact::RequestRefused { refused_account: Some(account), .. } => Some(account.as_str()),
            _ => None,
        };
        let run = match &event.fact {
            Fact::RunStarted { run, .. } | Fact::RunFinished { run, .. } => Some(run.as_str()),
            _ => event.cause.run.as_ref().map(|r| r.as_str()),
        };
        is(&self.account, event.account.as_ref().map(|a| a.as_str()).or(refused))
            && is(&self.actor, Some(event.actor.id.as_str()))
            && is(&self.run, run)
            && is(&self.kind, Some(event.fact.kind().name()))
            && is(&self.correlation, event.cause.correlation_id.as_ref().map(|c| c.as_str()))
            && self.token.as_ref().is_none_or(|token| tokens(&event.fact).any(|t| t.as_str() == token))
            && self.from.is_none_or(|from| event.occurred_at >= from)
            && self.to.is_none_or(|to| event.occurred_at < to)
    }

    /// The shortest list that holds every event that passes.
    fn list(&self) -> Option<(Tag, &str)> {
        let lists = [
            (Tag::Token, &self.token),
            (Tag::Account, &self.account),
            (Tag::Correlation, &self.correlation),
            (Tag::Run, &self.run),
            (Tag::Kind, &self.kind),
            (Tag::Actor, &self.actor),
        ];
        lists.into_iter().find_map(|(tag, key)| Some((tag, key.as_deref()?)))
    }
}

/// The tokens that a fact names.
fn tokens(fact: &Fact) -> impl Iterator<Item = &TokenId> {
    let (one, other) = match fact {
        Fact::TokenIssued(token) => (Some(&token.token), None),
        Fact::TokenRotated { old, new, .. } => (Some(old), Some(&new.token)),
        Fact::TokenExpired { token }
        | Fact::TokenRevoked { token, .. }
        | Fact::TokenReinstated { token, .. }
        | Fact::TokenUsed { token, .. } => (Some(token), None),
        _ => (None, None),
    };
    one.into_iter().chain(other)
}

/// An event as it stands in the log.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The entry's bytes and link.
    pub record: Record,
    /// The event.
    pub recorded: Recorded,
}

/// A page of a list: what is on it, and where the next one begins.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next one begins; `None`: there is none.
    pub next: Option<Position>,
}

/// A ledger's reader. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    log: Arc<dyn LogStore>,
    projection: Projection,
    tail: watch::Receiver<Tail>,
}

impl Reader {
    /// A reader of a log and its projection.
    #[must_use]
    pub fn new(log: Arc<dyn LogStore>, projection: Projection, tail: watch::Receiver<Tail>) -> Self {
        Self { log, projection, tail }
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> &Arc<dyn LogStore> {
        &self.log
    }

    /// The durable end of the log, and word of every change.
    #[must_use]
    pub fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.clone()
    }

    /// Asks a question at one position: that of the durable end when it is asked, and at least `min_position`.
    ///
    /// # Errors
    /// [`AskError`], also that of the question itself.
    pub async fn ask<T: Send + 'static>(
        &self,
        min_position: Option<Position>,
        question: impl Fn(&Moment) -> Result<T, AskError> + Send + Sync + 'static,
    ) -> Result<T, AskError> {
        let question = Arc::new(question);
        let mut last = AskError::Closing;
        for _ in 0..ATTEMPTS_MAX {
            let (moment, generation) = self.moment(min_position).await?;
            let asked = Arc::clone(&question);
            let answer = tokio::task::spawn_blocking(move || asked(&moment)).await;
            match answer.map_err(|_| AskError::Closing)? {
                Err(AskError::Doubtful(error)) if error.is_doubtful() => {
                    self.projection.distrust(generation, error.clone()).await;
                    last = AskError::Doubtful(error);
                }
                answer => return answer,
            }
        }
        Err(last)
    }

    async fn moment(&self, min_position: Option<Position>) -> Result<(Moment, u64), AskError> {
        let wanted = self.tail.borrow().next.max(min_position.map_or(Position(0), Position::next));
        let mut seen = self.projection.seen();
        let reached = seen.wait_for(|seen| seen.reader.is_some() && seen.next >= wanted);
        let found = match tokio::time::timeout(WAIT_MAX, reached).await {
            Ok(Ok(found)) => found.reader.clone().map(|reader| (reader.view(), found.generation)),
            Ok(Err(_)) => return Err(AskError::Closing),
            Err(_) => None,
        };
        match found {
            Some((view, generation)) => Ok((Moment { log: Arc::clone(&self.log), view }, generation)),
            None => {
                Err(AskError::Behind { reflects: self.projection.seen().borrow().next.0, wanted: wanted.0 })
            }
        }
    }
}

/// A ledger at one position.
pub struct Moment {
    log: Arc<dyn LogStore>,
    view: View,
}

impl Moment {
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

    fn entries(&self, positions: Vec<u64>) -> Result<Vec<Entry>, AskError> {
        positions.into_iter().map(|p| self.entry(Position(p))).collect()
    }

    fn list(&self, tag: Tag, key: &str) -> Result<Vec<u64>, AskError> {
        Ok(self.view.postings(tag as u8, key.as_bytes(), 0..u64::MAX, false, usize::MAX)?)
    }

    /// All events of an account in order of position.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn history(&self, account: &AccountId) -> Result<Vec<Recorded>, AskError> {
        let entries = self.entries(self.list(Tag::Account, account.as_str())?)?;
        let of_account = |r: &Recorded| r.event.account.as_ref() == Some(account);
        Ok(entries.into_iter().map(|e| e.recorded).filter(of_account).collect())
    }

    /// The account of an id, or of a handle where only one account has it; a live one goes before deleted ones.
    ///
    /// # Errors
    /// [`AskError::NotFound`], [`AskError::Ambiguous`].
    pub fn resolve(&self, text: &str) -> Result<AccountId, AskError> {
        let not_found = || AskError::NotFound(format!("there is no account with the id or handle {text}"));
        let id = AccountId::new(text).map_err(|e| AskError::Invalid(format!("the account {e}")))?;
        if !self.view.postings(Tag::Account as u8, text.as_bytes(), 0..u64::MAX, false, 1)?.is_empty() {
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

    /// The accounts that had a handle at any time.
    pub(crate) fn ever_with_handle(&self, handle: &str) -> Result<BTreeSet<AccountId>, AskError> {
        let entries = self.entries(self.list(Tag::Handle, handle)?)?;
        Ok(entries.into_iter().filter_map(|e| e.recorded.event.account).collect())
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
        let last_occurred = then.iter().map(|r| r.event.occurred_at).max();
        let at = as_of.occurred_at.or(as_of.known_at);
        let at = at.or(as_of.position.and(last_occurred)).unwrap_or(now);
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
        let entries = self.entries(self.list(tag, key)?)?;
        Ok(entries.into_iter().filter_map(|e| e.recorded.event.account).collect())
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
            let ids = tokens.iter().filter(|(id, token)| wanted(id, token)).map(|(id, _)| id.clone());
            found.extend(ids.map(|token| Found { account: then.clone(), token }));
        }
        Ok(found)
    }

    /// A page of events: from position `start` on, or down from below it where `descending`.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn events(
        &self,
        filter: &Filter,
        start: Option<Position>,
        descending: bool,
        limit: usize,
    ) -> Result<Page<Entry>, AskError> {
        let mut positions = self.candidates(filter, start, descending)?;
        let mut page = Page { items: Vec::new(), next: None };
        while let Some(position) = positions.next(self)? {
            let entry = self.entry(Position(position))?;
            if !filter.holds(&entry.recorded) {
                continue;
            }
            if page.items.len() == limit {
                // Where the next page begins: at this event, or just above it.
                page.next = Some(Position(if descending { position + 1 } else { position }));
                return Ok(page);
            }
            page.items.push(entry);
        }
        Ok(page)
    }

    fn candidates(
        &self,
        filter: &Filter,
        start: Option<Position>,
        descending: bool,
    ) -> Result<Candidates, AskError> {
        let range = match (start, descending) {
            (None, _) => 0..self.view.cursor(),
            (Some(start), false) => start.0..self.view.cursor(),
            (Some(start), true) => 0..start.0.min(self.view.cursor()),
        };
        let source = match filter.list() {
            Some((tag, key)) => Source::List(tag as u8, key.as_bytes().to_vec()),
            None => self.by_hours(filter, &range, descending)?.map_or(Source::All, Source::Sorted),
        };
        Ok(Candidates { source, range, descending, ready: Vec::new() })
    }

    /// The positions of the hours of a filter by time alone, ready to be taken from the end; `None` where the filter
    /// spans too many hours for that.
    fn by_hours(
        &self,
        filter: &Filter,
        range: &std::ops::Range<u64>,
        descending: bool,
    ) -> Result<Option<Vec<u64>>, AskError> {
        let (Some(from), Some(to)) = (filter.from, filter.to) else { return Ok(None) };
        let (first, last) = (hour(from), hour(to));
        let mut found = Vec::new();
        // Keys beyond `after`: begin just below the first hour.
        let below = u64::from_be_bytes(first.clone().try_into().unwrap_or_default()).saturating_sub(1);
        let mut after = below.to_be_bytes().to_vec();
        for _ in 0..HOURS_MAX {
            let keys = self.view.keys(Tag::Hour as u8, Some(&after), &[], 1)?;
            let Some(key) = keys.into_iter().next().filter(|key| *key <= last) else {
                found.sort_unstable();
                if !descending {
                    found.reverse();
                }
                return Ok(Some(found));
            };
            found.extend(self.view.postings(Tag::Hour as u8, &key, range.clone(), false, usize::MAX)?);
            after = key;
        }
        Ok(None)
    }

    /// A page of deletions that took an account away, oldest first.
    ///
    /// # Errors
    /// As reading the index and the log.
    pub fn deletions(
        &self,
        filter: &Filter,
        start: Option<Position>,
        limit: usize,
    ) -> Result<Page<(ledger::restore::DeletionSummary, ledger::state::Status)>, AskError> {
        let filter = Filter { kind: Some(Kind::AccountDeleted.name().to_owned()), ..filter.clone() };
        let page = self.events(&filter, start, false, limit)?;
        let mut items = Vec::with_capacity(page.items.len());
        for entry in page.items {
            let Some(account) = &entry.recorded.event.account else { continue };
            let history = self.history(account)?;
            let window = ledger::restore::WINDOW_SECONDS;
            let Some(slot) = Slot::fold(account, &history) else { continue };
            if let Some(deletion) = ledger::restore::deletion(&history, entry.recorded.position, window) {
                items.push((deletion, slot.current().status));
            }
        }
        Ok(Page { items, next: page.next })
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

/// Where positions that may pass a filter come from.
enum Source {
    /// A list of the index.
    List(u8, Vec<u8>),
    /// A list that is here already, to be taken from the end.
    Sorted(Vec<u64>),
    /// The log itself.
    All,
}

struct Candidates {
    source: Source,
    range: std::ops::Range<u64>,
    descending: bool,
    /// The next ones of a list, to be taken from the end.
    ready: Vec<u64>,
}

impl Candidates {
    fn next(&mut self, moment: &Moment) -> Result<Option<u64>, AskError> {
        match &mut self.source {
            Source::Sorted(positions) => Ok(positions.pop()),
            Source::All if self.descending => Ok(self.range.next_back()),
            Source::All => Ok(self.range.next()),
            Source::List(tag, key) => {
                if self.ready.is_empty() {
                    self.ready =
                        moment.view.postings(*tag, key, self.range.clone(), self.descending, CHUNK)?;
                    match self.ready.last() {
                        Some(last) if self.descending => self.range.end = *last,
                        Some(last) => self.range.start = last + 1,
                        None => {}
                    }
                    self.ready.reverse();
                }
                Ok(self.ready.pop())
            }
        }
    }
}
