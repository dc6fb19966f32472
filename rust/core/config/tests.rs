// SPDX-License-Identifier: GPL-2.0

//! Unit and property tests of the configuration grammar.

use super::*;
use super::{parser::next_id, value::check};
use crate::{heap::StdHeap, policy::Value};
use core::net::{IpAddr, Ipv4Addr};
use std::{
    format,
    string::{String, ToString},
    vec::Vec,
};

type Config = super::Config<StdHeap>;

fn good(text: &str) -> Config {
    Config::parse(text.as_bytes()).unwrap()
}

fn complaint(text: impl AsRef<[u8]>) -> String {
    let error = Config::parse(text.as_ref()).unwrap_err();
    let shown = error.to_string();
    assert!(shown.bytes().all(|b| b == b' ' || b.is_ascii_graphic()));
    shown
}

/// What is wrong with a line that follows some good ones.
fn after(line: &str) -> String {
    let shown = complaint(format!(
        "pool p\npool q\nserver a pool p address 192.0.2.1:80\n\
         service s address 198.51.100.1:80\n{line}\npool r\n"
    ));
    let rest = shown.strip_prefix("line 5: ").expect(&shown);
    rest.to_string()
}

fn id(config: &Config, name: &str) -> PoolId {
    let mut pools = config.pools().iter();
    let index = pools.position(|pool| config.name(pool.name) == name);
    PoolId::new(index.unwrap() as u32)
}

const S0: ServiceId = ServiceId::new(0);
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));

/// Where a request goes of which nothing but this matters.
fn pool_for(
    config: &Config,
    service: ServiceId,
    host: Option<&[u8]>,
    path: &[u8],
) -> Option<PoolId> {
    let request = Request {
        host,
        path,
        ..Request::of(CLIENT)
    };
    config.route(service, &request).map(|target| target.pool)
}

#[test]
fn nothing_is_a_configuration() {
    for text in ["", "\n", "\r\n", "# pool\n", " \t# x\n\n", "#", "\r"] {
        let config = good(text);
        assert!(config.services().is_empty());
        assert!(config.pools().is_empty());
        assert!(config.servers().is_empty());
        assert_eq!(config.to_string(), "");
    }
    let config = Config::empty();
    assert_eq!(config.pool_servers(PoolId::new(0)).count(), 0);
    assert_eq!(pool_for(&config, S0, None, b"/"), None);
}

#[test]
fn defaults() {
    let config =
        good("pool p\nserver a pool p address 192.0.2.1:80\nservice s address 198.51.100.1:80\n");
    let service = config.services()[0];
    assert_eq!(config.name(service.name), "s");
    assert_eq!(service.endpoint.to_string(), "198.51.100.1:80");
    assert_eq!(service.default_pool, None);
    assert_eq!(service.head_limit, 16384);
    assert_eq!(service.head_timeout_ms, 10_000);
    assert_eq!(service.clients, 16384);
    let server = config.servers()[0];
    assert_eq!(config.name(server.name), "a");
    assert_eq!(server.endpoint.to_string(), "192.0.2.1:80");
    assert_eq!(server.weight, 1);
    assert_eq!(server.pool, PoolId::new(0));
    assert_eq!(config.pools()[0].policy, policy::Kind::RoundRobin);
}

#[test]
fn everything_said() {
    let config = good(
        "\t# A comment.\r\n\
         pool p policy rr # Another.\r\n\
         server a#1 pool\tp  address 192.0.2.1:65535 weight 0"
            .replace("a#1", "a-1")
            .as_str(),
    );
    assert_eq!(config.servers()[0].weight, 0);
    assert_eq!(config.servers()[0].endpoint.port, 65535);
    let config = good(
        "pool p\nservice s head-timeout 60m pool p clients 1 head-limit 256 address 192.0.2.1:1\n\
         service t head-timeout 100ms clients 1000000 head-limit 32k address 192.0.2.1:2\n",
    );
    let [s, t] = config.services() else { panic!() };
    assert_eq!((s.head_timeout_ms, s.head_limit), (3_600_000, 256));
    assert_eq!((t.head_timeout_ms, t.head_limit), (100, 32768));
    assert_eq!((s.clients, t.clients), (1, 1_000_000));
    assert_eq!(s.default_pool, Some(PoolId::new(0)));
}

#[test]
fn the_canonical_form() {
    let config = good(
        "pool web policy rr\npool api\n\
         server b pool api address 192.0.2.2:080 weight 007\n\
         server b pool web address 192.0.2.2:80 weight 1\n\
         service s address 198.51.100.1:80 pool web head-limit 16k head-timeout 10000ms\n\
         service t address 198.51.100.1:81 head-limit 8192 head-timeout 120s\n\
         route service t pool api path /t\n\
         server a pool api address 192.0.2.1:80\n\
         route pool api service s path /API host API.Example.\n\
         service u address 198.51.100.1:82 clients 016384 head-limit 1000 head-timeout 90s\n\
         service v address 198.51.100.1:83 clients 7 head-timeout 1500ms\n\
         route service s host x pool web",
    );
    let canonical = "\
        pool web\n\
        server b pool web address 192.0.2.2:80\n\
        pool api\n\
        server b pool api address 192.0.2.2:80 weight 7\n\
        server a pool api address 192.0.2.1:80\n\
        service s address 198.51.100.1:80 pool web\n\
        route service s host api.example path /API pool api\n\
        route service s host x pool web\n\
        service t address 198.51.100.1:81 head-limit 8k head-timeout 2m\n\
        route service t path /t pool api\n\
        service u address 198.51.100.1:82 head-limit 1000 head-timeout 90s\n\
        service v address 198.51.100.1:83 head-timeout 1500ms clients 7\n";
    assert_eq!(config.to_string(), canonical);
    assert_eq!(good(canonical).to_string(), canonical);
}

#[test]
fn servers_are_grouped_by_pool() {
    let config = good(
        "pool p\npool none\npool q\n\
         server a pool p address 192.0.2.1:80\n\
         server a pool q address 192.0.2.1:80\n\
         server b pool p address 192.0.2.2:80\n",
    );
    let of = |pool: &str| -> Vec<_> {
        let servers = config.pool_servers(id(&config, pool));
        servers
            .map(|(id, s)| (id.index(), config.name(s.name)))
            .collect()
    };
    assert_eq!(of("p"), [(0, "a"), (1, "b")]);
    assert_eq!(of("none"), []);
    assert_eq!(of("q"), [(2, "a")]);
    for (index, server) in config.servers().iter().enumerate() {
        let id = ServerId::new(index as u32);
        let mut servers = config.pool_servers(server.pool);
        assert!(servers.any(|(other, _)| other == id));
    }
    assert_eq!(config.pool_servers(PoolId::new(3)).len(), 0);
    assert_eq!(config.pool_servers(PoolId::new(u32::MAX)).len(), 0);
}

#[test]
fn the_first_match_wins() {
    let config = good(
        "pool d\npool a\npool b\npool c\nservice s address 192.0.2.1:80 pool d\n\
         service t address 192.0.2.2:80\n\
         route service s path /a/b pool b\n\
         route service t path / pool a\n\
         route service s host h path /a pool c\n\
         route service s path /a pool a\n\
         route service s host h pool b\n",
    );
    let route = |host: Option<&str>, path: &str| {
        let pool = pool_for(&config, S0, host.map(str::as_bytes), path.as_bytes());
        config.name(config.pool(pool.unwrap()).unwrap().name)
    };
    assert_eq!(route(Some("h"), "/a/b/c"), "b");
    assert_eq!(route(Some("h"), "/a/"), "c");
    assert_eq!(route(Some("x"), "/a/"), "a");
    assert_eq!(route(None, "/a/"), "a");
    assert_eq!(route(Some("h"), "/x"), "b");
    assert_eq!(route(Some("x"), "/x"), "d");
    assert_eq!(route(None, ""), "d");
    let t = ServiceId::new(1);
    assert_eq!(pool_for(&config, t, None, b"*"), None);
    assert_eq!(pool_for(&config, t, None, b"/"), Some(id(&config, "a")));
    assert_eq!(pool_for(&config, ServiceId::new(2), None, b"/"), None);
}

#[test]
fn hosts() {
    for text in ["www.Example.org", "www.example.org."] {
        let config = good(&format!(
            "pool p\nservice s address 192.0.2.1:80\nroute service s host {text} pool p\n"
        ));
        let matches = |host: &str| pool_for(&config, S0, Some(host.as_bytes()), b"/").is_some();
        assert!(matches("www.example.org"));
        assert!(matches("WWW.EXAMPLE.ORG"));
        assert!(matches("www.example.org."));
        assert!(!matches("www.example.org.."));
        assert!(!matches("www.example.or"));
        assert!(!matches("example.org"));
        assert!(!matches("a.www.example.org"));
        assert!(!matches("."));
        assert!(!matches(""));
        assert!(pool_for(&config, S0, None, b"/").is_none());
    }
}

#[test]
fn paths() {
    let config =
        good("pool p\nservice s address 192.0.2.1:80\nroute service s path /a%2F pool p\n");
    let matches = |path: &[u8]| pool_for(&config, S0, Some(b"h"), path).is_some();
    assert!(matches(b"/a%2F"));
    assert!(matches(b"/a%2Fb"));
    assert!(matches(b"/a%2F?x"));
    assert!(matches(b"/a%2F\xff"));
    assert!(!matches(b"/a%2f"));
    assert!(!matches(b"/a/"));
    assert!(!matches(b"/A%2F"));
    assert!(!matches(b"/a%2"));
    assert!(!matches(b""));
}

#[test]
fn unknown_words() {
    let expected = "unknown word \"pol\" (expected pool or server or service or route)";
    assert_eq!(after("pol x"), expected);
    assert_eq!(
        after("server b pool p adress 192.0.2.2:80"),
        "unknown word \"adress\" (expected pool or address or weight or max)"
    );
    assert_eq!(
        after("service t protocol quic address 192.0.2.1:8"),
        "unknown word \"quic\" (expected http or tls)"
    );
    let policies: Vec<_> = policy::Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(
        after("pool x policy none"),
        format!("unknown word \"none\" (expected {})", policies.join(" or "))
    );
    assert_eq!(
        after("pool x polcy rr"),
        "unknown word \"polcy\" (expected policy or backup or queue or queue-timeout or \
         check-interval or down-after or up-after or slow-start with policy rr)"
    );
    assert_eq!(after("POOL x"), expected.replace("pol", "POOL"));
    assert!(complaint(b"\x1b\xff\"\0\r\n").starts_with(r#"line 1: unknown word "\x1b\xff\"\x00""#));
    assert!(after("pool\rx").starts_with(r#"unknown word "pool\rx""#));
    let long = "0123456789".repeat(10);
    assert!(after(&long).starts_with("unknown word \"01234567890123456789012345678901...\" "));
}

#[test]
fn missing_words() {
    assert_eq!(after("pool"), "the pool has no name");
    assert_eq!(after("server #"), "the server has no name");
    assert_eq!(after("service "), "the service has no name");
    assert_eq!(after("pool x policy"), "policy has no value");
    assert_eq!(
        after("service t address 192.0.2.1:8 pool #p"),
        "pool has no value"
    );
    assert_eq!(after("server b pool p"), "the server needs: address");
    assert_eq!(
        after("server b address 192.0.2.2:80"),
        "the server needs: pool"
    );
    assert_eq!(after("service t"), "the service needs: address");
    assert_eq!(after("route"), "the route needs: service");
    assert_eq!(after("route service s host h"), "the route needs: pool");
    assert_eq!(
        after("route service s pool p"),
        "the route needs a condition: host or path or path-exact or path-suffix or method or header \
         or cookie or query or client or alpn"
    );
}

#[test]
fn repeated_words() {
    assert_eq!(after("pool x policy rr policy rr"), "policy is given twice");
    assert_eq!(
        after("route service s path /a path /b pool p"),
        "path is given twice"
    );
}

#[test]
fn names() {
    let most = "aZ09._-x".repeat(4);
    assert_eq!(good(&format!("pool {most}")).pools().len(), 1);
    for bad in [
        format!("{most}a"),
        "a/b".into(),
        "a:".into(),
        "\u{e9}".into(),
    ] {
        for line in ["pool X", "server X", "service X"] {
            let shown = after(&line.replace('X', &bad));
            let tail = "is no name (1 to 32 letters, digits, dots, hyphens, underscores)";
            assert!(shown.ends_with(tail), "{shown}");
        }
    }
}

#[test]
fn duplicates() {
    assert_eq!(after("pool q"), "pool \"q\" is already defined");
    assert_eq!(
        after("service s address 192.0.2.9:80"),
        "service \"s\" is already defined"
    );
    assert_eq!(
        after("service t address 198.51.100.1:80"),
        "another service has address 198.51.100.1:80"
    );
    assert_eq!(
        after("server a pool p address 192.0.2.9:80"),
        "server \"a\" is already defined in this pool"
    );
    assert_eq!(
        after("server b pool p address 192.0.2.1:80"),
        "another server of this pool has address 192.0.2.1:80"
    );
    // Kinds and pools do not stand in each other's way, nor do letters of different case.
    good(
        "pool p\npool P\nserver p pool p address 192.0.2.1:80\n\
         server p pool P address 192.0.2.1:80\nserver P pool p address 192.0.2.1:81\n\
         service p address 192.0.2.1:80\n",
    );
}

#[test]
fn undefined_names() {
    assert_eq!(
        after("server b pool r address 192.0.2.2:80"),
        "unknown pool \"r\" (define it on an earlier line)"
    );
    assert_eq!(
        after("service t address 192.0.2.2:80 pool r"),
        "unknown pool \"r\" (define it on an earlier line)"
    );
    assert_eq!(
        after("route service s path / pool r"),
        "unknown pool \"r\" (define it on an earlier line)"
    );
    assert_eq!(
        after("route service p path / pool p"),
        "unknown service \"p\" (define it on an earlier line)"
    );
}

#[test]
fn addresses() {
    let of = |address: &str| {
        let server = after(&format!("server b pool p address {address}"));
        let service = after(&format!("service t address {address}"));
        assert_eq!(server, service);
        server
    };
    for bad in [
        "192.0.2.1",
        "192.0.2.1:",
        ":80",
        "192.0.2:80",
        "192.0.2.256:80",
        "192.0.2.01:80",
        "192.0.2.1:http",
        "192.0.2.1:+80",
        "2001:db8::1:80",
        "[2001:db8::1]",
        "[2001:db8::g]:80",
        "[192.0.2.1]:80",
        "[]:80",
        "[:80",
        "]:80",
        "localhost:80",
        "\u{e9}:80",
    ] {
        let tail = "is no address and port (expected 192.0.2.1:80 or [2001:db8::1]:80)";
        let shown = of(bad);
        assert!(shown.ends_with(tail), "{shown}");
    }
    for bad in [
        "0.0.0.0:80",
        "224.0.0.1:80",
        "239.255.255.255:80",
        "255.255.255.255:80",
    ] {
        let tail = "is of no use (unspecified, multicast or broadcast)";
        assert_eq!(of(bad), format!("address \"{bad}\" {tail}"));
    }
    for bad in ["[2001:db8::1]:80", "[::]:80", "[::ffff:192.0.2.1]:80"] {
        let tail = "IPv6 is not supported yet";
        assert_eq!(of(bad), format!("address \"{bad}\": {tail}"));
    }
    for bad in [
        "192.0.2.1:0",
        "192.0.2.1:65536",
        "192.0.2.1:99999999999999999999",
    ] {
        let tail = "is out of range (must be 1 to 65535)";
        assert_eq!(of(bad), format!("port of \"{bad}\" {tail}"));
    }
}

#[test]
fn values() {
    let server = |words: &str| after(&format!("server b pool p address 192.0.2.2:80 {words}"));
    let service = |words: &str| after(&format!("service t address 192.0.2.2:80 {words}"));
    for bad in ["x", "-1", "1k", "0x1", "+1", "1.5"] {
        let tail = format!("\"{bad}\" is no number");
        assert_eq!(server(&format!("weight {bad}")), format!("weight {tail}"));
    }
    for bad in ["65536", "4294967296", "18446744073709551617"] {
        let tail = format!("\"{bad}\" is out of range (must be 0 to 65535)");
        assert_eq!(server(&format!("weight {bad}")), format!("weight {tail}"));
    }
    for bad in ["k", "16K", "1kk", "1m"] {
        let tail = format!("\"{bad}\" is no number");
        let shown = service(&format!("head-limit {bad}"));
        assert_eq!(shown, format!("head-limit {tail}"));
    }
    for bad in ["0", "255", "32769", "33k", "4194304k", "4294967552"] {
        let tail = format!("\"{bad}\" is out of range (must be 256 to 32768)");
        let shown = service(&format!("head-limit {bad}"));
        assert_eq!(shown, format!("head-limit {tail}"));
    }
    for bad in ["0", "1000001"] {
        let tail = format!("\"{bad}\" is out of range (must be 1 to 1000000)");
        assert_eq!(
            service(&format!("clients {bad}")),
            format!("clients {tail}")
        );
    }
    for bad in ["10", "s", "1h", "1.5s", "1S", "1us"] {
        let shown = service(&format!("head-timeout {bad}"));
        let tail = "is no duration (a number and a unit: ms, s or m)";
        assert!(shown.ends_with(tail), "{shown}");
    }
    for bad in [
        "99ms",
        "0s",
        "3600001ms",
        "3601s",
        "61m",
        "71583m",
        "4294968s",
    ] {
        let tail = format!("\"{bad}\" is out of range (must be 100ms to 60m)");
        let shown = service(&format!("head-timeout {bad}"));
        assert_eq!(shown, format!("head-timeout {tail}"));
    }
}

#[test]
fn bad_hosts_and_paths() {
    let longest = format!("{}.", "a".repeat(253));
    good(&format!(
        "pool p\nservice s address 192.0.2.1:80\nroute service s host {longest} pool p"
    ));
    let long = "a".repeat(254);
    for bad in [
        ".", "a..b", ".a", "a..", "a:80", "*", "a/b", "[::1]", "\u{e9}", &long,
    ] {
        let shown = after(&format!("route service s host {bad} pool p"));
        assert!(shown.contains(" is no host ("), "{shown}");
    }
    for bad in ["a", "*", "/a?b", "/a#b", "/\u{e9}", "/\x7f", "http://a/"] {
        let shown = after(&format!("route service s path {bad} pool p"));
        assert!(shown.contains(" is no path ("), "{shown}");
    }
}

#[test]
fn bounds() {
    let comment = |len: usize| format!("#{}", "x".repeat(len - 1));
    good(&comment(4096));
    good(&format!("{}\r\n", comment(4096)));
    assert_eq!(
        complaint(format!("\n{}\n", comment(4097))),
        "line 2: the line is longer than 4096 octets"
    );
    let lines = format!("{}\n", comment(1023)).repeat(1024);
    assert_eq!(lines.len(), MAX_TEXT);
    good(&lines);
    good(&lines[..MAX_TEXT - 1]);
    let shown = "the text is longer than 1048576 octets";
    assert_eq!(complaint(format!("{lines}\n")), shown);
    assert_eq!(complaint(format!("{}x", &lines[1..])), shown);

    let mut pools = String::new();
    for n in 0..4096 {
        pools.push_str(&format!("pool {n}\n"));
    }
    assert_eq!(good(&pools).pools().len(), 4096);
    assert_eq!(
        complaint(format!("{pools}pool x")),
        "line 4097: more than 4096 pools"
    );
    let mut services = String::new();
    for n in 1..=1024 {
        services.push_str(&format!("service {n} address 192.0.2.1:{n}\n"));
    }
    assert_eq!(good(&services).services().len(), 1024);
    assert_eq!(
        complaint(format!("{services}service x address 192.0.2.2:1")),
        "line 1025: more than 1024 services"
    );
    // No text is long enough for so many servers or routes.
    for (most, kind) in [(MAX_SERVERS, Kind::Server), (MAX_ROUTES, Kind::Route)] {
        assert_eq!(next_id(most - 1, most, kind), Ok(65534));
        assert_eq!(next_id(most, most, kind), Err(Reason::TooMany(kind, 65535)));
    }
}

#[test]
fn a_foreign_name_is_harmless() {
    let config = good("pool pool-of-a-long-name");
    let name = config.pools()[0].name;
    assert_eq!(good("pool p").name(name), "");
    assert_eq!(Config::empty().name(name), "");
}

#[test]
fn errors_are_values() {
    let error = Config::parse(b"\nserver a pool web2 address 192.0.2.1:80").unwrap_err();
    assert_eq!(error.line, 2);
    assert_eq!(
        error.reason,
        Reason::Undefined(Kind::Pool, Word::new(b"web2"))
    );
    // Small enough for a kernel stack.
    assert!(std::mem::size_of::<Error>() <= 96);
}

#[test]
fn what_a_pool_says() {
    let pool = |words: &str| good(&format!("pool o\npool x {words}")).pools()[1];
    let default = pool("");
    assert_eq!(default.backup, None);
    assert_eq!((default.queue, default.queue_timeout_ms), (1024, 5000));
    assert_eq!(default.check_interval_ms, Some(250));
    assert_eq!((default.down_after_ms, default.up_after), (1000, 2));
    assert_eq!(default.slow_start_ms, 10_000);
    let pool = pool(
        "slow-start 0m up-after 100 down-after 10m check-interval 20ms queue-timeout 100ms \
         queue 0 backup o",
    );
    assert_eq!(pool.backup, Some(PoolId::new(0)));
    assert_eq!((pool.queue, pool.queue_timeout_ms), (0, 100));
    assert_eq!(pool.check_interval_ms, Some(20));
    assert_eq!((pool.down_after_ms, pool.up_after), (600_000, 100));
    assert_eq!(pool.slow_start_ms, 0);
    for (given, canonical) in [
        ("check-interval off", " check-interval off"),
        ("check-interval 60000ms", " check-interval 1m"),
        ("slow-start 0ms", " slow-start 0s"),
        ("queue 065536 backup o", " backup o queue 65536"),
        ("policy rr queue 1024 queue-timeout 5000ms check-interval 250ms down-after 1s up-after 02 slow-start 10s", ""),
    ] {
        let config = good(&format!("pool o\npool x {given}"));
        assert_eq!(config.to_string(), format!("pool o\npool x{canonical}\n"));
    }
    for (words, shown) in [
        (
            "backup x",
            "unknown pool \"x\" (define it on an earlier line)",
        ),
        ("backup q backup p", "backup is given twice"),
        ("queue", "queue has no value"),
        (
            "queue 65537",
            "queue \"65537\" is out of range (must be 0 to 65536)",
        ),
        (
            "queue-timeout 99ms",
            "queue-timeout \"99ms\" is out of range (must be 100ms to 10m)",
        ),
        (
            "check-interval 19ms",
            "check-interval \"19ms\" is out of range (must be 20ms to 1m)",
        ),
        (
            "down-after off",
            "down-after \"off\" is no duration (a number and a unit: ms, s or m)",
        ),
        (
            "up-after 0",
            "up-after \"0\" is out of range (must be 1 to 100)",
        ),
        (
            "slow-start 61m",
            "slow-start \"61m\" is out of range (must be 0s to 60m)",
        ),
    ] {
        assert_eq!(after(&format!("pool x {words}")), shown);
    }
}

#[test]
fn every_policy_can_be_named_with_its_options() {
    for kind in policy::Kind::ALL {
        assert!(kind.options().len() <= parser::MAX_POLICY_OPTIONS);
        let mut line = format!("pool x policy {}", kind.name());
        let mut given = Vec::new();
        for choice in kind.options() {
            assert!(!parser::POOL_KEYS.contains(&choice.name), "{}", choice.name);
            let value = match choice.value {
                Value::Number(_, most) => most.to_string(),
                Value::Duration(least, _) => format!("{least}ms"),
                Value::Key => "cookie:id".into(),
                Value::Token => "id".into(),
                Value::Policy => {
                    let mut others = policy::Kind::ALL.iter().filter(|other| *other != kind);
                    others.next().unwrap().name().into()
                }
            };
            given.push((choice.name, value));
        }
        // In the other order, which makes no difference.
        for (name, value) in given.iter().rev() {
            line += &format!(" {name} {value}");
        }
        let config = good(&format!("pool before\n{line}\npool behind"));
        let x = PoolId::new(1);
        assert_eq!(config.pool(x).unwrap().policy, *kind);
        for (name, value) in &given {
            assert_eq!(config.pool_option(x, name), Some(value.as_str()));
            assert_eq!(config.pool_option(PoolId::new(0), name), None);
        }
        let again = good(&config.to_string());
        assert_eq!(again.to_string(), config.to_string());
        assert_eq!(config.pool_option(x, "none"), None);
    }
}

#[test]
fn values_of_policy_options() {
    let own = policy::Kind::RoundRobin;
    let of = |value, word: &str| {
        check("opt", value, own, word.as_bytes()).map_err(|reason| reason.to_string())
    };
    let number = Value::Number(2, 70_000);
    assert_eq!(of(number, "2"), Ok(()));
    assert_eq!(of(number, "70000"), Ok(()));
    let shown = "opt \"70001\" is out of range (must be 2 to 70000)";
    assert_eq!(of(number, "70001").unwrap_err(), shown);
    assert_eq!(of(number, "x").unwrap_err(), "opt \"x\" is no number");
    let time = Value::Duration(1500, 60_000);
    assert_eq!(of(time, "1m"), Ok(()));
    let shown = "opt \"1s\" is out of range (must be 1500ms to 1m)";
    assert_eq!(of(time, "1s").unwrap_err(), shown);
    for good in ["client", "host", "path", "uri", "header:X-A", "cookie:a"] {
        assert_eq!(of(Value::Key, good), Ok(()));
    }
    for bad in [
        "Client",
        "header",
        "header:",
        "cookie:a=b",
        "query:a",
        "cookie:\u{e9}",
    ] {
        let shown = of(Value::Key, bad).unwrap_err();
        assert!(
            shown.contains("is no key (expected client or host"),
            "{shown}"
        );
    }
    assert_eq!(of(Value::Token, "a-b!"), Ok(()));
    for bad in ["a=b", "a;b", "a\"b"] {
        let shown = of(Value::Token, bad).unwrap_err();
        assert!(shown.contains("is no token ("), "{shown}");
    }
    for kind in policy::Kind::ALL {
        assert_eq!(of(Value::Policy, kind.name()).is_ok(), *kind != own);
    }
    let shown = of(Value::Policy, "rr").unwrap_err();
    assert!(shown.starts_with("opt \"rr\" is bad (expected "), "{shown}");
}

#[test]
fn servers_of_a_pool_have_bounds() {
    let config = good("pool p\nserver a pool p address 192.0.2.1:80 max 1000000");
    assert_eq!(config.servers()[0].max, Some(1_000_000));
    assert!(config.to_string().ends_with(" max 1000000\n"));
    for bad in ["0", "1000001"] {
        let tail = "is out of range (must be 1 to 1000000)";
        let shown = after(&format!("server b pool p address 192.0.2.2:80 max {bad}"));
        assert_eq!(shown, format!("max \"{bad}\" {tail}"));
    }
    let mut text = String::from("pool p\npool q\n");
    for n in 0..policy::MAX_MEMBERS {
        let address = format!("10.0.{}.{}:80", n / 256, n % 256);
        text += &format!("server {n} pool p address {address}\n");
    }
    text += "server a pool q address 192.0.2.1:80\n";
    assert_eq!(good(&text).servers().len(), policy::MAX_MEMBERS + 1);
    text += "server a pool p address 192.0.2.1:80\n";
    let tail = "more than 4096 servers in this pool";
    assert_eq!(complaint(&text), format!("line 4100: {tail}"));
}

#[test]
fn services_for_tls_and_http2() {
    let config = good(
        "pool p\npool q\nservice s address 192.0.2.1:80 h2 q pool p protocol http\n\
         service t address 192.0.2.1:443 head-limit 4k protocol tls pool p\n\
         route service t client 10.0.0.0/8 alpn h2 host a pool q\n",
    );
    let [s, t] = config.services() else { panic!() };
    assert_eq!(
        (s.protocol, s.h2_pool),
        (Protocol::Http, Some(PoolId::new(1)))
    );
    assert_eq!((t.protocol, t.h2_pool), (Protocol::Tls, None));
    assert_eq!(
        config.to_string(),
        "pool p\npool q\nservice s address 192.0.2.1:80 pool p h2 q\n\
         service t address 192.0.2.1:443 protocol tls pool p head-limit 4k\n\
         route service t host a client 10.0.0.0/8 alpn h2 pool q\n"
    );
    assert_eq!(
        after("service t address 192.0.2.1:8 protocol tls h2 p"),
        "h2 cannot be used with protocol tls of the service"
    );
    assert_eq!(
        after("route service s alpn h2 pool p"),
        "alpn cannot be used with protocol http of the service"
    );
    for (key, value) in [
        ("path", "/"),
        ("path-exact", "/"),
        ("path-suffix", "a"),
        ("method", "GET"),
        ("header", "a"),
        ("cookie", "a"),
        ("query", "a"),
    ] {
        let shown = complaint(format!(
            "pool p\nservice t protocol tls address 192.0.2.1:443\n\
             route service t host a {key} {value} pool p"
        ));
        assert_eq!(
            shown,
            format!("line 3: {key} cannot be used with protocol tls of the service")
        );
    }
}

#[test]
fn conditions() {
    let start = "pool p\nservice s address 192.0.2.1:80\nroute service s ";
    for (given, canonical) in [
        ("host *.A.example.", "host *.a.example"),
        (
            "header X-A=b=C header D= header e",
            "header x-a=b=C header d= header e",
        ),
        ("cookie A=\"b\" cookie a", "cookie A=\"b\" cookie a"),
        ("query a[]=1 query b", "query a[]=1 query b"),
        ("method GET,get,M-SEARCH", "method GET,get,M-SEARCH"),
        ("client 10.255.255.255/8", "client 10.0.0.0/8"),
        ("client 10.1.2.3/032", "client 10.1.2.3"),
        ("client 10.1.2.3/0", "client 0.0.0.0/0"),
        (
            "path-suffix .JPG path-exact /b path /a",
            "path /a path-exact /b path-suffix .JPG",
        ),
    ] {
        let config = good(&format!("{start}{given} pool p"));
        assert_eq!(config.to_string(), format!("{start}{canonical} pool p\n"));
        let route = config.routes()[0];
        let words = canonical.split(' ').count();
        assert_eq!(config.conditions(&route).len(), words / 2);
    }
    let eight = "header a ".repeat(8);
    good(&format!("{start}{eight}pool p"));
    let of = |condition: &str| after(&format!("route service s {condition} pool p"));
    assert_eq!(
        of(&format!("host a {eight}")),
        "the route has more than 8 conditions"
    );
    for twice in [
        "host a host *.b",
        "method A method B",
        "client 10.0.0.1 client 10.0.0.2",
    ] {
        assert!(of(twice).ends_with(" is given twice"));
    }
    let longest = format!("*.{}.", "a".repeat(251));
    good(&format!("{start}host {longest} pool p"));
    for bad in [
        "*",
        "*.",
        "*.*.a",
        "a.*",
        "*a.b",
        &format!("*.{}", "a".repeat(252)),
    ] {
        let shown = of(&format!("host {bad}"));
        assert!(shown.contains(" is no host ("), "{shown}");
    }
    for (condition, shown) in [
        (
            "path-exact a",
            "\"a\" is no path (must begin with /, without ? and #, non-ASCII only as %XX)",
        ),
        (
            "path-suffix a?",
            "\"a?\" is no end of a path (without ? and #, non-ASCII only as %XX)",
        ),
        (
            "method GET,",
            "\"GET,\" is no method (expected GET or GET,HEAD)",
        ),
        (
            "method G/",
            "\"G/\" is no method (expected GET or GET,HEAD)",
        ),
        (
            "header =a",
            "header \"=a\" is bad (expected NAME or NAME=VALUE, in ASCII)",
        ),
        (
            "header a:b",
            "header \"a:b\" is bad (expected NAME or NAME=VALUE, in ASCII)",
        ),
        (
            "cookie a=b;",
            "cookie \"a=b;\" is bad (expected NAME or NAME=VALUE, in ASCII)",
        ),
        (
            "query a&b",
            "query \"a&b\" is bad (expected NAME or NAME=VALUE, in ASCII)",
        ),
        (
            "query a=b#",
            "query \"a=b#\" is bad (expected NAME or NAME=VALUE, in ASCII)",
        ),
        (
            "client 10.0.0",
            "\"10.0.0\" is no network (expected 192.0.2.1 or 192.0.2.0/24)",
        ),
        (
            "client 10.0.0.0/33",
            "\"10.0.0.0/33\" is no network (expected 192.0.2.1 or 192.0.2.0/24)",
        ),
        (
            "client 10.0.0.0/",
            "\"10.0.0.0/\" is no network (expected 192.0.2.1 or 192.0.2.0/24)",
        ),
        (
            "client 2001:db8::/32",
            "address \"2001:db8::/32\": IPv6 is not supported yet",
        ),
        (
            "header \u{e9}",
            "header \"\\xc3\\xa9\" is bad (expected NAME or NAME=VALUE, in ASCII)",
        ),
    ] {
        assert_eq!(of(condition), shown);
    }
    let tls = |alpn: &str| {
        Config::parse(
            format!(
                "pool p\nservice t protocol tls address 192.0.2.1:443\n\
                 route service t alpn {alpn} pool p"
            )
            .as_bytes(),
        )
        .map_err(|e| e.to_string())
    };
    assert!(tls(&"a".repeat(255)).is_ok());
    assert!(tls(&"a".repeat(256))
        .unwrap_err()
        .ends_with(" is no protocol (expected h2, for one)"));
}

#[test]
fn classes_are_numbered_as_the_canonical_form_has_them() {
    let text = "pool p\nservice s address 192.0.2.1:80\nservice t address 192.0.2.1:81\n\
        route service t path / class second pool p\n\
        route service s path /a class first pool p\n\
        route service s path /b pool p\n\
        route service s path /c class second pool p\n";
    for config in [good(text), good(&good(text).to_string())] {
        let classes: Vec<_> = config.routes().iter().map(|r| r.target.class).collect();
        assert_eq!(classes, [1, 0, 2, 2]);
        assert_eq!(config.class_name(1), Some("first"));
        assert_eq!(config.class_name(2), Some("second"));
        assert_eq!(config.class_name(0), None);
        assert_eq!(config.class_name(3), None);
    }
    assert!(after("route service s path / class a/b pool p").contains("\"a/b\" is no name ("));
    let mut text = String::from("pool p\nservice s address 192.0.2.1:80\n");
    for n in 0..255 {
        text += &format!("route service s path /{n} class {n} pool p\n");
    }
    let all = format!("{text}route service s path /a class 7 pool p\n");
    assert_eq!(good(&all).class_name(255), Some("254"));
    let shown = complaint(format!("{text}route service s path /a class a pool p"));
    assert_eq!(shown, "line 258: more than 255 classes");
}

#[test]
fn what_counts_beside_an_encrypted_name() {
    let ech = |service: &str| {
        let text = std::format!("service s address 192.0.2.1:443 {service}\n");
        Config::parse(text.as_bytes()).map(|config| {
            let again = std::format!("{config}");
            assert_eq!(again.contains("ech"), config.services()[0].ech_outer);
            config.services()[0].ech_outer
        })
    };
    assert!(!ech("protocol tls").unwrap());
    assert!(!ech("protocol tls ech default").unwrap());
    assert!(ech("ech outer protocol tls").unwrap());
    assert!(ech("protocol tls ech inner").is_err());
    assert!(ech("protocol http ech outer").is_err());
}
