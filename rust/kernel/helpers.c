// SPDX-License-Identifier: GPL-2.0
/* See helpers.h. */

#include "helpers.h"

/* Locks and contexts. */

/* spin_lock_init() for a lock class that the caller has; what lockdep knows of without it is one class for all. */
void thop_spin_lock_init(spinlock_t *lock, const char *name, struct lock_class_key *key)
{
#if defined(CONFIG_DEBUG_SPINLOCK) && defined(CONFIG_PREEMPT_RT)
	__spin_lock_init(lock, name, key, false);
#elif defined(CONFIG_DEBUG_SPINLOCK)
	__raw_spin_lock_init(spinlock_check(lock), name, key, LD_WAIT_CONFIG);
#else
	spin_lock_init(lock);
#endif
}

void thop_spin_lock_bh(spinlock_t *lock)
{
	spin_lock_bh(lock);
}

void thop_spin_unlock_bh(spinlock_t *lock)
{
	spin_unlock_bh(lock);
}

void thop_bh_disable(void)
{
	local_bh_disable();
}

void thop_bh_enable(void)
{
	local_bh_enable();
}

u64 thop_rcu_begin(void)
{
	return start_poll_synchronize_rcu();
}

bool thop_rcu_is_over(u64 cookie)
{
	return poll_state_synchronize_rcu(cookie);
}

/* Time. */

u64 thop_now_ms(void)
{
	return jiffies64_to_msecs(get_jiffies_64());
}

unsigned long thop_ms_to_jiffies(unsigned int ms)
{
	return msecs_to_jiffies(ms);
}

/* Module parameters. */

/* In the order of what thop_hash_is_keyed() answers. */
static const char *const thop_hashes[] = { "xor", "siphash" };
static bool thop_hash_keyed;

static int thop_hash_set(const char *val, const struct kernel_param *kp)
{
	int choice = sysfs_match_string(thop_hashes, val);

	if (choice < 0)
		return choice;
	*(bool *)kp->arg = choice;
	return 0;
}

static int thop_hash_get(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%s\n", thop_hashes[*(bool *)kp->arg]);
}

static const struct kernel_param_ops thop_hash_ops = {
	.set = thop_hash_set,
	.get = thop_hash_get,
};

/* This object is part of both modules, and so is the parameter. */
module_param_cb(hash, &thop_hash_ops, &thop_hash_keyed, 0444);
__MODULE_PARM_TYPE(hash, "word");
MODULE_PARM_DESC(hash, "How the table of connections is hashed: xor (the paper's key) or siphash (with a secret key)");

bool thop_hash_is_keyed(void)
{
	return thop_hash_keyed;
}

/* Memory. */

void *thop_kvzalloc(size_t size)
{
	/* Charged to who makes a network namespace, who may be anybody. */
	return kvzalloc(size, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
}

struct kmem_cache *thop_cache_create(const char *name, unsigned int size, unsigned int align)
{
	/* Not merged with other caches of that size, so that /proc/slabinfo tells the truth. */
	return kmem_cache_create(name, size, align, SLAB_HWCACHE_ALIGN | SLAB_NO_MERGE, NULL);
}

void *thop_cache_alloc(struct kmem_cache *cache)
{
	return kmem_cache_alloc(cache, GFP_ATOMIC | __GFP_NOWARN);
}

u64 __percpu *thop_counters_alloc(unsigned int count)
{
	return __alloc_percpu(count * sizeof(u64), sizeof(u64));
}

void thop_counter_add(u64 __percpu *counters, unsigned int index, u64 value)
{
	this_cpu_add(counters[index], value);
}

u64 thop_counter_sum(u64 __percpu *counters, unsigned int index)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(*per_cpu_ptr(&counters[index], cpu));
	return sum;
}

/* Work. */

void thop_delayed_work_init(struct delayed_work *work, work_func_t func)
{
	INIT_DELAYED_WORK(work, func);
}

bool thop_delayed_work_in(struct delayed_work *work, unsigned long delay)
{
	return mod_delayed_work(system_percpu_wq, work, delay);
}

/* Network namespaces. */

void *thop_net_generic(const struct net *net, unsigned int id)
{
	return net_generic(net, id);
}

bool thop_net_admin(const struct file *file, struct net *net)
{
	/* Who opened the file and who writes it must both be allowed. */
	return file_ns_capable(file, net->user_ns, CAP_NET_ADMIN) &&
	       ns_capable(net->user_ns, CAP_NET_ADMIN);
}

/* Proc files. */

struct proc_dir_entry *thop_proc_net_mkdir(struct net *net, const char *name)
{
	return proc_net_mkdir(net, name, net->proc_net);
}

void *thop_pde_data(const struct file *file)
{
	return pde_data(file_inode(file));
}

struct seq_file *thop_seq(const struct file *file)
{
	return file->private_data;
}

void *thop_memdup_user(const void __user *from, size_t size)
{
	return vmemdup_user(from, size);
}

/* Packets. */

bool thop_skb_may_pull(struct sk_buff *skb, unsigned int len)
{
	return pskb_may_pull(skb, len);
}

bool thop_skb_is_partial(const struct sk_buff *skb)
{
	return skb->ip_summed == CHECKSUM_PARTIAL;
}

void thop_skb_set_unnecessary(struct sk_buff *skb)
{
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	skb->csum_level = 0;
}

void thop_skb_fix_complete(struct sk_buff *skb, __be32 from, __be32 to)
{
	if (skb->ip_summed == CHECKSUM_COMPLETE)
		skb->csum = ~csum_add(csum_sub(~skb->csum, (__force __wsum)from),
				      (__force __wsum)to);
}

bool thop_skb_exceeds_mtu(const struct sk_buff *skb, unsigned int mtu)
{
	if (!(ip_hdr(skb)->frag_off & htons(IP_DF)) || skb->ignore_df)
		return false;
	return skb_is_gso(skb) ? !skb_gso_validate_network_len(skb, mtu) : skb->len > mtu;
}

void thop_skb_detach(struct sk_buff *skb)
{
	skb_orphan(skb);
	skb_dst_drop(skb);
	nf_reset_ct(skb);
	skb_clear_tstamp(skb);
	skb_forward_csum(skb);
}

struct net_device *thop_skb_dev(const struct sk_buff *skb)
{
	return skb->dev;
}

void thop_skb_set_dev(struct sk_buff *skb, struct net_device *dev)
{
	skb->dev = dev;
}

void *thop_skb_replace_head(struct sk_buff *skb, unsigned int drop, unsigned int room)
{
	if (skb_ensure_writable(skb, drop))
		return NULL;
	__skb_pull(skb, drop);
	__skb_push(skb, room);
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, sizeof(struct iphdr));
	memset(&IPCB(skb)->opt, 0, sizeof(IPCB(skb)->opt));
	/* What was tracked is the datagram; the segment in it is not yet. */
	nf_reset_ct(skb);
	return skb->data;
}

struct sk_buff *thop_skb_alloc(unsigned int linear, unsigned int paged)
{
	const unsigned int room = LL_MAX_HEADER + sizeof(struct iphdr) + THOP_SEAL_LEN;
	struct sk_buff *skb;
	int err;

	skb = alloc_skb_with_frags(room + linear, paged, PAGE_ALLOC_COSTLY_ORDER, &err,
				   GFP_ATOMIC | __GFP_NOWARN);
	if (!skb)
		return NULL;
	skb_reserve(skb, room);
	skb_put(skb, linear);
	skb->data_len = paged;
	skb->len += paged;
	return skb;
}

unsigned int thop_skb_headroom(const struct sk_buff *skb)
{
	return skb_headroom(skb);
}

void *thop_skb_push(struct sk_buff *skb, unsigned int len)
{
	return skb_push(skb, len);
}

struct sk_buff *thop_skb_copy_head(struct sk_buff *skb)
{
	return pskb_copy(skb, GFP_ATOMIC | __GFP_NOWARN);
}

void thop_skb_copy_hash(struct sk_buff *to, const struct sk_buff *from)
{
	skb_copy_hash(to, from);
}

void thop_skb_free(struct sk_buff *skb)
{
	kfree_skb(skb);
}

void thop_skb_consume(struct sk_buff *skb)
{
	consume_skb(skb);
}

u32 thop_tcp_skb_seq(const struct sk_buff *skb)
{
	return TCP_SKB_CB(skb)->seq;
}

/* Routes and sending. */

struct dst_entry *thop_route_output(struct net *net, __be32 daddr)
{
	struct flowi4 fl4 = { .daddr = daddr };
	struct rtable *rt = ip_route_output_key(net, &fl4);

	return IS_ERR(rt) ? NULL : &rt->dst;
}

struct dst_entry *thop_route_between(struct net *net, u8 protocol, bool any_source,
				     __be32 *saddr, __be32 daddr)
{
	struct flowi4 fl4 = {
		.daddr = daddr,
		.saddr = *saddr,
		.flowi4_proto = protocol,
		.flowi4_flags = any_source ? FLOWI_FLAG_ANYSRC : 0,
	};
	struct rtable *rt = ip_route_output_key(net, &fl4);

	if (IS_ERR(rt))
		return NULL;
	*saddr = fl4.saddr;
	return &rt->dst;
}

void thop_skb_set_dst(struct sk_buff *skb, struct dst_entry *dst)
{
	skb_dst_set(skb, dst);
}

unsigned int thop_dst_mtu(const struct dst_entry *dst)
{
	return dst_mtu(dst);
}

int thop_dst_cache_init(struct dst_cache *cache)
{
	return dst_cache_init(cache, GFP_KERNEL | __GFP_NOWARN);
}

struct dst_entry *thop_dst_cache_get(struct dst_cache *cache, __be32 *saddr)
{
	struct rtable *rt = dst_cache_get_ip4(cache, saddr);

	return rt ? &rt->dst : NULL;
}

/* Whether all that sending by this route takes is a neighbour: no tunnel, no IPsec. */
bool thop_dst_is_plain(const struct dst_entry *dst)
{
	return !dst_xfrm(dst) && !dst->lwtstate && dst->output == ip_output;
}

bool thop_skb_has_room_for(const struct sk_buff *skb, const struct dst_entry *dst)
{
	return skb_headroom(skb) >= LL_RESERVED_SPACE(dst->dev);
}

void thop_neigh_output(struct sk_buff *skb, struct dst_entry *dst)
{
	bool is_v6gw = false;
	struct neighbour *neigh;

	skb->dev = dst->dev;
	neigh = ip_neigh_for_gw(dst_rtable(dst), skb, &is_v6gw);
	if (IS_ERR(neigh))
		kfree_skb(skb);
	else
		neigh_output(neigh, skb, is_v6gw);
}

int thop_dst_output(struct net *net, struct sk_buff *skb)
{
	return dst_output(net, NULL, skb);
}

int thop_ip_send(struct net *net, struct sk_buff *skb, struct dst_entry *dst, u8 protocol,
		 __be32 saddr, __be32 daddr)
{
	struct iphdr *iph;

	skb_dst_set(skb, dst);
	iph = skb_push(skb, sizeof(*iph));
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, sizeof(*iph));
	memset(IPCB(skb), 0, sizeof(*IPCB(skb)));
	*iph = (struct iphdr) {
		.version = 4,
		.ihl = 5,
		.ttl = IPDEFTTL,
		.protocol = protocol,
		.saddr = saddr,
		.daddr = daddr,
	};
	skb->protocol = htons(ETH_P_IP);
	/* A CREATE may be longer than a link's MTU: it goes in fragments. */
	skb->ignore_df = 1;
	ip_select_ident(net, skb, NULL);
	return ip_local_out(net, NULL, skb);
}

void thop_icmp_frag_needed(struct sk_buff *skb, u32 mtu)
{
	icmp_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, htonl(mtu));
}

void thop_icmp_ttl_exceeded(struct sk_buff *skb)
{
	icmp_send(skb, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
}

bool thop_route_local(struct sk_buff *skb, __be32 daddr)
{
	const struct iphdr *iph = ip_hdr(skb);

	return !ip_route_input_noref(skb, daddr, iph->saddr, ip4h_dscp(iph), skb->dev);
}

bool thop_is_local(struct net *net, const struct sk_buff *skb)
{
	return inet_addr_type(net, ip_hdr(skb)->daddr) == RTN_LOCAL;
}

int thop_defrag(struct net *net, struct sk_buff *skb)
{
	return ip_defrag(net, skb, IP_DEFRAG_LOCAL_DELIVER);
}

/* Sockets at the switch. */

void thop_lock_sock(struct sock *sk)
{
	lock_sock(sk);
}

void thop_sock_put(struct sock *sk)
{
	sock_put(sk);
}

void *thop_sk_user_data(const struct sock *sk)
{
	return READ_ONCE(sk->sk_user_data);
}

void thop_sk_set_user_data(struct sock *sk, void *data)
{
	WRITE_ONCE(sk->sk_user_data, data);
}

int thop_sk_state(const struct sock *sk)
{
	return READ_ONCE(sk->sk_state);
}

void thop_sk_set_state(struct sock *sk, int state)
{
	WRITE_ONCE(sk->sk_state, state);
}

void thop_sk_limit_window(struct sock *sk, int octets)
{
	/* Without SOCK_RCVBUF_LOCK, the window scale is still chosen for a large buffer. */
	WRITE_ONCE(sk->sk_rcvbuf, tcp_space_from_win(sk, octets));
	/* As it is without, but that a route does not choose: the scale is the same for all clients. */
	WRITE_ONCE(tcp_sk(sk)->window_clamp, U16_MAX << TCP_MAX_WSCALE);
}

void thop_sk_limit_buffer(struct sock *sk, int octets)
{
	/* With the lock it does not grow any more. Octets take more room than they are. */
	sk->sk_userlocks |= SOCK_RCVBUF_LOCK;
	WRITE_ONCE(sk->sk_rcvbuf, min(sk->sk_rcvbuf, octets));
}

void thop_sk_get_callbacks(const struct sock *sk, void (**data_ready)(struct sock *),
			   void (**state_change)(struct sock *))
{
	*data_ready = sk->sk_data_ready;
	*state_change = sk->sk_state_change;
}

void thop_sk_set_callbacks(struct sock *sk, void (*data_ready)(struct sock *),
			   void (*state_change)(struct sock *))
{
	WRITE_ONCE(sk->sk_data_ready, data_ready);
	WRITE_ONCE(sk->sk_state_change, state_change);
}

int thop_socket_bind(struct socket *sock, __be32 addr, u16 port)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = addr,
		.sin_port = htons(port),
	};

	sock->sk->sk_reuse = SK_CAN_REUSE;
	/* The virtual address may come to this machine later. */
	ip_sock_set_freebind(sock->sk);
	return kernel_bind(sock, (void *)&sin, sizeof(sin));
}

int thop_socket_listen(struct socket *sock)
{
	/* As far as listen() goes: kernel_listen() itself looks at no limit. */
	return kernel_listen(sock, READ_ONCE(sock_net(sock->sk)->core.sysctl_somaxconn));
}

int thop_socket_create(struct net *net, struct socket **out)
{
	return sock_create_kern(net, PF_INET, SOCK_STREAM, IPPROTO_TCP, out);
}

struct sock *thop_socket_sk(const struct socket *sock)
{
	return sock->sk;
}

int thop_socket_accept(struct socket *sock, struct socket **out)
{
	return kernel_accept(sock, out, O_NONBLOCK);
}

int thop_socket_send(struct socket *sock, const void *data, size_t len)
{
	struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
	struct kvec vec = { .iov_base = (void *)data, .iov_len = len };

	return kernel_sendmsg(sock, &msg, &vec, 1, len);
}

int thop_socket_discard(struct socket *sock)
{
	/* MSG_TRUNC: TCP throws the octets away instead of copying them. */
	struct msghdr msg = {};
	struct kvec vec = { .iov_len = SZ_64K };

	return kernel_recvmsg(sock, &msg, &vec, 1, SZ_64K, MSG_DONTWAIT | MSG_TRUNC);
}

struct sk_buff *thop_receive_queue_first(const struct sock *sk)
{
	return skb_peek(&sk->sk_receive_queue);
}

struct sk_buff *thop_receive_queue_next(const struct sock *sk, const struct sk_buff *skb)
{
	return skb_peek_next((struct sk_buff *)skb, &sk->sk_receive_queue);
}

u32 thop_tcp_copied_seq(const struct sock *sk)
{
	return tcp_sk(sk)->copied_seq;
}

u32 thop_tcp_rcv_nxt(const struct sock *sk)
{
	return tcp_sk(sk)->rcv_nxt;
}

static u32 thop_age_ms(bool usec_ts, u32 sent)
{
	u32 age = tcp_clock_ts(usec_ts) - sent;

	if (!sent)
		return 0;
	return usec_ts ? age / USEC_PER_MSEC : age;
}

void thop_tcp_state(const struct sock *sk, struct thop_tcp_state *s)
{
	const struct inet_sock *inet = inet_sk(sk);
	const struct tcp_sock *tp = tcp_sk(sk);

	*s = (struct thop_tcp_state) {
		.client_addr = inet->inet_daddr,
		.service_addr = inet->inet_saddr,
		.client_port = ntohs(inet->inet_dport),
		.service_port = ntohs(inet->inet_sport),
		.copied_seq = tp->copied_seq,
		.rcv_nxt = tp->rcv_nxt,
		.snd_una = tp->snd_una,
		.write_seq = tp->write_seq,
		.ts_recent = tp->rx_opt.ts_recent,
		.ts_now = tcp_clock_ts(tp->tcp_usec_ts) + tp->tsoffset,
		.snd_wnd = tp->snd_wnd,
		.mss = tp->rx_opt.mss_clamp,
		.snd_wscale = tp->rx_opt.snd_wscale,
		.rcv_wscale = tp->rx_opt.rcv_wscale,
		.wscale_ok = tp->rx_opt.wscale_ok,
		.sack_ok = tcp_is_sack(tp),
		.tstamp_ok = tp->rx_opt.tstamp_ok,
		.ecn_ok = tcp_ecn_mode_rfc3168(tp),
		.age_ms = thop_age_ms(tp->tcp_usec_ts, tp->rx_opt.tstamp_ok ? tp->rx_opt.rcv_tsecr : 0),
	};
}

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
		.ecn_ok = ireq->ecn_ok && !treq->accecn_ok,
	};
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

bool thop_tcp_keeps_options(struct net *net)
{
	return READ_ONCE(net->ipv4.sysctl_tcp_timestamps) && READ_ONCE(net->ipv4.sysctl_tcp_sack) &&
	       READ_ONCE(net->ipv4.sysctl_tcp_window_scaling);
}

u32 thop_tcp_most_window(struct net *net)
{
	return max_t(u32, READ_ONCE(net->ipv4.sysctl_tcp_rmem[2]), READ_ONCE(sysctl_rmem_max));
}

u32 thop_tcp_clock_ms(void)
{
	return tcp_clock_ts(false);
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

struct net *thop_sk_net(const struct sock *sk)
{
	return sock_net(sk);
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

struct net *thop_sock_net(const struct sock *sk)
{
	return sock_net(sk);
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

/* Load. */

u32 thop_sk_acceptq_len(const struct sock *sk)
{
	return READ_ONCE(sk->sk_ack_backlog);
}

u32 thop_sk_acceptq_limit(const struct sock *sk)
{
	return READ_ONCE(sk->sk_max_ack_backlog);
}

const struct sock_reuseport *thop_reuseport_group(const struct sock *sk)
{
	return rcu_dereference(sk->sk_reuseport_cb);
}

unsigned int thop_reuseport_size(const struct sock_reuseport *group)
{
	unsigned int size = READ_ONCE(group->num_socks);

	/* Paired with smp_wmb() in __reuseport_add_sock(): so many members are in place. */
	smp_rmb();
	return size;
}

const struct sock *thop_reuseport_member(const struct sock_reuseport *group, unsigned int index)
{
	return READ_ONCE(group->socks[index]);
}

u64 thop_cpus_busy_ns(void)
{
	u64 sum = 0;
	int cpu;

	/* Offline ones too: what they have done must not vanish from the sum. */
	for_each_possible_cpu(cpu) {
		const u64 *stat = kcpustat_cpu(cpu).cpustat;

		/* The time of guests is part of user and nice. */
		sum += READ_ONCE(stat[CPUTIME_USER]) + READ_ONCE(stat[CPUTIME_NICE]) +
		       READ_ONCE(stat[CPUTIME_SYSTEM]) + READ_ONCE(stat[CPUTIME_IRQ]) +
		       READ_ONCE(stat[CPUTIME_SOFTIRQ]) + READ_ONCE(stat[CPUTIME_STEAL]);
	}
	return sum;
}

unsigned int thop_cpus_online(void)
{
	return num_online_cpus();
}

/* Keyed hashes, and secrets. */

void thop_hmac_init(struct hmac_sha256_ctx *ctx, const struct hmac_sha256_key *key)
{
	hmac_sha256_init(ctx, key);
}

void thop_hmac_update(struct hmac_sha256_ctx *ctx, const u8 *data, size_t len)
{
	hmac_sha256_update(ctx, data, len);
}

bool thop_differs(const void *a, const void *b, size_t len)
{
	return crypto_memneq(a, b, len);
}

void thop_wipe(void *secret, size_t len)
{
	memzero_explicit(secret, len);
}

#if IS_BUILTIN(CONFIG_KUNIT)
/* Packets for the KUnit suites. */

struct sk_buff *thop_test_skb_share(struct sk_buff *skb)
{
	return skb_clone(skb, GFP_KERNEL);
}

void thop_test_skb_chain(struct sk_buff *skb, struct sk_buff *tail)
{
	/* As GRO and the reassembly of fragments do it. */
	skb_shinfo(skb)->frag_list = tail;
	skb->len += tail->len;
	skb->data_len += tail->len;
	skb->truesize += tail->truesize;
}

void thop_test_skb_set_partial(struct sk_buff *skb, unsigned int start)
{
	skb->ip_summed = CHECKSUM_PARTIAL;
	skb->csum_start = skb_headroom(skb) + start;
	skb->csum_offset = offsetof(struct tcphdr, check);
}

void thop_test_skb_set_complete(struct sk_buff *skb)
{
	skb->csum = skb_checksum(skb, 0, skb->len, 0);
	skb->ip_summed = CHECKSUM_COMPLETE;
}

bool thop_test_skb_is_complete(const struct sk_buff *skb)
{
	return skb->ip_summed == CHECKSUM_COMPLETE;
}

u32 thop_test_skb_csum(const struct sk_buff *skb)
{
	return (__force u32)skb->csum;
}
#endif
