// What the C programs share: the command line, the check of payloads, the
// measured window and the line of JSON at the end. See ../README.md.
#ifndef COMMON_H
#define COMMON_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MARK 0xa5c3f00d5eed1234ull
#define MAX_PAYLOAD 65507
#define MAX_PEERS 64
#define MAX_DRAINS 64

static int size = 64, segments = 64, window = 1024, buffer_size = 4 << 20;
static int peers = 1, count = 40000, first_number, drain, sleep_ms;
static double seconds = 1, warm = 0.1;
static struct sockaddr_in to;

static void die(const char *what) {
	perror(what);
	exit(1);
}

// parse_args reads "name=value" arguments.
static void parse_args(int argc, char **argv) {
	for (int i = 3; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		if (!value) {
			fprintf(stderr, "not name=value: %s\n", argv[i]);
			exit(2);
		}
		*value++ = 0;
		if (!strcmp(argv[i], "size")) size = atoi(value);
		else if (!strcmp(argv[i], "segments")) segments = atoi(value);
		else if (!strcmp(argv[i], "window")) window = atoi(value);
		else if (!strcmp(argv[i], "buffer")) buffer_size = atoi(value);
		else if (!strcmp(argv[i], "peers")) peers = atoi(value);
		else if (!strcmp(argv[i], "count")) count = atoi(value);
		else if (!strcmp(argv[i], "first")) first_number = atoi(value);
		else if (!strcmp(argv[i], "drain")) drain = atoi(value);
		else if (!strcmp(argv[i], "sleep")) sleep_ms = atoi(value);
		else if (!strcmp(argv[i], "seconds")) seconds = atof(value);
		else if (!strcmp(argv[i], "warm")) warm = atof(value);
		else if (!strcmp(argv[i], "port")) {
			to.sin_family = AF_INET;
			to.sin_port = htons(atoi(value));
			to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		} else {
			fprintf(stderr, "unknown argument: %s\n", argv[i]);
			exit(2);
		}
	}
	if (size < 16 || size > MAX_PAYLOAD) {
		fprintf(stderr, "size must be 16 to %d\n", MAX_PAYLOAD);
		exit(2);
	}
	if (segments * size > MAX_PAYLOAD) segments = MAX_PAYLOAD / size;
	if (segments < 1 || segments > 128) {
		fprintf(stderr, "segments must be 1 to 128\n");
		exit(2);
	}
	if (peers < 1 || peers > MAX_PEERS) {
		fprintf(stderr, "peers must be 1 to %d\n", MAX_PEERS);
		exit(2);
	}
}

static inline uint64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

// wall_ns is comparable between processes and with the kernel's timestamps.
static inline uint64_t wall_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint64_t cpu_ns(void) {
	struct rusage r;
	getrusage(RUSAGE_SELF, &r);
	return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000 +
	       (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000;
}

static uint64_t cpu_at_start;

// ready prints the port and starts the count of CPU time.
static void ready(int port) {
	printf("{\"port\":%d}\n", port);
	fflush(stdout);
	cpu_at_start = cpu_ns();
}

// Payload: the sequence number, a fixed pattern, and the number again, masked.

static uint8_t pattern[65536];

static void make_pattern(void) {
	for (int i = 0; i < (int)sizeof pattern; i++) pattern[i] = (uint8_t)(i * 131 + 7);
}

static inline void number(uint8_t *b, uint64_t seq) {
	uint64_t tail = seq ^ MARK;
	memcpy(b, &seq, 8);
	memcpy(b + size - 8, &tail, 8);
}

struct check {
	uint64_t received, bad, disorder, lost;
	uint64_t next;                      // sequence number that is expected
	uint64_t first, base, last;         // clock, ns
	uint64_t base_count, last_count;    // received then
	uint64_t drain_began, drains[MAX_DRAINS];
	int drain_count;
};

// drained records how long a drain took, from its first sample to its last one.
// Samples are 64 datagrams apart, and drain is a multiple of that.
static void drained(struct check *c, uint64_t t) {
	uint64_t at = c->received % drain;
	if (at == 1) c->drain_began = t;
	else if (at == (uint64_t)drain - 63 && c->drain_count < MAX_DRAINS) c->drains[c->drain_count++] = t - c->drain_began;
}

static int by_uint64(const void *a, const void *b) {
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

// check_one checks a datagram: the length, the number and its masked copy each time, and the whole
// content one time in 64, when it also reads the clock. With drain, so many datagrams are queued
// before they are read.
static inline void check_one(struct check *c, const uint8_t *b, int n) {
	uint64_t seq, tail;
	if (n != size) {
		c->bad++;
		return;
	}
	memcpy(&seq, b, 8);
	memcpy(&tail, b + n - 8, 8);
	if (tail != (seq ^ MARK)) {
		c->bad++;
		return;
	}
	if (seq < c->next) c->disorder++;
	else {
		c->lost += seq - c->next;
		c->next = seq + 1;
	}
	if ((c->received++ & 63) == 0) {
		if (memcmp(b + 8, pattern + 8, n - 16)) c->bad++;
		uint64_t t = now_ns();
		if (!c->first) c->first = t;
		if (t - c->first <= (uint64_t)(warm * 1e9)) {
			c->base = t;
			c->base_count = c->received;
		}
		c->last = t;
		c->last_count = c->received;
		if (drain) drained(c, t);
	}
}

static void print_check(struct check *c) {
	if (drain && c->drain_count > 1) { // the median drain; the first one filled caches
		qsort(c->drains + 1, c->drain_count - 1, sizeof c->drains[0], by_uint64);
		c->base = 0, c->last = c->drains[c->drain_count / 2];
		c->base_count = 0, c->last_count = drain - 64;
	}
	printf("\"received\":%lu,\"bad\":%lu,\"disorder\":%lu,\"lost\":%lu,\"counted\":%lu,\"seconds\":%.6f",
	       c->received, c->bad, c->disorder, c->lost, c->last_count - c->base_count,
	       (double)(c->last - c->base) / 1e9);
}

static int listener(void) {
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	if (fd < 0) die("socket");
	// As package udp does, this exceeds net.core.rmem_max if that is permitted.
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer_size, sizeof buffer_size))
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer_size, sizeof buffer_size);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer_size, sizeof buffer_size))
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer_size, sizeof buffer_size);
	if (bind(fd, (struct sockaddr *)&a, sizeof a)) die("bind");
	return fd;
}

static int port_of(int fd) {
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	if (getsockname(fd, (struct sockaddr *)&a, &len)) die("getsockname");
	return ntohs(a.sin_port);
}

#endif
