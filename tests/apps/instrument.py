#!/usr/bin/env python3
# SPDX-License-Identifier: AGPL-3.0-or-later
"""A laboratory instrument: speaks plain TCP and UDP, and knows no access control.

TCP, a line each way:  *IDN?      who it is
                       READ?      one reading
                       STREAM     readings, one every 5 ms, until the peer leaves
UDP:                   PUSH n     n datagrams to whoever asked, one every 5 ms; nothing
                                  more needs to come from there

usage: instrument.py PORT
"""
import asyncio
import socket
import sys
import time

PERIOD = 0.005


def reading(n):
    return b"%d %.6f V=%.3f\n" % (n, time.time(), 1 + (n * 7919 % 1000) / 1000)


async def session(reader, writer):
    try:
        while line := await reader.readline():
            word = line.strip().upper()
            if word == b"*IDN?":
                writer.write(b"EXAMPLE,Spectrometer 7,0001,1.0\n")
            elif word == b"READ?":
                writer.write(reading(0))
            elif word == b"STREAM":
                n = 0
                while True:
                    writer.write(reading(n))
                    await writer.drain()
                    n += 1
                    await asyncio.sleep(PERIOD)
            else:
                writer.write(b"ERR\n")
            await writer.drain()
    except (OSError, ValueError):
        pass
    finally:
        writer.close()


class Pusher(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.tasks = set()

    def datagram_received(self, data, addr):
        word = data.split()
        if len(word) == 2 and word[0].upper() == b"PUSH" and word[1].isdigit():
            task = asyncio.ensure_future(self.push(int(word[1]), addr))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def push(self, count, addr):
        for n in range(count):
            self.transport.sendto(reading(n), addr)
            await asyncio.sleep(PERIOD)

    def error_received(self, exc):
        """An instrument does not listen to ICMP: it goes on."""


async def main(port):
    loop = asyncio.get_running_loop()
    tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True,
                               backlog=64)
    server = await asyncio.start_server(session, sock=tcp)
    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    udp.bind(("::", port))
    await loop.create_datagram_endpoint(Pusher, sock=udp)
    print("instrument on port", port, flush=True)
    async with server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
