//! The lines in which keys are written: `name+hash+base64`, and the same behind `PRIVATE+KEY+`.

use base64::prelude::{BASE64_STANDARD, Engine};
use ed25519_dalek::VerifyingKey;

/// What a private key's line begins with.
const PRIVATE: &str = "PRIVATE+KEY+";

/// The number by which notes name a key: a hash of its name, its kind and its bytes.
pub(crate) fn key_id(name: &str, kind: u8, key: &VerifyingKey) -> u32 {
    signed_note::key_id(name, &[&[kind][..], key.as_bytes()].concat())
}

/// The line of a public key.
pub(crate) fn public(name: &str, kind: u8, key: &VerifyingKey) -> String {
    let bytes = [&[kind][..], key.as_bytes()].concat();
    format!("{name}+{:08x}+{}", key_id(name, kind, key), BASE64_STANDARD.encode(bytes))
}

/// Name and key of the line of a public key of this kind; only the one way to write them is accepted.
pub(crate) fn read_public(line: &str, kind: u8) -> Option<(String, VerifyingKey)> {
    let (name, key) = parts(line, kind)?;
    let key = VerifyingKey::from_bytes(&key).ok()?;
    let right = signed_note::is_key_name_valid(name) && !name.chars().any(char::is_control);
    (right && public(name, kind, &key) == line).then(|| (name.to_owned(), key))
}

/// The line of a private key, which is the secret itself.
pub(crate) fn secret(name: &str, kind: u8, public: &VerifyingKey, seed: &[u8; 32]) -> String {
    let bytes = [&[kind][..], seed].concat();
    format!("{PRIVATE}{name}+{:08x}+{}", key_id(name, kind, public), BASE64_STANDARD.encode(bytes))
}

/// Name and seed of the line of a private key of this kind. Whether it is the only way to write them is for the caller
/// to see, who makes the key.
pub(crate) fn read_secret(line: &str, kind: u8) -> Option<(&str, [u8; 32])> {
    parts(line.strip_prefix(PRIVATE)?, kind)
}

fn parts(line: &str, kind: u8) -> Option<(&str, [u8; 32])> {
    let mut parts = line.splitn(3, '+');
    let (name, _, key) = (parts.next()?, parts.next()?, parts.next()?);
    let bytes = BASE64_STANDARD.decode(key).ok()?;
    let (actual, key) = bytes.split_first()?;
    Some((name, key.try_into().ok().filter(|_| *actual == kind)?))
}
