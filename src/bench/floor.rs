//! What the machine could do at most: servers that do less than a ledger must, and the disk alone.
//!
//! Both servers listen as the product does, with its settings of HTTP/2, and decode with its codec, which refuses
//! unknown fields. The no-op answers each event with a receipt that has its id and emitter, and zeros. The raw floor
//! takes the id and the emitter into an entry's header as the product does, encodes the rest of the event, chains it with
//! [`entry::link`], and answers when a thread has written and synced it, together with whatever came meanwhile: into one
//! file of zeros written ahead, over and over. It checks nothing, keeps no state, no index and no frames, and never sleeps
//! while anything waits.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use ledger::entry::{self, Header};
use ledger::types::{Emitter, LedgerUid, Link, Position, Time};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::BenchError;
use crate::grpc::MESSAGE_BYTES_MAX;
use crate::server::{accepted_from, as_served};
use crate::wire::pb;
use pb::append_service_server::{AppendService, AppendServiceServer};

/// What a floor server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Decodes and acknowledges.
    Noop,
    /// Also links, writes and syncs.
    Raw,
}

/// The file is written over again and again, since overwriting is what a log that is prepared ahead does.
const FILE_BYTES: u64 = 16 * 1024 * 1024;
/// Calls of one stream that wait for the disk at most, as many as the product lets wait.
const WAITING_MAX: usize = 1_024;

/// Serves until it is killed. Prints the line of a server that can serve on `out`.
///
/// # Errors
/// Where the address or the file cannot be had.
pub async fn serve(
    kind: Kind,
    data: &Path,
    listen: SocketAddr,
    out: &mut (dyn Write + Send),
) -> Result<(), BenchError> {
    let failed = |e: io::Error| BenchError::because("the floor server cannot start", e);
    let chain = match kind {
        Kind::Noop => None,
        Kind::Raw => Some(Chain::begin(data).map_err(failed)?),
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    writeln!(out, "{{\"ready\":true,\"grpc\":\"{address}\"}}").and_then(|()| out.flush()).map_err(failed)?;
    let service = AppendServiceServer::new(Floor { chain }).max_decoding_message_size(MESSAGE_BYTES_MAX);
    as_served(Server::builder())
        .add_service(service)
        .serve_with_incoming(accepted_from(listener))
        .await
        .map_err(|e| BenchError::because("the floor server stopped", e))
}

/// A server without state.
#[derive(Clone)]
struct Floor {
    /// `None`: nothing is linked and written.
    chain: Option<Arc<Chain>>,
}

impl Floor {
    async fn record(&self, events: Vec<pb::Event>) -> Result<Vec<pb::Receipt>, Status> {
        let Some(chain) = &self.chain else {
            return Ok(events
                .into_iter()
                .map(|event| receipt(event, Position(0), Link::default()))
                .collect());
        };
        let (receipts, durable) = chain.append(events);
        durable.await.map_err(|_| Status::unavailable("the floor's disk failed"))?;
        Ok(receipts)
    }
}

fn receipt(event: pb::Event, position: Position, link: Link) -> pb::Receipt {
    pb::Receipt {
        event_id: event.event_id,
        emitter: event.emitter,
        position: position.0,
        link: link.0.to_vec(),
        recorded_at: event.occurred_at,
    }
}

fn accepted(receipt: pb::Receipt) -> pb::Accepted {
    pb::Accepted { receipt: Some(receipt), ..Default::default() }
}

fn result(receipt: pb::Receipt) -> pb::AppendResult {
    pb::AppendResult { result: Some(pb::append_result::Result::Accepted(accepted(receipt))) }
}

fn event_of(proposal: Option<pb::Proposal>) -> Vec<pb::Event> {
    proposal.and_then(|proposal| proposal.event).into_iter().collect()
}

#[tonic::async_trait]
impl AppendService for Floor {
    async fn append(
        &self,
        request: Request<pb::AppendRequest>,
    ) -> Result<Response<pb::AppendResponse>, Status> {
        let receipts = self.record(event_of(request.into_inner().proposal)).await?;
        Ok(Response::new(pb::AppendResponse { accepted: receipts.into_iter().next().map(accepted) }))
    }

    async fn append_batch(
        &self,
        request: Request<pb::AppendBatchRequest>,
    ) -> Result<Response<pb::AppendBatchResponse>, Status> {
        let proposals = request.into_inner().proposals;
        let receipts =
            self.record(proposals.into_iter().filter_map(|proposal| proposal.event).collect()).await?;
        Ok(Response::new(pb::AppendBatchResponse { results: receipts.into_iter().map(result).collect() }))
    }

    type AppendStreamStream = Pin<Box<dyn Stream<Item = Result<pb::AppendStreamResponse, Status>> + Send>>;

    async fn append_stream(
        &self,
        request: Request<Streaming<pb::AppendStreamRequest>>,
    ) -> Result<Response<Self::AppendStreamStream>, Status> {
        let floor = self.clone();
        let answers = request
            .into_inner()
            .map(move |message| {
                let floor = floor.clone();
                async move {
                    let receipts = floor.record(event_of(message?.proposal)).await?;
                    Ok(pb::AppendStreamResponse { result: receipts.into_iter().next().map(result) })
                }
            })
            .buffered(WAITING_MAX);
        Ok(Response::new(Box::pin(answers)))
    }
}

/// A file with zeros written ahead of use.
fn zeroed(path: &Path, bytes: u64) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
    let zeros = vec![0; 1024 * 1024];
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(zeros.len() as u64);
        file.write_all(zeros.get(..usize::try_from(piece).unwrap_or(0)).unwrap_or_default())?;
        left -= piece;
    }
    file.sync_all()?;
    Ok(file)
}

/// Entries that are linked, and not yet written.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
    position: Position,
    link: Link,
    /// The disk failed: nothing is written any more.
    failed: bool,
}

impl Pending {
    fn append(&mut self, mut event: pb::Event, scratch: &mut Vec<u8>) -> pb::Receipt {
        let (event_id, emitter) = (std::mem::take(&mut event.event_id), std::mem::take(&mut event.emitter));
        let header = Header {
            uid: LedgerUid::default(),
            position: self.position,
            epoch: 0,
            previous: self.link,
            recorded_at: Time(0),
            event_id: event_id.parse().unwrap_or(Uuid::nil()),
            emitter: emitter.parse().unwrap_or_else(|_| Emitter::ledger()),
        };
        // A vector has always room.
        let _ = event.encode(scratch);
        let entry = entry::encode(&header, scratch).unwrap_or_default();
        scratch.clear();
        self.link = entry::link(&entry);
        self.position = self.position.next();
        self.bytes.extend_from_slice(&entry);
        receipt(pb::Event { event_id, emitter, ..event }, header.position, self.link)
    }
}

/// Links entries where they arrive, and has a thread of its own write and sync whatever has gathered.
struct Chain {
    pending: Mutex<Pending>,
    more: Condvar,
}

impl Chain {
    fn begin(data: &Path) -> io::Result<Arc<Self>> {
        std::fs::create_dir_all(data)?;
        let file = zeroed(&data.join("floor"), FILE_BYTES)?;
        let chain = Arc::new(Self { pending: Mutex::default(), more: Condvar::new() });
        let writing = Arc::clone(&chain);
        std::thread::spawn(move || writing.write(&mut Overwritten { file, offset: 0 }));
        Ok(chain)
    }

    /// Links events; what comes back with their receipts tells when they are durable.
    fn append(&self, events: Vec<pb::Event>) -> (Vec<pb::Receipt>, oneshot::Receiver<()>) {
        let (done, durable) = oneshot::channel();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = Vec::new();
        let receipts = events.into_iter().map(|event| pending.append(event, &mut scratch)).collect();
        // Dropped, it tells that nothing became durable.
        if !pending.failed {
            pending.waiting.push(done);
        }
        drop(pending);
        self.more.notify_one();
        (receipts, durable)
    }

    /// Ends where the disk fails.
    fn write(&self, file: &mut Overwritten) {
        loop {
            let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let mut pending = self
                .more
                .wait_while(pending, |pending| pending.waiting.is_empty())
                .unwrap_or_else(PoisonError::into_inner);
            let bytes = std::mem::take(&mut pending.bytes);
            let waiting = std::mem::take(&mut pending.waiting);
            drop(pending);
            if file.make_durable(&bytes).is_err() {
                let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
                pending.failed = true;
                pending.waiting.clear();
                return;
            }
            for done in waiting {
                // A caller that is gone does not need to know.
                let _ = done.send(());
            }
        }
    }
}

/// A file that is written over from its begin to its end, again and again.
struct Overwritten {
    file: File,
    offset: u64,
}

impl Overwritten {
    fn make_durable(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.offset + bytes.len() as u64 > FILE_BYTES {
            self.offset = 0;
        }
        self.file.write_all_at(bytes, self.offset)?;
        self.offset += bytes.len() as u64;
        self.file.sync_data()
    }
}

/// How long one thread waits for 4 KiB written over old bytes to be durable: the median.
pub(super) fn fdatasync_p50() -> io::Result<Duration> {
    const PAGE: usize = 4096;
    let dir = tempfile::tempdir()?;
    let file = zeroed(&dir.path().join("pages"), 4 * 1024 * 1024)?;
    let page = [0xA5; PAGE];
    let (begin, mut times) = (Instant::now(), Vec::new());
    while times.len() < 2_000 && (begin.elapsed() < Duration::from_secs(1) || times.len() < 11) {
        let sent = Instant::now();
        file.write_all_at(&page, (times.len() % 1_024 * PAGE) as u64)?;
        file.sync_data()?;
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> pb::Event {
        pb::Event {
            event_id: Uuid::from_u128(1).to_string(),
            emitter: "bench".into(),
            account: "a".into(),
            ..Default::default()
        }
    }

    #[tokio::test]
    async fn the_raw_floor_chains_its_entries_and_answers_when_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let floor = Floor { chain: Some(Chain::begin(dir.path()).unwrap()) };
        let receipts = floor.record(vec![event(), event()]).await.unwrap();
        let written = std::fs::read(dir.path().join("floor")).unwrap();
        assert_eq!(written.len() as u64, FILE_BYTES, "written ahead");
        let bytes = entry::HEADER_FIXED_BYTES + 5 + event().encoded_len() - 38 - 7;
        for (n, receipt) in receipts.iter().enumerate() {
            let entry = &written[n * bytes..(n + 1) * bytes];
            let (header, stored) = entry::decode(entry).unwrap();
            assert_eq!((header.position.0, receipt.position), (n as u64, n as u64));
            assert_eq!(receipt.link, entry::link(entry).0, "the link of all that was written");
            assert_eq!((&*receipt.event_id, &*receipt.emitter), (&*event().event_id, "bench"));
            assert_eq!(pb::Event::decode(stored).unwrap().account, "a");
        }
        let (_, second) = entry::decode(&written[bytes..2 * bytes]).map(|(h, e)| (e, h.previous.0)).unwrap();
        assert_eq!(second.to_vec(), receipts[0].link);
    }

    #[tokio::test]
    async fn the_file_is_written_over_from_its_begin_when_it_is_full() {
        let dir = tempfile::tempdir().unwrap();
        let file = zeroed(&dir.path().join("floor"), FILE_BYTES).unwrap();
        let mut file = Overwritten { file, offset: FILE_BYTES - 3 };
        file.make_durable(&[7; 4]).unwrap();
        assert_eq!(file.offset, 4);
    }

    #[test]
    fn a_sync_takes_time() {
        assert!(fdatasync_p50().unwrap() > Duration::ZERO);
    }
}
