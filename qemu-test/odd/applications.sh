# SPDX-License-Identifier: GPL-2.0
# Web servers of all kinds behind the switch: server1's, while server2 has an nginx.
# run: --servers 2 --timeout 900 --memory 3072
set -uo pipefail
. "$WITH/cells.sh"
export ODD_NAME=server1 ODD_LOG=$LOGDIR/server1.access.log
LIMIT=90

# Its first process is in the file `pid`.
run_server() {
	ip netns exec server1 "$@" </dev/null >app.out 2>&1 &
	echo $! >pid
}
nginx_server() { NGINX_WORKERS=2 NGINX_SERVER=$1 start_nginx 1 "$2" && cp "$WWW/server1/nginx.pid" pid; }
start_nginx-sendfile() { nginx_server 'sendfile on;' 80; }
start_nginx-aio() { nginx_server 'sendfile off; aio threads;' 80; }
start_nginx-reuseport() { nginx_server '' '80 reuseport'; }
# Does not run as root; its CGI programs write the log.
start_apache() {
	mkdir -p apache
	touch "$ODD_LOG"
	chmod 666 "$ODD_LOG"
	cat >apache/conf <<-CONF
		ServerRoot $PWD/apache
		ServerName test
		PidFile $PWD/apache/pid
		ErrorLog $LOGDIR/server1.error.log
		Listen 0.0.0.0:80
		User www-data
		Group www-data
		LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
		LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
		LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
		LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
		LoadModule env_module /usr/lib/apache2/modules/mod_env.so
		LoadModule cgid_module /usr/lib/apache2/modules/mod_cgid.so
		ScriptSock $PWD/apache/cgid.sock
		DocumentRoot $WWW/files
		Header always set X-Server server1
		EnableSendfile On
		EnableMMAP Off
		LimitRequestFieldSize 16380
		PassEnv ODD_NAME ODD_LOG
		ScriptAlias /sum $PWD/sum.cgi
		<Directory />
			Require all granted
			Options +ExecCGI +FollowSymLinks
		</Directory>
	CONF
	run_server env -u LC_ALL apache2 -d "$PWD/apache" -f "$PWD/apache/conf" -D FOREGROUND
}
start_lighttpd() {
	mkdir -p lighttpd
	cat >lighttpd/conf <<-CONF
		server.modules = ( "mod_setenv", "mod_cgi", "mod_alias" )
		server.document-root = "$WWW/files"
		server.port = 80
		server.errorlog = "$LOGDIR/server1.error.log"
		server.upload-dirs = ( "$PWD/lighttpd" )
		server.max-request-field-size = 16384
		setenv.add-response-header = ( "X-Server" => "server1" )
		setenv.add-environment = ( "ODD_NAME" => "server1", "ODD_LOG" => "$ODD_LOG" )
		alias.url = ( "/sum" => "$PWD/sum.cgi" )
		cgi.assign = ( "sum.cgi" => "/usr/bin/python3" )
	CONF
	run_server lighttpd -D -f lighttpd/conf
}
# As a proxy on the server's machine, whose `splice` moves octets from socket to socket in the kernel.
start_haproxy() {
	start_nginx 1 127.0.0.1:8081
	cat >haproxy.conf <<-CONF
		global
			maxconn 1000
			tune.bufsize 32768
		defaults
			mode http
			option splice-auto
			timeout connect 5s
			timeout client 30s
			timeout server 30s
		frontend web
			bind 0.0.0.0:80
			default_backend nginx
		backend nginx
			server nginx 127.0.0.1:8081
	CONF
	run_server haproxy -W -f haproxy.conf -p "$PWD/haproxy.pid"
}
start_node() { run_server node "$WITH/server.js" server1 "$WWW/files" "$ODD_LOG"; }
start_go() { run_server env GODEBUG=multipathtcp=0 "$WITH/bin/goserver" server1 "$WWW/files" "$ODD_LOG"; }
start_uvicorn() { run_server python3 -m uvicorn --app-dir "$WITH" --host 0.0.0.0 --port 80 --log-level warning asgi:app; }
start_blocking() { run_server python3 "$WITH/server.py" server1 "$ODD_LOG"; }
start_io_uring() { run_server "$WITH/bin/uring" server1 "$WWW/files" "$ODD_LOG"; }

reload_nginx() { kill -HUP "$(cat "$WWW/server1/nginx.pid")"; }
reload_apache() { kill -USR1 "$(cat pid)"; }
reload_lighttpd() { kill -USR1 "$(cat pid)"; }
reload_haproxy() { kill -USR2 "$(cat pid)"; }

# up KIND: that server is server1's.
up() {
	stop_nginx 1
	cp "$WITH/sum.cgi" . && chmod 755 sum.cgi
	"start_$1"
	wait_for 60 eval 'on server1 ss -Htln "sport = :80" | grep -q .' || {
		cat app.out
		fail "$1 does not listen"
	}
	wait_state web/s1 "UP answers*"
}
killed() {
	local p
	for p in $(ip netns pids server1); do kill -KILL "$p" 2>/dev/null || true; done
	rm -f "$WWW/server1/post.sock" "$WWW/server1/nginx.pid"
}
sums() { case $1 in nginx* | haproxy) ;; *) export SUMS=1 ;; esac; }

# its_kind: all that clients do, but half-closing where that server, asked directly, ends such a connection, too (nginx
# does while its threads read).
its_kind() {
	local what='gets download upload posts kept long'
	! on client env VIP="$SERVER1" PATIENCE=5 python3 "$WITH/traffic.py" direct half >/dev/null 2>&1 || what+=' half'
	# shellcheck disable=SC2086
	traffic $what
}
# works KIND: all that clients do, of that server alone.
works() {
	sums "$1"
	pool_of 1 | configure
	up "$1"
	its_kind
}
# reloaded KIND: three times, while clients ask and one downloads: nobody notices.
reloaded() {
	sums "$1"
	pool_of 1 | configure
	up "$1"
	on client curl -sS -m 60 --limit-rate 200k -o got "http://$VIP/1m" &
	local download=$! n
	on client env COUNT=30 python3 "$WITH/traffic.py" posts posts gets posts &
	local asking=$!
	for n in 1 2 3; do
		sleep 1.5
		"reload_${1%%-*}"
	done
	wait $asking || fail "a request fails when it is reloaded"
	wait $download || fail "a download ends when it is reloaded"
	cmp got "$WWW/files/1m"
	posts_once posts
	sleep 1
	its_kind
}
# dies KIND: by `kill -9` during downloads. Their clients are told at once; others are served by the other server, and
# by this one as soon as it is there again.
dies() {
	pool_of 1 2 | configure
	sums "$1"
	up "$1"
	wait_state web/s2 "UP answers*"
	on client python3 - <<-'PY' &
		from http_client import *

		clients = []
		while len(clients) < 4:
		    c = Client(timeout=20)
		    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 20000)
		    c.send(request("/100m"))
		    while b"\r\n\r\n" not in c.buffer:
		        c.buffer += c.more()
		    # One that says nothing is one behind another's proxy, or the other server.
		    if b"x-server: server1" in c.buffer.lower():
		        clients.append(c)
		open("downloading", "w").close()
		wait_for(20, "death", lambda: os.path.exists("dead"))
		begun = time.monotonic()
		for c in clients:
		    try:
		        while c.more():
		            pass
		    except ConnectionResetError:
		        pass
		    except TimeoutError:
		        fail("a client whose server has died is not told")
		print(f"told after {time.monotonic() - begun:.1f} s")
	PY
	local clients=$!
	wait_for 30 test -e downloading
	killed
	touch dead
	wait $clients
	served_by_the_other
	up "$1"
	only_servers 1
	its_kind
}
# Meanwhile nginx at server2 has them all.
served_by_the_other() { (unset SUMS && on client python3 "$WITH/traffic.py" posts gets posts) && posts_once posts; }

refused_mptcp() {
	pool_of 1 | configure
	stop_nginx 1
	on server1 sysctl -qw net.mptcp.enabled=1
	run_server env GODEBUG=multipathtcp=1 "$WITH/bin/goserver" server1 "$WWW/files" "$ODD_LOG"
	wait_for 30 eval 'on server1 ss -Htln "sport = :80" | grep -q .'
	same "GET" "$(fetch /1k | cut -c1-3)" 503
	[ "$(stat_server 1 refused_listener_speaks_mptcp)" -gt 0 ] || fail "not refused for that reason"
}

for kind in nginx-sendfile nginx-aio nginx-reuseport apache lighttpd haproxy node go uvicorn blocking io_uring; do
	group "Web servers"
	case $kind in
	nginx-*) title="nginx, ${kind#nginx-}" ;;
	apache) title="Apache, event MPM" ;;
	haproxy) title="HAProxy as a proxy there, splice" ;;
	node) title="Node.js" ;;
	go) title="Go (net/http, GODEBUG=multipathtcp=0)" ;;
	uvicorn) title="uvicorn (asyncio, uvloop)" ;;
	blocking) title="threads that block in accept() and recv()" ;;
	io_uring) title="io_uring" ;;
	*) title=$kind ;;
	esac
	rm -f downloading dead
	cell "$title: requests, uploads, kept connections" works $kind
	killed
	if declare -F "reload_${kind%%-*}" >/dev/null; then
		cell "$title: reloaded under load" reloaded $kind
		killed
	fi
	rm -f downloading dead
	cell "$title: kill -9 during downloads" dies $kind
	killed
done
fresh
limit "Go as it comes (Multipath TCP)" "its listener speaks MPTCP: refused with that reason (README, Limits)" refused_mptcp
cells_end
