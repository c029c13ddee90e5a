// Batches of messages to read into and to reply with, with and without UDP_GRO
// and UDP_SEGMENT.
#ifndef MESSAGES_H
#define MESSAGES_H

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
#define BATCH 64              // messages of a recvmmsg or sendmmsg without offloads
#define COALESCED 8           // messages with them
#define COALESCED_BYTES 65536 // of each

static volatile sig_atomic_t stopped;

static void on_term(int sig) {
	(void)sig;
	stopped = 1;
}

// in is a batch of messages to read into, and to reply with.
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
	in->bytes = aligned_alloc(4096, ((size_t)n * room + 4095) / 4096 * 4096);
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

// segment_of returns the segment size of a coalesced packet, and the length of
// a single datagram.
static int segment_of(struct mmsghdr *m) {
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m->msg_hdr); c; c = CMSG_NXTHDR(&m->msg_hdr, c))
		if (c->cmsg_level == SOL_UDP && c->cmsg_type == UDP_GRO) {
			int n;
			memcpy(&n, CMSG_DATA(c), sizeof n);
			return n;
		}
	return m->msg_len;
}

// check_packet checks each datagram of a packet, coalesced or not.
static void check_packet(struct check *c, struct mmsghdr *m) {
	const uint8_t *b = m->msg_hdr.msg_iov->iov_base;
	int step = segment_of(m), n = m->msg_len;
	if (n == 0) check_one(c, b, 0);
	for (int at = 0; at < n; at += step) check_one(c, b + at, n - at < step ? n - at : step);
}

static void use_gro(int fd) {
	int on = 1;
	if (setsockopt(fd, SOL_UDP, UDP_GRO, &on, sizeof on)) die("UDP_GRO");
}

// use_gso makes the kernel split each send into segments of size bytes.
static void use_gso(int fd) {
	if (setsockopt(fd, SOL_UDP, UDP_SEGMENT, &size, sizeof size)) die("UDP_SEGMENT");
}

// read_timeout bounds how long a read blocks, so that the reader sees stopped.
static void read_timeout(int fd, int ms) {
	struct timeval t = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof t);
}

// drops_of returns how many packets the kernel dropped because fd's buffer was full.
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

// new_payloads makes n payloads, one after the other in memory; numbers are written when they are sent.
static uint8_t *new_payloads(int n) {
	uint8_t *b = aligned_alloc(4096, ((size_t)n * size + 4095) / 4096 * 4096);
	for (int i = 0; i < n; i++) memcpy(b + (size_t)i * size, pattern, size);
	return b;
}

#endif
