// SPDX-License-Identifier: GPL-2.0

//! What must sleep or happen later: sockets that are ended, messages that are repeated, and what has expired. Process context,
//! but for what others ask for.

use core::net::Ipv4Addr;

use kernel::prelude::*;
use thop_core::{
    addr::FlowKey,
    buckets::POSITIONS,
    deadline::Deadlines,
    rounds,
    wire::{
        Body,
        DropReason,
        Haste,
        Message, //
    },
};
use thop_kernel::{
    adopt::LiveSocket,
    memory::AtomicHeap,
    messages::Outbox,
    table::Element,
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoffs::Phase,
    server::{
        address_of,
        Parameters,
        Server,
        GONE, //
    },
};

/// How long after CREATED, and then how often, a handoff is looked at that nothing has confirmed.
pub(crate) const ASK_MS: u64 = 200;
/// How long after CREATE that is done first if the switch is in no haste: time for most servers to answer
/// and for their clients to acknowledge, and early enough for a CREATED before the switch repeats CREATE, after 100 ms.
pub(crate) const ANSWER_MS: u64 = 40;
/// For how long NOTIFYCLS waits for others if the switch is in no haste.
pub(crate) const GATHER_MS: u64 = 4;
/// How often it is looked at when its lease is over.
const ASK_LATE_MS: u64 = 1_000;
/// For how long after its lease an unconfirmed handoff is kept, silent.
const UNCONFIRMED_MS: u64 = 15_000;
/// How long to wait for an acknowledgement of the first NOTIFYCLS; doubled each time.
pub(crate) const NOTICE_MS: u64 = 200;
/// How often NOTIFYCLS is sent.
const NOTICES: u8 = 8;
/// How many handoffs a sweep looks at for which there was no memory. Others must wait for the next.
const UNWATCHED: usize = 16;

/// What the worker shall do.
pub(crate) struct Agenda {
    deadlines: Deadlines<AtomicHeap, FlowKey>,
}

impl Agenda {
    /// Nothing.
    pub(crate) fn new() -> Self {
        Self {
            deadlines: Deadlines::new(),
        }
    }
}

impl Server {
    // --- for others, in any context -------------------------------------------------------------

    /// Tells a switch something at once. In a context in which packets may be sent.
    pub(crate) fn say(&self, message: &Message, switch: Ipv4Addr) {
        self.sent(self.channel.send(message, address_of(message), switch));
    }

    /// Tells a switch of a handoff, together with what else it is told now.
    pub(crate) fn tell(&self, message: &Message, switch: Ipv4Addr, outbox: &mut Outbox<'_>) {
        self.sent(outbox.push(message, address_of(message), switch));
    }

    /// Lets the worker look at a handoff later; without memory for that, when it sweeps.
    pub(crate) fn look_in(&self, key: FlowKey, ms: u64) {
        let noted = self.agenda.lock().deadlines.push(now_ms() + ms, key);
        if noted.is_err() {
            self.handoffs.with(&key, |handed| handed.unwatched = true);
        }
        self.worker.kick_in(ms as u32);
    }

    // --- the worker ------------------------------------------------------------------------------

    /// Looks at the handoffs that are due. Returns when the next one is.
    pub(crate) fn look(&self) -> Option<u64> {
        let mut outbox = Outbox::new(&self.channel);
        let next = loop {
            let now = now_ms();
            let mut agenda = self.agenda.lock();
            let Some(key) = agenda.deadlines.pop_due(now) else {
                break agenda.deadlines.next().map(|due| due.saturating_sub(now));
            };
            drop(agenda);
            self.look_at(&key, now, &mut outbox);
        };
        self.sent(outbox.send());
        next
    }

    fn look_at(&self, key: &FlowKey, now: u64, outbox: &mut Outbox<'_>) {
        enum Act {
            End(LiveSocket, bool),
            Ask(Message, Ipv4Addr, bool),
            Refuse(Message, Ipv4Addr),
            LeaseOver,
            Notice(Message, Ipv4Addr, u8, bool),
            GiveUp,
        }

        let act = self.handoffs.with(key, |handed| match handed.phase {
            Phase::Gone { .. } if handed.socket.is_some() => handed
                .take_ending()
                .map(|(socket, reset)| Act::End(socket, reset)),
            // A program in user space has the request: the last of the hooks will not let it pass any more.
            Phase::Adopting if handed.queued && now >= handed.lease_ms => {
                let passed = handed.passed.is_some();
                handed.enter(Phase::TAKEN_BACK, &self.live);
                // What has passed may become a socket at this very moment, which ends then; the switch hears nothing of it.
                (!passed).then(|| {
                    let body = Body::NotifyDrop(DropReason::Filtered);
                    Act::Refuse(handed.message(body), handed.switch)
                })
            }
            Phase::Alive { confirmed: false } => Some(if now >= handed.lease_ms + UNCONFIRMED_MS {
                // The switch will give the request to another: this death is none to tell.
                handed.enter(Phase::TAKEN_BACK, &self.live);
                Act::LeaseOver
            } else {
                Act::Ask(
                    handed.message(self.created()),
                    handed.switch,
                    now >= handed.lease_ms,
                )
            }),
            Phase::Gone {
                acknowledged: false,
                taken_back,
            } => Some(if handed.notices >= NOTICES {
                handed.phase = Phase::Gone {
                    acknowledged: true,
                    taken_back,
                };
                Act::GiveUp
            } else {
                handed.notices += 1;
                let alone = handed.haste.contains(Haste::GONE);
                Act::Notice(handed.message(GONE), handed.switch, handed.notices, alone)
            }),
            _ => None,
        });
        match act.flatten() {
            None => {}
            Some(Act::Ask(message, switch, late)) => {
                self.count(Counter::Asked);
                self.tell(&message, switch, outbox);
                self.look_in(*key, if late { ASK_LATE_MS } else { ASK_MS });
            }
            Some(Act::End(socket, true)) => socket.abort(),
            Some(Act::End(socket, false)) => socket.end(),
            Some(Act::Refuse(message, switch)) => {
                self.count_refused(DropReason::Filtered);
                self.tell(&message, switch, outbox);
            }
            Some(Act::LeaseOver) => {
                self.count(Counter::LeaseOver);
                self.look_in(*key, 0);
            }
            Some(Act::Notice(message, switch, notices, alone)) => {
                self.count(Counter::CloseNotices);
                if alone {
                    // Somebody may be waiting for the place.
                    self.say(&message, switch);
                } else {
                    self.tell(&message, switch, outbox);
                }
                self.look_in(*key, NOTICE_MS << notices.saturating_sub(1).min(5));
            }
            Some(Act::GiveUp) => self.count(Counter::CloseUnheard),
        }
    }

    /// Removes what has expired of a slice of the table, and looks at what nobody else would.
    pub(crate) fn sweep(&self, now: u64) {
        let mut unwatched = [None; UNWATCHED];
        let mut free = unwatched.iter_mut();
        let Parameters {
            linger_ms,
            closed_ms,
            ..
        } = *self.parameters;
        self.handoffs.sweep_part(
            rounds::slice(POSITIONS, linger_ms.min(closed_ms)),
            |handed| {
                if handed.unwatched {
                    if let Some(place) = free.next() {
                        *place = Some(handed.key());
                        handed.unwatched = false;
                    }
                }
                handed.expired(linger_ms, closed_ms, now)
            },
            drop,
        );
        let mut outbox = Outbox::new(&self.channel);
        for key in unwatched.into_iter().flatten() {
            self.look_at(&key, now, &mut outbox);
        }
        self.sent(outbox.send());
        let (chain, _) = self.handoffs.chains();
        let Parameters { chains, keyed, .. } = &*self.parameters;
        if let Some(warning) = chains.warning(chain, *keyed, now) {
            pr_warn!("{warning}\n");
        }
    }
}
