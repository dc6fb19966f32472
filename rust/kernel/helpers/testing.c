// SPDX-License-Identifier: GPL-2.0
/* For the KUnit suites. */

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

void thop_test_skb_set_gso(struct sk_buff *skb, unsigned int size, bool typed)
{
	skb_shinfo(skb)->gso_size = size;
	skb_shinfo(skb)->gso_type = typed ? SKB_GSO_TCPV4 : 0;
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

int thop_test_stay_on(unsigned int cpu)
{
	return set_cpus_allowed_ptr(current, cpumask_of(cpu));
}

bool thop_test_work_on(unsigned int cpu, struct delayed_work *work)
{
	/* One that still runs would stay where it is, and ask for itself once more. */
	flush_work(&work->work);
	return mod_delayed_work_on(cpu, system_percpu_wq, work, 0);
}
