//! A server behind one address becomes a replica while connections to it live: a failover behind a name or a proxy.

use crate::support;

use std::thread;
use std::time::Duration;

use rs_script::{Client, Kind, Options, Queue, ReadFrom, Script, Status};
use support::calls::{COUNT, LONG, NONE, take};
use support::proxy::Proxy;
use support::raw::{Raw, blocked_clients};
use support::replication::Replicated;
use support::server::{Server, all_versions};
use support::wait_until;

/// A primary with a replica, and a proxy that stands for the name that leads to the primary.
struct Failover {
    servers: Replicated,
    proxy: Proxy,
}

impl Failover {
    fn start(servers: Replicated) -> Failover {
        let proxy = Proxy::start(servers.primary().address());
        Failover { servers, proxy }
    }

    fn client(&self, options: &mut Options) -> Client {
        let options = options.call_timeout(LONG).unwrap();
        Client::open(&self.proxy.url(), options).unwrap()
    }

    /// Promotes the replica, and has the name lead there. Connections stay where they are.
    fn switch_over(&self) {
        self.demote();
        self.proxy.lead_to(self.servers.primary().address());
    }

    /// Promotes the replica; the name leads to the old primary still.
    fn demote(&self) {
        self.servers.wait_until_in_sync();
        self.servers.promote(0);
    }

    fn number(&self) -> i64 {
        let number = Raw::connect(self.servers.primary()).ok(&["GET", "n"]);
        number.text().parse().unwrap()
    }
}

#[test]
fn a_command_that_waits_goes_on_at_the_new_primary() {
    for binary in all_versions() {
        let failover = Failover::start(Replicated::builder(1).binary(binary).start());
        let client = failover.client(Options::default().reconnect_attempts(0));
        let is_waited_at = |server: &Server| blocked_clients(server) == 1;
        thread::scope(|scope| {
            let waits = scope.spawn(|| client.command(&["BLPOP", "list", "0"]));
            wait_until("it waits", || is_waited_at(failover.servers.primary()));
            failover.switch_over();
            let new = failover.servers.primary();
            wait_until("it waits at the new one", || is_waited_at(new) || waits.is_finished());
            Raw::connect(new).ok(&["RPUSH", "list", "x"]);
            let reply = waits.join().unwrap().unwrap();
            assert_eq!(reply.get(1).and_then(|element| element.as_str()), Some("x"));
        });
    }
}

#[test]
fn calls_after_a_switch_over_run_once_on_the_new_primary() {
    for binary in all_versions() {
        let failover = Failover::start(Replicated::builder(1).binary(binary).start());
        let client = failover.client(&mut Options::default());
        let count = Script::new(COUNT);
        let queue = Queue::new(8).unwrap();
        let mut expected = 0;
        for way in ["script", "command", "transaction", "submitted script", "submitted command"] {
            client.call(&count, &["n"], &NONE).unwrap();
            failover.switch_over();
            let result = match way {
                "script" => client.call(&count, &["n"], &NONE).map(|reply| reply.as_i64()),
                "command" => client.command(&["INCR", "n"]).map(|reply| reply.as_i64()),
                "transaction" => {
                    let mut transaction = client.transaction();
                    transaction.command(&["INCR", "n"]).unwrap();
                    transaction.exec().map(|replies| replies.get(0).unwrap().as_i64())
                }
                "submitted script" => {
                    client.submit(&queue, 1, &count, &["n"], &NONE).unwrap();
                    take(&queue, 1).remove(0).result.map(|reply| reply.as_i64())
                }
                _ => {
                    client.submit_command(&queue, 1, &["INCR", "n"]).unwrap();
                    take(&queue, 1).remove(0).result.map(|reply| reply.as_i64())
                }
            };
            expected += 2;
            assert_eq!(result, Ok(Some(expected)), "{binary:?}: {way}");
            assert_eq!(failover.number(), expected, "{binary:?}: {way}");
        }
        assert_eq!(client.stats().reconnects, 5, "{binary:?}");
    }
}

#[test]
fn after_a_pipeline_that_met_a_replica_the_next_one_meets_the_primary() {
    for binary in all_versions() {
        let failover = Failover::start(Replicated::builder(1).binary(binary).start());
        let client = failover.client(&mut Options::default());
        let count = Script::new(COUNT);
        let queue = Queue::new(8).unwrap();
        for submitted in [false, true] {
            for atomic in [false, true] {
                client.call(&count, &["n"], &NONE).unwrap();
                failover.switch_over();
                let before = failover.number();
                let run = || {
                    let mut pipeline = if atomic { client.transaction() } else { client.pipeline() };
                    pipeline.script(&count, &["n"], &NONE).unwrap().command(&["GET", "n"]).unwrap();
                    if submitted {
                        pipeline.submit(&queue, 1).unwrap();
                        return take(&queue, 1).remove(0).result.unwrap();
                    }
                    pipeline.exec().unwrap()
                };
                let replies = run();
                let error = replies.get(0).unwrap().as_error().expect("the replica's refusal");
                assert!(error.message().contains("READONLY"), "{binary:?}: {error}");
                // Whether the server is a replica is asked behind a submitted pipeline's back.
                wait_until("the pipeline meets the primary", || {
                    run().get(0).unwrap().as_i64().is_some_and(|number| number == before + 1)
                });
            }
        }
    }
}

#[test]
fn a_call_waits_for_the_name_to_lead_to_the_new_primary() {
    let failover = Failover::start(Replicated::start(1));
    let client = failover.client(Options::default().reconnect_attempts(0));
    let count = Script::new(COUNT);
    client.call(&count, &["n"], &NONE).unwrap();
    failover.demote();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| client.call(&count, &["n"], &NONE));
        wait_until("the call looks for another server", || failover.proxy.connections() >= 4);
        failover.proxy.lead_to(failover.servers.primary().address());
        assert_eq!(waiting.join().unwrap().unwrap().as_i64(), Some(2));
    });
}

#[test]
fn many_threads_get_through_a_switch_over() {
    let failover = Failover::start(Replicated::start(1));
    let client = failover.client(&mut Options::default());
    let count = Script::new(COUNT);
    for _ in 0..4 {
        client.call(&count, &["n"], &NONE).unwrap();
        failover.switch_over();
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| client.call(&count, &["n"], &NONE).unwrap());
            }
        });
    }
    assert_eq!(failover.number(), 4 * 17);
}

#[test]
fn a_server_that_stays_a_replica_is_given_up_after_as_many_connections_as_the_options_say() {
    let failover = Failover::start(Replicated::start(1));
    let client = failover.client(Options::default().reconnect_attempts(3));
    failover.demote();
    let count = Script::new(COUNT);
    let before = failover.proxy.connections();
    let error = client.call(&count, &["n"], &NONE).unwrap_err();
    assert_eq!((error.status(), error.server_code()), (Status::Server, Some("READONLY")), "{error}");
    assert_eq!(failover.proxy.connections() - before, 3);
    // Reading goes on.
    assert!(client.command(&["GET", "n"]).unwrap().root().is_nil());
}

#[test]
fn a_forged_readonly_of_a_script_that_has_written_runs_once() {
    for binary in all_versions() {
        let server = Server::builder().binary(binary).start();
        let client = Client::open(&server.url(), &Options::default()).unwrap();
        let queue = Queue::new(8).unwrap();
        let forge = Script::new("redis.call('INCR', 'n') return redis.error_reply(ARGV[1])");
        let texts = [
            "READONLY You can't write against a read only replica.".to_owned(),
            format!(
                "READONLY You can't write against a read only replica. script: {}, on @user_script:1.",
                forge.sha_hex()
            ),
            "ERR Error running script (call to f_0): @user_script:1: -READONLY You can't write against a read \
             only replica."
                .to_owned(),
        ];
        let mut runs = 0;
        for text in &texts {
            let error = client.call(&forge, &NONE, &[text]).unwrap_err();
            assert_eq!(error.status(), Status::Server, "{error}");
            client.submit(&queue, 1, &forge, &NONE, &[text]).unwrap();
            let error = take(&queue, 1).remove(0).result.unwrap_err();
            assert_eq!(error.status(), Status::Server, "{error}");
            let mut pipeline = client.pipeline();
            pipeline.script(&forge, &NONE, &[text]).unwrap();
            assert_eq!(pipeline.exec().unwrap().get(0).unwrap().kind(), Kind::Error);
            pipeline.script(&forge, &NONE, &[text]).unwrap();
            pipeline.submit(&queue, 1).unwrap();
            take(&queue, 1).remove(0).result.unwrap();
            runs += 4;
            let ran = Raw::connect(&server).ok(&["GET", "n"]).text();
            assert_eq!(ran, runs.to_string(), "{binary:?}: {text}");
        }
        assert_eq!(client.stats().reconnects, 0, "{binary:?}");
    }
}

#[test]
fn a_user_who_may_not_ask_for_the_role_is_led_to_the_new_primary_too() {
    for binary in all_versions() {
        let failover = Failover::start(Replicated::builder(1).binary(binary).start());
        for server in failover.servers.servers() {
            Raw::connect(server).ok(&["ACL", "SETUSER", "u", "on", ">p", "~*", "+@all", "-role"]);
        }
        let url = format!("redis://u:p@{}", failover.proxy.address());
        let client = Client::open(&url, &Options::default()).unwrap();
        let count = Script::new(COUNT);
        client.call(&count, &["n"], &NONE).unwrap();
        failover.switch_over();
        assert_eq!(client.call(&count, &["n"], &NONE).unwrap().as_i64(), Some(2), "{binary:?}");
    }
}

#[test]
fn a_client_that_reads_from_replicas_writes_to_the_new_primary() {
    let failover = Failover::start(Replicated::start(1));
    let client = failover.client(Options::default().read_from(ReadFrom::PreferReplica));
    let count = Script::new(COUNT);
    client.call(&count, &["n"], &NONE).unwrap();
    failover.switch_over();
    let late = client.with_timeout(Duration::from_secs(30));
    assert_eq!(late.command(&["INCR", "n"]).unwrap().as_i64(), Some(2));
}
