//! Models of what threads share, for `scripts/memory models`: the real lock, connection, queue, and role of who turns
//! a client's sockets. Their threads shuttle runs one at a time, in another order each time. What the system does is
//! modelled: futexes here, and sleep at a socket.
//!
//! A wait of an hour or more ends only when somebody wakes it: one that is missed is a deadlock, which shuttle finds. A
//! shorter one may end at any time. A failing order is printed, and `shuttle::replay` repeats it.

mod connection;
mod futexes;
mod lock;
mod queue;
mod role;

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use shuttle::rand::Rng;
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::sync::{Condvar, Mutex, MutexGuard};
use shuttle::{Config, Runner};

pub(crate) use futexes::{wait, wake};

/// Waits as long as this have no end of their own.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// A call's time, if it is not to be over.
const LONG: Duration = Duration::from_secs(24 * 3600);

/// Tries a model in many orders: by chance, and with few changes of thread at unlikely places.
fn check(model: fn()) {
    let count = |name: &str, otherwise| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
    };
    let orders = count("RS_SCRIPT_ORDERS", 2_000);
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    let seed = count("RS_SCRIPT_SEED", 1) as u64;
    Runner::new(RandomScheduler::new_from_seed(seed, orders), config.clone()).run(model);
    Runner::new(PctScheduler::new_from_seed(seed, 3, orders), config).run(model);
}

/// True once in so many times.
pub(crate) fn chance(times: u32) -> bool {
    shuttle::rand::thread_rng().gen_range(0..times) == 0
}

shuttle::lazy_static! {
    /// Counts what has happened at sockets.
    static ref CHANGES: Mutex<u64> = Mutex::new(0);
    static ref CHANGED: Condvar = Condvar::new();
}

fn changes() -> MutexGuard<'static, u64> {
    CHANGES.lock().expect("no panic while locked")
}

/// Something was sent, read or closed: who sleeps at a socket looks again.
pub(crate) fn changed() {
    *changes() += 1;
    CHANGED.notify_all();
}

/// Sleeps until a socket is ready, or the time is over; whether it is ready.
pub(crate) fn sleep_at(fd: BorrowedFd<'_>, read: bool, write: bool, time: Duration) -> bool {
    let mut wanted = PollFlags::empty();
    wanted.set(PollFlags::IN, read);
    wanted.set(PollFlags::OUT, write);
    let mut count = changes();
    loop {
        let ready = poll(&mut [PollFd::new(&fd, wanted)], Some(&Timespec::default()));
        if ready.expect("a socket") > 0 {
            return true;
        }
        if time.is_zero() {
            return false;
        }
        if time >= FOR_EVER {
            count = CHANGED.wait(count).expect("no panic while locked");
        } else {
            drop(count);
            if chance(4) {
                return false;
            }
            shuttle::thread::yield_now();
            count = changes();
        }
    }
}

/// How much is left of the time.
pub(crate) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now())
}
