//! Receipts of what was recorded: proofs of the events that were sent, and of nothing else, as files.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use ledger::checkpoint::LogKeys;
use ledger::entry;
use ledger::event::{encode_sent, parse, stored, was_sent};
use ledger::proof::{FILE_BYTES_MAX, Proof, Proven};

use crate::cli::Global;
use crate::cli::connect::Server;
use crate::cli::exit::{Exit, Failure, say};
use crate::cli::print::{Printer, counted};
use crate::cli::{proof, vkeys};
use crate::whole;
use crate::wire::pb;
use crate::wire::pb::prove_inclusion_request::Which;

/// How many of those that can't be had are told one by one.
const TOLD_MAX: u64 = 10;

/// Fetches receipts into a directory. One that can't be had stops nothing: its event is recorded all the same.
pub(super) struct Receipts {
    dir: PathBuf,
    keys: Option<LogKeys>,
    /// One that was written or was there, to name in a hint.
    last: Option<PathBuf>,
    missing: u64,
    /// Whether the server gave something that is none.
    lied_to: bool,
}

/// Why there is no receipt.
enum Missing {
    /// It can't be fetched or written.
    Failed(String),
    /// What the server gave is none.
    False(String),
}

impl Receipts {
    /// Into a directory, which is made if it is not there.
    ///
    /// # Errors
    /// Where it can't be made, or what was given is no key of the ledger.
    pub(super) fn into(dir: &Path, keys: &[String], global: &Global) -> Result<Self, Failure> {
        let keys = (!keys.is_empty()).then(|| vkeys::keys_of_ledger(keys, &global.ledger)).transpose()?;
        std::fs::create_dir_all(dir).map_err(|error| Failure::at(dir, &error))?;
        Ok(Self { dir: dir.to_owned(), keys, last: None, missing: 0, lied_to: false })
    }

    /// Fetches the receipt of an event that was recorded.
    pub(super) async fn fetch(&mut self, server: &Server, event: &pb::Event, receipt: &pb::Receipt) {
        let why = match self.try_fetch(server, event, receipt).await {
            Ok(path) => {
                self.last = Some(path);
                return;
            }
            Err(Missing::Failed(why)) => why,
            Err(Missing::False(why)) => {
                self.lied_to = true;
                format!("what the server gave is none: {why}")
            }
        };
        self.missing += 1;
        if self.missing <= TOLD_MAX {
            say(&format!("tokenledger: no receipt of the event {}: {why}", event.event_id));
        }
    }

    async fn try_fetch(
        &self,
        server: &Server,
        event: &pb::Event,
        receipt: &pb::Receipt,
    ) -> Result<PathBuf, Missing> {
        let key = pb::ProvenKey { emitter: event.emitter.clone(), event_id: event.event_id.clone() };
        let proven = proof::proven(server, Which::Key(key), self.keys.as_ref()).await;
        let (proof, proven) =
            proven.map_err(|failure| Missing::Failed(failure.to_string()))?.map_err(Missing::False)?;
        is_of(event, receipt, &proof, &proven).map_err(|why| Missing::False(why.to_owned()))?;
        let path = self.dir.join(format!("{}.tlog-proof", proof.position));
        match whole::create(&path, &proof.to_bytes()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => self.is_as_good(&path, &proof)?,
            Err(error) => return Err(Missing::Failed(format!("{}: {error}", path.display()))),
            Ok(()) => {}
        }
        Ok(path)
    }

    /// Whether a file that is there already proves the same entry.
    fn is_as_good(&self, path: &Path, proof: &Proof) -> Result<(), Missing> {
        let mut there = Vec::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(FILE_BYTES_MAX as u64).read_to_end(&mut there));
        let why = match read {
            Err(error) => error.to_string(),
            Ok(_) => match proof::holds(&there, self.keys.as_ref()) {
                Ok(other) if other.entry == proof.entry => return Ok(()),
                Ok(_) => "it is there already, and is the receipt of another event".to_owned(),
                Err(why) => format!("it is there already, and {why}"),
            },
        };
        Err(Missing::Failed(format!("{}: {why}", path.display())))
    }

    /// Says what is missing, and how it ended.
    pub(super) fn end(self, printer: &Printer) -> Exit {
        if let Some(file) = self.last.filter(|_| self.keys.is_none()) {
            let file = file.display();
            printer.hint(&format!(
                "whose signatures these are was not checked: give --key KEY, or `tokenledger proof verify {file} --key KEY`"
            ));
        }
        if self.missing > 0 {
            let missing = counted(self.missing, "receipt");
            say(&format!(
                "tokenledger: the events are recorded, but {missing} could not be had; the same again asks anew"
            ));
        }
        match (self.lied_to, self.missing) {
            (true, _) => Exit::Unverified,
            (false, 0) => Exit::Done,
            (false, _) => Exit::Failed,
        }
    }
}

/// Whether what is proved is the event that was sent, where and as the server answered that it recorded it.
fn is_of(
    event: &pb::Event,
    receipt: &pb::Receipt,
    proof: &Proof,
    proven: &Proven,
) -> Result<(), &'static str> {
    if proof.position != receipt.position || entry::link(&proof.entry).0[..] != receipt.link[..] {
        return Err(
            "the event stands elsewhere, or has another link, than was answered when it was recorded",
        );
    }
    let sent = parse(event).map_err(|_| "the event that was sent can't be read")?;
    let is_sent =
        was_sent(&proven.event, &encode_sent(&sent)) && stored(&proven.header, &proven.event).event == sent;
    if is_sent {
        Ok(())
    } else {
        Err("the event that is recorded says something else than the one that was sent")
    }
}

#[cfg(test)]
#[path = "receipts_tests.rs"]
mod tests;
