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
    }
}

#[test]
fn the_json_of_an_audit_keeps_its_promise() {
    check_json(
        &verdict(true),
        &expect![[r#"
        {"ok":true,"ledger":"default","from":3,"to":5,"entries":2,"root":"abababababababababababababababababababababababababababababababab","evidence":null,"reason":null,"position":null,"origin":"ledger.example.org/default"}
    "#]],
    );
    check_json(
        &verdict(false),
        &expect![[r#"
        {"ok":false,"ledger":"default","from":3,"to":5,"entries":2,"root":"abababababababababababababababababababababababababababababababab","evidence":"state.evidence","reason":"the log has forked","position":null,"origin":"ledger.example.org/default"}
    "#]],
    );
}

#[test]
fn people_are_told_in_a_sentence() {
    check_page(
        &verdict(true),
        &expect![[r#"
        2 entries new, 5 in all: every one is what ledger.example.org/default signed
    "#]],
    );
    check_page(
        &verdict(false),
        &expect![[r#"
        NOT what it should be: the log has forked
        what proves it to others: state.evidence (`tokenledger proof verify state.evidence --key KEY`)
    "#]],
    );
}
