//! What one server does with a command: why it refuses it, what it runs, what it answers.

use super::functions::stands_for;
use super::peer::{Call, Peer, item_of};
use super::replication::{Ran, UNBLOCKED};
use super::words::bulk;
use super::{Fleet, Moving, NAMED, SCRIPTS};
use crate::request::slots;
use crate::session::simulation::{PUSHES, parse};
use crate::simulation::trace;
use crate::simulation::traits::Kind;

const NOSCRIPT: &str = "-NOSCRIPT No matching script. Please use EVAL.\r\n";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
const READONLY: &str = "-READONLY You can't write against a read only replica.\r\n";
const LOADING: &str = "-LOADING Redis is loading the dataset in memory\r\n";
const BUSY: &str =
    "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n";
const MASTERDOWN: &str =
    "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n";
const TRYAGAIN: &str = "-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
const CLUSTERDOWN: &str = "-CLUSTERDOWN The cluster is down\r\n";
const OOM: &str = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";

impl Fleet {
    /// Whether the script of an item makes an error up, once it has run.
    pub(in crate::simulation) fn forges(&self, item: u64) -> bool {
        self.traits.forges && item % 8 == 3 && item < self.forges_until
    }

    /// Takes bytes from a connection, and gives the answers.
    pub(in crate::simulation) fn receive(&mut self, place: usize, peer: &mut Peer, bytes: &[u8]) -> Vec<u8> {
        peer.received.extend_from_slice(bytes);
        let mut replies = Vec::new();
        if peer.waiting.is_some() {
            if !self.serves_waiting || self.rng.u8(..) < 128 {
                return replies;
            }
            if let Some(command) = peer.waiting.take() {
                let reply = match command[0].as_slice() {
                    // That it is a primary again by now does not bring back who waited.
                    _ if self.was_demoted_since(place, peer) => Some(UNBLOCKED.into()),
                    b"WAIT" => self.answer_wait(place, peer, &command),
                    _ => Some(self.execute(place, peer, &command)),
                };
                match reply {
                    Some(reply) => replies.extend_from_slice(reply.as_bytes()),
                    None => peer.waiting = Some(command),
                }
            }
        }
        let mut at = 0;
        while peer.waiting.is_none()
            && let Some((command, length)) = parse(&peer.received[at..])
        {
            at += length;
            self.witness.commands += 1;
            if self.rng.u8(..) < self.flushes {
                if self.rng.bool() {
                    self.lose(place);
                } else {
                    self.servers[place].scripts.evict();
                }
            }
            self.may_replicate(place);
            self.may_catch_up(place);
            let shown = trace_of(&command);
            let reply = self.answer(place, peer, command);
            peer.position += length as u64;
            trace::note(|| format!("{} gets {}: {}", self.name(place), shown(), reply.trim().escape_debug()));
            while peer.resp3 && self.traits.pushes && self.rng.u8(..) < 40 {
                replies.extend_from_slice(PUSHES[self.rng.usize(..PUSHES.len())]);
            }
            replies.extend_from_slice(reply.as_bytes());
        }
        peer.received.drain(..at);
        replies
    }

    fn answer(&mut self, place: usize, peer: &mut Peer, command: Vec<Vec<u8>>) -> String {
        peer.losses.get_or_insert(self.servers[place].scripts.losses);
        let item = item_of(&command);
        if let Some(call) = Call::of(&command) {
            let before = peer.has_carried.replace(call);
            if before.is_some_and(|before| before == Call::Waits || call == Call::Waits) {
                self.witness.fault(format!("item {item:?} shares a connection with one that waits"));
            }
        }
        if self.traits.replicated {
            self.reserve(peer, &command, item);
        }
        if let Some(item) = item {
            self.witness.note(item).arrived += 1;
            if peer.is_asking {
                self.witness.asked.remove(&(item, place));
            }
        }
        if command[0] == b"ASKING" {
            peer.is_asking = true;
            return "+OK\r\n".into();
        }
        let reply = match (&mut peer.multi, command[0].as_slice()) {
            (None, b"MULTI") if self.rights.no_multi => {
                if peer.is_asking {
                    // ASKING was for it alone, then, and those behind it come without.
                    self.witness.asked.retain(|(_, to)| *to != place);
                }
                forbidden("multi")
            }
            (None, b"MULTI") => {
                peer.multi = Some(Vec::new());
                "+OK\r\n".into()
            }
            (None, b"EXEC") => "-ERR EXEC without MULTI\r\n".into(),
            (Some(_), b"EXEC") => self.exec(place, peer),
            (Some(_), _) => match self.refusal(place, peer, &command) {
                Some(refusal) => {
                    peer.is_aborted = true;
                    refusal
                }
                None => {
                    peer.multi.get_or_insert_default().push(command);
                    "+QUEUED\r\n".into()
                }
            },
            (None, _) => match self.refusal(place, peer, &command) {
                Some(refusal) => refusal,
                None => self.run(place, peer, &command),
            },
        };
        if let (Some(item), true) = (item, reply.starts_with('-')) {
            self.witness.note(item).is_refused = true;
        }
        peer.is_asking &= peer.multi.is_some();
        reply
    }

    fn exec(&mut self, place: usize, peer: &mut Peer) -> String {
        let queued = peer.multi.take().unwrap_or_default();
        if self.servers[place].is_busy {
            peer.is_aborted = false;
            return format!("-EXECABORT Transaction discarded because of: {}", &BUSY[1..]);
        }
        if std::mem::take(&mut peer.is_aborted) {
            return "-EXECABORT Transaction discarded because of previous errors.\r\n".into();
        }
        peer.is_in_exec = true;
        let replies: Vec<String> =
            queued.into_iter().map(|command| self.run(place, peer, &command)).collect();
        peer.is_in_exec = false;
        format!("*{}\r\n{}", replies.len(), replies.concat())
    }

    /// Why a server does not even begin with a command.
    fn refusal(&mut self, place: usize, peer: &mut Peer, command: &[Vec<u8>]) -> Option<String> {
        let name = std::str::from_utf8(&command[0]).unwrap_or_default();
        let server = &self.servers[place];
        let is_call = Call::of(command).is_some();
        let is_script = name.starts_with("EVAL");
        let is_function = name.starts_with("FCALL");
        let is_library = name == "FUNCTION";
        let is_kill = name == "SCRIPT" && command.get(1).is_some_and(|word| word == b"KILL");
        if server.is_busy && !is_kill && !matches!(name, "HELLO" | "AUTH" | "SENTINEL") {
            return Some(BUSY.into());
        }
        if server.is_full && name == "SCRIPT" && command.get(1).is_some_and(|word| word == b"LOAD") {
            return Some(OOM.into());
        }
        if server.is_loading && (is_call || is_library || name == "SCRIPT") {
            return Some(LOADING.into());
        }
        let old = self.traits.old && (name.ends_with("_RO") || is_function || is_library);
        if old {
            return Some(format!("-ERR unknown command '{name}', with args beginning with: 'x' \r\n"));
        }
        let is_sha = name.starts_with("EVALSHA");
        let is_load = name == "SCRIPT" && command.get(1).is_some_and(|word| word == b"LOAD");
        let is_forbidden = is_sha && self.rights.no_evalsha
            || is_script && !is_sha && self.rights.no_eval
            || is_load && self.rights.no_load;
        if name == "WAIT" && self.rights.no_wait {
            self.witness.has_refused_wait = true;
            return Some(forbidden("wait"));
        }
        if name == "ROLE" && self.rights.no_role {
            return Some(forbidden("role"));
        }
        if is_forbidden {
            return Some(forbidden(&if is_load { "script|load".into() } else { name.to_lowercase() }));
        }
        if is_library {
            let refusal = self.library_refusal(place);
            self.witness.has_refused_library |= refusal.is_some();
            return refusal;
        }
        let server = &self.servers[place];
        if server.is_stale && server.follows.is_some() && is_call {
            return Some(MASTERDOWN.into());
        }
        if !is_call {
            return None;
        }
        let writes = !name.ends_with("_RO");
        let follows = server.follows;
        if self.kind != Kind::Cluster {
            // What is not there is not called: that a function may write counts afterwards.
            return (follows.is_some() && writes && !is_script && !is_function).then(|| READONLY.into());
        }
        if server.is_cut_off {
            return Some(CLUSTERDOWN.into());
        }
        self.elsewhere(place, peer, command, writes)
    }

    /// Why a server does not take a library.
    fn library_refusal(&mut self, place: usize) -> Option<String> {
        let server = &self.servers[place];
        if self.rights.no_load {
            return Some(forbidden("function|load"));
        }
        if server.follows.is_some() {
            if self.traits.are_well() && !self.traits.forges {
                self.witness.fault("a library came to a replica".into());
            }
            return Some(READONLY.into());
        }
        server.is_full.then(|| OOM.into())
    }

    /// Why a command belongs to another node of the cluster.
    fn elsewhere(&mut self, place: usize, peer: &Peer, command: &[Vec<u8>], writes: bool) -> Option<String> {
        let keys = keys_of(command);
        let slot = slots::slot_of(keys.first()?);
        let knows = self.servers[place].view.of(slot);
        let moved = |fleet: &Fleet, to: usize| format!("-MOVED {slot} {}\r\n", fleet.servers[to].address);
        if let Some(primary) = self.servers[place].follows {
            if writes && self.traits.are_well() && !self.traits.forges {
                self.witness.fault(format!("{:?} came to a replica, and may write", item_of(command)));
            }
            let serves = peer.reads && !writes && knows == primary;
            return (!serves).then(|| moved(self, knows));
        }
        let item = item_of(command).unwrap_or_default();
        let token = self.token_of(command, &keys);
        // The key of a token is not among those that are known to have moved.
        let keys = &keys[..keys.len() - usize::from(token.is_some())];
        match self.moving.iter().find(|moving| moving.slot == slot) {
            Some(Moving { from, to, keys: there, .. }) if *from == place => {
                let count = keys.iter().filter(|key| there.contains(**key)).count();
                let is_split = |token| self.is_between_servers(token, true, count == keys.len());
                if token.is_some_and(is_split) {
                    return Some(TRYAGAIN.into());
                }
                if count == keys.len() {
                    self.witness.asked.insert((item, *to));
                    return Some(format!("-ASK {slot} {}\r\n", self.servers[*to].address));
                }
                (count > 0).then(|| TRYAGAIN.into())
            }
            Some(Moving { to, keys: there, .. }) if *to == place && peer.is_asking => {
                let is_split = keys.iter().any(|key| !there.contains(*key));
                let has_token = token.is_some_and(|token| self.is_between_servers(token, false, true));
                (has_token || is_split && self.rng.bool()).then(|| TRYAGAIN.into())
            }
            _ if knows == place => None,
            _ => {
                if self.witness.asked.remove(&(item, place)) && !peer.is_asking {
                    self.witness.fault(format!("item {item} followed ASK without ASKING"));
                }
                self.witness.asked.retain(|(other, to)| *other != item || *to != knows);
                Some(moved(self, knows))
            }
        }
    }

    fn run(&mut self, place: usize, peer: &mut Peer, command: &[Vec<u8>]) -> String {
        let word = |at: usize| command.get(at).map(Vec::as_slice).unwrap_or_default();
        match (word(0), word(1)) {
            (b"HELLO", _) if !self.has_hello => {
                "-ERR unknown command 'HELLO', with args beginning with: '3' \r\n".into()
            }
            (b"HELLO", version) => {
                peer.resp3 |= version == b"3";
                if word(2) == b"AUTH" && !peer.log_in(word(4)) {
                    return WRONGPASS.into();
                }
                let head = if peer.resp3 { "%2" } else { "*4" };
                let version = if self.traits.old { "6.2.0" } else { "7.4.0" };
                let role = if self.servers[place].follows.is_some() { "replica" } else { "master" };
                format!("{head}\r\n+version\r\n+{version}\r\n+role\r\n+{role}\r\n")
            }
            (b"AUTH", _) if !peer.log_in(word(command.len() - 1)) => WRONGPASS.into(),
            (b"SCRIPT", b"LOAD") => self.load(place, peer, word(2)),
            (b"FUNCTION", b"LOAD") => self.load_library(place, peer, command),
            (b"FCALL" | b"FCALL_RO", _) => self.call_function(place, peer, command),
            (b"SCRIPT", b"FLUSH") => {
                self.flush(place);
                self.servers[place].flushes += 1;
                "+OK\r\n".into()
            }
            (b"SCRIPT", b"EXISTS") => {
                let scripts = command[2..].iter().map(|sha| self.script_of_sha(sha)).collect::<Vec<_>>();
                let has = |script: Option<usize>| {
                    script.is_some_and(|script| self.servers[place].scripts.has(script))
                };
                let found: Vec<String> =
                    scripts.into_iter().map(has).map(|has| format!(":{}\r\n", u8::from(has))).collect();
                format!("*{}\r\n{}", found.len(), found.concat())
            }
            (b"SCRIPT", b"KILL") if std::mem::take(&mut self.servers[place].is_busy) => "+OK\r\n".into(),
            (b"SCRIPT", b"KILL") => "-NOTBUSY No scripts in execution right now.\r\n".into(),
            (b"CLUSTER", b"SLOTS") => self.cluster_slots(place),
            (b"CLUSTER", b"NODES") => bulk(&self.cluster_nodes(place)),
            (b"CLUSTER", b"INFO") => bulk(&self.cluster_info(place)),
            (b"ROLE", _) => self.role(place),
            (b"SENTINEL", _) => self.named_primary(),
            (b"READONLY", _) => {
                peer.reads = true;
                "+OK\r\n".into()
            }
            (b"EVALSHA" | b"EVALSHA_RO", sha) => match self.script_of_sha(sha) {
                Some(script) if self.servers[place].scripts.has(script) => {
                    self.note_script(script, command);
                    self.execute(place, peer, command)
                }
                script => self.miss(place, peer, script, command),
            },
            (b"EVAL" | b"EVAL_RO", b"") => "$-1\r\n".into(),
            (b"EVAL" | b"EVAL_RO", source) => {
                let script = self.script_of_source(source);
                let item = item_of(command).unwrap_or_default();
                if self.traits.are_well() && self.witness.seen(item).missed == 0 {
                    self.witness.fault(format!("item {item} came as EVAL, which was not missed"));
                }
                match script {
                    Some(script) => {
                        self.note_script(script, command);
                        self.servers[place].scripts.eval(script);
                    }
                    None => self.witness.fault(format!("an unknown script: {}", source.escape_ascii())),
                }
                self.execute(place, peer, command)
            }
            (b"WAIT", _) => self.wait(place, peer, command),
            (b"APPEND", _) => self.execute(place, peer, command),
            (b"BLPOP", _) => self.begin_to_wait(place, peer, command),
            (b"PUBLISH", _) if self.servers[place].follows.is_some() => READONLY.into(),
            (b"PUBLISH", _) => {
                let item = std::str::from_utf8(&command[2]).ok().and_then(|item| item.parse().ok());
                *self.witness.waves.entry((item.expect("a number"), place)).or_default() += 1;
                ":1\r\n".into()
            }
            _ => "+OK\r\n".into(),
        }
    }

    /// A script runs that is called as a function where there are any.
    fn note_script(&mut self, script: usize, command: &[Vec<u8>]) {
        if let (Some(library), Some(item)) = (stands_for(script), item_of(command)) {
            self.witness.note(item).library = Some(library);
        }
    }

    fn script_of_sha(&self, sha: &[u8]) -> Option<usize> {
        self.scripts.iter().position(|script| script.sha_hex().as_bytes() == sha)
    }

    fn script_of_source(&self, source: &[u8]) -> Option<usize> {
        self.scripts.iter().position(|script| script.source() == source)
    }

    fn load(&mut self, place: usize, peer: &mut Peer, source: &[u8]) -> String {
        let Some(script) = self.script_of_source(source) else {
            self.witness.fault(format!("an unknown script: {}", source.escape_ascii()));
            return "-ERR Error compiling script\r\n".into();
        };
        self.servers[place].scripts.load(script);
        self.note_load(place, peer, script);
        bulk(self.scripts[script].sha_hex())
    }

    /// A script was loaded, or a library: no more often than it was lost, where nothing goes wrong.
    pub(super) fn note_load(&mut self, place: usize, peer: &mut Peer, script: usize) {
        if peer.is_in_exec {
            return;
        }
        peer.loads[script] += 1;
        let losses = self.servers[place].scripts.losses;
        let may_load = 1 + losses - peer.losses.unwrap_or_default();
        let counts = !self.traits.transactions && self.traits.are_well();
        if counts && !self.is_administered && peer.loads[script] > may_load {
            let loads = peer.loads[script];
            self.witness
                .fault(format!("script {script} was loaded {loads} times, where {may_load} would do"));
        }
    }

    /// A script is not there.
    pub(super) fn miss(
        &mut self,
        place: usize,
        peer: &mut Peer,
        script: Option<usize>,
        command: &[Vec<u8>],
    ) -> String {
        let Some(script) = script else { return NOSCRIPT.into() };
        let item = item_of(command).unwrap_or_default();
        self.witness.note(item).missed += 1;
        // A library comes to a replica by way of its primary alone.
        let is_primarys = script < SCRIPTS || self.servers[place].follows.is_none();
        // What is said of a named one is not believed before the server is asked.
        let counts = self.traits.are_well() && is_primarys && script != SCRIPTS + NAMED;
        let lost = self.servers[place].scripts.lost(script);
        if counts && peer.is_in_exec {
            self.witness.fault(format!("item {item} met NOSCRIPT in a transaction"));
        }
        if let Some((before, from)) = peer.told[script]
            && counts
            && before == lost
            && peer.position >= from
        {
            self.witness
                .fault(format!("item {item} relied on script {script}, which its client knew was lost"));
        }
        peer.missed[script] = Some(lost);
        NOSCRIPT.into()
    }

    /// Runs a script whose argument is its number, which is what it answers, unless it makes an error up.
    pub(super) fn execute(&mut self, place: usize, peer: &mut Peer, command: &[Vec<u8>]) -> String {
        let is_function = command[0].starts_with(b"FCALL");
        let is_script = command[0].starts_with(b"EVAL") || is_function;
        let reads = command[0].ends_with(b"_RO");
        // A script's first write is what a replica stops.
        if self.servers[place].follows.is_some() && !reads {
            return READONLY.into();
        }
        let item = item_of(command).unwrap_or_default();
        let keys = keys_of(command);
        let token = self.token_of(command, &keys);
        if let Some(reply) = token.and_then(|token| self.answered_before(token, item)) {
            // A token that is asked for lives on: that is written as well.
            self.write(place, peer, None);
            return reply;
        }
        let order = self.witness.execute(item);
        if !reads {
            let key = keys.first().copied().unwrap_or_default();
            self.write(place, peer, Some(Ran { item, key, token }));
        }
        let reply = match is_script && self.forges(item) {
            true => {
                let mut text = self.made_up(place, command, item);
                // Behind what it gives back in a server's words the wrapper puts a mark.
                if token.is_some() {
                    text = text.replace("\r\n", " script: once\r\n");
                }
                if is_function { self.marked(command, text) } else { text }
            }
            false if token.is_some() => format!("*2\r\n:{item}\r\n:{order}\r\n"),
            false => reply_of(item),
        };
        if let Some(token) = token {
            self.tokens.insert(token.to_vec(), (item, reply.clone()));
        }
        reply
    }

    /// An error that a script makes up.
    fn made_up(&mut self, place: usize, command: &[Vec<u8>], item: u64) -> String {
        let reads = command[0].ends_with(b"_RO");
        let slot = keys_of(command).first().map_or(0, |key| slots::slot_of(key));
        let other = self.servers[self.rng.usize(..self.servers.len())].address.clone();
        match item / 8 % 9 {
            0 => format!("-MOVED {slot} {other}\r\n"),
            1 => format!("-ASK {slot} {other}\r\n"),
            2 => TRYAGAIN.into(),
            3 => CLUSTERDOWN.into(),
            4 => READONLY.into(),
            5 if item.is_multiple_of(3) => format!("-MOVED {slot} 10.9.9.9:6379\r\n"),
            // Not even the call's own slot.
            5 => format!("-MOVED {} {other}\r\n", slot ^ 1),
            6 if !self.traits.rights && command[0].starts_with(b"FCALL") => forbidden("fcall"),
            6 if !self.traits.rights => forbidden("evalsha"),
            // Without SCRIPT LOAD nothing shows that a server has loaded; and a replica may load again, so calls
            // that only read are believed.
            7 if !self.traits.rights && !self.servers[place].is_full && !reads => LOADING.into(),
            _ => "-NOSCRIPT of my own making\r\n".into(),
        }
    }
}

fn forbidden(command: &str) -> String {
    format!("-NOPERM User u has no permissions to run the '{command}' command\r\n")
}

fn keys_of(command: &[Vec<u8>]) -> Vec<&[u8]> {
    if !command[0].starts_with(b"EVAL") && !command[0].starts_with(b"FCALL") {
        return command.get(1).map(Vec::as_slice).into_iter().collect();
    }
    let count: usize =
        std::str::from_utf8(&command[2]).ok().and_then(|count| count.parse().ok()).unwrap_or(0);
    command[3..].iter().take(count).map(Vec::as_slice).collect()
}

/// What an item answers: its number, in one of several shapes.
fn reply_of(item: u64) -> String {
    match item % 5 {
        0 => format!("*2\r\n:{item}\r\n*1\r\n$1\r\nx\r\n"),
        1 => bulk(&item.to_string()),
        _ => format!(":{item}\r\n"),
    }
}

/// A command in words; made only where somebody reads it.
fn trace_of(command: &[Vec<u8>]) -> impl Fn() -> String + use<> {
    let mut shown = None;
    if trace::is_on() {
        let words: Vec<String> = command.iter().map(|word| word.escape_ascii().to_string()).collect();
        shown = Some(words.join(" "));
    }
    move || shown.clone().unwrap_or_default()
}
