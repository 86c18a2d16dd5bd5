//! Questions to servers about a call that they have refused: asked once for all that wait for the answer.

use std::time::Instant;

use super::interface::{Actions, CallId, Owner};
use super::state::answers::{self, NodeLines};
use super::state::attempt::{Attempt, For, Step, Tried, Via};
use super::state::engine::{Body, Engine};
use super::state::evidence::{Answer, Evidence, Need, Question};
use super::state::history::Context;
use crate::request::{Request, Shape};
use crate::resp::Reply;

/// A question as it goes to a server.
pub(super) fn ask(mut request: Box<Request>, arguments: &[&[u8]]) -> Box<Request> {
    request.reset(Shape::Single);
    request.say(arguments);
    request
}

impl<T: Owner> Engine<T> {
    /// Judges a call, or goes on with it, by what servers have said about it.
    pub(super) fn in_context<V>(
        &mut self,
        now: Instant,
        io: &dyn Actions<T>,
        id: CallId,
        body: impl FnOnce(&mut Context<'_>, &mut Body) -> V,
    ) -> Option<V> {
        let none = Evidence::default();
        let Engine { calls, servers, .. } = self;
        let call = calls.get_mut(id.place).filter(|call| call.serial == id.serial)?;
        let deadline = call.deadline;
        let evidence = call.asking.as_deref().map_or(&none, |asking| &asking.evidence);
        let is_suspect = |conn| io.is_suspect(conn);
        let mut cx = Context { now, deadline, servers, evidence, is_suspect: &is_suspect };
        Some(body(&mut cx, &mut call.body))
    }

    /// Forgets what servers have said about a call: of its next attempt it says nothing.
    pub(super) fn forget_answers(&mut self, id: CallId) {
        if let Some(asking) = self.call_mut(id).and_then(|call| call.asking.as_mut()) {
            asking.evidence.clear();
        }
    }

    /// Asks for what a call's judgement needs, unless that is under way.
    pub(super) fn ask(&mut self, now: Instant, io: &mut dyn Actions<T>, id: CallId, need: Need) {
        let Some(call) = self.call_mut(id) else { return };
        let asking = call.asking.get_or_insert_default();
        if asking.under_way.contains(&need) {
            return;
        }
        asking.under_way.push(need);
        let first: &[&[u8]] = match need.question {
            Question::Nodes => &[b"CLUSTER", b"NODES"],
            Question::Info => &[b"CLUSTER", b"INFO"],
            Question::Role | Question::RoleOn(_) => &[b"ROLE"],
        };
        self.ask_step(now, io, id, need, Step::First, first);
    }

    fn ask_step(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        id: CallId,
        need: Need,
        step: Step,
        words: &[&[u8]],
    ) {
        let Some(call) = self.call(id) else { return };
        let times = (call.deadline, call.timeout);
        let request = ask(io.take_request(), words);
        let whose = For::Evidence(id, need, step);
        let mut attempt = Attempt::new(whose, need.node, Some(request), now, times);
        // A call that finds out by itself whether it has run may go by what another connection to the server says,
        // where its own has ended.
        let ends_with_call = |conn| self.is_once(id) && !self.conns.contains_key(&conn);
        if let Question::RoleOn(conn) = need.question
            && !ends_with_call(conn)
        {
            attempt.via = Via::This(conn);
        }
        self.start(now, io, attempt);
    }

    /// A server has answered a question, or will not.
    pub(super) fn asked(
        &mut self,
        now: Instant,
        io: &mut dyn Actions<T>,
        (id, need, step): (CallId, Need, Step),
        mut tried: Tried,
    ) {
        tried.give_back(io);
        let node = self.servers.node(need.node);
        let has_hello = node.facts.as_ref().is_some_and(|facts| facts.has_hello());
        let was_refused = tried.result.as_ref().is_err_and(|error| error.server_text().is_some());
        let second: Option<&[&[u8]]> = match (need.question, step) {
            // A user who may not ask so may be allowed what the map is made of.
            (Question::Nodes, Step::First) if was_refused => Some(&[b"CLUSTER", b"SLOTS"]),
            // No right is needed for HELLO.
            (Question::RoleOn(_), Step::First) if was_refused && has_hello => Some(&[b"HELLO"]),
            _ => None,
        };
        if let Some(words) = second {
            return self.ask_step(now, io, id, need, Step::Second, words);
        }
        let reply = tried.result.ok().map(Reply::new);
        let root = reply.as_ref().map(Reply::root);
        let config = &self.servers.config;
        let answer = match need.question {
            Question::Nodes if step == Step::First => Answer::Nodes(root.map(NodeLines::new)),
            Question::Nodes => {
                Answer::Nodes(root.and_then(|root| NodeLines::by_slots(root, &node.address, config)))
            }
            Question::Info => Answer::IsDown(root.is_some_and(answers::is_down)),
            Question::Role => Answer::IsReplica(root.is_some_and(|root| answers::says_replica(root, false))),
            Question::RoleOn(conn) => {
                let says = root.is_some_and(|root| answers::says_replica(root, step == Step::Second));
                if says {
                    // The next connection is made with the address looked up anew: it may stand for the primary by now.
                    self.servers.node_mut(need.node).note_replica(conn);
                    self.unlink(now, io, conn);
                }
                Answer::IsReplica(says || self.servers.node(need.node).is_known_replica(conn))
            }
        };
        let Some(call) = self.call_mut(id) else { return };
        let Some(asking) = &mut call.asking else { return };
        asking.under_way.retain(|other| *other != need);
        asking.evidence.add(need, answer);
        if asking.under_way.is_empty() {
            self.proceed(now, io, id);
        }
    }
}
