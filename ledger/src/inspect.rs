//! One entry, byte by byte: for whoever wants to see with their own eyes what a hash covers.

use std::io;
use std::path::Path;

use crate::disk::Disk;
use crate::entry::{self, HEADER_FIXED_BYTES};
use crate::types::{LedgerUid, Link, Position, Time};
use crate::verify::frame::{END_MARK, FRAME_HEADER_BYTES, FrameHeader, names};
use crate::verify::names::segments;
use crate::verify::packed;
use crate::verify::source::Source;
use crate::verify::{Meter, Reached};

mod event;
#[cfg(test)]
mod tests;

/// Names the fields of an event: from the path of field numbers, outermost first, to a field's name; `None` where the
/// number is not known.
pub type Naming<'a> = &'a dyn Fn(&[u32]) -> Option<String>;

/// Some bytes of a frame and what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Where in the frame they begin.
    pub offset: usize,
    /// The bytes themselves; none where the value is computed, or where the fields of a message follow.
    pub bytes: Vec<u8>,
    /// What they are: `frame.lag`, `entry.position`, `event.subject.id`. A field of an event without a known name has
    /// its number for a name.
    pub name: String,
    /// What they say, in words.
    pub value: String,
}

/// A frame as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFrame {
    /// The file, relative to the ledger's directory.
    pub file: String,
    /// Where in the file the frame begins, in bytes; of a packed segment, where its block does.
    pub offset: u64,
    /// The frame with its entry; shorter than it says where the file ends within it.
    pub frame: Vec<u8>,
}

/// Finds the frame of a position by reading the files of a ledger directly, without a server and without trusting any
/// footer: from the segment's first frame on, by the lengths that the frames claim. The frame may be damaged;
/// [`describe`] says so. `None` where there is no segment for the position, or no frame can be reached there.
///
/// # Errors
/// Where the files cannot be read.
pub fn find_frame(disk: &dyn Disk, ledger_dir: &Path, position: Position) -> io::Result<Option<FoundFrame>> {
    let segments = segments(disk, ledger_dir)?;
    let Some(segment) = segments.into_iter().rev().find(|segment| segment.named <= position) else {
        return Ok(None);
    };
    let meter = Meter::new(&());
    let reached = Reached::new(&meter);
    let mut source = Source::open(disk, &ledger_dir.join(&*segment.file), segment.named, &reached)?;
    if packed::is_packed(&mut source)? {
        let found = packed::find_frame(&mut source, segment.named, position)?;
        return Ok(found.map(|(offset, frame)| FoundFrame { file: segment.file.to_string(), offset, frame }));
    }
    let (mut offset, mut at) = (512, segment.named);
    while let Some(header) = FrameHeader::read(source.read(offset, FRAME_HEADER_BYTES as usize)?) {
        if at == position {
            let frame = source.read(offset, header.frame_bytes() as usize)?.to_vec();
            return Ok(Some(FoundFrame { file: segment.file.to_string(), offset, frame }));
        }
        offset += header.frame_bytes();
        at = at.next();
    }
    Ok(None)
}

/// Describes a frame: every byte of it, in order, and at last the link, which is computed. Whatever the bytes are, it
/// describes as much of them as has a meaning, and gives what is left as `rest`.
#[must_use]
pub fn describe(frame: &[u8], naming: Option<Naming<'_>>) -> Vec<Field> {
    let mut description = Description { fields: Vec::new(), bytes: frame, at: 0 };
    if description.frame().is_some() && description.entry().is_some() {
        let unnamed = |_: &[u32]| None;
        let event = entry_of(frame).get(description.at - FRAME_HEADER_BYTES as usize..).unwrap_or_default();
        description.fields.extend(event::describe(event, description.at, naming.unwrap_or(&unnamed)));
        description.at += event.len();
        description.end_mark();
    }
    description.rest();
    description.fields
}

/// What has been described so far.
struct Description<'a> {
    fields: Vec<Field>,
    bytes: &'a [u8],
    at: usize,
}

impl Description<'_> {
    /// Describes the next `N` bytes; `None` where there are not as many.
    fn next<const N: usize>(&mut self, name: &str, value: impl FnOnce([u8; N]) -> String) -> Option<[u8; N]> {
        let bytes = *self.bytes.get(self.at..)?.first_chunk::<N>()?;
        self.push(name, N, value(bytes));
        Some(bytes)
    }

    fn push(&mut self, name: &str, length: usize, value: String) {
        let bytes = self.bytes.get(self.at..self.at + length).unwrap_or_default().to_vec();
        self.fields.push(Field { offset: self.at, bytes, name: name.to_owned(), value });
        self.at += length;
    }

    fn frame(&mut self) -> Option<()> {
        let header = FrameHeader::read(self.bytes)?;
        let entry = header.entry(self.bytes);
        let named = names(entry);
        let durable = named.map(|(_, position)| i128::from(position.0) - i128::from(header.lag));
        let sound = named.is_some_and(|(uid, position)| header.sound(uid, position));
        let holds = header.holds(entry);
        self.next::<2>("frame.magic", |_| "TL".to_owned())?;
        self.next("frame.entry_bytes", |b| u16::from_le_bytes(b).to_string())?;
        self.next("frame.batch_index", |b| u16::from_le_bytes(b).to_string())?;
        self.next("frame.batch_entries", |b| u16::from_le_bytes(b).to_string())?;
        self.next("frame.lag", |b| lag(u32::from_le_bytes(b), durable))?;
        self.next("frame.entry_crc", |b| crc(u32::from_le_bytes(b), holds))?;
        self.next("frame.header_crc", |b| crc(u32::from_le_bytes(b), sound))?;
        Some(())
    }

    fn entry(&mut self) -> Option<()> {
        let entry = entry_of(self.bytes);
        let emitter =
            HEADER_FIXED_BYTES..HEADER_FIXED_BYTES + usize::from(*entry.get(HEADER_FIXED_BYTES - 1)?);
        let emitter = entry.get(emitter)?;
        self.next("entry.version", |b: [u8; 1]| b[0].to_string())?;
        self.next("entry.ledger_uid", |b| LedgerUid(b).to_string())?;
        self.next("entry.position", |b| u64::from_le_bytes(b).to_string())?;
        self.next("entry.epoch", |b| u32::from_le_bytes(b).to_string())?;
        self.next("entry.previous_link", |b| Link(b).to_string())?;
        self.next("entry.recorded_at", |b| Time(i64::from_le_bytes(b)).to_string())?;
        self.next("entry.event_id", |b| uuid::Uuid::from_bytes(b).to_string())?;
        self.next("entry.emitter_bytes", |b: [u8; 1]| b[0].to_string())?;
        self.push("entry.emitter", emitter.len(), emitter.escape_ascii().to_string());
        Some(())
    }

    /// The last byte of the frame, if it is there.
    fn end_mark(&mut self) {
        let fits = |[mark]: [u8; 1]| fits(mark == END_MARK).to_owned();
        let _ = self.next("frame.end_mark", fits);
    }

    /// What is left, and the link.
    fn rest(&mut self) {
        let left = self.bytes.len().saturating_sub(self.at);
        if left > 0 {
            self.push("rest", left, format!("{left} bytes without a known meaning"));
        }
        if self.bytes.len() >= FRAME_HEADER_BYTES as usize {
            self.push("link", 0, entry::link(entry_of(self.bytes)).to_string());
        }
    }
}

fn lag(lag: u32, durable: Option<i128>) -> String {
    match durable {
        Some(entries) if entries >= 0 => format!("{lag}: {entries} entries were durable when it was written"),
        _ => lag.to_string(),
    }
}

fn crc(value: u32, is_right: bool) -> String {
    format!("{value:08x}, {}", fits(is_right))
}

fn fits(is_right: bool) -> &'static str {
    if is_right { "fits" } else { "does not fit" }
}

/// The entry of a frame; where the frame's header cannot be read, everything behind it.
fn entry_of(frame: &[u8]) -> &[u8] {
    match FrameHeader::read(frame) {
        Some(header) => header.entry(frame),
        None => frame.get(FRAME_HEADER_BYTES as usize..).unwrap_or_default(),
    }
}
