// SPDX-License-Identifier: GPL-2.0

//! The proc files of a server.

use core::fmt::Write;

use thop_core::wire::{
    DecodeError,
    DropReason, //
};
use thop_kernel::{
    instance::{
        File,
        Text, //
    },
    messages::Malformed,
    time::now_ms, //
};

use crate::{
    counters,
    handoffs::Phase,
    server::Server, //
};

/// `/proc/net/thop_server/`.
pub(crate) const FILES: &[File<Server>] = &[
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

/// Record 0 is the heading, record n + 1 bucket n.
fn seek_connections(server: &Server, position: u64) -> Option<u64> {
    if position == 0 {
        return Some(0);
    }
    let first = u32::try_from(position - 1).ok()?;
    (first..server.handoffs.buckets())
        .find(|bucket| !server.handoffs.looks_empty(*bucket))
        .map(|bucket| u64::from(bucket) + 1)
}

fn show_connections(server: &Server, record: u64, text: &mut Text<'_>) {
    let Some(bucket) = record.checked_sub(1) else {
        let _ = writeln!(
            text,
            "{:<21} {:<21} {:<21} {:<15} {:<11} {:>8}",
            "client", "service", "server", "switch", "state", "idle_ms"
        );
        return;
    };
    let now = now_ms();
    server.handoffs.visit(bucket as u32, |handed| {
        let state = match handed.phase {
            Phase::Adopting => "adopting",
            Phase::Alive {
                confirmed: true, ..
            } => "alive",
            Phase::Alive { .. } => "unconfirmed",
            Phase::Gone { .. } => "gone",
        };
        // Padding needs a text of its own; `Display` of an endpoint does not pad.
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

fn show_stats(server: &Server, _record: u64, text: &mut Text<'_>) {
    let _ = writeln!(text, "connections {}", server.handoffs.len());
    for (index, name) in counters::NAMES.iter().enumerate() {
        let _ = writeln!(text, "{name} {}", server.counters.sum(index));
    }
    for reason in DropReason::ALL {
        let index = counters::refused(reason);
        let _ = writeln!(
            text,
            "refused_{} {}",
            Underscored(reason),
            server.counters.sum(index)
        );
    }
    for error in DecodeError::ALL {
        let index = counters::malformed(Malformed::Decode(error));
        let _ = writeln!(
            text,
            "malformed_{} {}",
            Underscored(error),
            server.counters.sum(index)
        );
    }
    let index = counters::malformed(Malformed::Checksum);
    let _ = writeln!(text, "malformed_checksum {}", server.counters.sum(index));
}

use thop_kernel::text::{
    Padded,
    Underscored, //
};
