// SPDX-License-Identifier: GPL-2.0

//! Traffic for benchmarks: real requests; and both ends of many TCP connections, without TCP: raw segments, so that a hundred thousand connections cost
//! the machines at the ends next to nothing, and what is measured is what stands between them.
//!
//! The addresses of its clients must be local where it runs as a client, and nobody may send resets there: see
//! `bench/net/lib.sh`.

mod client;
mod mark;
mod requests;
mod segment;
mod server;

use std::{io, net::Ipv4Addr};

use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Opens connections, sends a request on each, and leaves them open.
    Establish {
        #[command(flatten)]
        connections: Connections,
        /// How many handshakes go on at a time.
        #[arg(long, default_value_t = 64)]
        at_once: u32,
    },
    /// Sends segments on connections that are open, in turn, between two marks.
    Flood {
        #[command(flatten)]
        connections: Connections,
        /// How many segments.
        #[arg(long)]
        segments: u32,
        /// Octets of payload in each.
        #[arg(long, default_value_t = 0)]
        payload: usize,
        /// On how many processors at once; each sends so many segments, on connections of its own.
        #[arg(long, default_value_t = 1)]
        processors: u32,
    },
    /// Makes real requests, between two marks.
    Requests(requests::Requests),
    /// Answers every SYN with SYN-ACK, and every CREATE with CREATED.
    Serve {
        /// The address of this server.
        #[arg(long)]
        address: Ipv4Addr,
    },
    /// Sets a mark.
    Mark,
    /// Does nothing, and keeps a processor busy with it.
    Spin,
}

/// The connections that clients have with a service.
#[derive(Args, Clone, Copy)]
struct Connections {
    /// The service.
    #[arg(long)]
    service: Ipv4Addr,
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// How many.
    #[arg(long)]
    connections: u32,
    /// The clients have this address and those after it.
    #[arg(long, default_value = "10.128.0.1")]
    first: Ipv4Addr,
}

fn main() -> io::Result<()> {
    match Arguments::parse().what {
        What::Establish {
            connections,
            at_once,
        } => client::establish(&connections, at_once),
        What::Flood {
            connections,
            segments,
            payload,
            processors,
        } => client::flood(&connections, segments, payload, processors),
        What::Requests(requests) => requests.run(),
        What::Serve { address } => server::serve(address),
        What::Mark => {
            mark::mark();
            Ok(())
        }
        What::Spin => loop {
            std::hint::spin_loop();
        },
    }
}
