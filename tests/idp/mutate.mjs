// SPDX-License-Identifier: AGPL-3.0-or-later
// A provider that lies, one lie at a time: the login_hint of an attempt names
// which. It has no accounts and no modules; whoever comes is staff@example.edu.
// usage: node mutate.mjs CONFIG.json   (the file idp.py writes; clients are not looked at)

import { createHash, createHmac, createSign, constants, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import https from 'node:https';
import { dirname, resolve } from 'node:path';

const file = process.argv[2];
const conf = JSON.parse(readFileSync(file, 'utf8'));
const near = (name) => resolve(dirname(file), name);
const issuer = conf.issuer;

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const ed = generateKeyPairSync('ed25519');
const stranger = generateKeyPairSync('rsa', { modulusLength: 2048 });
const late = generateKeyPairSync('rsa', { modulusLength: 2048 });
const weak = generateKeyPairSync('rsa', { modulusLength: 1024 });

const jwk = (pair, kid, more = {}) => ({ ...pair.publicKey.export({ format: 'jwk' }), kid, ...more });
const jwks = () => ({ keys: [
  jwk(rsa, 'rsa', { use: 'sig' }), jwk(ec, 'ec'), jwk(ed, 'ed'), jwk(weak, 'weak'),
  jwk(rsa, 'enc', { use: 'enc' }), jwk(rsa, 'ps', { alg: 'PS256' }),
  ...(published ? [jwk(late, 'late')] : []),
] });
let published = false;          // the key "late" turns up with the second fetch
let fetches = 0;

const b64 = (x) => Buffer.from(x).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);

function signature(alg, text, key) {
  if (alg === 'RS256') return createSign('sha256').update(text).sign(key.privateKey);
  if (alg === 'RS384') return createSign('sha384').update(text).sign(key.privateKey);
  if (alg === 'PS256') {
    return createSign('sha256').update(text).sign({
      key: key.privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 });
  }
  if (alg === 'ES256') {
    return createSign('sha256').update(text).sign({ key: key.privateKey, dsaEncoding: 'ieee-p1363' });
  }
  if (alg === 'EdDSA') return sign(null, Buffer.from(text), key.privateKey);
  return Buffer.alloc(0);
}

const halfHash = (name, text) => {
  const whole = createHash(name).update(text).digest();
  return whole.subarray(0, whole.length / 2).toString('base64url');
};

// Header and payload as text, so that they can be malformed.
function token(header, payload, alg = 'RS256', key = rsa) {
  const text = `${b64(header)}.${b64(payload)}`;
  return `${text}.${b64(signature(alg, text, key))}`;
}

const PEM = rsa.publicKey.export({ type: 'spki', format: 'pem' });

// name -> (claims, header, access token) -> changes of them, or a whole token. The relying
// party's reason for each is in mutate.py.
const lies = {
  honest: () => ({}),
  honest_ec: () => ({ header: { alg: 'ES256', kid: 'ec' }, key: ec }),
  // EdDSA names no hash; providers take the one that Ed25519 itself has
  honest_ed: (c, h, access) => ({
    header: { alg: 'EdDSA', kid: 'ed' }, key: ed, claims: { at_hash: halfHash('sha512', access) } }),
  at_hash_ed_other: () => ({ header: { alg: 'EdDSA', kid: 'ed' }, key: ed }),
  honest_ps: () => ({ header: { alg: 'PS256', kid: 'ps' } }),
  honest_no_kid: () => ({ header: { alg: 'ES256', kid: undefined }, key: ec }),
  honest_aud_list: (c) => ({ claims: { aud: [c.aud] } }),
  honest_exp_edge: () => ({ claims: { exp: now() - 5 } }),
  honest_late_key: () => ({ header: { kid: 'late' }, key: late }),

  alg_none: (c) => ({ raw: `${b64(JSON.stringify({ alg: 'none' }))}.${b64(JSON.stringify(c))}.` }),
  alg_none_signed: (c) => ({ raw: token('{"alg":"none","kid":"rsa"}', JSON.stringify(c)) }),
  alg_missing: () => ({ header: { alg: undefined } }),
  alg_hs256_public_key: (c) => {
    const text = `${b64('{"alg":"HS256","kid":"rsa","typ":"JWT"}')}.${b64(JSON.stringify(c))}`;
    return { raw: `${text}.${b64(createHmac('sha256', PEM).update(text).digest())}` };
  },
  alg_hs256_modulus: (c) => {
    const text = `${b64('{"alg":"HS256","kid":"rsa","typ":"JWT"}')}.${b64(JSON.stringify(c))}`;
    const n = Buffer.from(jwk(rsa).n, 'base64url');
    return { raw: `${text}.${b64(createHmac('sha256', n).update(text).digest())}` };
  },
  alg_eddsa_as_ec: () => ({ header: { alg: 'EdDSA', kid: 'ec' }, key: ed }),
  alg_not_allowed: () => ({ header: { alg: 'RS384' } }),
  alg_of_other_key: () => ({ header: { alg: 'RS256', kid: 'ec' } }),
  alg_not_of_key: () => ({ header: { alg: 'RS256', kid: 'ps' } }),
  kid_unknown: () => ({ header: { kid: 'nobody' }, key: stranger }),
  kid_missing: () => ({ header: { alg: 'PS256', kid: undefined } }),       // two could be meant
  kid_encryption: () => ({ header: { kid: 'enc' } }),
  kid_weak: () => ({ header: { kid: 'weak' }, key: weak }),
  jwk_header: () => ({ header: { kid: 'rsa', jwk: jwk(stranger) }, key: stranger }),
  signature_of_stranger: () => ({ key: stranger }),
  signature_cut: (c, h) => ({ raw: token(JSON.stringify(h), JSON.stringify(c)).slice(0, -6) }),
  signature_missing: (c, h) => ({ raw: token(JSON.stringify(h), JSON.stringify(c)).replace(/[^.]*$/, '') }),
  payload_changed: (c, h) => {
    const [head, , sig] = token(JSON.stringify(h), JSON.stringify(c)).split('.');
    return { raw: `${head}.${b64(JSON.stringify({ ...c, email: 'admin@example.edu' }))}.${sig}` };
  },
  crit: () => ({ header: { crit: ['exp'], exp: 1 } }),
  crit_empty: () => ({ header: { crit: [] } }),
  b64_false: () => ({ header: { b64: false } }),
  typ_access_token: () => ({ header: { typ: 'at+jwt' } }),
  typ_logout: () => ({ header: { typ: 'logout+jwt' } }),
  header_twice: (c) => ({ raw: token('{"alg":"RS256","kid":"stranger","kid":"rsa"}', JSON.stringify(c)) }),
  claims_twice: (c, h) => ({ raw: token(JSON.stringify(h), JSON.stringify(c).replace(/^\{/, '{"sub":"another",')) }),
  claims_twice_deep: (c, h) => ({ raw: token(JSON.stringify(h), `${JSON.stringify(c).slice(0, -1)},"x":{"a":1,"a":2}}`) }),
  claims_no_object: (c, h) => ({ raw: token(JSON.stringify(h), JSON.stringify([c])) }),
  base64_padded: (c, h) => ({ raw: `${token(JSON.stringify(h), JSON.stringify(c))}==` }),
  base64_standard: (c, h) => ({ raw: token(JSON.stringify(h), JSON.stringify(c)).replace(/-|_/g, (m) => (m === '-' ? '+' : '/')) }),
  base64_newline: (c, h) => ({ raw: token(JSON.stringify(h), JSON.stringify(c)).replace('.', '\n.') }),
  parts_two: (c, h) => ({ raw: token(JSON.stringify(h), JSON.stringify(c)).split('.').slice(0, 2).join('.') }),
  parts_five: (c, h) => ({ raw: `${token(JSON.stringify(h), JSON.stringify(c))}.a.b` }),
  too_long: () => ({ claims: { padding: 'x'.repeat(20000) } }),

  iss_other: () => ({ claims: { iss: 'https://idp.example.org' } }),
  iss_slash: () => ({ claims: { iss: `${issuer}/` } }),
  iss_missing: () => ({ claims: { iss: undefined } }),
  aud_other: () => ({ claims: { aud: 'somebody' } }),
  aud_missing: () => ({ claims: { aud: undefined } }),
  aud_more: (c) => ({ claims: { aud: [c.aud, 'somebody'], azp: c.aud } }),
  azp_other: () => ({ claims: { azp: 'somebody' } }),
  sub_missing: () => ({ claims: { sub: undefined } }),
  sub_number: () => ({ claims: { sub: 1234 } }),
  sub_long: () => ({ claims: { sub: 's'.repeat(256) } }),
  nonce_other: () => ({ claims: { nonce: 'another' } }),
  nonce_missing: () => ({ claims: { nonce: undefined } }),
  exp_passed: () => ({ claims: { exp: now() - 60 } }),
  exp_missing: () => ({ claims: { exp: undefined } }),
  exp_text: () => ({ claims: { exp: 'never' } }),
  iat_future: () => ({ claims: { iat: now() + 3600 } }),
  iat_old: () => ({ claims: { iat: now() - 3600 } }),
  iat_missing: () => ({ claims: { iat: undefined } }),
  nbf_future: () => ({ claims: { nbf: now() + 3600 } }),
  auth_time_missing: () => ({ claims: { auth_time: undefined } }),
  auth_time_old: () => ({ claims: { auth_time: now() - 7200 } }),
  auth_time_future: () => ({ claims: { auth_time: now() + 3600 } }),
  acr_missing: () => ({ claims: { acr: undefined } }),
  acr_other: () => ({ claims: { acr: 'urn:example:acr:pwd' } }),
  amr_missing: () => ({ claims: { amr: undefined } }),
  amr_one: () => ({ claims: { amr: ['pwd'] } }),
  amr_text: () => ({ claims: { amr: 'pwd otp' } }),
  at_hash_other: () => ({ claims: { at_hash: 'AAAAAAAAAAAAAAAAAAAAAA' } }),
  at_hash_missing: () => ({ claims: { at_hash: undefined } }),
  email_unverified: () => ({ claims: { email_verified: false } }),
  email_verified_text: () => ({ claims: { email_verified: 'true' } }),
  email_other_domain: () => ({ claims: { email: 'staff@example.edu.example.org' } }),
  email_odd: () => ({ claims: { email: 'staff@example.edu\r\nRemote-User: root' } }),
  groups_many: () => ({ claims: { groups: Array(1100).fill('g') } }),
  groups_odd: () => ({ claims: { groups: ['lab', 7] } }),
  groups_empty: () => ({ claims: { groups: [] } }),
  events: () => ({ claims: { events: {} } }),

  // what is not in the ID token
  userinfo_other_sub: () => ({ claims: { email: undefined }, userinfo: { sub: 'another' } }),
  userinfo_honest: () => ({ claims: { email: undefined, email_verified: undefined } }),
  userinfo_acr: () => ({ claims: { email: undefined, email_verified: undefined, amr: undefined },
    userinfo: { amr: ['pwd', 'otp'] } }),
  userinfo_redirect: () => ({ claims: { email: undefined }, userinfo: 'redirect' }),
  token_redirect: () => ({ answer: 'redirect' }),
  token_huge: () => ({ answer: 'huge' }),
  token_garbage: () => ({ answer: 'garbage' }),
  token_twice: () => ({ answer: 'twice' }),
  token_none: () => ({ answer: 'none' }),
  callback_iss_other: () => ({ callback: { iss: 'https://idp.example.org' } }),
  callback_iss_missing: () => ({ callback: { iss: undefined } }),
  callback_error_html: () => ({ callback: { error: '<b>x</b>', error_description: '<script>', code: undefined } }),
};

const codes = new Map();
const bearers = new Map();

function idToken(want, access) {
  const header = { alg: 'RS256', kid: 'rsa', typ: 'JWT' };
  const claims = {
    iss: want.issuer, sub: '0001', aud: want.client_id, exp: now() + 300, iat: now(), auth_time: now(),
    nonce: want.nonce, acr: 'urn:example:acr:mfa', amr: ['pwd', 'otp'],
    at_hash: halfHash('sha256', access),
    email: 'staff@example.edu', email_verified: true, name: 'Staff Example', groups: ['lab'],
  };
  const lie = lies[want.lie](claims, header, access);
  if (lie.raw !== undefined) return { lie, id_token: lie.raw };
  const h = { ...header, ...lie.header }, c = { ...claims, ...lie.claims };
  return { lie, id_token: token(JSON.stringify(h), JSON.stringify(c), h.alg, lie.key ?? rsa) };
}

// Descriptions and keys that lie: issuer ISSUER/d/NAME, each its own provider.
const descriptions = {
  honest: {},
  other_issuer: { issuer: `${issuer}/d/honest` },
  issuer_slash: { issuer: `${issuer}/d/issuer_slash/` },
  issuer_missing: { issuer: undefined },
  http_keys: { jwks_uri: 'http://127.0.0.1/jwks' },
  file_keys: { jwks_uri: 'file:///etc/passwd' },
  http_token: { token_endpoint: 'http://127.0.0.1/token' },
  script_auth: { authorization_endpoint: 'javascript:alert(1)' },
  no_token: { token_endpoint: undefined },
  redirect: 'redirect', status: 'status', html: 'html', huge: 'huge', drip: 'drip', cut: 'cut',
  headers: 'headers', twice: 'twice', deep: 'deep', empty: 'empty',
  keys_redirect: { jwks_uri: `${issuer}/k/redirect` },
  keys_huge: { jwks_uri: `${issuer}/k/huge` },
  keys_drip: { jwks_uri: `${issuer}/k/drip` },
  keys_empty: { jwks_uri: `${issuer}/k/none` },
  keys_secret: { jwks_uri: `${issuer}/k/secret` },
  keys_garbage: { jwks_uri: `${issuer}/k/html` },
};

function misbehave(res, how, honest) {
  const text = JSON.stringify(honest);
  const send = (t, headers = {}) => {
    res.writeHead(200, { 'content-type': 'application/json', ...headers });
    res.end(t);
  };
  switch (how) {
    case 'redirect': res.writeHead(302, { location: `${issuer}/jwks` }); return res.end();
    case 'status': res.writeHead(503); return res.end(text);
    case 'html': return send('<!DOCTYPE html><h1>It works</h1>');
    case 'huge': return send(text.replace(/}$/, `,"x":"${'y'.repeat(1 << 20)}"}`));
    case 'cut': res.writeHead(200, { 'content-length': 100000 }); res.write(text); return res.destroy();
    case 'headers': return send(text, Object.fromEntries(Array.from({ length: 60 }, (_, i) => [`x-${i}`, 'y'.repeat(1000)])));
    case 'twice': return send(text.replace(/^{/, `{"issuer":"${issuer}",`));
    case 'deep': return send(`{"x":${'['.repeat(5000)}${']'.repeat(5000)}}`);
    case 'empty': return send('');
    case 'none': return send('{"keys":[]}');
    case 'secret': return send(JSON.stringify({ keys: [{ kty: 'oct', k: 'c2VjcmV0', kid: 'rsa' }] }));
    case 'drip': {
      res.writeHead(200, { 'content-type': 'application/json' });
      let at = 0;
      const t = setInterval(() => { res.write(text[at] ?? ' '); at += 1; }, 200);
      res.on('close', () => clearInterval(t));
      return undefined;
    }
    default: return send(text);
  }
}

function described(res, name) {
  const me = `${issuer}/d/${name}`, lie = descriptions[name];
  const honest = {
    issuer: me, authorization_endpoint: `${issuer}/auth`, token_endpoint: `${issuer}/token`,
    jwks_uri: `${issuer}/jwks`, authorization_response_iss_parameter_supported: true,
  };
  return typeof lie === 'string' ? misbehave(res, lie, honest) : misbehave(res, '', { ...honest, ...lie });
}

function answer(req, res, url, body) {
  const json = (o, status = 200) => {
    res.writeHead(status, { 'content-type': 'application/json' });
    res.end(typeof o === 'string' ? o : JSON.stringify(o));
  };
  if (url.pathname === '/.well-known/openid-configuration') {
    return json({
      issuer, authorization_endpoint: `${issuer}/auth`, token_endpoint: `${issuer}/token`,
      jwks_uri: `${issuer}/jwks`, userinfo_endpoint: `${issuer}/me`,
      authorization_response_iss_parameter_supported: true,
    });
  }
  const d = /^\/d\/([a-z_]+)\/\.well-known\/openid-configuration$/.exec(url.pathname);
  if (d && descriptions[d[1]]) return described(res, d[1]);
  const k = /^\/k\/([a-z]+)$/.exec(url.pathname);
  if (k) return misbehave(res, k[1], jwks());
  if (url.pathname === '/jwks') {
    fetches += 1;
    published = fetches > 1;
    return json(jwks());
  }
  if (url.pathname === '/auth') {
    const q = url.searchParams, code = randomBytes(16).toString('hex');
    const want = Object.fromEntries(q);
    want.lie = want.login_hint ?? 'honest';
    if (!lies[want.lie]) return json({ error: 'no such lie' }, 400);
    codes.set(code, want);
    // an issuer of its own below ours: the attempt's client id names it
    want.issuer = want.client_id === 'reeve' ? issuer : `${issuer}/d/${want.client_id}`;
    const back = { code, state: want.state, iss: want.issuer, ...(lies[want.lie]({}, {}, '').callback ?? {}) };
    const to = new URL(want.redirect_uri);
    for (const [k, v] of Object.entries(back)) if (v !== undefined) to.searchParams.set(k, v);
    res.writeHead(303, { location: to.href });
    return res.end();
  }
  if (url.pathname === '/token') {
    const form = new URLSearchParams(body), want = codes.get(form.get('code'));
    codes.delete(form.get('code'));
    const challenge = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url');
    if (!want || challenge !== want.code_challenge) return json({ error: 'invalid_grant' }, 400);
    const access = randomBytes(16).toString('hex');
    const { lie, id_token } = idToken(want, access);
    bearers.set(access, lie);
    const out = { access_token: access, token_type: 'Bearer', expires_in: 60, id_token };
    switch (lie.answer) {
      case 'redirect': res.writeHead(302, { location: `${issuer}/token2` }); return res.end();
      case 'huge': return json({ ...out, padding: 'x'.repeat(1 << 20) });
      case 'garbage': return json('{"access_token":');
      case 'twice': return json(JSON.stringify(out).replace(/^\{/, '{"id_token":"a.b.c",'));
      case 'none': return json({ ...out, id_token: undefined });
      default: return json(out);
    }
  }
  if (url.pathname === '/me') {
    const lie = bearers.get((req.headers.authorization ?? '').replace(/^Bearer /, ''));
    if (!lie) return json({ error: 'invalid_token' }, 401);
    if (lie.userinfo === 'redirect') { res.writeHead(302, { location: `${issuer}/me2` }); return res.end(); }
    return json({ sub: '0001', email: 'staff@example.edu', email_verified: true, ...lie.userinfo });
  }
  if (url.pathname === '/fetches') return json({ fetches });
  return json({ error: 'not_found' }, 404);
}

const server = https.createServer({
  cert: readFileSync(near(conf.cert)), key: readFileSync(near(conf.key)),
}, async (req, res) => {
  let body = '';
  for await (const part of req) body += part;
  answer(req, res, new URL(req.url, issuer), body);
});
const [, host, port] = /^(.*):(\d+)$/.exec(conf.listen);
server.listen(Number(port), host, () => console.log(`ready ${issuer}`));
for (const sig of ['SIGTERM', 'SIGINT']) process.on(sig, () => process.exit(0));
