//! A small writer of logs, made from `docs/format.md` and nothing else, and a disk in memory to put them on.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::disk::{Disk, DiskFile, Open};
use crate::entry::{Header, IdKey, encode, link};
use crate::tree::{Hash, leaf, node};
use crate::types::{LedgerUid, Link, Position, Time};

pub(crate) const UID: LedgerUid = LedgerUid(*b"the test ledger!");

#[derive(Default)]
pub(crate) struct Files(pub(super) Mutex<BTreeMap<PathBuf, Arc<Vec<u8>>>>);

impl Files {
    pub(crate) fn put(&self, file: &str, bytes: Vec<u8>) {
        self.0.lock().unwrap().insert(Path::new("d/ledgers/default").join(file), Arc::new(bytes));
    }

    pub(crate) fn take(&self, file: &str) -> Vec<u8> {
        let bytes = self.0.lock().unwrap().remove(&Path::new("d/ledgers/default").join(file));
        bytes.unwrap().to_vec()
    }

    pub(crate) fn get(&self, file: &str) -> Vec<u8> {
        self.0.lock().unwrap()[&Path::new("d/ledgers/default").join(file)].to_vec()
    }

    pub(crate) fn change(&self, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.get(file);
        change(&mut bytes);
        self.put(file, bytes);
    }
}

struct OpenFile(Arc<Vec<u8>>);

impl DiskFile for OpenFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        panic!("the judge writes nothing")
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        panic!("the judge writes nothing")
    }
    fn sync(&self) -> io::Result<()> {
        panic!("the judge writes nothing")
    }
}

impl Disk for Files {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        assert_eq!(how, Open::Read, "the judge writes nothing");
        let bytes = self.0.lock().unwrap().get(path).cloned();
        Ok(Arc::new(OpenFile(bytes.ok_or(io::ErrorKind::NotFound)?)))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.0.lock().unwrap();
        let below = files.keys().filter_map(|path| path.strip_prefix(dir).ok()?.components().next());
        let mut names: Vec<String> =
            below.map(|name| name.as_os_str().to_str().unwrap().to_owned()).collect();
        names.dedup();
        Ok(names)
    }
    fn make_dir(&self, _: &Path) -> io::Result<()> {
        panic!("the judge writes nothing")
    }
    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        panic!("the judge writes nothing")
    }
    fn remove(&self, _: &Path) -> io::Result<()> {
        panic!("the judge writes nothing")
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        panic!("the judge writes nothing")
    }
}

/// One frame to be written: what stands in its header, and its entry.
#[derive(Clone)]
pub(crate) struct Planned {
    pub(crate) header: Header,
    pub(crate) event: Vec<u8>,
    pub(crate) batch: (u16, u16),
    pub(crate) lag: u32,
    /// The position for which the frame is written.
    pub(crate) framed: Position,
}

impl Planned {
    pub(crate) fn entry(&self) -> Vec<u8> {
        encode(&self.header, &self.event).unwrap()
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let entry = self.entry();
        let mut frame = b"TL".to_vec();
        frame.extend((entry.len() as u16).to_le_bytes());
        frame.extend(self.batch.0.to_le_bytes());
        frame.extend(self.batch.1.to_le_bytes());
        frame.extend(self.lag.to_le_bytes());
        frame.extend(crc32fast::hash(&entry).to_le_bytes());
        let mut covered = self.header.uid.0.to_vec();
        covered.extend(self.framed.0.to_le_bytes());
        covered.extend(&frame);
        frame.extend(crc32fast::hash(&covered).to_le_bytes());
        frame.extend(entry);
        frame.push(0xB7);
        frame
    }
}

/// Entries of `sizes` bytes of event each, one batch per inner list; each batch is durable before the next.
pub(crate) fn plan(batches: &[&[usize]]) -> Vec<Planned> {
    let (mut planned, mut previous) = (Vec::<Planned>::new(), Link::default());
    for sizes in batches {
        for (index, size) in sizes.iter().enumerate() {
            let n = planned.len() as u64;
            let header = Header {
                uid: UID,
                position: Position(n),
                epoch: 0,
                previous,
                recorded_at: Time(1_700_000_000_000_000_000 + n as i64),
                event_id: uuid::Uuid::from_u128(0x1234_5678 * (u128::from(n) + 1)),
                emitter: "token-service".parse().unwrap(),
            };
            let event = (0..*size).map(|i| (i as u64 * 31 + n * 7 + 1) as u8 | 1).collect();
            let batch = (index as u16, sizes.len() as u16);
            let one = Planned { header, event, batch, lag: index as u32, framed: Position(n) };
            previous = link(&one.entry());
            planned.push(one);
        }
    }
    planned
}

/// Recomputes the links from entry `from` on, as somebody would who hides a change.
pub(crate) fn rechain(planned: &mut [Planned], from: usize) {
    for i in from.max(1)..planned.len() {
        planned[i].header.previous = link(&planned[i - 1].entry());
    }
}

pub(crate) fn segment_header(uid: LedgerUid, first: u64, before: Link, capacity: u64) -> Vec<u8> {
    let mut bytes = b"TKLSEG01".to_vec();
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(uid.0);
    bytes.extend(first.to_le_bytes());
    bytes.extend(before.0);
    bytes.extend(capacity.to_le_bytes());
    bytes.resize(508, 0);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// A segment's frames behind its header, and where each begins; the last offset is where they end.
pub(crate) fn frames(planned: &[Planned], capacity: u64) -> (Vec<u8>, Vec<u64>) {
    let first = &planned[0].header;
    let mut bytes = segment_header(UID, first.position.0, first.previous, capacity);
    let mut offsets = Vec::new();
    for one in planned {
        offsets.push(bytes.len() as u64);
        bytes.extend(one.frame());
    }
    offsets.push(bytes.len() as u64);
    (bytes, offsets)
}

pub(crate) fn open_segment(planned: &[Planned], capacity: u64) -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, offsets) = frames(planned, capacity);
    assert!(bytes.len() as u64 <= capacity);
    bytes.resize(capacity as usize, 0);
    (bytes, offsets)
}

/// A sealed segment of the first entries of a log.
pub(crate) fn sealed_segment(planned: &[Planned], capacity: u64) -> (Vec<u8>, Vec<u64>) {
    sealed_behind(&[], planned, capacity)
}

/// A sealed segment behind other entries.
pub(crate) fn sealed_behind(before: &[Planned], planned: &[Planned], capacity: u64) -> (Vec<u8>, Vec<u64>) {
    let leaves: Vec<_> = before.iter().chain(planned).map(|one| leaf(&one.entry())).collect();
    sealed_with(&frontier(&leaves), planned, capacity)
}

/// The files of the stored tree over these entries: the leaves, and the root over each 256 of them.
pub(crate) fn stored_tree(planned: &[Planned]) -> [Vec<u8>; 2] {
    let leaves: Vec<_> = planned.iter().map(|one| leaf(&one.entry())).collect();
    [leaves.concat(), leaves.chunks_exact(256).flat_map(root).collect()]
}

/// The root over any number of leaves, by the definition.
pub(crate) fn root_over(planned: &[Planned]) -> Hash {
    fn over(leaves: &[Hash]) -> Hash {
        match leaves {
            [one] => *one,
            many => {
                let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
                node(&over(left), &over(right))
            }
        }
    }
    let leaves: Vec<_> = planned.iter().map(|one| leaf(&one.entry())).collect();
    over(&leaves)
}

/// The roots of the full subtrees, the largest first.
fn frontier(leaves: &[Hash]) -> Vec<u8> {
    let size = 1 << leaves.len().checked_ilog2().unwrap_or_default();
    match leaves.split_at_checked(size) {
        Some((full, rest)) => [&root(full)[..], &frontier(rest)].concat(),
        None => Vec::new(),
    }
}

/// The root over 2^n leaves.
fn root(leaves: &[Hash]) -> Hash {
    match leaves.split_at(leaves.len() / 2) {
        (_, [one]) if leaves.len() == 1 => *one,
        (left, right) => node(&root(left), &root(right)),
    }
}

/// A sealed segment whose footer has these bytes as its tree frontier.
pub(crate) fn sealed_with(frontier: &[u8], planned: &[Planned], capacity: u64) -> (Vec<u8>, Vec<u64>) {
    let (mut bytes, offsets) = frames(planned, capacity);
    let last = planned.last().unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    let mut footer = b"TKLFOOT1".to_vec();
    footer.extend(1_u32.to_le_bytes());
    footer.extend((planned.len() as u64).to_le_bytes());
    footer.extend(planned[0].header.position.0.to_le_bytes());
    footer.extend(link(&last.entry()).0);
    footer.extend(last.header.recorded_at.0.to_le_bytes());
    footer.extend(last.header.epoch.to_le_bytes());
    footer.extend(offsets[planned.len()].to_le_bytes());
    footer.extend((frontier.len() as u32).to_le_bytes());
    footer.extend(64_u32.to_le_bytes());
    footer.extend(frontier);
    for offset in offsets[..planned.len()].iter().step_by(64) {
        footer.extend(offset.to_le_bytes());
    }
    let keys = planned.iter().map(|p| IdKey::of(&p.header.emitter, &p.header.event_id).0);
    let mut ids: Vec<(u64, u32)> = keys.zip(0..).collect();
    ids.sort_unstable();
    for (key, number) in ids {
        footer.extend(key.to_le_bytes());
        footer.extend(number.to_le_bytes());
    }
    footer.extend(crc32fast::hash(&footer).to_le_bytes());
    footer.extend((footer.len() as u32 + 12).to_le_bytes());
    footer.extend(b"TKLFOOTE");
    bytes.extend(footer);
    (bytes, offsets)
}

pub(crate) fn tail_file(next: u64, link: Link) -> Vec<u8> {
    let mut bytes = b"TKLTAIL1".to_vec();
    bytes.extend(next.to_le_bytes());
    bytes.extend(link.0);
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// A log as it was built: its files, and the extent of every frame.
pub(crate) struct Built {
    pub(crate) files: Files,
    /// File and first byte of each entry's frame, with the byte behind it.
    pub(crate) frames: Vec<(String, u64, u64)>,
    pub(crate) segments: Vec<String>,
}

/// Puts entries into segments: sealed ones of `sealed` entries each, and an open one for the rest.
pub(crate) fn build(planned: &[Planned], sealed: &[usize], capacity: u64) -> Built {
    let mut built = Built { files: Files::default(), frames: Vec::new(), segments: Vec::new() };
    let mut rest = planned;
    for (i, entries) in sealed.iter().chain([&usize::MAX]).enumerate() {
        let (these, behind) = rest.split_at((*entries).min(rest.len()));
        rest = behind;
        if these.is_empty() {
            break;
        }
        let file = format!("log/{:020}.seg", these[0].framed.0);
        let before = &planned[..planned.len() - rest.len() - these.len()];
        let (bytes, offsets) = if i < sealed.len() {
            sealed_behind(before, these, capacity)
        } else {
            open_segment(these, capacity)
        };
        built.frames.extend(offsets.windows(2).map(|pair| (file.clone(), pair[0], pair[1])));
        built.files.put(&file, bytes);
        built.segments.push(file);
    }
    built
}
