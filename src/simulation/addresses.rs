//! A host with several addresses, of which none answers, calls that wait for it, and its second tries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::network::Network;
use crate::base::credentials::Credentials;
use crate::base::purpose::Purpose;
use crate::config::{Config, Options};
use crate::core::{Call, ConnId, Engine, View, Way, Work};
use crate::error::{Error, Status};
use crate::request::route::ReadFrom;
use crate::request::{Flags, Request, Shape};
use crate::resp::Pool;

/// Of one server.
const URL: &str = "redis://host.example";

struct World {
    engine: Engine<u64>,
    network: Network,
    now: Instant,
}

impl World {
    /// A client that has a call to send, and has found so many addresses of its server.
    fn new(connect_timeout: Duration, url: &str, addresses: u8) -> (World, ConnId) {
        let mut options = Options::default();
        options.connect_timeout(connect_timeout).expect("valid").credentials_later(drop);
        let config = Config::new(url, &options).expect("a URL");
        let (pool, now) = (Arc::new(Pool::default()), Instant::now());
        let network = Network::new(fastrand::Rng::with_seed(7), Arc::clone(&pool), now, Vec::new());
        let mut world = World { engine: Engine::new(Arc::new(config), pool), network, now };
        world.submit(0);
        let conn = world.network.resolving().expect("it looks the host up");
        world.network.resolved(conn);
        let found = (1..=addresses).map(|number| SocketAddr::from(([10, 0, 0, number], 6379))).collect();
        world.engine.resolved(now, &mut world.network, conn, Ok(found));
        (world, conn)
    }

    fn submit(&mut self, owner: u64) {
        let work = self.ping();
        self.submit_work(owner, work);
    }

    fn ping(&self) -> Work {
        let mut request = Box::<Request>::default();
        request.reset(Shape::Single);
        request.command(&[b"PING"], Flags::NONE).expect("accepted");
        Work::Send(request, Purpose::Calls)
    }

    fn submit_work(&mut self, owner: u64, work: Work) {
        let timeout = Duration::from_secs(60);
        let view = View { read_from: ReadFrom::Primary, way: Way::Random };
        let call = Call { owner, work, view, timeout, deadline: self.now + timeout };
        self.engine.submit(self.now, &mut self.network, call);
    }

    /// Calls, so many with the first one, of which none is left but that.
    fn submit_and_cancel(&mut self, calls: u64, work: impl Fn(&World) -> Work) {
        for owner in 1..calls {
            let work = work(self);
            self.submit_work(owner, work);
            self.engine.cancel(self.now, &mut self.network, owner, &|other| *other == owner);
        }
    }
}

#[test]
fn the_last_address_gets_the_time_that_is_left_and_no_more() {
    let connect_timeout = Duration::from_secs(2);
    let (mut world, conn) = World::new(connect_timeout, URL, 2);
    // So many leave times behind that those are swept out which nothing waits for.
    world.submit_and_cancel(1000, World::ping);
    let end = world.now + 2 * connect_timeout;
    while let Some(at) = world.engine.next_tick().filter(|at| *at <= end) {
        world.network.now = at;
        world.engine.tick(at, &mut world.network);
    }
    assert!(!world.network.dialing().contains(&conn), "it is tried for longer than the time to connect");
    assert!(world.network.resolving().is_some(), "it is tried again");
}

#[test]
fn each_of_many_addresses_gets_the_time_that_one_far_away_needs() {
    let (mut world, _) = World::new(Duration::from_secs(5), URL, 50);
    assert_eq!(world.engine.next_tick(), Some(world.now + Duration::from_secs(1)));
}

#[test]
fn calls_that_are_over_do_not_pile_up_behind_one_that_waits() {
    let many_of = |mut world: World, work: fn(&World) -> Work| {
        world.submit_and_cancel(10_000, work);
        let held = world.engine.held();
        assert!(held.calls == 1 && held.stale < 200, "{held:?}");
    };
    let many = |world| many_of(world, World::ping);
    // For a connection that is being made, for the next attempt to make one, and for the slot map.
    many(World::new(Duration::from_secs(5), URL, 1).0);
    let (mut world, conn) = World::new(Duration::from_secs(5), URL, 1);
    let refused = Error::new(Status::Connect, "connection refused");
    world.engine.refused(world.now, &mut world.network, conn, refused);
    many(world);
    many(World::new(Duration::from_secs(5), "redis+cluster://host.example", 1).0);
    // For the login of a connection.
    let (mut world, conn) = World::new(Duration::from_secs(5), URL, 1);
    world.engine.connected(world.now, &mut world.network, conn);
    many_of(world, |_| Work::LogIn);
}

/// What spoilt its first try may have been HELLO, and its login is kept for the second.
#[test]
fn a_connection_that_is_tried_again_is_given_nothing_that_was_asked_for_before_all_are_to_log_in_again() {
    for logs_in in [false, true] {
        let (mut world, first) = World::new(Duration::from_secs(5), URL, 1);
        world.engine.connected(world.now, &mut world.network, first);
        let (conn, asked) = world.network.asked.pop_front().expect("it asks for credentials");
        let given = Ok(Arc::new(Credentials::new("old")));
        world.engine.credentials(world.now, &mut world.network, conn, asked, given);
        let second = world.network.resolving().expect("another try");
        world.now += Duration::from_secs(1);
        world.network.now = world.now;
        if logs_in {
            world.submit_work(1, Work::LogIn);
        }
        world.network.resolved(second);
        let found = Ok(vec![SocketAddr::from(([10, 0, 0, 1], 6379))]);
        world.engine.resolved(world.now, &mut world.network, second, found);
        world.engine.connected(world.now, &mut world.network, second);
        assert_eq!(world.network.asked.len(), usize::from(logs_in));
    }
}
