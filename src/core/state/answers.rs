//! What servers answer when they are asked who is who: CLUSTER SLOTS, CLUSTER NODES, CLUSTER INFO, ROLE and SENTINEL.

use super::slot_map::{Found, FoundShard};
use crate::config::Config;
use crate::error::{Error, Result, Status};
use crate::net::address::Address;
use crate::request::slots::SLOTS;
use crate::resp::ReplyRef;
use crate::session::verdict;

/// Why a server would say that a slot is not its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Claim {
    Moved,
    Ask,
}

/// Who has which slots, by the answer of a node of a cluster.
///
/// [CLUSTER SLOTS](https://redis.io/docs/latest/commands/cluster-slots/)
pub(in crate::core) fn cluster_slots(reply: ReplyRef<'_>, asked: &Address, config: &Config) -> Result<Found> {
    let found = read_slots(reply, asked, config);
    if found.is_empty() {
        let what = if reply.is_empty() { "no slots" } else { "slots, but of no host that has them" };
        return Err(Error::new(Status::Connect, format!("{asked} knows of {what}")));
    }
    Ok(found)
}

/// The error of a server that was asked for its slots.
pub(in crate::core) fn no_cluster(error: Error, asked: &Address) -> Error {
    if error.server_text().is_some_and(|text| text.ends_with(b"cluster support disabled")) {
        let text = format!("the server at {asked} is no part of a cluster: write redis://");
        return Error::new(Status::NotSupported, text).sent(false);
    }
    error
}

fn read_slots(reply: ReplyRef<'_>, asked: &Address, config: &Config) -> Found {
    let mut found = Found::new();
    // Each has a slot of its own at least.
    for range in reply.elements().take(usize::from(SLOTS)) {
        let mut parts = range.elements();
        let mut bound = || u16::try_from(parts.next()?.as_i64()?).ok().filter(|slot| *slot < SLOTS);
        let (Some(first), Some(last)) = (bound(), bound()) else { continue };
        let mut nodes = parts.map(|node| {
            let host = node.get(0)?.as_str().unwrap_or_default();
            endpoint(host, node.get(1)?.as_i64()?, asked).map(|address| config.reachable(address))
        });
        let Some(Some(primary)) = nodes.next() else { continue };
        let replicas: Vec<Address> = nodes.flatten().collect();
        if first > last {
            continue;
        }
        match found.iter_mut().find(|shard| shard.primary == primary) {
            Some(shard) => shard.ranges.push((first, last)),
            None => found.push(FoundShard { primary, replicas, ranges: vec![(first, last)] }),
        }
    }
    found
}

/// The address that a server announces. Without a host it is the one of the server that says so; `?` stands for a
/// host name that is not known yet.
pub(in crate::core) fn endpoint(host: &str, port: i64, speaker: &Address) -> Option<Address> {
    let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
    let host = match (host, speaker) {
        ("?", _) => return None,
        ("", Address::Tcp { host, .. }) => host.clone(),
        ("", Address::Unix(_)) => return None,
        (host, _) => host.to_owned(),
    };
    Some(Address::Tcp { host, port })
}

/// The address in a redirection by a server.
pub(in crate::core) fn redirected_to(to: &str, speaker: &Address, config: &Config) -> Option<Address> {
    let (host, port) = to.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some(config.reachable(endpoint(host, port.parse().ok()?, speaker)?))
}

/// What a node of a cluster says of itself and of those it knows: the lines of CLUSTER NODES.
///
/// [CLUSTER NODES](https://redis.io/docs/latest/commands/cluster-nodes/)
#[derive(Debug)]
pub(in crate::core) struct NodeLines(String);

impl NodeLines {
    pub(in crate::core) fn new(reply: ReplyRef<'_>) -> Self {
        NodeLines(reply.as_str().unwrap_or_default().to_owned())
    }

    /// What CLUSTER NODES would say, as far as CLUSTER SLOTS says it: no slots on the move, and no nodes without
    /// slots. `None` where the node that was asked cannot be told among the others.
    pub(in crate::core) fn by_slots(reply: ReplyRef<'_>, asked: &Address, config: &Config) -> Option<Self> {
        let mut nodes: Vec<(Address, String)> = Vec::new();
        for range in reply.elements() {
            let mut parts = range.elements();
            let mut bound = || u16::try_from(parts.next()?.as_i64()?).ok().filter(|slot| *slot < SLOTS);
            let (Some(first), Some(last)) = (bound(), bound()) else { continue };
            for (place, node) in parts.enumerate() {
                let address =
                    || endpoint(node.get(0)?.as_str().unwrap_or_default(), node.get(1)?.as_i64()?, asked);
                let Some(address) = address() else { continue };
                let known = nodes.iter().position(|(known, _)| *known == address).unwrap_or_else(|| {
                    nodes.push((address, String::new()));
                    nodes.len() - 1
                });
                if place == 0 {
                    nodes[known].1.push_str(&format!(" {first}-{last}"));
                }
            }
        }
        let is_asked = |address: &Address| config.reachable(address.clone()) == *asked;
        let line = |(address, slots): &(Address, String)| {
            let flags = if is_asked(address) { "myself" } else { "-" };
            format!("- {address} {flags} - 0 0 0 connected{slots}\n")
        };
        let is_there = nodes.iter().any(|(address, _)| is_asked(address));
        is_there.then(|| NodeLines(nodes.iter().map(line).collect()))
    }

    fn lines(&self) -> impl Iterator<Item = Vec<&str>> {
        self.0.lines().map(|line| line.split(' ').collect())
    }

    /// What the node says of its own slots: ranges, and `[slot->-node]` for one that is leaving.
    fn own_slots(&self) -> Vec<&str> {
        let own = self.lines().find(|fields| fields.get(2).is_some_and(|flags| flags.contains("myself")));
        own.and_then(|fields| fields.get(8..).map(<[&str]>::to_vec)).unwrap_or_default()
    }

    /// Whether the node would send a call for this slot away with these words.
    pub(in crate::core) fn bears_out(&self, slot: u16, claim: Claim) -> bool {
        !includes(&self.own_slots(), slot) || claim == Claim::Ask && self.is_leaving(slot)
    }

    /// Whether the node knows of an owner of the slot.
    pub(in crate::core) fn is_anybodys(&self, slot: u16) -> bool {
        self.lines().any(|fields| fields.get(8..).is_some_and(|ranges| includes(ranges, slot)))
    }

    /// Whether the slot is on its way from the node to another.
    fn is_leaving(&self, slot: u16) -> bool {
        let mark = format!("[{slot}->-");
        self.own_slots().iter().any(|range| range.starts_with(&mark))
    }

    /// How the node calls the server at this address, if it names that as the one that has the slot, or takes it over.
    pub(in crate::core) fn names(
        &self,
        slot: u16,
        claim: Claim,
        address: &Address,
        config: &Config,
    ) -> Option<[Address; 2]> {
        let mark = format!("[{slot}->-");
        let own = self.own_slots();
        let to = own.iter().find_map(|range| range.strip_prefix(&*mark)?.strip_suffix(']'));
        let is_it = |fields: &Vec<&str>| match claim {
            Claim::Moved => fields.get(8..).is_some_and(|ranges| includes(ranges, slot)),
            Claim::Ask => to.is_some() && fields.first() == to.as_ref(),
        };
        let called = |fields: Vec<&str>| addresses(&fields, config).filter(|all| all.contains(address));
        self.lines().filter(is_it).find_map(called)
    }
}

/// Where the node of a line of CLUSTER NODES is, by its IP address and by its name: that again, if it has none.
fn addresses(fields: &[&str], config: &Config) -> Option<[Address; 2]> {
    let mut names = fields.get(1).copied().unwrap_or_default().split(',');
    let at = names.next()?.split('@').next()?;
    let Some(Address::Tcp { host, port }) = Address::parse(at) else { return None };
    let name = names.next().filter(|name| !name.is_empty()).unwrap_or(&host).to_owned();
    Some([host, name].map(|host| config.reachable(Address::Tcp { host, port })))
}

/// Whether a slot lies in one of these ranges.
fn includes(ranges: &[&str], slot: u16) -> bool {
    ranges.iter().any(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        matches!((first.parse(), last.parse()), (Ok(first), Ok(last)) if (first..=last).contains(&slot))
    })
}

/// Whether a node says that the cluster does not work.
///
/// [CLUSTER INFO](https://redis.io/docs/latest/commands/cluster-info/)
pub(in crate::core) fn is_down(reply: ReplyRef<'_>) -> bool {
    reply.as_str().is_some_and(|info| info.lines().any(|line| line == "cluster_state:fail"))
}

/// What a server says of its role.
///
/// [ROLE](https://redis.io/docs/latest/commands/role/)
#[derive(Debug)]
pub(in crate::core) enum Role {
    Primary { replicas: Vec<Address> },
    Replica,
}

pub(in crate::core) fn role(reply: ReplyRef<'_>, asked: &Address, config: &Config) -> Role {
    if reply.get(0).and_then(ReplyRef::as_bytes) != Some(b"master") {
        return Role::Replica;
    }
    let replicas = reply.get(2).into_iter().flat_map(ReplyRef::elements).filter_map(|replica| {
        let port = replica.get(1)?.as_str()?.parse().ok()?;
        endpoint(replica.get(0)?.as_str()?, port, asked).map(|address| config.reachable(address))
    });
    Role::Primary { replicas: replicas.collect() }
}

/// Whether the answer to ROLE, or to HELLO, is a replica's.
pub(in crate::core) fn says_replica(reply: ReplyRef<'_>, to_hello: bool) -> bool {
    let is_replica =
        |role: Option<ReplyRef<'_>>| matches!(role.and_then(ReplyRef::as_bytes), Some(b"slave" | b"replica"));
    is_replica(if to_hello { role_in_hello(reply) } else { reply.get(0) })
}

/// The role in an answer to HELLO, which names no replicas; `None`: there is none in it.
pub(in crate::core) fn role_by_hello(reply: ReplyRef<'_>) -> Option<Role> {
    match role_in_hello(reply)?.as_bytes()? {
        b"master" => Some(Role::Primary { replicas: Vec::new() }),
        _ => Some(Role::Replica),
    }
}

fn role_in_hello(reply: ReplyRef<'_>) -> Option<ReplyRef<'_>> {
    let mut pairs = reply.elements();
    while let (Some(name), value) = (pairs.next(), pairs.next()) {
        if name.as_bytes() == Some(b"role") {
            return value;
        }
    }
    None
}

/// The primary of a service by a sentinel's word.
///
/// [SENTINEL GET-MASTER-ADDR-BY-NAME](https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/)
pub(in crate::core) fn primary_of(
    answer: Result<ReplyRef<'_>>,
    sentinel: &Address,
    service: &str,
    config: &Config,
) -> Result<Address> {
    let reply = answer.map_err(|error| match error.server_text() {
        Some(text) if verdict::is_unknown_command(text, b"SENTINEL") => {
            let text = format!("the server at {sentinel} is no sentinel");
            Error::new(Status::NotSupported, text).sent(false)
        }
        _ => error,
    })?;
    let part = |index| reply.get(index).and_then(ReplyRef::as_str);
    let port = part(1).and_then(|port| port.parse().ok()).unwrap_or_default();
    let address = part(0).and_then(|host| endpoint(host, port, sentinel));
    address.map(|address| config.reachable(address)).ok_or_else(|| {
        let text = format!("the sentinel at {sentinel} knows no service \"{service}\"");
        Error::new(Status::Connect, text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tcp(host: &str, port: u16) -> Address {
        Address::Tcp { host: host.into(), port }
    }

    #[test]
    fn an_endpoint_without_a_host_is_on_the_speakers() {
        let speaker = tcp("10.0.0.1", 7000);
        assert_eq!(endpoint("", 7001, &speaker), Some(tcp("10.0.0.1", 7001)));
        assert_eq!(endpoint("h", 7001, &speaker), Some(tcp("h", 7001)));
        assert_eq!(endpoint("::1", 7001, &speaker), Some(tcp("::1", 7001)));
        for (host, port) in [("?", 7001), ("h", 0), ("h", -1), ("h", 65536)] {
            assert_eq!(endpoint(host, port, &speaker), None);
        }
        assert_eq!(endpoint("", 1, &Address::Unix("/s".into())), None);
    }
}
