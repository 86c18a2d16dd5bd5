//! How the client's owner is asked for credentials, each time on a thread of its own, and how connections that stand
//! are renewed in time.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Instant;

use super::Io;
use super::events::Event;
use super::helpers::{Done, Helpers};
use crate::base::credentials::{Credentials, CredentialsRequest};
use crate::base::defect::contain;
use crate::base::threads::{self, Place, Thread};
use crate::base::times::LONGEST_WAIT;
use crate::core::ConnId;
use crate::error::{Error, Result, Status};
use crate::ffi::sys::cancel::Held;
use crate::ffi::sys::lock::{Condvar, Mutex};
use crate::net::address::Address;
use crate::net::reason;

/// Connections that wait for one answer: more than this are looked through for those that are no more.
const MANY: usize = 64;

/// A client's questions under way.
#[derive(Default)]
pub(super) struct Logins {
    /// The last one about each server. One outlives an engine that has panicked, and is for the next one's connections
    /// as well.
    asked: Mutex<HashMap<Address, Arc<Question>>>,
    helpers: Helpers,
    keeper: Mutex<Option<Keeper>>,
}

/// A question, and whom its answer is for: while the callback has neither answered nor returned, it is not called
/// again for the same server.
struct Question(Mutex<Asked>);

struct Asked {
    since: Instant,
    conns: Vec<ConnId>,
    is_over: bool,
}

impl Question {
    fn new(conn: ConnId) -> Self {
        Question(Mutex::new(Asked { since: Instant::now(), conns: vec![conn], is_over: false }))
    }

    /// Has a connection wait for the answer too; `false`: it has been given, or may never be.
    fn join(&self, conn: ConnId, is_there: impl Fn(ConnId) -> bool) -> bool {
        let mut asked = self.0.lock();
        if asked.is_over {
            return false;
        }
        if asked.conns.len() >= MANY {
            asked.conns.retain(|conn| is_there(*conn));
        }
        asked.conns.push(conn);
        true
    }

    /// The callback has returned: whoever comes now asks anew.
    fn end(&self) {
        self.0.lock().is_over = true;
    }

    /// It is answered: since when it was asked, and those who have waited.
    fn answer(&self) -> (Instant, Vec<ConnId>) {
        let mut asked = self.0.lock();
        asked.is_over = true;
        (asked.since, std::mem::take(&mut asked.conns))
    }
}

impl Logins {
    /// Asks for the credentials of a server; [`Event::Credentials`] has the answer.
    pub(super) fn ask(&self, io: &Io, conn: ConnId, address: &Address) -> Result<()> {
        let Some(provider) = io.config.credentials.clone() else { return Ok(()) };
        // Up to the end: another connection to this server must find the question, or ask itself.
        let mut asked = self.asked.lock();
        let before = asked.get(address);
        if before.is_some_and(|question| question.join(conn, |conn| io.core.lock().table.has(conn))) {
            return Ok(());
        }
        asked.retain(|_, question| !question.0.lock().is_over);
        let question = Arc::new(Question::new(conn));
        let put = Arc::clone(&question);
        let io = Weak::clone(&io.me);
        let name = address.to_string();
        let spawned = self.helpers.start("rs_script-login", move |done| {
            let (its_done, its_question) = (done.clone(), Arc::clone(&question));
            let answer = move |found| deliver(&io, &its_question, &its_done, found);
            let request = CredentialsRequest::new(name, Box::new(answer));
            contain(|| threads::call_back(move || provider.ask(request)));
            question.end();
        });
        spawned.map_err(|error| {
            let text = format!("no thread could be started to ask for credentials: {}", reason(&error));
            Error::new(Status::Resources, text).sent(false)
        })?;
        // One that nobody is asked would be joined, and never answered.
        asked.insert(address.clone(), put);
        Ok(())
    }

    /// See that the engine is told the time at `at`, whoever else does so.
    pub(super) fn remind(&self, io: &Io, at: Instant) {
        let mut keeper = self.keeper.lock();
        if keeper.is_none() && !io.is_closed() {
            let alarms = Arc::<Alarms>::default();
            let (its_alarms, its_io) = (Arc::clone(&alarms), Weak::clone(&io.me));
            // Without a thread it is done whenever somebody makes a call that the engine is asked for.
            let thread = threads::spawn("rs_script-login", move || keep(&its_io, &its_alarms));
            *keeper = thread.ok().map(|thread| Keeper { alarms, thread });
        }
        if let Some(keeper) = &*keeper {
            keeper.alarms.add(at);
        }
    }

    /// Waits for the threads that end by themselves, and lets the others go; for when the client is closed.
    pub(super) fn end(&self) {
        let keeper = self.keeper.lock().take();
        if let Some(Keeper { alarms, thread }) = keeper {
            alarms.stop();
            match threads::place() {
                Place::Outside => drop(threads::join(thread)),
                _ => threads::let_go(thread),
            }
        }
        self.helpers.end();
    }
}

/// Gives an answer to the connections that wait for it. It may be the last thing that is done with the client, which
/// is closed then.
fn deliver(io: &Weak<Io>, question: &Question, done: &Done, found: Result<Arc<Credentials>>) {
    let Some(io) = io.upgrade().filter(|io| io.check_process().is_ok()) else { return };
    let (since, conns) = question.answer();
    // Who is told of it may end the client, and waits for this thread then.
    done.set();
    io.take_credentials(conns.into_iter().map(|conn| Event::Credentials(conn, since, found.clone())));
}

/// Renews connections when nobody else would: blocking callers whose ways are plain turn no reactor.
struct Keeper {
    alarms: Arc<Alarms>,
    thread: Thread<()>,
}

#[derive(Default)]
struct Alarms {
    state: Mutex<Times>,
    changed: Condvar,
}

#[derive(Default)]
struct Times {
    due: BTreeSet<Instant>,
    is_stopped: bool,
}

impl Alarms {
    fn add(&self, at: Instant) {
        self.state.lock().due.insert(at);
        self.changed.notify_one();
    }

    fn stop(&self) {
        self.state.lock().is_stopped = true;
        self.changed.notify_one();
    }

    /// Sleeps until the next one is due; `false`: until there will be none.
    fn sleep(&self) -> bool {
        let mut times = self.state.lock();
        loop {
            let now = Instant::now();
            if times.is_stopped {
                return false;
            }
            match times.due.first() {
                Some(&at) if at <= now => {
                    times.due.retain(|at| *at > now);
                    return true;
                }
                Some(&at) => drop(self.changed.wait_until(&mut times, at)),
                None => drop(self.changed.wait_for(&mut times, LONGEST_WAIT)),
            }
        }
    }
}

fn keep(io: &Weak<Io>, alarms: &Alarms) {
    let _held = Held::new();
    while alarms.sleep() {
        let Some(io) = io.upgrade() else { return };
        contain(|| io.tick());
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Ipv4Addr, TcpListener};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::io::link::Listener;
    use crate::net::testing::Server;
    use crate::{Client, Options, Queue};

    const LONG: Duration = Duration::from_secs(60);

    fn wait_until(what: &str, is_so: impl Fn() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < LONG, "{what}");
            std::thread::yield_now();
        }
    }

    /// How many connections wait for an answer.
    fn waiting(client: &Client) -> usize {
        client.io().logins.asked.lock().values().map(|it| it.0.lock().conns.len()).sum()
    }

    /// A server, and its user `app` whose password a callback knows; that waits each time until it may go on.
    struct Guarded {
        server: Server,
        admin: Client,
        password: Arc<Mutex<&'static str>>,
        options: Options,
        is_asked: mpsc::Receiver<()>,
        goes_on: mpsc::Sender<()>,
    }

    impl Guarded {
        fn start() -> Guarded {
            let server = Server::start(None);
            let admin = Client::open(&url(&server), &Options::default()).unwrap();
            let password = Arc::new(Mutex::new(""));
            let (asked, is_asked) = mpsc::channel();
            let (goes_on, go_on) = mpsc::channel();
            let (its_password, go_on) = (Arc::clone(&password), Mutex::new(go_on));
            let mut options = Options::default();
            options.call_timeout(LONG).unwrap().connect_timeout(LONG).unwrap();
            options.credentials(move |_| {
                let known = *its_password.lock();
                asked.send(()).unwrap();
                go_on.lock().recv().unwrap();
                Ok::<_, Error>(Credentials::new(known).username("app"))
            });
            let guarded = Guarded { server, admin, password, options, is_asked, goes_on };
            guarded.rotate("old");
            guarded
        }

        fn open(&self) -> Client {
            Client::open(&url(&self.server), &self.options).unwrap()
        }

        fn rotate(&self, password: &'static str) {
            *self.password.lock() = password;
            let rule = format!(">{password}");
            self.admin.command(("ACL", "SETUSER", "app", "on", "resetpass", &rule, "+@all", "~*")).unwrap();
        }

        fn wait_until_asked(&self) {
            self.is_asked.recv_timeout(LONG).unwrap();
        }

        fn go_on(&self, times: usize) {
            (0..times).for_each(|_| self.goes_on.send(()).unwrap());
        }
    }

    fn url(server: &Server) -> String {
        format!("redis://127.0.0.1:{}", server.port)
    }

    #[test]
    fn who_logs_in_again_is_not_given_what_was_asked_for_before() {
        let guarded = Guarded::start();
        guarded.go_on(1);
        let client = guarded.open();
        guarded.wait_until_asked();
        std::thread::scope(|scope| {
            let pop = scope.spawn(|| client.command(("BLPOP", "list", "0")));
            guarded.wait_until_asked();
            guarded.rotate("new");
            let again = scope.spawn(|| client.reauthenticate());
            wait_until("it asks", || waiting(&client) == 2);
            guarded.go_on(3);
            assert_eq!(again.join().unwrap(), Ok(()));
            client.close();
            assert!(pop.join().unwrap().is_err());
        });
    }

    #[test]
    fn who_connects_after_that_is_not_given_what_was_asked_for_before() {
        let mut guarded = Guarded::start();
        guarded.options.lazy_connect(true);
        let client = guarded.open();
        std::thread::scope(|scope| {
            let pop = scope.spawn(|| client.command(("BLPOP", "list", "0")));
            guarded.wait_until_asked();
            guarded.rotate("new");
            assert_eq!(client.reauthenticate(), Ok(()));
            let ping = scope.spawn(|| client.command("PING").map(drop));
            wait_until("it asks", || waiting(&client) == 2);
            guarded.go_on(3);
            let outcome = ping.join().unwrap();
            client.close();
            drop(pop.join().unwrap());
            assert_eq!(outcome, Ok(()));
        });
    }

    /// Each question is overtaken by another call that has all connections log in again.
    #[test]
    fn logins_end_however_often_they_are_asked_for_anew() {
        for is_lazy in [false, true] {
            let server = Server::start(None);
            let (asked, is_asked) = mpsc::channel();
            let (goes_on, go_on) = mpsc::channel();
            let go_on = Mutex::new(go_on);
            let mut options = Options::default();
            options.call_timeout(LONG).unwrap().connect_timeout(LONG).unwrap().lazy_connect(true);
            options.credentials(move |_| {
                asked.send(()).unwrap();
                let _ = go_on.lock().recv();
                Ok::<_, Error>(Credentials::new("").username("default"))
            });
            let client = Client::open(&url(&server), &options).unwrap();
            if !is_lazy {
                goes_on.send(()).unwrap();
                client.command("PING").unwrap();
                is_asked.recv_timeout(LONG).unwrap();
            }
            let ended = AtomicUsize::new(0);
            std::thread::scope(|scope| {
                let first = scope.spawn(|| match is_lazy {
                    true => client.command("PING").map(drop),
                    false => client.reauthenticate(),
                });
                let mut questions = 0;
                while !first.is_finished() && questions < 10 {
                    if is_asked.recv_timeout(Duration::from_millis(100)).is_err() {
                        continue;
                    }
                    questions += 1;
                    scope.spawn(|| {
                        let _ = client.reauthenticate();
                        ended.fetch_add(1, Ordering::SeqCst);
                    });
                    wait_until("the call", || {
                        let ended = ended.load(Ordering::SeqCst) + usize::from(first.is_finished());
                        ended + client.io().core.lock().engine.held().calls > questions
                    });
                    goes_on.send(()).unwrap();
                }
                drop(goes_on);
                first.join().unwrap().unwrap();
                assert!(questions < 5, "{questions} questions, is_lazy: {is_lazy}");
            });
        }
    }

    #[test]
    fn an_answer_is_for_the_connection_of_an_engine_that_has_taken_anothers_place() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let (asked, is_asked) = mpsc::channel();
        let (goes_on, go_on) = mpsc::channel();
        let go_on = Mutex::new(go_on);
        let mut options = Options::default();
        options.lazy_connect(true).call_timeout(LONG).unwrap().connect_timeout(LONG).unwrap();
        options.credentials(move |_| {
            asked.send(()).unwrap();
            go_on.lock().recv().unwrap();
            Ok::<_, Error>(Credentials::new("secret"))
        });
        let client = Client::open(&format!("redis://{}", server.local_addr().unwrap()), &options).unwrap();
        let queue = Queue::new(10).unwrap();
        client.submit_command(&queue, 1, "PING").unwrap();
        let first = server.accept().unwrap();
        is_asked.recv_timeout(LONG).unwrap();
        client.io().start_anew(0);
        let mut ended = Vec::new();
        queue.poll(&mut ended, 1, LONG);
        assert_eq!(ended.remove(0).result.unwrap_err().status(), Status::Internal);
        client.submit_command(&queue, 2, "PING").unwrap();
        let (mut second, _) = server.accept().unwrap();
        wait_until("it asks", || waiting(&client) == 2);
        goes_on.send(()).unwrap();
        second.set_read_timeout(Some(LONG)).unwrap();
        let mut said = [0; 1024];
        let count = second.read(&mut said).expect("it logs in");
        assert!(memchr::memmem::find(&said[..count], b"secret").is_some());
        drop((first, goes_on));
    }
}
