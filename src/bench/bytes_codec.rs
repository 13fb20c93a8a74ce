//! A codec whose requests are encoded already, so that a client only hands on bytes.

use std::marker::PhantomData;

use bytes::Bytes;
use prost::Message;
use tonic::codec::Codec;
use tonic_prost::{ProstCodec, ProstDecoder};

use crate::wire::AsTheyAre;

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
    type Encoder = AsTheyAre<Bytes>;
    type Decoder = ProstDecoder<T>;

    fn encoder(&mut self) -> AsTheyAre<Bytes> {
        AsTheyAre::default()
    }

    fn decoder(&mut self) -> ProstDecoder<T> {
        ProstCodec::<T, T>::default().decoder()
    }
}
