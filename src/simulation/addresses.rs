//! A host with several addresses, of which none answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::network::Network;
use crate::config::{Config, Options};
use crate::core::{Call, Engine, View, Way, Work};
use crate::purpose::Purpose;
use crate::request::{Flags, Request, Shape};
use crate::resp::Pool;
use crate::route::ReadFrom;

#[test]
fn the_last_address_gets_the_time_that_is_left_and_no_more() {
    let connect_timeout = Duration::from_secs(2);
    let mut options = Options::default();
    options.connect_timeout(connect_timeout).expect("valid");
    let config = Config::new("redis://host.example", &options).expect("a URL");
    let (pool, now) = (Arc::new(Pool::default()), Instant::now());
    let mut network = Network::new(fastrand::Rng::with_seed(7), Arc::clone(&pool), now, Vec::new());
    let mut engine = Engine::new(Arc::new(config), pool);
    let call = |owner: u64| {
        let mut request = Box::<Request>::default();
        request.reset(Shape::Single);
        request.command(&[b"PING"], Flags::NONE).expect("accepted");
        let (work, timeout) = (Work::Send(request, Purpose::Calls), Duration::from_secs(60));
        let view = View { read_from: ReadFrom::Primary, way: Way::Random };
        Call { owner, work, view, timeout, deadline: now + timeout }
    };
    engine.submit(now, &mut network, call(0));
    let conn = network.resolving().expect("it looks the host up");
    network.resolved(conn);
    let found = ["10.0.0.1:6379", "10.0.0.2:6379"].map(|address| address.parse().expect("an address"));
    engine.resolved(now, &mut network, conn, Ok(found.to_vec()));
    // So many leave times behind that those are swept out which nothing waits for.
    for owner in 1..1000 {
        engine.submit(now, &mut network, call(owner));
        engine.cancel(now, &mut network, owner, &|other| *other == owner);
    }
    let end = now + 2 * connect_timeout;
    while let Some(at) = engine.next_tick().filter(|at| *at <= end) {
        network.now = at;
        engine.tick(at, &mut network);
    }
    assert!(!network.dialing().contains(&conn), "it is tried for longer than the time to connect");
    assert!(network.resolving().is_some(), "it is tried again");
}
