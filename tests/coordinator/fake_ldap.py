# SPDX-License-Identifier: AGPL-3.0-or-later
"""A directory that answers as slapd does not: in the manner of Active Directory (values in pieces, account flags by
bits, referrals), or against the protocol. As much of RFC 4511 as libldap needs, on loopback."""

import re
import socket
import threading

SYNC, PAGED = b"1.3.6.1.4.1.4203.1.9.1.1", b"1.2.840.113556.1.4.319"
BIT_AND = "1.2.840.113556.1.4.803"


# ---- BER ----

def tlv(tag, *parts):
    body = b"".join(parts)
    n = len(body)
    if n < 128:
        return bytes([tag, n]) + body
    size = n.to_bytes((n.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(size)]) + size + body


def octets(s, tag=4):
    return tlv(tag, s if isinstance(s, bytes) else s.encode())


def integer(n, tag=2):
    return tlv(tag, n.to_bytes(n.bit_length() // 8 + 1, "big"))


def read(data):
    """[(tag, body)] of what stands one behind the other."""
    out, at = [], 0
    while at < len(data):
        tag, n, at = data[at], data[at + 1], at + 2
        if n & 0x80:
            size, at = n & 0x7f, at + (n & 0x7f)
            n = int.from_bytes(data[at - size:at], "big")
        out.append((tag, data[at:at + n]))
        at += n
    return out


class Entry:
    def __init__(self, dn, **attrs):
        self.dn = dn
        self.attrs = {k.replace("_", "-"): v if isinstance(v, list) else [v] for k, v in attrs.items()}

    def get(self, name):
        return next((v for k, v in self.attrs.items() if k.lower() == name.lower()), [])


def holds(f, e):
    """Whether a filter (RFC 4511 4.5.1.7), as BER, finds an entry."""
    tag, body = f
    if tag == 0xa0:
        return all(holds(x, e) for x in read(body))
    if tag == 0xa1:
        return any(holds(x, e) for x in read(body))
    if tag == 0xa2:
        return not holds(read(body)[0], e)
    if tag == 0x87:
        return body.decode().lower() == "objectclass" or bool(e.get(body.decode()))
    if tag == 0xa3:
        name, value = (x[1].decode() for x in read(body))
        return value.lower() in [v.lower() for v in e.get(name)]
    if tag == 0xa9:
        part = {t: v.decode() for t, v in read(body) if t != 0x84}
        return part.get(0x81) == BIT_AND and any(int(v) & int(part[0x83]) == int(part[0x83]) for v in e.get(part[0x82]))
    return False


class Fake:
    """entries: what there is. step: how many values come at once (0: all). referral: a URL that each answer points
    to, too. lie(attribute, low): another name for a piece. on_sync(fake, base, names, filter, control, send, result): answers
    searches with the control of RFC 4533, which is offered then. refuse: no password is right."""

    def __init__(self, entries, step=0, referral=None, lie=None, on_sync=None, refuse=False):
        self.entries, self.step, self.referral, self.lie, self.on_sync = entries, step, referral, lie, on_sync
        self.refuse = refuse
        self.searches, self.connections = [], 0
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.port = self.sock.getsockname()[1]
        self.url = "ldap://127.0.0.1:%d" % self.port
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            try:
                c, _ = self.sock.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.one, args=(c,), daemon=True).start()

    def close(self):
        self.sock.close()

    def message(self, f):
        head = f.read(2)
        if len(head) < 2:
            return None
        n = head[1]
        if n & 0x80:
            n = int.from_bytes(f.read(n & 0x7f), "big")
        return read(f.read(n))

    def one(self, c):
        f = c.makefile("rb")
        try:
            while True:
                m = self.message(f)
                if m is None or m[1][0] == 0x42:
                    return
                ident, (op, body) = integer(int.from_bytes(m[0][1], "big")), m[1]
                controls = m[2][1] if len(m) > 2 else b""

                def send(*parts):
                    c.sendall(tlv(0x30, ident, *parts))

                def result(tag, code=0, more=b"", controls=b""):
                    send(tlv(tag, integer(code, 10), octets(""), octets(""), more), controls)

                if op == 0x60:
                    result(0x61, 49 if self.refuse else 0)
                elif op == 0x63:
                    self.search(body, controls, send, result)
        except (OSError, IndexError):
            pass
        finally:
            c.close()

    def search(self, body, controls, send, result):
        base, scope, _, _, _, _, flt, names = read(body)
        base, scope = base[1].decode(), scope[1][0]
        names = [x[1].decode() for x in read(names[1])]
        self.searches.append((base, scope, names))
        if not base:
            known = [SYNC] if self.on_sync else [PAGED]
            send(self.entry(Entry("", supportedControl=[x.decode() for x in known]), names))
            return result(0x65)
        asked = {read(x[1])[0][1]: read(x[1])[-1][1] for x in read(controls)}
        if SYNC in asked:
            return self.on_sync(self, base, names, flt, read(asked[SYNC]), send, result)
        found = [e for e in self.entries if (e.dn.lower() == base.lower() if scope == 0 else e.dn.lower().endswith(base.lower())) and
                 holds(flt, e)]
        if not found and scope == 0:
            return result(0x65, 32)
        if PAGED in asked:
            size, cookie = (x[1] for x in read(read(asked[PAGED])[0][1]))
            size, at = int.from_bytes(size, "big"), int(cookie or b"0")
            page, rest = found[at:at + size], at + size
            more = b"" if rest >= len(found) else b"%d" % rest
            back = tlv(0xa0, tlv(0x30, octets(PAGED), octets(tlv(0x30, integer(0), octets(more)))))
        else:
            page, back = found, b""
        for e in page:
            send(self.entry(e, names))
        if self.referral:
            send(tlv(0x73, octets(self.referral + "/" + base)))
        result(0x65, controls=back)

    def entry(self, e, names):
        attrs = []
        for name in names:
            plain, _, option = name.partition(";")
            values = e.get(plain)
            low = int(re.match(r"range=(\d+)-", option).group(1)) if option else 0
            if not values or plain == "1.1":
                continue
            if self.step and len(values) > self.step:
                if not option:
                    attrs.append(tlv(0x30, octets(name), tlv(0x31)))
                piece = values[low:low + self.step]
                last = low + self.step >= len(values)
                name = "%s;range=%d-%s" % (plain, low, "*" if last else low + self.step - 1)
                name = self.lie(plain, low, name) if self.lie else name
                values = piece
            attrs.append(tlv(0x30, octets(name), tlv(0x31, *[octets(v) for v in values])))
        return tlv(0x64, octets(e.dn), tlv(0x30, *attrs))
