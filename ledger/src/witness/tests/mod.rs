use super::*;
use crate::checkpoint::{Checkpoint, LocalSigner, PrivateKey, Signer};
use crate::disk::testing::{Failure, FaultyDisk, MemoryDisk};
use crate::tiles::TreeStore;
use crate::tree::{Hash, leaf};
use crate::types::LedgerName;

/// What a power cut at any moment leaves of what a witness knows.
mod crashes;

const NOW: u64 = 1_726_012_800;
const DIR: &str = "/witness";

/// A log with all of its history, and the key that signs for it.
struct Log {
    key: PrivateKey,
    tree: TreeStore,
}

impl Log {
    /// A log with these leaves.
    fn of(leaves: impl IntoIterator<Item = u8>) -> Self {
        let tree = TreeStore::open(Arc::new(MemoryDisk::new()), &PathBuf::from("/tree"), &[]);
        let leaves: Vec<Hash> = leaves.into_iter().map(|byte| leaf(&[byte])).collect();
        tree.extend(0, &leaves);
        Self { key: PrivateKey::new("log.example.org".parse().unwrap(), &[1; 32]), tree }
    }

    fn verifier(&self) -> VerifierKey {
        self.key.verifier(&LedgerName::default())
    }

    fn head(&self, size: u64) -> TreeHead {
        self.tree.head_at(size).unwrap()
    }

    fn note(&self, size: u64) -> Vec<u8> {
        LocalSigner::new(&self.key, &LedgerName::default(), None).sign(self.head(size), &[]).unwrap()
    }

    fn request(&self, old: u64, size: u64) -> Vec<u8> {
        let (_, proof) = self.tree.consistency(old, &self.head(size)).unwrap();
        to_bytes(old, &proof, &self.note(size))
    }
}

fn secret() -> CosignerSecret {
    CosignerSecret::new("witness.example.org/w1".parse().unwrap(), &[9; 32])
}

fn on(disk: &Arc<dyn Disk>) -> Result<Witness, StateError> {
    Witness::open(secret(), &[Log::of([]).verifier()], Arc::clone(disk), DIR.into())
}

fn witness() -> (Witness, MemoryDisk) {
    let memory = MemoryDisk::new();
    let disk: Arc<dyn Disk> = Arc::new(memory.clone());
    (on(&disk).unwrap(), memory)
}

fn status(witness: &mut Witness, body: &[u8]) -> u16 {
    witness.add_checkpoint(body, NOW).map_or_else(|refused| refused.status(), |_| 200)
}

#[test]
fn a_log_that_only_grows_is_cosigned_at_every_size() {
    let (log, (mut witness, memory)) = (Log::of(0..40), witness());
    let origin = log.verifier().name().to_owned();
    let mut old = 0;
    for size in [0, 1, 1, 2, 5, 8, 13, 13, 32, 40] {
        let line = witness.add_checkpoint(&log.request(old, size), NOW + size).unwrap();
        let cosigned = secret().public().among(&log.note(size), &line).unwrap();
        assert_eq!(cosigned.seconds, NOW + size);
        assert_eq!(witness.known(&origin), log.head(size));
        old = size;
        // Another one on the same directory knows as much.
        let disk: Arc<dyn Disk> = Arc::new(memory.copy());
        assert_eq!(on(&disk).unwrap().known(&origin), log.head(size));
    }
}

#[test]
fn each_request_that_is_wrong_gets_the_answer_of_the_specification_and_changes_nothing() {
    let (log, fork) = (Log::of(0..40), Log::of((0..10).chain(50..80)));
    let (mut witness, memory) = witness();
    let origin = log.verifier().name().to_owned();
    assert_eq!(status(&mut witness, &log.request(0, 20)), 200);
    let before = memory.copy();
    let conflict = |refused| matches!(refused, Err(Refused::Conflict(20)));

    // 404, 403: another log; another key; no key that is known.
    let mut other = Log::of(0..40);
    other.key = PrivateKey::new("other.example.org".parse().unwrap(), &[1; 32]);
    assert_eq!(status(&mut witness, &other.request(0, 30)), 404);
    other.key = PrivateKey::new("log.example.org".parse().unwrap(), &[2; 32]);
    assert_eq!(status(&mut witness, &other.request(20, 30)), 403);
    let text = String::from_utf8(log.request(20, 30)).unwrap();
    assert_eq!(status(&mut witness, text.replace("\n30\n", "\n31\n").as_bytes()), 403);

    // 400: an old size above the new one, even where both are wrong otherwise.
    let turned = to_bytes(30, &[], &log.note(25));
    assert_eq!(status(&mut witness, &turned), 400);

    // 409: behind, ahead, rolled back, or another tree of the same size.
    for request in [
        log.request(0, 30),
        log.request(19, 30),
        log.request(21, 30),
        log.request(0, 10),
        log.request(10, 15),
    ] {
        assert!(conflict(witness.add_checkpoint(&request, NOW)));
    }
    // The last is the only one that proves something against the log, to everybody, and whatever else is sent with it.
    let stranger = b"\xe2\x80\x94 stranger.example.org AAAAAAAA\n";
    for request in [
        fork.request(20, 20),
        to_bytes(0, &[], &fork.note(20)),
        to_bytes(20, &[[0; 32]], &fork.note(20)),
        to_bytes(20, &[], &[&fork.note(20)[..], stranger].concat()),
    ] {
        let refused = witness.add_checkpoint(&request, NOW).unwrap_err();
        let Refused::Fork { size: 20, note } = &refused else { panic!("{refused}") };
        assert_eq!((refused.status(), note.as_bytes()), (409, &fork.note(20)[..]));
        let fork = [log.note(20), fork.note(20)].map(|note| log.verifier().open_alone(&note).unwrap());
        assert!(fork[0].tree.size == fork[1].tree.size && fork[0].tree.root != fork[1].tree.root);
    }

    // 422: a fork; no proof, half a proof, too much of a proof; a proof where none belongs.
    for request in [fork.request(20, 30), fork.request(20, 40)] {
        assert_eq!(status(&mut witness, &request), 422);
    }
    let (_, proof) = log.tree.consistency(20, &log.head(30)).unwrap();
    for wrong in [&proof[1..], &[], &[&proof[..], &[[0; 32]]].concat()] {
        assert_eq!(status(&mut witness, &to_bytes(20, wrong, &log.note(30))), 422);
    }
    assert_eq!(status(&mut witness, &to_bytes(20, &proof, &log.note(20))), 422);

    assert_eq!((memory.paths(), witness.known(&origin)), (before.paths(), log.head(20)));
    for path in before.paths() {
        assert_eq!(memory.bytes(&path), before.bytes(&path));
    }
    assert_eq!(status(&mut witness, &log.request(20, 40)), 200, "it goes on");
}

#[test]
fn a_first_request_brings_no_proof_and_begins_at_nothing() {
    let (log, (mut witness, _)) = (Log::of(0..40), witness());
    assert_eq!(status(&mut witness, &to_bytes(0, &[[0; 32]], &log.note(5))), 422);
    assert!(matches!(witness.add_checkpoint(&log.request(3, 5), NOW), Err(Refused::Conflict(0))));
    // The empty tree has one root.
    let lies = TreeHead { size: 0, root: [1; 32] };
    let note = LocalSigner::new(&log.key, &LedgerName::default(), None).sign(lies, &[]).unwrap();
    assert!(matches!(witness.add_checkpoint(&to_bytes(0, &[], &note), NOW), Err(Refused::Conflict(0))));
    assert_eq!(status(&mut witness, &log.request(0, 5)), 200);
}

#[test]
fn a_request_is_read_from_the_bytes_of_the_specification_and_from_no_others() {
    // The example of c2sp.org/tlog-witness.
    let example = "old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
";
    let read = Request::parse(example.as_bytes()).unwrap();
    assert_eq!((read.old, read.proof.len(), read.checkpoint.tree.size), (20_852_014, 4, 20_852_163));
    assert_eq!(read.checkpoint.origin, "example.com/behind-the-sofa");
    assert_eq!(to_bytes(read.old, &read.proof, &read.note.to_bytes()), example.as_bytes());

    let no_proof = [&example[..12], &example[example.find("\n\n").unwrap()..]].concat();
    assert!(Request::parse(no_proof.replace("20852014", "0").as_bytes()).is_ok());
    let hash = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
    let hashes = |count: usize| example.replacen(hash, &hash.repeat(count), 1);
    assert!(Request::parse(hashes(60).as_bytes()).is_ok(), "63 in all");
    let others = [
        hashes(61),
        example.replace("old 20852014", "old 020852014"),
        example.replace("old 20852014", "old +20852014"),
        example.replace("old 20852014", "old  20852014"),
        example.replace("old 20852014", "old 20852014 "),
        example.replace("old 20852014", "old 99999999999999999999"),
        example.replace("old 20852014", "Old 20852014"),
        example.replace("old 20852014\n", ""),
        example.replace("old 20852014\n", "\n"),
        example.replace('\n', "\r\n"),
        example.replace(hash, "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw\n"),
        example.replace(hash, "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkax=\n"),
        example.replace(hash, "PlRNCrwHpqhGrupue0L7\n"),
        example.replace(hash, &format!(" {hash}")),
        example.replace("\n\nexample", "\nexample"),
        example.replace("\n\nexample", "\n\n\nexample"),
        example.replace("\n\n—", "\n\n\n—"),
        example.replace("\n\n—", "\nmore\n\nmore\n\n—"),
        example.replace("20852163", "020852163"),
        example.trim_end().to_owned(),
        format!("{example}\n"),
        format!("{example}x"),
        example.split_inclusive("\n\n").take(2).collect(),
        String::new(),
        "\n\n".to_owned(),
        "a".repeat(REQUEST_BYTES_MAX + 1),
    ];
    for other in others {
        assert!(Request::parse(other.as_bytes()).is_err(), "{other:?}");
    }
    for cut in 0..example.len() - 1 {
        // Without its last line it is a request with one signature less.
        let whole = example.as_bytes()[..cut].ends_with(b"xeMcTOAYQ8=\n");
        assert_eq!(Request::parse(&example.as_bytes()[..cut]).is_ok(), whole, "cut at {cut}");
    }
}

#[test]
fn lines_that_say_nothing_to_us_are_cosigned_with_the_rest_of_the_text() {
    use signed_note::{Note, StandardSigner};
    let (log, (mut witness, memory)) = (Log::of(0..9), witness());
    let checkpoint = Checkpoint { origin: log.verifier().name().to_owned(), tree: log.head(9) };
    let text = format!("{}an extension\n", checkpoint.text());
    let mut note = Note::new(text.as_bytes(), &[]).unwrap();
    let line = log.key.to_secret_line();
    let line = line.rsplit('+').next().unwrap();
    let public = log.verifier().to_string();
    let id = public.split('+').nth(1).unwrap();
    let signer = format!("PRIVATE+KEY+log.example.org/default+{id}+{line}");
    note.add_sigs(&[&StandardSigner::new(&signer).unwrap()]).unwrap();
    let line = witness.add_checkpoint(&to_bytes(0, &[], &note.to_bytes()), NOW).unwrap();
    assert!(secret().public().among(&note.to_bytes(), &line).is_ok());
    let disk: Arc<dyn Disk> = Arc::new(memory);
    assert_eq!(on(&disk).unwrap().known("log.example.org/default"), log.head(9));
}

#[test]
fn one_good_signature_is_enough_and_what_others_wrote_is_not_kept() {
    let (log, (mut witness, memory)) = (Log::of(0..9), witness());
    let mut other = Log::of(0..9);
    other.key = PrivateKey::new("log.example.org".parse().unwrap(), &[2; 32]);
    let stranger = String::from_utf8(other.note(9)).unwrap();
    let stranger = stranger.split_once("\n\n").unwrap().1;
    let (_, proof) = log.tree.consistency(0, &log.head(9)).unwrap();
    let note = [&log.note(9)[..], stranger.repeat(99).as_bytes()].concat();
    assert_eq!(status(&mut witness, &to_bytes(0, &proof, &note)), 200);
    let path = memory.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "note")).unwrap();
    let kept = memory.bytes(&path).unwrap();
    assert!(kept.starts_with(&log.note(9)));
    assert_eq!(log.verifier().open(&kept).unwrap().tree, log.head(9));
    assert!(secret().public().cosigned(&kept).is_ok());
    assert!(kept.len() < log.note(9).len() * 2, "as much as its own two lines");
    // While a log changes its key, both count.
    let disk: Arc<dyn Disk> = Arc::new(memory);
    let keys = [log.verifier(), other.verifier()];
    let mut witness = Witness::open(secret(), &keys, disk, DIR.into()).unwrap();
    assert_eq!(status(&mut witness, &other.request(9, 9)), 200);
    assert_eq!(status(&mut witness, &log.request(9, 9)), 200);
}

#[test]
fn a_witness_whose_memory_was_changed_does_not_begin() {
    let (log, (mut witness, memory)) = (Log::of(0..40), witness());
    assert_eq!(status(&mut witness, &log.request(0, 20)), 200);
    let path = memory.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "note")).unwrap();
    let bytes = memory.bytes(&path).unwrap();
    let opens = |changed: &[u8], name: &std::path::Path| {
        let memory = memory.copy();
        memory.remove(&path).unwrap();
        memory.put(name, changed);
        let disk: Arc<dyn Disk> = Arc::new(memory);
        on(&disk).map(|witness| witness.known("log.example.org/default"))
    };
    assert_eq!(opens(&bytes, &path).unwrap(), log.head(20));
    for byte in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[byte] ^= 1;
        // Only the log's own signature may go: the witness signed the text.
        assert!(opens(&changed, &path).map_or(true, |tree| tree == log.head(20)), "byte {byte}");
    }
    for cut in 0..bytes.len() {
        let error = opens(&bytes[..cut], &path).unwrap_err().to_string();
        assert!(error.contains("bring the file back"), "{error}");
    }
    let elsewhere = PathBuf::from(DIR).join("00000000000000000000000000000000.note");
    assert!(matches!(opens(&bytes, &elsewhere), Err(StateError::Changed { .. })));
    let disk: Arc<dyn Disk> = Arc::new(memory.copy());
    let other = CosignerSecret::new("witness.example.org/w1".parse().unwrap(), &[8; 32]);
    let opened = Witness::open(other, &[], disk, DIR.into());
    assert!(matches!(opened.map(|_| ()), Err(StateError::Changed { .. })), "another key knows nothing of it");
}
