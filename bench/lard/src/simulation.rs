// SPDX-License-Identifier: GPL-2.0

//! Clients, a switch, and servers.
//!
//! Each client has one connection with one request, and at its end the next one. There are as many
//! clients as the paper's front end admits connections: (n - 1) * T_high + T_low - 1 for n servers.
//! The first third of a trace fills the caches; it does not count.

use crate::{
    server::{Server, Time},
    trace::Trace,
    Contender,
};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::{IpAddr, Ipv4Addr},
};
use thop_core::{
    heap::StdHeap,
    policy::{hash::mix, Any, Member, Servers, Setup},
    request::Request,
};

pub struct Outcome {
    pub requests_per_s: f64,
    pub hit_rate: f64,
    /// The mean time from a request to the end of its connection.
    pub response_ms: f64,
}

/// How many connections are admitted.
pub fn clients(servers: usize) -> usize {
    (servers - 1) * 65 + 25 - 1
}

/// What happens at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// This request's connection has begun.
    Begun(u32),
    /// The disk has read this file.
    Read(u32),
    /// This request's connection has ended.
    Ended(u32),
}

/// What the switch knows.
struct View {
    connections: Vec<u32>,
    now: Time,
}

impl Servers for View {
    fn usable(&self, _server: usize) -> bool {
        true
    }

    fn reachable(&self, _server: usize) -> bool {
        true
    }

    fn connections(&self, server: usize) -> u32 {
        self.connections[server]
    }

    fn cpu(&self, _server: usize) -> u32 {
        0
    }

    fn now_ms(&self) -> u64 {
        self.now / 1000
    }
}

struct Simulation<'a> {
    trace: &'a Trace,
    policy: Any<StdHeap>,
    view: View,
    servers: Vec<Server>,
    /// What will happen, and when, at which server.
    events: BinaryHeap<Reverse<(Time, usize, Event)>>,
    /// Who waits for a server to read a file: one reading does for all.
    waiting: HashMap<(usize, u32), Vec<u32>>,
    /// When each request began.
    begun: Vec<Time>,
}

impl Simulation<'_> {
    /// A client asks.
    fn ask(&mut self) {
        let Some(&file) = self.trace.requests.get(self.begun.len()) else {
            return;
        };
        let number = self.begun.len() as u32;
        let path = format!("/files/{file}");
        let request = Request {
            path: path.as_bytes(),
            ..Request::of(IpAddr::V4(Ipv4Addr::from(number)))
        };
        let class = self.policy.classify(&request);
        let server = self.policy.select(class, &self.view);
        let server = server.expect("all servers are usable");
        self.view.connections[server] += 1;
        let begun = self.servers[server].begin(self.view.now);
        self.begun.push(self.view.now);
        self.at(begun, server, Event::Begun(number));
    }

    fn at(&mut self, time: Time, server: usize, event: Event) {
        self.events.push(Reverse((time, server, event)));
    }

    fn send(&mut self, server: usize, number: u32) {
        let size = self.trace.sizes[self.trace.requests[number as usize] as usize];
        let sent = self.servers[server].send(self.view.now, size);
        self.at(sent, server, Event::Ended(number));
    }
}

/// So many servers, all alike.
pub fn run(trace: &Trace, contender: &Contender, servers: usize) -> Outcome {
    let names: Vec<_> = (0..servers).map(|n| format!("s{n}")).collect();
    let members: Vec<_> = (0u64..)
        .zip(&names)
        .map(|(number, name)| Member {
            name,
            identity: mix(number),
            weight: 1,
        })
        .collect();
    let option = |name: &'static str| {
        let mut options = contender.options.iter();
        options.find(|(key, _)| *key == name).map(|&(_, v)| v)
    };
    let setup = Setup { option: &option };
    let policy = contender.kind.initialise(&setup, &members, None);
    let Ok(policy) = policy else {
        panic!("there is no memory");
    };
    let mut simulation = Simulation {
        trace,
        policy,
        view: View {
            connections: vec![0; servers],
            now: 0,
        },
        servers: (0..servers)
            .map(|_| Server::new(trace.sizes.len()))
            .collect(),
        events: BinaryHeap::new(),
        waiting: HashMap::new(),
        begun: Vec::new(),
    };
    for _ in 0..clients(servers) {
        simulation.ask();
    }
    let warm = trace.requests.len() / 3;
    let (mut ended, mut start) = (0usize, 0);
    let (mut looked, mut hits, mut response) = (0u64, 0u64, 0);
    while let Some(Reverse((now, server, event))) = simulation.events.pop() {
        simulation.view.now = now;
        match event {
            Event::Begun(number) => {
                let file = trace.requests[number as usize];
                let hit = simulation.servers[server].cache.use_file(file);
                if number as usize >= warm {
                    looked += 1;
                    hits += u64::from(hit);
                }
                if hit {
                    simulation.send(server, number);
                    continue;
                }
                let waiting = simulation.waiting.entry((server, file)).or_default();
                waiting.push(number);
                if waiting.len() == 1 {
                    let size = trace.sizes[file as usize];
                    let read = simulation.servers[server].read(now, size);
                    simulation.at(read, server, Event::Read(file));
                }
            }
            Event::Read(file) => {
                let size = trace.sizes[file as usize];
                simulation.servers[server].cache.add(file, size);
                let waiting = simulation.waiting.remove(&(server, file));
                for number in waiting.unwrap_or_default() {
                    simulation.send(server, number);
                }
            }
            Event::Ended(number) => {
                simulation.view.connections[server] -= 1;
                simulation.policy.done(server, &simulation.view);
                ended += 1;
                if ended == warm {
                    start = now;
                }
                if ended > warm {
                    response += now - simulation.begun[number as usize];
                }
                simulation.ask();
            }
        }
    }
    let counted = (ended - warm) as f64;
    Outcome {
        requests_per_s: counted / ((simulation.view.now - start) as f64 / 1e6),
        hit_rate: hits as f64 / looked as f64,
        response_ms: response as f64 / 1e3 / counted,
    }
}
