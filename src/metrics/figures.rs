//! Figures of each script that a client has called: how often, how it went, and how long it took.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::base::sha::{DigestHasher, Sha};
use crate::ffi::sys::lock::RwLock;
use crate::request::script::Script;
use crate::resp::{Kind, NoMemory, Payload, Reply};

/// What became of the calls of one script; see [`Client::script_stats`](crate::Client::script_stats).
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let url = server.url();
/// # use rs_script::{Client, Options, Script};
/// # let mut options = Options::default();
/// # options.script_stats(10);
/// let client = Client::open(&url, &options)?;
/// let _: i64 = Script::new("return 1").named("one")?.call(&client)?;
/// let stats = &client.script_stats()[0];
/// assert_eq!((stats.name.as_deref(), stats.calls, stats.loads), (Some("one"), 1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ScriptStats {
    /// The script; `None`: all those together that were too many to be counted by themselves.
    pub sha: Option<Sha>,
    /// The name that it was given; see [`Script::named`](crate::Script::named).
    pub name: Option<String>,
    /// Calls that have ended, items of pipelines and transactions among them.
    pub calls: u64,
    /// SCRIPT LOADs of it that were sent; of a function, FUNCTION LOADs of its library for the sake of this function.
    pub loads: u64,
    /// How often it was sent again because a server had lost it.
    pub repairs: u64,
    /// Calls that have ended with an error of any kind.
    pub errors: u64,
    /// Those of them of which nobody knows whether they were executed.
    pub indeterminate: u64,
    /// How long calls took, from the beginning to the end, all their attempts and pauses together. Items of pipelines
    /// and transactions are not in it: they have no time of their own.
    pub latency: Histogram,
}

/// How often something took how long: to 1 % (two digits), from a microsecond to 100 seconds.
///
/// ```
/// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
/// # fn main() -> rs_script::Result<()> {
/// # let server = Server::start();
/// # let url = server.url();
/// # use rs_script::{Client, Options, Script};
/// # let mut options = Options::default();
/// # options.script_stats(10);
/// let client = Client::open(&url, &options)?;
/// let _: i64 = Script::new("return 1").named("one")?.call(&client)?;
/// let latency = &client.script_stats()[0].latency;
/// assert_eq!(latency.count(), 1);
/// assert!(latency.percentile(0.5) <= latency.percentile(1.0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// Empty, or one number for each bucket.
    buckets: Vec<u64>,
    sum_us: u64,
}

/// So many buckets each doubling of the time has: each is less than 1 % wide.
const PER_DOUBLING: u64 = 128;
/// Below this each microsecond has a bucket of its own.
const EXACT: u64 = 2 * PER_DOUBLING;

/// 100 seconds; what takes longer is counted as that.
const LONGEST_US: u64 = 100_000_000;

/// 21 KiB a script.
const BUCKETS: usize = bucket_of(LONGEST_US) + 1;

/// The bucket that a number of microseconds is counted in.
#[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
const fn bucket_of(us: u64) -> usize {
    if us < EXACT {
        return us as usize;
    }
    let doublings = (us / PER_DOUBLING).ilog2() as u64;
    (doublings * PER_DOUBLING + (us >> doublings)) as usize
}

/// The largest number of microseconds that is counted in a bucket.
const fn upper_us(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < EXACT {
        return bucket;
    }
    let doublings = bucket / PER_DOUBLING - 1;
    ((PER_DOUBLING + bucket % PER_DOUBLING + 1) << doublings) - 1
}

impl Histogram {
    /// How many have been counted.
    ///
    /// ```
    /// assert_eq!(rs_script::Histogram::default().count(), 0);
    /// ```
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// What all of them took together.
    ///
    /// ```
    /// assert!(rs_script::Histogram::default().sum().is_zero());
    /// ```
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum_us)
    }

    /// The time within which this share of them ended, 0 to 1: 0.5 is the median, 1 the longest. Zero where nothing
    /// was counted.
    ///
    /// ```
    /// assert!(rs_script::Histogram::default().percentile(0.99).is_zero());
    /// ```
    pub fn percentile(&self, share: f64) -> Duration {
        let count = self.count();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        let wanted = ((count as f64 * share.clamp(0.0, 1.0)).ceil() as u64).max(1);
        let mut so_far = 0;
        let bucket = self.buckets.iter().position(|bucket| {
            so_far += bucket;
            so_far >= wanted
        });
        bucket.map_or(Duration::ZERO, |bucket| Duration::from_micros(upper_us(bucket)))
    }

    /// The buckets that are not empty: the longest time that is counted in each, and how many are.
    ///
    /// ```
    /// assert_eq!(rs_script::Histogram::default().buckets().count(), 0);
    /// ```
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let filled = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        filled.map(|(bucket, &count)| (Duration::from_micros(upper_us(bucket)), count))
    }
}

impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.buckets()).finish()
    }
}

/// How a call of a script has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Well,
    Failed,
    Indeterminate,
}

/// The figures of a client's scripts, filled from any thread.
#[derive(Debug)]
pub(crate) struct Figures {
    scripts: RwLock<HashMap<Sha, Arc<Entry>, BuildHasherDefault<DigestHasher>>>,
    others: Arc<Entry>,
    /// So many are counted by themselves.
    max_scripts: usize,
}

/// Those of one script.
struct Entry {
    script: Option<Script>,
    calls: AtomicU64,
    loads: AtomicU64,
    repairs: AtomicU64,
    errors: AtomicU64,
    indeterminate: AtomicU64,
    sum_us: AtomicU64,
    buckets: Box<[AtomicU64]>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({:?})", self.script)
    }
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Entry {
    fn new(script: Option<&Script>) -> Arc<Self> {
        Arc::new(Entry {
            script: script.cloned(),
            calls: AtomicU64::new(0),
            loads: AtomicU64::new(0),
            repairs: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            indeterminate: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        })
    }

    fn stats(&self) -> ScriptStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ScriptStats {
            sha: self.script.as_ref().map(Script::sha),
            name: self.script.as_ref().and_then(Script::name).map(str::to_owned),
            calls: read(&self.calls),
            loads: read(&self.loads),
            repairs: read(&self.repairs),
            errors: read(&self.errors),
            indeterminate: read(&self.indeterminate),
            latency: Histogram {
                buckets: self.buckets.iter().map(read).collect(),
                sum_us: read(&self.sum_us),
            },
        }
    }
}

impl Figures {
    pub(crate) fn new(max_scripts: usize) -> Self {
        Figures { scripts: RwLock::default(), others: Entry::new(None), max_scripts }
    }

    fn entry(&self, script: &Script) -> Arc<Entry> {
        let sha = script.identity();
        if let Some(entry) = self.scripts.read().get(&sha) {
            return Arc::clone(entry);
        }
        let mut scripts = self.scripts.write();
        if let Some(entry) = scripts.get(&sha) {
            return Arc::clone(entry);
        }
        if scripts.len() >= self.max_scripts {
            return Arc::clone(&self.others);
        }
        let entry = Entry::new(Some(script));
        scripts.insert(sha, Arc::clone(&entry));
        entry
    }

    /// A SCRIPT LOAD of it is on its way.
    pub(crate) fn note_load(&self, script: &Script) {
        add(&self.entry(script).loads, 1);
    }

    /// It is sent again, for a server has lost it.
    pub(crate) fn note_repair(&self, script: &Script) {
        add(&self.entry(script).repairs, 1);
    }

    /// A call has ended; `took` where it has a time of its own.
    pub(crate) fn note_call(&self, script: &Script, outcome: Outcome, took: Option<Duration>) {
        let entry = self.entry(script);
        add(&entry.calls, 1);
        if outcome != Outcome::Well {
            add(&entry.errors, 1);
        }
        if outcome == Outcome::Indeterminate {
            add(&entry.indeterminate, 1);
        }
        if let Some(took) = took {
            let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            add(&entry.sum_us, us);
            add(&entry.buckets[bucket_of(us.min(LONGEST_US))], 1);
        }
    }

    /// All of them, those called most first; behind them what is counted together, if there is any.
    pub(crate) fn all(&self) -> Vec<ScriptStats> {
        let mut all: Vec<ScriptStats> = self.scripts.read().values().map(|entry| entry.stats()).collect();
        all.sort_unstable_by(|a, b| {
            b.calls
                .cmp(&a.calls)
                .then_with(|| a.sha.map(|sha| *sha.as_bytes()).cmp(&b.sha.map(|sha| *sha.as_bytes())))
        });
        let others = self.others.stats();
        if others.calls > 0 || others.loads > 0 || others.repairs > 0 {
            all.push(others);
        }
        all
    }
}

/// All of them as a reply: an array with a map for each script.
pub(crate) fn reply(figures: Option<&Figures>) -> Result<Reply, NoMemory> {
    let mut payload = Box::<Payload>::default();
    payload.start_array();
    let all = figures.map(Figures::all).unwrap_or_default();
    for stats in &all {
        stats.write(&mut payload)?;
    }
    payload.end_array(all.len());
    Ok(Reply::new(payload))
}

/// Shares of the calls whose times a reply names.
const SHARES: [(&str, f64); 5] =
    [("p50_us", 0.5), ("p90_us", 0.9), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)];

impl ScriptStats {
    fn write(&self, payload: &mut Payload) -> Result<(), NoMemory> {
        let map = payload.open(Kind::Map)?;
        let text = |payload: &mut Payload, key: &str, value: Option<&str>| {
            payload.append_text(Kind::String, key.as_bytes())?;
            match value {
                Some(value) => payload.append_text(Kind::String, value.as_bytes()),
                None => {
                    payload.append_nil();
                    Ok(())
                }
            }
        };
        let sha = self.sha.map(|sha| sha.to_string());
        text(payload, "sha", sha.as_deref())?;
        text(payload, "name", self.name.as_deref())?;
        let number = |payload: &mut Payload, key: &str, value: u64| {
            payload.append_text(Kind::String, key.as_bytes())?;
            payload.append_integer(value)
        };
        number(payload, "calls", self.calls)?;
        number(payload, "loads", self.loads)?;
        number(payload, "repairs", self.repairs)?;
        number(payload, "errors", self.errors)?;
        number(payload, "indeterminate", self.indeterminate)?;
        payload.append_text(Kind::String, b"latency")?;
        let latency = payload.open(Kind::Map)?;
        number(payload, "count", self.latency.count())?;
        number(payload, "sum_us", self.latency.sum_us)?;
        for (key, share) in SHARES {
            number(payload, key, in_us(self.latency.percentile(share)))?;
        }
        payload.append_text(Kind::String, b"buckets")?;
        let buckets = payload.open(Kind::Array)?;
        let mut count = 0;
        for (upper, calls) in self.latency.buckets() {
            payload.append_integer(in_us(upper))?;
            payload.append_integer(calls)?;
            count += 2;
        }
        payload.close(buckets, count);
        // Keys and values are elements each.
        payload.close(latency, 2 * (3 + SHARES.len()));
        payload.close(map, 2 * 8);
        Ok(())
    }
}

fn in_us(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_its_bucket_and_no_bucket_is_wider_than_a_hundredth() {
        let mut rng = fastrand::Rng::with_seed(3);
        let times = (0..EXACT * 8).chain((0..100_000).map(|_| rng.u64(..=LONGEST_US)));
        for us in times.chain([LONGEST_US]) {
            let bucket = bucket_of(us);
            let lower = if bucket == 0 { 0 } else { upper_us(bucket - 1) + 1 };
            assert!(
                (lower..=upper_us(bucket)).contains(&us),
                "{us}: bucket {bucket}, {lower} to {}",
                upper_us(bucket)
            );
            assert!((upper_us(bucket) - lower) * 100 <= lower, "{us}: {lower} to {}", upper_us(bucket));
        }
        assert_eq!(BUCKETS, bucket_of(LONGEST_US) + 1);
        assert!(BUCKETS * size_of::<AtomicU64>() <= 21 << 10, "{BUCKETS}");
    }

    #[test]
    fn percentiles_are_those_of_what_was_counted() {
        let figures = Figures::new(1);
        let script = Script::new("return 1");
        for milliseconds in 1..=1000 {
            figures.note_call(&script, Outcome::Well, Some(Duration::from_millis(milliseconds)));
        }
        figures.note_call(&script, Outcome::Failed, Some(Duration::from_secs(1000)));
        let all = figures.all();
        let latency = &all[0].latency;
        assert_eq!(latency.count(), 1001);
        assert_eq!(latency.sum(), Duration::from_millis(500_500 + 1_000_000));
        for (share, expected) in [(0.0, 1), (0.5, 501), (0.9, 901), (0.99, 991), (1.0, 100_000)] {
            let got = latency.percentile(share).as_secs_f64() * 1e3;
            assert!((got / f64::from(expected) - 1.0).abs() < 0.01, "{share}: {got} ms, not {expected}");
        }
        assert_eq!(Histogram::default().percentile(0.5), Duration::ZERO);
        assert_eq!(latency.buckets().map(|(_, count)| count).sum::<u64>(), 1001);
    }

    #[test]
    fn what_is_too_much_is_counted_together() {
        let figures = Figures::new(2);
        let scripts: Vec<Script> = (0..5).map(|number| Script::new(format!("return {number}"))).collect();
        for (number, script) in scripts.iter().enumerate() {
            for _ in 0..=number {
                figures.note_call(script, Outcome::Indeterminate, None);
            }
            figures.note_load(script);
            figures.note_repair(script);
        }
        let all = figures.all();
        let shown: Vec<_> =
            all.iter().map(|stats| (stats.sha, stats.calls, stats.loads, stats.indeterminate)).collect();
        let sha = |number: usize| Some(scripts[number].sha());
        assert_eq!(shown, [(sha(1), 2, 1, 2), (sha(0), 1, 1, 1), (None, 12, 3, 12)]);
        assert_eq!(reply(Some(&figures)).unwrap().root().len(), 3);
    }
}
