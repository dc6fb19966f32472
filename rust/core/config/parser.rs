// SPDX-License-Identifier: GPL-2.0

//! Reads a configuration, line by line.

use super::{
    error::{Kind, Reason, Word},
    index::{group, hash, Index},
    text::{self, Name, Span},
    value::{
        self, endpoint, head_limit_of, name_word, number_in, pair_of, time_in, HostWord, Place,
    },
    Config, Pool, PoolId, PoolOption, Protocol, Route, Server, ServerId, Service, ServiceId,
    Target, DEFAULT_CLIENTS, DEFAULT_HEAD_LIMIT, DEFAULT_HEAD_TIMEOUT_MS, MAX_CLASSES,
    MAX_CONDITIONS, MAX_LINE, MAX_POOLS, MAX_ROUTES, MAX_SERVERS, MAX_SERVICES,
};
use crate::{
    heap::{Heap, List, OutOfMemory},
    policy,
    rules::{Condition, Rules},
};

const ECH: [&str; 2] = ["default", "outer"];
const STATEMENTS: [&str; 4] = ["pool", "server", "service", "route"];
pub(super) const POOL_KEYS: [&str; 8] = [
    "policy",
    "backup",
    "queue",
    "queue-timeout",
    "check-interval",
    "down-after",
    "up-after",
    "slow-start",
];
const SERVER_KEYS: [&str; 4] = ["pool", "address", "weight", "max"];
const SERVICE_KEYS: [&str; 8] = [
    "address",
    "protocol",
    "pool",
    "h2",
    "ech",
    "head-limit",
    "head-timeout",
    "clients",
];
/// What a route may say, its conditions in canonical order.
const ROUTE_KEYS: [&str; 13] = [
    "service",
    "host",
    "path",
    "path-exact",
    "path-suffix",
    "method",
    "header",
    "cookie",
    "query",
    "client",
    "alpn",
    "class",
    "pool",
];
/// Those of them that are conditions: all but the service in front, and class and pool at the end.
pub(super) const CONDITION_KEYS: [&str; 10] = {
    let mut keys = [""; 10];
    let mut at = 0;
    while at < keys.len() {
        keys[at] = ROUTE_KEYS[at + 1];
        at += 1;
    }
    keys
};
const PROTOCOLS: [&str; 2] = [Protocol::Http.name(), Protocol::Tls.name()];

/// The greatest number of options that a policy can have.
pub(super) const MAX_POLICY_OPTIONS: usize = 8;

pub(super) const DEFAULT_WEIGHT: u16 = 1;
const MAX_CONNECTIONS: u32 = 1_000_000;
/// A pool of which the text says nothing but the name.
pub(super) const DEFAULT_POOL: Pool = Pool {
    name: Name::EMPTY,
    policy: policy::Kind::RoundRobin,
    backup: None,
    queue: 1024,
    queue_timeout_ms: 5_000,
    check_interval_ms: Some(250),
    down_after_ms: 1_000,
    up_after: 2,
    slow_start_ms: 10_000,
    options: Span::EMPTY,
};

/// A configuration in the making, with what finds its names.
pub(super) struct Parser<H: Heap> {
    /// Servers and routes are still in the order of the text.
    config: Config<H>,
    pool_names: Index<H>,
    server_names: Index<H>,
    server_endpoints: Index<H>,
    service_names: Index<H>,
    service_endpoints: Index<H>,
    class_names: Index<H>,
    /// How many servers each pool has.
    pool_sizes: H::List<usize>,
}

impl<H: Heap> Parser<H> {
    pub(super) fn new() -> Self {
        Self {
            config: Config::empty(),
            pool_names: Index::new(),
            server_names: Index::new(),
            server_endpoints: Index::new(),
            service_names: Index::new(),
            service_endpoints: Index::new(),
            class_names: Index::new(),
            pool_sizes: Default::default(),
        }
    }

    pub(super) fn finish(self) -> Result<Config<H>, OutOfMemory> {
        let mut config = self.config;
        let pools = config.pools.len();
        let services = config.services.len();
        (config.servers, config.pool_servers) =
            group::<H, Server>(&config.servers, pools, |server| server.pool.index())?;
        (config.routes, config.service_routes) =
            group::<H, Route>(&config.routes, services, |route| route.service.index())?;
        number_classes(&mut config)?;
        for service in 0..services {
            let span = config.service_routes.get(service).copied();
            let routes = span.unwrap_or_default().of(&config.routes).iter();
            let conditions = routes.map(|route| route.conditions);
            let rules = Rules::compile(&config.text, &config.conditions, conditions)?;
            config.rules.try_push(rules)?;
        }
        Ok(config)
    }

    pub(super) fn line(&mut self, line: &[u8]) -> Result<(), Reason> {
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

    fn pool<'t>(
        &mut self,
        mut words: impl Iterator<Item = &'t [u8]> + Clone,
    ) -> Result<(), Reason> {
        let word = name_word(words.next(), Kind::Pool)?;
        let mut pool = DEFAULT_POOL;
        // What the other words can be depends on it.
        if let Some(name) = option(words.clone(), b"policy") {
            let kind = policy::Kind::named(name);
            pool.policy = kind.ok_or(Reason::UnknownPolicy(Word::new(name)))?;
        }
        let choices = pool.policy.options();
        let mut choice_values = [None; MAX_POLICY_OPTIONS];
        let mut values = [None; POOL_KEYS.len()];
        while let Some(word) = words.next() {
            let of_any = POOL_KEYS.iter().copied().zip(values.iter_mut());
            let of_policy = choices.iter().map(|choice| choice.name);
            let mut places = of_any.chain(of_policy.zip(choice_values.iter_mut()));
            let Some((key, place)) = places.find(|(key, _)| key.as_bytes() == word) else {
                return Err(Reason::UnknownPoolWord(Word::new(word), pool.policy));
            };
            fill(key, place, words.next())?;
        }
        let [_, backup, queue, queue_timeout, check_interval, down_after, up_after, slow_start] =
            values;
        if let Some(word) = backup {
            pool.backup = Some(self.find_pool(word)?);
        }
        if let Some(word) = queue {
            pool.queue = number_in("queue", word, 0, 65536)?;
        }
        if let Some(word) = queue_timeout {
            pool.queue_timeout_ms = time_in("queue-timeout", word, 100, 600_000)?;
        }
        if let Some(word) = check_interval {
            pool.check_interval_ms = match word {
                b"off" => None,
                _ => Some(time_in("check-interval", word, 20, 60_000)?),
            };
        }
        if let Some(word) = down_after {
            pool.down_after_ms = time_in("down-after", word, 100, 600_000)?;
        }
        if let Some(word) = up_after {
            pool.up_after = number_in("up-after", word, 1, 100)?;
        }
        if let Some(word) = slow_start {
            pool.slow_start_ms = time_in("slow-start", word, 0, 3_600_000)?;
        }
        for (choice, word) in choices.iter().zip(choice_values) {
            if let Some(word) = word {
                value::check(choice.name, choice.value, pool.policy, word)?;
            }
        }
        if self.find_pool(word).is_ok() {
            return Err(Reason::Duplicate(Kind::Pool, Word::new(word)));
        }
        let id = next_id(self.config.pools.len(), MAX_POOLS, Kind::Pool)?;
        pool.name = self.keep(word)?;
        pool.options = Span::after(&self.config.pool_options);
        for (choice, word) in choices.iter().zip(choice_values) {
            if let Some(word) = word {
                let key = choice.name;
                let value = self.keep(word)?;
                self.config
                    .pool_options
                    .try_push(PoolOption { key, value })?;
            }
        }
        pool.options.extend_to(&self.config.pool_options);
        self.config.pools.try_push(pool)?;
        self.pool_sizes.try_push(0)?;
        self.pool_names.insert(hash(word), id)?;
        Ok(())
    }

    fn server<'t>(&mut self, mut words: impl Iterator<Item = &'t [u8]>) -> Result<(), Reason> {
        let word = name_word(words.next(), Kind::Server)?;
        let [pool, address, weight, max] = options(words, &SERVER_KEYS)?;
        let pool = pool.ok_or(Reason::MissingOption(Kind::Server, "pool"))?;
        let pool = self.find_pool(pool)?;
        let endpoint = endpoint(address, Kind::Server)?;
        let weight = match weight {
            None => DEFAULT_WEIGHT,
            Some(word) => number_in("weight", word, 0, u32::from(u16::MAX))? as u16,
        };
        let max = max.map(|word| number_in("max", word, 1, MAX_CONNECTIONS));
        let max = max.transpose()?;
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
        if let Some(size) = self.pool_sizes.get_mut(pool.index()) {
            if *size >= policy::MAX_MEMBERS {
                return Err(Reason::FullPool(policy::MAX_MEMBERS));
            }
            *size = size.saturating_add(1);
        }
        let id = next_id(self.config.servers.len(), MAX_SERVERS, Kind::Server)?;
        let name = self.keep(word)?;
        self.config.servers.try_push(Server {
            name,
            pool,
            endpoint,
            weight,
            max,
        })?;
        self.server_names.insert(by_name, id)?;
        self.server_endpoints.insert(by_endpoint, id)?;
        Ok(())
    }

    fn service<'t>(&mut self, mut words: impl Iterator<Item = &'t [u8]>) -> Result<(), Reason> {
        let word = name_word(words.next(), Kind::Service)?;
        let [address, protocol, pool, h2, ech, head_limit, head_timeout, clients] =
            options(words, &SERVICE_KEYS)?;
        let endpoint = endpoint(address, Kind::Service)?;
        let protocol = match protocol {
            None | Some(b"http") => Protocol::Http,
            Some(b"tls") => Protocol::Tls,
            Some(word) => return Err(Reason::UnknownWord(Word::new(word), &PROTOCOLS)),
        };
        if h2.is_some() && protocol != Protocol::Http {
            return Err(Reason::NotWith("h2", protocol));
        }
        if ech.is_some() && protocol != Protocol::Tls {
            return Err(Reason::NotWith("ech", protocol));
        }
        let ech_outer = match ech {
            None | Some(b"default") => false,
            Some(b"outer") => true,
            Some(word) => return Err(Reason::UnknownWord(Word::new(word), &ECH)),
        };
        let default_pool = pool.map(|pool| self.find_pool(pool)).transpose()?;
        let h2_pool = h2.map(|pool| self.find_pool(pool)).transpose()?;
        let head_limit = match head_limit {
            None => DEFAULT_HEAD_LIMIT,
            Some(word) => head_limit_of("head-limit", word)?,
        };
        let head_timeout_ms = match head_timeout {
            None => DEFAULT_HEAD_TIMEOUT_MS,
            Some(word) => time_in("head-timeout", word, 100, 3_600_000)?,
        };
        let clients = match clients {
            None => DEFAULT_CLIENTS,
            Some(word) => number_in("clients", word, 1, 1_000_000)?,
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
            protocol,
            default_pool,
            h2_pool,
            ech_outer,
            head_limit,
            head_timeout_ms,
            clients,
        })?;
        self.service_names.insert(hash(word), id)?;
        self.service_endpoints.insert(by_endpoint, id)?;
        Ok(())
    }

    fn route<'t>(&mut self, mut words: impl Iterator<Item = &'t [u8]>) -> Result<(), Reason> {
        let [mut service, mut class, mut pool] = [None; 3];
        // Each condition, as a place in `ROUTE_KEYS` and a word.
        let mut conditions = [(0, &b""[..]); MAX_CONDITIONS];
        let mut count = 0usize;
        while let Some(word) = words.next() {
            let mut keys = ROUTE_KEYS.iter().enumerate();
            let Some((rank, &key)) = keys.find(|(_, key)| key.as_bytes() == word) else {
                return Err(Reason::UnknownWord(Word::new(word), &ROUTE_KEYS));
            };
            let value = words.next();
            match key {
                "service" => fill(key, &mut service, value)?,
                "class" => fill(key, &mut class, value)?,
                "pool" => fill(key, &mut pool, value)?,
                _ => {
                    let value = value.ok_or(Reason::MissingValue(key))?;
                    let many = matches!(key, "header" | "cookie" | "query");
                    let mut given = conditions.iter().take(count);
                    if !many && given.any(|(other, _)| *other == rank) {
                        return Err(Reason::Repeated(key));
                    }
                    let place = conditions.get_mut(count);
                    *place.ok_or(Reason::TooManyConditions)? = (rank, value);
                    count = count.saturating_add(1);
                }
            }
        }
        let service = service.ok_or(Reason::MissingOption(Kind::Route, "service"))?;
        let service = self.find_service(service)?;
        let pool = pool.ok_or(Reason::MissingOption(Kind::Route, "pool"))?;
        let pool = self.find_pool(pool)?;
        let conditions = conditions.get(..count).unwrap_or(&[]);
        if conditions.is_empty() {
            return Err(Reason::MatchesAll);
        }
        next_id(self.config.routes.len(), MAX_ROUTES, Kind::Route)?;
        let class = match class {
            None => 0,
            Some(word) => self.class(name_word(Some(word), Kind::Class)?)?,
        };
        let protocol = self.config.service(service).map(|s| s.protocol);
        let protocol = protocol.unwrap_or_default();
        let mut span = Span::after(&self.config.conditions);
        for (rank, key) in ROUTE_KEYS.iter().enumerate() {
            for (_, word) in conditions.iter().filter(|(other, _)| *other == rank) {
                let useful = match *key {
                    "host" | "client" => true,
                    "alpn" => protocol == Protocol::Tls,
                    _ => protocol == Protocol::Http,
                };
                if !useful {
                    return Err(Reason::NotWith(key, protocol));
                }
                let condition = self.condition(key, word)?;
                self.config.conditions.try_push(condition)?;
            }
        }
        span.extend_to(&self.config.conditions);
        self.config.routes.try_push(Route {
            service,
            target: Target { pool, class },
            conditions: span,
        })?;
        Ok(())
    }

    /// The condition that a key and its value make, of which the words are kept.
    fn condition(&mut self, key: &'static str, word: &[u8]) -> Result<Condition, Reason> {
        Ok(match key {
            "host" => match value::host_or_domain(word)? {
                HostWord::Host(host) => Condition::Host(self.keep_lower(host)?),
                HostWord::Domain(domain) => Condition::Domain(self.keep_lower(domain)?),
            },
            "path" => Condition::Path(self.keep(value::path_of(word)?)?),
            "path-exact" => Condition::PathExact(self.keep(value::path_of(word)?)?),
            "path-suffix" => Condition::PathSuffix(self.keep(value::suffix_of(word)?)?),
            "method" => Condition::Method(self.keep(value::methods_of(word)?)?),
            "header" => {
                let (name, value) = pair_of(key, Place::Header, word)?;
                Condition::Header(self.keep_lower(name)?, self.keep_some(value)?)
            }
            "cookie" => {
                let (name, value) = pair_of(key, Place::Cookie, word)?;
                Condition::Cookie(self.keep(name)?, self.keep_some(value)?)
            }
            "query" => {
                let (name, value) = pair_of(key, Place::Query, word)?;
                Condition::Query(self.keep(name)?, self.keep_some(value)?)
            }
            "client" => Condition::Client(value::network_of(word)?),
            "alpn" => Condition::Alpn(self.keep(value::protocol_of(word)?)?),
            _ => {
                return Err(Reason::UnknownWord(
                    Word::new(key.as_bytes()),
                    &CONDITION_KEYS,
                ))
            }
        })
    }

    /// The number of the service class of this name, for now in the order of the text.
    fn class(&mut self, word: &[u8]) -> Result<u16, Reason> {
        let same = |id| {
            let name = self.config.classes.get(id as usize);
            name.is_some_and(|&name| self.config.octets(name) == word)
        };
        let number = |id: u32| u16::try_from(id).unwrap_or(u16::MAX).saturating_add(1);
        if let Some(id) = self.class_names.find(hash(word), same) {
            return Ok(number(id));
        }
        let id = next_id(self.config.classes.len(), MAX_CLASSES, Kind::Class)?;
        let name = self.keep(word)?;
        self.config.classes.try_push(name)?;
        self.class_names.insert(hash(word), id)?;
        Ok(number(id))
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

    fn keep_some(&mut self, word: Option<&[u8]>) -> Result<Option<Name>, OutOfMemory> {
        word.map(|word| self.keep(word)).transpose()
    }

    fn keep_octets(&mut self, octets: impl Iterator<Item = u8>) -> Result<Name, OutOfMemory> {
        text::keep(&mut self.config.text, octets)
    }
}

/// Gives the classes the numbers that they have when the canonical form is read.
fn number_classes<H: Heap>(config: &mut Config<H>) -> Result<(), OutOfMemory> {
    let mut names: H::List<Name> = Default::default();
    // The new number of each class; 0: it has not appeared yet.
    let mut numbers: H::List<u16> = Default::default();
    for _ in config.classes.iter() {
        numbers.try_push(0)?;
    }
    for route in config.routes.iter_mut() {
        let Some(old) = usize::from(route.target.class).checked_sub(1) else {
            continue;
        };
        let (Some(number), Some(&name)) = (numbers.get_mut(old), config.classes.get(old)) else {
            continue;
        };
        if *number == 0 {
            names.try_push(name)?;
            *number = u16::try_from(names.len()).unwrap_or(u16::MAX);
        }
        route.target.class = *number;
    }
    config.classes = names;
    Ok(())
}

/// The identifier of the next of a kind of which there are `len` and may be `most`.
pub(super) fn next_id(len: usize, most: usize, kind: Kind) -> Result<u32, Reason> {
    match u32::try_from(len) {
        Ok(id) if len < most => Ok(id),
        _ => Err(Reason::TooMany(kind, most)),
    }
}

/// Takes the value of an option, which must be there, and not there yet.
fn fill<'t>(
    key: &'static str,
    place: &mut Option<&'t [u8]>,
    value: Option<&'t [u8]>,
) -> Result<(), Reason> {
    if place.is_some() {
        return Err(Reason::Repeated(key));
    }
    *place = Some(value.ok_or(Reason::MissingValue(key))?);
    Ok(())
}

/// The value of the first option of this key, if the words are keys and values by turns.
fn option<'t>(mut words: impl Iterator<Item = &'t [u8]>, key: &[u8]) -> Option<&'t [u8]> {
    loop {
        let word = words.next()?;
        let value = words.next()?;
        if word == key {
            return Some(value);
        }
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
        let Some((key, place)) = places.find(|(key, _)| key.as_bytes() == word) else {
            return Err(Reason::UnknownWord(Word::new(word), keys));
        };
        fill(key, place, words.next())?;
    }
    Ok(values)
}
