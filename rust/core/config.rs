// SPDX-License-Identifier: GPL-2.0

//! The configuration: its grammar, and the choice of a pool for a request.
//!
//! A configuration is a plain text, always taken as a whole:
//!
//! ```text
//! pool NAME [policy rr]
//! server NAME pool POOL address ADDR:PORT [weight N]
//! service NAME address ADDR:PORT [pool POOL] [head-limit OCTETS] [head-timeout DURATION]
//! route service SERVICE [host HOST] [path PREFIX] pool POOL
//! ```
//!
//! * Each line stands for itself and ends with LF or CRLF. Words are separated by blanks and tabs.
//!   A word that begins with `#` starts a comment, which lasts to the end of the line.
//! * Options, being a key and its value, come in any order, each at most once. Lines come in any
//!   order too, but a name must be defined on an earlier line than its use.
//! * A name is 1 to 32 of `A-Za-z0-9._-`. Pools have names of their own, and so have services;
//!   servers have names of their own in each pool. No two services have the same address and port,
//!   and no two servers of one pool.
//! * `weight` is 0 to 65535, by default 1. A server of weight 0 gets no new connection.
//! * A service's `pool` is for the requests that no route matches. Without it they are refused.
//! * `head-limit` is 256 to 32768 octets, by default 16384. A suffix `k` stands for 1024.
//! * `head-timeout` is 100ms to 60m, by default 10s. Its units are `ms`, `s` and `m`.
//! * ADDR is a dotted IPv4 address, or an IPv6 address in brackets. The latter is understood but
//!   refused for now.
//! * A route needs a host, a path or both. Of a service's routes, the first that matches wins.
//!   * The host is compared as a whole, and without regard to case. One dot at its end does not
//!     count, neither here nor in a request (RFC 3986, section 3.2.2; RFC 1034, section 3.1).
//!   * The path is compared octet for octet with the beginning of the request's path, as
//!     HAProxy's `path_beg` does: `/a` matches `/a/b` and `/ab`. Nothing is decoded. It holds
//!     neither `?` nor `#`, so it does not matter whether the path to be matched still has its
//!     query.
//!
//! [`Config::write`] gives the canonical form: each pool with its servers, then each service with
//! its routes, otherwise in the order of the text; only options that differ from their default; the
//! shortest form of each value. So it is never longer than the text it came from, and can always be
//! read back. Reading it back gives the same configuration, with the same identifiers.

use crate::{
    addr::Endpoint,
    heap::{Heap, List, OutOfMemory},
};
use core::{
    fmt,
    hash::{Hash, Hasher},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str,
};

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
/// The greatest length of a host: that of a domain name in text (RFC 1035, section 3.1).
pub const MAX_HOST: usize = 253;

const DEFAULT_WEIGHT: u16 = 1;
/// The head limit of a service that names none, octets.
pub const DEFAULT_HEAD_LIMIT: u32 = 16384;
/// The head timeout of a service that names none, milliseconds.
pub const DEFAULT_HEAD_TIMEOUT_MS: u32 = 10_000;

const STATEMENTS: [&str; 4] = ["pool", "server", "service", "route"];
const POOL_KEYS: [&str; 1] = ["policy"];
const SERVER_KEYS: [&str; 3] = ["pool", "address", "weight"];
const SERVICE_KEYS: [&str; 4] = ["address", "pool", "head-limit", "head-timeout"];
const ROUTE_KEYS: [&str; 4] = ["service", "host", "path", "pool"];
const POLICIES: [&str; 1] = ["rr"];

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

/// Some neighbouring elements of a list.
#[derive(Clone, Copy, Debug, Default)]
struct Span {
    start: u32,
    len: u32,
}

impl Span {
    fn end(self) -> usize {
        self.start.saturating_add(self.len) as usize
    }

    /// These elements of `list`; none of them if `list` is too short, being another's.
    fn of<T>(self, list: &[T]) -> &[T] {
        list.get(self.start as usize..self.end()).unwrap_or(&[])
    }
}

/// A name, or the host or path of a route. [`Config::name`] tells its text.
#[derive(Clone, Copy, Debug)]
pub struct Name(Span);

/// How the server for a connection is chosen from a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Policy {
    /// The servers take turns, as often as their weights say.
    #[default]
    RoundRobin,
}

/// An address and port that clients connect to.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// Its name.
    pub name: Name,
    /// Where clients connect to.
    pub endpoint: Endpoint,
    /// Where requests go that no route matches. If there is none, they are refused.
    pub default_pool: Option<PoolId>,
    /// How many octets a request head may have.
    pub head_limit: u32,
    /// How long a client may take to send a request head, in milliseconds.
    pub head_timeout_ms: u32,
}

/// Servers that can stand in for each other.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Its name.
    pub name: Name,
    /// How a server is chosen.
    pub policy: Policy,
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
}

/// A rule that sends some requests of a service to a pool.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The service it belongs to.
    pub service: ServiceId,
    /// The host to match, in lower case and without a dot at its end. `None`: any host, or none.
    pub host: Option<Name>,
    /// What the path must begin with. `None`: any path.
    pub path: Option<Name>,
    /// Where the requests go.
    pub pool: PoolId,
}

/// A whole configuration, which does not change.
pub struct Config<H: Heap> {
    /// All names, hosts and paths, one after another. ASCII only.
    text: H::List<u8>,
    services: H::List<Service>,
    pools: H::List<Pool>,
    /// Grouped by pool, each group in the order of the text.
    servers: H::List<Server>,
    /// Grouped by service, each group in the order of the text.
    routes: H::List<Route>,
    /// Each pool's part of `servers`.
    pool_servers: H::List<Span>,
    /// Each service's part of `routes`.
    service_routes: H::List<Span>,
}

impl<H: Heap> Config<H> {
    /// The configuration that an empty text describes: no service at all.
    pub fn empty() -> Self {
        Self {
            text: Default::default(),
            services: Default::default(),
            pools: Default::default(),
            servers: Default::default(),
            routes: Default::default(),
            pool_servers: Default::default(),
            service_routes: Default::default(),
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
        name.0.of(&self.text)
    }

    /// The pool for a request at a service, if there is one.
    ///
    /// `host` is the request's, without its port; `path` is the request's as it came. Only the
    /// service's own routes are looked at, one after another.
    pub fn route(&self, service: ServiceId, host: Option<&[u8]>, path: &[u8]) -> Option<PoolId> {
        let default = self.service(service)?.default_pool;
        let host = host.map(without_dot);
        let mut routes = self.service_routes(service).iter();
        routes
            .find(|route| self.matches(route, host, path))
            .map_or(default, |route| Some(route.pool))
    }

    fn matches(&self, route: &Route, host: Option<&[u8]>, path: &[u8]) -> bool {
        route.host.is_none_or(|wanted| {
            host.is_some_and(|host| host.eq_ignore_ascii_case(self.octets(wanted)))
        }) && route
            .path
            .is_none_or(|prefix| path.starts_with(self.octets(prefix)))
    }

    /// Writes the canonical form, as described [above](self).
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (pool, id) in self.pools.iter().zip(0..) {
            let name = self.name(pool.name);
            match pool.policy {
                // The default, so it is not said.
                Policy::RoundRobin => writeln!(out, "pool {name}")?,
            }
            for (_, server) in self.pool_servers(PoolId(id)) {
                let server_name = self.name(server.name);
                let endpoint = server.endpoint;
                write!(out, "server {server_name} pool {name} address {endpoint}")?;
                if server.weight != DEFAULT_WEIGHT {
                    write!(out, " weight {}", server.weight)?;
                }
                writeln!(out)?;
            }
        }
        for (service, id) in self.services.iter().zip(0..) {
            let name = self.name(service.name);
            write!(out, "service {name} address {}", service.endpoint)?;
            if let Some(pool) = service.default_pool {
                write!(out, " pool {}", self.pool_name(pool))?;
            }
            match service.head_limit {
                DEFAULT_HEAD_LIMIT => {}
                n if n % 1024 == 0 => write!(out, " head-limit {}k", n / 1024)?,
                n => write!(out, " head-limit {n}")?,
            }
            match service.head_timeout_ms {
                DEFAULT_HEAD_TIMEOUT_MS => {}
                ms if ms % 60_000 == 0 => write!(out, " head-timeout {}m", ms / 60_000)?,
                ms if ms % 1000 == 0 => write!(out, " head-timeout {}s", ms / 1000)?,
                ms => write!(out, " head-timeout {ms}ms")?,
            }
            writeln!(out)?;
            for route in self.service_routes(ServiceId(id)) {
                write!(out, "route service {name}")?;
                if let Some(host) = route.host {
                    write!(out, " host {}", self.name(host))?;
                }
                if let Some(path) = route.path {
                    write!(out, " path {}", self.name(path))?;
                }
                writeln!(out, " pool {}", self.pool_name(route.pool))?;
            }
        }
        Ok(())
    }

    fn pool_name(&self, id: PoolId) -> &str {
        self.pool(id).map_or("", |pool| self.name(pool.name))
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

/// Why a text is no configuration, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// The line at fault, the first being 1. 0: the text as a whole.
    pub line: u32,
    /// What is wrong.
    pub reason: Reason,
}

/// What is wrong with a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There was no memory.
    OutOfMemory,
    /// The text has more than [`MAX_TEXT`] octets.
    TextTooLong,
    /// The line has more than [`MAX_LINE`] octets.
    LineTooLong,
    /// There are more of this kind than this.
    TooMany(Kind, usize),
    /// This word means nothing here; these would.
    UnknownWord(Word, &'static [&'static str]),
    /// This has no name.
    MissingName(Kind),
    /// This option is the last word of its line.
    MissingValue(&'static str),
    /// This must have this option.
    MissingOption(Kind, &'static str),
    /// A route has neither host nor path.
    MatchesAll,
    /// This option is there twice.
    Repeated(&'static str),
    /// This cannot be a name.
    BadName(Word),
    /// A name is given to a second thing of this kind.
    Duplicate(Kind, Word),
    /// An address with its port is given to a second thing of this kind.
    DuplicateAddress(Kind, Endpoint),
    /// Nothing of this kind has this name yet.
    Undefined(Kind, Word),
    /// This is no address with a port.
    BadAddress(Word),
    /// Nothing can be there: the address is unspecified, multicast or broadcast.
    UnusableAddress(Word),
    /// An IPv6 address.
    Ipv6(Word),
    /// The value of this option is no number.
    BadNumber(&'static str, Word),
    /// The value of this option is no time.
    BadDuration(&'static str, Word),
    /// The value of this is not in this range.
    OutOfRange(&'static str, Word, &'static str),
    /// This cannot be a host.
    BadHost(Word),
    /// This cannot be a path.
    BadPath(Word),
}

/// What a line defines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A [`Service`].
    Service,
    /// A [`Pool`].
    Pool,
    /// A [`Server`].
    Server,
    /// A [`Route`].
    Route,
}

/// A word of the text, copied to be shown; only its beginning, if it is long.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Word {
    octets: [u8; MAX_NAME],
    len: u8,
    cut: bool,
}

impl Word {
    /// Copies a word.
    pub fn new(word: &[u8]) -> Self {
        let mut octets = [0; MAX_NAME];
        for (to, from) in octets.iter_mut().zip(word) {
            *to = *from;
        }
        Self {
            octets,
            len: word.len().min(MAX_NAME) as u8,
            cut: word.len() > MAX_NAME,
        }
    }

    /// What is left of the word.
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dots = if self.cut { "..." } else { "" };
        write!(f, "\"{}{dots}\"", self.as_bytes().escape_ascii())
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Service => "service",
            Kind::Pool => "pool",
            Kind::Server => "server",
            Kind::Route => "route",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line != 0 {
            write!(f, "line {}: ", self.line)?;
        }
        self.reason.fmt(f)
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::OutOfMemory => f.write_str("out of memory"),
            Reason::TextTooLong => write!(f, "the text is longer than {MAX_TEXT} octets"),
            Reason::LineTooLong => write!(f, "the line is longer than {MAX_LINE} octets"),
            Reason::TooMany(kind, most) => write!(f, "more than {most} {kind}s"),
            Reason::UnknownWord(word, expected) => {
                write!(f, "unknown word {word} (expected ")?;
                for (n, word) in expected.iter().enumerate() {
                    let or = if n == 0 { "" } else { " or " };
                    write!(f, "{or}{word}")?;
                }
                f.write_str(")")
            }
            Reason::MissingName(kind) => write!(f, "the {kind} has no name"),
            Reason::MissingValue(key) => write!(f, "{key} has no value"),
            Reason::MissingOption(kind, key) => write!(f, "the {kind} needs: {key}"),
            Reason::MatchesAll => f.write_str("the route needs: host or path or both"),
            Reason::Repeated(key) => write!(f, "{key} is given twice"),
            Reason::BadName(word) => write!(
                f,
                "{word} is no name (1 to {MAX_NAME} letters, digits, dots, hyphens, underscores)"
            ),
            Reason::Duplicate(Kind::Server, word) => {
                write!(f, "server {word} is already defined in this pool")
            }
            Reason::Duplicate(kind, word) => write!(f, "{kind} {word} is already defined"),
            Reason::DuplicateAddress(Kind::Server, endpoint) => {
                write!(f, "another server of this pool has address {endpoint}")
            }
            Reason::DuplicateAddress(kind, endpoint) => {
                write!(f, "another {kind} has address {endpoint}")
            }
            Reason::Undefined(kind, word) => {
                write!(f, "unknown {kind} {word} (define it on an earlier line)")
            }
            Reason::BadAddress(word) => write!(
                f,
                "{word} is no address and port (expected 192.0.2.1:80 or [2001:db8::1]:80)"
            ),
            Reason::UnusableAddress(word) => write!(
                f,
                "address {word} is of no use (unspecified, multicast or broadcast)"
            ),
            Reason::Ipv6(word) => write!(f, "address {word}: IPv6 is not supported yet"),
            Reason::BadNumber(key, word) => write!(f, "{key} {word} is no number"),
            Reason::BadDuration(key, word) => write!(
                f,
                "{key} {word} is no duration (a number and a unit: ms, s or m)"
            ),
            Reason::OutOfRange(key, word, range) => {
                write!(f, "{key} {word} is out of range (must be {range})")
            }
            Reason::BadHost(word) => write!(
                f,
                "{word} is no host (a domain name of letters, digits, hyphens, underscores; no port)"
            ),
            Reason::BadPath(word) => write!(
                f,
                "{word} is no path (must begin with /, without ? and #, non-ASCII only as %XX)"
            ),
        }
    }
}

impl core::error::Error for Error {}

impl From<OutOfMemory> for Reason {
    fn from(_: OutOfMemory) -> Self {
        Reason::OutOfMemory
    }
}

/// FNV-1a (draft-eastlake-fnv). Who may write the configuration has easier means to slow the
/// machine down than collisions, so it need not be a keyed hash.
struct Fnv(u64);

impl Hasher for Fnv {
    fn write(&mut self, octets: &[u8]) {
        for &octet in octets {
            self.0 = (self.0 ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

fn hash(key: impl Hash) -> u32 {
    let mut fnv = Fnv(0xcbf2_9ce4_8422_2325);
    key.hash(&mut fnv);
    let hash = fnv.finish();
    (hash ^ (hash >> 32)) as u32
}

/// A hash table of indices into a list: open addressing, linear probing, at most half full.
struct Index<H: Heap> {
    /// As many as a power of two, or none at all.
    slots: H::List<Option<(u32, u32)>>,
    used: usize,
}

impl<H: Heap> Index<H> {
    fn new() -> Self {
        Self {
            slots: Default::default(),
            used: 0,
        }
    }

    /// The slot of what has this hash and is `it`, or else the free slot for it.
    fn slot(&self, hash: u32, mut it: impl FnMut(u32) -> bool) -> Option<usize> {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = hash as usize & mask;
        for _ in 0..self.slots.len() {
            match *self.slots.get(at)? {
                Some((h, id)) if h != hash || !it(id) => at = at.wrapping_add(1) & mask,
                _ => return Some(at),
            }
        }
        None
    }

    fn find(&self, hash: u32, it: impl FnMut(u32) -> bool) -> Option<u32> {
        let slot = self.slots.get(self.slot(hash, it)?)?;
        slot.map(|(_, id)| id)
    }

    /// Puts in what was not found.
    fn insert(&mut self, hash: u32, id: u32) -> Result<(), OutOfMemory> {
        if self.used >= self.slots.len() / 2 {
            self.grow()?;
        }
        self.put(hash, id);
        Ok(())
    }

    fn put(&mut self, hash: u32, id: u32) {
        let at = self.slot(hash, |_| false);
        if let Some(slot) = at.and_then(|at| self.slots.get_mut(at)) {
            *slot = Some((hash, id));
            self.used = self.used.saturating_add(1);
        }
    }

    fn grow(&mut self) -> Result<(), OutOfMemory> {
        let mut new = Self::new();
        for _ in 0..self.slots.len().saturating_mul(2).max(16) {
            new.slots.try_push(None)?;
        }
        for &(hash, id) in self.slots.iter().flatten() {
            new.put(hash, id);
        }
        *self = new;
        Ok(())
    }
}

/// Sorts `items` by group, keeping their order in each group; also tells where each group is.
#[allow(clippy::type_complexity)] // As simple as a pair can be.
fn group<H: Heap, T: Copy>(
    items: &[T],
    groups: usize,
    group_of: impl Fn(&T) -> usize,
) -> Result<(H::List<T>, H::List<Span>), OutOfMemory> {
    let mut sorted: H::List<T> = Default::default();
    let mut spans: H::List<Span> = Default::default();
    for _ in 0..groups {
        spans.try_push(Span::default())?;
    }
    for item in items {
        // Any value will do; each is overwritten below.
        sorted.try_push(*item)?;
        if let Some(span) = spans.get_mut(group_of(item)) {
            span.len = span.len.saturating_add(1);
        }
    }
    let mut start = 0u32;
    for span in spans.iter_mut() {
        span.start = start;
        start = start.saturating_add(span.len);
        // Counted anew as the group is filled.
        span.len = 0;
    }
    for item in items {
        if let Some(span) = spans.get_mut(group_of(item)) {
            if let Some(place) = sorted.get_mut(span.end()) {
                *place = *item;
            }
            span.len = span.len.saturating_add(1);
        }
    }
    Ok((sorted, spans))
}

/// A configuration in the making, with what finds its names.
struct Parser<H: Heap> {
    /// Servers and routes are still in the order of the text.
    config: Config<H>,
    pool_names: Index<H>,
    server_names: Index<H>,
    server_endpoints: Index<H>,
    service_names: Index<H>,
    service_endpoints: Index<H>,
}

impl<H: Heap> Parser<H> {
    fn new() -> Self {
        Self {
            config: Config::empty(),
            pool_names: Index::new(),
            server_names: Index::new(),
            server_endpoints: Index::new(),
            service_names: Index::new(),
            service_endpoints: Index::new(),
        }
    }

    fn finish(self) -> Result<Config<H>, OutOfMemory> {
        let mut config = self.config;
        let pools = config.pools.len();
        let services = config.services.len();
        (config.servers, config.pool_servers) =
            group::<H, Server>(&config.servers, pools, |server| server.pool.index())?;
        (config.routes, config.service_routes) =
            group::<H, Route>(&config.routes, services, |route| route.service.index())?;
        Ok(config)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > MAX_LINE {
            return Err(Reason::LineTooLong);
        }
        let mut words = line
            .split(|&b| b == b' ' || b == b'\t')
            .filter(|word| !word.is_empty())
            .take_while(|word| !word.starts_with(b"#"));
        match words.next() {
            None => Ok(()),
            Some(b"pool") => self.pool(words),
            Some(b"server") => self.server(words),
            Some(b"service") => self.service(words),
            Some(b"route") => self.route(words),
            Some(word) => Err(Reason::UnknownWord(Word::new(word), &STATEMENTS)),
        }
    }

    fn pool<'t>(&mut self, mut words: impl Iterator<Item = &'t [u8]>) -> Result<(), Reason> {
        let word = name_word(words.next(), Kind::Pool)?;
        let [policy] = options(words, &POOL_KEYS)?;
        let policy = match policy {
            None | Some(b"rr") => Policy::RoundRobin,
            Some(policy) => return Err(Reason::UnknownWord(Word::new(policy), &POLICIES)),
        };
        if self.find_pool(word).is_ok() {
            return Err(Reason::Duplicate(Kind::Pool, Word::new(word)));
        }
        let id = next_id(self.config.pools.len(), MAX_POOLS, Kind::Pool)?;
        let name = self.keep(word)?;
        self.config.pools.try_push(Pool { name, policy })?;
        self.pool_names.insert(hash(word), id)?;
        Ok(())
    }

    fn server<'t>(&mut self, mut words: impl Iterator<Item = &'t [u8]>) -> Result<(), Reason> {
        let word = name_word(words.next(), Kind::Server)?;
        let [pool, address, weight] = options(words, &SERVER_KEYS)?;
        let pool = pool.ok_or(Reason::MissingOption(Kind::Server, "pool"))?;
        let pool = self.find_pool(pool)?;
        let endpoint = endpoint(address, Kind::Server)?;
        let weight = match weight {
            None => DEFAULT_WEIGHT,
            Some(word) => weight_of(word)?,
        };
        let by_name = hash((pool, word));
        let by_endpoint = hash((pool, endpoint));
        let of_pool = |id: u32| {
            let server = self.config.server(ServerId(id));
            server.filter(|server| server.pool == pool)
        };
        let same_name = |id| of_pool(id).is_some_and(|s| self.config.octets(s.name) == word);
        let same_endpoint = |id| of_pool(id).is_some_and(|s| s.endpoint == endpoint);
        if self.server_names.find(by_name, same_name).is_some() {
            return Err(Reason::Duplicate(Kind::Server, Word::new(word)));
        }
        let found = self.server_endpoints.find(by_endpoint, same_endpoint);
        if found.is_some() {
            return Err(Reason::DuplicateAddress(Kind::Server, endpoint));
        }
        let id = next_id(self.config.servers.len(), MAX_SERVERS, Kind::Server)?;
        let name = self.keep(word)?;
        self.config.servers.try_push(Server {
            name,
            pool,
            endpoint,
            weight,
        })?;
        self.server_names.insert(by_name, id)?;
        self.server_endpoints.insert(by_endpoint, id)?;
        Ok(())
    }

    fn service<'t>(&mut self, mut words: impl Iterator<Item = &'t [u8]>) -> Result<(), Reason> {
        let word = name_word(words.next(), Kind::Service)?;
        let [address, pool, head_limit, head_timeout] = options(words, &SERVICE_KEYS)?;
        let endpoint = endpoint(address, Kind::Service)?;
        let default_pool = pool.map(|pool| self.find_pool(pool)).transpose()?;
        let head_limit = match head_limit {
            None => DEFAULT_HEAD_LIMIT,
            Some(word) => head_limit_of(word)?,
        };
        let head_timeout_ms = match head_timeout {
            None => DEFAULT_HEAD_TIMEOUT_MS,
            Some(word) => head_timeout_of(word)?,
        };
        if self.find_service(word).is_ok() {
            return Err(Reason::Duplicate(Kind::Service, Word::new(word)));
        }
        let by_endpoint = hash(endpoint);
        let same_endpoint = |id| {
            let service = self.config.service(ServiceId(id));
            service.is_some_and(|s| s.endpoint == endpoint)
        };
        let found = self.service_endpoints.find(by_endpoint, same_endpoint);
        if found.is_some() {
            return Err(Reason::DuplicateAddress(Kind::Service, endpoint));
        }
        let id = next_id(self.config.services.len(), MAX_SERVICES, Kind::Service)?;
        let name = self.keep(word)?;
        self.config.services.try_push(Service {
            name,
            endpoint,
            default_pool,
            head_limit,
            head_timeout_ms,
        })?;
        self.service_names.insert(hash(word), id)?;
        self.service_endpoints.insert(by_endpoint, id)?;
        Ok(())
    }

    fn route<'t>(&mut self, words: impl Iterator<Item = &'t [u8]>) -> Result<(), Reason> {
        let [service, host, path, pool] = options(words, &ROUTE_KEYS)?;
        let service = service.ok_or(Reason::MissingOption(Kind::Route, "service"))?;
        let service = self.find_service(service)?;
        let pool = pool.ok_or(Reason::MissingOption(Kind::Route, "pool"))?;
        let pool = self.find_pool(pool)?;
        if host.is_none() && path.is_none() {
            return Err(Reason::MatchesAll);
        }
        let host = host.map(host_of).transpose()?;
        let path = path.map(path_of).transpose()?;
        next_id(self.config.routes.len(), MAX_ROUTES, Kind::Route)?;
        let host = host.map(|host| self.keep_lower(host)).transpose()?;
        let path = path.map(|path| self.keep(path)).transpose()?;
        self.config.routes.try_push(Route {
            service,
            host,
            path,
            pool,
        })?;
        Ok(())
    }

    fn find_pool(&self, word: &[u8]) -> Result<PoolId, Reason> {
        let same = |id| {
            let pool = self.config.pool(PoolId(id));
            pool.is_some_and(|p| self.config.octets(p.name) == word)
        };
        match self.pool_names.find(hash(word), same) {
            Some(id) => Ok(PoolId(id)),
            None => Err(Reason::Undefined(Kind::Pool, Word::new(word))),
        }
    }

    fn find_service(&self, word: &[u8]) -> Result<ServiceId, Reason> {
        let same = |id| {
            let service = self.config.service(ServiceId(id));
            service.is_some_and(|s| self.config.octets(s.name) == word)
        };
        match self.service_names.find(hash(word), same) {
            Some(id) => Ok(ServiceId(id)),
            None => Err(Reason::Undefined(Kind::Service, Word::new(word))),
        }
    }

    /// Keeps a copy of a word, which has been checked to be ASCII.
    fn keep(&mut self, word: &[u8]) -> Result<Name, OutOfMemory> {
        self.keep_octets(word.iter().copied())
    }

    /// Keeps a copy of a word in lower case.
    fn keep_lower(&mut self, word: &[u8]) -> Result<Name, OutOfMemory> {
        self.keep_octets(word.iter().map(u8::to_ascii_lowercase))
    }

    fn keep_octets(&mut self, octets: impl Iterator<Item = u8>) -> Result<Name, OutOfMemory> {
        let text = &mut self.config.text;
        // All of this is shorter than the configuration's text, so it cannot be out of range.
        let start = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let mut len = 0u32;
        for octet in octets {
            text.try_push(octet)?;
            len = len.saturating_add(1);
        }
        Ok(Name(Span { start, len }))
    }
}

/// The identifier of the next of a kind of which there are `len` and may be `most`.
fn next_id(len: usize, most: usize, kind: Kind) -> Result<u32, Reason> {
    match u32::try_from(len) {
        Ok(id) if len < most => Ok(id),
        _ => Err(Reason::TooMany(kind, most)),
    }
}

/// Sorts the rest of a line's words by the keys they follow.
fn options<'t, const N: usize>(
    mut words: impl Iterator<Item = &'t [u8]>,
    keys: &'static [&'static str; N],
) -> Result<[Option<&'t [u8]>; N], Reason> {
    let mut values = [None; N];
    while let Some(word) = words.next() {
        let mut places = keys.iter().zip(values.iter_mut());
        let place = places.find(|(key, _)| key.as_bytes() == word);
        let Some((key, value)) = place else {
            return Err(Reason::UnknownWord(Word::new(word), keys));
        };
        if value.is_some() {
            return Err(Reason::Repeated(key));
        }
        *value = Some(words.next().ok_or(Reason::MissingValue(key))?);
    }
    Ok(values)
}

/// Letters, digits, hyphens, underscores and dots.
fn is_name_octet(octet: &u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'.' | b'_' | b'-')
}

fn name_word(word: Option<&[u8]>, kind: Kind) -> Result<&[u8], Reason> {
    let word = word.ok_or(Reason::MissingName(kind))?;
    if word.len() > MAX_NAME || !word.iter().all(is_name_octet) {
        return Err(Reason::BadName(Word::new(word)));
    }
    Ok(word)
}

fn without_dot(host: &[u8]) -> &[u8] {
    host.strip_suffix(b".").unwrap_or(host)
}

fn host_of(word: &[u8]) -> Result<&[u8], Reason> {
    let host = without_dot(word);
    // No label is empty, so at most one dot can be at the end.
    let good = host.len() <= MAX_HOST
        && host.iter().all(is_name_octet)
        && host.split(|&b| b == b'.').all(|label| !label.is_empty());
    if good {
        Ok(host)
    } else {
        Err(Reason::BadHost(Word::new(word)))
    }
}

fn path_of(word: &[u8]) -> Result<&[u8], Reason> {
    let good = |b: &u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#');
    if word.starts_with(b"/") && word.iter().all(good) {
        Ok(word)
    } else {
        Err(Reason::BadPath(Word::new(word)))
    }
}

/// A decimal number, and what follows it. One that is too great for its type is the greatest.
fn number(word: &[u8]) -> Option<(u32, &[u8])> {
    let digits = word.iter().take_while(|b| b.is_ascii_digit()).count();
    let (digits, rest) = word.split_at_checked(digits)?;
    if digits.is_empty() {
        return None;
    }
    let number = digits.iter().fold(0u32, |n, b| {
        let digit = u32::from(b.wrapping_sub(b'0'));
        n.saturating_mul(10).saturating_add(digit)
    });
    Some((number, rest))
}

fn weight_of(word: &[u8]) -> Result<u16, Reason> {
    match number(word) {
        Some((n, [])) => u16::try_from(n)
            .map_err(|_| Reason::OutOfRange("weight", Word::new(word), "0 to 65535")),
        _ => Err(Reason::BadNumber("weight", Word::new(word))),
    }
}

fn head_limit_of(word: &[u8]) -> Result<u32, Reason> {
    let octets = match number(word) {
        Some((n, [])) => n,
        Some((n, b"k")) => n.saturating_mul(1024),
        _ => return Err(Reason::BadNumber("head-limit", Word::new(word))),
    };
    match octets {
        256..=32768 => Ok(octets),
        _ => Err(Reason::OutOfRange(
            "head-limit",
            Word::new(word),
            "256 to 32768",
        )),
    }
}

fn head_timeout_of(word: &[u8]) -> Result<u32, Reason> {
    let ms = match number(word) {
        Some((n, b"ms")) => n,
        Some((n, b"s")) => n.saturating_mul(1000),
        Some((n, b"m")) => n.saturating_mul(60_000),
        _ => return Err(Reason::BadDuration("head-timeout", Word::new(word))),
    };
    match ms {
        100..=3_600_000 => Ok(ms),
        _ => Err(Reason::OutOfRange(
            "head-timeout",
            Word::new(word),
            "100ms to 60m",
        )),
    }
}

fn endpoint(word: Option<&[u8]>, kind: Kind) -> Result<Endpoint, Reason> {
    let word = word.ok_or(Reason::MissingOption(kind, "address"))?;
    let bad = Reason::BadAddress(Word::new(word));
    let text = str::from_utf8(word).map_err(|_| bad)?;
    let (address, port) = text.rsplit_once(':').ok_or(bad)?;
    let bracketed = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'));
    let ip = match bracketed {
        None => IpAddr::V4(address.parse::<Ipv4Addr>().map_err(|_| bad)?),
        Some(inner) => IpAddr::V6(inner.parse::<Ipv6Addr>().map_err(|_| bad)?),
    };
    let port = match number(port.as_bytes()) {
        Some((n, [])) => match u16::try_from(n) {
            Ok(port) if port != 0 => port,
            _ => return Err(Reason::OutOfRange("port of", Word::new(word), "1 to 65535")),
        },
        _ => return Err(bad),
    };
    match ip {
        IpAddr::V4(v4) if v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() => {
            Err(Reason::UnusableAddress(Word::new(word)))
        }
        IpAddr::V4(_) => Ok(Endpoint::new(ip, port)),
        // The grammar knows them, the packet path does not.
        IpAddr::V6(_) => Err(Reason::Ipv6(Word::new(word))),
    }
}

#[cfg(test)]
mod tests;
