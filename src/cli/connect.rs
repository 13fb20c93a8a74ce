//! The way to a server, and what its errors mean to the person who asked.

use std::error::Error as _;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::Global;
use super::exit::Failure;
use crate::wire::pb::admin_service_client::AdminServiceClient;
use crate::wire::pb::append_service_client::AppendServiceClient;
use crate::wire::pb::proof_service_client::ProofServiceClient;
use crate::wire::pb::query_service_client::QueryServiceClient;
use crate::wire::pb::restore_service_client::RestoreServiceClient;

/// The server that is asked unless another is named.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:7420";
/// How many things a page holds at most.
pub const PAGE_MAX: u32 = 1_000;
/// The largest answer that is taken, in bytes: a page of the largest entries.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;
/// The largest answer that proves one thing: an entry, a note and what leads from one to the other. Whoever asks for proofs
/// trusts nobody, so nobody makes it use memory either.
const PROOF_BYTES_MAX: usize = 512 * 1024;
/// The largest answer that proves a sequence: the largest entries of a group of 256 numbers, and hashes.
const SEQUENCE_BYTES_MAX: usize = 20 * 1024 * 1024;
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// A server that was reached, and the ledger that is asked for.
#[derive(Clone, Debug)]
pub struct Server {
    url: String,
    ledger: String,
    channel: Channel,
}

impl Server {
    /// Reaches the server that the flags name.
    ///
    /// # Errors
    /// Where its address is none, or nobody answers there.
    pub async fn reach(global: &Global) -> Result<Self, Failure> {
        let channel = channel(&global.server).await?;
        Ok(Self { url: global.server.clone(), ledger: global.ledger.to_string(), channel })
    }

    /// The ledger that is asked for.
    #[must_use]
    pub fn ledger(&self) -> String {
        self.ledger.clone()
    }

    /// To record events.
    #[must_use]
    pub fn append(&self) -> AppendServiceClient<Channel> {
        AppendServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// To ask.
    #[must_use]
    pub fn query(&self) -> QueryServiceClient<Channel> {
        QueryServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// To restore.
    #[must_use]
    pub fn restore(&self) -> RestoreServiceClient<Channel> {
        RestoreServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// To prove one thing.
    #[must_use]
    pub fn proof(&self) -> ProofServiceClient<Channel> {
        ProofServiceClient::new(self.channel.clone()).max_decoding_message_size(PROOF_BYTES_MAX)
    }

    /// To prove a sequence.
    #[must_use]
    pub fn sequences(&self) -> ProofServiceClient<Channel> {
        ProofServiceClient::new(self.channel.clone()).max_decoding_message_size(SEQUENCE_BYTES_MAX)
    }

    /// To look after ledgers.
    #[must_use]
    pub fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// The connection itself.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// What an error of the server means to the person who asked.
    #[must_use]
    pub fn failure(&self, status: Status) -> Failure {
        failure(&self.url, &status)
    }
}

/// A connection to a server.
///
/// # Errors
/// Where the address is none, or nobody answers there.
pub async fn channel(url: &str) -> Result<Channel, Failure> {
    let endpoint = endpoint(url)?;
    endpoint.connect().await.map_err(|_| unreachable(url))
}

fn endpoint(url: &str) -> Result<Endpoint, Failure> {
    if url.starts_with("https://") {
        let why = "this program speaks plain http:// to its server; put a proxy that ends TLS in between";
        return Err(Failure::Usage(format!("{url}: {why}")));
    }
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let endpoint = Endpoint::from_shared(full)
        .map_err(|_| Failure::Usage(format!("{url} is no address of a server, such as {DEFAULT_SERVER}")))?;
    Ok(endpoint.connect_timeout(CONNECT_PATIENCE).tcp_nodelay(true).http2_adaptive_window(true))
}

fn unreachable(url: &str) -> Failure {
    Failure::Failed(format!(
        "cannot reach the server at {url}: is it running? start one with `tokenledger serve --data DIR`, \
         or name another with --server URL"
    ))
}

fn failure(url: &str, status: &Status) -> Failure {
    if status.code() == Code::Unavailable && status.source().is_some() {
        return Failure::Failed(format!(
            "the connection to {url} was lost; what was not acknowledged may or may not be recorded: \
             the same command again adds nothing twice"
        ));
    }
    let told = one_line(status.message());
    let told = if told.is_empty() { status.code().description().to_owned() } else { told };
    let line = match status.get_details_error_info() {
        Some(info) if !info.reason.is_empty() => format!("{told} ({})", one_line(&info.reason)),
        _ => told,
    };
    match status.code() {
        Code::NotFound => Failure::NotFound(line),
        _ => Failure::Failed(line),
    }
}

/// A message without anything that could move a terminal's cursor.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic_types::ErrorDetails;

    #[test]
    fn an_error_says_the_servers_message_and_the_stable_reason() {
        let details = ErrorDetails::with_error_info("token_active", "tokenledger", []);
        let status = Status::with_error_details(Code::FailedPrecondition, "two tokens are active", details);
        let told = failure("http://x", &status);
        assert_eq!(told, Failure::Failed("two tokens are active (token_active)".to_owned()));
    }

    #[test]
    fn what_is_not_found_has_an_exit_code_of_its_own() {
        let told = failure("http://x", &Status::not_found("no such account"));
        assert_eq!(told, Failure::NotFound("no such account".to_owned()));
    }

    #[test]
    fn a_message_stays_on_one_line_and_is_never_empty() {
        let told = failure("http://x", &Status::internal("a\nb\x1b[2J"));
        assert_eq!(told, Failure::Failed("a b [2J".to_owned()));
        assert_eq!(failure("http://x", &Status::internal("")), Failure::because("Internal error"));
    }

    #[test]
    fn an_address_needs_no_scheme_and_tls_is_refused_by_name() {
        assert!(endpoint("127.0.0.1:7420").is_ok());
        assert!(matches!(endpoint("https://ledger.example"), Err(Failure::Usage(_))));
        assert!(matches!(endpoint("http://not an address"), Err(Failure::Usage(_))));
    }

    #[tokio::test]
    async fn where_nobody_listens_the_line_says_how_to_start_a_server() {
        let told = channel("http://127.0.0.1:1").await.unwrap_err().to_string();
        assert!(told.starts_with("cannot reach the server at http://127.0.0.1:1: is it running?"), "{told}");
        assert!(told.contains("tokenledger serve --data DIR"), "{told}");
    }
}
