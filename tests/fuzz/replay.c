/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The main of a fuzzer where there is no fuzzing engine: every file of its
 * corpus once, then cut short at every length where it is small. */
#include "base/file.h"
#include "base/mem.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <string.h>
#include <unistd.h>

enum { INPUT_MAX = 32 << 20, CUT_MAX = 512, SKIP = 77 };

static size_t ran;

static void run(const char *data, size_t n)
{
	/* a copy of just this size: a sanitizer sees one byte too far */
	uint8_t *copy = malloc(n ? n : 1);

	must(copy);
	if (n)
		memcpy(copy, data, n);
	LLVMFuzzerTestOneInput(copy, n);
	free(copy);
	ran++;
}

static void run_file(const char *path)
{
	struct buf text;
	struct err err;

	if (!file_read(path, INPUT_MAX, &text, &err)) {
		fprintf(stderr, "%s\n", err.msg);
		exit(EXIT_FAILURE);
	}
	run(text.ptr, text.len);
	for (size_t n = 0; text.len <= CUT_MAX && n < text.len; n++)
		run(text.ptr, n);
	buf_done(&text);
}

static void run_folder(const char *path)
{
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] != '.') {
			struct buf b;

			buf_init(&b, 4096);
			buf_addf(&b, "%s/%s", path, names[i]->d_name);
			run_file(b.ptr);
			buf_done(&b);
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

int main(int argc, char **argv)
{
	const char *src = getenv("top_srcdir");
	const char *name = strstr(argv[0], "fuzz_");
	struct buf dir;

	for (int i = 1; i < argc; i++)
		run_file(argv[i]);
	if (argc == 1 && name) {
		for (const char *next; (next = strstr(name + 1, "fuzz_"));)
			name = next;
		buf_init(&dir, 4096);
		buf_addf(&dir, "%s/tests/fuzz/corpus/%s", src ? src : ".", name + 5);
		run_folder(dir.ptr);
		if (ran == 0)
			printf("skipped: no inputs in %s\n", dir.ptr);
		buf_done(&dir);
	}
	if (ran == 0)
		return SKIP;
	printf("100%%: Checks: %zu, Failures: 0, Errors: 0\n", ran);
	return EXIT_SUCCESS;
}
