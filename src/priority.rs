//! Stepping back behind others who want the processor.

/// Gives this thread, and those that it starts from now on, the lowest priority there is: it runs where nobody else
/// wants to. Where that is not allowed it runs as before.
pub fn lower() {
    const LOWEST: i32 = 19;
    let _ = rustix::process::nice(LOWEST);
}
