//! The open loop: requests are sent on schedule, whatever becomes of those before. Their latency counts from when they
//! should have been sent, so that a server that stalls can not hide it by holding its clients back.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tonic::client::Grpc;
use tonic::transport::Channel;

use super::load::{Batch, try_call};
use super::supply::Share;
use super::tally::Tally;
use super::{BenchError, Load};

/// Requests in flight at most. One more is sent late, and that is reported.
pub(super) const IN_FLIGHT_MAX: usize = 10_000;
/// How many share the accounts: more than are in flight as a rule, so that the events of an account keep their order.
pub(super) const SHARES: usize = 500;

/// When each request should be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    begin: Instant,
    gap: Duration,
}

impl Schedule {
    /// So many requests a second from `begin` on.
    pub(super) fn new(begin: Instant, requests_per_s: f64) -> Self {
        let gap = Duration::try_from_secs_f64(1.0 / requests_per_s).unwrap_or(Duration::MAX);
        Self { begin, gap }
    }

    /// When request number `n` should be sent. Does not depend on any other request.
    pub(super) fn intended(&self, n: u64) -> Instant {
        let nanos = self.gap.as_nanos().saturating_mul(u128::from(n));
        let after = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        self.begin.checked_add(after).unwrap_or(self.begin)
    }
}

/// What became of one request.
struct Answered {
    intended: Instant,
    at: Instant,
    outcome: Result<bool, BenchError>,
}

/// Sends everything on schedule.
pub(super) async fn run(
    channels: &[Channel],
    mut shares: Vec<Share>,
    load: &Load,
    rate: f64,
) -> Result<Tally, BenchError> {
    let batch = Batch(load.batch);
    let channels = channels.to_vec();
    let mut turn = 0;
    let requests = move || {
        let lane = turn % shares.len().max(1);
        turn += 1;
        let grpc = Grpc::new(channels.get(lane % channels.len().max(1))?.clone());
        Some((grpc, shares.get_mut(lane)?.next_blocking()?))
    };
    let call = move |(grpc, request)| try_call(grpc, request, batch);
    paced(rate / batch.0 as f64, requests, call, batch.0 as u64, IN_FLIGHT_MAX).await
}

/// Calls for each request on schedule, until there are no more.
async fn paced<R, F>(
    requests_per_s: f64,
    requests: impl FnMut() -> Option<R> + Send + 'static,
    call: impl Fn(R) -> F + Send + 'static,
    events: u64,
    in_flight_max: usize,
) -> Result<Tally, BenchError>
where
    R: Send + 'static,
    F: Future<Output = Result<bool, BenchError>> + Send + 'static,
{
    let begin = Instant::now();
    let schedule = Schedule::new(begin, requests_per_s);
    let (answers, mut answered) = mpsc::unbounded_channel();
    let runtime = Handle::current();
    let pacer =
        tokio::task::spawn_blocking(move || pace(&runtime, schedule, requests, call, answers, in_flight_max));
    let mut tally = Tally::default();
    while let Some(Answered { intended, at, outcome }) = answered.recv().await {
        if outcome? {
            tally.acknowledged(events, at.duration_since(intended));
        } else {
            tally.busy += events;
        }
    }
    tally.elapsed = begin.elapsed();
    tally.held_back = pacer.await.map_err(|e| BenchError::because("the schedule was not kept", e))?;
    Ok(tally)
}

/// A thread of its own, for a runtime's timers are too coarse. Says how many requests were held back.
fn pace<R, F>(
    runtime: &Handle,
    schedule: Schedule,
    mut requests: impl FnMut() -> Option<R>,
    call: impl Fn(R) -> F,
    answers: mpsc::UnboundedSender<Answered>,
    in_flight_max: usize,
) -> u64
where
    F: Future<Output = Result<bool, BenchError>> + Send + 'static,
{
    sharpen_timer();
    let places = Arc::new(Semaphore::new(in_flight_max));
    let mut held_back = 0;
    for n in 0.. {
        let Some(request) = requests() else { break };
        let intended = schedule.intended(n);
        std::thread::sleep(intended.saturating_duration_since(Instant::now()));
        let place = Arc::clone(&places).try_acquire_owned().ok().or_else(|| {
            held_back += 1;
            runtime.block_on(Arc::clone(&places).acquire_owned()).ok()
        });
        if answers.is_closed() {
            break;
        }
        let (answer, answers) = (call(request), answers.clone());
        runtime.spawn(async move {
            let outcome = answer.await;
            let _ = answers.send(Answered { intended, at: Instant::now(), outcome });
            drop(place);
        });
    }
    held_back
}

/// Asks Linux not to round this thread's sleeps by its usual 50 microseconds. Where it refuses, latencies are that much
/// larger, and honest.
fn sharpen_timer() {
    let thread = std::fs::read_link("/proc/thread-self").ok();
    let id = thread.as_deref().and_then(|path| path.file_name()).map(|id| id.to_string_lossy().into_owned());
    if let Some(id) = id {
        let _ = std::fs::write(format!("/proc/{id}/timerslack_ns"), "1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_request_has_its_time_whatever_became_of_the_others() {
        let begin = Instant::now();
        let schedule = Schedule::new(begin, 8_000.0);
        assert_eq!(schedule.intended(0), begin);
        assert_eq!(schedule.intended(8_000) - begin, Duration::from_secs(1));
        assert_eq!(schedule.intended(3) - schedule.intended(2), Duration::from_micros(125));
        let never = Schedule::new(begin, f64::MIN_POSITIVE);
        assert!(never.intended(u64::MAX) >= begin, "a time that does not exist is no panic");
    }

    fn numbers(most: u32) -> impl FnMut() -> Option<u32> + Send + 'static {
        let mut numbers = 0..most;
        move || numbers.next()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_stalls_once_shows_in_the_percentiles_and_requests_go_on() {
        let stalled_until = Arc::new(Mutex::new(None::<Instant>));
        let (stall, stopped) = (Duration::from_millis(400), Arc::clone(&stalled_until));
        // Request 40 stalls the server; those that come meanwhile wait for the end of the stall.
        let call = move |n: u32| {
            let mut until = stopped.lock().unwrap();
            if n == 40 {
                *until = Some(Instant::now() + stall);
            }
            let until = *until;
            async move {
                if let Some(until) = until {
                    tokio::time::sleep_until(until.into()).await;
                }
                Ok(true)
            }
        };
        let tally = paced(100.0, numbers(100), call, 1, IN_FLIGHT_MAX).await.unwrap();
        assert_eq!((tally.events, tally.held_back), (100, 0));
        // A client that waits for its answer would have seen the stall once in a hundred requests.
        let slow = tally.latencies.count_between(200_000_000, u64::MAX);
        assert!(slow >= 15, "{slow} requests were slow");
        assert!(tally.micros(0.99) >= 300_000.0, "{}", tally.micros(0.99));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_held_back_is_counted_and_its_wait_is_latency() {
        let call = |_: u32| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(true)
        };
        let tally = paced(10_000.0, numbers(10), call, 1, 1).await.unwrap();
        assert_eq!(tally.events, 10);
        assert!(tally.held_back >= 9);
        assert!(tally.micros(1.0) >= 150_000.0, "the last one waited for nine others");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_busy_server_is_counted_and_a_refusal_ends_it() {
        let busy = paced(10_000.0, numbers(10), |n: u32| async move { Ok(n.is_multiple_of(2)) }, 3, 10)
            .await
            .unwrap();
        assert_eq!((busy.events, busy.busy), (15, 15));
        let refused = |_: u32| async { Err(BenchError("no".to_owned())) };
        assert!(paced(10_000.0, numbers(10), refused, 1, 10).await.is_err());
    }
}
