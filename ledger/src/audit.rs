//! What an auditor does who trusts nobody: takes every entry in, one after the other, and holds what comes of it against
//! what the log has signed. Between two audits it remembers [`AuditState`], so that the next one takes in only what is new.

mod state;

use crate::checkpoint::{LogKeys, Rotation, Signed, VerifierKey};
use crate::entry::{self, BadEntry, Header};
use crate::event::{self, Fact};
use crate::log::Tail;
use crate::tree::{self, Frontier, Hash, TreeHead};
use crate::types::{Emitter, LedgerUid, Link, Position, Time};

pub use state::{AuditState, BadState};

/// An entry that cannot stand where it was found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the entry at {position} {wrong}")]
pub struct Finding {
    /// Where.
    pub position: u64,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is none.
    #[error("can't be read: {0}")]
    Unreadable(BadEntry),
    /// It stands elsewhere.
    #[error("says that it stands at {0}")]
    Position(Position),
    /// It is of another ledger.
    #[error("belongs to the ledger {0}")]
    Ledger(LedgerUid),
    /// Its link to the one before is another's.
    #[error("does not follow from the one before it: one of the two was changed")]
    Link,
    /// It was recorded before the one before it.
    #[error("was recorded at {0}, before the one before it")]
    Time(Time),
    /// Its epoch is lower than that of the one before.
    #[error("has epoch {0}, which is lower than that of the one before it")]
    Epoch(u32),
    /// No ledger begins so.
    #[error("is not how a ledger begins")]
    Genesis,
}

/// The walk over a log, entry after entry.
#[derive(Clone, Debug)]
pub struct Audit {
    tail: Tail,
    frontier: Frontier,
    /// The keys that may have signed what covers it: those that were given, and those that the log itself says follow.
    keys: LogKeys,
    /// Those that were used before.
    used: Vec<VerifierKey>,
}

impl Audit {
    /// Begins at the beginning, or goes on behind what was seen before. The keys are those that may sign what comes.
    #[must_use]
    pub fn from(state: Option<&AuditState>, keys: &LogKeys) -> Self {
        let keys = keys.clone();
        match state {
            Some(state) => state.audit(keys),
            None => Self { tail: Tail::default(), frontier: Frontier::default(), keys, used: Vec::new() },
        }
    }

    /// The keys that may sign what was taken in.
    #[must_use]
    pub fn keys(&self) -> &LogKeys {
        &self.keys
    }

    /// The position that is due.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.frontier.size()
    }

    /// The tree over everything that was taken in.
    #[must_use]
    pub fn head(&self) -> TreeHead {
        self.frontier.head()
    }

    /// The frontier of that tree.
    #[must_use]
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Takes in the next entry, and gives the hash of its leaf. After a finding there is no going on.
    ///
    /// # Errors
    /// [`Finding`] where it cannot stand there.
    pub fn take(&mut self, entry: &[u8]) -> Result<Hash, Finding> {
        let position = self.next();
        let found = |wrong| Finding { position, wrong };
        let (header, event) = entry::decode(entry).map_err(|bad| found(Wrong::Unreadable(bad)))?;
        self.follows(&header).map_err(found)?;
        if position == 0 && !begins(&header, event) {
            return Err(found(Wrong::Genesis));
        }
        if header.emitter.as_str() == Emitter::LEDGER
            && let Fact::KeyRotated { note } = event::stored(&header, event).event.fact
            && let Ok(rotation) = Rotation::parse(&note)
        {
            self.keys.follow(&rotation);
        }
        let leaf = tree::leaf(entry);
        self.frontier.push(leaf);
        self.tail = Tail::after(&header, entry::link(entry));
        Ok(leaf)
    }

    fn follows(&self, header: &Header) -> Result<(), Wrong> {
        let tail = &self.tail;
        if header.position != tail.next {
            return Err(Wrong::Position(header.position));
        }
        if header.previous != tail.link {
            return Err(Wrong::Link);
        }
        if tail.next == Position(0) {
            return Ok(());
        }
        if header.uid != tail.uid {
            return Err(Wrong::Ledger(header.uid));
        }
        if header.recorded_at < tail.recorded_at {
            return Err(Wrong::Time(header.recorded_at));
        }
        if header.epoch < tail.epoch {
            return Err(Wrong::Epoch(header.epoch));
        }
        Ok(())
    }

    /// What to remember, if this checkpoint covers what was taken in, and nothing else.
    #[must_use]
    pub fn remember(&self, signed: &Signed) -> Option<AuditState> {
        let mut keys = self.used.clone();
        let new = self.keys.up_to(&signed.key)?.iter().filter(|key| !self.used.contains(key));
        keys.extend(new.cloned());
        AuditState::new(keys, self.tail, self.frontier.clone(), signed)
    }
}

/// Whether an entry is the first of a ledger: its identity is the id of the event that the ledger itself recorded.
fn begins(header: &Header, event: &[u8]) -> bool {
    let fact = event::stored(header, event).event.fact;
    *header.event_id.as_bytes() == header.uid.0
        && header.previous == Link::default()
        && header.emitter.as_str() == Emitter::LEDGER
        && matches!(fact, Fact::LedgerCreated { .. })
}

/// Looks for the first entry in which two histories of a log differ, with as few questions as possible.
#[derive(Clone, Copy, Debug)]
pub struct Bisection {
    same: u64,
    differs: u64,
}

impl Bisection {
    /// They are the same in their first `same` entries, and differ in their first `differs`.
    #[must_use]
    pub fn between(same: u64, differs: u64) -> Self {
        Self { same, differs }
    }

    /// Of how many first entries to find out next whether they are the same; `None` where it is known which one differs.
    #[must_use]
    pub fn question(&self) -> Option<u64> {
        let between = self.differs.saturating_sub(self.same);
        (between > 1).then(|| self.same + between / 2)
    }

    /// Takes the answer to that question.
    pub fn answer(&mut self, same: bool) {
        if let Some(asked) = self.question() {
            *(if same { &mut self.same } else { &mut self.differs }) = asked;
        }
    }

    /// The first entry that differs is none before this one, as far as is known.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.same
    }
}

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;
