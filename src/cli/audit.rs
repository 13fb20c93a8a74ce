//! `audit`: a third party checks a ledger from outside.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use ledger::checkpoint::{Checkpoint, LogKeys, Signed, VerifierKey};
use ledger::proof::{FILE_BYTES_MAX, Fork};
use serde::Serialize;

use super::Global;
use super::connect::Server;
use super::deletions::quoted;
use super::exit::{Exit, Failure, say};
use super::print::{Printer, Section, Shown, counted};
use super::rebuild::bar;
use super::vkeys;
use crate::audit::{AuditError, Kept, Outcome, audit, evidence_beside, note_beside};
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
    /// Where to write what proves a fork; default: beside the state, as FILE.evidence. What stands there already must be such
    /// a file
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
    keys: Vec<String>,
    checkpoint: Option<String>,
}

/// What an audit leaves behind beside its state.
#[derive(Default)]
struct Left {
    /// The file that proves a fork, and by which keys it does.
    evidence: Option<PathBuf>,
    keys: Vec<VerifierKey>,
    /// The file of a note that contradicts what was seen before.
    note: Option<PathBuf>,
    /// What could not be written, for the standard error instead.
    unwritten: Vec<String>,
}

impl Audit {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the audit could not be carried out; that something is wrong with the ledger is no error, but the answer.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let keys = vkeys::keys_of_ledger(&self.key, &global.ledger)?;
        self.check_place(&keys)?;
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
        let left = self.leave(&outcome);
        let verdict = Verdict::new(global, &outcome, &left);
        let printed = printer.one(&verdict);
        left.unwritten.iter().for_each(|text| say(text));
        self.hint(&outcome, &keys, printer);
        if verdict.ok {
            return printed.map(|()| Exit::Done);
        }
        // A full disk or a reader that is gone does not make the ledger right.
        if let Err(failure) = printed.as_ref() {
            say(&format!("tokenledger: {}; {failure}", verdict.told()));
        }
        Ok(Exit::Unverified)
    }

    fn hint(&self, outcome: &Outcome, given: &LogKeys, printer: &Printer) {
        if !outcome.has_tree {
            printer.hint(&format!(
                "the hashes in {}.tree are missing or incomplete, so a fork to fewer entries can't be proved: audit everything \
                 anew with another --state to have them again",
                self.state.display()
            ));
        }
        if let Some(key) = outcome.signer.as_ref().filter(|key| !given.all().contains(key)) {
            printer.hint(&format!("the log has led to another key than those given: --key {key}"));
        }
    }

    fn evidence_path(&self) -> PathBuf {
        self.evidence.clone().unwrap_or_else(|| evidence_beside(&self.state))
    }

    /// Refuses to begin where evidence would have to replace a file that is something else, or evidence against another log.
    fn check_place(&self, keys: &LogKeys) -> Result<(), Failure> {
        let path = self.evidence_path();
        let why = match read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => error.to_string(),
            Ok(there) if there.is_empty() || is_against(&there, keys) => return Ok(()),
            Ok(_) => "it is there already, and is no evidence against this log".to_owned(),
        };
        let path = path.display();
        Err(Failure::Usage(format!("{path}: {why}; say with --evidence where to write what proves a fork")))
    }

    /// Writes what is to be kept of something that is wrong.
    fn leave(&self, outcome: &Outcome) -> Left {
        let mut left = Left { keys: outcome.signer.iter().cloned().collect(), ..Left::default() };
        let Some(wrong) = &outcome.wrong else { return left };
        if let Some(fork) = &wrong.evidence {
            self.leave_evidence(fork, &outcome.keys, &mut left);
        }
        if let Some(note) = &wrong.note {
            let path = note_beside(&self.state, note);
            match whole::create(&path, note) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                    left.unwritten.push(unwritten("the checkpoint", &path, &error, note));
                }
                _ => left.note = Some(path),
            }
        }
        left
    }

    /// Writes evidence. What is there already and proves a fork of this log is as good, and is kept.
    fn leave_evidence(&self, fork: &Fork, keys: &LogKeys, left: &mut Left) {
        let path = self.evidence_path();
        let there = read(&path).ok().and_then(|there| proves(&there, keys));
        let written = match there {
            Some(_) => Ok(()),
            None => whole::replace(&path, &fork.to_bytes()),
        };
        if let Some(signed) = there.or_else(|| fork.verify(keys).ok()) {
            let signs = |key: &&VerifierKey| signed.iter().any(|signed| signed.key == **key);
            left.keys = keys.all().iter().filter(signs).cloned().collect();
        }
        match written {
            Ok(()) => left.evidence = Some(path),
            Err(error) => {
                left.unwritten.push(unwritten("what proves the fork", &path, &error, &fork.to_bytes()));
            }
        }
    }
}

/// A file that should have been written, for people to copy.
fn unwritten(what: &str, path: &Path, error: &std::io::Error, bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    format!("tokenledger: {what} can't be written to {}: {error}; keep this:\n{text}", path.display())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a file has the form of evidence, and is about the log of these keys.
fn is_against(file: &[u8], keys: &LogKeys) -> bool {
    let about = |note: &[u8]| Checkpoint::unverified(note).is_ok_and(|says| says.origin == keys.origin());
    Fork::parse(file).is_ok_and(|fork| about(&fork.smaller) && about(&fork.larger))
}

fn proves(file: &[u8], keys: &LogKeys) -> Option<[Signed; 2]> {
    Fork::parse(file).and_then(|fork| fork.verify(keys)).ok()
}

impl Verdict {
    fn new(global: &Global, outcome: &Outcome, left: &Left) -> Self {
        let shown = |path: &PathBuf| path.display().to_string();
        Self {
            ok: outcome.wrong.is_none(),
            ledger: global.ledger.to_string(),
            from: outcome.from,
            to: outcome.to,
            entries: outcome.entries,
            root: outcome.root.map(hex::encode),
            evidence: left.evidence.as_ref().map(shown),
            reason: outcome.wrong.as_ref().map(|wrong| wrong.reason.clone()),
            position: outcome.wrong.as_ref().and_then(|wrong| wrong.position),
            origin: outcome.keys.origin().to_owned(),
            keys: left.keys.iter().map(ToString::to_string).collect(),
            checkpoint: left.note.as_ref().map(shown),
        }
    }

    fn told(&self) -> String {
        match &self.reason {
            None => format!(
                "{} new, {} in all: every one is what {} signed",
                counted(self.entries, "entry"),
                self.to,
                self.origin
            ),
            Some(reason) => format!("NOT what it should be: {reason}"),
        }
    }
}

impl Shown for Verdict {
    const FIELDS: &'static [&'static str] = &[
        "ok",
        "ledger",
        "from",
        "to",
        "entries",
        "root",
        "evidence",
        "reason",
        "position",
        "origin",
        "keys",
        "checkpoint",
    ];
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
        let mut page = vec![Section::line(self.told())];
        if let Some(path) = &self.evidence {
            let keys: String = self.keys.iter().map(|key| format!(" --key {}", quoted(key))).collect();
            let check = format!("tokenledger proof verify {}{keys}", quoted(path));
            page.push(Section::line(format!("what proves it to others: {path}")));
            page.push(Section::line(format!("to check it: {check}")));
        }
        if let Some(path) = &self.checkpoint {
            page.push(Section::line(format!("the checkpoint that it showed is kept: {path}")));
        }
        page.push(Section::facts(&self.signers()));
        page
    }
}

impl Verdict {
    fn signers(&self) -> Vec<(&'static str, String)> {
        let names = std::iter::once("signed by").chain(std::iter::repeat("and by"));
        names.zip(self.keys.iter().cloned()).collect()
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
