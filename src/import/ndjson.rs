//! `import ndjson`: events in the product's own JSON form, one a line; the inverse of `export ndjson`.
//!
//! What only a ledger writes of itself (its genesis, its refusals, plans and receipts of restores) is counted as
//! unmapped: another ledger writes its own. The rest is sent as it was, under its own ids and emitters, so that a
//! second import adds nothing. Nothing is introduced: an export holds the introductions of its ledger.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::BufRead;

use ledger::event::Event;
use ledger::types::Emitter;
use uuid::Uuid;

use super::delivery::{Delivery, Origin};
use super::{Problem, Show, Summary, Target};
use crate::json::event_from_json;

/// The longest line, in bytes: an event of the largest size, every byte of it escaped as `\u0000`, and what the ledger
/// adds.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Reads events, one a line, from `input` (named `file` in problems) and delivers them in their order. A line that is
/// none is named and the rest goes on. Memory grows only with the ids seen (some 60 bytes an event).
///
/// # Errors
/// Those of the target. An input that cannot be read on is a problem in the summary.
pub async fn import<T: Target>(
    file: &str,
    mut input: impl BufRead + Send,
    target: &mut T,
    show: Show<'_>,
) -> Result<Summary, T::Error> {
    let mut delivery = Delivery::new(target, Summary::default(), None, show);
    let mut seen: HashSet<(Emitter, Uuid)> = HashSet::new();
    let mut number = 0;
    loop {
        number += 1;
        let place = || Origin { file: Some(file.to_owned()), record: None, line: Some(number) };
        match next_line(&mut input) {
            Ok(None) => return delivery.finish().await,
            Ok(Some(line)) if line.trim_ascii().is_empty() => {}
            Ok(Some(line)) => {
                delivery.summary.records += 1;
                match read(&line) {
                    Ok(event) => {
                        if event.fact.kind().is_ledgers_own() {
                            delivery.summary.unmapped += 1;
                        } else if !seen.insert((event.emitter.clone(), event.event_id)) {
                            delivery.summary.duplicates += 1;
                        } else {
                            delivery.push(event, place()).await?;
                        }
                    }
                    Err(what) => delivery.summary.problems.add(problem(&place(), what)),
                }
            }
            Err(e) => {
                let what = format!("cannot be read on: {}", e.kind());
                delivery.summary.problems.add(problem(&place(), what));
                return delivery.finish().await;
            }
        }
    }
}

fn problem(place: &Origin, what: String) -> Problem {
    Problem { file: place.file.clone(), line: place.line, problem: what, ..Problem::default() }
}

/// The next line, cut off behind its first [`LINE_BYTES_MAX`] bytes and one more, so that it shows as too long.
fn next_line(input: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok((!line.is_empty()).then_some(line));
        }
        let end = chunk.iter().position(|b| *b == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or(chunk);
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(line));
        }
    }
}

fn read(line: &[u8]) -> Result<Event, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err("is longer than 1 MiB, and so no event".to_owned());
    }
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|_| "is not UTF-8".to_owned())?;
    event_from_json(text).map_err(|e| e.to_string())
}
