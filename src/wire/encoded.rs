//! Answers that are encoded already.

use std::marker::PhantomData;

use bytes::{BufMut, Bytes};
use prost::{Message, Name};
use tonic::Status;
use tonic::codec::{Codec, EncodeBuf, Encoder};

use super::strict::StrictDecoder;

/// The bytes of an answer's message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded(pub Bytes);

/// Sends answers as they are; refuses requests that hold unknown fields, as [`super::StrictCodec`] does.
#[derive(Debug, Clone)]
pub struct EncodedCodec<U>(PhantomData<U>);

impl<U> Default for EncodedCodec<U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<U: Message + Name + Default + Send + 'static> Codec for EncodedCodec<U> {
    type Encode = Encoded;
    type Decode = U;
    type Encoder = AsTheyAre;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }

    fn decoder(&mut self) -> StrictDecoder<U> {
        StrictDecoder::default()
    }
}

/// Hands bytes on.
#[derive(Debug, Clone, Copy)]
pub struct AsTheyAre;

impl Encoder for AsTheyAre {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, answer: Encoded, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&answer.0);
        Ok(())
    }
}
