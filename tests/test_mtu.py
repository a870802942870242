"""--mtu: who says that a packet is too big, and where nobody does.

Not tested here: other systems than Linux, IPsec and other links whose MTU
the kernel lowers by itself, and paths on which ICMP and UDP part.
"""

import errno
import os
import re
import struct
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

from lanes import load_tests        # noqa: F401,E402
import potraceroute as pt           # noqa: E402
import test_live                    # noqa: E402
from test_live import BOTH, ROOT, USER, run, run_json_all  # noqa: E402
from test_plan import (             # noqa: E402
    CLOSED, DENIED, ECHO, exceeded, hear, make_path, opened, prohibited,
    walk)

SILENT_HOST = {4: {"filters": [{"proto": "icmp", "action": "drop"},
                               {"proto": "udp", "action": "drop"}]}}


def only(trace):
    """The finding that tells of the path MTU."""
    found = [finding for finding in trace["findings"]
             if "path MTU" in finding["text"]]
    if len(found) != 1:
        raise AssertionError(trace["findings"])
    return found[0]


class TestDecoding(unittest.TestCase):

    ICMP = struct.pack("=IBBBBII", errno.EMSGSIZE, 2, 3, 4, 0, 1400, 0) + \
        struct.pack("=HH4s8x", 2, 0, b"\x0a\x58\x03\x01")

    def test_mtu_of_a_too_big_message_is_kept(self):
        reply = pt.SizeQueue.decode_error(self.ICMP, 4, pt.NOTHING_QUOTED, {})
        self.assertEqual((reply.kind, reply.responder, reply.icmp_type,
                          reply.icmp_code, reply.data),
                         ("icmp", "10.88.3.1", 3, 4, 1400))

    def test_mtu_of_a_message_cut_anywhere_does_no_harm(self):
        for length in range(len(self.ICMP)):
            reply = pt.SizeQueue.decode_error(
                self.ICMP[:length], 4, pt.NOTHING_QUOTED, {})
            self.assertEqual(reply is None, length < 16)

    def measure(self, full, hops=(), end=pt.DEFAULT_TTL, last=0):
        """A PathMtu that has heard this of a packet of 1500 bytes."""
        mtu = pt.PathMtu.__new__(pt.PathMtu)
        mtu.too_big, mtu.end = pt.TOO_BIG[4], end
        mtu.target = make_path(full).aim.target
        mtu.heard = {1500: [hear(pt.Series(1, last, full_ttl=end), (0, full),
                                 *hops)]}
        return mtu

    def test_packet_has_arrived_or_who_found_it_too_big_is_kept(self):
        too_big = prohibited("10.88.2.1", icmp=pt.TOO_BIG[4])
        local = DENIED._replace(error=errno.EMSGSIZE)
        for full, end, reach, fate in (
                (ECHO, 64, [64], True), (CLOSED, 64, [64], True),
                # What only expires on the way has not arrived.
                (exceeded(2), 64, [], None), (exceeded(4), 4, [4], True),
                (too_big, 64, [], too_big), (local, 64, [], local),
                (DENIED, 64, [], None), (None, 64, [], None)):
            mtu = self.measure(full, end=end)
            self.assertEqual((mtu.reach(1500), mtu.fate(1500)),
                             (reach, fate))
        mtu = self.measure(None, [(1, exceeded(1)), (3, exceeded(3))],
                           last=3)
        self.assertEqual((mtu.reach(1500), mtu.fate(1500)), ([1, 3], None))

    def findings(self, mtu, lead=True, full=opened()):
        case = pt.Case(make_path(full, walk(3, t4=full)))
        look = pt.Look(pt.default_options(), False, lead, mtu)
        return [(found.kind, found.hop, pt.say_finding(found))
                for found in pt.check_mtu(case, pt.judge(case), look)]

    def test_mtu_is_told_once_and_only_if_it_was_asked(self):
        self.addCleanup(setattr, pt.ErrorQueue, "available",
                        vars(pt.ErrorQueue)["available"])
        pt.ErrorQueue.available = staticmethod(lambda: False)
        for asked, texts in ((False, []), (True, [
                "path MTU unknown: this system does not tell MTUs"])):
            trace = pt.trace("127.0.0.1", 9, "udp", mtu=asked, no_dns=True,
                             wait_time=0.3, control="none")
            self.assertEqual([found["text"] for found in trace.findings
                              if found["kind"] == "mtu"], texts)
        self.assertFalse(pt.default_options().mtu)
        self.assertEqual(self.findings(None), [])
        self.assertEqual(self.findings(self.measure(None), lead=False), [])

    def test_mtu_is_told_with_who_or_what_limits_it(self):
        told = prohibited("10.88.2.1", icmp=pt.TOO_BIG[4])._replace(
            data=1400)
        for facts, size, kind, hop, text in (
                (dict(low=1500), 1500, "mtu", None,
                 "path MTU 1500, the whole way"),
                (dict(low=1400, why=told), 1400, "mtu", 2,
                 "path MTU 1400: 10.88.2.1 at hop 2 says ICMP 3/4, "
                 "fragmentation needed, with MTU 1400"),
                (dict(low=1400, lost_between=(2, 3)), 1400, "black-hole", 2,
                 "path MTU 1400: bigger packets vanish between 10.88.2.1 at "
                 "hop 2 and a router at hop 3, and nobody says why: a path "
                 "MTU black hole; connections with an MSS above 1360 may "
                 "hang: set it to that or let ICMP pass"),
                (dict(low=1400, lost_between=(0, 64)), 1400, "mtu", 0,
                 "path MTU 1400: bigger packets vanish between this host "
                 "and 198.51.100.7 itself, and nobody says why: a path MTU "
                 "black hole, or the host or the way back drops them; "
                 "connections with an MSS above 1360 may hang: set it to "
                 "that or let ICMP pass"),
                (dict(low=1500, end=2), None, "mtu", None,
                 "path MTU 1500 as far as 10.88.2.1 at hop 2: neither ICMP "
                 "echo nor a closed UDP port answers"),
                (dict(low=68, end=0, found=False), None, "mtu", None,
                 "path MTU unknown: neither ICMP echo nor a closed UDP port "
                 "answers"),
                (dict(low=900, found=False), None, "mtu", None,
                 "path MTU unknown: too many answers are missing; packets "
                 "of 900 bytes get through")):
            mtu = self.measure(None)
            vars(mtu).update(dict(dict(
                found=True, done=True, why=None, lost_between=None, mss=None,
                header=28, places={2: "10.88.2.1"}), **facts))
            self.assertEqual((mtu.size, self.findings(mtu)),
                             (size, [(kind, hop, text)]))
        mtu.mss, mtu.offers_more = 1000, False
        self.assertEqual(self.findings(mtu)[1:], [
            ("mtu", None, "the server offers an MSS of 1000 (packets of "
             "1040 bytes)")])
        mtu.offers_more = True
        self.assertIn("1000 or more (", self.findings(mtu)[1][2])
        self.assertEqual(len(self.findings(mtu, full=ECHO)), 1)


    def test_what_is_missing_to_know_more_is_said_with_its_cure(self):
        cure = "needs ICMP echo: " + (pt.SYSTEM.no_echo or pt.SYSTEM.cure)
        unheard = "what --mtu sends to UDP port 33434 is not answered; " + \
            cure
        for facts, text in (
                (dict(low=1500), "path MTU 1500, the whole way"),
                (dict(low=1500, end=2),
                 "path MTU 1500 as far as 10.88.2.1 at hop 2: " + unheard),
                (dict(low=68, end=0, found=False),
                 "path MTU unknown: " + unheard),
                (dict(low=900, found=False),
                 "path MTU unknown: too many answers are missing; packets of "
                 "900 bytes get through; " + cure),
                (dict(low=900, found=False, end=2),
                 "path MTU unknown: too many answers are missing; packets of "
                 "900 bytes get through as far as 10.88.2.1 at hop 2; " +
                 unheard),
                (dict(low=1400, end=3, lost_between=(1, 2)),
                 "path MTU 1400 as far as a router at hop 3: bigger packets "
                 "vanish between a router at hop 1 and 10.88.2.1 at hop 2, "
                 "and nobody says why: a path MTU black hole; connections "
                 "with an MSS above 1360 may hang: set it to that or let "
                 "ICMP pass; " + unheard)):
            mtu = self.measure(None)
            vars(mtu).update(dict(dict(
                found=True, done=True, why=None, lost_between=None, mss=None,
                header=28, places={2: "10.88.2.1"}, echo=False), **facts))
            self.assertEqual(self.findings(mtu)[0][2], text)

    def test_only_the_hosts_own_refusal_shows_the_arrival(self):
        host = make_path(None).aim.target.address
        for answer, reach in ((prohibited(host), [64]),
                              (prohibited("10.88.2.1"), []),
                              (prohibited(host, icmp=pt.TOO_BIG[4]), [])):
            self.assertEqual(self.measure(answer).reach(1500), reach)

    def test_one_size_at_a_time_takes_the_usual_ones_first(self):
        mtu = self.measure(None)
        mtu.sparing = True
        for true in list(range(68, 1500)):
            mtu.low, mtu.high, asked = 68, 1500, 0
            while mtu.high - mtu.low > 1:
                size, = mtu.choose_sizes()
                self.assertTrue(mtu.low < size < mtu.high)
                asked += 1
                if size <= true:
                    mtu.low = size
                else:
                    mtu.high = size
            self.assertEqual(mtu.low, true)
            self.assertLess(asked, 7 if true in mtu.USUAL else 16)


class MtuCase(object):
    """Beside a network: what --mtu finds in it."""

    def traces(self, *args, **more):
        """The traces of both families, as root and not."""
        calls = [([destination, "--mtu", "--banner-wait=0", "-w0.4"] +
                  list(args), how) for how in more.get("how", BOTH)
                 for destination in more.get("destinations", (
                     self.net.destination, self.net.destination6))]
        return [trace for _, trace in run_json_all(self.net, calls)]

    def hop(self, trace, k):
        return self.net.hop6(k) if trace["family"] == 6 else self.net.hop(k)

    def assert_told(self, trace, mtu, k):
        finding = only(trace)
        self.assertEqual((finding["kind"], finding["hop"],
                          trace["path_mtu"]), ("mtu", k, mtu), finding)
        self.assertIn("%s at hop %d says" % (self.hop(trace, k), k),
                      finding["text"])

    def assert_whole(self, trace, mtu=1500):
        self.assertEqual((only(trace)["text"], trace["path_mtu"]),
                         ("path MTU %d, the whole way" % mtu, mtu))

    def assert_hole(self, trace, mtu, k, beyond=None):
        finding = only(trace)
        self.assertEqual((finding["kind"], finding["hop"],
                          trace["path_mtu"]), ("black-hole", k, mtu),
                         finding)
        beyond = beyond or k + 1
        self.assertIn("between %s at hop %d and %s at hop %d" % (
            self.hop(trace, k), k, self.hop(trace, beyond), beyond),
            finding["text"])
        self.assertIn("MSS above %d " % (
            mtu - (60 if trace["family"] == 6 else 40)), finding["text"])


class TestEmulatedPath(MtuCase, test_live.PathCase):

    def test_mtu_that_a_router_tells_is_named_and_forgotten_when_mended(self):
        self.serve("tcp", port=80)
        for _ in range(2):              # the second with what was learned
            self.make(hops={2: {"mtu": 1450}, 3: {"mtu": 1400}})
            for trace in self.traces():
                self.assert_told(trace, 1400, 3)
        self.make()
        for trace in self.traces():
            self.assert_whole(trace)

    def test_mtu_by_udp_or_raw_socket_where_ping_is_not_allowed(self):
        self.net.ping_group(self.net.client, "1 0")
        self.make(hops={3: {"mtu": 1333}})
        for trace in self.traces():
            self.assert_told(trace, 1333, 3)
        self.make(hops={4: {"filters": [{"proto": "udp",
                                         "action": "drop"}]}})
        for trace in self.traces(how=[ROOT]):
            self.assert_whole(trace)

    def test_router_that_tells_no_mtu_or_a_wrong_one_is_measured(self):
        for told in (0, 60, 1400, 3000):
            self.make(hops={3: {"mtu": 1371, "told_mtu": told}})
            for trace in self.traces(how=[USER]):
                self.assert_told(trace, 1371, 3)

    def test_quotes_of_any_style_tell_the_mtu(self):
        for style in ({"quote": 8}, {"labels": [[16, 0, 1, 1]]},
                      {"quote": 28, "labels": [[16, 0, 1, 1]],
                       "legacy": True}):
            self.make(hops={3: dict(style, mtu=1400)})
            for trace in self.traces(how=[USER]):
                # RFC 4443 has no place for both: the length is told then.
                if trace["family"] == 4 or "labels" not in style:
                    self.assert_told(trace, 1400, 3)

    def test_black_hole_is_told_from_a_host_that_drops_what_is_big(self):
        self.net.ping_group(self.net.client, "1 0")
        self.make(hops={1: {"mtu": 1450}, 3: {"silent": True, "filters": [
            {"family": 6, "min_size": 1401, "action": "drop"}]}, 4: {
                "filters": [{"family": 4, "proto": "udp", "min_size": 1300,
                             "action": "drop"}]}})
        host, hole = self.traces("-U", how=[USER])
        self.assert_hole(hole, 1400, 2, 4)
        self.assertEqual((only(host)["kind"], host["path_mtu"]),
                         ("mtu", 1299))
        self.assertIn("or the host or the way back drops them",
                      only(host)["text"])

    def test_loss_is_no_black_hole(self):
        self.make(loss=0.15, loss_back=0.15, seed=3, hops={
            k: {"loss": 0.3} for k in range(1, 5)})
        for trace in self.traces(how=[USER]):
            self.assertEqual(only(trace)["kind"], "mtu", trace["findings"])
            self.assertIn(trace["path_mtu"], (1500, None))

    def test_rate_limits_are_no_black_hole(self):
        self.make(hops={k: {"rate": 1} for k in range(1, 5)})
        for trace in self.traces():
            self.assert_whole(trace)

    def test_host_that_drops_big_pings_is_measured_by_udp(self):
        for size in (0, 1000):
            self.make(hops={4: {"filters": [
                {"proto": "icmp", "min_size": size, "action": "drop"}]}})
            for trace in self.traces("-U", how=[USER]):
                self.assert_whole(trace)

    def test_host_that_answers_nothing_is_said_to(self):
        self.make(hops=SILENT_HOST)
        self.serve("tcp", port=80)
        trace, = self.traces(how=[USER], destinations=[self.net.destination])
        self.assertEqual(only(trace)["text"], (
            "path MTU 1500 as far as 10.88.4.1 at hop 4: neither ICMP echo "
            "nor a closed UDP port answers"))
        self.assertIsNone(trace["path_mtu"])

    def test_path_that_answers_nothing_at_all_is_unknown(self):
        self.make(hops={1: {"silent": True, "filters": [
            {"action": "drop"}]}})
        trace, = self.traces(how=[USER], destinations=[self.net.destination])
        self.assertIn("path MTU unknown: ", only(trace)["text"])
        self.assertIsNone(trace["path_mtu"])

    def test_text_report_tells_the_mss_that_the_server_offers(self):
        self.make()
        self.serve("tcp", port=80)
        self.net.ip(self.net.server, "route change default dev tun0 src %s "
                    "advmss 1000" % self.net.destination)
        self.addCleanup(self.net.ip, self.net.server,
                        "route change default dev tun0 src %s" %
                        self.net.destination)
        self.net.ip(self.net.client, "route flush cache")   # learned MTUs
        status, out, err = run(self.net, self.net.destination, "-n", "--mtu",
                               "--banner-wait=0")
        self.assertEqual((status, err), (0, ""))
        self.assertIn("\nFinding: path MTU 1500, the whole way\n", out)
        self.assertIn("\nFinding: the server offers an MSS of 1000 (packets "
                      "of 1040 bytes)\n", out)

    def test_own_host_takes_whatever_a_packet_can_be(self):
        for destination in ("127.0.0.1", "::1"):
            trace, = self.traces(how=[USER], destinations=[destination])
            self.assert_whole(trace, 65535)


class TestChainOfKernelRouters(MtuCase, test_live.ChainCase):
    """client - r1 - r2 -(1400)- r3 - server, all of them Linux kernels."""

    def setUp(self):
        self.net.ping_group(self.net.client)
        for name, device in (("r2", "toserver"), ("r3", "toclient")):
            self.net.ip(name, "link set %s mtu 1400" % device)

    def test_router_before_the_narrow_link_tells_its_mtu(self):
        self.serve("tcp", port=80)
        for trace in self.traces():
            self.assert_told(trace, 1400, 2)

    def test_black_hole_where_a_filter_eats_the_message_is_found(self):
        self.net.nft("r2", "table inet t {\nchain c {\n"
                     "type filter hook output priority 0;\n"
                     "icmp code 4 drop\nicmpv6 type packet-too-big drop\n"
                     "}\n}\n")
        self.addCleanup(self.net.nft, "r2", "flush ruleset\n")
        for trace in self.traces():
            self.assert_hole(trace, 1400, 2)


def filter_on(hook, *rules):
    return "table inet t {\nchain c {\ntype filter hook %s priority 0;\n" \
        "%s\n}\n}\n" % (hook, "\n".join(rules))


class TestKernelRoutersWithTheirLimits(MtuCase, test_live.LiveCase):
    """The same routers as they come: each gives an ICMP error a second, and
    so does the host.  The user may not send ICMP echo."""

    parts = 5
    require = staticmethod(test_live.lab.require_live)

    @staticmethod
    def build():
        return test_live.lab.Chain(routers=3, icmp_limits=True)

    def setUp(self):
        self.net.ping_group(self.net.client, "1 0")

    def filter(self, name, hook, *rules):
        self.net.nft(name, filter_on(hook, *rules))
        self.addCleanup(self.net.nft, name, "flush ruleset\n")

    def test_whole_path_is_whole_however_often_it_is_asked(self):
        self.serve("tcp", port=80)
        for args in ([], ["-U"], ["-U"], []):
            for trace in self.traces(*args, how=[USER]):
                self.assert_whole(trace)

    def test_black_hole_is_found_at_the_pace_of_the_host(self):
        self.filter("r2", "forward", "meta length > 1300 drop")
        self.serve("tcp", port=80)
        for trace in self.traces(how=[USER]):
            self.assert_hole(trace, 1300, 2)

    def test_black_hole_is_found_by_udp_at_the_pace_of_the_host(self):
        self.filter("r2", "forward", "meta length > 1300 drop")
        for trace in self.traces("-U", how=[USER]):
            self.assert_hole(trace, 1300, 2)

    def test_black_hole_is_found_by_who_may_send_echo(self):
        self.filter("r2", "forward", "meta length > 1300 drop")
        self.net.ping_group(self.net.client)
        for how in BOTH:
            for trace in self.traces(how=[how]):
                self.assert_hole(trace, 1300, 2)

    def test_many_at_once_name_the_right_place_or_none(self):
        self.look_at_once()

    def test_many_echoes_at_once_name_the_right_place_or_none(self):
        self.net.ping_group(self.net.client)
        self.look_at_once()

    def look_at_once(self):
        self.filter("r2", "forward", "meta length > 1300 drop")
        host = self.net.destination
        for _, trace in run_json_all(self.net, [
                ([host, "--mtu", "-w0.4"], USER)] * 5, 5):
            finding = only(trace)
            self.assertIn(trace["path_mtu"], (1300, None), finding)
            if finding["kind"] == "black-hole":
                # Where hop 2 was not heard, the place is wider.
                near = re.escape("%s at hop 2" % self.net.hop(2))
                self.assertTrue(re.search(
                    "vanish between (%s|%s|this host) and %s at hop 3" % (
                        near, near.replace(".1.2", ".0.2").replace(
                            "hop 2", "hop 1"), self.net.hop(3)),
                    finding["text"]), finding["text"])
            elif trace["path_mtu"]:
                self.assertIn("%s itself" % host, finding["text"])

    def test_router_whose_message_is_filtered_is_a_black_hole(self):
        for name, device in (("r2", "toserver"), ("r3", "toclient")):
            self.net.ip(name, "link set %s mtu 1400" % device)
            self.addCleanup(self.net.ip, name,
                            "link set %s mtu 1500" % device)
        self.serve("tcp", port=80)
        for trace in self.traces(how=[USER]):
            self.assert_told(trace, 1400, 2)
        self.filter("r2", "output", "icmp code 4 drop",
                    "icmpv6 type packet-too-big drop")
        for trace in self.traces(how=[USER]):
            self.assert_hole(trace, 1400, 2)

    def test_host_that_rejects_udp_by_itself_is_measured_by_that(self):
        self.filter(self.net.server, "input", "meta l4proto udp reject with "
                    "icmpx type admin-prohibited")
        for trace in self.traces(how=[USER]):
            self.assert_whole(trace)

    def test_host_that_drops_udp_is_said_to_need_icmp_echo(self):
        self.filter(self.net.server, "input", "meta l4proto udp drop")
        self.serve("tcp", port=80)
        for trace in self.traces(how=[USER]):
            self.assertEqual(only(trace)["text"], (
                "path MTU 1500 as far as %s at hop 3: what --mtu sends to UDP "
                "port 33434 is not answered; needs ICMP echo: %s") % (
                    self.hop(trace, 3), pt.SYSTEM.no_echo))
            self.assertIsNone(trace["path_mtu"])
        for trace in self.traces(how=[ROOT]):
            self.assert_whole(trace)

    def test_loss_is_no_black_hole_where_answers_are_few(self):
        self.filter("r2", "forward", "numgen random mod 100 < 20 drop")
        self.serve("tcp", port=80)
        for trace in self.traces(how=[USER] * 3):
            self.assertEqual(only(trace)["kind"], "mtu", trace["findings"])
            self.assertIn(trace["path_mtu"], (1500, None))


if __name__ == "__main__":
    unittest.main()
