//! `export tiles`: a log as files for any web server. It asks no server, and may run beside one.

use std::path::PathBuf;

use clap::Args;
use ledger::checkpoint::VerifierKey;
use serde::Serialize;

use crate::cli::Global;
use crate::cli::exit::{Exit, Failure, say};
use crate::cli::print::{Printer, Shown, counted};
use crate::cli::rebuild::bar;
use crate::cli::verify::{Bar, is_served};
use crate::export::{self, ExportError, Exported, Upto};
use crate::priority;

/// A ledger as C2SP tiles: a checkpoint, the hashes of its tree and bundles of its entries, for any web server
///
/// Reads the server's data directory, beside the server or without it; the ledger is that of `--ledger`. Goes up to the
/// newest checkpoint that was published. Run again, it adds what is new. Whoever can read the files reads all entries, which
/// name people. Exit code 3: the log is not what was signed, and nothing was exported.
#[derive(Debug, Args)]
pub(super) struct Tiles {
    /// The server's data directory, or a copy of it
    data: PathBuf,
    /// The directory to write to; made where it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Export only what this public key has signed (`tokenledger key show`)
    #[arg(long, value_name = "VKEY")]
    key: Option<VerifierKey>,
    /// Export up to the newest checkpoint that was signed, though witnesses have yet to cosign it
    #[arg(long)]
    unwitnessed: bool,
}

/// What was exported.
#[derive(Debug, Serialize)]
struct Report {
    ledger: String,
    origin: String,
    size: u64,
    signed: u64,
    root: String,
    out: String,
    written: u64,
    kept: u64,
    replaced: u64,
    removed: u64,
}

impl Shown for Report {
    const FIELDS: &'static [&'static str] =
        &["ledger", "origin", "size", "signed", "root", "out", "written", "kept", "replaced", "removed"];
    const COLUMNS: &'static [&'static str] = &["ledger", "entries", "written", "kept", "replaced", "removed"];
    fn row(&self) -> Vec<String> {
        let counts = [self.size, self.written, self.kept, self.replaced, self.removed];
        std::iter::once(self.ledger.clone()).chain(counts.iter().map(u64::to_string)).collect()
    }
}

impl Tiles {
    /// Carries it out.
    ///
    /// # Errors
    /// Where there is no such ledger or no checkpoint of it, or files can't be read or written.
    pub(super) fn run(&self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        std::fs::read_dir(&self.data).map_err(|e| Failure::at(&self.data, &e))?;
        if is_served(&self.data) {
            priority::lower();
        }
        let bar = Bar(bar("bytes"));
        let upto = if self.unwitnessed { Upto::Signed } else { Upto::Published };
        let exported = export::tiles(&self.data, &global.ledger, &self.out, self.key.as_ref(), upto, &bar);
        bar.0.finish_and_clear();
        match exported {
            Ok(exported) => self.report(&exported, global, printer),
            Err(why) if why.is_unverified() => {
                say(&format!("tokenledger: {why}"));
                Ok(Exit::Unverified)
            }
            Err(why @ ExportError::NoLedger(..)) => Err(Failure::NotFound(why.to_string())),
            Err(why) => Err(Failure::because(why)),
        }
    }

    fn report(&self, exported: &Exported, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        if exported.replaced > 0 {
            say(&format!(
                "tokenledger: {} in {} had been changed since the last export, and are as they must be again",
                counted(exported.replaced, "file"),
                self.out.display()
            ));
        }
        let (size, signed) = (exported.checkpoint.tree.size, exported.signed);
        if size < signed {
            printer.hint(&format!(
                "witnesses have cosigned {size} entries, and {signed} are signed: --unwitnessed exports all of those"
            ));
        }
        printer.one(&Report {
            ledger: global.ledger.to_string(),
            origin: exported.checkpoint.origin.clone(),
            size,
            signed,
            root: hex::encode(exported.checkpoint.tree.root),
            out: self.out.display().to_string(),
            written: exported.written,
            kept: exported.kept,
            replaced: exported.replaced,
            removed: exported.removed,
        })?;
        Ok(Exit::Done)
    }
}
