// SPDX-License-Identifier: GPL-2.0

//! The life of an element against a model that remembers everything and decides from it.

use proptest::{collection::vec, prelude::*};
use thop_core::{
    flow::{is_after, Flow, Phase, Timeouts, Verdict},
    packet::Flags,
};

/// Something that happens to an element.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// A segment with these control bits, which acknowledges so many octets of the server.
    Segment(u8, i32),
    /// CREATED arrives.
    Created,
    /// NOTIFYCLS arrives.
    NotifyClose,
    /// Time passes.
    Wait(u32),
}

fn event() -> impl Strategy<Value = Event> {
    let flags = prop_oneof![
        4 => Just(Flags::ACK.0),
        2 => Just(Flags::SYN.0),
        2 => Just(Flags::ACK.0 | Flags::FIN.0),
        1 => Just(Flags::RST.0),
        2 => any::<u8>(),
    ];
    let acked = prop_oneof![3 => -2..=2, 1 => any::<i32>()];
    prop_oneof![
        6 => (flags, acked).prop_map(|(flags, acked)| Event::Segment(flags, acked)),
        1 => Just(Event::Created),
        1 => Just(Event::NotifyClose),
        1 => prop_oneof![0u32..200, 0u32..5000].prop_map(Event::Wait),
    ]
}

/// All that has happened.
#[derive(Default)]
struct History {
    /// The server is known to have the connection.
    owned: bool,
    /// The client has sent FIN or RST.
    closed: bool,
    /// The server has said that the connection is gone.
    gone: bool,
}

impl History {
    fn phase(&self) -> Phase {
        match (self.owned, self.closed) {
            (false, _) => Phase::Handoff,
            (true, false) => Phase::Active,
            (true, true) => Phase::Closed,
        }
    }

    fn segment(&mut self, flags: u8, acked: i32) -> Verdict {
        let [fin, syn, rst, ack] =
            [Flags::FIN, Flags::SYN, Flags::RST, Flags::ACK].map(|f| flags & f.0 != 0);
        if !self.owned {
            if syn && !rst {
                return Verdict::Drop;
            }
            self.closed |= fin || rst;
            if ack && (1..=1 << 30).contains(&acked) {
                self.owned = true;
                return Verdict::Took;
            }
            return Verdict::Hold;
        }
        if syn && !rst {
            if !ack && (self.closed || self.gone) {
                return Verdict::PassUp;
            }
            return Verdict::Forward;
        }
        self.closed |= fin || rst;
        Verdict::Forward
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn an_element_does_what_its_history_says(
        events in vec(event(), 0..40),
        first: u32,
        start: u32,
    ) {
        let timeouts = Timeouts { linger_ms: 100, closed_ms: 1000, idle_ms: 3000 };
        let mut now = start;
        let mut flow = Flow::new(now);
        let mut history = History::default();
        let mut silent = 0u64;
        for event in events {
            match event {
                Event::Segment(flags, acked) => {
                    let ack = first.wrapping_add(acked as u32);
                    let verdict = flow.on_segment(Flags(flags), ack, first, now);
                    prop_assert_eq!(verdict, history.segment(flags, acked));
                    silent = 0;
                    if verdict == Verdict::PassUp {
                        break;
                    }
                }
                Event::Created => {
                    prop_assert_eq!(flow.taken(), !history.owned);
                    history.owned = true;
                }
                Event::NotifyClose => {
                    prop_assert_eq!(flow.gone(), !history.owned);
                    history.owned = true;
                    history.gone = true;
                }
                Event::Wait(ms) => {
                    now = now.wrapping_add(ms);
                    silent += u64::from(ms);
                }
            }
            prop_assert_eq!(flow.phase(), history.phase());
            prop_assert_eq!(flow.is_gone(), history.gone);
            prop_assert_eq!(u64::from(now.wrapping_sub(flow.last_seen_ms())), silent);
            let limit = match (history.owned, history.closed, history.gone) {
                (false, ..) => u64::MAX,
                (true, true, true) => 100,
                (true, false, false) => 3000,
                _ => 1000,
            };
            prop_assert_eq!(flow.expired(&timeouts, now), silent >= limit);
        }
    }

    #[test]
    fn sequence_numbers_have_no_edge(a: u32, distance in 1u32..0x8000_0000) {
        prop_assert!(is_after(a.wrapping_add(distance), a));
        prop_assert!(!is_after(a, a.wrapping_add(distance)));
        prop_assert!(!is_after(a, a));
    }

    #[test]
    fn any_clock_is_read(start: u32, now: u32, limits: [u32; 3], seen: Option<u8>) {
        let timeouts = Timeouts {
            linger_ms: limits[0],
            closed_ms: limits[1],
            idle_ms: limits[2],
        };
        let mut flow = Flow::new(start);
        flow.taken();
        if let Some(flags) = seen {
            flow.on_segment(Flags(flags), 0, 0, start);
        }
        let limit = if flow.phase() == Phase::Closed { limits[1] } else { limits[2] };
        let silent = i64::from(now.wrapping_sub(start) as i32);
        prop_assert_eq!(
            flow.expired(&timeouts, now),
            silent >= 0 && silent >= i64::from(limit)
        );
    }
}
