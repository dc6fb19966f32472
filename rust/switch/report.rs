// SPDX-License-Identifier: GPL-2.0

//! The proc files of a switch.

use core::fmt::Write;

use kernel::sync::{
    atomic::Relaxed,
    rcu, //
};
use thop_core::{
    config::PoolId,
    flow::Phase, //
};
use thop_kernel::{
    instance::{
        File,
        Text, //
    },
    text::Padded,
    time::now_ms, //
};

use crate::node::Node;

/// `/proc/net/thop_switch/`.
pub(crate) const FILES: &[File<Node>] = &[
    File {
        name: c"auth",
        mode: 0o600,
        seek: once,
        show: show_auth,
        write: Some(|node, text| node.switch.channel.gate.configure(text)),
    },
    File {
        name: c"config",
        mode: 0o644,
        seek: once,
        show: show_config,
        write: Some(Node::configure),
    },
    File {
        name: c"config_error",
        mode: 0o444,
        seek: once,
        show: show_config_error,
        write: None,
    },
    File {
        name: c"connections",
        mode: 0o444,
        seek: seek_connections,
        show: show_connections,
        write: None,
    },
    File {
        name: c"pools",
        mode: 0o444,
        seek: seek_pools,
        show: show_pools,
        write: None,
    },
    File {
        name: c"servers",
        mode: 0o644,
        seek: seek_pools,
        show: show_servers,
        write: Some(order),
    },
    File {
        name: c"stats",
        mode: 0o444,
        seek: once,
        show: show_stats,
        write: None,
    },
];

/// A file of one record.
fn once(_node: &Node, position: u64) -> Option<u64> {
    (position == 0).then_some(0)
}

fn show_auth(node: &Node, _record: u64, text: &mut Text<'_>) {
    let _ = node.switch.channel.gate.write(text);
}

fn show_config(node: &Node, _record: u64, text: &mut Text<'_>) {
    let guard = rcu::read_lock();
    let _ = node.switch.cluster.read(&guard).config.write(text);
}

fn show_config_error(node: &Node, _record: u64, text: &mut Text<'_>) {
    let _ = node.rejected.lock().write(text);
}

/// Record 0 is the heading, record n + 1 what the table has at n.
fn seek_connections(node: &Node, position: u64) -> Option<u64> {
    if position == 0 {
        return Some(0);
    }
    Some(node.switch.table.seek(position - 1)? + 1)
}

fn show_connections(node: &Node, record: u64, text: &mut Text<'_>) {
    let Some(number) = record.checked_sub(1) else {
        let _ = writeln!(
            text,
            "{:<21} {:<21} {:<21} {:<8} {:>8}",
            "client", "service", "server", "state", "idle_ms"
        );
        return;
    };
    let now = now_ms() as u32;
    node.switch.table.show(number, |connection| {
        let state = match connection.flow.phase() {
            Phase::Handoff => "handoff",
            Phase::Active => "active",
            Phase::Closed => "closed",
            Phase::Returned => "returned",
        };
        let _ = writeln!(
            text,
            "{} {} {} {:<8} {:>8}",
            Padded(connection.key.client),
            Padded(connection.key.service),
            Padded(connection.server.endpoint),
            state,
            now.wrapping_sub(connection.flow.last_seen_ms())
        );
    });
}

fn order(node: &Node, text: &[u8]) -> kernel::error::Result {
    node.switch.order(text)
}

/// Record 0 is the heading, record n + 1 pool n.
fn seek_pools(node: &Node, position: u64) -> Option<u64> {
    let guard = rcu::read_lock();
    let pools = node.switch.cluster.read(&guard).config.pools().len();
    (position <= pools as u64).then_some(position)
}

fn show_pools(node: &Node, record: u64, text: &mut Text<'_>) {
    let Some(pool) = record.checked_sub(1) else {
        let _ = writeln!(
            text,
            "{:<16} {:<8} {:>7} {:>4} {:>11} {:>7} {:>7} backup",
            "pool", "policy", "servers", "up", "connections", "waiting", "queue"
        );
        return;
    };
    let guard = rcu::read_lock();
    let cluster = node.switch.cluster.read(&guard);
    let id = PoolId::new(pool as u32);
    let (Some(entry), Some(pool)) = (cluster.config.pool(id), cluster.pool(id)) else {
        return;
    };
    let (mut servers, mut up, mut connections) = (0, 0, 0);
    for (_, server) in cluster.pool_servers(id) {
        servers += 1;
        up += u32::from(server.is_open());
        connections += server.connections.load(Relaxed);
    }
    let backup = entry.backup.and_then(|backup| cluster.config.pool(backup));
    let _ = writeln!(
        text,
        "{:<16} {:<8} {:>7} {:>4} {:>11} {:>7} {:>7} {}",
        cluster.config.name(entry.name),
        entry.policy.name(),
        servers,
        up,
        connections,
        pool.waiting(),
        entry.queue,
        backup.map_or("-", |backup| cluster.config.name(backup.name))
    );
}

fn show_servers(node: &Node, record: u64, text: &mut Text<'_>) {
    let Some(pool) = record.checked_sub(1) else {
        let _ = writeln!(
            text,
            "{:<16} {:<16} {:<21} {:>6} {:<5} {:>11} {:>10} {:>10} {:>10} {:>10} {:>6} {:>6} \
             {:>11} {:>4} {:>8} {:>8} reason",
            "pool",
            "server",
            "address",
            "weight",
            "state",
            "connections",
            "offered",
            "taken",
            "refused",
            "unanswered",
            "max",
            "load",
            "accept",
            "cpu",
            "drops",
            "since_s"
        );
        return;
    };
    let now = now_ms();
    let guard = rcu::read_lock();
    let cluster = node.switch.cluster.read(&guard);
    let id = PoolId::new(pool as u32);
    let Some(entry) = cluster.config.pool(id) else {
        return;
    };
    for (server_entry, server) in cluster.pool_servers(id) {
        let health = server.health();
        let (state, reason, since_ms) = health.state();
        let report = &server.report;
        let _ = write!(
            text,
            "{:<16} {:<16} {} {:>6} {:<5} {:>11} {:>10} {:>10} {:>10} {:>10} {:>6} {:>6} {:>5}/{:<5} \
             {:>4} {:>8} {:>8} {reason}",
            cluster.config.name(entry.name),
            server.name(),
            Padded(server_entry.endpoint),
            health.weight(),
            state,
            server.connections.load(Relaxed),
            server.offered.load(Relaxed),
            server.taken.load(Relaxed),
            server.refused.load(Relaxed),
            server.unanswered.load(Relaxed),
            server.max.load(Relaxed),
            server.load(),
            report.queue.load(Relaxed),
            report.queue_limit.load(Relaxed),
            report.cpu.load(Relaxed),
            report.drops.load(Relaxed),
            now.saturating_sub(since_ms) / 1000,
        );
        let step = health.share(&entry.checks(), now);
        if step < thop_core::health::STEPS {
            let _ = write!(text, ", slow start {step}/{}", thop_core::health::STEPS);
        }
        if server.is_shunned(now) {
            let _ = write!(text, ", did not answer CREATE");
        }
        let _ = writeln!(text);
    }
}

fn show_stats(node: &Node, _record: u64, text: &mut Text<'_>) {
    let switch = &node.switch;
    let (chain, longest) = switch.table.chains();
    let _ = writeln!(text, "connections {}", switch.table.len());
    let _ = writeln!(text, "buckets {}", switch.table.buckets());
    let _ = writeln!(text, "buckets_no_memory {}", switch.table.no_memory());
    let _ = writeln!(text, "chain {chain}");
    let _ = writeln!(text, "chain_longest {longest}");
    let _ = switch.statistics.write(text);
}
