// SPDX-License-Identifier: GPL-2.0

//! The load monitor's messages: a switch asks a server's listener how it is, and is told.
//!
//! They are about no handoff. Instead of its name they carry a question's, which the answer
//! repeats, and of the addresses only that of the listener asked about. All fields are big-endian.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |      opcode: PING, LOAD       |           checksum            |
//! +---------------+---------------+-------------------------------+
//! |  version = 1  |       0       |  length (whole, octets)       |
//! +---------------+---------------+-------------------------------+
//! |                   epoch (64 bits, boot of the switch)         |
//! |                   sequence (64 bits, the switch's choice)     |
//! +---------------+---------------+-------------------------------+
//! | family: 4, 6  |       0       |               0               |
//! +---------------+---------------+-------------------------------+
//! |          server port          |               0               |
//! +-------------------------------+-------------------------------+
//! |     server address (4 or 16 octets)                           |
//! +---------------------------------------------------------------+
//! ```
//!
//! LOAD alone goes on:
//!
//! ```text
//! +---------------------------------------------------------------+
//! |                   boot (64 bits, of the server, not 0)        |
//! |                   drops (64 bits, since that boot)            |
//! +---------------------------------------------------------------+
//! |            connections that live there                        |
//! |            connections in the accept queue                    |
//! |            length of the accept queue                         |
//! +-------------------------------+-------------------------------+
//! |    cpu (thousandths)          |  flags: 1 = listening         |
//! +-------------------------------+-------------------------------+
//! |                   clock (milliseconds)                        |
//! +---------------------------------------------------------------+
//! ```

use super::{
    octets::{
        Header,
        Reader,
        Writer,
        HEADER, //
    },
    DecodeError,
    EncodeError,
    MAX_FIXED, //
};
use crate::addr::Endpoint;
use core::net::IpAddr;

/// The operation code of [`Ping`].
pub(super) const PING: u16 = 9;

/// The operation code of [`Load`].
pub(super) const LOAD: u16 = 10;

/// Length of the header and the fields before the address, octets.
pub(super) const COMMON: usize = HEADER + 24;

/// Length of what LOAD has after the address, octets.
const LOAD_FIXED: usize = 36;

/// [`Load::cpu`] of a machine whose processors are all busy all the time.
pub const CPU_FULL: u16 = 1000;

/// The flag of [`Load::listening`].
const LISTENING: u16 = 1 << 0;

/// Switch to server: how are you?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Boot epoch of the switch.
    pub epoch: u64,
    /// The question's number within that epoch.
    pub sequence: u64,
    /// The server asked, with the port that its listener has there.
    pub server: Endpoint,
}

/// Server to switch: this is how I am.
///
/// All figures are of the moment at which the PING came, unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// The question.
    pub ping: Ping,
    /// Names this life of the server's module: a random number, never 0. With another one, all that
    /// the switch had handed to this server is gone.
    pub boot: u64,
    /// How many handoffs the server has refused since `boot`, for whatever reason and listener.
    pub drops: u64,
    /// How many connections live that were handed to this listener.
    pub connections: u32,
    /// How many connections wait in the listener's accept queue, not only handed-over ones. Of a
    /// group of listeners (`SO_REUSEPORT`) the sum.
    pub queue: u32,
    /// For how many the queue has room, in the sense of `listen(2)`. Of a group the sum.
    pub queue_limit: u32,
    /// How busy the machine's processors were lately: thousandths of what all of them can do, at most
    /// [`CPU_FULL`].
    pub cpu: u16,
    /// Whether somebody listens there to whom connections can be handed. If not, `queue` and
    /// `queue_limit` mean nothing.
    pub listening: bool,
    /// The server's clock when it sent this, milliseconds: see [`clock`](crate::clock).
    pub clock_ms: u32,
}

/// A message of the load monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Monitor {
    /// A question.
    Ping(Ping),
    /// An answer.
    Load(Load),
}

impl Monitor {
    /// The question: this message, or what it answers.
    #[inline]
    pub const fn ping(&self) -> &Ping {
        match self {
            Self::Ping(ping) => ping,
            Self::Load(load) => &load.ping,
        }
    }

    /// The operation code.
    #[inline]
    pub const fn opcode(&self) -> u16 {
        match self {
            Self::Ping(_) => PING,
            Self::Load(_) => LOAD,
        }
    }

    /// Length, octets: nothing follows the fixed part.
    #[inline]
    pub const fn fixed_len(&self) -> usize {
        let address = match self.ping().server.ip {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 16,
        };
        let load = match self {
            Self::Ping(_) => 0,
            Self::Load(_) => LOAD_FIXED,
        };
        COMMON + address + load
    }

    /// Writes the message and returns its length.
    ///
    /// The checksum field is zero: [`set_checksum`](super::set_checksum) fills it. Fails when the
    /// port is zero, and with [`EncodeError::Range`] when `boot` is zero or `cpu` above [`CPU_FULL`].
    pub fn encode(&self, out: &mut [u8; MAX_FIXED]) -> Result<usize, EncodeError> {
        let Ping {
            epoch,
            sequence,
            server,
        } = self.ping();
        if server.port == 0 {
            return Err(EncodeError::Port);
        }
        let fixed_len = self.fixed_len();
        let length = u16::try_from(fixed_len).map_err(|_| EncodeError::Length)?;

        let mut w = Writer(out);
        w.header(self.opcode(), length)?;
        w.put(epoch.to_be_bytes())?;
        w.put(sequence.to_be_bytes())?;
        w.family(server.ip.is_ipv6())?;
        w.put([0; 3])?;
        w.put(server.port.to_be_bytes())?;
        w.put([0; 2])?;
        w.address(server.ip)?;
        if let Self::Load(load) = self {
            if !load.is_in_range() {
                return Err(EncodeError::Range);
            }
            let flags = if load.listening { LISTENING } else { 0 };
            w.put(load.boot.to_be_bytes())?;
            w.put(load.drops.to_be_bytes())?;
            w.put(load.connections.to_be_bytes())?;
            w.put(load.queue.to_be_bytes())?;
            w.put(load.queue_limit.to_be_bytes())?;
            w.put(load.cpu.to_be_bytes())?;
            w.put(flags.to_be_bytes())?;
            w.put(load.clock_ms.to_be_bytes())?;
        }
        Ok(fixed_len)
    }

    /// Reads a message of `total_len` octets, and returns it with its length.
    ///
    /// `fixed` are the first octets of the message, at least `min(total_len, MAX_FIXED)` of them. The
    /// checksum is [`checksum_ok`](super::checksum_ok)'s business.
    pub fn decode(fixed: &[u8], total_len: usize) -> Result<(Self, usize), DecodeError> {
        let mut r = Reader::new(fixed, total_len);
        let Header { opcode, reserved } =
            r.header(|opcode| matches!(opcode, PING | LOAD), total_len)?;
        let mut reserved = u16::from(reserved);
        let epoch = r.u64()?;
        let sequence = r.u64()?;
        let v6 = r.family()?;
        reserved |= u16::from(r.u8()?);
        reserved |= r.u16()?;
        let port = r.u16()?;
        reserved |= r.u16()?;
        let ping = Ping {
            epoch,
            sequence,
            server: Endpoint::new(r.address(v6)?, port),
        };
        let message = match opcode {
            PING => Self::Ping(ping),
            LOAD => {
                let boot = r.u64()?;
                let drops = r.u64()?;
                let connections = r.u32()?;
                let queue = r.u32()?;
                let queue_limit = r.u32()?;
                let cpu = r.u16()?;
                let flags = r.u16()?;
                let clock_ms = r.u32()?;
                reserved |= flags & !LISTENING;
                Self::Load(Load {
                    ping,
                    boot,
                    drops,
                    connections,
                    queue,
                    queue_limit,
                    cpu,
                    listening: flags & LISTENING != 0,
                    clock_ms,
                })
            }
            _ => return Err(DecodeError::Opcode),
        };

        if reserved != 0 {
            return Err(DecodeError::Reserved);
        }
        if port == 0 {
            return Err(DecodeError::Port);
        }
        if matches!(&message, Self::Load(load) if !load.is_in_range()) {
            return Err(DecodeError::Range);
        }
        let fixed_len = message.fixed_len();
        if total_len != fixed_len {
            return Err(DecodeError::Length);
        }
        Ok((message, fixed_len))
    }
}

impl Load {
    /// Whether the fields are such as a server may have.
    const fn is_in_range(&self) -> bool {
        self.boot != 0 && self.cpu <= CPU_FULL
    }
}
