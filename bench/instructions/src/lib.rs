// SPDX-License-Identifier: GPL-2.0

//! A plugin for QEMU's TCG that counts the instructions of a whole machine, processor by processor.
//!
//! The guest sets marks: whoever in it executes `xchg %bx,%bx`, which does nothing and which no compiler
//! writes, has a line appended to the file that the argument `out` names: how many instructions each
//! processor has executed so far. A mark is exact; nothing is lost between the guest and a watcher outside.
//!
//! With the argument `profile=on` the blocks that were executed since the mark before are written, too, to
//! `out`.N for the N-th mark, a line each: address, and the instructions of every processor. Waiting is among them.
//!
//! A processor that waits in a loop of `pause` instructions has nothing to do. What it executes from one `pause` to
//! the next, if that is not more than such a loop is long, does not count.
//!
//! A block of code counts as whole when it is entered. One that a fault leaves early is counted too high by
//! some instructions.

mod processor;
mod qemu;

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufWriter, Write},
    sync::{
        atomic::{AtomicU64, Ordering::Relaxed},
        Arc, Mutex, OnceLock,
    },
};

/// `xchg %bx,%bx`.
const MARK: [u8; 3] = [0x66, 0x87, 0xdb];
/// `pause`.
const PAUSE: [u8; 2] = [0xf3, 0x90];
/// How many instructions a loop around it has at most.
const LOOP: u64 = 24;
/// For how many processors there are counters.
const PROCESSORS: usize = 64;

/// A counter that only one processor writes, in a cache line of its own.
#[repr(align(64))]
struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    fn add(&self, n: u64) {
        // No other writer, so no locked instruction.
        self.0.store(self.0.load(Relaxed) + n, Relaxed);
    }
}

/// What a processor has executed, as far as it counts.
static EXECUTED: [Counter; PROCESSORS] = [const { Counter::new() }; PROCESSORS];
/// The same of a machine's only processor, if there is no profile: quicker.
static ALONE: OnceLock<qemu::Sum> = OnceLock::new();
/// How much that was at its last `pause`.
static PAUSED: [Counter; PROCESSORS] = [const { Counter::new() }; PROCESSORS];
static OUTPUT: OnceLock<Mutex<Output>> = OnceLock::new();

/// A block of translated code.
struct Block {
    address: u64,
    instructions: u64,
    /// How often each processor has entered it since the last mark.
    entered: Box<[AtomicU64]>,
}

struct Output {
    path: String,
    file: File,
    processors: usize,
    marks: u64,
    /// All blocks, if there is to be a profile.
    profile: Option<Vec<Arc<Block>>>,
}

impl Output {
    fn mark(&mut self) -> io::Result<()> {
        self.marks += 1;
        if !processor::all_known(self.processors) {
            return Err(io::Error::other("a processor has not shown itself"));
        }
        let counts: Vec<_> = (0..self.processors)
            .map(|cpu| executed(cpu).to_string())
            .collect();
        writeln!(self.file, "{}", counts.join(" "))?;
        let Some(blocks) = &self.profile else {
            return Ok(());
        };
        let mut by_address = HashMap::<u64, Vec<u64>>::new();
        for block in blocks {
            for (cpu, entered) in block.entered.iter().enumerate() {
                let executed = entered.swap(0, Relaxed) * block.instructions;
                if executed > 0 {
                    let all = by_address
                        .entry(block.address)
                        .or_insert_with(|| vec![0; self.processors]);
                    all[cpu] += executed;
                }
            }
        }
        let mut out = BufWriter::new(File::create(format!("{}.{}", self.path, self.marks))?);
        for (address, executed) in by_address {
            let executed: Vec<_> = executed.iter().map(u64::to_string).collect();
            writeln!(out, "{address:x} {}", executed.join(" "))?;
        }
        out.flush()
    }
}

/// QEMU loads the plugin, for a machine of so many processors.
fn install(arguments: &[String], processors: usize) -> Result<(), String> {
    let (mut path, mut profile) = (None, false);
    for argument in arguments {
        match argument.split_once('=') {
            Some(("out", value)) => path = Some(value.to_owned()),
            Some(("profile", value)) => profile = value == "on",
            _ => return Err(format!("what is {argument}?")),
        }
    }
    let path = path.ok_or("where to? out=FILE")?;
    if processors > PROCESSORS {
        return Err(format!("more than {PROCESSORS} processors"));
    }
    if processors == 1 && !profile {
        ALONE.get_or_init(qemu::Sum::new);
    }
    let output = Output {
        file: File::create(&path).map_err(|e| format!("{path}: {e}"))?,
        path,
        processors,
        marks: 0,
        profile: profile.then(Vec::new),
    };
    OUTPUT
        .set(Mutex::new(output))
        .map_err(|_| "loaded twice".into())
}

/// Does something with the output, which is there once the plugin is installed.
fn with_output<R>(f: impl FnOnce(&mut Output) -> R) -> Option<R> {
    OUTPUT.get()?.lock().ok().map(|mut output| f(&mut output))
}

/// What a processor has executed, as far as it counts.
fn executed(cpu: usize) -> u64 {
    match ALONE.get() {
        Some(sum) => sum.get(cpu),
        None => EXECUTED[cpu].get(),
    }
}

/// A processor executes `pause`.
fn paused(cpu: usize) {
    let (now, before) = (executed(cpu), PAUSED[cpu].get());
    if now - before > LOOP {
        PAUSED[cpu].0.store(now, Relaxed);
    } else if let Some(sum) = ALONE.get() {
        sum.set(cpu, before);
    } else {
        EXECUTED[cpu].0.store(before, Relaxed);
    }
}

/// QEMU translates a block.
fn translate(block: &qemu::Block<'_>) {
    let instructions = block.instructions() as u64;
    let count = move |cpu: usize| EXECUTED[cpu].add(instructions);
    let address = block.address();
    let profiled = with_output(|output| {
        let processors = output.processors;
        let blocks = output.profile.as_mut()?;
        let block = Arc::new(Block {
            address,
            instructions,
            entered: (0..processors).map(|_| AtomicU64::new(0)).collect(),
        });
        blocks.push(block.clone());
        Some(block)
    });
    match (profiled.flatten(), ALONE.get()) {
        (Some(profiled), _) => block.on_entry(move |cpu| {
            count(cpu);
            profiled.entered[cpu].fetch_add(1, Relaxed);
        }),
        (None, Some(sum)) => block.adds(sum, instructions),
        (None, None) => block.on_entry(count),
    }
    block.on_instruction(&PAUSE, paused);
    block.on_instruction(&MARK, |_| {
        if let Some(Err(e)) = with_output(Output::mark) {
            eprintln!("instructions: {e}");
        }
    });
}
