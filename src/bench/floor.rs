//! What the machine could do at most: servers that do less than a ledger must, and the disk alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::pin::Pin;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt};
use ledger::entry::{self, Header};
use ledger::types::{Emitter, LedgerUid, Link, Position, Time};
use prost::Message;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::BenchError;
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
const FILE_BYTES: u64 = 64 * 1024 * 1024;
/// The most bytes that are made durable together.
const GROUP_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Calls that wait for the disk at most.
const WAITING_MAX: usize = 16 * 1024;

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
    let writer = match kind {
        Kind::Noop => None,
        Kind::Raw => Some(start_writer(data).map_err(failed)?),
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    writeln!(out, "{{\"ready\":true,\"grpc\":\"{address}\"}}").and_then(|()| out.flush()).map_err(failed)?;
    Server::builder()
        .add_service(AppendServiceServer::new(Floor { writer }))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .map_err(|e| BenchError::because("the floor server stopped", e))
}

/// A server without state.
struct Floor {
    /// To the thread that writes; `None`: nothing is written.
    writer: Option<mpsc::Sender<Job>>,
}

/// Events to be made durable, and who waits for it.
struct Job {
    events: Vec<pb::Event>,
    done: oneshot::Sender<Vec<pb::Receipt>>,
}

impl Floor {
    async fn record(&self, events: Vec<pb::Event>) -> Result<Vec<pb::Receipt>, Status> {
        let Some(writer) = &self.writer else {
            return Ok(events
                .into_iter()
                .map(|event| receipt(event, Position(0), Link::default()))
                .collect());
        };
        let (done, receipts) = oneshot::channel();
        let stopped = || Status::unavailable("the floor's disk failed");
        writer.send(Job { events, done }).await.map_err(|_| stopped())?;
        receipts.await.map_err(|_| stopped())
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
        let floor = Self { writer: self.writer.clone() };
        let answers = request
            .into_inner()
            .map(move |message| {
                let floor = Self { writer: floor.writer.clone() };
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

fn start_writer(data: &Path) -> io::Result<mpsc::Sender<Job>> {
    std::fs::create_dir_all(data)?;
    let file = zeroed(&data.join("floor"), FILE_BYTES)?;
    let (sender, jobs) = mpsc::channel(WAITING_MAX);
    let chain = Chain { file, offset: 0, position: Position(0), link: Link::default() };
    std::thread::spawn(move || chain.run(jobs));
    Ok(sender)
}

/// The thread that links, writes and syncs.
struct Chain {
    file: File,
    offset: u64,
    position: Position,
    link: Link,
}

impl Chain {
    /// Ends where nobody sends any more, or the disk fails.
    fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.blocking_recv() {
            let (mut bytes, mut answers) = (Vec::new(), Vec::new());
            let mut next = Some(job);
            while let Some(job) = next {
                let receipts = job.events.into_iter().map(|event| self.append(event, &mut bytes)).collect();
                answers.push((job.done, receipts));
                next = if bytes.len() < GROUP_BYTES_MAX { jobs.try_recv().ok() } else { None };
            }
            if self.make_durable(&bytes).is_err() {
                return;
            }
            for (done, receipts) in answers {
                // A caller that is gone does not need its receipts.
                let _ = done.send(receipts);
            }
        }
    }

    fn append(&mut self, event: pb::Event, bytes: &mut Vec<u8>) -> pb::Receipt {
        let header = Header {
            uid: LedgerUid::default(),
            position: self.position,
            epoch: 0,
            previous: self.link,
            recorded_at: Time(0),
            event_id: event.event_id.parse().unwrap_or(Uuid::nil()),
            emitter: event.emitter.parse().unwrap_or_else(|_| Emitter::ledger()),
        };
        let entry = entry::encode(&header, &event.encode_to_vec()).unwrap_or_default();
        self.link = entry::link(&entry);
        self.position = self.position.next();
        bytes.extend_from_slice(&entry);
        receipt(event, header.position, self.link)
    }

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

    #[test]
    fn the_raw_floor_chains_its_entries_and_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        let file = zeroed(&dir.path().join("floor"), 1 << 20).unwrap();
        let mut chain = Chain { file, offset: 0, position: Position(0), link: Link::default() };
        let event = || pb::Event {
            event_id: Uuid::from_u128(1).to_string(),
            emitter: "bench".into(),
            ..Default::default()
        };
        let mut bytes = Vec::new();
        let first = chain.append(event(), &mut bytes);
        let length = bytes.len();
        let second = chain.append(event(), &mut bytes);
        chain.make_durable(&bytes).unwrap();
        let (header, _) = entry::decode(&bytes[length..]).unwrap();
        assert_eq!((header.position, header.previous.0.to_vec()), (Position(1), first.link));
        assert_eq!(second.link, entry::link(&bytes[length..]).0);
        let written = std::fs::read(dir.path().join("floor")).unwrap();
        assert_eq!(written[..bytes.len()], bytes);
        assert_eq!(written.len(), 1 << 20);
    }

    #[test]
    fn a_sync_takes_time() {
        assert!(fdatasync_p50().unwrap() > Duration::ZERO);
    }
}
