use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use ledger::checkpoint::VerifierKey;
use ledger::proof::Proof;
use ledger::types::LedgerName;
use tokenledger::wire::pb;
use tokenledger::wire::pb::prove_inclusion_request::Which;

use crate::binary_harness::{Mortal, Served, data_of, program, say};
use crate::harness::{
    Clients, Dice, Server, check_ledger, copy_dir, created, event, key, python, script, story,
};

/// How many edits are made; `TOKENLEDGER_EDITS` says otherwise. They take about half a minute.
const EDITS: u64 = 1000;

/// What somebody keeps who is prudent: a checkpoint, and the receipts of some entries.
async fn keep(clients: &Clients, size: u64, dice: &mut Dice, dir: &Path) {
    let request = pb::GetCheckpointRequest { min_size: Some(size), ..Default::default() };
    let note = clients.proof.clone().get_checkpoint(request).await.unwrap().into_inner();
    std::fs::write(dir.join(format!("{:05}.note", note.size)), &note.note).unwrap();
    for nth in 0..4 {
        let which = Some(Which::Position(dice.below(size)));
        let request = pb::ProveInclusionRequest { which, ..Default::default() };
        let proof = clients.proof.clone().prove_inclusion(request).await.unwrap().into_inner();
        let hashes = proof.hashes.iter().map(|hash| hash.as_slice().try_into().unwrap()).collect();
        let proof = Proof { entry: proof.entry, position: proof.position, hashes, note: proof.note };
        std::fs::write(dir.join(format!("{size:05}-{nth}.tlog-proof")), proof.to_bytes()).unwrap();
    }
}

/// A ledger of a few hundred entries, and what was kept of it while it grew. `grew` is told of each size.
async fn grown(clients: &Clients, kept: &Path, grew: impl Fn(u64)) {
    // The event that made the ledger stands before them.
    let (mut dice, mut size) = (Dice::new(5), 1);
    std::fs::create_dir_all(kept).unwrap();
    // The last step is small, so that an export to the same directory leaves a partial bundle beside a longer one.
    for some in story(11, 620).chunks(100) {
        clients.record_all(some).await;
        size += some.len() as u64;
        keep(clients, size, &mut dice, kept).await;
        grew(size);
    }
}

fn verifier() -> VerifierKey {
    key().verifier(&LedgerName::default())
}

/// Runs the checker: how it ended, and what it said.
fn checked(python: &str, dir: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(python).arg(script("verify.py")).arg(dir).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The checker finds nothing wrong, and says this.
#[track_caller]
fn accepted(python: &str, dir: &Path, arguments: &[&str], words: &str) {
    let said = checked(python, dir, arguments);
    assert!(said.0 == Some(0) && said.1.contains(words), "{said:?}");
}

/// The checker finds something wrong, and says this.
#[track_caller]
fn refused(python: &str, dir: &Path, arguments: &[&str], words: &str) {
    let said = checked(python, dir, arguments);
    assert!(said.0 == Some(1) && said.1.contains(words), "{said:?}");
}

/// The program exports all `size` entries, and the checker reads them.
fn export(python: &str, data: &Path, out: &Path, size: u64) {
    let (data, to) = (data.to_str().unwrap(), out.to_str().unwrap());
    let said =
        say(&["export", "tiles", data, "--ledger", "default", "--out", to, "-o", "json"]).ends(0).json();
    assert_eq!(said["size"], size);
    let words = format!("checkpoint={size} signed=yes");
    accepted(python, out, &["--key", &verifier().to_string()], &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_edits_are_named_by_a_checker_that_shares_no_code_whoever_made_them() {
    let Some(python) = python() else { return };
    let mut server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (kept, secret) = (dir.path().join("kept"), dir.path().join("secret"));
    let (out, older) = (dir.path().join("export"), dir.path().join("older"));
    let clients = server.clients().await;
    let data = server.data();
    grown(&clients, &kept, |size| {
        export(&python, &data, &out, size);
        if size == 301 {
            copy_dir(&out, &older);
        }
    })
    .await;
    drop(clients);
    server.stop().await;
    assert!(out.join("tile/entries/002.p/89").exists() && out.join("tile/entries/002.p/109").exists());
    let (right, older) = (verifier().to_string(), older.to_str().unwrap());
    accepted(&python, &data, &["--key", &right, "--kept", older], "checkpoint=621 signed=yes known=1");
    accepted(&python, &out, &["--key", &right, "--kept", older], "checkpoint=621 signed=yes known=1");
    std::fs::write(&secret, key().to_secret_line()).unwrap();
    let edits = std::env::var("TOKENLEDGER_EDITS").unwrap_or(EDITS.to_string());
    let mut command = Command::new(python);
    command.arg(script("edits.py")).args(["--count", &edits]);
    for (option, path) in [("--data", data), ("--export", out), ("--secret", secret), ("--statements", kept)]
    {
        command.arg(option).arg(path);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(said.contains(&format!("{edits} edits: ")) && said.contains("; 0 missed"), "{said}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_independent_checker_needs_the_right_key_and_every_signature() {
    let Some(python) = python() else { return };
    let mut server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let clients = server.clients().await;
    grown(&clients, dir.path(), |_| ()).await;
    drop(clients);
    server.stop().await;
    let says = |arguments: &[&str]| checked(&python, &server.data(), arguments);
    let right = verifier().to_string();
    let note = dir.path().join("00301.note");
    let receipt = dir.path().join("00301-0.tlog-proof");
    let (note, receipt) = (note.to_str().unwrap(), receipt.to_str().unwrap());
    let good = says(&["--key", &right, "--checkpoint", note, "--receipt", receipt]);
    assert_eq!(good.0, Some(0), "{}", good.1);
    assert!(good.1.contains("checkpoint=621 signed=yes known=2"), "{}", good.1);
    assert!(says(&[]).1.contains("checkpoint=621 signed=unchecked"));

    let other = ledger::checkpoint::PrivateKey::new("ledger.example.org".parse().unwrap(), &[8; 32]);
    let other = other.verifier(&LedgerName::default()).to_string();
    let refused = says(&["--key", &other, "--receipt", receipt]);
    assert_eq!(refused.0, Some(1));
    assert!(refused.1.contains("it is not signed by the key"), "{}", refused.1);
    assert!(refused.1.contains(&format!("{receipt} proves nothing")), "{}", refused.1);

    // Nobody can show that the ledger is not shorter, or another one, without what was signed.
    let checkpoint = server.data().join("ledgers/default/checkpoint");
    let signed = std::fs::read(&checkpoint).unwrap();
    std::fs::remove_file(&checkpoint).unwrap();
    let missing = says(&["--key", &right]);
    assert!(missing.0 == Some(1) && missing.1.contains("nobody has signed this ledger"), "{}", missing.1);
    for bit in (0..signed.len() * 8).step_by(97) {
        let mut changed = signed.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&checkpoint, &changed).unwrap();
        assert_eq!(says(&["--key", &right]).0, Some(1), "bit {bit}");
    }
    std::fs::write(&checkpoint, &signed).unwrap();
    server.check().await;
}

/// A witness process of the ledger `default`, and where it listens.
fn witness(key: &str, state: &Path) -> (Mortal, String) {
    let mut command = program();
    command.args(["witness", "--listen", "127.0.0.1:0", "--key", key, "--log", &verifier().to_string()]);
    command.arg("--state").arg(state).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Mortal(command.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines().map(|line| line.unwrap());
    let ready = lines.find(|line| line.starts_with('{')).expect("a ready line");
    let ready: serde_json::Value = serde_json::from_str(&ready).unwrap();
    (child, format!("http://{}", ready["http"].as_str().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_must_have_cosigned_what_the_server_kept_and_that_must_be_this_log() {
    let Some(python) = python() else { return };
    let (keys, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = |name: &str| keys.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(path("log"), key().to_secret_line()).unwrap();
    std::fs::set_permissions(path("log"), PermissionsExt::from_mode(0o600)).unwrap();
    let [one, other] = ["one", "other"].map(|name| {
        say(&["key", "generate", "--witness", "--origin", name, "--out", &path(name)]).ends(0);
        say(&["key", "show", &path(name)]).ends(0).stdout.trim_end().to_owned()
    });
    let (process, url) = witness(&path("one"), &keys.path().join("state"));
    let (data, log, given) = (data_of(&dir), path("log"), format!("{one} {url}"));
    let mut words: Vec<&str> =
        "serve --listen 127.0.0.1:0 --checkpoint-every 20ms --witness-quorum 1".split(' ').collect();
    words.extend(["--data", data.to_str().unwrap(), "--key", &log, "--witness", &given]);
    let server = Served::run(dir, &words);
    let clients = server.clients().await;
    let first = clients.record(event("a", created("a"))).await.receipt.unwrap().position + 1;
    let request = pb::GetCheckpointRequest { min_size: Some(first), ..Default::default() };
    assert!(clients.proof.clone().get_checkpoint(request).await.unwrap().into_inner().witnessed);
    // Without the witness the log grows, and is signed, but not cosigned.
    drop(process);
    let last = clients.record(event("b", created("b"))).await.receipt.unwrap().position + 1;
    let signed = data.join("ledgers/default/checkpoint");
    let size = || std::fs::read_to_string(&signed).unwrap().lines().nth(1).unwrap().parse::<u64>().unwrap();
    while size() < last {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    drop(clients);
    let dir = server.stop();

    let right = verifier().to_string();
    let both = ["--key", &right, "--witness", &one];
    let words = format!("checkpoint={last} signed=yes known=0 witnessed={first}");
    accepted(&python, &data, &both, &words);
    accepted(&python, &data, &["--key", &right], "witnessed=unchecked");
    refused(&python, &data, &["--key", &right, "--witness", &other], "the witness other has not signed it");
    let file = data.join("ledgers/default/checkpoint.witnessed");
    let note = std::fs::read(&file).unwrap();
    for bit in (0..note.len() * 8).step_by(97) {
        let mut changed = note.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&file, changed).unwrap();
        refused(&python, &data, &both, "file=checkpoint.witnessed");
    }
    // The newest that was signed, which nobody cosigned, is no replacement for it.
    std::fs::copy(&signed, &file).unwrap();
    refused(&python, &data, &both, "the witness one has not signed it");
    std::fs::remove_file(&file).unwrap();
    refused(&python, &data, &both, "no witness has signed this ledger");
    std::fs::write(&file, &note).unwrap();
    check_ledger(&data, None).await;
    drop(dir);
}
