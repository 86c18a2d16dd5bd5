//! Credentials that the client's owner is asked for: whenever a connection is made, and again while it stands.

use crate::support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rs_script::{
    Client, Credentials, CredentialsRequest, Error, LogLevel, Options, Queue, Reason, Script, Status,
};
use support::calls::{LONG, options, take};
use support::cluster::Cluster;
use support::fake::Fake;
use support::raw::{Raw, calls_of};
use support::sentinel::Sentinels;
use support::server::Server;
use support::{OnDrop, SLACK, wait_for, wait_until};

const NONE: &[&[u8]] = &[];

/// The password of the user `app`, as the servers have it and as the client's owner knows it.
fn set_password(server: &Server, password: &str) {
    Raw::connect(server).ok(&[
        "ACL",
        "SETUSER",
        "app",
        "on",
        "resetpass",
        &format!(">{password}"),
        "~*",
        "&*",
        "+@all",
    ]);
}

fn server_with(password: &str) -> Server {
    let server = Server::start();
    set_password(&server, password);
    server
}

/// A place where the client's owner keeps what is to be given.
#[derive(Clone, Default)]
struct Vault(Arc<Inner>);

#[derive(Default)]
struct Inner {
    password: Mutex<String>,
    user: Mutex<Option<String>>,
    lifetime: Mutex<Option<Duration>>,
    asked: Mutex<Vec<String>>,
    log: Mutex<Vec<(LogLevel, String)>>,
}

impl Vault {
    fn of(password: &str) -> Vault {
        let vault = Vault::default();
        vault.set(password);
        vault
    }

    fn set(&self, password: &str) {
        *self.0.password.lock().unwrap() = password.to_owned();
    }

    fn credentials(&self) -> Credentials {
        let user = self.0.user.lock().unwrap().clone();
        let credentials = Credentials::new(self.0.password.lock().unwrap().as_str())
            .username(user.as_deref().unwrap_or("app"));
        match *self.0.lifetime.lock().unwrap() {
            Some(lifetime) => credentials.lifetime(lifetime),
            None => credentials,
        }
    }

    /// How often it was asked.
    fn asked(&self) -> usize {
        self.0.asked.lock().unwrap().len()
    }

    fn options(&self) -> Options {
        let mut options = options(LONG);
        let (vault, heard) = (self.clone(), self.clone());
        options.credentials(move |node| {
            vault.0.asked.lock().unwrap().push(node.to_owned());
            Ok::<_, Error>(vault.credentials())
        });
        options.log(move |event| heard.0.log.lock().unwrap().push((event.level, event.message.to_owned())));
        options
    }

    fn open(&self, url: &str) -> Client {
        Client::open(url, &self.options()).unwrap()
    }

    /// Whether the log has had a line at this level with these words.
    fn has_heard(&self, level: LogLevel, words: &str) -> bool {
        self.0.log.lock().unwrap().iter().any(|(of, text)| *of == level && text.contains(words))
    }
}

fn works(client: &Client) {
    // A connection that ends this moment does it no harm.
    let script = Script::idempotent("return ARGV[1] + 3");
    assert_eq!(client.call(&script, NONE, &["4"]).unwrap().as_i64(), Some(7));
}

fn who_am_i(client: &Client) -> String {
    client.command(&["ACL", "WHOAMI"]).unwrap().as_str().unwrap().to_owned()
}

/// Ends the client's connections, from the server's side.
fn disconnect(server: &Server) {
    let mut raw = Raw::connect(server);
    raw.ok(&["CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal"]);
    wait_until("the end of the client's connections", || {
        raw.ok(&["CLIENT", "LIST"]).text().lines().count() == 1
    });
}

/// The connections that the user `app` has, by their numbers.
fn connections(server: &Server) -> Vec<String> {
    let list = Raw::connect(server).ok(&["CLIENT", "LIST"]).text();
    let of_app = list.lines().filter(|line| line.contains(" user=app "));
    of_app.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

#[test]
fn each_connection_asks_and_gets_what_is_right_by_then() {
    // As long as those of IAM.
    let long = "t".repeat(3000);
    let server = server_with(&long);
    let vault = Vault::of(&long);
    let client = vault.open(&server.url());
    works(&client);
    assert_eq!(who_am_i(&client), "app");
    assert_eq!(*vault.0.asked.lock().unwrap(), [server.address().to_string()]);

    // Rotated: the connection stands, the next one has the new password.
    set_password(&server, "second");
    works(&client);
    assert_eq!(vault.asked(), 1);
    vault.set("second");
    disconnect(&server);
    works(&client);
    assert_eq!(vault.asked(), 2);

    // Rotated, and the owner does not know it.
    set_password(&server, "third");
    disconnect(&server);
    let error = wait_for("a call that finds no connection", || {
        client.command(&["PING"]).err().filter(|error| !error.is_indeterminate())
    });
    assert_eq!(error.status(), Status::Auth, "{error}");
    assert!(error.is_not_executed() && error.message().contains("WRONGPASS"), "{error}");
    assert!(!error.message().contains("second"), "{error}");
    vault.set("third");
    wait_until("a connection with the new password", || client.command(&["PING"]).is_ok());
}

#[test]
fn every_way_to_log_in_takes_them() {
    // The second asks for none, and takes any.
    let servers = [Server::builder().password("given").start(), Server::start()];
    for (server, protocols) in
        servers.iter().zip([&["", "?protocol=2", "?protocol=3"][..], &["", "?protocol=3"]])
    {
        for protocol in protocols {
            for url in [
                format!("redis://{}{protocol}", server.address()),
                format!("unix://{}{protocol}", server.unix_path().display()),
            ] {
                let mut options = options(LONG);
                options.credentials(|_| Ok::<_, Error>(Credentials::new("given")));
                let client = Client::open(&url, &options).unwrap();
                works(&client);
                client.reauthenticate().unwrap();
                works(&client);
            }
        }
    }
}

#[test]
fn a_password_besides_is_refused() {
    for url in ["redis://:secret@127.0.0.1:1", "redis://user:secret@127.0.0.1:1"] {
        let error = Client::open(url, &Vault::of("p").options()).expect_err(url);
        assert_eq!(error.status(), Status::InvalidOption, "{error}");
        assert!(
            error.message().contains("option credentials") && !error.message().contains("secret"),
            "{error}"
        );
    }
    let error = Client::open("redis://127.0.0.1:1", Vault::of("p").options().password("q")).unwrap_err();
    assert_eq!(error.status(), Status::InvalidOption, "{error}");
}

#[test]
fn reauthenticate_logs_in_on_the_connection_that_stands() {
    let server = server_with("first");
    let vault = Vault::of("first");
    let client = vault.open(&server.url());
    works(&client);
    let before = connections(&server);
    let logins = calls_of(&server, "auth");
    set_password(&server, "second");
    vault.set("second");
    client.reauthenticate().unwrap();
    assert_eq!(connections(&server), before, "another connection");
    assert_eq!(calls_of(&server, "auth"), logins + 1);
    assert_eq!(client.stats().reconnects, 0);
    assert!(vault.has_heard(LogLevel::Info, "logged in again"));

    // Refused, it serves on, and tries again by itself.
    set_password(&server, "third");
    let error = client.reauthenticate().unwrap_err();
    assert_eq!(error.status(), Status::Auth, "{error}");
    assert!(error.is_not_executed() && error.message().contains("WRONGPASS"), "{error}");
    assert_eq!(error.node(), Some(server.address().to_string().as_str()));
    works(&client);
    assert_eq!(connections(&server), before);
    assert!(vault.has_heard(LogLevel::Warning, "refused the login on a connection that stands"));
    let asked = vault.asked();
    vault.set("third");
    let logins = calls_of(&server, "auth");
    wait_until("another try", || calls_of(&server, "auth") > logins);
    assert!(vault.asked() > asked);
    wait_until("a call on it", || {
        works(&client);
        vault.0.log.lock().unwrap().iter().filter(|(_, text)| text.contains("logged in again")).count() == 2
    });
    assert_eq!(connections(&server), before);
}

/// A connection that was being made by then counts, too.
#[test]
fn reauthenticate_tells_of_a_login_that_is_refused_while_a_connection_is_made() {
    let server = server_with("right");
    for is_given in [true, false] {
        let (sender, requests) = mpsc::channel::<CredentialsRequest>();
        let mut options = options(LONG);
        options.lazy_connect(true).reconnect_attempts(1);
        options.credentials_later(move |request| sender.send(request).unwrap());
        let client = Client::open(&server.url(), &options).unwrap();
        let mut calls = Vec::new();
        let call = |what: fn(&Client) -> Result<(), Error>| {
            let client = client.clone();
            thread::spawn(move || what(&client))
        };
        calls.push(call(|client| client.command(&["PING"]).map(drop)));
        let first = requests.recv_timeout(SLACK).unwrap();
        calls.push(call(Client::reauthenticate));
        // Time for it to begin.
        thread::sleep(Duration::from_millis(100));
        let mut request = Some(first);
        while let Some(asked) = request {
            match is_given {
                true => asked.answer(Credentials::new("wrong").username("app")),
                false => drop(asked),
            }
            request = requests.recv_timeout(Duration::from_millis(300)).ok();
        }
        for call in calls {
            let error = call.join().unwrap().expect_err("a refusal");
            assert_eq!(error.status(), Status::Auth, "{error}");
            assert!(!error.message().contains("wrong"), "{error}");
        }
    }
}

/// Whoever waits for a login waits for that of the connection that takes another's place as well.
#[test]
fn reauthenticate_waits_for_a_connection_that_is_made_anew_without_what_spoilt_it() {
    let server = Fake::start(|conn| {
        while let Some(command) = conn.read_command() {
            match &command[0][..] {
                b"HELLO" => return, // it hangs up
                b"AUTH" => conn.write(b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"),
                _ => conn.write(b"-NOAUTH Authentication required.\r\n"),
            }
        }
    });
    let (sender, requests) = mpsc::channel::<CredentialsRequest>();
    let mut options = options(LONG);
    options.lazy_connect(true).reconnect_attempts(1);
    options.credentials_later(move |request| sender.send(request).unwrap());
    let client = Client::open(&server.url(), &options).unwrap();
    let call = || Credentials::new("wrong").username("app");
    thread::scope(|scope| {
        let ping = scope.spawn(|| client.command(&["PING"]).map(drop));
        let first = requests.recv_timeout(SLACK).unwrap();
        let again = scope.spawn(|| client.reauthenticate());
        // Time for it to begin.
        thread::sleep(Duration::from_millis(100));
        first.answer(call());
        // What the first had been asked for before that is no good; with the second answer HELLO is said.
        requests.recv_timeout(SLACK).unwrap().answer(call());
        let third = requests.recv_timeout(SLACK).unwrap();
        thread::sleep(Duration::from_millis(100));
        let was_over = again.is_finished();
        third.answer(call());
        let ends = [again.join().unwrap(), ping.join().unwrap()];
        assert!(!was_over, "it was over before there was a login: {ends:?}");
        ends.into_iter().for_each(|end| assert_eq!(end.unwrap_err().status(), Status::Auth));
    });
}

#[test]
fn reauthenticate_tells_of_a_callback_that_does_not_answer_while_a_connection_is_made() {
    let server = server_with("right");
    let (sender, requests) = mpsc::channel::<CredentialsRequest>();
    let mut options = options(LONG);
    options.lazy_connect(true).reconnect_attempts(1).connect_timeout(Duration::from_millis(500)).unwrap();
    options.credentials_later(move |request| sender.send(request).unwrap());
    let client = Client::open(&server.url(), &options).unwrap();
    thread::scope(|scope| {
        let ping = scope.spawn(|| client.command(&["PING"]).map(drop));
        let asked = requests.recv_timeout(SLACK).unwrap();
        let error = client.reauthenticate().unwrap_err();
        assert_eq!((error.status(), error.reason()), (Status::Auth, Reason::Deadline), "{error}");
        assert_eq!(error.node(), Some(server.address().to_string().as_str()));
        assert!(error.message().contains("credentials callback did not answer"), "{error}");
        assert_eq!(ping.join().unwrap().unwrap_err().status(), Status::Connect);
        drop(asked);
    });
}

#[test]
fn reauthenticate_tells_whether_another_user_could_log_in() {
    let server = server_with("right");
    Raw::connect(&server).ok(&["ACL", "SETUSER", "other", "on", ">right", "~*", "&*", "+@all"]);
    let vault = Vault::of("right");
    let client = vault.open(&server.url());
    works(&client);
    *vault.0.user.lock().unwrap() = Some("other".to_owned());
    client.reauthenticate().unwrap();
    let list = Raw::connect(&server).ok(&["CLIENT", "LIST"]).text();
    assert!(list.contains(" user=other "), "it has not logged in: {list}");
    assert_eq!(who_am_i(&client), "other");
    *vault.0.user.lock().unwrap() = Some("nobody".to_owned());
    let error = client.reauthenticate().unwrap_err();
    assert_eq!(error.status(), Status::Auth, "{error}");
}

#[test]
fn a_client_with_nobody_to_ask_says_so() {
    let server = Server::start();
    let client = Client::open(&server.url(), &options(LONG)).unwrap();
    let error = client.reauthenticate().unwrap_err();
    assert_eq!(error.status(), Status::InvalidArgument, "{error}");
    client.close();
    assert_eq!(client.reauthenticate().unwrap_err().status(), Status::Closed);
}

/// AUTH goes between the calls of others, and its reply is nobody's.
#[test]
fn logins_get_between_calls_of_every_kind() {
    let server = server_with("p");
    let vault = Vault::of("p");
    let client = vault.open(&server.url());
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for number in 0..4 {
            let (client, is_over) = (client.clone(), &is_over);
            scope.spawn(move || {
                let script = Script::new("return ARGV[1]");
                let mut round = 0;
                while !is_over.load(Ordering::Relaxed) {
                    round += 1;
                    let word = format!("{number}:{round}");
                    assert_eq!(client.call(&script, NONE, &[&word]).unwrap().as_str(), Some(word.as_str()));
                    let mut pipeline = if round % 2 == 0 { client.pipeline() } else { client.transaction() };
                    for item in 0..20 {
                        pipeline.command(&["ECHO", &format!("{word}:{item}")]).unwrap();
                        pipeline.script(&script, NONE, &[&word]).unwrap();
                    }
                    let reply = pipeline.exec().unwrap();
                    for (item, pair) in reply.root().elements().collect::<Vec<_>>().chunks(2).enumerate() {
                        assert_eq!(pair[0].as_str(), Some(format!("{word}:{item}").as_str()));
                        assert_eq!(pair[1].as_str(), Some(word.as_str()));
                    }
                }
            });
        }
        let end = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        for _ in 0..100 {
            client.reauthenticate().unwrap();
        }
        drop(end);
    });
    assert_eq!(client.stats().reconnects, 0);
    assert_eq!(client.stats().in_flight, 0);
    assert!(calls_of(&server, "auth") >= 100);
}

/// Nobody makes a call, and nobody turns the reactor: they are renewed all the same, on the connection that stands.
#[test]
fn what_expires_is_renewed_in_time() {
    let server = server_with("first");
    let vault = Vault::of("first");
    *vault.0.lifetime.lock().unwrap() = Some(Duration::from_secs(1));
    let blocking = vault.open(&server.url());
    works(&blocking);
    let before = connections(&server);
    for round in 1..=2 {
        let logins = calls_of(&server, "auth");
        wait_until("a login", || calls_of(&server, "auth") > logins);
        assert!(vault.asked() > round);
        // Its reply, that nobody has read yet, is not taken for a call's.
        works(&blocking);
    }
    assert_eq!(connections(&server), before);
    drop(blocking);

    for queue in [Queue::new(10).unwrap(), Queue::without_thread(10).unwrap()] {
        let client = vault.open(&server.url());
        client.submit_command(&queue, 1, &["PING"]).unwrap();
        assert_eq!(take(&queue, 1)[0].result.as_ref().unwrap().as_str(), Some("PONG"));
        let logins = calls_of(&server, "auth");
        wait_until("two logins", || {
            queue.poll(&mut Vec::new(), 1, Duration::from_millis(1));
            calls_of(&server, "auth") > logins + 1
        });
        assert_eq!(client.stats().reconnects, 0);
    }
}

#[test]
fn a_callback_that_fails_is_the_error_of_its_connection() {
    let server = server_with("p");
    let fails = Arc::new(AtomicBool::new(true));
    let its_fails = Arc::clone(&fails);
    let mut options = options(LONG);
    options.credentials(move |_| match its_fails.load(Ordering::Relaxed) {
        true => Err("the vault is sealed"),
        false => Ok(Credentials::new("p").username("app")),
    });
    let error = Client::open(&server.url(), &options).expect_err("no credentials");
    assert_eq!(error.status(), Status::Auth, "{error}");
    assert!(error.is_not_executed() && error.message().contains("the vault is sealed"), "{error}");
    assert_eq!(error.node(), Some(server.address().to_string().as_str()));

    let client = Client::open(&server.url(), options.lazy_connect(true)).unwrap();
    assert_eq!(client.command(&["PING"]).unwrap_err().status(), Status::Auth);
    fails.store(false, Ordering::Relaxed);
    wait_until("a connection", || client.command(&["PING"]).is_ok());
    // On a connection that stands it does no harm.
    fails.store(true, Ordering::Relaxed);
    let error = client.reauthenticate().unwrap_err();
    assert!(error.message().contains("the vault is sealed"), "{error}");
    works(&client);

    for bad in [
        |_: CredentialsRequest| panic!("a panic of the callback's, as the test wants it"),
        |request: CredentialsRequest| drop(request),
        |request: CredentialsRequest| request.answer(Credentials::new("p").username("")),
    ] {
        options.credentials_later(bad).lazy_connect(false);
        let error = Client::open(&server.url(), &options).expect_err("no credentials");
        assert_eq!(error.status(), Status::Auth, "{error}");
        assert!(error.message().contains("no credentials from the callback"), "{error}");
    }
}

/// What a callback waits for, until the test lets it go on.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let mut is_open = self.0.0.lock().unwrap();
        while !*is_open {
            is_open = self.0.1.wait(is_open).unwrap();
        }
    }
}

#[test]
fn a_callback_that_hangs_keeps_no_call_beyond_its_deadline_and_is_called_once() {
    let server = server_with("p");
    let (gate, asked) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let (its_gate, its_asked) = (gate.clone(), Arc::clone(&asked));
    let mut options = Options::default();
    options.lazy_connect(true).connect_timeout(Duration::from_millis(100)).unwrap();
    options.reconnect_attempts(0).credentials(move |_| {
        its_asked.fetch_add(1, Ordering::Relaxed);
        its_gate.pass();
        Ok::<_, Error>(Credentials::new("p").username("app"))
    });
    let client = Client::open(&server.url(), &options).unwrap();
    let mut texts = String::new();
    for _ in 0..3 {
        let short = client.with_timeout(Duration::from_millis(300));
        let before = Instant::now();
        let error = short.command(&["PING"]).unwrap_err();
        assert!(before.elapsed() < SLACK);
        assert!(error.is_not_executed(), "{error}");
        assert!([Status::Timeout, Status::Connect].contains(&error.status()), "{error}");
        assert_eq!(error.reason(), Reason::Deadline, "{error}");
        texts.push_str(error.message());
    }
    // One attempt to connect may have been at its beginning when the time was over.
    assert!(texts.contains("the credentials callback did not answer"), "{texts}");
    assert_eq!(asked.load(Ordering::Relaxed), 1, "asked again while the first still thinks");
    // What it says in the end is good for the connection that waits by then.
    let waiting = thread::spawn({
        let client = client.with_timeout(LONG);
        move || client.command(&["PING"]).map(drop)
    });
    gate.open();
    waiting.join().unwrap().unwrap();
    works(&client.with_timeout(LONG));
}

/// A callback that goes on with something else once it has answered is in nobody's way: the next question does not wait
/// for its return.
#[test]
fn nobody_waits_for_what_a_callback_does_behind_its_answer() {
    let server = server_with("p");
    let (gate, asked) = (Gate::default(), Arc::new(AtomicUsize::new(0)));
    let (its_gate, its_asked) = (gate.clone(), Arc::clone(&asked));
    let mut options = options(LONG);
    options.credentials_later(move |request| {
        let is_first = its_asked.fetch_add(1, Ordering::Relaxed) == 0;
        request.answer(Credentials::new("p").username("app"));
        if is_first {
            its_gate.pass();
        }
    });
    let client = Client::open(&server.url(), &options).unwrap();
    let (sender, ended) = mpsc::channel();
    let again = thread::spawn({
        let client = client.clone();
        move || sender.send(client.reauthenticate()).unwrap()
    });
    let outcome = ended.recv_timeout(SLACK);
    gate.open();
    again.join().unwrap();
    outcome.expect("an end, while the first question's callback runs").unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    works(&client);
}

#[test]
fn a_client_is_closed_while_its_callback_hangs() {
    let server = server_with("p");
    let (gate, asked) = (Gate::default(), Gate::default());
    let (sender, ended) = mpsc::channel();
    let (its_gate, its_asked) = (gate.clone(), asked.clone());
    let mut options = options(LONG);
    options.lazy_connect(true).credentials(move |_| {
        its_asked.open();
        its_gate.pass();
        sender.send(()).unwrap();
        Ok::<_, Error>(Credentials::new("p"))
    });
    let client = Client::open(&server.url(), &options).unwrap();
    let caller = thread::spawn({
        let client = client.clone();
        move || client.command(&["PING"]).unwrap_err()
    });
    asked.pass();
    client.close();
    let error = caller.join().unwrap();
    assert_eq!(error.status(), Status::Closed, "{error}");
    drop(client);
    gate.open();
    ended.recv_timeout(SLACK).unwrap();
}

#[test]
fn an_answer_may_come_later_and_from_anywhere() {
    let server = server_with("p");
    let (sender, requests) = mpsc::channel::<CredentialsRequest>();
    let mut options = options(LONG);
    let sender = Mutex::new(sender);
    options.credentials_later(move |request| sender.lock().unwrap().send(request).unwrap());
    thread::scope(|scope| {
        let opening = scope.spawn(|| Client::open(&server.url(), &options).unwrap());
        let request = requests.recv_timeout(SLACK).unwrap();
        assert_eq!(request.node(), server.address().to_string());
        request.answer(Credentials::new("p").username("app"));
        let client = opening.join().unwrap();
        works(&client);

        // Never answered: the deadline ends the call; the next question is a new one.
        let short = client.with_timeout(Duration::from_millis(50));
        let error = short.reauthenticate().unwrap_err();
        assert_eq!((error.status(), error.reason()), (Status::Indeterminate, Reason::Deadline), "{error}");
        let kept = requests.recv_timeout(SLACK).unwrap();
        works(&client);
        let again = scope.spawn({
            let client = client.clone();
            move || client.reauthenticate()
        });
        kept.answer(Credentials::new("p").username("app"));
        requests.recv_timeout(SLACK).unwrap().answer(Credentials::new("p").username("app"));
        again.join().unwrap().unwrap();

        // Answered when the client is gone.
        let last = scope.spawn({
            let client = client.clone();
            move || client.reauthenticate()
        });
        let request = requests.recv_timeout(SLACK).unwrap();
        client.close();
        assert!(last.join().unwrap().is_err());
        drop(client);
        request.answer(Credentials::new("p"));
    });
}

#[test]
fn another_user_gets_a_new_connection() {
    let server = server_with("p");
    Raw::connect(&server).ok(&["ACL", "SETUSER", "other", "on", ">p", "~*", "+@all", "-multi"]);
    let vault = Vault::of("p");
    let client = vault.open(&server.url());
    assert_eq!(who_am_i(&client), "app");
    *vault.0.user.lock().unwrap() = Some("other".to_owned());
    client.reauthenticate().unwrap();
    wait_until("a connection of the other user", || who_am_i(&client) == "other");
    // What was learnt of the first one's rights is no proof for this one's.
    let mut transaction = client.transaction();
    transaction.command(&["SET", "k", "v"]).unwrap();
    let error = transaction.exec().unwrap_err();
    assert!(
        error.message().contains("the server refuses transactions, nothing of this one was sent"),
        "{error}"
    );
    assert!(vault.has_heard(LogLevel::Info, "the user has changed"));
    wait_until("the end of the connection before", || connections(&server).is_empty());
}

#[test]
fn a_command_that_waits_is_left_in_peace() {
    let server = server_with("first");
    let vault = Vault::of("first");
    let client = vault.open(&server.url());
    works(&client);
    let waiting = thread::spawn({
        let client = client.clone();
        move || {
            client
                .command(&["BLPOP", "list", "0"])
                .unwrap()
                .root()
                .get(1)
                .and_then(|word| word.as_str().map(str::to_owned))
        }
    });
    let mut raw = Raw::connect(&server);
    wait_until("a client that waits", || raw.info("clients", "blocked_clients").as_deref() == Some("1"));
    set_password(&server, "second");
    vault.set("second");
    client.reauthenticate().unwrap();
    assert_eq!(connections(&server).len(), 2);
    raw.ok(&["RPUSH", "list", "here"]);
    assert_eq!(waiting.join().unwrap().as_deref(), Some("here"));
}

#[test]
fn each_server_of_a_cluster_is_asked_for() {
    let cluster = Cluster::start(3, 0);
    for server in cluster.nodes() {
        set_password(server, "first");
    }
    let vault = Vault::of("first");
    let client = vault.open(&cluster.cluster_url());
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let everywhere = || {
        for node in 0..3 {
            client.call(&script, &[cluster.tag_on(node, "k")], NONE).unwrap();
        }
    };
    everywhere();
    let mut asked = vault.0.asked.lock().unwrap().clone();
    asked.sort();
    asked.dedup();
    let mut nodes: Vec<_> = cluster.nodes().iter().map(|server| server.address().to_string()).collect();
    nodes.sort();
    assert_eq!(asked, nodes);

    let logins = || cluster.nodes().iter().map(|server| calls_of(server, "auth")).collect::<Vec<_>>();
    let before = logins();
    for server in cluster.nodes() {
        set_password(server, "second");
    }
    vault.set("second");
    client.reauthenticate().unwrap();
    assert!(logins().iter().zip(&before).all(|(after, before)| after > before), "{:?} {before:?}", logins());
    everywhere();
    // One that refuses is told of, and named.
    set_password(cluster.node(1), "third");
    let error = client.reauthenticate().unwrap_err();
    assert_eq!(error.node(), Some(cluster.node(1).address().to_string().as_str()), "{error}");
    everywhere();
}

/// The callback for one server hangs: calls to the others do not notice.
#[test]
fn nothing_else_waits_for_a_callback_that_hangs() {
    let cluster = Cluster::start(3, 0);
    for server in cluster.nodes() {
        set_password(server, "p");
    }
    let gate = Gate::default();
    let (its_gate, slow) = (gate.clone(), cluster.node(1).address().to_string());
    let mut options = options(LONG);
    options.credentials(move |node| {
        if node == slow {
            its_gate.pass();
        }
        Ok::<_, Error>(Credentials::new("p").username("app"))
    });
    let urls: Vec<_> = [0, 2, 1].iter().map(|&node| cluster.node(node).address().to_string()).collect();
    let client = Client::open(&format!("redis+cluster://{}", urls.join(",")), &options).unwrap();
    let script = Script::new("return redis.call('INCR', KEYS[1])");
    let slow = thread::spawn({
        let (client, script, key) = (client.clone(), script.clone(), cluster.tag_on(1, "k"));
        move || client.call(&script, &[key], NONE).map(|reply| reply.as_i64())
    });
    for _ in 0..100 {
        for node in [0, 2] {
            client.call(&script, &[cluster.tag_on(node, "k")], NONE).unwrap();
        }
    }
    gate.open();
    assert_eq!(slow.join().unwrap().unwrap(), Some(1));
}

#[test]
fn sentinels_keep_their_own() {
    let sentinels = Sentinels::builder(1).sentinel_password("watch").start();
    for server in sentinels.servers() {
        set_password(server, "p");
    }
    let vault = Vault::of("p");
    let mut options = vault.options();
    options.sentinel_password("watch");
    let client = Client::open(&sentinels.url(), &options).unwrap();
    works(&client);
    client.reauthenticate().unwrap();
    let known: Vec<_> = sentinels.servers().iter().map(|server| server.address().to_string()).collect();
    assert!(vault.0.asked.lock().unwrap().iter().all(|node| known.contains(node)));
}

/// Servers quote the arguments of a command that they do not know.
#[test]
fn no_server_gets_a_password_into_a_message() {
    let server =
        Server::builder().arg("rename-command", "AUTH LOGIN").arg("rename-command", "HELLO HI").start();
    let secret = "correct-horse-battery";
    let vault = Vault::of(secret);
    let mut options = vault.options();
    options.lazy_connect(true);
    let by_callback = Client::open(&server.url(), &options).unwrap().command(&["PING"]).unwrap_err();
    let by_url = format!("redis://app:{secret}@{}", server.address());
    for error in [by_callback, Client::open(&by_url, &support::calls::options(LONG)).unwrap_err()] {
        assert_eq!(error.status(), Status::Auth, "{error}");
        assert!(error.message().contains("unknown command"), "{error}");
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
        let text = String::from_utf8_lossy(error.server_text().unwrap()).into_owned();
        assert!(!text.contains(secret), "{text}");
    }
    assert!(!vault.0.log.lock().unwrap().is_empty());
    assert!(vault.0.log.lock().unwrap().iter().all(|(_, text)| !text.contains(secret)));
    let debug = format!("{:?} {:?}", vault.credentials(), vault.options());
    assert!(!debug.contains(secret), "{debug}");
}
