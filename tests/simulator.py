"""Simulated systems: macOS, the BSDs, Solaris, AIX, Windows, old Linux, ...

A Kernel has sockets, a virtual clock and a Network with routers; load() puts
a copy of potraceroute.py into it, for which `socket`, `select`, `os`,
`errno`, `time`, `sys`, `signal`, `threading` and `ctypes` are that system's:
its numbers, its names (and no others), its errors, its octets.  No packet
leaves this process and nothing waits: select() moves the clock on to the next
event.

It is written from documents, not from potraceroute.py, and refuses whatever
the real system would refuse.  The facts and where they are from stand with
each class; "[notes]" is the project's list of facts about other systems (of
which the NetBSD and Wine ones were measured).

    Network     routers and a host: packet in, answers out after a while
    Kernel      sockets, ICMP and TCP as 4.4BSD has them; the base of all
    the systems, one class each, or a row() of what is different
    load()      potraceroute.py as a module inside of a Kernel

Not simulated: fragments, TCP windows, routing, name servers, the structs of
a 32-bit Windows.  Assumed, where no document was at hand: EPERM for a raw
socket of AIX and NetBSD; ICMP errors other than a port unreachable are told
to no UDP socket of Solaris, AIX and Cygwin; Windows gives a connect() up 1 s
after its only SYN (TCP_NOSYNRETRIES); an error told by a UDP socket of
Windows is about a destination it has sent to; FreeBSD's IPv6 treats
"administratively prohibited" like a closed port.
"""

import binascii
import collections
import ctypes
import errno as real_errno
import heapq
import io
import itertools
import json
import optparse
import os
import re
import signal as real_signal
import socket as real_socket
import struct
import sys
import threading as real_threading
import time as real_time
import types

try:
    import builtins
except ImportError:
    import __builtin__ as builtins

# What potraceroute.py may import late has to be loaded by the real system.
LOADED = (binascii, itertools, json, optparse, re)

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(ROOT, "potraceroute.py")

TCP, UDP = 6, 17
ICMP = {4: 1, 6: 58}
SYN, FIN, RST, PSH, ACK = 2, 1, 4, 8, 16
PY2 = sys.version_info[0] == 2

OWN = {4: "10.9.0.2", 6: "fd09::2"}
HOST = {4: "10.9.9.9", 6: "fd09:9::9"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}

# ICMP type and code: RFC 792, RFC 1812 5.2.7.1, RFC 4443 3
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
REASONS = {"prohibited": {4: (3, 13), 6: (1, 1)},
           "host prohibited": {4: (3, 10), 6: (1, 6)},
           "port": {4: (3, 3), 6: (1, 4)},
           "host": {4: (3, 1), 6: (1, 3)}}
ERRORS = {4: (3, 11, 12), 6: (1, 2, 3, 4)}
ECHO = {4: (8, 0), 6: (128, 129)}       # request, reply


def version_of(address):
    return 6 if ":" in address else 4


def pack_address(address):
    if ":" in address:
        return real_socket.inet_pton(real_socket.AF_INET6, address)
    return real_socket.inet_aton(address)


def unpack_address(octets):
    family = real_socket.AF_INET if len(octets) == 4 else \
        real_socket.AF_INET6
    return real_socket.inet_ntop(family, bytes(octets))


def internet_checksum(octets):
    octets = bytearray(octets)
    if len(octets) % 2:
        octets.append(0)
    total = sum(octets[0::2]) * 256 + sum(octets[1::2])
    while total > 0xffff:
        total = (total >> 16) + (total & 0xffff)
    return 0xffff - total


# ---------------------------------------------------------------------------
# Packets
# ---------------------------------------------------------------------------

class Packet(object):
    """An IP packet; body is what follows the IP header."""

    def __init__(self, source, destination, protocol, body, ttl=64, tos=0,
                 ident=0x1234, df=False):
        self.version = version_of(destination)
        self.source, self.destination = source, destination
        self.protocol, self.body = protocol, bytes(body)
        self.ttl, self.tos, self.ident, self.df = ttl, tos, ident, df

    def copy(self, **changes):
        values = dict(source=self.source, destination=self.destination,
                      protocol=self.protocol, body=self.body, ttl=self.ttl,
                      tos=self.tos, ident=self.ident, df=self.df)
        values.update(changes)
        return Packet(**values)

    def octets(self):
        """Return the packet as it is on the wire (RFC 791, RFC 8200)."""
        if self.version == 6:
            return struct.pack(
                "!IHBB", 0x60000000 | self.tos << 20, len(self.body),
                self.protocol, self.ttl) + pack_address(
                    self.source) + pack_address(self.destination) + self.body
        head = struct.pack(
            "!BBHHHBBH", 0x45, self.tos, 20 + len(self.body), self.ident,
            0x4000 if self.df else 0, self.ttl, self.protocol, 0)
        ends = pack_address(self.source) + pack_address(self.destination)
        total = internet_checksum(head + ends)
        return head[:10] + struct.pack("!H", total) + ends + self.body

    @property
    def ports(self):
        """(source, destination) of TCP and UDP; (id, seq) of an echo."""
        place = 4 if self.protocol in (1, 58) else 0
        return struct.unpack_from("!HH", self.body, place)

    @property
    def icmp(self):
        return struct.unpack_from("!BB", self.body)

    @property
    def segment(self):
        """(seq, ack, flags, data) of a TCP segment."""
        seq, ack, offset, flags = struct.unpack_from("!IIBB", self.body, 4)
        return seq, ack, flags & 0x3f, self.body[(offset >> 4) * 4:]

    @property
    def echo_request(self):
        return self.protocol == ICMP[self.version] and \
            self.icmp == (ECHO[self.version][0], 0)


def transport_checksum(source, destination, protocol, body):
    pseudo = pack_address(source) + pack_address(destination) + \
        struct.pack("!II", len(body), protocol)
    return internet_checksum(pseudo + body)


def encode_icmp(source, destination, kind, code, rest, data):
    """Return an ICMP message with its checksum."""
    body = struct.pack("!BBHI", kind, code, 0, rest) + data
    if version_of(destination) == 6:
        total = transport_checksum(source, destination, 58, body)
    else:
        total = internet_checksum(body)
    return body[:2] + struct.pack("!H", total) + body[4:]


def encode_tcp(source, destination, ports, seq, ack, flags, data=b"",
               options=b""):
    head = struct.pack("!HHIIBBHHH", ports[0], ports[1], seq, ack,
                       (5 + len(options) // 4) << 4, flags, 64240, 0, 0)
    body = head + options + data
    total = transport_checksum(source, destination, TCP, body)
    return body[:16] + struct.pack("!H", total) + body[18:]


def encode_udp(source, destination, ports, data):
    body = struct.pack("!HHHH", ports[0], ports[1], 8 + len(data), 0) + data
    total = transport_checksum(source, destination, UDP, body) or 0xffff
    return body[:6] + struct.pack("!H", total) + body[8:]


# ---------------------------------------------------------------------------
# The network
# ---------------------------------------------------------------------------

def matches(rules, packet):
    """Return the key of `rules` that is about this packet, or None.

    A key is ("tcp", 443), ("udp", 53) or ("icmp", None).
    """
    if packet.protocol in (TCP, UDP):
        key = {TCP: "tcp", UDP: "udp"}[packet.protocol], packet.ports[1]
    else:
        key = "icmp", None
    return key if key in rules else None


def error_of(reason, version):
    """Return (type, code) of a key of REASONS, or of a code of type 3."""
    return REASONS[reason][version] if reason in REASONS else (3, reason)


class Router(object):
    """A hop: what expires here it says; what goes on it may filter."""

    def __init__(self, number):
        self.number = number
        self.address = {4: "10.9.%d.1" % number, 6: "fd09:%d::1" % number}
        self.rtt = 0.004 * number       # seconds, to here and back
        self.late = 0                   # further seconds for its answers
        self.silent = False             # or a set of "tcp", "udp", "icmp"
        self.drops = set()              # keys, see matches()
        self.rejects = {}               # key: a key of REASONS, or a code
        self.resets = set()             # keys: forges a RST
        self.quotes = None              # octets quoted behind the IP header
        self.df = False                 # sets DF on its answers
        self.twice = False              # says everything twice

    def error(self, packet, kind, code, rest=0):
        """Return the ICMP error (a Packet) about a packet."""
        left = max(1, packet.ttl - self.number + 1)
        quoted = packet.copy(ttl=left).octets()
        head = 40 if packet.version == 6 else 20
        room = (1232 if packet.version == 6 else 548)
        quoted = quoted[:room if self.quotes is None else head + self.quotes]
        own = self.address[packet.version]
        return Packet(own, packet.source, ICMP[packet.version], encode_icmp(
            own, packet.source, kind, code, rest, quoted),
            ttl=255 - self.number + 1, tos=0xc0 if packet.version == 4 else 0,
            df=self.df)

    def says_nothing(self, packet):
        name = {TCP: "tcp", UDP: "udp"}.get(packet.protocol, "icmp")
        return self.silent is True or self.silent and name in self.silent

    def expire(self, packet):
        if self.says_nothing(packet):
            return []
        answer = self.rtt + self.late, self.error(
            packet, *TIME_EXCEEDED[packet.version])
        return [answer] * (2 if self.twice else 1)

    def filter(self, packet):
        """Return answers instead of letting a packet on, or None."""
        if matches(self.drops, packet):
            return []
        key = matches(self.rejects, packet)
        if key:
            return [(self.rtt, self.error(packet, *error_of(
                self.rejects[key], packet.version)))]
        if matches(self.resets, packet):
            seq, _, flags, _ = packet.segment
            if flags & SYN:
                return [(self.rtt, Packet(
                    packet.destination, packet.source, TCP, encode_tcp(
                        packet.destination, packet.source,
                        packet.ports[::-1], 0, seq + 1 & 0xffffffff,
                        RST | ACK), ttl=64 - self.number + 1))]
            return []
        return None


class Destination(object):
    """The host at the end of the path."""

    def __init__(self, hops):
        self.rtt = 0.004 * hops
        self.late = 0
        self.tcp = {}               # open port: banner
        self.udp = {}               # port that answers: the answer
        self.silent = set()         # keys, see matches()
        self.rejects = {}           # as a Router's: its own firewall
        self.down = False           # the last router says so, after 3 s
        self.asked = None           # when it began to look for us
        self.connections = {}       # (address, port): "received", "accepted"
        self.accepted = 0
        self.received = []          # data on connections
        self.mute = False           # no ICMP echo reply, no port unreachable
        self.distance = hops

    def answer(self, packet):
        if matches(self.silent, packet):
            return []
        key = matches(self.rejects, packet)
        if key:
            return [(self.rtt + self.late, self.error(packet, *error_of(
                self.rejects[key], packet.version)))]
        answers = {TCP: self.answer_tcp, UDP: self.answer_udp}.get(
            packet.protocol, self.answer_icmp)(packet)
        return [(self.rtt + self.late, answer) for answer in answers]

    def reply(self, packet, body, protocol=None):
        return Packet(packet.destination, packet.source,
                      protocol or packet.protocol, body,
                      ttl=64 - self.distance + 1)

    def answer_tcp(self, packet):
        seq, ack, flags, data = packet.segment
        ports, key = packet.ports, (packet.source, packet.ports[0])

        def segment(seq, ack, flags, data=b""):
            return self.reply(packet, encode_tcp(
                packet.destination, packet.source, ports[::-1], seq,
                ack & 0xffffffff, flags, data))
        if ports[1] not in self.tcp:
            return [] if flags & RST else [segment(0, seq + 1, RST | ACK)]
        if flags & RST:
            self.connections.pop(key, None)
            return []
        if flags & SYN:
            self.connections.setdefault(key, "received")
            return [segment(7000, seq + 1, SYN | ACK)]
        answers = []
        if self.connections.get(key) == "received":
            self.connections[key] = "accepted"
            self.accepted += 1
            banner = self.tcp[ports[1]]
            if banner:
                answers.append(segment(7001, seq, PSH | ACK, banner))
        if data:
            self.received.append(data)
            answers.append(segment(7001, seq + len(data), ACK))
        if flags & FIN:
            self.connections.pop(key, None)
        return answers

    def answer_udp(self, packet):
        data = self.udp.get(packet.ports[1])
        if data is not None:
            return [self.reply(packet, encode_udp(
                packet.destination, packet.source, packet.ports[::-1],
                data))]
        if self.mute:
            return []
        return [self.error(packet, *REASONS["port"][packet.version])]

    def error(self, packet, kind, code):
        quoted = packet.copy(ttl=max(1, packet.ttl - self.distance + 1))
        return self.reply(packet, encode_icmp(
            packet.destination, packet.source, kind, code, 0,
            quoted.octets()[:548]), ICMP[packet.version])

    def answer_icmp(self, packet):
        if self.mute or not packet.echo_request:
            return []
        # A wrong checksum is not answered: RFC 1122 3.2.1.2
        if packet.version == 4 and internet_checksum(packet.body):
            return []
        request, reply = ECHO[packet.version]
        body = encode_icmp(packet.destination, packet.source, reply, 0,
                           struct.unpack_from("!I", packet.body, 4)[0],
                           packet.body[8:])
        return [self.reply(packet, body)]


class Network(object):
    """A path of `hops` - 1 routers and a host, for both families."""

    def __init__(self, hops=4):
        self.routers = [Router(number) for number in range(1, hops)]
        self.host = Destination(hops)
        self.sent = []              # every Packet that left
        self.noise = []             # functions(packet) -> (delay, Packet)s

    def router(self, number):
        return self.routers[number - 1]

    def answer_at_once(self):
        """Answers come back before the system call that sends ends."""
        for each in self.routers + [self.host]:
            each.rtt = 0

    def say_down(self, packet, now):
        """Address resolution fails 3 s after the first packet, for all
        that wait."""
        if self.host.asked is None or now >= self.host.asked + 3:
            self.host.asked = now
        last = self.routers[-1]
        return [(self.host.asked + 3 - now + last.rtt, last.error(
            packet, *REASONS["host"][packet.version]))]

    def carry(self, packet, now=0):
        """Return the answers to a packet: list of (delay, Packet)."""
        self.sent.append(packet)
        answers = [answer for function in self.noise
                   for answer in function(packet)]
        if packet.destination not in HOST.values():
            return answers
        for router in self.routers:
            if packet.ttl <= router.number:
                return answers + router.expire(packet)
            fate = router.filter(packet)
            if fate is not None:
                return answers + fate
        if self.host.down:
            return answers + self.say_down(packet, now)
        return answers + self.host.answer(packet)

    def ttls(self, protocol):
        """Return the set of ttls with which requests left."""
        return set(packet.ttl for packet in self.sent
                   if packet.protocol == protocol)


# ---------------------------------------------------------------------------
# Threads that take turns
# ---------------------------------------------------------------------------

class Killed(BaseException):
    """Ends what is left of a thread when its Kernel is shut down."""


class Turn(object):
    """A thread of the simulated process; only one runs at a time.

    It runs from start() until it waits in a simulated call, or ends; the
    clock then wakes it up.  So what happens does not depend on real time.
    """

    kernel = None

    def __init__(self, group=None, target=None, name=None, args=(),
                 kwargs=None, daemon=None):
        self.target, self.args, self.kwargs = target, args, kwargs or {}
        self.daemon, self.name = bool(daemon), name or "Thread"
        self.go = real_threading.Semaphore(0)
        self.back = real_threading.Semaphore(0)
        self.started = self.done = self.killed = False
        self.ident = id(self)

    def run(self):
        if self.target:
            self.target(*self.args, **self.kwargs)

    def start(self):
        if self.started:
            raise RuntimeError("threads can only be started once")
        self.kernel.may_start_thread()
        self.started = True
        self.kernel.threads.append(self)
        thread = real_threading.Thread(target=self.body)
        thread.daemon = True
        thread.start()
        self.switch()

    def body(self):
        self.go.acquire()
        try:
            if not self.killed:
                self.run()
        except Killed:
            pass
        except BaseException as error:
            self.kernel.violations.append("a thread ended with %r" % error)
        finally:
            self.done = True
            self.back.release()

    def switch(self):
        """Let it run until it waits or ends."""
        if self.done:
            return
        before, self.kernel.running = self.kernel.running, self
        self.go.release()
        self.back.acquire()
        self.kernel.running = before

    def pause(self, seconds):
        """Called by the thread: wait."""
        self.kernel.after(seconds, self.switch)
        self.back.release()
        self.go.acquire()
        if self.killed:
            raise Killed

    def kill(self):
        self.killed = True
        self.switch()

    def is_alive(self):
        return self.started and not self.done

    isAlive = is_alive

    def join(self, timeout=None):
        self.kernel.wait(lambda: self.done, timeout)

    def setDaemon(self, daemon):
        self.daemon = daemon


# ---------------------------------------------------------------------------
# Sockets
# ---------------------------------------------------------------------------

class Socket(object):
    """A socket of a Kernel, as Python's `socket.socket` shows it."""

    kernel = None

    def __init__(self, family=-1, type=-1, proto=-1, fileno=None):
        kernel = self.kernel
        self.family = kernel.AF_INET if family in (-1, None) else int(family)
        self.type = kernel.SOCK_STREAM if type in (-1, None) else int(type)
        self.proto = 0 if proto in (-1, None) else proto
        self.number = -1
        kernel.may_open(self.family, self.type, self.proto)
        self.version = 6 if self.family == kernel.AF_INET6 else 4
        self.raw = self.type == kernel.SOCK_RAW
        self.tcp = self.type == kernel.SOCK_STREAM
        self.icmp = self.proto == ICMP[self.version]
        self.udp = not (self.raw or self.tcp or self.icmp)
        self.number = kernel.new_number()
        self.timeout = None
        self.options = {}           # name: value
        self.address, self.port = "", 0
        self.bound = False
        self.peer = None            # (address, port)
        self.inbox = []             # (octets, sockaddr, facts)
        self.errors = []            # the error queue of Linux
        self.error = 0              # SO_ERROR
        self.state = None           # TCP: "syn-sent", "connected", "dead"
        self.eof = False
        self.iss = kernel.random(32)
        self.retransmits = self.segments_in = self.resets = 0
        self.held = False           # connect() is at work with it
        self.handshake = 0
        self.icmp_error = None      # the last one: (address, type, code)
        self.rcvall = 0
        self.pair = None
        self.backlog = None         # list of connections, if it listens
        self.sent_count = 0
        self.sent_to = set()
        kernel.sockets[self.number] = self
        kernel.opened.append(self)

    # What every socket can do

    def alive(self):
        if self.number == -1:
            raise self.kernel.failure("EBADF")

    def fileno(self):
        return self.number

    def setblocking(self, flag):
        self.alive()
        self.timeout = None if flag else 0.0

    def settimeout(self, seconds):
        self.alive()
        self.timeout = seconds

    def gettimeout(self):
        return self.timeout

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        if self.number != -1:
            self.kernel.close(self)

    def detach(self):
        number, self.number = self.number, -1
        return number

    def setsockopt(self, level, option, value, *more):
        self.alive()
        name = self.kernel.option_of(self, level, option)
        self.kernel.set_option(self, name, value)

    def getsockopt(self, level, option, size=0):
        self.alive()
        name = self.kernel.option_of(self, level, option)
        return self.kernel.get_option(self, name, size)

    def bind(self, sockaddr):
        self.alive()
        address, port = sockaddr[0], sockaddr[1]
        if address in ("", "0.0.0.0", "::"):
            address = ""
        elif address.split("%")[0] not in self.kernel.own_addresses:
            raise self.kernel.failure("EADDRNOTAVAIL")
        elif version_of(address) != self.version:
            raise self.kernel.failure("EADDRNOTAVAIL")
        if self.bound:
            raise self.kernel.failure("EINVAL")
        if (self.tcp or self.udp) and port:
            if port < 1024 and not self.kernel.privileged and \
                    self.kernel.low_ports:
                raise self.kernel.failure("EACCES")
            for other in self.kernel.sockets.values():
                if other is not self and other.port == port and \
                        other.tcp == self.tcp and not (
                            other.options.get("REUSEADDR") and
                            self.options.get("REUSEADDR")):
                    raise self.kernel.failure("EADDRINUSE")
        self.address, self.bound = address, True
        if self.tcp or self.udp:
            self.port = port or self.kernel.new_port()
        else:
            self.kernel.bind_icmp(self, port)

    def connect(self, sockaddr):
        error = self.connect_ex(sockaddr)
        if error:
            raise self.kernel.failure(self.kernel.name_of(error))

    def connect_ex(self, sockaddr):
        self.alive()
        address, port = self.kernel.check_sockaddr(self, sockaddr)
        if not self.tcp:
            self.peer = address, port
            self.address = self.address or self.kernel.source_for(address)
            if self.udp and not self.port:
                self.port = self.kernel.new_port()
            self.bound = True
            return 0
        return self.kernel.connect(self, address, port)

    def getsockname(self):
        self.alive()
        return self.kernel.name_of_socket(self)

    def getpeername(self):
        self.alive()
        if self.peer is None or self.tcp and self.state != "connected":
            raise self.kernel.failure("ENOTCONN")
        return self.kernel.sockaddr(*self.peer)

    def sendto(self, data, *more):
        self.alive()
        address, port = self.kernel.check_sockaddr(self, more[-1])
        return self.kernel.send(self, bytes(data), address, port)

    def send(self, data, flags=0):
        self.alive()
        if self.pair is not None:
            self.pair.inbox.append((bytes(data), None, {}))
            return len(data)
        if self.peer is None:
            raise self.kernel.failure("ENOTCONN")
        if self.tcp:
            return self.kernel.send_stream(self, bytes(data))
        return self.kernel.send(self, bytes(data), *self.peer)

    def sendall(self, data, flags=0):
        self.send(data, flags)

    def recv(self, size, flags=0):
        return self.recvfrom(size, flags)[0]

    def recvfrom(self, size, flags=0):
        self.alive()
        data, _, _, sender = self.kernel.receive(self, size, 0, flags)
        return data, sender

    def listen(self, backlog=128):
        self.alive()
        if not self.tcp:
            raise self.kernel.failure("EOPNOTSUPP")
        self.backlog = self.backlog or []

class SocketWithMessages(Socket):
    """With recvmsg(): Python 3, and not on Windows."""

    def recvmsg(self, size, control=0, flags=0):
        self.alive()
        return self.kernel.receive(self, size, control, flags)


class WindowsSocket(Socket):

    def ioctl(self, code, value):
        self.alive()
        return self.kernel.ioctl(self, code, value)


class Poll(object):
    """select.poll() of a Kernel."""

    kernel = None

    def __init__(self):
        self.events = {}

    def register(self, sock, events=3):
        self.events[self.kernel.number_of(sock)] = events

    modify = register

    def unregister(self, sock):
        del self.events[self.kernel.number_of(sock)]

    def poll(self, milliseconds=None):
        if milliseconds is not None and milliseconds < 0:
            milliseconds = None

        def ready():
            found = []
            for number, wanted in sorted(self.events.items()):
                sock = self.kernel.sockets.get(number)
                bits = 0x20 if sock is None else \
                    self.kernel.poll_bits(sock) & (wanted | 0x18)
                if sock is None:
                    self.kernel.violations.append(
                        "poll() of closed socket %d" % number)
                if bits:
                    found.append((number, bits))
            return found
        return self.kernel.wait(ready, None if milliseconds is None
                                else milliseconds / 1000.0)


# ---------------------------------------------------------------------------
# The kernel
# ---------------------------------------------------------------------------

BSD_ERRNO = dict(
    EPERM=1, ENOENT=2, EINTR=4, EIO=5, ENXIO=6, EBADF=9, ENOMEM=12,
    EACCES=13, EFAULT=14, EEXIST=17, ENODEV=19, ENOTDIR=20, EINVAL=22,
    ENFILE=23, EMFILE=24, EPIPE=32, EAGAIN=35, EWOULDBLOCK=35,
    EINPROGRESS=36, EALREADY=37, ENOTSOCK=38, EDESTADDRREQ=39, EMSGSIZE=40,
    EPROTOTYPE=41, ENOPROTOOPT=42, EPROTONOSUPPORT=43, EOPNOTSUPP=45,
    EAFNOSUPPORT=47, EADDRINUSE=48, EADDRNOTAVAIL=49, ENETDOWN=50,
    ENETUNREACH=51, ENETRESET=52, ECONNABORTED=53, ECONNRESET=54,
    ENOBUFS=55, EISCONN=56, ENOTCONN=57, ETIMEDOUT=60, ECONNREFUSED=61,
    EHOSTDOWN=64, EHOSTUNREACH=65)

# The class that Python 3 makes of an errno: PEP 3151.
CLASSES = {"EAGAIN": "BlockingIOError", "EWOULDBLOCK": "BlockingIOError",
           "EINPROGRESS": "BlockingIOError", "EALREADY": "BlockingIOError",
           "EPIPE": "BrokenPipeError",
           "ECONNABORTED": "ConnectionAbortedError",
           "ECONNREFUSED": "ConnectionRefusedError",
           "ECONNRESET": "ConnectionResetError",
           "EEXIST": "FileExistsError", "ENOENT": "FileNotFoundError",
           "EINTR": "InterruptedError", "EACCES": "PermissionError",
           "EPERM": "PermissionError", "ETIMEDOUT": "TimeoutError"}


class Stream(object):
    """A file of Python 2, which takes both kinds of strings."""

    encoding = "UTF-8"

    def __init__(self, stream):
        self.stream = stream

    def write(self, text):
        self.stream.write(text if isinstance(text, bytes)
                          else text.encode("utf-8"))

    def flush(self):
        pass

    def isatty(self):
        return False


SPIN_LIMIT = 6000      # calls of select() and the like


class Kernel(object):
    """What all systems have in common, and 4.4BSD where they differ.

    Attributes say how a system differs; the classes below set them.
    """

    name = "BSD"
    platform = "bsd"
    sysname = "BSD"
    release = "1.0"
    python2 = PY2               # may be set to play Python 2.7
    errnos = BSD_ERRNO
    AF_INET, AF_INET6 = 2, 28
    SOCK_STREAM, SOCK_DGRAM, SOCK_RAW = 1, 2, 3
    SOL_SOCKET, SOL_IP = 0xffff, 0
    default_ttl = 64
    fd_limit = 1000
    select_limit = 1024
    low_ports = True            # below 1024 only for root
    socket_options = dict(REUSEADDR=4, LINGER=0x80, BROADCAST=0x20,
                          SNDBUF=0x1001, RCVBUF=0x1002, ERROR=0x1007,
                          TYPE=0x1008, TIMESTAMP=0x400)
    ip_options = dict(HDRINCL=2, TOS=3, TTL=4)
    ipv6_options = dict(HOPS=4, RECVHOPLIMIT=37, V6ONLY=27, TCLASS=61,
                        DONTFRAG=62)
    icmp6_options = dict(ICMP6_FILTER=18)
    tcp_options = dict(NODELAY=1, MAXSEG=2)
    # Numbers that Linux uses for something else: to set one is a mistake
    # that this system would not report.
    other_meaning = {(0, 11): "IP_MULTICAST_LOOP"}
    byte_is_enough = ()         # options of which one octet is accepted
    msg_dontwait = 0x80
    scm_timestamp = 2
    hoplimit_item = 47          # IPV6_HOPLIMIT
    ttl_item = ("B", 65)        # format and type of the IP_RECVTTL item
    raw_errno = "EPERM"         # of a raw socket without privilege
    datagram_icmp = None        # True: ICMP by SOCK_DGRAM, for anybody
    raw_honours_ttl = True
    raw_length = "network"      # or "subtracted": ip_len in host order,
    #                             less the header, ip_off in host order
    header_order = "!"          # of ip_len and ip_off with IP_HDRINCL
    little_endian = True
    raw_delay = 0               # the others hear of ICMP so long before
    raw_sees_all = False        # raw sockets for TCP and UDP hear something
    error_queue = ()            # the protocols that have one: Linux
    # The errnos with which ICMP errors end a connect(), by reason(); the
    # others are soft: it goes on waiting.
    ends_connect = {4: {}, 6: {}}
    udp_errors = {"port": "ECONNREFUSED"}   # of a connected UDP socket
    local_refused_at_once = False
    connect_seconds = 75.0
    retransmits = (1.0, 3.0, 7.0, 15.0, 31.0)
    send_delay = 0              # what is sent leaves so long after, with
    #                             the ttl that the socket has then
    in_progress = "EINPROGRESS"
    failed_in = "rw"            # sets of select() that tell a failed connect
    has_poll = True
    windows = False

    def __init__(self, network=None, privileged=False):
        self.network = network or Network()
        self.privileged = privileged
        self.now = 1000.0
        self.events = []
        self.count = itertools.count()
        self.sockets = {}
        self.opened = []
        self.violations = []
        self.threads = []
        self.running = None
        self.calls = 0
        self.handlers = {}
        self.interrupt_at = None
        self.ports = 49152
        self.seed = 12345
        self.handles = {}
        self.own_addresses = set(OWN.values()) | set(LOOPBACK.values())
        self.files = {}
        self.hosts = {"host.example": [HOST[4], HOST[6]]}
        self.stdout, self.stderr = io.BytesIO(), io.BytesIO()
        self.most_open = 0

    # Time

    def after(self, seconds, action, *args):
        heapq.heappush(self.events, (self.now + seconds, next(self.count),
                                     action, args))

    def step(self):
        when, _, action, args = heapq.heappop(self.events)
        self.now = max(self.now, when)
        action(*args)

    def wait(self, ready, seconds):
        """Let time pass until ready() is true, at most so many seconds."""
        self.calls += 1
        if self.calls > SPIN_LIMIT:
            raise AssertionError("it spins, at %.3f" % self.now)
        if not self.running:
            self.now += 2e-5        # a call takes some time
        end = None if seconds is None else self.now + max(seconds, 0)
        while True:
            found = ready()
            if found:
                return found
            if self.running:
                if end is not None and self.now >= end:
                    return found
                self.running.pause(0.001 if end is None else
                                   max(1e-6, min(0.001, end - self.now)))
                continue
            when = self.events[0][0] if self.events else None
            stop = self.interrupt_at
            if stop is not None and (when is None or stop <= when) and (
                    end is None or stop <= end):
                self.now, self.interrupt_at = max(self.now, stop), None
                self.interrupt()
                continue
            if when is None or end is not None and when > end:
                if end is None:
                    raise AssertionError("it waits for ever")
                self.now = max(self.now, end)
                return found
            self.step()

    def interrupt(self):
        """Ctrl-C."""
        handler = self.handlers.get(2)
        if callable(handler):
            handler(2, None)
        else:
            raise KeyboardInterrupt

    def sleep(self, seconds):
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        if self.running:
            self.running.pause(seconds)
        else:
            self.wait(lambda: False, seconds)

    def settle(self, seconds=10):
        """Let happen what is still to happen."""
        self.interrupt_at = None
        self.wait(lambda: False, seconds)

    def shut_down(self):
        for thread in self.threads:
            if not thread.done:
                thread.kill()

    def random(self, bits):
        self.seed = (self.seed * 6364136223846793005 + 1442695040888963407) \
            & 0xffffffffffffffff
        return self.seed >> 64 - bits

    def may_start_thread(self):
        pass

    # Errors

    def number(self, name):
        return self.errnos[name]

    def name_of(self, number):
        for name in sorted(self.errnos):
            if self.errnos[name] == number:
                return name
        raise AssertionError("there is no errno %r" % number)

    def strerror(self, number):
        for name, value in sorted(self.errnos.items()):
            if value == number and hasattr(real_errno, name):
                return os.strerror(getattr(real_errno, name))
        return "Unknown error: %d" % number

    def failure(self, name):
        """Return the exception of an errno, as Python makes it."""
        return self.make_error(name, self.errnos[name],
                               self.strerror(self.errnos[name]))

    @staticmethod
    def make_error(name, number, text):
        if PY2:
            return real_socket.error(number, text)
        import builtins
        return getattr(builtins, CLASSES.get(name, "OSError"))(number, text)

    # Opening and closing

    def may_open(self, family, kind, proto):
        if family not in (self.AF_INET, self.AF_INET6):
            raise self.failure("EAFNOSUPPORT")
        icmp = 58 if family == self.AF_INET6 else 1
        if (kind, proto) in ((self.SOCK_STREAM, 0), (self.SOCK_STREAM, TCP),
                             (self.SOCK_DGRAM, 0), (self.SOCK_DGRAM, UDP)):
            return
        if kind == self.SOCK_DGRAM and proto == icmp:
            return self.may_open_datagram_icmp()
        if kind != self.SOCK_RAW:
            raise self.failure("EPROTONOSUPPORT")
        if not self.privileged:
            raise self.failure(self.raw_errno)

    def may_open_datagram_icmp(self):
        if not self.datagram_icmp:
            raise self.failure("EPROTONOSUPPORT")

    def new_number(self):
        if len(self.sockets) >= self.fd_limit:
            raise self.failure("EMFILE")
        number = next(n for n in itertools.count(3) if n not in self.sockets)
        self.most_open = max(self.most_open, len(self.sockets) + 1)
        return number

    def new_port(self):
        self.ports = 49152 + (self.ports - 49152 + 7) % 16000
        return self.ports

    def close(self, sock):
        del self.sockets[sock.number]
        sock.number = -1
        if sock.tcp and sock.state == "connected" and sock.pair is None:
            onoff, linger = sock.options.get("LINGER", (0, 0))
            flags = RST if onoff and not linger else FIN
            self.transmit_segment(sock, flags | ACK)
        if sock.tcp and sock.state == "syn-sent":
            sock.state = None

    def open_count(self):
        return len(self.sockets) + len(self.handles)

    # Options

    def option_of(self, sock, level, option):
        """Return the name of a socket option, or raise its errno."""
        tables = {self.SOL_SOCKET: self.socket_options}
        if sock.version == 4:
            tables[0] = self.ip_options
        else:
            tables[41] = self.ipv6_options
            if sock.icmp:
                tables[58] = self.icmp6_options
        if sock.tcp:
            tables[TCP] = self.tcp_options
        if level not in tables:
            raise self.failure("EINVAL")
        for name, number in tables[level].items():
            if number == option:
                return name
        meaning = self.other_meaning.get((level, option))
        if meaning and (level != 0 or sock.version == 4):
            self.violations.append("option %d/%d is %s on %s" % (
                level, option, meaning, self.name))
            return "OTHER"
        raise self.failure("ENOPROTOOPT")

    def set_option(self, sock, name, value):
        if isinstance(value, (bytes, bytearray)):
            value = bytes(value)
            if name == "LINGER":
                if len(value) < 8:
                    raise self.failure("EINVAL")
                value = struct.unpack_from("ii", value)
            elif name == "ICMP6_FILTER":
                if len(value) != 32:
                    raise self.failure("EINVAL")
            elif len(value) == 1 and name in self.byte_is_enough:
                value = ord(value)
            elif len(value) < 4:
                raise self.failure("EINVAL")
            else:
                value, = struct.unpack_from("i", value)
        elif name in ("LINGER", "ICMP6_FILTER", "ICMP_FILTER", "ERROR"):
            raise self.failure("EINVAL")
        if name in ("TTL", "HOPS") and not 1 <= value <= 255:
            raise self.failure("EINVAL")
        if name == "HDRINCL" and not sock.raw:
            raise self.failure("ENOPROTOOPT")
        if name == "ICMP_ERROR_INFO":
            raise self.failure("ENOPROTOOPT")
        sock.options[name] = value

    def get_option(self, sock, name, size):
        if name == "ERROR":
            error, sock.error = sock.error, 0
            value = error
        elif name in ("TTL", "HOPS"):
            value = sock.options.get(name, self.default_ttl)
        elif name == "TYPE":
            value = sock.type
        elif name == "LINGER":
            value = struct.pack("ii", *sock.options.get(name, (0, 0)))
            if not size:
                raise self.failure("EINVAL")
            return value[:size]
        else:
            value = sock.options.get(name, 0)
        if size:
            return struct.pack("i", value)[:size]
        return value

    def ttl_of(self, sock):
        return sock.options.get("TTL" if sock.version == 4 else "HOPS",
                                self.default_ttl)

    def tos_of(self, sock):
        return sock.options.get("TOS" if sock.version == 4 else "TCLASS", 0)

    # Names

    def check_sockaddr(self, sock, sockaddr):
        address = sockaddr[0].split("%")[0]
        if address in self.hosts:
            address = self.hosts[address][0]
        try:
            pack_address(address)
        except (OSError, real_socket.error):
            raise real_socket.gaierror(8, "not known: %r" % (address,))
        if version_of(address) != sock.version:
            raise self.failure("EAFNOSUPPORT")
        if address not in self.own_addresses | set(HOST.values()) and \
                not address.startswith(("10.9.", "fd09:", "127.")):
            raise self.failure("ENETUNREACH")
        if not sock.raw and not sock.icmp and sockaddr[1] == 0:
            raise self.failure("EADDRNOTAVAIL")
        return address, sockaddr[1]

    def source_for(self, address):
        version = version_of(address)
        if address.startswith("127.") or address == "::1":
            return LOOPBACK[version]
        return OWN[version]

    @staticmethod
    def sockaddr(address, port):
        return (address, port, 0, 0) if ":" in address else (address, port)

    def name_of_socket(self, sock):
        address = sock.address or {4: "0.0.0.0", 6: "::"}[sock.version]
        return self.sockaddr(address, sock.port)

    def bind_icmp(self, sock, port):
        sock.port = 0           # getsockname() of a raw or BSD ICMP socket

    # Sending

    def send(self, sock, data, address, port):
        """sendto() of a datagram."""
        self.raise_pending(sock)
        sock.sent_count += 1
        sock.sent_to.add((address, port))
        if sock.tcp:
            raise self.failure("ENOTCONN")
        source = sock.address or self.source_for(address)
        if sock.udp:
            if not sock.port:
                sock.port = self.new_port()
            sock.bound = True
        packet = self.packet(sock, data, source, address, port)
        if self.send_delay:
            self.after(self.send_delay, lambda: self.output(self.packet(
                sock, data, source, address, port)))
        else:
            self.output(packet)
        return len(data)

    def packet(self, sock, data, source, address, port):
        if not sock.udp:
            return self.icmp_packet(sock, data, source, address)
        return Packet(source, address, UDP, encode_udp(
            source, address, (sock.port, port), data), self.ttl_of(sock),
            self.tos_of(sock))

    def icmp_packet(self, sock, data, source, address):
        """Return what a raw or datagram ICMP socket sends."""
        if sock.options.get("HDRINCL"):
            return self.given_packet(data, source)
        ttl = self.ttl_of(sock)
        if sock.raw and sock.version == 4 and not self.raw_honours_ttl:
            ttl = 255
        if sock.version == 6 and sock.proto == 58:
            data = data[:2] + b"\0\0" + data[4:]
            data = data[:2] + struct.pack("!H", transport_checksum(
                source, address, 58, data)) + data[4:]
        return Packet(source, address, sock.proto, data, ttl,
                      self.tos_of(sock))

    def given_packet(self, data, source):
        """IP_HDRINCL: the program gives the IPv4 header."""
        if len(data) < 20:
            raise self.failure("EINVAL")
        order = self.header_order
        if order == "=":
            order = "<" if self.little_endian else ">"
        length, = struct.unpack_from(order + "H", data, 2)
        offset, = struct.unpack_from(order + "H", data, 6)
        head = bytearray(data[:20])
        if length != len(data) or head[0] != 0x45 or offset & 0x1fff:
            raise self.failure("EINVAL")
        theirs = unpack_address(data[12:16])
        return Packet(source if theirs == "0.0.0.0" else theirs,
                      unpack_address(data[16:20]), head[9], data[20:],
                      head[8], head[1],
                      struct.unpack_from("!H", data, 4)[0] or 77,
                      bool(offset & 0x4000))

    def send_stream(self, sock, data):
        if sock.state != "connected":
            self.raise_pending(sock)
            raise self.failure("EPIPE" if sock.state == "dead"
                               else "ENOTCONN")
        self.transmit_segment(sock, PSH | ACK, data)
        return len(data)

    def raise_pending(self, sock):
        if sock.error:
            error, sock.error = sock.error, 0
            raise self.failure(self.name_of(error))

    def output(self, packet):
        """An IP packet leaves, or turns round at the loopback."""
        if packet.destination in self.own_addresses:
            self.after(0.00005, self.local_input, packet)
            return
        for delay, answer in self.network.carry(packet, self.now):
            if delay:
                self.after(delay, self.deliver, answer)
            else:
                self.now += 1e-5
                self.deliver(answer)

    def local_input(self, packet):
        if packet.protocol == UDP:
            if not self.udp_input(packet):
                kind, code = REASONS["port"][packet.version]
                self.deliver(Packet(
                    packet.destination, packet.source, ICMP[packet.version],
                    encode_icmp(packet.destination, packet.source, kind,
                                code, 0, packet.octets())))
        elif packet.protocol == TCP:
            self.local_tcp(packet)
        elif packet.echo_request:
            for _, answer in ((0, reply) for reply in Destination(
                    1).answer_icmp(packet)):
                self.deliver(answer)

    def listeners(self, version, port):
        return [sock for sock in self.sockets.values()
                if sock.backlog is not None and sock.port == port and
                sock.version == version]

    def local_tcp(self, packet):
        seq, ack, flags, _ = packet.segment
        if flags & RST:
            return
        found = self.listeners(packet.version, packet.ports[1])
        if flags & SYN:
            self.deliver(Packet(
                packet.destination, packet.source, TCP, encode_tcp(
                    packet.destination, packet.source, packet.ports[::-1],
                    7000 if found else 0, seq + 1 & 0xffffffff,
                    (SYN if found else RST) | ACK)))
        elif found and not flags & FIN:
            found[0].backlog.append((packet.source, packet.ports[0]))

    # TCP

    def connect(self, sock, address, port):
        if sock.state == "connected":
            return self.number("EISCONN")
        if sock.state == "syn-sent":
            return self.number("EALREADY")
        sock.peer = address, port
        sock.address = sock.address or self.source_for(address)
        sock.port = sock.port or self.new_port()
        sock.bound = True
        if self.local_refused_at_once and address in self.own_addresses \
                and not self.listeners(sock.version, port):
            sock.state = "dead"
            return self.number("ECONNREFUSED")
        sock.state = "syn-sent"
        if self.send_delay:
            self.after(self.send_delay, self.first_syn, sock)
        else:
            sock.held = True
            self.first_syn(sock)
            sock.held = False
        self.arm(sock)
        if sock.timeout == 0:
            return self.number(self.in_progress)
        self.wait(lambda: sock.state != "syn-sent", sock.timeout)
        if sock.state == "syn-sent":
            return self.number("ETIMEDOUT")
        error, sock.error = sock.error, 0
        return error

    def arm(self, sock):
        """Set the timers of a connect()."""
        for seconds in self.retransmits:
            self.after(self.send_delay + seconds, self.retransmit, sock)
        self.after(self.connect_seconds, self.give_up, sock)

    def first_syn(self, sock):
        if sock.state == "syn-sent" and sock.number != -1:
            sock.syn_at = self.now
            self.transmit_segment(sock, SYN)

    def retransmit(self, sock):
        if sock.state == "syn-sent" and sock.number != -1:
            sock.retransmits += 1
            self.transmit_segment(sock, SYN)

    def give_up(self, sock):
        if sock.state == "syn-sent" and sock.number != -1:
            self.drop(sock, "ETIMEDOUT")

    def transmit_segment(self, sock, flags, data=b""):
        seq, ack, options = sock.iss, 0, b""
        if flags & SYN:
            # MSS and time stamps
            options = binascii.unhexlify(b"020405b4") + struct.pack(
                "!BBBBII", 1, 1, 8, 10, self.time_stamp(), 0)
        else:
            seq, ack = sock.iss + 1 & 0xffffffff, 7001
        source, (address, port) = sock.address, sock.peer
        self.output(Packet(source, address, TCP, encode_tcp(
            source, address, (sock.port, port), seq, ack, flags, data,
            options), self.ttl_of(sock), self.tos_of(sock)))

    def time_stamp(self):
        return int(self.now * 1000) & 0xffffffff

    def drop(self, sock, name):
        """A connection comes to nothing; name: its errno."""
        sock.state = "dead"
        sock.error = self.number(name)

    def tcp_input(self, packet):
        seq, ack, flags, data = packet.segment
        theirs, ours = packet.ports
        for sock in list(self.sockets.values()):
            if sock.tcp and sock.pair is None and sock.port == ours and \
                    sock.peer == (packet.source, theirs) and \
                    sock.state in ("syn-sent", "connected"):
                sock.segments_in += 1
                return self.segment(sock, seq, ack, flags, data)
        if not flags & RST:     # nobody's: RFC 9293 3.5.2
            self.output(Packet(packet.destination, packet.source, TCP,
                               encode_tcp(packet.destination, packet.source,
                                          (ours, theirs), ack, 0, RST),
                               self.default_ttl))

    def segment(self, sock, seq, ack, flags, data):
        if sock.state == "syn-sent":
            if ack != sock.iss + 1 & 0xffffffff:
                return
            if flags & RST:
                self.refuse(sock)
            elif flags & SYN:
                sock.state = "connected"
                sock.handshake = self.now - sock.syn_at
                self.after(self.ack_delay(sock), self.acknowledge, sock)
        elif flags & RST:
            self.drop(sock, "ECONNRESET")
        else:
            if data:
                sock.inbox.append((data, None, {}))
            if flags & FIN:
                sock.eof = True

    def refuse(self, sock):
        """A RST answers a SYN."""
        self.drop(sock, "ECONNREFUSED")

    def ack_delay(self, sock):
        return 0

    def acknowledge(self, sock):
        if sock.state == "connected" and sock.number != -1:
            self.transmit_segment(sock, ACK)

    # What comes in

    def deliver(self, packet):
        if not self.firewall_lets_in(packet):
            return
        for sock in list(self.sockets.values()):
            if (sock.raw or sock.icmp) and self.raw_wants(sock, packet):
                heard = (self.raw_octets(sock, packet),
                         self.sockaddr(packet.source, 0),
                         {"ttl": packet.ttl, "time": self.now})
                if self.raw_delay:
                    self.after(self.raw_delay, sock.inbox.append, heard)
                else:
                    sock.inbox.append(heard)
        if packet.protocol == ICMP[packet.version]:
            self.icmp_input(packet)
        elif packet.protocol == TCP:
            self.tcp_input(packet)
        elif packet.protocol == UDP:
            self.udp_input(packet)

    def firewall_lets_in(self, packet):
        return True

    def raw_wants(self, sock, packet):
        """Does this socket get a copy of the packet?"""
        if sock.version != packet.version or sock.udp or sock.tcp:
            return False
        if sock.proto != packet.protocol:
            return False
        if sock.peer and sock.peer[0] != packet.source:
            return False
        if packet.protocol in (TCP, UDP):
            return self.raw_sees_all
        return self.filter_passes(sock, packet)

    def filter_passes(self, sock, packet):
        """ICMP6_FILTER as RFC 3542 3.2 has it on BSD: a set bit passes."""
        octets = sock.options.get("ICMP6_FILTER")
        if octets is None or sock.version == 4:
            return True
        kind = packet.icmp[0]
        return bool(struct.unpack("=8I", octets)[kind // 32] &
                    1 << kind % 32)

    def raw_octets(self, sock, packet):
        """Return what a raw socket reads: IPv4 with its header."""
        if packet.version == 6:
            return packet.body
        octets = packet.octets()
        if self.raw_length == "subtracted":
            order = "<" if self.little_endian else ">"
            octets = octets[:2] + struct.pack(
                order + "H", len(packet.body)) + octets[4:6] + struct.pack(
                    order + "H", 0x4000 if packet.df else 0) + octets[8:]
        return octets

    def udp_input(self, packet):
        theirs, ours = packet.ports
        for sock in list(self.sockets.values()):
            if sock.udp and sock.port == ours and \
                    sock.version == packet.version and \
                    sock.peer in (None, (packet.source, theirs)):
                sock.inbox.append((
                    packet.body[8:], self.sockaddr(packet.source, theirs),
                    {"ttl": packet.ttl, "time": self.now}))
                return True
        return False

    def icmp_input(self, packet):
        """An ICMP message: find out whose packet an error is about."""
        kind, code = packet.icmp
        if kind not in ERRORS[packet.version]:
            return
        quoted = packet.body[8:]
        if len(quoted) < (28 if packet.version == 4 else 48):
            return
        if packet.version == 4:
            size, protocol = (bytearray(quoted)[0] & 15) * 4, \
                bytearray(quoted)[9]
            source, target = quoted[12:16], quoted[16:20]
        else:
            size, protocol = 40, bytearray(quoted)[6]
            source, target = quoted[8:24], quoted[24:40]
        rest = quoted[size:]
        source, target = unpack_address(source), unpack_address(target)
        if len(rest) < 8 or source not in self.own_addresses:
            return
        for sock in list(self.sockets.values()):
            if sock.version != packet.version or sock.pair is not None:
                continue
            if protocol == TCP and sock.tcp:
                ours, theirs, seq = struct.unpack_from("!HHI", rest)
                if (sock.port, sock.peer) == (ours, (target, theirs)) and \
                        sock.state == "syn-sent" and seq == sock.iss:
                    sock.icmp_error = packet.source, kind, code
                    self.tcp_error(sock, packet, kind, code, rest)
            elif protocol == UDP and sock.udp:
                ours, theirs = struct.unpack_from("!HH", rest)
                if sock.port == ours:
                    self.udp_error(sock, packet, kind, code, rest[8:],
                                   (target, theirs))
            elif protocol == ICMP[sock.version] and sock.icmp:
                self.echo_error(sock, packet, kind, code, rest, target)

    @staticmethod
    def reason(version, kind, code):
        """Return "time", "port", "prohibited" or "host"."""
        if version == 4:
            return "time" if kind == 11 else "port" if code in (2, 3) else \
                "prohibited" if code in (9, 10, 13) else "host"
        return "time" if kind == 3 else "port" if code == 4 else \
            "prohibited" if code in (1, 5, 6) else "host"

    def tcp_error(self, sock, packet, kind, code, rest):
        """tcp_ctlinput() and, where it exists, tcp_drop_syn_sent()."""
        name = self.ends_connect[sock.version].get(
            self.reason(sock.version, kind, code))
        if name:
            self.drop(sock, name)

    def udp_error(self, sock, packet, kind, code, rest, target):
        """udp_ctlinput(): only a connected socket hears of it."""
        name = self.udp_errors.get(self.reason(sock.version, kind, code))
        if name and sock.peer == target:
            sock.error = self.number(name)

    def echo_error(self, sock, packet, kind, code, rest, target):
        pass

    # Reading

    def receive(self, sock, size, control, flags):
        """recvmsg(): (octets, control messages, flags, sockaddr)."""
        if flags & ~(2 | self.msg_dontwait):
            raise self.failure("EOPNOTSUPP")

        def ready():
            return sock.inbox or sock.error or sock.eof or \
                sock.tcp and sock.state == "dead"
        if sock.tcp and sock.state in (None, "syn-sent") and \
                sock.pair is None:
            if sock.state is None:
                raise self.failure("ENOTCONN")
            if sock.timeout == 0:
                raise self.failure("EAGAIN")
        if not ready():
            if sock.timeout == 0 or flags & self.msg_dontwait:
                raise self.failure("EAGAIN")
            self.wait(ready, sock.timeout)
            if not ready():
                raise real_socket.timeout("timed out")
        if sock.error and not sock.inbox:
            self.raise_pending(sock)
        if not sock.inbox:
            return b"", [], 0, None
        data, sender, facts = sock.inbox[0]
        if data is None:        # an error that waits its turn: Windows
            del sock.inbox[0]
            raise self.failure(facts["error"])
        if not flags & 2:
            del sock.inbox[0]
            if sock.tcp and len(data) > size:
                sock.inbox.insert(0, (data[size:], sender, facts))
        return data[:size], self.control_items(sock, facts) if control \
            else [], 0, sender

    def control_items(self, sock, facts):
        items = []
        if "ttl" in facts and sock.options.get("RECVTTL"):
            form, kind = self.ttl_item
            items.append((0, kind, struct.pack(form, facts["ttl"])))
        if "ttl" in facts and sock.options.get("RECVHOPLIMIT"):
            items.append((41, self.hoplimit_item,
                          struct.pack("i", facts["ttl"])))
        if "time" in facts and sock.options.get("TIMESTAMP"):
            when = self.wall(facts["time"])
            items.append((self.SOL_SOCKET, self.scm_timestamp, struct.pack(
                "qq", int(when), int(when % 1 * 1e6))))
        return items

    def wall(self, now=None):
        return 1700000000.0 + (self.now if now is None else now)

    # Waiting

    def number_of(self, sock):
        number = sock if isinstance(sock, int) else sock.fileno()
        if number < 0:
            raise ValueError("file descriptor cannot be a negative integer "
                             "(%d)" % number)
        return number

    def readable(self, sock):
        failed = sock.tcp and sock.state == "dead" and \
            "r" in self.failed_in
        return bool(sock.inbox or sock.eof or sock.errors or failed or
                    sock.backlog or sock.error and not sock.tcp)

    def writable(self, sock):
        if not sock.tcp or sock.pair is not None:
            return True
        return sock.state == "connected" or sock.state == "dead" and \
            "w" in self.failed_in

    def exceptional(self, sock):
        return sock.tcp and sock.state == "dead" and "x" in self.failed_in

    def poll_bits(self, sock):
        """POLLIN 1, POLLOUT 4, POLLERR 8, POLLHUP 0x10."""
        bits = 1 if self.readable(sock) else 0
        bits |= 4 if self.writable(sock) else 0
        if sock.tcp and sock.state == "dead":
            bits |= 0x10
        if sock.error or sock.errors:
            bits |= 8
        return bits

    def select(self, reading, writing, failing, timeout=None):
        lists = [list(each) for each in (reading, writing, failing)]
        self.check_select(lists)
        for sock in sum(lists, []):
            if self.number_of(sock) not in self.sockets:
                raise self.bad_select()
        tests = self.readable, self.writable, self.exceptional

        def ready():
            found = [[sock for sock in each if test(
                self.sockets[self.number_of(sock)])]
                for each, test in zip(lists, tests)]
            return found if any(found) else None
        return tuple(self.wait(ready, timeout) or ([], [], []))

    def bad_select(self):
        return self.failure("EBADF")

    def check_select(self, lists):
        for sock in sum(lists, []):
            if self.number_of(sock) >= self.select_limit:
                raise ValueError("filedescriptor out of range in select()")

    # The modules that a program sees

    def socket_names(self):
        """Return a dict: what is in the module `socket`."""
        names = dict(
            AF_UNSPEC=0, AF_INET=self.AF_INET, AF_INET6=self.AF_INET6,
            AF_UNIX=1, SOCK_STREAM=self.SOCK_STREAM,
            SOCK_DGRAM=self.SOCK_DGRAM, SOCK_RAW=self.SOCK_RAW,
            SOL_SOCKET=self.SOL_SOCKET, SOL_IP=self.SOL_IP, SOL_TCP=6,
            SOL_UDP=17, IPPROTO_IP=0, IPPROTO_ICMP=1, IPPROTO_TCP=6,
            IPPROTO_UDP=17, IPPROTO_IPV6=41, IPPROTO_ICMPV6=58,
            IPPROTO_RAW=255, TCP_NODELAY=1, SHUT_RD=0, SHUT_WR=1,
            SHUT_RDWR=2, SOMAXCONN=128, INADDR_ANY=0, has_ipv6=True,
            MSG_PEEK=2, MSG_DONTWAIT=self.msg_dontwait, AI_PASSIVE=1,
            AI_CANONNAME=2, AI_NUMERICHOST=4, EAI_NONAME=8, EAI_AGAIN=2,
            EAI_FAMILY=5, NI_NUMERICHOST=2, NI_NUMERICSERV=8)
        for table, prefix, wanted in (
                (self.socket_options, "SO_",
                 "REUSEADDR LINGER BROADCAST SNDBUF RCVBUF ERROR TYPE"),
                (self.ip_options, "IP_", "TTL TOS HDRINCL RECVTOS"),
                (self.ipv6_options, "IPV6_",
                 "V6ONLY RECVHOPLIMIT TCLASS DONTFRAG RECVTCLASS")):
            for name in wanted.split():
                if name in table:
                    names[prefix + name] = table[name]
        names["IPV6_UNICAST_HOPS"] = self.ipv6_options["HOPS"]
        names["IPV6_HOPLIMIT"] = self.hoplimit_item
        names.update(
            error=real_socket.error, gaierror=real_socket.gaierror,
            herror=real_socket.herror, timeout=real_socket.timeout,
            socket=self.socket_class(), getaddrinfo=self.getaddrinfo,
            gethostbyaddr=self.gethostbyaddr,
            gethostbyname=self.gethostbyname, getnameinfo=self.getnameinfo,
            gethostname=lambda: "here", getfqdn=lambda name="": name or
            "here", getservbyname=self.getservbyname,
            getservbyport=self.getservbyport,
            inet_aton=real_socket.inet_aton, inet_ntoa=real_socket.inet_ntoa,
            inet_pton=self.inet_pton, inet_ntop=self.inet_ntop,
            htons=real_socket.htons, ntohs=real_socket.ntohs,
            htonl=real_socket.htonl, ntohl=real_socket.ntohl,
            socketpair=self.socketpair)
        names["SocketType"] = names["socket"]
        return names

    def socket_class(self):
        base = Socket if self.python2 else SocketWithMessages
        return type("socket", (base,), {"kernel": self})

    def getaddrinfo(self, host, port, family=0, type=0, proto=0, flags=0):
        if family not in (0, self.AF_INET, self.AF_INET6):
            raise real_socket.gaierror(5, "ai_family not supported")
        if host is None or isinstance(host, bytes) and not PY2:
            raise real_socket.gaierror(8, "not a name: %r" % (host,))
        addresses = self.hosts.get(host)
        try:
            pack_address(host.split("%")[0])
            addresses = [host.split("%")[0]]
        except (OSError, real_socket.error):
            if flags & 4:
                addresses = None
        found = []
        for address in addresses or ():
            number = self.AF_INET6 if ":" in address else self.AF_INET
            if family in (0, number):
                found.append((number, type or self.SOCK_STREAM, proto or 17,
                              "", self.sockaddr(address, int(port or 0))))
        if not found:
            raise real_socket.gaierror(
                8, "nodename nor servname provided, or not known")
        return found

    def gethostbyaddr(self, address):
        return "name-of-%s.example" % address.replace(":", "-"), [], [
            address]

    def gethostbyname(self, name):
        return self.getaddrinfo(name, 0, self.AF_INET)[0][4][0]

    def getnameinfo(self, sockaddr, flags):
        if not flags & 2:
            raise AssertionError("getnameinfo() asks for a name")
        address = unpack_address(pack_address(sockaddr[0].split("%")[0]))
        return address, str(sockaddr[1])

    @staticmethod
    def getservbyname(name, protocol=None):
        ports = {"http": 80, "https": 443, "ssh": 22, "domain": 53}
        if name not in ports:
            raise real_socket.error("service/proto not found")
        return ports[name]

    @staticmethod
    def getservbyport(port, protocol=None):
        names = {80: "http", 443: "https", 22: "ssh", 53: "domain"}
        if port not in names:
            raise real_socket.error("port/proto not found")
        return names[port]

    def inet_ntop(self, family, octets):
        self.check_family(family)
        return real_socket.inet_ntop(
            real_socket.AF_INET if family == self.AF_INET
            else real_socket.AF_INET6, octets)

    def inet_pton(self, family, text):
        self.check_family(family)
        return real_socket.inet_pton(
            real_socket.AF_INET if family == self.AF_INET
            else real_socket.AF_INET6, text)

    def check_family(self, family):
        if family not in (self.AF_INET, self.AF_INET6):
            raise self.failure("EAFNOSUPPORT")

    def socketpair(self, *more):
        pair = [self.socket_class()(self.AF_INET, self.SOCK_STREAM)
                for _ in range(2)]
        for sock, other in zip(pair, pair[::-1]):
            sock.pair, sock.state = other, "connected"
            sock.peer = LOOPBACK[4], 1
        return tuple(pair)

    def select_names(self):
        names = {"select": self.select, "error": OSError
                 if not PY2 else __import__("select").error}
        if self.has_poll:
            names.update(
                poll=type("poll", (Poll,), {"kernel": self}), POLLIN=1,
                POLLPRI=2, POLLOUT=4, POLLERR=8, POLLHUP=16, POLLNVAL=32)
        return names

    def errno_names(self):
        names = dict(self.errnos)
        names["errorcode"] = dict((number, name)
                                  for name, number in names.items())
        return names

    os_missing = ()

    def os_names(self):
        names = dict(vars(os))
        for name in self.os_missing:
            names.pop(name, None)
        names.update(
            strerror=self.strerror, times=self.times, urandom=self.urandom,
            getpid=lambda: 4321, system=self.no_shell, popen=self.no_shell,
            environ={"PATH": "/usr/bin", "LANG": "C"})
        for name in ("execv", "execvp", "execl", "execlp", "fork", "kill"):
            if name in names:
                names[name] = self.no_shell
        for name in ("getuid", "geteuid"):
            if name in names:
                names[name] = lambda: 0 if self.privileged else 1000
        if "uname" in names:
            names["uname"] = lambda: (self.sysname, "here",
                                      self.release, "#1", "x")
        return names

    def no_shell(self, *args):
        raise AssertionError("a program is run: %r" % (args,))

    def times(self):
        ticks = int(self.now * 100) / 100.0
        return 0.0, 0.0, 0.0, 0.0, ticks

    def urandom(self, count):
        return bytes(bytearray(self.random(8) for _ in range(count)))

    def time_names(self):
        names = dict((name, getattr(real_time, name)) for name in (
            "gmtime", "localtime", "strftime", "mktime", "ctime", "asctime",
            "struct_time"))
        names.update(time=self.wall, sleep=self.sleep)
        if self.python2:
            names["clock"] = self.clock
        else:
            names.update(monotonic=lambda: self.now,
                         perf_counter=lambda: self.now,
                         process_time=self.clock)
        return names

    def clock(self):
        return 0.25             # seconds of processor time

    signals = dict(SIGHUP=1, SIGINT=2, SIGQUIT=3, SIGKILL=9, SIGPIPE=13,
                   SIGALRM=14, SIGTERM=15)

    def signal_names(self):
        names = dict(self.signals)
        names.update(SIG_DFL=0, SIG_IGN=1,
                     default_int_handler=real_signal.default_int_handler,
                     signal=self.signal, getsignal=self.getsignal)
        return names

    def check_signal(self, number):
        if number not in self.signals.values():
            raise ValueError("signal number out of range")

    def getsignal(self, number):
        self.check_signal(number)
        return self.handlers.get(
            number, real_signal.default_int_handler if number == 2 else 0)

    def signal(self, number, handler):
        before = self.getsignal(number)
        self.handlers[number] = handler
        return before

    def threading_names(self):
        return dict(
            Thread=type("Thread", (Turn,), {"kernel": self}),
            current_thread=lambda: self.running or self,
            active_count=lambda: 1 + sum(
                not thread.done for thread in self.threads))

    def ctypes_names(self):
        """None: this Python has no ctypes."""
        names = dict(vars(ctypes))
        for name in ("WinDLL", "windll", "oledll", "WINFUNCTYPE",
                     "WinError", "FormatError", "GetLastError", "cdll",
                     "pydll", "PyDLL"):
            names.pop(name, None)

        def load(name=None, *args, **kwargs):
            if name is None:
                return types.ModuleType("libc")     # without a function
            raise OSError("dlopen(%s): image not found" % name)
        names["CDLL"] = load
        return names

    def sys_names(self):
        names = dict(vars(sys))
        names.update(platform=self.platform, stdout=self.stdout_text(),
                     stderr=self.stderr_text(), stdin=None,
                     argv=["potraceroute.py"])
        return names

    def stdout_text(self):
        return Stream(self.stdout) if PY2 else io.TextIOWrapper(
            self.stdout, "utf-8", write_through=True)

    def stderr_text(self):
        return Stream(self.stderr) if PY2 else io.TextIOWrapper(
            self.stderr, "utf-8", write_through=True)

    missing_modules = ("msvcrt", "winreg", "_winreg", "androidhelper",
                       "android")

    def modules(self):
        """Return the modules by name; None means there is none."""
        found = {}
        for name in ("socket", "select", "errno", "os", "time", "signal",
                     "threading", "ctypes", "sys"):
            names = getattr(self, name + "_names")()
            found[name] = None
            if names is not None:
                found[name] = types.ModuleType(name)
                vars(found[name]).update(names)
        for name in self.missing_modules:
            found[name] = None
        return found

    def open_file(self, name, *args, **kwargs):
        """open(): only the files that this system is said to have."""
        if name in self.files:
            return io.StringIO(self.files[name])
        raise self.make_error("ENOENT", self.number("ENOENT"),
                              "No such file or directory: %r" % (name,))


# ---------------------------------------------------------------------------
# Linux
# ---------------------------------------------------------------------------

class Linux(Kernel):
    """[notes] 1: the error queue; here as kernel 6 has it."""

    name = "Linux"
    platform = "linux2" if PY2 else "linux"
    sysname = "Linux"
    release = "6.1.0-sim"
    errnos = dict(
        (name, getattr(real_errno, name)) for name in dir(real_errno)
        if name[0] == "E")
    AF_INET6 = 10
    SOL_SOCKET = 1
    socket_options = dict(REUSEADDR=2, TYPE=3, ERROR=4, BROADCAST=6,
                          SNDBUF=7, RCVBUF=8, LINGER=13, TIMESTAMP_US=29,
                          TIMESTAMP=35)
    ip_options = dict(TOS=1, TTL=2, HDRINCL=3, PKTINFO=8, MTU_DISCOVER=10,
                      RECVERR=11, RECVTTL=12, RECVTOS=13, MTU=14, MINTTL=21,
                      BIND_ADDRESS_NO_PORT=24, RFC4884=26)
    ipv6_options = dict(HOPS=16, MTU_DISCOVER=23, MTU=24, RECVERR=25,
                        V6ONLY=26, RFC4884=31, RECVPKTINFO=49,
                        RECVHOPLIMIT=51, DONTFRAG=62, RECVTCLASS=66,
                        TCLASS=67, AUTOFLOWLABEL=70, MINTTL=73)
    icmp6_options = dict(ICMP6_FILTER=1)
    tcp_options = dict(NODELAY=1, MAXSEG=2, SYNCNT=7, DEFER_ACCEPT=9,
                       INFO=11, USER_TIMEOUT=18, TIMESTAMP=24)
    other_meaning = {}
    byte_is_enough = ("TTL", "TOS")     # ip_setsockopt() takes a char
    msg_dontwait = 0x40
    MSG_ERRQUEUE = 0x2000
    scm_timestamp = 35
    hoplimit_item = 52
    ttl_item = ("i", 2)
    raw_sees_all = True
    retransmits = (1.02, 3.06, 7.2, 15.4, 31.8)
    connect_seconds = 127.0
    error_queue = ("tcp", "udp", "icmp")
    ping_group_range = "0\t2147483647\n"
    info_words = 58             # of struct tcp_info
    counts_errors = True        # in /proc/net/snmp
    sets_snd_mss = True
    # icmp_err_convert and icmpv6_err_convert, where it is another errno
    # than EHOSTUNREACH: [notes] 1.6
    names = {4: {(3, 0): "ENETUNREACH", (3, 2): "ENOPROTOOPT",
                 (3, 3): "ECONNREFUSED", (3, 9): "ENETUNREACH"},
             6: {(1, 0): "ENETUNREACH", (1, 1): "EACCES",
                 (1, 4): "ECONNREFUSED", (1, 5): "EACCES",
                 (1, 6): "EACCES"}}

    def __init__(self, network=None, privileged=False):
        Kernel.__init__(self, network, privileged)
        if self.ping_group_range:
            self.files["/proc/sys/net/ipv4/ping_group_range"] = \
                self.ping_group_range
        self.counted = {(4, 3): 0, (4, 11): 0, (6, 1): 0, (6, 3): 0}
        self.missed = 0             # LockDroppedIcmps

    def icmp_input(self, packet):
        key = packet.version, packet.icmp[0]
        if self.counts_errors and key in self.counted:
            self.counted[key] += 1
        Kernel.icmp_input(self, packet)

    def open_file(self, name, *args, **kwargs):
        if name == "/proc/net/snmp":
            return io.StringIO(
                u"Icmp: InMsgs InDestUnreachs InTimeExcds\n"
                u"Icmp: 7 %d %d\nIcmpMsg: InType3\nIcmpMsg: 1\n" % (
                    self.counted[4, 3], self.counted[4, 11]))
        if name == "/proc/net/snmp6":
            return io.StringIO(
                u"Icmp6InMsgs\t7\nIcmp6InDestUnreachs\t%d\n"
                u"Icmp6InTimeExcds\t%d\n" % (
                    self.counted[6, 1], self.counted[6, 3]))
        if name == "/proc/net/netstat":
            return io.StringIO(
                u"TcpExt: SyncookiesSent LockDroppedIcmps\nTcpExt: 0 %d\n"
                u"IpExt: InNoRoutes\nIpExt: 0\n" % self.missed)
        return Kernel.open_file(self, name, *args, **kwargs)

    def may_open_datagram_icmp(self):
        if (self.ping_group_range or "1\t0")[0] == "1":
            raise self.failure("EACCES")

    def option_of(self, sock, level, option):
        if level == 0 and sock.version == 6 and option in (1, 2, 11, 12):
            return "OTHER"      # for mapped addresses
        if level == 255 and option == 1 and sock.raw and sock.proto == 1:
            return "ICMP_FILTER"
        try:
            return Kernel.option_of(self, sock, level, option)
        except OSError if not PY2 else real_socket.error:
            raise self.failure("ENOPROTOOPT")

    def set_option(self, sock, name, value):
        if name == "ICMP_FILTER":
            sock.options[name], = struct.unpack("I", value)
        else:
            Kernel.set_option(self, sock, name, value)

    def get_option(self, sock, name, size):
        if name == "INFO":
            words = [0] * 60
            words[17] = int(sock.handshake * 1e6)
            words[4] = 1460 if self.sets_snd_mss else 0
            words[25] = sock.retransmits
            words[35] = sock.segments_in
            return struct.pack("=%dI" % self.info_words,
                               *words[:self.info_words])[:size]
        if sock.tcp and name == "TIMESTAMP" and not size:
            return self.time_stamp()
        return Kernel.get_option(self, sock, name, size)

    def bind_icmp(self, sock, port):
        if not sock.raw:        # the "port" of a ping socket is its id
            sock.port = port or self.new_port()

    def icmp_packet(self, sock, data, source, address):
        if sock.raw:
            return Kernel.icmp_packet(self, sock, data, source, address)
        if not sock.port:
            sock.port = self.new_port()
        kind, code = bytearray(data)[:2]
        if (kind, code) != (ECHO[sock.version][0], 0):
            raise self.failure("EINVAL")
        rest = sock.port << 16 | struct.unpack_from("!H", data, 6)[0]
        return Packet(source, address, sock.proto, encode_icmp(
            source, address, kind, 0, rest, data[8:]), self.ttl_of(sock),
            self.tos_of(sock))

    def given_packet(self, data, source):
        # ip_len and the checksum are filled in, whatever was there
        return Packet(source, unpack_address(data[16:20]),
                      bytearray(data)[9], data[20:], bytearray(data)[8])

    def ack_delay(self, sock):
        return 0.2 if sock.options.get("DEFER_ACCEPT") else 0

    def filter_passes(self, sock, packet):
        kind = packet.icmp[0]
        if sock.version == 4:   # a set bit is a type that is blocked
            return not (sock.options.get("ICMP_FILTER", 0) >> min(kind, 31)
                        & 1)
        octets = sock.options.get("ICMP6_FILTER")
        return octets is None or not struct.unpack("=8I", octets)[
            kind // 32] & 1 << kind % 32

    def raw_wants(self, sock, packet):
        if not sock.raw and sock.icmp:  # a ping socket: replies to its id
            return packet.protocol == sock.proto and \
                sock.version == packet.version and \
                packet.icmp == (ECHO[sock.version][1], 0) and \
                packet.ports[0] == sock.port
        return Kernel.raw_wants(self, sock, packet)

    def raw_octets(self, sock, packet):
        if not sock.raw:
            return packet.body
        return Kernel.raw_octets(self, sock, packet)

    def queue_error(self, protocol, sock, packet, name, data, target):
        if protocol not in self.error_queue or not (
                sock.options.get("RECVERR") or protocol == "tcp"):
            return False
        kind, code = packet.icmp
        origin = 2 if packet.version == 4 else 3
        family = struct.pack("=H", self.AF_INET if packet.version == 4
                             else self.AF_INET6)
        offender = family + b"\0\0" + (
            pack_address(packet.source) + b"\0" * 8 if packet.version == 4
            else b"\0" * 4 + pack_address(packet.source) + b"\0" * 4)
        level = (0, 11) if packet.version == 4 else (41, 25)
        item = level + (struct.pack(
            "=IBBBBII", self.number(name), origin, kind, code, 0, 0, 0) +
            offender,)
        sock.errors.append((data, self.sockaddr(*target), item, {
            "ttl": packet.ttl, "time": self.now}))
        return True

    def error_name(self, version, kind, code):
        return self.names[version].get((kind, code), "EHOSTUNREACH")

    def tcp_error(self, sock, packet, kind, code, rest):
        """tcp_v4_err(): while connect() holds the socket, what is not
        queued is only counted (LockDroppedIcmps): it goes on waiting."""
        name = self.error_name(sock.version, kind, code)
        self.queue_error("tcp", sock, packet, name, rest, sock.peer)
        if sock.held:
            self.missed += 1
        else:
            self.drop(sock, name)

    def udp_error(self, sock, packet, kind, code, rest, target):
        name = self.error_name(sock.version, kind, code)
        if sock.peer not in (None, target):
            return
        if self.queue_error("udp", sock, packet, name, rest, target) or \
                sock.peer and name in self.udp_errors.values():
            sock.error = self.number(name)

    def echo_error(self, sock, packet, kind, code, rest, target):
        if not sock.raw and struct.unpack_from("!H", rest, 4)[0] == \
                sock.port:
            name = self.error_name(sock.version, kind, code)
            if self.queue_error("icmp", sock, packet, name, rest,
                                (target, 0)):
                sock.error = self.number(name)

    def receive(self, sock, size, control, flags):
        if not flags & self.MSG_ERRQUEUE:
            return Kernel.receive(self, sock, size, control, flags)
        if not sock.errors:
            raise self.failure("EAGAIN")
        data, sender, item, facts = sock.errors.pop(0)
        sock.error = 0
        return data[:size], [item] + self.control_items(sock, facts), \
            self.MSG_ERRQUEUE, sender

    def control_items(self, sock, facts):
        items = []
        for level, kind, value in Kernel.control_items(self, sock, facts):
            if kind == self.scm_timestamp:
                when = self.wall(facts["time"])
                value = struct.pack("=qq", int(when), int(when % 1 * 1e9))
            items.append((level, kind, value))
        return items

    def socket_names(self):
        names = Kernel.socket_names(self)
        names.update(EAI_NONAME=-2, EAI_AGAIN=-3, EAI_FAMILY=-6)
        if not self.python2:
            names["MSG_ERRQUEUE"] = self.MSG_ERRQUEUE
        return names

    def ctypes_names(self):
        names = Kernel.ctypes_names(self)
        kernel = self

        class Libc(object):
            """recvmsg() and clock_gettime() of a 64-bit libc."""

            def recvmsg(self, number, header, flags):
                return kernel.libc_recvmsg(number, header, flags)

            def clock_gettime(self, which, stamp):
                stamp[0], stamp[1] = int(kernel.now), int(
                    kernel.now % 1 * 1e9)
                return 0
        load = names["CDLL"]
        names["CDLL"] = lambda name=None, *args, **kwargs: Libc() \
            if name is None else load(name)
        names["get_errno"] = lambda: self.libc_errno
        return names

    libc_errno = 0

    def libc_recvmsg(self, number, header, flags):
        """struct msghdr of 56 octets: see [notes] 2."""
        sock = self.sockets[number]
        place = ctypes.addressof(header._obj)
        words = (ctypes.c_size_t * 7).from_address(place)
        vector = (ctypes.c_size_t * 2).from_address(words[2])
        try:
            data, items, more, sender = self.receive(
                sock, vector[1], words[5], flags)
        except (OSError, real_socket.error) as error:
            self.libc_errno = error.errno
            return -1
        ctypes.memmove(vector[0], data, len(data))
        octets = b""
        for level, kind, value in items:
            item = struct.pack("@Nii" if not PY2 else "@Lii",
                               16 + len(value), level, kind) + value
            octets += item + b"\0" * (-len(item) % 8)
        ctypes.memmove(words[4], octets, len(octets))
        words[5] = len(octets)
        name = b""
        if sender:
            version = version_of(sender[0])
            name = struct.pack("=H", self.AF_INET6 if version == 6 else
                               self.AF_INET) + struct.pack("!H", sender[1])
            name += (b"\0" * 4 if version == 6 else b"") + pack_address(
                sender[0]) + (b"\0" * 4 if version == 6 else b"\0" * 8)
            ctypes.memmove(words[0], name, len(name))
        (ctypes.c_uint * 1).from_address(place + 8)[0] = len(name)
        (ctypes.c_int * 1).from_address(place + 48)[0] = more
        return len(data)


class GVisor(Linux):
    """netstack of runsc 20221219, as it was run: platforms.md.

    It accepts IP_RECVERR, but a time exceeded comes to nobody; an entry of
    its queue names our own address as who sent it; unreachable of any kind
    but port is host unreachable; UDP sockets hear of closed ports only, and
    if they are connected; ping sockets hear of nothing.
    """

    name = "gVisor"
    release = "4.4.0"
    ping_group_range = None     # no such file, yet ping sockets are there
    ping_sockets = True
    mute = False                # the queue is accepted and stays empty
    sets_snd_mss = counts_errors = False
    ip_options = dict(TOS=1, TTL=2, HDRINCL=3, PKTINFO=8, RECVERR=11,
                      RECVTOS=13)
    ipv6_options = dict(HOPS=16, RECVERR=25, V6ONLY=26, TCLASS=67,
                        RECVTCLASS=66)
    tcp_options = dict(NODELAY=1, MAXSEG=2, SYNCNT=7, DEFER_ACCEPT=9,
                       INFO=11, USER_TIMEOUT=18)
    socket_options = dict((name, number) for name, number in
                          Linux.socket_options.items()
                          if "TIMESTAMP" not in name)

    def may_open_datagram_icmp(self):
        if not self.ping_sockets:
            raise self.failure("EACCES")

    def queue_error(self, protocol, sock, packet, name, data, target):
        if self.mute or not sock.options.get("RECVERR"):
            return False
        known = "port" if name == "ECONNREFUSED" else "host"
        own = encode_icmp(sock.address, sock.address, *(
            REASONS[known][sock.version] + (0, b"")))
        return Linux.queue_error(self, protocol, sock, packet.copy(
            source=sock.address, body=own), name, data, target)

    def tcp_error(self, sock, packet, kind, code, rest):
        reason = self.reason(sock.version, kind, code)
        if reason != "time":
            Linux.tcp_error(self, sock, packet, *(
                REASONS["port" if reason == "port" else "host"][
                    sock.version] + (rest,)))

    def udp_error(self, sock, packet, kind, code, rest, target):
        if sock.peer and self.reason(sock.version, kind, code) == "port":
            Linux.udp_error(self, sock, packet, kind, code, rest, target)

    def echo_error(self, sock, packet, kind, code, rest, target):
        pass


def row(name, base, **facts):
    """Return a system that differs from another by data only."""
    return type(re.sub(r"\W", "", name), (base,), dict(facts, name=name))


def without(options, *names):
    return dict((name, number) for name, number in options.items()
                if name not in names)


# Debian 12: ping_group_range is closed, [notes] 1.5.
LinuxClosed = row("Linux with ping_group_range 1 0", Linux,
                  ping_group_range="1\t0\n")
# RHEL 8: before 5.8 TCP has no error queue, [notes] 1.4; before 5.9 there
# are none of the RFC 4884 options.
Linux418 = row("Linux 4.18", Linux, release="4.18.0-sim",
               error_queue=("udp", "icmp"),
               ip_options=without(Linux.ip_options, "RFC4884"),
               ipv6_options=without(Linux.ipv6_options, "RFC4884"))
OldAndroid = row("Android 10", Linux418, ping_group_range=None)
# poll() may ask the raw socket just before it hears, and the other one just
# after.
Linux418Late = row("Linux 4.18, raw sockets last", Linux418, raw_delay=2e-4)
# RHEL 7: struct tcp_info ends earlier, without segs_in.
OldLinux = row("Linux 3.10", Linux418, release="3.10.0-sim", info_words=26,
               ipv6_options=without(Linux418.ipv6_options, "AUTOFLOWLABEL"),
               tcp_options=without(Linux.tcp_options, "TIMESTAMP"))
# WSL 1 is said to accept IP_RECVERR, too, and to stay mute.
WSL1 = row("WSL 1", GVisor, release="4.4.0-19041-Microsoft", mute=True,
           ping_sockets=False)
# Termux: a new kernel, but SELinux may deny ping sockets, [notes] 8.6;
# Python 3.13 calls it "android".
Android = row("Android", Linux, platform="android", ping_group_range=None)


# ---------------------------------------------------------------------------
# macOS and the BSDs
# ---------------------------------------------------------------------------

class MacOS(Kernel):
    """xnu: [notes] 8.1, bsd/netinet/{ip_icmp,in_proto,tcp_subr,in.h}.

    SOCK_DGRAM ICMP for everybody, which hears all ICMP messages.  IPv6
    "administratively prohibited" does not end a connect(): platforms.md.
    """

    name = "macOS"
    platform = "darwin"
    sysname = "Darwin"
    AF_INET6 = 30
    errnos = dict(BSD_ERRNO, EOPNOTSUPP=102)
    ip_options = dict(HDRINCL=2, TOS=3, TTL=4, RECVDSTADDR=7, RECVIF=20,
                      STRIPHDR=23, RECVTTL=24, BOUND_IF=25, RECVTOS=27,
                      DONTFRAG=28)
    ipv6_options = dict(HOPS=4, V6ONLY=27, RECVTCLASS=35, TCLASS=36,
                        RECVHOPLIMIT=37, DONTFRAG=62)
    tcp_options = dict(NODELAY=1, MAXSEG=2, NOPUSH=4, NOOPT=8,
                       KEEPALIVE=0x10, CONNECTIONTIMEOUT=0x20,
                       CONNECTION_INFO=0x106)
    other_meaning = {(0, 11): "IP_MULTICAST_LOOP",
                     (0, 26): "IP_PKTINFO", (41, 31): "IPV6_FW_DEL",
                     (41, 39): "IPV6_RECVHOPOPTS"}
    ttl_item = ("B", 24)
    fd_limit = 250              # RLIMIT_NOFILE is 256
    low_ports = False           # since macOS 10.14
    datagram_icmp = True
    raw_length = "subtracted"
    header_order = "="
    ends_connect = {4: dict(time="EHOSTUNREACH", port="ECONNREFUSED",
                            prohibited="ECONNREFUSED"),
                    6: dict(time="EHOSTUNREACH", port="ECONNREFUSED")}
    udp_errors = {"port": "ECONNREFUSED", "prohibited": "ECONNREFUSED",
                  "host": "EHOSTUNREACH"}
    has_tclass = True           # Python before 3.8 does not name it
    dgram_options = ("HDRINCL", "TOS", "TTL", "RECVDSTADDR", "STRIPHDR",
                     "RECVTTL", "BOUND_IF", "DONTFRAG")

    def option_of(self, sock, level, option):
        name = Kernel.option_of(self, sock, level, option)
        if sock.icmp and not sock.raw and level == 0 and \
                name not in self.dgram_options:
            raise self.failure("EINVAL")    # icmp_dgram_ctloutput()
        return name

    def set_option(self, sock, name, value):
        if name == "HDRINCL" and sock.icmp:
            sock.options[name] = value
        else:
            Kernel.set_option(self, sock, name, value)

    def icmp_packet(self, sock, data, source, address):
        packet = Kernel.icmp_packet(self, sock, data, source, address)
        if not sock.raw:
            kind, code = packet.icmp
            if sock.version == 4 and (
                    kind not in (8, 13, 17) or code or
                    packet.source != source):
                raise self.failure("EINVAL")    # icmp_dgram_send()
            if sock.version == 6 and (kind, code) != (128, 0):
                raise self.failure("EPERM")
        return packet

    def raw_octets(self, sock, packet):
        octets = Kernel.raw_octets(self, sock, packet)
        if packet.version == 4 and sock.options.get("STRIPHDR"):
            return octets[20:]
        return octets

    def name_of_socket(self, sock):
        if sock.tcp and sock.state == "dead":
            raise self.failure("EINVAL")    # the inpcb is gone
        return Kernel.name_of_socket(self, sock)

    def socket_names(self):
        names = Kernel.socket_names(self)
        if not self.has_tclass:     # they are from RFC 3542
            for name in ("IPV6_TCLASS", "IPV6_RECVTCLASS",
                         "IPV6_RECVHOPLIMIT", "IPV6_HOPLIMIT",
                         "IPV6_DONTFRAG"):
                names.pop(name, None)
        return names


# A network extension (VPN, endpoint security) sees all first: field report
# in platforms.md.
MacOSWithFilter = row("macOS with a content filter", MacOS, send_delay=0.005)
MacOSLate = row("macOS, ICMP sockets last", MacOS, raw_delay=2e-4)
MacOSPython37 = row("macOS with Python 3.7", MacOS, has_tclass=False)
IOS = row("iOS", MacOS, platform="ios", python2=False)


class FreeBSD(Kernel):
    """sys/netinet/{tcp_subr,raw_ip,ip_input}.c and ip(4): from FreeBSD 11
    on raw sockets read ip_len and ip_off as they were sent."""

    name = "FreeBSD"
    platform = "freebsd13"
    sysname = "FreeBSD"
    ip_options = dict(HDRINCL=2, TOS=3, TTL=4, RECVDSTADDR=7, RECVIF=20,
                      RECVTTL=65, MINTTL=66, DONTFRAG=67, RECVTOS=68)
    ipv6_options = dict(HOPS=4, V6ONLY=27, RECVPKTINFO=36, RECVHOPLIMIT=37,
                        RECVTCLASS=57, TCLASS=61, DONTFRAG=62)
    other_meaning = {(0, 11): "IP_MULTICAST_LOOP",
                     (0, 24): "IP_BINDANY", (0, 26): "IP_RSS_LISTEN_BUCKET"}
    ends_connect = dict.fromkeys((4, 6), MacOS.ends_connect[4])
    udp_errors = {"port": "ECONNREFUSED", "prohibited": "ECONNREFUSED",
                  "host": "EHOSTUNREACH", "time": "EHOSTUNREACH"}
    local_refused_at_once = True


FreeBSDLate = row("FreeBSD, raw sockets last", FreeBSD, raw_delay=2e-4)
# ip(4): before FreeBSD 10 raw sockets read ip_len without the header, before
# 11 in host order.
OldFreeBSD = row("FreeBSD 9", FreeBSD, platform="freebsd9",
                 raw_length="subtracted", header_order="=")
# No ICMP error ends a connect() before its fourth SYN; a connected UDP
# socket hears of unreachable and prohibited alike, never of time exceeded:
# [notes] 8.2, platforms.md.
OpenBSD = row(
    "OpenBSD", Kernel, platform="openbsd7", sysname="OpenBSD", AF_INET6=24,
    raw_errno="EACCES", scm_timestamp=4, ttl_item=("B", 31),
    udp_errors={"port": "ECONNREFUSED", "prohibited": "EHOSTUNREACH",
                "host": "EHOSTUNREACH"},
    socket_options=dict(Kernel.socket_options, TIMESTAMP=0x800),
    ip_options=dict(HDRINCL=2, TOS=3, TTL=4, RECVDSTADDR=7, RECVIF=30,
                    RECVTTL=31, MINTTL=32),
    ipv6_options=FreeBSD.ipv6_options)
# As measured on NetBSD 7.99's own stack, [notes]: raw ICMP leaves with ttl
# 255, whatever getsockopt() says; IP_HDRINCL in host order.
NetBSD = row(
    "NetBSD", OpenBSD, platform="netbsd9", sysname="NetBSD",
    raw_errno="EPERM", scm_timestamp=8, ttl_item=("B", 23),
    raw_honours_ttl=False, raw_length="subtracted", header_order="=",
    socket_options=dict(Kernel.socket_options, TIMESTAMP=0x2000),
    ip_options=dict(HDRINCL=2, TOS=3, TTL=4, RECVDSTADDR=7, RECVIF=20,
                    RECVTTL=23, MINTTL=24, RECVPKTINFO=26),
    other_meaning={(0, 11): "IP_MULTICAST_LOOP", (0, 21): "IP_ERRORMTU",
                   (0, 26): "IP_RECVPKTINFO"})


# ---------------------------------------------------------------------------
# Solaris and AIX
# ---------------------------------------------------------------------------

class Solaris(Kernel):
    """illumos: sys/{errno,socket,socket_impl}.h, netinet/in.h; without
    PRIV_NET_ICMPACCESS EACCES (uts/common/os/policy.c).

    TCP takes no notice of a time-exceeded; port and protocol unreachable
    end a connect() (uts/common/inet/tcp/tcp_input.c).
    """

    name = "Solaris"
    platform = "sunos5"
    sysname = "SunOS"
    errnos = dict(
        BSD_ERRNO, EAGAIN=11, EWOULDBLOCK=11, ENOTSOCK=95, EDESTADDRREQ=96,
        EMSGSIZE=97, EPROTOTYPE=98, ENOPROTOOPT=99, EPROTONOSUPPORT=120,
        EOPNOTSUPP=122, EAFNOSUPPORT=124, EADDRINUSE=125,
        EADDRNOTAVAIL=126, ENETDOWN=127, ENETUNREACH=128, ENETRESET=129,
        ECONNABORTED=130, ECONNRESET=131, ENOBUFS=132, EISCONN=133,
        ENOTCONN=134, ETIMEDOUT=145, ECONNREFUSED=146, EHOSTDOWN=147,
        EHOSTUNREACH=148, EALREADY=149, EINPROGRESS=150)
    AF_INET6 = 26
    SOCK_STREAM, SOCK_DGRAM, SOCK_RAW = 2, 1, 4
    socket_options = dict(Kernel.socket_options, TIMESTAMP=0x1013)
    scm_timestamp = 0x1013
    ip_options = dict(HDRINCL=2, TOS=3, TTL=4, RECVDSTADDR=7, RECVIF=9,
                      RECVTTL=11)
    ipv6_options = dict(HOPS=5, V6ONLY=0x27, RECVHOPLIMIT=0x13,
                        RECVTCLASS=0x19, TCLASS=0x26, DONTFRAG=0x21)
    icmp6_options = dict(ICMP6_FILTER=1)
    other_meaning = {}
    ttl_item = ("B", 11)
    hoplimit_item = 0x0c
    raw_errno = "EACCES"
    ends_connect = dict.fromkeys((4, 6), {"port": "ECONNREFUSED"})


class AIX(Kernel):
    """[notes] 8.4: a 4.4BSD stack, big endian; raw ICMP ignores IP_TTL.
    Numbers: errno.h and sys/socket.h of AIX 7."""

    name = "AIX"
    platform = "aix7" if PY2 else "aix"
    sysname = "AIX"
    errnos = dict(
        BSD_ERRNO, EAGAIN=11, EWOULDBLOCK=11, EINPROGRESS=55, EALREADY=56,
        ENOTSOCK=57, EDESTADDRREQ=58, EMSGSIZE=59, EPROTOTYPE=60,
        ENOPROTOOPT=61, EPROTONOSUPPORT=62, EOPNOTSUPP=64, EAFNOSUPPORT=66,
        EADDRINUSE=67, EADDRNOTAVAIL=68, ENETDOWN=69, ENETUNREACH=70,
        ENETRESET=71, ECONNABORTED=72, ECONNRESET=73, ENOBUFS=74,
        EISCONN=75, ENOTCONN=76, ETIMEDOUT=78, ECONNREFUSED=79,
        EHOSTDOWN=80, EHOSTUNREACH=81)
    AF_INET6 = 24
    socket_options = dict((name, number) for name, number in
                          Kernel.socket_options.items()
                          if name != "TIMESTAMP")
    icmp6_options = {}
    raw_honours_ttl = False
    raw_length = "subtracted"
    header_order = "="
    little_endian = False


# ---------------------------------------------------------------------------
# Windows
# ---------------------------------------------------------------------------

WSA = dict(
    EINTR=10004, EBADF=10009, EACCES=10013, EFAULT=10014, EINVAL=10022,
    EMFILE=10024, EWOULDBLOCK=10035, EINPROGRESS=10036, EALREADY=10037,
    ENOTSOCK=10038, EDESTADDRREQ=10039, EMSGSIZE=10040, EPROTOTYPE=10041,
    ENOPROTOOPT=10042, EPROTONOSUPPORT=10043, ESOCKTNOSUPPORT=10044,
    EOPNOTSUPP=10045, EAFNOSUPPORT=10047, EADDRINUSE=10048,
    EADDRNOTAVAIL=10049, ENETDOWN=10050, ENETUNREACH=10051,
    ENETRESET=10052, ECONNABORTED=10053, ECONNRESET=10054, ENOBUFS=10055,
    EISCONN=10056, ENOTCONN=10057, ETIMEDOUT=10060, ECONNREFUSED=10061,
    EHOSTDOWN=10064, EHOSTUNREACH=10065)

# What FormatMessage() says, a little shorter.
WSA_TEXTS = {
    10013: "An attempt was made to access a socket in a way forbidden by "
           "its access permissions",
    10022: "An invalid argument was supplied",
    10035: "A non-blocking socket operation could not be completed "
           "immediately",
    10042: "An unknown, invalid, or unsupported option or level was "
           "specified in a getsockopt or setsockopt call",
    10051: "A socket operation was attempted to an unreachable network",
    10052: "The connection has been broken due to keep-alive activity "
           "detecting a failure while the operation was in progress",
    10054: "An existing connection was forcibly closed by the remote host",
    10060: "A connection attempt failed because the connected party did "
           "not properly respond after a period of time",
    10061: "No connection could be made because the target machine "
           "actively refused it",
    10065: "A socket operation was attempted to an unreachable host"}

# C's own numbers, as the module errno has them on Windows; those of sockets
# are Winsock's: Modules/errnomodule.c.
WINDOWS_ERRNO = dict(
    WSA, EPERM=1, ENOENT=2, EINTR=4, EIO=5, ENXIO=6, EBADF=9, EAGAIN=11,
    ENOMEM=12, EACCES=13, EFAULT=14, EEXIST=17, ENODEV=19, ENOTDIR=20,
    EINVAL=22, ENFILE=23, EMFILE=24, EPIPE=32)
WINDOWS_ERRNO.update(("WSA" + name if name[0] == "E" else "WSA" + name, number)
                     for name, number in WSA.items())

SIO_RCVALL = 0x98000001


class Winsock(Kernel):
    """The TCP of Windows, also beneath Cygwin.

    Options 18 and 19: learn.microsoft.com, ipproto-tcp-socket-options ("a
    connect API call will return upon reception of an ICMP error with value
    WSAEHOSTUNREACH") and WSAGetIcmpErrorInfo.  A SYN that is refused is
    sent four more times, 0.5 s after each reset, unless option 9 is set:
    platforms.md ("after 2.0 s").
    """

    AF_INET6 = 23
    default_ttl = 128
    low_ports = False
    ip_options = dict(HDRINCL=2, TOS=3, TTL=4, PKTINFO=19, RECVTTL=21)
    ipv6_options = dict(HOPS=4, DONTFRAG=14, PKTINFO=19, RECVHOPLIMIT=21,
                        V6ONLY=27, TCLASS=39, RECVTCLASS=40)
    icmp6_options = {}
    tcp_options = dict(NODELAY=1, KEEPALIVE=3, MAXSEG=4, NOSYNRETRIES=9,
                       TIMESTAMPS=10, FASTOPEN=15, KEEPCNT=16,
                       KEEPINTVL=17, FAIL_CONNECT=18, ICMP_ERROR_INFO=19)
    other_meaning = {(0, 11): "IP_MULTICAST_LOOP",
                     (0, 12): "IP_ADD_MEMBERSHIP",
                     (0, 8): "IP_DONTFRAGMENT, the old one",
                     (41, 26): "IPV6_CHECKSUM"}
    raw_errno = "EACCES"
    retransmits = (1.0, 3.0, 7.0)
    connect_seconds = 21.0

    def set_option(self, sock, name, value):
        if name in ("FAIL_CONNECT", "NOSYNRETRIES") and sock.state:
            raise self.failure("EINVAL")        # before connect() only
        Kernel.set_option(self, sock, name, value)

    def get_option(self, sock, name, size):
        if name != "ICMP_ERROR_INFO":
            return Kernel.get_option(self, sock, name, size)
        if size < 36:
            raise self.failure("EFAULT")
        return self.icmp_error_info(sock)[:size]

    def icmp_error_info(self, sock):
        """struct ICMP_ERROR_INFO: SOCKADDR_INET, protocol, type, code;
        nothing without an error."""
        if sock.icmp_error is None:
            return b""
        address, kind, code = sock.icmp_error
        packed = pack_address(address)
        if sock.version == 4:
            head = struct.pack("<HH", 2, 0) + packed
        else:
            head = struct.pack("<HHI", 23, 0, 0) + packed
        return head.ljust(28, b"\0") + struct.pack(
            "<IBBxx", 1 if sock.version == 4 else 58, kind, code)

    def arm(self, sock):
        if not sock.options.get("NOSYNRETRIES"):
            return Kernel.arm(self, sock)
        self.after(1.0, self.give_up, sock)

    def refuse(self, sock):
        sock.resets += 1
        if sock.resets == 5 or sock.options.get("NOSYNRETRIES"):
            self.drop(sock, "ECONNREFUSED")
        else:
            self.after(0.5, Kernel.retransmit, self, sock)

    def retransmit(self, sock):
        if not sock.resets:
            Kernel.retransmit(self, sock)

    def tcp_error(self, sock, packet, kind, code, rest):
        if sock.options.get("FAIL_CONNECT"):
            self.drop(sock, "EHOSTUNREACH")


class Windows(Winsock):
    """Windows 10 2004 or later, CPython 3: [notes] 8.5 and platforms.md.

    UDP: recvfrom's WSAECONNRESET and WSAENETRESET ("the time to live has
    expired").
    """

    name = "Windows 10"
    platform = "win32"
    windows = True
    errnos = WINDOWS_ERRNO
    SOL_IP = 65531              # CPython 3.9 on: of no use
    fd_limit = 4000
    select_limit = 512
    socket_options = dict(REUSEADDR=4, BROADCAST=0x20, LINGER=0x80,
                          SNDBUF=0x1001, RCVBUF=0x1002, ERROR=0x1007,
                          TYPE=0x1008, EXCLUSIVEADDRUSE=-5)
    ip_options = dict(HDRINCL=2, TOS=3, TTL=4, DONTFRAGMENT=14, PKTINFO=19,
                      RECVTTL=21, RECVTOS=40, MTU_DISCOVER=71, MTU=73,
                      RECVERR=75)
    ipv6_options = dict(HOPS=4, DONTFRAG=14, PKTINFO=19, RECVHOPLIMIT=21,
                        V6ONLY=27, TCLASS=39, RECVTCLASS=40,
                        MTU_DISCOVER=71, MTU=72, RECVERR=75)
    msg_dontwait = 0
    in_progress = "EWOULDBLOCK"
    failed_in = "x"
    has_poll = False
    os_missing = ("getuid", "geteuid", "getgid", "getegid", "setuid",
                  "seteuid", "setgid", "fork", "uname", "getpgid",
                  "getpgrp", "setsid", "getgroups", "getloadavg", "nice",
                  "pipe2", "mkfifo", "chown", "WEXITSTATUS", "wait",
                  "sysconf", "ctermid", "getsid", "ttyname")
    signals = dict(SIGINT=2, SIGILL=4, SIGFPE=8, SIGSEGV=11, SIGTERM=15,
                   SIGBREAK=21, SIGABRT=22)
    missing_modules = ("fcntl", "pwd", "grp", "resource", "termios",
                       "androidhelper", "android")
    # How Defender Firewall takes ICMP for raw sockets, [notes] 8.5:
    # "on" lets echo replies in, "rule" everything.  Nobody knows yet what
    # SIO_RCVALL hears of what it drops.
    firewall = "rule"
    rcvall_hears_dropped = False
    rcvall_allowed = True
    tos_allowed = True
    icmp_api = True
    identifier = 1              # of the ICMP API's own requests

    # Errors

    def number(self, name):
        return WSA.get(name) or self.errnos[name]

    def name_of(self, number):
        for name in sorted(WSA):
            if WSA[name] == number:
                return name
        return Kernel.name_of(self, number)

    def strerror(self, number):
        """The C library knows nothing of Winsock's numbers."""
        if number >= 1000:
            return "Unknown error"
        return Kernel.strerror(self, number)

    def failure(self, name):
        number = self.number(name)
        text = WSA_TEXTS.get(number, "Winsock error %d" % number)
        # PC/errmap.h: these few become C's own numbers.
        seen = number - 10000 if number in (
            10004, 10009, 10013, 10014, 10022, 10024) else number
        error = self.make_error(name, number if PY2 else seen, text)
        if not PY2:
            error.winerror = number
        return error

    # Sockets

    def socket_class(self):
        return type("socket", (WindowsSocket,), {"kernel": self})

    def new_number(self):
        number = Kernel.new_number(self)
        return next(n for n in itertools.count(400, 4)
                    if n not in self.sockets) if number else number

    def option_of(self, sock, level, option):
        if level not in (0, 6, 41, 58, 0xffff):
            raise self.failure("EINVAL")        # SOL_IP: platforms.md
        return Kernel.option_of(self, sock, level, option)

    def set_option(self, sock, name, value):
        if name == "LINGER" and len(value) == 4:
            value = struct.pack("ii", *struct.unpack("HH", value))
        if name in ("TOS", "TCLASS") and not self.tos_allowed:
            raise self.failure("EINVAL")        # a policy may forbid it
        Winsock.set_option(self, sock, name, value)

    def name_of_socket(self, sock):
        if not sock.bound:
            raise self.failure("EINVAL")
        return Kernel.name_of_socket(self, sock)

    def receive(self, sock, size, control, flags):
        if not sock.tcp and not sock.bound and not sock.sent_count:
            raise self.failure("EINVAL")
        return Kernel.receive(self, sock, size, control, flags)

    def send(self, sock, data, address, port):
        sock.bound = True
        return Kernel.send(self, sock, data, address, port)

    def raise_pending(self, sock):
        """An error of UDP is told by recvfrom(), not by sendto()."""
        if sock.error and not sock.udp:
            Kernel.raise_pending(self, sock)

    def check_select(self, lists):
        if not sum(lists, []):
            raise self.failure("EINVAL")
        if max(map(len, lists)) > self.select_limit:
            raise ValueError("too many file descriptors in select()")

    def bad_select(self):
        return self.failure("ENOTSOCK")

    def udp_error(self, sock, packet, kind, code, rest, target):
        name = {"port": "ECONNRESET", "time": "ENETRESET"}.get(
            self.reason(sock.version, kind, code))
        if name and target in sock.sent_to:
            sock.inbox.append((None, None, {"error": name}))

    def given_packet(self, data, source):
        raise self.failure("EACCES")    # not used; see learn.microsoft.com

    # Raw sockets

    def ioctl(self, sock, code, value):
        if code != SIO_RCVALL:
            raise self.failure("EOPNOTSUPP")
        # Of protocol IPPROTO_IP or IPPROTO_IPV6, bound to an interface's
        # own address
        if not sock.raw or sock.proto != {4: 0, 6: 41}[sock.version] or \
                not sock.address:
            raise self.failure("EINVAL")
        if not self.rcvall_allowed:
            raise self.failure("EOPNOTSUPP")
        if value == 1:
            self.violations.append("RCVALL_ON makes the card promiscuous")
        sock.rcvall = int(value)
        self.rcvall_set.append((sock.version, sock.rcvall))

    def close(self, sock):
        if sock.rcvall:
            self.violations.append("SIO_RCVALL was left on")
        Kernel.close(self, sock)

    def raw_wants(self, sock, packet):
        if sock.raw and sock.proto in (0, 41):
            return sock.version == packet.version and bool(
                sock.rcvall) and (self.rcvall_hears_dropped or
                                  packet.protocol != ICMP[packet.version] or
                                  self.firewall_passes(packet))
        return bool(sock.bound or sock.sent_count) and \
            Kernel.raw_wants(self, sock, packet) and \
            self.firewall_passes(packet)

    def firewall_passes(self, packet):
        return self.firewall == "rule" or packet.icmp == (
            ECHO[packet.version][1], 0)

    def output(self, packet):
        """With SIO_RCVALL on, what leaves is heard as well."""
        for sock in self.sockets.values():
            if sock.rcvall and sock.version == packet.version and \
                    packet.destination not in self.own_addresses:
                sock.inbox.append((
                    self.raw_octets(sock, packet), self.sockaddr(packet.source, 0),
                    {"ttl": packet.ttl, "time": self.now}))
        Kernel.output(self, packet)

    # Modules

    def socket_names(self):
        names = Kernel.socket_names(self)
        for name in ("MSG_DONTWAIT", "AF_UNIX"):
            del names[name]
        names.update(
            SO_EXCLUSIVEADDRUSE=-5, SIO_RCVALL=SIO_RCVALL,
            SIO_KEEPALIVE_VALS=0x98000004, RCVALL_OFF=0, RCVALL_ON=1,
            RCVALL_SOCKETLEVELONLY=2, RCVALL_IPLEVEL=3, RCVALL_MAX=3,
            MSG_ERRQUEUE=4096, EAI_NONAME=11001, EAI_AGAIN=11002,
            EAI_FAMILY=10047, IP_DONTFRAGMENT=14, IPV6_DONTFRAG=14,
            errorTab=dict(WSA_TEXTS), IP_PKTINFO=19)
        return names

    def time_names(self):
        names = Kernel.time_names(self)
        if self.python2:        # on Windows clock() is the time of day's
            start = self.now
            names["clock"] = lambda: self.now - start
        return names

    def os_names(self):
        names = Kernel.os_names(self)
        names.update(name="nt", environ={"SystemRoot": "C:\\Windows",
                                         "PATH": "C:\\Windows\\system32"})
        return names

    def sys_names(self):
        names = Kernel.sys_names(self)
        names["getwindowsversion"] = lambda: self.version
        return names

    def __init__(self, network=None, privileged=False):
        Winsock.__init__(self, network, privileged)
        self.rcvall_set = []        # (family, value)

    version = (10, 0, 19045, 2, "")

    def ctypes_names(self):
        names = Kernel.ctypes_names(self)
        del names["CDLL"]
        dlls = WindowsLibraries(self)
        short = dict(c_long=ctypes.c_int32, c_ulong=ctypes.c_uint32)
        names.update(short)
        wintypes = types.ModuleType("wintypes")
        vars(wintypes).update(
            BYTE=ctypes.c_byte, WORD=ctypes.c_uint16, DWORD=ctypes.c_uint32,
            ULONG=ctypes.c_uint32, BOOL=ctypes.c_int32,
            HANDLE=ctypes.c_void_p, LPVOID=ctypes.c_void_p,
            USHORT=ctypes.c_uint16)
        names.update(
            wintypes=wintypes, WINFUNCTYPE=ctypes.CFUNCTYPE,
            WinDLL=dlls.load, CDLL=dlls.load, OleDLL=dlls.load,
            windll=dlls, cdll=dlls, FormatError=self.format_error,
            GetLastError=lambda: self.last_error,
            get_last_error=lambda: self.last_error,
            set_last_error=lambda value: None,
            WinError=lambda code=None, text=None: OSError(
                code or self.last_error, "WinError"))
        return names

    last_error = 0

    @staticmethod
    def format_error(code=0):
        return WSA_TEXTS.get(code, "Unknown error")


class Function(object):
    """A function of a DLL: restype and argtypes can be set."""

    def __init__(self, function):
        self.function = function
        self.restype = ctypes.c_int
        self.argtypes = None
        self.errcheck = None

    def __call__(self, *args):
        if self.argtypes is not None and len(args) != len(self.argtypes):
            raise TypeError("this function takes %d arguments (%d given)" %
                            (len(self.argtypes), len(args)))
        return self.function(*map(plain, args))


def plain(value):
    """Return an argument of a foreign function as a number (an address,
    for what is in memory) or as octets."""
    if hasattr(value, "_obj"):                  # byref()
        return ctypes.addressof(value._obj)
    if isinstance(value, (ctypes.Structure, ctypes.Array)):
        return ctypes.addressof(value)
    if hasattr(value, "contents"):              # a pointer
        return ctypes.addressof(value.contents) if value else 0
    if hasattr(value, "value"):
        value = value.value
    if value is None:
        return 0
    return value


def memory(value, size):
    """Return octets that an argument points at."""
    if isinstance(value, (bytes, bytearray)):
        return bytes(value[:size])
    return ctypes.string_at(value, size) if size else b""


class WindowsLibraries(object):
    """ctypes.WinDLL and ctypes.windll."""

    def __init__(self, kernel):
        self.kernel = kernel
        self.loaded = {}

    def load(self, name, mode=0, handle=None, use_errno=False,
             use_last_error=False, winmode=None):
        lower = name.lower().replace("/", "\\")
        short = lower.rpartition("\\")[2]
        short = short[:-4] if short.endswith(".dll") else short
        if short not in ("iphlpapi", "kernel32", "ws2_32", "shell32") or (
                short == "iphlpapi" and not self.kernel.icmp_api):
            raise OSError("[WinError 126] The specified module could not "
                          "be found")
        # Else a file of that name beside the script could be taken.
        if not (lower.startswith("c:\\windows\\system32\\") or
                winmode == 0x800 or short == "kernel32"):
            self.kernel.violations.append(
                "%s is not loaded from System32 only" % name)
        if short not in self.loaded:
            self.loaded[short] = Library(self.kernel, short)
        return self.loaded[short]

    LoadLibrary = load

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self.load(name)


class Library(object):
    """iphlpapi.dll: learn.microsoft.com, icmpapi.h."""

    names = {"iphlpapi": ("IcmpCreateFile", "Icmp6CreateFile",
                          "IcmpCloseHandle", "IcmpSendEcho2Ex",
                          "Icmp6SendEcho2"),
             "kernel32": ("GetLastError",), "ws2_32": (),
             "shell32": ("IsUserAnAdmin",)}

    def __init__(self, kernel, name):
        self.kernel = kernel
        for function in self.names[name]:
            setattr(self, function, Function(getattr(self, "_" + function)))

    def _GetLastError(self):
        return self.kernel.last_error

    def _IsUserAnAdmin(self):
        return int(self.kernel.privileged)

    def open_handle(self, version):
        handle = 0x100000000 // 2 + 4 * len(self.kernel.opened)
        self.kernel.opened.append(None)
        self.kernel.handles[handle] = version
        return handle

    def _IcmpCreateFile(self):
        return self.open_handle(4)

    def _Icmp6CreateFile(self):
        return self.open_handle(6)

    def _IcmpCloseHandle(self, handle):
        if self.kernel.handles.pop(handle, None) is None:
            self.kernel.violations.append("IcmpCloseHandle of no handle")
            return 0
        return 1

    def fail(self, number):
        self.kernel.last_error = number
        return 0

    def _IcmpSendEcho2Ex(self, handle, event, apc, context, source, target,
                         data, size, options, reply, room, timeout):
        target = unpack_address(struct.pack("<I", target & 0xffffffff))
        word = ctypes.sizeof(ctypes.c_void_p)
        head = 40 if word == 8 else 28
        if self.kernel.handles.get(handle) != 4:
            return self.fail(6)         # ERROR_INVALID_HANDLE
        if not timeout or room < head + size + 8:
            return self.fail(87)        # ERROR_INVALID_PARAMETER
        status, responder, rtt, echoed = self.echo(
            4, target, memory(data, size), options, timeout)
        if responder is None:
            return self.fail(status)
        at = reply + head
        octets = pack_address(responder) + struct.pack(
            "<IIHH", status, int(rtt * 1000), len(echoed), 0)
        octets += struct.pack("<Q" if word == 8 else "<I", at)
        octets += struct.pack("<BBBB", 60, 0, 0, 0)
        octets = octets.ljust(head, b"\0") + echoed
        ctypes.memmove(reply, octets, len(octets))
        return 1

    def _Icmp6SendEcho2(self, handle, event, apc, context, source, target,
                        data, size, options, reply, room, timeout):
        if self.kernel.handles.get(handle) != 6:
            return self.fail(6)
        if not source or not target:
            return self.fail(87)
        source, target = memory(source, 28), memory(target, 28)
        families = struct.unpack_from("<H", source)[0], \
            struct.unpack_from("<H", target)[0]
        if families != (23, 23) or not timeout or room < 36 + size + 8:
            return self.fail(87)
        status, responder, rtt, echoed = self.echo(
            6, unpack_address(target[8:24]), memory(data, size), options,
            timeout)
        if responder is None:
            return self.fail(status)
        octets = b"\0" * 6 + pack_address(responder) + b"\0" * 4
        octets = octets.ljust(28, b"\0")   # always: platforms.md
        octets += struct.pack("<II", status, int(rtt * 1000)) + echoed
        ctypes.memmove(reply, octets, len(octets))
        return 1

    # Status by ICMP type and code: ipexport.h
    STATUS = {4: {(0, 0): 0, (3, 0): 11002, (3, 1): 11003, (3, 2): 11004,
                  (3, 3): 11005, (3, 13): 11003, (11, 0): 11013},
              6: {(129, 0): 0, (1, 0): 11002, (1, 1): 11004,
                  (1, 3): 11003, (1, 4): 11005, (3, 0): 11013}}

    def echo(self, version, target, data, options, timeout):
        """Send an echo request and wait; return (status, responder, rtt,
        data)."""
        kernel = self.kernel
        ttl, tos = 128, 0
        if options:
            ttl, tos = bytearray(memory(options, 2))
        if target not in HOST.values() and \
                target not in kernel.own_addresses:
            return 11003, None, 0, b""
        kernel.echo_seq = getattr(kernel, "echo_seq", 0) + 1
        source = OWN[version]
        packet = Packet(source, target, ICMP[version], encode_icmp(
            source, target, ECHO[version][0], 0,
            kernel.identifier << 16 | kernel.echo_seq, data), ttl, tos)
        answers = kernel.network.carry(packet, kernel.now)
        for delay, answer in sorted(answers, key=lambda each: each[0]):
            if answer.protocol != ICMP[version]:
                continue
            if answer.icmp not in self.STATUS[version] or \
                    not self.is_answer(packet, answer):
                continue
            if delay > timeout / 1000.0:
                break
            kernel.sleep(delay)
            status = self.STATUS[version][answer.icmp]
            return status, answer.source, delay, \
                data if status == 0 else b""
        kernel.sleep(timeout / 1000.0)
        return 11010, None, 0, b""      # IP_REQ_TIMED_OUT

    @staticmethod
    def is_answer(packet, answer):
        if answer.icmp[0] == ECHO[packet.version][1]:
            return answer.ports == packet.ports
        place = 8 + (20 if packet.version == 4 else 40)
        return answer.body[place + 4:place + 8] == packet.body[4:8] and \
            answer.body[place - 4 if packet.version == 4 else
                        place - 16:place] == pack_address(
                            packet.destination)


# Without options 18 and 19: WSAENOPROTOOPT.
Windows7 = row("Windows 7", Windows,
               version=(6, 1, 7601, 2, "Service Pack 1"),
               tcp_options=without(Windows.tcp_options, "FASTOPEN", "KEEPCNT",
                                   "KEEPINTVL", "FAIL_CONNECT",
                                   "ICMP_ERROR_INFO"))


class WindowsPython2(Windows):
    """What Python 2.7 lacks there: platforms.md."""

    name = "Windows 10 with Python 2.7"
    python2 = True
    SOL_IP = 0

    def socket_names(self):
        names = Windows.socket_names(self)
        for name in ("inet_pton", "inet_ntop", "IPPROTO_IPV6",
                     "IPPROTO_ICMPV6", "socketpair", "MSG_ERRQUEUE",
                     "IP_DONTFRAGMENT", "IPV6_DONTFRAG", "IP_PKTINFO",
                     "IPV6_TCLASS", "IPV6_RECVTCLASS"):
            names.pop(name, None)
        return names


class Cygwin(Winsock):
    """Winsock under a POSIX coat, which passes TCP options that it does not
    know on (socket_inet.cc); raw sockets for administrators; newlib's
    errno.h.  No ctypes.WinDLL."""

    name = "Cygwin"
    platform = "cygwin"
    sysname = "CYGWIN_NT-10.0-19045"
    errnos = dict(
        BSD_ERRNO, EAGAIN=11, EWOULDBLOCK=11, EOPNOTSUPP=95,
        ECONNRESET=104, ENOBUFS=105, EAFNOSUPPORT=106, EPROTOTYPE=107,
        ENOTSOCK=108, ENOPROTOOPT=109, ECONNREFUSED=111, EADDRINUSE=112,
        ECONNABORTED=113, ENETUNREACH=114, ENETDOWN=115, ETIMEDOUT=116,
        EHOSTDOWN=117, EHOSTUNREACH=118, EINPROGRESS=119, EALREADY=120,
        EDESTADDRREQ=121, EMSGSIZE=122, EPROTONOSUPPORT=123, ENETRESET=126,
        EISCONN=127, ENOTCONN=128, EADDRNOTAVAIL=125)
    socket_options = Windows.socket_options
    hoplimit_item = 21
    ttl_item = ("i", 21)


class Pyodide(Kernel):
    """No sockets and no threads at all."""

    name = "Pyodide"
    platform = "emscripten"
    errnos = Linux.errnos
    AF_INET6 = 10

    def may_open(self, family, kind, proto):
        raise self.failure("EPERM" if kind == self.SOCK_RAW else
                           "EAFNOSUPPORT")

    def may_start_thread(self):
        raise RuntimeError("can't start new thread")


# ---------------------------------------------------------------------------
# The program inside of a kernel
# ---------------------------------------------------------------------------

COMPILED = {}


def compiled(path=SOURCE):
    if path not in COMPILED:
        with open(path, "rb") as source:
            COMPILED[path] = compile(source.read(), path, "exec")
    return COMPILED[path]


class CachedCollections(object):
    """namedtuple() makes each class once: that is half of the loading."""

    deque = collections.deque
    made = {}

    @classmethod
    def namedtuple(cls, *words):
        if words not in cls.made:
            cls.made[words] = collections.namedtuple(*words)
        return cls.made[words]


def import_for(name, importer=None, *args, **kwargs):
    """Import as the module that imports has it: Python 2.7 shows a module
    with builtins of its own no attribute of a function."""
    chosen = (importer or {}).get("import_module", REAL_IMPORT)
    return chosen(name, importer, *args, **kwargs)


REAL_IMPORT = builtins.__import__
if PY2:
    builtins.__import__ = import_for


def load(kernel, path=SOURCE):
    """Return a copy of potraceroute.py that runs on a simulated system."""
    import __main__
    modules = kernel.modules()
    modules["collections"] = CachedCollections

    def import_module(name, *args, **kwargs):
        top = name.partition(".")[0]
        if top in modules:
            if modules[top] is None:
                raise ImportError("No module named %s" % name)
            _, _, rest = name.partition(".")
            if rest and not hasattr(modules[top], rest):
                raise ImportError("No module named %s" % name)
            return modules[top]
        if top in ("subprocess", "asyncio", "multiprocessing", "selectors",
                   "platform", "fcntl", "resource", "pwd", "queue"):
            raise AssertionError("%s is not simulated" % name)
        return REAL_IMPORT(name, *args, **kwargs)
    module = types.ModuleType("potraceroute_on_" + re.sub(
        r"\W+", "_", kernel.name))
    assert module.__name__ != __main__.__name__
    module.__file__ = path
    module.open, module.import_module = kernel.open_file, import_module
    if not PY2:
        module.__builtins__ = dict(vars(builtins), __import__=import_module)
    exec(compiled(path), vars(module))
    module.kernel = kernel
    return module
