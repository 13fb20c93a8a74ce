//! `proof`: files that prove what stands in a ledger to whoever has its public key.

mod consistency;
mod fetch;
mod shown;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ledger::checkpoint::LogKeys;
use ledger::types::Emitter;
use uuid::Uuid;

use super::Global;
use super::connect::Server;
use super::exit::{Exit, Failure};
use super::print::Printer;
use super::vkeys;
use crate::whole;

use fetch::Checked;
pub use fetch::{holds, proven};
pub use shown::Proved;

/// Files that prove what stands in a ledger, to people who trust nobody
#[derive(Debug, Args)]
pub struct Proofs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Get(Get),
    Sequence(Sequence),
    Consistency(Consistency),
    Verify(Verify),
}

/// Fetches the proof that the ledger has an event, as one file
///
/// The file holds the event's entry, a checkpoint that covers it, and what leads from one to the other: it needs nothing
/// else to be checked but the ledger's public key, which `tokenledger key show` prints where the private one is. It has the
/// form of C2SP's tlog-proof.
#[derive(Debug, Args)]
struct Get {
    /// The event's id
    #[arg(long, value_name = "ID", required_unless_present = "position", conflicts_with = "position")]
    event: Option<Uuid>,
    /// Who sent the event; needed only where several did that used the same id
    #[arg(long, value_name = "NAME", requires = "event")]
    emitter: Option<Emitter>,
    /// The event's position, instead of its id
    #[arg(long, value_name = "N")]
    position: Option<u64>,
    #[command(flatten)]
    into: Destination,
}

/// Fetches the proof that no event of an emitter is missing between two of its numbers, as one file
///
/// Emitters may count their events. The file holds each of these events with its proof, all under one checkpoint.
#[derive(Debug, Args)]
struct Sequence {
    /// Who sent the events
    #[arg(long, value_name = "NAME")]
    emitter: Emitter,
    /// The first number
    #[arg(long, value_name = "N")]
    from: u64,
    /// The last number, which is proved as well; at most 10,000 in all
    #[arg(long, value_name = "N")]
    to: u64,
    #[command(flatten)]
    into: Destination,
}

/// Fetches the proof that a log went on from one checkpoint to another, as one file
///
/// That nothing which the first one covers was changed, taken away or put in until the second one. The file holds both of
/// them, and needs nothing else to be checked but the ledger's public key.
#[derive(Debug, Args)]
struct Consistency {
    /// The file with the first checkpoint: a signed note, or a proof of an event that holds it
    #[arg(long, value_name = "FILE")]
    from: PathBuf,
    /// The file with the second one, which has more entries; without it, the server's newest
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    into: Destination,
}

/// Where a proof goes.
#[derive(Debug, Args)]
struct Destination {
    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it is there
    #[arg(long)]
    overwrite: bool,
    /// The ledger's public key, or a file that has it: to check the signature at once as well
    #[arg(long, value_name = "KEY")]
    key: Vec<String>,
}

/// Checks a file that proves something, without asking anybody
///
/// Takes proofs of an event, of a sequence of events, that a log went on, and evidence that it has forked. Exit code 3 where the file proves
/// nothing.
#[derive(Debug, Args)]
struct Verify {
    /// The file
    file: PathBuf,
    /// The ledger's public key, or a file that has it; several times where the key was changed, the oldest first
    #[arg(long, value_name = "KEY", required = true)]
    key: Vec<String>,
}

impl Proofs {
    /// Carries it out.
    ///
    /// # Errors
    /// Where a file or the server cannot be read; that a file proves nothing is no error, but the answer.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        match self.command {
            Command::Get(get) => get.run(global, printer).await,
            Command::Sequence(sequence) => sequence.run(global, printer).await,
            Command::Consistency(consistency) => consistency.run(global, printer).await,
            Command::Verify(verify) => verify.run(printer),
        }
    }
}

impl Get {
    async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let keys = self.into.prepare(global)?;
        let server = Server::reach(global).await?;
        let which = fetch::which(self.event, self.emitter.as_ref(), self.position);
        let checked = fetch::event(&server, which, keys.as_ref()).await?;
        self.into.finish(checked, keys.is_some(), printer)
    }
}

impl Sequence {
    async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let keys = self.into.prepare(global)?;
        let server = Server::reach(global).await?;
        let checked = fetch::sequence(&server, &self.emitter, self.from, self.to, keys.as_ref()).await?;
        self.into.finish(checked, keys.is_some(), printer)
    }
}

impl Consistency {
    async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let keys = self.into.prepare(global)?;
        let from = consistency::held(&self.from, keys.as_ref())?;
        let to = self.to.as_deref().map(|path| consistency::held(path, keys.as_ref())).transpose()?;
        let server = Server::reach(global).await?;
        let checked = consistency::proof(&server, from, to, keys.as_ref()).await?;
        self.into.finish(checked, keys.is_some(), printer)
    }
}

impl Destination {
    /// What can be said before the server is asked.
    fn prepare(&self, global: &Global) -> Result<Option<LogKeys>, Failure> {
        if !self.overwrite && self.out.exists() {
            return Err(self.exists());
        }
        let given = (!self.key.is_empty()).then(|| vkeys::keys_of_ledger(&self.key, &global.ledger));
        given.transpose()
    }

    fn exists(&self) -> Failure {
        let path = self.out.display();
        Failure::Failed(format!("{path} exists already: give another --out, or --overwrite to replace it"))
    }

    /// Writes what holds; of what does not, it says why.
    fn finish(&self, checked: Checked, signed: bool, printer: &mut Printer) -> Result<Exit, Failure> {
        let shown = match checked {
            Ok((bytes, proved)) => {
                self.write(&bytes)?;
                proved.of_file(&self.out)
            }
            Err(why) => Proved::nothing(&self.out, &why),
        };
        printer.one(&shown)?;
        if shown.ok && !signed {
            let file = self.out.display();
            printer.hint(&format!(
                "whose signature it is was not checked: `tokenledger proof verify {file} --key KEY`"
            ));
        }
        Ok(shown.exit())
    }

    fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match self.overwrite {
            true => whole::replace(&self.out, bytes),
            false => whole::create(&self.out, bytes),
        };
        written.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => self.exists(),
            _ => Failure::at(&self.out, &error),
        })
    }
}

impl Verify {
    fn run(&self, printer: &mut Printer) -> Result<Exit, Failure> {
        let keys = vkeys::keys(&self.key)?;
        let bytes = read(&self.file)?;
        let shown = match shown::proved(&bytes, &keys) {
            Ok(proved) => proved.of_file(&self.file),
            Err(why) => Proved::nothing(&self.file, &why),
        };
        printer.one(&shown)?;
        Ok(shown.exit())
    }
}

/// Reads a file that proves something; one that is too long for that is read as far as that shows.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(ledger::proof::FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
    read.map(|_| bytes).map_err(|error| Failure::at(path, &error))
}
