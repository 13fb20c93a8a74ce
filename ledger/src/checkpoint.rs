//! Checkpoints: what a ledger's tree is known by, signed, as a C2SP signed note (c2sp.org/tlog-checkpoint,
//! c2sp.org/signed-note). A log is identified by the key that signs it, under the name `PREFIX/LEDGER`.

mod alone;
pub mod cosignature;
mod line;
mod rotation;

use std::fmt;
use std::str::FromStr;

use base64::prelude::{BASE64_STANDARD, Engine};
use ed25519_dalek::{SigningKey, VerifyingKey};
use signed_note::{Note, NoteError, StandardVerifier, VerifierList};

use crate::tree::{Hash, SIZE_MAX, TreeHead, check_consistency};
use crate::types::LedgerName;

pub use alone::{LogKeys, Signed, without_cosignatures};
pub use rotation::Rotation;

/// The longest prefix of an origin.
const PREFIX_BYTES_MAX: usize = 190;
/// The type of an Ed25519 key, before its bytes, in the keys of signed notes.
const ED25519: u8 = 1;

/// Why something is no key, no checkpoint or no signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// A name that no log can have.
    #[error(
        "{0:?} can't be the name of a log or a witness: use 1 to 190 letters, digits, and any of `.-_/~:`, like a domain that you own"
    )]
    Prefix(String),
    /// A line that is no verifier key.
    #[error("this is no verifier key: it has the form `name+8 hex digits+base64`, in one line")]
    VerifierKey,
    /// A line that is no public key of a witness.
    #[error(
        "this is no public key of a witness: it has the form `name+8 hex digits+base64`, in one line, and its kind is 4"
    )]
    CosignerKey,
    /// A line that is no private key. It is not repeated here.
    #[error("this is no private key: it has the form `PRIVATE+KEY+name+8 hex digits+base64`, in one line")]
    PrivateKey,
    /// Bytes that are no signed note, or not the only ones that say the same.
    #[error("this is no signed checkpoint: {0}")]
    Malformed(&'static str),
    /// A note about another log.
    #[error("the checkpoint is that of {actual}, not of {expected}")]
    Origin {
        /// Which log is meant.
        expected: String,
        /// Which one it names.
        actual: String,
    },
    /// The key has not signed it.
    #[error("the checkpoint is not signed by the key {0}")]
    Unsigned(String),
    /// It has signature lines that the log's key says nothing about, or not the log's own.
    #[error("the checkpoint must have one signature line, that of its log: nobody checks the others here")]
    OtherSignatures,
    /// Nobody said by which key.
    #[error("no key was given to check the checkpoint by")]
    NoKeys,
    /// Two keys of which one does not follow the other.
    #[error("this is no rotation of a key: {0}")]
    Rotation(&'static str),
    /// It would contradict what was signed before.
    #[error("a checkpoint of {signed} entries was signed before; one of {asked}{other} would contradict it")]
    Contradicts {
        /// The size of the last one.
        signed: u64,
        /// The size that was to be signed.
        asked: u64,
        /// How, where it is not smaller.
        other: &'static str,
    },
}

/// What the names of a deployment's logs begin with, like `ledger.example.org`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix(String);

impl Prefix {
    /// The name of a ledger's log.
    #[must_use]
    pub fn origin(&self, ledger: &LedgerName) -> String {
        format!("{}/{}", self.0, ledger)
    }

    /// The prefix itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b".-_/~:".contains(&b);
        let fits = (1..=PREFIX_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed);
        if fits { Ok(Self(text.to_owned())) } else { Err(CheckpointError::Prefix(text.to_owned())) }
    }
}

/// A statement about a log: how many entries it has, and the root of the tree over them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name, `PREFIX/LEDGER`.
    pub origin: String,
    /// Size and root.
    pub tree: TreeHead,
}

impl Checkpoint {
    /// The text that is signed: three lines, and no extension lines.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.tree.size, BASE64_STANDARD.encode(self.tree.root))
    }

    /// What a signed note says, whoever signed it.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn unverified(note: &[u8]) -> Result<Self, CheckpointError> {
        Ok(read(note)?.0)
    }

    /// Reads a text. Only the bytes that [`Checkpoint::text`] would give are accepted.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`].
    pub fn parse(text: &[u8]) -> Result<Self, CheckpointError> {
        let malformed = CheckpointError::Malformed;
        let lines = std::str::from_utf8(text).map_err(|_| malformed("its text is not UTF-8"))?;
        let mut lines = lines.split('\n');
        let (origin, size, root) = (lines.next(), lines.next(), lines.next());
        let origin = origin.filter(|origin| !origin.is_empty()).ok_or(malformed("it names no log"))?;
        let size: u64 = size.and_then(|s| s.parse().ok()).ok_or(malformed("its second line is no size"))?;
        let root = root.and_then(|root| BASE64_STANDARD.decode(root).ok()?.try_into().ok());
        let root = root.ok_or(malformed("its third line is no hash in base64"))?;
        let checkpoint = Self { origin: origin.to_owned(), tree: TreeHead { size, root } };
        if size > SIZE_MAX {
            return Err(malformed("no log has so many entries"));
        }
        if origin.chars().any(char::is_control) || checkpoint.text().as_bytes() != text {
            return Err(malformed("it has more than three lines, or says the same in another way"));
        }
        Ok(checkpoint)
    }
}

/// A public key under a name: in one line, `name+hash+base64`, what others check a log by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    key: VerifyingKey,
}

impl VerifierKey {
    /// The name of what it signs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> u32 {
        line::key_id(&self.name, ED25519, &self.key)
    }

    pub(crate) fn verifiers(&self) -> Result<VerifierList, CheckpointError> {
        let verifier = StandardVerifier::new(&self.to_string()).map_err(|_| CheckpointError::VerifierKey)?;
        Ok(VerifierList::new(vec![Box::new(verifier)]))
    }

    /// Opens a signed checkpoint of the log that this key identifies.
    ///
    /// # Errors
    /// [`CheckpointError`] where it is malformed, of another log, or not signed by this key.
    pub fn open(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let (checkpoint, note) = read(note)?;
        if checkpoint.origin != self.name {
            let expected = self.name.clone();
            return Err(CheckpointError::Origin { expected, actual: checkpoint.origin });
        }
        note.verify(&self.verifiers()?).map_err(|_| CheckpointError::Unsigned(self.to_string()))?;
        Ok(checkpoint)
    }
}

/// Reads a signed checkpoint without believing it. Only one form of it is accepted.
fn read(bytes: &[u8]) -> Result<(Checkpoint, Note), CheckpointError> {
    let note = Note::from_bytes(bytes).map_err(|error| match error {
        NoteError::MalformedNote => CheckpointError::Malformed("it is no signed note"),
        _ => CheckpointError::Malformed("its signatures can't be read"),
    })?;
    if note.to_bytes() != bytes {
        return Err(CheckpointError::Malformed("the same note is written in another way"));
    }
    Ok((Checkpoint::parse(note.text())?, note))
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line::public(&self.name, ED25519, &self.key))
    }
}

impl FromStr for VerifierKey {
    type Err = CheckpointError;

    fn from_str(line: &str) -> Result<Self, CheckpointError> {
        let (name, key) = line::read_public(line, ED25519).ok_or(CheckpointError::VerifierKey)?;
        Ok(Self { name, key })
    }
}

/// The private key of a deployment. It signs the checkpoints of each of its ledgers under the ledger's own name.
pub struct PrivateKey {
    prefix: Prefix,
    key: SigningKey,
}

impl PrivateKey {
    /// A key from 32 random bytes.
    #[must_use]
    pub fn new(prefix: Prefix, seed: &[u8; 32]) -> Self {
        Self { prefix, key: SigningKey::from_bytes(seed) }
    }

    /// What the names of its logs begin with.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// The public key, under the name of a ledger's log.
    #[must_use]
    pub fn verifier(&self, ledger: &LedgerName) -> VerifierKey {
        VerifierKey { name: self.prefix.origin(ledger), key: self.key.verifying_key() }
    }

    /// The public key, under the name of all of its logs.
    #[must_use]
    pub fn deployment(&self) -> VerifierKey {
        VerifierKey { name: self.prefix.0.clone(), key: self.key.verifying_key() }
    }

    /// The line that its file holds. It is the secret itself.
    #[must_use]
    pub fn to_secret_line(&self) -> String {
        line::secret(&self.prefix.0, ED25519, &self.key.verifying_key(), self.key.as_bytes())
    }

    /// Reads the line of a key's file.
    ///
    /// # Errors
    /// [`CheckpointError::PrivateKey`] or [`CheckpointError::Prefix`]; neither repeats the line.
    pub fn from_secret_line(line: &str) -> Result<Self, CheckpointError> {
        let wrong = || CheckpointError::PrivateKey;
        let (prefix, seed) = line::read_secret(line, ED25519).ok_or_else(wrong)?;
        let key = Self::new(prefix.parse().map_err(|_| wrong())?, &seed);
        if key.to_secret_line() == line { Ok(key) } else { Err(wrong()) }
    }
}

/// A key is a secret: only its public half is shown.
impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({})", self.prefix.0)
    }
}

/// Signs checkpoints of one ledger, and never two that contradict each other.
pub trait Signer: Send + Sync {
    /// The key that others check the signatures by.
    fn verifier(&self) -> VerifierKey;
    /// Signs the checkpoint of a tree: the note, as it is published. `proof` shows that the tree goes on from the last one
    /// that was signed, as RFC 6962 has it; it is empty for the first one, and for one of the same size.
    ///
    /// # Errors
    /// [`CheckpointError::Contradicts`] where it does not.
    fn sign(&mut self, tree: TreeHead, proof: &[Hash]) -> Result<Vec<u8>, CheckpointError>;
}

/// Signs with a private key in memory.
pub struct LocalSigner {
    verifier: VerifierKey,
    key: SigningKey,
    last: Option<TreeHead>,
}

impl LocalSigner {
    /// A signer for a ledger, which has signed `last` before.
    #[must_use]
    pub fn new(key: &PrivateKey, ledger: &LedgerName, last: Option<TreeHead>) -> Self {
        Self { verifier: key.verifier(ledger), key: key.key.clone(), last }
    }
}

impl Signer for LocalSigner {
    fn verifier(&self) -> VerifierKey {
        self.verifier.clone()
    }

    fn sign(&mut self, tree: TreeHead, proof: &[Hash]) -> Result<Vec<u8>, CheckpointError> {
        if let Some(last) = self.last {
            let contradicts =
                |other| CheckpointError::Contradicts { signed: last.size, asked: tree.size, other };
            if tree.size < last.size {
                return Err(contradicts(""));
            }
            if tree.size == last.size && tree.root != last.root {
                return Err(contradicts(" with another root"));
            }
            check_consistency(proof, &last, &tree)
                .map_err(|_| contradicts(" that does not go on from it"))?;
        }
        let checkpoint = Checkpoint { origin: self.verifier.name.clone(), tree };
        let mut note = Note::new(checkpoint.text().as_bytes(), &[])
            .map_err(|_| CheckpointError::Malformed("its name can't stand in a note"))?;
        let signer = NoteSigner { name: &self.verifier.name, id: self.verifier.id(), key: &self.key };
        note.add_sigs(&[&signer]).map_err(|_| CheckpointError::Malformed("it can't be signed"))?;
        self.last = Some(tree);
        Ok(note.to_bytes())
    }
}

struct NoteSigner<'a> {
    name: &'a str,
    id: u32,
    key: &'a SigningKey,
}

impl signed_note::Signer for NoteSigner<'_> {
    fn name(&self) -> &str {
        self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ed25519_dalek::SignatureError> {
        use ed25519_dalek::Signer as _;
        Ok(self.key.try_sign(message)?.to_vec())
    }
}

#[cfg(test)]
mod tests;
