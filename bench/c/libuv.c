// libuv's receiver and echo server. Usage: libuv ROLE VARIANT [name=value ...], see
// ../README.md; or libuv version.
#include "common.h"
#include <uv.h>

static struct check check;
static uint64_t received, sent, errors;
static int echoing;
static uv_udp_t udp;
static char *room;

// Room for the 20 messages that libuv reads at once, see UV_UDP_RECVMMSG.
#define ROOM (20 * 65536)

static void alloc(uv_handle_t *h, size_t suggested, uv_buf_t *b) {
	(void)h, (void)suggested;
	*b = uv_buf_init(room, ROOM);
}

static void on_datagram(uv_udp_t *h, ssize_t n, const uv_buf_t *b, const struct sockaddr *from, unsigned flags) {
	(void)flags;
	if (n < 0 || !from) return; // nothing more to read now
	if (!echoing) {
		check_one(&check, (const uint8_t *)b->base, n);
		return;
	}
	received++;
	uv_buf_t reply = uv_buf_init(b->base, n);
	if (uv_udp_try_send(h, &reply, 1, from) == n) sent++;
	else errors++;
}

static void on_signal(uv_signal_t *s, int number) {
	(void)number;
	uv_stop(s->loop);
}

int main(int argc, char **argv) {
	if (argc == 2 && !strcmp(argv[1], "version")) return puts(uv_version_string()) < 0;
	if (argc < 3) return 2;
	parse_args(argc, argv);
	make_pattern();
	echoing = !strcmp(argv[1], "echo");
	room = malloc(ROOM);
	uv_loop_t *loop = uv_default_loop();
	uv_signal_t term;
	uv_signal_init(loop, &term);
	uv_signal_start(&term, on_signal, SIGTERM);
	int fd = listener(), err = uv_udp_init_ex(loop, &udp, UV_UDP_RECVMMSG);
	if (!err) err = uv_udp_open(&udp, fd);
	if (!err) err = uv_udp_recv_start(&udp, alloc, on_datagram);
	if (err) {
		fprintf(stderr, "libuv: %s\n", uv_strerror(err));
		return 1;
	}
	ready(port_of(fd));
	uv_run(loop, UV_RUN_DEFAULT);
	printf("{");
	if (echoing) printf("\"received\":%lu,\"sent\":%lu,\"errors\":%lu", received, sent, errors);
	else print_check(&check);
	printf(",\"coalesced\":false,\"cpu_ns\":%lu}\n", cpu_ns() - cpu_at_start);
	return 0;
}
