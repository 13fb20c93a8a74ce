//! The file of a private key: one line, and nobody but its owner may read it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use ledger::checkpoint::cosignature::CosignerSecret;
use ledger::checkpoint::{CheckpointError, Prefix, PrivateKey};

/// The bits of a file's mode that let anybody but its owner in.
const OTHERS: u32 = 0o077;
/// No key's line is longer.
const LINE_BYTES_MAX: u64 = 512;

/// Why there is no key. None of it repeats what the file holds.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file can't be read or made.
    #[error("the key's file {0}: {1}")]
    Io(String, #[source] io::Error),
    /// A key is there already.
    #[error("{0} exists already; a key is never overwritten: give another file, or move that one away")]
    Exists(String),
    /// Others can read it.
    #[error(
        "others than its owner may read or write the key's file {path} (mode {mode:03o}); run `chmod 600 {path}`, and think about a new key"
    )]
    Mode {
        /// The file.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// It holds no key.
    #[error("the key's file {0}: {1}")]
    Key(String, #[source] CheckpointError),
    /// The system gave no random bytes.
    #[error("the system gives no random bytes: {0}")]
    Random(getrandom::Error),
}

/// Makes a new key, and the file that holds it; both are durable then.
///
/// # Errors
/// See [`KeyFileError`].
pub fn generate(prefix: Prefix, path: &Path) -> Result<PrivateKey, KeyFileError> {
    let key = PrivateKey::new(prefix, &seed()?);
    make(path, &key.to_secret_line())?;
    Ok(key)
}

/// Makes a new key of a witness, and the file that holds it; both are durable then.
///
/// # Errors
/// See [`KeyFileError`].
pub fn generate_cosigner(name: Prefix, path: &Path) -> Result<CosignerSecret, KeyFileError> {
    let key = CosignerSecret::new(name, &seed()?);
    make(path, &key.to_secret_line())?;
    Ok(key)
}

fn seed() -> Result<[u8; 32], KeyFileError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(KeyFileError::Random)?;
    Ok(seed)
}

fn make(path: &Path, line: &str) -> Result<(), KeyFileError> {
    let shown = path.display().to_string();
    let made = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{line}")?;
        file.sync_all()?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir)?.sync_all()
    };
    match made() {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(KeyFileError::Exists(shown)),
        Err(error) => Err(KeyFileError::Io(shown, error)),
    }
}

/// Reads a key.
///
/// # Errors
/// See [`KeyFileError`]; also where others than the file's owner may read it.
pub fn read(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let line = line(path)?;
    PrivateKey::from_secret_line(&line).map_err(|error| KeyFileError::Key(path.display().to_string(), error))
}

/// Reads the key of a witness.
///
/// # Errors
/// See [`KeyFileError`]; also where others than the file's owner may read it.
pub fn read_cosigner(path: &Path) -> Result<CosignerSecret, KeyFileError> {
    let line = line(path)?;
    CosignerSecret::from_secret_line(&line)
        .map_err(|error| KeyFileError::Key(path.display().to_string(), error))
}

fn line(path: &Path) -> Result<String, KeyFileError> {
    let shown = path.display().to_string();
    let failed = |error| KeyFileError::Io(shown.clone(), error);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyFileError::Mode { path: shown, mode });
    }
    let mut text = String::new();
    file.take(LINE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file_which_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = generate("ledger.example.org".parse().unwrap(), &path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().to_secret_line(), key.to_secret_line());
        let other = generate("ledger.example.org".parse().unwrap(), &dir.path().join("other")).unwrap();
        assert_ne!(other.to_secret_line(), key.to_secret_line());
        assert!(matches!(generate("x".parse().unwrap(), &path), Err(KeyFileError::Exists(_))));
        assert_eq!(read(&path).unwrap().to_secret_line(), key.to_secret_line(), "it was not overwritten");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_key_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let secret = generate("ledger.example.org".parse().unwrap(), &path).unwrap().to_secret_line();
        for mode in [0o640, 0o604, 0o620, 0o601, 0o666] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            let refused = read(&path).unwrap_err().to_string();
            assert!(
                refused.contains(&format!("mode {mode:03o}")) && refused.contains("chmod 600"),
                "{refused}"
            );
        }
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o400)).unwrap();
        assert!(read(&path).is_ok());
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        for bad in [&secret[..secret.len() - 2], &format!("{secret}\n\n"), &format!(" {secret}"), "", "\u{0}"]
        {
            std::fs::write(&path, bad).unwrap();
            let refused = read(&path).unwrap_err().to_string();
            assert!(refused.contains("this is no private key"), "{refused}");
            assert!(!refused.contains(&secret[40..60]), "{refused}");
        }
        assert!(matches!(read(&dir.path().join("none")), Err(KeyFileError::Io(..))));
    }
}
