//! The promises of tokenledger, one module a theme. Everything here goes over gRPC to a real server, or to its files.

mod harness;

/// What is acknowledged is durable, once, and answered alike for ever.
mod append;

/// Followers get every entry once, in order, with history and presence joined without a gap.
mod tail;

/// What cannot be recorded as it was meant is refused, all problems at once, and no secret is ever taken or repeated.
mod strict;

/// Bounds: of batches, events, names, and of what a refusal carries.
mod limits;

/// The past can be asked for, by position, by the time things occurred and by the time they were known.
mod moments;

/// Lists, filters, pages and look-ups give what a walk over the whole log gives.
mod queries;

/// Policies: what breaks a rule is flagged, or refused with its evidence.
mod promises;

/// Projections, snapshots and the index of ids can be lost or damaged, and no answer changes.
mod projections;

/// The shape of the API does not change under its clients' feet.
mod golden_api;
