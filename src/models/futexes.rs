//! The system's futexes, as far as the lock needs them.

use rustix::io::Errno;
use rustix::thread::futex::{Flags, Timespec};
use shuttle::sync::atomic::{AtomicU32, Ordering};
use shuttle::sync::{Condvar, Mutex, MutexGuard};

use super::{FOR_EVER, chance};

#[derive(Default)]
struct Sleepers {
    /// Where each sleeps, in the order in which they came, and its number.
    places: Vec<(usize, u64)>,
    count: u64,
}

shuttle::lazy_static! {
    static ref SLEEPERS: Mutex<Sleepers> = Mutex::new(Sleepers::default());
    static ref WOKEN: Condvar = Condvar::new();
}

fn sleepers() -> MutexGuard<'static, Sleepers> {
    SLEEPERS.lock().expect("no panic while locked")
}

fn place_of(word: &AtomicU32) -> usize {
    std::ptr::from_ref(word).addr()
}

/// Sleeps while the word is `expected`, until woken.
pub(crate) fn wait(
    word: &AtomicU32,
    _: Flags,
    expected: u32,
    timeout: Option<&Timespec>,
) -> Result<(), Errno> {
    let mut state = sleepers();
    if word.load(Ordering::SeqCst) != expected {
        return Err(Errno::AGAIN);
    }
    state.count += 1;
    let me = (place_of(word), state.count);
    state.places.push(me);
    let ends = timeout.is_some_and(|timeout| timeout.tv_sec < FOR_EVER.as_secs().cast_signed());
    while state.places.contains(&me) {
        if !ends {
            state = WOKEN.wait(state).expect("no panic while locked");
            continue;
        }
        if chance(4) {
            state.places.retain(|other| *other != me);
            return Err(Errno::TIMEDOUT);
        }
        drop(state);
        shuttle::thread::yield_now();
        state = sleepers();
    }
    Ok(())
}

/// Wakes up to so many; how many there were.
pub(crate) fn wake(word: &AtomicU32, _: Flags, most: u32) -> Result<usize, Errno> {
    let place = place_of(word);
    let mut state = sleepers();
    let mut woken = 0;
    state.places.retain(|(other, _)| {
        let is_woken = *other == place && woken < most;
        woken += u32::from(is_woken);
        !is_woken
    });
    drop(state);
    WOKEN.notify_all();
    Ok(woken as usize)
}
