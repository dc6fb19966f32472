// SPDX-License-Identifier: GPL-2.0

//! Who talks to whom: endpoints, and the key of a connection.

use core::{
    fmt,
    net::{
        IpAddr, //
    },
};

/// An IP address with a TCP port (host byte order).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Endpoint {
    /// The address, of either family.
    pub ip: IpAddr,
    /// The port, in host byte order.
    pub port: u16,
}

impl Endpoint {
    /// An endpoint of these two parts.
    #[inline]
    pub const fn new(ip: IpAddr, port: u16) -> Self {
        Self { ip, port }
    }

    /// A number for hashing: the same wherever it is computed, and another for each IPv4 endpoint.
    pub fn identity(&self) -> u64 {
        let ip = match self.ip {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => {
                let bits = ip.to_bits();
                // An odd factor, so that the halves of an address cannot cancel each other out.
                ((bits >> 64) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ bits as u64
            }
        };
        ip.rotate_left(16) ^ u64::from(self.port)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.port),
            IpAddr::V6(ip) => write!(f, "[{ip}]:{}", self.port),
        }
    }
}

/// What names a connection at the switch: the client's endpoint and the service's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// The client's address and port.
    pub client: Endpoint,
    /// The virtual address and port that the client connected to.
    pub service: Endpoint,
}

/// The hash of the paper (section 2.3): source IP address XOR source TCP port.
///
/// Both are taken in host byte order, so that successive ports of one client fall into successive
/// buckets. An IPv6 address is folded to 32 bits by XOR first.
#[inline]
pub fn xor_hash(client: &Endpoint) -> u32 {
    let ip = match client.ip {
        IpAddr::V4(ip) => ip.to_bits(),
        IpAddr::V6(ip) => {
            let b = ip.to_bits();
            ((b >> 96) ^ (b >> 64) ^ (b >> 32) ^ b) as u32
        }
    };
    ip ^ u32::from(client.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn neighbouring_ports_fall_into_different_buckets() {
        let ip = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let mut seen = [false; 1024];
        for port in 32768..32768 + 1024 {
            let bucket = xor_hash(&Endpoint::new(ip, port)) as usize % seen.len();
            assert!(!seen[bucket]);
            seen[bucket] = true;
        }
    }

    #[test]
    fn the_key_is_address_xor_port() {
        let e = Endpoint::new(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)), 0x1234);
        assert_eq!(xor_hash(&e), 0x0a01_0203 ^ 0x1234);
    }

    #[test]
    fn ipv6_folds_all_of_the_address() {
        let a = Endpoint::new(IpAddr::V6(Ipv6Addr::from_bits(1)), 0);
        let b = Endpoint::new(IpAddr::V6(Ipv6Addr::from_bits(1 << 100)), 0);
        assert_eq!(xor_hash(&a), 1);
        assert_eq!(xor_hash(&b), 1 << 4);
    }
}
