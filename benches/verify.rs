//! How fast a log is judged, beside a plain loop that hashes the same entries one after the other, and how much memory
//! that takes: `cargo bench --bench verify`. The judge hashes every entry twice, into the chain and into the tree, and
//! compares the stored tree. The log's entries are as large as those of the benchmark's workload. The
//! ways take turns, so that a slow moment of the machine hits all alike; all but the first round count. Beside the time
//! on the clock stands that of the processor, which says the same on a machine that has other work to do.
#![allow(missing_docs, clippy::print_stdout, reason = "the figures are the purpose")]

use std::error::Error;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::disk::RealDisk;
use ledger::entry::{self, Header, Record};
use ledger::log::{LogStore, SegmentLog, SegmentOptions};
use ledger::tiles::TreeStore;
use ledger::types::{LedgerUid, Link, Position, Time};
use ledger::verify::{Evidence, verify_on};
use rustix::time::{ClockId, clock_gettime};
use uuid::Uuid;

const ENTRIES: u64 = 1_000_000;
const FEWER_ENTRIES: u64 = 100_000;
/// The judge remembers the event ids of one segment, and the smaller log is less than one.
const PEAK_MORE_KB_MAX: u64 = 4 * 1024;
/// An event of 229 bytes as sent, without its id and emitter, which stand in the entry's header.
const EVENT_BYTES: usize = 184;
const GROUP: u64 = 8_000;
const ROUNDS: usize = 7;
/// Behind this word: a directory, and a number of threads. Judges it, and prints the most memory that it took.
const JUDGE: &str = "judge";

type Anything<T> = Result<T, Box<dyn Error>>;

/// The entries of a log, as they are made.
struct Entries {
    next: u64,
    previous: Link,
}

impl Entries {
    fn make(&mut self) -> Anything<Record> {
        let header = Header {
            uid: LedgerUid([7; 16]),
            position: Position(self.next),
            epoch: 0,
            previous: self.previous,
            recorded_at: Time(1_726_012_800_000_000_000 + i64::try_from(self.next)?),
            event_id: Uuid::from_u128(
                u128::from(self.next).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835),
            ),
            emitter: "bench".parse()?,
        };
        let event: Vec<u8> = (0..EVENT_BYTES as u64).map(|i| (i * 31 + self.next * 7) as u8).collect();
        let bytes = entry::encode(&header, &event)?;
        self.previous = entry::link(&bytes);
        self.next += 1;
        Ok(Record::new(bytes.into(), self.previous, (0, 1)))
    }
}

fn write_log(data: &Path, entries: u64) -> Anything<()> {
    let dir = data.join("ledgers/default");
    let (log, _) = SegmentLog::open(Arc::new(RealDisk), &dir, SegmentOptions::default())?;
    let mut made = Entries { next: 0, previous: Link::default() };
    while made.next < entries {
        let group = (0..GROUP.min(entries - made.next)).map(|_| made.make()).collect::<Anything<Vec<_>>>()?;
        log.append(log.tail().next, &group)?;
    }
    let tree = TreeStore::open(Arc::new(RealDisk), &dir.join("tree"), &[]);
    tree.catch_up(&log)?;
    Ok(tree.flush()?)
}

/// The entries of a log, one behind the other in memory.
fn entries_of(data: &Path) -> Anything<Vec<Box<[u8]>>> {
    let dir = data.join("ledgers/default");
    let (log, _) = SegmentLog::open(Arc::new(RealDisk), &dir, SegmentOptions::default())?;
    let mut entries: Vec<Box<[u8]>> = Vec::new();
    while (entries.len() as u64) < log.tail().next.0 {
        let records = log.read(Position(entries.len() as u64), 1 << 20)?;
        entries.extend(records.iter().map(|record| Box::from(&record.entry[..])));
    }
    Ok(entries)
}

/// Seconds on the clock, and seconds of processors, on all threads.
#[derive(Clone, Copy)]
struct Took {
    clock: f64,
    processor: f64,
}

/// Measures.
struct Watch {
    began: Instant,
    used: Duration,
}

impl Watch {
    fn start() -> Anything<Self> {
        Ok(Self { began: Instant::now(), used: processor_time()? })
    }

    fn stop(&self) -> Anything<Took> {
        let clock = self.began.elapsed().as_secs_f64();
        Ok(Took { clock, processor: processor_time()?.saturating_sub(self.used).as_secs_f64() })
    }
}

fn processor_time() -> Anything<Duration> {
    Ok(clock_gettime(ClockId::ProcessCPUTime).try_into()?)
}

/// What to compare with: `blake3(hash before || entry)`, one after the other.
fn plain_loop(entries: &[Box<[u8]>]) -> Anything<Took> {
    let watch = Watch::start()?;
    let (mut hash, mut bytes) = ([0; 32], Vec::new());
    for entry in entries {
        bytes.clear();
        bytes.extend_from_slice(&hash);
        bytes.extend_from_slice(entry);
        hash = *blake3::hash(&bytes).as_bytes();
    }
    black_box(hash);
    watch.stop()
}

fn judged(data: &Path, threads: NonZeroUsize) -> Anything<Took> {
    let watch = Watch::start()?;
    let report = verify_on(&RealDisk, data, threads, &Evidence::default(), &())?;
    let took = watch.stop()?;
    if report.ok() && report.ledgers.len() == 1 { Ok(took) } else { Err("the log is not sound".into()) }
}

/// The most memory that this process has taken, in kB, as the operating system says.
fn peak_memory() -> Anything<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}

fn peak_memory_of_judging(data: &Path, threads: NonZeroUsize) -> Anything<u64> {
    let mut judge = Command::new(std::env::current_exe()?);
    let output = judge.arg(JUDGE).arg(data).arg(threads.to_string()).output()?;
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

fn speed(data: &Path, one: NonZeroUsize, two: NonZeroUsize) -> Anything<()> {
    let entries = entries_of(data)?;
    let bytes: usize = entries.iter().map(|entry| entry.len()).sum();
    println!("{} entries of {} bytes, median of {} rounds", entries.len(), bytes / entries.len(), ROUNDS);
    let mut rounds = Vec::new();
    for _ in 0..=ROUNDS {
        rounds.push([plain_loop(&entries)?, judged(data, one)?, judged(data, two)?]);
    }
    let rounds = rounds.get(1..).unwrap_or_default();
    for (way, name) in ["plain loop", "verify, one thread", "verify, two threads"].iter().enumerate() {
        let seconds = median(rounds.iter().map(|round| round[way].clock).collect());
        let clock = median(rounds.iter().map(|round| round[0].clock / round[way].clock).collect());
        let processor =
            median(rounds.iter().map(|round| round[0].processor / round[way].processor).collect());
        println!(
            "{:8.0} entries/ms  {clock:4.2} of the loop, by the processor's time {processor:4.2}  {name}",
            entries.len() as f64 / seconds / 1e3,
        );
    }
    Ok(())
}

fn measure() -> Anything<()> {
    let (one, two) = (NonZeroUsize::MIN, NonZeroUsize::MIN.saturating_add(1));
    let (fewer, all) = (tempfile::tempdir()?, tempfile::tempdir()?);
    write_log(fewer.path(), FEWER_ENTRIES)?;
    write_log(all.path(), ENTRIES)?;
    speed(all.path(), one, two)?;
    for threads in [one, two] {
        let peaks = [&fewer, &all].map(|data| peak_memory_of_judging(data.path(), threads));
        let [small, large] = peaks;
        let (small, large) = (small?, large?);
        println!("{small:>8} kB at most, {FEWER_ENTRIES} entries, threads: {threads}");
        println!("{large:>8} kB at most, {ENTRIES} entries, threads: {threads}");
        if large > small + PEAK_MORE_KB_MAX {
            return Err("the judge's memory grows with the log".into());
        }
    }
    Ok(())
}

fn main() -> Anything<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [judge, data, threads] if judge == JUDGE => {
            judged(Path::new(data), threads.parse()?)?;
            println!("{}", peak_memory()?);
            Ok(())
        }
        _ => measure(),
    }
}
