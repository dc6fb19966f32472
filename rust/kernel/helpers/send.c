// SPDX-License-Identifier: GPL-2.0
/* Routes and sending. */

struct dst_entry *thop_route_output(struct net *net, __be32 daddr)
{
	struct flowi4 fl4 = { .daddr = daddr };
	struct rtable *rt = ip_route_output_key(net, &fl4);

	return IS_ERR(rt) ? NULL : &rt->dst;
}

struct dst_entry *thop_route_segment(struct net *net, const struct sk_buff *skb, __be32 daddr,
				     u16 dport)
{
	const struct iphdr *iph = ip_hdr(skb);
	const struct tcphdr *th = (const void *)iph + ip_hdrlen(skb);
	struct flowi4 fl4 = {
		.daddr = daddr,
		.saddr = iph->saddr,
		.flowi4_proto = IPPROTO_TCP,
		.fl4_sport = th->source,
		.fl4_dport = htons(dport),
		.flowi4_mark = skb->mark,
		.flowi4_dscp = ip4h_dscp(iph),
		.flowi4_uid = sock_net_uid(net, NULL),
		/* The client's address is not this machine's. */
		.flowi4_flags = FLOWI_FLAG_ANYSRC,
	};
	struct rtable *rt = ip_route_output_flow(net, &fl4, NULL);

	return IS_ERR(rt) ? ERR_CAST(rt) : &rt->dst;
}

bool thop_routes_by_segment(const struct net *net)
{
#ifdef CONFIG_XFRM
	/* As xfrm_route_forward(). */
	if (READ_ONCE(net->xfrm.policy_count[XFRM_POLICY_OUT]) ||
	    READ_ONCE(net->xfrm.policy_default[XFRM_POLICY_OUT]) != XFRM_USERPOLICY_ACCEPT)
		return true;
#endif
	return fib4_has_custom_rules(net);
}

bool thop_xfrm_asks_input(struct net *net, struct sk_buff *skb)
{
#ifdef CONFIG_XFRM
	return !__xfrm_check_nopolicy(net, skb, XFRM_POLICY_IN);
#else
	return false;
#endif
}

bool thop_xfrm_allows_input(struct sk_buff *skb)
{
	const struct in_device *in_dev = __in_dev_get_rcu(skb->dev);

	/* ip_route_input_slow() would tell xfrm4_policy_check(). */
	if (in_dev && IN_DEV_ORCONF(in_dev, NOPOLICY))
		return true;
	return xfrm4_policy_check(NULL, XFRM_POLICY_IN, skb);
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

	/* What this machine has sent to itself has one, and its source would be a martian's now. */
	if (skb_valid_dst(skb))
		return true;
	skb_dst_drop(skb);
	return !ip_route_input_noref(skb, daddr, iph->saddr, ip4h_dscp(iph), skb->dev);
}

bool thop_is_local(struct net *net, const struct sk_buff *skb)
{
	return inet_addr_type(net, ip_hdr(skb)->daddr) == RTN_LOCAL;
}

int thop_defrag(struct net *net, struct sk_buff *skb)
{
	int err = ip_defrag(net, skb, IP_DEFRAG_LOCAL_DELIVER);

	/* As nf_ct_ipv4_gather_frags(): what came in fragments may leave in such, with DF as they had it. */
	if (!err)
		skb->ignore_df = 1;
	return err;
}
