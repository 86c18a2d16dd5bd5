//! One turn of the reactor, and what is done on the way: sending, connecting, looking up, completing.

use std::cell::Cell;
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use super::dial::{Dialed, Dialing, Step};
use super::events::{Effects, Event, KEPT_EFFECTS_MAX};
use super::link::{Listener, News, Parts};
use super::owner::Owner;
use super::reactor::Reactor;
use super::table::Ready;
use super::{Io, Link, never};
use crate::base::defect::contain;
use crate::core::{ConnId, Ended};
use crate::error::{Error, Result, Status};
use crate::metrics::meter::Meter;
use crate::net::reason;
use crate::resp::Reply;

thread_local! {
    /// Whose reactor this thread turns.
    static TURNS: Cell<usize> = const { Cell::new(0) };
}

/// The longest sleep: there is nothing to be said for a longer one, and systems differ in what they take.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);

/// All sockets are asked at every such turn for a queue without a thread.
const STRAIGHT_TURNS: u32 = 16;

/// Lists that a turn fills and empties, kept from one to the next.
#[derive(Default)]
pub(super) struct Room {
    ready: Vec<usize>,
    work: Vec<Ready>,
    events: Vec<Event>,
}

/// This thread turns a client's reactor, until this is dropped.
pub(super) struct Turning(usize);

impl Turning {
    pub(super) fn new(io: &Io) -> Turning {
        Turning(TURNS.replace(io.id()))
    }
}

impl Drop for Turning {
    fn drop(&mut self) {
        TURNS.set(self.0);
    }
}

impl Io {
    /// Waits until something happens, or `until`, and does what follows from it; `None`: without waiting. For whoever
    /// has the role.
    pub(super) fn turn(&self, reactor: &Reactor, until: Option<Instant>) {
        let _turning = Turning::new(self);
        let Room { mut ready, mut work, mut events } = mem::take(&mut *self.room.lock());
        let sleep = if let Some(until) = until {
            let mut core = self.core.lock();
            let now = Instant::now();
            let kept = core.alarm.filter(|&alarm| alarm > now);
            let next = core.next_alarm().into_iter().chain(kept).fold(until, Instant::min);
            if next > now {
                core.alarm = Some(next);
            }
            core.asleep_until = Some(next);
            next.saturating_duration_since(now).min(LONGEST_SLEEP)
        } else {
            Duration::ZERO
        };
        let is_timer_due = reactor.wait(&mut ready, sleep);
        #[cfg(test)]
        self.provoked("watch");
        let now = Instant::now();
        {
            let mut core = self.core.lock();
            core.asleep_until = None;
            work.extend(ready.drain(..).filter_map(|key| core.table.take_up(ConnId(key as u64))));
            core.table.take_due(now, &mut work);
        }
        for ready in work.drain(..) {
            match ready {
                Ready::Link(link) => {
                    // A panic at one connection ends that one, and the others are looked after as ever.
                    contain(|| link.pump(now, &mut events));
                }
                Ready::Dialing(conn, number, dialing) => {
                    let step = contain(|| dialing.go_on(&self.config, reactor.poller(), conn));
                    self.note_step(conn, number, step, &mut events);
                }
            }
        }
        self.lookups.take_found(&mut events);
        self.tell_what_came(events.drain(..));
        self.put_away(Room { ready, work, events });
        // Nobody may poll those queues any more, or only later.
        if is_timer_due {
            self.set_timer();
        }
    }

    /// Keeps lists for the next turn, unless they have grown large.
    fn put_away(&self, room: Room) {
        if room.events.capacity() <= KEPT_EFFECTS_MAX {
            *self.room.lock() = room;
        }
    }

    /// Tells the engine what has happened, and what time it is.
    fn tell_what_came(&self, events: impl Iterator<Item = Event>) {
        self.enter(events, |engine, doing, now| {
            if engine.next_tick().is_some_and(|next| next <= now) {
                #[cfg(test)]
                self.provoked("expire");
                engine.tick(now, doing);
            }
        });
    }

    /// Notes what has come of a step of connecting.
    fn note_step(&self, conn: ConnId, number: u64, step: Option<Step>, events: &mut Vec<Event>) {
        let event = match step {
            Some(Step::Done(dialed)) => match self.open(conn, dialed) {
                Ok(link) => Event::Connected(conn, number, link),
                Err(error) => Event::Refused(conn, number, error),
            },
            Some(Step::Failed(error)) => Event::Refused(conn, number, error),
            Some(Step::Pending(dialing)) => Event::Pending(conn, number, dialing),
            None => Event::Refused(conn, number, Error::defect().sent(false)),
        };
        events.push(event);
    }

    fn open(&self, conn: ConnId, dialed: Dialed) -> Result<Arc<Link>> {
        let Dialed { socket, tls, address, facts } = dialed;
        let reactor = self.reactor()?;
        let parts = Parts {
            config: &self.config,
            conn,
            epoch: self.core.lock().epoch,
            address: &address,
            facts,
            pool: Arc::clone(&self.pool),
            poller: reactor.poller(),
            owner: Weak::clone(&self.me) as Weak<dyn Listener>,
        };
        let link = Link::new(parts, socket, tls, Instant::now())
            .map_err(|error| Error::new(Status::Connect, reason(&error)))?;
        link.begin_to_watch();
        Ok(Arc::new(link))
    }

    /// Does what the engine wants done. Its lock is not held.
    pub(super) fn perform(&self, effects: &mut Effects) {
        let mut events = mem::take(&mut effects.events);
        if !effects.defects.is_empty() {
            for (link, attempt) in effects.defects.drain(..) {
                link.close_by_defect();
                events.push(News::Ended(attempt, Ended::by_defect()).into());
            }
        }
        for link in effects.push.drain(..) {
            contain(|| link.push(&mut events));
        }
        if std::mem::take(&mut effects.wake) {
            self.wake();
        }
        if std::mem::take(&mut effects.set_timer) {
            self.set_timer();
        }
        if effects.has_connecting() {
            self.perform_connecting(effects, &mut events);
        }
        effects.events = events;
        if !effects.complete.is_empty() {
            // Who is left has a defect for an end.
            contain(|| self.complete(&mut effects.complete));
        }
        if effects.has_rest() {
            effects.log.drain(..).for_each(|record| self.config.log.event(&record));
            effects.drop.clear();
            if let Some(engine) = effects.engine.take() {
                contain(|| drop(engine));
            }
        }
    }

    /// Closes and makes connections, and has hosts looked up.
    #[inline(never)]
    fn perform_connecting(&self, effects: &mut Effects, events: &mut Vec<Event>) {
        for (link, cause) in effects.close.drain(..) {
            contain(|| link.end_by(&cause, events));
        }
        for dial in effects.dial.drain(..) {
            let step = match self.reactor() {
                Ok(reactor) => contain(|| {
                    let target = (dial.peer, dial.address, dial.facts);
                    Dialing::begin(&self.config, reactor.poller(), dial.conn, target)
                }),
                Err(error) => Some(Step::Failed(error)),
            };
            self.note_step(dial.conn, dial.number, step, events);
        }
        for (conn, host, port) in effects.resolve.drain(..) {
            if let Err(error) = self.lookups.begin(self, conn, &host, port) {
                events.push(Event::Resolved(conn, Err(error)));
            }
        }
        for (conn, address) in effects.ask.drain(..) {
            if let Err(error) = self.logins.ask(self, conn, &address) {
                events.push(Event::Credentials(conn, Instant::now(), Err(error)));
            }
        }
        for at in effects.remind.drain(..) {
            self.logins.remind(self, at);
        }
    }

    /// Whether this thread turns the reactor: in a callback, that is.
    pub(super) fn turns_here(&self) -> bool {
        TURNS.get() == self.id()
    }

    /// Has whoever turns the reactor look after everything once, unless that is this thread.
    pub(super) fn wake(&self) {
        if !self.turns_here()
            && let Some(reactor) = self.reactor_if_any()
        {
            reactor.wake();
        }
    }

    /// Tells owners of their calls' ends, those of one queue that follow each other together.
    fn complete(&self, ended: &mut Vec<(Owner, Result<Reply>, Option<Reply>)>) {
        if ended.iter().any(|(owner, ..)| matches!(owner, Owner::Queued(queued) if queued.flushes)) {
            self.forget_scripts();
        }
        if let Some(meter) = &self.config.meter {
            note_ends(meter, ended);
        }
        let tells_costs = self.config.meter.as_ref().is_some_and(|meter| meter.tells_costs);
        let mut ended = ended.drain(..);
        while let Some((owner, ..)) = ended.as_slice().first() {
            let Owner::Queued(first) = owner else {
                match ended.next() {
                    Some((Owner::Waiting(waiting), result, arrived)) => {
                        if waiting.end((result, arrived)) {
                            self.wake();
                        }
                    }
                    Some((Owner::Future(task), result, arrived)) => task.end((result, arrived)),
                    Some((Owner::Queued(_), ..)) | None => {}
                }
                continue;
            };
            let queue = first.queue().clone();
            let is_same = |owner: &Owner| matches!(owner, Owner::Queued(queued) if queued.queue().is(&queue));
            let count = ended.as_slice().iter().take_while(|(owner, ..)| is_same(owner)).count();
            // What may panic does so without the queue's lock: those that are dropped then need it.
            #[cfg(test)]
            (1..count).for_each(|_| self.provoked("complete"));
            queue.complete_measured(ended.by_ref().take(count).filter_map(|(owner, result, arrived)| {
                match owner {
                    Owner::Queued(queued) => {
                        let (ticket, metered) = queued.end();
                        Some((ticket, result, arrived, metered.filter(|_| tells_costs)))
                    }
                    Owner::Waiting(_) | Owner::Future(_) => None,
                }
            }));
        }
    }

    /// Turns once without waiting, if nobody else does just now; whether it did.
    pub(super) fn turn_once(&self) -> bool {
        self.with_role(|reactor| self.turn_contained(reactor, None))
    }

    fn with_role(&self, turn: impl FnOnce(&Reactor)) -> bool {
        if !self.role.try_take() {
            return false;
        }
        if let Some(reactor) = self.reactor_if_any() {
            turn(&reactor);
        }
        self.role.release();
        true
    }

    /// The same for a queue without a thread, whose timer is set anew when its time has come.
    pub(super) fn turn_for_queue(&self, now: Instant) -> bool {
        let has_turned = self.with_role(|reactor| {
            if self.contained(|| self.read_straight()) == Some(false) {
                self.turn_contained(reactor, None);
            }
        });
        let is_due = |timer: Option<Instant>| timer.is_some_and(|timer| timer <= now);
        if self.core.lock().timer.is_some_and(is_due) {
            self.set_timer();
        }
        has_turned
    }

    /// A turn without asking which sockets are ready, where one server's connection is what is waited for; whether
    /// replies came. Every now and then all are asked, so that none is forgotten.
    fn read_straight(&self) -> bool {
        let Some(link) = self.served.only() else { return false };
        if self.straight.fetch_add(1, Ordering::Relaxed).is_multiple_of(STRAIGHT_TURNS) {
            return false;
        }
        let Room { ready, work, mut events } = mem::take(&mut *self.room.lock());
        contain(|| link.pump_if_expected(Instant::now(), &mut events));
        let has_read = !events.is_empty();
        if has_read {
            #[cfg(test)]
            self.provoked("straight");
            let _turning = Turning::new(self);
            self.tell_what_came(events.drain(..));
        }
        self.put_away(Room { ready, work, events });
        has_read
    }

    /// Sets the timer that makes queues without a thread readable.
    pub(super) fn set_timer(&self) {
        let Some(reactor) = self.reactor_if_any() else { return };
        reactor.set_timer(|| {
            let mut core = self.core.lock();
            let next = core.next_alarm();
            core.timer = core.timer.map(|_| next);
            core.timer.map(|next| next.unwrap_or_else(never))
        });
    }
}

/// Has the meter note calls that have ended. It is told before their owners are.
#[inline(never)]
fn note_ends(meter: &Meter, ended: &mut [(Owner, Result<Reply>, Option<Reply>)]) {
    for metered in ended.iter_mut().filter_map(|(owner, ..)| owner.metered()) {
        metered.end();
    }
    let Some(_pass) = meter.pass() else { return };
    for (owner, result, arrived) in ended {
        if let Some(metered) = owner.metered() {
            meter.note(metered, result, arrived.as_ref());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::{Duration, Instant};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use crate::net::testing::Server;
    use crate::{Client, Options, Queue};

    const TIME: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    /// Who turns the reactor would never sleep again.
    #[test]
    fn the_timer_of_a_queue_that_nobody_polls_keeps_nobody_awake() {
        let server = Server::start(None);
        for has_thread in [true, false] {
            let client =
                Client::open(&format!("redis://127.0.0.1:{}", server.port), &Options::default()).unwrap();
            let idle = Queue::without_thread(1).unwrap();
            client.with_timeout(TIME).submit_command(&idle, 1, ("BLPOP", "nothing", 0)).unwrap();
            let start = Instant::now();
            let reactor = client.io().reactor_if_any().unwrap();
            let is_awake = || {
                let mut fds = [PollFd::new(reactor.poller(), PollFlags::IN)];
                poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
            };
            let other = Queue::new(1).unwrap();
            thread::scope(|scope| {
                if has_thread {
                    client.submit_command(&other, 2, ("BLPOP", "nothing", 0)).unwrap();
                } else {
                    scope.spawn(|| client.command(("BLPOP", "nothing", 0)));
                }
                thread::sleep(2 * TIME);
                while is_awake() && start.elapsed() < LONG {
                    thread::sleep(TIME);
                }
                let sleeps = !is_awake();
                client.close();
                assert!(sleeps, "has_thread: {has_thread}");
            });
        }
    }
}
