//! The public keys that a command checks by: `--key`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ledger::checkpoint::{LogKeys, VerifierKey};
use ledger::types::LedgerName;

use super::exit::Failure;
use crate::audit::is_of;

/// The longest file with keys, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
const PRIVATE: &str = "PRIVATE+KEY+";

/// The keys that were given, each as its line or as a file that has some, one a line: the keys of one log, the oldest
/// first.
///
/// # Errors
/// Where one of them is none, or they are of several logs. A private key that was given by mistake is not repeated.
pub fn keys(given: &[String]) -> Result<LogKeys, Failure> {
    let mut all: Vec<VerifierKey> = Vec::new();
    for value in given {
        for key in keys_of(value)? {
            if !all.contains(&key) {
                all.push(key);
            }
        }
    }
    LogKeys::new(all).map_err(|error| Failure::Usage(format!("--key: {error}")))
}

/// The same, where they must be those of a ledger.
///
/// # Errors
/// As [`keys`], and where they are of another ledger.
pub fn keys_of_ledger(given: &[String], ledger: &LedgerName) -> Result<LogKeys, Failure> {
    let keys = keys(given)?;
    match is_of(&keys, ledger) {
        Ok(()) => Ok(keys),
        Err(_) => Err(Failure::Usage(format!(
            "the key is that of the log {}, which is not that of the ledger {ledger}: name its ledger with --ledger",
            keys.origin()
        ))),
    }
}

/// The keys that one value of `--key` gives: its line, or those of a file.
///
/// # Errors
/// As [`keys`].
pub fn keys_of(value: &str) -> Result<Vec<VerifierKey>, Failure> {
    if let Ok(key) = value.parse() {
        return Ok(vec![key]);
    }
    let private =
        "--key takes the public key (`tokenledger key show FILE` prints it), and this is a private one";
    if value.starts_with(PRIVATE) {
        return Err(Failure::Usage(private.to_owned()));
    }
    let text = read(Path::new(value))?;
    if text.lines().any(|line| line.starts_with(PRIVATE)) {
        return Err(Failure::Usage(private.to_owned()));
    }
    let lines = text.lines().filter(|line| !line.is_empty());
    let keys: Result<Vec<VerifierKey>, _> = lines.map(str::parse).collect();
    match keys {
        Ok(keys) if !keys.is_empty() => Ok(keys),
        Ok(_) => Err(Failure::Usage(format!("--key: the file {value} has no key"))),
        Err(error) => Err(Failure::Usage(format!("--key: the file {value}: {error}"))),
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text));
    read.map(|_| text).map_err(|error| {
        let why = "is neither a verifier key (name+hash+base64) nor a file that has one";
        Failure::Usage(format!("--key: {} {why} ({error})", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use ledger::checkpoint::PrivateKey;

    use super::*;

    fn private(seed: u8) -> PrivateKey {
        PrivateKey::new("ledger.example.org".parse().unwrap(), &[seed; 32])
    }

    fn public(seed: u8) -> String {
        private(seed).verifier(&LedgerName::default()).to_string()
    }

    #[test]
    fn a_key_is_given_as_a_line_or_as_a_file_and_only_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("keys");
        std::fs::write(&file, format!("{}\n{}\n", public(1), public(2))).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let both = keys(&[file.clone(), public(1)]).unwrap();
        assert_eq!(both.all().len(), 2);
        assert_eq!(keys(&[public(1)]).unwrap().origin(), "ledger.example.org/default");
        assert!(keys_of_ledger(&[file], &LedgerName::default()).is_ok());
        let other = keys_of_ledger(&[public(1)], &"fault".parse().unwrap()).unwrap_err().to_string();
        assert!(other.contains("--ledger"), "{other}");
    }

    #[test]
    fn a_private_key_is_refused_and_never_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("key");
        let secret = private(1).to_secret_line();
        std::fs::write(&file, &secret).unwrap();
        for given in [secret.clone(), file.to_str().unwrap().to_owned()] {
            let refused = keys(&[given]).unwrap_err();
            assert!(matches!(refused, Failure::Usage(_)));
            assert!(!refused.to_string().contains(&secret[30..]), "{refused}");
        }
        for wrong in ["nowhere", "", "a+b+c"] {
            assert!(matches!(keys(&[wrong.to_owned()]), Err(Failure::Usage(_))));
        }
    }
}
