//! Load with exact accounts: every call leaves its id on the servers, so that afterwards it is known how often each
//! one ran.
//!
//! A write that a primary acknowledges and has not replicated when it dies is lost, and no client can help it. It is
//! told apart so: right before a primary is taken down, [`Load::take_down`] writes a marker and has WAIT confirm that
//! the replica has it, and with it all that ran before. Only a call that began before the primary was gone, was
//! acknowledged after the marker was written, and whose slot was that primary's may then be missing.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rs_script::{Client, Error, Options, Script, Status};

use super::cluster::{Cluster, slot_of};
use super::raw::Raw;
use super::{OnDrop, SLACK, wait_until};

/// What a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Each run adds to a total and to its own id, so that the two must agree.
const ONE: &str = "redis.call('HINCRBY', KEYS[1], 'total', 1)
    return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)";
const PAIR: &str = "for _, key in ipairs(KEYS) do
        redis.call('HINCRBY', key, 'total', 1)
        redis.call('HINCRBY', key, ARGV[1], 1)
    end
    return redis.call('HINCRBY', KEYS[1], ARGV[1], 0)";

/// Items of a pipeline and of a transaction.
const ITEMS: usize = 20;

const THREADS_MAX: usize = 8;

/// What a thread does, again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A script with one key.
    One,
    /// A script with two keys of a slot.
    Pair,
    /// Both, over all slots.
    Pipeline,
    /// Both, in one slot.
    Transaction,
}

/// Options with which a dead node is noticed within a test's time.
pub fn options() -> Options {
    let mut options = Options::default();
    options.call_timeout(TIMEOUT).unwrap().connect_timeout(Duration::from_secs(1)).unwrap();
    options
}

/// Threads that share a client, and what became of their calls.
pub struct Load<'a> {
    cluster: &'a Cluster,
    pub client: Client,
    tags: Vec<String>,
    one: Script,
    pair: Script,
    next: AtomicU64,
    /// Counts the marks before and after a primary goes down.
    phase: AtomicU64,
    stop: AtomicBool,
    /// Calls that ended, by thread.
    turns: [AtomicU64; THREADS_MAX],
    account: Mutex<Vec<Entry>>,
    losses: Mutex<Vec<Loss>>,
}

/// One call or item, and its end.
struct Entry {
    id: u64,
    tag: usize,
    is_pair: bool,
    work: Work,
    /// The phase before and after.
    phases: (u64, u64),
    took: Duration,
    end: Result<(), Error>,
}

/// What a primary that went down may have lost.
struct Loss {
    slots: Vec<bool>,
    phase: u64,
}

/// What the accounts say.
#[derive(Debug, Default)]
pub struct Summary {
    pub done: usize,
    /// Acknowledged by a primary that died before it replicated them.
    pub lost_by_server: usize,
    pub not_executed: usize,
    pub indeterminate: usize,
    pub indeterminate_but_done: usize,
    /// How often which kind of call met which error.
    pub errors: BTreeMap<String, (usize, String)>,
    pub longest: Duration,
}

impl Summary {
    #[track_caller]
    pub fn assert_no_call_failed(&self) {
        assert!(self.errors.is_empty(), "{self:#?}");
    }

    /// How often calls of this kind ended with this status.
    pub fn count(&self, work: Work, status: Status) -> usize {
        self.errors.get(&name(work, status)).map_or(0, |(count, _)| *count)
    }
}

fn name(work: Work, status: Status) -> String {
    format!("{work:?} {status:?}")
}

impl<'a> Load<'a> {
    /// Each tag makes a slot to which calls go, in turn.
    pub fn new(cluster: &'a Cluster, tags: impl IntoIterator<Item = String>) -> Load<'a> {
        Load::with_client(cluster, tags, Client::open(&cluster.cluster_url(), &options()).expect("a client"))
    }

    pub fn with_client(
        cluster: &'a Cluster,
        tags: impl IntoIterator<Item = String>,
        client: Client,
    ) -> Load<'a> {
        Load {
            cluster,
            client,
            tags: tags.into_iter().collect(),
            one: Script::new(ONE),
            pair: Script::new(PAIR),
            next: AtomicU64::new(0),
            phase: AtomicU64::new(0),
            stop: AtomicBool::new(false),
            turns: Default::default(),
            account: Mutex::default(),
            losses: Mutex::default(),
        }
    }

    /// The scripts that the calls run.
    pub fn scripts(&self) -> [&Script; 2] {
        [&self.one, &self.pair]
    }

    /// One thread for each work, before, during and after `trouble`. At most eight.
    pub fn during<T>(&self, works: &[Work], trouble: impl FnOnce() -> T) -> T {
        assert!(works.len() <= THREADS_MAX);
        self.stop.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let _end = OnDrop(|| self.stop.store(true, Ordering::Relaxed));
            for (&work, turns) in works.iter().zip(&self.turns) {
                scope.spawn(move || {
                    while !self.stop.load(Ordering::Relaxed) {
                        self.work(work);
                        turns.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            self.wait_for_calls(works);
            let result = trouble();
            self.wait_for_calls(works);
            result
        })
    }

    /// Waits until each thread has ended whatever call it is in now and one more, and each kind of call has succeeded
    /// once more.
    pub fn wait_for_calls(&self, works: &[Work]) {
        let phase = self.phase.fetch_add(1, Ordering::SeqCst) + 1;
        let turns = || self.turns.iter().take(works.len()).map(|turns| turns.load(Ordering::SeqCst));
        let before: Vec<u64> = turns().collect();
        wait_until("every thread goes on", || turns().zip(&before).all(|(now, before)| now >= before + 2));
        for &work in works {
            wait_until("calls succeed", || {
                let account = self.account.lock().unwrap();
                let recent = account.iter().rev().take_while(|entry| entry.phases.1 >= phase);
                let mut same = recent.filter(|entry| entry.work == work && entry.phases.0 >= phase);
                same.any(|entry| entry.end.is_ok())
            });
        }
    }

    /// Takes down the primary of a node number, in whichever way `down` does, and notes what it may lose by that.
    pub fn take_down(&self, victim: usize, down: impl FnOnce()) {
        let owned = |tag: &String| self.cluster.primary_of(slot_of(tag.as_bytes())) == victim;
        let slots: Vec<bool> = self.tags.iter().map(owned).collect();
        let marked = slots.iter().position(|owned| *owned).expect("a slot of the victim's among the load's");
        let phase = self.phase.fetch_add(1, Ordering::SeqCst) + 1;
        let mut raw = Raw::connect(self.cluster.node(victim));
        raw.ok(&["SET", &format!("{{{}}}marker", self.tags[marked]), "x"]);
        assert!(raw.ok(&["WAIT", "1", "20000"]).integer() >= 1, "the replica follows");
        down();
        self.phase.fetch_add(1, Ordering::SeqCst);
        self.losses.lock().unwrap().push(Loss { slots, phase });
    }

    /// One call on every tag; none may fail.
    #[track_caller]
    pub fn assert_well(&self) {
        for tag in 0..self.tags.len() {
            for work in [Work::One, Work::Pair] {
                let end = self.call(work, tag);
                end.unwrap_or_else(|error| panic!("a call after the trouble: {error:?}"));
            }
        }
        let mut pipeline = self.client.pipeline();
        for tag in &self.tags {
            pipeline.script(&self.one, &[self.key(tag, 3)], &["x"]).unwrap();
        }
        let replies = pipeline.exec().expect("a pipeline after the trouble");
        assert!(replies.root().elements().all(|reply| reply.as_i64().is_some()), "{replies:?}");
    }

    fn work(&self, work: Work) {
        let tag = fastrand::usize(..self.tags.len());
        match work {
            Work::One | Work::Pair => drop(self.call(work, tag)),
            Work::Pipeline | Work::Transaction => self.together(work, tag),
        }
    }

    fn key(&self, tag: &str, number: usize) -> String {
        format!("{{{tag}}}{number}")
    }

    fn begin(&self) -> (u64, Instant) {
        (self.phase.load(Ordering::SeqCst), Instant::now())
    }

    /// One call, with its place in the accounts.
    fn call(&self, work: Work, tag: usize) -> Result<(), Error> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let name = &self.tags[tag];
        let keys = [self.key(name, 1), self.key(name, 2)];
        let is_pair = work == Work::Pair;
        let (script, keys) = if is_pair { (&self.pair, &keys[..]) } else { (&self.one, &keys[..1]) };
        let (before, start) = self.begin();
        let end = self.client.call(script, keys, &[id.to_string()]);
        let took = start.elapsed();
        let phases = (before, self.phase.load(Ordering::SeqCst));
        let end = end.map(|reply| assert_eq!(reply.as_i64(), Some(1), "a call that ran twice"));
        let entry = Entry { id, tag, is_pair, work, phases, took, end: end.clone() };
        self.account.lock().unwrap().push(entry);
        end
    }

    /// A pipeline or a transaction.
    fn together(&self, work: Work, tag: usize) {
        let is_transaction = work == Work::Transaction;
        let mut pipeline = if is_transaction { self.client.transaction() } else { self.client.pipeline() };
        let mut items = Vec::new();
        for number in 0..ITEMS {
            let id = self.next.fetch_add(1, Ordering::Relaxed);
            let tag = if is_transaction { tag } else { fastrand::usize(..self.tags.len()) };
            let is_pair = number % 4 == 0;
            let keys = [self.key(&self.tags[tag], 1), self.key(&self.tags[tag], 2)];
            let (script, keys) = if is_pair { (&self.pair, &keys[..]) } else { (&self.one, &keys[..1]) };
            pipeline.script(script, keys, &[id.to_string()]).expect("an item");
            items.push((id, tag, is_pair));
        }
        let (before, start) = self.begin();
        let result = pipeline.exec();
        let took = start.elapsed();
        let phases = (before, self.phase.load(Ordering::SeqCst));
        let (replies, error) = match result {
            Ok(replies) => (Some(replies), None),
            Err(error) => (pipeline.arrived(), Some(error)),
        };
        let mut account = self.account.lock().unwrap();
        for (index, (id, tag, is_pair)) in items.into_iter().enumerate() {
            let reply = replies.as_ref().and_then(|replies| replies.root().get(index));
            let end = match (reply, &error) {
                (Some(reply), _) => match reply.as_error() {
                    Some(error) => Err(error),
                    None => {
                        assert_eq!(reply.as_i64(), Some(1), "an item that ran twice");
                        Ok(())
                    }
                },
                (None, Some(error)) => Err(error.clone()),
                (None, None) => panic!("a reply is missing"),
            };
            account.push(Entry { id, tag, is_pair, work, phases, took, end });
        }
    }

    /// Compares what callers were told with what the servers have: no id ran twice, none that was done is missing but
    /// for what a server lost by itself, none that was not executed is there; and each call ended by its deadline.
    #[track_caller]
    pub fn settle(&self) -> Summary {
        let runs = self.runs();
        let losses = self.losses.lock().unwrap();
        let mut summary = Summary::default();
        for entry in self.account.lock().unwrap().iter() {
            let Entry { id, tag, work, took, phases, .. } = *entry;
            let [first, second] = [1, 2].map(|key| runs.get(&(tag, key, id)).copied().unwrap_or(0));
            let about =
                format!("{work:?} {id} in {}, {:?}, {phases:?}, after {took:?}", self.tags[tag], entry.end);
            assert!(took <= TIMEOUT + SLACK, "late: {about}");
            assert!(first <= 1, "ran {first} times: {about}");
            assert_eq!(second, if entry.is_pair { first } else { 0 }, "half: {about}");
            summary.longest = summary.longest.max(took);
            match &entry.end {
                Ok(()) if first == 1 => summary.done += 1,
                Ok(()) => {
                    let (before, after) = entry.phases;
                    let by_server =
                        |loss: &Loss| loss.slots[tag] && (before..=after).any(|phase| phase == loss.phase);
                    assert!(losses.iter().any(by_server), "done and missing: {about}");
                    summary.lost_by_server += 1;
                }
                Err(error) => {
                    let (count, _) = summary
                        .errors
                        .entry(name(work, error.status()))
                        .or_insert_with(|| (0, error.to_string()));
                    *count += 1;
                    if error.is_indeterminate() {
                        summary.indeterminate += 1;
                        summary.indeterminate_but_done += first;
                    } else {
                        assert!(error.is_not_executed(), "neither known nor unknown: {about}");
                        assert_eq!(first, 0, "not executed, and yet it ran: {about}");
                        summary.not_executed += 1;
                    }
                }
            }
        }
        assert!(summary.done > 0);
        println!("{summary:#?}");
        summary
    }

    /// Whether a call ran of which its caller was told that nobody knows.
    pub fn has_lost_a_reply(&self) -> bool {
        let account = self.account.lock().unwrap();
        let unknown = |entry: &&Entry| entry.end.as_ref().is_err_and(Error::is_indeterminate);
        let unknown: Vec<_> = account.iter().filter(unknown).map(|entry| (entry.tag, 1, entry.id)).collect();
        drop(account);
        let runs = self.runs();
        unknown.iter().any(|call| runs.contains_key(call))
    }

    /// How often each id ran, by tag and number of the key.
    fn runs(&self) -> BTreeMap<(usize, usize, u64), usize> {
        let mut runs = BTreeMap::new();
        for (tag, name) in self.tags.iter().enumerate() {
            let mut raw = Raw::connect(self.cluster.node(self.cluster.primary_of(slot_of(name.as_bytes()))));
            for key in [1, 2] {
                let reply = raw.ok(&["HGETALL", &self.key(name, key)]);
                let (mut total, mut sum) = (0, 0);
                for pair in reply.elements().chunks(2) {
                    let count: usize = pair[1].text().parse().unwrap();
                    match pair[0].text().as_str() {
                        "total" => total = count,
                        id => {
                            sum += count;
                            runs.insert((tag, key, id.parse().unwrap()), count);
                        }
                    }
                }
                assert_eq!(sum, total, "the total of {name}");
            }
        }
        runs
    }
}

/// So many tags, spread over all slots.
pub fn tags(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("tag{number}"))
}

/// A tag for each of these slots.
pub fn tags_of(slots: std::ops::Range<u16>) -> Vec<String> {
    let mut found: BTreeMap<u16, String> = BTreeMap::new();
    for number in 0.. {
        if found.len() == slots.len() {
            break;
        }
        let tag = format!("t{number}");
        let slot = slot_of(tag.as_bytes());
        if slots.contains(&slot) {
            found.entry(slot).or_insert(tag);
        }
    }
    found.into_values().collect()
}
