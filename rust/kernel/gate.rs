// SPDX-License-Identifier: GPL-2.0

//! Who may speak THOP to an instance: its keys, and what its peers have said.
//!
//! [`thop_core::auth`] has the rules. Messages are judged in softirq, sealed in any context; keys
//! change in process context. The two tables take their bucket locks one at a time, and hold none
//! while a message is sent.
//!
//! Memory: one element of each table per peer that has shown a key, `peers` of them at most. When
//! there is no room for another, all are forgotten and the instance draws a new epoch, which costs
//! each peer one EPOCH.

use core::{
    ffi::CStr,
    fmt::{
        self,
        Write, //
    },
    net::{
        IpAddr,
        Ipv4Addr, //
    },
};

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc,
        Mutex, //
    },
};
use thop_core::{
    addr::{
        xor_hash,
        Endpoint, //
    },
    auth::{
        admits,
        Access,
        Judged,
        Rejected,
        Why,
        Window,
        KEYS, //
    },
    rules::Network,
    wire::{
        pseudo_header,
        Mac,
        Seal,
        SEAL_LEN, //
    },
};

use crate::{
    hmac, memory,
    memory::{
        ProcessHeap,
        ProcessList, //
    },
    random,
    skb::SkBuff,
    sync::RcuBox,
    table::{
        Cache,
        Element,
        Table, //
    },
};

/// Why a message is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// There is no key here, and `insecure` was not asked for.
    NoKey,
    /// It is not sealed.
    Unsealed,
    /// Its sender is in no network that may speak.
    Network,
    /// It is sealed with a key that is not known here.
    UnknownKey,
    /// Its code is wrong: it was not made, or not for this receiver, by one who has the key.
    Mac,
    /// It names an epoch that is not ours. Its sender is told ours.
    Epoch,
    /// It has come before.
    Replayed,
    /// It is so late that it is not known whether it has come before.
    Late,
    /// There is no memory for its sender.
    NoMemory,
}

impl Denied {
    /// Every reason, with the name of its counter.
    pub const ALL: [(Self, &'static str); 9] = [
        (Self::NoKey, "no_key"),
        (Self::Unsealed, "unsealed"),
        (Self::Network, "network"),
        (Self::UnknownKey, "unknown_key"),
        (Self::Mac, "mac"),
        (Self::Epoch, "epoch"),
        (Self::Replayed, "replayed"),
        (Self::Late, "late"),
        (Self::NoMemory, "no_memory"),
    ];

    /// How many reasons there are.
    pub const COUNT: usize = Self::ALL.len();

    /// A number below [`Self::COUNT`], for counters.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What has come from one epoch of a peer.
pub struct Sender {
    epoch: u64,
    window: Window,
}

impl Element for Sender {
    type Key = u64;
    type Hasher = ();

    fn key(&self) -> u64 {
        self.epoch
    }

    fn hash((): &(), epoch: &u64) -> u32 {
        // Epochs are random.
        *epoch as u32
    }
}

/// The epoch of the peer at an address.
pub struct Receiver {
    address: IpAddr,
    epoch: u64,
}

impl Element for Receiver {
    type Key = IpAddr;
    type Hasher = ();

    fn key(&self) -> IpAddr {
        self.address
    }

    fn hash((): &(), address: &IpAddr) -> u32 {
        // Neighbours fall into neighbouring buckets.
        xor_hash(&Endpoint::new(*address, 0))
    }
}

/// What the gates of all namespaces share.
pub struct Shared {
    insecure: bool,
    peers: u32,
    senders: Arc<Cache<Sender>>,
    receivers: Arc<Cache<Receiver>>,
}

impl Shared {
    /// Gates without keys, which let unsealed messages pass if `insecure`, and know `peers` peers at
    /// most. The slab caches get these names. Process context.
    pub fn new(
        insecure: bool,
        peers: u32,
        senders: &'static CStr,
        receivers: &'static CStr,
    ) -> Result<Self> {
        Ok(Self {
            insecure,
            peers: peers.max(1),
            senders: Arc::new(Cache::new(senders)?, memory::may_sleep())?,
            receivers: Arc::new(Cache::new(receivers)?, memory::may_sleep())?,
        })
    }
}

/// The keys that are in use.
struct Keys {
    keys: [Option<(u8, hmac::Key)>; KEYS],
    send: u8,
    networks: ProcessList<Network>,
}

impl Keys {
    fn admit(&self, from: Ipv4Addr) -> Result<(), Denied> {
        match admits(&self.networks, from.into()) {
            true => Ok(()),
            false => Err(Denied::Network),
        }
    }

    fn key(&self, id: u8) -> Option<&hmac::Key> {
        let mut keys = self.keys.iter().flatten();
        keys.find(|(known, _)| *known == id).map(|(_, key)| key)
    }

    fn are_none(&self) -> bool {
        self.keys.iter().all(Option::is_none)
    }
}

/// Who may speak to an instance.
#[pin_data]
pub struct Gate {
    insecure: bool,
    #[pin]
    keys: RcuBox<Keys>,
    /// Names this instance to its peers, until it must forget them. Never 0.
    epoch: Atomic<u64>,
    /// The number of the next message.
    sequence: Atomic<u64>,
    senders: Table<Sender>,
    receivers: Table<Receiver>,
    /// Why the last text was rejected.
    #[pin]
    rejected: Mutex<Option<Rejected>>,
}

impl Gate {
    /// A gate without keys. Process context.
    pub fn new(shared: &Shared) -> Result<impl PinInit<Self>> {
        let keys = KBox::new(
            Keys {
                keys: [const { None }; KEYS],
                send: 0,
                networks: Default::default(),
            },
            memory::may_sleep(),
        )?;
        let buckets = shared.peers / 4;
        let senders = Table::new(shared.senders.clone(), buckets, shared.peers, ())?;
        let receivers = Table::new(shared.receivers.clone(), buckets, shared.peers, ())?;
        let insecure = shared.insecure;
        Ok(pin_init!(Self {
            insecure,
            keys <- crate::new_rcu_box!(keys),
            epoch: Atomic::new(random::number().max(1)),
            sequence: Atomic::new(0),
            senders,
            receivers,
            rejected <- new_mutex!(None),
        }))
    }

    /// Whether messages can be sent at all.
    pub fn is_open(&self) -> bool {
        self.insecure || !self.keys.read(&rcu::read_lock()).are_none()
    }

    // --- keys (process context) -----------------------------------------------------------------

    /// Makes a text the keys and networks, or changes nothing.
    pub fn configure(&self, text: &[u8]) -> Result {
        let result = Access::<ProcessHeap>::parse(text);
        *self.rejected.lock() = result.as_ref().err().copied();
        let access = result.map_err(|Rejected { why, .. }| match why {
            Why::Memory => ENOMEM,
            _ => EINVAL,
        })?;
        let mut keys = [const { None }; KEYS];
        for (place, key) in keys.iter_mut().zip(access.keys()) {
            *place = Some((key.id(), hmac::Key::new(key.octets())?));
        }
        let keys = KBox::new(
            Keys {
                keys,
                send: access.send(),
                networks: access.into_networks(),
            },
            memory::may_sleep(),
        )?;
        drop(self.keys.write().replace(keys));
        Ok(())
    }

    /// Prints all but the secrets.
    pub fn write(&self, out: &mut dyn Write) -> fmt::Result {
        if let Some(rejected) = &*self.rejected.lock() {
            writeln!(out, "# the last text was rejected: {rejected}")?;
        }
        let guard = rcu::read_lock();
        let keys = self.keys.read(&guard);
        if keys.are_none() {
            let what = if self.insecure {
                "insecure: anybody may speak"
            } else {
                "no key: nobody may speak"
            };
            writeln!(out, "# {what}")?;
        }
        for (id, _) in keys.keys.iter().flatten() {
            writeln!(out, "key {id} (secret)")?;
        }
        if keys.send != 0 {
            writeln!(out, "send {}", keys.send)?;
        }
        for network in keys.networks.iter() {
            writeln!(out, "from {network}")?;
        }
        Ok(())
    }

    // --- messages (any context) -----------------------------------------------------------------

    /// The code of a message, which is in `packet` from `offset` on, under a seal.
    fn mac(
        key: &hmac::Key,
        seal: &[u8; SEAL_LEN],
        (from, to): (Ipv4Addr, Ipv4Addr),
        packet: &SkBuff,
        offset: usize,
    ) -> Mac {
        key.mac(|add| {
            add(&pseudo_header(from.into(), to.into()));
            add(seal);
            packet.for_each(offset, add);
        })
    }

    /// Seals a message, if there is a key. Its addresses are what it will be sent with.
    pub(crate) fn seal(&self, packet: &mut SkBuff, from: Ipv4Addr, to: Ipv4Addr) -> Result {
        let receiver = self
            .receivers
            .with(&to.into(), |receiver| receiver.epoch)
            .unwrap_or(0);
        self.seal_for(receiver, packet, from, to)
    }

    /// The same, for a peer whose epoch is known.
    pub(crate) fn seal_for(
        &self,
        receiver: u64,
        packet: &mut SkBuff,
        from: Ipv4Addr,
        to: Ipv4Addr,
    ) -> Result {
        let guard = rcu::read_lock();
        let keys = self.keys.read(&guard);
        let Some(key) = keys.key(keys.send) else {
            return if self.insecure { Ok(()) } else { Err(EPERM) };
        };
        let len = packet.len() as usize;
        let seal = Seal {
            key: keys.send,
            sender: self.epoch.load(Relaxed),
            receiver,
            sequence: self.sequence.fetch_add(1, Relaxed),
        };
        let covered = seal.covered(len).map_err(|_| EMSGSIZE)?;
        let mac = Self::mac(key, &covered, (from, to), packet, 0);
        packet.push(&Seal::finish(covered, &mac))
    }

    /// Whether a message without a seal is believed.
    pub(crate) fn admit_unsealed(&self, from: Ipv4Addr) -> Result<(), Denied> {
        let guard = rcu::read_lock();
        let keys = self.keys.read(&guard);
        if !keys.are_none() {
            return Err(Denied::Unsealed);
        }
        if !self.insecure {
            return Err(Denied::NoKey);
        }
        keys.admit(from)
    }

    /// Whether a seal is for this instance's epoch.
    pub(crate) fn is_for_us(&self, seal: &Seal) -> bool {
        seal.receiver == self.epoch.load(Relaxed)
    }

    /// Whether a sealed message is believed; it is in `packet` from `offset` on.
    pub(crate) fn admit(
        &self,
        seal: &Seal,
        mac: &Mac,
        (from, to): (Ipv4Addr, Ipv4Addr),
        packet: &SkBuff,
        offset: usize,
    ) -> Result<(), Denied> {
        {
            let guard = rcu::read_lock();
            let keys = self.keys.read(&guard);
            if keys.are_none() {
                return Err(Denied::NoKey);
            }
            keys.admit(from)?;
            let key = keys.key(seal.key).ok_or(Denied::UnknownKey)?;
            let len = (packet.len() as usize).saturating_sub(offset);
            let covered = seal.covered(len).map_err(|_| Denied::Mac)?;
            if !hmac::same(&Self::mac(key, &covered, (from, to), packet, offset), mac) {
                return Err(Denied::Mac);
            }
        }
        if !self.is_for_us(seal) {
            return Err(Denied::Epoch);
        }
        match self.judge(seal)? {
            Judged::New => {
                self.learn(from.into(), seal.sender);
                Ok(())
            }
            Judged::Again => Err(Denied::Replayed),
            Judged::Late => Err(Denied::Late),
        }
    }

    fn judge(&self, seal: &Seal) -> Result<Judged, Denied> {
        use crate::table::Refused;

        let judge = |sender: &mut Sender| sender.window.judge(seal.sequence);
        // Another CPU may bring the same sender in between, or have all forgotten.
        for _ in 0..4 {
            if let Some(judged) = self.senders.with(&seal.sender, judge) {
                return Ok(judged);
            }
            let sender = Sender {
                epoch: seal.sender,
                window: Window::new(),
            };
            match self.senders.insert_new(sender) {
                Ok(()) | Err((Refused::Exists, _)) => {}
                Err((Refused::Full, _)) => {
                    // What this message named is over, too.
                    self.forget();
                    return Err(Denied::Epoch);
                }
                Err((Refused::NoMemory, _)) => break,
            }
        }
        Err(Denied::NoMemory)
    }

    /// Remembers the epoch of a peer that has just shown it.
    fn learn(&self, address: IpAddr, epoch: u64) {
        let known = self.receivers.with(&address, |receiver| {
            receiver.epoch = epoch;
        });
        if known.is_none() {
            // Without memory or room the peer will answer EPOCH to what it is sent, and say it again:
            // the message that has come is good all the same.
            let receiver = Receiver { address, epoch };
            if self.receivers.insert_new(receiver).is_err() {
                self.receivers.sweep_all(|_| true, drop);
            }
        }
    }

    /// Forgets all peers. What they have said before is worth nothing from now on.
    fn forget(&self) {
        self.epoch.store(random::number().max(1), Relaxed);
        self.senders.sweep_all(|_| true, drop);
    }
}
