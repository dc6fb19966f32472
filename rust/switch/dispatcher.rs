// SPDX-License-Identifier: GPL-2.0

//! The dispatcher: reads a request where it was received, chooses a server, and hands over.
//!
//! All of it happens in the softirq that brought the last octet needed: for a request in its connection's first segment without a
//! socket and its lock, else under that; for a request that had to wait for a server, in the worker that calls it.
//! The request is parsed where it was received and copied once: into CREATE.

use core::net::IpAddr;

use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        rcu,
        Arc, //
    },
};
use thop_core::{
    addr::{
        Endpoint,
        FlowKey, //
    },
    config::{
        self,
        Protocol,
        Target, //
    },
    flow::{
        Flow,
        Phase, //
    },
    packet::Flags,
    policy::Class,
    request::Request,
    tls::DECODE_ERROR,
    wire::{
        self,
        TcpOptions,
        TcpState,
        MIN_MSS, //
    },
};
use thop_kernel::{
    listener::{
        Arrived,
        Dispatcher,
        First,
        Handshakes,
        Outcome,
        Snapshot,
        Stream, //
    },
    memory,
    messages::{
        self,
        Create,
        MAX_REQUEST, //
    },
    skb::SkBuff,
    table::Refused,
    time::now_ms, //
};

use crate::{
    cluster::Cluster,
    counters::Counter,
    handoff::{
        Connection,
        Pending,
        Spare,
        Stage,
        LEASE_MS,
        REPEAT_MS, //
    },
    pool::{
        Choice,
        Pool,
        Standing,
        Wait, //
    },
    reader::{
        Message,
        Parser,
        Unreadable, //
    },
    refusal::Speaks,
    server::Server,
    switch::Switch, //
};

/// How many octets a client may send while its request waits, the request included: what comes is
/// handed over as a whole, and must fit into CREATE together with another segment or two.
const QUEUED_MAX: u32 = MAX_REQUEST as u32 - 8 * 1024;

/// What a listener dispatches: the requests to one virtual address and port.
pub(crate) struct Service {
    pub(crate) switch: Arc<Switch>,
    pub(crate) endpoint: Endpoint,
}

/// What is known of a request while it arrives, or waits.
pub(crate) struct Reading {
    parser: Parser,
    /// How the request waits for a server.
    wait: Option<Wait>,
    /// How late its first octets came.
    late: Lateness,
    /// What it is to be answered, if it was offered without a socket and nobody has taken it.
    refused: Option<u16>,
}

/// How late a request begins. A cookie can be used again as long as it is good, some minutes, which is longer than a
/// connection that was handed over is remembered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lateness {
    None,
    /// So late that the connection could have been handed over and forgotten: it may be an old segment, which
    /// was under way for long. What must not be done twice is not done then.
    Forgotten,
    /// Later than it may.
    TimedOut,
}

impl Service {
    /// Something of this service's configuration, or what holds when it has none any more.
    fn configured<R>(&self, f: impl FnOnce(&config::Service) -> R) -> Option<R> {
        let guard = rcu::read_lock();
        let cluster = self.switch.cluster.read(&guard);
        cluster
            .service(&self.endpoint)
            .map(|(_, service)| f(service))
    }

    fn refuse(&self, speaks: Speaks, status: u16) -> Outcome {
        Outcome::Answer(self.switch.refusal(speaks, status))
    }

    fn dispatch(
        &self,
        stream: Stream<'_, Self>,
        message: Message<'_>,
        wait: &mut Option<Wait>,
    ) -> Outcome {
        let switch = &*self.switch;
        let speaks = message.speaks();
        let now = now_ms();
        let snapshot = stream.snapshot();
        if wait.is_none() {
            switch.count(read(speaks));
        }
        let guard = rcu::read_lock();
        let cluster = switch.cluster.read(&guard);
        let chosen = with_request(&stream, message, snapshot.client.ip, |request| {
            let standing = wait.as_ref().map_or(Standing::New, Standing::Called);
            self.choose(cluster, &guard, message, request, standing, now)
        });
        let (server, pool, class) = match chosen {
            Some(Choice::Server(server, pool, class)) => (server, pool, class),
            Some(Choice::Full(pool)) => return self.wait(stream, speaks, pool, &guard, wait, now),
            Some(Choice::None) | None => {
                *wait = None;
                return self.refuse(speaks, 503);
            }
        };
        *wait = None;
        // From here on the socket neither acknowledges nor receives.
        let park = |stream: Stream<'_, Self>, says: &wire::Message, packet: &SkBuff| {
            let create = Create::keep(says, packet)?;
            Ok(Spare::Socket(stream.park(), create))
        };
        let chosen = (server, pool, class);
        let (connection, create) = match self.offer(stream, message, &snapshot, chosen, park, now) {
            Ok(offer) => offer,
            Err(connection) => {
                switch.removed(connection);
                return self.refuse(speaks, 503);
            }
        };
        let (key, id, server) = (connection.key, connection.id, connection.server.clone());
        match switch.table.insert(connection) {
            Ok(Some(old)) => {
                let to = old.server.ip;
                if let Some(message) = switch.leave(old) {
                    switch.tell(&message, to);
                }
            }
            Ok(None) => {}
            Err((_, connection)) => {
                switch.count(Counter::TableFull);
                switch.answer_here(connection, 503);
                return Outcome::Parked;
            }
        }
        switch.count(Counter::Handoffs);
        if switch.look_in(key, id, REPEAT_MS[0]) {
            switch.send_create(create, &server);
        } else {
            switch.answer(&key, id, 503);
        }
        Outcome::Parked
    }

    /// The server for a request.
    fn choose(
        &self,
        cluster: &Cluster,
        guard: &rcu::Guard,
        message: Message<'_>,
        mut request: Request<'_>,
        standing: Standing<'_>,
        now: u64,
    ) -> Choice {
        let Some(target) = self.target(cluster, message, &mut request) else {
            return Choice::None;
        };
        let Some(pool) = cluster.pool(target.pool) else {
            return Choice::None;
        };
        request.class = target.class;
        pool.choose(
            guard,
            |policy| policy.classify(&request),
            &[],
            standing,
            now,
        )
    }

    /// The pool that a request is for.
    fn target(
        &self,
        cluster: &Cluster,
        message: Message<'_>,
        request: &mut Request<'_>,
    ) -> Option<Target> {
        let (id, service) = cluster.service(&self.endpoint)?;
        if matches!(message, Message::Tls(hello) if hello.ech && !service.ech_outer) {
            // Neither the name nor the protocols in the clear need be those that are meant.
            request.host = None;
            request.alpn = &[];
        }
        match message {
            Message::Http2 => service.h2_pool.map(|pool| Target { pool, class: 0 }),
            Message::Http(_) | Message::Tls(_) => cluster.config.route(id, request),
        }
    }

    /// Lets a request wait for a server of `pool`.
    fn wait(
        &self,
        stream: Stream<'_, Self>,
        speaks: Speaks,
        pool: Arc<Pool>,
        guard: &rcu::Guard,
        wait: &mut Option<Wait>,
        now: u64,
    ) -> Outcome {
        let switch = &*self.switch;
        let before = wait.take();
        let since_ms = before.as_ref().map_or(now, |before| before.since_ms);
        if pool.roster.read(guard).is_too_long(since_ms, now) {
            switch.count(Counter::QueueTimeouts);
            return self.refuse(speaks, 503);
        }
        let turn = stream.queue(QUEUED_MAX);
        // When it is called it finds this: that is under the socket's lock.
        let on = wait.insert(Wait::new(pool, since_ms, before.as_ref()));
        if let Err(turn) = on.enqueue(turn) {
            turn.cancel();
            *wait = None;
            switch.count(Counter::QueueFull);
            return self.refuse(speaks, 503);
        }
        if before.is_none() {
            switch.count(Counter::Queued);
        }
        // A server may have become free just before the request was in the queue, where whoever
        // freed it did not find it; the worker looks.
        switch.monitor_in(1);
        Outcome::Queued
    }

    /// A connection that `chosen` is to have, with its CREATE. `hold` keeps what may still be needed here, given what CREATE
    /// says and its packet; when it is called nothing else can fail any more. If something has, the connection without.
    fn offer<A: Arrived>(
        &self,
        arrived: A,
        message: Message<'_>,
        snapshot: &Snapshot,
        chosen: (Arc<Server>, Arc<Pool>, Class),
        hold: impl FnOnce(A, &wire::Message, &SkBuff) -> Result<Spare>,
        now: u64,
    ) -> Result<(Connection, SkBuff), Connection> {
        let switch = &*self.switch;
        let (server, pool, class) = chosen;
        let key = key_of(snapshot);
        let closed = arrived.is_closed();
        let state = state_of(snapshot, closed);
        let mut flow = Flow::new(now as u32);
        if closed {
            // The FIN is part of what is handed over.
            flow.on_segment(Flags::FIN, 0, 0, now as u32);
        }
        let id = switch.new_id();
        let lease = server.lease(now + LEASE_MS, now);
        // From here on the server is counted down when this leaves without an element.
        let mut connection = Connection {
            key,
            server: server.clone(),
            id,
            handoff_ack: snapshot.snd_nxt,
            flow,
            life: lease.life,
            counted: true,
            doubt: None,
            refusal: 0,
            pending: None,
        };

        let request_len = arrived.len();
        let haste = message.haste();
        let says = wire::Message {
            handoff: switch.handoff(id),
            parties: server.parties(&key),
            body: lease.create(state, request_len, server.haste(haste)),
        };
        let packet = messages::create(&says, request_len as usize, |packet, at| {
            arrived.copy_to(packet, at)
        });
        let offer = packet.and_then(|packet| {
            let place = KBox::<Pending>::new_uninit(memory::atomic())?;
            Ok((hold(arrived, &says, &packet)?, packet, place))
        });
        let (spare, packet, place) = match offer {
            Ok(offer) => offer,
            Err(error) => {
                switch.count(if error == EMSGSIZE {
                    Counter::RequestTooLong
                } else {
                    Counter::NoMemory
                });
                return Err(connection);
            }
        };

        server.offered.fetch_add(1, Relaxed);
        let pending = Pending {
            spare,
            state,
            request_len,
            pool,
            class,
            haste,
            speaks: message.speaks(),
            tried: KVec::new(),
            stage: Stage::Answer(0),
            told_clock: false,
            offered_ms: now,
            taken_ms: now,
            idempotent: message.is_idempotent(),
            held: KVec::new(),
        };
        connection.pending = Some(KBox::write(place, pending));
        Ok((connection, packet))
    }

    /// Offers a request in a connection's first segment. Whether that was done.
    fn offer_first(&self, first: First<'_>, message: Message<'_>, snapshot: &Snapshot) -> bool {
        let switch = &*self.switch;
        let key = key_of(snapshot);
        let now = now_ms();
        let known = switch.table.with(&key, |connection| {
            connection.flow.phase() != Phase::Returned
        });
        if let Some(known) = known {
            // A repetition, which another processor was faster with; but what was returned is for a socket.
            return known;
        }
        let guard = rcu::read_lock();
        let cluster = switch.cluster.read(&guard);
        let chosen = with_request(&first, message, snapshot.client.ip, |request| {
            self.choose(cluster, &guard, message, request, Standing::New, now)
        });
        // A request that must wait for a server needs a socket, and so does an answer from here.
        let Some(Choice::Server(server, pool, class)) = chosen else {
            return false;
        };
        let keep =
            |first: First<'_>, _: &wire::Message, _: &SkBuff| Ok(Spare::Segment(first.keep()));
        let chosen = (server, pool, class);
        let (connection, create) = match self.offer(first, message, snapshot, chosen, keep, now) {
            Ok(offer) => offer,
            Err(connection) => {
                switch.removed(connection);
                return false;
            }
        };
        let (id, server) = (connection.id, connection.server.clone());
        if let Err((why, connection)) = switch.table.insert_new(connection) {
            switch.removed(connection);
            return matches!(why, Refused::Exists);
        }
        if !switch.look_in(key, id, REPEAT_MS[0]) {
            let removed = switch
                .table
                .remove_if(&key, |connection| connection.id == id);
            if let Some(connection) = removed {
                switch.removed(connection);
            }
            return false;
        }
        switch.count(read(message.speaks()));
        switch.count(Counter::Handoffs);
        switch.count(Counter::FirstSegments);
        switch.send_create(create, &server);
        true
    }
}

/// What counts the requests of such clients.
fn read(speaks: Speaks) -> Counter {
    match speaks {
        Speaks::Http => Counter::Requests,
        Speaks::Http2 => Counter::Prefaces,
        Speaks::Tls => Counter::Hellos,
    }
}

fn key_of(snapshot: &Snapshot) -> FlowKey {
    FlowKey {
        client: snapshot.client,
        service: snapshot.service,
    }
}

/// What CREATE says of a connection.
fn state_of(snapshot: &Snapshot, closed: bool) -> TcpState {
    let scale = |scale| if snapshot.wscale { scale } else { 0 };
    TcpState {
        isn_client: snapshot.first.wrapping_sub(1),
        isn_switch: snapshot.snd_nxt.wrapping_sub(1),
        ts_recent: snapshot.ts_recent,
        ts_last: snapshot.ts_now,
        window: snapshot.window,
        rtt_us: snapshot.rtt_us,
        mss: snapshot.mss.max(MIN_MSS),
        snd_wscale: scale(snapshot.snd_wscale),
        rcv_wscale: scale(snapshot.rcv_wscale),
        options: TcpOptions::NONE
            .with(TcpOptions::WSCALE, snapshot.wscale)
            .with(TcpOptions::SACK, snapshot.sack)
            .with(TcpOptions::TIMESTAMP, snapshot.timestamps)
            .with(TcpOptions::ECN, snapshot.ecn)
            .with(TcpOptions::FIN, closed),
    }
}

/// Shows what was received as a request. `None` without memory.
///
/// A head that lies in one piece is looked at where it is; only one that came in several segments is
/// put together first.
fn with_request<R>(
    arrived: &impl Arrived,
    message: Message<'_>,
    client: IpAddr,
    f: impl FnOnce(Request<'_>) -> R,
) -> Option<R> {
    let head = match message {
        Message::Http(head) => head,
        Message::Http2 => return Some(f(Request::of(client))),
        Message::Tls(hello) => {
            let mut request = Request::of(client);
            request.host = hello.server_name();
            request.alpn = hello.alpn();
            return Some(f(request));
        }
    };
    let len = head.len as usize;
    let mut f = Some(f);
    let mut result = None;
    arrived.read(0, |octets| {
        if let Some(octets) = octets.get(..len) {
            result = f.take().map(|f| f(Request::http(client, head, octets)));
        }
        false
    });
    let Some(f) = f else { return result };
    let mut copy = KVec::with_capacity(len, memory::atomic()).ok()?;
    arrived.read(0, |octets| {
        let more = len.saturating_sub(copy.len()).min(octets.len());
        octets
            .get(..more)
            .is_some_and(|octets| copy.extend_from_slice(octets, memory::atomic()).is_ok())
            && copy.len() < len
    });
    Some(f(Request::http(client, head, &copy)))
}

impl Dispatcher for Service {
    type Progress = Reading;

    fn begin(&self) -> Result<Reading> {
        let (protocol, limit) = self
            .configured(|service| (service.protocol, service.head_limit))
            .unwrap_or((Protocol::Http, config::DEFAULT_HEAD_LIMIT));
        Ok(Reading {
            parser: Parser::new(protocol, limit)?,
            wait: None,
            late: Lateness::None,
            refused: None,
        })
    }

    fn vrf(&self) {
        self.switch.count(Counter::Vrf);
    }

    fn received(&self, stream: Stream<'_, Self>, reading: &mut Reading) -> Outcome {
        let closed = stream.is_closed();
        let nothing = stream.is_empty();
        if !nothing && reading.parser.fed() == 0 {
            let snapshot = stream.snapshot();
            reading.refused = self.switch.refused_before(&key_of(&snapshot));
            // It was in time when it was offered.
            if reading.refused.is_none() {
                reading.late = self.lateness(&snapshot, self.timeout_ms());
            }
        }
        if reading.late == Lateness::TimedOut {
            return Outcome::Answer(self.timed_out());
        }
        let broken_off = match reading.parser {
            Parser::Http(_) => Unreadable::Http(400),
            Parser::Tls(_) => Unreadable::Tls(DECODE_ERROR),
        };
        let unreadable = match reading.parser.read(&stream) {
            Ok(Some(Message::Http2)) if !self.takes_http2() => {
                return self.refuse(Speaks::Http2, 505);
            }
            Ok(Some(message))
                if reading.late == Lateness::Forgotten && !message.is_idempotent() =>
            {
                return Outcome::Answer(self.timed_out());
            }
            Ok(Some(message)) => {
                if let Some(status) = reading.refused {
                    return self.refuse(message.speaks(), status);
                }
                return self.dispatch(stream, message, &mut reading.wait);
            }
            Ok(None) if !closed => return Outcome::Wait,
            Ok(None) if nothing => {
                self.switch.count(Counter::Silent);
                return Outcome::Close;
            }
            // The client will not send the rest.
            Ok(None) => broken_off,
            Err(error) => error,
        };
        match unreadable {
            Unreadable::Http(status) => self.refuse(Speaks::Http, status),
            Unreadable::Tls(alert) => Outcome::Answer(self.switch.alert(alert)),
        }
    }

    fn handshakes(&self) -> &Handshakes {
        &self.switch.handshakes
    }

    fn cookie_differs(&self) {
        self.switch.count(Counter::CookiesDiffer);
    }

    fn first(&self, first: First<'_>) -> bool {
        let known = self.configured(|service| {
            let parser = Parser::new(service.protocol, service.head_limit);
            parser.map(|parser| (parser, service.head_timeout_ms))
        });
        let Some(Ok((mut parser, timeout_ms))) = known else {
            return false;
        };
        let snapshot = first.snapshot();
        match parser.read(&first) {
            Ok(Some(Message::Http2)) if !self.takes_http2() => false,
            Ok(Some(message)) => {
                let soon = match self.lateness(&snapshot, timeout_ms) {
                    Lateness::None => true,
                    Lateness::Forgotten => message.is_idempotent(),
                    Lateness::TimedOut => false,
                };
                soon && self.offer_first(first, message, &snapshot)
            }
            Ok(None) | Err(_) => false,
        }
    }

    fn ended(&self, reading: &mut Reading) {
        reading.wait = None;
    }

    fn timeout_ms(&self) -> u32 {
        self.configured(|service| service.head_timeout_ms)
            .unwrap_or(config::DEFAULT_HEAD_TIMEOUT_MS)
    }

    fn most_waiting(&self) -> u32 {
        self.configured(|service| service.clients)
            .unwrap_or(config::DEFAULT_CLIENTS)
    }

    fn crowded_out(&self) -> &'static [u8] {
        self.switch.count(Counter::CrowdedOut);
        self.timed_out()
    }

    fn timed_out(&self) -> &'static [u8] {
        match self.configured(|service| service.protocol) {
            Some(Protocol::Tls) => {
                // No alert says this; the connection just ends.
                self.switch.count(Counter::HelloTimeouts);
                b""
            }
            Some(Protocol::Http) | None => self.switch.refusal(Speaks::Http, 408),
        }
    }
}

impl Service {
    /// How late a client begins its request, for which it has `timeout_ms`. Without cookies no connection is there for longer than it may take.
    fn lateness(&self, snapshot: &Snapshot, timeout_ms: u32) -> Lateness {
        let parameters = &self.switch.parameters;
        if !parameters.first_segment {
            return Lateness::None;
        }
        let life_ms = now_ms().saturating_sub(self.switch.born_ms);
        let remembered_ms = u64::from(parameters.timeouts.shortest_ms()).min(life_ms);
        if snapshot.age_ms > timeout_ms {
            Lateness::TimedOut
        } else if u64::from(snapshot.age_ms) > remembered_ms {
            Lateness::Forgotten
        } else {
            Lateness::None
        }
    }

    fn takes_http2(&self) -> bool {
        self.configured(|service| service.h2_pool.is_some()) == Some(true)
    }
}

/// The IPv4 endpoint to listen on.
pub(crate) fn listen_address(endpoint: &Endpoint) -> Result<(core::net::Ipv4Addr, u16)> {
    match endpoint.ip {
        IpAddr::V4(ip) => Ok((ip, endpoint.port)),
        IpAddr::V6(_) => Err(EINVAL),
    }
}
