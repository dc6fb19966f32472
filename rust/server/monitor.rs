// SPDX-License-Identifier: GPL-2.0

//! The server's side of the load monitor: how it is, for every switch that asks.

use core::net::Ipv4Addr;

use kernel::sync::atomic::Relaxed;
use thop_core::wire::{
    Load,
    Monitor,
    Ping, //
};
use thop_kernel::{
    instance::{
        Packet,
        Verdict, //
    },
    load,
    messages::ipv4,
};

use crate::{
    counters::Counter,
    server::Server, //
};

impl Server {
    /// A message of the load monitor. Softirq.
    pub(crate) fn on_monitor<'a>(
        &self,
        packet: Packet<'a>,
        message: &Monitor,
        from: Ipv4Addr,
        to: Ipv4Addr,
    ) -> Verdict<'a> {
        match message {
            // The answer comes from where the switch expects it.
            Monitor::Ping(ping) if ipv4(ping.server.ip) == Some(to) => {
                self.count(Counter::Pings);
                let load = Monitor::Load(self.load(&packet, ping, from));
                let sent = self.channel.send_monitor(&load, to, from);
                if sent.is_err() {
                    self.count(Counter::SendErrors);
                }
                packet.consume()
            }
            // To another address; the channel does not give LOAD, which is for the other side.
            Monitor::Ping(_) | Monitor::Load(_) => {
                self.count(Counter::Foreign);
                packet.drop()
            }
        }
    }

    /// How this server is, for the switch that asks.
    fn load(&self, packet: &Packet<'_>, ping: &Ping, switch: Ipv4Addr) -> Load {
        let queue = load::accept_queue(packet, switch, &ping.server);
        Load {
            ping: *ping,
            boot: self.boot,
            drops: self.drops.load(Relaxed),
            connections: self.live.at(&ping.server),
            queue: queue.map_or(0, |queue| queue.waiting),
            queue_limit: queue.map_or(0, |queue| queue.limit),
            cpu: self.cpu.busy(),
            listening: queue.is_some(),
            clock_ms: self.clock_ms(),
        }
    }
}
