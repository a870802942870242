"""--tls, --http and -P: what becomes of a request inside the session.

Not tested here: certificates that this system's CAs do verify, filters that
act on one branch of a load balancer only, systems other than Linux.
"""

import errno
import os
import socket
import signal
import struct
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
import potraceroute as pt  # noqa: E402
import test_live  # noqa: E402
from test_live import BOTH, ROOT, USER, SCRIPT, run_json_all  # noqa: E402
from test_plan import (  # noqa: E402
    Session, make_request, make_trace, opened, walk)

NAMES = {"hosts": "192.0.2.7 app.example\n2001:db8::7 app6.example\n"
                  "10.77.3.2 chain.example\n"}
QUICK = ("--banner-wait=0", "-w1")
TLS_SERVER = (
    "import ssl, socket, sys, threading\n"
    "context = ssl.SSLContext(ssl.PROTOCOL_SSLv23)\n"
    "context.load_cert_chain(sys.argv[2], sys.argv[4])\n"
    "def serve(sock):\n"
    "    try:\n"
    "        context.wrap_socket(sock, server_side=True).recv(1)\n"
    "    except Exception:\n"
    "        pass\n"
    "def listen(kind, address, port):\n"
    "    sock = socket.socket(kind)\n"
    "    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
    "    sock.bind((address, port))\n"
    "    sock.listen(128)\n"
    "    while True:\n"
    "        thread = threading.Thread(\n"
    "            target=serve, args=sock.accept()[:1])\n"
    "        thread.daemon = True\n"
    "        thread.start()\n"
    "thread = threading.Thread(target=listen, args=(\n"
    "    socket.AF_INET, '', 443))\n"
    "thread.daemon = True\n"
    "thread.start()\n"
    "listen(socket.AF_INET, '', 444)\n")


def make_certificate(folder, *more):
    """Make a self-signed certificate; -> its path and that of its key."""
    key, cert = [os.path.join(folder, name) for name in ("key", "cert")]
    subprocess.check_output(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
         "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out",
         cert, "-days", "30", "-subj", "/O=Corp Proxy/CN=app.example"] +
        list(more), stderr=subprocess.STDOUT)
    return cert, key


def texts(trace):
    """Those of the findings of a Trace, or of one in JSON."""
    findings = trace["findings"] if isinstance(trace, dict) else \
        trace.findings
    return [finding["text"] for finding in findings]


def need_openssl(case):
    try:
        subprocess.check_output(["openssl", "version"])
    except OSError:
        if os.environ.get("POTRACEROUTE_REQUIRE_LIVE") == "1":
            raise AssertionError("openssl is not installed")
        raise unittest.SkipTest("openssl is not installed")


def take(data, at, form):
    return struct.unpack_from("!" + form, data, at)[0]


def parse_hello(data):
    """A strict reader of a ClientHello: -> {extension: octets}."""
    assert data[:3] == b"\x16\x03\x01" and take(data, 3, "H") == \
        len(data) - 5, "record"
    body = data[5:]
    assert body[:2] == b"\x01\x00" and take(body, 2, "H") == len(body) - 4
    body = body[4:]
    assert body[:2] == b"\3\3"
    at = 34 + 1 + take(body, 34, "B")
    ciphers = take(body, at, "H")
    assert ciphers and ciphers % 2 == 0
    at += 2 + ciphers
    assert body[at:at + 2] == b"\1\0"
    at += 2
    assert take(body, at, "H") == len(body) - at - 2
    at += 2
    found = {}
    while at < len(body):
        kind, size = take(body, at, "H"), take(body, at + 2, "H")
        assert kind not in found and at + 4 + size <= len(body)
        found[kind] = body[at + 4:at + 4 + size]
        at += 4 + size
    return found


class TestOctets(unittest.TestCase):

    def test_hello_is_well_formed_and_names_the_host(self):
        found = parse_hello(pt.encode_hello(b"app.example"))
        self.assertEqual(found[0], b"\0\x0e\0\0\x0bapp.example")
        self.assertEqual(len(found[51]), 2 + 4 + 32)
        for kind in (10, 13, 16, 43):
            self.assertIn(kind, found)

    def test_hello_without_a_name_has_no_sni(self):
        self.assertNotIn(0, parse_hello(pt.encode_hello(b"")))

    def test_hello_is_small_and_with_padding_more_than_a_packet(self):
        self.assertLess(len(pt.encode_hello(b"app.example")), 300)
        large = pt.encode_hello(b"app.example", pt.PADDING)
        self.assertGreater(len(large), 1500)
        self.assertEqual(parse_hello(large)[21], b"\0" * pt.PADDING)

    def test_hello_is_new_each_time(self):
        self.assertNotEqual(pt.encode_hello(b"a"), pt.encode_hello(b"a"))

    def test_handshake_that_cannot_connect_says_so_at_once(self):
        values = dict.fromkeys(pt.Target._fields)
        values.update(family=pt.FAMILIES[4], tos=0,
                      sockaddr=("127.255.255.255", 443))    # a broadcast
        method = pt.new_tcp(pt.Port(pt.Aim("tcp", pt.Target(**values), None),
                                    None, 0))
        run = pt.Run.__new__(pt.Run)
        run.engine, run.clock = pt.Engine(), pt.monotonic
        run.options = pt.default_options()
        with self.assertRaises(socket.error) as caught:
            pt.Handshake(run, method, b"a.example", True)
        self.assertIn(caught.exception.errno, (
            errno.ENETUNREACH, errno.EACCES, errno.EHOSTUNREACH))
        self.assertEqual(run.engine.poller.writers, {})

    def test_certificate_is_told_by_subject_issuer_and_last_day(self):
        need_openssl(self)
        folder = tempfile.mkdtemp()
        self.addCleanup(subprocess.call, ["rm", "-rf", folder])
        cert, _ = make_certificate(folder)
        der = subprocess.check_output(
            ["openssl", "x509", "-in", cert, "-outform", "DER"])
        last = subprocess.check_output(
            ["openssl", "x509", "-in", cert, "-noout", "-enddate",
             "-dateopt", "iso_8601"]).decode().split("=")[1][:10]
        name = "'Corp Proxy, app.example'"
        self.assertEqual(pt.decode_certificate(der), (name, name, last))
        for count in range(len(der)):           # cut anywhere
            for word in pt.decode_certificate(der[:count]):
                self.assertTrue(word and "\n" not in word)
            damaged = bytearray(der)
            damaged[count] ^= 0xff
            pt.decode_certificate(bytes(damaged))

    def certificate(self, subject, issuer, last):
        return b"\x30\x82\1\0" + issuer + b"\x30\x1e\x17\r260101000000Z" + \
            last + subject + b"\x30\x59\x30\x13\6\7*\x86H\xce=\2\1" + \
            b"U\4\3\x0c\4junk"

    def test_certificate_of_any_century_keeps_its_year(self):
        for last, day in ((b"\x17\r491231235959Z", "2049-12-31"),
                          (b"\x17\r991231235959Z", "1999-12-31"),
                          (b"\x18\x0f99991231235959Z", "9999-12-31")):
            self.assertEqual(pt.decode_certificate(self.certificate(
                b"U\4\3\x0c\1s", b"U\4\n\x13\1i", last)),
                ("'s'", "'i'", day))

    def test_certificate_with_hostile_names_is_printable_and_bounded(self):
        words = pt.decode_certificate(self.certificate(
            b"", b"U\4\3\x0c\xc8" + b"\x1b[2J\n" * 40,
            b"\x17\r491231235959Z"))
        self.assertEqual(words[0], "''")        # none, not the next "junk"
        self.assertTrue(all(" " <= c <= "~" for c in words[1]))
        self.assertLess(len(words[1]), 500)

    def test_certificate_that_is_absent_is_question_marks(self):
        for data in (None, b"", b"\x30", b"\xff" * 99):
            self.assertEqual(pt.decode_certificate(data), ("?", "?", "?"))


class TestOptions(unittest.TestCase):

    def test_option_without_a_value_does_not_eat_the_host(self):
        for flag in ("tls", "http"):
            options, args = pt.parse_options(["--" + flag, "some.host"])
            self.assertEqual((getattr(options, flag), args),
                             ("", ["some.host"]))
            options, args = pt.parse_options(["some.host", "--" + flag])
            self.assertEqual((getattr(options, flag), args),
                             ("", ["some.host"]))
            options, args = pt.parse_options(["--%s=a.b" % flag, "h"])
            self.assertEqual((getattr(options, flag), args), ("a.b", ["h"]))
            self.assertIsNone(getattr(pt.parse_options(["h"])[0], flag))

    def test_tls_is_for_port_443_unless_told(self):
        for words, port in ((["--tls"], 443), (["--tls", "-p25"], 25),
                            (["--http"], 80), ([], 80)):
            options, _ = pt.parse_options(words + ["127.0.0.1"])
            self.assertEqual(pt.Traceroute(options, "127.0.0.1").port, port)

    def test_bad_combination_is_refused_with_the_cure(self):
        for words in (["--tls", "--http"], ["--tls", "-P00"],
                      ["--http", "-P00"], ["--tls", "-U"], ["--http", "-I"],
                      ["--tls", "-S4000"]):
            options, _ = pt.parse_options(words + ["127.0.0.1"])
            with self.assertRaises(pt.OptionError) as caught:
                pt.Traceroute(options, "127.0.0.1")
            self.assertIn(words[0], str(caught.exception))
        for value in ("a..b", "x" * 64, "a." * 130 + "b"):
            options, _ = pt.parse_options(["--tls=" + value, "127.0.0.1"])
            with self.assertRaises(pt.OptionError) as caught:
                pt.Traceroute(options, "127.0.0.1")
            self.assertIn("host name", str(caught.exception))

    def test_name_asked_for_is_the_hosts_or_the_one_given(self):
        for kind, value, host, name in (
                ("tls", "", "app.example", b"app.example"),
                ("tls", True, "app.example.", b"app.example"),
                ("tls", "x.example", "app.example", b"x.example"),
                ("tls", u"b\xfccher.example", "h",
                 b"xn--bcher-kva.example"),
                ("tls", "", "192.0.2.7", b""), ("tls", "", "fd88::1", b""),
                ("tls", "", "fd88::a", b""),
                ("http", "", "192.0.2.7", b"192.0.2.7")):
            options = pt.default_options(**{kind: value})
            self.assertEqual(pt.choose_request(options, "tcp", host),
                             (kind, name))

    def test_help_shows_that_the_value_may_be_left_out(self):
        process = subprocess.Popen([sys.executable, SCRIPT, "--help"],
                                   stdout=subprocess.PIPE)
        out = process.communicate()[0].decode()
        self.assertIn("--tls[=SNI]", out)
        self.assertIn("--http[=HOST]", out)


TLS = pt.Tls("TLSv1.3", "AES", "'s'", "'i'", "2030-01-01", None)


class TestWords(unittest.TestCase):
    """What is said of a request on an open port, 5 hops away."""

    def trace(self, outcomes, full, reply=None, facts=(), **how):
        request = make_request(outcomes.split(), full, **how)
        request = request._replace(full=request.full._replace(reply=reply),
                                   **dict(facts))
        return make_trace(opened(), walk(4, t5=opened()), request=request)

    def test_request_that_is_lost_names_the_place_if_there_is_one(self):
        for outcomes, full, last, words in (
                ("expired expired silent silent", "silent", None,
                 "swallowed between hop 2 (10.0.2.1) and hop 3 (10.0.3.1)"),
                ("silent silent silent silent", "silent", None,
                 "swallowed between this host and hop 1 (10.0.1.1)"),
                ("expired expired expired expired", "silent", None,
                 "swallowed between hop 4 (10.0.4.1) and hop 5 "
                 "(198.51.100.7)"),
                ("reset reset reset reset", "reset", None,
                 "reset at this host or just behind it"),
                ("expired rejected rejected rejected", "rejected", None,
                 "rejected at hop 1 (10.0.1.1) or just behind it"),
                # A connection that did not come about proves no place.
                ("expired unconnected silent silent", "silent", None,
                 "swallowed on the way"),
                ("expired unconnected reset reset", "reset", None,
                 "reset on the way"),
                ("", "silent", 0, "swallowed on the way, or by the host: "
                 "where is not visible here")):
            trace = self.trace(outcomes, full, last=last)
            self.assertEqual(
                (trace.summary, trace.reached, trace.exit_status),
                ("TLS ClientHello for app.example is %s; TCP port 443 is "
                 "open" % words, False, 1))

    def check(self, verdict, rows):
        """Rows: outcomes by ttl, the full one's; reply, facts; what is said,
        the summary first if it is not that of an open port."""
        for outcomes, full, reply, facts, said in rows:
            how = dict((key, facts.pop(key)) for key in ("kind",)
                       if key in facts)
            trace = self.trace(outcomes, full, reply, facts, **how)
            found = [text for text in texts(trace) if not text.startswith((
                "TLS ClientHello", "HTTP request", "Data of", "Since"))]
            if verdict != "open":
                found.insert(0, trace.summary.partition(
                    " is open; the ")[2])
            self.assertEqual(
                (trace.verdict, trace.exit_status, found),
                (verdict, 0 if verdict == "open" else 1, said))
            self.assertEqual((trace.blocked_after, trace.blocked_before),
                             (None, None))
            self.assertEqual("Since that request no connection comes about: "
                             "a device may have shut us out" in
                             texts(trace), "shut_out" in facts)

    HOP4 = "expired " * 4
    VARIED = [("longer", Session(0, "silent", None, 0)),
              ("other-name", Session(0, "answered", None, 0)),
              ("cut", Session(0, "reset", None, 0))]

    def test_request_that_is_answered_leaves_the_port_open(self):
        hop4 = self.HOP4
        self.check("open", (
            (hop4, "answered", b"HTTP/1.1 503 No", dict(kind="http"),
             ["Answer: 'HTTP/1.1 503 No'"]),
            ("expired expired answered answered", "answered", b"\x16\3",
             dict(tls=TLS), [
                 "With ttl 3 already it is answered: by a device on the "
                 "way, or by 198.51.100.7 on a shorter path",
                 "TLSv1.3, AES; certificate of 's', issued by 'i', valid "
                 "until 2030-01-01; verified"]),
            (hop4, "answered", b"\x16\3", dict(
                tls=TLS._replace(problem="it is too old"), late=True, wait=2),
             ["The first try was acknowledged, but not answered within 2 s: "
              "a second one was",
              "TLSv1.3, AES; certificate of 's', issued by 'i', valid until "
              "2030-01-01; not verified: it is too old"]),
            (hop4, "answered", b"\x15\3", dict(tls=pt.Tls(
                *[None] * 5 + ["bad certificate", "certificate"])),
             ["TLS handshake failed: bad certificate: the server may want a "
              "certificate of the client"]),
            (hop4, "answered", b"\x16\3", dict(tls=pt.Tls(
                *[None] * 5 + ["no module ssl", "unable"])),
             ["TLS handshake failed: no module ssl"]),
            (hop4, "answered", b"", dict(varied=self.VARIED[:1]), [
                "Answer: ''", "The same with 1450 bytes more: silent; "
                "an MTU black hole, or a filter of big requests: try "
                "--mtu"])))

    def test_data_of_p_that_is_not_answered_leaves_the_port_open(self):
        hop4 = self.HOP4
        self.check("open", (
            (hop4, "closed", None, dict(kind="payload"), ["No answer"]),
            (hop4, "acknowledged", None, dict(kind="payload"), [
                "The request has arrived, but nothing answers it in "
                "time"]),
            (hop4, "reset", None, dict(kind="payload", idle=Session(
                0, "reset", None, 0)),
             ["A connection without a request is reset, too"]),
            (hop4, "rejected", None, dict(kind="payload", shut_out=True), [
                "It is rejected by 198.51.100.7, or by a device on the way, "
                "with an ICMP error"])))

    def test_request_that_is_not_answered_has_a_verdict_of_its_own(self):
        hop4, who = self.HOP4, "TLS ClientHello for app.example "
        small = dict(wait=2, small=Session(0, "answered", b"\x16\3", 0))
        self.check("unanswered", (
            (hop4, "closed", None, {}, [
                who + "only gets the connection closed, by 198.51.100.7 or "
                "a device on the way"]),
            (hop4, "unconnected", None, {}, [
                who + "could not be sent: no further connection came about "
                "within 2 s; perhaps only few may be let in"]),
            (hop4, "acknowledged", None, dict(wait=0.5), [
                who + "is acknowledged, but not answered: nothing came "
                "within 0.5 s: the service hangs, is slow (-w waits "
                "longer) or speaks no TLS, or its answer is lost on the way "
                "back (--mtu)"]),
            (hop4, "acknowledged", None, small, [
                who + "is answered in small segments only: else nothing "
                "came, twice: big packets are probably lost on the way back "
                "(--mtu)"]),
            ("expired expired acknowledged acknowledged", "acknowledged",
             None, dict(wait=2), [
                 who + "is acknowledged, but not answered: nothing came "
                 "within 2 s; with ttl 3 already it is acknowledged, by a "
                 "device on the way if not by the host",
                 "With ttl 3 already it is acknowledged: by a device on the "
                 "way, or by 198.51.100.7 on a shorter path"]),
            (hop4, "answered", b"\x16\3", dict(wait=3, tls=pt.Tls(
                *[None] * 5 + ["timed out", "stalled"])),
             [who + "starts a handshake that stalls: the rest did not come "
              "within 3 s"]),
            (hop4, "answered", b"\x15\3", dict(name=b"", tls=pt.Tls(
                *[None] * 5 + ["handshake failure", "alert"])),
             ["TLS ClientHello is refused by a TLS alert: handshake failure;"
              " no name was asked for, and some servers want one "
              "(--tls=NAME)"]),
            (hop4, "answered", b"\x16\3", dict(wait=2, tls=TLS._replace(
                failure="small")), [
                    who + "starts a handshake that stalls: in small segments "
                    "it does not, so big packets are probably lost on the "
                    "way back (--mtu)",
                    "TLSv1.3, AES; certificate of 's', issued by 'i', valid "
                    "until 2030-01-01; not verified"]),
            (hop4, "answered", b"HTTP/1.0 400 Bad Request", {}, [
                who + "meets another protocol: 'HTTP/1.0 400 Bad Request' is "
                "HTTP/1, not TLS (--http)"]),
            (hop4, "closed", b"SSH-2.0-x", dict(kind="http"), [
                "HTTP request for app.example meets another protocol: "
                "'SSH-2.0-x' is not HTTP/1"]),
            (hop4, "reset", None, dict(idle=Session(0, "reset", None, 0)), [
                who + "only gets the connection reset, as does a connection "
                "without a request"]),
            (hop4, "reset", None, {}, [
                who + "only gets the connection reset, by 198.51.100.7, a "
                "device behind hop 4, or one that judges its answers"]),
            (hop4, "rejected", None, dict(shut_out=True), [
                who + "only gets an ICMP error, from 198.51.100.7 or a "
                "device on the way"]),
            (hop4, "reset", None, dict(varied=self.VARIED), [
                who + "only gets the connection reset, by 198.51.100.7, a "
                "device behind hop 4, or one that judges its answers",
                "The same with 1450 bytes more: silent, with the name "
                "example.com: answered, cut in two segments: reset; the "
                "name is filtered"])))


class InsidePath(test_live.PathCase):
    """All calls are made at once, before the tests; each has a port."""

    CALLS = {}

    @classmethod
    def setUpClass(cls):
        super(InsidePath, cls).setUpClass()
        try:
            cls.net.ping_group(cls.net.client)
            cls.prepare()
            names = sorted(cls.CALLS)
            cls.results = dict(zip(names, run_json_all(cls.net, [
                (cls.CALLS[name][0], dict(cls.CALLS[name][1], etc=NAMES))
                for name in names], at_once=6)))
        except BaseException:
            cls.tearDownClass()
            raise

    def setUp(self):
        pass

    def see(self, name, verdict):
        """Return the trace and its findings' texts."""
        self.assert_verdict(self.results[name], verdict,
                            0 if verdict == "open" else 1)
        trace = self.results[name][1]
        return trace, texts(trace)

    def assert_clean(self, *ports):
        """No connection is left behind, not even a half-open one."""
        for _ in range(100):
            left = [entry for entry in self.net.sockets(self.net.server)
                    if entry[1] in ports and entry[2] != "LISTEN"]
            if not left:
                return
            time.sleep(0.05)
        self.fail(left)


def call(port, *words, **how):
    """Arguments to ask for app.example at one port."""
    if not words:
        words = ("--tls=app.example", "192.0.2.7")
    return ["-p%d" % port] + list(QUICK + words), how or USER


def rule(port, action, **more):
    more.setdefault("contains", "app.example")
    return dict(more, port=port, action=action)


class TestFilters(InsidePath):
    """Seven hops, the second and fifth silent; filters by port."""

    CALLS = {
        "reset": call(4001), "reset root": call(4001, **ROOT),
        "reset 6": call(4001, "--tls=app.example", "2001:db8::7"),
        "reset http": call(4001, "--http=app.example", "192.0.2.7"),
        "reset at 1": call(4002), "tap": call(4003), "sticky": call(4004),
        "one by one": call(4005, "--tls", "app.example", "-N2"),
        "drop": call(4006), "drop root": call(4006, **ROOT),
        "drop 6": call(4006, "--tls=app.example", "2001:db8::7"),
        "drop at 6": call(4007), "drop at 4": call(4008),
        "reset at 6": call(4009), "reject": call(4010),
        "payload drop": call(4011, "-P6869", "192.0.2.7",
                             "--banner-wait=0.6"),
        "payload reset": call(4012, "-P6869", "192.0.2.7",
                              "--banner-wait=0.6"),
        "payload": call(4013, "-P6869", "192.0.2.7", "--banner-wait=0.6"),
        "greeting": call(4014), "greeting awaited": call(
            4014, "--tls=app.example", "--banner-wait=5", "192.0.2.7"),
        "http": call(4015, "--http", "app.example"),
        "http 6": call(4016, "--http", "app6.example"),
        "slow": call(4017), "hang up": call(4018), "not tls": call(4019),
        "shut out": call(4021), "resetting": call(4020),
        "flows": call(4006, "--tls=app.example", "--flows=2", "192.0.2.7")}

    @classmethod
    def prepare(cls):
        cls.net.configure(clear=True, routers=6, delay=0.005, hops={
            1: {"filters": [rule(4002, "reset")]},
            2: {"silent": True},
            3: {"filters": [
                rule(4001, "reset"), rule(4003, "reset", tap=True),
                rule(4004, "reset", sticky=True), rule(4005, "reset"),
                rule(4006, "drop"), rule(4010, "reject"),
                rule(4021, "drop", sticky=True),
                rule(4011, "drop", contains="hi"),
                rule(4012, "reset", contains="hi"),
                rule(4014, "drop", contains="", data_only=True)]},
            4: {"filters": [rule(4008, "drop")]},
            5: {"silent": True},
            6: {"filters": [rule(4007, "drop"), rule(4009, "reset")]}})
        cls.servers = {}
        how = {4013: ("tcp", {}), 4017: ("tcp", {}),
               4014: ("banner", dict(banner=b"220 hello", after=0.2)),
               4018: ("banner", dict(hang_up=True, after=0.6)),
               4019: ("answer", dict(banner=b"no such thing")),
               4020: ("banner", dict(hang_up="reset", after=0.6))}
        for port in range(4001, 4022):
            kind, options = how.get(port, ("answer", dict(
                banner=b"HTTP/1.0 200 OK\r\nServer: x/1\r\n\r\n")))
            cls.servers[port] = cls.net.serve(cls.net.server, kind,
                                              port=port, **options)

    def assert_between(self, name, verdict, k, behind):
        trace, words = self.see(name, verdict)
        hop = self.net.hop6 if trace["family"] == 6 else self.net.hop
        self.assertEqual(trace["blocked_after"],
                         {"ttl": k, "address": hop(k)} if k else None)
        self.assertEqual(trace["blocked_before"],
                         {"ttl": behind, "address": hop(behind)})
        return trace, words

    def test_reset_is_named_behind_the_ttl_check_of_the_filter(self):
        for name in ("reset", "reset root", "reset 6", "reset http"):
            trace, words = self.assert_between(name, "reset", 3, 4)
            self.assertIn(" for app.example is reset at hop 3 (%s) or just "
                          "behind it; TCP port 4001 is open" %
                          trace["blocked_after"]["address"],
                          trace["summary"])
            self.assertIn(": expired with ttl 1, silent with ttl 2, expired "
                          "with ttl 3, reset with ttl 4-6, reset with the "
                          "full ttl", words[0])
            self.assertIn("with 1450 bytes more: reset, with the name "
                          "example.com: answered, cut in two segments: "
                          "answered; the name is filtered", words[1])
        self.assert_between("reset at 1", "reset", 1, 3)

    def test_reset_from_beside_the_way_is_the_same(self):
        self.assert_between("tap", "reset", 3, 4)

    def test_filter_that_outlaws_the_client_is_found_all_the_same(self):
        words = self.assert_between("sticky", "reset", 3, 4)[1]
        self.assertIn("with the name example.com: unconnected", words[1])
        self.assertNotIn("filtered", words[1])

    def test_parallel_bounds_the_connections_at_one_time(self):
        self.assert_between("one by one", "reset", 3, 4)

    def test_request_that_is_swallowed_is_named_between_two_hops(self):
        for name in ("drop", "drop root", "drop 6"):
            trace, words = self.assert_between(name, "dropped", 3, 4)
            self.assertIn("is swallowed between hop 3 (%s) and hop 4 (%s); " %
                          (trace["blocked_after"]["address"],
                           trace["blocked_before"]["address"]),
                          trace["summary"])
            self.assertIn("; the name is filtered", words[1])
        self.assert_between("drop at 6", "dropped", 6, 7)

    def test_silent_router_behind_the_filter_is_not_blamed(self):
        self.assert_between("drop at 4", "dropped", 4, 6)

    def test_reset_or_icmp_that_only_the_full_ttl_draws_blames_no_hop(self):
        for name, words in (
                ("reset at 6", "reset, by 192.0.2.7, a device behind hop 6, "
                 "or one that judges its answers"),
                ("reject", "gets an ICMP error, from 192.0.2.7 or a device "
                           "on the way")):
            trace, found = self.see(name, "unanswered")
            self.assertTrue(trace["summary"].endswith(words), trace)
            self.assertIn("; the name is filtered", found[1])

    def test_server_that_resets_every_connection_blames_nobody(self):
        self.assertIn("reset, as does a connection without a request",
                      self.see("resetting", "unanswered")[0]["summary"])

    def test_device_that_shuts_us_out_after_the_request_is_named(self):
        trace, words = self.assert_between("shut out", "dropped", 3, 4)
        self.assertIn("Since that request no connection comes about: a "
                      "device may have shut us out", words)

    def test_filter_is_found_beside_several_flows(self):
        self.assert_between("flows", "dropped", 3, 4)

    def test_payload_goes_by_each_ttl_if_it_was_lost(self):
        self.assert_between("payload drop", "dropped", 3, 4)
        trace, words = self.assert_between("payload reset", "reset", 3, 4)
        self.assertEqual(words, [
            "Data of -P: expired with ttl 1, silent with ttl 2, expired with "
            "ttl 3, reset with ttl 4-6, reset with the full ttl"])

    def test_payload_that_is_acknowledged_goes_once(self):
        self.assertEqual(self.see("payload", "open")[1], [])
        self.assertEqual(self.servers[4013].payloads(), [b"hi"])

    def test_service_that_speaks_first_has_not_answered(self):
        """Waited for, its greeting is out of the way; else it hides what
        the request has come to."""
        self.assert_between("greeting", "dropped", 3, 7)
        self.assert_between("greeting awaited", "dropped", 3, 4)

    def test_http_answer_is_shown_and_one_connection_is_made_per_hop(self):
        for name, port, host in (("http", 4015, "app.example"),
                                 ("http 6", 4016, "app6.example")):
            words = self.see(name, "open")[1]
            self.assertEqual(words[0], "HTTP request for %s: expired with "
                             "ttl 1, silent with ttl 2, expired with ttl "
                             "3-4, silent with ttl 5, expired with ttl 6, "
                             "answered with the full ttl" % host)
            self.assertIn("Answer: 'HTTP/1.0 200 OK\\r\\nServer: x/1",
                          words[1])
            self.assertIn("with 1450 bytes more, in segments of %d: "
                          "answered" % (1428 if "6" in name else 1448),
                          words[2])
            self.assertEqual(self.servers[port].accepts(), 1 + 8 + 1)
            requests = [data for data in self.servers[port].payloads()
                        if data]
            self.assertEqual(len(requests), 2)
            for data in requests:
                self.assertTrue(data.startswith(
                    b"GET / HTTP/1.1\r\nHost: " + host.encode()), data)
                self.assertTrue(data.endswith(b"\r\n\r\n"))

    def test_slow_server_and_one_that_hangs_up_are_no_filter(self):
        for name, words in (("slow", "acknowledged with the full ttl"),
                            ("hang up", "closed with the full ttl")):
            self.assertIn(words, self.see(name, "unanswered")[1][0])

    def test_server_without_tls_is_told_by_its_words(self):
        self.assertIn("'no such thing' is not TLS",
                      self.see("not tls", "unanswered")[0]["summary"])

    def test_nothing_is_left_open_where_nothing_is_reset(self):
        self.assert_clean(4006, 4007, 4008, 4013, 4015, 4016, 4017, 4018,
                          4019)
        self.assertEqual(sum(self.net.half_open(self.net.server, port)
                             for port in self.servers), 0)


class TestPaths(test_live.PathCase):

    def test_loss_is_no_filter(self):
        self.serve("answer", port=443, banner=b"HTTP/1.0 200 OK\r\n\r\n")
        self.make(routers=3, loss=0.15, loss_back=0.1, delay=0.005)
        for result in run_json_all(self.net, [
                (["192.0.2.7", "--http", "-p443"] + list(QUICK), how)
                for how in BOTH * 2]):
            fate = texts(result[1])[0].split(" ")[-5]
            self.assertIn(fate, ("answered", "acknowledged", "unconnected"))
            if fate == "answered":
                self.assert_verdict(result, "open", 0)
            else:
                self.assert_verdict(result, "unanswered", 1)
            self.assertIsNone(result[1]["blocked_after"])

    def test_something_nearer_that_answers_is_told(self):
        """Here: because the SYN trace came by a longer path."""
        self.make(routers=6)
        self.serve("answer", port=80, banner=b"HTTP/1.0 403 No\r\n\r\n")
        result = test_live.run_module(self.net, (
            "t = p.Traceroute(destination='192.0.2.7', port=80, http='',\n"
            "                 no_dns=True, banner_wait=0)\n"
            "freeze = p.freeze\n"
            "def farther(*args, **how):\n"
            "    path = freeze(*args, **how)\n"
            "    return path._replace(distance=path.distance and\n"
            "                         path.distance + 2)\n"
            "p.freeze = farther\n"
            "result = [f['text'] for f in t.run().findings]"))
        self.assertIn("expired with ttl 1-6, answered with ttl 7-8, answered "
                      "with the full ttl",
                      result[0])
        self.assertIn("With ttl 7 already", result[1])

    def test_segments_that_are_acknowledged_show_a_narrow_path(self):
        self.serve("answer", port=80, banner=b"HTTP/1.0 200 OK\r\n\r\n")
        self.make(routers=4, delay=0.005, hops={2: {"mtu": 1300}})
        trace = test_live.run_json(self.net, "192.0.2.7", "--http",
                                   "--banner-wait=0", **USER)[1]
        self.assertIn("with 1450 bytes more, in segments of 1248: answered",
                      trace["findings"][2]["text"])

    def test_interrupt_leaves_nothing_open_and_shows_the_trace(self):
        self.serve("tcp", port=443)
        self.make(routers=6, delay=0.005)
        process = self.net.popen(
            self.net.client, [sys.executable, SCRIPT, "-n", "--tls", "-w9",
                              "192.0.2.7", "--banner-wait=0"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.time() + 20
        while time.time() < deadline and sum(
                1 for entry in self.net.sockets(self.net.server)
                if entry[1:] == (443, "ESTABLISHED")) < 7:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        self.assertEqual(process.returncode, 130)
        self.assertIn(b"TCP port 443 is open", out)
        self.assertNotIn(b"Traceback", err)
        for _ in range(100):
            if not [entry for entry in self.net.sockets(self.net.server)
                    if entry[1] == 443 and entry[2] != "LISTEN"]:
                return
            time.sleep(0.05)
        self.fail("still open")


class TestRealTls(InsidePath):
    """Python's ssl at 443 and 444, openssl s_server at 445 and 446."""

    CALLS = {
        "4": call(445, "--tls", "app.example"),
        "6": call(446, "--tls", "app6.example", **ROOT),
        "size": call(444, "--tls", "app.example"),
        "name": call(443, "--tls", "app.example"),
        "other name": call(443, "--tls=www.example", "app.example")}

    @classmethod
    def prepare(cls):
        need_openssl(cls)
        cls.folder = tempfile.mkdtemp()
        os.chmod(cls.folder, 0o755)
        cls.files = make_certificate(cls.folder)
        cls.net.configure(clear=True, routers=3, delay=0.005, hops={
            2: {"filters": [rule(443, "reset"),
                            rule(444, "drop", contains="", min_size=1400)]}})
        with open(os.devnull, "r+") as null:
            for argv in ([sys.executable, "-c", TLS_SERVER],
                         ["openssl", "s_server", "-quiet", "-accept", "445"],
                         ["openssl", "s_server", "-quiet", "-accept",
                          "446"]):
                cls.net.popen(cls.net.server, argv + [
                    "-cert", cls.files[0], "-key", cls.files[1]],
                    stdout=null, stdin=subprocess.PIPE, stderr=null)
        deadline = time.time() + 20
        while len(set(entry[1] for entry in
                      cls.net.sockets(cls.net.server))) < 4:
            if time.time() > deadline:
                raise AssertionError("no TLS server")
            time.sleep(0.02)

    @classmethod
    def tearDownClass(cls):
        subprocess.call(["rm", "-rf", cls.folder])
        super(TestRealTls, cls).tearDownClass()

    def test_openssl_server_shows_its_certificate_and_why_it_is_bad(self):
        for name, host in (("4", "app.example"), ("6", "app6.example")):
            words = self.see(name, "open")[1]
            self.assertEqual(words[0], "TLS ClientHello for %s: expired "
                             "with ttl 1-3, answered with the full ttl" %
                             host)
            self.assertIn("TLSv1.", words[1])
            self.assertIn("certificate of 'Corp Proxy, app.example', issued "
                          "by 'Corp Proxy, app.example', valid until 20",
                          words[1])
            self.assertIn("; not verified: ", words[1])
            self.assertIn("with 1450 bytes more, in segments of ", words[2])
        self.assert_clean(445, 446)

    def test_good_certificate_is_verified_its_name_too(self):
        for word, end in (("--tls", "; verified\n"),
                          ("--tls=www.example", "; not verified: ")):
            status, out, err = self.net.run(
                self.net.client, [
                    "env", "SSL_CERT_FILE=" + self.files[0], sys.executable,
                    SCRIPT, "-n", "-p444", "app.example", word] +
                list(QUICK), etc=NAMES)
            self.assertIn(end, out + err)

    def test_filter_of_big_requests_is_told_from_a_small_one(self):
        self.assertIn("with 1450 bytes more: silent; an MTU black hole, or "
                      "a filter of big requests: try --mtu",
                      self.see("size", "open")[1][2])

    def test_name_is_what_a_filter_before_a_real_server_minds(self):
        words = self.see("name", "reset")[1]
        self.assertIn("with the name example.com: answered, cut in two "
                      "segments: answered; the name is filtered", words[1])
        self.see("other name", "open")


# How a server of TLS is: folder, port: kind ...
ODD_TLS_SERVER = (
    "import ssl, socket, sys, threading\n"
    "folder = sys.argv[1]\n"
    "def make_context(kind):\n"
    "    context = ssl.SSLContext(ssl.PROTOCOL_SSLv23)\n"
    "    context.load_cert_chain('%s/%s.cert' % (folder, kind),\n"
    "                            '%s/%s.key' % (folder, kind))\n"
    "    if kind == 'sni':\n"
    "        context.set_servername_callback(\n"
    "            lambda sock, name, context: None if name else\n"
    "            ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME)\n"
    "    if kind == 'client':\n"
    "        context.options |= getattr(ssl, 'OP_NO_TLSv1_3', 0)\n"
    "        context.verify_mode = ssl.CERT_REQUIRED\n"
    "        context.load_verify_locations('%s/big.cert' % folder)\n"
    "    return context\n"
    "def serve(sock, context, timeout):\n"
    "    sock.settimeout(timeout)\n"
    "    try:\n"
    "        context.wrap_socket(sock, server_side=True).recv(1)\n"
    "    except Exception:\n"
    "        sock.close()\n"
    "def start(target, *args):\n"
    "    thread = threading.Thread(target=target, args=args)\n"
    "    thread.daemon = True\n"
    "    thread.start()\n"
    "def listen(port, context, timeout):\n"
    "    sock = socket.socket()\n"
    "    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
    "    sock.bind(('', port))\n"
    "    sock.listen(128)\n"
    "    while True:\n"
    "        start(serve, sock.accept()[0], context, timeout)\n"
    "for word in sys.argv[2:]:\n"
    "    port, kind = word.split(':')\n"
    "    timeout = 0.15 if kind == 'hasty' else None\n"
    "    start(listen, int(port), make_context(kind), timeout)\n"
    "sys.stdin.read()\n")


class TestUnanswered(InsidePath):
    """Services behind three routers that do not answer, and others that do
    so late or oddly; what is big is lost on the way back from three ports."""

    SLOW = ("--banner-wait=0", "-w2")
    HELLO = b"\x16\3\3\0\x7a\2\0\0\x76\3\3"
    HTTP = b"HTTP/1.1 200 OK\r\n\r\n"
    SERVICES = {
        # port: (kind of server, its options, words of the command)
        4101: ("tcp", {}, "--tls"),
        4102: ("banner", dict(hang_up=True), "--tls"),
        4103: ("answer", dict(hang_up=True), "--http"),
        4104: ("answer", dict(hang_up="reset"), "--tls"),
        4105: ("banner", dict(banner=b"SSH-2.0-x\r\n"), "--tls"),
        4106: ("answer", dict(banner=b"HTTP/1.1 400 No\r\n\r\n"), "--tls"),
        4107: ("banner", dict(banner=HTTP, after=1), "--http"),
        4108: ("answer", dict(banner=HTTP + 5000 * b"x"), "--http"),
        4109: ("answer", dict(banner=HTTP + 5000 * b"x"), "--http"),
        4110: ("answer", dict(banner=b"\x15\3\3\0\2\2\x28", hang_up=True),
               "--tls"),
        4111: ("answer", dict(banner=HELLO), "--tls"),
        4112: ("answer", dict(banner=HELLO, hang_up=True), "--tls"),
        4113: ("answer", dict(banner=b"\x15\3\1\0\2\2\x46"), "--http"),
        4114: ("answer", dict(banner=HTTP, hang_up=True), "--http"),
        4115: ("banner", dict(hang_up="reset"), "--http"),
        4116: ("tcp", {}, "--http"),
        4117: ("answer", dict(banner=HTTP), "--http")}
    TLS = {4131: "self", 4132: "old", 4133: "sni", 4134: "client",
           4135: "big", 4136: "big", 4137: "hasty"}
    @classmethod
    def all_calls(cls):
        calls = {"no name": (["-p4133", "--tls", "192.0.2.7"], USER),
                 "closed": (["-p4999", "--tls", "192.0.2.7"], USER)}
        for port in cls.SERVICES:
            words = ["-p%d" % port, cls.SERVICES[port][2]]
            calls["%d" % port] = words + ["app.example"], USER
            calls["%d root" % port] = words + ["app.example"], ROOT
            calls["%d 6" % port] = words + ["app6.example"], USER
        for port in cls.TLS:
            calls["%d" % port] = ["-p%d" % port, "--tls", "app.example"], (
                ROOT if port % 2 else USER)
        return dict((name, (list(cls.SLOW) + calls[name][0], calls[name][1]))
                    for name in calls)

    @classmethod
    def prepare(cls):
        need_openssl(cls)
        cls.CALLS = cls.all_calls()
        cls.folder = tempfile.mkdtemp()
        os.chmod(cls.folder, 0o755)
        for kind, more in (("old", []), ("self", []), (
                "big", ["-addext", "subjectAltName=" + ",".join(
                    "DNS:host%d.a-long-name.example" % n
                    for n in range(150))])):
            cert, key = make_certificate(cls.folder, *more)
            if kind == "old":
                subprocess.check_output(
                    ["openssl", "x509", "-in", cert, "-signkey", key,
                     "-days", "-1", "-out", cert + ".old"],
                    stderr=subprocess.STDOUT)
                os.rename(cert + ".old", cert)
            for name in ("key", "cert"):
                os.rename("%s/%s" % (cls.folder, name),
                          "%s/%s.%s" % (cls.folder, kind, name))
        for kind in ("sni", "client", "hasty"):
            for name in ("key", "cert"):
                os.link("%s/self.%s" % (cls.folder, name),
                        "%s/%s.%s" % (cls.folder, kind, name))
        cls.net.configure(clear=True, routers=3, delay=0.005, hops={
            2: {"filters": [
                dict(port=port, min_size=1001, direction="back",
                     action="drop") for port in (4108, 4135)] + [
                         dict(port=4117, data_only=True, direction="back",
                              action="drop"),
                         rule(4116, "reject", contains="", data_only=True,
                              icmp=[3, 1], icmp6=[1, 3], ttl=64)]}})
        for port in cls.SERVICES:
            kind, options, _ = cls.SERVICES[port]
            cls.net.serve(cls.net.server, kind, port=port, **options)
        with open(os.devnull, "r+") as null:
            cls.net.popen(cls.net.server, [
                sys.executable, "-c", ODD_TLS_SERVER, cls.folder] + [
                    "%d:%s" % item for item in sorted(cls.TLS.items())],
                stdout=null, stdin=subprocess.PIPE, stderr=null)
        deadline = time.time() + 20
        while not set(cls.TLS) <= set(entry[1] for entry in
                                      cls.net.sockets(cls.net.server)):
            if time.time() > deadline:
                raise AssertionError("no TLS server")
            time.sleep(0.02)

    @classmethod
    def tearDownClass(cls):
        subprocess.call(["rm", "-rf", cls.folder])
        super(TestUnanswered, cls).tearDownClass()

    def all_of(self, port, verdict):
        """Return what was said of a port, by its name, in each run."""
        for name in ("%d", "%d root", "%d 6"):
            trace, words = self.see(name % port, verdict)
            self.assertEqual((trace["distance"], trace["blocked_after"],
                              trace["blocked_before"]), (4, None, None))
            self.assertEqual(trace["reached"], verdict == "open")
            start = "TCP port %d is open; the " % port
            if verdict == "unanswered":
                self.assertTrue(trace["summary"].startswith(start), trace)
            yield trace["summary"][len(start):].partition(
                " for " + trace["destination"])[2], words

    def assert_said(self, port, text):
        for summary, _ in self.all_of(port, "unanswered"):
            self.assertEqual(
                summary.replace("2001:db8::7", "192.0.2.7").replace(
                    "speaks no HTTP/1", "speaks no TLS"), " " + text)

    def test_service_that_hangs_is_not_reached(self):
        """Nor is one whose answer is filtered: that looks the same."""
        for port in (4101, 4117):
            self.assert_said(port, (
                "is acknowledged, but not answered: nothing came within 2 s, "
                "nor in small segments: the service hangs, is slow (-w "
                "waits longer) or speaks no TLS, or its answer is filtered "
                "on the way back"))

    def test_service_that_closes_or_resets_at_once_is_not_reached(self):
        self.assert_said(4102, "only gets the connection closed, as does a "
                               "connection without a request")
        self.assert_said(4115, "only gets the connection reset, as does a "
                               "connection without a request")

    def test_service_that_closes_or_resets_on_a_request_is_not_reached(self):
        self.assert_said(4103, "only gets the connection closed, by "
                               "192.0.2.7 or a device on the way")
        self.assert_said(4104, "only gets the connection reset, by "
                         "192.0.2.7, a device behind hop 3, or one that "
                         "judges its answers")
        self.assert_said(4116, "only gets an ICMP error, from 192.0.2.7 or "
                               "a device on the way")

    def test_answer_of_another_protocol_is_none(self):
        self.assert_said(4105, "meets another protocol: 'SSH-2.0-x\\r\\n' is "
                               "not TLS")
        self.assert_said(4106, "meets another protocol: 'HTTP/1.1 400 "
                         "No\\r\\n\\r\\n' is HTTP/1, not TLS (--http)")
        self.assert_said(4113, "meets another protocol: "
                         "'\\x15\\x03\\x01\\x00\\x02\\x02F' is TLS, not "
                         "HTTP/1 (--tls)")

    def test_slow_service_and_one_that_answers_and_closes_are_reached(self):
        for port in (4107, 4114):
            for _, words in self.all_of(port, "open"):
                self.assertIn("Answer: 'HTTP/1.1 200 OK\\r\\n\\r\\n'", words)

    def test_big_answer_that_is_lost_on_the_way_back_is_told_from_a_hang(
            self):
        self.assert_said(4108, "is answered in small segments only: else "
                         "nothing came, twice: big packets are probably "
                         "lost on the way back (--mtu)")
        self.assertIn("is answered in small segments only",
                      self.see("4135", "unanswered")[0]["summary"])
        for _, words in self.all_of(4109, "open"):
            self.assertIn("Answer: 'HTTP/1.1 200 OK", words[1])
        self.assertIn("TLSv1.", self.see("4136", "open")[1][1])

    def test_handshake_that_fails_is_no_answer(self):
        self.assert_said(4110, "is refused by a TLS alert: handshake failure")
        self.assert_said(4111, "starts a handshake that stalls: the rest did "
                               "not come within 2 s")
        self.assert_said(4112, "starts a handshake that fails: the "
                               "connection was closed")

    def test_bad_certificate_is_a_finding(self):
        for name in ("4131", "4132", "4133"):
            words = self.see(name, "open")[1]
            self.assertIn("valid until 20", words[1])
            self.assertIn("; not verified: ", words[1])
        self.assertEqual(self.see("4134", "open")[1][1], (
            "TLS handshake failed: handshake failure: the server may want a "
            "certificate of the client"))

    def test_server_that_needs_a_name_is_told_to(self):
        self.assertEqual(self.see("no name", "unanswered")[0]["summary"], (
            "TCP port 4133 is open; the TLS ClientHello is refused by a "
            "TLS alert: unrecognized name; no name was asked for, and some "
            "servers want one (--tls=NAME)"))

    def test_service_that_closes_what_is_idle_is_reached(self):
        words = self.see("4137", "open")[1]
        self.assertIn("TLSv1.", words[1])

    def test_closed_port_answers_no_request(self):
        status, trace = self.results["closed"]
        self.assertEqual((status, trace["verdict"], trace["reached"]),
                         (1, "refused", True))


class TestKernelRouters(test_live.ChainCase):

    parts = 2

    def test_reset_and_drop_of_data_by_nftables_name_the_router(self):
        self.serve("tcp", port=443)
        for rule, verdict in (("reject with tcp reset", "reset"),
                              ("drop", "dropped")):
            self.net.nft("r2", "\n".join([
                "flush ruleset", "table inet t {", "chain c {",
                "type filter hook forward priority 0;",
                "tcp dport 443 tcp flags & (psh|ack) == psh|ack " + rule,
                "}", "}", ""]))
            calls = [((host, "--tls") + QUICK, how)
                     for how in BOTH for host in (self.net.destination,
                                                  self.net.destination6)]
            for (words, _), result in zip(calls, run_json_all(
                    self.net, calls)):
                self.assert_verdict(result, verdict, 1)
                hop = self.net.hop6 if ":" in words[0] else self.net.hop
                self.assertEqual(result[1]["blocked_after"],
                                 {"ttl": 2, "address": hop(2)})
        self.assertEqual(self.net.half_open(self.net.server, 443), 0)

    def test_reset_at_hop_2_is_so_wherever_it_is_said(self):
        for port in (80, 443):
            self.serve("answer", port=port, banner=b"no TLS")
        self.net.nft("r2", "\n".join([
            "flush ruleset", "table inet t {", "chain c {",
            "type filter hook forward priority 0;",
            "tcp dport 443 tcp flags & (psh|ack) == psh|ack "
            "reject with tcp reset", "}", "}", ""]))
        for how in BOTH:
            call = [self.net.destination, "-p443,80", "--tls=app.example"]
            call += QUICK
            place = "at hop 2 (%s) or just behind it" % self.net.hop(2)
            summary = "TLS ClientHello for app.example is reset %s; TCP " \
                "port 443 is open" % place
            (status, (trace, other)), = lab.trace_all(self.net,
                                                      [(call, how)])
            self.assertEqual((status, other["verdict"], other["summary"]), (
                1, "unanswered", "TCP port 80 is open; the TLS "
                "ClientHello for app.example meets another protocol: 'no "
                "TLS' is not TLS"))
            for key, value in (
                    ("verdict", "reset"), ("reached", False),
                    ("responder", None), ("summary", summary),
                    ("blocked_after", {"ttl": 2,
                                       "address": self.net.hop(2)}),
                    ("blocked_before", {"ttl": 3,
                                        "address": self.net.hop(3)}),
                    ("distance", 4), ("control", [])):
                self.assertEqual((key, trace[key]), (key, value))
            status, out, err = test_live.run(self.net, "-n", *call, **how)
            self.assertEqual((status, err), (1, ""))
            row, = [line for line in out.splitlines()
                    if line.startswith("443 ")]
            self.assertEqual(row.split()[2], "reset")
            self.assertTrue(row.endswith("  " + place), row)
            self.assertEqual(out.splitlines()[-4:], [
                "Reached destination, but the request failed on 2 of 2 "
                "ports", summary, other["summary"],
                "0 of 2 ports of %s answered the request" %
                self.net.destination])


class TestKernelRoutersWithLimits(test_live.ChainCase):
    """A hanging service, and a narrow link on the way back of which the
    router may not tell."""

    parts = 2

    SIZES = {80: 9000, 81: 20}

    @staticmethod
    def build():
        return lab.Chain(routers=3, icmp_limits=True)

    def setUp(self):
        self.net.ping_group(self.net.client)
        for port in self.SIZES:
            self.serve("answer", port=port, banner=b"HTTP/1.1 200 OK"
                       b"\r\n\r\n" + self.SIZES[port] * b"x")
        self.serve("tcp", port=82)
        self.net.ip("r3", "link set toclient mtu 1300\n")

    def tearDown(self):
        self.net.nft("r3", "flush ruleset\n")

    def ask(self, ports, words):
        for port in ports:
            for (status, trace) in run_json_all(self.net, [
                    (["-p%d" % port, "--http", "--banner-wait=0", host], how)
                    for host, how in ((self.net.destination, USER),
                                      (self.net.destination6, ROOT))]):
                self.assert_verdict((status, trace), (
                    "unanswered" if words else "open"), 1 if words else 0)
                self.assertIn(words, trace["summary"])

    def test_big_answers_are_lost_where_the_router_may_not_tell(self):
        self.net.nft("r3", "\n".join([
            "flush ruleset", "table inet t {", "chain c {",
            "type filter hook output priority 0;",
            "icmp type destination-unreachable drop",
            "icmpv6 type packet-too-big drop", "}", "}", ""]))
        self.ask([80], "is answered in small segments only")
        self.ask([81], "")
        self.ask([82], "the service hangs, is slow")
        # What the sentence recommends:
        trace = test_live.run_json(
            self.net, "-p80", "--http", "--mtu", "--banner-wait=0",
            self.net.destination, **USER)[1]
        self.assertEqual([(each["kind"], each["hop"])
                          for each in trace["findings"][1:]],
                         [("black-hole", 2)])

    def test_big_answers_come_where_the_router_tells(self):
        self.ask([80, 81], "")


if __name__ == "__main__":
    unittest.main()
