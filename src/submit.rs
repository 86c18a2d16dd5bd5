//! Calls that nobody waits for: how they are made, and what becomes of them.
//!
//! A submitted call is written by the thread that submits it and read by the client's [`Driver`]. Where that is not enough, because there is no
//! connection yet or a server has refused it, a worker takes it on as if it were a blocking call.

use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::admin::Task;
use crate::client::{Client, Way, WeakClient};
use crate::command::{self, Lane};
use crate::config::LONGEST_WAIT;
use crate::defect::contain;
use crate::dispatch::has_read_only;
use crate::driver::Driver;
use crate::error::{Error, Result, Status};
use crate::ffi::cancel::Held;
use crate::leash::Leash;
use crate::link::Outcome;
use crate::node::Node;
use crate::pipeline::Pipeline;
use crate::queue::{Queue, Ticket};
use crate::request::{Request, Shape};
use crate::resp::Reply;
use crate::resp::encode::Arguments;
use crate::route::ReadFrom;
use crate::script::Script;
use crate::session::Finished;
use crate::session::handshake::Purpose;
use crate::session::verdict;
use crate::slots::NO_SLOT;
use crate::topology::Place;
use crate::workers::LinedUp;

/// A call under way that will be completed in a queue, whatever becomes of it: one that is lost by a defect, with the
/// thread that had it in hands, is completed when it is dropped.
pub(crate) struct Submitted {
    target: Arc<Target>,
    ticket: Ticket,
    pub(crate) timeout: Duration,
    pub(crate) deadline: Instant,
    is_over: bool,
}

impl Drop for Submitted {
    fn drop(&mut self) {
        if !self.is_over && self.target.queue.check_process().is_ok() {
            self.target.queue.complete(std::iter::once((self.ticket, Err(Error::defect()), None)));
        }
    }
}

/// What calls have in common that are submitted together.
struct Target {
    queue: Queue,
    client: WeakClient,
    node: Option<Arc<Node>>,
}

/// A call to be submitted.
pub(crate) struct Call {
    pub(crate) tag: u64,
    /// Instead of the client's.
    pub(crate) timeout: Option<Duration>,
    /// What to send, or why that cannot be: it is the call's completion then.
    pub(crate) work: Result<Work>,
}

/// What a call is to do.
pub(crate) enum Work {
    /// Have a server answer this.
    Send(Box<Request>, Lane),
    /// Administer scripts.
    Administer(Task),
}

impl Call {
    fn new(tag: u64, request: Box<Request>, lane: Lane) -> Self {
        Call { tag, timeout: None, work: Ok(Work::Send(request, lane)) }
    }
}

/// What a worker does.
pub(crate) enum Job {
    /// Make the connection that calls are in line for.
    Connect { client: WeakClient, node: Arc<Node> },
    /// Ask whether the server of that connection is a replica.
    AskRole { node: Arc<Node>, connection: u64 },
    /// Carry a call from its beginning to its end.
    Carry { request: Box<Request>, call: Submitted },
    /// The same for one that waits on the server, on a connection of its own.
    Wait { request: Box<Request>, call: Submitted, purpose: Purpose, leash: Arc<Leash> },
    /// Administer scripts.
    Administer { task: Task, call: Submitted },
    /// Go on with a call that a server has not run, or that may run twice.
    GoOn { request: Box<Request>, call: Submitted, error: Error, arrived: Option<Reply> },
}

impl Client {
    /// Calls a script without waiting: the reply will be in `queue`, under `tag`. Everything else is as with [`Client::call`].
    ///
    /// An error means that the call was not accepted and has no completion: [`Status::QueueFull`], or what is wrong with its arguments.
    pub fn submit<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        queue: &Queue,
        tag: u64,
        script: &Script,
        keys: &[K],
        args: &[A],
    ) -> Result<()> {
        self.submit_script(queue, tag, script, keys, args, false)
    }

    /// The same, read-only; see [`Client::call_read_only`].
    pub fn submit_read_only<K: AsRef<[u8]>, A: AsRef<[u8]>>(
        &self,
        queue: &Queue,
        tag: u64,
        script: &Script,
        keys: &[K],
        args: &[A],
    ) -> Result<()> {
        self.submit_script(queue, tag, script, keys, args, true)
    }

    pub(crate) fn submit_script(
        &self,
        queue: &Queue,
        tag: u64,
        script: &Script,
        keys: &(impl Arguments + ?Sized),
        args: &(impl Arguments + ?Sized),
        read_only: bool,
    ) -> Result<()> {
        self.core().check_process()?;
        let mut request = self.request(Shape::Single);
        request.script_call(script, keys, args, read_only)?;
        self.submit_all(queue, &mut vec![Call::new(tag, request, Lane::Shared)])
    }

    /// Sends a command without waiting; see [`Client::submit`] and [`Client::command`].
    pub fn submit_command<A: AsRef<[u8]>>(&self, queue: &Queue, tag: u64, arguments: &[A]) -> Result<()> {
        let words: SmallVec<[&[u8]; 8]> = arguments.iter().map(AsRef::as_ref).collect();
        self.submit_command_of(queue, tag, &words)
    }

    pub(crate) fn submit_command_of(&self, queue: &Queue, tag: u64, arguments: &[&[u8]]) -> Result<()> {
        self.core().check_process()?;
        let lane = command::lane(arguments)?;
        let mut request = self.request(Shape::Single);
        request.command(arguments)?;
        self.submit_all(queue, &mut vec![Call::new(tag, request, lane)])
    }

    /// Accepts calls and sends them, as far as they go the same way, in one write; all of them, or with an error none, and then they are left where
    /// they are.
    pub(crate) fn submit_all(&self, queue: &Queue, calls: &mut Vec<Call>) -> Result<()> {
        let _held = Held::new();
        let core = self.core();
        core.check_process()?;
        queue.check_process()?;
        if core.topology.is_closed() {
            return Err(Error::closed());
        }
        let driver = core.driver()?;
        let mut tickets = Vec::with_capacity(calls.len());
        queue.accept(core.id(), calls.iter().map(|call| call.tag), &mut tickets)?;
        if contain(|| self.send_accepted(driver, queue, calls, &tickets)).is_none() {
            // They were accepted all the same. Those that have an end already keep it.
            queue.complete(tickets.into_iter().map(|ticket| (ticket, Err(Error::defect()), None)));
        }
        Ok(())
    }

    /// Sends calls that were accepted, or hands them to those who will.
    fn send_accepted(&self, driver: &Driver, queue: &Queue, calls: &mut Vec<Call>, tickets: &[Ticket]) {
        let now = Instant::now();
        let mut earliest = now + LONGEST_WAIT;
        let mut groups: SmallVec<[Group; 4]> = SmallVec::new();
        let mut refused = Vec::new();
        for (Call { timeout, work, .. }, &ticket) in calls.drain(..).zip(tickets) {
            let work = match work {
                Ok(work) => work,
                Err(error) => {
                    refused.push((ticket, Err(error), None));
                    continue;
                }
            };
            let timeout = timeout.unwrap_or(self.view().timeout).min(LONGEST_WAIT);
            let deadline = now + timeout;
            earliest = earliest.min(deadline);
            let submitted =
                |target: Arc<Target>| Submitted { target, ticket, timeout, deadline, is_over: false };
            let (request, lane) = match work {
                Work::Send(request, lane) => (request, lane),
                Work::Administer(task) => {
                    let call = submitted(self.target(queue, None));
                    driver.give(Job::Administer { task, call });
                    continue;
                }
            };
            match self.node_of(&request, lane) {
                Some(node) => {
                    let place = groups.iter().position(|group| Arc::ptr_eq(&group.node, &node));
                    let place = place.unwrap_or_else(|| {
                        groups.push(Group {
                            target: self.target(queue, Some(&node)),
                            node,
                            calls: Vec::new(),
                        });
                        groups.len() - 1
                    });
                    let Group { target, calls, .. } = &mut groups[place];
                    calls.push((request, submitted(Arc::clone(target))));
                }
                None => {
                    let call = submitted(self.target(queue, None));
                    driver.give(match lane {
                        Lane::Own | Lane::Bare => {
                            Job::Wait { request, call, purpose: lane.purpose(), leash: Arc::default() }
                        }
                        Lane::Shared => Job::Carry { request, call },
                    });
                }
            }
        }
        for Group { node, mut calls, .. } in groups {
            self.send(driver, &node, &mut calls, now);
        }
        if !refused.is_empty() {
            queue.complete(refused.into_iter());
        }
        driver.waker.mind(earliest);
    }

    fn target(&self, queue: &Queue, node: Option<&Arc<Node>>) -> Arc<Target> {
        Arc::new(Target { queue: queue.clone(), client: self.downgrade(), node: node.cloned() })
    }

    /// The server that a call goes to, if it can simply be sent there.
    fn node_of(&self, request: &Request, lane: Lane) -> Option<Arc<Node>> {
        let topology = &self.core().topology;
        let view = self.view();
        if lane != Lane::Shared || view.way == Way::AllPrimaries && request.slot == NO_SLOT {
            return None;
        }
        let reads = view.read_from != ReadFrom::Primary && request.items.iter().any(|item| item.read_only);
        if let Some(only) = topology.only().filter(|_| !reads) {
            return Some(Arc::clone(only));
        }
        if reads || request.shape == Shape::Pipeline && topology.is_cluster() || !topology.is_settled() {
            return None;
        }
        let place = if request.slot == NO_SLOT { view.way.place() } else { Place::Slot(request.slot) };
        topology.pick(&place, ReadFrom::Primary, &[])
    }

    /// Sends calls on a server's connection, or puts them in line for it.
    fn send(
        &self,
        driver: &Driver,
        node: &Arc<Node>,
        calls: &mut Vec<(Box<Request>, Submitted)>,
        now: Instant,
    ) {
        if !driver.workers.has_line(node)
            && let Some(link) = node.connected()
            && driver.submit(&link, calls, now)
        {
            return;
        }
        match driver.workers.line_up(node, calls) {
            LinedUp::Behind => {}
            LinedUp::First => driver.give(Job::Connect { client: self.downgrade(), node: Arc::clone(node) }),
            LinedUp::Closed => calls.drain(..).for_each(|(_, call)| call.close()),
        }
    }

    /// Ends the calls under way in `queue` that were submitted with this tag; the number of them. Each is completed at once: with
    /// [`Status::Cancelled`] where nothing was sent, with [`Status::Indeterminate`] where the server may have executed it or may yet do so.
    /// What waits on the server, as BLPOP does, is given up there too: its connection is closed.
    pub fn cancel(&self, queue: &Queue, tag: u64) -> usize {
        if self.core().check_process().and_then(|()| queue.check_process()).is_err() {
            return 0;
        }
        let Some(driver) = self.core().driver_if_any() else { return 0 };
        let tickets = queue.with_tag(self.core().id(), tag);
        for &ticket in &tickets {
            if driver.workers.call_off(ticket, queue) || driver.apart.call_off(ticket, queue) {
                continue;
            }
            for link in self.core().topology.links() {
                link.call_off(ticket, queue);
            }
            let complete = |error| queue.complete(std::iter::once((ticket, Err(error), None)));
            match driver.apart.leash_of(ticket, queue) {
                Some(leash) => leash.cut_off(complete),
                // A worker is at it, and cannot be stopped: its result will find no place.
                None => complete(Error::called_off(true)),
            }
        }
        tickets.len()
    }
}

struct Group {
    node: Arc<Node>,
    target: Arc<Target>,
    calls: Vec<(Box<Request>, Submitted)>,
}

impl Pipeline {
    /// Executes the pipeline without waiting; see [`Client::submit`] and [`Pipeline::exec`]. Once it is accepted the pipeline is empty; with an error it has
    /// its items still.
    pub fn submit(&mut self, queue: &Queue, tag: u64) -> Result<()> {
        if self.is_empty() {
            return Err(nothing_to_submit());
        }
        self.client().core().check_process()?;
        let mut calls = vec![Call::new(tag, self.take_request(), Lane::Shared)];
        let accepted = self.client().submit_all(queue, &mut calls);
        if let Some(Call { work: Ok(Work::Send(request, _)), .. }) = calls.pop() {
            self.put_back(request);
        }
        accepted
    }
}

impl Driver {
    fn give(&self, job: Job) {
        let deadline = job.call().map(|call| call.deadline);
        let waits = matches!(job, Job::Wait { .. });
        let workers = if waits { &self.apart } else { &self.workers };
        match workers.run(job) {
            Ok(()) => {
                // While it was in nobody's hands the driver may have looked for the next deadline.
                if let Some(deadline) = deadline {
                    self.waker.mind(deadline);
                }
            }
            Err((Job::Connect { node, .. }, error)) => self.workers.end_line(&node, &error),
            Err((job, error)) => job.refuse(error),
        }
    }

    fn submit(
        &self,
        link: &Arc<crate::link::Link>,
        calls: &mut Vec<(Box<Request>, Submitted)>,
        now: Instant,
    ) -> bool {
        let (taken, is_new) = link.submit(calls, now, &self.waker);
        if is_new {
            self.waker.add(link);
        }
        taken
    }
}

impl Submitted {
    /// What it is known by.
    pub(crate) fn name(&self) -> (Ticket, Queue) {
        (self.ticket, self.target.queue.clone())
    }

    /// Its number in its queue.
    pub(crate) fn serial(&self) -> u64 {
        self.ticket.serial()
    }

    /// Whether it is this call of this queue.
    pub(crate) fn is(&self, ticket: Ticket, queue: &Queue) -> bool {
        self.ticket == ticket && self.target.queue.is(queue)
    }

    fn complete(mut self, result: Result<Reply>, arrived: Option<Reply>) {
        self.target.queue.complete(std::iter::once((self.ticket, result, arrived)));
        self.is_over = true;
    }

    /// Ends it where nothing was sent.
    pub(crate) fn fail(self, error: Error) {
        self.complete(Err(error), None);
    }

    /// Its ticket, for whoever completes it with that.
    fn end(mut self) -> Ticket {
        self.is_over = true;
        self.ticket
    }

    /// Ends it where nothing was sent: its deadline has passed.
    pub(crate) fn time_out(self) {
        let text = format!(
            "the deadline of {} ms passed before the call could be sent; nothing was sent",
            self.timeout.as_millis()
        );
        self.fail(Error::new(Status::Timeout, text));
    }

    /// Ends it where nothing was sent: its caller has called it off.
    pub(crate) fn call_off(self) {
        self.fail(Error::called_off(false));
    }

    /// Ends it where nothing was sent: the client is closed.
    pub(crate) fn close(self) {
        self.fail(Error::closed());
    }
}

/// The error of a pipeline without items: there would be no reply to complete it.
pub(crate) fn nothing_to_submit() -> Error {
    Error::new(Status::InvalidArgument, "the pipeline is empty: there is nothing to submit")
}

/// Completes calls that have ended on a connection, or has workers go on with them.
pub(crate) fn complete(ended: &mut Vec<(Submitted, Outcome)>) {
    let mut ended = ended.drain(..).peekable();
    while let Some((first, outcome)) = ended.next() {
        let target = Arc::clone(&first.target);
        let client = target.client.upgrade();
        let mut next = Some((first, outcome));
        let mut go_on = Vec::new();
        let mut unsent = Vec::new();
        let ready = std::iter::from_fn(|| {
            next.take().or_else(|| ended.next_if(|(call, _)| Arc::ptr_eq(&call.target, &target)))
        });
        let done = ready.filter_map(|(call, outcome)| {
            #[cfg(test)]
            call.target.node.iter().for_each(|node| crate::defect::provoked("complete", node.address()));
            let (result, arrived) = match outcome {
                Outcome::Left(error, arrived) => {
                    if let Some(client) = &client {
                        client.note_delay(&call);
                    }
                    (Err(error), arrived.map(Reply::new))
                }
                Outcome::Finished(Finished { request, result, arrived, .. }) => {
                    let arrived = arrived.map(Reply::new);
                    match (result, &client) {
                        (Ok(payload), Some(client)) => {
                            if let (Some(node), true) = (&call.target.node, has_read_only(&payload)) {
                                let (node, connection) = (Arc::clone(node), request.connection);
                                go_on.push(Job::AskRole { node, connection });
                            }
                            client.core().keep(request);
                            (Ok(Reply::new(payload)), arrived)
                        }
                        // Together with all others of this connection, and in their order.
                        (Err(error), Some(client))
                            if error.status() == Status::Connect
                                && client.core().topology.only().is_some()
                                && call.target.node.is_some() =>
                        {
                            unsent.push((request, call));
                            return None;
                        }
                        (Err(error), Some(client)) if client.may_go_on(&call, &request, &error) => {
                            go_on.push(Job::GoOn { request, call, error, arrived });
                            return None;
                        }
                        (result, _) => (result.map(Reply::new), arrived),
                    }
                }
            };
            Some((call, result, arrived))
        });
        let mut done: SmallVec<[_; 32]> = done.collect();
        target.queue.complete(done.drain(..).map(|(call, result, arrived)| (call.end(), result, arrived)));
        if let (Some(client), Some(node), false) = (&client, &target.node, unsent.is_empty()) {
            match client.core().driver_if_any() {
                Some(driver) => client.send(driver, node, &mut unsent, Instant::now()),
                None => unsent.into_iter().for_each(|(_, call)| call.close()),
            }
        }
        for job in go_on {
            match client.as_ref().and_then(|client| client.core().driver_if_any()) {
                Some(driver) => driver.give(job),
                None => job.refuse(Error::closed()),
            }
        }
    }
}

impl Client {
    /// Has the next call look for other servers, as after a blocking call that waited in vain.
    fn note_delay(&self, call: &Submitted) {
        let topology = &self.core().topology;
        if let Some(node) = &call.target.node
            && topology.only().is_none()
            && Instant::now() >= call.deadline
        {
            node.rest();
            topology.doubt(node);
        }
    }

    /// Whether a blocking call would not end with this error yet.
    fn may_go_on(&self, call: &Submitted, request: &Request, error: &Error) -> bool {
        let Some(node) = &call.target.node else { return false };
        match error.status() {
            Status::Connect | Status::Loading => true,
            Status::Indeterminate => node.may_repeat(request),
            Status::Server | Status::TransactionAborted => {
                error.server_text().is_some_and(|text| match self.core().topology.only() {
                    Some(_) => verdict::is_read_only(text),
                    None => verdict::not_served(text).is_some(),
                })
            }
            _ => false,
        }
    }
}

impl Job {
    /// The call that it is for, if it is for one.
    pub(crate) fn call(&self) -> Option<&Submitted> {
        match self {
            Job::Connect { .. } | Job::AskRole { .. } => None,
            Job::Carry { call, .. }
            | Job::Wait { call, .. }
            | Job::Administer { call, .. }
            | Job::GoOn { call, .. } => Some(call),
        }
    }

    /// Ends its call, to which no worker has come: by `unsent`, unless the server may have executed it before.
    pub(crate) fn end(self, unsent: fn(Submitted)) {
        match self {
            Job::Connect { .. } | Job::AskRole { .. } => {}
            Job::GoOn { call, error, arrived, .. } if !error.is_not_executed() => {
                call.complete(Err(error), arrived);
            }
            Job::Carry { call, .. }
            | Job::Wait { call, .. }
            | Job::Administer { call, .. }
            | Job::GoOn { call, .. } => unsent(call),
        }
    }

    /// Ends its call with what is known: there is nobody to do it, for this reason.
    fn refuse(self, reason: Error) {
        match self {
            Job::Connect { .. } | Job::AskRole { .. } => {}
            Job::Carry { call, .. } | Job::Wait { call, .. } | Job::Administer { call, .. } => {
                call.fail(reason);
            }
            Job::GoOn { call, error, arrived, .. } => call.complete(Err(error), arrived),
        }
    }

    pub(crate) fn run(self) {
        #[cfg(test)]
        self.call().iter().for_each(|call| crate::defect::provoked("work", &call.timeout.as_millis()));
        match self {
            Job::Connect { client, node } => connect(&client, &node),
            Job::AskRole { node, connection } => {
                node.is_replica(Some(connection), Instant::now() + node.config().connect_timeout);
            }
            Job::Carry { request, call } => {
                let Some(client) = call.target.client.upgrade() else { return call.close() };
                let mut arrived = None;
                let result = client.carry(request, call.deadline, &mut arrived);
                call.complete(result, arrived);
            }
            Job::Wait { request, call, purpose, leash } => {
                let Some(client) = call.target.client.upgrade() else { return call.close() };
                let result = client.carry_apart(request, purpose, call.deadline, &leash);
                call.complete(result, None);
            }
            Job::Administer { task, call } => {
                let Some(client) = call.target.client.upgrade() else { return call.close() };
                let left = call.deadline.saturating_duration_since(Instant::now());
                let result = client.with_timeout(left).perform(task);
                call.complete(result, None);
            }
            Job::GoOn { request, call, error, arrived } => {
                let Some(client) = call.target.client.upgrade() else {
                    return call.complete(Err(error), arrived);
                };
                let mut arrived = arrived;
                let result = match call.target.node.clone() {
                    Some(node) => client.go_on(request, &node, error, call.deadline, &mut arrived),
                    None => Err(error),
                };
                call.complete(result, arrived);
            }
        }
    }
}

/// Makes the connection that calls are in line for, and sends them; or ends them, if it cannot be made.
fn connect(client: &WeakClient, node: &Arc<Node>) {
    loop {
        let Some(client) = client.upgrade() else { return };
        let Some(driver) = client.core().driver_if_any() else { return };
        let Some(patience) = driver.workers.patience_of(node) else { return };
        let linked = client.core().topology.link_patiently(node, patience);
        #[cfg(test)]
        crate::defect::provoked("line", node.address());
        let mut calls = driver.workers.take_line(node);
        let earliest = calls.iter().map(|(_, call)| call.deadline).min();
        let line_up = |calls: &mut Vec<_>| {
            if let LinedUp::Closed = driver.workers.line_up(node, calls) {
                calls.drain(..).for_each(|(_, call): (_, Submitted)| call.close());
            }
        };
        match linked {
            Ok(link) => {
                if !driver.submit(&link, &mut calls, Instant::now()) {
                    line_up(&mut calls);
                }
            }
            Err(error) => {
                // Those that came later and have more time than this attempt had go on waiting.
                let is_over = Instant::now() >= patience;
                let mut patient =
                    calls.extract_if(.., |(_, call)| is_over && call.deadline > patience).collect();
                line_up(&mut patient);
                for (request, call) in calls {
                    if client.core().topology.only().is_some() {
                        call.fail(error.clone());
                    } else {
                        driver.give(Job::GoOn { request, call, error: error.clone(), arrived: None });
                    }
                }
            }
        }
        // While they were in nobody's hands the driver may have looked for the next deadline.
        if let Some(earliest) = earliest {
            driver.waker.mind(earliest);
        }
    }
}
