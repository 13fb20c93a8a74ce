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

impl AsRef<[u8]> for Encoded {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

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
    type Encoder = AsTheyAre<Encoded>;
    type Decoder = StrictDecoder<U>;

    fn encoder(&mut self) -> AsTheyAre<Encoded> {
        AsTheyAre::default()
    }

    fn decoder(&mut self) -> StrictDecoder<U> {
        StrictDecoder::default()
    }
}

/// Hands bytes on, whatever they are held by.
#[derive(Debug)]
pub struct AsTheyAre<T>(PhantomData<T>);

impl<T> Default for AsTheyAre<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: AsRef<[u8]>> Encoder for AsTheyAre<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(message.as_ref());
        Ok(())
    }
}
