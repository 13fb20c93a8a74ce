//! What can go wrong with the index.

use std::io;

/// Why a look-up or a job failed.
#[derive(Debug, thiserror::Error)]
pub enum IdsError {
    /// Bytes are not what was written. The index is to be thrown away ([`super::IdIndex::reset`]) and fed anew.
    #[error("the index of event ids is damaged, {file}: {reason}")]
    Damaged {
        /// The file, within the index's directory.
        file: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// The operating system refused. The index is as good as before; the same call may succeed later.
    #[error("the index of event ids cannot be read or written: {0}")]
    Io(#[from] io::Error),
}
