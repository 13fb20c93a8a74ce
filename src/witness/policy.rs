//! Which witnesses are asked, and how many must have cosigned a checkpoint before it is published.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ledger::checkpoint::CheckpointError;
use ledger::checkpoint::cosignature::CosignerKey;

use super::client::Client;

/// No server asks more witnesses: their lines all stand in each note.
const WITNESSES_MAX: usize = 16;

/// Why witnesses can't be asked.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It does not say who and where.
    #[error(
        "a witness is given as its public key, a space and its address, like `NAME+HASH+KEY https://witness.example.org`"
    )]
    Form,
    /// Its key is none.
    #[error("{0}")]
    Key(#[from] CheckpointError),
    /// Its address is none.
    #[error(
        "{0:?} is not the address of a witness: give `http://HOST[:PORT][/PATH]`, or the same with `https`"
    )]
    Address(String),
    /// One of them counts twice.
    #[error("the witness {0} is given twice, or two witnesses have one key: each counts once")]
    Twice(String),
    /// More must agree than there are.
    #[error(
        "{quorum} witnesses must have cosigned a checkpoint (`--witness-quorum`), but {given} are given (`--witness`)"
    )]
    Quorum {
        /// How many must have.
        quorum: usize,
        /// How many there are.
        given: usize,
    },
    /// Too many.
    #[error("{0} witnesses are given, and {WITNESSES_MAX} are the most")]
    TooMany(usize),
    /// Its certificate could not be checked.
    #[error("a witness is to be asked over https, and this machine's certificates can't be read: {0}")]
    Certificates(std::io::Error),
}

/// A witness, and where it answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessAt {
    /// By which its cosignatures are checked.
    pub key: CosignerKey,
    /// Where it takes checkpoints.
    pub(super) url: axum::http::Uri,
}

impl FromStr for WitnessAt {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let (key, address) = text.split_once(' ').ok_or(PolicyError::Form)?;
        Ok(Self { key: key.parse()?, url: url(address)? })
    }
}

fn url(address: &str) -> Result<axum::http::Uri, PolicyError> {
    let wrong = || PolicyError::Address(address.to_owned());
    let prefix: axum::http::Uri = address.parse().map_err(|_| wrong())?;
    let right = matches!(prefix.scheme_str(), Some("http" | "https"))
        && prefix.host().is_some_and(|host| !host.is_empty())
        && prefix.query().is_none()
        && !address.contains(['@', '#']);
    if !right {
        return Err(wrong());
    }
    format!("{}/add-checkpoint", address.trim_end_matches('/')).parse().map_err(|_| wrong())
}

/// The witnesses of a server.
pub struct Witnesses {
    all: Vec<Arc<Client>>,
    quorum: usize,
}

impl Witnesses {
    /// These witnesses, of which `quorum` must have cosigned a checkpoint before it is published; 0: it is published at
    /// once, and their cosignatures join it.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn new(given: Vec<WitnessAt>, quorum: usize) -> Result<Self, PolicyError> {
        if given.len() > WITNESSES_MAX {
            return Err(PolicyError::TooMany(given.len()));
        }
        if quorum > given.len() {
            return Err(PolicyError::Quorum { quorum, given: given.len() });
        }
        for (n, witness) in given.iter().enumerate() {
            let same = |other: &WitnessAt| {
                other.key.name() == witness.key.name() || other.key.bytes() == witness.key.bytes()
            };
            if given[..n].iter().any(same) {
                return Err(PolicyError::Twice(witness.key.name().to_owned()));
            }
        }
        let all = given.into_iter().map(|witness| Client::new(witness).map(Arc::new));
        Ok(Self { all: all.collect::<Result<_, _>>().map_err(PolicyError::Certificates)?, quorum })
    }

    /// How many must have cosigned a checkpoint before it is published.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.quorum
    }

    /// How many cosignatures make a checkpoint a witnessed one.
    #[must_use]
    pub fn needed(&self) -> usize {
        self.quorum.max(1)
    }

    /// Each, with its number.
    pub(crate) fn all(&self) -> impl Iterator<Item = (usize, Arc<Client>)> + '_ {
        self.all.iter().cloned().enumerate()
    }

    /// The key of each.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &CosignerKey> {
        self.all.iter().map(|witness| witness.key())
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.all.len()
    }
}

impl fmt::Debug for Witnesses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.keys().map(CosignerKey::name).collect();
        write!(f, "{} of {names:?}", self.quorum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";

    fn witness(seed: u8, name: &str) -> WitnessAt {
        let secret = ledger::checkpoint::cosignature::CosignerSecret::new(name.parse().unwrap(), &[seed; 32]);
        format!("{} http://127.0.0.1:7430", secret.public()).parse().unwrap()
    }

    #[test]
    fn a_witness_is_a_key_and_an_address() {
        let url = |address: &str| format!("{ONE} {address}").parse::<WitnessAt>().map(|w| w.url.to_string());
        assert_eq!(url("http://127.0.0.1:1").unwrap(), "http://127.0.0.1:1/add-checkpoint");
        assert_eq!(url("https://w.example.org/a/").unwrap(), "https://w.example.org/a/add-checkpoint");
        for bad in [
            "",
            "w.example.org",
            "ftp://w",
            "http://",
            "http://u@w",
            "http://w?x",
            "http://w#x",
            " http://w",
            "http://w w",
        ] {
            assert!(matches!(url(bad), Err(PolicyError::Address(_))), "{bad:?}");
        }
        assert!(matches!(ONE.parse::<WitnessAt>(), Err(PolicyError::Form)));
        assert!(matches!("x http://w".parse::<WitnessAt>(), Err(PolicyError::Key(_))));
    }

    #[tokio::test]
    async fn each_witness_counts_once_and_no_more_must_agree_than_there_are() {
        let (a, b) = (witness(1, "a"), witness(2, "b"));
        let policy = |given: &[&WitnessAt], quorum| {
            Witnesses::new(given.iter().map(|w| (*w).clone()).collect(), quorum)
        };
        assert_eq!(policy(&[&a, &b], 2).unwrap().needed(), 2);
        assert_eq!(policy(&[&a, &b], 0).unwrap().needed(), 1);
        assert!(matches!(policy(&[&a, &b], 3), Err(PolicyError::Quorum { quorum: 3, given: 2 })));
        assert!(matches!(policy(&[&a, &b, &a], 1), Err(PolicyError::Twice(name)) if name == "a"));
        assert!(
            matches!(policy(&[&a, &witness(1, "c")], 1), Err(PolicyError::Twice(_))),
            "one key under two names"
        );
        assert!(
            matches!(policy(&[&a, &witness(3, "a")], 1), Err(PolicyError::Twice(_))),
            "two keys under one name"
        );
        let many: Vec<WitnessAt> = (0..17).map(|n| witness(n, &format!("w{n}"))).collect();
        assert!(matches!(Witnesses::new(many, 1), Err(PolicyError::TooMany(17))));
    }
}
