//! GitLab.com, 2024-09-11: a nightly job deleted every bot that had a token which was inactive for more than 30 days,
//! as if a bot had one token only. A rotated bot has two.

use std::collections::{BTreeMap, BTreeSet};

use pb::event::Fact;
use tokenledger::wire::pb;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::binary_harness::Served;
use crate::harness::{Clients, automation, human};

const BOTS: usize = 4_000;
const NAMESPACES: usize = 600;
const ROTATED: usize = 1_456;
const CUSTOMERS: usize = 220;
/// Rightly deleted: their only token was revoked long ago.
const INACTIVE: usize = 300;
/// Rightly deleted: one token was revoked, the other has expired.
const TWICE_INACTIVE: usize = 100;
/// Their tokens have no expiry that anybody knows.
const LEGACY: usize = 200;
const RUN: &str = "delete-inactive-bots/2024-09-11";
const JOB: &str = "delete-inactive-bots";
/// 2024-09-11T00:00:00Z.
const MIDNIGHT: i64 = 1_726_012_800;
const DAY: i64 = 86_400;
/// 2035-01-01T00:00:00Z.
const FAR: i64 = 2_051_222_400;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bot {
    Rotated,
    Inactive,
    TwiceInactive,
    Legacy,
    DeletedByAPerson,
    Healthy,
}

fn bot(number: usize) -> Bot {
    match number {
        n if n < ROTATED => Bot::Rotated,
        n if n < ROTATED + INACTIVE => Bot::Inactive,
        n if n < ROTATED + INACTIVE + TWICE_INACTIVE => Bot::TwiceInactive,
        n if n < ROTATED + INACTIVE + TWICE_INACTIVE + LEGACY => Bot::Legacy,
        n if n == ROTATED + INACTIVE + TWICE_INACTIVE + LEGACY => Bot::DeletedByAPerson,
        _ => Bot::Healthy,
    }
}

fn account(number: usize) -> String {
    format!("bot-{number:04}")
}

fn namespace(number: usize) -> String {
    let among = if bot(number) == Bot::Rotated { CUSTOMERS } else { NAMESPACES };
    format!("customer-{:03}", number % among)
}

fn time(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn expiry(expiry: pb::expiry::Expiry) -> Option<pb::Expiry> {
    Some(pb::Expiry { expiry: Some(expiry) })
}

fn token_id(number: usize, nth: usize) -> String {
    format!("token-{number:04}-{nth}")
}

/// What a customer's secret hashes to.
fn digest(token: &str) -> String {
    format!("blake3:{}", blake3::hash(format!("the secret of {token}").as_bytes()))
}

fn token(number: usize, nth: usize) -> pb::TokenIssued {
    let token = token_id(number, nth);
    let ends = match (bot(number), nth, number % 3) {
        (Bot::Legacy, ..) => pb::expiry::Expiry::Unknown(pb::expiry::Unknown {}),
        (Bot::TwiceInactive, 2, _) => pb::expiry::Expiry::At(time(MIDNIGHT - 40 * DAY).unwrap()),
        (.., 0) => pb::expiry::Expiry::At(time(FAR + number as i64).unwrap()),
        _ => pb::expiry::Expiry::Never(pb::expiry::Never {}),
    };
    let scopes = ["api", "read_repository"].iter().take(1 + number % 2).map(ToString::to_string).collect();
    pb::TokenIssued { digest: digest(&token), token, family: String::new(), scopes, expiry: expiry(ends) }
}

fn event(account: &str, at: i64, fact: Fact) -> pb::Event {
    pb::Event {
        event_id: Uuid::new_v4().to_string(),
        emitter: "platform".into(),
        occurred_at: time(at),
        actor: Some(automation("token-service")),
        account: account.into(),
        fact: Some(fact),
        ..Default::default()
    }
}

fn created(number: usize) -> Fact {
    Fact::AccountCreated(pb::AccountCreated {
        kind: pb::AccountKind::Bot.into(),
        handle: format!("deploy-bot-{number:04}"),
        owner: format!("team-{}", namespace(number)),
        namespace: namespace(number),
        environment: if number.is_multiple_of(2) { "production" } else { "test" }.into(),
        attributes: [("plan".into(), format!("tier-{}", number % 4))].into(),
        ..Default::default()
    })
}

/// The life of a bot until the night.
fn life(number: usize) -> Vec<pb::Event> {
    let id = account(number);
    let born = MIDNIGHT - 400 * DAY + number as i64;
    let later = MIDNIGHT - 90 * DAY + number as i64;
    let grant = |grant: String, access: &str| {
        Fact::GrantAdded(pb::GrantAdded { grant, access: access.into(), ..Default::default() })
    };
    let mut life = vec![
        event(&id, born, created(number)),
        event(&id, born + 1, grant(format!("group/{}", namespace(number)), "developer")),
        event(
            &id,
            born + 2,
            grant(format!("project/{}/app-{}", namespace(number), number % 7), "maintainer"),
        ),
        event(&id, born + 3, Fact::TokenIssued(token(number, 1))),
    ];
    let revoked = || {
        let reason = pb::RevocationReason::Unused.into();
        Fact::TokenRevoked(pb::TokenRevoked { token: token_id(number, 1), reason })
    };
    match bot(number) {
        Bot::Rotated => {
            let new_token = Some(token(number, 2));
            let rotated = pb::TokenRotated { old_token: token_id(number, 1), new_token, overlap_until: None };
            life.push(event(&id, later, Fact::TokenRotated(rotated)));
        }
        Bot::Inactive => life.push(event(&id, later, revoked())),
        Bot::TwiceInactive => {
            life.push(event(&id, later, Fact::TokenIssued(token(number, 2))));
            life.push(event(&id, later + 1, revoked()));
        }
        Bot::Legacy | Bot::DeletedByAPerson | Bot::Healthy => {}
    }
    life
}

fn deleted_by_the_job(number: usize) -> bool {
    matches!(bot(number), Bot::Rotated | Bot::Inactive | Bot::TwiceInactive)
}

fn deletion() -> Fact {
    Fact::AccountDeleted(pb::AccountDeleted::default())
}

/// What the job and a person did.
fn night() -> Vec<pb::Event> {
    let of_the_run = |account: &str, at, fact| {
        let reason = "its access token became inactive more than 30 days ago".into();
        let cause = Some(pb::Cause { run: RUN.into(), reason, ..Default::default() });
        pb::Event { actor: Some(automation(JOB)), cause, ..event(account, at, fact) }
    };
    let started = Fact::RunStarted(pb::RunStarted { run: RUN.into(), job: JOB.into() });
    let mut night = vec![of_the_run("", MIDNIGHT, started)];
    for number in (0..BOTS).filter(|n| deleted_by_the_job(*n)) {
        night.push(of_the_run(&account(number), MIDNIGHT + 1 + number as i64, deletion()));
    }
    let accounts_changed = (ROTATED + INACTIVE + TWICE_INACTIVE) as u64;
    let finished = pb::RunFinished { run: RUN.into(), succeeded: true, accounts_changed };
    night.push(of_the_run("", MIDNIGHT + 3_000, Fact::RunFinished(finished)));
    for number in (0..BOTS).filter(|n| bot(*n) == Bot::DeletedByAPerson) {
        let by = Some(human("dana"));
        night.push(pb::Event { actor: by, ..event(&account(number), MIDNIGHT + 2_000, deletion()) });
    }
    night
}

async fn record(clients: &Clients, events: Vec<pb::Event>) -> Vec<pb::Accepted> {
    let mut all = Vec::new();
    for batch in events.chunks(1_000) {
        for result in clients.batch(batch.to_vec(), false).await {
            match result.result {
                Some(pb::append_result::Result::Accepted(accepted)) => all.push(accepted),
                other => panic!("{other:?}"),
            }
        }
    }
    all
}

async fn find(clients: &Clients, request: pb::FindDeletionsRequest) -> Vec<pb::DeletionSummary> {
    let mut found = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::FindDeletionsRequest { page_size: 500, page_token, ..request.clone() };
        let page = clients.query.clone().find_deletions(request).await.unwrap().into_inner();
        found.extend(page.deletions);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return found;
        }
    }
}

async fn all_accounts(clients: &Clients) -> BTreeMap<String, pb::Account> {
    let mut all = BTreeMap::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListAccountsRequest { page_size: 1_000, page_token, ..Default::default() };
        let page = clients.query.clone().list_accounts(request).await.unwrap().into_inner();
        all.extend(page.accounts.into_iter().map(|account| (account.account.clone(), account)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

async fn usable(clients: &Clients, token: &str) -> bool {
    let request = pb::LookupTokenRequest { digest: digest(token), ..Default::default() };
    let found = clients.query.clone().lookup_token(request).await.unwrap().into_inner().tokens;
    assert_eq!(found.len(), 1, "{token}");
    assert_eq!(found[0].token.as_ref().unwrap().token, token);
    found[0].usable
}

/// An account but for the moment of the answer and the count of its events.
fn lasting(account: &pb::Account) -> pb::Account {
    pb::Account { version: 0, position: 0, last_event_position: 0, deleted_at: None, ..account.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn bots_deleted_for_their_rotated_tokens_come_back_and_the_secrets_of_customers_work_again() {
    let server = Served::start();
    let clients = server.clients().await;
    record(&clients, (0..BOTS).flat_map(life).collect()).await;
    let before = all_accounts(&clients).await;
    assert_eq!(before.len(), BOTS);
    let namespaces: BTreeSet<&str> = before.values().map(|account| &*account.namespace).collect();
    assert_eq!(namespaces.len(), NAMESPACES);

    let accepted = record(&clients, night()).await;
    every_deletion_is_recorded_with_its_cause_and_the_state_before(&clients, &before, accepted).await;
    let hit = one_query_lists_who_is_hit(&clients, &before).await;
    let later = what_happened_legitimately_since(&clients).await;
    restore(&clients, &hit, &before, &later).await;
    the_others_stay_gone(&clients, &before).await;
    server.check().await;
}

/// Requirement 1; and under `observe`, as is the default, requirement 4: the fact is recorded and flagged.
async fn every_deletion_is_recorded_with_its_cause_and_the_state_before(
    clients: &Clients,
    before: &BTreeMap<String, pb::Account>,
    accepted: Vec<pb::Accepted>,
) {
    let breaks = |a: &&pb::Accepted| {
        let violations = &a.annotations.as_ref().unwrap().violations;
        assert!(violations.iter().all(|violation| violation.rule == "active_tokens"), "{violations:?}");
        !violations.is_empty()
    };
    assert_eq!(accepted.iter().filter(|a| a.annotations.is_some()).filter(breaks).count(), ROTATED + 1);
    let filter = pb::EventFilter { run: RUN.into(), kind: "AccountDeleted".into(), ..Default::default() };
    let events = clients.events(filter).await;
    assert_eq!(events.len(), ROTATED + INACTIVE + TWICE_INACTIVE);
    for recorded in events {
        let event = recorded.event.unwrap();
        assert_eq!(event.actor, Some(automation(JOB)));
        let cause = event.cause.unwrap();
        assert_eq!((cause.run.as_str(), cause.reason.is_empty()), (RUN, false));
        let annotations = event.annotations.unwrap();
        let account = &before[&event.account];
        assert_eq!(annotations.digest_before, account.digest);
        let active = account.tokens.iter().filter(|token| token.status() == pb::TokenStatus::Active).count();
        assert_eq!(annotations.active_tokens, Some(active as u32));
    }
}

/// Requirement 2, by run, by actor and by time.
async fn one_query_lists_who_is_hit(
    clients: &Clients,
    before: &BTreeMap<String, pb::Account>,
) -> Vec<pb::DeletionSummary> {
    let found = find(clients, pb::FindDeletionsRequest { run: RUN.into(), ..Default::default() }).await;
    assert_eq!(found.len(), ROTATED + INACTIVE + TWICE_INACTIVE);
    let by_actor = find(clients, pb::FindDeletionsRequest { actor: JOB.into(), ..Default::default() }).await;
    assert_eq!(by_actor, found);
    let window =
        pb::FindDeletionsRequest { from: time(MIDNIGHT), to: time(MIDNIGHT + 10_000), ..Default::default() };
    assert_eq!(find(clients, window).await.len(), found.len() + 1, "and the one that a person deleted");
    let hit: Vec<_> = found.into_iter().filter(|deletion| !deletion.active_tokens.is_empty()).collect();
    assert_eq!(hit.len(), ROTATED);
    let customers: BTreeSet<&str> = hit.iter().map(|deletion| &*deletion.namespace).collect();
    assert_eq!(customers.len(), CUSTOMERS);
    for deletion in &hit {
        let account = &before[&deletion.account];
        let number: usize = deletion.account[4..].parse().unwrap();
        assert_eq!(deletion.active_tokens, [token_id(number, 2)]);
        assert_eq!((&deletion.owner, &deletion.namespace), (&account.owner, &account.namespace));
        assert_eq!((&deletion.handle, &deletion.digest_before), (&account.handle, &account.digest));
        let grants: Vec<&str> = account.grants.iter().map(|grant| &*grant.grant).collect();
        assert_eq!(deletion.grants, grants, "its groups and projects");
    }
    hit
}

/// What must not be overwritten: bot 0's secret became known, and bot 1's place was taken by a new bot.
async fn what_happened_legitimately_since(clients: &Clients) -> (String, String) {
    let since = MIDNIGHT + 30_000;
    let reason = pb::RevocationReason::Leaked.into();
    let leaked = Fact::TokenRevoked(pb::TokenRevoked { token: token_id(0, 2), reason });
    record(clients, vec![event(&account(0), since, leaked), event("bot-new", since, created(1))]).await;
    (account(0), account(1))
}

/// Requirement 3: two plans, since one is for 1,000 accounts at most.
async fn restore(
    clients: &Clients,
    hit: &[pb::DeletionSummary],
    before: &BTreeMap<String, pb::Account>,
    (leaked, taken): &(String, String),
) {
    assert!(!usable(clients, &token_id(2, 2)).await, "the secret that a customer holds does not work");
    let affected: Vec<&str> = hit.iter().map(|deletion| &*deletion.account).collect();
    let mut outcomes = BTreeMap::new();
    for part in affected.chunks(1_000) {
        let plan = clients.plan(part).await;
        assert_eq!(plan.items.len(), part.len());
        let receipt = clients.apply(&plan.plan).await;
        assert_eq!(receipt.hash, plan.hash);
        outcomes.extend(receipt.items.into_iter().map(|item| (item.account.clone(), item)));
    }
    assert_eq!(outcomes.len(), ROTATED);
    let now = all_accounts(clients).await;
    for (id, item) in &outcomes {
        let (was, is) = (&before[id], &now[id]);
        assert_eq!(item.digest_before, was.digest);
        if id == taken {
            assert_eq!(
                (item.outcome(), is.status()),
                (pb::RestoreOutcome::Refused, pb::AccountStatus::Deleted)
            );
            continue;
        }
        assert_eq!((item.outcome(), &item.digest_after), (pb::RestoreOutcome::Restored, &is.digest), "{id}");
        if id == leaked {
            assert!(item.differences.iter().any(|d| d.reason == "leaked_since"), "{item:?}");
            assert!(is.tokens.iter().all(|token| token.status() != pb::TokenStatus::Active), "{is:?}");
            continue;
        }
        assert_eq!((&item.differences, &item.digest_after), (&Vec::new(), &item.digest_before), "{id}");
        assert_eq!(
            lasting(is),
            lasting(was),
            "ids, handle, grants, digests, scopes, expiry, and what was revoked"
        );
    }
    for number in [2, 3, 700, ROTATED - 1] {
        assert!(usable(clients, &token_id(number, 2)).await, "the secret that a customer holds works again");
        assert!(!usable(clients, &token_id(number, 1)).await, "the one it was rotated from does not");
    }
    let newcomer = &now["bot-new"];
    assert_eq!((newcomer.status(), &newcomer.handle), (pb::AccountStatus::Live, &before[taken].handle));
}

async fn the_others_stay_gone(clients: &Clients, before: &BTreeMap<String, pb::Account>) {
    for (id, account) in all_accounts(clients).await {
        let Some(number) = before.contains_key(&id).then(|| id[4..].parse().unwrap()) else { continue };
        let gone =
            matches!(bot(number), Bot::Inactive | Bot::TwiceInactive | Bot::DeletedByAPerson) || number == 1;
        let status = if gone { pb::AccountStatus::Deleted } else { pb::AccountStatus::Live };
        assert_eq!(account.status(), status, "{id}: {:?}", bot(number));
    }
}

/// Requirement 4.
#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_enforces_refuses_to_delete_a_bot_with_an_active_token_and_names_it() {
    let server = Served::start();
    let clients = server.clients().await;
    // A rotated bot, one that is rightly deleted, one with a token of unknown end.
    let numbers = [5, ROTATED + 1, ROTATED + INACTIVE, ROTATED + INACTIVE + TWICE_INACTIVE + 1];
    record(&clients, numbers.into_iter().flat_map(life).collect()).await;
    for number in numbers {
        let mode = pb::PolicyMode::Enforce.into();
        let policy = Fact::PolicyChanged(pb::PolicyChanged { namespace: namespace(number), mode });
        record(&clients, vec![event("", MIDNIGHT - DAY, policy)]).await;
    }
    for (number, refused) in numbers.into_iter().zip([Some(2), None, None, Some(1)]) {
        let id = account(number);
        let before = clients.account(&id, None).await.unwrap();
        let answer = clients.try_record(event(&id, MIDNIGHT + 1, deletion())).await;
        let Some(nth) = refused else {
            answer.unwrap();
            assert_eq!(clients.account(&id, None).await.unwrap().status(), pb::AccountStatus::Deleted);
            continue;
        };
        let status = answer.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
        let evidence = status.get_details_error_info().unwrap().metadata["evidence"].clone();
        assert_eq!(evidence, format!("token/{}", token_id(number, nth)), "the tokens are named");
        let after = clients.account(&id, None).await.unwrap();
        assert_eq!((after.status(), after.digest), (pb::AccountStatus::Live, before.digest));
        assert_eq!(refusals(&clients, &id).await, 1, "the refusal is recorded for {id}");
    }
    server.check().await;
}

async fn refusals(clients: &Clients, account: &str) -> usize {
    let filter = pb::EventFilter { kind: "RequestRefused".into(), ..Default::default() };
    let events = clients.events(filter).await.into_iter().filter_map(|recorded| recorded.event?.fact);
    events
        .filter(|fact| matches!(fact, Fact::RequestRefused(refused) if refused.refused_account == account))
        .count()
}
