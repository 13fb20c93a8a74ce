//! From one key to the next: a statement that both have signed, which whoever trusts the old key can follow.
//!
//! It is a C2SP signed note. Its text has four lines, the keys under the name of the deployment:
//!
//! ```text
//! PREFIX
//! tokenledger key rotation
//! old PREFIX+HASH+BASE64
//! new PREFIX+HASH+BASE64
//!
//! — PREFIX BASE64             by the old key
//! — PREFIX BASE64             by the new key
//! ```
//!
//! No checkpoint has such a second line, so neither can pass for the other.

use signed_note::{Note, Signature, StandardVerifier, VerifierList};

use super::{CheckpointError, NoteSigner, Prefix, PrivateKey, VerifierKey};
use crate::types::LedgerName;

const SECOND_LINE: &str = "tokenledger key rotation";

/// A statement that a key follows another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    old: VerifierKey,
    new: VerifierKey,
    note: String,
}

fn text(old: &VerifierKey, new: &VerifierKey) -> String {
    format!("{}\n{SECOND_LINE}\nold {old}\nnew {new}\n", old.name)
}

impl Rotation {
    /// Says, with both keys, that `new` follows `old`.
    ///
    /// # Errors
    /// [`CheckpointError::Rotation`] where they are the same key, or those of logs with other names.
    pub fn sign(old: &PrivateKey, new: &PrivateKey) -> Result<Self, CheckpointError> {
        let (from, to) = (old.deployment(), new.deployment());
        if from.name != to.name {
            return Err(CheckpointError::Rotation("the keys are those of logs with other names"));
        }
        if from.key == to.key {
            return Err(CheckpointError::Rotation("it is the same key"));
        }
        let failed = |_| CheckpointError::Rotation("it can't be signed");
        let mut note = Note::new(text(&from, &to).as_bytes(), &[]).map_err(failed)?;
        let signer = |name, id, key| NoteSigner { name, id, key };
        let first = signer(&from.name, from.id(), &old.key);
        let second = signer(&to.name, to.id(), &new.key);
        note.add_sigs(&[&first, &second]).map_err(failed)?;
        let note = String::from_utf8(note.to_bytes());
        let note = note.map_err(|_| CheckpointError::Rotation("it is not text"))?;
        Ok(Self { old: from, new: to, note })
    }

    /// Reads a statement, and checks both signatures. Only the bytes that [`Rotation::sign`] would give are accepted.
    ///
    /// # Errors
    /// [`CheckpointError::Rotation`].
    pub fn parse(note: &str) -> Result<Self, CheckpointError> {
        let wrong = CheckpointError::Rotation;
        let parsed =
            Note::from_bytes(note.as_bytes()).map_err(|_| wrong("the statement is no signed note"))?;
        let lines = std::str::from_utf8(parsed.text()).map_err(|_| wrong("the statement is not text"))?;
        let mut lines = lines.split('\n').skip(2);
        let mut key = |word: &str| -> Option<VerifierKey> { lines.next()?.strip_prefix(word)?.parse().ok() };
        let keys = (key("old "), key("new "));
        let (Some(old), Some(new)) = keys else {
            return Err(wrong("the statement does not name two keys"));
        };
        if old.name != new.name || old.key == new.key || text(&old, &new).as_bytes() != parsed.text() {
            return Err(wrong("the statement is not about two keys of one name, or says more"));
        }
        let verifiers = [&old, &new].map(|key| StandardVerifier::new(&key.to_string()));
        let [Ok(first), Ok(second)] = verifiers else {
            return Err(wrong("one of its keys can't be used"));
        };
        let known = VerifierList::new(vec![Box::new(first), Box::new(second)]);
        let checked = parsed.verify(&known);
        let in_order = |signed: &[Signature]| signed.iter().map(Signature::id).eq([old.id(), new.id()]);
        let signed = checked.is_ok_and(|(signed, others)| in_order(&signed) && others.is_empty());
        if !signed || parsed.to_bytes() != note.as_bytes() || note.lines().count() != 7 {
            return Err(wrong("the statement is not signed by both keys, the old one first"));
        }
        Ok(Self { old, new, note: note.to_owned() })
    }

    /// The signed note.
    #[must_use]
    pub fn note(&self) -> &str {
        &self.note
    }

    /// The key that was used before.
    #[must_use]
    pub fn old(&self) -> &VerifierKey {
        &self.old
    }

    /// The key that a ledger's checkpoints were checked by before.
    ///
    /// # Errors
    /// [`CheckpointError::Prefix`] where the key's name is not that of a deployment.
    pub fn before(&self, ledger: &LedgerName) -> Result<VerifierKey, CheckpointError> {
        let prefix: Prefix = self.old.name.parse()?;
        Ok(VerifierKey { name: prefix.origin(ledger), key: self.old.key })
    }

    /// The key that is used from then on.
    #[must_use]
    pub fn new_key(&self) -> &VerifierKey {
        &self.new
    }

    /// The key of a log that follows `key`, if it is the old one that this statement is about.
    #[must_use]
    pub fn follow(&self, key: &VerifierKey) -> Option<VerifierKey> {
        let of_this = key.name.strip_prefix(&self.old.name).is_some_and(|rest| rest.starts_with('/'));
        (of_this && key.key == self.old.key)
            .then(|| VerifierKey { name: key.name.clone(), key: self.new.key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(prefix: &str, seed: u8) -> PrivateKey {
        PrivateKey::new(prefix.parse().unwrap(), &[seed; 32])
    }

    #[test]
    fn who_trusts_the_old_key_can_follow_to_the_new_one_and_nobody_else_can() {
        let (old, new) = (key("example.org", 1), key("example.org", 2));
        let rotation = Rotation::parse(Rotation::sign(&old, &new).unwrap().note()).unwrap();
        let ledger = LedgerName::default();
        assert_eq!(rotation.follow(&old.verifier(&ledger)), Some(new.verifier(&ledger)));
        assert_eq!(rotation.follow(&new.verifier(&ledger)), None);
        assert_eq!(rotation.follow(&key("example.org", 3).verifier(&ledger)), None);
        assert_eq!(rotation.follow(&key("example.org.evil", 1).verifier(&ledger)), None);
        assert!(Rotation::sign(&old, &old).is_err());
        assert!(Rotation::sign(&old, &key("example.com", 2)).is_err());
    }

    #[test]
    fn no_bit_of_a_statement_can_be_changed_and_both_must_have_signed() {
        let (old, new) = (key("example.org", 1), key("example.org", 2));
        let note = Rotation::sign(&old, &new).unwrap().note;
        for bit in 0..note.len() * 8 {
            let mut changed = note.clone().into_bytes();
            changed[bit / 8] ^= 1 << (bit % 8);
            let changed = String::from_utf8(changed);
            assert!(changed.is_err() || Rotation::parse(&changed.unwrap()).is_err(), "bit {bit}");
        }
        let lines: Vec<&str> = note.lines().collect();
        for left_out in 0..lines.len() {
            let mut less = lines.clone();
            less.remove(left_out);
            assert!(Rotation::parse(&(less.join("\n") + "\n")).is_err(), "without line {left_out}");
        }
        let mut twice = lines.clone();
        twice.push(lines[5]);
        assert!(Rotation::parse(&(twice.join("\n") + "\n")).is_err());
        twice = lines.clone();
        twice.swap(5, 6);
        assert!(Rotation::parse(&(twice.join("\n") + "\n")).is_err());
    }
}
