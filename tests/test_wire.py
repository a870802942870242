"""Octets in, fields out: codecs, decoders, matching, classifying.

Every fixture is literal hexadecimal.  Hostile input is made of the fixtures:
cut at every length, and with every octet replaced.
"""

import binascii
import errno
import os
import random
import socket
import struct
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import potraceroute as pt  # noqa: E402


def octets(text):
    """Return the octets of hexadecimal digits in any spacing."""
    return binascii.unhexlify("".join(text.split()).encode("ascii"))


# 192.0.2.99 probes 198.51.100.7; the same for IPv6.
HEADER_TCP = octets("4500003c 12344000 01060000 c0000263 c6336407")
HEADER_UDP = octets("45280028 12340000 02110000 c0000263 c6336407")
HEADER_ICMP = octets("45000026 12340000 01010000 c0000263 c6336407")
SYN = octets("9c4101bb 0a0b0c0d 00000000 a002faf0 00000000"
             "020405b4 0402080a 12345678 00000000 01030307")
NONCE = octets("a1a2a3a4a5a6a7a8a9aaabac")
DATAGRAM = octets("9c41829a 00140000") + NONCE
ECHO = octets("0800f4ff 12340007") + NONCE
ADDRESSES6 = octets("20010db8000000000000000000000099"
                    "20010db8000000000000000000000007")
HEADER6_UDP = octets("62800000 00141103") + ADDRESSES6
MPLS = octets("2000be13 000c0101 05dc1a01 00010101")

EXCEEDED_SHORT = octets("0b00f4ff 00000000") + HEADER_TCP + SYN[:8]
EXCEEDED_FULL = octets("0b00f4ff 00000000") + HEADER_TCP + SYN
EXCEEDED_UDP = octets("0b00f4ff 00000000") + HEADER_UDP + DATAGRAM
EXCEEDED_ECHO = octets("0b00f4ff 00000000") + HEADER_ICMP + ECHO
EXCEEDED_MPLS = (octets("0b00f4ff 00200000") + HEADER_UDP + DATAGRAM +
                 b"\0" * (128 - 40) + MPLS)
PROHIBITED = octets("030d0000 00000000") + HEADER_TCP + SYN
ECHO_REPLY = octets("0000fcff 12340007") + NONCE
EXCEEDED6 = octets("03000000 00000000") + HEADER6_UDP + DATAGRAM
EXCEEDED6_MPLS = (octets("03000000 10000000") + HEADER6_UDP + DATAGRAM +
                  b"\0" * (128 - 60) + MPLS)
ECHO_REPLY6 = octets("81000000 12340007") + NONCE
SEGMENT_ACCEPTED = octets("01bb9c41 11223344 0a0b0c0e 6012ffff 00000000"
                          "020405b4")
SEGMENT_RESET = octets("01bb9c41 00000000 0a0b0c0e 50140000 00000000")

# As NetBSD's raw socket delivers them: ip_len in host order, reduced.
NETBSD_UDP_1 = octets(
    "45c02f00caad0000400192b00a4d04010a4d04020b0010c200000000450000270000000"
    "001119e290a4d04020a4d03029c41829a0013229a756470207061796c6f6164")
NETBSD_UDP_2 = octets(
    "45c02f00c7eb00003f0198710a4d02020a4d04020b0010c200000000450000270000000"
    "001119e290a4d04020a4d03029c42829a00132299756470207061796c6f6164")
NETBSD_REACHED = octets(
    "45c02f00c85600003e0198060a4d03020a4d0402030318bf00000000450000270000000"
    "001119e290a4d04020a4d03029c43829a00132298756470207061796c6f6164")
NETBSD_TCP = octets(
    "45c04800caae0000400192960a4d04010a4d04020b0010d000000000450000400000400"
    "001065e1b0a4d04020a4d0302a029005001bf75e200000000b002800082440000020405"
    "b401030303040201010101080a0000000100000000")

# struct sock_extended_err: errno, origin, type, code, pad, info, data;
# numbers are in the host's octet order.
EE_ROUTER = (struct.pack("=I", 113) + octets("020b0000") +
             struct.pack("=IIH", 0, 0, socket.AF_INET) +
             octets("0000 0a4d0401 0000000000000000"))
EE_ROUTER6 = (struct.pack("=I", 113) + octets("03030000") +
              struct.pack("=IIH", 0, 0, socket.AF_INET6) +
              octets("0000 00000000 20010db8000000000000000000000001"
                     "00000000"))
EE_LOCAL = struct.pack("=I", 90) + octets("01000000") + b"\0" * 24
EE_STAMP = struct.pack("=I", 42) + octets("040b0000") + b"\0" * 24

ICMP_FIXTURES = (EXCEEDED_SHORT, EXCEEDED_FULL, EXCEEDED_UDP, EXCEEDED_ECHO,
                 EXCEEDED_MPLS, PROHIBITED, ECHO_REPLY, NETBSD_UDP_1[20:],
                 NETBSD_REACHED[20:], NETBSD_TCP[20:])
ICMP6_FIXTURES = (EXCEEDED6, EXCEEDED6_MPLS, ECHO_REPLY6)
FIXTURES = ICMP_FIXTURES + ICMP6_FIXTURES + (
    HEADER_TCP + SYN, HEADER6_UDP + DATAGRAM, SEGMENT_ACCEPTED,
    SEGMENT_RESET, NETBSD_UDP_1, NETBSD_UDP_2, NETBSD_REACHED, NETBSD_TCP,
    EE_ROUTER, EE_ROUTER6, EE_LOCAL, EE_STAMP)


def make_target(version=4, port=443, payload=None):
    """Return a Target; what this file does not know of is None."""
    address = {4: "198.51.100.7", 6: "2001:db8::7"}[version]
    values = dict.fromkeys(pt.Target._fields)
    values.update(
        family=pt.FAMILIES[version], address=address, port=port,
        sockaddr=(address, port or 0), payload=payload, tos=0,
        own_address={4: "192.0.2.99", 6: "2001:db8::99"}[version])
    return pt.Target(**values)


class SilentSocket(object):
    """Stands for the ping socket that IcmpMethod opens."""

    def getsockname(self):
        return ("0.0.0.0", 0x1234)

    def close(self):
        pass


class SocketlessIcmp(pt.IcmpMethod):
    def open_socket(self, *args, **keywords):
        return SilentSocket()


def make_probe(**values):
    probe = pt.Probe(3, False)
    for name, value in values.items():
        setattr(probe, name, value)
    return probe


def quote(**fields):
    return pt.NO_REPLY._replace(
        kind="icmp", responder="10.0.0.1", icmp_type=11, icmp_code=0,
        quoted=pt.NOTHING_QUOTED._replace(**fields))


class ChecksumTests(unittest.TestCase):

    def test_checksum_of_the_example_of_rfc_1071_is_its_complement(self):
        self.assertEqual(pt.checksum(octets("0001f203f4f5f6f7")), 0x220d)

    def test_checksum_of_an_odd_length_counts_a_zero_octet_more(self):
        self.assertEqual(pt.checksum(octets("0001f2")),
                         pt.checksum(octets("0001f200")))
        self.assertEqual(pt.checksum(octets("0001f2")), 0x0dfe)

    def test_checksum_of_nothing_is_all_ones(self):
        self.assertEqual(pt.checksum(b""), 0xffff)

    def test_checksum_with_two_carries_is_folded_twice(self):
        self.assertEqual(pt.checksum(octets("ffff 0001")), 0xfffe)
        self.assertEqual(pt.checksum(b"\xff\xff" * 40000), 0)

    def test_checksum_over_a_right_header_is_zero(self):
        self.assertEqual(pt.checksum(NETBSD_UDP_1[28:48]), 0)


class EchoTests(unittest.TestCase):

    def test_echo_request_of_ipv4_has_its_checksum(self):
        self.assertEqual(pt.encode_echo(4, 0x1234, 7, b"abc"),
                         octets("0800 2162 1234 0007 616263"))
        self.assertEqual(pt.checksum(pt.encode_echo(4, 1, 2, NONCE)), 0)

    def test_echo_request_of_ipv6_leaves_the_checksum_to_the_kernel(self):
        self.assertEqual(pt.encode_echo(6, 0x1234, 7, b"abc"),
                         octets("8000 0000 1234 0007 616263"))


class AddressTests(unittest.TestCase):

    def test_address_of_4_or_16_octets_is_text(self):
        self.assertEqual(pt.format_address(octets("c6336407")),
                         "198.51.100.7")
        self.assertEqual(pt.format_address(ADDRESSES6[16:]), "2001:db8::7")

    def test_address_of_any_other_length_is_empty(self):
        for length in (0, 1, 3, 5, 15, 17):
            self.assertEqual(pt.format_address(b"\1" * length), "")

    def test_sockaddr_of_ipv4_gives_its_address(self):
        self.assertEqual(pt.decode_sockaddr(EE_ROUTER[16:]), "10.77.4.1")
        self.assertEqual(pt.decode_sockaddr(EE_ROUTER[16:24]), "10.77.4.1")

    def test_sockaddr_of_ipv6_gives_its_address(self):
        self.assertEqual(pt.decode_sockaddr(EE_ROUTER6[16:]), "2001:db8::1")
        self.assertEqual(pt.decode_sockaddr(EE_ROUTER6[16:40]),
                         "2001:db8::1")

    def test_sockaddr_too_short_or_of_no_family_is_none(self):
        for length in range(8):
            self.assertIsNone(pt.decode_sockaddr(EE_ROUTER[16:16 + length]))
        for length in range(24):
            self.assertIsNone(pt.decode_sockaddr(EE_ROUTER6[16:16 + length]))
        self.assertIsNone(pt.decode_sockaddr(b"\0" * 28))
        self.assertIsNone(pt.decode_sockaddr(b"\xff" * 28))


class IpHeaderTests(unittest.TestCase):

    def test_ipv4_header_gives_its_fields_and_what_follows(self):
        quoted, rest = pt.decode_ip(HEADER_UDP + DATAGRAM)
        self.assertEqual(
            (quoted.protocol, quoted.ttl, quoted.tos, quoted.source,
             quoted.destination),
            (17, 2, 0x28, "192.0.2.99", "198.51.100.7"))
        self.assertEqual(rest, DATAGRAM)

    def test_ipv4_options_are_passed_over(self):
        packet = octets("4700") + HEADER_UDP[2:] + b"\x01" * 8 + DATAGRAM
        quoted, rest = pt.decode_ip(packet)
        self.assertEqual(quoted.destination, "198.51.100.7")
        self.assertEqual(rest, DATAGRAM)

    def test_ipv4_first_fragment_has_the_transport_header(self):
        packet = HEADER_UDP[:6] + octets("2000") + HEADER_UDP[8:] + DATAGRAM
        self.assertEqual(pt.decode_ip(packet)[1], DATAGRAM)

    def test_ipv4_later_fragment_has_no_transport_header(self):
        for field in ("2001", "0001", "00b9", "1f00", "0100"):
            packet = HEADER_UDP[:6] + octets(field) + HEADER_UDP[8:] + \
                DATAGRAM
            quoted, rest = pt.decode_ip(packet)
            self.assertEqual((quoted.protocol, rest), (17, b""))

    def test_ipv4_header_that_is_cut_or_impossible_is_none(self):
        for length in range(20):
            self.assertEqual(pt.decode_ip(HEADER_UDP[:length]), (None, b""))
        for first in ("44", "40", "05", "55", "75", "f5", "00"):
            packet = octets(first) + HEADER_UDP[1:] + DATAGRAM
            self.assertEqual(pt.decode_ip(packet), (None, b""))

    def test_ipv6_header_gives_its_fields_and_what_follows(self):
        quoted, rest = pt.decode_ip(HEADER6_UDP + DATAGRAM)
        self.assertEqual(
            (quoted.protocol, quoted.ttl, quoted.tos, quoted.source,
             quoted.destination),
            (17, 3, 0x28, "2001:db8::99", "2001:db8::7"))
        self.assertEqual(rest, DATAGRAM)

    def test_ipv6_header_that_is_cut_is_none(self):
        for length in range(40):
            self.assertEqual(pt.decode_ip(HEADER6_UDP[:length]), (None, b""))

    def test_ipv6_extension_headers_are_passed_over(self):
        # Hop-by-hop options of 8 octets, destination options of 16, routing.
        packet = (HEADER6_UDP[:6] + octets("0003") + ADDRESSES6 +
                  octets("3c00010400000000") +
                  octets("2b010104000000000104000000000000") +
                  octets("1100000000000000") + DATAGRAM)
        quoted, rest = pt.decode_ip(packet)
        self.assertEqual((quoted.protocol, rest), (17, DATAGRAM))

    def test_ipv6_first_fragment_has_the_transport_header(self):
        packet = (HEADER6_UDP[:6] + octets("2c03") + ADDRESSES6 +
                  octets("1100 0001 0000002a") + DATAGRAM)
        quoted, rest = pt.decode_ip(packet)
        self.assertEqual((quoted.protocol, rest), (17, DATAGRAM))

    def test_ipv6_later_fragment_has_no_transport_header(self):
        packet = (HEADER6_UDP[:6] + octets("2c03") + ADDRESSES6 +
                  octets("1100 05a9 0000002a") + DATAGRAM)
        quoted, rest = pt.decode_ip(packet)
        decoded = pt.decode_transport(quoted, rest)
        self.assertIsNone(decoded.source_port)
        self.assertIsNone(decoded.payload)

    def test_ipv6_extension_header_that_is_cut_ends_the_search(self):
        packet = (HEADER6_UDP[:6] + octets("0003") + ADDRESSES6 +
                  octets("11ff010400000000"))
        quoted, rest = pt.decode_ip(packet)
        self.assertEqual((quoted.protocol, rest), (17, b""))


class TransportTests(unittest.TestCase):

    def decode(self, protocol, rest):
        return pt.decode_transport(
            pt.NOTHING_QUOTED._replace(protocol=protocol), rest)

    def test_tcp_header_of_8_octets_gives_the_ports(self):
        quoted = self.decode(6, SYN[:8])
        self.assertEqual((quoted.source_port, quoted.dest_port,
                          quoted.tsval), (0x9c41, 443, None))

    def test_udp_header_gives_the_ports_and_the_payload(self):
        quoted = self.decode(17, DATAGRAM)
        self.assertEqual((quoted.source_port, quoted.dest_port,
                          quoted.payload), (0x9c41, 33434, NONCE))
        self.assertEqual(self.decode(17, DATAGRAM[:8]).payload, b"")

    def test_icmp_header_gives_id_seq_and_payload_in_both_families(self):
        for protocol in (1, 58):
            quoted = self.decode(protocol, ECHO)
            self.assertEqual((quoted.ident, quoted.seq, quoted.payload),
                             (0x1234, 7, NONCE))

    def test_transport_header_of_less_than_8_octets_adds_nothing(self):
        for protocol in (1, 6, 17, 58):
            for length in range(8):
                quoted = self.decode(protocol, SYN[:length])
                self.assertEqual(quoted, pt.NOTHING_QUOTED._replace(
                    protocol=protocol))

    def test_transport_header_of_another_protocol_adds_nothing(self):
        for protocol in (0, 2, 44, 50, 132, 255, None):
            self.assertEqual(self.decode(protocol, SYN),
                             pt.NOTHING_QUOTED._replace(protocol=protocol))

    def test_tsval_behind_other_options_is_found(self):
        self.assertEqual(pt.decode_tsval(SYN), 0x12345678)
        self.assertEqual(pt.decode_tsval(NETBSD_TCP[48:]), 1)

    def test_tsval_is_found_as_soon_as_its_option_is_complete(self):
        for length in range(len(SYN)):
            expected = 0x12345678 if length >= 36 else None
            self.assertEqual(pt.decode_tsval(SYN[:length]), expected)

    def test_tsval_behind_the_end_of_options_is_not_one(self):
        header = SYN[:20] + octets("00 080a 12345678 00000000 00") + SYN[32:]
        self.assertIsNone(pt.decode_tsval(header))

    def test_tsval_behind_the_data_offset_is_not_one(self):
        header = SYN[:12] + octets("50") + SYN[13:]
        self.assertIsNone(pt.decode_tsval(header))

    def test_tsval_search_with_options_of_length_0_and_1_ends(self):
        for length in ("00", "01"):
            header = SYN[:20] + octets("02" + length) * 10
            self.assertIsNone(pt.decode_tsval(header))

    def test_tsval_behind_no_operations_is_found(self):
        header = SYN[:20] + octets("0101 080a 00000009 00000000") + \
            b"\0" * 8
        self.assertEqual(pt.decode_tsval(header), 9)


class IcmpTests(unittest.TestCase):

    def test_time_exceeded_with_8_octets_quoted_tells_the_probe(self):
        reply = pt.decode_icmp(4, EXCEEDED_SHORT, responder="10.0.0.1")
        self.assertEqual(
            (reply.kind, reply.icmp_type, reply.icmp_code, reply.responder),
            ("icmp", 11, 0, "10.0.0.1"))
        self.assertEqual(
            (reply.quoted.protocol, reply.quoted.source_port,
             reply.quoted.dest_port, reply.quoted.destination,
             reply.quoted.source, reply.quoted.ttl, reply.quoted.tsval),
            (6, 0x9c41, 443, "198.51.100.7", "192.0.2.99", 1, None))

    def test_time_exceeded_with_the_whole_packet_adds_the_tsval(self):
        reply = pt.decode_icmp(4, EXCEEDED_FULL)
        self.assertEqual(reply.quoted.tsval, 0x12345678)
        self.assertEqual(reply.quoted.source_port, 0x9c41)

    def test_time_exceeded_padded_for_extensions_keeps_the_quote(self):
        reply = pt.decode_icmp(4, EXCEEDED_MPLS)
        self.assertEqual((reply.quoted.dest_port, reply.quoted.tos),
                         (33434, 0x28))
        self.assertEqual(reply.quoted.payload[:12], NONCE)
        self.assertTrue(pt.same_start(NONCE, reply.quoted.payload))

    def test_time_exceeded_of_ipv6_tells_the_probe(self):
        for message in (EXCEEDED6, EXCEEDED6_MPLS):
            reply = pt.decode_icmp(6, message, reply_ttl=64)
            self.assertEqual(
                (reply.kind, reply.icmp_type, reply.icmp_code,
                 reply.reply_ttl, reply.quoted.destination,
                 reply.quoted.source_port, reply.quoted.payload[:12]),
                ("icmp", 3, 0, 64, "2001:db8::7", 0x9c41, NONCE))

    def test_time_exceeded_of_ipv6_with_8_octets_tells_the_ports(self):
        reply = pt.decode_icmp(6, EXCEEDED6[:8 + 40 + 8])
        self.assertEqual(
            (reply.quoted.source_port, reply.quoted.dest_port,
             reply.quoted.payload), (0x9c41, 33434, b""))

    def test_prohibition_keeps_its_type_and_code(self):
        reply = pt.decode_icmp(4, PROHIBITED)
        self.assertEqual((reply.icmp_type, reply.icmp_code), (3, 13))

    def test_quoted_echo_gives_id_and_seq(self):
        reply = pt.decode_icmp(4, EXCEEDED_ECHO)
        self.assertEqual((reply.quoted.protocol, reply.quoted.ident,
                          reply.quoted.seq, reply.quoted.payload),
                         (1, 0x1234, 7, NONCE))

    def test_echo_reply_gives_id_seq_and_payload(self):
        for version, message, kind, protocol in (
                (4, ECHO_REPLY, 0, 1), (6, ECHO_REPLY6, 129, 58)):
            reply = pt.decode_icmp(version, message)
            self.assertEqual(
                (reply.kind, reply.icmp_type, reply.quoted.protocol,
                 reply.quoted.ident, reply.quoted.seq,
                 reply.quoted.payload),
                ("echo", kind, protocol, 0x1234, 7, NONCE))

    def test_other_icmp_messages_are_none_to_us(self):
        for version, message in ((4, EXCEEDED_FULL), (6, EXCEEDED6)):
            known = pt.FAMILIES[version].errors + \
                (pt.FAMILIES[version].reply,)
            for kind in range(256):
                reply = pt.decode_icmp(version, struct.pack("B", kind) +
                                       message[1:])
                self.assertEqual(reply is not None, kind in known)
        # An echo request, a redirect, a neighbour solicitation.
        self.assertIsNone(pt.decode_icmp(4, ECHO))
        self.assertIsNone(pt.decode_icmp(4, b"\5\1" + EXCEEDED_FULL[2:]))
        self.assertIsNone(pt.decode_icmp(6, b"\x87\0" + EXCEEDED6[2:]))

    def test_icmp_error_that_quotes_no_packet_is_none(self):
        self.assertIsNone(pt.decode_icmp(4, EXCEEDED_FULL[:8]))
        self.assertIsNone(pt.decode_icmp(4, EXCEEDED_FULL[:8] + b"\0" * 60))
        self.assertIsNone(pt.decode_icmp(4, b""))

    def test_segment_with_syn_and_ack_is_accepted_with_our_ports(self):
        reply = pt.decode_segment(SEGMENT_ACCEPTED, responder="10.0.0.1")
        self.assertEqual(
            (reply.kind, reply.responder, reply.quoted.source_port,
             reply.quoted.dest_port, reply.quoted.protocol),
            ("accepted", "10.0.0.1", 0x9c41, 443, 6))

    def test_segment_with_rst_is_a_reset_whatever_else_is_set(self):
        self.assertEqual(pt.decode_segment(SEGMENT_RESET).kind, "reset")
        for flags in ("04", "14", "16", "ff"):
            segment = SEGMENT_RESET[:13] + octets(flags) + SEGMENT_RESET[14:]
            self.assertEqual(pt.decode_segment(segment).kind, "reset")

    def test_segment_with_other_flags_or_cut_is_none(self):
        for flags in ("00", "02", "10", "18", "11"):
            segment = SEGMENT_RESET[:13] + octets(flags) + SEGMENT_RESET[14:]
            self.assertIsNone(pt.decode_segment(segment))
        for length in range(20):
            self.assertIsNone(pt.decode_segment(SEGMENT_RESET[:length]))


class QuotedSegmentTests(unittest.TestCase):
    """A router also quotes what follows a SYN: that answers no probe."""

    def quoted(self, flags, length=20):
        header = struct.pack("!HHIIBBHHH", 40001, 443, 1, 0, 0x50, flags,
                             512, 0, 0)
        return pt.decode_transport(pt.NOTHING_QUOTED._replace(protocol=6),
                                   header[:length])

    def test_syn_quoted_at_any_length_has_the_ports_of_its_probe(self):
        for length in range(8, 21):
            quoted = self.quoted(0x02, length)
            self.assertEqual((quoted.source_port, quoted.dest_port),
                             (40001, 443))
        self.assertEqual(self.quoted(0xc2).source_port, 40001)  # with ECN

    def test_header_padded_with_zeros_may_be_that_of_a_syn(self):
        quoted = pt.decode_transport(
            pt.NOTHING_QUOTED._replace(protocol=6),
            struct.pack("!HHI", 40001, 443, 1) + b"\0" * 100)
        self.assertEqual(quoted.source_port, 40001)

    def test_segment_that_is_no_syn_has_the_port_of_no_probe(self):
        for flags in (0x10, 0x18, 0x12, 0x04, 0x11):
            self.assertEqual(self.quoted(flags).source_port, 0)


class NetbsdTests(unittest.TestCase):
    """Raw sockets whose outer ip_len is in host order and reduced."""

    def replies(self, *packets):
        waiting = list(packets)

        class Replayed(pt.RawSocket):
            def __init__(self):
                self.family, self.sockets = pt.FAMILIES[4], ["icmp",
                                                             "tcp"]

            def receive(self, sock, flags=0):
                if not waiting:
                    raise socket.error(errno.EAGAIN, "nothing")
                return waiting.pop(0), "0.0.0.0", 0, {}, []

        return Replayed().replies("icmp")

    def test_netbsd_messages_give_responder_and_reply_ttl(self):
        replies = self.replies(NETBSD_UDP_1, NETBSD_UDP_2, NETBSD_REACHED,
                               NETBSD_TCP)
        self.assertEqual(
            [(reply.responder, reply.reply_ttl, reply.icmp_type,
              reply.icmp_code, reply.raw) for reply in replies],
            [("10.77.4.1", 64, 11, 0, True),
             ("10.77.2.2", 63, 11, 0, True),
             ("10.77.3.2", 62, 3, 3, True),
             ("10.77.4.1", 64, 11, 0, True)])

    def test_netbsd_quotes_are_untouched(self):
        replies = self.replies(NETBSD_UDP_1, NETBSD_UDP_2, NETBSD_REACHED,
                               NETBSD_TCP)
        self.assertEqual(
            [(reply.quoted.protocol, reply.quoted.source_port,
              reply.quoted.dest_port, reply.quoted.destination,
              reply.quoted.ttl) for reply in replies],
            [(17, 40001, 33434, "10.77.3.2", 1),
             (17, 40002, 33434, "10.77.3.2", 1),
             (17, 40003, 33434, "10.77.3.2", 1),
             (6, 41001, 80, "10.77.3.2", 1)])
        self.assertEqual([reply.quoted.payload for reply in replies],
                         [b"udp payload"] * 3 + [None])
        self.assertEqual(replies[3].quoted.tsval, 1)

    def test_raw_packet_without_an_ip_header_is_passed_over(self):
        replies = self.replies(b"", b"\x45", NETBSD_UDP_1[20:], NETBSD_TCP)
        self.assertEqual([reply.quoted.protocol for reply in replies], [6])

    def test_raw_socket_flooded_is_read_for_a_bounded_time(self):
        waiting = [NETBSD_UDP_1] * 1000
        self.assertLess(len(self.replies(*waiting)), 1000)


class ErrorQueueTests(unittest.TestCase):

    def decode(self, value, version=4):
        return pt.ErrorQueue.decode_error(value, version, pt.NOTHING_QUOTED,
                                          {"reply_ttl": 61})

    def test_extended_error_names_the_router(self):
        reply = self.decode(EE_ROUTER)
        self.assertEqual(
            (reply.kind, reply.responder, reply.icmp_type, reply.icmp_code,
             reply.reply_ttl), ("icmp", "10.77.4.1", 11, 0, 61))

    def test_extended_error_names_the_router_of_ipv6(self):
        reply = self.decode(EE_ROUTER6, 6)
        self.assertEqual(
            (reply.kind, reply.responder, reply.icmp_type, reply.icmp_code),
            ("icmp", "2001:db8::1", 3, 0))

    def test_extended_error_of_local_origin_is_an_errno(self):
        reply = self.decode(EE_LOCAL)
        self.assertEqual((reply.error, reply.responder, reply.icmp_type),
                         (90, None, None))
        self.assertEqual(pt.classify(reply, "198.51.100.7", "192.0.2.99"),
                         ("send-failed", 90))

    def test_extended_error_of_a_transmit_stamp_is_none(self):
        self.assertIsNone(self.decode(EE_STAMP))

    def test_extended_error_of_no_icmp_error_type_is_none(self):
        for kind in ("00", "05", "08", "ff"):
            value = EE_ROUTER[:5] + octets(kind) + EE_ROUTER[6:]
            self.assertIsNone(self.decode(value))

    def test_extended_error_cut_short_is_none(self):
        for length in range(16):
            self.assertIsNone(self.decode(EE_ROUTER[:length]))

    def test_extended_error_without_offender_has_no_responder(self):
        self.assertIsNone(self.decode(EE_ROUTER[:16]).responder)


class QueueReadingTests(unittest.TestCase):
    """Mechanism.receive and ErrorQueue.errors on a replayed recvmsg."""

    def setUp(self):
        self.waiting = []
        self.flags = []
        self.addCleanup(setattr, pt, "recvmsg", pt.recvmsg)
        pt.recvmsg = self.recvmsg

    def recvmsg(self, sock, size, control_size, flags=0):
        self.flags.append(flags)
        if not self.waiting:
            raise socket.error(errno.EAGAIN, "nothing")
        return self.waiting.pop(0)

    def test_receive_tells_reply_ttl_and_stamp(self):
        stamp = struct.pack("=qq", 1700000000, 250000000)
        for level, kind in ((0, 2), (41, 52)):
            self.waiting = [(b"hi", [(level, kind, struct.pack("=i", 57)),
                                     (1, 35, stamp)], 0,
                             ("198.51.100.7", 53))]
            data, address, port, facts, _ = pt.Mechanism().receive(None)
            self.assertEqual((data, address, port),
                             (b"hi", "198.51.100.7", 53))
            self.assertEqual(facts, {"reply_ttl": 57,
                                     "received": 1700000000.25})

    def test_receive_with_cut_control_messages_tells_less(self):
        for length in range(4):
            self.waiting = [(b"", [(0, 2, b"\1\2\3"[:length])], 0, None)]
            _, address, port, facts, _ = pt.Mechanism().receive(None)
            self.assertEqual((address, port, facts), ("", 0, {}))
        self.waiting = [(b"", [(1, 35, b"\0" * 7)], 0, None)]
        facts = pt.Mechanism().receive(None)[3]
        self.assertIsNone(facts.get("received"))

    def test_receive_of_a_link_local_address_drops_the_interface(self):
        self.waiting = [(b"", [], 0, ("fe80::1%eth0", 5, 0, 2))]
        self.assertEqual(pt.Mechanism().receive(None)[1], "fe80::1")

    def test_errors_of_a_udp_socket_hold_destination_port_and_payload(self):
        self.waiting = [(NONCE, [(0, 11, EE_ROUTER),
                                 (0, 2, struct.pack("=i", 60))], 0x2000,
                         ("198.51.100.7", 33434))]
        reply, = pt.ErrorQueue().errors(None, socket.IPPROTO_UDP, 4)
        self.assertEqual(
            (reply.responder, reply.reply_ttl, reply.quoted.protocol,
             reply.quoted.destination, reply.quoted.dest_port,
             reply.quoted.payload),
            ("10.77.4.1", 60, 17, "198.51.100.7", 33434, NONCE))
        self.assertEqual(set(self.flags), set([0x2000]))

    def test_errors_of_a_tcp_socket_hold_the_quoted_header(self):
        self.waiting = [(SYN, [(41, 25, EE_ROUTER6)], 0x2000,
                         ("2001:db8::7", 443, 0, 0))]
        reply, = pt.ErrorQueue().errors(None, socket.IPPROTO_TCP, 6)
        self.assertEqual(
            (reply.responder, reply.quoted.source_port,
             reply.quoted.dest_port, reply.quoted.tsval,
             reply.quoted.destination),
            ("2001:db8::1", 0x9c41, 443, 0x12345678, "2001:db8::7"))

    def test_errors_without_an_extended_error_are_none(self):
        self.waiting = [(SYN, [(0, 2, struct.pack("=i", 60))], 0, None),
                        (SYN, [(0, 11, b"short")], 0, None)]
        self.assertEqual(
            pt.ErrorQueue().errors(None, socket.IPPROTO_TCP, 4), [])

    def test_errors_that_never_end_are_read_for_a_bounded_time(self):
        self.waiting = [(SYN, [(0, 11, EE_ROUTER)], 0, None)] * 1000
        found = pt.ErrorQueue().errors(None, socket.IPPROTO_TCP, 4)
        self.assertTrue(0 < len(found) < 1000)


class StampTests(unittest.TestCase):

    def test_stamp_of_16_octets_has_64_bit_numbers(self):
        value = struct.pack("=qq", 1700000000, 500000000)
        self.assertEqual(pt.decode_stamp(value), 1700000000.5)

    def test_stamp_of_8_octets_has_32_bit_numbers(self):
        value = struct.pack("=ii", 1700000000, 250000000)
        self.assertEqual(pt.decode_stamp(value), 1700000000.25)

    def test_stamp_of_any_other_length_is_none(self):
        for length in set(range(40)) - set([8, 16]):
            self.assertIsNone(pt.decode_stamp(b"\1" * length))


class AnswersTests(unittest.TestCase):
    """answers(): the true quote, and each single field wrong."""

    def refuse_each(self, method, probe, reply, **wrong):
        for field, values in wrong.items():
            for value in values:
                other = reply._replace(
                    quoted=reply.quoted._replace(**{field: value}))
                self.assertFalse(method.answers(other, probe),
                                 "%s %r was accepted" % (field, value))

    def test_tcp_quote_from_the_queue_answers_its_probe_only(self):
        method = pt.TcpMethod(make_target(), pt.Mechanism())
        probe = make_probe(source_port=0x9c41)
        reply = quote(protocol=6, source_port=0x9c41, dest_port=443,
                      destination="198.51.100.7")
        self.assertTrue(method.answers(reply, probe))
        self.refuse_each(method, probe, reply, protocol=(17, 1, 0),
                         source_port=(0x9c42, 0), dest_port=(80, 0))

    def test_tcp_quote_from_a_raw_socket_answers_its_probe_only(self):
        method = pt.TcpMethod(make_target(), pt.Mechanism())
        probe = make_probe(source_port=0x9c41)
        for message in (EXCEEDED_SHORT, EXCEEDED_FULL, PROHIBITED):
            reply = pt.decode_icmp(4, message, raw=True)
            self.assertTrue(method.answers(reply, probe))
            self.refuse_each(method, probe, reply, protocol=(17, 1),
                             source_port=(0x9c42, None), dest_port=(80,))

    def test_tcp_segment_from_a_stranger_is_no_answer(self):
        method = pt.TcpMethod(make_target(), pt.Mechanism())
        probe = make_probe(source_port=0x9c41)
        for segment in (SEGMENT_ACCEPTED, SEGMENT_RESET):
            reply = pt.decode_segment(segment, raw=True,
                                      responder="198.51.100.7")
            self.assertTrue(method.answers(reply, probe))
            self.assertFalse(method.answers(
                reply._replace(responder="198.51.100.8"), probe))
            self.refuse_each(method, probe, reply, source_port=(0x9c42,),
                             dest_port=(80,), protocol=(17,))

    def make_udp(self):
        return (pt.UdpMethod(make_target(port=33434), pt.Mechanism()),
                make_probe(source_port=0x9c41, payload=NONCE))

    def test_udp_quote_from_the_queue_answers_its_probe_only(self):
        method, probe = self.make_udp()
        reply = quote(protocol=17, dest_port=33434, payload=NONCE,
                      destination="198.51.100.7")
        self.assertTrue(method.answers(reply, probe))
        self.refuse_each(
            method, probe, reply, protocol=(6, 1), dest_port=(33435, 0),
            payload=(b"x" + NONCE[1:], NONCE[:11] + b"x", b"x"))

    def test_udp_quote_from_a_raw_socket_answers_its_probe_only(self):
        method, probe = self.make_udp()
        for version, message in ((4, EXCEEDED_UDP), (4, EXCEEDED_MPLS)):
            reply = pt.decode_icmp(version, message, raw=True)
            self.assertTrue(method.answers(reply, probe))
            self.refuse_each(
                method, probe, reply, protocol=(6, 1),
                source_port=(0x9c42, None, 0), dest_port=(33435,),
                payload=(b"x" + NONCE[1:],))

    def test_udp_quote_of_8_octets_answers_by_its_ports(self):
        method, probe = self.make_udp()
        reply = pt.decode_icmp(4, EXCEEDED_UDP[:36], raw=True)
        self.assertEqual(reply.quoted.payload, b"")
        self.assertTrue(method.answers(reply, probe))

    def test_udp_quote_of_another_destination_needs_the_nonce(self):
        method, probe = self.make_udp()
        reply = quote(protocol=17, dest_port=33434, payload=NONCE,
                      destination="10.99.9.9")
        self.assertTrue(method.answers(reply, probe))
        self.refuse_each(method, probe, reply,
                         payload=(b"", None, NONCE[:7], b"\0" * 12))

    def test_udp_data_must_come_from_the_destination(self):
        method, probe = self.make_udp()
        reply = pt.NO_REPLY._replace(kind="data", data=b"hi",
                                     responder="198.51.100.7")
        self.assertTrue(method.answers(reply, probe))
        self.assertFalse(method.answers(
            reply._replace(responder="198.51.100.8"), probe))

    def test_udp_data_with_a_strangers_dns_id_is_no_answer(self):
        method = pt.UdpMethod(make_target(port=53), pt.Mechanism())
        probe = make_probe(source_port=0x9c41,
                           payload=octets("beef 0100 0001 0000 0000 0000 00"
                                          "0002 0001"))
        for ident, expected in (("beef", True), ("beee", False),
                                ("3eef", False), ("efbe", False)):
            reply = pt.NO_REPLY._replace(
                kind="data", responder="198.51.100.7",
                data=octets(ident + "8105 0000 0000 0000 0000"))
            self.assertEqual((ident, method.answers(reply, probe)),
                             (ident, expected))
        for data in (b"", b"\xbe"):
            reply = pt.NO_REPLY._replace(
                kind="data", responder="198.51.100.7", data=data)
            self.assertFalse(method.answers(reply, probe))

    def test_udp_data_to_a_users_payload_is_not_checked_for_a_dns_id(self):
        method = pt.UdpMethod(make_target(port=53, payload=b"hello"),
                              pt.Mechanism())
        reply = pt.NO_REPLY._replace(kind="data", data=b"other",
                                     responder="198.51.100.7")
        self.assertTrue(method.answers(reply, make_probe(
            source_port=9, payload=b"hello")))

    def make_icmp(self, version=4):
        method = SocketlessIcmp(make_target(version, None), pt.ErrorQueue())
        probe = make_probe(ident=0x1234, seq=7, payload=NONCE)
        return method, probe

    def test_icmp_quote_answers_its_probe_only(self):
        method, probe = self.make_icmp()
        reply = pt.decode_icmp(4, EXCEEDED_ECHO)
        self.assertTrue(method.answers(reply, probe))
        self.refuse_each(
            method, probe, reply, protocol=(58, 17, 6, None),
            ident=(0x1235, None), seq=(8, 6, None),
            payload=(b"x" + NONCE[1:], NONCE[:11] + b"x"))

    def test_icmp_quote_of_8_octets_answers_by_id_and_seq(self):
        method, probe = self.make_icmp()
        reply = pt.decode_icmp(4, EXCEEDED_ECHO[:36])
        self.assertEqual(reply.quoted.payload, b"")
        self.assertTrue(method.answers(reply, probe))

    def test_icmp_quote_of_another_destination_needs_the_nonce(self):
        method, probe = self.make_icmp()
        reply = pt.decode_icmp(4, EXCEEDED_ECHO)
        reply = reply._replace(quoted=reply.quoted._replace(
            destination="10.99.9.9"))
        self.assertTrue(method.answers(reply, probe))
        self.refuse_each(method, probe, reply,
                         payload=(b"", None, NONCE[:7]))

    def test_icmp_echo_reply_answers_its_probe_only(self):
        for version, message, source, stranger in (
                (4, ECHO_REPLY, "198.51.100.7", "198.51.100.8"),
                (6, ECHO_REPLY6, "2001:db8::7", "2001:db8::8")):
            method, probe = self.make_icmp(version)
            reply = pt.decode_icmp(version, message, responder=source)
            self.assertTrue(method.answers(reply, probe))
            self.assertFalse(method.answers(
                reply._replace(responder=stranger), probe))
            self.refuse_each(
                method, probe, reply, ident=(0x1235,), seq=(8, 0),
                protocol=(17, {4: 58, 6: 1}[version]),
                payload=(b"x" + NONCE[1:], b"", NONCE[:7], None))

    def test_icmp_echo_reply_to_a_short_payload_of_the_user_answers(self):
        method, probe = self.make_icmp()
        probe.payload = b"hi"
        reply = pt.decode_icmp(4, octets("00000000 12340007") + b"hi",
                               responder="198.51.100.7")
        self.assertTrue(method.answers(reply, probe))
        self.refuse_each(method, probe, reply, payload=(b"h", b"ho"))

    def test_same_start_of_a_quote_is_as_much_as_was_quoted(self):
        self.assertTrue(pt.same_start(NONCE, NONCE[:5]))
        self.assertTrue(pt.same_start(NONCE, None))
        self.assertTrue(pt.same_start(NONCE, NONCE + b"\0" * 200))
        self.assertFalse(pt.same_start(NONCE, NONCE[:5] + b"x"))

    def test_same_start_of_a_padded_quote_counts_64_octets(self):
        ours = b"u" * 1000
        self.assertTrue(pt.same_start(ours, b"u" * 64 + MPLS))
        self.assertFalse(pt.same_start(ours, b"u" * 63 + MPLS))


# Type, code, then the outcome if it comes from a router, from the
# destination, and from this very host.
TABLE4 = (
    (0, 0, "echo-reply", "echo-reply", None),
    (3, 0, "unreachable", "unreachable", "send-failed"),
    (3, 1, "unreachable", "unreachable", "send-failed"),
    (3, 2, "prohibited", "prohibited", "send-failed"),
    (3, 3, "prohibited", "port-unreachable", "send-failed"),
    (3, 4, "unreachable", "unreachable", "send-failed"),
    (3, 5, "unreachable", "unreachable", "send-failed"),
    (3, 6, "unreachable", "unreachable", "send-failed"),
    (3, 7, "unreachable", "unreachable", "send-failed"),
    (3, 8, "unreachable", "unreachable", "send-failed"),
    (3, 9, "prohibited", "prohibited", "send-failed"),
    (3, 10, "prohibited", "prohibited", "send-failed"),
    (3, 11, "unreachable", "unreachable", "send-failed"),
    (3, 12, "unreachable", "unreachable", "send-failed"),
    (3, 13, "prohibited", "prohibited", "send-failed"),
    (3, 14, "prohibited", "prohibited", "send-failed"),
    (3, 15, "prohibited", "prohibited", "send-failed"),
    (11, 0, "time-exceeded", "time-exceeded", "time-exceeded"),
    (11, 1, "unreachable", "unreachable", "send-failed"),
    (12, 0, "unreachable", "unreachable", "send-failed"),
)
TABLE6 = (
    (129, 0, "echo-reply", "echo-reply", None),
    (1, 0, "unreachable", "unreachable", "send-failed"),
    (1, 1, "prohibited", "prohibited", "send-failed"),
    (1, 2, "unreachable", "unreachable", "send-failed"),
    (1, 3, "unreachable", "unreachable", "send-failed"),
    (1, 4, "prohibited", "port-unreachable", "send-failed"),
    (1, 5, "prohibited", "prohibited", "send-failed"),
    (1, 6, "prohibited", "prohibited", "send-failed"),
    (2, 0, "unreachable", "unreachable", "send-failed"),
    (3, 0, "time-exceeded", "time-exceeded", "time-exceeded"),
    (3, 1, "unreachable", "unreachable", "send-failed"),
    (4, 0, "unreachable", "unreachable", "send-failed"),
    (4, 1, "prohibited", "prohibited", "send-failed"),
    (4, 2, "unreachable", "unreachable", "send-failed"),
)
CASES = (
    (TABLE4, "198.51.100.7", "10.0.0.1", "192.0.2.99"),
    (TABLE6, "2001:db8::7", "fd00::1", "2001:db8::99"),
)


class ClassifyTests(unittest.TestCase):

    def outcome(self, kind, code, responder, destination, own):
        return pt.classify(pt.NO_REPLY._replace(
            kind="echo" if kind in (0, 129) else "icmp", icmp_type=kind,
            icmp_code=code, responder=responder), destination, own)

    def test_classify_each_row_from_a_router_never_reaches(self):
        for table, destination, router, own in CASES:
            for kind, code, expected, _, _ in table[1:]:
                outcome, _ = self.outcome(kind, code, router, destination,
                                          own)
                self.assertEqual((kind, code, outcome),
                                 (kind, code, expected))
                self.assertFalse(pt.OUTCOMES[outcome].reached)

    def test_classify_each_row_from_the_destination(self):
        for table, destination, _, own in CASES:
            for kind, code, _, expected, _ in table:
                outcome, _ = self.outcome(kind, code, destination,
                                          destination, own)
                self.assertEqual((kind, code, outcome),
                                 (kind, code, expected))
                self.assertEqual(
                    pt.OUTCOMES[outcome].reached,
                    expected in ("port-unreachable", "echo-reply"))

    def test_classify_each_row_from_this_host_was_never_sent(self):
        for table, destination, _, own in CASES:
            for kind, code, _, _, expected in table[1:]:
                outcome, reason = self.outcome(kind, code, own, destination,
                                               own)
                self.assertEqual((kind, code, outcome),
                                 (kind, code, expected))
                self.assertEqual(bool(reason), outcome == "send-failed")

    def test_classify_from_this_host_says_why(self):
        for number, family in ((0, (3, 1)), (1, (1, 3))):
            _, destination, _, own = CASES[number]
            _, reason = self.outcome(family[0], family[1], own, destination,
                                     own)
            self.assertIn("ARP", reason)
        for number, kind, code in ((0, 3, 13), (0, 3, 3), (1, 1, 1),
                                   (1, 1, 4)):
            _, destination, _, own = CASES[number]
            _, reason = self.outcome(kind, code, own, destination, own)
            self.assertIn("firewall", reason)

    def test_classify_from_this_host_as_destination_is_its_word(self):
        self.assertEqual(
            self.outcome(3, 3, "127.0.0.1", "127.0.0.1", "127.0.0.1"),
            ("port-unreachable", None))
        self.assertEqual(self.outcome(1, 4, "::1", "::1", "::1"),
                         ("port-unreachable", None))

    def test_classify_tables_hold_no_row_that_is_not_tested(self):
        for table, known in ((TABLE4, pt.ICMP4), (TABLE6, pt.ICMP6)):
            self.assertEqual(sorted(row[:2] for row in table),
                             sorted(known))

    def test_classify_of_an_unassigned_code_is_unreachable(self):
        for table, destination, router, own in CASES:
            kind = {4: 3, 6: 1}[6 if ":" in router else 4]
            self.assertEqual(
                self.outcome(kind, 77, router, destination, own),
                ("unreachable", None))

    def test_classify_of_tcp_and_udp_replies_has_its_word(self):
        for kind, expected in (("accepted", "open"), ("reset", "refused"),
                               ("data", "data")):
            self.assertEqual(
                pt.classify(pt.NO_REPLY._replace(kind=kind),
                            "198.51.100.7", "192.0.2.99"), (expected, None))

    def test_classify_of_an_errno_keeps_it_and_its_words_come_last(self):
        def outcome(number):
            return pt.classify(pt.NO_REPLY._replace(
                kind="failed", error=number), "198.51.100.7", "192.0.2.99")

        self.assertEqual(outcome(errno.ECONNREFUSED),
                         ("refused", errno.ECONNREFUSED))
        self.assertEqual(outcome(errno.EHOSTUNREACH),
                         ("unreachable", errno.EHOSTUNREACH))
        self.assertEqual(pt.format_errno(errno.EHOSTUNREACH),
                         os.strerror(errno.EHOSTUNREACH))

    def test_icmp_in_words_names_type_code_and_meaning(self):
        def words(version, kind, code):
            return pt.format_icmp(version, pt.NO_REPLY._replace(
                icmp_type=kind, icmp_code=code))

        self.assertEqual(
            words(4, 3, 13),
            "ICMP 3/13, communication administratively prohibited")
        self.assertEqual(words(6, 3, 0),
                         "ICMP 3/0, hop limit exceeded in transit")
        self.assertEqual(words(4, 3, 200), "ICMP 3/200, unassigned code")


class EscapeTests(unittest.TestCase):

    def test_text_of_printable_ascii_is_unchanged(self):
        text = "".join(map(chr, range(32, 127)))
        self.assertEqual(pt.format_text(text), text)
        self.assertEqual(pt.format_text(text.encode("ascii")), text)

    def test_text_of_control_characters_is_escaped(self):
        self.assertEqual(pt.format_text(b"a\x1b[31m\r\n\t\0\x7f"),
                         "a\\x1b[31m\\r\\n\\t\\x00\\x7f")
        self.assertEqual(pt.format_text(u"a\x1b[31m\r\n\t\0\x7f"),
                         "a\\x1b[31m\\r\\n\\t\\x00\\x7f")

    def test_text_beyond_ascii_is_escaped(self):
        self.assertEqual(pt.format_text(u"\xe9\u202e\u2028\x9b"),
                         "\\xe9\\u202e\\u2028\\x9b")
        self.assertEqual(pt.format_text(b"\xc3\xa9\x9b"), "\\xc3\\xa9\\x9b")

    def test_text_of_every_octet_is_printable_ascii(self):
        for number in range(256):
            shown = pt.format_text(struct.pack("B", number))
            self.assertTrue(all(" " <= c <= "~" for c in shown), shown)
            self.assertNotEqual(shown, "")

    def test_text_of_a_lone_surrogate_is_escaped(self):
        self.assertEqual(pt.format_text(u"\udc80"), "\\udc80")

    def test_data_is_shown_as_octets_are_by_python_3(self):
        self.assertEqual(pt.format_data(b"220 mail\r\n"), "'220 mail\\r\\n'")
        self.assertEqual(pt.format_data(b"b'b"), "\"b'b\"")
        self.assertEqual(pt.format_data(b"\x1b[2J\0\x7f\xff\x9b\\"),
                         "'\\x1b[2J\\x00\\x7f\\xff\\x9b\\\\'")
        self.assertEqual(pt.format_data(b""), "''")

    def test_data_of_every_octet_is_printable_ascii(self):
        for number in range(256):
            shown = pt.format_data(struct.pack("B", number))
            self.assertTrue(all(" " <= c <= "~" for c in shown), shown)
            self.assertIn(shown[0] + shown[-1], ("''", '""'))

    def test_data_is_shown_to_120_octets(self):
        self.assertEqual(pt.format_data(b"u" * 500), "'" + "u" * 120 + "'")

    def test_data_in_a_bytearray_is_shown_alike(self):
        self.assertEqual(pt.format_data(bytearray(b"ab\0")), "'ab\\x00'")


class HostileInputTests(unittest.TestCase):
    """Nothing that arrives can raise, whatever becomes of it."""

    SEED = 1918

    def variants(self, fixture):
        """Yield the fixture cut at every length, and with every octet
        replaced."""
        chance = random.Random(self.SEED)
        for length in range(len(fixture) + 1):
            yield fixture[:length]
        for at in range(len(fixture)):
            for value in (0, 255, chance.randrange(256)):
                yield fixture[:at] + struct.pack("B", value) + \
                    fixture[at + 1:]
        for _ in range(50):
            mutable = bytearray(fixture)
            for _ in range(4):
                mutable[chance.randrange(len(mutable))] = \
                    chance.randrange(256)
            yield bytes(mutable)

    def test_packets_of_any_octets_are_decoded_or_none(self):
        count = 0
        for fixture in FIXTURES:
            for data in self.variants(fixture):
                quoted, rest = pt.decode_ip(data)
                self.assertTrue(quoted is None or rest in data)
                pt.decode_tsval(data)
                self.assertIn(type(pt.decode_sockaddr(data)),
                              (str, type(None)))
                for protocol in (1, 6, 17, 58):
                    decoded = pt.decode_transport(
                        pt.NOTHING_QUOTED._replace(protocol=protocol), data)
                    self.assertEqual(decoded.protocol, protocol)
                segment = pt.decode_segment(data)
                self.assertTrue(segment is None or segment.quoted)
                count += 1
        self.assertGreater(count, 4000)

    def test_icmp_of_any_octets_is_matched_and_classified(self):
        methods = [pt.TcpMethod(make_target(), pt.Mechanism()),
                   pt.UdpMethod(make_target(port=33434), pt.Mechanism()),
                   SocketlessIcmp(make_target(port=None), pt.ErrorQueue())]
        probe = make_probe(source_port=0x9c41, ident=0x1234, seq=7,
                           payload=NONCE)
        count = 0
        for fixture in ICMP_FIXTURES + ICMP6_FIXTURES:
            for data in self.variants(fixture):
                for version in (4, 6):
                    reply = pt.decode_icmp(version, data, raw=True,
                                           responder="10.0.0.1")
                    if reply is None:
                        continue
                    count += 1
                    for method in methods:
                        self.assertIn(method.answers(reply, probe),
                                      (True, False))
                    outcome, _ = pt.classify(
                        reply, {4: "198.51.100.7", 6: "2001:db8::7"}[version],
                        "192.0.2.99")
                    self.assertIn(outcome, pt.OUTCOMES)
        self.assertGreater(count, 2000)

    def test_extended_errors_of_any_octets_are_decoded_or_none(self):
        for fixture in (EE_ROUTER, EE_ROUTER6, EE_LOCAL, EE_STAMP):
            for data in self.variants(fixture):
                for version in (4, 6):
                    reply = pt.ErrorQueue.decode_error(
                        data, version, pt.NOTHING_QUOTED, {})
                    self.assertTrue(reply is None or pt.classify(
                        reply, "198.51.100.7", "192.0.2.99")[0]
                        in pt.OUTCOMES)

    def test_foreign_octets_never_answer_a_probe_of_ours(self):
        # Any one octet of the identity replaced by any other value.
        method = pt.UdpMethod(make_target(port=33434), pt.Mechanism())
        probe = make_probe(source_port=0x9c41, payload=NONCE)
        identity = [8 + 9] + list(range(28, 32)) + list(range(36, 48))
        for at in identity:
            for value in range(256):
                data = EXCEEDED_UDP[:at] + struct.pack("B", value) + \
                    EXCEEDED_UDP[at + 1:]
                reply = pt.decode_icmp(4, data, raw=True)
                self.assertEqual(method.answers(reply, probe),
                                 data == EXCEEDED_UDP)


if __name__ == "__main__":
    unittest.main()
