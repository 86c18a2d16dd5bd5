//! A few threads for what may wait on behalf of submitted calls: connecting, and going on after a refusal or a loss.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::ffi::lock::{Condvar, Mutex, MutexGuard};

use crate::admin::Task;
use crate::defect::contain;
use crate::error::Error;
use crate::leash::Leash;
use crate::node::Node;
use crate::queue::{Queue, Ticket};
use crate::request::Request;
use crate::session::handshake::Purpose;
use crate::submit::{Job, Submitted};
use crate::threads;
use crate::waiting::{Waiting, Waits};

/// Threads at most. Calls beyond them wait in line; few have to come here at all.
const WORKERS_MAX: usize = 16;

/// And so many more to stop scripts and functions: the others may all be waiting for the one that is to be stopped.
const KILLERS_MAX: usize = 4;

/// A thread without work goes after this time.
const IDLE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Workers {
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: Waiting<Job>,
    /// What ends the calls that threads are waiting with.
    leashes: Vec<((Ticket, Queue), Arc<Leash>)>,
    /// Calls that wait for a server's connection, in the order in which they were made.
    lanes: Vec<Lane>,
    threads: usize,
    /// All of them, and one that has ended: the next one to end waits for that, so that no more are left.
    handles: Vec<JoinHandle<()>>,
    ended: Option<JoinHandle<()>>,
    idle: usize,
    stopped: bool,
}

/// How calls stand in a server's line.
pub(crate) enum LinedUp {
    /// Behind others; somebody makes the connection already.
    Behind,
    /// They are the first, and somebody has to make the connection.
    First,
    /// Not at all: the client is closed. They were left where they are.
    Closed,
}

struct Lane {
    node: Arc<Node>,
    calls: Waiting<(Box<Request>, Submitted)>,
}

impl Waits for (Box<Request>, Submitted) {
    fn call(&self) -> Option<&Submitted> {
        Some(&self.1)
    }
}

impl Waits for Job {
    fn call(&self) -> Option<&Submitted> {
        Job::call(self)
    }
}

impl Workers {
    /// Has a thread do a job. Given back when there is none, with the reason.
    pub(crate) fn run(self: &Arc<Self>, job: Job) -> Result<(), (Job, Error)> {
        let mut state = self.state.lock();
        if state.stopped {
            return Err((job, Error::closed()));
        }
        // Many calls wait for a connection to be made, and there is one such job for each server at most.
        let (is_first, room) = match job {
            Job::Connect { .. } => (true, usize::MAX),
            Job::Administer { task: Task::Kill | Task::KillAny, .. }
            | Job::Wait { purpose: Purpose::Bare, .. } => (true, WORKERS_MAX + KILLERS_MAX),
            _ => (false, WORKERS_MAX),
        };
        if state.jobs.len() >= state.idle && state.threads < room {
            let workers = Arc::clone(self);
            match threads::spawn("rs_script-work", move || workers.work()) {
                Ok(handle) => {
                    state.threads += 1;
                    state.handles.push(handle);
                }
                Err(error) if state.threads == 0 => return Err((job, threads::none_left(&error))),
                Err(_) => {}
            }
        }
        if is_first {
            state.jobs.push_front(job);
        } else {
            state.jobs.push_back(job);
        }
        self.work.notify_one();
        Ok(())
    }

    fn work(self: Arc<Self>) {
        let mut state = self.state.lock();
        self.work_off(&mut state);
        state.threads -= 1;
        let mine = state.handles.iter().position(|handle| handle.thread().id() == thread::current().id());
        // Without one somebody waits for this thread already.
        let mine = mine.map(|mine| state.handles.swap_remove(mine));
        let before = mine.and_then(|mine| state.ended.replace(mine));
        drop(state);
        before.map(threads::join);
    }

    /// Waits until its threads have ended.
    pub(crate) fn wait(&self) {
        let (handles, ended) = {
            let mut state = self.state.lock();
            (std::mem::take(&mut state.handles), state.ended.take())
        };
        for handle in handles.into_iter().chain(ended) {
            threads::join(handle);
        }
    }

    fn work_off(&self, state: &mut MutexGuard<'_, State>) {
        loop {
            if let Some(job) = state.jobs.pop() {
                let held = match &job {
                    Job::Wait { call, leash, .. } => {
                        state.leashes.push((call.name(), Arc::clone(leash)));
                        Some(Arc::clone(leash))
                    }
                    _ => None,
                };
                let line = match &job {
                    Job::Connect { node, .. } => Some(Arc::clone(node)),
                    _ => None,
                };
                MutexGuard::unlocked(state, || {
                    // Its own call is completed when it is lost. Those in line would wait for a connection that nobody
                    // makes.
                    if contain(|| job.run()).is_none()
                        && let Some(node) = line
                    {
                        self.end_line(&node, &Error::defect().sent(false));
                    }
                });
                if let Some(held) = held {
                    state.leashes.retain(|(_, leash)| !Arc::ptr_eq(leash, &held));
                }
                // Those beyond the number are for jobs that could not wait.
                if state.threads > WORKERS_MAX {
                    return;
                }
                continue;
            }
            state.idle += 1;
            let is_over = state.stopped || self.work.wait_for(state, IDLE).timed_out();
            state.idle -= 1;
            if is_over && state.jobs.is_empty() {
                return;
            }
        }
    }

    /// Puts calls in line for a server's connection.
    pub(crate) fn line_up(&self, node: &Arc<Node>, calls: &mut Vec<(Box<Request>, Submitted)>) -> LinedUp {
        let mut state = self.state.lock();
        if state.stopped {
            return LinedUp::Closed;
        }
        let lanes = &mut state.lanes;
        let (place, lined_up) = match lanes.iter().position(|lane| Arc::ptr_eq(&lane.node, node)) {
            Some(place) => (place, LinedUp::Behind),
            None => {
                lanes.push(Lane { node: Arc::clone(node), calls: Waiting::default() });
                (lanes.len() - 1, LinedUp::First)
            }
        };
        calls.drain(..).for_each(|call| lanes[place].calls.push_back(call));
        lined_up
    }

    /// Ends a server's line, and the calls in it by `error`: there is nobody to make the connection.
    pub(crate) fn end_line(&self, node: &Arc<Node>, error: &Error) {
        let lane = {
            let lanes = &mut self.state.lock().lanes;
            let place = lanes.iter().position(|lane| Arc::ptr_eq(&lane.node, node));
            place.map(|place| lanes.swap_remove(place))
        };
        for (_, call) in lane.into_iter().flat_map(|mut lane| lane.calls.take_all()) {
            call.fail(error.clone());
        }
    }

    /// Whether calls are in line for a server's connection.
    pub(crate) fn has_line(&self, node: &Arc<Node>) -> bool {
        self.state.lock().lanes.iter().any(|lane| Arc::ptr_eq(&lane.node, node))
    }

    /// Takes the calls out that are in line for a server's connection.
    pub(crate) fn take_line(&self, node: &Arc<Node>) -> Vec<(Box<Request>, Submitted)> {
        let lanes = &mut self.state.lock().lanes;
        let lane = lanes.iter_mut().find(|lane| Arc::ptr_eq(&lane.node, node));
        lane.map(|lane| lane.calls.take_all()).unwrap_or_default()
    }

    /// The latest deadline of those in line for a server's connection. The line ends when nobody is in it.
    pub(crate) fn patience_of(&self, node: &Arc<Node>) -> Option<Instant> {
        let lanes = &mut self.state.lock().lanes;
        let place = lanes.iter().position(|lane| Arc::ptr_eq(&lane.node, node))?;
        let patience = lanes[place].calls.last_deadline();
        if patience.is_none() {
            lanes.swap_remove(place);
        }
        patience
    }

    /// Ends what waits and whose deadline has passed; the next deadline.
    pub(crate) fn expire(&self, now: Instant) -> Option<Instant> {
        let (over, next) = {
            let mut state = self.state.lock();
            let over: Vec<_> = std::iter::from_fn(|| state.take_due(now)).collect();
            let lanes = state.lanes.iter_mut().filter_map(|lane| lane.calls.next_deadline()).min();
            (over, lanes.into_iter().chain(state.jobs.next_deadline()).min())
        };
        over.into_iter().for_each(|job| job.end(Submitted::time_out));
        next
    }

    /// Calls off a call that waits here; whether it did.
    pub(crate) fn call_off(&self, ticket: Ticket, queue: &Queue) -> bool {
        let found = self.state.lock().take(ticket, queue);
        let is_found = found.is_some();
        found.into_iter().for_each(|job| job.end(Submitted::call_off));
        is_found
    }

    /// What ends a call that a thread is waiting with.
    pub(crate) fn leash_of(&self, ticket: Ticket, queue: &Queue) -> Option<Arc<Leash>> {
        let state = self.state.lock();
        let mut leashes = state.leashes.iter();
        let found = leashes.find(|((its_ticket, its_queue), _)| *its_ticket == ticket && its_queue.is(queue));
        found.map(|(_, leash)| Arc::clone(leash))
    }

    /// Ends what waits; what runs ends by itself.
    pub(crate) fn stop(&self) {
        let left = {
            let mut state = self.state.lock();
            state.stopped = true;
            let State { lanes, jobs, .. } = &mut *state;
            let lined_up = lanes.drain(..).flat_map(|mut lane| lane.calls.take_all());
            let lined_up = lined_up.map(|(request, call)| Job::Carry { request, call });
            lined_up.chain(jobs.take_all()).collect::<Vec<_>>()
        };
        self.work.notify_all();
        left.into_iter().for_each(|job| job.end(Submitted::close));
    }
}

impl State {
    /// Takes out a waiting call.
    fn take(&mut self, ticket: Ticket, queue: &Queue) -> Option<Job> {
        let lined_up = self.lanes.iter_mut().find_map(|lane| lane.calls.take(ticket, queue));
        lined_up.map(|(request, call)| Job::Carry { request, call }).or_else(|| self.jobs.take(ticket, queue))
    }

    /// Takes out a waiting call whose deadline has passed.
    fn take_due(&mut self, now: Instant) -> Option<Job> {
        let lined_up = self.lanes.iter_mut().find_map(|lane| lane.calls.take_due(now));
        lined_up.map(|(request, call)| Job::Carry { request, call }).or_else(|| self.jobs.take_due(now))
    }
}
