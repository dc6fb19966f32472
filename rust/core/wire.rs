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
//! |  version = 1  |       0       |  length (whole, octets)       |
//! +---------------+---------------+-------------------------------+
//! |                   epoch (64 bits, boot of the switch)         |
//! |                   id (64 bits, within the epoch)              |
//! +---------------+---------------+-------------------------------+
//! | family: 4, 6  |    reason     |               0               |
//! +---------------+---------------+-------------------------------+
//! |          client port          |         service port          |
//! +-------------------------------+-------------------------------+
//! |          server port          |               0               |
//! +-------------------------------+-------------------------------+
//! |     client, service, server address (3 x 4 or 3 x 16 octets)  |
//! +---------------------------------------------------------------+
//! ```
//!
//! CREATE alone goes on:
//!
//! ```text
//! +---------------------------------------------------------------+
//! |            the client's initial sequence number               |
//! |            the switch's initial sequence number               |
//! |            ts_recent (the last TSval of the client)           |
//! |            ts_last (the last TSval the switch sent)           |
//! |            window of the client (octets)                      |
//! +-------------------------------+---------------+---------------+
//! |    MSS to the client          |  snd_wscale   |  rcv_wscale   |
//! +-------------------------------+---------------+---------------+
//! |    options                    |  lease (milliseconds)         |
//! +-------------------------------+-------------------------------+
//! |            length of the request, which follows               |
//! +---------------------------------------------------------------+
//! ```
//!
//! The checksum is the Internet checksum (RFC 1071) of the whole message. It finds accidents, not
//! forgeries. Decoding judges the form only: whether an address makes sense here, and whether the
//! sender may speak at all, is for the modules to say.

use crate::{
    addr::{
        Endpoint,
        FlowKey, //
    },
    checksum::Sum, //
};
use core::{
    fmt,
    net::{
        IpAddr,
        Ipv4Addr,
        Ipv6Addr, //
    },
};

/// The version of the protocol spoken here.
pub const VERSION: u8 = 1;

/// Length of the header and the fields before the addresses, octets.
const COMMON: usize = 36;

/// Length of what CREATE has after the addresses, octets.
const CREATE_FIXED: usize = 32;

/// The largest fixed part of a message (CREATE between IPv6 endpoints), octets.
pub const MAX_FIXED: usize = COMMON + 3 * 16 + CREATE_FIXED;

/// The smallest message (anything but CREATE between IPv4 endpoints), octets.
pub const MIN_LEN: usize = COMMON + 3 * 4;

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
    /// Nothing was agreed on.
    pub const NONE: Self = Self(0);
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

    /// These bits of the field, or `None` when one of them has no meaning.
    #[inline]
    pub const fn from_bits(bits: u16) -> Option<Self> {
        if bits & !Self::ALL == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The bits of the field.
    #[inline]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether all of `other` is in here.
    #[inline]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and, when `condition` holds, `other`.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Self, condition: bool) -> Self {
        if condition {
            Self(self.0 | other.0)
        } else {
            self
        }
    }
}

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
}

impl DropReason {
    /// Every reason there is.
    pub const ALL: [Self; 7] = [
        Self::BacklogFull,
        Self::NoListener,
        Self::Mptcp,
        Self::NoMemory,
        Self::Conflict,
        Self::Unsupported,
        Self::Internal,
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
        /// For how long the server may own the connection unconfirmed, milliseconds.
        lease_ms: u16,
        /// Length of the request, which follows the fixed part, octets.
        request_len: u32,
    },
    /// Server to switch: taken over.
    Created,
    /// Server to switch: the connection is gone.
    NotifyClose,
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
    Confirm,
}

impl Body {
    /// The operation code.
    #[inline]
    pub const fn opcode(&self) -> u16 {
        match self {
            Self::Create { .. } => 1,
            Self::Created => 2,
            Self::NotifyClose => 3,
            Self::NotifyDrop(_) => 4,
            Self::CloseAck => 5,
            Self::Forget { .. } => 6,
            Self::Forgotten => 7,
            Self::Confirm => 8,
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

/// Why a message cannot be written. [`Message::decode`] would refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The endpoints are not of one family.
    Family,
    /// A port is zero.
    Port,
    /// The MSS is below [`MIN_MSS`].
    Mss,
    /// A window scale is too large, or there is one without the option.
    WindowScale,
    /// The window is larger than its scale can express.
    Window,
    /// The message is longer than [`MAX_LEN`].
    Length,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Family => "mixed address families",
            Self::Port => "port zero",
            Self::Mss => "MSS too small",
            Self::WindowScale => "bad window scale",
            Self::Window => "window too large",
            Self::Length => "request too long",
        })
    }
}

/// Why a message was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// There are too few octets.
    Short,
    /// Another version.
    Version,
    /// An operation code that nobody knows.
    Opcode,
    /// The length field is not the message's length, or something follows the message.
    Length,
    /// A field that must be zero is not.
    Reserved,
    /// An address family that nobody knows.
    Family,
    /// A NOTIFYDROP without a known reason, or another message with one.
    Reason,
    /// A port is zero.
    Port,
    /// The MSS is below [`MIN_MSS`].
    Mss,
    /// A window scale is too large, or there is one without the option.
    WindowScale,
    /// The window is larger than its scale can express.
    Window,
    /// The request is not as long as the message says.
    RequestLen,
}

impl DecodeError {
    /// Every error there is.
    pub const ALL: [Self; 12] = [
        Self::Short,
        Self::Version,
        Self::Opcode,
        Self::Length,
        Self::Reserved,
        Self::Family,
        Self::Reason,
        Self::Port,
        Self::Mss,
        Self::WindowScale,
        Self::Window,
        Self::RequestLen,
    ];

    /// How many errors there are.
    pub const COUNT: usize = Self::ALL.len();

    /// A number below [`Self::COUNT`], for counters.
    #[inline]
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Short => "message too short",
            Self::Version => "unknown version",
            Self::Opcode => "unknown operation code",
            Self::Length => "wrong length",
            Self::Reserved => "reserved field in use",
            Self::Family => "unknown address family",
            Self::Reason => "bad reason",
            Self::Port => "port zero",
            Self::Mss => "MSS too small",
            Self::WindowScale => "bad window scale",
            Self::Window => "window too large",
            Self::RequestLen => "wrong request length",
        })
    }
}

/// Octets still to be read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    #[inline]
    fn take<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (field, rest) = self.0.split_first_chunk().ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(*field)
    }

    #[inline]
    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.take().map(u8::from_be_bytes)
    }

    #[inline]
    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.take().map(u16::from_be_bytes)
    }

    #[inline]
    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.take().map(u32::from_be_bytes)
    }

    #[inline]
    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.take().map(u64::from_be_bytes)
    }

    #[inline]
    fn address(&mut self, v6: bool) -> Result<IpAddr, DecodeError> {
        Ok(if v6 {
            IpAddr::V6(Ipv6Addr::from(self.take::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.take::<4>()?))
        })
    }
}

/// Room still to be written.
struct Writer<'a>(&'a mut [u8]);

impl Writer<'_> {
    #[inline]
    fn put<const N: usize>(&mut self, field: [u8; N]) -> Result<(), EncodeError> {
        let (room, rest) = core::mem::take(&mut self.0)
            .split_first_chunk_mut()
            .ok_or(EncodeError::Length)?;
        *room = field;
        self.0 = rest;
        Ok(())
    }

    #[inline]
    fn address(&mut self, address: IpAddr) -> Result<(), EncodeError> {
        match address {
            IpAddr::V4(ip) => self.put(ip.octets()),
            IpAddr::V6(ip) => self.put(ip.octets()),
        }
    }
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
        let create = match self.body {
            Body::Create { .. } => CREATE_FIXED,
            _ => 0,
        };
        COMMON + addresses + create
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
            _ => 0,
        };
        let length = usize::try_from(request_len)
            .ok()
            .and_then(|len| len.checked_add(fixed_len))
            .and_then(|len| u16::try_from(len).ok())
            .ok_or(EncodeError::Length)?;
        let reason = match self.body {
            Body::NotifyDrop(reason) => reason as u8,
            Body::Forget { reset } => u8::from(reset),
            _ => 0,
        };

        let mut w = Writer(out);
        w.put(self.body.opcode().to_be_bytes())?;
        w.put([0; 2])?;
        w.put([VERSION, 0])?;
        w.put(length.to_be_bytes())?;
        w.put(self.handoff.epoch.to_be_bytes())?;
        w.put(self.handoff.id.to_be_bytes())?;
        w.put([if v6 { 6 } else { 4 }, reason])?;
        w.put([0; 2])?;
        w.put(client.port.to_be_bytes())?;
        w.put(service.port.to_be_bytes())?;
        w.put(server.port.to_be_bytes())?;
        w.put([0; 2])?;
        w.address(client.ip)?;
        w.address(service.ip)?;
        w.address(server.ip)?;
        if let Body::Create {
            state,
            lease_ms,
            request_len,
        } = &self.body
        {
            w.put(state.isn_client.to_be_bytes())?;
            w.put(state.isn_switch.to_be_bytes())?;
            w.put(state.ts_recent.to_be_bytes())?;
            w.put(state.ts_last.to_be_bytes())?;
            w.put(state.window.to_be_bytes())?;
            w.put(state.mss.to_be_bytes())?;
            w.put([state.snd_wscale, state.rcv_wscale])?;
            w.put(state.options.bits().to_be_bytes())?;
            w.put(lease_ms.to_be_bytes())?;
            w.put(request_len.to_be_bytes())?;
        }
        Ok(fixed_len)
    }

    /// Reads a message of `total_len` octets, and returns it with the length of its fixed part.
    ///
    /// `fixed` are the first octets of the message, at least `min(total_len, MAX_FIXED)` of them.
    /// What follows the fixed part is the request. The checksum is [`checksum_ok`]'s business.
    pub fn decode(fixed: &[u8], total_len: usize) -> Result<(Self, usize), DecodeError> {
        let mut r = Reader(fixed.get(..total_len).unwrap_or(fixed));

        let opcode = r.u16()?;
        let _checksum = r.u16()?;
        let version = r.u8()?;
        if version != VERSION {
            return Err(DecodeError::Version);
        }
        if !(1..=8).contains(&opcode) {
            return Err(DecodeError::Opcode);
        }
        let mut reserved = u16::from(r.u8()?);
        if usize::from(r.u16()?) != total_len {
            return Err(DecodeError::Length);
        }
        let handoff = Handoff {
            epoch: r.u64()?,
            id: r.u64()?,
        };

        let v6 = match r.u8()? {
            4 => false,
            6 => true,
            _ => return Err(DecodeError::Family),
        };
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
                    mss: r.u16()?,
                    snd_wscale: r.u8()?,
                    rcv_wscale: r.u8()?,
                    options: TcpOptions::from_bits(r.u16()?).ok_or(DecodeError::Reserved)?,
                },
                lease_ms: r.u16()?,
                request_len: r.u32()?,
            },
            2 => Body::Created,
            3 => Body::NotifyClose,
            4 => Body::NotifyDrop(DropReason::from_wire(reason).ok_or(DecodeError::Reason)?),
            5 => Body::CloseAck,
            6 => Body::Forget {
                reset: match reason {
                    0 => false,
                    1 => true,
                    _ => return Err(DecodeError::Reason),
                },
            },
            7 => Body::Forgotten,
            8 => Body::Confirm,
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
        if reason != 0 && !matches!(body, Body::NotifyDrop(_) | Body::Forget { .. }) {
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
            _ if rest != 0 => return Err(DecodeError::Length),
            _ => {}
        }
        Ok((message, fixed_len))
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
mod tests {
    use super::*;

    fn message(body: Body) -> Message {
        let endpoint = |host, port| Endpoint::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, host)), port);
        Message {
            handoff: Handoff {
                epoch: 0x0102_0304_0506_0708,
                id: 0x1112_1314_1516_1718,
            },
            parties: Parties {
                client: endpoint(1, 0x8001),
                service: endpoint(2, 80),
                server: endpoint(3, 8080),
            },
            body,
        }
    }

    fn state() -> TcpState {
        TcpState {
            isn_client: 0x2122_2324,
            isn_switch: 0x3132_3334,
            ts_recent: 0x4142_4344,
            ts_last: 0x5152_5354,
            window: 0x0001_0000,
            mss: 1460,
            snd_wscale: 7,
            rcv_wscale: 10,
            options: TcpOptions::NONE
                .with(TcpOptions::WSCALE, true)
                .with(TcpOptions::SACK, false)
                .with(TcpOptions::FIN, true),
        }
    }

    fn create(state: TcpState, request_len: u32) -> Message {
        message(Body::Create {
            state,
            lease_ms: 0x1388,
            request_len,
        })
    }

    #[test]
    fn every_octet_has_its_place() {
        let mut out = [0xee; MAX_FIXED];
        assert_eq!(create(state(), 3).encode(&mut out), Ok(80));
        #[rustfmt::skip]
        let expected = [
            0x00, 0x01, 0x00, 0x00, 1, 0, 0, 83,
            0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
            0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
            4, 0, 0, 0, 0x80, 0x01, 0, 80, 0x1f, 0x90, 0, 0,
            10, 0, 0, 1, 10, 0, 0, 2, 10, 0, 0, 3,
            0x21, 0x22, 0x23, 0x24, 0x31, 0x32, 0x33, 0x34,
            0x41, 0x42, 0x43, 0x44, 0x51, 0x52, 0x53, 0x54,
            0x00, 0x01, 0x00, 0x00, 0x05, 0xb4, 7, 10,
            0x00, 0x11, 0x13, 0x88, 0, 0, 0, 3,
        ];
        assert_eq!(out[..80], expected);
        assert_eq!(out[80..], [0xee; MAX_FIXED - 80]);
    }

    #[test]
    fn what_decoding_would_refuse_is_not_written() {
        let mut out = [0; MAX_FIXED];
        let mut refused = |m: Message| m.encode(&mut out).unwrap_err();

        let mut m = message(Body::Created);
        m.parties.server.ip = IpAddr::V6(Ipv6Addr::LOCALHOST);
        assert_eq!(refused(m), EncodeError::Family);
        let mut m = message(Body::Created);
        m.parties.service.port = 0;
        assert_eq!(refused(m), EncodeError::Port);

        let bad = |change: fn(&mut TcpState)| {
            let mut s = state();
            change(&mut s);
            create(s, 0)
        };
        assert_eq!(refused(bad(|s| s.mss = 47)), EncodeError::Mss);
        assert_eq!(
            refused(bad(|s| s.snd_wscale = 15)),
            EncodeError::WindowScale
        );
        assert_eq!(
            refused(bad(|s| s.options = TcpOptions::SACK)),
            EncodeError::WindowScale
        );
        assert_eq!(
            refused(bad(|s| s.window = 0x1_0000 << 7)),
            EncodeError::Window
        );
        assert_eq!(refused(create(state(), 65_456)), EncodeError::Length);
        assert_eq!(refused(create(state(), u32::MAX)), EncodeError::Length);
        assert!(create(state(), 65_455).encode(&mut out).is_ok());
    }

    #[test]
    fn each_field_is_checked() {
        let mut good = [0; MAX_FIXED];
        assert_eq!(create(state(), 3).encode(&mut good), Ok(80));
        let with = |at: usize, octet: u8| {
            let mut m = good;
            m[at] = octet;
            Message::decode(&m[..83], 83).unwrap_err()
        };
        assert!(Message::decode(&good[..83], 83).is_ok());
        assert_eq!(with(4, 2), DecodeError::Version);
        assert_eq!(with(1, 0), DecodeError::Opcode);
        assert_eq!(with(1, 9), DecodeError::Opcode);
        assert_eq!(with(0, 1), DecodeError::Opcode);
        assert_eq!(with(1, 2), DecodeError::Length);
        assert_eq!(with(1, 4), DecodeError::Reason);
        assert_eq!(with(5, 1), DecodeError::Reserved);
        assert_eq!(with(7, 84), DecodeError::Length);
        assert_eq!(with(24, 5), DecodeError::Family);
        assert_eq!(with(24, 6), DecodeError::Short);
        assert_eq!(with(25, 1), DecodeError::Reason);
        assert_eq!(with(26, 1), DecodeError::Reserved);
        assert_eq!(with(27, 1), DecodeError::Reserved);
        assert_eq!(with(31, 0), DecodeError::Port);
        assert_eq!(with(34, 1), DecodeError::Reserved);
        assert_eq!(with(64, 0xff), DecodeError::Window);
        assert_eq!(with(70, 15), DecodeError::WindowScale);
        assert_eq!(with(71, 15), DecodeError::WindowScale);
        assert_eq!(with(72, 1), DecodeError::Reserved);
        assert_eq!(with(73, 0x20), DecodeError::Reserved);
        assert_eq!(with(73, 0x10), DecodeError::WindowScale);
        assert_eq!(with(79, 2), DecodeError::RequestLen);
        good[68] = 0;
        good[69] = 47;
        assert_eq!(Message::decode(&good[..83], 83), Err(DecodeError::Mss));
    }

    #[test]
    fn a_message_must_be_as_long_as_it_says() {
        let mut out = [0; MAX_FIXED];
        assert_eq!(message(Body::Confirm).encode(&mut out), Ok(MIN_LEN));
        assert!(Message::decode(&out, MIN_LEN).is_ok());
        assert_eq!(Message::decode(&out, MIN_LEN + 1), Err(DecodeError::Length));
        // The length field agrees, but something follows.
        out[7] += 1;
        assert_eq!(Message::decode(&out, MIN_LEN + 1), Err(DecodeError::Length));
        assert_eq!(Message::decode(&out, 65_536 + 49), Err(DecodeError::Length));
        assert_eq!(Message::decode(&out, usize::MAX), Err(DecodeError::Length));
    }

    #[test]
    fn counters_have_one_place_each() {
        for (i, error) in DecodeError::ALL.iter().enumerate() {
            assert_eq!(error.index(), i);
        }
        for (i, reason) in DropReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), i);
            assert_eq!(DropReason::from_wire(*reason as u8), Some(*reason));
        }
        assert_eq!(DropReason::from_wire(0), None);
        assert_eq!(DropReason::from_wire(8), None);
    }
}
