#!/usr/bin/env python
"""potraceroute: which hop blocks the connection?

A traceroute for the host where nothing can be installed: one file, the
standard library, Python 2.7 or 3, and no root where the system allows it.

    $ python3 potraceroute.py mail.example.com -p 25
    TCP traceroute to mail.example.com [192.0.2.25] port 25
    1       gw.example.net (198.51.100.1)  ICMP 11/0  0.412 ms
    2       *       timed out
    3       203.0.113.9 (203.0.113.9)  ICMP 11/0  3.870 ms
    4       TCP port 25 connection successful. [Reached Destination]  9.204 ms
    Successfully reached destination
    TCP port 25 is open: 192.0.2.25 accepted the connection, 4 hops away

"*" is a hop that said nothing, as many routers do; the last line is the
verdict.  The system's own sockets send every probe, with a small ttl, so a
firewall sees what it would see of the real client.  The router where a probe
expires quotes it in an ICMP error; which mechanism shows us that depends on
the system.  A probe is told by what is quoted: a source port or an ICMP id
of its own, and a nonce.

One more probe has the system's own ttl: it says in one round trip what
becomes of the port, and is the only real connection a service sees.  When the
port is not reached, the path is traced by other means as well: the first hop
that answers only those lies behind the filter.  When it is accepted or
refused, one of them with the same ttl must get to the host too, or a device
on the way did it.

Sections, each built on those above it:

  bytes     1 Imports  2 Vocabulary  3 Errors and words  4 Wire formats
            5 Replies  6 Hops
  probing   7 Mechanisms  8 Payloads  9 Probe methods  10 Series  11 Engine
  meaning  12 Facts  13 Questions  14 Inside the session  15 Path MTU
           16 Judging  17 Findings
  words    18 Words  19 Names and lines
  use      20 Traceroute  21 Report  22 Doctor  23 Pasting
           24 Options and command line  25 Dialogs

Add a UDP service to PAYLOADS; a verdict to RULES and SENTENCES, its reasons to
CLAUSES; a finding to CHECKS and FINDINGS; an option to OPTION_GROUPS; a system
to SYSTEMS, with what it does differently as a Mechanism or RawSocket.
check_answer() finds out whether an answer is forged.

Limits: what a service does with a request is told hop by hop on Linux only,
and so are path MTUs; on other systems a TCP trace opens some four more
connections.  README.md says which systems have been seen to work.
"""

from __future__ import division, print_function

# ---------------------------------------------------------------------------
# 1 Imports and the 2/3 seam
# ---------------------------------------------------------------------------

if __name__ == "__main__":
    # Ctrl-C before main() is ready ends us without a traceback.
    import signal
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    import atexit
    end_reached = False

    @atexit.register
    def check_end():
        """Say so if this file was cut off where the rest is valid Python:
        nothing would be printed then, and the exit status be 0."""
        import os
        import sys
        if not end_reached:
            sys.stderr.write("potraceroute: error: this file was cut off: "
                             "copy it again\n")
            sys.stderr.flush()
            os._exit(2)

import errno
import itertools
import math
import os
import select
import socket
import struct
import sys
import time
from binascii import hexlify, unhexlify
from collections import namedtuple

__version__ = "0.7.0"
__author__ = "the potraceroute developers"
__license__ = "MIT"
__all__ = ["Traceroute", "Trace", "Hop", "trace", "parse_options", "main",
           "Error", "OptionError", "PortError", "RunError"]

try:
    text_type = unicode
except NameError:
    text_type = str

LINUX = sys.platform.startswith(("linux", "android"))
WINDOWS = sys.platform == "win32"


def find_call(name):
    """Return a function of Linux's C library, for Python 2.7, or None."""
    if not LINUX:
        return None
    try:
        import ctypes
        return getattr(ctypes.CDLL(None, use_errno=True), name)
    except (ImportError, OSError, AttributeError):
        return None


def find_clock():
    """Return a function that tells seconds and never jumps."""
    # Windows' monotonic() moves in steps of 16 ms before Python 3.13.
    name = "perf_counter" if WINDOWS else "monotonic"
    if hasattr(time, name):
        return getattr(time, name)
    if WINDOWS:                         # Python 2.7, as all that follows
        return time.clock
    return find_libc_clock() or (lambda: os.times()[4])


def find_libc_clock():
    """Return Linux's clock_gettime(CLOCK_MONOTONIC) in seconds, or None."""
    call = find_call("clock_gettime")
    if call is None:
        return None
    import ctypes
    stamp = (ctypes.c_long * 2)()       # struct timespec

    def clock():
        call(1, stamp)
        return stamp[0] + stamp[1] * 1e-9

    return clock if call(1, stamp) == 0 else None


monotonic = find_clock()


def find_recvmsg():
    """Return Linux's recvmsg(2) as socket.recvmsg() of Python 3, or None."""
    call = find_call("recvmsg")
    if call is None:
        return None
    from ctypes import addressof, byref, create_string_buffer, get_errno
    # struct msghdr and struct iovec with their natural alignment; lengths
    # are of the size of a pointer.
    form, vector_form = struct.Struct("@PIPLPLi0L"), struct.Struct("@PL")

    def receive(sock, size, control_size, flags=0):
        data, name, control = [create_string_buffer(length)
                               for length in (size, 128, control_size)]
        vector = create_string_buffer(vector_form.pack(addressof(data), size))
        header = create_string_buffer(form.pack(
            addressof(name), 128, addressof(vector), 1, addressof(control),
            control_size, 0))
        length = call(sock.fileno(), byref(header), flags)
        if length < 0:
            raise socket.error(get_errno(), os.strerror(get_errno()))
        _, name_size, _, _, _, used, told = form.unpack_from(header.raw)
        return (data.raw[:length], split_control(control.raw[:used]), told,
                decode_name(name.raw[:name_size]))

    return receive


def split_control(control):
    """Return the (level, type, value) in a buffer of cmsg(3)."""
    items = []
    word, head = struct.calcsize("@L"), struct.calcsize("@Lii")
    while len(control) >= head:
        size, level, kind = struct.unpack_from("@Lii", control)
        if size < head:
            break
        items.append((level, kind, control[head:size]))
        control = control[(size + word - 1) // word * word:]
    return items


def decode_name(data):
    """Return the (address, port) in a struct sockaddr, None if empty."""
    if len(data) < 8:
        return None
    return decode_sockaddr(data) or "", struct.unpack_from("!H", data, 2)[0]


# (socket, size, control size, flags=0): (data, control, flags, sender);
# None where control messages cannot be received.
recvmsg = getattr(socket.socket, "recvmsg", None) or find_recvmsg()


# ---------------------------------------------------------------------------
# 2 Vocabulary
# ---------------------------------------------------------------------------

Outcome = namedtuple("Outcome", "reached final line")

# The outcome of a probe: did it reach the destination, does it end a trace,
# and what is the hop's line?
OUTCOMES = {
    "time-exceeded": Outcome(False, False, "{host}  ICMP {icmp}"),
    "echo-reply": Outcome(True, True,
                          "{host} ICMP echo reply [Reached Destination]"),
    "open": Outcome(True, True, "{port} connection successful{data}"),
    "data": Outcome(True, True, "{port} responded{data}"),
    "refused": Outcome(True, True,
                       "{port} connection refused [Reached Destination]"),
    "reset": Outcome(False, True,
                     "{port} connection reset by a device on the way"),
    "intercepted": Outcome(False, True,
                           "{port} {feigned} by a device on the way{data}"),
    "port-unreachable": Outcome(True, True, "{host}  ICMP {icmp} "
                                            "[Reached Destination]"),
    "unreachable": Outcome(False, True, "{host}  ICMP {icmp}"),
    "prohibited": Outcome(False, True, "{host}  ICMP {icmp}"),
    "timeout": Outcome(False, False, "*\ttimed out"),
    "send-failed": Outcome(False, False, "*\tnot sent: {error}"),
}

# The verdict of a trace that reached the destination, from its outcome.
REACHED_VERDICTS = {"open": "open", "data": "answered",
                    "echo-reply": "answered", "refused": "refused",
                    "port-unreachable": "refused"}

# ICMP type/code to outcome and meaning (RFC 792, RFC 1812 5.2.7.1).
ICMP4 = {
    (0, 0): ("echo-reply", "echo reply"),
    (3, 0): ("unreachable", "network unreachable"),
    (3, 1): ("unreachable", "host unreachable"),
    (3, 2): ("protocol-unreachable", "protocol unreachable"),
    (3, 3): ("port-unreachable", "port unreachable"),
    (3, 4): ("unreachable", "fragmentation needed"),
    (3, 5): ("unreachable", "source route failed"),
    (3, 6): ("unreachable", "destination network unknown"),
    (3, 7): ("unreachable", "destination host unknown"),
    (3, 8): ("unreachable", "source host isolated"),
    (3, 9): ("prohibited", "network administratively prohibited"),
    (3, 10): ("prohibited", "host administratively prohibited"),
    (3, 11): ("unreachable", "network unreachable for this TOS"),
    (3, 12): ("unreachable", "host unreachable for this TOS"),
    (3, 13): ("prohibited", "communication administratively prohibited"),
    (3, 14): ("prohibited", "host precedence violation"),
    (3, 15): ("prohibited", "precedence cutoff in effect"),
    (11, 0): ("time-exceeded", "time exceeded in transit"),
    (11, 1): ("unreachable", "fragment reassembly time exceeded"),
    (12, 0): ("unreachable", "parameter problem"),
}

# The same for ICMPv6 (RFC 4443 3).
ICMP6 = {
    (129, 0): ("echo-reply", "echo reply"),
    (1, 0): ("unreachable", "no route to destination"),
    (1, 1): ("prohibited", "communication administratively prohibited"),
    (1, 2): ("unreachable", "beyond scope of source address"),
    (1, 3): ("unreachable", "address unreachable"),
    (1, 4): ("port-unreachable", "port unreachable"),
    (1, 5): ("prohibited", "source address failed policy"),
    (1, 6): ("prohibited", "reject route to destination"),
    (2, 0): ("unreachable", "packet too big"),
    (3, 0): ("time-exceeded", "hop limit exceeded in transit"),
    (3, 1): ("unreachable", "fragment reassembly time exceeded"),
    (4, 0): ("unreachable", "erroneous header field"),
    (4, 1): ("protocol-unreachable", "unrecognized next header"),
    (4, 2): ("unreachable", "unrecognized IPv6 option"),
}

# IPV6_TCLASS, where Python does not know it
TCLASS = 39 if WINDOWS else 61
if LINUX:
    TCLASS = 67
elif sys.platform in ("darwin", "ios"):
    TCLASS = 36

# What differs between the two families, so that no code asks for it.
Family = namedtuple("Family", "version af level ttl tos icmp echo reply "
                              "errors codes")
FAMILIES = {
    4: Family(4, socket.AF_INET, 0,
              getattr(socket, "IP_TTL", 4), getattr(socket, "IP_TOS", 3),
              1, 8, 0, (3, 11, 12), ICMP4),
    6: Family(6, socket.AF_INET6, 41,
              getattr(socket, "IPV6_UNICAST_HOPS", 4),
              getattr(socket, "IPV6_TCLASS", TCLASS),
              58, 128, 129, (1, 2, 3, 4), ICMP6),
}

TCP_DEFER_ACCEPT = 9            # Linux, seconds: tcp(7)
TCP_INFO = 11
TCP_TIMESTAMP = 24              # the clock behind TSval, in ms
IPV6_AUTOFLOWLABEL = 70
# Level and number of IP_MINTTL and IPV6_MINHOPCOUNT (RFC 5082).
LEAST_TTL = {4: (0, 21), 6: (41, 73)}
DEFAULT_TTL = 64
# Windows' SO_REUSEADDR shares a port with whoever has it.
REUSE = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
# Of SO_LINGER: close by a reset.  Windows has two shorts.
LINGER = struct.pack("hh" if WINDOWS else "ii", 1, 0)
DATA_LIMIT = 512                # bytes of a banner that are kept
DATA_SHOWN = 120                # bytes of a banner that are printed
BUFFER = 65535                  # Windows loses what is longer
MOST_PORTS = 1024
TOO_BIG = {4: (3, 4), 6: (2, 0)}    # ICMP type, code
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
NOTHING_YET = errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR
UNDER_WAY = 0, errno.EINPROGRESS, errno.EWOULDBLOCK     # of connect()
# Send errors that pass: of resources, not of the path.
TRANSIENT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,
             errno.EAGAIN, 10024)       # Python 2.7 on Windows: EMFILE


# ---------------------------------------------------------------------------
# 3 Errors and words
# ---------------------------------------------------------------------------

class Error(Exception):
    """Base class of all errors this module raises on purpose."""


class OptionError(Error, ValueError):
    """An option has a bad value, or does not go with another."""


class PortError(OptionError, OSError):
    """No such port number, or no such service name."""


class RunError(Error, OSError):
    """The trace cannot run: no such host, address or privilege."""


class PrivilegeError(RunError):
    """This user is not permitted what the trace needs."""


def format_errno(number):
    """Return the system's words for an errno; words as they are."""
    if isinstance(number, str):
        return number
    if not number:
        return "unknown error"
    known = getattr(socket, "errorTab", {})     # Windows' own
    return known.get(number) or os.strerror(number) or "unknown error"


def format_text(text):
    """Return any text or bytes as printable ASCII on one line."""
    if not isinstance(text, text_type):
        text = text.decode("latin-1")
    return "".join(c if " " <= c <= "~" else
                   c.encode("unicode_escape").decode("ascii") for c in text)


def format_hex(data):
    return hexlify(data).decode("ascii")


def format_value(value):
    """Return a user's value as printable ASCII, the same on every Python."""
    if isinstance(value, float):
        return "%g" % value
    if not isinstance(value, (bytes, text_type)):
        value = str(value)
    return format_text(value)


def quote(value):
    """Return a user's value for a message; texts stand in quotes."""
    if isinstance(value, (bytes, text_type)):
        return "'%s'" % format_text(value)
    return format_value(value)


def format_ms(seconds):
    """Return seconds as a number of milliseconds, None as None."""
    return None if seconds is None else round(seconds * 1e3, 3)


def noun_for(count, noun):
    """Return a noun in the singular or the plural."""
    return noun if count == 1 else noun + "s"


def verb_for(count, verb):
    """Return what so many do: it refuses, they refuse."""
    return verb + "s" if count == 1 else verb


def plural(count, noun):
    """Return a count with its noun: 1 hop, 2 hops."""
    return "%d %s" % (count, noun_for(count, noun))


# ---------------------------------------------------------------------------
# 4 Wire formats
# ---------------------------------------------------------------------------

# Our own packet as copied inside an ICMP error; None is what is not known.
Quoted = namedtuple("Quoted", "protocol source destination source_port "
                              "dest_port ident seq ttl tos tsval payload")
Quoted.__new__.__defaults__ = (None,) * len(Quoted._fields)
NOTHING_QUOTED = Quoted()

Label = namedtuple("Label", "label exp ttl")    # RFC 4950

SYN, RST, ACK = 0x02, 0x04, 0x10        # flags of a TCP header (RFC 9293)


def checksum(data):
    """Return the Internet checksum of bytes (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def format_address(packed):
    """Return 4 or 16 bytes as an address, "" if there are fewer."""
    packed = bytes(packed)
    try:
        if len(packed) == 4:
            return socket.inet_ntoa(packed)
        if hasattr(socket, "inet_ntop"):
            return socket.inet_ntop(socket.AF_INET6, packed)
        words = struct.unpack("!8H", packed)    # Python 2.7 on Windows
        return socket.getnameinfo((":".join("%x" % word for word in words),
                                   0), 2)[0]    # NI_NUMERICHOST
    except (ValueError, struct.error, socket.error):
        return ""


def decode_sockaddr(data):
    """Return the address in a struct sockaddr_in or sockaddr_in6, or None;
    its family is in the host's byte order."""
    if len(data) < 8:
        return None
    family, = struct.unpack_from("=H", data)
    if family == socket.AF_INET:
        return format_address(data[4:8])
    if family == socket.AF_INET6 and len(data) >= 24:
        return format_address(data[8:24])
    return None


def encode_echo(version, ident, seq, payload):
    """Return an ICMP echo request (RFC 792, RFC 4443 4.1); the kernel fills
    in the checksum of ICMPv6."""
    kind = FAMILIES[version].echo
    form = "!BBHHH"
    packet = struct.pack(form, kind, 0, 0, ident, seq) + payload
    if version == 6:
        return packet
    return struct.pack(form, kind, 0, checksum(packet), ident,
                       seq) + payload


def encode_ipv4(source, destination, ttl, tos, payload, order):
    """Return an ICMP packet for a socket with IP_HDRINCL (RFC 791 3.1), whose
    ident and checksum the kernel fills in.  order: "!" or "=", as it wants
    ip_len and ip_off."""
    return (struct.pack("!BB", 0x45, tos) +
            struct.pack(order + "HHH", 20 + len(payload), 0, 0) +
            struct.pack("!BBH4s4s", ttl, FAMILIES[4].icmp, 0,
                        socket.inet_aton(source),
                        socket.inet_aton(destination)) + payload)


def decode_ip(packet):
    """Return (Quoted with addresses, rest) of an IPv4 or IPv6 packet;
    (None, b"") of one cut too short, or none at all."""
    data = bytearray(packet[:40])
    if len(data) >= 20 and 0x45 <= data[0] <= 0x4f:
        rest = packet[(data[0] & 15) * 4:]
        if data[6] & 0x1f or data[7]:       # not the first fragment
            rest = b""
        return Quoted(data[9], format_address(packet[12:16]),
                      format_address(packet[16:20]), ttl=data[8],
                      tos=data[1]), rest
    if len(data) >= 40 and data[0] >> 4 == 6:
        protocol, rest = skip_headers(data[6], packet[40:])
        return Quoted(protocol, format_address(packet[8:24]),
                      format_address(packet[24:40]), ttl=data[7],
                      tos=(data[0] & 15) << 4 | data[1] >> 4), rest
    return None, b""


def skip_headers(header, rest):
    """Return (protocol, rest) behind IPv6 extension headers (RFC 8200 4)."""
    while header in (0, 43, 44, 60) and len(rest) >= 8:
        following, size, high, low = bytearray(rest[:4])
        if header == 44:                # a fragment: 8 bytes, no size
            size = 0
            if high or low & 0xf8:      # not the first: nothing of use
                rest = rest[:8]
        header, rest = following, rest[8 + size * 8:]
    return header, rest


def decode_tsval(header):
    """Return TSval of a TCP header (RFC 7323 3.2), None if not there."""
    data, at = bytearray(header), 20
    if len(data) < at:
        return None
    end = min(len(data), (data[12] >> 4) * 4)
    while at + 1 < end and data[at] != 0:       # end of options
        if data[at] == 8 and at + 10 <= end:
            return struct.unpack_from("!I", header, at + 2)[0]
        at += 1 if data[at] == 1 else max(2, data[at + 1])
    return None


def unpadded(payload):
    """Return a quoted payload, b"" if it is nothing but padding."""
    return payload if payload[:64].strip(b"\0") else b""


def decode_transport(quoted, rest):
    """Return `quoted` with the fields of its TCP, UDP or ICMP header, of
    which RFC 792 promises but 8 bytes; with less, nothing is added."""
    if len(rest) < 8:
        return quoted
    source_port, dest_port, ident, seq = struct.unpack_from("!HHHH", rest)
    if quoted.protocol == socket.IPPROTO_TCP:
        flags = bytearray(rest[:14].ljust(14, b"\0"))[13]
        # 0: not quoted, or padding.  No SYN: no probe of ours.
        if flags and flags & (SYN | ACK) != SYN:
            source_port = 0
        return quoted._replace(source_port=source_port, dest_port=dest_port,
                               tsval=decode_tsval(rest))
    if quoted.protocol == socket.IPPROTO_UDP:
        return quoted._replace(source_port=source_port, dest_port=dest_port,
                               payload=unpadded(rest[8:]))
    if quoted.protocol in (1, 58):
        return quoted._replace(ident=ident, seq=seq,
                               payload=unpadded(rest[8:]))
    return quoted


def decode_extension(data):
    """Return what an ICMP extension (RFC 4884 7) tells, as fields of Reply.
    Where it begins may be a guess: only a sound one is believed."""
    labels, interfaces, rest = (), (), data[4:]
    if data[:2] != b"\x20\0" or data[2:4] != b"\0\0" and checksum(data):
        rest = b""
    while rest:
        size, kind, subkind = struct.unpack("!HBB", rest[:4].ljust(4, b"\0"))
        if not 4 <= size <= len(rest):
            return {"labels": (), "interfaces": ()}
        body, rest = rest[4:size], rest[size:]
        if (kind, subkind) == (1, 1):
            labels += tuple(        # RFC 4950 2.1
                Label(word >> 12, word >> 9 & 7, word & 255) for word in
                struct.unpack_from("!%dI" % (len(body) // 4), body))
        elif kind == 2 and subkind < 64:        # where our packet arrived
            interfaces += (decode_interface(subkind, body),)
    return {"labels": labels[:16], "interfaces": interfaces[:16]}


def decode_interface(flags, body):
    """Return the name and address of an interface (RFC 5837 4)."""
    name = address = ""
    if flags & 8:
        body = body[4:]                 # its index
    if flags & 4:
        size = 8 if body[:2] == b"\0\1" else 20
        address, body = format_address(body[4:size]), body[size:]
    if flags & 2 and body:
        size = min(bytearray(body)[0], 64)
        name = format_text(body[1:size].rstrip(b"\0"))
    return " ".join(word for word in (name, address) if word)


# ---------------------------------------------------------------------------
# 5 Replies
# ---------------------------------------------------------------------------

class Reply(namedtuple("Reply", "kind responder icmp_type icmp_code "
                                "reply_ttl received quoted data error raw "
                                "labels interfaces outcome rtt tries flags "
                                "syns after")):
    """What was heard, or that nothing was (NO_REPLY).  None is unknown.

    kind         "icmp" (an error about a packet of ours), "echo", "data",
                 "accepted", "reset", "unsent" (an error of this host) or
                 "failed" (the kernel gave a socket up without saying why)
    responder    address of who sent it
    reply_ttl    the ttl it arrived with
    received     when it came, by the kernel's stamp: time.time()
    quoted       Quoted: what it quotes of our packet, or NOTHING_QUOTED
    data         what a service sent (bytes)
    error        errno or text of "unsent" and "failed"
    raw          True if a raw socket heard it
    labels       tuple of Label: MPLS
    interfaces   tuple of text: where our packet arrived
    outcome      as the answer to a probe: a word of OUTCOMES,
    rtt          seconds,
    tries        which try it answers, from 1,
    flags        and words of the engine: "data-lost", ...
    syns         of a real connection: how many SYNs it took to get it
    after        seconds from a connection to what became of it: data, its
                 end, or the end of our waiting
    """

    __slots__ = ()

    address = property(lambda self: self.responder)


Reply.__new__.__defaults__ = (None,) * 6 + (
    NOTHING_QUOTED, None, None, False, (), (), "timeout", None, 1, (), None,
    None)
NO_REPLY = Reply()


def decode_icmp(version, message, **known):
    """Return the Reply in an ICMP message, or None if it is none to us."""
    family = FAMILIES[version]
    if len(message) < 8:
        return None
    kind, code, _, _, length6, length4 = bytearray(message[:6])
    ident, seq = struct.unpack_from("!HH", message, 4)
    reply = Reply("icmp", icmp_type=kind, icmp_code=code, **known)
    if kind == family.reply:
        return reply._replace(kind="echo", quoted=Quoted(
            family.icmp, ident=ident, seq=seq, payload=message[8:]))
    if kind not in family.errors:
        return None
    quoted, rest = decode_ip(message[8:])
    if quoted is None:
        return None
    # Its length (RFC 4884 4.1 to 4.3) is in words of 4 or of 8 bytes.
    length = length4 * 4 if version == 4 else length6 * 8
    return reply._replace(
        quoted=decode_transport(quoted, rest),
        **decode_extension(message[8 + max(128, length):]))


def decode_segment(segment, **known):
    """Return the Reply in a TCP segment: "accepted", "reset" or None."""
    if len(segment) < 20:
        return None
    # As seen from us: their source port is the probe's destination.
    dest_port, source_port = struct.unpack_from("!HH", segment)
    flags = bytearray(segment)[13]
    if flags & RST:
        kind = "reset"
    elif flags & SYN and flags & ACK:
        kind = "accepted"
    else:
        return None
    return Reply(kind, quoted=Quoted(
        socket.IPPROTO_TCP, source_port=source_port, dest_port=dest_port),
        **known)


def same_start(ours, theirs):
    """Return True if what is quoted of a payload is ours: a router may cut
    it short, or pad it behind 128 bytes of packet (RFC 4884 5)."""
    theirs = theirs or b""
    count = min(len(ours), len(theirs), 64)
    return ours[:count] == theirs[:count]


# ---------------------------------------------------------------------------
# 6 Hops
# ---------------------------------------------------------------------------

# The outcome of what a destination's own socket sends.
REPLY_OUTCOMES = {"accepted": "open", "reset": "refused", "data": "data"}

# The outcome of what the system tells by an errno and no more.
ERRNO_OUTCOMES = dict((getattr(errno, name, None), "unreachable") for name in (
    "EHOSTUNREACH", "ENETUNREACH", "ENONET", "ENOPROTOOPT", "EMSGSIZE",
    "EACCES", "EOPNOTSUPP"))
ERRNO_OUTCOMES[errno.ECONNREFUSED] = "refused"

IpFields = namedtuple("IpFields", "ip_source_address ip_ttl")
IcmpFields = namedtuple("IcmpFields", "icmp_type icmp_code")

# Above so many queries a hop's line counts its answers, and what is lost is
# counted with care.
FEW_QUERIES = 3

# What -v and JSON say of an answer beside its line, by its flags.
NOTES = {
    "retried": "answered at try {0.tries}",
    "syn-repeated": "its SYN was sent {0.syns} times",
    "syn-late": "the connection took so long that its SYN may have been sent "
                "more than once",
    "nat-destination": "quotes {0.quoted.destination} as the destination: "
                       "NAT on the way",
    "data-lost": "the data sent was reset, or not acknowledged",
    "reset-at-once": "the connection was reset at once",
    "closed-at-once": "the peer closed the connection at once",
    "forged": "sent in the destination's name by a device on the way",
    "not-expired": "no ttl ran out: this system would have told otherwise",
    "nat-source": "quotes {0.quoted.source} as the source: NAT on the way",
    "quoted-ttl": "quotes a ttl of {0.quoted.ttl}, not 1: MPLS hides hops "
                  "there, or a router miscounts",
}


def classify(reply, destination, own_address):
    """Return (outcome, reason or None) of a reply to one of our probes.

    Only the destination can say that a port is closed: from anybody else
    it is a prohibition.  After an error from this very host, nothing left.
    """
    if reply.kind == "unsent":
        return "send-failed", reply.error
    if reply.kind == "failed" and reply.icmp_type is None:
        return ERRNO_OUTCOMES.get(reply.error, "send-failed"), reply.error
    if reply.kind in REPLY_OUTCOMES:
        return REPLY_OUTCOMES[reply.kind], None
    version = 6 if ":" in destination else 4
    outcome, _ = FAMILIES[version].codes.get(
        (reply.icmp_type, reply.icmp_code), ("unreachable", ""))
    if outcome == "time-exceeded":
        return outcome, None
    if reply.responder == own_address != destination:
        if outcome == "unreachable":
            return "send-failed", (
                "no answer to address resolution (ARP or neighbor "
                "discovery): the gateway or host is down")
        return "send-failed", "a local firewall rule rejects it"
    if outcome == "protocol-unreachable" or (
            outcome == "port-unreachable" and
            reply.responder != destination):
        return "prohibited", None
    return outcome, None


def format_icmp(version, answer):
    """Return an ICMP answer in words: ICMP 3/13, ... prohibited."""
    if answer.icmp_type is None:
        return "the ICMP error is not visible"
    return "ICMP %d/%d, %s" % (answer.icmp_type, answer.icmp_code,
                               name_icmp(version, answer))


def name_icmp(version, answer):
    key = answer.icmp_type, answer.icmp_code
    return FAMILIES[version].codes.get(key, ("", "unassigned code"))[1]


def format_data(data):
    """Return bytes as Python 3 shows them, without the b."""
    return repr(bytes(data[:DATA_SHOWN])).lstrip("b")


# What a device on the way did in the destination's name.
FEIGNED = {"tcp": "connection accepted", "udp": "answered"}


class Answered(object):
    """What follows from `answer`, a Reply, for Hops and States alike."""

    __slots__ = ()

    outcome = property(lambda self: self.answer.outcome)
    address = property(lambda self: self.answer.address)
    reached = property(lambda self: OUTCOMES[self.outcome].reached)
    final = property(lambda self: OUTCOMES[self.outcome].final)

    @property
    def heard(self):
        """True if anything but this host itself has answered."""
        return self.outcome not in ("timeout", "send-failed")


class Hop(namedtuple("Hop", "ttl method port destination answers name "
                            "destination_name version verbose more sent "
                            "lost queries unseen unsure lent lender"),
          Answered):
    """What is known of one ttl: a record; what is absent is None.

    answers  tuple of Reply, the first is the one shown; empty if silent
    name     the responder's host name, None if not known
    more     True for the destination when it lies farther than max_hops
    sent, lost  probes sent, and those of them that no answer came to
    queries  the answers that were wanted: if many, the line counts them
    unseen   True if this system does not show who answers here
    unsure   True if who has answered may be another than the destination
    lent     where this system does not show who has answered: the Reply to
             a probe of another method with the same ttl, else None
    lender   the name of that method
    str(hop) is the printed line without the time.
    """

    __slots__ = ()

    @property
    def answer(self):
        return self.answers[0] if self.answers else NO_REPLY

    @property
    def address(self):
        return (self.lent or self.answer).address

    rtt = property(lambda self: self.answer.rtt)
    icmp_type = property(lambda self: self.answer.icmp_type)
    icmp_code = property(lambda self: self.answer.icmp_code)
    reply_ttl = property(lambda self: self.answer.reply_ttl)
    rxdata = property(lambda self: self.answer.data)
    labels = property(lambda self: self.answer.labels)
    quoted = property(lambda self: self.answer.quoted)

    @property
    def ipfields(self):
        if self.address is None:
            return None
        return IpFields(self.address, self.reply_ttl)

    @property
    def icmpfields(self):
        if self.icmp_type is None:
            return None
        return IcmpFields(self.icmp_type, self.icmp_code)

    # The line without the ttl and the time.
    msg = property(lambda self: self.format_answer(self.answer))

    def format_answer(self, answer):
        """Return the line of one answer, by its outcome."""
        line, data = OUTCOMES[answer.outcome].line, ""
        if self.unseen and answer.outcome == "timeout":
            line = "*\tnot visible"
        if OUTCOMES[answer.outcome].reached:
            data = ". [Reached Destination]"
        address = answer.address
        if self.lent and answer is self.answer:
            address, line = self.lent.address, "{host}  (by {lender})"
        if address is None and "{host}" in line:
            line = "?  {outcome}, address not visible"
            if answer.outcome == "prohibited" and answer.icmp_type is not None:
                line = "?  ICMP {icmp}, address not visible"
        elif answer.address is None and answer.outcome == "refused":
            line = "{port} connection refused, by whom is not visible"
        if self.unsure:
            line = UNSURE.get(answer.outcome, line)
        if answer.data is not None:
            data = ", received data: " + format_data(answer.data)
        return line.format(
            port="%s port %s" % (self.method.upper(), self.port), data=data,
            host="%s (%s)" % (self.name_of(address), address),
            lender=(self.lender or "").upper(),
            icmp="%s/%s" % (answer.icmp_type, answer.icmp_code),
            error=format_errno(answer.error), outcome=answer.outcome,
            feigned=FEIGNED.get(self.method))

    def name_of(self, address):
        """Return what to call an address that has answered here."""
        if address == self.destination:
            return format_text(self.destination_name or self.name or address)
        if address == self.address and self.name:
            return format_text(self.name)
        return address

    @property
    def counted(self):
        """True if so many were asked for that the line counts them."""
        return (self.queries or 1) > FEW_QUERIES and self.sent > 1

    @property
    def groups(self):
        """The lists of answers whose times stand together: those of each
        responder, or, of few answers, in the order in which they came."""
        answers = self.answers
        if self.counted:
            order = [answer.address for answer in answers]
            answers = sorted(answers,
                             key=lambda answer: order.index(answer.address))
        return [list(group) for _, group in itertools.groupby(
            answers, lambda answer: answer.address)]

    def format_line(self):
        """Return the line with the times of all answers, and names of
        ICMP messages and reply ttls if verbose."""
        line, said = str(self), set()
        for number, group in enumerate(self.groups):
            if number:
                line += "  " + self.format_answer(group[0])
            if self.counted:
                line += format_count(group, self.sent)
            for answer in group:
                if answer.rtt is not None and not self.counted:
                    line += "  %.3f ms" % (answer.rtt * 1e3)
                extension = answer.interfaces, answer.labels
                if extension not in said:
                    line += format_extension(answer)
                said.add(extension)
        if self.lent and not self.answers and self.lent.rtt is not None:
            line += "  %.3f ms" % (self.lent.rtt * 1e3)
        if not self.verbose:
            if "syn-repeated" in self.answer.flags:     # for so short a time
                line += "  (%s)" % NOTES["syn-repeated"].format(self.answer)
            return line
        if self.reply_ttl is not None:
            line += "  reply ttl %d" % self.reply_ttl
        if self.icmp_type is not None:
            line += "  (%s)" % name_icmp(self.version, self.answer)
        return line + "".join("  (%s)" % note
                              for note in format_notes(self.answer))

    def __str__(self):
        ttl = "%d" % self.ttl
        if self.more:           # behind that, or nobody knows where
            ttl = ">" + ttl if self.ttl else "?"
        return "%s\t%s" % (ttl, self.msg)

    def as_dict(self):
        """Return the hop for JSON."""
        entry = answer_dict(self.answer)
        for key in ("quoted_ttl", "quoted_tos"):
            del entry[key]
        entry.update(
            address=self.address, lent=self.lender,
            ttl=self.ttl, name=self.name and format_text(self.name),
            notes=format_notes(self.answer), sent=self.sent, lost=self.lost,
            probes=[answer_dict(answer) for answer in self.answers])
        return entry


Hop.__new__.__defaults__ = (1, False, False, None, None)

# Lines of what may not be the destination's, by outcome.
UNSURE = {"port-unreachable": "{host}  ICMP {icmp}",
          "refused": "{port} connection refused, by whom is not confirmed",
          "open": "{port} connection accepted, by whom is not confirmed",
          "data": "{port} answered, by whom is not confirmed"}


def format_count(answers, sent):
    """Return the least, the mean and the greatest time of many answers, and
    to how many of the probes they came."""
    times = [answer.rtt * 1e3 for answer in answers if answer.rtt is not None]
    text = "  %d of %d" % (len(answers), max(sent, len(answers)))
    if times:
        text = "  %.2f/%.2f/%.2f ms" % (
            min(times), sum(times) / len(times), max(times)) + text
    return text


def answer_dict(answer):
    """Return a Reply for JSON: times in ms, silence is null."""
    return {"outcome": answer.outcome, "address": answer.address,
            "rtt_ms": format_ms(answer.rtt), "icmp_type": answer.icmp_type,
            "icmp_code": answer.icmp_code, "reply_ttl": answer.reply_ttl,
            "error": answer.error and format_errno(answer.error),
            "quoted_ttl": answer.quoted.ttl,
            "quoted_tos": answer.quoted.tos, "syns": answer.syns,
            "interfaces": list(answer.interfaces),
            "labels": [label._asdict() for label in answer.labels]}


def format_extension(answer):
    """Return the MPLS labels and interfaces of an answer, for its line."""
    words = list(answer.interfaces)
    if answer.labels:
        words[:0] = ["MPLS" + "".join(" %d/%d" % (label.label, label.exp)
                                      for label in answer.labels)]
    return "".join("  [%s]" % word for word in words)


def format_notes(answer):
    """Return the list of what is odd about an answer."""
    return [NOTES[flag].format(answer) for flag in answer.flags]


# ---------------------------------------------------------------------------
# 7 Mechanisms
# ---------------------------------------------------------------------------

SO_TIMESTAMPNS = 1, 35          # Linux: level and option


class Mechanism(object):
    """How answers reach us.  This one: a socket's errno, and no more.

    The contract, which other systems fill in by other attributes:

    name       the word for -v and JSON
    methods    names of the methods it serves
    sight      what it shows: "addresses" of who sends ICMP errors, the
               "distance" (an error came, but not from whom), "expiry" (the
               same, but prohibitions are silence) or "nothing";
               until it is proven, what an option that was accepted promises
    proven     True once it has told who sent an error; surely: the methods
               for which it must have, to be available
    shared     True if one will do for all series of a method
    refusals   True if it tells a refusal by TCP from an ICMP error
    sends_once  the option by which a SYN is not repeated, None if it may be;
               Windows repeats even one that is refused, for 2 seconds
    alone      True if a raw socket would add nothing
    wait       seconds for an answer to what the system itself waits for
    why        what is not seen, for people; "" if nothing
    errors()   list of Reply about probes sent by a socket
    receive()  (data, sender, port, facts, items) of a datagram: `facts` are
               reply_ttl and received, fields of Reply that the kernel tells,
               `items` all its control messages
    """

    name = "connect"
    methods = ("tcp", "udp", "icmp")
    sight = "distance"
    refusals = alone = proven = False
    surely = ()
    sends_once = None
    shared = True
    wait = 2.0
    why = ""
    debug = staticmethod(lambda text: None)
    options = {4: (), 6: ()}
    ttl_items = ((0, 2), (41, 52))      # IP_TTL, IPV6_HOPLIMIT

    @staticmethod
    def available():
        return True

    def open(self, target, kind, protocol=0, port=0):
        """Return a non-blocking socket; raises socket.error."""
        family = target.family
        sock = socket.socket(family.af, kind, protocol)
        try:
            sock.setblocking(False)
            if target.tos and not try_option(
                    sock, (family.level, family.tos), target.tos):
                self.why = "this system refuses to set a TOS"
            self.prepare(sock, family.version)
            if port:
                sock.setsockopt(socket.SOL_SOCKET, REUSE, 1)
            if port or target.source_ip or kind == socket.SOCK_DGRAM:
                sock.bind((target.source_ip or "", port))
        except socket.error:
            sock.close()
            raise
        return sock

    def prepare(self, sock, version):
        for option in self.options[version]:
            try_option(sock, option)

    def errors(self, sock, protocol, version):
        return []

    def note_errors(self, replies):
        """Learn what it shows from what it has told of a probe that ended
        with an ICMP error: perhaps nothing."""
        if replies:
            self.sight, self.proven = "addresses", True
        elif not self.proven:
            self.sight = "distance"

    def receive(self, sock, flags=0):
        """Raises socket.error, with EAGAIN when there is nothing."""
        if recvmsg:
            data, items, _, sender = recvmsg(sock, BUFFER, 512, flags)
        else:
            data, sender = sock.recvfrom(BUFFER, flags)
            items = []
        address, port = (sender or ("", 0))[:2]
        self.debug("read from %s: %s" % (address, format_hex(data)))
        facts = {}
        for level, kind, value in items:
            if (level, kind) in self.ttl_items and len(value) >= 4:
                facts["reply_ttl"] = struct.unpack_from("=i", value)[0]
            elif (level, kind) == SO_TIMESTAMPNS:
                facts["received"] = decode_stamp(value)
        return data, address.split("%")[0], port, facts, items

    def receive_all(self, sock, flags=0):
        """Yield what receive() returns as long as there is something, for a
        bounded time, whatever arrives."""
        for _ in range(64):
            try:
                yield self.receive(sock, flags)
            except socket.error as error:
                if error.errno in NOTHING_YET:
                    break
                # else it is that of an ICMP error

    def send_echo(self, sock, packet, target, ttl):
        family = target.family
        sock.setsockopt(family.level, family.ttl, ttl)
        sock.sendto(packet, target.sockaddr)


def try_option(sock, option, value=1):
    """Set a (level, number) of a socket; return True if the kernel knows it.
    Without it there is one fact less, not one probe less."""
    level, number = option
    try:
        sock.setsockopt(level, number, value)
    except socket.error:
        return False
    return True


def takes_option(kind, option):
    """Return True if the kernel knows an option of sockets of a kind."""
    try:
        sock = socket.socket(socket.AF_INET, kind)
    except socket.error:
        return False
    known = try_option(sock, option)
    sock.close()
    return known


def decode_stamp(value):
    """Return the seconds in a struct timespec, or None; 32-bit systems have
    two forms."""
    form = {8: "=ii", 16: "=qq"}.get(len(value))
    if form is None:
        return None
    seconds, part = struct.unpack(form, value)
    return seconds + part * 1e-9


class ErrorQueue(Mechanism):
    """Linux's error queue, for every user: ip(7) IP_RECVERR; for TCP since
    kernel 5.8 (commit 45af29ca761c)."""

    name = "error-queue"
    sight = "addresses"
    surely = ("udp", "icmp")
    MSG_ERRQUEUE = 0x2000
    # IP_RECVERR, IP_RECVTTL, ..., IP_RECVERR_RFC4884; the same of IPv6
    options = {4: ((0, 11), (0, 12), SO_TIMESTAMPNS, (0, 26)),
               6: ((41, 25), (41, 51), SO_TIMESTAMPNS, (41, 31))}
    error_items = ((0, 11), (41, 25))

    works = None                    # asked once, as it never changes

    @classmethod
    def available(cls):
        if cls.works is None:
            cls.works = LINUX and recvmsg is not None and cls().is_told()
        return cls.works

    def is_told(self):
        """Return True if the queue tells of a closed port of this host, and
        who says so.  Sandboxes (gVisor, WSL 1) accept the option, and no
        more.  Where there is no loopback (a network namespace, a VRF) it
        cannot be asked: then its word is taken for it."""
        address, socks = "127.0.0.1", []
        try:
            for _ in range(2):
                socks.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            free, sock = socks
            sock.setblocking(False)
            if not try_option(sock, self.options[4][0]):
                return False
            free.bind((address, 0))
            closed = free.getsockname()
            free.close()
            sock.sendto(b"", closed)    # not connected: as probes are
            poller = Poller()
            poller.add(sock.fileno())
            poller.wait(0.2)
            replies = self.errors(sock, socket.IPPROTO_UDP, 4)
        except socket.error:
            return True
        finally:
            for each in socks:
                each.close()
        return any(reply.responder == address for reply in replies)

    def errors(self, sock, protocol, version):
        replies = []
        for data, address, port, facts, items in self.receive_all(
                sock, self.MSG_ERRQUEUE):
            quoted = Quoted(protocol, destination=address or None)
            # Unless ee_data tells its place (struct sock_ee_data_rfc4884) an
            # extension is behind 128 bytes of our packet (RFC 4884 5.5),
            # less the headers that the kernel cuts off.
            usual = 108 if version == 4 else 88
            if protocol == socket.IPPROTO_UDP:
                usual -= 8
                quoted = quoted._replace(dest_port=port,
                                         payload=unpadded(data))
            else:
                quoted = decode_transport(quoted, data)
            for level, kind, value in items:
                if (level, kind) not in self.error_items:
                    continue
                reply = self.decode_error(value, version, quoted, facts)
                if reply:
                    told, = struct.unpack_from("=H", value, 12)
                    replies.append(reply._replace(
                        **decode_extension(data[told or usual:])))
        return replies

    @staticmethod
    def decode_error(value, version, quoted, facts):
        """Return the Reply in a struct sock_extended_err, or None; the
        address of who sent the error follows (SO_EE_OFFENDER)."""
        if len(value) < 16:
            return None
        number, origin, kind, code = struct.unpack_from("=iBBB", value)
        if origin == 1:                 # SO_EE_ORIGIN_LOCAL
            return Reply("unsent", error=number, quoted=quoted)
        if origin not in (2, 3) or kind not in FAMILIES[version].errors:
            return None
        return Reply("icmp", decode_sockaddr(value[16:]), kind, code,
                     quoted=quoted, **facts)


NO_SYN_RETRIES = 6, 9           # TCP_NOSYNRETRIES


class TcpIcmpError(Mechanism):
    """What Windows 10 2004 and later tell of a connect() that ICMP ends
    (learn.microsoft.com: IPPROTO_TCP socket options).  No privilege."""

    name = "tcp-icmp-error"
    methods = ("tcp",)
    sight = "addresses"
    refusals = True
    sends_once = NO_SYN_RETRIES
    options = {4: ((6, 18),), 6: ((6, 18),)}    # ..FAIL_CONNECT_ON_ICMP_ERROR

    @staticmethod
    def available():
        return takes_option(socket.SOCK_STREAM, (6, 18))

    def errors(self, sock, protocol, version):
        """Decode a struct ICMP_ERROR_INFO: sockaddr, protocol, type, code
        (TCP_ICMP_ERROR_INFO); there is none without an error."""
        try:
            data = sock.getsockopt(6, 19, 64)
            kind, code = struct.unpack_from("BB", data, 32)
        except (socket.error, struct.error):
            return []
        if kind not in FAMILIES[version].errors:
            return []
        return [Reply("icmp", decode_sockaddr(data), kind, code)]


class SoftErrors(Mechanism):
    """No ICMP error ends a connect(), so a refusal is one: OpenBSD and
    NetBSD, before the fourth SYN (after 45 s)."""

    methods = ("tcp",)
    sight = "nothing"
    refusals = True


class OldWindows(SoftErrors):
    """Windows before 10 2004."""

    sends_once = NO_SYN_RETRIES


class WindowsUdp(Mechanism):
    """A socket's errno, which tells of a ttl that ran out and of a closed
    port (WSAENETRESET and WSAECONNRESET of recvfrom()), of nothing else."""

    methods = ("udp",)
    sight = "expiry"


class IcmpApi(Mechanism):
    """Windows' ICMP API (iphlpapi): no privilege, and no firewall between.

    The system chooses ident and seq.  A call waits for its answer in a
    thread, whose end is told by a datagram on a socket connected to itself.
    """

    name = "icmp-api"
    methods = ("icmp",)
    sight = "addresses"
    alone = True
    shared = False
    # IP_STATUS less 11000 to ICMP type and code (ipexport.h)
    STATUS = {4: {2: (3, 0), 3: (3, 1), 4: (3, 2), 5: (3, 3), 9: (3, 4),
                  13: (11, 0), 14: (11, 1), 15: (12, 0)},
              6: {2: (1, 0), 3: (1, 3), 4: (1, 1), 5: (1, 4), 9: (2, 0),
                  13: (3, 0), 14: (3, 1), 15: (4, 0), 40: (1, 255),
                  41: (3, 0), 42: (4, 0), 43: (4, 1), 45: (1, 2)}}

    def __init__(self):
        self.done = []                  # of Reply

    @staticmethod
    def available():
        try:
            import ctypes
            return bool(ctypes.WinDLL)
        except (ImportError, AttributeError):
            return False

    def open(self, target, kind, protocol=0, port=0):
        """Return the socket that tells when a call has ended."""
        version = target.family.version
        if version == 6 and not hasattr(socket, "inet_pton"):
            raise RunError("ICMP echo to IPv6 needs Python 3 on Windows")
        dll, handle = self.open_handle(version)
        dll.IcmpCloseHandle(handle)     # so there is one
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        sock.connect(sock.getsockname())
        return sock

    def errors(self, sock, protocol, version):
        try:
            while sock.recv(BUFFER):
                pass
        except socket.error:            # in this order: none is missed
            pass
        return [self.done.pop(0) for _ in range(len(self.done))]

    def receive(self, sock, flags=0):
        raise socket.error(errno.EAGAIN, "errors() has it all")

    def send_echo(self, sock, packet, target, ttl):
        import threading
        thread = threading.Thread(target=self.call,
                                  args=(sock, packet, target, ttl))
        thread.daemon = True
        thread.start()

    def call(self, sock, packet, target, ttl):
        """In a thread: send a probe, and leave its Reply to errors()."""
        try:
            reply = self.ask(packet[8:], target, ttl)
        except (OSError, socket.error) as error:
            reply = Reply("unsent", error=str(error))
        if reply is None:
            return
        ident, seq = struct.unpack_from("!HH", packet, 4)
        self.done.append(reply._replace(quoted=Quoted(
            target.family.icmp, ident=ident, seq=seq, payload=packet[8:])))
        try:
            sock.send(b"!")
        except socket.error:            # closed meanwhile
            pass

    @staticmethod
    def open_handle(version):
        """Return the library and a handle for one call, or raise
        socket.error."""
        import ctypes as c
        dll = c.WinDLL(os.path.join(os.environ.get(
            "SystemRoot", r"C:\Windows"), "System32", "iphlpapi.dll"),
            use_last_error=True)
        start = dll.IcmpCreateFile if version == 4 else dll.Icmp6CreateFile
        start.restype = c.c_void_p
        handle = start()
        if handle in (None, c.c_void_p(-1).value):
            raise socket.error(c.get_last_error(), "no ICMP handle")
        return dll, c.c_void_p(handle)

    def ask(self, payload, target, ttl):
        """Return the Reply to a probe, None if there is none."""
        import ctypes as c
        family = target.family
        dll, handle = self.open_handle(family.version)
        name = "IcmpSendEcho2Ex" if family.version == 4 else "Icmp6SendEcho2"
        source = target.source_ip or target.own_address
        buffer = c.create_string_buffer(len(payload) + 264)
        options = c.create_string_buffer(       # IP_OPTION_INFORMATION
            struct.pack("@BBBBP", ttl, target.tos or 0, 0, 0, 0))
        try:
            found = getattr(dll, name)(
                handle, None, None, None, self.encode(family, source),
                self.encode(family, *target.sockaddr), payload, len(payload),
                options, buffer, len(buffer), max(1, int(self.wait * 1000)))
            error = c.get_last_error()
        finally:
            dll.IcmpCloseHandle(handle)
        if found:
            return self.decode_reply(family, buffer.raw)
        if error == 11010:              # no answer in time
            return None
        words = "error %d of the ICMP API" % error
        if not 11000 <= error <= 11050:
            words += ": " + c.FormatError(error)
        return (self.decode_status(family, error, None) or
                Reply("unsent", error=words))

    @staticmethod
    def encode(family, address, port=0, flow=0, scope=0):
        """Return an address as the API wants it: a struct in_addr by its
        value, a struct sockaddr_in6."""
        if family.version == 4:
            return struct.unpack("=i", socket.inet_aton(address))[0]
        packed = socket.inet_pton(family.af, address.split("%")[0])
        return struct.pack("=HHI16sI", family.af, 0, 0, packed, scope)

    def decode_reply(self, family, data):
        """Return the Reply in an ICMP_ECHO_REPLY or ICMPV6_ECHO_REPLY, whose
        status is behind the address, aligned (ipexport.h)."""
        place, address = 28, data[6:22]
        if family.version == 4:
            place, address = 4, data[:4]
        status, = struct.unpack_from("=I", data, place)
        return self.decode_status(family, status, format_address(address))

    def decode_status(self, family, status, address):
        """Return the Reply that an IP_STATUS means, or None."""
        if status == 0:
            return Reply("echo", address, family.reply, 0)
        known = self.STATUS[family.version].get(status - 11000)
        return Reply("icmp", address, *known) if known else None


class OwnHeader(Mechanism):
    """Where a raw ICMP socket ignores IP_TTL (NetBSD's does, AIX's is said
    to), so that the IP header has to be ours (IP_HDRINCL)."""

    order = None        # of ip_len; None: the kernel makes the header

    def open(self, target, kind, protocol=0, port=0):
        sock = Mechanism.open(self, target, kind, protocol, port)
        if kind == socket.SOCK_RAW and target.family.version == 4:
            sock.setsockopt(0, getattr(socket, "IP_HDRINCL", 2), 1)
            self.order = self.find_order(sock)
        return sock

    @staticmethod
    def find_order(sock):
        """Return the byte order of ip_len: the kernel refuses a wrong one.
        An echo reply that nobody waits for asks it."""
        address = "127.0.0.1"
        reply = struct.pack("!BBHI", 0, 0, 65535, 0)
        packet = encode_ipv4(address, address, DEFAULT_TTL, 0, reply, "!")
        try:
            sock.sendto(packet, (address, 0))
        except socket.error as error:
            if error.errno != errno.EINVAL:
                raise
            return "="
        return "!"

    def send_echo(self, sock, packet, target, ttl):
        if self.order is None:
            Mechanism.send_echo(self, sock, packet, target, ttl)
            return
        source = target.source_ip or target.own_address
        sock.sendto(encode_ipv4(source, target.address, ttl, target.tos or 0,
                                packet, self.order), target.sockaddr)


class RawSocket(Mechanism):
    """A raw ICMP socket: the answers that come to the whole host.  Beside
    the error queue it adds the quoted IP header and the ttl of resets."""

    name = "raw-socket"
    sight = "addresses"
    kind = socket.SOCK_RAW
    sees_tcp = False
    tcp = None                  # the socket that hears TCP
    options = {4: (), 6: ((41, getattr(socket, "IPV6_RECVHOPLIMIT", 37)),)}
    ttl_items = ((41, getattr(socket, "IPV6_HOPLIMIT", 47)),)

    def __init__(self, target, with_tcp):
        family = self.family = target.family
        self.sockets = []               # ICMP's, and perhaps TCP's
        wanted = [(family.icmp, None)]
        if with_tcp and self.sees_tcp:  # connected: only the destination's
            wanted.append((socket.IPPROTO_TCP, target.sockaddr))
        try:
            for protocol, peer in wanted:
                sock = socket.socket(family.af, self.kind, protocol)
                self.sockets.append(sock)
                sock.setblocking(False)
                self.prepare(sock, family.version)
                if peer:
                    sock.connect(peer)
                    self.tcp = sock
                else:
                    self.set_up(sock, target)
        except socket.error:
            self.close()
            raise

    def set_up(self, sock, target):
        pass

    def replies(self, sock):
        """Return the list of Reply that wait on one of our sockets."""
        found = [self.decode(sock is not self.tcp, data, address, facts)
                 for data, address, _, facts, _ in self.receive_all(sock)]
        return [reply for reply in found if reply]

    def decode(self, is_icmp, data, address, facts):
        """Return the Reply in an ICMP message or a TCP segment, or None."""
        version = self.family.version
        if version == 4:
            # With its header, of which 4.4BSD changes ip_len and ip_off.
            header, data = decode_ip(data[:6] + b"\0\0" + data[8:])
            wanted = self.family.icmp if is_icmp else socket.IPPROTO_TCP
            if header is None or header.protocol != wanted:
                return None
            address, facts["reply_ttl"] = header.source, header.ttl
        if not is_icmp:
            return decode_segment(data, responder=address, raw=True, **facts)
        return decode_icmp(version, data, responder=address, raw=True,
                           **facts)

    def close(self):
        for sock in self.sockets:
            sock.close()


class LinuxRawSocket(RawSocket):
    """Needs CAP_NET_RAW; another one sees TCP, too."""

    sees_tcp = True
    options = {4: ((0, 12), SO_TIMESTAMPNS), 6: ((41, 51), SO_TIMESTAMPNS)}
    ttl_items = Mechanism.ttl_items


class DatagramIcmp(RawSocket):
    """macOS's ICMP socket for every user: it hears all ICMP messages (xnu
    bsd/netinet/ip_icmp.c, icmp_dgram_attach), as long as it is not
    connected."""

    name = "datagram-icmp"
    kind = socket.SOCK_DGRAM


class WindowsRawSocket(RawSocket):
    """Needs an administrator, and a firewall that lets ICMP in; what it drops
    another socket hears, one for all of IP (learn.microsoft.com:
    SIO_RCVALL)."""

    options = {4: (), 6: ()}
    all_ip = None

    def set_up(self, sock, target):
        sock.bind((target.own_address, 0))
        try:
            self.all_ip = socket.socket(self.family.af, socket.SOCK_RAW,
                                        0 if self.family.version == 4 else 41)
            self.sockets.append(self.all_ip)
            self.all_ip.setblocking(False)
            self.all_ip.bind((target.own_address, 0))
        except socket.error:
            pass
        self.switch("RCVALL_IPLEVEL")

    def switch(self, name):
        try:
            self.all_ip.ioctl(socket.SIO_RCVALL, getattr(socket, name, 3))
        except (socket.error, AttributeError, ValueError):
            self.why = ("SIO_RCVALL is refused: what the firewall drops is "
                        "not seen")

    def close(self):
        self.switch("RCVALL_OFF")
        RawSocket.close(self)


# platforms: how sys.platform begins; mechanisms and witnesses (raw sockets
# beside them) in the order to be tried; what to do about a missing
# privilege; why there is no ICMP echo, if not for that; what to do if no
# ICMP error is heard; queues: what is sent may wait, and leave with the ttl
# that its socket has by then (macOS with a content filter); expires: errno
# of a ttl that ran out, of a connected UDP socket.
System = namedtuple("System", "platforms mechanisms witnesses cure no_echo "
                              "deaf queues expires")
DEAF = ("No ICMP error from any hop was heard: either they send none, or a "
        "firewall drops them",)
System.__new__.__defaults__ = (None, DEAF, False, (errno.EHOSTUNREACH,))
SETUID = ", or the system's own traceroute, which is setuid root%s"
SYSTEMS = (
    System(("linux", "android"), (ErrorQueue,), (LinuxRawSocket,),
           "run it as root, or with CAP_NET_RAW (setcap cap_net_raw+ep on a "
           "copy of Python)",
           "sysctl net.ipv4.ping_group_range is closed to this user and "
           "there is no CAP_NET_RAW; run as root, or `sysctl -w net.ipv4."
           "ping_group_range='0 2147483647'`", ()),
    System(("darwin", "ios"), (), (RawSocket, DatagramIcmp),
           "run it with sudo", queues=True),
    System(("sunos",), (), (RawSocket,),
           "run it as root, or let root give the privilege net_icmpaccess: "
           "`ppriv -s EI+net_icmpaccess PID` to a shell, `usermod -K "
           "defaultpriv=basic,net_icmpaccess USER` for good"),
    System(("openbsd",), (SoftErrors,), (RawSocket,),
           "run it as root" + SETUID % ", for UDP and ICMP", expires=()),
    System(("netbsd",), (SoftErrors, OwnHeader), (RawSocket,),
           "run it as root" + SETUID % ", for UDP and ICMP", expires=()),
    System(("freebsd", "dragonfly"), (), (RawSocket,),
           "run it as root (in a jail, with allow.raw_sockets)" + SETUID %
           " (for TCP: `traceroute -P tcp -e -p PORT HOST`)"),
    System(("aix",), (OwnHeader,), (RawSocket,), "run it as root"),
    System(("win32",), (TcpIcmpError, OldWindows, WindowsUdp, IcmpApi),
           (WindowsRawSocket,),
           "run it as administrator", None, (
               DEAF[0] + ", as Windows' own does until an administrator runs",
               "netsh advfirewall firewall add rule name=\"ICMPv4 in\" "
               "dir=in action=allow protocol=icmpv4:any,any",
               "netsh advfirewall firewall add rule name=\"ICMPv6 in\" "
               "dir=in action=allow protocol=icmpv6:any,any")),
    System(("cygwin",), (TcpIcmpError, OldWindows, WindowsUdp),
           (WindowsRawSocket,),
           "use a Python for Windows (python.org), which needs no "
           "privilege, or run it as administrator"),
    System(("",), (), (RawSocket,), "run it as root (in a jail, with "
           "allow.raw_sockets)"),
)


def find_system(platform):
    """Return the row of SYSTEMS for a sys.platform."""
    for row in SYSTEMS:
        if platform.startswith(row.platforms):
            return row


SYSTEM = find_system(sys.platform)


def select_mechanism(wanted, method):
    """Return the mechanism for a method's name, by trying.  wanted: None, or
    the name of the only one that will do."""
    for kind in SYSTEM.mechanisms + (Mechanism,):       # if no other does
        if (method in kind.methods and wanted in (None, kind.name) and
                kind.available()):
            break
    mechanism = kind()
    mechanism.proven = method in kind.surely
    return mechanism


def open_witness(wanted, mechanism, target, method):
    """Return the raw socket that hears what a mechanism does not, or None;
    raises RunError if neither is the one that is wanted."""
    problem = "not available on this system"
    kinds = () if mechanism.alone else SYSTEM.witnesses
    for kind in kinds:
        if wanted not in (None, kind.name):
            continue
        try:
            return kind(target, method == "tcp")
        except socket.error as error:
            problem = error.args[-1]
    if wanted not in (None, mechanism.name):
        raise RunError("mechanism %s: %s; %s" % (
            quote(wanted), problem, SYSTEM.cure))
    return None


def open_keeper():
    """Return a socket that keeps the kernel's receive stamps switched on,
    or None.

    Stamping starts a moment after the first socket asks for it; answers
    that arrive before then are stamped when they are read.
    """
    try:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    except socket.error:
        return None
    if LINUX:
        try_option(sock, SO_TIMESTAMPNS)
    return sock


# ---------------------------------------------------------------------------
# 8 Payloads (what UDP services answer to)
# ---------------------------------------------------------------------------

# request and reply are in hexadecimal or 'as text', where x is a random digit,
# and in the reply, a regular expression, the same digit again.  name and
# detail are the words for a reply: %s and %d in the detail stand for what
# the expression holds in (), as text or as a number; a table has words for
# its values.  No request changes a server's state; OpenVPN before 2.6 has it
# for a minute.
Payload = namedtuple("Payload", "ports name request reply detail")

# An unknown version: RFC 7296 2.5
IKE = Payload(
    (500,), "IKEv2", 16 * "x" + 16 * "0" + "00302208 00000000 0000001c",
    16 * "x" + ".{16}292.2220.{28}(....)",
    {"0005": "INVALID_MAJOR_VERSION", "000e": "NO_PROPOSAL_CHOSEN"})
PAYLOADS = [IKE, IKE._replace(ports=(4500,), request=8 * "0" + IKE.request,
                              reply=8 * "0" + IKE.reply)]
PAYLOADS += [Payload(*row) for row in (
    ((53,), "DNS", "xxxx 0100 0001 000000000000 00 0002 0001", "xxxx8..(.)",
     {"0": "NOERROR", "1": "FORMERR", "2": "SERVFAIL", "3": "NXDOMAIN",
      "4": "NOTIMP", "5": "REFUSED"}),
    ((123,), "NTP", "23" + 78 * "0" + 16 * "x", ".4(..).{44}" + 16 * "x",
     "stratum %d"),
    ((161,), "SNMPv3", "303b 020103 3010 020301xxxx 020300ffe3 040104 020103"
     "0410300e 0400 020100 020100 0400 0400 0400 3012 0400 0400"
     "a00c 02020102 020100 020100 3000",
     "30(?:..){1,3}02010330..020301xxxx(?:..)*?a8", "report"),
    # An unknown version in 1,200 bytes: RFC 9000 6.1, 14.1
    ((443, 853), "QUIC", "c01a2a3a4a08" + 16 * "x" + 2372 * "0",
     "..000000000008" + 16 * "x", "version negotiation"),
    ((4433, 5349, 5684), "DTLS", "16feff 0000 000000000000 0036 0100002a"
     "0000 00000000002a fefd" + 64 * "x" + "00 00 0002 c02f 0100",
     "1(?:5fe|6fe.{22}0[23])", ""),
    ((3478,), "STUN", "0001 0000 2112a442" + 24 * "x",
     "01.1....2112a442" + 24 * "x" +
     "(?:(?:.{8})*?0020(?:0008..01(....)(.{8})|0014..02(....)(.{32})))?",
     "seen from outside as %s"),
    ((5060,), "SIP", "'OPTIONS sip:a.invalid SIP/2.0\r\n"
     "Via: SIP/2.0/UDP a.invalid;rport;branch=z9hG4bK'6x6x6x6x6x6x6x6x'\r\n"
     "From: <sip:a.invalid>;tag=a\r\nTo: <sip:a.invalid>\r\nCall-ID: a'"
     "6x6x6x6x'\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 0\r\n\r\n'",
     "'SIP/2.0 '((?:..)*?)0d(?:..)*?6x6x6x6x6x6x6x6x", "%s"),
    ((69,), "TFTP", "0001'none-'6x6x6x6x00'octet'00",
     "000(?:3|5....((?:..)*?)00)", "%s"),
    ((1194,), "OpenVPN", "38" + 16 * "x" + 10 * "0",
     "40.{16}0100000000" + 16 * "x", ""),
    ((1812, 1645), "RADIUS", "01xx0014" + 32 * "x", "0([23b])xx0",
     {"2": "Accept", "3": "Reject", "b": "Challenge"}))]


# What answers nothing, or, L2TP, only what leaves a tunnel behind
SILENT = {162: "SNMP trap", 514: "syslog", 1701: "L2TP", 2055: "NetFlow",
          3784: "BFD", 4739: "IPFIX", 4789: "VXLAN", 8125: "StatsD",
          9995: "NetFlow",
          51820: "WireGuard"}

# By port: who sends from a port of its own, and which
CLIENT_PORTS = (123, 500, 4500)     # whose usual clients use the same
FROM_PORT = {53: ("some DNS servers", 53), 67: ("DHCP relays", 67),
             68: ("DHCP servers", 67), 500: ("IKE peers", 500),
             123: ("NTP servers and many clients", 123),
             4500: ("IKE peers", 4500)}


def find_payload(target):
    """Return the Payload for a target; None if none is known, or needed."""
    for row in PAYLOADS:
        if target.port in row.ports and target.payload is None:
            return row
    return None


def fill_template(template, digits=""):
    """Return a template in hexadecimal, with digits in place of each x, and
    . when there are no more."""
    import re
    text = re.sub("'([^']*)'| ", lambda found: format_hex(
        (found.group(1) or "").encode("ascii")), template)
    rest = iter(digits)
    return "".join(next(rest, ".") if c == "x" else c for c in text)


def match_payload(row, data, digits=""):
    """Return the match of a reply, to a request with these digits if they
    are given; None if it is something else."""
    import re
    return re.match(fill_template(row.reply, digits), format_hex(data))


def replies_to(row, payload, data):
    """Return False for a reply to another request, or too short for any;
    what is no reply at all is an answer too, if not the expected."""
    ours = [digit for place, digit in zip(
        fill_template(row.request), format_hex(payload)) if place == "."]
    if match_payload(row, data, ours):
        return True
    return len(data) > 1 and not match_payload(row, data)


def decode_outside(target, data):
    """Return (address, port) of this host as a STUN server saw it, or None
    (XOR-MAPPED-ADDRESS, RFC 8489 14.2)."""
    row = find_payload(target)
    if row is None or row.name != "STUN":
        return None
    found = match_payload(row, data)
    value = "".join(found.groups("")) if found else ""
    if not value:
        return None
    mask = ("2112" + format_hex(data)[8:])[:len(value)]
    value = "%0*x" % (len(value), int(value, 16) ^ int(mask, 16))
    return format_address(unhexlify(value[4:])), int(value[:4], 16)


def describe_data(target, data):
    """Return what UDP data says, as the subject of a sentence."""
    size, row = "%d bytes of data" % len(data), find_payload(target)
    words = name_data(target, data)
    if words:
        return "%s (%s)" % (words, size)
    if row:
        return "%s, not the %s reply expected," % (size, row.name)
    return size


def name_data(target, data):
    """Return in a few words what UDP data is, None if that is not known."""
    row = find_payload(target)
    found = row and match_payload(row, data)
    if not found:
        return None
    words, outside = row.name, decode_outside(target, data)
    if outside:
        form = "[%s]:%d" if ":" in outside[0] else "%s:%d"
        words += ": " + row.detail % (form % outside)
    else:
        detail = describe_detail(row.detail, "".join(found.groups("")))
        words += " " + detail if detail else ""
    return words


def describe_detail(detail, value):
    """Return the words for a value in hexadecimal, "" if there is none."""
    if isinstance(detail, dict):
        return detail.get(value, "code " + value)
    if "%" not in detail:
        return detail
    if not value:
        return ""
    if "%d" in detail:
        return detail % int(value, 16)
    return detail % format_text(unhexlify(value))[:60].strip()


# ---------------------------------------------------------------------------
# 9 Probe methods
# ---------------------------------------------------------------------------

# least_ttl: what arrives with a smaller ttl is not heard, 0 if all is.
Target = namedtuple("Target", "family address sockaddr port source_ip "
                              "source_port payload tos own_address "
                              "least_ttl")
Target.__new__.__defaults__ = (0,)


class Probe(object):
    """One packet we sent, and its identity."""

    __slots__ = ("ttl", "real", "sock", "source_port", "ident", "seq",
                 "payload", "sent", "sent_at", "answer", "doubtful", "error",
                 "tsval", "renewed", "retransmits", "kernel_rtt", "gone",
                 "failed", "empty", "facts", "accepted", "closed",
                 "counts")

    def __init__(self, ttl, real):
        for name in self.__slots__:
            setattr(self, name, None)
        self.empty = 0          # events that told nothing
        self.ttl = ttl          # 0: the system's own
        self.real = real        # a TCP connection meant to be completed
        self.doubtful = []      # replies that may not be to this probe
        self.facts = []         # replies that add to the answer

    def stamp(self):
        self.sent_at = time.time()
        self.sent = monotonic()


class Method(object):
    """How to probe; the contract and what the methods share.

    repeats    seconds after which the kernel would send a probe again by
               itself; then there is renew(probe), to let it
    connects   True if a probe opens a connection
    spoils     True if the kernel repeats a probe with another ttl, unless
               renew() has seen to it in time
    loses_errors  True if the kernel may have lost an ICMP error that came
               while it was still sending; that to a repeated probe is heard
    misses_quick  the same, if no raw socket has heard it
    most       probes in flight, at most
    checked    True if answers() can tell a forged quote by what we know; of
               TCP only the kernel knows the sequence numbers
    sight      what we see of who answers: see Mechanism
    bounds_ttl  True if it knows the least_ttl of its Target
    counts     count_icmp_errors() before the last probe was sent, where that
               tells what its errno means, else None
    send()     send a probe; raises socket.error
    receive()  list of Reply on a readable socket
    answers()  True if a reply is about a probe
    rtt()      seconds, or None if they cannot be known
    """

    name = protocol = None
    default_port = None
    repeats = None
    most = MOST_PORTS
    connects = False
    checked = True
    bounds_ttl = loses_errors = misses_quick = spoils = False
    counts = None
    tcp_info = None             # TcpInfo of a connection that came about
    sock = None

    def __init__(self, target, mechanism, raw=None):
        self.target = target
        self.mechanism = mechanism
        self.raw = raw
        self.payload = target.payload
        self.start()

    @property
    def sight(self):
        return "addresses" if self.raw else self.mechanism.sight

    def start(self):
        """Open what all probes share."""

    def close(self):
        if self.sock:
            self.sock.close()

    def open_socket(self, kind, protocol=0, port=None):
        """Return a non-blocking socket from which answers can be read."""
        if port is None:
            port = self.target.source_port or 0
        return self.mechanism.open(self.target, kind, protocol, port)

    def set_ttl(self, sock, ttl):
        sock.setsockopt(self.target.family.level, self.target.family.ttl, ttl)

    def release(self, probe):
        """Close what the probe alone uses, leaving nothing behind."""
        if probe.sock is not None and probe.sock is not self.sock:
            probe.sock.close()
        probe.sock = None

    def to_destination(self, quoted):
        return quoted.destination in (None, self.target.address)

    def same_ports(self, reply, probe):
        """Return True if nothing that is known of its ports tells a reply
        from one to the probe; a raw socket hears of everybody's."""
        quoted = reply.quoted
        if reply.raw and quoted.source_port != probe.source_port:
            return False
        return (quoted.protocol in (None, self.protocol) and
                quoted.source_port in (None, probe.source_port) and
                quoted.dest_port in (None, self.target.port))

    def quotes(self, quoted, probe):
        """Return True if the probe's payload is quoted; with another
        destination (a NAT on the way) at least 8 bytes of it."""
        theirs = quoted.payload or b""
        return same_start(probe.payload, theirs) and (
            self.to_destination(quoted) or len(theirs) >= 8)

    def rtt(self, probe, reply, elapsed):
        return elapsed

    def count_sent(self, probe, answer, elapsed):
        """Return an answer with how often the kernel sent the probe."""
        return answer


# What is used of struct tcp_info (linux/tcp.h).  options: bit 0 is
# timestamps; snd_mss in bytes; unacked, total_retrans and segs_in (None
# before Linux 4.2) in segments; pmtu in bytes; rtt in microseconds, 0 if
# there is none.
TcpInfo = namedtuple("TcpInfo", "options snd_mss unacked pmtu rtt "
                                "total_retrans segs_in")


def decode_tcp_info(data):
    """Return the TcpInfo in a struct tcp_info, None if it is too short, or
    all zeros as an emulator's may be: snd_mss is never 0."""
    if len(data) < 104:
        return None
    words = struct.unpack_from("=%dI" % (len(data) // 4), data)
    if words[4] == 0:
        return None
    return TcpInfo(options=bytearray(data)[5], snd_mss=words[4],
                   unacked=words[6], pmtu=words[15], rtt=words[17],
                   total_retrans=words[25],
                   segs_in=words[35] if len(words) > 35 else None)


class TcpMethod(Method):
    """TCP by connect(): the SYN is the kernel's own.  A SYN that reaches
    the destination is a connection, ended by a reset: few are sent at a
    time."""

    name = "tcp"
    protocol = socket.IPPROTO_TCP
    default_port = 80
    repeats = 0.95              # the SYN goes out again after 1.02 s
    connects = True
    checked = False
    most = 4                    # probes in flight

    def send(self, probe):
        probe.sock = sock = self.open_socket(socket.SOCK_STREAM)
        if probe.ttl:
            self.set_ttl(sock, probe.ttl)
        self.set_up(sock, probe)
        if not probe.real or self.target.source_port:
            # A reset at close, also if we are killed before we can close.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        probe.stamp()
        error = sock.connect_ex(self.target.sockaddr)
        if error == errno.ECONNREFUSED:
            probe.error = error
        elif error not in UNDER_WAY:
            raise socket.error(error, format_errno(error))
        self.hold_back(sock, probe)

    def set_up(self, sock, probe):
        """Set options of the SYN."""
        if self.mechanism.sends_once:
            try_option(sock, self.mechanism.sends_once)

    def hold_back(self, sock, probe):
        """Note the probe's identity, and see to what comes of its SYN."""
        try:
            probe.source_port = sock.getsockname()[1]
        except socket.error:
            pass

    def renew(self, probe):
        probe.renewed = True

    def receive(self, sock, probe):
        """The order matters: reading the error queue clears SO_ERROR, and
        SO_ERROR 0 does not mean connected."""
        replies = self.mechanism.errors(sock, self.protocol,
                                        self.target.family.version)
        info = self.read_info(sock)
        probe.retransmits = info.total_retrans if info else None
        if probe.retransmits and not (probe.real or probe.renewed):
            # We were too late: the SYN was repeated with a ttl of 1, so
            # this may be the first hop's answer to that one.
            probe.gone = True
            return []
        # What is connected has ICMP errors of later segments.
        connection = self.find_connection(sock, probe, info)
        if connection:
            return [connection]
        if replies:
            self.mechanism.note_errors(replies)
            return replies
        error = probe.error or sock.getsockopt(socket.SOL_SOCKET,
                                               socket.SO_ERROR)
        if not error:
            return []
        if error in (errno.ECONNRESET, errno.EPIPE):    # once it was open
            probe.error = error
            return [self.reset._replace(kind="accepted")]
        if error == errno.ETIMEDOUT:        # the kernel has given up
            probe.gone = True
            return []
        if error == errno.ECONNREFUSED:
            return [self.explain_refusal(probe, info)]
        self.mechanism.note_errors([])      # its error queue would say more
        return [self.explain_failure(probe, error)]

    def explain_failure(self, probe, error):
        """Return the Reply of a connect() that an ICMP error has ended."""
        return Reply("failed", error=error)

    def find_connection(self, sock, probe, info):
        """Return the Reply of a connection, None if there is none."""
        try:
            to_itself = sock.getpeername() == sock.getsockname()
        except socket.error:
            return None
        if to_itself:           # a port of this host, by chance
            return self.reset
        self.tcp_info = info
        # Of a repeated SYN it is not known which one was answered.
        if info and info.rtt and not info.total_retrans:
            probe.kernel_rtt = info.rtt * 1e-6
        return self.reset._replace(kind="accepted")

    def explain_refusal(self, probe, info):
        """Return the Reply of ECONNREFUSED: an ICMP error, if no segment
        came; "failed" where that is not known."""
        segments = info.segs_in if info else None
        if segments or segments is None and (
                self.mechanism.proven or self.mechanism.refusals):
            return self.reset
        kind = code = None
        if segments == 0:
            kind, code = {4: (3, 3), 6: (1, 4)}[self.target.family.version]
        return Reply("failed", None, kind, code, error=errno.ECONNREFUSED)

    @property
    def reset(self):
        return Reply("reset", responder=self.target.address)

    @staticmethod
    def read_info(sock):
        """Return the TcpInfo of a socket, None if the kernel has none."""
        return None

    def answers(self, reply, probe):
        if (reply.kind in ("accepted", "reset") and
                reply.responder != self.target.address):
            return False
        return self.same_ports(reply, probe)

    def rtt(self, probe, reply, elapsed):
        """A repeated SYN makes `elapsed` too long by a second or more: the
        quoted TSval says which one was answered."""
        if reply.kind == "accepted" and probe.kernel_rtt:
            return probe.kernel_rtt
        if probe.retransmits is None and elapsed > self.repeats:
            return None
        if not probe.retransmits:
            return elapsed
        tsval = reply.quoted.tsval
        if tsval is None or probe.tsval is None:
            return None
        late = ((tsval - probe.tsval) & 0xffffffff) * 1e-3
        return elapsed - late if late <= elapsed else None

    def count_sent(self, probe, answer, elapsed):
        """Only of the real connection: the others do not repeat a SYN.
        Without TCP_INFO its time alone tells; not of a refusal, as Windows
        tries again for a second before it believes one."""
        if not probe.real or answer.outcome not in ("open", "refused"):
            return answer
        flags = answer.flags
        if probe.retransmits is None:
            if answer.outcome == "open" and elapsed > self.repeats:
                flags += ("syn-late",)
            return answer._replace(flags=flags)
        if probe.retransmits:
            flags += ("syn-repeated",)
        return answer._replace(flags=flags, syns=1 + probe.retransmits)


def read_counters(name, group=None):
    """Return {name: number} of a file of Linux' counters in /proc/net, {}
    if it cannot be read; group: the rows that are meant, of names and of
    numbers ("Icmp:"), where one row is not one counter."""
    try:
        with open("/proc/net/" + name) as stream:
            rows = [line.split() for line in stream]
        if group:
            rows = zip(*[row[1:] for row in rows if row[:1] == [group]])
        return dict((row[0], int(row[1])) for row in rows if len(row) == 2)
    except (IOError, OSError, ValueError):
        return {}


def count_icmp_errors(version):
    """Return how many ICMP errors the kernel has counted in this network
    namespace: (destination unreachable, time exceeded), RFC 2011; None if
    it does not say."""
    if version == 4:
        start, counts = "", read_counters("snmp", "Icmp:")
    else:
        start, counts = "Icmp6", read_counters("snmp6")
    try:
        return tuple(counts[start + word]
                     for word in ("InDestUnreachs", "InTimeExcds"))
    except KeyError:
        return None


def count_missed_errors():
    """Return how many ICMP errors found their TCP socket in use and were
    lost, in this network namespace; None if the kernel does not say."""
    return read_counters("netstat", "TcpExt:").get("LockDroppedIcmps")


class LinuxTcpMethod(TcpMethod):
    """A SYN that reaches the destination is never acknowledged, so all may
    go out at once, and a service sees one connection: TCP_DEFER_ACCEPT holds
    the third packet of the handshake back for 200 ms, a ttl of 1 stops it
    should it leave, and a reset clears the server's entry."""

    most = MOST_PORTS
    bounds_ttl = spoils = True

    def start(self):
        self.missed = count_missed_errors()

    def send(self, probe):
        """Where an errno is all that is told (before Linux 5.8), what the
        kernel has counted meanwhile may tell what it was."""
        if not self.mechanism.proven and (
                self.counts is None or self.sight != "addresses"):
            self.counts = count_icmp_errors(self.target.family.version)
        probe.counts = self.counts
        TcpMethod.send(self, probe)

    def explain_refusal(self, probe, info):
        """Before Linux 4.2 nothing tells whether a segment came; if no ICMP
        error was counted since the probe was sent, one did.  Sandboxes may
        count none at all: they have no error queue either."""
        if self.mechanism.name == ErrorQueue.name and probe.counts and (
                info is None or info.segs_in is None):
            counts = count_icmp_errors(self.target.family.version)
            if counts and counts[0] == probe.counts[0]:
                return self.reset
        return TcpMethod.explain_refusal(self, probe, info)

    def explain_failure(self, probe, error):
        """Two errors have EHOSTUNREACH: a ttl that ran out, and a host that
        cannot be reached.  If only one of them was counted since the probe
        was sent, by whomever it was caused, it is that one."""
        version = self.target.family.version
        reply = Reply("failed", error=error)
        counts = count_icmp_errors(version)
        if error != errno.EHOSTUNREACH or not (counts and probe.counts):
            return reply
        unreachable, expired = [now != then for now, then
                                in zip(counts, probe.counts)]
        if expired and not unreachable:
            kind, code = TIME_EXCEEDED[version]
            return reply._replace(icmp_type=kind, icmp_code=code)
        if unreachable and not expired:
            return reply._replace(flags=("not-expired",))
        return reply

    def set_up(self, sock, probe):
        if self.target.least_ttl:
            option = LEAST_TTL[self.target.family.version]
            try_option(sock, option, self.target.least_ttl)
        if self.target.family.version == 6:     # a constant flow label
            try_option(sock, (41, IPV6_AUTOFLOWLABEL), 0)
        if not probe.real:
            try_option(sock, (self.protocol, TCP_DEFER_ACCEPT))

    def hold_back(self, sock, probe):
        TcpMethod.hold_back(self, sock, probe)
        try:
            probe.tsval = sock.getsockopt(self.protocol, TCP_TIMESTAMP)
        except socket.error:
            pass
        if not probe.real:
            self.set_ttl(sock, 1)

    @staticmethod
    def is_repeated(probe, now, tsval=None):
        """Return True if the SYN may have been sent again by `now`, or that
        one has this TSval (at least 100 ticks a second, RFC 7323 5.4)."""
        if tsval is not None and probe.tsval is not None:
            return 50 < (tsval - probe.tsval) & 0xffffffff < 1 << 31
        return now > probe.sent + 0.98

    @property
    def loses_errors(self):
        """Before Linux 5.8 an error that comes while connect() holds the
        socket, as from a router on this machine, is lost."""
        return not self.mechanism.proven and (
            self.missed is None or self.missed != count_missed_errors())

    @property
    def misses_quick(self):
        return not self.raw and self.loses_errors

    def renew(self, probe):
        """Let the kernel repeat the SYN with the ttl under test."""
        if not probe.real:
            self.set_ttl(probe.sock, probe.ttl or DEFAULT_TTL)
        if probe.counts:        # what comes now is about that SYN
            probe.counts = count_icmp_errors(self.target.family.version)
        probe.renewed = probe.real or not self.is_repeated(probe, monotonic())

    def release(self, probe):
        if probe.sock is not None and not probe.real:
            # The reset has to reach the server.
            family = self.target.family
            try_option(probe.sock, (family.level, family.ttl), DEFAULT_TTL)
        Method.release(self, probe)

    @staticmethod
    def read_info(sock):
        try:
            return decode_tcp_info(sock.getsockopt(socket.IPPROTO_TCP,
                                                   TCP_INFO, 256))
        except socket.error:
            return None


class UdpMethod(Method):
    """UDP by a socket per probe, not connected: it also hears of quotes
    that a NAT has changed.  Where a socket's errno is all there is, only a
    connected one has it."""

    name = "udp"
    protocol = socket.IPPROTO_UDP
    default_port = 33434
    # Windows' port unreachable and ttl expired (recvfrom()) are the others.
    MEANING = {errno.ECONNREFUSED: errno.ECONNREFUSED,
               errno.ECONNRESET: errno.ECONNREFUSED,
               errno.EHOSTUNREACH: errno.EHOSTUNREACH,
               errno.ENETRESET: errno.EHOSTUNREACH}

    def new_payload(self):
        """Return what to send: unless told, something new each time, by
        which a late answer is told from one to the next probe."""
        if self.payload is not None:
            return self.payload
        row, random = find_payload(self.target), os.urandom(64)
        if row is None:
            return random[:12]
        return unhexlify(fill_template(row.request, format_hex(random)))

    def send(self, probe):
        probe.sock = sock = self.open_socket(socket.SOCK_DGRAM)
        if probe.ttl:
            self.set_ttl(sock, probe.ttl)
        probe.source_port = sock.getsockname()[1]
        probe.payload = self.new_payload()
        probe.stamp()
        if self.sight == "addresses":
            sock.sendto(probe.payload, self.target.sockaddr)
        else:
            sock.connect(self.target.sockaddr)
            sock.send(probe.payload)

    def receive(self, sock, probe):
        replies = self.mechanism.errors(sock, self.protocol,
                                        self.target.family.version)
        try:
            data, address, port, facts, _ = self.mechanism.receive(sock)
        except socket.error as error:
            number = self.MEANING.get(error.errno)
            if number and self.mechanism.sight != "addresses":
                flags = ()
                if number not in SYSTEM.expires:
                    flags = ("not-expired",)
                replies.append(Reply("failed", error=number, flags=flags))
            return replies
        quoted = Quoted(self.protocol, dest_port=port)
        return replies + [Reply("data", address, quoted=quoted,
                                data=data[:DATA_LIMIT], **facts)]

    def answers(self, reply, probe):
        if reply.kind == "data":
            # From another port is fine (TFTP), another's id is not.
            row = find_payload(self.target)
            return reply.responder == self.target.address and (
                row is None or replies_to(row, probe.payload, reply.data))
        return (self.same_ports(reply, probe) and
                self.quotes(reply.quoted, probe))


class IcmpMethod(Method):
    """ICMP echo by a datagram (ping) socket where there is one, or a raw
    socket."""

    name = "icmp"
    protocol = None
    ident = None
    by_ping = True              # replies are read from the probes' socket

    def start(self):
        self.protocol = self.target.family.icmp
        self.nonce = os.urandom(8)
        self.seq, self.ident = struct.unpack("!HH", os.urandom(4))
        self.senders = {}
        self.open_echo(self.ident or 1)
        if self.sock is None:
            raise PrivilegeError(
                "ICMP echo is not permitted here: %s, or probe with -U or "
                "TCP" % (SYSTEM.no_echo or SYSTEM.cure))

    def open_echo(self, ident):
        """Open a ping socket with this ident or another, or a raw one."""
        for kind, port in ((socket.SOCK_DGRAM, ident),
                           (socket.SOCK_DGRAM, 0), (socket.SOCK_RAW, 0)):
            try:
                self.sock = self.open_socket(kind, self.protocol, port)
            except RunError:
                raise
            except (socket.error, OSError):
                continue
            self.by_ping = kind == socket.SOCK_DGRAM
            self.ident = ident
            if self.by_ping:    # Linux's own; others leave it to us
                self.ident = self.sock.getsockname()[1] or ident
            return

    def send(self, probe):
        self.seq = (self.seq + 1) & 0xffff
        probe.ident, probe.seq, probe.sock = self.ident, self.seq, self.sock
        probe.payload = self.payload
        if probe.payload is None:
            # The last 2 bytes keep the checksum, and so the flow, constant.
            probe.payload = self.nonce + struct.pack("!H", 0xffff ^ self.seq)
        packet = encode_echo(self.target.family.version, self.ident,
                             self.seq, probe.payload)
        for attempt in range(20):
            probe.stamp()
            try:
                ttl = probe.ttl or DEFAULT_TTL
                self.mechanism.send_echo(self.sender(ttl), packet,
                                         self.target, ttl)
                return
            except socket.error as error:
                # Most likely the answer to an earlier probe: each is also
                # reported once as the error of a send.
                if attempt == 19 or error.errno in TRANSIENT:
                    raise

    def sender(self, ttl):
        """Return the socket for a ttl: where what is sent waits in a queue,
        it leaves with the ttl that its socket has by then."""
        if not SYSTEM.queues:
            return self.sock
        if ttl not in self.senders:
            self.senders[ttl] = self.open_socket(
                socket.SOCK_DGRAM if self.by_ping else socket.SOCK_RAW,
                self.protocol, 0)
        return self.senders[ttl]

    def close(self):
        for sock in self.senders.values():
            sock.close()
        Method.close(self)

    def receive(self, sock, probe=None):
        version = self.target.family.version
        replies = self.mechanism.errors(sock, self.protocol, version)
        for data, address, _, facts, _ in self.mechanism.receive_all(sock):
            if self.by_ping:    # a raw one is the mechanism's to read
                reply = decode_icmp(version, data, responder=address, **facts)
                if reply:
                    replies.append(reply)
        return replies

    def answers(self, reply, probe):
        quoted = reply.quoted
        if (quoted.protocol, quoted.ident, quoted.seq) != (
                self.protocol, probe.ident, probe.seq):
            return False
        if reply.kind != "echo":
            return self.quotes(quoted, probe)
        theirs = quoted.payload or b""
        return (reply.responder == self.target.address and
                len(theirs) >= min(len(probe.payload), 8) and
                same_start(probe.payload, theirs))


METHODS = {"tcp": LinuxTcpMethod if LINUX else TcpMethod, "udp": UdpMethod,
           "icmp": IcmpMethod}


# ---------------------------------------------------------------------------
# 10 Series (what to send when)
# ---------------------------------------------------------------------------

class Aim(namedtuple("Aim", "method target flow")):
    """What probes are sent to: a method's name, and a Target with its port.

    flow tells one of several flows: its source port, or a number where
    there are no ports; None if there is but one.
    """

    __slots__ = ()

    port = property(lambda self: self.target.port)

    @property
    def subject(self):
        """What sentences call it: TCP port 443."""
        if self.port is None:
            subject, which = "ICMP echo", "by flow"
        else:
            subject = "%s port %d" % (self.method.upper(), self.port)
            which = "from source port"
        return subject if self.flow is None else "%s %s %d" % (
            subject, which, self.flow)

    def other(self, method, port, source_port=None, payload=None, flow=None):
        """Return the Aim at another port of the same host."""
        address, scope = self.target.sockaddr[0], self.target.sockaddr[2:]
        return Aim(method, self.target._replace(
            port=port, sockaddr=(address, port or 0) + scope,
            source_port=source_port, payload=payload), flow)


class State(Answered):
    """What a series knows of one ttl (0: the system's own)."""

    def __init__(self, ttl):
        self.ttl = ttl
        self.probes = []        # sent
        self.answered = []      # those answered, the destination's first
        self.settled = False
        self.held = False       # answered, but a banner may still come
        self.too_big = False    # a router found the packet too big
        self.farther = None     # rtt of the nearest farther hop that answered
        self.beyond = False     # the path was cut before this ttl
        self.extra = None       # when to try once more, for good

    @property
    def answers(self):
        return [probe.answer for probe in self.answered]

    answer = property(lambda self: self.answered[0].answer if self.answered
                      else NO_REPLY)


def find_end(hops, full_reached):
    """Return the ttl at which a path ends, None while that is not known.

    The destination ends it; so does a router that says no, unless
    something farther away was heard of or the destination reached.
    hops: Hops or States in ttl order.
    """
    final = None
    for hop in hops:
        if hop.outcome == "time-exceeded":
            final = None
        elif hop.reached:
            return hop.ttl
        elif hop.final and final is None:
            final = hop
    if final is None or full_reached and final.outcome not in (
            "reset", "intercepted"):
        return None
    return final.ttl


def find_loop(hops):
    """Return the first and last hop of a routing loop, and the one that
    proves it; None if there is no loop.

    All were met twice, and six answers agree, as one router may be met at
    two ttls of unequal paths; the reply ttls too, as a NAT may lend its
    address to all behind it.
    """
    seen = [hop.address and (hop.address, hop.answer.reply_ttl)
            for hop in hops]
    for at, start in enumerate(seen):
        for size in range(2, (len(seen) - at) // 2 + 1):
            end = at + max(6, 2 * size)
            if start == seen[at + size] != seen[at + 1] and \
                    all(seen[at:end]) and \
                    seen[at:end - size] == seen[at + size:end]:
                return hops[at], hops[at + size - 1], hops[end - 1]
    return None


def is_untold(state):
    """Return True if nothing but an errno says that it is unreachable."""
    return state.outcome == "unreachable" and state.answer.icmp_type is None


def may_be_refusal(state):
    """Return True if nothing but an errno says that a ttl ran out."""
    return state.outcome == "time-exceeded" and state.answer.icmp_type is None


class Series(object):
    """An aim and some ttls: which to probe when, and when to stop.

    It knows no sockets.  The engine asks due(now) for what to send, reports
    note_sent() and note_answer(), and calls update(now); times are of one
    monotonic clock.

    A silent hop is tried again, spread over its wait, so that a router
    that limits its ICMP to one a second has its second chance; of many
    queries none is made up for, and once one was not answered the others
    follow slowly: a limit lets those pass, loss does not.  Once a hop
    farther away has answered, a nearer one is hurried: its tries follow
    quickly, and it is given up some time after the time the farther one
    took, sooner if it is all that is waited for.

    full      State of the system's own ttl
    states    list of State, one for each ttl from first to last
    end       ttl at which the path ends, as find_end() has it
    farthest  ttl of the farthest hop that answered, first - 1 if none
    passed    the same of routers that were passed, or the destination
    reached_at  the smallest ttl that reached the destination, or None
    loop      as find_loop() has it; `last` is then less
    slowest   the longest rtt seen, in seconds
    patient   a late answer cannot be told from one to the next probe
    half_open  the full ttl, too, opens no connection on a service
    full_until  the full ttl is waited for until then, if longer than `wait`
    behind_router  the ttl of a hop behind one that is known to be a router
    until     no silent ttl is waited for longer, if its last try had some
              time: it ends together with the full ttl; None if it need not
    """

    FLOOR = 0.08        # seconds a hurried hop has for its last try,
    LEISURE = 0.3       # and while the full-ttl probe is waited for anyway
    PACE = 1.1          # seconds in which a limit allows one more answer

    def __init__(self, first=1, last=30, wait=2.0, queries=1, retries=2,
                 gap=5, parallel=16, full_retries=None, one_flow=False,
                 patient=False, aim=None, method=None, full_ttl=0,
                 half_open=False):
        self.aim = aim
        self.method = method
        self.wait = wait
        self.queries = queries
        self.retries = retries
        self.gap = gap
        self.parallel = parallel
        self.full_retries = full_retries
        if full_retries is None:
            self.full_retries = retries
        self.one_flow = one_flow
        self.patient = patient
        self.half_open = half_open
        self.full_until = 0
        self.until = None
        self.behind_router = None
        self.full = State(full_ttl)
        self.states = []
        self.slowest = self.loop = self.end = None
        self.look(first, last)

    def look(self, first, last):
        """Probe these ttls, or probe these from now on."""
        known = dict((state.ttl, state) for state in self.states)
        for state in self.states:       # who waits for one waits no more
            if not first <= state.ttl <= last:
                state.settled = True
        self.first, self.last = first, last
        self.states = [known.get(ttl) or State(ttl)
                       for ttl in range(first, last + 1)]
        self.survey()

    # What is known so far

    def survey(self):
        """Keep what follows from the answers of all ttls together."""
        self.end = find_end(self.states, self.full.reached)
        self.farthest, self.reached_at = self.first - 1, None
        self.passed = self.farthest
        for state in self.states:
            if state.heard and state.ttl <= self.last:
                self.farthest = state.ttl
                if state.reached or state.outcome == "time-exceeded":
                    self.passed = state.ttl
            if state.reached and self.reached_at is None:
                self.reached_at = state.ttl

    @property
    def last_certain(self):
        """The last ttl up to which each error is known to be that of a ttl
        that ran out."""
        last = self.first - 1
        for state in self.states:
            if state.outcome == "time-exceeded" and \
                    state.answer.icmp_type is not None:
                last = state.ttl
            elif state.answered:
                break
        return last

    @property
    def last_told(self):
        """The last ttl of which more than an errno is known, that may mean a
        refusal as well as a ttl that ran out."""
        if not is_untold(self.full):
            return self.last
        last = self.last_certain
        follows = [state for state in self.states
                   if state.ttl > last and state.answered]
        if follows and follows[0].final:
            last = follows[0].ttl
        return last

    @property
    def last_inside(self):
        """The last ttl that is known to lie before the end."""
        return max(self.passed, (self.end or 0) - 1)

    @property
    def all_states(self):
        """The full ttl first."""
        return [self.full] + self.states

    @property
    def horizon(self):
        """The last ttl that has to be settled before we are done."""
        if self.end is not None:
            return self.end
        if not self.gap:
            return self.last
        gap = self.gap
        if self.full.reached:
            gap = max(gap, self.parallel)
        return min(self.last, self.farthest + gap)

    @property
    def open_ended(self):
        """True if the full ttl got farther than any we tried: nothing is
        known of the path's end, or something on the way ended it."""
        if self.end is None:
            return self.full.final
        return self.full.reached and \
            self.at(self.end).outcome != self.full.outcome

    @property
    def done(self):
        horizon = self.horizon
        return self.full.settled and all(
            state.settled for state in self.states
            if state.ttl <= horizon or state.beyond and state.probes)

    def at(self, ttl):
        """Return the State of a ttl, None if it is not in this series."""
        if self.first <= ttl < self.first + len(self.states):
            return self.states[ttl - self.first]
        return None

    # Sending

    def due(self, now, most=4):
        """Return the states to be probed now, the full ttl first."""
        chosen = []
        limit, horizon = self.end or self.last, self.horizon
        pending = [state for state in self.states
                   if state.ttl <= horizon and not state.settled]
        room = self.window - sum(1 for state in self.all_states
                                 if state.probes and not state.settled)
        blocked = any(self.needs_more(state) for state in pending)
        for state in self.all_states:
            if len(chosen) == most:
                break
            if state.settled or state is not self.full and state.ttl > limit:
                continue
            if state.probes:
                when = self.next_try(state)
                if when is not None and now >= when:
                    chosen.append(state)
                continue
            if room <= 0 and not (self.counting and state.ttl <= horizon):
                break               # who is counted waits, most of the time
            if blocked:
                break
            if state is not self.full and state.ttl > horizon and (
                    self.counting or not pending):
                break               # the gap of silent hops is too wide
            room -= 1
            chosen.append(state)
        return chosen

    @property
    def window(self):
        """How many ttls may be under way at once."""
        if self.method is None:
            return self.parallel
        return min(self.parallel, self.method.most)

    @property
    def usual(self):
        """The longest time that an answer needs, in seconds: not that of one
        for which the kernel, or the host, had to repeat a segment."""
        times = [min(probe.answer.rtt or 0 for probe in state.answered)
                 for state in self.states if state.answered]
        return max(times) if times else self.slowest

    @property
    def counting(self):
        """True if it is counted what is lost, which takes its time: not
        where hops have to wait for each other."""
        return self.queries > FEW_QUERIES and self.window >= 8

    @staticmethod
    def needs_more(state):
        """True if an extra try is due, and nothing farther has answered."""
        return state.extra is not None and state.farther is None and \
            bool(state.probes) and not state.answered and \
            state.probes[-1].sent < state.extra

    def doubt(self, state, when):
        """Let a silent hop have one more try, not before `when`: a second
        after something may have used up what it allows itself to send."""
        if state.extra is None and state.probes and not state.answered:
            self.ask_again(state, when)

    def doubt_no_more(self):
        """Take what is silent for that, without one more try."""
        for state in self.states:
            state.extra = None

    @staticmethod
    def ask_again(state, when):
        """Let a silent hop have one more try, not before `when`."""
        state.extra = when
        state.settled = False

    def tries(self, state):
        if state is self.full:
            return 1 + self.full_retries
        if not self.counting:
            return self.queries + self.retries
        if state.answered:
            return self.queries
        return min(self.queries, self.hurried + 2)

    @property
    def hurried(self):
        """How often a silent hop is asked in a hurry, if it is counted."""
        return 2 * (1 + self.retries)

    def next_try(self, state):
        """Return when to send again, None if there is no try left."""
        last = state.probes[-1]
        if state.held or state.beyond:
            return None
        if len(state.probes) >= self.tries(state):
            return state.extra if self.needs_more(state) else None
        if self.slow(state):
            return last.sent + self.PACE
        if last.answer or last.gone:
            return last.sent
        spacing = self.wait / (self.retries + 1)
        if state.farther is not None and not state.answered:
            spacing = max(state.farther / 4, 0.005)
            if self.one_flow:           # one in flight
                spacing = state.farther * 1.5 + self.FLOOR
        return last.sent + spacing

    def slow(self, state):
        """True if a state that is counted is to be asked slowly: it misses
        some, or was asked in a hurry, in vain."""
        if not self.counting or state is self.full:
            return False
        if not state.answered:
            return state.farther is not None and \
                len(state.probes) >= self.hurried
        return any(not probe.answer and not probe.gone
                   for probe in state.probes)

    def deadline(self, state):
        """Return when a state with probes is given up."""
        last = state.probes[-1].sent
        heard = [probe.sent + (probe.answer.rtt or 0)
                 for probe in state.answered]
        limit = max(heard or [state.probes[0].sent]) + self.wait
        if self.until:
            limit = min(limit, max(self.until, last + self.LEISURE +
                                   2 * (self.slowest or 0)))
        if state is self.full:
            limit = max(limit, self.full_until)
        if state.extra and state.farther is None:
            limit = max(limit, state.extra + self.LEISURE +
                        2 * (self.slowest or 0))
        if state.beyond:
            return min(limit, last + max(1.5 * (self.slowest or 0),
                                         self.FLOOR))
        if self.counting and state is not self.full and (
                state.answered or state.farther is not None):
            if len(state.probes) < self.tries(state):
                return last + self.PACE + self.wait
            return last + min(self.wait,
                              self.LEISURE + 2 * (self.usual or 0))
        if state.farther is not None and not state.answered and \
                len(state.probes) >= self.tries(state):
            floor = self.FLOOR if self.full.settled else self.LEISURE
            limit = min(limit, last + max(state.farther * 1.2 + 0.01, floor))
        return limit

    def next_time(self, now):
        """Return the next time at which something may have to be done."""
        times = [now + 1]
        limit = self.end or self.last
        for state in self.all_states:
            if not state.probes or state.settled or state.held:
                continue
            if state is self.full or state.beyond or state.ttl <= limit:
                times.append(self.deadline(state))
                times.append(self.next_try(state) or now + 1)
        return min(times)

    # Hearing

    def note_sent(self, state, probe):
        state.probes.append(probe)

    def note_answer(self, state, probe):
        answer = probe.answer
        state.answered.append(probe)
        # The destination's word counts more than a router's.
        state.answered.sort(
            key=lambda one: not OUTCOMES[one.answer.outcome].reached)
        self.survey()
        if state is self.full and is_untold(state):
            # Nor can the errno of a small ttl be told from this.
            self.look(self.first, self.last_told)
        if answer.rtt is not None:
            self.slowest = max(answer.rtt, self.slowest or 0)
        self.hurry()
        if not self.full.final:         # answers come in any order
            self.loop = find_loop(self.states) or self.loop
        if self.loop:
            self.last = self.loop[2].ttl
            self.survey()

    def hurry(self):
        """Tell each ttl what is known of those behind it."""
        farther = None
        if self.one_flow and self.full.reached and not self.patient:
            farther = self.full.answer.rtt  # one at a time: no other clue
        cut = self.full.final and not self.full.reached
        for state in reversed(self.states):
            state.farther = farther
            state.beyond = bool(cut and self.end is not None and
                                state.ttl > self.end)
            if state.heard:
                farther = min(state.answer.rtt or self.wait, self.wait)

    def update(self, now):
        """Settle what is answered or given up."""
        for state in self.all_states:
            if state.settled or not state.probes or state.held:
                continue
            wanted = 1 if state is self.full else self.queries
            if len(state.answered) >= wanted or \
                    state.outcome == "send-failed" or \
                    now >= self.deadline(state):
                state.settled = True


# ---------------------------------------------------------------------------
# 11 Engine (sending and hearing)
# ---------------------------------------------------------------------------

class Poller(object):
    """Waits for sockets: poll() where there is one, else select().

    wait(seconds) -> list of file numbers on which something happened.
    select() cannot take numbers from FD_SETSIZE on, hence poll() first;
    Windows tells failed connects in the third set only.
    """

    def __init__(self, use_poll=True):
        self.writers = {}
        self.poll = None
        if use_poll and hasattr(select, "poll"):
            self.poll = select.poll()

    @property
    def full(self):
        """True if select() might take no more (Windows: 512)."""
        return not self.poll and len(self.writers) > 500

    def add(self, number, write=False):
        self.writers[number] = write
        if self.poll:
            events = select.POLLIN | select.POLLOUT if write \
                else select.POLLIN
            self.poll.register(number, events)

    def remove(self, number):
        if self.writers.pop(number, None) is not None and self.poll:
            self.poll.unregister(number)

    def wait(self, seconds):
        seconds = min(max(seconds, 0), 3600)
        try:
            if self.poll:
                milliseconds = -int(-seconds * 1000 // 1)   # rounded up
                return [number for number, _ in self.poll.poll(milliseconds)]
            reading = list(self.writers)
            writing = [number for number in reading if self.writers[number]]
            if not reading:
                time.sleep(seconds)
                return []
            sets = select.select(reading, writing, writing, seconds)
            return list(set(sets[0] + sets[1] + sets[2]))
        except (select.error, OSError) as error:
            if error.args[0] != errno.EINTR:
                raise
            return []


def wait_for(function, seconds):
    """Return function(seconds): a guard that stops nothing."""
    return function(seconds)


# A Reply and when it came, by the engine's clock and by time.time().
Heard = namedtuple("Heard", "reply now real_now")
# A probe under way, with the series and the State it belongs to.
Flight = namedtuple("Flight", "series state probe")


def complete(probe):
    """Return the answer to a probe with what was heard after it: its
    service's banner, and what only a raw socket sees of the answer."""
    answer = probe.answer
    for fact in probe.facts:
        if fact.kind == "banner":
            answer = answer._replace(data=fact.data, after=fact.after,
                                     flags=answer.flags + fact.flags)
        elif (fact.responder, fact.icmp_type, fact.icmp_code) != (
                answer.address, answer.icmp_type, answer.icmp_code) or \
                (fact.kind, answer.outcome) in (("reset", "open"),
                                                ("accepted", "refused")):
            continue                    # about something else
        elif fact.kind == "icmp":
            answer = answer._replace(reply_ttl=fact.reply_ttl,
                                     quoted=fact.quoted)
        elif answer.reply_ttl is None:
            answer = answer._replace(reply_ttl=fact.reply_ttl)
    return answer


class Engine(object):
    """Carries out series with real sockets, all in one loop.

    add(series), then turn() until all series are done, then close(), which
    is what leaves no half-open connection behind.  Whoever adds a socket to
    the poller shares the loop: it returns once when something happens.
    """

    STEP = 1e-3         # seconds; a clock that moved more was set
    GRACE = 0.05        # seconds for a raw socket to explain an errno

    def __init__(self, raw=None, banner_wait=0.5, debug=None,
                 clock=monotonic, poller=None, guard=wait_for, keeper=None):
        self.raw, self.keeper = raw, keeper
        self.banner_wait = banner_wait
        self.debug = debug or Mechanism.debug
        self.clock = clock
        self.poller = poller or Poller()
        self.guard = guard
        self.series = []
        self.watched = {}       # file number -> Flight
        # Flight -> (when, function): it may get a banner, or has ended with
        # a mere errno that a raw socket may explain.
        self.timed = {}
        self.held_until = 0     # no sending before, after ENOBUFS
        self.holds = 0
        self.raw_sockets = raw.sockets if raw else []
        for sock in self.raw_sockets:
            self.poller.add(sock.fileno())

    def add(self, series):
        self.series.append(series)
        if series.method.sock:
            self.poller.add(series.method.sock.fileno())

    @property
    def done(self):
        return all(series.done for series in self.series)

    def turn(self, most=1.0):
        """Send what is due, wait for at most `most` seconds, hear."""
        now = self.clock()
        sent = False
        for series in self.series:
            if now < self.held_until:
                break                   # no file or buffer is free
            for state in series.due(now):
                if self.poller.full:
                    self.held_until = now + 0.01
                if now >= self.held_until:
                    sent = self.send(series, state)
        now = self.clock()
        wait = 0 if sent else self.next_time(now + most) - now
        if self.held_until > now:
            wait = min(max(wait, 0.01), self.held_until - now)
        ready = self.guard(self.poller.wait, wait)
        now, real_now = self.clock(), time.time()
        for number in ready:
            self.hear(number, now, real_now)
        self.expire(now)
        for series in self.series:
            series.update(now)
        self.tidy()

    def next_time(self, latest):
        """Return when something may have to be done, at the latest."""
        now = self.clock()
        times = [latest]
        times += [series.next_time(now) for series in self.series]
        times += [when for when, _ in self.timed.values()]
        for flight in self.watched.values():
            repeats, probe = flight.series.method.repeats, flight.probe
            if repeats and not probe.renewed and not probe.answer:
                times.append(probe.sent + repeats)
        return min(times)

    # Sending

    def send(self, series, state):
        """Send a probe; return True if turn() should not wait then."""
        method = series.method
        if series.one_flow:             # the port is needed again
            for probe in state.probes:
                self.forget(method, probe)
        probe = Probe(state.ttl, real=state is series.full and
                      not series.half_open)
        probe.stamp()
        try:
            method.send(probe)
        except socket.error as error:
            method.release(probe)
            if error.errno in TRANSIENT and (self.holds < 40 or
                                             self.watched):
                self.holds += 1         # for two seconds on end
                self.held_until = self.clock() + 0.05
                return False
            self.debug("ttl %s: not sent: %s" % (state.ttl, error))
            series.note_sent(state, probe)
            self.answer(Flight(series, state, probe), NO_REPLY._replace(
                outcome="send-failed", error=error.errno))
            return True
        self.debug("ttl %s: %s probe from port %s id %s seq %s %s" % (
            state.ttl or "full", method.name, probe.source_port, probe.ident,
            probe.seq, format_hex(probe.payload or b"")))
        self.holds = 0
        series.note_sent(state, probe)
        if probe.sock is not method.sock:
            number = probe.sock.fileno()
            self.watched[number] = Flight(series, state, probe)
            self.poller.add(number, write=method.connects)
        return True

    # Hearing

    def hear(self, number, now, real_now):
        if number in self.watched:
            self.hear_probe(self.watched[number], now, real_now)
            return
        for sock in self.raw_sockets:
            if sock.fileno() == number:
                beside = [series for series in self.series
                          if series.method.raw is self.raw]
                for reply in self.raw.replies(sock):
                    self.match(reply, self.flights(beside), now, real_now)
                return
        for series in self.series:
            sock = series.method.sock
            if sock and sock.fileno() == number:
                for reply in series.method.receive(sock):
                    self.match(reply, self.flights([series]), now, real_now)
                return
        self.poller.remove(number)      # who listens has been woken

    def hear_probe(self, flight, now, real_now):
        """Read what has come to a probe's own socket."""
        series, state, probe = flight
        if state.held and probe.answer:
            self.read_banner(flight)
            return
        replies = series.method.receive(probe.sock, probe)
        for reply in replies:
            self.match(reply, [flight], now, real_now)
        if not replies:
            probe.empty += 1
        if probe.gone or probe.empty > 16 or (not replies and probe.answer):
            probe.gone = True           # dead, or worse than silent
            self.forget(series.method, probe)

    @staticmethod
    def flights(many):
        """Yield every probe of some series, of a ttl the latest first."""
        for series in many:
            for state in series.all_states:
                for probe in reversed(state.probes):
                    yield Flight(series, state, probe)

    def match(self, reply, candidates, now, real_now):
        """Give the reply to the probe it answers; else it is foreign."""
        self.debug("heard %r" % (reply,))
        found = [flight for flight in candidates
                 if now >= flight.probe.sent and (
                     reply.kind == "failed" or
                     flight.series.method.answers(reply, flight.probe))]
        if not found:
            self.debug("foreign, ignored")
            return
        # In one flow only the last one is under way.
        self.take(max(found[::-1], key=lambda flight: flight.probe.sent),
                  reply, now, real_now)

    def take(self, flight, reply, now, real_now):
        """Take a reply that matches a probe, if it is certain; else keep
        it until the probe's time is over."""
        series, state, probe = flight
        if probe.answer:
            if reply.raw and len(probe.facts) < 8:
                probe.facts.append(reply)
            return
        if reply.raw and series.method.spoils and not (
                probe.real or probe.renewed) and series.method.is_repeated(
                    probe, self.clock(), reply.quoted.tsval):
            return              # perhaps hop 1's, to a repeated SYN
        if not self.certain(series.method, probe, reply):
            if len(probe.doubtful) < 8:
                probe.doubtful.append(Heard(reply, now, real_now))
            return
        version = series.method.target.family.version
        if reply.data is None and not state.too_big and \
                (reply.icmp_type, reply.icmp_code) == TOO_BIG[version]:
            # The kernel has learned the path's MTU from it: once more.
            state.too_big = probe.gone = True
            self.forget(series.method, probe)
            return
        if reply.kind == "failed":
            known = [entry for entry in probe.doubtful
                     if entry.reply.kind == "icmp" and
                     series.method.to_destination(entry.reply.quoted)]
            if known:
                reply, now, real_now = known[0]
            elif self.raw:              # wait for it to tell more
                probe.failed = Heard(reply, now, real_now)
                self.forget(series.method, probe)
                self.timed[flight] = now + self.GRACE, self.leave_unexplained
                return
        probe.facts += [entry.reply for entry in probe.doubtful]
        self.answer(flight, self.explain(flight, reply, now, real_now))

    @staticmethod
    def certain(method, probe, reply):
        """True if the reply can only be to the probe it matches.

        Not so: a quote with another destination (a NAT on the way, or a
        forgery), and what only a raw socket heard of a TCP probe, as long
        as the kernel, which alone knows the sequence number, can tell.
        """
        if reply.kind == "failed":
            return True
        if reply.raw and not method.checked:
            accepted = any(entry.reply.kind == "accepted"
                           for entry in probe.doubtful)
            return (reply.kind == "icmp" and not accepted and
                    method.to_destination(reply.quoted) and (
                        method.mechanism.sight != "addresses" or
                        method.loses_errors))
        return method.to_destination(reply.quoted)

    def explain(self, flight, reply, now, real_now):
        """Return a Reply with its outcome and its rtt."""
        method, probe = flight.series.method, flight.probe
        outcome, reason = classify(reply, method.target.address,
                                   method.target.own_address)
        if outcome == "send-failed":
            return NO_REPLY._replace(outcome=outcome, error=reason)
        if reply.kind == "failed" and reply.icmp_type is None and \
                probe.ttl and reply.error == errno.EHOSTUNREACH and \
                "not-expired" not in reply.flags:
            outcome = "time-exceeded"   # most likely, at so small a ttl
        elapsed = now - probe.sent
        shift = (real_now - now) - (probe.sent_at - probe.sent)
        if reply.received and abs(shift) < self.STEP:
            stamped = reply.received - probe.sent_at
            if 0 <= stamped < elapsed:
                elapsed = stamped
        answer = reply._replace(outcome=outcome, error=reason,
                                rtt=method.rtt(probe, reply, elapsed))
        return method.count_sent(probe, answer, elapsed)

    def answer(self, flight, answer):
        """Note the answer to a probe, and what has to be done then."""
        series, state, probe = flight
        if not state.answered and answer.outcome != "send-failed":
            tries = state.probes.index(probe) + 1
            if tries > 1:
                answer = answer._replace(
                    tries=tries, flags=answer.flags + ("retried",))
        probe.answer = answer
        if state.settled:
            return
        series.note_answer(state, probe)
        if answer.outcome == "open" and probe.real:
            self.await_banner(flight)
        else:
            self.forget(series.method, probe)

    # What a service says at once

    def await_banner(self, flight):
        series, state, probe = flight
        state.held = True
        if series.method.payload:
            try:
                probe.sock.send(series.method.payload)
            except socket.error:
                pass                    # reading tells why
        number = probe.sock.fileno()
        self.poller.remove(number)
        self.poller.add(number)
        probe.accepted = self.clock()
        self.timed[flight] = (probe.accepted + self.banner_wait,
                              self.end_banner)

    def read_banner(self, flight):
        try:
            data = flight.probe.sock.recv(DATA_LIMIT)
        except socket.error as error:
            if error.errno in NOTHING_YET:
                return
            data = None                 # reset
        self.end_banner(flight, data, closed=data == b"")

    def end_banner(self, flight, data=b"", closed=False):
        """Keep what the service said; None: it reset the connection."""
        series, state, probe = flight
        info, flags = series.method.read_info(probe.sock), ()
        if closed:
            flags += ("closed-at-once",)
        unheard = info and info.unacked and info.total_retrans
        if series.method.payload and (data is None or unheard):
            flags += ("data-lost",)
        if data is None or probe.error:
            flags += ("reset-at-once",)
        probe.facts.append(NO_REPLY._replace(
            kind="banner", data=data or None, flags=flags,
            after=self.clock() - probe.accepted))
        state.held = False
        del self.timed[flight]
        self.forget(series.method, probe)

    # Letting go

    def expire(self, now):
        """See to the probes whose time has come."""
        for flight, (when, function) in list(self.timed.items()):
            if now >= when:
                function(flight)
        for series, state, probe in list(self.watched.values()):
            method = series.method
            if method.repeats and not probe.answer and not probe.renewed \
                    and now >= probe.sent + method.repeats:
                usual = series.usual if series.counting else series.slowest
                fast = usual is not None and usual < 0.5
                late = method.spoils and not probe.real and \
                    method.is_repeated(probe, now)
                if not late and (probe.real or not fast or
                                 method.misses_quick):
                    method.renew(probe)
                else:           # a fresh probe is worth more
                    self.forget(method, probe)
        for series in self.series:
            for state in series.all_states:
                if state.settled or state.answered or not state.probes or \
                        now < series.deadline(state):
                    continue
                for probe in reversed(state.probes):
                    if not state.answered:
                        self.settle_doubt(Flight(series, state, probe))

    def leave_unexplained(self, flight):
        """Take an errno for what it says: no ICMP error has come."""
        del self.timed[flight]
        series, state, probe = flight
        if probe.answer or state.settled:
            return
        reply, now, real_now = probe.failed
        if series.method.connects and reply.icmp_type is None and \
                reply.error == errno.ECONNREFUSED:
            reply = series.method.reset
        self.answer(flight, self.explain(flight, reply, now, real_now))

    def settle_doubt(self, flight):
        """Failing all else believe a doubtful reply, if there is a reason
        why the kernel did not pass it on (a quote that a NAT changed, or no
        error queue for TCP) and no other contradicts it."""
        method = flight.series.method
        heard = [entry for entry in flight.probe.doubtful
                 if entry.reply.kind == "icmp" and (
                     method.checked or not method.mechanism.proven or
                     not method.to_destination(entry.reply.quoted))]
        if len(set(entry.reply.responder for entry in heard)) != 1:
            return
        answer = self.explain(flight, *heard[0])
        if not method.to_destination(heard[0].reply.quoted):
            answer = answer._replace(flags=("nat-destination",))
        self.answer(flight, answer)

    def tidy(self):
        """Close the sockets of what is settled or lies behind the end."""
        for series, state, probe in list(self.watched.values()):
            if state.held:
                continue
            end = series.reached_at
            if state.settled or end is not None and state.ttl > end:
                self.forget(series.method, probe)

    def forget(self, method, probe):
        if probe.closed is None:
            probe.closed = self.clock()
        if probe.sock not in (None, method.sock):
            number = probe.sock.fileno()
            if self.watched.pop(number, None):
                self.poller.remove(number)
        method.release(probe)

    def retire(self, series):
        """Send and hear no more of a series; close what it has open."""
        for flight in list(self.watched.values()):
            if flight.series is series:
                self.forget(series.method, flight.probe)
        for flight in list(self.timed):
            if flight.series is series:
                del self.timed[flight]
        self.series.remove(series)
        if series.method.sock:
            self.poller.remove(series.method.sock.fileno())
        series.method.close()

    def close(self):
        """Close everything; no connection stays half-open."""
        for series in list(self.series):
            self.retire(series)
        for thing in self.raw, self.keeper:
            if thing:
                thing.close()


# ---------------------------------------------------------------------------
# 12 Facts (what was heard, frozen)
# ---------------------------------------------------------------------------

# How hops are shown: names is a Names, or None; queries of -q.
Show = namedtuple("Show", "destination verbose queries names")

# What becomes of an answer that did not come from the destination.
FORGED = {"tcp": {"refused": "reset", "port-unreachable": "prohibited",
                  "prohibited": "prohibited", "open": "intercepted"},
          "udp": {"refused": "prohibited", "port-unreachable": "prohibited",
                  "prohibited": "prohibited", "data": "intercepted"},
          "icmp": {}}
REFUSALS = ("refused", "port-unreachable", "prohibited")

# With which ttl a reset arrives, how many routers it has passed, and how many
# what the destination says has.
Arrival = namedtuple("Arrival", "ttl passed host")
STARTS = (64, 128, 255)         # with one of these ttls most packets begin


def count_passed(reply_ttl):
    """Return how many routers a reply has passed, judged by its ttl."""
    return min(start - reply_ttl for start in STARTS if start >= reply_ttl)


class Path(namedtuple("Path", "aim sight first last horizon hops full end "
                              "farthest open_ended loop refusal reached "
                              "distance shown complete elapsed limited "
                              "parted nearer late arrival proven")):
    """A series frozen: plain facts, which nothing changes any more.

    aim         the Aim: its method, its Target, its subject in sentences
    sight       what the system showed: a Mechanism's word
    first, last  ttls that were to be probed; horizon: up to here they were
    hops        Hop of each ttl; full: that of the system's own ttl
    end         ttl at which the path ends, or None (find_end)
    farthest    ttl of the last hop that answered, first - 1 if none
    open_ended  the full ttl got farther than any other
    loop        (first, last, proof) as find_loop() has it, or None
    refusal     is it the destination that refuses, or accepts?  confirmed,
                forged, or None: not known, or neither was heard
    reached     the destination's own Reply, or None
    distance    ttl of the destination, None if not known
    shown       the Hops that people see
    complete    False if it was interrupted; elapsed: seconds
    limited     limits of ICMP may hide farther hops
    parted      from other source ports the port gets farther
    nearer      something else was answered from nearer, too
    late        what reached the destination had been sent later than what
                did not, behind the last router
    proven      it was asked again, beside what got farther: no limit feigns
                where it ends
    arrival     the Arrival of a reset that comes from the last router, though
                its distance is the destination's; else None
    """

    __slots__ = ()

    subject = property(lambda self: self.aim.subject)
    address = property(lambda self: self.aim.target.address)
    own_address = property(lambda self: self.aim.target.own_address)
    version = property(lambda self: self.aim.target.family.version)
    blind = property(lambda self: self.sight == "nothing")
    # What is silent may have been rejected.
    hides = property(lambda self: self.sight in ("nothing", "expiry"))

    def at(self, ttl):
        """Return the Hop of a ttl, None if it was not to be probed."""
        if ttl is not None and self.first <= ttl < self.first + len(
                self.hops):
            return self.hops[ttl - self.first]
        return None

    @property
    def farthest_router(self):
        """The ttl of the last router that answered, first - 1 if none."""
        return max([self.first - 1] + [hop.ttl for hop in self.routers])

    @property
    def last_hop(self):
        """The last Hop shown that is a router or the destination, or None."""
        known = [hop for hop in self.shown
                 if hop.reached or hop.outcome == "time-exceeded"]
        return known[-1] if known else None

    @property
    def is_sure(self):
        """True if what reached the destination can be taken for that: it
        was confirmed, or is an ICMP echo; others answer TCP and UDP in its
        name."""
        return self.aim.method == "icmp" or self.refusal == "confirmed" or (
            self.own_address == self.address)

    @property
    def last_before(self):
        """The ttl behind which the destination is, if only limits of what it
        answers tell no more: the silent ttls before its answer are no
        hops.  None if that is not so."""
        last = self.at(self.end)
        if last is None or self.distance:
            return None
        if last.final and not last.reached:     # as a router, it was nearer
            known = [hop for hop in self.routers if hop.ttl < self.end]
            if known and known[-1].address == last.address and \
                    known[-1].ttl < self.end - 1:
                return known[-1].ttl
            return None
        if not (self.nearer or last.outcome == "port-unreachable"):
            return None
        heard = [hop.ttl for hop in self.hops
                 if hop.heard and hop.ttl < self.end]
        return heard[-1] if heard else None

    @property
    def routers(self):
        """The Hops at which a router answered."""
        return [hop for hop in self.hops if hop.outcome == "time-exceeded"]


def how_far(path):
    """Return a key by which Paths are sorted: the farthest is the last."""
    last = path.last_hop
    reached = path.reached is not None
    return (reached, reached and path.is_sure, last.ttl if last else 0,
            len(path.routers))


# What one port's verdict is given by: its Path, the Paths it is compared
# with, and the Request that was made on it, if any.
Case = namedtuple("Case", "path controls request")
Case.__new__.__defaults__ = ((), None)


def freeze(series, show, refusal=None, sight="addresses", complete=True,
           elapsed=None, limited=False, now=None, parted=False,
           nearer=False, arrival=None, proven=False, lenders=(), sure=255):
    """Return the Path of a series; now: the time, if it is not over;
    lenders: the Series that lend it addresses; sure: the ttl up to which it
    is known what was answered."""
    forged = find_forged(series) if refusal == "forged" else ()
    last = min(series.last_told, series.last)
    hops = tuple(make_hop(series, state, show, forged, now, sight, lenders)
                 for state in series.states
                 if state.ttl <= min(series.last_told, sure))
    full = make_hop(series, series.full, show, forged, now, sight)
    end = find_end(hops, full.reached)
    if refusal == "forged" and not full.reached and not is_untold(full):
        end = series.end or end         # where it was found out
    at_end = end and hops[end - series.first]
    open_ended = full.final
    if end is not None:
        open_ended = (full.reached and refusal != "confirmed" and
                      at_end.outcome != full.outcome)
    farthest = max([series.first - 1] + [hop.ttl for hop in hops if hop.heard])
    path = Path(series.aim, sight, series.first, last,
                min(last, sure, series.horizon), hops, full, end, farthest,
                open_ended, None, refusal, None, None, (), complete, elapsed,
                limited, parted, nearer, reached_late(series), arrival, proven)
    if series.loop:
        path = path._replace(loop=tuple(path.at(state.ttl)
                                        for state in series.loop))
    path = path._replace(reached=find_word(path))
    if path.reached and not nearer:
        path = path._replace(distance=known_distance(path, series))
    shown = [show_hop(path, hop, show.queries) for hop in hops
             if series.at(hop.ttl).probes and is_hop(path, hop) and
             hop.ttl <= (end or path.farthest)]
    if open_ended:
        shown.append(show_hop(path, full, show.queries))
    return path._replace(shown=tuple(shown))


def find_word(path):
    """Return the destination's own Reply, None if there is none.  Who
    refused may be another, where that is not visible."""
    sure = path.refusal == "confirmed" or path.own_address == path.address
    for hop in (path.full, path.at(path.end)):
        for answer in hop.answers if hop else ():
            if OUTCOMES[answer.outcome].reached and (
                    sure or answer.address or answer.outcome != "refused"):
                return answer
    return None


def find_forged(series):
    """Return the outcomes that are not the destination's, if what ends the
    path is not: a proxy accepts, a filter refuses in one way or another."""
    last = series.at(series.end) if series.end else series.full
    outcome = last.outcome
    return REFUSALS if outcome in REFUSALS else (outcome,)


def borrow(series, state, lenders):
    """Return (Reply, name of its method) of a router that another method
    shows at a ttl at which this one does not show who answers; (None, None)
    if there is none."""
    inside = state is series.full or state.ttl <= series.last_inside
    if inside and state.address is None and \
            state.outcome in ("time-exceeded", "timeout"):
        for lender in lenders:
            twin = lender.at(state.ttl)
            if twin and twin.outcome == "time-exceeded" and twin.address:
                return complete(twin.answered[0]), lender.aim.method
    return None, None


def make_hop(series, state, show, forged=(), now=None, sight="addresses",
             lenders=()):
    """Return the Hop of a State: its own answers, and who is there by
    another method where it does not show that; forged: outcomes that are not
    the destination's."""
    aim = series.aim
    answers = [understand(complete(probe), aim, forged)
               for probe in state.answered]
    usual = series.usual or 0
    # One that was closed at once, as another was answered, is not lost.
    probes = [probe for probe in state.probes if not probe.gone and (
        probe.answer or probe.closed is None or not state.answered or
        probe.closed - probe.sent > 0.003 + 1.5 * usual)]
    if now is not None:         # one that was sent just now may be answered
        late = now - 0.3 - 2 * usual
        probes = [probe for probe in probes
                  if probe.answer or probe.closed or probe.sent < late]
    lost = sum(1 for probe in probes if not probe.answer)
    # SYNs that the kernel sent again until one of them was answered.
    again = sum((probe.answer.syns or 1 + (probe.retransmits or 0)) - 1
                for probe in probes
                if probe.answer and usual < TcpMethod.repeats)
    lent, lender = borrow(series, state, lenders)
    name = show.names and show.names.get((lent or state).address)
    return Hop(state.ttl, aim.method, aim.port, aim.target.address,
               tuple(answers), name, show.destination,
               aim.target.family.version, bool(show.verbose), False,
               len(probes) + again, lost + again, show.queries,
               sight == "nothing", False, lent, lender)


def understand(answer, aim, forged):
    """Return an answer with what the other facts make of it."""
    flags, quoted = answer.flags, answer.quoted or NOTHING_QUOTED
    outcome = answer.outcome
    if outcome in forged and outcome in FORGED[aim.method]:
        outcome = FORGED[aim.method][outcome]
        flags += ("forged",)
    if quoted.source not in (None, aim.target.own_address):
        flags += ("nat-source",)
    if quoted.ttl not in (None, 1) and outcome == "time-exceeded":
        flags += ("quoted-ttl",)
    return answer._replace(outcome=outcome, flags=flags)


def is_hop(path, hop):
    """Return False for a ttl that was silent, but may be no hop at all."""
    last = path.last_before
    return last is None or not last < hop.ttl < path.end


def show_hop(path, hop, queries):
    """Return a Hop as people see it, with so many answers: the
    destination's line says what the full-ttl probe found."""
    full = path.full
    hop = hop._replace(answers=hop.answers[:queries])
    last = path.last_before
    if hop.ttl == path.end and last not in (None, hop.ttl - 1):
        more = hop.reached
        hop = hop._replace(ttl=last if more else last + 1, more=more)
    if not full.final:
        return hop
    if hop.ttl == full.ttl:
        known = [each.ttl for each in path.routers
                 if each.address == full.address]
        if known and not path.end:      # behind its own check of the ttl
            return hop._replace(ttl=known[0] + 1)
        return hop._replace(ttl=path.end or path.farthest, more=True)
    if path.open_ended or not hop.reached:
        return hop
    first = full.answer
    if first.reply_ttl is None:
        first = first._replace(reply_ttl=hop.reply_ttl)
    return hop._replace(answers=(first,) + tuple(
        answer for answer in hop.answers[1:]
        if answer.outcome == full.outcome))


BURST = 0.05        # seconds between probes that went out together
MANY_SILENT = 5     # ttls in a row


def reached_late(series):
    """Return True if the first ttl that reached the destination was asked
    later than the one before it."""
    if series.end is None or series.end == series.first or series.one_flow:
        return False
    nearer, last = series.at(series.end - 1), series.at(series.end)
    return bool(nearer.probes and last.reached and
                last.answered[0].sent > nearer.probes[0].sent + BURST)


def silent_ttls(path):
    """Return the ttls behind the last router that were asked in vain: up to
    the end of the path, or all of them if the full ttl alone got there."""
    end = path.end or path.last + 1
    return [hop.ttl for hop in path.hops
            if path.farthest_router < hop.ttl < end and hop.sent and
            hop.outcome == "timeout"]


def known_distance(path, series):
    """Return the smallest ttl that reached; None if a smaller one might
    have, had it been tried or answered."""
    end = path.end
    if path.open_ended or end is None:
        return None
    if end == 1 or end == series.behind_router:
        return end
    if end == path.first:
        return None
    before = path.at(end - 1)
    if before.outcome == "time-exceeded":
        return end
    if path.late and not path.blind and \
            len(silent_ttls(path)) >= MANY_SILENT:
        return None             # who drops most of them may be the host
    # A host may limit the ICMP errors it sends, so that a nearer probe
    # reached it without a word; an answer may be lost once or twice,
    # and where others were, perhaps three times.
    tries = sum(1 for probe in series.at(end - 1).probes if not probe.gone)
    retried = any("retried" in answer.flags for hop in
                  (path.full,) + path.hops for answer in hop.answers)
    quick = series.half_open and series.aim.method == "tcp"
    if before.outcome == "timeout" and tries > 2 and not retried and \
            not quick and \
            path.at(end).outcome != "port-unreachable":
        return end
    return None


# ---------------------------------------------------------------------------
# 13 Questions (ports, controls, refusals)
# ---------------------------------------------------------------------------

# A question is a generator that reads like the procedure it is: it starts
# Series and yields a function that returns True when it can go on.  Every
# one comes to an end; when none is left, the run is over.

class Question(object):
    """A generator under way; done once it has come to its end.

    What it yields is what to wait for, or another question's generator,
    which is then asked first.
    """

    def __init__(self, generator):
        self.stack = [generator]
        self.done = False
        self.resume()

    def resume(self):
        """Go on until there is something to wait for."""
        while self.stack:
            try:
                step = next(self.stack[-1])
            except StopIteration:
                self.stack.pop()
                continue
            if callable(step):
                self.ready = step
                return
            self.stack.append(step)
        self.done = True


class Port(object):
    """One port or flow under test: its Series, what is compared with it,
    and what the questions have found out.

    controls    Series that trace the path by other means
    checks      Series with the ttl of a refusal; full_checks: the full ttl
    refusal     is it the destination that refuses, or accepts?  confirmed:
                something else gets there, too; forged: it does not; None:
                not known
    edge        the ttl at which it should end, by what else was seen
    asked       the ttl at which its place was verified
    proven      no limit of ICMP feigns the place where it ends
    proofs      how often that was seen, of PROOFS
    limited     whether one does was asked, and could not be told
    parted      from other source ports it gets farther
    nearer      something else was answered with a smaller ttl, too
    is_told     all was heard of it but the addresses that others may lend
    ended       when all of it was known, None before
    arrival     as Path has it
    request     a Request, once what happens inside the session was asked
    mtu         a PathMtu, once that was asked
    way_back    a WayBack, once that was asked
    """

    def __init__(self, aim, series, began):
        self.aim, self.series, self.began = aim, series, began
        self.controls, self.checks, self.full_checks = [], [], []
        self.refusal = self.arrival = self.edge = self.ended = None
        self.request = self.mtu = self.way_back = None
        self.asked = 0
        self.proven = self.limited = self.parted = self.nearer = False
        self.is_told = False
        self.proofs = 0

    @property
    def open_ended(self):
        return self.series.open_ended and self.refusal != "confirmed"

    @property
    def doubtful(self):
        """True if something else should say whether it is the destination
        that refuses, or accepts."""
        series, target = self.series, self.aim.target
        full = series.full
        prohibits = full.outcome == "prohibited" and \
            full.address == target.address
        return (self.answered or prohibits) and series.end is not None and (
            target.address != target.own_address) and (
                self.open_ended or
                series.at(series.end).outcome in FORGED[self.aim.method])

    @property
    def answered(self):
        """True if it is answered as the destination would."""
        series = self.series
        return series.full.reached or not series.full.final and (
            series.full.settled and series.reached_at is not None)

    @property
    def reached(self):
        """True if it answers, and nothing shows that somebody else does."""
        return self.answered and self.refusal != "forged"


class Run(object):
    """All that one command asks, in one loop: the first port (the lead),
    further ports or flows, what they are compared with."""

    IN_FLIGHT = 64      # ports at once, so as not to use up files
    HOST_DOWN = 3.1     # seconds until its router says so
    TICK = 0.01         # seconds between looks at what tells of no event

    def __init__(self, engine, aims, options, show, open_method,
                 raw_only=False, other_aim=None):
        self.engine, self.clock = engine, engine.clock
        self.options, self.show = options, show
        self.open_method, self.raw_only = open_method, raw_only
        self.all_shown = False      # what ready_hops() yields
        self.questions, self.kept = [], []
        self.ports, self.waiting = [], list(aims)
        self.turns = 0
        self.checks = {}            # (first, last) -> list of Series
        self.services = {}          # (ttl, port) -> Series
        self.scout = None           # the Series that shows where silence is
        self.guide = None           # a Port to compare with, see trace_port()
        self.lenders = []           # Series that show who the lead does not
        self.lending = None         # the Question that opens them
        # The same port of the host's address of the other family, and the
        # Series that has tried it; None if there is none.
        self.other_aim, self.other = other_aim, None
        # What to compare with; always: also a port that is reached, as
        # something nearer may accept.
        wanted, self.control_port = decode_control(options.control)
        self.kinds, self.steps = (wanted,), ((0, wanted),)
        self.auto = wanted == "auto"
        if self.auto:
            self.kinds = ("icmp", "udp")
            self.steps = STEPS[self.waiting[0].method]
        elif wanted == "none":
            self.kinds = self.steps = ()
        self.always = wanted in STEPS or bool(self.kinds and options.verbose)
        self.lead = self.open_port(options.first_hop, options.max_hops)

    # Asking

    def ask(self, generator):
        question = Question(generator)
        self.questions.append(question)
        return question

    def turn(self, most):
        """Let the engine work, then every question that can go on."""
        self.hold_out()
        self.engine.turn(self.TICK if self.kept else most)
        self.turns += 1
        for port in self.ports:
            if port.ended is None and not port.proven:
                self.doubt_silence(port)
        ready = True
        while ready:
            self.questions = [question for question in self.questions
                              if not question.done]
            ready = [question for question in self.questions
                     if question.ready()]
            for question in ready:
                question.resume()

    @property
    def done(self):
        return not self.questions

    def keep(self, thing):
        """Close a thing with the run, if it is not dropped before."""
        self.kept.append(thing)
        return thing

    def drop(self, thing):
        self.kept.remove(thing)
        thing.close()

    def close(self):
        while self.kept:
            self.kept.pop().close()
        self.engine.close()

    # Series

    def open_port(self, first=1, last=0):
        """Begin to probe the next Aim; raises RunError if it cannot be."""
        aim = self.waiting[0]
        series = new_series(self.options, aim, self.open_method(aim), first,
                            last)
        self.engine.add(series)
        self.ports.append(Port(aim, series, self.clock()))
        del self.waiting[0]
        return self.ports[-1]

    def open_controls(self, name, first, last, wait, **timing):
        """Begin to probe by another method; return its Series, more than
        one for several ports, none if this user may not."""
        options = self.options
        values = dict(retries=options.retries, gap=options.gap_limit,
                      parallel=options.parallel, half_open=True)
        values.update(timing)
        found = [self.open_series(self.lead.aim.other(name, port), first,
                                  last, wait, **values)
                 for port in self.choose_control_ports(name)]
        return [series for series in found if series]

    def choose_control_ports(self, name):
        """Return what ports to compare with, [None] without ports: those
        under test are asked anyway."""
        if self.control_port:
            return [self.control_port]
        tested = [aim.port for aim in
                  [port.aim for port in self.ports] + self.waiting
                  if aim.method == name]
        free = [port for port in CONTROL_PORTS[name] if port not in tested]
        if self.auto and name == "tcp":
            return free
        return free[:1] or [CONTROL_PORTS[name][-1]]

    def open_series(self, aim, first, last, wait, **timing):
        """Begin to probe an Aim; return its Series, or None if this user
        may not, or no file is free."""
        try:
            method = self.open_method(aim)
        except RunError:
            return None
        series = Series(first, last, wait, aim=aim, method=method, **timing)
        self.engine.add(series)
        return series

    def open_ttls(self, aim, first, last, wait, **timing):
        """Begin to probe some ttls by an Aim, without the full one."""
        series = self.open_series(aim, first, last, wait, gap=0, **timing)
        if series:
            series.full.settled = True          # not to be asked
        return series

    def open_lender(self, name, first, last):
        """Begin to ask by another method who is at these ttls; return its
        Series, None if that is not shown either."""
        aim = self.lead.aim.other(name, self.choose_control_ports(name)[0])
        lender = self.open_ttls(aim, first, last, self.short_wait, retries=1)
        if lender and lender.method.sight != "addresses":
            self.engine.retire(lender)
            return None
        if lender:
            self.lenders.append(lender)
        return lender

    def open_flows(self, port, ttl):
        """Begin to probe a ttl by a port from source ports all over the
        range, odd and even: a load balancer, or a rule, may look at any of
        their bits; return the Series."""
        aim, found = port.aim, []
        for number in range(FLOWS):
            source = None
            if aim.port is not None:
                some, = struct.unpack("!H", os.urandom(2))
                source = 20000 + 5000 * number + some % 2500 * 2 + number % 2
            flow = aim.other(aim.method, aim.port, source, aim.target.payload)
            found.append(self.open_ttls(flow, ttl, ttl, self.short_wait,
                                        retries=0))
        return [series for series in found if series]

    @property
    def short_wait(self):
        """Seconds after which what was asked again is silent."""
        return min(max(0.3, 4 * (self.lead.series.slowest or 0)),
                   self.options.wait_time)

    def open_checks(self, first, last):
        """Return the Series that ask other means at these ttls, or, now,
        the full ttl alone."""
        if last < first or (first, last) not in self.checks:
            self.checks[first, last] = sum(
                (self.open_controls(name, first, last, self.short_wait)
                 for name in self.kinds), [])
        return self.checks[first, last]

    def open_services(self, port, ttl):
        """Return the Series that ask, at a ttl, a few behind it and the
        full one, what else is open: ports of this run, or usual ones; four
        flows each."""
        aims = [other.aim for other in self.ports if other is not port and
                other.series.full.outcome == "open" and other.reached]
        if not aims:
            aims = [self.lead.aim.other("tcp", number)
                    for number in self.choose_control_ports("tcp")]
        found = []
        for aim in aims[:3]:
            if (ttl, aim.port) not in self.services:
                self.services[ttl, aim.port] = self.open_series(
                    aim.other("tcp", aim.port), ttl, ttl + BEHIND,
                    self.short_wait, retries=3, gap=0, full_retries=1,
                    half_open=True)
            found.append(self.services[ttl, aim.port])
        return [series for series in found if series]

    def finish(self, port):
        port.ended = self.clock()
        if port is not self.lead:
            self.engine.retire(port.series)

    # What the parts know of each other

    @property
    def has_few_ports(self):
        """True if each of the ports may be asked as often as one alone, and
        from other source ports, too."""
        aim = self.ports[0].aim
        return aim.flow is None and not aim.target.source_port and \
            len(self.ports) + len(self.waiting) <= FLOWS

    @property
    def flying(self):
        return [port for port in self.ports if port.ended is None]

    def peers(self, port):
        """Return the Series that a port is compared with while it runs."""
        peers = list(self.lead.controls)
        if self.guide not in (None, port) and self.guide.reached:
            peers.append(self.guide.series)
        lead = self.lead.series
        if port is not self.lead and self.lead.reached and (
                self.lead.ended or self.lead.refusal == "confirmed"):
            peers.append(lead)          # what it answers is checked first
        return peers

    def doubt_silence(self, port):
        """Doubt the hops that are silent for a port only: each may be a
        router that limits its ICMP to one a second, and has spent it."""
        series, full = port.series, port.series.full
        farthest = series.farthest
        for other in self.peers(port):
            for state in series.states:
                twin = other.at(state.ttl)
                if farthest < state.ttl <= farthest + 5 and twin and \
                        twin.outcome == "time-exceeded":
                    series.doubt(state, twin.probes[-1].sent + 1.1)
            # The host may limit what it says of closed ports to one a
            # second; this was the one.
            if port.aim.method == "udp" and \
                    other.full.outcome == "port-unreachable":
                series.doubt(full, other.full.probes[-1].sent + 1.1)
        if full.outcome == "port-unreachable" and series.end is None:
            for state in series.states:
                ahead = state.ttl - farthest
                if 0 < ahead <= 2:
                    series.doubt(state, full.probes[-1].sent + 1.1 * ahead)

    def hold_out(self):
        """Wait for the last router to say that the host is down, as long as
        nothing gets farther: it asks three times, a second each (RFC 1122
        2.3.2.1, RFC 4861 10), before it knows."""
        for port in self.flying:
            series, full = port.series, port.series.full
            until = 0
            if full.probes and series.wait >= 2 and not full.final and \
                    not find_farther(self, port):
                until = full.probes[0].sent + \
                    self.HOST_DOWN + 2 * (self.lead.series.slowest or 0)
            series.full_until = until
            if series.method.sight != "addresses":
                for control in port.controls:   # it may show who says so
                    control.full_until = until

    @property
    def limit_of_silence(self):
        """The ttl up to which what is lost gets."""
        return max([0] + [port.series.farthest for port in self.ports
                          if not port.series.full.final])

    # What is known so far, frozen

    def sight_of(self, series):
        """What this system has shown of a series.  Where errors may come
        without an address, none has come from any hop; where only a raw
        socket hears them, perhaps a firewall lets none in."""
        sight, lead = series.method.sight, self.lead.series
        if self.raw_only and lead.farthest < lead.first and not any(
                state.address for control in self.lead.controls
                for state in control.all_states):
            return "nothing"
        if sight != "addresses" and not any(
                state.outcome == "time-exceeded" for state in series.states):
            return "nothing"
        return sight

    def freeze(self, port, refusal=None, limit=0):
        """Return the Path of a port; limit: the ttl up to which others get,
        so that this one may only have met with limits of ICMP."""
        complete = port.ended is not None
        if port is self.lead:
            complete = complete and self.all_shown
        limited = port.limited
        if port is not self.lead:
            limited = not port.proven and port.series.farthest < limit
        now = port.ended or self.clock()
        sure, sight = find_sure(self, port), self.sight_of(port.series)
        if sight == "distance" and port.series.method.misses_quick and \
                not port.proven:
            sight = "expiry"            # a rejection may be missed as well
        return freeze(port.series, self.show,
                      refusal or self.find_refusal(port),
                      sight, complete, now - port.began,
                      limited or sure < 255, now, port.parted, port.nearer,
                      port.arrival, port.proven and sure == 255, self.lenders,
                      sure)

    def find_refusal(self, port):
        """Return what is known of a refusal.  Another port may have shown
        later that the destination is where it seemed forged."""
        if port.refusal == "forged" and any(
                forwards(port, other.series, port.series.end)
                for other in self.ports if other is not port):
            return "confirmed"
        return port.refusal

    def freeze_series(self, series):
        """Return the Path of a Series that a port is compared with."""
        now = self.lead.ended or self.clock()
        return freeze(series, self.show, sight=self.sight_of(series),
                      elapsed=now - self.lead.began, now=now,
                      lenders=self.lenders)

    def freeze_controls(self, port):
        """Return the Paths that a port of its own was compared with; a
        check that showed a forgery counts as one."""
        showing = []
        if port.refusal == "forged":
            showing = [check for check in port.checks + port.full_checks
                       if check.full.reached or any(
                           state.outcome == "time-exceeded"
                           for state in check.states)]
        return tuple(self.freeze_series(series)
                     for series in port.controls + showing)

    def cases(self, shown):
        """Return the Case of each port; each sees what the others reached.

        shown: the Hops of the lead that have been shown.
        """
        lead = self.freeze(self.lead)
        if not self.all_shown:
            shown = shown + [
                show_hop(lead, hop, self.show.queries)
                for hop in lead.hops[len(shown):]
                if hop.ttl <= (lead.end or hop.ttl) and is_hop(lead, hop) and (
                    hop.answers or hop.ttl <= lead.farthest)]
        if lead.reached and shown and lead.end and not any(
                hop.reached for hop in shown):      # it was asked again
            shown = shown + [show_hop(lead, lead.at(lead.end),
                                      self.show.queries)]
        lead = lead._replace(shown=tuple(shown))
        controls = self.freeze_controls(self.lead)
        known = [path.distance for path in (lead,) + controls
                 if path.reached]
        limit = self.limit_of_silence
        paths = [lead]
        for port in self.ports[1:]:
            # Where it is not visible who refuses: they get there, too.
            blind = port.series.method.sight != "addresses" and \
                port.series.end in known
            paths.append(self.freeze(port, "confirmed" if blind else None,
                                     limit))
        best = sorted(paths, key=how_far)[-3:]
        told = [each for each in paths if each.full.outcome == "unreachable"]
        cases = []
        for port, path in zip(self.ports, paths):
            others = tuple(each for each in best
                           if how_far(each) > how_far(path))
            others += tuple(each for each in told if each is not path)[:1]
            own = () if port is self.lead else self.freeze_controls(port)
            cases.append(Case(path, others + controls + own, port.request))
        for aim in self.waiting:        # not begun: interrupted
            cases.append(Case(freeze(
                Series(1, 0, aim=aim), self.show, complete=False,
                elapsed=0.0), controls))
        return cases

    def find_distance(self):
        """Return the hops to the destination as what the first port is
        compared with has shown them; 0 if it has not."""
        for other in find_reached(self, self.lead):
            path = self.freeze_series(other)
            if path.distance and path.distance > self.lead.series.farthest:
                return path.distance
        return 0

    @property
    def addresses(self):
        """The addresses whose names are shown: of the first port, and of
        what gets farther."""
        series = self.lead.series
        shown = [self.address_of(state) for state in series.states]
        if not self.lead.reached:
            last = series.end or series.farthest + 1
            shown += [state.address for other in self.peers(self.lead)
                      for state in other.states if state.ttl >= last]
        return [address for address in shown if address]

    def address_of(self, state):
        """Return the address of a hop of the lead, perhaps a lent one."""
        lent, _ = borrow(self.lead.series, state, self.lenders)
        return (lent or state).address

    @property
    def all_named(self):
        """True if no name is waited for."""
        names = self.show.names
        return not names or all([names.known(address)
                                 for address in self.addresses])

    def ready_hops(self, count):
        """Yield the Hops of the lead that can be shown behind the first
        `count`, their names known."""
        series, names = self.lead.series, self.show.names
        if names:
            for address in self.addresses:
                names.ask(address)
        if self.all_shown:
            return
        done = self.lead.ended is not None
        coming = series.states[count:]
        if not done and not (coming and coming[0].settled):
            return
        path, ready = self.freeze(self.lead), []
        distance = self.find_distance()
        for state in coming:
            if state.ttl > path.horizon or not state.settled or \
                    0 < distance < state.ttl or (
                    # Silent before the end, it may prove to be no hop.
                    not done and state.ttl > path.farthest_router) or (
                    state.ttl > path.farthest and path.open_ended):
                break
            if state.ttl in find_nameless(self, series):
                break                   # somebody may lend it an address
            if may_be_refusal(state) and not series.full.settled:
                break
            if is_hop(path, path.at(state.ttl)):
                ready.append((state, path.at(state.ttl)))
        if done and path.open_ended:
            ready.append((series.full, path.full))
        for number, (state, hop) in enumerate(ready, 1):
            address = self.address_of(state)
            if names and not names.known(address):
                return
            self.all_shown = done and number == len(ready)
            name = names and names.get(address)
            yield show_hop(path, hop, self.show.queries)._replace(name=name)
        self.all_shown = done


# How it is asked

def new_series(options, aim, method, first, last, full_ttl=0):
    """Return a Series as the options want it."""
    one_flow = aim.target.source_port is not None
    # Where late answers cannot be told apart each ttl is asked once.
    patient = (one_flow and aim.method == "tcp" and
               not ErrorQueue.available())
    return Series(
        first, last, options.wait_time, options.queries,
        0 if patient else options.retries, options.gap_limit,
        1 if one_flow else options.parallel,
        0 if method.connects and not method.mechanism.sends_once else None,
        one_flow, patient, aim, method, full_ttl)


# Outcomes with which nobody asks for another address
WORKING = ("open", "data", "echo-reply")

# When to try what, in parts of the wait.  A datagram to a closed port comes
# late when the port under test is UDP: its answer may cost that port its own,
# where a host limits them.  Other services are asked last, and if nothing
# else tells: a firewall that denies by default lets nothing else through.
STEPS = {"tcp": ((0.25, "icmp"), (0.5, "udp"), (0.75, "tcp")),
         "udp": ((0.25, "icmp"), (0.7, "udp"), (0.75, "tcp")),
         "icmp": ((0.25, "udp"), (0.5, "tcp"))}
# Ports for it, those first that are not under test.
CONTROL_PORTS = {"icmp": (None,), "udp": (33434, 33435),
                 "tcp": (443, 80, 22)}
BEHIND = 3              # ttls to look at behind an end that is in doubt
PROOFS = 2              # of a place, of one port beside others
FLOWS = 8               # of which some take each of several paths


def decode_control(text):
    """Return (word, port or None) of --control; raise OptionError."""
    word, colon, port = format_value(text).partition(":")
    known = ("auto", "none", "icmp", "udp", "tcp")
    if word not in known or colon and (
            word not in ("udp", "tcp") or not port or
            port.strip("0123456789") or not 1 <= int(port) <= 65535):
        raise OptionError("--control %s: must be one of auto, none, icmp, "
                          "udp[:PORT], tcp[:PORT]" % quote(text))
    return word, int(port) if colon else None


# The first port, and what it is compared with

def trace_lead(run, port):
    """The first port, or the only one: the whole path."""
    check = run.ask(check_answer(run, port))
    controls = run.ask(trace_controls(run, port, check))
    place = run.ask(verify_place(run, port, controls))
    family = run.ask(try_other_family(run, port, check))
    run.lending = run.ask(lend_addresses(run, port))
    yield lambda: (check.done and controls.done and place.done and
                   family.done and port.series.done)
    yield find_refuser(run, port)
    port.is_told = True
    yield lambda: run.lending.done
    run.finish(port)


# Where an errno is all that this system shows

def find_refuser(run, port):
    """Where an errno tells no ttl that ran out from a refusal: what the
    kernel counts tells them apart, if there is one probe at a time, and
    nobody else's error.  If nothing is heard, each waits until the kernel
    repeats its SYN."""
    series = port.series

    def unsure():
        return [state.ttl for state in series.states
                if may_be_refusal(state)]

    def over():
        return run.clock() >= latest

    if not is_untold(series.full) or not count_icmp_errors(
            port.aim.target.family.version):
        return
    first, last = run.options.first_hop, run.options.max_hops
    latest = run.clock() + 3 * series.wait
    series.parallel, series.wait = 1, run.short_wait
    sure = series.last_certain
    while not over():
        quiet = run.clock() + run.short_wait    # until no stray error comes
        yield lambda: run.clock() >= quiet
        series.look(first, sure)
        series.look(first, last)
        yield lambda: series.done or unsure() or over()
        if unsure():
            sure = unsure()[0] - 1
        elif series.passed >= first:
            return
        else:
            series.wait += TcpMethod.repeats
    series.look(first, sure)


def find_sure(run, port):
    """Return the ttl behind which an errno is no sign of a hop, as nothing
    else is answered from there, and the system's own ttl is not: it may say
    that the host is down.  255 if there is none."""
    series = port.series
    if series.full.answered or not series.method.counts:
        return 255
    expired = [state for state in series.states
               if state.outcome == "time-exceeded"]
    far = max([series.first - 1] + [peer.passed for peer in run.peers(port)] +
              [state.ttl for state in expired if not may_be_refusal(state)])
    return far if expired and expired[-1].ttl > far else 255


LENDERS = "udp", "icmp"


def lend_addresses(run, port):
    """Where this system does not show who answers a port: who is there, as
    probes of another method with the same ttls show it."""
    series = port.series
    for name in LENDERS:
        lender = None
        while name != port.aim.method:
            yield lambda: port.is_told and (not lender or lender.done) or \
                find_unasked(run, series, lender)
            ttls = find_unasked(run, series, lender)
            if not ttls:
                break
            if lender:
                lender.look(lender.first, ttls[-1])
                continue
            lender = run.open_lender(name, ttls[0], ttls[-1])
            if not lender:
                break


def find_unasked(run, series, lender):
    """Return the ttls that lack an address, and that a lender has not been
    asked about: not while it is counted what comes for the port."""
    if is_untold(series.full) and not run.lead.is_told:
        return []
    return [ttl for ttl in find_nameless(run, series)
            if not lender or ttl > lender.last]


def find_nameless(run, series):
    """Return the ttls before the last hop that has answered whose address
    is not known, but may still be lent."""
    method = series.method
    if method.raw or method.mechanism.proven or run.lending.done:
        return []
    return [state.ttl for state in series.states
            if state.ttl <= series.last_inside and state.address is None and
            state.settled and not state.reached and
            not borrow(series, state, run.lenders)[0]]


# What the first port is compared with

def trace_controls(run, port, check):
    """While the port says nothing, or once it is refused on the way: how
    far does something else get?"""
    series, full, wait = port.series, port.series.full, port.series.wait

    def needed():
        return run.always or not port.reached

    def due(part):
        refused = full.final and (series.end is not None or
                                  full.answer.icmp_type is None)
        return needed() and full.probes and \
            full.outcome != "send-failed" and (
                refused or run.clock() >= port.began + part * wait)

    def over():
        return check.done and (not needed() or series.done and all(
            control.done for control in port.controls))

    for part, name in run.steps:
        yield lambda: due(part) or over()
        if not due(part):
            break
        if not is_wanted(run, port, name):
            continue
        yield open_control(run, port, name, min(wait, wait * (1.25 - part)))
    yield lambda: check.done and not needed() or all(
        control.done for control in port.controls)


def is_wanted(run, port, name):
    """Return True if a control may tell what others have not."""
    if not run.auto or name == port.aim.method == "udp":
        return True             # what does a closed port say?
    if name == "tcp":
        return not find_farther(run, port)
    return not find_reached(run, port)


def open_control(run, port, name, wait):
    """Probe the path by other means.  If it is known how far the host is,
    what it says is enough.  The second one and other services ask only what
    lies behind the port's last hop, so as not to use up what routers may
    say; of services, the whole path of one that answers."""
    first, last = run.options.first_hop, run.options.max_hops
    if run.auto and find_reached(run, port):
        last = 0
    services = run.auto and name == "tcp"
    if services or run.auto and port.controls:
        first = port.series.end or port.series.farthest + 1
    if services:
        last = min(last, first + BEHIND - 1)
    found = run.open_controls(name, first, last, wait,
                              full_retries=1 if name == "tcp" else None)
    for series in found:
        if port.series.passed == first - 1 > 0:
            series.behind_router = first
    port.controls += found
    turn = run.turns
    yield lambda: run.turns > turn
    if not services:
        return
    yield lambda: find_reached(run, port) or all(
        series.done for series in found)
    last = run.options.max_hops
    for series in found:
        if series.full.reached:         # perhaps nearer already
            series.look(max(run.options.first_hop, first - 1), last)
            last = series.first + BEHIND


def find_reached(run, port):
    """Return the Series that have reached the destination beside a port:
    what answers from nearer than a hop of the port is another."""
    return [other for other in run.peers(port)
            if other.full.reached and not (other.reached_at or 256) <=
            port.series.passed]


def find_farther(run, port):
    """Return the Series that got farther than a port."""
    reached = find_reached(run, port)
    return [other for other in run.peers(port)
            if other in reached or other.passed > port.series.farthest]


def try_other_family(run, port, check):
    """Once the port does not answer well: does the host's address of the
    other family?  One probe with the full ttl says so, while the port's own
    wait goes on."""
    full, wait = port.series.full, port.series.wait

    def works():
        return full.outcome in WORKING and port.refusal != "forged"

    def fails():
        return not works() and (
            full.answered or full.probes and
            run.clock() >= port.began + 0.5 * wait)

    def over():
        return works() and check.done and port.series.done

    if run.other_aim is None or not run.kinds:      # --control=none
        return
    yield lambda: fails() or over()
    if not fails():
        return
    try:
        method = run.open_method(run.other_aim)
    except RunError:
        return
    wait, short = 0.75 * wait, full.reached     # it ends with the controls
    if short:               # no need for patience: the host has answered
        wait = min(wait, max(0.3, 4 * (full.answer.rtt or 0)))
    series = Series(1, 0, wait, full_retries=0 if method.connects else None,
                    aim=run.other_aim, method=method)
    run.engine.add(series)
    yield lambda: series.full.answered or series.done or works()
    run.engine.retire(series)
    if series.full.answered or series.done and not short:
        run.other = series


# Who answered

def check_answer(run, port):
    """Is it the destination that refuses, or accepts?  Something else, with
    the same ttl, must get there too."""
    series = port.series
    while True:
        yield lambda: port.doubtful and is_settled_before_end(port) or \
            series.done and (port is not run.lead or not run.always or all(
                control.done for control in port.controls))
        if not port.doubtful:
            return
        end, port.refusal = series.end, None
        first = end
        if end > series.first and not series.at(end - 1).heard:
            first = end - 1             # a hop, or was it lost?
        port.checks = run.open_checks(first, end)
        states = [check.at(end) for check in port.checks]
        before = [check.at(first) for check in port.checks if first < end]
        yield lambda: series.end != end or is_answered(states) and all(
            state.settled for state in before)
        if series.end == end and any(state.reached for state in before):
            series.ask_again(series.at(first), run.clock())
            yield lambda: series.at(first).settled or series.done
            port.nearer = series.end == end
        if series.end != end:
            continue
        if confirms(port, port.checks, end) or any(
                forwards(port, other, end) for other in run.peers(port)):
            port.refusal = "confirmed"
        elif shows_router(states + routers_at(run, port, end)):
            port.refusal = "forged"
        elif run.kinds:
            yield check_in_silence(run, port, states)
        if port.refusal == "forged":
            yield check_shorter_path(run, port, end)
        elif port.refusal == "confirmed":
            yield check_sender(run, port, end)
        yield lambda: series.done or series.end != end
        if series.end == end:
            return


def is_settled_before_end(port):
    """Return True if it is known whether a router answers before a port's
    end."""
    before = port.series.at(port.series.end - 1)
    return before is None or before.heard or before.settled


def is_answered(states):
    """Return True if one has reached the destination, or all are done."""
    return any(state.reached for state in states) or all(
        state.settled for state in states)


def confirms(port, checks, ttl):
    """Return True if the destination has answered other means with the ttl
    of a port's answer.  Who forges one reset forges another; a router that
    has the destination's address hands on to what lies behind it."""
    for check in checks:
        state = check.at(ttl)
        if state is None:               # an errno took the ttl away
            continue
        if forwards(port, check, ttl):
            return True
        if state.reached and not (check.aim.method == "tcp" and
                                  state.outcome == "refused"):
            return True
    return False


def forwards(port, other, ttl=None):
    """Return True if the destination has answered something else as a
    router on the way: at this ttl, or at any."""
    states = other.states if ttl is None else [other.at(ttl)]
    return any(state and state.outcome == "time-exceeded" and
               state.address == port.aim.target.address for state in states)


def shows_router(states):
    """Return True if one has come to a router only.  An errno alone may be
    that of any ICMP error: no proof."""
    return any(state.outcome == "time-exceeded" and
               state.answer.icmp_type is not None for state in states)


def routers_at(run, port, ttl):
    """Return the States of other means at a ttl to which they came by the
    same router as the port."""
    before = port.series.at(ttl - 1)
    known = before and before.address
    found = []
    for other in run.peers(port):
        nearer = other.at(ttl - 1)
        if other.at(ttl) and ttl <= other.last and \
                (nearer and nearer.address) == known and \
                other.at(ttl).address != port.aim.target.address:
            found.append(other.at(ttl))
    return found


def check_in_silence(run, port, states):
    """Nothing is answered with the ttl of the answer.  If a router lies
    behind it, or what is known to be open answers from farther on only, or
    a full ttl gets there, the answer was forged in front of a silent
    router; unless the host only limits its answers to one a second.  What
    is forwarded to a host behind is no measure."""
    end = port.series.end
    port.full_checks = run.open_checks(1, 0)
    behind = run.open_checks(end + 1, end + BEHIND)
    services = []
    if run.auto:
        services = run.open_services(port, end)
    port.checks = port.checks + behind + services
    full = [check.full for check in port.full_checks]
    yield lambda: is_answered(full) and all(
        series.done for series in behind + services)
    if confirms(port, services, end):
        port.refusal = "confirmed"
    elif lies_behind(port, behind, services, end):
        port.refusal = "forged"
    # Of UDP silence shows nothing: a closed port's answers are limited.
    echoes = [check.full for check in port.full_checks
              if check.aim.method == "icmp" and check.full.reached]
    if port.refusal or not echoes:
        return
    for check in port.checks:
        if check.at(end) in states:
            check.doubt(check.at(end), echoes[0].probes[-1].sent + 1.1)
    yield lambda: is_answered(states)
    if any(state.reached for state in states):
        port.refusal = "confirmed"
    elif not any(state.heard for state in states):
        port.refusal = "forged"


def lies_behind(port, behind, services, end):
    """Return True if the host is known to lie behind the ttl at which a port
    is answered, by what was asked behind it and by what is open.  Where no
    router says a word, that may be forwarded."""
    states = [series.at(end) for series in services]
    services = [series for series in services if not forwards(port, series)]
    states += [state for series in behind + services
               for state in series.states]
    if shows_router([state for state in states
                     if state.address != port.aim.target.address]):
        return True
    before = port.series.states[:end - port.series.first]
    return (not before or any(state.heard for state in before)) and any(
        series.full.reached and not series.at(end).heard
        for series in services)


def check_shorter_path(run, port, ttl):
    """Does the port always end there, from other source ports too?  If not,
    it is only a shorter one of several paths that does; and where some are
    lost time and again, nothing follows."""
    whole = 0
    for _ in range(4):
        again = run.open_flows(port, ttl)
        yield lambda: all(series.done for series in again)
        for series in again:
            run.engine.retire(series)
        states = [series.at(ttl) for series in again]
        if shows_router(states):
            port.refusal = "confirmed"
            return
        whole += all(state.heard for state in states)
        if whole == 2:
            return
    port.refusal = None


def check_sender(run, port, end):
    """A device right before the destination forges a reset at its very
    distance.  But that has passed one router fewer than what the destination
    says: as many as what the last router says, if it does.
    """
    near, host = count_both(run, port, end)
    port.arrival = None
    if port.series.full.outcome != "refused" or \
            None not in (near, host) and near >= host:
        return
    if near is None and host:
        near = host - 1
    found = set(complete(probe).reply_ttl for state in port.series.all_states
                for probe in state.answered
                if probe.answer.outcome == "refused")
    services = find_services(run, port)
    able = port.series.method.bounds_ttl and not port.aim.target.source_port
    if found == set([None]) and able:
        found = set()
        if near is not None:
            yield bound_arrival(run, port, near, found)
        elif services:
            yield search_arrival(run, port, found)
    if len(found) != 1 or None in found:
        return
    ttl, = found
    if host is None and services and near in (None, count_passed(ttl)):
        heard = set()
        yield ask_bounded(run, services[0].target, (0, ttl - 1, ttl), heard)
        if heard == set([0, ttl - 1]):
            near, host = count_passed(ttl), count_passed(ttl) + 1
    if host is None or count_passed(ttl) != near:
        return
    for _ in range(3 if able else 0):   # by several ways back, and by loss?
        heard = set()
        yield ask_bounded(run, port.aim.target, (0, ttl, ttl + 1), heard)
        if heard != set([0, ttl]):
            break
    else:
        port.refusal = "forged"
        port.arrival = Arrival(ttl, near, host)


def count_both(run, port, end):
    """Return how many routers what the last router says has passed, and what
    the destination says; None if it is not known, or not always the same."""
    near, host = set(), set()
    for other in [port.series] + run.peers(port) + port.checks + \
            run.lead.checks:
        for state in other.all_states:
            passed = set(count_passed(reply.reply_ttl) for reply in
                         map(complete, state.answered) if reply.reply_ttl)
            if state.reached and state.outcome != "refused":
                host |= passed
            elif state.ttl == end - 1 and state.outcome == "time-exceeded" \
                    and state.address != port.aim.target.address:
                near |= passed
    return [passed.pop() if len(passed) == 1 else None
            for passed in (near, host)]


def find_services(run, port):
    """Return the Aims of what is open beside a port."""
    found = [other.series for other in run.ports if other.reached]
    return [other.aim for other in found + run.peers(port) + port.checks
            if other.aim.method == "tcp" and other.full.outcome == "open"][:1]


def bound_arrival(run, port, passed, found):
    """Add to `found` the ttl with which a reset arrives, if it has passed so
    many routers."""
    for start in STARTS:
        heard, ttl = set(), start - passed
        yield ask_bounded(run, port.aim.target, (0, ttl, ttl + 1), heard)
        if ttl in heard and ttl + 1 not in heard:
            found.add(ttl)
        if ttl + 1 not in heard:
            return


def search_arrival(run, port, found):
    """Add to `found` the ttl with which a reset arrives."""
    low, high = 0, 256              # heard with this least ttl, not with that
    while high - low > 1:
        step = (high - low + 6) // 7
        ttls, heard = list(range(low + step, high, step)), set()
        yield ask_bounded(run, port.aim.target, [0] + ttls, heard)
        if 0 not in heard:
            return
        high = min([ttl for ttl in ttls if ttl not in heard] + [high])
        low = max([ttl for ttl in heard if ttl < high] + [low])
    found.add(low)


def ask_bounded(run, target, ttls, heard):
    """Add to `heard` those of some least ttls, the first is 0, with which a
    port is heard: the kernel lets nothing else in to the sockets that ask
    (RFC 5082)."""
    asked = [open_syn(run, target._replace(least_ttl=ttl), run.short_wait)
             for ttl in ttls]
    first, last = [one.at(DEFAULT_TTL) for one in (asked[0], asked[-1])]
    yield lambda: all(one.done for one in asked) or \
        first.answered and run.clock() >= last.probes[0].sent + \
        2 * (first.answer.rtt or 0) + 0.03
    for ttl, one in zip(ttls, asked):
        if one.at(DEFAULT_TTL).answered:
            heard.add(ttl)
        run.engine.retire(one)


def open_syn(run, target, wait, tries=1):
    """Begin to send SYNs, never acknowledged, with the system's own ttl;
    return the Series."""
    lead = run.lead.series
    # No raw socket: what it hears of TCP is the destination's only.
    method = METHODS["tcp"](target._replace(source_port=None, payload=None),
                            lead.method.mechanism)
    series = Series(DEFAULT_TTL, DEFAULT_TTL, wait, 1, tries - 1,
                    aim=Aim("tcp", target, None), method=method)
    series.full.settled = True          # no real connection
    series.slowest = lead.slowest
    run.engine.add(series)
    return series


# Where silence begins

def verify_place(run, port, controls):
    """Where does silence begin?  The first ttl that only something else got
    to is asked again: by the port from other source ports, and at once by
    that, there and one hop before.  So neither limits of ICMP just used up
    nor one dead path of several feign a place."""
    series = port.series

    def is_due():
        found = find_beyond(run, port)
        if found and port.aim.target.source_port and not series.done:
            # One flow goes one by one: what it has yet to ask is not silent.
            return series.at(found[1]).settled
        return controls.done or series.full.probes and found

    for _ in range(4):
        yield lambda: series.full.final or is_due()
        found = find_beyond(run, port)
        if not found:
            port.limited = is_limited(run, port)
        if not found or series.full.final:
            return
        other, ttl = found
        again = run.open_flows(port, ttl)
        turn = run.turns
        yield lambda: run.turns > turn          # it is sent first
        before = max(1, series.farthest)
        theirs = run.open_ttls(other.aim, before, ttl, run.short_wait,
                               retries=0)
        if not again or not theirs:     # no file is free
            break
        yield lambda: all(one.done for one in again + [theirs])
        for one in again + [theirs]:
            run.engine.retire(one)
        heard = [one for one in again if one.at(ttl).heard]
        if heard and port.aim.target.source_port:
            port.parted = True
            return
        if heard:
            adopt(series, heard[0], ttl)
        elif series.farthest < ttl:
            port.proven = is_proven(run, port, theirs, ttl)
        if port.proven:
            series.doubt_no_more()
            return
    port.limited = find_beyond(run, port) is not None


def is_proven(run, port, theirs, ttl):
    """Return True if routers that could answer are those behind which, and
    before which, a port is silent.  theirs: what was asked at once."""
    if port.series.method.misses_quick and not is_repeat_silent(run, port,
                                                                ttl):
        return False
    last = port.series.farthest
    before = theirs.at(last) or theirs.states[0]
    if not theirs.at(ttl).heard or last and not before.heard:
        return False
    if ttl == last + 1:
        return True
    return last > 0 and not is_limited(run, port) and not any(
        theirs.at(between).heard for between in range(last + 1, ttl)
        if theirs.at(between))


def is_repeat_silent(run, port, ttl):
    """Return True if a SYN that the kernel has repeated got no answer from
    a ttl, though a nearer one was heard: connect(), that may miss an answer,
    is over by then."""
    state = port.series.at(ttl)
    probes = state.probes if state else ()
    return port.series.farthest >= port.series.first and any(
        probe.renewed and (probe.closed or run.clock()) > probe.sent + 1.3
        for probe in probes)


def is_limited(run, port):
    """Return True if some hop has answered a part of its probes only: then
    what is silent beside it need not be silent for good."""
    asked, heard = {}, {}
    for series in [port.series] + run.peers(port):
        for state in series.states:
            if series is port.series and state.ttl > series.farthest:
                continue
            probes = [probe for probe in state.probes if not probe.gone]
            asked.setdefault(state.ttl, []).extend(probes)
            heard.setdefault(state.ttl, []).extend(state.answered)
    return any(0 < len(heard[ttl]) < len(asked[ttl]) for ttl in asked)


def find_beyond(run, port):
    """Return the Series that got farther than a port, with the first ttl
    that only it got to; None if there is none."""
    first, found = port.series.farthest + 1, []
    for other in find_farther(run, port):
        for ttl in range(first, port.series.last + 1):
            state = other.at(ttl)
            if state and (state.reached or state.outcome == "time-exceeded"):
                found.append((ttl, len(found), other))
                break
    if not found:
        return None
    ttl, _, other = min(found)
    return other, ttl


# Further ports and flows

def open_others(run, trace_other):
    """Probe the further ports or flows, so many at a time."""
    def has_room():
        return run.lead.series.full.probes and \
            len(run.flying) < run.IN_FLIGHT

    def is_alone():
        return run.flying in ([], [run.lead])

    while run.waiting:
        yield has_room
        try:
            port = run.open_port()
        except RunError:
            others = len(run.flying)
            if is_alone():
                raise
            yield lambda: len(run.flying) < others      # no file is free
        else:
            run.ask(trace_other(run, port))
    yield is_alone


def trace_port(run, port):
    """A further port: once with the system's own ttl, then at two ttls
    only: where it should end, judged by what else has come there, and one
    less.  If it does not fit, the whole path is probed for it.  So a
    thousand ports do not use up what the routers allow themselves to say.
    """
    series = port.series
    yield lambda: find_edge(run, port) is not None or \
        series.done and run.lead.ended
    port.edge = find_edge(run, port) or 0
    if port.edge:
        series.look(max(run.options.first_hop, port.edge - 1), port.edge)
        late = run.clock() + run.short_wait
        yield lambda: series.done or run.has_few_ports and \
            not series.full.final and (
                series.farthest >= port.edge or
                series.farthest < series.first and run.clock() >= late)
    fits = series.farthest < port.edge and (
        series.farthest >= series.first or not run.has_few_ports)
    if series.full.final:
        fits = series.end == port.edge and not port.open_ended
    if port.edge and fits:
        if port.reached and is_confirmed_at(run, port, port.edge):
            port.refusal = "confirmed"
        if port.reached:
            yield check_sender(run, port, port.edge)
        run.finish(port)
    else:
        series.until = port.began + series.wait
        yield trace_flow(run, port)


def is_confirmed_at(run, port, ttl):
    """Return True if the destination is known to be at a ttl."""
    for other in run.ports:
        if other is not port and other.series.end == ttl and \
                other.refusal == "confirmed":
            return True
    return any(control.end == ttl and control.full.reached and
               control.aim.method != "tcp" for control in run.lead.controls)


def trace_flow(run, port):
    """The same port from a further source port: the whole path, to see what
    shares a load balancer's way with the first, and what does not."""
    port.series.look(run.options.first_hop, run.options.max_hops)
    yield check_answer(run, port)
    run.finish(port)


def find_edge(run, port):
    """Return the ttl at which a further port should end, 0 if the whole
    path has to be probed, None if that is not known yet."""
    full, last = port.series.full, run.options.max_hops
    peers, lead = run.peers(port), run.lead
    if full.reached:
        ends = [other.end for other in peers
                if other.end and other.full.reached and not (
                    lead if other is lead.series else other).open_ended and
                # Who answers one service for the host may answer all.
                not (other in lead.controls and other.aim.method == "tcp")]
        if ends:
            return min(ends)
        return find_guide(run, port)
    if full.final:
        places = [state.ttl for other in peers for state in other.states
                  if state.address == full.answer.address and
                  state.outcome == "time-exceeded"]
        return min(places[0] + 1, last) if places else 0
    if not full.probes or full.outcome == "send-failed":
        return None
    part = (run.clock() - full.probes[0].sent) / port.series.wait
    if run.scout is None or run.scout.full.final:
        run.scout = port.series if lead.series.full.final else lead.series
    if run.scout is port.series:
        return 0 if part >= 0.25 else None
    return min(run.scout.farthest + 1, last) if part >= 0.5 else None


def find_guide(run, port):
    """While the first port says nothing one that is reached shows the whole
    path instead: return 0 if it is this one, else None."""
    late = run.clock() >= run.lead.began + 0.1 * run.lead.series.wait
    if run.guide is None or not run.guide.reached:
        if not late or run.lead.reached:
            return None
        run.guide = port
    return 0 if run.guide is port else None


def verify_places(run):
    """Tell ports that come less far than others from those that met with a
    limit of ICMP just used up: the next hop is asked by each of them, then
    at once by what gets there, and the hop before it, too."""
    while True:
        pairs, beside = [], {}
        for port in doubtful_ports(run)[:8]:
            ttl = port.asked = next_ttl(run, port)
            other = find_able(run, port, ttl)
            ours = []
            if other and run.has_few_ports:
                ours = run.open_flows(port, ttl)
            elif other:
                ours = [run.open_ttls(port.aim, ttl, ttl, run.short_wait,
                                      retries=0)]
            if ours and all(ours):
                pairs.append((port, ttl, ours))
                beside[ttl] = other.aim
        for ttl, aim in beside.items():
            last = max(port.series.farthest for port, at, _ in pairs
                       if at == ttl)
            beside[ttl] = run.open_ttls(aim, max(1, last), ttl,
                                        run.short_wait, retries=0)
        asked = [one for one in sum([ours for _, _, ours in pairs],
                                    list(beside.values())) if one]
        yield lambda: all(one.done for one in asked)
        for one in asked:
            run.engine.retire(one)
        for port, ttl, ours in pairs:
            theirs = beside[ttl]
            heard = [one for one in ours if one.at(ttl).heard]
            if heard:
                adopt(port.series, heard[0], ttl)
            elif theirs and is_proven(run, port, theirs, ttl):
                port.proofs += 1
                if port.proofs < PROOFS:
                    port.asked = 0              # once more
            port.proven = port.proofs >= PROOFS
            unfit = port.series.farthest < port.series.first != 1
            if heard and not port.series.at(ttl) or \
                    port.proven and unfit:
                port.ended, port.proven, port.proofs = None, False, 0
                run.engine.add(port.series)
                run.ask(trace_flow(run, port))      # the whole path
        yield lambda: all(port.ended for port in run.ports)
        if not doubtful_ports(run):
            return


def adopt(series, other, ttl):
    """Take what another Series has heard at a ttl, of the same port."""
    state = series.at(ttl)
    for probe in other.at(ttl).answered if state else ():
        series.note_sent(state, probe)
        series.note_answer(state, probe)


def doubtful_ports(run):
    """Return the ports that came less far than others, not yet asked."""
    return [port for port in run.ports if port is not run.lead and not (
        port.proven or port.series.full.final or
        port.series.full.outcome == "send-failed" or
        port.asked == next_ttl(run, port)) and (
            port.series.farthest < run.limit_of_silence or
            find_able(run, port, next_ttl(run, port)) and (
                run.has_few_ports or
                next_ttl(run, port) > port.series.farthest + 1))]


def next_ttl(run, port):
    """Return the first ttl behind a port's last hop to which something else
    got; the next one, if nothing did."""
    first = port.series.farthest + 1
    for ttl in range(first, run.options.max_hops + 1):
        if find_able(run, port, ttl):
            return ttl
    return first


def find_able(run, port, ttl):
    """Return a Series that has got to a router at a ttl, or, if that is not
    asked of many ports, was answered; None if none has."""
    few = run.has_few_ports
    others = [other.series for other in run.ports if few and
              not (other is port or other.answered)]
    for other in run.peers(port) + others:
        state = other.at(ttl)
        if ttl <= other.last and state and (
                state.outcome == "time-exceeded" or few and state.heard):
            return other
    return None


# The way back (--return-path)

# What came of SYNs to the address of a hop: an outcome each for the port
# under test and for a neighbouring one ("sometimes": only for a while).
Knock = namedtuple("Knock", "ttl address port neighbour")
# port, neighbour: their numbers; knocks: Knocks by ttl, the destination's
# last; sent: SYNs in all.
WayBack = namedtuple("WayBack", "port neighbour knocks sent")
ANSWERED = "refused", "open"    # what comes from a port itself
LAST = 256                      # in place of the destination's ttl


def ask_way_back(run, port):
    """Do answers from the port come back, if routers give them?

    A filter that knows no connections and drops what comes from the port
    also drops what the routers behind it say from theirs.
    """
    series, number = port.series, port.aim.port
    if not run.options.return_path or series.full.outcome == "send-failed":
        return
    neighbour = number + 1 if number < 65535 else number - 1
    places, knocks, sent = [], {}, 0
    if not (series.full.final or series.end or series.loop):
        places = places_to_knock(port)
    for _ in range(2):                  # one silence may be mere loss
        pairs = [(knock(run, port, address, number),
                  knock(run, port, address, neighbour))
                 for _, address in places]
        yield lambda: all(one.done for pair in pairs for one in pair)
        for place, pair in zip(places, pairs):
            states = [one.at(DEFAULT_TTL) for one in pair]
            ours, theirs = [state.outcome for state in states]
            if place in knocks and theirs == "timeout":
                theirs = "sometimes"
            knocks[place] = Knock(*place + (ours, theirs))
            sent += sum(2 if probe.renewed else 1 for state in states
                        for probe in state.probes)
            for one in pair:
                run.engine.retire(one)
        places = [place for place in places
                  if knocks[place].port == "timeout" and
                  knocks[place].neighbour in ANSWERED]
    port.way_back = WayBack(number, neighbour, tuple(
        knocks[place] for place in sorted(knocks)), sent)


def places_to_knock(port):
    """Return the (ttl, address) of all routers heard of, each address once,
    then those of the destination."""
    target, ttls = port.aim.target, {}
    for series in [port.series] + port.controls:
        for state in series.states:
            if state.outcome == "time-exceeded" and state.address:
                ttls.setdefault(state.address, state.ttl)
    # The interface of a link-local address is not told.
    places = sorted((ttl, address) for address, ttl in ttls.items()
                    if not address.lower().startswith("fe80") and
                    address not in (target.address, target.own_address))
    return places + [(LAST, target.address)] if places else []


def knock(run, port, address, number):
    """Begin to send up to two SYNs, never acknowledged, to a port of an
    address; return the Series."""
    target = port.aim.target
    wait = max(1.0, 4 * (run.lead.series.slowest or 0))
    return open_syn(run, target._replace(
        address=address, port=number,
        sockaddr=(address, number) + target.sockaddr[2:]),
        min(run.options.wait_time, wait), tries=2)


# ---------------------------------------------------------------------------
# 14 Inside the session (what becomes of a request)
# ---------------------------------------------------------------------------

LOST = ("reset", "silent", "rejected")
PADDING = 1450          # bytes with which a request needs two packets
OTHER_NAME = b"example.com"
# Ciphers; extensions: groups, signatures, ALPN, versions, key share
HELLO = ("000e130113021303c02bc02fc030009c0100",
         "000a00060004001d0017000d000a000804030804040105010010000e000c0268"
         "3208687474702f312e31002b00050403040303003300260024001d0020")


def encode_hello(name, padding=0):
    """Return a TLS ClientHello (RFC 8446 4.1.2, 6066 3, 7685)."""
    def vector(data):
        return struct.pack("!H", len(data)) + data
    ciphers, extensions = map(unhexlify, HELLO)
    extensions += os.urandom(32) + b"\0\x15" + vector(b"\0" * padding)
    if name:
        extensions = b"\0\0" + vector(vector(b"\0" + vector(name))) + \
            extensions
    return b"\x16\3\1" + vector(b"\1\0" + vector(
        b"\3\3" + os.urandom(32) + b" " + os.urandom(32) + ciphers +
        vector(extensions)))


def encode_get(name, padding=0):
    """Return an HTTP request (RFC 9112 3)."""
    return (b"GET / HTTP/1.1\r\nHost: " + name + b"\r\nConnection: close"
            b"\r\nAccept: */*" + b" " * padding + b"\r\n\r\n")


REQUESTS = {"payload": ("Data of -P", None),
            "http": ("HTTP request", encode_get),
            "tls": ("TLS ClientHello", encode_hello)}
# How an answer of that protocol begins: of TLS an alert, or a handshake
BEGINNINGS = {"payload": (b"",), "http": (b"HTTP/",),
              "tls": (b"\x15\3", b"\x16\3")}


def choose_request(options, method, host="host"):
    """Return (a key of REQUESTS or None, the name to ask for)."""
    chosen = [kind for kind in ("payload", "http", "tls")
              if getattr(options, kind) not in (None, False)]
    if not chosen:
        return None, b""
    kind = chosen[-1]
    if kind == "payload":
        return kind, b""
    if len(chosen) > 1 or method != "tcp" or options.source_port:
        raise OptionError("--%s does not go with -P, -S, -U, -I or "
                          "another request: choose one" % kind)
    text = getattr(options, kind)
    try:
        name = host if text in ("", True) else text
        name = name.rstrip(".").encode("idna")
        if len(name) > 253:
            raise ValueError
    except (ValueError, AttributeError, TypeError):
        raise OptionError("--%s %s: not a host name" % (kind, quote(text)))
    if kind == "tls" and (b":" in name or
                          name.rpartition(b".")[2].isdigit()):
        name = b""                      # an address
    return kind, name


class Request(namedtuple("Request", "kind name last sessions idle full "
                                    "shut_out varied tls small late "
                                    "wait")):
    """What was asked inside the session, and what became of it.

    kind      a key of REQUESTS; name: the host asked for, bytes
    last      ttls below this one were tried; 0 if only the full ttl says
              something on this system
    sessions  tuple of Asked by ttl; full: that with the full ttl; idle: one
              that sent nothing; None before it is known
    shut_out  after the first try no connection came about any more
    varied    tuple of (longer, other-name or cut; Asked)
    tls       a Tls, or None
    small     Asked of the same in small segments, if it was acknowledged
              and no more; None if that was not tried
    late      the first try was acknowledged and no more, a second answered
    wait      seconds in which an answer had to come
    """

    __slots__ = ()

    @property
    def subject(self):
        """What sentences call it: TLS ClientHello for app.example."""
        what = REQUESTS[self.kind][0]
        return what + " for " + format_text(self.name) if self.name else what

    @property
    def idle_too(self):
        """True if a connection without the request is reset, too."""
        return self.full.outcome == self.idle.outcome == "reset"

    @property
    def is_other(self):
        """True if what came belongs to another protocol."""
        return bool(self.full.reply) and not self.speaks(self.kind)

    def speaks(self, kind):
        """Return True if what came may be of a protocol."""
        reply = self.full.reply
        return any(reply.startswith(start[:len(reply)])
                   for start in BEGINNINGS[kind])


Request.__new__.__defaults__ = ((), None, None, False, (), None, None, False,
                                None)

# What became of a Session; mss: bytes of a segment, as last sent; reply:
# the first data of the answer, of a greeting if there is none, or None.
Asked = namedtuple("Asked", "limit outcome mss reply")


class Session(Probe):
    """A request on a connection of its own.

    limit    its ttl, 0 for the system's own; the handshake has the latter
    parts    what is sent, a segment each
    greets   the service speaks first: that is waited for
    outcome  answered, closed, reset, silent, unconnected; acknowledged and
             no more; greeted before, or not as it was awaited: ungreeted;
             expired or rejected by an ICMP error
    """

    GRACE = 0.3         # seconds in which a nearer device has answered, too

    def __init__(self, run, method, limit, parts, greets=False):
        Probe.__init__(self, 0, True)
        self.poller, self.clock = run.engine.poller, run.clock
        self.method = method
        self.limit, self.parts, self.greets = limit, list(parts), greets
        self.outcome = self.noted = self.noted_at = self.reply = None
        self.connected = False
        self.mss = 0            # bytes of a segment, as last sent

    def connect(self):
        """Return True once that is settled."""
        try:
            if self.sent is None:
                self.method.send(self)
                self.poller.add(self.sock.fileno(), write=True)
            if not self.connected and not self.outcome:
                for reply in self.method.receive(self.sock, self):
                    self.connected = reply.kind == "accepted"
                    if reply.error == errno.ECONNRESET:
                        self.outcome = "reset"
                    elif not self.connected:
                        self.outcome = "unconnected"
        except socket.error:
            self.outcome = "unconnected"
        return self.connected or self.outcome is not None

    def look(self):
        """Return True once the outcome is settled."""
        if self.connected and not self.outcome:
            data, number = self.exchange()
            if not self.outcome:
                self.take(data, number)
        if self.outcome or not self.connected:
            return True
        return bool(self.limit and self.noted and
                    self.clock() > self.noted_at + self.GRACE)

    def exchange(self):
        """Send what is left to send; return (data or None, errno or 0)."""
        try:
            if self.greets:     # a later one would feign an answer
                self.reply = self.sock.recv(BUFFER) or None
                if not self.reply:
                    self.outcome = "closed"
                self.greets = False
                return None, 0
            while self.parts:
                self.method.set_ttl(self.sock, self.limit or DEFAULT_TTL)
                self.sock.send(self.parts.pop(0))
                self.poller.add(self.sock.fileno())
            return self.sock.recv(BUFFER), 0
        except socket.error as error:
            if error.errno not in NOTHING_YET:
                return None, error.errno
            # An ICMP error ends no connection and wakes nobody: the kernel
            # notes it here, and sends again, with this ttl.
            return None, self.sock.getsockopt(socket.SOL_SOCKET,
                                              socket.SO_ERROR)

    def take(self, data, number):
        """Settle the outcome, or note what only hints at one."""
        if number in (errno.ECONNRESET, errno.EPIPE):
            self.outcome = "reset"
        elif data == b"":
            self.outcome = "closed"
        elif data and self.is_acknowledged() is not False:
            self.outcome, self.reply = "answered", data
        elif data and not self.limit:
            self.reply = data           # said before it heard us
        elif self.noted or not (data or number):
            return
        elif data:
            # What acknowledges a greeting expires, too: no proof.
            self.note("greeted")
        elif number == errno.EHOSTUNREACH and self.limit:
            self.note("expired")
        else:
            self.note("rejected")

    def note(self, word):
        self.noted, self.noted_at = word, self.clock()

    def is_acknowledged(self):
        """Return True if what was sent is; None if that is not known."""
        info = self.method.read_info(self.sock)
        return info.unacked == 0 if info else None

    def close(self):
        """Close by a reset, with a ttl that gets it to the server."""
        if self.sock:
            if not self.outcome and self.parts:
                self.outcome = "unconnected"
                if self.connected and self.greets:
                    self.outcome = "ungreeted"
            elif not self.outcome and self.is_acknowledged():
                self.outcome = "acknowledged"
            self.outcome = self.outcome or self.noted or "silent"
            info = self.method.read_info(self.sock)
            self.mss = info.snd_mss if info else 0
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
            self.poller.remove(self.sock.fileno())
        self.real = False
        self.method.release(self)

    @property
    def asked(self):
        return Asked(self.limit, self.outcome, self.mss, self.reply)


class SmallSegments(Mechanism):
    """For connections on which the peer, too, sends small packets only."""

    SIZE = 536          # bytes: RFC 9293 3.7.1

    def prepare(self, sock, version):
        sock.setsockopt(socket.IPPROTO_TCP,
                        getattr(socket, "TCP_MAXSEG", 2), self.SIZE)


def new_tcp(port, mechanism=Mechanism):
    """Return a TCP method for connections of our own."""
    target = port.aim.target._replace(source_port=None)
    return METHODS["tcp"](target, mechanism())


def exchange_all(run, sessions, wait=None):
    """Carry out Sessions.  All connect first: a device that saw a bad
    request may refuse what comes next."""
    wait = wait or run.options.wait_time
    for start in range(0, len(sessions), run.options.parallel):
        # The full ttl first: some servers serve one at a time.
        group = sessions[start:start + run.options.parallel][::-1]
        for session in group:
            run.keep(session)
        yield settle_all(run, group, Session.connect, wait)
        yield settle_all(run, group, Session.look, wait)
        for session in group:
            run.drop(session)


def settle_all(run, group, step, wait):
    """Return a function: is a step of all Sessions settled, or its time
    over?  What the full ttl brings, the others have brought before."""
    deadline = [run.clock() + wait]

    def is_settled():
        settled = [step(session) for session in group]
        if group[-1].limit and group[0].outcome:
            deadline[0] = min(deadline[0], run.clock() + Session.GRACE)
        return all(settled) or run.clock() >= deadline[0]

    return is_settled


def ask_inside(run, port):
    """What becomes of a request to an open port, by each ttl?"""
    kind, name = choose_request(run.options, port.aim.method,
                                run.show.destination)
    path = run.freeze(port)
    if not kind or kind == "payload" and (
            run.options.source_port or
            "data-lost" not in path.full.answer.flags):
        return
    port.request = Request(kind, name, 0)
    if not path.reached or path.reached.outcome != "open":
        return
    last = path.distance or 1 + max([0] + [hop.ttl for hop in path.routers])
    method = new_tcp(port)
    if not tells_segments(method):
        last = 0
    port.request = Request(kind, name, last, wait=run.options.wait_time)
    encode = REQUESTS[kind][1]
    data = encode(name) if encode else port.aim.target.payload
    greets = path.reached.data is not None
    yield ask_each_ttl(run, method, port, data, greets)
    if encode and port.request.full.outcome == "acknowledged" and \
            not port.request.is_other:
        yield ask_small(run, method, port, data, greets)
    request = port.request
    fate = request.full.outcome
    if request.idle_too or request.is_other or \
            fate == "reset" and request.idle.outcome == "closed" or \
            fate not in LOST + ("answered",):
        return
    if kind == "tls" and request.full.reply:
        yield shake_hands(run, method, port)
    tls = port.request.tls
    if encode and not (tls and tls.failure in FAILED):
        yield vary_request(run, method, port, greets)


def tells_segments(method):
    """Return True if the kernel tells what is acknowledged."""
    try:
        sock = method.open_socket(socket.SOCK_STREAM)
    except socket.error:        # no file is free
        return False
    try:
        return bool(method.read_info(sock))
    finally:
        sock.close()


def ask_each_ttl(run, method, port, data, greets):
    """Send the request with each ttl below the last, and with the full
    one; once more if that is lost, as it may be mere loss."""
    first = tried = None
    for _ in range(2):
        sessions = [Session(run, method, ttl, [data], greets)
                    for ttl in range(1, port.request.last)]
        idle = Session(run, method, 0, [], greets)
        full = Session(run, method, 0, [data], greets)
        yield exchange_all(run, sessions + [idle, full])
        first, tried = tried, port.request._replace(
            sessions=tuple(session.asked for session in sessions),
            idle=idle.asked, full=full.asked)
        if full.outcome not in ("silent", "unconnected"):
            break
    if first and first.full.outcome == "silent" and \
            full.outcome == "unconnected":
        tried = first._replace(shut_out=True)
    port.request = tried


def ask_small(run, method, port, data, greets):
    """Is the answer too big for the way back?  Asks for it in small
    segments, and once more as before: that one goes first, as some servers
    serve one at a time."""
    request = port.request
    small = Session(run, new_tcp(port, SmallSegments), 0, [data], greets)
    again = Session(run, method, 0, [data], greets)
    yield exchange_all(run, [small, again], min(1, request.wait))
    port.request = request._replace(small=small.asked)
    if again.outcome == "answered":
        port.request = request._replace(full=again.asked, late=True)


def vary_request(run, method, port, greets):
    """Send the request changed: is it the size, or the name?"""
    request = port.request
    name, encode = request.name, REQUESTS[request.kind][1]
    data = encode(name)
    cut = data.find(name) + len(name) // 2 or 60
    kinds = [("longer", [encode(name, PADDING)]),
             ("other-name", [encode(OTHER_NAME)]),
             ("cut", [data[:cut], data[cut:]])]
    if request.full.outcome == "answered":
        del kinds[1:]
    varied = [(which, Session(run, method, 0, parts, greets))
              for which, parts in kinds]
    yield exchange_all(run, [session for _, session in varied])
    port.request = request._replace(varied=tuple(
        (which, session.asked) for which, session in varied))


# What a TLS handshake shows; problem: why it failed or the certificate is
# not to be trusted, or None.  If it failed, version is None, and failure:
# stalled (no end in time), lost (the connection was), alert (by the peer),
# protocol (by this side), certificate (the peer wants another, or one),
# unable (this Python is).  small: it came about in small segments only.
Tls = namedtuple("Tls", "version cipher subject issuer until problem failure")
Tls.__new__.__defaults__ = (None,) * len(Tls._fields)
FAILED = ("stalled", "small", "lost", "alert", "protocol")


class Handshake(object):
    """A whole TLS handshake on a connection of its own.

    Raises ImportError or AttributeError where ssl is missing or too old.
    """

    def __init__(self, run, method, name, strict):
        import ssl
        self.ssl = ssl
        self.context = ssl.create_default_context()  # novm: may be missing
        self.context.check_hostname = bool(strict and name)
        if not strict:
            self.context.verify_mode = ssl.CERT_NONE
        self.poller, self.clock = run.engine.poller, run.clock
        self.name = name
        self.until = run.clock() + run.options.wait_time
        self.problem = self.failure = self.tls = None
        self.secured = False
        self.sock = method.open_socket(socket.SOCK_STREAM)
        self.number = self.sock.fileno()
        number = self.sock.connect_ex(method.target.sockaddr)
        if number not in UNDER_WAY:
            self.sock.close()
            raise socket.error(number, format_errno(number))
        self.poller.add(self.number, write=True)

    def is_settled(self):
        """Go on as far as possible; True once it is over."""
        try:
            if not self.is_connected():
                return self.is_late()
            if not self.secured:
                self.sock = self.context.wrap_socket(
                    self.sock, do_handshake_on_connect=False,
                    server_hostname=self.name.decode("ascii") or None)
                self.secured = True
            self.sock.do_handshake()
            self.tls = Tls(self.sock.version(), self.sock.cipher()[0],
                           *decode_certificate(self.sock.getpeercert(True)))
            return True
        except (self.ssl.SSLWantReadError, self.ssl.SSLWantWriteError):
            self.poller.add(self.number)
            return self.is_late()
        except (socket.error, ValueError) as error:
            self.fail(error)
            return True

    def fail(self, error):
        """Note why there is no handshake, and what kind of failure it is:
        by OpenSSL's words for it, as an older Python has wrong names."""
        ssl, words = self.ssl, str(error)
        self.failure = "lost"
        if isinstance(error, ssl.SSLError):
            words = words.rpartition("] ")[2].partition(" (")[0].lower()
            self.failure = "protocol"
            if "certificate" in words or "unknown ca" in words:
                self.failure = "certificate"
            elif "alert" in words or words.startswith("tlsv1 "):
                self.failure = "alert"
                words = words.rpartition("alert ")[2].replace("tlsv1 ", "")
            elif "eof" in words or isinstance(error, (
                    ssl.SSLEOFError, ssl.SSLZeroReturnError,
                    ssl.SSLSyscallError)):
                self.failure, words = "lost", "the connection was closed"
        elif isinstance(error, ValueError):     # a name that ssl minds
            self.failure = "unable"
        self.problem = format_text(getattr(error, "verify_message", "") or
                                   words)

    def is_connected(self):
        """Return False while that is not known; raises socket.error."""
        if self.secured:
            return True
        number = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise socket.error(number, format_errno(number))
        try:
            self.sock.getpeername()
            return True
        except socket.error:
            return False

    def is_late(self):
        if self.clock() < self.until:
            return False
        self.problem = "timed out"
        self.failure = "stalled" if self.secured else "lost"
        return True

    def close(self):
        self.poller.remove(self.number)
        self.sock.close()


def shake_hands(run, method, port):
    """What does a TLS handshake show, be the certificate good or not?  If
    it stalls, is what the server sends too big for the way back?"""
    request, problem, failure, tls = port.request, None, None, None
    stalled = False
    for strict in (True, False):
        if stalled:
            method = new_tcp(port, SmallSegments)
        try:
            shake = run.keep(Handshake(run, method, request.name, strict))
        except (ImportError, AttributeError):
            problem = "no module ssl, or one that is too old"
            failure = "unable"
            break
        except socket.error as error:
            if not stalled:     # not every system has small segments
                problem, failure = format_text(str(error)), "lost"
            continue
        if stalled:
            shake.until = run.clock() + min(1, request.wait)
        yield shake.is_settled
        run.drop(shake)
        tls, failure = shake.tls, shake.failure
        if tls:
            break
        stalled, problem = failure == "stalled", shake.problem
    if tls and stalled:
        problem, failure = None, "small"
    if failure == "alert" and request.full.reply[:1] == b"\x16":
        failure = "certificate"     # all the rest was agreed on before
    port.request = request._replace(tls=(tls or Tls())._replace(
        problem=problem, failure=failure))


def decode_certificate(data):
    """Return the words (subject, issuer, last day) of a certificate in DER
    (RFC 5280 4.1): the names stand around the validity."""
    import re
    found = re.split(b"Z[\x17\x18].(\\d{6,8})\\d{6}Z", data or b"",
                     maxsplit=1)
    if len(found) < 3:
        return "?", "?", "?"
    issuer, day, rest = found
    day = format_text(day)
    if len(day) == 6:                   # UTCTime, from 1950 on
        century = "20" if day < "5" else "19"
        day = century + day
    subject = rest.split(b"*\x86H")[0]  # before the public key
    return (find_names(subject), find_names(issuer),
            "%s-%s-%s" % (day[:4], day[4:6], day[6:]))


def find_names(data):
    """Return the organizations and common names in DER, as quoted text
    (RFC 5280 appendix A: 2.5.4.10 and 2.5.4.3, strings of four kinds)."""
    import re
    names = [data[item.end():][:ord(item.group(1))] for item in re.finditer(
        b"(?s)U\4[\3\n][\x0c\x13\x14\x16](.)", data)]
    return "'%s'" % format_text(b", ".join(names)[:DATA_SHOWN])


# ---------------------------------------------------------------------------
# 15 Path MTU
# ---------------------------------------------------------------------------

MTU_PORT = 33434        # most likely closed


class SizeQueue(ErrorQueue):
    """For sockets that never fragment and pay no heed to an MTU the kernel
    has learned; Reply.data is the MTU an ICMP error tells."""

    def prepare(self, sock, version):
        ErrorQueue.prepare(self, sock, version)
        # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER: PROBE
        sock.setsockopt(*{4: (0, 10, 3), 6: (41, 23, 3)}[version])

    def receive(self, sock, flags=0):
        heard = ErrorQueue.receive(self, sock, flags)
        if not flags and sock.type & 15 == socket.SOCK_RAW and \
                sock.family == socket.AF_INET:
            return (decode_ip(heard[0])[1],) + heard[1:]
        return heard

    @staticmethod
    def decode_error(value, version, quoted, facts):
        reply = ErrorQueue.decode_error(value, version, quoted, facts)
        return reply and reply._replace(
            data=struct.unpack_from("=I", value, 8)[0])


class PathMtu(object):
    """Finds the largest packet that gets to the destination, in bytes.

    Who finds one too big tells the MTU (RFC 1191, RFC 8201); where nobody
    does, 16 sizes at once narrow it down.  That is for ICMP echo.  A host
    limits its other answers (Linux: 6 at once, then one a second), and so
    does a router: where only these come one size at a time is asked, of the
    usual ones first; who is silent for a limit is found out by confirm().

    low, high  the largest that gets there, the smallest that does not
    why        Reply that refused `high`, None if nothing came
    echo       False if this user may not send ICMP echo
    sparing    one size at a time
    end        ttl asked at; if the destination is silent, the last hop's
    lost_between  (last ttl that `high` gets to, next ttl that `low` gets to)
    found      low is the path MTU
    mss        bytes of a segment that the server takes, or None
    """

    LEAST = {4: 68, 6: 1280}        # RFC 791 3.2, RFC 8200 5
    HEADERS = {4: 28, 6: 48}        # with that of UDP or ICMP
    # Of Ethernet, PPPoE, tunnels and VPNs
    USUAL = (576, 1000, 1200, 1280, 1300, 1340, 1360, 1380, 1400, 1412, 1420,
             1430, 1440, 1450, 1460, 1476, 1480, 1492, 1500)
    PATIENCE = 10                   # seconds for one size at a time
    GRACE = 0.1                     # for an echo reply behind another answer
    PACE = 1.1                      # an answer a second is what a host gives
    supported = echo = True
    sparing = False

    def __init__(self, run, port, path):
        self.run, self.target = run, port.aim.target
        version = self.target.family.version
        self.too_big = TOO_BIG[version]
        self.least, self.header = self.LEAST[version], self.HEADERS[version]
        hops = list(path.shown)
        for control in port.controls:
            hops += run.freeze_series(control).shown
        # The full ttl's answer may stand at the last hop known.
        self.places = dict((hop.ttl, hop.address) for hop in hops
                           if hop.address and not hop.more)
        self.last = path.distance or max(self.places or [0]) + 1
        self.wait = min(run.options.wait_time, max(
            [0.6] + [4 * hop.rtt for hop in hops if hop.rtt]))
        self.low, self.high, self.end = self.least, 65536, DEFAULT_TTL
        self.why, self.lost_between, self.found = NO_REPLY, None, False
        self.heard = {}                 # size -> list of Series
        self.done = False
        self.read_mss(port, path)

    def read_mss(self, port, path):
        """Take the MSS from the connection that the trace has made."""
        info = port.series.method.tcp_info
        self.mss = self.offers_more = None
        if path.full.outcome == "open" and info:
            # Without the 12 bytes of timestamps, if there are any.
            self.mss = info.snd_mss + 12 * (info.options & 1)
            size = self.mss + self.header + 12
            self.offers_more = size >= info.pmtu

    def send(self, sizes, last=0, wait=None, tries=3, enough=None):
        """Ask by packets of some sizes, with the ttl `end` and with 1 to
        `last`, what becomes of them; `heard` holds the answers.  The big
        ones go first, before the small use up what a router may answer."""
        run, series = self.run, []
        self.heard = dict((size, []) for size in sizes)
        for size in sorted(self.heard, reverse=True):
            payload = (b"\0" * 64 + os.urandom(size))[:size - self.header]
            for name, port in ("icmp", None), ("udp", MTU_PORT):
                aim = run.lead.aim.other(name, port, payload=payload)
                try:
                    method = METHODS[name](aim.target, SizeQueue())
                except RunError:        # no ICMP echo for this user
                    self.echo = False
                    continue
                method.by_ping = True           # see SizeQueue.receive()
                series.append(Series(
                    1, last, wait or self.wait, retries=tries - 1, gap=0,
                    parallel=64, aim=aim, method=method, full_ttl=self.end))
                run.engine.add(series[-1])
                self.heard[size].append(series[-1])
        enough = enough or (lambda: all(
            self.fate(size) for size in self.heard))
        yield lambda: all(one.done for one in series) or enough()
        for one in series:
            run.engine.retire(one)
            for state in one.all_states:    # whom the trace has not heard
                if state.outcome == "time-exceeded" and state.address:
                    self.places.setdefault(state.ttl, state.address)

    def reach(self, size):
        """Return the ttls at which an answer shows the arrival."""
        ttls = []
        for series in self.heard[size]:
            for state in series.all_states:
                if state.reached or self.is_own_refusal(state.answer):
                    ttls.append(DEFAULT_TTL)
                elif state.outcome == "time-exceeded" and \
                        state.ttl < DEFAULT_TTL:        # else it is a loop
                    ttls.append(state.ttl)
        return ttls

    def is_own_refusal(self, answer):
        """True if the host's own firewall rejects the packet: it got there.
        """
        return answer.outcome in ("prohibited", "unreachable") and \
            answer.address == self.target.address and \
            self.too_big != (answer.icmp_type, answer.icmp_code)

    def fate(self, size):
        """Return True if a packet arrived, else the Reply of who found it
        too big, else None."""
        if self.end in self.reach(size):
            return True
        for series in self.heard[size]:
            for state in series.all_states:
                answer = state.answer
                if answer.error == errno.EMSGSIZE or \
                        self.too_big == (answer.icmp_type, answer.icmp_code):
                    return answer
        return None

    def find_end(self):
        """Find how far small packets get, and by what that is known."""
        self.end, self.low = DEFAULT_TTL, self.least
        # What the trace has asked may have used up a host's answers.
        yield self.send([self.low], self.last, max(self.wait, 2 * self.PACE),
                        enough=self.hears_enough)
        self.end = max(self.reach(self.low) or [0])
        self.sparing = not self.hears_echo()

    def hears_echo(self):
        """True if the least packet was answered by an echo reply."""
        return any(series.full.outcome == "echo-reply"
                   for series in self.heard[self.low])

    def hears_enough(self):
        """True if the least packet has arrived and an echo reply has come,
        or would have."""
        full = [series.full for series in self.heard[self.low]
                if series.full.answered]
        return self.fate(self.low) is True and (self.hears_echo() or any(
            self.run.clock() > state.probes[-1].sent + self.GRACE +
            2 * (state.answer.rtt or 0) for state in full))

    def search(self):
        """Find low, high and why; `found` tells if that came off."""
        self.high, self.why, self.found = 65536, NO_REPLY, False
        sizes, told = [1500, 1501, 9000, 9001, 65535], 0
        while not self.late:
            known = [] if self.sparing else [self.low]
            yield self.send(sizes + known, wait=self.pace)
            passed = [size for size in self.heard if self.fate(size) is True]
            if known and not passed:
                return
            self.spent += len(passed)
            self.low = max(passed + [self.low])
            bad = [size for size in sizes if size > self.low]
            if bad:
                self.high = min(bad)
                self.why = self.fate(self.high)
            mtu = 0
            if self.why:
                mtu = self.why.data or 0
            if mtu == self.low or self.high - self.low < 2:
                self.found = True
                return
            sizes = self.choose_sizes()
            if self.low < mtu < self.high and told < 8:
                sizes, told = [mtu], told + 1

    def choose_sizes(self):
        """Return the sizes between low and high to ask next."""
        if not self.sparing:
            step = (self.high - self.low - 2) // 16 + 1
            return list(range(self.low + step, self.high, step))
        usual = [size for size in self.USUAL if self.low < size < self.high]
        if usual:
            return [usual[len(usual) // 2]]
        if self.low in self.USUAL:
            return [self.low + 1]
        return [(self.low + self.high) // 2]

    def confirm(self):
        """Look where `high` gets lost; what is lost has to stay lost.

        Both sizes are sent in pairs, the bigger one first: where answers
        are limited or lost, it would have had the first, sooner or later.
        """
        low, high, rounds = [], [], 0
        least = 5 if self.sparing else 3
        beyond = []
        while rounds < least or beyond and low.count(min(beyond)) < 2 and \
                rounds < least + 3:
            rounds += 1
            yield self.send([self.low, self.high], self.last,
                            max(self.PACE, self.wait), 1)
            low += set(self.reach(self.low))
            high += self.reach(self.high)
            self.found = not self.fate(self.high)
            if not self.found:
                return
            here = max(high or [0])
            beyond = [ttl for ttl in low if ttl > here]
        beyond = [ttl for ttl in beyond if low.count(ttl) > 1]
        self.found = bool(beyond) and 2 * low.count(self.end) > rounds
        if self.found:
            self.lost_between = here, min(beyond)

    def find(self):
        """Find all of it, by up to three tries."""
        yield self.find_end()
        self.spent, self.began = 0, self.run.clock()
        for _ in range(3 if self.end else 0):
            self.lost_between = None
            yield self.search()
            if self.found and not self.why:
                yield self.confirm()
            if self.found or self.late:
                break
            self.sparing = True
        self.done = True

    @property
    def late(self):
        """True if one size at a time has taken long enough."""
        return self.sparing and \
            self.run.clock() > self.began + self.PATIENCE

    @property
    def pace(self):
        """Seconds after which a size has got no answer: those heard may
        have been all that a host gives for now."""
        saved = (self.run.clock() - self.began) / self.PACE - self.spent
        if self.sparing and saved < 1:      # the last of three tries has one
            return max(self.wait, 1.5 * self.PACE)
        return self.wait

    @property
    def size(self):
        """The path MTU, None if it is not known."""
        if self.done and self.found and self.end == DEFAULT_TTL:
            return self.low
        return None


def find_mtu(run, port):
    """What is the path MTU, and who or what limits it?"""
    path = run.freeze(port)
    if not run.options.mtu or path.full.outcome == "send-failed":
        return
    port.mtu = PathMtu(run, port, path)
    if not ErrorQueue.available():
        port.mtu.supported = False
        return
    yield port.mtu.find()


def trace_all(run, trace_other):
    """The order of it all; trace_other: the question of a further port."""
    lead = run.ask(trace_lead(run, run.lead))
    others = run.ask(open_others(run, trace_other))
    yield lambda: lead.done and others.done
    if trace_other is trace_port:
        yield verify_places(run)
    yield ask_way_back(run, run.lead)
    for port in run.ports:
        yield ask_inside(run, port)
    yield find_mtu(run, run.lead)


# ---------------------------------------------------------------------------
# 16 Judging (what the facts mean)
# ---------------------------------------------------------------------------

# Where something is blocked; address and name are None if not known.
# lender: the method that has shown who is there, if not the port's own.
Place = namedtuple("Place", "ttl address reached name lender")
Place.__new__.__defaults__ = (None, None)
THIS_HOST = Place(0, None, False)

# Why, or with what reservation: a name of section 18, and its facts.
Reason = namedtuple("Reason", "name facts")


class Verdict(namedtuple("Verdict", "word who after before reasons "
                                    "request")):
    """What is judged, without words.

    word     a key of SENTENCES
    who      address that decided it, or None
    after, before  the Places between which it is blocked, or None
    reasons  list of Reason
    request  a Request, or None if it is that of the port itself
    """

    __slots__ = ()

    @property
    def reached(self):
        return self.word in REACHED_VERDICTS.values()

    def facts(self, name):
        """Return the facts of a reason, None if it was not given."""
        for each in self.reasons:
            if each.name == name:
                return each.facts
        return None


Verdict.__new__.__defaults__ = (None, None, None, (), None)


def reason(name, **facts):
    return Reason(name, facts)


def place_at(hop):
    """Return the Place of a Hop, None as None."""
    return hop and Place(hop.ttl, hop.address, hop.reached, hop.name,
                         hop.lender)


def judge(case):
    """Return the Verdict of a case: the first rule that holds decides."""
    best = select_control(case)
    for rule in RULES:
        verdict = rule(case, best)
        if verdict:
            break
    if verdict.word == "open" and case.request:
        verdict = judge_request(case) or verdict
    return verdict._replace(reasons=tuple(verdict.reasons))


def select_control(case):
    """Return the control to speak of: the one that shows a forgery, else
    the one that got farthest; None if there is none."""
    controls = [control for control in case.controls
                if not is_nearer(control, case.path)]
    if "forged" in case.path.full.answer.flags:
        end = case.path.end
        for shows in (lambda control: router_at_end(case.path, control),
                      lambda control: first_router(control, end)):
            controls = list(filter(shows, controls)) or controls
    if not controls:
        return None
    return max(controls, key=how_far)


def is_nearer(control, path):
    """Return True if what answers a control is nearer than a router on a
    path: it is not the destination.  One that has its address and forwards
    this port is."""
    routers = [hop for hop in path.routers if hop.address != path.address]
    return bool(control.reached and control.end and routers and
                control.end <= routers[-1].ttl)


def final_answer(path):
    """Return the Reply that ends the path, the full ttl's first; None if
    nothing does."""
    for hop in (path.full, path.at(path.end)):
        for answer in hop.answers if hop else ():
            if OUTCOMES[answer.outcome].final:
                return answer
    return None


# The rules, each a function of a case and its best control that returns a
# Verdict, or None if it does not apply.

def judge_reached(case, best):
    """open, answered or refused: the destination's own word goes first."""
    path, answer = case.path, case.path.reached
    if answer is None:
        return None
    reasons = find_contradictions(path)
    if answer.outcome == "open" and not reasons and not case.request:
        reasons = find_proof(answer)
    if answer.outcome == "refused" and not answer.address and \
            path.own_address != path.address:
        reasons.append(reason("refused-by-whom"))
    elif answer.outcome in FORGED[path.aim.method] and path.complete and \
            path.refusal is None and path.own_address != path.address:
        reasons.insert(0, reason("unconfirmed"))    # of whom it speaks
    reasons += find_repeats(path)
    return Verdict(REACHED_VERDICTS[answer.outcome], answer.address,
                   reasons=reasons)


def find_repeats(path):
    """Return the reason that says that the real connection needed more than
    one SYN; none if the path is so slow that it proves no loss."""
    answer = path.full.answer
    if any((each.rtt or 0) > TcpMethod.repeats
           for hop in [path.full] + path.routers for each in hop.answers):
        return []
    if "syn-repeated" in answer.flags:
        return [reason("syn-repeated", count=answer.syns)]
    if "syn-late" in answer.flags:
        return [reason("syn-late")]
    if path.aim.method == "tcp" and path.complete and path.full.lost and \
            not path.full.answers:
        return [reason("syn-unanswered")]
    return []


def find_contradictions(path):
    """Return the reasons not to take an answer of the destination for all
    there is to say: the first of these."""
    flags, last = path.full.answer.flags, path.at(path.end)
    if "reset-at-once" in flags:
        return [reason("reset-at-once")]
    if last and last.outcome == "reset":
        return [reason("reset-nearer", ttl=path.end)]
    if last and path.refusal == "confirmed" and path.full.heard and \
            last.outcome in REFUSALS and \
            last.outcome != path.full.outcome:
        return [reason("refused-later")]
    if last and path.open_ended and last.outcome in REFUSALS:
        return [reason("refused-from", ttl=path.end)]
    others = set(answer.address or "?" for hop in (path.full,) + path.hops
                 for answer in hop.answers
                 if answer.outcome in ("prohibited", "unreachable"))
    if others:
        return [reason("refused-some", addresses=sorted(others))]
    return []


def find_proof(answer):
    """Return the reasons that tell how little a connection proves, or what
    the service did with it; [] if it has spoken."""
    if answer.data:
        return []
    if "closed-at-once" in answer.flags:
        return [reason("closed-at-once", after=answer.after)]
    return [reason("handshake-only", after=answer.after)]


def judge_forged(case, best):
    """reset, rejected or intercepted: an answer that comes back from nearer
    than the destination, as check_answer() has found out: a device on the
    way gave it."""
    path, answer = case.path, final_answer(case.path)
    if answer is None or "forged" not in answer.flags:
        return None
    if path.arrival:
        near = last_router(path, path.end - 1)
        is_last = near is not None and near.ttl == path.end - 1
        return Verdict("reset", after=near, before=Place(
            path.end, path.address, True), reasons=[
                reason("last-router", place=near if is_last else None,
                       ttl=path.end, arrival=path.arrival,
                       address=path.address)])
    before = best and router_at_end(path, best)
    beyond = before or best and first_router(best, path.end)
    reasons = [reason("nearer-than-host", ttl=path.end, control=best,
                      place=place_at(beyond))]
    if answer.outcome == "intercepted":
        reasons += [reason(flag) for flag in path.full.answer.flags
                    if flag == "reset-at-once"]
        return Verdict("intercepted", after=last_router(path, path.end - 1),
                       reasons=reasons)
    if answer.outcome != "reset":
        reasons.insert(0, reason(
            "icmp", icmp=(answer.icmp_type, answer.icmp_code),
            in_name=bool(answer.address)))
        return Verdict("rejected", after=last_router(path, path.end - 1),
                       reasons=reasons)
    if not answer.address:
        reasons.insert(0, reason("perhaps-icmp"))
    return Verdict("reset", after=last_router(path, path.end - 1),
                   before=place_at(before),
                   reasons=reasons + name_forger(path, before))


def name_forger(path, beyond):
    """Return the reason that says which of two hops a reset came from, if
    the ttl with which it arrives can tell."""
    near, reset = path.at(path.end - 1), path.at(path.end)
    if not beyond or not near or near.outcome != "time-exceeded" or not all(
            hop.reply_ttl for hop in (near, reset, beyond)):
        return []
    passed = count_passed(reset.reply_ttl)
    ways = count_passed(near.reply_ttl), count_passed(beyond.reply_ttl)
    if passed not in ways or ways[0] == ways[1]:
        return []
    is_near = passed == ways[0]
    return [reason("reply-ttl", ttl=reset.reply_ttl, is_near=is_near,
                   place=place_at(near if is_near else beyond))]


def judge_rejected(case, best):
    """rejected or unreachable: somebody on the way, or the destination's
    own firewall, says no by ICMP, or by an errno."""
    path, answer = case.path, final_answer(case.path)
    if answer is None:
        return None
    reached = best and best.reached
    if is_untold(path.full) and not reached:
        verdict = judge_unreachable_for_all(case, best)
        if verdict:             # that shows who says so
            return verdict
    # For one port only, it is no missing route.
    word = "rejected"
    if answer.outcome == "unreachable" and not reached:
        word = "unreachable"
    ttl = path.end
    if answer.address:
        ttl = place_of(answer, path)
    reasons = doubt_refuser(path, answer, best, ttl)
    if reasons and reasons[0].name == "behind":
        ttl = path.end
    if reached:
        reasons.append(reason("reaches", control=best))
    if answer.address and answer.address != path.address:
        others = [control for control in case.controls if (
            final_answer(control) or NO_REPLY).address == answer.address]
        if others:
            reasons.append(reason("rejects-too", controls=others, word=word))
    arp = answer.outcome != "refused" and not reached
    return Verdict(word, answer.address, place_refuser(path, answer, ttl),
                   reasons=[reason("icmp", icmp=(
                       answer.icmp_type, answer.icmp_code), ttl=ttl,
                       perhaps_arp=arp)] + reasons)


def doubt_refuser(path, answer, best, ttl):
    """Return what makes it doubtful, or clear, who has rejected with this
    answer, as a list of one reason, or none."""
    at_host = best and path.end and best.distance == path.end
    if answer.address is None:
        if at_host and best.reached:
            return [reason("or-itself")]
    elif answer.address == path.address:
        forwards = forwarding_hop(path)
        if forwards and any(forwards.ttl < hop.ttl < (path.end or 0)
                            for hop in path.routers):
            return [reason("behind", ttl=path.end)]
        if forwards:
            return [reason("or-behind")]
        known = path.refusal == "confirmed"
        return [reason("own-firewall" if known else "unconfirmed")]
    elif at_host and ttl == path.end and (
            answer.icmp_type, answer.icmp_code) in ((3, 3), (1, 4)):
        return [reason("other-address")]
    return []


def place_refuser(path, answer, ttl):
    """Return the Place at or behind which something was rejected, None if
    that is not known."""
    if answer.address is None:          # not by whom a ttl has passed
        return last_router(path, (path.end or 0) - 1)
    if ttl and ttl == path.end and answer.address != path.address:
        return Place(ttl, answer.address, False, path.at(ttl).name)
    return last_router(path, ttl)


def place_of(answer, path):
    """Return the ttl of the hop that an answer came from, as far as known:
    a router filters behind its own ttl check, so it first answers for the
    port one ttl later than as a hop."""
    for hop in path.hops:
        for known in hop.answers:
            if answer.address and known.address == answer.address and \
                    known.outcome == "time-exceeded":
                return hop.ttl
    before = path.end and path.at(path.end - 1)
    if path.end == 1 or before and before.heard:
        return path.end
    return None


def judge_not_sent(case, best):
    """error: nothing could be sent; silence behind that proves nothing."""
    path = case.path
    for hop in (path.full,) + path.hops:
        if hop is not path.full and hop.ttl <= path.farthest:
            continue
        for answer in hop.answers:
            if answer.outcome == "send-failed":
                return Verdict("error", reasons=[
                    reason("not-sent", error=answer.error)])
    return None


def judge_unreachable_for_all(case, best):
    """unreachable: a control was told so, behind the last hop heard; this
    probe's turn at a limit of errors was over."""
    path = case.path
    if best and best.reached or path.proven:
        return None
    for control in case.controls:
        verdict = judge(Case(control))
        told = verdict.facts("icmp")
        if verdict.word == "unreachable" and verdict.who and \
                (told["ttl"] or 0) <= path.farthest < (
                    control.end or control.last + 1):
            after = last_router(path)
            name = "told-too" if is_untold(path.full) else "told"
            return Verdict("unreachable", verdict.who, after, reasons=[
                reason("icmp", **verdict.facts("icmp")),
                reason(name, control=control, path=path)])
    return None


def judge_looping(case, best):
    """dropped: the path runs in a circle."""
    path = case.path
    if not path.loop:
        return None
    first, last, _ = path.loop
    return Verdict("dropped", after=last_router(path, last.ttl), reasons=[
        reason("loop", first=place_at(first), last=place_at(last))])


def judge_silent(case, best):
    """silent: UDP only; the host is up, and no hop between answers
    something else only."""
    path = case.path
    if path.aim.method != "udp" or not (best and best.reached) or \
            first_beyond(path, [best], path.address):
        return None
    reasons = [reason("is-up", control=best)]
    others = [control for control in case.controls
              if control.aim.method == "udp"]
    for control in others:              # what a port surely closed says
        if control.aim.port not in CONTROL_PORTS["udp"] or control is best:
            continue
        word = judge(Case(control)).word
        if word == "refused" or word == "dropped" and not any(
                other.reached for other in others):
            reasons.append(reason("udp-" + word, control=control))
            break
    if path.limited and not path.blind and \
            path.farthest < (best.distance or 0) - 1:
        reasons.append(reason("seen-up-to", path=path))
    row = find_payload(path.aim.target)
    if row:
        reasons.append(reason("shy", service=row.name))
    elif path.aim.port in SILENT:
        reasons.append(reason("mute", service=SILENT[path.aim.port]))
    return Verdict("silent", reasons=reasons + miss_source(path))


def miss_source(path):
    """Return the reason that the firewalls may want another source port."""
    aim = path.aim
    if aim.method != "udp" or aim.port not in FROM_PORT or \
            aim.target.source_port:
        return []
    who, port = FROM_PORT[aim.port]
    return [reason("from-port", who=who, port=port)]


def judge_dropped(case, best):
    """dropped: silence after the last hop heard; where the best control
    gets farther, before the first hop that answers only that."""
    path = case.path
    after, before = last_router(path), None
    if after is None and path.first == 1 and not path.blind:
        after = THIS_HOST
    again = None if best and best.reached else find_again(path, best)
    if again:
        address, first, last = again
        return Verdict("dropped", after=after, reasons=[
            reason("again", address=address, first=first, last=last)])
    beyond = first_beyond(path, case.controls)
    reasons = explain_loss(case, best, beyond)
    doubts = doubt_place(case, best) if best else []
    if beyond and after is THIS_HOST and not doubts:
        reasons.append(reason("local-firewall"))
    if path.aim.method == "udp" and not path.blind and (
            not best or is_unseen(best)):
        reasons.append(reason("no-answer-due"))
    if path.blind:
        reasons.append(reason("perhaps-unanswered"))
    if beyond and not doubts:
        before = beyond
    return Verdict("dropped", after=after, before=before,
                   reasons=reasons + miss_source(path))


def explain_loss(case, best, beyond):
    """Return the reasons that tell what silence behind the last hop heard
    means; beyond: the first hop that answers only the best control."""
    path = case.path
    heard = path.at(path.farthest)
    heard = heard and heard.outcome == "time-exceeded"
    if path.farthest == path.last:
        return [reason("max-hops", address=path.address)]
    if forwarding_hop(path):
        return [reason("forwarded", address=path.address)]
    if path.blind and best and best.last_hop:
        return [reason("reaches", control=best)]
    if best and (beyond or heard and (best.reached or is_unseen(best))):
        doubts = doubt_place(case, best)
        there = beyond and beyond.reached and not beyond.address and \
            best.end == beyond.ttl
        name = "reaches" if doubts or not there else "gets-there"
        reasons = [reason(name, control=best)]      # or the place says it
        if path.aim.method == "tcp" and not doubts and \
                beyond and beyond.reached:
            reasons.append(reason("way-back"))
        return reasons + doubts
    nearer = [control for control in case.controls
              if is_nearer(control, path)]
    if nearer and heard:
        return [reason("answered-nearer", control=nearer[0])]
    if best and heard:
        reasons = [reason("no-farther", controls=case.controls, path=path)]
        if path.limited:
            reasons.append(reason("limited"))
        return reasons
    if heard:
        return [reason("nobody-behind", address=path.address)]
    if path.blind:
        return [reason("no-sight")]
    if path.first == 1 and best and best.reached:
        return [reason("reaches", control=best)]
    if path.first == 1:
        return [reason("no-hop")]
    reasons = [reason("silent-hops", first=path.first, last=path.horizon)]
    if best:
        reasons.append(reason("reaches", control=best))
    return reasons


RULES = (judge_reached, judge_forged, judge_rejected, judge_not_sent,
         judge_unreachable_for_all, judge_looping, judge_silent,
         judge_dropped)


# What the rules ask of the facts

def last_router(path, ttl=None):
    """Return the Place of the router that answered last, up to a ttl; None
    if none did."""
    if ttl is None:
        ttl = path.farthest
    for hop in reversed(path.routers):
        if hop.ttl <= ttl:
            return place_at(hop)
    return None


def forwarding_hop(path):
    """Return the first Hop that answered as a router with the destination's
    own address, None if there is none: what comes to an address of its own
    no host lets expire, only what it passes on."""
    for hop in path.routers:
        if hop.address == path.address:
            return hop
    return None


def router_at_end(path, control):
    """Return the Hop that a control came to with the ttl at which a path
    seems to end, if that is a router: not the destination yet, nor one that
    has its address and forwards some ports."""
    hop = control.at(path.end)
    if hop and hop.outcome == "time-exceeded" and \
            hop.address != path.address:
        return hop
    return None


def first_router(control, ttl):
    """Return the first Hop of a control, from a ttl on, that is a router;
    None if there is none."""
    for hop in control.routers:
        if hop.ttl >= ttl:
            return hop
    return None


def first_beyond(path, controls, destination=None):
    """Return the first Place behind a path's last hop at which a control
    was answered, without the address if that may be another's; the
    destination itself is not counted if it is given.  None if it is not
    known which that last hop is."""
    if path.blind or path.farthest < path.first != 1 or \
            destination and path.limited:
        return None
    if any(map(forwarding_hop, (path,) + tuple(controls))):
        destination = path.address      # its distance is not this port's
    found = []
    for control in controls:
        for hop in control.shown:
            if hop.ttl > path.farthest and not hop.more and (
                    hop.address not in (None, destination) and hop.reached or
                    hop.outcome == "time-exceeded"):
                place = place_at(hop)
                if hop.reached and not control.is_sure:
                    place = place._replace(address=None, name=None)
                found.append(place)
                break
    return min(found, key=lambda place: place.ttl) if found else None


def is_unseen(control):
    """Return True if a control was refused behind all routers, by whom is
    not known: perhaps by the destination."""
    last = control.last_hop
    return bool(last and last.reached and not control.reached)


def doubt_place(case, control):
    """Return the reasons why a control that gets farther proves no pair of
    hops; [] if it does.  What one flow passes is no other's next hop."""
    path, aim = case.path, case.path.aim
    if (control.aim.method, control.aim.port) == (aim.method, aim.port) or \
            path.parted:
        return [reason("other-flow", control=control)]
    paths = (path,) + tuple(case.controls)
    for ttl in range(path.first, path.farthest + 2):
        seen = set(answer.address for each in paths
                   for hop in (each.at(ttl),) if hop
                   for answer in hop.answers
                   if answer.outcome == "time-exceeded" and answer.address)
        if len(seen) > 1:
            return [reason("other-routers", ttl=ttl)]
    if not path.limited:
        return []
    if control.blind:
        return [reason("unseen", method=control.aim.method)]
    heard = any(each.routers for each in paths)
    return [reason("limited" if heard else "mute-routers")]


def find_again(path, control):
    """Return the address and ttls of a router that was met again by so many
    hops later that no unequal paths explain it; None if there is none."""
    known = {}
    for hop in path.hops + (control.shown if control else ()):
        if hop.outcome != "time-exceeded" or not hop.address:
            continue
        key = hop.address, hop.reply_ttl
        first, last = sorted((known.setdefault(key, hop.ttl), hop.ttl))
        if last - first > 2:
            return hop.address, first, last
    return None


def judge_request(case):
    """Return the Verdict of a request inside the session, None if it was
    answered: dropped, reset or rejected on the way, or unanswered."""
    request = case.request
    if request.full is None:
        return None
    if request.full.outcome in LOST and not request.idle_too:
        verdict = judge_lost_request(case)
        if verdict:
            return verdict
    if request.kind == "payload":       # not every service answers data
        return None
    reasons = explain_no_answer(case.path, request)
    if not reasons:
        return None
    return Verdict("unanswered", reasons=[reason("port-open")] + reasons,
                   request=request)


def explain_no_answer(path, request):
    """Return the reasons that tell what became of a request that has no
    answer of its protocol, and that no router shows lost; [] if it has."""
    outcome, idle = request.full.outcome, request.idle.outcome
    if request.is_other:
        known = [kind for kind in ("http", "tls") if request.speaks(kind)]
        reasons = [reason("other-answer", kind=request.kind,
                          data=request.full.reply, known="".join(known))]
    elif outcome == "answered":
        reasons = explain_answer(request)
    elif outcome == "acknowledged":
        reasons = explain_hanging(request)
    elif request.idle_too:
        reasons = [reason("all-reset")]
    elif outcome in ("closed", "reset") and idle == "closed":
        reasons = [reason("all-closed")]
    else:
        reasons = [reason("request-" + outcome, address=path.address,
                          wait=request.wait, last=len(request.sessions))]
    if reasons and request.kind == "tls" and not request.name and \
            reasons[0].name in WANT_NAME:
        reasons.append(reason("no-name"))
    return reasons


# What a server may do that was not told a name
WANT_NAME = ("request-closed", "request-reset", "tls-alert", "tls-lost")


def explain_answer(request):
    """Return the reason why an answer is none, in a list."""
    reply, tls = request.full.reply or b"", request.tls
    failure = tls and tls.failure
    if failure in FAILED:
        return [reason("tls-" + failure, problem=tls.problem,
                       wait=request.wait)]
    fatal = bytearray(reply[:7])        # content type, ..., level, alert
    if failure == "unable" and len(fatal) == 7 and (fatal[0],
                                                    fatal[5]) == (21, 2):
        return [reason("tls-alert", problem="number %d" % fatal[6])]
    return []


def explain_hanging(request):
    """Return the reason why a request that was acknowledged may have no
    answer, in a list."""
    if request.small and request.small.outcome == "answered":
        return [reason("small-only", wait=request.wait)]
    for session in request.sessions:
        if session.outcome == "acknowledged":
            return [reason("taken", ttl=session.limit, wait=request.wait)]
    tried = request.small and request.small.outcome == "acknowledged"
    return [reason("hangs", wait=request.wait, tried=tried,
                   kind=request.kind)]


def judge_lost_request(case):
    """Return the Verdict of a request that is lost, None if no router's ttl
    shows that it is so before the host: dropped, reset or rejected."""
    path, request = case.path, case.request
    outcome = request.full.outcome
    word, shows = outcome, outcome
    if outcome == "silent":
        word, shows = "dropped", "expired"
    ttls = [session.limit for session in request.sessions
            if session.outcome == shows]
    if word != "dropped" and request.last and not ttls:
        return None             # by the host itself, as far as it is seen
    if word == "dropped":
        after = max([0] + ttls)
        edge = after + 1
    else:
        after = edge = (ttls or [1])[0] - 1
    reasons = [reason("port-open")]
    if not request.last or any(
            session.limit == edge and session.outcome == "unconnected"
            for session in request.sessions):
        reasons.append(reason("no-place", told=not request.last))
        return Verdict(word, reasons=reasons, request=request)
    known = [session.limit for session in request.sessions
             if word != "dropped" or
             session.outcome in ("expired", outcome)]       # not "greeted"
    places = [place_at(hop) for hop in path.routers if hop.ttl in known]
    places.append(Place(path.distance, path.address, True))
    nearer = [place for place in places[:-1] if place.ttl <= after]
    reasons.append(reason("place", ttl=after))
    return Verdict(word, None, nearer[-1] if nearer else None,
                   places[len(nearer)], reasons, request)


# ---------------------------------------------------------------------------
# 17 Findings (what else was noticed)
# ---------------------------------------------------------------------------

# kind: a word for programs; hop: a ttl or None; name: of section 18, with
# its facts.
Finding = namedtuple("Finding", "kind hop name facts")

# What a look at a case needs to know beside it.  raw_only: only a raw socket
# hears the hops; lead: of several ports the first; mtu: a PathMtu or None;
# way_back: a WayBack or None; other: the Path to the host's address of the
# other family, or None; misses: the kernel may have missed quick answers.
Look = namedtuple("Look", "options raw_only lead mtu way_back other misses")
Look.__new__.__defaults__ = (None, None, False)


def finding(kind, at, what, **facts):
    return Finding(kind, at, what, facts)


def check_loop(case, verdict, look):
    """A path that meets the same routers again."""
    for name, facts in verdict.reasons:
        if name == "loop":
            yield finding("loop", facts["first"].ttl, name, **facts)
        elif name == "again":
            yield finding("loop", facts["first"], name, **facts)


def check_forwarding(case, verdict, look):
    """The destination's address as a hop: a port is forwarded there."""
    path, hop = case.path, forwarding_hop(case.path)
    if hop is None:
        return
    before = path.at(hop.ttl - 1)
    # A NAT lends its address to the routers behind it, too.
    first = hop.ttl == 1 or before is not None and before in path.routers
    behind = None
    if verdict.reached and first and path.distance:
        behind = path.distance - hop.ttl
    sure = any(other.reached and other.distance == hop.ttl
               for other in case.controls)
    yield finding("forwarding", hop.ttl if first else None, "forwarding",
                  path=path, hop=hop if first else None, behind=behind,
                  sure=sure, silent=final_answer(path) is None)


def check_connections(case, verdict, look):
    """Connections that came about, beside others that never did."""
    path = case.path
    silent = silent_ttls(path)
    if path.aim.flow is not None:
        return
    if path.full.outcome != "open" or path.blind or not path.complete or \
            len(silent) < MANY_SILENT or path.end and not path.late:
        return
    known = [other for other in case.controls
             if other.reached and other.distance and
             other.distance <= silent[0]]
    hops = [path.full] + list(path.hops)
    yield finding(
        "connections", None, "connections", path=path, silent=silent,
        control=known[0] if known else None,
        accepted=sum(1 for hop in hops for answer in hop.answers
                     if answer.outcome == "open"),
        lost=sum(path.at(ttl).sent for ttl in silent))


def check_family(case, verdict, look):
    """What the host's address of the other family says, if this one does
    not work."""
    other, outcome = look.other, case.path.full.outcome
    if not look.lead or other is None or (
            outcome in WORKING and case.path.refusal != "forged"):
        return
    yield finding("family", None, "family", other=other,
                  reached=case.path.full.reached)


def check_outside(case, verdict, look):
    """The address that a STUN server sees, if it is not ours."""
    path = case.path
    data = path.reached.data if path.reached else None
    seen = decode_outside(path.aim.target, data or b"")
    if seen and seen[0] != path.own_address:
        yield finding("nat", None, "outside", path=path, seen=seen[0])


def check_quotes(case, verdict, look):
    """NAT, and hops that are not counted, by what the routers quote."""
    for kind, flags in (("nat", ("nat-destination", "nat-source")),
                        ("quoted-ttl", ("quoted-ttl",))):
        odd = [(hop, flag) for hop in case.path.shown
               for flag in hop.answer.flags if flag in flags]
        for hop, flag in odd[:1]:
            yield finding(kind, hop.ttl, "quote", hop=hop, flag=flag)


def check_tos(case, verdict, look):
    """Where the TOS byte is rewritten: a router that does so may quote the
    old or the new one.  Linux keeps TCP's ECN bits to itself."""
    tos = look.options.tos
    if case.path.aim.method == "tcp":
        tos &= 0xfc
    before = None
    hops = [hop for hop in case.path.shown if hop.quoted.tos is not None]
    seen = [hop.quoted.tos for hop in hops]
    for place, hop in enumerate(hops):
        if tos not in seen[place:]:
            yield finding("tos", hop.ttl, "tos", old=tos, new=seen[place],
                          hop=hop, before=before, marks=LINUX)
            tos = seen[place]
        before = hop


def lone_hops(path):
    """Return the hops that answered, but those that did so at two ttls."""
    seen = [hop.address for hop in path.shown]
    return [hop for hop in path.shown
            if hop.address and seen.count(hop.address) == 1]


def check_way_back(case, verdict, look):
    """Is the way back, which is what the reply ttl lost of the initial one,
    clearly longer or shorter?  From inside an MPLS tunnel it always is."""
    odd = []
    for hop in lone_hops(case.path):
        if hop.reply_ttl is None or hop.labels or hop.more:
            continue
        back = min([start - hop.reply_ttl + 1 for start in (32, 64, 128, 255)
                    if start >= hop.reply_ttl],
                   key=lambda length: abs(length - hop.ttl))
        if abs(back - hop.ttl) > 3:
            odd.append((hop, back))
        else:
            odd = []
    if len(odd) > 1:
        hop, back = odd[0]
        yield finding("asymmetric", hop.ttl, "way-back", hop=hop, back=back)


# Of how many probes to a Hop, and what became of them.
Count = namedtuple("Count", "hop sent lost")


def count_hops(path, few):
    """Return the Counts of the hops that have answered, in ttl order; the
    destination's with what was sent with the system's own ttl.  If there are
    few, that alone: what is silent at its own ttl may have come to a router
    on a longer path."""
    counts = []
    for hop in lone_hops(path):
        one = Count(hop, hop.sent, hop.lost)
        if few and hop.reached:
            one = Count(hop, hop.sent - hop.lost, 0)
        if hop.reached and not hop.more and path.full.reached:
            one = Count(hop, one.sent + path.full.sent,
                        one.lost + path.full.lost)
        counts.append(one)
    return counts


def add_up(counts):
    return Count(None, sum(one.sent for one in counts),
                 sum(one.lost for one in counts))


def choose(count, some):
    """Return in how many ways some of so many can be chosen."""
    ways = 1
    for number in range(some):
        ways = ways * (count - number) // (number + 1)
    return ways


def chance(these, others):
    """Return how likely it is that at least so many of all that is lost fell
    on these by chance (Fisher's exact test)."""
    lost = these.lost + others.lost
    ways = sum(choose(these.sent, number) *
               choose(others.sent, lost - number)
               for number in range(these.lost, min(these.sent, lost) + 1))
    return ways / choose(these.sent + others.sent, lost)


# Parts that may be lost; the first few also by routers before the loss, one
# in so many of which limits its ICMP, to any part.
PARTS = [0.001, 0.02, 0.05, 0.1] + [number / 20 for number in range(3, 20)]
FEW_PARTS, LIMITED = 4, 0.05


def likelihood(one, part, sure):
    """Return the logarithm of how likely a Count is, if this part is lost;
    a router, which is not sure, may limit its ICMP instead."""
    value = choose(one.sent, one.lost) * part ** one.lost * \
        (1 - part) ** (one.sent - one.lost)
    if not sure:
        value = (1 - LIMITED) * value + LIMITED / (one.sent + 1)
    return math.log(max(value, 1e-300))


def locate_loss(counts):
    """Return between which two of the hops loss begins, as (a, b): it lies
    behind the first a of the counts and before those from number b on.

    Every place is tried: the hops before it lose a few of the probes, those
    behind it a greater part, the last of them, the host, for sure.
    Places thirty times less likely than the best are excluded.
    """
    table = [[likelihood(one, part, one is counts[-1]) for part in PARTS]
             for one in counts]
    values = []
    for place in range(len(counts)):
        near = [sum(column) for column in zip(*table[:place])] or [
            0.0 for _ in PARTS]
        far = [sum(column) for column in zip(*table[place:])]
        values.append(max(
            max(near[:min(FEW_PARTS, number // 2 + 1)]) + far[number]
            for number in range(1, len(PARTS))))
    able = [place for place, value in enumerate(values)
            if value > max(values) - math.log(30)]
    return min(able), max(able)


def find_limited(counts, rare):
    """Return the Counts of hops that lose while next to nothing behind them
    does, and that of all behind them: they limit their ICMP.  What is less
    likely than `rare` is no chance."""
    limited, found, behind = [], None, Count(None, 0, 0)
    for one in reversed(counts):
        if one.lost > 1 and behind.lost * 20 <= behind.sent and \
                chance(one, behind) < rare:
            limited.insert(0, one)
            found = found or behind
        else:
            behind = add_up([behind, one])
    if not counts or counts[-1].lost:
        return [], None
    return limited, found


def find_loss(path, counts):
    """Return the Finding of what is lost on the way to the destination, in a
    list: the answers of the routers, which may be limited, prove none."""
    host = counts[-1]
    if host.hop.outcome == "port-unreachable" or host.lost < 2:
        return []               # limited as well, or by chance
    if any(len(set(answer.address for answer in hop.answers)) > 1
           for hop in path.shown):
        return [finding("loss", None, "branches", count=host)]
    first, last = locate_loss(counts)
    near = add_up([one for one in counts[:first]
                   if chance(one, host) > 0.05])
    between = add_up(counts[last:-1])
    if chance(between, host) < 0.05 or first and chance(host, near) > 0.05:
        first, last = 0, len(counts) - 1
    after = counts[first - 1].hop if first else None
    return [finding("loss", counts[last].hop.ttl, "lost", count=host,
                    after=after, before=counts[last].hop)]


def find_unanswered(counts, reached):
    """Return the Finding, in a list, of probes that were not answered at
    several hops: so few show neither a part nor a place."""
    counts = [one for one in counts
              if one.hop.outcome != "port-unreachable"]    # limited as well
    missing = [one for one in counts if one.lost]
    host = counts[-1] if counts else None
    if host not in missing or not reached or not host.hop.reached:
        host = None
    if len(missing) < 2 and not (host and host.lost > 1):
        return []               # one may be a router's, or chance
    return [finding("loss", missing[0].hop.ttl, "missing", host=host,
                    count=add_up(counts), hops=len(missing))]


def check_loss(case, verdict, look):
    """Is anything lost, and from where on; or does a router just limit its
    ICMP?  By what the hops behind it answer, and the destination."""
    # Several flows at once use up what the routers may say.
    few = look.options.queries <= FEW_QUERIES or look.options.flows > 1
    if case.path.blind or look.misses and (few or case.path.routers):
        return []               # what is silent may have answered
    counts = count_hops(case.path, few)
    limited, behind = find_limited(counts, 0.03 if few else 0.001)
    found = []
    if limited:
        found.append(finding("rate-limit", limited[0].hop.ttl, "limited",
                             counts=limited, behind=behind))
    if not few and counts and verdict.reached and counts[-1].hop.reached:
        found += find_loss(case.path, counts)
    if few and (look.lead or case.path.aim.flow is not None):
        found += find_unanswered([one for one in counts
                                  if one not in limited], verdict.reached)
    return found


def check_deaf(case, verdict, look):
    """No hop was heard where a raw socket has to hear them."""
    path = case.path
    if not look.raw_only or not look.lead or \
            path.reached and len(path.shown) < 2:
        return
    if not any(hop.icmp_type is not None
               for each in (path,) + tuple(case.controls)
               for hop in each.shown):
        for text in SYSTEM.deaf:
            yield finding("deaf", None, "deaf", text=text)


def check_request(case, verdict, look):
    """What became of a request inside the session."""
    request = case.request
    if request is None or request.full is None:
        return
    if request.shut_out:
        yield finding("inside", None, "shut-out")
    yield finding("inside", None, "request", request=request)
    for session in request.sessions:
        if session.outcome in ("answered", "acknowledged"):
            yield finding("proxy", session.limit, "request-nearer",
                          session=session, path=case.path)
            break
    if request.late:
        yield finding("inside", None, "late", wait=request.wait)
    if request.tls and (request.tls.version or not verdict.request):
        yield finding("tls", None, "tls", tls=request.tls)
    if not verdict.request:
        for each in check_reply(case, request):
            yield each
    if request.varied:
        yield finding("inside", None, "varied", request=request)


def check_reply(case, request):
    """The answer to a request, or what became of data of -P, of which the
    verdict does not speak."""
    outcome = request.full.outcome
    if request.idle_too:
        yield finding("inside", None, "idle-too")
    elif outcome in LOST:
        yield finding("inside", None, "request-at-host", path=case.path,
                      request=request)
    elif outcome == "answered" and request.tls is None:
        yield finding(request.kind, None, "answer", data=request.full.reply)
    elif outcome != "answered":
        yield finding("inside", None, "unanswered", outcome=outcome)


def check_mtu(case, verdict, look):
    """What --mtu asked for."""
    mtu, path = look.mtu, case.path
    if not look.lead or mtu is None:
        return
    if not mtu.supported:
        yield finding("mtu", None, "mtu-unsupported")
        return
    if mtu.done:
        kind, hop = "mtu", None
        if mtu.lost_between:
            hop, beyond = mtu.lost_between
            if beyond < DEFAULT_TTL:
                kind = "black-hole"
        elif mtu.found and mtu.why and mtu.why.address:
            hop = min([ttl for ttl in mtu.places
                       if mtu.places[ttl] == mtu.why.address] or [None])
        yield finding(kind, hop, "mtu", mtu=mtu, path=path, hop=hop)
    if verdict.word == "open" and mtu.mss:
        yield finding("mtu", None, "mss", mtu=mtu)


def check_return_path(case, verdict, look):
    """What --return-path asked for: do answers from the port come back?"""
    back, path = look.way_back, case.path
    if not look.lead or back is None:
        return
    facts = {"path": path, "back": back}
    if not back.knocks:
        silent = final_answer(path) is None and not path.loop
        yield finding("return-path", None, "back-not-asked", silent=silent,
                      **facts)
        return
    near, far = [each and place_knocked(each, case)
                 for each in find_lost_back(back, path)]
    if far is None:
        yield finding("return-path", None, "back-nowhere", last=near,
                      **facts)
    elif any(hop.ttl >= far.ttl for hop in path.routers):
        yield finding("return-path", far.ttl, "back-lost", near=near,
                      far=far, **facts)
    else:       # the same comes of a filter on the way out
        yield finding("return-path", None, "back-or-out", **facts)


def place_knocked(knock, case):
    """Return the Place of a Knock, with its name if that is known."""
    names = [hop.name for path in (case.path,) + tuple(case.controls)
             for hop in path.shown if hop.address == knock.address]
    return Place(knock.ttl, knock.address, knock.ttl == LAST,
                 names[0] if names else None)


def judge_knock(knock):
    """Return on which of its two ports an address has answered: "both",
    "port", "neighbour", "neither"; "other" if something else came."""
    if not set(knock[2:]) <= set(ANSWERED + ("timeout",)):
        return "other"
    return {(True, True): "both", (True, False): "port",
            (False, True): "neighbour", (False, False): "neither"}[
        knock.port in ANSWERED, knock.neighbour in ANSWERED]


def find_lost_back(back, path):
    """Return the Knocks between which answers from the port are lost: the
    last router whose come back, None if there is none, and the first whose
    do not; None for this one if no place follows.

    All behind that place have to be silent, and one of them a router: the
    destination may drop what comes to the port itself.
    """
    heard = [each for each in back.knocks
             if judge_knock(each) in ("both", "port")]
    lost = [each for each in back.knocks if judge_knock(each) == "neighbour"]
    near = heard[-1] if heard else None
    if not lost or lost[0].address == path.address or \
            near and near.ttl >= lost[0].ttl:
        return near, None
    return near, lost[0]


# What is looked at, in this order: functions of a case, its verdict and a
# Look, that yield Findings.
CHECKS = (check_forwarding, check_connections, check_family, check_outside,
          check_quotes, check_tos, check_way_back, check_loss, check_deaf,
          check_return_path, check_request, check_mtu)


def find_all(case, verdict, look, family=()):
    """Return the Findings of a case; family: those of all ports together,
    which stand with the first."""
    found = list(check_loop(case, verdict, look))
    found += family
    for check in CHECKS:
        found += check(case, verdict, look)
    return found


# Services whose clients speak first, by their usual ports.
TLS_PORTS = (443, 465, 563, 636, 853, 989, 990, 992, 993, 994, 995, 2376,
             3269, 4443, 5061, 5671, 5986, 6443, 6514, 6697, 8443, 8883, 9443)
HTTP_PORTS = (80, 591, 631, 3000, 3128, 5000, 5985, 8000, 8008, 8080, 8081,
              8088, 8888, 9090)


def suggest(case, verdict, found, ports=""):
    """Return the options that would tell more of a case, a list of lists:
    one at most for what a verdict leaves open, and that empty if the port
    alone would tell more than several.  ports: those, if they are several.
    """
    path, names = case.path, [each.name for each in verdict.reasons]
    if not path.complete:
        return []
    if path.aim.flow is None and set(names) & set((
            "other-flow", "other-routers", "refused-some")):
        return [["--flows=8"]]
    if ports and set(names) & set(("limited", "silent-hops", "seen-up-to")):
        return [[]]
    source = verdict.facts("from-port")
    if verdict.word == "answered" and miss_source(path) and \
            path.aim.port in CLIENT_PORTS:
        source = miss_source(path)[0].facts
    if source:
        return [["-S", str(source["port"])]]
    if any(each.name == "connections" and not each.facts["control"]
           for each in found):
        return [["--control=icmp"]]
    if "way-back" in names and not any(each.kind == "return-path"
                                       for each in found):
        return [["--return-path"] + same_control(verdict)]
    if "syn-repeated" in names or "syn-unanswered" in names:
        return [["-q", "20"]]
    for each in found:
        if each.kind == "family" and each.facts["other"].full.reached:
            family = "-%d" % each.facts["other"].version
            return [[family, "-p", ports] if ports else [family]]
    if "handshake-only" in names:
        if path.aim.port in TLS_PORTS:
            return [["--tls"]]
        return [["--http" if path.aim.port in HTTP_PORTS else "--mtu"]]
    return []


def same_control(verdict):
    """Return the option that compares with the port that got there, if it
    is not one that is compared with by default."""
    reaches = verdict.facts("reaches") or verdict.facts("gets-there")
    aim = reaches["control"].aim
    if aim.method != "tcp" or aim.port in CONTROL_PORTS["tcp"]:
        return []
    return ["--control=tcp:%d" % aim.port]


def find_beyond_cut(case, verdict):
    """Return the Path of the control that goes on behind the last hop of a
    port that is not reached, None if none does."""
    path = case.path
    if verdict.reached or not path.complete or path.loop:
        return None
    start, answer = path.end or path.farthest + 1, final_answer(path)
    if answer and answer.address == path.address and \
            "forged" not in answer.flags:
        start += 1              # it has got there
    told = [each.facts.get("control") for each in verdict.reasons]
    found = [(control in told, len(hops), -number, control)
             for number, control in enumerate(case.controls)
             for hops in (hops_from(control, start),)
             if hops and not control.loop]
    return max(found)[3] if found else None


def hops_from(path, ttl):
    """Return the Hops shown of a path from a ttl on, up to the last that
    answered."""
    hops = [hop._replace(unsure=not path.is_sure)
            for hop in path.shown if hop.ttl >= ttl and (
                hop.reached or hop.outcome == "time-exceeded" or
                not hop.answers)]
    while hops and not hops[-1].answers:
        hops.pop()
    return hops


# Of several ports or flows together: lists of cases and their verdicts

def check_syns(cases, verdicts):
    """Ports or flows whose real connection needed more than one SYN, or had
    no answer at all, which the table has no room for."""
    found = []
    for name in ("syn-repeated", "syn-unanswered"):
        ports = [case.path.aim.flow or case.path.aim.port
                 for case, verdict in zip(cases, verdicts)
                 if verdict.facts(name) is not None]
        noun = noun_for(len(ports),
                        "flow" if cases[0].path.aim.flow else "port")
        if ports:
            found.append(finding("loss", None, name, ports=ports,
                                 count=len(cases), noun=noun))
    return found


def check_ports(cases, verdicts):
    """Silent ports beside others whose refusal is an ICMP error: those may
    be limited."""
    pairs = [(case, verdict) for case, verdict in zip(cases, verdicts)
             if case.path.complete or verdict.reached]
    said = [verdict for case, verdict in pairs
            if verdict.word in ("refused", "rejected", "unreachable") and
            case.path.shown and case.path.shown[-1].icmp_type]
    silent = [case.path.aim.port for case, verdict in pairs
              if verdict.word in ("dropped", "silent") and
              not verdict.before]
    if silent and len(said) > 1:
        return [finding("limit", None, "limit", word=said[0].word,
                        ports=silent)]
    return []


def check_flows(cases, verdicts):
    """Where the paths of several flows part and join."""
    everyone = [case.path for case in cases]
    routers = [dict((hop.ttl, hop.address) for hop in path.shown
                    if hop.outcome == "time-exceeded" and hop.address)
               for path in everyone]
    reached = [verdict.reached for verdict in verdicts]
    lost = [path.aim.flow for path, well in zip(everyone, reached)
            if not well]
    complete = all(path.complete for path, well in zip(everyone, reached)
                   if not well)
    found, parted, before = [], {}, None
    for ttl in sorted(set(ttl for known in routers for ttl in known)):
        ways, going = {}, []
        for path, known, well in zip(everyone, routers, reached):
            if ttl in known:
                ways.setdefault(known[ttl], []).append(path.aim.flow)
            if well or known and max(known) >= ttl:
                going.append(path.aim.flow)
        heard = sum(len(flows) for flows in ways.values())
        if len(ways) > 1:
            blamed = ()
            if not parted and complete and lost in list(ways.values()) and \
                    heard == len(cases):
                blamed = lost
            found.append(finding("flows", ttl, "flows-part", ttl=ttl,
                                 ways=ways, first=not parted, before=before,
                                 lost=blamed))
            parted = ways
        elif heard == len(going):       # silence would prove nothing
            before = ttl, list(ways)[0]
            if sum(1 for flows in parted.values()
                   if set(flows) & set(going)) > 1:
                found.append(finding("flows", ttl, "flows-join", ttl=ttl,
                                     address=before[1], flows=going))
            parted = {}
    return found


# ---------------------------------------------------------------------------
# 18 Words (all that is said of a verdict or a finding)
# ---------------------------------------------------------------------------

SENTENCES = {
    "open": "{subject} is open: {who} accepted {what}{away}{why}",
    "answered": "{subject} answered: {what} came from {who}{away}{why}",
    "refused": "{subject} is {state}: {who} refused it{what}{away}{why}",
    "reset": "{subject} is {manner} by a device {where}, not by {address}"
             "{why}",
    "intercepted": "{subject} is intercepted: a device {where} answered in "
                   "the name of {address}{why}",
    "rejected": "{subject} is rejected by {who}: {what}{why}",
    "unreachable": "{address} is unreachable{doubt}: {who} says so, {what}"
                   "{why}",
    "dropped": "{subject} is {fate} {where}{why}",
    "silent": "{subject} is {state}: nothing came from it{why}",
    "unanswered": "{subject} is open; the {request} {where}{why}",
    "error": "{subject} could not be probed{why}",
}

PROTOCOLS = {"http": "HTTP/1", "tls": "TLS"}    # HTTP/2 is another

# What joins the first clause to these.
OPENING = {"dropped": ": ", "reset": ": ", "error": ": "}


def say_reach(control):
    """Return how far a control got, as a clause."""
    if control.reached and (not control.is_sure or forwarding_hop(control)):
        return "%s %s" % (control.subject, say_unsure(control, control.end))
    if control.reached:
        return "%s reaches %s%s" % (control.subject, control.address,
                                    say_distance(control))
    last = control.last_hop
    if last is None:
        return "%s gets no answer from any hop" % control.subject
    if is_unseen(control):
        return "%s is %s with ttl %s, by whom is not visible" % (
            control.subject, say_answered(last.outcome), last.ttl)
    return "%s gets on to %s, no farther" % (control.subject, say_place(last))


def say_closed(after):
    return "closed the connection after %.0f ms" % (after * 1e3)


def say_unsure(control, ttl=None):
    """Return what a service answered that may be another's, with which
    ttl."""
    word = say_answered(control.reached.outcome)
    if ttl:
        word += " with ttl %d" % ttl
    return "is %s by %s or in its name" % (word, control.address)


def say_answered(outcome):
    """Return what a destination did, or somebody in its name."""
    if outcome in REFUSALS:
        return "refused"
    return "accepted" if outcome == "open" else "answered"


def say_up(control):
    """Return what shows that the host is up, if that is sure."""
    if not control.is_sure:
        return "; " + say_reach(control)
    return ", though %s is up (%s)" % (control.address, say_reach(control))


def say_times(count):
    return "twice" if count == 2 else "%d times" % count


def say_nearer(ttl, control, place):
    """Return what shows that an answer was not the destination's."""
    if place and place.ttl > ttl:
        return "%s gets on to %s" % (control.subject, say_place(place))
    if place:
        return "with ttl %d %s gets to %s only" % (
            ttl, control.subject, place.address or "a router")
    if control and control.reached:
        return "with ttl %d nothing else gets there, but %s" % (
            ttl, say_reach(control))
    return "with ttl %d other probes get to a router only" % ttl


# The clause of each reason: what joins it to those before, and its words or
# a function that makes them of the reason's facts.  Reasons that are not
# here are said elsewhere in the sentence.
CLAUSES = {
    "reset-at-once": ("; but ", "the connection was reset at once"),
    "closed-at-once": ("; ", lambda after: "the peer " + say_closed(after)),
    "handshake-only": ("; ", lambda after: "only the handshake is proven" + (
                       ": nothing came within %g s" % round(after, 1)
                       if after else "")),
    "reset-nearer": ("; but ", "a device on the way reset the probe with "
                               "ttl {ttl}"),
    "refused-later": ("; but ", "further connections were refused meanwhile, "
                      "by it or by a device on the way: their number may be "
                      "limited"),
    "refused-from": ("; but ", "from ttl {ttl} on further connections were "
                               "refused, by it or by a device on the way"),
    "refused-some": ("; but ", lambda addresses: "%s refused some of the "
                     "probes" % " and ".join(addresses)),
    "refused-by-whom": ("; ", "which of them is not visible to this user"),
    "nearer-than-host": ("; ", say_nearer),
    "perhaps-icmp": ("; ", "which of the two is not visible to this user"),
    "last-router": ("; ", lambda place, arrival, address, **_: "its reset "
                    "(ttl %d) has passed %s%s; what %s says passes %d" % (
                        arrival.ttl, plural(arrival.passed, "router"),
                        place and ", as has what that hop says" or "",
                        address, arrival.host)),
    "reply-ttl": (", ", "and the reset arrives with ttl {ttl}"),
    "syn-repeated": ("; ", lambda count: "its SYN had to be sent %s" %
                     say_times(count)),
    "syn-late": ("; ", "it took so long that its SYN may have been sent more "
                       "than once"),
    "syn-unanswered": ("; but ", "the SYNs of a whole connection were lost, "
                       "filtered by their source port, or not answered in "
                       "time"),
    "own-firewall": (" ", "(its own firewall)"),
    "rejects-too": ("; ", lambda controls, word: "it %s %s, too" % (
                    "rejects" if word == "rejected" else "says so of",
                    say_subjects(controls))),
    "or-behind": (" ", "(or by a router behind it, to which it forwards this "
                       "port)"),
    "other-address": (" ", "(perhaps the same host by another address)"),
    "told": (" ", "(to {control.subject}; {path.subject} is not answered "
                  "behind hop {path.farthest})"),
    "told-too": (" ", "(to {control.subject}; {path.subject} gets no "
                      "farther)"),
    "loop": ("; ", lambda first, last: "the path loops between %s and %s" % (
        say_place(first), say_place(last))),
    "again": ("; ", "{address} answers as hop {first} and as hop {last}: "
                    "the path loops, or it answers for others"),
    "max-hops": ("; ", "the path is longer than that or loops (see -m), and "
                       "{address} did not answer"),
    "forwarded": ("; ", "{address} answers there as a router, so it seems "
                        "to forward this port, and no answer comes from "
                        "behind it"),
    "reaches": ("; ", lambda control: say_reach(control)),
    "way-back": ("; or ", "the port's answers are lost on the way back"),
    "other-routers": (", ", "but there are several paths from hop {ttl} on"),
    "other-flow": ("; ", "from other source ports it gets farther: one of "
                         "several paths drops it, or a rule looks at the "
                         "source port"),
    "seen-up-to": ("; ", "{path.subject} itself is seen up to hop "
                         "{path.farthest} only: the routers behind "
                         "that limit their answers, or it is dropped there"),
    "limited": ("; ", "cannot tell now where: the routers are limiting "
                      "their answers, or some are lost"),
    "unseen": ("; ", lambda method: "cannot tell where: this system does "
               "not show who answers %s" % method.upper()),
    "mute-routers": ("; ", "cannot tell where: no router on the way "
                           "answers"),
    "no-farther": ("; ", lambda controls, path: say_no_farther(controls,
                                                              path)),
    "answered-nearer": ("; ", lambda control: "%s %s" % (
        control.subject, say_unsure(control, control.end))),
    "unconfirmed": ("; ", "which of them is not confirmed"),
    "nobody-behind": ("; ", "neither {address} nor any hop behind that one "
                            "answered"),
    "no-sight": ("; ", "where is not visible here"),
    "silent-hops": ("; ", "no hop from {first} to {last} answered: it is "
                          "dropped before, or they limit their ICMP"),
    "no-hop": ("; ", "no hop answered at all, not even the first; look at "
                     "this host's own firewall and gateway first"),
    "local-firewall": ("; ", "perhaps this host's own firewall drops it"),
    "no-answer-due": ("; ", "or the service says nothing to such a probe"),
    "is-up": ("", lambda control: say_up(control)),
    "udp-refused": ("; ", "{control.subject} is closed"),
    "udp-dropped": (", ", "but {control.subject} is silent too: UDP may be "
                    "filtered, or the host limits what it says of closed "
                    "ports"),
    "shy": ("; ", "{service} may say nothing to strangers"),
    "mute": ("; ", "{service} answers no such probe"),
    "not-sent": ("; ", lambda error: format_errno(error)),
    # A request that is not answered, behind its FATES
    "hangs": (": ", lambda wait, tried, kind: "nothing came within %g s%s: "
              "the service hangs, is slow (-w waits longer) or speaks no %s, "
              "or its answer is %s on the way back%s" % (
                  (wait, ", nor in small segments", PROTOCOLS[kind],
                   "filtered", "") if tried else
                  (wait, "", PROTOCOLS[kind], "lost", " (--mtu)"))),
    "taken": (": ", "nothing came within {wait:g} s; with ttl {ttl} already "
                    "it is acknowledged, by a device on the way if not by "
                    "the host"),
    "small-only": (": ", "else nothing came, twice: big packets are "
                         "probably lost on the way back (--mtu)"),
    "request-closed": (", ", "by {address} or a device on the way"),
    "request-reset": (", ", lambda address, last, **_: "by %s, a device %s, "
                      "or one that judges its answers" % (
                          address, "behind hop %d" % last if last else
                          "before it")),
    "request-rejected": (", ", "from {address} or a device on the way"),
    "all-closed": (", ", "as does a connection without a request"),
    "all-reset": (", ", "as does a connection without a request"),
    "request-unconnected": (": ", "no further connection came about within "
                            "{wait:g} s; perhaps only few may be let in"),
    "request-ungreeted": (": ", "the service greeted the first connection, "
                                "but not this one within {wait:g} s"),
    "other-answer": (": ", lambda kind, data, known: "%s is %snot %s%s" % (
        format_data(data), known and PROTOCOLS[known] + ", ",
        PROTOCOLS[kind], known and " (--%s)" % known)),
    "tls-alert": (": ", "{problem}"),
    "tls-protocol": (": ", "{problem}"),
    "tls-stalled": (": ", "the rest did not come within {wait:g} s"),
    "tls-small": (": ", "in small segments it does not, so big packets are "
                        "probably lost on the way back (--mtu)"),
    "tls-lost": (": ", "{problem}"),
    "no-name": ("; ", "no name was asked for, and some servers want one "
                      "(--tls=NAME)"),
    "from-port": ("; ", lambda who, port: "%s send from port %d, which a "
                  "firewall may demand: test it with -S %d%s" % (
                      who, port, port, " as root" if port < 1024 else "")),
}


def say_no_farther(controls, path):
    """Return what silence of all that was tried means: least of all that
    the host is down."""
    return "nothing else that was tried is answered from farther (%s): a " \
        "firewall there that drops all of it, a null route, a host that is " \
        "off, or a broken way back would explain this" % \
        say_subjects(controls)


def say_subjects(paths):
    """Return the subjects of some Paths: ICMP echo, TCP ports 80,443."""
    names, ports = [], {}
    for path in paths:
        aim = path.aim
        name = aim.method if aim.port else path.subject
        if name not in names:
            names.append(name)
        known = ports.setdefault(name, [])
        if aim.port not in known:
            known.append(aim.port)
    return ", ".join(
        name if ports[name] == [None] else "%s %s %s" % (
            name.upper(), noun_for(len(ports[name]), "port"),
            format_ports(ports[name])) for name in names)


def fill(words, facts):
    """Return words with facts, be it a template or a function."""
    if callable(words):
        return words(**facts)
    return words.format(**facts)


def say_reasons(verdict):
    """Return the clauses of a verdict's reasons, joined."""
    text = ""
    for name, facts in verdict.reasons:
        if name in CLAUSES:
            joint, words = CLAUSES[name]
            if not text and joint == "; ":
                joint = OPENING.get(verdict.word, joint)
            text += joint + fill(words, facts)
    return text


def sentence(verdict, path, subject=None):
    """Return a verdict in words; subject: what to call the port."""
    if verdict.request and verdict.word != "unanswered":
        return say_request_lost(verdict, subject or path.subject)
    return SENTENCES[verdict.word].format(
        subject=subject or path.subject, address=path.address,
        request=verdict.request and verdict.request.subject,
        doubt=say_doubt(verdict, subject or path.subject),
        manner="reset" if verdict.facts("perhaps-icmp") is None
        else "reset, or rejected by ICMP,",
        state=say_state(verdict, path), fate=say_fates(path),
        who=say_who(verdict, path), what=say_what(verdict, path),
        where=say_where(verdict), away=say_distance(path),
        why=say_reasons(verdict))


def say_state(verdict, path):
    """Return what a port is that is refused, or says nothing."""
    if verdict.word == "refused":
        if verdict.who is None or filters(path):
            return "closed or filtered"
        return "closed"
    if path.blind:
        return "open, filtered, rejected or closed"
    if path.hides:
        return "open, filtered or rejected"
    return "open or filtered"


def say_fates(path):
    """Return what may become of what gets no answer."""
    return "dropped or rejected" if path.hides else "dropped"


def say_doubt(verdict, subject):
    """Return what else an errno may mean: it is the same."""
    told = verdict.facts("icmp")
    if told and told["icmp"][0] is None:
        return ", or %s is rejected" % subject
    return ""


def filters(path):
    """Return True if a TCP port is refused by ICMP: without a filter a host
    resets what comes to a closed one."""
    answer = path.reached
    return path.aim.method == "tcp" and answer is not None and \
        answer.icmp_type is not None


def say_no_verdict(path):
    """Return what is known of a path that was interrupted."""
    if path.farthest < path.first:
        return "No verdict yet: no hop has answered so far"
    return "No verdict yet: so far hop %d is the last that answered" % (
        path.farthest)


FLAGS = {"udp": "-U", "icmp": "-I"}


def say_lent(method, lent):
    """Return what the addresses are that other methods have lent."""
    names = " or ".join(name.upper() for name in lent)
    return ("the addresses \"by %s\" are those that answer %s with the same "
            "ttl: none is known by %s" % (names, names, method.upper()))


def say_unseen(method, lent, sighted):
    """Return that this system does not show who answers a method, and the
    cure, the easiest first; lent: the methods that lent addresses, sighted:
    those that show them."""
    text = "this system does not show this user who answers %s" % (
        method.upper())
    if lent:
        text = "%s (%s); to see %s's own, " % (
            say_lent(method, lent), text, method.upper())
    elif sighted:
        text += "; use %s, or " % " or ".join(FLAGS[name] for name in sighted)
    else:
        text += "; "
    return text + SYSTEM.cure


def say_place(place):
    """Return a Place, or a Hop, in words."""
    where = place.address or "not visible"
    if place.name and place.name != place.address:
        where = "%s, %s" % (format_text(place.name), where)
    if place.lender:
        where += ", by " + place.lender.upper()
    return "hop %d (%s)" % (place.ttl, where)


def say_who(verdict, path):
    """Return who decided a verdict."""
    told = verdict.facts("icmp")
    behind = verdict.facts("behind")
    if behind:
        return "what is behind %s, hop %d, in its name" % (path.address,
                                                           behind["ttl"])
    if verdict.facts("refused-by-whom") is not None:
        return path.address + ", or a router on the way,"
    if verdict.facts("unconfirmed") is not None:
        joint = "," if verdict.word in ("open", "refused") else ""
        return "%s%s or a device in its name%s" % (path.address, joint, joint)
    if not told:
        return path.address
    if "in_name" in told:           # forged
        who = "a device " + say_where(verdict)
        if told["in_name"]:
            who += ", in the name of " + path.address
        return who
    if verdict.who:
        return say_address(verdict.who, told["ttl"], path.address,
                           find_name(path, verdict.who))
    if verdict.after and verdict.facts("or-itself") is not None:
        return "%s itself, or a device at %s or behind it" % (
            path.address, say_place(verdict.after))
    if verdict.after:
        return "a device " + say_forger(verdict.after, told["ttl"])
    return "a device on the way, or %s" % (
        "a missing ARP answer" if told["perhaps_arp"] else
        path.address + " itself")


def find_name(path, address):
    """Return the name of a router on a path, None if it has none."""
    for hop in path.shown:
        if hop.address == address:
            return hop.name
    return None


def say_address(address, ttl, destination, name=None):
    """Return an address with its name and hop, if they are known."""
    if address == destination:
        return address + " itself"
    if name and name != address:
        address = "%s (%s)" % (format_text(name), address)
    return "%s at hop %s" % (address, ttl) if ttl else address


def say_what(verdict, path):
    """Return what came: an ICMP error, or the data of a service."""
    told, answer = verdict.facts("icmp"), path.reached
    if told and path.full.outcome == "refused" and path.aim.method == "tcp":
        return "a reset or an ICMP error, which is not visible"
    if told:
        kind, code = told["icmp"]
        return format_icmp(path.version, NO_REPLY._replace(
            icmp_type=kind, icmp_code=code))
    if verdict.word == "open":
        whole = verdict.facts("syn-unanswered") is None
        return "the connection" if whole else "a probe with a small ttl"
    if verdict.word == "answered":
        if answer.outcome == "echo-reply":
            return "an echo reply"
        return describe_data(path.aim.target, answer.data or b"")
    if verdict.word == "refused" and answer.icmp_type is not None:
        manner = ", as its firewall would" if filters(path) else ""
        return " (%s%s)" % (format_icmp(path.version, answer), manner)
    return ""


def say_where(verdict):
    """Return where something is dropped, or reset."""
    forged, seen = [verdict.facts(name) for name in ("nearer-than-host",
                                                     "reply-ttl")]
    if verdict.word == "unanswered":
        return say_fate(verdict)
    if verdict.request:
        return say_request_place(verdict)
    last = verdict.facts("last-router")
    if last and last["place"] is None:
        return say_forger(verdict.after, last["ttl"])
    if last or seen and seen["is_near"]:
        return "at " + say_place((last or seen)["place"])
    if seen:
        return "at %s or just before it" % say_place(seen["place"])
    if verdict.word == "intercepted" and forged["place"] and \
            forged["place"].ttl == forged["ttl"]:
        last = say_place(forged["place"])
        if verdict.after and verdict.after.ttl == forged["ttl"] - 1:
            return "at %s, at %s or between them" % (say_place(verdict.after),
                                                     last)
        return "at %s or before it" % last
    if forged:
        return say_forger(verdict.after, forged["ttl"])
    if verdict.before:
        reaches = verdict.facts("reaches") or verdict.facts("gets-there")
        return "between %s and %s" % (
            say_edge(verdict.after or THIS_HOST),
            say_edge(verdict.before, reaches and reaches["control"]))
    if verdict.after is None or verdict.facts("loop"):
        blind = verdict.facts("perhaps-unanswered") is not None
        return "on the way or by the host, or not answered" if blind \
            else "on the way"
    if verdict.facts("mute-routers") is not None:
        return "on the way"
    if verdict.facts("limited") is not None:
        return "somewhere after " + say_edge(verdict.after)
    return "after " + say_edge(verdict.after)


def say_edge(place, control=None):
    """Return one of two places between which something is dropped; control:
    the Path that got there."""
    if place.ttl == 0:
        return "this host"
    if place.reached and not place.address:
        if control is None or control.end != place.ttl:
            return "hop %d, where another probe is answered" % place.ttl
        return "hop %d, where %s %s" % (place.ttl, control.subject,
                                        say_unsure(control))
    if place.reached:
        return "%s itself, hop %d" % (place.address, place.ttl)
    return say_place(place)


def say_forger(after, ttl):
    """Return where an answer was forged that comes back with a ttl.  A
    filter in a router's forward path acts behind its ttl check: it answers
    from its own ttl + 1 on."""
    if ttl == 1:
        return "at hop 1 or by this host's own firewall"
    if after and after.ttl == ttl - 1:
        return "at %s or just behind it" % say_place(after)
    if after:
        return "before hop %d and behind %s" % (ttl, say_place(after))
    return "before hop %d" % ttl


def say_distance(path):
    """Return how far the destination is, as far as that is known, as the
    end of a clause."""
    hops = say_hops(path)
    return ", " + hops if hops else ""


def say_hops(path):
    """Return how far the destination is, "" if that is not known."""
    if not path.reached or not path.hops:
        return ""
    if path.distance is not None:
        return "%s away" % plural(path.distance, "hop")
    if path.end is not None and not path.open_ended:
        return "at most %d hops away" % path.end
    if not path.complete:
        return ""
    count = path.farthest if path.end is None else path.end
    if path.end is not None and path.at(path.end).outcome != "reset":
        count -= 1
    return "more than %s away" % plural(count, "hop") if count else ""


# A request inside the session

def say_request_lost(verdict, subject):
    """Return the sentence of a request that is lost."""
    word = "swallowed" if verdict.word == "dropped" else verdict.word
    return "%s is %s %s; %s is open" % (
        verdict.request.subject, word, say_request_place(verdict), subject)


# By the name of a reason: what became of a request that is not answered.
FATES = {
    "hangs": "is acknowledged, but not answered",
    "taken": "is acknowledged, but not answered",
    "small-only": "is answered in small segments only",
    "request-closed": "only gets the connection closed",
    "request-reset": "only gets the connection reset",
    "request-rejected": "only gets an ICMP error",
    "all-closed": "only gets the connection closed",
    "all-reset": "only gets the connection reset",
    "request-unconnected": "could not be sent",
    "request-ungreeted": "could not be sent",
    "other-answer": "meets another protocol",
    "tls-alert": "is refused by a TLS alert",
    "tls-protocol": "starts a handshake that this host gives up",
    "tls-stalled": "starts a handshake that stalls",
    "tls-small": "starts a handshake that stalls",
    "tls-lost": "starts a handshake that fails",
}


def say_fate(verdict):
    """Return what became of a request that is not answered."""
    return [FATES[each.name] for each in verdict.reasons
            if each.name in FATES][0]


def say_request_place(verdict):
    """Return where a request is lost."""
    nowhere, place = verdict.facts("no-place"), verdict.facts("place")
    if nowhere:
        return "on the way, or by the host: where is not visible here" \
            if nowhere["told"] else "on the way"
    edge = "hop %d" % place["ttl"] if place["ttl"] else "this host"
    if verdict.after and verdict.after.ttl == place["ttl"]:
        edge = say_place(verdict.after)
    if verdict.word != "dropped":
        return "at %s or just behind it" % edge
    return "between %s and hop %s (%s)" % (
        edge, verdict.before.ttl or "?", verdict.before.address)


def say_request(request):
    """Return by ttl what became of a request, equal ones together."""
    runs = []
    for session in request.sessions:
        if runs and runs[-1][1] == session.outcome:
            runs[-1][0].append(session.limit)
        else:
            runs.append(([session.limit], session.outcome))
    parts = ["%s with ttl %s" % (outcome, format_ports(ttls))
             for ttls, outcome in runs]
    parts.append("%s with the full ttl" % request.full.outcome)
    return "%s: %s" % (request.subject, ", ".join(parts))


def say_request_at_host(request, path):
    """Return who resets or rejects what no router's ttl shows lost."""
    word = request.full.outcome
    rest = "on the way, with an ICMP error"
    if word == "reset":
        rest = "behind hop %d, or one that judges its answers" % len(
            request.sessions)
    return "It is %s by %s, or by a device %s" % (word, path.address, rest)


def say_unanswered(outcome):
    """Return what it means that a request has no answer."""
    if outcome == "acknowledged":
        return "The request has arrived, but nothing answers it in time"
    if outcome == "unconnected":
        return "No further connection comes about: only few may be let in"
    return "No answer"


def say_varied(request):
    """Return what became of a request that was changed."""
    outcomes, parts = {}, []
    for which, session in request.varied:
        outcomes[which] = session.outcome
        what = {"longer": "with %d bytes more" % PADDING,
                "other-name": "with the name " + format_text(OTHER_NAME),
                "cut": "cut in two segments"}[which]
        if which == "longer" and session.mss and \
                session.outcome in ("answered", "acknowledged"):
            what += ", in segments of %d" % session.mss
        parts.append("%s: %s" % (what, session.outcome))
    text = "The same " + ", ".join(parts)
    if outcomes.get("other-name") in ("answered", "acknowledged") and \
            request.name not in (b"", OTHER_NAME):
        text += "; the name is filtered"
    elif request.full.outcome == "answered" and outcomes["longer"] in LOST:
        text += "; an MTU black hole, or a filter of big requests: try --mtu"
    return text


def say_tls(tls):
    """Return what a TLS handshake showed."""
    if tls.version is None:
        wanted = ": the server may want a certificate of the client"
        return "TLS handshake failed: %s%s" % (
            tls.problem, wanted * (tls.failure == "certificate"))
    trust = "verified"
    if tls.failure:
        trust = "not verified"
    elif tls.problem:
        trust = "not verified: " + tls.problem
    return "%s, %s; certificate of %s, issued by %s, valid until %s; %s" % (
        tls.version, tls.cipher, tls.subject, tls.issuer, tls.until, trust)


# The path MTU

def say_mtu(mtu, path, hop):
    """Return the path MTU, and who or what limits it."""
    text = "path MTU %d" % mtu.low if mtu.found else "path MTU unknown"
    far = ""
    if 0 < mtu.end < DEFAULT_TTL:
        far = " as far as " + say_mtu_place(mtu, path, mtu.end)
    if mtu.found:
        text += far
    clauses = []
    if mtu.lost_between:
        clauses.append(say_black_hole(mtu, path))
    elif mtu.found and mtu.why and mtu.why.address:
        clauses.append("%s says %s, with MTU %d" % (
            say_address(mtu.why.address, hop, path.address),
            format_icmp(path.version, mtu.why), mtu.why.data))
    elif mtu.found and mtu.end == DEFAULT_TTL:
        return text + ", the whole way"
    return text + ": " + "; ".join(clauses + say_unmeasured(mtu, far))


def say_unmeasured(mtu, far):
    """Return clauses that say what is missing to know more."""
    if mtu.end == DEFAULT_TTL and mtu.found:
        return []
    clauses = []
    if mtu.end and not mtu.found:
        clauses += ["too many answers are missing",
                    "packets of %d bytes get through%s" % (mtu.low, far)]
    if mtu.end < DEFAULT_TTL and mtu.echo:
        clauses.append("neither ICMP echo nor a closed UDP port answers")
    elif mtu.end < DEFAULT_TTL:
        clauses.append("what --mtu sends to UDP port %d is not answered" %
                       MTU_PORT)
    if not mtu.echo:
        clauses.append("needs ICMP echo: %s" % (SYSTEM.no_echo or
                                                SYSTEM.cure))
    return clauses


def say_black_hole(mtu, path):
    """Return between which hops big packets vanish, and what to do."""
    hop, beyond = mtu.lost_between
    text = "bigger packets vanish between %s and %s, and nobody says why" \
        ": a path MTU black hole" % (say_mtu_place(mtu, path, hop),
                                     say_mtu_place(mtu, path, beyond))
    if beyond == DEFAULT_TTL:
        text += ", or the host or the way back drops them"
    return text + "; connections with an MSS above %d may hang: set it to " \
        "that or let ICMP pass" % (mtu.low - mtu.header - 12)


def say_mtu_place(mtu, path, ttl):
    if ttl == 0:
        return "this host"
    if ttl == DEFAULT_TTL:
        return path.address + " itself"
    return say_address(mtu.places.get(ttl, "a router"), ttl, path.address)


def say_mss(mtu):
    more = " or more" if mtu.offers_more else ""
    return "the server offers an MSS of %d%s (packets of %d bytes)" % (
        mtu.mss, more, mtu.mss + mtu.header + 12)


# Findings

def say_family(other, reached):
    """Return what came from the address of the other family.  Whether the
    host itself sent that has not been looked at.

    reached: the first address was, but refused.
    """
    answer, version = other.full.answer, other.version
    name = "IPv%d %s" % (version, other.address)
    if answer.outcome in ANSWERS:
        return "%s works: %s %s there (-%d)" % (
            name, other.subject, ANSWERS[answer.outcome], version)
    if answer.outcome in ("refused", "port-unreachable"):
        also = ", too" if reached else ""
        return "%s answers: %s is refused there%s (-%d tells by whom)" % (
            name, other.subject, also, version)
    if answer.outcome == "send-failed":
        return "%s could not be tried: %s" % (name,
                                              format_errno(answer.error))
    why = "nothing answers"
    if answer.icmp_type is not None:
        why = "%s says %s" % (answer.address or "a router",
                              format_icmp(version, answer))
    elif answer.outcome != "timeout":
        why = "an ICMP error came"
    either = "" if reached else " either"
    return "%s does not get through%s: %s" % (name, either, why)


# What the host's address of the other family does, if it works
ANSWERS = {"open": "accepts a connection", "data": "answers",
           "echo-reply": "is answered"}


def say_quote(hop, flag):
    return "%s %s" % (say_place(hop), NOTES[flag].format(hop.answer))


def say_tos(old, new, hop, before, marks):
    """Return where the TOS byte changes."""
    since = say_place(before) if before else "this host"
    text = "the TOS byte 0x%02x becomes 0x%02x from %s on: rewritten there " \
        "or after %s" % (old, new, say_place(hop), since)
    if before is None and not marks:
        text += ", or never set by this system"
    return text


def say_limited(counts, behind):
    """Return who limits its ICMP, and what shows it."""
    words = ", ".join("%s answered %d of %d probes" % (
        say_router(one.hop), one.sent - one.lost, one.sent)
        for one in counts)
    if len(counts) > 3:
        words = "hops %s answered %d of %d probes" % (
            format_ports([one.hop.ttl for one in counts]),
            sum(one.sent - one.lost for one in counts),
            sum(one.sent for one in counts))
    part = "all %d" % behind.sent
    if behind.lost:
        part = "%d of %d" % (behind.sent - behind.lost, behind.sent)
    return "%s: ICMP is limited there rather than lost: %s probes to what " \
        "lies behind were answered" % (words, part)


def say_router(hop):
    """Return a Hop in words, also if several routers answered there."""
    several = len(set(answer.address for answer in hop.answers))
    if several > 1:
        return "hop %d (%d routers)" % (hop.ttl, several)
    return say_place(hop)


def say_part(count):
    """Return how much is lost: of many about which part."""
    text = "%d of %d" % (count.lost, count.sent)
    if count.sent < 40:
        return text
    percent = 100 * count.lost / count.sent
    step = 5 if percent >= 10 else 1
    return "about %d %% (%s)" % (int(percent / step + 0.5) * step, text)


def say_lost(count, after, before):
    """Return how much is lost, and from where on."""
    text = "%s probes, or their answers, are lost" % say_part(count)
    if "%" in text:
        text = "%s of the probes, or of their answers, are lost" % say_part(
            count)
    start = say_router(after) if after else "this host"
    if not before.reached:
        text += " from between %s and %s on, up to the destination" % (
            start, say_router(before))
    elif after:
        text += " between %s and %s itself, hop %d, or it does not answer " \
            "them all" % (start, before.address, before.ttl)
    else:
        text += " on the way to %s; the answers of the hops do not show " \
            "where" % before.address
    return text


def say_missing(count, hops, host):
    """Return how many probes were not answered, and what that can mean."""
    text = "%d of %d probes were not answered" % (count.lost, count.sent)
    if host is None:
        return text + ", at %d hops: packets are lost, or routers limit " \
            "their ICMP (-q 20 tells)" % hops
    return text + ", of those to %s itself %d of %d: packets are lost on " \
        "the way, or dropped there (-q 20 may tell)" % (
            host.hop.address, host.lost, host.sent)


def say_flows_part(ttl, ways, first, before, lost):
    """Return the routers of a hop, with the flows that pass each."""
    text = "hop %d is %s" % (ttl, " and ".join(
        "%s (%s)" % (address, say_flows(ways[address]))
        for address in sorted(ways)))
    if first:
        after = " after hop %d (%s)" % before if before else ""
        text = "the flows part%s: %s" % (after, text)
    if lost:
        text += "; not reached: " + say_flows(lost)
    return text


def say_flows(flows):
    return "%s %s" % (noun_for(len(flows), "flow"), format_ports(flows))


def say_limit(word, ports):
    noun = noun_for(len(ports), "port")
    return "ICMP answers (%s) may be limited in number: if in doubt, " \
        "probe %s %s alone" % (word, noun, format_ports(ports))


def format_ports(ports):
    """Return port numbers as -p takes them, ranges put together."""
    runs = []
    for port in ports:
        if runs and port == runs[-1][1] + 1:
            runs[-1][1] = port
        else:
            runs.append([port, port])
    return ",".join("%d" % low if low == high else "%d-%d" % (low, high)
                    for low, high in runs)


def say_forwarding(path, hop, behind, sure, silent):
    """Return what the destination's address as a hop means."""
    text = path.address + " answers as %s" % (
        "hop %d" % hop.ttl if hop else "a router on the way")
    if behind:
        text += " and %s as hop %d" % (path.subject, path.distance)
    text += ": it forwards this port to a host "
    text += plural(behind, "hop") + " behind it" if behind else "behind it"
    if silent:
        text += ", from which nothing came"
    elif path.reached and not sure:
        text += ", or something there answers in its name"
    return text


def say_connections(path, silent, control, accepted, lost):
    """Return how many SYNs were accepted, and how many never answered."""
    text = "%s accepted %s, but none of %d with ttl %s" % (
        path.subject, plural(accepted, "SYN"), lost, say_range(silent))
    if control:
        return text + ", though %s: new connections are limited in number " \
            "or rate, or lost" % say_reach(control)
    return text + ": new connections are limited in number or rate, or so " \
        "many routers say nothing"


# The way back

def say_back_lost(path, back, near, far):
    """Return between which hops answers from a port are lost."""
    end = "this host, or by its own firewall"
    if near:
        end = say_place(near)
    filters = [each.ttl for each in back.knocks
               if judge_knock(each) == "neighbour" and each.ttl != LAST]
    who = "hop %d drops" % filters[0]
    if len(filters) > 1:
        who = "each of %s drops" % say_ttls(filters)
    return "answers from %s are lost on the way back, between %s and %s: " \
        "%s (unless %s SYNs to its own port %d); %s" % (
            path.subject, say_place(far), end, say_knocks(path, back), who,
            back.port, say_sent(back))


def say_back_or_out(path, back):
    """Return that it may as well be a filter on the way out."""
    where = "no hop"
    if path.routers:
        where = "%s, no farther" % say_place(path.routers[-1])
    return "no loss on the way back is shown: %s, but probes of %s are " \
        "seen at %s, and their loss on the way out explains this too; %s" % (
            say_knocks(path, back), path.subject, where, say_sent(back))


def say_back_nowhere(path, back, last):
    """Return what routers said from which no place follows; last: the Place
    of the last one that answers from the port, or None."""
    text = say_knocks(path, back)
    lost = [each for each in back.knocks
            if judge_knock(each) == "neighbour" and each.ttl != LAST]
    if last and not lost:
        who = path.address if last.reached else say_place(last)
        what = "resets"
        if any(each.ttl == last.ttl and each.port == "open"
               for each in back.knocks):
            what = "answers"
        else:
            text += "; a stateful filter on the way back may still drop " \
                "SYN/ACKs"
        return "%s from port %d come back from %s: %s; %s" % (
            what, back.port, who, text, say_sent(back))
    return "no place on the way back follows: %s; %s" % (text,
                                                         say_sent(back))


def say_knocks(path, back):
    """Return who answered on which of the two ports, equal ones together."""
    parts = []
    for word, rest in (("neighbour", "{neighbour} but never {port}"),
                       ("both", "both ports"),
                       ("port", "{port} but not {neighbour}"),
                       ("neither", ""),
                       ("other", "no clear answer")):
        group = [each for each in back.knocks if judge_knock(each) == word]
        if not group:
            continue
        said = set(outcome for each in group for outcome in each[2:])
        verb = "give" if word == "other" else "answer"
        if word != "other" and said <= set(("refused", "timeout")) and \
                "refused" in said:
            verb = "refuse"
        who = say_ttls([each.ttl for each in group if each.ttl != LAST])
        who = [who] * (who != "") + [
            path.address for each in group if each.ttl == LAST]
        verb = verb_for(len(group), verb)
        if word == "neither":
            parts.append("nothing came from %s on either" % " and ".join(who))
            continue
        parts.append("%s %s %s" % (" and ".join(who), verb, rest.format(
            port=back.port, neighbour=back.neighbour)))
    return ", ".join(parts)


def say_ttls(ttls):
    """Return ttls as hop 3, hops 3 and 4, hops 1 to 5, 7; "" if none."""
    ttls = sorted(set(ttls))
    if not ttls:
        return ""
    return "%s %s" % (noun_for(len(ttls), "hop"), say_range(ttls))


def say_range(numbers):
    """Return sorted numbers as 3 and 4, or 1 to 5, 7."""
    if len(numbers) == 2:
        return "%d and %d" % tuple(numbers)
    return format_ports(numbers).replace("-", " to ").replace(",", ", ")


def say_sent(back):
    return "%s were sent to %d addresses" % (plural(back.sent, "SYN"),
                                             len(back.knocks))


# By the name of a finding: words, or a function that makes them of its facts.
FINDINGS = {
    "loop": CLAUSES["loop"][1],
    "again": CLAUSES["again"][1],
    "forwarding": say_forwarding,
    "connections": say_connections,
    "outside": "NAT on the way: {path.address} sees {path.own_address} as "
               "{seen}",
    "family": say_family,
    "quote": say_quote,
    "tos": say_tos,
    "way-back": lambda hop, back: "replies from %s on come back over about "
                "%d hops, not %d: past hidden hops, or by another way with "
                "other firewalls" % (say_place(hop), back, hop.ttl),
    "limited": say_limited,
    "lost": say_lost,
    "missing": say_missing,
    "branches": lambda count: "%s probes with the ttl of %s were not "
                "answered, but the path has branches, which may differ in "
                "length: is one of them cut? (--flows=8, with one port, "
                "tells)" % (say_part(count), count.hop.address),
    "syn-repeated": lambda ports, count, noun: "the SYN had to be sent more "
                    "than once for %s %s (%d of %d)" % (
                        noun, format_ports(ports), len(ports), count),
    "syn-unanswered": lambda ports, count, noun: "SYNs from one source port "
                      "got no answer for %s %s (%d of %d), others did: some "
                      "are lost, or a path or a rule drops some source "
                      "ports" % (
                          noun, format_ports(ports), len(ports), count),
    "deaf": "{text}",
    "limit": say_limit,
    "flows-part": say_flows_part,
    "flows-join": lambda ttl, address, flows: "%s join at hop %d (%s)" % (
        say_flows(flows), ttl, address),
    "shut-out": "Since that request no connection comes about: a device may "
                "have shut us out",
    "request": lambda request: say_request(request),
    "request-nearer": "With ttl {session.limit} already it is "
                      "{session.outcome}: by a device on the way, or by "
                      "{path.address} on a shorter path",
    "late": "The first try was acknowledged, but not answered within "
            "{wait:g} s: a second one was",
    "idle-too": "A connection without a request is reset, too",
    "request-at-host": say_request_at_host,
    "unanswered": say_unanswered,
    "answer": lambda data: "Answer: " + format_data(data),
    "varied": say_varied,
    "tls": say_tls,
    "mtu-unsupported": "path MTU unknown: this system does not tell MTUs",
    "mtu": say_mtu,
    "mss": say_mss,
    "back-not-asked": lambda path, back, silent: "no router was asked about "
                      "the way back: " + (
                          "none is known by its address" if silent else
                          "%s is not just silent" % path.subject),
    "back-lost": say_back_lost,
    "back-or-out": say_back_or_out,
    "back-nowhere": say_back_nowhere,
}


def say_finding(found):
    """Return a Finding in words."""
    return fill(FINDINGS[found.name], found.facts)


# ---------------------------------------------------------------------------
# 19 Names and lines
# ---------------------------------------------------------------------------

class Beside(object):
    """A blocking function that runs in a daemon thread.

    result: a list that will hold what it returned, or the exception that
    it raised.
    """

    def __init__(self, function, *args):
        import threading
        self.result = []
        self.thread = threading.Thread(target=self.work,
                                       args=(function, args))
        self.thread.daemon = True
        self.thread.start()

    def work(self, function, args):
        try:
            self.result.append(function(*args))
        except Exception as error:
            self.result.append(error)

    def wait(self, seconds):
        self.thread.join(seconds)


def reverse_lookup(address):
    """Return the host name of an address; raises if there is none.

    Not by getnameinfo(), during which old Pythons hold the GIL.
    """
    return socket.gethostbyaddr(address)[0]


class Names(object):
    """Reverse look-ups beside the trace, each for at most LIMIT seconds.

    Once one was given up and none has ever been answered, the resolver
    counts as dead and is not asked again.
    """

    LIMIT = 1.0

    def __init__(self, lookup=reverse_lookup, clock=monotonic):
        self.lookup = lookup
        self.clock = clock
        self.asked = {}         # address -> (when, Beside)
        self.answered = self.dead = False

    def ask(self, address):
        if address and address not in self.asked and not self.dead:
            self.asked[address] = self.clock(), Beside(self.lookup, address)

    def known(self, address):
        """Return True if there is nothing left to wait for."""
        if not address:
            return True
        self.ask(address)
        if address not in self.asked:
            return True
        when, task = self.asked[address]
        if task.result:
            self.answered = self.answered or not self.dead
            return True
        if self.clock() >= when + self.LIMIT:
            self.dead = not self.answered
            return True
        return self.dead

    def wait(self, address):
        """Wait until the name is known, or given up."""
        while not self.known(address):
            self.asked[address][1].wait(0.05)

    def get(self, address):
        if address in self.asked:
            for result in self.asked[address][1].result:
                if not isinstance(result, Exception):
                    return result
        return None


class Writer(object):
    """Writes lines at once; survives a reader that has gone away."""

    def __init__(self, stream):
        self.stream = stream

    def line(self, text):
        if self.stream is None:
            return
        try:
            self.stream.write(text + "\n")
            self.stream.flush()
        except (IOError, OSError, ValueError):
            # What is left in the buffer must not fail again at exit.
            try:
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.stream.fileno())
                os.close(null)
            except (IOError, OSError, ValueError, AttributeError):
                pass
            self.stream = None


# ---------------------------------------------------------------------------
# 20 Traceroute (the module's interface)
# ---------------------------------------------------------------------------

class Trace(namedtuple("Trace", "destination address family method port "
                                "source_address source_port mechanism "
                                "privileged reached verdict summary distance "
                                "rtt responder blocked_after blocked_before "
                                "banner elapsed error hops control findings "
                                "path_mtu next beyond path judged why "
                                "asked")):
    """The result of a whole trace: a record, built once.

    destination  the host, as the user typed it; address: its IP address
    family       4 or 6
    mechanism    how answers reached us; why: what that does not show
    reached      the destination accepted, refused or replied
    verdict      a key of SENTENCES; None if the trace was interrupted
                 before one was due
    summary      the verdict as a sentence
    distance     hops to the destination, None if not known
    rtt          seconds to the destination, None if not known
    responder    address that decided the verdict, or None
    blocked_after, blocked_before   {"ttl": 4, "address": "10.1.4.1"} or None
    banner       bytes that the service sent, or None
    elapsed      seconds the trace took
    error        why nothing could be sent, or None
    hops         list of Hop
    control      list of Trace: what this one was compared with
    findings     list of {"kind", "hop", "text"}: what else was noticed; hop
                 is a ttl, or None
    path_mtu     bytes of the largest packet that gets to the destination;
                 None if that was not asked (--mtu) or is not known
    next         list of commands that would tell more
    beyond       the control Path whose hops go on where this one ends, None
                 if none does
    path, judged  the facts (Path) and their meaning (Verdict)
    asked        the port should have answered a request (--tls, --http)
    """

    __slots__ = ()

    complete = property(lambda self: self.path.complete)
    subject = property(lambda self: self.path.subject)
    flow = property(lambda self: self.path.aim.flow)

    @property
    def missed(self):
        """The destination was reached, but not what was asked of it."""
        if self.judged.request:
            return True
        return self.asked and self.reached and self.verdict != "open"

    @property
    def exit_status(self):
        """0 reached, and the request, if any, answered; 1 not; 2 nothing
        could be sent."""
        if self.reached:
            return 1 if self.missed else 0
        return 2 if self.verdict == "error" else 1

    def __repr__(self):
        return "<Trace of %s to %s: %s>" % (
            self.subject, format_text(self.destination), self.verdict)

    def __str__(self):
        return self.summary

    def as_dict(self):
        """Return the trace as plain data for JSON."""
        entry = dict(self._asdict())
        for name in ("beyond", "path", "judged", "why", "asked"):
            del entry[name]
        for name in ("rtt", "elapsed"):
            entry[name + "_ms"] = format_ms(entry.pop(name))
        entry["destination"] = format_text(self.destination)
        entry["banner"] = self.banner and self.banner.decode("latin-1")
        entry["hops"] = [hop.as_dict() for hop in self.hops]
        entry["control"] = [other.as_dict() for other in self.control]
        return entry


def place_dict(place):
    """Return a Place for programs."""
    if place is None or place is THIS_HOST:
        return None
    return {"ttl": place.ttl, "address": place.address}


def resolve(hostname, version=None, guard=wait_for):
    """Return a list of (version, sockaddr) for a host name or address.

    Raises RunError if there is none.
    """
    family = FAMILIES[version].af if version else 0

    def find(flags):
        found = []
        for entry in socket.getaddrinfo(hostname, 0, family,
                                        socket.SOCK_DGRAM, 0, flags):
            sockaddr = entry[4]
            if entry[0] == socket.AF_INET:
                found.append((4, sockaddr))
            elif entry[0] == socket.AF_INET6:
                mapped = sockaddr[0].lower().startswith("::ffff:")
                found.append((4, (sockaddr[0][7:], 0)) if mapped
                             else (6, sockaddr))
        return [entry for entry in found if version in (None, entry[0])]

    try:
        try:
            found = find(socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = []
        found = found or find_beside(find, guard)
    except socket.gaierror as error:
        raise no_address(hostname, version, error.args[-1])
    except (UnicodeError, ValueError, TypeError):
        raise no_address(hostname, version, "not a host name")
    if not found:
        raise no_address(hostname, version, "it has no usable address")
    return found


def find_beside(find, guard):
    """Return find(0), in a thread so that Ctrl-C is heard meanwhile."""
    task = Beside(find, 0)
    while not task.result:
        guard(task.wait, 0.1)
    if isinstance(task.result[0], Exception):
        raise task.result[0]
    return task.result[0]


def no_address(hostname, version, problem):
    name, _, port = hostname.rpartition(":")
    cure = "check the name, the resolver, or give an IP address"
    if name and port.isdigit():
        cure = "give the port by -p %s" % port
    family = " for IPv%d" % version if version else ""
    return RunError("cannot find the address of host %s%s: %s; %s" % (
        quote(hostname), family, problem, cure))


def check_number(value, option):
    """Return the value of an Option that is a number, or raise OptionError.
    """
    low, high = option.limits
    try:
        if low <= value <= high:
            if option.metavar == "SEC":
                return value
            if value == int(value):
                return int(value)
    except (ValueError, TypeError):
        pass
    raise OptionError("%s %s: must be a number from %g to %g" % (
        option.flag, quote(value), low, high))


def check_options(options):
    """Return the name of the method; raise OptionError for bad options."""
    for each in OPTIONS:
        if each.limits:
            setattr(options, each.name,
                    check_number(getattr(options, each.name), each))
    if options.first_hop > options.max_hops:
        raise OptionError("-f %d is beyond -m %d: no hop would be probed" %
                          (options.first_hop, options.max_hops))
    chosen = [name for name in ("tcp", "udp", "icmp")
              if getattr(options, name)]
    if len(chosen) > 1:
        raise OptionError("-%s and -%s exclude each other: choose one method"
                          % (chosen[0][0].upper(), chosen[1][0].upper()))
    if options.ipv4 and options.ipv6:
        raise OptionError("-4 and -6 exclude each other: choose one")
    decode_control(options.control)
    method = chosen[0] if chosen else "tcp"
    choose_request(options, method)
    if options.return_path and method != "tcp":
        raise OptionError("--return-path does not go with -%s: only by TCP "
                          "do routers answer from the port that is asked" %
                          method[0].upper())
    for name, flag in (("port", "-p"), ("source_port", "-S")):
        value = getattr(options, name)
        if value is not None and method == "icmp":
            raise OptionError("%s %s does not go with -I: ICMP has no ports"
                              % (flag, quote(value)))
    return method


def decode_payload(text):
    """Return the bytes of -P, None for none given."""
    if text is None:
        return None
    try:
        digits = text if isinstance(text, bytes) else text.encode("ascii")
        return unhexlify(b"".join(digits.split()))
    except (TypeError, ValueError, AttributeError):
        raise OptionError("-P %s: not hexadecimal; give two digits for each "
                          "byte, like 68690a" % quote(text))


def check_address(text):
    try:
        socket.getaddrinfo(text, 0, 0, 0, 0, socket.AI_NUMERICHOST)
    except (socket.error, UnicodeError, TypeError):
        raise RunError("-s %s: must be an IP address of this host; `ip addr`"
                       " or ifconfig lists them" % quote(text))


def first_free_port():
    """Return the first source port that needs no permission."""
    if WINDOWS:
        return 0
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as stream:
            return int(stream.read())
    except (EnvironmentError, ValueError):
        return 1024


def check_destination(sockaddr):
    """Raise RunError for an address that cannot be probed."""
    address = sockaddr[0]
    if address in ("0.0.0.0", "::"):
        raise RunError("host %s is not the address of any host; did you "
                       "mean 127.0.0.1 or ::1?" % quote(address))
    if address.lower().startswith("fe80") and not any(sockaddr[3:]):
        raise RunError("host %s is a link-local address: give its "
                       "interface too, like %s%%eth0" % (quote(address),
                                                         address))


class Traceroute(object):
    """A trace to be made: Traceroute(options, host), where options come
    from parse_options(), or Traceroute(destination=host, port=443, ...) with
    the options' names as keywords, and method="udp" or "icmp".

    Iterate for the hops as they become known, or call run(); either way
    `result` then holds the Trace, and `results` those of all ports or
    flows.  probe(ttl) asks a single hop.

    Raises OptionError (a ValueError) for options that are bad or do not go
    together, PortError (also an OSError) for a bad port, RunError (an
    OSError) if the host or the source address is unavailable.
    """

    def __init__(self, options=None, destination=None, method=None,
                 mechanism=None, guard=None, **keywords):
        options = default_options(**vars(options or Options()))
        for name, value in keywords.items():
            if not hasattr(options, name):
                raise OptionError("no option is called %r" % name)
            setattr(options, name, value)
        if method is not None:
            if method not in METHODS:
                raise OptionError("method %r: must be one of tcp, udp, icmp"
                                  % (method,))
            options.tcp = options.udp = options.icmp = False
            setattr(options, method, True)
        if not isinstance(destination, (str, text_type)) or not destination:
            raise OptionError("a host is needed, not %s" % quote(
                destination))
        self.options = options
        self.proto = check_options(options)
        self.wanted_mechanism = mechanism
        self.mechanisms = {}            # by the name of a method
        self.destination = destination
        self.guard = guard or wait_for
        self.stderr = Writer(sys.stderr)
        self.names = self.result = self.route_error = None
        self.other_target = None
        self.results = []
        self.ports = self.choose_ports()
        self.port = self.ports[0]
        self.target = self.choose_target()
        self.destination_addr = self.target.address
        self.flows = self.choose_flows()
        self.aims = self.choose_aims()
        self.header = "%s traceroute to %s [%s]" % (
            self.proto.upper(), format_text(destination),
            self.destination_addr)
        if self.port is not None:
            self.header += " %s %s" % (noun_for(len(self.ports), "port"),
                                       format_ports(self.ports))
        self.mechanism_name, self.why = "none", ""
        self.privileged = False

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()

    def close(self):
        """Nothing stays open between calls; here for `with`."""

    def __repr__(self):
        return "<Traceroute %s>" % self.header

    # Choosing

    def choose_flows(self):
        """Return the source port of each flow, [None] * n without ports.

        Raises OptionError if there are not so many.
        """
        options = self.options
        first, count = options.source_port, options.flows
        for is_given, words in (
                (options.return_path,
                 "--return-path does not go with several ports"),
                (count > 1, "--flows %d does not go with several ports" %
                 count),
                (first and self.proto == "udp",
                 "-S %s does not go with several UDP ports" % first)):
            if is_given and len(self.ports) > 1:
                raise OptionError(words + ": give one by -p")
        if count == 1 or self.proto == "icmp":
            return [first] * count
        # Neighbours: a balancer may look at the last bits only.
        if not first:
            first = 33000 + struct.unpack("!H", os.urandom(2))[0] % 20000
        if first + count > 65536:
            raise PortError("-S %d with --flows %d: there are no ports "
                            "above 65535" % (first, count))
        return list(range(first, first + count))

    def choose_aims(self):
        lead = Aim(self.proto, self.target, None)
        if len(self.flows) > 1:
            return [lead.other(self.proto, self.port, port,
                               self.target.payload, port or number)
                    for number, port in enumerate(self.flows, 1)]
        return [lead.other(self.proto, port, self.target.source_port,
                           self.target.payload) for port in self.ports]

    def portnumber_of(self, port, flag="port"):
        """Return the number of a port or service name.

        Raises PortError if there is none.
        """
        if not isinstance(port, (bytes, text_type)):
            port = str(port)
        text = format_text(port).strip()
        if text.isdigit():
            number = int(text)
        else:
            try:
                number = socket.getservbyname(text, self.proto)
            except (socket.error, ValueError):
                raise PortError("%s %s: no such service for %s; give a "
                                "number from 1 to 65535" %
                                (flag, quote(port), self.proto))
        if not 1 <= number <= 65535:
            raise PortError("%s %d: must be from 1 to 65535" % (flag,
                                                                number))
        return number

    def choose_ports(self):
        """Return the list of ports to probe, in the order asked for."""
        options = self.options
        if options.source_port is not None:
            options.source_port = self.portnumber_of(options.source_port,
                                                     "-S")
        asked, ports = options.port, []
        if asked is None:
            if options.tls not in (None, False):
                return [443]
            return [METHODS[self.proto].default_port]
        asked = asked if isinstance(asked, (list, tuple)) else [asked]
        for word in ",".join(format_value(word)
                             for word in asked).split(","):
            ports += self.decode_ports(word)
        count = len(set(ports))
        if count > MOST_PORTS:
            raise PortError("-p %s: %d ports, but at most %d at once" % (
                format_ports(ports), count, MOST_PORTS))
        return sorted(set(ports), key=ports.index)

    def decode_ports(self, word):
        """Return the list of ports of one element of -p."""
        low, _, high = word.partition("-")
        if not (low.strip().isdigit() and high.strip().isdigit()):
            return [self.portnumber_of(word)]
        low, high = self.portnumber_of(low), self.portnumber_of(high)
        if low > high:
            raise PortError("port %s: give the smaller one of a range first"
                            % quote(word))
        return list(range(low, high + 1))

    def choose_target(self):
        """Return the Target: the first address of the host that this host
        has a route to, else the first.  other_target becomes the first such
        of the other family, None if there is none."""
        options = self.options
        payload = decode_payload(options.payload)
        version = None
        if options.ipv4 or options.ipv6:
            version = 4 if options.ipv4 else 6
        if options.source_ip:
            check_address(options.source_ip)
            version = version or (6 if ":" in options.source_ip else 4)
        found = resolve(self.destination, version, self.guard)
        best = None
        for number, sockaddr in found:
            target = self.make_target(number, sockaddr, payload)
            if target.own_address:
                self.other_target = self.choose_other(
                    [entry for entry in found if entry[0] != number],
                    payload)
                return target
            best = best or target
        return best

    def make_target(self, number, sockaddr, payload):
        options, family = self.options, FAMILIES[number]
        sockaddr = (sockaddr[0], self.port or 0) + sockaddr[2:]
        check_destination(sockaddr)
        own = self.find_own_address(family, sockaddr)
        return Target(family, sockaddr[0].split("%")[0], sockaddr, self.port,
                      options.source_ip, options.source_port, payload,
                      options.tos, own)

    def choose_other(self, found, payload):
        """Return the first Target that this host has a route to, None if
        there is none.  To TCP services nothing is sent."""
        if self.proto == "tcp":
            payload = None
        for number, sockaddr in found:
            try:
                target = self.make_target(number, sockaddr, payload)
            except Error:           # a multicast address, -S in use
                continue
            if target.own_address:
                return target
        return None

    def find_own_address(self, family, sockaddr):
        """Return the address that probes will come from, None if there is
        no route.  Raises RunError if -s or -S is unavailable."""
        options = self.options
        kind = socket.SOCK_DGRAM
        if self.proto == "tcp":
            kind = socket.SOCK_STREAM
        sock = None
        try:
            sock = socket.socket(family.af, kind)
            sock.setsockopt(socket.SOL_SOCKET, REUSE, 1)
            try:
                sock.bind((options.source_ip or "",
                           options.source_port or 0))
            except (socket.error, UnicodeError) as error:
                self.refuse_source(error)
            sock.close()
            sock = socket.socket(family.af, socket.SOCK_DGRAM)
            if options.source_ip:
                sock.bind((options.source_ip, 0))
            sock.connect((sockaddr[0], self.port or 9) + sockaddr[2:])
            return sock.getsockname()[0].split("%")[0]
        except socket.error as error:
            if isinstance(error, Error):
                raise
            self.route_error = error.args[-1]
            return None
        finally:
            if sock:
                sock.close()

    def refuse_source(self, error):
        """Raise the RunError for a source address or port that cannot be
        bound."""
        options, number = self.options, getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise RunError("-S %s: the port is in use; choose another" %
                           options.source_port)
        if number in (errno.EACCES, 10013):     # Python 2.7 on Windows
            start, what = first_free_port(), "it;"
            if options.source_port < start:
                what = "ports below %d; run it as root, or" % start
            raise RunError("-S %s: this user may not use %s choose another" %
                           (options.source_port, what))
        raise RunError(
            "-s %s is not an address of this host (%s); `ip addr`, "
            "ifconfig or ipconfig lists them" % (
                quote(options.source_ip or ""), error.args[-1]))

    # Running

    def open_engine(self):
        """Return the Engine, with the sockets that all share."""
        mechanism = self.choose_mechanism(self.proto)
        raw = open_witness(self.wanted_mechanism, mechanism, self.target,
                           self.proto)
        self.privileged = bool(raw) and raw.kind == socket.SOCK_RAW
        self.raw_only = bool(raw) and mechanism.sight != "addresses"
        shown = raw if self.raw_only else mechanism
        self.mechanism_name, self.why = shown.name, shown.why
        if raw:
            raw.debug = self.debug
        return Engine(raw, self.options.banner_wait, self.debug,
                      guard=self.guard, keeper=open_keeper())

    def choose_mechanism(self, method):
        mechanism = self.mechanisms.get(method)
        if mechanism is None or not mechanism.shared:
            mechanism = select_mechanism(self.wanted_mechanism, method)
            mechanism.wait = self.options.wait_time
            mechanism.debug = self.debug
            self.mechanisms[method] = mechanism
        return mechanism

    def open_method(self, engine, aim):
        """Return a method to probe an Aim; raises RunError if this user
        may not.  The raw socket is one of the target's family."""
        raw = engine.raw
        if aim.target.family is not self.target.family:
            raw = None
        return METHODS[aim.method](
            aim.target, self.choose_mechanism(aim.method), raw)

    def debug(self, text):
        if self.options.debug:
            self.stderr.line("debug: " + format_text(text))

    def how_to_show(self):
        if not self.options.no_dns and self.names is None:
            self.names = Names()
        return Show(self.destination, self.options.verbose,
                    self.options.queries, self.names)

    def probe(self, ttl):
        """Return the Hop at one ttl, after at most wait_time seconds (and
        banner_wait, if a connection comes about; where this system does not
        show who answers, as long again for each method that may)."""
        ttl = check_number(ttl, Option("ttl", "", "N", None, (1, 255)))
        show, aim = self.how_to_show(), self.aims[0]
        engine, lenders = self.open_engine(), []
        try:
            series = new_series(self.options, aim,
                                self.open_method(engine, aim), 1, 0, ttl)
            engine.add(series)
            while not engine.done:
                engine.turn()
            hop = make_hop(series, series.full, show, now=monotonic())
            sighted = ()
            if hop.address is None and not hop.final and \
                    series.method.sight != "addresses":
                sighted = self.find_sighted(series.method)
            for name in sighted:
                other = aim.other(name, CONTROL_PORTS[name][0])
                lenders.append(Series(
                    ttl, ttl, self.options.wait_time, aim=other,
                    method=self.open_method(engine, other)))
                lenders[-1].full.settled = True     # not to be asked
                engine.add(lenders[-1])
            while not engine.done and not borrow(series, series.full,
                                                 lenders)[0]:
                engine.turn()
        finally:
            engine.close()
        if self.names:
            lent, _ = borrow(series, series.full, lenders)
            self.names.wait((lent or series.full.answer).address)
        sight = series.method.sight
        if sight != "addresses" and not series.full.answered:
            sight = "nothing"
        return make_hop(series, series.full, show, now=monotonic(),
                        sight=sight, lenders=lenders)

    def __iter__(self):
        return self.hops_as_known()

    def run(self):
        """Make the whole trace and return the Trace."""
        for _ in self:
            pass
        return self.result

    def hops_as_known(self):
        """Yield each Hop as it becomes known, in ttl order; silent ones once
        it is known that they are not just the end of the list."""
        show, shown = self.how_to_show(), []
        if not self.target.own_address:
            self.conclude([Case(path) for path in self.pathless(show)])
            return
        engine, run = self.open_engine(), None
        try:
            other = self.other_target
            run = Run(engine, self.aims, self.options, show,
                      lambda aim: self.open_method(engine, aim),
                      self.raw_only, other and Aim(self.proto, other, None))
            run.ask(trace_all(run, trace_flow if len(self.flows) > 1
                              else trace_port))
            while not (run.done and run.all_shown and run.all_named):
                asked = self.names and self.names.asked
                run.turn(0.01 if asked else 0.1)
                for hop in run.ready_hops(len(shown)):
                    shown.append(hop)
                    yield hop
        finally:
            (run or engine).close()
            if run:
                self.note_sight(run)
                self.conclude(run.cases(shown), run)

    def note_sight(self, run):
        """Note what this system did not show of the lead, and the cure."""
        method = run.lead.series.method
        lent = [lender.aim.method for lender in run.lenders if any(
            state.outcome == "time-exceeded" for state in lender.states)]
        if self.mechanism_name == ErrorQueue.name and \
                method.mechanism.sight != "addresses":
            # As it turned out
            self.mechanism_name = (method.raw or Mechanism).name
        if method.sight != "addresses":
            self.why = say_unseen(method.name, lent,
                                  self.find_sighted(method))
        elif lent:
            self.why = say_lent(method.name, lent)
        self.why = "; ".join(
            text for text in (self.why, method.mechanism.why) if text)

    def find_sighted(self, method):
        """Return the names of other methods that show who answers here."""
        found = []
        for name in LENDERS:
            aim = Aim(method.name, method.target, None).other(
                name, CONTROL_PORTS[name][0])
            try:
                other = METHODS[name](aim.target, self.choose_mechanism(name))
            except (RunError, socket.error):
                continue
            other.close()
            if name != method.name and other.sight == "addresses":
                found.append(name)
        return found

    def pathless(self, show):
        """Return a Path for each Aim of a host to which there is no
        route."""
        paths = []
        for aim in self.aims:
            series, probe = Series(1, 0, aim=aim), Probe(0, True)
            probe.answer = NO_REPLY._replace(
                outcome="send-failed", error="this host has no route to %s "
                "(%s)" % (self.target.address, self.route_error))
            series.full.answered.append(probe)
            paths.append(freeze(series, show, elapsed=0.0))
        return paths

    def conclude(self, cases, run=None):
        """Build the Traces, of all that is known if it was interrupted."""
        verdicts = [judge(case) for case in cases]
        other = run.freeze_series(run.other) if run and run.other else None
        # What is said of all together is about the ports themselves.
        plain = [judge(case._replace(request=None)) for case in cases]
        self.results, family = [], []
        if len(self.flows) > 1:
            family = check_flows(cases, plain)
        elif len(cases) > 1:
            family = check_ports(cases, plain)
        if len(cases) > 1:
            family += check_syns(cases, plain)
        for number, case in enumerate(cases):
            look = Look(self.options, run is not None and self.raw_only,
                        number == 0, run.lead.mtu if run else None,
                        run.lead.way_back if run else None, other,
                        bool(run and run.lead.series.method.misses_quick))
            found = find_all(case, verdicts[number], look,
                             [] if number else family)
            # What all are compared with stands with the first.
            tested = [other.path for other in cases]
            controls = [] if number else [
                path for path in case.controls if path not in tested]
            self.results.append(self.make_trace(
                case, verdicts[number], found, controls))
        self.result = self.results[0]

    def make_trace(self, case, verdict, found, controls=()):
        path, target = case.path, case.path.aim.target
        told, summary, after, before = None, say_no_verdict(path), None, None
        if path.complete or verdict.reached:
            told, summary = verdict.word, sentence(verdict, path)
            after = place_dict(verdict.after)
            before = place_dict(verdict.before)
        distance = None
        if verdict.reached or verdict.request:
            distance = path.distance
        answer = path.reached or NO_REPLY
        failure, error = verdict.facts("not-sent"), None
        if failure:
            error = format_errno(failure["error"])
        ports = ""
        if len(self.aims) > 1 and path.aim.flow is None:
            ports = format_ports([aim.port for aim in self.aims])
        mtu = [each.facts["mtu"].size for each in found if each.name == "mtu"]
        return Trace(
            self.destination, path.address, path.version, path.aim.method,
            path.aim.port, path.own_address, target.source_port,
            self.mechanism_name, self.privileged, verdict.reached, told,
            summary, distance, answer.rtt, verdict.who, after, before,
            answer.data, path.elapsed, error,
            list(path.shown), [self.make_control(each) for each in controls],
            [{"kind": each.kind, "hop": each.hop, "text": say_finding(each)}
             for each in found], mtu[0] if mtu else None,
            [self.format_command(path.aim, words)
             for words in suggest(case, verdict, found, ports)
             if not self.is_given(words)],
            find_beyond_cut(case, verdict), path, verdict, self.why,
            case.request is not None and case.request.kind != "payload")

    def is_given(self, words):
        """Return True if this run had an option that is suggested."""
        for each in OPTIONS if words else ():
            if words[0].partition("=")[0] in each.flags.split():
                return getattr(self.options, each.name) != each.default
        return False

    def format_command(self, aim, words):
        """Return the command that asks what a suggestion is for."""
        given = []
        for each in OPTIONS:
            value = getattr(self.options, each.name)
            if value == each.default or each.name in UNSAID:
                continue
            if each.metavar is None:
                given.append(each.flag)
            elif each.flag.startswith("--"):
                given.append("%s=%s" % (each.flag, value))
            else:
                given += [each.flag, format_value(value)]
        if aim.port is not None and "-p" not in words:
            given[:0] = ["-p", str(aim.port)]
        return " ".join(quote_shell(word) for word in [
            "potraceroute.py", format_text(self.destination)] + given +
            words)

    def make_control(self, path):
        """Return the Trace of a path that another is compared with."""
        case, verdict = Case(path), judge(Case(path))
        return self.make_trace(case, verdict,
                               list(check_loop(case, verdict, None)))


# Options that a suggested command does not repeat.
UNSAID = ("port", "json", "verbose", "debug", "flows", "queries",
          "mtu")


def quote_shell(word):
    """Return a word as a shell takes it."""
    import re
    if re.match(r"[\w./:=,@%+-]+$", word):
        return word
    return "'%s'" % word.replace("'", "'\\''")


def trace(host, port=None, method="tcp", **keywords):
    """Trace the path to a host's port and return the Trace.

    Keywords are the long options with underscores: wait_time=1.0,
    no_dns=True, ...  Raises as Traceroute does.
    """
    if method == "icmp":
        port = None
    elif port is None and method == "tcp":
        port = 443
    return Traceroute(destination=host, port=port, method=method,
                      **keywords).run()


# ---------------------------------------------------------------------------
# 21 Report
# ---------------------------------------------------------------------------

class TextReport(object):
    """Prints hops as they come, a silent tail folded into one line."""

    def __init__(self, writer, verbose):
        self.writer = writer
        self.verbose = verbose
        self.silent = []
        self.shown = 0

    def begin(self, traceroute):
        self.writer.line(traceroute.header)
        if self.verbose and traceroute.target.own_address:
            self.writer.line("from %s" % traceroute.target.own_address)

    def hop(self, hop):
        self.shown += 1
        if hop.outcome == "timeout" and not self.verbose:
            self.silent.append(hop)
            return
        for silent in self.silent:
            self.writer.line(silent.format_line())
        self.silent = []
        self.writer.line(hop.format_line())

    def end(self, results):
        """Print what is known once all of it is: the Traces of all ports
        or flows."""
        first = results[0]
        self.end_hops()
        self.show_beyond(first)
        if self.verbose:
            rights = "privileged" if first.privileged else "unprivileged"
            self.writer.line("mechanism: %s, %s" % (first.mechanism, rights))
        if not all(each.complete for each in results):
            self.writer.line("Interrupted: not all hops are known")
        for each in results:
            about = "" if each is first else each.subject + ": "
            for entry in each.findings:
                self.writer.line("Finding: %s%s" % (about, entry["text"]))
        lines = format_table(results) if len(results) > 1 else []
        if all(each.verdict for each in results):
            lines.append(format_success(results))
        if first.why and first.verdict != "error":
            lines.append("Note: " + first.why)
        for line in lines + format_summaries(results) + format_next(results):
            self.writer.line(line)

    def show_beyond(self, first):
        """Print the path behind the last hop, as something else saw it."""
        control, path = first.beyond, first.path
        if control is None:
            return
        self.writer.line("%s is seen no farther; %s goes on:" % (
            first.subject, control.subject))
        for hop in hops_from(control, path.end or path.farthest + 1):
            if hop.answers:
                self.end_hops()
            self.hop(hop)
        self.end_hops()

    def end_hops(self):
        if len(self.silent) > 1:
            self.writer.line("%d-%s" % (self.silent[0].ttl,
                                        self.silent[-1]))
        elif self.silent:
            self.writer.line(self.silent[0].format_line())
        self.silent = []

def format_success(results):
    """Return the line that says whether all, some or none were reached."""
    what = "flows" if results[0].flow else "ports"
    missed = [each for each in results if each.missed]
    lost = [each for each in results if not each.reached and
            not each.missed]
    if len(lost) == len(results):
        return "Could not reach destination"
    text = "Could not reach destination by %d of %d %s" % (
        len(lost), len(results), what)
    if not lost:
        text = "Reached destination" if missed else \
            "Successfully reached destination"
    if missed:
        text += ", but the request failed" if missed[0].asked \
            else ", but the data of -P was lost"
        if len(results) > 1:
            text += " on %d of %d %s" % (len(missed), len(results), what)
    return text


def format_table(results):
    """Return the lines of a table, one row a port or flow."""
    first = "Flow" if results[0].flow else "Port"
    rows = [(first, "Service", "Verdict", "Hops", "Time", "Who or where")]
    for each in results:
        try:
            service = socket.getservbyport(each.port, each.method)
        except (socket.error, OverflowError, TypeError):
            service = "-"
        time_taken = "-"
        if each.rtt is not None:
            time_taken = "%.3f ms" % (each.rtt * 1e3)
        who = format_culprit(each)
        if each.verdict == "refused" and filters(each.path):
            who += ", by ICMP, as its firewall would"
        closed = each.judged.facts("closed-at-once")
        if closed:
            who += ", which " + say_closed(**closed)
        if each.judged.facts("reset-at-once") is not None:
            who += ", which reset the connection at once"
        mute = each.judged.facts("handshake-only")
        if mute and mute["after"]:
            who += ", which said nothing within %g s" % round(mute["after"],
                                                              1)
        if each.banner:
            words = each.method == "udp" and name_data(
                each.path.aim.target, each.banner)
            who += "  " + (words or format_data(each.banner))
        rows.append((str(each.flow or each.port), format_text(service),
                     each.verdict or "?", str(each.distance or "-"),
                     time_taken, who))
    return format_columns(rows)


def format_culprit(trace_):
    """Return who decided a verdict, or where something is lost."""
    if trace_.error:
        return trace_.error
    judged = trace_.judged
    if trace_.verdict in ("dropped", "reset", "intercepted") or \
            trace_.verdict and (judged.request or
                                judged.facts("nearer-than-host")):
        or_rejected = trace_.verdict == "dropped" and trace_.path.hides
        return ("or rejected, " if or_rejected else "") + say_where(judged)
    if trace_.verdict == "refused" and judged.facts("unconfirmed") is not None:
        return "%s or a device in its name" % trace_.responder
    if trace_.responder:
        return trace_.responder
    if trace_.verdict in ("rejected", "unreachable"):
        return say_who(judged, trace_.path)
    return "not visible" if trace_.verdict == "refused" else "-"


def format_columns(rows):
    widths = [max(len(word) for word in column) for column in zip(*rows)]
    return ["  ".join(word.ljust(width) for word, width in
                      zip(row, widths)).rstrip() for row in rows]


def format_summaries(results):
    """Return the verdicts as sentences: one for all ports or flows that
    share it, and of several only of those that were not reached."""
    if len(results) == 1:
        return [results[0].summary]
    groups = []
    for each in results:
        if not each.exit_status:
            continue
        for members in groups:
            if (members[0].judged, members[0].verdict) == (each.judged,
                                                           each.verdict):
                members.append(each)
                break
        else:
            groups.append([each])
    count = sum(1 for each in results if not each.exit_status)
    what = "flows to" if results[0].flow else "ports of"
    done = "were reached"
    if any(each.asked for each in results):
        done = "answered the request"
    so_far = "" if all(each.verdict for each in results) else " so far"
    return [format_group(members) for members in groups] + [
        "%d of %d %s %s %s%s" % (count, len(results), what,
                                 results[0].address, done, so_far)]


def format_next(results):
    """Return the lines of what to do next; of several ports, for those only
    that were not reached."""
    commands = []
    for each in results:
        if len(results) == 1 or not each.reached:
            commands += [word for word in each.next if word not in commands]
    if not commands and results:
        commands = results[0].next
    return ["Next: " + command for command in commands[:3]]


def format_group(members):
    """Return one sentence for all Traces with the same verdict."""
    first = members[0]
    if len(members) == 1 and first.verdict == "unreachable":
        return "%s: %s" % (first.path.subject, first.summary)
    if len(members) == 1:
        return first.summary
    text = say_no_verdict(first.path)
    if first.verdict:
        text = sentence(first.judged, first.path, "each")
    if first.flow:
        subject = say_flows([each.flow for each in members]).capitalize()
    else:
        subject = "%s ports %s" % (first.method.upper(), format_ports(
            each.port for each in members))
    return "%s: %s" % (subject, text)


class JsonReport(object):
    """Collects, and writes one document at the end."""

    def __init__(self, writer, argv):
        self.writer = writer
        self.document = {
            "schema": "potraceroute/1", "version": __version__,
            "command": [format_text(word) for word in
                        ["potraceroute.py"] + list(argv)],
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "host": {"name": format_text(socket.gethostname()),
                     "system": sys.platform,
                     "python": sys.version.split()[0]},
            "traces": []}
        self.shown = 0

    def begin(self, traceroute):
        pass

    def hop(self, hop):
        pass

    def end(self, results):
        self.document["traces"] += [each.as_dict() for each in results]

    def close(self, status, error=None):
        import json
        self.document["exit_status"] = status
        if error:
            self.document["error"] = error
        self.writer.line(json.dumps(self.document, indent=1, sort_keys=True))


# ---------------------------------------------------------------------------
# 22 Doctor (what this host can do)
# ---------------------------------------------------------------------------

LOOPBACK = {4: "127.0.0.1", 6: "::1"}


def try_method(proto, version):
    """Return what a trace over loopback shows of a method: a dict."""
    row = {"method": proto, "family": version, "works": False,
           "mechanism": None, "privileged": False, "problem": None}
    server = None
    try:
        server = socket.socket(FAMILIES[version].af)
        server.bind((LOOPBACK[version], 0))
        server.listen(5)
        row.update(trace_loopback(proto, version, server.getsockname()[1]))
    except Error as error:
        row["problem"] = str(error)
    except socket.error as error:
        row["problem"] = "there is no IPv%d here: %s" % (version,
                                                         error.args[-1])
    finally:
        if server:
            server.close()
    return row


def trace_loopback(proto, version, port):
    """Trace to a port of this host; return what try_method() finds."""
    tracer = Traceroute(None, LOOPBACK[version], proto, no_dns=True,
                        port=None if proto == "icmp" else port,
                        wait_time=1.5, control="none", max_hops=1,
                        banner_wait=0)
    result = tracer.run()
    name, problem = result.mechanism, tracer.why or None
    if not problem and not result.reached:
        problem = result.error or "no answer has come back over loopback"
    if proto == "tcp" and name == ErrorQueue.name and \
            not tracer.mechanisms[proto].proven:
        name = RawSocket.name       # that alone is sure
        if not result.privileged:
            name, problem = None, problem or NOT_ASKED
    return {"works": result.reached, "mechanism": name,
            "privileged": result.privileged, "problem": problem}


NOT_ASKED = ("whether TCP shows who answers is not known before a router does "
             "(before Linux 5.8 it does not): then it is shown by UDP or by "
             "ICMP, where those work")


def examine(writer, argv, as_json):
    """Say what this host can do by each method; return the exit status.
    Nothing is sent except over loopback."""
    rows = [try_method(proto, version) for proto in ("tcp", "udp", "icmp")
            for version in (4, 6)]
    status = 0 if any(row["works"] for row in rows) else 2
    if as_json:
        report = JsonReport(writer, argv)
        report.document["doctor"] = rows
        report.close(status)
        return status
    writer.line("potraceroute %s, Python %s on %s" % (
        __version__, sys.version.split()[0], sys.platform))
    for line in format_methods(rows):
        writer.line(line)
    return status


def format_methods(rows):
    """Return the lines of a table of methods; problems are footnotes."""
    table = [("Method", "Family", "Works", "Mechanism", "Privileged",
              "Missing")]
    yes_or_no = {True: "yes", False: "no"}
    problems = []
    for row in rows:
        missing, problem = "nothing", row["problem"]
        if problem and problem not in problems:
            problems.append(problem)
        if problem:
            missing = "(%d)" % (problems.index(problem) + 1)
        table.append((row["method"].upper(), "IPv%d" % row["family"],
                      yes_or_no[row["works"]], row["mechanism"] or "-",
                      yes_or_no[row["privileged"]], missing))
    return format_columns(table) + [
        "(%d) %s" % (number, problem)
        for number, problem in enumerate(problems, 1)]


# ---------------------------------------------------------------------------
# 23 Pasting
# ---------------------------------------------------------------------------

# What --paste prints is a Python program: this head, then the compressed
# program as comments, 13 bits as 2 digits of base 91: base64 is longer by a
# twelfth.  Wherever the comments are cut off, what is left is valid Python:
# the head runs, reads its own file and finds the data cut off or, by bzip2's
# checksum, changed.  Of a head that is cut off itself Python runs nothing, so
# it is short; every part of it ends with an error of Python's, none with
# status 0.  Nothing in it is indented, as some editors change that.
PASTE_HEAD = """\
try:import sys,bz2;file=(sys.stdin if __file__=="<stdin>" else
open(__file__));file.seek(0);text=file.read();file.close();code="".join(
chr(n)for n in range(33,127)if n not in(34,35,92));text=[code.find(c)
for c in text.rsplit(" license",1)[1]if c in code];text="".join(
bin(8192+a+91*b)[3:]for a,b in zip(text[::2],text[1::2]));words,text=(
bz2.decompress(bytes(bytearray(int(text[i:i+8],2)for i in range(0,
len(text)-7,8)))).decode("latin-1").split("\\n",1));words=words.split(
);source="".join(words[ord(c)-128]if c>"~"else c for c in text)
except Exception:(sys.stderr.write("potraceroute: error: cut off, damaged "
"or not in a file: paste it again, into a file (%s)\\n"%sys.exc_info()[1]),
sys.exit(2))
exec(source)
"""
PASTE_WIDTH = 250       # the shortest line a terminal takes is of 255
# All that can be printed but ", # and \.
PASTE_DIGITS = "".join(chr(n) for n in range(33, 127)
                       if n not in (34, 35, 92))


def format_paste():
    """Return this program as a short text that is a program, too.

    Raises RunError if its source cannot be read.
    """
    import bz2
    code = strip_source(read_own_source())
    # With how many words it is the shortest is a matter of chance.
    data = encode_digits(min([bz2.compress(encode_words(code, count), 9)
                              for count in range(112, 129)], key=len))
    lines = ["# potraceroute %s, %s license\n" % (__version__, __license__)]
    for at in range(0, len(data), PASTE_WIDTH):
        lines.append("#%s\n" % data[at:at + PASTE_WIDTH])
    return PASTE_HEAD + "".join(lines)


def encode_words(text, count):
    """Return a program as bytes: its most common words in one line, then the
    rest, with a byte above 127 in place of each of them: bzip2 alone makes
    it longer by a fiftieth."""
    import re
    pattern, counts = "[A-Za-z0-9]{2,}", {}
    for word in re.findall(pattern, text):
        counts[word] = counts.get(word, 0) + 1
    words = sorted(counts, key=lambda word: (-counts[word], word))[:count]
    codes = dict((word, u"%c" % code) for code, word in enumerate(words, 128))
    coded = re.sub(pattern, lambda found: codes.get(
        found.group(), found.group()), text)
    return (" ".join(words) + "\n" + coded).encode("latin-1")


def encode_digits(data):
    """Return bytes as PASTE_DIGITS, the lower of two first."""
    bits = "".join("{0:08b}".format(byte) for byte in bytearray(data))
    bits += "0" * (-len(bits) % 13)
    digits = []
    for at in range(0, len(bits), 13):
        high, low = divmod(int(bits[at:at + 13], 2), 91)
        digits += [PASTE_DIGITS[low], PASTE_DIGITS[high]]
    return "".join(digits)


def read_own_source():
    import inspect
    if "source" in globals():           # PASTE_HEAD has put it there
        return globals()["source"]
    try:
        return inspect.getsource(sys.modules[__name__])
    except (EnvironmentError, TypeError):
        raise RunError("--paste: the source of this program cannot be read; "
                       "run it from a file")


def strip_source(source):
    """Return the text of a program without comments, docstrings and the
    blanks it does not need."""
    import tokenize
    source = iter(source.splitlines(True))
    lines, words, depth, was_docstring = [], [], 0, False
    for kind, word, _, _, _ in tokenize.generate_tokens(
            lambda: next(source, "")):
        if kind in (tokenize.COMMENT, tokenize.NL, tokenize.ENDMARKER):
            continue
        if kind == tokenize.NEWLINE:
            was_docstring = len(words) == 1 and words[0][-1] in "\"'"
            if not was_docstring:
                lines.append("\t" * depth + join_words(words))
            words = []
            continue
        if kind == tokenize.INDENT:
            depth += 1
        elif kind == tokenize.DEDENT:
            if was_docstring:           # and nothing else in this block
                lines.append("\t" * depth + "pass")
            depth -= 1
        else:
            words.append(word)
        was_docstring = False
    return "\n".join(lines) + "\n"


def join_words(words):
    """Return tokens as a line, with blanks only where they are needed."""
    import re
    line = ""
    for previous, word in zip([" "] + words, words):
        if previous[0] == word[0] == '"' and '"""' not in previous + word:
            line = line[:-1] + word[1:]         # two strings become one
            continue
        if re.match("[\\w\"']{2}", line[-1:] + word[0]):
            line += " "
        line += word
    return line


# ---------------------------------------------------------------------------
# 24 Options and command line
# ---------------------------------------------------------------------------

class Option(namedtuple("Option", "flags help metavar default limits")):
    """A row of OPTION_GROUPS; what has no metavar is a switch.  limits: the
    smallest and the largest number that it may be."""

    flag = property(lambda self: self.flags.split()[0])

    @property
    def name(self):
        """The attribute for the value: the long flag."""
        if "--" not in self.flags:
            return self.flags.replace("-", "ipv")       # -4 and -6
        return self.flags.split("--")[1].replace("-", "_")


Option.__new__.__defaults__ = (None, False, None)

OPTION_GROUPS = (
    ("Probes", (
        Option("-T --tcp", "probe with TCP connections (default)"),
        Option("-U --udp", "probe with UDP"),
        Option("-I --icmp", "probe with ICMP echo"),
        Option("-p --port",
               "port number or service name for UDP or TCP, or several like "
               "22,http,8000-8010 (default: 80 TCP, 33434 UDP)", "PORT", None),
        Option("-P --payload",
               "data in UDP or ICMP probes; in TCP, data sent once connected; "
               "if it is lost or reset, again by each ttl", "HEX", None),
        Option("-s --source-ip",
               "interface IP to send probe traffic from", "IP", None),
        Option("-S --source-port",
               "source port for TCP/UDP probes: one constant flow, one probe "
               "at a time", "PORT", None),
        Option("-t --tos", "the TOS / traffic class byte", "N", 0,
               (0, 255)),
        Option("-4", "use IPv4 only"),
        Option("-6", "use IPv6 only"),
    )),
    ("Hops and waiting", (
        Option("-f --first-hop", "starting hop (ttl) value", "N", 1,
               (1, 255)),
        Option("-m --max-hops", "max hops before giving up", "N", 30,
               (1, 255)),
        Option("-w --wait-time", "timeout in seconds for each hop", "SEC", 2,
               (0.001, 3600)),
        Option("--banner-wait",
               "how long to wait for possible TCP banner output", "SEC", 0.5,
               (0, 3600)),
        Option("-q --queries", "answers wanted per hop", "N", 1, (1, 100)),
        Option("-r --retries",
               "further tries before a hop is called silent", "N", 2,
               (0, 100)),
        Option("-g --gap-limit",
               "silent hops in a row before giving up early; 0 = never",
               "N", 5, (0, 255)),
        Option("-N --parallel", "probes in flight", "N", 16, (1, 512)),
    )),
    ("Diagnosis", (
        Option("--control",
               "what to compare with when the port is not reached: auto, "
               "none, icmp, udp[:PORT] or tcp[:PORT]", "WHAT", "auto"),
        Option("--flows",
               "repeat the trace from N source ports (ICMP: idents), each one "
               "constant flow: where a load balancer parts them", "N", 1,
               (1, 64)),
        Option("--mtu", "find the path MTU, and who or what limits it"),
        Option("--return-path",
               "if the port is silent: are its answers lost on the way back? "
               "Sends SYNs, never acknowledged, to this port and the next "
               "one of each router"),
        Option("--tls",
               "once the port is open, send a TLS ClientHello for the host, "
               "or the name given, by each ttl; then a handshake (port 443 "
               "unless -p)", "[SNI]", None),
        Option("--http",
               "the same with an HTTP request; one connection per hop",
               "[HOST]", None),
        Option("--doctor",
               "say what this host can do by each method, and what it lacks; "
               "needs no HOST"),
    )),
    ("Output", (
        Option("-n --no-dns", "do not look up hostnames of IP addresses"),
        Option("-v --verbose",
               "verbose output: ICMP names, mechanism, reply TTLs, every "
               "silent hop"),
        Option("-D --debug",
               "dump packets and other debugging information, on stderr"),
        Option("--json", "print one JSON document instead of text"),
        Option("--paste",
               "print this program as a short text to paste into a file on "
               "another host; needs no HOST"),
    )),
)
OPTIONS = sum((options for _, options in OPTION_GROUPS), ())

# Types of the values by metavar; all others are text.
TYPES = {"N": "int", "SEC": "float"}

# Options that can be given with or without a value; the others, either way.
OPTIONAL_VALUES = ("--tls", "--http")

EPILOG = ("Exit status: 0 the destination was reached (it accepted, refused "
          "or replied; with --tls or --http: answered the request), 1 it was "
          "not, 2 bad options or cannot run, 130 interrupted.")


class Options(object):
    """Option values as attributes."""


def default_options(**values):
    """Return Options with the defaults, except for `values`."""
    options = Options()
    for each in OPTIONS:
        setattr(options, each.name, each.default)
    vars(options).update(values)
    return options


def new_parser():
    """Return the parser of OPTIONS; optparse is loaded only for it."""
    import optparse

    class Parser(optparse.OptionParser):
        def error(self, message):
            raise ParseError(message + " (see --help)")

        def format_help(self, formatter=None):
            text = optparse.OptionParser.format_help(self, formatter)
            return text.replace("=[", "[=")

        def print_help(self, file=None):
            Writer(sys.stdout).line(self.format_help().rstrip("\n"))

        def print_version(self, file=None):
            Writer(sys.stdout).line(__version__)

    parser = Parser(prog="potraceroute.py", version=__version__,
                    usage="%prog [options] HOST", epilog=EPILOG,
                    description="Show the hops to a host, and which one "
                    "blocks the connection.")
    for title, options in OPTION_GROUPS:
        group = parser.add_option_group(title)
        for each in options:
            how = {"action": "store_true", "help": each.help}
            if each.metavar:
                how = {"metavar": each.metavar, "help": each.help,
                       "type": TYPES.get(each.metavar, "string")}
                if each.default is not None:
                    how["help"] += " (default: %default)"
            group.add_option(*each.flags.split(), dest=each.name,
                             default=each.default, **how)
    return parser


class ParseError(SystemExit):
    """The parser refused an option: exits with 2, after a line on stderr."""

    def __init__(self, message):
        SystemExit.__init__(self, 2)
        self.message = message
        print_error(message)


def print_error(message):
    Writer(sys.stderr).line("potraceroute: error: " + format_text(message))


def parse_options(argv=None):
    """Return (options, [host]) of a list of arguments, sys.argv's if None.

    Raises SystemExit(2), after a message, if they cannot be parsed.
    """
    if argv is None:
        argv = sys.argv[1:]
    parser = new_parser()
    options, args = parser.parse_args([
        word + "=" if word in OPTIONAL_VALUES else word for word in argv])
    needs_host = not (options.doctor or options.paste)
    if needs_host and len(args) != 1:
        parser.error("exactly one HOST is needed, not %s" % (
            " ".join(map(quote, args)) or "none"))
    return options, args


class Signals(object):
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt, but only where we
    wait: never between the opening of a socket and the note of it."""

    def __init__(self):
        self.number = None
        self.waiting = False
        self.previous = []      # (signal number, its handler)

    def __enter__(self):
        import signal
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) == signal.SIG_IGN:
                continue
            try:
                handler = signal.signal(number, self.handle)
            except ValueError:          # not in the main thread
                break
            self.previous.append((number, handler))
        return self

    def __exit__(self, *exc_info):
        import signal
        for number, handler in self.previous:
            signal.signal(number, handler)

    def handle(self, number, frame):
        self.number = number
        if self.waiting:
            self.waiting = False
            raise KeyboardInterrupt

    def wait(self, function, seconds):
        """Return function(seconds), unless a signal came or comes."""
        self.waiting = True
        try:
            if self.number is not None:
                raise KeyboardInterrupt
            return function(seconds)
        finally:
            self.waiting = False


def hold_standard_files():
    """Open file numbers 0 to 2 where they are closed: a socket would get
    such a number, and be printed to."""
    try:
        while True:
            number = os.open(os.devnull, os.O_RDWR)
            if number > 2:
                os.close(number)
                return
    except OSError:
        pass


class Command(object):
    """One run of the command line."""

    def __init__(self, argv):
        self.argv = argv
        self.needs_root = False     # root could have seen or sent more

    def run(self):
        """Return the exit status."""
        hold_standard_files()
        keeper = open_keeper()
        try:
            with Signals() as signals:
                return self.run_options(signals)
        except ParseError as error:
            if "--json" in self.argv:
                JsonReport(Writer(sys.stdout), self.argv).close(
                    error.code, error.message)
            return error.code
        except SystemExit:              # of --help and --version
            return 0
        finally:
            if keeper:
                keeper.close()

    def run_options(self, signals):
        options, args = parse_options(self.argv)
        writer = Writer(sys.stdout)
        if options.paste:
            return print_paste(writer)
        if options.doctor:
            return examine(writer, self.argv, options.json)
        report = TextReport(writer, options.verbose)
        if options.json:
            report = JsonReport(writer, self.argv)
        status, message = self.trace(options, args[0], report, signals)
        if options.json:
            report.close(status, message)
        if message:
            print_error(message)
        return status

    def trace(self, options, host, report, signals):
        """Trace and report; return (exit status, error message or None)."""
        message = tracer = result = None
        try:
            signals.wait(abs, 0)        # a signal may have come
            tracer = Traceroute(options, host, guard=signals.wait)
            report.begin(tracer)
            for hop in tracer:
                report.hop(hop)
            status = max(each.exit_status for each in tracer.results)
        except KeyboardInterrupt:
            status = 128 + (signals.number or 2)
            message = "interrupted before the first probe"
        except Error as error:
            status, message = 2, str(error)
            self.needs_root = isinstance(error, PrivilegeError)
        if tracer:
            result = tracer.result
        if result is None:
            return status, message
        if status >= 128:               # there is something to show
            message = None
        self.needs_root = result.verdict != "error" and tracer.why != ""
        for hop in result.hops[report.shown:]:
            report.hop(hop)
        report.end(tracer.results)
        return status, message or explain_unsent(tracer.results)


def print_paste(writer):
    """Print what --paste is for; return the exit status."""
    try:
        writer.line(format_paste().rstrip("\n"))
    except RunError as error:
        print_error(str(error))
        return 2
    return 0


def explain_unsent(results):
    """Return what to do about probes that could not be sent, or None."""
    for each in results:
        if each.verdict == "error":
            command = "netstat -rn"
            if LINUX:
                command = "ip route get " + each.address
            return ("%s; `%s` and the rules of the local firewall tell more"
                    % (each.summary, command))
    return None


def main(argv=None):
    """Run the command line; return the exit status."""
    if argv is None:
        argv = sys.argv[1:]
    return Command(argv).run()


# ---------------------------------------------------------------------------
# 25 Dialogs (QPython)
# ---------------------------------------------------------------------------

# The calls and their results are those of Android's SL4A, as written in
# UiFacade.java and AlertDialogTask.java of github.com/damonkohler/sl4a, which
# qpython-android/qpysl4a copies.  None of this has run on a real phone yet.
# A dialog that is canceled has no text, or no item: what asks raises then.

TextDialog = namedtuple("TextDialog", "flag title default")
MenuDialog = namedtuple("MenuDialog", "title items")    # items: (flag, words)
DIALOGS = (
    TextDialog("", "host name or IP address", ""),
    MenuDialog("method", (("-T", "TCP"), ("-U", "UDP"), ("-I", "ICMP"))),
    TextDialog("-p", "port or service, or several (default: 80 TCP, 33434 "
               "UDP)", ""),
    TextDialog("-m", "max hops", "30"),
    TextDialog("-w", "timeout in seconds for each hop", "2"),
    MenuDialog("hops", (("", "hostnames and IP addresses"),
                        ("-n", "IP addresses"))),
    TextDialog("-P", "data in probes, as hex", ""),
)
AGAIN_AS_ROOT = MenuDialog("Again as root?", (("no", ""), ("yes", "")))


def ask(droid, dialog):
    """Return the answer to a dialog as a word of the command line, or ""."""
    if isinstance(dialog, MenuDialog):
        return ask_menu(droid, dialog)
    title = ("%s %s" % (dialog.flag, dialog.title)).strip()
    answer = droid.dialogGetInput("", title, dialog.default).result.strip()
    return dialog.flag + answer if answer else ""


def ask_menu(droid, dialog):
    """Return the flag of the item that was chosen."""
    droid.dialogCreateAlert(dialog.title, "")
    droid.dialogSetItems([("%s %s" % item).strip() for item in dialog.items])
    droid.dialogShow()
    flag, _ = dialog.items[droid.dialogGetResponse().result["item"]]
    return flag


def show_text(droid, text):
    """Show a text until it is closed."""
    droid.dialogCreateAlert("", text)
    droid.dialogSetPositiveButtonText("OK")
    droid.dialogShow()
    droid.dialogGetResponse()


class Tee(object):
    """A stream that also appends to a list what is written to it."""

    def __init__(self, stream, kept):
        self.stream = stream
        self.kept = kept

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text):
        self.kept.append(text)
        self.stream.write(text)


ROOT_PROGRAM = """\
import sys
sys.argv = %r
__file__ = sys.argv[0]
with open(__file__) as stream:
    text = stream.read()
exec(text)
"""


def run_as_root(words):
    """Run this file by su; return its status and what it printed.

    The shell gets only the path of Python, all else comes by stdin.  -p
    keeps what QPython needs to start.
    """
    from subprocess import PIPE, STDOUT, Popen
    try:
        program = ROOT_PROGRAM % ([os.path.abspath(__file__)] + words)
        su = Popen(["su", "-p", "-c", quote_shell(sys.executable) + " -"],
                   stdin=PIPE, stdout=PIPE, stderr=STDOUT)
        out, _ = su.communicate(program.encode("ascii", "backslashreplace"))
        text = out.decode("ascii", "ignore").rstrip()
        return su.returncode, text or "su failed"
    except Exception as error:
        return 2, "cannot become root by su: %s" % error


def find_droid():
    """Return what shows dialogs, or None."""
    try:
        try:
            import androidhelper as android
        except ImportError:
            import android
        return android.Android()
    except Exception:
        return None


def run_dialogs():
    """Ask for the options and trace; return the exit status."""
    droid = find_droid()
    if droid is None:
        return main([])
    status, printed = 130, []
    streams = sys.stdout, sys.stderr
    try:
        words = [ask(droid, dialog) for dialog in DIALOGS]
        words = [word for word in words if word]
        command = Command(words)
        sys.stdout, sys.stderr = [Tee(each, printed) for each in streams]
        try:
            status = command.run()
        finally:
            sys.stdout, sys.stderr = streams
        show_text(droid, "".join(printed).rstrip("\n"))
        if command.needs_root and ask(droid, AGAIN_AS_ROOT) == "yes":
            status, text = run_as_root(words)
            Writer(sys.stdout).line(text)
            show_text(droid, text)
    except Exception:
        print_error("canceled, or no dialog")
    return status


def run_script():
    """Run this file as a command; return the exit status."""
    global end_reached
    end_reached = True              # check_end() asks for it
    if sys.argv[1:]:
        return main()
    return run_dialogs()


if __name__ == "__main__":
    sys.exit(run_script())
