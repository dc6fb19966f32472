// SPDX-License-Identifier: GPL-2.0
/* Sockets at the server. */

struct sock *thop_find_listener(struct net *net, struct sk_buff *skb, __be32 saddr, u16 sport,
				__be32 daddr, u16 dport)
{
	return __inet_lookup_listener(net, skb, ip_hdrlen(skb), saddr, htons(sport), daddr, dport,
				      inet_iif(skb), inet_sdif(skb));
}

struct sock *thop_reuseport_choice(struct net *net, struct sock *sk, struct sk_buff *skb,
				   __be32 saddr, u16 sport, __be32 daddr, u16 dport)
{
	struct sock *chosen = inet_lookup_reuseport(net, sk, skb, ip_hdrlen(skb), saddr,
						    htons(sport), daddr, dport, inet_ehashfn);

	return chosen ?: sk;
}

struct sock *thop_find_established(struct net *net, struct sk_buff *skb, __be32 saddr, u16 sport,
				   __be32 daddr, u16 dport)
{
	/* Without a packet the socket is looked for as bound to no device. */
	return __inet_lookup_established(net, saddr, htons(sport), daddr, dport,
					 skb ? inet_iif(skb) : 0, skb ? inet_sdif(skb) : 0);
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
	struct sock *sk = thop_find_established(net, skb, saddr, sport, daddr, dport);
	struct dst_entry *dst = NULL;

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

void thop_sk_allow_foreign_source(struct sock *sk)
{
	if (!inet_test_bit(TRANSPARENT, sk))
		inet_set_bit(TRANSPARENT, sk);
}

bool thop_syncookies_on(struct net *net)
{
	return READ_ONCE(net->ipv4.sysctl_tcp_syncookies);
}

/*
 * What bpf_sk_assign_tcp_reqsk() does for a BPF program: a request socket with the negotiated
 * options, attached to the segment, which cookie_v4_check() will turn into a child of @listener.
 * inet_reqsk_alloc() is not exported; its and reqsk_alloc_noprof()'s initialisation is spelled out.
 */
bool thop_reqsk_attach(struct sk_buff *skb, struct sock *listener, const struct thop_reqsk_attrs *a)
{
	const struct request_sock_ops *ops = tcp_prot.rsk_prot;
	struct inet_request_sock *ireq;
	struct tcp_request_sock *treq;
	struct request_sock *req;

	req = kmem_cache_alloc(ops->slab, GFP_ATOMIC | __GFP_NOWARN);
	if (!req)
		return false;
	ireq = inet_rsk(req);
	treq = tcp_rsk(req);

	req->rsk_listener = listener;
	req->rsk_ops = ops;
	req_to_sk(req)->sk_prot = listener->sk_prot;
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
	atomic64_set(&ireq->ir_cookie, 0);
	ireq->ireq_state = TCP_NEW_SYN_RECV;
	write_pnet(&ireq->ireq_net, sock_net(listener));
	ireq->ireq_family = listener->sk_family;
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

bool thop_skb_is_prefetched(struct sk_buff *skb)
{
	return skb_sk_is_prefetched(skb);
}

unsigned int thop_skb_dev_mtu(const struct sk_buff *skb)
{
	return READ_ONCE(skb->dev->mtu);
}

void thop_skb_set_segments(struct sk_buff *skb, unsigned int size, unsigned int count)
{
	skb_shinfo(skb)->gso_size = size;
	skb_shinfo(skb)->gso_segs = count;
	skb_shinfo(skb)->gso_type = SKB_GSO_TCPV4;
}

static int thop_routed(struct net *net, struct sock *sk, struct sk_buff *skb)
{
	return ip_local_deliver(skb);
}

void thop_deliver_local(struct net *net, struct sk_buff *skb)
{
	NF_HOOK(NFPROTO_IPV4, NF_INET_PRE_ROUTING, net, NULL, skb, skb->dev, NULL, thop_routed);
}

u64 thop_tcp_passive_opens(struct net *net)
{
	return this_cpu_read(net->mib.tcp_statistics->mibs[TCP_MIB_PASSIVEOPENS]);
}

u64 thop_tcp_listen_drops(struct net *net)
{
	return this_cpu_read(net->mib.net_statistics->mibs[LINUX_MIB_LISTENDROPS]);
}

thop_destruct_t thop_sk_destruct_swap(struct sock *sk, thop_destruct_t destruct)
{
	return xchg(&sk->sk_destruct, destruct);
}

thop_destruct_t thop_sk_destruct(const struct sock *sk)
{
	return READ_ONCE(sk->sk_destruct);
}

bool thop_sock_hold_live(struct sock *sk)
{
	return refcount_inc_not_zero(&sk->sk_refcnt);
}

void thop_sk_disconnect_silently(struct sock *sk)
{
	/* In repair mode a socket closes without a word to its peer. */
	tcp_sk(sk)->repair = 1;
	sk->sk_prot->disconnect(sk, 0);
	tcp_sk(sk)->repair = 0;
}

bool thop_sk_is_orphan(const struct sock *sk)
{
	return sock_flag(sk, SOCK_DEAD);
}
