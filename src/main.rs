//! tokenledger.
fn main() {}
