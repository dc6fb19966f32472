// SPDX-License-Identifier: GPL-2.0

//! Options of TCP (RFC 9293, section 3.1) and of IPv4 (RFC 791, section 3.1).

/// The kind of a TCP option: maximum segment size (RFC 9293, section 3.2).
pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
/// Window scale (RFC 7323, section 2.2).
pub const WINDOW_SCALE: u8 = 3;
/// Selective acknowledgements permitted (RFC 2018, section 2).
pub const SACK_PERMITTED: u8 = 4;
/// Time stamps (RFC 7323, section 3.2).
pub const TIMESTAMP: u8 = 8;

/// The length of a TCP option cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadLength;

/// TCP options (RFC 9293, section 3.1): the kind and the data of each, without those that only fill.
///
/// Options are read as `tcp_parse_options()` in net/ipv4/tcp_input.c does: a length that cannot be ends the list.
#[inline]
pub fn tcp_options(octets: &[u8]) -> impl Iterator<Item = Result<(u8, &[u8]), BadLength>> {
    const END: u8 = 0;
    const NOTHING: u8 = 1;

    let mut rest = octets;
    core::iter::from_fn(move || loop {
        let (&kind, after) = rest.split_first()?;
        match kind {
            END => return None,
            NOTHING => rest = after,
            _ => {
                // The length counts the octets of kind and length too.
                let split = after.split_first().and_then(|(&len, after)| {
                    after.split_at_checked(usize::from(len).checked_sub(2)?)
                });
                let (data, after) = split.unzip();
                rest = after.unwrap_or(&[]);
                return Some(data.map(|data| (kind, data)).ok_or(BadLength));
            }
        }
    })
}

/// Whether a packet with these IPv4 options may be forwarded as it is: its options do not say where it is to go.
///
/// So it may with those that only fill, with labels (basic security, RFC 1108; CIPSO, FIPS 188), which say something of the packet and not of its way,
/// and with those by which routers note that they had it: this one does not. Source routes name where a packet is to go, which is for the
/// switch to say (RFC 7126, sections 4.3 and 4.4, advises to drop them). Anything else is dropped, too, and so is what is no list of options.
pub fn ip_options_may_pass(octets: &[u8]) -> bool {
    const RECORD_ROUTE: u8 = 7;
    const TIMESTAMP: u8 = 68;
    const BASIC_SECURITY: u8 = 130;
    const CIPSO: u8 = 134;

    // They have the form of TCP's.
    tcp_options(octets).all(|option| {
        matches!(
            option,
            Ok((RECORD_ROUTE | TIMESTAMP | BASIC_SECURITY | CIPSO, _))
        )
    })
}

/// The timestamps in TCP options: TSval and TSecr. The first counts.
pub fn timestamps(options: &[u8]) -> Option<(u32, u32)> {
    for option in tcp_options(options) {
        if let (TIMESTAMP, &[v3, v2, v1, v0, e3, e2, e1, e0]) = option.ok()? {
            return Some((
                u32::from_be_bytes([v3, v2, v1, v0]),
                u32::from_be_bytes([e3, e2, e1, e0]),
            ));
        }
    }
    None
}

/// The same, if there is no other option.
pub fn only_timestamps(options: &[u8]) -> Option<(u32, u32)> {
    let mut all = tcp_options(options);
    let only = all.next().is_some() && all.next().is_none();
    only.then(|| timestamps(options)).flatten()
}
