//! What is asked once something is known to be wrong: what exactly, and what proves it to others. Nothing that fails here,
//! at the server or on this machine, may hide that it is wrong, so nothing here returns an error: it can't tell more.

use ledger::audit::{Audit, AuditState, Bisection, Finding};
use ledger::checkpoint::{Checkpoint, Signed};
use ledger::proof::Fork;
use ledger::tree::{Hash, TreeHead, check_consistency};

use super::remote::GoesOn;
use super::{Auditor, Wrong, kept};

/// No longer note is kept, in bytes.
const NOTE_BYTES_MAX: usize = 64 * 1024;

impl Auditor<'_> {
    /// An entry cannot stand where it does. Where the one before it was changed, it is that which is named.
    pub(super) async fn found(&mut self, audit: &Audit, finding: Finding) -> Wrong {
        let position = self.first_difference(audit.next()).await;
        match position.filter(|position| *position < finding.position) {
            Some(position) => Self::other_entry(position),
            None => Wrong::at(finding.position, finding),
        }
    }

    /// What was taken in, so many entries in all, is not what the checkpoint of a note covers.
    pub(super) async fn not_covered(&mut self, size: u64, note: &[u8]) -> Wrong {
        match self.first_difference(size).await {
            Some(position) => Self::other_entry(position),
            None => {
                let from = self.outcome.from;
                let reason = format!("the entries from {from} on are not those that the checkpoint covers");
                Wrong { note: self.worth_keeping(note), ..Wrong::because(reason) }
            }
        }
    }

    fn other_entry(position: u64) -> Wrong {
        Wrong::at(position, format!("the entry at {position} is not the one that the checkpoint covers"))
    }

    /// The first entry that is not the one in the log's own tree, of the first `size` that were taken in, if the server
    /// proves what it should have been; that at `size`, if all of those are right.
    async fn first_difference(&mut self, size: u64) -> Option<u64> {
        if self.is_right_up_to(size).await == Some(true) {
            return Some(size);
        }
        let mut search = Bisection::between(self.before().size, size);
        while let Some(size) = search.question() {
            let same = self.is_right_up_to(size).await?;
            search.answer(same);
        }
        Some(search.position())
    }

    /// Whether the first `size` entries that were taken in are those of the log; `None` where the server does not prove
    /// it.
    async fn is_right_up_to(&mut self, size: u64) -> Option<bool> {
        let ours = self.tree.as_ref()?.head_at(size).ok()?;
        let shown = self.remote.goes_on(size).await.ok().flatten()?;
        let signed = self.keys.open(&shown.note).ok()?;
        let theirs = TreeHead { size, root: shown.old_root };
        check_consistency(&shown.hashes, &theirs, &signed.checkpoint.tree).ok()?;
        Some(theirs == ours)
    }

    /// The server knows nothing of a ledger that it had.
    pub(super) fn gone(&self) -> Wrong {
        let had = self.outcome.from;
        Wrong::because(format!(
            "the ledger is gone: the server had {had} entries of it, and says that there is none"
        ))
    }

    /// The server says that it has fewer entries than there were.
    pub(super) async fn went_back(&mut self) -> Wrong {
        let Some(then) = self.state.as_ref().map(|state| state.head().size) else {
            return Wrong::because("the log is empty");
        };
        let fewer = format!("the server says that it has fewer than the {then} entries that it had");
        let Ok(note) = self.remote.checkpoint().await else {
            return Wrong::because(format!("{fewer}, and shows no checkpoint"));
        };
        match self.all_keys.open(&note) {
            Err(error) => {
                let reason = format!("{fewer}; of the checkpoint that it shows: {error}");
                Wrong { note: self.worth_keeping(&note), ..Wrong::because(reason) }
            }
            Ok(signed) if signed.checkpoint.tree.size < then => {
                self.shows(&signed);
                self.smaller(&signed, &note)
            }
            // What is no older than the last one, no key may have signed that was left behind by then.
            Ok(_) => match self.opened(&self.keys, &note) {
                Err(wrong) => *wrong,
                Ok(signed) => self.not_fewer(&signed, &note, &fewer).await,
            },
        }
    }

    /// The server says that it has fewer entries, and shows a checkpoint of as many or more.
    async fn not_fewer(&mut self, signed: &Signed, note: &[u8], fewer: &str) -> Wrong {
        self.shows(signed);
        let reason = format!("{fewer}, and shows a checkpoint of {}", signed.checkpoint.tree.size);
        self.contradicts(signed, None).await.unwrap_or_else(|| {
            let note = self.worth_keeping(note);
            Wrong { note, ..Wrong::because(reason) }
        })
    }

    /// What a checkpoint says that is smaller than the last one that was seen.
    pub(super) fn smaller(&self, signed: &Signed, note: &[u8]) -> Wrong {
        let Some(state) = &self.state else { return Wrong::because("the log is empty") };
        let (then, now) = (state.head(), signed.checkpoint.tree);
        let ours = self.tree.as_ref().and_then(|tree| tree.consistency(now.size, &then).ok());
        let known = ours.is_some();
        let path = ours.map(|(head, hashes)| (head.root, hashes));
        let back = format!("the server went back: it had {} entries, and has {}", then.size, now.size);
        match Fork::between(state.signed(), signed, path) {
            Ok(fork) => Self::fork(state.signed(), signed, fork),
            Err(_) if known => Wrong::because(format!("{back}; these are the first of those that it had")),
            Err(_) => {
                let reason = format!("{back}; whether these are the first of them is not known");
                Wrong { note: self.worth_keeping(note), ..Wrong::because(reason) }
            }
        }
    }

    fn fork(before: &Signed, now: &Signed, fork: Fork) -> Wrong {
        let reason = format!(
            "the log has forked: its checkpoint of {} entries contradicts the one of {} entries that it signed before",
            now.checkpoint.tree.size, before.checkpoint.tree.size
        );
        Wrong { evidence: Some(fork), ..Wrong::because(reason) }
    }

    /// A checkpoint of as many entries or more that was not shown to go on from the last one that was seen.
    pub(super) async fn forked(&mut self, signed: &Signed, shown: GoesOn) -> Wrong {
        let reason = format!(
            "the server does not show that its checkpoint of {} entries goes on from the {} that it had",
            signed.checkpoint.tree.size, self.outcome.from
        );
        let path = Some((shown.old_root, shown.hashes));
        self.contradicts(signed, path).await.unwrap_or_else(|| {
            let note = self.worth_keeping(&shown.note);
            Wrong { note, ..Wrong::because(reason) }
        })
    }

    /// That a checkpoint of as many entries or more contradicts the last one: by what the server shows, or else by its own
    /// entries.
    async fn contradicts(&mut self, signed: &Signed, shown: Option<(Hash, Vec<Hash>)>) -> Option<Wrong> {
        let before = self.state.as_ref().map(AuditState::signed)?.clone();
        let (then, now) = (before.checkpoint.tree, signed.checkpoint.tree);
        if let Ok(fork) = Fork::between(&before, signed, shown) {
            return Some(Self::fork(&before, signed, fork));
        }
        if now.size == then.size {
            return None;
        }
        let path = self.path_of_theirs(then.size, &now).await?;
        let fork = Fork::between(&before, signed, Some(path)).ok()?;
        Some(Self::fork(&before, signed, fork))
    }

    /// The root that the server's tree had at a size, and what leads from it to the whole, made from all its entries.
    async fn path_of_theirs(&mut self, size: u64, whole: &TreeHead) -> Option<(Hash, Vec<Hash>)> {
        let dir = tempfile::tempdir().ok()?;
        let tree = kept::tree_in(dir.path(), &[]);
        let mut entries = self.remote.entries(0, whole.size).await.ok()?;
        while tree.head().size < whole.size {
            let message = entries.message().await.ok().flatten()?;
            let first = tree.head().size;
            if message.first_position != first || message.entries.is_empty() {
                return None;
            }
            let leaves: Vec<Hash> = message.entries.iter().map(|entry| ledger::tree::leaf(entry)).collect();
            tree.extend(first, &leaves);
            (self.progress)(tree.head().size, whole.size);
        }
        let path = if tree.head() == *whole { tree.consistency(size, whole).ok() } else { None };
        path.map(|(head, hashes)| (head.root, hashes))
    }

    /// A note of this log that may be of use to somebody, though nothing proves here what is wrong with it.
    pub(super) fn worth_keeping(&self, note: &[u8]) -> Option<Vec<u8>> {
        let says = Checkpoint::unverified(note).ok().filter(|_| note.len() <= NOTE_BYTES_MAX)?;
        // It may have to be shown on a terminal, and the names of those who cosigned it are anybody's.
        let plain = std::str::from_utf8(note).ok()?.chars().all(|c| c == '\n' || !c.is_control());
        (plain && says.origin == self.keys.origin()).then(|| note.to_vec())
    }
}
