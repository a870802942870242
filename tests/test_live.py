"""potraceroute on real packets: kernel routers, emulated paths, real servers.

Not tested here: any system but Linux, kernels before 5.8 (their lack of
TCP's error queue is forced by mechanism="connect"), real load balancers,
distances beyond 30, and what needs a second physical machine.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import lab  # noqa: E402
from lanes import load_tests  # noqa: F401,E402

SCRIPT = os.path.join(os.path.dirname(HERE), "potraceroute.py")
ROOT, USER = {"privileged": True}, {"privileged": False}
BOTH = (ROOT, USER)


run = lab.trace


def run_json(net, *args, **how):
    """Run it with --json -n; -> (status, the trace)."""
    result, = run_json_all(net, [(args, how)])
    return result


def run_json_all(net, calls, at_once=4):
    """Run several at the same time; calls: a list of (arguments, how).
    -> the list of their (status, trace)."""
    return [(status, traces[0]) for status, traces in
            lab.trace_all(net, calls, at_once)]


def run_module(net, code, **how):
    """Run code that sets `result`; -> result, by way of JSON."""
    how.setdefault("privileged", False)
    status, out, err = net.fork(net.client, (
        "import json, potraceroute as p\n%s\n"
        "print(json.dumps(result))") % code, **how)
    if status:
        raise AssertionError(err)
    return json.loads(out)


def addresses(trace):
    return [hop["address"] for hop in trace["hops"]]


def hop_at(trace, ttl):
    return [hop for hop in trace["hops"] if hop["ttl"] == ttl][0]


class LiveCase(unittest.TestCase):
    """One network for all tests of a class."""

    own_network = True

    @classmethod
    def setUpClass(cls):
        cls.require()
        cls.net = cls.build()

    @classmethod
    def tearDownClass(cls):
        cls.net.close()

    def serve(self, *args, **options):
        server = self.net.serve(self.net.server, *args, **options)
        self.addCleanup(server.close)
        return server

    def assert_verdict(self, result, verdict, status):
        self.assertEqual((result[1]["verdict"], result[0]),
                         (verdict, status), result[1])


class ChainCase(LiveCase):
    """client - r1 - r2 - r3 - server, all of them Linux kernels."""

    require = staticmethod(lab.require_live)

    @staticmethod
    def build():
        return lab.Chain(routers=3)


class PathCase(LiveCase):
    """client - emulated routers - server; make() says how they are."""

    require = staticmethod(lab.require_tun)

    @staticmethod
    def build():
        return lab.Path(routers=4)

    def setUp(self):
        self.net.ping_group(self.net.client)

    def make(self, **settings):
        self.net.configure(clear=True, **settings)
        return self.net.destination


class TestChainOfKernelRouters(ChainCase):

    parts = 2

    def tearDown(self):
        for name in [self.net.client] + list(self.net.routers):
            self.net.nft(name, "flush ruleset\n")

    def expected(self, destination):
        hop = self.net.hop6 if ":" in destination else self.net.hop
        return [hop(1), hop(2), hop(3), destination]

    def each_family(self):
        return (self.net.destination, self.net.destination6)

    def test_service_that_resets_what_it_accepts_is_open(self):
        """As a balancer without a back end does."""
        self.serve("banner", port=80, hang_up="reset")
        for destination in self.each_family():
            for result in run_json_all(self.net, [
                    ([destination], how) for how in BOTH] * 3):
                self.assert_verdict(result, "open", 0)
                self.assertEqual(result[1]["distance"], 4)

    def test_open_port_shows_every_hop_in_each_family_and_privilege(self):
        self.serve("tcp", port=80)
        calls = [([destination, "--banner-wait=0"], how) for how in BOTH
                 for destination in self.each_family()]
        for call, result in zip(calls, run_json_all(self.net, calls)):
            self.assert_verdict(result, "open", 0)
            self.assertEqual(addresses(result[1]),
                             self.expected(call[0][0]))
            self.assertEqual(result[1]["distance"], 4)
            self.assertEqual(result[1]["privileged"],
                             call[1]["privileged"])

    def test_closed_tcp_port_is_refused_by_the_destination(self):
        calls = [([destination, "-p81"], how) for how in BOTH
                 for destination in self.each_family()]
        for call, result in zip(calls, run_json_all(self.net, calls)):
            self.assert_verdict(result, "refused", 0)
            self.assertEqual(result[1]["responder"], call[0][0])
            self.assertEqual(addresses(result[1]),
                             self.expected(call[0][0]))

    def test_closed_udp_port_is_refused_by_the_destination(self):
        calls = [([destination, "-U"], how) for how in BOTH
                 for destination in self.each_family()]
        for call, result in zip(calls, run_json_all(self.net, calls)):
            self.assert_verdict(result, "refused", 0)
            self.assertEqual(addresses(result[1]),
                             self.expected(call[0][0]))

    def test_icmp_echo_by_ping_socket_needs_no_privilege(self):
        self.net.ping_group(self.net.client)
        calls = [([destination, "-I"], how) for how in BOTH
                 for destination in self.each_family()]
        for call, result in zip(calls, run_json_all(self.net, calls)):
            self.assert_verdict(result, "answered", 0)
            self.assertEqual(addresses(result[1]),
                             self.expected(call[0][0]))

    def test_icmp_echo_without_ping_group_needs_a_raw_socket(self):
        self.net.ping_group(self.net.client, "1 0")
        self.addCleanup(self.net.ping_group, self.net.client)
        for destination, result in zip(self.each_family(), run_json_all(
                self.net, [([destination, "-I"], ROOT)
                           for destination in self.each_family()])):
            self.assert_verdict(result, "answered", 0)
            self.assertEqual(addresses(result[1]),
                             self.expected(destination))
        status, out, err = run(self.net, self.net.destination, "-I", **USER)
        self.assertEqual(status, 2)
        self.assertIn("ping_group_range", err)
        self.assertIn("-U", err)
        self.assertEqual(err.count("\n"), 1)

    def test_udp_service_that_answers_is_shown_with_its_data(self):
        self.serve("echo-udp", port=7)
        for destination in self.each_family():
            status, out, _ = run(self.net, destination, "-U", "-p7", "-P",
                                 "68690a", "-n")
            self.assertEqual(status, 0)
            self.assertIn("4\tUDP port 7 responded, received data: 'hi\\n'",
                          out)

    def test_one_flow_by_source_port_finds_the_same_hops(self):
        self.serve("tcp", port=80)
        for flags in (["-S4001", "--banner-wait=0"], ["-U", "-S4001"]):
            _, trace = run_json(self.net, self.net.destination, *flags)
            self.assertEqual(addresses(trace),
                             self.expected(self.net.destination), trace)

    def test_source_address_is_used(self):
        _, trace = run_json(self.net, self.net.destination, "-U", "-s",
                            "10.77.0.1")
        self.assertEqual(trace["source_address"], "10.77.0.1")
        self.assertTrue(trace["reached"])

    def test_first_and_max_hops_bound_the_list_and_the_distance(self):
        _, trace = run_json(self.net, self.net.destination, "-U", "-f3")
        self.assertEqual([hop["ttl"] for hop in trace["hops"]], [3, 4])
        self.assertEqual(trace["distance"], 4)
        status, out, _ = run(self.net, self.net.destination, "-U", "-f9",
                             "-n")
        self.assertIn("at most 9 hops away", out)
        status, out, _ = run(self.net, self.net.destination, "-U", "-m2",
                             "-n")
        self.assertEqual(status, 0)
        self.assertIn("\n>2\t", out)
        self.assertIn("more than 2 hops away", out)

    def test_several_queries_show_several_times(self):
        status, out, _ = run(self.net, self.net.destination, "-U", "-n",
                             "-q3")
        line = out.split("\n")[1]
        self.assertEqual(line.count(" ms"), 3, line)
        self.assertEqual(line.count(self.net.hop(1)), 2, line)

    def filter(self, router, rule, family="inet"):
        self.net.nft(self.net.routers[router - 1], "\n".join([
            "table %s t {" % family,
            "chain c {",
            "type filter hook forward priority 0;",
            rule, "}", "}", ""]))

    def test_port_unreachable_of_a_router_is_rejected_not_refused(self):
        for word, code4 in (("port-unreachable", 3),
                            ("admin-prohibited", 13)):
            self.filter(2, "meta l4proto tcp reject with icmpx type " + word)
            calls = [([destination, "-p25"], how) for how in BOTH
                     for destination in self.each_family()]
            for call, result in zip(calls, run_json_all(self.net, calls)):
                self.assert_verdict(result, "rejected", 1)
                trace, destination = result[1], call[0][0]
                blocker = self.expected(destination)[1]
                self.assertEqual(trace["responder"], blocker)
                self.assertEqual(trace["blocked_after"],
                                 {"ttl": 2, "address": blocker})
                if destination == self.net.destination:
                    self.assertEqual(trace["hops"][-1]["icmp_code"], code4)
            self.tearDown()

    def test_dropped_port_names_the_last_hop_heard(self):
        self.filter(2, "tcp dport 445 drop")
        for destination, result in zip(self.each_family(), run_json_all(
                self.net, [([destination, "-p445", "-w1"], USER)
                           for destination in self.each_family()])):
            self.assert_verdict(result, "dropped", 1)
            self.assertEqual(result[1]["blocked_after"],
                             {"ttl": 2,
                              "address": self.expected(destination)[1]})
            self.assertIsNone(hop_at(result[1], 3)["address"])

    def test_reset_by_a_kernel_router_names_the_device(self):
        """In the forward hook it acts behind the ttl check, in prerouting
        before it: root sees which, by the ttl of the reset."""
        for hook, first, place in (("forward", 3, ""),
                                   ("prerouting", 2, " or just before it")):
            self.net.nft(self.net.routers[1], "\n".join([
                "table inet t {", "chain c {",
                "type filter hook %s priority 0;" % hook,
                "tcp dport 445 reject with tcp reset", "}", "}", ""]))
            calls = [([destination, "-p445"], how) for how in BOTH
                     for destination in self.each_family()]
            for (words, how), result in zip(calls,
                                            run_json_all(self.net, calls)):
                self.assert_verdict(result, "reset", 1)
                self.assertEqual(result[1]["hops"][-1]["ttl"], first)
                routers, summary = (self.expected(words[0]),
                                    result[1]["summary"])
                says = "by a device at hop %d (%s) or just behind it, not" % (
                    first - 1, routers[first - 2])
                if how is ROOT:
                    says = "by a device at hop 2 (%s)%s, not by" % (
                        routers[1], place)
                self.assertIn(says, summary)
                self.assertEqual("the reset arrives with ttl 63" in summary,
                                 how is ROOT)
            self.tearDown()

    def test_proxy_on_the_way_is_found_by_the_plain_command(self):
        proxy = self.net.serve(self.net.routers[1], "tcp", port=3128)
        self.addCleanup(proxy.close)
        self.net.nft(self.net.routers[1], "\n".join([
            "table inet t {", "chain c {",
            "type nat hook prerouting priority -100;",
            "tcp dport 443 redirect to :3128", "}", "}", ""]))
        calls = [([destination, "-p443"] + flags, how) for how in BOTH
                 for destination in self.each_family()
                 for flags in ([], ["-v"], ["--control=udp"], ["-p443,22"])]
        for call, result in zip(calls, run_json_all(self.net, calls)):
            self.assert_verdict(result, "intercepted", 1)
            routers, trace = self.expected(call[0][0]), result[1]
            others = ["UDP port 33434", "ICMP echo"]
            if "--control=udp" in call[0]:
                del others[1]
            self.assertIn(trace["summary"], [
                "TCP port 443 is intercepted: a device at hop 1 (%s), at hop "
                "2 (%s) or between them answered in the name of %s; with ttl "
                "2 %s gets to %s only" % (
                    routers[0], routers[1], call[0][0], other, routers[1])
                for other in others])
            self.assertEqual((trace["blocked_after"], trace["reached"]), (
                {"ttl": 1, "address": routers[0]}, False))
            self.assertEqual(trace["findings"], [])
            self.assertEqual([hop["outcome"] for hop in trace["hops"]],
                             ["time-exceeded", "intercepted"])
            self.assertIn(max(each["distance"] or 0
                              for each in trace["control"]), (0, 4))
        status, out, _ = run(self.net, self.net.destination, "-p443", "-n")
        self.assertEqual(status, 1)
        self.assertIn("\n2\tTCP port 443 connection accepted by a device on "
                      "the way", out)
        self.assertIn("\nCould not reach destination\n", out)

    def test_open_port_is_no_proxy(self):
        self.serve("tcp", port=80)
        calls = [([destination, "-p80", "--banner-wait=0"] + flags, how)
                 for how in BOTH for destination in self.each_family()
                 for flags in ([], ["-v"])]
        for result in run_json_all(self.net, calls):
            self.assert_verdict(result, "open", 0)
            self.assertIn(" accepted the connection, 4 hops away; only the "
                          "handshake is proven", result[1]["summary"])
            self.assertNotIn("confirmed", result[1]["summary"])
            self.assertEqual(result[1]["findings"], [])
            self.assertEqual(result[1]["distance"], 4)

    def test_reset_by_the_local_firewall_is_not_the_destinations(self):
        self.local_filter("tcp dport 445 reject with tcp reset")
        result = run_json(self.net, self.net.destination, "-p445")
        self.assert_verdict(result, "reset", 1)
        self.assertIn("this host's own firewall", result[1]["summary"])

    def test_router_without_a_route_makes_it_unreachable(self):
        result = run_json(self.net, "203.0.113.1", "-w1")
        self.assertEqual(result[0], 1)
        self.net.ip(self.net.routers[1], "route add unreachable 203.0.113.0"
                    "/24")
        self.addCleanup(self.net.ip, self.net.routers[1],
                        "route del unreachable 203.0.113.0/24")
        result = run_json(self.net, "203.0.113.1")
        self.assert_verdict(result, "unreachable", 1)
        self.assertEqual(result[1]["responder"], self.net.hop(2))

    def local_filter(self, rule):
        self.net.nft(self.net.client, "\n".join([
            "table inet t {", "chain c {",
            "type filter hook output priority 0;", rule, "}", "}", ""]))

    def test_local_firewall_that_drops_udp_is_an_error_not_a_hop(self):
        self.local_filter("meta l4proto udp drop")
        status, out, err = run(self.net, self.net.destination, "-U", "-n")
        self.assertEqual(status, 2)
        self.assertIn("Operation not permitted", out)
        self.assertNotIn("Traceback", err)

    def test_local_firewall_that_rejects_tcp_is_an_error_not_a_hop(self):
        self.local_filter("meta l4proto tcp reject with icmpx type "
                          "port-unreachable")
        for result in run_json_all(self.net, [
                ([destination, "-p25"], how) for how in BOTH
                for destination in self.each_family()]):
            self.assert_verdict(result, "error", 2)
            self.assertIn("local firewall", result[1]["error"])

    def test_local_firewall_on_one_ttl_costs_one_hop(self):
        self.local_filter("meta l4proto udp ip ttl 2 drop")
        result = run_json(self.net, self.net.destination, "-U")
        self.assert_verdict(result, "refused", 0)
        self.assertEqual(addresses(result[1]), [
            self.net.hop(1), None, self.net.hop(3), self.net.destination])
        self.assertEqual(hop_at(result[1], 2)["outcome"], "send-failed")

    def test_missing_route_is_an_error_with_the_reason_and_a_cure(self):
        self.net.ip(self.net.client, "route add blackhole 198.18.0.0/24")
        self.addCleanup(self.net.ip, self.net.client,
                        "route del blackhole 198.18.0.0/24")
        for flags in ([], ["-U"], ["-I"]):
            status, out, err = run(self.net, "198.18.0.9", "-n", *flags)
            self.assertEqual(status, 2)
            self.assertIn("no route", out)
            self.assertIn("ip route get", err)

    def test_interface_down_in_mid_trace_ends_with_a_sentence(self):
        self.filter(1, "drop")
        process = self.net.popen(
            self.net.client, [sys.executable, SCRIPT, self.net.destination,
                              "-n", "-U"], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, privileged=False)
        seen = process.stdout.readline() + process.stdout.readline()
        link = "toserver"
        self.net.ip(self.net.client, "link set %s down" % link)
        try:
            out, err = process.communicate()
            out = seen + out
        finally:
            self.net.ip(self.net.client, "\n".join([
                "link set %s up" % link,
                "addr replace fd77::1/64 dev %s nodad" % link,
                "route replace default via 10.77.0.2",
                "route replace ::/0 via fd77::2"]))
        self.assertEqual(process.returncode, 2, err)
        self.assertEqual(err.count(b"\n"), 1)
        self.assertIn(b"\n1\t10.77.0.2", out)
        self.assertIn(b"could not be probed: Network is unreachable", out)

    def test_icmp_rate_limit_of_kernel_routers_does_not_hide_hops(self):
        with lab.Chain(routers=3, icmp_limits=True) as net:
            for _ in range(2):      # the second finds the buckets used
                _, trace = run_json(net, net.destination, "-U", "-q3")
                self.assertEqual(addresses(trace), [
                    net.hop(1), net.hop(2), net.hop(3), net.destination])

    def test_nobody_and_root_see_the_transcript_of_the_design(self):
        self.serve("banner", port=25,
                   banner=b"220 mail.example.com ESMTP\r\n")
        expected = (
            "TCP traceroute to mail.example.com [%(dest)s] port 25\n"
            "1\tgw.example.net (%(one)s)  ICMP 11/0  # ms\n"
            "2\t%(two)s (%(two)s)  ICMP 11/0  # ms\n"
            "3\t%(three)s (%(three)s)  ICMP 11/0  # ms\n"
            "4\tTCP port 25 connection successful, received data: "
            "'220 mail.example.com ESMTP\\r\\n'  # ms\n"
            "Successfully reached destination\n"
            "TCP port 25 is open: %(dest)s accepted the connection, "
            "4 hops away\n") % {
                "dest": self.net.destination, "one": self.net.hop(1),
                "two": self.net.hop(2), "three": self.net.hop(3)}
        etc = {"hosts": "127.0.0.1 localhost\n%s mail.example.com\n"
                        "%s gw.example.net\n" % (self.net.destination,
                                                 self.net.hop(1)),
               "resolv.conf": "nameserver 127.0.0.1\n"}
        with open(SCRIPT) as stream:
            source = stream.read()
        who = [({"privileged": True}, sys.executable)]
        if getattr(self.net, "highest_id", 0) >= 65534 and \
                os.path.exists("/usr/bin/python3"):
            who.append(({"privileged": False, "uid": 65534},
                        "/usr/bin/python3"))
        else:
            who.append(({"privileged": False}, sys.executable))
        for how, python in who:
            status, out, err = self.net.run(
                self.net.client, [python, "-", "mail.example.com", "-p",
                                  "25"], input=source, etc=etc, **how)
            shown = "".join(blank_time(line) for line in
                            out.splitlines(True))
            self.assertEqual((shown, err, status), (expected, "", 0))


def blank_time(line):
    """Return a line with its time replaced by #."""
    words = line.split("  ")
    if words[-1].endswith(" ms\n"):
        float(words[-1].split()[0])
        words[-1] = "# ms\n"
    return "  ".join(words)


class TestEmulatedPath(PathCase):
    """Delay, silence, filters and forgeries between two real stacks."""

    parts = 2

    def test_exactly_one_connection_is_opened_and_none_left_half_open(self):
        destination = self.make(routers=5, delay=0.01)
        servers = [self.serve("tcp", port=8000 + number)
                   for number in range(4)]
        whats = [(address, how) for how in BOTH
                 for address in (destination, self.net.destination6)]
        for result in run_json_all(self.net, [
                ([address, "-p%d" % server.port], how)
                for server, (address, how) in zip(servers, whats)]):
            self.assert_verdict(result, "open", 0)
        # Before the server asks again, after a second, and is told so.
        for _ in range(3):
            time.sleep(0.25)
            left = [self.net.half_open(self.net.server, server.port)
                    for server in servers]
            if not any(left):
                break
        self.assertEqual(left, [0] * 4)
        self.assertEqual([server.accepts() for server in servers], [1] * 4)

    def test_neighbour_and_own_address_see_one_connection_too(self):
        self.make(routers=1)
        server = self.serve("tcp", port=8010)
        for ns in (self.net.client, self.net.server):
            before = server.accepts()
            status, out, err = self.net.run(ns, [
                sys.executable, SCRIPT, "-n", "-p8010",
                self.net.destination])
            self.assertEqual(status, 0, err)
            time.sleep(0.25)
            self.assertEqual(server.accepts() - before, 1)

    def test_interrupt_at_any_moment_leaves_nothing_half_open(self):
        destination = self.make(routers=6, delay=0.1)
        self.serve("tcp", port=8020)
        printed = 0
        for number, pause in enumerate((0, 0.03, 0.08, 0.15, 0.2, 0.25, 0.4,
                                        0.6)):
            process = self.net.popen(
                self.net.client, [sys.executable, SCRIPT, "-n", destination,
                                  "-p8020"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                privileged=bool(number % 2))
            process.stdout.readline()       # the header: it has begun
            time.sleep(pause)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            self.assertEqual(err, b"")
            if process.returncode == 130:   # and not ready before that
                self.assertIn(b"Interrupted", out)
                printed += 1
            else:
                self.assertIn(b"is open", out)
        time.sleep(0.4)
        self.assertGreater(printed, 1)
        self.assertEqual(self.net.half_open(self.net.server, 8020), 0)

    def test_interrupt_at_any_wait_inside_a_session_leaves_nothing_open(self):
        """Requests by each ttl, a TLS handshake and --mtu, in one process
        that counts its open files."""
        self.make(routers=4, delay=0.003)
        for port, answer in ((443, b"\x15\3\1\0\2\2\x28"),
                             (444, b"\x16\3\3\x10\0"),
                             (80, b"HTTP/1.0 200 OK\r\n\r\n")):
            self.serve("answer", port=port, banner=answer)
        for first, how in ((0, USER), (8, ROOT)):
            ends = run_module(self.net, "first = %d" % first + """
import os, ssl
def guard(wait, seconds):
    left[0] -= 1
    if left[0] < 0:
        raise KeyboardInterrupt
    return wait(seconds)
def interrupt(words, at):
    left[0] = at
    before = len(os.listdir("/proc/self/fd"))
    tracer = p.Traceroute(destination="192.0.2.7", no_dns=True, guard=guard,
                          banner_wait=0.05, wait_time=0.2, **words)
    try:
        tracer.run()
    except KeyboardInterrupt:
        pass
    found = [each["text"] for each in tracer.results[0].findings]
    return [len(os.listdir("/proc/self/fd")) - before, len(tracer.results),
            tracer.result.verdict, found + [tracer.result.summary]]
os.urandom(1)               # Python 2.7 keeps a file open for it
result, left = [], [-1]
for words in (dict(port=443, tls="app.example"),
              dict(port=444, tls="app.example"),
              dict(port=[80, 443, 81], http="app.example", mtu=True)):
    at, left[0] = first, -1
    while left[0] < 0:          # until it is not interrupted
        end = interrupt(words, at)
        if end[0] or left[0] >= 0:
            result.append(end)
        at += 17
""", **how)
            self.assertEqual([end[:3] for end in ends], [
                [0, 1, "unanswered"], [0, 1, "unanswered"], [0, 3, "open"]])
            said = [" ".join(end[3]) for end in ends]
            for text, port in (("is refused by a TLS alert: ", 0),
                               ("starts a handshake that stalls: ", 1),
                               ("path MTU 1500", 2)):
                self.assertIn("expired with ttl 1-4, answered with the full "
                              "ttl", said[port])
                self.assertIn(text, said[port])
        time.sleep(0.1)
        self.assertEqual([self.net.half_open(self.net.server, port)
                          for port in (443, 444, 80)], [0, 0, 0])

    def test_interrupted_json_is_a_document_with_what_is_known(self):
        destination = self.make(routers=6, delay=0.02, hops={
            3: {"filters": [{"proto": "tcp", "action": "drop"}]}})
        process = self.net.popen(
            self.net.client, [sys.executable, SCRIPT, "-n", destination,
                              "--json"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(1.4)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        document = json.loads(out.decode("ascii"))
        self.assertEqual(document["exit_status"], 130)
        self.assertIsNone(document["traces"][0]["verdict"])
        self.assertEqual(addresses(document["traces"][0]), [
            self.net.hop(1), self.net.hop(2), self.net.hop(3)])

    def test_silent_hops_before_an_open_port_are_no_filter(self):
        destination = self.make(routers=6, delay=0.03, hops={
            2: {"silent": True}, 5: {"silent": True}})
        self.serve("tcp", port=80)
        result = run_json(self.net, destination, "--banner-wait=0")
        self.assert_verdict(result, "open", 0)
        self.assertEqual(addresses(result[1]), [
            self.net.hop(1), None, self.net.hop(3), self.net.hop(4), None,
            self.net.hop(6), destination])
        # Each silent hop was tried three times, at its own ttl.
        tried = [packet.ttl for packet in self.net.captured()
                 if packet.flags == 2]
        self.assertEqual((tried.count(2), tried.count(5)), (3, 3), tried)

    def test_all_routers_silent_still_gives_verdict_and_distance(self):
        destination = self.make(routers=8, delay=0.01, hops=dict(
            (k, {"silent": True}) for k in range(1, 9)))
        result = run_json(self.net, destination, "-p81")
        self.assert_verdict(result, "refused", 0)
        self.assertEqual(result[1]["distance"], 9)

    def test_silent_tail_is_folded_unless_verbose(self):
        destination = self.make(routers=9, delay=0.01, hops={
            3: {"filters": [{"proto": "tcp", "action": "drop"}]}})
        plain, verbose, far = lab.trace_several(self.net, [
            ([destination] + flags, USER) for flags in (
                ["-n", "-w0.6"], ["-nv", "-w0.6", "-g2"],
                ["-n", "-w0.5", "-g0", "-m20"])])
        self.assertEqual(plain[0], 1)
        goes_on = "\nTCP port 80 is seen no farther; ICMP echo goes on:\n4\t"
        self.assertIn("\n4-8\t*\ttimed out" + goes_on, plain[1])
        self.assertIn("\n4\t*\ttimed out\n5\t*\ttimed out" + goes_on,
                      verbose[1])
        self.assertIn("\nmechanism: error-queue, unprivileged\nCould not",
                      verbose[1])
        # The host is the tenth: there are no silent hops behind it.
        self.assertIn("\n4-10\t*\ttimed out" + goes_on, far[1])

    def test_answers_beyond_a_gap_are_not_lost(self):
        destination = self.make(routers=12, delay=0.01, hops=dict(
            [(k, {"silent": True}) for k in range(3, 10)] +
            [(11, {"filters": [{"proto": "tcp", "action": "drop"}]})]))
        result = run_json(self.net, destination, "-w1")
        self.assert_verdict(result, "dropped", 1)
        self.assertEqual(result[1]["blocked_after"]["ttl"], 11)

    def test_lost_packets_are_sent_again(self):
        self.serve("tcp", port=80)
        destination = self.make(routers=6, delay=0.01, loss=0.2, seed=5)
        result = run_json(self.net, destination, "--banner-wait=0")
        self.assert_verdict(result, "open", 0)
        # None: all three probes to the hop before it were lost.
        self.assertIn(result[1]["distance"], (7, None))
        destination = self.make(routers=6, delay=0.01, hops={3: {"filters": [
            {"proto": "tcp", "first": 8, "action": "drop"}]}})
        result = run_json(self.net, destination, "--banner-wait=0")
        self.assert_verdict(result, "open", 0)
        self.assertEqual(result[1]["distance"], 7)
        self.assertEqual(addresses(result[1])[:3], [
            self.net.hop(k) for k in (1, 2, 3)])

    def test_rate_limited_last_hop_gets_its_second_chance(self):
        """The first probe finds the bucket empty; one after a second not."""
        destination = self.make(routers=4, delay=0.01, hops={
            3: {"rate": 1, "burst": 1, "filters": [
                {"proto": "tcp", "port": 445, "action": "drop"}]}})
        run_json(self.net, destination, "-p445", "-m3", "-f3", "-w0.2",
                 "-r0")
        self.assertGreater(
            self.net.stats()["routers"][3]["replied"], 0)
        result = run_json(self.net, destination, "-p445")
        self.assert_verdict(result, "dropped", 1)
        self.assertEqual(result[1]["blocked_after"],
                         {"ttl": 3, "address": self.net.hop(3)})

    def test_burst_that_eats_port_unreachables_keeps_the_distance(self):
        """A host with a bucket of few port-unreachables."""
        destination = self.make(routers=3, delay=0.01)
        self.net.sysctl(self.net.server, "net.ipv4.icmp_ratelimit", 1000)
        self.addCleanup(self.net.sysctl, self.net.server,
                        "net.ipv4.icmp_ratelimit", 0)
        for _ in range(2):
            result = run_json(self.net, destination, "-U")
            self.assert_verdict(result, "refused", 0)
            self.assertIn(result[1]["distance"], (4, None))

    def test_host_that_limits_all_its_answers_is_no_forger(self):
        """With the ttl of its refusal it may have none left, and with the
        full ttl one more."""
        destination = self.make(routers=3, delay=0.01, hops={3: {"filters": [
            {"proto": "icmp", "action": "drop"}]}})
        self.net.sysctl(self.net.server, "net.ipv4.icmp_ratelimit", 1000)
        self.addCleanup(self.net.sysctl, self.net.server,
                        "net.ipv4.icmp_ratelimit", 0)
        for flags in (["-U"], ["-p81"], ["-U"], ["-p81"]):
            result = run_json(self.net, destination, *flags)
            self.assert_verdict(result, "refused", 0)

    def test_jitter_does_not_disorder_the_hops(self):
        destination = self.make(routers=8, delay=0.02, jitter=0.04)
        for _, trace in run_json_all(self.net, [
                ([destination] + flags, USER)
                for flags in ([], ["-U"], ["-I"])]):
            self.assertEqual(addresses(trace), [
                self.net.hop(k) for k in range(1, 10)])

    def test_late_and_duplicate_answers_change_nothing(self):
        destination = self.make(routers=4, delay=0.01, hops={
            2: {"late": 0.5}, 3: {"duplicate": 3}})
        calls = [([destination] + flags, how) for how in BOTH
                 for flags in (["-p81"], ["-U"], ["-I"])]
        for _, trace in run_json_all(self.net, calls):
            self.assertIn(hop_at(trace, 2)["address"],
                          (None, self.net.hop(2)))
            self.assertEqual(addresses(trace)[2:], [
                self.net.hop(3), self.net.hop(4), destination])

    def test_strangers_are_nobodys_answer(self):
        destination = self.make(routers=4, delay=0.02, strangers=[
            "wrong_source_port", "wrong_dest_port", "wrong_seq",
            "wrong_echo_id", "wrong_destination", "truncated", "redirect",
            "foreign_echo_reply", "garbage"])
        for address, hop in ((destination, self.net.hop),
                             (self.net.destination6, self.net.hop6)):
            calls = [([address] + flags, how) for how in BOTH
                     for flags in (["-p81"], ["-U"], ["-I"])]
            for result in run_json_all(self.net, calls):
                self.assertEqual(result[0], 0, result)
                self.assertEqual(addresses(result[1]), [
                    hop(k) for k in range(1, 6)])

    def test_every_quoting_style_is_understood(self):
        destination = self.make(routers=6, delay=0.01, hops={
            1: {"quote": 8}, 2: {"quote": 28},
            3: {"labels": [[24001, 5, 0, 1], [16, 0, 1, 1]]},
            4: {"labels": [[24001, 5, 1, 1]], "legacy": True},
            5: {"interface": {"ifindex": 7, "name": "ge-0/0/1"}},
            6: {"quote": "full", "quote_ttl": 0}})
        for address, hop in ((destination, self.net.hop),
                             (self.net.destination6, self.net.hop6)):
            calls = [([address] + flags, how) for how in BOTH for flags in (
                ["-p81"], ["-U"], ["-U", "-P", "61" * 300], ["-I"],
                ["-I", "-P", "62" * 400])]
            for call, (_, trace) in zip(calls, run_json_all(self.net,
                                                            calls)):
                self.assertEqual(addresses(trace), [
                    hop(k) for k in range(1, 8)], call)

    def test_quote_changed_by_a_nat_is_shown_with_a_note(self):
        destination = self.make(routers=4, delay=0.01, hops={
            2: {"quote_dst": "10.99.9.9"}})
        for _, trace in run_json_all(self.net, [
                ([destination] + flags, how) for flags, how in (
                    (["-U"], USER), (["-I"], USER), ([], ROOT))]):
            self.assertEqual(hop_at(trace, 2)["address"], self.net.hop(2))
            self.assertIn("10.99.9.9", hop_at(trace, 2)["notes"][0])

    def test_time_exceeded_from_the_destination_is_no_arrival(self):
        destination = self.make(routers=4, delay=0.01, hops={
            2: {"reply_from": "192.0.2.7"}})
        for _, trace in run_json_all(self.net, [
                ([destination] + flags, USER)
                for flags in (["-p81"], ["-U"], ["-I"])]):
            self.assertEqual(trace["distance"], 5, trace)

    def test_host_that_rejects_by_its_own_firewall(self):
        destination = self.make(routers=2)
        reject = {"proto": "tcp", "port": 99,
                  "action": "icmp_as_destination"}
        for code, verdict, status in ((3, "refused", 0),
                                      (10, "rejected", 1)):
            self.make(routers=2, hops={
                2: {"filters": [dict(reject, icmp=[3, code])]}})
            result = run_json(self.net, destination, "-p99")
            self.assert_verdict(result, verdict, status)
            self.assertEqual(result[1]["responder"], destination)

    def test_udp_port_that_says_nothing_is_silent_if_the_host_is_up(self):
        destination = self.make(routers=3, delay=0.01)
        self.serve("silent-udp", port=514)
        for result in run_json_all(self.net, [
                ([address, "-U", "-p514", "-w1"], USER)
                for address in (destination, self.net.destination6)]):
            self.assert_verdict(result, "silent", 1)
        self.make(routers=3, delay=0.01, hops={
            2: {"filters": [{"action": "drop"}]}})
        result = run_json(self.net, destination, "-U", "-p514", "-w1")
        self.assert_verdict(result, "dropped", 1)

    def test_routing_loop_beyond_max_hops_is_told(self):
        destination = self.make(routers=30, hops={
            30: {"filters": [{"action": "drop"}]}})
        status, out, _ = run(self.net, destination, "-n", "-w0.5", "-m10")
        self.assertEqual(status, 1)
        self.assertIn("the path is longer than that or loops (see -m)", out)

    def test_closed_stdout_and_head_end_without_a_traceback(self):
        destination = self.make(routers=4)
        command = "%s %s -n %s" % (sys.executable, SCRIPT, destination)
        status, out, err = self.net.run(self.net.client, [
            "sh", "-c", command + " | head -n 1"])
        self.assertEqual((out.count("\n"), err), (1, ""))
        status, out, err = self.net.run(self.net.client, [
            "sh", "-c", command + " >&-; echo status $?"])
        self.assertEqual((out, err), ("status 0\n", ""))

    def test_no_more_files_than_allowed_still_gives_the_verdict(self):
        destination = self.make(routers=6, delay=0.01)
        status, out, err = self.net.run(self.net.client, [
            "sh", "-c", "ulimit -n 12; exec %s %s -n -p81 %s" % (
                sys.executable, SCRIPT, destination)])
        self.assertEqual((status, err), (0, ""))
        self.assertIn("TCP port 81 is closed", out)


class TestContradictions(PathCase):
    """Answers that do not agree, as real networks give them."""

    REJECT_ONE_IN_TWO = {3: {"filters": [       # but not the connection
        {"proto": "tcp", "syn_only": True, "first": 1, "action": "pass"},
        {"proto": "tcp", "chance": 0.5, "action": "reject"}]}}

    def test_firewall_that_rejects_every_other_probe_is_named(self):
        """A balanced pair of firewalls: open, and no distance is made up."""
        self.serve("tcp", port=80)
        for seed in (1, 2, 3, 4):
            destination = self.make(routers=6, delay=0.02, seed=seed,
                                    hops=self.REJECT_ONE_IN_TWO)
            result = run_json(self.net, destination, "--banner-wait=0")
            self.assert_verdict(result, "open", 0)
            self.assertIn(result[1]["distance"], (7, None))
            self.assertIn("10.88.3.1 refused some", result[1]["summary"])

    def test_router_that_prohibits_instead_of_expiring_hides_nothing(self):
        self.serve("tcp", port=80)
        destination = self.make(routers=6, delay=0.05, hops={
            3: {"type": 3, "code": 13}})
        result = run_json(self.net, destination, "-r0", "--banner-wait=0")
        self.assert_verdict(result, "open", 0)
        self.assertEqual(addresses(result[1]), [
            self.net.hop(k) for k in range(1, 8)])

    def limited(self, action):
        """Lets one SYN pass, then acts."""
        return {4: {"filters": [
            {"proto": "tcp", "syn_only": True, "first": 1,
             "action": "pass"},
            {"proto": "tcp", "syn_only": True, "action": action}]}}

    def test_limit_of_one_connection_is_open_at_unknown_distance(self):
        self.serve("tcp", port=80)
        destination = self.make(routers=8, delay=0.01,
                                hops=self.limited("drop"))
        status, out, _ = run(self.net, destination, "-n")
        self.assertEqual(status, 0)
        self.assertIn("\n>4\tTCP port 80 connection successful", out)
        self.assertIn("more than 4 hops away", out)
        self.assertNotIn("*", out)

    def test_reset_nearer_than_an_open_port_is_not_the_destination(self):
        self.serve("tcp", port=80)
        destination = self.make(routers=8, delay=0.01,
                                hops=self.limited("reset"))
        result = run_json(self.net, destination, "--banner-wait=0")
        self.assert_verdict(result, "open", 0)
        self.assertIsNone(result[1]["distance"])
        self.assertIn("a device on the way reset the probe with ttl 5",
                      result[1]["summary"])

    def test_packet_too_big_is_sent_again_in_fragments(self):
        self.serve("echo-udp", port=7)
        destination = self.make(routers=4, delay=0.01, hops={
            3: {"mtu": 1000}})
        result = run_json(self.net, destination, "-U", "-p7", "-P",
                          "61" * 1200)
        self.assert_verdict(result, "answered", 0)

    def test_slow_router_is_given_time_while_others_are_awaited(self):
        self.serve("tcp", port=80)
        destination = self.make(routers=5, delay=0.01, hops={
            2: {"late": 0.15}})
        result = run_json(self.net, destination)
        self.assertEqual(hop_at(result[1], 2)["address"], self.net.hop(2))

    def test_late_answer_is_not_given_to_the_next_probe_of_a_flow(self):
        destination = self.make(routers=4, delay=0.005, hops={
            2: {"late": 0.6}, 3: {"silent": True}})
        result = run_json(self.net, destination, "-U", "-S5000", "-w0.5",
                          "-r0")
        self.assertEqual(addresses(result[1])[2:], [
            None, self.net.hop(4), destination])
        late = hop_at(result[1], 2)
        self.assertIn(late["address"], (None, self.net.hop(2)))
        if late["address"]:         # by a try that was waited for
            self.assertGreater(late["rtt_ms"], 600)

    def test_loss_never_makes_an_exact_distance_wrong(self):
        self.serve("tcp", port=80)
        for seed in range(6):
            destination = self.make(routers=4, delay=0.005, loss=0.2,
                                    seed=seed)
            for result in run_json_all(self.net, [
                    ([destination, "-r0"] + flags, USER)
                    for flags in (["--banner-wait=0"], ["-I"])]):
                self.assertIn(result[1]["distance"], (5, None))

    def test_mapped_address_is_traced_as_ipv4(self):
        self.make(routers=4, delay=0.005)
        result = run_json(self.net, "::ffff:192.0.2.7", "-p81")
        self.assertEqual((result[1]["family"], result[1]["distance"]),
                         (4, 5))

    def test_port_connected_to_itself_is_not_open(self):
        self.make(routers=1)
        result = run_json(self.net, "127.0.0.1", "-S40000", "-p40000")
        self.assert_verdict(result, "refused", 0)

    def test_banner_wait_above_the_wait_does_not_busy_the_processor(self):
        self.serve("tcp", port=80)
        destination = self.make(routers=2)
        status, out, err = self.net.run(self.net.client, [
            sys.executable, "-c", "\n".join([
                "import resource, subprocess, sys",
                "subprocess.call(sys.argv[1:])",
                "used = resource.getrusage(resource.RUSAGE_CHILDREN)",
                "print('cpu %f' % (used.ru_utime + used.ru_stime))"]),
            sys.executable, SCRIPT, "-n", "-w0.2", "--banner-wait=2",
            destination])
        self.assertIn("is open", out)
        self.assertLess(float(out.split("cpu ")[1]), 1.0)

    def test_unwritable_stderr_does_not_end_the_trace(self):
        destination = self.make(routers=2)
        for redirect in ("2>/dev/full", "2>&-"):
            status, out, err = self.net.run(self.net.client, [
                "sh", "-c", "%s %s -nD -p81 %s %s" % (
                    sys.executable, SCRIPT, destination, redirect)])
            self.assertEqual(status, 0, out + err)
            self.assertIn("TCP port 81 is closed", out)


class TestControl(PathCase):
    """Compared with another protocol: who drops it, who really refuses."""

    def filtered(self, k, action, proto="tcp", **more):
        rule = dict(more, proto=proto, action=action)
        return self.make(routers=8, delay=0.01, hops={
            k: {"filters": [rule]}})

    def summary(self, *flags, **how):
        status, trace = run_json(self.net, self.net.destination, *flags,
                                 **how)
        return status, trace["verdict"], trace["summary"]

    def of_both_families(self, *flags):
        """As root and as user; -> [(address, hop function, result)]"""
        what = [(address, hop, how) for how in BOTH for address, hop in (
            (self.net.destination, self.net.hop),
            (self.net.destination6, self.net.hop6))]
        return [(address, hop, result) for (address, hop, _), result in zip(
            what, run_json_all(self.net, [
                ((address,) + flags, how) for address, _, how in what]))]

    def test_dropped_port_is_named_between_two_hops(self):
        self.filtered(4, "drop")
        for address, hop, result in self.of_both_families("-p445", "-w1"):
            self.assert_verdict(result, "dropped", 1)
            trace = result[1]
            self.assertEqual(trace["blocked_after"],
                             {"ttl": 4, "address": hop(4)})
            self.assertEqual(trace["blocked_before"],
                             {"ttl": 5, "address": hop(5)})
            self.assertEqual(trace["summary"], (
                "TCP port 445 is dropped between hop 4 (%s) and hop 5 "
                "(%s): ICMP echo reaches %s, 9 hops away") % (
                    hop(4), hop(5), address))
            self.assertEqual(addresses(trace["control"][0]), [
                hop(k) for k in range(1, 10)])

    def test_dropped_without_ping_sockets_is_compared_by_udp(self):
        self.filtered(4, "drop")
        self.net.ping_group(self.net.client, "1 0")
        self.assertEqual(self.summary("-p445", "-w1"), (1, "dropped", (
            "TCP port 445 is dropped between hop 4 (10.88.4.1) and hop 5 "
            "(10.88.5.1): UDP port 33434 is refused with ttl 9 by 192.0.2.7 "
            "or in its name")))

    def test_dropped_by_the_host_itself_is_named_so(self):
        self.filtered(8, "drop")
        self.assertIn("between hop 8 (10.88.8.1) and 192.0.2.7 itself",
                      self.summary("-p445", "-w1")[2])

    def test_hops_silent_to_both_are_not_blamed(self):
        self.make(routers=8, delay=0.01, hops={
            4: {"filters": [{"proto": "tcp", "action": "drop"}]},
            5: {"silent": True}, 6: {"silent": True}})
        self.assertIn("between hop 4 (10.88.4.1) and hop 7 (10.88.7.1)",
                      self.summary("-p445", "-w1")[2])

    def test_path_that_ends_for_all_is_said_to_end(self):
        self.make(routers=8, delay=0.01, hops={
            4: {"filters": [{"action": "drop"}]}})
        status, verdict, text = self.summary("-w1")
        self.assertEqual((status, verdict), (1, "dropped"))
        self.assertIn("dropped after hop 4 (10.88.4.1): nothing else that "
                      "was tried is answered from farther (ICMP echo, UDP "
                      "port 33434, TCP ports 443,22): a firewall there that "
                      "drops all of it, a null route, a host that is off, "
                      "or a broken way back would explain this", text)

    def test_control_on_other_routers_proves_no_pair(self):
        """The control's hop 3 is another router: a balanced path."""
        self.make(routers=8, delay=0.01, hops={
            3: {"balance": ["10.88.3.%d" % k for k in range(1, 60)]},
            4: {"filters": [{"proto": "tcp", "action": "drop"}]}})
        text = self.summary("-w1")[2]
        if "several paths from hop 3 on" in text:
            self.assertIn("dropped after hop 4 (10.88.4.1)", text)
        else:                       # by chance the same one of 59
            self.assertIn("between hop 4", text)

    def test_control_none_compares_with_nothing(self):
        self.filtered(4, "drop")
        status, trace = run_json(self.net, self.net.destination, "-w0.5",
                                 "--control=none")
        self.assertEqual(trace["control"], [])
        self.assertEqual(set(packet.proto for packet in
                             self.net.captured()), set([6]))

    def test_control_asked_for_runs_by_another_port(self):
        server = self.serve("tcp", port=443)
        self.filtered(4, "drop", port=445)
        self.assertIn("between hop 4 (10.88.4.1) and hop 5 (10.88.5.1): TCP "
                      "port 443 is accepted with ttl 9 by 192.0.2.7 or in "
                      "its name",
                      self.summary("-p445", "-w1", "--control=tcp:443")[2])
        self.assertEqual(server.accepts(), 0)       # half-open ones

    def test_open_port_is_checked_by_few_packets_elsewhere(self):
        """ICMP echo and UDP, with the ttl of the answer: no other port."""
        server = self.serve("tcp", port=80)
        for count, how in enumerate(BOTH, 1):
            self.make(routers=3, delay=0.01)
            result = run_json(self.net, self.net.destination,
                              "--banner-wait=0", **how)
            self.assert_verdict(result, "open", 0)
            self.assertNotIn("confirmed", result[1]["summary"])
            self.assertEqual(server.accepts(), count)
            sent = list(self.net.captured())
            self.assertEqual(set(packet.dport for packet in sent
                                 if packet.proto == 6), set([80]))
            others = [packet for packet in sent if packet.proto != 6]
            self.assertEqual(set(packet.proto for packet in others),
                             set([1, 17]))
            self.assertEqual(set(packet.ttl for packet in others),
                             set([4, 64]))
            self.assertLessEqual(len(others), 7)

    def test_open_port_is_not_checked_if_nothing_may_compare(self):
        self.serve("tcp", port=80)
        self.make(routers=3)
        result = run_json(self.net, self.net.destination, "--banner-wait=0",
                          "--control=none")
        self.assert_verdict(result, "open", 0)
        self.assertIn("192.0.2.7, or a device in its name, accepted",
                      result[1]["summary"])
        self.assertIn("which of them is not confirmed", result[1]["summary"])
        self.assertEqual(set(packet.proto for packet in
                             self.net.captured()), set([6]))

    def test_forged_reset_is_not_the_destinations(self):
        self.filtered(4, "reset")
        for address, hop, result in self.of_both_families("-p445"):
            self.assert_verdict(result, "reset", 1)
            self.assertEqual(result[1]["blocked_after"],
                             {"ttl": 4, "address": hop(4)})
            which = "" if result[1]["privileged"] else " or just behind it"
            self.assertIn("by a device at hop 4 (%s)%s, not by %s" % (
                hop(4), which, address), result[1]["summary"])

    def test_forged_reset_with_an_odd_ttl_leaves_two_places(self):
        self.make(routers=8, delay=0.01, hops={4: {"filters": [
            {"proto": "tcp", "port": 445, "action": "reset", "ttl": 77}]}})
        for result in run_json_all(self.net, [
                ([self.net.destination, "-p445"], how) for how in BOTH]):
            self.assert_verdict(result, "reset", 1)
            self.assertIn("by a device at hop 4 (%s) or just behind it, not "
                          "by %s" % (self.net.hop(4), self.net.destination),
                          result[1]["summary"])

    def test_forged_reset_before_silent_routers_is_found_by_the_full_ttl(self):
        """With the ttl of the reset nothing else is answered."""
        self.make(routers=8, delay=0.01, hops={
            4: {"filters": [{"proto": "tcp", "port": 445,
                             "action": "reset"}]},
            5: {"silent": True}, 6: {"silent": True}})
        for how in BOTH:
            result = run_json(self.net, self.net.destination, "-p445", **how)
            self.assert_verdict(result, "reset", 1)
            self.assertIn("by a device at hop 4 (10.88.4.1)",
                          result[1]["summary"])
            self.assertIn("ICMP echo gets on to hop 7 (10.88.7.1)",
                          result[1]["summary"])
            self.assertIsNone(result[1]["distance"])

    def test_forged_port_unreachable_is_a_rejection_on_the_way(self):
        for proto, flags in (("tcp", []), ("udp", ["-U"])):
            self.filtered(4, "icmp_as_destination", proto, port=99)
            result = run_json(self.net, self.net.destination, "-p99", *flags)
            self.assert_verdict(result, "rejected", 1)
            self.assertIn("by a device at hop 4 (10.88.4.1) or just behind "
                          "it, in the name of 192.0.2.7",
                          result[1]["summary"])

    def test_honest_refusal_stays_one_at_every_distance(self):
        for routers in (1, 3, 8):
            self.make(routers=routers, delay=0.01)
            for result in run_json_all(self.net, [
                    ([self.net.destination] + flags, how) for how in BOTH
                    for flags in (["-p81"], ["-U"])]):
                self.assert_verdict(result, "refused", 0)
                self.assertEqual(result[1]["distance"], routers + 1)

    def test_honest_refusal_of_a_host_without_echo_or_udp(self):
        self.make(routers=4, delay=0.01, hops={4: {"filters": [
            {"proto": "icmp", "action": "drop"},
            {"proto": "udp", "action": "drop"}]}})
        result = run_json(self.net, self.net.destination, "-p81")
        self.assert_verdict(result, "refused", 0)

    def test_dropped_udp_port_is_not_called_silent(self):
        self.filtered(4, "drop", "udp", port=53)
        result = run_json(self.net, self.net.destination, "-U", "-p53",
                          "-w1")
        self.assert_verdict(result, "dropped", 1)
        self.assertEqual(result[1]["blocked_before"]["ttl"], 5)

    def test_service_for_one_connection_blames_no_device(self):
        """nc -l: the listener is closed once the connection is there."""
        self.make(routers=4, delay=0.01)
        process = self.net.popen(self.net.server, [
            sys.executable, "-c", "\n".join([
                "import socket, sys",
                "listener = socket.socket()",
                "listener.bind(('', 8099))",
                "listener.listen(1)",
                "sys.stdout.write('up\\n')",
                "sys.stdout.flush()",
                "peer, _ = listener.accept()",
                "listener.close()",
                "peer.recv(1)", "peer.close()"])], stdout=subprocess.PIPE)
        self.addCleanup(lab.close_process, process)
        process.stdout.readline()
        result = run_json(self.net, self.net.destination, "-p8099")
        self.assert_verdict(result, "open", 0)
        self.assertNotIn("device", result[1]["summary"])
        self.assertEqual(result[1]["distance"], 5)


class TestRoundTripTimes(PathCase):

    def test_repeated_syn_is_not_counted(self):
        """1.2 s there and back: the kernel repeats the SYN after 1 s."""
        destination = self.make(routers=2, delay=0.6)
        self.serve("tcp", port=80)
        _, trace = run_json(self.net, destination, "-w3",
                            "--banner-wait=0")
        times = [hop["rtt_ms"] for hop in trace["hops"]]
        self.assertEqual(trace["distance"], 3)
        known = [(time_ms, true) for time_ms, true in
                 zip(times, (600, 1200, 1200)) if time_ms is not None]
        self.assertGreater(len(known), 1)   # under load one may be lost
        for time_ms, true in known:
            self.assertLess(abs(time_ms - true), 100, times)

    def test_repeated_syn_quoted_too_short_gives_no_time(self):
        destination = self.make(routers=2, delay=0.6, hops={
            1: {"late": 0.6, "quote": 8}, 2: {"quote": 8}})
        _, trace = run_json(self.net, destination, "-w3", "-p81")
        for hop in trace["hops"]:
            self.assertIn(hop["outcome"], ("time-exceeded", "refused"))
            if hop["rtt_ms"] is not None:
                self.assertLess(abs(hop["rtt_ms"] - 1200), 100)

    def test_first_lost_syn_does_not_add_its_second(self):
        destination = self.make(routers=2, delay=0.02, hops={
            1: {"filters": [{"proto": "tcp", "port": 80, "first": 1,
                             "action": "drop"}]}})
        self.serve("tcp", port=80)
        _, trace = run_json(self.net, destination, "--banner-wait=0")
        self.assertEqual(trace["verdict"], "open")
        # By the kernel; below 5 ms it is not known.
        self.assertLess(trace["rtt_ms"] or 0, 900)


class TestMechanisms(PathCase):
    """Each way of hearing answers, forced."""

    def trace(self, mechanism, method, port, how, address=None):
        return run_module(self.net, (
            "result = p.trace(%r, %r, %r, mechanism=%r, no_dns=True, "
            "banner_wait=0).as_dict()") % (
                address or self.net.destination, port, method, mechanism),
            **how)

    def test_raw_socket_alone_carries_all_answers(self):
        self.make(routers=4, delay=0.01, hops={
            3: {"filters": [{"port": 445, "action": "reject"}]}})
        self.serve("tcp", port=80)
        for address, hop in ((self.net.destination, self.net.hop),
                             (self.net.destination6, self.net.hop6)):
            for method, port, verdict in (
                    ("tcp", 80, "open"), ("tcp", 81, "refused"),
                    ("udp", 33434, "refused"), ("icmp", None, "answered")):
                trace = self.trace("raw-socket", method, port, ROOT,
                                   address)
                self.assertEqual(
                    (trace["verdict"], trace["mechanism"], addresses(trace)),
                    (verdict, "raw-socket", [hop(k) for k in range(1, 6)]))
            for method in ("tcp", "udp"):
                trace = self.trace("raw-socket", method, 445, ROOT, address)
                self.assertEqual((trace["verdict"], trace["responder"]),
                                 ("rejected", hop(3)))

    def test_raw_socket_alone_ignores_strangers(self):
        self.make(routers=4, delay=0.01, strangers=[
            "wrong_source_port", "wrong_dest_port", "wrong_echo_id",
            "truncated", "redirect", "foreign_echo_reply", "garbage"])
        for method, port in (("tcp", 81), ("udp", 33434), ("icmp", None)):
            trace = self.trace("raw-socket", method, port, ROOT)
            self.assertEqual(addresses(trace), [
                self.net.hop(k) for k in range(1, 6)])

    def test_raw_socket_without_privilege_is_refused_with_the_cure(self):
        code = ("try:\n    p.trace('192.0.2.7', mechanism='raw-socket')\n"
                "except p.RunError as error:\n    result = str(error)")
        self.assertIn("CAP_NET_RAW", run_module(self.net, code))

    def test_without_either_distance_and_verdict_are_still_found(self):
        """A kernel before 5.8 and no root: errno is all there is."""
        self.make(routers=4, delay=0.01)
        self.serve("tcp", port=80)
        for port, verdict in ((80, "open"), (81, "refused")):
            trace = self.trace("connect", "tcp", port, USER)
            self.assertEqual((trace["verdict"], trace["distance"]),
                             (verdict, 5))
            self.assertEqual(addresses(trace)[:4], [None] * 4)
            self.assertEqual(trace["mechanism"], "connect")
        out = run_module(self.net, """
import io
t = p.Traceroute(destination="192.0.2.7", port=81, no_dns=True,
                 mechanism="connect")
result = [str(hop) for hop in t] + [t.why]
""")
        self.assertIn("address not visible", out[0])
        self.assertIn("does not show", out[-1])
        self.assertIn("root", out[-1])

    def test_without_either_a_router_that_rejects_is_not_refused(self):
        for icmp in ([3, 3], [3, 13]):
            self.make(routers=4, delay=0.01, hops={
                3: {"filters": [{"proto": "tcp", "action": "reject",
                                 "icmp": icmp}]}})
            trace = self.trace("connect", "tcp", 80, USER)
            self.assertIn(trace["verdict"], ("rejected", "unreachable"))
            self.assertFalse(trace["reached"])

    def test_witness_adds_the_quoted_header_and_the_ttl_of_a_reset(self):
        self.make(routers=4, delay=0.01, hops={2: {"rewrite_tos": 40}})
        status, trace = run_json(self.net, self.net.destination, "-p81",
                                 **ROOT)
        self.assertEqual([hop["probes"][0]["quoted_tos"]
                          for hop in trace["hops"][:4]], [0, 0, 40, 40])
        self.assertEqual(trace["hops"][-1]["reply_ttl"], 60)
        status, trace = run_json(self.net, self.net.destination, "-p81")
        self.assertIsNone(trace["hops"][-1]["reply_ttl"])

    def test_ipv6_flow_label_is_constant(self):
        self.make(routers=3)
        run_json(self.net, self.net.destination6, "-p81")
        labels = set(packet.flow_label for packet in self.net.captured()
                     if packet.dport == 81)
        self.assertEqual(len(labels), 1, labels)

    def test_one_source_port_is_one_flow(self):
        self.make(routers=4, delay=0.005)
        for flags in (["-S5005", "-p81"], ["-S5006", "-U"]):
            self.make(routers=4, delay=0.005)
            status, trace = run_json(self.net, self.net.destination, *flags)
            self.assertEqual(addresses(trace), [
                self.net.hop(k) for k in range(1, 6)])
            ports = set(packet.sport for packet in self.net.captured()
                        if packet.dport == trace["port"])
            self.assertEqual(ports, set([int(flags[0][2:])]))

    def test_tos_is_set(self):
        for address in (self.net.destination, self.net.destination6):
            self.make(routers=2)
            run_json_all(self.net, [([address, "-t40"] + flags, USER)
                                    for flags in (["-p81"], ["-U"], ["-I"])])
            tos = set(packet.tos for packet in self.net.captured())
            self.assertEqual(tos, set([40]))

    def test_icmp_probes_keep_their_checksum_constant(self):
        self.make(routers=5)
        run_json(self.net, self.net.destination, "-I")
        sums = set(packet.octets[22:24] for packet in self.net.captured())
        self.assertEqual(len(sums), 1)

    def test_each_hop_is_asked_alone_and_leaves_no_socket(self):
        self.make(routers=4, delay=0.005)
        self.serve("banner", port=25, banner=b"220 hello\r\n")
        result = run_module(self.net, """
import os
os.urandom(1)               # Python 2.7 keeps a file open for it
before = len(os.listdir("/proc/self/fd"))
options, args = p.parse_options(["-n", "--port", "25", "192.0.2.7"])
t = p.Traceroute(options, args[0])
hops = [t.probe(ttl) for ttl in (1, 3, 5, 9)]
u = p.Traceroute(destination="192.0.2.7", method="udp", no_dns=True)
hops += [u.probe(ttl) for ttl in (2, 5)]
result = [[str(h), h.outcome, h.reached, h.final, h.address, h.icmp_type,
           h.ipfields and h.ipfields.ip_source_address,
           h.icmpfields and h.icmpfields.icmp_code,
           h.rxdata and h.rxdata.decode("ascii")] for h in hops]
result.append(len(os.listdir("/proc/self/fd")) - before)
""")
        self.assertEqual(result[0], [
            "1\t10.88.1.1 (10.88.1.1)  ICMP 11/0", "time-exceeded", False,
            False, "10.88.1.1", 11, "10.88.1.1", 0, None])
        self.assertEqual(result[3], [
            "9\tTCP port 25 connection successful, received data: "
            "'220 hello\\r\\n'", "open", True, True, "192.0.2.7", None,
            "192.0.2.7", None, "220 hello\r\n"])
        self.assertEqual(result[5][:4], [
            "5\t192.0.2.7 (192.0.2.7)  ICMP 3/3 [Reached Destination]",
            "port-unreachable", True, True])
        self.assertEqual(result[-1], 0)


class TestNames(PathCase):

    def test_dead_resolver_holds_nothing_up_for_long(self):
        """Ten names from a server that never answers, five seconds each."""
        destination = self.make(routers=9, delay=0.01)
        status, out, err = run(
            self.net, destination, "-p81",
            etc={"resolv.conf": "nameserver 10.88.0.99\n"}, timeout=10)
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out.count("\n"), 13)

    def test_all_names_are_asked_for_at_once(self):
        """The first name is known not to exist; of the others nothing is
        ever heard: they are waited for together, not one by one."""
        self.make(routers=9, delay=0.01)
        result = run_module(self.net, """
import time
def lookup(address):
    if address == "10.88.1.1":
        raise OSError("no such name")
    time.sleep(30)
names = p.Names(lookup)
t = p.Traceroute(destination="192.0.2.7", port=81)
t.names = names
began = time.time()
t.run()
result = time.time() - began
""")
        self.assertLess(result, 3)

    def test_no_dns_asks_nobody(self):
        destination = self.make(routers=3)
        run(self.net, destination, "-p81", "-n",
            etc={"resolv.conf": "nameserver 10.88.0.99\n"})
        self.assertEqual([packet for packet in self.net.captured()
                          if packet.dport == 53], [])

    def test_unknown_host_without_a_resolver_is_one_line(self):
        self.make(routers=1)
        status, out, err = run(
            self.net, "no.such.example",
            etc={"resolv.conf": "options timeout:1 attempts:1\n"
                                "nameserver 10.88.0.99\n"})
        self.assertEqual((status, out, err.count("\n")), (2, "", 1))
        self.assertIn("no.such.example", err)


class TestRealServers(PathCase):
    """Debian's own servers behind four routers."""

    def start(self, argv, port, proto):
        process = self.net.popen(self.net.server, argv,
                                 stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT)
        self.addCleanup(lab.close_process, process)
        deadline = time.time() + 10
        while not [1 for entry in self.net.sockets(self.net.server)
                   if entry[:2] == (proto, port)]:
            if process.poll() is not None or time.time() > deadline:
                self.fail("%s did not start: %r" % (
                    argv[0], process.stdout.read()))
            time.sleep(0.05)
        return process

    def need(self, *programs):
        for program in programs:
            if not os.path.exists(program):
                message = "%s is not installed" % program
                if os.environ.get("POTRACEROUTE_REQUIRE_LIVE") == "1":
                    self.fail(message)
                self.skipTest(message)

    def folder(self):
        folder = tempfile.mkdtemp()
        os.chmod(folder, 0o755)
        self.addCleanup(subprocess.call, ["rm", "-rf", folder])
        return folder

    def test_dnsmasq_answers_the_query_of_port_53(self):
        self.need("/usr/sbin/dnsmasq")
        destination = self.make(routers=4, delay=0.01)
        self.start(["/usr/sbin/dnsmasq", "--no-daemon", "--no-resolv",
                    "--no-hosts", "--port=53", "--user=root",
                    "--conf-file=/dev/null", "--pid-file"], 53, "udp")
        for address in (destination, self.net.destination6):
            for how in BOTH:
                result = run_json(self.net, address, "-U", "-p53", **how)
                self.assert_verdict(result, "answered", 0)
                self.assertEqual(result[1]["distance"], 5)
        status, out, _ = run(self.net, destination, "-U", "-p", "domain")
        line = [line for line in out.splitlines() if "received data" in line]
        self.assertTrue(line and line[0].startswith(
            "5\tUDP port 53 responded, received data: "), out)

    def test_knot_answers_the_query_of_port_53(self):
        self.need("/usr/sbin/knotd")
        destination = self.make(routers=4, delay=0.01)
        folder = self.folder()
        path = os.path.join(folder, "knot.conf")
        with open(path, "w") as stream:
            stream.write("server:\n    rundir: %s\n    listen: 0.0.0.0@53\n"
                         "database:\n    storage: %s\n" % (folder, folder))
        self.start(["/usr/sbin/knotd", "-c", path], 53, "udp")
        result = run_json(self.net, destination, "-U", "-p53")
        self.assert_verdict(result, "answered", 0)

    def test_sshd_shows_its_banner(self):
        self.need("/usr/sbin/sshd", "/usr/bin/ssh-keygen")
        if os.geteuid() != 0:
            self.skipTest("sshd needs root for its host key")
        destination = self.make(routers=4, delay=0.01)
        folder = self.folder()
        key = os.path.join(folder, "key")
        subprocess.check_call(["/usr/bin/ssh-keygen", "-q", "-t", "ed25519",
                               "-N", "", "-f", key])
        self.start(["unshare", "-m", "sh", "-c",   # a /run of its own
                    "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && "
                    "exec /usr/sbin/sshd -D -e -f /dev/null -p 22 -h " +
                    key], 22, "tcp")
        for how in BOTH:
            status, out, err = run(self.net, destination, "-n", "-p", "ssh",
                                   **how)
            self.assertEqual(status, 0, out)
            self.assertIn("5\tTCP port 22 connection successful, received "
                          "data: 'SSH-2.0-OpenSSH", out)

    def test_data_is_sent_once_connected(self):
        destination = self.make(routers=2)
        server = self.serve("tcp", port=8080)
        run_json(self.net, destination, "-p8080", "-P", "474554202f0a",
                 "--banner-wait=0.2")
        self.assertEqual(server.payloads(), [b"GET /\n"])


if __name__ == "__main__":
    unittest.main()
