// SPDX-License-Identifier: GPL-2.0

//! THOP messages in packets: the wire format of [`thop_core::wire`] meets `sk_buff`.

use core::net::{
    IpAddr,
    Ipv4Addr, //
};

use kernel::{
    prelude::*,
    sync::Arc, //
};
use thop_core::{
    packet::ipv4_destination,
    wire::{
        checksum_ok,
        header_ok,
        is_sealed,
        set_checksum,
        Body,
        DecodeError,
        EncodeError,
        Message,
        Messages,
        Monitor,
        Packet,
        Seal,
        Side,
        MAX_FIXED,
        SEAL_LEN, //
    },
};

use crate::{
    bindings,
    gate::{
        self,
        Denied,
        Gate, //
    },
    instance::{
        Namespace,
        Softirq, //
    },
    memory,
    send::{
        self,
        Path,
        RouteCache, //
    },
    skb::{
        SkBuff,
        SkbMut, //
    },
};

mod outbox;

pub use outbox::Outbox;

/// The longest request that fits an IP datagram with its CREATE, octets.
pub const MAX_REQUEST: usize = u16::MAX as usize - 60 - SEAL_LEN - MAX_FIXED;

// C leaves room for it.
const _: () = assert!(SEAL_LEN == bindings::THOP_SEAL_LEN as usize);

/// A message as it came.
pub enum Incoming {
    /// What we have sent was not believed, as it named an old epoch of this peer. Its new one is known
    /// now.
    Epoch {
        /// Who sent it.
        from: Ipv4Addr,
    },
    /// About a handoff.
    Handoff(Received),
    /// Several, about handoffs.
    Bundle(Bundled),
    /// Of the load monitor.
    Monitor {
        /// The message.
        message: Monitor,
        /// Who sent it.
        from: Ipv4Addr,
        /// The address it was sent to.
        to: Ipv4Addr,
    },
}

/// A message about a handoff as it came.
pub struct Received {
    /// The message.
    pub message: Message,
    /// Who sent it.
    pub from: Ipv4Addr,
    /// The address it was sent to.
    pub to: Ipv4Addr,
    /// Where in the packet the octets behind the fixed part begin.
    pub payload_at: usize,
}

/// A bundle of messages as it came.
pub struct Bundled {
    /// Who sent it.
    pub from: Ipv4Addr,
    /// The address it was sent to.
    pub to: Ipv4Addr,
    /// Where in the packet the first message begins.
    at: usize,
}

impl Bundled {
    /// The messages in the packet that it came in. After one that is not well formed there are no more.
    pub fn messages<'a>(
        &self,
        packet: SkbMut<'a>,
    ) -> impl Iterator<Item = Result<Received, Malformed>> + 'a {
        let &Self { from, to, at } = self;
        let len = packet.len() as usize;
        let octets = packet.pull(len).and_then(|octets| octets.get(at..len));
        // Without memory the packet is as good as lost.
        Messages::new(octets.unwrap_or(&[])).map(move |message| match message {
            Ok(message) => Ok(Received {
                message,
                from,
                to,
                payload_at: len,
            }),
            Err(error) => Err(Malformed::Decode(error)),
        })
    }
}

/// Why a packet of THOP's protocol is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The checksum is wrong.
    Checksum,
    /// The message is not well formed.
    Decode(DecodeError),
}

/// Why a packet of THOP's protocol is not for us to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is no message.
    Malformed(Malformed),
    /// It is not believed.
    Denied(Denied),
    /// It is for the other side, which may live in the same namespace.
    Foreign,
}

impl Malformed {
    /// How many reasons there are.
    pub const COUNT: usize = DecodeError::COUNT + 1;

    /// A number below [`Self::COUNT`], for counters.
    pub const fn index(self) -> usize {
        match self {
            Self::Decode(error) => error.index(),
            Self::Checksum => DecodeError::COUNT,
        }
    }
}

/// The way of an instance's messages, in and out.
pub struct Channel {
    namespace: Namespace<'static>,
    protocol: u8,
    side: Side,
    /// Who may speak.
    pub gate: Arc<Gate>,
}

impl Channel {
    /// The messages of `protocol` for one side, with a gate without keys. Process context.
    pub fn new(
        namespace: Namespace<'static>,
        protocol: u8,
        side: Side,
        shared: &gate::Shared,
    ) -> Result<Self> {
        Ok(Self {
            namespace,
            protocol,
            side,
            gate: Arc::pin_init(Gate::new(shared)?, memory::may_sleep())?,
        })
    }

    /// Whether a received packet is of THOP's protocol. It begins with a linear IP header.
    #[inline]
    pub fn is_message(&self, packet: &SkBuff) -> bool {
        matches!(ipv4_destination(packet.linear()), Some((_, p, _)) if p == self.protocol)
    }

    /// Reads the message in a received packet, which begins with its IP header. Softirq.
    pub fn receive(&self, mut packet: SkbMut<'_>) -> Result<Incoming, Refused> {
        const SHORT: Refused = Refused::Malformed(Malformed::Decode(DecodeError::Short));
        let malformed = |error| Refused::Malformed(Malformed::Decode(error));
        let checksum = || Refused::Malformed(Malformed::Checksum);

        let head = packet.reborrow().pull(20).ok_or(SHORT)?;
        let header_len = usize::from(head.first().map_or(0, |b| b & 0xf)) * 4;
        let address = |at: usize| {
            head.get(at..at + 4)
                .and_then(|a| <[u8; 4]>::try_from(a).ok())
                .map(Ipv4Addr::from)
        };
        let (from, to) = address(12).zip(address(16)).ok_or(SHORT)?;
        let total = (packet.len() as usize)
            .checked_sub(header_len)
            .ok_or(SHORT)?;
        let first = total.min(SEAL_LEN + MAX_FIXED);
        let octets = packet
            .reborrow()
            .pull(header_len + first)
            .and_then(|octets| octets.get(header_len..header_len + first))
            .ok_or(SHORT)?;

        let mut sealed = None;
        if is_sealed(octets) {
            let (seal, mac) = Seal::decode(octets, total).map_err(malformed)?;
            if !octets.first_chunk().is_some_and(header_ok) {
                return Err(checksum());
            }
            sealed = Some((seal, mac));
        }
        // What is sealed is in front of a message as it would be without.
        let at = if sealed.is_some() { SEAL_LEN } else { 0 };
        let inner = octets.get(at..).ok_or(SHORT)?;
        // Another module in this namespace may be meant, which has keys and epochs of its own.
        let foreign = match (&sealed, self.side.hears(inner)) {
            (_, Some(hears)) => !hears,
            // It has no kind: the seal says whom it is for.
            (Some((seal, _)), None) => !self.gate.is_for_us(seal),
            (None, None) => false,
        };
        if sealed.is_some() && foreign {
            return Err(Refused::Foreign);
        }
        // Without a seal, what is no message at all is told from what is not believed.
        let decode = |inner: &[u8]| {
            Packet::decode(inner, total.saturating_sub(at))
                .map(|(message, fixed)| (message, header_len + at + fixed))
                .map_err(malformed)
        };
        let message = match sealed {
            Some((seal, mac)) => {
                let is_epoch = inner.is_empty();
                let decoded = (!is_epoch).then(|| decode(inner));
                let way = (from, to);
                self.gate
                    .admit(&seal, &mac, way, &packet, header_len + SEAL_LEN)
                    .map_err(|why| {
                        if why == Denied::Epoch && !is_epoch {
                            self.tell_epoch(&seal, to, from);
                        }
                        Refused::Denied(why)
                    })?;
                match decoded {
                    None => return Ok(Incoming::Epoch { from }),
                    Some(decoded) => decoded?,
                }
            }
            None => {
                let decoded = decode(inner);
                if !checksum_ok(packet.sum(header_len)) {
                    return Err(checksum());
                }
                let decoded = decoded?;
                if foreign {
                    return Err(Refused::Foreign);
                }
                self.gate.admit_unsealed(from).map_err(Refused::Denied)?;
                decoded
            }
        };
        Ok(match message {
            (Packet::Handoff(message), payload_at) => Incoming::Handoff(Received {
                message,
                from,
                to,
                payload_at,
            }),
            (Packet::Monitor(message), _) => Incoming::Monitor { message, from, to },
            (Packet::Bundle, at) => Incoming::Bundle(Bundled { from, to, at }),
        })
    }

    /// Tells a peer our epoch, as what it has sent named another.
    fn tell_epoch(&self, seal: &Seal, from: Ipv4Addr, to: Ipv4Addr) {
        // Without memory it will try again.
        let _ = SkBuff::new(&[], 0).and_then(|mut packet| {
            self.gate.seal_for(seal.sender, &mut packet, from, to)?;
            send::datagram(self.namespace, packet, self.protocol, from, to)
        });
    }

    /// Sends a message that has no request. `from` may be unspecified: the route chooses. Any
    /// context.
    pub fn send(&self, message: &Message, from: Ipv4Addr, to: Ipv4Addr) -> Result {
        self.send_fixed(encode(|out| message.encode(out))?, from, to)
    }

    /// Sends a message of the load monitor, likewise. Any context.
    pub fn send_monitor(&self, message: &Monitor, from: Ipv4Addr, to: Ipv4Addr) -> Result {
        self.send_fixed(encode(|out| message.encode(out))?, from, to)
    }

    /// Sends what [`encode()`] has made.
    fn send_fixed(
        &self,
        (mut fixed, len): ([u8; MAX_FIXED], usize),
        from: Ipv4Addr,
        to: Ipv4Addr,
    ) -> Result {
        let mut sum = thop_core::checksum::Sum::new();
        sum.add(fixed.get(..len).ok_or(EINVAL)?);
        set_checksum(&mut fixed, sum);
        self.send_packet(SkBuff::new(fixed.get(..len).ok_or(EINVAL)?, 0)?, from, to)
    }

    /// Sends a message that was made before. Any context.
    fn send_packet(&self, packet: SkBuff, from: Ipv4Addr, to: Ipv4Addr) -> Result {
        self.send_by(
            Path::lookup(self.namespace, self.protocol, from, to)?,
            packet,
        )
    }

    /// Sends a [`create()`] by a route that is kept for the messages of this channel. Any context but hard interrupts.
    pub fn send_create(&self, packet: SkBuff, routes: &RouteCache) -> Result {
        let path = Softirq::disabled(|softirq| routes.path(self.namespace, self.protocol, softirq));
        self.send_by(path?, packet)
    }

    fn send_by(&self, path: Path<'_>, mut packet: SkBuff) -> Result {
        self.gate.seal(&mut packet, path.from(), path.to())?;
        path.send(packet)
    }
}

/// The fixed part of a message as octets, with its length. The checksum is not set.
fn encode(
    write: impl FnOnce(&mut [u8; MAX_FIXED]) -> Result<usize, EncodeError>,
) -> Result<([u8; MAX_FIXED], usize)> {
    let mut fixed = [0u8; MAX_FIXED];
    let len = write(&mut fixed).map_err(|_| EINVAL)?;
    Ok((fixed, len))
}

/// The packet of a CREATE, `message`, whose request of `len` octets `copy` writes into it, at the position that it is
/// given. Atomic context.
pub fn create(
    message: &Message,
    len: usize,
    copy: impl FnOnce(&mut SkBuff, usize) -> Result<u32>,
) -> Result<SkBuff> {
    if len > MAX_REQUEST {
        return Err(EMSGSIZE);
    }
    let (mut octets, fixed) = encode(|out| message.encode(out))?;
    let mut packet = SkBuff::with_room(fixed, len)?;
    if copy(&mut packet, fixed)? as usize != len {
        return Err(EINVAL);
    }
    finish(&mut packet, &mut octets, fixed)?;
    Ok(packet)
}

/// Puts the checksum over the whole message into its fixed part of `len` octets, and this into the packet.
fn finish(packet: &mut SkBuff, fixed: &mut [u8; MAX_FIXED], len: usize) -> Result {
    let mut sum = thop_core::checksum::Sum::new();
    sum.add(fixed.get(..len).ok_or(EINVAL)?);
    sum.append(packet.sum(len));
    set_checksum(fixed, sum);
    packet.write(0, fixed.get(..len).ok_or(EINVAL)?)
}

/// A CREATE that is kept, to be sent again and again, each time with a fixed part of its own.
pub struct Create {
    /// As it was first.
    packet: SkBuff,
    fixed: usize,
}

impl Create {
    /// Keeps a copy of the packet of `message`, not sealed. Atomic context.
    pub fn keep(message: &Message, packet: &SkBuff) -> Result<Self> {
        Ok(Self {
            packet: packet.copy_head()?,
            fixed: message.fixed_len(),
        })
    }

    /// A packet to send, for `message`, which may differ from the first in all but its length.
    /// Atomic context.
    pub fn packet(&self, message: &Message) -> Result<SkBuff> {
        let (mut octets, len) = encode(|out| message.encode(out))?;
        if len != self.fixed || !matches!(message.body, Body::Create { .. }) {
            return Err(EINVAL);
        }
        let mut packet = self.packet.copy_head()?;
        finish(&mut packet, &mut octets, len)?;
        Ok(packet)
    }
}

/// The IPv4 address of an endpoint, if it has one.
pub fn ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    match ip {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    }
}
