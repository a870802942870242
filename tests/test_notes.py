"""What changed on the way: ICMP extensions, NAT, TOS, detours, loops.

Not tested here: real MPLS (the kernels at hand can not route it), RFC 5837
interfaces from real routers, and real load balancers.
"""

import json
import os
import struct
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import emulator  # noqa: E402
from lanes import load_tests  # noqa: F401,E402
import potraceroute as pt  # noqa: E402

import test_live  # noqa: E402
from test_plan import (  # noqa: E402
    DESTINATION, echo_trace, hear, make_path, make_target, make_trace,
    prohibited, router, walk)

ROOT, USER = {"privileged": True}, {"privileged": False}
TWO_LABELS = [[24001, 5, 0, 1], [16, 0, 1, 1]]
PORT = {"ifindex": 7, "name": "ge-0/0/1", "mtu": 1500,
        "address": ["192.0.2.9", "2001:db8::9"]}
LABELS = (pt.Label(24001, 5, 1), pt.Label(16, 0, 1))
NOTHING = {"labels": (), "interfaces": ()}


def extension(version=4, **router):
    return emulator.encode_extension(router, version)


def with_checksum(octets):
    """The extension with a checksum that is right."""
    octets = octets[:2] + b"\0\0" + octets[4:]
    return emulator.replace_u16(octets, 2, emulator.checksum(octets))


def decode(octets):
    """What decode_extension() makes of it: {} is nothing, too."""
    return dict(NOTHING, **pt.decode_extension(octets))


def probe_packet(version, proto, payload=b"\xa1" * 12):
    """One of our packets, as a router gets it."""
    source, dest = {4: ("192.0.2.1", DESTINATION),
                    6: ("2001:db8::1", "2001:db8::7")}[version]
    head = {emulator.TCP: struct.pack("!HHIIBBHHH", 40000, 443, 7, 0, 80, 2,
                                      0, 0, 0),
            emulator.UDP: struct.pack("!HHHH", 40000, 33434,
                                      8 + len(payload), 0) + payload,
            emulator.ICMP: struct.pack("!BBHHH", 8, 0, 0, 99, 5) + payload,
            emulator.ICMPV6: struct.pack("!BBHHH", 128, 0, 0, 99, 5) +
            payload}[proto]
    return emulator.decode_packet(emulator.encode_ip(
        version, source, dest, proto, 1, head))


def time_exceeded(version, proto, payload=b"\xa1" * 12, **router):
    """(ICMP message of a router, where the quoted packet's data begin as
    the error queue has them)."""
    packet = probe_packet(version, proto, payload)
    octets = emulator.Router(1, router, 0).error(
        packet, emulator.TIME_EXCEEDED[version])
    length = emulator.IP_HEADER_LENGTH[version]
    return octets[length:], 8 + packet.header_length + 8 * (
        proto == emulator.UDP)


class ExtensionTests(unittest.TestCase):

    def test_extension_with_two_labels_is_decoded(self):
        self.assertEqual(decode(extension(labels=TWO_LABELS)),
                         {"labels": LABELS, "interfaces": ()})

    def test_extension_with_an_interface_gives_name_and_address(self):
        self.assertEqual(decode(extension(interface=PORT))["interfaces"],
                         ("ge-0/0/1 192.0.2.9",))
        self.assertEqual(decode(extension(6, interface=PORT))["interfaces"],
                         ("ge-0/0/1 2001:db8::9",))
        for some, words in ((("name",), "ge-0/0/1"),
                            (("name", "mtu"), "ge-0/0/1"),
                            (("ifindex", "name"), "ge-0/0/1"),
                            (("ifindex", "address"), "192.0.2.9"),
                            (("address", "mtu"), "192.0.2.9"),
                            (("ifindex",), "")):
            port = dict((key, PORT[key]) for key in some)
            self.assertEqual(decode(extension(interface=port))["interfaces"],
                             (words,))

    def test_extension_with_a_wrong_checksum_or_version_is_nothing(self):
        good = extension(labels=TWO_LABELS, interface=PORT)
        for at in range(len(good)):
            bad = bytearray(good)
            bad[at] ^= 0x10
            self.assertEqual(decode(bytes(bad)), NOTHING, at)
        for first in (0, 0x10, 0x30, 0x45):
            self.assertEqual(decode(with_checksum(
                struct.pack("B", first) + good[1:])), NOTHING)

    def test_extension_without_a_checksum_is_believed(self):
        good = extension(labels=TWO_LABELS)
        self.assertEqual(decode(good[:2] + b"\0\0" + good[4:])["labels"],
                         LABELS)

    def test_extension_with_unknown_objects_is_passed_over(self):
        good = extension(labels=TWO_LABELS)
        other = emulator.encode_object(9, 1, b"what?123")
        for octets in (good + other, good[:4] + other + good[4:]):
            self.assertEqual(decode(with_checksum(octets))["labels"], LABELS)

    def test_extension_with_a_bad_object_length_is_nothing(self):
        good = extension(labels=TWO_LABELS)
        for length in (0, 1, 3, 13, 0xffff):
            self.assertEqual(decode(with_checksum(
                good[:4] + struct.pack("!H", length) + good[6:])), NOTHING)

    def test_extension_of_any_octets_never_raises_and_stays_small(self):
        good = extension(labels=TWO_LABELS, interface=PORT)
        for length in range(len(good)):
            self.assertEqual(decode(good[:length]), NOTHING)
            for first in (good[:length], good[:length] + b"\xff" * 9):
                decode(with_checksum(first.ljust(4, b"\0")))
        for flags in range(256):
            for length in range(40):
                for octet in (b"\0", b"\xff", b"\7"):
                    words = pt.decode_interface(flags, octet * length)
                    self.assertEqual(words, pt.format_text(words))
        many = with_checksum(b"\x20\0\0\0" + emulator.encode_object(
            1, 1, b"\0\1\0\1" * 300) * 3 + emulator.encode_object(
                2, 2, b"\x40" + b"n" * 63) * 20)
        found = decode(many)
        self.assertLessEqual(len(found["labels"]), 16)
        self.assertLessEqual(len(found["interfaces"]), 16)

    def test_interface_name_is_shown_escaped(self):
        port = {"name": u"a\x1b[2J\n\xfc"}
        words, = decode(extension(interface=port))["interfaces"]
        self.assertEqual(words, "a\\x1b[2J\\n\\xc3\\xbc")


class QuoteTests(unittest.TestCase):
    """Where an extension is: in the whole message, and in what the error
    queue leaves of it."""

    PROTOCOLS = {4: (emulator.TCP, emulator.UDP, emulator.ICMP),
                 6: (emulator.TCP, emulator.UDP, emulator.ICMPV6)}
    STYLES = ({}, {"quote": 8}, {"legacy": True},
              {"legacy": True, "quote": 8}, {"quote": 200})

    def each(self, payload):
        for version, protocols in self.PROTOCOLS.items():
            for proto in protocols:
                for style in self.STYLES:
                    message, start = time_exceeded(
                        version, proto, payload, labels=TWO_LABELS,
                        interface=PORT, **style)
                    yield version, proto, style, message, start

    def errors(self, version, proto, data, told):
        """The replies of an ErrorQueue that holds this."""
        address = b"\xc0\0\2\x63".ljust(16, b"\0") if version == 4 else \
            b"\0" * 4 + b"\x20\1\x0d\xb8".ljust(16, b"\x01") + b"\0" * 4
        value = struct.pack("=IBBBBII", 113, 2 if version == 4 else 3,
                            *emulator.TIME_EXCEEDED[version] + (0, 0, told))
        value += struct.pack("=HH", {4: 2, 6: 10}[version], 0) + address
        entries = [(data, DESTINATION, 33434, {}, [
            ({4: 0, 6: 41}[version], {4: 11, 6: 25}[version], value)])]

        class Queue(pt.ErrorQueue):
            def receive(self, sock, flags=0):
                if not entries:
                    raise pt.socket.error(11, "empty")
                return entries.pop()

        return Queue().errors(None, proto, version)

    def test_message_with_an_extension_gives_its_labels(self):
        for payload in (b"\xa1" * 12, b"\xa1" * 300):
            for version, _, style, message, _ in self.each(payload):
                reply = pt.decode_icmp(version, message)
                self.assertEqual(reply.labels, LABELS, style)
                self.assertEqual(len(reply.interfaces), 1)

    def test_error_queue_without_a_told_place_finds_it_behind_128(self):
        for version, proto, style, message, start in self.each(b"\xa1" * 12):
            for told in (0, emulator.QUOTED_BEFORE_EXTENSION + 8 - start):
                reply, = self.errors(version, proto, message[start:], told)
                self.assertEqual(reply.labels, LABELS,
                                 (version, proto, style))

    def test_error_queue_that_tells_another_place_is_believed(self):
        message, start = time_exceeded(4, emulator.UDP, b"\xa1" * 300,
                                       labels=TWO_LABELS, quote=200)
        place = message.index(extension(labels=TWO_LABELS)) - start
        self.assertGreater(place, 100)
        reply, = self.errors(4, emulator.UDP, message[start:], place)
        self.assertEqual(reply.labels, LABELS)

    def test_quotes_cut_at_every_length_never_raise(self):
        for version, proto, _, message, start in self.each(b"\xa1" * 12):
            for length in range(len(message)):
                pt.decode_icmp(version, message[:length])
                for told in (0, 1, 0xffff):
                    self.errors(version, proto, message[start:length], told)

    def test_quote_without_an_extension_has_no_labels(self):
        for payload in (b"\xa1" * 12, b"\0" * 300, b"\x20" * 300):
            message, start = time_exceeded(4, emulator.UDP, payload)
            self.assertEqual(pt.decode_icmp(4, message).labels, ())
            reply, = self.errors(4, emulator.UDP, message[start:], 0)
            self.assertEqual(reply.labels, ())

    def test_short_quote_padded_to_its_extension_is_still_ours(self):
        method = pt.UdpMethod(make_target(33434), pt.Mechanism())
        probe = pt.Probe(3, False)
        probe.source_port, probe.payload = 40000, b"\xa1" * 12
        for style in self.STYLES:
            message, _ = time_exceeded(4, emulator.UDP, probe.payload,
                                       labels=TWO_LABELS, **style)
            self.assertTrue(method.answers(pt.decode_icmp(4, message),
                                           probe), style)
            message, _ = time_exceeded(4, emulator.UDP, b"\xa1" * 11 + b"x",
                                       labels=TWO_LABELS, **style)
            self.assertEqual(method.answers(pt.decode_icmp(4, message),
                                            probe), style.get("quote") == 8)


# --------------------------------------------------------------------------
# Hops, and what is found in them
# --------------------------------------------------------------------------

def make_hop(ttl, address=None, outcome="time-exceeded", sent=1, lost=0,
             tos=None, more=False, **facts):
    if tos is not None:
        facts["quoted"] = pt.NOTHING_QUOTED._replace(tos=tos)
    if outcome == "time-exceeded":
        facts.update(icmp_type=11, icmp_code=0)
    answer = pt.NO_REPLY._replace(
        outcome=outcome, responder=address or router(ttl), rtt=0.02, **facts)
    answers = () if outcome == "timeout" else (answer,)
    return pt.Hop(ttl, "udp", 9, DESTINATION, answers, None, "host", 4,
                  False, more, sent, lost)


def silent(ttl, sent=1):
    return make_hop(ttl, outcome="timeout", sent=sent, lost=sent)


def end(ttl, outcome="echo-reply", **facts):
    return make_hop(ttl, DESTINATION, outcome, **facts)


def findings(hops, method="udp", **options):
    """The (kind, hop, text) that all checks find."""
    case = pt.Case(make_path(proto=method)._replace(shown=tuple(hops)))
    look = pt.Look(pt.default_options(**options), False, True, None)
    return [(found.kind, found.hop, pt.say_finding(found))
            for found in pt.find_all(case, pt.judge(case), look)]


class HopTests(unittest.TestCase):

    def test_labels_and_interface_follow_the_time(self):
        hop = make_hop(3, labels=LABELS, interfaces=("ge-0/0/1 192.0.2.9",))
        self.assertEqual(hop.format_line(), (
            "3\t10.0.3.1 (10.0.3.1)  ICMP 11/0  20.000 ms  [MPLS 24001/5 "
            "16/0]  [ge-0/0/1 192.0.2.9]"))
        self.assertEqual(str(hop), "3\t10.0.3.1 (10.0.3.1)  ICMP 11/0")
        self.assertEqual(hop.labels, LABELS)

    def test_labels_of_several_answers_are_shown_once(self):
        hop = make_hop(3, labels=LABELS)
        hop = hop._replace(answers=hop.answers * 3)
        self.assertEqual(hop.format_line().count("MPLS"), 1)
        self.assertEqual(hop.format_line().count(" ms"), 3)

    def test_labels_are_objects_in_json(self):
        entry = make_hop(3, labels=LABELS, interfaces=("x",)).as_dict()
        entry = json.loads(json.dumps(entry))
        self.assertEqual(entry["labels"], [
            {"label": 24001, "exp": 5, "ttl": 1},
            {"label": 16, "exp": 0, "ttl": 1}])
        self.assertEqual(entry["interfaces"], ["x"])


class FindingTests(unittest.TestCase):

    def test_healthy_path_has_no_findings(self):
        hops = [make_hop(ttl, reply_ttl=start + 1 - ttl, tos=0)
                for ttl, start in ((1, 64), (2, 255), (3, 255), (4, 128))]
        hops += [silent(5, 3), make_hop(6, reply_ttl=58, tos=0),
                 end(7, "port-unreachable", reply_ttl=58, tos=0)]
        self.assertEqual(findings(hops), [])
        self.assertEqual(findings([]), [])

    def test_quote_that_is_flagged_is_told_of_its_first_hop(self):
        flagged = dict(flags=("nat-source", "quoted-ttl"), quoted=(
            pt.NOTHING_QUOTED._replace(source="192.0.2.50", ttl=3)))
        self.assertEqual(findings([make_hop(1), make_hop(2, **flagged),
                                   make_hop(3, **flagged)]), [
            ("nat", 2, "hop 2 (10.0.2.1) quotes 192.0.2.50 as the source: "
             "NAT on the way"),
            ("quoted-ttl", 2, "hop 2 (10.0.2.1) quotes a ttl of 3, not 1: "
             "MPLS hides hops there, or a router miscounts")])

    def test_tos_rewritten_names_the_first_hop_that_quotes_it(self):
        hops = [make_hop(1, tos=40), make_hop(2, tos=40), make_hop(3),
                make_hop(4, tos=0), make_hop(5, tos=0), end(6)]
        self.assertEqual(findings(hops, tos=40), [(
            "tos", 4, "the TOS byte 0x28 becomes 0x00 from hop 4 (10.0.4.1) "
            "on: rewritten there or after hop 2 (10.0.2.1)")])

    def test_tos_rewritten_twice_is_found_twice(self):
        hops = [make_hop(1, tos=8), make_hop(2, tos=8), make_hop(3, tos=0)]
        first, second = findings(hops, tos=40)
        self.assertIn("0x28 becomes 0x08 from hop 1", first[2])
        self.assertIn("after this host", first[2])
        self.assertIn("0x08 becomes 0x00 from hop 3", second[2])

    def test_tos_misquoted_once_or_of_tcp_without_ecn_is_not_rewritten(self):
        for method, tos, seen, count in (
                ("udp", 40, (40, 0, 40, 40), 0), ("tcp", 43, (40, 40), 0),
                ("udp", 43, (40, 40), 1)):
            hops = [make_hop(ttl, tos=one) for ttl, one in
                    enumerate(seen, 1)]
            self.assertEqual(len(findings(hops, method, tos=tos)), count)

    def test_way_back_of_other_length_is_found_where_it_begins(self):
        hops = [make_hop(1, reply_ttl=255), make_hop(2, reply_ttl=63),
                make_hop(3, reply_ttl=247), silent(4),
                make_hop(5, reply_ttl=245), end(6, reply_ttl=54)]
        (kind, ttl, text), = findings(hops)
        self.assertEqual((kind, ttl), ("asymmetric", 3))
        self.assertIn("come back over about 9 hops, not 3", text)
        hops = [make_hop(ttl, reply_ttl=253) for ttl in range(1, 10)]
        (kind, ttl, text), = findings(hops)
        self.assertEqual((kind, ttl), ("asymmetric", 7))
        self.assertIn("about 3 hops, not 7", text)

    def test_way_back_of_one_odd_hop_or_a_tunnel_is_no_finding(self):
        plain = [make_hop(ttl, reply_ttl=256 - ttl) for ttl in range(1, 8)]
        for hops in (
                plain[:2] + [make_hop(3, reply_ttl=230)] + plain[3:],
                plain[:6] + [make_hop(7, reply_ttl=230)],
                plain[:3] + [make_hop(ttl, reply_ttl=245 - ttl,
                                      labels=LABELS) for ttl in range(4, 8)],
                plain[:3] + [make_hop(ttl, reply_ttl=253 - ttl)
                             for ttl in range(4, 8)],
                plain[:3] + [end(4, reply_ttl=40, more=True)]):
            self.assertEqual(findings(hops), [])

    def test_way_back_of_any_reply_ttl_never_raises(self):
        for reply_ttl in range(256):
            findings([make_hop(1, reply_ttl=reply_ttl),
                      make_hop(255, reply_ttl=reply_ttl)])

class LoopTests(unittest.TestCase):

    def find(self, names):
        """The ttls of find_loop() on a path of one-letter routers."""
        loop = pt.find_loop([
            make_hop(ttl, name) if name != "*" else silent(ttl)
            for ttl, name in enumerate(names, 1)])
        return loop and tuple(hop.ttl for hop in loop)

    def test_loop_of_two_or_more_routers_is_found(self):
        self.assertEqual(self.find("abcdcdcd"), (3, 4, 8))
        self.assertEqual(self.find("abcdcdcdcdcdef"), (3, 4, 8))
        self.assertEqual(self.find("abcabc"), (1, 3, 6))
        self.assertEqual(self.find("xabcdabcd"), (2, 5, 9))

    def test_path_that_only_looks_like_a_loop_is_none(self):
        for names in ("", "a", "abcdefghij", "abcdcd", "abababx"[:5],
                      "aaaaaaaaaa", "aabbccdd", "abcabd", "a*a*a*a*a*",
                      "**********", "ab*ab*ab*", "abba"):
            self.assertIsNone(self.find(names), names)

    def test_nat_that_lends_its_address_to_others_is_no_loop(self):
        hops = [make_hop(ttl, "ab"[ttl % 2], reply_ttl=255 - ttl)
                for ttl in range(1, 12)]
        self.assertIsNone(pt.find_loop(hops))
        hops = [make_hop(ttl, "ab"[ttl % 2], reply_ttl=250 + ttl % 2)
                for ttl in range(1, 12)]
        self.assertTrue(pt.find_loop(hops))

    def walk(self, names, *first, **more):
        return hear(pt.Series(**more), *first + tuple(
            (ttl, make_hop(1, name).answer)
            for ttl, name in enumerate(names, 1)))

    def test_series_that_sees_a_loop_goes_no_farther(self):
        series = self.walk("abcdcdcd")
        self.assertEqual((series.last, series.horizon, series.farthest),
                         (8, 8, 8))
        for state in [series.full] + series.states[:8]:
            state.settled = True
        self.assertEqual(series.due(9.0), [])
        self.assertTrue(series.done)

    def test_series_whose_destination_answered_sees_no_loop(self):
        series = self.walk("abcdcdcd", (0, end(9).answer))
        self.assertEqual((series.last, series.loop), (30, None))

    def test_series_of_255_hops_is_quick_enough(self):
        names = ["%d" % number for number in range(255)]
        self.assertFalse(self.walk(names, last=255).loop)


class VerdictTests(unittest.TestCase):

    def test_rejection_at_the_destinations_distance_may_be_its_own(self):
        for where, last, address, code, control, own in (
                (3, 30, "192.0.2.50", 3, [echo_trace(3)], True),
                (3, 30, "192.0.2.50", 3, [], False),
                (3, 30, "192.0.2.50", 13, [echo_trace(3)], False),
                (4, 30, "192.0.2.50", 3, [echo_trace(3)], False),
                (3, 30, router(2), 3, [echo_trace(3)], False),
                # At no known distance, as the control is.
                (3, 2, "192.0.2.50", 3, [echo_trace(9, False)], False)):
            no = prohibited(address, icmp=(3, code))
            hops = walk(where - 1, **{"t%d" % where: no})
            trace = make_trace(no, hops, "udp", 9, control, last=last)
            self.assertEqual("another address" in trace.summary, own)

    def test_router_met_again_much_later_hints_at_a_loop(self):
        for control, words in (
                (walk(3, t19=walk(3)[3]), "10.0.3.1 answers as hop 3 and as "
                 "hop 19: the path loops, or it answers for others"),
                # Unequal paths may have it two hops later.
                (walk(3, t5=walk(3)[3]), "")):
            trace = make_trace(None, walk(3), control=[
                make_trace(None, control, "icmp", None)], proto="udp")
            self.assertEqual([found["text"] for found in trace.findings],
                             [words] if words else [])
            self.assertIn(words, trace.summary)
        self.assertEqual(make_trace(None, walk(3), control=[echo_trace(
            25, t19=walk(3)[3])], proto="udp").findings, [])


# --------------------------------------------------------------------------
# Live
# --------------------------------------------------------------------------

class NotesCase(object):
    """Beside a network: the notes of a trace in it."""

    def trace(self, *args, **how):
        """Run the command; -> its trace of --json."""
        return test_live.run_json(self.net, *args, **how)[1]

    def trace_each(self, *calls):
        """Run it with each list of arguments, as root and as user."""
        return [trace for _, trace in test_live.run_json_all(self.net, [
            (call, how) for call in calls for how in (ROOT, USER)])]

    def kinds(self, trace):
        return [finding["kind"] for finding in trace["findings"]]


class TestEmulatedPath(NotesCase, test_live.PathCase):

    def test_healthy_path_has_no_findings(self):
        destination = self.make(routers=5, delay=0.01,
                                hops={3: {"silent": True}})
        for trace in self.trace_each(*[
                [destination, "-w0.5"] + flags
                for flags in (["-p81"], ["-U", "-q3"], ["-I"])]):
            self.assertEqual(trace["findings"], [], trace)

    def test_labels_and_interface_are_seen_by_every_method(self):
        for address in (self.make(routers=5, delay=0.01, hops={
                1: {"labels": TWO_LABELS}, 2: {"interface": PORT},
                3: {"labels": TWO_LABELS, "quote": 8},
                4: {"labels": TWO_LABELS, "legacy": True}}),
                self.net.destination6):
            stack = [{"label": 24001, "exp": 5, "ttl": 1},
                     {"label": 16, "exp": 0, "ttl": 1}]
            for trace in self.trace_each(*[
                    [address, flag] for flag in ("-p81", "-U", "-I")]):
                self.assertEqual(
                    [hop["labels"] for hop in trace["hops"]],
                    [stack, [], stack, stack, [], []], trace)
                self.assertEqual(
                    trace["hops"][1]["interfaces"],
                    ["ge-0/0/1 " + PORT["address"][":" in address]])

    def test_changes_of_the_quoted_header_are_found_by_root(self):
        destination = self.make(routers=5, delay=0.01, hops={
            2: {"quote_dst": "10.99.9.9"}, 3: {"rewrite_tos": 0},
            5: {"quote_ttl": 2}})
        for flags in (["-p81"], ["-U"], ["-I"]):
            trace = self.trace(destination, "-t40", *flags, **ROOT)
            self.assertEqual([(finding["kind"], finding["hop"])
                              for finding in trace["findings"]],
                             [("nat", 2), ("quoted-ttl", 5), ("tos", 4)])
        trace = self.trace(destination, "-U", "-t40", **USER)
        self.assertEqual(self.kinds(trace), ["nat"])

    def test_long_way_back_is_found(self):
        destination = self.make(routers=5, delay=0.01, return_hops=11, hops={
            4: {"reply_ttl": 248}, 5: {"reply_ttl": 249}})
        trace = self.trace(destination, "-U")
        self.assertEqual(self.kinds(trace), ["asymmetric"])
        self.assertEqual(trace["findings"][0]["hop"], 4)

    def test_loop_ends_the_trace_and_is_named(self):
        # One router has one way back, however often it is met.
        hops = dict((k, {"reply_from": "10.88.%d.1" % (3 + (k + 1) % 2),
                         "reply_ttl": 219 + k}) for k in range(3, 31))
        hops[30]["filters"] = [{"action": "drop"}]
        destination = self.make(routers=30, hops=hops)
        trace = self.trace(destination, "-w0.5", "--control=none")
        self.assertEqual((trace["verdict"], self.kinds(trace)),
                         ("dropped", ["loop"]))
        self.assertIn("the path loops between hop 3 (10.88.3.1) and hop 4 "
                      "(10.88.4.1)", trace["summary"])
        self.assertEqual(len(trace["hops"]), 8)

    def test_router_that_answers_for_all_behind_it_hides_no_destination(self):
        hops = dict((k, {"reply_from": "10.88.3.1", "reply_ttl": 219 + k})
                    for k in range(3, 9))
        destination = self.make(routers=8, hops=hops)
        trace = self.trace(destination, "-p81")
        self.assertEqual((trace["distance"], trace["findings"]), (9, []))
        hops[8]["filters"] = [{"action": "drop"}]
        self.make(routers=8, hops=hops)
        trace = self.trace(destination, "-w0.5", "--control=none")
        self.assertEqual(trace["blocked_after"]["ttl"], 8)
        self.assertIn("10.88.3.1 answers as hop 3 and as hop 6: the path "
                      "loops, or it answers for others", trace["summary"])


class TestChainOfKernelRouters(NotesCase, test_live.ChainCase):

    @classmethod
    def build(cls):
        net = test_live.ChainCase.build()
        # r2 sends these on to r3, and r3 sends them back.
        net.ip(net.routers[2], "route add 198.18.0.0/24 via 10.77.2.1\n"
               "route add 2001:db8:1::/64 via fd77:2::1")
        return net

    def tearDown(self):
        for name in self.net.routers:
            self.net.nft(name, "flush ruleset\n")

    def test_healthy_chain_has_no_findings(self):
        for address in (self.net.destination, self.net.destination6):
            for trace in self.trace_each([address, "-p81"],
                                         [address, "-U", "-t40"]):
                self.assertEqual(trace["findings"], [], trace)

    def test_two_routers_that_send_to_each_other_are_a_loop(self):
        # IPv6 kernels answer from where the packet came in, so that r2 has
        # another address when it is met first.
        for address, words in (
                ("198.18.0.9", "hop 2 (10.77.1.2) and hop 3 (10.77.2.2)"),
                ("2001:db8:1::9",
                 "hop 3 (fd77:2::2) and hop 4 (fd77:2::1)")):
            for flags in (["-p81"], ["-U"]):
                trace = self.trace(address, "-w0.5", *flags)
                self.assertEqual((trace["verdict"], self.kinds(trace)),
                                 ("dropped", ["loop"]), trace)
                self.assertIn("the path loops between " + words,
                              trace["summary"])
                self.assertLess(len(trace["hops"]), 10)

    def test_dscp_set_by_a_kernel_router_is_found_from_the_next_on(self):
        for hook, first in (("forward", 3), ("prerouting", 2)):
            self.net.nft(self.net.routers[1], (
                "table ip t {\nchain c {\ntype filter hook %s priority 0\n"
                "ip dscp set cs0\n}\n}\n") % hook)
            trace = self.trace(self.net.destination, "-U", "-t40", **ROOT)
            self.assertEqual([(finding["kind"], finding["hop"])
                              for finding in trace["findings"]],
                             [("tos", first)], trace)
            self.assertIn("0x28 becomes 0x00", trace["findings"][0]["text"])
            self.net.nft(self.net.routers[1], "flush ruleset\n")


if __name__ == "__main__":
    unittest.main()
