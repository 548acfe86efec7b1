// SPDX-License-Identifier: AGPL-3.0-or-later
// Node's own HTTP parser as a filter: the protocol of http_judge.c, whose lines end
// in " | CODE REASON" here.
"use strict";
const { HTTPParser } = require("_http_common");
const FNV = 2166136261;

function fnv(h, b) {
	for (let i = 0; i < b.length; i++)
		h = Math.imul(h ^ b[i], 16777619) >>> 0;
	return h;
}

let messages, last;
const parsers = {};

// An interim answer is followed by another message before it is complete for llhttp.
function begin(headers, keep, upgrade) {
	last = { fields: 0, field_sum: FNV, body: 0, body_sum: FNV, ended: 0, keep: keep ? 1 : 0, upgrade: upgrade ? 1 : 0 };
	messages.push(last);
	fields(last, headers);
}

function fields(m, list) {
	for (let i = 0; i + 1 < list.length; i += 2) {
		m.fields++;
		m.field_sum = fnv(m.field_sum, Buffer.from(list[i] + ":" + list[i + 1] + "\n", "latin1"));
	}
}

function parser(kind) {
	const p = new HTTPParser();
	let early = [];
	p[HTTPParser.kOnHeaders] = (list) => {
		if (last && !last.ended)
			fields(last, list);
		else
			early = early.concat(list);
	};
	p[HTTPParser.kOnHeadersComplete] = (major, minor, headers, method, url, status, text, upgrade, keep) => {
		begin(early.concat(headers || []), keep, upgrade);
		early = [];
		return 0;
	};
	p[HTTPParser.kOnBody] = (b) => {
		last.body += b.length;
		last.body_sum = fnv(last.body_sum, b);
	};
	p[HTTPParser.kOnMessageComplete] = () => {
		last.ended = 1;
	};
	return { p, kind, reset() { early = []; } };
}

function judge(kind, bytes) {
	const me = parsers[kind] ??= parser(kind);
	messages = [];
	last = undefined;
	me.reset();
	me.p.initialize(kind === "Q" ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {}, 64 << 10, 0);
	let r = me.p.execute(bytes);
	let end = "open", code = "", n = r;
	if (r instanceof Error) {
		end = "bad";
		code = r.code + " " + r.reason;
		n = r.bytesParsed;
	} else if (kind === "S" && n === bytes.length) {
		r = me.p.finish();
		if (r instanceof Error) {
			end = "bad";
			code = r.code + " " + r.reason;
		}
	}
	return `${end} ${messages.length} ${n}` + messages.map((m) =>
		` ${m.fields},${m.field_sum},${m.body},${m.body_sum},${m.ended},${m.keep},${m.upgrade}`).join("") +
		` | ${code}\n`;
}

let have = Buffer.alloc(0);
process.stdin.on("data", (d) => {
	have = have.length ? Buffer.concat([have, d]) : d;
	let at = 0, out = "";
	while (have.length - at >= 5) {
		const n = have.readUInt32BE(at + 1);
		if (have.length - at - 5 < n)
			break;
		out += judge(String.fromCharCode(have[at]), have.subarray(at + 5, at + 5 + n));
		at += 5 + n;
	}
	have = have.subarray(at);
	if (out)
		process.stdout.write(out);
});
