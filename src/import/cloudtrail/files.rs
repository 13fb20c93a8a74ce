//! Which files to read, in which order, and how to open one.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::import::{Problem, Problems};

/// Bytes read at once from a file.
const BUFFER_BYTES: usize = 128 * 1024;

/// The files that `paths` name: a file as it is, whatever its name; of a directory, and those below it, every
/// `*.json` and `*.json.gz` in the order of their paths. Paths that cannot be read become problems.
pub(super) fn find(paths: &[PathBuf], problems: &mut Problems) -> Vec<PathBuf> {
    let mut search = Search { files: Vec::new(), entered: HashSet::new(), problems };
    for path in paths {
        match std::fs::metadata(path) {
            Ok(meta) if meta.is_dir() => search.enter(path),
            Ok(_) => search.files.push(path.clone()),
            Err(e) => search.unreadable(path, &e),
        }
    }
    search.files
}

struct Search<'a> {
    files: Vec<PathBuf>,
    /// Directories met, by their real path, so that a symbolic link that leads upwards ends nowhere: each is
    /// read once.
    entered: HashSet<PathBuf>,
    problems: &'a mut Problems,
}

impl Search<'_> {
    fn enter(&mut self, directory: &Path) {
        match std::fs::canonicalize(directory).and_then(|real| Ok((real, entries(directory)?))) {
            Ok((real, entries)) => {
                if self.entered.insert(real) {
                    entries.iter().for_each(|entry| self.meet(entry));
                }
            }
            Err(e) => self.unreadable(directory, &e),
        }
    }

    fn meet(&mut self, entry: &Path) {
        match std::fs::metadata(entry) {
            Ok(meta) if meta.is_dir() => self.enter(entry),
            // Neither a dangling link nor a file matters under another name.
            _ if !is_log(entry) => {}
            Ok(meta) if meta.is_file() => self.files.push(entry.to_owned()),
            // Opening a pipe would wait for ever.
            Ok(_) => self.problem(entry, "is neither a file nor a directory"),
            Err(e) => self.unreadable(entry, &e),
        }
    }

    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        self.problem(path, &format!("cannot be read: {}", error.kind()));
    }

    fn problem(&mut self, path: &Path, what: &str) {
        let problem = what.to_owned();
        self.problems.add(Problem { file: Some(shown(path)), problem, ..Problem::default() });
    }
}

fn entries(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<Vec<PathBuf>>>()?;
    paths.sort();
    Ok(paths)
}

fn is_log(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    name.ends_with(".json") || name.ends_with(".json.gz")
}

/// A path as it is shown in problems.
pub(super) fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Opens a file for reading its text: unpacked where it begins like gzip, whatever its name, and behind the byte order
/// mark that some tools write.
pub(super) fn open(path: &Path) -> io::Result<Box<dyn BufRead>> {
    let packed = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let (packed, head) = peek::<2>(packed)?;
    if head == [0x1F, 0x8B] {
        return behind_mark(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(packed)));
    }
    behind_mark(packed)
}

fn behind_mark(text: impl BufRead + 'static) -> io::Result<Box<dyn BufRead>> {
    let (mut text, head) = peek::<3>(text)?;
    if head == *b"\xEF\xBB\xBF" {
        text.consume(3);
    }
    Ok(Box::new(text))
}

type Peeked<R, const N: usize> = io::Chain<io::Cursor<Vec<u8>>, R>;

/// The first bytes of a reader, which then still has them; shorter input leaves zeros.
fn peek<const N: usize>(mut from: impl BufRead) -> io::Result<(Peeked<impl BufRead, N>, [u8; N])> {
    let mut head = Vec::with_capacity(N);
    from.by_ref().take(N as u64).read_to_end(&mut head)?;
    let mut bytes = [0; N];
    bytes.iter_mut().zip(&head).for_each(|(byte, read)| *byte = *read);
    Ok((io::Cursor::new(head).chain(from), bytes))
}
