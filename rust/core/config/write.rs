// SPDX-License-Identifier: GPL-2.0

//! The canonical form of a configuration.

use core::fmt;

use super::{error::Time, parser, Config, Pool, PoolId, Protocol, Server, Service, ServiceId};
use crate::{heap::Heap, rules::Condition};

impl<H: Heap> Config<H> {
    /// Writes the canonical form, as described [above](super).
    pub fn write(&self, out: &mut dyn fmt::Write) -> fmt::Result {
        for (pool, id) in self.pools.iter().zip(0..) {
            self.write_pool(pool, out)?;
            for (_, server) in self.pool_servers(PoolId(id)) {
                self.write_server(server, out)?;
            }
        }
        for (service, id) in self.services.iter().zip(0..) {
            self.write_service(service, out)?;
            for route in self.service_routes(ServiceId(id)) {
                write!(out, "route service {}", self.name(service.name))?;
                for condition in self.conditions(route) {
                    self.write_condition(condition, out)?;
                }
                if let Some(class) = self.class_name(route.target.class) {
                    write!(out, " class {class}")?;
                }
                writeln!(out, " pool {}", self.pool_name(route.target.pool))?;
            }
        }
        Ok(())
    }

    fn write_pool(&self, pool: &Pool, out: &mut dyn fmt::Write) -> fmt::Result {
        let default = Pool {
            name: pool.name,
            ..parser::DEFAULT_POOL
        };
        write!(out, "pool {}", self.name(pool.name))?;
        if pool.policy != default.policy {
            write!(out, " policy {}", pool.policy.name())?;
        }
        for option in pool.options.of(&self.pool_options) {
            write!(out, " {} {}", option.key, self.name(option.value))?;
        }
        if let Some(backup) = pool.backup {
            write!(out, " backup {}", self.pool_name(backup))?;
        }
        if pool.queue != default.queue {
            write!(out, " queue {}", pool.queue)?;
        }
        if pool.queue_timeout_ms != default.queue_timeout_ms {
            write!(out, " queue-timeout {}", Time(pool.queue_timeout_ms))?;
        }
        if pool.check_interval_ms != default.check_interval_ms {
            match pool.check_interval_ms {
                Some(ms) => write!(out, " check-interval {}", Time(ms))?,
                None => write!(out, " check-interval off")?,
            }
        }
        if pool.down_after_ms != default.down_after_ms {
            write!(out, " down-after {}", Time(pool.down_after_ms))?;
        }
        if pool.up_after != default.up_after {
            write!(out, " up-after {}", pool.up_after)?;
        }
        if pool.slow_start_ms != default.slow_start_ms {
            write!(out, " slow-start {}", Time(pool.slow_start_ms))?;
        }
        writeln!(out)
    }

    fn write_server(&self, server: &Server, out: &mut dyn fmt::Write) -> fmt::Result {
        let name = self.name(server.name);
        let pool = self.pool_name(server.pool);
        write!(out, "server {name} pool {pool} address {}", server.endpoint)?;
        if server.weight != parser::DEFAULT_WEIGHT {
            write!(out, " weight {}", server.weight)?;
        }
        if let Some(max) = server.max {
            write!(out, " max {max}")?;
        }
        writeln!(out)
    }

    fn write_service(&self, service: &Service, out: &mut dyn fmt::Write) -> fmt::Result {
        let name = self.name(service.name);
        write!(out, "service {name} address {}", service.endpoint)?;
        if service.protocol != Protocol::default() {
            write!(out, " protocol {}", service.protocol.name())?;
        }
        if let Some(pool) = service.default_pool {
            write!(out, " pool {}", self.pool_name(pool))?;
        }
        if let Some(pool) = service.h2_pool {
            write!(out, " h2 {}", self.pool_name(pool))?;
        }
        if service.ech_outer {
            write!(out, " ech outer")?;
        }
        match service.head_limit {
            super::DEFAULT_HEAD_LIMIT => {}
            n if n % 1024 == 0 => write!(out, " head-limit {}k", n / 1024)?,
            n => write!(out, " head-limit {n}")?,
        }
        if service.head_timeout_ms != super::DEFAULT_HEAD_TIMEOUT_MS {
            write!(out, " head-timeout {}", Time(service.head_timeout_ms))?;
        }
        if service.clients != super::DEFAULT_CLIENTS {
            write!(out, " clients {}", service.clients)?;
        }
        writeln!(out)
    }

    fn write_condition(&self, condition: &Condition, out: &mut dyn fmt::Write) -> fmt::Result {
        let (key, name, value) = match *condition {
            Condition::Host(name) => ("host ", name, None),
            // Its text begins with the dot.
            Condition::Domain(name) => ("host *", name, None),
            Condition::Path(name) => ("path ", name, None),
            Condition::PathExact(name) => ("path-exact ", name, None),
            Condition::PathSuffix(name) => ("path-suffix ", name, None),
            Condition::Method(name) => ("method ", name, None),
            Condition::Header(name, value) => ("header ", name, value),
            Condition::Cookie(name, value) => ("cookie ", name, value),
            Condition::Query(name, value) => ("query ", name, value),
            Condition::Client(network) => return write!(out, " client {network}"),
            Condition::Alpn(name) => ("alpn ", name, None),
        };
        write!(out, " {key}{}", self.name(name))?;
        match value {
            Some(value) => write!(out, "={}", self.name(value)),
            None => Ok(()),
        }
    }

    fn pool_name(&self, id: PoolId) -> &str {
        self.pool(id).map_or("", |pool| self.name(pool.name))
    }
}
