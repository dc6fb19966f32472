// SPDX-License-Identifier: GPL-2.0
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

struct net *thop_sock_net(const struct sock *sk)
{
	return sock_net(sk);
}
