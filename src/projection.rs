//! What queries need to find events: under which keys each event stands in the index.

use std::sync::LazyLock;

use ledger::event::{Fact, Recorded, TokenDigest};
use ledger::types::{Emitter, Time};

/// What a key of the index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    /// An account's id.
    Account = 1,
    /// An actor's id.
    Actor = 2,
    /// A run.
    Run = 3,
    /// The name of a kind.
    Kind = 4,
    /// A token's id.
    Token = 5,
    /// A token's digest.
    Digest = 6,
    /// A handle.
    Handle = 7,
    /// A correlation id.
    Correlation = 8,
    /// The hour in which it occurred.
    Hour = 9,
    /// Who sent it.
    Emitter = 10,
    /// Some numbers of an emitter that follow one another.
    Numbers = 11,
}

/// The bytes of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeyBytes<'a> {
    /// A text of the event.
    Text(&'a str),
    /// An hour.
    Hour([u8; 8]),
    /// What stands for some numbers of an emitter.
    Numbers([u8; 8]),
}

impl AsRef<[u8]> for KeyBytes<'_> {
    fn as_ref(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Hour(bytes) | Self::Numbers(bytes) => bytes,
        }
    }
}

/// A key of the index: its tag and its bytes.
pub type Key<'a> = (u8, KeyBytes<'a>);

/// The longest key that stands in the index as it is.
const KEY_BYTES_MAX: usize = 512;
const HOUR_NANOS: i64 = 3_600_000_000_000;

fn key(tag: Tag, text: &str) -> Key<'_> {
    debug_assert!(text.len() <= KEY_BYTES_MAX, "texts of events that are indexed are at most 512 bytes");
    (tag as u8, KeyBytes::Text(text))
}

/// The key of the hour in which a moment lies; keys sort as moments do.
#[must_use]
pub fn hour(time: Time) -> [u8; 8] {
    let hour = time.0.div_euclid(HOUR_NANOS);
    // The sign bit is flipped so that hours before 1970 sort first.
    ((hour as u64) ^ (1 << 63)).to_be_bytes()
}

/// How many numbers of an emitter share a key.
pub const NUMBERS: u64 = 256;

/// The key under which an event with a number of its emitter is found, with those of about as many others. Other emitters may
/// have the same one: the entries decide.
#[must_use]
pub fn numbers(emitter: &Emitter, number: u64) -> [u8; 8] {
    static KEYED: LazyLock<blake3::Hasher> =
        LazyLock::new(|| blake3::Hasher::new_derive_key("tokenledger 2026 emitter numbers v1"));
    let mut hasher = KEYED.clone();
    hasher.update(emitter.as_str().as_bytes()).update(&[0]).update(&(number / NUMBERS).to_le_bytes());
    let mut key = [0; 8];
    hasher.finalize_xof().fill(&mut key);
    key
}

/// All keys under which an event is found, in no order; one may come twice.
#[must_use]
pub fn keys(recorded: &Recorded) -> Vec<Key<'_>> {
    let event = &recorded.event;
    let mut keys = Vec::with_capacity(10);
    keys.extend(event.account.as_ref().map(|account| key(Tag::Account, account.as_str())));
    keys.push(key(Tag::Actor, event.actor.id.as_str()));
    keys.push(key(Tag::Kind, event.fact.kind().name()));
    keys.push((Tag::Hour as u8, KeyBytes::Hour(hour(event.occurred_at))));
    keys.push(key(Tag::Emitter, event.emitter.as_str()));
    let counted = event.emitter_sequence.map(|number| KeyBytes::Numbers(numbers(&event.emitter, number)));
    keys.extend(counted.map(|bytes| (Tag::Numbers as u8, bytes)));
    keys.extend(event.cause.run.as_ref().map(|run| key(Tag::Run, run.as_str())));
    let correlation = event.cause.correlation_id.as_ref();
    keys.extend(correlation.map(|correlation| key(Tag::Correlation, correlation.as_str())));
    fact_keys(&event.fact, &mut keys);
    keys
}

fn digest_key(digest: &TokenDigest) -> Key<'_> {
    key(Tag::Digest, digest.as_str())
}

fn fact_keys<'a>(fact: &'a Fact, keys: &mut Vec<Key<'a>>) {
    match fact {
        Fact::TokenIssued(token) => {
            keys.push(key(Tag::Token, token.token.as_str()));
            keys.extend(token.digest.as_ref().map(digest_key));
        }
        Fact::TokenRotated { old, new, .. } => {
            keys.push(key(Tag::Token, old.as_str()));
            keys.push(key(Tag::Token, new.token.as_str()));
            keys.extend(new.digest.as_ref().map(digest_key));
        }
        Fact::TokenExpired { token }
        | Fact::TokenRevoked { token, .. }
        | Fact::TokenReinstated { token, .. }
        | Fact::TokenUsed { token, .. } => keys.push(key(Tag::Token, token.as_str())),
        Fact::AccountCreated { handle, .. } | Fact::LegacyImported { handle, .. } => {
            keys.push(key(Tag::Handle, handle.as_str()));
        }
        Fact::AccountUpdated { handle: Some(handle), .. } => keys.push(key(Tag::Handle, handle.as_str())),
        Fact::RunStarted { run, .. } | Fact::RunFinished { run, .. } => {
            keys.push(key(Tag::Run, run.as_str()))
        }
        Fact::RequestRefused { refused_account: Some(account), .. } => {
            keys.push(key(Tag::Account, account.as_str()));
        }
        _ => {}
    }
}
