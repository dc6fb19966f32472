// SPDX-License-Identifier: GPL-2.0

//! What single words of a configuration mean.

use core::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str,
};

use super::{
    error::{Kind, Range, Reason, Word},
    MAX_HOST, MAX_NAME,
};
use crate::{
    addr::Endpoint,
    policy::{self, Value},
    rules::Network,
};

/// Letters, digits, hyphens, underscores and dots.
pub(super) fn is_name_octet(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-')
}

pub(super) fn name_word(word: Option<&[u8]>, kind: Kind) -> Result<&[u8], Reason> {
    let word = word.ok_or(Reason::MissingName(kind))?;
    if word.len() > MAX_NAME || !word.iter().all(is_name_octet) {
        return Err(Reason::BadName(Word::new(word)));
    }
    Ok(word)
}

pub(super) fn without_dot(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

pub(super) fn host_of(word: &[u8]) -> Result<&[u8], Reason> {
    let host = without_dot(word);
    // No label is empty, so at most one dot can be at the end.
    let good = host.len() <= MAX_HOST
        && host.iter().all(is_name_octet)
        && host.split(|&b| b == b'.').all(|label| !label.is_empty());
    if good {
        Ok(host)
    } else {
        Err(Reason::BadHost(Word::new(word)))
    }
}

/// A host, or what is behind the `*` of a wildcard: a dot and a host.
pub(super) enum HostWord<'t> {
    Host(&'t [u8]),
    Domain(&'t [u8]),
}

pub(super) fn host_or_domain(word: &[u8]) -> Result<HostWord<'_>, Reason> {
    let Some(domain) = word.strip_prefix(b"*.") else {
        return host_of(word).map(HostWord::Host);
    };
    let bad = Reason::BadHost(Word::new(word));
    let host = host_of(domain).map_err(|_| bad)?;
    // There must be room for a label and a dot.
    let dotted = word.get(1..host.len().saturating_add(2)).ok_or(bad)?;
    match host.len().saturating_add(2) <= MAX_HOST {
        true => Ok(HostWord::Domain(dotted)),
        false => Err(bad),
    }
}

/// An octet that a path may have.
fn is_path_octet(octet: &u8) -> bool {
    octet.is_ascii_graphic() && !matches!(octet, b'?' | b'#')
}

/// A path, or the beginning of one.
pub(super) fn path_of(word: &[u8]) -> Result<&[u8], Reason> {
    if word.starts_with(b"/") && word.iter().all(is_path_octet) {
        Ok(word)
    } else {
        Err(Reason::BadPath(Word::new(word)))
    }
}

/// The end of a path.
pub(super) fn suffix_of(word: &[u8]) -> Result<&[u8], Reason> {
    if word.iter().all(is_path_octet) {
        Ok(word)
    } else {
        Err(Reason::BadSuffix(Word::new(word)))
    }
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token_octet(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(octet)
}

fn is_token(word: &[u8]) -> bool {
    !word.is_empty() && word.iter().all(is_token_octet)
}

/// Methods with commas between them.
pub(super) fn methods_of(word: &[u8]) -> Result<&[u8], Reason> {
    match word.split(|&octet| octet == b',').all(is_token) {
        true => Ok(word),
        false => Err(Reason::BadMethod(Word::new(word))),
    }
}

/// Where a pair stands, which says what its parts may be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Header,
    Cookie,
    Query,
}

/// A name, and the value behind its first `=`.
pub(super) fn pair_of<'t>(
    key: &'static str,
    place: Place,
    word: &'t [u8],
) -> Result<(&'t [u8], Option<&'t [u8]>), Reason> {
    let mut parts = word.splitn(2, |&octet| octet == b'=');
    let name = parts.next().unwrap_or(&[]);
    let value = parts.next();
    // What separates it from others cannot be part of it.
    let good = |octet: &u8| {
        octet.is_ascii_graphic()
            && match place {
                Place::Header => true,
                Place::Cookie => *octet != b';',
                Place::Query => !matches!(octet, b'&' | b'#'),
            }
    };
    let good_name = match place {
        Place::Header | Place::Cookie => is_token(name),
        Place::Query => !name.is_empty() && name.iter().all(good),
    };
    match good_name && value.is_none_or(|value| value.iter().all(good)) {
        true => Ok((name, value)),
        false => Err(Reason::BadPair(key, Word::new(word))),
    }
}

/// An address, or a network: an address and how many of its bits count.
pub(crate) fn network_of(word: &[u8]) -> Result<Network, Reason> {
    let bad = Reason::BadNetwork(Word::new(word));
    let mut parts = word.splitn(2, |&octet| octet == b'/');
    let address = str::from_utf8(parts.next().unwrap_or(&[])).map_err(|_| bad)?;
    let ip = match address.parse::<IpAddr>().map_err(|_| bad)? {
        IpAddr::V4(ip) => ip,
        // The grammar knows them, the packet path does not.
        IpAddr::V6(_) => return Err(Reason::Ipv6(Word::new(word))),
    };
    let len = match parts.next() {
        None => 32,
        Some(len) => match number(len) {
            Some((len @ 0..=32, [])) => len as u8,
            _ => return Err(bad),
        },
    };
    Ok(Network::new(IpAddr::V4(ip), len))
}

/// The name of a protocol (RFC 7301, section 3.1).
pub(super) fn protocol_of(word: &[u8]) -> Result<&[u8], Reason> {
    match word.len() <= 255 && word.iter().all(u8::is_ascii_graphic) {
        true => Ok(word),
        false => Err(Reason::BadProtocol(Word::new(word))),
    }
}

/// Checks the value of an option of the policy `own`.
pub(super) fn check(
    key: &'static str,
    value: Value,
    own: policy::Kind,
    word: &[u8],
) -> Result<(), Reason> {
    match value {
        Value::Number(least, most) => number_in(key, word, least, most).map(drop),
        Value::Duration(least, most) => time_in(key, word, least, most).map(drop),
        Value::Key => {
            let named = word
                .strip_prefix(b"header:")
                .or_else(|| word.strip_prefix(b"cookie:"));
            let good = match named {
                Some(name) => is_token(name),
                None => matches!(word, b"client" | b"host" | b"path" | b"uri"),
            };
            let bad = Reason::BadKey(key, Word::new(word));
            good.then_some(()).ok_or(bad)
        }
        Value::Token => {
            let bad = Reason::BadToken(key, Word::new(word));
            is_token(word).then_some(()).ok_or(bad)
        }
        Value::Policy => match policy::Kind::named(word) {
            Some(other) if other != own => Ok(()),
            _ => Err(Reason::BadPolicy(key, Word::new(word), own)),
        },
    }
}

/// A decimal number, and what follows it. One that is too great for its type is the greatest.
pub(super) fn number(word: &[u8]) -> Option<(u32, &[u8])> {
    let digits = word.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = word.split_at_checked(digits)?;
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().fold(0u32, |n, b| {
        let digit = u32::from(b.wrapping_sub(b'0'));
        n.saturating_mul(10).saturating_add(digit)
    });
    Some((number, rest))
}

/// A number in a range.
pub(super) fn number_in(
    key: &'static str,
    word: &[u8],
    least: u32,
    most: u32,
) -> Result<u32, Reason> {
    match number(word) {
        Some((n, [])) => in_range(key, word, n, Range::Numbers(least, most)),
        _ => Err(Reason::BadNumber(key, Word::new(word))),
    }
}

/// A time in a range; all in milliseconds.
pub(super) fn time_in(
    key: &'static str,
    word: &[u8],
    least: u32,
    most: u32,
) -> Result<u32, Reason> {
    let ms = match number(word) {
        Some((n, b"ms")) => n,
        Some((n, b"s")) => n.saturating_mul(1000),
        Some((n, b"m")) => n.saturating_mul(60_000),
        _ => return Err(Reason::BadDuration(key, Word::new(word))),
    };
    in_range(key, word, ms, Range::Times(least, most))
}

/// The head limit of a service, octets.
pub(super) fn head_limit_of(key: &'static str, word: &[u8]) -> Result<u32, Reason> {
    let octets = match number(word) {
        Some((n, [])) => n,
        Some((n, b"k")) => n.saturating_mul(1024),
        _ => return Err(Reason::BadNumber(key, Word::new(word))),
    };
    in_range(key, word, octets, Range::Numbers(256, 32768))
}

fn in_range(key: &'static str, word: &[u8], value: u32, range: Range) -> Result<u32, Reason> {
    let (Range::Numbers(least, most) | Range::Times(least, most)) = range;
    match (least..=most).contains(&value) {
        true => Ok(value),
        false => Err(Reason::OutOfRange(key, Word::new(word), range)),
    }
}

pub(super) fn endpoint(word: Option<&[u8]>, kind: Kind) -> Result<Endpoint, Reason> {
    let word = word.ok_or(Reason::MissingOption(kind, "address"))?;
    let bad = Reason::BadAddress(Word::new(word));
    let text = str::from_utf8(word).map_err(|_| bad)?;
    let (address, port) = text.rsplit_once(':').ok_or(bad)?;
    let bracketed = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'));
    let ip = match bracketed {
        None => IpAddr::V4(address.parse::<Ipv4Addr>().map_err(|_| bad)?),
        Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().map_err(|_| bad)?),
    };
    let port = match number(port.as_bytes()) {
        Some((n, [])) => match u16::try_from(n) {
            Ok(port) if port != 0 => port,
            _ => {
                let range = Range::Numbers(1, 65535);
                return Err(Reason::OutOfRange("port of", Word::new(word), range));
            }
        },
        _ => return Err(bad),
    };
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() => {
            Err(Reason::UnusableAddress(Word::new(word)))
        }
        IpAddr::V4(_) => Ok(Endpoint::new(ip, port)),
        // The grammar knows them, the packet path does not.
        IpAddr::V6(_) => Err(Reason::Ipv6(Word::new(word))),
    }
}
