/* Serves echo.x on every transport, registered by libtirpc.
 *
 *   server                    dynamic ports: svc_create for the "visible" transports, and local
 *   server NETID=UADDR ...    fixed addresses, one transport each
 *
 * Writes "ready" when all is registered. */

#include <err.h>
#include <netconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "echo.h"

#define LOCAL_SOCKET "/run/echo.sock"

void echo_prog_1(struct svc_req *, SVCXPRT *);	/* both from echo_svc.c, by rpcgen */
void echo_prog_3(struct svc_req *, SVCXPRT *);

char **echo_1_svc(char **text, struct svc_req *req) { (void)req; return text; }
blob *echo_blob_1_svc(blob *bytes, struct svc_req *req) { (void)req; return bytes; }

void *leave_1_svc(void *nothing, struct svc_req *req)
{
	static char done;
	(void)nothing, (void)req;
	svc_unreg(ECHO_PROG, ECHO_V1);
	svc_unreg(ECHO_PROG, ECHO_V3);
	/* Gone from the mapper and from the dispatcher, which has yet to answer this very call. */
	return &done;
}

char **echo3_3_svc(char **text, struct svc_req *req) { (void)req; return text; }

static struct netconfig *transport(const char *netid)
{
	struct netconfig *conf = getnetconfigent(netid);
	if (conf == NULL)
		errx(1, "%s is not in /etc/netconfig", netid);
	return conf;
}

static void both(SVCXPRT *xprt, struct netconfig *conf)
{
	if (!svc_reg(xprt, ECHO_PROG, ECHO_V1, echo_prog_1, conf) || !svc_reg(xprt, ECHO_PROG, ECHO_V3, echo_prog_3, conf))
		errx(1, "svc_reg on %s failed", conf->nc_netid);
}

/* libtirpc chooses no path by itself, so the socket is made here. */
static void local(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	SVCXPRT *xprt;

	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	unlink(path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&sun, SUN_LEN(&sun)) < 0 || listen(fd, 16) < 0)
		err(1, "%s", path);
	if ((xprt = svc_vc_create(fd, 0, 0)) == NULL)
		errx(1, "svc_vc_create failed");
	both(xprt, transport("local"));
}

static void fixed(const char *netid, const char *uaddr)
{
	struct netconfig *conf = transport(netid);
	struct t_bind bind = { .qlen = 16 };
	struct netbuf *taddr;
	SVCXPRT *xprt;

	if (strcmp(netid, "local") == 0) {
		local(uaddr);
		return;
	}
	if ((taddr = uaddr2taddr(conf, uaddr)) == NULL)
		errx(1, "%s is no address of %s", uaddr, netid);
	bind.addr = *taddr;
	if ((xprt = svc_tli_create(RPC_ANYFD, conf, &bind, 0, 0)) == NULL)
		errx(1, "svc_tli_create on %s failed", netid);
	both(xprt, conf);
}

int main(int argc, char **argv)
{
	if (argc == 1) {
		/* The number of transports it registered. */
		if (svc_create(echo_prog_1, ECHO_PROG, ECHO_V1, "visible") != 4 || svc_create(echo_prog_3, ECHO_PROG, ECHO_V3, "visible") != 4)
			errx(1, "svc_create failed on some transport");
		local(LOCAL_SOCKET);
	}
	for (int i = 1; i < argc; i++) {
		char *eq = strchr(argv[i], '=');
		if (eq == NULL)
			errx(2, "%s: want NETID=UADDR", argv[i]);
		*eq = '\0';
		fixed(argv[i], eq + 1);
	}
	puts("ready");
	fflush(stdout);
	svc_run();
	errx(1, "svc_run returned");
}
