//! What is stored of a ledger's tree, for whoever proves by it.

use ledger::log::LogStore;
use ledger::tiles::{TreeError, TreeStore};
use ledger::types::LedgerName;

/// Asks a ledger's tree something. Where what is stored of it is doubtful, that is logged, it is made anew from the log, and
/// asked again.
///
/// # Errors
/// Those of `question`, and where the log can't be read or leads to another tree.
pub(crate) fn ask<T>(
    name: &LedgerName,
    tree: &TreeStore,
    log: &dyn LogStore,
    question: impl Fn(&TreeStore) -> Result<T, TreeError>,
) -> Result<T, TreeError> {
    let tell = || tracing::warn!(ledger = %name, "the stored tree is not what was written; it is made anew from the log");
    tree.mended(log, tell, question)
}
