//! A real server of a test's own, in a directory of its own, gone with the test however that ends.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;
use super::front::Front;
use super::place::{BUS, Directory, SOCKET, free_port};
use super::raw::{Raw, Value};
use super::tls::{Certs, Identity};

/// Which server a test runs against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Binary {
    /// `redis-server` on PATH.
    #[default]
    Default,
    Redis62,
    Redis74,
    Redis82,
    Valkey81,
    Valkey91,
}

impl Binary {
    /// The name that scripts/servers gives it; none for the one on PATH.
    fn name(self) -> Option<&'static str> {
        match self {
            Binary::Default => None,
            Binary::Redis62 => Some("redis-6.2"),
            Binary::Redis74 => Some("redis-7.4"),
            Binary::Redis82 => Some("redis-8.2"),
            Binary::Valkey81 => Some("valkey-8.1"),
            Binary::Valkey91 => Some("valkey-9.1"),
        }
    }

    /// The program to run; fetched by scripts/servers when it isn't there yet.
    pub fn path(self) -> PathBuf {
        static FETCHED: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
        match self.name() {
            None => "redis-server".into(),
            Some(name) => {
                FETCHED.get_or_init(fetch).get(name).expect("scripts/servers knows this version").clone()
            }
        }
    }
}

/// Every server that the library is tested against.
pub fn all_versions() -> impl Iterator<Item = Binary> {
    use Binary::*;
    [Default, Redis62, Redis74, Redis82, Valkey81, Valkey91].into_iter()
}

fn fetch() -> HashMap<String, PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/servers");
    let output = Command::new(&script).stderr(Stdio::inherit()).output().expect("scripts/servers starts");
    assert!(output.status.success(), "scripts/servers failed; its last line above says why");
    let text = String::from_utf8(output.stdout).expect("scripts/servers prints text");
    let entry = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let (path, _version) = rest.rsplit_once(' ')?;
        Some((name.to_owned(), PathBuf::from(path)))
    };
    text.lines().map(|line| entry(line).expect("scripts/servers prints name, path, version")).collect()
}

/// What to start; see [`Server::builder`].
#[derive(Clone)]
pub struct Builder {
    binary: Binary,
    /// Where the TCP port is opened. The first one is what clients are told.
    addresses: &'static [IpAddr],
    cluster: bool,
    /// The configuration file of a sentinel, which this then is.
    sentinel: Option<String>,
    password: Option<String>,
    tls: Option<(Certs, Identity)>,
    client_certs: bool,
    front: Option<Certs>,
    args: Vec<String>,
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

impl Builder {
    pub fn binary(mut self, binary: Binary) -> Self {
        self.binary = binary;
        self
    }

    /// No TCP port, only the Unix socket.
    pub fn unix_only(mut self) -> Self {
        self.addresses = &[];
        self
    }

    /// Listens on `[::1]` besides 127.0.0.1.
    pub fn ipv6(mut self) -> Self {
        self.addresses = &[V4, V6];
        self
    }

    /// Listens on `[::1]` instead of 127.0.0.1.
    pub fn ipv6_only(mut self) -> Self {
        self.addresses = &[V6];
        self
    }

    pub(super) fn cluster(mut self) -> Self {
        self.cluster = true;
        self
    }

    /// A sentinel, with this configuration file, in which it keeps what it learns: after a restart it knows it still.
    pub(super) fn sentinel(mut self, config: &str) -> Self {
        self.sentinel = Some(config.to_owned());
        self
    }

    /// The default user's password, here and on the primary that this server may come to follow.
    pub fn password(mut self, password: &str) -> Self {
        self.password = Some(password.to_owned());
        self
    }

    /// TLS on the TCP port, with this identity (the Unix socket stays plain). The default binary and
    /// [`Binary::Redis74`] can.
    pub fn tls(mut self, certs: &Certs, identity: Identity) -> Self {
        self.tls = Some((certs.clone(), identity));
        self
    }

    /// TLS in front of a server that has none: clients, other servers and sentinels are all told the port of a
    /// [`Front`], where each of them is answered in what it speaks.
    pub fn tls_in_front(mut self, certs: &Certs) -> Self {
        self.front = Some(certs.clone());
        self
    }

    /// Refuses TLS clients without a certificate of the same authority.
    pub fn client_certs_required(mut self) -> Self {
        self.client_certs = true;
        self
    }

    /// One setting, as on the command line: `arg("maxmemory", "1mb")`. A value of several words: separated by a space.
    pub fn arg(mut self, setting: &str, value: &str) -> Self {
        self.args.push(format!("--{setting}"));
        self.args.extend(
            if value.is_empty() { vec![""] } else { value.split(' ').collect() }
                .into_iter()
                .map(str::to_owned),
        );
        self
    }

    /// Starts the server and waits until it answers.
    pub fn start(self) -> Server {
        let dir = Directory::create();
        if let Some((certs, identity)) = &self.tls {
            certs.write(&dir.0, *identity);
        }
        let front = self.front.as_ref().map(|certs| Front::bind(certs.identity(Identity::Valid)));
        if let Some(config) = &self.sentinel {
            let announced = front.as_ref().map(|front| format!("sentinel announce-port {}\n", front.port()));
            let config = announced.unwrap_or_default() + config;
            fs::write(dir.0.join(SENTINEL), config).expect("a sentinel's configuration in its directory");
        }
        // Another process may take the port between choosing it and listening on it.
        for _ in 0..20 {
            let port = if self.addresses.is_empty() { 0 } else { free_port(self.addresses) };
            let mut args = self.args(&dir.0, port);
            if let Some(front) = &front {
                self.announce(front.port(), port, &mut args);
            }
            match Process::start(&self.binary.path(), &args, &dir.0) {
                Ok(process) => {
                    let front = front.map(|front| front.lead_to((V4, port).into()));
                    return Server { process: Mutex::new(Some(process)), args, port, dir, front, plan: self };
                }
                Err(log) if log.contains("ddress already in use") => {}
                Err(log) => panic!("{:?} did not start; its log:\n{log}", self.binary),
            }
        }
        panic!("no free port found for {:?}", self.binary);
    }

    /// Has a server tell others the port in front of it. What a sentinel announces is in its configuration.
    fn announce(&self, front: u16, port: u16, args: &mut Vec<OsString>) {
        let bus = port + BUS;
        let settings = match (&self.sentinel, self.cluster) {
            (Some(_), _) => vec![],
            (None, true) => vec![("cluster-announce-port", front), ("cluster-announce-bus-port", bus)],
            (None, false) => vec![("replica-announce-port", front)],
        };
        for (setting, value) in settings {
            args.extend([format!("--{setting}").into(), value.to_string().into()]);
        }
    }

    fn args(&self, dir: &Path, port: u16) -> Vec<OsString> {
        let mut args: Vec<OsString> = Vec::new();
        let mut set = |setting: &str, values: &[&str]| {
            args.push(format!("--{setting}").into());
            args.extend(values.iter().map(OsString::from));
        };
        let port = port.to_string();
        let path =
            |file: &str| dir.join(file).to_str().expect("the temporary directory's name is UTF-8").to_owned();
        let bind: Vec<String> = self.addresses.iter().map(IpAddr::to_string).collect();
        if !bind.is_empty() {
            set("bind", &bind.iter().map(String::as_str).collect::<Vec<_>>());
        }
        set("unixsocket", &[&path(SOCKET)]);
        set("dir", &[&path("")]);
        set("save", &[""]);
        set("appendonly", &["no"]);
        if self.tls.is_some() {
            set("port", &["0"]);
            set("tls-port", &[&port]);
            set("tls-cert-file", &[&path("server.crt")]);
            set("tls-key-file", &[&path("server.key")]);
            set("tls-ca-cert-file", &[&path("ca.crt")]);
            set("tls-auth-clients", &[if self.client_certs { "yes" } else { "no" }]);
            // As a client of other servers, each of which asks for a certificate on the cluster's bus.
            set("tls-client-cert-file", &[&path("client.crt")]);
            set("tls-client-key-file", &[&path("client.key")]);
            set("tls-replication", &["yes"]);
            set("tls-cluster", &["yes"]);
        } else {
            set("port", &[&port]);
        }
        if let Some(password) = &self.password {
            set("requirepass", &[password]);
            set("masterauth", &[password]);
        }
        if self.cluster {
            set("cluster-enabled", &["yes"]);
        }
        args.extend(self.args.iter().map(OsString::from));
        if self.sentinel.is_some() {
            args.insert(0, path(SENTINEL).into());
            args.push("--sentinel".into());
        }
        args
    }
}

/// A running server.
pub struct Server {
    // Before the directory, so that the server is gone when that is removed.
    process: Mutex<Option<Process>>,
    dir: Directory,
    args: Vec<OsString>,
    port: u16,
    front: Option<Front>,
    plan: Builder,
}

impl Server {
    pub fn builder() -> Builder {
        Builder {
            binary: Binary::Default,
            addresses: &[V4],
            cluster: false,
            sentinel: None,
            password: None,
            tls: None,
            client_certs: false,
            front: None,
            args: Vec::new(),
        }
    }

    /// The default server, on a TCP port and a Unix socket.
    pub fn start() -> Server {
        Server::builder().start()
    }

    /// Where to connect: TCP (or TLS) if it listens there, otherwise the Unix socket. Carries the password.
    pub fn url(&self) -> String {
        if self.plan.addresses.is_empty() {
            return self.unix_url();
        }
        format!("{}://{}{}", self.scheme(), self.userinfo(), self.address())
    }

    /// `redis` or, with TLS, `rediss`.
    pub fn scheme(&self) -> &'static str {
        if self.plan.tls.is_some() || self.front.is_some() { "rediss" } else { "redis" }
    }

    /// Where it listens on TCP, with or without TLS.
    #[track_caller]
    pub fn address(&self) -> SocketAddr {
        let port = self.front.as_ref().map_or(self.port, Front::port);
        SocketAddr::new(*self.plan.addresses.first().expect("a server with a TCP port"), port)
    }

    /// Where the other nodes of a cluster reach it.
    pub fn bus_port(&self) -> u16 {
        self.port + BUS
    }

    pub fn unix_url(&self) -> String {
        format!("unix://{}{}", self.userinfo(), self.unix_path().display())
    }

    /// What a URL has before the host; nothing without a password.
    pub(super) fn userinfo(&self) -> String {
        let userinfo = |password| format!(":{}@", utf8_percent_encode(password, NON_ALPHANUMERIC));
        self.password().map(userinfo).unwrap_or_default()
    }

    pub fn unix_path(&self) -> PathBuf {
        self.dir.0.join(SOCKET)
    }

    /// The TCP port, with or without TLS.
    #[track_caller]
    pub fn port(&self) -> u16 {
        self.address().port()
    }

    pub fn password(&self) -> Option<&str> {
        self.plan.password.as_deref()
    }

    pub fn binary(&self) -> Binary {
        self.plan.binary
    }

    /// Its directory: `log`, and with TLS `ca.crt`, `server.crt`, `client.crt` and their keys (`.key`).
    pub fn dir(&self) -> &Path {
        &self.dir.0
    }

    pub fn log(&self) -> String {
        read_log(&self.dir.0)
    }

    #[track_caller]
    pub fn pid(&self) -> u32 {
        self.running().as_ref().expect("the server is running").child.id()
    }

    /// Whether the process was started and has not been killed by the test.
    pub fn is_running(&self) -> bool {
        self.running().is_some()
    }

    /// SIGKILL; returns when the process is gone. Killing a dead server does nothing.
    pub fn kill(&self) {
        self.running().take();
    }

    /// SIGSTOP: connections stay open, nothing is answered. [`Server::resume`] lets it go on.
    #[track_caller]
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT.
    #[track_caller]
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills the server if it lives, and starts it again, empty, at the same address.
    #[track_caller]
    pub fn restart(&self) {
        let mut running = self.running();
        running.take();
        match Process::start(&self.plan.binary.path(), &self.args, &self.dir.0) {
            Ok(process) => *running = Some(process),
            Err(log) => panic!("the server did not start again; its log:\n{log}"),
        }
    }

    #[track_caller]
    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).expect("a child has a valid pid");
        kill_process(pid, signal).expect("the server can be signalled");
    }

    fn running(&self) -> MutexGuard<'_, Option<Process>> {
        // A test that failed in here elsewhere must still be able to clean up.
        self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

const SENTINEL: &str = "sentinel.conf";

fn read_log(dir: &Path) -> String {
    fs::read(dir.join("log")).map(|log| String::from_utf8_lossy(&log).into_owned()).unwrap_or_default()
}

/// A server process; dropping it kills it.
struct Process {
    child: Child,
    watchdog: Child,
}

impl Process {
    /// Starts a server and waits until it answers; the error is its log.
    fn start(program: &Path, args: &[OsString], dir: &Path) -> Result<Process, String> {
        let log = File::create(dir.join("log")).expect("a log in the server's directory");
        let child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("one more handle of the log"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{}: {error} (scripts/setup test installs it)", program.display())
            });
        let watchdog = watch(&child, dir);
        let mut process = Process { child, watchdog };

        let deadline = Instant::now() + PATIENCE;
        loop {
            if process.child.try_wait().expect("a child can be waited for").is_some() {
                return Err(read_log(dir));
            }
            if answers(&dir.join(SOCKET)) {
                return Ok(process);
            }
            if Instant::now() > deadline {
                return Err(format!("{}\n(no answer within {PATIENCE:?})", read_log(dir)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether the server is ready. Asked through the Unix socket: no other server can answer in its place there, and
/// it opens after the TCP ports.
fn answers(socket: &Path) -> bool {
    let ping = || Raw::unix(socket)?.try_cmd(&["PING"]);
    // Any other error (NOAUTH) comes from a server that works.
    matches!(ping(), Ok(reply) if !matches!(&reply, Value::Error(text) if text.starts_with("LOADING")))
}

/// Kills the server and removes its directory should the test process die without cleaning up: the shell's read ends
/// when the pipe from that process does. In a group of its own, so that what kills a whole group of tests spares it.
fn watch(server: &Child, dir: &Path) -> Child {
    Command::new("/bin/sh")
        .args(["-c", "trap '' INT TERM HUP; read -r _; kill -9 \"$0\"; rm -rf \"$1\""])
        .arg(server.id().to_string())
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("/bin/sh starts")
}

impl Drop for Process {
    fn drop(&mut self) {
        // The watchdog first: once the server has been waited for, its pid may belong to someone else.
        for child in [&mut self.watchdog, &mut self.child] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
