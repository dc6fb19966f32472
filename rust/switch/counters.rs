// SPDX-License-Identifier: GPL-2.0

//! What is counted at the switch.

thop_kernel::counted_events! {
    /// A request head was read to its end.
    Requests = "requests",
    /// A client began with the preface of HTTP/2.
    Prefaces = "http2_prefaces",
    /// A ClientHello was read to its end.
    Hellos = "tls_hellos",
    /// A segment was forwarded that begins like a request: a later one on its connection.
    LaterRequests = "later_requests",
    /// A request waited for a server to have room.
    Queued = "queued",
    /// A request was refused because too many waited.
    QueueFull = "queue_full",
    /// A request was refused because it had waited for too long.
    QueueTimeouts = "queue_timeouts",
    /// A connection was closed by its client before it had sent anything.
    Silent = "closed_without_request",
    /// A handoff was begun.
    Handoffs = "handoffs",
    /// A handoff was begun of a request in its connection's first segment, without a socket.
    FirstSegments = "handoffs_first_segment",
    /// A segment was dropped of a connection whose first octets had not come yet, nearly always one that only
    /// ends the handshake.
    Early = "early_segments",
    /// A first segment was given to the stack after all, as no server has taken its request.
    GivenBack = "first_segments_given_back",
    /// The kernel made something else of a SYN cookie than the switch would have.
    CookiesDiffer = "cookies_differ",
    /// A CREATE was sent, repetitions and moves included.
    CreatesSent = "creates_sent",
    /// CREATED came for a handoff that waited for it.
    Created = "created",
    /// A server got CREATE after its deadline, or before its clock was known here, and said so (LATE).
    CreatesOverdue = "creates_overdue",
    /// CREATED came again.
    CreatedAgain = "created_again",
    /// The client acknowledged what only the server can have sent, before CREATED came.
    Proven = "proven_by_client",
    /// A server was asked whether it has a connection, as nobody but the client had said so for a second.
    Questions = "questions",
    /// A server has nothing of a connection that only its client has said it had.
    Disproved = "disproved",
    /// A connection left the table while its server had it, which was told to end it.
    Leavings = "connections_told_to_end",
    /// A request went to another server after the first had refused or been silent.
    Moved = "moved",
    /// A server did not answer CREATE.
    Unanswered = "unanswered",
    /// A client was asked whether it had heard the server that was silent.
    Probes = "client_probes",
    /// A client answered no probe.
    ClientsLost = "clients_lost",
    /// 400 was answered.
    Answered400 = "answered_400",
    /// 408 was answered.
    Answered408 = "answered_408",
    /// 431 was answered.
    Answered431 = "answered_431",
    /// 503 was answered: no server could take the request.
    Answered503 = "answered_503",
    /// 504 was answered: a server was silent, and the request must not be repeated.
    Answered504 = "answered_504",
    /// 505 was answered.
    Answered505 = "answered_505",
    /// A client had to go as too many others came while its head was not complete.
    CrowdedOut = "crowded_out",
    /// A TLS client was too slow to send its ClientHello.
    HelloTimeouts = "hello_timeouts",
    /// A TLS alert was sent.
    AnsweredAlert = "answered_alert",
    /// An HTTP/2 connection was refused.
    AnsweredGoaway = "answered_goaway",
    /// A segment was forwarded to its server.
    Forwarded = "forwarded",
    /// A segment was forwarded in fragments.
    Fragmented = "forwarded_in_fragments",
    /// A segment was held while its connection was handed over.
    Held = "held",
    /// A held segment was forwarded.
    Flushed = "flushed",
    /// A segment was dropped because too many were held.
    HoldFull = "drop_hold_full",
    /// A segment was dropped because those that were held took too much memory.
    HoldOctets = "drop_hold_octets",
    /// A SYN was dropped while its connection was handed over.
    SynInHandoff = "drop_syn_in_handoff",
    /// A segment was dropped for want of a route.
    NoRoute = "drop_no_route",
    /// A segment was dropped because its TTL had run out.
    TtlExceeded = "drop_ttl",
    /// A segment was dropped because it was too long for the route, and its sender told.
    TooBig = "drop_too_big",
    /// A segment was dropped because an IPsec policy forbids to take or to send it.
    Policy = "drop_policy",
    /// A segment was dropped because of the options in its IP header.
    IpOptions = "drop_ip_options",
    /// A segment was dropped because its device had merged it of several (LRO).
    Lro = "drop_lro",
    /// A segment was dropped for want of memory.
    NoMemory = "drop_no_memory",
    /// A segment was ignored whose addresses are those of a connection, as it had not come to this machine, or by a VRF.
    Ignored = "ignored_segments",
    /// A SYN was dropped as it came by a VRF.
    Vrf = "drop_syn_vrf",
    /// A SYN met a closed element: the port is used again.
    Reused = "port_reused",
    /// A FIN or RST of a client marked an element closed.
    Closed = "closed",
    /// NOTIFYCLS came.
    CloseNotices = "close_notices",
    /// An element was removed by age.
    Expired = "expired",
    /// PING was sent.
    Pings = "pings",
    /// LOAD came.
    Loads = "loads",
    /// A server began anew, and lost what it had.
    Restarts = "server_restarts",
    /// A connection was removed because its server had lost it.
    Purged = "purged",
    /// A request was refused because the table was full.
    TableFull = "table_full",
    /// A request was longer than a CREATE can carry.
    RequestTooLong = "request_too_long",
    /// An EPOCH came: a peer did not believe a message, as it has begun a new epoch since.
    Epochs = "epochs",
    /// A message was about a handoff that is not known, or from the wrong server.
    Foreign = "foreign_messages",
    /// A message could not be sent.
    SendErrors = "send_errors",
    /// A configuration was accepted.
    Configured = "configurations",
    /// A configuration was rejected.
    Misconfigured = "configurations_rejected",
}

impl Counter {
    /// The counter of an error response.
    pub(crate) const fn answered(status: u16) -> Self {
        match status {
            400 => Self::Answered400,
            408 => Self::Answered408,
            431 => Self::Answered431,
            504 => Self::Answered504,
            505 => Self::Answered505,
            _ => Self::Answered503,
        }
    }
}
