"""Paths that this machine's kernel may not be able to make, for real: MPLS
routing, loss and reordering by netem, VRFs.

    python3 tests/real_paths.py --tree FOLDER [--results FOLDER] NAME
    python3 tests/real_paths.py --inside [TEST..]

The first boots Debian's package user-mode-linux, unpacked in FOLDER, and
runs the second in it; .ci/systems does that.  The second, as root, wants a
kernel with the modules; the networks are lab.Chain, in the guest's own
namespaces.

Seen with Linux 6.1: its MPLS routers say nothing of a packet whose label's
ttl expires (RFC 4950 has no chance), so a label switched path is a run of
silent hops, or, without ttl propagation, no hops at all, and the router
behind it answers at two ttls.  A route that prohibits sends five errors and
then one each second (net.ipv4.route.error_cost), whatever icmp_ratelimit is.
"""

import argparse
import glob
import io
import json
import os
import re
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import guest  # noqa: E402
import lab  # noqa: E402

MODULES = ("ipv6", "veth", "vrf", "mpls_router", "mpls_iptunnel",
           "sch_netem")
SECONDS = 200
USER = 1000


def batch(net, name, argv, commands):
    """Commands of iproute2, one a line, in a namespace."""
    net._run_jobs([(name, argv + ["-batch", "-"], commands)])


class Case(unittest.TestCase):
    """A Chain for all tests of a class."""

    routers = 3
    net = None
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.net = lab.Chain(routers=cls.routers)
        try:
            cls.net.ping_group(cls.net.client)
            cls.net.serve(cls.net.server, "tcp", port=80)
            cls.set_up()
        except Exception:
            cls.net.close()
            raise

    @classmethod
    def set_up(cls):
        """What else the network needs."""

    @classmethod
    def tearDownClass(cls):
        cls.net.close()

    def traces(self, *calls):
        """Run several at once, arguments and then "root" for root each;
        -> [(status, trace)]."""
        results = lab.trace_all(self.net, [
            ([word for word in call if word != "root"] +
             [self.net.destination], {"privileged": "root" in call})
            for call in calls])
        return [(status, trace) for status, (trace,) in results]

    def addresses(self, trace):
        return [hop["address"] for hop in trace["hops"]]

    def hops(self, *numbers):
        """The addresses of routers, None for 0."""
        return [self.net.hop(k) if k else None for k in numbers]


# --------------------------------------------------------------------------
# MPLS
# --------------------------------------------------------------------------

class Mpls(Case):
    """client - r1 - [r2 - r3 - r4] - r5 - server: r2 pushes a label, r3
    swaps it, r4 pops it.  The way back is plain."""

    routers = 5
    propagate = 1

    @classmethod
    def set_up(cls):
        net = cls.net
        for name in ("r2", "r3", "r4"):
            net.sysctl(name, "net.mpls.platform_labels", 1000)
            net.sysctl(name, "net.mpls.ip_ttl_propagate", cls.propagate)
            net.sysctl(name, "net.mpls.conf.toclient.input", 1)
        net.ip("r2", "route replace 10.77.5.0/24 encap mpls 100 "
               "via 10.77.2.2")
        mpls = ["ip", "-f", "mpls"]
        batch(net, "r3", mpls, "route add 100 as 200 via inet 10.77.3.2")
        batch(net, "r4", mpls, "route add 200 via inet 10.77.4.2")
        for name, rule in (("r2", "dport 446 blackhole"),
                           ("r5", "dport 445 blackhole"),
                           ("r5", "dport 447 prohibit")):
            net.ip(name, "rule add iif toclient ipproto tcp " + rule)


class TestMplsWithTtl(Mpls):

    def test_routers_in_between_are_silent_hops(self):
        for status, trace in self.traces(
                ("-p80",), ("-p80", "root"), ("-p81",), ("-U",), ("-I",)):
            self.assertTrue(trace["reached"], trace["summary"])
            self.assertEqual(status, 0)
            self.assertEqual(self.addresses(trace),
                             self.hops(1, 2, 0, 0, 5, 6))
            self.assertEqual(trace["findings"], [])

    def test_port_dropped_before_the_core_is_placed_there(self):
        for _, trace in self.traces(("-p446",), ("-p446", "root")):
            self.assertEqual(trace["verdict"], "dropped")
            self.assertEqual(trace["blocked_after"],
                             {"ttl": 1, "address": self.net.hop(1)})
            self.assertEqual(trace["blocked_before"],
                             {"ttl": 2, "address": self.net.hop(2)})

    def test_port_dropped_behind_the_core_may_be_dropped_in_it(self):
        for _, trace in self.traces(("-p445",), ("-p445", "root")):
            self.assertEqual(trace["verdict"], "dropped")
            self.assertEqual(trace["blocked_after"],
                             {"ttl": 2, "address": self.net.hop(2)})
            self.assertEqual(trace["blocked_before"],
                             {"ttl": 5, "address": self.net.hop(5)})

    def test_port_rejected_behind_the_core_is_rejected_by_that_router(self):
        for call in (("-p447",), ("-p447", "root")):
            time.sleep(6)       # until the router may send errors again
            (_, trace), = self.traces(call)
            self.assertEqual(trace["verdict"], "rejected")
            self.assertEqual(trace["responder"], self.net.hop(5))

    def test_silent_hops_before_a_rejection_are_one_line(self):
        """Whatever its router did not answer; none is behind the host."""
        time.sleep(6)           # until the router may send errors again
        for how in ({"privileged": True}, {}):
            status, out, err = lab.trace(
                self.net, "-n", "-p447", self.net.destination, **how)
            self.assertNotRegex(out, r"timed out\n\d+\t\*\ttimed out", out)

    def test_path_mtu_has_no_room_for_the_label(self):
        for _, trace in self.traces(("-p80", "--mtu"),
                                    ("-p80", "--mtu", "root")):
            self.assertEqual(trace["path_mtu"], 1496)


class TestMplsWithoutTtl(Mpls):
    """r3 and r4 are no hops; r5 gets packets whose ttl is 0, so it answers
    at two ttls."""

    propagate = 0

    def test_router_behind_answers_twice_and_that_is_no_loop(self):
        for status, trace in self.traces(
                ("-p80",), ("-p80", "root"), ("-p81",), ("-U",), ("-I",)):
            self.assertEqual((trace["reached"], status), (True, 0))
            self.assertEqual(self.addresses(trace), self.hops(1, 2, 5, 5, 6))
            self.assertEqual(trace["distance"], 5)
            self.assertNotIn("loop", [finding["kind"] for finding in
                                      trace["findings"]])

    def test_ports_are_placed_and_that_is_no_loop(self):
        for port, hop in (("-p445", 2), ("-p446", 1)):
            for _, trace in self.traces((port,), (port, "root")):
                self.assertEqual(trace["verdict"], "dropped")
                self.assertEqual(trace["blocked_after"],
                                 {"ttl": hop, "address": self.net.hop(hop)})
                self.assertNotIn("loop", trace["summary"])


# --------------------------------------------------------------------------
# netem
# --------------------------------------------------------------------------

class Netem(Case):
    """Behind r1, both ways or to the server."""

    to_server = to_client = None

    @classmethod
    def set_up(cls):
        for device, what in (("toserver", cls.to_server),
                             ("toclient", cls.to_client)):
            if what:
                batch(cls.net, "r2", ["tc"],
                      "qdisc add dev %s root netem %s" % (device, what))


class TestLoss(Netem):

    to_server = "loss 40%"

    def test_loss_is_found_and_placed_behind_the_router_that_loses(self):
        for _, trace in self.traces(("-q20", "-p80"), ("-q20", "-I"),
                                    ("-q20", "-p80", "root")):
            self.assertTrue(trace["reached"])
            self.assertEqual([hop["lost"] for hop in trace["hops"][:2]],
                             [0, 0])
            text, = [finding["text"] for finding in trace["findings"]
                     if finding["kind"] == "loss"]
            self.assertIn("between hop 2 (%s) and hop 3" % self.net.hop(2),
                          text)

    def test_a_port_that_is_open_is_so_in_spite_of_it(self):
        for _, trace in self.traces(*[("-p80", "-r4")] * 4):
            self.assertEqual(trace["verdict"], "open")


class TestDisorder(Netem):
    """Answers overtake each other."""

    to_server = "delay 20ms reorder 50% 50%"
    to_client = "delay 20ms 15ms"

    def test_order_changes_nothing(self):
        for status, trace in self.traces(*[
                (option,) + who for option in ("-p80", "-p81", "-U", "-I")
                for who in ((), ("root",)) for _ in range(2)]):
            self.assertEqual((trace["reached"], status), (True, 0))
            self.assertEqual(self.addresses(trace), self.hops(1, 2, 3, 4))
            self.assertEqual(trace["findings"], [])


class TestDuplicates(TestDisorder):

    to_server = to_client = "duplicate 50%"


# --------------------------------------------------------------------------
# VRF
# --------------------------------------------------------------------------

class TestVrf(Case):
    """The client's only device belongs to a VRF, as a management network's
    does: outside of it there are no routes, inside there is no loopback."""

    @classmethod
    def set_up(cls):
        if cls.net.user_namespace:
            raise unittest.SkipTest("ip vrf exec needs BPF, which a user "
                                    "namespace may not have")
        cls.net.ip(cls.net.client, "\n".join([
            "link add red type vrf table 10", "link set red up",
            "link set toserver master red",
            "route add default via 10.77.0.2 vrf red"]))
        subprocess.call(["mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"])
        folder = os.path.dirname(lab.compiled("potraceroute"))
        os.chmod(folder, 0o755)
        for name in os.listdir(folder):
            os.chmod(os.path.join(folder, name), 0o644)

    def inside(self, *words, **how):
        """A run as `ip vrf exec red` starts it."""
        argv = [sys.executable, lab.compiled("potraceroute"), "-n"]
        if not how.get("root"):
            argv = ["setpriv", "--bounding-set=-all", "--inh-caps=-all",
                    "--reuid=%d" % USER, "--regid=%d" % USER,
                    "--clear-groups"] + argv
        return self.net.run(self.net.client, [
            "ip", "vrf", "exec", "red"] + argv + list(words))

    def test_inside_all_is_as_without(self):
        for root in (False, True):
            for option, verdict in (("-p80", "open"), ("-p81", "refused"),
                                    ("-U", "refused"), ("-I", "answered")):
                status, out, err = self.inside(
                    "--json", option, self.net.destination, root=root)
                trace, = json.loads(out)["traces"]
                self.assertEqual((trace["verdict"], status), (verdict, 0))
                self.assertEqual(self.addresses(trace),
                                 self.hops(1, 2, 3, 4))

    def test_inside_doctor_says_what_works(self):
        """127.0.0.1 cannot be asked there; that is no answer."""
        for root in (False, True):
            status, out, err = self.inside("--doctor", root=root)
            for method in ("TCP", "UDP", "ICMP"):
                self.assertRegex(out, r"(?m)^%s +IPv4 +yes " % method)
            self.assertEqual(status, 0)

    def test_outside_its_address_is_this_hosts_nevertheless(self):
        status, out, err = lab.trace(
            self.net, "-n", "-s", "10.77.0.1", "-p80", self.net.destination)
        self.assertEqual(status, 2)
        self.assertNotIn("is not an address of this host", err)
        self.assertIn("vrf", err.lower())

    def test_an_address_of_nobody_is_none_of_this_host(self):
        status, out, err = self.inside("-s", "10.77.9.9", "-p80",
                                       self.net.destination)
        self.assertEqual(status, 2)
        self.assertIn("is not an address of this host", err)

    def test_outside_it_is_not_said_that_this_host_has_no_route(self):
        status, out, err = lab.trace(self.net, "-n", "-p80",
                                     self.net.destination)
        self.assertEqual(status, 2)
        self.assertNotIn("this host has no route", out + err)


class TestNoLoopback(Case):
    """`ip netns add` leaves loopback down: what is asked there cannot be."""

    @classmethod
    def set_up(cls):
        cls.net.ip(cls.net.client, "link set lo down")

    def test_all_is_as_with_it(self):
        for status, trace in self.traces(
                ("-p80",), ("-p80", "root"), ("-p81",), ("-U",), ("-I",)):
            self.assertEqual((trace["reached"], status), (True, 0))
            self.assertEqual(self.addresses(trace), self.hops(1, 2, 3, 4))

    def test_doctor_says_what_works(self):
        status, out, err = lab.trace(self.net, "--doctor")
        for method in ("TCP", "UDP", "ICMP"):
            self.assertRegex(out, r"(?m)^%s +IPv4 +yes " % method)
        self.assertEqual(status, 0)


# --------------------------------------------------------------------------
# Running them
# --------------------------------------------------------------------------

def run_inside(names):
    # So that lab makes none, in which there is no BPF.
    with open("/proc/sys/user/max_user_namespaces", "w") as stream:
        stream.write("0")
    return unittest.main(argv=["real_paths"] + names, verbosity=2)


def run_guest(name, tree):
    """-> (the text to print, have all passed?)"""
    kernel = os.path.join(tree, "usr/bin/linux.uml")
    if not os.path.exists(kernel):
        return "%s: NOT RUN: %s" % (name, problem(tree)), False
    modules, = glob.glob(os.path.join(tree, "usr/lib/uml/modules/*"))
    began = time.time()
    with guest.Guest(None, kernel, network=[],
                     modules=[modules] + list(MODULES)) as host:
        host.jobs.append(guest.job(
            guest.INIT_PYTHON, "-B", os.path.abspath(__file__), "--inside",
            timeout=SECONDS))
        host.start()
        (status, out, err), = host.results()
    count = re.search(r"(?m)^Ran (\d+) tests? ", err)
    total = int(count.group(1)) if count else 0
    failed, skipped = [sum(map(int, re.findall(kind + r"=(\d+)", err)))
                       for kind in ("(?:failures|errors)", "skipped")]
    text = err if status else ""
    text += "%s (Linux %s, User Mode Linux): %d passed, %d failed, " \
        "%d skipped, %.0f s" % (name, os.path.basename(modules),
                                total - failed - skipped, failed, skipped,
                                time.time() - began)
    return text, not status and total > 0


def problem(tree):
    try:
        with io.open(tree + ".problem", encoding="utf-8") as stream:
            return " ".join(stream.read().split())
    except EnvironmentError:
        return "no tree %s" % tree


def main():
    if sys.argv[1:2] == ["--inside"]:
        return run_inside(sys.argv[2:])
    parser = argparse.ArgumentParser()
    parser.add_argument("--tree", required=True)
    parser.add_argument("--results", metavar="FOLDER")
    parser.add_argument("name")
    options = parser.parse_args()
    text, passed = run_guest(options.name, os.path.abspath(options.tree))
    lab.tell(options.name, text, passed, options.results)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
