# SPDX-License-Identifier: GPL-2.0
# Those who answer real requests, besides lib.sh's: NAME_begins each; TO is where clients send to. by_switch COMMAND: runs it there.
# Sourced by the scripts here.

direct_begins() { TO=$FAR_SERVER; }

# Keeps connections to the server, as its documentation has it (module ngx_http_upstream).
nginx_begins() {
	TO=$VIP
	mkdir -p proxy
	cat >proxy/nginx.conf <<-CONF
		user root;
		worker_processes 1;
		pid $PWD/proxy/nginx.pid;
		error_log stderr;
		events { worker_connections 4096; }
		http {
			access_log off;
			client_body_temp_path $PWD/proxy/body;
			proxy_temp_path $PWD/proxy/proxy;
			fastcgi_temp_path $PWD/proxy/fastcgi;
			uwsgi_temp_path $PWD/proxy/uwsgi;
			scgi_temp_path $PWD/proxy/scgi;
			client_max_body_size 0;
			upstream web {
				server $BACK_SERVER:80;
				keepalive 32;
			}
			server {
				listen $VIP:80;
				location / {
					proxy_pass http://web;
					proxy_http_version 1.1;
					proxy_set_header Connection "";
				}
			}
		}
	CONF
	by_switch nginx -e stderr -c "$PWD/proxy/nginx.conf"
}

# Connections to the server are shared (the default, http-reuse safe), large responses spliced.
haproxy_begins() {
	TO=$VIP
	cat >haproxy.cfg <<-CONF
		global
			nbthread 1
			maxconn 4096
		defaults
			mode http
			option splice-auto
			timeout connect 10s
			timeout client 600s
			timeout server 600s
			timeout http-keep-alive 60s
			http-reuse always
		frontend web
			bind $VIP:80
			default_backend web
		backend web
			server s $BACK_SERVER:80
	CONF
	by_switch haproxy -q -f haproxy.cfg &
	wait_for 600 eval 'on switch ss -Htln "sport = :80" | grep -q .'
}

thop_begins() {
	TO=$VIP
	load_modules "${1:-}"
	configure <<-END
		pool web
		server s pool web address $BACK_SERVER:80
		service web address $VIP:80 pool web
	END
}
# With a socket at the switch for every connection.
thop-sockets_begins() { thop_begins first_segment=0; }
