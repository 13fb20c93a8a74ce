//! `key`: the private key that signs checkpoints, and the public keys that others check them by.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ledger::checkpoint::cosignature::CosignerSecret;
use ledger::checkpoint::{Prefix, PrivateKey};
use ledger::types::LedgerName;
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
    Rotate(Rotate),
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
    /// Make the key of a witness instead (`tokenledger witness`), whose name is what --origin says, in full
    #[arg(long, requires = "origin")]
    witness: bool,
}

/// Makes a private key that follows another
///
/// The new file also holds a statement, signed by both keys, that the new one follows the old one. A server that is
/// started with it records that statement in each of its ledgers before it signs with the new key, so that whoever trusts
/// the old key can go on with the new one. Prints the new public key of the ledger `--ledger`.
#[derive(Debug, Args)]
struct Rotate {
    /// The old private key's file
    file: PathBuf,
    /// The file to make; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Prints the public key of a ledger, in one line: what others check its checkpoints by
///
/// Of a witness' key: the one by which its cosignatures are checked, whatever the ledger.
#[derive(Debug, Args)]
struct Show {
    /// The private key's file
    file: PathBuf,
}

/// A public key, and what it is the key of.
#[derive(Debug, Serialize)]
struct PublicKey {
    /// None: it is the key of a witness.
    ledger: Option<String>,
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
            Command::Generate(generate) => generate.run()?,
            Command::Rotate(Rotate { file, out }) => {
                let old = keyfile::read(file).map_err(Failure::because)?;
                let made = keyfile::rotate(old, out).map_err(Failure::because)?;
                say(&kept_in(out));
                say(&format!(
                    "start the server with `--key {}`, tell those who check the log, and keep the old key no longer than that takes",
                    out.display()
                ));
                Key::Log(made.key)
            }
            Command::Show(show) => match keyfile::read(&show.file) {
                Ok(file) => Key::Log(file.key),
                Err(error) => {
                    Key::Witness(keyfile::read_cosigner(&show.file).map_err(|_| Failure::because(error))?)
                }
            },
        };
        let shown = key.shown(&global.ledger);
        if printer.is_for_people() {
            // One line and no frame: it is copied, or taken by a script.
            printer.text(&shown.key)?;
        } else {
            printer.one(&shown)?;
        }
        Ok(Exit::Done)
    }
}

impl Generate {
    fn run(&self) -> Result<Key, Failure> {
        let (origin, out) = (self.origin.clone(), self.out.as_path());
        let key = match self.witness {
            true => keyfile::generate_cosigner(origin, out).map(Key::Witness),
            false => keyfile::generate(origin, out).map(|made| Key::Log(made.key)),
        };
        let key = key.map_err(Failure::because)?;
        say(&kept_in(out));
        Ok(key)
    }
}

/// A key of either kind.
enum Key {
    Log(PrivateKey),
    Witness(CosignerSecret),
}

impl Key {
    fn shown(&self, ledger: &LedgerName) -> PublicKey {
        match self {
            Self::Log(key) => {
                let key = key.verifier(ledger);
                PublicKey {
                    ledger: Some(ledger.to_string()),
                    origin: key.name().to_owned(),
                    key: key.to_string(),
                }
            }
            Self::Witness(key) => {
                let key = key.public();
                PublicKey { ledger: None, origin: key.name().to_owned(), key: key.to_string() }
            }
        }
    }
}

fn kept_in(path: &Path) -> String {
    format!(
        "the private key is in {}; nobody can make it anew, so keep a copy in a safe place",
        path.display()
    )
}
