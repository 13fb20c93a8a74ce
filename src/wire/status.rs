//! The one mapping from errors of the domain to gRPC statuses: a closed set of codes, a stable reason, and a message
//! that says what to do next.

use std::collections::HashMap;

use ledger::event::Invalid;
use ledger::sequencer::Refused;
use tonic::{Code, Status};
use tonic_types::{BadRequest, ErrorDetails, FieldViolation, StatusExt};

use crate::reader::AskError;
use crate::restorer::RestoreError;
use crate::wire::pb;
use crate::writer::WriteError;

/// The domain of the reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "tokenledger";

/// The longest message of a status, in bytes. A status travels in HTTP headers, of which clients take 16 KiB by default;
/// there a character may take three times its bytes, and the message stands twice.
const MESSAGE_BYTES_MAX: usize = 2_000;
/// The most bytes of all fields that are named as wrong, or of the evidence of a refusal.
const DETAILS_BYTES_MAX: usize = 4_000;

/// A message that fits in a status.
fn bounded(mut message: String) -> String {
    if message.len() > MESSAGE_BYTES_MAX {
        message.truncate(message.floor_char_boundary(MESSAGE_BYTES_MAX));
        message.push('…');
    }
    message
}

/// As many of the first items as fit in a status.
fn that_fit<T>(items: &[T], bytes: impl Fn(&T) -> usize) -> &[T] {
    let mut left = DETAILS_BYTES_MAX;
    let fit = items.iter().take_while(|item| {
        let rest = left.checked_sub(bytes(item));
        left = rest.unwrap_or(0);
        rest.is_some()
    });
    &items[..fit.count()]
}

/// A status with a stable reason.
#[must_use]
pub fn status(code: Code, reason: &str, message: impl Into<String>) -> Status {
    let message = bounded(message.into());
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(code, message, details)
}

/// A request that is wrong.
#[must_use]
pub fn invalid(reason: &str, message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, reason, message)
}

/// An event with fields that are wrong: all of them, or the first ones where a status cannot hold them.
#[must_use]
pub fn invalid_event(invalid: &Invalid) -> Status {
    let mut details = ErrorDetails::with_error_info("invalid_event", DOMAIN, HashMap::new());
    let fields = that_fit(&invalid.fields, |(field, problem)| field.len() + problem.len() + 8);
    let violations = fields.iter().map(|(field, problem)| FieldViolation::new(field, problem));
    details.set_bad_request(violations.collect::<Vec<_>>());
    let message = bounded(format!("{invalid} (nothing was recorded)"));
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// The code of a refusal.
#[must_use]
pub fn refusal_code(refused: &Refused) -> Code {
    match refused {
        Refused::IdTaken { .. } => Code::AlreadyExists,
        Refused::VersionMoved { .. } | Refused::Rules(_) => Code::FailedPrecondition,
        Refused::FarFuture { .. } | Refused::Large => Code::InvalidArgument,
        Refused::WithBatch { .. } => Code::Aborted,
        Refused::Unreadable(_) => Code::Unavailable,
    }
}

/// A refusal as the status of a call.
#[must_use]
pub fn refused(refused: &Refused) -> Status {
    let mut metadata = HashMap::new();
    if let Refused::Rules(findings) = refused {
        let evidence = that_fit(&findings.evidence, |item| item.len() + 1);
        metadata.insert("evidence".to_owned(), evidence.join(","));
        metadata.insert("evidence_items".to_owned(), findings.evidence.len().to_string());
    }
    let details = ErrorDetails::with_error_info(refused.reason(), DOMAIN, metadata);
    Status::with_error_details(refusal_code(refused), bounded(refused.to_string()), details)
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
            AskError::Behind { .. } => (Code::Unavailable, "projection_behind"),
            AskError::Closing => (Code::Unavailable, "shutting_down"),
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
