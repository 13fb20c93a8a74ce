//! `account`: an account at any moment of its life, all of them, and the history of one.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use ledger::types::Time;
use serde::Serialize;

use super::Global;
use super::connect::{PAGE_MAX, Server};
use super::events::{self, Listing};
use super::exit::{Exit, Failure};
use super::moment::{Moment, as_of, in_full};
use super::print::{Printer, Section, Shown, counted};
use super::token::{Token, some};
use crate::wire::pb;

/// Asks about accounts
#[derive(Debug, Args)]
pub struct Accounts {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Shows an account, now or as of a moment
    Show(Show),
    /// Lists the accounts as they are now
    List(ListAccounts),
    /// Lists what happened to an account
    History(History),
}

#[derive(Debug, Args)]
struct Show {
    /// The account, by id, or by handle where only one has it
    account: String,
    /// After this position, or with what had occurred by this time
    #[arg(long, value_name = "TIME|POSITION")]
    at: Option<Moment>,
    /// Only with what had been recorded by then
    #[arg(long, value_name = "TIME")]
    known_at: Option<Time>,
}

#[derive(Debug, Args)]
struct ListAccounts {
    /// Only those whose id begins with this
    #[arg(long, default_value = "")]
    prefix: String,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Debug, Args)]
struct History {
    /// The account, by id, or by handle where only one has it
    account: String,
    /// At most so many events
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// The newest first
    #[arg(long)]
    desc: bool,
}

impl Accounts {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked, or the account never existed then.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let server = Server::reach(global).await?;
        match self.question {
            Question::Show(show) => show.run(&server, printer).await,
            Question::List(list) => list.run(&server, printer).await,
            Question::History(history) => history.run(&server, printer).await,
        }
    }
}

impl Show {
    async fn run(self, server: &Server, printer: &mut Printer) -> Result<Exit, Failure> {
        let request = pb::GetAccountRequest {
            ledger: server.ledger(),
            account: self.account,
            as_of: as_of(self.at, self.known_at),
            min_position: None,
        };
        let answer = server.query().get_account(request).await.map_err(|e| server.failure(e))?.into_inner();
        let account =
            answer.account.ok_or_else(|| Failure::NotFound("there was no such account".to_owned()))?;
        printer.one(&Account::from(account))?;
        Ok(Exit::Done)
    }
}

impl ListAccounts {
    async fn run(self, server: &Server, printer: &mut Printer) -> Result<Exit, Failure> {
        let (mut left, mut page_token) = (self.limit.unwrap_or(u64::MAX), String::new());
        let mut list = printer.list();
        while left > 0 {
            let request = pb::ListAccountsRequest {
                ledger: server.ledger(),
                prefix: self.prefix.clone(),
                page_size: PAGE_MAX.min(u32::try_from(left).unwrap_or(PAGE_MAX)),
                page_token,
                min_position: None,
            };
            let page =
                server.query().list_accounts(request).await.map_err(|e| server.failure(e))?.into_inner();
            for account in page.accounts {
                list.push(&Account::from(account))?;
                left -= 1;
            }
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        list.end(|count| counted(count, "account"))?;
        Ok(Exit::Done)
    }
}

impl History {
    async fn run(self, server: &Server, printer: &mut Printer) -> Result<Exit, Failure> {
        let filter = pb::EventFilter { account: self.account, ..Default::default() };
        let listing = Listing { limit: self.limit, descending: self.desc, page_token: String::new() };
        match events::list(server, printer, filter, listing).await? {
            0 => Err(Failure::NotFound("the ledger knows of no such account".to_owned())),
            _ => Ok(Exit::Done),
        }
    }
}

/// An account, as it is printed.
#[derive(Debug, Serialize)]
pub struct Account {
    account: String,
    handle: String,
    status: &'static str,
    position: u64,
    digest: String,
    tokens: Vec<Token>,
    grants: Vec<Grant>,
    kind: &'static str,
    incarnation: u32,
    owner: Option<String>,
    namespace: Option<String>,
    environment: Option<String>,
    protected: bool,
    attributes: BTreeMap<String, String>,
    consumers: Vec<Consumer>,
    version: u64,
    created_at: Option<String>,
    deleted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete_from: Option<u64>,
}

/// A grant, as it is printed.
#[derive(Debug, Serialize)]
struct Grant {
    grant: String,
    resource: Option<String>,
    access: Option<String>,
    expires_at: Option<String>,
}

/// A component that uses the account, as it is printed.
#[derive(Debug, Serialize)]
struct Consumer {
    consumer: String,
    component: Option<String>,
    location: Option<String>,
    environment: Option<String>,
    token: Option<String>,
}

impl From<pb::Account> for Account {
    fn from(account: pb::Account) -> Self {
        Self {
            status: status_name(account.status()),
            kind: kind_name(account.kind()),
            account: account.account,
            handle: account.handle,
            position: account.position,
            digest: hex::encode(account.digest),
            tokens: account.tokens.into_iter().map(Token::from).collect(),
            grants: account.grants.into_iter().map(Grant::from).collect(),
            incarnation: account.incarnation,
            owner: some(account.owner),
            namespace: some(account.namespace),
            environment: some(account.environment),
            protected: account.protected,
            attributes: account.attributes,
            consumers: account.consumers.into_iter().map(Consumer::from).collect(),
            version: account.version,
            created_at: in_full(account.created_at.as_ref()),
            deleted_at: in_full(account.deleted_at.as_ref()),
            incomplete_from: account.incomplete_from,
        }
    }
}

impl From<pb::Grant> for Grant {
    fn from(grant: pb::Grant) -> Self {
        let expires_at = in_full(grant.expires_at.as_ref());
        Self { grant: grant.grant, resource: some(grant.resource), access: some(grant.access), expires_at }
    }
}

impl From<pb::Consumer> for Consumer {
    fn from(consumer: pb::Consumer) -> Self {
        Self {
            consumer: consumer.consumer,
            component: some(consumer.component),
            location: some(consumer.location),
            environment: some(consumer.environment),
            token: some(consumer.token),
        }
    }
}

/// The word for whether an account is there.
#[must_use]
pub fn status_name(status: pb::AccountStatus) -> &'static str {
    match status {
        pb::AccountStatus::Unspecified => "unknown",
        pb::AccountStatus::Live => "live",
        pb::AccountStatus::Disabled => "disabled",
        pb::AccountStatus::Deleted => "deleted",
    }
}

fn kind_name(kind: pb::AccountKind) -> &'static str {
    match kind {
        pb::AccountKind::Unspecified => "unknown",
        pb::AccountKind::Bot => "bot",
        pb::AccountKind::Service => "service",
        pb::AccountKind::Human => "human",
    }
}

impl Account {
    fn facts(&self) -> Section {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let attributes: Vec<String> =
            self.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        Section::facts(&[
            ("account", self.account.clone()),
            ("status", self.status.to_owned()),
            ("handle", self.handle.clone()),
            ("kind", self.kind.to_owned()),
            ("owner", text(&self.owner)),
            ("namespace", text(&self.namespace)),
            ("environment", text(&self.environment)),
            ("protected", if self.protected { "yes".to_owned() } else { String::new() }),
            ("attributes", attributes.join(" ")),
            ("created", text(&self.created_at)),
            ("deleted", text(&self.deleted_at)),
            ("life", if self.incarnation > 1 { self.incarnation.to_string() } else { String::new() }),
            ("position", self.position.to_string()),
            ("digest", self.digest.clone()),
        ])
    }
}

fn section(title: String, columns: &'static [&'static str], rows: Vec<Vec<String>>) -> Vec<Section> {
    if rows.is_empty() { Vec::new() } else { vec![Section { title: format!("\n{title}"), columns, rows }] }
}

impl Shown for Account {
    const FIELDS: &'static [&'static str] = &[
        "account",
        "handle",
        "status",
        "position",
        "digest",
        "tokens",
        "grants",
        "kind",
        "incarnation",
        "owner",
        "namespace",
        "environment",
        "protected",
        "version",
        "created_at",
        "deleted_at",
    ];
    const COLUMNS: &'static [&'static str] =
        &["account", "status", "handle", "active tokens", "grants", "owner"];

    fn row(&self) -> Vec<String> {
        let active = self.tokens.iter().filter(|token| token.is_active()).count();
        vec![
            self.account.clone(),
            self.status.to_owned(),
            self.handle.clone(),
            active.to_string(),
            self.grants.len().to_string(),
            self.owner.clone().unwrap_or_default(),
        ]
    }

    fn page(&self) -> Vec<Section> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let tokens = self.tokens.iter().map(Token::row).collect();
        let grants = self.grants.iter().map(|grant| {
            vec![grant.grant.clone(), text(&grant.access), text(&grant.resource), text(&grant.expires_at)]
        });
        let consumers = self.consumers.iter().map(|consumer| {
            vec![
                consumer.consumer.clone(),
                text(&consumer.component),
                text(&consumer.location),
                text(&consumer.token),
            ]
        });
        let mut page = vec![self.facts()];
        page.extend(section(counted(self.tokens.len() as u64, "token"), Token::COLUMNS, tokens));
        let columns = &["grant", "access", "resource", "expires"];
        page.extend(section(counted(self.grants.len() as u64, "grant"), columns, grants.collect()));
        let columns = &["consumer", "component", "location", "token"];
        page.extend(section(counted(self.consumers.len() as u64, "consumer"), columns, consumers.collect()));
        if let Some(from) = self.incomplete_from {
            page.push(Section::line(format!(
                "incomplete: events from position {from} on are newer than the server"
            )));
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::tests::{check_json, check_page};
    use expect_test::expect;
    use pb::expiry::Expiry;
    use prost_types::Timestamp;

    fn account() -> pb::Account {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let digest = format!("sha256:{}", "ab".repeat(32));
        let active = pb::Token {
            token: "t-2".into(),
            status: pb::TokenStatus::Active.into(),
            digest,
            scopes: vec!["api".into()],
            expiry: Some(pb::Expiry {
                expiry: Some(Expiry::At(Timestamp { seconds: 2_000_000_000, nanos: 0 })),
            }),
            family: "t-1".into(),
            issued_at: at(1_700_000_000),
            ..Default::default()
        };
        let revoked = pb::Token {
            token: "t-1".into(),
            status: pb::TokenStatus::Revoked.into(),
            expiry: Some(pb::Expiry { expiry: Some(Expiry::Never(pb::expiry::Never {})) }),
            family: "t-1".into(),
            revoked_at: at(1_700_000_000),
            revocation_reason: pb::RevocationReason::Superseded.into(),
            replaced_by: "t-2".into(),
            ..Default::default()
        };
        let grant = pb::Grant { grant: "group/9".into(), access: "maintainer".into(), ..Default::default() };
        pb::Account {
            account: "bot-1".into(),
            handle: "deploy".into(),
            kind: pb::AccountKind::Bot.into(),
            status: pb::AccountStatus::Live.into(),
            incarnation: 1,
            owner: "team-a".into(),
            tokens: vec![revoked, active],
            grants: vec![grant],
            digest: vec![0xAB; 32],
            version: 4,
            position: 17,
            created_at: at(1_600_000_000),
            ..Default::default()
        }
    }

    #[test]
    fn the_json_of_an_account_keeps_its_promise() {
        check_json(
            &Account::from(account()),
            &expect![[r#"
            {"account":"bot-1","handle":"deploy","status":"live","position":17,"digest":"abababababababababababababababababababababababababababababababab","tokens":[{"token":"t-1","status":"revoked","digest":null,"expiry":"never","family":"t-1","scopes":[],"issued_at":null,"last_used_at":null,"revoked_at":"2023-11-14T22:13:20Z","revocation_reason":"superseded","leaked":false,"replaced_by":"t-2"},{"token":"t-2","status":"active","digest":"sha256:abababababababababababababababababababababababababababababababab","expiry":"2033-05-18T03:33:20Z","family":"t-1","scopes":["api"],"issued_at":"2023-11-14T22:13:20Z","last_used_at":null,"revoked_at":null,"revocation_reason":null,"leaked":false,"replaced_by":null}],"grants":[{"grant":"group/9","resource":null,"access":"maintainer","expires_at":null}],"kind":"bot","incarnation":1,"owner":"team-a","namespace":null,"environment":null,"protected":false,"attributes":{},"consumers":[],"version":4,"created_at":"2020-09-13T12:26:40Z","deleted_at":null}
        "#]],
        );
    }

    #[test]
    fn people_see_tokens_and_grants_below_the_account() {
        check_page(
            &Account::from(account()),
            &expect![[r#"
            account   bot-1
            status    live
            handle    deploy
            kind      bot
            owner     team-a
            created   2020-09-13T12:26:40Z
            position  17
            digest    abababababababababababababababababababababababababababababababab

            2 tokens
            TOKEN  STATUS   EXPIRY                SCOPES  REVOKED               REPLACED BY
            t-1    revoked  never                         2023-11-14T22:13:20Z  t-2
            t-2    active   2033-05-18T03:33:20Z  api

            1 grant
            GRANT    ACCESS      RESOURCE  EXPIRES
            group/9  maintainer
        "#]],
        );
    }
}
