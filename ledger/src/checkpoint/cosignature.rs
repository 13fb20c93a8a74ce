//! Cosignatures: what a witness says about a checkpoint, as a C2SP `cosignature/v1` (c2sp.org/tlog-cosignature): at this
//! time, this was the largest tree of that log that I had seen, and it went on from all that I had seen before.
//!
//! ```text
//! — WITNESS BASE64            in a note, below the log's own signature
//!
//! the bytes in BASE64:
//! 0        4          12                     76
//! | key id | seconds  | Ed25519 signature    |     numbers are big-endian
//!
//! what is signed:
//! cosignature/v1
//! time SECONDS
//! the text of the checkpoint
//! ```

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature as Ed25519, Signer as _, SigningKey, VerifyingKey};
use signed_note::{Note, Signature, Verifier, VerifierList};

use super::{CheckpointError, Prefix, line};

/// The type of a cosigner's Ed25519 key, before its bytes.
const COSIGNATURE_V1: u8 = 4;
/// No time is later, in seconds since 1970.
const TIME_MAX: u64 = (1 << 63) - 1;
const TIME_BYTES: usize = 8;
const SIGNATURE_BYTES: usize = 64;

/// The public key of a witness under its name: in one line, `name+hash+base64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    key: VerifyingKey,
}

/// A cosignature that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// When it was made, in seconds since 1970, as the witness says.
    pub seconds: u64,
    /// Its line in a note, with the newline.
    pub line: Vec<u8>,
}

impl CosignerKey {
    /// The witness' name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The Ed25519 key itself. What it signs does not name it, so two names with one key are one witness.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    fn id(&self) -> u32 {
        line::key_id(&self.name, COSIGNATURE_V1, &self.key)
    }

    /// The cosignature of this key on a note, where it has one. Whether the log itself has signed is another question:
    /// [`VerifierKey::open`](super::VerifierKey::open).
    ///
    /// # Errors
    /// [`CheckpointError::Unsigned`] where it has none that holds; [`CheckpointError::Malformed`].
    pub fn cosigned(&self, note: &[u8]) -> Result<Cosignature, CheckpointError> {
        self.on(&read_note(note)?)
    }

    /// The first of these lines, as a witness answers with them, that is a cosignature of this key on a note's text.
    /// Lines of other keys are passed over.
    ///
    /// # Errors
    /// As [`CosignerKey::cosigned`].
    pub fn among(&self, note: &[u8], lines: &[u8]) -> Result<Cosignature, CheckpointError> {
        let note = read_note(note)?;
        let answered = read_note(&[note.text(), b"\n", lines].concat())?;
        if answered.text() != note.text() {
            return Err(CheckpointError::Malformed("there is more than cosignatures"));
        }
        self.on(&answered)
    }

    fn on(&self, note: &Note) -> Result<Cosignature, CheckpointError> {
        let unsigned = || CheckpointError::Unsigned(self.to_string());
        let known = VerifierList::new(vec![Box::new(self.clone())]);
        let (signed, _) = note.verify(&known).map_err(|_| unsigned())?;
        let signature = signed.first().ok_or_else(unsigned)?;
        let (seconds, _) = parts(signature.signature()).ok_or_else(unsigned)?;
        Ok(Cosignature { seconds, line: signature.to_bytes() })
    }
}

fn read_note(bytes: &[u8]) -> Result<Note, CheckpointError> {
    Note::from_bytes(bytes).map_err(|_| CheckpointError::Malformed("it is no signed note"))
}

impl Verifier for CosignerKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id()
    }

    fn verify(&self, text: &[u8], signature: &[u8]) -> bool {
        let Some((seconds, signature)) = parts(signature) else { return false };
        self.key.verify_strict(&message(text, seconds), &signature).is_ok()
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&line::public(&self.name, COSIGNATURE_V1, &self.key))
    }
}

impl FromStr for CosignerKey {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let (name, key) = line::read_public(text, COSIGNATURE_V1).ok_or(CheckpointError::CosignerKey)?;
        Ok(Self { name, key })
    }
}

/// Time and signature within a cosignature.
fn parts(bytes: &[u8]) -> Option<(u64, Ed25519)> {
    let (seconds, signature) = bytes.split_first_chunk::<TIME_BYTES>()?;
    let seconds = u64::from_be_bytes(*seconds);
    let signature: &[u8; SIGNATURE_BYTES] = signature.try_into().ok()?;
    (seconds <= TIME_MAX).then(|| (seconds, Ed25519::from_bytes(signature)))
}

/// What is signed.
fn message(text: &[u8], seconds: u64) -> Vec<u8> {
    [format!("cosignature/v1\ntime {seconds}\n").as_bytes(), text].concat()
}

/// The private key of a witness.
pub struct CosignerSecret {
    name: Prefix,
    key: SigningKey,
}

impl CosignerSecret {
    /// A key from 32 random bytes. The name is not signed: one key must never serve two witnesses.
    #[must_use]
    pub fn new(name: Prefix, seed: &[u8; 32]) -> Self {
        Self { name, key: SigningKey::from_bytes(seed) }
    }

    /// The public key.
    #[must_use]
    pub fn public(&self) -> CosignerKey {
        CosignerKey { name: self.name.as_str().to_owned(), key: self.key.verifying_key() }
    }

    /// The line that its file holds. It is the secret itself, and no other kind of key has such a line.
    #[must_use]
    pub fn to_secret_line(&self) -> String {
        line::secret(self.name.as_str(), COSIGNATURE_V1, &self.key.verifying_key(), self.key.as_bytes())
    }

    /// Reads the line of a key's file.
    ///
    /// # Errors
    /// [`CheckpointError::PrivateKey`], which does not repeat the line.
    pub fn from_secret_line(text: &str) -> Result<Self, CheckpointError> {
        let wrong = || CheckpointError::PrivateKey;
        let (name, seed) = line::read_secret(text, COSIGNATURE_V1).ok_or_else(wrong)?;
        let key = Self::new(name.parse().map_err(|_| wrong())?, &seed);
        if key.to_secret_line() == text { Ok(key) } else { Err(wrong()) }
    }

    /// Signs the text of a checkpoint: the line for its note. The caller has seen that the checkpoint goes on from
    /// everything that was signed before, and has made that durable.
    ///
    /// # Errors
    /// [`CheckpointError::Malformed`] for a time that cannot be written.
    pub fn cosign(&self, text: &[u8], seconds: u64) -> Result<Vec<u8>, CheckpointError> {
        let wrong = CheckpointError::Malformed("it can't be cosigned");
        if seconds > TIME_MAX {
            return Err(wrong);
        }
        let signature = self.key.try_sign(&message(text, seconds)).map_err(|_| wrong.clone())?;
        let bytes = [&seconds.to_be_bytes()[..], &signature.to_bytes()].concat();
        let public = self.public();
        let id = public.id();
        Ok(Signature::new(public.name, id, bytes).map_err(|_| wrong)?.to_bytes())
    }
}

/// A key is a secret: only its public half is shown.
impl fmt::Debug for CosignerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CosignerSecret({})", self.public())
    }
}

#[cfg(test)]
mod tests;
