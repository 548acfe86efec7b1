#!/usr/bin/env node
// SPDX-License-Identifier: AGPL-3.0-or-later
// Checks an X-Reeve-Assertion. See README for the order of the checks.
import { createPublicKey, verify as checkSignature } from 'node:crypto';
import { readFileSync, realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const LEEWAY = 5;
const LIFE_MAX = 300;

export class Refused extends Error {}

function unbase64(text) {
  if (!/^[A-Za-z0-9_-]+$/.test(text) || text.length % 4 === 1) throw new Refused('not base64url');
  return Buffer.from(text, 'base64url');
}

function unjson(text) {
  let out;
  try {
    out = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(unbase64(text)));
  } catch (e) {
    throw e instanceof Refused ? e : new Refused('not JSON');
  }
  if (out === null || typeof out !== 'object' || Array.isArray(out)) throw new Refused('not a JSON object');
  return out;
}

// Returns the claims, or throws Refused. jwks is the parsed key set.
export function verify(token, jwks, issuer, audience, method, path, now = Date.now() / 1000) {
  const parts = token.split('.');
  if (parts.length !== 3) throw new Refused('not three parts');
  const [head, claims] = [unjson(parts[0]), unjson(parts[1])];
  if (head.alg !== 'ES256' || 'crit' in head) throw new Refused('alg is not ES256, or there is a crit');
  const key = jwks.keys.find((k) => k.kid === head.kid);
  if (!key || key.kty !== 'EC' || key.crv !== 'P-256') throw new Refused('no such key');
  const sig = unbase64(parts[2]);
  if (sig.length !== 64) throw new Refused('the signature is not 64 bytes');
  const { kty, crv, x, y } = key;
  const publicKey = createPublicKey({ key: { kty, crv, x, y }, format: 'jwk' });
  if (!checkSignature('sha256', Buffer.from(`${parts[0]}.${parts[1]}`), { key: publicKey, dsaEncoding: 'ieee-p1363' }, sig))
    throw new Refused('the signature does not hold');
  if (claims.iss !== issuer || claims.aud !== audience) throw new Refused('for another host or service');
  const { iat, exp } = claims;
  if (!Number.isInteger(iat) || !Number.isInteger(exp) || exp - iat > LIFE_MAX) throw new Refused('no proper lifetime');
  if (now < iat - LEEWAY || now >= exp + LEEWAY) throw new Refused('expired, or not yet valid');
  if (method !== undefined && (claims.htm !== method || claims.htp !== path)) throw new Refused('for another request');
  return claims;
}

if (process.argv[1] && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  try {
    const [file, ...want] = process.argv.slice(2);
    console.log(JSON.stringify(verify(readFileSync(0, 'utf8').trim(), JSON.parse(readFileSync(file, 'utf8')), ...want)));
  } catch (e) {
    if (!(e instanceof Refused)) throw e;
    console.error(`refused: ${e.message}`);
    process.exit(1);
  }
}
