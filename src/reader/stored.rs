//! The bytes of a stored event, looked at without decoding them: enough to pass them on, and to tell at once whose they
//! are.

use ledger::event::Kind;
use prost::encoding::decode_varint;

/// The numbers of an event's fields, as `events.proto` has them.
const OCCURRED_AT: u64 = 4;
const ACTOR: u64 = 5;
const CAUSE: u64 = 6;
const ACCOUNT: u64 = 7;
const SEQUENCE: u64 = 3;
const ANNOTATIONS: u64 = 2000;

/// A stored event whose fields are all known, and stand in the order in which the ledger writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored<'a> {
    /// The account that it is about; empty: none.
    pub account: &'a [u8],
    /// What happened.
    pub kind: Option<Kind>,
}

impl<'a> Stored<'a> {
    /// Looks at the bytes of an event as an entry holds them. `None` where they are anything but what this program
    /// writes, so that they must be decoded to be understood; the fields of messages inside them are not looked at.
    #[must_use]
    pub fn of(mut bytes: &'a [u8]) -> Option<Self> {
        let mut stored = Self::default();
        let mut last = 0;
        while !bytes.is_empty() {
            let key = decode_varint(&mut bytes).ok()?;
            let field = key >> 3;
            if field <= last {
                return None;
            }
            last = field;
            match (field, key & 7) {
                (SEQUENCE, 0) => drop(decode_varint(&mut bytes).ok()?),
                (ACCOUNT, 2) => stored.account = delimited(&mut bytes)?,
                (OCCURRED_AT | ACTOR | CAUSE | ANNOTATIONS, 2) => drop(delimited(&mut bytes)?),
                (fact, 2) if stored.kind.is_none() => {
                    stored.kind = Some(kind(fact)?);
                    delimited(&mut bytes)?;
                }
                _ => return None,
            }
        }
        Some(stored)
    }
}

/// The kind of a fact by the number of its field.
fn kind(field: u64) -> Option<Kind> {
    Some(match field {
        16 => Kind::LedgerCreated,
        17 => Kind::AccountCreated,
        18 => Kind::AccountUpdated,
        19 => Kind::OwnershipTransferred,
        20 => Kind::AccountDisabled,
        21 => Kind::AccountEnabled,
        22 => Kind::AccountDeleted,
        23 => Kind::AccountRestored,
        24 => Kind::LegacyImported,
        32 => Kind::TokenIssued,
        33 => Kind::TokenRotated,
        34 => Kind::TokenExpired,
        35 => Kind::TokenRevoked,
        36 => Kind::TokenReinstated,
        37 => Kind::TokenUsed,
        48 => Kind::GrantAdded,
        49 => Kind::GrantChanged,
        50 => Kind::GrantRemoved,
        51 => Kind::EnforcementChanged,
        56 => Kind::ConsumerDeclared,
        57 => Kind::ConsumerReleased,
        64 => Kind::RunStarted,
        65 => Kind::RunFinished,
        66 => Kind::PolicyChanged,
        67 => Kind::RolloutStageChanged,
        72 => Kind::DeletionRequested,
        73 => Kind::DeletionApproved,
        74 => Kind::DeletionRejected,
        75 => Kind::RequestRefused,
        80 => Kind::RestorePlanned,
        81 => Kind::RestoreApproved,
        82 => Kind::RestoreCompleted,
        88 => Kind::KeyRotated,
        89 => Kind::CheckpointOverridden,
        _ => return None,
    })
}

fn delimited<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(decode_varint(bytes).ok()?).ok()?;
    let (field, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(field)
}

#[cfg(test)]
#[path = "stored_tests.rs"]
mod tests;
