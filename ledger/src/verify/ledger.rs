//! One ledger: its names, its segments, and patience with a server that is writing.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::chain::Chain;
use super::crew;
use super::effort::Effort;
use super::findings::Findings;
use super::known::{Claims, Evidence};
use super::names;
use super::published::published;
use super::sought::{Noted, Sought};
use super::source::Source;
use super::stored::Stored;
use super::tree::Subtrees;
use super::walk::{self, Segment, Torn, Verdict};
use super::{LedgerReport, Meter, Progress, Reached};
use crate::disk::Disk;
use crate::log::Damage;
use crate::types::{LedgerName, Position};

/// How long to wait before each further reading of what may be a write in progress: a second in all.
const PAUSES_MS: [u64; 6] = [20, 40, 80, 160, 300, 400];

pub(super) struct Judge<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    effort: &'a Effort,
    progress: &'a dyn Progress,
    reached: Reached<'a>,
    findings: Findings,
    chain: Chain,
    torn: Option<Torn>,
    sought: Sought,
    noted: Noted,
}

/// Judges the ledger in `dir`, also by what is known of it.
///
/// # Errors
/// Where its directories cannot be listed.
pub(super) fn judge(
    disk: &dyn Disk,
    dir: &Path,
    name: &LedgerName,
    effort: &Effort,
    meter: &Meter<'_>,
    evidence: &Evidence,
) -> io::Result<LedgerReport> {
    // Before the log: while a server writes, its checkpoints are behind the log, and its tree is.
    let claims = evidence.of(disk, dir, name);
    let sought = Sought { sizes: claims.sizes().collect(), stored: Stored::open(disk, dir) };
    let (findings, chain, reached) = (Findings::default(), Chain::start(), Reached::new(meter));
    let progress = meter.progress;
    let noted = Noted::default();
    let mut judge =
        Judge { disk, dir, effort, progress, reached, findings, chain, torn: None, sought, noted };
    judge.names()?;
    judge.segments()?;
    Ok(judge.report(name, claims))
}

impl Judge<'_> {
    fn names(&mut self) -> io::Result<()> {
        for file in names::strangers_in_ledger(self.disk, self.dir)? {
            let reason = "no file of a ledger has this name".to_owned();
            self.findings.add(Position(0), Damage { position: Position(0), file, offset: 0, reason });
        }
        Ok(())
    }

    fn segments(&mut self) -> io::Result<()> {
        let mut segments = names::segments(self.disk, self.dir)?;
        let mut judged = 0;
        let mut patience = Patience::default();
        loop {
            self.reached.goes_on()?;
            let before = judged;
            let Some(segment) = self.doubtful(&mut segments, &mut judged)? else { break };
            if judged > before {
                patience = Patience::default();
            }
            let told = published(self.disk, self.dir);
            let verdict = self.segment(&segment);
            // Only the last segment is written to, and the one before it while it is being sealed.
            if segments.len() - judged <= 2 {
                let now = names::segments(self.disk, self.dir)?;
                if now.len() > segments.len() {
                    segments = now;
                    continue;
                }
                match patience.with(&verdict, told) {
                    Next::Wait(pause) if self.progress.wait(pause) => continue,
                    Next::Wait(_) | Next::Settle => self.settle(verdict),
                    Next::InProgress => {
                        self.chain = verdict.sound;
                        self.noted.extend(verdict.noted);
                    }
                }
            } else {
                self.settle(verdict);
            }
            patience = Patience::default();
            judged += 1;
        }
        Ok(())
    }

    /// Goes on over segments that are sound to the first that may not be; `None` where there is none.
    fn doubtful(&mut self, segments: &mut Vec<Segment>, judged: &mut usize) -> io::Result<Option<Segment>> {
        loop {
            let behind = segments.get(*judged..).unwrap_or_default();
            let Some((last, sealed)) = behind.split_last() else { return Ok(None) };
            let (sound, noted) = self.accept(sealed);
            self.noted.extend(noted);
            *judged += sound;
            if sound < sealed.len() {
                return Ok(segments.get(*judged).cloned());
            }
            let before = self.chain.clone();
            let (sound, noted) = self.accept(std::slice::from_ref(last));
            if sound == 0 {
                return Ok(Some(last.clone()));
            }
            // A server may have gone on in it and begun another meanwhile.
            let now = names::segments(self.disk, self.dir)?;
            if now.len() <= segments.len() {
                self.noted.extend(noted);
                return Ok(None);
            }
            (self.chain, *segments) = (before, now);
        }
    }

    /// How many of the segments are sound, one behind the other, and what was found in them; the chain then stands behind
    /// them.
    fn accept(&mut self, segments: &[Segment]) -> (usize, Noted) {
        let start = self.chain.clone();
        let Self { disk, dir, effort, reached, sought, .. } = self;
        let (sound, chain, noted) = crew::sound_ones(*disk, dir, segments, start, effort, reached, sought);
        self.chain = chain;
        (sound, noted)
    }

    /// A file that cannot be read is damage like any other, and no reason to leave the others unread.
    fn segment(&self, segment: &Segment) -> Verdict {
        let path = self.dir.join(&*segment.file);
        let verdict = Source::open(self.disk, &path, segment.named, &self.reached)
            .and_then(|source| walk::judge(source, segment, self.chain.clone(), &self.sought));
        verdict.unwrap_or_else(|e| self.unreadable(segment, &e))
    }

    fn unreadable(&self, segment: &Segment, e: &io::Error) -> Verdict {
        let mut findings = Findings::default();
        let reason = format!("the file cannot be read: {e}");
        let damage = Damage { position: segment.named, file: segment.file.to_string(), offset: 0, reason };
        findings.add(self.chain.next, damage);
        let mut chain = self.chain.clone();
        chain.skip_to(segment.follower.unwrap_or(segment.named).max(chain.next));
        Verdict { chain, sound: self.chain.clone(), findings, torn: None, noted: Noted::default() }
    }

    fn settle(&mut self, verdict: Verdict) {
        self.chain = verdict.chain;
        self.findings.extend(verdict.findings);
        self.torn = verdict.torn;
        self.noted.extend(verdict.noted);
    }

    fn report(mut self, name: &LedgerName, claims: Claims) -> LedgerReport {
        let (wrong, unlisted) = self.noted.wrong.damages(self.chain.next);
        wrong.into_iter().for_each(|damage| self.findings.add(self.chain.next, damage));
        LedgerReport {
            ledger: name.to_string(),
            uid: self.chain.uid,
            entries: self.chain.next,
            head: self.chain.head,
            torn_bytes: self.torn.map_or(0, |torn| torn.bytes),
            torn_from: self.torn.map(|torn| torn.from),
            published: published(self.disk, self.dir),
            damage: self.findings.listed.into_iter().map(|finding| finding.damage).collect(),
            damage_unlisted: self.findings.unlisted + unlisted,
            tree: self.chain.tree.as_ref().map(Subtrees::root),
            checkpoints: claims.against(self.chain.next, &self.noted.roots),
        }
    }
}

/// What to do with a verdict on a segment that a server may be writing to.
enum Next {
    /// Read it again after a pause.
    Wait(Duration),
    /// It stands.
    Settle,
    /// What fails is a write in progress, behind everything that the server has said is durable.
    InProgress,
}

/// How often one segment has been read, and what the server said at first.
#[derive(Default)]
struct Patience {
    readings: usize,
    first_told: Option<Position>,
}

impl Patience {
    /// `told` is what the server had published before the reading.
    fn with(&mut self, verdict: &Verdict, told: Option<Position>) -> Next {
        let torn = verdict.torn.map(|torn| torn.from);
        let reached = verdict.findings.listed.iter().map(|finding| finding.reached).chain(torn);
        let durable = told.unwrap_or_default();
        let (Some(earliest), Some(latest)) = (reached.clone().min(), reached.max()) else {
            return Next::Settle;
        };
        if latest < durable {
            return Next::Settle;
        }
        if self.readings == 0 {
            self.first_told = told;
        }
        // Only a living server moves its tail.
        if told > self.first_told && earliest >= durable {
            return Next::InProgress;
        }
        let pause = PAUSES_MS.get(self.readings).copied();
        self.readings += 1;
        pause.map_or(Next::Settle, |ms| Next::Wait(Duration::from_millis(ms)))
    }
}
