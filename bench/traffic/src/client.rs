// SPDX-License-Identifier: GPL-2.0

//! The clients' end.

use std::{
    collections::HashSet,
    io::{self, Read},
    net::{Ipv4Addr, SocketAddrV4},
    sync::Barrier,
    thread,
    time::Duration,
};

use nix::{
    sched::{sched_setaffinity, CpuSet},
    unistd::Pid,
};
use socket2::Socket;

use crate::{
    mark::mark,
    segment::{receiver, sender, Segment, ACK, PSH, SYN},
    Connections,
};

/// On how many addresses the connections are spread before an address has its second.
const ADDRESSES: u32 = 1 << 16;
/// The first port of each address.
const PORTS: u16 = 1024;
/// What is sent on every connection: 200 octets.
const REQUEST: &[u8] = concat!(
    "GET /1k HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: traffic/1 (Linux; x86_64)\r\n",
    "Accept: text/html,application/xhtml+xml\r\nAccept-Language: en\r\n",
    "X-Padding: 0123456789012345678901234567890123456789012\r\n\r\n",
)
.as_bytes();
const _: () = assert!(REQUEST.len() == 200);
/// How long an answer may take before the SYN is sent again.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often in a row nothing may come.
const SILENCES: u32 = 60;

impl Connections {
    /// The client's address and port of the `n`-th.
    fn client(&self, n: u32) -> (Ipv4Addr, u16) {
        let address = u32::from(self.first) + n % ADDRESSES;
        (Ipv4Addr::from(address), PORTS + (n / ADDRESSES) as u16)
    }

    /// The reverse, for what comes from the network.
    fn number(&self, (address, port): (Ipv4Addr, u16)) -> Option<u32> {
        let address = u32::from(address).checked_sub(self.first.into())?;
        let row = u32::from(port.checked_sub(PORTS)?);
        let n = row * ADDRESSES + address;
        (address < ADDRESSES && n < self.connections).then_some(n)
    }

    /// The client's first sequence number.
    fn isn(n: u32) -> u32 {
        n.wrapping_mul(2_654_435_761)
    }

    fn segment(&self, n: u32, seq: u32, ack: u32, flags: u8) -> Segment {
        Segment {
            from: self.client(n),
            to: (self.service, self.port),
            seq,
            ack,
            flags,
        }
    }
}

pub fn establish(connections: &Connections, at_once: u32) -> io::Result<()> {
    let sender = sender()?;
    let mut receiver = receiver()?;
    receiver.set_read_timeout(Some(PATIENCE))?;
    let to = SocketAddrV4::new(connections.service, 0).into();
    let send = |segment: Segment, payload: &[u8]| sender.send_to(&segment.write(payload), &to);

    let (mut next, mut done, mut silences) = (0, 0, 0);
    let mut open = HashSet::new();
    let mut datagram = [0; 2048];
    while done < connections.connections {
        while next < connections.connections && open.len() < at_once as usize {
            send(
                connections.segment(next, Connections::isn(next), 0, SYN),
                &[],
            )?;
            open.insert(next);
            next += 1;
        }
        let len = match receiver.read(&mut datagram) {
            Ok(len) => len,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                silences += 1;
                if silences > SILENCES {
                    let text = format!("{done} connections, and then no answer");
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                for &n in &open {
                    send(connections.segment(n, Connections::isn(n), 0, SYN), &[])?;
                }
                continue;
            }
            Err(e) => return Err(e),
        };
        let Some(answer) = Segment::read(&datagram[..len]) else {
            continue;
        };
        let Some(n) = connections.number(answer.to) else {
            continue;
        };
        let seq = Connections::isn(n).wrapping_add(1);
        if answer.flags & (SYN | ACK) == SYN | ACK && answer.ack == seq && open.remove(&n) {
            let ack = answer.seq.wrapping_add(1);
            send(connections.segment(n, seq, ack, ACK | PSH), REQUEST)?;
            done += 1;
            silences = 0;
        }
    }
    println!("{done} connections");
    Ok(())
}

pub fn flood(
    connections: &Connections,
    segments: u32,
    payload: usize,
    processors: u32,
) -> io::Result<()> {
    // Nobody begins before all are ready, and all of them are done before the second mark.
    let (ready, done) = (
        &Barrier::new(processors as usize),
        &Barrier::new(processors as usize),
    );
    let payload = &vec![0; payload];
    let part = |part: u32| -> io::Result<()> {
        let prepared = Flood::on(part, processors, connections, payload).and_then(|flood| {
            // What is made by the first ones, routes for instance, is not what is measured.
            flood.send(segments / 10).map(|()| flood)
        });
        let mark = || (part == 0).then(mark);
        ready.wait();
        mark();
        let sent = prepared.and_then(|flood| flood.send(segments));
        done.wait();
        mark();
        sent
    };
    thread::scope(|scope| {
        let parts: Vec<_> = (0..processors)
            .map(|n| scope.spawn(move || part(n)))
            .collect();
        parts
            .into_iter()
            .try_for_each(|part| part.join().expect("a thread that does not panic"))
    })
}

/// What one processor sends.
struct Flood<'a> {
    sender: Socket,
    part: u32,
    parts: u32,
    connections: &'a Connections,
    payload: &'a [u8],
}

impl<'a> Flood<'a> {
    /// From this thread, which stays on processor `part` from here on.
    fn on(
        part: u32,
        parts: u32,
        connections: &'a Connections,
        payload: &'a [u8],
    ) -> io::Result<Self> {
        if parts > 1 {
            let mut own = CpuSet::new();
            own.set(part as usize)?;
            sched_setaffinity(Pid::from_raw(0), &own)?;
        }
        Ok(Self {
            sender: sender()?,
            part,
            parts,
            connections,
            payload,
        })
    }

    /// Sends segments on each `parts`-th connection, in turn.
    fn send(&self, segments: u32) -> io::Result<()> {
        let to = SocketAddrV4::new(self.connections.service, 0).into();
        let own = u64::from(self.connections.connections / self.parts).max(1);
        for k in 0..segments {
            // Far from the one before, in whatever is sorted by address.
            let n = (u64::from(k) * 7919 % own) as u32 * self.parts + self.part;
            let seq = Connections::isn(n).wrapping_add(1 + REQUEST.len() as u32);
            let segment = self.connections.segment(n, seq, 1, ACK);
            self.sender.send_to(&segment.write(self.payload), &to)?;
        }
        Ok(())
    }
}
