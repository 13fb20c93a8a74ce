use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::disk::testing::MemoryDisk;
use crate::tiles::TreeStore;
use crate::tree::leaf;

/// The keys and the note of the documentation of Go's `golang.org/x/mod/sumdb/note`, and those of c2sp.org/signed-note.
const PETER_SECRET: &str = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const PETER_TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const PETER_SIGNED: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const FOO: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const FOO_NOTE: &str = "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";
/// The example of c2sp.org/tlog-checkpoint.
const SOFA: &str = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n";

fn key(seed: u8) -> PrivateKey {
    PrivateKey::new("ledger.example.org".parse().unwrap(), &[seed; 32])
}

fn tree(size: u64, root: u8) -> TreeHead {
    TreeHead { size, root: [root; 32] }
}

fn signed(seed: u8, tree: TreeHead) -> Vec<u8> {
    LocalSigner::new(&key(seed), &LedgerName::default(), None).sign(tree, &[]).unwrap()
}

#[test]
fn published_keys_and_notes_are_what_they_say() {
    let secret = PrivateKey::from_secret_line(PETER_SECRET).unwrap();
    assert_eq!(secret.to_secret_line(), PETER_SECRET);
    let peter: VerifierKey = PETER.parse().unwrap();
    assert_eq!((peter.to_string(), &peter.key), (PETER.to_owned(), &secret.key.verifying_key()));
    let mut note = Note::new(PETER_TEXT.as_bytes(), &[]).unwrap();
    note.add_sigs(&[&NoteSigner { name: &peter.name, id: peter.id(), key: &secret.key }]).unwrap();
    assert_eq!(String::from_utf8(note.to_bytes()).unwrap(), format!("{PETER_TEXT}\n{PETER_SIGNED}"));

    let foo: VerifierKey = FOO.parse().unwrap();
    assert_eq!(foo.to_string(), FOO);
    let note = Note::from_bytes(FOO_NOTE.as_bytes()).unwrap();
    assert!(note.verify(&foo.verifiers().unwrap()).is_ok());
    assert!(note.verify(&peter.verifiers().unwrap()).is_err());
    assert!(matches!(foo.open(FOO_NOTE.as_bytes()), Err(CheckpointError::Malformed(_))), "no checkpoint");

    let (sofa, _) = read(SOFA.as_bytes()).unwrap();
    assert_eq!((sofa.origin.as_str(), sofa.tree.size), ("example.com/behind-the-sofa", 20_852_163));
    assert_eq!(
        hex::encode(sofa.tree.root),
        "0ac5186a91863e8e1d90c808014aa89bf5da8e3ee1d9f07630f0378f68f1ab62"
    );
}

#[test]
fn no_other_line_is_the_same_key() {
    for at in 0..PETER.len() {
        for other in ["", "A", "+", "0", "F", " ", "\n", "="] {
            let public = [&PETER[..at], other, &PETER[at + 1..]].concat();
            assert!(public == PETER || public.parse::<VerifierKey>().is_err(), "{public}");
        }
    }
    for at in 0..PETER_SECRET.len() {
        for other in ["", "A", "+", "0", "F", " ", "\n", "="] {
            let secret = [&PETER_SECRET[..at], other, &PETER_SECRET[at + 1..]].concat();
            let read = PrivateKey::from_secret_line(&secret);
            assert!(secret == PETER_SECRET || read.is_err(), "{secret}");
            let told = read.map_or_else(|error| error.to_string(), |key| format!("{key:?}"));
            assert!(!told.contains("AYEKFALV"), "{told}");
        }
    }
    // Another kind of key under an id that fits it, and a key of another length.
    assert!(
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse::<VerifierKey>().is_err()
    );
    assert!("x+00000000+AQ==".parse::<VerifierKey>().is_err());
}

#[test]
fn a_checkpoint_is_read_from_the_bytes_that_were_written_and_from_no_others() {
    let checkpoint = Checkpoint { origin: "a/b".into(), tree: tree(7, 0xFF) };
    let text = checkpoint.text();
    assert_eq!(text, "a/b\n7\n//////////////////////////////////////////8=\n");
    assert_eq!(Checkpoint::parse(text.as_bytes()), Ok(checkpoint));
    let others = [
        text.replace("\n7\n", "\n07\n"),
        text.replace("\n7\n", "\n+7\n"),
        text.replace("\n7\n", "\n7 \n"),
        text.replace("\n7\n", "\n-7\n"),
        text.replace("\n7\n", "\n\n"),
        text.replace("\n7\n", "\r\n7\n"),
        text.replace("\n7\n", &format!("\n{}\n", SIZE_MAX + 1)),
        text.replace("\n7\n", &format!("\n{}0\n", u64::MAX)),
        text.replace("8=", "9="),
        text.replace("8=", "8"),
        text.replace("//8=", "__8="),
        text.replace("a/b", ""),
        format!("{text}extension\n"),
        format!("{text}\n"),
        text.trim_end().to_owned(),
        String::new(),
    ];
    for other in others {
        assert!(
            matches!(Checkpoint::parse(other.as_bytes()), Err(CheckpointError::Malformed(_))),
            "{other:?}"
        );
    }
}

#[test]
fn a_note_opens_with_the_key_of_its_log_and_with_no_other() {
    let note = signed(1, tree(7, 3));
    let verifier = key(1).verifier(&LedgerName::default());
    assert_eq!(verifier.name(), "ledger.example.org/default");
    assert_eq!(verifier.open(&note).unwrap().tree, tree(7, 3));
    assert!(matches!(key(2).verifier(&LedgerName::default()).open(&note), Err(CheckpointError::Unsigned(_))));
    let other: LedgerName = "other".parse().unwrap();
    assert!(matches!(key(1).verifier(&other).open(&note), Err(CheckpointError::Origin { .. })));
    for bit in 0..note.len() * 8 {
        let mut flipped = note.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verifier.open(&flipped).is_err(), "bit {bit}");
    }
    for cut in 0..note.len() {
        assert!(verifier.open(&note[..cut]).is_err(), "cut at {cut}");
    }
    // A signature by somebody else beside it changes nothing; one that is there twice is another way to write it.
    let text = String::from_utf8(note).unwrap();
    let beside = format!("{text}{PETER_SIGNED}");
    assert_eq!(verifier.open(beside.as_bytes()).unwrap().tree, tree(7, 3));
    assert!(verifier.open(PETER_SIGNED.as_bytes()).is_err());
}

#[test]
fn a_signer_signs_only_what_goes_on_from_what_it_has_signed() {
    let log = |changed: Option<u64>| {
        let store = TreeStore::open(Arc::new(MemoryDisk::new()), Path::new("/tree"), &[]);
        let leaf = |n: u64| leaf(format!("{n} {}", Some(n) == changed).as_bytes());
        store.extend(0, &(0..30).map(leaf).collect::<Vec<_>>());
        store
    };
    let (log, other) = (log(None), log(Some(2)));
    let proof = |store: &TreeStore, old, size| {
        let tree = store.head_at(size).unwrap();
        (tree, store.consistency(old, &tree).unwrap().1)
    };
    let mut signer = LocalSigner::new(&key(1), &LedgerName::default(), Some(log.head_at(5).unwrap()));
    let refused = |signer: &mut LocalSigner, (tree, proof): (TreeHead, Vec<Hash>)| {
        let refused = signer.sign(tree, &proof);
        assert!(matches!(refused, Err(CheckpointError::Contradicts { .. })), "{refused:?}");
        refused.unwrap_err().to_string()
    };
    let said = refused(&mut signer, proof(&log, 4, 4));
    assert_eq!(said, "a checkpoint of 5 entries was signed before; one of 4 would contradict it");
    let said = refused(&mut signer, proof(&other, 5, 5));
    assert!(said.contains("one of 5 with another root would"), "{said}");
    // A larger one needs a proof, that of this log, from this size.
    let said = refused(&mut signer, proof(&other, 5, 9));
    assert!(said.contains("one of 9 that does not go on from it would"), "{said}");
    let (nine, from_five) = proof(&log, 5, 9);
    for wrong in [Vec::new(), from_five[1..].to_vec(), proof(&log, 4, 9).1] {
        refused(&mut signer, (nine, wrong));
    }
    refused(&mut signer, (other.head_at(9).unwrap(), from_five.clone()));
    let five = log.head_at(5).unwrap();
    assert_eq!(signer.sign(five, &[]), Ok(signed(1, five)), "it may say the same again");
    assert!(signer.sign(nine, &from_five).is_ok());
    refused(&mut signer, (five, Vec::new()));
    refused(&mut signer, proof(&other, 9, 9));
    assert!(signer.sign(nine, &[]).is_ok());
    refused(&mut signer, proof(&other, 9, 30));
    let (tree, from_nine) = proof(&log, 9, 30);
    assert!(signer.sign(tree, &from_nine).is_ok());
}

#[test]
fn a_prefix_is_a_name_that_can_stand_in_a_note() {
    for good in ["a", "ledger.example.org", "localhost:7420/x", &"a".repeat(190)] {
        assert_eq!(good.parse::<Prefix>().unwrap().as_str(), good);
    }
    for bad in ["", "a b", "a+b", "a\n", "ä", &"a".repeat(191)] {
        assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
    }
}
