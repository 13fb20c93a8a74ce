//! Questions: a closed loop of clients that ask about accounts at random.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prost::Message;
use serde::Serialize;
use tokio::task::JoinSet;
use tonic::Request;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use super::bytes_codec::BytesCodec;
use super::process::{self, ServerProcess};
use super::site::{Place, Site};
use super::tally::Tally;
use super::workload::{ACCOUNTS, name_of, scattered};
use super::{BenchError, rounded};
use crate::wire::pb;
use pb::query_service_client::QueryServiceClient;

/// How many accounts' tokens are asked for.
const TOKENS_OF: usize = 200;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Question {
    /// The newest events of an account.
    History,
    /// An account as it is now.
    Account,
    /// The token with a digest.
    Digest,
}

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where.
    pub place: Place,
    /// What is asked.
    pub question: Question,
    /// Events that the ledger is filled up to before.
    pub events: u64,
    /// Questions in flight in all.
    pub clients: usize,
    /// Connections that they share.
    pub connections: usize,
    /// Events of an answer at most.
    pub page: u32,
    /// For how long.
    pub duration: Duration,
}

/// What was measured. Times in microseconds; other people's scripts hang on the names.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was asked.
    pub question: Question,
    /// Answers a second.
    pub answers_per_s: f64,
    /// Half of the answers took at most so long.
    pub p50_us: f64,
    /// 99 of 100.
    pub p99_us: f64,
    /// 999 of 1,000.
    pub p999_us: f64,
    /// Events, or other things, in an answer on average.
    pub things_per_answer: f64,
    /// Answers for each second of the server's processor time; `None`: not known.
    pub answers_per_cpu_s: Option<f64>,
    /// Processor time of the clients, in seconds.
    pub client_cpu_s: f64,
    /// Answers.
    pub answers: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Entries of the ledger.
    pub entries: u64,
    /// Questions in flight.
    pub clients: usize,
    /// Connections.
    pub connections: usize,
    /// Events of an answer at most.
    pub page: u32,
}

/// An answer as far as it is read here: its things are counted and not decoded, so that clients cost little.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Answer {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(super) things: Vec<Bytes>,
}

/// Measures.
///
/// # Errors
/// Where a server cannot be started or reached, or gives no answer.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let site = Site::open(&options.place).await?;
    let channels = site.channels(options.connections).await?;
    let Some(channel) = channels.first() else { return Err(BenchError("there is no connection".to_owned())) };
    let extent = site.fill(channel, options.events).await?;
    let accounts = usize::try_from(extent.accounts).unwrap_or(ACCOUNTS).clamp(1, ACCOUNTS);
    let questions = Arc::new(questions(options, &site, channel, accounts).await?);
    let (cpu, own) = (site.server().and_then(ServerProcess::cpu), process::own_cpu());
    let (tally, things) = asked(&channels, options, &questions).await?;
    let own = process::own_cpu() - own;
    let cpu = cpu.zip(site.server().and_then(ServerProcess::cpu)).map(|(before, after)| after - before);
    site.close().await?;
    Ok(report(options, &tally, things, cpu, own, extent.entries))
}

/// The questions, encoded, and where they go.
struct Questions {
    path: &'static str,
    requests: Vec<Bytes>,
}

async fn questions(
    options: &Options,
    site: &Site,
    channel: &Channel,
    accounts: usize,
) -> Result<Questions, BenchError> {
    let ledger = &site.ledger;
    let names = (0..accounts).map(name_of);
    Ok(match options.question {
        Question::History => Questions {
            path: "/tokenledger.v1.QueryService/ListEvents",
            requests: names.map(|account| history_of(ledger, account, options.page)).collect(),
        },
        Question::Account => Questions {
            path: "/tokenledger.v1.QueryService/GetAccount",
            requests: names.map(|account| account_of(ledger, account).encode_to_vec().into()).collect(),
        },
        Question::Digest => Questions {
            path: "/tokenledger.v1.QueryService/LookupToken",
            requests: digests(ledger, channel, accounts).await?,
        },
    })
}

fn history_of(ledger: &str, account: String, page: u32) -> Bytes {
    let request = pb::ListEventsRequest {
        ledger: ledger.to_owned(),
        filter: Some(pb::EventFilter { account, ..Default::default() }),
        page_size: page,
        descending: true,
        ..Default::default()
    };
    request.encode_to_vec().into()
}

fn account_of(ledger: &str, account: String) -> pb::GetAccountRequest {
    pb::GetAccountRequest { ledger: ledger.to_owned(), account, ..Default::default() }
}

/// Questions for tokens of some accounts.
async fn digests(ledger: &str, channel: &Channel, accounts: usize) -> Result<Vec<Bytes>, BenchError> {
    let mut queries = QueryServiceClient::new(channel.clone());
    let mut requests = Vec::new();
    for account in (0..accounts).step_by((accounts / TOKENS_OF).max(1)) {
        let answer = queries.get_account(account_of(ledger, name_of(account))).await;
        let account = answer.map_err(|e| BenchError::asked(&e))?.into_inner().account.unwrap_or_default();
        requests.extend(account.tokens.into_iter().map(|token| {
            let request = pb::LookupTokenRequest {
                ledger: ledger.to_owned(),
                digest: token.digest,
                ..Default::default()
            };
            Bytes::from(request.encode_to_vec())
        }));
    }
    if requests.is_empty() {
        Err(BenchError("there is no token to ask for".to_owned()))
    } else {
        Ok(requests)
    }
}

/// Asks until the time is over; also how many things there were in the answers.
async fn asked(
    channels: &[Channel],
    options: &Options,
    questions: &Arc<Questions>,
) -> Result<(Tally, u64), BenchError> {
    let begin = Instant::now();
    let mut clients = JoinSet::new();
    for client in 0..options.clients {
        let Some(channel) = channels.get(client % channels.len().max(1)) else { continue };
        let (grpc, questions) = (Grpc::new(channel.clone()), Arc::clone(questions));
        clients.spawn(ask(grpc, questions, client as u64, begin, options.duration));
    }
    let (mut whole, mut things) = (Tally::default(), 0);
    while let Some(ended) = clients.join_next().await {
        let (tally, some) = ended.map_err(|e| BenchError::because("a client stopped", e))??;
        whole.add(&tally);
        things += some;
    }
    Ok((whole, things))
}

async fn ask(
    mut grpc: Grpc<Channel>,
    questions: Arc<Questions>,
    client: u64,
    begin: Instant,
    duration: Duration,
) -> Result<(Tally, u64), BenchError> {
    let (mut tally, mut things) = (Tally::default(), 0);
    let count = questions.requests.len().max(1) as u64;
    for turn in 0_u64.. {
        let sent = Instant::now();
        if sent.duration_since(begin) >= duration {
            break;
        }
        let index = usize::try_from(scattered(client << 40 ^ turn) % count).unwrap_or(0);
        let Some(request) = questions.requests.get(index) else { break };
        grpc.ready().await.map_err(|e| BenchError::because("the connection was lost", e))?;
        let path = PathAndQuery::from_static(questions.path);
        let codec = BytesCodec::<Answer>::default();
        let answer = grpc.unary(Request::new(request.clone()), path, codec).await;
        let answer = answer.map_err(|e| BenchError::asked(&e))?.into_inner();
        if answer.things.is_empty() {
            return Err(BenchError("the server found nothing of what is there".to_owned()));
        }
        things += answer.things.len() as u64;
        tally.acknowledge(1, sent);
    }
    tally.elapsed = begin.elapsed();
    Ok((tally, things))
}

fn report(
    options: &Options,
    tally: &Tally,
    things: u64,
    cpu: Option<f64>,
    client_cpu: f64,
    entries: u64,
) -> Report {
    let answers = tally.events;
    Report {
        question: options.question,
        answers_per_s: rounded(tally.events_per_s()),
        p50_us: tally.micros(0.5),
        p99_us: tally.micros(0.99),
        p999_us: tally.micros(0.999),
        things_per_answer: rounded(things as f64 / answers.max(1) as f64),
        answers_per_cpu_s: cpu.filter(|cpu| *cpu > 0.0).map(|cpu| rounded(answers as f64 / cpu)),
        client_cpu_s: rounded(client_cpu),
        answers,
        seconds: rounded(tally.elapsed.as_secs_f64()),
        entries,
        clients: options.clients,
        connections: options.connections,
        page: options.page,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;
    use std::path::PathBuf;

    #[test]
    fn the_json_of_a_report_keeps_its_promise() {
        let options = Options {
            place: Place { program: PathBuf::new(), server: None, data: None },
            question: Question::History,
            events: 1,
            clients: 8,
            connections: 1,
            page: 50,
            duration: Duration::from_secs(5),
        };
        let mut tally = Tally { events: 100, elapsed: Duration::from_secs(2), ..Tally::default() };
        tally.latencies.saturating_record(100_000);
        expect![[r#"{"question":"history","answers_per_s":50.0,"p50_us":100.03,"p99_us":100.03,"p999_us":100.03,"things_per_answer":50.0,"answers_per_cpu_s":null,"client_cpu_s":0.25,"answers":100,"seconds":2.0,"entries":7,"clients":8,"connections":1,"page":50}"#]]
            .assert_eq(&serde_json::to_string(&report(&options, &tally, 5_000, Some(0.0), 0.25, 7)).unwrap());
    }

    #[test]
    fn the_things_of_an_answer_are_counted_without_looking_into_them() {
        let events = vec![pb::LedgerEvent { position: 7, ..Default::default() }, Default::default()];
        let list = pb::ListEventsResponse { events, next_page_token: "x".into(), reflects: 9 };
        assert_eq!(Answer::decode(list.encode_to_vec().as_slice()).unwrap().things.len(), 2);
        let account = pb::GetAccountResponse { account: Some(pb::Account::default()), reflects: 9 };
        assert_eq!(Answer::decode(account.encode_to_vec().as_slice()).unwrap().things.len(), 1);
    }
}
