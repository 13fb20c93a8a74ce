//! The promises of tokenledger, one module a theme. Everything here goes over gRPC to a real server, or to its files.

#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that fails says where, and is nobody's library"
)]

mod between;
mod binary_harness;
mod harness;

/// A log that does not go on from what is known of it outside of its directory is refused.
mod anchors;
/// What is acknowledged is durable, once, and answered alike for ever.
mod append;
/// An auditor elsewhere takes in only what is new, and whatever the server or anybody between them changes, it says where.
mod audit;

/// What measures itself measures every promise, goes on where it stopped, and leaves nothing behind.
mod bench;
/// The shapes and exit codes that other people's scripts hang on.
mod cli;
/// What AWS CloudTrail logged becomes the history of its accounts, and no secret comes along.
mod cloudtrail;
/// A server that is killed at any moment has kept what it acknowledged, once, and no part of an atomic batch.
mod crash;
/// A damaged ledger is served as far as it is sound, and takes nothing with it.
mod damage;
/// Five minutes from nothing to the first restore.
mod dev;
/// What the files say is what was written, and a byte that is not is named.
mod files;
/// The shape of the API does not change under its clients' feet.
mod golden_api;
/// A checker in another language, which shares no code, names where a ledger was edited, whoever did it.
mod independent;
/// What only a checkpoint shows: a log that was put back, cut, or made anew; and an edited source of proofs.
mod judge;
/// Bounds: of batches, events, names, and of what a refusal carries.
mod limits;
/// The past can be asked for, by position, by the time things occurred and by the time they were known.
mod moments;
/// Projections, snapshots and the index of ids can be lost or damaged, and no answer changes.
mod projections;
/// Policies: what breaks a rule is flagged, or refused with its evidence.
mod promises;
/// One file and a public key show what stands in a ledger, and no other file does.
mod proof_files;
/// What stands in a ledger can be proved to somebody who has a public key, and trusts nobody.
mod proofs;
/// Lists, filters, pages and look-ups give what a walk over the whole log gives.
mod queries;
/// A running server reads its logs again, and damage does not wait for somebody who asks.
mod scrub;
/// A server starts in a clear way or not at all, and stops in order.
mod serve;
/// What cannot be recorded as it was meant is refused, all problems at once, and no secret is ever taken or repeated.
mod strict;
/// Other people's tools read a log, served or exported, and accept it as it is and no other way.
mod tiles;

/// Followers get every entry once, in order, with history and presence joined without a gap.
mod tail;
/// Others cosign what a server signs, and neither it nor they can go back on it.
mod witnesses;

/// The incidents that the product is made for, with their numbers.
#[path = "../scenarios"]
mod scenarios {
    /// A cron job deletes bots whose tokens were rotated.
    mod s1_inactive_bots;
    /// The production service account is deleted together with a test account.
    mod s4_production_account;
}
