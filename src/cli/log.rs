//! `log inspect`: one entry, byte by byte, out of the files.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ledger::disk::RealDisk;
use ledger::inspect::{Field, FoundFrame, describe, find_frame};
use ledger::types::Position;
use prost_reflect::{DescriptorPool, Kind, MessageDescriptor};
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure};
use super::print::{Printer, Section, Shown};
use crate::wire::DESCRIPTORS;

/// Looks into the files of a log
#[derive(Debug, Args)]
pub struct Log {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Shows one entry of the ledger, byte by byte; needs no server
    Inspect {
        /// The server's data directory, or a copy of it
        dir: PathBuf,
        /// The entry's position
        position: u64,
    },
}

impl Log {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the files cannot be read, or there is no such entry.
    pub fn run(&self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let What::Inspect { dir, position } = &self.what;
        let ledger = dir.join("ledgers").join(global.ledger.as_str());
        if !ledger.is_dir() {
            return Err(Failure::NotFound(format!("{} holds no ledger {}", dir.display(), global.ledger)));
        }
        let found =
            find_frame(&RealDisk, &ledger, Position(*position)).map_err(|e| Failure::at(&ledger, &e))?;
        let found = found.ok_or_else(|| {
            Failure::NotFound(format!("the log of {} has no entry at position {position}", global.ledger))
        })?;
        printer.one(&Inspected::new(*position, &found))?;
        Ok(Exit::Done)
    }
}

/// An entry, byte by byte, as it is printed.
#[derive(Debug, Serialize)]
struct Inspected {
    position: u64,
    file: String,
    offset: u64,
    bytes: usize,
    fields: Vec<Piece>,
}

#[derive(Debug, Serialize)]
struct Piece {
    offset: usize,
    bytes: String,
    name: String,
    value: String,
}

impl Inspected {
    fn new(position: u64, found: &FoundFrame) -> Self {
        let pool = DescriptorPool::decode(DESCRIPTORS).ok();
        let event = pool.and_then(|pool| pool.get_message_by_name("tokenledger.v1.Event"));
        let naming = |path: &[u32]| name_of(event.clone()?, path);
        let fields = describe(&found.frame, Some(&naming)).into_iter().map(Piece::from).collect();
        Self { position, file: found.file.clone(), offset: found.offset, bytes: found.frame.len(), fields }
    }
}

impl From<Field> for Piece {
    fn from(field: Field) -> Self {
        let Field { offset, bytes, name, value } = field;
        Self { offset, bytes: hex::encode(bytes), name, value }
    }
}

/// The name of the field at the end of a path of field numbers.
fn name_of(mut message: MessageDescriptor, path: &[u32]) -> Option<String> {
    let (last, outer) = path.split_last()?;
    for number in outer {
        let Kind::Message(inner) = message.get_field(*number)?.kind() else { return None };
        message = inner;
    }
    message.get_field(*last).map(|field| field.name().to_owned())
}

impl Shown for Inspected {
    const FIELDS: &'static [&'static str] = &["position", "file", "offset", "bytes", "fields"];
    const COLUMNS: &'static [&'static str] = &["position", "file", "offset", "bytes"];

    fn row(&self) -> Vec<String> {
        vec![self.position.to_string(), self.file.clone(), self.offset.to_string(), self.bytes.to_string()]
    }

    fn page(&self) -> Vec<Section> {
        let title =
            format!("position {}: {} at {}, {} bytes", self.position, self.file, self.offset, self.bytes);
        let row = |piece: &Piece| {
            vec![piece.offset.to_string(), piece.name.clone(), piece.value.clone(), wrapped(&piece.bytes)]
        };
        let rows = self.fields.iter().map(row).collect();
        vec![Section { title, columns: &["offset", "field", "value", "bytes"], rows }]
    }
}

/// Hex in pieces that fit a screen.
fn wrapped(hex: &str) -> String {
    let digits: Vec<char> = hex.chars().collect();
    digits.chunks(32).map(|line| line.iter().collect::<String>()).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(path: &[u32]) -> Option<String> {
        let pool = DescriptorPool::decode(DESCRIPTORS).unwrap();
        name_of(pool.get_message_by_name("tokenledger.v1.Event").unwrap(), path)
    }

    #[test]
    fn fields_have_the_names_of_the_messages_however_deep_they_stand() {
        assert_eq!(named(&[5]).as_deref(), Some("actor"));
        assert_eq!(named(&[33, 2, 5]).as_deref(), Some("expiry"));
        assert_eq!(named(&[33, 1, 5]), None);
        assert_eq!(named(&[1_999]), None);
        assert_eq!(named(&[]), None);
    }

    #[test]
    fn every_byte_of_a_broken_frame_is_still_shown() {
        let found = FoundFrame { file: "log/0.seg".into(), offset: 512, frame: vec![0xEE; 7] };
        let shown = Inspected::new(3, &found);
        let hex: String = shown.fields.iter().map(|piece| piece.bytes.as_str()).collect();
        assert_eq!(hex, "ee".repeat(7));
    }

    #[test]
    fn long_hex_is_wrapped() {
        assert_eq!(wrapped(&"ab".repeat(20)), format!("{}\n{}", "ab".repeat(16), "ab".repeat(4)));
    }
}
