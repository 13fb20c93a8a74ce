//! The file of a private key, which nobody but its owner may read: one line, and behind it, for a key that followed
//! others, the statements by which it did, the oldest first.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use ledger::checkpoint::cosignature::CosignerSecret;
use ledger::checkpoint::{CheckpointError, Prefix, PrivateKey, Rotation};

/// The bits of a file's mode that let anybody but its owner in.
const OTHERS: u32 = 0o077;
/// No key's file is longer.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// The lines of a statement that a key follows another.
const ROTATION_LINES: usize = 7;

/// What a key's file holds.
#[derive(Debug)]
pub struct KeyFile {
    /// The key.
    pub key: PrivateKey,
    /// How it followed those before it, the oldest first.
    pub rotations: Vec<Rotation>,
}

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
pub fn generate(prefix: Prefix, path: &Path) -> Result<KeyFile, KeyFileError> {
    let file = KeyFile { key: new_key(prefix)?, rotations: Vec::new() };
    make(&file.text(), path)?;
    Ok(file)
}

/// Makes a new key of a witness, and the file that holds it; both are durable then.
///
/// # Errors
/// See [`KeyFileError`].
pub fn generate_cosigner(name: Prefix, path: &Path) -> Result<CosignerSecret, KeyFileError> {
    let key = CosignerSecret::new(name, &seed()?);
    make(&format!("{}\n", key.to_secret_line()), path)?;
    Ok(key)
}

/// Makes a new key that follows another, and the file that holds it.
///
/// # Errors
/// See [`KeyFileError`].
pub fn rotate(old: KeyFile, path: &Path) -> Result<KeyFile, KeyFileError> {
    let KeyFile { key: old, mut rotations } = old;
    let key = new_key(old.prefix().clone())?;
    let rotation = Rotation::sign(&old, &key);
    rotations.push(rotation.map_err(|error| KeyFileError::Key(path.display().to_string(), error))?);
    let file = KeyFile { key, rotations };
    make(&file.text(), path)?;
    Ok(file)
}

fn new_key(prefix: Prefix) -> Result<PrivateKey, KeyFileError> {
    Ok(PrivateKey::new(prefix, &seed()?))
}

fn seed() -> Result<[u8; 32], KeyFileError> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(KeyFileError::Random)?;
    Ok(seed)
}

impl KeyFile {
    fn text(&self) -> String {
        let rotations: String = self.rotations.iter().map(Rotation::note).collect();
        format!("{}\n{rotations}", self.key.to_secret_line())
    }
}

fn make(text: &str, path: &Path) -> Result<(), KeyFileError> {
    let shown = path.display().to_string();
    let made = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
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
pub fn read(path: &Path) -> Result<KeyFile, KeyFileError> {
    parse(&text(path)?).map_err(|error| KeyFileError::Key(path.display().to_string(), error))
}

/// Reads the key of a witness.
///
/// # Errors
/// See [`KeyFileError`]; also where others than the file's owner may read it.
pub fn read_cosigner(path: &Path) -> Result<CosignerSecret, KeyFileError> {
    let text = text(path)?;
    CosignerSecret::from_secret_line(text.strip_suffix('\n').unwrap_or(&text))
        .map_err(|error| KeyFileError::Key(path.display().to_string(), error))
}

fn text(path: &Path) -> Result<String, KeyFileError> {
    let shown = path.display().to_string();
    let failed = |error| KeyFileError::Io(shown.clone(), error);
    let file = File::open(path).map_err(failed)?;
    let mode = file.metadata().map_err(failed)?.mode() & 0o777;
    if mode & OTHERS != 0 {
        return Err(KeyFileError::Mode { path: shown, mode });
    }
    let mut text = String::new();
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

fn parse(text: &str) -> Result<KeyFile, CheckpointError> {
    let (line, rest) = text.split_once('\n').unwrap_or((text, ""));
    let key = PrivateKey::from_secret_line(line)?;
    let lines: Vec<&str> = rest.split_inclusive('\n').collect();
    let rotations = lines.chunks(ROTATION_LINES).map(|note| Rotation::parse(&note.concat()));
    let rotations = rotations.collect::<Result<Vec<_>, _>>()?;
    let each_follows = rotations.windows(2).all(|pair| matches!(pair, [a, b] if a.new_key() == b.old()));
    let last_is_this = rotations.last().is_none_or(|last| *last.new_key() == key.deployment());
    if each_follows && last_is_this {
        return Ok(KeyFile { key, rotations });
    }
    Err(CheckpointError::Rotation("the statements behind the key do not lead to it"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_comes_back_from_its_file_which_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let key = generate("ledger.example.org".parse().unwrap(), &path).unwrap().key;
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap().key.to_secret_line(), key.to_secret_line());
        let other = generate("ledger.example.org".parse().unwrap(), &dir.path().join("other")).unwrap().key;
        assert_ne!(other.to_secret_line(), key.to_secret_line());
        assert!(matches!(generate("x".parse().unwrap(), &path), Err(KeyFileError::Exists(_))));
        assert_eq!(read(&path).unwrap().key.to_secret_line(), key.to_secret_line(), "it was not overwritten");
    }

    #[test]
    fn a_file_that_others_may_read_or_that_holds_no_key_is_refused_without_showing_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let secret = generate("ledger.example.org".parse().unwrap(), &path).unwrap().key.to_secret_line();
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
            assert!(
                refused.contains("this is no private key") || refused.contains("no rotation"),
                "{refused}"
            );
            assert!(!refused.contains(&secret[40..60]), "{refused}");
        }
        assert!(matches!(read(&dir.path().join("none")), Err(KeyFileError::Io(..))));
    }

    #[test]
    fn a_key_carries_the_statements_by_which_it_followed_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = |n: u32| dir.path().join(format!("key-{n}"));
        generate("ledger.example.org".parse().unwrap(), &path(0)).unwrap();
        for n in 0..3 {
            let made = rotate(read(&path(n)).unwrap(), &path(n + 1)).unwrap();
            assert_eq!(std::fs::metadata(path(n + 1)).unwrap().mode() & 0o777, 0o600);
            let found = read(&path(n + 1)).unwrap();
            assert_eq!(found.rotations.len(), n as usize + 1);
            assert_eq!(found.rotations, made.rotations);
            assert_eq!(*found.rotations.last().unwrap().old(), read(&path(n)).unwrap().key.deployment());
        }
        let exists = rotate(read(&path(0)).unwrap(), &path(1));
        assert!(matches!(exists, Err(KeyFileError::Exists(_))));
        let text = std::fs::read_to_string(path(3)).unwrap();
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let without = |range: std::ops::Range<usize>| {
            let mut less = lines.clone();
            less.drain(range);
            parse(&less.concat())
        };
        assert_eq!(without(1..8).unwrap().rotations.len(), 2, "the oldest may be forgotten");
        assert!(without(8..15).is_err(), "one in between may not");
        assert!(without(15..22).is_err(), "the last one may not");
        assert!(without(9..10).is_err());
    }
}
