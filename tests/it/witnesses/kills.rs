use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ledger::checkpoint::cosignature::CosignerSecret;
use ledger::checkpoint::{LocalSigner, PrivateKey, Signer};
use ledger::disk::testing::MemoryDisk;
use ledger::disk::{Disk, DiskFile, Open, RealDisk};
use ledger::tiles::TreeStore;
use ledger::tree::{Hash, leaf};
use ledger::types::LedgerName;
use ledger::witness::to_bytes;
use tokenledger::clock::SystemClock;
use tokenledger::witness::server::{WitnessOptions, start};

use super::process::{post, ready};
use crate::binary_harness::{Mortal, program};

/// How often the witness is killed; `TOKENLEDGER_KILLS` says otherwise.
const KILLS: u64 = 15;
/// Tells this program to be a witness that is built wrong: how, and where.
const WRONG: &str = "TOKENLEDGER_WRONG_WITNESS";

fn log_key() -> PrivateKey {
    PrivateKey::new("log.example.org".parse().unwrap(), &[1; 32])
}

fn secret() -> CosignerSecret {
    CosignerSecret::new("witness.example.org/w1".parse().unwrap(), &[9; 32])
}

/// One of the histories that the log shows: its leaves.
type History = Vec<u8>;

fn tree(history: &[u8]) -> TreeStore {
    let tree = TreeStore::open(Arc::new(MemoryDisk::new()), Path::new("/tree"), &[]);
    let leaves: Vec<Hash> = history.iter().map(|byte| leaf(&[*byte])).collect();
    tree.extend(0, &leaves);
    tree
}

fn request(old: u64, history: &[u8]) -> Vec<u8> {
    let tree = tree(history);
    let head = tree.head();
    let (_, proof) = tree.consistency(old, &head).unwrap();
    let note = LocalSigner::new(&log_key(), &LedgerName::default(), None).sign(head, &[]).unwrap();
    to_bytes(old, &proof, &note)
}

/// What the log knows of the witness: a log that lies, and shows each of two people its own history.
#[derive(Default)]
struct Known {
    /// The newest history that the witness is believed to have.
    newest: History,
    /// All that it cosigned, by size.
    cosigned: BTreeMap<u64, History>,
    /// All that was ever shown to it, by size.
    shown: BTreeMap<u64, Vec<History>>,
    /// How often it had kept what it was killed before it could answer for.
    unanswered: u64,
    /// Two histories that it cosigned and that cannot both be true.
    contradiction: Option<String>,
}

impl Known {
    /// The witness cosigned a history. All that it ever cosigned must be the beginning of all that is longer.
    fn cosigned(&mut self, history: &History) {
        let size = history.len() as u64;
        let before = self.cosigned.range(..=size).next_back();
        let after = self.cosigned.range(size..).next();
        let goes_on = before.is_none_or(|(_, before)| history.starts_with(before))
            && after.is_none_or(|(_, after)| after.starts_with(history));
        if !goes_on {
            self.contradiction = Some(format!("two histories of about {size} entries are cosigned"));
        }
        self.cosigned.insert(size, history.clone());
        if history.len() > self.newest.len() {
            self.newest.clone_from(history);
        }
    }
}

/// What came of showing a history.
enum Shown {
    /// It is cosigned.
    Cosigned,
    /// The witness knows this size, and not the one it was told.
    Knows(u64),
    /// It is refused as another history.
    Refused,
    /// The witness is gone.
    Gone,
}

/// Shows a history as one that goes on from `old`.
fn show(address: &str, known: &Mutex<Known>, old: u64, history: &History) -> Shown {
    let body = request(old, history);
    known.lock().unwrap().shown.entry(history.len() as u64).or_default().push(history.clone());
    let Ok(answer) = post(address, &body) else { return Shown::Gone };
    match answer.status {
        200 => {
            let note = body.windows(2).position(|pair| pair == b"\n\n").unwrap() + 2;
            secret().public().among(&body[note..], &answer.body).expect("a cosignature that holds");
            known.lock().unwrap().cosigned(history);
            Shown::Cosigned
        }
        409 => {
            assert_eq!(answer.kind, "text/x.tlog.size");
            Shown::Knows(String::from_utf8(answer.body).unwrap().trim_end().parse().unwrap())
        }
        status => {
            assert_eq!(status, 422, "{answer:?}");
            Shown::Refused
        }
    }
}

/// The witness has seen a size that nobody was told of, since it was killed before it answered: which history was it?
fn recognized(address: &str, known: &Mutex<Known>, size: u64) {
    let candidates = known.lock().unwrap().shown.get(&size).cloned().unwrap_or_default();
    for candidate in candidates {
        if matches!(show(address, known, size, &candidate), Shown::Cosigned | Shown::Gone) {
            return;
        }
    }
}

/// After a kill: what contradicts that which was cosigned last is shown, from where the witness stands now and from where
/// it stood lately.
fn show_others(address: &str, known: &Mutex<Known>) {
    let (newest, mut bases) = {
        let known = known.lock().unwrap();
        let lately: Vec<u64> = known.cosigned.keys().rev().skip(1).take(5).copied().collect();
        (known.newest.clone(), lately)
    };
    if let Shown::Knows(size) = show(address, known, 0, &vec![b'X'; newest.len() + 1]) {
        if size > newest.len() as u64 {
            known.lock().unwrap().unanswered += 1;
            return recognized(address, known, size);
        }
        bases.insert(0, size);
    }
    for base in bases {
        let mut other = newest[..base as usize].to_vec();
        other.resize(newest.len() + 4, b'X');
        show(address, known, base, &other);
    }
}

/// One side of a log that shows two histories, until the witness is gone: its own entries behind the newest.
fn push(address: &str, known: &Mutex<Known>, side: u8, end: &AtomicBool) {
    let mut round = 0;
    while !end.load(Ordering::Relaxed) {
        round += 1;
        let mut history = known.lock().unwrap().newest.clone();
        let old = history.len() as u64;
        history.resize(history.len() + 1 + round % 3, side);
        match show(address, known, old, &history) {
            Shown::Gone => return,
            Shown::Knows(size) if size > history.len() as u64 => recognized(address, known, size),
            _ => {}
        }
    }
}

/// Kills a witness again and again while two histories are shown to it.
fn attack(kills: u64, mut run: impl FnMut() -> (Mortal, String)) -> Known {
    let known = Mutex::new(Known::default());
    let mut random = 0x9E37_79B9_7F4A_7C15_u64 ^ u64::from(std::process::id());
    for _ in 0..kills {
        let (mut child, address) = run();
        show_others(&address, &known);
        if known.lock().unwrap().contradiction.is_some() {
            break;
        }
        let end = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for side in [b'L', b'R'] {
                let (address, known, end) = (&address, &known, &end);
                scope.spawn(move || push(address, known, side, end));
            }
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            std::thread::sleep(Duration::from_micros(random % 60_000));
            child.0.kill().unwrap();
            child.0.wait().unwrap();
            end.store(true, Ordering::Relaxed);
        });
    }
    known.into_inner().unwrap()
}

#[test]
fn a_witness_killed_at_any_moment_never_cosigns_two_histories() {
    let kills =
        std::env::var("TOKENLEDGER_KILLS").map_or(KILLS, |n| n.parse().expect("TOKENLEDGER_KILLS: a number"));
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, secret().to_secret_line()).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let log = log_key().verifier(&LedgerName::default()).to_string();
    let known = attack(kills, || {
        let mut command = program();
        command.args(["witness", "--listen", "127.0.0.1:0", "--log", &log]);
        ready(command.arg("--key").arg(&key).arg("--state").arg(dir.path().join("state")))
    });
    let (cosigned, unanswered) = (known.cosigned.len(), known.unanswered);
    println!(
        "{kills} kills: {cosigned} checkpoints cosigned, {unanswered} times killed between keeping and answering"
    );
    assert_eq!(known.contradiction, None);
    assert!(cosigned as u64 > kills / 2, "it was under load: {cosigned} checkpoints in {kills} kills");
}

#[test]
fn the_same_kills_catch_witnesses_that_are_built_wrong() {
    for way in ["late", "twice"] {
        let dir = tempfile::tempdir().unwrap();
        let known = attack(100, || {
            let mut command = std::process::Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", "witnesses::kills::a_wrong_witness_for_the_test_above", "--nocapture"]);
            ready(command.env(WRONG, format!("{way}:{}", dir.path().to_str().unwrap())))
        });
        assert!(known.contradiction.is_some(), "{way}: nobody noticed");
    }
}

/// Not a test unless it is asked to be a witness: the product's, on a disk that is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_witness_for_the_test_above() {
    let Ok(asked) = std::env::var(WRONG) else { return };
    let (way, dir) = asked.split_once(':').unwrap();
    let options = WitnessOptions {
        key: secret(),
        logs: vec![log_key().verifier(&LedgerName::default())],
        state: PathBuf::from(dir).join("state"),
        listen: "127.0.0.1:0".parse().unwrap(),
    };
    let disk = Arc::new(WrongDisk { late: way == "late" });
    let running = start(options, disk, Arc::new(SystemClock)).await.unwrap();
    println!("\n{{\"ready\":true,\"http\":\"{}\"}}", running.http);
    std::future::pending::<()>().await;
}

/// A disk that gives files their names later than it says, or not in one step.
struct WrongDisk {
    late: bool,
}

impl Disk for WrongDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        RealDisk.open(path, how)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealDisk.list(dir)
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.make_dir(dir)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.late {
            let (from, to) = (from.to_owned(), to.to_owned());
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(20));
                let _ = RealDisk.rename(&from, &to);
            });
            return Ok(());
        }
        let _ = RealDisk.remove(to);
        std::thread::sleep(Duration::from_millis(5));
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealDisk.sync_dir(dir)
    }
}
