/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/cli/cli.h"

#include <string.h>

static bool take(const struct cli_option *o, int argc, char **argv, int *i, bool *ret_ok)
{
	size_t n = strlen(o->name), max = o->max ? o->max : 1, count = 0;
	const char *value;

	if (strncmp(argv[*i], o->name, n) != 0 || (argv[*i][n] != '\0' && argv[*i][n] != '='))
		return false;
	*ret_ok = false;
	if (o->flag) {
		if (argv[*i][n] == '=') {
			fprintf(stderr, "reeve: %s takes no value\n", o->name);
			return true;
		}
		*o->flag = true;
		*ret_ok = true;
		return true;
	}
	if (argv[*i][n] == '=') {
		value = argv[*i] + n + 1;
	} else if (*i + 1 < argc) {
		value = argv[++*i];
	} else {
		fprintf(stderr, "reeve: %s needs a value\n", o->name);
		return true;
	}
	while (count < max && o->value[count])
		count++;
	if (count == max) {
		fprintf(stderr, "reeve: %s can be given %zu times\n", o->name, max);
		return true;
	}
	o->value[count] = value;
	if (o->count)
		*o->count = count + 1;
	*ret_ok = true;
	return true;
}

bool cli_options(int argc, char **argv, const struct cli_option *list, const char **ret_rest, size_t max,
                 size_t *ret_n)
{
	size_t n = 0;
	bool plain = false;

	for (int i = 1; i < argc; i++) {
		bool known = false, ok = true;

		if (!plain && strcmp(argv[i], "--") == 0) {
			plain = true;
			continue;
		}
		for (const struct cli_option *o = list; !plain && o && o->name && !known; o++)
			known = take(o, argc, argv, &i, &ok);
		if (!ok)
			return false;
		if (known)
			continue;
		if (!plain && argv[i][0] == '-' && argv[i][1]) {
			fprintf(stderr, "reeve %s: unknown option %s\n", argv[0], argv[i]);
			return false;
		}
		if (n == max) {
			fprintf(stderr, "reeve %s: \"%s\" is one too many\n", argv[0], argv[i]);
			return false;
		}
		ret_rest[n++] = argv[i];
	}
	if (ret_n)
		*ret_n = n;
	return true;
}
