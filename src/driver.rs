//! The thread of a client that has submitted calls: it reads their replies, and ends them when their time is over.
//!
//! There is one for each client, from the first submitted call until the client is closed; so a client that only makes blocking calls has
//! none, and closing one leaves others alone. It never waits for a server: what may wait (connecting, going on after a refusal) is done by
//! a few [`Workers`], which come and go.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ffi::lock::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::defect::contain;
use crate::error::{Error, Result, Status};
use crate::link::{Link, Watch};
use crate::queue::Signal;
use crate::threads::{self, Place};
use crate::workers::Workers;

/// The longest sleep: where poll counts milliseconds in a C int, a longer one would be refused.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

/// A client's thread, and the workers beside it.
pub(crate) struct Driver {
    pub(crate) waker: Arc<Waker>,
    pub(crate) workers: Arc<Workers>,
    /// For commands that wait on the server, so that those cannot keep the others from a worker.
    pub(crate) apart: Arc<Workers>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What others tell the thread.
pub(crate) struct Waker {
    /// The thread's own: its descriptors go with it, however long handles of a closed client are kept.
    signal: Weak<Signal>,
    /// It was woken and has not looked yet.
    woken: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Connections on which calls were submitted for the first time.
    fresh: Vec<Arc<Link>>,
    /// The earliest deadline that it knows of.
    alarm: Option<Instant>,
    /// The client is closed: the thread is to go.
    stopped: bool,
    gone: bool,
}

impl Driver {
    pub(crate) fn start() -> Result<Driver> {
        let failed = |error: io::Error| {
            Error::new(
                Status::Resources,
                format!("no socket pair for submitted calls: {error}; nothing was sent"),
            )
            .sent(false)
        };
        let signal = Arc::new(Signal::new().map_err(failed)?);
        let waker = Arc::new(Waker {
            signal: Arc::downgrade(&signal),
            woken: AtomicBool::new(false),
            state: Mutex::default(),
        });
        let (workers, apart) = <(Arc<Workers>, Arc<Workers>)>::default();
        let (its_waker, all_workers) = (Arc::clone(&waker), [Arc::clone(&workers), Arc::clone(&apart)]);
        let thread = threads::spawn("rs_script", move || run(&its_waker, &signal, &all_workers))
            .map_err(|error| threads::none_left(&error))?;
        Ok(Driver { waker, workers, apart, thread: Mutex::new(Some(thread)) })
    }
}

impl Driver {
    /// Ends every submitted call; the threads go.
    pub(crate) fn stop(&self) {
        self.workers.stop();
        self.apart.stop();
        self.waker.state.lock().stopped = true;
        self.waker.wake();
    }

    /// Waits until its threads have ended, which [`Driver::stop`] has told to. On one of them, and in a callback that
    /// one of the host's threads is in, that could be for ever: there they are left to themselves.
    pub(crate) fn wait(&self) {
        let thread = self.thread.lock().take();
        if threads::place() == Place::Outside {
            thread.map(threads::join);
            self.workers.wait();
            self.apart.wait();
        } else if let Some(thread) = thread {
            threads::let_go(thread);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stop();
        self.wait();
    }
}

impl Waker {
    /// Has the thread look after everything once.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel)
            && let Some(signal) = self.signal.upgrade()
        {
            signal.raise();
        }
    }

    /// Tells of a connection with submitted calls.
    pub(crate) fn add(&self, link: &Arc<Link>) {
        let mut state = self.state.lock();
        if state.gone {
            drop(state);
            return link.close(&Error::closed());
        }
        state.fresh.push(Arc::clone(link));
        drop(state);
        self.wake();
    }

    /// Tells of a deadline of a submitted call.
    pub(crate) fn mind(&self, deadline: Instant) {
        let mut state = self.state.lock();
        if state.alarm.is_none_or(|alarm| deadline < alarm) {
            state.alarm = Some(deadline);
            drop(state);
            self.wake();
        }
    }
}

fn run(waker: &Waker, signal: &Signal, workers: &[Arc<Workers>]) {
    let mut links = Vec::new();
    // Looked at once even if nobody has woken it.
    let mut is_woken = true;
    loop {
        match contain(|| turn(waker, signal, workers, &mut links, &mut is_woken)) {
            Some(true) => {}
            Some(false) => return,
            // Nobody would look after their calls any more; whoever submits after that finds the thread at work.
            None => links.drain(..).for_each(|(link, _)| link.close_by_defect()),
        }
    }
}

/// Looks after everything once, and waits for the next time; `false` when there will be none.
fn turn(
    waker: &Waker,
    signal: &Signal,
    workers: &[Arc<Workers>],
    links: &mut Vec<(Arc<Link>, Watch)>,
    is_woken: &mut bool,
) -> bool {
    if std::mem::take(is_woken) {
        signal.lower();
        waker.woken.swap(false, Ordering::AcqRel);
    }
    let now = Instant::now();
    let (stopped, alarm, is_due) = {
        let mut state = waker.state.lock();
        links.extend(state.fresh.drain(..).map(|link| (link, Watch::default())));
        let is_due = state.alarm.is_some_and(|alarm| alarm <= now);
        // Off before anybody is asked for the next deadline: one that comes in meanwhile sets it again.
        let alarm = if is_due { state.alarm.take() } else { state.alarm };
        state.gone = state.stopped && links.is_empty();
        if state.gone {
            return false;
        }
        (state.stopped, alarm, is_due)
    };
    // A panic at one connection ends that one, see `CloseOnPanic`, and the others are looked after as ever.
    if stopped {
        // Those as well that belong to servers which the client has let go.
        links.iter().for_each(|(link, _)| {
            contain(|| link.close(&Error::closed()));
        });
    }
    if is_due {
        let on_links = links.iter().filter_map(|(link, _)| contain(|| link.expire(now)).flatten());
        let waiting = workers.iter().filter_map(|workers| contain(|| workers.expire(now)).flatten());
        if let Some(next) = on_links.chain(waiting).min() {
            waker.mind(next);
        }
        return true;
    }
    links.retain_mut(|(link, watch)| {
        let wanted = contain(|| link.watch(Arc::strong_count(link) == 1)).flatten();
        *watch = wanted.unwrap_or_default();
        wanted.is_some()
    });
    if !stopped || !links.is_empty() {
        *is_woken = sleep(signal, links, alarm);
    }
    true
}

/// Waits until something is to be done, and reads and writes where that is. Whether it was woken.
fn sleep(signal: &Signal, links: &[(Arc<Link>, Watch)], alarm: Option<Instant>) -> bool {
    let mut fds = Vec::with_capacity(links.len() + 1);
    let signal = signal.as_fd();
    fds.push(PollFd::new(&signal, PollFlags::IN));
    let sockets: Vec<_> = links.iter().map(|(link, _)| link.as_fd()).collect();
    let mut places = Vec::with_capacity(links.len());
    for (place, (_, watch)) in links.iter().enumerate() {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, watch.read);
        wanted.set(PollFlags::OUT, watch.write);
        // An error would be reported all the same, again and again, while somebody else reads.
        if !wanted.is_empty() {
            fds.push(PollFd::new(&sockets[place], wanted));
            places.push(place);
        }
    }
    loop {
        let sleep = alarm.map_or(LONGEST_SLEEP, |alarm| {
            alarm.saturating_duration_since(Instant::now()).min(LONGEST_SLEEP)
        });
        let timeout = Timespec::try_from(sleep).unwrap_or_default();
        match poll(&mut fds, Some(&timeout)) {
            Err(Errno::INTR) => {}
            Err(_) => {
                thread::yield_now();
                return true;
            }
            Ok(0) => return false,
            Ok(_) => break,
        }
    }
    let now = Instant::now();
    for (fd, place) in fds[1..].iter().zip(places) {
        if !fd.revents().is_empty() {
            contain(|| links[place].0.pump(now));
        }
    }
    !fds[0].revents().is_empty()
}
