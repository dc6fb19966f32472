// SPDX-License-Identifier: GPL-2.0
/*
 * A Web server on io_uring, without liburing: accept, recv and send are submitted and complete; one ring, one
 * thread, one request in flight for each connection.
 *
 *   uring NAME FOLDER LOG
 *
 * GET /FILE is a file of FOLDER; POST and PUT /sum?id=ID say how long their bodies are, and their Adler-32; LOG gets a line
 * for each.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ENTRIES 256
#define HEAD 65536

enum step { ACCEPTING, RECEIVING, SENDING };

struct connection {
	enum step step;
	int fd;
	int last;		/* Closes after this answer. */
	char in[HEAD];
	size_t have;
	/* Of a body that comes: what is to come yet, and its sum so far. */
	long long rest, length;
	unsigned int a, b;
	int in_body;
	char target[256], method[16];
	char *out;
	size_t size, sent;
};

static struct {
	int fd;
	unsigned int *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
	unsigned int pending;
} ring;
static const char *name, *folder;
static int book, listener;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static void ring_begins(void)
{
	struct io_uring_params p = { 0 };
	char *sq, *cq;

	ring.fd = syscall(SYS_io_uring_setup, ENTRIES, &p);
	if (ring.fd < 0)
		die("io_uring_setup");
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned int), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(struct io_uring_cqe), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_CQ_RING);
	ring.sqes = mmap(NULL, p.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || ring.sqes == MAP_FAILED)
		die("mmap");
	ring.sq_tail = (unsigned int *)(sq + p.sq_off.tail);
	ring.sq_mask = (unsigned int *)(sq + p.sq_off.ring_mask);
	ring.sq_array = (unsigned int *)(sq + p.sq_off.array);
	ring.cq_head = (unsigned int *)(cq + p.cq_off.head);
	ring.cq_tail = (unsigned int *)(cq + p.cq_off.tail);
	ring.cq_mask = (unsigned int *)(cq + p.cq_off.ring_mask);
	ring.cqes = (struct io_uring_cqe *)(cq + p.cq_off.cqes);
}

static void enter(unsigned int wait)
{
	int n;

	do
		n = syscall(SYS_io_uring_enter, ring.fd, ring.pending, wait, IORING_ENTER_GETEVENTS, NULL, 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		die("io_uring_enter");
	ring.pending -= n;
}

static void submit(struct connection *c, int op, int fd, void *at, size_t length)
{
	unsigned int tail = *ring.sq_tail, i = tail & *ring.sq_mask;
	struct io_uring_sqe *e = &ring.sqes[i];

	memset(e, 0, sizeof(*e));
	e->opcode = op;
	e->fd = fd;
	e->addr = (unsigned long)at;
	e->len = length;
	e->msg_flags = op == IORING_OP_SEND ? MSG_NOSIGNAL : 0;
	e->user_data = (unsigned long)c;
	ring.sq_array[i] = i;
	__atomic_store_n(ring.sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (++ring.pending == ENTRIES)
		enter(0);
}

static void receive(struct connection *c)
{
	c->step = RECEIVING;
	submit(c, IORING_OP_RECV, c->fd, c->in + c->have, sizeof(c->in) - c->have - 1);
}

static void answer(struct connection *c, char *body, size_t length)
{
	size_t head;

	c->out = malloc(length + 300);
	if (!c->out)
		die("malloc");
	head = sprintf(c->out, "HTTP/1.1 200 OK\r\nX-Server: %s\r\nContent-Length: %zu\r\n%s\r\n", name, length,
		       c->last ? "Connection: close\r\n" : "");
	memcpy(c->out + head, body, length);
	c->size = head + length;
	c->sent = 0;
	c->step = SENDING;
	submit(c, IORING_OP_SEND, c->fd, c->out, c->size);
}

static void answer_file(struct connection *c)
{
	char path[600], *base = strrchr(c->target, '/'), *body;
	struct stat st;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", folder, base ? base + 1 : "");
	path[strcspn(path, "?")] = 0;
	fd = open(path, O_RDONLY);
	if (fd < 0 || fstat(fd, &st) < 0)
		die(path);
	body = malloc(st.st_size + 1);
	if (!body || read(fd, body, st.st_size) != st.st_size)
		die(path);
	close(fd);
	answer(c, body, st.st_size);
	free(body);
}

static void take_body(struct connection *c)
{
	size_t n = c->have < (size_t)c->rest ? c->have : (size_t)c->rest, i;

	for (i = 0; i < n; i++) {
		c->a = (c->a + (unsigned char)c->in[i]) % 65521;
		c->b = (c->b + c->a) % 65521;
	}
	c->rest -= n;
	c->have -= n;
	memmove(c->in, c->in + n, c->have);
}

/* What has been received so far: an answer goes out, or more must come. */
static void look(struct connection *c)
{
	char *end, *line, text[400];
	int n;

	if (!c->in_body) {
		c->in[c->have] = 0;
		end = strstr(c->in, "\r\n\r\n");
		if (!end) {
			receive(c);
			return;
		}
		if (sscanf(c->in, "%15s %255s", c->method, c->target) != 2)
			die("request");
		c->rest = c->last = 0;
		for (line = strstr(c->in, "\r\n"); line && line < end; line = strstr(line + 2, "\r\n")) {
			if (!strncasecmp(line + 2, "content-length:", 15))
				c->rest = atoll(line + 17);
			if (!strncasecmp(line + 2, "connection: close", 17))
				c->last = 1;
		}
		c->length = c->rest;
		c->a = 1;
		c->b = 0;
		c->have -= end + 4 - c->in;
		memmove(c->in, end + 4, c->have);
		if (!strcmp(c->method, "GET")) {
			answer_file(c);
			return;
		}
		c->in_body = 1;
	}
	take_body(c);
	if (c->rest) {
		receive(c);
		return;
	}
	c->in_body = 0;
	n = snprintf(text, sizeof(text), "%s %s %s\n", name, c->method, c->target);
	if (write(book, text, n) != n)
		die("log");
	n = snprintf(text, sizeof(text), "%lld %u\n", c->length, c->b << 16 | c->a);
	answer(c, text, n);
}

static void done(struct connection *c, int result)
{
	struct connection *new;

	switch (c->step) {
	case ACCEPTING:
		submit(c, IORING_OP_ACCEPT, listener, NULL, 0);
		if (result < 0)
			return;
		new = calloc(1, sizeof(*new));
		if (!new)
			die("calloc");
		new->fd = result;
		receive(new);
		return;
	case RECEIVING:
		if (result > 0) {
			c->have += result;
			look(c);
			return;
		}
		break;
	case SENDING:
		if (result < 0) {
			free(c->out);
			break;
		}
		c->sent += result;
		if (c->sent < c->size) {
			submit(c, IORING_OP_SEND, c->fd, c->out + c->sent, c->size - c->sent);
			return;
		}
		free(c->out);
		if (!c->last) {
			look(c);
			return;
		}
		break;
	}
	close(c->fd);
	free(c);
}

int main(int argc, char **argv)
{
	static struct connection accepting = { .step = ACCEPTING };
	struct sockaddr_in any = { .sin_family = AF_INET, .sin_port = htons(80) };
	int one = 1;

	if (argc != 4)
		return 2;
	name = argv[1];
	folder = argv[2];
	book = open(argv[3], O_WRONLY | O_CREAT | O_APPEND, 0644);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (book < 0 || bind(listener, (struct sockaddr *)&any, sizeof(any)) || listen(listener, 128))
		die("listen");
	ring_begins();
	submit(&accepting, IORING_OP_ACCEPT, listener, NULL, 0);
	for (;;) {
		unsigned int head;

		enter(1);
		for (head = *ring.cq_head; head != __atomic_load_n(ring.cq_tail, __ATOMIC_ACQUIRE);) {
			struct io_uring_cqe e = ring.cqes[head & *ring.cq_mask];

			__atomic_store_n(ring.cq_head, ++head, __ATOMIC_RELEASE);
			done((struct connection *)(unsigned long)e.user_data, e.res);
		}
	}
}
