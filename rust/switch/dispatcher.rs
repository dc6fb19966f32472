// SPDX-License-Identifier: GPL-2.0

//! The dispatcher: reads a request where it was received, chooses a server, and hands over.
//!
//! All of it happens in the softirq that brought the last octet of the request's head, under the
//! socket's lock. The request is parsed in the receive queue and copied once: into CREATE.

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
    config::PoolId,
    flow::Flow,
    http::{
        Head,
        Parser,
        Progress,
        Span, //
    },
    packet::Flags,
    wire::{
        Parties,
        TcpOptions,
        TcpState,
        MIN_MSS, //
    },
};
use thop_kernel::{
    listener::{
        Dispatcher,
        Outcome,
        Stream, //
    },
    messages::Create,
    time::now_ms, //
};

use crate::{
    cluster::Cluster,
    counters::Counter,
    handoff::{
        Connection,
        Pending,
        Stage,
        REPEAT_MS, //
    },
    switch::Switch, //
};

/// What a listener dispatches: the requests to one virtual address and port.
pub(crate) struct Service {
    pub(crate) switch: Arc<Switch>,
    pub(crate) endpoint: Endpoint,
}

impl Service {
    /// Something of this service's configuration, or what holds when it has none any more.
    fn configured<R>(&self, f: impl FnOnce(&thop_core::config::Service) -> R) -> Option<R> {
        let guard = rcu::read_lock();
        let cluster = self.switch.cluster.read(&guard);
        cluster
            .service(&self.endpoint)
            .map(|(_, service)| f(service))
    }

    fn answer(&self, status: u16) -> Outcome {
        Outcome::Answer(self.switch.error(status))
    }

    fn dispatch(&self, stream: Stream<'_, Self>, head: &Head) -> Outcome {
        let switch = &*self.switch;
        switch.count(Counter::Requests);
        let guard = rcu::read_lock();
        let cluster = switch.cluster.read(&guard);
        let Some(pool) = self.pool(cluster, &stream, head) else {
            return self.answer(503);
        };
        let Some(pool) = cluster.pool(pool) else {
            return self.answer(503);
        };
        let now = now_ms();
        let Some(server) = pool.choose(&[], now) else {
            return self.answer(503);
        };

        let snapshot = stream.snapshot();
        let key = FlowKey {
            client: snapshot.client,
            service: snapshot.service,
        };
        let parties = Parties {
            client: key.client,
            service: key.service,
            server: server.endpoint,
        };
        let state = TcpState {
            isn_client: snapshot.first.wrapping_sub(1),
            isn_switch: snapshot.snd_nxt.wrapping_sub(1),
            ts_recent: snapshot.ts_recent,
            ts_last: snapshot.ts_now,
            window: snapshot.window,
            mss: snapshot.mss.max(MIN_MSS),
            snd_wscale: if snapshot.wscale {
                snapshot.snd_wscale
            } else {
                0
            },
            rcv_wscale: if snapshot.wscale {
                snapshot.rcv_wscale
            } else {
                0
            },
            options: TcpOptions::NONE
                .with(TcpOptions::WSCALE, snapshot.wscale)
                .with(TcpOptions::SACK, snapshot.sack)
                .with(TcpOptions::TIMESTAMP, snapshot.timestamps)
                .with(TcpOptions::ECN, snapshot.ecn)
                .with(TcpOptions::FIN, stream.is_closed()),
        };
        let request_len = stream.len();
        let id = switch.new_id();
        let message = switch.create_message(state, request_len, &parties, id, 0, 0);
        let create = Create::new(&message, request_len as usize, |packet, at| {
            stream.copy_to(packet, at)
        });
        let create = match create {
            Ok(create) => create,
            Err(error) => {
                if error == EMSGSIZE {
                    switch.count(Counter::RequestTooLong);
                }
                return self.answer(503);
            }
        };
        let (Ok(first), Ok(place)) = (
            create.packet(&message),
            KBox::<Pending>::new_uninit(GFP_ATOMIC | kernel::alloc::flags::__GFP_NOWARN),
        ) else {
            switch.count(Counter::NoMemory);
            return self.answer(503);
        };
        let mut flow = Flow::new(now as u32);
        if stream.is_closed() {
            // The FIN is part of what is handed over.
            flow.on_segment(Flags::FIN, 0, 0, now as u32);
        }

        // From here on the socket neither acknowledges nor receives.
        let pending = KBox::write(
            place,
            Pending {
                parked: stream.park(),
                create,
                state,
                request_len,
                pool: pool.clone(),
                tried: KVec::new(),
                stage: Stage::Answer(0),
                offered_ms: now,
                taken_ms: now,
                idempotent: head.method.is_idempotent(),
                held: KVec::new(),
            },
        );
        server.connections.fetch_add(1, Relaxed);
        server.offered.fetch_add(1, Relaxed);
        let to = server.ip;
        let connection = Connection {
            key,
            server,
            id,
            handoff_ack: snapshot.snd_nxt,
            flow,
            counted: true,
            pending: Some(pending),
        };
        match switch.table.insert(connection) {
            Ok(Some(old)) => switch.removed(old),
            Ok(None) => {}
            Err((_, mut connection)) => {
                switch.count(Counter::TableFull);
                if let Some(pending) = connection.pending.take() {
                    let Pending { parked, .. } = KBox::into_inner(pending);
                    parked.answer(switch.error(503));
                }
                switch.removed(connection);
                return Outcome::Parked;
            }
        }
        switch.count(Counter::Handoffs);
        if switch.look_in(key, id, REPEAT_MS[0]) {
            switch.send_create(first, to);
        } else {
            switch.answer(&key, id, 503);
        }
        Outcome::Parked
    }

    /// The pool that the request is for.
    fn pool(&self, cluster: &Cluster, stream: &Stream<'_, Self>, head: &Head) -> Option<PoolId> {
        let (service, _) = cluster.service(&self.endpoint)?;
        let route = |octets: &[u8]| {
            let part = |span: Span| {
                let start = span.start as usize;
                octets.get(start..start.checked_add(span.len as usize)?)
            };
            let path = part(head.path).filter(|path| !path.is_empty());
            cluster
                .config
                .route(service, head.host.and_then(part), path.unwrap_or(b"/"))
        };
        let len = head.len as usize;
        let mut pool = None;
        let mut in_one_piece = false;
        stream.read(0, |octets| {
            if let Some(octets) = octets.get(..len) {
                in_one_piece = true;
                pool = route(octets);
            }
            false
        });
        if in_one_piece {
            return pool;
        }
        let memory = GFP_ATOMIC | kernel::alloc::flags::__GFP_NOWARN;
        let mut copy = KVec::with_capacity(len, memory).ok()?;
        stream.read(0, |octets| {
            let more = len.saturating_sub(copy.len()).min(octets.len());
            octets
                .get(..more)
                .is_some_and(|octets| copy.extend_from_slice(octets, memory).is_ok())
                && copy.len() < len
        });
        route(&copy)
    }
}

impl Dispatcher for Service {
    type Progress = Parser;

    fn begin(&self) -> Parser {
        Parser::new(
            self.configured(|service| service.head_limit)
                .unwrap_or(thop_core::config::DEFAULT_HEAD_LIMIT),
        )
    }

    fn received(&self, stream: Stream<'_, Self>, parser: &mut Parser) -> Outcome {
        let mut result = Ok(Progress::NeedMore);
        stream.read(parser.fed(), |octets| {
            result = parser.feed(octets);
            matches!(result, Ok(Progress::NeedMore))
        });
        match result {
            Ok(Progress::NeedMore) if !stream.is_closed() => Outcome::Wait,
            Ok(Progress::NeedMore) if parser.fed() == 0 => {
                self.switch.count(Counter::Silent);
                Outcome::Close
            }
            // The client will not send the rest.
            Ok(Progress::NeedMore) => self.answer(400),
            Ok(Progress::Complete) => match parser.head().copied() {
                Some(head) => self.dispatch(stream, &head),
                None => self.answer(400),
            },
            Err(error) => self.answer(error.status()),
        }
    }

    fn timeout_ms(&self) -> u32 {
        self.configured(|service| service.head_timeout_ms)
            .unwrap_or(thop_core::config::DEFAULT_HEAD_TIMEOUT_MS)
    }

    fn timed_out(&self) -> &'static [u8] {
        self.switch.error(408)
    }
}

/// The IPv4 endpoint to listen on.
pub(crate) fn listen_address(endpoint: &Endpoint) -> Result<(core::net::Ipv4Addr, u16)> {
    match endpoint.ip {
        IpAddr::V4(ip) => Ok((ip, endpoint.port)),
        IpAddr::V6(_) => Err(EINVAL),
    }
}
