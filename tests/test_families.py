"""A name with addresses of both families: the other one is tried where the
first does not work, and only there.

Not tested here: names with several addresses of one family that differ, and
other systems than Linux, where who answers is not always visible.
"""

import os
import re
import socket
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

from lanes import load_tests        # noqa: F401,E402
import lab                          # noqa: E402
import potraceroute as pt           # noqa: E402
import test_live                    # noqa: E402
from test_live import BOTH, USER, run, run_json_all     # noqa: E402
from test_plan import (             # noqa: E402
    CLOSED, DENIED, ECHO, exceeded, make_path, opened, prohibited, walk)

NAME = "both.example"
IPV6_FIRST = "precedence ::/0 100\nprecedence ::ffff:0:0/96 10\n"
IPV4_FIRST = "precedence ::/0 10\nprecedence ::ffff:0:0/96 100\n"
EITHER = "IPv4 198.51.100.7 does not get through either: "


def told(trace):
    """The texts of the findings about the other family."""
    return [finding["text"] for finding in trace["findings"]
            if finding["kind"] == "family"]


class TestWords(unittest.TestCase):

    def say(self, lead, other, proto="tcp", is_lead=True):
        """What is told where the full ttl heard this of both addresses."""
        path = make_path(lead, walk(3), proto=proto, version=6)
        other = make_path(other, proto=proto, first=1, last=0,
                          port=None if proto == "icmp" else 443)
        case = pt.Case(path)
        look = pt.Look(pt.default_options(), False, is_lead,
                       None)._replace(other=other)
        found = list(pt.check_family(case, pt.judge(case), look))
        self.assertTrue(all((each.kind, each.hop) == ("family", None)
                            for each in found))
        return [pt.say_finding(each) for each in found]

    def test_other_address_is_told_by_what_came_from_it(self):
        for proto, other, text in (
                ("tcp", opened(), "IPv4 198.51.100.7 works: TCP port 443 "
                 "accepts a connection there (-4)"),
                ("icmp", ECHO, "IPv4 198.51.100.7 works: ICMP echo is "
                 "answered there (-4)"),
                ("udp", opened()._replace(outcome="data", data=b"hi"),
                 "IPv4 198.51.100.7 works: UDP port 443 answers there (-4)"),
                ("udp", CLOSED, "IPv4 198.51.100.7 answers: UDP port 443 is "
                 "refused there (-4 tells by whom)"),
                ("tcp", prohibited("10.1.2.3"), EITHER + "10.1.2.3 says ICMP "
                 "3/13, communication administratively prohibited"),
                ("tcp", exceeded(2), EITHER + "10.0.2.1 says ICMP 11/0, "
                 "time exceeded in transit"),
                ("tcp", None, EITHER + "nothing answers")):
            self.assertEqual(self.say(None, other, proto), [text])

    def test_address_that_could_not_be_tried_is_said_to(self):
        text, = self.say(None, DENIED)
        self.assertTrue(text.startswith(
            "IPv4 198.51.100.7 could not be tried: "), text)

    def test_of_a_first_that_works_nothing_is_told(self):
        for lead in (opened(), ECHO):
            self.assertEqual(self.say(lead, opened()), [])
        self.assertEqual(self.say(None, opened(), is_lead=False), [])

    def test_of_a_first_that_refused_nothing_is_either(self):
        """That one got through, so that "either" were false."""
        self.assertEqual(self.say(CLOSED, CLOSED, "udp"), [
            "IPv4 198.51.100.7 answers: UDP port 443 is refused there, too "
            "(-4 tells by whom)"])
        self.assertNotIn("either", self.say(
            CLOSED, prohibited("10.1.2.3"), "udp")[0])

    def test_look_of_a_single_family_tells_nothing(self):
        case = pt.Case(make_path(None, walk(3)))
        look = pt.Look(pt.default_options(), False, True, None)
        self.assertEqual(list(pt.check_family(case, pt.judge(case), look)),
                         [])


class TestChoice(unittest.TestCase):
    """Which other address there is to be tried."""

    ADDRESSES = ((socket.AF_INET6, "2001:db8::1"),
                 (socket.AF_INET, "192.0.2.1"),
                 (socket.AF_INET, "192.0.2.2"))

    def choose(self, routed=("2001:db8::1", "192.0.2.1", "192.0.2.2"),
               destination=NAME, **options):
        """The (first, other) address, with routes to some of them."""
        def getaddrinfo(host, port, family=0, kind=0, proto=0, flags=0):
            if flags & socket.AI_NUMERICHOST:
                if host == NAME:
                    raise socket.gaierror(socket.EAI_NONAME, "no number")
                return [(number, kind, 17, "", (text, 0) + (0, 0) * (
                    number == socket.AF_INET6))
                    for number, text in self.ADDRESSES if text == host]
            return [(number, kind, 17, "", (text, 0) + (0, 0) * (
                number == socket.AF_INET6))
                for number, text in self.ADDRESSES if family in (0, number)]

        def find_own_address(made, family, sockaddr):
            return "::1" if sockaddr[0] in routed else None

        for owner, name, fake in (
                (socket, "getaddrinfo", getaddrinfo),
                (pt.Traceroute, "find_own_address", find_own_address)):
            self.addCleanup(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, fake)
        made = pt.Traceroute(destination=destination, **options)
        other = made.other_target
        return made.target.address, other and other.address

    def test_first_of_the_other_family_is_kept(self):
        self.assertEqual(self.choose(), ("2001:db8::1", "192.0.2.1"))
        self.assertEqual(self.choose(routed=("192.0.2.1", "2001:db8::1")),
                         ("2001:db8::1", "192.0.2.1"))

    def test_address_without_a_route_is_none(self):
        self.assertEqual(self.choose(routed=("192.0.2.2",)),
                         ("192.0.2.2", None))
        self.assertEqual(self.choose(routed=("2001:db8::1", "192.0.2.2")),
                         ("2001:db8::1", "192.0.2.2"))
        self.assertEqual(self.choose(routed=()), ("2001:db8::1", None))

    def test_family_that_was_asked_for_is_the_only_one(self):
        self.assertEqual(self.choose(ipv4=True), ("192.0.2.1", None))
        self.assertEqual(self.choose(ipv6=True), ("2001:db8::1", None))
        self.assertEqual(self.choose(destination="192.0.2.1"),
                         ("192.0.2.1", None))
        self.assertEqual(self.choose(source_ip="127.0.0.1"),
                         ("192.0.2.1", None))

    def test_data_for_a_service_is_not_sent_to_another(self):
        self.choose()
        for method, payload in (("tcp", None), ("udp", b"hi")):
            made = pt.Traceroute(destination=NAME, method=method,
                                 payload="6869")
            self.assertEqual((made.target.payload,
                              made.other_target.payload), (b"hi", payload))


def filter_on(hook, *rules):
    return "table inet t {\nchain c {\ntype filter hook %s priority 0;\n" \
        "%s\n}\n}\n" % (hook, "\n".join(rules))


class FamilyCase(object):
    """Beside a network: a name with both its addresses, or with one."""

    def how(self, how, families=(6, 4)):
        known = {4: self.net.destination, 6: self.net.destination6}
        lines = ["%s %s" % (known[number], NAME) for number in families]
        return dict(how, etc={"hosts": "\n".join(lines) + "\n",
                              "gai.conf": IPV6_FIRST})

    def traces(self, *args, **more):
        """The traces to the name, as root and not."""
        return [trace for _, trace in run_json_all(self.net, [
            ([NAME, "--banner-wait=0"] + list(args),
             self.how(how, more.get("families", (6, 4))))
            for how in more.get("how", BOTH)])]

    def assert_told(self, traces, *texts):
        for trace in traces:
            self.assertEqual(trace["address"], self.net.destination6)
            self.assertEqual(told(trace), [
                "IPv4 %s %s" % (self.net.destination, text)
                for text in texts], trace)


WORKS = "works: TCP port 80 accepts a connection there (-4)"
SILENT = "does not get through either: nothing answers"


class TestKernelRouters(FamilyCase, test_live.LiveCase):
    """client - r1 - r2 - r3 - server, with the limits they come with."""

    parts = 5
    require = staticmethod(lab.require_live)

    @staticmethod
    def build():
        return lab.Chain(routers=3, icmp_limits=True)

    def setUp(self):
        self.net.ping_group(self.net.client)

    def filter(self, name, *rules):
        self.net.nft(name, "flush ruleset\n" + filter_on("forward", *rules))
        self.addCleanup(self.net.nft, name, "flush ruleset\n")

    def test_ipv6_loops_and_ipv4_works(self):
        web = self.serve("tcp", port=80)
        way = "fd77:1::1", self.net.destination6
        self.net.ip("r2", "route add %s/128 via %s" % way[::-1])
        self.addCleanup(self.net.ip, "r2", "route del %s/128" % way[1])
        for groups in ("0 2147483647", "1 0"):
            self.net.ping_group(self.net.client, groups)
            traces = self.traces()
            self.assert_told(traces, WORKS)
            for trace in traces:
                self.assertEqual(trace["verdict"], "dropped")
                self.assertIn("loop", [finding["kind"] for finding in
                                       trace["findings"]])
        self.assertEqual(web.accepts(), 4)      # one for each run

    def test_ipv6_is_dropped_and_ipv4_works(self):
        web = self.serve("tcp", port=80)
        self.filter("r2", "meta nfproto ipv6 drop")
        self.assert_told(self.traces("-p80,81"), WORKS)
        self.assert_told(self.traces("-p81,80"), "answers: TCP port 81 is "
                         "refused there (-4 tells by whom)")
        self.assertEqual(web.accepts(), 2)

    def test_ipv6_is_dropped_and_one_flow_by_ipv4_works(self):
        web = self.serve("tcp", port=80)
        self.filter("r2", "meta nfproto ipv6 drop")
        self.assert_told(self.traces("-S40123"), WORKS)
        self.assertEqual(web.accepts(), 2)

    def test_ipv6_is_dropped_and_ipv4_works_by_other_methods(self):
        self.serve("echo-udp", port=7)
        self.filter("r2", "meta nfproto ipv6 drop")
        self.assert_told(self.traces("-U", "-p7", "-P6869"), "works: UDP "
                         "port 7 answers there (-4)")
        self.assert_told(self.traces("-I"), "works: ICMP echo is answered "
                         "there (-4)")

    def test_text_report_tells_it_too(self):
        self.serve("tcp", port=80)
        self.filter("r2", "meta nfproto ipv6 drop")
        status, out, err = run(self.net, NAME, "-n", **self.how(USER))
        self.assertEqual((status, err), (1, ""))
        self.assertIn("\nFinding: IPv4 %s %s\n" % (
            self.net.destination, WORKS), out)

    def test_both_are_dead(self):
        self.filter("r2", "drop")
        for args in ([], ["-U"], ["-I"]):
            traces = self.traces(*args)
            self.assert_told(traces, SILENT)
            for trace in traces:
                self.assertLess(trace["elapsed_ms"], 3300)
        self.filter("r2", "meta l4proto tcp reject with icmpx type "
                    "admin-prohibited")
        self.assert_told(self.traces(how=[USER]), "does not get through "
                         "either: 10.77.1.2 says ICMP 3/13, communication "
                         "administratively prohibited")

    def test_ipv6_works_and_ipv4_is_left_alone(self):
        self.serve("tcp", port=80)
        self.serve("echo-udp", port=7)
        self.net.nft(self.net.client, filter_on(
            "output", "ip daddr %s counter" % self.net.destination))
        self.addCleanup(self.net.nft, self.net.client, "flush ruleset\n")
        for args in ([], ["-I"], ["-U", "-p7", "-P6869"]):
            self.assert_told(self.traces(*args))
        status, out, _ = self.net.run(self.net.client,
                                      ["nft", "list", "ruleset"])
        self.assertEqual(re.findall("packets ([0-9]+)", out), ["0"])

    def test_no_control_is_no_other_family(self):
        self.filter("r2", "meta nfproto ipv6 drop")
        self.assert_told(self.traces("--control=none", "-w0.5"))

    def test_port_that_only_one_family_serves(self):
        self.serve("tcp", port=80, families=(4,))
        traces = self.traces()
        self.assert_told(traces, WORKS)
        for trace in traces:
            self.assertEqual(trace["verdict"], "refused")

    def test_short_look_beside_a_refusal_says_nothing_of_silence(self):
        self.filter("r2", "meta nfproto ipv4 drop",
                    "meta l4proto tcp reject with tcp reset")
        traces = self.traces("-p81")
        self.assert_told(traces)
        for trace in traces:            # by r2, in the host's name
            self.assertEqual(trace["verdict"], "reset")
        self.filter("r2", "meta nfproto ipv4 drop")
        for trace in self.traces("-p81"):
            self.assertEqual((trace["verdict"], told(trace)),
                             ("refused", []))
            self.assertLess(trace["elapsed_ms"], 1500)

    def test_name_with_one_family_has_no_other(self):
        self.serve("tcp", port=80)
        self.filter("r2", "drop")
        traces = [trace for _, trace in run_json_all(self.net, [
            ([NAME] + flags, self.how(USER, families))
            for flags, families in (([], (4,)), (["-4"], (6, 4)),
                                    (["-6"], (6, 4)))])]
        self.assertEqual([(trace["address"], told(trace))
                          for trace in traces],
                         [(self.net.destination, []),
                          (self.net.destination, []),
                          (self.net.destination6, [])])

    def test_ipv4_goes_first_where_the_resolver_says_so(self):
        self.serve("tcp", port=80)
        self.filter("r2", "meta nfproto ipv4 drop")
        how = self.how(USER)
        how["etc"]["gai.conf"] = IPV4_FIRST
        (_, trace), = run_json_all(self.net, [([NAME], how)])
        self.assertEqual((trace["address"], told(trace)), (
            self.net.destination, [
                "IPv6 %s works: TCP port 80 accepts a connection there (-6)" %
                self.net.destination6]))


class TestEmulatedPath(FamilyCase, test_live.PathCase):
    """Here the resolver's first is IPv4: the label of the client's IPv6
    address is another than the server's (RFC 6724 6, rule 5)."""

    WORKS = "IPv6 %s works: TCP port 80 accepts a connection there (-6)"

    def assert_ipv6_works(self, traces, verdict):
        for trace in traces:
            self.assertEqual((trace["address"], trace["verdict"],
                              told(trace)), (
                self.net.destination, verdict,
                [self.WORKS % self.net.destination6]), trace)

    def test_ipv4_is_dropped_on_the_way_and_ipv6_works(self):
        self.serve("tcp", port=80)
        self.make(delay=0.05, hops={3: {"filters": [
            {"family": 4, "action": "drop"}]}})
        self.assert_ipv6_works(self.traces(), "dropped")

    def test_reset_on_the_way_is_a_reason_to_try_the_other(self):
        self.serve("tcp", port=80)
        self.make(hops={2: {"filters": [
            {"family": 4, "proto": "tcp", "action": "reset"}]}})
        self.assert_ipv6_works(self.traces(), "reset")

    def test_first_that_is_only_slow_is_not_said_to_fail(self):
        self.serve("tcp", port=80)
        self.make(delay=0.35)
        for trace in self.traces("-w1"):
            self.assertEqual((trace["verdict"], told(trace)), ("open", []))


if __name__ == "__main__":
    unittest.main()
