// SPDX-License-Identifier: GPL-2.0

//! The switch's side of THOP: accepts connections for virtual addresses, reads the request, chooses
//! a server by its content, hands the connection over, and forwards what the client sends later.
//!
//! This file is the module's entry: its parameters and their wiring. See `rust/switch/`.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use thop_kernel::instance::{
    Registration,
    Slot, //
};

#[path = "rust/switch/cluster.rs"]
mod cluster;
#[path = "rust/switch/counters.rs"]
mod counters;
#[path = "rust/switch/dispatcher.rs"]
mod dispatcher;
#[path = "rust/switch/forwarder.rs"]
mod forwarder;
#[path = "rust/switch/handoff.rs"]
mod handoff;
#[path = "rust/switch/leaving.rs"]
mod leaving;
#[path = "rust/switch/messages.rs"]
mod messages;
#[path = "rust/switch/monitor.rs"]
mod monitor;
#[path = "rust/switch/node.rs"]
mod node;
#[path = "rust/switch/offers.rs"]
mod offers;
#[path = "rust/switch/pool.rs"]
mod pool;
#[path = "rust/switch/reader.rs"]
mod reader;
#[path = "rust/switch/refusal.rs"]
mod refusal;
#[path = "rust/switch/report.rs"]
mod report;
#[path = "rust/switch/server.rs"]
mod server;
#[path = "rust/switch/switch.rs"]
mod switch;
#[path = "rust/switch/worker.rs"]
mod worker;

use node::{
    Node,
    Shared, //
};
use switch::Parameters;

module! {
    type: ThopSwitch,
    name: "thop_switch",
    authors: ["THOP developers"],
    description: "TCP handoff protocol: a content-aware, one-way Web switch",
    license: "GPL",
    params: {
        buckets: u32 {
            default: 1024,
            description: "Buckets of the table of connections at least, per network namespace",
        },
        most_buckets: u32 {
            default: 1048576,
            description: "Buckets of the table of connections at most, per network namespace",
        },
        connections: u32 {
            default: 1048576,
            description: "Most connections in the table, per network namespace",
        },
        held: u32 {
            default: 64,
            description: "Most segments of a client that are held while it is handed over",
        },
        held_octets: u32 {
            default: 262144,
            description: "Most memory that these may take, octets",
        },
        linger_ms: u32 {
            default: 10000,
            description: "How long a connection stays that both sides have closed, milliseconds",
        },
        closed_ms: u32 {
            default: 120000,
            description: "How long a connection stays that one side has closed, milliseconds",
        },
        idle_ms: u32 {
            default: 3600000,
            description: "How long an open connection may be idle, milliseconds",
        },
        protocol: u8 {
            default: 253,
            description: "IP protocol number of THOP",
        },
        insecure: u8 {
            default: 0,
            description: "1: work without keys, and believe anybody",
        },
        peers: u32 {
            default: 4096,
            description: "Most peers whose messages are told from repetitions, per network namespace",
        },
        first_segment: u8 {
            default: 1,
            description: "1: hand a request in its connection's first segment over without a socket here",
        },
        chain_warn: u32 {
            default: 64,
            description: "How long a chain of the table of connections may grow before the log says so",
        },
    },
}

/// All instances of the module, one in each network namespace.
static INSTANCES: Slot<Node> = Slot::new();

struct ThopSwitch {
    _instances: Registration<Node>,
}

impl kernel::Module for ThopSwitch {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let parameters = Parameters {
            buckets: thop_kernel::parameter(module_parameters::buckets.value()),
            most_buckets: thop_kernel::parameter(module_parameters::most_buckets.value()),
            connections: thop_kernel::parameter(module_parameters::connections.value()),
            held: thop_kernel::parameter(module_parameters::held.value()),
            held_octets: thop_kernel::parameter(module_parameters::held_octets.value()),
            timeouts: thop_core::flow::Timeouts {
                linger_ms: thop_kernel::parameter(module_parameters::linger_ms.value()),
                closed_ms: thop_kernel::parameter(module_parameters::closed_ms.value()),
                idle_ms: thop_kernel::parameter(module_parameters::idle_ms.value()),
            },
            protocol: thop_kernel::parameter(module_parameters::protocol.value()),
            insecure: thop_kernel::parameter::<u8>(module_parameters::insecure.value()) != 0,
            peers: thop_kernel::parameter(module_parameters::peers.value()),
            first_segment: thop_kernel::parameter::<u8>(module_parameters::first_segment.value())
                != 0,
            keyed: thop_kernel::hash::is_keyed(),
            chains: thop_kernel::table::ChainWatch::new(thop_kernel::parameter::<u32>(
                module_parameters::chain_warn.value(),
            )),
        };
        if parameters.insecure {
            pr_notice!("insecure: without keys, whoever can send messages here is believed\n");
        } else {
            pr_notice!("nothing is done without a key: see /proc/net/thop_switch/auth\n");
        }
        Ok(Self {
            _instances: Registration::new(Shared::new(parameters)?)?,
        })
    }
}
