"""The laboratory does what it says: else no live test proves anything."""

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import unittest

import emulator
import lab
import lanes
from lanes import load_tests  # noqa: F401

# Sends one probe and prints the ICMP messages that come, as [[hex, seconds
# since the probe], ...]; a raw socket shows IPv4 headers.
PROBE = r"""
import binascii, json, select, socket, sys, time
method, dest = sys.argv[1:3]
ttl, port, size, expected = [int(word) for word in sys.argv[3:]]
six = ":" in dest
family = socket.AF_INET6 if six else socket.AF_INET
raw = socket.socket(family, socket.SOCK_RAW, 58 if six else 1)
kind = socket.SOCK_STREAM if method == "tcp" else socket.SOCK_DGRAM
probe = raw if method == "icmp" else socket.socket(family, kind)
probe.setsockopt(*(41, 16, ttl) if six else (0, 2, ttl))
began = time.time()
if method == "tcp":
    probe.setblocking(False)
    probe.connect_ex((dest, port))
elif method == "icmp":
    octets = b"\x08\x00\xc5\xc3\x12\x34\x00\x07" + b"\x10\x00" * (size // 2)
    if six:
        octets = b"\x80" + octets[1:]
    probe.sendto(octets, (dest, 0))
else:
    probe.sendto(b"x" * size, (dest, port))
seen = []
patience = 0.2 if expected == 0 else 2
while len(seen) < max(expected, 1):
    if not select.select([raw], [], [], patience)[0]:
        break
    octets = raw.recvfrom(65536)[0]
    if not six or octets[:1] < b"\x80":     # no neighbour discovery
        seen.append([binascii.hexlify(octets).decode(), time.time() - began])
print(json.dumps(seen))
"""

CONNECT = r"""
import socket, sys, time
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
sock = socket.socket(family, socket.SOCK_STREAM)
sock.settimeout(3)
began = time.time()
error = sock.connect_ex((sys.argv[1], int(sys.argv[2])))
took = time.time() - began
print("%s %.6f %s" % (error, took, "" if error else sock.recv(99).decode()))
"""

ERROR_QUEUE = r"""
import select, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(0, 11, 1)
sock.setsockopt(0, 2, int(sys.argv[2]))
sock.sendto(b"hello", (sys.argv[1], 33434))
poll = select.poll()
poll.register(sock, 0)
poll.poll(1000)
data, control, _, _ = sock.recvmsg(512, 512, 0x2000)
print(socket.inet_ntoa(control[0][2][20:24]), data.decode())
"""

REFUSE_UDP = """
table inet lab {
  chain input {
    type filter hook input priority 0;
    udp dport 9 reject
  }
}"""

DROP_ANSWERS = """
table ip lab {
  chain forward {
    type filter hook forward priority 0;
    tcp flags & (syn|ack) == syn|ack drop
  }
}"""


def probe(net, method, dest, ttl, port=33434, size=32, expected=1):
    """The ICMP messages that answer a probe, decoded, with their time."""
    status, out, err = net.run(net.client, [
        sys.executable, "-c", PROBE, method, dest, str(ttl), str(port),
        str(size), str(expected)])
    if status:
        raise AssertionError(err)
    return [Answer(lab.from_hex(text), when, ":" in dest)
            for text, when in json.loads(out)]


class Answer(object):
    """An ICMP message as a raw socket shows it."""

    def __init__(self, octets, when, six):
        self.when = when
        self.packet = None if six else emulator.decode_packet(octets)
        message = octets if six else octets[20:]
        self.message = message
        self.kind = tuple(bytearray(message[:2]))
        self.quoted = emulator.decode_packet(message[8:])
        self.quote = message[8:]


def connect(net, dest, port):
    """errno, seconds and banner of a connection."""
    out = net.run(net.client, [sys.executable, "-c", CONNECT, dest,
                               str(port)])[1]
    error, took, banner = out.rstrip("\n").split(" ", 2)
    return int(error), float(took), banner


class LiveCase(unittest.TestCase):
    own_network = True

    @classmethod
    def setUpClass(cls):
        lab.require_live()


class TestNetwork(LiveCase):
    @classmethod
    def setUpClass(cls):
        super(TestNetwork, cls).setUpClass()
        cls.net = lab.Network()
        cls.net.namespace("here")

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "net"):
            cls.net.close()

    def capabilities(self, **how):
        out = self.net.run(
            "here", ["grep", "Cap", "/proc/self/status"], **how)[1]
        return dict((name, int(value, 16)) for name, value in (
            line.split(":\t") for line in out.splitlines()))

    def test_privileged_program_has_net_raw(self):
        if not self.net.user_namespace:
            self.skipTest("no user namespace: what root lacks is lacking")
        self.assertTrue(self.capabilities()["CapEff"] & 1 << 13)

    def test_unprivileged_program_lacks_net_raw_everywhere(self):
        for name, value in self.capabilities(privileged=False).items():
            self.assertFalse(value & 1 << 13, name)

    def test_program_of_another_user_has_no_capability(self):
        if self.net.highest_id < 65534:
            self.skipTest("no other user exists")
        self.assertEqual(self.capabilities(uid=65534)["CapEff"], 0)
        self.assertEqual(
            self.net.run("here", ["id", "-u"], uid=65534)[1], "65534\n")

    def test_etc_file_is_shown_to_one_program_only(self):
        with open("/etc/hosts") as stream:
            before = stream.read()
        out = self.net.run("here", ["cat", "/etc/hosts"],
                           etc={"hosts": "192.0.2.7 seven\n"})[1]
        self.assertEqual(out, "192.0.2.7 seven\n")
        self.assertEqual(self.net.run("here", ["cat", "/etc/hosts"])[1],
                         before)

    def test_overdue_program_is_killed_with_its_children(self):
        began = time.time()
        status, _, err = self.net.run(
            "here", ["sh", "-c", "sleep 50 & sleep 50"], timeout=0.2)
        self.assertLess(time.time() - began, 5)
        self.assertEqual(status, -signal.SIGKILL)
        self.assertIn("killed after", err)

    def test_input_reaches_the_program(self):
        self.assertEqual(self.net.run("here", ["cat"], input="abc"),
                         (0, "abc", ""))

    def test_missing_program_is_status_127(self):
        status, _, err = self.net.run("here", ["no-such-program"])
        self.assertEqual(status, 127)
        self.assertIn("no-such-program", err)

    def test_ping_group_is_set(self):
        self.net.ping_group("here")
        text = self.net.sysctl("here", "net.ipv4.ping_group_range")
        self.assertEqual(text.split()[0], "0")

    def test_wrong_ip_command_is_an_error(self):
        with self.assertRaises(lab.LabError):
            self.net.ip("here", "link set nothing up")

    def test_udp_server_counts_and_echoes(self):
        code = ("import socket; s = socket.socket(socket.AF_INET6, 2); "
                "s.settimeout(3); s.sendto(b'hi', ('::1', %d)); "
                "print(s.recv(9).decode())")
        server = self.net.serve("here", "echo-udp")
        out = self.net.run(
            "here", [sys.executable, "-c", code % server.port])[1]
        self.assertEqual(out, "hi\n")
        self.assertEqual(server.received(), 1)
        self.assertEqual(server.payloads(), [b"hi"])

    def test_ruleset_is_loaded(self):
        self.net.namespace("filtered")
        self.net.nft("filtered", REFUSE_UDP)
        self.assertEqual(self.net.run(
            "filtered", ["nft", "list", "tables"])[1], "table inet lab\n")


class TestFork(LiveCase):
    """Programs in copies of the holder's process."""

    @classmethod
    def setUpClass(cls):
        super(TestFork, cls).setUpClass()
        cls.net = lab.Network()
        cls.net.namespace("here")
        cls.net.namespace("there")

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "net"):
            cls.net.close()

    def test_forked_program_has_arguments_output_and_no_input(self):
        self.assertEqual(self.net.fork("here", (
            "import os, sys\n"
            "sys.stderr.write('%r' % os.read(0, 9).decode())\n"
            "print(' '.join(sys.argv[1:]))"), ["a b", "c"]),
            (0, "a b c\n", repr(u"")))

    def test_forked_program_ends_with_its_own_status(self):
        for program, status, words in (
                ("", 0, ""), ("raise SystemExit(7)", 7, ""),
                ("raise SystemExit('why')", 1, "why\n"),
                ("import os; os.kill(os.getpid(), 9)", -9, "")):
            self.assertEqual(self.net.fork("here", program),
                             (status, "", words))
        status, _, err = self.net.fork("here", "1 / 0")
        self.assertEqual(status, 1)
        self.assertTrue(err.startswith("Traceback"), err)
        self.assertIn("ZeroDivisionError", err)

    def test_forked_program_is_in_its_namespace_and_a_session_of_its_own(
            self):
        program = ("import os\n"
                   "print(os.readlink('/proc/self/ns/net'))\n"
                   "print(os.getsid(0) == os.getpid())")
        for name in ("here", "there"):
            where = self.net.run(name, ["readlink", "/proc/self/ns/net"])[1]
            self.assertEqual(self.net.fork(name, program),
                             (0, where + "True\n", ""))

    def test_forked_program_without_privilege_has_none(self):
        program = "print(open('/proc/self/status').read())"
        found = {}
        for privileged in (True, False):
            out = self.net.fork("here", program, privileged=privileged)[1]
            found[privileged] = [
                int(line.split()[1], 16) >> 12 & 3
                for line in out.splitlines() if line.startswith("Cap")]
        self.assertEqual(found[False], [0] * len(found[True]))
        if self.net.user_namespace:
            self.assertIn(3, found[True])

    def test_forked_program_has_its_own_etc_files_and_no_module_of_another(
            self):
        program = ("import sys\n"
                   "print(open('/etc/hosts').read(), hasattr(sys, 'mark'))\n"
                   "sys.mark = 1")
        etc = {"hosts": "192.0.2.7 seven\n"}
        for _ in range(2):
            out = self.net.fork("here", program, etc=etc)[1]
            self.assertIn("192.0.2.7 seven", out)
            self.assertIn("False", out)
        self.assertNotIn("seven", self.net.fork("here", program)[1])

    def test_forked_programs_run_at_once_and_answer_in_order(self):
        began = time.time()
        results = self.net.fork_all("here", [
            ("import sys, time; time.sleep(float(sys.argv[1])); "
             "print('x' * int(sys.argv[2]))", [seconds, size], {})
            for seconds, size in (("0.6", "1"), ("0.3", "200000"),
                                  ("0.3", "3"), ("0.6", "4"))])
        self.assertLess(time.time() - began, 1.5)
        self.assertEqual([len(out) for _, out, _ in results],
                         [2, 200001, 4, 5])

    def test_overdue_fork_is_killed_with_its_children(self):
        began = time.time()
        status, _, err = self.net.fork("here", (
            "import os, time\nos.fork()\ntime.sleep(50)"), timeout=0.2)
        self.assertLess(time.time() - began, 5)
        self.assertEqual(status, -signal.SIGKILL)
        self.assertIn("killed after", err)


class TestSideBySide(unittest.TestCase):
    """What happens in a thread is told as if it had happened here."""

    def setUp(self):
        share = os.environ.pop("POTRACEROUTE_SHARE", None)
        if share:
            self.addCleanup(os.environ.__setitem__, "POTRACEROUTE_SHARE",
                            share)

    def test_share_has_each_class_once(self):
        for name in ("TestControl", "TestNotes", "TestMtu"):
            ours = []
            for number in range(3):
                os.environ["POTRACEROUTE_SHARE"] = "%d/3" % number
                ours.append(lanes.is_ours(name))
            del os.environ["POTRACEROUTE_SHARE"]
            self.assertEqual(sorted(ours), [False, False, True])
            self.assertTrue(lanes.is_ours(name))

    def test_every_outcome_is_told_in_the_order_of_the_classes(self):
        class First(unittest.TestCase):
            own_network = True

            def test_a_failure(self):
                time.sleep(0.2)
                self.fail("so be it")

            def test_b_success(self):
                pass

        class Second(unittest.TestCase):
            own_network = True

            @classmethod
            def setUpClass(cls):
                raise ValueError("no network")

            def test_never(self):
                pass

        class Third(unittest.TestCase):
            own_network = True

            def test_error(self):
                raise ValueError("an error")

            def test_skip(self):
                self.skipTest("no need")

        class Fourth(unittest.TestCase):
            own_network = True

            @classmethod
            def setUpClass(cls):
                sys.exit("what unittest lets through")

            def test_never(self):
                pass

        loader = unittest.TestLoader()
        suite = load_tests(loader, unittest.TestSuite([
            loader.loadTestsFromTestCase(case)
            for case in (First, Second, Third, Fourth)]), None)
        self.assertEqual(suite.countTestCases(), 6)
        result = unittest.TestResult()
        suite.run(result)
        self.assertEqual(result.testsRun, 4)
        self.assertEqual([text.splitlines()[-1] for _, text in
                          result.failures + result.errors],
                         ["AssertionError: so be it",
                          "ValueError: no network", "ValueError: an error",
                          "SystemExit: what unittest lets through"])
        self.assertEqual([reason for _, reason in result.skipped],
                         ["no need"])
        self.assertFalse(result.wasSuccessful())

    def test_classes_with_a_network_run_at_once(self):
        meeting = [threading.Event(), threading.Event()]

        def make_case(number):
            class Case(unittest.TestCase):
                own_network = True

                def test_other_comes(self):
                    meeting[number].set()
                    self.assertTrue(meeting[1 - number].wait(10))
            return unittest.TestSuite([Case("test_other_comes")])

        result = unittest.TestResult()
        load_tests(None, [make_case(0), make_case(1)], None).run(result)
        self.assertEqual((result.testsRun, result.wasSuccessful()),
                         (2, True), result.failures)


class TestNothingStaysBehind(LiveCase):
    KEEPER = ("import sys, time; sys.path.insert(0, %r); import lab; "
              "lab.code_folder = lambda: lab.HERE; "   # nobody removes it
              "net = lab.Network(); net.namespace('a'); "
              "p = net.popen('a', ['sleep', '60']); time.sleep(0.3); "
              "print(net._holder.pid, p.pid); sys.stdout.flush(); "
              "time.sleep(60)")

    def test_closed_network_leaves_no_process(self):
        net = lab.Chain(routers=1)
        server = net.serve(net.server, "tcp")
        process = net.popen(net.client, ["sleep", "60"])
        pids = [net._holder.pid, server._child.pid, process.pid]
        net.close()
        for pid in pids:
            self.assertFalse(os.path.exists("/proc/%d" % pid))

    def test_killed_test_process_takes_everything_along(self):
        process = subprocess.Popen(
            [sys.executable, "-c", self.KEEPER % lab.HERE],
            stdout=subprocess.PIPE)
        words = process.stdout.readline().decode().strip("()\n")
        pids = [int(word) for word in words.replace(",", " ").split()]
        process.kill()
        process.stdout.close()
        process.wait()
        deadline = time.time() + 5
        while any(map(is_running, pids)) and time.time() < deadline:
            time.sleep(0.02)
        self.assertEqual([is_running(pid) for pid in pids], [False, False])


def is_running(pid):
    """A process that has not even become a zombie."""
    try:
        with open("/proc/%d/stat" % pid) as stream:
            return stream.read().rpartition(")")[2].split()[0] != "Z"
    except EnvironmentError:
        return False


class TestChain(LiveCase):
    @classmethod
    def setUpClass(cls):
        super(TestChain, cls).setUpClass()
        cls.net = lab.Chain(routers=3)

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "net"):
            cls.net.close()

    def test_router_answers_at_its_ttl(self):
        answer, = probe(self.net, "udp", self.net.destination, 2)
        self.assertEqual(answer.packet.source, self.net.hop(2))
        self.assertEqual(answer.kind, (11, 0))

    def test_router_answers_at_its_hop_limit(self):
        answer, = probe(self.net, "udp", self.net.destination6, 2)
        self.assertEqual(answer.kind, (3, 0))

    def test_destination_is_as_far_as_said(self):
        for ttl, kind in ((self.net.distance - 1, (11, 0)),
                          (self.net.distance, (3, 3))):
            answer, = probe(self.net, "udp", self.net.destination, ttl)
            self.assertEqual(answer.kind, kind)
            self.assertEqual(answer.packet.source, self.net.hop(ttl))

    @unittest.skipUnless(hasattr(socket.socket, "recvmsg"), "no recvmsg")
    def test_error_queue_tells_the_router_without_privilege(self):
        status, out, err = self.net.run(
            self.net.client,
            [sys.executable, "-c", ERROR_QUEUE, self.net.destination, "2"],
            privileged=False)
        self.assertEqual((status, out), (0, self.net.hop(2) + " hello\n"))

    def test_banner_comes_over_both_families(self):
        server = self.net.serve(self.net.server, "banner", banner=b"220 hi")
        for dest in (self.net.destination, self.net.destination6):
            error, _, banner = connect(self.net, dest, server.port)
            self.assertEqual((error, banner), (0, "220 hi"))
        self.assertEqual(server.accepts(), 2)

    def test_half_open_connection_is_counted(self):
        server = self.net.serve(self.net.server, "tcp")
        self.net.nft(self.net.routers[0], DROP_ANSWERS)
        self.net.popen(self.net.client, [
            sys.executable, "-c", CONNECT, self.net.destination,
            str(server.port)], stdout=subprocess.PIPE)
        deadline = time.time() + 3
        while not self.net.half_open(self.net.server, server.port):
            self.assertLess(time.time(), deadline)
            time.sleep(0.01)
        self.assertEqual(server.accepts(), 0)
        self.net.nft(self.net.routers[0], "delete table ip lab")


class TestFaultsOfAChain(LiveCase):
    """Each test breaks a chain of its own."""

    def setUp(self):
        self.net = lab.Chain(routers=4)
        self.addCleanup(self.net.close)

    def sources(self, ttl, ports):
        """Who answers at a ttl, over several flows."""
        return set(answer.packet.source for port in ports for answer in
                   probe(self.net, "udp", self.net.destination, ttl, port))

    def test_filter_acts_on_what_is_forwarded(self):
        web = self.net.serve(self.net.server, "tcp")
        self.net.filter(2, "forward", [
            "tcp dport %d reject with tcp reset" % web.port])
        for dest in (self.net.destination, self.net.destination6):
            self.assertEqual(connect(self.net, dest, web.port)[0], 111)
        self.assertEqual(web.accepts(), 0)

    def test_redirected_port_is_answered_by_the_router(self):
        proxy = self.net.serve(self.net.name_of(2), "banner", banner=b"p")
        self.net.filter(2, "nat", ["tcp dport 80 redirect to :%d" %
                                   proxy.port])
        for dest in (self.net.destination, self.net.destination6):
            self.assertEqual(connect(self.net, dest, 80)[::2], (0, "p"))

    def test_mute_router_sends_nothing_and_forwards(self):
        self.net.mute(2)
        for dest in (self.net.destination, self.net.destination6):
            self.assertEqual(probe(self.net, "udp", dest, 2, expected=0), [])
            answer, = probe(self.net, "udp", dest, 3)
            self.assertEqual(answer.quoted.dest, dest)

    def test_mute_server_answers_no_datagram(self):
        self.net.mute(self.net.server)
        self.assertEqual(probe(self.net, "udp", self.net.destination, 9,
                               expected=0), [])

    def test_branch_gets_some_of_the_flows(self):
        name, address = self.net.add_branch(3)
        ports = range(40000, 40016)
        self.assertEqual(self.sources(3, ports),
                         set([address, self.net.hop(3)]))
        self.assertEqual(self.sources(5, ports),
                         set([self.net.destination]))
        self.net.filter(name, "forward", ["udp dport 40000-40015 drop"])
        heard = [port for port in ports if probe(
            self.net, "udp", self.net.destination, 9, port, expected=0)]
        self.assertTrue(0 < len(heard) < len(ports), heard)

    def test_longer_branch_is_another_distance_to_the_host(self):
        self.net.add_branch(3, length=2)
        ports = range(40000, 40016)
        self.assertEqual(self.sources(4, ports),
                         set(["10.78.2.2", self.net.hop(4)]))
        self.assertEqual(self.sources(5, ports),
                         set([self.net.hop(4), self.net.destination]))


class TestPath(LiveCase):
    @classmethod
    def setUpClass(cls):
        lab.require_tun()
        cls.net = lab.Path(routers=4)
        cls.web = cls.net.serve(cls.net.server, "banner", banner=b"hello")

    @classmethod
    def tearDownClass(cls):
        if hasattr(cls, "net"):
            cls.net.close()

    def only_hop(self, k, **settings):
        """Router k alone behaves in a certain way."""
        self.net.configure(clear=True, routers=4, hops={k: settings})

    def test_connection_goes_through_with_its_delay(self):
        self.net.configure(clear=True, routers=4, delay=0.025)
        for dest in (self.net.destination, self.net.destination6):
            error, took, banner = connect(self.net, dest, self.web.port)
            self.assertEqual((error, banner), (0, "hello"))
            self.assertGreaterEqual(took, 0.05)

    def test_router_answers_with_its_ttl_and_time(self):
        self.net.configure(clear=True, routers=4, delay=0.04)
        for method in ("udp", "tcp", "icmp"):
            answer, = probe(self.net, method, self.net.destination, 3)
            self.assertEqual(answer.packet.source, self.net.hop(3))
            self.assertEqual(answer.kind, (11, 0))
            self.assertEqual(answer.packet.ttl, 253)
            self.assertGreaterEqual(answer.when, 0.059)
            self.assertEqual(answer.quoted.ttl, 1)
            self.assertEqual(answer.quoted.dest, self.net.destination)

    def test_checksums_are_right(self):
        for settings in ({}, {"quote": 8}, {"labels": [[16, 0, 1, 1]]},
                         {"quote_dst": "198.51.100.9"}):
            self.only_hop(2, **settings)
            answer, = probe(self.net, "udp", self.net.destination, 2)
            self.assertEqual(emulator.checksum(answer.message), 0)
            self.assertEqual(emulator.checksum(answer.quote[:20]), 0)

    def test_translated_quote_keeps_a_true_checksum(self):
        for dest, old in (("198.51.100.9", self.net.destination),
                          ("2001:db8:9::1", self.net.destination6)):
            self.only_hop(2, quote_dst=dest)
            answer, = probe(self.net, "udp", old, 2)
            self.assertEqual(answer.quoted.dest, dest)
            datagram = answer.quote[answer.quoted.header_length:]
            pseudo = emulator.pseudo_header(
                answer.quoted.version, answer.quoted.source, dest, 17,
                len(datagram))
            self.assertEqual(emulator.checksum(pseudo + datagram), 0)

    def test_short_quote_is_eight_octets(self):
        self.only_hop(2, quote=8)
        answer, = probe(self.net, "tcp", self.net.destination, 2)
        self.assertEqual(len(answer.quote), 28)

    def test_labels_and_interface_follow_the_padded_quote(self):
        self.only_hop(2, labels=[[24001, 5, 1, 1]], interface={
            "ifindex": 7, "address": "192.0.2.9", "name": "ge-0/0/1",
            "mtu": 1500})
        answer, = probe(self.net, "udp", self.net.destination, 2)
        length, = bytearray(answer.message[5:6])
        self.assertEqual(length * 4, 128)
        extension = answer.quote[128:]
        self.assertEqual(emulator.checksum(extension), 0)
        self.assertEqual(extension[4:12], struct.pack(
            "!HBBI", 8, 1, 1, 24001 << 12 | 5 << 9 | 1 << 8 | 1))
        self.assertEqual(extension[12:], struct.pack(
            "!HBBIHH4sB11sI", 32, 2, 15, 7, 1, 0,
            socket.inet_aton("192.0.2.9"), 12, b"ge-0/0/1", 1500))

    def test_legacy_extension_has_no_length(self):
        self.only_hop(2, labels=[[16, 0, 1, 1]], legacy=True)
        answer, = probe(self.net, "udp", self.net.destination, 2)
        self.assertEqual(answer.message[5:6], b"\0")
        self.assertEqual(len(answer.quote), 128 + 12)

    def test_extension_in_ipv6_counts_eights(self):
        self.only_hop(2, labels=[[16, 0, 1, 1]])
        answer, = probe(self.net, "udp", self.net.destination6, 2)
        self.assertEqual(answer.kind, (3, 0))
        self.assertEqual(answer.message[4:8], b"\x10\0\0\0")

    def test_silent_router_is_silent_and_forwards(self):
        self.only_hop(2, silent=True)
        self.assertEqual(probe(
            self.net, "udp", self.net.destination, 2, expected=0), [])
        self.assertEqual(
            len(probe(self.net, "udp", self.net.destination, 3)), 1)
        self.assertEqual(self.net.stats()["routers"][2]["expired"], 1)

    def test_rate_limit_lets_the_burst_through(self):
        self.only_hop(1, rate=0.1, burst=2)
        seen = [len(probe(self.net, "udp", self.net.destination, 1,
                          expected=number)) for number in (1, 1, 0)]
        self.assertEqual(seen, [1, 1, 0])
        self.assertEqual(self.net.stats()["routers"][1]["limited"], 1)

    def test_duplicates_come(self):
        self.only_hop(1, duplicate=2)
        self.assertEqual(len(probe(
            self.net, "udp", self.net.destination, 1, expected=3)), 3)

    def test_reset_filter_refuses_behind_its_router(self):
        self.only_hop(2, filters=[{"proto": "tcp", "action": "reset"}])
        for dest in (self.net.destination, self.net.destination6):
            self.assertEqual(connect(self.net, dest, self.web.port)[0], 111)
        answer, = probe(self.net, "tcp", self.net.destination, 2)
        self.assertEqual(answer.packet.source, self.net.hop(2))

    def test_accepting_filter_completes_the_handshake_for_the_host(self):
        self.only_hop(2, filters=[{"proto": "tcp", "port": 81,
                                   "action": "accept"}])
        for dest in (self.net.destination, self.net.destination6):
            status, out, _ = self.net.run(self.net.client, [
                sys.executable, "-c", "import socket\n"
                "socket.create_connection((%r, 81), 3)\nprint('yes')" % dest])
            self.assertEqual((status, out), (0, "yes\n"))
        self.assertNotIn("tcp_syn", self.net.stats()["to_server"])

    def test_echoing_filter_answers_for_the_host(self):
        self.only_hop(2, filters=[{"proto": "icmp", "action": "echo"}])
        answer, = probe(self.net, "icmp", self.net.destination, 3)
        self.assertEqual((answer.packet.source, answer.kind),
                         (self.net.destination, (0, 0)))
        self.assertEqual(answer.packet.ttl, 63)
        self.assertEqual(emulator.checksum(answer.message), 0)

    def test_reject_filter_names_its_router(self):
        self.only_hop(2, filters=[{"proto": "udp", "port": 33434,
                                   "action": "reject"}])
        answer, = probe(self.net, "udp", self.net.destination, 3)
        self.assertEqual((answer.packet.source, answer.kind),
                         (self.net.hop(2), (3, 13)))
        answer, = probe(self.net, "udp", self.net.destination, 3, port=9)
        self.assertEqual(answer.packet.source, self.net.hop(3))

    def test_filter_can_speak_as_the_destination(self):
        self.only_hop(2, filters=[{"action": "icmp_as_destination"}])
        answer, = probe(self.net, "udp", self.net.destination, 3)
        self.assertEqual((answer.packet.source, answer.kind),
                         (self.net.destination, (3, 3)))
        self.assertEqual(answer.packet.ttl, 63)

    def test_too_big_packet_is_refused_with_the_mtu(self):
        self.only_hop(2, mtu=1000)
        answer, = probe(self.net, "udp", self.net.destination, 9, size=1200)
        self.assertEqual(answer.kind, (3, 4))
        self.assertEqual(answer.message[4:8], struct.pack("!HH", 0, 1000))

    def test_black_hole_swallows_big_packets(self):
        self.only_hop(2, mtu=700, blackhole=True)
        self.assertEqual(probe(
            self.net, "udp", self.net.destination, 9, size=900,
            expected=0), [])

    def test_strangers_come_before_the_answer(self):
        self.net.configure(clear=True, routers=4, delay=0.01,
                           strangers=sorted(emulator.STRANGERS))
        for method, count in (("udp", 7), ("tcp", 8), ("icmp", 7)):
            seen = probe(self.net, method, self.net.destination, 2,
                         expected=count + 1)
            self.assertEqual(len(seen), count + 1, method)
            self.assertEqual(seen.pop().packet.source, self.net.hop(2))
            self.assertEqual(set(each.packet.source for each in seen), set(
                ["203.0.113.66", self.net.destination]))

    def test_stranger_changes_one_field_of_the_quote(self):
        for name, method, field in (
                ("wrong_source_port", "tcp", "sport"),
                ("wrong_dest_port", "udp", "dport"),
                ("wrong_seq", "tcp", "seq"),
                ("wrong_seq", "icmp", "icmp_seq"),
                ("wrong_echo_id", "icmp", "icmp_id"),
                ("wrong_destination", "udp", "dest")):
            self.net.configure(clear=True, routers=4, delay=0.01,
                               strangers=[name])
            for dest in (self.net.destination, self.net.destination6):
                false, true = [each.quoted for each in probe(
                    self.net, method, dest, 1, expected=2)]
                self.assertEqual(
                    [each for each in (
                        "sport dport seq icmp_seq icmp_id dest").split()
                     if getattr(false, each) != getattr(true, each)],
                    [field])

    def test_quoted_header_shows_what_routers_did(self):
        self.net.configure(clear=True, routers=4, hops={
            1: {"rewrite_tos": 0x28}, 2: {"quote_ttl": 0, "late": 0.05,
                                          "reply_from": "10.1.2.3"}})
        answer, = probe(self.net, "udp", self.net.destination, 2)
        self.assertEqual((answer.quoted.tos, answer.quoted.ttl), (0x28, 0))
        self.assertEqual(answer.packet.source, "10.1.2.3")
        self.assertGreater(answer.when, 0.05)

    def test_filter_may_act_on_the_first_packets_only(self):
        self.only_hop(2, filters=[
            {"proto": "tcp", "syn_only": True, "first": 1, "action": "drop"}])
        error, took, _ = connect(
            self.net, self.net.destination, self.web.port)
        self.assertEqual(error, 0)
        self.assertGreater(took, 0.5)       # the SYN came again
        self.assertEqual(
            self.net.stats()["routers"][2]["filtered"], 1)

    def test_filter_on_the_way_back_hides_the_server(self):
        self.only_hop(2, filters=[
            {"proto": "tcp", "port": self.web.port, "direction": "back",
             "action": "drop"}])
        accepted = self.web.accepts()
        process = self.net.popen(self.net.client, [
            sys.executable, "-c", CONNECT, self.net.destination,
            str(self.web.port)])
        deadline = time.time() + 3
        while not self.net.half_open(self.net.server, self.web.port):
            self.assertLess(time.time(), deadline)
            time.sleep(0.01)
        lab.close_process(process)
        self.assertEqual(self.web.accepts(), accepted)

    def test_balancer_keeps_a_flow_on_one_router(self):
        looks = ["10.88.2.%d" % last for last in range(1, 9)]
        self.only_hop(2, balance=looks)
        sources = [probe(self.net, "icmp", self.net.destination, 2)[0]
                   .packet.source for _ in range(2)]
        self.assertIn(sources[0], looks)
        self.assertEqual(sources[0], sources[1])

    def test_captured_packets_show_what_the_client_sent(self):
        self.net.configure(clear=True, routers=4)
        probe(self.net, "udp", self.net.destination, 3, port=33440)
        packet, = self.net.captured()
        self.assertEqual((packet.ttl, packet.dport, packet.payload),
                         (3, 33440, b"x" * 32))
        self.assertAlmostEqual(packet.time, time.time(), delta=5)

    def test_kernel_hands_out_complete_checksums(self):
        self.net.configure(clear=True, routers=4)
        connect(self.net, self.net.destination, self.web.port)
        for packet in self.net.captured():
            segment = packet.octets[20:]
            pseudo = emulator.pseudo_header(
                4, packet.source, packet.dest, 6, len(segment))
            self.assertEqual(emulator.checksum(pseudo + segment), 0)

    def test_counters_tell_what_reached_the_server(self):
        self.net.configure(clear=True, routers=4)
        probe(self.net, "tcp", self.net.destination, 4, self.web.port)
        self.assertNotIn("tcp_syn", self.net.stats()["to_server"])
        connect(self.net, self.net.destination, self.web.port)
        self.assertEqual(self.net.stats()["to_server"]["tcp_syn"], 1)

    def test_misspelt_setting_is_refused(self):
        with self.assertRaises(ValueError):
            self.net.configure(hops={2: {"silence": True}})


if __name__ == "__main__":
    unittest.main()
