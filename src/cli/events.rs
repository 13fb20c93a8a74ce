//! `events`: what happened, filtered, one by one, or as it happens.

use clap::{Args, Subcommand};
use ledger::entry::Header;
use ledger::event::{Fact, Recorded, stored};
use ledger::types::{LedgerUid, Link, Position, Time};
use prost::Message;
use serde::Serialize;

use super::Global;
use super::connect::{PAGE_MAX, Server};
use super::exit::{Exit, Failure, say};
use super::moment::{time, timestamp, to_the_second};
use super::print::{Printer, Section, Shown, counted};
use crate::json::{EventJson, event_to_json};
use crate::wire::pb;

/// Asks what happened
#[derive(Debug, Args)]
pub struct Events {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Lists events, all that the filters leave
    List(ListEvents),
    /// Shows one event
    Get(Get),
    /// Prints events as they are recorded, until interrupted
    Tail(Tail),
}

#[derive(Debug, Args)]
struct ListEvents {
    /// About this account, by id, or by handle where only one has it
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// By this actor
    #[arg(long, value_name = "ACTOR")]
    actor: Option<String>,
    /// Of this run of a job
    #[arg(long, value_name = "RUN")]
    run: Option<String>,
    /// Of this kind, such as TokenRotated
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// Occurred at or after
    #[arg(long, value_name = "TIME")]
    from: Option<Time>,
    /// Occurred before
    #[arg(long, value_name = "TIME")]
    to: Option<Time>,
    /// About this token
    #[arg(long, value_name = "TOKEN")]
    token: Option<String>,
    /// With this correlation id
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The newest first
    #[arg(long)]
    desc: bool,
    /// Go on where a list with a limit ended
    #[arg(long, value_name = "TOKEN", default_value = "", hide_default_value = true)]
    page_token: String,
}

#[derive(Debug, Args)]
struct Get {
    /// Its position
    #[arg(required_unless_present = "event_id", conflicts_with = "event_id")]
    position: Option<u64>,
    /// Who sent it
    #[arg(long, requires = "event_id")]
    emitter: Option<String>,
    /// Its id
    #[arg(long, value_name = "UUID", requires = "emitter")]
    event_id: Option<String>,
}

#[derive(Debug, Args)]
struct Tail {
    /// The first position that is wanted; without it, only what is recorded from now on
    #[arg(long, value_name = "POSITION")]
    from: Option<u64>,
}

impl Events {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked, or there is no such event.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let server = Server::reach(global).await?;
        match self.question {
            Question::List(question) => question.run(&server, printer).await,
            Question::Get(get) => get.run(&server, printer).await,
            Question::Tail(tail) => tail.run(&server, printer).await,
        }
    }
}

impl ListEvents {
    async fn run(self, server: &Server, printer: &mut Printer) -> Result<Exit, Failure> {
        let filter = pb::EventFilter {
            account: self.account.unwrap_or_default(),
            actor: self.actor.unwrap_or_default(),
            run: self.run.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            from: self.from.map(timestamp),
            to: self.to.map(timestamp),
            token: self.token.unwrap_or_default(),
            correlation_id: self.correlation.unwrap_or_default(),
        };
        let listing = Listing { limit: self.limit, descending: self.desc, page_token: self.page_token };
        list(server, printer, filter, listing).await?;
        Ok(Exit::Done)
    }
}

/// How much of a list is wanted, and in which order.
#[derive(Clone, Debug)]
pub struct Listing {
    /// At most so many; `None`: all.
    pub limit: Option<u64>,
    /// The newest first.
    pub descending: bool,
    /// Where an earlier list ended; empty: from the beginning.
    pub page_token: String,
}

/// Prints the events that a filter leaves, and says how many there were.
///
/// # Errors
/// Where the server cannot be asked.
pub async fn list(
    server: &Server,
    printer: &mut Printer,
    filter: pb::EventFilter,
    listing: Listing,
) -> Result<u64, Failure> {
    let (mut left, mut page_token) = (listing.limit.unwrap_or(u64::MAX), listing.page_token);
    let mut list = printer.list();
    while left > 0 {
        let request = pb::ListEventsRequest {
            ledger: server.ledger(),
            filter: Some(filter.clone()),
            page_size: PAGE_MAX.min(u32::try_from(left).unwrap_or(PAGE_MAX)),
            page_token,
            descending: listing.descending,
            min_position: None,
        };
        let page = server.query().list_events(request).await.map_err(|e| server.failure(e))?.into_inner();
        left = left.saturating_sub(page.events.len() as u64);
        for event in &page.events {
            list.push(&Happened::read(event)?)?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let count = list.end(|count| counted(count, "event"))?;
    if !page_token.is_empty() {
        say(&format!("there are more: the same command with --page-token {page_token}"));
    }
    Ok(count)
}

impl Get {
    async fn run(self, server: &Server, printer: &mut Printer) -> Result<Exit, Failure> {
        let which = match (self.position, self.emitter, self.event_id) {
            (Some(position), ..) => pb::get_event_request::Which::Position(position),
            (None, emitter, event_id) => pb::get_event_request::Which::Key(pb::EventKey {
                emitter: emitter.unwrap_or_default(),
                event_id: event_id.unwrap_or_default(),
            }),
        };
        let request = pb::GetEventRequest { ledger: server.ledger(), which: Some(which) };
        let answer = server.query().get_event(request).await.map_err(|e| server.failure(e))?.into_inner();
        let event = answer.event.ok_or_else(|| Failure::NotFound("there is no such event".to_owned()))?;
        printer.one(&Happened::read(&event)?)?;
        Ok(Exit::Done)
    }
}

impl Tail {
    async fn run(self, server: &Server, printer: &mut Printer) -> Result<Exit, Failure> {
        let from_position = match self.from {
            Some(position) => position,
            None => end_of(server).await?,
        };
        let request = pb::TailEventsRequest { ledger: server.ledger(), from_position, stop_at_end: false };
        let answer = server.query().tail_events(request).await.map_err(|e| server.failure(e))?;
        let mut events = answer.into_inner();
        let mut list = printer.list();
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            let next = tokio::select! {
                _ = &mut interrupted => break,
                next = events.message() => next.map_err(|e| server.failure(e))?,
            };
            let Some(next) = next else { break };
            for event in &next.events {
                list.push(&Happened::read(event)?)?;
            }
            list.flush()?;
        }
        list.end(|_| String::new())?;
        Ok(Exit::Done)
    }
}

/// How many entries the ledger has.
async fn end_of(server: &Server) -> Result<u64, Failure> {
    let request = pb::DescribeLedgerRequest { ledger: server.ledger() };
    let answer = server.admin().describe_ledger(request).await.map_err(|e| server.failure(e))?;
    Ok(answer.into_inner().ledger.map_or(0, |ledger| ledger.entries))
}

/// An event, as it is printed.
#[derive(Debug)]
pub struct Happened {
    /// The event.
    pub recorded: Recorded,
    json: EventJson,
}

impl Happened {
    /// Reads an event out of a message.
    ///
    /// # Errors
    /// Where the message is not what a server sends.
    pub fn read(message: &pb::LedgerEvent) -> Result<Self, Failure> {
        let (recorded, link) = recorded(message).ok_or_else(|| {
            Failure::because("the server's answer holds no event; is it a tokenledger of this version?")
        })?;
        let json = event_to_json(&recorded, &link);
        Ok(Self { recorded, json })
    }
}

fn recorded(message: &pb::LedgerEvent) -> Option<(Recorded, Link)> {
    let event = message.event.as_ref()?;
    let header = Header {
        uid: LedgerUid::default(),
        position: Position(message.position),
        epoch: 0,
        previous: Link::default(),
        recorded_at: time(message.recorded_at.as_ref())?,
        event_id: event.event_id.parse().ok()?,
        emitter: event.emitter.parse().ok()?,
    };
    let link = Link(message.link.as_slice().try_into().ok()?);
    Some((stored(&header, &event.encode_to_vec()), link))
}

impl Serialize for Happened {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.json.serialize(to)
    }
}

impl Shown for Happened {
    const FIELDS: &'static [&'static str] = &[
        "position",
        "event_id",
        "kind",
        "account",
        "actor",
        "actor_kind",
        "occurred_at",
        "recorded_at",
        "emitter",
        "link",
        "cause",
        "data",
        "annotations",
    ];
    const COLUMNS: &'static [&'static str] = &["position", "occurred", "event", "account", "what", "actor"];

    fn row(&self) -> Vec<String> {
        let event = &self.recorded.event;
        vec![
            self.recorded.position.to_string(),
            to_the_second(Some(event.occurred_at)),
            event.fact.kind().name().to_owned(),
            event.account.as_ref().map(ToString::to_string).unwrap_or_default(),
            what(&event.fact),
            event.actor.id.to_string(),
        ]
    }

    fn page(&self) -> Vec<Section> {
        let Recorded { event, annotations, position, recorded_at } = &self.recorded;
        let value = serde_json::to_value(&self.json).unwrap_or_default();
        let json = |name: &str| value.get(name).map(ToString::to_string).unwrap_or_default();
        let broken: Vec<&str> = annotations.violations.iter().map(|v| v.rule.as_str()).collect();
        vec![Section::facts(&[
            ("position", position.to_string()),
            ("event", event.fact.kind().name().to_owned()),
            ("account", event.account.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("actor", event.actor.id.to_string()),
            ("occurred", event.occurred_at.to_string()),
            ("recorded", recorded_at.to_string()),
            ("emitter", event.emitter.to_string()),
            ("id", event.event_id.to_string()),
            ("link", value["link"].as_str().unwrap_or_default().to_owned()),
            ("cause", json("cause")),
            ("data", json("data")),
            ("breaks", broken.join(", ")),
        ])]
    }
}

/// What an event is about, in a few words.
fn what(fact: &Fact) -> String {
    match fact {
        Fact::AccountCreated { handle, .. } | Fact::LegacyImported { handle, .. } => handle.to_string(),
        Fact::TokenIssued(token) => token.token.to_string(),
        Fact::TokenRotated { old, new, .. } => format!("{old} -> {}", new.token),
        Fact::TokenExpired { token }
        | Fact::TokenRevoked { token, .. }
        | Fact::TokenReinstated { token, .. }
        | Fact::TokenUsed { token, .. } => token.to_string(),
        Fact::GrantAdded { grant, access: Some(access), .. } => format!("{grant} {access}"),
        Fact::GrantAdded { grant, .. } | Fact::GrantChanged { grant, .. } | Fact::GrantRemoved { grant } => {
            grant.to_string()
        }
        Fact::ConsumerDeclared { consumer, .. } | Fact::ConsumerReleased { consumer } => consumer.to_string(),
        Fact::RunStarted { run, .. } | Fact::RunFinished { run, .. } => run.to_string(),
        Fact::RequestRefused { refused_kind, .. } => refused_kind.to_string(),
        Fact::RestorePlanned { plan, .. }
        | Fact::RestoreApproved { plan, .. }
        | Fact::RestoreCompleted { plan, .. } => plan.to_string(),
        Fact::DeletionRequested { request, .. }
        | Fact::DeletionApproved { request }
        | Fact::DeletionRejected { request, .. } => request.to_string(),
        Fact::CheckpointOverridden { source, .. } => source.to_string(),
        Fact::OwnershipTransferred { owner: Some(owner) } => format!("to {owner}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::Format;
    use crate::cli::print::tests::{check_json, printed};
    use expect_test::expect;
    use prost_types::Timestamp;

    fn rotated() -> pb::LedgerEvent {
        let never = pb::Expiry { expiry: Some(pb::expiry::Expiry::Never(pb::expiry::Never {})) };
        let new_token = pb::TokenIssued { token: "t-2".into(), expiry: Some(never), ..Default::default() };
        let rotated =
            pb::TokenRotated { old_token: "t-1".into(), new_token: Some(new_token), overlap_until: None };
        let event = pb::Event {
            event_id: "3b241101-e2bb-4255-8caf-4136c566a962".into(),
            emitter: "token-service".into(),
            occurred_at: Some(Timestamp { seconds: 1_725_000_000, nanos: 5_000_000 }),
            actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: "rotation-worker".into() }),
            cause: Some(pb::Cause { run: "rotate/7".into(), ..Default::default() }),
            account: "bot-1".into(),
            fact: Some(pb::event::Fact::TokenRotated(rotated)),
            ..Default::default()
        };
        pb::LedgerEvent {
            position: 7,
            link: vec![0xCD; 32],
            recorded_at: Some(Timestamp { seconds: 1_725_000_001, nanos: 0 }),
            event: Some(event),
        }
    }

    #[test]
    fn the_json_of_an_event_keeps_its_promise() {
        check_json(
            &Happened::read(&rotated()).unwrap(),
            &expect![[r#"
            {"position":7,"event_id":"3b241101-e2bb-4255-8caf-4136c566a962","kind":"TokenRotated","account":"bot-1","actor":"rotation-worker","actor_kind":"automation","occurred_at":"2024-08-30T06:40:00.005Z","recorded_at":"2024-08-30T06:40:01Z","emitter":"token-service","link":"cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd","cause":{"run":"rotate/7"},"data":{"new_token":{"expiry":"never","token":"t-2"},"old_token":"t-1"}}
        "#]],
        );
    }

    #[test]
    fn a_row_says_what_happened_to_whom_by_whom() {
        let shown = printed(Format::Table, |printer| {
            let mut list = printer.list();
            list.push(&Happened::read(&rotated()).unwrap()).unwrap();
            list.end(|count| counted(count, "event")).unwrap();
        });
        expect![[r#"
            POSITION  OCCURRED              EVENT         ACCOUNT  WHAT        ACTOR
            7         2024-08-30T06:40:00Z  TokenRotated  bot-1    t-1 -> t-2  rotation-worker
            1 event
        "#]]
        .assert_eq(&shown);
    }

    #[test]
    fn an_answer_that_holds_no_event_is_no_panic() {
        for broken in [
            pb::LedgerEvent { event: None, ..rotated() },
            pb::LedgerEvent { link: vec![1; 31], ..rotated() },
            pb::LedgerEvent { recorded_at: None, ..rotated() },
        ] {
            assert!(Happened::read(&broken).is_err());
        }
    }
}
