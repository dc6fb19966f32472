// SPDX-License-Identifier: GPL-2.0

//! The server's side of THOP: takes over connections that a switch hands off, and puts them into
//! the accept queue of an unmodified server.
//!
//! This file is the module's entry: its parameters and their wiring. See `rust/server/`.

#![forbid(unsafe_code)]

use kernel::prelude::*;
use thop_kernel::{
    adopt::Watch,
    instance::{
        Registration,
        Slot, //
    },
};

#[path = "rust/server/counters.rs"]
mod counters;
#[path = "rust/server/handoffs.rs"]
mod handoffs;
#[path = "rust/server/live.rs"]
mod live;
#[path = "rust/server/monitor.rs"]
mod monitor;
#[path = "rust/server/report.rs"]
mod report;
#[path = "rust/server/segments.rs"]
mod segments;
#[path = "rust/server/server.rs"]
mod server;
#[path = "rust/server/takeover.rs"]
mod takeover;
#[path = "rust/server/worker.rs"]
mod worker;

use server::{
    Parameters,
    Server,
    Shared, //
};

module! {
    type: ThopServer,
    name: "thop_server",
    authors: ["THOP developers"],
    description: "TCP handoff protocol: the server's side of a one-way Web switch",
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
        linger_ms: u32 {
            default: 10000,
            description: "How long a connection stays that both sides have closed, milliseconds",
        },
        closed_ms: u32 {
            default: 120000,
            description: "How long a connection stays that only the server has closed, milliseconds",
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
        chain_warn: u32 {
            default: 64,
            description: "How long a chain of the table of connections may grow before the log says so",
        },
    },
}

/// All instances of the module, one in each network namespace.
static INSTANCES: Slot<Server> = Slot::new();

struct ThopServer {
    /// First, as it goes first.
    _watch: Watch<Server>,
    _instances: Registration<Server>,
}

impl kernel::Module for ThopServer {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        let parameters = Parameters {
            buckets: thop_kernel::parameter(module_parameters::buckets.value()),
            most_buckets: thop_kernel::parameter(module_parameters::most_buckets.value()),
            connections: thop_kernel::parameter(module_parameters::connections.value()),
            linger_ms: thop_kernel::parameter(module_parameters::linger_ms.value()),
            closed_ms: thop_kernel::parameter(module_parameters::closed_ms.value()),
            protocol: thop_kernel::parameter(module_parameters::protocol.value()),
            insecure: thop_kernel::parameter::<u8>(module_parameters::insecure.value()) != 0,
            peers: thop_kernel::parameter(module_parameters::peers.value()),
            keyed: thop_kernel::hash::is_keyed(),
            chains: thop_kernel::table::ChainWatch::new(thop_kernel::parameter::<u32>(
                module_parameters::chain_warn.value(),
            )),
        };
        if parameters.insecure {
            pr_notice!("insecure: without keys, whoever can send messages here is believed\n");
        } else {
            pr_notice!("nothing is done without a key: see /proc/net/thop_server/auth\n");
        }
        Ok(Self {
            _watch: Watch::new()?,
            _instances: Registration::new(Shared::new(parameters)?)?,
        })
    }
}
