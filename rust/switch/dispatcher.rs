// SPDX-License-Identifier: GPL-2.0

//! The dispatcher: reads a request where it was received, chooses a server, and hands over.
//!
//! All of it happens in the softirq that brought the last octet needed, under the socket's lock; for
//! a request that had to wait for a server, in the worker that calls it. The request is parsed in the
//! receive queue and copied once: into CREATE.

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
    flow::Flow,
    http,
    packet::Flags,
    policy::Class,
    request::Request,
    tls::{
        self,
        DECODE_ERROR, //
    },
    wire::{
        self,
        Haste,
        TcpOptions,
        TcpState,
        MIN_MSS, //
    },
};
use thop_kernel::{
    listener::{
        Dispatcher,
        Outcome,
        Snapshot,
        Stream, //
    },
    memory,
    messages::{
        Create,
        MAX_REQUEST, //
    },
    time::now_ms, //
};

use crate::{
    cluster::Cluster,
    counters::Counter,
    handoff::{
        Connection,
        Pending,
        Stage,
        LEASE_MS,
        REPEAT_MS, //
    },
    pool::{
        Choice,
        Pool,
        Wait,
        Waiting, //
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
}

/// What reads the octets. That of TLS keeps a name and a list, for which others need not have room.
enum Parser {
    Http(http::Parser),
    Tls(KBox<tls::Parser>),
}

/// What the octets have turned out to be.
#[derive(Clone, Copy)]
enum Message<'a> {
    /// A request in HTTP/1.x.
    Http(&'a http::Head),
    /// The preface of HTTP/2.
    Http2,
    /// A ClientHello.
    Tls(&'a tls::Hello),
}

impl Message<'_> {
    fn speaks(&self) -> Speaks {
        match self {
            Self::Http(_) => Speaks::Http,
            Self::Http2 => Speaks::Http2,
            Self::Tls(_) => Speaks::Tls,
        }
    }

    /// What the switch must know at once of whoever takes it over.
    fn haste(&self) -> Haste {
        let more = match self {
            Self::Http(head) => head.method.may_have_content(),
            // A client need not wait for an answer before it goes on.
            Self::Http2 | Self::Tls(_) => true,
        };
        Haste::NONE.with(Haste::TAKEN, more)
    }

    /// Whether it may be given to a second server, when the first has been silent.
    fn is_idempotent(&self) -> bool {
        match self {
            Self::Http(head) => head.method.is_idempotent(),
            // What follows the preface is compressed.
            Self::Http2 => false,
            // A handshake begins nothing that outlives it; but early data is a request.
            Self::Tls(hello) => !hello.early_data,
        }
    }
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
        if wait.is_none() {
            switch.count(match speaks {
                Speaks::Http => Counter::Requests,
                Speaks::Http2 => Counter::Prefaces,
                Speaks::Tls => Counter::Hellos,
            });
        }
        let guard = rcu::read_lock();
        let cluster = switch.cluster.read(&guard);
        let snapshot = stream.snapshot();
        let chosen = with_request(&stream, message, snapshot.client.ip, |request| {
            self.choose(cluster, &guard, message, request, wait.is_none(), now)
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
        self.hand_over(stream, message, &snapshot, server, pool, class, now)
    }

    /// The server for a request.
    fn choose(
        &self,
        cluster: &Cluster,
        guard: &rcu::Guard,
        message: Message<'_>,
        mut request: Request<'_>,
        new: bool,
        now: u64,
    ) -> Choice {
        let Some(target) = self.target(cluster, message, &mut request) else {
            return Choice::None;
        };
        let Some(pool) = cluster.pool(target.pool) else {
            return Choice::None;
        };
        request.class = target.class;
        pool.choose(guard, |policy| policy.classify(&request), &[], new, now)
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
        let again = before.is_some();
        let since_ms = before.as_ref().map_or(now, |before| before.since_ms);
        let timeout_ms = pool.roster.read(guard).queue_timeout_ms;
        if now.saturating_sub(since_ms) >= u64::from(timeout_ms) {
            switch.count(Counter::QueueTimeouts);
            return self.refuse(speaks, 503);
        }
        let waiting = Waiting {
            turn: stream.queue(QUEUED_MAX),
            since_ms,
        };
        // Before it can be called; it is, under the socket's lock.
        *wait = Some(Wait::new(pool.clone(), since_ms));
        if let Err(waiting) = pool.enqueue(waiting, again) {
            waiting.turn.cancel();
            *wait = None;
            switch.count(Counter::QueueFull);
            return self.refuse(speaks, 503);
        }
        if !again {
            switch.count(Counter::Queued);
        }
        // A server may have become free just before the request was in the queue, where whoever
        // freed it did not find it; the worker looks.
        switch.monitor_in(1);
        Outcome::Queued
    }

    #[allow(clippy::too_many_arguments)] // Each is a thing of its own.
    fn hand_over(
        &self,
        stream: Stream<'_, Self>,
        message: Message<'_>,
        snapshot: &Snapshot,
        server: Arc<Server>,
        pool: Arc<Pool>,
        class: Class,
        now: u64,
    ) -> Outcome {
        let switch = &*self.switch;
        let speaks = message.speaks();
        let key = FlowKey {
            client: snapshot.client,
            service: snapshot.service,
        };
        let state = state_of(snapshot, stream.is_closed());
        let mut flow = Flow::new(now as u32);
        if stream.is_closed() {
            // The FIN is part of what is handed over.
            flow.on_segment(Flags::FIN, 0, 0, now as u32);
        }
        let id = switch.new_id();
        // From here on the server is counted down when this is dropped without an element.
        let mut connection = Connection {
            key,
            server: server.clone(),
            id,
            handoff_ack: snapshot.snd_nxt,
            flow,
            life: 0,
            counted: true,
            pending: None,
        };
        let give_up = |connection: Connection| {
            switch.removed(connection);
            self.refuse(speaks, 503)
        };

        let request_len = stream.len();
        let haste = message.haste();
        let lease = server.lease(now + LEASE_MS, now);
        connection.life = lease.life;
        let create = wire::Message {
            handoff: switch.handoff(id),
            parties: server.parties(&key),
            body: lease.create(state, request_len, server.haste(haste)),
        };
        let prepared = Create::new(&create, request_len as usize, |packet, at| {
            stream.copy_to(packet, at)
        });
        let prepared = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                if error == EMSGSIZE {
                    switch.count(Counter::RequestTooLong);
                }
                return give_up(connection);
            }
        };
        let (Ok(first), Ok(place)) = (
            prepared.packet(&create),
            KBox::<Pending>::new_uninit(memory::atomic()),
        ) else {
            switch.count(Counter::NoMemory);
            return give_up(connection);
        };

        // From here on the socket neither acknowledges nor receives.
        let pending = Pending {
            parked: stream.park(),
            create: prepared,
            state,
            request_len,
            pool,
            class,
            haste,
            speaks,
            tried: KVec::new(),
            stage: Stage::Answer(0),
            told_clock: false,
            offered_ms: now,
            taken_ms: now,
            idempotent: message.is_idempotent(),
            held: KVec::new(),
        };
        connection.pending = Some(KBox::write(place, pending));
        server.offered.fetch_add(1, Relaxed);
        match switch.table.insert(connection) {
            Ok(Some(old)) => switch.removed(old),
            Ok(None) => {}
            Err((_, mut connection)) => {
                switch.count(Counter::TableFull);
                if let Some(pending) = connection.pending.take() {
                    let Pending { parked, .. } = KBox::into_inner(pending);
                    parked.answer(switch.refusal(speaks, 503));
                }
                switch.removed(connection);
                return Outcome::Parked;
            }
        }
        switch.count(Counter::Handoffs);
        if switch.look_in(key, id, REPEAT_MS[0]) {
            switch.send_create(first, server.ip);
        } else {
            switch.answer(&key, id, 503);
        }
        Outcome::Parked
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
    stream: &Stream<'_, Service>,
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
    stream.read(0, |octets| {
        if let Some(octets) = octets.get(..len) {
            result = f.take().map(|f| f(Request::http(client, head, octets)));
        }
        false
    });
    let Some(f) = f else { return result };
    let mut copy = KVec::with_capacity(len, memory::atomic()).ok()?;
    stream.read(0, |octets| {
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
            parser: match protocol {
                Protocol::Http => Parser::Http(http::Parser::new(limit)),
                Protocol::Tls => Parser::Tls(KBox::new(tls::Parser::new(limit), memory::atomic())?),
            },
            wait: None,
        })
    }

    fn received(&self, stream: Stream<'_, Self>, reading: &mut Reading) -> Outcome {
        let closed = stream.is_closed();
        match &mut reading.parser {
            Parser::Http(parser) => {
                // A request that is called was read to its end before.
                let mut result = parser.feed(&[]);
                if matches!(result, Ok(http::Progress::NeedMore)) {
                    stream.read(parser.fed(), |octets| {
                        result = parser.feed(octets);
                        matches!(result, Ok(http::Progress::NeedMore))
                    });
                }
                let message = match result {
                    Ok(http::Progress::Complete) => parser.head().map(Message::Http),
                    Ok(http::Progress::Http2) => Some(Message::Http2),
                    Ok(http::Progress::NeedMore) if !closed => return Outcome::Wait,
                    Ok(http::Progress::NeedMore) if parser.fed() == 0 => {
                        self.switch.count(Counter::Silent);
                        return Outcome::Close;
                    }
                    // The client will not send the rest.
                    Ok(http::Progress::NeedMore) => None,
                    Err(error) => return self.refuse(Speaks::Http, error.status()),
                };
                match message {
                    Some(Message::Http2) if !self.takes_http2() => self.refuse(Speaks::Http2, 505),
                    Some(message) => self.dispatch(stream, message, &mut reading.wait),
                    None => self.refuse(Speaks::Http, 400),
                }
            }
            Parser::Tls(parser) => {
                let mut result = parser.feed(&[]);
                if matches!(result, Ok(tls::Progress::NeedMore)) {
                    stream.read(parser.fed(), |octets| {
                        result = parser.feed(octets);
                        matches!(result, Ok(tls::Progress::NeedMore))
                    });
                }
                match result {
                    Ok(tls::Progress::Complete) => {}
                    Ok(tls::Progress::NeedMore) if !closed => return Outcome::Wait,
                    Ok(tls::Progress::NeedMore) if parser.fed() == 0 => {
                        self.switch.count(Counter::Silent);
                        return Outcome::Close;
                    }
                    // The client will not send the rest.
                    Ok(tls::Progress::NeedMore) => {
                        return Outcome::Answer(self.switch.alert(DECODE_ERROR));
                    }
                    Err(error) => {
                        return Outcome::Answer(self.switch.alert(error.alert()));
                    }
                }
                match parser.hello() {
                    Some(hello) => self.dispatch(stream, Message::Tls(hello), &mut reading.wait),
                    None => Outcome::Close,
                }
            }
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
