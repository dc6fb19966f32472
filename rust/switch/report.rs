// SPDX-License-Identifier: GPL-2.0

//! The proc files of a switch.

use core::fmt::Write;

use kernel::sync::{
    atomic::Relaxed,
    rcu, //
};
use thop_core::{config::PoolId, flow::Phase};
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
        name: c"servers",
        mode: 0o444,
        seek: seek_servers,
        show: show_servers,
        write: None,
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

fn show_config(node: &Node, _record: u64, text: &mut Text<'_>) {
    let guard = rcu::read_lock();
    let _ = node.switch.cluster.read(&guard).config.write(text);
}

fn show_config_error(node: &Node, _record: u64, text: &mut Text<'_>) {
    let _ = node.rejected.lock().write(text);
}

/// Record 0 is the heading, record n + 1 bucket n.
fn seek_connections(node: &Node, position: u64) -> Option<u64> {
    if position == 0 {
        return Some(0);
    }
    let table = &node.switch.table;
    let first = u32::try_from(position - 1).ok()?;
    let bucket = table.next_used(first)?;
    Some(u64::from(bucket) + 1)
}

fn show_connections(node: &Node, record: u64, text: &mut Text<'_>) {
    let Some(bucket) = record.checked_sub(1) else {
        let _ = writeln!(
            text,
            "{:<21} {:<21} {:<21} {:<8} {:>8}",
            "client", "service", "server", "state", "idle_ms"
        );
        return;
    };
    let now = now_ms() as u32;
    node.switch.table.visit(bucket as u32, |connection| {
        let state = match connection.flow.phase() {
            Phase::Handoff => "handoff",
            Phase::Active => "active",
            Phase::Closed => "closed",
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

/// Record 0 is the heading, record n + 1 pool n.
fn seek_servers(node: &Node, position: u64) -> Option<u64> {
    let guard = rcu::read_lock();
    let pools = node.switch.cluster.read(&guard).config.pools().len();
    (position <= pools as u64).then_some(position)
}

fn show_servers(node: &Node, record: u64, text: &mut Text<'_>) {
    let Some(pool) = record.checked_sub(1) else {
        let _ = writeln!(
            text,
            "{:<16} {:<16} {:<21} {:>6} {:<8} {:>11} {:>10} {:>10} {:>10} {:>10}",
            "pool",
            "server",
            "address",
            "weight",
            "state",
            "connections",
            "offered",
            "taken",
            "refused",
            "unanswered"
        );
        return;
    };
    let now = now_ms();
    let guard = rcu::read_lock();
    let cluster = node.switch.cluster.read(&guard);
    let id = PoolId::new(pool as u32);
    let (Some(config), Some(pool)) = (cluster.config.pool(id), cluster.pool(id)) else {
        return;
    };
    for ((_, server), member) in cluster.config.pool_servers(id).zip(&pool.members) {
        let state = if member.weight == 0 {
            "drain"
        } else if member.server.is_shunned(now) {
            "silent"
        } else {
            "up"
        };
        let known = &member.server;
        let _ = writeln!(
            text,
            "{:<16} {:<16} {} {:>6} {:<8} {:>11} {:>10} {:>10} {:>10} {:>10}",
            cluster.config.name(config.name),
            cluster.config.name(server.name),
            Padded(server.endpoint),
            server.weight,
            state,
            known.connections.load(Relaxed),
            known.offered.load(Relaxed),
            known.taken.load(Relaxed),
            known.refused.load(Relaxed),
            known.unanswered.load(Relaxed)
        );
    }
}

fn show_stats(node: &Node, _record: u64, text: &mut Text<'_>) {
    let switch = &node.switch;
    let _ = writeln!(text, "connections {}", switch.table.len());
    let _ = switch.statistics.write(text);
}
