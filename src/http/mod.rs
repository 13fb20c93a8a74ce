//! Logs over HTTP, for other people's tools: C2SP's `tlog-tiles` (c2sp.org/tlog-tiles), read only.
//!
//! `http://ADDRESS/` and a log's name, `PREFIX/LEDGER`, are the log's URL; below it stand `checkpoint`, `tile/LEVEL/N` and
//! `tile/entries/N`. Nothing is stored for it: tiles and bundles, partial ones too, are made when they are asked for, out
//! of the tree and the log. They go up to the checkpoint that is published and no further, and leave only if they lead to
//! its root: whoever gets one may keep it for ever.

mod places;
mod read;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use ledger::checkpoint::Prefix;
use ledger::tiles::{Content, TilePath};
use ledger::types::LedgerName;
use percent_encoding::percent_decode_str;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use crate::ledgers::{Ledger, Ledgers};
use places::Places;
use read::{Mending, NotServed};

/// How many connections there are at once; others wait to be accepted.
const CONNECTIONS_MAX: usize = 256;
/// A connection on which nothing moves is closed.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// How many tiles are made at once.
const READS_MAX: usize = 8;
/// What never changes may be kept for a year.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");
const NOT_AT_ALL: HeaderValue = HeaderValue::from_static("no-store");
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("no-cache");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Serves the logs of these ledgers, whose names begin with `prefix`, until it is told to stop and what is under way has
/// been answered.
pub async fn serve(
    listener: TcpListener,
    ledgers: Arc<Ledgers>,
    prefix: Prefix,
    mut stopped: watch::Receiver<bool>,
) {
    let site = Arc::new(Site {
        ledgers,
        prefix,
        reads: Arc::new(Semaphore::new(READS_MAX)),
        mending: Mending::default(),
    });
    let router = Router::new().fallback(move |request: Request| {
        let site = Arc::clone(&site);
        async move { site.answer(&request.into_parts().0).await.unwrap_or_else(|failed| failed.response()) }
    });
    let stop = async move {
        let _ = stopped.wait_for(|stopped| *stopped).await;
    };
    let served =
        axum::serve(Places::of(listener, CONNECTIONS_MAX, IDLE_MAX), router).with_graceful_shutdown(stop);
    if let Err(error) = served.await {
        tracing::error!(%error, "tiles are not served any more");
    }
}

struct Site {
    ledgers: Arc<Ledgers>,
    prefix: Prefix,
    reads: Arc<Semaphore>,
    mending: Mending,
}

/// Why there is no answer but this.
enum Failed {
    /// Only reading is possible.
    Method,
    /// There is nothing of that name, or not yet.
    NotFound(String),
    /// It can't be told now.
    Later(String),
    /// It can't be told at all.
    Broken(String),
}

impl Failed {
    fn response(self) -> Response {
        let (status, why) = match self {
            Self::Method => {
                let why = "a log is only read: use GET or HEAD".to_owned();
                let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, TEXT, NOT_AT_ALL, why + "\n");
                response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
                return response;
            }
            Self::NotFound(why) => (StatusCode::NOT_FOUND, why),
            Self::Later(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
            Self::Broken(why) => (StatusCode::INTERNAL_SERVER_ERROR, why),
        };
        let mut response = answer(status, TEXT, NOT_AT_ALL, why + "\n");
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn answer(status: StatusCode, kind: HeaderValue, keep: HeaderValue, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, kind);
    headers.insert(CACHE_CONTROL, keep);
    // What stands in entries was chosen by others.
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Site {
    async fn answer(&self, request: &Parts) -> Result<Response, Failed> {
        if ![Method::GET, Method::HEAD].contains(&request.method) {
            return Err(Failed::Method);
        }
        let named = named(&self.prefix, request.uri.path());
        let ledger = named.and_then(|(name, what)| Some((self.ledgers.get(&name)?, what)));
        let (ledger, what) = ledger.ok_or_else(|| self.no_log())?;
        if what == "checkpoint" {
            let newest = ledger.notary.newest().await.map_err(|error| Failed::Later(error.to_string()))?;
            return Ok(answer(StatusCode::OK, TEXT, ASK_AGAIN, newest.note.to_vec()));
        }
        let path: TilePath = what.parse().map_err(|why| Failed::NotFound(format!("{why}")))?;
        self.tile(ledger, path, &request.headers).await
    }

    fn no_log(&self) -> Failed {
        let prefix = self.prefix.as_str();
        Failed::NotFound(format!("there is no such log: what is read first is /{prefix}/LEDGER/checkpoint"))
    }

    async fn tile(
        &self,
        ledger: Arc<Ledger>,
        path: TilePath,
        headers: &HeaderMap,
    ) -> Result<Response, Failed> {
        let newest = ledger.notary.newest().await.map_err(|error| Failed::Later(error.to_string()))?;
        let size = newest.tree.size;
        if !path.is_within(size) {
            let why =
                format!("the checkpoint that is published covers {size} entries, and not all of {path}");
            return Err(Failed::NotFound(why));
        }
        let is_bundle = path.content() == Content::Entries;
        let packed = is_bundle && takes_gzip(headers);
        let down = || Failed::Later("the server is shutting down".to_owned());
        let reading = Arc::clone(&self.reads).acquire_owned().await.map_err(|_| down())?;
        let mending = self.mending.clone();
        let made = tokio::task::spawn_blocking(move || {
            // Until it is made: whoever asked may have gone.
            let _reading = reading;
            let bytes = read::read(&ledger, &newest.tree, path, &mending).inspect_err(|error| {
                tracing::error!(ledger = %ledger.name, %path, %error, "a tile can't be served");
            })?;
            Ok::<_, NotServed>(if packed { gzip(&bytes).unwrap_or_default() } else { bytes })
        });
        let bytes = made.await.map_err(|_| down())?.map_err(Failed::from)?;
        let mut response = answer(StatusCode::OK, BYTES, FOR_EVER, bytes);
        if is_bundle {
            response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        if packed {
            response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        Ok(response)
    }
}

impl From<NotServed> for Failed {
    fn from(error: NotServed) -> Self {
        match error {
            NotServed::Mending => Self::Later(error.to_string()),
            // What it says of files is for the log.
            NotServed::Tree(_) | NotServed::Log(_) | NotServed::Changed(_) => Self::Broken(
                "this can't be served: what is stored does not lead to the checkpoint; the operator is told in the log of the server".to_owned(),
            ),
        }
    }
}

/// Which ledger a path names, and what of it. The origin may be written with percent signs, the rest in one way only.
fn named<'a>(prefix: &Prefix, path: &'a str) -> Option<(LedgerName, &'a str)> {
    let path = path.strip_prefix('/')?;
    let slashes = prefix.as_str().matches('/').count() + 1;
    let (behind, _) = path.match_indices('/').nth(slashes)?;
    let (origin, what) = (path.get(..behind)?, path.get(behind + 1..)?);
    let origin = percent_decode_str(origin).decode_utf8().ok()?;
    let ledger = origin.strip_prefix(prefix.as_str())?.strip_prefix('/')?;
    Some((ledger.parse().ok()?, what))
}

/// Whether whoever asks takes gzip, and does not say `gzip;q=0`.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = |quality: &str| quality.parse().is_ok_and(|q: f32| q == 0.0);
        named && !parts.filter_map(|part| part.strip_prefix("q=")).any(refused)
    })
}

fn gzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    encoder.write_all(bytes)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logs_url_is_its_origin_whatever_its_prefix_holds() {
        let name = |prefix: &str, path: &str| {
            let prefix: Prefix = prefix.parse().unwrap();
            named(&prefix, path).map(|(ledger, what)| (ledger.to_string(), what.to_owned()))
        };
        let found = |what: &str| Some(("prod".to_owned(), what.to_owned()));
        for prefix in ["a", "ledger.example.org", "example.org/~logs", "localhost:7420/a/b", "a/", "/a//b"] {
            let checkpoint = name(prefix, &format!("/{prefix}/prod/checkpoint"));
            assert_eq!(checkpoint, found("checkpoint"), "{prefix}");
            let tile = name(prefix, &format!("/{prefix}/prod/tile/entries/x001/000.p/3"));
            assert_eq!(tile, found("tile/entries/x001/000.p/3"), "{prefix}");
        }
        assert_eq!(name("a:1/~b", "/a%3A1/%7Eb/prod/checkpoint"), found("checkpoint"));
        assert_eq!(name("a", "/a/prod/"), found(""));
        for other in [
            "/",
            "",
            "/checkpoint",
            "/a",
            "/a/prod",
            "/b/prod/checkpoint",
            "/aa/prod/x",
            "/a/PROD/x",
            "//a/prod/x",
            "/a/%FF/x",
        ] {
            assert_eq!(name("a", other), None, "{other}");
        }
    }

    #[test]
    fn a_bundle_is_packed_only_for_who_takes_it() {
        let takes = |value: &'static str| {
            takes_gzip(&HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]))
        };
        for yes in ["gzip", "GZIP", "identity, gzip", "br;q=1.0, gzip;q=0.8", "gzip; q=0.001"] {
            assert!(takes(yes), "{yes}");
        }
        for no in ["", "identity", "br", "gzip;q=0", "gzip; q=0.000", "x-gzip", "*"] {
            assert!(!takes(no), "{no}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
