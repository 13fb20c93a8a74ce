use std::collections::BTreeMap;

use ledger::event::AccountId;
use ledger::state::{Slot, digest};
use ledger::types::Time;
use tokenledger::wire::pb;
use tonic::Code;

use crate::harness::{Clients, Dice, Server, at, created, deleted, event, issued, recorded, story, token};

fn moment(moment: pb::as_of::Moment) -> Option<pb::AsOf> {
    Some(pb::AsOf { moment: Some(moment), known_at: None })
}

fn position(position: u64) -> Option<pb::AsOf> {
    moment(pb::as_of::Moment::Position(position))
}

fn occurred(time: prost_types::Timestamp) -> Option<pb::AsOf> {
    moment(pb::as_of::Moment::OccurredAt(time))
}

fn known(time: prost_types::Timestamp) -> Option<pb::AsOf> {
    Some(pb::AsOf { moment: None, known_at: Some(time) })
}

fn time(stamp: &prost_types::Timestamp) -> Time {
    Time::from_parts(stamp.seconds, stamp.nanos).unwrap()
}

/// The digests of all accounts, of the events that a moment holds.
fn model(all: &[pb::LedgerEvent], holds: impl Fn(&pb::LedgerEvent) -> bool) -> BTreeMap<String, [u8; 32]> {
    let mut slots: BTreeMap<String, Slot> = BTreeMap::new();
    for served in all.iter().filter(|e| holds(e)) {
        let recorded = recorded(served);
        let Some(id) = recorded.event.account.clone() else { continue };
        match slots.get_mut(id.as_str()) {
            Some(slot) => slot.apply(&recorded),
            None => drop(slots.insert(id.to_string(), Slot::begin(&id, &recorded))),
        }
    }
    slots.into_iter().map(|(id, slot)| (id, digest(slot.current()).0)).collect()
}

async fn digests(clients: &Clients, as_of: Option<pb::AsOf>) -> BTreeMap<String, [u8; 32]> {
    let mut found = BTreeMap::new();
    for n in 0..6 {
        let id = format!("id-{n}");
        match clients.account(&id, as_of).await {
            Ok(account) => drop(found.insert(id, account.digest.try_into().unwrap())),
            Err(status) => assert_eq!(status.code(), Code::NotFound, "{status}"),
        }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_at_a_moment_are_the_fold_of_what_the_moment_holds() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record_all(&story(31, 400)).await;
    let all = clients.export().await;
    let mut dice = Dice::new(32);
    for _ in 0..12 {
        let p = dice.below(401);
        assert_eq!(digests(&clients, position(p)).await, model(&all, |e| e.position <= p), "at {p}");
        let t = at(i64::try_from(dice.below(41 * 86_400)).unwrap());
        let then =
            |e: &pb::LedgerEvent| time(e.event.as_ref().unwrap().occurred_at.as_ref().unwrap()) <= time(&t);
        assert_eq!(digests(&clients, occurred(t)).await, model(&all, then), "occurred by {t:?}");
        let k = all[usize::try_from(p).unwrap().min(400)].recorded_at.unwrap();
        let knew = |e: &pb::LedgerEvent| time(e.recorded_at.as_ref().unwrap()) <= time(&k);
        assert_eq!(digests(&clients, known(k)).await, model(&all, knew), "known by {k:?}");
        let both = Some(pb::AsOf { known_at: Some(k), ..occurred(t).unwrap() });
        assert_eq!(digests(&clients, both).await, model(&all, |e| then(e) && knew(e)));
    }
    assert_eq!(digests(&clients, None).await, model(&all, |_| true));
    assert!(AccountId::new("id-1").is_ok());
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fact_that_comes_late_is_flagged_and_counts_where_it_occurred() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let when = |seconds, fact| pb::Event { occurred_at: Some(at(seconds)), ..event("bot-1", fact) };
    clients.record(when(0, created("bot-1"))).await;
    clients.record(when(100, issued("t2"))).await;
    let late = clients.record(when(50, issued("t1"))).await;
    assert!(late.annotations.unwrap().late);
    let in_time = clients.record(when(100, issued("t3"))).await;
    assert_eq!(in_time.annotations, None, "the same moment is not earlier");
    let tokens = |account: pb::Account| account.tokens.into_iter().map(|t| t.token).collect::<Vec<_>>();
    let at_50 = clients.account("bot-1", occurred(at(50))).await.unwrap();
    assert_eq!(tokens(at_50), ["t1"]);
    let at_position = clients.account("bot-1", position(2)).await.unwrap();
    assert_eq!(tokens(at_position), ["t2"]);
    let before = clients.account("bot-1", occurred(at(-1))).await.unwrap_err();
    assert_eq!(before.code(), Code::NotFound, "it did not exist then");
    let flagged = clients.events(pb::EventFilter { token: "t1".into(), ..Default::default() }).await;
    assert!(flagged[0].event.as_ref().unwrap().annotations.as_ref().unwrap().late);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_expired_is_judged_at_the_moment_that_is_asked_for() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    let expiry = Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::At(at(1000))) });
    let limited = pb::TokenIssued { expiry, ..token("t1") };
    clients.record(event("bot-1", pb::event::Fact::TokenIssued(limited))).await;
    let unknown = Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::Unknown(pb::expiry::Unknown {})) });
    let open = pb::TokenIssued { expiry: unknown, ..token("t2") };
    clients.record(event("bot-1", pb::event::Fact::TokenIssued(open))).await;
    let at_500 = pb::Event { occurred_at: Some(at(500)), ..event("bot-1", issued("t3")) };
    clients.record(at_500).await;
    let status = async |as_of| {
        let account = clients.account("bot-1", as_of).await.unwrap();
        account.tokens.iter().map(|t| (t.token.clone(), t.status())).collect::<BTreeMap<_, _>>()
    };
    use pb::TokenStatus::{Active, Expired};
    assert_eq!(status(occurred(at(999))).await["t1"], Active);
    assert_eq!(status(occurred(at(1000))).await["t1"], Expired, "it ends at that moment");
    assert_eq!(status(position(4)).await["t1"], Active, "as of what had occurred by that position");
    let now = status(None).await;
    assert_eq!((now["t1"], now["t2"], now["t3"]), (Expired, Active, Active), "unknown never counts as over");
    let lookup = pb::LookupTokenRequest { digest: token("t1").digest, ..Default::default() };
    let then = pb::LookupTokenRequest { as_of: occurred(at(999)), ..lookup.clone() };
    let usable = async |r| clients.query.clone().lookup_token(r).await.unwrap().into_inner().tokens[0].usable;
    assert!(usable(then).await);
    assert!(!usable(lookup).await);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_a_receipt_sees_what_it_is_for() {
    let server = Server::start().await;
    let clients = server.clients().await;
    for n in 0..60 {
        let id = format!("bot-{n}");
        let receipt = clients.record(event(&id, created(&id))).await.receipt.unwrap();
        let other = server.clients().await;
        let min_position = Some(receipt.position);
        let request = pb::GetAccountRequest { account: id.clone(), min_position, ..Default::default() };
        let answer = other.query.clone().get_account(request).await.unwrap().into_inner();
        assert!(answer.reflects > receipt.position);
        assert_eq!(answer.account.unwrap().last_event_position, receipt.position);
        // Even without it: an answer reflects what was durable when it was asked for.
        assert_eq!(other.account(&id, None).await.unwrap().handle, id);
    }
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_account_is_shown_as_it_was_and_as_it_is() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record(event("bot-1", created("bot-1"))).await;
    clients.record(event("bot-1", issued("t1"))).await;
    let gone = pb::Event { occurred_at: Some(at(60)), ..event("bot-1", deleted()) };
    let receipt = clients.record(gone).await.receipt.unwrap();
    let now = clients.account("bot-1", None).await.unwrap();
    assert_eq!((now.status(), now.deleted_at), (pb::AccountStatus::Deleted, Some(at(60))));
    let before = clients.account("bot-1", position(receipt.position - 1)).await.unwrap();
    assert_eq!((before.status(), before.deleted_at), (pb::AccountStatus::Live, None));
    assert_eq!(before.tokens[0].status(), pb::TokenStatus::Active);
    let beyond = clients.account("bot-1", position(99)).await.unwrap();
    assert_eq!(beyond.status(), pb::AccountStatus::Deleted);
    server.check().await;
}
