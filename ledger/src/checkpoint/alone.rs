//! Checkpoints as they stand in files that prove something: signed by the log, and by nobody else. A signature line that
//! nobody checks is text that anybody may change, so there is none in such a file.

use signed_note::Note;

use super::{Checkpoint, CheckpointError, Rotation, VerifierKey, read};

impl VerifierKey {
    /// Opens a checkpoint that this key, and no other, has signed.
    ///
    /// # Errors
    /// As [`VerifierKey::open`]; and [`CheckpointError::OtherSignatures`] where it has further signature lines, which this
    /// key says nothing about.
    pub fn open_alone(&self, note: &[u8]) -> Result<Checkpoint, CheckpointError> {
        let checkpoint = self.open(note)?;
        if signature_lines(note).count() == 1 {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::OtherSignatures)
        }
    }
}

/// The same checkpoint with the log's own signature alone, without those of witnesses. Nothing of it is believed: that
/// takes a key.
///
/// # Errors
/// [`CheckpointError::Malformed`] where it is no signed checkpoint, [`CheckpointError::OtherSignatures`] where it has not
/// exactly one line under the name of its log.
pub fn without_cosignatures(note: &[u8]) -> Result<(Checkpoint, Vec<u8>), CheckpointError> {
    let (checkpoint, _) = read(note)?;
    let own = format!("— {} ", checkpoint.origin);
    let mut lines = signature_lines(note).filter(|line| line.starts_with(own.as_bytes()));
    let (Some(line), None) = (lines.next(), lines.next()) else {
        return Err(CheckpointError::OtherSignatures);
    };
    let alone = [checkpoint.text().as_bytes(), b"\n", line].concat();
    // What was put together is a note again, whatever the name of the log is.
    Note::from_bytes(&alone).map_err(|_| CheckpointError::Malformed("its signatures can't be read"))?;
    Ok((checkpoint, alone))
}

/// The lines behind the last blank one, each with its end.
fn signature_lines(note: &[u8]) -> impl Iterator<Item = &[u8]> {
    let behind = note.windows(2).rposition(|pair| pair == b"\n\n").map_or(note.len(), |at| at + 2);
    note.get(behind..).unwrap_or_default().split_inclusive(|byte| *byte == b'\n')
}

/// The public keys that identify a log, the oldest first: where its key was changed, there are several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogKeys(Vec<VerifierKey>);

impl LogKeys {
    /// The keys of one log, in the order in which they were used.
    ///
    /// # Errors
    /// [`CheckpointError::NoKeys`] where there is none, [`CheckpointError::Origin`] where they are of several logs.
    pub fn new(keys: Vec<VerifierKey>) -> Result<Self, CheckpointError> {
        let first = keys.first().ok_or(CheckpointError::NoKeys)?;
        match keys.iter().find(|key| key.name != first.name) {
            Some(other) => {
                Err(CheckpointError::Origin { expected: first.name.clone(), actual: other.name.clone() })
            }
            None => Ok(Self(keys)),
        }
    }

    /// The name of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.0.first().map_or("", |key| &key.name)
    }

    /// The keys.
    #[must_use]
    pub fn all(&self) -> &[VerifierKey] {
        &self.0
    }

    /// This key and those after it; `None` where it is none of them. Who has seen it in use takes no older one any more.
    #[must_use]
    pub fn from(&self, key: &VerifierKey) -> Option<Self> {
        let at = self.0.iter().position(|one| one == key)?;
        Some(Self(self.0.get(at..)?.to_vec()))
    }

    /// The keys up to this one; `None` where it is none of them.
    #[must_use]
    pub fn up_to(&self, key: &VerifierKey) -> Option<&[VerifierKey]> {
        let at = self.0.iter().position(|one| one == key)?;
        self.0.get(..=at)
    }

    /// Goes on to the key that follows the last one, if that is what a statement says. An older key can't name another one.
    pub fn follow(&mut self, rotation: &Rotation) {
        if let Some(next) =
            self.0.last().and_then(|last| rotation.follow(last)).filter(|key| !self.0.contains(key))
        {
            self.0.push(next);
        }
    }

    /// What the first key gives with which `open` does not fail.
    ///
    /// # Errors
    /// What the last key gives.
    pub fn try_each<T, E: From<CheckpointError>>(
        &self,
        open: impl Fn(&VerifierKey) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut last = Err(CheckpointError::NoKeys.into());
        for key in &self.0 {
            last = open(key);
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Takes the checkpoint of a note that one of the keys has signed, with that key, and the note without what others
    /// have signed.
    ///
    /// # Errors
    /// As [`VerifierKey::open`] and [`without_cosignatures`].
    pub fn open(&self, note: &[u8]) -> Result<Signed, CheckpointError> {
        let (_, note) = without_cosignatures(note)?;
        self.try_each(|key| {
            let checkpoint = key.open_alone(&note)?;
            Ok(Signed { checkpoint, key: key.clone(), note: note.clone() })
        })
    }
}

/// A checkpoint whose signature was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Who signed it.
    pub key: VerifierKey,
    /// The note, with that signature alone.
    pub note: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use crate::checkpoint::{LocalSigner, PrivateKey, Signer};
    use crate::tree::TreeHead;
    use crate::types::LedgerName;

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::new("ledger.example.org".parse().unwrap(), &[seed; 32])
    }

    fn public(seed: u8) -> VerifierKey {
        key(seed).verifier(&LedgerName::default())
    }

    fn note(seed: u8) -> Vec<u8> {
        let tree = TreeHead { size: 7, root: [7; 32] };
        LocalSigner::new(&key(seed), &LedgerName::default(), None).sign(tree, &[]).unwrap()
    }

    fn with(note: &[u8], line: &str) -> Vec<u8> {
        [note, line.as_bytes(), b"\n"].concat()
    }

    const WITNESS: &str = "— witness.example.org AAAAAQAAAAA=";

    #[test]
    fn a_line_of_somebody_else_is_refused_where_it_would_stand_unchecked_and_can_be_left_out() {
        let alone = note(1);
        assert_eq!(public(1).open_alone(&alone).unwrap().tree.size, 7);
        let cosigned = with(&alone, WITNESS);
        assert!(public(1).open(&cosigned).is_ok());
        assert_eq!(public(1).open_alone(&cosigned), Err(CheckpointError::OtherSignatures));
        let (checkpoint, without) = without_cosignatures(&cosigned).unwrap();
        assert_eq!((checkpoint.tree.size, without), (7, alone.clone()));
        // The same line twice is a line that nobody checks as well.
        let line = String::from_utf8(alone.clone()).unwrap().lines().last().unwrap().to_owned();
        assert!(public(1).open(&with(&alone, &line)).is_ok());
        assert_eq!(public(1).open_alone(&with(&alone, &line)), Err(CheckpointError::OtherSignatures));
        assert_eq!(without_cosignatures(&with(&alone, &line)), Err(CheckpointError::OtherSignatures));
    }

    #[test]
    fn a_note_that_only_others_have_signed_has_no_signature_of_the_log() {
        let text = Checkpoint::parse(b"log.example.org\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
        let others = [text.unwrap().text().as_bytes(), b"\n", WITNESS.as_bytes(), b"\n"].concat();
        assert_eq!(without_cosignatures(&others), Err(CheckpointError::OtherSignatures));
        assert!(without_cosignatures(b"").is_err() && without_cosignatures(b"\n\n").is_err());
    }

    #[test]
    fn keys_of_one_log_open_what_any_of_them_signed_and_an_older_one_can_be_left_behind() {
        let keys = LogKeys::new(vec![public(1), public(2)]).unwrap();
        for seed in [1, 2] {
            let signed = keys.open(&with(&note(seed), WITNESS)).unwrap();
            assert_eq!((signed.key, signed.note), (public(seed), note(seed)));
        }
        assert!(matches!(keys.open(&note(3)), Err(CheckpointError::Unsigned(_))));
        let newer = keys.from(&public(2)).unwrap();
        assert!(newer.open(&note(2)).is_ok() && newer.open(&note(1)).is_err());
        assert_eq!(keys.from(&public(3)), None);
        assert_eq!(keys.up_to(&public(1)), Some(&[public(1)][..]));
        assert_eq!(LogKeys::new(Vec::new()), Err(CheckpointError::NoKeys));
        let other = key(1).verifier(&"other".parse().unwrap());
        assert!(matches!(LogKeys::new(vec![public(1), other]), Err(CheckpointError::Origin { .. })));
    }

    #[test]
    fn a_statement_by_the_last_key_is_followed_and_one_by_an_older_key_is_not() {
        let mut keys = LogKeys::new(vec![public(1)]).unwrap();
        keys.follow(&Rotation::sign(&key(2), &key(3)).unwrap());
        assert_eq!(keys.all(), [public(1)]);
        keys.follow(&Rotation::sign(&key(1), &key(2)).unwrap());
        keys.follow(&Rotation::sign(&key(1), &key(3)).unwrap());
        keys.follow(&Rotation::sign(&key(2), &key(1)).unwrap());
        assert_eq!(keys.all(), [public(1), public(2)]);
    }
}
