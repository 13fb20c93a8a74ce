//! What each stage of an event costs on this machine, one thread, in nanoseconds: `cargo bench --bench stages`. Each line
//! is the median of several rounds; the stages take turns, so that a slow moment of the machine hits all alike.
//! `docs/performance.md` has the table that this fills.
#![allow(missing_docs, clippy::print_stdout, reason = "the figures are the purpose")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use ledger::decide::{Decision, decide};
use ledger::disk::RealDisk;
use ledger::entry::{self, Header, IdKey, Record};
use ledger::event::{self, Event, Recorded};
use ledger::ids::{IdIndex, IdOptions};
use ledger::log::{LogStore, SegmentLog, SegmentOptions, Tail};
use ledger::pb;
use ledger::sequencer::{Accepted, Proposal, Receipt, Request, Sequencer};
use ledger::state::State;
use ledger::types::{LedgerName, LedgerUid, Link, Position, Time};
use prost::Message;
use tokenledger::projection;
use tokenledger::store::{Index, MemoryStore, ProjectionStore, SledOptions, SledStore};
use tokenledger::wire::convert;
use uuid::Uuid;

const EVENTS: u64 = 20_000;
const ACCOUNTS: u64 = 5_000;
const ROUNDS: usize = 7;
/// Ids that the index knows before.
const KNOWN_IDS: u64 = 1_000_000;
/// Events that become durable together: as many as one request each of 64 callers, and as eight batches of a hundred.
const GROUPS: [usize; 2] = [64, 800];
/// How many events are indexed between two writes to the store.
const FLUSH_ENTRIES: u64 = 8_192;
const NOW: Time = Time(1_726_012_800_000_000_000);

type Stage = (&'static str, f64);
type Failed = Box<dyn Error>;

fn about(n: u64, account: u64, fact: pb::event::Fact) -> pb::Event {
    pb::Event {
        event_id: Uuid::from_u64_pair(n.wrapping_mul(0x9E37_79B9_7F4A_7C15), n).to_string(),
        emitter: "bench".into(),
        occurred_at: Some(prost_types::Timestamp { seconds: 1_726_012_800, nanos: 0 }),
        actor: Some(pb::Actor { kind: pb::ActorKind::Automation.into(), id: "token-service".into() }),
        cause: Some(pb::Cause {
            run: "usage/2024-09-11".into(),
            reason: "as planned ".repeat(6),
            ..Default::default()
        }),
        account: format!("project-{account:04}-bot"),
        fact: Some(fact),
        ..Default::default()
    }
}

/// A use of a token, as large as the events of W1.
fn used(n: u64) -> pb::Event {
    let token = format!("token-{:05}", n % ACCOUNTS);
    about(n, n % ACCOUNTS, pb::event::Fact::TokenUsed(pb::TokenUsed { token, uses: 1, ..Default::default() }))
}

/// What must be there before: each account, with a token.
fn opening() -> impl Iterator<Item = pb::Event> {
    (0..ACCOUNTS).flat_map(|account| {
        let created = pb::AccountCreated {
            kind: pb::AccountKind::Bot.into(),
            handle: format!("bot-{account}"),
            ..Default::default()
        };
        let never = pb::expiry::Expiry::Never(pb::expiry::Never {});
        let issued = pb::TokenIssued {
            token: format!("token-{account:05}"),
            expiry: Some(pb::Expiry { expiry: Some(never) }),
            ..Default::default()
        };
        let ids = 1 << 40 | account << 1;
        [
            about(ids, account, pb::event::Fact::AccountCreated(created)),
            about(ids | 1, account, pb::event::Fact::TokenIssued(issued)),
        ]
    })
}

fn recorded(position: u64, event: Event) -> Recorded {
    Recorded { position: Position(position), recorded_at: NOW, annotations: Default::default(), event }
}

fn opened() -> State {
    let mut state = State::default();
    for (position, message) in opening().enumerate() {
        if let Ok(event) = event::parse(&message) {
            state.apply(&recorded(position as u64, event));
        }
    }
    state
}

/// Nanoseconds for each of many calls.
fn per_call<T>(inputs: Vec<T>, mut call: impl FnMut(T)) -> f64 {
    let count = inputs.len();
    let began = Instant::now();
    inputs.into_iter().for_each(&mut call);
    began.elapsed().as_nanos() as f64 / count as f64
}

/// Decoding and checking, from the bytes on the socket to an event.
fn arriving(messages: &[pb::Event], stages: &mut Vec<Stage>) -> Vec<Event> {
    let sent: Vec<Vec<u8>> = messages.iter().map(Message::encode_to_vec).collect();
    let decode = per_call(sent, |bytes| {
        let message = pb::Event::decode(bytes.as_slice());
        // The codec compares lengths, so that no unknown field is dropped in silence.
        black_box(message.is_ok_and(|message| message.encoded_len() == bytes.len()));
    });
    stages.push(("decode, refusing unknown fields", decode));
    let parse = per_call(messages.iter().collect(), |message| {
        black_box(event::parse(message).is_ok());
    });
    stages.push(("parse and check", parse));
    messages.iter().filter_map(|message| event::parse(message).ok()).collect()
}

/// What the sequencer does to an event, stage by stage, and all of it.
fn deciding(events: &[Event], ids: &IdIndex, stages: &mut Vec<Stage>) -> Result<(), Failed> {
    let look_up = per_call(events.iter().collect(), |event| {
        let key = IdKey::of(&event.emitter, &event.event_id);
        black_box(ids.candidates(key).is_ok());
    });
    stages.push(("id look-up, 1 M known", look_up));
    let mut state = opened();
    let mut annotations = Vec::with_capacity(events.len());
    let deciding = per_call(events.iter().collect(), |event| {
        if let Decision::Record(found) = decide(&state, event, NOW, false) {
            annotations.push(found);
        }
    });
    stages.push(("decide", deciding));
    let mut entries = Vec::with_capacity(events.len());
    let encoding = per_call(events.iter().collect(), |event| {
        let header = header_of(event, entries.len() as u64);
        entries.push(entry::encode(&header, &event::encode_sent(event)).unwrap_or_default());
    });
    stages.push(("encode", encoding));
    let link = per_call(entries.iter().collect(), |entry| {
        black_box(entry::link(entry));
    });
    stages.push(("link", link));
    let first = state.next().0;
    let all: Vec<Recorded> =
        events.iter().enumerate().map(|(n, event)| recorded(first + n as u64, event.clone())).collect();
    let fold = per_call(all, |event| state.apply(&event));
    stages.push(("fold", fold));
    let mut buffer = Vec::with_capacity(512);
    let frame = per_call(entries.iter().collect(), |entry| {
        buffer.clear();
        buffer.extend_from_slice(&crc32fast::hash(entry).to_le_bytes());
        buffer.extend_from_slice(entry);
        black_box(buffer.len());
    });
    stages.push(("frame and CRC", frame));
    stages.push(("all of the sequencer, without the look-up", sequencing(events)?));
    Ok(())
}

fn header_of(event: &Event, position: u64) -> Header {
    Header {
        uid: LedgerUid([7; 16]),
        position: Position(position),
        epoch: 0,
        previous: Link::default(),
        recorded_at: NOW,
        event_id: event.event_id,
        emitter: event.emitter.clone(),
    }
}

fn sequencer() -> Result<Sequencer, Failed> {
    let uid = LedgerUid([7; 16]);
    let mut writer = Sequencer::new(State::default(), Tail::default(), LedgerName::default(), uid)
        .map_err(|_| "a sequencer cannot be made")?;
    for message in opening() {
        if let Ok(event) = event::parse(&message) {
            writer.propose(asked(event), &|_| Ok(Vec::new()), NOW);
        }
    }
    Ok(writer)
}

fn asked(event: Event) -> Request {
    let proposals = vec![Proposal::new(event, None)];
    Request { proposals, atomic: false, validate_only: false, strict: false }
}

fn sequencing(events: &[Event]) -> Result<f64, Failed> {
    let mut writer = sequencer()?;
    let requests: Vec<Request> = events.iter().cloned().map(asked).collect();
    Ok(per_call(requests, |request| {
        black_box(writer.propose(request, &|_| Ok(Vec::new()), NOW));
    }))
}

/// The groups that a sequencer hands out, written and synced.
fn writing(events: &[Event], group: usize) -> Result<f64, Failed> {
    let dir = tempfile::tempdir()?;
    let (log, _) = SegmentLog::open(Arc::new(RealDisk), dir.path(), SegmentOptions::default())?;
    let mut writer = sequencer()?;
    for event in events.iter().take(group * 40) {
        writer.propose(asked(event.clone()), &|_| Ok(Vec::new()), NOW);
    }
    let mut records: Vec<Record> = Vec::new();
    while writer.pending() > 0 {
        records.extend(writer.take_group());
    }
    let (mut nanos, mut count) = (0, 0);
    for group in records.chunks(group) {
        if log.wants_next() {
            log.prepare_next()?;
        }
        let began = Instant::now();
        log.append(log.tail().next, group)?;
        nanos += began.elapsed().as_nanos();
        count += group.len();
    }
    Ok(nanos as f64 / count as f64)
}

/// The answer to one event, encoded.
fn acknowledging(events: &[Event]) -> f64 {
    per_call(events.iter().collect(), |event| {
        let receipt = Receipt::of(&header_of(event, 7), Link([1; 32]));
        let accepted = Accepted { receipt, already_present: false, annotations: Default::default() };
        let accepted = Some(convert::accepted(&accepted, false));
        black_box(pb_answer(accepted));
    })
}

fn pb_answer(accepted: Option<tokenledger::wire::pb::Accepted>) -> Vec<u8> {
    tokenledger::wire::pb::AppendResponse { accepted }.encode_to_vec()
}

/// The lists in which queries find an event.
fn indexing(events: &[Event], store: Arc<dyn ProjectionStore>) -> Result<f64, Failed> {
    let mut index = Index::open(store, "stages.1")?;
    let began = Instant::now();
    for (position, event) in (0..).zip(events) {
        index.add(position, &projection::keys(&recorded(position, event.clone())))?;
        if position % FLUSH_ENTRIES == FLUSH_ENTRIES - 1 {
            index.flush([0; 32])?;
        }
    }
    index.flush([0; 32])?;
    Ok(began.elapsed().as_nanos() as f64 / events.len() as f64)
}

fn one_round(messages: &[pb::Event], ids: &IdIndex) -> Result<Vec<Stage>, Failed> {
    let mut stages = Vec::new();
    let events = arriving(messages, &mut stages);
    deciding(&events, ids, &mut stages)?;
    let [small, large] = GROUPS;
    stages.push(("write and fdatasync, with frames, 64 together", writing(&events, small)?));
    stages.push(("write and fdatasync, with frames, 800 together", writing(&events, large)?));
    stages.push(("acknowledge", acknowledging(&events)));
    stages.push(("index, in memory", indexing(&events, Arc::new(MemoryStore::new()))?));
    let dir = tempfile::tempdir()?;
    let sled = SledStore::open(&dir.path().join("sled"), SledOptions::default())?;
    stages.push(("index, in sled", indexing(&events, Arc::new(sled))?));
    Ok(stages)
}

fn known_ids(dir: &std::path::Path) -> Result<IdIndex, Failed> {
    let mut ids = IdIndex::open(Arc::new(RealDisk), dir, IdOptions::new(LedgerUid([7; 16])))?;
    for n in 0..KNOWN_IDS {
        ids.insert(IdKey(n.wrapping_mul(0xBF58_476D_1CE4_E5B9)), Position(n));
        while let Some(job) = ids.next_job() {
            let done = job.run()?;
            ids.install(done);
        }
    }
    Ok(ids)
}

fn main() -> Result<(), Failed> {
    let dir = tempfile::tempdir()?;
    let ids = known_ids(dir.path())?;
    let messages: Vec<pb::Event> = (0..EVENTS).map(used).collect();
    let bytes = messages.iter().map(Message::encoded_len).sum::<usize>() / messages.len();
    let rounds = (0..ROUNDS).map(|_| one_round(&messages, &ids)).collect::<Result<Vec<_>, _>>()?;
    println!("{bytes} bytes an event, {EVENTS} events, median of {ROUNDS} rounds");
    for (stage, (name, _)) in rounds.first().into_iter().flatten().enumerate() {
        let mut times: Vec<f64> = rounds.iter().filter_map(|round| round.get(stage)).map(|s| s.1).collect();
        times.sort_by(f64::total_cmp);
        println!("{:8.0} ns  {name}", times.get(times.len() / 2).copied().unwrap_or_default());
    }
    Ok(())
}
