// SPDX-License-Identifier: GPL-2.0

//! What locality is worth: servers with caches behind the policies of `thop_core`, simulated.
//!
//! ```text
//! cargo run --release -p lard [FOLDER]
//! ```
//!
//! writes `lard.csv` and a figure for each trace to FOLDER, by default `bench/lard/results`. The same
//! seed gives the same files. The policies are those that the switch runs, as they are; the servers'
//! costs are those of the simulation by which LARD was introduced (Pai et al., ASPLOS 1998, section
//! 3.1), see [`server`].

mod plot;
mod server;
mod simulation;
mod trace;

use std::{env, error::Error, fmt::Write, fs, path::PathBuf};
use thop_core::policy::Kind;

/// A policy with its options, and its name in the figures.
pub struct Contender {
    pub name: &'static str,
    pub kind: Kind,
    pub options: &'static [(&'static str, &'static str)],
}

const CONTENDERS: [Contender; 5] = [
    Contender {
        name: "lard/r",
        kind: Kind::LardR,
        options: &[],
    },
    Contender {
        name: "lard",
        kind: Kind::Lard,
        options: &[],
    },
    Contender {
        name: "maglev key path",
        kind: Kind::Maglev,
        options: &[("key", "path")],
    },
    Contender {
        name: "lc",
        kind: Kind::LeastConnections,
        options: &[],
    },
    Contender {
        name: "wrr",
        kind: Kind::WeightedRoundRobin,
        options: &[],
    },
];

const SERVERS: [usize; 11] = [1, 2, 3, 4, 5, 6, 8, 10, 12, 14, 16];
/// The exponents of the traces' Zipf distributions.
const EXPONENTS: [f64; 2] = [0.8, 1.0];
const SEED: u64 = 1998;

fn main() -> Result<(), Box<dyn Error>> {
    let results = concat!(env!("CARGO_MANIFEST_DIR"), "/results");
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| results.into()));
    fs::create_dir_all(&folder)?;
    let mut csv = String::from("zipf,policy,servers,clients,requests_per_s,hit_rate,response_ms\n");
    for exponent in EXPONENTS {
        let trace = trace::Trace::new(exponent, SEED);
        println!(
            "Zipf {exponent}: {} files, {} MB",
            trace.sizes.len(),
            trace.sizes.iter().map(|&size| u64::from(size)).sum::<u64>() >> 20,
        );
        let mut throughput = Vec::new();
        let mut hits = Vec::new();
        for contender in &CONTENDERS {
            let mut curves = (Vec::new(), Vec::new());
            for servers in SERVERS {
                let clients = simulation::clients(servers);
                let outcome = simulation::run(&trace, contender, servers);
                writeln!(
                    csv,
                    "{exponent:.1},{},{servers},{clients},{:.1},{:.4},{:.2}",
                    contender.name, outcome.requests_per_s, outcome.hit_rate, outcome.response_ms
                )?;
                curves.0.push((servers, outcome.requests_per_s));
                curves.1.push((servers, outcome.hit_rate * 100.0));
            }
            println!(
                "  {:16} {:5.0} requests/s",
                contender.name,
                curves.0.last().map_or(0.0, |&(_, rate)| rate)
            );
            throughput.push((contender.name, curves.0));
            hits.push((contender.name, curves.1));
        }
        let figure = plot::figure(&[
            (
                &format!("Throughput, Zipf {exponent:.1}"),
                "requests/s",
                &throughput,
            ),
            (&format!("Cache hits, Zipf {exponent:.1}"), "%", &hits),
        ]);
        fs::write(folder.join(format!("zipf-{exponent:.1}.svg")), figure)?;
    }
    fs::write(folder.join("lard.csv"), csv)?;
    Ok(())
}
