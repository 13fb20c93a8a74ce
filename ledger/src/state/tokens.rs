//! Tokens: what is known of one, and how it is packed.
//!
//! ```text
//! 1  bits 0-1 expiry: 0 never, 1 at a time, 2 unknown; bit 2 its end was reported; bit 3 leaked; bit 4 the time of its
//!    issue is known; bit 5 that of its last use
//! 1  bits 0-1 digest: 0 none, 1 sha256, 2 blake3, 3 another; bit 2 replaced; bit 3 it has scopes; bit 4 its family has
//!    another name than itself; bits 5-7 revoked: 0 no, else the reason plus 1
//! 8  each, little-endian, of those that there are: expiry, time of revocation, of issue, of last use
//! .. digest: 32 bytes, or a text; family and replacement, like the token's own id; the number of scopes, and those
//! ```

use super::table::bytes::{Like, Reader, put_like, put_number, put_text};
use super::table::{Packed, Table};
use crate::event::{Expiry, FamilyId, IssuedToken, RevocationReason, Text, TokenDigest, TokenId};
use crate::types::Time;

/// Whether a token of a live account would work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenStatus {
    /// It would.
    Active,
    /// Its time is over.
    Expired,
    /// Somebody ended it.
    Revoked,
}

impl TokenStatus {
    /// The status in words: `active`, `expired` or `revoked`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// A token of an account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The tokens it was rotated with.
    pub family: FamilyId,
    /// Digest of its secret, where known.
    pub digest: Option<TokenDigest>,
    /// What it may be used for.
    pub scopes: Vec<Text>,
    /// When it ends.
    pub expiry: Expiry,
    /// Its end was reported as an event.
    pub expired: bool,
    /// Somebody ended it: when and why.
    pub revoked: Option<(Time, RevocationReason)>,
    /// Its secret is known to others: it never comes back.
    pub leaked: bool,
    /// The token that replaced it.
    pub replaced_by: Option<TokenId>,
    /// When it was issued; `None` where the ledger met it later.
    pub issued_at: Option<Time>,
    /// When it was last reported as used.
    pub last_used_at: Option<Time>,
}

/// What a token's status follows from: its fields of the same names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Token`, documented there")]
pub struct Standing {
    pub expiry: Expiry,
    pub expired: bool,
    pub revoked: Option<(Time, RevocationReason)>,
    pub leaked: bool,
    pub issued_at: Option<Time>,
    pub last_used_at: Option<Time>,
}

impl Standing {
    /// Whether the token works at a moment, its account being live. An unknown expiry never counts as over.
    #[must_use]
    pub fn status(&self, at: Time) -> TokenStatus {
        match self.expiry {
            _ if self.revoked.is_some() || self.leaked => TokenStatus::Revoked,
            _ if self.expired => TokenStatus::Expired,
            Expiry::At(end) if end <= at => TokenStatus::Expired,
            _ => TokenStatus::Active,
        }
    }
}

impl Token {
    pub(super) fn met_later(id: &TokenId) -> Self {
        Self {
            family: FamilyId(id.0.clone()),
            digest: None,
            scopes: Vec::new(),
            expiry: Expiry::Unknown,
            expired: false,
            revoked: None,
            leaked: false,
            replaced_by: None,
            issued_at: None,
            last_used_at: None,
        }
    }

    pub(super) fn issued(token: &IssuedToken, family: FamilyId, at: Time) -> Self {
        Self {
            family,
            digest: token.digest.clone(),
            scopes: token.scopes.clone(),
            expiry: token.expiry,
            issued_at: Some(at),
            ..Self::met_later(&token.token)
        }
    }

    /// The issue of a token that was met before it: what it is becomes known, and what has ended it stays.
    pub(super) fn describe(&mut self, issued: Self) {
        let Self { family, digest, scopes, expiry, issued_at, .. } = issued;
        // An overlap that has begun ends a token earlier than its own expiry does.
        let expiry = match (self.expiry, expiry) {
            (Expiry::At(known), Expiry::At(own)) => Expiry::At(known.min(own)),
            (Expiry::At(known), _) => Expiry::At(known),
            (_, own) => own,
        };
        *self = Self {
            family,
            digest,
            scopes,
            expiry,
            issued_at,
            expired: self.expired,
            revoked: self.revoked,
            leaked: self.leaked,
            replaced_by: self.replaced_by.take(),
            last_used_at: self.last_used_at,
        };
    }

    /// What its status follows from.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let Self { expiry, expired, revoked, leaked, issued_at, last_used_at, .. } = *self;
        Standing { expiry, expired, revoked, leaked, issued_at, last_used_at }
    }

    pub(super) fn stand(&mut self, standing: Standing) {
        let Standing { expiry, expired, revoked, leaked, issued_at, last_used_at } = standing;
        (self.expiry, self.expired, self.revoked) = (expiry, expired, revoked);
        (self.leaked, self.issued_at, self.last_used_at) = (leaked, issued_at, last_used_at);
    }

    /// Whether it works at a moment, its account being live. An unknown expiry never counts as over.
    #[must_use]
    pub fn status(&self, at: Time) -> TokenStatus {
        self.standing().status(at)
    }
}

impl Table<TokenId, Token> {
    /// What a token's status follows from, quicker to have than the whole token.
    #[must_use]
    pub fn standing(&self, id: &TokenId) -> Option<Standing> {
        Some(View::of(id.as_str(), self.body(id)?)?.standing)
    }

    /// Changes what a token's status follows from; `false` where there is no such token.
    pub(super) fn restand(&mut self, id: &TokenId, change: impl FnOnce(&mut Standing)) -> bool {
        self.rewrite(id, |body| {
            let mut view = View::of(id.as_str(), body)?;
            change(&mut view.standing);
            let mut changed = Vec::with_capacity(body.len() + 8);
            put_standing(&mut changed, &view.standing, view.texts);
            changed.extend_from_slice(view.packed_texts);
            Some(changed)
        })
    }

    /// The tokens that work at a moment.
    pub(super) fn active(&self, at: Time) -> Vec<TokenId> {
        let mut active = Vec::new();
        self.each(|id, body| {
            if View::of(id, body).is_some_and(|token| token.standing.status(at) == TokenStatus::Active) {
                active.push(TokenId(Text::own(id)));
            }
        });
        active
    }
}

const REPORTED: u8 = 1 << 2;
const LEAKED: u8 = 1 << 3;
const ISSUED: u8 = 1 << 4;
const USED: u8 = 1 << 5;

const DIGEST: u8 = 0b11;
const REPLACED: u8 = 1 << 2;
const SCOPED: u8 = 1 << 3;
const FAMILY: u8 = 1 << 4;
/// The bits that say which texts there are.
const TEXTS: u8 = DIGEST | REPLACED | SCOPED | FAMILY;

/// Digests that are packed as bytes, with the numbers by which they are known: all of 32 bytes.
const PLAIN_DIGESTS: [(u8, &str); 2] = [(1, "sha256:"), (2, "blake3:")];

fn reason_bits(reason: RevocationReason) -> u8 {
    let number = match reason {
        RevocationReason::Unspecified => 1,
        RevocationReason::Superseded => 2,
        RevocationReason::Unused => 3,
        RevocationReason::Leaked => 4,
        RevocationReason::AccountDeleted => 5,
    };
    number << 5
}

fn reason_of(bits: u8) -> Option<RevocationReason> {
    Some(match bits >> 5 {
        1 => RevocationReason::Unspecified,
        2 => RevocationReason::Superseded,
        3 => RevocationReason::Unused,
        4 => RevocationReason::Leaked,
        5 => RevocationReason::AccountDeleted,
        _ => return None,
    })
}

fn put_standing(out: &mut Vec<u8>, standing: &Standing, texts: u8) {
    let Standing { expiry, expired, revoked, leaked, issued_at, last_used_at } = *standing;
    let (kind, end) = match expiry {
        Expiry::Never => (0, None),
        Expiry::At(end) => (1, Some(end)),
        Expiry::Unknown => (2, None),
    };
    let bit = |is: bool, bit: u8| if is { bit } else { 0 };
    out.push(
        kind | bit(expired, REPORTED)
            | bit(leaked, LEAKED)
            | bit(issued_at.is_some(), ISSUED)
            | bit(last_used_at.is_some(), USED),
    );
    out.push(texts | revoked.map_or(0, |(_, reason)| reason_bits(reason)));
    for time in [end, revoked.map(|(at, _)| at), issued_at, last_used_at].into_iter().flatten() {
        out.extend_from_slice(&time.0.to_le_bytes());
    }
}

/// The digest of a packed token.
#[derive(Clone, Copy)]
pub(super) enum DigestView<'a> {
    /// What comes before the digits, and the bytes that they stand for.
    Plain(&'static str, &'a [u8; 32]),
    /// The whole text.
    Text(&'a str),
}

/// A packed token, read in its place.
pub(super) struct View<'a> {
    pub(super) standing: Standing,
    /// Which texts there are, and those.
    texts: u8,
    packed_texts: &'a [u8],
    key: &'a str,
}

/// The texts of a packed token.
pub(super) struct Texts<'a> {
    pub(super) digest: Option<DigestView<'a>>,
    /// `None`: as the token's own id.
    pub(super) family: Option<Like<'a>>,
    pub(super) replaced_by: Option<Like<'a>>,
    pub(super) scopes: Vec<&'a str>,
}

impl<'a> View<'a> {
    pub(super) fn of(key: &'a str, body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let (bits, texts) = (reader.byte()?, reader.byte()?);
        let time = |there: bool, reader: &mut Reader<'a>| -> Option<Option<Time>> {
            if there {
                reader.array().map(|bytes| Some(Time(i64::from_le_bytes(*bytes))))
            } else {
                Some(None)
            }
        };
        let expiry = match bits & 0b11 {
            0 => Expiry::Never,
            1 => Expiry::At(Time(i64::from_le_bytes(*reader.array()?))),
            2 => Expiry::Unknown,
            _ => return None,
        };
        let revoked = match texts >> 5 {
            0 => None,
            _ => Some((Time(i64::from_le_bytes(*reader.array()?)), reason_of(texts)?)),
        };
        let issued_at = time(bits & ISSUED != 0, &mut reader)?;
        let last_used_at = time(bits & USED != 0, &mut reader)?;
        let (expired, leaked) = (bits & REPORTED != 0, bits & LEAKED != 0);
        let standing = Standing { expiry, expired, revoked, leaked, issued_at, last_used_at };
        Some(Self { standing, texts: texts & TEXTS, packed_texts: reader.0, key })
    }

    pub(super) fn texts(&self) -> Option<Texts<'a>> {
        let mut reader = Reader(self.packed_texts);
        let digest = match self.texts & DIGEST {
            0 => None,
            3 => Some(DigestView::Text(reader.text()?)),
            kind => {
                let (_, algorithm) = PLAIN_DIGESTS.into_iter().find(|(number, _)| *number == kind)?;
                Some(DigestView::Plain(algorithm, reader.array()?))
            }
        };
        let family = if self.texts & FAMILY == 0 { None } else { Some(reader.like(self.key)?) };
        let replaced_by = if self.texts & REPLACED == 0 { None } else { Some(reader.like(self.key)?) };
        let count = if self.texts & SCOPED == 0 { 0 } else { reader.number()? };
        let mut scopes = Vec::new();
        for _ in 0..count {
            scopes.push(reader.text()?);
        }
        reader.0.is_empty().then_some(Texts { digest, family, replaced_by, scopes })
    }
}

/// The number by which a digest's algorithm is known, and its 32 bytes; `None` where it is packed as a text.
fn plain(digest: &TokenDigest) -> Option<(u8, [u8; 32])> {
    PLAIN_DIGESTS.into_iter().find_map(|(number, algorithm)| {
        let mut bytes = [0; 32];
        hex::decode_to_slice(digest.as_str().strip_prefix(algorithm)?, &mut bytes).ok()?;
        Some((number, bytes))
    })
}

fn digest_of(view: DigestView<'_>) -> Option<TokenDigest> {
    match view {
        DigestView::Text(text) => TokenDigest::new(text).ok(),
        DigestView::Plain(algorithm, bytes) => {
            TokenDigest::new(&[algorithm, &hex::encode(bytes)].concat()).ok()
        }
    }
}

impl Packed for Token {
    fn pack(&self, key: &str, out: &mut Vec<u8>) {
        let plain = self.digest.as_ref().and_then(plain);
        let digest = match (&self.digest, plain) {
            (None, _) => 0,
            (Some(_), Some((number, _))) => number,
            (Some(_), None) => 3,
        };
        let family = (self.family.as_str() != key).then_some(self.family.as_str());
        let bit = |is: bool, bit: u8| if is { bit } else { 0 };
        let texts = digest
            | bit(family.is_some(), FAMILY)
            | bit(self.replaced_by.is_some(), REPLACED)
            | bit(!self.scopes.is_empty(), SCOPED);
        put_standing(out, &self.standing(), texts);
        match (&self.digest, plain) {
            (_, Some((_, bytes))) => out.extend_from_slice(&bytes),
            (Some(digest), None) => put_text(out, digest.as_str()),
            (None, None) => {}
        }
        for text in family.into_iter().chain(self.replaced_by.as_ref().map(TokenId::as_str)) {
            put_like(out, text, key);
        }
        if !self.scopes.is_empty() {
            put_number(out, self.scopes.len());
            self.scopes.iter().for_each(|scope| put_text(out, scope.as_str()));
        }
    }

    fn unpack(key: &str, body: &[u8]) -> Option<Self> {
        let view = View::of(key, body)?;
        let texts = view.texts()?;
        let family = match texts.family {
            Some(family) => family.text()?,
            None => key.to_owned(),
        };
        let digest = match texts.digest {
            Some(digest) => Some(digest_of(digest)?),
            None => None,
        };
        let replaced_by = match texts.replaced_by {
            Some(other) => Some(TokenId(Text::own(&other.text()?))),
            None => None,
        };
        let mut token = Self {
            family: FamilyId(Text::own(&family)),
            digest,
            scopes: texts.scopes.into_iter().map(Text::own).collect(),
            replaced_by,
            ..Self::met_later(&TokenId(Text::own(key)))
        };
        token.stand(view.standing);
        Some(token)
    }

    fn check(key: &str, body: &[u8]) -> bool {
        let Some(texts) = View::of(key, body).and_then(|view| view.texts()) else { return false };
        let digest = texts.digest.is_none_or(|digest| match digest {
            DigestView::Plain(..) => true,
            DigestView::Text(_) => digest_of(digest).is_some(),
        });
        digest && [texts.family, texts.replaced_by].iter().flatten().all(Like::is_text)
    }
}
