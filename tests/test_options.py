"""The command line and the module's interface, on the loopback only.

What needs more than one host is tested elsewhere, in networks of its own.
No privilege is needed: ICMP echo is skipped where it is not permitted.
"""

import gc
import inspect
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import potraceroute as pt  # noqa: E402

SCRIPT = os.path.join(ROOT, "potraceroute.py")
sys.path.insert(0, os.path.join(ROOT, "tests"))

import lab  # noqa: E402

LOOPBACK = "127.0.0.1"
EVERY_OCTET = b"\x1b[2J" + bytes(bytearray(range(256)))
PATIENCE = "--banner-wait=10"   # a banner that comes ends the wait at once
TIME = re.compile(r"  [0-9]+\.[0-9]{3} ms")

# Arguments, and what the message must name.  Each is refused with one line.
BAD_OPTIONS = (
    (["-P", "zz", LOOPBACK], ("-P", "'zz'", "hex")),
    (["-P", "abc", LOOPBACK], ("-P", "'abc'")),
    (["-I", "-P", "0x41", LOOPBACK], ("-P", "'0x41'")),
    (["-p", "65536", LOOPBACK], ("65536", "65535")),
    (["-p", "0", LOOPBACK], ("port 0:",)),
    (["-p", "-1", LOOPBACK], ("'-1'",)),
    (["-p", "9" * 40, LOOPBACK], ("9" * 40,)),
    (["-p", "no-such-service", LOOPBACK], ("'no-such-service'", "tcp")),
    (["-U", "-p", "no-such-service", LOOPBACK], ("udp",)),
    (["-p", "", LOOPBACK], ("''",)),
    (["-p", "\x1b[31m", LOOPBACK], ("\\x1b[31m",)),
    (["-S", "65536", LOOPBACK], ("-S", "65536")),
    (["-S", "0", LOOPBACK], ("-S", "0")),
    (["-S", "no-such-service", LOOPBACK], ("-S", "'no-such-service'")),
    (["-I", "-p", "80", LOOPBACK], ("-p '80'", "-I")),
    (["-I", "-S", "4000", LOOPBACK], ("-S '4000'", "-I")),
    (["-U", "-I", LOOPBACK], ("-U", "-I")),
    (["-T", "-U", LOOPBACK], ("-T", "-U")),
    (["-I", "-T", LOOPBACK], ("-T", "-I")),
    (["-4", "-6", LOOPBACK], ("-4", "-6")),
    (["a..b"], ("'a..b'",)),
    ([""], ("''",)),
    (["-6", LOOPBACK], ("'127.0.0.1'", "IPv6")),
    (["-4", "::1"], ("'::1'", "IPv4")),
    (["-s", "203.0.113.99", LOOPBACK], ("-s", "'203.0.113.99'")),
    (["-s", "2001:db8::99", LOOPBACK], ("IPv6",)),
    (["-f", "5", "-m", "3", LOOPBACK], ("-f 5", "-m 3")),
    (["-f", "0", LOOPBACK], ("-f 0",)),
    (["-f", "256", "-m", "256", LOOPBACK], ("-f 256",)),
    (["-m", "0", LOOPBACK], ("-m 0",)),
    (["-m", "256", LOOPBACK], ("-m 256",)),
    (["-m", "x", LOOPBACK], ("-m", "'x'")),
    (["-w", "0", LOOPBACK], ("-w 0:",)),
    (["-w", "-1", LOOPBACK], ("-w -1",)),
    (["-w", "nan", LOOPBACK], ("-w nan",)),
    (["-w", "inf", LOOPBACK], ("-w inf",)),
    (["-w", "2s", LOOPBACK], ("-w", "'2s'")),
    (["--banner-wait", "-0.5", LOOPBACK], ("--banner-wait -0.5",)),
    (["--banner-wait", "nan", LOOPBACK], ("--banner-wait nan",)),
    (["-q", "0", LOOPBACK], ("-q 0",)),
    (["-q", "101", LOOPBACK], ("-q 101",)),
    (["-r", "-1", LOOPBACK], ("-r -1",)),
    (["-r", "101", LOOPBACK], ("-r 101",)),
    (["-g", "-1", LOOPBACK], ("-g -1",)),
    (["-g", "256", LOOPBACK], ("-g 256",)),
    (["-N", "0", LOOPBACK], ("-N 0",)),
    (["-N", "513", LOOPBACK], ("-N 513",)),
    (["-t", "256", LOOPBACK], ("-t 256",)),
    (["-t", "-1", LOOPBACK], ("-t -1",)),
    (["--control=x", LOOPBACK], ("--control", "'x'")),
    (["--control=icmp:5", LOOPBACK], ("--control", "'icmp:5'")),
    (["--control=tcp:70000", LOOPBACK], ("--control", "70000")),
    (["--control=udp:", LOOPBACK], ("--control", "'udp:'")),
    (["--control=", LOOPBACK], ("--control", "''")),
    ([], ("HOST",)),
    (["one", "two"], ("HOST", "'one'", "'two'")),
    (["--no-such-option", LOOPBACK], ("--no-such-option",)),
    (["-Z", LOOPBACK], ("-Z",)),
)


class Capture(object):
    """Stands for sys.stdout or sys.stderr."""

    encoding = "ascii"

    def __init__(self):
        self.parts = []

    def write(self, text):
        self.parts.append(text if isinstance(text, str) else str(text))

    def flush(self):
        pass

    @property
    def text(self):
        return "".join(self.parts)


def call_main(*argv):
    """Return (status, stdout, stderr) of main() in this process."""
    out, err = Capture(), Capture()
    old = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = out, err
    try:
        status = pt.main(list(argv))
    finally:
        sys.stdout, sys.stderr = old
    return status, out.text, err.text


def start(words, **more):
    """Return a process of this Python, which is killed after 20 s."""
    environment = dict(os.environ, LC_ALL="C", COLUMNS="80",
                       PYTHONDONTWRITEBYTECODE="1")
    process = subprocess.Popen([sys.executable] + words, cwd=ROOT,
                               env=environment, **more)
    watchdog = threading.Timer(20, process.kill)
    watchdog.daemon = True
    watchdog.start()
    process.watchdog = watchdog
    return process


def finish(process):
    """Return (status, stdout, stderr), each None if it is no pipe."""
    out, err = process.communicate()
    process.watchdog.cancel()
    return tuple([process.returncode] + [
        None if text is None else text.decode("latin-1")
        for text in (out, err)])


def start_compiled(argv, **more):
    """Return a process of the script, compiled before: for many starts."""
    more.setdefault("stdout", subprocess.PIPE)
    return start([lab.compiled("potraceroute")] + list(argv),
                 stderr=subprocess.PIPE, **more)


def run_script(*argv):
    """Return (status, stdout, stderr) of the script run as a command."""
    return finish(start([SCRIPT] + list(argv), stdout=subprocess.PIPE,
                        stderr=subprocess.PIPE))


class Server(object):
    """A TCP service on the loopback that sends a banner, or a UDP one that
    sends `banner` to each datagram; silent if the banner is None."""

    def __init__(self, banner=None, kind=socket.SOCK_STREAM,
                 address=LOOPBACK, listen=True):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self.banner = banner
        self.heard = []
        self.open = True
        self.sock = socket.socket(family, kind)
        self.sock.bind((address, 0))
        self.port = self.sock.getsockname()[1]
        self.thread = None
        if kind == socket.SOCK_STREAM and listen:
            self.sock.listen(16)
        if banner is not None:
            self.sock.settimeout(0.02)
            self.thread = threading.Thread(
                target=self.accept if kind == socket.SOCK_STREAM
                else self.answer)
            self.thread.daemon = True
            self.thread.start()

    def accept(self):
        kept = []
        while self.open:
            try:
                peer, _ = self.sock.accept()
                kept.append(peer)
                peer.sendall(self.banner)
            except (socket.error, socket.timeout):
                pass
        for peer in kept:
            peer.close()

    def answer(self):
        while self.open:
            try:
                data, sender = self.sock.recvfrom(4096)
                self.heard.append(data)
                self.sock.sendto(self.banner, sender)
            except (socket.error, socket.timeout):
                pass

    def close(self):
        self.open = False
        if self.thread:
            self.thread.join()
        self.sock.close()


class LoopbackCase(unittest.TestCase):

    def serve(self, banner=None, **more):
        """Return the port of a service."""
        self.server = Server(banner, **more)
        self.addCleanup(self.server.close)
        return self.server.port

    def refused_port(self):
        """Return a TCP port that is taken, but refuses connections."""
        return self.serve(listen=False)

    def closed_udp_port(self):
        server = Server(kind=socket.SOCK_DGRAM)
        server.close()
        return server.port

    def need_ipv6(self):
        try:
            sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            sock.bind(("::1", 0))
            sock.close()
        except (socket.error, AttributeError):
            self.skipTest("no IPv6 loopback here")


class BadOptionTests(unittest.TestCase):

    def check(self, argv, named, status, out, err):
        self.assertEqual((argv, status, out), (argv, 2, ""))
        self.assertEqual(err.count("\n"), 1, (argv, err))
        self.assertTrue(err.startswith("potraceroute: error: "), err)
        for part in named:
            self.assertIn(part, err)
        self.assertFalse(re.search(r"Traceback|None|(?<![\w.])[bu]'", err),
                         err)
        self.assertTrue(all(" " <= c <= "~" for c in err[:-1]), err)

    def test_bad_options_in_process_give_one_line_and_status_2(self):
        for argv, named in BAD_OPTIONS:
            self.check(argv, named, *call_main(*argv))

    def test_bad_options_of_the_command_give_one_line_and_status_2(self):
        # A process takes its time: the first row of each option will do.
        firsts = [(argv or [""])[0] for argv, _ in BAD_OPTIONS]
        rows = [row for number, row in enumerate(BAD_OPTIONS)
                if firsts.index(firsts[number]) == number]
        self.assertGreater(len(rows), 20)
        while rows:
            several, rows = rows[:6], rows[6:]
            started = [start_compiled(argv) for argv, _ in several]
            for (argv, named), process in zip(several, started):
                self.check(argv, named, *finish(process))

    def test_host_without_an_address_is_named_with_the_reason(self):
        for error in (socket.gaierror(socket.EAI_NONAME, "no such name"),
                      socket.gaierror(socket.EAI_AGAIN, "try again"),
                      UnicodeError("label too long")):
            def getaddrinfo(*args):
                raise error
            self.addCleanup(setattr, socket, "getaddrinfo",
                            socket.getaddrinfo)
            socket.getaddrinfo = getaddrinfo
            status, out, err = call_main("www.example.com")
            self.check([], ("'www.example.com'",), status, out, err)
            if isinstance(error, socket.gaierror):
                self.assertIn(error.args[1], err)

    def test_host_with_no_usable_address_is_refused(self):
        self.addCleanup(setattr, socket, "getaddrinfo", socket.getaddrinfo)
        socket.getaddrinfo = lambda *args: []
        status, out, err = call_main("www.example.com")
        self.check([], ("'www.example.com'",), status, out, err)

    def test_source_port_in_use_is_named(self):
        server = Server()
        try:
            self.check([], ("-S %d" % server.port, "in use"), *call_main(
                "-n", "-S", str(server.port), LOOPBACK))
        finally:
            server.close()


class GoodOptionTests(LoopbackCase):

    def test_decimal_waits_are_taken(self):
        options, _ = pt.parse_options(["-w", "0.25", "--banner-wait", "0.5",
                                       "host"])
        self.assertEqual((options.wait_time, options.banner_wait),
                         (0.25, 0.5))
        options, _ = pt.parse_options(["--wait-time=1.5", "host"])
        self.assertEqual(options.wait_time, 1.5)

    def test_banner_wait_above_the_wait_time_is_taken(self):
        port = self.serve(b"hello")
        status, out, err = call_main(
            "-n", "-w", "0.3", "--banner-wait", "5", "-p", str(port),
            LOOPBACK)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("received data: 'hello'", out)

    def test_wait_time_above_the_banner_wait_is_taken(self):
        port = self.serve()
        status, out, err = call_main(
            "-n", "-w", "5", "--banner-wait", "0", "-p", str(port), LOOPBACK)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("connection successful. [Reached Destination]", out)

    def test_payload_may_hold_spaces_and_capitals(self):
        options, _ = pt.parse_options(["-P", "DE ad", LOOPBACK])
        self.assertEqual(pt.decode_payload(options.payload), b"\xde\xad")
        self.assertIsNone(pt.decode_payload(None))

    def test_defaults_are_those_of_the_design(self):
        options, args = pt.parse_options(["host"])
        self.assertEqual(args, ["host"])
        for name, value in (
                ("first_hop", 1), ("max_hops", 30), ("no_dns", False),
                ("port", None), ("source_ip", None), ("source_port", None),
                ("wait_time", 2.0), ("banner_wait", 0.5), ("udp", False),
                ("icmp", False), ("tcp", False), ("payload", None),
                ("debug", False), ("verbose", False), ("queries", 1),
                ("retries", 2), ("gap_limit", 5), ("tos", 0),
                ("json", False)):
            self.assertEqual((name, getattr(options, name)), (name, value))
        self.assertEqual(pt.Traceroute(options, LOOPBACK).port, 80)
        options, _ = pt.parse_options(["-U", "host"])
        self.assertEqual(pt.Traceroute(options, LOOPBACK).port, 33434)

    def test_option_of_two_spellings_means_the_same(self):
        for short, long_, name, value in (
                ("-f", "--first-hop", "first_hop", "3"),
                ("-m", "--max-hops", "max_hops", "9"),
                ("-p", "--port", "port", "25"),
                ("-s", "--source-ip", "source_ip", "127.0.0.1"),
                ("-S", "--source-port", "source_port", "4000"),
                ("-w", "--wait-time", "wait_time", "1.5"),
                ("-P", "--payload", "payload", "6869"),
                ("-q", "--queries", "queries", "2"),
                ("-r", "--retries", "retries", "0"),
                ("-g", "--gap-limit", "gap_limit", "0"),
                ("-N", "--parallel", "parallel", "4"),
                ("-t", "--tos", "tos", "184")):
            one, _ = pt.parse_options([short, value, "host"])
            two, _ = pt.parse_options([long_ + "=" + value, "host"])
            default, _ = pt.parse_options(["host"])
            self.assertEqual(getattr(one, name), getattr(two, name))
            self.assertNotEqual(getattr(one, name), getattr(default, name))
        for short, long_, name in (
                ("-n", "--no-dns", "no_dns"), ("-U", "--udp", "udp"),
                ("-I", "--icmp", "icmp"), ("-T", "--tcp", "tcp"),
                ("-D", "--debug", "debug"), ("-v", "--verbose", "verbose")):
            for word in (short, long_):
                options, _ = pt.parse_options([word, "host"])
                self.assertIs(getattr(options, name), True)

    def test_options_are_read_from_sys_argv_when_none_are_given(self):
        self.addCleanup(setattr, sys, "argv", sys.argv)
        sys.argv = ["potraceroute.py", "-m", "7", "some.host"]
        options, args = pt.parse_options()
        self.assertEqual((options.max_hops, args), (7, ["some.host"]))


class TextTests(LoopbackCase):
    """Section 3 of the design: everything before the time is fixed."""

    def lines(self, out):
        return [TIME.sub("", line) for line in out.split("\n")]

    def test_text_of_an_open_port_with_a_banner_is_fixed(self):
        port = self.serve(b"220 mail.example.com ESMTP\r\n")
        status, out, err = call_main("-n", PATIENCE, "-p", str(port),
                                     LOOPBACK)
        self.assertEqual(self.lines(out), [
            "TCP traceroute to 127.0.0.1 [127.0.0.1] port %d" % port,
            "1\tTCP port %d connection successful, received data: "
            "'220 mail.example.com ESMTP\\r\\n'" % port,
            "Successfully reached destination",
            "TCP port %d is open: 127.0.0.1 accepted the connection, 1 hop "
            "away" % port, ""])
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(len(TIME.findall(out)), 1)

    def test_text_of_an_open_port_without_a_banner_is_fixed(self):
        port = self.serve()
        status, out, _ = call_main("-n", "--banner-wait", "0.05", "-p",
                                   str(port), LOOPBACK)
        self.assertEqual(self.lines(out)[1], "1\tTCP port %d connection "
                         "successful. [Reached Destination]" % port)
        self.assertEqual(status, 0)

    def test_text_of_a_refused_port_is_fixed(self):
        port = self.refused_port()
        status, out, _ = call_main("-n", "-p", str(port), LOOPBACK)
        lines = self.lines(out)
        self.assertEqual(lines[1:3], [
            "1\tTCP port %d connection refused [Reached Destination]" % port,
            "Successfully reached destination"])
        self.assertTrue(lines[3].startswith("TCP port %d is closed: "
                                            "127.0.0.1 " % port))
        self.assertEqual(status, 0)

    def test_text_of_a_udp_service_that_answers_is_fixed(self):
        port = self.serve(b"\0hi", kind=socket.SOCK_DGRAM)
        status, out, _ = call_main("-n", "-U", "-p", str(port), LOOPBACK)
        self.assertEqual(self.lines(out)[:4], [
            "UDP traceroute to 127.0.0.1 [127.0.0.1] port %d" % port,
            "1\tUDP port %d responded, received data: '\\x00hi'" % port,
            "Successfully reached destination",
            "UDP port %d answered: 3 bytes of data came from 127.0.0.1, "
            "1 hop away" % port])
        self.assertEqual(status, 0)

    def test_text_of_a_closed_udp_port_is_fixed(self):
        port = self.closed_udp_port()
        status, out, _ = call_main("-n", "-U", "-p", str(port), LOOPBACK)
        self.assertEqual(self.lines(out)[1], "1\t127.0.0.1 (127.0.0.1)  "
                         "ICMP 3/3 [Reached Destination]")
        self.assertEqual(status, 0)

    def test_text_over_ipv6_is_the_same(self):
        self.need_ipv6()
        port = self.serve(b"hi", address="::1")
        status, out, _ = call_main("-n", PATIENCE, "-p", str(port), "::1")
        self.assertEqual(self.lines(out)[:2], [
            "TCP traceroute to ::1 [::1] port %d" % port,
            "1\tTCP port %d connection successful, received data: 'hi'"
            % port])
        self.assertEqual(status, 0)
        port = self.closed_udp_port()
        status, out, _ = call_main("-n", "-U", "-p", str(port), "::1")
        self.assertEqual(self.lines(out)[1],
                         "1\t::1 (::1)  ICMP 1/4 [Reached Destination]")

    def test_text_of_icmp_has_its_own_header(self):
        status, out, err = call_main("-n", "-I", LOOPBACK)
        if status == 2:
            self.assertIn("ping_group_range", err)
            self.skipTest("ICMP echo is not permitted here")
        self.assertEqual(self.lines(out)[:3], [
            "ICMP traceroute to 127.0.0.1 [127.0.0.1]",
            "1\t127.0.0.1 (127.0.0.1) ICMP echo reply [Reached Destination]",
            "Successfully reached destination"])

    def test_text_of_a_silent_udp_service_is_no_success(self):
        port = self.serve(kind=socket.SOCK_DGRAM)
        status, out, _ = call_main("-n", "-U", "-w", "0.3", "-m", "2", "-p",
                                   str(port), LOOPBACK)
        self.assertEqual(status, 1)
        self.assertIn("\nCould not reach destination\n", out)
        self.assertNotIn("Successfully", out)

    def test_text_of_a_hostile_banner_is_printable_ascii(self):
        port = self.serve(EVERY_OCTET)
        status, out, _ = call_main("-n", PATIENCE, "-p", str(port), LOOPBACK)
        self.assertEqual(status, 0)
        self.assertTrue(all(c in "\t\n" or " " <= c <= "~" for c in out))
        self.assertEqual(len(out.split("\n")), 5)
        self.assertIn("'\\x1b[2J\\x00\\x01\\x02", out)

    def test_text_of_a_hostile_name_is_printable_ascii(self):
        self.addCleanup(setattr, socket, "gethostbyaddr",
                        socket.gethostbyaddr)
        self.addCleanup(setattr, socket, "getnameinfo", socket.getnameinfo)
        socket.gethostbyaddr = lambda address: ("a\x1b[2J\xff\n", [], [])
        socket.getnameinfo = lambda *args: ("a\x1b[2J\xff\n", "0")
        port = self.closed_udp_port()
        for argv in (["-v"], ["--json"]):
            status, out, _ = call_main("-U", "-p", str(port), LOOPBACK,
                                       *argv)
            self.assertEqual(status, 0)
            self.assertTrue(all(c in "\t\n" or " " <= c <= "~"
                                for c in out), out)

    def test_text_when_verbose_names_mechanism_and_source(self):
        port = self.refused_port()
        status, out, _ = call_main("-n", "-v", "-p", str(port), LOOPBACK)
        self.assertEqual(status, 0)
        self.assertIn("mechanism: ", out)
        self.assertIn("from 127.0.0.1\n", out)

    def test_debugging_goes_to_stderr_and_stays_printable(self):
        port = self.serve(b"\xff\x1b", kind=socket.SOCK_DGRAM)
        status, out, err = call_main("-n", "-U", "-D", "-p", str(port),
                                     LOOPBACK)
        plain = call_main("-n", "-U", "-p", str(port), LOOPBACK)[1]
        self.assertEqual(self.lines(out), self.lines(plain))
        self.assertIn("debug: ", err)
        self.assertTrue(all(c == "\n" or " " <= c <= "~" for c in err))

    def test_payload_is_sent_to_a_udp_service_as_it_is(self):
        port = self.serve(b"ok", kind=socket.SOCK_DGRAM)
        status, _, _ = call_main("-n", "-U", "-P", "00ff1b", "-p", str(port),
                                 LOOPBACK)
        self.assertEqual((status, set(self.server.heard)),
                         (0, set([b"\x00\xff\x1b"])))


class ModuleTests(LoopbackCase):
    """Section 5 of the design."""

    def probe(self, *words, **keywords):
        options, args = pt.parse_options(list(words) + ["-n", LOOPBACK])
        return pt.Traceroute(options, args[0], **keywords).probe(1)

    def test_second_run_has_results_of_its_own(self):
        server = socket.socket()
        server.bind((LOOPBACK, 0))
        server.listen(1)
        tracer = pt.Traceroute(destination=LOOPBACK, no_dns=True,
                               port=server.getsockname()[1], banner_wait=0)
        first = tracer.run()
        server.close()
        self.assertEqual([first.verdict, tracer.run().verdict,
                          len(tracer.results)], ["open", "refused", 1])

    def test_old_example_of_an_open_port_works(self):
        port = self.serve(b"220 hello\r\n")
        options, args = pt.parse_options(["--port", str(port), PATIENCE,
                                          LOOPBACK])
        tracer = pt.Traceroute(options, args[0])
        self.assertEqual(
            (tracer.port, tracer.proto, tracer.destination_addr,
             tracer.header),
            (port, "tcp", LOOPBACK,
             "TCP traceroute to 127.0.0.1 [127.0.0.1] port %d" % port))
        hop = tracer.probe(1)
        self.assertEqual((hop.ttl, hop.reached, hop.final, hop.rxdata),
                         (1, True, True, b"220 hello\r\n"))
        self.assertEqual(hop.msg, "TCP port %d connection successful, "
                         "received data: '220 hello\\r\\n'" % port)
        self.assertEqual(str(hop), "1\t" + hop.msg)
        self.assertEqual((hop.outcome, hop.address), ("open", LOOPBACK))
        self.assertGreater(hop.rtt, 0)

    def test_old_example_of_a_refused_port_works(self):
        port = self.refused_port()
        hop = self.probe("-p", str(port))
        self.assertEqual(
            (hop.outcome, hop.reached, hop.final, hop.msg),
            ("refused", True, True, "TCP port %d connection refused "
             "[Reached Destination]" % port))

    def test_old_example_of_a_closed_udp_port_has_ip_and_icmp_fields(self):
        hop = self.probe("-U", "-p", str(self.closed_udp_port()))
        self.assertEqual(hop.ipfields.ip_source_address, LOOPBACK)
        self.assertEqual((hop.icmpfields.icmp_type,
                          hop.icmpfields.icmp_code), (3, 3))
        self.assertEqual((hop.icmp_type, hop.icmp_code, hop.reached),
                         (3, 3, True))

    def test_old_example_over_ipv6_has_ip_and_icmp_fields(self):
        self.need_ipv6()
        options, _ = pt.parse_options(
            ["-U", "-n", "-p", str(self.closed_udp_port()), "::1"])
        hop = pt.Traceroute(options, "::1").probe(1)
        self.assertEqual(hop.ipfields.ip_source_address, "::1")
        self.assertEqual((hop.icmpfields.icmp_type,
                          hop.icmpfields.icmp_code), (1, 4))

    def test_probe_of_a_udp_service_receives_its_data(self):
        port = self.serve(b"answer", kind=socket.SOCK_DGRAM)
        hop = self.probe("-U", "-p", str(port))
        self.assertEqual((hop.outcome, hop.rxdata, hop.reached),
                         ("data", b"answer", True))

    def test_probe_of_a_silent_service_times_out(self):
        port = self.serve(kind=socket.SOCK_DGRAM)
        hop = self.probe("-U", "-w", "0.1", "-p", str(port))
        self.assertEqual((hop.outcome, hop.address, hop.rtt, hop.reached,
                          str(hop)),
                         ("timeout", None, None, False, "1\t*\ttimed out"))

    def test_probe_by_icmp_gets_an_echo_reply(self):
        try:
            hop = self.probe("-I")
        except OSError as error:
            self.assertIsInstance(error, pt.RunError)
            self.skipTest("ICMP echo is not permitted here")
        self.assertEqual((hop.outcome, hop.address, hop.icmp_type),
                         ("echo-reply", LOOPBACK, 0))

    def test_probe_of_a_ttl_that_there_is_not_is_an_option_error(self):
        options, _ = pt.parse_options(["-n", LOOPBACK])
        for ttl in (0, 256, -1, "x", None):
            self.assertRaises(ValueError,
                              pt.Traceroute(options, LOOPBACK).probe, ttl)

    def test_port_number_of_a_service_is_found(self):
        def getservbyname(name, proto):
            if (name, proto) == ("smtp", "tcp"):
                return 25
            raise socket.error("service/proto not found")

        self.addCleanup(setattr, socket, "getservbyname",
                        socket.getservbyname)
        socket.getservbyname = getservbyname
        tracer = pt.Traceroute(destination=LOOPBACK)
        for port, number in ((443, 443), ("443", 443), ("smtp", 25),
                             (" 80 ", 80), (1, 1), (65535, 65535)):
            self.assertEqual(tracer.portnumber_of(port), number)

    def test_port_that_there_is_not_is_value_error_and_os_error(self):
        tracer = pt.Traceroute(destination=LOOPBACK)
        for port in ("no-such-service", 0, 65536, -1, "", u"\xe9", u"\xb2",
                     u"\u0663", 1.5, None, b"\xff"):
            for caught in (ValueError, OSError, pt.PortError, pt.OptionError,
                           pt.Error):
                self.assertRaises(caught, tracer.portnumber_of, port)
        for caught in (ValueError, OSError):
            self.assertRaises(caught, pt.Traceroute, destination=LOOPBACK,
                              port=70000)

    def test_control_is_what_the_option_says(self):
        silent = self.serve(kind=socket.SOCK_DGRAM)
        refused = Server(listen=False)
        self.addCleanup(refused.close)
        for control, methods in (
                ("none", []), ("tcp:%d" % refused.port, ["tcp"]),
                ("udp:%d" % self.closed_udp_port(), ["udp"])):
            result = pt.trace(LOOPBACK, silent, "udp", no_dns=True,
                              wait_time=0.2, max_hops=1, control=control)
            self.assertEqual([other.method for other in result.control],
                             methods)
            self.assertEqual(all(other.reached for other in result.control),
                             True)
            self.assertEqual(result.verdict,
                             "silent" if methods else "dropped")
            self.assertEqual(len(result.as_dict()["control"]), len(methods))

    def test_control_of_an_open_port_is_not_made(self):
        result = pt.trace(LOOPBACK, self.serve(), no_dns=True,
                          banner_wait=0.01)
        self.assertEqual((result.verdict, result.control), ("open", []))

    def test_port_error_says_what_is_wrong(self):
        try:
            pt.Traceroute(destination=LOOPBACK, port="70000")
        except OSError as error:
            self.assertIn("70000", str(error))
            self.assertFalse(str(error).startswith("["))
        else:
            self.fail("no error")

    def test_options_that_conflict_are_value_errors(self):
        for words in (["-U", "-I"], ["-I", "-p", "80"], ["-f", "9", "-m",
                                                         "3"],
                      ["-P", "zz"], ["-q", "0"], ["-4", "-6"]):
            options, args = pt.parse_options(words + [LOOPBACK])
            self.assertRaises(ValueError, pt.Traceroute, options, args[0])
        self.assertRaises(ValueError, pt.Traceroute, destination=LOOPBACK,
                          method="sctp")
        self.assertRaises(ValueError, pt.Traceroute, destination=LOOPBACK,
                          no_such_option=1)
        self.assertRaises(ValueError, pt.Traceroute)
        self.assertRaises(ValueError, pt.Traceroute, destination="")

    def test_host_that_can_not_be_had_is_an_os_error(self):
        self.addCleanup(setattr, socket, "getaddrinfo", socket.getaddrinfo)

        def getaddrinfo(*args):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")
        socket.getaddrinfo = getaddrinfo
        for caught in (OSError, pt.RunError, pt.Error):
            self.assertRaises(caught, pt.Traceroute, destination="no.host")

    def test_source_address_of_another_host_is_an_os_error(self):
        self.assertRaises(OSError, pt.Traceroute, destination=LOOPBACK,
                          source_ip="203.0.113.99")

    def test_what_the_parser_refuses_exits_with_2(self):
        for words in (["--no-such-option", "h"], ["-m", "x", "h"], [],
                      ["one", "two"], ["-w"]):
            old, sys.stderr = sys.stderr, Capture()
            try:
                pt.parse_options(words)
            except SystemExit as error:
                self.assertEqual((words, error.code), (words, 2))
            else:
                self.fail("%r was accepted" % (words,))
            finally:
                sys.stderr = old

    def test_plain_keywords_make_a_traceroute(self):
        port = self.serve(b"hi")
        with pt.Traceroute(destination=LOOPBACK, port=port, no_dns=True,
                           max_hops=3, banner_wait=10) as tracer:
            hops = list(tracer)
            self.assertEqual([hop.ttl for hop in hops], [1])
            self.assertIsInstance(hops[0], pt.Hop)
            result = tracer.result
        self.assertIsInstance(result, pt.Trace)
        self.assertEqual(
            (result.verdict, result.reached, result.distance,
             result.blocked_after, result.banner, result.exit_status,
             result.hops, result.address),
            ("open", True, 1, None, b"hi", 0, hops, LOOPBACK))

    def test_trace_of_a_host_returns_the_whole_trace(self):
        port = self.refused_port()
        result = pt.trace(LOOPBACK, port, no_dns=True)
        self.assertEqual((result.verdict, result.method, result.port),
                         ("refused", "tcp", port))
        result = pt.trace(LOOPBACK, self.closed_udp_port(), method="udp",
                          no_dns=True)
        self.assertEqual((result.verdict, result.method),
                         ("refused", "udp"))
        self.assertEqual(json.loads(json.dumps(result.as_dict()))["verdict"],
                         "refused")

    def test_trace_of_a_host_probes_port_443_by_default(self):
        arguments = inspect.getargspec(pt.trace) if \
            sys.version_info < (3,) else inspect.getfullargspec(pt.trace)
        self.assertEqual(arguments.args[:3], ["host", "port", "method"])
        seen = []

        class Spy(object):
            def __init__(self, **keywords):
                seen.append((keywords["port"], keywords["method"]))

            def run(self):
                return self

        self.addCleanup(setattr, pt, "Traceroute", pt.Traceroute)
        pt.Traceroute = Spy
        pt.trace(LOOPBACK)
        pt.trace(LOOPBACK, 25)
        self.assertEqual(seen, [(443, "tcp"), (25, "tcp")])

    def test_hops_can_not_be_changed(self):
        hop = self.probe("-p", str(self.refused_port()))
        self.assertRaises(AttributeError, setattr, hop, "ttl", 9)

    def test_options_of_the_caller_are_not_changed_by_keywords(self):
        options, _ = pt.parse_options([LOOPBACK])
        before = dict(vars(options))
        pt.Traceroute(options, LOOPBACK, method="udp", port=9, max_hops=3)
        self.assertEqual(vars(options), before)

    def test_interface_holds_what_it_says(self):
        for name in pt.__all__:
            self.assertTrue(hasattr(pt, name), name)
        for name in ("Traceroute", "Trace", "Hop", "trace", "parse_options",
                     "main"):
            self.assertIn(name, pt.__all__)

    def open_files(self):
        if not os.path.isdir("/proc/self/fd"):
            self.skipTest("open files can not be counted here")
        return len(os.listdir("/proc/self/fd"))

    def test_traces_of_every_kind_leave_no_file_open(self):
        udp = self.closed_udp_port()
        ports = [self.serve(), self.refused_port()]

        def trace_all():
            for port in ports:
                pt.trace(LOOPBACK, port, no_dns=True, banner_wait=0.01)
                for _ in pt.Traceroute(destination=LOOPBACK, port=port,
                                       no_dns=True, banner_wait=0.01):
                    break               # given up half-way
            pt.trace(LOOPBACK, udp, method="udp", no_dns=True)
            with pt.Traceroute(destination=LOOPBACK, port=udp, no_dns=True,
                               method="udp") as tracer:
                tracer.probe(1)
            call_main("-p", "65536", LOOPBACK)
            gc.collect()

        trace_all()
        before = self.open_files()
        for _ in range(5):
            trace_all()
        self.assertEqual(self.open_files(), before)

    def test_traces_change_no_state_of_the_process(self):
        handlers = [signal.getsignal(getattr(signal, name))
                    for name in ("SIGINT", "SIGTERM")]
        timeout = socket.getdefaulttimeout()
        call_main("-n", "-p", str(self.refused_port()), LOOPBACK)
        self.assertEqual([signal.getsignal(getattr(signal, name))
                          for name in ("SIGINT", "SIGTERM")], handlers)
        self.assertEqual(socket.getdefaulttimeout(), timeout)

    def test_trace_in_another_thread_works(self):
        port = self.refused_port()
        statuses = []
        thread = threading.Thread(target=lambda: statuses.append(
            call_main("-n", "-p", str(port), LOOPBACK)[0]))
        thread.start()
        thread.join(20)
        self.assertEqual(statuses, [0])

    def test_resolver_that_is_dead_does_not_hold_up_a_trace(self):
        gate = threading.Event()
        self.addCleanup(gate.set)
        tracer = pt.Traceroute(destination=LOOPBACK, method="udp",
                               port=self.closed_udp_port())
        tracer.names = pt.Names(lookup=lambda address: gate.wait(20))
        tracer.names.LIMIT = 0.05
        hop, = list(tracer)
        self.assertFalse(gate.is_set())
        self.assertEqual((hop.outcome, hop.name), ("port-unreachable", None))

    def test_name_of_a_responder_is_shown(self):
        tracer = pt.Traceroute(destination=LOOPBACK, method="udp",
                               port=self.closed_udp_port())
        tracer.names = pt.Names(lookup=lambda address: "here.example.net")
        hop, = list(tracer)
        self.assertEqual(hop.name, "here.example.net")

    def test_import_opens_nothing_reads_no_arguments_and_is_quiet(self):
        code = "\n".join((
            "import os, select, socket, subprocess, sys, threading",
            "def refuse(*args, **keywords):",
            "    raise SystemExit('the import did something')",
            "class Refused(object):",
            "    __init__ = __getattr__ = refuse",
            "class Argv(list):",
            "    __getitem__ = __iter__ = __len__ = refuse",
            "before = dict(vars(socket))",
            "real = socket.socket",
            "socket.socket = Refused",
            "socket.getaddrinfo = socket.create_connection = refuse",
            "threading.Thread.start = refuse",
            "sys.argv = Argv()",
            "import potraceroute",
            "socket.socket = real",
            "assert potraceroute.__version__"))
        status, out, err = finish(start(["-c", code],
                                        stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE))
        self.assertEqual((status, out, err), (0, "", ""))


class JsonTests(LoopbackCase):

    def load(self, out):
        """Return the one document there is."""
        self.assertTrue(all(c == "\n" or " " <= c <= "~" for c in out), out)
        return json.loads(out)

    def test_json_of_a_success_is_one_document(self):
        port = self.serve(b"220 mail\r\n")
        status, out, err = run_script("-n", "--json", PATIENCE, "-p",
                                      str(port), LOOPBACK)
        document = self.load(out)
        self.assertEqual((status, err), (0, ""))
        for key, value in (
                ("schema", "potraceroute/1"), ("version", pt.__version__),
                ("exit_status", 0)):
            self.assertEqual(document[key], value)
        self.assertEqual(document["command"][-2:], [str(port), LOOPBACK])
        self.assertTrue(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$",
                                 document["started"]))
        self.assertEqual(sorted(document["host"]),
                         ["name", "python", "system"])
        trace, = document["traces"]
        for key, value in (
                ("destination", LOOPBACK), ("address", LOOPBACK),
                ("family", 4), ("method", "tcp"), ("port", port),
                ("source_address", LOOPBACK), ("reached", True),
                ("verdict", "open"), ("distance", 1),
                ("responder", LOOPBACK), ("blocked_after", None),
                ("blocked_before", None), ("banner", "220 mail\r\n"),
                ("error", None), ("findings", [])):
            self.assertEqual((key, trace[key]), (key, value))
        self.assertTrue(trace["rtt_ms"] > 0 and trace["elapsed_ms"] > 0)
        self.assertIn(trace["privileged"], (True, False))
        hop, = trace["hops"]
        for key in ("ttl", "outcome", "address", "name", "rtt_ms",
                    "icmp_type", "icmp_code", "reply_ttl", "labels", "notes",
                    "probes"):
            self.assertIn(key, hop)
        self.assertEqual((hop["ttl"], hop["outcome"], hop["icmp_type"]),
                         (1, "open", None))

    def test_json_of_a_silent_hop_has_nulls(self):
        port = self.serve(kind=socket.SOCK_DGRAM)
        status, out, _ = call_main("-n", "--json", "-U", "-w", "0.2", "-m",
                                   "1", "-p", str(port), LOOPBACK)
        document = self.load(out)
        self.assertEqual((status, document["exit_status"]), (1, 1))
        trace = document["traces"][0]
        self.assertEqual((trace["reached"], trace["rtt_ms"],
                          trace["distance"]), (False, None, None))
        hop = trace["hops"][0]
        self.assertEqual((hop["outcome"], hop["address"], hop["rtt_ms"]),
                         ("timeout", None, None))

    def test_json_after_an_error_is_one_document(self):
        for words in (["-p", "65536", LOOPBACK], ["a..b"],
                      ["-s", "203.0.113.99", LOOPBACK],
                      ["-P", "zz", LOOPBACK]):
            status, out, err = call_main("--json", *words)
            document = self.load(out)
            self.assertEqual((status, document["exit_status"]), (2, 2))
            self.assertEqual(document["traces"], [])
            self.assertIn(document["error"], err)

    def test_json_after_an_error_of_the_parser_is_one_document(self):
        for words in (["-m", "x", LOOPBACK], ["--no-such-option", "h"], []):
            status, out, err = call_main("--json", *words)
            self.assertEqual((status, err.count("\n")), (2, 1))
            self.assertEqual(self.load(out)["exit_status"], 2)

    def test_json_of_a_hostile_banner_holds_every_octet(self):
        port = self.serve(EVERY_OCTET)
        status, out, _ = run_script("-n", "--json", PATIENCE, "-p",
                                    str(port), LOOPBACK)
        self.assertEqual(status, 0)
        self.assertEqual(self.load(out)["traces"][0]["banner"],
                         EVERY_OCTET.decode("latin-1"))

    def test_json_of_a_hostile_command_line_is_valid(self):
        # An octet that is no text, as Python 2 and Python 3 spell it.
        word = b"\xff" if sys.version_info < (3,) else u"\udcff"
        status, out, _ = run_script("--json", "a..b" + word + "\x1b")
        self.assertEqual(status, 2)
        self.assertIn("\\x1b", self.load(out)["command"][-1])

    def test_json_after_an_interrupt_is_one_document(self):
        status, out, err = self.interrupt("--json")
        document = self.load(out)
        self.assertEqual((status, document["exit_status"]), (130, 130))
        self.assertEqual(document["traces"][0]["address"], LOOPBACK)

    def interrupt(self, *words):
        """Return (status, stdout, stderr) of a trace that is interrupted
        while it waits for a banner."""
        if sys.platform == "win32":
            self.skipTest("no SIGINT for another process here")
        server = Server()
        self.addCleanup(server.close)
        process = start([SCRIPT, "-n", "--banner-wait", "15", "-p",
                         str(server.port), LOOPBACK] + list(words),
                        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        server.sock.settimeout(15)
        peer, _ = server.sock.accept()
        process.send_signal(signal.SIGINT)
        result = finish(process)
        peer.close()
        return result

    def test_text_after_an_interrupt_says_what_is_known(self):
        status, out, err = self.interrupt()
        self.assertEqual(status, 130)
        self.assertTrue(out.startswith("TCP traceroute to 127.0.0.1 "), out)
        self.assertNotIn("Traceback", err)


class CommandTests(LoopbackCase):

    def test_version_is_printed(self):
        self.assertEqual(run_script("--version"),
                         (0, pt.__version__ + "\n", ""))
        self.assertEqual(call_main("--version"),
                         (0, pt.__version__ + "\n", ""))

    def test_help_is_printed_with_status_0(self):
        status, out, err = call_main("--help")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(call_main("-h"), (status, out, err))

    def test_script_runs_from_stdin(self):
        port = self.serve(b"hi")
        with open(SCRIPT, "rb") as source:
            status, out, err = finish(start(
                ["-", "-n", PATIENCE, "-p", str(port), LOOPBACK],
                stdin=source,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE))
        self.assertEqual((status, err), (0, ""))
        self.assertIn("received data: 'hi'", out)

    def test_output_closed_early_leaves_no_traceback(self):
        # As `| head -1` does.
        for words in ([], ["-v", "-v"], ["--json"]):
            port = self.serve()
            process = start_compiled(
                ["-n", "--banner-wait", "0.3", "-p", str(port), LOOPBACK] +
                words)
            if "--json" not in words:
                line = process.stdout.readline()
                self.assertTrue(line.startswith(b"TCP traceroute to"))
            process.stdout.close()
            err = process.stderr.read()
            process.stderr.close()
            process.wait()
            process.watchdog.cancel()
            self.assertEqual((words, err), (words, b""))
            self.assertEqual(process.returncode, 0)

    def test_output_closed_from_the_start_leaves_no_traceback(self):
        if not os.path.exists("/bin/sh"):
            self.skipTest("no shell here")
        port = self.refused_port()
        for words in (["-n", "-p", str(port), LOOPBACK],
                      ["-n", "-p", str(port), LOOPBACK, "--json"],
                      ["--help"], ["--version"]):
            process = subprocess.Popen(
                ["/bin/sh", "-c", 'exec "$@" >&-', "sh", sys.executable,
                 lab.compiled("potraceroute")] + words,
                stderr=subprocess.PIPE)
            err = process.communicate()[1]
            self.assertEqual((words, err), (words, b""))
            self.assertEqual((words, process.returncode), (words, 0))

    def test_output_that_nobody_reads_leaves_no_traceback(self):
        for words in (["--help"], ["--version"], ["--json", "a..b"]):
            reading, writing = os.pipe()
            os.close(reading)
            process = start_compiled(words, stdout=writing)
            os.close(writing)
            _, _, err = finish(process)
            self.assertNotIn("Traceback", err)
            self.assertNotIn("Exception", err)

    def test_output_to_a_full_disk_leaves_no_traceback(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        port = self.refused_port()
        with open("/dev/full", "wb") as full:
            _, _, err = finish(start(
                [SCRIPT, "-n", "-p", str(port), LOOPBACK], stdout=full,
                stderr=subprocess.PIPE))
        self.assertNotIn("Traceback", err)
        self.assertNotIn("Exception", err)

    def test_main_returns_the_status_and_does_not_exit(self):
        self.assertEqual(call_main()[0], 2)
        self.assertEqual(call_main("--no-such-option")[0], 2)
        self.assertEqual(
            call_main("-n", "-p", str(self.refused_port()), LOOPBACK)[0], 0)


class FileTests(unittest.TestCase):

    def setUp(self):
        with open(SCRIPT, "rb") as source:
            self.source = source.read()

    def test_file_is_ascii_without_tabs_or_carriage_returns(self):
        self.source.decode("ascii")
        for octet in (b"\t", b"\r", b"\0", b"\x0b", b"\x0c"):
            self.assertNotIn(octet, self.source)
        self.assertTrue(self.source.endswith(b"\n"))
        self.assertFalse(self.source.endswith(b"\n\n"))

    def test_file_has_lines_of_79_columns_at_most(self):
        long_ = [number + 1 for number, line in
                 enumerate(self.source.split(b"\n")) if len(line) > 79]
        self.assertEqual(long_, [])

    def test_file_has_no_blanks_at_the_ends_of_lines(self):
        blank = [number + 1 for number, line in
                 enumerate(self.source.split(b"\n"))
                 if line != line.rstrip()]
        self.assertEqual(blank, [])

    def test_file_starts_with_the_line_that_runs_it(self):
        self.assertTrue(self.source.startswith(b"#!/usr/bin/env python"))


# Section 2 of the design: spellings, metavar, default.
DESIGN_OPTIONS = (
    ("-f", "--first-hop", "N", "1"),
    ("-m", "--max-hops", "N", "30"),
    ("-n", "--no-dns", None, None),
    ("-p", "--port", "PORT", "80 TCP, 33434 UDP"),
    ("-s", "--source-ip", "IP", None),
    ("-S", "--source-port", "PORT", None),
    ("-w", "--wait-time", "SEC", "2"),
    (None, "--banner-wait", "SEC", "0.5"),
    ("-U", "--udp", None, None),
    ("-I", "--icmp", None, None),
    ("-P", "--payload", "HEX", None),
    ("-D", "--debug", None, None),
    ("-v", "--verbose", None, None),
    ("-T", "--tcp", None, None),
    ("-4", None, None, None),
    ("-6", None, None, None),
    ("-q", "--queries", "N", "1"),
    ("-r", "--retries", "N", "2"),
    ("-g", "--gap-limit", "N", "5"),
    ("-N", "--parallel", "N", None),
    ("-t", "--tos", "N", None),
    (None, "--control", "WHAT", "auto"),
    (None, "--json", None, None),
    (None, "--paste", None, None),
    (None, "--version", None, None),
    ("-h", "--help", None, None),
)


def read_help():
    """Return spelling -> (the line's spellings, text) of --help."""
    old = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        out = call_main("--help")[1]
    finally:
        if old is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = old
    table, current = {}, None
    for line in out.split("\n"):
        match = re.match(r" {2,4}(-\S.*?)(?:  +(.*))?$", line)
        if match:
            current = [match.group(1), match.group(2) or ""]
            for word in re.findall(r"--?[A-Za-z0-9][-a-z]*",
                                   match.group(1)):
                table[word] = current
        elif line.startswith(" " * 20) and current:
            current[1] = (current[1] + " " + line.strip()).strip()
        else:
            current = None
    return table


class HelpTests(unittest.TestCase):

    def test_help_has_every_option_of_the_design(self):
        table = read_help()
        for short, long_, metavar, default in DESIGN_OPTIONS:
            for word in (short, long_):
                if word:
                    self.assertIn(word, table)
            spellings, text = table[long_ or short]
            if metavar and short:
                self.assertIn("%s %s" % (short, metavar), spellings)
            if metavar and long_:
                self.assertIn("%s=%s" % (long_, metavar), spellings)
            if not metavar:
                self.assertNotIn("=", spellings)
            if default:
                self.assertIn("default: %s)" % default, text)
            self.assertNotEqual(text, "")

    def test_help_tells_the_default_of_each_option_that_has_one(self):
        table = read_help()
        options, _ = pt.parse_options(["host"])
        for name, value in vars(options).items():
            word = "--" + name.replace("_", "-")
            if word in table and value not in (None, False, True):
                self.assertIn("default: %s)" % str(value).replace(".0", ""),
                              table[word][1])

    def test_help_speaks_in_one_voice(self):
        for spellings, text in read_help().values():
            self.assertFalse(text.endswith("."), text)
            self.assertNotIn("%default", text)
            self.assertFalse(re.match("[A-Z][a-z]", text), text)

    def test_help_ends_with_the_exit_statuses(self):
        out = " ".join(call_main("--help")[1].split())
        end = out[out.index("Exit status"):]
        for status in ("0", "1", "2", "130"):
            self.assertIn(" %s " % status, end)

    def test_readme_table_has_the_options_of_the_help(self):
        path = os.path.join(ROOT, "README.md")
        if not os.path.exists(path):
            self.skipTest("there is no README.md yet")
        with open(path, "rb") as readme:
            text = readme.read().decode("utf-8")
        rows = [line for line in text.split("\n")
                if line.startswith("| `-")]
        found = {}
        for row in rows:
            cell = row.split("|")[1]
            for word in re.findall(r"(?<![\w-])--?[A-Za-z0-9][-a-z]*", cell):
                found[word] = row
        table = read_help()
        self.assertEqual(sorted(found), sorted(table))
        for word, (spellings, about) in table.items():
            default = re.search(r"default: (.*?)\)", about)
            if default:
                for part in default.group(1).split(","):
                    self.assertIn(part.split()[0], found[word])
            for metavar in re.findall(r"[ =]([A-Z]+)\b", spellings):
                self.assertIn(metavar, found[word])


if __name__ == "__main__":
    unittest.main()
