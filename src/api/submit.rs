//! Calls that nobody waits for: how they are accepted and called off.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::args::{Given, ToArgs};
use super::client::Client;
use super::pipeline::Pipeline;
use crate::base::defect::contain;
use crate::base::purpose::Purpose;
use crate::base::times::LONGEST_WAIT;
use crate::core::{Task, Work};
use crate::error::{Error, Result, Status};
use crate::ffi::sys::cancel::Held;
use crate::io::{Owner, Queued};
use crate::queue::{Queue, Ticket};
use crate::request::command;
use crate::request::script::Script;
use crate::request::{Flags, Request, Shape};
use crate::resp::encode::Arguments;

/// A call to be submitted.
pub(crate) struct Call {
    pub(crate) tag: u64,
    /// Instead of the client's.
    pub(crate) timeout: Option<Duration>,
    /// The handle of the client that makes it, if it is another than the one that submits it.
    pub(crate) by: Option<Box<Client>>,
    /// What to do, or why that cannot be: it is the call's completion then.
    pub(crate) work: Result<Work>,
}

impl Call {
    fn new(tag: u64, request: Box<Request>, purpose: Purpose) -> Self {
        Call { tag, timeout: None, by: None, work: Ok(Work::Send(request, purpose)) }
    }
}

/// Calls that are submitted together; mostly there is one.
pub(crate) type Calls = SmallVec<[Call; 1]>;

/// So many connections of one batch are looked at before it is sent.
const LOOKED_AT: usize = 16;

impl Client {
    /// Calls a script without waiting: the reply will be in `queue`, under `tag`. Everything else is as with
    /// [`Client::call`].
    ///
    /// An error means that the call was not accepted and has no completion: [`Status::QueueFull`], or what is wrong
    /// with its arguments.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Queue, Script};
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new(10)?;
    /// let add = Script::new("return redis.call('INCRBY', KEYS[1], ARGV[1])");
    /// client.submit(&queue, 1, &add, "n", 5)?;
    /// let mut done = Vec::new();
    /// while queue.poll(&mut done, 10, Duration::from_secs(1)) == 0 {}
    /// assert_eq!(done.remove(0).result?.as_i64(), Some(5));
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit(
        &self,
        queue: &Queue,
        tag: u64,
        script: &Script,
        keys: impl ToArgs,
        args: impl ToArgs,
    ) -> Result<()> {
        self.submit_script(queue, tag, script, &Given::new(keys), &Given::new(args), Flags::NONE)
    }

    /// The same, read-only; see [`Client::call_read_only`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Queue, Script};
    ///
    /// let queue = Queue::new(10)?;
    /// let get = Script::new("return redis.call('GET', KEYS[1])");
    /// client.submit_read_only(&queue, 1, &get, "n", ())?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_read_only(
        &self,
        queue: &Queue,
        tag: u64,
        script: &Script,
        keys: impl ToArgs,
        args: impl ToArgs,
    ) -> Result<()> {
        self.submit_script(queue, tag, script, &Given::new(keys), &Given::new(args), Flags::READ_ONLY)
    }

    pub(crate) fn submit_script(
        &self,
        queue: &Queue,
        tag: u64,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        flags: Flags<'_>,
    ) -> Result<()> {
        self.io().check_process()?;
        let mut request = self.request(Shape::Single);
        request.script_call(script, keys, args, flags)?;
        self.submit_all(queue, &mut Calls::from_buf([Call::new(tag, request, Purpose::Calls)]))
    }

    /// Sends a command without waiting; see [`Client::submit`] and [`Client::command`].
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// let queue = rs_script::Queue::new(10)?;
    /// client.submit_command(&queue, 1, ("SET", "n", 5))?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit_command(&self, queue: &Queue, tag: u64, arguments: impl ToArgs) -> Result<()> {
        self.io().check_process()?;
        let mut request = self.request(Shape::Single);
        let lane = request.command_given(&Given::new(arguments), Flags::NONE, command::lane)?;
        self.submit_all(queue, &mut Calls::from_buf([Call::new(tag, request, lane.purpose())]))
    }

    pub(crate) fn submit_command_of(
        &self,
        queue: &Queue,
        tag: u64,
        arguments: &[&[u8]],
        flags: Flags<'_>,
    ) -> Result<()> {
        self.io().check_process()?;
        let purpose = command::lane(arguments)?.purpose();
        let mut request = self.request(Shape::Single);
        request.command(arguments, flags)?;
        self.submit_all(queue, &mut Calls::from_buf([Call::new(tag, request, purpose)]))
    }

    /// Accepts calls and sends them, as far as they go the same way, in one write; all of them, or with an error
    /// none, and then they are left where they are.
    pub(crate) fn submit_all(&self, queue: &Queue, calls: &mut Calls) -> Result<()> {
        let _held = Held::new();
        self.io().check_process()?;
        queue.check_process()?;
        if self.io().is_closed() {
            return Err(Error::closed());
        }
        self.io().drive(queue)?;
        let mut tickets = SmallVec::<[_; 1]>::with_capacity(calls.len());
        queue.accept(self.io().id(), calls.iter().map(|call| call.tag), &mut tickets)?;
        if contain(|| self.send_accepted(queue, calls, &tickets)).is_none() {
            // They were accepted all the same. Those that have an end already keep it.
            calls.clear();
            queue.complete(tickets.into_iter().map(|ticket| (ticket, Err(Error::defect()), None)));
        }
        Ok(())
    }

    /// Hands calls that were accepted to the engine.
    fn send_accepted(&self, queue: &Queue, calls: &mut Calls, tickets: &[Ticket]) {
        let now = Instant::now();
        self.look_at_idle(calls, now);
        let mut refused = Vec::new();
        let mut accepted = SmallVec::<[_; 1]>::with_capacity(calls.len());
        accepted.extend(calls.drain(..).zip(tickets).filter_map(
            |(Call { timeout, by, work, .. }, &ticket)| {
                let work = work.map_err(|error| refused.push((ticket, Err(error), None))).ok()?;
                let flushes = matches!(work, Work::Administer(Task::Flush(_)));
                if flushes {
                    self.io().forget_scripts();
                }
                let owner =
                    Owner::Queued(Queued::new(queue, ticket, flushes)).measured(self.meter_work(&work, now));
                let client = by.as_deref().unwrap_or(self);
                let timeout = timeout.unwrap_or(client.timeout()).min(LONGEST_WAIT);
                Some(client.engine_call(owner, work, now, timeout))
            },
        ));
        self.io().submit(accepted.into_iter());
        if !refused.is_empty() {
            queue.complete(refused.into_iter());
        }
    }

    /// Looks at connections that were idle before calls are sent on them: the server may have closed one just now.
    fn look_at_idle(&self, calls: &[Call], now: Instant) {
        if calls.iter().any(|call| matches!(call.work, Ok(Work::Administer(_)))) {
            self.look_at_all_idle(now);
        }
        let mut looked_at = SmallVec::<[_; LOOKED_AT]>::new();
        for call in calls {
            let Ok(Work::Send(request, Purpose::Calls)) = &call.work else { continue };
            if let Some((node, link)) = call.by.as_deref().unwrap_or(self).plain_link(request, now)
                && !looked_at.contains(&node)
            {
                link.look_if_idle(now);
                looked_at.push(node);
                if looked_at.len() == LOOKED_AT || self.io().only().is_some() {
                    return;
                }
            }
        }
    }

    /// The same before one call.
    pub(crate) fn look_at_idle_for(&self, work: &Work, now: Instant) {
        match work {
            Work::Administer(_) => self.look_at_all_idle(now),
            Work::Send(request, Purpose::Calls) => {
                if let Some((_, link)) = self.plain_link(request, now) {
                    link.look_if_idle(now);
                }
            }
            Work::Send(..) | Work::Open | Work::LogIn | Work::Figures => {}
        }
    }

    /// The same before what goes to all servers, which is seldom.
    fn look_at_all_idle(&self, now: Instant) {
        self.io().served().all().iter().for_each(|link| link.look_if_idle(now));
    }

    /// Ends the calls under way in `queue` that were submitted with this tag; the number of them. Each is completed
    /// at once: with [`Status::Cancelled`] where nothing was sent, with [`Status::Indeterminate`] where the server
    /// may have executed it or may yet do so. What waits on the server, as BLPOP does, is given up there too: its
    /// connection is closed.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::{Queue, Reason};
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new(10)?;
    /// client.submit_command(&queue, 1, ("BLPOP", "nothing", 0))?;
    /// assert_eq!(client.cancel(&queue, 1), 1);
    /// let mut done = Vec::new();
    /// queue.poll(&mut done, 10, Duration::ZERO);
    /// assert_eq!(done.remove(0).result.unwrap_err().reason(), Reason::Cancelled);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cancel(&self, queue: &Queue, tag: u64) -> usize {
        let _held = Held::new();
        if self.io().check_process().and_then(|()| queue.check_process()).is_err() {
            return 0;
        }
        let tickets = queue.with_tag(self.io().id(), tag);
        tickets.iter().filter(|&&ticket| self.io().cancel(queue, ticket)).count()
    }
}

impl Pipeline {
    /// Executes the pipeline without waiting; see [`Client::submit`] and [`Pipeline::exec`]. Once it is accepted the
    /// pipeline is empty; with an error it has its items still.
    ///
    /// ```
    /// # include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/doctest.rs"));
    /// # fn main() -> rs_script::Result<()> {
    /// # let server = Server::start();
    /// # let client = server.client();
    /// use rs_script::Queue;
    /// use std::time::Duration;
    ///
    /// let queue = Queue::new(10)?;
    /// let mut pipeline = client.pipeline();
    /// pipeline.command(("INCR", "n"))?.command(("INCR", "n"))?;
    /// pipeline.submit(&queue, 1)?;
    /// let mut done = Vec::new();
    /// while queue.poll(&mut done, 10, Duration::from_secs(1)) == 0 {}
    /// assert_eq!(done.remove(0).result?.to::<[u32; 2]>()?, [1, 2]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn submit(&mut self, queue: &Queue, tag: u64) -> Result<()> {
        self.submit_by(None, queue, tag, false)
    }

    /// The same, by another handle of its client's. `idempotent`: all of it may be executed twice.
    pub(crate) fn submit_by(
        &mut self,
        client: Option<&Client>,
        queue: &Queue,
        tag: u64,
        idempotent: bool,
    ) -> Result<()> {
        if self.is_empty() {
            return Err(nothing_to_submit());
        }
        self.client().io().check_process()?;
        let had_slot = self.has_slot();
        let mut request = self.take_request();
        if idempotent {
            request.set_idempotent(true);
        }
        let mut calls = Calls::from_buf([Call::new(tag, request, Purpose::Calls)]);
        let accepted = client.unwrap_or(self.client()).submit_all(queue, &mut calls);
        if let Some(Call { work: Ok(Work::Send(mut request, _)), .. }) = calls.pop() {
            if idempotent {
                request.set_idempotent(false);
            }
            self.put_back(request, had_slot);
        }
        accepted
    }
}

/// The error of a pipeline without items: there would be no reply to complete it.
pub(crate) fn nothing_to_submit() -> Error {
    Error::new(Status::InvalidArgument, "the pipeline is empty: there is nothing to submit")
}
