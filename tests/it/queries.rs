use tokenledger::wire::pb;
use tonic::Code;

use crate::harness::{Clients, Dice, Server, at, created, deleted, event, fold, issued, story, token};

fn nanos(time: &prost_types::Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

/// The tokens that an event names.
fn tokens(event: &pb::Event) -> Vec<&str> {
    match event.fact.as_ref().unwrap() {
        pb::event::Fact::TokenIssued(t) => vec![&t.token],
        pb::event::Fact::TokenRevoked(t) => vec![&t.token],
        pb::event::Fact::TokenUsed(t) => vec![&t.token],
        _ => vec![],
    }
}

fn kind(event: &pb::Event) -> &'static str {
    match event.fact.as_ref().unwrap() {
        pb::event::Fact::LedgerCreated(_) => "LedgerCreated",
        pb::event::Fact::AccountCreated(_) => "AccountCreated",
        pb::event::Fact::AccountDeleted(_) => "AccountDeleted",
        pb::event::Fact::TokenIssued(_) => "TokenIssued",
        pb::event::Fact::TokenRevoked(_) => "TokenRevoked",
        pb::event::Fact::TokenUsed(_) => "TokenUsed",
        pb::event::Fact::GrantAdded(_) => "GrantAdded",
        other => panic!("{other:?}"),
    }
}

/// Whether an event passes a filter: what the API says, event by event.
fn passes(filter: &pb::EventFilter, served: &pb::LedgerEvent) -> bool {
    let event = served.event.as_ref().unwrap();
    let cause = event.cause.clone().unwrap_or_default();
    let is = |wanted: &str, found: &str| wanted.is_empty() || wanted == found;
    let occurred = nanos(event.occurred_at.as_ref().unwrap());
    is(&filter.account, &event.account)
        && is(&filter.actor, &event.actor.as_ref().unwrap().id)
        && is(&filter.run, &cause.run)
        && is(&filter.correlation_id, &cause.correlation_id)
        && is(&filter.kind, kind(event))
        && (filter.token.is_empty() || tokens(event).contains(&filter.token.as_str()))
        && filter.from.as_ref().is_none_or(|from| occurred >= nanos(from))
        && filter.to.as_ref().is_none_or(|to| occurred < nanos(to))
}

fn some_filter(dice: &mut Dice) -> pb::EventFilter {
    let mut filter = pb::EventFilter::default();
    for _ in 0..dice.below(4) {
        let moment = at(i64::try_from(dice.below(41 * 86_400)).unwrap());
        match dice.below(9) {
            0 => filter.account = format!("id-{}", dice.below(7)),
            1 => filter.actor = format!("actor-{}", dice.below(4)),
            2 => filter.run = format!("run-{}", dice.below(4)),
            3 => filter.kind = dice.pick(&["TokenIssued", "AccountDeleted", "RunStarted", "GrantAdded"]).to_string(),
            4 => filter.token = format!("t{}", dice.below(9)),
            5 => filter.correlation_id = format!("corr-{}", dice.below(4)),
            6 => filter.from = Some(moment),
            7 => filter.to = Some(moment),
            _ => {
                // A short span, at whole hours and just beside them.
                let hour = i64::try_from(dice.below(40 * 24)).unwrap() * 3600;
                filter.from = Some(at(hour - i64::try_from(dice.below(2)).unwrap()));
                let hours = i64::try_from(dice.below(30)).unwrap();
                filter.to = Some(at(hour + 3600 * hours + i64::try_from(dice.below(2)).unwrap()));
            }
        }
    }
    filter
}

async fn pages(
    clients: &Clients,
    filter: &pb::EventFilter,
    page_size: u32,
    descending: bool,
) -> Vec<pb::LedgerEvent> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let filter = Some(filter.clone());
        let request =
            pb::ListEventsRequest { filter, page_size, page_token, descending, ..Default::default() };
        let page = clients.query.clone().list_events(request).await.unwrap().into_inner();
        assert!(page.events.len() <= page_size as usize);
        all.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_finds_what_a_walk_over_the_log_finds() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record_all(&story(11, 700)).await;
    let all = clients.export().await;
    assert_eq!(all.len(), 701);
    let mut dice = Dice::new(12);
    let mut found = 0;
    for round in 0..150 {
        let filter = some_filter(&mut dice);
        let descending = dice.below(2) == 1;
        let page_size = *dice.pick(&[1, 7, 64, 1000]);
        let mut expected: Vec<_> = all.iter().filter(|event| passes(&filter, event)).cloned().collect();
        if expected.len() > 100 && page_size == 1 {
            continue;
        }
        if descending {
            expected.reverse();
        }
        let listed = pages(&clients, &filter, page_size, descending).await;
        assert_eq!(listed, expected, "round {round}: {filter:?}, {page_size} a page, descending {descending}");
        found += expected.len();
    }
    assert!(found > 2_000, "the filters found something: {found}");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_are_those_that_took_an_account_away() {
    let server = Server::start().await;
    let clients = server.clients().await;
    for (account, fact) in [
        ("bot-1", created("one")),
        ("bot-1", issued("t1")),
        ("bot-1", issued("t2")),
        ("bot-2", created("two")),
        ("bot-1", deleted()),
        ("bot-1", deleted()),
        ("bot-2", deleted()),
    ] {
        let mut event = event(account, fact);
        event.cause = Some(pb::Cause { run: format!("run-{account}"), ..Default::default() });
        clients.record(event).await;
    }
    let find = |run: &str, page_size, page_token| {
        let request =
            pb::FindDeletionsRequest { run: run.into(), page_size, page_token, ..Default::default() };
        let mut query = clients.query.clone();
        async move { query.find_deletions(request).await.unwrap().into_inner() }
    };
    let all = find("", 10, String::new()).await.deletions;
    let summary: Vec<_> = all.iter().map(|d| (d.account.as_str(), d.position, d.active_tokens.clone())).collect();
    let two = vec!["t1".to_owned(), "t2".to_owned()];
    assert_eq!(summary, [("bot-1", 5, two), ("bot-2", 7, vec![])]);
    assert_eq!(all[0].status_now, pb::AccountStatus::Deleted as i32);
    let first = find("", 1, String::new()).await;
    assert_eq!(first.deletions, all[..1]);
    let mut rest = Vec::new();
    let mut page_token = first.next_page_token;
    while !page_token.is_empty() {
        let page = find("", 1, page_token).await;
        rest.extend(page.deletions);
        page_token = page.next_page_token;
    }
    assert_eq!(rest, all[1..]);
    assert_eq!(find("run-bot-2", 10, String::new()).await.deletions, all[1..]);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_serves_its_own_query_only() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record_all(&story(3, 50)).await;
    let request = pb::ListEventsRequest { page_size: 5, ..Default::default() };
    let mut query = clients.query.clone();
    let token = query.list_events(request.clone()).await.unwrap().into_inner().next_page_token;
    let filter = Some(pb::EventFilter { actor: "actor-1".into(), ..Default::default() });
    let others = [
        pb::ListEventsRequest { filter, ..request.clone() },
        pb::ListEventsRequest { descending: true, ..request.clone() },
    ];
    for other in others {
        let asked = pb::ListEventsRequest { page_token: token.clone(), ..other };
        assert_eq!(query.list_events(asked).await.unwrap_err().code(), Code::InvalidArgument);
    }
    let accounts = pb::ListAccountsRequest { page_token: token.clone(), ..Default::default() };
    assert_eq!(query.list_accounts(accounts).await.unwrap_err().code(), Code::InvalidArgument);
    let larger = pb::ListEventsRequest { page_token: token, page_size: 100, ..request };
    assert_eq!(query.list_events(larger).await.unwrap().into_inner().events[0].position, 5);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_are_listed_by_id_page_by_page() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let ids: Vec<String> = (0..25).map(|n| format!("team-{}/bot-{n:02}", n % 2)).collect();
    for id in &ids {
        clients.record(event(id, created(id))).await;
    }
    for prefix in ["", "team-1/", "team-1/bot-0", "none"] {
        let mut expected: Vec<&str> = ids.iter().filter(|id| id.starts_with(prefix)).map(|id| id.as_str()).collect();
        expected.sort_unstable();
        let (mut listed, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListAccountsRequest { prefix: prefix.into(), page_size: 4, page_token, ..Default::default() };
            let page = clients.query.clone().list_accounts(request).await.unwrap().into_inner();
            listed.extend(page.accounts);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        let names: Vec<&str> = listed.iter().map(|a| a.account.as_str()).collect();
        assert_eq!(names, expected, "{prefix}");
        for account in listed.iter().take(3) {
            assert_eq!(clients.account(&account.account, None).await.unwrap().digest, account.digest);
        }
    }
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_found_by_its_handle_where_only_one_has_it() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let elsewhere = |mut fact: pb::event::Fact| {
        if let pb::event::Fact::AccountCreated(created) = &mut fact {
            created.namespace = "elsewhere".into();
        }
        fact
    };
    clients.record(event("id-1", created("ci"))).await;
    assert_eq!(clients.account("ci", None).await.unwrap().account, "id-1");
    clients.record(event("id-2", elsewhere(created("ci")))).await;
    let ambiguous = clients.account("ci", None).await.unwrap_err();
    assert_eq!(ambiguous.code(), Code::FailedPrecondition);
    assert!(ambiguous.message().contains("id-1") && ambiguous.message().contains("id-2"), "{ambiguous}");
    clients.record(event("id-1", deleted())).await;
    assert_eq!(clients.account("ci", None).await.unwrap().account, "id-2", "the one that is there");
    let filter = |account: &str| pb::EventFilter { account: account.into(), ..Default::default() };
    assert_eq!(clients.events(filter("ci")).await, clients.events(filter("id-2")).await);
    let renamed = pb::AccountUpdated { handle: Some("new".into()), ..Default::default() };
    clients.record(event("id-2", pb::event::Fact::AccountUpdated(renamed))).await;
    assert_eq!(clients.account("new", None).await.unwrap().account, "id-2");
    assert_eq!(clients.account("ci", None).await.unwrap().account, "id-1", "who had it last");
    clients.record(event("ci", created("other"))).await;
    assert_eq!(clients.account("ci", None).await.unwrap().account, "ci", "an id goes before a handle");
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_and_receipts_are_found_by_their_key() {
    let server = Server::start().await;
    let clients = server.clients().await;
    let sent = event("bot-1", created("bot-1"));
    let receipt = clients.record(sent.clone()).await.receipt.unwrap();
    let key = |emitter: &str, event_id: &str| pb::EventKey { emitter: emitter.into(), event_id: event_id.into() };
    let find = |key| {
        let mut query = clients.query.clone();
        let which = Some(pb::get_event_request::Which::Key(key));
        async move { query.get_event(pb::GetEventRequest { which, ..Default::default() }).await }
    };
    let found = find(key("tests", &sent.event_id)).await.unwrap().into_inner().event.unwrap();
    assert_eq!((found.position, &found.link), (receipt.position, &receipt.link));
    assert_eq!(found.event.unwrap(), sent);
    let request = pb::GetReceiptRequest { key: Some(key("tests", &sent.event_id)), ..Default::default() };
    let again = clients.query.clone().get_receipt(request).await.unwrap().into_inner().receipt.unwrap();
    assert_eq!(again, receipt);
    let other = find(key("others", &sent.event_id)).await.unwrap_err();
    assert_eq!(other.code(), Code::NotFound, "an id is one of its emitter");
    let none = uuid::Uuid::new_v4().to_string();
    assert_eq!(find(key("tests", &none)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(find(key("tests", "x")).await.unwrap_err().code(), Code::InvalidArgument);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_found_by_its_id_and_by_its_digest() {
    let server = Server::start().await;
    let clients = server.clients().await;
    for account in ["bot-1", "bot-2"] {
        clients.record(event(account, created(account))).await;
    }
    clients.record(event("bot-1", issued("same"))).await;
    let mut other = token("same");
    other.digest = token("other").digest;
    clients.record(event("bot-2", pb::event::Fact::TokenIssued(other.clone()))).await;
    let lookup = |digest: String| {
        let mut query = clients.query.clone();
        async move { query.lookup_token(pb::LookupTokenRequest { digest, ..Default::default() }).await }
    };
    let found = lookup(other.digest).await.unwrap().into_inner().tokens;
    assert_eq!((found.len(), found[0].account.as_str(), found[0].usable), (1, "bot-2", true));
    assert_eq!(lookup(token("none").digest).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(lookup("plain".into()).await.unwrap_err().code(), Code::InvalidArgument);
    let get = |account: &str| {
        let (mut query, account) = (clients.query.clone(), account.to_owned());
        let request = pb::GetTokenRequest { token: "same".into(), account, ..Default::default() };
        async move { query.get_token(request).await.unwrap().into_inner().tokens }
    };
    assert_eq!(get("").await.len(), 2);
    assert_eq!(get("bot-1").await[0].account, "bot-1");
    clients.record(event("bot-1", deleted())).await;
    let gone = lookup(token("same").digest).await.unwrap().into_inner().tokens;
    assert!(!gone[0].usable, "a token of a deleted account works no more: {gone:?}");
    assert_eq!(gone[0].account_status, pb::AccountStatus::Deleted as i32);
    server.check().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_at_a_position_is_that_of_the_events_up_to_it() {
    let server = Server::start().await;
    let clients = server.clients().await;
    clients.record_all(&story(21, 120)).await;
    let all = clients.export().await;
    for position in [0, 1, 2, 17, 60, 119, 120] {
        let root = clients.root(Some(position)).await;
        let upto = &all[..=usize::try_from(position).unwrap()];
        let state = fold(upto);
        assert_eq!(root.root, state.root().0, "at {position}");
        assert_eq!((root.entries, root.accounts), (position + 1, state.accounts() as u64));
    }
    assert_eq!(clients.root(None).await, clients.root(Some(120)).await);
    server.check().await;
}
