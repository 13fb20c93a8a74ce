use expect_test::expect;
use ledger::types::LedgerName;

use super::*;
use crate::cli::print::tests::{check_json, check_page};

fn verdict(ok: bool) -> Verdict {
    let wrong = (!ok).then(|| "the log has forked".to_owned());
    Verdict {
        ok,
        ledger: LedgerName::default().to_string(),
        from: 3,
        to: 5,
        entries: 2,
        root: Some("ab".repeat(32)),
        evidence: wrong.clone().map(|_| "state.evidence".to_owned()),
        reason: wrong,
        position: None,
        origin: "ledger.example.org/default".to_owned(),
        keys: vec!["ledger.example.org/default+ab+cd=".to_owned()],
        checkpoint: (!ok).then(|| "state.checkpoint-ab".to_owned()),
    }
}

#[test]
fn the_json_of_an_audit_keeps_its_promise() {
    check_json(
        &verdict(true),
        &expect![[r#"
            {"ok":true,"ledger":"default","from":3,"to":5,"entries":2,"root":"abababababababababababababababababababababababababababababababab","evidence":null,"reason":null,"position":null,"origin":"ledger.example.org/default","keys":["ledger.example.org/default+ab+cd="],"checkpoint":null}
        "#]],
    );
    check_json(
        &verdict(false),
        &expect![[r#"
            {"ok":false,"ledger":"default","from":3,"to":5,"entries":2,"root":"abababababababababababababababababababababababababababababababab","evidence":"state.evidence","reason":"the log has forked","position":null,"origin":"ledger.example.org/default","keys":["ledger.example.org/default+ab+cd="],"checkpoint":"state.checkpoint-ab"}
        "#]],
    );
}

#[test]
fn people_are_told_in_a_sentence() {
    check_page(
        &verdict(true),
        &expect![[r#"
            2 entries new, 5 in all: every one is what ledger.example.org/default signed
            signed by  ledger.example.org/default+ab+cd=
        "#]],
    );
    check_page(
        &verdict(false),
        &expect![[r#"
            NOT what it should be: the log has forked
            what proves it to others: state.evidence
            to check it: tokenledger proof verify state.evidence --key ledger.example.org/default+ab+cd=
            the checkpoint that it showed is kept: state.checkpoint-ab
            signed by  ledger.example.org/default+ab+cd=
        "#]],
    );
}

#[test]
fn only_evidence_against_the_same_log_may_be_replaced() {
    use ledger::checkpoint::{LocalSigner, PrivateKey, Signer};
    use ledger::tree::TreeHead;
    let key = PrivateKey::new("ledger.example.org".parse().unwrap(), &[7; 32]);
    let evidence = |name: &str| {
        let name: LedgerName = name.parse().unwrap();
        let keys = LogKeys::new(vec![key.verifier(&name)]).unwrap();
        let signed = |root: u8| {
            let tree = TreeHead { size: 3, root: [root; 32] };
            keys.open(&LocalSigner::new(&key, &name, None).sign(tree, &[]).unwrap()).unwrap()
        };
        (Fork::between(&signed(1), &signed(2), None).unwrap().to_bytes(), keys)
    };
    let (ours, keys) = evidence("default");
    let (other, _) = evidence("other");
    assert!(is_against(&ours, &keys) && proves(&ours, &keys).is_some());
    assert!(!is_against(&other, &keys));
    assert!(!is_against(&ours[..ours.len() - 1], &keys) && !is_against(b"", &keys));
}
