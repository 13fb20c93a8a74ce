//! `token`: one token, by its id or by the digest of its secret.

use clap::{Args, Subcommand};
use ledger::types::Time;
use serde::Serialize;

use super::Global;
use super::account::status_name as account_status_name;
use super::connect::Server;
use super::exit::{Exit, Failure};
use super::moment::{self, Moment, as_of, in_full};
use super::print::{Printer, Shown, counted};
use crate::wire::pb;

/// Asks about tokens
#[derive(Debug, Args)]
pub struct Tokens {
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// Shows a token by its id
    Show(Show),
    /// Says whose token has this digest, and whether it works
    Lookup(Lookup),
}

#[derive(Debug, Args)]
struct Show {
    /// The token's id
    token: String,
    /// Its account, by id or handle; needed only where several accounts have such a token
    #[arg(long, value_name = "ACCOUNT")]
    account: Option<String>,
    /// After this position, or with what had occurred by this time
    #[arg(long, value_name = "TIME|POSITION")]
    at: Option<Moment>,
    /// Only with what had been recorded by then
    #[arg(long, value_name = "TIME")]
    known_at: Option<Time>,
}

#[derive(Debug, Args)]
struct Lookup {
    /// The digest of its secret, such as sha256:HEX; never the secret
    digest: String,
    /// After this position, or with what had occurred by this time
    #[arg(long, value_name = "TIME|POSITION")]
    at: Option<Moment>,
    /// Only with what had been recorded by then
    #[arg(long, value_name = "TIME")]
    known_at: Option<Time>,
}

impl Tokens {
    /// Carries it out.
    ///
    /// # Errors
    /// Where the server cannot be asked, or knows no such token.
    pub async fn run(self, global: &Global, printer: &mut Printer) -> Result<Exit, Failure> {
        let server = Server::reach(global).await?;
        let tokens = match self.question {
            Question::Show(show) => show.ask(&server).await?,
            Question::Lookup(lookup) => lookup.ask(&server).await?,
        };
        if tokens.is_empty() {
            return Err(Failure::NotFound("the ledger knows no such token".to_owned()));
        }
        let mut list = printer.list();
        for token in tokens {
            list.push(&OwnedToken::from(token))?;
        }
        list.end(|count| counted(count, "token"))?;
        Ok(Exit::Done)
    }
}

impl Show {
    async fn ask(self, server: &Server) -> Result<Vec<pb::OwnedToken>, Failure> {
        let request = pb::GetTokenRequest {
            ledger: server.ledger(),
            account: self.account.unwrap_or_default(),
            token: self.token,
            as_of: as_of(self.at, self.known_at),
            min_position: None,
        };
        let answer = server.query().get_token(request).await.map_err(|e| server.failure(e))?;
        Ok(answer.into_inner().tokens)
    }
}

impl Lookup {
    async fn ask(self, server: &Server) -> Result<Vec<pb::OwnedToken>, Failure> {
        // Said before anything is sent: what is no digest might be the secret itself.
        ledger::event::TokenDigest::new(&self.digest)
            .map_err(|e| Failure::Usage(format!("what is looked up {e}")))?;
        let request = pb::LookupTokenRequest {
            ledger: server.ledger(),
            digest: self.digest,
            as_of: as_of(self.at, self.known_at),
            min_position: None,
        };
        let answer = server.query().lookup_token(request).await.map_err(|e| server.failure(e))?;
        Ok(answer.into_inner().tokens)
    }
}

/// A token, as it is printed.
#[derive(Clone, Debug, Serialize)]
pub struct Token {
    token: String,
    status: &'static str,
    digest: Option<String>,
    expiry: String,
    family: Option<String>,
    scopes: Vec<String>,
    issued_at: Option<String>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    revocation_reason: Option<&'static str>,
    leaked: bool,
    replaced_by: Option<String>,
}

impl Token {
    /// The headings of a table of tokens.
    pub const COLUMNS: &'static [&'static str] =
        &["token", "status", "expiry", "scopes", "revoked", "replaced by"];

    /// Its row there.
    #[must_use]
    pub fn row(&self) -> Vec<String> {
        let revoked = self.revoked_at.as_deref().and_then(|time| time.parse().ok());
        vec![
            self.token.clone(),
            self.status.to_owned(),
            self.expiry.clone(),
            self.scopes.join(" "),
            moment::to_the_second(revoked),
            self.replaced_by.clone().unwrap_or_default(),
        ]
    }

    /// Whether its time is not over and nobody ended it.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.status == "active"
    }
}

impl From<pb::Token> for Token {
    fn from(token: pb::Token) -> Self {
        Self {
            status: status_name(token.status()),
            digest: some(token.digest.clone()),
            expiry: expiry(token.expiry.as_ref()),
            family: some(token.family.clone()),
            issued_at: in_full(token.issued_at.as_ref()),
            last_used_at: in_full(token.last_used_at.as_ref()),
            revoked_at: in_full(token.revoked_at.as_ref()),
            revocation_reason: token.revoked_at.and(reason_name(token.revocation_reason())),
            leaked: token.leaked,
            replaced_by: some(token.replaced_by),
            scopes: token.scopes,
            token: token.token,
        }
    }
}

/// A text; nothing where it is empty.
#[must_use]
pub fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn status_name(status: pb::TokenStatus) -> &'static str {
    match status {
        pb::TokenStatus::Unspecified => "unknown",
        pb::TokenStatus::Active => "active",
        pb::TokenStatus::Expired => "expired",
        pb::TokenStatus::Revoked => "revoked",
    }
}

fn reason_name(reason: pb::RevocationReason) -> Option<&'static str> {
    match reason {
        pb::RevocationReason::Unspecified => None,
        pb::RevocationReason::Superseded => Some("superseded"),
        pb::RevocationReason::Unused => Some("unused"),
        pb::RevocationReason::Leaked => Some("leaked"),
        pb::RevocationReason::AccountDeleted => Some("account_deleted"),
    }
}

/// `never`, `unknown`, or a time. What is not said is not known.
fn expiry(expiry: Option<&pb::Expiry>) -> String {
    match expiry.and_then(|e| e.expiry.as_ref()) {
        Some(pb::expiry::Expiry::Never(_)) => "never".to_owned(),
        Some(pb::expiry::Expiry::At(time)) => in_full(Some(time)).unwrap_or_else(|| "unknown".to_owned()),
        Some(pb::expiry::Expiry::Unknown(_)) | None => "unknown".to_owned(),
    }
}

/// A token with its account, as it is printed.
#[derive(Debug, Serialize)]
pub struct OwnedToken {
    account: String,
    handle: String,
    account_status: &'static str,
    usable: bool,
    #[serde(flatten)]
    token: Token,
}

impl From<pb::OwnedToken> for OwnedToken {
    fn from(owned: pb::OwnedToken) -> Self {
        Self {
            account_status: account_status_name(owned.account_status()),
            account: owned.account,
            handle: owned.handle,
            usable: owned.usable,
            token: owned.token.unwrap_or_default().into(),
        }
    }
}

impl Shown for OwnedToken {
    const FIELDS: &'static [&'static str] =
        &["account", "handle", "account_status", "usable", "token", "status", "digest", "expiry"];
    const COLUMNS: &'static [&'static str] =
        &["token", "usable", "status", "expiry", "account", "account is"];
    fn row(&self) -> Vec<String> {
        vec![
            self.token.token.clone(),
            if self.usable { "yes" } else { "no" }.to_owned(),
            self.token.status.to_owned(),
            self.token.expiry.clone(),
            self.account.clone(),
            self.account_status.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::print::tests::check_json;
    use expect_test::expect;

    #[test]
    fn a_token_that_says_nothing_about_its_end_is_unknown_and_has_no_digest() {
        let token = pb::Token { token: "t-1".into(), status: 1, ..Default::default() };
        let owned = pb::OwnedToken { token: Some(token), account: "bot-1".into(), ..Default::default() };
        check_json(
            &OwnedToken::from(owned),
            &expect![[r#"
                {"account":"bot-1","handle":"","account_status":"unknown","usable":false,"token":"t-1","status":"active","digest":null,"expiry":"unknown","family":null,"scopes":[],"issued_at":null,"last_used_at":null,"revoked_at":null,"revocation_reason":null,"leaked":false,"replaced_by":null}
            "#]],
        );
    }
}
