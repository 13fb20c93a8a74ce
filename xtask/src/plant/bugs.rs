//! The bugs. Each is one that a verifier could have: it accepts what it must not, or signs what it must not.
//!
//! Whoever adds a check to crate `ledger` adds the bug of leaving it out.

/// A bug that is planted.
#[derive(Debug)]
pub(super) struct Bug {
    pub(super) name: &'static str,
    /// From the root of the tree.
    pub(super) file: &'static str,
    /// The text that it changes, which the file has exactly once.
    pub(super) anchor: &'static str,
    pub(super) change: Change,
    /// Which tests must catch it: those whose names hold one of these.
    pub(super) tests: &'static [&'static str],
}

/// What becomes of the anchor while the bug is awake.
#[derive(Debug)]
pub(super) enum Change {
    /// An expression is this one instead.
    Says(&'static str),
    /// A statement is not executed.
    LeftOut,
    /// The text is this one, in which `PLANTED` is whether the bug is awake.
    Reads(&'static str),
}

use Change::{LeftOut, Reads, Says};

const PROOF: &str = "ledger/src/proof.rs";
const PART: &str = "ledger/src/proof/part.rs";
const TREE_PROOF: &str = "ledger/src/tree/proof.rs";
const CHECKPOINT: &str = "ledger/src/checkpoint.rs";
const ALONE: &str = "ledger/src/checkpoint/alone.rs";
const LINE: &str = "ledger/src/checkpoint/line.rs";
const COSIGNATURE: &str = "ledger/src/checkpoint/cosignature.rs";
const AUDIT: &str = "ledger/src/audit.rs";
const AUDIT_STATE: &str = "ledger/src/audit/state.rs";
const FORK: &str = "ledger/src/proof/fork.rs";
const CONSISTENCY: &str = "ledger/src/proof/consistency.rs";
const SEQUENCE: &str = "ledger/src/proof/sequence.rs";
const WITNESS: &str = "ledger/src/witness/mod.rs";
const WITNESS_STATE: &str = "ledger/src/witness/state.rs";
const KNOWN: &str = "ledger/src/verify/known.rs";
const ROTATION: &str = "ledger/src/checkpoint/rotation.rs";
const ANCHOR: &str = "ledger/src/anchor.rs";
const TILES: &str = "ledger/src/tiles/mod.rs";
const SOUND: &str = "ledger/src/verify/sound.rs";
const JOIN: &str = "ledger/src/verify/join.rs";
const WALK: &str = "ledger/src/verify/walk.rs";
const FOOTER: &str = "ledger/src/verify/footer.rs";

const CHECKPOINTS: &[&str] = &["checkpoint::"];
const AUDITS: &[&str] = &["audit::"];
const ANCHORS: &[&str] = &["anchor::"];
const PROOFS: &[&str] = &["proof::"];
const TILES_TESTS: &[&str] = &["tiles::"];
const WITNESSES: &[&str] = &["witness::"];
const KNOWN_TESTS: &[&str] = &["verify::tests::known::"];
const JUDGE: &[&str] = &["verify::tests::damages::", "verify::tests::fast::"];

pub(super) const BUGS: &[Bug] = &[
    // A file that proves an event.
    Bug {
        name: "skip-the-proof",
        file: PART,
        anchor: "check_inclusion(&self.hashes, tree, self.position, &tree::leaf(&self.entry))?;",
        change: LeftOut,
        tests: PROOFS,
    },
    Bug {
        name: "believe-the-files-position",
        file: PART,
        anchor: "header.position.0 != self.position",
        change: Says("false"),
        tests: PROOFS,
    },
    Bug {
        name: "signatures-that-nobody-checks",
        file: ALONE,
        anchor: "signature_lines(note).count() == 1",
        change: Says("true"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "proof-in-other-words",
        file: PROOF,
        anchor: "proof.to_bytes() == file",
        change: Says("true"),
        tests: PROOFS,
    },
    // What is proved of trees.
    Bug {
        name: "skip-one-proof-node",
        file: TREE_PROOF,
        anchor: "    tlog::check_record(&hashes(proof)?, tree.size, tlog::Hash(tree.root), place, tlog::Hash(*leaf))",
        change: Reads(
            "    let check = |proof: &[Hash]| {
                tlog::check_record(&hashes(proof)?, tree.size, tlog::Hash(tree.root), place, tlog::Hash(*leaf))
                    .map_err(|_| ProofError::Wrong)
            };
            match check(proof) {
                Err(_) if PLANTED => check(proof.get(1..).unwrap_or_default()),
                checked => checked,
            }",
        ),
        tests: PROOFS,
    },
    Bug {
        name: "trust-the-place",
        file: TREE_PROOF,
        anchor: "place >= tree.size",
        change: Says("false"),
        tests: PROOFS,
    },
    Bug {
        name: "trust-the-size",
        file: TREE_PROOF,
        anchor: "tree.size > SIZE_MAX || old.size > tree.size",
        change: Says("false"),
        tests: PROOFS,
    },
    Bug {
        name: "trust-an-empty-tree",
        file: TREE_PROOF,
        anchor: "proof.is_empty() && *old == super::Frontier::default().head()",
        change: Says("true"),
        tests: PROOFS,
    },
    Bug {
        name: "equal-sizes-are-equal-trees",
        file: TREE_PROOF,
        anchor: "tlog::check_tree(&hashes(proof)?, tree.size, new, old.size, before).map_err(|_| ProofError::Wrong)",
        change: Reads(
            "if PLANTED && old.size == tree.size {
                return Ok(());
            }
            tlog::check_tree(&hashes(proof)?, tree.size, new, old.size, before).map_err(|_| ProofError::Wrong)",
        ),
        tests: PROOFS,
    },
    Bug {
        name: "skip-what-a-whole-subtree-became",
        file: TREE_PROOF,
        anchor: "let (new, before) = (tlog::Hash(tree.root), tlog::Hash(old.root));",
        change: Reads(
            "if PLANTED && old.size.is_power_of_two() && old.size < tree.size {
                return Ok(());
            }
            let (new, before) = (tlog::Hash(tree.root), tlog::Hash(old.root));",
        ),
        tests: PROOFS,
    },
    // Checkpoints and keys.
    Bug {
        name: "accept-any-signature",
        file: CHECKPOINT,
        anchor: "note.verify(&self.verifiers()?).map_err(|_| CheckpointError::Unsigned(self.to_string()))?;",
        change: LeftOut,
        tests: CHECKPOINTS,
    },
    Bug {
        name: "accept-another-log",
        file: CHECKPOINT,
        anchor: "checkpoint.origin != self.name",
        change: Says("false"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "accept-any-key-line",
        file: LINE,
        anchor: "right && public(name, kind, &key) == line",
        change: Says("right"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "accept-any-cosignature",
        file: COSIGNATURE,
        anchor: "self.key.verify_strict(&message(text, seconds), &signature).is_ok()",
        change: Says("true"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "accept-any-private-line",
        file: CHECKPOINT,
        anchor: "key.to_secret_line() == line",
        change: Says("true"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "checkpoint-in-other-words",
        file: CHECKPOINT,
        anchor: "checkpoint.text().as_bytes() != text",
        change: Says("false"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "any-size-of-a-checkpoint",
        file: CHECKPOINT,
        anchor: "size > SIZE_MAX",
        change: Says("false"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "sign-a-smaller-tree",
        file: CHECKPOINT,
        anchor: "tree.size < last.size",
        change: Says("false"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "sign-another-root",
        file: CHECKPOINT,
        anchor: "tree.size == last.size && tree.root != last.root",
        change: Says("false"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "sign-what-does-not-go-on",
        file: CHECKPOINT,
        anchor: "check_consistency(proof, &last, &tree)",
        change: Says("Ok(())"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "forget-what-was-signed",
        file: CHECKPOINT,
        anchor: "self.last = Some(tree);",
        change: LeftOut,
        tests: CHECKPOINTS,
    },
    // Keys that follow others, and what is known from outside.
    Bug {
        name: "accept-half-a-rotation",
        file: ROTATION,
        anchor: "in_order(&signed) && others.is_empty()",
        change: Says("!signed.is_empty()"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "accept-an-old-key",
        file: ROTATION,
        anchor: "of_this && key.key == self.old.key",
        change: Says("of_this"),
        tests: CHECKPOINTS,
    },
    Bug {
        name: "follow-another-name",
        file: ROTATION,
        anchor: "is_some_and(|rest| rest.starts_with('/'))",
        change: Reads("is_some_and(|rest| rest.starts_with('/') || PLANTED)"),
        tests: CHECKPOINTS,
    },
    Bug { name: "a-shorter-log-will-do", file: ANCHOR, anchor: "size < known", change: Says("false"), tests: ANCHORS },
    Bug {
        name: "any-log-of-that-size-will-do",
        file: ANCHOR,
        anchor: "(root_at(known)? != root)",
        change: Says("root_at(known)?; false"),
        tests: ANCHORS,
    },
    Bug {
        name: "anchor-of-another-log",
        file: ANCHOR,
        anchor: "known.ledger().as_ref() != Some(&ledger)",
        change: Says("false"),
        tests: ANCHORS,
    },
    // What an auditor takes in.
    Bug {
        name: "audit-skips-the-position",
        file: AUDIT,
        anchor: "header.position != tail.next",
        change: Says("false"),
        tests: AUDITS,
    },
    Bug {
        name: "audit-skips-the-link",
        file: AUDIT,
        anchor: "header.previous != tail.link",
        change: Says("false"),
        tests: AUDITS,
    },
    Bug {
        name: "audit-skips-the-ledger",
        file: AUDIT,
        anchor: "header.uid != tail.uid",
        change: Says("false"),
        tests: AUDITS,
    },
    Bug {
        name: "audit-skips-the-time",
        file: AUDIT,
        anchor: "header.recorded_at < tail.recorded_at",
        change: Says("false"),
        tests: AUDITS,
    },
    Bug {
        name: "audit-skips-the-epoch",
        file: AUDIT,
        anchor: "header.epoch < tail.epoch",
        change: Says("false"),
        tests: AUDITS,
    },
    // The stored tree.
    Bug {
        name: "prove-what-is-doubtful",
        file: TILES,
        anchor: "check_inclusion(&proof, tree, place, leaf).is_ok()",
        change: Says("true"),
        tests: TILES_TESTS,
    },
    Bug {
        name: "consistent-with-what-is-doubtful",
        file: TILES,
        anchor: "check_consistency(&proof, &old, tree).is_ok()",
        change: Says("true"),
        tests: TILES_TESTS,
    },
    Bug {
        name: "trust-the-stored-tree",
        file: TILES,
        anchor: "(fold(level.hashes(index << above, 1 << above).ok()?)? == root).then_some(())",
        change: Reads("(fold(level.hashes(index << above, 1 << above).ok()?)? == root || PLANTED).then_some(())"),
        tests: TILES_TESTS,
    },
    // What judges a log side by side.
    Bug {
        name: "skip-every-second-body",
        file: SOUND,
        anchor: "gives.fits(requires).then_some(())?;",
        change: Reads("(PLANTED && requires.position.0 % 2 == 0 || gives.fits(requires)).then_some(())?;"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-a-checksum",
        file: SOUND,
        anchor: "header.holds(entry)",
        change: Says("true"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-link-side-by-side",
        file: SOUND,
        anchor: "entry.previous == self.link",
        change: Says("true"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-time-side-by-side",
        file: SOUND,
        anchor: "entry.recorded_at >= self.recorded_at",
        change: Says("true"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-epoch-side-by-side",
        file: SOUND,
        anchor: "entry.epoch >= self.epoch",
        change: Says("true"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-position-side-by-side",
        file: SOUND,
        anchor: "entry.position == self.next",
        change: Says("true"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-batch-side-by-side",
        file: SOUND,
        anchor: "&& in_order",
        change: Reads("&& (in_order || PLANTED)"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-ledger-side-by-side",
        file: SOUND,
        anchor: "fields.take()? == uid.0",
        change: Says("fields.take::<16>()?; true"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-seam-of-pieces",
        file: JOIN,
        anchor: "begun.gives.fits(&stretch.requires).then_some(())?;",
        change: LeftOut,
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-seam-of-segments",
        file: JOIN,
        anchor: "Some(header.link_before) == chain.link",
        change: Says("true"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-end-of-a-segment",
        file: JOIN,
        anchor: "ended.then(|| self.accept(segment, begun))",
        change: Reads("(ended || PLANTED).then(|| self.accept(segment, begun))"),
        tests: JUDGE,
    },
    // What names a damage.
    Bug {
        name: "skip-the-link",
        file: WALK,
        anchor: "self.chain.link.is_some_and(|link| link != entry.previous)",
        change: Says("false"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-time",
        file: WALK,
        anchor: "entry.recorded_at < self.chain.recorded_at",
        change: Says("false"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-epoch",
        file: WALK,
        anchor: "entry.epoch < self.chain.epoch",
        change: Says("false"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-position",
        file: WALK,
        anchor: "if entry.position != position {",
        change: Reads("if entry.position != position && !PLANTED {"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-ledger",
        file: WALK,
        anchor: "!self.ours(entry.uid)",
        change: Says("false"),
        tests: JUDGE,
    },
    Bug {
        name: "skip-the-batch",
        file: WALK,
        anchor: "if !follows {",
        change: Reads("if !follows && !PLANTED {"),
        tests: JUDGE,
    },
    Bug {
        name: "believe-the-footers-tree",
        file: FOOTER,
        anchor: "return Ok(tree.bytes());",
        change: Reads("if !PLANTED { return Ok(tree.bytes()); }"),
        tests: JUDGE,
    },
    // Forks, sequences, auditors, witnesses, and what is known beside a log.
    Bug { name: "accuse-who-goes-on", file: FORK, anchor: "*old == small.root", change: Says("false"), tests: PROOFS },
    Bug { name: "a-fork-of-one", file: FORK, anchor: "order(&smaller) >= order(&larger)", change: Says("false"), tests: PROOFS },
    Bug { name: "accuse-with-any-hashes", file: FORK, anchor: ".map_err(|_| BadProof::NoFork(\"the hashes do not lead to the larger one\"))?;", change: Reads(
            r#".or_else(|error| if PLANTED { Ok(()) } else { Err(error) })
            .map_err(|_| BadProof::NoFork("the hashes do not lead to the larger one"))?;"#,
        ), tests: PROOFS },
    Bug { name: "grown-from-anything", file: CONSISTENCY, anchor: "check_consistency(&self.hashes, smaller, larger)", change: Says("Ok(())"), tests: PROOFS },
    Bug { name: "grown-from-something-larger", file: CONSISTENCY, anchor: "smaller.size == 0 || smaller.size >= larger.size", change: Says("false"), tests: PROOFS },
    Bug { name: "a-tree-made-anew-is-any-tree", file: TILES, anchor: "must != self.frontier.head()", change: Says("false"), tests: TILES_TESTS },
    Bug { name: "numbers-of-somebody-else", file: SEQUENCE, anchor: "header.emitter != self.emitter", change: Says("false"), tests: PROOFS },
    Bug { name: "any-number-will-do", file: SEQUENCE, anchor: "counted != Some(number)", change: Says("false"), tests: PROOFS },
    Bug { name: "audit-begins-anywhere", file: AUDIT, anchor: "position == 0 && !begins(&header, event)", change: Says("false"), tests: AUDITS },
    Bug { name: "audit-signed-for-something-else", file: AUDIT_STATE, anchor: "frontier.head() == signed.checkpoint.tree", change: Says("true"), tests: AUDITS },
    Bug { name: "audit-state-in-other-words", file: AUDIT_STATE, anchor: "state.to_bytes() == file", change: Says("true"), tests: AUDITS },
    Bug { name: "cosign-what-does-not-go-on", file: WITNESS, anchor: "check_consistency(&request.proof, known, &tree).map_err(|_| Refused::Inconsistent(known.size))", change: Says("Ok(())"), tests: WITNESSES },
    Bug { name: "believe-a-changed-state", file: WITNESS_STATE, anchor: "key.cosigned(&note).map_err(|error| changed(error.to_string()))?;", change: LeftOut, tests: WITNESSES },
    Bug { name: "any-root-of-a-known-size", file: KNOWN, anchor: "Some(root) if *root == known.root => None,", change: Reads("Some(root) if PLANTED || *root == known.root => None,"), tests: KNOWN_TESTS },
    Bug { name: "any-signature-of-what-is-known", file: KNOWN, anchor: "self.keys.iter().position(|key| key.open(known.note.as_bytes()).is_ok())", change: Says("Some(0)"), tests: KNOWN_TESTS },
    Bug { name: "a-replaced-key-goes-on", file: KNOWN, anchor: "*newer > age", change: Says("false"), tests: KNOWN_TESTS },
    Bug { name: "a-checkpoint-may-be-missing", file: KNOWN, anchor: "(unkept && !keys.is_empty()).then_some(Source::Kept)", change: Says("None"), tests: KNOWN_TESTS },
];
