"""A path of routers in user space, between two TUN devices.

lab.Path starts this program; it holds the client's and the server's TUN
device and plays routers 1 to N between them.  Router k answers from
10.88.k.1 and fd88:0:0:k::1.  It first checks the ttl, then forwards, and its
filters look only at what it forwards.

PATH settings, keywords of lab.Path and Path.configure:
  routers      how many (4)
  delay        seconds to the server, one way (0)
  jitter       up to so many seconds are added on the way back (0)
  loss         chance that a packet to the server is lost (0)
  loss_back    the same for packets to the client (0)
  return_hops  what the ttl of the server's packets loses (N)
  strangers    a list of forgeries that come at once for each probe; all but
               the echo reply from 203.0.113.66 or 2001:db8:bad::66:
               wrong_source_port wrong_dest_port wrong_seq wrong_echo_id
               wrong_destination truncated redirect foreign_echo_reply
               garbage
  addresses    more addresses that lead to the server (it must have them)
  seed         of the random numbers (1)
  hops         {k: settings of router k}

ROUTER settings:
  delay        seconds from the client, one way (k * path delay / N)
  jitter, loss up to so many seconds more; chance of loss: of its ICMP
  silent       sends no ICMP
  rate, burst  its ICMP errors per second; how many at once (1)
  late         seconds that its ICMP is held back
  duplicate    so many more copies of its ICMP
  reply_ttl    initial ttl of its ICMP (255); k - 1 are lost on the way
  reply_from   another source address
  balance      a list of source addresses, chosen by a hash of the flow
               (ports or first ICMP word, and flow label); for a real load
               balancer's look
  silent_branch  sends no ICMP about flows of that index in balance
  type, code   instead of time exceeded; type6, code6 for IPv6
  quote        octets quoted behind the IP header, or "full" (548 in all)
  quote_ttl    the ttl in the quoted header (1)
  quote_dst    the destination in the quoted header, checksums adjusted
  labels       MPLS labels, [label, exp, bottom, ttl] each (RFC 4950)
  interface    {ifindex, address, name, mtu}, any of them (RFC 5837)
  legacy       extensions without the RFC 4884 length field
  rewrite_tos  the tos or traffic class of what it forwards
  mtu          refuses what is bigger (IPv4: only with DF set)
  told_mtu     names this MTU instead (RFC 1191: old routers say 0)
  blackhole    does so without a word
  filters      a list of dicts; the first that matches decides

FILTER settings:
  proto        "tcp", "udp" or "icmp"; port: the destination's
  family       4 or 6
  syn_only     SYN without ACK; data_only: with payload
  min_size     octets of the whole packet
  contains     a text that is in the payload
  sticky       once it acted, it acts on all from that address to that port
  tap          acts, and lets the packet pass as well
  first        acts on so many packets only; chance: or on some only
  branch       acts on the flows of that index in the router's balance
  action       "pass"
               "drop"
               "reject"   icmp=[type, code] (3, 13), icmp6 (1, 1)
               "reset"    RST|ACK in the name of the destination
               "accept"   SYN|ACK in its name; swallows what follows
               "echo"     an echo reply in its name
               "icmp_as_destination"   as reject, in its name (3, 3), (1, 4)
  ttl          initial ttl of the answer (reject 255, the others 64)
  direction    "back": on packets to the client; "drop" and "pass" only

An address setting (reply_from, quote_dst, an interface's address) is a text
or a list of two, of which the one of the packet's family is used.
"""

import collections
import gc
import heapq
import json
import os
import random
import select
import socket
import struct
import sys
import time

PATH_SETTINGS = set(
    "routers delay jitter loss loss_back return_hops strangers addresses "
    "seed hops".split())
ROUTER_SETTINGS = set(
    "delay jitter loss silent rate burst late duplicate reply_ttl reply_from "
    "balance silent_branch type code type6 code6 quote quote_ttl quote_dst "
    "labels interface legacy rewrite_tos mtu told_mtu blackhole "
    "filters".split())
FILTER_SETTINGS = set(
    "proto port family syn_only data_only min_size contains sticky tap first "
    "chance action icmp icmp6 ttl direction branch".split())
INTERFACE_SETTINGS = set("ifindex address name mtu".split())
ACTIONS = set(
    "pass drop reject reset accept echo icmp_as_destination".split())

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
PROTOCOL_NAMES = {ICMP: "icmp", ICMPV6: "icmp", TCP: "tcp", UDP: "udp"}
FIN, SYN, RST, ACK = 1, 2, 4, 16
ECHO_REQUEST = {4: 8, 6: 128}
ECHO_REPLY = {4: 0, 6: 129}
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
ADMINISTRATIVELY_PROHIBITED = {4: (3, 13), 6: (1, 1)}
PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}
TOO_BIG = {4: (3, 4), 6: (2, 0)}
REDIRECT = {4: (5, 1), 6: (137, 0)}
STRANGER = {4: "203.0.113.66", 6: "2001:db8:bad::66"}
ELSEWHERE = {4: "198.51.100.1", 6: "2001:db8:bad::1"}
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
IP_HEADER_LENGTH = {4: 20, 6: 40}
QUOTED_BEFORE_EXTENSION = 128
FULL_QUOTE = 548
CAPTURED_AT_MOST = 2000
READS_IN_A_ROW = 64
AWAKE_BEFORE = 0.0003       # a sleeping process wakes up too late otherwise
PR_SET_TIMERSLACK = 29


# --------------------------------------------------------------------------
# Settings
# --------------------------------------------------------------------------

def check_settings(settings):
    """Raise ValueError for a word that means nothing: a typing mistake."""
    check_words("path", settings, PATH_SETTINGS)
    for name in settings.get("strangers", ()):
        check_words("strangers", [name], STRANGERS)
    for router in settings.get("hops", {}).values():
        check_words("router", router, ROUTER_SETTINGS)
        check_words("interface", router.get("interface", {}),
                    INTERFACE_SETTINGS)
        for each in router.get("filters", ()):
            check_words("filter", each, FILTER_SETTINGS)
            check_words("action", [each.get("action")], ACTIONS)


def check_words(what, given, known):
    for word in given:
        if word not in known:
            raise ValueError("emulator: no %s setting %r" % (what, word))


def select_address(setting, version):
    """Of a text or a list of texts, the address of an IP version."""
    texts = setting if isinstance(setting, (list, tuple)) else [setting]
    for text in texts:
        if (":" in text) == (version == 6):
            return text
    return None


# --------------------------------------------------------------------------
# Packets
# --------------------------------------------------------------------------

class Packet(collections.namedtuple("Packet", (
        "time octets version ttl tos flow_label ip_id dont_fragment proto "
        "source dest header_length sport dport seq ack flags icmp_type "
        "icmp_code icmp_id icmp_seq payload"))):
    """A decoded packet; what it does not have is None.

    `octets` is all of it, `payload` what follows the TCP, UDP or ICMP echo
    header, `proto` the number, with 58 for ICMPv6.
    """
    __slots__ = ()


def checksum(octets):
    """The Internet checksum (RFC 1071)."""
    if len(octets) % 2:
        octets += b"\0"
    total = sum(struct.unpack("!%dH" % (len(octets) // 2), octets))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def pseudo_header(version, source, dest, proto, length):
    addresses = (socket.inet_pton(FAMILIES[version], source) +
                 socket.inet_pton(FAMILIES[version], dest))
    if version == 4:
        return addresses + struct.pack("!BBH", 0, proto, length)
    return addresses + struct.pack("!II", length, proto)


def decode_packet(octets, time=None):
    """Decode an IP packet; None if it is too short or something else."""
    try:
        if bytearray(octets[:1])[0] >> 4 == 4:
            fields = decode_ipv4(octets)
        else:
            fields = decode_ipv6(octets)
        fields.update(decode_transport(
            fields["proto"], octets[fields["header_length"]:]))
    except (struct.error, IndexError, ValueError):
        return None
    return Packet(time=time, octets=octets, **fields)


def decode_ipv4(octets):
    (first, tos, _, ip_id, fragment, ttl, proto, _, source,
     dest) = struct.unpack_from("!BBHHHBBH4s4s", octets)
    return {"version": 4, "ttl": ttl, "tos": tos, "flow_label": None,
            "ip_id": ip_id, "dont_fragment": bool(fragment & 0x4000),
            "proto": proto, "header_length": (first & 15) * 4,
            "source": socket.inet_ntop(socket.AF_INET, source),
            "dest": socket.inet_ntop(socket.AF_INET, dest)}


def decode_ipv6(octets):
    first, _, proto, ttl, source, dest = struct.unpack_from(
        "!IHBB16s16s", octets)
    return {"version": 6, "ttl": ttl, "tos": first >> 20 & 0xff,
            "flow_label": first & 0xfffff, "ip_id": None,
            "dont_fragment": True, "proto": proto, "header_length": 40,
            "source": socket.inet_ntop(socket.AF_INET6, source),
            "dest": socket.inet_ntop(socket.AF_INET6, dest)}


def decode_transport(proto, octets):
    fields = dict.fromkeys((
        "sport", "dport", "seq", "ack", "flags", "icmp_type", "icmp_code",
        "icmp_id", "icmp_seq", "payload"))
    if proto == TCP:
        (fields["sport"], fields["dport"], fields["seq"], fields["ack"],
         offset, fields["flags"]) = struct.unpack_from("!HHIIBB", octets)
        fields["payload"] = octets[(offset >> 4) * 4:]
    elif proto == UDP:
        fields["sport"], fields["dport"] = struct.unpack_from("!HH", octets)
        fields["payload"] = octets[8:]
    elif proto in (ICMP, ICMPV6):
        (fields["icmp_type"], fields["icmp_code"], _, fields["icmp_id"],
         fields["icmp_seq"]) = struct.unpack_from("!BBHHH", octets)
        fields["payload"] = octets[8:]
    return fields


def is_probe(packet):
    """Does the packet start something, rather than continue it?"""
    if packet.proto == TCP:
        return packet.flags & (SYN | ACK | RST) == SYN
    return packet.proto == UDP or is_echo_request(packet)


def is_echo_request(packet):
    return (packet.proto in (ICMP, ICMPV6) and
            packet.icmp_type == ECHO_REQUEST[packet.version])


def is_icmp_error(packet):
    if packet.proto == ICMP:
        return packet.icmp_type in (3, 4, 5, 11, 12)
    return packet.proto == ICMPV6 and packet.icmp_type < 128


def count_name(packet):
    """Under which name the counters count a packet."""
    if packet.proto == TCP and packet.flags & (SYN | ACK) == SYN:
        return "tcp_syn"
    if packet.proto == TCP and packet.flags & RST:
        return "tcp_rst"
    return PROTOCOL_NAMES.get(packet.proto, "other")


def flow_hash(packet):
    """What a load balancer hashes: the same for all packets of a flow."""
    start = packet.header_length
    key = struct.pack("!BI", packet.proto, packet.flow_label or 0)
    key += (packet.source + packet.dest).encode()
    return sum((place * 31 + 7) * octet for place, octet in enumerate(
        bytearray(key + packet.octets[start:start + 4])))


def encode_ip(version, source, dest, proto, ttl, body, tos=0):
    """An IP packet around a body."""
    addresses = (socket.inet_pton(FAMILIES[version], source) +
                 socket.inet_pton(FAMILIES[version], dest))
    if version == 6:
        return struct.pack("!IHBB", 6 << 28 | tos << 20, len(body), proto,
                           ttl) + addresses + body
    header = struct.pack("!BBHHHBBH", 0x45, tos, 20 + len(body),
                         random.getrandbits(16), 0, ttl, proto, 0)
    return set_ipv4_checksum(header + addresses) + body


def set_ipv4_checksum(octets):
    length = (bytearray(octets[:1])[0] & 15) * 4
    header = octets[:10] + b"\0\0" + octets[12:length]
    return (header[:10] + struct.pack("!H", checksum(header)) +
            header[12:] + octets[length:])


def with_ttl(packet, ttl, tos=None):
    """The packet's octets with another ttl and, if given, another tos."""
    octets = packet.octets
    if packet.version == 6:
        first = octets[:4]
        if tos is not None:
            first = struct.pack(
                "!I", 6 << 28 | tos << 20 | packet.flow_label)
        return first + octets[4:7] + struct.pack("B", ttl) + octets[8:]
    second = octets[1:2] if tos is None else struct.pack("B", tos)
    return set_ipv4_checksum(octets[:1] + second + octets[2:8] +
                             struct.pack("B", ttl) + octets[9:])


def with_destination(packet, dest):
    """The packet's octets as they were before, or after, a NAT."""
    octets, start = packet.octets, packet.header_length
    place = 16 if packet.version == 4 else 24
    new = socket.inet_pton(FAMILIES[packet.version], dest)
    old = octets[place:place + len(new)]
    octets = octets[:place] + new + octets[place + len(new):]
    offset = {TCP: 16, UDP: 6, ICMPV6: 2}.get(packet.proto)
    if offset is not None:
        was, = struct.unpack_from("!H", octets, start + offset)
        octets = replace_u16(octets, start + offset,
                             adjust_checksum(was, old, new))
    return set_ipv4_checksum(octets) if packet.version == 4 else octets


def adjust_checksum(was, old, new):
    """RFC 1624: the checksum after `old` has become `new`."""
    # The complement of a checksum is the sum; checksum() is ~sum already.
    return checksum(struct.pack("!HHH", ~was & 0xffff, checksum(old),
                                ~checksum(new) & 0xffff))


def replace_u16(octets, place, value):
    return octets[:place] + struct.pack("!H", value) + octets[place + 2:]


def encode_icmp(version, source, dest, kind, word, body, ttl, tos=0):
    """An ICMP or ICMPv6 packet; `word` is the second word of its header."""
    proto = ICMP if version == 4 else ICMPV6
    message = struct.pack("!BBH", kind[0], kind[1], 0) + word + body
    covered = message
    if version == 6:
        covered = pseudo_header(
            6, source, dest, ICMPV6, len(message)) + message
    message = replace_u16(message, 2, checksum(covered))
    return encode_ip(version, source, dest, proto, ttl, message, tos)


def encode_echo_reply(packet, source, ttl):
    """What an echo request is answered with."""
    return encode_icmp(packet.version, source, packet.source,
                       (ECHO_REPLY[packet.version], 0),
                       struct.pack("!HH", packet.icmp_id, packet.icmp_seq),
                       packet.payload, ttl)


def encode_reset(packet, ttl):
    """A RST in the name of the packet's destination (RFC 9293, 3.5.2)."""
    if packet.flags & ACK:
        seq, ack, flags = packet.ack, 0, RST
    else:
        length = len(packet.payload) + bool(packet.flags & SYN) + bool(
            packet.flags & FIN)
        seq, ack, flags = 0, packet.seq + length & 0xffffffff, RST | ACK
    return encode_segment(packet, ttl, seq, ack, flags)


def encode_acceptance(packet, ttl):
    """A SYN|ACK in the name of the packet's destination."""
    return encode_segment(packet, ttl, 0x10000000,
                          packet.seq + 1 & 0xffffffff, SYN | ACK, 65535)


def encode_segment(packet, ttl, seq, ack, flags, window=0):
    """A segment without data, back to where the packet came from."""
    segment = struct.pack("!HHIIBBHHH", packet.dport, packet.sport, seq, ack,
                          5 << 4, flags, window, 0, 0)
    segment = replace_u16(segment, 16, checksum(pseudo_header(
        packet.version, packet.dest, packet.source, TCP, 20) + segment))
    return encode_ip(packet.version, packet.dest, packet.source, TCP, ttl,
                     segment)


# --------------------------------------------------------------------------
# ICMP extensions (RFC 4884)
# --------------------------------------------------------------------------

def encode_extension(router, version):
    """The extension structure of a router, or b"" if it has none."""
    objects = b""
    if router.get("labels"):
        objects += encode_object(1, 1, b"".join(
            struct.pack("!I", label << 12 | exp << 9 | bool(bottom) << 8 | ttl)
            for label, exp, bottom, ttl in router["labels"]))
    if router.get("interface"):
        objects += encode_interface(router["interface"], version)
    if not objects:
        return b""
    header = struct.pack("!BBH", 2 << 4, 0, 0)
    return replace_u16(header, 2, checksum(header + objects)) + objects


def encode_object(kind, subkind, body):
    return struct.pack("!HBB", 4 + len(body), kind, subkind) + body


def encode_interface(interface, version):
    """RFC 5837: the interface at which the packet came in."""
    subkind, body = 0, b""
    address = select_address(interface.get("address", []), version)
    if "ifindex" in interface:
        subkind |= 8
        body += struct.pack("!I", interface["ifindex"])
    if address:
        subkind |= 4
        body += struct.pack("!HH", 1 if version == 4 else 2, 0)
        body += socket.inet_pton(FAMILIES[version], address)
    if "name" in interface:
        subkind |= 2
        name = interface["name"].encode("utf-8")
        length = (1 + len(name) + 3) // 4 * 4
        body += struct.pack("B", length) + name.ljust(length - 1, b"\0")
    if "mtu" in interface:
        subkind |= 1
        body += struct.pack("!I", interface["mtu"])
    return encode_object(2, subkind, body)


def encode_quote(router, octets, header_length, version):
    """What follows the ICMP header: (RFC 4884 length, quote, extension)."""
    quote = router.get("quote", "full")
    limit = FULL_QUOTE if quote == "full" else header_length + quote
    extension = encode_extension(router, version)
    if not extension:
        return 0, octets[:limit], b""
    if quote == "full" or router.get("legacy"):
        limit = min(limit, QUOTED_BEFORE_EXTENSION)
    unit = 4 if version == 4 else 8
    octets = octets[:limit].ljust(QUOTED_BEFORE_EXTENSION, b"\0")
    octets = octets.ljust(-(-len(octets) // unit) * unit, b"\0")
    length = 0 if router.get("legacy") else len(octets) // unit
    return length, octets, extension


# --------------------------------------------------------------------------
# Forgeries
# --------------------------------------------------------------------------

def quote_from_stranger(packet, octets):
    """Time exceeded, from someone who is not on the path."""
    version = packet.version
    return encode_icmp(version, STRANGER[version], packet.source,
                       TIME_EXCEEDED[version], b"\0\0\0\0", octets[:128], 60)


def forge_field(offset, protocols):
    """A forger that changes 16 bits of the quoted transport header."""
    def forge(packet):
        if packet.proto not in protocols:
            return None
        place = packet.header_length + offset
        was, = struct.unpack_from("!H", packet.octets, place)
        return quote_from_stranger(
            packet, replace_u16(packet.octets, place, was ^ 0x2001))
    return forge


def forge_seq(packet):
    offset = 4 if packet.proto == TCP else 6
    return forge_field(offset, (TCP, ICMP, ICMPV6))(packet)


def forge_destination(packet):
    return quote_from_stranger(
        packet, with_destination(packet, ELSEWHERE[packet.version]))


def forge_truncated(packet):
    return quote_from_stranger(packet, packet.octets[:11])


def forge_redirect(packet):
    version, word = packet.version, b"\0\0\0\0"
    body = packet.octets[:packet.header_length + 8]
    gateway = socket.inet_pton(FAMILIES[version], STRANGER[version])
    if version == 4:
        word = gateway
    else:
        body = gateway + socket.inet_pton(socket.AF_INET6, packet.dest)
    return encode_icmp(version, STRANGER[version], packet.source,
                       REDIRECT[version], word, body, 255)


def forge_echo_reply(packet):
    version = packet.version
    ident = (packet.icmp_id or 0) ^ 0x2001
    return encode_icmp(
        version, packet.dest, packet.source, (ECHO_REPLY[version], 0),
        struct.pack("!HH", ident, packet.icmp_seq or 1), b"foreign!", 60)


def forge_garbage(packet):
    version = packet.version
    body = struct.pack("!10I", *[random.getrandbits(32) for _ in range(10)])
    return encode_ip(version, STRANGER[version], packet.source,
                     ICMP if version == 4 else ICMPV6, 60, body)


STRANGERS = {
    "wrong_source_port": forge_field(0, (TCP, UDP)),
    "wrong_dest_port": forge_field(2, (TCP, UDP)),
    "wrong_seq": forge_seq,
    "wrong_echo_id": forge_field(4, (ICMP, ICMPV6)),
    "wrong_destination": forge_destination,
    "truncated": forge_truncated,
    "redirect": forge_redirect,
    "foreign_echo_reply": forge_echo_reply,
    "garbage": forge_garbage,
}


def forge_reset(packet, ttl):
    if packet.proto == TCP and not packet.flags & RST:
        return encode_reset(packet, ttl)


def forge_acceptance(packet, ttl):
    if packet.proto == TCP and packet.flags & (SYN | ACK) == SYN:
        return encode_acceptance(packet, ttl)


def forge_pong(packet, ttl):
    if is_echo_request(packet):
        return encode_echo_reply(packet, packet.dest, ttl)


# What a router sends in the name of the destination, by a filter's action.
FORGERS = {"reset": forge_reset, "accept": forge_acceptance,
           "echo": forge_pong}


# --------------------------------------------------------------------------
# Routers
# --------------------------------------------------------------------------

class Router(object):
    """Router k: its settings, its rate limit, its counters."""

    def __init__(self, k, settings, delay):
        self.k = k
        self.settings = settings
        self.delay = settings.get("delay", delay)
        self.filters = [dict(each) for each in settings.get("filters", ())]
        self.addresses = {4: "10.88.%d.1" % k, 6: socket.inet_ntop(
            socket.AF_INET6, socket.inet_pton(
                socket.AF_INET6, "fd88:0:0:%d::1" % k))}
        self.tokens = float(settings.get("burst", 1))
        self.refilled = None
        self.count = {"expired": 0, "replied": 0, "limited": 0, "lost": 0,
                      "filtered": 0, "forwarded": {}}

    def may_send(self, now):
        """Ask the token bucket."""
        rate = self.settings.get("rate")
        if rate is None:
            return True
        burst = float(self.settings.get("burst", 1))
        if self.refilled is not None:
            self.tokens = min(
                burst, self.tokens + (now - self.refilled) * rate)
        self.refilled = now
        if self.tokens < 1:
            self.count["limited"] += 1
            return False
        self.tokens -= 1
        return True

    def source(self, packet):
        """The address its ICMP comes from."""
        settings, version = self.settings, packet.version
        choice = self.balanced(version)
        if choice:
            return choice[self.branch(packet)]
        return (select_address(settings.get("reply_from", []), version) or
                self.addresses[version])

    def balanced(self, version):
        return [address for address in self.settings.get("balance", ())
                if (":" in address) == (version == 6)]

    def branch(self, packet):
        """Which of the balanced addresses a packet's flow goes by."""
        choice = self.balanced(packet.version)
        return flow_hash(packet) % len(choice) if choice else None

    def find_filter(self, packet, back=False):
        """The first filter that matches the packet and is in the mood."""
        for rule in self.filters:
            if (rule.get("direction") == "back") != back:
                continue
            victim = [packet.source, packet.dest, packet.dport]
            if rule.get("stuck") == victim:
                return rule
            if not filter_matches(rule, packet):
                continue
            if rule.get("branch", -1) not in (-1, self.branch(packet)):
                continue
            if random.random() >= rule.get("chance", 1):
                continue
            if "first" in rule:
                if rule["first"] <= 0:
                    continue
                rule["first"] -= 1
            if rule.get("sticky"):
                rule["stuck"] = victim
            return rule
        return None

    def error(self, packet, kind, ttl=None, source=None, mtu=0):
        """An ICMP error about a packet, or None if it gets there dead."""
        settings, version = self.settings, packet.version
        ttl = settings.get("reply_ttl", 255) if ttl is None else ttl
        ttl -= self.k - 1
        if ttl <= 0:
            return None
        dest = select_address(settings.get("quote_dst", []), version)
        octets = with_destination(packet, dest) if dest else packet.octets
        length, quote, extension = encode_quote(
            settings, octets, packet.header_length, version)
        if version == 4:
            word = struct.pack("!BBH", 0, length, mtu)
        else:
            word = struct.pack("!I", mtu or length << 24)
        return encode_icmp(
            version, source or self.source(packet), packet.source, kind,
            word, quote + extension, ttl, 0xc0 if version == 4 else 0)


def filter_matches(rule, packet):
    if "proto" in rule and PROTOCOL_NAMES.get(packet.proto) != rule["proto"]:
        return False
    if "port" in rule and rule["port"] != (
            packet.sport if rule.get("direction") == "back"
            else packet.dport):
        return False
    if rule.get("family", packet.version) != packet.version:
        return False
    if rule.get("syn_only") and not (
            packet.proto == TCP and packet.flags & (SYN | ACK) == SYN):
        return False
    if rule.get("data_only") and not packet.payload:
        return False
    if rule.get("contains", "").encode("ascii") not in packet.payload:
        return False
    return len(packet.octets) >= rule.get("min_size", 0)


# --------------------------------------------------------------------------
# The path
# --------------------------------------------------------------------------

class Emulator(object):
    """Decides at once what becomes of each packet, and delivers it later."""

    def __init__(self, client, server):
        self.client, self.server = client, server   # descriptors
        self.due = []           # heap of (time, number, descriptor, octets)
        self.number = 0
        self.captured = []
        self.destinations = set()
        self.do_configure({}, clear=True)

    # Requests of the test

    def do_configure(self, settings, clear=False):
        self.settings = settings
        count = settings.get("routers", 4)
        delay = settings.get("delay", 0.0)
        hops = settings.get("hops", {})
        old = [] if clear else self.routers
        self.routers = [
            Router(k, hops.get(str(k), {}), delay * k / max(count, 1))
            for k in range(1, count + 1)]
        for before, after in zip(old, self.routers):
            after.count = before.count
        self.destinations = set(["192.0.2.7", "2001:db8::7"] +
                                list(settings.get("addresses", ())))
        self.by_address = dict((address, router) for router in self.routers
                               for address in router.addresses.values())
        random.seed(settings.get("seed", 1))
        if clear:
            self.captured = []
            self.due = []
            self.count = {"to_server": {}, "to_client": {}, "from_client": {},
                          "lost": 0, "strangers": 0}
        return {}

    def do_stats(self):
        return dict(self.count, routers=dict(
            (router.k, router.count) for router in self.routers))

    def do_captured(self):
        return {"packets": [
            ["".join("%02x" % octet for octet in bytearray(octets)), when]
            for octets, when in self.captured]}

    # Packets of the client

    def from_client(self, octets, now):
        packet = decode_packet(octets)
        if packet is None or is_multicast(packet):
            return
        if len(self.captured) < CAPTURED_AT_MOST:
            self.captured.append((octets, time.time()))
        add_one(self.count["from_client"], count_name(packet))
        if is_probe(packet):
            self.send_strangers(packet, now)
        for router in self.routers:
            if self.by_address.get(packet.dest) is router:
                self.deliver_to_router(router, packet, now)
                return
            packet = self.route(router, packet, now)
            if packet is None:
                return
        self.to_server(packet, now)

    def route(self, router, packet, now):
        """What router forwards of a packet: None if it does not."""
        settings = router.settings
        if packet.ttl <= 1:
            self.expire(router, packet, now)
            return None
        tos = settings.get("rewrite_tos", packet.tos)
        packet = packet._replace(
            octets=with_ttl(packet, packet.ttl - 1, tos),
            ttl=packet.ttl - 1, tos=tos)
        rule = router.find_filter(packet)
        if rule is not None and rule["action"] != "pass":
            router.count["filtered"] += 1
            self.refuse(router, rule, packet, now)
            if not rule.get("tap"):
                return None
        mtu = settings.get("mtu", 0)
        if mtu and len(packet.octets) > mtu and packet.dont_fragment:
            if not settings.get("blackhole"):
                self.send_error(router, packet, now, TOO_BIG,
                                mtu=settings.get("told_mtu", mtu))
            return None
        add_one(router.count["forwarded"], count_name(packet))
        return packet

    def expire(self, router, packet, now):
        router.count["expired"] += 1
        settings, version = router.settings, packet.version
        kind = TIME_EXCEEDED[version]
        suffix = "6" if version == 6 else ""
        kind = (settings.get("type" + suffix, kind[0]),
                settings.get("code" + suffix, kind[1]))
        quoted = packet._replace(octets=with_ttl(
            packet, settings.get("quote_ttl", packet.ttl)))
        self.send_error(router, quoted, now, {version: kind})

    def refuse(self, router, rule, packet, now):
        """Do what a filter says."""
        action = rule["action"]
        if action == "reject":
            self.send_error(
                router, packet, now,
                chosen_kinds(rule, ADMINISTRATIVELY_PROHIBITED),
                ttl=rule.get("ttl"))
        elif action == "icmp_as_destination":
            self.send_error(
                router, packet, now, chosen_kinds(rule, PORT_UNREACHABLE),
                ttl=rule.get("ttl", 64), source=packet.dest)
        elif action in FORGERS:
            ttl = rule.get("ttl", 64) - (router.k - 1)
            octets = FORGERS[action](packet, ttl)
            if ttl > 0 and octets:
                self.reply(router, octets, now)

    def deliver_to_router(self, router, packet, now):
        """A packet for a router itself."""
        if is_echo_request(packet):
            ttl = router.settings.get("reply_ttl", 64) - (router.k - 1)
            if not router.settings.get("silent"):
                self.reply(router, encode_echo_reply(
                    packet, packet.dest, ttl), now)
        elif packet.proto == UDP:
            self.send_error(router, packet, now, PORT_UNREACHABLE,
                            source=packet.dest)
        elif packet.proto == TCP and not packet.flags & RST:
            self.reply(router, encode_reset(packet, 64 - router.k + 1), now)

    def send_error(self, router, packet, now, kinds, **how):
        if router.settings.get("silent") or is_icmp_error(packet):
            return
        if "silent_branch" in router.settings and \
                router.settings["silent_branch"] == router.branch(packet):
            return
        if not router.may_send(now + router.delay):
            return
        octets = router.error(packet, kinds[packet.version], **how)
        if octets is not None:
            self.reply(router, octets, now)

    def reply(self, router, octets, now):
        """Send what a router says to the client, with all its faults."""
        settings = router.settings
        if random.random() < settings.get("loss", 0):
            router.count["lost"] += 1
            return
        router.count["replied"] += 1
        for _ in range(1 + settings.get("duplicate", 0)):
            jitter = random.uniform(0, settings.get("jitter", 0))
            self.send(self.client, octets, now + 2 * router.delay + jitter +
                      settings.get("late", 0))

    def send_strangers(self, packet, now):
        for name in self.settings.get("strangers", ()):
            octets = STRANGERS[name](packet)
            if octets is not None:
                self.count["strangers"] += 1
                self.send(self.client, octets, now)

    def to_server(self, packet, now):
        if packet.dest not in self.destinations:
            return
        if random.random() < self.settings.get("loss", 0):
            self.count["lost"] += 1
            return
        add_one(self.count["to_server"], count_name(packet))
        self.send(self.server, packet.octets,
                  now + self.settings.get("delay", 0))

    # Packets of the server

    def from_server(self, octets, now):
        packet = decode_packet(octets)
        if packet is None or is_multicast(packet):
            return
        ttl = packet.ttl - self.settings.get(
            "return_hops", len(self.routers))
        if ttl <= 0:
            return
        for router in reversed(self.routers):
            rule = router.find_filter(packet, back=True)
            if rule is not None and rule["action"] != "pass":
                router.count["filtered"] += 1
                return
        if random.random() < self.settings.get("loss_back", 0):
            self.count["lost"] += 1
            return
        add_one(self.count["to_client"], count_name(packet))
        jitter = random.uniform(0, self.settings.get("jitter", 0))
        self.send(self.client, with_ttl(packet, ttl),
                  now + self.settings.get("delay", 0) + jitter)

    # Time

    def send(self, fd, octets, when):
        self.number += 1
        heapq.heappush(self.due, (when, self.number, fd, octets))

    def send_due(self):
        """Deliver what is due; return the seconds to sleep, None: for ever.
        """
        while self.due:
            wait = self.due[0][0] - clock()
            if wait > 0:
                return max(0, wait - AWAKE_BEFORE)
            _, _, fd, octets = heapq.heappop(self.due)
            try:
                os.write(fd, octets)
            except OSError:
                pass            # EINVAL: the device is down
        return None

    def read_all(self, fd, take):
        """Read the packets that wait, and note the time of each, at once."""
        packets = []
        while len(packets) < READS_IN_A_ROW:
            try:
                packets.append((os.read(fd, 65536), clock()))
            except OSError:
                break           # EAGAIN: that was the last
        for octets, when in packets:
            take(octets, when)
            self.send_due()

    def wait_for(self, control):
        """Work until `control` can be read."""
        devices = {self.server: self.from_server,
                   self.client: self.from_client}
        while True:
            wait = self.send_due()
            ready = select.select([control] + list(devices), [], [], wait)[0]
            for fd in devices:
                if fd in ready:
                    self.read_all(fd, devices[fd])
            if control in ready:
                return


clock = getattr(time, "monotonic", time.time)


def is_multicast(packet):
    if packet.version == 6:
        return packet.dest.startswith("ff")
    return int(packet.dest.split(".")[0]) >= 224


def add_one(counters, name):
    counters[name] = counters.get(name, 0) + 1


def chosen_kinds(rule, default):
    return {4: rule.get("icmp", default[4]), 6: rule.get("icmp6", default[6])}


# --------------------------------------------------------------------------
# Main program
# --------------------------------------------------------------------------

def emulate(arguments):
    """Open the two devices, then play the path until the test has done."""
    import lab
    options = json.loads(arguments[0])
    lab.go_first()
    devices = []
    for side in ("client", "server"):
        lab.join_namespaces(options[side])
        devices.append(lab.open_tun("tun0"))
    lab.prctl(PR_SET_TIMERSLACK, 1)
    gc.disable()
    emulator = Emulator(*devices)
    lab.write_reply(lambda _: {}, {})
    lab.answer_requests(
        lambda request: getattr(
            emulator, "do_" + request.pop("do"))(**request),
        emulator.wait_for)


if __name__ == "__main__":
    sys.exit(emulate(sys.argv[1:]))
