// SPDX-License-Identifier: GPL-2.0

//! The sets of octets that the grammar is made of, each a bit in [`CLASSES`].

/// `tchar` (RFC 9110, 5.6.2).
pub(super) const TOKEN: u8 = 1;
/// Value of a field: visible characters, obs-text, space and tab (RFC 9110, 5.5).
pub(super) const VALUE: u8 = 2;
/// Target: visible characters and obs-text. RFC 3986 has fewer; clients send more.
pub(super) const TARGET: u8 = 4;
/// Target, up to the query.
pub(super) const PATH: u8 = 8;
/// A host's name or IPv4 address: `unreserved`, `sub-delims` and `%` (RFC 3986, 3.2.2).
pub(super) const HOST: u8 = 16;
/// A URI's scheme, after the first letter (RFC 3986, 3.1).
pub(super) const SCHEME: u8 = 32;

/// Which sets each octet is in.
static CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut i = 0;
    while i < classes.len() {
        let octet = i as u8;
        let mut set = 0;
        if octet.is_ascii_alphanumeric() {
            set |= TOKEN | HOST | SCHEME;
        }
        if matches!(
            octet,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+'
        ) || matches!(octet, b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
        {
            set |= TOKEN;
        }
        if matches!(octet, b'-' | b'.' | b'_' | b'~' | b'%')
            || matches!(octet, b'!' | b'$' | b'&' | b'\'' | b'(' | b')')
            || matches!(octet, b'*' | b'+' | b',' | b';' | b'=')
        {
            set |= HOST;
        }
        if matches!(octet, b'+' | b'-' | b'.') {
            set |= SCHEME;
        }
        if matches!(octet, b'\t' | b' '..=b'~' | 0x80..) {
            set |= VALUE;
        }
        if matches!(octet, b'!'..=b'~' | 0x80..) {
            set |= TARGET;
        }
        if matches!(octet, b'!'..=b'~' | 0x80..) && !matches!(octet, b'?' | b'#') {
            set |= PATH;
        }
        classes[i] = set;
        i += 1;
    }
    classes
};

/// Whether `octet` is in one of `sets`.
#[inline]
pub(super) fn is(octet: u8, sets: u8) -> bool {
    // Cannot fail: the table has an entry for every octet.
    CLASSES[usize::from(octet)] & sets != 0
}

/// How many octets at the beginning are in one of `sets`.
#[inline]
pub(super) fn run_of(octets: &[u8], sets: u8) -> usize {
    let mut rest = octets;
    if sets == VALUE {
        // Most of a head is values, and most of a value is none of the few octets that end it.
        while let Some((word, after)) = rest.split_first_chunk() {
            if may_end_value(u64::from_ne_bytes(*word)) {
                break;
            }
            rest = after;
        }
    }
    let sure = octets.len().saturating_sub(rest.len());
    let more = rest.iter().take_while(|octet| is(**octet, sets)).count();
    sure.saturating_add(more)
}

/// Whether one of eight octets is DEL or below a space: all that is not in a value, and the tab.
#[inline]
const fn may_end_value(octets: u64) -> bool {
    const EACH: u64 = u64::MAX / 255;
    const HIGH: u64 = EACH << 7;
    // Where an octet is below n, subtracting n sets its high bit, which it did not have before.
    let below_space = octets.wrapping_sub(EACH * b' ' as u64) & !octets;
    let difference = octets ^ (EACH * 0x7f);
    let delete = difference.wrapping_sub(EACH) & !difference;
    (below_space | delete) & HIGH != 0
}

#[cfg(test)]
mod tests {
    use super::{is, run_of, VALUE};

    #[test]
    fn values_end_where_they_end() {
        for octet in 0..=u8::MAX {
            for at in 0..24 {
                for filling in [b' ', b'~', b'\t', 0x80, 0xff] {
                    let mut octets = [filling; 24];
                    octets[at] = octet;
                    let slowly = octets.iter().take_while(|o| is(**o, VALUE)).count();
                    assert_eq!(run_of(&octets, VALUE), slowly, "{octet} at {at}");
                }
            }
        }
    }
}
