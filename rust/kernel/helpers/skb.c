// SPDX-License-Identifier: GPL-2.0
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

/* As nf_flow_exceeds_mtu(); and what came in fragments goes in fragments, as from __ip_finish_output(). */
bool thop_skb_exceeds_mtu(const struct sk_buff *skb, unsigned int mtu)
{
	if (skb_is_gso(skb))
		return !skb_gso_validate_network_len(skb, mtu);
	return skb->len > mtu || IPCB(skb)->frag_max_size;
}

/* Of one that is too long: what ip_exceeds_mtu() in net/ipv4/ip_forward.c leaves to ip_fragment(). */
bool thop_skb_may_be_fragmented(const struct sk_buff *skb, unsigned int mtu)
{
	if (!(ip_hdr(skb)->frag_off & htons(IP_DF)))
		return true;
	return skb->ignore_df && IPCB(skb)->frag_max_size <= mtu;
}

/* As skb_warn_if_lro(), which wants a device to name, and warns. */
bool thop_skb_is_lro(const struct sk_buff *skb)
{
	const struct skb_shared_info *shinfo = skb_shinfo(skb);

	return skb_is_nonlinear(skb) && shinfo->gso_size && !shinfo->gso_type;
}

bool thop_skb_is_for_us(const struct sk_buff *skb)
{
	return skb->pkt_type == PACKET_HOST &&
	       !(skb->dev->priv_flags & (IFF_L3MDEV_MASTER | IFF_L3MDEV_SLAVE));
}

bool thop_skb_is_in_bridge(const struct sk_buff *skb)
{
	return nf_bridge_in_prerouting(skb);
}

bool thop_skb_was_in_bridge(const struct sk_buff *skb)
{
#if IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
	const struct nf_bridge_info *nf_bridge = nf_bridge_info_get(skb);

	return nf_bridge && nf_bridge->sabotage_in_done;
#else
	return false;
#endif
}

__be32 thop_skb_daddr(const struct sk_buff *skb)
{
	return ip_hdr(skb)->daddr;
}

void thop_skb_untrack(struct sk_buff *skb)
{
	nf_reset_ct(skb);
}

void thop_skb_orphan(struct sk_buff *skb)
{
	skb_orphan(skb);
}

bool thop_skb_is_host(const struct sk_buff *skb)
{
	return skb->pkt_type == PACKET_HOST;
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

void thop_skb_find_dev(struct net *net, struct sk_buff *skb)
{
	skb->dev = dev_get_by_index_rcu(net, skb->skb_iif);
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

static bool thop_frags_are_private(const struct sk_buff *skb)
{
	int i;

	if (skb_has_shared_frag(skb) || !skb_frags_readable(skb))
		return false;
	for (i = 0; i < skb_shinfo(skb)->nr_frags; i++)
		if (page_ref_count(skb_frag_page(&skb_shinfo(skb)->frags[i])) != 1)
			return false;
	return true;
}

/* Whether the octets up to @end, and those in front, are this packet's alone. */
bool thop_skb_is_private(const struct sk_buff *skb, size_t end)
{
	const struct sk_buff *piece;

	if (skb_shared(skb) || skb_cloned(skb))
		return false;
	if (end <= skb_headlen(skb))
		return true;
	if (!thop_frags_are_private(skb))
		return false;
	skb_walk_frags(skb, piece)
		if (skb_shared(piece) || skb_cloned(piece) || skb_has_frag_list(piece) ||
		    !thop_frags_are_private(piece))
			return false;
	return true;
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
