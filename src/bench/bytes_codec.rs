//! A codec whose requests are encoded already, so that a client only hands on bytes.

use std::marker::PhantomData;

use bytes::{BufMut, Bytes};
use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// Sends bytes, receives messages.
pub(super) struct BytesCodec<T>(PhantomData<T>);

impl<T> Default for BytesCodec<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Default + Send + 'static> Codec for BytesCodec<T> {
    type Encode = Bytes;
    type Decode = T;
    type Encoder = AsTheyAre;
    type Decoder = Messages<T>;

    fn encoder(&mut self) -> AsTheyAre {
        AsTheyAre
    }

    fn decoder(&mut self) -> Messages<T> {
        Messages(PhantomData)
    }
}

/// Hands bytes on.
pub(super) struct AsTheyAre;

impl Encoder for AsTheyAre {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, bytes: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&bytes);
        Ok(())
    }
}

/// Reads messages.
pub(super) struct Messages<T>(PhantomData<T>);

impl<T: Message + Default + Send + 'static> Decoder for Messages<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        T::decode(from).map(Some).map_err(|_| Status::internal("the answer is not valid protobuf"))
    }
}
