// SPDX-License-Identifier: AGPL-3.0-or-later
// @grpc/grpc-js as application and as client, with the front between them.
//
// usage: grpc_peers.mjs server          prints its port, then serves until its input ends
//        grpc_peers.mjs client PORT     through the front at 127.0.0.1:PORT; "ok NAME" and "not ok NAME" lines
import grpc from "@grpc/grpc-js";

const bytes = (b) => b, row = (path, requestStream, responseStream) => ({
  path: "/lab.Instrument/" + path, requestStream, responseStream, requestSerialize: bytes, requestDeserialize: bytes,
  responseSerialize: bytes, responseDeserialize: bytes,
});
const service = {
  echo: row("Echo", false, false), who: row("Who", false, false), fail: row("Fail", false, false),
  never: row("Never", false, false), count: row("Count", true, false), many: row("Many", false, true),
  talk: row("Talk", true, true),
};
const limits = { "grpc.max_receive_message_length": 64 << 20, "grpc.max_send_message_length": 64 << 20 };

function server() {
  let cancelled = 0, begun = 0;
  const s = new grpc.Server(limits);

  s.addService(service, {
    echo: (call, done) => {
      const trailer = new grpc.Metadata();

      trailer.set("x-after", "said behind the body");
      trailer.set("x-raw-bin", Buffer.from([0, 1, 255]));
      done(null, call.request, trailer);
    },
    who: (call, done) => done(null, Buffer.from(JSON.stringify({ ...call.metadata.getMap(), begun, cancelled }))),
    fail: (call, done) => done({ code: grpc.status.FAILED_PRECONDITION, details: "the lid is open: 100 % \u00fc" }),
    never: (call) => {
      begun++;
      call.on("cancelled", () => { cancelled++; });
    },
    count: (call, done) => {
      let n = 0, size = 0;

      call.on("data", (d) => { n++; size += d.length; });
      call.on("end", () => done(null, Buffer.from(n + " " + size)));
    },
    many: async (call) => {
      const [n, size] = call.request.toString().split(" ").map(Number);

      for (let i = 0; i < n && !call.cancelled; i++) {
        if (!call.write(Buffer.alloc(size, i & 255)))
          await new Promise((go) => call.once("drain", go));
      }
      call.end();
    },
    talk: (call) => {
      call.on("data", (d) => call.write(Buffer.from(d.toString().toUpperCase())));
      call.on("end", () => call.end());
    },
  });
  s.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (e, port) => {
    if (e)
      throw e;
    console.log(port);
  });
  process.stdin.on("end", () => process.exit(0)).resume();
}

async function client(port) {
  const Client = grpc.makeGenericClientConstructor(service, "Instrument");
  const c = new Client("127.0.0.1:" + port, grpc.credentials.createInsecure(),
    { "grpc.default_authority": "grpc", ...limits });
  const soon = () => ({ deadline: Date.now() + 60000 });
  const call = (name, body) => new Promise((go, no) => {
    const md = new grpc.Metadata();
    let status;

    md.set("remote-user", "evil");
    md.set("x-mine", "kept");
    c[name](body, md, soon(), (e, r) => (e ? no(e) : setImmediate(() => go({ r, status })))).on("status", (st) => { status = st; });
  });
  const same = (a, b, what) => { if (a !== b) throw new Error(what + ": " + a + ", want " + b); };
  const fails = async (p, code) => {
    try {
      await p;
    } catch (e) {
      same(e.code, code, "code");
      return e;
    }
    throw new Error("no error, want " + code);
  };
  const tests = {
    async unary() {
      const { r, status } = await call("echo", Buffer.from("hello"));

      same(r.toString(), "hello", "body");
      same(status.metadata.get("x-after")[0], "said behind the body", "trailer");
      same(Buffer.compare(status.metadata.get("x-raw-bin")[0], Buffer.from([0, 1, 255])), 0, "binary trailer");
    },
    async large() {
      const big = Buffer.alloc(20 << 20, "b");

      same(Buffer.compare((await call("echo", big)).r, big), 0, "20 MiB");
    },
    async identity() {
      const o = JSON.parse((await call("who", Buffer.alloc(0))).r.toString());

      same(o["remote-user"], "admin@example.edu", "who");
      same(o["x-mine"], "kept", "metadata");
    },
    async error() {
      const e = await fails(call("fail", Buffer.alloc(0)), grpc.status.FAILED_PRECONDITION);

      same(e.details, "the lid is open: 100 % \u00fc", "details");
    },
    async deadline() {
      await fails(new Promise((go, no) => c.never(Buffer.alloc(0), { deadline: Date.now() + 300 }, (e, r) => (e ? no(e) : go(r)))),
        grpc.status.DEADLINE_EXCEEDED);
    },
    async cancel() {
      const about = async () => JSON.parse((await call("who", Buffer.alloc(0))).r.toString());
      const until = async (what) => {       // as the application tells it
        for (let i = 0; !what(await about()); i++) {
          if (i > 1000)
            throw new Error("the application was never told");
          await new Promise((go) => setTimeout(go, 20));
        }
      };
      const before = await about();
      let one;
      const p = new Promise((go, no) => { one = c.never(Buffer.alloc(0), soon(), (e, r) => (e ? no(e) : go(r))); });

      await until((o) => o.begun > before.begun);
      one.cancel();
      await fails(p, grpc.status.CANCELLED);
      await until((o) => o.cancelled > before.cancelled);
    },
    async up() {
      const r = await new Promise((go, no) => {
        const s = c.count(soon(), (e, x) => (e ? no(e) : go(x)));

        (async () => {
          for (let i = 0; i < 2000; i++) {
            if (!s.write(Buffer.alloc(5000, i & 255)))
              await new Promise((on) => s.once("drain", on));
          }
          s.end();
        })();
      });

      same(r.toString(), "2000 10000000", "counted");
    },
    async down() {
      let n = 0, size = 0;
      const s = c.many(Buffer.from("2000 5000"), soon());

      for await (const d of s) {
        n++;
        size += d.length;
        if (n === 100)      // what is not read is not sent
          await new Promise((go) => setTimeout(go, 200));
      }
      same(n + " " + size, "2000 10000000", "received");
    },
    async both() {
      const s = c.talk(soon()), got = [];

      for (const word of ["one", "two", "three"]) {     // each answered before the next is said
        const p = new Promise((go, no) => { s.once("data", go); s.once("error", no); });

        s.write(Buffer.from(word));
        got.push((await p).toString());
      }
      s.end();
      await new Promise((go, no) => { s.on("status", (st) => (st.code ? no(new Error("status " + st.code)) : go())); s.resume(); });
      same(got.join(" "), "ONE TWO THREE", "talk");
    },
    async many() {
      const all = await Promise.all(Array.from({ length: 300 }, (x, i) => call("echo", Buffer.from("n" + i))));

      all.forEach((a, i) => same(a.r.toString(), "n" + i, "answer"));
    },
    async unknown() {
      const e = await fails(new Promise((go, no) => c.makeUnaryRequest("/lab.Instrument/Nothing", bytes, bytes, Buffer.alloc(0),
        (err, r) => (err ? no(err) : go(r)))), grpc.status.UNIMPLEMENTED);

      same(e.code, grpc.status.UNIMPLEMENTED, "code");
    },
  };
  let failed = 0;

  for (const [name, fn] of Object.entries(tests)) {
    try {
      await fn();
      console.log("ok " + name);
    } catch (e) {
      failed++;
      console.log("not ok " + name + ": " + (e && e.stack));
    }
  }
  c.close();
  process.exit(failed ? 1 : 0);
}

if (process.argv[2] === "server")
  server();
else
  client(process.argv[3]);
