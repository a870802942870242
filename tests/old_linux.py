"""potraceroute for real on a Linux before 5.8, whose TCP sockets have no
error queue: RHEL 7 and 8, Debian 10, Ubuntu 18.04.

    python3 tests/old_linux.py --kernel FILE [--user user] [--delay 5] [-6]
                               [--here] CASE [OPTION..]

prints what one run says in one of CASES; OPTIONs go to potraceroute.py.

The kernel is User Mode Linux (guest.py).
"""

import argparse
import collections
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import guest  # noqa: E402
import lab  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(HERE), "potraceroute.py")
ROUTERS = 3             # client - r1 - r2 - r3 - server
USER = 1000

# What happens to port, and the verdict of it.  A host that is there has the
# number 2 on the last link.
Case = collections.namedtuple("Case", "port verdict host")
CASES = collections.OrderedDict([
    ("open", Case(80, "open", 2)),
    ("refused", Case(81, "refused", 2)),
    ("dropped", Case(445, "dropped", 2)),
    ("prohibited", Case(3389, "rejected", 2)),
    ("reset", Case(6667, "reset", 2)),
    ("host-3/3", Case(3306, "rejected", 2)),
    ("host-3/10", Case(3307, "rejected", 2)),
    ("down", Case(80, "unreachable", 99)),
])
ROUTER_RULES = """
    table inet t {
        chain c {
            type filter hook forward priority 0;
            tcp dport 445 drop
            tcp dport 3389 reject with icmpx type admin-prohibited
            tcp dport 6667 reject with tcp reset
        }
    }
"""
# 3/10 has no equal in IPv6: 1/1 is nearest.
SERVER_RULES = """
    table inet t {
        chain c {
            type filter hook input priority 0;
            tcp dport 3306 reject with icmpx type port-unreachable
            tcp dport 3307 ip version 4 reject with icmp type host-prohibited
            tcp dport 3307 reject with icmpx type admin-prohibited
        }
    }
"""


def make_network():
    net = lab.Chain(routers=ROUTERS)
    try:
        guest.put_on_the_wire(net)
        net.nft(net.routers[1], ROUTER_RULES)
        net.nft(net.server, SERVER_RULES)
        net.ping_group(net.client)
        net.serve(net.server, "tcp", port=80)
    except Exception:
        net.close()
        raise
    return net


def target(net, case, six=False):
    address = net.destination6 if six else net.destination
    return address[:-1] + str(CASES[case].host)


def arguments(net, case, six=False):
    return ["-p%d" % CASES[case].port, target(net, case, six)]


# --------------------------------------------------------------------------
# By hand
# --------------------------------------------------------------------------

def show(net, options, words):
    """One run in the guest, or by this kernel, as text."""
    argv = ["-n"] + words + arguments(net, options.case, options.six)
    uid = USER if options.user == "user" else 0
    if options.here:
        if options.no_ping:
            net.ping_group(net.client, "1 0")
        result = lab.trace(net, *argv, privileged=not uid)
    else:
        result = trace_in_guest(net, options, argv, uid)
    print("%s%s(exit status %d)" % (result[1], result[2], result[0]))


def trace_in_guest(net, options, argv, uid):
    with guest.Guest(net, options.kernel, options.delay,
                     pythons=[options.python]) as host:
        script = host.copy(SCRIPT, options.python)
        host.jobs.append(guest.job(options.python, script, *argv, uid=uid,
                                   ping=not options.no_ping))
        host.start()
        result, = host.results()
        return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--user", choices=("root", "user"), default="root")
    parser.add_argument("--no-ping", action="store_true",
                        help="ping_group_range is closed")
    parser.add_argument("--delay", type=int, default=5, metavar="MS")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--here", action="store_true",
                        help="the same by this machine's own kernel")
    parser.add_argument("-6", dest="six", action="store_true")
    parser.add_argument("case", choices=list(CASES))
    options, words = parser.parse_known_args()
    with make_network() as net:
        show(net, options, words)
    return 0


if __name__ == "__main__":
    sys.exit(main())
