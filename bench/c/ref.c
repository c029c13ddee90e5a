// The C reference: receivers, echo servers, senders and the two clients, with
// what Linux has for each. Usage: ref ROLE WAY [name=value ...], see ../README.md.
#define _GNU_SOURCE
#include "common.h"
#include <linux/udp.h>
#include <sys/time.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef SOL_UDP
#define SOL_UDP 17
#endif

#define MOST_SEGMENTS 128
#define BATCH 64             // messages of a recvmmsg or sendmmsg without offloads
#define TRAINS 8             // of 64 KiB each, with them
#define TRAIN_BYTES 65536

static volatile sig_atomic_t stopped;

static void on_term(int sig) {
	(void)sig;
	stopped = 1;
}

// in is a set of messages to read into, and to answer with.
struct in {
	struct mmsghdr m[BATCH];
	struct iovec v[BATCH];
	struct sockaddr_in from[BATCH];
	char control[BATCH][CMSG_SPACE(sizeof(int))];
	int n, room;
	uint8_t *bytes;
};

static struct in *new_in(int n, int room) {
	struct in *in = calloc(1, sizeof *in);
	in->n = n, in->room = room;
	in->bytes = aligned_alloc(4096, (size_t)n * room);
	for (int i = 0; i < n; i++) {
		in->v[i].iov_base = in->bytes + (size_t)i * room;
		in->m[i].msg_hdr.msg_iov = &in->v[i];
		in->m[i].msg_hdr.msg_iovlen = 1;
		in->m[i].msg_hdr.msg_name = &in->from[i];
	}
	return in;
}

static int read_in(int fd, struct in *in, int control, int flags) {
	for (int i = 0; i < in->n; i++) {
		struct msghdr *h = &in->m[i].msg_hdr;
		in->v[i].iov_len = in->room;
		h->msg_namelen = sizeof in->from[i];
		h->msg_control = control ? in->control[i] : NULL;
		h->msg_controllen = control ? sizeof in->control[i] : 0;
	}
	return recvmmsg(fd, in->m, in->n, flags, NULL);
}

// segment_of returns the length of a train's segments; of a single datagram its own.
static int segment_of(struct mmsghdr *m) {
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr); c; c = CMSG_NXTHDR(&m->msg_hdr, c))
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			int n;
			memcpy(&n, CMSG_DATA(c), sizeof n);
			return n;
		}
	return m->msg_len;
}

static void check_train(struct check *c, struct mmsghdr *m) {
	const uint8_t *b = m->msg_hdr.msg_iov->iov_base;
	int step = segment_of(m), n = m->msg_len;
	if (n == 0) check_one(c, b, 0);
	for (int at = 0; at < n; at += step) check_one(c, b + at, n - at < step ? n - at : step);
}

static void use_gro(int fd) {
	int on = 1;
	if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on)) die("UDP_GRO");
}

// wake_often lets a blocked read look at stopped.
static void wake_often(int fd) {
	struct timeval t = {.tv_usec = 100000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
}

static int receive(const char *way) {
	struct check c = {0};
	// Who spins never sleeps, so that a sender has nobody to wake.
	int fd = listener(), spin = !strcmp(way, "spin"), gro = spin || !strcmp(way, "gro");
	if (gro) use_gro(fd);
	wake_often(fd);
	ready(port_of(fd));
	if (!strcmp(way, "recvfrom")) {
		static uint8_t b[65536];
		struct sockaddr_in from;
		while (!stopped) {
			socklen_t len = sizeof from;
			ssize_t n = recvfrom(fd, b, sizeof b, 0, (struct sockaddr *)&from, &len);
			if (n >= 0) check_one(&c, b, n);
		}
	} else if (gro || !strcmp(way, "recvmmsg")) {
		struct in *in = gro ? new_in(TRAINS, TRAIN_BYTES) : new_in(BATCH, size + 1);
		while (!stopped) {
			int n = read_in(fd, in, gro, spin ? MSG_DONTWAIT : MSG_WAITFORONE);
			for (int i = 0; i < n; i++) {
				if (gro) check_train(&c, &in->m[i]);
				else check_one(&c, in->v[i].iov_base, in->m[i].msg_len);
			}
		}
	} else {
		return 2;
	}
	printf("{");
	print_check(&c);
	printf(",\"trains\":%s,\"cpu_ns\":%lu}\n", gro ? "true" : "false", cpu_ns() - cpu_at_start);
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

static int echo(const char *way) {
	uint64_t received = 0, sent = 0, errors = 0;
	int fd = listener(), gro = !strcmp(way, "gro");
	if (gro) use_gro(fd);
	wake_often(fd);
	ready(port_of(fd));
	if (!strcmp(way, "recvfrom")) {
		static uint8_t b[65536];
		struct sockaddr_in from;
		while (!stopped) {
			socklen_t len = sizeof from;
			ssize_t n = recvfrom(fd, b, sizeof b, 0, (struct sockaddr *)&from, &len);
			if (n < 0) continue;
			received++;
			if (sendto(fd, b, n, 0, (struct sockaddr *)&from, len) == n) sent++;
			else errors++;
		}
	} else if (gro || !strcmp(way, "recvmmsg")) {
		struct in *in = gro ? new_in(TRAINS, TRAIN_BYTES) : new_in(BATCH, size + 1);
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
			send_all(fd, in->m, n, &errors);
			received += datagrams;
			if (errors == failed) sent += datagrams;
		}
	} else {
		return 2;
	}
	printf("{\"received\":%lu,\"sent\":%lu,\"errors\":%lu,\"trains\":%s,\"cpu_ns\":%lu}\n", received, sent, errors,
	       gro ? "true" : "false", cpu_ns() - cpu_at_start);
	return 0;
}

// use_gso makes each send a train of segments of size bytes.
static void use_gso(int fd) {
	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size)) die("UDP_SEGMENT");
}

// drops_of returns how many times the kernel had no room in fd's buffer.
static uint32_t drops_of(int fd) {
	uint32_t info[16] = {0}; // SK_MEMINFO_DROPS is 8
	socklen_t len = sizeof info;
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len)) die("SO_MEMINFO");
	return info[8];
}

static int connected(void) {
	int fd = listener();
	if (connect(fd, (struct sockaddr *)&to, sizeof to)) die("connect");
	return fd;
}

// new_payloads makes n payloads side by side; numbers are written when they are sent.
static uint8_t *new_payloads(int n) {
	uint8_t *b = aligned_alloc(4096, ((size_t)n * size + 4095) / 4096 * 4096);
	for (int i = 0; i < n; i++) memcpy(b + (size_t)i * size, pattern, size);
	return b;
}

static int do_send(const char *way) {
	uint64_t sent = 0, errors = 0, start, end;
	int named = !strcmp(way, "gso-to"), apart = named || !strcmp(way, "gso-iov");
	int gso = apart || !strcmp(way, "gso"), one = !strcmp(way, "sendto");
	if (!gso && !one && strcmp(way, "sendmmsg")) return 2;
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
	struct msghdr train = {.msg_iov = v, .msg_iovlen = n};
	if (named) train.msg_name = &to, train.msg_namelen = sizeof to;
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
			ssize_t r = apart ? sendmsg(fd, &train, 0) : send(fd, b, (size_t)n * size, 0);
			if (r == (ssize_t)n * size) sent += n;
			else if (errno == EINVAL && n > 64) { // an older kernel
				train.msg_iovlen = n = 64;
				continue;
			} else errors++;
		} else {
			int r = sendmmsg(fd, m, n, 0);
			if (r > 0) sent += r;
			else errors++;
		}
		if (errors > 1000) die(way);
	}
	printf("{\"sent\":%lu,\"errors\":%lu,\"seconds\":%.6f,\"segments\":%d,\"cpu_ns\":%lu}\n", sent, errors,
	       (double)(end - start) / 1e9, gso ? n : 1, cpu_ns() - cpu_at_start);
	return 0;
}

// flood is the client of an echo server that keeps window datagrams outstanding.
static int flood(void) {
	struct check c = {0};
	uint64_t sent = 0, errors = 0, given_up = 0, timeouts = 0;
	int fd = connected();
	struct timeval t = {.tv_usec = 200000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
	use_gro(fd);
	use_gso(fd);
	struct in *in = new_in(TRAINS, TRAIN_BYTES);
	int n = segments < window ? segments : window;
	uint8_t *b = new_payloads(n);
	uint64_t until = now_ns() + (uint64_t)((seconds + warm) * 1e9);
	cpu_at_start = cpu_ns();
	for (int sending = 1, waits = 0;;) {
		if (now_ns() >= until) sending = 0;
		while (sending && sent - c.received - given_up + n <= (uint64_t)window) {
			for (int i = 0; i < n; i++) number(b + (size_t)i * size, sent + i);
			if (send(fd, b, (size_t)n * size, 0) == (ssize_t)n * size) sent += n;
			else if (++errors > 1000) die("send");
		}
		if (sent == c.received && !sending) break;
		int r = read_in(fd, in, 1, MSG_WAITFORONE);
		if (r < 0 && errno == EAGAIN) { // what is outstanding was lost, or is very late
			timeouts++;
			given_up = sent - c.received;
			if (++waits == 15 && !sending) break;
			continue;
		}
		waits = 0;
		for (int i = 0; i < r; i++) check_train(&c, &in->m[i]);
		if (c.received + given_up > sent) given_up = sent - c.received; // late, not lost
	}
	printf("{");
	print_check(&c);
	printf(",\"sent\":%lu,\"errors\":%lu,\"timeouts\":%lu,\"segments\":%d,\"drops\":%u,\"cpu_ns\":%lu}\n", sent, errors,
	       timeouts, n, drops_of(fd), cpu_ns() - cpu_at_start);
	return 0;
}

static int by_value(const void *a, const void *b) {
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

// ping is the client of an echo server that has one datagram outstanding.
static int ping(void) {
	struct check c = {0};
	uint64_t sent = 0, timeouts = 0, rounds = 0;
	static uint8_t in[65536];
	int fd = connected();
	struct timeval t = {.tv_sec = 3};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
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
			break; // a lost one is in no percentile, so the figure is void
		}
		check_one(&c, in, n);
		if (memcmp(in, b, n)) c.bad++;
		if (before >= begin) {
			if (!first) first = before;
			took[rounds++] = at - before;
		}
	}
	qsort(took, rounds, sizeof *took, by_value);
#define PERCENTILE(p) (rounds ? took[(uint64_t)((rounds - 1) * (p))] : 0)
	printf("{\"received\":%lu,\"bad\":%lu,\"disorder\":%lu,\"lost\":%lu,\"sent\":%lu,\"timeouts\":%lu,\"counted\":%lu,"
	       "\"seconds\":%.6f,\"p50_ns\":%u,\"p99_ns\":%u,\"p999_ns\":%u,\"drops\":%u,\"segments\":1,\"cpu_ns\":%lu}\n",
	       c.received, c.bad, c.disorder, c.lost, sent, timeouts, rounds, first ? (double)(at - first) / 1e9 : 0,
	       PERCENTILE(0.5), PERCENTILE(0.99), PERCENTILE(0.999), drops_of(fd), cpu_ns() - cpu_at_start);
	return 0;
}

int main(int argc, char **argv) {
	if (argc < 3) {
		fprintf(stderr, "usage: %s receive|echo|send|flood|ping WAY [name=value ...]\n", argv[0]);
		return 2;
	}
	parse_args(argc, argv);
	make_pattern();
	struct sigaction a = {.sa_handler = on_term};
	sigaction(SIGTERM, &a, NULL);
	if (!strcmp(argv[1], "receive")) return receive(argv[2]);
	if (!strcmp(argv[1], "echo")) return echo(argv[2]);
	if (!strcmp(argv[1], "send")) return do_send(argv[2]);
	if (!strcmp(argv[1], "flood")) return flood();
	if (!strcmp(argv[1], "ping")) return ping();
	return 2;
}
