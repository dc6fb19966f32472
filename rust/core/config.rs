// SPDX-License-Identifier: GPL-2.0

//! The configuration: its grammar, and the choice of a pool for a request.
//!
//! A configuration is a plain text, always taken as a whole:
//!
//! ```text
//! pool NAME [policy POLICY [that policy's options]] [backup POOL] [queue N] [queue-timeout T]
//!           [check-interval T] [down-after T] [up-after N] [slow-start T]
//! server NAME pool POOL address ADDR:PORT [weight N] [max N]
//! service NAME address ADDR:PORT [protocol http|tls] [pool POOL] [h2 POOL] [ech default|outer]
//!              [head-limit OCTETS] [head-timeout T] [clients N]
//! route service SERVICE CONDITION... [class NAME] pool POOL
//!
//! CONDITION: host HOST | host *.DOMAIN | path PREFIX | path-exact PATH | path-suffix SUFFIX
//!          | method METHOD[,METHOD]... | header NAME[=VALUE] | cookie NAME[=VALUE]
//!          | query NAME[=VALUE] | client ADDR[/LEN] | alpn PROTOCOL
//! ```
//!
//! * Each line stands for itself and ends with LF or CRLF. Words are separated by blanks and tabs.
//!   A word that begins with `#` starts a comment, which lasts to the end of the line.
//! * Options, being a key and its value, come in any order, each at most once. Lines come in any
//!   order too, but a name must be defined on an earlier line than its use.
//! * A name is 1 to 32 of `A-Za-z0-9._-`. Pools have names of their own, and so have services and
//!   classes; servers have names of their own in each pool. No two services have the same address
//!   and port, and no two servers of one pool.
//! * A time T is a number with a unit: `ms`, `s` or `m`.
//! * ADDR is a dotted IPv4 address, or for servers and services an IPv6 address in brackets. The
//!   latter is understood but refused for now.
//!
//! Pools:
//!
//! * `policy` says how a server is chosen, by default `rr`. Which policies there are, and what
//!   options each has, [`policy::Kind`] knows. An option of another policy is an error.
//! * `backup` is the pool whose servers take over when none of this pool can. As it stands on an
//!   earlier line, no pool is its own backup, not even in a roundabout way.
//! * `queue` is how many requests may wait when all servers have as many connections as their
//!   `max` allows: 0 to 65536, by default 1024. `queue-timeout` is for how long: 100ms to 10m, by
//!   default 5s.
//! * `check-interval` is how often a server is asked whether it is alive: 20ms to 1m, by default
//!   250ms; or `off`. `down-after`, 100ms to 10m, by default 1s, is how long it may be silent.
//!   `up-after`, 1 to 100, by default 2, is how many answers in a row bring it back.
//! * `slow-start`, 0s to 60m, by default 10s, is how long a server that has come back takes to its
//!   full share. `0s`: it has it at once.
//!
//! Servers:
//!
//! * `weight` is 0 to 65535, by default 1. A server of weight 0 gets no new connection.
//! * `max` is the greatest number of connections, 1 to 1000000, by default any.
//!
//! Services:
//!
//! * `protocol` is what clients speak: `http` (the default), in the clear, or `tls`, of which only
//!   the ClientHello can be read.
//! * `pool` is for the requests that no route matches. Without it they are refused. `h2` is for
//!   clients that speak HTTP/2 in the clear from the first octet (RFC 9113, section 3.3), which no
//!   route can match; only with `protocol http`.
//! * `ech` says which server name counts when a ClientHello has an encrypted one as well (RFC 9849):
//!   `default`, none, so that only routes without a host can match; or `outer`, the one in the clear.
//!   Only with `protocol tls`. Browsers send such an extension with nothing in it to any server, and
//!   that cannot be told from a real one: `outer` is for services that browsers use.
//! * `head-limit` is 256 to 32768 octets, by default 16384. A suffix `k` stands for 1024. It is
//!   for a ClientHello too.
//! * `head-timeout` is 100ms to 60m, by default 10s.
//! * `clients` is how many clients may be connected whose head is not complete: 1 to 1000000, by
//!   default 16384. One more, and the one that has been connected longest must go.
//!
//! Routes:
//!
//! * Of a service's routes, the first that matches wins; it matches when all its conditions do. It
//!   has 1 to 8 of them: `header`, `cookie` and `query` any number of times, the others once. With
//!   `protocol tls` only `host`, `client` and `alpn` can be used, and `alpn` only there.
//! * `class` names the service class of the requests, for policies that distinguish classes. There
//!   are at most 255. They have the numbers from 1 on, as they first appear when the routes are
//!   read service by service; 0 is for requests without a class.
//! * `host` is compared as a whole, and without regard to case. One dot at its end does not count,
//!   neither here nor in a request (RFC 3986, section 3.2.2; RFC 1034, section 3.1). `*.DOMAIN` is
//!   any host that has at least one label in front of DOMAIN. For TLS the host is the server name
//!   of the ClientHello (RFC 6066, section 3).
//! * `path` is compared octet for octet with the beginning of the request's path, as HAProxy's
//!   `path_beg` does: `/a` matches `/a/b` and `/ab`. `path-exact` is the whole path, `path-suffix`
//!   its end. Nothing is decoded, and the query is not part of the path.
//! * `method` is compared octet for octet; any of those named will do.
//! * `header` is a field's name, without regard to case, and the whole value of one of its field
//!   lines, octet for octet but for the whitespace around it; without VALUE, that there is a line.
//! * `cookie` is a cookie's name and value (RFC 6265, section 4.2), octet for octet, quotes
//!   included. Of several cookies of that name the first counts.
//! * `query` is a parameter's name and value, octet for octet, nothing being decoded. Of several
//!   parameters of that name any will do. One without `=` has the empty value.
//! * A VALUE may be empty and may have a `=`, but no blank: a field whose value has blanks can only
//!   be asked for its presence. Names have no `=`.
//! * `client` is the address of the client, or the network that it is in.
//! * `alpn` is one of the protocols that the client offers (RFC 7301), such as `h2`.
//!
//! Of a request only so many fields, cookies and parameters are looked at
//! ([`request`](crate::request)), and only so many noticed that routes name
//! ([`MAX_FACTS`](crate::rules::MAX_FACTS)).
//!
//! [`Config::write`] gives the canonical form: each pool with its servers, then each service with
//! its routes, otherwise in the order of the text; only options that differ from their default; the
//! shortest form of each value; a route's conditions in the order of their list above. So it is
//! never longer than the text it came from, and can always be read back. Reading it back gives the
//! same configuration, with the same identifiers.

use core::{fmt, str};

use crate::{
    addr::Endpoint,
    health::Checks,
    heap::Heap,
    policy,
    request::Request,
    rules::{Condition, Rules},
};

mod error;
pub(crate) mod index;
mod parser;
pub(crate) mod text;
mod value;
mod write;

pub(crate) use self::value::network_of;
pub use self::{
    error::{Error, Kind, Range, Reason, Word},
    text::Name,
};
use self::{parser::Parser, text::Span};

/// The greatest length of a text. The last line counts as ended even if its line feed is missing.
pub const MAX_TEXT: usize = 1 << 20;
/// The greatest length of a line, without its end.
pub const MAX_LINE: usize = 4096;
/// The greatest number of services.
pub const MAX_SERVICES: usize = 1024;
/// The greatest number of pools.
pub const MAX_POOLS: usize = 4096;
/// The greatest number of servers, in all pools together.
pub const MAX_SERVERS: usize = 65535;
/// The greatest number of routes, of all services together.
pub const MAX_ROUTES: usize = 65535;
/// The greatest length of a name.
pub const MAX_NAME: usize = 32;
/// The greatest number of conditions in a route.
pub const MAX_CONDITIONS: usize = 8;
/// The greatest number of service classes.
pub const MAX_CLASSES: usize = 255;
/// The greatest length of a host: that of a domain name in text (RFC 1035, section 3.1).
pub const MAX_HOST: usize = 253;

/// The head limit of a service that names none, octets.
pub const DEFAULT_HEAD_LIMIT: u32 = 16384;
/// The head timeout of a service that names none, milliseconds.
pub const DEFAULT_HEAD_TIMEOUT_MS: u32 = 10_000;

/// How many clients may be sending their heads to a service that says nothing of it.
pub const DEFAULT_CLIENTS: u32 = 16384;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $name {
            /// The identifier of what is at this index.
            #[inline]
            pub const fn new(index: u32) -> Self {
                Self(index)
            }

            /// The index.
            #[inline]
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }
    };
}

id! {
    /// Which service: an index into [`Config::services`].
    ServiceId
}
id! {
    /// Which pool: an index into [`Config::pools`].
    PoolId
}
id! {
    /// Which server: an index into [`Config::servers`].
    ServerId
}

/// What clients of a service speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Protocol {
    /// HTTP in the clear.
    #[default]
    Http,
    /// TLS, whatever is within.
    Tls,
}

impl Protocol {
    /// What the configuration calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
        }
    }
}

/// An address and port that clients connect to.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Where clients connect to.
    pub endpoint: Endpoint,
    /// What they speak.
    pub protocol: Protocol,
    /// Where requests go that no route matches. If there is none, they are refused.
    pub default_pool: Option<PoolId>,
    /// Where clients go that speak HTTP/2 in the clear. If there is none, they are refused.
    pub h2_pool: Option<PoolId>,
    /// Whether the server name in the clear counts when there is an encrypted one.
    pub ech_outer: bool,
    /// How many octets a request head or a ClientHello may have.
    pub head_limit: u32,
    /// How long a client may take to send it, in milliseconds.
    pub head_timeout_ms: u32,
    /// How many clients may be connected whose head is not complete.
    pub clients: u32,
}

/// Servers that can stand in for each other.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// How a server is chosen. [`Config::pool_option`] tells the policy's options.
    pub policy: policy::Kind,
    /// The pool that takes over when no server of this one can.
    pub backup: Option<PoolId>,
    /// How many requests may wait for a server.
    pub queue: u32,
    /// How long they may wait, in milliseconds.
    pub queue_timeout_ms: u32,
    /// How often a server is asked whether it is alive, in milliseconds. `None`: never.
    pub check_interval_ms: Option<u32>,
    /// After how many milliseconds of silence a server is down.
    pub down_after_ms: u32,
    /// After how many answers in a row it is up again.
    pub up_after: u32,
    /// How long it then takes to its full share, in milliseconds.
    pub slow_start_ms: u32,
    /// The options of its policy.
    options: Span,
}

impl Pool {
    /// How its servers are checked.
    pub const fn checks(&self) -> Checks {
        Checks {
            interval_ms: self.check_interval_ms,
            down_after_ms: self.down_after_ms,
            up_after: self.up_after,
            slow_start_ms: self.slow_start_ms,
        }
    }
}

/// An option of a pool's policy.
#[derive(Clone, Copy)]
struct PoolOption {
    key: &'static str,
    value: Name,
}

/// A server of a pool.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// Its name, which only its pool's other servers cannot have.
    pub name: Name,
    /// The pool it belongs to.
    pub pool: PoolId,
    /// Where it listens.
    pub endpoint: Endpoint,
    /// Its share of the connections. 0: it gets no new one.
    pub weight: u16,
    /// How many connections it may have. `None`: any number.
    pub max: Option<u32>,
}

/// A rule that sends some requests of a service to a pool.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The service it belongs to.
    pub service: ServiceId,
    /// Where the requests go, and as what.
    pub target: Target,
    /// What all must be true of a request. [`Config::conditions`] tells them.
    conditions: Span,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pool.
    pub pool: PoolId,
    /// The service class. 0: none. [`Config::class_name`] tells its name.
    pub class: u16,
}

/// A whole configuration, which does not change.
pub struct Config<H: Heap> {
    /// All words that are kept, one after another. ASCII only.
    text: H::List<u8>,
    services: H::List<Service>,
    pools: H::List<Pool>,
    /// Pool by pool, each pool's in the order of its policy's list of them.
    pool_options: H::List<PoolOption>,
    /// Grouped by pool, each group in the order of the text.
    servers: H::List<Server>,
    /// Grouped by service, each group in the order of the text.
    routes: H::List<Route>,
    /// Each route's together, in canonical order.
    conditions: H::List<Condition>,
    /// The names of the classes from 1 on.
    classes: H::List<Name>,
    /// Each pool's part of `servers`.
    pool_servers: H::List<Span>,
    /// Each service's part of `routes`.
    service_routes: H::List<Span>,
    /// What finds each service's routes.
    rules: H::List<Rules<H>>,
}

impl<H: Heap> Config<H> {
    /// The configuration that an empty text describes: no service at all.
    pub fn empty() -> Self {
        Self {
            text: Default::default(),
            services: Default::default(),
            pools: Default::default(),
            pool_options: Default::default(),
            servers: Default::default(),
            routes: Default::default(),
            conditions: Default::default(),
            classes: Default::default(),
            pool_servers: Default::default(),
            service_routes: Default::default(),
            rules: Default::default(),
        }
    }

    /// Reads a configuration.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        let whole = |reason| Error { line: 0, reason };
        let unended = !text.is_empty() && !text.ends_with(b"\n");
        if text.len().saturating_add(usize::from(unended)) > MAX_TEXT {
            return Err(whole(Reason::TextTooLong));
        }
        let mut parser = Parser::<H>::new();
        for (line, number) in text.split(|&b| b == b'\n').zip(1..) {
            parser.line(line).map_err(|reason| match reason {
                // No fault of this line.
                Reason::OutOfMemory => whole(reason),
                _ => Error {
                    line: number,
                    reason,
                },
            })?;
        }
        parser.finish().map_err(|e| whole(e.into()))
    }

    /// All services, in the order of the text.
    #[inline]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// All pools, in the order of the text.
    #[inline]
    pub fn pools(&self) -> &[Pool] {
        &self.pools
    }

    /// All servers, pool by pool.
    #[inline]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// All routes, service by service.
    #[inline]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// This service.
    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&Service> {
        self.services.get(id.index())
    }

    /// This pool.
    #[inline]
    pub fn pool(&self, id: PoolId) -> Option<&Pool> {
        self.pools.get(id.index())
    }

    /// This server.
    #[inline]
    pub fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(id.index())
    }

    /// The servers of a pool. They are neighbours, so their identifiers are consecutive.
    #[inline]
    pub fn pool_servers(
        &self,
        pool: PoolId,
    ) -> impl ExactSizeIterator<Item = (ServerId, &Server)> + Clone + '_ {
        let span = self.pool_servers.get(pool.index());
        let span = span.copied().unwrap_or_default();
        let servers = span.of(&self.servers).iter().enumerate();
        servers.map(move |(n, server)| (ServerId(span.start.saturating_add(n as u32)), server))
    }

    /// The routes of a service, in the order of the text.
    #[inline]
    pub fn service_routes(&self, service: ServiceId) -> &[Route] {
        let span = self.service_routes.get(service.index());
        span.copied().unwrap_or_default().of(&self.routes)
    }

    /// The text of a name of this configuration.
    #[inline]
    pub fn name(&self, name: Name) -> &str {
        str::from_utf8(self.octets(name)).unwrap_or("")
    }

    fn octets(&self, name: Name) -> &[u8] {
        name.of(&self.text)
    }

    /// The value of an option of a pool's policy, if the text has it.
    pub fn pool_option(&self, pool: PoolId, key: &str) -> Option<&str> {
        let options = self.pool(pool)?.options.of(&self.pool_options);
        let option = options.iter().find(|option| option.key == key)?;
        Some(self.name(option.value))
    }

    /// What all must be true of a request that takes this route.
    #[inline]
    pub fn conditions(&self, route: &Route) -> &[Condition] {
        route.conditions.of(&self.conditions)
    }

    /// The name of a service class, if there is one of this number.
    pub fn class_name(&self, class: u16) -> Option<&str> {
        let index = usize::from(class).checked_sub(1)?;
        self.classes.get(index).map(|&name| self.name(name))
    }

    /// Where a request at a service goes, if anywhere.
    ///
    /// What it costs hardly depends on how many routes there are: see [`Rules`]. It takes no memory
    /// and no lock.
    pub fn route(&self, service: ServiceId, request: &Request<'_>) -> Option<Target> {
        let rules = self.rules.get(service.index())?;
        let routes = self.service_routes(service);
        match rules.find(&self.text, &self.conditions, request) {
            Some(place) => routes.get(place).map(|route| route.target),
            None => {
                let pool = self.service(service)?.default_pool?;
                Some(Target { pool, class: 0 })
            }
        }
    }
}

impl<H: Heap> fmt::Display for Config<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

impl<H: Heap> fmt::Debug for Config<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)
    }
}

#[cfg(test)]
impl<H: Heap> Config<H> {
    /// The compiled routes of a service.
    pub(crate) fn rules(&self, service: ServiceId) -> Option<&Rules<H>> {
        self.rules.get(service.index())
    }

    /// What the compiled routes were compiled from.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests;
