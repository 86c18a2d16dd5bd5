//! What a schedule's world is like: which servers, and which kinds of trouble. Drawn from its seed; what a failure
//! does not need is taken away when it is shrunk.

use fastrand::Rng;

/// What a fleet is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    One,
    Cluster,
    Sentinel,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    pub(super) kind: Kind,
    pub(super) clients: usize,
    /// Servers and connections fail.
    pub(super) faults: bool,
    /// Scripts make up what servers say.
    pub(super) forges: bool,
    /// The user's rights change.
    pub(super) rights: bool,
    /// Scripts are lost.
    pub(super) flushes: bool,
    /// Servers speak RESP3 and send push messages.
    pub(super) pushes: bool,
    pub(super) transactions: bool,
    /// Replicas are read from.
    pub(super) reads: bool,
    /// Servers older than EVALSHA_RO.
    pub(super) old: bool,
    /// Hosts have names.
    pub(super) names: bool,
    pub(super) administration: bool,
    /// Commands that wait on the server.
    pub(super) waiting: bool,
    /// Callers that drive their connection themselves.
    pub(super) blocking: bool,
    /// Deadlines that are missed without any trouble.
    pub(super) hurry: bool,
    pub(super) cancels: bool,
    pub(super) closes: bool,
    /// Clients have several shared connections to a server.
    pub(super) sharing: bool,
    /// Some calls happen once, by tokens.
    pub(super) once: bool,
    /// Some calls are of functions.
    pub(super) functions: bool,
    /// Replicas lag behind, a failover loses what they lack, and some calls wait for them.
    pub(super) replicated: bool,
}

/// How many of them can be taken away.
pub(super) const REMOVABLE: usize = 20;

impl Traits {
    /// `without`: a bit for each that is not to be.
    pub(super) fn random(rng: &mut Rng, without: u32) -> Self {
        let kind = [Kind::One, Kind::Cluster, Kind::Cluster, Kind::Sentinel][rng.usize(..4)];
        let mut place = 0;
        let mut some = |of_256: u8| {
            let is_so = rng.u8(..) < of_256;
            place += 1;
            is_so && without & 1 << (place - 1) == 0
        };
        Traits {
            kind,
            clients: 1 + usize::from(some(64)),
            faults: some(180),
            forges: some(100),
            rights: some(50),
            flushes: some(160),
            pushes: some(100),
            transactions: some(160),
            reads: some(160),
            old: some(30),
            names: some(100) && kind == Kind::One,
            administration: some(130),
            waiting: some(130),
            blocking: some(180),
            hurry: some(130),
            cancels: some(130),
            closes: some(50),
            sharing: some(60),
            once: some(150),
            functions: some(128),
            replicated: some(110),
        }
    }

    /// Whether nothing goes wrong but that scripts are lost.
    pub(super) fn are_well(&self) -> bool {
        !self.faults && !self.rights && !self.old
    }
}
