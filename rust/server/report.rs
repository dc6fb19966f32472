// SPDX-License-Identifier: GPL-2.0

//! The proc files of a server.

use core::fmt::Write;

use thop_kernel::{
    instance::{
        File,
        Text, //
    },
    text::Padded,
    time::now_ms, //
};

use crate::{
    handoffs::Phase,
    server::Server, //
};

/// `/proc/net/thop_server/`.
pub(crate) const FILES: &[File<Server>] = &[
    File {
        name: c"auth",
        mode: 0o600,
        seek: |_, position| (position == 0).then_some(0),
        show: show_auth,
        write: Some(Server::authorise),
    },
    File {
        name: c"connections",
        mode: 0o444,
        seek: seek_connections,
        show: show_connections,
        write: None,
    },
    File {
        name: c"stats",
        mode: 0o444,
        seek: |_, position| (position == 0).then_some(0),
        show: show_stats,
        write: None,
    },
];

/// Record 0 is the heading, record n + 1 what the table has at n.
fn seek_connections(server: &Server, position: u64) -> Option<u64> {
    if position == 0 {
        return Some(0);
    }
    Some(server.handoffs.seek(position - 1)? + 1)
}

fn show_connections(server: &Server, record: u64, text: &mut Text<'_>) {
    let Some(number) = record.checked_sub(1) else {
        let _ = writeln!(
            text,
            "{:<21} {:<21} {:<21} {:<15} {:<11} {:>8}",
            "client", "service", "server", "switch", "state", "idle_ms"
        );
        return;
    };
    let now = now_ms();
    server.handoffs.show(number, |handed| {
        let state = match handed.phase {
            Phase::Adopting => "adopting",
            Phase::Alive { confirmed: true } => "alive",
            Phase::Alive { .. } => "unconfirmed",
            Phase::Gone { .. } => "gone",
        };
        let _ = writeln!(
            text,
            "{} {} {} {:<15} {:<11} {:>8}",
            Padded(handed.parties.client),
            Padded(handed.parties.service),
            Padded(handed.parties.server),
            handed.switch,
            state,
            now.saturating_sub(handed.seen_ms)
        );
    });
}

fn show_auth(server: &Server, _record: u64, text: &mut Text<'_>) {
    let _ = server.channel.gate.write(text);
}

fn show_stats(server: &Server, _record: u64, text: &mut Text<'_>) {
    let _ = writeln!(text, "boot {}", server.boot);
    let (chain, longest) = server.handoffs.chains();
    let _ = writeln!(text, "connections {}", server.handoffs.len());
    let _ = writeln!(text, "buckets {}", server.handoffs.buckets());
    let _ = writeln!(text, "buckets_no_memory {}", server.handoffs.no_memory());
    let _ = writeln!(text, "chain {chain}");
    let _ = writeln!(text, "chain_longest {longest}");
    let _ = writeln!(text, "alive {}", server.live.all());
    let _ = writeln!(text, "cpu {}", server.cpu.busy());
    let _ = server.statistics.write(text);
}
