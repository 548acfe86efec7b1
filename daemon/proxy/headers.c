/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/headers.h"

#include "base/mem.h"

#include <string.h>

void head_add(struct head_out *o, struct span s)
{
	if (!s.len)
		return;
	if (o->over || s.len > o->cap - o->len) {
		o->over = true;
		return;
	}
	memcpy(o->ptr + o->len, s.ptr, s.len);
	o->len += s.len;
}

void head_add_u64(struct head_out *o, uint64_t n)
{
	char buf[20];
	size_t i = sizeof(buf);

	do
		buf[--i] = (char)('0' + n % 10);
	while ((n /= 10));
	head_add(o, span_of(buf + i, sizeof(buf) - i));
}

void head_add_field(struct head_out *o, struct span name, struct span value)
{
	char *p = o->ptr + o->len;

	if (o->over || name.len + value.len + 4 > o->cap - o->len) {
		o->over = true;
		return;
	}
	memcpy(p, name.ptr, name.len);
	p += name.len;
	*p++ = ':';
	*p++ = ' ';
	if (value.len)
		memcpy(p, value.ptr, value.len);
	p += value.len;
	*p++ = '\r';
	*p++ = '\n';
	o->len = (size_t)(p - o->ptr);
}

/* 0: dropped by the fold. */
static const char folds[256] = {
	['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6',
	['7'] = '7', ['8'] = '8', ['9'] = '9',
#define L(up, lo) [up] = lo, [lo] = lo
	L('A', 'a'), L('B', 'b'), L('C', 'c'), L('D', 'd'), L('E', 'e'), L('F', 'f'), L('G', 'g'),
	L('H', 'h'), L('I', 'i'), L('J', 'j'), L('K', 'k'), L('L', 'l'), L('M', 'm'), L('N', 'n'),
	L('O', 'o'), L('P', 'p'), L('Q', 'q'), L('R', 'r'), L('S', 's'), L('T', 't'), L('U', 'u'),
	L('V', 'v'), L('W', 'w'), L('X', 'x'), L('Y', 'y'), L('Z', 'z'),
#undef L
};

struct span header_fold(struct span name, char out[HTTP_NAME_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < name.len && n < HTTP_NAME_MAX; i++) {
		char c = folds[(unsigned char)name.ptr[i]];

		if (c)
			out[n++] = c;
	}
	return span_of(out, n);
}

/*
 * Folded beginnings ("=": the whole name), each list for one first letter.
 * What stands behind a beginning is stripped with it: an application may well
 * read more of a family than we know.
 */
static const char *const strip_c[] = {
	"=clientip", "=clientcert", "=clientcertchain", "cfconnecting", "cfaccess", "=cfray",
	"=coalbclientip", NULL
};
static const char *const strip_f[] = { "forwarded", "fastlyclientip", "=frontendhttps", "=from", NULL };
static const char *const strip_h[] = { "http2settings", "httpxforwarded", "httpremote", "httpuser", NULL };
static const char *const strip_m[] = { "=methodoverride", NULL };
static const char *const strip_o[] = { "oidc", "=originalurl", "=originaluri", NULL };
static const char *const strip_p[] = { "=proxy", "proxyclientip", "=pathinfo", "=proxyhost", NULL };
static const char *const strip_r[] = {
	"remoteuser", "remotename", "remoteemail", "remotegroup", "remoteaddr", "remotehost",
	"remoteident", "remoteport", "reeve", "=redirectremoteuser", "redirectremote", "=requesturi",
	"=realip", NULL
};
static const char *const strip_s[] = { "sslclient", "=scriptname", "=serverport", "=servername", NULL };
static const char *const strip_t[] = { "tailscale", "trueclientip", NULL };
static const char *const strip_u[] = { "=urlscheme", NULL };
static const char *const strip_w[] = { "wlproxy", "=webauthuser", NULL };
static const char *const strip_x[] = {
	"xforward", "xreeve", "xwebauth", "xremote", "xreal", "xclient", "xclusterclient",
	"xoriginal", "xoriginating", "xrewrite", "xhttpmethod", "=xmethodoverride", "=xmethod",
	"=xhost", "xhttphost", "=xscriptname", "=xurlscheme", "=xproxyuser", "=xproxyremoteuser",
	"xauthrequest", "xauthentik", "xssl", "xgoogiap", "xgoogauthenticated", "xmsclientprincipal",
	"xamznoidc", "xpomerium", "xvouch", "xoidc", "xtailscale", "=xuser", "=xusername",
	"=xrequestid", "=xpathinfo", "=xappengineuser", "xhttpdestination", "=xauthuser",
	"=xauthusername", "=xauthemail", "=xauthgroups", "=xauthname", "xarrclientcert",
	"=xscheme", "=xtrustproxy", "xenvoy", "=xwapprofile", NULL
};

static bool listed(const char *const *list, struct span folded)
{
	for (; *list; list++) {
		bool whole = **list == '=';
		struct span name = span_str(*list + whole);

		if (whole ? span_eq(folded, name) : span_starts(folded, name))
			return true;
	}
	return false;
}

bool header_strips(const struct snapshot *s, struct span name)
{
	static const char *const *const by_letter[26] = {
		['c' - 'a'] = strip_c, ['f' - 'a'] = strip_f, ['h' - 'a'] = strip_h,
		['m' - 'a'] = strip_m, ['o' - 'a'] = strip_o, ['p' - 'a'] = strip_p,
		['r' - 'a'] = strip_r, ['s' - 'a'] = strip_s, ['t' - 'a'] = strip_t,
		['u' - 'a'] = strip_u, ['w' - 'a'] = strip_w, ['x' - 'a'] = strip_x,
	};
	char buf[HTTP_NAME_MAX];
	struct span folded = header_fold(name, buf);

	/* nothing but punctuation: some reader's empty name */
	if (folded.len == 0)
		return true;
	if (folded.ptr[0] >= 'a' && by_letter[folded.ptr[0] - 'a'] &&
	    listed(by_letter[folded.ptr[0] - 'a'], folded))
		return true;
	return s && snapshot_strips(s, folded);
}

static bool hop_by_hop(const struct message *m, const struct field *f)
{
	switch (f->id) {
	case HEAD_CONNECTION:
	case HEAD_KEEP_ALIVE:
	case HEAD_PROXY_CONNECTION:
	case HEAD_PROXY_AUTHENTICATE:
	case HEAD_PROXY_AUTHORIZATION:
	case HEAD_TE:
	case HEAD_TRAILER:
	case HEAD_TRANSFER_ENCODING:
	case HEAD_UPGRADE:
	case HEAD_HTTP2_SETTINGS:
	case HEAD_CONTENT_LENGTH:
		return true;
	default:
		return m->nominee_count && message_nominates(m, f->name);
	}
}

bool header_passes_up(const struct snapshot *s, const struct message *m, const struct field *f)
{
	if (hop_by_hop(m, f))
		return false;
	switch (f->id) {
	case HEAD_HOST:
	case HEAD_EXPECT:
	case HEAD_MAX_FORWARDS:
	case HEAD_X_REQUEST_ID:
		return false;
	case HEAD_OTHER:
		return !header_strips(s, f->name);
	case HEAD_CONTENT_ENCODING:
		/* transfer codings that stay on the payload are appended: written with them */
		return m->coding_count == 0;
	default:
		return true;
	}
}

/* An application's own word may not become a person's session, nor end one. */
static bool sets_ours(const struct field *f)
{
	struct span name;

	if (f->id != HEAD_OTHER || f->name.len != 10 || !span_ieq(f->name, SPAN("set-cookie")))
		return false;
	name = span_head(f->value, span_find(f->value, ';'));
	name = span_trim(span_head(name, span_find(name, '=')));
	return span_ieq(name, SPAN("__Host-reeve")) || span_ieq(name, SPAN("__Host-reeve-begin"));
}

bool header_passes_down(const struct message *m, const struct field *f)
{
	return !hop_by_hop(m, f) && !sets_ours(f);
}

bool header_passes_trailer(const struct snapshot *s, const struct field *f, bool up)
{
	static const char *const never[] = {
		"authorization", "cookie", "setcookie", "wwwauthenticate", "contenttype", "contentrange",
		"age", "cachecontrol", "expires", "vary", "range", "pragma", "location", "retryafter",
		"warning", "ifmatch", "ifnonematch", "ifmodifiedsince", "ifunmodifiedsince", "ifrange",
		"via",
	};
	char buf[HTTP_NAME_MAX];
	struct span folded = header_fold(f->name, buf);

	if (f->id != HEAD_OTHER || (up && header_strips(s, f->name)))
		return false;
	for (size_t i = 0; i < array_size(never); i++) {
		if (span_eq(folded, span_str(never[i])))
			return false;
	}
	return true;
}
