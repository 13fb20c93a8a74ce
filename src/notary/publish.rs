//! What becomes of a checkpoint that was signed: it is published at once, or when enough witnesses have cosigned it; and
//! their cosignatures join it.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ledger::anchor::Known;
use ledger::checkpoint::VerifierKey;
use ledger::checkpoint::cosignature::{Cosignature, CosignerKey};
use ledger::disk::{self, Disk};
use ledger::log::LogStore;
use ledger::tiles::TreeStore;
use ledger::types::LedgerName;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Ask, Issued, ProofError};
use crate::metrics::LedgerMetrics;
use crate::witness::{Answered, Courier, Offer, Witnesses};

/// The file of a ledger that holds the newest checkpoint with its cosignatures.
pub(super) const NAME: &str = "checkpoint.witnessed";
/// How long a request waits for a checkpoint that witnesses have yet to cosign.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// After so long without enough cosignatures a newer checkpoint takes the place of one that is not published.
const ROUND_MAX: Duration = Duration::from_secs(20);
/// How long the end of the server waits for the last one's cosignatures.
const END_MAX: Duration = Duration::from_secs(1);
/// How many answers of witnesses wait.
const ANSWERS_MAX: usize = 64;

/// Publishes the checkpoints of one ledger.
pub(super) struct Publisher {
    newest: watch::Sender<Option<Issued>>,
    /// The one that was signed last, and since when there is no other.
    signed: Option<Issued>,
    since: Instant,
    /// When to try again to keep one that enough have cosigned.
    keep_again: Option<Instant>,
    /// Those who wait for one, and until when.
    waiting: Vec<(Ask, Instant)>,
    panel: Option<Panel>,
}

/// The witnesses of one ledger.
struct Panel {
    witnesses: Arc<Witnesses>,
    /// Cosignatures on the checkpoint that was signed last, by the number of the witness.
    cosigned: BTreeMap<usize, Cosignature>,
    /// Whether each cosigned what it was offered last.
    standing: Vec<bool>,
    offers: watch::Sender<Option<Offer>>,
    answers: mpsc::Receiver<Answered>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    metrics: LedgerMetrics,
    /// They end with this.
    _couriers: JoinSet<()>,
}

/// With whom to work.
pub(super) struct Colleagues {
    pub(super) name: LedgerName,
    pub(super) log: Arc<dyn LogStore>,
    pub(super) tree: Arc<TreeStore>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) dir: PathBuf,
    pub(super) metrics: LedgerMetrics,
    pub(super) witnesses: Option<Arc<Witnesses>>,
}

impl Publisher {
    /// Begins with the checkpoint that was signed last, and the one that was kept with its cosignatures. What was published
    /// before stays so, as long as no more witnesses than then must have cosigned it.
    pub(super) fn new(
        with: Colleagues,
        verifier: &VerifierKey,
        signed: Option<Issued>,
        cosigned: Option<Known>,
    ) -> (Self, watch::Receiver<Option<Issued>>) {
        let (mut newest, mut panel) = (signed.clone(), None);
        if let Some(witnesses) = with.witnesses.clone() {
            let kept = cosigned.and_then(|kept| Kept::read(verifier, &witnesses, kept.note.into_bytes()));
            let same =
                kept.as_ref().filter(|kept| signed.as_ref().is_some_and(|s| s.tree == kept.issued.tree));
            newest = match (&kept, same) {
                (Some(kept), Some(_)) if kept.issued.witnesses.len() >= witnesses.quorum() => {
                    Some(kept.issued.clone())
                }
                _ if witnesses.quorum() == 0 => newest,
                (Some(kept), _) if kept.issued.witnessed => Some(kept.issued.clone()),
                _ => None,
            };
            panel =
                Some(Panel::new(&with, witnesses, signed.as_ref(), same.map(|kept| kept.cosigned.clone())));
        }
        // What was not cosigned by everybody when the server ended is offered again.
        if let (Some(panel), Some(signed)) = (&panel, &signed) {
            panel.offer(signed);
        }
        let (newest, receiver) = watch::channel(newest);
        let since = Instant::now();
        (Self { newest, signed, since, keep_again: None, waiting: Vec::new(), panel }, receiver)
    }

    /// The checkpoint that was signed last.
    pub(super) fn signed(&self) -> Option<Issued> {
        self.signed.clone()
    }

    /// Whether one that was signed is still waiting for witnesses, so that no other is signed.
    pub(super) fn is_held(&self) -> bool {
        let published = self.newest.borrow().as_ref().map(|newest| newest.tree);
        let held = self.signed.as_ref().is_some_and(|signed| Some(signed.tree) != published);
        held && self.since.elapsed() < ROUND_MAX
    }

    /// Whether somebody waits for a newer one than is published.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Somebody waits for a checkpoint.
    pub(super) fn wait(&mut self, ask: Ask) {
        self.waiting.push((ask, Instant::now() + WAIT_MAX));
    }

    /// One was signed: it is published, or offered to the witnesses first. The same one again changes nothing.
    pub(super) fn signed_now(&mut self, issued: Issued) {
        if self.signed.as_ref().is_none_or(|signed| signed.tree != issued.tree) {
            self.signed = Some(issued.clone());
            self.since = Instant::now();
            if let Some(panel) = &mut self.panel {
                panel.cosigned.clear();
            }
        }
        if let Some(panel) = &self.panel {
            panel.offer(&issued);
        }
        let at_once = self.panel.as_ref().is_none_or(|panel| panel.witnesses.quorum() == 0);
        if at_once && self.newest.borrow().as_ref().is_none_or(|newest| newest.tree != issued.tree) {
            self.publish(issued);
        }
        // It covers all there is: nobody gets more by waiting.
        self.answer_those_who_wait(if at_once { 0 } else { u64::MAX });
    }

    /// None could be signed.
    pub(super) fn failed(&mut self, error: &Arc<ProofError>) {
        for (ask, _) in self.waiting.drain(..) {
            let _ = ask.answer.send(Err(Arc::clone(error)));
        }
    }

    fn publish(&self, issued: Issued) {
        self.newest.send_if_modified(|newest| newest.replace(issued.clone()).as_ref() != Some(&issued));
    }

    /// Answers those whom the newest one is enough for; each is content with `enough`.
    fn answer_those_who_wait(&mut self, enough: u64) {
        let Some(newest) = self.newest.borrow().clone() else { return };
        for (ask, until) in std::mem::take(&mut self.waiting) {
            if ask.size.min(enough) <= newest.tree.size {
                let _ = ask.answer.send(Ok(newest.clone()));
            } else {
                self.waiting.push((ask, until));
            }
        }
    }

    /// The next thing that happens without being asked: a witness answers, or somebody has waited long enough.
    pub(super) async fn next(&mut self) -> Option<Answered> {
        let until = self.waiting.iter().map(|(_, until)| *until).chain(self.keep_again).min();
        let late = async {
            match until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        let answered = async {
            match &mut self.panel {
                Some(panel) => panel.answers.recv().await,
                None => None,
            }
        };
        tokio::select! {
            () = late => None,
            Some(answered) = answered => Some(answered),
            else => std::future::pending().await,
        }
    }

    /// Takes what [`Publisher::next`] gave.
    pub(super) async fn take(&mut self, answered: Option<Answered>) {
        let Some(panel) = &mut self.panel else { return self.waiting.clear() };
        let mut new = false;
        let more = std::iter::from_fn(|| panel.answers.try_recv().ok()).collect::<Vec<_>>();
        for answered in answered.into_iter().chain(more) {
            new |= panel.take(answered, self.signed.as_ref());
        }
        panel.measure(self.signed.is_some());
        new |= self.keep_again.take_if(|at| *at <= Instant::now()).is_some();
        if new && let Some(issued) = self.signed.as_ref().and_then(|signed| panel.joined(signed)) {
            match panel.keep(&issued).await {
                Ok(()) => self.publish(issued),
                Err(error) => {
                    tracing::error!(%error, "a cosigned checkpoint can't be kept, so it is not published");
                    self.keep_again = Some(Instant::now() + super::RETRY);
                }
            }
        }
        self.answer_those_who_wait(u64::MAX);
        self.dismiss_the_late();
    }

    /// Tells those who have waited long enough how far the witnesses are.
    fn dismiss_the_late(&mut self) {
        let Some(panel) = &self.panel else { return };
        let now = Instant::now();
        let error = Arc::new(ProofError::Unwitnessed {
            cosigned: panel.cosigned.len(),
            of: panel.witnesses.count(),
            quorum: panel.witnesses.quorum(),
        });
        for (ask, until) in std::mem::take(&mut self.waiting) {
            if until <= now {
                let _ = ask.answer.send(Err(Arc::clone(&error)));
            } else {
                self.waiting.push((ask, until));
            }
        }
    }

    /// Waits a moment for the cosignatures of the last checkpoint, where those who give them are there.
    pub(super) async fn end(&mut self) {
        let end = Instant::now() + END_MAX;
        while self.panel.as_ref().is_some_and(Panel::is_awaited) {
            let Ok(answered) = tokio::time::timeout_at(end, self.next()).await else { return };
            self.take(answered).await;
        }
    }
}

impl Panel {
    fn new(
        with: &Colleagues,
        witnesses: Arc<Witnesses>,
        signed: Option<&Issued>,
        cosigned: Option<BTreeMap<usize, Cosignature>>,
    ) -> Self {
        let cosigned = cosigned.unwrap_or_default();
        let (offers, offered) = watch::channel(None);
        let (sender, answers) = mpsc::channel(ANSWERS_MAX);
        let mut couriers = JoinSet::new();
        for (number, witness) in witnesses.all() {
            let done = signed.filter(|_| cosigned.contains_key(&number)).map(|signed| signed.tree);
            let (name, metrics) = (with.name.clone(), with.metrics.clone());
            let log = (Arc::clone(&with.log), Arc::clone(&with.tree));
            let courier = Courier::new((number, witness), name, log, metrics, done);
            couriers.spawn(courier.run(offered.clone(), sender.clone()));
        }
        let standing = (0..witnesses.count()).map(|number| cosigned.contains_key(&number)).collect();
        let (disk, dir, metrics) = (Arc::clone(&with.disk), with.dir.clone(), with.metrics.clone());
        let panel =
            Self { witnesses, cosigned, standing, offers, answers, disk, dir, metrics, _couriers: couriers };
        panel.measure(signed.is_some());
        panel
    }

    fn offer(&self, issued: &Issued) {
        let offer = Offer { tree: issued.tree, note: Arc::clone(&issued.note) };
        self.offers.send_if_modified(|offered| offered.replace(offer.clone()).as_ref() != Some(&offer));
    }

    /// Whether an answer is a new cosignature on the checkpoint that was signed last.
    fn take(&mut self, answered: Answered, signed: Option<&Issued>) -> bool {
        if let Some(standing) = self.standing.get_mut(answered.witness) {
            *standing = answered.cosignature.is_some();
        }
        match answered.cosignature {
            Some(cosignature) if signed.is_some_and(|signed| signed.tree == answered.tree) => {
                self.cosigned.insert(answered.witness, cosignature);
                true
            }
            _ => false,
        }
    }

    /// The checkpoint with its cosignatures, where it has so many that it may be published.
    fn joined(&self, signed: &Issued) -> Option<Issued> {
        if self.cosigned.len() < self.witnesses.quorum() {
            return None;
        }
        let mut note = signed.note.to_vec();
        self.cosigned.values().for_each(|cosignature| note.extend_from_slice(&cosignature.line));
        let names: Vec<&CosignerKey> = self.witnesses.keys().collect();
        let names = self.cosigned.keys().filter_map(|number| Some(names.get(*number)?.name().to_owned()));
        let witnessed = self.cosigned.len() >= self.witnesses.needed();
        Some(Issued { tree: signed.tree, note: note.into(), witnesses: names.collect(), witnessed })
    }

    /// What is shown to people outlives the server.
    async fn keep(&self, issued: &Issued) -> io::Result<()> {
        let (disk, path, note) = (Arc::clone(&self.disk), self.dir.join(NAME), Arc::clone(&issued.note));
        let kept = tokio::task::spawn_blocking(move || disk::replace(disk.as_ref(), &path, &note));
        kept.await.map_err(io::Error::other)?
    }

    fn measure(&self, any: bool) {
        let standing = self.standing.iter().filter(|standing| **standing).count();
        self.metrics.unwitnessed(any && standing < self.witnesses.needed());
    }

    /// Whether the last checkpoint lacks cosignatures of witnesses that stand.
    fn is_awaited(&self) -> bool {
        let standing = self.standing.iter().filter(|standing| **standing).count();
        self.cosigned.len() < self.witnesses.needed() && standing >= self.witnesses.needed()
    }
}

/// A checkpoint with cosignatures, as it was kept.
struct Kept {
    issued: Issued,
    cosigned: BTreeMap<usize, Cosignature>,
}

impl Kept {
    /// Nothing where the log's key has not signed it. Cosignatures of those who are no witnesses any more do not count.
    fn read(verifier: &VerifierKey, witnesses: &Witnesses, note: Vec<u8>) -> Option<Self> {
        let tree = verifier.open(&note).ok()?.tree;
        let found =
            witnesses.keys().enumerate().filter_map(|(n, key)| Some((n, key, key.cosigned(&note).ok()?)));
        let mut cosigned = BTreeMap::new();
        let mut names = Vec::new();
        for (number, key, cosignature) in found {
            names.push(key.name().to_owned());
            cosigned.insert(number, cosignature);
        }
        let witnessed = names.len() >= witnesses.needed();
        let issued = Issued { tree, note: note.into(), witnesses: names.into(), witnessed };
        Some(Self { issued, cosigned })
    }
}
