// SPDX-License-Identifier: GPL-2.0
/* Sockets at the server. */

/*
 * Without the packet: a program that chooses among a group (SO_ATTACH_REUSEPORT_EBPF) is asked once, by the stack, when it
 * sees the segment that it is written for.
 */
struct sock *thop_find_listener(struct net *net, struct sk_buff *skb, __be32 saddr, u16 sport,
				__be32 daddr, u16 dport)
{
	return __inet_lookup_listener(net, NULL, 0, saddr, htons(sport), daddr, dport,
				      inet_iif(skb), inet_sdif(skb));
}

struct sock *thop_find_established(struct net *net, struct sk_buff *skb, __be32 saddr, u16 sport,
				   __be32 daddr, u16 dport)
{
	return __inet_lookup_established(net, saddr, htons(sport), daddr, dport,
					 inet_iif(skb), inet_sdif(skb));
}

bool thop_sk_is_mptcp(const struct sock *sk)
{
	return sk_is_mptcp(sk);
}

bool thop_sk_acceptq_is_full(const struct sock *sk)
{
	return sk_acceptq_is_full(sk);
}

/*
 * What tcp_v4_early_demux() does for a packet that has no route yet, which is not exported, by the
 * addresses that the packet will have. Softirq, RCU.
 */
bool thop_early_demux(struct net *net, struct sk_buff *skb, __be32 saddr, u16 sport,
		      __be32 daddr, u16 dport)
{
	struct dst_entry *dst = NULL;
	struct sock *sk;

	/* A program at the device may have chosen one already. */
	if (skb->sk)
		return false;
	sk = thop_find_established(net, skb, saddr, sport, daddr, dport);
	if (!sk)
		return false;
	if (sk_fullsock(sk) && sk->sk_rx_dst_ifindex == skb->skb_iif)
		dst = rcu_dereference(sk->sk_rx_dst);
	if (dst)
		dst = dst_check(dst, 0);
	if (!dst) {
		sock_gen_put(sk);
		return false;
	}
	skb->sk = sk;
	skb->destructor = sock_edemux;
	/* What comes from this very machine has a route already, and may hold it. */
	skb_dst_drop(skb);
	skb_dst_set_noref(skb, dst);
	return true;
}

void thop_sock_gen_put(struct sock *sk)
{
	sock_gen_put(sk);
}

void thop_tw_kill(struct sock *sk)
{
	inet_twsk_deschedule_put(inet_twsk(sk));
}

/*
 * Routes of sockets with HDRINCL may begin at any address (inet_sk_flowi_flags()), and that is all it means for a TCP socket:
 * it lends no right to bind to such an address, as TRANSPARENT does.
 */
void thop_sk_route_from_anywhere(struct sock *sk, bool may)
{
	if (inet_test_bit(HDRINCL, sk) != may)
		inet_assign_bit(HDRINCL, sk, may);
}

/* Whether it was so before. */
bool thop_sk_set_transparent(struct sock *sk, bool yes)
{
	bool before = inet_test_bit(TRANSPARENT, sk);

	if (before != yes)
		inet_assign_bit(TRANSPARENT, sk, yes);
	return before;
}

bool thop_syncookies_on(struct net *net)
{
	return READ_ONCE(net->ipv4.sysctl_tcp_syncookies);
}

/*
 * What bpf_sk_assign_tcp_reqsk() does for a BPF program: a request socket with the negotiated
 * options, attached to the segment, which cookie_v4_check() will turn into a child of a listener.
 * That is named later, by thop_skb_set_listener(), as the segment may be under way for long.
 * inet_reqsk_alloc() is not exported; its and reqsk_alloc_noprof()'s initialisation is spelled out.
 */
bool thop_reqsk_attach(struct sk_buff *skb, struct net *net, const struct thop_reqsk_attrs *a)
{
	const struct request_sock_ops *ops = tcp_prot.rsk_prot;
	const struct tcphdr *th = (const void *)ip_hdr(skb) + ip_hdrlen(skb);
	struct inet_request_sock *ireq;
	struct tcp_request_sock *treq;
	struct request_sock *req;

	req = kmem_cache_alloc(ops->slab, GFP_ATOMIC | __GFP_NOWARN);
	if (!req)
		return false;
	ireq = inet_rsk(req);
	treq = tcp_rsk(req);

	req->rsk_listener = NULL;
	req->rsk_ops = ops;
	req_to_sk(req)->sk_prot = &tcp_prot;
	sk_node_init(&req_to_sk(req)->sk_node);
	sk_tx_queue_clear(req_to_sk(req));
	req->saved_syn = NULL;
	req->syncookie = 1;
	req->num_timeout = 0;
	req->num_retrans = 0;
	req->sk = NULL;
	refcount_set(&req->rsk_refcnt, 0);
	req->mss = a->mss;
	req->ts_recent = a->ts_recent;

	ireq->ireq_opt = NULL;
#if IS_ENABLED(CONFIG_IPV6)
	ireq->pktopts = NULL;
#endif
	/* The child's sk_cookie will be the same. */
	atomic64_set(&ireq->ir_cookie, a->name);
	ireq->ireq_state = TCP_NEW_SYN_RECV;
	write_pnet(&ireq->ireq_net, net);
	ireq->ireq_family = AF_INET;
	/* For hooks on the way that compare them, as nf_nat_ipv4_local_in() does; cookie_v4_check() sets them anew. */
	ireq->ir_loc_addr = ip_hdr(skb)->daddr;
	ireq->ir_rmt_addr = ip_hdr(skb)->saddr;
	ireq->ir_num = ntohs(th->dest);
	ireq->ir_rmt_port = th->source;
	ireq->ir_iif = 0;
	ireq->no_srccheck = 0;
	ireq->snd_wscale = a->snd_wscale;
	ireq->rcv_wscale = a->rcv_wscale;
	ireq->tstamp_ok = a->tstamp_ok;
	ireq->sack_ok = a->sack_ok;
	ireq->wscale_ok = a->wscale_ok;
	ireq->ecn_ok = a->ecn_ok;

	treq->req_usec_ts = false;
	treq->ts_off = a->tstamp_ok ? a->ts_value - tcp_clock_ts(false) : 0;

	skb_orphan(skb);
	skb->sk = req_to_sk(req);
	skb->destructor = sock_pfree;
	return true;
}

/* The name in the request socket that is attached to a segment; 0 without one. */
u64 thop_skb_name(const struct sk_buff *skb)
{
	struct sock *sk = skb->sk;

	if (!sk || skb->destructor != sock_pfree || READ_ONCE(sk->sk_state) != TCP_NEW_SYN_RECV ||
	    !inet_reqsk(sk)->syncookie)
		return 0;
	return atomic64_read(&inet_rsk(inet_reqsk(sk))->ir_cookie);
}

/* Whose child the segment's request will become: the listener's, or that of a member of its group which the stack chooses. */
void thop_skb_set_listener(struct sk_buff *skb, struct sock *listener)
{
	struct request_sock *req = inet_reqsk(skb->sk);

	req_to_sk(req)->sk_prot = listener->sk_prot;
	inet_rsk(req)->ireq_family = listener->sk_family;
	req->rsk_listener = listener;
}

bool thop_skb_is_prefetched(struct sk_buff *skb)
{
	return skb_sk_is_prefetched(skb);
}

unsigned int thop_skb_dev_mtu(const struct sk_buff *skb)
{
	return READ_ONCE(skb->dev->mtu);
}

/* Of one that thop_reqsk_attach() was called for. */
u16 thop_skb_mss(const struct sk_buff *skb)
{
	return inet_reqsk(skb->sk)->mss;
}

void thop_skb_set_segments(struct sk_buff *skb, unsigned int size, unsigned int count)
{
	skb_shinfo(skb)->gso_size = size;
	skb_shinfo(skb)->gso_segs = count;
	skb_shinfo(skb)->gso_type = SKB_GSO_TCPV4;
}

static int thop_routed(struct net *net, struct sock *sk, struct sk_buff *skb)
{
	/* Who translates its destination takes its route away. */
	if (!skb_valid_dst(skb)) {
		kfree_skb_reason(skb, SKB_DROP_REASON_NETFILTER_DROP);
		return -EHOSTUNREACH;
	}
	return ip_local_deliver(skb);
}

/* Negative if the packet was dropped before it reached its protocol; else it did, or somebody has it who will let it go on. */
int thop_deliver_local(struct net *net, struct sk_buff *skb)
{
	return NF_HOOK(NFPROTO_IPV4, NF_INET_PRE_ROUTING, net, NULL, skb, skb->dev, NULL, thop_routed);
}

unsigned int thop_this_cpu(void)
{
	return raw_smp_processor_id();
}

static void thop_find_state_point(struct tracepoint *tp, void *found)
{
	if (!strcmp(tp->name, "inet_sock_set_state"))
		*(struct tracepoint **)found = tp;
}

static struct tracepoint *thop_state_point(void)
{
	struct tracepoint *tp = NULL;

	/* It is not exported by name. */
	for_each_kernel_tracepoint(thop_find_state_point, &tp);
	return tp;
}

int thop_states_watch(thop_state_probe_t probe)
{
	struct tracepoint *tp = thop_state_point();

	return tp ? tracepoint_probe_register(tp, probe, NULL) : -EOPNOTSUPP;
}

/* When this returns no probe is running, or will. Sleeps. */
void thop_states_unwatch(thop_state_probe_t probe)
{
	struct tracepoint *tp = thop_state_point();

	if (tp)
		tracepoint_probe_unregister(tp, probe, NULL);
	tracepoint_synchronize_unregister();
}

bool thop_sk_is_tcp(const struct sock *sk)
{
	return sk_is_tcp(sk);
}

u64 thop_sk_name(const struct sock *sk)
{
	return atomic64_read(&sk->sk_cookie);
}

void thop_sk_ends(const struct sock *sk, struct thop_sk_ends *ends)
{
	const struct inet_sock *inet = inet_sk(sk);

	/* inet_num is 0 when a socket has given its port back, which is before it is closed. */
	*ends = (struct thop_sk_ends) {
		.local = inet->inet_rcv_saddr,
		.remote = inet->inet_daddr,
		.local_port = ntohs(inet->inet_sport),
		.remote_port = ntohs(inet->inet_dport),
	};
}

/* As tcp_rtt_estimator() and tcp_set_rto() do with a first measurement. The socket is locked, and new. */
void thop_sk_set_rtt(struct sock *sk, u32 rtt_us)
{
	struct inet_connection_sock *icsk = inet_csk(sk);
	struct tcp_sock *tp = tcp_sk(sk);

	tp->srtt_us = rtt_us << 3;
	tp->mdev_us = rtt_us << 1;
	tp->rttvar_us = max(tp->mdev_us, jiffies_to_usecs(READ_ONCE(icsk->icsk_rto_min)));
	tp->mdev_max_us = tp->rttvar_us;
	icsk->icsk_rto = min_t(u32, __tcp_set_rto(tp), TCP_RTO_MAX);
}

/* What tcp_create_openreq_child() would undo. */
void thop_sk_set_least_rtt(struct sock *sk, u32 rtt_us)
{
	struct tcp_sock *tp = tcp_sk(sk);

	minmax_reset(&tp->rtt_min, tcp_jiffies32, rtt_us);
	tp->rtt_seq = tp->snd_nxt;
}

void thop_sock_hold(struct sock *sk)
{
	sock_hold(sk);
}

/*
 * The socket is locked, and may be closed. Who reads from it finds an orderly end, and no octet that it has not read yet. A socket with an upper
 * layer protocol keeps those: that may refer to them.
 */
void thop_sk_end_reading(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	/* One that waits to be accepted, inet_csk_listen_stop() ends under this lock alone. */
	local_bh_disable();
	bh_lock_sock(sk);
	if (sk->sk_state != TCP_CLOSE) {
		sock_set_flag(sk, SOCK_DONE);
		if (!inet_csk(sk)->icsk_ulp_ops) {
			__skb_queue_purge(&sk->sk_receive_queue);
			WRITE_ONCE(tp->copied_seq, tp->rcv_nxt);
		}
	}
	bh_unlock_sock(sk);
	local_bh_enable();
}
