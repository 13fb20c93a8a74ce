//! What each stage of an event costs on this machine, one thread, in nanoseconds: `cargo bench`. Each line is the median
//! of several rounds; the stages take turns, so that a slow moment of the machine hits all alike.
#![allow(missing_docs, clippy::print_stdout, reason = "the figures are the purpose")]

use std::hint::black_box;
use std::time::Instant;

use ledger::entry::{self, IdKey};
use ledger::event::{self, Event};
use ledger::log::Tail;
use ledger::pb;
use ledger::sequencer::{Proposal, Request, Sequencer};
use ledger::state::State;
use ledger::types::{LedgerName, LedgerUid, Time};
use prost::Message;

const EVENTS: u128 = 20_000;
const ROUNDS: usize = 7;

/// A use of a token, about as large as events are.
fn message(n: u128) -> pb::Event {
    let used =
        pb::TokenUsed { token: format!("token-{:05}", n % 5_000), uses: 1, consumer: "ci-runner".into() };
    pb::Event {
        event_id: uuid::Uuid::from_u128(n).to_string(),
        emitter: "bench".into(),
        occurred_at: Some(prost_types::Timestamp { seconds: 1_726_012_800, nanos: 0 }),
        actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: "token-service".into() }),
        cause: Some(pb::Cause { run: "usage/2024-09-11".into(), ..Default::default() }),
        account: format!("project-{:04}-bot", n % 5_000),
        fact: Some(pb::event::Fact::TokenUsed(used)),
        ..Default::default()
    }
}

/// Nanoseconds for each of many calls.
fn per_call<T>(inputs: Vec<T>, mut call: impl FnMut(T)) -> f64 {
    let count = inputs.len();
    let began = Instant::now();
    inputs.into_iter().for_each(&mut call);
    began.elapsed().as_nanos() as f64 / count as f64
}

fn sequencer() -> Option<Sequencer> {
    Sequencer::new(State::default(), Tail::default(), LedgerName::default(), LedgerUid([7; 16])).ok()
}

fn one_round(messages: &[pb::Event]) -> Option<[(&'static str, f64); 6]> {
    let sent: Vec<Vec<u8>> = messages.iter().map(Message::encode_to_vec).collect();
    let decode = per_call(sent, |bytes| {
        black_box(pb::Event::decode(bytes.as_slice()).is_ok());
    });
    let parse = per_call(messages.iter().collect(), |message| {
        black_box(event::parse(message).is_ok());
    });
    let events: Vec<Event> = messages.iter().filter_map(|m| event::parse(m).ok()).collect();
    let encode = per_call(events.iter().collect(), |event| {
        black_box(event::encode_sent(event).len());
    });
    let keys = per_call(events.iter().collect(), |event| {
        black_box(IdKey::of(&event.emitter, &event.event_id));
    });
    let mut writer = sequencer()?;
    let propose = per_call(events, |event| {
        let proposals = vec![Proposal { event, expected_version: None }];
        let request = Request { proposals, atomic: false, validate_only: false, strict: false };
        black_box(writer.propose(request, &|_| Ok(Vec::new()), Time(1_726_012_800_000_000_000)));
    });
    let link = per_call(writer.take_group(), |record| {
        black_box(entry::link(&record.entry));
    });
    Some([
        ("decode the message", decode),
        ("parse and check it", parse),
        ("encode what is stored", encode),
        ("key of the event id", keys),
        ("link of the entry", link),
        ("decide, encode, link, fold: all of the sequencer", propose),
    ])
}

fn main() {
    let messages: Vec<pb::Event> = (0..EVENTS).map(message).collect();
    let bytes = messages.iter().map(Message::encoded_len).sum::<usize>() / messages.len();
    let rounds: Vec<_> = (0..ROUNDS).filter_map(|_| one_round(&messages)).collect();
    println!("{bytes} bytes an event, {EVENTS} events, median of {} rounds", rounds.len());
    for stage in 0..rounds.first().map_or(0, |round| round.len()) {
        let mut times: Vec<f64> = rounds.iter().map(|round| round[stage].1).collect();
        times.sort_by(f64::total_cmp);
        println!("{:8.0} ns  {}", times[times.len() / 2], rounds[0][stage].0);
    }
}
