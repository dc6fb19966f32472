/* SPDX-License-Identifier: GPL-2.0 */
/*
 * C functions for what Rust cannot call: inline functions, macros, and fields that are bit-fields
 * or lie behind accessors. Each is one kernel idiom; decisions are made in Rust. They stand in helpers/,
 * in a file for each section here.
 */
#ifndef THOP_HELPERS_H
#define THOP_HELPERS_H

#include <crypto/sha2.h>
#include <crypto/utils.h>
#include <linux/bottom_half.h>
#include <linux/icmp.h>
#include <linux/inetdevice.h>
#include <linux/ip.h>
#include <linux/kernel_stat.h>
#include <linux/moduleparam.h>
#include <linux/netdevice.h>
#include <linux/netfilter.h>
#include <linux/netfilter_bridge.h>
#include <linux/netfilter_ipv4.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/sysfs.h>
#include <linux/tcp.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>
#include <net/dst_cache.h>
#include <net/dst_metadata.h>
#include <net/gso.h>
#include <net/icmp.h>
#include <net/inet_hashtables.h>
#include <net/ip.h>
#include <net/ip_fib.h>
#include <net/net_namespace.h>
#include <net/netfilter/nf_conntrack.h>
#include <net/netns/generic.h>
#include <net/request_sock.h>
#include <net/route.h>
#include <net/secure_seq.h>
#include <net/sock.h>
#include <net/sock_reuseport.h>
#include <net/tcp.h>
#include <net/tcp_ecn.h>
#include <net/xfrm.h>

/* Locks and contexts. */
void thop_spin_lock_init(spinlock_t *lock, const char *name, struct lock_class_key *key);
void thop_spin_lock_bh(spinlock_t *lock);
void thop_spin_unlock_bh(spinlock_t *lock);
void *thop_lock_bh_in(void *const *where, size_t offset);
void thop_spin_lock_nested(spinlock_t *lock);
void thop_spin_unlock(spinlock_t *lock);
void thop_smp_rmb(void);
void thop_bh_disable(void);
void thop_bh_enable(void);
u64 thop_rcu_begin(void);
bool thop_rcu_is_over(u64 cookie);

/* Time. */
u64 thop_now_ms(void);
unsigned long thop_ms_to_jiffies(unsigned int ms);

/* Module parameters. */
bool thop_hash_is_keyed(void);

/* Memory. */
void *thop_kvzalloc(size_t size);
struct kmem_cache *thop_cache_create(const char *name, unsigned int size, unsigned int align);
void *thop_cache_alloc(struct kmem_cache *cache);
u64 __percpu *thop_counters_alloc(unsigned int count);
void thop_counter_add(u64 __percpu *counters, unsigned int index, u64 value);
u64 thop_counter_sum(u64 __percpu *counters, unsigned int index);

/* Work. */
void thop_delayed_work_init(struct delayed_work *work, work_func_t func);
bool thop_delayed_work_in(struct delayed_work *work, unsigned long delay);

/* Network namespaces. */
void *thop_net_generic(const struct net *net, unsigned int id);
bool thop_net_admin(const struct file *file, struct net *net);
struct net *thop_sock_net(const struct sock *sk);

/* Proc files. */
struct proc_dir_entry *thop_proc_net_mkdir(struct net *net, const char *name);
void *thop_pde_data(const struct file *file);
struct seq_file *thop_seq(const struct file *file);
void *thop_memdup_user(const void __user *from, size_t size);

/* Packets. */
bool thop_skb_may_pull(struct sk_buff *skb, unsigned int len);
bool thop_skb_is_partial(const struct sk_buff *skb);
void thop_skb_set_unnecessary(struct sk_buff *skb);
void thop_skb_fix_complete(struct sk_buff *skb, __be32 from, __be32 to);
bool thop_skb_exceeds_mtu(const struct sk_buff *skb, unsigned int mtu);
bool thop_skb_may_be_fragmented(const struct sk_buff *skb, unsigned int mtu);
bool thop_skb_is_lro(const struct sk_buff *skb);
/* Whether it has come to this machine on its link, by a device that belongs to no VRF. */
bool thop_skb_is_for_us(const struct sk_buff *skb);
/* With br_netfilter: PRE_ROUTING is shown a frame that is still in a bridge; and it has been shown that alone (ip_sabotage_in()). */
bool thop_skb_is_in_bridge(const struct sk_buff *skb);
bool thop_skb_was_in_bridge(const struct sk_buff *skb);
void thop_skb_orphan(struct sk_buff *skb);
__be32 thop_skb_daddr(const struct sk_buff *skb);
void thop_skb_untrack(struct sk_buff *skb);
bool thop_skb_is_host(const struct sk_buff *skb);
void thop_skb_detach(struct sk_buff *skb);
struct net_device *thop_skb_dev(const struct sk_buff *skb);
void thop_skb_set_dev(struct sk_buff *skb, struct net_device *dev);
/* RCU. Sets the device that the packet came by, or none if that has gone. */
void thop_skb_find_dev(struct net *net, struct sk_buff *skb);
void *thop_skb_replace_head(struct sk_buff *skb, unsigned int drop, unsigned int room);
/* Length of a seal: thop_core::wire::SEAL_LEN. */
#define THOP_SEAL_LEN 48
/* With room in front for headers of lower layers, IP, and a seal. */
struct sk_buff *thop_skb_alloc(unsigned int linear, unsigned int paged);
bool thop_skb_is_private(const struct sk_buff *skb, size_t end);
unsigned int thop_skb_headroom(const struct sk_buff *skb);
void *thop_skb_push(struct sk_buff *skb, unsigned int len);
struct sk_buff *thop_skb_copy_head(struct sk_buff *skb);
void thop_skb_copy_hash(struct sk_buff *to, const struct sk_buff *from);
void thop_skb_free(struct sk_buff *skb);
void thop_skb_consume(struct sk_buff *skb);
u32 thop_tcp_skb_seq(const struct sk_buff *skb);

/* Routes and sending. */
struct dst_entry *thop_route_output(struct net *net, __be32 daddr);
/* For a TCP segment that will have this destination; an ERR_PTR() if there is none. */
struct dst_entry *thop_route_segment(struct net *net, const struct sk_buff *skb, __be32 daddr,
				     u16 dport);
/* Whether a segment's route may depend on more than its destination. */
bool thop_routes_by_segment(const struct net *net);
bool thop_xfrm_asks_input(struct net *net, struct sk_buff *skb);
/* RCU; the packet has a device. */
bool thop_xfrm_allows_input(struct sk_buff *skb);
/* For a protocol; an unspecified *saddr becomes the route's choice. */
struct dst_entry *thop_route_between(struct net *net, u8 protocol, bool any_source,
				     __be32 *saddr, __be32 daddr);
void thop_skb_set_dst(struct sk_buff *skb, struct dst_entry *dst);
unsigned int thop_dst_mtu(const struct dst_entry *dst);
int thop_dst_cache_init(struct dst_cache *cache);
struct dst_entry *thop_dst_cache_get(struct dst_cache *cache, __be32 *saddr);
bool thop_dst_is_plain(const struct dst_entry *dst);
bool thop_skb_has_room_for(const struct sk_buff *skb, const struct dst_entry *dst);
void thop_neigh_output(struct sk_buff *skb, struct dst_entry *dst);
int thop_dst_output(struct net *net, struct sk_buff *skb);
/* Takes over the route and the packet. */
int thop_ip_send(struct net *net, struct sk_buff *skb, struct dst_entry *dst, u8 protocol,
		 __be32 saddr, __be32 daddr);
void thop_icmp_frag_needed(struct sk_buff *skb, u32 mtu);
void thop_icmp_ttl_exceeded(struct sk_buff *skb);
bool thop_route_local(struct sk_buff *skb, __be32 daddr);
bool thop_is_local(struct net *net, const struct sk_buff *skb);
int thop_defrag(struct net *net, struct sk_buff *skb);

/* Sockets at the switch. */
void thop_lock_sock(struct sock *sk);
void thop_sock_put(struct sock *sk);
void *thop_sk_user_data(const struct sock *sk);
void thop_sk_set_user_data(struct sock *sk, void *data);
int thop_sk_state(const struct sock *sk);
void thop_sk_set_state(struct sock *sk, int state);
void thop_sk_limit_window(struct sock *sk, int octets);
void thop_sk_limit_buffer(struct sock *sk, int octets);
void thop_sk_get_callbacks(const struct sock *sk, void (**data_ready)(struct sock *),
			   void (**state_change)(struct sock *));
void thop_sk_set_callbacks(struct sock *sk, void (*data_ready)(struct sock *),
			   void (*state_change)(struct sock *));
int thop_socket_bind(struct socket *sock, __be32 addr, u16 port);
int thop_socket_listen(struct socket *sock);
int thop_socket_create(struct net *net, struct socket **out);
struct sock *thop_socket_sk(const struct socket *sock);
int thop_socket_accept(struct socket *sock, struct socket **out);
int thop_socket_send(struct socket *sock, const void *data, size_t len);
int thop_socket_discard(struct socket *sock);
/* Makes a kernel's socket one that holds its namespace. False if that is on its way out. */
bool thop_sk_hold_net(struct sock *sk);
struct sk_buff *thop_receive_queue_first(const struct sock *sk);
struct sk_buff *thop_receive_queue_next(const struct sock *sk, const struct sk_buff *skb);
/* The TCP state that a handoff carries; sequence numbers in host byte order. */
struct thop_tcp_state {
	__be32 client_addr;
	__be32 service_addr;
	u16 client_port;
	u16 service_port;
	u32 copied_seq;
	u32 rcv_nxt;
	u32 snd_una;
	u32 write_seq;
	u32 ts_recent;
	u32 ts_now;
	u32 snd_wnd;
	u16 mss;
	u8 snd_wscale;
	u8 rcv_wscale;
	bool wscale_ok;
	bool sack_ok;
	bool tstamp_ok;
	bool ecn_ok;
	/* How long ago it was sent what the client has echoed last, milliseconds; 0: not known. */
	u32 age_ms;
	/* The smoothed round-trip time, microseconds; 0: not known. */
	u32 rtt_us;
};
void thop_sk_disconnect_silently(struct sock *sk);
u32 thop_tcp_copied_seq(const struct sock *sk);
u32 thop_tcp_rcv_nxt(const struct sock *sk);
void thop_tcp_state(const struct sock *sk, struct thop_tcp_state *s);

/* Requests for connections, at the switch. */
const struct inet_connection_sock_af_ops *thop_sk_ops(const struct sock *sk);
void thop_sk_set_ops(struct sock *sk, const struct inet_connection_sock_af_ops *ops);
void thop_sk_answer_with_cookies(struct sock *sk);
void thop_sk_cookie_sent(const struct sock *sk);
bool thop_syn_has_isn(const struct sk_buff *skb);
bool thop_tcp_skb_has_vrf(struct sk_buff *skb);
const u8 *thop_tcp_header(const struct sk_buff *skb, unsigned int *len);
void thop_req_state(const struct request_sock *req, const struct sk_buff *skb,
		    struct thop_tcp_state *s);
/* Before the stack answers a SYN: with a socket of these, or one like it. False if there is no memory. */
bool thop_syn_without_accecn(const struct sock *sk, struct sk_buff *skb);
void thop_skb_endpoints(const struct sk_buff *skb, u32 *saddr, u32 *daddr);
void thop_req_without_accecn(struct request_sock *req);
/* Of a child that has no sample of its own yet; microseconds, 0: not known. */
void thop_tcp_set_rtt(struct sock *sk, u32 rtt_us);
u16 thop_skb_acks_cookie(const struct sk_buff *skb, u32 before);
bool thop_sk_expects_cookies(const struct sock *sk);
/* What TCP may negotiate, by sysctls. */
struct thop_tcp_allowed {
	bool timestamps;
	bool sack;
	bool scaling;
	bool ecn;
};
void thop_tcp_allowed(struct net *net, struct thop_tcp_allowed *allowed);
u32 thop_tcp_most_window(struct net *net);
u64 thop_tcp_clock_us(void);
u32 thop_tcp_clock_offset(struct net *net, const struct sk_buff *skb);
bool thop_tcp_checksum_ok(struct sk_buff *skb);
s32 thop_skb_behind_cookie(const struct sk_buff *skb);
void thop_skb_pull_ip(struct sk_buff *skb);
void thop_skb_push_ip(struct sk_buff *skb);
void thop_skb_get(struct sk_buff *skb);
struct sk_buff *thop_skb_share_check(struct sk_buff *skb);
bool thop_skb_receive_again(struct net *net, struct sk_buff *skb);

/* Sockets at the server. */
struct sock *thop_find_listener(struct net *net, struct sk_buff *skb, __be32 saddr, u16 sport,
				__be32 daddr, u16 dport);
struct sock *thop_find_established(struct net *net, struct sk_buff *skb, __be32 saddr, u16 sport,
				   __be32 daddr, u16 dport);
bool thop_sk_is_mptcp(const struct sock *sk);
bool thop_sk_acceptq_is_full(const struct sock *sk);
bool thop_early_demux(struct net *net, struct sk_buff *skb, __be32 saddr, u16 sport,
		      __be32 daddr, u16 dport);
void thop_sock_gen_put(struct sock *sk);
void thop_tw_kill(struct sock *sk);
void thop_sk_route_from_anywhere(struct sock *sk, bool may);
bool thop_sk_set_transparent(struct sock *sk, bool yes);
bool thop_syncookies_on(struct net *net);
/* What was negotiated on the connection that a new socket takes over. */
struct thop_reqsk_attrs {
	/* How the socket will be known. */
	u64 name;
	u16 mss;
	u8 snd_wscale;
	u8 rcv_wscale;
	u32 ts_recent;
	/* The timestamp clock's value at this moment. */
	u32 ts_value;
	bool wscale_ok;
	bool sack_ok;
	bool tstamp_ok;
	bool ecn_ok;
};
bool thop_reqsk_attach(struct sk_buff *skb, struct net *net, const struct thop_reqsk_attrs *a);
u64 thop_skb_name(const struct sk_buff *skb);
void thop_skb_set_listener(struct sk_buff *skb, struct sock *listener);
bool thop_skb_is_prefetched(struct sk_buff *skb);
unsigned int thop_skb_dev_mtu(const struct sk_buff *skb);
u16 thop_skb_mss(const struct sk_buff *skb);
void thop_skb_set_segments(struct sk_buff *skb, unsigned int size, unsigned int count);
int thop_deliver_local(struct net *net, struct sk_buff *skb);
unsigned int thop_this_cpu(void);
/* The probe of the trace point inet_sock_set_state; the first argument is what it was registered with. */
typedef void (*thop_state_probe_t)(void *data, const struct sock *sk, const int from, const int to);
int thop_states_watch(thop_state_probe_t probe);
void thop_states_unwatch(thop_state_probe_t probe);
bool thop_sk_is_tcp(const struct sock *sk);
u64 thop_sk_name(const struct sock *sk);
/* Ports in host byte order. */
struct thop_sk_ends {
	__be32 local;
	__be32 remote;
	u16 local_port;
	u16 remote_port;
};
void thop_sk_ends(const struct sock *sk, struct thop_sk_ends *ends);
void thop_sk_set_rtt(struct sock *sk, u32 rtt_us);
void thop_sk_set_least_rtt(struct sock *sk, u32 rtt_us);
void thop_sock_hold(struct sock *sk);
void thop_sk_end_reading(struct sock *sk);

/* Load. */
u32 thop_sk_acceptq_len(const struct sock *sk);
u32 thop_sk_acceptq_limit(const struct sock *sk);
const struct sock_reuseport *thop_reuseport_group(const struct sock *sk);
unsigned int thop_reuseport_size(const struct sock_reuseport *group);
const struct sock *thop_reuseport_member(const struct sock_reuseport *group, unsigned int index);
u64 thop_cpus_busy_ns(void);
unsigned int thop_cpus_online(void);

/* Keyed hashes, and secrets. */
void thop_hmac_init(struct hmac_sha256_ctx *ctx, const struct hmac_sha256_key *key);
void thop_hmac_update(struct hmac_sha256_ctx *ctx, const u8 *data, size_t len);
bool thop_differs(const void *a, const void *b, size_t len);
void thop_wipe(void *secret, size_t len);

#if IS_BUILTIN(CONFIG_KUNIT)
/* For the KUnit suites. */
struct sk_buff *thop_test_skb_share(struct sk_buff *skb);
void thop_test_skb_chain(struct sk_buff *skb, struct sk_buff *tail);
void thop_test_skb_set_partial(struct sk_buff *skb, unsigned int start);
void thop_test_skb_set_complete(struct sk_buff *skb);
void thop_test_skb_set_gso(struct sk_buff *skb, unsigned int size, bool typed);
bool thop_test_skb_is_complete(const struct sk_buff *skb);
u32 thop_test_skb_csum(const struct sk_buff *skb);
int thop_test_stay_on(unsigned int cpu);
bool thop_test_work_on(unsigned int cpu, struct delayed_work *work);
#endif

#endif
