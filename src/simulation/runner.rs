//! Runs schedules, on as many threads as there are processors; and shrinks one that fails, to what it needs for
//! that.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use super::traits::REMOVABLE;
use super::{Schedule, World, trace};

/// What a run held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    calls: u64,
    items: u64,
    commands: u64,
    connections: u64,
    events: u64,
    milliseconds: u128,
}

thread_local! {
    /// Panics of this thread are looked at by this module.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

fn run(schedule: &Schedule) -> Result<Held, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IS_QUIET.get() {
                trace::note(|| format!("panic: {info}"));
            } else {
                before(info);
            }
        }));
    });
    IS_QUIET.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(schedule);
        let start = world.now;
        world.run(schedule);
        Held {
            calls: world.ops.len() as u64,
            items: world.next_item,
            commands: world.fleet.witness.commands,
            connections: world.clients.iter().map(|client| client.network.opened).sum(),
            events: world.events,
            milliseconds: (world.now - start).as_millis(),
        }
    }));
    IS_QUIET.set(false);
    outcome.map_err(|panic| match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
        (Some(text), _) => text.clone(),
        (None, Some(text)) => (*text).to_owned(),
        (None, None) => "a panic without words".to_owned(),
    })
}

/// What a failure is about, without the numbers in it.
fn kind_of(failure: &str) -> String {
    failure.chars().filter(|letter| !letter.is_ascii_digit()).take(60).collect()
}

/// A schedule that fails in the same way, and needs all that it is made of.
fn shrink(schedule: Schedule, failure: &str) -> Schedule {
    let kind = kind_of(failure);
    let fails = |schedule: &Schedule| run(schedule).is_err_and(|failure| kind_of(&failure) == kind);
    let mut best = schedule;
    loop {
        let before = (best.steps.len(), best.without);
        for place in (0..REMOVABLE).filter(|place| before.1 & 1 << place == 0) {
            let smaller = Schedule { without: best.without | 1 << place, ..best.clone() };
            if fails(&smaller) {
                best = smaller;
            }
        }
        let mut size = best.steps.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < best.steps.len() {
                let mut smaller = best.clone();
                smaller.steps.drain(at..(at + size).min(best.steps.len()));
                if fails(&smaller) {
                    best = smaller;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
        if before == (best.steps.len(), best.without) {
            return best;
        }
    }
}

/// Prints what is left of a schedule that fails, with its history.
fn report(schedule: Schedule, failure: &str) -> String {
    let all = schedule.steps.len();
    let shrunk = shrink(schedule, failure);
    trace::begin();
    let failure = run(&shrunk).expect_err("it fails each time");
    let history = trace::end();
    let steps: Vec<String> = shrunk.steps.iter().map(ToString::to_string).collect();
    let Schedule { seed, without, .. } = shrunk;
    format!(
        "{failure}\n\nIt takes {} of {all} steps. Their history:\n  {}\n\nAgain: scripts/simulate --seed {seed} {} \
         {without}",
        steps.len(),
        history.join("\n  "),
        if steps.is_empty() { "none".to_owned() } else { steps.join(",") },
    )
}

/// Runs seeds up to this one on all processors. The first that fails, and how; or what they held.
fn run_all(count: u64) -> Result<Held, (u64, String)> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let outcomes = std::thread::scope(|scope| {
        let work = || {
            let mut all = Held::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= count || seed > failed.load(Ordering::Relaxed) {
                    return Ok(all);
                }
                match run(&Schedule::new(seed)) {
                    Ok(held) => all.add(held),
                    Err(failure) => {
                        failed.fetch_min(seed, Ordering::Relaxed);
                        return Err((seed, failure));
                    }
                }
            }
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().map(|thread| thread.join().expect("panics are caught")).collect::<Vec<_>>()
    });
    let mut all = Held::default();
    let mut failures = Vec::new();
    for outcome in outcomes {
        match outcome {
            Ok(held) => all.add(held),
            Err(failure) => failures.push(failure),
        }
    }
    failures.into_iter().min().map_or(Ok(all), Err)
}

impl Held {
    fn add(&mut self, other: Held) {
        self.calls += other.calls;
        self.items += other.items;
        self.commands += other.commands;
        self.connections += other.connections;
        self.events += other.events;
        self.milliseconds += other.milliseconds;
    }
}

fn number_of(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// The schedule that the environment names.
fn named() -> Option<Schedule> {
    let mut schedule = Schedule::new(number_of("RS_SCRIPT_SEED")?);
    if let Some(without) = number_of("RS_SCRIPT_WITHOUT") {
        schedule.without = u32::try_from(without).expect("a bit for each trait");
    }
    match std::env::var("RS_SCRIPT_STEPS").as_deref() {
        Ok("none") => schedule.steps.clear(),
        Ok(steps) => schedule.steps = steps.split(',').map(|step| step.parse().expect("a step")).collect(),
        Err(_) => {}
    }
    Some(schedule)
}

#[test]
fn every_schedule_ends_each_call_once_with_the_truth() {
    if let Some(schedule) = named() {
        trace::begin();
        let outcome = run(&schedule);
        let history = trace::end();
        match outcome {
            Ok(held) => println!("{}\n{held:?}", history.join("\n")),
            Err(failure) => panic!("{}", report(schedule, &failure)),
        }
        return;
    }
    let count = number_of("RS_SCRIPT_SCHEDULES").unwrap_or(2_000);
    let began = Instant::now();
    match run_all(count) {
        Ok(all) => {
            let rate = 60.0 * count as f64 / began.elapsed().as_secs_f64();
            let each = |total: u64| total as f64 / count as f64;
            println!(
                "{count} schedules, {rate:.0} a minute; each holds {:.0} calls of {:.0} items, {:.0} commands at the \
                 servers, {:.1} connections, \
                 {:.0} events at sockets, {:.1} s",
                each(all.calls),
                each(all.items),
                each(all.commands),
                each(all.connections),
                each(all.events),
                all.milliseconds as f64 / 1e3 / count as f64
            );
        }
        Err((seed, failure)) if number_of("RS_SCRIPT_SHRINK") == Some(0) => panic!("seed {seed}: {failure}"),
        Err((seed, failure)) => panic!("{}", report(Schedule::new(seed), &failure)),
    }
}

/// What fails once must fail again, or nobody can look at it.
#[test]
fn a_schedule_is_the_same_each_time() {
    for seed in 0..100 {
        let history = || {
            trace::begin();
            let outcome = run(&Schedule::new(seed));
            (outcome, trace::end())
        };
        let (once, again) = (history(), history());
        assert_eq!(once.0, again.0, "seed {seed}");
        let differs = once.1.iter().zip(&again.1).position(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
    }
}
