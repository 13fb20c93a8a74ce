//! A real export, where it lies beside the source tree; its values stay there.

use std::collections::BTreeSet;

use super::*;
use crate::json::sent_to_json;

/// Where the export lies: `TOKENLEDGER_SHARED`, else `../shared`.
fn export() -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../shared").into();
    let shared: PathBuf = std::env::var_os("TOKENLEDGER_SHARED").map_or_else(beside, Into::into);
    let path = shared.join("data/cloudtrail");
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: no export at {}; set TOKENLEDGER_SHARED", path.display());
    None
}

#[tokio::test]
async fn a_real_export_gives_the_known_counts_and_a_second_import_nothing() {
    let Some(path) = export() else { return };
    let mut ledger = FakeLedger::default();
    let first = import(&[&path], &mut ledger).await;
    let mut first = serde_json::to_value(&first).unwrap();
    let introduced = first["introduced"].take().as_u64().unwrap();
    assert_eq!(
        first,
        json!({"records": 2900, "duplicates": 0, "failed_calls": 16, "unmapped": 2776, "introduced": null,
            "already_present": 0, "appended": {"AccountCreated": 17, "AccountDeleted": 17, "TokenIssued": 40,
            "TokenRevoked": 4, "GrantAdded": 12, "GrantRemoved": 10, "AccountUpdated": 2, "ConsumerDeclared": 3,
            "ConsumerReleased": 3}})
    );
    assert_eq!(ledger.events.len() as u64, 108 + introduced);

    let second = serde_json::to_value(import(&[&path], &mut ledger).await).unwrap();
    assert_eq!(
        second,
        json!({"records": 2900, "duplicates": 0, "failed_calls": 16, "unmapped": 2776, "introduced": 0,
            "already_present": 108, "appended": {}})
    );
}

#[tokio::test]
async fn no_session_token_of_a_real_export_gets_in() {
    let Some(path) = export() else { return };
    let mut ledger = FakeLedger::default();
    import(&[&path], &mut ledger).await;
    let told: Vec<String> =
        ledger.events.iter().map(|e| serde_json::to_string(&sent_to_json(e)).unwrap()).collect();
    let told = told.join("\n");
    let mut tokens = BTreeSet::new();
    for entry in std::fs::read_dir(&path).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let Ok(log) = serde_json::from_str::<Value>(&text) else { continue };
        let records = log["Records"].as_array().unwrap().iter();
        tokens.extend(records.filter_map(|r| {
            Some(r.pointer("/responseElements/credentials/sessionToken")?.as_str()?.to_owned())
        }));
    }
    assert_eq!(tokens.len(), 36);
    for token in tokens {
        assert!(!told.contains(&token[..40]));
    }
}
