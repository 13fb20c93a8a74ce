//! The one mapping from errors of the domain to gRPC statuses: a closed set of codes, a stable reason, and a message
//! that says what to do next.

use std::collections::HashMap;

use ledger::event::Invalid;
use ledger::sequencer::Refused;
use ledger::tiles::TreeError;
use tonic::{Code, Status};
use tonic_types::{BadRequest, ErrorDetails, FieldViolation, StatusExt};

use crate::notary::ProofError;
use crate::reader::AskError;
use crate::restorer::RestoreError;
use crate::wire::pb;
use crate::writer::WriteError;

/// The domain of the reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "tokenledger";

/// How much of a message is told, in bytes. A status travels in headers, of which clients take 8 to 16 KiB in all.
const MESSAGE_BYTES_MAX: usize = 1_500;
/// How many wrong fields are told one by one.
const FIELDS_MAX: usize = 20;

/// The beginning of a text that is too long for a status.
fn shortened(text: &str) -> String {
    if text.len() <= MESSAGE_BYTES_MAX {
        return text.to_owned();
    }
    let end = (0..=MESSAGE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    format!("{}… (and more)", &text[..end])
}

/// A status with a stable reason.
#[must_use]
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// A request that is wrong.
#[must_use]
pub fn invalid(reason: &str, message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, reason, message)
}

/// An event with fields that are wrong: all of them.
#[must_use]
pub fn invalid_event(invalid: &Invalid) -> Status {
    let mut details = ErrorDetails::with_error_info("invalid_event", DOMAIN, HashMap::new());
    let violations = invalid.fields.iter().map(|(field, problem)| FieldViolation::new(field, problem));
    details.set_bad_request(violations.take(FIELDS_MAX).collect::<Vec<_>>());
    let message = format!("{} (nothing was recorded)", shortened(&invalid.to_string()));
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// The code of a refusal.
#[must_use]
pub fn refusal_code(refused: &Refused) -> Code {
    match refused {
        Refused::IdTaken { .. } => Code::AlreadyExists,
        Refused::VersionMoved { .. } | Refused::Rules(_) => Code::FailedPrecondition,
        Refused::FarFuture { .. } | Refused::Large | Refused::BatchTooLarge => Code::InvalidArgument,
        Refused::WithBatch { .. } => Code::Aborted,
        Refused::Unreadable(_) => Code::Unavailable,
    }
}

/// A refusal as the status of a call.
#[must_use]
pub fn refused(refused: &Refused) -> Status {
    let mut metadata = HashMap::new();
    if let Refused::Rules(findings) = refused {
        metadata.insert("evidence".to_owned(), shortened(&findings.evidence.join(",")));
    }
    let details = ErrorDetails::with_error_info(refused.reason(), DOMAIN, metadata);
    Status::with_error_details(refusal_code(refused), shortened(&refused.to_string()), details)
}

/// A refusal as one result of many.
#[must_use]
pub fn refusal(refused: &Refused) -> pb::Refusal {
    pb::Refusal {
        code: refusal_code(refused) as i32,
        reason: refused.reason().to_owned(),
        message: refused.to_string(),
    }
}

/// A status as one result of many.
#[must_use]
pub fn refusal_of(status: &Status) -> pb::Refusal {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    pb::Refusal { code: status.code() as i32, reason, message: with_fields(status) }
}

/// The message of a status.
fn with_fields(status: &Status) -> String {
    match status.get_details_bad_request() {
        Some(BadRequest { field_violations }) if status.message().is_empty() => {
            field_violations.into_iter().map(|v| format!("{} {}", v.field, v.description)).collect()
        }
        _ => status.message().to_owned(),
    }
}

impl From<WriteError> for Status {
    fn from(error: WriteError) -> Self {
        let (code, reason) = match &error {
            WriteError::Busy => (Code::ResourceExhausted, "busy"),
            WriteError::Full(_) => (Code::ResourceExhausted, "disk_full"),
            WriteError::Unknown(_) => (Code::Unknown, "outcome_unknown"),
            WriteError::Stopped(_) => (Code::Unavailable, "ledger_stopped"),
            WriteError::Closing => (Code::Unavailable, "shutting_down"),
        };
        status(code, reason, error.to_string())
    }
}

impl From<AskError> for Status {
    fn from(error: AskError) -> Self {
        let (code, reason) = match &error {
            AskError::Doubtful(_) => (Code::Unavailable, "projection_rebuilding"),
            AskError::Log(_) => (Code::DataLoss, "log_unreadable"),
            AskError::NotFound(_) => (Code::NotFound, "not_found"),
            AskError::Ambiguous { .. } => (Code::FailedPrecondition, "handle_ambiguous"),
            AskError::Invalid(_) => (Code::InvalidArgument, "invalid_request"),
            AskError::Crowded(_) => (Code::ResourceExhausted, "numbers_repeated"),
            AskError::Behind { .. } => (Code::Unavailable, "projection_behind"),
            AskError::Closing => (Code::Unavailable, "shutting_down"),
        };
        status(code, reason, error.to_string())
    }
}

impl From<ProofError> for Status {
    fn from(error: ProofError) -> Self {
        Self::from(&error)
    }
}

impl From<&ProofError> for Status {
    fn from(error: &ProofError) -> Self {
        let (code, reason) = match error {
            ProofError::NoKey => (Code::FailedPrecondition, "no_key"),
            ProofError::Unrecorded => (Code::FailedPrecondition, "not_signed"),
            ProofError::Tree(TreeError::Rewritten { .. }) => (Code::DataLoss, "log_rewritten"),
            ProofError::Tree(TreeError::Beyond { .. }) => (Code::OutOfRange, "beyond_end"),
            ProofError::Tree(TreeError::Doubtful) => (Code::Unavailable, "tree_rebuilding"),
            ProofError::Tree(TreeError::Io(_)) => (Code::Unavailable, "tree_unreadable"),
            ProofError::Tree(TreeError::Log(_)) => (Code::DataLoss, "log_unreadable"),
            ProofError::Sign(_) => (Code::Internal, "checkpoint_contradicts"),
            ProofError::Keep(_) => (Code::Unavailable, "checkpoint_not_kept"),
            ProofError::Unwitnessed { .. } => (Code::Unavailable, "checkpoint_unwitnessed"),
            ProofError::Closing => (Code::Unavailable, "shutting_down"),
        };
        status(code, reason, error.to_string())
    }
}

impl From<RestoreError> for Status {
    fn from(error: RestoreError) -> Self {
        match error {
            RestoreError::Ask(error) => error.into(),
            RestoreError::Write(error) => error.into(),
            RestoreError::Refused(error) => refused(&error),
            RestoreError::Invalid(message) => invalid("invalid_request", message),
            RestoreError::NoPlan(_) => status(Code::NotFound, "plan_not_found", error.to_string()),
            RestoreError::PlanChanged { .. } => {
                status(Code::FailedPrecondition, "plan_changed", error.to_string())
            }
        }
    }
}
