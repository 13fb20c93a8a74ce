use tokenledger::wire::pb;
use tonic::Code;
use tonic_types::StatusExt;

use crate::harness::{Clients, Server, created, deleted, event, granted, issued, token};

fn policy(namespace: &str, mode: pb::PolicyMode) -> pb::Event {
    let changed = pb::PolicyChanged { namespace: namespace.into(), mode: mode.into() };
    event("", pb::event::Fact::PolicyChanged(changed))
}

async fn enforced(server: &Server) -> Clients {
    let clients = server.clients().await;
    clients.record(policy("", pb::PolicyMode::Enforce)).await;
    clients
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_a_rule_is_recorded_and_flagged_where_nothing_else_was_said() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    clients.record(event("bot-1", issued("t1"))).await;
    let accepted = clients.record(event("bot-1", deleted())).await;
    let rules = |annotations: &Option<pb::Annotations>| {
        annotations.as_ref().unwrap().violations.iter().map(|v| v.rule.clone()).collect::<Vec<_>>()
    };
    assert_eq!(rules(&accepted.annotations), ["active_tokens"]);
    assert_eq!(accepted.annotations.as_ref().unwrap().active_tokens, Some(1));
    assert_eq!(accepted.annotations.as_ref().unwrap().digest_before.len(), 32);
    let kind = pb::EventFilter { kind: "AccountDeleted".into(), ..Default::default() };
    let listed = clients.events(kind).await;
    assert_eq!(rules(&listed[0].event.as_ref().unwrap().annotations), ["active_tokens"], "and so it stays");
    let ghost = clients.record(event("nobody", granted("g", "dev"))).await;
    assert_eq!(rules(&ghost.annotations), ["account_unknown"]);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_an_account_with_an_active_token_is_refused_with_its_evidence() {
    let mut server = Server::start().await;
    let clients = enforced(&server).await;
    clients.record(event("bot-1", created("ci-bot"))).await;
    for name in ["t1", "t2"] {
        clients.record(event("bot-1", issued(name))).await;
    }
    let asked = event("bot-1", deleted());
    let refused = clients.try_record(asked.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    assert!(refused.message().contains("token/t1") && refused.message().contains("token/t2"), "{refused}");
    let info = refused.get_details_error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("active_tokens", "tokenledger"));
    assert_eq!(info.metadata["evidence"], "token/t1,token/t2");
    assert_eq!(clients.account("bot-1", None).await.unwrap().status(), pb::AccountStatus::Live);
    // The refusal is in the account's history, by its id and by its handle.
    for name in ["bot-1", "ci-bot"] {
        let history = clients.events(pb::EventFilter { account: name.into(), ..Default::default() }).await;
        let last = history.last().unwrap().event.clone().unwrap();
        let Some(pb::event::Fact::RequestRefused(refusal)) = last.fact else { panic!("{last:?}") };
        assert_eq!(refusal.refused_event_id, asked.event_id);
        assert_eq!(refusal.refused_kind, "AccountDeleted");
        assert_eq!(refusal.violations[0].rule, "active_tokens");
        assert_eq!(refusal.evidence, ["token/t1", "token/t2"]);
        assert_eq!((last.emitter.as_str(), last.actor.unwrap().id.as_str()), ("tokenledger", "alice"));
    }
    // Once nothing stands against it, the same event is recorded, also by another server.
    for name in ["t1", "t2"] {
        let revoked = pb::TokenRevoked { token: name.into(), reason: 2 };
        clients.record(event("bot-1", pb::event::Fact::TokenRevoked(revoked))).await;
    }
    drop(clients);
    server.restart().await;
    let clients = server.clients().await;
    let accepted = clients.record(asked).await;
    assert!(!accepted.already_present);
    assert_eq!(clients.account("bot-1", None).await.unwrap().status(), pb::AccountStatus::Deleted);
    drop(clients);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_which_nobody_knows_the_end_counts_as_active() {
    let server = Server::start().await;
    let clients = enforced(&server).await;
    clients.record(event("bot-1", created("bot-1"))).await;
    let expiry = Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::Unknown(pb::expiry::Unknown {})) });
    let unknown = pb::TokenIssued { expiry, ..token("t1") };
    clients.record(event("bot-1", pb::event::Fact::TokenIssued(unknown))).await;
    let refused = clients.try_record(event("bot-1", deleted())).await.unwrap_err();
    assert!(refused.message().contains("token/t1"), "{refused}");
    let over = Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::At(crate::harness::at(1))) });
    clients.record(event("bot-2", created("bot-2"))).await;
    let ended = pb::TokenIssued { expiry: over, ..token("t1") };
    clients.record(event("bot-2", pb::event::Fact::TokenIssued(ended))).await;
    let later = pb::Event { occurred_at: Some(crate::harness::at(2)), ..event("bot-2", deleted()) };
    clients.record(later).await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_holds_for_its_namespace_and_from_its_position_on() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(policy("group-1", pb::PolicyMode::Enforce)).await;
    clients.record(event("bot-1", created("bot-1"))).await;
    clients.try_record(event("bot-1", created("bot-1"))).await.unwrap_err();
    let mut elsewhere = event("bot-2", created("bot-2"));
    if let Some(pb::event::Fact::AccountCreated(created)) = &mut elsewhere.fact {
        created.namespace = "group-2".into();
    }
    clients.record(elsewhere).await;
    clients.record(event("bot-2", granted("g", "dev"))).await;
    let removed = |grant: &str| pb::event::Fact::GrantRemoved(pb::GrantRemoved { grant: grant.into() });
    clients.record(event("bot-2", removed("none"))).await;
    clients.try_record(event("bot-1", removed("none"))).await.unwrap_err();
    clients.record(policy("group-1", pb::PolicyMode::Observe)).await;
    clients.record(event("bot-1", removed("none"))).await;
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_whether_one_may_leaves_no_trace() {
    let server = Server::start().await;
    let clients = enforced(&server).await;
    clients.record(event("bot-1", created("bot-1"))).await;
    clients.record(event("bot-1", issued("t1"))).await;
    let before = clients.export().await;
    let validate = |event: pb::Event| {
        let proposal = Some(pb::Proposal { event: Some(event), expected_version: None });
        let request = pb::AppendRequest { proposal, validate_only: true, ..Default::default() };
        let mut append = clients.append.clone();
        async move { append.append(request).await }
    };
    let refused = validate(event("bot-1", deleted())).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let fine = validate(event("bot-1", issued("t2"))).await.unwrap().into_inner().accepted.unwrap();
    assert_eq!((fine.receipt, fine.already_present), (None, false), "what was not recorded has no receipt");
    assert_eq!(clients.export().await, before);
    server.check().await;
}
