// SPDX-License-Identifier: AGPL-3.0-or-later
/*
 * Assertions before what applications verify other proxies' with: jose, in the way that Cloudflare's
 * and Pomerium's documentation tells, and Google's own library for Identity-Aware Proxy.
 *
 * Reads lines {"peer","url","token","issuer","audience"}; answers each with one line, {"claims"} or
 * {"refused"}.
 */
import { createPublicKey } from "node:crypto";
import { createInterface } from "node:readline";
import { OAuth2Client } from "google-auth-library";
import { createRemoteJWKSet, jwtVerify } from "jose";

const sets = new Map();
const google = new OAuth2Client();

async function byJose({ url, token, issuer, audience }) {
	if (!sets.has(url))
		sets.set(url, createRemoteJWKSet(new URL(url)));
	return (await jwtVerify(token, sets.get(url), { issuer, audience })).payload;
}

// Google publishes its keys by name, as PEM: so are ours told here.
async function byGoogle({ url, token, issuer, audience }) {
	const { keys } = await (await fetch(url)).json();
	const certs = Object.fromEntries(keys.map((jwk) =>
		[jwk.kid, createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "pem" })]));
	return (await google.verifySignedJwtWithCertsAsync(token, certs, audience, [issuer])).getPayload();
}

for await (const line of createInterface({ input: process.stdin })) {
	const asked = JSON.parse(line);
	let answer;
	try {
		answer = { claims: await (asked.peer === "google" ? byGoogle : byJose)(asked) };
	} catch (e) {
		answer = { refused: String(e.message) };
	}
	process.stdout.write(JSON.stringify(answer) + "\n");
}
