// SPDX-License-Identifier: GPL-2.0

//! Properties of the configuration's grammar.

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use thop_core::{
    config::{self, PoolId, Reason, ServerId, ServiceId},
    request::Request,
};

mod scarce;

use scarce::{ScarceHeap, ROOM};

type Config = config::Config<ScarceHeap>;

/// The pool for a request of which nothing but this matters.
fn pool_for(config: &Config, id: ServiceId, host: Option<&[u8]>, path: &[u8]) -> Option<PoolId> {
    let request = Request {
        host,
        path,
        ..Request::of([203, 0, 113, 5].into())
    };
    config.route(id, &request).map(|target| target.pool)
}

#[derive(Clone, Debug)]
struct Server {
    name: String,
    pool: usize,
    address: String,
    weight: Option<u16>,
}

#[derive(Clone, Debug)]
struct Service {
    name: String,
    address: String,
    pool: Option<usize>,
    limit: Option<(String, u32)>,
    timeout: Option<(String, u32)>,
}

#[derive(Clone, Debug)]
struct Route {
    service: usize,
    host: Option<String>,
    path: Option<String>,
    /// Conditions that always hold, and a class: keys and values.
    more: Vec<(&'static str, &'static str)>,
    pool: usize,
}

/// A configuration as the test sees it.
#[derive(Clone, Debug)]
struct Model {
    pools: Vec<String>,
    /// Options of each pool, over and over.
    pool_options: Vec<Vec<(&'static str, &'static str)>>,
    servers: Vec<Server>,
    services: Vec<Service>,
    routes: Vec<Route>,
    /// What makes one text differ from another of the same meaning.
    taste: Vec<u8>,
}

impl Model {
    fn text(&self) -> String {
        let mut taste = self.taste.iter().cycle().copied();
        let mut choose = move |n: u8| taste.next().unwrap_or(0) % n;
        let mut text = String::new();
        // Services and routes come in between, as soon as what they need is there.
        let mut late = Vec::new();
        let mut line = |first: String, mut options: Vec<(&str, String)>| {
            let mut line = first;
            while !options.is_empty() {
                let at = usize::from(choose(options.len() as u8));
                let (key, value) = options.remove(at);
                let blank = ["  ", " ", "\t", " \t "][usize::from(choose(4))];
                line += &format!("{blank}{key} {value}");
            }
            line += ["", " ", "\t# words", " #"][usize::from(choose(4))];
            line += ["\n", "\r\n", "\n\n", "\n# pool\n"][usize::from(choose(4))];
            line
        };
        for (pool, more) in self.pools.iter().zip(self.pool_options.iter().cycle()) {
            let more = more.iter().map(|(key, value)| (*key, value.to_string()));
            let options = more.chain([("policy", "rr".into())]).collect();
            text += &line(format!("pool {pool}"), options);
        }
        for s in &self.services {
            let mut options = vec![("address", s.address.clone())];
            options.extend(s.pool.map(|p| ("pool", self.pools[p].clone())));
            options.extend(s.limit.as_ref().map(|l| ("head-limit", l.0.clone())));
            options.extend(s.timeout.as_ref().map(|t| ("head-timeout", t.0.clone())));
            text += &line(format!("service {}", s.name), options);
        }
        for r in &self.routes {
            let mut options = vec![
                ("service", self.services[r.service].name.clone()),
                ("pool", self.pools[r.pool].clone()),
            ];
            options.extend(r.host.clone().map(|h| ("host", h)));
            options.extend(r.path.clone().map(|p| ("path", p)));
            let more = r.more.iter();
            options.extend(more.map(|(key, value)| (*key, value.to_string())));
            late.push(line("route".into(), options));
        }
        for (n, s) in self.servers.iter().enumerate() {
            let mut options = vec![
                ("pool", self.pools[s.pool].clone()),
                ("address", s.address.clone()),
            ];
            options.extend(s.weight.map(|w| ("weight", w.to_string())));
            text += &line(format!("server {}", s.name), options);
            text += late.get(n).map_or("", |l| l);
        }
        for line in late.iter().skip(self.servers.len()) {
            text += line;
        }
        text
    }

    /// The choice of a pool, told in the plainest way.
    fn route(&self, service: usize, host: Option<&str>, path: &str) -> Option<usize> {
        let plain = |host: &str| {
            let lower = host.to_ascii_lowercase();
            lower.strip_suffix('.').map(str::to_string).unwrap_or(lower)
        };
        for r in &self.routes {
            let host_fits = match (&r.host, host) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(wanted), Some(host)) => plain(wanted) == plain(host),
            };
            let path_fits = match &r.path {
                None => true,
                Some(prefix) => path.len() >= prefix.len() && path[..prefix.len()] == **prefix,
            };
            if r.service == service && host_fits && path_fits {
                return Some(r.pool);
            }
        }
        self.services[service].pool
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-c]", "[A-Za-z0-9._-]{1,32}"]
}

fn address() -> impl Strategy<Value = String> {
    (1u8..=223, 0u8..4, 1u16..=3).prop_map(|(a, b, port)| format!("{a}.0.0.{b}:{port}"))
}

fn host() -> impl Strategy<Value = String> {
    "[abA]{1,2}(\\.[bB-]){0,1}\\.?"
}

fn path() -> impl Strategy<Value = String> {
    // ASCII, so that the reference may slice it.
    "/[a/%]{0,3}"
}

fn limit() -> impl Strategy<Value = (String, u32)> {
    prop_oneof![
        (1u32..=32).prop_map(|k| (format!("{k}k"), k * 1024)),
        (256u32..=32768).prop_map(|n| (n.to_string(), n)),
        Just(("16384".to_string(), 16384)),
    ]
}

fn timeout() -> impl Strategy<Value = (String, u32)> {
    prop_oneof![
        (100u32..=3_600_000).prop_map(|n| (format!("{n}ms"), n)),
        (1u32..=3600).prop_map(|n| (format!("{n}s"), n * 1000)),
        (1u32..=60).prop_map(|n| (format!("{n}m"), n * 60_000)),
        Just(("10s".to_string(), 10_000)),
    ]
}

fn pool_options() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop::sample::subsequence(
        vec![
            ("queue", "0"),
            ("queue-timeout", "1500ms"),
            ("check-interval", "off"),
            ("down-after", "1000ms"),
            ("up-after", "100"),
            ("slow-start", "0ms"),
        ],
        0..=6,
    )
}

fn more() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    prop::sample::subsequence(vec![("client", "203.0.113.99/24"), ("class", "c")], 0..=2)
}

fn model() -> impl Strategy<Value = Model> {
    use prop::{collection::vec, option::of};
    let pools = prop::collection::btree_set(name(), 1..5);
    let services = vec(
        (
            name(),
            address(),
            of(any::<prop::sample::Index>()),
            of(limit()),
            of(timeout()),
        ),
        1..4,
    );
    let servers = vec(
        (
            name(),
            any::<prop::sample::Index>(),
            address(),
            of(any::<u16>()),
        ),
        0..12,
    );
    let routes = vec(
        (
            any::<prop::sample::Index>(),
            of(host()),
            of(path()),
            more(),
            any::<prop::sample::Index>(),
        ),
        0..12,
    );
    let pools = (pools, vec(pool_options(), 1..4));
    (pools, services, servers, routes, vec(any::<u8>(), 1..20)).prop_map(
        |((pools, pool_options), services, servers, routes, taste)| {
            let pools: Vec<_> = pools.into_iter().collect();
            let mut seen = BTreeSet::new();
            let mut new = move |key: String| seen.insert(key);
            let services: Vec<_> = services
                .into_iter()
                .filter(|s| new(format!("n {}", s.0)) & new(format!("a {}", s.1)))
                .map(|(name, address, pool, limit, timeout)| Service {
                    name,
                    address,
                    pool: pool.map(|pool| pool.index(pools.len())),
                    limit,
                    timeout,
                })
                .collect();
            let mut seen = BTreeSet::new();
            let mut new = move |key: String| seen.insert(key);
            let servers = servers
                .into_iter()
                .map(|(name, pool, address, weight)| Server {
                    name,
                    pool: pool.index(pools.len()),
                    address,
                    weight,
                })
                .filter(|s| {
                    new(format!("n {} {}", s.pool, s.name))
                        & new(format!("a {} {}", s.pool, s.address))
                })
                .collect();
            let routes = routes
                .into_iter()
                .map(|(service, host, path, more, pool)| Route {
                    service: service.index(services.len()),
                    path: if host.is_none() && path.is_none() {
                        Some("/".into())
                    } else {
                        path
                    },
                    host,
                    more,
                    pool: pool.index(pools.len()),
                })
                .collect();
            Model {
                pools,
                pool_options,
                servers,
                services,
                routes,
                taste,
            }
        },
    )
}

fn pool_id(index: usize) -> PoolId {
    PoolId::new(index as u32)
}

/// A text that parses is never longer in its canonical form, which parses to itself.
fn check_round_trip(text: &[u8], config: &Config) {
    let canonical = config.to_string();
    let ended = text.len() + usize::from(!text.is_empty() && !text.ends_with(b"\n"));
    assert!(canonical.len() <= ended);
    let again = Config::parse(canonical.as_bytes()).expect("a canonical text");
    assert_eq!(again.to_string(), canonical);
    assert_eq!(again.servers().len(), config.servers().len());
    for (a, b) in again.servers().iter().zip(config.servers()) {
        assert_eq!(again.name(a.name), config.name(b.name));
        assert_eq!(
            (a.pool, a.endpoint, a.weight, a.max),
            (b.pool, b.endpoint, b.weight, b.max)
        );
    }
    assert_eq!(again.pools().len(), config.pools().len());
    for (a, b) in again.pools().iter().zip(config.pools()) {
        assert_eq!(again.name(a.name), config.name(b.name));
        assert_eq!((a.policy, a.backup), (b.policy, b.backup));
        assert_eq!(
            (a.queue, a.queue_timeout_ms, a.check_interval_ms),
            (b.queue, b.queue_timeout_ms, b.check_interval_ms)
        );
        assert_eq!(
            (a.down_after_ms, a.up_after, a.slow_start_ms),
            (b.down_after_ms, b.up_after, b.slow_start_ms)
        );
    }
    assert_eq!(again.services().len(), config.services().len());
    for (a, b) in again.services().iter().zip(config.services()) {
        assert_eq!((a.protocol, a.h2_pool), (b.protocol, b.h2_pool));
        assert_eq!((a.endpoint, a.default_pool), (b.endpoint, b.default_pool));
    }
    assert_eq!(again.routes().len(), config.routes().len());
    for (a, b) in again.routes().iter().zip(config.routes()) {
        assert_eq!((a.service, a.target), (b.service, b.target));
        assert_eq!(again.conditions(a).len(), config.conditions(b).len());
        let class = config.class_name(b.target.class);
        assert_eq!(again.class_name(a.target.class), class);
    }
}

/// Whatever the text, the answer is sound.
fn check_any(text: &[u8]) {
    match Config::parse(text) {
        Ok(config) => check_round_trip(text, &config),
        Err(error) => {
            let lines = text.split(|&b| b == b'\n').count();
            assert!(error.line as usize <= lines);
            assert!(error.line != 0 || text.len() >= config::MAX_TEXT);
            let shown = error.to_string();
            assert!(shown.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
            assert!(shown.len() < 600);
        }
    }
}

/// As usual, but failures are not kept in a file: they become tests.
fn settings() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn what_is_written_is_read(model in model()) {
        let text = model.text();
        let config = Config::parse(text.as_bytes()).map_err(|e| {
            TestCaseError::fail(format!("{e}\n{text}"))
        })?;
        let pools: Vec<_> = config.pools().iter().map(|p| config.name(p.name)).collect();
        prop_assert_eq!(&pools, &model.pools);

        prop_assert_eq!(config.services().len(), model.services.len());
        for (is, want) in config.services().iter().zip(&model.services) {
            prop_assert_eq!(config.name(is.name), &want.name);
            prop_assert_eq!(is.endpoint.to_string(), &*want.address);
            prop_assert_eq!(is.default_pool, want.pool.map(pool_id));
            prop_assert_eq!(is.head_limit, want.limit.as_ref().map_or(16384, |l| l.1));
            prop_assert_eq!(is.head_timeout_ms, want.timeout.as_ref().map_or(10_000, |t| t.1));
        }

        prop_assert_eq!(config.servers().len(), model.servers.len());
        prop_assert_eq!(config.routes().len(), model.routes.len());
        let mut seen = 0;
        for pool in 0..model.pools.len() {
            let is: Vec<_> = config
                .pool_servers(pool_id(pool))
                .inspect(|(id, server)| {
                    assert_eq!(*id, ServerId::new(seen));
                    assert_eq!(server.pool, pool_id(pool));
                    let same = config.server(*id).unwrap();
                    assert!(std::ptr::eq(*server, same));
                    seen += 1;
                })
                .map(|(_, s)| (config.name(s.name).to_string(), s.endpoint.to_string(), s.weight))
                .collect();
            let want: Vec<_> = model
                .servers
                .iter()
                .filter(|s| s.pool == pool)
                .map(|s| (s.name.clone(), s.address.clone(), s.weight.unwrap_or(1)))
                .collect();
            prop_assert_eq!(is, want);
        }
        check_round_trip(text.as_bytes(), &config);
    }

    #[test]
    fn a_request_goes_where_the_reference_says(
        model in model(),
        requests in prop::collection::vec((prop::option::of(host()), path()), 1..40),
    ) {
        let config = Config::parse(model.text().as_bytes()).unwrap();
        let again = Config::parse(config.to_string().as_bytes()).unwrap();
        for service in 0..model.services.len() {
            let id = ServiceId::new(service as u32);
            for (host, path) in &requests {
                let want = model.route(service, host.as_deref(), path).map(pool_id);
                let octets = host.as_deref().map(str::as_bytes);
                prop_assert_eq!(pool_for(&config, id, octets, path.as_bytes()), want);
                prop_assert_eq!(pool_for(&again, id, octets, path.as_bytes()), want);
            }
        }
    }

    #[test]
    fn any_octets(text in prop::collection::vec(any::<u8>(), 0..600)) {
        check_any(&text);
    }

    #[test]
    fn any_words(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "pool", "server", "service", "route", "address", "policy", "weight", "host",
                "backup", "queue", "slow-start", "off", "max", "protocol", "tls", "h2", "method",
                "path-exact", "path-suffix", "header", "cookie", "query", "client", "alpn",
                "class", "a=b", "10.0.0.0/8", "*.a", "\nroute service a query a pool a class",
                "path", "head-limit", "head-timeout", "clients", "rr", "a", "b", "1", "/", "1k", "1s",
                "192.0.2.1:80", "192.0.2.2:80", "[::1]:80", "\n", "\n", "\npool a\n",
                "\nservice a address 192.0.2.1:80\n", "\nroute service a path / pool a",
                "\nserver b pool a address 192.0.2.1:80", "#", "\r\n", "\r", "\u{e9}",
            ]),
            0..60,
        )
    ) {
        check_any(words.join(" ").as_bytes());
    }

    #[test]
    fn any_change(
        model in model(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4u8), 1..6),
        seconds in prop::collection::vec(
            prop::sample::select(b" \t\r\n#/.:[]0a\xff\0".to_vec()), 6),
    ) {
        let mut text = model.text().into_bytes();
        for ((at, octet, kind), second) in changes.into_iter().zip(seconds) {
            if text.is_empty() {
                break;
            }
            let at = at.index(text.len());
            match kind {
                0 => text[at] = octet,
                1 => text[at] = second,
                2 => text.insert(at, second),
                _ => {
                    text.remove(at);
                }
            }
        }
        check_any(&text);
    }

    #[test]
    fn a_request_of_any_octets(
        model in model(),
        host in prop::option::of(prop::collection::vec(any::<u8>(), 0..9)),
        path in prop::collection::vec(any::<u8>(), 0..9),
        service in any::<u32>(),
    ) {
        let config = Config::parse(model.text().as_bytes()).unwrap();
        for id in [0, service] {
            let pool = pool_for(&config, ServiceId::new(id), host.as_deref(), &path);
            prop_assert!(pool.is_none_or(|pool| config.pool(pool).is_some()));
        }
        prop_assert!(config.pool_servers(PoolId::new(service)).all(|(_, s)| s.pool.index() < 5));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20, ..settings() })]

    #[test]
    fn memory_may_run_out_anywhere(model in model()) {
        let text = model.text();
        ROOM.set(u64::MAX);
        let whole = Config::parse(text.as_bytes()).unwrap();
        let needed = u64::MAX - ROOM.get();
        for room in 0..needed {
            ROOM.set(room);
            let error = Config::parse(text.as_bytes()).unwrap_err();
            prop_assert_eq!((error.line, error.reason), (0, Reason::OutOfMemory));
        }
        ROOM.set(needed);
        let same = Config::parse(text.as_bytes()).unwrap();
        prop_assert_eq!(same.to_string(), whole.to_string());
        ROOM.set(u64::MAX);
    }
}

#[test]
fn many_lines_are_read() {
    let mut text = String::new();
    for pool in 0..100 {
        text += &format!(
            "pool p{pool}\nservice s{pool} address 192.0.2.1:{}\n",
            pool + 1
        );
    }
    for n in 0..10_000 {
        let (pool, b) = (n % 100, n / 256);
        text += &format!("server {n} pool p{pool} address 10.0.{b}.{}:80\n", n % 256);
    }
    for n in 0..10_000 {
        let service = n % 100;
        text += &format!("route service s{service} path /{n} pool p{}\n", n % 7);
    }
    assert!(text.len() <= config::MAX_TEXT);
    let config = Config::parse(text.as_bytes()).unwrap();
    assert_eq!(config.servers().len(), 10_000);
    assert_eq!(config.routes().len(), 10_000);

    let mut per_pool = BTreeMap::new();
    for server in config.servers() {
        *per_pool.entry(server.pool).or_insert(0) += 1;
    }
    for (pool, servers) in per_pool {
        assert_eq!(config.pool_servers(pool).len(), servers);
        assert_eq!(servers, 100);
    }
    let last = pool_for(&config, ServiceId::new(99), None, b"/9999");
    assert_eq!(last, Some(PoolId::new(99 % 7)));
    check_round_trip(text.as_bytes(), &config);
}

/// What the README shows as configuration is one: first the text that is written, then what more it
/// could say. The policies' page has an example for each.
#[test]
fn the_documents_show_configurations() {
    let readme = include_str!("../../../README.md");
    let (_, text) = readme
        .split_once("config <<END\n")
        .expect("a text to write");
    let (first, rest) = text.split_once("    END\n").expect("its end");
    let (_, more) = rest
        .split_once("configuration can say:\n\n")
        .expect("what more");
    let (more, _) = more.split_once("\n\n").expect("its end");
    let text = format!("{first}{more}\n");
    assert!(text.lines().count() > 12);
    Config::parse(text.as_bytes()).expect("the README's configuration");

    let page = include_str!("../../../docs/policies.md");
    let mut shown = 0;
    for line in page
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("pool "))
    {
        Config::parse(line.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        shown += 1;
    }
    assert!(shown >= 9, "{shown} examples");
}
