// SPDX-License-Identifier: GPL-2.0

//! THOP messages, as they travel over IP.
//!
//! The header of the paper is an operation code and a checksum; ours goes on with a version, the
//! length, and the name of the handoff that the message is about. All fields are big-endian. Every
//! message repeats who talks to whom and carries the name that its CREATE gave: a receiver sets its
//! state to what the message says, so a duplicate does no harm.
//!
//! ```text
//!  0                   1                   2                   3
//!  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
//! +-------------------------------+-------------------------------+
//! |            opcode             |           checksum            |
//! +---------------+---------------+-------------------------------+
//! |  version = 2  |       0       |  length (whole, octets)       |
//! +---------------+---------------+-------------------------------+
//! |                   epoch (64 bits, boot of the switch)         |
//! |                   id (64 bits, within the epoch)              |
//! +---------------+---------------+-------------------------------+
//! | family: 4, 6  | reason, haste |               0               |
//! +---------------+---------------+-------------------------------+
//! |          client port          |         service port          |
//! +-------------------------------+-------------------------------+
//! |          server port          |               0               |
//! +-------------------------------+-------------------------------+
//! |     client, service, server address (3 x 4 or 3 x 16 octets)  |
//! +---------------------------------------------------------------+
//! ```
//!
//! The octet behind the family is the reason of NOTIFYDROP, NOTIFYCLS, FORGET and CONFIRM, and CREATE's [`Haste`]. CREATED and LATE go
//! on with the boot epoch of the server (64 bits, not 0) and its clock (32 bits). CREATE goes on:
//!
//! ```text
//! +---------------------------------------------------------------+
//! |            the client's initial sequence number               |
//! |            the switch's initial sequence number               |
//! |            ts_recent (the last TSval of the client)           |
//! |            ts_last (the last TSval the switch sent)           |
//! |            window of the client (octets)                      |
//! |            round-trip time (microseconds; 0: not known)       |
//! +-------------------------------+---------------+---------------+
//! |    MSS to the client          |  snd_wscale   |  rcv_wscale   |
//! +-------------------------------+---------------+---------------+
//! |    options                    |  lease (milliseconds)         |
//! +-------------------------------+-------------------------------+
//! |            deadline (milliseconds of the server's clock)      |
//! |            length of the request, which follows               |
//! +---------------------------------------------------------------+
//! ```
//!
//! A server's clock counts milliseconds from anywhere, and wraps: see [`clock`](crate::clock).
//!
//! PING and LOAD, the messages of the load monitor, are about no handoff: [`Monitor`] has theirs. Several messages
//! may go together in a [`Bundle`].
//!
//! The checksum is the Internet checksum (RFC 1071) of the whole message. It finds accidents, not
//! forgeries: against these a message is [sealed](Seal). Decoding judges the form only: whether an
//! address makes sense here, and whether the sender may speak at all, is for the modules to say.

use crate::{
    addr::{
        Endpoint,
        FlowKey, //
    },
    checksum::Sum, //
};
use core::{
    fmt,
    net::IpAddr, //
};
use octets::{
    Header,
    Reader,
    Writer,
    HEADER, //
};

#[macro_use]
mod bits;
mod bundle;
mod error;
mod monitor;
mod octets;
mod seal;

pub use bundle::{
    Bundle,
    Messages,
    Unfit,
    MAX_BUNDLE, //
};
pub use error::{
    DecodeError,
    EncodeError, //
};
pub use monitor::{
    Load,
    Monitor,
    Ping,
    CPU_FULL, //
};

pub use seal::{
    header_ok,
    is_sealed,
    pseudo_header,
    Mac,
    Seal,
    MAC_LEN,
    SEALED,
    SEAL_LEN, //
};

/// The version of the protocol spoken here.
pub const VERSION: u8 = 2;

/// Length of the header and the fields before the addresses, octets.
const COMMON: usize = HEADER + 28;

/// Length of what CREATE has after the addresses, octets.
const CREATE_FIXED: usize = 40;

/// Length of what CREATED and LATE have after the addresses, octets.
const LIFE_FIXED: usize = 12;

/// The operation code of LATE: those in between are the load monitor's and the seal's.
const LATE: u16 = 12;

/// The largest fixed part of a message (CREATE between IPv6 endpoints), octets.
pub const MAX_FIXED: usize = COMMON + 3 * 16 + CREATE_FIXED;

/// The smallest message (a PING to an IPv4 server), octets.
pub const MIN_LEN: usize = monitor::COMMON + 4;

/// The largest message: what the length field can say, octets. The network may carry less.
pub const MAX_LEN: usize = u16::MAX as usize;

/// The smallest MSS that may be handed over: Linux's floor for sending (`TCP_MIN_SND_MSS`).
///
/// A client may announce less; Linux sends such a client segments of this size, and so the switch
/// raises the value to it before it writes a CREATE.
pub const MIN_MSS: u16 = 48;

/// The largest window scale (RFC 7323, section 2.3).
pub const MAX_WINDOW_SCALE: u8 = 14;

/// The name of a handoff. The server keeps it with the connection and quotes it ever after.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handoff {
    /// Boot epoch of the switch that issued the handoff.
    pub epoch: u64,
    /// Number of the handoff within that epoch.
    pub id: u64,
}

/// Who takes part in a handed-over connection. All three addresses are of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parties {
    /// The client.
    pub client: Endpoint,
    /// The virtual endpoint that the client connected to.
    pub service: Endpoint,
    /// The server, with the port that its listener has there.
    pub server: Endpoint,
}

impl Parties {
    /// The key of the connection.
    #[inline]
    pub const fn key(&self) -> FlowKey {
        FlowKey {
            client: self.client,
            service: self.service,
        }
    }
}

/// What client and switch agreed on in their handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions(u16);

impl TcpOptions {
    /// Window scaling (RFC 7323).
    pub const WSCALE: Self = Self(1 << 0);
    /// Selective acknowledgements (RFC 2018).
    pub const SACK: Self = Self(1 << 1);
    /// Timestamps (RFC 7323).
    pub const TIMESTAMP: Self = Self(1 << 2);
    /// Explicit congestion notification (RFC 3168).
    pub const ECN: Self = Self(1 << 3);
    /// Not an option of TCP: the client has closed its half right behind the request.
    pub const FIN: Self = Self(1 << 4);

    const ALL: u16 = (1 << 5) - 1;
}

bit_set!(TcpOptions, u16);

/// What the switch is waiting for, and must be told at once; what it is not waiting for, a server may tell a
/// little later, together with more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Haste(u8);

impl Haste {
    /// CREATED: the client has more to say, which is held until then.
    pub const TAKEN: Self = Self(1 << 0);
    /// NOTIFYCLS: somebody waits for this connection's place.
    pub const GONE: Self = Self(1 << 1);

    const ALL: u8 = (1 << 2) - 1;
}

bit_set!(Haste, u8);

/// The state of a connection, as the switch's TCP left it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpState {
    /// The client's initial sequence number: the request begins at the next.
    pub isn_client: u32,
    /// The switch's initial sequence number: the response begins at the next.
    pub isn_switch: u32,
    /// The last TSval that came from the client.
    pub ts_recent: u32,
    /// The last TSval that the switch sent. The server's must never be older.
    pub ts_last: u32,
    /// The client's receive window, octets, already scaled.
    pub window: u32,
    /// The round-trip time that the handshake has shown, microseconds; 0: not known. The server's timers and its
    /// congestion control begin with it, as they would after a handshake of its own (RFC 6298, section 2.2).
    pub rtt_us: u32,
    /// The largest segment that may be sent to the client, octets.
    pub mss: u16,
    /// Scale of the client's windows.
    pub snd_wscale: u8,
    /// Scale of the windows that go to the client, as the switch announced it.
    pub rcv_wscale: u8,
    /// What was agreed on.
    pub options: TcpOptions,
}

/// Why a server did not take a connection over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// The listener's accept queue is full.
    BacklogFull = 1,
    /// Nobody listens on that port.
    NoListener = 2,
    /// The listener speaks MPTCP, and the connection cannot be given to such a one.
    Mptcp = 3,
    /// There was no memory.
    NoMemory = 4,
    /// The server has another connection with the same endpoints.
    Conflict = 5,
    /// The server cannot do what the message asks for.
    Unsupported = 6,
    /// The kernel refused, and did not say why.
    Internal = 7,
    /// A rule of the server's packet filter has dropped the connection's first segment, or kept it for too long.
    Filtered = 8,
}

impl DropReason {
    /// Every reason there is.
    pub const ALL: [Self; 8] = [
        Self::BacklogFull,
        Self::NoListener,
        Self::Mptcp,
        Self::NoMemory,
        Self::Conflict,
        Self::Unsupported,
        Self::Internal,
        Self::Filtered,
    ];

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// A number below [`Self::COUNT`], for counters.
    #[inline]
    pub const fn index(self) -> usize {
        (self as usize).saturating_sub(1)
    }

    #[inline]
    const fn from_wire(reason: u8) -> Option<Self> {
        Some(match reason {
            1 => Self::BacklogFull,
            2 => Self::NoListener,
            3 => Self::Mptcp,
            4 => Self::NoMemory,
            5 => Self::Conflict,
            6 => Self::Unsupported,
            7 => Self::Internal,
            8 => Self::Filtered,
            _ => return None,
        })
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BacklogFull => "accept queue full",
            Self::NoListener => "no listener",
            Self::Mptcp => "listener speaks MPTCP",
            Self::NoMemory => "out of memory",
            Self::Conflict => "endpoints in use",
            Self::Unsupported => "not supported",
            Self::Internal => "internal error",
            Self::Filtered => "packet filter",
        })
    }
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// Switch to server: take this connection over.
    Create {
        /// The connection's state.
        state: TcpState,
        /// For how long the server may own the connection unconfirmed, milliseconds; with 0 it may
        /// not, and the message only asks for its clock.
        lease_ms: u16,
        /// When that ends, whenever the message comes: by the server's clock.
        deadline_ms: u32,
        /// What the switch must be told at once.
        haste: Haste,
        /// Length of the request, which follows the fixed part, octets.
        request_len: u32,
    },
    /// Server to switch: taken over.
    Created {
        /// Names this life of the server's module, as [`Load::boot`] does. Never 0.
        boot: u64,
        /// The server's clock when it sent this, milliseconds.
        clock_ms: u32,
    },
    /// Server to switch: the connection is gone.
    NotifyClose {
        /// Whether nothing is left of it here, as the server's module goes, or it never had the connection or has lost it:
        /// what the client sends finds nobody.
        leaves: bool,
    },
    /// Server to switch: refused.
    NotifyDrop(DropReason),
    /// Switch to server: NOTIFYCLS has arrived.
    CloseAck,
    /// Switch to server: give this handoff up.
    Forget {
        /// Whether the client shall be told by a reset. Without, it hears nothing: another server
        /// may speak to it by now.
        reset: bool,
    },
    /// Server to switch: given up.
    Forgotten,
    /// Switch to server: the connection is yours.
    Confirm {
        /// Whether the server must answer, as only the client has said that it has the connection: CREATED if the socket lives,
        /// NOTIFYCLS if it is gone or there is none.
        asks: bool,
    },
    /// Server to switch: this CREATE is over, or lasts longer than it may. It was not obeyed.
    Late {
        /// As in CREATED.
        boot: u64,
        /// As in CREATED.
        clock_ms: u32,
    },
}

impl Body {
    /// The operation code.
    #[inline]
    pub const fn opcode(&self) -> u16 {
        match self {
            Self::Create { .. } => 1,
            Self::Created { .. } => 2,
            Self::NotifyClose { .. } => 3,
            Self::NotifyDrop(_) => 4,
            Self::CloseAck => 5,
            Self::Forget { .. } => 6,
            Self::Forgotten => 7,
            Self::Confirm { .. } => 8,
            Self::Late { .. } => LATE,
        }
    }
}

/// A message, without the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The handoff it is about.
    pub handoff: Handoff,
    /// The connection's endpoints.
    pub parties: Parties,
    /// What it says.
    pub body: Body,
}

/// What can be wrong with a TCP state.
enum Unsound {
    Mss,
    WindowScale,
    Window,
}

impl TcpState {
    /// Whether TCP can be in this state.
    fn check(&self) -> Result<(), Unsound> {
        if self.mss < MIN_MSS {
            return Err(Unsound::Mss);
        }
        let largest = if self.options.contains(TcpOptions::WSCALE) {
            MAX_WINDOW_SCALE
        } else {
            0
        };
        if self.snd_wscale > largest || self.rcv_wscale > largest {
            return Err(Unsound::WindowScale);
        }
        // The scale is at most 14 here.
        if self.window.wrapping_shr(u32::from(self.snd_wscale)) > u32::from(u16::MAX) {
            return Err(Unsound::Window);
        }
        Ok(())
    }
}

impl Message {
    /// Another message about the same handoff: an answer.
    #[inline]
    pub const fn reply(&self, body: Body) -> Self {
        Self { body, ..*self }
    }

    /// Length of the fixed part, octets.
    #[inline]
    pub const fn fixed_len(&self) -> usize {
        let addresses = match self.parties.client.ip {
            IpAddr::V4(_) => 3 * 4,
            IpAddr::V6(_) => 3 * 16,
        };
        let more = match self.body {
            Body::Create { .. } => CREATE_FIXED,
            Body::Created { .. } | Body::Late { .. } => LIFE_FIXED,
            _ => 0,
        };
        COMMON + addresses + more
    }

    /// Writes the fixed part and returns its length.
    ///
    /// The checksum field is zero: [`set_checksum`] fills it when the whole message is known.
    pub fn encode(&self, out: &mut [u8; MAX_FIXED]) -> Result<usize, EncodeError> {
        let Parties {
            client,
            service,
            server,
        } = &self.parties;
        let v6 = client.ip.is_ipv6();
        if service.ip.is_ipv6() != v6 || server.ip.is_ipv6() != v6 {
            return Err(EncodeError::Family);
        }
        if client.port == 0 || service.port == 0 || server.port == 0 {
            return Err(EncodeError::Port);
        }
        let fixed_len = self.fixed_len();
        let request_len = match &self.body {
            Body::Create {
                state, request_len, ..
            } => {
                state.check().map_err(|unsound| match unsound {
                    Unsound::Mss => EncodeError::Mss,
                    Unsound::WindowScale => EncodeError::WindowScale,
                    Unsound::Window => EncodeError::Window,
                })?;
                *request_len
            }
            Body::Created { boot: 0, .. } | Body::Late { boot: 0, .. } => {
                return Err(EncodeError::Range)
            }
            _ => 0,
        };
        let length = usize::try_from(request_len)
            .ok()
            .and_then(|len| len.checked_add(fixed_len))
            .and_then(|len| u16::try_from(len).ok())
            .ok_or(EncodeError::Length)?;
        let reason = match self.body {
            Body::NotifyDrop(reason) => reason as u8,
            Body::Forget { reset: yes }
            | Body::NotifyClose { leaves: yes }
            | Body::Confirm { asks: yes } => u8::from(yes),
            Body::Create { haste, .. } => haste.bits(),
            _ => 0,
        };

        let mut w = Writer(out);
        w.header(self.body.opcode(), length)?;
        w.put(self.handoff.epoch.to_be_bytes())?;
        w.put(self.handoff.id.to_be_bytes())?;
        w.family(v6)?;
        w.put([reason, 0, 0])?;
        w.put(client.port.to_be_bytes())?;
        w.put(service.port.to_be_bytes())?;
        w.put(server.port.to_be_bytes())?;
        w.put([0; 2])?;
        w.address(client.ip)?;
        w.address(service.ip)?;
        w.address(server.ip)?;
        match &self.body {
            Body::Create {
                state,
                lease_ms,
                deadline_ms,
                request_len,
                haste: _,
            } => {
                w.put(state.isn_client.to_be_bytes())?;
                w.put(state.isn_switch.to_be_bytes())?;
                w.put(state.ts_recent.to_be_bytes())?;
                w.put(state.ts_last.to_be_bytes())?;
                w.put(state.window.to_be_bytes())?;
                w.put(state.rtt_us.to_be_bytes())?;
                w.put(state.mss.to_be_bytes())?;
                w.put([state.snd_wscale, state.rcv_wscale])?;
                w.put(state.options.bits().to_be_bytes())?;
                w.put(lease_ms.to_be_bytes())?;
                w.put(deadline_ms.to_be_bytes())?;
                w.put(request_len.to_be_bytes())?;
            }
            Body::Created { boot, clock_ms } | Body::Late { boot, clock_ms } => {
                w.put(boot.to_be_bytes())?;
                w.put(clock_ms.to_be_bytes())?;
            }
            _ => {}
        }
        Ok(fixed_len)
    }

    /// Reads a message of `total_len` octets, and returns it with the length of its fixed part.
    ///
    /// `fixed` are the first octets of the message, at least `min(total_len, MAX_FIXED)` of them.
    /// What follows the fixed part is the request. The checksum is [`checksum_ok`]'s business.
    pub fn decode(fixed: &[u8], total_len: usize) -> Result<(Self, usize), DecodeError> {
        let mut r = Reader::new(fixed, total_len);
        let Header { opcode, reserved } =
            r.header(|opcode| matches!(opcode, 1..=8 | LATE), total_len)?;
        let mut reserved = u16::from(reserved);
        let handoff = Handoff {
            epoch: r.u64()?,
            id: r.u64()?,
        };

        let v6 = r.family()?;
        let reason = r.u8()?;
        reserved |= r.u16()?;
        let client_port = r.u16()?;
        let service_port = r.u16()?;
        let server_port = r.u16()?;
        reserved |= r.u16()?;
        let parties = Parties {
            client: Endpoint::new(r.address(v6)?, client_port),
            service: Endpoint::new(r.address(v6)?, service_port),
            server: Endpoint::new(r.address(v6)?, server_port),
        };

        let body = match opcode {
            1 => Body::Create {
                state: TcpState {
                    isn_client: r.u32()?,
                    isn_switch: r.u32()?,
                    ts_recent: r.u32()?,
                    ts_last: r.u32()?,
                    window: r.u32()?,
                    rtt_us: r.u32()?,
                    mss: r.u16()?,
                    snd_wscale: r.u8()?,
                    rcv_wscale: r.u8()?,
                    options: TcpOptions::from_bits(r.u16()?).ok_or(DecodeError::Reserved)?,
                },
                lease_ms: r.u16()?,
                deadline_ms: r.u32()?,
                haste: Haste::from_bits(reason).ok_or(DecodeError::Reason)?,
                request_len: r.u32()?,
            },
            2 => Body::Created {
                boot: r.u64()?,
                clock_ms: r.u32()?,
            },
            3 => Body::NotifyClose {
                leaves: yes_or_no(reason)?,
            },
            4 => Body::NotifyDrop(DropReason::from_wire(reason).ok_or(DecodeError::Reason)?),
            5 => Body::CloseAck,
            6 => Body::Forget {
                reset: yes_or_no(reason)?,
            },
            7 => Body::Forgotten,
            8 => Body::Confirm {
                asks: yes_or_no(reason)?,
            },
            LATE => Body::Late {
                boot: r.u64()?,
                clock_ms: r.u32()?,
            },
            _ => return Err(DecodeError::Opcode),
        };
        let message = Self {
            handoff,
            parties,
            body,
        };

        if reserved != 0 {
            return Err(DecodeError::Reserved);
        }
        let has_reason = matches!(
            body,
            Body::NotifyDrop(_)
                | Body::NotifyClose { .. }
                | Body::Forget { .. }
                | Body::Confirm { .. }
                | Body::Create { .. }
        );
        if reason != 0 && !has_reason {
            return Err(DecodeError::Reason);
        }
        if client_port == 0 || service_port == 0 || server_port == 0 {
            return Err(DecodeError::Port);
        }
        let fixed_len = message.fixed_len();
        let rest = total_len.checked_sub(fixed_len).ok_or(DecodeError::Short)?;
        match &body {
            Body::Create {
                state, request_len, ..
            } => {
                state.check().map_err(|unsound| match unsound {
                    Unsound::Mss => DecodeError::Mss,
                    Unsound::WindowScale => DecodeError::WindowScale,
                    Unsound::Window => DecodeError::Window,
                })?;
                if usize::try_from(*request_len) != Ok(rest) {
                    return Err(DecodeError::RequestLen);
                }
            }
            Body::Created { boot: 0, .. } | Body::Late { boot: 0, .. } => {
                return Err(DecodeError::Range)
            }
            _ if rest != 0 => return Err(DecodeError::Length),
            _ => {}
        }
        Ok((message, fixed_len))
    }
}

/// A reason that is one of two.
#[inline]
const fn yes_or_no(reason: u8) -> Result<bool, DecodeError> {
    match reason {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::Reason),
    }
}

/// What a datagram says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A message about a handoff.
    Handoff(Message),
    /// One of the load monitor.
    Monitor(Monitor),
    /// Several messages about handoffs: [`Messages`].
    Bundle,
}

impl Packet {
    /// Reads a datagram of `total_len` octets, and returns what it says with the length of its fixed part. Of a
    /// bundle that is the header, and what follows has not been looked at.
    ///
    /// As [`Message::decode`] and [`Monitor::decode`]; the operation code says which.
    #[inline]
    pub fn decode(fixed: &[u8], total_len: usize) -> Result<(Self, usize), DecodeError> {
        match fixed
            .first_chunk()
            .map(|opcode| u16::from_be_bytes(*opcode))
        {
            Some(monitor::PING | monitor::LOAD) => Monitor::decode(fixed, total_len)
                .map(|(message, len)| (Self::Monitor(message), len)),
            Some(bundle::BUNDLE) => {
                bundle::check_bundle(fixed, total_len).map(|len| (Self::Bundle, len))
            }
            _ => Message::decode(fixed, total_len)
                .map(|(message, len)| (Self::Handoff(message), len)),
        }
    }
}

/// A side of THOP: who a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The switch.
    Switch,
    /// The server.
    Server,
}

impl Side {
    /// Whether a message that begins with these octets is for this side, or the first of a bundle; `None` if its
    /// operation code is not known.
    #[inline]
    pub fn hears(self, message: &[u8]) -> Option<bool> {
        let opcode = |message: &[u8]| message.first_chunk().map(|code| u16::from_be_bytes(*code));
        let opcode = match opcode(message)? {
            bundle::BUNDLE => opcode(bundle::first_of(message)?)?,
            other => other,
        };
        let hears = match opcode {
            // CREATE, CLSACK, FORGET, CONFIRM.
            1 | 5 | 6 | 8 | monitor::PING => Self::Server,
            // CREATED, NOTIFYCLS, NOTIFYDROP, FORGOTTEN.
            2 | 3 | 4 | 7 | LATE | monitor::LOAD => Self::Switch,
            _ => return None,
        };
        Some(hears == self)
    }
}

/// Stores the checksum of an encoded message.
///
/// `whole` is the sum over all of the message, the request too, with the checksum field zero.
#[inline]
pub fn set_checksum(fixed: &mut [u8; MAX_FIXED], whole: Sum) {
    let [high, low] = whole.finish().to_be_bytes();
    fixed[2] = high;
    fixed[3] = low;
}

/// Whether a message arrived as it was sent. `whole` is the sum over all of it.
#[inline]
pub fn checksum_ok(whole: Sum) -> bool {
    whole.fold() == 0xffff
}

#[cfg(test)]
mod tests;
