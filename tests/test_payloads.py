"""What UDP services answer to: the table's requests, replies and words.

The replies are literal octets, most of them as the servers of Debian 12 sent
them; TestServers asks some of those servers again.  Not tested here against
a real server, but once by hand: SIP (kamailio), QUIC (aioquic) and RADIUS
(freeradius).
"""

import os
import re
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
from test_live import ROOT, USER, run, run_json_all  # noqa: E402
from test_plan import (  # noqa: E402
    CLOSED, DATA, NO, echo_trace, make_answer, make_path, make_target,
    make_trace, walk)

DESTINATION = "198.51.100.7"


def octets(text):
    """Hexadecimal, or 'text', as in the table."""
    return bytes(bytearray.fromhex(u"" + pt.fill_template(text)))


def digits(data):
    return pt.format_hex(data)


# port, reply to a request whose random digits are SEED's, words
SEED = "abcdef0123456789" * 8
REPLIES = (
    (53, "abcd 8185 0001 0000 0000 0000 00 0002 0001", "DNS REFUSED"),
    (53, "abcd 8180 0001 000d 0000 0000 00 0002 0001", "DNS NOERROR"),
    (53, "abcd 8009 0000 0000 0000 0000", "DNS code 9"),
    (123, "240a00e6 00000000 00000000 7f7f0101 eeadc507 2f49feda"
     "abcdef0123456789 eeadc509 1d822b33 eeadc509 1d85c998",
     "NTP stratum 10"),
    (123, "e40000e6 00000000 00000000 'RATE' 00000000 00000000"
     "abcdef0123456789 00000000 00000000 00000000 00000000",
     "NTP stratum 0"),
    (161, "306e 020103 3010 020301abcd 020300ffe3 040100 020103 0421"
     "301f 0411 80001f8880ed39c94bb746036b00000000 020101 020107 0400 0400"
     "0400 3034 0411 80001f8880ed39c94bb746036b00000000 0400 a81d 02020102"
     "020100 020100 3011 300f 060a 2b060106030f01010400 410101",
     "SNMPv3 report"),
    (500, "abcdef0123456789 0000000000000000 29202220 00000000 00000024"
     "00000008 00000005", "IKEv2 INVALID_MAJOR_VERSION"),
    (500, "abcdef0123456789 fcba986421239655 29202220 00000000 00000024"
     "00000008 0000000e", "IKEv2 NO_PROPOSAL_CHOSEN"),
    (4500, "00000000 abcdef0123456789 0000000000000000 29202220 00000000"
     "00000024 00000008 00000007", "IKEv2 code 0007"),
    (443, "eb 00000000 00 08 abcdef0123456789 00000001 6b3343cf",
     "QUIC version negotiation"),
    (853, "80 00000000 00 08 abcdef0123456789 00000001",
     "QUIC version negotiation"),
    (4433, "16feff 0000 000000000000 0023 03000017 0000 000000 000017 feff"
     "14 75cbea8a10dd2830315546c0" + 16 * "00", "DTLS"),
    (5349, "15fefd 0000 000000000000 0002 0228", "DTLS"),
    (3478, "0101 003c 2112a442 abcdef0123456789abcdef01 0020 0008 0001 bd52"
     "ea12d546 0001 0008 0001 8192 0a580002",
     "STUN: seen from outside as 203.0.113.4:40000"),
    (3478, "0101 0020 2112a442 abcdef0123456789abcdef01 8022 0004 'test'"
     "0020 0014 0002 bd52 0113a9faabcdef0123456789abcdef09",
     "STUN: seen from outside as [2001:db8::8]:40000"),
    (3478, "0111 0000 2112a442 abcdef0123456789abcdef01", "STUN"),
    (5060, "'SIP/2.0 404 Not here\r\nVia: SIP/2.0/UDP a.invalid;rport=5;"
     "branch=z9hG4bKjklmno`a\r\n\r\n'", "SIP 404 Not here"),
    (69, "0005 0001 'File not found' 00", "TFTP File not found"),
    (69, "0003 0001 'something'", "TFTP"),
    (1194, "40 cd926ae9c9c064bd 01 00000000 abcdef0123456789 00000000",
     "OpenVPN"),
    (1812, "03ab 0014 08fbaeff91e73c066d8a5f7c0cb8482c", "RADIUS Reject"),
    (1645, "0bab 0014 08fbaeff91e73c066d8a5f7c0cb8482c",
     "RADIUS Challenge"),
)
WITHOUT_ID = (4433, 5684, 5349, 69)


class Seeded(object):
    """os.urandom() that gives SEED."""

    def setUp(self):
        original = pt.os.urandom
        pt.os.urandom = lambda count: octets(SEED)[:count]
        self.addCleanup(setattr, pt.os, "urandom", original)


def make_reply(data):
    return pt.NO_REPLY._replace(kind="data", responder=DESTINATION,
                                data=data)


class TestTable(Seeded, unittest.TestCase):

    def setUp(self):
        self.random = os.urandom
        Seeded.setUp(self)

    def ask(self, port, payload=None):
        method = pt.UdpMethod(make_target(port, payload=payload),
                              pt.Mechanism())
        probe = pt.Probe(5, False)
        probe.source_port, probe.payload = 40000, method.new_payload()
        return method, probe

    def say(self, port, data):
        return pt.describe_data(make_target(port), data)

    def test_request_of_each_port_is_of_a_fixed_length_and_bounded(self):
        for row in pt.PAYLOADS:
            for port in row.ports:
                _, probe = self.ask(port)
                if port in (443, 853):
                    self.assertEqual(len(probe.payload), 1200)
                else:
                    self.assertTrue(2 <= len(probe.payload) < 400, port)

    def test_requests_say_what_their_protocols_want(self):
        for port, expected in (
                (53, "abcd 0100 0001 0000 0000 0000 00 0002 0001"),
                (123, "23" + 39 * "00" + "abcdef0123456789"),
                (500, "abcdef0123456789 0000000000000000 00302208 00000000"
                 "0000001c"),
                (1194, "38 abcdef0123456789 00 00000000"),
                (9999, SEED[:24])):
            self.assertEqual(digits(self.ask(port)[1].payload),
                             digits(octets(expected)), port)

    def test_requests_with_lengths_inside_are_consistent(self):
        dtls = bytearray(self.ask(4433)[1].payload)
        self.assertEqual((dtls[11] * 256 + dtls[12], dtls[24]),
                         (len(dtls) - 13, len(dtls) - 25))
        # BER: what it holds, and no more
        self.check_ber(bytearray(self.ask(161)[1].payload), 161)

    def check_ber(self, data, port):
        at = 0
        while at < len(data):
            length = data[at + 1]
            self.assertTrue(length < 128 and
                            at + 2 + length <= len(data), port)
            if data[at] & 0x20:
                self.check_ber(data[at + 2:at + 2 + length], port)
            at += 2 + length
        self.assertEqual(at, len(data), port)

    def test_random_digits_of_a_request_differ_from_probe_to_probe(self):
        pt.os.urandom = self.random
        for port in (53, 123, 161, 500, 443, 4433, 3478, 5060, 69, 9999):
            method = self.ask(port)[0]
            self.assertGreater(len(set(method.new_payload()
                                       for _ in range(9))), 1, port)

    def test_reply_with_our_id_is_the_answer_and_said_in_words(self):
        for port, text, words in REPLIES:
            method, probe = self.ask(port)
            data = octets(text)
            self.assertTrue(method.answers(make_reply(data), probe), port)
            self.assertEqual(self.say(port, data), "%s (%d bytes of data)"
                             % (words, len(data)))

    def test_reply_with_another_id_is_no_answer(self):
        for port, text, words in REPLIES:
            if port in WITHOUT_ID:
                continue
            method, probe = self.ask(port)
            row = pt.find_payload(method.target)
            marks = pt.fill_template(row.request)
            at = marks.index(".")
            other = digits(probe.payload)
            other = other[:at] + "%x" % (int(other[at], 16) ^ 1) + \
                other[at + 1:]
            probe.payload = octets(other)
            self.assertFalse(method.answers(make_reply(octets(text)),
                                            probe), port)

    def test_reply_of_another_host_is_no_answer(self):
        for port, text, _ in REPLIES:
            method, probe = self.ask(port)
            self.assertFalse(method.answers(make_reply(
                octets(text))._replace(responder="198.51.100.8"), probe))

    def test_data_of_another_protocol_is_an_answer_but_not_that_one(self):
        for port in sorted(set(row[0] for row in REPLIES)):
            method, probe = self.ask(port)
            for data in (b"hello", probe.payload, b"\xff" * 300, b"\0\0"):
                said = self.say(port, data)
                if said[0].isdigit():       # not by chance what it looks
                    self.assertTrue(method.answers(make_reply(data), probe))
                    self.assertIn("bytes of data, not the", said)
                else:
                    self.assertNotIn(data, (b"hello", probe.payload))

    def test_datagram_of_no_or_one_octet_answers_no_request_with_an_id(
            self):
        for data in (b"", b"\xab"):
            for port in (53, 123, 3478):
                method, probe = self.ask(port)
                self.assertFalse(method.answers(make_reply(data), probe))

    def test_reply_cut_at_every_length_is_data_and_raises_nothing(self):
        for port, text, _ in REPLIES:
            method, probe = self.ask(port)
            data = octets(text)
            for length in range(len(data)):
                method.answers(make_reply(data[:length]), probe)
                self.assertIn("%d bytes of data" % length,
                              self.say(port, data[:length]))
                pt.decode_outside(make_target(port), data[:length])

    def test_garbage_of_every_kind_raises_nothing(self):
        for port, text, _ in REPLIES:
            method, probe = self.ask(port)
            start = octets(text)[:12]
            for length in (1, 20, 500):
                data = start + self.random(length)
                method.answers(make_reply(data), probe)
                said = self.say(port, data)
                self.assertTrue(re.match(r"[ -~]{1,200}\Z", said), said)

    def test_words_from_the_network_are_escaped_and_bounded(self):
        data = octets("00050001") + b"\x1b[31m\xff" + b"x" * 400 + b"\0"
        said = self.say(69, data)
        self.assertTrue(said.startswith("TFTP \\x1b[31m\\xff"), said)
        self.assertLess(len(said), 120)

    def test_users_payload_is_sent_and_nothing_is_recognised(self):
        method, probe = self.ask(123, b"hello")
        self.assertEqual(probe.payload, b"hello")
        data = octets([row[1] for row in REPLIES if row[0] == 123][0])
        for reply in (data, b"", b"x"):
            self.assertTrue(method.answers(make_reply(reply), probe))
        self.assertEqual(pt.describe_data(method.target, data),
                         "48 bytes of data")


class TestSentences(unittest.TestCase):

    def answered(self, port, data, **facts):
        data = make_answer("data", DESTINATION, data=data)
        return make_trace(data, walk(3, t4=data), "udp", port, **facts)

    def test_answer_is_named_in_the_verdict_or_told_to_be_another(self):
        for port, data, words in (
                (53, octets("abcd 8185") + 13 * b"\0",
                 "DNS REFUSED (17 bytes of data) came from"),
                (123, b"hello", "5 bytes of data, not the NTP reply "
                 "expected, came from")):
            for refusal, who in (
                    ("confirmed", "198.51.100.7, 4 hops away"),
                    (None, "198.51.100.7 or a device in its name, 4 hops "
                     "away; which of them is not confirmed")):
                self.assertEqual(
                    self.answered(port, data, refusal=refusal).summary,
                    "UDP port %d answered: %s %s" % (port, words, who))

    def test_silence_is_told_with_what_a_closed_port_and_the_port_say(self):
        def beside(answer):
            return make_trace(answer, {}, "udp", 33434)

        for port, controls, words in (
                (40000, [], ""),
                (40000, [beside(CLOSED)],
                 "; UDP port 33434 is closed"),
                (40000, [beside(None)],
                 ", but UDP port 33434 is silent too: UDP may be filtered, "
                 "or the host limits what it says of closed ports"),
                (40000, [beside(NO)], ""), (40000, [beside(DATA)], ""),
                (514, [], "; syslog answers no such probe"),
                (1701, [], "; L2TP answers no such probe"),
                (1812, [], "; RADIUS may say nothing to strangers"),
                (3478, [], "; STUN may say nothing to strangers")):
            trace = make_trace(None, walk(4), "udp", port,
                               control=[echo_trace(5)] + controls)
            self.assertEqual(trace.verdict, "silent")
            self.assertEqual(
                trace.summary.partition("5 hops away)")[2], words)

    FROM_PORT = "send from port %d, which a firewall may demand: test it " \
                "with -S %d"

    def test_source_port_that_may_be_demanded_is_told_with_the_test(self):
        for port, who, source, root in (
                (123, "; NTP servers and many clients ", 123, " as root"),
                (53, "; some DNS servers ", 53, " as root"),
                (67, "; DHCP relays ", 67, " as root"),
                (500, "; IKE peers ", 500, " as root"),
                (4500, "; IKE peers ", 4500, "")):
            clause = who + self.FROM_PORT % (source, source) + root
            for hops, control, verdict in (
                    (4, [echo_trace(5)], "silent"), (2, [], "dropped"),
                    (2, [echo_trace(5)], "dropped")):
                trace = make_trace(None, walk(hops), "udp", port,
                                   control=control)
                self.assertEqual(trace.verdict, verdict)
                self.assertTrue(trace.summary.endswith(clause),
                                trace.summary)

    def test_source_port_is_not_told_where_nothing_may_demand_it(self):
        for port, proto, source in (
                (123, "udp", 123), (123, "udp", 5000), (123, "tcp", None),
                (514, "udp", None), (33434, "udp", None),
                (443, "udp", None)):
            for hops, controls in ((4, (echo_trace(5).path,)), (2, ())):
                path = make_path(None, walk(hops), proto, port)
                aim = path.aim._replace(target=path.aim.target._replace(
                    source_port=source))
                trace = make_trace(case=pt.Case(path._replace(aim=aim),
                                                controls))
                self.assertIn(trace.verdict, ("silent", "dropped"))
                self.assertNotIn("-S", trace.summary)
        for answer in (DATA, CLOSED, NO):
            trace = make_trace(answer, walk(3, t4=answer), "udp", 123)
            self.assertNotIn("-S", trace.summary)

    def test_table_says_what_was_answered_in_words_if_it_knows_them(self):
        for port, data, words in (
                (123, octets([row[1] for row in REPLIES
                              if row[0] == 123][0]), "  NTP stratum 10"),
                (53, octets("abcd 8185") + 13 * b"\0", "  DNS REFUSED"),
                (123, b"hello", "  'hello'"), (9999, b"hi", "  'hi'"),
                (123, b"", "")):
            trace = self.answered(port, data)
            row = pt.format_table([trace, trace])[1]
            self.assertTrue(row.endswith("  198.51.100.7" + words), row)

    def test_outside_address_that_is_not_ours_is_a_finding(self):
        stun = [octets(row[1]) for row in REPLIES if row[0] == 3478]
        for port, data, own, outside in (
                (3478, stun[0], "10.0.0.5", "203.0.113.4"),
                (3478, stun[1], "fd00::5", "2001:db8::8"),
                (3478, stun[0], "203.0.113.4", None),
                (3478, stun[1], "2001:db8::8", None),
                (3478, stun[2], "10.0.0.5", None),
                (53, stun[0], "10.0.0.5", None)):
            found = [{"kind": "nat", "hop": None, "text": "NAT on the way: "
                      "198.51.100.7 sees %s as %s" % (own, outside)}]
            self.assertEqual(
                self.answered(port, data, own=own).findings,
                found if outside else [])
        self.assertEqual(make_trace(None, walk(4), "udp", 3478).findings, [])


# program, arguments ({} a folder of its own), port, words
SERVERS = (
    ("/usr/sbin/chronyd", "-d -x -u root -f {}/chrony.conf", 123,
     "NTP stratum 10"),
    ("/usr/sbin/snmpd", "-f -Le -C -c {}/snmpd.conf udp:161", 161,
     "SNMPv3 report"),
    ("/usr/lib/ipsec/charon", "", 500, "IKEv2 INVALID_MAJOR_VERSION"),
    (None, "", 4500, "IKEv2 INVALID_MAJOR_VERSION"),
    ("/usr/bin/openssl", "s_server -dtls -listen -accept 4433 "
     "-cert {}/cert.pem -key {}/key.pem", 4433, "DTLS"),
    ("/usr/bin/turnserver", "-n --no-cli --log-file stdout --simple-log "
     "--pidfile {}/turn.pid --no-tcp --no-tls -b {}/turndb -L 192.0.2.7 "
     "--cert {}/cert.pem --pkey {}/key.pem", 3478,
     "STUN: seen from outside as 10.88.0.2:"),
    (None, "", 5349, "DTLS"),
    ("/usr/sbin/in.tftpd", "-L -s {} --address :69", 69,
     "TFTP File not found"),
    ("/usr/sbin/openvpn", "--dev tun --ifconfig 10.200.0.1 10.200.0.2 "
     "--mode server --tls-server --ca {}/cert.pem --cert {}/cert.pem "
     "--key {}/key.pem --dh none --port 1194 --proto udp", 1194, "OpenVPN"),
)
FILES = {"chrony.conf": "allow all\nlocal stratum 10\ncmdport 0\n"
                        "bindcmdaddress /\npidfile /run/chrony.pid\n",
         "snmpd.conf": "rocommunity x\n"}


class TestServers(test_live.PathCase):
    """Debian's own servers, all at once, behind four routers."""

    def installed(self):
        missing = [row[0] for row in SERVERS
                   if row[0] and not os.path.exists(row[0])]
        if missing and os.environ.get("POTRACEROUTE_REQUIRE_LIVE") == "1":
            self.fail("not installed: " + " ".join(missing))
        there, rows = True, []
        for row in SERVERS:             # None goes with the one before
            there = row[0] not in missing if row[0] else there
            rows += [row] * there
        if not rows:
            self.skipTest("not installed: " + " ".join(missing))
        return rows

    def start(self, rows):
        """Start the servers and wait for their ports."""
        folder = tempfile.mkdtemp()
        os.chmod(folder, 0o755)
        self.addCleanup(subprocess.call, ["rm", "-rf", folder])
        for name in FILES:
            with open(os.path.join(folder, name), "w") as stream:
                stream.write(FILES[name])
        with open(os.devnull, "w") as null:
            subprocess.call([
                "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=lab",
                "-keyout", folder + "/key.pem", "-out", folder + "/cert.pem"],
                stderr=null)
        for program, arguments, port, _ in rows:
            if program:
                log = open("%s/%d.log" % (folder, port), "w")
                self.addCleanup(log.close)
                process = self.net.popen(self.net.server, [
                    "unshare", "-m", "sh", "-c",    # a /run of its own
                    "mount -t tmpfs none /run && exec %s %s" % (
                        program, arguments.replace("{}", folder))],
                    stdin=subprocess.PIPE, stdout=log,
                    stderr=subprocess.STDOUT)
                self.addCleanup(lab.close_process, process)
        wanted = set(row[2] for row in rows)
        deadline = time.time() + 30
        while wanted:
            wanted -= set(entry[1] for entry in self.net.sockets(
                self.net.server) if entry[0] == "udp")
            if time.time() > deadline:
                port = sorted(wanted)[0]
                with open("%s/%d.log" % (folder, port)) as stream:
                    self.fail("nobody listens at %s: %r" % (
                        sorted(wanted), stream.read()[-500:]))
            time.sleep(0.05)

    def test_servers_of_debian_answer_and_are_named(self):
        destination = self.make(routers=4, delay=0.005)
        rows = self.installed()
        self.start(rows)
        results = run_json_all(self.net, [
            (["-U", "-p%d" % row[2], destination], ROOT if number % 2 else
             USER) for number, row in enumerate(rows)])
        for row, result in zip(rows, results):
            self.assert_verdict(result, "answered", 0)
            self.assertIn("UDP port %d answered: %s" % row[2:],
                          result[1]["summary"])
            self.assertEqual((result[1]["distance"], result[1]["findings"]),
                             (5, []))


class TestAnswersOnThePath(test_live.PathCase):
    """What is no such server."""

    def test_echo_service_is_not_taken_for_the_usual_one(self):
        destination = self.make(routers=2, delay=0.005)
        self.serve("echo-udp", port=123)
        status, out, _ = run(self.net, "-n", "-U", "-p123", destination)
        self.assertEqual(status, 0)
        # What was sent is random: it may hold a quotation mark.
        self.assertTrue(re.search("\n3\tUDP port 123 responded, received "
                                  "data: ['\"]#", out), out)
        self.assertIn("UDP port 123 answered: 48 bytes of data, not the "
                      "NTP reply expected, came from 192.0.2.7, 3 hops away",
                      out)

    def test_silent_port_is_compared_with_a_closed_one(self):
        destination = self.make(routers=2, delay=0.005)
        self.serve("silent-udp", port=514)
        (status, trace), = run_json_all(self.net, [
            (["-U", "-p514", "-w1", destination], USER)])
        self.assert_verdict((status, trace), "silent", 1)
        self.assertEqual(trace["summary"], "UDP port 514 is open or filtered"
                         ": nothing came from it, though 192.0.2.7 is up "
                         "(ICMP echo reaches 192.0.2.7, 3 hops away); "
                         "UDP port 33434 is closed; syslog answers "
                         "no such probe")

    def test_silence_of_all_udp_is_told(self):
        destination = self.make(routers=2, delay=0.005, hops={
            2: {"filters": [{"proto": "udp", "action": "drop"}]}})
        (status, trace), = run_json_all(self.net, [
            (["-U", "-p123", "-w1", destination], USER)])
        self.assert_verdict((status, trace), "silent", 1)
        self.assertIn(" says of closed ports; NTP may say",
                      trace["summary"])


# Answers as a server of stratum 3 does.
NTP_SERVER = (
    "import socket\n"
    "sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)\n"
    "sock.bind(('::', 123))\n"
    "while True:\n"
    "    data, sender = sock.recvfrom(99)\n"
    "    sock.sendto(b'\\x24\\x03' + b'\\0' * 22 + data[40:48] + b'\\0' * 16,"
    " sender)\n")


class TestSourcePort(test_live.ChainCase):
    """A firewall at hop 2 that knows NTP by both its ports."""

    parts = 4

    CLAUSE = "; NTP servers and many clients " + \
        TestSentences.FROM_PORT % (123, 123) + " as root"

    @staticmethod
    def build():
        return lab.Chain(routers=3, icmp_limits=True)

    def setUp(self):
        self.net.ping_group(self.net.client)
        self.process = self.net.popen(
            self.net.server, [sys.executable, "-c", NTP_SERVER])
        self.addCleanup(lab.close_process, self.process)
        deadline = time.time() + 20
        while ("udp", 123) not in [entry[:2] for entry in self.net.sockets(
                self.net.server)]:
            self.assertLess(time.time(), deadline)
            time.sleep(0.02)

    def tearDown(self):
        for name in (self.net.client, "r2"):
            self.net.nft(name, "flush ruleset\n")

    def filter(self, rule):
        self.net.nft("r2", "\n".join([
            "flush ruleset", "table inet t {", "chain c {",
            "type filter hook forward priority 0;", rule, "}", "}", ""]))

    def test_firewall_that_demands_port_123_is_found_by_it(self):
        self.filter("udp dport 123 udp sport != 123 drop")
        for destination in (self.net.destination, self.net.destination6):
            for how in test_live.BOTH:
                (result,) = run_json_all(self.net, [
                    (["-U", "-p123", "-w1", destination], how)])
                self.assert_verdict(result, "dropped", 1)
                self.assertEqual(result[1]["blocked_after"]["ttl"], 2)
                self.assertIn(self.CLAUSE, result[1]["summary"])
            (result,) = run_json_all(self.net, [
                (["-U", "-p123", "-S123", "-w1", destination], ROOT)])
            self.assert_verdict(result, "answered", 0)
            self.assertIn("answered: NTP stratum 3", result[1]["summary"])

    def test_firewall_that_drops_all_of_it_is_not_opened_by_a_port(self):
        self.filter("udp dport 123 drop")
        (plain, fixed) = run_json_all(self.net, [
            (["-U", "-p123", "-w1", self.net.destination], USER),
            (["-U", "-p123", "-S123", "-w1", self.net.destination], ROOT)])
        for result in (plain, fixed):
            self.assert_verdict(result, "dropped", 1)
        self.assertIn(self.CLAUSE, plain[1]["summary"])
        self.assertNotIn("-S", fixed[1]["summary"])
        # Its probes go one by one: those yet to go are no other path's.
        self.assertEqual(fixed[1]["blocked_before"]["ttl"], 3)
        self.assertNotIn("several paths", fixed[1]["summary"])

    def test_service_that_wants_port_123_itself_is_silent(self):
        self.net.nft(self.net.server, "\n".join([
            "flush ruleset", "table inet t {", "chain c {",
            "type filter hook input priority 0;",
            "udp dport 123 udp sport != 123 drop", "}", "}", ""]))
        self.addCleanup(self.net.nft, self.net.server, "flush ruleset\n")
        (result,) = run_json_all(self.net, [
            (["-U", "-p123", "-w1", self.net.destination], USER)])
        self.assert_verdict(result, "silent", 1)
        self.assertIn(self.CLAUSE, result[1]["summary"])

    def test_table_names_ntp_and_its_stratum(self):
        status, out, err = run(self.net, "-n", "-U", "-p123,9", "-w1",
                               self.net.destination)
        self.assertEqual((status, err), (0, ""))
        row, = [line for line in out.splitlines() if line[:3] == "123"]
        self.assertTrue(row.endswith("  %s  NTP stratum 3" %
                                     self.net.destination), row)

    def test_port_below_1024_is_told_to_need_root(self):
        if getattr(self.net, "highest_id", 0) < 65534 or \
                not os.path.exists("/usr/bin/python3"):
            self.skipTest("no Python for another user, or no other user")
        with open(test_live.SCRIPT) as stream:
            source = stream.read()

        def trace(*words):
            return self.net.run(
                self.net.client, ["/usr/bin/python3", "-", "-n", "-w1",
                                  self.net.destination] + list(words),
                input=source, privileged=False, uid=65534)

        for port, start in ((123, 1024), (80, 100)):
            self.net.sysctl(self.net.client,
                            "net.ipv4.ip_unprivileged_port_start", start)
            for method in ("-U", "-T"):
                status, out, err = trace(method, "-S%d" % port)
                self.assertEqual((status, out), (2, ""))
                self.assertIn("-S %d: this user may not use ports below %d; "
                              "run it as root, or choose another\n" % (
                                  port, start), err)
        status, _, err = trace("-U", "-p123", "-S123")
        self.assertEqual((status, err), (0, ""))    # 100 is the first free


if __name__ == "__main__":
    unittest.main()
