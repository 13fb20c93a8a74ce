//! What whoever verifies knows of the ledgers beside their files: keys, anchors, checkpoints.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use ledger::anchor::{ANCHORS_BYTES_MAX, Anchors, Known};
use ledger::checkpoint::VerifierKey;
use ledger::verify::{Evidence, Source};

use super::exit::Failure;

/// No file with keys or a checkpoint is longer, in bytes.
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
            for key in keys(value)? {
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

/// A key's line, or the lines of a file. A private key that was given by mistake is not repeated.
fn keys(value: &str) -> Result<Vec<VerifierKey>, Failure> {
    if let Ok(key) = value.parse() {
        return Ok(vec![key]);
    }
    let text = match value.starts_with("PRIVATE+KEY+") {
        true => value.to_owned(),
        false => String::from_utf8_lossy(&bytes(Path::new(value), FILE_BYTES_MAX)?).into_owned(),
    };
    if text.contains("PRIVATE+KEY+") {
        let why =
            "--key takes a public key (`tokenledger key show FILE` prints it), and this is a private one";
        return Err(Failure::Usage(why.to_owned()));
    }
    let keys: Result<Vec<VerifierKey>, _> =
        text.lines().filter(|line| !line.is_empty()).map(str::parse).collect();
    match keys {
        Ok(keys) if !keys.is_empty() => Ok(keys),
        Ok(_) => Err(Failure::Failed(format!("{value}: the file has no key"))),
        Err(error) => Err(malformed(Path::new(value), &error)),
    }
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
        LocalSigner::new(&private(), &ledger(), None).sign(tree).unwrap()
    }

    fn read(given: Given) -> Result<Evidence, String> {
        given.read().map_err(|failure| failure.to_string())
    }

    #[test]
    fn keys_are_lines_or_files_of_lines_and_never_private_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys").display().to_string();
        let line = private().verifier(&ledger()).to_string();
        let given = |value: &str| read(Given { keys: vec![value.to_owned()], ..Given::default() });
        assert!(given(&line).is_ok());
        std::fs::write(&path, format!("{line}\n{line}\n")).unwrap();
        assert!(given(&path).is_ok());
        let secret = private().to_secret_line();
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        for value in [&path, &secret] {
            let refused = given(value).unwrap_err();
            assert!(refused.contains("private") && !refused.contains(&secret[40..60]), "{refused}");
        }
        for other in ["", "\n", "x+00000000+AAAA\n", "\u{0}"] {
            std::fs::write(&path, other).unwrap();
            assert!(given(&path).unwrap_err().contains(&path), "{other:?}");
        }
        assert!(given("nowhere").unwrap_err().contains("nowhere"));
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
