//! The writer as a state machine, against a model that is too simple to be wrong; and its promises one by one.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use uuid::Uuid;

use super::{Accepted, Proposal, Proposed, Receipt, Refused, Request, Sequencer, own_event};
use crate::decide::{Decision, decide};
use crate::entry::{self, IdKey, Record};
use crate::event::{
    self, AccountId, AccountKind, Annotations, Cause, Event, Expiry, Fact, Handle, IssuedToken, PolicyMode,
    Recorded, Text, TokenId, encode_sent,
};
use crate::guard::Findings;
use crate::log::{FRAME_BYTES, GROUP_BYTES_MAX, GROUP_ENTRIES_MAX, Tail};
use crate::state::State;
use crate::testing::{self, DAY};
use crate::types::{Emitter, LedgerName, LedgerUid, Link, Position, Time};

const UID: LedgerUid = LedgerUid([7; 16]);

/// A sequencer with the log that it writes.
struct Driven {
    sequencer: Sequencer,
    durable: Vec<Record>,
}

fn recorded(record: &Record) -> Recorded {
    let (header, bytes) = entry::decode(&record.entry).unwrap();
    event::stored(&header, bytes)
}

fn fold(log: &[Record]) -> State {
    let mut state = State::default();
    log.iter().for_each(|record| state.apply(&recorded(record)));
    state
}

fn tail(log: &[Record]) -> Tail {
    log.last()
        .map_or_else(Tail::default, |last| Tail::after(&entry::decode(&last.entry).unwrap().0, last.link))
}

impl Driven {
    fn on(durable: Vec<Record>) -> Self {
        let sequencer = Sequencer::new(fold(&durable), tail(&durable), LedgerName::default(), UID).unwrap();
        Self { sequencer, durable }
    }

    fn new() -> Self {
        Self::on(Vec::new())
    }

    fn propose(&mut self, request: Request, now: Time) -> Proposed {
        let durable = &self.durable;
        let of_key = |key: IdKey| {
            Ok(durable.iter().filter(|record| record.id_key() == Some(key)).cloned().collect::<Vec<_>>())
        };
        self.sequencer.propose(request, &of_key, now)
    }

    /// Writes one group.
    fn write(&mut self) -> usize {
        let group = self.sequencer.take_group();
        self.durable.extend(group.iter().cloned());
        self.sequencer.durable(&group);
        group.len()
    }

    fn write_all(&mut self) {
        while self.write() > 0 {}
    }
}

fn single(event: Event) -> Request {
    request(vec![event])
}

fn request(events: Vec<Event>) -> Request {
    let proposals = events.into_iter().map(|event| Proposal::new(event, None)).collect();
    Request { proposals, atomic: false, validate_only: false, strict: false }
}

fn atomic(events: Vec<Event>) -> Request {
    Request { atomic: true, ..request(events) }
}

/// What a request comes to, as far as the model tells: where an event stands and whether it was there, or why not.
type Answer = Result<(Position, bool), String>;

fn answers(proposed: &Proposed) -> Vec<Answer> {
    let answer = |result: &Result<Accepted, Refused>| match result {
        Ok(accepted) => Ok((accepted.receipt.position, accepted.already_present)),
        Err(refused) => Err(refused.reason().to_owned()),
    };
    proposed.results.iter().map(answer).collect()
}

/// Keeps everything in plain lists, and copies all of it before it tries something.
#[derive(Clone)]
struct Model {
    state: State,
    lines: Vec<(Emitter, Uuid, Vec<u8>, Time)>,
}

impl Model {
    fn on(log: &[Record]) -> Self {
        let line = |record: &Record| {
            let Recorded { event, recorded_at, .. } = recorded(record);
            (event.emitter.clone(), event.event_id, encode_sent(&event), recorded_at)
        };
        Self { state: fold(log), lines: log.iter().map(line).collect() }
    }

    fn record(&mut self, event: &Event, annotations: Annotations, now: Time) -> Position {
        let recorded_at = self.lines.last().map_or(now, |line| line.3.max(now));
        let position = Position(self.lines.len() as u64);
        self.state.apply(&Recorded { event: event.clone(), annotations, position, recorded_at });
        self.lines.push((event.emitter.clone(), event.event_id, encode_sent(event), recorded_at));
        position
    }

    fn one(
        &mut self,
        asked: &Proposal,
        strict: bool,
        now: Time,
    ) -> Result<(Position, bool), (String, Option<Findings>)> {
        let event = &asked.event;
        let line = self.lines.iter().position(|line| (&line.0, line.1) == (&event.emitter, event.event_id));
        if let Some(line) = line {
            let same = self.lines[line].2 == encode_sent(event);
            return if same {
                Ok((Position(line as u64), true))
            } else {
                Err(("event_id_taken".into(), None))
            };
        }
        let version =
            event.account.as_ref().and_then(|id| self.state.slot(id)).map_or(0, |slot| slot.version);
        if asked.expected_version.is_some_and(|expected| expected != version) {
            return Err(("version_moved".into(), None));
        }
        match decide(&self.state, event, now, strict) {
            Decision::Record(annotations) => Ok((self.record(event, annotations, now), false)),
            Decision::Refuse(findings) => Err((findings.violations[0].rule.clone(), Some(findings))),
        }
    }

    fn refuse(&mut self, event: &Event, now: Time) {
        let id = Uuid::new_v5(&event.event_id, &(self.lines.len() as u64).to_le_bytes());
        let fact = Fact::RequestRefused {
            refused_event_id: event.event_id,
            refused_emitter: event.emitter.clone(),
            refused_kind: Text::own(event.fact.kind().name()),
            refused_account: event.account.clone(),
            violations: Vec::new(),
            evidence: Vec::new(),
        };
        self.record(&own_event(id, now, Cause::default(), fact), Annotations::default(), now);
    }

    fn propose(&mut self, request: &Request, now: Time) -> Vec<Answer> {
        let at_first = self.clone();
        if self.lines.is_empty() {
            let fact = Fact::LedgerCreated { name: Text::own("default") };
            let genesis = own_event(Uuid::from_bytes(UID.0), now, Cause::default(), fact);
            self.record(&genesis, Annotations::default(), now);
        }
        let before = self.clone();
        let mut answers = Vec::new();
        let silent = request.strict || request.validate_only;
        for (index, asked) in request.proposals.iter().enumerate() {
            match self.one(asked, request.strict, now) {
                Ok(answer) => answers.push(Ok(answer)),
                Err((reason, findings)) => {
                    if request.atomic {
                        *self = before.clone();
                        answers = vec![Err("batch_refused".to_owned()); request.proposals.len()];
                        answers[index] = Err(reason);
                    } else {
                        answers.push(Err(reason));
                    }
                    if findings.is_some() && !silent {
                        self.refuse(&asked.event, now);
                    }
                    if request.atomic {
                        break;
                    }
                }
            }
        }
        if request.validate_only {
            *self = before;
        }
        if self.lines.len() == 1 {
            *self = at_first;
        }
        answers
    }
}

#[derive(Clone, Debug)]
enum Step {
    Propose(Request),
    Write,
    /// What was not written is lost, with the machine.
    Crash,
    /// The clock jumps.
    Clock(i64),
}

fn policy() -> impl Strategy<Value = Fact> {
    prop_oneof![Just(PolicyMode::Observe), Just(PolicyMode::Enforce), Just(PolicyMode::Enforce)]
        .prop_map(|mode| Fact::PolicyChanged { namespace: None, mode })
}

/// Requests for events of a small pool, so that they come again, some of them with other content.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fact = prop_oneof![9 => testing::account_fact(), 2 => policy()];
    vec(testing::event_of(fact), 12..13).prop_flat_map(|mut pool| {
        for event in &mut pool {
            event.emitter = "tests".parse().unwrap();
        }
        let other = |mut event: Event, changed: bool| {
            if changed {
                event.actor.id = Text::own("another");
            }
            event
        };
        let event = (proptest::sample::select(pool), prop::bool::weighted(0.1))
            .prop_map(move |(event, changed)| other(event, changed));
        let proposal = (event, option::weighted(0.2, 0..3_u64))
            .prop_map(|(event, expected_version)| Proposal::new(event, expected_version));
        let request =
            (vec(proposal, 1..5), any::<bool>(), prop::bool::weighted(0.1), prop::bool::weighted(0.1))
                .prop_map(|(proposals, atomic, validate_only, strict)| Request {
                    proposals,
                    atomic,
                    validate_only,
                    strict,
                });
        let step = prop_oneof![
            6 => request.prop_map(Step::Propose),
            3 => Just(Step::Write),
            1 => Just(Step::Crash),
            1 => (-100..100_i64).prop_map(Step::Clock),
        ];
        vec(step, 1..40)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn whatever_is_asked_the_answers_are_those_of_the_model(steps in steps()) {
        let mut driven = Driven::new();
        let mut model = Model::on(&[]);
        let mut now = DAY;
        for step in steps {
            match step {
                Step::Propose(request) => {
                    let proposed = driven.propose(request.clone(), now);
                    prop_assert_eq!(answers(&proposed), model.propose(&request, now));
                    prop_assert_eq!(proposed.not_before, Position(model.lines.len() as u64));
                }
                Step::Write => drop(driven.write()),
                Step::Crash => {
                    driven = Driven::on(driven.durable);
                    model = Model::on(&driven.durable);
                }
                Step::Clock(seconds) => now = now.plus_seconds(seconds),
            }
            prop_assert_eq!(driven.sequencer.state(), &model.state);
            prop_assert_eq!(driven.sequencer.tail().next.0, model.lines.len() as u64);
        }
        driven.write_all();
        prop_assert_eq!(fold(&driven.durable), model.state);
        let mut previous = Link::default();
        for (record, line) in driven.durable.iter().zip(&model.lines) {
            let (header, bytes) = entry::decode(&record.entry).unwrap();
            prop_assert_eq!(header.previous, previous);
            prop_assert_eq!(entry::link(&record.entry), record.link);
            prop_assert_eq!((&header.emitter, header.event_id, header.recorded_at), (&line.0, line.1, line.3));
            prop_assert_eq!(header.uid, UID);
            let recorded = event::stored(&header, bytes);
            if !recorded.event.fact.kind().is_ledgers_own() {
                prop_assert_eq!(&encode_sent(&recorded.event), &line.2);
            }
            previous = record.link;
        }
        prop_assert_eq!(driven.durable.len(), model.lines.len());
    }
}

fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn about(account: &str, n: u128, fact: Fact) -> Event {
    Event {
        emitter: "tests".parse().unwrap(),
        account: (!account.is_empty()).then(|| AccountId(Text::own(account))),
        ..own_event(id(n), DAY, Cause::default(), fact)
    }
}

fn created(n: u128, account: &str) -> Event {
    let fact = Fact::AccountCreated {
        kind: AccountKind::Bot,
        handle: Handle(Text::own(account)),
        owner: None,
        namespace: None,
        environment: None,
        protected: false,
        attributes: Default::default(),
    };
    about(account, n, fact)
}

fn issued(n: u128, account: &str, token: &str) -> Event {
    let token = TokenId(Text::own(token));
    let issued = IssuedToken { token, digest: None, family: None, scopes: Vec::new(), expiry: Expiry::Never };
    about(account, n, Fact::TokenIssued(issued))
}

fn deleted(n: u128, account: &str) -> Event {
    about(account, n, Fact::AccountDeleted { retain_until: None })
}

fn enforce(n: u128) -> Event {
    about("", n, Fact::PolicyChanged { namespace: None, mode: PolicyMode::Enforce })
}

fn receipt(proposed: &Proposed, index: usize) -> Receipt {
    proposed.results[index].as_ref().unwrap().receipt.clone()
}

#[test]
fn the_same_event_gets_the_same_receipt_staged_and_durable_and_within_a_batch() {
    let mut driven = Driven::new();
    let event = created(1, "a");
    let first = driven.propose(single(event.clone()), DAY);
    let staged = driven.propose(single(event.clone()), DAY.plus_seconds(9));
    let batch = driven.propose(atomic(vec![issued(2, "a", "t"), event.clone(), issued(2, "a", "t")]), DAY);
    driven.write_all();
    let durable = driven.propose(single(event), DAY.plus_seconds(99));
    for again in [receipt(&staged, 0), receipt(&durable, 0), receipt(&batch, 1)] {
        assert_eq!(again, receipt(&first, 0));
    }
    assert_eq!(receipt(&batch, 2), receipt(&batch, 0));
    let present = |p: &Proposed, i: usize| p.results[i].as_ref().unwrap().already_present;
    assert!(!present(&first, 0) && present(&staged, 0) && present(&durable, 0));
    assert!(!present(&batch, 0) && present(&batch, 1) && present(&batch, 2));
    assert_eq!(driven.durable.len(), 3, "genesis and two events");
    assert_eq!(driven.durable[2].batch, (0, 1), "what was there already is no part of the batch");
}

#[test]
fn an_atomic_batch_that_fails_leaves_everything_as_it_was() {
    let (mut driven, mut twin) = (Driven::new(), Driven::new());
    for each in [&mut driven, &mut twin] {
        each.propose(request(vec![created(1, "a"), issued(2, "a", "t")]), DAY);
    }
    let before = (driven.sequencer.state().clone(), driven.sequencer.tail(), driven.sequencer.pending());
    let taken = Event { fact: Fact::AccountDisabled, ..created(1, "a") };
    let batch = vec![created(5, "b"), issued(6, "a", "u"), enforce(7), taken];
    let answers = answers(&driven.propose(atomic(batch), DAY.plus_seconds(5)));
    assert_eq!(answers[3], Err("event_id_taken".into()));
    assert!(answers[..3].iter().all(|a| *a == Err("batch_refused".into())));
    let after = (driven.sequencer.state().clone(), driven.sequencer.tail(), driven.sequencer.pending());
    assert_eq!(after, before);
    // The ids of the batch are free: the same goes for a machine that never saw it.
    for each in [&mut driven, &mut twin] {
        let proposed = each.propose(single(issued(6, "a", "v")), DAY);
        assert!(!proposed.results[0].as_ref().unwrap().already_present);
        each.write_all();
    }
    assert_eq!(driven.durable, twin.durable);
}

#[test]
fn a_first_request_that_is_refused_makes_no_ledger() {
    let far = Event { occurred_at: DAY.plus_seconds(super::FUTURE_SECONDS_MAX + 1), ..created(1, "a") };
    let validated = Request { validate_only: true, ..single(created(1, "a")) };
    let strict = Request { strict: true, ..single(issued(2, "a", "t")) };
    for asked in [single(far.clone()), atomic(vec![created(3, "b"), far]), validated, strict] {
        let mut driven = Driven::new();
        let proposed = driven.propose(asked, DAY);
        assert_eq!(driven.sequencer.tail(), Tail::default(), "{proposed:?}");
        assert_eq!((driven.sequencer.pending(), proposed.not_before), (0, Position(0)));
        assert_eq!(driven.sequencer.state(), &State::default());
        assert!(driven.sequencer.staged.is_empty(), "nor is an id used up");
        driven.propose(single(created(1, "a")), DAY);
        driven.write_all();
        assert_eq!(driven.durable.len(), 2, "and the next one makes it");
    }
}

#[test]
fn groups_hold_whole_batches_and_keep_their_bounds() {
    let mut driven = Driven::new();
    driven.propose(single(created(0, "a")), DAY);
    for batch in 0..10_u128 {
        let event = |n| issued(1 + batch * 1_000 + n, &format!("a{}", n % 250), &format!("{batch}-{n}"));
        let events = (0..1_000).map(event);
        driven.propose(atomic(events.collect()), DAY);
    }
    let first = driven.sequencer.take_group();
    assert_eq!(first.len(), 2 + 8 * 1_000, "as many whole batches as fit in {GROUP_ENTRIES_MAX}");
    assert_eq!(first[2].batch, (0, 1_000));
    assert_eq!(first.last().unwrap().batch, (999, 1_000));
    assert_eq!(driven.sequencer.take_group().len(), 2 * 1_000);
    assert!(driven.sequencer.take_group().is_empty());
}

#[test]
fn groups_keep_their_bound_of_bytes() {
    let mut driven = Driven::new();
    let attributes =
        |n: u128| (0..13).map(move |i| (Text::own(&format!("k{i}")), "v".repeat(4_000 + n as usize % 2)));
    for n in 0..300 {
        let mut event = created(n, &format!("a{n}"));
        if let Fact::AccountCreated { attributes: own, .. } = &mut event.fact {
            own.extend(attributes(n));
        }
        assert!(driven.propose(single(event), DAY).results[0].is_ok());
    }
    let bytes = |group: &[Record]| group.iter().map(|r| r.entry.len() + FRAME_BYTES).sum::<usize>();
    let mut total = 0;
    loop {
        let group = driven.sequencer.take_group();
        if group.is_empty() {
            break;
        }
        total += group.len();
        assert!(bytes(&group) <= GROUP_BYTES_MAX);
        assert!(total == 301 || bytes(&group) + 60_000 > GROUP_BYTES_MAX, "but they are filled");
    }
    assert_eq!(total, 301);
}

#[test]
fn the_time_of_recording_never_goes_back() {
    let mut driven = Driven::new();
    for (n, seconds) in [0, 50, -1_000, 20, 60].into_iter().enumerate() {
        driven.propose(single(created(n as u128, &format!("a{n}"))), DAY.plus_seconds(seconds));
    }
    driven.write_all();
    let times: Vec<Time> = driven.durable.iter().map(|r| recorded(r).recorded_at).collect();
    let expected = [0, 0, 50, 50, 50, 60].map(|seconds| DAY.plus_seconds(seconds));
    assert_eq!(times, expected);
    let mut again = Driven::on(driven.durable);
    again.propose(single(created(9, "z")), DAY.plus_seconds(-9_000));
    again.write_all();
    assert_eq!(
        recorded(again.durable.last().unwrap()).recorded_at,
        DAY.plus_seconds(60),
        "nor over a restart"
    );
}

#[test]
fn a_refusal_is_recorded_with_its_evidence_and_the_id_stays_free() {
    let mut driven = Driven::new();
    driven.propose(request(vec![enforce(1), created(2, "a"), issued(3, "a", "t")]), DAY);
    let refused = driven.propose(single(deleted(4, "a")), DAY);
    assert!(matches!(&refused.results[0], Err(Refused::Rules(f)) if f.evidence == ["token/t"]));
    driven.write_all();
    assert_eq!(driven.durable.len(), 5);
    let Recorded { event, .. } = recorded(&driven.durable[4]);
    assert_eq!(event.emitter, Emitter::ledger());
    assert_eq!(event.actor, deleted(4, "a").actor, "who was refused");
    let Fact::RequestRefused {
        refused_event_id, refused_kind, refused_account, violations, evidence, ..
    } = event.fact
    else {
        panic!("{event:?}")
    };
    assert_eq!((refused_event_id, refused_kind.as_str()), (id(4), "AccountDeleted"));
    assert_eq!(refused_account.unwrap().as_str(), "a");
    assert_eq!((violations[0].rule.as_str(), evidence), ("active_tokens", vec!["token/t".to_owned()]));
    // Each refusal is an event of its own.
    driven.propose(single(deleted(4, "a")), DAY);
    driven.write_all();
    assert_eq!(driven.durable.len(), 6);
    // Another event may use the id, for nothing was recorded under it.
    let proposed = driven.propose(single(issued(4, "a", "u")), DAY);
    assert!(!proposed.results[0].as_ref().unwrap().already_present);
}

#[test]
fn an_atomic_batch_that_breaks_a_rule_records_the_refusal_alone() {
    let mut driven = Driven::new();
    driven.propose(request(vec![enforce(1), created(2, "a"), issued(3, "a", "t")]), DAY);
    let proposed = driven.propose(atomic(vec![created(5, "b"), deleted(4, "a")]), DAY);
    assert_eq!(answers(&proposed), [Err("batch_refused".into()), Err("active_tokens".into())]);
    driven.write_all();
    let kinds: Vec<&str> = driven.durable.iter().map(|r| recorded(r).event.fact.kind().name()).collect();
    assert_eq!(kinds[4..], ["RequestRefused"]);
    assert_eq!(driven.durable[4].batch, (0, 1));
}

#[test]
fn what_does_not_fit_in_an_entry_is_refused() {
    let mut driven = Driven::new();
    let mut large = created(1, "a");
    if let Fact::AccountCreated { attributes, .. } = &mut large.fact {
        attributes.extend((0..17).map(|i| (Text::own(&format!("k{i}")), "v".repeat(4_000))));
    }
    let proposed = driven.propose(single(large), DAY);
    assert_eq!(proposed.results, [Err(Refused::Large)]);
    assert_eq!(driven.sequencer.tail(), Tail::default());
}

#[test]
fn where_ids_cannot_be_read_nothing_is_recorded() {
    let mut driven = Driven::new();
    let unreadable = |_: IdKey| Err("broken".to_owned());
    let proposed = driven.sequencer.propose(single(created(1, "a")), &unreadable, DAY);
    assert_eq!(proposed.results, [Err(Refused::Unreadable("broken".into()))]);
    assert_eq!(driven.sequencer.pending(), 0);
}

#[test]
fn two_ids_with_one_key_are_two_events() {
    let mut driven = Driven::new();
    driven.propose(single(created(1, "a")), DAY);
    driven.write_all();
    // An index may name entries of another id: the entry itself decides.
    let all = driven.durable.clone();
    let proposed = driven.sequencer.propose(single(created(2, "b")), &move |_| Ok(all.clone()), DAY);
    assert!(!proposed.results[0].as_ref().unwrap().already_present);
}

#[test]
fn a_state_of_another_position_is_not_taken() {
    let other = Tail { next: Position(3), ..Tail::default() };
    let refused = Sequencer::new(State::default(), other, LedgerName::default(), UID).unwrap_err();
    assert_eq!(refused, (Position(0), Position(3)));
}
