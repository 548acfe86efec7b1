// SPDX-License-Identifier: AGPL-3.0-or-later
// An HTTP/2 application by Node's own server, for the front's tests: what it is
// asked it tells on standard output, a JSON line each; paths say what to do.
//
// usage: h2_origin.mjs [KEY CERTIFICATE]      (with them TLS and ALPN h2)
import http2 from "node:http2";
import fs from "node:fs";

const [, , key, cert] = process.argv;
const common = { maxSessionMemory: 1000, settings: { maxConcurrentStreams: Number(process.env.STREAMS || 100) } };
const server = key ? http2.createSecureServer({ key: fs.readFileSync(key), cert: fs.readFileSync(cert), ...common })
  : http2.createServer(common);
const say = (o) => process.stdout.write(JSON.stringify(o) + "\n");
let sessions = 0, held = [], live = new Set();

server.on("session", (s) => {
  s.number = ++sessions;
  live.add(s);
  s.on("close", () => live.delete(s));
  s.on("error", () => {});
});
server.on("error", () => {});
server.on("stream", (st, headers) => {
  const url = new URL(headers[":path"], "http://x"), n = Number(url.searchParams.get("n") || 0);
  const o = { method: headers[":method"], path: headers[":path"], session: st.session.number, fields: headers };

  say(o);
  st.on("error", () => {});
  st.on("close", () => say({ closed: headers[":path"], code: st.rstCode }));
  switch (url.pathname) {
    case "/echo":
      st.respond({ ":status": 200, "content-type": "application/octet-stream" }, { waitForTrailers: true });
      st.on("wantTrailers", () => st.sendTrailers({ "x-sum": "1", "remote-user": "trailer" }));
      st.pipe(st);
      st.on("trailers", (t) => say({ trailers: t }));
      return;
    case "/count": {
      let total = 0;

      st.on("data", (d) => { total += d.length; });
      st.on("end", () => { st.respond({ ":status": 200 }); st.end(String(total)); });
      return;
    }
    case "/big":
      st.respond({ ":status": 200, "content-length": n });
      st.end(Buffer.alloc(n, "x"));
      return;
    case "/early":              // answers, and never reads what is sent
      st.respond({ ":status": 200, "content-length": 5 });
      st.end("early");
      return;
    case "/unread":             // neither
      st.pause();
      return;
    case "/reset":
      st.close(n);
      return;
    case "/half":
      st.respond({ ":status": 200 });
      st.write("half", () => st.destroy(new Error("half")));
      return;
    case "/interim":
      st.additionalHeaders({ ":status": 103, link: "</a.css>; rel=preload" });
      st.respond({ ":status": 200, "content-length": 2 });
      st.end("ok");
      return;
    case "/goaway":             // this one is answered, later ones go elsewhere
      st.session.goaway(0, st.id);
      st.respond({ ":status": 200, "content-length": 2 });
      st.end("ok");
      return;
    case "/hold":
      held.push(st);
      return;
    case "/release":
      for (const h of held) {
        if (!h.destroyed) {
          h.respond({ ":status": 200, "content-length": 4 });
          h.end("held");
        }
      }
      held = [];
      break;
    case "/ping":
      for (const s of live)
        s.ping(() => {});
      break;
    case "/cut":
      st.session.destroy();
      return;
    case "/empty":
      st.respond({ ":status": 204 }, { endStream: true });
      return;
    case "/trailers-only":
      st.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "12" }, { endStream: true });
      return;
  }
  const body = JSON.stringify(o);

  st.respond({ ":status": 200, "content-type": "application/json", "content-length": Buffer.byteLength(body) });
  st.end(headers[":method"] === "HEAD" ? undefined : body);
});
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
process.stdin.on("end", () => process.exit(0)).resume();
