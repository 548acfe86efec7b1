/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/cli/policy.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "policy") == 0)
		return cli_policy(argc - 1, argv + 1);
	fputs("usage: reeve policy COMMAND ...\n", stderr);
	return 2;
}
