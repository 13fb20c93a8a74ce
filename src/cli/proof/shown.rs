//! What a file proves, as it is printed.

use std::path::Path;

use ledger::checkpoint::{Checkpoint, LogKeys, Signed};
use ledger::entry;
use ledger::event;
use ledger::proof::{BadProof, ConsistencyProof, Fork, Proof, Proven, ProvenSequence, SequenceProof};
use ledger::tree;
use serde::Serialize;

use crate::cli::exit::Exit;
use crate::cli::print::{Section, Shown, counted};

/// What a file proves, if it does.
#[derive(Debug, Default, Serialize)]
pub struct Proved {
    pub(super) ok: bool,
    file: String,
    proves: Option<&'static str>,
    position: Option<u64>,
    event_id: Option<String>,
    emitter: Option<String>,
    kind: Option<String>,
    account: Option<String>,
    recorded_at: Option<String>,
    link: Option<String>,
    from: Option<u64>,
    to: Option<u64>,
    positions: Vec<u64>,
    origin: Option<String>,
    size: Option<u64>,
    root: Option<String>,
    contradicts: Option<Smaller>,
    reason: Option<String>,
    goes_on_from: Option<Smaller>,
}

/// The smaller one of two checkpoints.
#[derive(Debug, Serialize)]
struct Smaller {
    size: u64,
    root: String,
}

impl Smaller {
    fn of(checkpoint: &Checkpoint) -> Self {
        let tree::TreeHead { size, root } = checkpoint.tree;
        Self { size, root: hex::encode(root) }
    }
}

/// What the bytes of a file prove to whoever has these keys.
pub(super) fn proved(bytes: &[u8], keys: &LogKeys) -> Result<Proved, String> {
    let proved = if SequenceProof::is_one(bytes) {
        SequenceProof::parse(bytes).and_then(|proof| {
            let proven = keys.try_each(|key| proof.verify(key))?;
            Ok(Proved::sequence(&proof, &proven))
        })
    } else if ConsistencyProof::is_one(bytes) {
        let proven = ConsistencyProof::parse(bytes).and_then(|proof| proof.verify(keys));
        proven.map(|[smaller, larger]| Proved::consistency(&smaller.checkpoint, &larger.checkpoint))
    } else if Fork::is_one(bytes) {
        Fork::parse(bytes).and_then(|fork| fork.verify(keys)).map(|signed| Proved::fork(&signed))
    } else {
        Proof::parse(bytes)
            .and_then(|proof| keys.try_each(|key| proof.verify(key)))
            .map(|p| Proved::event(&p))
    };
    proved.map_err(|why: BadProof| why.to_string())
}

impl Proved {
    fn under(checkpoint: &Checkpoint) -> Self {
        Self {
            ok: true,
            origin: Some(checkpoint.origin.clone()),
            size: Some(checkpoint.tree.size),
            root: Some(hex::encode(checkpoint.tree.root)),
            ..Self::default()
        }
    }

    /// That there is an event.
    #[must_use]
    pub fn event(proven: &Proven) -> Self {
        let Proven { checkpoint, header, event: bytes } = proven;
        let event = event::stored(header, bytes).event;
        let link = entry::encode(header, bytes).map(|entry| entry::link(&entry).to_string());
        Self {
            proves: Some("event"),
            position: Some(header.position.0),
            event_id: Some(header.event_id.to_string()),
            emitter: Some(header.emitter.to_string()),
            kind: Some(event.fact.kind().name().to_owned()),
            account: event.account.map(|account| account.to_string()),
            recorded_at: Some(header.recorded_at.to_string()),
            link: link.ok(),
            ..Self::under(checkpoint)
        }
    }

    /// That no event of an emitter is missing between two.
    pub(super) fn sequence(proof: &SequenceProof, proven: &ProvenSequence) -> Self {
        Self {
            proves: Some("sequence"),
            emitter: Some(proof.emitter.to_string()),
            from: Some(proof.from),
            to: Some(proof.to()),
            positions: proven.events.iter().map(|event| event.header.position.0).collect(),
            ..Self::under(&proven.checkpoint)
        }
    }

    /// That a log has forked.
    fn fork([smaller, larger]: &[Signed; 2]) -> Self {
        Self {
            proves: Some("fork"),
            contradicts: Some(Smaller::of(&smaller.checkpoint)),
            ..Self::under(&larger.checkpoint)
        }
    }

    /// That a log went on from one checkpoint to another.
    pub(super) fn consistency(smaller: &Checkpoint, larger: &Checkpoint) -> Self {
        Self { proves: Some("consistency"), goes_on_from: Some(Smaller::of(smaller)), ..Self::under(larger) }
    }

    /// That a file proves nothing.
    pub(super) fn nothing(file: &Path, why: &str) -> Self {
        Self { file: file.display().to_string(), reason: Some(why.to_owned()), ..Self::default() }
    }

    pub(super) fn of_file(self, file: &Path) -> Self {
        Self { file: file.display().to_string(), ..self }
    }

    pub(super) fn exit(&self) -> Exit {
        if self.ok { Exit::Done } else { Exit::Unverified }
    }

    fn told(&self) -> String {
        match (self.proves, &self.reason) {
            (Some("event"), _) => "the log has this event:".to_owned(),
            (Some("sequence"), _) => "the log has every one of these events:".to_owned(),
            (Some("consistency"), _) => "the log went on from one checkpoint to the other:".to_owned(),
            (Some(_), _) => "the log has FORKED: it signed both of these checkpoints".to_owned(),
            (None, reason) => format!("PROVES NOTHING: {}", reason.as_deref().unwrap_or_default()),
        }
    }
}

impl Shown for Proved {
    const FIELDS: &'static [&'static str] = &[
        "ok",
        "file",
        "proves",
        "position",
        "event_id",
        "emitter",
        "kind",
        "account",
        "recorded_at",
        "link",
        "from",
        "to",
        "positions",
        "origin",
        "size",
        "root",
        "contradicts",
        "reason",
        "goes_on_from",
    ];
    const COLUMNS: &'static [&'static str] = &["proves", "position", "event", "origin", "size"];

    fn row(&self) -> Vec<String> {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        vec![
            self.proves.unwrap_or("nothing").to_owned(),
            number(self.position),
            self.event_id.clone().unwrap_or_default(),
            self.origin.clone().unwrap_or_default(),
            number(self.size),
        ]
    }

    fn page(&self) -> Vec<Section> {
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let numbers = self.from.zip(self.to).map(|(from, to)| format!("{from} to {to}"));
        let checkpoint = |size: u64, root: &str| format!("{}, root {root}", counted(size, "entry"));
        let newest = self.size.zip(self.root.as_deref()).map(|(size, root)| checkpoint(size, root));
        let smaller = |other: &Option<Smaller>| {
            other.as_ref().map(|other| checkpoint(other.size, &other.root)).unwrap_or_default()
        };
        let facts = [
            ("position", number(self.position)),
            ("kind", text(&self.kind)),
            ("event id", text(&self.event_id)),
            ("emitter", text(&self.emitter)),
            ("numbers", numbers.unwrap_or_default()),
            ("account", text(&self.account)),
            ("recorded at", text(&self.recorded_at)),
            ("link", text(&self.link)),
            ("log", text(&self.origin)),
            ("checkpoint", newest.unwrap_or_default()),
            ("and", smaller(&self.contradicts)),
            ("goes on from", smaller(&self.goes_on_from)),
        ];
        vec![Section::line(self.told()), Section::facts(&facts)]
    }
}

#[cfg(test)]
#[path = "shown_tests.rs"]
mod tests;
