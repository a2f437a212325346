/* Asks echo.x over one transport, through the mapper of the host.
 *
 *   client NETID HOST echo TEXT    prints the answers of both versions
 *   client NETID HOST blob BYTES   sends that many bytes and compares what comes back
 *   client NETID HOST leave        makes the server unregister
 *   client NETID HOST where        prints the address the mapper gives
 *   client NETID HOST time         prints the mapper's clock
 *
 * A transport written class:NAME is one of the classes of rpc(3), for clnt_create. Failures are
 * printed in libtirpc's words. */

#include <err.h>
#include <netconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "echo.h"

static const char *netid, *host;

static struct netconfig *transport(void)
{
	struct netconfig *conf = getnetconfigent(netid);
	if (conf == NULL)
		errx(2, "%s is not in /etc/netconfig", netid);
	return conf;
}

static CLIENT *dial(rpcvers_t vers)
{
	CLIENT *c;
	if (strncmp(netid, "class:", 6) == 0)
		c = clnt_create(host, ECHO_PROG, vers, netid + 6);
	else
		c = clnt_tp_create(host, ECHO_PROG, vers, transport());
	if (c == NULL) {
		clnt_pcreateerror(netid);
		exit(1);
	}
	return c;
}

static void *check(CLIENT *c, void *result)
{
	if (result == NULL) {
		clnt_perror(c, netid);
		exit(1);
	}
	return result;
}

static void echo(char *text)
{
	CLIENT *c = dial(ECHO_V1);
	printf("1 %s\n", *(char **)check(c, echo_1(&text, c)));
	c = dial(ECHO_V3);
	printf("3 %s\n", *(char **)check(c, echo3_3(&text, c)));
}

static void send_blob(size_t size)
{
	CLIENT *c = dial(ECHO_V1);
	blob sent = { .blob_len = size, .blob_val = malloc(size) }, *got;

	for (size_t i = 0; i < size; i++)
		sent.blob_val[i] = (char)(i * 31 + i / 4096);
	got = check(c, echo_blob_1(&sent, c));
	if (got->blob_len != size || memcmp(got->blob_val, sent.blob_val, size) != 0)
		errx(1, "%u bytes came back, or other ones than the %zu sent", got->blob_len, size);
	printf("%zu bytes\n", size);
}

static void where(void)
{
	struct netconfig *conf = transport();
	char address[256];
	struct netbuf found = { .maxlen = sizeof address, .buf = address };

	if (!rpcb_getaddr(ECHO_PROG, ECHO_V1, conf, &found, host)) {
		clnt_pcreateerror(netid);
		exit(1);
	}
	printf("%s\n", taddr2uaddr(conf, &found));
}

static void show_time(void)
{
	time_t now;
	if (!rpcb_gettime(host, &now))
		errx(1, "rpcb_gettime failed");
	printf("%lld\n", (long long)now);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		errx(2, "usage: client NETID HOST WHAT ...");
	netid = argv[1], host = argv[2];
	if (strcmp(argv[3], "echo") == 0)
		echo(argv[4]);
	else if (strcmp(argv[3], "blob") == 0)
		send_blob(strtoul(argv[4], NULL, 10));
	else if (strcmp(argv[3], "leave") == 0) {
		CLIENT *c = dial(ECHO_V1);
		check(c, leave_1(NULL, c));
	} else if (strcmp(argv[3], "where") == 0)
		where();
	else if (strcmp(argv[3], "time") == 0)
		show_time();
	else
		errx(2, "%s: unknown", argv[3]);
	return 0;
}
