//! One witness, asked over HTTP. A slow one keeps nobody but itself waiting.

use std::io;
use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use ledger::checkpoint::cosignature::CosignerKey;
use ledger::witness::SIZE_TYPE;
use tokio::sync::Semaphore;

use super::policy::WitnessAt;

/// How long a request may take, from the first byte to the last.
const REQUEST_MAX: Duration = Duration::from_secs(5);
/// How many requests of one witness are under way at the same time, of all ledgers.
const REQUESTS_MAX: usize = 8;
/// No answer is longer.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    #[error("it did not answer within {REQUEST_MAX:?}")]
    Late,
    #[error("its answer is broken off, or longer than {ANSWER_BYTES_MAX} bytes")]
    Broken,
}

/// What a witness said.
pub(super) struct Answer {
    pub(super) status: u16,
    /// Whether the body is said to be the size that it knows.
    pub(super) is_size: bool,
    pub(super) body: Bytes,
}

enum Sender {
    Plain(legacy::Client<HttpConnector, Full<Bytes>>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

/// The way to a witness.
pub(crate) struct Client {
    witness: WitnessAt,
    sender: Sender,
    room: Semaphore,
}

impl Client {
    pub(super) fn new(witness: WitnessAt) -> io::Result<Self> {
        let builder = legacy::Client::builder(TokioExecutor::new());
        let sender = if witness.url.scheme_str() == Some("https") {
            let connector = hyper_rustls::HttpsConnectorBuilder::new().with_native_roots()?;
            Sender::Tls(builder.build(connector.https_only().enable_http1().build()))
        } else {
            Sender::Plain(builder.build_http())
        };
        Ok(Self { witness, sender, room: Semaphore::new(REQUESTS_MAX) })
    }

    pub(super) fn key(&self) -> &CosignerKey {
        &self.witness.key
    }

    /// Sends a request, and reads the answer.
    pub(super) async fn ask(&self, body: Vec<u8>) -> Result<Answer, NoAnswer> {
        // Waiting for others' requests is not this one's time.
        let _room = self.room.acquire().await;
        match tokio::time::timeout(REQUEST_MAX, self.send(body)).await {
            Ok(answer) => answer,
            Err(_) => Err(NoAnswer::Late),
        }
    }

    async fn send(&self, body: Vec<u8>) -> Result<Answer, NoAnswer> {
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.witness.url.clone();
        let response = match &self.sender {
            Sender::Plain(client) => client.request(request).await,
            Sender::Tls(client) => client.request(request).await,
        };
        let response = response.map_err(|error| NoAnswer::Unreachable(causes(&error)))?;
        let (head, body) = Response::into_parts(response);
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await.map_err(|_| NoAnswer::Broken)?;
        let is_size = head.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == SIZE_TYPE);
        Ok(Answer { status: head.status.as_u16(), is_size, body: body.to_bytes() })
    }
}

/// An error with what caused it: the outermost says nothing of use.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
