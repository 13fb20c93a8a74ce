//! The event: a protobuf message, walked by its wire types alone, so that an event of a kind newer than this program
//! can be looked at too. See <https://protobuf.dev/programming-guides/encoding/>.

use super::{Field, Naming};

/// Deeper messages are shown as bytes: no event nests so deep, and hostile bytes must not exhaust the stack.
const DEPTH_MAX: usize = 16;

/// One field as it stands on the wire.
struct Piece<'a> {
    number: u32,
    /// All its bytes, with tag and length.
    whole: &'a [u8],
    value: Value<'a>,
}

enum Value<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    Bytes(&'a [u8]),
}

/// Describes a message that begins at `offset` of the frame.
pub(super) fn describe(message: &[u8], offset: usize, naming: Naming<'_>) -> Vec<Field> {
    let mut walk = Walk { fields: Vec::new(), naming, path: Vec::new(), name: "event".to_owned() };
    walk.message(message, offset);
    walk.fields
}

struct Walk<'a> {
    fields: Vec<Field>,
    naming: Naming<'a>,
    path: Vec<u32>,
    name: String,
}

impl Walk<'_> {
    fn message(&mut self, message: &[u8], offset: usize) {
        let mut rest = message;
        while let Some(piece) = next(&mut rest) {
            let at = offset + message.len() - rest.len() - piece.whole.len();
            self.path.push(piece.number);
            let name = (self.naming)(&self.path).unwrap_or_else(|| piece.number.to_string());
            let outer = std::mem::take(&mut self.name);
            self.name = format!("{outer}.{name}");
            self.piece(&piece, at);
            self.name = outer;
            self.path.pop();
        }
        if !rest.is_empty() {
            let value = format!("{} bytes that are no protobuf", rest.len());
            self.push(offset + message.len() - rest.len(), rest, value);
        }
    }

    fn piece(&mut self, piece: &Piece<'_>, at: usize) {
        match piece.value {
            Value::Varint(number) => self.push(at, piece.whole, number.to_string()),
            Value::Fixed64(bytes) => self.push(at, piece.whole, u64::from_le_bytes(bytes).to_string()),
            Value::Fixed32(bytes) => self.push(at, piece.whole, u32::from_le_bytes(bytes).to_string()),
            Value::Bytes(bytes) if self.is_message(bytes) => {
                let begin = piece.whole.len() - bytes.len();
                let head = piece.whole.get(..begin).unwrap_or_default();
                self.push(at, head, format!("a message of {} bytes", bytes.len()));
                self.message(bytes, at + begin);
            }
            Value::Bytes(bytes) => {
                let value = text(bytes).map_or_else(|| hex::encode(bytes), |text| format!("{text:?}"));
                self.push(at, piece.whole, value);
            }
        }
    }

    /// The wire does not tell a message from text or bytes. It is one if it can be one, and either its fields have
    /// names or it is no text.
    fn is_message(&mut self, bytes: &[u8]) -> bool {
        if self.path.len() >= DEPTH_MAX || bytes.is_empty() {
            return false;
        }
        let mut rest = bytes;
        let mut named = true;
        while let Some(piece) = next(&mut rest) {
            self.path.push(piece.number);
            named &= (self.naming)(&self.path).is_some();
            self.path.pop();
        }
        rest.is_empty() && (named || text(bytes).is_none())
    }

    fn push(&mut self, offset: usize, bytes: &[u8], value: String) {
        self.fields.push(Field { offset, bytes: bytes.to_vec(), name: self.name.clone(), value });
    }
}

/// Text without control characters.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(char::is_control))
}

/// Takes the next field off `rest`; leaves `rest` as it is where none begins there.
fn next<'a>(rest: &mut &'a [u8]) -> Option<Piece<'a>> {
    let all = *rest;
    let mut left = all;
    let tag = varint(&mut left)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number))?;
    let value = match tag & 7 {
        0 => Value::Varint(varint(&mut left)?),
        1 => Value::Fixed64(take(&mut left)?),
        2 => Value::Bytes(counted(&mut left)?),
        5 => Value::Fixed32(take(&mut left)?),
        _ => return None,
    };
    *rest = left;
    Some(Piece { number, whole: all.get(..all.len() - left.len())?, value })
}

fn varint(left: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take::<1>(left)?;
        let bits = u64::from(byte & 0x7F);
        value |= bits.checked_shl(shift).filter(|moved| moved >> shift == bits)?;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = left.split_first_chunk::<N>()?;
    *left = rest;
    Some(*taken)
}

fn counted<'a>(left: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(varint(left)?).ok()?;
    let (taken, rest) = left.split_at_checked(length)?;
    *left = rest;
    Some(taken)
}
