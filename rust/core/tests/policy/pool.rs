// SPDX-License-Identifier: GPL-2.0

//! A pool whose state the tests decide.

use std::net::{IpAddr, Ipv4Addr};
use thop_core::{
    heap::OutOfMemory,
    policy::{Any, Class, Kind, Member, Servers, Setup},
    request::Request,
};

#[path = "../scarce/mod.rs"]
mod scarce;

#[allow(unused_imports)] // Not all who use pools let memory run out.
pub use scarce::{ScarceHeap, ROOM};

pub type Policy = Any<ScarceHeap>;

/// What is known of one server.
#[derive(Clone, Debug)]
pub struct Server {
    pub usable: bool,
    pub reachable: bool,
    pub connections: u32,
    pub cpu: u32,
}

/// A pool, with its configuration and its state.
#[derive(Clone, Debug)]
pub struct Pool {
    pub names: Vec<String>,
    pub identities: Vec<u64>,
    pub weights: Vec<u32>,
    pub servers: Vec<Server>,
    pub now_ms: u64,
}

impl Pool {
    /// Idle servers of these weights.
    pub fn of(weights: &[u32]) -> Self {
        let idle = Server {
            usable: true,
            reachable: true,
            connections: 0,
            cpu: 0,
        };
        Self {
            names: (0..weights.len()).map(|n| format!("s{n}")).collect(),
            // Any numbers will do, the simplest ones too.
            identities: (0..weights.len() as u64).collect(),
            weights: weights.to_vec(),
            servers: vec![idle; weights.len()],
            now_ms: 1_000_000,
        }
    }

    pub fn try_policy(
        &self,
        kind: Kind,
        options: &[(&str, &str)],
        before: Option<&Policy>,
    ) -> Result<Policy, OutOfMemory> {
        let members: Vec<_> = (self.names.iter().zip(&self.identities))
            .zip(&self.weights)
            .map(|((name, &identity), &weight)| Member {
                name,
                identity,
                weight,
            })
            .collect();
        let option = |name: &'static str| {
            let mut options = options.iter();
            options.find(|(key, _)| *key == name).map(|&(_, v)| v)
        };
        kind.initialise(&Setup { option: &option }, &members, before)
    }

    /// A policy for this pool.
    pub fn policy(&self, kind: Kind, options: &[(&str, &str)], before: Option<&Policy>) -> Policy {
        self.try_policy(kind, options, before).unwrap()
    }

    /// The servers that get the next requests of this class.
    pub fn sequence(&self, policy: &Policy, class: Class, len: usize) -> Vec<usize> {
        let select = |_| policy.select(class, self).unwrap();
        (0..len).map(select).collect()
    }

    /// How often each server gets one of the next requests of this class.
    pub fn counts(&self, policy: &Policy, class: Class, len: usize) -> Vec<usize> {
        let mut counts = vec![0; self.weights.len()];
        for server in self.sequence(policy, class, len) {
            counts[server] += 1;
        }
        counts
    }
}

impl Servers for Pool {
    fn usable(&self, server: usize) -> bool {
        self.servers[server].usable
    }

    fn reachable(&self, server: usize) -> bool {
        self.servers[server].reachable
    }

    fn connections(&self, server: usize) -> u32 {
        self.servers[server].connections
    }

    fn cpu(&self, server: usize) -> u32 {
        self.servers[server].cpu
    }

    fn now_ms(&self) -> u64 {
        self.now_ms
    }
}

pub fn kind(name: &str) -> Kind {
    Kind::named(name.as_bytes()).unwrap()
}

/// A client of this number.
pub fn client(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(number))
}

/// A request for this path.
pub fn get(path: &str) -> Request<'_> {
    Request {
        path: path.as_bytes(),
        uri: path.as_bytes(),
        ..Request::of(client(1))
    }
}
