//! The single writer as a state machine: requests in, groups of entries and answers out. It knows no clock, no disk and
//! no thread; its driver gives it the time, the entries recorded earlier under an id, and word of what became durable.
//!
//! It runs ahead of the disk by the groups in flight. So nothing that it says may be told to a caller before the
//! position that the answer rests on is durable: see [`Proposed::not_before`]. If a write fails, the whole machine is
//! thrown away.

mod messages;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::decide::{Decision, decide};
use crate::entry::{self, Header, IdKey, Record};
use crate::event::{
    AccountId, Actor, ActorKind, Annotations, Cause, Event, Fact, Recorded, Text, Violation,
    encode_annotations, was_sent,
};
use crate::guard::Findings;
use crate::log::{GROUP_BYTES_MAX, GROUP_ENTRIES_MAX, Tail};
use crate::state::{State, Undo};
use crate::types::{Emitter, LedgerName, LedgerUid, Position, Time};

pub use messages::{Accepted, Proposal, Proposed, Receipt, Refused, Request};

/// How far in the future of the ledger's clock an event may claim to have occurred, in seconds.
pub const FUTURE_SECONDS_MAX: i64 = 24 * 60 * 60;
/// The most events of one request.
pub const REQUEST_EVENTS_MAX: usize = 1_000;

/// Entries are encoded into buffers of so many bytes, or larger ones where an entry needs it.
const BUFFER_BYTES: usize = 64 * 1024;

/// Looks up the entries recorded under an id key that are durable; the sequencer knows the others itself.
pub type Lookup<'a> = dyn Fn(IdKey) -> Result<Vec<Record>, String> + 'a;

/// The writer of one ledger.
#[derive(Debug)]
pub struct Sequencer {
    state: State,
    /// The end of the log as it will be once everything staged is durable.
    tail: Tail,
    /// Entries not yet handed out to be written.
    pending: Vec<Record>,
    /// Entries that are not yet known to be durable, by id.
    staged: HashMap<IdKey, SmallVec<[Record; 1]>, BuildHasherDefault<KeyHasher>>,
    /// Where entries are encoded: many share one allocation, which lives as long as one of them does.
    buffer: BytesMut,
    /// What the ledger will be if nothing was ever appended to it.
    genesis: (LedgerName, LedgerUid),
}

/// An id key is a keyed hash already.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// A refusal with the event that broke a rule, if it was a rule.
struct Refusal {
    why: Refused,
    event: Option<Box<Event>>,
}

impl From<Refused> for Refusal {
    fn from(why: Refused) -> Self {
        Self { why, event: None }
    }
}

/// Where to go back to when an atomic batch fails.
struct Savepoint {
    tail: Tail,
    pending: usize,
    undo: Vec<Undo>,
    keys: Vec<IdKey>,
    /// What `undo` remembers already.
    accounts: HashSet<AccountId>,
    registers: bool,
}

impl Savepoint {
    /// Remembers what an event will change, once: whatever is remembered must be copied by the next change.
    fn remember(&mut self, state: &State, event: &Event) {
        let new_account = event.account.as_ref().is_some_and(|id| self.accounts.insert(id.clone()));
        let concerns_registers = event.account.is_none() || event.emitter_sequence.is_some();
        let new_registers = concerns_registers && !self.registers;
        if new_account || new_registers {
            self.registers |= concerns_registers;
            self.undo.push(state.undo_of(event));
        }
    }
}

impl Sequencer {
    /// Takes over a log that ends at `tail`, of which `state` is the fold. The first event of an empty log makes the
    /// ledger: `name` and `uid` are what it will be.
    ///
    /// # Errors
    /// Where the state belongs to another position; both positions.
    pub fn new(
        state: State,
        tail: Tail,
        name: LedgerName,
        uid: LedgerUid,
    ) -> Result<Self, (Position, Position)> {
        if state.next() != tail.next {
            return Err((state.next(), tail.next));
        }
        Ok(Self {
            state,
            tail,
            pending: Vec::new(),
            staged: HashMap::default(),
            buffer: BytesMut::new(),
            genesis: (name, uid),
        })
    }

    /// The state with everything staged.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The end of the log as it will be.
    #[must_use]
    pub fn tail(&self) -> Tail {
        self.tail
    }

    /// How many entries wait to be written.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Makes entry 0 of a new ledger; nothing where there is one. Returns how to take it back.
    fn begin(&mut self, now: Time) -> Option<Savepoint> {
        if self.tail.next != Position(0) {
            return None;
        }
        let mut savepoint = Some(self.savepoint());
        let (name, uid) = &self.genesis;
        self.tail.uid = *uid;
        let fact = Fact::LedgerCreated { name: Text::own(name.as_str()) };
        let event = own_event(Uuid::from_bytes(uid.0), now, Cause::default(), fact);
        // The genesis is small and breaks no rule: it always fits.
        let _ = self.stage(event, Annotations::default(), now, &mut savepoint);
        savepoint
    }

    fn savepoint(&self) -> Savepoint {
        Savepoint {
            tail: self.tail,
            pending: self.pending.len(),
            undo: Vec::new(),
            keys: Vec::new(),
            accounts: HashSet::new(),
            registers: false,
        }
    }

    /// Decides on a request and stages what is to be recorded.
    pub fn propose(&mut self, request: Request, lookup: &Lookup<'_>, now: Time) -> Proposed {
        let genesis = self.begin(now);
        let results = if request.atomic || request.validate_only {
            self.propose_whole(request, lookup, now)
        } else {
            self.propose_each(request, lookup, now)
        };
        // A request of which nothing was recorded makes no ledger.
        if let Some(genesis) = genesis
            && self.tail.next == Position(1)
        {
            self.roll_back(genesis);
        }
        Proposed { results, not_before: self.tail.next }
    }

    fn propose_each(
        &mut self,
        request: Request,
        lookup: &Lookup<'_>,
        now: Time,
    ) -> Vec<Result<Accepted, Refused>> {
        let mut results = Vec::with_capacity(request.proposals.len());
        for proposal in request.proposals {
            let result = self.propose_one(proposal, lookup, now, request.strict, &mut None);
            results.push(result.map_err(|refusal| self.refuse(refusal, now, request.strict)));
        }
        results
    }

    /// All or nothing, or nothing at all.
    fn propose_whole(
        &mut self,
        request: Request,
        lookup: &Lookup<'_>,
        now: Time,
    ) -> Vec<Result<Accepted, Refused>> {
        let (count, atomic) = (request.proposals.len(), request.atomic);
        let mut savepoint = Some(self.savepoint());
        let mut results = Vec::with_capacity(count);
        let mut stopped_by = None;
        for proposal in request.proposals {
            match self.propose_one(proposal, lookup, now, request.strict, &mut savepoint) {
                Ok(accepted) => results.push(Ok(accepted)),
                Err(refusal) if atomic => {
                    stopped_by = Some(refusal);
                    break;
                }
                Err(refusal) => results.push(Err(refusal.why)),
            }
        }
        if atomic && stopped_by.is_none() && self.too_large(savepoint.as_ref()) {
            results.clear();
            stopped_by = Some(Refused::BatchTooLarge.into());
        }
        if let Some(savepoint) = savepoint {
            if request.validate_only || stopped_by.is_some() {
                self.roll_back(savepoint);
            } else {
                self.mark_batch(savepoint.pending);
            }
        }
        match stopped_by {
            None => results,
            Some(refusal) => {
                let silent = request.strict || request.validate_only;
                let index = results.len();
                let why = self.refuse(refusal, now, silent);
                let mut all: Vec<_> = (0..count).map(|_| Err(Refused::WithBatch { index })).collect();
                all[index] = Err(why);
                all
            }
        }
    }

    /// Whether what was staged since a savepoint is more than one group holds.
    fn too_large(&self, since: Option<&Savepoint>) -> bool {
        let staged = since.and_then(|savepoint| self.pending.get(savepoint.pending..)).unwrap_or_default();
        staged.len() > GROUP_ENTRIES_MAX || staged.iter().map(stored_bytes).sum::<usize>() > GROUP_BYTES_MAX
    }

    fn propose_one(
        &mut self,
        proposal: Proposal,
        lookup: &Lookup<'_>,
        now: Time,
        strict: bool,
        savepoint: &mut Option<Savepoint>,
    ) -> Result<Accepted, Refusal> {
        let Proposal { event, expected_version, sent, key } = proposal;
        if let Some(accepted) = self.find_earlier(&event, key, &sent, lookup)? {
            return Ok(accepted);
        }
        if event.occurred_at > now.plus_seconds(FUTURE_SECONDS_MAX) {
            return Err(Refused::FarFuture { now }.into());
        }
        self.check_version(&event, expected_version)?;
        match decide(&self.state, &event, now, strict) {
            Decision::Refuse(findings) => {
                Err(Refusal { why: Refused::Rules(findings), event: Some(Box::new(event)) })
            }
            Decision::Record(annotations) => {
                Ok(self.stage_encoded(event, key, &sent, annotations, now, savepoint)?)
            }
        }
    }

    /// A refusal by the rules is an event of its own, unless it is to leave no trace.
    fn refuse(&mut self, refusal: Refusal, now: Time, silent: bool) -> Refused {
        if let (Refused::Rules(findings), Some(event), false) = (&refusal.why, &refusal.event, silent) {
            self.record_refusal(event, findings, now);
        }
        refusal.why
    }

    fn find_earlier(
        &self,
        event: &Event,
        key: IdKey,
        sent: &[u8],
        lookup: &Lookup<'_>,
    ) -> Result<Option<Accepted>, Refused> {
        let durable = lookup(key).map_err(Refused::Unreadable)?;
        for record in durable.iter().chain(self.staged(key)) {
            let (header, bytes) =
                entry::decode(&record.entry).map_err(|e| Refused::Unreadable(e.to_string()))?;
            if header.event_id != event.event_id || header.emitter != event.emitter {
                continue;
            }
            if !was_sent(bytes, sent) {
                return Err(Refused::IdTaken { event_id: event.event_id, position: header.position });
            }
            let annotations = crate::event::stored(&header, bytes).annotations;
            let receipt = Receipt::of(&header, record.link);
            return Ok(Some(Accepted { receipt, already_present: true, annotations }));
        }
        Ok(None)
    }

    fn check_version(&self, event: &Event, expected: Option<u64>) -> Result<(), Refused> {
        let Some(expected) = expected else { return Ok(()) };
        let actual = event.account.as_ref().and_then(|id| self.state.slot(id)).map_or(0, |slot| slot.version);
        if actual == expected { Ok(()) } else { Err(Refused::VersionMoved { expected, actual }) }
    }

    fn record_refusal(&mut self, event: &Event, findings: &Findings, now: Time) {
        let position = self.tail.next.0.to_le_bytes();
        let id = Uuid::new_v5(&event.event_id, &position);
        let limit = |v: &Violation| Violation { rule: v.rule.clone(), message: v.message.clone() };
        let fact = Fact::RequestRefused {
            refused_event_id: event.event_id,
            refused_emitter: event.emitter.clone(),
            refused_kind: Text::own(event.fact.kind().name()),
            refused_account: event.account.clone(),
            violations: findings.violations.iter().map(limit).collect(),
            evidence: findings.evidence.clone(),
        };
        let mut refusal = own_event(id, now, event.cause.clone(), fact);
        refusal.actor = event.actor.clone();
        // Evidence is bounded, so a refusal fits in an entry; if it ever did not, the caller is refused all the same.
        let _ = self.stage(refusal, Annotations::default(), now, &mut None);
    }

    fn stage(
        &mut self,
        event: Event,
        annotations: Annotations,
        now: Time,
        savepoint: &mut Option<Savepoint>,
    ) -> Result<Accepted, Refused> {
        let Proposal { event, sent, key, .. } = Proposal::new(event, None);
        self.stage_encoded(event, key, &sent, annotations, now, savepoint)
    }

    fn stage_encoded(
        &mut self,
        event: Event,
        key: IdKey,
        sent: &[u8],
        annotations: Annotations,
        now: Time,
        savepoint: &mut Option<Savepoint>,
    ) -> Result<Accepted, Refused> {
        let header = Header {
            uid: self.tail.uid,
            position: self.tail.next,
            epoch: self.tail.epoch,
            previous: self.tail.link,
            recorded_at: now.max(self.tail.recorded_at),
            event_id: event.event_id,
            emitter: event.emitter.clone(),
        };
        let entry = self.encode(&header, sent, &annotations)?;
        let link = entry::link(&entry);
        let record = Record::new(entry, link, (0, 1)).with_key(key);
        let receipt = Receipt::of(&header, record.link);
        let recorded =
            Recorded { event, annotations, position: header.position, recorded_at: header.recorded_at };
        if let Some(savepoint) = savepoint {
            savepoint.remember(&self.state, &recorded.event);
            savepoint.keys.push(key);
        }
        self.state.apply(&recorded);
        self.tail = Tail {
            next: header.position.next(),
            link: record.link,
            recorded_at: header.recorded_at,
            ..self.tail
        };
        self.staged.entry(key).or_default().push(record.clone());
        self.pending.push(record);
        Ok(Accepted { receipt, already_present: false, annotations: recorded.annotations })
    }

    fn encode(&mut self, header: &Header, sent: &[u8], annotations: &Annotations) -> Result<Bytes, Refused> {
        let annotations = encode_annotations(annotations);
        let bytes = entry::entry_bytes(header, sent.len() + annotations.len());
        if self.buffer.capacity() < bytes {
            self.buffer = BytesMut::with_capacity(BUFFER_BYTES.max(bytes));
        }
        entry::encode_to(&mut self.buffer, header, sent, &annotations).map_err(|_| Refused::Large)?;
        Ok(self.buffer.split().freeze())
    }

    fn roll_back(&mut self, savepoint: Savepoint) {
        for undo in savepoint.undo.into_iter().rev() {
            self.state.undo(undo);
        }
        for key in savepoint.keys.iter().rev() {
            if let Some(records) = self.staged.get_mut(key) {
                records.pop();
                if records.is_empty() {
                    self.staged.remove(key);
                }
            }
        }
        self.pending.truncate(savepoint.pending);
        self.tail = savepoint.tail;
    }

    fn mark_batch(&mut self, first: usize) {
        let batch = &mut self.pending[first..];
        let count = u16::try_from(batch.len()).unwrap_or(u16::MAX);
        for (index, record) in batch.iter_mut().enumerate() {
            record.batch = (u16::try_from(index).unwrap_or(u16::MAX), count);
        }
    }

    /// Hands out the next group to be written: whole batches, within the bounds of a group. Empty where nothing waits.
    pub fn take_group(&mut self) -> Vec<Record> {
        let mut bytes = 0;
        let mut taken = 0;
        for batch in self.pending.chunk_by(|_, next| next.batch.0 != 0) {
            let more: usize = batch.iter().map(stored_bytes).sum();
            let fits = taken + batch.len() <= GROUP_ENTRIES_MAX && bytes + more <= GROUP_BYTES_MAX;
            if taken > 0 && !fits {
                break;
            }
            taken += batch.len();
            bytes += more;
        }
        if taken == self.pending.len() {
            return std::mem::take(&mut self.pending);
        }
        self.pending.drain(..taken).collect()
    }

    /// The entries under an id key that were staged, and not yet said to be [durable](Self::durable).
    #[must_use]
    pub fn staged(&self, key: IdKey) -> &[Record] {
        self.staged.get(&key).map(SmallVec::as_slice).unwrap_or_default()
    }

    /// A group became durable: its ids are now for the log to remember.
    pub fn durable(&mut self, group: &[Record]) {
        for record in group {
            let Some(key) = record.id_key() else { continue };
            if let Some(records) = self.staged.get_mut(&key) {
                records.retain(|staged| staged.link != record.link);
                if records.is_empty() {
                    self.staged.remove(&key);
                }
            }
        }
    }
}

/// What a record takes up in the log.
fn stored_bytes(record: &Record) -> usize {
    record.entry.len() + crate::log::FRAME_BYTES
}

/// An event that the ledger writes itself.
#[must_use]
pub fn own_event(event_id: Uuid, now: Time, cause: Cause, fact: Fact) -> Event {
    Event {
        event_id,
        emitter: Emitter::ledger(),
        emitter_sequence: None,
        occurred_at: now,
        actor: Actor { kind: ActorKind::Automation, id: Text::own(Emitter::LEDGER) },
        cause,
        account: None,
        fact,
    }
}

#[cfg(test)]
mod tests;
