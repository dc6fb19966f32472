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
        "pool p\nservice s head-timeout 60m pool p head-limit 256 address 192.0.2.1:1\n\
         service t head-timeout 100ms head-limit 32k address 192.0.2.1:2\n",
    );
    let [s, t] = config.services() else { panic!() };
    assert_eq!((s.head_timeout_ms, s.head_limit), (3_600_000, 256));
    assert_eq!((t.head_timeout_ms, t.head_limit), (100, 32768));
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
         service u address 198.51.100.1:82 head-limit 1000 head-timeout 90s\n\
         service v address 198.51.100.1:83 head-timeout 1500ms\n\
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
        service v address 198.51.100.1:83 head-timeout 1500ms\n";
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
fn what_counts_beside_an_encrypted_name() {
    let ech = |service: &str| {
        let text = std::format!("service s address 192.0.2.1:443 {service}\n");
        Config::parse(text.as_bytes()).map(|config| {
            let again = std::format!("{config}");
            assert_eq!(again.contains("ech"), config.services()[0].ech_outer);
            config.services()[0].ech_outer
        })
    };
    assert_eq!(ech("protocol tls").unwrap(), false);
    assert_eq!(ech("protocol tls ech default").unwrap(), false);
    assert_eq!(ech("ech outer protocol tls").unwrap(), true);
    assert!(ech("protocol tls ech inner").is_err());
    assert!(ech("protocol http ech outer").is_err());
}
