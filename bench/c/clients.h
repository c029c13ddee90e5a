// The clients of the echo servers and the relays.
#ifndef CLIENTS_H
#define CLIENTS_H

#include "messages.h"
#include <poll.h>

// A client is one socket with datagrams outstanding.
struct client {
	int fd;
	struct check c;
	uint64_t sent, given_up;
};

static void print_clients(struct client *cs) {
	struct check sum = cs[0].c;
	uint64_t sent = cs[0].sent, drops = drops_of(cs[0].fd), counted = sum.last_count - sum.base_count;
	for (int i = 1; i < peers; i++) {
		struct check *c = &cs[i].c;
		sent += cs[i].sent, drops += drops_of(cs[i].fd), counted += c->last_count - c->base_count;
		sum.received += c->received, sum.bad += c->bad, sum.disorder += c->disorder, sum.lost += c->lost;
		if (c->base < sum.base) sum.base = c->base;
		if (c->last > sum.last) sum.last = c->last;
	}
	sum.base_count = 0, sum.last_count = counted;
	print_check(&sum);
	printf(",\"sent\":%lu,\"drops\":%lu", sent, drops);
}

// flood keeps window datagrams outstanding, from one socket or from several.
// A relay replies from another port, so its client is not connected.
static int flood(int relay) {
	static struct client cs[MAX_PEERS];
	static struct pollfd polled[MAX_PEERS];
	uint64_t errors = 0, timeouts = 0, share = window / peers;
	for (int i = 0; i < peers; i++) {
		cs[i].fd = polled[i].fd = relay ? listener() : connected();
		polled[i].events = POLLIN;
		read_timeout(cs[i].fd, 200);
		use_gro(cs[i].fd);
		use_gso(cs[i].fd);
	}
	struct in *in = new_in(COALESCED, COALESCED_BYTES);
	uint64_t n = segments < (int)share ? segments : (int)share;
	size_t bytes = n * size;
	uint8_t *b = new_payloads(n);
	uint64_t until = now_ns() + (uint64_t)((seconds + warm) * 1e9);
	cpu_at_start = cpu_ns();
	for (int sending = 1, waits = 0;;) {
		uint64_t outstanding = 0, got = 0;
		if (now_ns() >= until) sending = 0;
		for (struct client *c = cs; c < cs + peers; c++) {
			while (sending && c->sent - c->c.received - c->given_up + n <= share) {
				for (uint64_t i = 0; i < n; i++) number(b + i * size, c->sent + i);
				ssize_t r = relay ? sendto(c->fd, b, bytes, 0, (struct sockaddr *)&to, sizeof to) : send(c->fd, b, bytes, 0);
				if (r == (ssize_t)bytes) c->sent += n;
				else if (++errors > 1000) die("send");
			}
			outstanding += c->sent - c->c.received;
		}
		if (!outstanding && !sending) break;
		if (peers > 1) poll(polled, peers, 200);
		for (int i = 0; i < peers; i++) {
			if (peers > 1 && !(polled[i].revents & POLLIN)) continue;
			int r = read_in(cs[i].fd, in, 1, peers > 1 ? MSG_DONTWAIT : MSG_WAITFORONE);
			for (int k = 0; k < r; k++) check_packet(&cs[i].c, &in->m[k]);
			if (r > 0) got += r;
		}
		if (!got) { // the outstanding ones were lost, or are very late
			timeouts++;
			for (int i = 0; i < peers; i++) cs[i].given_up = cs[i].sent - cs[i].c.received;
			if (++waits == 15 && !sending) break;
			continue;
		}
		waits = 0;
		for (struct client *c = cs; c < cs + peers; c++) // late, not lost
			if (c->c.received + c->given_up > c->sent) c->given_up = c->sent - c->c.received;
	}
	printf("{");
	print_clients(cs);
	printf(",\"errors\":%lu,\"timeouts\":%lu,\"segments\":%lu,\"cpu_ns\":%lu}\n", errors, timeouts, n, cpu_ns() - cpu_at_start);
	return 0;
}

static int by_value(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

// PERCENTILE is of n values in order.
#define PERCENTILE(values, n, p) ((n) ? (values)[(uint64_t)(((n) - 1) * (p))] : 0)

// ping has one datagram outstanding.
static int ping(void) {
	struct check c = {0};
	uint64_t sent = 0, timeouts = 0, rounds = 0;
	static uint8_t in[65536];
	int fd = connected();
	read_timeout(fd, 3000);
	uint8_t *b = new_payloads(1);
	size_t room = 1 << 22;
	uint32_t *took = malloc(room * sizeof *took);
	uint64_t start = now_ns(), begin = start + (uint64_t)(warm * 1e9), until = begin + (uint64_t)(seconds * 1e9);
	uint64_t at = start, first = 0;
	cpu_at_start = cpu_ns();
	while (at < until && rounds < room) {
		number(b, sent);
		uint64_t before = now_ns();
		if (send(fd, b, size, 0) != size) die("send");
		sent++;
		ssize_t n = recv(fd, in, sizeof in, 0);
		at = now_ns();
		if (n < 0) {
			timeouts++;
			break; // no percentile would count it, so the figure is invalid
		}
		check_one(&c, in, n);
		if (memcmp(in, b, n)) c.bad++;
		if (before >= begin) {
			if (!first) first = before;
			took[rounds++] = at - before;
		}
	}
	qsort(took, rounds, sizeof *took, by_value);
	printf("{\"received\":%lu,\"bad\":%lu,\"disorder\":%lu,\"lost\":%lu,\"sent\":%lu,\"timeouts\":%lu,\"counted\":%lu,"
	       "\"seconds\":%.6f,\"p50_ns\":%u,\"p99_ns\":%u,\"p999_ns\":%u,\"drops\":%u,\"segments\":1,\"cpu_ns\":%lu}\n",
	       c.received, c.bad, c.disorder, c.lost, sent, timeouts, rounds, first ? (double)(at - first) / 1e9 : 0,
	       PERCENTILE(took, rounds, 0.5), PERCENTILE(took, rounds, 0.99), PERCENTILE(took, rounds, 0.999), drops_of(fd),
	       cpu_ns() - cpu_at_start);
	return 0;
}

// arrival returns when the kernel received a message, see SO_TIMESTAMPNS in socket(7).
static uint64_t arrival(struct msghdr *h) {
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_TIMESTAMPNS) {
			struct timespec t;
			memcpy(&t, CMSG_DATA(c), sizeof t);
			return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
		}
	return 0;
}

// REQUESTS is one that is handled first and a batch of 64.
#define REQUESTS 65

// burst sends REQUESTS at once to a server that needs sleep milliseconds for each and writes into
// each reply when its work ended. It measures when reply 31 was sent, and how long after the end
// of its work each reply was sent. It uses the kernel's time of arrival, so this process need not
// run at once.
static int burst(void) {
	uint64_t received = 0, bad = 0, reply31 = 0, before = 0, counted = 0;
	uint32_t delays[REQUESTS] = {0};
	uint8_t in[2048];
	char control[CMSG_SPACE(sizeof(struct timespec))];
	struct iovec to_in = {.iov_base = in, .iov_len = sizeof in}, v[REQUESTS];
	struct mmsghdr m[REQUESTS] = {0};
	int on = 1, fd = connected(), wanted = 1 + REQUESTS;
	if (setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on)) die("SO_TIMESTAMPNS");
	read_timeout(fd, 3000);
	uint8_t *b = new_payloads(wanted);
	for (int i = 0; i < wanted; i++) number(b + (size_t)i * size, i);
	for (int i = 0; i < REQUESTS; i++) {
		v[i] = (struct iovec){.iov_base = b + (size_t)(i + 1) * size, .iov_len = size};
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	cpu_at_start = cpu_ns();
	if (send(fd, b, size, 0) != size) die("send"); // the first reply is not measured, as it may start something
	while (received < (uint64_t)wanted) {
		struct msghdr h = {.msg_iov = &to_in, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
		ssize_t n = recvmsg(fd, &h, 0);
		if (n < 0) break; // the sums don't agree, so the figure is invalid
		uint64_t end, seq, at = arrival(&h);
		memcpy(&seq, in, sizeof seq);
		memcpy(&end, in + 8, sizeof end);
		if (n != size || seq != received || !at || at < end) bad++;
		if (received++ == 0) {
			before = wall_ns();
			if (sendmmsg(fd, m, REQUESTS, 0) != REQUESTS) die("sendmmsg");
			continue;
		}
		delays[counted++] = at - end;
		if (counted == 31) reply31 = at - before;
	}
	qsort(delays, counted, sizeof *delays, by_value);
	printf("{\"received\":%lu,\"bad\":%lu,\"sent\":%d,\"segments\":1,\"drops\":%u,\"counted\":%lu,\"reply31_ns\":%lu,"
	       "\"p50_ns\":%u,\"most_ns\":%u,\"cpu_ns\":%lu}\n", received, bad, wanted, drops_of(fd), counted, reply31,
	       PERCENTILE(delays, counted, 0.5), PERCENTILE(delays, counted, 1), cpu_ns() - cpu_at_start);
	return 0;
}

#endif
