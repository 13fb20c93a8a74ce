//! Opening packed segments. They are whole before they have their name, so there is no torn one: what is not as it
//! was written is damage.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;
use crate::log::footer::TRAILER_BYTES;
use crate::log::index::End;
use crate::log::packed::{Blocks, Head, head_of, salvage};
use crate::log::segment::{Form, SegmentHeader, align};
use crate::log::view::Sealed;
use crate::tree::Frontier;
use crate::types::Position;

use super::{OpenError, Opening, Source};

impl Opening<'_> {
    /// What the header of a segment should say if it is a packed one: its footer tells.
    pub(super) fn guess_packed(
        &self,
        file: &dyn DiskFile,
        first: Position,
        file_bytes: u64,
    ) -> io::Result<Option<SegmentHeader>> {
        let head = head_of(file, file_bytes)?;
        Ok(head.map(|head| SegmentHeader {
            form: Form::Packed,
            uid: head.uid,
            first,
            previous: self.before.link,
            capacity: align(head.end.offset),
        }))
    }

    /// Takes in a packed segment; `limit` is where the next one begins. Of its footer only the head is read.
    pub(super) fn packed(
        &mut self,
        source: &Source<'_>,
        first: Position,
        limit: Option<Position>,
    ) -> Result<(), OpenError> {
        let (file, file_bytes) = (source.file.as_ref(), source.file_bytes);
        let ours = |head: &Head| head.first == first && head.uid == source.header.uid;
        if let Some(head) = head_of(file, file_bytes)?.filter(ours) {
            self.take_packed(source, first, head.end, Some((head.start, head.tree)), head.blocks);
            return Ok(());
        }
        let at = file_bytes.saturating_sub(TRAILER_BYTES);
        self.damaged(first, source.name, at, "the segment's footer is not what was written");
        let before = self.before_of(source, first);
        let (blocks, end) = salvage(file, file_bytes, source.header.uid, before)?;
        let end = End { next: limit.unwrap_or(end.next), ..end };
        self.take_packed(source, first, end, None, blocks);
        Ok(())
    }

    fn take_packed(
        &mut self,
        source: &Source<'_>,
        first: Position,
        end: End,
        footer: Option<(u64, Option<Frontier>)>,
        blocks: Blocks,
    ) {
        self.before = end;
        let (footer, tree) = footer.map_or((None, None), |(start, tree)| (Some(start), tree));
        self.sealed.push(Arc::new(Sealed {
            name: source.name.to_owned(),
            uid: source.header.uid,
            first,
            next: end.next,
            end: end.offset,
            strides: Vec::new(),
            footer,
            blocks: Some(blocks),
            tree,
        }));
    }
}
