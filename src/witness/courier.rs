//! Carries a ledger's checkpoints to one witness, one after the other, and brings the cosignatures back.

use std::sync::Arc;
use std::time::Duration;

use ledger::anchor::Contradiction;
use ledger::checkpoint::cosignature::Cosignature;
use ledger::log::LogStore;
use ledger::tiles::{TreeError, TreeStore};
use ledger::tree::TreeHead;
use ledger::types::LedgerName;
use ledger::witness::to_bytes;
use tokio::sync::{mpsc, watch};

use super::client::{Client, NoAnswer};
use crate::metrics::LedgerMetrics;
use crate::trees;

/// How long to wait after a failure, at first and at most.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// How often a witness may correct what it is believed to know, in a row.
const CORRECTIONS_MAX: usize = 3;

/// A checkpoint to be cosigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Offer {
    /// What it says.
    pub(crate) tree: TreeHead,
    /// The note, signed by the log.
    pub(crate) note: Arc<[u8]>,
}

/// What came of it.
pub(crate) struct Answered {
    /// Which of the witnesses.
    pub(crate) witness: usize,
    /// Which checkpoint.
    pub(crate) tree: TreeHead,
    /// The cosignature, if there is one.
    pub(crate) cosignature: Option<Cosignature>,
}

/// What a witness says of a log that is about to be served.
pub(super) enum Asked {
    /// The log goes on from what it knows.
    Agrees,
    /// It does not.
    Denies(Contradiction),
    /// Nobody knows: it did not answer, or not so that it helps.
    Silent(String),
}

/// Why a witness did not cosign.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    NoAnswer(#[from] NoAnswer),
    #[error(
        "it does not know this log: its operator has to add the log's public key (`tokenledger key show`)"
    )]
    UnknownLog,
    #[error(
        "it trusts other keys than the one that signed: its operator has to add the log's new public key"
    )]
    Untrusted,
    #[error("IT HAS COSIGNED ANOTHER HISTORY OF THIS LOG: stop, and compare with what it knows")]
    Fork,
    #[error(
        "IT HAS COSIGNED {knows} ENTRIES OF THIS LOG, WHICH HAS ONLY {signed}: the log was put back, or somebody else has its key"
    )]
    Ahead { knows: u64, signed: u64 },
    #[error("it answered with a cosignature that does not hold")]
    Cosignature,
    #[error("it does not understand the request, or answers otherwise than a witness does (status {0})")]
    Status(u16),
    #[error("it keeps changing its mind about what it knows; does another server sign for this log?")]
    Unsteady,
    #[error("no proof can be made for it: {0}")]
    Tree(#[from] TreeError),
    #[error("no thread can be had for the proof")]
    Thread,
}

impl Failed {
    /// A word for it that does not change.
    fn reason(&self) -> &'static str {
        match self {
            Self::NoAnswer(_) => "unreachable",
            Self::UnknownLog => "unknown_log",
            Self::Untrusted => "untrusted",
            Self::Fork => "fork",
            Self::Ahead { .. } => "ahead",
            Self::Cosignature => "bad_cosignature",
            Self::Status(_) => "bad_answer",
            Self::Unsteady => "unsteady",
            Self::Tree(_) | Self::Thread => "no_proof",
        }
    }
}

/// Goes between a ledger and a witness.
pub(crate) struct Courier {
    number: usize,
    witness: Arc<Client>,
    ledger: LedgerName,
    log: Arc<dyn LogStore>,
    tree: Arc<TreeStore>,
    metrics: LedgerMetrics,
    /// What the witness is believed to know.
    knows: u64,
    /// What it cosigned last.
    done: Option<TreeHead>,
    /// What was said last about it, so that it is said once.
    said: Option<&'static str>,
}

impl Courier {
    /// To the witness of this number, which cosigned `done` last.
    pub(crate) fn new(
        (number, witness): (usize, Arc<Client>),
        ledger: LedgerName,
        (log, tree): (Arc<dyn LogStore>, Arc<TreeStore>),
        metrics: LedgerMetrics,
        done: Option<TreeHead>,
    ) -> Self {
        let knows = done.map_or(0, |done| done.size);
        Self { number, witness, ledger, log, tree, metrics, knows, done, said: None }
    }

    /// Goes on until nobody offers any more.
    pub(crate) async fn run(
        mut self,
        mut offers: watch::Receiver<Option<Offer>>,
        answers: mpsc::Sender<Answered>,
    ) {
        let mut pause = PAUSE;
        loop {
            let new =
                |offer: &Option<Offer>| offer.as_ref().is_some_and(|offer| Some(offer.tree) != self.done);
            let Ok(Some(offer)) = offers.wait_for(new).await.map(|offer| offer.clone()) else { return };
            let result = self.carry(&offer).await;
            self.tell(result.as_ref().err());
            let cosignature = result.ok();
            let failed = cosignature.is_none();
            if !failed {
                (self.done, self.knows) = (Some(offer.tree), offer.tree.size);
            }
            let answered = Answered { witness: self.number, tree: offer.tree, cosignature };
            if answers.send(answered).await.is_err() {
                return;
            }
            if failed {
                tokio::time::sleep(pause).await;
            }
            pause = if failed { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
        }
    }

    /// Whether a log goes on from what the witness knows; `offer` is a checkpoint of all of it.
    pub(super) async fn ask(mut self, offer: &Offer) -> Asked {
        match self.carry(offer).await {
            Ok(_) => Asked::Agrees,
            Err(Failed::Ahead { knows, signed }) => {
                Asked::Denies(Contradiction::Missing { first: signed, last: knows - 1 })
            }
            Err(Failed::Fork) => Asked::Denies(Contradiction::Rewritten { size: offer.tree.size }),
            Err(failed) => Asked::Silent(failed.to_string()),
        }
    }

    /// One checkpoint: asked again where the witness knows another size than it was believed to.
    async fn carry(&mut self, offer: &Offer) -> Result<Cosignature, Failed> {
        self.knows = self.knows.min(offer.tree.size);
        for _ in 0..=CORRECTIONS_MAX {
            let old = self.knows;
            let answer = self.witness.ask(self.request(old, offer).await?).await?;
            match answer.status {
                200 => {
                    let cosigned = self.witness.key().among(&offer.note, &answer.body);
                    return cosigned.map_err(|_| Failed::Cosignature);
                }
                403 => return Err(Failed::Untrusted),
                404 => return Err(Failed::UnknownLog),
                422 => return Err(Failed::Fork),
                409 if answer.is_size => self.knows = corrected(&answer.body, old, offer)?,
                status => return Err(Failed::Status(status)),
            }
        }
        Err(Failed::Unsteady)
    }

    async fn request(&self, old: u64, offer: &Offer) -> Result<Vec<u8>, Failed> {
        let (log, tree, offer) = (Arc::clone(&self.log), Arc::clone(&self.tree), offer.clone());
        let ledger = self.ledger.clone();
        let made = tokio::task::spawn_blocking(move || {
            let (_, proof) =
                trees::ask(&ledger, &tree, log.as_ref(), |tree| tree.consistency(old, &offer.tree))?;
            Ok(to_bytes(old, &proof, &offer.note))
        });
        made.await.map_err(|_| Failed::Thread)?
    }

    /// Says what is wrong, once, and counts every time.
    fn tell(&mut self, failed: Option<&Failed>) {
        let (ledger, witness) = (&self.ledger, self.witness.key().name());
        let reason = failed.map(Failed::reason);
        if let Some(reason) = reason {
            self.metrics.witness_failed(witness, reason);
        }
        if self.said == reason {
            return;
        }
        match failed {
            None => tracing::info!(%ledger, witness, "the witness cosigns again"),
            Some(failed @ Failed::NoAnswer(_)) => {
                tracing::warn!(%ledger, witness, error = %failed, "a witness does not cosign; it is asked again");
            }
            Some(failed) => {
                tracing::error!(%ledger, witness, error = %failed, "A WITNESS DOES NOT COSIGN; see docs/witnesses.md");
            }
        }
        self.said = reason;
    }
}

/// The size that a witness says it knows.
fn corrected(body: &[u8], old: u64, offer: &Offer) -> Result<u64, Failed> {
    let text = std::str::from_utf8(body).ok().and_then(|text| text.strip_suffix('\n'));
    let knows: Option<u64> = text.and_then(|text| text.parse().ok().filter(|n: &u64| n.to_string() == text));
    let signed = offer.tree.size;
    match knows {
        None => Err(Failed::Status(409)),
        Some(knows) if knows > signed => Err(Failed::Ahead { knows, signed }),
        // It was told what it knows, and does not agree: it has another tree of that size.
        Some(knows) if knows == old => Err(if old == signed { Failed::Fork } else { Failed::Status(409) }),
        Some(knows) => Ok(knows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_taken_as_the_specification_writes_it_and_only_where_it_makes_sense() {
        let tree = TreeHead { size: 20, root: [0; 32] };
        let offer = Offer { tree, note: Arc::from(&b""[..]) };
        let said = |body: &str, old| corrected(body.as_bytes(), old, &offer);
        assert!(matches!(said("7\n", 0), Ok(7)));
        assert!(matches!(said("20\n", 3), Ok(20)));
        assert!(matches!(said("0\n", 3), Ok(0)), "a witness that has forgotten everything");
        assert!(matches!(said("21\n", 0), Err(Failed::Ahead { knows: 21, signed: 20 })));
        assert!(matches!(said("20\n", 20), Err(Failed::Fork)), "another tree of that size");
        assert!(matches!(said("7\n", 7), Err(Failed::Status(409))));
        for body in ["", "7", "07\n", "+7\n", "7\n\n", " 7\n", "x\n", "99999999999999999999\n", "7\r\n"] {
            assert!(matches!(said(body, 0), Err(Failed::Status(409))), "{body:?}");
        }
    }
}
