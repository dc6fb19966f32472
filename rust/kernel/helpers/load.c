// SPDX-License-Identifier: GPL-2.0
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
