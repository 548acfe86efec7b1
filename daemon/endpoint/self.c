/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/endpoint/self.h"

#include "base/file.h"
#include "base/mem.h"
#include "daemon/control/map.h"
#include "daemon/endpoint/glass.h"
#include "daemon/endpoint/vouch.h"

#include "config.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

static void keep_print(char *s)
{
	for (; *s; s++)
		if (*s < 0x20 || *s > 0x7e)
			*s = '?';
}

/* os-release(5): PRETTY_NAME="..." */
void self_os(char ret_text[SELF_TEXT_MAX])
{
	scoped_buf struct buf b = { 0 };
	struct span rest, line;
	struct utsname u;

	ret_text[0] = '\0';
	buf_init(&b, 64 << 10);
	if (file_read("/etc/os-release", 64 << 10, &b, NULL)) {
		rest = buf_span(&b);
		while (rest.len && span_next(&rest, '\n', &line)) {
			struct span v;

			if (!span_starts(line, SPAN("PRETTY_NAME=")))
				continue;
			v = span_from(line, 12);
			if (v.len >= 2 && (v.ptr[0] == '"' || v.ptr[0] == '\'') && v.ptr[v.len - 1] == v.ptr[0])
				v = span_head(span_from(v, 1), v.len - 2);
			snprintf(ret_text, SELF_TEXT_MAX, "%.*s", (int)(v.len > 100 ? 100 : v.len), v.ptr);
		}
	}
	if (!ret_text[0] && uname(&u) == 0)
		snprintf(ret_text, SELF_TEXT_MAX, "%.60s %.60s", u.sysname, u.release);
	keep_print(ret_text);
}

void self_name(char ret_name[64])
{
	char host[256] = "";
	size_t n = 0;

	gethostname(host, sizeof(host) - 1);
	for (const char *p = host; *p && *p != '.' && n < 63; p++) {
		char ch = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;

		if ((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || (ch == '-' && n))
			ret_name[n++] = ch;
	}
	ret_name[n] = '\0';
	if (!map_name_ok(span_str(ret_name)))
		memcpy(ret_name, "host", 5);
}

static bool far(const struct ip *ip)
{
	if (ip->family == IP_V4)
		return ip->b[0] != 127 && !(ip->b[0] == 169 && ip->b[1] == 254);
	return ip->family == IP_V6 && !(ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80);
}

size_t self_addresses(const char *except, struct ip ret_list[SELF_ADDRESSES_MAX])
{
	struct ifaddrs *all;
	size_t n = 0;

	if (getifaddrs(&all) < 0)
		return 0;
	for (const struct ifaddrs *a = all; a && n < SELF_ADDRESSES_MAX; a = a->ifa_next) {
		struct sockaddr_storage ss = { 0 };
		struct ipport at;

		if (!a->ifa_addr || !(a->ifa_flags & IFF_UP) || (a->ifa_flags & IFF_LOOPBACK) ||
		    strcmp(a->ifa_name, except) == 0)
			continue;
		if (a->ifa_addr->sa_family == AF_INET)
			memcpy(&ss, a->ifa_addr, sizeof(struct sockaddr_in));
		else if (a->ifa_addr->sa_family == AF_INET6)
			memcpy(&ss, a->ifa_addr, sizeof(struct sockaddr_in6));
		else
			continue;
		if (ipport_from_sockaddr(&ss, &at) && far(&at.ip))
			ret_list[n++] = at.ip;
	}
	freeifaddrs(all);
	return n;
}

static struct map_list list_of(struct map_report *r, const struct conf_strs *strs)
{
	struct map_list l = { .list = arena_calloc(&r->mem, strs->count ? strs->count : 1, sizeof(struct span)) };

	for (size_t k = 0; k < strs->count; k++)
		l.list[l.count++] = span_str(strs->list[k]);
	return l;
}

/* In "public", for people with only a browser: the service of that name, or one more. */
static void add_browsers(struct map_report *r, const struct conf *conf, size_t room)
{
	for (size_t i = 0; i < conf->public.count; i++) {
		const struct conf_service *c = conf_service(&conf->public, i);
		struct span name = span_str(conf->public.names[i]);
		struct map_service *s = NULL;
		uint16_t ports[2];
		size_t n = conf_service_ports(c, ports, array_size(ports));

		if (!*c->browser || !map_name_ok(name) || n == 0)
			continue;
		for (size_t k = 0; k < r->service_count && !s; k++)
			if (span_eq(r->services[k].name, name))
				s = &r->services[k];
		if (!s && r->service_count < room) {
			s = &r->services[r->service_count++];
			s->name = name;
			/* of a web server's 80 and 443, the one where there is TLS */
			s->port = c->forward ? ports[n - 1] : ports[0];
			s->http = true;
			s->hosts = list_of(r, &c->hosts);
			s->profiles = list_of(r, &c->profiles);
		}
		if (s)
			s->browser = span_str(c->browser);
	}
}

static void add_services(struct map_report *r, const struct conf *conf)
{
	size_t room = conf->services.count + conf->public.count;

	if (room > MAP_LIST_MAX)
		room = MAP_LIST_MAX;
	r->services = arena_calloc(&r->mem, room + 1, sizeof(*r->services));
	for (size_t i = 0; i < conf->services.count && r->service_count < room; i++) {
		const struct conf_service *c = conf_service(&conf->services, i);
		struct map_service *s = &r->services[r->service_count];
		uint16_t ports[64];

		if (c->enrolled || !map_name_ok(span_str(conf->services.names[i])) ||
		    conf_service_ports(c, ports, array_size(ports)) == 0)
			continue;
		s->name = span_str(conf->services.names[i]);
		s->port = ports[0];
		s->http = true;         /* fronted: also what is plain TCP is judged by a front */
		s->hosts = list_of(r, &c->hosts);
		s->profiles = list_of(r, &c->profiles);
		r->service_count++;
	}
	add_browsers(r, conf, room);
}

static void add_hub(struct map_report *r, const struct self_hub *hub)
{
	r->seen = hub->seen;
	r->seen_count = hub->seen_count;
	r->pins.list = arena_calloc(&r->mem, ENROL_PINS_MAX, sizeof(struct span));
	for (size_t i = 0; i < hub->pin_count; i++) {
		char text[ENROL_PIN_TEXT_LEN + 1];

		enrol_pin_text(&hub->pins[i], text);
		r->pins.list[r->pins.count++] = arena_copy(&r->mem, span_str(text));
	}
}

static bool is_listed(const struct conf *conf, const struct map_node *n)
{
	size_t i;

	return glass_find(conf, n->key, &i) ||
	       (conf->verify == CONF_VERIFY_IDP && n->tags.count && vouch_is_server_key(conf, n->key));
}

/* Who is locked out here with another key, until the owner lists that one. */
static void add_keys(struct map_report *r, const struct conf *conf, const struct self_keys *keys)
{
	const struct map *map = keys->map;
	char id[MAP_ID_MAX];

	r->key_since = keys->since;
	r->key_due = keys->due;
	r->key_why = arena_copy(&r->mem, span_str(keys->why));
	r->lists.list = arena_calloc(&r->mem, MAP_LIST_MAX, sizeof(struct span));
	for (size_t i = 0; i < map->node_count && r->lists.count < MAP_LIST_MAX; i++)
		if (map->nodes[i]->id != map->self && is_listed(conf, map->nodes[i]))
			r->lists.list[r->lists.count++] =
				arena_copy(&r->mem, span_str(map_id_text('n', map->nodes[i]->id, id)));
}

void self_report(const struct conf *conf, uint16_t port, const struct self_keys *keys, const struct self_hub *hub,
                 struct buf *out)
{
	struct map_report r;
	struct ip ips[SELF_ADDRESSES_MAX];
	size_t n = port ? self_addresses(conf->mesh.interface, ips) : 0;
	char os[SELF_TEXT_MAX];

	map_report_init(&r);
	r.endpoints = arena_calloc(&r.mem, n ? n : 1, sizeof(*r.endpoints));
	for (size_t i = 0; i < n; i++)
		r.endpoints[r.endpoint_count++] = (struct ipport){ ips[i], port };
	r.routes = arena_calloc(&r.mem, conf->mesh.routes.count ? conf->mesh.routes.count : 1, sizeof(*r.routes));
	for (size_t i = 0; i < conf->mesh.routes.count; i++)
		if (prefix_parse(span_str(conf->mesh.routes.list[i]), &r.routes[r.route_count]))
			r.route_count++;
	add_services(&r, conf);
	self_os(os);
	r.os = span_str(os);
	r.version = SPAN(PACKAGE_VERSION);
	r.verify_idp = conf->verify == CONF_VERIFY_IDP;
	add_keys(&r, conf, keys);
	if (hub)
		add_hub(&r, hub);
	map_report_encode(&r, out);
	map_report_done(&r);
}
