//! `key`: the private key that signs checkpoints, and the public keys that others check them by.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use ledger::checkpoint::Prefix;
use serde::Serialize;

use super::Global;
use super::exit::{Exit, Failure, say};
use super::print::{Printer, Shown};
use crate::keyfile;

/// Keys that sign checkpoints, and those that check them
#[derive(Debug, Args)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Generate(Generate),
    Show(Show),
}

/// Makes a private key
///
/// Prints the public key by which others check the checkpoints of the ledger `--ledger`. The private one goes into a file
/// that only its owner may read. Keep it out of the data directory, and a copy of it in another place: `docs/keys.md`.
#[derive(Debug, Args)]
struct Generate {
    /// What the names of the logs that it signs begin with, like a domain that you own
    #[arg(long, value_name = "PREFIX", default_value = "tokenledger.local")]
    origin: Prefix,
    /// The file to make; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Prints the public key of a ledger, in one line: what others check its checkpoints by
#[derive(Debug, Args)]
struct Show {
    /// The private key's file
    file: PathBuf,
}

/// A public key, and what it is the key of.
#[derive(Debug, Serialize)]
struct PublicKey {
    ledger: String,
    origin: String,
    key: String,
}

impl Shown for PublicKey {
    const FIELDS: &'static [&'static str] = &["ledger", "origin", "key"];
    const COLUMNS: &'static [&'static str] = &["key"];
    fn row(&self) -> Vec<String> {
        vec![self.key.clone()]
    }
}

impl Keys {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the file cannot be made or read, or holds no key.
    pub fn run(&self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let key = match &self.command {
            Command::Generate(generate) => {
                let key =
                    keyfile::generate(generate.origin.clone(), &generate.out).map_err(Failure::because)?;
                say(&format!(
                    "the private key is in {}; nobody can make it anew, so keep a copy in a safe place",
                    generate.out.display()
                ));
                key
            }
            Command::Show(show) => keyfile::read(&show.file).map_err(Failure::because)?,
        };
        let verifier = key.verifier(&global.ledger);
        let shown = PublicKey {
            ledger: global.ledger.to_string(),
            origin: verifier.name().to_owned(),
            key: verifier.to_string(),
        };
        if printer.is_for_people() {
            // One line and no frame: it is copied, or taken by a script.
            printer.text(&shown.key)?;
        } else {
            printer.one(&shown)?;
        }
        Ok(Exit::Done)
    }
}
