// SPDX-License-Identifier: GPL-2.0

//! A switch with its listeners, and how a configuration becomes the running one.

use core::fmt::Write;

use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        rcu,
        Arc,
        Mutex, //
    },
};
use thop_core::{
    addr::Endpoint,
    config::{
        self,
        Config, //
    },
};
use thop_kernel::{
    gate,
    instance::{
        File,
        Instance,
        Namespace,
        Packet,
        Slot,
        Softirq,
        Verdict,
        Worker, //
    },
    listener::Listener,
    memory,
    table::Cache, //
};

use crate::{
    cluster::Change,
    counters::Counter,
    dispatcher::{
        listen_address,
        Service, //
    },
    handoff::Connection,
    report,
    switch::{
        Parameters,
        Switch, //
    },
};

/// How many octets a client may send before it has been handed over. The window scale is chosen for
/// large transfers all the same.
const FIRST_WINDOW: u32 = 48 * 1024;

/// What all instances share.
pub(crate) struct Shared {
    parameters: Arc<Parameters>,
    connections: Arc<Cache<Connection>>,
    gate: gate::Shared,
}

impl Shared {
    pub(crate) fn new(parameters: Parameters) -> Result<Self> {
        let gate = gate::Shared::new(
            parameters.insecure,
            parameters.peers,
            c"thop_switch_sender",
            c"thop_switch_receiver",
        )?;
        Ok(Self {
            gate,
            parameters: Arc::new(parameters, memory::may_sleep())?,
            connections: Arc::new(Cache::new(c"thop_switch_connection")?, memory::may_sleep())?,
        })
    }
}

/// Why the last configuration was rejected.
pub(crate) enum Rejected {
    Not,
    Text(config::Error),
    /// There is no key, and so no server would believe a handoff.
    NoKey,
    /// It is well formed, but cannot run: the service, and the kernel's error.
    Listen(Endpoint, Error),
    Other(Error),
}

/// The switch of one network namespace.
#[pin_data]
pub(crate) struct Node {
    namespace: Namespace<'static>,
    pub(crate) switch: Arc<Switch>,
    /// Also serialises changes of the configuration.
    #[pin]
    listeners: Mutex<KVVec<(Endpoint, Listener<Service>)>>,
    #[pin]
    pub(crate) rejected: Mutex<Rejected>,
}

impl Node {
    /// Makes a text the running configuration, or changes nothing. Process context.
    pub(crate) fn configure(&self, text: &[u8]) -> Result {
        let result = self.try_configure(text);
        let counter = match result {
            Ok(()) => Counter::Configured,
            Err(_) => Counter::Misconfigured,
        };
        self.switch.count(counter);
        let error = match &result {
            Ok(()) => Ok(()),
            Err(Rejected::Listen(_, error) | Rejected::Other(error)) => Err(*error),
            Err(Rejected::NoKey) => Err(EPERM),
            Err(_) => Err(EINVAL),
        };
        *self.rejected.lock() = result.err().unwrap_or(Rejected::Not);
        error
    }

    fn try_configure(&self, text: &[u8]) -> Result<(), Rejected> {
        let config = Config::parse(text).map_err(Rejected::Text)?;
        let other = Rejected::Other;
        // Services can always be taken away.
        if !config.services().is_empty() && !self.switch.channel.gate.is_open() {
            return Err(Rejected::NoKey);
        }
        if !config.services().is_empty() {
            self.switch.table.prepare().map_err(other)?;
            if self.switch.parameters.first_segment {
                self.switch.handshakes.prepare().map_err(other)?;
            }
        }
        let no_memory = |_| Rejected::Other(ENOMEM);

        let mut listeners = self.listeners.lock();
        // New listeners first: an address that is taken must change nothing.
        let mut new = KVVec::new();
        for service in config.services() {
            let endpoint = service.endpoint;
            if listeners.iter().any(|(known, _)| *known == endpoint) {
                continue;
            }
            let listen = |error| Rejected::Listen(endpoint, error);
            let address = listen_address(&endpoint).map_err(listen)?;
            let dispatcher = Service {
                switch: self.switch.clone(),
                endpoint,
            };
            let first = self.switch.parameters.first_segment;
            let listener = Listener::new(self.namespace, address, FIRST_WINDOW, first, dispatcher)
                .map_err(listen)?;
            new.push((endpoint, listener), memory::may_sleep())
                .map_err(no_memory)?;
        }
        listeners
            .reserve(new.len(), memory::may_sleep())
            .map_err(no_memory)?;
        let mut gone =
            KVVec::with_capacity(listeners.len(), memory::may_sleep()).map_err(no_memory)?;
        let current = self.switch.cluster.write();
        let change = Change::prepare(config, &current, || self.switch.new_server());
        // Nothing fails from here on: there is room for all that moves.
        let retired = change.map_err(other)?.commit(current);
        {
            let guard = rcu::read_lock();
            let cluster = self.switch.cluster.read(&guard);
            let mut at = 0;
            while let Some((endpoint, _)) = listeners.get(at) {
                if cluster.service(endpoint).is_some() {
                    at += 1;
                } else if let Ok(listener) = listeners.remove(at) {
                    let _ = gone.push_within_capacity(listener);
                }
            }
        }
        for listener in new {
            let _ = listeners.push_within_capacity(listener);
        }
        drop(listeners);
        // New servers are asked at once.
        self.switch.monitor_in(0);
        // These wait for readers.
        drop(retired);
        drop(gone);
        Ok(())
    }
}

impl Instance for Node {
    const NAME: &'static CStr = c"thop_switch";
    // What it forwards to a server in this namespace comes in again, and is for that server's module then.
    const PRIORITY: i32 = i32::MIN;
    type Shared = Shared;

    fn slot() -> &'static Slot<Self> {
        &crate::INSTANCES
    }

    fn new(namespace: Namespace<'static>, shared: &Shared) -> Result<impl PinInit<Self, Error>> {
        let switch = Switch::new(
            namespace,
            shared.parameters.clone(),
            shared.connections.clone(),
            &shared.gate,
        )?;
        Ok(try_pin_init!(Self {
            namespace,
            switch,
            listeners <- new_mutex!(KVVec::new()),
            rejected <- new_mutex!(Rejected::Not),
        }? Error))
    }

    fn files() -> &'static [File<Self>] {
        report::FILES
    }

    fn worker(&self) -> &Worker {
        &self.switch.worker
    }

    fn work(&self) -> Option<u32> {
        self.switch.work()
    }

    #[inline]
    fn pre_routing<'a>(&self, packet: Packet<'a>, softirq: Softirq<'a>) -> Verdict<'a> {
        self.switch.pre_routing(packet, softirq)
    }

    fn elsewhere<'a>(&self, packet: Packet<'a>) -> Verdict<'a> {
        self.switch.elsewhere(packet)
    }

    fn local_in<'a>(&self, packet: Packet<'a>) -> Verdict<'a> {
        self.switch.local_in(packet)
    }

    fn is_used(&self) -> bool {
        self.switch.table.is_prepared()
    }

    fn stop(&self) {
        let listeners = core::mem::take(&mut *self.listeners.lock());
        drop(listeners);
        self.switch.stop();
    }
}

impl Rejected {
    /// Prints the reason on a line of its own; nothing when there is none.
    pub(crate) fn write(&self, out: &mut dyn Write) -> core::fmt::Result {
        match self {
            Self::Not => Ok(()),
            Self::Text(error) => writeln!(out, "{error}"),
            Self::NoKey => writeln!(
                out,
                "no key: write one to /proc/net/thop_switch/auth, or load the module with insecure=1"
            ),
            Self::Listen(endpoint, error) => writeln!(
                out,
                "cannot listen on {endpoint}: error {}",
                error.to_errno()
            ),
            Self::Other(error) => writeln!(out, "error {}", error.to_errno()),
        }
    }
}
