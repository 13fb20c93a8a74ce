//! What whoever verifies knows of the ledgers beside their files: keys, anchors, checkpoints.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use ledger::anchor::{ANCHORS_BYTES_MAX, Anchors, Known};
use ledger::verify::{Evidence, Source};

use super::exit::Failure;
use super::vkeys::keys_of;

/// No file with a checkpoint is longer, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where the evidence is.
#[derive(Debug, Default, Args)]
pub struct Given {
    /// A public key that signs a ledger's checkpoints (`tokenledger key show`), or a file with such lines; may be given
    /// several times
    #[arg(long = "key", value_name = "VKEY")]
    pub keys: Vec<String>,
    /// A file of anchors, as `serve --anchor` keeps it; may be given several times
    #[arg(long = "anchor", value_name = "FILE")]
    pub anchors: Vec<PathBuf>,
    /// A file with a signed checkpoint that its ledger must go on from; may be given several times
    #[arg(long = "expect-checkpoint", value_name = "FILE")]
    pub checkpoints: Vec<PathBuf>,
}

impl Given {
    /// Reads it.
    ///
    /// # Errors
    /// Where a file cannot be read, or holds something else.
    pub fn read(&self) -> Result<Evidence, Failure> {
        let mut evidence = Evidence::default();
        for value in &self.keys {
            for key in keys_of(value)? {
                let name = key.name().to_owned();
                named(evidence.key(key), &name, "the key")?;
            }
        }
        for path in &self.anchors {
            let file = bytes(path, ANCHORS_BYTES_MAX)?;
            let anchors = Anchors::parse(&file).map_err(|error| malformed(path, &error))?;
            for (_, known) in anchors.iter() {
                named(
                    evidence.checkpoint(Source::Anchor, known.clone()),
                    &known.checkpoint.origin,
                    "the anchor",
                )?;
            }
        }
        for path in &self.checkpoints {
            let known =
                Known::read(&bytes(path, FILE_BYTES_MAX)?).map_err(|error| malformed(path, &error))?;
            let origin = known.checkpoint.origin.clone();
            named(evidence.checkpoint(Source::Given, known), &origin, "the checkpoint")?;
        }
        Ok(evidence)
    }
}

fn named(ours: bool, origin: &str, what: &str) -> Result<(), Failure> {
    let why = || format!("{what} is that of {origin}, and no ledger has such a name");
    if ours { Ok(()) } else { Err(Failure::Failed(why())) }
}

fn bytes(path: &Path, most: u64) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(most + 1).read_to_end(&mut bytes));
    match read {
        Ok(read) if read as u64 > most => {
            Err(Failure::at(path, &io::Error::other(format!("it has more than {most} bytes"))))
        }
        Ok(_) => Ok(bytes),
        Err(error) => Err(Failure::at(path, &error)),
    }
}

fn malformed(path: &Path, why: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use ledger::checkpoint::{LocalSigner, PrivateKey, Signer};
    use ledger::tree::TreeHead;
    use ledger::types::LedgerName;

    use super::*;

    fn private() -> PrivateKey {
        PrivateKey::new("ledger.example.org".parse().unwrap(), &[7; 32])
    }

    fn ledger() -> LedgerName {
        "default".parse().unwrap()
    }

    fn note() -> Vec<u8> {
        let tree = TreeHead { size: 3, root: [1; 32] };
        LocalSigner::new(&private(), &ledger(), None).sign(tree, &[]).unwrap()
    }

    fn read(given: Given) -> Result<Evidence, String> {
        given.read().map_err(|failure| failure.to_string())
    }

    #[test]
    fn keys_of_several_ledgers_are_taken_and_private_ones_are_not() {
        let given = |keys: &[String]| read(Given { keys: keys.to_vec(), ..Given::default() });
        let other = private().verifier(&"other".parse().unwrap()).to_string();
        assert!(given(&[private().verifier(&ledger()).to_string(), other]).is_ok());
        let secret = private().to_secret_line();
        let refused = given(std::slice::from_ref(&secret)).err().unwrap();
        assert!(refused.contains("private") && !refused.contains(&secret[40..60]), "{refused}");
        let deployment = private().deployment().to_string();
        assert!(given(&[deployment]).err().unwrap().contains("no ledger has such a name"));
    }

    #[test]
    fn anchors_and_checkpoints_are_read_and_what_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let anchor = || read(Given { anchors: vec![path.clone()], ..Given::default() });
        let checkpoint = || read(Given { checkpoints: vec![path.clone()], ..Given::default() });
        std::fs::write(&path, note()).unwrap();
        assert!(checkpoint().is_ok());
        assert!(anchor().unwrap_err().contains("line 1"));
        let mut anchors = Anchors::default();
        anchors.put(ledger(), Known::read(&note()).unwrap());
        std::fs::write(&path, anchors.to_bytes()).unwrap();
        assert!(anchor().is_ok());
        assert!(checkpoint().unwrap_err().contains("no signed checkpoint"));
        std::fs::write(&path, vec![b'a'; 100_000]).unwrap();
        assert!(checkpoint().unwrap_err().contains("more than 65536 bytes"));
    }
}
