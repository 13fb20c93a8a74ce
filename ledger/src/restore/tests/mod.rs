//! The promises of a restore. `story` writes histories; `groups`, `conflicts`, `plans` and `rounds` hold one promise a
//! test; `properties` holds them for histories that nobody thought of.

mod conflicts;
mod groups;
mod plans;
mod properties;
mod rounds;
mod story;
