//! What only shows by what is known beside the log: its own tree, its checkpoints, and those kept elsewhere.

use std::path::Path;

use super::writer::{Built, Planned, build, plan, rechain, root_over, stored_tree};
use super::{Effort, fast, verify_by};
use crate::anchor::Known;
use crate::checkpoint::{LocalSigner, PrivateKey, Signer};
use crate::tree::{Frontier, Hash, TreeHead};
use crate::types::LedgerName;
use crate::verify::{CheckpointReport, Evidence, LedgerReport, Signature, Source};

const ENTRIES: usize = 600;
const WAYS: [Effort; 4] = [fast(1, 512 * 1024), fast(1, 1), fast(2, 3_000), fast(3, 40_000)];

/// Entries of different sizes, alone and in batches.
fn planned() -> Vec<Planned> {
    let sizes: Vec<usize> = (0..ENTRIES).map(|n| 10 + n * 37 % 120).collect();
    let batches: Vec<&[usize]> = sizes.chunks(3).collect();
    plan(&batches)
}

/// A directory that its owner could have made of these entries: the log, and the stored tree.
fn directory(planned: &[Planned]) -> Built {
    let built = build(planned, &[150, 300], 256 * 1024);
    for (level, bytes) in stored_tree(planned).into_iter().enumerate() {
        built.files.put(&format!("tree/level-{level}"), bytes);
    }
    built
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::new("example.org/logs".parse().unwrap(), &[seed; 32])
}

fn default() -> LedgerName {
    "default".parse().unwrap()
}

fn note(seed: u8, size: usize, root: Hash) -> Vec<u8> {
    let tree = TreeHead { size: size as u64, root };
    LocalSigner::new(&key(seed), &default(), None).sign(tree, &[]).unwrap()
}

/// The checkpoint of the first entries.
fn checkpoint(planned: &[Planned], size: usize) -> Vec<u8> {
    let root = if size == 0 { Frontier::default().root() } else { root_over(&planned[..size]) };
    note(7, size, root)
}

fn evidence(source: Source, notes: &[Vec<u8>]) -> Evidence {
    let mut evidence = Evidence::default();
    notes.iter().for_each(|note| assert!(evidence.checkpoint(source, Known::read(note).unwrap())));
    evidence
}

fn judged(built: &Built, evidence: &Evidence) -> LedgerReport {
    let report = verify_by(&built.files, Path::new("d"), &WAYS, evidence);
    let [ledger] = <[LedgerReport; 1]>::try_from(report.ledgers).unwrap();
    assert_eq!(ledger.damage_unlisted, 0);
    ledger
}

fn nothing() -> Evidence {
    Evidence::default()
}

fn faults(report: &LedgerReport) -> Vec<&str> {
    report.checkpoints.iter().filter_map(|one| one.fault.as_deref()).collect()
}

#[test]
fn a_directory_with_its_tree_and_checkpoints_of_every_size_is_sound() {
    let planned = planned();
    let built = directory(&planned);
    built.files.put("checkpoint", checkpoint(&planned, 555));
    built.files.put("checkpoint.witnessed", checkpoint(&planned, 333));
    let notes: Vec<_> = (0..=ENTRIES).map(|size| checkpoint(&planned, size)).collect();
    let report = judged(&built, &evidence(Source::Given, &notes));
    assert_eq!((&report.damage[..], faults(&report), report.ok()), (&[][..], vec![], true));
    assert_eq!(report.tree, Some(root_over(&planned)));
    assert_eq!(report.checkpoints.len(), ENTRIES + 3);
    assert_eq!((report.checkpoints[1].source, report.checkpoints[1].size), (Source::Witnessed, Some(333)));
    let kept = &report.checkpoints[0];
    let expected = CheckpointReport {
        source: Source::Kept,
        size: Some(555),
        signature: Signature::Unchecked,
        fault: None,
    };
    assert_eq!(kept, &expected);
}

#[test]
fn a_checkpoint_with_another_root_is_refused_at_every_size() {
    let planned = planned();
    let built = directory(&planned);
    let notes: Vec<_> = (0..=ENTRIES).map(|size| note(7, size, [9; 32])).collect();
    let report = judged(&built, &evidence(Source::Anchor, &notes));
    assert!(report.damage.is_empty() && !report.ok());
    let faults = faults(&report);
    assert_eq!(faults.len(), ENTRIES + 1);
    assert_eq!(faults[5], "of the first 5 entries, one at least is not what it was");
    for size in [0, 1, 150, 256, 449, 450, 451, ENTRIES] {
        let one = judged(&built, &evidence(Source::Given, &[note(7, size, [9; 32])]));
        assert!(!one.ok(), "{size} alone");
    }
}

/// Somebody changes one entry, and makes everything anew that follows from it: CRCs, links, footers, the stored tree,
/// and, having the key, the kept checkpoint.
fn rewritten(at: usize) -> (Vec<Planned>, Built) {
    let mut forged = planned();
    forged[at].event[3] ^= 1;
    rechain(&mut forged, at + 1);
    let built = directory(&forged);
    built.files.put("checkpoint", checkpoint(&forged, ENTRIES));
    (forged, built)
}

#[test]
fn an_insider_who_makes_every_hash_anew_is_caught_by_one_old_checkpoint_and_only_by_it() {
    let honest = planned();
    for at in [0, 149, 150, 300, 511, ENTRIES - 1] {
        let (_, forged) = rewritten(at);
        let mut keys = nothing();
        assert!(keys.key(key(7).verifier(&default())));
        assert!(judged(&forged, &keys).ok(), "the directory agrees with itself, to the signature");
        for source in [Source::Anchor, Source::Given] {
            for size in [at + 1, ENTRIES] {
                let report = judged(&forged, &evidence(source, &[checkpoint(&honest, size)]));
                let expected = format!("of the first {size} entries, one at least is not what it was");
                assert_eq!((faults(&report), report.ok()), (vec![&expected[..]], false), "{at}");
                assert!(report.damage.is_empty());
            }
            let too_old = judged(&forged, &evidence(source, &[checkpoint(&honest, at)]));
            assert!(too_old.ok(), "what was before {at} is as it was");
        }
    }
}

#[test]
fn a_cut_tail_and_a_directory_put_back_are_caught_by_a_checkpoint_with_what_is_missing() {
    let honest = planned();
    for size in [597, 450, 153, 3] {
        let cut = directory(&honest[..size]);
        cut.files.put("checkpoint", checkpoint(&honest, size));
        assert!(judged(&cut, &nothing()).ok(), "it is what the ledger was once");
        let known = checkpoint(&honest, ENTRIES);
        let missing = match ENTRIES - size {
            1 => format!("the entry at position {size} is missing"),
            _ => format!("the entries from position {size} to {} are missing", ENTRIES - 1),
        };
        let report = judged(&cut, &evidence(Source::Anchor, std::slice::from_ref(&known)));
        assert_eq!((faults(&report), report.ok()), (vec![&missing[..]], false));
        cut.files.put("checkpoint", known);
        assert_eq!(faults(&judged(&cut, &nothing())), [missing]);
    }
}

#[test]
fn a_ledger_that_is_gone_is_missed_by_whoever_knows_of_it() {
    let built = directory(&planned());
    let other: LedgerName = "other".parse().unwrap();
    let head = TreeHead { size: 4, root: [3; 32] };
    let note = LocalSigner::new(&key(7), &other, None).sign(head, &[]).unwrap();
    let mut by_key = nothing();
    assert!(by_key.key(key(7).verifier(&other)));
    for evidence in [evidence(Source::Anchor, &[note]), by_key] {
        let report = verify_by(&built.files, Path::new("d"), &WAYS, &evidence);
        let said: Vec<_> = report.ledgers.iter().map(|one| (one.ledger.as_str(), one.ok())).collect();
        assert_eq!(said, [("default", true), ("other", false)]);
        assert!(report.ledgers[1].damage[0].reason.contains("there is no such ledger"));
    }
}

#[test]
fn where_a_key_is_given_every_checkpoint_must_be_signed_by_one() {
    let planned = planned();
    let built = directory(&planned);
    built.files.put("checkpoint", note(8, 40, root_over(&planned[..40])));
    let by = |seeds: &[u8]| {
        let mut evidence = evidence(Source::Given, &[checkpoint(&planned, 50)]);
        seeds.iter().for_each(|seed| assert!(evidence.key(key(*seed).verifier(&default()))));
        let report = judged(&built, &evidence);
        let signatures: Vec<_> = report.checkpoints.iter().map(|one| one.signature).collect();
        (signatures, report.ok())
    };
    assert_eq!(by(&[]), (vec![Signature::Unchecked, Signature::Unchecked], true));
    assert_eq!(by(&[8, 7]), (vec![Signature::Good, Signature::Good], true));
    // In the other order, the key that has signed the larger one was replaced before.
    assert_eq!(by(&[7, 8]), (vec![Signature::Good, Signature::Bad], false));
    assert_eq!(by(&[7]), (vec![Signature::Bad, Signature::Good], false));
    assert_eq!(by(&[9]), (vec![Signature::Bad, Signature::Bad], false));
    // A key of a ledger with another name in front: the log is identified by its key.
    let mut evidence = evidence(Source::Given, &[checkpoint(&planned, 50)]);
    let elsewhere = PrivateKey::new("example.net".parse().unwrap(), &[7; 32]);
    assert!(evidence.key(elsewhere.verifier(&default())));
    assert_eq!(faults(&judged(&built, &evidence)).len(), 2);
    // Of another ledger: it says nothing about this one.
    let elsewhere = key(9).verifier(&"other".parse().unwrap());
    let mut others = nothing();
    assert!(others.key(elsewhere));
    let report = verify_by(&built.files, Path::new("d"), &WAYS, &others);
    assert_eq!(report.ledgers[0].checkpoints[0].signature, Signature::Unchecked);
}

#[test]
fn where_a_key_is_given_the_directory_must_have_a_checkpoint_unless_it_has_no_entries() {
    let planned = planned();
    let built = directory(&planned);
    let mut by = evidence(Source::Given, &[checkpoint(&planned, 50)]);
    assert!(judged(&built, &by).ok());
    assert!(by.key(key(7).verifier(&default())));
    let report = judged(&built, &by);
    assert_eq!(faults(&report), ["it is missing, so nothing in the directory is signed"]);
    assert_eq!((report.checkpoints[0].source, report.ok()), (Source::Kept, false));
    // The one that witnesses have signed is not it: it may be older.
    built.files.put("checkpoint.witnessed", checkpoint(&planned, 50));
    assert!(!judged(&built, &by).ok());
    built.files.put("checkpoint", checkpoint(&planned, 60));
    assert!(judged(&built, &by).ok());
    let empty = directory(&[]);
    let mut by = nothing();
    assert!(by.key(key(7).verifier(&default())));
    assert!(judged(&empty, &by).ok());
}

#[test]
fn a_kept_checkpoint_that_is_none_or_that_of_another_ledger_is_a_fault() {
    let planned = planned();
    let built = directory(&planned);
    let sound = checkpoint(&planned, 60);
    let mut flipped = sound.clone();
    flipped[20] = b'\n';
    let head = TreeHead { size: 60, root: root_over(&planned[..60]) };
    let others = LocalSigner::new(&key(7), &"other".parse().unwrap(), None).sign(head, &[]).unwrap();
    for (n, (note, why)) in [
        (Vec::new(), "this is no signed checkpoint"),
        (b"60\n".to_vec(), "this is no signed checkpoint"),
        (flipped, "this is no signed checkpoint"),
        ([&sound[..], b"\n"].concat(), "this is no signed checkpoint"),
        (vec![b'a'; 1 << 20], "this is no signed checkpoint"),
        (others, "that of example.org/logs/other, not of default"),
    ]
    .into_iter()
    .enumerate()
    {
        let (name, source) =
            [("checkpoint", Source::Kept), ("checkpoint.witnessed", Source::Witnessed)][n % 2];
        built.files.put(name, note);
        let report = judged(&built, &nothing());
        assert!(faults(&report)[0].contains(why) && !report.ok(), "{:?}", faults(&report));
        assert_eq!((report.checkpoints[0].size, report.checkpoints[0].source), (None, source));
        built.files.take(name);
    }
}

#[test]
fn every_stored_hash_of_the_tree_is_held_against_the_entries() {
    let planned = planned();
    for (level, covers) in [(0, 1), (1, 256)] {
        let (built, file) = (directory(&planned), format!("tree/level-{level}"));
        let hashes = built.files.get(&file).len() / 32;
        for hash in (0..hashes).step_by(if level == 0 { 7 } else { 1 }) {
            let (byte, bit) = (hash * 32 + hash * 5 % 32, hash % 8);
            built.files.change(&file, |bytes| bytes[byte] ^= 1 << bit);
            let report = judged(&built, &nothing());
            let [damage] = &report.damage[..] else { panic!("{:?}", report.damage) };
            assert_eq!((&damage.file, damage.offset), (&file, hash as u64 * 32));
            assert_eq!(damage.position.0, (hash * covers) as u64);
            assert!(damage.reason.contains("the stored hash"), "{}", damage.reason);
            assert!(!report.ok());
            built.files.change(&file, |bytes| bytes[byte] ^= 1 << bit);
        }
        assert!(judged(&built, &nothing()).ok());
    }
}

#[test]
fn stored_hashes_that_are_all_wrong_are_one_damage_however_the_log_is_cut() {
    let planned = planned();
    let built = directory(&planned);
    built.files.change("tree/level-0", |bytes| bytes[100 * 32..400 * 32].fill(7));
    built.files.change("tree/level-1", |bytes| bytes.fill(7));
    let report = judged(&built, &nothing());
    let said: Vec<_> = report.damage.iter().map(ToString::to_string).collect();
    assert_eq!(report.damage.len(), 2, "{said:?}");
    assert!(said[0].contains("300 stored hashes from here on are not what the entries give"), "{said:?}");
    assert!(said[1].contains("2 stored hashes from here on"), "{said:?}");
}

#[test]
fn a_stored_tree_that_is_missing_short_full_of_zeros_or_longer_than_the_log_is_no_damage() {
    let planned = planned();
    let whole = directory(&planned);
    let levels = [whole.files.get("tree/level-0"), whole.files.get("tree/level-1")];
    for cut in [0, 1, 31, 32, 300 * 32 + 5] {
        whole.files.put("tree/level-0", levels[0][..cut].to_vec());
        assert!(judged(&whole, &nothing()).ok(), "{cut}");
    }
    whole.files.take("tree/level-0");
    assert!(judged(&whole, &nothing()).ok());
    let mut zeros = levels[0].clone();
    zeros[64 * 32..192 * 32].fill(0);
    whole.files.put("tree/level-0", zeros);
    whole.files.put("tree/level-1", [&levels[1][..], &[1; 320]].concat());
    assert!(judged(&whole, &nothing()).ok());
    let shorter = directory(&planned[..500]);
    // Two entries of a batch that a crash tore are no entries, whatever is stored for them.
    let mut levels = levels;
    levels[0][498 * 32..].fill(7);
    levels
        .into_iter()
        .enumerate()
        .for_each(|(n, bytes)| shorter.files.put(&format!("tree/level-{n}"), bytes));
    assert!(judged(&shorter, &nothing()).ok());
}

#[test]
fn behind_an_entry_that_cannot_be_read_no_checkpoint_is_believed_and_before_it_all_are_compared() {
    let planned = planned();
    let built = directory(&planned);
    let (file, start, _) = built.frames[200].clone();
    built.files.change(&file, |bytes| bytes[start as usize + 60] ^= 1);
    let notes: Vec<_> = [150, 200, 201, 600].map(|size| checkpoint(&planned, size)).into();
    let report = judged(&built, &evidence(Source::Given, &notes));
    let compared: Vec<_> = report.checkpoints.iter().map(|one| (one.size.unwrap(), one.ok())).collect();
    assert_eq!(compared, [(150, true), (200, true), (201, false), (600, false)]);
    assert!(faults(&report)[0].contains("can't be compared"));
    assert_eq!((report.tree, report.damage.len()), (None, 1));
}

#[test]
fn a_tree_in_memory_is_compared_like_a_checkpoint() {
    let planned = planned();
    let built = directory(&planned);
    for (root, ok) in [(root_over(&planned[..77]), true), ([1; 32], false)] {
        let mut evidence = nothing();
        evidence.memory(default(), TreeHead { size: 77, root });
        let report = judged(&built, &evidence);
        assert_eq!((report.ok(), report.checkpoints[0].signature), (ok, Signature::None));
    }
}
