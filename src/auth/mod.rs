//! Who is calling, and what they may call. The seam where authentication enters: every call carries an [`Identity`],
//! put there by [`identify`], and services ask it before they act.

use ledger::types::Emitter;
use tonic::{Code, Request, Status};

use crate::wire::status::status;

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Whoever reaches this server: a process on the same machine, since a server without TLS listens on loopback only.
    /// May use every emitter's name but the ledger's own.
    Local,
}

/// Puts the caller's identity on a request. Without TLS and tokens everybody who reaches the server is
/// [`Identity::Local`].
///
/// # Errors
/// `UNAUTHENTICATED` where a call needs an identity and has none; never for local callers.
pub fn identify(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.extensions_mut().insert(Identity::Local);
    Ok(request)
}

impl Identity {
    /// The identity of a call.
    ///
    /// # Errors
    /// `UNAUTHENTICATED` where nobody put one there.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        let missing = || status(Code::Unauthenticated, "no_identity", "the call carries no identity");
        request.extensions().get::<Self>().cloned().ok_or_else(missing)
    }

    /// Whether the caller may send events under an emitter's name.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`. Events that a ledger wrote itself come back only by an import of an export.
    pub fn may_emit(&self, emitter: &Emitter, from_export: bool) -> Result<(), Status> {
        if *emitter == Emitter::ledger() && !from_export {
            return Err(status(
                Code::PermissionDenied,
                "emitter_reserved",
                "the emitter `tokenledger` is the ledger's own; use the name of your service",
            ));
        }
        Ok(())
    }
}
