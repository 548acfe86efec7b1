// SPDX-License-Identifier: AGPL-3.0-or-later
// Programs as people have them, with the front between: Node's own HTTP/2 client,
// and WebSocket by npm's ws, over HTTP/1.1 and over HTTP/2 (RFC 8441).
//
// usage: clients.mjs server                     prints its port, then serves until its input ends
//        clients.mjs h2 PORT ADDRESS BYTES      through the front at 127.0.0.1:PORT, from ADDRESS;
//        clients.mjs ws PORT ADDRESS            "ok NAME" and "not ok NAME" lines
//        clients.mjs ws2 PORT ADDRESS
//        clients.mjs hold PORT ADDRESS          WebSockets of both kinds; "open", then what ended them
import assert from "node:assert";
import crypto from "node:crypto";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { once } from "node:events";
import { WebSocket, WebSocketServer } from "ws";

const MIB = 1 << 20;

// Every block says which it is: one that is lost, doubled or in another's place changes the sum.
function* blob(n) {
  const block = crypto.createHash("sha512").update("blob").digest().toString("base64").repeat(12000).slice(0, MIB);

  for (let at = 0; at < n; at += MIB) {
    const b = Buffer.from(block);

    b.writeUInt32BE(at / MIB, 0);
    yield b.subarray(0, Math.min(MIB, n - at));
  }
}

function sum(n) {
  const h = crypto.createHash("sha256");

  for (const b of blob(n))
    h.update(b);
  return h.digest("hex");
}

async function pour(to, n) {
  for (const b of blob(n)) {
    if (!to.write(b))
      await once(to, "drain");
  }
  to.end();
}

async function sumOf(from) {
  const h = crypto.createHash("sha256");
  let bytes = 0;

  for await (const d of from) {
    h.update(d);
    bytes += d.length;
  }
  return { bytes, sha256: h.digest("hex") };
}

function server() {
  const s = http.createServer(async (q, a) => {
    const url = new URL(q.url, "http://x");
    const n = Number(url.searchParams.get("n") || 0);

    a.setHeader("x-user", q.headers["remote-user"] || "");
    if (url.pathname === "/blob") {
      a.setHeader("x-sha256", sum(n));
      if (!url.searchParams.has("chunked"))
        a.setHeader("content-length", n);
      await pour(a, n).catch(() => {});
      return;
    }
    try {
      a.end(JSON.stringify({ ...await sumOf(q), framing: q.headers["transfer-encoding"] || "length" }));
    } catch {
      a.destroy();
    }
  });
  const ws = new WebSocketServer({ server: s, perMessageDeflate: true, maxPayload: 64 * MIB,
    handleProtocols: (offered) => offered.has("lab.v2") ? "lab.v2" : false });

  ws.on("connection", (c, q) => {
    c.send(JSON.stringify({ user: q.headers["remote-user"], all: q.rawHeaders, protocol: c.protocol, version: q.httpVersion }));
    c.on("error", () => {});
    c.on("message", (d, binary) => {
      if (!binary && d.toString() === "leave")
        c.close(4001, "as you wish");
      else
        c.send(d, { binary });
    });
  });
  s.listen(0, "127.0.0.1", () => console.log(s.address().port));
  process.stdin.on("end", () => process.exit(0)).resume();
}

let failed = 0;

async function check(name, f) {
  try {
    await f();
    console.log("ok " + name);
  } catch (e) {
    failed++;
    console.log("not ok " + name + ": " + (e.stack || e).toString().replaceAll("\n", " | "));
  }
}

function session(port, address) {
  const s = http2.connect("http://wiki", { createConnection: () => net.connect({ host: "127.0.0.1", port, localAddress: address }),
    settings: { initialWindowSize: 4 * MIB } });

  s.on("error", () => {});
  return s;
}

async function ask(s, fields, body) {
  const st = s.request(fields, { endStream: body === undefined });
  const answer = once(st, "response");
  const writing = body === undefined ? null : typeof body === "number" ? pour(st, body) : st.end(body);
  const [head] = await answer;
  const got = await (fields.text ? null : fields[":path"].startsWith("/blob") ? sumOf(st)
    : st.setEncoding("utf8").toArray().then((a) => JSON.parse(a.join(""))));

  await writing;
  return { head, got };
}

async function h2(port, address, n) {
  const s = session(port, address), want = sum(n);

  await check("download", async () => {
    const { head, got } = await ask(s, { ":path": "/blob?n=" + n });

    assert.strictEqual(head[":status"], 200);
    assert.strictEqual(head["x-user"], "staff@example.edu");
    assert.deepStrictEqual(got, { bytes: n, sha256: want });
    assert.strictEqual(head["x-sha256"], want);
  });
  await check("download of chunks", async () => {
    const { got } = await ask(s, { ":path": "/blob?chunked&n=" + n });

    assert.deepStrictEqual(got, { bytes: n, sha256: want });
  });
  await check("upload", async () => {
    const { got } = await ask(s, { ":method": "PUT", ":path": "/sum", "content-length": n }, n);

    assert.deepStrictEqual(got, { bytes: n, sha256: want, framing: "length" });
  });
  await check("upload of nobody knows how much", async () => {
    const { got } = await ask(s, { ":method": "POST", ":path": "/sum" }, n);

    assert.deepStrictEqual(got, { bytes: n, sha256: want, framing: "chunked" });
  });
  await check("both ways at once, eight of each", async () => {
    const part = n >> 3, all = [];

    for (let i = 0; i < 8; i++) {
      all.push(ask(s, { ":path": "/blob?n=" + part }), ask(s, { ":method": "POST", ":path": "/sum" }, part));
    }
    for (const { got } of await Promise.all(all))
      assert.deepStrictEqual([got.bytes, got.sha256], [part, sum(part)]);
  });
  await check("a thousand small ones", async () => {
    for (let i = 0; i < 10; i++) {
      const all = await Promise.all(Array.from({ length: 100 }, () => ask(s, { ":method": "POST", ":path": "/sum" }, "x")));

      for (const { head, got } of all)
        assert.deepStrictEqual([head[":status"], got.bytes], [200, 1]);
    }
  });
  await check("names of ours are dropped", async () => {
    const { head } = await ask(s, { ":path": "/blob?n=1", "remote-user": "admin@example.edu", "remote_user": "admin@example.edu" });

    assert.strictEqual(head["x-user"], "staff@example.edu");
  });
  s.close();
  await once(s, "close");
}

// Messages may come before anybody asks for them: c.next() is the next of all, and says if there will be none.
function listen(c) {
  const here = [], asked = [];
  let over = null;

  c.on("error", (e) => { over = e; });
  c.on("message", (d, binary) => {
    const m = binary ? d : d.toString();

    if (asked.length)
      asked.shift()[0](m);
    else
      here.push(m);
  });
  c.on("close", (code) => {
    over ||= new Error("closed, " + code);
    for (const [, bad] of asked)
      bad(over);
  });
  c.next = () => new Promise((done, bad) => here.length ? done(here.shift()) : over ? bad(over) : asked.push([done, bad]));
  return c;
}

// What a WebSocket can do.
async function talk(c) {
  const next = c.next;
  const hello = JSON.parse(await next());

  await check("who it is, the protocol, nothing spoofed", () => {
    assert.strictEqual(hello.user, "staff@example.edu");
    assert.strictEqual(hello.protocol, "lab.v2");
    assert.ok(!hello.all.includes("evil"), JSON.stringify(hello.all));
  });
  await check("text and bytes, empty to 8 MiB", async () => {
    for (const n of [0, 1, 125, 126, 65535, 65536, 8 * MIB]) {
      const d = crypto.randomBytes(n), text = d.toString("base64");

      c.send(d);
      assert.ok(d.equals(await next()), n + " bytes");
      c.send(text);
      assert.strictEqual(await next(), text);
    }
  });
  await check("a thousand, in order", async () => {
    for (let i = 0; i < 1000; i++)
      c.send("n" + i);
    for (let i = 0; i < 1000; i++)
      assert.strictEqual(await next(), "n" + i);
  });
  await check("fragments", async () => {
    c.send("ab", { fin: false });
    c.send("cd", { fin: false });
    c.send("ef", { fin: true });
    assert.strictEqual(await next(), "abcdef");
  });
  await check("ping and pong", async () => {
    const pong = once(c, "pong");

    c.ping("are you there");
    assert.strictEqual((await pong)[0].toString(), "are you there");
  });
  await check("the close, its code and its words", async () => {
    const close = once(c, "close");

    c.send("leave");
    const [code, why] = await close;

    assert.deepStrictEqual([code, why.toString()], [4001, "as you wish"]);
  });
}

const spoofed = { "Remote-User": "evil", "X-Forwarded-User": "evil" };

function dial(port, address, path, options = {}) {
  return listen(new WebSocket("ws://127.0.0.1:" + port + path, ["lab.v1", "lab.v2"],
    { localAddress: address, headers: { Host: "wiki", ...spoofed }, origin: "http://wiki", ...options }));
}

async function refusal(c) {
  const [, answer] = await once(c, "unexpected-response");

  answer.resume();
  c.terminate();
  return answer.statusCode;
}

async function ws(port, address) {
  await talk(dial(port, address, "/ws"));
  await check("without compression", async () => {
    const plain = dial(port, address, "/ws", { perMessageDeflate: false });

    const close = once(plain, "close");

    await plain.next();
    assert.strictEqual(plain.extensions, "");
    plain.close(1000);
    assert.strictEqual((await close)[0], 1000);
  });
  await check("a page of somebody else's may not", async () => {
    assert.strictEqual(await refusal(dial(port, address, "/ws", { origin: "http://evil.example" })), 403);
  });
  await check("nor somebody without a grant", async () => {
    assert.strictEqual(await refusal(dial(port, "127.0.0.3", "/ws")), 403);
  });
}

// ws brings its frames, Node's HTTP/2 the stream under them.
async function dial2(s, more = {}) {
  const st = s.request({ ":method": "CONNECT", ":protocol": "websocket", ":path": "/ws", ":scheme": "http",
    "sec-websocket-version": "13", "sec-websocket-protocol": "lab.v2", origin: "http://wiki",
    "remote-user": "evil", ...more }, { endStream: false });
  const [head] = await once(st, "response");

  if (head[":status"] !== 200) {
    st.on("error", () => {});
    st.close();
    return { status: head[":status"] };
  }
  const c = listen(new WebSocket(null, undefined, {}));

  assert.strictEqual(head["sec-websocket-accept"], undefined);
  c._isServer = false;
  c.setSocket(st, Buffer.alloc(0), { maxPayload: 64 * MIB, allowSynchronousEvents: true });
  return { status: 200, c };
}

async function ws2(port, address) {
  const s = session(port, address), settings = once(s, "remoteSettings");

  await settings;
  await check("the server says that it can", () => assert.strictEqual(s.remoteSettings.enableConnectProtocol, true));
  await talk((await dial2(s)).c);
  await check("eight at once", async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => dial2(s)));

    for (const [i, { c }] of all.entries()) {
      await c.next();
      c.send("to " + i);
    }
    for (const [i, { c }] of all.entries()) {
      assert.strictEqual(await c.next(), "to " + i);
      c.close(1000);
    }
  });
  await check("a page of somebody else's may not", async () => {
    assert.strictEqual((await dial2(s, { origin: "http://evil.example" })).status, 403);
  });
  s.destroy();
}

async function hold(port, address) {
  const c = dial(port, address, "/ws"), s = session(port, address), two = (await dial2(s)).c;

  const ends = Promise.all([once(c, "close"), once(two, "close")]);

  await Promise.all([c.next(), two.next()]);
  console.log("open");
  const [[a], [b]] = await ends;

  console.log("closed " + a + " " + b);
}

const [, , what, port, address, bytes] = process.argv;

if (what === "server") {
  server();
} else {
  await { h2, ws, ws2, hold }[what](Number(port), address, Number(bytes));
  process.exitCode = failed ? 1 : 0;
}
