/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/cli/show_url.h"

#include "base/span.h"
#include "daemon/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <qrencode.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static bool dark(const QRcode *q, int x, int y)
{
	return x >= 0 && y >= 0 && x < q->width && y < q->width && (q->data[y * q->width + x] & 1);
}

/* Two rows of modules a line, in half blocks; light on dark, as most terminals
 * are, with the quiet zone of four (ISO 18004 says four; two do on screens). */
static void put_qr(FILE *to, const char *url)
{
	static const char *const blocks[] = { "\u2588", "\u2580", "\u2584", " " };
	QRcode *q = QRcode_encodeString(url, 0, QR_ECLEVEL_L, QR_MODE_8, 1);

	if (!q)
		return;
	fputc('\n', to);
	for (int y = -2; y < q->width + 2; y += 2) {
		fputs("  ", to);
		for (int x = -2; x < q->width + 2; x++)
			fputs(blocks[(dark(q, x, y) ? 2 : 0) + (dark(q, x, y + 1) ? 1 : 0)], to);
		fputc('\n', to);
	}
	fputc('\n', to);
	QRcode_free(q);
}

static bool is_utf8(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

	for (size_t i = 0; i < 3; i++) {
		const char *v = getenv(names[i]);

		if (v && *v)
			return strcasestr(v, "utf-8") || strcasestr(v, "utf8");
	}
	return false;
}

void show_url(FILE *to, const char *url, const char *code)
{
	fputs(*code ? "To log in, open this page:\n\n    "
	            : "To log in, open this page of the identity provider in a browser on this device:\n\n    ", to);
	cli_put(to, url);
	fputc('\n', to);
	/* Another device's browser would end at a loopback that is not this one's. */
	if (!*code) {
		fputc('\n', to);
		fflush(to);
		return;
	}
	if (isatty(fileno(to)) && is_utf8())
		put_qr(to, url);
	fputs("\nThe page must show this code:  ", to);
	cli_put(to, code);
	fputs("\n\n", to);
	fflush(to);
}

/* sudo's caller: the browser is theirs. */
static bool become_person(void)
{
	const char *uid = getenv("SUDO_UID"), *gid = getenv("SUDO_GID");
	uint64_t u, g;

	if (geteuid() != 0)
		return true;
	if (!uid || !gid || !span_u64(span_str(uid), UINT32_MAX - 1, &u) || u == 0 ||
	    !span_u64(span_str(gid), UINT32_MAX - 1, &g))
		return false;
	return setgroups(0, NULL) == 0 && setresgid((gid_t)g, (gid_t)g, (gid_t)g) == 0 &&
	       setresuid((uid_t)u, (uid_t)u, (uid_t)u) == 0;
}

bool open_browser(const char *url)
{
	int status;
	pid_t pid;

	/* Only what we would print as a link: never an option, never another scheme. */
	if (!span_starts(span_str(url), SPAN("https://")) && !span_starts(span_str(url), SPAN("http://")))
		return false;
	if (!getenv("DISPLAY") && !getenv("WAYLAND_DISPLAY") && !getenv("BROWSER"))
		return false;
	pid = fork();
	if (pid < 0)
		return false;
	if (pid == 0) {
		pid_t second = fork();
		int null;

		if (second != 0)
			_exit(second < 0);
		if (!become_person())
			_exit(1);
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
		if (null >= 0) {
			dup2(null, STDIN_FILENO);
			dup2(null, STDOUT_FILENO);
			dup2(null, STDERR_FILENO);
		}
		setsid();
		if (getenv("BROWSER"))
			execlp(getenv("BROWSER"), getenv("BROWSER"), url, (char *)NULL);
		execlp("xdg-open", "xdg-open", url, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}
