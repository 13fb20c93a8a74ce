//! `audit`: a third party checks a ledger from outside.

use std::path::{Path, PathBuf};

use clap::Args;
use ledger::checkpoint::LogKeys;
use ledger::proof::Fork;
use serde::Serialize;

use super::Global;
use super::connect::Server;
use super::exit::{Exit, Failure};
use super::print::{Printer, Section, Shown, counted};
use super::rebuild::bar;
use super::vkeys;
use crate::audit::{AuditError, Kept, Outcome, audit, evidence_beside};
use crate::whole;

/// Checks a ledger from outside, trusting nobody
///
/// Fetches what is new since the last time, hashes every entry, and checks the chain, the tree, the signature, and that
/// nothing which was seen before has changed. Run it elsewhere than the server, again and again. Exit code 3 where something
/// is wrong; where the log has forked, a file is written that proves it to others: `tokenledger proof verify` checks it.
#[derive(Debug, Args)]
pub struct Audit {
    /// The file that remembers what was seen; made where it is not there. The hashes of the tree stand beside it, in
    /// FILE.tree
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// The ledger's public key, or a file that has it; several times where the key was changed, the oldest first
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<String>,
    /// Where to write what proves a fork; default: beside the state, as FILE.evidence
    #[arg(long, value_name = "FILE")]
    evidence: Option<PathBuf>,
}

/// How an audit ended, as it is printed.
#[derive(Debug, Serialize)]
struct Verdict {
    ok: bool,
    ledger: String,
    from: u64,
    to: u64,
    entries: u64,
    root: Option<String>,
    evidence: Option<String>,
    reason: Option<String>,
    position: Option<u64>,
    origin: String,
}

impl Audit {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the audit could not be carried out; that something is wrong with the ledger is no error, but the answer.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let keys = vkeys::keys_of_ledger(&self.key, &global.ledger)?;
        let kept = Kept::open(&self.state).map_err(Failure::because)?;
        let server = Server::reach(global).await?;
        let bar = bar("entries");
        let progress = |done: u64, total: u64| {
            bar.set_length(total);
            bar.set_position(done);
        };
        let audited = audit(server.proof(), &server.ledger(), &keys, &kept, &progress).await;
        bar.finish_and_clear();
        let outcome = audited.map_err(|error| match error {
            AuditError::Server(status) => server.failure(*status),
            other => Failure::because(other),
        })?;
        let evidence = outcome.wrong.as_ref().and_then(|wrong| wrong.evidence.as_ref());
        let evidence = evidence.map(|fork| self.write_evidence(fork, &keys)).transpose()?;
        let verdict = Verdict::new(global, &keys, &outcome, evidence.as_deref());
        printer.one(&verdict)?;
        if !outcome.has_tree {
            printer.hint(&format!(
                "the hashes in {}.tree are missing or incomplete, so a fork to fewer entries can't be proved: audit everything \
                 anew with another --state to have them again",
                self.state.display()
            ));
        }
        Ok(if verdict.ok { Exit::Done } else { Exit::Unverified })
    }

    /// Writes evidence. What is there already and proves a fork of this log is as good, and is kept.
    fn write_evidence(&self, fork: &Fork, keys: &LogKeys) -> Result<PathBuf, Failure> {
        let path = self.evidence.clone().unwrap_or_else(|| evidence_beside(&self.state));
        if !proves(&path, keys) {
            whole::replace(&path, &fork.to_bytes()).map_err(|error| Failure::at(&path, &error))?;
        }
        Ok(path)
    }
}

fn proves(path: &Path, keys: &LogKeys) -> bool {
    let there = std::fs::read(path).unwrap_or_default();
    Fork::parse(&there).and_then(|fork| fork.verify(keys)).is_ok()
}

impl Verdict {
    fn new(global: &Global, keys: &LogKeys, outcome: &Outcome, evidence: Option<&Path>) -> Self {
        Self {
            ok: outcome.wrong.is_none(),
            ledger: global.ledger.to_string(),
            from: outcome.from,
            to: outcome.to,
            entries: outcome.entries,
            root: outcome.root.map(hex::encode),
            evidence: evidence.map(|path| path.display().to_string()),
            reason: outcome.wrong.as_ref().map(|wrong| wrong.reason.clone()),
            position: outcome.wrong.as_ref().and_then(|wrong| wrong.position),
            origin: keys.origin().to_owned(),
        }
    }
}

impl Shown for Verdict {
    const FIELDS: &'static [&'static str] =
        &["ok", "ledger", "from", "to", "entries", "root", "evidence", "reason", "position", "origin"];
    const COLUMNS: &'static [&'static str] = &["ledger", "verdict", "from", "to", "root"];

    fn row(&self) -> Vec<String> {
        vec![
            self.ledger.clone(),
            if self.ok { "ok" } else { "damaged" }.to_owned(),
            self.from.to_string(),
            self.to.to_string(),
            self.root.clone().unwrap_or_default(),
        ]
    }

    fn page(&self) -> Vec<Section> {
        let told = match &self.reason {
            None => format!(
                "{} new, {} in all: every one is what {} signed",
                counted(self.entries, "entry"),
                self.to,
                self.origin
            ),
            Some(reason) => format!("NOT what it should be: {reason}"),
        };
        let mut page = vec![Section::line(told)];
        let evidence = self.evidence.as_ref();
        page.extend(evidence.map(|path| {
            Section::line(format!(
                "what proves it to others: {path} (`tokenledger proof verify {path} --key KEY`)"
            ))
        }));
        page
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
