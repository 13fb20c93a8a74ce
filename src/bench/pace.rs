//! The open loop: requests are sent on schedule, whatever becomes of those before. Their latency counts from when they
//! should have been sent, so that a server that stalls can not hide it by holding its clients back.

use std::future::Future;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
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
    let requests = async move || {
        let lane = turn % shares.len().max(1);
        turn += 1;
        let grpc = Grpc::new(channels.get(lane % channels.len().max(1))?.clone());
        Some((grpc, shares.get_mut(lane)?.next().await?))
    };
    let call = move |(grpc, request)| try_call(grpc, request, batch);
    paced(rate / batch.0 as f64, requests, call, batch.0 as u64, IN_FLIGHT_MAX).await
}

/// Calls for each request on schedule, until there are no more.
async fn paced<R, F>(
    requests_per_s: f64,
    mut requests: impl AsyncFnMut() -> Option<R>,
    call: impl Fn(R) -> F,
    events: u64,
    in_flight_max: usize,
) -> Result<Tally, BenchError>
where
    F: Future<Output = Result<bool, BenchError>> + Send + 'static,
{
    let alarm = Alarm::new().map_err(|e| BenchError::because("there is no timer", e))?;
    let places = Arc::new(Semaphore::new(in_flight_max));
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut tally = Tally::default();
    let begin = Instant::now();
    let schedule = Schedule::new(begin, requests_per_s);
    for n in 0.. {
        let Some(request) = requests().await else { break };
        let intended = schedule.intended(n);
        alarm.until(intended).await.map_err(|e| BenchError::because("the timer failed", e))?;
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => Some(place),
            Err(_) => {
                tally.held_back += 1;
                Arc::clone(&places).acquire_owned().await.ok()
            }
        };
        let (answer, answers) = (call(request), answers.clone());
        tokio::spawn(async move {
            let outcome = answer.await;
            let _ = answers.send(Answered { intended, at: Instant::now(), outcome });
            drop(place);
        });
        while let Ok(answered) = answered.try_recv() {
            answered.count(&mut tally, events)?;
        }
    }
    drop(answers);
    while let Some(answered) = answered.recv().await {
        answered.count(&mut tally, events)?;
    }
    tally.elapsed = begin.elapsed();
    Ok(tally)
}

impl Answered {
    fn count(self, tally: &mut Tally, events: u64) -> Result<(), BenchError> {
        if self.outcome? {
            tally.acknowledged(events, self.at.duration_since(self.intended));
        } else {
            tally.busy += events;
        }
        Ok(())
    }
}

/// Wakes a task to the microsecond, for which a runtime's own timers are too coarse.
struct Alarm(AsyncFd<OwnedFd>);

impl Alarm {
    #[expect(
        deprecated,
        reason = "its successor is unsafe, which is forbidden here; this descriptor is owned, and is never another"
    )]
    fn new() -> std::io::Result<Self> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        Ok(Self(AsyncFd::with_interest(timer, Interest::READABLE)?))
    }

    /// Returns at that time, or at the next turn of the runtime if it is over.
    async fn until(&self, time: Instant) -> std::io::Result<()> {
        let left = time.saturating_duration_since(Instant::now());
        if left.is_zero() {
            tokio::task::yield_now().await;
            return Ok(());
        }
        let once = Timespec::try_from(left).map_err(std::io::Error::other)?;
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(
            self.0.get_ref(),
            TimerfdTimerFlags::empty(),
            &Itimerspec { it_interval: never, it_value: once },
        )?;
        // What is read is how often it rang.
        let mut rung = [0; 8];
        let read = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut rung)?);
        self.0.async_io(Interest::READABLE, read).await.map(drop)
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

    fn numbers(most: u32) -> impl AsyncFnMut() -> Option<u32> {
        let mut numbers = 0..most;
        async move || numbers.next()
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
