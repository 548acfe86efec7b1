// SPDX-License-Identifier: AGPL-3.0-or-later
// HTTP/1.1 in, HTTP/2 out: so that tests written in lines try the front in frames. Each connection
// that comes has one of Node's HTTP/2 sessions to itself, and ends with it; a stream that is reset
// ends its connection where it stands.
//
// usage: h2_bridge.mjs PORT      prints the port it listens at; ends with its input
import http from "node:http";
import http2 from "node:http2";

const front = Number(process.argv[2]);
const hop = new Set(["host", "connection", "upgrade", "transfer-encoding", "keep-alive"]);

function session(socket) {
  if (!socket.front) {
    socket.front = http2.connect("http://127.0.0.1:" + front);
    socket.front.on("error", () => {});
    socket.front.on("close", () => socket.destroy());
    socket.on("close", () => socket.front.destroy());
    socket.on("error", () => {});
  }
  return socket.front;
}

function pairs(raw) {
  const out = [];

  for (let i = 0; i < raw.length; i += 2)
    out.push([raw[i].toLowerCase(), raw[i + 1]]);
  return out;
}

function ask(q, a, more) {
  const fields = { ":method": q.method, ":path": q.url, ":authority": q.headers.host, ...more };
  const body = "transfer-encoding" in q.headers || Number(q.headers["content-length"] || 0) > 0;

  for (const [name, value] of pairs(q.rawHeaders)) {
    if (!hop.has(name) && !name.startsWith("sec-websocket-key"))
      fields[name] = name in fields ? [].concat(fields[name], value) : value;
  }
  const st = session(q.socket).request(fields, { endStream: !body && !more });
  let whole = false;

  st.on("error", () => {});
  st.on("response", (head, flags, raw) => {
    a.writeHead(head[":status"], pairs(raw).filter(([name]) => name[0] !== ":").flat());
    a.flushHeaders();
    st.pipe(a);
  });
  st.on("end", () => { whole = st.rstCode === 0; });
  st.on("close", () => {
    if (!whole || st.rstCode)
      q.socket.destroy();
  });
  if (body)
    q.pipe(st);
}

const s = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0 }, (q, a) => {
  a.sendDate = false;
  ask(q, a);
});

// What wants another protocol is asked for by extended CONNECT; here only refusals are of interest.
s.on("upgrade", (q, socket) => {
  const a = new http.ServerResponse(q);

  a.sendDate = false;
  a.assignSocket(socket);
  const h2 = session(socket);
  const go = () => ask(q, a, { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "http" });

  if (h2.remoteSettings?.enableConnectProtocol)
    go();
  else
    h2.once("remoteSettings", go);
});
s.listen(0, "127.0.0.1", () => console.log(s.address().port));
process.stdin.on("end", () => process.exit(0)).resume();
