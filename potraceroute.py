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

A line is the ttl, who answered, with which ICMP type/code, after how long.
"*" is a hop that said nothing: no proof of a filter, since many routers
never answer.  The last line is the verdict.

How it works.  The operating system's own sockets send every probe: TCP by
connect(), UDP and ICMP by sendto(), each with a small ttl, so what a
firewall sees is what it would see of the real client.  A router that drops
an expired packet answers with ICMP, quoting the packet; on Linux the socket's
error queue hands that answer to any user, on macOS a datagram socket, on
Windows an option of the TCP socket or the ICMP API.  A raw socket, when
privilege allows one, adds what they do not show.

A probe is identified by what every router quotes: TCP and UDP by a source
port of their own (the kernel checks TCP's sequence number, UDP also carries a
nonce), ICMP by id, sequence number and a nonce.

One more probe goes first, with the system's own ttl: it says in one round
trip what becomes of the port, and is the only real connection a service
sees.  A SYN with a small ttl that does reach the host is never acknowledged:
TCP_DEFER_ACCEPT holds the third packet of the handshake back for 200 ms, a
ttl of 1 stops it should it leave, and a reset clears the server's entry.

When the port is not reached, the path is traced by ICMP or UDP as well: the
first hop that answers only those lies behind the filter.  When it is refused,
one of them with the same ttl must get to the host too, or the refusal was
forged on the way.

Sections, each using only those above it:

    1 Imports and the 2/3 seam   13 Control (comparison)
    2 Vocabulary                 14 Several ports (and flows)
    3 Errors                     15 Who sent the reset
    4 Wire formats               16 What changed on the way
    5 Replies                    17 Names and lines
    6 Hops                       18 Inside the session (TLS, HTTP)
    7 Mechanisms                 19 Path MTU
    8 Payloads (UDP requests)    20 Traceroute (the interface)
    9 Probe methods              21 Report
   10 Plan (what to send when)   22 Doctor (what this host can do)
   11 Engine (send and hear)     23 Pasting
   12 Verdict                    24 Options and command line
                                 25 Dialogs (QPython)

To add a UDP service, add a row to PAYLOADS; an option, a row to
OPTION_GROUPS; a look at the finished trace, a function to CHECKS; a system, a
row to SYSTEMS, with a subclass of Mechanism or RawSocket for what it does
differently.

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
import os
import select
import socket
import struct
import sys
import time
from collections import namedtuple

__version__ = "0.4.0"
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
    read = find_call("clock_gettime")
    if read is None:
        return None
    import ctypes
    stamp = (ctypes.c_long * 2)()       # struct timespec

    def clock():
        read(1, stamp)
        return stamp[0] + stamp[1] * 1e-9

    return clock if read(1, stamp) == 0 else None


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
        length = -1
        while length < 0:
            length = call(sock.fileno(), byref(header), flags)
            number = get_errno()
            if length < 0 and number != errno.EINTR:
                raise socket.error(number, os.strerror(number))
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
    port, = struct.unpack_from("!H", data, 2)
    return decode_sockaddr(data) or "", port


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

# What differs between the two families, so that no code asks for it.
Family = namedtuple("Family", "version af level ttl tos icmp echo reply "
                              "errors codes")
FAMILIES = {
    4: Family(4, socket.AF_INET, 0,
              getattr(socket, "IP_TTL", 4), getattr(socket, "IP_TOS", 3),
              1, 8, 0, (3, 11, 12), ICMP4),
    6: Family(6, socket.AF_INET6, 41,
              getattr(socket, "IPV6_UNICAST_HOPS", 4),
              getattr(socket, "IPV6_TCLASS", 67 if LINUX else 39),
              58, 128, 129, (1, 2, 3, 4), ICMP6),
}

VERDICTS = {
    "open": "{label} is open: {address} accepted the connection{away}{mixed}",
    "answered": "{label} answered: {what} came from {address}{away}"
                "{mixed}",
    "refused": "{label} is closed: {address} refused it{what}{away}{mixed}",
    "reset": "{label} is reset by a device {where}, not by {address}: {why}",
    "rejected": "{label} is rejected by {who}: {icmp}{own}{control}",
    "unreachable": "{address} is unreachable: {who} says so, {icmp}{control}",
    "dropped": "{label} is dropped {where}: {why}",
    "silent": "{label} is open or filtered: nothing came from it, "
              "though {address} is up ({why}){hint}",
    "error": "{label} could not be probed: {why}",
}

TCP_DEFER_ACCEPT = 9            # Linux, seconds: tcp(7)
TCP_INFO = 11
TCP_TIMESTAMP = 24              # the clock behind TSval, in ms
IPV6_AUTOFLOWLABEL = 70
DEFAULT_TTL = 64
# Windows' SO_REUSEADDR shares a port with whoever has it.
REUSE = getattr(socket, "SO_EXCLUSIVEADDRUSE", socket.SO_REUSEADDR)
# Of SO_LINGER: close by a reset.  Windows has two shorts.
LINGER = struct.pack("hh" if WINDOWS else "ii", 1, 0)
FORGED = "sent in the destination's name by a device on the way"
RESET = "the connection was reset at once"
DATA_LOST = "the data sent was reset, or not acknowledged"
DATA_LIMIT = 512                # bytes of a banner that are kept
DATA_SHOWN = 120                # bytes of a banner that are printed
BUFFER = 65535                  # Windows loses what is longer
MOST_PORTS = 1024
TOO_BIG = {4: (3, 4), 6: (2, 0)}    # ICMP type, code
# What ICMP errors make of a socket, apart from a refusal.
ICMP_ERRNOS = tuple(getattr(errno, name, None) for name in (
    "EHOSTUNREACH", "ENETUNREACH", "ENONET", "ENOPROTOOPT", "EMSGSIZE",
    "EACCES", "EOPNOTSUPP"))
# Send errors that pass: of resources, not of the path.
TRANSIENT = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM,
             errno.EAGAIN, 10024)       # Python 2.7 on Windows: EMFILE


# ---------------------------------------------------------------------------
# 3 Errors
# ---------------------------------------------------------------------------

class Error(Exception):
    """Base class of all errors this module raises on purpose."""


class OptionError(Error, ValueError):
    """An option has a bad value, or does not go with another."""


class PortError(OptionError, OSError):
    """No such port number, or no such service name."""

    __str__ = Exception.__str__


class RunError(Error, OSError):
    """The trace cannot run: no such host, address or privilege."""

    __str__ = Exception.__str__


def format_errno(number):
    """Return the system's words for an errno; words as they are."""
    if isinstance(number, str):
        return number
    if not number:
        return "unknown error"
    known = getattr(socket, "errorTab", {})     # Windows' own
    return known.get(number) or os.strerror(number) or "unknown error"


# ---------------------------------------------------------------------------
# 4 Wire formats
# ---------------------------------------------------------------------------

# Our own packet as copied inside an ICMP error.  Absent facts are None.
Quoted = namedtuple("Quoted", "protocol source destination source_port "
                              "dest_port ident seq ttl tos tsval payload")
NOTHING_QUOTED = Quoted(*[None] * len(Quoted._fields))

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
    """Return the address in a struct sockaddr_in or sockaddr_in6, or None.

    The sockaddr is told by its family, in the host's byte order.
    """
    if len(data) < 8:
        return None
    family, = struct.unpack_from("=H", data)
    if family == socket.AF_INET:
        return format_address(data[4:8])
    if family == socket.AF_INET6 and len(data) >= 24:
        return format_address(data[8:24])
    return None


def encode_echo(version, ident, seq, payload):
    """Return an ICMP echo request (RFC 792, RFC 4443 4.1).

    The checksum of ICMPv6 covers addresses: there the kernel fills it in.
    """
    kind = FAMILIES[version].echo
    form = "!BBHHH"
    packet = struct.pack(form, kind, 0, 0, ident, seq) + payload
    if version == 4:
        packet = struct.pack(form, kind, 0, checksum(packet), ident,
                             seq) + payload
    return packet


def encode_ipv4(source, destination, ttl, tos, payload, order):
    """Return an ICMP packet for a socket with IP_HDRINCL (RFC 791 3.1).

    The kernel fills in identification and checksum.  order: of ip_len and
    ip_off, "!" or "=", as the kernel wants them.
    """
    return (struct.pack("!BB", 0x45, tos) +
            struct.pack(order + "HHH", 20 + len(payload), 0, 0) +
            struct.pack("!BBH4s4s", ttl, FAMILIES[4].icmp, 0,
                        socket.inet_aton(source),
                        socket.inet_aton(destination)) + payload)


def decode_ip(packet):
    """Return (Quoted with addresses, rest) of an IPv4 or IPv6 packet.

    Of a packet cut too short, or none at all, (None, b"").
    """
    data = bytearray(packet[:40])
    version = data[0] >> 4 if data else None
    if version == 4 and len(data) >= 20:
        length = (data[0] & 15) * 4
        if length < 20:
            return None, b""
        rest = packet[length:]
        if data[6] & 0x1f or data[7]:       # not the first fragment
            rest = b""
        return NOTHING_QUOTED._replace(
            protocol=data[9], ttl=data[8], tos=data[1],
            source=format_address(packet[12:16]),
            destination=format_address(packet[16:20])), rest
    if version == 6 and len(data) >= 40:
        protocol, rest = skip_headers(data[6], packet[40:])
        return NOTHING_QUOTED._replace(
            protocol=protocol, ttl=data[7],
            tos=(data[0] & 15) << 4 | data[1] >> 4,
            source=format_address(packet[8:24]),
            destination=format_address(packet[24:40])), rest
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
    data = bytearray(header)
    if len(data) < 20:
        return None
    end = min(len(data), (data[12] >> 4) * 4)
    at = 20
    while at + 1 < end and data[at] != 0:       # end of options
        if data[at] == 8 and at + 10 <= end:
            return struct.unpack_from("!I", header, at + 2)[0]
        at += 1 if data[at] == 1 else max(2, data[at + 1])
    return None


def unpadded(payload):
    """Return a quoted payload, b"" if it is nothing but padding."""
    return payload if payload[:64].strip(b"\0") else b""


def decode_transport(quoted, rest):
    """Return `quoted` with the fields of its TCP, UDP or ICMP header.

    8 bytes of it are all that RFC 792 promises; with less, nothing is
    added.
    """
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
    """Return what an ICMP extension (RFC 4884 7) tells, as fields of Reply:
    tuples of at most 16 labels (Label) and interfaces (text).

    Where it begins may be a guess: none but a sound one is believed.
    """
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

# One thing that was heard, or that nothing was (NO_REPLY).  None is what is
# not known.
#
# kind         "icmp" (an error about one of our packets), "echo", "data",
#              "accepted", "reset", "unsent" (an error of this host) or
#              "failed" (the kernel gave a socket up without saying why)
# responder    address of who sent it
# icmp_type, icmp_code
# reply_ttl    the ttl it arrived with
# received     when it came, by the kernel's stamp: time.time()
# quoted       Quoted: what it quotes of our packet
# data         what a service sent (bytes)
# error        errno or text of "unsent" and "failed"
# raw          True if a raw socket heard it
# labels       tuple of Label: MPLS
# interfaces   tuple of text: where our packet arrived
#
# Once it is understood, as the answer to a probe:
#
# outcome      a word of OUTCOMES
# rtt          seconds
# tries        which try it answers, from 1
# flags        words of the engine: "data-lost", ...
Reply = namedtuple("Reply", "kind responder icmp_type icmp_code reply_ttl "
                            "received quoted data error raw labels "
                            "interfaces outcome rtt tries flags")
NO_REPLY = Reply(*[None] * len(Reply._fields))._replace(
    raw=False, labels=(), interfaces=(), outcome="timeout", tries=1,
    flags=())


def decode_icmp(version, message, **known):
    """Return the Reply in an ICMP message, or None if it is none to us."""
    family = FAMILIES[version]
    if len(message) < 8:
        return None
    kind, code, _, _, length6, length4 = bytearray(message[:6])
    ident, seq = struct.unpack_from("!HH", message, 4)
    reply = NO_REPLY._replace(icmp_type=kind, icmp_code=code, **known)
    if kind == family.reply:
        return reply._replace(kind="echo", quoted=NOTHING_QUOTED._replace(
            protocol=family.icmp, ident=ident, seq=seq, payload=message[8:]))
    if kind not in family.errors:
        return None
    quoted, rest = decode_ip(message[8:])
    if quoted is None:
        return None
    # Its length (RFC 4884 4.1 to 4.3) is in words of 4 or of 8 bytes.
    length = length4 * 4 if version == 4 else length6 * 8
    return reply._replace(
        kind="icmp", quoted=decode_transport(quoted, rest),
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
    quoted = NOTHING_QUOTED._replace(protocol=socket.IPPROTO_TCP,
                                     source_port=source_port,
                                     dest_port=dest_port)
    return NO_REPLY._replace(kind=kind, quoted=quoted, **known)


def same_start(ours, theirs):
    """Return True if what is quoted of a payload is ours.

    A router may quote none of it, cut it short, or pad it with zeros and
    extensions behind 128 bytes of the packet (RFC 4884 5), of which the
    first 64 bytes of payload are safe from both.
    """
    theirs = theirs or b""
    count = min(len(ours), len(theirs), 64)
    return ours[:count] == theirs[:count]


# ---------------------------------------------------------------------------
# 6 Hops
# ---------------------------------------------------------------------------

Answer = namedtuple("Answer", "outcome address rtt icmp_type icmp_code "
                              "reply_ttl data error quoted notes labels "
                              "interfaces")
NO_ANSWER = Answer("timeout", *[None] * 8 + [(), (), ()])

IpFields = namedtuple("IpFields", "ip_source_address ip_ttl")
IcmpFields = namedtuple("IcmpFields", "icmp_type icmp_code")


def classify(reply, destination, own_address):
    """Return (outcome, reason or None) of a reply to one of our probes.

    Only the destination itself can say that a port is closed; the same
    words from anybody else are a prohibition.  An ICMP error that comes
    from this very host means that the probe never left it.
    """
    if reply.kind == "unsent":
        return "send-failed", format_errno(reply.error)
    if reply.kind == "failed" and reply.icmp_type is None:
        return ("refused" if reply.error == errno.ECONNREFUSED else
                "unreachable" if reply.error in ICMP_ERRNOS else
                "send-failed"), format_errno(reply.error)
    if reply.kind in ("accepted", "reset", "data"):
        return {"accepted": "open", "reset": "refused",
                "data": "data"}[reply.kind], None
    codes = FAMILIES[6 if ":" in destination else 4].codes
    outcome, _ = codes.get((reply.icmp_type, reply.icmp_code),
                           ("unreachable", ""))
    if reply.responder == own_address != destination and \
            outcome != "time-exceeded":
        if outcome == "unreachable":
            return "send-failed", "no answer to address resolution (ARP " \
                "or neighbor discovery): the gateway or host is down"
        return "send-failed", "a local firewall rule rejects it"
    if outcome in ("port-unreachable", "protocol-unreachable") and (
            reply.responder != destination or outcome[:4] == "prot"):
        outcome = "prohibited"
    return outcome, None


def format_icmp(version, answer):
    """Return an ICMP answer in words: ICMP 3/13, ... prohibited."""
    key = answer.icmp_type, answer.icmp_code
    if key[0] is None:
        return "which one is not visible"
    words = FAMILIES[version].codes.get(key, ("", "unassigned code"))[1]
    return "ICMP %d/%d, %s" % (key + (words,))


def format_text(text):
    """Return any text or octets as printable ASCII on one line."""
    if not isinstance(text, text_type):
        text = text.decode("latin-1")
    return "".join(c if " " <= c <= "~" else
                   c.encode("unicode_escape").decode("ascii") for c in text)


def format_hex(data):
    """Return octets in hexadecimal."""
    return "".join("%02x" % octet for octet in bytearray(data))


def quote(value):
    """Return a user's value for a message, the same on every Python."""
    if isinstance(value, (bytes, text_type)):
        return "'%s'" % format_text(value)
    return "%g" % value if isinstance(value, float) else \
        format_text(str(value))


def format_data(data):
    """Return octets as Python 3 shows them, without the b."""
    return repr(bytes(data[:DATA_SHOWN])).lstrip("b")


class Hop(namedtuple("Hop", "ttl method port destination answers name "
                            "destination_name version verbose more sent "
                            "lost")):
    """What is known of one ttl: a record; what is absent is None.

    answers  tuple of Answer, the first is the one shown; empty if silent
    name     the responder's host name, None if not known
    more     True for the destination when it lies farther than max_hops
    sent, lost  probes sent, and those of them that no answer came to
    str(hop) is the printed line without the time.
    """

    __slots__ = ()

    @property
    def answer(self):
        return self.answers[0] if self.answers else NO_ANSWER

    outcome = property(lambda self: self.answer.outcome)
    address = property(lambda self: self.answer.address)
    rtt = property(lambda self: self.answer.rtt)
    icmp_type = property(lambda self: self.answer.icmp_type)
    icmp_code = property(lambda self: self.answer.icmp_code)
    reply_ttl = property(lambda self: self.answer.reply_ttl)
    rxdata = property(lambda self: self.answer.data)
    labels = property(lambda self: self.answer.labels)
    quoted = property(lambda self: self.answer.quoted or NOTHING_QUOTED)
    reached = property(lambda self: OUTCOMES[self.outcome].reached)
    final = property(lambda self: OUTCOMES[self.outcome].final)

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

    @property
    def msg(self):
        """The line without the ttl and the time."""
        return self.format_answer(self.answer)

    def format_answer(self, answer):
        line = OUTCOMES[answer.outcome].line
        if answer.address is None and "{host}" in line:
            line = "?  {outcome}, address not visible"
        elif answer.address is None and answer.outcome == "refused":
            line = "{port} connection refused, by whom is not visible"
        data = ". [Reached Destination]"
        if answer.data is not None:
            data = ", received data: " + format_data(answer.data)
        return line.format(
            port="%s port %s" % (self.method.upper(), self.port), data=data,
            host="%s (%s)" % (self._name_of(answer.address), answer.address),
            icmp="%s/%s" % (answer.icmp_type, answer.icmp_code),
            error=answer.error, outcome=answer.outcome)

    def _name_of(self, address):
        if address == self.destination:
            return format_text(self.destination_name or self.name or address)
        if address == self.address and self.name:
            return format_text(self.name)
        return address

    def format_line(self):
        """Return the line with the times of all answers, and names of
        ICMP messages and reply ttls if verbose."""
        line, shown = str(self), self.answer
        for answer in self.answers or (NO_ANSWER,):
            if answer.address != shown.address:
                line, shown = line + "  " + self.format_answer(answer), answer
            if answer.rtt is not None:
                line += "  %.3f ms" % (answer.rtt * 1e3)
            words = "".join("  [%s]" % text for text in answer.interfaces)
            if answer.labels:
                words = "  [MPLS%s]" % "".join(
                    " %d/%d" % label[:2] for label in answer.labels) + words
            line += words if words not in line else ""
        if self.verbose:
            if self.reply_ttl is not None:
                line += "  reply ttl %d" % self.reply_ttl
            if self.icmp_type is not None:
                line += "  (%s)" % format_icmp(
                    self.version, self.answer).partition(", ")[2]
            line += "".join("  (%s)" % note for note in self.answer.notes)
        return line

    def __str__(self):
        return "%s%d\t%s" % (">" if self.more else "", self.ttl, self.msg)

    def as_dict(self):
        """Return the hop as section 6 of the design describes it."""
        probes = [answer_dict(answer) for answer in self.answers]
        name = self.name and format_text(self.name)
        entry = {"ttl": self.ttl, "name": name,
                 "notes": list(self.answer.notes), "probes": probes}
        entry.update(answer_dict(self.answer))
        for key in ("quoted_ttl", "quoted_tos"):
            del entry[key]
        return entry


def answer_dict(answer):
    """Return an Answer for JSON: times in ms, silence is null."""
    quoted = answer.quoted or NOTHING_QUOTED
    return {"outcome": answer.outcome, "address": answer.address,
            "rtt_ms": format_ms(answer.rtt), "icmp_type": answer.icmp_type,
            "icmp_code": answer.icmp_code, "reply_ttl": answer.reply_ttl,
            "error": answer.error, "quoted_ttl": quoted.ttl,
            "quoted_tos": quoted.tos, "interfaces": list(answer.interfaces),
            "labels": [label._asdict() for label in answer.labels]}


def format_hop(hop):
    """Return a Hop, or a State, in words."""
    return "hop %d (%s)" % (hop.ttl, hop.answer.address or "not visible")


def format_ms(seconds):
    """Return seconds as a number of milliseconds, None as None."""
    return None if seconds is None else round(seconds * 1e3, 3)


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
               "distance" (an error came, but not from whom) or "nothing"
    refusals   True if it tells a refusal by TCP from an ICMP error
    alone      True if a raw socket would add nothing
    wait       seconds for an answer to what the system itself waits for
    why        what is not seen and why, for people; "" if nothing
    available()                     can this system do it?
    open(target, kind, protocol, port)  open a probe's socket
    prepare(sock, version)          ask for answers on it
    errors(sock, protocol, version) list of Reply about probes sent by sock
    receive(sock)                   (data, sender, port, facts, items)
    send_echo(sock, packet, target, ttl)  send an ICMP echo request

    `facts` are the fields of Reply that the kernel tells: reply_ttl and
    received; `items` all its control messages.
    """

    name = "connect"
    methods = ("tcp", "udp", "icmp")
    sight = "distance"
    refusals = alone = False
    wait = 2.0
    why = ("hop addresses are not visible: this system does not show ICMP "
           "errors to an unprivileged user; ")      # and then: the cure
    debug = staticmethod(lambda text: None)
    options = {4: (), 6: ()}
    ttl_items = ((0, 2), (41, 52))      # IP_TTL, IPV6_HOPLIMIT
    stamp_items = ((1, 35), (1, 29))    # SCM_TIMESTAMPNS, SCM_TIMESTAMP

    @staticmethod
    def available():
        return True

    def open(self, target, kind, protocol=0, port=0):
        """Return a non-blocking socket; raises socket.error."""
        family = target.family
        sock = socket.socket(family.af, kind, protocol)
        try:
            sock.setblocking(False)
            if target.tos:
                sock.setsockopt(family.level, family.tos, target.tos)
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
        for level, option in self.options[version]:
            try_option(sock, level, option, 1)

    def errors(self, sock, protocol, version):
        return []

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
            elif (level, kind) in self.stamp_items:
                facts["received"] = decode_stamp(value, kind == 35)
        return data, address.split("%")[0], port, facts, items

    def send_echo(self, sock, packet, target, ttl):
        family = target.family
        sock.setsockopt(family.level, family.ttl, ttl)
        sock.sendto(packet, target.sockaddr)


def try_option(sock, level, option, value):
    """Set a socket option; return True if the kernel knows it.  Without it
    there is one fact less, not one probe less."""
    try:
        sock.setsockopt(level, option, value)
    except socket.error:
        return False
    return True


def takes_option(kind, level, option):
    """Return True if the kernel knows an option of sockets of a kind."""
    try:
        sock = socket.socket(socket.AF_INET, kind)
    except socket.error:
        return False
    known = try_option(sock, level, option, 1)
    sock.close()
    return known


def decode_stamp(value, nano):
    """Return the seconds in a struct timespec (nano) or timeval, or None.

    Told by its length: 32-bit systems have two forms.
    """
    form = {8: "=ii", 16: "=qq"}.get(len(value))
    if form is None:
        return None
    seconds, part = struct.unpack(form, value)
    return seconds + part * (1e-9 if nano else 1e-6)


class ErrorQueue(Mechanism):
    """Linux's error queue: ip(7) IP_RECVERR.  No privilege is needed.

    For TCP since kernel 5.8 (commit 45af29ca761c).
    """

    name = "error-queue"
    sight = "addresses"
    why = ""
    MSG_ERRQUEUE = 0x2000
    # IP_RECVERR, IP_RECVTTL, ..., IP_RECVERR_RFC4884; the same of IPv6
    options = {4: ((0, 11), (0, 12), SO_TIMESTAMPNS, (0, 26)),
               6: ((41, 25), (41, 51), SO_TIMESTAMPNS, (41, 31))}
    error_items = ((0, 11), (41, 25))

    @classmethod
    def available(cls):
        # Sandboxes that only look like Linux have none.
        level, option = cls.options[4][0]
        return (LINUX and recvmsg is not None and
                takes_option(socket.SOCK_DGRAM, level, option))

    def errors(self, sock, protocol, version):
        replies = []
        for _ in range(64):             # bounded, whatever arrives
            try:
                data, address, port, facts, items = self.receive(
                    sock, self.MSG_ERRQUEUE)
            except socket.error:
                break
            quoted = NOTHING_QUOTED._replace(
                protocol=protocol, destination=address or None)
            if protocol == socket.IPPROTO_UDP:  # the queue holds the payload
                quoted = quoted._replace(dest_port=port,
                                         payload=unpadded(data))
            else:
                quoted = decode_transport(quoted, data)
            for level, kind, value in items:
                if (level, kind) not in self.error_items:
                    continue
                reply = self.decode_error(value, version, quoted, facts)
                if reply:
                    place = self.find_extension(value, version, protocol)
                    replies.append(reply._replace(
                        **decode_extension(data[place:])))
        return replies

    @staticmethod
    def find_extension(value, version, protocol):
        """Return where in the data an ICMP extension begins: ee_data tells
        it (struct sock_ee_data_rfc4884), or 0; then it is behind 128 bytes
        of our packet (RFC 4884 5.5), whose first headers are cut off."""
        told, = struct.unpack_from("=H", value, 12)
        shown = 128 - (20 if version == 4 else 40)
        if protocol == socket.IPPROTO_UDP:
            shown -= 8
        return told or shown

    @staticmethod
    def decode_error(value, version, quoted, facts):
        """Return the Reply in a struct sock_extended_err, or None.

        The struct is followed by the address of who sent the ICMP error
        (linux/errqueue.h, SO_EE_OFFENDER).
        """
        if len(value) < 16:
            return None
        number, origin, kind, code = struct.unpack_from("=iBBB", value)
        if origin == 1:                 # SO_EE_ORIGIN_LOCAL
            return NO_REPLY._replace(kind="unsent", error=number,
                                     quoted=quoted)
        if origin not in (2, 3) or kind not in FAMILIES[version].errors:
            return None
        return NO_REPLY._replace(
            kind="icmp", responder=decode_sockaddr(value[16:]),
            icmp_type=kind, icmp_code=code, quoted=quoted, **facts)


class TcpIcmpError(Mechanism):
    """What Windows 10 2004 and later tell of a connect() that ICMP ends
    (learn.microsoft.com: IPPROTO_TCP socket options).  No privilege."""

    name = "tcp-icmp-error"
    methods = ("tcp",)
    sight = "addresses"
    refusals = True
    why = ""
    options = {4: ((6, 18),), 6: ((6, 18),)}    # ..FAIL_CONNECT_ON_ICMP_ERROR

    @staticmethod
    def available():
        return takes_option(socket.SOCK_STREAM, 6, 18)

    def prepare(self, sock, version):
        if sock.type & 15 == socket.SOCK_STREAM:
            Mechanism.prepare(self, sock, version)

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
        return [NO_REPLY._replace(
            kind="icmp", responder=decode_sockaddr(data), icmp_type=kind,
            icmp_code=code)]


class OldWindows(Mechanism):
    """No ICMP error ends a connect() there, so a refusal is one."""

    methods = ("tcp",)
    sight = "nothing"
    refusals = True


class IcmpApi(Mechanism):
    """Windows' ICMP API (iphlpapi): no privilege, and no firewall between.

    The system chooses ident and seq, and matches the answers.  A call waits
    for its answer, in a thread of its own; the end of one is told by a
    datagram over loopback, on a socket that is connected to itself.
    """

    name = "icmp-api"
    methods = ("icmp",)
    sight = "addresses"
    alone = True
    why = ""
    # IP_STATUS less 11000 to ICMP type and code (ipexport.h)
    STATUS = {4: {2: (3, 0), 3: (3, 1), 4: (3, 2), 5: (3, 3), 9: (3, 4),
                  13: (11, 0), 14: (11, 1), 15: (12, 0)},
              6: {2: (1, 0), 3: (1, 3), 4: (1, 1), 5: (1, 4), 9: (2, 0),
                  13: (3, 0), 14: (3, 1), 15: (4, 0), 40: (1, 255),
                  41: (3, 0), 42: (4, 0), 43: (4, 1), 45: (1, 2)}}

    def __init__(self):
        from collections import deque
        self.done = deque()             # of Reply

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
        return [self.done.popleft() for _ in range(len(self.done))]

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
            reply = NO_REPLY._replace(kind="unsent", error=str(error))
        if reply is None:
            return
        ident, seq = struct.unpack_from("!HH", packet, 4)
        self.done.append(reply._replace(quoted=NOTHING_QUOTED._replace(
            protocol=target.family.icmp, ident=ident, seq=seq,
            payload=packet[8:])))
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
        call = dll.Icmp6SendEcho2
        if family.version == 4:
            call = dll.IcmpSendEcho2Ex
        source = target.source_ip or target.own_address
        buffer = c.create_string_buffer(len(payload) + 264)
        options = c.create_string_buffer(       # IP_OPTION_INFORMATION
            struct.pack("@BBBBP", ttl, target.tos or 0, 0, 0, 0))
        try:
            found = call(
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
                NO_REPLY._replace(kind="unsent", error=words))

    @staticmethod
    def encode(family, address, port=0, flow=0, scope=0):
        """Return an address as the API wants it: a struct in_addr by its
        value, a struct sockaddr_in6."""
        if family.version == 4:
            return struct.unpack("=i", socket.inet_aton(address))[0]
        packed = socket.inet_pton(family.af, address.split("%")[0])
        return struct.pack("=HHI16sI", family.af, 0, 0, packed, scope)

    def decode_reply(self, family, data):
        """Return the Reply in an ICMP_ECHO_REPLY, whose status is behind
        the address, or an ICMPV6_ECHO_REPLY, where documents differ."""
        places, address = (28, 26), data[6:22]
        if family.version == 4:
            places, address = (4,), data[:4]
        for place in places:
            status, = struct.unpack_from("=I", data, place)
            if status == 0 or 11000 <= status <= 11050:
                break
        return self.decode_status(family, status, format_address(address))

    def decode_status(self, family, status, address):
        """Return the Reply that an IP_STATUS means, or None."""
        reply = NO_REPLY._replace(kind="icmp", responder=address)
        if status == 0:
            return reply._replace(kind="echo", icmp_type=family.reply,
                                  icmp_code=0)
        known = self.STATUS[family.version].get(status - 11000)
        if known is None:
            return None
        kind, code = known
        return reply._replace(icmp_type=kind, icmp_code=code)


class OwnHeader(Mechanism):
    """Where a raw ICMP socket ignores IP_TTL (NetBSD's does, AIX's is said
    to), so that the IP header has to be ours (IP_HDRINCL)."""

    order = None        # of ip_len; None: the kernel makes the header

    def open(self, target, kind, protocol=0, port=0):
        sock = Mechanism.open(self, target, kind, protocol, port)
        if kind == socket.SOCK_RAW and target.family.version == 4:
            try:
                sock.setsockopt(0, getattr(socket, "IP_HDRINCL", 2), 1)
                self.order = self.find_order(sock)
            except socket.error:
                sock.close()
                raise
        return sock

    @staticmethod
    def find_order(sock):
        """Return the byte order of ip_len: the kernel refuses a wrong one.
        An echo reply that nobody waits for asks it."""
        address = "127.0.0.1"
        reply = struct.pack("!BBHI", 0, 0, 65535, 0)
        try:
            sock.sendto(encode_ipv4(address, address, DEFAULT_TTL, 0, reply,
                                    "!"), (address, 0))
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
    """A raw ICMP socket: the answers that come to the whole host.

    As a witness beside the error queue it adds the quoted IP header and the
    ttl of resets; alone it carries the answers.
    """

    name = "raw-socket"
    sight = "addresses"
    why = ""
    kind = socket.SOCK_RAW
    sees_tcp = False
    options = {4: (), 6: ((41, getattr(socket, "IPV6_RECVHOPLIMIT", 37)),)}
    ttl_items = ((41, getattr(socket, "IPV6_HOPLIMIT", 47)),)
    # By version: level, option, words; does a set bit let a type pass?
    icmp_filter = {6: (58, 18, 8, True)}

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
                else:
                    self.set_filter(sock)
                    self.set_up(sock, target)
        except socket.error:
            self.close()
            raise

    def set_filter(self, sock):
        """Ask for the types that are of use; failing that, decode_icmp()
        sorts them out."""
        family = self.family
        if family.version not in self.icmp_filter:
            return
        level, option, words, passing = self.icmp_filter[family.version]
        bits = [0] * words
        for kind in family.errors + (family.reply,):
            bits[kind // 32] |= 1 << kind % 32
        if not passing:
            bits = [word ^ 0xffffffff for word in bits]
        try_option(sock, level, option, struct.pack("=%dI" % words, *bits))

    def set_up(self, sock, target):
        pass

    def replies(self, sock):
        """Return the list of Reply that wait on one of our sockets."""
        found = []
        for _ in range(64):
            try:
                data, address, _, facts, _ = self.receive(sock)
            except socket.error:
                break
            reply = self.decode(sock is self.sockets[0], data, address, facts)
            if reply:
                found.append(reply)
        return found

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
    icmp_filter = {4: (255, 1, 1, False), 6: (58, 1, 8, False)}


class SolarisRawSocket(RawSocket):
    """Needs PRIV_NET_ICMPACCESS."""

    icmp_filter = {6: (58, 1, 8, True)}


class DatagramIcmp(RawSocket):
    """macOS's ICMP socket for every user: it hears all ICMP messages (xnu
    bsd/netinet/ip_icmp.c, icmp_dgram_attach), as long as it is not
    connected."""

    name = "datagram-icmp"
    kind = socket.SOCK_DGRAM


class WindowsRawSocket(RawSocket):
    """Needs an administrator, and a firewall that lets ICMP in."""

    options = {4: (), 6: ()}
    icmp_filter = {}

    def set_up(self, sock, target):
        sock.bind((target.own_address, 0))
        self.switch(sock, "RCVALL_ON")

    def switch(self, sock, name):
        try:                            # hear what the firewall drops
            sock.ioctl(socket.SIO_RCVALL, getattr(socket, name))
        except (socket.error, AttributeError, ValueError):
            self.why = ("SIO_RCVALL is refused: what the firewall drops is "
                        "not seen")

    def close(self):
        for sock in self.sockets:
            self.switch(sock, "RCVALL_OFF")
        RawSocket.close(self)


# platforms: how sys.platform begins; mechanisms and witnesses (raw sockets
# beside them) in the order to be tried; what to do about a missing
# privilege; why there is no ICMP echo, if not for that; what to do if no
# ICMP error is heard.
System = namedtuple("System", "platforms mechanisms witnesses cure no_echo "
                              "deaf")
DEAF = ("No ICMP error from any hop was heard: either they send none, or a "
        "firewall drops them",)
SYSTEMS = (
    System(("linux", "android"), (ErrorQueue,), (LinuxRawSocket,),
           "run it as root, or with CAP_NET_RAW (setcap cap_net_raw+ep on a "
           "copy of Python)",
           "sysctl net.ipv4.ping_group_range is closed to this user and "
           "there is no CAP_NET_RAW; run as root, or `sysctl -w net.ipv4."
           "ping_group_range='0 2147483647'`", ()),
    System(("darwin",), (), (RawSocket, DatagramIcmp), "run it with sudo",
           None, DEAF),
    System(("sunos",), (), (SolarisRawSocket,),
           "run it as root, or let root give the privilege net_icmpaccess: "
           "`ppriv -s EI+net_icmpaccess PID` to a shell, `usermod -K "
           "defaultpriv=basic,net_icmpaccess USER` for good", None, DEAF),
    System(("netbsd", "aix"), (OwnHeader,), (RawSocket,),
           "run it as root", None, DEAF),
    System(("win32",), (TcpIcmpError, OldWindows, IcmpApi),
           (WindowsRawSocket,),
           "run it as administrator", None, (
               DEAF[0] + ", as Windows' own does until an administrator runs",
               "netsh advfirewall firewall add rule name=\"ICMPv4 in\" "
               "dir=in action=allow protocol=icmpv4:any,any",
               "netsh advfirewall firewall add rule name=\"ICMPv6 in\" "
               "dir=in action=allow protocol=icmpv6:any,any")),
    System(("cygwin",), (), (WindowsRawSocket,),
           "use a Python for Windows (python.org), which needs no "
           "privilege, or run it as administrator", None, DEAF),
    System(("",), (), (RawSocket,), "run it as root (in a jail, with "
           "allow.raw_sockets)", None, DEAF),
)


def find_system(platform):
    """Return the row of SYSTEMS for a sys.platform."""
    for row in SYSTEMS:
        if platform.startswith(row.platforms):
            return row


SYSTEM = find_system(sys.platform)


def select_mechanism(wanted, method):
    """Return the mechanism for a method's name, by trying.

    wanted: None, or the name of the only one that will do.
    """
    for kind in SYSTEM.mechanisms + (Mechanism,):       # if no other does
        if (method in kind.methods and wanted in (None, kind.name) and
                kind.available()):
            break
    mechanism = kind()
    if mechanism.why:
        mechanism.why += SYSTEM.cure
    return mechanism


def open_witness(wanted, mechanism, target, method):
    """Return the raw socket that hears what a mechanism does not, or None.

    Raises RunError if neither is the one that is wanted.
    """
    raw, problem = None, "not available on this system"
    names = [None, mechanism.name]
    kinds = () if mechanism.alone else SYSTEM.witnesses
    for kind in kinds:
        if wanted not in (None, kind.name):
            continue
        try:
            raw = kind(target, method == "tcp")
        except socket.error as error:
            problem = error.args[-1]
            continue
        names.append(raw.name)
        break
    if wanted not in names:
        raise RunError("mechanism %s: %s; %s" % (
            quote(wanted), problem, SYSTEM.cure))
    return raw


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
        level, option = SO_TIMESTAMPNS
        try_option(sock, level, option, 1)
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
    ((5353,), "mDNS", "xxxx 0000 0001 000000000000 09'_services'07'_dns-sd'"
     "04'_udp'05'local'00 000c 0001", "xxxx8", ""),
    ((137,), "NetBIOS", "xxxx 0000 0001 000000000000 20'CK" + 30 * "A" +
     "'00 0021 0001", "xxxx8(?:.{109}(.{30}))?", "%s"),
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
     {"2": "Accept", "3": "Reject", "b": "Challenge"}),
    ((11211,), "memcached", "xxxx 0000 0001 0000'version\r\n'",
     "xxxx000000010000'VERSION '((?:..)*?)0d", "%s"),
    ((111,), "rpcbind", "xxxxxxxx 00000000 00000002 000186a0 00000002" +
     40 * "0", "xxxxxxxx00000001", ""),
    ((88,), "Kerberos", "6a583056 a103020105 a20302010a a44a3048"
     "a00703050000000000 a2031b0141 a3163014a003020102a10d300b1b06'krbtgt'"
     "1b0141 a511180f'19700101000000Z' a706020401xxxxxx a8053003020112",
     "7e(?:(?:..)*?a6030201(..))?", "error %d"),
    ((623,), "RMCP", "0600ff06000011be80xx0000", "0600ff06000011be40xx",
     "pong"),
    ((5683,), "CoAP", "4000xxxx", "7000xxxx", "reset"),
    ((1900,), "SSDP", "'M-SEARCH * HTTP/1.1\r\nHost: 239.255.255.250:1900"
     "\r\nMan: \"ssdp:discover\"\r\nMX: 1\r\nST: upnp:rootdevice\r\n\r\n'",
     "'HTTP/1.1 '((?:..)*?)0d", "%s"),
    ((5351,), "NAT-PMP", "0000", "0080(....)", "result %d"),
    ((2152,), "GTP-U", "3201 0004 00000000 xxxx 0000", "3202.{12}xxxx",
     "echo"))]

# What answers nothing, or, L2TP, only what leaves a tunnel behind
SILENT = {162: "SNMP trap", 514: "syslog", 1701: "L2TP", 2055: "NetFlow",
          3784: "BFD", 4739: "IPFIX", 4789: "VXLAN", 8125: "StatsD",
          9995: "NetFlow",
          51820: "WireGuard"}


def find_payload(target):
    """Return the Payload for a target; None if none is known, or needed."""
    if target.payload is not None:
        return None
    for row in PAYLOADS:
        if target.port in row.ports:
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
    return format_address(bytearray.fromhex(value[4:])), int(value[:4], 16)


def describe_data(target, data):
    """Return what UDP data says, as the subject of a sentence."""
    size = "%d bytes of data" % len(data)
    row = find_payload(target)
    if row is None:
        return size
    found = match_payload(row, data)
    if not found:
        return "%s, not the %s reply expected," % (size, row.name)
    words, outside = row.name, decode_outside(target, data)
    if outside:
        form = "[%s]:%d" if ":" in outside[0] else "%s:%d"
        words += ": " + row.detail % (form % outside)
    else:
        detail = describe_detail(row.detail, "".join(found.groups("")))
        words += " " + detail if detail else ""
    return "%s (%s)" % (words, size)


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
    return detail % format_text(bytearray.fromhex(value))[:60].strip()


def format_silence(target, controls):
    """Return what helps to read the silence of a UDP port."""
    said, row = "", find_payload(target)
    for control in controls:
        if control.method == "udp":
            words = {"refused": " and says that %s is closed",
                     "dropped": ", but %s is silent too"}
            if control.verdict in words:
                said += words[control.verdict] % control.label
    if row:
        said += "; %s may say nothing to strangers" % row.name
    elif target.port in SILENT:
        said += "; %s answers no such probe" % SILENT[target.port]
    return said


# ---------------------------------------------------------------------------
# 9 Probe methods
# ---------------------------------------------------------------------------

Target = namedtuple("Target", "family address sockaddr port source_ip "
                              "source_port payload tos own_address")


class Probe(object):
    """One packet we sent, and its identity."""

    __slots__ = ("ttl", "real", "sock", "source_port", "ident", "seq",
                 "payload", "sent", "sent_at", "answer", "doubtful", "error",
                 "tsval", "renewed", "retransmits", "kernel_rtt", "gone",
                 "heard", "empty")

    def __init__(self, ttl, real):
        for name in self.__slots__:
            setattr(self, name, None)
        self.empty = 0          # events that told nothing
        self.ttl = ttl          # 0: the system's own
        self.real = real        # a TCP connection meant to be completed
        self.doubtful = []      # replies that may not be to this probe

    def stamp(self):
        self.sent_at = time.time()
        self.sent = monotonic()


class Method(object):
    """How to probe; the contract and what the methods share.

    name, protocol      as users and as IP know it
    repeats             seconds after which the kernel would send a probe
                        again by itself, None if it does not
    connects            True if a probe opens a connection
    most                probes in flight, at most
    checked             True if answers() can tell a forged quote by what we
                        know; TCP cannot, only the kernel knows its
                        sequence numbers
    sight               what we see of who answers: see Mechanism
    kernel_sight        the same, without a raw socket
    proven              True once the kernel has told who answered
    start()             open what all probes share
    send(probe)         send it; raises socket.error
    receive(sock, probe)  list of Reply on a readable socket
    answers(reply, probe) True if the reply is about this probe
    rtt(probe, reply, elapsed)  seconds, or None if they cannot be known
    """

    name = protocol = None
    default_port = None
    repeats = None
    most = MOST_PORTS
    connects = False
    checked = True
    proven = False
    tcp_info = None             # TcpInfo of a connection that came about
    sock = None

    def __init__(self, target, mechanism, raw=None):
        self.target = target
        self.mechanism = mechanism
        self.raw = raw
        self.payload = target.payload
        self.kernel_sight = mechanism.sight
        self.start()

    @property
    def sight(self):
        return "addresses" if self.raw else self.kernel_sight

    def start(self):
        pass

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

    def renew(self, probe):
        pass

    def to_destination(self, quoted):
        return quoted.destination in (None, self.target.address)

    def quotes(self, quoted, probe):
        """Return True if the probe's payload is quoted; with another
        destination (a NAT on the way) at least 8 bytes of it."""
        theirs = quoted.payload or b""
        return same_start(probe.payload, theirs) and (
            self.to_destination(quoted) or len(theirs) >= 8)

    def rtt(self, probe, reply, elapsed):
        return elapsed


# What is used of struct tcp_info (linux/tcp.h).  options: bit 0 is
# timestamps; snd_mss in bytes; unacked, total_retrans and segs_in (None
# before Linux 4.2) in segments; pmtu in bytes; rtt in microseconds, 0 if
# there is none.
TcpInfo = namedtuple("TcpInfo", "options snd_mss unacked pmtu rtt "
                                "total_retrans segs_in")


def decode_tcp_info(data):
    """Return the TcpInfo in a struct tcp_info, None if it is too short or
    all zeros, as an emulator's may be: snd_mss is never 0."""
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
    quiet_errors = True         # ICMP may end a connect() without an errno

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
        elif error not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise socket.error(error, format_errno(error))
        self.hold_back(sock, probe)

    def set_up(self, sock, probe):
        """Set options of the SYN: one is enough (Windows'
        TCP_NOSYNRETRIES)."""
        if self.mechanism.refusals and not probe.real:
            try_option(sock, self.protocol, 9, 1)

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
            self.proven, self.kernel_sight = True, "addresses"
            return replies
        error = probe.error or sock.getsockopt(socket.SOL_SOCKET,
                                               socket.SO_ERROR)
        if not error and self.quiet_errors and probe.empty:
            error = errno.EHOSTUNREACH
        if not error:
            return []
        if error in (errno.ECONNRESET, errno.EPIPE):    # once it was open
            probe.error = error
            return [self.reset._replace(kind="accepted")]
        if error == errno.ETIMEDOUT:        # the kernel has given up
            probe.gone = True
            return []
        if error == errno.ECONNREFUSED:
            return [self.explain_refusal(info)]
        if not self.proven:                 # its error queue would say more
            self.kernel_sight = "distance"
        return [NO_REPLY._replace(kind="failed", error=error)]

    def find_connection(self, sock, probe, info):
        """Return the Reply of a connection, None if there is none."""
        try:
            to_itself = sock.getpeername() == sock.getsockname()
        except socket.error:
            return None
        if to_itself:           # a port of this host, by chance
            return self.reset
        self.tcp_info = info
        if info and info.rtt:
            probe.kernel_rtt = info.rtt * 1e-6
        return self.reset._replace(kind="accepted")

    def explain_refusal(self, info):
        """Return the Reply of ECONNREFUSED: an ICMP error, if no segment
        came; "failed" where that is not known."""
        segments = info.segs_in if info else None
        if segments or segments is None and (
                self.proven or self.mechanism.refusals):
            return self.reset
        reply = NO_REPLY._replace(kind="failed", error=errno.ECONNREFUSED)
        if segments is None:
            return reply
        if self.target.family.version == 4:
            return reply._replace(icmp_type=3, icmp_code=3)
        return reply._replace(icmp_type=1, icmp_code=4)

    @property
    def reset(self):
        return NO_REPLY._replace(kind="reset", responder=self.target.address)

    @staticmethod
    def read_info(sock):
        """Return the TcpInfo of a socket, None if the kernel has none."""
        return None

    def answers(self, reply, probe):
        quoted = reply.quoted or NOTHING_QUOTED
        if quoted.protocol not in (None, self.protocol):
            return False
        if reply.raw and quoted.source_port != probe.source_port:
            return False
        if (reply.kind in ("accepted", "reset") and
                reply.responder != self.target.address):
            return False
        return (quoted.source_port in (None, probe.source_port) and
                quoted.dest_port in (None, self.target.port))

    def rtt(self, probe, reply, elapsed):
        """A repeated SYN makes `elapsed` too long by a second or more: the
        quoted TSval says which one was answered."""
        if reply.kind == "accepted" and probe.kernel_rtt:
            return probe.kernel_rtt
        if probe.retransmits is None and elapsed > self.repeats:
            return None
        if not probe.retransmits:
            return elapsed
        quoted = reply.quoted or NOTHING_QUOTED
        if quoted.tsval is None or probe.tsval is None:
            return None
        late = ((quoted.tsval - probe.tsval) & 0xffffffff) * 1e-3
        return elapsed - late if late <= elapsed else None


class LinuxTcpMethod(TcpMethod):
    """A SYN that reaches the destination is never acknowledged: all may go
    out at once, and a service sees one connection."""

    most = MOST_PORTS
    quiet_errors = False

    def set_up(self, sock, probe):
        if self.target.family.version == 6:     # a constant flow label
            try_option(sock, 41, IPV6_AUTOFLOWLABEL, 0)
        if not probe.real:
            try_option(sock, self.protocol, TCP_DEFER_ACCEPT, 1)

    def hold_back(self, sock, probe):
        TcpMethod.hold_back(self, sock, probe)
        try:
            probe.tsval = sock.getsockopt(self.protocol, TCP_TIMESTAMP)
        except socket.error:
            pass
        if not probe.real:
            self.set_ttl(sock, 1)

    def renew(self, probe):
        """Let the kernel repeat the SYN with the ttl under test."""
        if not probe.real:
            self.set_ttl(probe.sock, probe.ttl or DEFAULT_TTL)
        probe.renewed = True

    def release(self, probe):
        if probe.sock is not None and not probe.real:
            # The reset has to reach the server.
            family = self.target.family
            try_option(probe.sock, family.level, family.ttl, DEFAULT_TTL)
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
        return bytes(bytearray.fromhex(fill_template(row.request,
                                                     format_hex(random))))

    def send(self, probe):
        probe.sock = sock = self.open_socket(socket.SOCK_DGRAM)
        if probe.ttl:
            self.set_ttl(sock, probe.ttl)
        probe.source_port = sock.getsockname()[1]
        probe.payload = self.new_payload()
        if self.sight == "addresses":
            probe.stamp()
            sock.sendto(probe.payload, self.target.sockaddr)
        else:
            sock.connect(self.target.sockaddr)
            probe.stamp()
            sock.send(probe.payload)

    def receive(self, sock, probe):
        replies = self.mechanism.errors(sock, self.protocol,
                                        self.target.family.version)
        try:
            data, address, port, facts, _ = self.mechanism.receive(sock)
        except socket.error as error:
            number = self.MEANING.get(error.errno)
            if number and self.kernel_sight != "addresses":
                replies.append(NO_REPLY._replace(kind="failed",
                                                 error=number))
            return replies
        quoted = NOTHING_QUOTED._replace(protocol=self.protocol,
                                         dest_port=port)
        return replies + [NO_REPLY._replace(
            kind="data", responder=address, data=data[:DATA_LIMIT],
            quoted=quoted, **facts)]

    def answers(self, reply, probe):
        quoted = reply.quoted or NOTHING_QUOTED
        if quoted.protocol not in (None, self.protocol):
            return False
        if reply.raw and quoted.source_port != probe.source_port:
            return False
        if reply.kind == "data":
            # From another port is fine (TFTP), another's id is not.
            row = find_payload(self.target)
            return reply.responder == self.target.address and (
                row is None or replies_to(row, probe.payload, reply.data))
        return (quoted.dest_port in (None, self.target.port) and
                self.quotes(quoted, probe))


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
        if self.sight == "addresses":
            self.open_echo(self.ident or 1)
        if self.sock is None:
            raise RunError("ICMP echo is not permitted here: %s, or probe "
                           "with -U or TCP" % (SYSTEM.no_echo or SYSTEM.cure))

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
                self.mechanism.send_echo(self.sock, packet, self.target,
                                         probe.ttl or DEFAULT_TTL)
                return
            except socket.error as error:
                # Most likely the answer to an earlier probe: each is also
                # reported once as the error of a send.
                if attempt == 19 or error.errno in TRANSIENT:
                    raise

    def receive(self, sock, probe=None):
        version = self.target.family.version
        replies = self.mechanism.errors(sock, self.protocol, version)
        for _ in range(64):
            try:
                data, address, _, facts, _ = self.mechanism.receive(sock)
            except socket.error as error:
                if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK):
                    break
                continue        # the errno of an ICMP error, read above
            if self.by_ping:
                reply = decode_icmp(version, data, responder=address, **facts)
                if reply:
                    replies.append(reply)
        return replies          # a raw one is the mechanism's to read

    def answers(self, reply, probe):
        quoted = reply.quoted or NOTHING_QUOTED
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
# 10 Plan (what to send when)
# ---------------------------------------------------------------------------

class State(object):
    """What a plan knows of one ttl (0: the system's own)."""

    __slots__ = ("ttl", "probes", "answers", "settled", "held", "too_big",
                 "farther", "beyond", "extra")

    def __init__(self, ttl):
        self.ttl = ttl
        self.probes = []
        self.answers = []
        self.settled = False
        self.held = False       # answered, but a banner may still come
        self.too_big = False    # a router found the packet too big
        self.farther = None     # rtt of the nearest farther hop that answered
        self.beyond = False     # the path was cut before this ttl
        self.extra = None       # when to try once more, for good

    answer = property(lambda self: self.answers[0] if self.answers
                      else NO_ANSWER)
    outcome = property(lambda self: self.answers[0].outcome if self.answers
                       else "timeout")
    heard = property(lambda self: bool(self.answers) and self.answers[
        0].outcome not in ("timeout", "send-failed"))
    reached = property(lambda self: OUTCOMES[self.outcome].reached)
    final = property(lambda self: OUTCOMES[self.outcome].final)


def find_loop(states):
    """Return the first and last State of a routing loop, and the one that
    proves it: all were met twice, and six answers agree, as one router may
    be met at two ttls of unequal paths; the reply ttls too, as a NAT may
    lend its address to all behind it.  None if there is no loop."""
    seen = [state.answer.address and (state.answer.address,
                                 state.answer.reply_ttl) for state in states]
    for at, start in enumerate(seen):
        for size in range(2, (len(seen) - at) // 2 + 1):
            end = at + max(6, 2 * size)
            if start == seen[at + size] != seen[at + 1] and \
                    all(seen[at:end]) and \
                    seen[at:end - size] == seen[at + size:end]:
                return states[at], states[at + size - 1], states[end - 1]


class Plan(object):
    """Decides which ttl to probe when, and when to stop; knows no sockets.

    The engine asks due(now) for what to send, reports note_sent() and
    note_answer(), and calls update(now); times are of one monotonic clock.

    A silent hop is tried again, spread over its wait, so that a router
    that limits its ICMP to one a second has its second chance.  Once a hop
    farther away has answered, a nearer one is hurried: its tries follow
    quickly, and it is given up some time after the time the farther one
    took, sooner if it is all that is waited for.
    """

    FLOOR = 0.08        # seconds a hurried hop has for its last try,
    LEISURE = 0.3       # and while the full-ttl probe is waited for anyway

    def __init__(self, first=1, last=30, wait=2.0, queries=1, retries=2,
                 gap=5, parallel=16, full_retries=None, one_flow=False):
        self.first = first
        self.last = last
        self.wait = wait
        self.queries = queries
        self.retries = retries
        self.gap = gap
        self.parallel = parallel
        self.most = MOST_PORTS  # what a method allows in flight
        self.full_retries = retries if full_retries is None else full_retries
        self.one_flow = one_flow
        self.full = State(0)
        self.states = [State(ttl) for ttl in range(first, last + 1)]
        self.slowest = None     # the longest rtt seen, in seconds
        self.agreed = False     # what ended the path is the destination
        self.loop = None        # as find_loop() has it; `last` is then less
        self.unsure = False     # limits of ICMP may hide farther hops
        self.patient = False    # a late answer can not be told
        self.blind = False      # the hops that answer are not visible

    # What is known so far

    @property
    def heard(self):
        """The ttl of the farthest hop that answered, first - 1 if none."""
        for state in reversed(self.states):
            if state.heard and state.ttl <= self.last:
                return state.ttl
        return self.first - 1

    @property
    def reached_at(self):
        """The smallest ttl that reached the destination, or None."""
        for state in self.states:
            if state.reached:
                return state.ttl
        return None

    @property
    def lost(self):
        """True if the full ttl got farther than any we tried: nothing is
        known of the path's end, or something on the way ended it."""
        end = self.end
        if end is None:
            return self.full.final
        return self.full.reached and not self.agreed and \
            self.states[end - self.first].outcome != self.full.outcome

    @property
    def end(self):
        """The ttl at which the path ends, None while that is not known.

        The destination ends it; so does a router that says no, unless
        something farther away was heard of or the destination reached.
        """
        final = None
        for state in self.states:
            outcome = state.outcome
            if outcome == "time-exceeded":
                final = None
            elif outcome != "timeout" and OUTCOMES[outcome].reached:
                return state.ttl
            elif state.final and final is None:
                final = state.ttl
        if self.full.reached and final is not None and \
                self.states[final - self.first].outcome != "reset":
            return None
        return final

    @property
    def horizon(self):
        """The last ttl that has to be settled before we are done."""
        end = self.end
        if end is not None:
            return end
        if not self.gap:
            return self.last
        gap = max(self.gap, self.parallel) if self.full.reached else self.gap
        return min(self.last, self.heard + gap)

    @property
    def done(self):
        horizon = self.horizon
        return self.full.settled and all(
            state.settled for state in self.states
            if state.ttl <= horizon or state.beyond and state.probes)

    def look(self, first, last):
        """Probe these ttls, or probe these now."""
        known = dict((state.ttl, state) for state in self.states)
        self.first, self.last = first, last
        self.states = [known.get(ttl) or State(ttl)
                       for ttl in range(first, last + 1)]

    # Sending

    def due(self, now, most=4):
        """Return the states to be probed now, the full ttl first."""
        chosen = []
        limit, horizon = self.end or self.last, self.horizon
        pending = [state for state in self.states
                   if state.ttl <= horizon and not state.settled]
        flying = sum(1 for state in [self.full] + self.states
                     if state.probes and not state.settled)
        for state in [self.full] + self.states:
            if len(chosen) == most:
                break
            if state.settled or state is not self.full and state.ttl > limit:
                continue
            if not state.probes:
                if flying >= min(self.parallel, self.most) or any(
                        self.needs_more(other) for other in pending) or (
                        state is not self.full and state.ttl > horizon and
                        not pending):
                    break       # or the gap of silent hops is too wide
                flying += 1
                chosen.append(state)
            else:
                when = self.next_try(state)
                if when is not None and now >= when:
                    chosen.append(state)
        return chosen

    @staticmethod
    def needs_more(state):
        """True if an extra try is due, and nothing farther has answered."""
        return state.extra is not None and state.farther is None and \
            not state.answers and state.probes[-1].sent < state.extra

    def doubt(self, state, when):
        """Let a silent hop have one more try, not before `when`: a second
        after something may have used up what it allows itself to send."""
        if state.extra is None and state.probes and not state.answers:
            state.extra = when
            state.settled = False

    def tries(self, state):
        if state is self.full:
            return 1 + self.full_retries
        return self.queries + self.retries

    def next_try(self, state):
        """Return when to send again, None if there is no try left."""
        last = state.probes[-1]
        if state.held or state.beyond:
            return None
        if len(state.probes) >= self.tries(state):
            return state.extra if self.needs_more(state) else None
        if last.answer or last.gone:
            return last.sent
        spacing = self.wait / (self.retries + 1)
        if state.farther is not None and not state.answers:
            spacing = max(state.farther / 4, 0.005) if not self.one_flow \
                else state.farther * 1.5 + self.FLOOR   # one in flight
        return last.sent + spacing

    def deadline(self, state):
        """Return when a state with probes is given up."""
        answered = [probe.sent + (probe.answer.rtt or 0)
                    for probe in state.probes if probe.answer]
        limit = max(answered or [state.probes[0].sent]) + self.wait
        last = state.probes[-1].sent
        if state.extra and state.farther is None:
            limit = max(limit, state.extra + self.LEISURE +
                        2 * (self.slowest or 0))
        if state.beyond:
            return min(limit, last + max(1.5 * (self.slowest or 0),
                                         self.FLOOR))
        if state.farther is not None and not state.answers and \
                len(state.probes) >= self.tries(state):
            floor = self.FLOOR if self.full.settled else self.LEISURE
            limit = min(limit, last + max(state.farther * 1.2 + 0.01, floor))
        return limit

    def next_time(self, now):
        """Return the next time at which something may have to be done."""
        times = [now + 1]
        limit = self.end or self.last
        for state in [self.full] + self.states:
            if state.probes and not (state.settled or state.held) and (
                    state is self.full or state.beyond or
                    state.ttl <= limit):
                times.append(self.deadline(state))
                times.append(self.next_try(state) or now + 1)
        return min(times)

    # Hearing

    def note_sent(self, state, probe):
        state.probes.append(probe)

    def note_answer(self, state, answer):
        # The destination's word counts more than a router's.
        state.answers.append(answer)
        state.answers.sort(key=lambda a: not OUTCOMES[a.outcome].reached)
        if state is self.full and answer.outcome == "unreachable" and \
                answer.icmp_type is None:
            # Nor can the errno of a small ttl be told from this.
            self.look(self.first, self.heard)
        if answer.rtt is not None:
            self.slowest = max(answer.rtt, self.slowest or 0)
        farther, end = None, self.end
        if self.one_flow and self.full.reached and not self.patient:
            farther = self.full.answer.rtt  # one at a time: no other clue
        cut = self.full.final and not self.full.reached
        for other in reversed(self.states):
            other.farther = farther
            other.beyond = bool(cut and end is not None and other.ttl > end)
            if other.heard:
                farther = min(other.answer.rtt or self.wait, self.wait)
        self.loop = not self.full.final and find_loop(
            self.states) or self.loop   # answers come in any order
        if self.loop:
            self.last = self.loop[2].ttl

    def update(self, now):
        """Settle what is answered or given up."""
        for state in [self.full] + self.states:
            if state.settled or not state.probes or state.held:
                continue
            wanted = 1 if state is self.full else self.queries
            if len(state.answers) >= wanted or \
                    state.outcome == "send-failed" or \
                    now >= self.deadline(state):
                state.settled = True


# ---------------------------------------------------------------------------
# 11 Engine (sending and hearing)
# ---------------------------------------------------------------------------

class Poller(object):
    """Waits for sockets: poll() where there is one, else select().

    wait(seconds) -> list of file numbers on which something happened.
    select() can not take numbers from FD_SETSIZE on, hence poll() first;
    Windows tells failed connects in the third set only.
    """

    def __init__(self, use_poll=True):
        self.writers = {}
        self.poll = select.poll() \
            if use_poll and hasattr(select, "poll") else None

    @property
    def full(self):
        """True if select() might take no more (Windows: 512)."""
        return not self.poll and len(self.writers) > 500

    def add(self, number, write=False):
        self.writers[number] = write
        if self.poll:
            self.poll.register(number, select.POLLIN |
                               (select.POLLOUT if write else 0))

    def remove(self, number):
        if self.writers.pop(number, None) is not None and self.poll:
            self.poll.unregister(number)

    def wait(self, seconds):
        seconds = min(max(seconds, 0), 3600)
        try:
            if self.poll:
                return [number for number, _ in
                        self.poll.poll(-int(-seconds * 1000 // 1))]
            reading = list(self.writers)
            writing = [number for number in reading if self.writers[number]]
            if not reading:
                time.sleep(seconds)
                return []
            return list(set(sum(map(list, select.select(
                reading, writing, writing, seconds)), [])))
        except (select.error, OSError) as error:
            if error.args[0] != errno.EINTR:
                raise
            return []


def wait_for(function, seconds):
    """Return function(seconds): a guard that stops nothing."""
    return function(seconds)


class Engine(object):
    """Carries out plans with real sockets, several at once.

    add(method, plan), then turn() until all plans are done, then close(),
    which is what leaves no half-open connection behind.
    """

    STEP = 1e-3         # seconds; a clock that moved more was set
    GRACE = 0.05        # seconds for a raw socket to explain an errno

    def __init__(self, target, raw=None, banner_wait=0.5,
                 debug=None, clock=monotonic, poller=None, guard=None):
        self.target = target
        self.raw = raw
        self.banner_wait = banner_wait
        self.debug = debug or Mechanism.debug
        self.clock = clock
        self.poller = poller or Poller()
        self.guard = guard or wait_for
        self.runs = []          # (method, plan)
        self.watched = {}       # file number -> (run, state, probe)
        self.banners = []       # (run, state, probe, deadline)
        self.held_until = 0     # no sending before, after ENOBUFS
        self.holds = 0
        for sock in raw.sockets if raw else ():
            self.poller.add(sock.fileno())

    def add(self, method, plan):
        self.runs.append((method, plan))
        if method.sock:
            self.poller.add(method.sock.fileno())

    @property
    def done(self):
        return all(plan.done for _, plan in self.runs)

    def turn(self, most=1.0):
        """Send what is due, wait for at most `most` seconds, hear."""
        now = self.clock()
        sent = False
        if now >= self.held_until:
            for run in self.runs:
                for state in run[1].due(now):
                    if self.poller.full:
                        self.held_until = now + 0.01
                    if now >= self.held_until:  # else: no file or buffer
                        sent = self.send(run, state)
        now = self.clock()
        until = [now + most] + [plan.next_time(now) for _, plan in self.runs]
        until += [entry[3] for entry in self.banners]
        until += [probe.heard[0] + self.GRACE for _, state, probe in
                  self.all_probes() if probe.heard and not (
                      probe.answer or state.settled)]
        until += [probe.sent + run[0].repeats
                  for run, _, probe in self.watched.values()
                  if run[0].repeats and not (probe.renewed or probe.answer)]
        wait = 0 if sent else min(until) - now
        if self.held_until > now:
            wait = min(max(wait, 0.01), self.held_until - now)
        ready = self.guard(self.poller.wait, wait)
        now, real_now = self.clock(), time.time()
        for number in ready:
            self.hear(number, now, real_now)
        self.expire(now)
        for _, plan in self.runs:
            plan.update(now)
        self.tidy()

    # Sending

    def send(self, run, state):
        method, plan = run
        if plan.one_flow:               # the port is needed again
            for probe in state.probes:
                self.forget(method, probe)
        probe = Probe(state.ttl, real=state is plan.full)
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
            plan.note_sent(state, probe)
            self.answer(run, state, probe, NO_ANSWER._replace(
                outcome="send-failed", error=format_errno(error.errno)))
            return True
        self.debug("ttl %s: %s probe from port %s id %s seq %s %s" % (
            state.ttl or "full", method.name, probe.source_port, probe.ident,
            probe.seq, format_hex(probe.payload or b"")))
        self.holds = 0
        plan.note_sent(state, probe)
        if probe.sock is not method.sock:
            number = probe.sock.fileno()
            self.watched[number] = run, state, probe
            self.poller.add(number, write=method.connects)
        return True

    # Hearing

    def hear(self, number, now, real_now):
        for sock in self.raw.sockets if self.raw else ():
            if sock.fileno() == number:
                for reply in self.raw.replies(sock):
                    self.match(reply, self.all_probes(), now, real_now)
                return
        for run in self.runs:
            if run[0].sock and run[0].sock.fileno() == number:
                for reply in run[0].receive(run[0].sock):
                    self.match(reply, self.all_probes([run]), now, real_now)
                return
        if number not in self.watched:
            return
        run, state, probe = self.watched[number]
        if state.held and probe.answer:
            self.read_banner(run, state, probe)
            return
        replies = run[0].receive(probe.sock, probe)
        for reply in replies:
            self.match(reply, [(run, state, probe)], now, real_now)
        probe.empty += not replies
        if probe.gone or probe.empty > 16 or (not replies and probe.answer):
            probe.gone = True           # dead, or worse than silent
            self.forget(run[0], probe)

    def all_probes(self, runs=None):
        """Yield every probe sent so far, of a ttl the latest first."""
        for run in runs or self.runs:
            for state in [run[1].full] + run[1].states:
                for probe in reversed(state.probes):
                    yield run, state, probe

    def match(self, reply, candidates, now, real_now):
        """Give the reply to the probe it answers; else it is foreign."""
        self.debug("heard %r" % (reply,))
        found = [entry for entry in candidates if now >= entry[2].sent and (
            reply.kind == "failed" or entry[0][0].answers(reply, entry[2]))]
        if not found:
            return self.debug("foreign, ignored")
        # In one flow only the last one is under way.
        run, state, probe = max(found[::-1],
                                key=lambda entry: entry[2].sent)
        self.take(run, state, probe, reply, now, real_now)

    def take(self, run, state, probe, reply, now, real_now):
        method = run[0]
        if probe.answer:
            if reply.raw:
                self.enrich(state, probe, reply)
            return
        if not self.certain(method, probe, reply):
            if len(probe.doubtful) < 8:
                probe.doubtful.append((reply, now, real_now))
            return
        if not state.too_big and reply.data is None and TOO_BIG[
                self.target.family.version] == (reply.icmp_type,
                                                reply.icmp_code):
            # The kernel has learned the path's MTU from it: once more.
            state.too_big = probe.gone = True
            self.forget(method, probe)
            return
        if reply.kind == "failed" and not reply.icmp_type:
            known = [entry for entry in probe.doubtful
                     if entry[0].kind == "icmp" and
                     method.to_destination(entry[0].quoted)]
            if known:
                reply, now, real_now = known[0]
            elif self.raw:      # wait for it to tell more
                probe.error, probe.heard = reply.error, (now, real_now)
                self.forget(method, probe)
                return
        self.answer(run, state, probe,
                    self.explain(run, probe, reply, now, real_now))
        for other, _, _ in probe.doubtful:
            self.enrich(state, probe, other)

    def certain(self, method, probe, reply):
        """True if the reply can not be but to the probe it matches.

        Not so: a quote with another destination (a NAT on the way, or a
        forgery), and what only a raw socket heard of a TCP probe, as long
        as the kernel, which alone knows the sequence number, can tell.
        """
        if reply.kind == "failed":
            return True
        if reply.raw and not method.checked:
            return reply.kind == "icmp" and not any(
                entry[0].kind == "accepted" for entry in probe.doubtful) and (
                method.kernel_sight != "addresses") and \
                method.to_destination(reply.quoted)
        return reply.quoted is None or method.to_destination(reply.quoted)

    def explain(self, run, probe, reply, now, real_now):
        """Return the Answer that a reply means."""
        outcome, reason = classify(reply, self.target.address,
                                   self.target.own_address)
        if reply.kind == "failed" and not reply.icmp_type and probe.ttl and \
                reply.error in (errno.EHOSTUNREACH, errno.ENETUNREACH):
            outcome = "time-exceeded"   # most likely, at so small a ttl
        elapsed = now - probe.sent
        shift = (real_now - now) - (probe.sent_at - probe.sent)
        if reply.received and abs(shift) < self.STEP:
            stamped = reply.received - probe.sent_at
            if 0 <= stamped < elapsed:
                elapsed = stamped
        if outcome == "send-failed":
            return NO_ANSWER._replace(outcome=outcome, error=reason)
        return NO_ANSWER._replace(
            outcome=outcome, address=reply.responder,
            rtt=run[0].rtt(probe, reply, elapsed),
            icmp_type=reply.icmp_type, icmp_code=reply.icmp_code,
            reply_ttl=reply.reply_ttl, data=reply.data, error=reason,
            quoted=reply.quoted if reply.raw else None,
            labels=reply.labels, interfaces=reply.interfaces)

    def answer(self, run, state, probe, answer):
        method, plan = run
        tries = state.probes.index(probe) + 1 if not state.answers else 1
        if tries > 1 and answer.outcome != "send-failed":
            answer = answer._replace(notes=answer.notes + (
                "answered at try %d" % tries,))
        probe.answer = answer
        if state.settled:
            return
        plan.note_answer(state, answer)
        if answer.outcome == "open" and probe.real:
            state.held = True
            if self.target.payload:
                try:
                    probe.sock.send(self.target.payload)
                except socket.error:
                    pass
            number = probe.sock.fileno()
            self.poller.remove(number)
            self.poller.add(number)
            self.banners.append((run, state, probe,
                                 self.clock() + self.banner_wait))
        else:
            self.forget(method, probe)

    def enrich(self, state, probe, reply):
        """Add what a raw socket saw to an answer that is known."""
        answer = probe.answer
        if (reply.responder, reply.icmp_type, reply.icmp_code) != (
                answer.address, answer.icmp_type, answer.icmp_code) or \
                (reply.kind, answer.outcome) in (("reset", "open"),
                                                 ("accepted", "refused")):
            return
        quoted = reply.quoted if reply.kind == "icmp" else None
        if answer.reply_ttl is None or quoted:
            probe.answer = answer._replace(reply_ttl=reply.reply_ttl,
                                           quoted=quoted)
            state.answers[:] = [probe.answer if old is answer else old
                                for old in state.answers]

    def read_banner(self, run, state, probe):
        try:
            data = probe.sock.recv(DATA_LIMIT)
        except socket.error as error:
            if error.errno in (errno.EAGAIN, errno.EWOULDBLOCK,
                               errno.EINTR):
                return
            data = None                 # reset
        self.end_banner(run, state, probe, data)

    def end_banner(self, run, state, probe, data=b""):
        answer = probe.answer
        info = run[0].read_info(probe.sock)
        lost = self.target.payload and (
            data is None or info and info.unacked and info.total_retrans)
        probe.answer = answer._replace(
            data=data or None, notes=answer.notes + (DATA_LOST,)[
                :bool(lost)] + (RESET,)[:data is None or bool(probe.error)])
        state.answers[:] = [probe.answer if old is answer else old
                            for old in state.answers]
        state.held = False
        self.banners = [entry for entry in self.banners
                        if entry[2] is not probe]
        self.forget(run[0], probe)

    # Letting go

    def expire(self, now):
        """See to the probes whose time has come."""
        for run, state, probe, deadline in list(self.banners):
            if now >= deadline:
                self.end_banner(run, state, probe)
        for run, state, probe in list(self.watched.values()):
            method, plan = run
            if method.repeats and not probe.answer and not probe.renewed \
                    and now >= probe.sent + method.repeats:
                fast = plan.slowest is not None and plan.slowest < 0.5
                if probe.real or not fast:
                    method.renew(probe)
                else:           # a fresh probe is worth more
                    self.forget(method, probe)
        for run, state, probe in self.all_probes():
            if probe.answer or state.settled:
                continue
            if probe.heard and now >= probe.heard[0] + self.GRACE:
                reply = NO_REPLY._replace(kind="failed", error=probe.error)
                if run[0].connects and probe.error == errno.ECONNREFUSED:
                    reply = run[0].reset    # no ICMP error has come
                self.answer(run, state, probe, self.explain(
                    run, probe, reply, *probe.heard))
            elif not state.answers and now >= run[1].deadline(state):
                self.settle_doubt(run, state, probe)

    def settle_doubt(self, run, state, probe):
        """For want of anything better believe a doubtful reply, if there is
        a reason why the kernel did not pass it on (a quote that a NAT
        changed, or no error queue for TCP) and no other contradicts it."""
        method = run[0]
        heard = [entry for entry in probe.doubtful
                 if entry[0].kind == "icmp" and (
                     method.checked or not method.proven or
                     not method.to_destination(entry[0].quoted))]
        if len(set(entry[0].responder for entry in heard)) != 1:
            return
        answer = self.explain(run, probe, *heard[0])
        quoted = heard[0][0].quoted
        if not method.to_destination(quoted):
            answer = answer._replace(notes=(
                "quotes %s as the destination: NAT on the way" %
                quoted.destination,))
        self.answer(run, state, probe, answer)

    def tidy(self):
        """Close the sockets of what is settled or lies behind the end."""
        ends = dict((id(plan), plan.reached_at) for _, plan in self.runs)
        for run, state, probe in list(self.watched.values()):
            end = ends[id(run[1])]
            if not state.held and (state.settled or
                                   end is not None and state.ttl > end):
                self.forget(run[0], probe)

    def unwatch(self, probe):
        if probe.sock is not None:
            number = probe.sock.fileno()
            if self.watched.pop(number, None):
                self.poller.remove(number)

    def forget(self, method, probe):
        if probe.sock is not method.sock:
            self.unwatch(probe)
        method.release(probe)

    def retire(self, run):
        """Have done with a plan, and close what its method has open."""
        for other, _, probe in list(self.watched.values()):
            if other is run:
                self.forget(run[0], probe)
        self.runs.remove(run)
        if run[0].sock:
            self.poller.remove(run[0].sock.fileno())
        run[0].close()

    def close(self):
        """Close everything; no connection stays half-open."""
        for run, _, probe in list(self.watched.values()):
            self.forget(run[0], probe)
        for method, _ in self.runs:
            method.close()
        if self.raw:
            self.raw.close()


# ---------------------------------------------------------------------------
# 12 Verdict
# ---------------------------------------------------------------------------

def decide(target, method, plan, control=None):
    """Return (verdict, facts for its sentence, responder, blocking ttl).

    The first rule that holds decides; the destination's own word goes
    first.  `control` is the Trace that got farthest by other means.
    """
    end = [state for state in plan.states if state.ttl == plan.end]
    candidates = [answer for state in [plan.full] + end
                  for answer in state.answers]
    for answer in candidates:
        if OUTCOMES[answer.outcome].reached and (
                answer.address or answer.outcome != "refused" or
                plan.agreed or target.own_address == target.address):
            facts = reached_facts(target, answer)
            facts["mixed"] = format_mixed(plan)
            near = answer.outcome in ("open", "data") and \
                nearer_than(plan, control)
            if near:
                facts["proxy"] = "something at hop %d (%s) or just before " \
                    "it" % (near.ttl, near.address)
                facts["address"] = "%s, not %s itself," % (
                    facts["proxy"], target.address)
            return REACHED_VERDICTS[answer.outcome], facts, \
                answer.address, None
    for answer in candidates:
        if OUTCOMES[answer.outcome].final:
            return decide_blocked(target, plan, answer, control)
    return decide_lost(target, method, plan, control)


def decide_blocked(target, plan, answer, control):
    """Return what decide() does, of an answer that ends the path."""
    if answer.outcome == "reset":
        return "reset", {"where": forger_place(plan), "why": format_arrival(
            plan, control) + "; it may be an ICMP error, which is not visible"
            " to this user" * plan.blind}, None, plan.end - 1
    if FORGED in answer.notes:
        return "rejected", {
            "who": "a device " + forger_place(plan) + (
                ", in the name of " + target.address if answer.address
                else ""), "own": "",
            "icmp": format_icmp(target.family.version, answer),
            "control": "; " + format_arrival(plan, control)}, \
            None, plan.end - 1
    ttl, reached = place_of(answer, plan), control and control.reached
    who = format_who(answer.address, ttl, target) if answer.address else \
        "a device on the way, or %s" % (
            "the want of an ARP answer" if answer.outcome != "refused" and
            not reached else target.address + " itself")
    facts = {"who": who,
             "icmp": format_icmp(target.family.version, answer),
             "own": " (its own firewall)" if
             answer.address == target.address else
             " (perhaps the same host by another address)" if
             control and control.distance == ttl == plan.end and
             (answer.icmp_type, answer.icmp_code) in ((3, 3), (1, 4))
             else "",
             "control": "; %s" % format_reach(control) if reached else ""}
    # For one port only, it is no want of a route.
    return "rejected" if answer.outcome in ("prohibited", "refused") or \
        reached else answer.outcome, facts, answer.address, ttl


def decide_lost(target, method, plan, control):
    """Return what decide() does when nothing ends the path."""
    failures = [answer.error for state in [plan.full] + plan.states
                if state is plan.full or state.ttl > plan.heard
                for answer in state.answers
                if answer.outcome == "send-failed"]
    if failures:        # then silence there proves nothing
        return "error", {"why": failures[0]}, None, None
    if control and control.verdict == "unreachable" and \
            plan.heard < control.blocked_at:
        # So it is for all; this probe's turn at a limit of errors was over.
        return "unreachable", dict(control.facts, control=" (to %s)" %
                                   control.label), control.responder, None
    if plan.loop:
        return "dropped", {"where": "on the way", "loop": plan.loop[0].ttl,
                           "why": "the path loops between %s and %s" % tuple(
                               map(format_hop, plan.loop[:2]))}, None, \
            plan.loop[1].ttl
    again = not (control and control.reached) and find_again(plan, control)
    facts = dropped_facts(target, method, plan, None if again else control)
    if again:
        facts.update(loop=again[1], why="%s answers as hop %d and as hop %d: "
                     "the path loops, or it answers for others" % again)
    if method == "udp" and control and control.reached and \
            not first_beyond(plan, control, target.address):
        return "silent", {"why": format_reach(control)}, None, None
    return "dropped", facts, None, None


def find_again(plan, control):
    """Return the address and ttls of a router that was met again by so many
    hops later that no unequal paths explain it; None if there is none."""
    known = {}
    for hop in plan.states + (control.hops if control else []):
        key = hop.answer.address, hop.answer.reply_ttl
        if hop.outcome == "time-exceeded" and hop.answer.address:
            ttls = sorted((known.setdefault(key, hop.ttl), hop.ttl))
            if ttls[1] - ttls[0] > 2:
                return key[0], ttls[0], ttls[1]


def format_reach(control):
    """Return how far a control trace came, as a clause."""
    if control.reached:
        return "%s reaches %s%s" % (control.label, control.address,
                                    control.away)
    last = control.last_heard
    return "%s gets on to hop %d (%s), no farther" % (
        control.label, last.ttl, last.address) if last else \
        "%s gets no answer from any hop" % control.label


def first_beyond(plan, control, destination=None):
    """Return the first Hop behind plan's last that answered the control,
    the destination itself not counted if it is given; None if it is not
    known which that last one is."""
    if plan.blind or plan.heard < plan.first != 1 or \
            destination and plan.unsure:
        return None
    for hop in control.hops if control else ():
        if hop.ttl > plan.heard and hop.address and \
                (hop.reached or hop.outcome == "time-exceeded") and \
                hop.address != destination:
            return hop
    return None


def other_routers(plan, control):
    """Return a clause: why a control that gets farther proves no pair of
    hops; "" if it does."""
    known = dict((hop.ttl, hop.address) for hop in control.hops)
    for state in plan.states:
        if state.outcome == "time-exceeded" and known.get(state.ttl) not in (
                None, state.answer.address):
            return ", but by other routers from hop %d on" % state.ttl
    return ", but the next hops may limit their ICMP" * plan.unsure


def forger_place(plan):
    """Return where an answer was forged.  A filter in a router's forward
    path acts behind its ttl check: it answers from its own ttl + 1 on."""
    ttl = plan.end
    before = [state.answer.address for state in plan.states
              if state.ttl == ttl - 1 and state.heard]
    if ttl == 1:
        return "at hop 1 or by this host's own firewall"
    if before:
        return "at hop %d (%s) or just behind it" % (
            ttl - 1, before[0] or "not visible")
    known = [state for state in plan.states
             if state.ttl < ttl and state.heard]
    return "before hop %d" % ttl + (
        " and behind " + format_hop(known[-1]) if known else "")


def arrival(plan, control):
    """Return the Hop that a control came to with the ttl at which plan's
    path seems to end, if that is a router: not the destination yet."""
    for hop in control.hops:
        if hop.ttl == plan.end and hop.outcome == "time-exceeded":
            return hop
    return None


def nearer_than(plan, control):
    """Return the Hop of a control that a probe had only come to when it
    was accepted, None if it may have been at the destination.  One hop of
    difference may be that of paths of unequal length."""
    near = control and control.reached and not other_routers(
        plan, control) and plan.end and arrival(plan, control)
    return near if near and (control.distance or 0) > plan.end + 1 else None


def format_arrival(plan, control):
    """Return what shows that a probe was not at the destination yet."""
    hop = control and arrival(plan, control)
    return "with ttl %d %s gets to %s only" % (
        plan.end, control.label, hop.address or "a router") if hop else \
        "with ttl %d nothing else gets there, but %s" % (
            plan.end, format_reach(control)) if control and \
        control.reached else \
        "with ttl %d other probes get to a router only" % plan.end


def select_control(plan, controls):
    """Return the control to speak of: the one that shows a forgery, else
    the one that got farthest; None if there is none."""
    if FORGED in plan.full.answer.notes:
        controls = [control for control in controls
                    if arrival(plan, control)] or controls
    return max(controls, key=lambda control: (
        control.reached, control.last_heard and control.last_heard.ttl or 0)
        ) if controls else None


def reached_facts(target, answer):
    """Return what the sentence of a reached destination says."""
    if answer.outcome == "data":
        what = describe_data(target, answer.data or b"")
    elif answer.outcome == "echo-reply":
        what = "an echo reply"
    elif answer.outcome == "refused" and answer.address is None:
        what = (", or a router on the way did: who said so is not visible "
                "to this user")
    elif answer.icmp_type is not None:
        what = " (%s)" % format_icmp(target.family.version, answer)
    else:
        what = ""
    return {"what": what}


def format_mixed(plan):
    """Return a clause about what contradicts a reached destination."""
    if RESET in plan.full.answer.notes:
        return "; but " + RESET
    limited = plan.end and plan.states[plan.end - plan.first].outcome
    if limited == "reset":
        return "; but a device on the way reset the probe with ttl %d" % \
            plan.end
    if plan.agreed and limited != plan.full.outcome:
        return "; but it refused further connections meanwhile"
    if plan.lost and plan.end is not None:
        return "; but from ttl %d on further connections were refused, by " \
            "it or by a device on the way" % plan.end
    others = sorted(set(
        answer.address or "?" for state in [plan.full] + plan.states
        for answer in state.answers
        if answer.outcome in ("prohibited", "unreachable")))
    return "; but %s refused some of the probes" % " and ".join(others) \
        if others else ""


def dropped_facts(target, method, plan, control=None):
    """Return where a probe was last heard of, and what that means."""
    heard = [state for state in plan.states if state.ttl == plan.heard and
             state.outcome == "time-exceeded"]
    beyond = first_beyond(plan, control)
    place = "hop %d (%s)" % (
        plan.heard, heard[0].answer.address or "not visible") if heard \
        else "this host"
    where = "after " + place if heard or plan.first == 1 and \
        not plan.blind else "on the way" + ", or not answered" * plan.blind
    if beyond and not other_routers(plan, control):
        where = "between %s and %s" % (
            place, "%s itself, hop %d" % (beyond.address, beyond.ttl)
            if beyond.reached else
            "hop %d (%s)" % (beyond.ttl, beyond.address))
    why = explain_loss(target, method, plan, control, beyond, heard)
    if beyond and not heard:
        why += "; perhaps this host's own firewall drops it"
    if method == "udp" and not control:
        why += ", or the service says nothing to such a probe"
    return {"where": where, "why": why}


def explain_loss(target, method, plan, control, beyond, heard):
    """Return what the silence behind the last hop heard means."""
    if plan.heard == plan.last:
        return "the path is longer than that or loops (see -m), and %s did " \
            "not answer" % target.address
    if plan.blind and control and control.reached:
        return format_reach(control)
    if control and (beyond or heard):
        return (format_reach(control) + (
            "; or its answers are lost on the way back" if
            beyond.reached and method == "tcp" else "") if beyond else
            "%s gets no farther, so the path itself ends there, or the "
            "host is down" % control.label) + other_routers(plan, control)
    if heard:
        return "neither %s nor any hop behind that one answered" % \
            target.address
    if plan.blind:
        return "where is not visible here"
    if plan.first > 1:
        return "no hop from %d to %d answered: it is dropped before, or " \
            "they limit their ICMP%s" % (
                plan.first, plan.horizon,
                "; " + format_reach(control) if control else "")
    return "no hop answered at all, not even the first; look at this " \
        "host's own firewall and gateway first"


def place_of(answer, plan):
    """Return the ttl of the hop that an answer came from, as far as known:
    a router filters behind its own ttl check, so it first answers for the
    port one ttl later than as a hop."""
    for state in plan.states:
        for known in state.answers:
            if answer.address and known.address == answer.address and \
                    known.outcome == "time-exceeded":
                return state.ttl
    return plan.end if plan.end == 1 or any(
        state.heard for state in plan.states
        if state.ttl + 1 == plan.end) else None


def format_who(address, ttl, target):
    if address == target.address:
        return address + " itself"
    return "%s at hop %s" % (address, ttl) if ttl else address


class Trace(object):
    """The result of a whole trace.

    destination, address, method, port, source_address, mechanism, privileged
    verdict     a key of VERDICTS; None if the trace was interrupted before
                one was due
    summary     the verdict as a sentence
    reached     True if the destination accepted, refused or replied
    distance    hops to the destination, None if not known
    rtt         seconds to the destination, None if not known
    responder   address that decided the verdict, or None
    blocked_after, blocked_before   {"ttl": 4, "address": "10.1.4.1"} or None
    banner      octets that the service sent, or None
    hops        list of Hop
    elapsed     seconds the trace took
    error       why nothing could be sent, or None
    findings    list of {"kind", "hop", "text"}: what else was noticed; hop
                is a ttl, or None
    path_mtu    octets of the largest packet that gets to the destination;
                None if that was not asked (--mtu) or is not known
    """

    def __init__(self, traceroute, plan, hops, elapsed, complete=True,
                 control=()):
        target = traceroute.target
        self.destination = traceroute.destination
        self.address = target.address
        self.version = target.family.version
        self.method = traceroute.proto
        self.port = traceroute.port
        self.source_address = target.own_address
        self.source_port, self.flow = target.source_port, traceroute.flow
        self.mechanism = traceroute.mechanism_name
        self.privileged = traceroute.privileged
        self.hops = hops
        self.complete = complete
        self.findings = []
        self.path_mtu = None
        self.elapsed = elapsed
        self.label = traceroute.label
        self.control = list(control)
        best = select_control(plan, self.control)
        verdict, facts, self.responder, ttl = decide(
            target, self.method, plan, best)
        if facts.get("loop"):
            self.find("loop", facts["why"], facts["loop"])
        self.reached = verdict in REACHED_VERDICTS.values()
        self.verdict = verdict if complete or self.reached else None
        self.distance = self.known_distance(plan) if self.reached else None
        answers = [answer for answer in plan.full.answers or
                   (hops[-1].answers if hops else ())
                   if OUTCOMES[answer.outcome].reached]
        self.rtt = answers[0].rtt if answers else None
        self.banner = answers[0].data if answers else None
        self.error = facts.get("why") if verdict == "error" else None
        self.blocked_after = self.blocked_before = None
        if self.verdict in ("dropped", "rejected", "unreachable", "reset"):
            # By whom?  If that is not known, there is no place.
            unknown = verdict in ("rejected", "unreachable") and not (
                self.responder or FORGED in plan.full.answer.notes)
            self.blocked_after = None if unknown else self.last_hop(plan,
                                                                    ttl)
            beyond = None
            if verdict == "reset":
                beyond = arrival(plan, best)
            elif verdict == "dropped" and best and not (
                    self.findings or other_routers(plan, best)):
                beyond = first_beyond(plan, best)
            if beyond:
                self.blocked_before = {"ttl": beyond.ttl,
                                       "address": beyond.address}
        self.away = self.format_away(plan)
        self.facts, self.blocked_at = facts, plan.end or plan.last + 1
        facts.update(label=self.label, away=self.away,
                     hint=format_silence(target, self.control))
        facts.setdefault("address", self.address)
        if "proxy" in facts:
            self.find("proxy", "%s answers for %s (transparent proxy): %s" % (
                facts["proxy"], self.address, format_reach(best)), plan.end)
        self.summary = VERDICTS[verdict].format(**facts) if self.verdict \
            else "No verdict yet: %s" % (
                "no hop has answered so far" if plan.heard < plan.first else
                "so far hop %d is the last that answered" % plan.heard)

    def find(self, kind, text, hop=None):
        """Add a finding."""
        self.findings.append({"kind": kind, "hop": hop, "text": text})

    @property
    def last_heard(self):
        """The last Hop that answered, or None."""
        heard = [hop for hop in self.hops if hop.address]
        return heard[-1] if heard else None

    @staticmethod
    def known_distance(plan):
        """Return the smallest ttl that reached; None if a smaller one might
        have, had it been tried or answered."""
        end = plan.end
        if plan.lost or end is None or end == plan.first != 1:
            return None
        if end == 1:
            return end
        before = plan.states[end - 1 - plan.first]
        # A host may limit the ICMP errors it sends, so that a nearer probe
        # reached it without a word; an answer may be lost once or twice,
        # and where others were, perhaps three times.
        silent = before.outcome == "timeout" and sum(
            not probe.gone for probe in before.probes) > 2 and \
            plan.states[end - plan.first].outcome != "port-unreachable" and \
            not any("try" in "".join(answer.notes)
                    for state in [plan.full] + plan.states
                    for answer in state.answers)
        return end if silent or before.outcome == "time-exceeded" else None

    def format_away(self, plan):
        """Return how far the destination is, as far as that is known."""
        if not self.reached or not plan.states:
            return ""
        if self.distance is not None:
            return ", %d hop%s away" % (self.distance,
                                        "s"[:self.distance != 1])
        if plan.end is not None and not plan.lost:
            return ", at most %d hops away" % plan.end
        if self.verdict and self.complete:
            count = plan.heard if plan.end is None else plan.end - (
                plan.states[plan.end - plan.first].outcome != "reset")
            return ", more than %d hop%s away" % (count, "s"[:count != 1])
        return ""

    @staticmethod
    def last_hop(plan, ttl):
        """Return the blocking hop, or the last that answered before it."""
        for state in reversed(plan.states):
            if state.answers and state.ttl <= (ttl or plan.heard) and \
                    state.outcome == "time-exceeded":
                return {"ttl": state.ttl,
                        "address": state.answers[0].address}
        return None

    @property
    def exit_status(self):
        """0 reached, 1 not reached, 2 nothing could be sent."""
        return 0 if self.reached else 2 if self.verdict == "error" else 1

    def as_dict(self):
        """Return the trace as plain data for JSON."""
        return {
            "destination": format_text(self.destination),
            "address": self.address, "family": self.version,
            "method": self.method, "port": self.port,
            "source_address": self.source_address,
            "source_port": self.source_port,
            "mechanism": self.mechanism, "privileged": self.privileged,
            "reached": self.reached, "verdict": self.verdict,
            "summary": self.summary, "distance": self.distance,
            "rtt_ms": format_ms(self.rtt), "responder": self.responder,
            "blocked_after": self.blocked_after,
            "blocked_before": self.blocked_before,
            "banner": self.banner and self.banner.decode("latin-1"),
            "elapsed_ms": format_ms(self.elapsed), "error": self.error,
            "hops": [hop.as_dict() for hop in self.hops],
            "control": [other.as_dict() for other in self.control],
            "findings": list(self.findings), "path_mtu": self.path_mtu}


# ---------------------------------------------------------------------------
# 13 Control (diagnosis by comparison)
# ---------------------------------------------------------------------------

class Control(object):
    """The same path probed by other means, to compare with.

    A trace of its own when the port says nothing for a quarter of the wait,
    or a router refuses it: how far does something else get?  A check when
    the destination is said to refuse: does something else, sent with the
    same ttl, get there too?  If a router answers that instead, the refusal
    was forged on the way.

    A datagram to a closed port comes late when the port under test is UDP:
    its answer may cost that port its own, where a host limits them.
    """

    # When to try what, in parts of the wait
    STEPS = {"tcp": ((0.25, "icmp"), (0.5, "udp")),
             "udp": ((0.25, "icmp"), (0.75, "udp")),
             "icmp": ((0.25, "udp"), (0.5, "tcp"))}
    PORTS = {"icmp": (None, None), "udp": (33434, 33435), "tcp": (443, 80)}

    def __init__(self, traceroute):
        self.traceroute = traceroute
        self.began = monotonic()
        chosen, self.port = decode_control(traceroute.options.control)
        self.asked_for = chosen in METHODS
        self.kinds = {"auto": ("icmp", "udp"), "none": ()}.get(
            chosen, (chosen,))
        self.steps = [(0, chosen)] if self.asked_for else \
            list(self.STEPS[traceroute.proto]) if self.kinds else []
        self.traces = []        # (Traceroute, Plan)
        self.checks = []        # the same; of one ttl each
        self.full_checks = []   # the same, of the system's own ttl

    def consider(self, engine, plan):
        """Start what is due; return True while it is worth waiting for."""
        if FORGED in plan.full.answer.notes:
            self.denounce(plan)         # what has come since
        if plan.full.reached and not (
                self.asked_for or self.kinds and
                self.traceroute.options.verbose):
            return self.consider_check(engine, plan)
        main = self.traceroute
        wait = main.options.wait_time
        part = (monotonic() - self.began) / wait
        reached = any(other.full.reached for _, other in self.traces)
        refused = plan.full.final and (
            plan.end is not None or plan.full.answer.icmp_type is None)
        while self.steps and plan.full.probes and \
                not (reached and self.steps[0][1] != main.proto) and \
                plan.full.outcome != "send-failed" and \
                (part >= self.steps[0][0] or refused):
            due, name = self.steps.pop(0)
            options = main.options
            # If it is known how far the host is, what it says is enough.
            if self.start(engine, self.traces, name, options.first_hop,
                          0 if reached else options.max_hops,
                          min(wait, wait * (1.25 - due))):
                break
        for _, other in self.traces:
            self.compare(plan, other)
        return not all(other.done for _, other in self.traces) or \
            plan.full.reached and self.consider_check(engine, plan)

    @staticmethod
    def compare(plan, other):
        """Doubt the hops that answered only the control: each may be a
        router that limits its ICMP to one a second, and has spent it."""
        heard = plan.heard
        for state in plan.states:
            if heard < state.ttl <= min(heard + 5, other.last):
                twin = other.states[state.ttl - other.first]
                if twin.outcome == "time-exceeded":
                    plan.doubt(state, twin.probes[-1].sent + 1.1)

    def consider_check(self, engine, plan):
        """The same for a refusal in the destination's name."""
        full = plan.full
        if full.outcome == "port-unreachable" and plan.end is None:
            # It may limit them to one a second, and this was the one.
            heard = plan.heard
            for state in plan.states:
                if heard < state.ttl <= heard + 2:
                    plan.doubt(state, full.probes[-1].sent +
                               1.1 * (state.ttl - heard))
        if plan.end is None or not (plan.lost or full.outcome in (
                "refused", "port-unreachable")):
            return False
        if plan.end not in [other.first for _, other in self.checks]:
            del self.checks[:]
            limit = max(0.3, 4 * (plan.slowest or 0))
            for name in self.kinds:     # UDP on several paths, if there are
                self.start(engine, self.checks, name, plan.end, plan.end,
                           min(limit, self.traceroute.options.wait_time),
                           1 if name == "icmp" else 4)
        states = [other.states[0] for _, other in self.checks]
        if any(state.reached for state in states):
            plan.agreed = True
            return False
        if not all(state.settled for state in states):
            return True
        before = [state.answer.address for state in plan.states
                  if state.ttl == plan.end - 1]
        if any(state.outcome == "time-exceeded" for state in states + [
                other.states[plan.end - other.first]
                for _, other in self.traces if plan.end <= other.last and
                before == [state.answer.address for state in other.states
                           if state.ttl == plan.end - 1]]):
            self.denounce(plan)
            return False
        return bool(states) and self.consider_silence(engine, plan, states)

    def consider_silence(self, engine, plan, states):
        """When nothing is answered with the ttl of the refusal: does a full
        ttl get there?  Then it was forged in front of a silent router,
        unless the host only limits its answers to one a second."""
        for name in () if self.full_checks else self.kinds:
            self.start(engine, self.full_checks, name, 1, 0,
                       self.checks[0][1].wait)
        reached = [other.full for _, other in self.full_checks
                   if other.full.reached]
        if not reached:
            return not all(other.full.settled
                           for _, other in self.full_checks)
        for _, other in self.checks:
            other.doubt(other.states[0], reached[0].probes[-1].sent + 1.1)
        if not all(state.settled for state in states):
            return True
        self.denounce(plan)
        return False

    def denounce(self, plan):
        """What came in the destination's name did not come from it."""
        words = {"refused": "reset" if self.traceroute.proto == "tcp" else
                 "prohibited", "port-unreachable": "prohibited"}
        for state in [plan.full] + plan.states:
            state.answers[:] = [answer._replace(
                outcome=words[answer.outcome], notes=answer.notes + (FORGED,))
                if answer.outcome in words else answer
                for answer in state.answers]

    def start(self, engine, where, name, first, last, wait, queries=1):
        """Begin to probe by another method; return True if it can be."""
        main, port = self.traceroute, self.port
        if port is None:
            port = self.PORTS[name][main.port == self.PORTS[name][0]]
        other = main.sibling(name, port, payload=None, source_port=None)
        try:
            method = other.new_method(engine)
        except RunError:
            return False
        plan = Plan(first, last, wait, queries, main.options.retries,
                    main.options.gap_limit, main.options.parallel,
                    0 if method.connects else None)
        plan.most = method.most
        engine.add(method, plan)
        where.append((other, plan))
        return True

    def results(self, elapsed, checks_only=False):
        """Return the Traces that were made; a check that showed a forgery
        counts as one."""
        found = []
        for other, plan in ([] if checks_only else self.traces) + [
                check for check in self.checks
                if check[1].states[0].outcome == "time-exceeded"] + [
                    check for check in self.full_checks
                    if check[1].full.reached]:
            found.append(Trace(other, plan, other.make_hops(plan), elapsed))
        return found


# ---------------------------------------------------------------------------
# 14 Several ports
# ---------------------------------------------------------------------------

class PortRun(object):
    """One more port: what is under way, and what is known of it."""

    def __init__(self, traceroute, engine=None):
        self.traceroute = traceroute
        self.plan = traceroute.new_plan()       # the full ttl, for now
        self.entry = None
        self.edge = None        # the ttl at which it should end
        self.control = None     # a Control, once the whole path is probed
        self.began = monotonic()
        self.elapsed = None     # seconds, once it is done
        self.asked = 0          # the ttl at which it was verified
        self.proven = False     # no limit of ICMP feigns its place
        if engine:
            engine.add(traceroute.new_method(engine), self.plan)
            self.entry = engine.runs[-1]

    def widen(self, checks):
        """Probe the whole path: what is known of it does not fit."""
        options = self.traceroute.options
        self.control = Control(self.traceroute)
        self.control.steps, self.control.checks = [], list(checks)
        self.plan.look(options.first_hop, options.max_hops)

    @property
    def fits(self):
        """True if the port ends where it should."""
        if self.plan.full.final:
            return self.plan.end == self.edge and not self.plan.lost
        return self.plan.heard < self.edge


class Ports(object):
    """Further ports of the same host, probed in the same event loop.

    Each is asked once with the system's own ttl, then at two ttls only:
    where it should end, judged by what else has come there, and one less.
    If it does not fit, the whole path is probed for it.  So a thousand
    ports do not use up what the routers allow themselves to say.
    """

    IN_FLIGHT = 64

    def __init__(self, lead):
        self.lead = lead
        self.waiting = [lead.sibling(lead.proto, port)
                        for port in lead.ports[1:]]
        self.runs, self.pairs = [], []
        self.scout = None       # the Plan that shows where silence begins

    def consider(self, engine, plan, control, done):
        """Start and look after them; return True until all are done.

        plan and control are those of the first port, which may be done.
        """
        peers = list(control.traces)
        self.done, self.checks, self.lead_plan = done, control.checks, plan
        if plan.full.reached and (done or plan.full.outcome == "open"):
            peers.append((self.lead, plan))     # a refusal is checked first
        flying = [run for run in self.runs if run.elapsed is None]
        while self.waiting and len(flying) < self.IN_FLIGHT and \
                plan.full.probes:
            try:
                flying.append(PortRun(self.waiting[0], engine))
            except RunError:
                if not flying:
                    raise
                break           # for want of a file
            self.runs.append(flying[-1])
            del self.waiting[0]
        for run in flying:
            self.look_after(engine, run, plan, peers)
        if not flying and done:
            flying = self.verify(engine, peers)
        return bool(flying)

    def verify(self, engine, peers):
        """Return what is under way to tell ports that come less far than
        others from those that met with a limit of ICMP just used up: the
        next hop is asked by the port, then at once by what gets there."""
        if any(not plan.done for _, _, plans in self.pairs for plan in plans):
            return self.pairs
        for run, entries, (ours, theirs) in self.pairs:
            for entry in entries:
                engine.retire(entry)
            run.proven = ours.heard < ours.first <= theirs.heard
            if run.proven and run.plan.heard < run.plan.first != 1:
                run.elapsed, run.proven = None, False
                engine.runs.append(run.entry)
                run.widen(self.checks)
        self.pairs = []
        for run in self.doubtful()[:8]:
            ttl = run.asked = run.plan.heard + 1
            able = [(other, plan) for other, plan in peers
                    if plan.first <= ttl <= plan.last and plan.states[
                        ttl - plan.first].outcome == "time-exceeded"]
            if not able:
                continue
            self.pairs.append((run, [], []))
            for other in run.traceroute, able[0][0]:
                plan = Plan(ttl, ttl, min(run.plan.wait, max(
                    0.3, 4 * (able[0][1].slowest or 0))), 1, 0)
                plan.full.settled = True
                engine.add(other.new_method(engine), plan)
                self.pairs[-1][1].append(engine.runs[-1])
                self.pairs[-1][2].append(plan)
        return self.pairs or [run for run in self.runs if not run.elapsed]

    def doubtful(self):
        """Return the runs that came less far than others, not yet asked."""
        return [run for run in self.runs if not (
            run.proven or run.plan.full.final or
            run.plan.full.outcome == "send-failed" or
            run.asked == run.plan.heard + 1) and run.plan.heard < self.most]

    @property
    def most(self):
        """The ttl up to which what is lost gets."""
        return max([0] + [plan.heard for plan in [self.lead_plan] + [
            run.plan for run in self.runs] if not plan.full.final])

    def look_after(self, engine, run, lead_plan, peers):
        plan = run.plan
        if run.edge is None and not run.control:
            edge = self.expect(engine, run, lead_plan, peers)
            if edge is None and not (plan.done and self.done):
                return
            if edge:
                run.edge = edge
                plan.look(max(run.traceroute.options.first_hop, edge - 1),
                          edge)
            else:
                run.widen(self.checks)
        if run.control:
            run.control.traces = peers
        else:
            for _, other in peers:
                Control.compare(plan, other)
            if plan.done and not run.fits:
                run.widen(self.checks)
        busy = run.control and run.control.consider(engine, plan)
        if plan.done and not busy:
            run.elapsed = monotonic() - run.began
            engine.retire(run.entry)

    def expect(self, engine, run, lead_plan, peers):
        """Return the ttl at which the port should end, 0 if the whole path
        has to be probed, None if that is not known yet."""
        full, last = run.plan.full, run.traceroute.options.max_hops
        if full.reached:
            ends = [plan.end for _, plan in peers
                    if plan.full.reached and plan.end and not plan.lost]
            return min(ends) if ends else None
        if full.final:
            places = [state.ttl for _, plan in peers for state in plan.states
                      if state.answer.address == full.answer.address and
                      state.outcome == "time-exceeded"]
            return min(places[0] + 1, last) if places else 0
        if not full.probes or full.outcome == "send-failed":
            return None
        part = (engine.clock() - full.probes[0].sent) / run.plan.wait
        if self.scout is None or self.scout.full.final:
            self.scout = run.plan if lead_plan.full.final else lead_plan
        if part < (0.25 if self.scout is run.plan else 0.5):
            return None
        return 0 if self.scout is run.plan else min(self.scout.heard + 1,
                                                    last)

    @staticmethod
    def compare(results):
        """Add what the Traces say together to the first of them."""
        said = [each for each in results if each.verdict in (
            "refused", "rejected", "unreachable") and each.hops and
            each.hops[-1].icmp_type]
        silent = [each for each in results if not each.blocked_before and
                  each.verdict in ("dropped", "silent")]
        if silent and len(said) > 1:
            results[0].find("limit", "who answers by ICMP (%s) may limit how "
                            "often: if in doubt, probe port%s %s alone" % (
                                said[0].verdict, "s"[:len(silent) > 1],
                                format_ports(each.port for each in silent)))

    def results(self, controls):
        """Return the Traces of all, in the order asked for; controls are
        the Traces to compare with."""
        found, most = [], self.runs and self.most
        for run in self.runs + [PortRun(other) for other in self.waiting]:
            other, plan = run.traceroute, run.plan
            plan.unsure = plan.heard < most and not run.proven
            plan.blind = self.lead_plan.blind
            if plan.blind and any(each.reached and each.distance == plan.end
                                  for each in controls):
                plan.agreed = True      # with this ttl they get there
            done = run.elapsed is not None
            found.append(Trace(
                other, plan, other.make_hops(plan), run.elapsed if done else
                monotonic() - run.began, done, controls + (
                    run.control.results(0, True) if run.control else [])))
        return found


class Flows(Ports):
    """The same port from further source ports, the whole path for each:
    what shares a load balancer's way with the first, and what does not."""

    def __init__(self, lead):
        Ports.__init__(self, lead)
        for number, port in enumerate(lead.flows[1:], 2):
            other = lead.sibling(lead.proto, lead.port, source_port=port)
            other.set_flow(port or number)
            self.waiting.append(other)

    def expect(self, engine, run, lead_plan, peers):
        return 0

    def verify(self, engine, peers):
        return []       # the next hop of another flow may be another

    @staticmethod
    def compare(results):
        """Add where the paths part and join to the first Trace."""
        routers = [dict((hop.ttl, hop.address) for hop in each.hops
                        if hop.outcome == "time-exceeded")
                   for each in results]
        lost = [each for each in results if not each.reached]
        parted, before = {}, ""
        for ttl in sorted(set(sum(map(list, routers), []))):
            ways, going = {}, []
            for known, each in zip(routers, results):
                if ttl in known:
                    ways.setdefault(known[ttl], []).append(each)
                if each.reached or known and max(known) >= ttl:
                    going.append(each)
            places = ["%s (%s)" % (address, format_flows(ways[address]))
                      for address in sorted(ways)]
            heard = sum(map(len, ways.values()))
            text = ""
            if len(ways) > 1:
                text = "hop %d is %s" % (ttl, " and ".join(places))
                if not parted:
                    text = "the flows part%s: %s" % (before, text)
                    if lost in ways.values() and heard == len(results) and \
                            all(each.verdict for each in lost):
                        text += "; not reached: " + format_flows(lost)
                parted = ways
            elif heard == len(going):   # silence would prove nothing
                before = " after hop %d (%s)" % (ttl, list(ways)[0])
                if sum(bool(set(each) & set(going))
                       for each in parted.values()) > 1:
                    text = "%s join at hop %d (%s)" % (
                        format_flows(going), ttl, list(ways)[0])
                parted = {}
            if text:
                results[0].find("flows", text, ttl)


def format_flows(results):
    return "flow%s %s" % ("s"[:len(results) > 1], format_ports(
        each.flow for each in results))


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


# ---------------------------------------------------------------------------
# 15 Who sent the reset
# ---------------------------------------------------------------------------

def count_back(reply_ttl):
    """Return how many routers a reply has passed, if it began with one of
    the usual ttls."""
    return min(start - reply_ttl for start in (64, 128, 255)
               if start >= reply_ttl)


def name_forger(traceroute, trace):
    """Say which of two hops a reset came from, if its ttl can tell."""
    if trace.verdict != "reset" or not trace.blocked_before:
        return
    ttl = trace.blocked_before["ttl"]
    near, far, reset = [[hop for each in traces for hop in each.hops
                         if hop.ttl == place and hop.outcome == outcome and
                         hop.reply_ttl]
                        for traces, place, outcome in (
                            ([trace], ttl - 1, "time-exceeded"),
                            (trace.control, ttl, "time-exceeded"),
                            ([trace], ttl, "reset"))]
    if not near or not far or \
            count_back(near[0].reply_ttl) == count_back(far[0].reply_ttl):
        return
    reply_ttl = reset[0].reply_ttl if reset else measure_reset_ttl(
        traceroute, ttl, 0.2 + 3 * max(hop.rtt or 0 for hop in near + far)) \
        if trace is traceroute.result else None
    place = reply_ttl and {
        count_back(near[0].reply_ttl): "at hop %d (%s)" % (
            ttl - 1, near[0].address),
        count_back(far[0].reply_ttl): "at hop %d (%s) or just before it" % (
            ttl, far[0].address)}.get(count_back(reply_ttl))
    if place:
        trace.facts["where"] = place
        trace.facts["why"] += ", and the reset arrives with ttl %d" % (
            reply_ttl)
        trace.summary = VERDICTS["reset"].format(**trace.facts)


def measure_reset_ttl(traceroute, ttl, wait):
    """Return the ttl with which the port's resets arrive, None if they no
    longer do, or this is not Linux: more and more of them are shut out
    (ip(7) IP_MINTTL, IPV6_MINHOPCOUNT).  ttl: that of the SYNs, which get as
    far as the device and not to the host; wait: seconds for a reset."""
    low, high = 0, 256          # a reset passes the one, not the other
    for step in (16, 1, 1) * LINUX:     # twice, lest a lost packet misleads
        passed = resets_above(traceroute, ttl, wait,
                              range(low + step, high, step))
        low = max(passed + [low])
        high = high if step == 1 else min(low + step, high)
    return low or None


def new_tcp(traceroute):
    """Return a TCP method for connections of our own."""
    return METHODS["tcp"](traceroute.target._replace(source_port=None),
                          Mechanism())


def resets_above(traceroute, ttl, wait, limits):
    """Return those of the limits for a ttl that the port's resets pass."""
    family = traceroute.target.family
    method = new_tcp(traceroute)
    poller, trying, passed = Poller(), {}, []
    until = monotonic() + wait
    try:
        for limit in limits:
            sock = method.open_socket(socket.SOCK_STREAM)
            trying[sock.fileno()] = sock, limit
            method.set_ttl(sock, ttl)
            sock.setsockopt(family.level, 21 if family.version == 4 else 73,
                            limit)
            if sock.connect_ex(traceroute.target.sockaddr) == \
                    errno.ECONNREFUSED:
                passed.append(limit)
            else:
                poller.add(sock.fileno(), write=True)
        while len(passed) < len(trying) and monotonic() < until:
            for number in (traceroute.guard or wait_for)(
                    poller.wait, until - monotonic()):
                poller.remove(number)
                sock, limit = trying[number]
                if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == \
                        errno.ECONNREFUSED:
                    passed.append(limit)
    except socket.error:
        pass                    # as far as we have come
    finally:
        for sock, _ in trying.values():
            sock.close()
    return passed


# ---------------------------------------------------------------------------
# 16 What changed on the way
# ---------------------------------------------------------------------------

def note_quote(answer, target):
    """Return an Answer with notes on what is odd in its quote."""
    quoted, notes = answer.quoted or NOTHING_QUOTED, answer.notes
    if quoted.source not in (None, target.own_address):
        notes += ("quotes %s as the source: NAT on the way" % quoted.source,)
    if quoted.ttl not in (None, 1) and answer.outcome == "time-exceeded":
        notes += ("quotes a ttl of %d, not 1: MPLS hides hops there, "
                  "or a router miscounts" % quoted.ttl,)
    return answer._replace(notes=notes)


def check_quotes(traceroute, trace):
    """What the hops' notes say of NAT, and of hops that are not counted."""
    for kind, word in (("nat", "NAT"), ("quoted-ttl", "a ttl of")):
        for hop, note in [(hop, note) for hop in trace.hops
                          for note in hop.answer.notes if word in note][:1]:
            trace.find(kind, format_hop(hop) + " " + note, hop.ttl)


def check_tos(traceroute, trace):
    """Where the TOS byte is rewritten: a router that does so may quote the
    old or the new one.  Linux keeps TCP's ECN bits to itself."""
    tos = traceroute.options.tos & (252 if trace.method == "tcp" else 255)
    before, hops = "this host", [hop for hop in trace.hops if
                                 hop.quoted.tos is not None]
    seen = [hop.quoted.tos for hop in hops]
    for place, hop in enumerate(hops):
        if tos not in seen[place:]:
            trace.find("tos", "the TOS byte 0x%02x becomes 0x%02x from %s "
                       "on: rewritten there or after %s%s" % (
                           tos, seen[place], format_hop(hop), before,
                           ", or never set by this system" * (not (
                               place or LINUX))), hop.ttl)
            tos = seen[place]
        before = format_hop(hop)


def lone_hops(trace):
    """Return the hops that answered, but those that did so at two ttls."""
    seen = [hop.address for hop in trace.hops]
    return [hop for hop in trace.hops if hop.address and
            seen.count(hop.address) == 1]


def check_way_back(traceroute, trace):
    """Is the way back, which is what the reply ttl lost of the initial one,
    clearly longer or shorter?  From inside an MPLS tunnel it always is."""
    odd = []
    for hop in lone_hops(trace):
        if hop.reply_ttl is not None and not (hop.labels or hop.more):
            back = min((start - hop.reply_ttl + 1 for start in
                        (32, 64, 128, 255) if start >= hop.reply_ttl),
                       key=lambda length: abs(length - hop.ttl))
            odd = odd + [(hop, back)] if abs(back - hop.ttl) > 3 else []
    for hop, back in odd[:-1][:1]:
        trace.find("asymmetric", "replies from %s on come back over about "
                   "%d hops, not %d: past hidden hops, or by another way "
                   "with other firewalls" % (format_hop(hop), back, hop.ttl),
                   hop.ttl)


def check_loss(traceroute, trace):
    """A router that limits its ICMP, as against loss: by what the hops
    behind it answer.  A port-unreachable may be limited, too."""
    found, sound, behind = [], 0, 0
    for hop in reversed(lone_hops(trace)):
        if hop.lost and not sound or hop.lost > 1 and sound > 4:
            found.insert(0, hop)
            behind = sound
        elif hop.lost or found and not behind:
            break
        else:
            sound += hop.sent
    if not found or not behind and (
            traceroute.options.queries < 3 or len(found) < 2 or
            not found[-1].reached or found[-1].outcome[:4] == "port" or
            sum(hop.lost for hop in found) < 3):
        return
    trace.find("rate-limit" if behind else "loss", "%s: %s" % (
        ", ".join("%s answered %d of %d probes" % (
            format_hop(hop), hop.sent - hop.lost, hop.sent)
            for hop in found), "ICMP is limited there rather than lost: "
        "all %d probes to what lies behind were answered" % behind
        if behind else "packets are lost on the way (--flows=8 tells if on "
        "one path only)"), found[0].ttl)


def find_nat(traceroute, result):
    """Tell of the address that a STUN server sees, if it is not ours."""
    seen = decode_outside(traceroute.target, result.banner or b"")
    if seen and seen[0] != result.source_address:
        result.find("nat", "NAT on the way: %s sees %s as %s" % (
            result.address, result.source_address, seen[0]))


# ---------------------------------------------------------------------------
# 17 Names and lines
# ---------------------------------------------------------------------------

def run_beside(function, *args):
    """Run a blocking function in a daemon thread.

    Returns a list that will hold its result, or the exception it raised.
    """
    import threading
    result = []

    def work():
        try:
            result.append(function(*args))
        except Exception as error:
            result.append(error)

    thread = threading.Thread(target=work)
    thread.daemon = True
    thread.start()
    return result


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
        self.asked = {}         # address -> (when, result list)
        self.answered = self.dead = False

    def ask(self, address):
        if address and address not in self.asked:
            self.asked[address] = self.clock(), \
                [None] if self.dead else run_beside(self.lookup, address)

    def known(self, address):
        """Return True if there is nothing left to wait for."""
        if not address:
            return True
        self.ask(address)
        when, result = self.asked[address]
        if result:
            self.answered = self.answered or not self.dead
            return True
        if self.clock() >= when + self.LIMIT:
            self.dead = not self.answered
            return True
        return self.dead

    def get(self, address):
        """Return the name, or None."""
        result = self.asked.get(address, (0, ()))[1]
        if result and not isinstance(result[0], Exception):
            return result[0]
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
# 18 Inside the session (what becomes of a request)
# ---------------------------------------------------------------------------

LOST = ("reset", "silent", "rejected")
PADDING = 1450          # octets with which a request needs two packets
# Ciphers; extensions: groups, signatures, ALPN, versions, key share
HELLO = ("000e130113021303c02bc02fc030009c0100",
         "000a00060004001d0017000d000a000804030804040105010010000e000c0268"
         "3208687474702f312e31002b00050403040303003300260024001d0020")


def encode_hello(name, padding=0):
    """Return a TLS ClientHello (RFC 8446 4.1.2, 6066 3, 7685)."""
    def vector(data):
        return struct.pack("!H", len(data)) + data
    ciphers, extensions = [bytes(bytearray.fromhex(text)) for text in HELLO]
    extensions += os.urandom(32) + b"\0\x15" + vector(b"\0" * padding)
    if name:
        extensions = b"\0\0" + vector(vector(b"\0" + vector(name))) + \
            extensions
    return b"\x16\3\1" + vector(b"\1\0" + vector(
        b"\3\3" + os.urandom(32) + b" " + os.urandom(32) + ciphers +
        vector(extensions)))


def encode_get(name, padding=0):
    """Return an HTTP request (RFC 9112 3)."""
    return b"GET / HTTP/1.1\r\nHost: " + name + b"\r\nConnection: close" \
        b"\r\nAccept: */*" + b" " * padding + b"\r\n\r\n"


REQUESTS = {"payload": ("Data of -P", None),
            "http": ("HTTP request", encode_get),
            "tls": ("TLS ClientHello", encode_hello)}


def choose_request(options, method, host="host"):
    """Return (a key of REQUESTS or None, the name to ask for)."""
    chosen = [kind for kind in ("payload", "http", "tls")
              if getattr(options, kind) not in (None, False)] or [None]
    kind, name = chosen[-1], b""
    if kind in ("tls", "http"):
        if chosen[1:] or method != "tcp" or options.source_port:
            raise OptionError("--%s does not go with -P, -S, -U, -I or "
                              "another request: choose one" % kind)
        text = getattr(options, kind)
        try:
            name = (host if text in ("", True) else text).rstrip(
                ".").encode("idna")
            if name[253:]:
                raise ValueError
        except (ValueError, AttributeError, TypeError):
            raise OptionError("--%s %s: not a host name" % (kind,
                                                            quote(text)))
        if kind == "tls" and (
                b":" in name or name.rpartition(b".")[2].isdigit()):
            name = b""                  # an address
    return kind, name


class Session(Probe):
    """A request with a ttl (0: the system's own) on a connection of its
    own; parts: its segments.

    outcome  answered, closed, reset, silent, unconnected; acknowledged and
             no more; greeted before; expired or rejected by an ICMP error
    """

    GRACE = 0.3         # seconds in which a nearer device has answered, too
    outcome = seen = ready = None
    mss = 0             # octets of a segment, as last sent (tcpi_snd_mss)

    def __init__(self, limit, parts, greets=False):
        Probe.__init__(self, 0, True)
        self.limit, self.parts, self.greets = limit, parts, greets

    def connect(self, method):
        """Return True once that is settled."""
        try:
            if self.sent is None:
                method.send(self)
            if not self.ready and not self.outcome:
                for reply in method.receive(self.sock, self):
                    self.ready = reply.kind == "accepted"
                    self.outcome = None if self.ready else "reset" if \
                        reply.error == errno.ECONNRESET else "unconnected"
        except socket.error:
            self.outcome = "unconnected"
        return self.ready or self.outcome

    def look(self, method):
        """Return True once the outcome is settled.  An ICMP error ends no
        connection: the kernel notes it and sends again, with this ttl."""
        if not self.ready or self.outcome:
            return True
        data, number = None, 0
        try:
            if self.greets:     # a later one would feign an answer
                self.outcome = None if self.sock.recv(BUFFER) else "closed"
                self.greets = False
                return self.outcome
            while self.parts:
                method.set_ttl(self.sock, self.limit or DEFAULT_TTL)
                self.sock.send(self.parts.pop(0))
            data = self.sock.recv(BUFFER)
        except socket.error as error:
            number = error.errno
            if number in (errno.EAGAIN, errno.EWOULDBLOCK):
                number = self.sock.getsockopt(socket.SOL_SOCKET,
                                              socket.SO_ERROR)
        if number in (errno.ECONNRESET, errno.EPIPE):
            self.outcome = "reset"
        elif data == b"":
            self.outcome = "closed"
        elif data and self.acknowledged(method) is not False:
            self.outcome, self.payload = "answered", data
        elif (data or number) and not self.seen:
            # What acknowledges a greeting expires, too: no proof.
            self.seen = self.limit and "greeted" if data else \
                "expired" if self.limit and number == errno.EHOSTUNREACH \
                else "rejected"
            self.heard = monotonic()
        return self.outcome or self.limit and self.seen and \
            monotonic() > self.heard + self.GRACE

    def acknowledged(self, method):
        """Return True if what was sent is (tcpi_unacked); None if that is
        not known."""
        info = method.read_info(self.sock)
        return info.unacked == 0 if info else None

    def close(self, method):
        """Close by a reset, with a ttl that gets it to the server."""
        if self.sock:
            self.outcome = self.outcome or (
                "unconnected" if self.parts else "acknowledged"
                if self.acknowledged(method) else self.seen or "silent")
            info = method.read_info(self.sock)
            self.mss = info.snd_mss if info else 0
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                 LINGER)
        self.real = False
        method.release(self)


def exchange(traceroute, requests, greets):
    """Return the Sessions of requests, (ttl, segments) each, to a service
    that speaks first or not.  All connect first: a device that saw a bad one
    may refuse what comes next."""
    method = new_tcp(traceroute)
    guard = traceroute.guard or wait_for
    options = traceroute.options
    sessions = [Session(*request, greets=greets) for request in requests]
    for start in range(0, len(sessions), options.parallel):
        # The full ttl first: some servers serve one at a time.
        group = sessions[start:start + options.parallel][::-1]
        try:
            for step in Session.connect, Session.look:
                end = monotonic() + options.wait_time
                while not all([step(session, method) for session in group]) \
                        and monotonic() < end:
                    guard(time.sleep, 0.01)
                    if group[-1].limit and group[0].outcome:
                        end = min(end, monotonic() + Session.GRACE)
        finally:
            for session in group:
                session.close(method)
    return sessions


def ask_each_ttl(traceroute, trace, octets, last):
    """Return the Sessions by ttls below `last`, one that sends nothing, and
    one with the full ttl."""
    before = None
    for _ in range(2):                  # once more, lest it be mere loss
        sessions = exchange(traceroute, [
            (ttl, [octets]) for ttl in range(1, last)] + [
                (0, []), (0, [octets])], trace.banner is not None)
        outcome = sessions[-1].outcome
        if before and outcome == "unconnected":
            trace.find("inside", "Since that request no connection comes "
                       "about: a device may have shut us out")
            sessions = before
        if outcome not in ("silent", "unconnected"):
            break
        before = outcome == "silent" and sessions
    return sessions[:-2], sessions[-2], sessions[-1]


def tells_segments(traceroute):
    """Return True if the kernel tells what is acknowledged."""
    method = new_tcp(traceroute)
    try:
        sock = method.open_socket(socket.SOCK_STREAM)
    except socket.error:        # no file is free
        return False
    try:
        return method.read_info(sock) is not None
    finally:
        sock.close()


def look_inside(traceroute, trace):
    """Say where a request is reset or swallowed, or what answers it."""
    from itertools import groupby
    kind, name = choose_request(traceroute.options, trace.method,
                                traceroute.destination)
    if trace.verdict != "open" or not kind or kind == "payload" and (
            traceroute.options.source_port or
            DATA_LOST not in trace.hops[-1].answer.notes):
        return
    what, encode = REQUESTS[kind]
    octets = encode(name) if encode else traceroute.target.payload
    what += " for " + format_text(name) if name else ""
    hops = [hop for hop in trace.hops if hop.outcome == "time-exceeded"]
    last = trace.distance or 1 + max([0] + [hop.ttl for hop in hops])
    if not tells_segments(traceroute):
        last = 0                # only the full ttl says something
    sessions, idle, full = ask_each_ttl(traceroute, trace, octets, last)
    outcome = full.outcome
    trace.find("inside", "%s: ttl %s" % (what, ", ".join(
        "%s %s" % (" ".join(str(session.limit or "full")
                            for session in group), word)
        for word, group in groupby(sessions + [full],
                                   lambda one: one.outcome))))
    for session in sessions:
        if session.outcome in ("answered", "acknowledged"):
            trace.find("proxy", "With ttl %d already it is %s: by a device "
                       "on the way, or by %s on a shorter path" % (
                           session.limit, session.outcome, trace.address),
                       session.limit)
            break
    if outcome == idle.outcome == "reset":
        trace.find("inside", "A connection without a request is reset, too")
        return
    if outcome in LOST:
        blame(trace, what, outcome, sessions, hops, last)
    elif outcome != "answered":
        trace.find("inside", {
            "acknowledged": "The request has arrived, but nothing answers "
            "it in time (-v looks for a proxy that took it)",
            "unconnected": "No further connection comes about: only few may "
            "be let in"}.get(outcome, "No answer"))
        return
    elif kind == "tls" and full.payload[:1] in (b"\x15", b"\x16"):
        shake_hands(traceroute, trace, name)
    else:
        trace.find(kind, "Answer: " + format_data(full.payload))
    if encode:
        vary_request(traceroute, trace, encode, name, outcome)


def blame(trace, what, outcome, sessions, hops, last=True):
    """Turn the verdict of the port into that of the request."""
    silent = outcome == "silent"
    word = "swallowed" if silent else outcome
    ttls = [session.limit for session in sessions
            if session.outcome == ("expired" if silent else outcome)]
    if not silent and not ttls and last:
        trace.find("inside", "It is %s by %s, or by a device %s" % (
            word, trace.address, "behind hop %d, or one that judges its "
            "answers" % len(sessions) if outcome == "reset" else
            "on the way, with an ICMP error"))
        return
    after = max([0] + ttls) if silent else (ttls or [1])[0] - 1
    trace.verdict, trace.reached = "dropped" if silent else outcome, False
    if not last or any(
            session.limit == after + silent and
            session.outcome == "unconnected" for session in sessions):
        trace.summary = "%s is %s on the way%s; %s is open" % (
            what, word, "" if last else ", or by the host: where is not "
            "visible here", trace.label)
        return
    known = [session.limit for session in sessions if not silent or
             session.outcome in ("expired", outcome)]   # not "greeted"
    hops = [{"ttl": hop.ttl, "address": hop.address} for hop in hops
            if hop.ttl in known] + [
                {"ttl": trace.distance, "address": trace.address}]
    before = [hop for hop in hops[:-1] if hop["ttl"] <= after]
    behind = hops[len(before)]
    place = "hop %d" % after if after else "this host"
    if before and before[-1]["ttl"] == after:
        place += " (%s)" % before[-1]["address"]
    trace.blocked_after = (before or [None])[-1]
    trace.blocked_before = behind
    trace.summary = "%s is %s %s; %s is open" % (
        what, word, "between %s and hop %s (%s)" % (
            place, behind["ttl"] or "?", behind["address"]) if silent else
        "at %s or just behind it" % place, trace.label)


def vary_request(traceroute, trace, encode, name, outcome):
    """Say whether it is the size, or the name."""
    other = b"example.com"
    octets = encode(name)
    cut = octets.find(name) + len(name) // 2 or 60
    passes = outcome == "answered"
    rows = [("with %d octets more" % PADDING, [encode(name, PADDING)]),
            ("with the name " + format_text(other), [encode(other)]),
            ("cut in two segments", [octets[:cut], octets[cut:]])]
    sessions = exchange(
        traceroute, [(0, row[1]) for row in rows[:1 if passes else 3]],
        trace.banner is not None)
    outcomes = [session.outcome for session in sessions]
    if outcomes[0] in ("answered", "acknowledged") and sessions[0].mss:
        rows[0] = rows[0][0] + ", in segments of %d" % sessions[0].mss,
    trace.find("inside", "The same " + ", ".join(
        "%s: %s" % (row[0], word) for row, word in zip(rows, outcomes)) + (
            "; the name is filtered" if name not in
            (b"", other) and "".join(outcomes[1:])[:1] == "a" else
            "; an MTU black hole, or a filter of big requests: try --mtu"
            if passes and outcomes[0] in LOST else ""))


def shake_hands(traceroute, trace, name):
    """Say what a TLS handshake shows, be the certificate good or not."""
    guard = traceroute.guard or wait_for
    problem, sock = "", None
    for strict in (True, False):
        try:
            import ssl
            context = ssl.create_default_context()  # novm: may be missing
            context.check_hostname = bool(strict and name)
            if not strict:
                context.verify_mode = ssl.CERT_NONE
            sock = new_tcp(traceroute).open_socket(socket.SOCK_STREAM)
            sock.settimeout(traceroute.options.wait_time)
            until = monotonic() + traceroute.options.wait_time
            guard(sock.connect, traceroute.target.sockaddr)
            sock = context.wrap_socket(
                sock, server_hostname=name.decode("ascii") or None,
                do_handshake_on_connect=False)
            sock.settimeout(0)      # Python 2.7 has no limit for all of it
            while True:
                try:
                    sock.do_handshake()
                    break
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    if monotonic() > until:
                        raise socket.error("timed out")
                    guard(time.sleep, 0.005)
            trace.find("tls", "%s, %s; certificate of %s, issued by %s, valid"
                       " until %s; %sverified" % (
                           (sock.version(), sock.cipher()[0]) +
                           decode_certificate(sock.getpeercert(True)) +
                           ("not " * bool(problem),)) + problem)
            return
        except (ImportError, AttributeError):
            problem = ": no module ssl, or too old a one"
        except (socket.error, ValueError) as error:
            problem = problem or ": " + format_text(
                getattr(error, "verify_message", "") or str(error))
        finally:
            if sock:
                sock.close()
    trace.find("tls", "TLS handshake failed" + problem)


def decode_certificate(data):
    """Return the words (subject, issuer, last day) of a certificate in DER
    (RFC 5280 4.1): the names stand around the validity."""
    import re
    found = re.split(b"Z[\x17\x18].(\\d{6,8})\\d{6}Z", data or b"",
                     maxsplit=1)
    if len(found) < 3:
        return "?", "?", "?"
    day = format_text(found[1])
    if len(day) == 6:                   # UTCTime, from 1950 on
        day = ("20" if day < "5" else "19") + day
    return tuple("'%s'" % format_text(b", ".join(   # organization and name
        part[item.end():][:ord(item.group(1))] for item in re.finditer(
            b"(?s)U\4[\3\n][\x0c\x13\x14\x16](.)", part))[:DATA_SHOWN])
                 for part in (found[2].split(b"*\x86H")[0], found[0])) + (
        "%s-%s-%s" % (day[:4], day[4:6], day[6:]),)


# ---------------------------------------------------------------------------
# 19 Path MTU
# ---------------------------------------------------------------------------

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
    """Finds the largest packet that gets to the destination, in octets.

    Who finds one too big tells the MTU (RFC 1191, RFC 8201); where nobody
    does, 16 sizes at once narrow it down.

    low, high  the largest that gets there, the smallest that does not
    why        Answer that refused `high`, None if nothing came
    end        ttl asked at; if the destination is silent, the last hop's
    """

    def __init__(self, traceroute, trace):
        self.traceroute, self.target = traceroute, traceroute.target
        version = self.target.family.version
        self.too_big = TOO_BIG[version]
        self.least, self.header = {     # RFC 791 3.2, RFC 8200 5
            4: (68, 28), 6: (1280, 48)}[version]
        hops = [hop for one in [trace] + trace.control for hop in one.hops]
        self.places = dict((hop.ttl, hop.address) for hop in hops
                           if hop.address)
        self.last = trace.distance or max(self.places or [0]) + 1
        self.places[0] = "this host"
        self.places[DEFAULT_TTL] = self.target.address
        self.wait = min(traceroute.options.wait_time, max(
            [0.6] + [4 * hop.rtt for hop in hops if hop.rtt]))

    def ask(self, sizes, last=0, wait=None):
        """Send packets of some sizes with the ttl `end`, and with 1 to
        `last`; return {size: list of Plan}.  The big ones go first, lest
        the small use up what a router may answer."""
        found = dict((size, []) for size in sizes)
        mechanism = SizeQueue()
        engine = Engine(self.target, None, 0, self.traceroute.debug,
                        guard=self.traceroute.guard)
        try:
            for size in sorted(found, reverse=True):
                for name, port in ("icmp", None), ("udp", 33434):
                    try:
                        method = METHODS[name](self.traceroute.sibling(
                            name, port, source_port=None, payload=(
                                b"\0" * 64 + os.urandom(size))[
                                    :size - self.header]).target,
                            mechanism)
                    except RunError:    # no ICMP echo for this user
                        continue
                    method.by_ping = True       # see SizeQueue.receive()
                    plan = Plan(1, last, wait or self.wait, gap=0,
                                parallel=64)
                    plan.full = State(self.end)
                    engine.add(method, plan)
                    found[size].append(plan)
            while not engine.done and not all(map(self.fate,
                                                  found.values())):
                engine.turn()
        finally:
            engine.close()
        return found

    @staticmethod
    def reach(plans):
        """Return the ttls at which an answer shows the arrival."""
        return [DEFAULT_TTL if state.reached else state.ttl
                for plan in plans for state in [plan.full] + plan.states
                if state.reached or state.outcome == "time-exceeded" and
                state.ttl < DEFAULT_TTL]        # else it is a loop

    def fate(self, plans):
        """Return True if a packet arrived, else the Answer of who found it
        too big, else None."""
        if self.end in self.reach(plans):
            return True
        for plan in plans:
            for answer in [state.answer for state in
                           [plan.full] + plan.states]:
                if answer.error == format_errno(errno.EMSGSIZE) or \
                        self.too_big == (answer.icmp_type, answer.icmp_code):
                    return answer

    def search(self):
        """Find end, low, high and why; return False if that fails."""
        self.end, self.low, self.high = DEFAULT_TTL, self.least, 65536
        found = self.ask([self.low], self.last)
        self.end = max(self.reach(found[self.low]) or [0])
        self.why, sizes, count = NO_ANSWER, [1500, 1501, 9000, 9001, 65535], 0
        while self.end:
            found = self.ask(sizes + [self.low])
            passed = [size for size in found
                      if self.fate(found[size]) is True]
            if not passed:
                return False
            self.low = max(passed)
            bad = [size for size in sizes if size > self.low]
            if bad:
                self.high = min(bad)
                self.why = self.fate(found[self.high])
            mtu = self.why and self.why.data or 0
            if mtu == self.low or self.high - self.low < 2:
                break
            step = (self.high - self.low - 2) // 16 + 1
            sizes = list(range(self.low + step, self.high, step))
            if self.low < mtu < self.high and count < 8:
                sizes, count = [mtu], count + 1
        return self.end

    def confirm(self):
        """Look where `high` gets lost; return (last ttl it gets to, next
        ttl that `low` gets to), None if it does not or can not be seen."""
        found = self.ask([self.low, self.high], self.last,
                         max(2, self.wait))
        here = max(self.reach(found[self.high]) or [0])
        beyond = [ttl for ttl in self.reach(found[self.low]) if ttl > here]
        if beyond and not self.fate(found[self.high]):
            return here, min(beyond)

    def run(self):
        """Return the kind, text and ttl of a finding, and the path MTU."""
        for _ in range(3):              # what is lost has to stay lost
            found, lost = self.search(), None
            if found and not self.why:
                found = lost = self.confirm()
            if found or not self.end:
                break
        kind, hop, who = "mtu", None, self.why and self.why.address
        text = "path MTU %d" % self.low if found else "path MTU unknown"
        if self.end < DEFAULT_TTL:
            text += "%s: neither ICMP echo nor a closed UDP port answers" % (
                self.end and " as far as " + self.place(self.end) or "")
        elif not found:
            text += ": too many answers are missing; packets of %d octets " \
                "get through" % self.low
        if lost:
            hop, beyond = lost
            kind = "black-hole" if beyond < DEFAULT_TTL else kind
            text += ": bigger packets vanish between %s and %s, and nobody " \
                "says why: a path MTU black hole%s; connections with an MSS " \
                "above %d may hang: set it to that or let ICMP pass" % (
                    self.place(hop), self.place(beyond),
                    ", or the host or the way back drops them" *
                    (kind == "mtu"),
                    self.low - self.header - 12)
        elif found and who:
            hop = min([ttl for ttl in self.places if self.places[ttl] == who]
                      or [None])
            text += ": %s says %s, with MTU %d" % (
                format_who(who, hop, self.target), format_icmp(
                    self.target.family.version, self.why), self.why.data)
        elif found and self.end == DEFAULT_TTL:
            text += ", the whole way"
        return kind, text, hop, self.low if found and \
            self.end == DEFAULT_TTL else None

    def place(self, ttl):
        return format_who(self.places.get(ttl, "a router"), ttl, self.target)


def check_deaf(traceroute, trace):
    """Say why no hop was heard, where a raw socket has to hear them."""
    if traceroute.raw_only and trace is traceroute.result and not any(
            hop.icmp_type is not None for each in [trace] + trace.control
            for hop in each.hops) and (
                trace.hops[1:] or not trace.reached):
        for text in SYSTEM.deaf:
            trace.find("deaf", text)


def check_mtu(traceroute, trace):
    """Do what --mtu asks for."""
    if not traceroute.options.mtu or trace.verdict == "error" or \
            trace is not traceroute.result:     # one of several ports
        return
    if not ErrorQueue.available():
        trace.find("mtu", "path MTU unknown: this system does not tell MTUs")
        return
    search, info = PathMtu(traceroute, trace), traceroute.tcp_info
    kind, text, hop, trace.path_mtu = search.run()
    trace.find(kind, text, hop)
    if trace.verdict == "open" and info:
        # tcpi_snd_mss, less 12 octets if tcpi_options has timestamps
        mss = info.snd_mss + 12 * (info.options & 1)
        size = mss + search.header + 12
        trace.find("mtu", "the server offers an MSS of %d%s (packets of %d "
                   "octets)" % (mss, " or more" * (size >= info.pmtu), size))


# What is looked at once the trace is done: functions of the Traceroute and
# its Trace, to which they add; each looks at the options first.
CHECKS = [
    name_forger,
    find_nat,
    check_quotes,
    check_tos,
    check_way_back,
    check_loss,
    check_deaf,
    look_inside,
    check_mtu,
]


# ---------------------------------------------------------------------------
# 20 Traceroute (the module's interface)
# ---------------------------------------------------------------------------

def resolve(hostname, version=None, guard=None):
    """Return a list of (version, sockaddr) for a host name or address.

    Raises RunError if there is none.
    """
    family = FAMILIES[version].af if version else 0
    call = socket.getaddrinfo

    def find(flags):
        found = []
        for entry in call(hostname, 0, family, socket.SOCK_DGRAM, 0, flags):
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
            if found:
                return found
        except socket.gaierror:
            pass
        result = run_beside(find, 0)
        while not result:       # so that Ctrl-C is heard meanwhile
            (guard or wait_for)(time.sleep, 0.002)
        if isinstance(result[0], Exception):
            raise result[0]
        if result[0]:
            return result[0]
        reason = "it has no usable address"
    except socket.gaierror as error:
        reason = error.args[-1]
    except (UnicodeError, ValueError, TypeError):
        reason = "not a host name"
    name, _, port = hostname.rpartition(":")
    cure = "give the port by -p %s" % port if name and port.isdigit() else \
        "check the name, the resolver, or give an IP address"
    raise RunError("can not find the address of host %s%s: %s; %s" % (
        quote(hostname), " for IPv%d" % version if version else "", reason,
        cure))


def check_number(options, name, flag, low, high):
    """Return a number option, or raise OptionError."""
    value = getattr(options, name)
    try:
        if not low <= value <= high or value != int(value) and \
                name not in ("wait_time", "banner_wait"):
            raise ValueError
    except (ValueError, TypeError):
        raise OptionError("%s %s: must be a number from %g to %g" % (
            flag, quote(value), low, high))
    return value


NUMBERS = (                     # option, flag, smallest, largest
    ("first_hop", "-f", 1, 255), ("max_hops", "-m", 1, 255),
    ("wait_time", "-w", 0.001, 3600), ("banner_wait", "--banner-wait", 0,
                                       3600),
    ("queries", "-q", 1, 100), ("retries", "-r", 0, 100),
    ("gap_limit", "-g", 0, 255), ("parallel", "-N", 1, 512),
    ("tos", "-t", 0, 255), ("flows", "--flows", 1, 64))


def check_options(options):
    """Return the name of the method; raise OptionError for bad options."""
    for row in NUMBERS:
        value = check_number(options, *row)
        setattr(options, row[0], value if row[0][-5:] in (
            "_time", "_wait") else int(value))
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
    for name, flag in (("port", "-p"), ("source_port", "-S")):
        value = getattr(options, name)
        if value is not None and method == "icmp":
            raise OptionError("%s %s does not go with -I: ICMP has no ports"
                              % (flag, quote(value)))
    return method


def decode_control(text):
    """Return (word, port or None) of --control."""
    word, colon, port = quote(text).strip("'").partition(":")
    known = ("auto", "none", "icmp", "udp", "tcp")
    if word not in known or colon and (
            word not in ("udp", "tcp") or not port or
            port.strip("0123456789") or not 1 <= int(port) <= 65535):
        raise OptionError("--control %s: must be one of auto, none, icmp, "
                          "udp[:PORT], tcp[:PORT]" % quote(text))
    return word, int(port) if colon else None


def decode_payload(text):
    """Return the octets of -P, None for none given."""
    import binascii
    if text is None:
        return None
    try:
        digits = text if isinstance(text, bytes) else text.encode("ascii")
        return binascii.unhexlify(b"".join(digits.split()))
    except (TypeError, ValueError, AttributeError):
        raise OptionError("-P %s: not hexadecimal; give two digits for each "
                          "octet, like 68690a" % quote(text))


def check_address(text):
    """Raise RunError if a text is no IP address."""
    try:
        socket.getaddrinfo(text, 0, 0, 0, 0, socket.AI_NUMERICHOST)
    except (socket.error, UnicodeError, TypeError):
        raise RunError("-s %s: must be an IP address of this host; `ip addr`"
                       " or ifconfig lists them" % quote(text))


def check_destination(sockaddr):
    """Raise RunError for an address that can not be probed."""
    address = sockaddr[0]
    if address in ("0.0.0.0", "::"):
        raise RunError("host %s is not the address of any host; did you "
                       "mean 127.0.0.1 or ::1?" % quote(address))
    if address[:4].lower() == "fe80" and not (sockaddr[2:] and sockaddr[3]):
        raise RunError("host %s is a link-local address: give its "
                       "interface too, like %s%%eth0" % (quote(address),
                                                         address))


class Traceroute(object):
    """A trace to be made: Traceroute(options, host), where options come
    from parse_options(), or Traceroute(destination=host, port=443, ...) with
    the options' names as keywords, and method="udp" or "icmp".

    Iterate for the hops as they become known, or call run(); either way
    `result` then holds the Trace.  probe(ttl) asks a single hop.

    Raises OptionError (a ValueError) for options that are bad or do not go
    together, PortError (also an OSError) for a bad port, RunError (an
    OSError) if the host or the source address is not to be had.
    """

    def __init__(self, options=None, destination=None, method=None,
                 mechanism=None, guard=None, **keywords):
        if options is None:
            options = default_options()
        elif keywords or method:
            options = default_options(**vars(options))
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
        self.destination = destination
        self.guard = guard
        self.route_error = None
        self.stderr = Writer(sys.stderr)
        self.names = None
        self.result = None
        self.results = []
        self.ports = self.choose_ports()
        self.port = self.ports[0]
        self.target = self.choose_target()
        self.destination_addr = self.target.address
        self.label = self.format_label(self.proto, self.port)
        self.flow, self.flows = None, self.choose_flows()
        if len(self.flows) > 1:
            self.target = self.target._replace(source_port=self.flows[0])
            self.set_flow(self.flows[0] or 1)
        self.header = "%s traceroute to %s [%s]%s" % (
            self.proto.upper(), format_text(destination),
            self.destination_addr,
            "" if self.port is None else " port%s %s" % (
                "s"[:len(self.ports) > 1], format_ports(self.ports)))
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

    @staticmethod
    def format_label(proto, port):
        return "ICMP echo" if port is None else "%s port %d" % (
            proto.upper(), port)

    def set_flow(self, flow):
        """Make this one of several flows, told by its source port or, if it
        has none, its number."""
        self.flow = flow
        self.label = self.format_label(self.proto, self.port) + (
            " from source port %d" if self.port else " by flow %d") % flow

    def choose_flows(self):
        """Return the source port of each flow, [None] * n without ports.

        Raises OptionError if there are not so many.
        """
        options = self.options
        first, count = options.source_port, options.flows
        if count > 1 and len(self.ports) > 1:
            raise OptionError("--flows %d does not go with several ports: "
                              "give one by -p" % count)
        if first and self.proto == "udp" and len(self.ports) > 1:
            raise OptionError("-S %d does not go with several UDP ports: "
                              "give one by -p" % first)
        if count == 1 or self.proto == "icmp":
            return [first] * count
        if first:
            if first + count > 65536:
                raise PortError("-S %d with --flows %d: there are no ports "
                                "above 65535" % (first, count))
            return list(range(first, first + count))
        # Neighbours: a balancer may look at the last bits only.
        first = struct.unpack("!H", os.urandom(2))[0] % 20000 + 33000
        return list(range(first, first + count))

    def sibling(self, proto, port, **target):
        """Return a Traceroute to another port of the same address."""
        import copy
        other = copy.copy(self)
        other.proto, other.port, other.result = proto, port, None
        other.label = self.format_label(proto, port)
        sockaddr = self.target.sockaddr
        other.target = self.target._replace(
            port=port, sockaddr=(sockaddr[0], port or 0) + sockaddr[2:],
            **target)
        return other

    # Choosing

    def portnumber_of(self, port, flag="port"):
        """Return the number of a port or service name.

        Raises PortError if there is none.
        """
        text = (format_text(port) if isinstance(port, (bytes, text_type))
                else str(port)).strip()
        number = None
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
        if self.options.source_port is not None:
            self.options.source_port = self.portnumber_of(
                self.options.source_port, "-S")
        asked, ports = self.options.port, []
        if asked is None:
            return [METHODS[self.proto].default_port
                    if self.options.tls in (None, False) else 443]
        asked = asked if isinstance(asked, (list, tuple)) else [asked]
        for word in ",".join(quote(word).strip("'")
                             for word in asked).split(","):
            low, _, high = word.partition("-")
            if low.strip().isdigit() and high.strip().isdigit():
                low, high = map(self.portnumber_of, (low, high))
                if low > high:
                    raise PortError("port %s: give the smaller one of a "
                                    "range first" % quote(word))
                ports += range(low, high + 1)
            else:
                ports.append(self.portnumber_of(word))
        count = len(set(ports))
        if count > MOST_PORTS:
            raise PortError("-p %s: %d ports, but at most %d at once" % (
                format_ports(ports), count, MOST_PORTS))
        return sorted(set(ports), key=ports.index)

    def choose_target(self):
        """Return the Target: the first address of the host that this host
        has a route to, else the first."""
        options = self.options
        payload = decode_payload(options.payload)
        version = 4 if options.ipv4 else 6 if options.ipv6 else None
        if options.source_ip:
            check_address(options.source_ip)
            version = version or (6 if ":" in options.source_ip else 4)
        best = None
        for number, sockaddr in resolve(self.destination, version,
                                        self.guard):
            family = FAMILIES[number]
            sockaddr = (sockaddr[0], self.port or 0) + sockaddr[2:]
            check_destination(sockaddr)
            own = self.find_own_address(family, sockaddr)
            target = Target(family, sockaddr[0].split("%")[0], sockaddr,
                            self.port, options.source_ip,
                            options.source_port, payload, options.tos, own)
            if own:
                return target
            best = best or target
        return best

    def find_own_address(self, family, sockaddr):
        """Return the address that probes will come from, None if there is
        no route.  Raises RunError if -s or -S can not be had."""
        options = self.options
        sock = None
        try:
            kind = socket.SOCK_STREAM if self.proto == "tcp" else \
                socket.SOCK_DGRAM
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
        except (socket.error, OverflowError) as error:
            if isinstance(error, Error):
                raise
            self.route_error = error.args[-1]
            return None
        finally:
            if sock:
                sock.close()

    def refuse_source(self, error):
        options, number = self.options, getattr(error, "errno", None)
        if number == errno.EADDRINUSE:
            raise RunError("-S %s: the port is in use; choose another" %
                           options.source_port)
        if number in (errno.EACCES, 10013):     # Python 2.7 on Windows
            raise RunError("-S %s: this user may not have it, as most ports "
                           "below 1024; choose another" %
                           options.source_port)
        raise RunError(
            "-s %s is not an address of this host (%s); `ip addr`, "
            "ifconfig or ipconfig lists them" % (
                quote(options.source_ip or ""), error.args[-1]))

    # Running

    def open_engine(self):
        """Return (engine, method) with all sockets they share."""
        target = self.target
        mechanism = self.choose_mechanism()
        raw = open_witness(self.wanted_mechanism, mechanism, target,
                           self.proto)
        self.privileged = bool(raw) and raw.kind == socket.SOCK_RAW
        shown = mechanism
        if raw and mechanism.sight != "addresses":
            shown = raw
        self.mechanism_name, self.why = shown.name, shown.why
        self.raw_only = shown is raw
        self.blind = shown.sight != "addresses"
        engine = Engine(target, raw, self.options.banner_wait, self.debug,
                        guard=self.guard)
        if raw and self.options.debug:
            raw.debug = self.debug
        try:
            return engine, METHODS[self.proto](target, mechanism, raw)
        except Exception:
            engine.close()
            raise

    def choose_mechanism(self):
        mechanism = select_mechanism(self.wanted_mechanism, self.proto)
        mechanism.wait = self.options.wait_time
        if self.options.debug:
            mechanism.debug = self.debug
        return mechanism

    def new_method(self, engine):
        """Return one more method for an engine that runs."""
        return METHODS[self.proto](self.target, self.choose_mechanism(),
                                   engine.raw)

    def debug(self, text):
        if self.options.debug:
            self.stderr.line("debug: " + format_text(text))

    def new_plan(self, first=1, last=0, wait=None):
        options = self.options
        full = 0 if METHODS[self.proto].connects else None
        one_flow = self.target.source_port is not None
        patient = one_flow and self.proto == "tcp" and \
            not ErrorQueue.available()
        plan = Plan(first, last, wait or options.wait_time, options.queries,
                    0 if patient else options.retries, options.gap_limit,
                    1 if one_flow else options.parallel, full, one_flow)
        plan.most, plan.patient = METHODS[self.proto].most, patient
        return plan

    def probe(self, ttl):
        """Return the Hop at one ttl, after at most wait_time seconds (and
        banner_wait, if a connection comes about)."""
        check_ttl = check_number(default_options(max_hops=ttl), "max_hops",
                                 "ttl", 1, 255)
        plan = self.new_plan()
        plan.full = State(check_ttl)
        engine, method = self.open_engine()
        keeper = open_keeper()
        try:
            engine.add(method, plan)
            while not engine.done:
                engine.turn()
        finally:
            engine.close()
            if keeper:
                keeper.close()
        names = self.look_up_names()
        if names:
            while not names.known(plan.full.answer.address):
                time.sleep(0.002)
        return self.make_hop(plan.full)

    def look_up_names(self):
        if not self.options.no_dns and self.names is None:
            self.names = Names()
        return self.names

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
        began = monotonic()
        plan = self.new_plan(self.options.first_hop, self.options.max_hops)
        hops, control, done, rest = [], Control(self), False, True
        shown = False
        others = (Flows if self.options.flows > 1 else Ports)(self)
        if not self.target.own_address:
            plan.full.answers.append(NO_ANSWER._replace(
                outcome="send-failed", error="this host has no route to %s "
                "(%s)" % (self.target.address, self.route_error)))
            self.results = [Trace(other, plan, hops, monotonic() - began)
                            for other in [self] + others.waiting]
            self.result = self.results[0]
            return
        names = self.look_up_names()
        engine, method = self.open_engine()
        keeper = open_keeper()
        try:
            engine.add(method, plan)
            while not shown or rest:
                # Names and Control are looked after between turns.
                engine.turn(0.01 if names and names.asked else 0.1)
                for state in plan.states if names else ():
                    names.ask(state.answer.address)
                done = not control.consider(engine, plan) and plan.done
                rest = others.consider(engine, plan, control, done)
                ready = [] if shown else self.ready_states(
                    plan, len(hops), done)
                shown = shown or done
                for state in ready:
                    if names and not names.known(state.answer.address):
                        shown = False
                        break
                    hops.append(self.make_hop(state, plan))
                    yield hops[-1]
        finally:
            engine.close()
            if keeper:
                keeper.close()
            self.tcp_info = method.tcp_info
            if method.sight != "addresses":
                self.mechanism_name, self.blind = Mechanism.name, True
                self.why = Mechanism.why + SYSTEM.cure
            self.conclude(plan, hops, shown, control, others)
        for each in self.results:
            first = each is self.result
            for check in CHECKS:
                check(self if first else self.sibling(
                    self.proto, each.port), each)
            if not first:
                each.control = []       # they stand with the first

    def conclude(self, plan, hops, shown, control, others):
        """Set the results, of all that is known if it was interrupted."""
        if not shown:
            hops += [self.make_hop(state, plan)
                     for state in plan.states[len(hops):]
                     if state.answers or state.ttl <= plan.heard]
        elapsed = monotonic() - control.began
        controls = control.results(elapsed)
        plan.blind = self.blind or self.raw_only and \
            plan.heard < plan.first and not any(
                each.last_heard for each in controls)
        self.result = Trace(self, plan, hops, elapsed, shown, controls)
        self.results = [self.result] + others.results(
            [self.result] * self.result.reached + controls)
        far = [each for each in self.results[1:] if self.result.distance
               and (each.distance or 0) > self.result.distance + 1]
        if far and self.result.reached:     # by something before it?
            self.result = self.results[0] = Trace(
                self, plan, hops, elapsed, shown, controls + far[:1])
        others.compare(self.results)

    @staticmethod
    def ready_states(plan, count, done):
        """Return the states behind the first `count` that can be shown."""
        ready = []
        lost = plan.lost
        last, end, heard = plan.horizon, plan.end, plan.heard
        for state in plan.states[count:]:
            if state.ttl > last or not state.settled or (
                    state.ttl > heard and (lost or not done)) or (
                    state.ttl == end and not done):
                break
            ready.append(state)
        if done and lost:
            ready.append(plan.full)
        return ready

    def make_hops(self, plan):
        """Return the Hops of a plan, up to its end or the last heard."""
        return [self.make_hop(state, plan) for state in plan.states + [
            plan.full] * plan.lost if state is plan.full or state.probes and
            state.ttl <= (plan.end or plan.heard)]

    def make_hop(self, state, plan=None):
        """Return the Hop of a state; the destination's line says what the
        full-ttl probe found."""
        answers, ttl, more = list(state.answers), state.ttl, False
        del answers[self.options.queries:]
        if plan and plan.full.final:
            if state is plan.full:
                ttl, more = plan.end or plan.heard, True
            elif plan.lost:
                pass
            elif state.reached:
                full, near = plan.full.answers[0], answers[0]
                if full.reply_ttl is None:
                    full = full._replace(reply_ttl=near.reply_ttl)
                answers = [full] + [answer for answer in answers[1:]
                                    if answer.outcome == full.outcome]
        # One that was sent just now may be answered yet.
        limit = monotonic() - 0.3 - 2 * (plan and plan.slowest or 0)
        probes = [probe for probe in state.probes if not probe.gone and
                  (probe.answer or probe.sent < limit)]
        name = self.names.get(state.answer.address) if self.names else None
        return Hop(ttl, self.proto, self.port, self.target.address,
                   tuple(note_quote(answer, self.target)
                         for answer in answers), name, self.destination,
                   self.target.family.version, bool(self.options.verbose),
                   more, len(probes),
                   sum(not probe.answer for probe in probes))


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

    def end(self, traceroute, result):
        if len(self.silent) > 1:
            self.writer.line("%d-%d\t*\ttimed out" % (
                self.silent[0].ttl, self.silent[-1].ttl))
        elif self.silent:
            self.writer.line(self.silent[0].format_line())
        self.silent = []
        if self.verbose:
            self.writer.line("mechanism: %s, %sprivileged" % (
                result.mechanism, "" if result.privileged else "un"))
        results = traceroute.results
        if not all(each.complete for each in results):
            self.writer.line("Interrupted: not all hops are known")
        for each in results:
            for finding in each.findings:
                self.writer.line("Finding: %s%s" % (
                    "" if each is result else each.label + ": ",
                    finding["text"]))
        for line in format_table(results) if len(results) > 1 else ():
            self.writer.line(line)
        missed = sum(not each.reached for each in results)
        if all(each.verdict for each in results):
            self.writer.line(
                "Could not reach destination" + " by %d of %d %s" % (
                    missed, len(results), "flows" if result.flow else
                    "ports") * (missed < len(results))
                if missed else "Successfully reached destination")
        if traceroute.why and result.verdict != "error":
            self.writer.line("Note: " + traceroute.why)
        for line in format_summaries(results):
            self.writer.line(line)


def format_table(results):
    """Return the lines of a table, one row a port or flow."""
    flows = results[0].flow
    rows = [("Flow" if flows else "Port", "Service", "Verdict", "Hops",
             "Time", "Who or where")]
    for each in results:
        try:
            service = socket.getservbyport(each.port, each.method)
        except (socket.error, OverflowError, TypeError):
            service = "-"
        who = each.error or each.verdict and each.facts.get("where") or \
            each.responder or (
                "not visible" if each.verdict == "refused" else "-")
        if each.banner:
            who += "  " + format_data(each.banner)
        rows.append((
            str(each.flow or each.port), format_text(service),
            each.verdict or "?", str(each.distance or "-"),
            "-" if each.rtt is None else "%.3f ms" % (each.rtt * 1e3), who))
    return format_columns(rows)


def format_columns(rows):
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(word.ljust(width) for word, width in
                      zip(row, widths)).rstrip() for row in rows]


def format_summaries(results):
    """Return the verdicts as sentences: one for all ports or flows that
    share it, and of several only of those that were not reached."""
    if len(results) == 1:
        return [results[0].summary]
    groups = []
    for each in results:
        text = each.summary.replace(each.label, "each", 1)
        group = [members for members, other in groups if other == text]
        if group:
            group[0].append(each)
        else:
            groups.append(([each], text))
    lines = []
    for members, text in groups:
        if not members[0].reached:
            lines.append(members[0].summary if len(members) == 1 else
                         "%s: %s" % (format_flows(members).capitalize() if
                                     members[0].flow else "%s ports %s" % (
                                         members[0].method.upper(),
                                         format_ports(each.port for each in
                                                      members)), text))
    count = sum(each.reached for each in results)
    return lines + ["%d of %d %s %s were reached%s" % (
        count, len(results), "flows to" if results[0].flow else "ports of",
        results[0].address,
        "" if all(each.verdict for each in results) else " so far")]


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

    hop = begin

    def end(self, traceroute, result):
        self.document["traces"] += [each.as_dict()
                                    for each in traceroute.results]

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
    if proto == "icmp":
        port = None
    tracer = Traceroute(None, LOOPBACK[version], proto, port=port,
                        no_dns=True, wait_time=1.5, control="none",
                        max_hops=1, banner_wait=0)
    result = tracer.run()
    problem = tracer.why or None
    if not problem and not result.reached:
        problem = result.error or "no answer has come back over loopback"
    if proto == "tcp" and LINUX and not result.privileged:
        problem = find_old_kernel() or problem
    return {"works": result.reached, "mechanism": result.mechanism,
            "privileged": result.privileged, "problem": problem}


def find_old_kernel():
    """Return why a TCP trace without privilege shows no hops, or None."""
    release = os.uname()[2]
    if release_of(release) >= (5, 8):
        return None
    return ("hop addresses are not visible: they need Linux 5.8, this is "
            "%s; %s" % (release, SYSTEM.cure))


def release_of(text):
    """Return the first two numbers of a kernel's release."""
    words = text.replace("-", ".").split(".") + ["", ""]
    return tuple(int(word) if word.isdigit() else 0 for word in words[:2])


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
    problems = []
    for row in rows:
        missing = "nothing"
        if row["problem"]:
            if row["problem"] not in problems:
                problems.append(row["problem"])
            missing = "(%d)" % (problems.index(row["problem"]) + 1)
        table.append((row["method"].upper(), "IPv%d" % row["family"],
                      yes_or_no(row["works"]), row["mechanism"] or "-",
                      yes_or_no(row["privileged"]), missing))
    return format_columns(table) + [
        "(%d) %s" % (number, problem)
        for number, problem in enumerate(problems, 1)]


def yes_or_no(flag):
    return "yes" if flag else "no"


# ---------------------------------------------------------------------------
# 23 Pasting
# ---------------------------------------------------------------------------

# What --paste prints is a Python program: this head, then the compressed
# program as comments.  Wherever the comments are cut off, what is left is
# valid Python: the head runs, reads its own file and finds the data cut off
# or, by bzip2's checksum, changed.  Of a head that is cut off itself Python
# runs nothing, so it is short; every part of it ends with an error of
# Python's, none with status 0.  Nothing in it is indented, as some editors
# change the indentation of what is pasted.
PASTE_HEAD = '''\
try:import sys,bz2,binascii;file=(sys.stdin if __file__=="<stdin>" else
open(__file__));file.seek(0);text=file.read();file.close();source=(
bz2.decompress(binascii.a2b_base64(text.split("#",3)[3])));source[0]
except Exception:(sys.stderr.write("potraceroute: error: cut off, damaged "
"or not in a file: paste it again, into a file (%s)\\n"%sys.exc_info()[1]),
sys.exit(2))
exec(source)
'''
PASTE_WIDTH = 76


def format_paste():
    """Return this program as a short text that is a program, too.

    Raises RunError if its source cannot be read.
    """
    import base64
    import bz2
    code = strip_source(read_own_source()).encode("ascii")
    data = base64.b64encode(bz2.compress(code, 9)).decode("ascii")
    lines = ["# potraceroute %s, %s license\n" % (__version__, __license__)]
    for at in range(0, len(data), PASTE_WIDTH):
        lines.append("#%s\n" % data[at:at + PASTE_WIDTH])
    return PASTE_HEAD + "".join(lines)


def read_own_source():
    """Return the text of this program."""
    import inspect
    if "source" in globals():           # PASTE_HEAD has put it there
        return globals()["source"].decode("ascii")
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

# `kind` is the type of the value; a switch has none, and no metavar.
Option = namedtuple("Option", "name flags metavar kind default help")


def switch(flags, text, name=None):
    return Option(name or name_option(flags), flags, None, None, False, text)


def valued(flags, metavar, kind, default, text):
    return Option(name_option(flags), flags, metavar, kind, default, text)


def name_option(flags):
    """Return the attribute for the value of an option: its long flag."""
    return flags.split("--")[-1].replace("-", "_")


OPTION_GROUPS = (
    ("Probes", (
        switch("-T --tcp", "probe with TCP connections (default)"),
        switch("-U --udp", "probe with UDP"),
        switch("-I --icmp", "probe with ICMP echo"),
        valued("-p --port", "PORT", "string", None,
               "port number or service name for UDP or TCP, or several "
               "like 22,http,8000-8010 (default: 80 TCP, 33434 UDP)"),
        valued("-P --payload", "HEX", "string", None,
               "data in UDP or ICMP probes; in TCP, data sent once "
               "connected; if it is lost or reset, again by each ttl"),
        valued("-s --source-ip", "IP", "string", None,
               "interface IP to send probe traffic from"),
        valued("-S --source-port", "PORT", "string", None,
               "source port for TCP/UDP probes: one constant flow, one "
               "probe at a time"),
        valued("-t --tos", "N", "int", 0,
               "the TOS / traffic class byte (default: 0)"),
        switch("-4", "use IPv4 only", "ipv4"),
        switch("-6", "use IPv6 only", "ipv6"),
    )),
    ("Hops and waiting", (
        valued("-f --first-hop", "N", "int", 1,
               "starting hop (ttl) value (default: 1)"),
        valued("-m --max-hops", "N", "int", 30,
               "max hops before giving up (default: 30)"),
        valued("-w --wait-time", "SEC", "float", 2.0,
               "timeout in seconds for each hop (default: 2)"),
        valued("--banner-wait", "SEC", "float", 0.5,
               "how long to wait for possible TCP banner output "
               "(default: 0.5)"),
        valued("-q --queries", "N", "int", 1,
               "answers wanted per hop (default: 1)"),
        valued("-r --retries", "N", "int", 2,
               "further tries before a hop is called silent (default: 2)"),
        valued("-g --gap-limit", "N", "int", 5,
               "silent hops in a row before giving up early; 0 = never "
               "(default: 5)"),
        valued("-N --parallel", "N", "int", 16,
               "probes in flight (default: 16)"),
    )),
    ("Diagnosis", (
        valued("--control", "WHAT", "string", "auto",
               "what to compare with when the port is not reached: auto, "
               "none, icmp, udp[:PORT] or tcp[:PORT] (default: auto)"),
        valued("--flows", "N", "int", 1,
               "repeat the trace from N source ports (ICMP: idents), each "
               "one constant flow: where a load balancer parts them "
               "(default: 1)"),
        switch("--mtu", "find the path MTU, and who or what limits it"),
        valued("--tls", "[SNI]", "string", None,
               "once the port is open, send a TLS ClientHello for the "
               "host, or the name given, by each ttl; then a handshake "
               "(port 443 unless -p)"),
        valued("--http", "[HOST]", "string", None,
               "the same with an HTTP request; one connection per hop"),
        switch("--doctor",
               "say what this host can do by each method, and what it "
               "lacks; needs no HOST"),
    )),
    ("Output", (
        switch("-n --no-dns", "do not look up hostnames of IP addresses"),
        switch("-v --verbose",
               "verbose output: ICMP names, mechanism, reply TTLs, every "
               "silent hop"),
        switch("-D --debug",
               "dump packets and other debugging information, on stderr"),
        switch("--json", "print one JSON document instead of text"),
        switch("--paste",
               "print this program as a short text to paste into a file "
               "on another host; needs no HOST"),
    )),
)
OPTIONS = tuple(option for _, options in OPTION_GROUPS
                for option in options)

# Options that can be given with or without a value; the others, either way.
OPTIONAL_VALUES = ("--tls", "--http")

EPILOG = ("Exit status: 0 the destination was reached (it accepted, refused "
          "or replied), 1 it was not, 2 bad options or cannot run, 130 "
          "interrupted.")


class Options(object):
    """Option values as attributes."""

    def __init__(self, **values):
        vars(self).update(values)


def default_options(**values):
    """Return Options with the defaults, except for `values`."""
    options = Options(**dict((each.name, each.default) for each in OPTIONS))
    vars(options).update(values)
    return options


def new_parser():
    """Return the parser of OPTIONS; optparse is loaded only for it."""
    import optparse

    class Formatter(optparse.IndentedHelpFormatter):
        def format_option_strings(self, option):
            text = optparse.IndentedHelpFormatter.format_option_strings(
                self, option)
            return text.replace("=[", "[=")

    class Parser(optparse.OptionParser):
        def error(self, message):
            raise ParseError(message + " (see --help)")

        def print_help(self, file=None):
            Writer(sys.stdout).line(self.format_help().rstrip("\n"))

        def print_version(self, file=None):
            Writer(sys.stdout).line(__version__)

    parser = Parser(prog="potraceroute.py", version=__version__,
                    usage="%prog [options] HOST", epilog=EPILOG,
                    description="Show the hops to a host, and which one "
                    "blocks the connection.", formatter=Formatter())
    for title, options in OPTION_GROUPS:
        group = parser.add_option_group(title)
        for each in options:
            how = {"action": "store_true"}
            if each.metavar:
                how = {"metavar": each.metavar, "type": each.kind}
            group.add_option(*each.flags.split(), dest=each.name,
                             default=each.default, help=each.help, **how)
    return parser


class ParseError(SystemExit):
    """The parser refused an option: exits with 2, after a line on stderr."""

    def __init__(self, message):
        SystemExit.__init__(self, 2)
        self.message = message
        print_error(message)


def print_error(message):
    """Print an error as one line on stderr."""
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
    """While a trace runs, SIGINT, SIGTERM and SIGHUP raise
    KeyboardInterrupt, but only where we wait: never between the opening of
    a socket and the note of it."""

    NAMES = ("SIGINT", "SIGTERM", "SIGHUP")

    def __init__(self):
        self.number = None
        self.waiting = False
        self.previous = []      # (signal number, its handler)

    def __enter__(self):
        import signal
        for name in self.NAMES:
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) == signal.SIG_IGN:
                continue
            try:
                handler = signal.signal(number, self.handle)
            except ValueError:          # not in the main thread
                continue
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
        self.traceroute = None
        self.needs_root = False     # root could have seen or sent more

    def run(self):
        """Return the exit status."""
        hold_standard_files()
        if self.argv == ["--version"]:      # without loading a parser
            Writer(sys.stdout).line(__version__)
            return 0
        keeper = open_keeper()
        try:
            with Signals() as signals:
                return self.run_options(signals)
        finally:
            if keeper:
                keeper.close()

    def run_options(self, signals):
        writer = Writer(sys.stdout)
        try:
            options, args = parse_options(self.argv)
        except ParseError as error:
            if "--json" in self.argv:
                JsonReport(writer, self.argv).close(error.code,
                                                    error.message)
            return error.code
        except SystemExit:                  # --help has been printed
            return 0
        if options.paste:
            return self.paste(writer)
        if options.doctor:
            return examine(writer, self.argv, options.json)
        if options.json:
            report = JsonReport(writer, self.argv)
        else:
            report = TextReport(writer, options.verbose)
        status, message = self.trace(options, args[0], report, signals)
        if options.json:
            report.close(status, message)
        if message:
            print_error(message)
        return status

    @staticmethod
    def paste(writer):
        try:
            writer.line(format_paste().rstrip("\n"))
        except RunError as error:
            print_error(str(error))
            return 2
        return 0

    def trace(self, options, host, report, signals):
        """Trace and report; return (exit status, error message or None)."""
        message = None
        try:
            signals.wait(time.sleep, 0)
            tracer = Traceroute(options, host, guard=signals.wait)
            self.traceroute = tracer
            report.begin(tracer)
            for hop in tracer:
                report.hop(hop)
            status = max(each.exit_status for each in tracer.results)
        except KeyboardInterrupt:
            status = 128 + (signals.number or 2)
            if self.traceroute is None or self.traceroute.result is None:
                message = "interrupted before the first probe"
        except Error as error:
            status, message = 2, str(error)
        if self.traceroute is None:
            return status, message
        result = self.traceroute.result
        if result is None:
            # Once options and host are good, ICMP lacks only the permission.
            self.needs_root = status == 2 and self.traceroute.proto == "icmp"
            return status, message
        self.needs_root = (result.verdict != "error" and
                           self.traceroute.why != "")
        for hop in result.hops[report.shown:]:
            report.hop(hop)
        report.end(self.traceroute, result)
        return status, message or explain_unsent(self.traceroute.results)


def explain_unsent(results):
    """Return what to do about probes that could not be sent, or None."""
    for each in results:
        if each.verdict != "error":
            continue
        command = "netstat -rn"
        if LINUX:
            command = "ip route get " + each.address
        return ("%s; `%s` and the rules of the local firewall tell more" %
                (each.summary, command))
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

class Question(namedtuple("Question", "flag title default")):
    """A dialog that asks for a text."""

    __slots__ = ()

    def ask(self, droid):
        """Return the answer as a word of the command line, or ""."""
        title = ("%s %s" % (self.flag, self.title)).strip()
        answer = droid.dialogGetInput("", title, self.default).result.strip()
        if not answer:
            return ""
        return self.flag + answer


class Menu(namedtuple("Menu", "title items")):
    """A dialog that offers items: (flag, words)."""

    __slots__ = ()

    def ask(self, droid):
        """Return the flag of the item that was chosen."""
        droid.dialogCreateAlert(self.title, "")
        droid.dialogSetItems([("%s %s" % item).strip()
                              for item in self.items])
        droid.dialogShow()
        flag, _ = self.items[droid.dialogGetResponse().result["item"]]
        return flag


DIALOGS = (
    Question("", "host name or IP address", ""),
    Menu("method", (("-T", "TCP"), ("-U", "UDP"), ("-I", "ICMP"))),
    Question("-p", "port or service, or several (default: 80 TCP, 33434 "
             "UDP)", ""),
    Question("-m", "max hops", "30"),
    Question("-w", "timeout in seconds for each hop", "2"),
    Menu("hops", (("", "hostnames and IP addresses"),
                  ("-n", "IP addresses"))),
    Question("-P", "data in probes, as hex", ""),
)
AGAIN_AS_ROOT = Menu("Again as root?", (("no", ""), ("yes", "")))


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

    The shell gets the path of Python, quoted; all else comes by stdin, as a
    literal of a Python program.  -p keeps what QPython needs to start.
    """
    from subprocess import PIPE, STDOUT, Popen
    try:
        program = ROOT_PROGRAM % ([os.path.abspath(__file__)] + words)
        python = sys.executable.replace("'", "'\\''")
        su = Popen(["su", "-p", "-c", "'%s' -" % python],
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
        words = [dialog.ask(droid) for dialog in DIALOGS]
        words = [word for word in words if word]
        command = Command(words)
        sys.stdout, sys.stderr = [Tee(each, printed) for each in streams]
        status = command.run()
        sys.stdout, sys.stderr = streams
        show_text(droid, "".join(printed).rstrip("\n"))
        if command.needs_root and AGAIN_AS_ROOT.ask(droid) == "yes":
            status, text = run_as_root(words)
            Writer(sys.stdout).line(text)
            show_text(droid, text)
    except Exception:
        sys.stdout, sys.stderr = streams
        print_error("canceled, or no dialog")
    finally:
        sys.stdout, sys.stderr = streams
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
