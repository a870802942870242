"""What every back end promises, on a simulated system of each kind.

simulator.py has the systems, made from their documents; Contract has the
tests that all of them pass, a class per system says what it can do and has
the tests of that system's own traps, and ROWS has what differs by data.  No
packet leaves, nothing waits.

Not tested here: what the real systems do.  A green run says that
potraceroute.py gets along with what the documents say of them, and that it
uses no name, number or option that is only Linux's.
"""

import binascii
import collections
import json
import os
import re
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import lanes  # noqa: E402
import simulator as sim  # noqa: E402


def load_tests(loader, tests, pattern):
    """With many Pythons each simulated system runs with some: those of its
    share, see lanes.is_ours()."""
    return unittest.TestSuite(
        suite for suite in tests
        if lanes.is_ours(type(next(iter(suite), None)).__name__))


def setUpModule():
    if os.environ.get("POTRACEROUTE_SKIP_SAME"):
        raise unittest.SkipTest("simulated kernels know no privilege of "
                                "ours; another run has them")


HOPS = 4                    # three routers and the host
OPEN, CLOSED, FILTERED = 443, 81, 25
ANSWERS = 40000             # a UDP port that answers
BANNER = b"220 simulated\r\n"
FAMILIES = 4, 6
FORGER = {4: "10.9.66.6", 6: "fd09:66::6"}

# What a system shows of the hops of a method.
SEEN = "their addresses"
LENT = "the addresses that UDP or ICMP, with the same ttls, lends it"
HIDDEN = "that there are hops, or not even that"
NONE = None                 # the method does not work without privilege


def port_of(method, port=OPEN):
    return None if method == "icmp" else port


# What may become of a port: ways to prepare a Network.
def rejects(number, reason):
    def prepare(network):
        router = network.routers[number] if number < HOPS - 1 else \
            network.host
        router.rejects["tcp", FILTERED] = reason
    return prepare


FATES = collections.OrderedDict([
    ("open", lambda network: network.host.tcp.update({FILTERED: BANNER})),
    ("refused", lambda network: None),
    ("dropped", lambda network: network.router(2).drops.add(
        ("tcp", FILTERED))),
    ("reset", lambda network: network.router(2).resets.add(
        ("tcp", FILTERED))),
    ("router 3/13", rejects(1, "prohibited")),
    ("router 3/10", rejects(1, "host prohibited")),
    ("router 3/3", rejects(1, "port")),
    ("host 3/3", rejects(HOPS, "port")),
    ("host 3/10", rejects(HOPS, "host prohibited")),
    ("host down", lambda network: setattr(network.host, "down", True))])


class Scene(object):
    """A system with a copy of the program, and a network."""

    def __init__(self, system, privileged, hops=HOPS, at_once=False):
        self.network = sim.Network(hops)
        self.network.host.tcp[OPEN] = BANNER
        self.network.host.udp[ANSWERS] = b"here I am"
        if at_once:
            self.network.answer_at_once()
        self.kernel = system(self.network, privileged)
        self.module = sim.load(self.kernel)

    def tracer(self, method, version, port=None, **options):
        options.setdefault("control", "none")
        options.setdefault("no_dns", True)
        options.setdefault("max_hops", 2 * HOPS)
        if method != "icmp":
            options["port"] = port
        return self.module.Traceroute(
            destination=sim.HOST[version], method=method, **options)

    def main(self, *argv):
        """Return (status, stdout, stderr) of the command line."""
        status = self.module.main(["-m", str(2 * HOPS)] * bool(argv) +
                                  list(argv))
        return (status, self.kernel.stdout.getvalue().decode("utf-8"),
                self.kernel.stderr.getvalue().decode("utf-8"))


class Contract(object):
    """The tests that every back end passes.  What a class says of its
    system:

    system, privileged
    at_once     True if answers are there before a system call ends
    hops        method: SEEN, LENT, HIDDEN or NONE; (method, family) first
    lenders     methods that may lend addresses
    refusals    methods of which a refusal can only be the host's own
    mechanisms  method: names of the mechanism that may be shown
    cure        a word of the message for want of privilege
    cures       (method, family): the same where it is another
    """

    system = None
    privileged = at_once = False
    hops = {}
    lenders = refusals = ()
    mechanisms = {}
    cure = None
    cures = {}

    # Help

    def setUp(self):
        self.scenes = []

    def tearDown(self):
        for scene in self.scenes:
            scene.kernel.shut_down()
        self.scenes = []

    def scene(self, **words):
        words.setdefault("at_once", self.at_once)
        scene = Scene(self.system, self.privileged, **words)
        self.scenes.append(scene)
        return scene

    def sight(self, method, version):
        return self.hops.get((method, version), self.hops.get(method))

    def cases(self, methods=("tcp", "udp", "icmp"),
              sights=(SEEN, LENT, HIDDEN)):
        """Return the (method, family)s that work, and show so much."""
        return [(method, version) for method in methods
                for version in FAMILIES
                if self.sight(method, version) in sights]

    def check_left(self, scene, what):
        """Nothing is open, no connection half open, nothing forbidden."""
        kernel = scene.kernel
        kernel.settle()
        self.assertEqual(kernel.open_count(), 0, "left open: %r" % (what,))
        self.assertEqual(kernel.violations, [], repr(what))
        self.assertEqual([key for key, state in
                          scene.network.host.connections.items()
                          if state == "received"], [],
                         "half-open connections: %r" % (what,))

    def run_case(self, method, version, port, scene=None, **options):
        scene = scene or self.scene()
        trace = scene.tracer(method, version, port, **options).run()
        self.check_left(scene, (method, version))
        return trace

    def check_hops(self, trace, silent=(), last=HOPS, gone=()):
        """The routers before the host are themselves, or silent."""
        what = trace.method, trace.family, [
            (hop.ttl, hop.outcome, hop.address) for hop in trace.hops]
        routers = [hop for hop in trace.hops if hop.ttl < last]
        for hop in routers:
            address = sim.Router(hop.ttl).address[trace.family]
            if hop.ttl in silent:
                self.assertIn((hop.outcome, hop.address),
                              [("timeout", None)] + [
                                  ("time-exceeded", address)] * (
                                      hop.ttl in gone), what)
            elif self.sight(trace.method, trace.family) == LENT:
                self.check_lent(hop, address)
            elif self.sight(trace.method, trace.family) == SEEN:
                self.assertEqual((hop.outcome, hop.address),
                                 ("time-exceeded", address), what)
                self.assertEqual(
                    (hop.icmp_type, hop.icmp_code),
                    sim.TIME_EXCEEDED[trace.family], what)
                # Python 2.7's clock has steps of 10 ms here.
                self.assertTrue(hop.rtt is None or 0 < hop.rtt < 2 or
                                sim.PY2 and hop.rtt == 0, (hop.rtt, what))
            else:
                self.assertIn((hop.outcome, hop.address),
                              (("time-exceeded", None), ("timeout", None)),
                              what)
        if self.sight(trace.method, trace.family) in (SEEN, LENT):
            self.assertEqual([hop.ttl for hop in routers],
                             list(range(1, last)), what)

    def check_lent(self, hop, address):
        """The probe itself has an errno, or nothing, to say."""
        self.assertEqual(hop.address, address)
        self.assertIn(hop.as_dict().get("lent"), self.lenders)
        self.assertIn(hop.outcome, ("time-exceeded", "timeout"))

    def check_named(self, trace):
        names = self.mechanisms.get((trace.method, trace.family),
                                    self.mechanisms.get(trace.method))
        if self.at_once:        # that it has no queue was not seen
            names = names + ["error-queue"]
        self.assertIn(trace.as_dict()["mechanism"], names,
                      (trace.method, trace.family))

    # The tests

    def test_an_open_port_is_open_with_its_banner_and_hops(self):
        for method, version in self.cases(["tcp"]):
            scene = self.scene()
            trace = self.run_case(method, version, OPEN, scene)
            self.assertEqual((trace.verdict, trace.banner),
                             ("open", BANNER), version)
            self.assertTrue(trace.reached)
            self.check_hops(trace)
            self.check_named(trace)
            self.assertIn(trace.distance, [HOPS] + [None] * (
                self.sight(method, version) != SEEN))
            # Each probe that gets there is a connection on the service.
            self.assertLessEqual(scene.network.host.accepted, 8)

    def test_a_service_that_answers_by_udp_or_icmp_has_answered(self):
        for method, version in self.cases(["udp", "icmp"]):
            trace = self.run_case(method, version, ANSWERS)
            self.assertEqual((trace.verdict, trace.reached),
                             ("answered", True), (method, version))
            self.check_hops(trace)
            self.check_named(trace)

    def test_a_closed_port_is_refused(self):
        for method, version in self.cases(["tcp", "udp"]):
            trace = self.run_case(method, version, CLOSED)
            self.check_refused(trace)
            self.check_hops(trace)

    def check_refused(self, trace):
        """Where an errno is all there is, a router's rejection looks the
        same: then the verdict says that."""
        if self.sight(trace.method, trace.family) == SEEN or \
                trace.method in self.refusals:
            self.assertEqual((trace.verdict, trace.reached),
                             ("refused", True), trace.summary)
        else:
            self.assertIn(trace.verdict, ("refused", "rejected"))
            self.assertIn("closed or filtered" if trace.distance == 1 else
                          "not visible", trace.summary)

    def test_a_trace_opens_few_connections_on_the_service(self):
        """Linux one, though more SYNs come; others send few SYNs."""
        for method, version in self.cases(["tcp"]):
            scene, syns = self.scene(), []
            host = scene.network.host
            answer, host.rtt = host.answer, 0.2

            def listen(packet):
                if packet.protocol == sim.TCP and \
                        packet.segment[2] & (sim.SYN | sim.ACK) == sim.SYN:
                    syns.append(packet.ttl)
                return answer(packet)
            host.answer = listen
            self.run_case(method, version, OPEN, scene, max_hops=30)
            if scene.module.LINUX:
                self.assertEqual(host.accepted, 1, version)
            else:
                self.assertIn(len(syns), range(1, 6), version)

    def test_a_rejection_by_a_router_is_never_a_refusal(self):
        for reason in ("prohibited", "port", "host"):
            for method, version in self.cases():
                scene = self.scene()
                key = method, port_of(method, FILTERED)
                scene.network.router(2).rejects[key] = reason
                trace = self.run_case(method, version, FILTERED, scene)
                what = reason, method, version, trace.summary
                self.assertNotIn(trace.verdict, ("open", "answered"), what)
                self.assertNotIn(sim.OWN[version], [trace.responder] + [
                    hop.address for hop in trace.hops], what)
                if reason != "host" and self.sight(method, version) != SEEN:
                    self.assertNotIn("address resolution", trace.summary)
                    self.check_doubt(trace, what)
                if self.sight(method, version) == SEEN:
                    self.assertFalse(trace.reached, what)
                    self.assertIn(trace.verdict, (
                        "rejected", "unreachable"), what)
                    self.assertEqual(trace.responder, scene.network.router(
                        2).address[version], what)
                elif trace.reached:     # it can not tell: then it says so
                    self.assertIn("not visible", trace.summary, what)

    def check_doubt(self, trace, what):
        """Where an errno means both, that is said."""
        if trace.verdict == "unreachable":
            self.assertTrue(re.search("prohibit|reject", trace.summary),
                            what)

    def test_a_silent_hop_is_only_silent(self):
        for method, version in self.cases():
            scene = self.scene()
            scene.network.router(2).silent = True
            trace = self.run_case(method, version, OPEN if method == "tcp"
                                  else ANSWERS, scene)
            self.assertTrue(trace.reached, (method, version))
            self.check_hops(trace, silent=[2])

    def test_a_dropped_port_is_not_reached(self):
        for method, version in self.cases():
            scene = self.scene()
            scene.network.router(2).drops.add((method, port_of(method,
                                                               FILTERED)))
            trace = self.run_case(method, version, FILTERED, scene)
            self.assertEqual((trace.verdict, trace.reached),
                             ("dropped", False), (method, version))
            after = trace.as_dict()["blocked_after"]
            if self.sight(method, version) != SEEN and (
                    after or {}).get("address") is None:
                continue        # it can not tell
            self.assertEqual(after, {
                "ttl": 2, "address": scene.network.router(
                    2).address[version]})

    def test_a_late_answer_is_not_taken_for_that_of_a_later_ttl(self):
        for method, version in self.cases():
            for late in (0.6, 1.3):
                scene = self.scene()
                scene.network.router(2).late = late
                trace = self.run_case(
                    method, version, OPEN if method == "tcp" else ANSWERS,
                    scene, wait_time=0.5)
                self.assertTrue(trace.reached, (method, version, late))
                self.check_hops(trace, silent=[2], gone=[2])

    def test_a_host_that_answers_late_is_not_taken_for_a_hop(self):
        for method, version in self.cases():
            scene = self.scene()
            scene.network.host.late = 0.8
            trace = self.run_case(
                method, version, OPEN if method == "tcp" else ANSWERS,
                scene, wait_time=1.5)
            self.assertTrue(trace.reached, (method, version))
            self.check_hops(trace)

    def test_foreign_and_forged_icmp_is_ignored(self):
        for method, version in self.cases():
            scene = self.scene()
            scene.network.noise.append(foreign_errors)
            trace = self.run_case(
                method, version, OPEN if method == "tcp" else ANSWERS, scene)
            self.assertTrue(trace.reached, (method, version))
            # If the kernel misses what comes at once, a raw socket alone
            # cannot tell the forged from the true: then neither counts.
            self.check_hops(trace, silent=range(1, HOPS) if self.at_once
                            and self.privileged and method == "tcp" else (),
                            gone=range(1, HOPS))

    def test_answers_that_come_twice_count_once(self):
        for method, version in self.cases():
            scene = self.scene()
            for router in scene.network.routers:
                router.twice = True
            trace = self.run_case(
                method, version, OPEN if method == "tcp" else ANSWERS, scene)
            self.assertTrue(trace.reached, (method, version))
            self.check_hops(trace)

    def test_eight_octets_quoted_with_df_set_are_enough(self):
        for method, version in self.cases():
            scene = self.scene()
            for router in scene.network.routers:
                router.quotes, router.df = 8, True
            trace = self.run_case(
                method, version, OPEN if method == "tcp" else ANSWERS, scene)
            self.assertTrue(trace.reached, (method, version))
            self.check_hops(trace)

    def run_fate(self, system, fate, version):
        scene = Scene(system, self.privileged, at_once=self.at_once)
        self.scenes.append(scene)
        FATES[fate](scene.network)
        trace = self.run_case("tcp", version, FILTERED, scene,
                              control="auto")
        return trace, "\n".join("%d %s" % (hop.ttl, hop) for hop in
                                trace.hops) + "\n" + trace.summary

    @staticmethod
    def place(trace):
        after = trace.as_dict()["blocked_after"]
        return after and (after["ttl"], after["address"])

    def check_same(self, fate, trace, known, what):
        for name in ("verdict", "reached", "responder", "distance"):
            self.assertEqual(getattr(trace, name), getattr(known, name),
                             name + what)
        self.assertEqual(self.place(trace), self.place(known), what)

    def test_a_port_has_the_fate_that_it_has_on_linux(self):
        for method, version in self.cases(["tcp"], [SEEN]):
            for fate in FATES:
                trace, text = self.run_fate(self.system, fate, version)
                known, right = self.run_fate(sim.Linux, fate, version)
                self.check_same(fate, trace, known, "\n%s:\n%s\n"
                                "instead of\n%s" % (fate, text, right))

    def test_the_last_sentence_knows_what_stands_above_it(self):
        """What goes on behind the port's last hop is no silence of all."""
        for fate in FATES if self.cases(["tcp"]) else ():
            scene = self.scene()
            FATES[fate](scene.network)
            _, out, _ = scene.main("-n", "-p", str(FILTERED), sim.HOST[4])
            said = out.splitlines()[-1]
            if " goes on:\n" in out:
                for words in ("nothing else that was tried",
                              "gets no answer from any hop"):
                    self.assertNotIn(words, said, out)
            if fate == "reset" and "not visible" in said:
                self.assertNotIn(": the ICMP error", said, out)

    def test_udp_port_that_says_nothing_need_not_be_dropped(self):
        """What is silent behind the last router may be the service."""
        for method, version in self.cases(["udp"]):
            scene = self.scene()
            scene.network.router(HOPS - 1).drops.add(("udp", FILTERED))
            trace = self.run_case(method, version, FILTERED, scene,
                                  control="auto")
            self.assertFalse(trace.reached)
            self.assertTrue(re.search(
                "open|not answered|the service says nothing",
                trace.summary), trace.summary)
            self.assertNotIn("nothing else that was tried", trace.summary)

    def test_row_of_a_port_that_a_router_resets_does_not_accuse_the_host(self):
        if not self.cases(["tcp"]):
            return
        scene = self.scene()
        scene.network.router(1).resets.add(("tcp", FILTERED))
        _, out, _ = scene.main("-n", "-p", "%d,%d" % (OPEN, FILTERED),
                               sim.HOST[4])
        row, = [line for line in out.splitlines()
                if line.startswith("%d " % FILTERED)]
        if " refused " in row:
            self.assertTrue("or a device in its name" in row or
                            "not visible" in row, out)
        else:
            self.assertIn("hop 2" if " before " in row else "hop 1" if
                          " hop " in row else " on the way", row, out)

    def test_udp_port_that_a_router_prohibits_is_not_just_dropped(self):
        """Where that is not shown, it looks like a drop."""
        for method, version in self.cases(["udp"]):
            scene = self.scene()
            scene.network.router(2).rejects["udp", FILTERED] = "prohibited"
            trace = self.run_case(method, version, FILTERED, scene,
                                  control="auto")
            self.assertIn("reject", trace.summary)
            self.assertFalse(trace.reached)
            self.assertNotIn("a reset", trace.summary)

    def test_a_reset_by_a_router_is_told_where_icmp_goes_on(self):
        if self.sight("icmp", 4) != SEEN:
            return
        for method, version in self.cases(["tcp"], [SEEN]):
            scene = self.scene()
            scene.network.router(2).resets.add(("tcp", FILTERED))
            trace = self.run_case(method, version, FILTERED, scene,
                                  control="auto")
            self.assertEqual((trace.verdict, trace.reached),
                             ("reset", False), version)

    def test_what_is_dropped_for_tcp_alone_is_seen_by_comparison(self):
        for method, version in self.cases(["tcp"]):
            scene = self.scene()
            scene.network.router(2).drops.add(("tcp", FILTERED))
            trace = self.run_case(method, version, FILTERED, scene,
                                  control="auto")
            self.assertEqual((trace.verdict, trace.reached),
                             ("dropped", False), version)
            if self.sight(method, version) == SEEN:
                self.assertEqual(trace.as_dict()["blocked_after"]["ttl"], 2)

    def test_probe_of_one_ttl(self):
        for method, version in self.cases():
            scene = self.scene()
            hop = scene.tracer(method, version, OPEN if method == "tcp"
                               else ANSWERS).probe(2)
            self.check_left(scene, (method, version))
            if self.sight(method, version) == SEEN:
                self.assertEqual(
                    (hop.ttl, hop.outcome, hop.address),
                    (2, "time-exceeded",
                     scene.network.router(2).address[version]))
            else:
                self.assertIn(hop.outcome, ("time-exceeded", "timeout"))
                self.assertNotIn("timed out", str(hop))
                lent = self.sight(method, version) == LENT
                self.assertEqual(hop.address, scene.network.router(
                    2).address[version] if lent else None)
                if lent:
                    self.assertIn("(by ", str(hop))
                    self.assertEqual(hop.ipfields.ip_source_address,
                                     hop.address)

    def test_the_ttls_on_the_wire_are_those_asked_for(self):
        for method, version in self.cases():
            scene = self.scene()
            scene.tracer(method, version, OPEN if method == "tcp"
                         else ANSWERS).probe(2)
            ttls = [packet.ttl for packet in scene.network.sent
                    if packet.protocol != sim.TCP or
                    packet.segment[2] & sim.SYN]
            self.assertEqual(set(ttls), set([2]), (method, version, ttls))

    def test_command_line_reaches_with_0_and_does_not_with_1(self):
        for method, version in self.cases(["tcp", "icmp"]):
            words = ["-n", "-w", "0.5", "--control", "none"] + {
                "tcp": ["-p"], "icmp": ["-I"]}[method]
            if method == "tcp":
                scene = self.scene()
                status, out, err = scene.main(*words + [
                    str(OPEN), sim.HOST[version]])
                self.assertEqual((status, err), (0, ""))
                self.assertIn("is open", out.splitlines()[-1])
                self.check_left(scene, version)
            scene = self.scene()
            scene.network.router(2).drops.add(("icmp", None))
            scene.network.router(2).drops.add(("tcp", FILTERED))
            words += [str(FILTERED)] * (method == "tcp")
            status, out, err = scene.main(*words + [sim.HOST[version]])
            self.assertEqual((status, err), (1, ""), out)
            self.check_left(scene, version)

    def test_bad_arguments_end_with_2_and_one_line(self):
        for words in (["-p", "http2", "10.9.9.9"], ["-q", "0", "10.9.9.9"],
                      ["nowhere.example"], []):
            scene = self.scene()
            status, out, err = scene.main(*words)
            self.assertEqual((status, out, len(err.splitlines())),
                             (2, "", 1), (words, err))
            self.check_left(scene, words)

    def test_json_document_parses(self):
        for method, version in self.cases():
            scene = self.scene()
            status, out, err = scene.main(*[
                "--json", "-n", sim.HOST[version]] + {
                    "tcp": ["-p", str(OPEN)], "icmp": ["-I"],
                    "udp": ["-U", "-p", str(ANSWERS)]}[method])
            self.assertEqual((status, err), (0, ""), out)
            document = json.loads(out)
            self.assertEqual(document["traces"][0]["method"], method)
            self.assertTrue(document["traces"][0]["reached"])
            self.check_left(scene, (method, version))

    def test_an_interrupt_at_any_time_leaves_nothing(self):
        for method, version in self.cases():
            for seconds in (0.005, 0.9):
                scene = self.scene()
                scene.network.router(2).silent = True
                scene.network.host.silent.update([
                    ("tcp", OPEN), ("udp", ANSWERS), ("icmp", None)])
                scene.kernel.interrupt_at = scene.kernel.now + seconds
                status, out, err = scene.main(*[
                    "-n", "-w", "1", sim.HOST[version]] + {
                        "tcp": ["-p", str(OPEN)], "icmp": ["-I"],
                        "udp": ["-U", "-p", str(ANSWERS)]}[method])
                if scene.kernel.interrupt_at is None:
                    self.assertEqual(status, 130, (method, version, seconds))
                self.assertNotIn("Traceback", err)
                self.check_left(scene, (method, version, seconds))

    def test_what_needs_privilege_says_so_with_the_systems_own_cure(self):
        for method, version in self.cases(sights=[NONE]):
            scene = self.scene()
            status, out, err = scene.main(*[
                "-n", sim.HOST[version], {"icmp": "-I", "udp": "-U",
                                          "tcp": "-T"}[method]])
            self.assertEqual((status, len(err.splitlines())), (2, 1),
                             (method, version, out, err))
            self.assertIn(self.cures.get((method, version), self.cure), err)
            self.check_left(scene, (method, version))

    def test_hops_that_can_not_be_seen_are_said_to_be_not_visible(self):
        for method, version in self.cases(sights=[HIDDEN]):
            scene = self.scene()
            _, out, _ = scene.main(*[
                "-n", "-v", "-w", "0.5", sim.HOST[version]] + {
                    "tcp": ["-p", str(OPEN)], "icmp": ["-I"],
                    "udp": ["-U", "-p", str(ANSWERS)]}[method])
            self.assertIn("not visible", out, (method, version))
            if self.cure:
                self.assertIn(self.cure, out)

    def test_addresses_that_are_lent_are_marked(self):
        for method, version in self.cases(sights=[LENT]):
            port = str(OPEN if method == "tcp" else ANSWERS)
            scene = self.scene()
            status, out, err = scene.main(
                "-n", {"tcp": "-T", "udp": "-U"}[method], "-p", port,
                sim.HOST[version])
            self.assertEqual((status, err), (0, ""), out)
            for number in range(1, HOPS):
                line = out.splitlines()[number]
                self.assertTrue(line.startswith("%d\t%s" % (
                    number, sim.Router(number).address[version])), out)
                self.assertTrue(any("(by %s)" % name.upper() in line
                                    for name in self.lenders), out)
            self.assertNotIn("not visible", out)
            self.check_left(scene, version)

    def test_a_closed_port_of_this_very_host_is_refused(self):
        for method, version in self.cases(["tcp"]):
            scene = self.scene()
            trace = scene.module.Traceroute(
                destination=sim.LOOPBACK[version], method=method,
                port=CLOSED, no_dns=True, control="none").run()
            self.check_refused(trace)
            self.check_left(scene, version)

    def test_a_host_without_routers_before_it(self):
        for method, version in self.cases():
            scene = self.scene(hops=1)
            trace = self.run_case(method, version, OPEN if method == "tcp"
                                  else ANSWERS, scene)
            self.assertEqual((trace.reached, trace.distance), (True, 1),
                             (method, version))

    def test_few_files_are_enough(self):
        for method, version in self.cases():
            scene = self.scene()
            scene.kernel.fd_limit = 8
            trace = self.run_case(method, version, OPEN if method == "tcp"
                                  else ANSWERS, scene)
            self.assertTrue(trace.reached, (method, version))
            self.check_hops(trace)

    def test_tos_and_source_port_are_on_the_wire(self):
        for method, version in self.cases():
            scene = self.scene()
            more = {} if method == "icmp" else {"source_port": 50001}
            trace = self.run_case(method, version, OPEN if method == "tcp"
                                  else ANSWERS, scene, tos=0x28, **more)
            self.assertTrue(trace.reached, (method, version))
            self.check_hops(trace)
            requests = [packet for packet in scene.network.sent
                        if packet.destination == sim.HOST[version] and
                        packet.protocol == {
                            "tcp": sim.TCP, "udp": sim.UDP}.get(
                                method, sim.ICMP[version]) and (
                                    method != "tcp" or
                                    packet.segment[2] & sim.SYN)]
            self.assertEqual(set(packet.tos for packet in requests),
                             set([0x28]), (method, version))
            if more:
                self.assertEqual(set(packet.ports[0] for packet in requests),
                                 set([50001]), (method, version))

    def test_no_option_ends_in_a_traceback(self):
        if not self.cases(["tcp"]):
            return
        for words in (["--http=", "-v", "-D"], ["--flows", "2"],
                      ["-P", "0d0a", "-q", "2", "-s", "10.9.0.2", "--mtu"],
                      ["-U", "--mtu", "-p", str(ANSWERS)],
                      ["-p", "%d,%d" % (OPEN, CLOSED)]):
            scene = self.scene()
            if "-p" not in words:
                words = words + ["-p", str(OPEN)]
            status, out, err = scene.main(*words + [
                "-w", "0.5", "-n", "--control", "none", sim.HOST[4]])
            self.assertIn(status, (0, 1), (words, out, err))
            self.assertIn("10.9.9.9", out)
            self.assertNotIn("Traceback", err)
            self.check_left(scene, words)

    def test_names_are_looked_up_beside_the_trace(self):
        for method, version in self.cases(["tcp"], [SEEN]):
            scene = self.scene()
            status, out, err = scene.main("-p", str(OPEN), sim.HOST[version])
            self.assertEqual((status, err), (0, ""))
            self.assertIn("name-of-" + scene.network.router(1).address[
                version].replace(":", "-") + ".example", out)
            self.check_left(scene, version)

    def test_no_route_and_a_foreign_source_are_told_in_words(self):
        for words in (["203.0.113.9"], ["-s", "203.0.113.8", "10.9.9.9"]):
            scene = self.scene()
            status, out, err = scene.main("-n", *words)
            self.assertEqual((status, len(err.splitlines())), (2, 1),
                             (out, err))
            self.assertNotIn("nknown error", out + err)
            self.check_left(scene, words)

    def test_doctor_names_what_works(self):
        scene = self.scene()
        status, out, err = scene.main("--doctor")
        self.assertEqual((status, err), (0, ""), out)
        self.check_left(scene, "--doctor")


def foreign_errors(packet):
    """Return ICMP errors that are not about this packet, though much like
    one that is: another's probe, other ports or ids, another destination;
    and an error that quotes nothing."""
    if packet.protocol == sim.TCP and not packet.segment[2] & sim.SYN:
        return []
    version = packet.version
    body = packet.body
    other = sim.HOST[version].replace("9.9.9", "9.8.8").replace(
        "fd09:9:", "fd09:8:")
    # The same source port or id to another host, as of another program.
    tail = bytes(bytearray(octet ^ 0x55 for octet in bytearray(body[8:])))
    if packet.protocol == sim.TCP:
        seq = struct.pack("!I", packet.segment[0] ^ 0x55555555)
        variants = [packet.copy(destination=other,
                                body=body[:4] + seq + body[8:])]
    else:
        variants = [packet.copy(destination=other, body=body[:8] + tail)]
    if packet.protocol in (sim.TCP, sim.UDP):
        ours, theirs = packet.ports
        for ports in ((ours ^ 0x100, theirs), (ours, theirs ^ 1)):
            variants.append(packet.copy(
                body=struct.pack("!HH", *ports) + body[4:]))
    else:
        ident, seq = packet.ports
        for numbers in ((ident ^ 0x100, seq), (ident, seq ^ 0x4000)):
            variants.append(packet.copy(
                body=body[:4] + struct.pack("!HH", *numbers) + body[8:]))
    forger = sim.Router(66)
    forger.number = 1
    answers = []
    for variant in variants:
        answers.append((0.001, forger.error(
            variant, *sim.TIME_EXCEEDED[version])))
        answers.append((0.001, forger.error(
            variant, *sim.REASONS["port"][version])))
    kind, code = sim.TIME_EXCEEDED[version]
    answers.append((0.001, sim.Packet(
        FORGER[version], packet.source, sim.ICMP[version], sim.encode_icmp(
            FORGER[version], packet.source, kind, code, 0, b""))))
    return answers


# ---------------------------------------------------------------------------
# Linux
# ---------------------------------------------------------------------------

QUEUE = dict.fromkeys(("tcp", "udp", "icmp"), ["error-queue"])
ALL_SEEN = dict.fromkeys(("tcp", "udp", "icmp"), SEEN)


class LinuxTest(Contract, unittest.TestCase):
    """The one that was measured: it checks the simulator."""

    system = sim.Linux
    hops = ALL_SEEN
    mechanisms = QUEUE


class OldLinuxTest(LinuxTest):
    """An ICMP error ends a connect() with its errno, and no more."""

    system = sim.OldLinux
    newer = sim.Linux
    hops = dict(ALL_SEEN, tcp=LENT)
    lenders = "udp", "icmp"
    refusals = ("tcp",)         # by what the kernel counts
    mechanisms = dict(QUEUE, tcp=["connect"])
    cure = "CAP_NET_RAW"

    def check_fate(self, fate, version):
        trace, text = self.run_fate(self.system, fate, version)
        known, right = self.run_fate(self.newer, fate, version)
        what = "\n%s, IPv%d:\n%s\ninstead of\n%s" % (
            fate, version, text, right)
        self.assertNotIn("other routers", text, what)
        ttls = [hop.ttl for hop in trace.hops if not hop.more]
        self.assertEqual(ttls, sorted(set(ttls)), what)
        self.check_verdict(fate, trace, known, what)
        passed = 2 if "router" in fate or fate in (
            "dropped", "reset") else HOPS - 1
        for number in range(1, passed + 1):
            hop, = [hop for hop in trace.hops if hop.ttl == number and
                    not hop.more] or [None]
            self.assertEqual(hop and hop.address, sim.Router(
                number).address[version], what)
            self.assertEqual(hop.as_dict().get("lent") is None,
                             self.privileged, what)

    def check_verdict(self, fate, trace, known, what):
        """An errno tells no one who sent it, nor which code it was."""
        if trace.verdict == known.verdict:
            self.assertIn(self.place(trace), (None, self.place(known)), what)
            return
        self.assertIn(known.verdict, ("refused", "rejected", "unreachable",
                                      "reset"), what)
        self.assertTrue(re.search(
            "or {0} itself|{0} itself, or|or rejected by ICMP|"
            "or a router on the way".format(sim.HOST[trace.family]),
            trace.summary), what)
        self.check_doubt(trace, what)

    def test_doctor_names_what_a_trace_uses_not_a_release(self):
        """A distribution may have given an old kernel the queue."""
        status, out, err = self.scene().main("--doctor", "--json")
        row = json.loads(out)["doctor"][0]
        self.assertIn(row["mechanism"], [None] + self.mechanisms["tcp"])
        self.assertEqual(row["problem"] is None, self.privileged)
        self.assertIn("by UDP or by ICMP", row["problem"] or "by UDP or by "
                      "ICMP")
        for release in ("4.18.0-sim", "6.1.0-sim"):
            scene = Scene(self.newer, self.privileged)
            self.scenes.append(scene)
            scene.kernel.release = release
            status, out, err = scene.main("--doctor")
            self.assertEqual((status, err), (0, ""))
            self.assertNotIn("not visible", out)

    def test_an_error_of_a_known_code_is_shown_without_its_sender(self):
        scene = self.scene()
        FATES["host 3/3"](scene.network)
        _, out, _ = scene.main("-n", "-p", str(FILTERED), sim.HOST[4])
        self.assertTrue(re.search(
            r"\n4\t(10\.9\.9\.9 \(10\.9\.9\.9\)  ICMP 3/3 \[Reached|\?  ICMP "
            r"3/3, address not visible|TCP port 25 connection refused, by "
            r"whom is not visible)", out), out)

    def test_a_dropped_port_is_placed_by_a_lent_address(self):
        for version in FAMILIES:
            trace, text = self.run_fate(self.system, "dropped", version)
            self.assertEqual(trace.as_dict()["blocked_after"], {
                "ttl": 2, "address": sim.Router(2).address[version]}, text)

    def test_hop_that_answers_before_connect_is_over_hides_no_drop(self):
        """The first router is this machine, as before a container: its
        answers are lost, so silence there says nothing of the port."""
        for version in FAMILIES:
            scene = self.scene()
            scene.network.router(1).rtt = 0
            FATES["dropped"](scene.network)
            trace = self.run_case("tcp", version, FILTERED, scene,
                                  control="auto")
            self.assertEqual(trace.verdict, "dropped")
            self.assertNotIn("own firewall", trace.summary)
            self.assertNotIn("between this host", trace.summary)
            after = trace.as_dict()["blocked_after"]
            self.assertEqual(after and after["ttl"], 2, trace.summary)


class OldLinuxRootTest(OldLinuxTest):
    """Its raw socket hears all that newer kernels tell."""

    privileged = True
    hops = ALL_SEEN
    mechanisms = dict(QUEUE, tcp=["error-queue", "connect", "raw-socket"])

    check_verdict = LinuxTest.check_same


def add_fates():
    """A test for each, as each shows something else."""
    for fate in FATES:
        for version in FAMILIES:
            def test(self, fate=fate, version=version):
                self.check_fate(fate, version)
            setattr(OldLinuxTest, "test_fate_%s_ipv%d" % (
                re.sub("[ /]", "_", fate), version), test)


add_fates()


class GVisorTest(Contract, unittest.TestCase):
    """The error queue is accepted, and shows no hop."""

    system = sim.GVisor
    hops = dict.fromkeys(("tcp", "udp", "icmp"), HIDDEN)
    mechanisms = dict.fromkeys(("tcp", "udp", "icmp"), ["connect"])
    cure = "CAP_NET_RAW"

    def test_a_rejection_from_nobody_knows_where_has_no_number(self):
        scene = self.scene()
        FATES["host 3/10"](scene.network)
        _, out, _ = scene.main("-n", "-p", str(FILTERED), sim.HOST[4])
        self.assertIn("\n?\t?  unreachable, address not visible", out)

    def test_no_hop_is_said_to_have_timed_out(self):
        for method, version in self.cases():
            scene = self.scene()
            _, out, _ = scene.main(*[
                "-n", "-v", "-w", "0.5", sim.HOST[version]] + {
                    "tcp": ["-p", str(OPEN)], "icmp": ["-I"],
                    "udp": ["-U", "-p", str(ANSWERS)]}[method])
            self.assertNotIn("timed out", out, (method, version))

    def test_a_rejection_that_names_ourselves_is_nobodys_and_ends_with_1(
            self):
        for method, version in self.cases(["tcp"]):
            scene = self.scene()
            scene.network.router(2).rejects["tcp", FILTERED] = "prohibited"
            status, out, err = scene.main("-n", "-p", str(FILTERED),
                                          sim.HOST[version])
            self.assertEqual((status, err), (1, ""), out)
            self.assertNotIn("no answer to address resolution", out)
            self.assertNotIn(sim.OWN[version] + ")", out)


# ---------------------------------------------------------------------------
# macOS and the BSDs
# ---------------------------------------------------------------------------

RAW = dict.fromkeys(("tcp", "udp", "icmp"), ["raw-socket"])
BY_ERRNO = dict(tcp=HIDDEN, udp=HIDDEN, icmp=NONE)
ERRNO = dict.fromkeys(("tcp", "udp"), ["connect"])


class MacOSTest(Contract, unittest.TestCase):
    system = sim.MacOS
    hops = ALL_SEEN
    mechanisms = dict.fromkeys(("tcp", "udp", "icmp"), ["datagram-icmp"])

    def test_a_host_that_hears_no_icmp_at_all_says_so(self):
        for version in FAMILIES:
            scene = self.scene()
            scene.kernel.firewall_lets_in = lambda packet: \
                packet.protocol == sim.TCP
            status, out, err = scene.main("-n", "-p", str(OPEN),
                                          sim.HOST[version])
            self.assertEqual((status, err), (0, ""), out)
            self.assertIn("is open", out)
            self.assertIn("No ICMP error from any hop", out)

    def test_each_icmp_probe_leaves_with_its_own_ttl(self):
        """A content filter queues datagrams, which leave with the ttl that
        their socket has then."""
        for version in FAMILIES:
            scene = self.scene()
            self.run_case("icmp", version, None, scene)
            ttls = [packet.ttl for packet in scene.network.sent]
            for ttl in range(1, HOPS + 1):
                self.assertIn(ttl, ttls)

    def test_soft_errors_do_not_end_a_connect(self):
        """3/0, 3/1 and IPv6 1/1: a refusal or a hop is told of none."""
        for version, code in ((4, 0), (4, 1), (6, "prohibited")):
            scene = self.scene()
            scene.network.router(2).rejects["tcp", FILTERED] = code
            trace = self.run_case("tcp", version, FILTERED, scene)
            self.assertFalse(trace.reached)
            self.assertIn(trace.verdict, ("rejected", "unreachable"))
            self.assertEqual(trace.responder, scene.network.router(
                2).address[version])


class FreeBSDTest(Contract, unittest.TestCase):
    system = sim.FreeBSD
    hops = BY_ERRNO
    mechanisms = ERRNO
    cure = "root"

    def test_the_distance_is_known_where_a_connect_fails_on_the_way(self):
        """FreeBSD ends it with EHOSTUNREACH, of both families."""
        if "time" not in self.system.ends_connect[4]:
            return
        for method, version, port in (("tcp", 4, OPEN), ("tcp", 6, OPEN),
                                      ("udp", 4, ANSWERS),
                                      ("udp", 6, ANSWERS)):
            trace = self.run_case(method, version, port)
            self.assertEqual(trace.distance, HOPS, (method, version))
            self.assertEqual([hop.outcome for hop in trace.hops[:-1]],
                             ["time-exceeded"] * (HOPS - 1))


class FreeBSDRootTest(Contract, unittest.TestCase):
    system = sim.FreeBSD
    privileged = True
    hops = ALL_SEEN
    mechanisms = RAW


class OpenBSDTest(FreeBSDTest):
    """Within our waits only a reset ends a connect()."""

    system = sim.OpenBSD
    refusals = ("tcp",)

    def test_unreachable_by_udp_is_no_hop_and_may_be_a_prohibition(self):
        """EHOSTUNREACH is 3/0, 3/1, 3/9, 3/10 or 3/13; never 11/0."""
        for version in FAMILIES:
            for reason in ("host", "prohibited", "host prohibited"):
                scene = self.scene()
                scene.network.router(2).rejects["udp", FILTERED] = reason
                trace = self.run_case("udp", version, FILTERED, scene,
                                      control="auto")
                what = reason, version, str(trace)
                self.assertNotIn("time-exceeded", [
                    hop.outcome for hop in trace.hops], what)
                self.assertIn(trace.verdict, ("rejected", "unreachable"))
                self.check_doubt(trace, what)


# Read from a raw ICMP socket of NetBSD 7.99: [notes], platforms.md
FIXTURES = (
    "45c02f00caad0000400192b00a4d04010a4d04020b0010c200000000450000270000"
    "000001119e290a4d04020a4d03029c41829a0013229a756470207061796c6f6164",
    "45c02f00c7eb00003f0198710a4d02020a4d04020b0010c200000000450000270000"
    "000001119e290a4d04020a4d03029c42829a00132299756470207061796c6f6164",
    "45c02f00c85600003e0198060a4d03020a4d0402030318bf00000000450000270000"
    "000001119e290a4d04020a4d03029c43829a00132298756470207061796c6f6164",
    "45c04800caae0000400192960a4d04010a4d04020b0010d000000000450000400000"
    "400001065e1b0a4d04020a4d0302a029005001bf75e200000000b002800082440000"
    "020405b401030303040201010101080a0000000100000000")


class NetBSDRootTest(FreeBSDRootTest):
    system = sim.NetBSD

    def setUp(self):
        FreeBSDRootTest.setUp(self)
        scene = self.scene()
        target = scene.tracer("udp", 4, ANSWERS).target
        self.raw = scene.module.RawSocket(target, False)

    def replies_to(self, octets):
        """Return what the program makes of octets from a raw socket."""
        sock, = self.raw.sockets
        sock.inbox.append((octets, ("10.77.4.1", 0), {}))
        return self.raw.replies(sock)

    def test_what_a_real_netbsd_delivered_is_understood(self):
        expected = (("10.77.4.1", 11, 0, 64, 17, 40001, 33434),
                    ("10.77.2.2", 11, 0, 63, 17, 40002, 33434),
                    ("10.77.3.2", 3, 3, 62, 17, 40003, 33434),
                    ("10.77.4.1", 11, 0, 64, 6, 41001, 80))
        for text, facts in zip(FIXTURES, expected):
            reply, = self.replies_to(binascii.unhexlify(text))
            quoted = reply.quoted
            self.assertEqual(
                (reply.responder, reply.icmp_type, reply.icmp_code,
                 reply.reply_ttl, quoted.protocol, quoted.source_port,
                 quoted.dest_port), facts)
            self.assertEqual((quoted.source, quoted.destination),
                             ("10.77.4.2", "10.77.3.2"))

    def test_whatever_is_cut_short_does_no_harm(self):
        for text in FIXTURES:
            octets = binascii.unhexlify(text)
            for size in range(len(octets)):
                for reply in self.replies_to(octets[:size]):
                    self.assertIn(reply.icmp_type, (3, 11))

    def test_the_simulator_makes_the_same_octets(self):
        kernel = sim.NetBSD()
        for text in FIXTURES:
            octets = binascii.unhexlify(text)
            words = bytearray(octets)
            packet = sim.Packet(
                sim.unpack_address(octets[12:16]),
                sim.unpack_address(octets[16:20]), 1, octets[20:],
                ttl=words[8], tos=words[1],
                ident=struct.unpack_from("!H", octets, 4)[0])
            self.assertEqual(binascii.hexlify(kernel.raw_octets(
                None, packet)).decode(), text)


# ---------------------------------------------------------------------------
# Windows
# ---------------------------------------------------------------------------

class WindowsTest(Contract, unittest.TestCase):
    system = sim.Windows
    hops = dict(tcp=SEEN, udp=LENT, icmp=SEEN)
    mechanisms = dict(tcp=["tcp-icmp-error"], udp=["connect"],
                      icmp=["icmp-api"])
    refusals = ("tcp",)
    lenders = ("icmp",)
    cure = "administrator"

    def test_recvfrom_tells_how_far_the_host_is_by_udp(self):
        """WSAENETRESET is a ttl that ran out, WSAECONNRESET a closed
        port."""
        trace = self.run_case("udp", 4, CLOSED, control="auto")
        self.assertEqual([hop.outcome for hop in trace.hops[:HOPS - 1]],
                         ["time-exceeded"] * (HOPS - 1))
        self.assertEqual((trace.verdict, trace.distance), ("refused", HOPS))

    def test_without_the_icmp_api_there_is_a_plain_message(self):
        for version in FAMILIES:
            scene = self.scene()
            scene.kernel.icmp_api = False
            status, out, err = scene.main("-n", "-I", sim.HOST[version])
            self.check_left(scene, version)
            if not self.privileged:
                self.assertEqual((status, len(err.splitlines())), (2, 1),
                                 (out, err))

    def test_without_ctypes_icmp_needs_an_administrator(self):
        class Bare(self.system):
            def ctypes_names(self):
                return None
        scene = Scene(Bare, self.privileged)
        self.scenes.append(scene)
        status, out, err = scene.main("-n", "-I", sim.HOST[4])
        self.check_left(scene, "no ctypes")
        if self.privileged:
            self.assertEqual((status, err), (0, ""), out)
        else:
            self.assertEqual((status, len(err.splitlines())), (2, 1))
            self.assertIn("administrator", err)

    def test_select_is_never_given_more_than_it_takes(self):
        scene = self.scene()
        scene.network.host.silent.add(("udp", ANSWERS))
        for router in scene.network.routers:
            router.silent = True
        trace = self.run_case("udp", 4, ANSWERS, scene, max_hops=255,
                              parallel=512, queries=3, gap_limit=0,
                              wait_time=0.5)
        self.assertFalse(trace.reached)

    def test_a_failed_connect_is_in_the_third_set_only(self):
        scene = self.scene()
        self.check_refused(scene.tracer("tcp", 4, CLOSED).run())

    def test_a_refusal_that_the_stack_reports_late_is_a_refusal(self):
        """Windows repeats a refused SYN for 2 s, unless told not to."""
        for words in (dict(), dict(wait_time=1), dict(max_hops=HOPS - 1),
                      dict(first_hop=HOPS)):
            for late in (0, 0.2):
                for version in FAMILIES:
                    scene = self.scene()
                    scene.network.host.late = late
                    trace = self.run_case("tcp", version, CLOSED, scene,
                                          **words)
                    what = words, late, trace.summary
                    self.assertEqual((trace.verdict, trace.reached),
                                     ("refused", True), what)
                    self.assertNotIn("SYNs", trace.summary, what)

    def test_a_tos_that_is_not_allowed_costs_no_probe(self):
        for method, version in self.cases():
            scene = self.scene()
            scene.kernel.tos_allowed = False
            trace = self.run_case(method, version, OPEN if method == "tcp"
                                  else ANSWERS, scene, tos=0x28)
            self.assertTrue(trace.reached, (method, version))
            self.check_hops(trace)
        scene = self.scene()
        scene.kernel.tos_allowed = False
        _, out, _ = scene.main("-n", "-t", "40", "-p", str(OPEN),
                               sim.HOST[4])
        self.assertIn("refuses to set a TOS", out)


class WindowsAdministratorTest(WindowsTest):
    privileged = True
    hops = ALL_SEEN
    mechanisms = dict(tcp=["tcp-icmp-error", "raw-socket"],
                      udp=["raw-socket"], icmp=["icmp-api", "raw-socket"])

    def test_a_firewall_that_drops_icmp_is_named_with_its_cure(self):
        for version in FAMILIES:
            scene = self.scene()
            scene.kernel.firewall = "on"
            scene.kernel.icmp_api = False       # else it lends addresses
            status, out, err = scene.main("-n", "-U", "-p", str(ANSWERS),
                                          sim.HOST[version])
            self.assertEqual((status, err), (0, ""), out)
            for name in ("protocol=icmpv4:any,any",
                         "protocol=icmpv6:any,any"):
                self.assertIn("netsh advfirewall firewall add rule", out)
                self.assertIn(name, out)
            self.check_left(scene, version)

    def test_what_only_sio_rcvall_hears_is_heard(self):
        for method, version in self.cases(["tcp", "udp"]):
            scene = self.scene()
            scene.kernel.firewall = "on"
            scene.kernel.rcvall_hears_dropped = True
            scene.kernel.icmp_api = False
            trace = self.run_case(method, version, OPEN if method == "tcp"
                                  else ANSWERS, scene)
            self.assertTrue(trace.reached, (method, version))
            self.check_hops(trace)

    def test_without_sio_rcvall_it_works_and_says_what_is_missing(self):
        scene = self.scene()
        scene.kernel.rcvall_allowed = False
        status, out, err = scene.main("-n", "-v", "-U", "-p", str(ANSWERS),
                                      sim.HOST[4])
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("SIO_RCVALL", out)

    def test_sio_rcvall_is_on_while_it_runs_and_off_at_the_end(self):
        """At the level of IP: else the card becomes promiscuous."""
        for version in FAMILIES:
            scene = self.scene()
            self.run_case("udp", version, ANSWERS, scene)
            self.assertEqual(scene.kernel.rcvall_set,
                             [(version, 3), (version, 0)])


class CygwinTest(Contract, unittest.TestCase):
    """It passes options 9, 18 and 19 of TCP on to Winsock."""

    system = sim.Cygwin
    hops = dict(tcp=SEEN, udp=HIDDEN, icmp=NONE)
    mechanisms = dict(tcp=["tcp-icmp-error"], udp=["connect"])
    refusals = ("tcp",)
    cure = "Python for Windows"


# ---------------------------------------------------------------------------
# Systems that differ by data only
# ---------------------------------------------------------------------------

ROWS = (
    ("LinuxRoot", LinuxTest, dict(privileged=True)),
    ("LinuxAtOnce", LinuxTest, dict(at_once=True)),
    ("LinuxClosed", LinuxTest, dict(
        system=sim.LinuxClosed, hops=dict(ALL_SEEN, icmp=NONE),
        cure="ping_group_range")),
    ("Android", LinuxTest, dict(
        system=sim.Android, hops=dict(ALL_SEEN, icmp=NONE),
        cure="ping_group_range")),
    ("OldLinuxAtOnce", OldLinuxTest, dict(at_once=True)),
    ("OldLinuxRootAtOnce", OldLinuxRootTest, dict(at_once=True)),
    ("Linux418", OldLinuxTest, dict(system=sim.Linux418,
                                    refusals=("tcp",))),
    ("Linux418Root", OldLinuxRootTest, dict(system=sim.Linux418)),
    ("Linux418RootLate", OldLinuxRootTest, dict(system=sim.Linux418Late)),
    ("OldAndroid", OldLinuxTest, dict(
        system=sim.OldAndroid, newer=sim.Android, lenders=("udp",),
        hops=dict(tcp=LENT, udp=SEEN, icmp=NONE), refusals=("tcp",),
        cure="ping_group_range")),
    ("WSL1", GVisorTest, dict(
        system=sim.WSL1, hops=dict(tcp=HIDDEN, udp=HIDDEN, icmp=NONE))),
    ("GVisorRoot", LinuxTest, dict(
        system=sim.GVisor, privileged=True, mechanisms=dict.fromkeys(
            ("tcp", "udp", "icmp"),
            ["error-queue", "connect", "raw-socket"]))),
    ("MacOSRoot", MacOSTest, dict(privileged=True, mechanisms=dict.fromkeys(
        ("tcp", "udp", "icmp"), ["datagram-icmp", "raw-socket"]))),
    ("MacOSWithFilter", MacOSTest, dict(system=sim.MacOSWithFilter)),
    ("MacOSLate", MacOSTest, dict(system=sim.MacOSLate)),
    ("MacOSPython37", MacOSTest, dict(system=sim.MacOSPython37)),
    ("IOS", MacOSTest, dict(system=sim.IOS)),
    ("FreeBSDRootLate", FreeBSDRootTest, dict(system=sim.FreeBSDLate)),
    ("OldFreeBSDRoot", FreeBSDRootTest, dict(system=sim.OldFreeBSD)),
    ("OpenBSDRoot", FreeBSDRootTest, dict(system=sim.OpenBSD)),
    ("NetBSD", OpenBSDTest, dict(system=sim.NetBSD)),
    ("Solaris", FreeBSDTest, dict(system=sim.Solaris,
                                  cure="net_icmpaccess")),
    ("SolarisRoot", FreeBSDRootTest, dict(system=sim.Solaris)),
    ("AIX", FreeBSDTest, dict(system=sim.AIX)),
    ("AIXRoot", FreeBSDRootTest, dict(system=sim.AIX)),
    ("Windows7", WindowsTest, dict(
        system=sim.Windows7, hops=dict(tcp=LENT, udp=LENT, icmp=SEEN),
        mechanisms=dict(tcp=["connect"], udp=["connect"],
                        icmp=["icmp-api"]))),
    # Without inet_pton() an IPv6 address can not be given to the API.
    ("WindowsPython2", WindowsTest, dict(
        system=sim.WindowsPython2,
        hops={"tcp": SEEN, "udp": LENT, "icmp": SEEN, ("udp", 6): HIDDEN,
              ("icmp", 6): NONE}, cures={("icmp", 6): "Python 3"})),
    ("CygwinAdministrator", FreeBSDRootTest, dict(
        system=sim.Cygwin,
        mechanisms=dict(RAW, tcp=["tcp-icmp-error", "raw-socket"]))))

for _name, _base, _facts in ROWS:
    globals()[_name + "Test"] = type(_name + "Test", (_base,), _facts)
del _base                       # or it would be found as one more


# ---------------------------------------------------------------------------
# No system at all, and the simulator itself
# ---------------------------------------------------------------------------

class PyodideTest(unittest.TestCase):
    """Nothing works there: a plain message, and 2."""

    def test_each_method_fails_with_one_line(self):
        for words in (["-T"], ["-U"], ["-I"], ["-6"]):
            scene = Scene(sim.Pyodide, False)
            status, out, err = scene.main(*words + [
                "-n", sim.HOST[6 if "-6" in words else 4]])
            self.assertEqual((status, len(err.splitlines())), (2, 1),
                             (words, out, err))
            self.assertNotIn("Traceback", err)

    def test_doctor_says_2(self):
        status, out, err = Scene(sim.Pyodide, False).main("--doctor")
        self.assertEqual((status, err), (2, ""), out)


class SimulatorTest(unittest.TestCase):
    """It refuses what the real systems refuse."""

    def names(self, system, privileged=False):
        kernel = system(privileged=privileged)
        return kernel, kernel.modules()

    def refused(self, name, kernel, function, *args):
        try:
            function(*args)
        except (OSError, sim.real_socket.error) as error:
            # Python 3 on Windows shows C's number for some of Winsock's.
            self.assertIn(error.errno, (kernel.number(name),
                                        kernel.errnos[name]))
        else:
            self.fail("%s was not raised" % name)

    def test_numbers_of_linux_are_not_those_of_others(self):
        for system in (sim.MacOS, sim.FreeBSD, sim.OpenBSD, sim.NetBSD,
                       sim.Solaris, sim.AIX, sim.Windows):
            kernel, names = self.names(system)
            socket = names["socket"]
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for level, option in ((1, 35), (1, 4), (0, 2), (255, 1)):
                with self.assertRaises((OSError, sim.real_socket.error)):
                    sock.setsockopt(level, option, 1)
            with self.assertRaises((OSError, sim.real_socket.error)):
                socket.socket(10, socket.SOCK_DGRAM)    # Linux's AF_INET6

    def test_what_windows_lacks_is_not_there(self):
        for system in (sim.Windows, sim.WindowsPython2):
            _, names = self.names(system)
            for module, name in (
                    ("select", "poll"), ("os", "getuid"), ("os", "geteuid"),
                    ("os", "fork"), ("socket", "MSG_DONTWAIT"),
                    ("socket", "CMSG_LEN"), ("signal", "SIGALRM"),
                    ("signal", "SIGHUP"), ("socket", "AF_UNIX")):
                self.assertFalse(hasattr(names[module], name), name)
            self.assertFalse(hasattr(names["socket"].socket, "recvmsg"))
        for name in ("inet_pton", "inet_ntop", "IPPROTO_IPV6",
                     "IPPROTO_ICMPV6", "socketpair"):
            self.assertFalse(hasattr(names["socket"], name), name)
        for name in ("monotonic", "perf_counter"):
            self.assertFalse(hasattr(names["time"], name), name)

    def test_privilege_is_refused_with_each_systems_errno(self):
        for system, name in (
                (sim.Linux, "EPERM"), (sim.MacOS, "EPERM"),
                (sim.FreeBSD, "EPERM"), (sim.OpenBSD, "EACCES"),
                (sim.Solaris, "EACCES"), (sim.Windows, "EACCES")):
            kernel, names = self.names(system)
            socket = names["socket"]
            self.refused(name, kernel, socket.socket, socket.AF_INET,
                         socket.SOCK_RAW, 1)
            self.assertEqual(kernel.open_count(), 0)

    def test_a_ttl_of_one_octet_is_refused_by_bsd(self):
        kernel, names = self.names(sim.NetBSD)
        sock = names["socket"].socket(2, 2)
        self.refused("EINVAL", kernel, sock.setsockopt, 0, 4, b"\x01")

    def test_the_header_of_a_raw_packet_has_one_right_order(self):
        for system, order, other in ((sim.NetBSD, "<", ">"),
                                     (sim.MacOS, "<", ">"),
                                     (sim.FreeBSD, ">", "<"),
                                     (sim.OpenBSD, ">", "<"),
                                     (sim.AIX, ">", "<")):
            kernel, names = self.names(system, True)
            sock = names["socket"].socket(2, 3, 1)
            sock.setsockopt(0, 2, 1)
            for each in (order, other):
                packet = b"\x45\0" + struct.pack(
                    each + "H", 28) + b"\0\0\0\0\7\1\0\0" + \
                    b"\0\0\0\0\x0a\x09\x09\x09" + \
                    b"\x08\0\xf7\xff\0\0\0\0"
                send = sock.sendto, packet, ("10.9.9.9", 0)
                if each == order:
                    send[0](*send[1:])
                    self.assertEqual(kernel.network.sent[-1].ttl, 7)
                else:
                    self.refused("EINVAL", kernel, *send)

    def test_raw_icmp_of_netbsd_leaves_with_255(self):
        kernel, names = self.names(sim.NetBSD, True)
        sock = names["socket"].socket(2, 3, 1)
        sock.setsockopt(0, 4, 3)
        sock.sendto(b"\x08\0\xf7\xff\0\0\0\0", ("10.9.9.9", 0))
        self.assertEqual((sock.getsockopt(0, 4),
                          kernel.network.sent[-1].ttl), (3, 255))

    def test_windows_select_refuses_nothing_and_too_much(self):
        kernel, names = self.names(sim.Windows)
        select = names["select"].select
        self.refused("EINVAL", kernel, select, [], [], [], 0)
        socket = names["socket"]
        many = [socket.socket(2, 2) for _ in range(513)]
        with self.assertRaises(ValueError):
            select(many, [], [], 0)

    def connected(self, kernel, names, version=4, port=FILTERED, kind=1,
                  ttl=None):
        """Return a socket of kind SOCK_STREAM 1 or SOCK_DGRAM 2 that is
        being connected to the host, and has sent something."""
        socket = names["socket"]
        sock = socket.socket(*(
            {4: socket.AF_INET, 6: socket.AF_INET6}[version],
            {1: socket.SOCK_STREAM, 2: socket.SOCK_DGRAM}[kind]))
        sock.setblocking(False)
        if ttl:
            sock.setsockopt(*{4: (0, socket.IP_TTL), 6: (
                41, socket.IPV6_UNICAST_HOPS)}[version] + (ttl,))
        sock.connect_ex((sim.HOST[version], port))
        if kind == 2:
            sock.send(b"x")
        return sock

    def test_what_icmp_does_to_a_socket(self):
        """(type, code), or a ttl that runs out, by system; None: nothing.
        [notes] and platforms.md."""
        unreachable, refused = "EHOSTUNREACH", "ECONNREFUSED"
        for system, kind, version, code, name in (
                (sim.Linux418, 1, 4, 1, unreachable),
                (sim.Linux418, 1, 4, 13, unreachable),
                (sim.Linux418, 1, 4, 3, refused),
                (sim.Linux418, 1, 6, "prohibited", "EACCES"),
                (sim.GVisor, 1, 4, "time", None),
                (sim.GVisor, 1, 4, 13, unreachable),
                (sim.GVisor, 2, 4, 13, None),
                (sim.GVisor, 2, 4, 3, refused),
                (sim.MacOS, 1, 4, "time", unreachable),
                (sim.MacOS, 1, 6, "time", unreachable),
                (sim.MacOS, 1, 6, "prohibited", None),
                (sim.MacOS, 1, 4, 0, None), (sim.MacOS, 1, 4, 1, None),
                (sim.MacOS, 1, 4, 2, refused), (sim.MacOS, 1, 4, 3, refused),
                (sim.MacOS, 1, 4, 9, refused),
                (sim.MacOS, 1, 4, 10, refused),
                (sim.MacOS, 1, 4, 13, refused),
                (sim.FreeBSD, 1, 6, "time", unreachable),
                (sim.OpenBSD, 1, 4, 3, None), (sim.OpenBSD, 1, 4, 13, None),
                (sim.OpenBSD, 2, 4, "time", None),
                (sim.OpenBSD, 2, 4, 0, unreachable),
                (sim.OpenBSD, 2, 4, 9, unreachable),
                (sim.NetBSD, 2, 4, "time", None),
                (sim.NetBSD, 2, 4, 13, unreachable)):
            kernel, names = self.names(system)
            key = {1: "tcp", 2: "udp"}[kind], FILTERED
            kernel.network.host.silent.add(key)
            if code != "time":
                kernel.network.router(2).rejects[key] = code
            sock = self.connected(kernel, names, version, kind=kind,
                                  ttl=2 if code == "time" else None)
            kernel.settle(0.5)
            self.assertEqual(sock.error, kernel.errnos[name] if name else 0,
                             (system.name, kind, version, code))

    def test_old_linux_loses_what_comes_while_connect_is_at_work(self):
        for system, queued in ((sim.Linux, 1), (sim.Linux418, 0)):
            kernel, names = self.names(system)
            kernel.network.answer_at_once()
            sock = self.connected(kernel, names, ttl=2)
            self.assertEqual((sock.state, len(sock.errors)),
                             ("syn-sent", queued))
            kernel.settle(1.01)
            self.assertEqual(sock.state, "syn-sent")
            kernel.settle(0.02)
            self.assertEqual((sock.state, sock.error), (
                "dead", kernel.errnos["EHOSTUNREACH"]))

    def test_the_queue_of_gvisor_names_us_and_that_of_wsl_1_stays_empty(
            self):
        for system, queued in ((sim.GVisor, 1), (sim.WSL1, 0)):
            kernel, names = self.names(system)
            sock = names["socket"].socket(2, 2)
            sock.setsockopt(0, 11, 1)
            sock.connect((sim.HOST[4], CLOSED))
            sock.send(b"x")
            kernel.settle(0.5)
            self.assertEqual(len(sock.errors), queued)
            for error in sock.errors:
                self.assertIn(sim.pack_address(sim.OWN[4]), error[2][2])

    def test_a_content_filter_sends_with_the_ttl_of_the_moment(self):
        kernel, names = self.names(sim.MacOSWithFilter)
        sock = names["socket"].socket(2, 2, 1)
        for ttl in (1, 2, 13):
            sock.setsockopt(0, 4, ttl)
            sock.sendto(b"\x08\0\xf7\xff\0\0\0\0", ("10.9.9.9", 0))
        kernel.settle(0.1)
        self.assertEqual([packet.ttl for packet in kernel.network.sent],
                         [13, 13, 13])

    def test_winsock_repeats_a_refused_syn_unless_told_not_to(self):
        for system in (sim.Windows, sim.Cygwin):
            for told, seconds in ((0, 2.0), (1, 0.0)):
                kernel, names = self.names(system)
                sock = names["socket"].socket(2, 1)
                sock.setblocking(False)
                sock.setsockopt(6, 9, told)
                began = kernel.now
                sock.connect_ex(("10.9.9.9", CLOSED))
                kernel.wait(lambda: sock.state == "dead", 9)
                self.assertAlmostEqual(kernel.now - began, seconds, 0)
                self.assertEqual(sock.error, kernel.number("ECONNREFUSED"))

    def test_rcvall_wants_a_socket_for_all_of_ip(self):
        for version, protocol, name in ((4, 1, "EINVAL"), (4, 0, None),
                                        (6, 58, "EINVAL"), (6, 41, None)):
            kernel, names = self.names(sim.Windows, True)
            socket = names["socket"]
            sock = socket.socket(
                {4: 2, 6: 23}[version], socket.SOCK_RAW, protocol)
            sock.bind((sim.OWN[version], 0))
            call = sock.ioctl, socket.SIO_RCVALL, socket.RCVALL_IPLEVEL
            if name:
                self.refused(name, kernel, *call)
            else:
                call[0](*call[1:])
            self.assertEqual(sock.rcvall, 0 if name else 3)

    def test_rcvall_left_on_is_noticed(self):
        kernel, names = self.names(sim.Windows, True)
        socket = names["socket"]
        sock = socket.socket(2, 3, 0)
        self.refused("EINVAL", kernel, sock.ioctl, socket.SIO_RCVALL, 1)
        sock.bind(("10.9.0.2", 0))
        sock.ioctl(socket.SIO_RCVALL, socket.RCVALL_IPLEVEL)
        sock.close()
        self.assertEqual(kernel.violations, ["SIO_RCVALL was left on"])


if __name__ == "__main__":
    unittest.main()
