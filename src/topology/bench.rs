//! The way from a key to its server, alone: what `scripts/bench cluster-route` measures. Not an API.

use super::map::{FoundShard, Map};
use super::{Place, Topology};
use crate::config::{Config, Options};
use crate::error::Result;
use crate::net::address::Address;
use crate::route::ReadFrom;
use crate::session::handshake::Purpose;
use crate::slots::{SLOTS, slot_of};

/// The picture of a cluster that nobody ever connects to.
pub struct Routes(Topology);

impl Routes {
    /// So many primaries, each with an equal share of the slots.
    pub fn new(primaries: u16) -> Result<Routes> {
        let topology = Topology::new(Config::new("redis+cluster://127.0.0.1:1", &Options::default())?);
        let bound = |number: u16| {
            u16::try_from(u32::from(number) * u32::from(SLOTS) / u32::from(primaries)).unwrap_or(SLOTS)
        };
        let shard = |number| FoundShard {
            primary: Address::Tcp { host: "127.0.0.1".into(), port: number + 1 },
            replicas: Vec::new(),
            ranges: vec![(bound(number), bound(number + 1) - 1)],
        };
        let found = (0..primaries).map(shard).collect();
        *topology.map.write() =
            Map::new(&found, 1, |address, _| topology.node_wanted(address, Purpose::Calls, 1));
        Ok(Routes(topology))
    }

    /// The port of the server that has a key: slot, look-up, and what holding the server costs.
    #[inline]
    pub fn port_of(&self, key: &[u8]) -> u16 {
        match self.0.pick(&Place::Slot(slot_of(key)), ReadFrom::Primary, &[]) {
            Some(node) => match node.address() {
                Address::Tcp { port, .. } => *port,
                Address::Unix(_) => 0,
            },
            None => 0,
        }
    }
}

impl std::fmt::Debug for Routes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Routes({})", self.0.name())
    }
}
