"""The score: networks broken in realistic ways, asked by the plain command.

Each row of ROWS is a network, the ports asked, and what is true of it.  The
command is always `potraceroute.py -n HOST -p PORTS`, perhaps with -U or -S:
no option that a stranger would not know.  It runs as a user with ICMP echo
("user"), as one without ("mute"), and where that adds something as root, each
time on a network just built, whose routers have their whole limit of ICMP
left: once for the JSON (what is true?), once for the screen (what is said?).

The word of a verdict is right if it is one of the row's; "refused?" is right
only if the sentence says that it is not confirmed, or cannot be told.  A
place is right if it is the row's; a place that is wider than need be is
right where the row says so, `wide`.  RULES hold for every run.

    POTRACEROUTE_NETWORKS=2/6                       the third of six shares
    python3 tests/test_networks.py                  list the rows
    python3 tests/test_networks.py NAME [user|mute|root]    show one

Not tested here: what the options of section 7 of the design would tell.
"""

import collections
import json
import os
import re
import struct
import sys
import threading
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import emulator  # noqa: E402
import lab  # noqa: E402
import potraceroute  # noqa: E402

AT_ONCE = 5             # networks that are there at one time
BESIDE, IN_A_ROW = 8, 4
SHOWN = 12              # problems of one row

DUAL = "dual.example"
BOTH, ALL = ("user", "mute"), ("user", "mute", "root")
REACHED = ("open", "answered", "refused")
HEDGE = r"not confirmed|unconfirmed|cannot (be )?t(ell|old)|or in its name"
LOSS_SHOWN = r"\blost\b(?!, or routers limit)|\bloss\b|\btwice\b"
LOSS = r"\blost\b|\bloss\b|\btwice\b|sent again|retransm|second try|try again"
DOWN = r"\b(is|are|host) down\b"
HEDGED_DOWN = r"\b(or|perhaps|maybe|may be|might|if|unless)\b[^.;\n]*\bdown\b"

# How the sentence of a port begins; {port} is "TCP port 25".
SAYS = {"open": "{port} is open(?! or)", "refused": "{port} is closed",
        "reset": "{port} is reset", "rejected": "{port} is rejected",
        "dropped": "{port} is dropped", "answered": "{port} answered",
        "silent": "{port} is open or filtered",
        "intercepted": "{port} is intercepted"}


# --------------------------------------------------------------------------
# What is true
# --------------------------------------------------------------------------

class Truth(collections.namedtuple("Truth", (
        "verdicts after before after_addresses"))):
    """Of one port: its verdicts, and the ttls that blocked_after and
    blocked_before may have, None among them if it may be missing; None
    instead of all: there is no place."""
    __slots__ = ()


def reached(*verdicts):
    return Truth(verdicts, None, None, None)


def cut(verdicts, k, first=None, last=None, addresses=None):
    """Blocked behind hop k and before the next one; a wider place, up to
    from `first` to `last`, is right as well.  first=0: or nowhere."""
    first, last = k if first is None else first, last or k + 1
    after = set(range(max(first, 1), k + 1)) | set([None] * (first == 0))
    return Truth(tuple(verdicts.split()), after,
                 set([None]) | set(range(k + 1, last + 1)), addresses)


def pair(verdicts, k):
    """Blocked between two hops that both can be seen."""
    return Truth(tuple(verdicts.split()), set([k]), set([k + 1]), None)


def nothing_beyond(verdicts, k):
    """Nothing gets behind hop k, so there is no next hop to name."""
    return Truth(tuple(verdicts.split()), set([k]), set([None]), None)


Row = collections.namedtuple("Row", (
    "name build arguments truth target who forbids needs also distances "
    "knows_up repeat dual"))
ROWS = collections.OrderedDict()


def row(name, build, arguments, truth, target=None, who=BOTH, forbids=(),
        needs=(), also=(), distances=(), knows_up=True, repeat=False,
        dual=False):
    """Add a row.

    build      makes the network
    arguments  of the command, HOST apart: a text, or a function of the
               network that returns one
    truth      {port: Truth}
    target     what HOST is, a function of the network
    forbids, needs   regular expressions, on no screen, on every screen;
               HOST stands for the address
    also       {ttl: [addresses]} that answer there besides
    distances  of the host, in hops, that are right as well
    knows_up   can a run know that the host is up?
    repeat     run it many times, in one network, and compare
    dual       HOST is DUAL, a name that has both families
    """
    assert name not in ROWS, name
    ROWS[name] = Row(name, build, arguments, truth, target or four, who,
                     forbids, needs, dict(also), distances, knows_up, repeat,
                     dual)


def four(net):
    return net.destination


def six(net):
    return net.destination6


# --------------------------------------------------------------------------
# Networks
# --------------------------------------------------------------------------

def chain(routers=4, tcp=(22,), mute=(), branch=None, **filters):
    """Kernel routers with their default limits of ICMP.

    tcp      ports that are open on the host
    mute     nodes that send no ICMP
    filters  forward_2=[nft rules] and the like: hook, node
    """
    def build():
        net = lab.Chain(routers=routers, icmp_limits=True)
        try:
            for port in tcp:
                net.serve(net.server, "tcp", port=port)
            for node in mute:
                net.mute(node)
            for name in filters:
                hook, node = name.split("_")
                net.filter(node if node == "server" else int(node), hook,
                           filters[name])
        except Exception:
            net.close()
            raise
        return net
    return build


def and_then(build, change):
    """A network with something more done to it."""
    def build_and_change():
        net = build()
        try:
            change(net)
        except Exception:
            net.close()
            raise
        return net
    return build_and_change


def path(tcp=(22,), udp=(), **settings):
    """Emulated routers; settings as those of lab.Path."""
    def build():
        net = lab.Path(**settings)
        try:
            for port in tcp:
                net.serve(net.server, "tcp", port=port)
            for port in udp:
                net.serve(net.server, "silent-udp", port=port)
        except Exception:
            net.close()
            raise
        return net
    return build


def serve_at(node, kind, port, **options):
    return lambda net: net.serve(net.name_of(node), kind, port=port,
                                 **options)


def ip_at(node, commands):
    return lambda net: net.ip(net.name_of(node), commands)


def tcp_filter(port, action, **more):
    return dict(more, proto="tcp", port=port, action=action)


DEFAULT_DENY = ["ct state established,related accept",
                "tcp dport { 22, 443 } accept", "drop"]
SHY_HOST = ["meta l4proto icmp drop", "icmpv6 type echo-request drop",
            "meta l4proto udp drop"]
CALLS_IT_DOWN = [DOWN]
SAYS_REFUSED = [r"HOST (itself )?refused it", r"closed",
                r"connection refused \[Reached"]
SAYS_ACCEPTED = [r"HOST (itself )?accepted",
                 r"connection successful.*\[Reached"]

# a. A firewall that passes two ports, and a router that passes nothing

row("default-deny drops 8080, host up", chain(forward_2=DEFAULT_DENY),
    "-p8080", {8080: pair("dropped", 2)}, who=ALL,
    needs=[r"(?m)^3\t10\.77\.2\.2 "])
row("default-deny drops 8080, 22 in the same run",
    chain(forward_2=DEFAULT_DENY), "-p8080,22",
    {8080: pair("dropped", 2), 22: reached("open")})
row("default-deny drops 8080, 22 first", chain(forward_2=DEFAULT_DENY),
    "-p22,8080", {8080: pair("dropped", 2), 22: reached("open")})
row("default-deny passes 443, which the host refuses",
    chain(forward_2=DEFAULT_DENY), "-p443,8080",
    {443: reached("refused"), 8080: pair("dropped", 2)})
row("default-deny, only 443 passes and is refused",
    chain(tcp=(), routers=5, forward_3=[
        "ct state established,related accept", "tcp dport 443 accept",
        "drop"]), "-p8080", {8080: pair("dropped", 3)})
row("router drops everything", chain(forward_2=["drop"]), "-p8080",
    {8080: nothing_beyond("dropped", 2)}, who=ALL, knows_up=False)
row("default-deny, IPv6", chain(forward_2=DEFAULT_DENY), "-p8080",
    {8080: pair("dropped", 2)}, six)
row("router drops everything, IPv6", chain(forward_2=["drop"]), "-p8080",
    {8080: nothing_beyond("dropped", 2)}, six, knows_up=False)

# b. A reset forged in front of a silent router, on a host that says little

FORGED = ["tcp dport 25 reject with tcp reset"]

row("forged reset, silent router behind, shy host",
    chain(tcp=(443,), mute=(3,), forward_2=FORGED, input_server=SHY_HOST),
    "-p25", {25: cut("reset refused?", 2, 0, 5)}, who=ALL)
row("forged reset, silent router behind, shy host, 443 in the same run",
    chain(tcp=(443,), mute=(3,), forward_2=FORGED, input_server=SHY_HOST),
    "-p25,443", {25: cut("reset", 2, 2, 5), 443: reached("open")},
    forbids=SAYS_REFUSED)
row("shy host refuses 25 itself",
    chain(tcp=(443,), mute=(3,), input_server=SHY_HOST), "-p25",
    {25: reached("refused")}, who=ALL)
row("shy host refuses 25 itself, beside 443",
    chain(tcp=(443,), input_server=SHY_HOST), "-p25,443",
    {25: reached("refused"), 443: reached("open")},
    forbids=["a device on the way"])
row("forged reset, all routers speak", chain(forward_2=FORGED), "-p25",
    {25: cut("reset", 2, 1)}, who=ALL, forbids=SAYS_REFUSED)
row("forged reset, silent router behind, shy host, IPv6",
    chain(tcp=(443,), mute=(3,), forward_2=FORGED, input_server=SHY_HOST),
    "-p25", {25: cut("reset refused?", 2, 0, 5)}, six)
row("shy host refuses 25 itself, IPv6",
    chain(tcp=(443,), input_server=SHY_HOST), "-p25",
    {25: reached("refused")}, six)
row("forged reset, everything behind is silent",
    chain(tcp=(), mute=(3, 4), forward_2=FORGED, input_server=[
        "meta l4proto icmp drop", "meta l4proto udp drop", "drop"]),
    "-p25", {25: cut("reset refused?", 2, 0, 5)},
    knows_up=False)

LAST = ["tcp dport 25 reject with tcp reset"]
row("the last router resets", chain(forward_4=LAST), "-p25",
    {25: cut("reset", 4, 3)}, who=ALL, forbids=SAYS_REFUSED)
row("the last router resets one of several", chain(forward_4=LAST),
    "-p22,25,26", {22: reached("open"), 25: cut("reset", 4, 3),
                   26: reached("refused")}, who=ALL)
row("the last router resets, and lets but one port through",
    chain(forward_4=["ct state established accept", "tcp dport 22 accept"] +
          LAST + ["drop"]), "-p25", {25: cut("reset", 4, 3)}, who=ALL,
    forbids=SAYS_REFUSED)
row("the last router is silent and resets", chain(forward_4=LAST, mute=(4,)),
    "-p25", {25: cut("reset", 4, 3)}, who=ALL, forbids=SAYS_REFUSED)
row("the last router resets, IPv6", chain(forward_4=LAST), "-p25",
    {25: cut("reset", 4, 3)}, six, forbids=SAYS_REFUSED)
for _code in ([3, 10], [3, 13]):
    row("a device prohibits in the host's name, ICMP %d/%d" % tuple(_code),
        path(routers=9, delay=0.02, hops={4: {"filters": [
            tcp_filter(25, "icmp_as_destination", icmp=_code)]}}),
        "-p25,22", {25: cut("rejected", 4, 3), 22: reached("open")}, who=ALL,
        forbids=["own firewall", "HOST itself"])

# c. Transparent proxies, and what looks like one

PROXY = ["tcp dport 80 redirect to :8888"]


def proxied(k=2, **more):
    return and_then(chain(routers=3, nat_2=PROXY, **more),
                    serve_at(k, "tcp", 8888))


row("transparent proxy", proxied(), "-p80", {80: cut("intercepted", 2, 1)},
    who=ALL, forbids=SAYS_ACCEPTED)
row("transparent proxy, shy host", proxied(input_server=SHY_HOST), "-p80",
    {80: cut("intercepted", 2, 1)}, forbids=SAYS_ACCEPTED)
row("transparent proxy beside an open port", proxied(), "-p80,22",
    {80: cut("intercepted", 2, 1), 22: reached("open")},
    forbids=[r"80 is open", r"HOST accepted the connection, 2 hops"])
row("transparent proxy, IPv6", proxied(), "-p80",
    {80: cut("intercepted", 2, 1)}, six, forbids=SAYS_ACCEPTED)
row("transparent proxy far from an emulated host",
    path(routers=9, delay=0.02, hops={3: {"filters": [
        tcp_filter(80, "accept")]}}), "-p80",
    {80: cut("intercepted", 3, 2)}, forbids=SAYS_ACCEPTED)
row("a device accepts every connection in front of the host",
    path(routers=7, delay=0.01, hops={3: {"filters": [
        {"proto": "tcp", "action": "accept"}]}}), "-p80,22",
    {80: cut("intercepted", 3, 2), 22: cut("intercepted", 3, 2)},
    forbids=SAYS_ACCEPTED)
PORTAL = chain(tcp=(22,), nat_1=["tcp dport { 80, 443 } redirect to :8888"],
               forward_1=["drop"])
row("captive portal", and_then(PORTAL, serve_at(1, "tcp", 8888)),
    "-p443,80,22", {
        443: Truth(("intercepted",), set([None]), set([None, 1, 2]), None),
        80: Truth(("intercepted",), set([None]), set([None, 1, 2]), None),
        22: nothing_beyond("dropped", 1)}, who=ALL, knows_up=False,
    forbids=SAYS_ACCEPTED, needs=["is intercepted"])
row("captive portal, a port it drops", and_then(
    PORTAL, serve_at(1, "tcp", 8888)), "-p22",
    {22: nothing_beyond("dropped", 1)}, who=ALL, knows_up=False)
row("open port", chain(tcp=(80,)), "-p80", {80: reached("open")}, who=ALL,
    forbids=["device on the way", "prox", "intercept", LOSS])
row("open port, shy host, silent last router",
    chain(tcp=(80,), mute=(4,), input_server=SHY_HOST), "-p80",
    {80: reached("open")}, forbids=["device on the way", "prox",
                                    "intercept"])
row("open port, IPv6", chain(tcp=(80,)), "-p80", {80: reached("open")}, six,
    forbids=["device on the way", "prox", "intercept", LOSS])
row("port forwarded behind the address",
    chain(tcp=(80,), nat_2=["ip daddr 10.77.1.2 tcp dport 80 "
                            "dnat ip to 10.77.4.2"]),
    "-p80", {80: reached("open")}, lambda net: net.hop(2), who=ALL,
    forbids=["intercept", "transparent", r"\bdown\b"],
    also={3: ["10.77.1.2"], 4: ["10.77.1.2"], 5: ["10.77.1.2"]},
    distances=(3, 4, 5))

row("the host behind the address prohibits",
    chain(nat_2=["ip daddr 10.77.1.2 tcp dport 80 dnat ip to 10.77.4.2"],
          input_server=["tcp dport 80 reject with icmp host-prohibited"]),
    "-p80", {80: Truth(("rejected",), set([2, 3, 4, 5]), set([None]), None)},
    lambda net: net.hop(2), who=ALL, knows_up=False,
    needs=[r"what is behind 10\.77\.1\.2"],
    forbids=["HOST itself", "nothing came"],
    also={3: ["10.77.1.2"], 4: ["10.77.1.2"], 5: ["10.77.1.2"]},
    distances=(3, 4, 5))

# d. A load balancer with a dead branch


def branch_port(branch, dport):
    """A source port whose flow to an emulated host goes by that branch."""
    def index(sport):
        key = struct.pack("!BI", emulator.TCP, 0) + (
            lab.Path.client_address + lab.Path.destination).encode()
        octets = bytearray(key + struct.pack("!HH", sport, dport))
        return sum((place * 31 + 7) * octet for place, octet in enumerate(
            octets)) % 2
    return [sport for sport in range(41000, 41100)
            if index(sport) == branch][0]


def balancer(dead):
    """Hops 3 to 5 are two each; the second 4 forwards nothing, or all."""
    hops = dict((k, {"balance": ["10.88.%d.1" % k, "10.88.%d.101" % k]})
                for k in (3, 4, 5))
    if dead:
        hops[4]["filters"] = [{"action": "drop", "branch": 1}]
    return path(tcp=(80,), routers=7, delay=0.01, hops=hops)


OTHERS = {3: ["10.88.3.101"], 4: ["10.88.4.101"], 5: ["10.88.5.101"]}
OTHER_BRANCH = [r"(behind|between|after) hop \d \(10\.88\.[345]\.1\)",
                r"(before|and) hop 5\b"]
DEAD = ("10.88.1.1", "10.88.2.1", "10.88.3.101", "10.88.4.101")

row("dead branch of a balancer", balancer(True), "-p80",
    {80: cut("open dropped?", 4, 0, 8, DEAD)._replace(
        verdicts=("open", "dropped"))}, who=ALL,
    also=OTHERS, forbids=OTHER_BRANCH + CALLS_IT_DOWN)
row("dead branch of a balancer, one flow on it", balancer(True),
    lambda net: "-p80 -S%d" % branch_port(1, 80),
    {80: Truth(("dropped",), set([4]), set([None, 6, 7, 8]), DEAD)},
    also=OTHERS, forbids=OTHER_BRANCH + CALLS_IT_DOWN)
row("dead branch of a balancer, one flow beside it", balancer(True),
    lambda net: "-p80 -S%d" % branch_port(0, 80), {80: reached("open")},
    also=OTHERS)
row("balancer whose branches both live", balancer(False), "-p80",
    {80: reached("open")}, also=OTHERS, forbids=[LOSS])
row("dead branch on kernel routers", and_then(
    chain(tcp=(80,)), lambda net: net.filter(
        net.add_branch(3)[0], "forward", ["ip saddr 10.77.0.0/24 drop"])),
    "-p80", {80: Truth(("open", "dropped"), set([None, 2, 3]),
                       set([None, 4, 5]), ("10.77.1.2", "10.78.1.2"))},
    also={3: ["10.78.1.2"]}, forbids=CALLS_IT_DOWN)
row("dead branch on kernel routers, one flow", and_then(
    chain(tcp=(80,)), lambda net: net.filter(
        net.add_branch(3)[0], "forward", ["ip saddr 10.77.0.0/24 drop"])),
    "-p80 -S40000", {80: Truth(("open", "dropped"), set([None, 3]),
                               set([None, 4, 5]), ("10.78.1.2",))},
    also={3: ["10.78.1.2"]}, forbids=CALLS_IT_DOWN)

# A name with both families, of which the first is broken

BREAK_IPV6 = ["meta nfproto ipv6 meta l4proto tcp drop"]
TELLS_IPV4 = [r"\bIPv4\b", r" -4\b|\(-4\)"]

row("IPv6 is dropped, IPv4 works", chain(tcp=(80,), forward_2=BREAK_IPV6),
    "-p80", {80: cut("dropped", 2)}, six, dual=True,
    needs=TELLS_IPV4 + [r"10\.77\.4\.2"])
row("IPv6 loops, IPv4 works", and_then(chain(tcp=(80,)), ip_at(
    3, "route add fd77:4::/64 via fd77:2::1")), "-p80",
    {80: Truth(("dropped",), set([None] + list(range(1, 31))),
               set([None] + list(range(1, 31))), None)}, six, dual=True,
    also=dict((ttl, ["fd77:1::2", "fd77:2::2", "fd77:2::1"])
              for ttl in range(3, 31)), needs=["loop"] + TELLS_IPV4)
row("IPv6 and IPv4 are dropped", chain(tcp=(22,), forward_2=[
    "tcp dport 80 drop"]), "-p80", {80: cut("dropped", 2)}, six, dual=True,
    forbids=[r"\(-4\)", "IPv4.* works"])
row("IPv6 works", chain(tcp=(80,)), "-p80", {80: reached("open")}, six,
    dual=True, forbids=[r"\bIPv4\b", r" -4\b", r"10\.77\."])

# Two ways of unequal length: the host is at two distances, and honest

for _name, _ports, _truth in (
        ("open", "-p80", {80: reached("open")}),
        ("refused", "-p81", {81: reached("refused")}),
        ("open and refused", "-p80,81", {80: reached("open"),
                                         81: reached("refused")})):
    row("two ways of unequal length, " + _name, and_then(
        chain(tcp=(80,)), lambda net: net.add_branch(3, length=2)), _ports,
        _truth, also={3: ["10.78.1.2"], 4: ["10.78.2.2"],
                      5: ["10.77.3.2"]}, distances=(6,), repeat=True,
        forbids=["device on the way", "prox", "intercept", "forged",
                 LOSS_SHOWN])

# e. A dead host, and one that drops everything

row("dead host", and_then(chain(), ip_at("server", "addr flush dev toclient")),
    "-p80", {80: Truth(("unreachable",), set([4, None]), set([None, 5]),
                       None)}, who=ALL, needs=[r"10\.77\.3\.2"],
    knows_up=False)
row("dead host, IPv6", and_then(chain(), ip_at(
    "server", "addr del fd77:4::2/64 dev toclient")), "-p80",
    {80: Truth(("unreachable",), set([4, None]), set([None, 5]), None)}, six,
    needs=[r"fd77:3::2"], knows_up=False)
row("host that drops everything", chain(input_server=[
    "meta l4proto { tcp, udp, icmp } drop", "icmpv6 type echo-request drop"]),
    "-p80", {80: cut("dropped", 4)}, who=ALL, knows_up=False,
    forbids=["unreachable"])
row("host that drops all but 22", chain(input_server=[
    "tcp dport 22 accept", "meta l4proto { tcp, udp, icmp } drop"]), "-p80",
    {80: pair("dropped", 4)}, forbids=["unreachable"])

# f. Routers that limit their ICMP: many runs must agree

row("many runs: dropped", chain(forward_2=["tcp dport 445 drop"]), "-p445",
    {445: cut("dropped dropped?", 2, 0, 5)}, repeat=True)
row("many runs: forged reset",
    chain(forward_2=["tcp dport 445 reject with tcp reset"]), "-p445",
    {445: cut("reset reset? refused? dropped?", 2, 0, 5)}, repeat=True)
row("many runs: rejected", chain(forward_2=[
    "tcp dport 445 reject with icmpx type admin-prohibited"]), "-p445",
    {445: cut("rejected rejected? dropped?", 2, 0, 5)}, repeat=True)
row("many runs: refused by the host", chain(), "-p445",
    {445: reached("refused")}, repeat=True)
row("many runs: open", chain(tcp=(445,)), "-p445", {445: reached("open")},
    repeat=True)

# g. Lost SYNs

row("every second SYN is lost", chain(tcp=(80,), forward_2=[
    "tcp dport 80 tcp flags & (syn | ack) == syn numgen inc mod 2 0 drop"]),
    "-p80", {80: reached("open")}, who=ALL, needs=[LOSS],
    forbids=["refused", "device on the way"])
row("half of the SYNs are lost, emulated",
    path(tcp=(80,), routers=6, delay=0.02, hops={3: {"filters": [
        tcp_filter(80, "drop", syn_only=True, first=2),     # to be sure
        tcp_filter(80, "drop", syn_only=True, chance=0.5)]}}),
    "-p80", {80: reached("open")}, needs=[LOSS],
    forbids=["refused", "device on the way"])
row("nothing is lost, emulated", path(tcp=(80,), routers=6, delay=0.02),
    "-p80", {80: reached("open")}, who=ALL, forbids=[LOSS])

# h. The host's own firewall

for _word, _verdicts in (
        ("icmp type host-prohibited", "rejected"),
        ("icmp type admin-prohibited", "rejected"),
        ("icmp type port-unreachable", "rejected refused")):
    row("host rejects with " + _word, chain(input_server=[
        "tcp dport 80 reject with " + _word]), "-p80",
        {80: Truth(tuple(_verdicts.split()), set([None, 4, 5]),
                   set([None, 5]), None)}, who=("user", "mute"),
        forbids=["a device on the way"])
row("host resets by its own firewall", chain(input_server=[
    "tcp dport 80 reject with tcp reset"]), "-p80", {80: reached("refused")},
    forbids=["a device on the way"])
row("host drops by its own firewall", chain(input_server=[
    "tcp dport 80 drop"]), "-p80", {80: pair("dropped", 4)}, who=ALL)

# i. Silent routers around the cut

row("silent routers on both sides of the cut", chain(
    routers=5, mute=(2, 3), forward_2=["tcp dport 80 drop"]), "-p80",
    {80: cut("dropped", 1, 1, 4)}, who=ALL,
    forbids=[r"hop [23] \("])
row("silent routers, nothing is cut", chain(
    routers=5, tcp=(80,), mute=(2, 3)), "-p80", {80: reached("open")})
row("silent router before the host, cut at the host", chain(
    mute=(4,), input_server=["tcp dport 80 drop"]), "-p80",
    {80: cut("dropped", 3, 3, 5)})

# j. Routes.  A kernel looks for the route before it looks at the ttl.

row("routing loop", and_then(chain(), ip_at(
    3, "route add 10.77.4.0/24 via 10.77.2.1")), "-p80",
    {80: Truth(("dropped",), set([None] + list(range(1, 31))),
               set([None] + list(range(1, 31))), None)},
    also=dict((ttl, ["10.77.1.2", "10.77.2.2", "10.77.2.1"])
              for ttl in range(3, 31)),
    needs=["loop"], forbids=["firewall there"], knows_up=False)
row("router without a route", and_then(chain(), ip_at(
    2, "route del default")), "-p80",
    {80: Truth(("unreachable",), set([1, 2]), set([None]), None)}, who=ALL,
    knows_up=False)
row("a port that is dropped before a router without a route", and_then(
    chain(routers=5, mute=(3,), forward_2=["tcp dport 445 drop"]), ip_at(
        4, "route del default")), "-p80,445", {
            80: Truth(("unreachable",), set([2, 4]), set([None]), None),
            445: cut("dropped unreachable", 2, 2, 4)}, knows_up=False)
row("router with a black-hole route", and_then(chain(), ip_at(
    2, "route add blackhole 10.77.4.0/24")), "-p80",
    {80: nothing_beyond("dropped", 1)}, knows_up=False)
row("router with a prohibiting route", and_then(chain(), ip_at(
    2, "route add prohibit 10.77.4.0/24")), "-p80",
    {80: Truth(("rejected",), set([1, 2]), set([None]), None)},
    knows_up=False)

# k. All of it in one run

MIXED = {80: reached("open"), 81: reached("refused"),
         445: Truth(("dropped",), set([2]), set([3, 4, 5]), None),
         25: cut("rejected", 3), 6667: cut("reset", 2, 1),
         8080: cut("intercepted", 2, 1)}


def mixed(**more):
    return and_then(chain(
        routers=5, tcp=(80,), nat_2=["tcp dport 8080 redirect to :3128"],
        forward_2=["tcp dport 445 drop",
                   "tcp dport 6667 reject with tcp reset"],
        forward_3=["tcp dport 25 reject with icmpx type admin-prohibited"],
        **more), serve_at(2, "tcp", 3128))


row("six ports, six fates", mixed(), "-p80,81,445,25,6667,8080", MIXED,
    who=ALL)
row("six ports, six fates, the other way round", mixed(),
    "-p8080,6667,25,445,81,80", MIXED)
row("six ports, six fates, shy host", mixed(input_server=SHY_HOST),
    "-p445,80,81,25,6667,8080", MIXED, needs=[r"(?m)^3\t10\.77\.2\.2 "])
row("six ports, six fates, IPv6", mixed(), "-p80,81,445,25,6667,8080", MIXED,
    six)

# l. UDP

row("UDP 53 and 123 dropped, 5353 closed", chain(
    forward_2=["udp dport { 53, 123 } drop"]), "-U -p53,123,5353",
    {53: pair("dropped", 2), 123: pair("dropped", 2),
     5353: reached("refused")}, who=ALL)
row("UDP 53 dropped alone", chain(forward_2=["udp dport 53 drop"]),
    "-U -p53", {53: pair("dropped", 2)})
row("UDP closed by the host, plain", chain(), "-U",
    {33434: reached("refused")}, who=ALL)
row("UDP service that says nothing", and_then(
    chain(), serve_at("server", "silent-udp", 514)), "-U -p514",
    {514: Truth(("silent",), set([None, 4]), set([None, 5]), None)})
row("UDP dropped by the host's firewall", chain(
    input_server=["udp dport 514 drop"]), "-U -p514",
    {514: Truth(("silent", "dropped"), set([None, 4]), set([None, 5]),
                None)})
row("all UDP dropped at 2", chain(forward_2=["meta l4proto udp drop"]),
    "-U -p514", {514: pair("dropped", 2)})

# n. Two faults at once, and devices that lie

row("default-deny, and routers that send one ICMP per second",
    path(routers=6, delay=0.01, hops=dict(
        [(k, {"rate": 1, "burst": 3}) for k in (1, 2, 4, 5, 6)] + [(3, {
            "rate": 1, "burst": 3, "filters": [
                tcp_filter(22, "pass"), tcp_filter(443, "pass"),
                {"action": "drop"}]})])), "-p8080",
    {8080: cut("dropped dropped?", 3, 0, 7)})
row("dropped at 2, and 5 % are lost everywhere",
    path(routers=6, delay=0.01, loss=0.05, loss_back=0.05, hops=dict(
        [(k, {"loss": 0.05}) for k in (1, 3, 4, 5, 6)] + [(2, {
            "loss": 0.05, "filters": [tcp_filter(8080, "drop")]})])),
    "-p8080", {8080: cut("dropped", 2, 1, 4)})
row("echo is dropped nearer than the port",
    path(routers=9, delay=0.01, hops={
        3: {"filters": [{"proto": "icmp", "action": "drop"}]},
        5: {"filters": [tcp_filter(8080, "drop")]}}), "-p8080",
    {8080: pair("dropped", 5)}, who=ALL)
row("a device answers pings for the host, the port is dropped farther",
    path(routers=6, delay=0.01, hops={
        2: {"filters": [{"proto": "icmp", "action": "echo"}]},
        4: {"filters": [tcp_filter(8080, "drop")]}}), "-p8080",
    {8080: pair("dropped", 4)})
row("a firewall refuses UDP in the host's name and drops the port",
    path(routers=6, delay=0.01, hops={2: {"filters": [
        tcp_filter(22, "pass"), {"proto": "tcp", "action": "drop"},
        {"proto": "udp", "action": "icmp_as_destination"},
        {"proto": "icmp", "action": "drop"}]}}), "-p8080",
    {8080: cut("dropped", 2)})
row("a firewall rejects ICMP and UDP, and drops the port", chain(forward_2=[
    "tcp dport 22 accept", "tcp sport 22 accept", "tcp dport 8080 drop",
    "icmp type { time-exceeded, destination-unreachable } accept",
    "meta l4proto { icmp, udp } reject with icmp type admin-prohibited"]),
    "-p8080", {8080: pair("dropped", 2)})
row("answers of the port are lost on the way back",
    path(routers=6, delay=0.01, tcp=(8443,), hops={3: {"filters": [
        tcp_filter(8443, "drop", direction="back")]}}), "-p8443",
    {8443: pair("dropped", 6)}, needs=[r"way back|answers"])
row("open behind 5 % of loss and limited routers",
    path(tcp=(80,), routers=6, delay=0.01, loss=0.05, loss_back=0.05,
         hops=dict((k, {"rate": 1, "burst": 2}) for k in range(1, 7))),
    "-p80", {80: reached("open")}, forbids=["device on the way"])
row("rejected in front, dropped farther on", chain(
    routers=5, forward_2=["tcp dport 25 reject with icmpx type "
                          "host-unreachable"] +
    ["tcp dport 8080 accept"], forward_4=["tcp dport 8080 drop"]),
    "-p25,8080", {25: Truth(("unreachable", "rejected"), set([2]),
                            set([None, 3]), None),
                  8080: pair("dropped", 4)})
row("forged reset beside a default-deny", chain(tcp=(443,), forward_2=[
    "ct state established,related accept", "tcp dport 443 accept",
    "tcp dport 25 reject with tcp reset", "drop"]), "-p25,8080",
    {25: cut("reset", 2, 1), 8080: pair("dropped", 2)},
    forbids=[r"25 is closed", r"HOST refused"])


# --------------------------------------------------------------------------
# Runs
# --------------------------------------------------------------------------

Run = collections.namedtuple("Run", "as_json status out err")


class Facts(object):
    """What the checks need of a network that is gone: its addresses."""

    def __init__(self, net, row):
        self.host = row.target(net)
        self.distance = net.distance
        self.name = DUAL if row.dual else self.host
        hops = [net.hop6 if ":" in self.host else net.hop]
        self.etc = None
        if row.dual:
            hops = [net.hop, net.hop6]
            self.etc = {"hosts": "%s %s\n%s %s\n" % (
                net.destination6, DUAL, net.destination, DUAL)}
        self.routers = dict((ttl, [hop(ttl) for hop in hops])
                            for ttl in range(1, net.distance + 1))
        for ttl, addresses in row.also.items():
            self.routers.setdefault(ttl, []).extend(addresses)
        if row.target is not four and row.target is not six:
            self.distance = [ttl for ttl in self.routers
                             if self.host in self.routers[ttl]][0]
        self.distances = (self.distance,) + tuple(row.distances)
        self.arguments = row.arguments
        if callable(row.arguments):
            self.arguments = row.arguments(net)
        self.clients = ["10.77.0.1", "fd77::1", "10.88.0.2", "fd88::2",
                        lab.shorten_ipv6("fd77:0::1")]

    def known(self, address):
        return address == self.host or address in self.clients or any(
            address in addresses for addresses in self.routers.values())


def run_row(row, who):
    """-> (Facts, [Run])"""
    runs = []
    if row.repeat:
        with row.build() as net:
            prepare(net, who)
            facts = Facts(net, row)
            runs += run_several(net, facts, who, [True] * BESIDE)
            for _ in range(IN_A_ROW):
                runs += run_several(net, facts, who, [True])
    for as_json in (True, False):
        with row.build() as net:
            prepare(net, who)
            facts = Facts(net, row)
            runs += run_several(net, facts, who, [as_json])
    return facts, runs


def prepare(net, who):
    net.ping_group(net.client, "1 0" if who == "mute" else lab.OPEN_TO_ALL)


def run_several(net, facts, who, formats):
    how = {"privileged": who == "root", "timeout": 60, "etc": facts.etc}
    words = ["-n", facts.name] + facts.arguments.split()
    return [Run(as_json, *result) for as_json, result in zip(
        formats, lab.trace_several(net, [
            (words + ["--json"] * as_json, how) for as_json in formats],
            len(formats)))]


# --------------------------------------------------------------------------
# Checks: each yields what is false
# --------------------------------------------------------------------------

def check(row, facts, runs):
    """Return all that is false in the runs of a row, as texts."""
    problems = []
    for number, run in enumerate(runs):
        found = list(check_output(row, facts, run))
        if run.as_json and not found:
            found = list(check_json(row, facts, run))
        elif not found:
            found = list(check_screen(row, facts, run))
        problems += ["%s %d: %s" % ("JSON" if run.as_json else "screen",
                                    number, text) for text in found]
    if row.repeat:
        problems += check_agreement(row, runs)
    return problems


def check_output(row, facts, run):
    if "Traceback" in run.err:
        yield "crashed: " + run.err.strip().splitlines()[-1]
    elif run.status not in (0, 1) or run.err or not run.out:
        yield "status %d, stderr %r" % (run.status, run.err)


def allows(truth, word, text):
    """Is a verdict's word right, with what its sentence says?"""
    return word in truth.verdicts or \
        "%s?" % word in truth.verdicts and re.search(HEDGE, text)


def check_json(row, facts, run):
    document = json.loads(run.out)
    traces = [trace for trace in document["traces"]
              if trace["address"] == facts.host]    # of the other family: -4
    if document["exit_status"] != run.status:
        yield "exit status %d, in JSON %d" % (
            run.status, document["exit_status"])
    if (run.status == 0) != all(trace["reached"] for trace in traces):
        yield "exit status %d against what was reached" % run.status
    if sorted(trace["port"] for trace in traces) != sorted(row.truth):
        yield "ports " + str([trace["port"] for trace in traces])
        return
    for trace in traces:
        for text in check_trace(row, facts, trace):
            yield "port %d: %s: %s" % (trace["port"], text, trace["summary"])
    for text in check_sentences(row, facts, "\n".join(texts_of(traces))):
        yield text


def texts_of(traces):
    for trace in traces:
        for command in trace.get("next", []):
            yield "Next: %s" % command
        yield trace["summary"] or ""
        for each in trace["findings"] + trace.get("evidence", []):
            yield each["text"]


def check_trace(row, facts, trace):
    truth = row.truth[trace["port"]]
    word = trace["verdict"]
    said = "\n".join(texts_of([trace]))
    if not allows(truth, word, said):
        yield "verdict %s, not %s" % (word, "/".join(truth.verdicts))
    if trace["reached"] != (word in REACHED):
        yield "reached is %s, verdict %s" % (trace["reached"], word)
    if trace["distance"] not in facts.distances + (None,) and \
            word != "intercepted" and not re.search(HEDGE, said):
        yield "distance %s, not %d" % (trace["distance"], facts.distance)
    if word not in REACHED:
        for text in check_place(truth, facts, trace):
            yield text
    for each in [trace] + trace["control"]:
        for text in check_hops(facts, each):
            yield text


def check_place(truth, facts, trace):
    after, before = trace["blocked_after"], trace["blocked_before"]
    for name, place, right in (("after", after, truth.after),
                               ("before", before, truth.before)):
        ttl = place["ttl"] if place else None
        if right is not None and ttl not in right:
            yield "blocked_%s %s, not %s" % (
                name, ttl, sorted(right, key=lambda ttl: ttl or 0))
        elif place and place["address"] and \
                place["address"] not in facts.routers.get(ttl, ()):
            yield "blocked_%s %s is not at hop %s" % (
                name, place["address"], ttl)
    if truth.after_addresses and after and after["address"] and \
            after["address"] not in truth.after_addresses:
        yield "blocked_after %s, which is alive" % after["address"]


def check_hops(facts, trace):
    for hop in trace["hops"]:
        address = hop["address"]
        if address and address != facts.host and \
                hop["outcome"] == "time-exceeded" and \
                address not in facts.routers.get(hop["ttl"], ()):
            yield "%s is not at hop %d" % (address, hop["ttl"])
        if trace["port"] is None or trace["method"] != "tcp":
            continue
        if address is None and hop["ttl"] > max(facts.distances) and \
                trace["reached"]:
            yield "hop %d, of a host %d away" % (hop["ttl"], facts.distance)


def check_screen(row, facts, run):
    lines = run.out.splitlines()
    success = "Successfully reached destination" in run.out
    if success != (run.status == 0):
        yield "exit status %d, and %r" % (run.status, [
            line for line in lines if "reach" in line.lower()])
    if run.status not in set(0 if each.rstrip("?") in REACHED else 1
                             for truth in row.truth.values()
                             for each in truth.verdicts):
        yield "exit status %d" % run.status
    for text in check_verdict_said(row, run.out):
        yield text
    if not re.search(HEDGE, run.out):
        for text in check_reached_lines(facts, lines):
            yield text
    for text in check_hop_lines(facts, lines):
        yield text
    for text in check_sentences(row, facts, run.out):
        yield text
    for pattern in row.needs:
        if not re.search(pattern, run.out):
            yield "does not say %r" % pattern


def check_verdict_said(row, out):
    for port, truth in row.truth.items():
        subject = "(TCP|UDP) port %d" % port
        for word in SAYS:
            pattern = SAYS[word].format(port=subject)
            found = re.search(pattern + ".*", out)
            if found and not allows(truth, word, out):
                yield "says %r, which is not so" % found.group(0)


def check_reached_lines(facts, lines):
    for line in lines:
        found = re.match(r"(\d+)\t.*\[Reached Destination\]", line)
        if found and int(found.group(1)) not in facts.distances:
            yield "%r, of a host %d hops away" % (line, facts.distance)


def check_hop_lines(facts, lines):
    near = known_distance(facts, lines)
    for line in lines:
        found = re.match(r"(\d+)(?:-(\d+))?\t(.*)", line)
        if not found:
            continue
        first, rest = int(found.group(1)), found.group(3)
        last = int(found.group(2) or first)
        if "timed out" in rest and near and last > near:
            yield "%r, of a host %d hops away" % (line, near)
        expired = " ICMP 3/0" if ":" in facts.host else " ICMP 11/0"
        if expired not in rest:
            continue                # a rejection may come at any ttl
        for address in re.findall(r"\(([0-9a-f.:]+)\)", rest):
            if address != facts.host and \
                    address not in facts.routers.get(first, ()):
                yield "%s at hop %d: %r" % (address, first, line)


def known_distance(facts, lines):
    """The distance of the host, if the screen tells it."""
    for line in lines:
        if re.search(r"\b%d hops away|^%d\t.*\[Reached" % (
                facts.distance, facts.distance), line):
            return max(facts.distances)
    return None


def check_sentences(row, facts, text):
    """What holds for all that is said, on the screen or in JSON."""
    host = re.escape(facts.host)
    for pattern in row.forbids:
        found = re.search(".*(%s).*" % pattern.replace("HOST", host), text)
        if found:
            yield "says %r, which is not so" % found.group(0)
    words = set(word for truth in row.truth.values()
                for word in truth.verdicts)
    for line in text.splitlines():
        if row.knows_up and re.search(DOWN, line):
            yield "calls a host down that is up: %r" % line
        elif re.search(DOWN, line) and not re.search(HEDGED_DOWN, line):
            yield "is sure that the host is down: %r" % line
        if re.search(r"path itself ends|this host's own firewall", line):
            yield "guesses: %r" % line
        if re.search(host + " is unreachable", line) and \
                "unreachable" not in words:
            yield "calls a host unreachable that is not: %r" % line
        for problem in list(check_numbers(facts, line)) + list(
                check_advice(facts, line)):
            yield "%s: %r" % (problem, line)


def check_numbers(facts, line):
    """Distances and addresses in a line."""
    for before, number in re.findall(r"(\S+ \S+ )?\b(\d+) hops? away", line):
        if int(number) not in facts.distances and not re.search(
                r"at most |more than |least |device|something|" + HEDGE,
                line):
            yield "%s hops away" % number
    for ttl, inside in re.findall(r"\bhop (\d+) \(([^)]*)\)", line):
        address = inside.split(", ")[-1]
        if re.match(r"[0-9a-f.:]+$", address) and address != facts.host and \
                address not in facts.routers.get(int(ttl), ()):
            yield "hop %s is not %s" % (ttl, address)
    for address in re.findall(
            r"\b\d+\.\d+\.\d+\.\d+\b|\b(?:fd|2001:)[0-9a-f]*:[0-9a-f:]+",
            line):
        address = address.rstrip(":")
        if not facts.known(address):
            yield "%s is nobody here" % address


def check_advice(facts, line):
    """What is recommended must be a command."""
    for words in re.split(r"\bpotraceroute(?:\.py)? ", line)[1:]:
        words = re.split(r"  |; | \(| or ", words)[0].split()
        try:
            arguments = potraceroute.parse_options(words)[1]
        except (SystemExit, Exception) as error:
            yield "no command (%s)" % error
        else:
            if arguments[:1] not in ([facts.host], [facts.name]):
                yield "a command for another host"


def check_agreement(row, runs):
    """Runs that do not say that they cannot tell must agree."""
    for port in row.truth:
        said = collections.Counter()
        for run in runs:
            if not run.as_json or not run.out:
                continue
            for trace in json.loads(run.out)["traces"]:
                if trace["port"] == port and not re.search(
                        HEDGE, "\n".join(texts_of([trace]))):
                    said[trace["verdict"]] += 1
        if len(said) > 1:
            yield "port %d: %d runs do not agree: %s" % (
                port, len(runs), dict(said))


# --------------------------------------------------------------------------
# The score
# --------------------------------------------------------------------------

class Work(object):
    """The runs of all rows that are wanted, several at a time."""

    def __init__(self):
        self.lock = threading.Lock()
        self.waiting, self.done = [], {}

    def add(self, names):
        # Those that take longest go first.
        jobs = [(name, who) for name in names for who in ROWS[name].who]
        for job in sorted(jobs, key=lambda job: not ROWS[job[0]].repeat):
            self.waiting.append(job)
            self.done[job] = threading.Event(), []

    def start(self):
        lab.code_folder()               # one for all threads
        for _ in range(min(AT_ONCE, len(self.waiting))):
            thread = threading.Thread(target=self.work)
            thread.daemon = True        # an interrupt ends us all
            thread.start()

    def work(self):
        while True:
            with self.lock:
                if not self.waiting:
                    return
                job = self.waiting.pop(0)
            event, result = self.done[job]
            try:
                facts, runs = run_row(ROWS[job[0]], job[1])
                result += check(ROWS[job[0]], facts, runs)
            except Exception as error:
                result.append("%s: %s" % (type(error).__name__, error))
            finally:
                event.set()

    def problems(self, name, who):
        """Wait for a job; return what was false in it."""
        if (name, who) not in self.done:
            facts, runs = run_row(ROWS[name], who)
            return check(ROWS[name], facts, runs)
        event, result = self.done[name, who]
        while not event.is_set():       # Python 2.7: an interrupt is heard
            event.wait(0.1)
        return result


class TestNetworks(unittest.TestCase):
    """One test per row: wanted() below makes them."""

    work = Work()
    score = []

    @classmethod
    def setUpClass(cls):
        lab.require_tun()
        cls.work.start()

    @classmethod
    def tearDownClass(cls):
        right = sum(1 for _, problems in cls.score if not problems)
        sys.stderr.write("\nnetworks: %d of %d are told truly\n" % (
            right, len(cls.score)))

    def check_row(self, name):
        problems = ["as %s, %s" % (who, text) for who in ROWS[name].who
                    for text in self.work.problems(name, who)]
        self.score.append((name, problems))
        if problems:
            self.fail("\n".join([name] + problems[:SHOWN] + [
                "and %d more" % (len(problems) - SHOWN)] * (
                    len(problems) > SHOWN)))


def test_name(name):
    return "test_" + re.sub(r"\W+", "_", name).strip("_")


def add_test(name):
    setattr(TestNetworks, test_name(name),
            lambda self: self.check_row(name))


def choose_rows():
    """Return the names of all rows, or of the share that is asked for: with
    many Pythons each row need not run with every one."""
    number, _, count = os.environ.get("POTRACEROUTE_NETWORKS",
                                      "0/1").partition("/")
    return list(ROWS)[int(number) % int(count)::int(count)]


for _name in choose_rows():
    add_test(_name)


class TestChecks(unittest.TestCase):
    """The checks find what is false, and only that."""

    class Net(object):
        destination, distance = "10.77.4.2", 5
        hop = staticmethod(lambda ttl: "10.77.%d.2" % (ttl - 1))

    ROW = ROWS["default-deny drops 8080, host up"]

    def said(self, text, row=ROW):
        return list(check_sentences(row, Facts(self.Net, row), text))

    def test_host_that_is_up_is_not_down(self):
        self.assertTrue(self.said("x, or the host is down"))
        row = ROWS["router drops everything"]
        self.assertFalse(self.said("a firewall, or the host is down", row))
        self.assertTrue(self.said("so the host is down", row))

    def test_distance_and_hop_must_be_true(self):
        self.assertFalse(self.said("10.77.4.2, 5 hops away"))
        self.assertTrue(self.said("10.77.4.2, 6 hops away"))
        self.assertFalse(self.said("between hop 2 (10.77.1.2) and "
                                   "hop 3 (gw.example.net, 10.77.2.2)"))
        self.assertTrue(self.said("before hop 3 (10.77.3.2)"))
        self.assertTrue(self.said("192.0.2.1 says so"))

    def test_verdict_may_be_right_only_with_its_reservation(self):
        truth = cut("reset refused?", 2)
        self.assertTrue(allows(truth, "reset", ""))
        self.assertFalse(allows(truth, "refused", "refused it"))
        self.assertTrue(allows(truth, "refused", "which is not confirmed"))

    def test_advice_must_be_a_command_for_this_host(self):
        say = "Next: potraceroute.py %s -p 80 -n --flows=8"
        self.assertFalse(self.said(say % "10.77.4.2"))
        self.assertTrue(self.said(say % "10.77.3.2"))
        self.assertTrue(self.said(say % "10.77.4.2" + " --no-such-option"))

    def test_lines_beyond_the_host_are_false(self):
        facts = Facts(self.Net, self.ROW)
        lines = ["1\t10.77.0.2 (10.77.0.2)  ICMP 11/0  0.1 ms",
                 "3-5\t*\ttimed out", "x is up, 5 hops away"]
        self.assertEqual(list(check_hop_lines(facts, lines)), [])
        lines[1] = "3-8\t*\ttimed out"
        self.assertTrue(list(check_hop_lines(facts, lines)))
        lines[1] = "3\t10.77.1.2 (10.77.1.2)  ICMP 11/0  0.1 ms"
        self.assertTrue(list(check_hop_lines(facts, lines)))
        lines[1] = "3\tTCP port 8080 connection refused [Reached Destination]"
        self.assertTrue(list(check_reached_lines(facts, lines)))


def load_tests(loader, tests, pattern):
    """Called by unittest for the whole module: its runs begin early."""
    wanted = set()
    for suite in tests:
        for test in suite:
            wanted.add(test.id().rpartition(".")[2])
    TestNetworks.work.add([name for name in ROWS
                           if test_name(name) in wanted])
    return tests


# --------------------------------------------------------------------------
# By hand
# --------------------------------------------------------------------------

def show(name, who):
    """Run one row and print what it says, and what is false in it."""
    facts, runs = run_row(ROWS[name], who)
    print("### %s, as %s: %s %s" % (name, who, facts.host, facts.arguments))
    for run in runs:
        if run.as_json:
            for trace in json.loads(run.out)["traces"]:
                print("JSON: %s, after %s, before %s" % (
                    trace["verdict"], trace["blocked_after"],
                    trace["blocked_before"]))
        else:
            print(run.out + run.err)
    for problem in check(ROWS[name], facts, runs):
        print("!!! " + problem)


def main(words):
    names = [name for name in ROWS if name.startswith(words[0])] \
        if words else []
    for name in names:
        for who in words[1:] or ROWS[name].who:
            show(name, who)
    if not names:
        print("\n".join(ROWS))


if __name__ == "__main__":
    main(sys.argv[1:])
