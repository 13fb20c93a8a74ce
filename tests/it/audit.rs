use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ledger::audit::AuditState;
use ledger::checkpoint::{LogKeys, PrivateKey};
use ledger::entry;
use ledger::proof::Fork;
use ledger::types::LedgerName;
use tempfile::TempDir;
use tokenledger::audit::{AuditError, Kept, Outcome, audit};
use tokenledger::wire::pb;
use tokenledger::wire::pb::proof_service_client::ProofServiceClient;
use tonic::Code;
use tonic::transport::Channel;

use crate::between::{Between, Edit, Fails};
use crate::binary_harness::{Mortal, Said, Served, data_of, program, say};
use crate::harness::{Clients, Dice, Server, copy_dir, created, event, key, story};

pub fn keys() -> LogKeys {
    LogKeys::new(vec![key().verifier(&LedgerName::default())]).unwrap()
}

/// Somebody elsewhere, with a state and a key and nothing else.
pub struct Elsewhere {
    dir: TempDir,
    keys: LogKeys,
}

impl Elsewhere {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), keys: keys() }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    async fn try_audit(&self, proof: ProofServiceClient<Channel>) -> Result<Outcome, AuditError> {
        let kept = Kept::open(&self.state()).unwrap();
        audit(proof, "default", &self.keys, &kept, &|_, _| {}).await
    }

    async fn audit(&self, proof: &ProofServiceClient<Channel>) -> Outcome {
        self.try_audit(proof.clone()).await.unwrap()
    }

    /// The audit ends well; it took in so many entries.
    pub async fn passes(&self, proof: &ProofServiceClient<Channel>) -> u64 {
        let outcome = self.audit(proof).await;
        assert_eq!(outcome.wrong, None);
        assert!(outcome.has_tree && outcome.to - outcome.from == outcome.entries);
        outcome.entries
    }

    /// The audit ends with a fork, and the evidence holds; it is returned.
    pub async fn proves_a_fork(&self, proof: &ProofServiceClient<Channel>) -> Fork {
        let before = std::fs::read(self.state()).unwrap();
        let wrong = self.audit(proof).await.wrong.unwrap();
        assert!(wrong.reason.contains("forked"), "{wrong:?}");
        let fork = Fork::parse(&wrong.evidence.unwrap().to_bytes()).unwrap();
        fork.verify(&keys()).unwrap();
        assert_eq!(std::fs::read(self.state()).unwrap(), before, "what was seen stays what was seen");
        fork
    }
}

async fn some(clients: &Clients, count: usize, name: &str) {
    let events: Vec<pb::Event> =
        (0..count).map(|n| event(&format!("{name}-{n}"), created(&format!("{name}-{n}")))).collect();
    clients.record_all(&events).await;
}

/// Waits until everything is covered by a checkpoint.
async fn signed(clients: &Clients) -> u64 {
    let entries = clients.root(None).await.entries;
    let request = pb::GetCheckpointRequest { min_size: Some(entries), ..Default::default() };
    clients.proof.clone().get_checkpoint(request).await.unwrap();
    entries
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_audit_fetches_only_what_is_new_and_a_third_nothing() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    clients.record_all(&story(5, 300)).await;
    let entries = signed(&clients).await;
    let auditor = Elsewhere::new();
    assert_eq!(auditor.passes(&clients.proof).await, entries);
    assert_eq!(auditor.passes(&clients.proof).await, 0);
    some(&clients, 25, "more").await;
    let more = signed(&clients).await;
    assert_eq!(auditor.passes(&clients.proof).await, more - entries);
    drop(clients);
    server.restart().await;
    let clients = server.clients().await;
    assert_eq!(auditor.passes(&clients.proof).await, 0);
    // Who looks for the first time sees the same root.
    let (first, again) = (Elsewhere::new(), auditor.audit(&clients.proof).await);
    assert_eq!(first.passes(&clients.proof).await, more);
    assert_eq!(first.audit(&clients.proof).await.root, again.root);
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_copy_is_found_to_have_gone_back_and_is_no_fork_by_itself() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    some(&clients, 40, "old").await;
    let before = signed(&clients).await;
    drop(clients);
    server.stop().await;
    let older = tempfile::tempdir().unwrap();
    copy_dir(&server.data(), older.path());
    server.resume().await;
    let clients = server.clients().await;
    some(&clients, 30, "new").await;
    let after = signed(&clients).await;
    let auditor = Elsewhere::new();
    auditor.passes(&clients.proof).await;
    drop(clients);

    let copy = Server::start_copy(older.path()).await;
    let clients = copy.clients().await;
    let outcome = auditor.audit(&clients.proof).await;
    let wrong = outcome.wrong.unwrap();
    assert_eq!((outcome.from, outcome.to, &wrong.evidence), (after, before, &None));
    assert!(wrong.reason.contains("went back") && wrong.reason.contains("the first of those"), "{wrong:?}");
    // Without the hashes of what was seen nobody knows whether these are the same.
    std::fs::remove_file(auditor.dir.path().join("state.tree/level-0")).unwrap();
    let outcome = auditor.audit(&clients.proof).await;
    assert!(!outcome.has_tree);
    assert!(outcome.wrong.unwrap().reason.contains("is not known"));
    drop(clients);
    copy.check().await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_histories_under_one_key_are_proved_by_a_file_whether_shorter_as_long_or_longer() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    some(&clients, 37, "common").await;
    drop(clients);
    server.stop().await;
    let common = tempfile::tempdir().unwrap();
    copy_dir(&server.data(), common.path());
    server.resume().await;
    let clients = server.clients().await;
    some(&clients, 20, "shown-to-one").await;
    signed(&clients).await;
    for (count, sections) in [(3, 1), (20, 0), (33, 1), (0, 1)] {
        let auditor = Elsewhere::new();
        let other = Server::start_copy(common.path()).await;
        let others = other.clients().await;
        // The one who saw nothing but what is common is not fooled either, once the longer one was seen.
        some(&others, count, "shown-to-another").await;
        signed(&others).await;
        let (first, second) = match count {
            0 => {
                some(&others, 5, "short").await;
                signed(&others).await;
                (&others, &clients)
            }
            _ => (&clients, &others),
        };
        auditor.passes(&first.proof).await;
        let fork = auditor.proves_a_fork(&second.proof).await;
        assert_eq!(usize::from(fork.path.is_some()), sections, "{count}");
        let file = fork.to_bytes();
        for bit in 0..file.len() * 8 {
            let mut changed = file.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Fork::parse(&changed).and_then(|fork| fork.verify(&keys())).is_err(), "bit {bit}");
        }
        // The honest one goes on being believed.
        assert_eq!(auditor.passes(&first.proof).await, 0);
        drop(others);
        other.check().await;
    }
    drop(clients);
    server.check().await;
}

/// Chains entries anew from one on, as an insider would who can recompute every hash.
fn relink(entries: &mut [Vec<u8>], from: usize) {
    for n in from.max(1)..entries.len() {
        let previous = entry::link(&entries[n - 1]);
        let (header, event) = entry::decode(&entries[n]).unwrap();
        entries[n] = entry::encode(&entry::Header { previous, ..header }, event).unwrap();
    }
}

/// Changes what stands at `at`, in one of many ways.
fn tamper(way: u64, at: usize, bit: usize, entries: &mut Vec<Vec<u8>>) {
    let last = entries.len() - 1;
    match way {
        0 => entries[at][86..].last_mut().into_iter().for_each(|byte| *byte ^= 1 << (bit % 8)),
        1 => entries[at][bit % 86] ^= 1 << (bit / 86 % 8),
        2 => {
            let other = if at == last { at - 1 } else { at + 1 };
            entries.swap(at, other);
        }
        3 => {
            // Where the last one is dropped, the one before comes again instead, so that the number is right.
            let again = entries[at.saturating_sub(1)].clone();
            entries.remove(at);
            if at == last {
                entries.push(again);
            }
        }
        4 => {
            let again = entries[at].clone();
            entries.insert(at, again);
        }
        5 => {
            let (header, event) = entry::decode(&entries[at]).unwrap();
            let header =
                entry::Header { recorded_at: ledger::types::Time(header.recorded_at.0 + 1), ..header };
            entries[at] = entry::encode(&header, event).unwrap();
            relink(entries, at + 1);
        }
        6 => {
            let (header, event) = entry::decode(&entries[at]).unwrap();
            entries[at] =
                entry::encode(&entry::Header { event_id: uuid::Uuid::from_u128(7), ..header }, event)
                    .unwrap();
            relink(entries, at + 1);
        }
        7 => entries.truncate(at),
        _ => entries[at].truncate(bit % 86),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_somebody_in_the_middle_changes_is_named_by_its_position() {
    let server = Server::start().await;
    let clients = server.clients().await;
    some(&clients, 60, "seen").await;
    let seen = signed(&clients).await;
    let known = Elsewhere::new();
    known.passes(&clients.proof).await;
    some(&clients, 50, "new").await;
    let entries = signed(&clients).await;
    let mut dice = Dice::new(11);
    for round in 0..72 {
        let fresh = Elsewhere::new();
        // Half of them know a part, half of them nothing.
        let (auditor, from) = if round % 2 == 0 { (&known, seen) } else { (&fresh, 0) };
        let edges = [from, entries - 1];
        let at = if round < 18 { edges[round % 4 / 2] } else { from + dice.below(entries - from) };
        // What comes first is swapped with what comes after it, and what comes last with what comes before it.
        let (way, bit) = (round as u64 / 2 % 9, dice.below(86 * 8) as usize);
        let expected = match way {
            2 if at == entries - 1 => at - 1,
            // The first of two is the right one.
            4 => at + 1,
            _ => at,
        };
        let edit: Edit = Arc::new(move |first, entries| {
            if at >= first && ((at - first) as usize) < entries.len() {
                tamper(way, (at - first) as usize, bit, entries);
            }
        });
        let between = Between { entries: edit, ..Between::new(&clients.proof) }.serve().await;
        let before = std::fs::read(auditor.state()).ok();
        let outcome = auditor.audit(&between).await;
        let wrong = outcome.wrong.unwrap_or_else(|| panic!("round {round}: way {way} at {at} passed"));
        assert_eq!(wrong.position, Some(expected), "round {round}, way {way}, bit {bit}: {}", wrong.reason);
        assert!(wrong.reason.contains(&expected.to_string()), "{}", wrong.reason);
        assert_eq!(wrong.evidence, None, "the log has done nothing wrong");
        assert_eq!(std::fs::read(auditor.state()).ok(), before);
    }
    assert_eq!(known.passes(&clients.proof).await, entries - seen, "and from the server itself all is right");
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_that_proves_nothing_is_not_taken_and_hides_no_fork() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    some(&clients, 30, "common").await;
    drop(clients);
    server.stop().await;
    let common = tempfile::tempdir().unwrap();
    copy_dir(&server.data(), common.path());
    server.resume().await;
    let clients = server.clients().await;
    some(&clients, 11, "one").await;
    signed(&clients).await;
    let auditor = Elsewhere::new();
    auditor.passes(&clients.proof).await;
    some(&clients, 11, "two").await;
    let entries = signed(&clients).await;
    let other = Server::start_copy(common.path()).await;
    let others = other.clients().await;
    some(&others, 40, "other").await;
    signed(&others).await;

    let lies: [fn(&mut pb::ProveConsistencyResponse); 5] = [
        |answer| answer.hashes.iter_mut().for_each(|hash| hash[3] ^= 1),
        |answer| drop(answer.hashes.pop()),
        |answer| answer.hashes.clear(),
        |answer| answer.hashes.push(vec![1; 32]),
        |answer| answer.hashes.iter_mut().for_each(|hash| hash.truncate(31)),
    ];
    for lie in lies {
        let honest = Between { consistency: Arc::new(lie), ..Between::new(&clients.proof) }.serve().await;
        let wrong = auditor.audit(&honest).await.wrong.unwrap();
        assert!(wrong.reason.contains("does not show") && wrong.evidence.is_none(), "{wrong:?}");
        let forked = Between { consistency: Arc::new(lie), ..Between::new(&others.proof) }.serve().await;
        auditor.proves_a_fork(&forked).await;
    }
    // What the server says of the old root is not needed, and is not believed.
    let silent: fn(&mut pb::ProveConsistencyResponse) = |answer| answer.old_root = vec![9; 32];
    let between = Between { consistency: Arc::new(silent), ..Between::new(&clients.proof) }.serve().await;
    assert_eq!(auditor.passes(&between).await, 11);
    assert_eq!(signed(&clients).await, entries);
    drop((clients, others));
    other.check().await;
    server.check().await;
}

/// What a server may answer instead of what it is asked.
const ERRORS: [Code; 5] =
    [Code::Unavailable, Code::Internal, Code::NotFound, Code::OutOfRange, Code::ResourceExhausted];

#[tokio::test(flavor = "multi_thread")]
async fn no_error_behind_a_finding_takes_it_back() {
    let server = Server::start().await;
    let clients = server.clients().await;
    some(&clients, 20, "seen").await;
    let seen = signed(&clients).await;
    let auditor = Elsewhere::new();
    auditor.passes(&clients.proof).await;
    some(&clients, 30, "new").await;
    let entries = signed(&clients).await;
    // Relinked up to the end, or with a link that does not fit.
    for (way, at) in [(5, 7), (6, 29), (0, 12), (7, 9)] {
        for error in ERRORS {
            for (call, from) in [("consistency", 1), ("consistency", 3), ("end of entries", 0)] {
                let edit: Edit = Arc::new(move |_, entries| tamper(way, at, 3, entries));
                let fails: Fails =
                    Arc::new(move |name, before| (name == call && before >= from).then_some(error));
                let between = Between { entries: edit, fails, ..Between::new(&clients.proof) }.serve().await;
                if (way, call) == (7, "end of entries") {
                    // The stream breaks off before what is due; nothing is known yet, unless that is all there is.
                    let ended = auditor.try_audit(between).await;
                    assert_eq!(ended.is_ok(), matches!(error, Code::NotFound | Code::OutOfRange));
                    continue;
                }
                let outcome = auditor.audit(&between).await;
                let wrong = outcome.wrong.unwrap_or_else(|| panic!("{way} {error} {call}"));
                if wrong.position.is_none() {
                    assert!(wrong.reason.contains("not those that the checkpoint covers"), "{wrong:?}");
                    keys().open(&wrong.note.unwrap()).unwrap();
                }
                assert_eq!((outcome.from, outcome.to), (seen, entries));
            }
        }
    }
    // That there is none of what its checkpoint covers is a finding; any other error says nothing yet.
    for error in ERRORS {
        let fails: Fails = Arc::new(move |name, _| (name == "entries").then_some(error));
        let between = Between { fails, ..Between::new(&clients.proof) }.serve().await;
        match auditor.try_audit(between).await {
            Ok(outcome) => assert_eq!(outcome.wrong.unwrap().position, Some(seen), "{error}"),
            Err(_) => assert!(!matches!(error, Code::NotFound | Code::OutOfRange), "{error}"),
        }
    }
    // All that is due came before the stream broke: that is enough.
    let fails: Fails = Arc::new(|name, _| (name == "end of entries").then_some(Code::Internal));
    let between = Between { fails, ..Between::new(&clients.proof) }.serve().await;
    assert_eq!(auditor.passes(&between).await, entries - seen);

    // Who says that what was there is not, and nothing more.
    for error in ERRORS {
        let fails: Fails = Arc::new(move |name, _| match name {
            "consistency" => Some(Code::OutOfRange),
            _ => Some(error),
        });
        let between = Between { fails, ..Between::new(&clients.proof) }.serve().await;
        let wrong = auditor.audit(&between).await.wrong.unwrap();
        assert!(wrong.reason.contains("fewer") && wrong.evidence.is_none(), "{wrong:?}");
    }
    let fails: Fails = Arc::new(|_, _| Some(Code::NotFound));
    let between = Between { fails, ..Between::new(&clients.proof) }.serve().await;
    let wrong = auditor.audit(&between).await.wrong.unwrap();
    assert!(wrong.reason.contains("gone"), "{wrong:?}");
    // A ledger that was never there is not missed; and where nothing is known to be wrong, an error is one.
    assert!(Elsewhere::new().try_audit(between).await.is_err());
    for error in [Code::Unavailable, Code::Internal] {
        let fails: Fails = Arc::new(move |_, _| Some(error));
        let between = Between { fails, ..Between::new(&clients.proof) }.serve().await;
        assert!(auditor.try_audit(between).await.is_err());
    }
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_that_can_not_be_proved_is_told_all_the_same_and_its_note_is_kept() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    some(&clients, 20, "common").await;
    drop(clients);
    server.stop().await;
    let common = tempfile::tempdir().unwrap();
    copy_dir(&server.data(), common.path());
    server.resume().await;
    let clients = server.clients().await;
    some(&clients, 7, "one").await;
    let entries = signed(&clients).await;
    let auditor = Elsewhere::new();
    auditor.passes(&clients.proof).await;
    let other = Server::start_copy(common.path()).await;
    let others = other.clients().await;
    some(&others, 7, "other").await;
    assert_eq!(signed(&others).await, entries);

    // As long as the one that was seen, and said to be shorter: two notes of one size are proof enough.
    let shorter: Fails = Arc::new(|name, _| (name == "consistency").then_some(Code::OutOfRange));
    let between = Between { fails: shorter.clone(), ..Between::new(&others.proof) }.serve().await;
    assert!(auditor.proves_a_fork(&between).await.path.is_none());
    let honest = Between { fails: shorter.clone(), ..Between::new(&clients.proof) }.serve().await;
    let wrong = auditor.audit(&honest).await.wrong.unwrap();
    assert!(wrong.reason.contains("fewer") && wrong.evidence.is_none(), "{wrong:?}");
    // Longer, and said to be shorter: its own entries show it.
    some(&others, 5, "more").await;
    signed(&others).await;
    let between = Between { fails: shorter, ..Between::new(&others.proof) }.serve().await;
    assert!(auditor.proves_a_fork(&between).await.path.is_some());

    let lie: fn(&mut pb::ProveConsistencyResponse) = |answer| answer.hashes.clear();
    for error in ERRORS {
        for call in ["entries", "end of entries"] {
            let fails: Fails = Arc::new(move |name, _| (name == call).then_some(error));
            let edit: Edit = Arc::new(|_, entries| entries.truncate(20));
            let between =
                Between { consistency: Arc::new(lie), entries: edit, fails, ..Between::new(&others.proof) };
            let outcome = auditor.audit(&between.serve().await).await;
            let wrong = outcome.wrong.unwrap();
            assert!(wrong.reason.contains("does not show"), "{wrong:?}");
            let kept = keys().open(&wrong.note.unwrap()).unwrap();
            assert_eq!(kept.checkpoint.tree.size, outcome.to);
        }
    }

    // The command keeps the note as well, and has no need of room for temporary files to say that something is wrong.
    let between = Between { consistency: Arc::new(lie), ..Between::new(&others.proof) };
    let address = between.serve_at().await;
    let audit = |state: PathBuf| {
        let mut command = command_at(address, &state);
        command.env("TMPDIR", "/nowhere/at/all");
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        async move {
            let output = output.await.unwrap();
            let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            (output.status.code(), verdict)
        }
    };
    let (code, verdict) = audit(auditor.state()).await;
    assert_eq!((code, &verdict["ok"], &verdict["evidence"]), (Some(3), &false.into(), &().into()));
    let kept = std::fs::read(verdict["checkpoint"].as_str().unwrap()).unwrap();
    keys().open(&kept).unwrap();
    assert_eq!(audit(auditor.state()).await, (Some(3), verdict), "and the same again");
    drop((clients, others));
    other.check().await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_key_another_log_and_a_key_that_was_replaced_are_refused() {
    let server = Server::start().await;
    let clients = server.clients().await;
    some(&clients, 5, "some").await;
    signed(&clients).await;
    let of = |seed: u8| PrivateKey::new("ledger.example.org".parse().unwrap(), &[seed; 32]);
    let public = |seed: u8| of(seed).verifier(&LedgerName::default());
    let auditor = Elsewhere { keys: LogKeys::new(vec![public(8)]).unwrap(), ..Elsewhere::new() };
    let outcome = auditor.audit(&clients.proof).await;
    assert_eq!((outcome.to, outcome.root), (0, None), "what nobody signed is not told of the ledger");
    let wrong = outcome.wrong.unwrap();
    assert!(wrong.reason.contains("not signed by the key"), "{wrong:?}");
    assert!(!auditor.state().exists());

    // The state is of the key that signed; who gives others is refused before anything is asked.
    let auditor = Elsewhere { keys: LogKeys::new(vec![public(7), public(8)]).unwrap(), ..auditor };
    auditor.passes(&clients.proof).await;
    let auditor = Elsewhere { keys: LogKeys::new(vec![public(8)]).unwrap(), ..auditor };
    assert!(matches!(auditor.try_audit(clients.proof.clone()).await, Err(AuditError::State(..))));
    let other = Elsewhere { keys: keys(), ..Elsewhere::new() };
    let elsewhere = LogKeys::new(vec![of(7).verifier(&"other".parse().unwrap())]).unwrap();
    other.passes(&clients.proof).await;
    let other = Elsewhere { keys: elsewhere, ..other };
    assert!(matches!(other.try_audit(clients.proof.clone()).await, Err(AuditError::State(..))));

    // Once key 8 was seen, key 7 signs nothing any more.
    let file = std::fs::read(auditor.state()).unwrap();
    let state = AuditState::parse(&file).unwrap();
    let head = state.head();
    let note = {
        use ledger::checkpoint::{LocalSigner, Signer};
        LocalSigner::new(&of(8), &LedgerName::default(), None).sign(head, &[]).unwrap()
    };
    let signed_by_8 = LogKeys::new(vec![public(8)]).unwrap().open(&note).unwrap();
    let later = {
        let mut walk = ledger::audit::Audit::from(None, &LogKeys::new(vec![public(7), public(8)]).unwrap());
        let request = pb::StreamEntriesRequest { to_position: Some(head.size), ..Default::default() };
        let mut entries = clients.proof.clone().stream_entries(request).await.unwrap().into_inner();
        while let Some(message) = entries.message().await.unwrap() {
            message.entries.iter().for_each(|entry| assert!(walk.take(entry).is_ok()));
        }
        walk.remember(&signed_by_8).unwrap()
    };
    std::fs::write(auditor.state(), later.to_bytes()).unwrap();
    let auditor = Elsewhere { keys: LogKeys::new(vec![public(7), public(8)]).unwrap(), ..auditor };
    let wrong = auditor.audit(&clients.proof).await.wrong.unwrap();
    assert!(wrong.reason.contains("was replaced"), "{wrong:?}");
    drop(clients);
    server.check().await;
}

fn command(server: &Server, state: &Path) -> std::process::Command {
    command_at(server.address(), state)
}

fn command_at(address: SocketAddr, state: &Path) -> std::process::Command {
    let mut command = program();
    let url = format!("http://{address}");
    let key = key().verifier(&LedgerName::default()).to_string();
    command.args(["audit", "--server", &url, "--key", &key, "-o", "json", "--state"]).arg(state);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_that_is_killed_at_any_moment_has_its_state_whole_or_as_it_was() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record_all(&story(3, 2_000)).await;
    signed(&clients).await;
    let auditor = Elsewhere::new();
    let (mut dice, mut ended) = (Dice::new(4), 0);
    for _ in 0..40 {
        some(&clients, 5, &format!("round-{}", dice.below(u64::MAX))).await;
        let child = command(&server, &auditor.state()).stdout(std::process::Stdio::null()).spawn().unwrap();
        let mut child = Mortal(child);
        tokio::time::sleep(Duration::from_millis(dice.below(60))).await;
        ended += u64::from(child.0.try_wait().unwrap().is_some());
        drop(child);
        if let Ok(file) = std::fs::read(auditor.state()) {
            AuditState::parse(&file).unwrap();
        }
    }
    eprintln!("{ended} of 40 audits ended before they were killed");
    let entries = signed(&clients).await;
    let output = command(&server, &auditor.state()).output().unwrap();
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (output.status.code(), &verdict["ok"], &verdict["to"]),
        (Some(0), &true.into(), &entries.into())
    );
    assert_eq!(auditor.passes(&clients.proof).await, 0);
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_how_it_ended_and_its_evidence_is_checked_by_the_other_command() {
    let mut server = Server::start().await;
    let clients = server.clients().await;
    some(&clients, 9, "common").await;
    drop(clients);
    server.stop().await;
    let common = tempfile::tempdir().unwrap();
    copy_dir(&server.data(), common.path());
    server.resume().await;
    let clients = server.clients().await;
    some(&clients, 4, "one").await;
    signed(&clients).await;
    let other = Server::start_copy(common.path()).await;
    let others = other.clients().await;
    some(&others, 2, "two").await;
    signed(&others).await;

    let auditor = Elsewhere::new();
    let run = |mut command: std::process::Command| {
        let output = command.output().unwrap();
        let printed = serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), printed, String::from_utf8(output.stderr).unwrap())
    };
    let (code, verdict, _) = run(command(&server, &auditor.state()));
    assert_eq!((code, &verdict["ok"], &verdict["evidence"]), (0, &true.into(), &serde_json::Value::Null));
    let (code, verdict, _) = run(command(&other, &auditor.state()));
    assert_eq!((code, &verdict["ok"]), (3, &false.into()), "{verdict}");
    let evidence = verdict["evidence"].as_str().unwrap().to_owned();
    assert_eq!(Path::new(&evidence), auditor.dir.path().join("state.evidence"));
    let first = std::fs::read(&evidence).unwrap();
    assert_eq!(run(command(&other, &auditor.state())).0, 3);
    assert_eq!(std::fs::read(&evidence).unwrap(), first, "evidence that holds is kept");

    let key = key().verifier(&LedgerName::default()).to_string();
    let verify = |key: &str| {
        let mut command = program();
        command.args(["proof", "verify", &evidence, "--key", key, "-o", "json"]);
        run(command)
    };
    let (code, proved, _) = verify(&key);
    assert_eq!((code, &proved["proves"]), (0, &"fork".into()), "{proved}");
    let stranger = PrivateKey::new("ledger.example.org".parse().unwrap(), &[9; 32]);
    let (code, proved, _) = verify(&stranger.verifier(&LedgerName::default()).to_string());
    assert_eq!((code, &proved["ok"]), (3, &false.into()), "{proved}");

    // Where evidence can't be written, the verdict and the evidence come out all the same.
    let with = |path: &Path| {
        let mut command = command(&other, &auditor.state());
        command.arg("--evidence").arg(path);
        run(command)
    };
    let (code, verdict, told) = with(&auditor.dir.path().join("no/such/directory"));
    assert_eq!((code, &verdict["ok"], &verdict["evidence"]), (3, &false.into(), &().into()), "{told}");
    let (_, printed) = told.split_once("keep this:\n").unwrap();
    let printed = Fork::parse(printed.strip_suffix('\n').unwrap().as_bytes()).unwrap();
    printed.verify(&keys()).unwrap();
    // What is something else is not replaced, and that is said before the audit; an empty file is nothing.
    let place = auditor.dir.path().join("place");
    for (there, ends) in [("somebody's notes", 2), ("tokenledger/fork-evidence@v1\n", 2), ("", 3)] {
        std::fs::write(&place, there).unwrap();
        let (code, _, told) = with(&place);
        assert!(code == ends && (code == 3 || told.contains("--evidence")), "{code} {told}");
        assert_eq!(code == 2, std::fs::read(&place).unwrap() == there.as_bytes());
    }
    assert_eq!(with(auditor.dir.path()).0, 2);
    // A full disk under the standard output takes nothing back either.
    let mut full = command(&other, &auditor.state());
    full.stdout(std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let full = full.output().unwrap();
    assert_eq!(full.status.code(), Some(3));
    assert!(String::from_utf8(full.stderr).unwrap().contains("forked"));

    // A server that cannot be reached is no verdict, nor is a damaged state, nor the key of another ledger.
    let mut nowhere = program();
    nowhere.args(["audit", "--server", "http://127.0.0.1:1", "--key", &key, "--state"]).arg(auditor.state());
    assert_eq!(run(nowhere).0, 1);
    let (code, _, told) = run({
        let mut command = command(&server, &auditor.state());
        command.args(["--ledger", "other"]);
        command
    });
    assert_eq!(code, 2, "{told}");
    let mut damaged = std::fs::read(auditor.state()).unwrap();
    damaged[40] ^= 1;
    std::fs::write(auditor.state(), damaged).unwrap();
    let (code, _, told) = run(command(&server, &auditor.state()));
    assert!(code == 1 && told.contains("damaged"), "{told}");
    drop((clients, others));
    other.check().await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_trusts_the_first_key_follows_the_log_to_the_next_one_and_then_takes_no_note_by_the_first() {
    let (dir, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_owned();
    let serve = |dir: TempDir, key: &str| {
        let data = data_of(&dir);
        let words = ["serve", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap(), "--key", key];
        Served::run(dir, &words)
    };
    let public = |out: &Said| out.stdout.trim().to_owned();
    let first = public(&say(&["key", "generate", "--out", &path("first")]).ends(0));
    let audited = |server: &Served, keys: &[&str], state: &str| {
        let mut words =
            vec!["audit".to_owned(), "--state".to_owned(), path(state), "-o".to_owned(), "json".to_owned()];
        keys.iter().for_each(|key| words.extend(["--key".to_owned(), (*key).to_owned()]));
        server.ask(&words.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let server = serve(dir, &path("first"));
    some(&server.clients().await, 5, "one").await;
    signed(&server.clients().await).await;
    audited(&server, &[&first], "followed").ends(0);
    let dir = server.stop();
    say(&["key", "rotate", &path("first"), "--out", &path("second")]).ends(0);
    let second = public(&say(&["key", "show", &path("second")]).ends(0));
    assert_ne!(first, second);
    let server = serve(dir, &path("second"));
    some(&server.clients().await, 5, "two").await;
    signed(&server.clients().await).await;
    // From an earlier state and from nothing, by the old key, by the new one, by both.
    assert_eq!(audited(&server, &[&first], "followed").ends(0).json()["from"], 6);
    assert_eq!(audited(&server, &[&first], "followed").ends(0).json()["entries"], 0);
    assert_eq!(audited(&server, &[&second], "followed").ends(0).json()["entries"], 0);
    for (keys, state) in [(vec![&*first], "a"), (vec![&*second], "b"), (vec![&*first, &*second], "c")] {
        assert_eq!(audited(&server, &keys, state).ends(0).json()["from"], 0);
    }
    // A key that the log does not lead to signs nothing.
    let other = public(&say(&["key", "generate", "--out", &path("other")]).ends(0));
    audited(&server, &[&other], "d").ends(3);
    let dir = server.stop();
    let (copy, forked) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for copy in [&copy, &forked] {
        copy_dir(&data_of(&dir), &data_of(copy));
    }
    let server = serve(dir, &path("second"));
    some(&server.clients().await, 5, "three").await;
    signed(&server.clients().await).await;
    let followed = audited(&server, &[&first], "followed").ends(0).json();
    assert_eq!((&followed["entries"], &followed["keys"]), (&5.into(), &serde_json::json!([second])));
    server.check().await;
    // The second key forks: who knows the first one only is told by which key that is to be checked.
    let server = serve(forked, &path("second"));
    some(&server.clients().await, 9, "other").await;
    signed(&server.clients().await).await;
    let told = audited(&server, &[&first], "followed").ends(3).json();
    assert_eq!(told["keys"], serde_json::json!([second]), "{told}");
    let evidence = told["evidence"].as_str().unwrap();
    say(&["proof", "verify", evidence, "--key", &second]).ends(0);
    say(&["proof", "verify", evidence, "--key", &first]).ends(3);
    let written = std::fs::read(evidence).unwrap();
    some(&server.clients().await, 1, "and more").await;
    signed(&server.clients().await).await;
    audited(&server, &[&first], "followed").ends(3);
    assert_eq!(std::fs::read(evidence).unwrap(), written, "evidence that holds is kept");
    server.check().await;
    // Who has the first key only goes on as if nothing had been: whoever saw the second one is not fooled.
    let server = serve(copy, &path("first"));
    some(&server.clients().await, 5, "three").await;
    signed(&server.clients().await).await;
    let told = audited(&server, &[&first], "followed").ends(3).json();
    assert!(told["reason"].as_str().unwrap().contains("replaced"), "{told}");
    let kept = std::fs::read_to_string(told["checkpoint"].as_str().unwrap()).unwrap();
    assert!(kept.starts_with("tokenledger.local/default\n"), "{kept}");
    server.check().await;
}
