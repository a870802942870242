"""What a destination's address hides: port forwarding, connection limits.

Not tested here: balancers that are no Linux kernels, and limits by which a
host's own service turns connections away once they are accepted.
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
import potraceroute as pt           # noqa: E402
import test_live                    # noqa: E402
from test_live import BOTH, USER, run_json_all  # noqa: E402
from test_plan import (             # noqa: E402
    DESTINATION, ECHO, REFUSED, exceeded, make_path, opened, read_case)

THERE = ", or something there answers in its name"


def texts(trace, kind):
    """The texts of findings of a kind."""
    return [found["text"] for found in trace["findings"]
            if found["kind"] == kind]


def examine(case):
    """What is made of a case, as JSON has it."""
    verdict = pt.judge(case)
    look = pt.Look(pt.default_options(), False, True, None)
    found = pt.find_all(case, verdict, look)
    return {"verdict": verdict.word, "blocked_before": verdict.before,
            "summary": pt.sentence(verdict, case.path),
            "next": pt.suggest(case, verdict, found),
            "findings": [{"kind": each.kind, "text": pt.say_finding(each)}
                         for each in found]}


class TestForwardingFound(unittest.TestCase):
    """Facts in, words out; d is a router with the destination's address."""

    def said(self, text):
        return texts(examine(read_case(text)), "forwarding")

    def test_destination_as_a_hop_in_front_of_what_answers(self):
        for case, end in (("O/rrdO", "1 hop behind it" + THERE),
                          ("O/rrdrO", "2 hops behind it" + THERE),
                          ("O/rrdrO E/rrE+icmp", "2 hops behind it")):
            ttl = case.partition(" ")[0].index("O", 1) - 1
            self.assertEqual(self.said(case), [
                "198.51.100.7 answers as hop 3 and TCP port 443 as hop %d: "
                "it forwards this port to a host %s" % (ttl, end)], case)
        self.assertEqual(self.said("D/rddD+udp"), [
            "198.51.100.7 answers as hop 2 and UDP port 40000 as hop 4: it "
            "forwards this port to a host 2 hops behind it" + THERE])

    def test_destination_as_a_hop_behind_which_nothing_answers(self):
        for case in ("./rrd", "./rrdr E/rrE+icmp"):
            self.assertEqual(self.said(case), [
                "198.51.100.7 answers as hop 3: it forwards this port to a "
                "host behind it, from which nothing came"], case)

    def test_hop_is_not_counted_if_a_nearer_one_may_be_it(self):
        for case in ("O/3>dO", "O/r.dO"):
            self.assertEqual(self.said(case), [
                "198.51.100.7 answers as a router on the way: it forwards "
                "this port to a host behind it" + THERE], case)

    def test_what_only_looks_alike_is_none(self):
        for case in ("O/rrrO", "O/rrrO E/rrE+icmp", "E/rrE+icmp", "R/rrR",
                     "O/rrRO+confirmed", "F/rrrF", "./rrr", "C/rrC+udp",
                     "./rrr E/rrrE+icmp", "O/"):
            self.assertEqual(self.said(case), [], case)

    def test_what_it_forwards_and_is_rejected_behind_is_not_its_own(self):
        for case, words in (
                ("F/rrdF", "(or by a router behind it, to which it forwards "
                 "this port)"), ("F/rrrF+confirmed", "(its own firewall)"),
                ("F/rrdrF", "is rejected by what is behind 198.51.100.7, hop "
                 "5, in its name: ICMP 3/13")):
            self.assertIn(words, examine(read_case(case))["summary"])

    def test_port_behind_it_has_no_place_by_other_ports(self):
        for case in ("./rrd E/rrE+icmp", "./rrdd O/rrdddO", "./rrd"):
            trace = examine(read_case(case))
            self.assertIsNone(trace["blocked_before"], case)
            self.assertIn(
                "(198.51.100.7): 198.51.100.7 answers there as a router, so "
                "it seems to forward this port, and no answer comes "
                "from behind it", trace["summary"])


class TestLimitsFound(unittest.TestCase):
    """Of a host that accepts some SYNs, and never answers others."""

    def trace(self, last, late=True, full=opened(), control=(), **hops):
        """Three routers; the hops up to last are silent but for these."""
        answers = dict((ttl, exceeded(ttl)) for ttl in (1, 2, 3))
        answers.update((int(key[1:]), value) for key, value in hops.items())
        path = make_path(full, answers, last=last)._replace(late=late)
        if late:
            path = path._replace(distance=None)
        return examine(pt.Case(path, tuple(control)))

    def test_many_without_an_answer_beside_one_that_was_accepted(self):
        start, end = "TCP port 443 accepted ", \
            ": new connections are limited in number or rate, or so many " \
            "routers say nothing"
        for last, hops, counts in (
                (19, {"t19": opened()},
                 "2 SYNs, but none of 15 with ttl 4 to 18"),
                (10, {}, "1 SYN, but none of 7 with ttl 4 to 10")):
            trace = self.trace(last, **hops)
            self.assertEqual(texts(trace, "connections"),
                             [start + counts + end])
            self.assertEqual(trace["next"], [["--control=icmp"]])

    def test_control_with_the_distance_leaves_no_other_explanation(self):
        path = make_path(ECHO, dict([(ttl, exceeded(ttl)) for ttl in (
            1, 2, 3)] + [(4, ECHO)]), "icmp", None)
        self.assertEqual(texts(self.trace(
            19, t19=opened(), control=[path]), "connections"), [
                "TCP port 443 accepted 2 SYNs, but none of 15 with ttl 4 to "
                "18, though ICMP echo reaches 198.51.100.7, 4 hops away: new "
                "connections are limited in number or rate, or lost"])

    def test_what_only_looks_alike_is_none(self):
        for trace in (
                # Silent routers: what was sent together with them arrived.
                self.trace(19, late=False, t19=opened()),
                # A few only, or a path that was not accepted at all.
                self.trace(8, t8=opened()), self.trace(7),
                self.trace(19, full=None), self.trace(
                    19, full=REFUSED, t19=REFUSED)):
            self.assertEqual(texts(trace, "connections"), [])

    def test_connection_that_came_late_gives_no_distance(self):
        for gap, many, distance in ((0, 19, 19), (1, 19, None), (1, 8, 8)):
            hops = dict((ttl, exceeded(ttl)) for ttl in (1, 2, 3))
            hops[many] = opened()
            path = make_path(opened(), hops, last=many)
            self.assertEqual(path.distance, None)   # one try is not enough
            series = pt.Series(1, many, aim=path.aim)
            for ttl in range(1, many + 1):
                for _ in range(3):
                    probe = pt.Probe(ttl, False)
                    probe.sent = 100.0 + gap * (ttl == many)
                    series.note_sent(series.at(ttl), probe)
                probe.answer = hops.get(ttl)
                if probe.answer:
                    series.note_answer(series.at(ttl), probe)
            series.full.answered.append(pt.Probe(0, True))
            series.full.answered[0].answer = opened()
            series.full.probes = series.full.answered
            series.survey()
            path = pt.freeze(series, pt.Show(DESTINATION, 0, 1, None))
            self.assertEqual((path.distance, path.late),
                             (distance, gap > 0), (gap, many))


class KernelCase(test_live.LiveCase):
    require = staticmethod(lab.require_live)
    TABLE = "flush ruleset\ntable %s f {\n%s\n}\n"

    def setUp(self):
        self.net.ping_group(self.net.client)
        self.addCleanup(self.clean)

    def clean(self):
        for name in self.net.routers + [self.net.server]:
            self.net.nft(name, "flush ruleset\n")

    def rules(self, name, family, *chains):
        """Chains are (what precedes the rules, a rule, ...)."""
        self.net.nft(name, self.TABLE % (family, "\n".join(
            "chain c%d {\n%s;\n}" % (number, ";\n".join(chain))
            for number, chain in enumerate(chains))))


class ForwardingCase(KernelCase):
    """r3 has the address asked for; the server behind r4 has the services.
    """

    own_network = False

    PREROUTING = "type nat hook prerouting priority -100"
    OWN, OWN6 = "10.77.2.2", "fd77:2::2"

    def forward(self):
        """Ports 443 and 53 go to the server, 444 to nobody."""
        for version, family, own, server, nobody in (
                (4, "ip", self.OWN, self.net.destination, "10.77.4.99"),
                (6, "ip6", self.OWN6, "[%s]" % self.net.destination6,
                 "[fd77:4::99]")):
            rule = "%s daddr %s " % (family, own)
            self.net.nft("r3", "table %s n {\nchain c {\n%s;\n}\n}\n" % (
                family, ";\n".join((
                    self.PREROUTING,
                    rule + "tcp dport 443 dnat to " + server,
                    rule + "udp dport 53 dnat to " + server,
                    rule + "udp dport 5300 dnat to " + server,
                    rule + "tcp dport 444 dnat to " + nobody,
                    rule + "tcp dport 8022 redirect to :22"))))

    def serve_all(self):
        self.serve("tcp", port=443)
        self.serve("echo-udp", port=53)
        own = self.net.serve("r3", "tcp", port=22)
        self.addCleanup(own.close)

    def traces(self, *args, **more):
        calls = [([own, "--banner-wait=0", "-w1"] + list(args), how)
                 for how in more.get("how", BOTH)
                 for own in (self.OWN, self.OWN6)]
        for (arguments, _), result in zip(calls, lab.trace_all(
                self.net, calls, 2)):
            yield arguments[0], result[0], result[1]


class TestForwardingByKernelRouters(ForwardingCase):

    own_network = True

    @staticmethod
    def build():
        return lab.Chain(routers=4)

    def test_forwarded_port_is_said_with_both_hops(self):
        self.serve_all()
        self.forward()
        for args, subject in ((["-p443"], "TCP port 443"),
                              (["-U", "-p53"], "UDP port 53")):
            for own, status, (trace,) in self.traces(*args):
                self.assertEqual(status, 0, trace)
                self.assertEqual(trace["distance"], 5)
                self.assertEqual([
                    hop["outcome"] for hop in trace["hops"]][:4],
                    ["time-exceeded"] * 4)
                self.assertEqual(texts(trace, "forwarding"), [
                    "%s answers as hop 3 and %s as hop 5: it forwards this "
                    "port to a host 2 hops behind it%s" % (own, subject,
                                                           THERE)])
                self.assertEqual(len(trace["findings"]), 1, trace)

    def test_control_shows_that_the_address_itself_is_nearer(self):
        self.serve_all()
        self.forward()
        for own, _, (trace,) in self.traces("-p443", "--control=icmp"):
            text, = texts(trace, "forwarding")
            self.assertTrue(text.endswith("2 hops behind it"), text)

    def test_ports_of_its_own_are_neither_proxied_nor_forged(self):
        """Whichever comes first, and with ICMP and UDP or without."""
        self.serve_all()
        for quiet in (False, True):
            self.clean()
            if quiet:
                self.rules("r3", "inet", (
                    "type filter hook input priority 0",
                    "meta l4proto { icmp, udp } drop",
                    "icmpv6 type echo-request drop"))
            self.forward()
            for ports in ("22,443,81", "443,22,81"):
                for own, status, traces in self.traces("-p" + ports,
                                                       how=[USER]):
                    found = dict((trace["port"], trace) for trace in traces)
                    self.assertEqual(
                        [(port, found[port]["verdict"],
                          found[port]["distance"]) for port in sorted(found)],
                        [(22, "open", 3), (81, "refused", 3),
                         (443, "open", 5)], (own, ports, quiet))
                    for trace in traces:
                        self.assertEqual(len(texts(trace, "forwarding")),
                                         trace["port"] == 443, trace)

    def test_plain_host_and_a_redirection_on_it_forward_nothing(self):
        self.serve_all()
        self.forward()
        for args in (["-p22"], ["-p8022"], ["-p81"], ["-I"],
                     ["-U", "-p33434"]):
            for own, status, (trace,) in self.traces(*args, how=[USER]):
                self.assertEqual((status, trace["distance"]), (0, 3), trace)
                self.assertEqual(trace["findings"], [])


class TestForwardingByUsualRouters(ForwardingCase):
    """With their limits of ICMP."""

    own_network = True

    @staticmethod
    def build():
        return lab.Chain(routers=4, icmp_limits=True)

    def test_port_of_its_own_beside_a_forwarded_one_is_not_proxied(self):
        self.serve_all()
        self.forward()
        for own, status, traces in self.traces("-p22,443", how=[USER]):
            self.assertEqual([trace["verdict"] for trace in traces],
                             ["open", "open"])

    def test_forwarded_port_without_a_host_is_dropped_behind_it(self):
        self.forward()
        for own, status, (trace,) in self.traces("-p444", how=[USER]):
            self.assertEqual(status, 1)
            self.assertIn(trace["verdict"], ("dropped", "unreachable",
                                             "rejected"))
            self.assertIn("it forwards this port to a host behind it",
                          texts(trace, "forwarding")[0])
            for text in (trace["summary"],) + tuple(texts(
                    trace, "forwarding")):
                self.assertNotIn("host is down", text)
                self.assertNotIn("its own firewall", text)


class TestForwardingWithoutEcho(ForwardingCase):
    """By a user who may not send ICMP echoes, with limits of ICMP: what is
    forwarded is no measure of what the router itself refuses."""

    own_network = True

    @staticmethod
    def build():
        return lab.Chain(routers=4, icmp_limits=True)

    def setUp(self):
        self.addCleanup(self.clean)

    def test_port_of_its_own_that_is_closed_is_refused_in_any_order(self):
        self.serve("tcp", port=443)
        for dropped in ("{ icmp, icmpv6 }", "{ icmp, icmpv6, udp }"):
            self.clean()
            self.rules("r3", "inet", (
                "type filter hook input priority 0",
                "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } "
                "accept", "meta l4proto %s drop" % dropped))
            self.forward()
            for ports in ("443,22", "22,443", "443,444,22"):
                time.sleep(1)           # one answer a second, at most
                for own, _, traces in self.traces("-p" + ports, how=[USER]):
                    found = dict((trace["port"], trace) for trace in traces)
                    self.assertEqual(
                        (found[22]["verdict"], found[22]["distance"],
                         found[443]["verdict"], found[443]["distance"]),
                        ("refused", 3, "open", 5), (own, ports, dropped))
                    self.assertNotIn(" by a device ", " ".join(
                        trace["summary"] for trace in traces))


class TestLimitsOfKernelRouters(KernelCase):
    """With their limits of ICMP."""

    @staticmethod
    def build():
        return lab.Chain(routers=3, icmp_limits=True)

    def limit(self, name, hook, rule):
        self.rules(name, "inet", (
            "type filter hook %s priority 0" % hook,
            "tcp dport 80 ct state new " + rule))

    def test_limited_rate_gives_no_false_distance(self):
        self.serve("tcp", port=80)
        for name, hook in (("r3", "forward"), ("server", "input")):
            for version in ("-4", "-6"):
                self.limit(name, hook,
                           "limit rate over 1/second burst 1 packets drop")
                destination = self.net.destination if version == "-4" else \
                    self.net.destination6
                for _, trace in run_json_all(self.net, [
                        ([destination, "--banner-wait=0.3"], USER)]):
                    self.assertEqual(trace["verdict"], "open")
                    self.assertIn(trace["distance"], (None, 4), trace)
                    for text in texts(trace, "connections"):
                        self.assertIn("new connections are limited", text)

    def test_further_connections_refused_are_not_blamed_on_the_host(self):
        self.serve("tcp", port=80)
        self.limit("r3", "forward", "limit rate over 1/minute burst 1 "
                   "packets reject with tcp reset")
        _, trace = run_json_all(self.net, [([self.net.destination], USER)])[0]
        self.assertEqual(trace["verdict"], "open")
        self.assertNotIn("but it refused", trace["summary"])
        self.assertNotEqual(trace["distance"], 3)

    def test_port_without_limit_has_no_such_finding(self):
        self.serve("tcp", port=80)
        for _, trace in run_json_all(self.net, [
                ([destination, "--banner-wait=0"], how) for how in BOTH
                for destination in (self.net.destination,
                                    self.net.destination6)]):
            self.assertEqual((trace["distance"], trace["findings"]), (4, []))


class TestSilentRoutersAndLoss(test_live.PathCase):

    @staticmethod
    def build():
        return lab.Path(routers=9)

    def test_many_silent_routers_before_the_host_are_no_limit(self):
        self.serve("tcp", port=80)
        destination = self.make(routers=9, delay=0.02, hops=dict(
            (ttl, {"silent": True}) for ttl in range(3, 10)))
        for _, trace in run_json_all(self.net, [
                ([destination, "--banner-wait=0"], how) for how in BOTH]):
            self.assertEqual((trace["verdict"], trace["distance"]),
                             ("open", 10), trace)
            self.assertEqual(texts(trace, "connections"), [])

    def test_loss_of_every_fourth_packet_is_no_limit(self):
        self.serve("tcp", port=80)
        destination = self.make(routers=9, delay=0.01, loss=0.25)
        for _, trace in run_json_all(self.net, [
                ([destination, "--banner-wait=0"], USER)] * 6):
            self.assertNotIn("limited", " ".join(texts(trace,
                                                       "connections")))


if __name__ == "__main__":
    unittest.main()
