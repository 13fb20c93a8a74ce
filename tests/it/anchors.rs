use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::anchor::{Anchors, Contradiction, Known};
use ledger::checkpoint::{Rotation, VerifierKey};
use ledger::event::Text;
use ledger::proof::Fork;
use ledger::types::LedgerName;
use tempfile::TempDir;
use tokenledger::anchors::{AnchorError, Source, Trust};
use tokenledger::ledgers::OpenError;
use tokenledger::notary::Signing;
use tokenledger::server::{Running, ServeError, ServeOptions, start};
use tokenledger::wire::pb;
use tonic::Code;

use crate::audit::{Elsewhere, keys};
use crate::binary_harness::{Served, data_of, say};
use crate::harness::{Clients, check_ledger, created, event, key};

async fn serve(data: &Path, trust: Trust) -> Result<Running, ServeError> {
    timed(data, trust).await.0
}

/// Checkpoints are signed that often.
const EVERY: Duration = Duration::from_millis(20);

/// How a start ends, and how long it took, without the time in which the server before it still had the directory.
async fn timed(data: &Path, trust: Trust) -> (Result<Running, ServeError>, Duration) {
    serve_every(data, trust, EVERY).await
}

async fn serve_every(data: &Path, trust: Trust, every: Duration) -> (Result<Running, ServeError>, Duration) {
    let options = ServeOptions {
        data: data.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        metrics: None,
        http: None,
        log_json: false,
        scrub_rate: 0,
        pack: true,
        signing: Some(Signing::new(key(), every)),
        trust,
    };
    for _ in 0..50 {
        let began = Instant::now();
        match start(options.clone()).await {
            Err(ServeError::Open(OpenError::InUse(_) | OpenError::Anchor(AnchorError::InUse(_)))) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            started => return (started, began.elapsed()),
        }
    }
    panic!("{} stays in use", data.display());
}

fn anchored(anchor: &Path) -> Trust {
    Trust { anchor: Some(anchor.to_owned()), ..Trust::default() }
}

fn contradicted(started: Result<Running, ServeError>) -> Vec<(Source, Contradiction)> {
    match started {
        Err(ServeError::Open(OpenError::Contradicted(found))) => {
            found.iter().map(|found| (found.source.clone(), found.how)).collect()
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("the server has started"),
    }
}

async fn append(clients: &Clients, count: u64, name: &str) {
    let events: Vec<_> =
        (0..count).map(|n| event(&format!("{name}-{n}"), created(&format!("{name}-{n}")))).collect();
    for batch in events.chunks(1000) {
        clients.batch(batch.to_vec(), false).await;
    }
}

async fn checkpoint(clients: &Clients, min_size: Option<u64>) -> Result<Known, tonic::Status> {
    let request = pb::GetCheckpointRequest { min_size, ..Default::default() };
    let answer = clients.proof.clone().get_checkpoint(request).await?.into_inner();
    Ok(Known::read(&answer.note).unwrap())
}

/// The log's end, by a checkpoint that covers it.
async fn end(clients: &Clients) -> Known {
    let entries = crate::harness::roots(clients).await[0].2;
    checkpoint(clients, Some(entries)).await.unwrap()
}

/// Copies what a backup would; nothing is written meanwhile but what is done in the background.
fn copy(from: &Path, to: &Path) {
    let copied = (0..20).any(|_| {
        let _ = std::fs::remove_dir_all(to);
        let copied = copy_dir(from, to);
        if copied.is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        copied.is_ok()
    });
    assert!(copied, "{} can't be copied", from.display());
}

fn copy_dir(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for found in std::fs::read_dir(from)? {
        let found = found?;
        let to = to.join(found.file_name());
        if found.file_type()?.is_dir() {
            copy_dir(&found.path(), &to)?;
        } else {
            std::fs::copy(found.path(), to)?;
        }
    }
    Ok(())
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |n| n.parse().unwrap_or_else(|_| panic!("{name}: a number")))
}

/// A sequence that looks random and is the same in each run.
fn next(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

/// `TOKENLEDGER_COPIES=200 TOKENLEDGER_COPIES_ENTRIES=100000` for the whole promise; it prints how long the slowest
/// refusal took.
#[tokio::test(flavor = "multi_thread")]
async fn no_older_copy_and_no_fork_starts_where_one_checkpoint_of_the_log_is_known() {
    let (copies, entries) = (setting("TOKENLEDGER_COPIES", 12), setting("TOKENLEDGER_COPIES_ENTRIES", 6_000));
    let dir = tempfile::tempdir().unwrap();
    let (data, anchor) = (dir.path().join("data"), dir.path().join("anchors"));
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    let mut taken = Vec::new();
    for n in 0..copies {
        append(&clients, entries / copies, &format!("a{n}")).await;
        let to = dir.path().join(format!("copy-{n}"));
        copy(&data.join("ledgers"), &to.join("ledgers"));
        taken.push((to, end(&clients).await.checkpoint.tree.size));
    }
    append(&clients, 50, "last").await;
    let known = end(&clients).await;
    let size = known.checkpoint.tree.size;
    let auditor = Elsewhere::new();
    assert_eq!(auditor.passes(&clients.proof).await, size);
    drop(clients);
    assert!(running.stop().await);
    let given = || Trust { expected: vec![known.clone()], ..Trust::default() };

    let (mut seed, mut times, mut refusals) = (7, Vec::new(), [0_u64; 3]);
    for (copy, first) in taken {
        let missing = |source| vec![(source, Contradiction::Missing { first, last: size - 1 })];
        for (trust, source) in [(anchored(&anchor), Source::Anchor), (given(), Source::Given)] {
            let (refused, took) = timed(&copy, trust).await;
            assert_eq!(contradicted(refused), missing(source));
            assert!(!copy.join("projections").exists(), "it is refused before anything is rebuilt");
            times.push(took);
            refusals[0] += 1;
        }
        // The same key goes on in another way, and ends before the log, with as many entries, or behind it.
        let running = serve(&copy, Trust::default()).await.unwrap();
        let clients = Clients::connect(running.grpc).await;
        let more = match next(&mut seed) % 3 {
            0 => 1 + next(&mut seed) % (size - first - 1),
            1 => size - first,
            _ => size - first + 1 + next(&mut seed) % 50,
        };
        append(&clients, more, "fork").await;
        let fork = end(&clients).await.checkpoint.tree;
        // Who has seen the log gets evidence from the fork, by which anybody with the public key sees it too.
        let evidence = auditor.proves_a_fork(&clients.proof).await.to_bytes();
        let seen =
            Fork::parse(&evidence).unwrap().verify(&keys()).unwrap().map(|note| note.checkpoint.tree.size);
        assert_eq!(seen, [size.min(fork.size), size.max(fork.size)]);
        drop(clients);
        assert!(running.stop().await);
        assert_eq!(fork.size, first + more);
        let how = if fork.size < size {
            Contradiction::Missing { first: fork.size, last: size - 1 }
        } else {
            Contradiction::Rewritten { size }
        };
        for (trust, source) in [(anchored(&anchor), Source::Anchor), (given(), Source::Given)] {
            let (refused, took) = timed(&copy, trust).await;
            assert_eq!(contradicted(refused), vec![(source, how)]);
            times.push(took);
            refusals[1 + usize::from(fork.size >= size)] += 1;
        }
        std::fs::remove_dir_all(&copy).unwrap();
    }
    times.sort();
    println!(
        "refused: {} older copies, {} shorter forks, {} others, of {size} entries; the middle one took {:?}, the slowest \
         {:?}; evidence verified of all {copies} forks",
        refusals[0],
        refusals[1],
        refusals[2],
        times[times.len() / 2],
        times[times.len() - 1]
    );
    // What was refused has changed nothing of what is known, and the log itself goes on.
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    assert!(running.stop().await);
    check_ledger(&data, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_goes_on_with_what_is_there_and_is_recorded_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let (data, anchor, older) =
        (dir.path().join("data"), dir.path().join("anchors"), dir.path().join("older/data"));
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    append(&clients, 20, "a").await;
    end(&clients).await;
    copy(&data.join("ledgers"), &older.join("ledgers"));
    append(&clients, 20, "b").await;
    let lost = end(&clients).await;
    drop(clients);
    assert!(running.stop().await);

    // The log alone was put back: what is kept beside it knows better.
    for kept in ["checkpoint", "checkpoint.witnessed"] {
        std::fs::write(older.join("ledgers/default").join(kept), &lost.note).unwrap();
    }
    let overriding = Trust {
        overridden: [LedgerName::default()].into(),
        override_reason: Some(Text::note("the disk is gone, the backup of Monday is all we have").unwrap()),
        expected: vec![lost.clone()],
        ..anchored(&anchor)
    };
    let running = serve(&older, overriding).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    let recorded =
        clients.events(pb::EventFilter { kind: "CheckpointOverridden".into(), ..Default::default() }).await;
    // The same note from two sides is one event.
    assert_eq!(recorded.len(), 1);
    let event = recorded[0].event.clone().unwrap();
    assert_eq!((recorded[0].position, event.emitter.as_str()), (21, "tokenledger"));
    assert!(event.cause.unwrap().reason.contains("backup of Monday"));
    let Some(pb::event::Fact::CheckpointOverridden(fact)) = event.fact else { panic!("another fact") };
    assert_eq!((fact.note, fact.source.as_str()), (lost.note.clone(), "anchor"));
    let now = end(&clients).await;
    assert!(now.checkpoint.tree.size < lost.checkpoint.tree.size);
    drop(clients);
    assert!(running.stop().await);
    let kept = Anchors::parse(&std::fs::read(&anchor).unwrap()).unwrap();
    assert_eq!(kept.get(&LedgerName::default()), Some(&now));
    // From now on this is the log; the other one is not any more.
    let running = serve(&older, anchored(&anchor)).await.unwrap();
    assert!(running.stop().await);
    assert!(!contradicted(serve(&data, anchored(&anchor)).await).is_empty());
    check_ledger(&older, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_gone_is_missed_and_an_anchor_file_that_is_gone_too() {
    let dir = tempfile::tempdir().unwrap();
    let (data, anchor) = (dir.path().join("data"), dir.path().join("anchors"));
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    append(&clients, 3, "a").await;
    let known = end(&clients).await;
    drop(clients);
    assert!(running.stop().await);
    // A checkpoint that is kept in the directory is known as well.
    let kept = data.join("ledgers/default/checkpoint");
    std::fs::rename(data.join("ledgers/default/log"), dir.path().join("log")).unwrap();
    let missing = Contradiction::Missing { first: 0, last: 3 };
    assert_eq!(contradicted(serve(&data, Trust::default()).await), vec![(Source::Kept, missing)]);
    std::fs::remove_file(&kept).unwrap();
    assert_eq!(contradicted(serve(&data, anchored(&anchor)).await), vec![(Source::Anchor, missing)]);
    std::fs::rename(data.join("ledgers"), dir.path().join("ledgers")).unwrap();
    assert_eq!(contradicted(serve(&data, anchored(&anchor)).await), vec![(Source::Anchor, missing)]);
    let given = Trust { expected: vec![known.clone()], ..Trust::default() };
    assert_eq!(contradicted(serve(&data, given).await), vec![(Source::Given, missing)]);
    let _ = std::fs::remove_dir_all(data.join("ledgers"));
    std::fs::rename(dir.path().join("ledgers"), data.join("ledgers")).unwrap();
    let _ = std::fs::remove_dir_all(data.join("ledgers/default/log"));
    std::fs::rename(dir.path().join("log"), data.join("ledgers/default/log")).unwrap();

    std::fs::remove_file(&anchor).unwrap();
    let absent = serve(&data, anchored(&anchor)).await.err().unwrap();
    assert!(matches!(absent, ServeError::Open(OpenError::Anchor(AnchorError::Absent(_)))), "{absent}");
    assert!(!anchor.exists());
    let running = serve(&data, Trust { anchor_init: true, ..anchored(&anchor) }).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    end(&clients).await;
    drop(clients);
    assert!(running.stop().await);
    let kept = Anchors::parse(&std::fs::read(&anchor).unwrap()).unwrap();
    assert_eq!(kept.get(&LedgerName::default()).unwrap().checkpoint, known.checkpoint);
    check_ledger(&data, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_checkpoint_is_published_that_the_anchor_file_does_not_hold() {
    let dir = tempfile::tempdir().unwrap();
    let (data, away) = (dir.path().join("data"), dir.path().join("away"));
    std::fs::create_dir(&away).unwrap();
    let anchor = away.join("anchors");
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    append(&clients, 3, "a").await;
    let known = end(&clients).await;
    std::fs::remove_dir_all(&away).unwrap();
    append(&clients, 3, "b").await;
    let refused = checkpoint(&clients, Some(7)).await.unwrap_err();
    assert!(refused.message().contains("not published"), "{refused}");
    assert_ne!(refused.code(), Code::Ok);
    assert_eq!(checkpoint(&clients, None).await.unwrap(), known, "the last one that is kept is still shown");
    // Nobody asks, and nothing is recorded: it is tried again all the same.
    std::fs::create_dir(&away).unwrap();
    let began = Instant::now();
    let anchored =
        || Anchors::parse(&std::fs::read(&anchor).ok()?).ok()?.get(&LedgerName::default()).cloned();
    while anchored().is_none_or(|kept| kept.checkpoint.tree.size < 7) {
        assert!(began.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let newest = checkpoint(&clients, None).await.unwrap();
    assert_eq!((newest.checkpoint.tree.size, anchored()), (7, Some(newest)));
    drop(clients);
    assert!(running.stop().await);
    check_ledger(&data, None).await;
}

fn made_key(dir: &TempDir) -> PathBuf {
    let path = dir.path().join("key");
    say(&["key", "generate", "--out", path.to_str().unwrap()]).ends(0);
    path
}

fn shown_key(path: &Path) -> VerifierKey {
    say(&["key", "show", path.to_str().unwrap()]).ends(0).stdout.trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_ends_with_code_3_and_says_which_entries_are_missing_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let (key, anchor, note) = (made_key(&dir), dir.path().join("anchors"), dir.path().join("note"));
    let data = data_of(&dir);
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let words = ["serve", "--listen", "127.0.0.1:0", "--data", &text(&data), "--key", &text(&key)];
    let (anchor, note, data) = (text(&anchor), text(&note), text(&data));
    let served = Served::run(dir, &[&words[..], &["--anchor", &anchor]].concat());
    let clients = served.clients().await;
    append(&clients, 5, "a").await;
    let early = end(&clients).await;
    append(&clients, 5, "b").await;
    let known = end(&clients).await;
    drop(clients);
    let dir = served.stop();
    std::fs::write(&note, &known.note).unwrap();
    for known in [&["--anchor", &anchor][..], &["--expect-checkpoint", &note]] {
        let served = Served::run(below(&dir), &[&words[..], known].concat());
        drop(served.stop());
    }
    // The log is put back to its genesis.
    std::fs::remove_dir_all(Path::new(&data).join("ledgers/default")).unwrap();
    let served = Served::run(below(&dir), &words);
    append(&served.clients().await, 1, "c").await;
    drop(served.stop());
    for known in [["--anchor", &anchor], ["--expect-checkpoint", &note]] {
        let refused = say(&[&words[..], &known].concat()).ends(3);
        let said = refused.stderr;
        assert!(refused.stdout.is_empty());
        assert!(said.contains("entries from position 2 to 10 are missing"), "{said}");
        assert!(said.contains("--override-checkpoint"), "{said}");
    }
    let words_of_override = ["--anchor", &anchor, "--override-checkpoint", "default"];
    // An override needs a reason.
    say(&[&words[..], &words_of_override].concat()).ends(2);
    std::fs::write(&note, "no checkpoint").unwrap();
    say(&[&words[..], &["--expect-checkpoint", &note]].concat()).ends(1);
    assert!(early.checkpoint.tree.size < known.checkpoint.tree.size);
    check_ledger(Path::new(&data), None).await;
}

/// A directory for the log of another process.
fn below(dir: &TempDir) -> TempDir {
    tempfile::tempdir_in(dir.path()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_is_recorded_in_each_ledger_signed_by_both_before_it_signs() {
    let dir = tempfile::tempdir().unwrap();
    let first = made_key(&dir);
    let (second, third) = (dir.path().join("second"), dir.path().join("third"));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let data = text(&data_of(&dir));
    let words = |key: &Path| {
        ["serve", "--listen", "127.0.0.1:0", "--data", &data, "--key", &text(key)].map(str::to_owned)
    };
    let run = |dir: TempDir, key: &Path| {
        let words = words(key);
        Served::run(dir, &words.each_ref().map(String::as_str))
    };
    let served = run(dir, &first);
    let clients = served.clients().await;
    append(&clients, 5, "a").await;
    let old = end(&clients).await;
    drop(clients);
    let dir = served.stop();
    let rotated = say(&["key", "rotate", &text(&first), "--out", &text(&second)]).ends(0);
    assert_eq!(rotated.stdout.trim().parse::<VerifierKey>().unwrap(), shown_key(&second));
    assert!(!rotated.stderr.contains("PRIVATE"), "{rotated:?}");
    say(&["key", "rotate", &text(&second), "--out", &text(&third)]).ends(0);
    let again = say(&["key", "rotate", &text(&first), "--out", &text(&second)]).ends(1);
    assert!(again.stderr.contains("exists"), "{again:?}");

    // The second key was never used by this server; the third one follows the first by way of it.
    let mut dir = dir;
    for _ in 0..2 {
        let served = run(dir, &third);
        let clients = served.clients().await;
        let new = end(&clients).await;
        let (first, third) = (shown_key(&first), shown_key(&third));
        assert!(third.open(new.note.as_bytes()).is_ok() && first.open(new.note.as_bytes()).is_err());
        assert!(first.open(old.note.as_bytes()).is_ok());
        let recorded =
            clients.events(pb::EventFilter { kind: "KeyRotated".into(), ..Default::default() }).await;
        let mut trusted = first;
        for event in &recorded {
            let Some(pb::event::Fact::KeyRotated(fact)) = event.event.clone().unwrap().fact else {
                panic!("another fact")
            };
            trusted = Rotation::parse(&fact.note).unwrap().follow(&trusted).unwrap();
        }
        assert_eq!((recorded.len(), &trusted), (2, &third), "once each, however often it starts");
        assert!(new.checkpoint.tree.size > recorded[1].position, "the checkpoint covers them");
        drop(clients);
        dir = served.stop();
    }
    let served = run(dir, &third);
    served.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_entries_are_anchored_when_the_server_ends_however_seldom_it_signs() {
    let dir = tempfile::tempdir().unwrap();
    let (data, anchor) = (dir.path().join("data"), dir.path().join("anchors"));
    let (running, _) = serve_every(&data, anchored(&anchor), Duration::from_secs(3600)).await;
    let running = running.unwrap();
    let clients = Clients::connect(running.grpc).await;
    append(&clients, 3, "a").await;
    // The first is signed at once, the next one would be in an hour.
    end(&clients).await;
    append(&clients, 5, "b").await;
    drop(clients);
    let began = Instant::now();
    assert!(running.stop().await, "in time");
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
    let kept = Anchors::parse(&std::fs::read(&anchor).unwrap()).unwrap();
    assert_eq!(kept.get(&LedgerName::default()).unwrap().checkpoint.tree.size, 9);
    check_ledger(&data, None).await;
}

/// Flips a bit in the middle of what was written of the log.
fn damage(data: &Path) {
    let path = data.join("ledgers/default/log/00000000000000000000.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let written = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[written / 2 + 256] ^= 1;
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_no_way_to_be_believed_and_what_cannot_be_recorded_is_not_signed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, anchor) = (dir.path().join("data"), dir.path().join("anchors"));
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    append(&clients, 30, "a").await;
    let known = end(&clients).await;
    drop(clients);
    assert!(running.stop().await);
    damage(&data);
    let before = kept(&data, &anchor);
    let unsigned = async |trust: Trust| {
        let running = serve(&data, trust).await.unwrap();
        let clients = Clients::connect(running.grpc).await;
        assert_eq!(clients.account("a-1", None).await.unwrap().handle, "a-1", "what is sound is served");
        let refused = checkpoint(&clients, None).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().contains("nothing of this ledger is signed"), "{refused}");
        drop(clients);
        assert!(running.stop().await);
        assert_eq!(kept(&data, &anchor), before, "what is known stays known");
    };
    // Without it, nobody can tell whether it is what was signed.
    std::fs::remove_dir_all(data.join("ledgers/default/tree")).unwrap();
    unsigned(anchored(&anchor)).await;
    unsigned(Trust::default()).await;

    // Its end is lost as well.
    let path = data.join("ledgers/default/log/00000000000000000000.seg");
    let mut bytes = std::fs::read(&path).unwrap();
    let written = bytes.iter().rposition(|b| *b != 0).unwrap();
    bytes[written / 4 * 3..].fill(0);
    std::fs::write(&path, bytes).unwrap();
    for _ in 0..2 {
        let found = contradicted(serve(&data, anchored(&anchor)).await);
        let Contradiction::Missing { first, last } = found[0].1 else { panic!("{found:?}") };
        assert!(first < last && last + 1 == known.checkpoint.tree.size, "{found:?}");
        unsigned(Trust {
            overridden: [LedgerName::default()].into(),
            override_reason: Some(Text::note("the disk is broken").unwrap()),
            ..anchored(&anchor)
        })
        .await;
    }
}

/// What is known of a ledger, in the anchor file and in its directory.
fn kept(data: &Path, anchor: &Path) -> [Vec<u8>; 2] {
    [anchor, &data.join("ledgers/default/checkpoint")].map(|path| std::fs::read(path).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_start_has_changed_no_other_ledger() {
    let dir = tempfile::tempdir().unwrap();
    let (data, anchor, older) =
        (dir.path().join("data"), dir.path().join("anchors"), dir.path().join("older/data"));
    let (default, other): (LedgerName, LedgerName) = (LedgerName::default(), "other".parse().unwrap());
    let record = async |clients: &Clients, count: u64| {
        append(clients, count, &uuid::Uuid::new_v4().to_string()).await;
        for _ in 0..count {
            let name = uuid::Uuid::new_v4().to_string();
            let proposal =
                Some(pb::Proposal { event: Some(event(&name, created(&name))), expected_version: None });
            let request = pb::AppendRequest { ledger: "other".into(), proposal, ..Default::default() };
            clients.append.clone().append(request).await.unwrap();
        }
    };
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    record(&clients, 3).await;
    drop(clients);
    assert!(running.stop().await);
    copy(&data.join("ledgers"), &older.join("ledgers"));
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    record(&clients, 3).await;
    drop(clients);
    assert!(running.stop().await);

    let of = |name: &LedgerName| {
        let dir = older.join("ledgers").join(name.as_str());
        (
            std::fs::read(dir.join("checkpoint")).unwrap(),
            std::fs::read(dir.join("log/00000000000000000000.seg")).unwrap(),
        )
    };
    let before = (of(&default), of(&other), std::fs::read(&anchor).unwrap());
    let overriding = |names: &[&LedgerName]| Trust {
        overridden: names.iter().map(|name| (*name).clone()).collect(),
        override_reason: Some(Text::note("this one is meant").unwrap()),
        ..anchored(&anchor)
    };
    for one in [&default, &other] {
        let found = serve(&older, overriding(&[one])).await.err().unwrap();
        let ServeError::Open(OpenError::Contradicted(found)) = found else { panic!("{found}") };
        assert!(found.len() == 1 && found[0].ledger != *one, "{found:?}");
        assert_eq!((of(&default), of(&other), std::fs::read(&anchor).unwrap()), before);
    }
    let running = serve(&older, overriding(&[&default, &other])).await.unwrap();
    assert!(running.stop().await);
    check_ledger(&older, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_rewritten_under_a_server_is_not_signed_again() {
    let dir = tempfile::tempdir().unwrap();
    let (data, anchor, other) =
        (dir.path().join("data"), dir.path().join("anchors"), dir.path().join("other/data"));
    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    append(&clients, 10, "a").await;
    drop(clients);
    assert!(running.stop().await);
    // Two histories from one beginning, byte for byte as long as each other.
    copy(&data.join("ledgers"), &other.join("ledgers"));
    for (data, name) in [(&data, "b"), (&other, "c")] {
        let running = serve(data, Trust::default()).await.unwrap();
        let clients = Clients::connect(running.grpc).await;
        for n in 0..300 {
            append(&clients, 1, &format!("{name}{n:03}")).await;
        }
        drop(clients);
        assert!(running.stop().await);
    }
    let segment = |data: &Path| data.join("ledgers/default/log/00000000000000000000.seg");
    let mine = std::fs::read(segment(&data)).unwrap();
    let theirs = std::fs::read(segment(&other)).unwrap();
    let end = |bytes: &[u8]| bytes.iter().rposition(|b| *b != 0);
    assert!(mine != theirs && end(&mine) == end(&theirs));

    let running = serve(&data, anchored(&anchor)).await.unwrap();
    let clients = Clients::connect(running.grpc).await;
    let known = self::end(&clients).await;
    // Somebody writes the other one over it, all hashes made anew, and spoils what is stored of the tree, so that the
    // server makes that anew from the log.
    let write = |path: PathBuf, bytes: &[u8]| {
        use std::os::unix::fs::FileExt;
        std::fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, 0).unwrap();
    };
    write(segment(&data), &theirs);
    write(data.join("ledgers/default/tree/level-0"), &[7; 32 * 310]);
    for n in 0..3 {
        let request = pb::ProveInclusionRequest {
            which: Some(pb::prove_inclusion_request::Which::Position(100)),
            ..Default::default()
        };
        assert!(clients.proof.clone().prove_inclusion(request).await.is_err());
        append(&clients, 1, &format!("d{n}")).await;
        let refused = checkpoint(&clients, Some(known.checkpoint.tree.size + 1)).await.unwrap_err();
        assert_eq!(refused.code(), Code::DataLoss, "{refused}");
        assert!(refused.message().contains("is not what it was when it was recorded"), "{refused}");
        assert_eq!(checkpoint(&clients, None).await.unwrap(), known);
    }
    drop(clients);
    running.stop().await;
    let kept = Anchors::parse(&std::fs::read(&anchor).unwrap()).unwrap();
    assert_eq!(kept.get(&LedgerName::default()), Some(&known), "nothing was signed over it");
}
