// SPDX-License-Identifier: GPL-2.0

//! What is counted at the server.

thop_kernel::counted_events! {
    /// A CREATE came.
    Creates = "creates",
    /// A CREATE came again for a handoff that is known.
    CreatesAgain = "creates_again",
    /// A CREATE came after a later one for the same client port.
    CreatesLate = "creates_late",
    /// A CREATE came after its deadline, or from a switch that did not know our clock.
    CreatesOverdue = "creates_overdue",
    /// A socket was put into an accept queue.
    Adopted = "adopted",
    /// A socket was adopted, and gone at once.
    AdoptedGone = "adopted_gone",
    /// A request went to a program in user space on its way (NFQUEUE).
    Queued = "queued",
    /// An old connection of the same client port was ended for a new handoff.
    Replaced = "replaced",
    /// An adopted socket is closed.
    Closed = "closed",
    /// NOTIFYCLS was sent, repetitions included.
    CloseNotices = "close_notices",
    /// NOTIFYCLS was acknowledged.
    CloseAcks = "close_acks",
    /// Nobody acknowledged NOTIFYCLS.
    CloseUnheard = "close_unheard",
    /// CREATED was sent by the clock, as nothing had confirmed the handoff yet.
    Asked = "asked_to_confirm",
    /// A segment of a server was not sent, as the lease was over or the handoff taken back.
    Silenced = "silenced",
    /// A handoff was ended because nothing confirmed it, long after its lease.
    LeaseOver = "lease_over",
    /// The switch took a handoff back.
    Forgotten = "forgotten",
    /// A PING came, and was answered with LOAD.
    Pings = "pings",
    /// A segment of a client was passed to its socket.
    Segments = "segments",
    /// A segment for a known connection could not be passed on, or was a SYN that nobody but a listener would have taken.
    SegmentsLost = "segments_lost",
    /// A segment was ignored whose addresses are those of a handoff, as it had not come to this machine, or by a VRF.
    Ignored = "ignored_segments",
    /// A segment of a client was answered with a reset, as nothing was left of its connection.
    Resets = "resets",
    /// An EPOCH came: a peer did not believe a message, as it has begun a new epoch since.
    Epochs = "epochs",
    /// A message was not for this side, or from the wrong address.
    Foreign = "foreign_messages",
    /// A message could not be sent.
    SendErrors = "send_errors",
}
