// SPDX-License-Identifier: AGPL-3.0-or-later
// A real OpenID Provider for the tests: oidc-provider over TLS with a handful
// of accounts that have a password and TOTP. usage: node idp.mjs CONFIG.json
// (idp.py writes the file; README says what is in it). Never for production:
// everything is in memory, and the admin socket may disable an account, change
// keys, or make the provider misbehave.

import { createHmac, generateKeyPairSync, randomBytes, timingSafeEqual } from 'node:crypto';
import { chmodSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { dirname, resolve } from 'node:path';

import Provider, { interactionPolicy } from 'oidc-provider';

const file = process.argv[2];
const conf = JSON.parse(readFileSync(file, 'utf8'));
const near = (name) => resolve(dirname(file), name);
const accounts = JSON.parse(readFileSync(near(conf.accounts), 'utf8'));
const MFA = conf.acr ?? 'urn:example:acr:mfa';
const PWD = 'urn:example:acr:pwd';

// What the admin socket can change.
const state = {
  mfa: conf.mfa ?? 'always',  // always; asked: only if acr_values asks; never
  disabled: new Set(),
  delay: 0,                   // milliseconds before any answer
  hang: false,                // accept and say nothing
  garbage: false,             // answer with what is no JSON
  idTokenTtl: conf.id_token_ttl ?? 3600,       // seconds
  refresh: true,              // codes bring refresh tokens
  offline: false,             // which outlive the session and its next grant
  grants: 'session',          // each: every login has a grant of its own
};
const sessions = [];          // { account, client, sid }: for back-channel logout

// ---- keys ----

function newKey(kind) {
  const { privateKey } = kind === 'EC'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
    : generateKeyPairSync('rsa', { modulusLength: 2048 });
  return {
    ...privateKey.export({ format: 'jwk' }),
    use: 'sig', alg: kind === 'EC' ? 'ES256' : 'RS256', kid: randomBytes(8).toString('hex'),
  };
}
let keys = [newKey('RSA'), newKey('EC')];
const cookieKeys = [randomBytes(32).toString('hex')];

// ---- accounts ----

function equal(a, b) {
  const x = Buffer.from(String(a)), y = Buffer.from(String(b));
  return x.length === y.length && timingSafeEqual(x, y);
}

function base32(text) {
  let bits = '';
  for (const c of text.toUpperCase().replace(/=+$/, '')) {
    bits += 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'.indexOf(c).toString(2).padStart(5, '0');
  }
  return Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
}

// RFC 6238: SHA-1, 30 seconds, six digits; one step either way.
function totpOk(secret, code) {
  const now = Math.floor(Date.now() / 30000);
  return [now - 1, now, now + 1].some((step) => {
    const msg = Buffer.alloc(8);
    msg.writeBigUInt64BE(BigInt(step));
    const mac = createHmac('sha1', base32(secret)).update(msg).digest();
    const at = mac[19] & 15;
    const n = (mac.readUInt32BE(at) & 0x7fffffff) % 1000000;
    return equal(String(n).padStart(6, '0'), code);
  });
}

const bySub = (sub) => Object.entries(accounts).find(([, a]) => a.sub === sub);

async function findAccount(ctx, sub) {
  const found = bySub(sub);
  if (!found || state.disabled.has(found[0])) return undefined;
  const [login, a] = found;
  return {
    accountId: sub,
    async claims() {
      return {
        sub,
        name: a.name,
        preferred_username: login,
        email: a.email ?? login,
        email_verified: a.email_verified ?? true,
        picture: a.picture,
        ...(a.groups === undefined ? {} : { groups: a.groups }),
        ...(a.claims ?? {}),
      };
    },
  };
}

// ---- the provider ----

const { base, Check } = interactionPolicy;

function policy() {
  const p = base();
  p.remove('consent');
  // acr_values is a wish in the standard; with "asked" we grant it by asking for TOTP.
  p.get('login').checks.add(new Check('acr_asked', 'the requested acr is not there yet', (ctx) => {
    const asked = (ctx.oidc.params.acr_values ?? '').split(' ').filter(Boolean);
    if (!asked.length || state.mfa === 'never' || ctx.oidc.result?.login
        || asked.includes(ctx.oidc.acr)) return Check.NO_NEED_TO_PROMPT;
    return Check.REQUEST_PROMPT;
  }));
  return p;
}

function makeProvider() {
  const p = new Provider(conf.issuer, {
    clients: conf.clients,
    jwks: { keys },
    cookies: { keys: cookieKeys },
    findAccount,
    scopes: ['openid', 'offline_access'],
    claims: {
      openid: ['sub', 'acr', 'amr', 'auth_time', 'sid'],
      profile: ['name', 'preferred_username', 'picture'],
      email: ['email', 'email_verified'],
      groups: ['groups', ...(conf.extra_claims ?? [])],
    },
    acrValues: [MFA, PWD],
    conformIdTokenClaims: conf.claims_in === 'userinfo',
    pkce: { required: () => true, methods: ['S256'] },
    interactions: { policy: policy(), url: (ctx, i) => `/interaction/${i.uid}` },
    // Refresh tokens without offline_access belong to the session in the browser, and count while their grant is
    // the one that it has for the client: with a grant for each login, the next login in the same browser takes
    // the earlier one's token away ("refresh token not found").
    loadExistingGrant: async (ctx) => {
      const { session, client, provider: self } = ctx.oidc;
      const id = session.grantIdFor(client.clientId);
      const has = id && state.grants === 'session' ? await self.Grant.find(id) : undefined;
      if (has?.accountId === session.accountId) return has;
      const grant = new self.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope('openid profile email groups offline_access');
      await grant.save();
      return grant;
    },
    issueRefreshToken: async (ctx, client) => state.refresh && client.grantTypeAllowed('refresh_token'),
    expiresWithSession: async (ctx, code) => !state.offline && !code.scopes.has('offline_access'),
    rotateRefreshToken: true,
    features: {
      devInteractions: { enabled: false },
      backchannelLogout: { enabled: true },
      pushedAuthorizationRequests: { enabled: conf.par ?? true },
      revocation: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        logoutSource: async (ctx, form) => {
          ctx.body = page('Log out', `${form}<button form="op.logoutForm" name="logout" value="yes">Log out</button>`);
        },
        postLogoutSuccessSource: async (ctx) => { ctx.body = page('Logged out', '<p>You are logged out.</p>'); },
      },
    },
    ttl: {
      AccessToken: 600, AuthorizationCode: 60, Grant: 86400, Interaction: 600,
      IdToken: () => state.idTokenTtl, RefreshToken: 86400, Session: 86400,
    },
    renderError: async (ctx, out) => {
      ctx.type = 'html';
      ctx.body = page('Error', `<p id="error">${esc(out.error)}: ${esc(out.error_description ?? '')}</p>`);
    },
  });
  p.on('grant.success', (ctx) => {
    const code = ctx.oidc.entities.AuthorizationCode;
    if (code?.sid) sessions.push({ account: code.accountId, client: code.clientId, sid: code.sid });
  });
  p.on('pushed_authorization_request.success', (ctx) => { pushed = { ...ctx.oidc.params }; });
  for (const ev of ['server_error', 'grant.error', 'authorization.error', 'backchannel.error']) {
    p.on(ev, (ctx, err) => console.error(`${ev}: ${err?.message} ${err?.error_detail ?? err?.error_description ?? ''}`));
  }
  return p;
}
let pushed = {};
let provider = makeProvider();
let answer = provider.callback();

// ---- pages: plain forms, so that curl can fill them ----

function esc(text) {
  return String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
}

function page(title, body) {
  return `<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>${esc(title)}</title>
<style>body{font-family:sans-serif;max-width:24em;margin:3em auto}label{display:block;margin:1em 0}input{display:block;width:100%}</style>
<h1>${esc(title)}</h1>${body}</html>`;
}

const passwordPage = (uid, hint, wrong) => page('Example University', `${wrong ? `<p id="wrong">${wrong}</p>` : ''}
<form method="post" action="/interaction/${uid}/password">
<label>Account <input name="login" autocomplete="username" value="${esc(hint ?? '')}"></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>
<button name="do" value="login">Log in</button>
</form>
<form method="post" action="/interaction/${uid}/cancel" data-refuse><button>Cancel</button></form>`);

const otpPage = (uid, wrong) => page('Second factor', `${wrong ? `<p id="wrong">${wrong}</p>` : ''}
<form method="post" action="/interaction/${uid}/otp">
<label>Code <input name="otp" inputmode="numeric" autocomplete="one-time-code"></label>
<button name="do" value="login">Log in</button>
</form>`);

async function form(req) {
  let body = '';
  for await (const part of req) {
    body += part;
    if (body.length > 4096) throw new Error('form too large');
  }
  return new URLSearchParams(body);
}

const halfway = new Map();      // interaction -> account whose password was right

async function interaction(req, res, uid, step) {
  const html = (text, status = 200) => {
    res.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
    res.end(text);
  };
  const done = (result) => provider.interactionFinished(req, res, result, { mergeWithLastSubmission: false });
  const { params, uid: real } = await provider.interactionDetails(req, res);
  if (uid !== real) return html(page('Error', '<p id="error">another interaction</p>'), 400);
  if (req.method === 'GET') return html(passwordPage(uid, params.login_hint));
  const fields = await form(req);
  if (step === 'cancel') return done({ error: 'access_denied', error_description: 'the person cancelled' });
  if (step === 'password') {
    const login = (fields.get('login') ?? '').toLowerCase();
    const a = accounts[login];
    if (!a || !equal(a.password, fields.get('password') ?? '') || state.disabled.has(login)) {
      return html(passwordPage(uid, login, 'Wrong account or password.'));
    }
    const asked = (params.acr_values ?? '').split(' ').includes(MFA);
    const wants = state.mfa === 'always' || (state.mfa === 'asked' && asked);
    if (a.totp && wants) {
      halfway.set(uid, login);
      return html(otpPage(uid));
    }
    return done({ login: { accountId: a.sub, acr: PWD, amr: ['pwd'] } });
  }
  if (step === 'otp' && halfway.has(uid)) {
    const login = halfway.get(uid);
    if (!totpOk(accounts[login].totp, fields.get('otp') ?? '')) return html(otpPage(uid, 'Wrong code.'));
    halfway.delete(uid);
    return done({ login: { accountId: accounts[login].sub, acr: MFA, amr: ['pwd', 'otp'] } });
  }
  return html(page('Error', '<p id="error">no such step</p>'), 400);
}

const server = https.createServer({
  cert: readFileSync(near(conf.cert)), key: readFileSync(near(conf.key)),
}, async (req, res) => {
  if (state.hang) return;
  if (state.delay) await new Promise((r) => { setTimeout(r, state.delay); });
  if (state.garbage) {
    res.writeHead(200, { 'content-type': 'application/json' });
    res.end('{"keys": [}');
    return;
  }
  const m = /^\/interaction\/([A-Za-z0-9_-]+)(?:\/(password|otp|cancel))?$/.exec(req.url.split('?')[0]);
  try {
    if (m) await interaction(req, res, m[1], m[2]);
    else await answer(req, res);
  } catch (e) {
    console.error(`interaction: ${e.message}`);
    if (!res.headersSent) res.writeHead(400, { 'content-type': 'text/html' });
    res.end(page('Error', `<p id="error">${esc(e.message)}</p>`));
  }
});

// ---- admin: POST /what {"..."} on a unix socket, for the test alone ----

const admin = {
  disable: ({ account }) => { state.disabled.add(account); },
  enable: ({ account }) => { state.disabled.delete(account); },
  set: (change) => { for (const k of ['mfa', 'delay', 'hang', 'garbage', 'idTokenTtl', 'refresh', 'offline', 'grants']) if (k in change) state[k] = change[k]; },
  // keep: the old public keys stay published, as a careful provider does it.
  rotate: ({ keep }) => {
    keys = [newKey('RSA'), newKey('EC'), ...(keep ? keys : [])];
    provider = makeProvider();
    answer = provider.callback();
  },
  // Tells every client with a back-channel URL that the account's sessions are over.
  logout: async ({ account }) => {
    const { sub } = accounts[account];
    let told = 0;
    for (const s of sessions.filter((x) => x.account === sub)) {
      const client = await provider.Client.find(s.client);
      if (!client?.backchannelLogoutUri) continue;
      await client.backchannelLogout(sub, s.sid);
      told += 1;
    }
    return { told };
  },
  // What the last pushed request asked for.
  pushed: () => pushed,
  groups: ({ account, groups }) => { accounts[account].groups = groups; },
  state: () => ({ ...state, disabled: [...state.disabled], kids: keys.map((k) => k.kid) }),
};

const control = http.createServer(async (req, res) => {
  try {
    let body = '';
    for await (const part of req) body += part;
    const what = admin[req.url.slice(1)];
    if (!what) throw new Error(`no such thing: ${req.url}`);
    res.end(`${JSON.stringify((await what(body ? JSON.parse(body) : {})) ?? {})}\n`);
  } catch (e) {
    res.statusCode = 400;
    res.end(`${JSON.stringify({ error: e.message })}\n`);
  }
});

const sock = near(conf.admin ?? 'admin.sock');
rmSync(sock, { force: true });
control.listen(sock, () => chmodSync(sock, 0o600));

const [, host, port] = /^(.*):(\d+)$/.exec(conf.listen);
server.listen(Number(port), host.replace(/^\[|\]$/g, ''), () => {
  console.log(`ready ${conf.issuer}`);
});
for (const sig of ['SIGTERM', 'SIGINT']) process.on(sig, () => { rmSync(sock, { force: true }); process.exit(0); });
