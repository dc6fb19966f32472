// SPDX-License-Identifier: GPL-2.0

//! What clients send, on its way to the sockets that were taken over: softirq. And what those say: softirq or process context.

use thop_core::{
    addr::FlowKey,
    packet::{
        parse_ipv4,
        rewrite_destination_ipv4,
        Flags,
        Segment, //
    },
};
use thop_kernel::{
    instance::{
        Packet,
        Passing,
        Verdict, //
    },
    messages::ipv4,
    segment::{
        self,
        Kept, //
    },
    send,
    time::now_ms, //
};

use crate::{
    counters::Counter,
    handoffs::{
        End,
        Phase, //
    },
    server::Server,
};

impl Server {
    /// Passes a client's segment to its socket: the address of the service is put back, and the
    /// packet is routed to this machine although the address is not configured here.
    pub(crate) fn on_segment<'a>(&self, mut packet: Packet<'a>, segment: &Segment) -> Verdict<'a> {
        let found = self.handoffs.with(&segment.key, |handed| {
            handed.seen_ms = now_ms();
            handed.closed |=
                segment.flags.contains(Flags::FIN) || segment.flags.contains(Flags::RST);
            if let Phase::Alive { confirmed } = &mut handed.phase {
                *confirmed = true;
            }
            (handed.parties.service, handed.end())
        });
        let Some((service, end)) = found else {
            return packet.accept();
        };
        let opens = segment.flags.contains(Flags::SYN) && !segment.flags.contains(Flags::RST);
        if end.is_some() || opens {
            let segment = Segment {
                key: FlowKey {
                    client: segment.key.client,
                    service,
                },
                ..*segment
            };
            match segment::kept(&packet, &segment.key) {
                // It answers a SYN with what it has acknowledged (RFC 5961, section 4).
                Kept::Socket => {}
                Kept::TimeWait if !opens => {}
                Kept::TimeWait | Kept::Nothing => {
                    return self.on_stray(packet, &segment, end, opens)
                }
            }
        }
        let addresses = (
            ipv4(segment.key.client.ip),
            ipv4(segment.key.service.ip),
            ipv4(service.ip),
        );
        let (Some(client), Some(local), Some(virtual_ip)) = addresses else {
            return packet.accept();
        };
        let partial = packet.skb().is_partial();
        let routed = packet.route_to_socket(
            (client, segment.key.client.port),
            (virtual_ip, service.port),
        ) || packet.route_to_self(local);
        let rewritten = routed
            && packet
                .skb()
                .writable(segment.headers_len())
                .and_then(|headers| {
                    rewrite_destination_ipv4(
                        headers,
                        usize::from(segment.ip_header_len),
                        (virtual_ip, service.port),
                        partial,
                    )
                })
                .is_some();
        if !rewritten {
            self.count(Counter::SegmentsLost);
            return packet.drop();
        }
        packet.destination_rewritten(local, virtual_ip);
        self.count(Counter::Segments);
        packet.accept()
    }

    /// A segment of a connection of which nothing is left here, not even a TIME-WAIT, or a SYN of one that has no socket any more
    /// (`opens`); its service's address is in its key.
    ///
    /// The stack would know nothing of it either, and can say so only if somebody listens on the service's port: it has no route
    /// of its own from an address that is not this machine's. So a client that a reset has not reached, or that has not believed it (RFC 5961, section 3), would never
    /// hear of the end. And of a SYN a listener might make a connection that nobody has dispatched.
    fn on_stray<'a>(
        &self,
        packet: Packet<'a>,
        segment: &Segment,
        end: Option<End>,
        opens: bool,
    ) -> Verdict<'a> {
        let Some(End::Told { notice, switch }) = end else {
            // It may be another's by now, or its application has not let go of the socket: the switch hears of that soon.
            self.count(Counter::SegmentsLost);
            return packet.drop();
        };
        if opens {
            // The switch does not know yet that the connection is gone. When it does, it takes the SYN that is repeated.
            self.count(Counter::CloseNotices);
            self.say(&notice, switch);
        } else if let Some(reset) = segment.reset() {
            self.count(Counter::Resets);
            self.sent(send::bare_segment(self.namespace, &reset));
        }
        packet.drop()
    }

    /// Stops what a server says on a connection that may be another's by now.
    pub(crate) fn on_output<'a>(&self, mut packet: Passing<'a>) -> Verdict<'a> {
        let len = packet.skb().len();
        let Ok(segment) = parse_ipv4(packet.skb().linear(), len) else {
            return packet.accept();
        };
        // The parser takes the sender for the client.
        let (service, client) = (segment.key.client, segment.key.service);
        let silent = self.handoffs.find(
            |hasher| hasher.client(&client),
            |handed| handed.parties.client == client && handed.parties.service == service,
            |handed| handed.must_be_silent(now_ms()),
        );
        if silent == Some(true) {
            self.count(Counter::Silenced);
            return packet.drop();
        }
        packet.accept()
    }
}
