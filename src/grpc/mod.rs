//! The services: decode, ask, encode. No rules stand here.

mod admin;
mod append;
mod page;
mod proof;
mod query;
mod restore;

use std::sync::Arc;

use ledger::types::LedgerName;
use tonic::{Code, Status};

pub use admin::Admin;
pub use append::Append;
pub use proof::Proof;
pub use query::Query;
pub use restore::Restore;

use crate::ledgers::{Ledger, Ledgers};
use crate::wire::convert;
use crate::wire::status::status;

/// The largest message that is taken, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// The ledger of a request.
fn existing(ledgers: &Arc<Ledgers>, name: &str) -> Result<Arc<Ledger>, Status> {
    let name = convert::ledger_name(name)?;
    ledgers.get(&name).ok_or_else(|| no_ledger(&name))
}

fn no_ledger(name: &LedgerName) -> Status {
    status(
        Code::NotFound,
        "ledger_not_found",
        format!(
            "there is no ledger {name}; the first append makes it (list them with `tokenledger ledgers list`)"
        ),
    )
}
