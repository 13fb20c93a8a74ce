//! An entry: the stored bytes of one event, and the link that chains it.
//!
//! Layout, all integers little-endian (`docs/format.md` draws it to scale):
//!
//! ```text
//! offset  size  field
//!      0     1  version of this layout, 1
//!      1    16  ledger UID
//!     17     8  position
//!     25     4  epoch
//!     29    32  link of the entry before (zeros at position 0)
//!     61     8  time recorded, nanoseconds since 1970
//!     69    16  event id, a UUID
//!     85     1  length of the emitter, e (1 to 128)
//!     86     e  emitter, ASCII
//!   86+e     …  the event: a protobuf message `tokenledger.v1.Event` without its id and emitter
//! ```
//!
//! `link = BLAKE3 derive_key("tokenledger 2026 entry link v1", entry)`: one hash over every stored byte, and through
//! the header over the whole past.

mod links;

use std::sync::LazyLock;

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use links::Context;
pub use links::Linker;

use crate::tree::{self, Hash};
use crate::types::{Emitter, LedgerUid, Link, Position, Time};

/// The largest entry, in bytes: its length must fit in 16 bits.
pub const ENTRY_BYTES_MAX: usize = 65_535;
/// The version of the layout that this program writes.
pub const ENTRY_VERSION: u8 = 1;
/// The bytes of a header without its emitter.
pub const HEADER_FIXED_BYTES: usize = 86;
/// The context of BLAKE3's key derivation, which sets links apart from every other hash in the world.
pub const LINK_CONTEXT: &str = "tokenledger 2026 entry link v1";
/// The same for the keys of event ids.
const ID_CONTEXT: &str = "tokenledger 2026 event id v1";

/// What the ledger adds to an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The ledger's identity.
    pub uid: LedgerUid,
    /// Where in the ledger.
    pub position: Position,
    /// How often the ledger has changed hands; 0 on one machine.
    pub epoch: u32,
    /// The link of the entry before.
    pub previous: Link,
    /// When the ledger recorded it; never earlier than the entry before.
    pub recorded_at: Time,
    /// The id that the emitter gave the event.
    pub event_id: Uuid,
    /// Who sent it.
    pub emitter: Emitter,
}

/// Bytes that are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEntry {
    /// Shorter than its header says.
    #[error("the entry is shorter than its header")]
    Short,
    /// Written by a newer program.
    #[error("the entry has layout version {0}; this program reads version 1")]
    Version(u8),
    /// The emitter is not printable ASCII of 1 to 128 bytes.
    #[error("the entry's emitter is not a valid name")]
    Emitter,
    /// Larger than an entry can be.
    #[error("the entry is larger than 65,535 bytes")]
    Large,
}

/// Encodes an entry.
///
/// # Errors
/// [`BadEntry::Large`] where header and event exceed [`ENTRY_BYTES_MAX`].
pub fn encode(header: &Header, event: &[u8]) -> Result<Vec<u8>, BadEntry> {
    let mut entry = BytesMut::with_capacity(entry_bytes(header, event.len()));
    encode_to(&mut entry, header, event, &[])?;
    Ok(entry.into())
}

/// The bytes of an entry whose event has `event_bytes`.
#[must_use]
pub fn entry_bytes(header: &Header, event_bytes: usize) -> usize {
    HEADER_FIXED_BYTES + header.emitter.as_str().len() + event_bytes
}

/// Appends an entry to a buffer; its event is `sent` with `annotations` behind it.
///
/// # Errors
/// As [`encode`]; the buffer is as it was then.
pub fn encode_to(
    entry: &mut BytesMut,
    header: &Header,
    sent: &[u8],
    annotations: &[u8],
) -> Result<(), BadEntry> {
    let emitter = header.emitter.as_str().as_bytes();
    let bytes = entry_bytes(header, sent.len() + annotations.len());
    if bytes > ENTRY_BYTES_MAX {
        return Err(BadEntry::Large);
    }
    let emitter_bytes = u8::try_from(emitter.len()).map_err(|_| BadEntry::Emitter)?;
    entry.reserve(bytes);
    entry.put_u8(ENTRY_VERSION);
    entry.extend_from_slice(&header.uid.0);
    entry.extend_from_slice(&header.position.0.to_le_bytes());
    entry.extend_from_slice(&header.epoch.to_le_bytes());
    entry.extend_from_slice(&header.previous.0);
    entry.extend_from_slice(&header.recorded_at.0.to_le_bytes());
    entry.extend_from_slice(header.event_id.as_bytes());
    entry.put_u8(emitter_bytes);
    entry.extend_from_slice(emitter);
    entry.extend_from_slice(sent);
    entry.extend_from_slice(annotations);
    Ok(())
}

/// Splits an entry into its header and the bytes of its event.
///
/// # Errors
/// [`BadEntry`] where the bytes are no entry that this program can read.
pub fn decode(entry: &[u8]) -> Result<(Header, &[u8]), BadEntry> {
    if entry.len() > ENTRY_BYTES_MAX {
        return Err(BadEntry::Large);
    }
    let (version, rest) = entry.split_first().ok_or(BadEntry::Short)?;
    if *version != ENTRY_VERSION {
        return Err(BadEntry::Version(*version));
    }
    let (uid, rest) = rest.split_first_chunk::<16>().ok_or(BadEntry::Short)?;
    let (position, rest) = rest.split_first_chunk::<8>().ok_or(BadEntry::Short)?;
    let (epoch, rest) = rest.split_first_chunk::<4>().ok_or(BadEntry::Short)?;
    let (previous, rest) = rest.split_first_chunk::<32>().ok_or(BadEntry::Short)?;
    let (recorded_at, rest) = rest.split_first_chunk::<8>().ok_or(BadEntry::Short)?;
    let (event_id, rest) = rest.split_first_chunk::<16>().ok_or(BadEntry::Short)?;
    let (emitter_bytes, rest) = rest.split_first().ok_or(BadEntry::Short)?;
    let (emitter, event) = rest.split_at_checked(usize::from(*emitter_bytes)).ok_or(BadEntry::Short)?;
    let emitter = std::str::from_utf8(emitter).ok().and_then(|e| e.parse().ok()).ok_or(BadEntry::Emitter)?;
    let header = Header {
        uid: LedgerUid(*uid),
        position: Position(u64::from_le_bytes(*position)),
        epoch: u32::from_le_bytes(*epoch),
        previous: Link(*previous),
        recorded_at: Time(i64::from_le_bytes(*recorded_at)),
        event_id: Uuid::from_bytes(*event_id),
        emitter,
    };
    Ok((header, event))
}

/// The link of an entry: a hash of every one of its bytes.
#[must_use]
pub fn link(entry: &[u8]) -> Link {
    // The context's own hash is the same for every entry, so it is made once.
    static KEYED: LazyLock<blake3::Hasher> = LazyLock::new(|| blake3::Hasher::new_derive_key(LINK_CONTEXT));
    Link(*KEYED.clone().update(entry).finalize().as_bytes())
}

/// The key under which the log remembers for ever that an event was recorded: the first 8 bytes, little-endian, of
/// BLAKE3 `derive_key("tokenledger 2026 event id v1", emitter || 0x00 || event id as 16 bytes)`. Two events may share a
/// key; the entry itself decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdKey(pub u64);

impl IdKey {
    /// The key of an event.
    #[must_use]
    pub fn of(emitter: &Emitter, event_id: &Uuid) -> Self {
        static CONTEXT: LazyLock<Context> = LazyLock::new(|| Context::new(ID_CONTEXT));
        let parts = [emitter.as_str().as_bytes(), &[0], event_id.as_bytes()];
        let hash =
            CONTEXT.of_block(&parts).unwrap_or_else(|| blake3::derive_key(ID_CONTEXT, &parts.concat()));
        let [a, b, c, d, e, f, g, h, ..] = hash;
        Self(u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    }
}

/// One entry with what the log keeps beside it.
#[derive(Clone, Debug)]
pub struct Record {
    /// The entry's bytes.
    pub entry: Bytes,
    /// Its link.
    pub link: Link,
    /// Its index in its batch, from 0, and how many entries the batch has; (0, 1) for an event alone.
    pub batch: (u16, u16),
    /// Its id key and its hash in the tree, where they were made before: they follow from the entry.
    known_key: Option<IdKey>,
    known_leaf: Option<Hash>,
}

/// What is known of a record beforehand makes no difference to what it is.
impl PartialEq for Record {
    fn eq(&self, other: &Self) -> bool {
        (&self.entry, self.link, self.batch) == (&other.entry, other.link, other.batch)
    }
}

impl Eq for Record {}

impl Record {
    /// An entry with its link.
    #[must_use]
    pub fn new(entry: Bytes, link: Link, batch: (u16, u16)) -> Self {
        Self { entry, link, batch, known_key: None, known_leaf: None }
    }

    /// The same, by one who knows the key of the entry's event id, and so saves others from making it again.
    #[must_use]
    pub(crate) fn with_key(self, key: IdKey) -> Self {
        Self { known_key: Some(key), ..self }
    }

    /// Makes the hash of its leaf, for others that will ask for it.
    pub fn make_leaf(&mut self) -> Hash {
        *self.known_leaf.get_or_insert_with(|| tree::leaf(&self.entry))
    }

    /// The hash of its leaf in the ledger's tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        self.known_leaf.unwrap_or_else(|| tree::leaf(&self.entry))
    }

    /// The key under which its event id is remembered; `None` where the entry cannot be read.
    #[must_use]
    pub fn id_key(&self) -> Option<IdKey> {
        self.known_key.or_else(|| {
            let (header, _) = decode(&self.entry).ok()?;
            Some(IdKey::of(&header.emitter, &header.event_id))
        })
    }
}
