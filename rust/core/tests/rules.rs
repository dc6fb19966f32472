// SPDX-License-Identifier: GPL-2.0

//! The compiled rules against the plainest way to apply them: one after another.

use proptest::{
    collection::vec,
    option,
    prelude::*,
    sample::{select, Index},
};
use std::net::{IpAddr, Ipv4Addr};
use thop_core::{
    config::{self, PoolId, ServiceId, Target},
    heap::StdHeap,
    http::{Parser, Progress},
    request::Request,
};

type Config = config::Config<StdHeap>;

/// A condition, as the test understands it.
#[derive(Clone, Debug)]
enum Condition {
    Host(String),
    Domain(String),
    Path(String),
    PathExact(String),
    PathSuffix(String),
    Method(Vec<String>),
    Header(String, Option<String>),
    Cookie(String, Option<String>),
    Query(String, Option<String>),
    Client(Ipv4Addr, u32),
    Alpn(String),
}

impl Condition {
    fn key(&self) -> &'static str {
        match self {
            Self::Host(_) | Self::Domain(_) => "host",
            Self::Path(_) => "path",
            Self::PathExact(_) => "path-exact",
            Self::PathSuffix(_) => "path-suffix",
            Self::Method(_) => "method",
            Self::Header(..) => "header",
            Self::Cookie(..) => "cookie",
            Self::Query(..) => "query",
            Self::Client(..) => "client",
            Self::Alpn(_) => "alpn",
        }
    }

    fn text(&self) -> String {
        let value = match self {
            Self::Host(word)
            | Self::Path(word)
            | Self::PathExact(word)
            | Self::PathSuffix(word)
            | Self::Alpn(word) => word.clone(),
            Self::Domain(domain) => format!("*.{domain}"),
            Self::Method(names) => names.join(","),
            Self::Header(name, None) | Self::Cookie(name, None) | Self::Query(name, None) => {
                name.clone()
            }
            Self::Header(name, Some(value))
            | Self::Cookie(name, Some(value))
            | Self::Query(name, Some(value)) => format!("{name}={value}"),
            Self::Client(ip, 32) => ip.to_string(),
            Self::Client(ip, len) => format!("{ip}/{len}"),
        };
        format!("{} {value}", self.key())
    }

    fn holds(&self, asked: &Asked) -> bool {
        let host = asked.host.as_ref().map(|host| plain(host));
        let fits = |wanted: &Option<String>, value: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == value)
        };
        match self {
            Self::Host(wanted) => host == Some(plain(wanted)),
            Self::Domain(domain) => host.is_some_and(|host| {
                let labels: Vec<_> = host.split('.').collect();
                let wanted = plain(domain);
                let wanted: Vec<_> = wanted.split('.').collect();
                labels.len() > wanted.len() && labels.ends_with(&wanted)
            }),
            Self::Path(wanted) => asked.path.starts_with(wanted.as_str()),
            Self::PathExact(wanted) => asked.path == *wanted,
            Self::PathSuffix(wanted) => asked.path.ends_with(wanted.as_str()),
            Self::Method(names) => names.contains(&asked.method),
            Self::Header(name, wanted) => asked.fields.iter().any(|(key, value)| {
                key.to_lowercase() == name.to_lowercase() && fits(wanted, value)
            }),
            Self::Cookie(name, wanted) => {
                let mut cookies = asked.cookies.iter().flatten();
                let first = cookies.find(|(key, value)| key == name && value.is_some());
                first.is_some_and(|(_, value)| fits(wanted, value.as_ref().unwrap()))
            }
            Self::Query(name, wanted) => asked.query.iter().any(|(key, value)| {
                key == name && fits(wanted, value.as_ref().unwrap_or(&String::new()))
            }),
            Self::Client(network, len) => {
                let ignored = 32 - len;
                let bits = |ip: &Ipv4Addr| u64::from(ip.to_bits()) >> ignored;
                bits(network) == bits(&asked.client)
            }
            Self::Alpn(name) => asked.alpn.contains(name),
        }
    }
}

fn plain(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_lowercase()
}

/// A rule: its conditions, and whether it has a class.
type Rule = (Vec<Condition>, bool);

fn text(rules: &[Rule], protocol: &str) -> String {
    let mut text = format!("pool d\nservice s address 192.0.2.1:80 protocol {protocol} pool d\n");
    for (n, (conditions, class)) in rules.iter().enumerate() {
        text += &format!("pool p{n}\nroute service s");
        for condition in conditions {
            text += &format!(" {}", condition.text());
        }
        if *class {
            text += &format!(" class c{}", n % 3);
        }
        text += &format!(" pool p{n}\n");
    }
    text
}

/// What a client asks, part by part.
#[derive(Clone, Debug)]
struct Asked {
    client: Ipv4Addr,
    method: String,
    host: Option<String>,
    path: String,
    query: Vec<(String, Option<String>)>,
    fields: Vec<(String, String)>,
    /// Field line by field line.
    cookies: Vec<Vec<(String, Option<String>)>>,
    alpn: Vec<String>,
}

impl Asked {
    /// The head of the request.
    fn head(&self) -> String {
        let pair = |(name, value): &(String, Option<String>)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        };
        let query: Vec<_> = self.query.iter().map(pair).collect();
        let mark = if query.is_empty() { "" } else { "?" };
        let mut head = format!(
            "{} {}{mark}{} HTTP/1.0\r\n",
            self.method,
            self.path,
            query.join("&")
        );
        if let Some(host) = &self.host {
            head += &format!("Host: {host}:80\r\n");
        }
        // Cookies stand between the others.
        let mut cookies = self.cookies.iter();
        for (n, (name, value)) in self.fields.iter().enumerate() {
            let (before, after) = [(" ", ""), ("", " "), ("\t", "\t "), ("", "")][n % 4];
            head += &format!("{name}:{before}{value}{after}{}", ["\r\n", "\n"][n % 2]);
            if let Some(line) = cookies.next() {
                head += &cookie_line(&line.iter().map(pair).collect::<Vec<_>>());
            }
        }
        for line in cookies {
            head += &cookie_line(&line.iter().map(pair).collect::<Vec<_>>());
        }
        head + "\r\n"
    }

    /// The protocol names of a ClientHello.
    fn alpn(&self) -> Vec<u8> {
        let mut names = Vec::new();
        for name in &self.alpn {
            names.push(name.len() as u8);
            names.extend_from_slice(name.as_bytes());
        }
        names
    }
}

fn cookie_line(pairs: &[String]) -> String {
    format!("Cookie: {}\r\n", pairs.join("; "))
}

/// The first rule whose conditions all hold, or else the default.
fn first_match(rules: &[Rule], asked: &Asked) -> Option<usize> {
    rules
        .iter()
        .position(|(conditions, _)| conditions.iter().all(|c| c.holds(asked)))
}

fn check(config: &Config, rules: &[Rule], asked: &Asked, request: &Request<'_>) {
    let target = config.route(ServiceId::new(0), request);
    let want = first_match(rules, asked);
    let name = |target: &Target| {
        config
            .name(config.pool(target.pool).unwrap().name)
            .to_string()
    };
    let want_name = want.map_or("d".to_string(), |n| format!("p{n}"));
    let target = target.expect("there is a default pool");
    assert_eq!(name(&target), want_name, "{asked:?}\n{config}");
    let class = want.filter(|&n| rules[n].1).map(|n| format!("c{}", n % 3));
    assert_eq!(config.class_name(target.class), class.as_deref());
}

// Few different words, so that there are many matches, and many that nearly are.

fn host() -> impl Strategy<Value = String> {
    "[abA]{1,2}(\\.[aB]){0,3}\\.?"
}

fn path() -> impl Strategy<Value = String> {
    "/[a/%]{0,4}(\\.a)?"
}

fn method() -> impl Strategy<Value = String> {
    select(vec!["GET", "HEAD", "POST", "GE"]).prop_map(Into::into)
}

fn client() -> impl Strategy<Value = Ipv4Addr> {
    prop_oneof![
        (0u8..4).prop_map(|n| Ipv4Addr::new(10, 0, 0, n)),
        (
            select(vec![0u8, 10, 127, 128, 255]),
            0u8..3,
            0u8..2,
            any::<u8>()
        )
            .prop_map(|(a, b, c, d)| Ipv4Addr::new(a, b, c, d)),
    ]
}

fn field_name() -> impl Strategy<Value = String> {
    select(vec![
        "x",
        "X",
        "x-y",
        "X-Y",
        "xx",
        "a-name-that-is-longer-than-sixty-four-octets-which-no-field-that-matters-has",
    ])
    .prop_map(Into::into)
}

fn value() -> impl Strategy<Value = String> {
    select(vec!["", "1", "2", "12", "=1", "a"]).prop_map(Into::into)
}

fn name() -> impl Strategy<Value = String> {
    select(vec!["s", "S", "t", "st"]).prop_map(Into::into)
}

fn protocol() -> impl Strategy<Value = String> {
    select(vec!["h2", "h3", "http/1.1"]).prop_map(Into::into)
}

fn pair() -> impl Strategy<Value = (String, Option<String>)> {
    (name(), option::weighted(0.8, value()))
}

fn anywhere() -> impl Strategy<Value = Condition> {
    prop_oneof![
        host().prop_map(Condition::Host),
        "[aB](\\.[aB]){0,2}".prop_map(Condition::Domain),
        (client(), 0u32..=32).prop_map(|(ip, len)| Condition::Client(ip, len)),
    ]
}

fn of_http() -> impl Strategy<Value = Condition> {
    prop_oneof![
        3 => anywhere(),
        2 => path().prop_map(Condition::Path),
        1 => path().prop_map(Condition::PathExact),
        1 => "[/a.%]{1,3}".prop_map(Condition::PathSuffix),
        1 => vec(method(), 1..3).prop_map(Condition::Method),
        1 => (field_name(), option::of(value())).prop_map(|(n, v)| Condition::Header(n, v)),
        1 => pair().prop_map(|(n, v)| Condition::Cookie(n, v)),
        1 => pair().prop_map(|(n, v)| Condition::Query(n, v)),
    ]
}

fn of_tls() -> impl Strategy<Value = Condition> {
    prop_oneof![2 => anywhere(), 1 => protocol().prop_map(Condition::Alpn)]
}

/// Rules whose conditions may stand together.
fn rules(condition: impl Strategy<Value = Condition>) -> impl Strategy<Value = Vec<Rule>> {
    let conditions = vec(condition, 1..5).prop_map(|mut conditions| {
        let mut seen: Vec<&str> = Vec::new();
        conditions.retain(|condition| {
            let key = condition.key();
            let again = seen.contains(&key);
            seen.push(key);
            !again || ["header", "cookie", "query"].contains(&key)
        });
        conditions
    });
    vec((conditions, any::<bool>()), 0..50)
}

fn asked() -> impl Strategy<Value = Asked> {
    (
        client(),
        method(),
        option::weighted(0.9, host()),
        path(),
        vec(pair(), 0..4),
        vec((field_name(), value()), 0..4),
        vec(vec(pair(), 1..4), 0..3),
        vec(protocol(), 0..3),
    )
        .prop_map(
            |(client, method, host, path, query, fields, cookies, alpn)| Asked {
                client,
                method,
                host,
                path,
                query,
                fields,
                cookies,
                alpn,
            },
        )
}

/// Makes a request meet a condition, as far as it can.
fn satisfy(asked: &mut Asked, condition: &Condition) {
    match condition.clone() {
        Condition::Host(host) => asked.host = Some(host),
        Condition::Domain(domain) => asked.host = Some(format!("x.{domain}")),
        Condition::Path(path) => asked.path = path + &asked.path,
        Condition::PathExact(path) => asked.path = path,
        Condition::PathSuffix(suffix) => asked.path += &suffix,
        Condition::Method(names) => asked.method = names[0].clone(),
        Condition::Header(name, value) => asked.fields.push((name, value.unwrap_or_default())),
        Condition::Cookie(name, value) => {
            asked
                .cookies
                .insert(0, vec![(name, Some(value.unwrap_or_default()))]);
        }
        Condition::Query(name, value) => asked.query.push((name, value)),
        Condition::Client(ip, _) => asked.client = ip,
        Condition::Alpn(name) => asked.alpn.push(name),
    }
}

/// As usual, but failures are not kept in a file: they become tests.
fn settings() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Requests of which some meet the conditions of a rule.
fn requests() -> impl Strategy<Value = Vec<(Asked, Option<Index>)>> {
    vec((asked(), option::of(any::<Index>())), 1..30)
}

fn aimed(mut asked: Asked, rule: Option<Index>, rules: &[Rule]) -> Asked {
    if let Some(index) = rule.filter(|_| !rules.is_empty()) {
        for condition in &index.get(rules).0 {
            satisfy(&mut asked, condition);
        }
    }
    asked
}

proptest! {
    #![proptest_config(settings())]

    #[test]
    fn a_request_takes_the_first_route_that_matches(rules in rules(of_http()), requests in requests()) {
        let config = Config::parse(text(&rules, "http").as_bytes()).unwrap();
        let again = Config::parse(config.to_string().as_bytes()).unwrap();
        prop_assert_eq!(config.to_string(), again.to_string());
        for (asked, rule) in requests {
            let mut asked = aimed(asked, rule, &rules);
            asked.alpn.clear();
            let head = asked.head();
            let mut parser = Parser::new(u32::MAX);
            prop_assert_eq!(parser.feed(head.as_bytes()), Ok(Progress::Complete));
            let client = IpAddr::V4(asked.client);
            let request = Request::http(client, parser.head().unwrap(), head.as_bytes());
            check(&config, &rules, &asked, &request);
            check(&again, &rules, &asked, &request);
        }
    }

    #[test]
    fn a_client_hello_takes_the_first_route_that_matches(rules in rules(of_tls()), requests in requests()) {
        let config = Config::parse(text(&rules, "tls").as_bytes()).unwrap();
        for (asked, rule) in requests {
            let asked = aimed(asked, rule, &rules);
            let request = Request {
                host: asked.host.as_ref().map(|host| host.as_bytes()),
                alpn: &asked.alpn(),
                ..Request::of(IpAddr::V4(asked.client))
            };
            check(&config, &rules, &asked, &request);
        }
    }

    #[test]
    fn whatever_a_client_sends(
        rules in rules(of_http()),
        fields in vec(select(b"xXsS:;= \t\r\n12Cookie".to_vec()), 0..200),
        query in vec(select(b"sS&=12#".to_vec()), 0..50),
        path in vec(any::<u8>(), 0..10),
        host in option::of(vec(select(b"abA.\xff".to_vec()), 0..300)),
        v6 in any::<u128>(),
    ) {
        let config = Config::parse(text(&rules, "http").as_bytes()).unwrap();
        let request = Request {
            host: host.as_deref(),
            path: &path,
            query: &query,
            fields: &fields,
            ..Request::of(IpAddr::V6(v6.into()))
        };
        let target = config.route(ServiceId::new(0), &request);
        prop_assert!(target.is_some_and(|target| config.pool(target.pool).is_some()));
        prop_assert_eq!(config.route(ServiceId::new(1), &request), None);
    }
}

/// More of what rules name than is noticed: the first of it counts, and nothing breaks.
#[test]
fn a_request_that_has_everything() {
    let rules: Vec<Rule> = (0..500)
        .map(|n| (vec![Condition::Query(format!("q{n}"), None)], false))
        .collect();
    let config = Config::parse(text(&rules, "http").as_bytes()).unwrap();
    let query: Vec<_> = (0..500).rev().map(|n| format!("q{n}")).collect();
    let query = query.join("&");
    let request = Request {
        query: query.as_bytes(),
        ..Request::of([192, 0, 2, 1].into())
    };
    let target = config.route(ServiceId::new(0), &request).unwrap();
    let noticed = thop_core::rules::MAX_FACTS;
    // Pool 0 is the default pool, pool 1 that of the first rule.
    let want = PoolId::new(1 + 500 - noticed as u32);
    assert_eq!(target.pool, want);
}
