// The senders, and dial, which opens and closes sockets.
#ifndef SENDERS_H
#define SENDERS_H

#include "messages.h"

static int do_send(const char *variant) {
	uint64_t sent = 0, errors = 0, start, end;
	int named = !strcmp(variant, "gso-to"), apart = named || !strcmp(variant, "gso-iov");
	int gso = apart || !strcmp(variant, "gso"), one = !strcmp(variant, "sendto");
	if (!gso && !one && strcmp(variant, "sendmmsg")) return 2;
	int fd = one || named ? listener() : connected();
	if (gso) use_gso(fd);
	int n = gso ? segments : one ? 1 : BATCH;
	uint8_t *b = new_payloads(n);
	struct mmsghdr m[BATCH] = {0};
	struct iovec v[MOST_SEGMENTS];
	for (int i = 0; i < n && !one; i++) {
		v[i].iov_base = b + (size_t)i * size;
		v[i].iov_len = size;
		if (gso) continue;
		m[i].msg_hdr.msg_iov = &v[i];
		m[i].msg_hdr.msg_iovlen = 1;
	}
	struct msghdr segmented = {.msg_iov = v, .msg_iovlen = n};
	if (named) segmented.msg_name = &to, segmented.msg_namelen = sizeof to;
	cpu_at_start = cpu_ns();
	start = end = now_ns();
	uint64_t until = start + (uint64_t)((seconds + warm) * 1e9);
	for (int round = 0; !stopped; round++) {
		if ((one ? round & 31 : 0) == 0 && (end = now_ns()) >= until) break;
		for (int i = 0; i < n; i++) number(b + (size_t)i * size, sent + i);
		if (one) {
			if (sendto(fd, b, size, 0, (struct sockaddr *)&to, sizeof to) == size) sent++;
			else errors++;
		} else if (gso) {
			ssize_t r = apart ? sendmsg(fd, &segmented, 0) : send(fd, b, (size_t)n * size, 0);
			if (r == (ssize_t)n * size) sent += n;
			else if (errno == EINVAL && n > 64) { // before Linux 6.9, UDP_MAX_SEGMENTS is 64
				segmented.msg_iovlen = n = 64;
				continue;
			} else errors++;
		} else {
			int r = sendmmsg(fd, m, n, 0);
			if (r > 0) sent += r;
			else errors++;
		}
		if (errors > 1000) die(variant);
	}
	printf("{\"sent\":%lu,\"errors\":%lu,\"seconds\":%.6f,\"segments\":%d,\"cpu_ns\":%lu}\n", sent, errors,
	       (double)(end - start) / 1e9, gso ? n : 1, cpu_ns() - cpu_at_start);
	return 0;
}

// send_count sends count datagrams from each of peers sockets in turn, so that
// nothing can be coalesced.
static int send_count(void) {
	int fds[MAX_PEERS];
	for (int i = 0; i < peers; i++) fds[i] = connected();
	uint8_t *b = new_payloads(1);
	uint64_t errors = 0, start = now_ns();
	cpu_at_start = cpu_ns();
	for (int i = 0; i < count; i++) {
		number(b, first_number + i);
		if (send(fds[i % peers], b, size, 0) != size && ++errors > 1000) die("send");
	}
	printf("{\"sent\":%lu,\"errors\":%lu,\"seconds\":%.6f,\"segments\":1,\"cpu_ns\":%lu}\n", count - errors, errors,
	       (double)(now_ns() - start) / 1e9, cpu_ns() - cpu_at_start);
	return 0;
}

// dial opens, connects and closes sockets, one at a time, with UDP_GRO or without.
static int dial(const char *variant) {
	uint64_t n = 0, start = now_ns(), until = start + (uint64_t)(seconds * 1e9), end = start;
	int gro = !strcmp(variant, "gro"), peer = listener();
	to.sin_family = AF_INET;
	to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	to.sin_port = htons(port_of(peer));
	cpu_at_start = cpu_ns();
	for (; (end = now_ns()) < until; n++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		if (fd < 0) die("socket");
		if (connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
		if (gro) use_gro(fd);
		close(fd);
	}
	printf("{\"sent\":%lu,\"received\":%lu,\"counted\":%lu,\"seconds\":%.6f,\"cpu_ns\":%lu}\n", n, n, n,
	       (double)(end - start) / 1e9, cpu_ns() - cpu_at_start);
	return 0;
}

#endif
