//! Events on their way out, without the detour over messages. The stored bytes of an event *are* those of a message
//! `tokenledger.v1.Event`, but for its id and emitter, which the entry's header holds; so these are put before them, and
//! nothing is decoded. What comes out is what [`convert::ledger_event`] gives, encoded; that remains the definition,
//! and what takes care of events that this program does not know.

use ledger::entry::{self, Header, Record};
use ledger::event::{delimited_bytes, put_delimited, put_head, timestamp};
use ledger::log::ReadError;
use ledger::replay;
use ledger::types::Position;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::{Encoded, convert};
use crate::reader::{Entry, Page, Stored};

/// Bytes that an event in an answer has beside those of its entry, about.
const BESIDE_ENTRY_BYTES: usize = 64;
/// The text of a UUID, with its key and its length.
const ID_FIELD_BYTES: usize = 38;

/// A page of events as a message `ListEventsResponse`.
///
/// # Errors
/// Where an entry can't be read.
pub fn list_response(
    page: &Page<(Position, Record)>,
    next_page_token: &str,
    reflects: Position,
) -> Result<Encoded, ReadError> {
    let mut out = encoded(page.items.iter().map(|(position, record)| (*position, record)))?;
    if !next_page_token.is_empty() {
        prost::encoding::string::encode(2, &next_page_token.to_owned(), &mut out);
    }
    if reflects.0 != 0 {
        prost::encoding::uint64::encode(3, &reflects.0, &mut out);
    }
    Ok(Encoded(out.into()))
}

/// Entries from a position on as a message `TailEventsResponse`.
///
/// # Errors
/// Where an entry can't be read.
pub fn tail_response(from: Position, records: &[Record]) -> Result<Encoded, ReadError> {
    let out = encoded((from.0..).map(Position).zip(records))?;
    Ok(Encoded(out.into()))
}

/// Events as field 1 of a message, which both answers have for them.
fn encoded<'a>(records: impl Iterator<Item = (Position, &'a Record)> + Clone) -> Result<Vec<u8>, ReadError> {
    let bytes = records.clone().map(|(_, record)| record.entry.len() + BESIDE_ENTRY_BYTES).sum();
    let mut out = Vec::with_capacity(bytes);
    for (position, record) in records {
        put(&mut out, position, record)?;
    }
    Ok(out)
}

fn put(out: &mut Vec<u8>, position: Position, record: &Record) -> Result<(), ReadError> {
    encode_key(1, WireType::LengthDelimited, out);
    if let Ok((header, stored)) = entry::decode(&record.entry)
        && header.position == position
        && Stored::of(stored).is_some()
    {
        put_spliced(out, &header, &record.link.0, stored);
        return Ok(());
    }
    let recorded = replay::recorded(record, position)?;
    let message = convert::ledger_event(&Entry { record: record.clone(), recorded });
    encode_varint(message.encoded_len() as u64, out);
    message.encode_raw(out);
    Ok(())
}

/// A message `LedgerEvent` with its length before it.
fn put_spliced(out: &mut Vec<u8>, header: &Header, link: &[u8; 32], stored: &[u8]) {
    let emitter = header.emitter.as_str().as_bytes();
    let event_bytes = ID_FIELD_BYTES + delimited_bytes(emitter.len()) + stored.len();
    let recorded_at = timestamp(header.recorded_at);
    let position_bytes = number_bytes(header.position.0);
    let bytes = position_bytes
        + delimited_bytes(link.len())
        + delimited_bytes(recorded_at.encoded_len())
        + delimited_bytes(event_bytes);
    encode_varint(bytes as u64, out);
    if position_bytes > 0 {
        prost::encoding::uint64::encode(1, &header.position.0, out);
    }
    put_delimited(out, 2, link);
    prost::encoding::message::encode(3, &recorded_at, out);
    put_head(out, 4, event_bytes);
    put_delimited(out, 1, header.event_id.hyphenated().encode_lower(&mut [0; 36]).as_bytes());
    put_delimited(out, 2, emitter);
    out.extend_from_slice(stored);
}

/// Bytes of a field that holds a number, with its key of one byte; a zero is left out.
fn number_bytes(number: u64) -> usize {
    if number == 0 { 0 } else { 1 + encoded_len_varint(number) }
}

#[cfg(test)]
#[path = "events_tests.rs"]
mod tests;
