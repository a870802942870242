"""What every back end promises, on a simulated system of each kind.

simulator.py has the systems, made from their documents; Contract has the
tests that all of them pass, and a class per system says what it can do and
has the tests of that system's own traps.  No packet leaves, nothing waits.

Not tested here: what the real systems do.  A green run says that
potraceroute.py gets along with what the documents say of them, and that it
uses no name, number or option that is only Linux's.
"""

import binascii
import json
import os
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import simulator as sim  # noqa: E402

HOPS = 4                    # three routers and the host
OPEN, CLOSED, FILTERED = 443, 81, 25
ANSWERS = 40000             # a UDP port that answers
BANNER = b"220 simulated\r\n"
FAMILIES = 4, 6
FORGER = {4: "10.9.66.6", 6: "fd09:66::6"}

# What a system shows of the hops of a method.
SEEN = "their addresses"
HIDDEN = "that there are hops, or not even that"
NONE = None                 # the method does not work without privilege


def port_of(method, port=OPEN):
    return None if method == "icmp" else port


class Scene(object):
    """A system with a copy of the program, and a network."""

    def __init__(self, system, privileged, hops=HOPS):
        self.network = sim.Network(hops)
        self.network.host.tcp[OPEN] = BANNER
        self.network.host.udp[ANSWERS] = b"here I am"
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
    hops        method: SEEN, HIDDEN or NONE; (method, family) goes first
    mechanisms  method: names of the mechanism that may be shown
    cure        a word of the message for want of privilege
    silent_udp  True if not even the host's port unreachable is heard
    """

    system = None
    privileged = False
    hops = {}
    mechanisms = {}
    cure = None
    silent_udp = False

    # Help

    def setUp(self):
        self.scenes = []

    def tearDown(self):
        for scene in self.scenes:
            scene.kernel.shut_down()

    def scene(self, **words):
        scene = Scene(self.system, self.privileged, **words)
        self.scenes.append(scene)
        return scene

    def sight(self, method, version):
        return self.hops.get((method, version), self.hops.get(method))

    def cases(self, methods=("tcp", "udp", "icmp"), sights=(SEEN, HIDDEN)):
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
        what = trace.method, trace.version, [
            (hop.ttl, hop.outcome, hop.address) for hop in trace.hops]
        routers = [hop for hop in trace.hops if hop.ttl < last]
        for hop in routers:
            address = sim.Router(hop.ttl).address[trace.version]
            if hop.ttl in silent:
                self.assertIn((hop.outcome, hop.address),
                              [("timeout", None)] + [
                                  ("time-exceeded", address)] * (
                                      hop.ttl in gone), what)
            elif self.sight(trace.method, trace.version) == SEEN:
                self.assertEqual((hop.outcome, hop.address),
                                 ("time-exceeded", address), what)
                self.assertEqual(
                    (hop.icmp_type, hop.icmp_code),
                    sim.TIME_EXCEEDED[trace.version], what)
                self.assertTrue(hop.rtt is None or
                                0 < hop.rtt < 2, (hop.rtt, what))
            else:
                self.assertIn((hop.outcome, hop.address),
                              (("time-exceeded", None), ("timeout", None)),
                              what)
        if self.sight(trace.method, trace.version) == SEEN:
            self.assertEqual([hop.ttl for hop in routers],
                             list(range(1, last)), what)

    def check_named(self, trace):
        names = self.mechanisms.get((trace.method, trace.version),
                                    self.mechanisms.get(trace.method))
        self.assertIn(trace.as_dict()["mechanism"], names,
                      (trace.method, trace.version))

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
            if self.sight(method, version) == SEEN:
                self.assertEqual(trace.distance, HOPS)
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
            if method == "udp" and self.silent_udp:
                self.assertNotIn(trace.verdict, ("open", "answered"))
                continue
            self.assertEqual((trace.verdict, trace.reached),
                             ("refused", True), (method, version))
            self.check_hops(trace)

    def test_a_rejection_by_a_router_is_never_a_refusal(self):
        for reason in ("prohibited", "port", "host"):
            for method, version in self.cases():
                scene = self.scene()
                key = method, port_of(method, FILTERED)
                scene.network.router(2).rejects[key] = reason
                trace = self.run_case(method, version, FILTERED, scene)
                what = reason, method, version, trace.summary
                self.assertNotIn(trace.verdict, ("open", "answered"), what)
                if self.sight(method, version) == SEEN:
                    self.assertFalse(trace.reached, what)
                    self.assertIn(trace.verdict, (
                        "rejected", "unreachable"), what)
                    self.assertEqual(trace.responder, scene.network.router(
                        2).address[version], what)
                elif trace.reached:     # it can not tell: then it says so
                    self.assertIn("not visible", trace.summary, what)

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
            if self.sight(method, version) == SEEN:
                self.assertEqual(
                    trace.as_dict()["blocked_after"],
                    {"ttl": 2, "address": scene.network.router(
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
            self.check_hops(trace)

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
                self.assertIn((hop.outcome, hop.address), (
                    ("time-exceeded", None), ("timeout", None)))

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
            for seconds in (0, 0.005, 0.0125, 0.9):
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
            self.assertIn(self.cure, err)
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


class LinuxRootTest(LinuxTest):
    privileged = True


class LinuxClosedTest(LinuxTest):
    system = sim.LinuxClosed
    hops = dict(ALL_SEEN, icmp=NONE)
    cure = "ping_group_range"


class OldLinuxTest(LinuxTest):
    system = sim.OldLinux
    hops = dict(ALL_SEEN, tcp=HIDDEN)
    mechanisms = dict(QUEUE, tcp=["connect"])
    cure = "CAP_NET_RAW"


class OldLinuxRootTest(LinuxTest):
    system = sim.OldLinux
    privileged = True
    mechanisms = dict(QUEUE, tcp=["error-queue", "raw-socket"])


class SandboxTest(Contract, unittest.TestCase):
    system = sim.Sandbox
    hops = dict(tcp=HIDDEN, udp=HIDDEN, icmp=NONE)
    mechanisms = dict.fromkeys(("tcp", "udp"), ["connect"])
    cure = "CAP_NET_RAW"


class AndroidTest(LinuxTest):
    system = sim.Android
    hops = dict(ALL_SEEN, icmp=NONE)
    cure = "ping_group_range"


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


class MacOSRootTest(MacOSTest):
    privileged = True
    mechanisms = dict.fromkeys(("tcp", "udp", "icmp"),
                               ["datagram-icmp", "raw-socket"])


class MacOSWithFilterTest(MacOSTest):
    system = sim.MacOSWithFilter


class FreeBSDTest(Contract, unittest.TestCase):
    system = sim.FreeBSD
    hops = BY_ERRNO
    mechanisms = ERRNO
    cure = "root"


class FreeBSDRootTest(Contract, unittest.TestCase):
    system = sim.FreeBSD
    privileged = True
    hops = ALL_SEEN
    mechanisms = RAW


class OldFreeBSDRootTest(FreeBSDRootTest):
    system = sim.OldFreeBSD


class OpenBSDTest(FreeBSDTest):
    system = sim.OpenBSD


class OpenBSDRootTest(FreeBSDRootTest):
    system = sim.OpenBSD


class NetBSDTest(FreeBSDTest):
    system = sim.NetBSD


class NetBSDRootTest(FreeBSDRootTest):
    system = sim.NetBSD


# ---------------------------------------------------------------------------
# Solaris and AIX
# ---------------------------------------------------------------------------

class SolarisTest(FreeBSDTest):
    system = sim.Solaris
    cure = "net_icmpaccess"


class SolarisRootTest(FreeBSDRootTest):
    system = sim.Solaris


class AIXTest(FreeBSDTest):
    system = sim.AIX


class AIXRootTest(FreeBSDRootTest):
    system = sim.AIX


# ---------------------------------------------------------------------------
# Windows
# ---------------------------------------------------------------------------

class WindowsTest(Contract, unittest.TestCase):
    system = sim.Windows
    hops = dict(tcp=SEEN, udp=HIDDEN, icmp=SEEN)
    mechanisms = dict(tcp=["tcp-icmp-error"], udp=["connect"],
                      icmp=["icmp-api"])
    cure = "administrator"


class WindowsAdministratorTest(WindowsTest):
    privileged = True
    hops = ALL_SEEN
    mechanisms = dict(tcp=["tcp-icmp-error", "raw-socket"],
                      udp=["raw-socket"], icmp=["icmp-api", "raw-socket"])


class Windows7Test(WindowsTest):
    system = sim.Windows7
    hops = dict(tcp=HIDDEN, udp=HIDDEN, icmp=SEEN)
    mechanisms = dict(tcp=["connect"], udp=["connect"], icmp=["icmp-api"])


class WindowsPython2Test(WindowsTest):
    """Without inet_pton() an IPv6 address can not be given to the API."""

    system = sim.WindowsPython2
    hops = {"tcp": SEEN, "udp": HIDDEN, "icmp": SEEN, ("icmp", 6): NONE}
    cure = "Python 3"

    def test_hops_that_can_not_be_seen_are_said_to_be_not_visible(self):
        self.cure = "administrator"
        WindowsTest.\
            test_hops_that_can_not_be_seen_are_said_to_be_not_visible(self)


class CygwinTest(FreeBSDTest):
    system = sim.Cygwin
    cure = "Python for Windows"


class CygwinAdministratorTest(FreeBSDRootTest):
    system = sim.Cygwin


if __name__ == "__main__":
    unittest.main()
