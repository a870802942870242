"""--return-path: are answers from a silent port lost on the way back?

Not tested here: routers that are no Linux kernels, whose control plane may
drop or limit what comes to them, and paths whose ways out and back part.
"""

import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import lab                          # noqa: E402
from lanes import load_tests        # noqa: F401,E402
import potraceroute as pt           # noqa: E402
import test_live                    # noqa: E402
from test_live import BOTH, ROOT, USER, run, run_json_all  # noqa: E402
from test_plan import (             # noqa: E402
    DESTINATION, ECHO, NO, REFUSED, exceeded, hear, make_path, opened,
    router, walk)

# What an address does on the port and on its neighbour, as a letter.
WORDS = {"b": ("refused", "refused"), "n": ("timeout", "refused"),
         "p": ("refused", "timeout"), "-": ("timeout", "timeout"),
         "o": ("open", "refused"), "x": ("prohibited", "refused"),
         "i": ("timeout", "port-unreachable"),
         "s": ("timeout", "sometimes")}


STATEFUL = "; a stateful filter on the way back may still drop SYN/ACKs"


def make_back(letters, sent=12):
    """Return the WayBack of hops from 1 on and, behind a >, of the
    destination."""
    routers, _, last = letters.partition(">")
    knocks = [pt.Knock(ttl, router(ttl), *WORDS[letter])
              for ttl, letter in enumerate(routers, 1)]
    if last:
        knocks.append(pt.Knock(pt.LAST, DESTINATION, *WORDS[last]))
    return pt.WayBack(443, 444, tuple(knocks), sent)


class TestWhatFollows(unittest.TestCase):
    """Facts in, words out."""

    def find(self, back, path, lead=True):
        case = pt.Case(path)
        look = pt.Look(pt.default_options(), False, lead, None, back)
        return [(found.kind, found.hop, pt.say_finding(found)) for found in
                pt.check_return_path(case, pt.judge(case), look)]

    def assert_said(self, letters, seen, hop, text):
        """seen: so many routers are seen on the port itself."""
        (kind, at, words), = self.find(make_back(letters),
                                       make_path(None, walk(seen)))
        self.assertEqual((kind, at), ("return-path", hop), letters)
        self.assertEqual(words, text + "; 12 SYNs were sent to %d addresses"
                         % len(letters.replace(">", "")), letters)

    def test_routers_that_never_answer_from_the_port_lie_behind_it(self):
        self.assert_said(
            "bbbnn>n", 5, 4, "answers from TCP port 443 are lost on the way "
            "back, between hop 4 (10.0.4.1) and hop 3 (10.0.3.1): hops 4 and "
            "5 and 198.51.100.7 refuse 444 but never 443, hops 1 to 3 refuse "
            "both ports (unless each of hops 4 and 5 drops SYNs to its own "
            "port 443)")
        self.assert_said(
            "b--n>-", 4, 4, "answers from TCP port 443 are lost on the way "
            "back, between hop 4 (10.0.4.1) and hop 1 (10.0.1.1): hop 4 "
            "refuses 444 but never 443, hop 1 refuses both ports, nothing "
            "came from hops 2 and 3 and 198.51.100.7 on either (unless hop 4 "
            "drops SYNs to its own port 443)")

    def test_all_routers_behind_it_leave_this_host_as_the_other_end(self):
        self.assert_said(
            "nn>n", 2, 1, "answers from TCP port 443 are lost on the way "
            "back, between hop 1 (10.0.1.1) and this host, or by its own "
            "firewall: hops 1 and 2 and 198.51.100.7 refuse 444 but never "
            "443 (unless each of hops 1 and 2 drops SYNs to its own port "
            "443)")

    def test_port_that_is_seen_no_farther_itself_shows_no_way_back(self):
        self.assert_said(
            "bbbnn>n", 3, None, "no loss on the way back is shown: hops 4 "
            "and 5 and 198.51.100.7 refuse 444 but never 443, hops 1 to 3 "
            "refuse both ports, but probes of TCP port 443 are seen at hop 3 "
            "(10.0.3.1), no farther, and their loss on the way out explains "
            "this too")
        self.assert_said(
            "nn>-", 0, None, "no loss on the way back is shown: hops 1 and 2 "
            "refuse 444 but never 443, nothing came from 198.51.100.7 on "
            "either, but probes of TCP port 443 are seen at no hop, and their "
            "loss on the way out explains this too")

    def test_destination_alone_may_drop_it_itself(self):
        start = "%s from port 443 come back from hop %d (10.0.%d.1): " \
            "198.51.100.7 refuses 444 but never 443, hops 1 to %d answer " \
            "both ports"
        self.assert_said("bob>n", 3, None, start % (
            "resets", 3, 3, 3) + STATEFUL)
        # One that accepts shows that this comes back, too.
        self.assert_said("bboo>n", 4, None, start % ("answers", 4, 4, 4))

    def test_pattern_that_is_not_clean_shows_no_place(self):
        for letters in ("bnb>n", "bnbn>-", "nb>n", "bbn>b", "nn>b"):
            (_, hop, text), = self.find(make_back(letters), make_path(
                None, walk(5)))
            self.assertIsNone(hop, letters)
            self.assertIn("no place on the way back follows: ", text)

    def test_routers_that_answer_neither_or_otherwise_say_nothing(self):
        self.assert_said(
            "---x>n", 4, None, "no place on the way back follows: "
            "198.51.100.7 refuses 444 but never 443, nothing came "
            "from hops 1 to 3 on either, hop 4 gives no clear answer")
        self.assert_said(
            "bxi>-", 3, None, "resets from port 443 come back from hop 1 "
            "(10.0.1.1): hop 1 refuses both ports, nothing came from "
            "198.51.100.7 on either, hops 2 and 3 give no clear answer" +
            STATEFUL)
        self.assert_said(
            "bs>s", 2, None, "resets from port 443 come back from hop 1 "
            "(10.0.1.1): hop 1 refuses both ports, hop 2 and 198.51.100.7 "
            "give no clear answer" + STATEFUL)
        self.assert_said(
            "pb>-", 3, None, "resets from port 443 come back from hop 2 "
            "(10.0.2.1): hop 2 refuses both ports, hop 1 refuses 443 but not "
            "444, nothing came from 198.51.100.7 on either" + STATEFUL)

    def test_two_routers_of_one_ttl_are_no_place(self):
        knocks = (pt.Knock(2, "10.0.2.1", *WORDS["b"]),
                  pt.Knock(2, "10.9.9.9", *WORDS["n"]))
        (_, hop, text), = self.find(pt.WayBack(443, 444, knocks, 8),
                                    make_path(None, walk(3)))
        self.assertIsNone(hop)
        self.assertTrue(text.startswith("no place "), text)

    def test_nobody_asked_is_said_with_the_reason(self):
        back, start = pt.WayBack(443, 444, (), 0), \
            "no router was asked about the way back: "
        for path, end in (
                (make_path(opened(), walk(3, t4=opened())),
                 "TCP port 443 is not just silent"),
                (make_path(NO, walk(2, t3=NO)),
                 "TCP port 443 is not just silent"),
                (make_path(None, {}), "none is known by its address")):
            self.assertEqual([text for _, _, text in self.find(back, path)],
                             [start + end])

    def test_nothing_is_said_unless_it_was_asked_or_of_other_ports(self):
        path = make_path(None, walk(5))
        self.assertEqual(self.find(None, path), [])
        self.assertEqual(self.find(make_back("bn>n"), path, False), [])

    def test_hops_in_words(self):
        for ttls, words in (([], ""), ([3], "hop 3"), ([4, 3], "hops 3 and 4"),
                            ([1, 9], "hops 1 and 9"),
                            ([1, 2, 3, 7, 7], "hops 1 to 3, 7")):
            self.assertEqual(pt.say_ttls(ttls), words)


class TestWhomToAsk(unittest.TestCase):

    def test_each_router_is_asked_once_and_the_destination_last(self):
        aim = pt.Aim("tcp", make_path().aim.target, None)
        lead = pt.Series(1, 9, aim=aim)
        control = pt.Series(1, 9, aim=aim)
        hear(lead, (1, exceeded(1)), (2, exceeded(2)), (3, None))
        hear(control, (1, exceeded(1)), (3, exceeded(3)),
                       (4, exceeded(2)), (5, ECHO), (6, REFUSED))
        port = pt.Port(aim, lead, 0)
        port.controls = [control]
        self.assertEqual(pt.places_to_knock(port), [
            (1, router(1)), (2, router(2)), (3, router(3)),
            (pt.LAST, DESTINATION)])

    def test_link_local_and_own_addresses_are_not_asked(self):
        aim = pt.Aim("tcp", make_path().aim.target, None)
        lead = pt.Series(1, 9, aim=aim)
        for ttl, address in enumerate(("fe80::1", "FE80::2", "192.0.2.99",
                                       DESTINATION), 1):
            hear(lead, (ttl, exceeded(ttl)._replace(
                responder=address)))
        self.assertEqual(pt.places_to_knock(pt.Port(aim, lead, 0)), [])


class TestOptions(unittest.TestCase):

    def test_other_methods_and_several_ports_are_refused(self):
        for options, why in ((["-U"], "does not go with -U: only by TCP"),
                             (["-I"], "does not go with -I: only by TCP"),
                             (["-p", "22,80"], "give one by -p")):
            parsed, args = pt.parse_options(options + [
                "--return-path", "127.0.0.1"])
            with self.assertRaises(pt.OptionError) as caught:
                pt.Traceroute(parsed, args[0])
            self.assertIn(why, str(caught.exception))
        self.assertFalse(pt.default_options().return_path)


class KernelCase(test_live.LiveCase):

    own_network = False
    require = staticmethod(lab.require_live)
    DROP_BACK = "chain c { type filter hook forward priority 0; " \
        "tcp sport 443 drop; }"
    DROP_OUT = "chain c { type filter hook forward priority 0; " \
        "tcp dport 443 drop; }"
    DROP_IN = "chain i { type filter hook input priority 0; %s drop; }"

    def setUp(self):
        self.net.ping_group(self.net.client)
        self.serve("tcp", port=443)
        self.addCleanup(self.clean)

    def clean(self):
        for name in self.net.routers + [self.net.client, self.net.server]:
            self.net.nft(name, "flush ruleset\n")

    def filter(self, name, *chains):
        self.net.nft(name, "flush ruleset\ntable inet f {\n%s\n}\n" %
                     "\n".join(chains).replace("; }", ";\n}").replace(
                         "{ ", "{\n"))

    def said(self, *args, **more):
        """The (hop, text) of --return-path by each family and user."""
        calls = [(["-p443", "-w0.7", destination, "--return-path"] +
                  list(args), how) for how in more.get("how", BOTH)
                 for destination in (self.net.destination,
                                     self.net.destination6)]
        for call, (status, trace) in zip(calls, run_json_all(
                self.net, calls, 2)):
            found = [(finding["hop"], finding["text"])
                     for finding in trace["findings"]
                     if finding["kind"] == "return-path"]
            self.assertEqual(len(found), 1, trace)
            hop = self.net.hop6 if ":" in call[0][2] else self.net.hop
            yield (hop, trace) + found[0]


class TestWayBackOfUsualRouters(KernelCase):
    """With their limits of ICMP."""

    own_network = True

    @staticmethod
    def build():
        return lab.Chain(routers=5, icmp_limits=True)

    def test_text_is_a_finding_and_the_verdict_stays(self):
        self.filter("r3", self.DROP_BACK)
        status, out, err = run(self.net, self.net.destination, "-p443", "-n",
                               "-w0.7", "--return-path")
        self.assertEqual((status, err), (1, ""))
        self.assertIn("\nFinding: answers from TCP port 443 are lost on the "
                      "way back, between hop 4 (10.77.3.2) and hop 3 "
                      "(10.77.2.2): ", out)
        self.assertIn("\nTCP port 443 is dropped ", out)


class TestWayBackOfKernelRouters(KernelCase):

    own_network, parts = True, 4

    @staticmethod
    def build():
        return lab.Chain(routers=5)

    def test_filter_on_the_way_back_is_found_by_each_user(self):
        self.filter("r3", self.DROP_BACK)
        self.net.ping_group(self.net.client, "1 0")     # no ICMP echo
        for hop, trace, at, text in self.said():
            self.assertEqual(trace["verdict"], "dropped")
            self.assertEqual(at, 4)
            self.assertEqual(text, (
                "answers from TCP port 443 are lost on the way back, between "
                "hop 4 (%s) and hop 3 (%s): hops 4 and 5 and %s refuse 444 "
                "but never 443, hops 1 to 3 refuse both ports (unless each "
                "of hops 4 and 5 drops SYNs to its own port 443); 24 SYNs "
                "were sent to 6 addresses") % (hop(4), hop(3), hop(6)))

    def test_filter_on_the_way_out_is_no_loss_on_the_way_back(self):
        self.filter("r3", self.DROP_OUT)
        for hop, trace, at, text in self.said():
            self.assertEqual(trace["blocked_after"]["ttl"], 3)
            self.assertIsNone(at)
            self.assertTrue(text.startswith("no loss on the way back is "
                                            "shown: hops 4 and 5"), text)
            self.assertIn("seen at hop 3 (%s), no farther" % hop(3), text)

    def test_firewall_of_the_host_is_no_loss_on_the_way_back(self):
        self.filter("server", self.DROP_IN % "tcp dport 443")
        for hop, _, at, text in self.said():
            self.assertIsNone(at)
            self.assertTrue(text.startswith(
                "resets from port 443 come back from hop 5 (%s): %s refuses "
                "444 but never 443, hops 1 to 5 refuse both ports%s; " % (
                    hop(5), hop(6), STATEFUL)), text)

    def test_firewall_of_this_host_is_named_beside_hop_1(self):
        self.filter("client", self.DROP_IN % "tcp sport 443")
        for hop, _, at, text in self.said(how=[USER]):
            self.assertEqual(at, 1)
            self.assertIn("between hop 1 (%s) and this host, or by its own "
                          "firewall" % hop(1), text)

    def test_routers_that_drop_all_tcp_to_themselves_say_nothing(self):
        for name in self.net.routers:
            self.filter(name, self.DROP_IN % "meta l4proto tcp",
                        self.DROP_BACK if name == "r3" else "")
        for hop, _, at, text in self.said(how=[USER]):
            self.assertIsNone(at)
            self.assertTrue(text.startswith(
                "no place on the way back follows: %s refuses 444 but never "
                "443, nothing came from hops 1 to 5 on either" % hop(6)), text)

    def test_host_that_answers_another_way_shows_no_place(self):
        """As if the host's own answers were lost on a way of their own."""
        self.filter("server", "chain o { type filter hook output priority 0;"
                    " meta l4proto tcp drop; }")
        for hop, _, at, text in self.said(how=[USER]):
            self.assertIsNone(at)
            self.assertIn("come back from hop 5", text)
            self.assertIn("nothing came from %s on either" % hop(6), text)

    def test_port_that_is_open_or_rejected_asks_no_router(self):
        self.filter("r5", "chain i { type filter hook input priority 0; "
                    "tcp dport 444 counter drop; }")
        for _, _, _, text in self.said("--banner-wait=0", how=[USER]):
            self.assertIn("TCP port 443 is not just silent", text)
        self.filter("r3", self.DROP_OUT.replace(
            "drop", "reject with icmpx type admin-prohibited"))
        for _, trace, _, text in self.said(how=[USER]):
            self.assertEqual(trace["verdict"], "rejected")
            self.assertIn("TCP port 443 is not just silent", text)

    def test_open_port_of_a_router_accepts_nothing_and_keeps_nothing(self):
        self.filter("server", self.DROP_IN % "tcp dport 443")
        service = self.net.serve("r2", "tcp", port=443)
        self.addCleanup(service.close)
        for _, _, at, text in self.said(how=[USER, ROOT]):
            self.assertIn("hops 1 to 5 answer both ports", text)
        self.assertEqual(service.accepts(), 0)
        self.assertEqual(self.net.half_open("r2", 443), 0)


class TestWayBackOfAnEmulatedPath(test_live.PathCase):

    def test_routers_that_answer_no_tcp_show_no_place(self):
        destination = self.make(delay=0.03, hops={2: {"filters": [
            {"proto": "tcp", "port": 443, "action": "drop",
             "direction": "back"}]}})
        for _, trace in run_json_all(self.net, [
                (["-p443", "-w0.7", "--return-path", destination], how)
                for how in BOTH]):
            text, = [finding["text"] for finding in trace["findings"]
                     if finding["kind"] == "return-path"]
            self.assertIn("hops 1 to 4", text)
            self.assertNotIn("are lost on the way back", text)


if __name__ == "__main__":
    unittest.main()
