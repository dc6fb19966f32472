// SPDX-License-Identifier: GPL-2.0
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

bool thop_sk_hold_net(struct sock *sk)
{
	struct net *net = maybe_get_net(sock_net(sk));

	if (!net)
		return false;
	sk_net_refcnt_upgrade(sk);
	put_net(net);
	return true;
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
		.rtt_us = tp->srtt_us >> 3,
	};
}

/* A socket of this module's own: nobody has put another protocol above it. */
void thop_sk_disconnect_silently(struct sock *sk)
{
	/* In repair mode a socket closes without a word to its peer. */
	tcp_sk(sk)->repair = 1;
	sk->sk_prot->disconnect(sk, 0);
	tcp_sk(sk)->repair = 0;
}
