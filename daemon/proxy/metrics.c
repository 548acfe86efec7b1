/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "daemon/proxy/engine.h"

#include "base/mem.h"

/* Upper ends in microseconds; one more for what is beyond. */
static const int64_t bucket_us[LATENCY_BUCKETS] = {
	500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 10000000,
	60000000,
};

void service_latency(struct service_run *r, int64_t ns)
{
	int64_t us = ns / 1000;
	int i = 0;

	while (i < LATENCY_BUCKETS && us > bucket_us[i])
		i++;
	r->latency[i]++;
	r->latency_sum += (double)ns / 1e9;
}

static void help(struct buf *b, const char *name, const char *type, const char *text)
{
	buf_addf(b, "# HELP %s %s\n# TYPE %s %s\n", name, text, name, type);
}

static void label(struct buf *b, const char *value)
{
	buf_add_char(b, '"');
	for (; *value; value++) {
		if (*value == '"' || *value == '\\')
			buf_add_char(b, '\\');
		buf_add_char(b, *value == '\n' ? ' ' : *value);
	}
	buf_add_char(b, '"');
}

static void simple(struct buf *b, const struct front *f, const char *name, const char *type,
                   const char *text, double value)
{
	help(b, name, type, text);
	buf_addf(b, "%s{front=", name);
	label(b, f->name);
	buf_addf(b, "} %.17g\n", value);
}

static void service_labels(struct buf *b, const struct front *f, const struct service_run *r)
{
	buf_add_str(b, "{front=");
	label(b, f->name);
	buf_add_str(b, ",service=");
	label(b, r->name);
}

static void latency(struct buf *b, const struct front *f, const struct service_run *r)
{
	uint64_t sum = 0;

	for (int i = 0; i < LATENCY_BUCKETS; i++) {
		sum += r->latency[i];
		buf_add_str(b, "reeve_request_duration_seconds_bucket");
		service_labels(b, f, r);
		buf_addf(b, ",le=\"%g\"} %llu\n", (double)bucket_us[i] / 1e6, (unsigned long long)sum);
	}
	sum += r->latency[LATENCY_BUCKETS];
	buf_add_str(b, "reeve_request_duration_seconds_bucket");
	service_labels(b, f, r);
	buf_addf(b, ",le=\"+Inf\"} %llu\nreeve_request_duration_seconds_sum", (unsigned long long)sum);
	service_labels(b, f, r);
	buf_addf(b, "} %.9g\nreeve_request_duration_seconds_count", r->latency_sum);
	service_labels(b, f, r);
	buf_addf(b, "} %llu\n", (unsigned long long)sum);
}

void front_metrics(const struct front *f, struct buf *b)
{
	static const char *const classes[] = { "none", "1xx", "2xx", "3xx", "4xx", "5xx" };
	struct front_stats st;
	struct boot now = loop_now(f->loop);

	front_stats(f, &st);
	simple(b, f, "reeve_connections_accepted_total", "counter", "Connections accepted.", (double)st.accepted);
	simple(b, f, "reeve_accept_failures_total", "counter", "Connections that could not be accepted.", (double)st.refused_conns);
	simple(b, f, "reeve_connections", "gauge", "Connections open.", st.conns);
	simple(b, f, "reeve_connections_idle", "gauge", "Connections open without a request.", st.idle_conns);
	simple(b, f, "reeve_requests_in_flight", "gauge", "Requests being served.", st.in_flight);
	simple(b, f, "reeve_upgrades", "gauge", "Upgraded connections open.", st.upgrades);
	simple(b, f, "reeve_requests_malformed_total", "counter", "Bytes that were no request.", (double)st.bad);
	simple(b, f, "reeve_revoked_total", "counter", "Connections ended because an identity or a rule ended.", (double)st.revoked);
	simple(b, f, "reeve_retries_total", "counter", "Requests sent to an application again.", (double)st.retried);
	simple(b, f, "reeve_received_bytes_total", "counter", "Bytes of request bodies.", (double)st.bytes_in);
	simple(b, f, "reeve_sent_bytes_total", "counter", "Bytes of response bodies.", (double)st.bytes_out);
	simple(b, f, "reeve_spliced_bytes_total", "counter", "Of those, bytes that went from socket to socket.",
	       (double)st.bytes_spliced);
	simple(b, f, "reeve_log_records_total", "counter", "Log lines made.", (double)st.log_records);
	simple(b, f, "reeve_log_lost_total", "counter", "Log lines that nobody took.", (double)st.log_lost);
	simple(b, f, "reeve_snapshot_seq", "gauge", "Sequence number of the snapshot in use.", (double)st.snapshot_seq);
	if (f->snap && snapshot_heard(f->snap).ns && snapshot_heard(f->snap).ns != BOOT_NEVER.ns)
		simple(b, f, "reeve_snapshot_age_seconds", "gauge", "Since the coordinator was last heard.",
		       (double)(now.ns - snapshot_heard(f->snap).ns) / 1e9);
	if (f->snap && snapshot_lease(f->snap).ns != BOOT_NEVER.ns)
		simple(b, f, "reeve_lease_seconds", "gauge", "Until nothing counts any more.",
		       (double)(snapshot_lease(f->snap).ns - now.ns) / 1e9);

	help(b, "reeve_verdicts_total", "counter", "Requests by verdict.");
	buf_add_str(b, "reeve_verdicts_total{front=");
	label(b, f->name);
	buf_addf(b, ",verdict=\"allow\"} %llu\nreeve_verdicts_total{front=", (unsigned long long)st.allowed);
	label(b, f->name);
	buf_addf(b, ",verdict=\"deny\"} %llu\n", (unsigned long long)(st.denied + st.bad));

	help(b, "reeve_requests_total", "counter", "Requests by service and class of status.");
	for (const struct service_run *r = f->runs; r; r = r->next) {
		for (size_t i = 0; i < array_size(classes); i++) {
			buf_add_str(b, "reeve_requests_total");
			service_labels(b, f, r);
			buf_addf(b, ",code=\"%s\"} %llu\n", classes[i], (unsigned long long)r->by_class[i]);
		}
	}
	help(b, "reeve_request_duration_seconds", "histogram", "From the head of a request to the end of its response.");
	for (const struct service_run *r = f->runs; r; r = r->next)
		latency(b, f, r);

	help(b, "reeve_upstream_up", "gauge", "1, or 0 while an upstream rests after failures or is not well.");
	for (const struct service_run *r = f->runs; r; r = r->next) {
		for (size_t i = 0; i < r->up_count; i++) {
			const struct upstream *s = r->ups[i];

			buf_add_str(b, "reeve_upstream_up");
			service_labels(b, f, r);
			buf_add_str(b, ",upstream=");
			label(b, s->name);
			buf_addf(b, "} %d\n", !(s->fails >= UPSTREAM_FAILS && now.ns < s->rest_until) && !health_is_down(s));
		}
	}
	help(b, "reeve_upstream_connections", "gauge", "Connections to an upstream.");
	for (const struct service_run *r = f->runs; r; r = r->next) {
		for (size_t i = 0; i < r->up_count; i++) {
			const struct upstream *s = r->ups[i];

			buf_add_str(b, "reeve_upstream_connections");
			service_labels(b, f, r);
			buf_add_str(b, ",upstream=");
			label(b, s->name);
			buf_addf(b, ",state=\"busy\"} %u\nreeve_upstream_connections", s->busy);
			service_labels(b, f, r);
			buf_add_str(b, ",upstream=");
			label(b, s->name);
			buf_addf(b, ",state=\"idle\"} %u\n", s->idle_count);
		}
	}
	help(b, "reeve_health_checks_total", "counter", "Times that an upstream was asked whether it is well.");
	for (const struct service_run *r = f->runs; r; r = r->next) {
		for (size_t i = 0; i < r->up_count; i++) {
			const struct upstream *s = r->ups[i];
			uint64_t checks, failed;

			if (!s->probe)
				continue;
			health_counts(s, &checks, &failed);
			buf_add_str(b, "reeve_health_checks_total");
			service_labels(b, f, r);
			buf_add_str(b, ",upstream=");
			label(b, s->name);
			buf_addf(b, ",result=\"well\"} %llu\nreeve_health_checks_total", (unsigned long long)(checks - failed));
			service_labels(b, f, r);
			buf_add_str(b, ",upstream=");
			label(b, s->name);
			buf_addf(b, ",result=\"failed\"} %llu\n", (unsigned long long)failed);
		}
	}
	help(b, "reeve_upstream_errors_total", "counter", "Connections to an upstream that failed.");
	for (const struct service_run *r = f->runs; r; r = r->next) {
		for (size_t i = 0; i < r->up_count; i++) {
			buf_add_str(b, "reeve_upstream_errors_total");
			service_labels(b, f, r);
			buf_add_str(b, ",upstream=");
			label(b, r->ups[i]->name);
			buf_addf(b, "} %llu\n", (unsigned long long)r->ups[i]->errors);
		}
	}
}
