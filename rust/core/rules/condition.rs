// SPDX-License-Identifier: GPL-2.0

//! What a rule can ask of a request.

use core::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

use crate::{config::Name, request::Request};

/// Something that is true of a request or not. [`Config::name`](crate::config::Config::name) tells
/// the texts.
#[derive(Clone, Copy, Debug)]
pub enum Condition {
    /// The host, in lower case and without a dot at its end.
    Host(Name),
    /// What the host ends with, and is longer than: a dot and a domain in lower case.
    Domain(Name),
    /// What the path begins with.
    Path(Name),
    /// The path.
    PathExact(Name),
    /// What the path ends with.
    PathSuffix(Name),
    /// The methods, with commas between them.
    Method(Name),
    /// A field's name in lower case, and the value of one of its lines, or any.
    Header(Name, Option<Name>),
    /// A cookie's name, and its value, or any.
    Cookie(Name, Option<Name>),
    /// A parameter's name, and one of its values, or any.
    Query(Name, Option<Name>),
    /// Where the client is.
    Client(Network),
    /// A protocol that the client offers.
    Alpn(Name),
}

impl Condition {
    /// Whether it is true, or is one of those that [`Facts`](super::facts::Facts) know. `host` is in
    /// lower case and without a dot at its end.
    pub(super) fn holds(&self, text: &[u8], host: Option<&[u8]>, request: &Request<'_>) -> bool {
        match *self {
            Self::Host(name) => host == Some(name.of(text)),
            Self::Domain(name) => {
                let name = name.of(text);
                host.is_some_and(|host| host.len() > name.len() && host.ends_with(name))
            }
            Self::Path(name) => request.path.starts_with(name.of(text)),
            Self::PathExact(name) => request.path == name.of(text),
            Self::PathSuffix(name) => request.path.ends_with(name.of(text)),
            Self::Method(names) => methods(names.of(text)).any(|name| name == request.method),
            Self::Client(network) => network.holds(&Network::of(request.client)),
            Self::Header(..) | Self::Cookie(..) | Self::Query(..) | Self::Alpn(_) => true,
        }
    }
}

/// The methods that are in a list of them.
pub(super) fn methods(names: &[u8]) -> impl Iterator<Item = &[u8]> {
    names.split(|&octet| octet == b',')
}

/// A network: an address and how many of its bits count. A single address is a network too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Network {
    /// An IPv4 address is mapped into IPv6 (RFC 4291, section 2.5.5.2). Bits that do not count are
    /// 0.
    high: u64,
    low: u64,
    /// 0 to 128.
    len: u8,
}

impl Network {
    /// The network in which `len` bits of `ip` count; all of them if it has no more.
    pub fn new(ip: IpAddr, len: u8) -> Self {
        let whole = Self::of(ip);
        let len = match ip {
            IpAddr::V4(_) => len.min(32).saturating_add(96),
            IpAddr::V6(_) => len.min(128),
        };
        Self {
            high: whole.high & mask(len),
            low: whole.low & mask(len.saturating_sub(64)),
            len,
        }
    }

    /// The network that has but this address.
    pub fn of(ip: IpAddr) -> Self {
        let ip = match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        let [a, b, c, d, e, f, g, h] = ip.segments().map(u64::from);
        Self {
            high: (a << 48) | (b << 32) | (c << 16) | d,
            low: (e << 48) | (f << 32) | (g << 16) | h,
            len: 128,
        }
    }

    /// How many bits count, of 128.
    pub(super) const fn len(&self) -> u32 {
        self.len as u32
    }

    /// How many bits the two have in common, from the first on.
    pub(super) fn common(&self, other: &Self) -> u32 {
        match (self.high ^ other.high).leading_zeros() {
            64 => (self.low ^ other.low).leading_zeros().saturating_add(64),
            bits => bits,
        }
    }

    /// Whether `other` is this network or a part of it.
    pub fn holds(&self, other: &Self) -> bool {
        self.len <= other.len && self.common(other) >= self.len()
    }
}

/// A word whose first `len` bits are set.
fn mask(len: u8) -> u64 {
    let clear = 64u32.saturating_sub(u32::from(len));
    u64::MAX.checked_shl(clear).unwrap_or(0)
}

impl fmt::Display for Network {
    /// As the configuration has it: without the length, if all bits count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Each is what the cast leaves: the lowest 16 bits.
        let parts = |word: u64| [48, 32, 16, 0].map(|shift| (word >> shift) as u16);
        let ([a, b, c, d], [e, g, h, i]) = (parts(self.high), parts(self.low));
        let ip = Ipv6Addr::new(a, b, c, d, e, g, h, i);
        match ip.to_ipv4_mapped() {
            Some(ip) if self.len >= 96 => in_bits(f, ip, self.len.saturating_sub(96), 32),
            _ => in_bits(f, ip, self.len, 128),
        }
    }
}

fn in_bits(f: &mut fmt::Formatter<'_>, ip: impl fmt::Display, len: u8, all: u8) -> fmt::Result {
    match len == all {
        true => write!(f, "{ip}"),
        false => write!(f, "{ip}/{len}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn networks_are_shown_without_what_does_not_count() {
        for (ip, len, shown) in [
            ("192.0.2.129", 32, "192.0.2.129"),
            ("192.0.2.129", 25, "192.0.2.128/25"),
            ("192.0.2.129", 0, "0.0.0.0/0"),
            ("2001:db8::1", 128, "2001:db8::1"),
            ("2001:db8:ffff::1", 33, "2001:db8:8000::/33"),
            ("2001:db8::1", 0, "::/0"),
        ] {
            assert_eq!(Network::new(ip.parse().unwrap(), len).to_string(), shown);
        }
        let all = Network::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        assert!(!all.holds(&Network::of(IpAddr::V6(Ipv6Addr::LOCALHOST))));
    }

    proptest! {
        #[test]
        fn a_network_holds_what_agrees_in_its_bits(a: u128, flip in 0u32..=128, len in 0u8..=128) {
            let b = a ^ 1u128.checked_shl(flip).unwrap_or(0);
            let network = Network::new(IpAddr::V6(Ipv6Addr::from_bits(a)), len);
            let other = Network::of(IpAddr::V6(Ipv6Addr::from_bits(b)));
            let ignored = 128 - u32::from(len);
            let same = a.checked_shr(ignored) == b.checked_shr(ignored);
            prop_assert_eq!(network.holds(&other), same);
        }
    }
}
