// SPDX-License-Identifier: GPL-2.0

//! What a SYN offers, whether a SYN cookie keeps it, and what a cookie has kept.
//!
//! Linux puts what was negotiated into the cookie and into the time stamp that the client echoes
//! (net/ipv4/syncookies.c). A client without time stamps loses window scaling and selective
//! acknowledgements by that, and one with large segments their size. Such a SYN is better answered by a
//! socket that remembers it.

use crate::packet::{
    tcp_options,
    BadLength,
    Flags,
    MAXIMUM_SEGMENT_SIZE,
    SACK_PERMITTED,
    TIMESTAMP,
    WINDOW_SCALE, //
};

/// The maximum segment sizes that a cookie can name: `msstab` in net/ipv4/syncookies.c. Octets.
const COOKIE_MSS: [u16; 4] = [536, 1300, 1440, 1460];
/// What holds without the option (RFC 9293, section 3.7.1).
const DEFAULT_MSS: u16 = 536;
/// A cookie may cost a segment this part of its length.
const PART_LOST: u16 = 64;

/// What the network namespace lets TCP negotiate: the sysctls of these names in net.ipv4, not 0.
///
/// What a SYN-ACK agrees on and what its cookie is taken for when it comes back are two decisions, and each asks them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// `tcp_timestamps`. Without them a cookie keeps no option at all, even if the client offers them (`tcp_conn_request()` in
    /// net/ipv4/tcp_input.c).
    pub timestamps: bool,
    /// `tcp_sack`.
    pub sack: bool,
    /// `tcp_window_scaling`.
    pub scaling: bool,
    /// `tcp_ecn`. It may be 0 and a route, or a congestion control, ask for ECN nevertheless: then a SYN-ACK agrees on it, and a cookie
    /// that comes back does so by the route alone (`cookie_ecn_ok()` in net/ipv4/syncookies.c).
    pub ecn: bool,
}

/// Whether a connection that begins with a SYN of these TCP options and control bits is as good with a cookie as without, nearly. An
/// option that is not known here might be lost, and so does not go with a cookie.
pub fn suits_cookie(options: &[u8], flags: Flags, allowed: &Allowed) -> bool {
    let asks_ecn = flags.0 & (Flags::ECE | Flags::CWR).0 != 0;
    if !allowed.timestamps || asks_ecn && !allowed.ecn {
        return false;
    }
    let mut mss = DEFAULT_MSS;
    let mut timestamps = false;
    for option in tcp_options(options) {
        match option {
            Ok((MAXIMUM_SEGMENT_SIZE, &[high, low])) => mss = u16::from_be_bytes([high, low]),
            Ok((WINDOW_SCALE, [_]) | (SACK_PERMITTED, [])) => {}
            Ok((TIMESTAMP, [_, _, _, _, _, _, _, _])) => timestamps = true,
            Ok(_) | Err(BadLength) => return false,
        }
    }
    timestamps && cookie_mss(mss).is_some_and(|kept| mss.saturating_sub(kept) <= mss / PART_LOST)
}

/// What is left of a maximum segment size in a cookie. One that is less than a cookie can name would be exceeded.
fn cookie_mss(mss: u16) -> Option<u16> {
    let smaller = |known: &u16| *known <= mss;
    COOKIE_MSS.iter().rev().copied().find(smaller)
}

/// What a cookie, and the time stamp that went with it, have kept of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The client's maximum segment size, octets.
    pub mss: u16,
    /// The scales of the client's windows and of this side's, if windows are scaled.
    pub scales: Option<(u8, u8)>,
    /// Whether selective acknowledgements were agreed on.
    pub sack: bool,
    /// Whether explicit congestion notification was.
    pub ecn: bool,
}

impl Kept {
    /// `mss` is what the cookie says; `stamp` the time stamp as the client echoes it, less what the kernel had added for that
    /// connection (`cookie_timestamp_decode()` in net/ipv4/syncookies.c); `most` the largest window, octets, that this side may have.
    pub fn of(mss: u16, stamp: u32, most: u32) -> Self {
        const WSCALE: u32 = 0xf;
        const SACK: u32 = 1 << 4;
        const ECN: u32 = 1 << 5;

        // A scale that cannot be stands for none.
        let scale = stamp & WSCALE;
        Self {
            mss,
            scales: (scale != WSCALE).then(|| (scale as u8, window_scale(most))),
            sack: stamp & SACK != 0,
            ecn: stamp & ECN != 0,
        }
    }

    /// Whether all of it is allowed still. The kernel takes no cookie with scaling or selective acknowledgements that are not
    /// (`cookie_timestamp_decode()`); with ECN, it depends on the route.
    pub fn is_within(&self, allowed: &Allowed) -> bool {
        allowed.timestamps
            && (allowed.sack || !self.sack)
            && (allowed.scaling || self.scales.is_none())
            && (allowed.ecn || !self.ecn)
    }
}

/// The scale with which windows of `most` octets can be said (RFC 7323, section 2.3): as the kernel chooses it, in
/// `tcp_select_initial_window()` in net/ipv4/tcp_output.c.
fn window_scale(most: u32) -> u8 {
    const MOST: u32 = 14;
    let bits = most.checked_ilog2().unwrap_or(0);
    bits.saturating_sub(u16::BITS - 1).min(MOST) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const TIMESTAMPS: [u8; 10] = [8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
    const ALL: Allowed = Allowed {
        timestamps: true,
        sack: true,
        scaling: true,
        ecn: true,
    };

    fn suits(options: &[u8]) -> bool {
        suits_cookie(options, Flags::SYN, &ALL)
    }

    fn with_mss(mss: u16, more: &[u8]) -> Vec<u8> {
        let mut options = Vec::from([2, 4]);
        options.extend(mss.to_be_bytes());
        options.extend(more);
        options
    }

    #[test]
    fn what_linux_sends_suits() {
        let mut options = with_mss(1460, &[4, 2]);
        options.extend(TIMESTAMPS);
        options.extend([1, 3, 3, 7]);
        assert!(suits(&options));
    }

    #[test]
    fn without_timestamps_nothing_is_kept() {
        assert!(!suits(&with_mss(1460, &[1, 3, 3, 8, 1, 1, 4, 2])));
        assert!(!suits(&[]));
    }

    #[test]
    fn segments_may_become_a_little_shorter() {
        for (mss, good) in [
            (0, false),
            (535, false),
            (536, true),
            (544, true),
            (545, false),
            (600, false),
            (1220, false),
            (1300, true),
            (1320, true),
            (1321, false),
            // IPsec and mobile networks, WireGuard, VXLAN.
            (1360, false),
            (1380, false),
            (1410, false),
            (1412, false),
            (1439, false),
            (1440, true),
            // PPPoE.
            (1452, true),
            (1460, true),
            (1483, true),
            (1484, false),
            (8960, false),
            (u16::MAX, false),
        ] {
            assert_eq!(suits(&with_mss(mss, &TIMESTAMPS)), good, "{mss}");
        }
    }

    #[test]
    fn no_segment_loses_more_than_a_64th() {
        for mss in 0..=u16::MAX {
            if suits(&with_mss(mss, &TIMESTAMPS)) {
                let kept = cookie_mss(mss).unwrap();
                assert!(
                    kept <= mss && u32::from(mss - kept) * 64 <= u32::from(mss),
                    "{mss}: {kept}"
                );
            }
        }
    }

    #[test]
    fn a_cookie_keeps_what_this_machine_allows() {
        let mut options = with_mss(1460, &[4, 2]);
        options.extend(TIMESTAMPS);
        options.extend([1, 3, 3, 7]);
        let ecn = Flags::SYN | Flags::ECE | Flags::CWR;
        for (flags, allowed, good) in [
            (Flags::SYN, ALL, true),
            (ecn, ALL, true),
            (
                Flags::SYN,
                Allowed {
                    timestamps: false,
                    ..ALL
                },
                false,
            ),
            // What is not agreed on cannot be lost.
            (Flags::SYN, Allowed { sack: false, ..ALL }, true),
            (
                Flags::SYN,
                Allowed {
                    scaling: false,
                    ..ALL
                },
                true,
            ),
            (Flags::SYN, Allowed { ecn: false, ..ALL }, true),
            (ecn, Allowed { ecn: false, ..ALL }, false),
        ] {
            assert_eq!(
                suits_cookie(&options, flags, &allowed),
                good,
                "{flags:?} {allowed:?}"
            );
        }
    }

    #[test]
    fn what_is_not_allowed_any_more_is_left_to_the_kernel() {
        let all = Kept::of(1460, 0x37, 6_291_456);
        let none = Kept::of(1460, 0x0f, 6_291_456);
        assert!(all.is_within(&ALL));
        for allowed in [
            Allowed { sack: false, ..ALL },
            Allowed {
                scaling: false,
                ..ALL
            },
            Allowed { ecn: false, ..ALL },
        ] {
            assert!(!all.is_within(&allowed));
            assert!(none.is_within(&allowed));
        }
        assert!(!none.is_within(&Allowed {
            timestamps: false,
            ..ALL
        }));
    }

    #[test]
    fn what_is_not_known_might_be_lost() {
        // TCP Fast Open, MD5.
        for option in [
            &[34, 2][..],
            &[19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ] {
            let mut options = with_mss(1460, option);
            options.extend(TIMESTAMPS);
            assert!(!suits(&options));
        }
    }

    #[test]
    fn lengths_that_cannot_be_do_not_suit() {
        for wrong in [
            &[2][..],
            &[2, 0],
            &[2, 1],
            &[2, 5, 1, 2],
            &[8, 11, 0],
            &[3, 4, 0, 0],
        ] {
            let mut options = Vec::from(TIMESTAMPS);
            options.extend(wrong);
            assert!(!suits(&options), "{wrong:?}");
        }
        // What follows the end is nothing.
        let mut options = Vec::from(TIMESTAMPS);
        options.extend([0, 2, 0]);
        assert!(suits(&options));
    }

    #[test]
    fn a_time_stamp_says_what_was_agreed_on() {
        // The time is above, and does not matter.
        for time in [0, 0x40, 0xffff_ffc0] {
            for (options, scale, sack, ecn) in [
                (0x00, Some(0), false, false),
                (0x17, Some(7), true, false),
                (0x2e, Some(14), false, true),
                (0x3f, None, true, true),
                (0x0f, None, false, false),
            ] {
                let kept = Kept {
                    mss: 1440,
                    scales: scale.map(|scale| (scale, 7)),
                    sack,
                    ecn,
                };
                assert_eq!(Kept::of(1440, time | options, 6_291_456), kept);
            }
        }
    }

    #[test]
    fn a_window_is_scaled_until_it_can_be_said() {
        for (most, scale) in [
            (0, 0),
            (65_535, 0),
            (65_536, 1),
            (131_071, 1),
            (131_072, 2),
            (6_291_456, 7),
            (33_554_432, 10),
            (u32::MAX, 14),
        ] {
            assert_eq!(window_scale(most), scale, "{most}");
        }
    }
}
