# SPDX-License-Identifier: GPL-2.0
# Settings of the kernel that are not the default ones. Sourced by sysctls-*.sh, after cells.sh.

# What the switch's own listener agrees on, with a client that offers all that there is, is what ours must.
ordinary_listener() {
	on client sysctl -qw net.ipv4.tcp_ecn=1
	spawn switch python3 -c '
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("", 81))
s.listen(16)
while True: s.accept()[0].close()'
	wait_for 10 eval 'on switch ss -Htln "sport = :81" | grep -q .'
}

# with_sysctls NODES SETTING[,SETTING]... WHAT...: traffic with these; as they were before in the end.
with_sysctls() {
	local nodes=$1 settings=$2 node setting name old=()
	shift 2
	for node in $nodes; do
		while IFS= read -r setting; do
			name=${setting%%=*}
			old+=("$node" "$name=$(on "$node" sysctl -n "$name")")
			on "$node" sysctl -qw "$setting" || fail "cannot set $setting"
		done < <(tr ',' '\n' <<<"$settings")
	done
	case $nodes in
	switch) listener_anew ;;
	*) servers_anew ;;
	esac
	traffic "$@"
	set -- "${old[@]}"
	while [ $# -gt 0 ]; do
		on "$1" sysctl -qw "$2"
		shift 2
	done
}

# As of machines that were booted so.
listener_anew() {
	default_configuration | sed '/^service/d' | configure
	default_configuration | configure
	all_up
	ordinary_listener
}
servers_anew() {
	local n
	for n in 1 2; do
		stop_nginx $n
		start_nginx $n
	done
	all_up
}
EVERYTHING='gets download upload posts kept long half'

# each WHERE NODES WHAT...: every setting of the list below.
each() {
	local where=$1 nodes=$2 line
	shift 2
	while IFS= read -r line; do
		[ -n "$line" ] || continue
		# shellcheck disable=SC2086
		cell "$line" with_sysctls "$nodes" "$line" $EVERYTHING "$@"
	done <<<"$SETTINGS"
}
SETTINGS='net.ipv4.tcp_timestamps=0
net.ipv4.tcp_timestamps=2
net.ipv4.tcp_sack=0
net.ipv4.tcp_window_scaling=0
net.ipv4.tcp_timestamps=0,net.ipv4.tcp_sack=0,net.ipv4.tcp_window_scaling=0
net.ipv4.tcp_ecn=0
net.ipv4.tcp_ecn=1
net.ipv4.tcp_ecn=2
net.ipv4.tcp_ecn=3
net.ipv4.tcp_ecn=4
net.ipv4.tcp_ecn=5
net.ipv4.conf.all.rp_filter=0,net.ipv4.conf.eth0.rp_filter=0
net.ipv4.conf.all.rp_filter=1,net.ipv4.conf.eth0.rp_filter=1
net.ipv4.conf.all.rp_filter=2,net.ipv4.conf.eth0.rp_filter=2
net.ipv4.conf.all.src_valid_mark=1
net.ipv4.conf.all.accept_local=1
net.ipv4.conf.all.route_localnet=1
net.ipv4.conf.all.arp_ignore=1,net.ipv4.conf.all.arp_announce=2
net.ipv4.conf.all.log_martians=1
net.ipv4.ip_forward=1
net.ipv4.ip_default_ttl=5
net.ipv4.ip_no_pmtu_disc=1
net.ipv4.ip_no_pmtu_disc=3
net.ipv4.ip_nonlocal_bind=1
net.ipv4.ip_early_demux=0
net.ipv4.tcp_early_demux=0
net.ipv4.tcp_l3mdev_accept=1
net.ipv4.fwmark_reflect=1,net.ipv4.tcp_fwmark_accept=1
net.ipv4.tcp_syncookies=2
net.ipv4.tcp_abort_on_overflow=1
net.ipv4.tcp_max_syn_backlog=8
net.core.somaxconn=4
net.ipv4.tcp_migrate_req=1
net.ipv4.tcp_fastopen=0
net.ipv4.tcp_fastopen=1027
net.ipv4.tcp_mtu_probing=1
net.ipv4.tcp_mtu_probing=2
net.ipv4.tcp_base_mss=256,net.ipv4.tcp_min_snd_mss=256
net.ipv4.tcp_no_metrics_save=1
net.ipv4.tcp_tw_reuse=0
net.ipv4.tcp_tw_reuse=1
net.ipv4.tcp_max_tw_buckets=1
net.ipv4.tcp_rfc1337=1
net.ipv4.tcp_fin_timeout=1
net.ipv4.tcp_retries2=3
net.ipv4.tcp_orphan_retries=1
net.ipv4.tcp_keepalive_time=1,net.ipv4.tcp_keepalive_intvl=1
net.ipv4.tcp_rmem=4096 8192 16384
net.ipv4.tcp_rmem=4096 131072 67108864
net.ipv4.tcp_wmem=4096 8192 16384
net.ipv4.tcp_wmem=4096 1048576 67108864
net.ipv4.tcp_moderate_rcvbuf=0
net.ipv4.tcp_shrink_window=1
net.ipv4.tcp_adv_win_scale=-2
net.ipv4.tcp_app_win=4
net.ipv4.tcp_workaround_signed_windows=1
net.ipv4.tcp_slow_start_after_idle=0
net.ipv4.tcp_autocorking=0
net.ipv4.tcp_limit_output_bytes=4096
net.ipv4.tcp_notsent_lowat=4096
net.ipv4.tcp_min_tso_segs=16
net.ipv4.tcp_dsack=0
net.ipv4.tcp_recovery=0
net.ipv4.tcp_early_retrans=0
net.ipv4.tcp_frto=0
net.ipv4.tcp_comp_sack_nr=0
net.ipv4.tcp_stdurg=1
net.ipv4.tcp_challenge_ack_limit=1
net.ipv4.tcp_invalid_ratelimit=0
net.ipv4.tcp_reflect_tos=1
net.ipv4.tcp_plb_enabled=1
net.ipv4.tcp_pingpong_thresh=1
net.ipv4.tcp_congestion_control=reno
net.ipv4.tcp_congestion_control=bbr'

modprobe tcp_bbr
