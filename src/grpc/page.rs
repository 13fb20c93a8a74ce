//! Pages: an opaque token says where the next page begins, and is bound to its query.

use std::hash::{DefaultHasher, Hash, Hasher};

use tonic::Status;

use crate::wire::status::invalid;

/// How many items a page has when nobody says.
const SIZE: usize = 100;
/// The most items of a page.
const SIZE_MAX: usize = 1_000;

/// The size of a page.
pub(super) fn size(asked: u32) -> usize {
    match usize::try_from(asked).unwrap_or(SIZE_MAX) {
        0 => SIZE,
        asked => asked.min(SIZE_MAX),
    }
}

/// A token for `next`, of a query.
pub(super) fn token(query: &impl Hash, next: &str) -> String {
    hex::encode([&seal(query, next), next.as_bytes()].concat())
}

/// Where the page of a token begins; `None` for the first page.
pub(super) fn open(query: &impl Hash, token: &str) -> Result<Option<String>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong =
        || invalid("invalid_page_token", "field `page_token` is not of this query; begin again without it");
    let bytes = hex::decode(token).map_err(|_| wrong())?;
    let (sealed, next) = bytes.split_first_chunk::<8>().ok_or_else(wrong)?;
    let next = std::str::from_utf8(next).map_err(|_| wrong())?;
    if *sealed == seal(query, next) { Ok(Some(next.to_owned())) } else { Err(wrong()) }
}

/// Where the page of a token begins, as a number.
pub(super) fn open_number(query: &impl Hash, token: &str) -> Result<Option<u64>, Status> {
    let wrong =
        || invalid("invalid_page_token", "field `page_token` is not of this query; begin again without it");
    open(query, token)?.map(|next| next.parse().map_err(|_| wrong())).transpose()
}

/// Binds a token to its query. It guards against mistakes, not against forgery: a forged one shows nothing that the
/// query itself would not.
fn seal(query: &impl Hash, next: &str) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    query.hash(&mut hasher);
    next.hash(&mut hasher);
    hasher.finish().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::{open, open_number, token};

    #[test]
    fn a_token_opens_with_its_own_query_only() {
        let made = token(&"actor=a", "17");
        assert_eq!(open_number(&"actor=a", &made).unwrap(), Some(17));
        assert!(open(&"actor=b", &made).is_err());
        assert!(open(&"actor=a", "zz").is_err());
        assert_eq!(open(&"actor=a", "").unwrap(), None);
    }
}
