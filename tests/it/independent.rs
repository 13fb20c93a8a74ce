use std::path::Path;
use std::process::Command;

use ledger::checkpoint::VerifierKey;
use ledger::proof::Proof;
use ledger::types::LedgerName;
use tokenledger::wire::pb;
use tokenledger::wire::pb::prove_inclusion_request::Which;

use crate::harness::{Clients, Dice, Server, key, python, script, story};

/// How many edits are made; `TOKENLEDGER_EDITS` says otherwise. They take about 20 seconds.
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

/// A ledger of a few hundred entries, and what was kept of it while it grew.
async fn grown(clients: &Clients, kept: &Path) {
    let mut dice = Dice::new(5);
    std::fs::create_dir_all(kept).unwrap();
    for (nth, hundred) in story(11, 600).chunks(100).enumerate() {
        clients.record_all(hundred).await;
        // The event that made the ledger stands before them.
        keep(clients, nth as u64 * 100 + 101, &mut dice, kept).await;
    }
}

fn verifier() -> VerifierKey {
    key().verifier(&LedgerName::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_edits_are_named_by_a_checker_that_shares_no_code_whoever_made_them() {
    let Some(python) = python() else { return };
    let mut server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (kept, secret) = (dir.path().join("kept"), dir.path().join("secret"));
    let clients = server.clients().await;
    grown(&clients, &kept).await;
    drop(clients);
    server.stop().await;
    std::fs::write(&secret, key().to_secret_line()).unwrap();
    let edits = std::env::var("TOKENLEDGER_EDITS").unwrap_or(EDITS.to_string());
    let mut command = Command::new(python);
    command.arg(script("edits.py")).args(["--count", &edits]).arg("--data").arg(server.data());
    let output = command.arg("--secret").arg(secret).arg("--statements").arg(kept).output().unwrap();
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
    grown(&clients, dir.path()).await;
    drop(clients);
    server.stop().await;
    let says = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        let output = command.arg(script("verify.py")).arg(server.data()).args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let right = verifier().to_string();
    let note = dir.path().join("00301.note");
    let receipt = dir.path().join("00301-0.tlog-proof");
    let (note, receipt) = (note.to_str().unwrap(), receipt.to_str().unwrap());
    let good = says(&["--key", &right, "--checkpoint", note, "--receipt", receipt]);
    assert_eq!(good.0, Some(0), "{}", good.1);
    assert!(good.1.contains("checkpoint=601 signed=yes known=2"), "{}", good.1);
    assert!(says(&[]).1.contains("checkpoint=601 signed=unchecked"));

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
