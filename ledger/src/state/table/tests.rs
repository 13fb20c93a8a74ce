//! A table is a map: whatever is done to it, it has what a `BTreeMap` would have, and comes back so from its bytes.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::{BLOCK_BYTES, Blocks, Packed, Table};
use crate::event::{Expiry, FamilyId, GrantId, RevocationReason, Text, TokenDigest, TokenId};
use crate::state::{Consumer, Grant, Standing, Token};
use crate::testing;
use crate::types::Time;

type Tokens = Table<TokenId, Token>;
type Model = BTreeMap<TokenId, Token>;

/// Names that share beginnings, that are beginnings of others, and of which some are cut within a character.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{1,6}",
        "[éèê]{1,3}",
        "tok-00[0-3]{2}-[0-9]{3}",
        (0..200_usize).prop_map(|n| "x".repeat(n + 1)),
        "[a-zA-Z0-9é/:._-]{1,40}",
    ]
}

fn id() -> impl Strategy<Value = TokenId> {
    name().prop_map(|name| TokenId(Text::own(&name)))
}

fn text() -> impl Strategy<Value = Text> {
    name().prop_map(|name| Text::own(&name))
}

fn digest() -> impl Strategy<Value = TokenDigest> {
    prop_oneof![
        4 => "sha256:[0-9a-f]{64}",
        1 => "blake3:[0-9a-f]{64}",
        1 => "sha384:[0-9a-f]{96}",
        1 => "hmac-sha256:key-[0-9]:[0-9a-f]{64}"
    ]
    .prop_map(|text| TokenDigest::new(&text).unwrap())
}

fn standing() -> impl Strategy<Value = Standing> {
    let time = || testing::any_time();
    let expiry = prop_oneof![Just(Expiry::Never), Just(Expiry::Unknown), time().prop_map(Expiry::At)];
    let reason = proptest::sample::select(vec![
        RevocationReason::Unspecified,
        RevocationReason::Superseded,
        RevocationReason::Unused,
        RevocationReason::Leaked,
        RevocationReason::AccountDeleted,
    ]);
    let flags = (any::<bool>(), any::<bool>());
    (expiry, option::of((time(), reason)), flags, option::of(time()), option::of(time())).prop_map(
        |(expiry, revoked, (expired, leaked), issued_at, last_used_at)| Standing {
            expiry,
            expired,
            revoked,
            leaked,
            issued_at,
            last_used_at,
        },
    )
}

fn token() -> impl Strategy<Value = Token> {
    (text(), option::of(digest()), vec(text(), 0..4), option::of(id()), standing()).prop_map(
        |(family, digest, scopes, replaced_by, standing)| {
            let mut token = Token {
                family: FamilyId(family),
                digest,
                scopes,
                replaced_by,
                ..Token::met_later(&TokenId(Text::own("any")))
            };
            token.stand(standing);
            token
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Insert(TokenId, Box<Token>),
    Restand(TokenId, Standing),
    Scope(TokenId, Text),
    Remove(TokenId),
    /// Another copy is there from now on: what is changed later must not change in it.
    Copy,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (id(), token()).prop_map(|(id, token)| Step::Insert(id, Box::new(token))),
        2 => (id(), standing()).prop_map(|(id, standing)| Step::Restand(id, standing)),
        2 => (id(), text()).prop_map(|(id, scope)| Step::Scope(id, scope)),
        3 => id().prop_map(Step::Remove),
        1 => Just(Step::Copy),
    ]
}

fn take(step: Step, table: &mut Tokens, model: &mut Model) {
    match step {
        Step::Insert(id, token) => {
            table.insert(&id, &token);
            model.insert(id, *token);
        }
        Step::Restand(id, standing) => {
            let known = table.restand(&id, |now| *now = standing);
            let token = model.get_mut(&id);
            assert_eq!(known, token.is_some());
            token.into_iter().for_each(|token| token.stand(standing));
        }
        Step::Scope(id, scope) => {
            let known = table.update(&id, |token| token.scopes.push(scope.clone()));
            let token = model.get_mut(&id);
            assert_eq!(known, token.is_some());
            token.into_iter().for_each(|token| token.scopes.push(scope.clone()));
        }
        Step::Remove(id) => assert_eq!(table.remove(&id), model.remove(&id).is_some()),
        Step::Copy => {}
    }
}

fn assert_same(table: &Tokens, model: &Model) {
    assert_eq!(table.len(), model.len());
    assert_eq!(table.is_empty(), model.is_empty());
    let records: Vec<_> = table.iter().collect();
    let expected: Vec<_> = model.iter().map(|(id, token)| (id.clone(), token.clone())).collect();
    assert_eq!(records, expected);
    assert_eq!(table.keys().collect::<Vec<_>>(), model.keys().cloned().collect::<Vec<_>>());
    for (id, token) in model {
        assert_eq!(table.get(id).as_ref(), Some(token));
        assert_eq!(table.standing(id), Some(token.standing()));
    }
}

fn written(table: &Tokens) -> Vec<u8> {
    let mut bytes = Vec::new();
    table.write(&mut bytes).unwrap();
    bytes
}

proptest! {
    #[test]
    fn a_table_has_what_a_map_would_have(steps in vec(step(), 0..120), asked in vec(id(), 0..20)) {
        let (mut table, mut model) = (Tokens::default(), Model::new());
        let mut copies = Vec::new();
        for step in steps {
            if matches!(step, Step::Copy) {
                copies.push((table.clone(), model.clone()));
            }
            take(step, &mut table, &mut model);
        }
        copies.push((table, model));
        for (table, model) in copies {
            assert_same(&table, &model);
            for id in &asked {
                prop_assert_eq!(table.get(id), model.get(id).cloned());
                prop_assert_eq!(table.contains_key(id), model.contains_key(id));
            }
            // Cut into other blocks, it is still the same.
            let other: Tokens = model.clone().into_iter().rev().collect();
            prop_assert_eq!(&other, &table);
        }
    }

    #[test]
    fn tables_that_differ_in_one_value_are_not_equal(
        records in proptest::collection::btree_map(id(), token(), 1..60),
        at in any::<prop::sample::Index>(),
        other in token(),
    ) {
        let table: Tokens = records.clone().into_iter().collect();
        let (id, token) = records.iter().nth(at.index(records.len())).unwrap();
        let mut changed = table.clone();
        changed.insert(id, &other);
        prop_assert_eq!(changed == table, *token == other);
        let mut fewer = table.clone();
        fewer.remove(id);
        prop_assert_ne!(fewer, table);
    }

    #[test]
    fn a_table_comes_back_from_its_bytes_as_it_was(
        records in proptest::collection::btree_map(id(), token(), 0..60)
    ) {
        let table: Tokens = records.clone().into_iter().collect();
        let bytes = written(&table);
        let mut source = bytes.as_slice();
        let read = Tokens::read(&mut source).unwrap();
        prop_assert!(source.is_empty());
        prop_assert_eq!(&read, &table);
        assert_same(&read, &records);
        prop_assert_eq!(written(&read), bytes);
    }

    #[test]
    fn whatever_bytes_are_read_a_table_comes_of_them_or_an_error(
        records in proptest::collection::btree_map(id(), token(), 1..60),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<bool>(),
    ) {
        let table: Tokens = records.into_iter().collect();
        let mut bytes = written(&table);
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] = byte }
        if let Ok(read) = Tokens::read(&mut bytes.as_slice()) {
            // It is a table like any other: in order, and every value is there.
            prop_assert_eq!(read.iter().count(), read.len());
            let ids: Vec<TokenId> = read.keys().collect();
            prop_assert!(ids.is_sorted_by(|a, b| a < b));
            prop_assert!(ids.iter().all(|id| read.get(id).is_some()));
        }
    }

    #[test]
    fn grants_and_consumers_come_back_as_they_were(
        resource in option::of(text()), access in option::of(text()), time in option::of(testing::any_time()),
        token in option::of(id()),
    ) {
        let grant = Grant { resource: resource.clone(), access: access.clone(), expires_at: time };
        let consumer = Consumer { component: resource, location: access.clone(), environment: access, token };
        let mut bytes = Vec::new();
        grant.pack("g", &mut bytes);
        prop_assert_eq!(Grant::unpack("g", &bytes), Some(grant));
        bytes.clear();
        consumer.pack("c", &mut bytes);
        prop_assert_eq!(Consumer::unpack("c", &bytes), Some(consumer));
    }
}

fn plain(n: usize) -> (TokenId, Token) {
    let id = TokenId(Text::own(&format!("tok-{n:07}")));
    let digest = TokenDigest::new(&format!("sha256:{n:064x}")).unwrap();
    let token = Token { digest: Some(digest), issued_at: Some(Time(7)), ..Token::met_later(&id) };
    (id, token)
}

/// Bytes of all blocks, and how many there are.
fn size(table: &Tokens) -> (usize, usize) {
    let Blocks::Many(many) = &table.blocks else { return (0, 0) };
    (many.blocks.iter().map(|block| block.bytes.len()).sum(), many.blocks.len())
}

#[test]
fn in_whatever_order_tokens_come_they_are_all_there_in_blocks_that_are_well_filled() {
    const COUNT: usize = 20_000;
    let ascending: Vec<usize> = (0..COUNT).collect();
    let descending: Vec<usize> = (0..COUNT).rev().collect();
    let scattered: Vec<usize> = (0..COUNT).map(|n| n * 7_919 % COUNT).collect();
    // Always just behind the block's last, and before the next one's first.
    let inward: Vec<usize> = (0..COUNT / 2).flat_map(|n| [n, COUNT - 1 - n]).collect();
    for order in [ascending, descending, scattered, inward] {
        let table: Tokens = order.iter().map(|n| plain(*n)).collect();
        assert_eq!(table.len(), COUNT);
        assert!(order.iter().all(|n| table.get(&plain(*n).0) == Some(plain(*n).1)));
        assert!(table.keys().eq((0..COUNT).map(|n| plain(n).0)));
        let (bytes, blocks) = size(&table);
        assert!(bytes / COUNT < 60, "{} bytes a token", bytes / COUNT);
        assert!(bytes / blocks > BLOCK_BYTES * 2 / 5, "{} bytes a block", bytes / blocks);
    }
}

#[test]
fn a_copy_shares_the_blocks_that_have_not_changed() {
    let table: Tokens = (0..5_000).map(plain).collect();
    let mut copy = table.clone();
    copy.restand(&plain(2_500).0, |standing| standing.leaked = true);
    let (Blocks::Many(ours), Blocks::Many(theirs)) = (&table.blocks, &copy.blocks) else {
        panic!("one block")
    };
    let shared = ours
        .blocks
        .iter()
        .zip(&theirs.blocks)
        .filter(|(a, b)| std::sync::Arc::ptr_eq(&a.bytes, &b.bytes))
        .count();
    assert_eq!(shared, ours.blocks.len() - 1);
}

#[test]
fn a_value_that_is_larger_than_a_block_has_its_place_too() {
    let large = |n: usize| {
        let (id, token) = plain(n);
        (id, Token { scopes: vec![Text::own(&"s".repeat(3 * BLOCK_BYTES))], ..token })
    };
    let table: Tokens = (0..30).map(plain).chain((10..20).map(large)).collect();
    assert_eq!(table.len(), 30);
    assert_eq!(table.get(&plain(15).0), Some(large(15).1));
    assert_eq!(table.get(&plain(25).0), Some(plain(25).1));
}

#[test]
fn what_was_emptied_is_as_if_it_had_never_held_anything() {
    let mut table: Table<GrantId, Grant> = Table::default();
    let name = |n: usize| GrantId(Text::own(&format!("{n}-{}", "x".repeat(100))));
    let grant = Grant { resource: None, access: None, expires_at: None };
    (0..200).for_each(|n| table.insert(&name(n), &grant));
    (0..200).for_each(|n| assert!(table.remove(&name(n))));
    assert!(table.is_empty() && table.iter().next().is_none());
    assert_eq!(table, Table::default());
}

#[test]
fn an_empty_table_takes_two_words_and_an_account_not_many_more() {
    assert_eq!(size_of::<Tokens>(), 16);
    assert_eq!(size_of::<crate::state::Slot>(), 224);
}
