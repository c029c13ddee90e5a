// The C reference: receivers, echo servers, relays, senders and clients, with
// what Linux has for each. Usage: ref ROLE VARIANT [name=value ...], see ../README.md.
#define _GNU_SOURCE
#include "clients.h"
#include "senders.h"
#include "servers.h"

int main(int argc, char **argv) {
	if (argc < 3) {
		fprintf(stderr, "usage: %s receive|echo|relay|send|count|dial|flood|flood-relay|ping|burst VARIANT [name=value ...]\n",
		        argv[0]);
		return 2;
	}
	parse_args(argc, argv);
	make_pattern();
	struct sigaction a = {.sa_handler = on_term};
	sigaction(SIGTERM, &a, NULL);
	const char *role = argv[1], *variant = argv[2];
	if (!strcmp(role, "receive")) return receive(variant);
	if (!strcmp(role, "echo")) return echo(variant, 0);
	if (!strcmp(role, "relay")) return echo(variant, 1);
	if (!strcmp(role, "send")) return do_send(variant);
	if (!strcmp(role, "count")) return send_count();
	if (!strcmp(role, "dial")) return dial(variant);
	if (!strcmp(role, "flood")) return flood(0);
	if (!strcmp(role, "flood-relay")) return flood(1);
	if (!strcmp(role, "ping")) return ping();
	if (!strcmp(role, "burst")) return burst();
	return 2;
}
