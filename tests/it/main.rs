//! The promises of tokenledger, one module a theme.
