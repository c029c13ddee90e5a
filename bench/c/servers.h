// The receivers, the echo servers and the relays.
#ifndef SERVERS_H
#define SERVERS_H

#include "messages.h"

static int receive(const char *variant) {
	struct check c = {0};
	// The receiver that spins never sleeps, so no sender has to wake it.
	int fd = listener(), spin = !strcmp(variant, "spin"), gro = spin || !strcmp(variant, "gro");
	if (gro) use_gro(fd);
	read_timeout(fd, 100);
	ready(port_of(fd));
	if (!strcmp(variant, "recvfrom")) {
		static uint8_t b[65536];
		struct sockaddr_in from;
		while (!stopped) {
			socklen_t len = sizeof from;
			ssize_t n = recvfrom(fd, b, sizeof b, 0, (struct sockaddr *)&from, &len);
			if (n >= 0) check_one(&c, b, n);
		}
	} else if (gro || !strcmp(variant, "recvmmsg")) {
		struct in *in = gro ? new_in(COALESCED, COALESCED_BYTES) : new_in(BATCH, size + 1);
		while (!stopped) {
			int n = read_in(fd, in, gro, spin ? MSG_DONTWAIT : MSG_WAITFORONE);
			for (int i = 0; i < n; i++) {
				if (gro) check_packet(&c, &in->m[i]);
				else check_one(&c, in->v[i].iov_base, in->m[i].msg_len);
			}
		}
	} else {
		return 2;
	}
	printf("{");
	print_check(&c);
	printf(",\"coalesced\":%s,\"cpu_ns\":%lu}\n", gro ? "true" : "false", cpu_ns() - cpu_at_start);
	return 0;
}

static int send_all(int fd, struct mmsghdr *m, int n, uint64_t *errors) {
	int done = 0;
	while (done < n) {
		int r = sendmmsg(fd, m + done, n - done, 0);
		if (r > 0) done += r;
		else if (errno == EINTR || errno == EAGAIN || errno == ENOBUFS) continue;
		else {
			++*errors;
			done++;
		}
	}
	return done;
}

// work sleeps as long as a request takes, and writes the time of its end into the reply.
static void work(uint8_t *b) {
	if (!sleep_ms) return;
	struct timespec t = {.tv_nsec = sleep_ms * 1000000L};
	nanosleep(&t, NULL);
	uint64_t end = wall_ns();
	memcpy(b + 8, &end, sizeof end);
}

// echo sends each datagram back to its sender: from the socket that received it,
// or, as a relay, from another one.
static int echo(const char *variant, int relay) {
	uint64_t received = 0, sent = 0, errors = 0;
	int fd = listener(), out = relay ? listener() : fd, gro = !strcmp(variant, "gro");
	if (gro) use_gro(fd);
	read_timeout(fd, 100);
	ready(port_of(fd));
	if (!strcmp(variant, "recvfrom")) {
		static uint8_t b[65536];
		struct sockaddr_in from;
		while (!stopped) {
			socklen_t len = sizeof from;
			ssize_t n = recvfrom(fd, b, sizeof b, 0, (struct sockaddr *)&from, &len);
			if (n < 0) continue;
			received++;
			work(b);
			if (sendto(out, b, n, 0, (struct sockaddr *)&from, len) == n) sent++;
			else errors++;
		}
	} else if (gro || !strcmp(variant, "recvmmsg")) {
		struct in *in = gro ? new_in(COALESCED, COALESCED_BYTES) : new_in(BATCH, size + 1);
		while (!stopped) {
			int n = read_in(fd, in, gro, MSG_WAITFORONE);
			if (n <= 0) continue;
			uint64_t datagrams = 0, failed = errors;
			for (int i = 0; i < n; i++) {
				struct mmsghdr *m = &in->m[i];
				int step = segment_of(m), len = m->msg_len;
				datagrams += len > step ? (len + step - 1) / step : 1;
				in->v[i].iov_len = len;
				m->msg_hdr.msg_control = NULL;
				m->msg_hdr.msg_controllen = 0;
				if (len <= step) continue;
				m->msg_hdr.msg_control = in->control[i];
				m->msg_hdr.msg_controllen = CMSG_SPACE(sizeof(uint16_t));
				struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr);
				uint16_t segment = step;
				c->cmsg_level = SOL_UDP, c->cmsg_type = UDP_SEGMENT, c->cmsg_len = CMSG_LEN(sizeof segment);
				memcpy(CMSG_DATA(c), &segment, sizeof segment);
			}
			send_all(out, in->m, n, &errors);
			received += datagrams;
			if (errors == failed) sent += datagrams;
		}
	} else {
		return 2;
	}
	printf("{\"received\":%lu,\"sent\":%lu,\"errors\":%lu,\"coalesced\":%s,\"cpu_ns\":%lu}\n", received, sent, errors,
	       gro ? "true" : "false", cpu_ns() - cpu_at_start);
	return 0;
}

#endif
