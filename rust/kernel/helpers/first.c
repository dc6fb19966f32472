// SPDX-License-Identifier: GPL-2.0
/* Requests for connections, at the switch. */

const struct inet_connection_sock_af_ops *thop_sk_ops(const struct sock *sk)
{
	return READ_ONCE(inet_csk(sk)->icsk_af_ops);
}

void thop_sk_set_ops(struct sock *sk, const struct inet_connection_sock_af_ops *ops)
{
	WRITE_ONCE(inet_csk(sk)->icsk_af_ops, ops);
}

void thop_sk_answer_with_cookies(struct sock *sk)
{
	struct request_sock_queue *queue = &inet_csk(sk)->icsk_accept_queue;

	/* One that does not listen has a backlog of 0: see inet_csk_reqsk_queue_is_full(). */
	atomic_set(&queue->qlen, 1);
	/* It is meant to be so, and nothing to warn of. */
	queue->synflood_warned = 1;
}

void thop_sk_cookie_sent(const struct sock *sk)
{
	tcp_synq_overflow(sk);
}

bool thop_syn_has_isn(const struct sk_buff *skb)
{
	return TCP_SKB_CB(skb)->tcp_tw_isn;
}

bool thop_tcp_skb_has_vrf(struct sk_buff *skb)
{
	return tcp_v4_sdif(skb);
}

const u8 *thop_tcp_header(const struct sk_buff *skb, unsigned int *len)
{
	*len = tcp_hdrlen(skb);
	return (const u8 *)tcp_hdr(skb);
}

void thop_req_state(const struct request_sock *req, const struct sk_buff *skb,
		    struct thop_tcp_state *s)
{
	const struct inet_request_sock *ireq = inet_rsk(req);
	const struct tcp_request_sock *treq = tcp_rsk(req);

	*s = (struct thop_tcp_state) {
		.client_addr = ireq->ir_rmt_addr,
		.service_addr = ireq->ir_loc_addr,
		.client_port = ntohs(ireq->ir_rmt_port),
		.service_port = ireq->ir_num,
		.copied_seq = treq->rcv_isn + 1,
		.rcv_nxt = TCP_SKB_CB(skb)->end_seq,
		.snd_una = treq->snt_isn + 1,
		.write_seq = treq->snt_isn + 1,
		.ts_recent = req->ts_recent,
		.ts_now = tcp_clock_ts(treq->req_usec_ts) + treq->ts_off,
		.snd_wnd = ntohs(tcp_hdr(skb)->window) << ireq->snd_wscale,
		.mss = req->mss,
		.snd_wscale = ireq->snd_wscale,
		.rcv_wscale = ireq->rcv_wscale,
		.wscale_ok = ireq->wscale_ok,
		.sack_ok = ireq->sack_ok,
		.tstamp_ok = ireq->tstamp_ok,
		.ecn_ok = ireq->ecn_ok,
	};
}

bool thop_syn_without_accecn(const struct sock *sk, struct sk_buff *skb)
{
	const unsigned int header = skb_transport_offset(skb) + sizeof(struct tcphdr);
	struct tcphdr *th = tcp_hdr(skb);

	/* As tcp_ecn_create_request() decides. */
	if (!tcp_accecn_syn_requested(th) ||
	    (READ_ONCE(sock_net(sk)->ipv4.sysctl_tcp_ecn) < TCP_ECN_IN_ACCECN_OUT_ACCECN &&
	     !tcp_ca_needs_accecn(sk)))
		return true;
	/* Others may have a clone of it: a packet socket. */
	if (skb_ensure_writable(skb, header))
		return false;
	/*
	 * A SYN for AccECN is read as one for ECN by who does not know AccECN (RFC 9768, 3.1.1); one with
	 * another code is one for neither. The checksum was verified, and nobody looks at it again.
	 */
	th = tcp_hdr(skb);
	if (!(th->ae && th->cwr && th->ece)) {
		th->cwr = 0;
		th->ece = 0;
	}
	th->ae = 0;
	return true;
}

void thop_skb_endpoints(const struct sk_buff *skb, u32 *saddr, u32 *daddr)
{
	*saddr = ntohl(ip_hdr(skb)->saddr);
	*daddr = ntohl(ip_hdr(skb)->daddr);
}

void thop_req_without_accecn(struct request_sock *req)
{
	tcp_rsk(req)->accecn_ok = 0;
}

void thop_tcp_set_rtt(struct sock *sk, u32 rtt_us)
{
	struct tcp_sock *tp = tcp_sk(sk);

	/* Not 0: then tcp_rcv_state_process() takes the echo for a sample. */
	tp->srtt_us = max(rtt_us << 3, 1U);
	if (!rtt_us)
		return;
	/* As tcp_rtt_estimator() and tcp_set_rto() have it of a first sample. */
	tp->mdev_us = rtt_us << 1;
	tp->rttvar_us = max_t(u32, tp->mdev_us, jiffies_to_usecs(TCP_RTO_MIN));
	tp->mdev_max_us = tp->rttvar_us;
	tp->rtt_seq = tp->snd_nxt;
	inet_csk(sk)->icsk_rto = min_t(u32, __tcp_set_rto(tp), TCP_RTO_MAX);
}

u16 thop_skb_acks_cookie(const struct sk_buff *skb, u32 before)
{
	const struct iphdr *iph = ip_hdr(skb);
	struct tcphdr th = *(const struct tcphdr *)((const void *)iph + ip_hdrlen(skb));

	be32_add_cpu(&th.seq, before);
	return __cookie_v4_check(iph, &th);
}

bool thop_sk_expects_cookies(const struct sock *sk)
{
	return !tcp_synq_no_recent_overflow(sk);
}

void thop_tcp_allowed(struct net *net, struct thop_tcp_allowed *allowed)
{
	allowed->timestamps = READ_ONCE(net->ipv4.sysctl_tcp_timestamps);
	allowed->sack = READ_ONCE(net->ipv4.sysctl_tcp_sack);
	allowed->scaling = READ_ONCE(net->ipv4.sysctl_tcp_window_scaling);
	allowed->ecn = READ_ONCE(net->ipv4.sysctl_tcp_ecn);
}

u32 thop_tcp_most_window(struct net *net)
{
	return max_t(u32, READ_ONCE(net->ipv4.sysctl_tcp_rmem[2]), READ_ONCE(sysctl_rmem_max));
}

u64 thop_tcp_clock_us(void)
{
	return tcp_clock_us();
}

u32 thop_tcp_clock_offset(struct net *net, const struct sk_buff *skb)
{
	const struct iphdr *iph = ip_hdr(skb);
	const struct tcphdr *th = (const void *)iph + ip_hdrlen(skb);

	return secure_tcp_seq_and_ts_off(net, iph->daddr, iph->saddr, th->dest, th->source).ts_off;
}

bool thop_tcp_checksum_ok(struct sk_buff *skb)
{
	return !nf_ip_checksum(skb, NF_INET_PRE_ROUTING, ip_hdrlen(skb), IPPROTO_TCP);
}

s32 thop_skb_behind_cookie(const struct sk_buff *skb)
{
	const struct iphdr *iph = ip_hdr(skb);
	struct tcphdr th = *(const struct tcphdr *)((const void *)iph + ip_hdrlen(skb));
	/* The least that a cookie can say, which is 0. */
	u16 mss = 0;

	be32_add_cpu(&th.seq, -1);
	return __cookie_v4_init_sequence(iph, &th, &mss) - (ntohl(th.ack_seq) - 1);
}

void thop_skb_pull_ip(struct sk_buff *skb)
{
	__skb_pull(skb, ip_hdrlen(skb));
	skb_reset_transport_header(skb);
}

void thop_skb_push_ip(struct sk_buff *skb)
{
	__skb_push(skb, -skb_network_offset(skb));
}

void thop_skb_get(struct sk_buff *skb)
{
	skb_get(skb);
}

struct sk_buff *thop_skb_share_check(struct sk_buff *skb)
{
	return skb_share_check(skb, GFP_ATOMIC | __GFP_NOWARN);
}

/* Softirqs disabled, RCU. On success the packet has a device and a route, and begins with its IP header. */
bool thop_skb_receive_again(struct net *net, struct sk_buff *skb)
{
	skb->dev = dev_get_by_index_rcu(net, skb->skb_iif);
	if (!skb->dev)
		return false;
	thop_skb_push_ip(skb);
	memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
	/* It was verified before. */
	thop_skb_set_unnecessary(skb);
	return thop_route_local(skb, ip_hdr(skb)->daddr);
}
