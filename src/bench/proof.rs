//! What it costs to sign and to prove: appends with a key and without, proofs of inclusion, and their check.

use std::time::{Duration, Instant};

use ledger::checkpoint::VerifierKey;
use ledger::proof::Proof;
use ledger::tree::{check_inclusion, leaf};
use serde::Serialize;
use tonic::transport::Channel;

use super::append::measured;
use super::site::{Place, Site};
use super::tally::Tally;
use super::workload::{Mix, scattered};
use super::{BenchError, Load, Until, median, ratio, rounded};
use crate::wire::pb;
use pb::proof_service_client::ProofServiceClient;

/// What is measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where proofs are asked for.
    pub place: Place,
    /// Events that the ledger is filled up to before.
    pub events: u64,
    /// How many proofs are asked for, one after the other.
    pub proofs: u64,
    /// How long each load is.
    pub duration: Duration,
    /// How often each load is measured, in turns.
    pub rounds: usize,
}

/// What was measured, medians; times in microseconds. Other people's scripts hang on the names.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Events a second with tree and checkpoints, as a part of those without: batches of 100, 8 in flight.
    pub batches_signed_of_unsigned: f64,
    /// The same, single events, 64 in flight.
    pub unary_signed_of_unsigned: f64,
    /// Events a second in batches, with tree and checkpoints.
    pub batches_signed_events_per_s: f64,
    /// Without.
    pub batches_unsigned_events_per_s: f64,
    /// Half of the proofs were there so long after they were asked for.
    pub proof_p50_us: f64,
    /// 99 of 100.
    pub proof_p99_us: f64,
    /// The most hashes of a proof.
    pub hashes_max: usize,
    /// Half of the proofs were checked within this time: the hash of the entry and those that lead to the root.
    pub check_p50_us: f64,
    /// 99 of 100.
    pub check_p99_us: f64,
    /// The same with the signature of the checkpoint, and everything that the file of a proof is checked for.
    pub whole_check_p50_us: f64,
    /// How many proofs were asked for.
    pub proofs: u64,
    /// Entries of the ledger.
    pub entries: u64,
    /// How often each load was measured.
    pub rounds: usize,
}

/// Measures.
///
/// # Errors
/// Where a server cannot be started, refuses an event, or gives a proof that proves nothing.
pub async fn run(options: &Options) -> Result<Report, BenchError> {
    let mut report = Report { rounds: options.rounds, ..Report::default() };
    let (batches, unary) = (load(8, 100, options.duration), load(64, 1, options.duration));
    let (with, without) = on_and_off(options, &batches).await?;
    report.batches_signed_of_unsigned = ratio(with, without);
    report.batches_signed_events_per_s = rounded(with);
    report.batches_unsigned_events_per_s = rounded(without);
    let (with, without) = on_and_off(options, &unary).await?;
    report.unary_signed_of_unsigned = ratio(with, without);
    let (site, key) = Site::open_signed(&options.place).await?;
    let channel = site.channel().await?;
    let extent = site.fill(&channel, options.events).await?;
    report.entries = extent.entries;
    let key = key.verifier(&site.ledger.parse().map_err(|e| BenchError::because("the ledger", e))?);
    prove(options, &site.ledger, &channel, &key, &mut report).await?;
    site.close().await?;
    Ok(report)
}

fn load(clients: usize, batch: usize, duration: Duration) -> Load {
    let (until, mix) = (Until::After(duration), Mix::Whole);
    Load { clients, connections: 1, batch, stream: false, until, rate: None, mix }
}

/// Events a second with tree and checkpoints, and without, on a new server each time.
async fn on_and_off(options: &Options, load: &Load) -> Result<(f64, f64), BenchError> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let place = Place { data: None, server: None, ..options.place.clone() };
    for _ in 0..options.rounds {
        let (site, _) = Site::open_signed(&place).await?;
        with.push(measured(&site, load, Duration::ZERO).await?.tally.events_per_s());
        site.close().await?;
        let site = Site::open(&place).await?;
        without.push(measured(&site, load, Duration::ZERO).await?.tally.events_per_s());
        site.close().await?;
    }
    Ok((median(with), median(without)))
}

async fn prove(
    options: &Options,
    ledger: &str,
    channel: &Channel,
    key: &VerifierKey,
    report: &mut Report,
) -> Result<(), BenchError> {
    let mut client = ProofServiceClient::new(channel.clone());
    // What is proved is covered already: a proof is measured, and not the wait for a signature.
    let all = pb::GetCheckpointRequest { ledger: ledger.to_owned(), min_size: Some(report.entries) };
    client.get_checkpoint(all).await.map_err(|e| BenchError::asked(&e))?;
    let (mut asked, mut checked, mut whole) = (Tally::default(), Tally::default(), Tally::default());
    for turn in 0..options.proofs {
        let position = scattered(turn) % report.entries.max(1);
        let which = Some(pb::prove_inclusion_request::Which::Position(position));
        let request = pb::ProveInclusionRequest { ledger: ledger.to_owned(), which };
        let sent = Instant::now();
        let answer = client.prove_inclusion(request).await.map_err(|e| BenchError::asked(&e))?;
        asked.acknowledge(1, sent);
        let proof = file(answer.into_inner())?;
        report.hashes_max = report.hashes_max.max(proof.hashes.len());
        check(&proof, key, &mut checked, &mut whole)?;
    }
    report.proofs = options.proofs;
    (report.proof_p50_us, report.proof_p99_us) = (asked.micros(0.5), asked.micros(0.99));
    (report.check_p50_us, report.check_p99_us) = (checked.micros(0.5), checked.micros(0.99));
    report.whole_check_p50_us = whole.micros(0.5);
    Ok(())
}

fn check(proof: &Proof, key: &VerifierKey, checked: &mut Tally, whole: &mut Tally) -> Result<(), BenchError> {
    let failed = |why: &dyn std::fmt::Display| BenchError::because("a proof proves nothing", why);
    let tree = key.open(&proof.note).map_err(|e| failed(&e))?.tree;
    let began = Instant::now();
    check_inclusion(&proof.hashes, &tree, proof.position, &leaf(&proof.entry)).map_err(|e| failed(&e))?;
    checked.acknowledge(1, began);
    let bytes = proof.to_bytes();
    let began = Instant::now();
    Proof::parse(&bytes).and_then(|proof| proof.verify(key)).map_err(|e| failed(&e))?;
    whole.acknowledge(1, began);
    Ok(())
}

fn file(answer: pb::ProveInclusionResponse) -> Result<Proof, BenchError> {
    let hashes = answer.hashes.into_iter().map(|hash| hash.try_into()).collect::<Result<_, _>>();
    let hashes = hashes.map_err(|_| BenchError("a proof has a hash of another length".to_owned()))?;
    let (entry, position, note) = (answer.entry, answer.position, answer.note);
    Ok(Proof { entry, position, hashes, note })
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn the_json_of_a_report_keeps_its_promise() {
        expect![[r#"{"batches_signed_of_unsigned":0.0,"unary_signed_of_unsigned":0.0,"batches_signed_events_per_s":0.0,"batches_unsigned_events_per_s":0.0,"proof_p50_us":0.0,"proof_p99_us":0.0,"hashes_max":0,"check_p50_us":0.0,"check_p99_us":0.0,"whole_check_p50_us":0.0,"proofs":0,"entries":0,"rounds":0}"#]]
            .assert_eq(&serde_json::to_string(&Report::default()).unwrap());
    }
}
