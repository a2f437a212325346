/* Registers and unregisters by hand, with libtirpc's calls of both generations, as the user
 * whose number is the argument, if there is one. Each line of standard input is one call, for
 * which it prints true or false:
 *
 *   set PROGRAM VERSION NETID UADDR       rpcb_set
 *   unset PROGRAM VERSION NETID           rpcb_unset; "*" is every transport
 *   pmapset PROGRAM VERSION tcp|udp PORT  pmap_set
 *   pmapunset PROGRAM VERSION             pmap_unset */

#include <err.h>
#include <grp.h>
#include <netconfig.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <rpc/rpc.h>
#include <rpc/pmap_clnt.h>

static struct netconfig *transport(const char *netid)
{
	struct netconfig *conf = getnetconfigent(netid);
	if (conf == NULL)
		errx(2, "%s is not in /etc/netconfig", netid);
	return conf;
}

static bool_t set(unsigned prog, unsigned vers, const char *netid, const char *uaddr)
{
	struct netconfig *conf = transport(netid);
	struct netbuf *taddr = uaddr2taddr(conf, uaddr);
	if (taddr == NULL)
		errx(2, "%s is no address of %s", uaddr, netid);
	return rpcb_set(prog, vers, conf, taddr);
}

/* By itself, and not started as that user, who may not look into the folder of a test. */
static void become(unsigned uid)
{
	if (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0)
		err(1, "cannot become user %u", uid);
}

int main(int argc, char **argv)
{
	char line[512], verb[16], third[64], fourth[256];
	unsigned prog, vers;

	if (argc > 1)
		become(strtoul(argv[1], NULL, 10));
	while (fgets(line, sizeof line, stdin) != NULL) {
		bool_t done;
		third[0] = fourth[0] = '\0';
		if (sscanf(line, "%15s %u %u %63s %255s", verb, &prog, &vers, third, fourth) < 3)
			errx(2, "cannot read: %s", line);
		if (strcmp(verb, "set") == 0)
			done = set(prog, vers, third, fourth);
		else if (strcmp(verb, "unset") == 0)
			done = rpcb_unset(prog, vers, strcmp(third, "*") == 0 ? NULL : transport(third));
		else if (strcmp(verb, "pmapset") == 0)
			done = pmap_set(prog, vers, strcmp(third, "tcp") == 0 ? IPPROTO_TCP : IPPROTO_UDP, atoi(fourth));
		else if (strcmp(verb, "pmapunset") == 0)
			done = pmap_unset(prog, vers);
		else
			errx(2, "%s: unknown", verb);
		puts(done ? "true" : "false");
	}
	return 0;
}
