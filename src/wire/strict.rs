//! A codec that does not drop what it does not know. prost passes over unknown fields in silence; a ledger that did so
//! would lose what a newer client meant to have recorded. So requests with unknown fields are refused.

use std::marker::PhantomData;
use std::sync::LazyLock;

use bytes::Buf;
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::DESCRIPTORS;
use super::status::invalid;

static POOL: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).ok());

/// Encodes as usual; refuses requests that hold unknown fields.
#[derive(Debug, Clone)]
pub struct StrictCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for StrictCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for StrictCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Name + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder::default()
    }
}

/// See [`StrictCodec`].
#[derive(Debug, Clone)]
pub struct StrictDecoder<U>(PhantomData<U>);

impl<U> Default for StrictDecoder<U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<U: Message + Name + Default> Decoder for StrictDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        // One contiguous copy: the bytes may be needed a second time.
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        let asks = U::NAME.ends_with("Request");
        let message = U::decode(bytes.clone()).map_err(|_| broken(asks))?;
        // Answers of a newer server may hold more than this client knows; that is not a loss.
        if !asks || message.encoded_len() == bytes.len() {
            return Ok(Some(message));
        }
        match unknown_field(&U::full_name(), &bytes) {
            None => Ok(Some(message)),
            Some(field) => Err(invalid(
                "unknown_field",
                format!(
                    "{field} is not known to this server; update the server, or leave the field out (nothing was recorded)"
                ),
            )),
        }
    }
}

/// Bytes that are no message: the caller's fault in a request, the server's in an answer.
fn broken(asks: bool) -> Status {
    let message = "the message is not valid protobuf; check the client's version";
    if asks { invalid("invalid_message", message) } else { Status::internal(message) }
}

/// The first unknown field in a message; `None` where the bytes are merely encoded in an unusual way.
fn unknown_field(message: &str, bytes: &[u8]) -> Option<String> {
    let descriptor = POOL.as_ref()?.get_message_by_name(message)?;
    let message = DynamicMessage::decode(descriptor, bytes).ok()?;
    first_unknown(&message)
}

fn first_unknown(message: &DynamicMessage) -> Option<String> {
    if let Some(field) = message.unknown_fields().next() {
        return Some(format!("field number {} of {}", field.number(), message.descriptor().full_name()));
    }
    message.fields().find_map(|(_, value)| first_unknown_in(value))
}

fn first_unknown_in(value: &Value) -> Option<String> {
    match value {
        Value::Message(message) => first_unknown(message),
        Value::List(values) => values.iter().find_map(first_unknown_in),
        Value::Map(values) => values.values().find_map(first_unknown_in),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::unknown_field;
    use crate::wire::pb;
    use prost::Message;

    fn request() -> Vec<u8> {
        let event = pb::Event { account: "bot-1".into(), ..Default::default() };
        let proposal = pb::Proposal { event: Some(event), expected_version: None };
        pb::AppendRequest { proposal: Some(proposal), ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn a_known_message_has_no_unknown_field() {
        assert_eq!(unknown_field("tokenledger.v1.AppendRequest", &request()), None);
    }

    #[test]
    fn an_unknown_field_is_named_however_deep_it_stands() {
        let inner = [
            pb::Event { account: "bot-1".into(), ..Default::default() }.encode_to_vec(),
            vec![0xf8, 0x3f, 7],
        ];
        let event = inner.concat();
        let mut proposal = vec![0x0a, u8::try_from(event.len()).unwrap()];
        proposal.extend(event);
        let mut bytes = vec![0x12, u8::try_from(proposal.len()).unwrap()];
        bytes.extend(proposal);
        let found = unknown_field("tokenledger.v1.AppendRequest", &bytes).unwrap();
        assert_eq!(found, "field number 1023 of tokenledger.v1.Event");
    }

    #[test]
    fn a_default_value_that_is_sent_explicitly_is_not_unknown() {
        let mut bytes = request();
        bytes.extend([0x18, 0]);
        assert_eq!(unknown_field("tokenledger.v1.AppendRequest", &bytes), None);
    }
}
