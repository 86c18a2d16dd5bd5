//! What the engine asks for, done at once where it is memory work, and else noted; and how it is told of what has
//! happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::events::{Dial, Effects, Event};
use super::link::News;
use super::owner::Owner;
use super::table::{Conn, Table};
use super::{Io, Link};
use crate::base::defect::contain;
use crate::base::log::Record;
use crate::core::{Actions, AttemptId, ConnId, Engine, Health, Left, NodeId, Peer, Routes};
use crate::error::{Error, Result};
use crate::metrics::meter::Spent;
use crate::net::address::Address;
use crate::request::{Request, Shape};
use crate::resp::Reply;
use crate::session::Facts;

/// The engine's hands, while its lock is held.
pub(crate) struct Doing<'a> {
    pub(crate) io: &'a Io,
    pub(crate) table: &'a mut Table,
    pub(crate) effects: &'a mut Effects,
}

impl Doing<'_> {
    /// Tells the engine what has happened.
    pub(crate) fn tell(&mut self, engine: &mut Engine<Owner>, now: Instant, event: Event) {
        match event {
            Event::OfLink(News::Ended(attempt, ended)) => engine.ended(now, self, attempt, ended),
            Event::OfLink(News::Evicts(conn, policy)) => engine.evicts(self, conn, &policy),
            Event::OfLink(News::Lost(conn)) => engine.lost(now, self, conn),
            Event::OfLink(News::Gone(conn)) => {
                let gone = self.table.remove(conn);
                self.effects.drop.extend(gone);
                // One that it has retired has not told it of its end before.
                engine.lost(now, self, conn);
            }
            Event::Resolved(conn, found) => {
                if self.table.is_resolving(conn) {
                    #[cfg(test)]
                    self.io.provoked("find");
                    engine.resolved(now, self, conn, found);
                }
            }
            Event::Credentials(conn, asked, found) => engine.credentials(now, self, conn, asked, found),
            Event::Connected(conn, number, link) => {
                if self.table.is_dialing(conn, number) {
                    self.table.open(&link);
                    #[cfg(test)]
                    self.io.provoked("line");
                    engine.connected(now, self, conn);
                } else {
                    self.effects.drop.push(Conn::Open(link));
                }
            }
            Event::Refused(conn, number, why) => {
                if self.table.is_dialing(conn, number) {
                    engine.refused(now, self, conn, why);
                }
            }
            Event::Pending(conn, number, dialing) => {
                let unwanted = self.table.put_down(conn, number, dialing);
                self.effects.drop.extend(unwanted.map(|dialing| Conn::Dialing(number, Some(dialing))));
            }
        }
    }

    /// Whether calls share several connections to a server: then the engine alone knows which one a call takes.
    fn shares_several(&self) -> bool {
        self.io.config.shared_connections > 1
    }

    fn link(&self, conn: ConnId) -> Option<Arc<Link>> {
        self.table.link(conn).cloned()
    }
}

impl Actions<Owner> for Doing<'_> {
    fn resolve(&mut self, conn: ConnId, host: &str, port: u16) {
        let before = self.table.resolve(conn);
        self.effects.drop.extend(before);
        self.effects.resolve.push((conn, host.to_owned(), port));
    }

    fn ask_credentials(&mut self, conn: ConnId, address: &Address) {
        self.effects.ask.push((conn, address.clone()));
    }

    fn remind(&mut self, at: Instant) {
        self.effects.remind.push(at);
    }

    fn dial(&mut self, conn: ConnId, peer: Peer, address: &Address, facts: &Arc<Facts>) {
        let (number, before) = self.table.dial(conn);
        self.effects.drop.extend(before);
        let (address, facts) = (address.clone(), Arc::clone(facts));
        self.effects.dial.push(Dial { conn, number, peer, address, facts });
    }

    fn send(
        &mut self,
        conn: ConnId,
        attempt: AttemptId,
        request: Box<Request>,
        now: Instant,
    ) -> std::result::Result<usize, Box<Request>> {
        let Some(link) = self.table.link(conn) else { return Err(request) };
        self.effects.push(link);
        let Some(sent) = contain(|| link.send(attempt, request, now)) else {
            // Its calls and this one end by the defect.
            let link = Arc::clone(link);
            self.effects.defects.push((link, attempt));
            return Ok(usize::MAX);
        };
        sent
    }

    fn abandon(
        &mut self,
        conn: ConnId,
        attempt: AttemptId,
        key: usize,
        now: Instant,
        patience: Duration,
    ) -> Option<Left> {
        let link = self.table.link(conn)?;
        self.effects.push(link);
        link.abandon(attempt, key, now, patience)
    }

    fn is_quiet(&self, conn: ConnId, now: Instant) -> bool {
        self.table.link(conn).is_some_and(|link| link.is_quiet(now))
    }

    fn is_suspect(&self, conn: ConnId) -> bool {
        self.table.link(conn).is_some_and(|link| link.is_suspect())
    }

    fn health(&self, conn: ConnId) -> Health {
        self.table.link(conn).map(|link| link.health()).unwrap_or_default()
    }

    fn retire(&mut self, conn: ConnId) {
        match self.link(conn) {
            Some(link) => {
                link.retire();
                self.effects.push(&link);
            }
            None => self.effects.events.push(News::Gone(conn).into()),
        }
    }

    fn close(&mut self, conn: ConnId, cause: Error) {
        match self.table.remove(conn) {
            Some(Conn::Open(link)) => self.effects.close.push((link, cause)),
            Some(other) => self.effects.drop.push(other),
            None => {}
        }
    }

    fn serve(&mut self, node: NodeId, conn: Option<ConnId>) {
        let link = conn.and_then(|conn| self.link(conn));
        let before = self.io.served.serve(node, self.io.only == Some(node) && !self.shares_several(), link);
        self.effects.drop.extend(before.map(Conn::Open));
    }

    fn route(&mut self, routes: Option<Arc<Routes>>) {
        self.io.served.route(routes.filter(|_| !self.shares_several()));
    }

    fn account(&mut self, owner: &mut Owner, spent: Spent, node: Option<Arc<str>>) {
        if let Some(metered) = owner.metered() {
            (metered.spent, metered.node) = (spent, node);
        }
    }

    fn complete(&mut self, owner: Owner, result: Result<Reply>, arrived: Option<Reply>) {
        self.effects.complete.push((owner, result, arrived));
    }

    fn keep(&mut self, request: Box<Request>) {
        self.io.keep(request);
    }

    fn take_request(&mut self) -> Box<Request> {
        self.io.take_request(Shape::Single)
    }

    fn log(&mut self, record: Record) {
        self.effects.log.push(record);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use crate::net::testing::Server;
    use crate::{Client, Credentials, Error, Options};

    #[test]
    fn nothing_is_left_of_a_connection_that_was_replaced() {
        let server = Server::start(None);
        let url = format!("redis://127.0.0.1:{}", server.port);
        let admin = Client::open(&url, &Options::default()).unwrap();
        for user in ["user0", "user1"] {
            admin.command(("ACL", "SETUSER", user, "on", ">secret", "+@all")).unwrap();
        }
        let asked = AtomicUsize::new(0);
        let mut options = Options::default();
        options.credentials(move |_| {
            let user = asked.fetch_add(1, Ordering::Relaxed) % 2;
            Ok::<_, Error>(Credentials::new("secret").username(format!("user{user}")))
        });
        let client = Client::open(&url, &options).unwrap();
        for _ in 0..20 {
            client.reauthenticate().unwrap();
            client.command("PING").unwrap();
        }
        assert!(client.stats().reconnects >= 10, "another user takes another connection");
        assert_eq!(client.io().core.lock().engine.held().conns, 1);
    }
}
