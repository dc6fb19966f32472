// SPDX-License-Identifier: GPL-2.0

//! The life of a handed-over connection at the switch.
//!
//! The rules are those of the forwarder module in the paper. A FIN or RST of the client marks the
//! element *closed*, and its segments are still forwarded. A SYN that meets a closed element means
//! that the client uses its port again: the element is removed and the SYN goes up the stack, so
//! that the next request is dispatched too. Besides, an element begins in *handoff*, until it is
//! known that the server has the connection.
//!
//! Times are milliseconds of any clock, modulo 2^32. Sequence numbers are in host byte order and
//! compared modulo 2^32 (RFC 9293, section 3.4).

use crate::packet::Flags;

/// The largest window there is, octets (RFC 7323, section 2.3): a client cannot have been sent more than that after the handoff
/// before what it says of it has come by here.
const LARGEST_WINDOW: u32 = 1 << 30;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// CREATE is out, and nothing is known yet. The client's segments are held.
    Handoff,
    /// The server has the connection.
    Active,
    /// The server has the connection, and the client has sent FIN or RST.
    Closed,
    /// No server has taken the connection, and the switch's own stack has it again.
    Returned,
}

/// What to do with a segment of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Keep it until the server answers.
    Hold,
    /// The client has heard the server: forward what is held, then this segment. That is the client's word, and not the
    /// server's.
    Took,
    /// Forward it.
    Forward,
    /// Drop it.
    Drop,
    /// Remove the element and let the segment go up the stack.
    PassUp,
    /// Let the segment go up the stack.
    Stack,
}

/// How long an element stays after the client's last segment, milliseconds, at most 2^31 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Both sides have closed. The client may still repeat its last segments.
    pub linger_ms: u32,
    /// One side has closed and the other has not said so.
    pub closed_ms: u32,
    /// Neither side has closed.
    pub idle_ms: u32,
}

impl Timeouts {
    /// For how long an element stays at least, milliseconds.
    pub fn shortest_ms(&self) -> u32 {
        self.linger_ms.min(self.closed_ms).min(self.idle_ms)
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            linger_ms: 10_000,
            closed_ms: 120_000,
            idle_ms: 3_600_000,
        }
    }
}

/// The state of one element of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    phase: Phase,
    /// The client has sent FIN or RST while in handoff.
    closing: bool,
    /// The server has sent NOTIFYCLS.
    gone: bool,
    last_seen_ms: u32,
}

impl Flow {
    /// A connection whose CREATE goes out now.
    #[inline]
    pub const fn new(now_ms: u32) -> Self {
        Self {
            phase: Phase::Handoff,
            closing: false,
            gone: false,
            last_seen_ms: now_ms,
        }
    }

    /// Where the connection stands.
    #[inline]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the server has said that the connection is gone.
    #[inline]
    pub const fn is_gone(&self) -> bool {
        self.gone
    }

    /// When the client was last heard of.
    #[inline]
    pub const fn last_seen_ms(&self) -> u32 {
        self.last_seen_ms
    }

    /// Judges a segment of the client.
    ///
    /// `handoff_ack` is the first sequence number that the server will send. A client that
    /// acknowledges more, by a window at most, has heard the server, even if the server's answer to CREATE was lost. Or it says
    /// so without having heard anybody: it proves enough to be served, and nothing about the server.
    #[inline]
    pub fn on_segment(&mut self, flags: Flags, ack: u32, handoff_ack: u32, now_ms: u32) -> Verdict {
        self.last_seen_ms = now_ms;

        // The receiver looks at RST before SYN and at SYN before FIN (RFC 9293, section 3.10.7.4).
        let reset = flags.contains(Flags::RST);
        let syn = flags.contains(Flags::SYN) && !reset;
        let closes = reset || (flags.contains(Flags::FIN) && !syn);

        match self.phase {
            Phase::Handoff if syn => Verdict::Drop,
            Phase::Handoff => {
                self.closing |= closes;
                if flags.contains(Flags::ACK) && hears(ack, handoff_ack) {
                    self.taken();
                    Verdict::Took
                } else {
                    Verdict::Hold
                }
            }
            // A server that has nothing left could only take the SYN for a connection of its own,
            // and the request would never be dispatched. With an ACK it opens nothing.
            Phase::Closed | Phase::Active
                if syn
                    && !flags.contains(Flags::ACK)
                    && (self.gone || self.phase == Phase::Closed) =>
            {
                Verdict::PassUp
            }
            Phase::Returned if syn && !flags.contains(Flags::ACK) => Verdict::PassUp,
            Phase::Returned => Verdict::Stack,
            // The SYN that meets a living connection is the server's to judge: it answers with a
            // challenge ACK, and a client that has lost its state resets the old connection then
            // (RFC 5961, section 4).
            Phase::Active | Phase::Closed => {
                if closes {
                    self.phase = Phase::Closed;
                }
                Verdict::Forward
            }
        }
    }

    /// The server has the connection. Returns whether this is news: what is held can go then.
    #[inline]
    pub fn taken(&mut self) -> bool {
        if self.phase != Phase::Handoff {
            return false;
        }
        self.phase = if self.closing {
            Phase::Closed
        } else {
            Phase::Active
        };
        true
    }

    /// The server says that the connection is gone. It has had it, then: returns as
    /// [`taken`](Self::taken) does.
    #[inline]
    pub fn gone(&mut self) -> bool {
        self.gone = true;
        self.taken()
    }

    /// No server has taken the connection, and the stack gets it back.
    pub fn returned(&mut self) {
        self.phase = Phase::Returned;
    }

    /// Whether the element has outlived its use.
    ///
    /// Never so in handoff, which ends by its own deadlines.
    #[inline]
    pub fn expired(&self, timeouts: &Timeouts, now_ms: u32) -> bool {
        let timeout_ms = match (self.phase, self.gone) {
            (Phase::Handoff, _) => return false,
            (Phase::Closed, true) | (Phase::Returned, _) => timeouts.linger_ms,
            // A server that closed first may be gone while its kernel keeps FIN-WAIT-2 or
            // TIME-WAIT, to which the client's FIN must still find its way.
            (Phase::Closed, false) | (Phase::Active, true) => timeouts.closed_ms,
            (Phase::Active, false) => timeouts.idle_ms,
        };
        // Another processor may have seen a segment after `now_ms` was read: not expired then.
        u32::try_from(now_ms.wrapping_sub(self.last_seen_ms) as i32)
            .is_ok_and(|silent_ms| silent_ms >= timeout_ms)
    }
}

/// Whether who acknowledges `ack` can have heard what begins at `first`.
#[inline]
const fn hears(ack: u32, first: u32) -> bool {
    is_after(ack, first) && ack.wrapping_sub(first) <= LARGEST_WINDOW
}

/// Whether sequence number `a` comes after `b`, modulo 2^32.
#[inline]
pub const fn is_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISN: u32 = u32::MAX;
    /// The first sequence number of the server: just over the edge.
    const FIRST: u32 = ISN.wrapping_add(1);

    const SYN: Flags = Flags::SYN;
    const ACK: Flags = Flags::ACK;
    const FIN: Flags = Flags(Flags::FIN.0 | Flags::ACK.0);
    const RST: Flags = Flags::RST;
    const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

    fn active() -> Flow {
        let mut flow = Flow::new(0);
        assert!(flow.taken());
        flow
    }

    fn see(flow: &mut Flow, flags: Flags) -> Verdict {
        flow.on_segment(flags, FIRST, FIRST, 0)
    }

    #[test]
    fn a_port_used_again_goes_up_the_stack() {
        for close in [FIN, RST] {
            let mut flow = active();
            assert_eq!(see(&mut flow, ACK), Verdict::Forward);
            assert_eq!(see(&mut flow, close), Verdict::Forward);
            assert_eq!(flow.phase(), Phase::Closed);
            assert_eq!(see(&mut flow, ACK), Verdict::Forward);
            assert_eq!(see(&mut flow, SYN), Verdict::PassUp);
        }
    }

    #[test]
    fn the_server_judges_a_syn_on_a_living_connection() {
        let mut flow = active();
        assert_eq!(see(&mut flow, SYN), Verdict::Forward);
        assert_eq!(flow.phase(), Phase::Active);
        // The client answers the challenge ACK, and tries again.
        assert_eq!(see(&mut flow, RST), Verdict::Forward);
        assert_eq!(see(&mut flow, SYN), Verdict::PassUp);
    }

    #[test]
    fn a_syn_on_what_the_server_has_lost_goes_up_too() {
        let mut flow = active();
        flow.gone();
        assert_eq!(see(&mut flow, SYN), Verdict::PassUp);
        assert_eq!(see(&mut flow, SYN_ACK), Verdict::Forward);
    }

    #[test]
    fn segments_are_held_until_the_server_answers() {
        let mut flow = Flow::new(0);
        assert_eq!(see(&mut flow, ACK), Verdict::Hold);
        assert_eq!(see(&mut flow, SYN), Verdict::Drop);
        assert_eq!(see(&mut flow, SYN_ACK), Verdict::Drop);
        assert_eq!(see(&mut flow, FIN), Verdict::Hold);
        assert_eq!(flow.phase(), Phase::Handoff);
        assert!(flow.taken());
        assert_eq!(flow.phase(), Phase::Closed);
        assert!(!flow.taken());
    }

    #[test]
    fn an_acknowledgement_across_the_edge_proves_the_takeover() {
        let mut flow = Flow::new(0);
        assert_eq!(flow.on_segment(ACK, ISN, FIRST, 0), Verdict::Hold);
        assert_eq!(flow.on_segment(ACK, FIRST, FIRST, 0), Verdict::Hold);
        // Without the flag the number means nothing.
        assert_eq!(flow.on_segment(RST, 1, FIRST, 0), Verdict::Hold);
        assert_eq!(flow.on_segment(ACK, 1, FIRST, 0), Verdict::Took);
        // The reset was remembered.
        assert_eq!(flow.phase(), Phase::Closed);
        assert!(!flow.taken());

        let mut flow = Flow::new(0);
        assert_eq!(
            flow.on_segment(ACK, ISN, ISN.wrapping_sub(1), 0),
            Verdict::Took
        );
        assert_eq!(flow.phase(), Phase::Active);
    }

    #[test]
    fn nobody_has_heard_more_than_a_window() {
        for (ack, verdict) in [
            (1, Verdict::Took),
            (1 << 30, Verdict::Took),
            ((1 << 30) + 1, Verdict::Hold),
            (1 << 31, Verdict::Hold),
            (u32::MAX, Verdict::Hold),
        ] {
            let mut flow = Flow::new(0);
            let ack = FIRST.wrapping_add(ack);
            assert_eq!(flow.on_segment(ACK, ack, FIRST, 0), verdict, "{ack}");
        }
    }

    #[test]
    fn a_server_that_is_gone_has_been_there() {
        let mut flow = Flow::new(0);
        assert!(flow.gone());
        assert_eq!(flow.phase(), Phase::Active);
        assert!(flow.is_gone());
        assert!(!flow.gone());
    }

    #[test]
    fn what_no_server_has_taken_is_the_stacks() {
        let mut flow = Flow::new(0);
        assert_eq!(see(&mut flow, FIN), Verdict::Hold);
        flow.returned();
        assert_eq!(see(&mut flow, ACK), Verdict::Stack);
        assert_eq!(see(&mut flow, FIN), Verdict::Stack);
        assert_eq!(see(&mut flow, RST), Verdict::Stack);
        assert_eq!(see(&mut flow, SYN_ACK), Verdict::Stack);
        assert_eq!(see(&mut flow, SYN), Verdict::PassUp);
        assert!(!flow.taken());
        assert!(!flow.expired(&Timeouts::default(), 9_999));
        assert!(flow.expired(&Timeouts::default(), 10_000));
    }

    #[test]
    fn silence_is_measured_across_the_edge() {
        let timeouts = Timeouts::default();
        let start = u32::MAX - 5_000;
        let mut flow = Flow::new(start);
        let at = |ms: u32| start.wrapping_add(ms);
        assert!(!flow.expired(&timeouts, at(2_000_000_000)));
        flow.taken();
        assert!(!flow.expired(&timeouts, at(3_599_999)));
        assert!(flow.expired(&timeouts, at(3_600_000)));
        // The clock of another processor is behind.
        assert!(!flow.expired(&timeouts, at(0).wrapping_sub(1)));
        flow.on_segment(FIN, FIRST, FIRST, at(1));
        assert!(!flow.expired(&timeouts, at(120_000)));
        assert!(flow.expired(&timeouts, at(120_001)));
        flow.gone();
        assert!(!flow.expired(&timeouts, at(10_000)));
        assert!(flow.expired(&timeouts, at(10_001)));
    }

    #[test]
    fn an_element_stays_small() {
        assert!(core::mem::size_of::<Flow>() <= 8);
    }
}
