//! What an audit costs that goes on from an earlier one, beside one that begins at the beginning: `cargo bench --bench audit`.
//! Over gRPC, on the loopback, from a server in this process with 1,000,000 entries, of which 10,000 are new.
#![allow(missing_docs, clippy::print_stdout, reason = "the figures are the purpose")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ledger::checkpoint::{LogKeys, PrivateKey};
use ledger::types::LedgerName;
use tokenledger::audit::{Kept, audit};
use tokenledger::notary::Signing;
use tokenledger::server::{Running, ServeOptions, start};
use tokenledger::wire::pb;
use tokenledger::wire::pb::append_service_client::AppendServiceClient;
use tokenledger::wire::pb::proof_service_client::ProofServiceClient;
use tonic::transport::Channel;
use uuid::Uuid;

const KNOWN: u64 = 990_000;
const NEW: u64 = 10_000;
/// The ledger's first entry, which says that it was made.
const OWN: u64 = 1;
const BATCH: u64 = 1_000;
const IN_FLIGHT: u64 = 4;
const ACCOUNTS: u64 = 5_000;
const ROUNDS: usize = 5;
/// What is new is one in a hundred; an audit of it may take so much of one of everything, at most.
const PART_MAX: f64 = 0.02;

type Anything<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn key() -> Anything<PrivateKey> {
    Ok(PrivateKey::new("ledger.example.org".parse()?, &[7; 32]))
}

async fn serve(data: PathBuf) -> Anything<Running> {
    let options = ServeOptions {
        data,
        listen: "127.0.0.1:0".parse()?,
        metrics: None,
        http: None,
        log_json: false,
        scrub_rate: 0,
        pack: false,
        signing: Some(Signing::new(key()?, Duration::from_millis(100))),
        trust: Default::default(),
    };
    Ok(start(options).await?)
}

/// About as large as the events of the other benchmarks.
fn event(number: u64) -> pb::Event {
    let account = format!("account-{:05}", number % ACCOUNTS);
    let fact = match number / ACCOUNTS {
        0 => pb::event::Fact::AccountCreated(pb::AccountCreated {
            kind: pb::AccountKind::Bot.into(),
            handle: account.clone(),
            namespace: "bench".into(),
            ..Default::default()
        }),
        1 => pb::event::Fact::TokenIssued(pb::TokenIssued {
            token: "token-1".into(),
            expiry: Some(pb::Expiry { expiry: Some(pb::expiry::Expiry::Never(pb::expiry::Never {})) }),
            ..Default::default()
        }),
        _ => pb::event::Fact::TokenUsed(pb::TokenUsed {
            token: "token-1".into(),
            uses: 1,
            consumer: format!("consumer-{:028}", number % 97),
        }),
    };
    pb::Event {
        event_id: Uuid::from_u128(u128::from(number).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835))
            .to_string(),
        emitter: "bench".into(),
        occurred_at: Some(prost_types::Timestamp { seconds: 1_725_148_800, nanos: 1 }),
        actor: Some(pb::Actor {
            kind: pb::ActorKind::Automation.into(),
            id: "platform/usage-reporter".into(),
        }),
        cause: Some(pb::Cause { correlation_id: format!("{number:032x}"), ..Default::default() }),
        account,
        fact: Some(fact),
        ..Default::default()
    }
}

async fn record(channel: &Channel, from: u64, to: u64) -> Anything<()> {
    let batches: Vec<u64> = (from..to).step_by(usize::try_from(BATCH)?).collect();
    // One step after the other where later events build on earlier ones.
    let in_flight = if from < 2 * ACCOUNTS { 1 } else { IN_FLIGHT };
    for some in batches.chunks(usize::try_from(in_flight)?) {
        let mut calls = tokio::task::JoinSet::new();
        for first in some.iter().copied() {
            let mut client = AppendServiceClient::new(channel.clone());
            calls.spawn(async move {
                let event = |number| pb::Proposal { event: Some(event(number)), expected_version: None };
                let proposals = (first..to.min(first + BATCH)).map(event).collect();
                let request = pb::AppendBatchRequest { proposals, ..Default::default() };
                client.append_batch(request).await
            });
        }
        while let Some(answer) = calls.join_next().await {
            let results = answer??.into_inner().results;
            if let Some(other) =
                results.iter().find(|r| !matches!(r.result, Some(pb::append_result::Result::Accepted(_))))
            {
                return Err(format!("{other:?}").into());
            }
        }
    }
    Ok(())
}

/// Audits as an own process would, on a connection of its own; how many entries were taken in, and how long it took.
async fn audited(running: &Running, state: &Path) -> Anything<(u64, f64)> {
    let keys = LogKeys::new(vec![key()?.verifier(&LedgerName::default())])?;
    let began = Instant::now();
    let client = ProofServiceClient::connect(format!("http://{}", running.grpc)).await?;
    let kept = Kept::open(state)?;
    let outcome = audit(client, "default", &keys, &kept, &|_, _| {}).await?;
    match outcome.wrong {
        Some(wrong) => Err(wrong.reason.into()),
        None => Ok((outcome.entries, began.elapsed().as_secs_f64())),
    }
}

/// A checkpoint of everything that was recorded: `size` entries and those with which the ledger itself began. What the last
/// ones published cover is behind by what a tenth of a second brings.
async fn checkpoint(channel: &Channel, size: u64) -> Anything<()> {
    let request = pb::GetCheckpointRequest { min_size: Some(size + OWN), ..Default::default() };
    let signed = ProofServiceClient::new(channel.clone()).get_checkpoint(request).await?.into_inner().size;
    if signed == size + OWN {
        Ok(())
    } else {
        Err(format!("a checkpoint of {signed} entries instead of {}", size + OWN).into())
    }
}

fn copy(from: &Path, to: &Path) -> Anything<()> {
    std::fs::create_dir_all(to)?;
    std::fs::copy(from.join("state"), to.join("state"))?;
    std::fs::create_dir_all(to.join("state.tree"))?;
    for file in std::fs::read_dir(from.join("state.tree"))? {
        let file = file?;
        std::fs::copy(file.path(), to.join("state.tree").join(file.file_name()))?;
    }
    Ok(())
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

async fn measure() -> Anything<()> {
    let dir = tempfile::tempdir()?;
    let running = serve(dir.path().join("data")).await?;
    let channel = Channel::from_shared(format!("http://{}", running.grpc))?.connect().await?;
    record(&channel, 0, 2 * ACCOUNTS).await?;
    record(&channel, 2 * ACCOUNTS, KNOWN).await?;
    checkpoint(&channel, KNOWN).await?;
    let first = dir.path().join("first");
    std::fs::create_dir(&first)?;
    let (known, _) = audited(&running, &first.join("state")).await?;
    record(&channel, KNOWN, KNOWN + NEW).await?;
    checkpoint(&channel, KNOWN + NEW).await?;
    // For what still goes on in the background.
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (mut whole, mut new, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let (full, incremental) =
            (dir.path().join(format!("full-{round}")), dir.path().join(format!("new-{round}")));
        std::fs::create_dir(&full)?;
        copy(&first, &incremental)?;
        let (all, full) = audited(&running, &full.join("state")).await?;
        let (fresh, incremental) = audited(&running, &incremental.join("state")).await?;
        if all != known + NEW || fresh != NEW {
            return Err(format!("{all} and {fresh} entries were taken in").into());
        }
        if round > 0 {
            whole.push(full);
            new.push(incremental);
            ratios.push(incremental / full);
        }
    }
    println!("{} entries, {NEW} of them new, medians of {ROUNDS} rounds", known + NEW);
    println!("{:9.1} ms  audit of everything", median(whole) * 1e3);
    println!("{:9.1} ms  audit of what is new", median(new) * 1e3);
    let part = median(ratios);
    println!("{:9.2} %   of it", part * 1e2);
    drop(channel);
    running.stop().await;
    // What is no number is not below it either.
    if part <= PART_MAX { Ok(()) } else { Err(format!("more than {:.0} % of it", PART_MAX * 1e2).into()) }
}

fn main() -> Anything<()> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(measure())
}
