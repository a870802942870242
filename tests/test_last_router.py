"""Who reset it, the host or the router right before it?

Both answer from the same ttl on; what tells is the ttl with which the reset
arrives.  Not tested here: devices that copy the ttl of the host.
"""

import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import lab                          # noqa: E402
from lanes import load_tests        # noqa: F401,E402
import test_live                    # noqa: E402
from test_live import BOTH, run, run_json_all  # noqa: E402

RESET = "tcp dport 2049 reject with tcp reset"
# What only lets 22 through: neither ICMP nor UDP gets to the host.
DENY = ("ct state established accept", "tcp dport 22 accept", RESET,
        "meta l4proto { tcp, udp, icmp } drop",
        "icmpv6 type echo-request drop")


class LastRouterCase(test_live.LiveCase):

    own_network = False
    at_once = 1                 # what the limits of ICMP let through
    require = staticmethod(lab.require_live)

    @staticmethod
    def build():
        return lab.Chain(routers=4, icmp_limits=True)

    def setUp(self):
        self.serve("tcp", port=22)
        self.addCleanup(self.clean)

    def clean(self):
        for name in self.net.routers + [self.net.server]:
            self.net.nft(name, "flush ruleset\n")

    def traces(self, *ports, **more):
        """The (trace, hop) of ports by each family and user."""
        calls = [(["-p", ",".join(ports), destination], how)
                 for how in more.get("how", BOTH)
                 for destination in (self.net.destination,
                                     self.net.destination6)]
        results = []
        for (arguments, _), (_, traces) in zip(calls, lab.trace_all(
                self.net, calls, self.at_once)):
            hop = self.net.hop6 if ":" in arguments[2] else self.net.hop
            results.append(([trace for trace in traces
                             if trace["port"] == 2049][0], hop))
        return results

    def assert_told(self, near, *ports):
        """near: is the last router heard?  None if it may be."""
        for trace, hop in self.traces(*ports):
            self.assertEqual(
                (trace["verdict"], trace["reached"], trace["distance"]),
                ("reset", False, None), trace)
            self.assertEqual(trace["blocked_before"],
                             {"ttl": 5, "address": trace["address"]})
            words = "its reset (ttl 61) has passed 3 routers"
            if near is None:
                self.assertIn(words, trace["summary"])
                continue
            if near:
                self.assertEqual(trace["blocked_after"],
                                 {"ttl": 4, "address": hop(4)})
                self.assertIn("by a device at hop 4 (%s), not by " % hop(4),
                              trace["summary"])
                words += ", as has what that hop says"
            else:
                self.assertIn("by a device before hop 5", trace["summary"])
            self.assertIn(words + "; what %s says passes 4" %
                          trace["address"], trace["summary"])

    def assert_refused(self, *ports):
        for trace, _ in self.traces(*ports):
            self.assertEqual((trace["verdict"], trace["distance"]),
                             ("refused", 5), trace["summary"])


class PingersCase(LastRouterCase):
    """Of users who may send ICMP echo."""

    def setUp(self):
        self.net.ping_group(self.net.client)
        LastRouterCase.setUp(self)


class TestByUsersWhoPing(PingersCase):
    """Without limits of ICMP, so that the last router is always heard."""

    own_network = True
    at_once = 4

    @staticmethod
    def build():
        return lab.Chain(routers=4)

    def test_router_that_resets_is_told_from_the_host(self):
        self.net.filter(4, "forward", [RESET])
        self.assert_told(True, "2049")

    def test_one_port_of_several(self):
        self.net.filter(4, "forward", [RESET])
        self.assert_told(True, "22", "2049", "2050")

    def test_silent_router_too(self):
        self.net.filter(4, "forward", [RESET])
        self.net.mute(4)
        self.assert_told(False, "2049")

    def test_host_that_resets_by_its_own_firewall_has_refused(self):
        self.net.filter(self.net.server, "input", [RESET])
        self.assert_refused("2049")
        self.assert_refused("22", "2049")

    def test_closed_port_is_refused(self):
        self.assert_refused("2049")
        self.assert_refused("2049", "2050", "22")

    def test_host_behind_a_silent_router_has_refused(self):
        self.net.mute(4)
        self.assert_refused("2049")

    def test_packets_of_the_host_that_begin_with_other_ttls(self):
        self.net.sysctl(self.net.server, "net.ipv4.ip_default_ttl", 128)
        self.addCleanup(self.net.sysctl, self.net.server,
                        "net.ipv4.ip_default_ttl", 64)
        calls = [(["-p2049", self.net.destination], how) for how in BOTH]
        for _, trace in run_json_all(self.net, calls, 1):
            self.assertEqual(trace["verdict"], "refused", trace)
        self.net.filter(4, "forward", [RESET])
        for _, trace in run_json_all(self.net, calls, 1):
            self.assertEqual(trace["verdict"], "reset", trace)
            self.assertIn("its reset (ttl 61) has passed 3 routers, as has "
                          "what that hop says; what 10.77.4.2 says passes 4",
                          trace["summary"])

    def test_screen(self):
        self.net.filter(4, "forward", [RESET])
        for how in BOTH:
            status, out, err = run(self.net, self.net.destination, "-p2049",
                                   "-n", **how)
            self.assertEqual((status, err), (1, ""), out)
            self.assertNotIn("[Reached Destination]", out.partition(
                "seen no farther")[0])
            self.assertIn("\n5\tTCP port 2049 connection reset by a device "
                          "on the way  ", out)


class TestByUsersWithoutEcho(LastRouterCase):

    own_network = True
    parts = 3

    def test_router_that_resets_is_told_from_the_host(self):
        self.net.filter(4, "forward", [RESET])
        self.assert_told(None, "2049")

    def test_port_that_is_open_is_the_measure_if_nothing_else_is(self):
        self.net.filter(4, "forward", DENY)
        self.assert_told(None, "2049")
        self.assert_told(None, "22", "2049")

    def test_silent_router_that_lets_one_port_through(self):
        self.net.filter(4, "forward", DENY)
        self.net.mute(4)
        self.assert_told(False, "2049")
        self.assert_told(False, "2049", "22")

    def test_host_that_has_such_a_firewall_itself_has_refused(self):
        self.net.filter(self.net.server, "input", DENY)
        self.assert_refused("2049")
        self.assert_refused("22", "2049")

    def test_nothing_stays_half_open_on_the_service(self):
        self.net.filter(4, "forward", DENY)
        self.traces("2049")
        end = time.time() + 10
        while self.net.half_open(self.net.server, 22) and time.time() < end:
            time.sleep(0.1)
        self.assertEqual(self.net.half_open(self.net.server, 22), 0)


if __name__ == "__main__":
    unittest.main()
