// SPDX-License-Identifier: GPL-2.0

//! The forwarder: clients' segments of connections that were handed over.
//!
//! It works just under IP, before everything else (paper, "Forwarder module"): one look into the
//! table; a miss goes on up the stack, a hit is rewritten and sent to its server.

use core::net::Ipv4Addr;

use kernel::{
    prelude::*,
    sync::rcu, //
};
use thop_core::{
    flow::{
        Phase,
        Verdict as Rule, //
    },
    http::begins_with_method,
    packet::{
        decrement_ttl,
        ip_options_may_pass,
        parse_ipv4,
        rewrite_destination_ipv4,
        Flags,
        Segment,
        IPV4_HEADER, //
    },
};
use thop_kernel::{
    instance::{
        Namespace,
        Packet,
        Softirq,
        Verdict, //
    },
    listener::offer_first,
    memory,
    messages::ipv4,
    segment,
    send::{
        self,
        Fit,
        Route, //
    },
    skb::SkBuff,
    time::now_ms, //
};

use crate::{
    counters::Counter,
    dispatcher::Service,
    handoff::{
        Completed,
        Connection,
        Stage, //
    },
    server::Server,
    switch::Switch, //
};

/// How much a client can have sent before it has heard anything: the window of a SYN-ACK is not scaled (RFC 7323, 2.2).
const MOST_BEHIND: i32 = 65_535;

/// The way of a segment to its server.
struct Way {
    ip: Ipv4Addr,
    port: u16,
    /// The route to there, if segments have the same whoever sends them.
    route: Result<Route>,
}

/// What to do with a segment whose connection is known.
enum Step {
    Forward(Way),
    /// The client has just shown that the server has the connection.
    Took(Completed),
    PassUp,
    /// The stack has the connection.
    Stack,
    /// The server has lost the connection.
    Lost,
    Drop(Counter),
}

/// That a segment was held, or could not be.
struct Held<'a> {
    verdict: Verdict<'a>,
    /// The handoff, if the segment shows that the client has heard nothing of a silent server.
    silence: Option<u64>,
}

/// Where a segment stands in a connection that is not known, of a service whose SYNs are answered with cookies.
enum Place {
    /// It may be the first with octets, and so a request.
    First,
    /// It comes too early: it does not bring the first octets, which bring the cookie once more. Until those come there is nothing to
    /// keep:
    ///
    /// - Acknowledgements that only end the handshake.
    /// - Probes (RFC 9293, section 3.8.4) of a client that has nothing to ask yet: it repeats them before it gives up.
    /// - What follows the first octets, when those were lost or overtaken. The client repeats it, where a reset,
    ///   which is what a stack that knows nothing of it has for it, would end all.
    ///
    /// Of the last, one in 64 seconds' worth of segments is not known for what it is: those of a handshake while
    /// the kernel changes its cookies.
    Early,
    /// Anything else: the stack's.
    Other,
}

/// Whether a segment's payload begins like a request: with the name of a method and a space (RFC
/// 9112, section 3). That is a guess, good enough for a figure: a body may look so, and one segment
/// may carry several requests, or be a repetition.
#[inline]
fn begins_a_request(packet: &SkBuff, segment: &Segment) -> bool {
    // Nearly always enough to know that it does not.
    let next = packet.linear().get(segment.headers_len());
    if next.is_some_and(|octet| !octet.is_ascii_uppercase()) {
        return false;
    }
    let mut first = [0; 8];
    packet.copy_to(segment.headers_len(), &mut first);
    begins_with_method(&first)
}

/// Why a router would not forward a segment at all, if it would not.
#[inline]
fn refuses(packet: &SkBuff, segment: &Segment) -> Option<Counter> {
    if segment.ttl <= 1 {
        return Some(Counter::TtlExceeded);
    }
    if packet.is_lro() {
        return Some(Counter::Lro);
    }
    if usize::from(segment.ip_header_len) > IPV4_HEADER {
        let options = packet
            .linear()
            .get(IPV4_HEADER..usize::from(segment.ip_header_len));
        if !options.is_some_and(ip_options_may_pass) {
            return Some(Counter::IpOptions);
        }
    }
    None
}

impl Server {
    #[inline]
    fn way(&self, namespace: Namespace<'_>, softirq: Softirq<'_>) -> Way {
        Way {
            ip: self.ip,
            port: self.endpoint.port,
            route: self.routes.route(namespace, softirq),
        }
    }
}

impl Switch {
    /// Softirq, RCU read-side section.
    #[inline]
    pub(crate) fn pre_routing<'a>(&self, packet: Packet<'a>, softirq: Softirq<'a>) -> Verdict<'a> {
        // A namespace that never had a service, a container's for instance, has no segments of ours to look for.
        if !self.table.is_prepared() || self.table.is_empty() && !self.parameters.first_segment {
            return packet.accept();
        }
        match segment::read(packet) {
            Ok((packet, segment)) => self.on_segment(packet, &segment, softirq),
            Err(verdict) => verdict,
        }
    }

    /// See [`Instance::elsewhere()`](thop_kernel::instance::Instance::elsewhere). The stack has these, and no connection is the
    /// same that it would be if they had come to this machine.
    #[cold]
    pub(crate) fn elsewhere<'a>(&self, mut packet: Packet<'a>) -> Verdict<'a> {
        let known = segment::peek(&mut packet)
            .and_then(|segment| self.table.with(&segment.key, |_| ()))
            .is_some();
        if known {
            self.count(Counter::Ignored);
        }
        packet.accept()
    }

    /// Whether an IPsec policy, of which there are some for input, keeps a segment from the switch. Such as are neither of a connection
    /// that is known nor for a service are left to the stack, which asks itself.
    #[cold]
    fn is_kept_out(&self, packet: &mut Packet<'_>, segment: &Segment) -> bool {
        let ours = self.table.with(&segment.key, |_| ()).is_some()
            || self
                .cluster
                .read(&rcu::read_lock())
                .service(&segment.key.service)
                .is_some();
        ours && !packet.is_allowed_in()
    }

    fn on_segment<'a>(
        &self,
        mut packet: Packet<'a>,
        segment: &Segment,
        softirq: Softirq<'_>,
    ) -> Verdict<'a> {
        let now = now_ms() as u32;
        if packet.is_asked_about() && self.is_kept_out(&mut packet, segment) {
            self.count(Counter::Policy);
            return packet.drop();
        }
        let known = |connection: &mut Connection, packet| {
            if connection.is_lost() {
                self.lose(connection);
                return Ok((packet, Step::Lost));
            }
            let before = connection.flow.phase();
            let rule =
                connection
                    .flow
                    .on_segment(segment.flags, segment.ack, connection.handoff_ack, now);
            if before == Phase::Active && connection.flow.phase() == Phase::Closed {
                self.count(Counter::Closed);
            }
            let step = match rule {
                Rule::Forward => Step::Forward(connection.server.way(self.namespace, softirq)),
                Rule::Took => Step::Took(connection.proven()),
                Rule::PassUp => Step::PassUp,
                Rule::Stack => Step::Stack,
                Rule::Drop => Step::Drop(Counter::SynInHandoff),
                Rule::Hold => return Err(self.hold(connection, packet, segment)),
            };
            Ok((packet, step))
        };
        match self.table.with_given(&segment.key, packet, known) {
            Ok(Ok((packet, step))) => self.after(packet, segment, softirq, step),
            Ok(Err(Held { verdict, silence })) => {
                if let Some(id) = silence {
                    self.client_heard_nothing(&segment.key, id);
                }
                verdict
            }
            Err(packet) => self.unknown(packet, segment),
        }
    }

    /// A segment of a connection that is not known.
    fn unknown<'a>(&self, mut packet: Packet<'a>, segment: &Segment) -> Verdict<'a> {
        match self.place(&mut packet, segment) {
            Place::First => offer_first::<Service>(packet, segment).unwrap_or_else(Packet::accept),
            Place::Early => {
                self.count(Counter::Early);
                let (packet, verdict) = packet.steal();
                packet.consume();
                verdict
            }
            Place::Other => packet.accept(),
        }
    }

    fn after<'a>(
        &self,
        packet: Packet<'a>,
        segment: &Segment,
        softirq: Softirq<'_>,
        step: Step,
    ) -> Verdict<'a> {
        match step {
            Step::Stack => packet.accept(),
            Step::Forward(way) => self.forward(packet, segment, way),
            Step::Took(completed) => {
                self.count(Counter::Proven);
                let way = completed.server.way(self.namespace, softirq);
                // What was held came before this segment.
                self.complete(completed);
                self.forward(packet, segment, way)
            }
            Step::PassUp => {
                self.count(Counter::Reused);
                let removed = self
                    .table
                    .remove_if(&segment.key, |connection| connection.pending.is_none());
                if let Some(connection) = removed {
                    let to = connection.server.ip;
                    // The client is done with it; its server may not know.
                    if let Some(message) = self.leave(connection) {
                        self.tell(&message, to);
                    }
                }
                packet.accept()
            }
            Step::Lost => {
                self.monitor_in(1);
                // The stack knows nothing of it, and resets it.
                packet.accept()
            }
            Step::Drop(why) => {
                self.count(why);
                packet.drop()
            }
        }
    }

    /// Where a segment of a connection that is not known stands in it.
    fn place(&self, packet: &mut Packet<'_>, segment: &Segment) -> Place {
        let passes = Flags::SYN | Flags::RST;
        if !self.parameters.first_segment
            || !segment.flags.contains(Flags::ACK)
            || segment.flags.0 & passes.0 != 0
            || self
                .cluster
                .read(&rcu::read_lock())
                .service(&segment.key.service)
                .is_none()
        {
            return Place::Other;
        }
        let some = segment.payload_len > 1;
        // Nearly always these are the first octets.
        if some && begins_a_request(&packet.skb(), segment) {
            return Place::First;
        }
        let bare = segment.flags == Flags::ACK && segment.payload_len == 0;
        let early = match packet.behind_cookie(segment) {
            // Up to 3 for the segment size, and one octet more for a probe.
            -3..=0 if some => return Place::First,
            -3..=0 => bare,
            -4 => segment.payload_len <= 1,
            1..=MOST_BEHIND => true,
            // A cookie of the time before this.
            _ => bare && (packet.acks_cookie(segment, 0) || packet.acks_cookie(segment, 1)),
        };
        // A cookie says by how much the numbers of both sides differ. If there is a socket it knows them.
        if early && !segment::has_socket(packet, &segment.key) {
            if bare {
                let key = &segment.key;
                self.handshakes
                    .ended(&key.client, &key.service, segment.seq);
            }
            Place::Early
        } else {
            Place::Other
        }
    }

    /// Keeps a segment until the server has answered. Under the bucket's lock.
    fn hold<'a>(
        &self,
        connection: &mut Connection,
        packet: Packet<'a>,
        segment: &Segment,
    ) -> Held<'a> {
        let (mut packet, verdict) = packet.steal();
        let id = connection.id;
        let Some(pending) = connection.pending.as_mut() else {
            return Held {
                verdict,
                silence: None,
            };
        };
        let silence = matches!(pending.stage, Stage::Client(1..))
            && segment.flags.contains(Flags::ACK)
            && segment.ack == connection.handoff_ack;
        let octets = pending.held.iter().fold(packet.memory(), |sum, held| {
            sum.saturating_add(held.memory())
        });
        if pending.held.len() >= self.parameters.held as usize {
            self.count(Counter::HoldFull);
        } else if octets > self.parameters.held_octets {
            self.count(Counter::HoldOctets);
        } else {
            // It may be kept for longer than its device lives.
            packet.detach();
            packet.forget_device();
            self.count(match pending.held.push(packet, memory::atomic()) {
                Ok(()) => Counter::Held,
                Err(_) => Counter::NoMemory,
            });
        }
        Held {
            verdict,
            silence: silence.then_some(id),
        }
    }

    fn forward<'a>(&self, packet: Packet<'a>, segment: &Segment, way: Way) -> Verdict<'a> {
        let (packet, verdict) = packet.steal();
        self.send_on(packet, segment, way);
        verdict
    }

    /// Forwards a segment that was held.
    pub(crate) fn forward_held(&self, packet: SkBuff, server: &Server) {
        let Ok(segment) = parse_ipv4(packet.linear(), packet.len()) else {
            return;
        };
        let way = Softirq::disabled(|softirq| server.way(self.namespace, softirq));
        self.send_on(packet, &segment, way);
    }

    /// Forwards a segment, if a router would (`ip_forward()`), and tells its sender what that would tell. Any context.
    #[inline]
    fn send_on(&self, packet: SkBuff, segment: &Segment, way: Way) {
        if let Some(why) = refuses(&packet, segment) {
            return self.refuse(packet, segment, why);
        }
        let target = (way.ip, way.port);
        let route = if send::routes_by_segment(self.namespace) {
            Route::of_segment(self.namespace, &packet, target)
        } else {
            way.route
        };
        let route = match route {
            Ok(route) => route,
            Err(error) => {
                return self.count(if error == EPERM {
                    Counter::Policy
                } else {
                    Counter::NoRoute
                });
            }
        };
        let fit = route.fit(&packet);
        if fit == Fit::Not {
            self.count(Counter::TooBig);
            if let Some(ip) = ipv4(segment.key.service.ip) {
                send::fragmentation_needed(self.namespace, packet, ip, route.mtu());
            }
            return;
        }
        self.transmit(packet, segment, target, route, fit);
    }

    /// Drops a segment that is not to be forwarded, whatever its route.
    #[cold]
    fn refuse(&self, packet: SkBuff, segment: &Segment, why: Counter) {
        self.count(why);
        if let (Counter::TtlExceeded, Some(ip)) = (why, ipv4(segment.key.service.ip)) {
            send::time_exceeded(self.namespace, packet, ip);
        }
    }

    /// Rewrites a segment's destination, with the checksums updated by the difference (RFC 1624),
    /// and sends it.
    fn transmit(
        &self,
        mut packet: SkBuff,
        segment: &Segment,
        target: (Ipv4Addr, u16),
        route: Route,
        fit: Fit,
    ) {
        let partial = packet.is_partial();
        let rewritten = packet.writable(segment.headers_len()).and_then(|headers| {
            decrement_ttl(headers)?;
            rewrite_destination_ipv4(headers, usize::from(segment.ip_header_len), target, partial)
        });
        if rewritten.is_none() {
            return self.count(Counter::NoMemory);
        }
        packet.detach();
        self.count(Counter::Forwarded);
        if segment.payload_len > 0 && begins_a_request(&packet, segment) {
            self.count(Counter::LaterRequests);
        }
        if fit == Fit::Fragments {
            self.count(Counter::Fragmented);
        }
        route.forward(self.namespace, packet, fit);
    }
}
