//! `deletions`: what was deleted, by whom, and what went with it.

use clap::{Args, Subcommand};
use ledger::types::Time;
use serde::Serialize;

use super::Global;
use super::account::status_name;
use super::connect::{DEFAULT_SERVER, PAGE_MAX, Server};
use super::exit::{Exit, Failure};
use super::moment::{in_full, timestamp};
use super::print::{Printer, Shown, counted};
use super::token::some;
use crate::wire::pb;

/// Asks about deletions of accounts
#[derive(Debug, Args)]
pub struct Deletions {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Lists deletions with the tokens that were active just before
    Find(Find),
}

#[derive(Debug, Args)]
struct Find {
    #[command(flatten)]
    filter: Filter,
}

/// Which deletions.
#[derive(Clone, Debug, Default, Args)]
pub struct Filter {
    /// Of this run of a job
    #[arg(long, value_name = "RUN")]
    pub run: Option<String>,
    /// By this actor
    #[arg(long, value_name = "ACTOR")]
    pub actor: Option<String>,
    /// Occurred at or after
    #[arg(long, value_name = "TIME")]
    pub from: Option<Time>,
    /// Occurred before
    #[arg(long, value_name = "TIME")]
    pub to: Option<Time>,
}

impl Filter {
    /// Whether it leaves every deletion.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.run.is_none() && self.actor.is_none() && self.from.is_none() && self.to.is_none()
    }

    /// The flags that say the same.
    fn flags(&self) -> String {
        let named =
            |name: &str, value: Option<String>| value.map(|value| format!(" --{name} {}", quoted(&value)));
        let times = [("from", self.from), ("to", self.to)];
        [named("run", self.run.clone()), named("actor", self.actor.clone())]
            .into_iter()
            .chain(times.map(|(name, time)| named(name, time.map(|time| time.to_string()))))
            .flatten()
            .collect()
    }
}

/// A word as a shell takes it.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:@%+=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The flags that name the same server and ledger; nothing where they are the usual ones.
#[must_use]
pub fn same_place(global: &Global) -> String {
    let mut flags = String::new();
    if global.server != DEFAULT_SERVER {
        flags = format!(" --server {}", quoted(&global.server));
    }
    if global.ledger.as_str() != "default" {
        flags = format!("{flags} --ledger {}", global.ledger);
    }
    flags
}

impl Deletions {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let Question::Find(find) = self.question;
        let server = Server::reach(global).await?;
        let mut search = Search::new(&server, &find.filter);
        let (mut hit, mut gone) = (0, 0);
        let mut list = printer.list();
        while let Some(page) = search.next_page().await? {
            for deletion in page.into_iter().map(Deletion::from) {
                hit += u64::from(deletion.active_tokens > 0);
                gone += u64::from(deletion.active_tokens > 0 && deletion.status_now == "deleted");
                list.push(&deletion)?;
            }
        }
        let count = list
            .end(|count| format!("{}, {hit} of accounts with active tokens", counted(count, "deletion")))?;
        if gone > 0 {
            let flags = if find.filter.is_empty() { " ACCOUNT...".to_owned() } else { find.filter.flags() };
            printer.hint(&format!("next: tokenledger restore plan{flags}{}", same_place(global)));
        } else if count > 0 {
            printer.hint("nothing to restore: no account with active tokens is gone");
        }
        Ok(Exit::Done)
    }
}

/// Deletions, page by page.
pub struct Search<'a> {
    server: &'a Server,
    request: Option<pb::FindDeletionsRequest>,
}

impl<'a> Search<'a> {
    /// From the first one on.
    #[must_use]
    pub fn new(server: &'a Server, filter: &Filter) -> Self {
        let request = pb::FindDeletionsRequest {
            ledger: server.ledger(),
            run: filter.run.clone().unwrap_or_default(),
            actor: filter.actor.clone().unwrap_or_default(),
            from: filter.from.map(timestamp),
            to: filter.to.map(timestamp),
            page_size: PAGE_MAX,
            page_token: String::new(),
            min_position: None,
        };
        Self { server, request: Some(request) }
    }

    /// The next page; `None` behind the last one.
    ///
    /// # Errors
    /// Where the server cannot be asked.
    pub async fn next_page(&mut self) -> Result<Option<Vec<pb::DeletionSummary>>, Failure> {
        let Some(request) = self.request.take() else { return Ok(None) };
        let asked = self.server.query().find_deletions(request.clone()).await;
        let page = asked.map_err(|e| self.server.failure(e))?.into_inner();
        let more = !page.next_page_token.is_empty();
        self.request =
            more.then_some(pb::FindDeletionsRequest { page_token: page.next_page_token, ..request });
        Ok(Some(page.deletions))
    }
}

/// A deletion, as it is printed.
#[derive(Debug, Serialize)]
pub struct Deletion {
    account: String,
    position: u64,
    actor: String,
    active_tokens: u64,
    tokens: Vec<String>,
    actor_kind: &'static str,
    handle: String,
    occurred_at: Option<String>,
    run: Option<String>,
    request: Option<String>,
    reason: Option<String>,
    correlation_id: Option<String>,
    namespace: Option<String>,
    owner: Option<String>,
    grants: Vec<String>,
    digest_before: String,
    status_now: &'static str,
}

impl From<pb::DeletionSummary> for Deletion {
    fn from(deletion: pb::DeletionSummary) -> Self {
        let status_now = status_name(deletion.status_now());
        let actor = deletion.actor.unwrap_or_default();
        let cause = deletion.cause.unwrap_or_default();
        Self {
            account: deletion.account,
            position: deletion.position,
            actor_kind: actor_kind_name(actor.kind()),
            actor: actor.id,
            active_tokens: deletion.active_tokens.len() as u64,
            tokens: deletion.active_tokens,
            handle: deletion.handle,
            occurred_at: in_full(deletion.occurred_at.as_ref()),
            run: some(cause.run),
            request: some(cause.request),
            reason: some(cause.reason),
            correlation_id: some(cause.correlation_id),
            namespace: some(deletion.namespace),
            owner: some(deletion.owner),
            grants: deletion.grants,
            digest_before: hex::encode(deletion.digest_before),
            status_now,
        }
    }
}

fn actor_kind_name(kind: pb::ActorKind) -> &'static str {
    match kind {
        pb::ActorKind::Unspecified => "unknown",
        pb::ActorKind::Human => "human",
        pb::ActorKind::Automation => "automation",
    }
}

impl Shown for Deletion {
    const FIELDS: &'static [&'static str] = &[
        "account",
        "position",
        "actor",
        "active_tokens",
        "tokens",
        "actor_kind",
        "handle",
        "occurred_at",
        "run",
        "reason",
        "namespace",
        "owner",
        "grants",
        "digest_before",
        "status_now",
    ];
    const COLUMNS: &'static [&'static str] =
        &["account", "active tokens", "now", "namespace", "owner", "deleted", "actor"];

    fn row(&self) -> Vec<String> {
        let occurred = self.occurred_at.as_deref().and_then(|time| time.parse().ok());
        vec![
            self.account.clone(),
            self.active_tokens.to_string(),
            self.status_now.to_owned(),
            self.namespace.clone().unwrap_or_default(),
            self.owner.clone().unwrap_or_default(),
            super::moment::to_the_second(occurred),
            self.actor.clone(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::tests::{check_json, check_page};
    use expect_test::expect;

    fn deletion() -> pb::DeletionSummary {
        pb::DeletionSummary {
            account: "bot-17".into(),
            handle: "deploy".into(),
            position: 1_204,
            occurred_at: Some(prost_types::Timestamp { seconds: 1_726_012_800, nanos: 0 }),
            actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: "cleanup".into() }),
            cause: Some(pb::Cause { run: "cleanup/7".into(), ..Default::default() }),
            namespace: "acme".into(),
            owner: "team-a".into(),
            active_tokens: vec!["t-2".into()],
            grants: vec!["group/9".into()],
            digest_before: vec![0x0F; 32],
            status_now: pb::AccountStatus::Deleted.into(),
        }
    }

    #[test]
    fn the_json_of_a_deletion_keeps_its_promise() {
        check_json(
            &Deletion::from(deletion()),
            &expect![[r#"
            {"account":"bot-17","position":1204,"actor":"cleanup","active_tokens":1,"tokens":["t-2"],"actor_kind":"automation","handle":"deploy","occurred_at":"2024-09-11T00:00:00Z","run":"cleanup/7","request":null,"reason":null,"correlation_id":null,"namespace":"acme","owner":"team-a","grants":["group/9"],"digest_before":"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f","status_now":"deleted"}
        "#]],
        );
    }

    #[test]
    fn a_row_begins_with_who_is_hit() {
        check_page(
            &Deletion::from(deletion()),
            &expect![[r#"
            ACCOUNT  ACTIVE TOKENS  NOW      NAMESPACE  OWNER   DELETED               ACTOR
            bot-17   1              deleted  acme       team-a  2024-09-11T00:00:00Z  cleanup
        "#]],
        );
    }

    #[test]
    fn the_next_step_says_the_same_filter_and_survives_a_shell() {
        let filter = Filter {
            run: Some("night run; rm -rf".into()),
            actor: Some("o'brien".into()),
            from: Some(Time(0)),
            to: None,
        };
        assert_eq!(
            filter.flags(),
            r" --run 'night run; rm -rf' --actor 'o'\''brien' --from 1970-01-01T00:00:00Z"
        );
    }
}
