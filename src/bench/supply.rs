//! Requests made and encoded beforehand, in pieces, by threads that go on while pieces are used up: so the clients cost
//! little, and ten million events do not have to fit in memory.

use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::workload::{Cast, EVENT_BYTES, Workload};
use super::{Load, Until};
use crate::wire::pb;

/// How many bytes of events are ready at most.
const READY_BYTES_MAX: usize = 384 * 1024 * 1024;
/// Bytes of one piece, unless one request is larger.
const PIECE_BYTES: usize = 64 * 1024;
/// Threads that make events.
const MAKERS: usize = 2;
/// How long a maker waits where everything is full.
const PAUSE: Duration = Duration::from_millis(2);
/// More events a second than this are not to be expected, one by one or in batches.
const SINGLE_EVENTS_PER_S_MAX: f64 = 100_000.0;
const BATCH_EVENTS_PER_S_MAX: f64 = 1_000_000.0;

/// The requests of one client.
pub(super) struct Share {
    pieces: mpsc::Receiver<Vec<Bytes>>,
    piece: std::vec::IntoIter<Bytes>,
}

impl Share {
    /// The next request; `None`: that was all.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(request) = self.piece.next() {
                return Some(request);
            }
            self.piece = self.pieces.recv().await?.into_iter();
        }
    }
}

/// How many requests a load needs at most. One that ends by time gets what can be held ready.
fn wanted(load: &Load) -> usize {
    let most = if load.batch > 1 { BATCH_EVENTS_PER_S_MAX } else { SINGLE_EVENTS_PER_S_MAX };
    let events = match (load.until, load.rate) {
        (Until::Events(events), _) => usize::try_from(events).unwrap_or(usize::MAX),
        (Until::After(time), Some(rate)) => (rate * time.as_secs_f64()).ceil() as usize,
        (Until::After(time), None) => {
            let events = (most * time.as_secs_f64()) as usize;
            events.clamp(load.clients * load.batch, READY_BYTES_MAX / EVENT_BYTES)
        }
    };
    events.div_ceil(load.batch).max(1)
}

/// Makes what each of the cast will send, and returns when as much is ready as may be.
pub(super) async fn supply(ledger: &str, cast: Cast, load: &Load) -> Vec<Share> {
    supply_within(ledger, cast, load, READY_BYTES_MAX).await
}

async fn supply_within(ledger: &str, cast: Cast, load: &Load, ready_bytes_max: usize) -> Vec<Share> {
    let wanted = wanted(load);
    let ready_bytes = ready_bytes_max / cast.shares;
    let request_bytes = load.batch * (EVENT_BYTES + 8);
    // Several pieces of each, so that one is made while others are used up.
    let piece = (PIECE_BYTES.min(ready_bytes / 4) / request_bytes).max(1);
    let pieces_max = (ready_bytes / (piece * request_bytes)).max(1);
    let mut makers: Vec<Vec<Maker>> = (0..MAKERS).map(|_| Vec::new()).collect();
    let mut shares = Vec::with_capacity(cast.shares);
    for share in 0..cast.shares {
        let (sender, pieces) = mpsc::channel(pieces_max);
        shares.push(Share { pieces, piece: Vec::new().into_iter() });
        let left = wanted / cast.shares + usize::from(share < wanted % cast.shares);
        let workload = Workload::new(cast, share);
        let maker = Maker { workload, ledger: ledger.to_owned(), load: *load, piece, left, to: sender };
        if let Some(makers) = makers.get_mut(share % MAKERS) {
            makers.push(maker);
        }
    }
    for full in makers.into_iter().map(begin).collect::<Vec<_>>() {
        // The sender is dropped when everything is full.
        let _ = full.await;
    }
    shares
}

/// A thread that makes pieces; what comes back ends when all is full for the first time.
fn begin(makers: Vec<Maker>) -> oneshot::Receiver<()> {
    let (full, told) = oneshot::channel();
    std::thread::spawn(move || make(makers, full));
    told
}

fn make(mut makers: Vec<Maker>, full: oneshot::Sender<()>) {
    let mut full = Some(full);
    while !makers.is_empty() {
        let mut idle = true;
        makers.retain_mut(|maker| match maker.piece() {
            Made::Piece => {
                idle = false;
                true
            }
            Made::NoRoom => true,
            Made::Over => false,
        });
        if idle {
            full.take();
            std::thread::sleep(PAUSE);
        }
    }
}

/// What became of an attempt to make a piece.
enum Made {
    Piece,
    NoRoom,
    Over,
}

/// Makes the requests of one share.
struct Maker {
    workload: Workload,
    ledger: String,
    load: Load,
    /// Requests of a piece.
    piece: usize,
    /// Requests still to be made.
    left: usize,
    to: mpsc::Sender<Vec<Bytes>>,
}

impl Maker {
    fn piece(&mut self) -> Made {
        if self.left == 0 {
            return Made::Over;
        }
        let place = match self.to.try_reserve() {
            Ok(place) => place,
            Err(mpsc::error::TrySendError::Full(())) => return Made::NoRoom,
            Err(mpsc::error::TrySendError::Closed(())) => return Made::Over,
        };
        let requests = self.piece.min(self.left);
        let piece = (0..requests).map(|_| request(&mut self.workload, &self.ledger, &self.load)).collect();
        place.send(piece);
        self.left -= requests;
        Made::Piece
    }
}

fn request(workload: &mut Workload, ledger: &str, load: &Load) -> Bytes {
    let ledger_name = ledger.to_owned();
    match (load.batch, load.stream) {
        (1, false) => {
            let proposal = Some(proposed(workload.next()));
            encoded(&pb::AppendRequest { ledger: ledger_name, proposal, validate_only: false })
        }
        (1, true) => encoded(&pb::AppendStreamRequest {
            ledger: ledger_name,
            proposal: Some(proposed(workload.next())),
        }),
        (batch, _) => batch_of(ledger, (0..batch).map(|_| workload.next()).collect()),
    }
}

fn proposed(event: pb::Event) -> pb::Proposal {
    pb::Proposal { event: Some(event), expected_version: None }
}

fn encoded(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

/// Events as one request.
pub(super) fn batch_of(ledger: &str, events: Vec<pb::Event>) -> Bytes {
    let proposals = events.into_iter().map(proposed).collect();
    encoded(&pb::AppendBatchRequest { ledger: ledger.to_owned(), proposals, ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::workload::Mix;

    fn load(until: Until) -> Load {
        Load { clients: 3, connections: 1, batch: 1, stream: false, until, rate: None, mix: Mix::Whole }
    }

    #[tokio::test]
    async fn a_number_of_events_is_shared_out_to_the_last_one() {
        let load = load(Until::Events(1_000));
        let mut events = 0;
        for mut share in supply("l", Cast::new(5, 3, Mix::Whole), &load).await {
            while let Some(request) = share.next().await {
                let request = pb::AppendRequest::decode(request).unwrap();
                assert!(request.proposal.unwrap().event.is_some());
                events += 1;
            }
        }
        assert_eq!(events, 1_000);
    }

    #[tokio::test]
    async fn more_than_may_be_ready_is_made_while_it_is_used_up() {
        let load = Load { batch: 10, ..load(Until::Events(3_000)) };
        let (piece_bytes, ready) = (10 * (EVENT_BYTES + 8), 4);
        let cast = Cast::new(5, 3, Mix::Tokens);
        let mut shares = supply_within("l", cast, &load, 3 * ready * piece_bytes).await;
        assert!(shares.iter().all(|share| share.pieces.len() == ready), "full, and no fuller");
        let mut events = 0;
        for share in &mut shares {
            while let Some(request) = share.next().await {
                events += pb::AppendBatchRequest::decode(request).unwrap().proposals.len();
            }
        }
        assert_eq!(events, 3_000);
    }

    #[test]
    fn a_load_by_time_wants_what_it_could_use() {
        let second = Until::After(Duration::from_secs(1));
        assert_eq!(wanted(&load(second)), 100_000);
        assert_eq!(wanted(&Load { batch: 1_000, ..load(second) }), 1_000);
        assert_eq!(wanted(&Load { rate: Some(50.5), ..load(second) }), 51);
        assert_eq!(wanted(&Load { batch: 100, ..load(Until::Events(101)) }), 2);
        assert_eq!(wanted(&load(Until::After(Duration::from_secs(9_999)))), READY_BYTES_MAX / EVENT_BYTES);
    }
}
