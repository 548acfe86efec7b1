# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests and responses by rule: what must be refused, what must pass, and
mutations of both. Used by test_wire_hostile.py and test_differential.py.

A case is (rule, bytes, want). "refused": no whole message of it may be passed
on. "served": it is legal and ordinary enough. HOST stands in every Host field.
"""
import random

REFUSED, SERVED = "refused", "served"
HOST = b"wiki"
H = b"Host: " + HOST + b"\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\n" + H + b"\r\n"

# Every byte that HTTP calls no text, but HTAB; CR and LF among them.
CONTROLS = [bytes([i]) for i in range(0x20) if i != 9] + [b"\x7f"]
BLANKS = [b" ", b"\t", b"  ", b" \t ", b"\x0b", b"\x0c", b"\xa0", b"\xc2\xa0", b"\xe2\x80\x83",
        b"\xef\xbb\xbf", b"\x85",
          b"\x00", b"\r", b"\n", b"\r\n ", b"\n\t"]
# Letters that fold to ASCII ones in Unicode, and others that look alike.
TWINS = [(b"s", "\u017f"), (b"i", "\u0131"), (b"k", "\u212a"), (b"e", "\u0435"), (b"C", "\uff23"), (b"-",
        "\u2010"), (b"-", "\u2015")]


def get(target=b"/", fields=b"", line_end=b"\r\n", method=b"GET", version=b"HTTP/1.1", host=H):
    return method + b" " + target + b" " + version + line_end + host + fields + b"\r\n"


def post(fields, body=b"", method=b"POST", version=b"HTTP/1.1"):
    return method + b" / " + version + b"\r\n" + H + fields + b"\r\n" + body


def chunked(body, fields=b""):
    return post(b"Transfer-Encoding: chunked\r\n" + fields, body)


def controls():
    """Each control in each kind of place."""
    for b in CONTROLS:
        for place, raw in (
                ("before the method", b + get()),
                ("in the method", get(method=b"G" + b + b"ET")),
                ("behind the method", get(method=b"GET" + b)),
                ("before the target", get(b + b"/")),
                ("in the path", get(b"/a" + b + b"b")),
                ("behind the path", get(b"/a" + b)),
                ("in the query", get(b"/?a" + b + b"b")),
                ("in the authority", get(b"http://wi" + b + b"ki/")),
                ("before the version", get(version=b + b"HTTP/1.1")),
                ("in the version", get(version=b"HTTP/1" + b + b".1")),
                ("behind the version", get(version=b"HTTP/1.1" + b)),
                ("before a name", get(fields=b + b"X-A: b\r\n")),
                ("in a name", get(fields=b"X-" + b + b"A: b\r\n")),
                ("behind a name", get(fields=b"X-A" + b + b": b\r\n")),
                ("behind a colon", get(fields=b"X-A:" + b + b"b\r\n")),
                ("in a value", get(fields=b"X-A: b" + b + b"c\r\n")),
                ("behind a value", get(fields=b"X-A: b" + b + b"\r\n")),
                ("an empty value", get(fields=b"X-A:" + b + b"\r\n")),
                ("in Host", get(host=b"Host: wi" + b + b"ki\r\n")),
                ("behind Host", get(host=b"Host: wiki" + b + b"\r\n")),
                ("before Content-Length", post(b + b"Content-Length: 1\r\n", b"x")),
                ("in Content-Length's name", post(b"Content" + b + b"-Length: 1\r\n", b"x")),
                ("behind Content-Length's name", post(b"Content-Length" + b + b": 1\r\n", b"x")),
                ("before a length", post(b"Content-Length:" + b + b"1\r\n", b"x")),
                ("in a length", post(b"Content-Length: 1" + b + b"0\r\n", b"xxxxxxxxxx")),
                ("behind a length", post(b"Content-Length: 1" + b + b"\r\n", b"x")),
                ("before Transfer-Encoding", post(b + b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
                ("behind Transfer-Encoding's name", post(b"Transfer-Encoding" + b + b": chunked\r\n",
                b"0\r\n\r\n")),
                ("before chunked", post(b"Transfer-Encoding:" + b + b"chunked\r\n", b"0\r\n\r\n")),
                ("in chunked", post(b"Transfer-Encoding: chu" + b + b"nked\r\n", b"0\r\n\r\n")),
                ("behind chunked", post(b"Transfer-Encoding: chunked" + b + b"\r\n", b"0\r\n\r\n")),
                ("before a chunk's size", chunked(b + b"1\r\nx\r\n0\r\n\r\n")),
                ("in a chunk's size", chunked(b"0" + b + b"1\r\nx\r\n0\r\n\r\n")),
                ("behind a chunk's size", chunked(b"1" + b + b"\r\nx\r\n0\r\n\r\n")),
                ("behind a chunk's semicolon", chunked(b"1;" + b + b"\r\nx\r\n0\r\n\r\n")),
                ("in an extension's name", chunked(b"1;a" + b + b"b\r\nx\r\n0\r\n\r\n")),
                ("in an extension's value", chunked(b"1;a=b" + b + b"c\r\nx\r\n0\r\n\r\n")),
                ("in a quoted extension", chunked(b"1;a=\"b" + b + b"c\"\r\nx\r\n0\r\n\r\n")),
                ("behind a backslash in an extension", chunked(b"1;a=\"b\\" + b + b"c\"\r\nx\r\n0\r\n\r\n")),
                ("behind a chunk's data", chunked(b"1\r\nx" + b + b"\r\n0\r\n\r\n")),
                ("before the last chunk", chunked(b"1\r\nx\r\n" + b + b"0\r\n\r\n")),
                ("behind the last chunk", chunked(b"1\r\nx\r\n0" + b + b"\r\n\r\n")),
                ("in a trailer's name", chunked(b"0\r\nX-" + b + b"T: u\r\n\r\n")),
                ("behind a trailer's name", chunked(b"0\r\nX-T" + b + b": u\r\n\r\n")),
                ("in a trailer's value", chunked(b"0\r\nX-T: u" + b + b"v\r\n\r\n")),
                ("before the last empty line", chunked(b"0\r\n" + b + b"\r\n"))):
            yield "control %r %s" % (b, place), raw, REFUSED


def blanks():
    for b in BLANKS:
        for place, raw in (
                ("before the method", b + get()), ("behind the method", get(method=b"GET" + b)),
                ("before the target", get(b + b"/")), ("behind the target", get(b"/" + b)),
                ("in the target", get(b"/a" + b + b"b")),
                ("before the version", get(version=b + b"HTTP/1.1")), ("behind the version",
                get(version=b"HTTP/1.1" + b)),
                ("in the version", get(version=b"HTTP/" + b + b"1.1")), ("behind HTTP", get(version=b"HTTP" +
                b + b"/1.1")),
                ("before a name", get(fields=b + b"X-A: b\r\n")), ("in a name", get(fields=b"X-" + b +
                b"A: b\r\n")),
                ("before the first name", get(host=b + H)),
                ("behind a name", get(fields=b"X-A" + b + b": b\r\n")), ("behind Host", get(host=b"Host" + b +
                b": wiki\r\n")),
                ("in Host's value", get(host=b"Host: wi" + b + b"ki\r\n")),
                ("behind Content-Length", post(b"Content-Length" + b + b": 1\r\n", b"x")),
                ("before Content-Length", post(b + b"Content-Length: 1\r\n", b"x")),
                ("in a length", post(b"Content-Length: 1" + b + b"0\r\n", b"xxxxxxxxxx")),
                ("behind Transfer-Encoding", post(b"Transfer-Encoding" + b + b": chunked\r\n", b"0\r\n\r\n")),
                ("before Transfer-Encoding", post(b + b"Transfer-Encoding: chunked\r\n", b"0\r\n\r\n")),
                ("in Transfer-Encoding", post(b"Transfer" + b + b"Encoding: chunked\r\n", b"0\r\n\r\n")),
                ("in chunked", post(b"Transfer-Encoding: chun" + b + b"ked\r\n", b"0\r\n\r\n")),
                ("before a chunk's size", chunked(b + b"1\r\nx\r\n0\r\n\r\n")),
                ("in a chunk's size", chunked(b"0" + b + b"1\r\nx\r\n0\r\n\r\n")),
                ("behind a chunk's size", chunked(b"1" + b + b"\r\nx\r\n0\r\n\r\n")),
                ("behind the last chunk", chunked(b"0" + b + b"\r\n\r\n")),
                ("behind a chunk's data", chunked(b"1\r\nx" + b + b"\r\n0\r\n\r\n")),
                ("before the first trailer", chunked(b"0\r\n" + b + b"X-T: u\r\n\r\n")),
                ("behind a trailer's name", chunked(b"0\r\nX-T" + b + b": u\r\n\r\n"))):
            # UTF-8 in a target is escaped; an empty line that ends the head makes what follows another message
            utf8 = b in (b"\xc2\xa0", b"\xe2\x80\x83", b"\xef\xbb\xbf") and place in ("in the target",
                    "behind the target")
            ends = b == b"\r\n " and place in ("before a name", "before Content-Length",
                    "before Transfer-Encoding", "before the first trailer")
            if not ends:
                yield "blank %r %s" % (b, place), raw, SERVED if utf8 else REFUSED
    for b in (b" ", b"\t", b"", b"   ", b"\t \t"):
        for name, value, body in ((b"X-A", b"b", b""), (b"X-A", b"b c", b""), (b"X-A", b"", b""),
                (b"Content-Length", b"1", b"x"),
                                  (b"Transfer-Encoding", b"chunked", b"1\r\nx\r\n0\r\n\r\n"), (b"Expect",
                                  b"100-continue", b"")):
            if name == b"Expect":
                body, more = b"x", b"Content-Length: 1\r\n"
            else:
                more = b"" if body else b"Content-Length: 0\r\n"
            yield "blanks %r around the value of %s" % (b, name.decode()), post(name + b":" + b + value + b +
                    b"\r\n" + more, body), SERVED
        yield "blanks %r around Host" % b, get(host=b"Host:" + b + HOST + b + b"\r\n"), SERVED
        yield "blanks %r around a trailer" % b, chunked(b"0\r\nX-T:" + b + b"u" + b + b"\r\n\r\n"), SERVED


def lengths():
    for v in (b"+1", b"-1", b"-0", b"1 1", b"1,1", b"1, 1", b"1;1", b"0x1", b"1.0", b"1e0", b"\"1\"", b"'1'",
            b"", b",", b"1,", b",1",
              b"one", b"1a", b"a1", b"1_0", b"1;q=1", b"\xd9\xa1", b"\xef\xbc\x91", b"18446744073709551617",
              b"9223372036854775808",
              b"4294967296" * 3, b"99999999999999999999999", b"0b1", b"0o1", b"1\t1", b"01x", b"NaN",
              b"Infinity", b"-", b"+", b"1-",
              b"chunked", b"1\x00", b"%31", b"1L", b"1 ;", b"=1", b"1=", b"(1)", b"1//", b"0, 1", b"1, 0"):
        yield "length %r" % v, post(b"Content-Length: " + v + b"\r\n", b"x" + SMUGGLED), REFUSED
    for v in (b"0", b"1", b"5", b"10"):
        yield "length %r" % v, post(b"Content-Length: " + v + b"\r\n", b"x" * int(v)), SERVED
    for a, b in ((b"1", b"1"), (b"1", b"2"), (b"0", b"1"), (b"1", b"0"), (b"1", b""), (b"", b"1"), (b"1",
            b"01"), (b"0", b"0")):
        for one in (b"Content-Length", b"content-length", b"CONTENT-LENGTH", b"cOnTeNt-LeNgTh"):
            yield "lengths %r and %r" % (a, b), post(b"Content-Length: " + a + b"\r\n" + one + b": " + b +
                    b"\r\n", b"x" + SMUGGLED), REFUSED
            yield "lengths %r and %r apart" % (a, b), post(b"Content-Length: " + a + b"\r\nX-A: b\r\n" + one +
                    b": " + b + b"\r\n", b"x" + SMUGGLED), REFUSED
    for name in (b"Content_Length", b"Content.Length", b"ContentLength", b"Content--Length",
            b"Content-Length-", b"-Content-Length",
                 b"CONTENT_LENGTH", b"content!length", b"Content-Length_", b"Content~Length",
                 b"Content+Length", b"Content'Length",
                 b"Transfer_Encoding", b"Transfer.Encoding", b"TransferEncoding", b"Transfer--Encoding",
                 b"TRANSFER_ENCODING",
                 b"transfer-encoding-", b"_Transfer_Encoding", b"Transfer`Encoding", b"Transfer|Encoding",
                 b"Transfer^Encoding"):
        yield "another name %r" % name, post(name + b": chunked\r\n", b"0\r\n\r\n" + SMUGGLED), REFUSED
        yield "another name %r beside a length" % name, post(name + b": 1\r\nContent-Length: 3\r\n",
                b"abc"), REFUSED


def codings():
    te = b"Transfer-Encoding"
    for v in (b"", b",", b"chunked, chunked", b"chunked,chunked", b"chunked, identity", b"chunked, gzip",
            b"identity", b"gzip", b"xchunked",
              b"chunkedx", b"chunke", b"hunked", b"x-chunked", b"chunked-x", b"chunked chunked", b"chunked\"",
              b"\"chunked\"", b"'chunked'",
              b"chunked/1", b"chunked:", b"chunked:1", b"[chunked]", b"{chunked}", b"(chunked)", b"chunked()",
              b"chunk", b"cow", b"cow, chunked",
              b"chunked, cow", b"gzip, deflate", b"gzip chunked", b"gzip;chunked", b"chunked=1", b"=chunked",
              b"\\chunked", b"chunked\\",
              b"chunked,", b",chunked", b"chunked, ,", b"chunked,,", b", chunked", b"identity, cow",
              b"chun\xc2\xadked", b"chunked\xa0",
              b"\xa0chunked", b"\xe2\x80\x8bchunked", "\u0441hunked".encode(), "chun\u212aed".encode(),
              "chunke\u0501".encode(), b"\x85chunked",
              b"chunked\x85", b"chunked\xff", b"%63hunked", b"br, chunked", b"zstd, chunked",
              b"chunked, trailers", b"trailers, chunked",
              b"*", b"*, chunked", b"0", b"null", b"true", b"chunked;q=0, gzip", b"chunked;a=\"b",
              b"close, chunked", b"chunked@", b"#chunked"):
        yield "coding %r" % v, post(te + b": " + v + b"\r\n", b"0\r\n\r\n" + SMUGGLED), REFUSED
        yield "coding %r, lower case" % v, post(b"transfer-encoding:" + v + b"\r\n", b"0\r\n\r\n" +
                SMUGGLED), REFUSED
        yield "coding %r and a length" % v, post(te + b": " + v + b"\r\nContent-Length: 5\r\n",
                b"0\r\n\r\n"), REFUSED
    for v in (b"chunked", b"Chunked", b"CHUNKED", b"cHuNkEd", b"gzip, chunked", b"gzip,chunked",
            b"GZIP , chunked", b"deflate, gzip, chunked",
              b"identity, chunked", b"chunked;a=b", b"x-gzip, chunked", b"compress, chunked"):
        for name in (te, te.lower(), te.upper(), b"tRANSFER-eNCODING"):
            yield "coding %s: %s" % (name.decode(), v.decode()), post(name + b": " + v + b"\r\n",
                    b"1\r\nx\r\n0\r\n\r\n"), SERVED
            for length in (b"0", b"1", b"3", b"11", b"x", b""):
                cl = b"Content-Length: " + length + b"\r\n"
                yield "coding %r and length %r" % (v, length), post(name + b": " + v + b"\r\n" + cl,
                        b"1\r\nx\r\n0\r\n\r\n"), REFUSED
                yield "length %r and coding %r" % (length, v), post(cl + name + b": " + v + b"\r\n",
                        b"1\r\nx\r\n0\r\n\r\n"), REFUSED
    for a, b in ((b"chunked", b"chunked"), (b"chunked", b"identity"), (b"chunked", b"gzip"), (b"chunked",
            b"cow"), (b"cow", b"chunked"),
                 (b"chunked", b""), (b"", b"chunked"), (b"identity", b"identity"), (b"gzip", b"gzip"),
                 (b"chunked", b"x")):
        for n1, n2 in ((te, te), (te, te.lower()), (te, te.upper())):
            yield "codings %r and %r" % (a, b), post(n1 + b": " + a + b"\r\n" + n2 + b": " + b + b"\r\n",
                    b"0\r\n\r\n" + SMUGGLED), REFUSED
            yield "codings %r and %r apart" % (a, b), post(n1 + b": " + a + b"\r\nX: y\r\n" + n2 + b": " + b +
                    b"\r\n", b"0\r\n\r\n" + SMUGGLED), REFUSED
    for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"):
        yield "coding in HTTP/1.0, " + method.decode(), post(te + b": chunked\r\n", b"0\r\n\r\n", method,
                b"HTTP/1.0"), REFUSED
        yield "both lengths, " + method.decode(), post(te + b": chunked\r\nContent-Length: 5\r\n",
                b"0\r\n\r\n", method), REFUSED
        yield "coding with blank name end, " + method.decode(), post(te + b" : chunked\r\n", b"0\r\n\r\n",
                method), REFUSED
    for plain, twin in TWINS:
        for name in (te, b"Content-Length", b"Host", b"Connection", b"transfer-encoding", b"content-length"):
            if plain in name:
                value = {b"c": b"1", b"h": b"other",
                        b"t": b"chunked"}[name[:1].lower()] if name != b"Connection" else b"close"
                yield "name with %r" % twin, post(name.replace(plain, twin.encode(), 1) + b": " + value +
                        b"\r\n", b""), REFUSED


def chunks():
    for size in (b"", b"-1", b"+1", b"0x1", b"1x", b"x1", b"g", b"1 1", b"1h", b"1.0", b"1_0", b"\"1\"",
            b"10000000000000000", b"ffffffffffffffff",
                 b"fffffffffffffffff", b"00000000000000001", b"8000000000000000", b"7fffffffffffffff", b"1,",
                 b"1:", b"1=", b"1=a", b" 1", b"1 ",
                 b"1\t", b"1 ;a", b"1; a", b"1;a b", b"1;", b"1;;", b"1;a;", b"1;=b", b"1;a==b", b"1;a=",
                 b"1;a=b c", b"1;a=\"b", b"1;a=\"b\"c", b"1;a=b\"",
                 b"1;a=" + b"b" * 300, b"1;" + b"a" * 300, b"\xef\xbc\x91", b"1\xa0", b"1;\xe4=b", b"1;a\x00",
                 b"0x", b"-0", b"+0", b"1/2", b"(1)"):
        yield "chunk size %r" % size[:24], chunked(size + b"\r\nx\r\n0\r\n\r\n" + SMUGGLED), REFUSED
        if b"1" in size:
            yield "last chunk %r" % size[:24], chunked(size.replace(b"1", b"0", 1) + b"\r\n\r\n" +
                    SMUGGLED), REFUSED
        else:
            yield "last chunk %r" % size[:24], chunked(b"1\r\nx\r\n" + size + b"\r\n\r\n" + SMUGGLED), REFUSED
    for end in (b"\n", b"\r", b"\n\r", b"\r\r\n", b"\n\n", b"", b" \r\n", b"\0\r\n"):
        for i in range(5):
            e = [b"\r\n"] * 5
            e[i] = end
            if (i, end) == (3, b" \r\n"):
                continue        # white space behind a trailer's value
            yield "chunk line end %d %r" % (i, end), chunked(b"1" + e[0] + b"x" + e[1] + b"0" + e[2] +
                    b"X-T: u" + e[3] + e[4]), REFUSED
    for data in (b"xx", b"", b"xxx"):
        yield "chunk of %d that says 1" % len(data), chunked(b"1\r\n" + data + b"\r\n0\r\n\r\n"), REFUSED
    for t in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"Host: other", b"content-length:5",
            b"Content_Length: 5", b" X: y", b"X : y", b": y",
              b"X", b"X y", b"transfer_encoding: chunked"):
        yield "trailer %r" % t, chunked(b"0\r\n" + t + b"\r\n\r\n" + SMUGGLED), REFUSED
    for raw in (b"0\r\n\r\n", b"00\r\n\r\n", b"000000000\r\n\r\n", b"1\r\nx\r\n0\r\n\r\n",
            b"A\r\n0123456789\r\n0\r\n\r\n", b"a\r\n0123456789\r\n0\r\n\r\n",
                b"0000A\r\n0123456789\r\n0\r\n\r\n", b"1;a\r\nx\r\n0\r\n\r\n", b"1;a=b\r\nx\r\n0;c\r\n\r\n",
                b"1;a=\"b c;d\"\r\nx\r\n0\r\n\r\n",
                b"1;a=\"\\\"\"\r\nx\r\n0\r\n\r\n", b"1;a;b=c;d\r\nx\r\n0\r\n\r\n",
                b"1;a=\"\xe4\xff\"\r\nx\r\n0\r\n\r\n", b"1\r\n\n\r\n0\r\n\r\n", b"2\r\n\r\n\r\n0\r\n\r\n",
                b"0\r\nX-T: u\r\n\r\n", b"0\r\nX-T:\r\nX-U: \xe4 v\r\n\r\n", b"1\r\n\0\r\n0\r\n\r\n",
                b"1;a=\"b\tc\"\r\nx\r\n0\r\n\r\n"):
        yield "chunks %r" % raw[:24], chunked(raw), SERVED


def lines():
    for v in (b"HTTP/1.2", b"HTTP/2.0", b"HTTP/0.9", b"HTTP/3.0", b"HTTP/1", b"HTTP/1.", b"HTTP/.1",
            b"HTTP/11", b"HTTP/1.1.1", b"HTTP/1.10", b"HTTP/01.1",
              b"HTTP/1.01", b"http/1.1", b"Http/1.1", b"HTTPS/1.1", b"HTTP1.1", b"HTTP /1.1", b"HTTP/ 1.1",
              b"HTTP/1,1", b"HTTP/1.1a", b"HTTP/a.1", b"HTTP/1.x",
              b"HTTP//1.1", b"ICY/1.1", b"RTSP/1.0", b"SIP/2.0", b"", b"1.1", b"HTTP/1.1 HTTP/1.1",
              b"HTTP/1.1 x", b"HTTP/-1.1", b"HTTP/1.-1", b"HTTP/9.9", b"\xef\xbb\xbfHTTP/1.1",
              b"HTTP\\1.1", b"HTTP/1.1;", b"HTT", b"HTTP/"):
        yield "version %r" % v, get(version=v), REFUSED
    for m in (b"", b"G ET", b"GET/", b"G\xc3\x84T", b"GET:", b"(GET)", b"GET,", b"\"GET\"", b"GET;", b"[GET]",
            b"G@T", b"GET=", b"<GET>", b"GET?", b"{GET}", b"G\\ET",
              b"CONNECT", b"TRACE", b"X" * 100):
        yield "method %r" % m[:16], get(method=m), REFUSED
    for m in (b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"PROPFIND", b"REPORT", b"MKCALENDAR",
            b"get", b"Get", b"X-CUSTOM", b"A", b"M-SEARCH", b"!#$%&'*+-.^_`|~9"):
        yield "method %r" % m, get(method=m, fields=b"Content-Length: 0\r\n"), SERVED
    for raw in (b"GET /\r\n" + H + b"\r\n", b"GET\r\n" + H + b"\r\n", b"GET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + H + H + b"\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"Host: other\r\n\r\n", b"GET / HTTP/1.1\r\nhost: other\r\n" + H +
                b"\r\n", b"/ HTTP/1.1\r\n" + H + b"\r\n",
                b"HTTP/1.1 200 OK\r\n" + H + b"\r\n", b"GET / HTTP/1.1\n" + H + b"\r\n", b"GET / HTTP/1.1\r" +
                H + b"\r\n", b"GET / HTTP/1.1\r\n" + H + b"\n",
                b"GET / HTTP/1.1\r\nHost: wiki\n\r\n", b"GET / HTTP/1.1\r\nHost: wiki\r\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"X: y\n\n", b"\n" + get(), b"\r" + get(),
                b"\r\n\r\n" + get(), b"\n\n" + get(), b"\0" + get(), b"\xef\xbb\xbf" + get(),
                b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n z\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"X: y\r\n\tz\r\n\r\n", b"GET / HTTP/1.1\r\n Host: wiki\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b": y\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"X\r\n\r\n", b"GET / HTTP/1.1\r\n" + H + b"X y\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"\"X\": y\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"X=Y\r\n\r\n", b"GET / HTTP/1.1\r\n" + H + b"(X): y\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"X\xe4: y\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"X@Y: y\r\n\r\n", b"GET / HTTP/1.1\r\n" + H + b"X/Y: y\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"X[0]: y\r\n\r\n",
                b"GET / HTTP/1.1\r\n" + H + b"Expect: 200-ok\r\n\r\n", b"GET / HTTP/1.1\r\n" + H +
                b"Connection: a b\r\n\r\n",
                b"GET / HTTP/1.1 \r\n" + H + b"\r\n", b"GET / HTTP/1.1\r\n" + H + b"X" * 300 +
                b": y\r\n\r\n"):
        yield "lines %r" % raw[:60], raw, REFUSED
    for raw in (b"\r\n" + get(), b"GET / HTTP/1.0\r\n" + H + b"\r\n", get(fields=b"X-A: \xe4\xf6\xfc\r\n"),
            get(fields=b"X-A: " + "ä€😀".encode() + b"\r\n"),
                get(fields=b"X-A:\r\n"), get(fields=b"X-A: a\tb\r\n"),
                get(fields=b"X-A: b\r\nX-A: c\r\nx-a: d\r\n"), get(fields=b"!#$%&'*+-.^_`|~9: b\r\n"),
                get(fields=b"X: y:z\r\n"), get(fields=b"X: \"a, b\"\r\n"),
                get(fields=b"Cookie: a=b; c=\"d e\"; \xe4=1\r\n"), get(fields=b"X: " + b"v" * 8000 + b"\r\n"),
                get(fields=b"".join(b"X-%d: %d\r\n" % (i, i) for i in range(150))),
                get(fields=b"Connection: keep-alive, , close,\r\n"),
                get(fields=b"Connection: Keep-Alive\r\nKeep-Alive: timeout=5\r\n"),
                get(fields=b"TE: trailers\r\nConnection: TE\r\n"),
                get(fields=b"TE: trailers, deflate;q=0.5\r\n"),
                get(fields=b"Accept: text/html;q=0.9,*/*;q=0.1\r\nAccept-Encoding: gzip;q=1.0, identity; q=0.5, *;q=0\r\n"), get(fields=b"Range: bytes=0-0,-1\r\n"),
                get(fields=b"If-None-Match: W/\"a\", \"b\", *\r\n"), get(fields=b"Via: 1.1 a, 1.0 b (c)\r\n"),
                get(fields=b"Max-Forwards: 10\r\n"),
                get(fields=b"Upgrade-Insecure-Requests: 1\r\nDNT: 1\r\nSec-GPC: 1\r\nPriority: u=0, i\r\n"),
                get(fields=b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n"),
                get(fields=b"Authorization: Digest username=\"a\", realm=\"b\", uri=\"/\"\r\n"),
                get(fields=b"User-Agent: \r\n"), get(fields=b"Referer: http://wiki/a?b#c\r\n"),
                post(b"Content-Length: 3\r\nContent-Type: multipart/form-data; boundary=\"a b\"\r\n",
                b"a\r\n"), post(b"content-length:3\r\n", b"\0\0\0"),
                get(fields=b"Proxy-Connection: keep-alive\r\nPragma: no-cache\r\n"), get(method=b"DELETE",
                fields=b"Content-Length: 0\r\n"),
                post(b"Expect: 100-continue\r\nContent-Length: 1\r\n", b"x"),
                post(b"Expect: 100-Continue\r\nContent-Length: 1\r\n", b"x"),
                get(fields=b"Expect: 100-continue\r\n"),
                post(b"Content-Length: 0\r\n", b"", b"GET"), post(b"Content-Length: 2\r\n", b"ab", b"DELETE"),
                post(b"", b""),
                get(fields=b"From: staff@example.edu\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"),
                get(fields=b"Connection: close\r\n"), get(fields=b"Connection:\r\n"),
                get(fields=b"Trailer: X-T\r\n"),
                get(fields=b"Sec-CH-UA: \"Chromium\";v=\"120\", \"Not(A:Brand\";v=\"24\"\r\n"),
                get(fields=b"x_under_score: 1\r\n")):
        yield "lines %r" % raw[:60], raw, SERVED


def targets():
    for t in (b"", b"/", b"/a/b/c", b"/a%20b", b"/%41", b"/%7E", b"/a%0d%0ab", b"/?", b"/?a=b&c=d",
            b"/?a=%20", b"/?a=b?c", b"/a;b=c", b"/a,b", b"/a:b@c", b"/a=b",
              b"/!$&'()*+,;=:@", b"/-._~", b"/a//b", b"/a/./b", b"/a/../b", b"/a/..", b"/.", b"/%2e",
              b"/a/%2e%2e/b", b"/...", b"/..a", b"/a..", b"/.well-known/x",
              b"/\xc3\xa4", b"/%C3%A4", b"/%e2%82%ac", b"/?\xc3\xa4", b"/?%ff", b"/?\xff", b"/a?b#c",
              b"/?a[]=b&c{d}=e|f", b"/?\"<>\\^`", b"/%E4%BD%A0?%E5%A5%BD",
              b"http://wiki", b"http://wiki/", b"http://wiki/a?b", b"http://wiki?b", b"HTTP://WIKI/",
              b"http://wiki:80/", b"http://wiki./", b"hTTp://wiki/a/../b",
              b"/http://other/", b"/?http://other/", b"/a@other/", b"/" + b"a" * 7000, b"/?" + b"a=b&" * 1500,
              b"/%25", b"/a%2520b", b"/a%252fb", b"/a%3Fb", b"/a%23b", b"/%3A", b"/*",
              b"/a%09b", b"/%7F", b"/%5B%5D", b"/[a]", b"/{a}", b"/a|b", b"/a\"b", b"/<a>", b"/a^b", b"/a`b"):
        yield "target %r" % t[:40], get(t), SERVED
    yield "target *", get(b"*", method=b"OPTIONS"), SERVED
    yield "OPTIONS, absolute", get(b"http://wiki", method=b"OPTIONS"), SERVED
    for t in (b"a", b"a/b", b"wiki/", b"wiki:80", b"*", b"**", b"/*\r", b"?a", b"#", b"/#a", b"/a#b", b"/a b",
            b"/a\tb", b"\\", b"\\\\other\\", b"/a\\b", b"/..", b"/../", b"/a/../..",
              b"/a/../../b", b"/%2e%2e", b"/%2E%2E/", b"/.%2e/", b"/%2e./a", b"/a/%2e%2e/%2e%2e/b", b"/..;/a",
              b"/a/..;/b", b"/a/..;x=y/b", b"/a/.;/b", b"/%2e%2e;/", b"/..%3b/",
              b"/%00", b"/a%00b", b"/?%00", b"/%", b"/%1", b"/%g1", b"/%1g", b"/%%", b"/a%", b"/?%", b"/?%zz",
              b"/%u0041", b"/%252e%252e/", b"/a/.%252E", b"/a/..%252fb", b"/a/..%253bx/b", b"/a%2fb", b"/a%2Fb", b"/%2f", b"/a%5cb", b"/%5C..",
              b"/\xff", b"/%ff", b"/%c0%af", b"/%c0%ae", b"/%e0%80%af", b"/%ed%a0%80", b"/%f4%90%80%80",
              b"/%c3", b"/\xc3", b"/%c3/%a4", b"http:/wiki/", b"http:wiki", b"http//wiki/",
              b"http:///", b"http://", b"http://other/", b"http://wiki:81/", b"http://user@wiki/",
              b"http://user:pw@wiki/", b"http://wiki@other/", b"http://wi ki/", b"https://wiki/",
              b"ftp://wiki/", b"ws://wiki/", b"file:///etc/passwd", b"javascript:1", b"http://[::1/",
              b"http://wiki:x/", b"http://wiki:-1/", b"http://wiki:65536/", b"http://wiki\\/",
              b"http://wiki%2f/", b"http://%77iki/", b"http://wiki#/", b"http://wiki;/", b"//other/..//..",
              b"/a//../b/../../..", b"/" + b"a" * 40000, b"/?" + b"a" * 40000,
              b"http://wiki\xc2\xad/", b"http://wiki..", b"http://.wiki/", b"/\xed\xa0\x80"):
        yield "target %r" % t[:40], get(t), REFUSED
    for h in (b"", b" ", b"wiki:x", b"wiki:-1", b"wiki:65536", b"wiki:99999999", b"wiki:80:80", b"wiki:0",
            b"wi ki", b"wiki,other", b"wiki, wiki", b"wiki/", b"wiki/a", b"/wiki",
              b"wiki?", b"wiki#", b"wiki@", b"user@wiki", b"user:pw@wiki", b"wiki\\", b"http://wiki",
              b"//wiki", b".wiki", b"wiki..", b"wi..ki", b".", b"..", b":80", b":", b"[wiki]",
              b"[::1", b"::1]", b"[::1]x", b"[::1]:x", b"[]", b"[:::]", b"[::1%25lo]", b"[v1.a]", b"\"wiki\"",
              b"'wiki'", b"<wiki>", b"wiki;", b"wiki=", b"wiki&", b"wiki*", b"*",
              b"wiki|", b"wiki`", b"wiki{}", b"w\xc3\xaeki", b"wi\xadki", b"wiki\xa0", b"\xef\xbb\xbfwiki",
              b"wiki%00", b"wiki%2e", b"%77iki", b"wiki:+80", b"wiki: 80", b"wiki :80",
              b"wiki\twiki", b"wiki;q=1", b"wiki(x)", b"a" * 300, b"wiki:80a", b"wiki:0x50",
              "wik\u0131".encode(), "wi\u212ai".encode(), "\uff57iki".encode(), b"other", b"wiki.other"):
        yield "Host %r" % h[:24], get(host=b"Host: " + h + b"\r\n"), REFUSED
    for h in (b"wiki", b"WIKI", b"Wiki", b"wiki:80", b"wiki.", b"wiki:8080", b"wiki.:80", b"wiki:1",
            b"wiki:65535", b"wiki:080", b"wiki:"):
        yield "Host %r" % h, get(host=b"Host: " + h + b"\r\n"), SERVED
    for name in (b"host", b"HOST", b"hOSt"):
        yield "Host as %r" % name, get(host=name + b": wiki\r\n"), SERVED
    for name in (b"Host-", b"_Host", b"Ho-st", b"HO_ST", b"H.ost"):
        yield "a second Host as %r" % name, get(fields=name + b": other\r\n"), REFUSED


def requests():
    """All of them, each rule once."""
    for rules in (controls, blanks, lengths, codings, chunks, lines, targets):
        yield from rules()


# ---- mutations ----

WORDS = [b"\r\n", b"\r", b"\n", b"\0", b" ", b"\t", b":", b",", b";", b"=", b"\"", b"\\", b"/", b"?", b"#",
        b"%", b"%00", b"%2e", b"..", b"//", b"\x0b", b"\x0c",
         b"\x7f", b"\x80", b"\xa0", b"\xff", b"0", b"1", b"a", b"F", b"+", b"-", b"_", b"chunked", b"gzip",
         b"identity", b"close", b"keep-alive", b"upgrade", b"HTTP/1.1",
         b"HTTP/1.0", b"GET ", b"POST ", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade",
         b"Host", b"Trailer", b"TE", b"Expect", b"100-continue",
         b"Content-Length: 1\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n",
         b"Connection: close\r\n", b"X: y\r\n", b" folded\r\n", b"\r\n\r\n", b"0\r\n\r\n",
         b"1\r\nx\r\n", b"5\r\nhello\r\n", b";a=b", b";a=\"b\"", b"websocket", b"h2c", b"http://wiki", b"*",
         b"\xe2\x80\x83", b"ffffffff", b"0x", b"\r\n ", b"\n\n", b", ", b"%c0%af"]

WHOLE = [
    get(), get(b"/a?b=c", b"User-Agent: x\r\nAccept: */*\r\n"), post(b"Content-Length: 5\r\n", b"hello"),
        chunked(b"5\r\nhello\r\n0\r\n\r\n"),
    chunked(b"5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX-T: u\r\n\r\n"),
        post(b"Content-Length: 5\r\nExpect: 100-continue\r\n", b"hello"),
    get(fields=b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"),
    get(version=b"HTTP/1.0", fields=b"Connection: keep-alive\r\n"), get(b"http://wiki/a",
        b"TE: trailers\r\n"), get(b"*", method=b"OPTIONS"),
    get() + get(b"/2"), post(b"Content-Length: 0\r\n") + get(b"/2"), post(b"Content-Length: 5\r\n",
        b"hello") + post(b"Content-Length: 2\r\n", b"ab") + get(b"/3"),
    chunked(b"1\r\nx\r\n0\r\n\r\n") + get(b"/2"), chunked(b"%x\r\n" % len(SMUGGLED) + SMUGGLED +
        b"\r\n0\r\n\r\n") + get(b"/2"),
    post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED) + get(b"/2"), chunked(b"0\r\n\r\n",
        b"Trailer: X-T\r\n") + get(b"/2"),
    post(b"Transfer-Encoding: gzip, chunked\r\n", b"2\r\nab\r\n0\r\n\r\n"),
        get(fields=b"X-A: \xe4\r\nCookie: a=b; c=d\r\nX-Empty:\r\n"),
    b"\r\n" + get(), get(method=b"HEAD") + get(b"/2"), post(b"Content-Length: 3\r\nConnection: close\r\n",
        b"abc") + get(b"/2"),
]

ANSWERS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
    b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
        b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 304 Not Modified\r\nETag: \"a\"\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
]


def mutate(r, seeds, seed):
    """One to four changes of a message: what a sender of every kind of carelessness, or of malice, writes."""
    d = bytearray(seed)
    for _ in range(r.choice((1, 1, 1, 2, 2, 3, 4))):
        n = len(d)
        at = r.randrange(n + 1)
        kind = r.randrange(12)
        if kind == 0:
            d[at:at] = bytes([r.randrange(256)])
        elif kind == 1 and at < n:
            d[at] = r.randrange(256)
        elif kind == 2:
            del d[at:at + r.choice((1, 1, 1, 2, 4))]
        elif kind in (3, 4, 5):
            d[at:at] = r.choice(WORDS)
        elif kind == 6 and at < n:
            w = r.choice(WORDS)
            d[at:at + len(w)] = w
        elif kind == 7:
            lines = bytes(d).split(b"\r\n")
            i, k = r.randrange(len(lines)), r.randrange(len(lines))
            if r.randrange(2):
                lines[i], lines[k] = lines[k], lines[i]
            else:
                lines.insert(k, lines[i])
            d = bytearray(b"\r\n".join(lines))
        elif kind == 8 and at < n and chr(d[at]).isalpha():
            d[at] ^= 0x20
        elif kind == 9:
            # at a seam: around colons, commas, line ends
            seams = [i for i, b in enumerate(d) if b in b":,;\r\n = "]
            if seams:
                i = r.choice(seams) + r.randrange(2)
                d[i:i] = r.choice(WORDS[:30])
        elif kind == 10:
            other = r.choice(seeds)
            k = r.randrange(len(other) + 1)
            d = d[:at] + bytearray(other[k:])
        elif kind == 11:
            digits = [i for i, b in enumerate(d) if b in b"0123456789"]
            if digits:
                d[r.choice(digits)] = r.choice(b"0123456789abcdefABCDEF+-x ")
    return bytes(d[:4096])


def mutations(seed, count, answers=False):
    r = random.Random(seed)
    seeds = ANSWERS if answers else WHOLE
    for _ in range(count):
        yield mutate(r, seeds, r.choice(seeds))


# ---- answers of an application ----

def answers():
    """(rule, bytes, want) of answers to a GET. "refused": 502, or cut off where its head was good; the
    connection to the application ends. "served": as it is, and another request may follow."""
    ok = b"HTTP/1.1 200 OK\r\n"
    two = b"Content-Length: 2\r\n\r\nok"
    for v in (b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 99 x", b"HTTP/1.1 600 x", b"HTTP/1.1 999 x",
            b"HTTP/1.1 000 x", b"HTTP/1.1 -20 x", b"HTTP/1.1 2x0 OK",
              b"HTTP/1.1 +200 OK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b" HTTP/1.1 200 OK",
              b"HTTP/1.1 200OK", b"HTTP/1.1200 OK", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.2 200 OK",
              b"HTTP/2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK", b"http/1.1 200 OK", b"ICY 200 OK",
              b"HTTP/1.1 200\tOK", b"HTTP/1.1 0200 OK", b"HTTP/1.1 200.0 OK",
              b"200 OK", b"", b"SSH-2.0-x", b"<html>", b"{}", b"RTSP/1.0 200 OK", b"HTTP/1.1 200 O\x00K",
              b"HTTP/1.1 200 O\x1bK", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\x7fK",
              b"\xef\xbb\xbfHTTP/1.1 200 OK", b"HTTP/11 200 OK", b"HTTP/1.10 200 OK", b"HTTP /1.1 200 OK",
              b"GET / HTTP/1.1", b"\r\nHTTP/1.1 200 OK", b"\nHTTP/1.1 200 OK"):
        yield "status line %r" % v, v + b"\r\n" + two, REFUSED
    for name in (b"Content-Length", b"content-length"):
        for v in (b"", b"+2", b"-2", b"2,2", b"2, 2", b"2 2", b"0x2", b"2a", b"two", b"2.0",
                b"18446744073709551618", b"99999999999999999999999", b"\"2\"", b"2;", b"\xb2"):
            yield "length %r" % v, ok + name + b": " + v + b"\r\n\r\nok", REFUSED
        for v, w in ((b"2", b"2"), (b"2", b"3"), (b"0", b"2"), (b"2", b"")):
            yield "lengths %r and %r" % (v,
                    w), ok + b"Content-Length: " + v + b"\r\n" + name + b": " + w + b"\r\n\r\nok", REFUSED
    for v in (b"chunked", b"Chunked", b"gzip, chunked", b"identity", b"x"):
        yield "coding %r and length" % v, ok + b"Transfer-Encoding: " + v + b"\r\nContent-Length: 7\r\n\r\n0\r\n\r\n..", REFUSED
        yield "length and coding %r" % v, ok + b"Content-Length: 7\r\nTransfer-Encoding: " + v + b"\r\n\r\n0\r\n\r\n..", REFUSED
        yield "coding %r in HTTP/1.0" % v, b"HTTP/1.0 200 OK\r\nTransfer-Encoding: " + v + b"\r\n\r\n0\r\n\r\n", REFUSED
    for v in (b"", b"gzip", b"identity", b"chunked, chunked", b"chunked, gzip", b"gzip, chunked", b"xchunked",
            b"chunkedx", b"chunked;a=b", b"chunked;", b"\"chunked\"", b"chunked,",
              b",chunked", b"cow", b"cow, chunked", b"chunked cow", b"\x0bchunked", b"chunked\xa0",
              b"chun ked", b"chunked\x00"):
        yield "coding %r" % v, ok + b"Transfer-Encoding: " + v + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n", REFUSED
    for v, w in ((b"chunked", b"chunked"), (b"chunked", b"identity"), (b"gzip", b"chunked"), (b"cow",
            b"chunked")):
        yield "codings %r and %r" % (v,
                w), ok + b"Transfer-Encoding: " + v + b"\r\nTransfer-Encoding: " + w + b"\r\n\r\n2\r\nok\r\n0\r\n\r\n", REFUSED
    for v in (b"X: y\r\n z\r\n", b"X: y\r\n\tz\r\n", b" X: y\r\n", b"X : y\r\n", b"X\t: y\r\n", b": y\r\n",
            b"X\r\n", b"X y\r\n", b"X\x00: y\r\n", b"X: \x00\r\n", b"X: a\x0bb\r\n", b"X: a\rb\r\n",
              b"X: y\n", b"X: y\r\r\n", b"X: a\x7f\r\n", b"X: a\x1b[0m\r\n", b"X(: y\r\n", b"\"X\": y\r\n",
              b"X\xe4: y\r\n", b"X" * 300 + b": y\r\n", b"X: " + b"y" * 70000 + b"\r\n",
              b"".join(b"X-%d: y\r\n" % i for i in range(250)), b"Content_Length: 5\r\n",
              b"Transfer_Encoding: chunked\r\n", b"Content-Length : 5\r\n",
              b"Transfer-Encoding : chunked\r\n",
              b"Content-Length: 2\r\n Transfer-Encoding: chunked\r\n", b"Connection: a b\r\n",
              b"Connection: " + b"a," * 40 + b"a\r\n"):
        yield "field %r" % v[:40], ok + v + two, REFUSED
    for v in (b"204 No Content", b"100 Continue", b"103 Early Hints", b"199 x"):
        yield "%s with a length" % v.decode(), b"HTTP/1.1 " + v + b"\r\n" + two + ok + two, REFUSED
        yield "%s in chunks" % v.decode(), b"HTTP/1.1 " + v + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + ok + two, REFUSED
    yield "interim answers without end", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 40 + ok + two, REFUSED
    yield "interim answers alone", b"HTTP/1.1 100 Continue\r\n\r\n" * 3, REFUSED
    yield "101 that nobody asked for", b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", REFUSED
    yield "101 without Upgrade", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", REFUSED
    for end in (b"\n", b"\r", b"\r\r\n", b"\n\r"):
        whole = [ok[:-2], b"Content-Length: 2", b"", b"ok"]
        for i in range(3):
            yield "line end %d %r" % (i, end), b"".join(t +
                    (end if k == i else b"\r\n" if k < 3 else b"") for k, t in enumerate(whole)), REFUSED
    for raw in (ok[:-1], ok, ok + b"X: y\r\n", ok + b"Content-Length: 5\r\n\r\nok", ok +
            b"Content-Length: 2\r\n\r\n"):
        yield "cut %r" % raw[-30:], raw, REFUSED
    te = ok + b"Transfer-Encoding: chunked\r\n\r\n"
    for body in (b"", b"2\r\nok\r\n", b"2\r\nok\r\n0\r\n", b"2\r\nok0\r\n\r\n", b"2\nok\r\n0\r\n\r\n",
            b"2\r\nokk\r\n0\r\n\r\n", b"3\r\nok\r\n0\r\n\r\n", b"-2\r\nok\r\n0\r\n\r\n",
            b"0x2\r\nok\r\n0\r\n\r\n",
                 b" 2\r\nok\r\n0\r\n\r\n", b"2 \r\nok\r\n0\r\n\r\n", b"g\r\n", b"\r\n",
                 b"2;a b\r\nok\r\n0\r\n\r\n", b"2;" + b"a" * 400 + b"\r\nok\r\n0\r\n\r\n",
                 b"ffffffffffffffffff\r\nok",
                 b"2\r\nok\r\n0\r\nX : y\r\n\r\n", b"2\r\nok\r\n0\r\n X: y\r\n\r\n",
                 b"2\r\nok\r\n0\r\nContent-Length: 2\r\n\r\n",
                 b"2\r\nok\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
                 b"2\r\nok\r\n0\r\nX: y\n\r\n", b"2\r\nok\r\n0\r\nX: \x00\r\n\r\n", b"2\r\nok\r\n0\r\n\n",
                 b"2\r\nok\r\n0\r\nX: " + b"y" * 9000 + b"\r\n\r\n", b"2\r\nok\n0\r\n\r\n",
                 b"2\rok\r\n0\r\n\r\n"):
        yield "chunks %r" % body[:40], te + body, REFUSED
    for raw in (ok + two, ok + b"X:\r\n" + two, ok + b"X: \xe4\xff\r\n" + two, b"HTTP/1.1 200\r\n" + two,
            b"HTTP/1.1 200 \r\n" + two, b"HTTP/1.1 200 \xe4\r\n" + two, b"HTTP/1.1 299 a b c\r\n" + two,
                b"HTTP/1.0 200 OK\r\n" + two, ok + b"content-length:2\r\n\r\nok", ok +
                b"Content-Length: \t2 \t\r\n\r\nok", te + b"2\r\nok\r\n0\r\n\r\n", te +
                b"2;a=b\r\nok\r\n000\r\nX: y\r\n\r\n",
                ok + b"transfer-encoding: CHUNKED\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", ok +
                b"Connection: close\r\n" + two, b"HTTP/1.1 404 Not Found\r\n" + two, b"HTTP/1.1 599 x\r\n" +
                two,
                b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ok + two,
                b"HTTP/1.1 100 Continue\r\n\r\n" + ok + two, ok + b"Set-Cookie: a=b\r\n" * 40 + two, ok +
                b"X: " + b"y" * 20000 + b"\r\n" + two,
                ok + b"\r\nok", b"HTTP/1.0 200 OK\r\n\r\nok", ok + b"Content-Encoding: gzip\r\n" + two, ok +
                b"Connection: X-Gone\r\nX-Gone: 1\r\n" + two, ok +
                b"Upgrade: h2c\r\nConnection: upgrade\r\n" + two):
        yield "good %r" % raw[:60], raw, SERVED
