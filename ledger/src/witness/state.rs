//! What a witness knows of each log, on the disk: the newest note that it cosigned, one file a log. Each is signed by the
//! witness itself, so that a file that is not as it was written is never taken for less than it was.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::request::{REQUEST_BYTES_MAX, read};
use crate::checkpoint::cosignature::CosignerKey;
use crate::disk::{self, Disk, Open};
use crate::tree::TreeHead;

/// How the names of the files end.
const NOTE: &str = ".note";

/// Why a witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The disk failed.
    #[error("{path}: {error}")]
    Io {
        /// Where.
        path: PathBuf,
        /// What.
        error: io::Error,
    },
    /// A file is not as this witness wrote it.
    #[error(
        "{path} is not as this witness wrote it: {why}; a witness that has forgotten what it signed must not sign: bring the file back, or begin anew with a new key and an empty directory"
    )]
    Changed {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

pub(super) struct State {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
}

impl State {
    /// Opens a directory, which is made where it is missing, and reads what the witness knows.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        key: &CosignerKey,
    ) -> Result<(Self, BTreeMap<String, TreeHead>), StateError> {
        let failed = |error| StateError::Io { path: dir.clone(), error };
        disk.make_dir(&dir).map_err(failed)?;
        let names = disk.list(&dir).map_err(failed)?;
        let state = Self { disk, dir };
        let mut known = BTreeMap::new();
        for name in names.iter().filter(|name| name.ends_with(NOTE)) {
            let (origin, tree) = state.load(name, key)?;
            known.insert(origin, tree);
        }
        Ok((state, known))
    }

    fn load(&self, name: &str, key: &CosignerKey) -> Result<(String, TreeHead), StateError> {
        let path = self.dir.join(name);
        let changed = |why: String| StateError::Changed { path: path.clone(), why };
        let note = self.contents(name).map_err(|error| StateError::Io { path: path.clone(), error })?;
        key.cosigned(&note).map_err(|error| changed(error.to_string()))?;
        let (checkpoint, _) = read(&note).map_err(|why| changed(why.to_owned()))?;
        if name_of(&checkpoint.origin) != name {
            return Err(changed(format!("it is that of {}", checkpoint.origin)));
        }
        Ok((checkpoint.origin, checkpoint.tree))
    }

    fn contents(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.disk.open(&self.dir.join(name), Open::Read)?;
        let bytes_max = REQUEST_BYTES_MAX as u64 * 2;
        let mut bytes = vec![0; usize::try_from(file.len()?.min(bytes_max)).unwrap_or_default()];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Keeps a note. When this returns it is durable, and whatever happens before, the file is the old one or the new one.
    pub(super) fn keep(&self, origin: &str, note: &[u8]) -> io::Result<()> {
        disk::replace(self.disk.as_ref(), &self.dir.join(name_of(origin)), note)
    }
}

/// The name of a log's file: names of logs have characters that those of files can't have.
fn name_of(origin: &str) -> String {
    let hash = Sha256::digest(origin.as_bytes());
    format!("{}{NOTE}", hex::encode(&hash[..16]))
}
