//! What servers say of themselves and of each other.

use super::Fleet;
use crate::net::address::Address;

impl Fleet {
    pub(super) fn cluster_slots(&self, place: usize) -> String {
        let view = &self.servers[place].view;
        let mut ranges = Vec::new();
        for (first, last, owner) in view.ranges() {
            let mut nodes = vec![owner];
            let follows = |other: &usize| self.servers[*other].follows == Some(owner);
            nodes.extend((0..self.servers.len()).filter(follows));
            let nodes: Vec<String> = nodes.iter().map(|node| self.endpoint(*node)).collect();
            ranges.push(format!("*{}\r\n:{first}\r\n:{last}\r\n{}", nodes.len() + 2, nodes.concat()));
        }
        format!("*{}\r\n{}", ranges.len(), ranges.concat())
    }

    fn endpoint(&self, place: usize) -> String {
        match &self.servers[place].address {
            Address::Tcp { host, port } => format!("*2\r\n{}:{port}\r\n", bulk(host)),
            Address::Unix(_) => "*0\r\n".into(),
        }
    }

    pub(super) fn cluster_nodes(&self, place: usize) -> String {
        let ranges = self.servers[place].view.ranges();
        let line = |node: usize| {
            let server = &self.servers[node];
            let flags = match (node == place, server.follows.is_some()) {
                (true, false) => "myself,master",
                (true, true) => "myself,slave",
                (false, false) => "master",
                (false, true) => "slave",
            };
            let mut line = format!("id{node} {}@16379 {flags} - 0 0 1 connected", server.address);
            for (first, last, _) in ranges.iter().filter(|(_, _, owner)| *owner == node) {
                line.push_str(&format!(" {first}-{last}"));
            }
            for moving in self.moving.iter().filter(|_| node == place) {
                let super::Moving { slot, from, to, .. } = moving;
                if *from == place {
                    line.push_str(&format!(" [{slot}->-id{to}]"));
                } else if *to == place {
                    line.push_str(&format!(" [{slot}-<-id{from}]"));
                }
            }
            line + "\n"
        };
        (0..self.servers.len()).map(line).collect()
    }

    pub(super) fn cluster_info(&self, place: usize) -> String {
        let state = if self.servers[place].is_cut_off { "fail" } else { "ok" };
        format!("cluster_state:{state}\r\ncluster_slots_assigned:16384\r\n")
    }

    pub(super) fn role(&self, place: usize) -> String {
        if self.servers[place].follows.is_some() {
            return "*5\r\n$5\r\nslave\r\n$1\r\nx\r\n:1\r\n$9\r\nconnected\r\n:0\r\n".into();
        }
        let followers = self.servers.iter().filter(|server| server.follows == Some(place));
        let replicas: Vec<String> = followers
            .map(|server| match &server.address {
                Address::Tcp { host, port } => {
                    format!("*3\r\n{}{}$1\r\n0\r\n", bulk(host), bulk(&port.to_string()))
                }
                Address::Unix(_) => String::new(),
            })
            .collect();
        format!("*3\r\n$6\r\nmaster\r\n:0\r\n*{}\r\n{}", replicas.len(), replicas.concat())
    }

    /// What a sentinel says of the service.
    pub(super) fn named_primary(&self) -> String {
        match &self.servers[self.primary()].address {
            Address::Tcp { host, port } => format!("*2\r\n{}{}", bulk(host), bulk(&port.to_string())),
            Address::Unix(_) => "*-1\r\n".into(),
        }
    }
}

pub(super) fn bulk(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}
