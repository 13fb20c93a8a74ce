//! ServiceChannel, 2021-02-16: a production service account was deleted together with a test account, and could not be
//! brought back, since its token and secret are assigned at random.

use pb::event::Fact;
use tokenledger::wire::pb;
use uuid::Uuid;

use crate::binary_harness::Served;
use crate::harness::{Clients, at, granted, human};

const PRODUCTION: &str = "svc-production";
const TEST: &str = "svc-test";
/// The engineer deletes the two within the same minute: 17:09 of that day.
const DELETED_AT: i64 = 61_740;

fn event(account: &str, seconds: i64, fact: Fact) -> pb::Event {
    let actor = Some(human("engineer"));
    let cause = Some(pb::Cause { correlation_id: "cleanup-1".into(), ..Default::default() });
    pb::Event { occurred_at: Some(at(seconds)), actor, cause, ..crate::harness::event(account, fact) }
}

fn created(account: &str, environment: &str) -> Fact {
    Fact::AccountCreated(pb::AccountCreated {
        kind: pb::AccountKind::Service.into(),
        handle: account.into(),
        owner: "team-api".into(),
        namespace: "api".into(),
        environment: environment.into(),
        ..Default::default()
    })
}

/// A credential as the platform assigned it: at random, so that nobody can make it again.
struct Credential {
    id: String,
    digest: String,
}

fn random_credential() -> Credential {
    let secret = Uuid::new_v4();
    Credential {
        id: Uuid::new_v4().to_string(),
        digest: format!("blake3:{}", blake3::hash(secret.as_bytes())),
    }
}

async fn live(clients: &Clients, account: &str, environment: &str) -> Credential {
    let credential = random_credential();
    let issued = pb::TokenIssued {
        token: credential.id.clone(),
        digest: credential.digest.clone(),
        scopes: vec!["api".into()],
        expiry: crate::harness::never(),
        ..Default::default()
    };
    let consumer = pb::ConsumerDeclared {
        consumer: format!("{account}/web"),
        component: "web".into(),
        location: "api_credentials".into(),
        environment: environment.into(),
        token: credential.id.clone(),
    };
    let facts = [
        created(account, environment),
        Fact::TokenIssued(issued),
        granted("api/all", "admin"),
        Fact::ConsumerDeclared(consumer),
    ];
    for (second, fact) in (1..).zip(facts) {
        clients.record(event(account, second, fact)).await;
    }
    credential
}

async fn lookup(clients: &Clients, credential: &Credential) -> pb::OwnedToken {
    let request = pb::LookupTokenRequest { digest: credential.digest.clone(), ..Default::default() };
    let mut found = clients.query.clone().lookup_token(request).await.unwrap().into_inner().tokens;
    assert_eq!(found.len(), 1);
    found.remove(0)
}

/// Requirement 3: the account of which nobody may want to redistribute the credential.
#[tokio::test(flavor = "multi_thread")]
async fn the_production_account_comes_back_with_the_same_credential_and_the_test_account_stays_gone() {
    let server = Served::start();
    let clients = server.clients().await;
    let production = live(&clients, PRODUCTION, "production").await;
    let test = live(&clients, TEST, "test").await;
    let before = clients.account(PRODUCTION, None).await.unwrap();
    let token_before = lookup(&clients, &production).await;
    assert!(token_before.usable);

    // Tokens and rights first, then the account, as the platform does it; both accounts at once.
    for account in [TEST, PRODUCTION] {
        let credential = if account == TEST { &test } else { &production };
        let reason = pb::RevocationReason::AccountDeleted.into();
        let facts = [
            Fact::TokenRevoked(pb::TokenRevoked { token: credential.id.clone(), reason }),
            Fact::GrantRemoved(pb::GrantRemoved { grant: "api/all".into() }),
            Fact::AccountDeleted(pb::AccountDeleted::default()),
        ];
        let events = facts.map(|fact| event(account, DELETED_AT, fact));
        clients.batch(events.to_vec(), true).await;
    }
    assert!(!lookup(&clients, &production).await.usable, "the API is down for all users");

    let plan = clients.plan(&[PRODUCTION]).await;
    let token = format!("token/{}", production.id);
    assert!(plan.items[0].comes_back.contains(&token), "{plan:?}");
    assert!(plan.items[0].conflicts.iter().all(|conflict| !conflict.blocks), "{plan:?}");
    assert_eq!(plan.items[0].group.len(), 3, "the revocation and the removal belong to the deletion");
    let receipt = clients.apply(&plan.plan).await;
    let item = &receipt.items[0];
    assert_eq!((item.outcome(), &item.differences), (pb::RestoreOutcome::Restored, &Vec::new()));
    assert_eq!((&item.digest_before, &item.digest_after), (&before.digest, &before.digest));

    let after = clients.account(PRODUCTION, None).await.unwrap();
    assert_eq!((&after.tokens, &after.grants), (&before.tokens, &before.grants));
    assert_eq!(
        (&after.consumers, &after.account, &after.handle),
        (&before.consumers, &before.account, &before.handle)
    );
    let token_after = lookup(&clients, &production).await;
    assert_eq!(token_after, token_before, "the same id and digest: nothing needs to be redistributed");

    assert!(!lookup(&clients, &test).await.usable);
    assert_eq!(clients.account(TEST, None).await.unwrap().status(), pb::AccountStatus::Deleted);
    server.check().await;
}
