"""Several ports at once, and several flows: -p 22,80,8000-8010, --flows=N.

Not tested here: real load balancers, hosts of a thousand ports (300 are),
and any system but Linux.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import lab  # noqa: E402
from lanes import load_tests  # noqa: F401,E402
import potraceroute as p  # noqa: E402
import test_live as live  # noqa: E402
from test_plan import (  # noqa: E402
    CLOSED, DENIED, ECHO, NO, REFUSED, echo_trace, exceeded, hear,
    make_path, make_trace, opened, walk)

ROOT, USER, BOTH = live.ROOT, live.USER, live.BOTH


def ports_of(port, **keywords):
    return p.Traceroute(destination="127.0.0.1", port=port, **keywords).ports


# --------------------------------------------------------------------------
# No network
# --------------------------------------------------------------------------

class TestPortLists(unittest.TestCase):

    def test_numbers_names_and_ranges_keep_their_order(self):
        self.assertEqual(ports_of("22,80,443,8000-8003"), [
            22, 80, 443, 8000, 8001, 8002, 8003])
        self.assertEqual(ports_of("443, ssh ,http"), [443, 22, 80])
        self.assertEqual(ports_of(" 5 - 7 "), [5, 6, 7])

    def test_service_names_with_dashes_are_no_ranges(self):
        found = 0
        for name, proto in (("netbios-ns", "udp"), ("http-alt", "tcp"),
                            ("netbios-ssn", "tcp"), ("iso-tsap", "tcp")):
            try:
                number = socket.getservbyname(name, proto)
            except socket.error:
                continue
            found += 1
            self.assertEqual(ports_of("1," + name, method=proto),
                             [1, number])
        if not found:
            self.skipTest("no such services on this system")

    def test_duplicates_are_probed_once(self):
        self.assertEqual(ports_of("80,80,79-81,http"), [80, 79, 81])

    def test_module_takes_numbers_lists_octets_and_texts(self):
        for port, ports in ((80, [80]), ([80, 22], [80, 22]),
                            ((81, "22"), [81, 22]), (b"22,80", [22, 80]),
                            ([b"22", u"80-82"], [22, 80, 81, 82]),
                            (["22,80", 25], [22, 80, 25]),
                            (u"22-23", [22, 23])):
            self.assertEqual(ports_of(port), ports)
        self.assertEqual(p.Traceroute(
            destination="127.0.0.1", port=[25, 80]).port, 25)

    def test_bad_elements_are_one_line_that_names_them(self):
        for port, named in (
                ("22,,80", "''"), ("", "''"), (",", "''"), ([], "''"),
                ("22-", "'22-'"), ("-22", "'-22'"), ("-", "'-'"),
                ("80-22", "'80-22'"), ("0-5", "port 0"), ("0", "port 0"),
                ("65530-65536", "65536"), ("1-99999999999", "99999999999"),
                (u"\xe9", "xe9"), ([u"\xe9"], "xe9"), (u"\xb2", "xb2"),
                (u"1-\xb2", "xb2"), ("1-2-3", "'1-2-3'"), ([None], "None"),
                ("no-such-service", "no-such-service")):
            with self.assertRaises(p.OptionError) as caught:
                ports_of(port)
            self.assertIn(named, str(caught.exception))
            self.assertNotIn("\n", str(caught.exception))
            self.assertIsInstance(caught.exception, OSError)

    def test_more_than_1024_ports_are_refused(self):
        self.assertEqual(len(ports_of("1-1024")), 1024)
        self.assertEqual(len(ports_of("1-1024,5,1-7")), 1024)
        with self.assertRaises(p.PortError) as caught:
            ports_of("1-1025")
        self.assertEqual(str(caught.exception),
                         "-p 1-1025: 1025 ports, but at most 1024 at once")

    def test_format_ports_puts_ranges_together(self):
        for ports, text in (([80], "80"), ([80, 81], "80-81"),
                            ([80, 82, 83, 85], "80,82-83,85"),
                            ([5, 4, 3], "5,4,3"), ([], "")):
            self.assertEqual(p.format_ports(ports), text)
            self.assertEqual(p.format_ports(iter(ports)), text)

    def test_header_names_all_ports(self):
        self.assertEqual(
            p.Traceroute(destination="127.0.0.1", port="80-82,22").header,
            "TCP traceroute to 127.0.0.1 [127.0.0.1] ports 80-82,22")


class TestFlowOptions(unittest.TestCase):

    def flows(self, **keywords):
        return p.Traceroute(destination="127.0.0.1", **keywords).flows

    def test_flows_are_neighbouring_source_ports(self):
        for method in ("tcp", "udp"):
            flows = self.flows(flows=5, method=method)
            self.assertEqual(flows, list(range(flows[0], flows[0] + 5)))
            self.assertTrue(1024 < flows[0] and flows[4] < 65536)

    def test_source_port_is_the_first_flow(self):
        self.assertEqual(self.flows(flows=3, source_port=40001),
                         [40001, 40002, 40003])
        self.assertEqual(self.flows(flows=1, source_port=40001), [40001])
        with self.assertRaises(p.PortError) as caught:
            self.flows(flows=3, source_port=65534)
        self.assertIn("65534", str(caught.exception))
        self.assertEqual(self.flows(flows=2, source_port=65534)[1], 65535)

    def test_echo_has_no_source_ports(self):
        self.assertEqual(self.flows(flows=3, method="icmp"), [None] * 3)

    def test_bad_values_are_refused(self):
        for keywords in ({"flows": 0}, {"flows": 65}, {"flows": -1},
                         {"flows": "x"}, {"flows": 1.5}, {"flows": None},
                         {"flows": 2, "port": "22,80"},
                         {"flows": 2, "port": [1, 2], "source_port": 4000}):
            with self.assertRaises(p.OptionError) as caught:
                self.flows(**keywords)
            self.assertIn("--flows", str(caught.exception))

    def test_one_source_port_for_several_udp_ports_is_refused(self):
        """The kernel gives all answers to the socket bound last."""
        with self.assertRaises(p.OptionError) as caught:
            ports_of("7,9", method="udp", source_port=4000)
        self.assertIn("-S 4000", str(caught.exception))
        self.assertEqual(ports_of("7,9", source_port=21000), [7, 9])

    def test_command_line_exits_with_2_and_one_line(self):
        for argv in (["--flows=0"], ["--flows=65"], ["--flows=x"],
                     ["--flows=2", "-p22,80"], ["-p22,,80"], ["-p80-22"],
                     ["-p1-2000"], ["-p0-1"]):
            process = subprocess.Popen(
                [sys.executable, lab.compiled("potraceroute")] + argv +
                ["127.0.0.1"],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            out, err = process.communicate()
            self.assertEqual((process.returncode, out, err.count(b"\n")),
                             (2, b"", 1), err)


def dropped(port, *controls, **facts):
    return make_trace(None, walk(4), port=port, control=controls, **facts)


class TestTable(unittest.TestCase):

    def test_columns_are_aligned_and_nothing_trails(self):
        lines = p.format_table([
            make_trace(opened(0.0012, data=b"220 \xff hi\r\n"),
                       walk(3, t4=opened()), port=7),
            dropped(65000, echo_trace(7)),
            dropped(65001, echo_trace(5), proto="udp")])
        for word in ("Service", "Verdict", "Hops", "Time", "Who or where"):
            self.assertIn("  " + word, lines[0])
        starts = [line.index(word) for line, word in zip(
            lines, ("Who", "198", "between hop 4 (10.0.4.1) and hop 5"))]
        self.assertEqual(len(set(starts)), 1, lines)
        self.assertIn("1.200 ms", lines[1])
        self.assertIn("'220 \\xff hi\\r\\n'", lines[1])
        self.assertEqual(lines[3].split(),
                         ["65001", "-", "silent", "-", "-", "-"])
        self.assertEqual([line.rstrip() for line in lines], lines)

    def test_row_says_who_or_where_or_why_not(self):
        for trace, row in (
                (dropped(9, complete=False), "? - - -"),
                (make_trace(DENIED, {}, port=9), "error - - not permitted"),
                (make_trace(NO, walk(2, t3=NO), port=9),
                 "rejected - - 10.0.2.1"),
                (make_trace(p.NO_REPLY._replace(outcome="refused"), {},
                            port=9, sight="distance",
                            refusal="confirmed"),
                 "refused - - not visible")):
            words = p.format_table([trace])[1].split(None, 2)[2]
            self.assertEqual(" ".join(words.split()), row)

    def test_row_of_an_echo_flow_has_its_number(self):
        lines = p.format_table([make_trace(ECHO, {}, "icmp", None, flow=flow)
                                for flow in (1, 2)])
        self.assertEqual([line.split()[0] for line in lines],
                         ["Flow", "1", "2"])


class TestSummaries(unittest.TestCase):

    def test_alike_ports_share_one_sentence(self):
        rejected = make_trace(NO, walk(2, t3=NO), port=22)
        self.assertEqual(p.format_summaries([
            make_trace(opened(), {}, port=20), dropped(21), rejected,
            dropped(23), dropped(24), dropped(25, echo_trace(7))]), [
                "TCP ports 21,23-24: each is dropped after hop 4 (10.0.4.1):"
                " neither 198.51.100.7 nor any hop behind that one answered",
                rejected.summary, dropped(25, echo_trace(7)).summary,
                "1 of 6 ports of 198.51.100.7 were reached"])

    def test_single_port_keeps_its_sentence(self):
        for trace in make_trace(opened(), {}), dropped(20):
            self.assertEqual(p.format_summaries([trace]), [trace.summary])

    def test_ports_that_were_not_tried_are_not_counted_as_lost(self):
        self.assertEqual(p.format_summaries([make_trace(opened(), {})] + [
            make_trace(None, {}, port=port, complete=False)
            for port in (21, 22)]), [
                "TCP ports 21-22: No verdict yet: no hop has answered so "
                "far", "1 of 3 ports of 198.51.100.7 were reached so far"])


class TestFlowsCompared(unittest.TestCase):

    def findings(self, *paths, **facts):
        """Paths: a text of one letter a hop, "." for silence, "!" behind
        the last if the destination was reached; -> list of texts."""
        cases = []
        for flow, path in enumerate(paths, 1):
            hops = dict((ttl, exceeded(ttl)._replace(responder=letter))
                        for ttl, letter in enumerate(path, 1)
                        if letter not in ".!")
            full = opened() if path.endswith("!") else None
            cases.append(p.Case(make_path(full, hops, flow=flow, **facts)))
        return [p.say_finding(found) for found in p.check_flows(
            cases, [p.judge(case) for case in cases])]

    def test_flows_part_and_join_where_their_routers_do(self):
        parts = "the flows part after hop 1 (a): hop 2 is b (flow 1) and c " \
            "(flow 2)"
        for paths, texts in (
                (("abc!", "abc!"), []), (("abc!", "a.c!", "ab.!"), []),
                (("ab", "ab", "ab"), []), (("", "", ""), []),
                (("abx!", "acx!", "abx!"), [
                    "the flows part after hop 1 (a): hop 2 is b (flows 1,3) "
                    "and c (flow 2)", "flows 1-3 join at hop 3 (x)"]),
                (("ax!", "bx!"), [
                    "the flows part: hop 1 is a (flow 1) and b (flow 2)",
                    "flows 1-2 join at hop 2 (x)"]),
                # Silence of one branch is no joining.
                (("abdfx!", "ac.gx!"), [
                    parts, "hop 4 is f (flow 1) and g (flow 2)",
                    "flows 1-2 join at hop 5 (x)"]),
                # A hop that only some heard is not the last common one.
                (("abc!", "a.d!"), [
                    "the flows part after hop 1 (a): hop 3 is c (flow 1) "
                    "and d (flow 2)"]),
                (("abex!", "ac", "adfx!"), [
                    parts + " and d (flow 3); not reached: flow 2",
                    "hop 3 is e (flow 1) and f (flow 3)",
                    "flows 1,3 join at hop 4 (x)"]),
                # The rest never parted, and does not join.
                (("abx!", "ac", "abx!"), [
                    "the flows part after hop 1 (a): hop 2 is b (flows 1,3) "
                    "and c (flow 2); not reached: flow 2"]),
                # Another flow was silent there.
                (("abx!", "ac", "a.x!"), [parts])):
            self.assertEqual(self.findings(*paths), texts, paths)

    def test_branch_is_not_blamed_for_what_was_interrupted(self):
        text, = self.findings("ab", "ac", complete=False)
        self.assertNotIn("not reached", text)


class TestLimitFinding(unittest.TestCase):

    SAID = {"rejected": (NO, walk(2, t3=NO)), "open": (opened(), {}),
            "closed": (CLOSED, walk(3, t4=CLOSED)), "reset": (
                REFUSED, walk(3, t4=REFUSED)), "dropped": (None, walk(2))}

    def test_silent_ports_beside_icmp_errors_may_be_limited(self):
        for words, proto, ports in (
                ("rejected rejected dropped dropped", "tcp", "ports 22-23"),
                ("closed closed closed dropped", "udp", "port 23"),
                ("reset reset reset dropped", "tcp", None),
                ("rejected dropped", "tcp", None),
                ("rejected rejected open", "tcp", None),
                ("dropped open", "tcp", None)):
            cases = [p.Case(make_path(*self.SAID[word], proto=proto,
                                      port=port))
                     for port, word in enumerate(words.split(), 20)]
            found = p.check_ports(cases, [p.judge(case) for case in cases])
            self.assertEqual(len(found), 1 if ports else 0, words)
            for each in found:
                self.assertIn("probe %s alone" % ports, p.say_finding(each))

    def test_ports_without_a_verdict_are_not_called_limited(self):
        cases = [p.Case(make_path(*self.SAID[word], port=port,
                                  complete=word != "dropped"))
                 for port, word in enumerate(
                     "rejected rejected dropped dropped".split(), 20)]
        self.assertEqual(p.check_ports(
            cases, [p.judge(case) for case in cases]), [])

    def test_lost_request_makes_no_port_limited_nor_a_flow_lost(self):
        """What is said of all together is about the ports themselves."""
        asked = p.Asked(0, "silent", 0, None)
        for flows, words in ((None, "rejected rejected open"),
                             (5, "open open")):
            tracer = p.Traceroute(destination="127.0.0.1", port=20,
                                  flows=len(words.split()) if flows else 1)
            cases = []
            for number, word in enumerate(words.split(), 20):
                request = p.Request("tls", b"", 3, idle=asked, full=asked)
                cases.append(p.Case(make_path(
                    *self.SAID[word], port=number,
                    flow=flows and number), (), request))
            tracer.conclude(cases)
            for each in tracer.results:
                for entry in each.findings:
                    self.assertNotIn(entry["kind"], ("limit", "flows"))
            self.assertEqual(tracer.results[-1].verdict, "dropped")


class TestManyAtOnce(unittest.TestCase):

    def test_retired_method_leaves_no_socket_open_or_watched(self):
        left, right = socket.socketpair()
        self.addCleanup(right.close)

        class Method(object):
            sock, connects, repeats = left, False, None
            close = left.close

        engine = p.Engine(None)
        series = p.Series(method=Method())
        engine.add(series)
        number = left.fileno()
        engine.retire(series)
        self.assertEqual(engine.series, [])
        self.assertNotIn(number, engine.poller.writers)
        self.assertRaises(OSError, os.fstat, number)

    def test_lack_of_files_holds_once_a_turn_whatever_the_series(self):
        class Method(object):
            sock, most = None, 99

            def send(self, probe):
                raise socket.error(p.errno.EMFILE, "many")

            def release(self, probe):
                pass

        engine = p.Engine(None, clock=lambda: 5.0)
        for _ in range(60):
            engine.add(p.Series(method=Method()))
        engine.poller.wait = lambda seconds: []
        engine.turn(0)
        self.assertEqual(engine.holds, 1)
        self.assertFalse(any(series.full.probes for series in engine.series))

    def test_port_is_verified_by_the_next_hop_only_if_that_answers(self):
        for heard, proven in (((False, True) * 2, True),
                              ((False, True, False, False), False),
                              ((True, True), False),
                              ((False, False), False)):
            answers = list(heard)

            class Engine(object):
                def add(self, series):
                    for state in series.states:
                        state.settled = True
                    said = answers.pop(0)
                    for ttl in range(series.first, 4):
                        hear(series, (ttl, exceeded(ttl) if said else None))

                def retire(self, series):
                    pass

            run, farther = p.Run.__new__(p.Run), [
                (ttl, exceeded(ttl)) for ttl in (1, 2, 3)]
            run.engine, run.open_method = Engine(), lambda aim: None
            aim = p.Aim("tcp", None, 1)
            lead, port = [p.Port(aim, hear(p.Series(1, 8), *hops), 0)
                          for hops in (farther, farther[:2])]
            port.series.method = p.Method
            lead.ended = port.ended = 1
            run.ports, run.lead = [lead, port], lead
            run.guide, run.options = None, p.default_options()
            lead.controls = [hear(p.Series(1, 8), *farther)]
            for wait in p.verify_places(run):
                self.assertTrue(wait())
            self.assertEqual((port.proven, port.asked, answers),
                             (proven, 3, []))


# --------------------------------------------------------------------------
# Live
# --------------------------------------------------------------------------

def by_port(traces):
    return dict((trace["port"], trace) for trace in traces)


def verdicts(traces):
    """-> {verdict: [ports]}"""
    found = {}
    for trace in traces:
        found.setdefault(trace["verdict"], []).append(trace["port"])
    return found


def pair(trace):
    """The ttls between which a port is said to die."""
    return tuple(trace[side] and trace[side]["ttl"]
                 for side in ("blocked_after", "blocked_before"))


def rules(action, ports, proto="tcp", **more):
    return [dict(more, proto=proto, port=port, action=action)
            for port in ports]


class BatchCase(live.LiveCase):
    """One network, in which all of `calls` run side by side; each test
    looks at the results of its own."""

    require = staticmethod(lab.require_tun)

    @classmethod
    def setUpClass(cls):
        super(BatchCase, cls).setUpClass()
        try:
            cls.net.ping_group(cls.net.client)
            cls.servers = cls.prepare()
            cls.calls = cls.list_calls()        # [(name, arguments, how)]
            cls.results = lab.trace_all(
                cls.net, [call[1:] for call in cls.calls])
        except Exception:
            cls.net.close()
            raise

    @classmethod
    def both(cls, name, *args):
        """Calls for each family as root and as user."""
        return [(name, [address] + list(args), how) for how in BOTH
                for address in (cls.net.destination, cls.net.destination6)]

    def of(self, name):
        """-> [(arguments, status, traces)]"""
        return [(call[1], status, traces) for call, (status, traces) in
                zip(self.calls, self.results) if call[0] == name]

    def hop_of(self, arguments):
        return self.net.hop6 if ":" in arguments[0] else self.net.hop

    def assert_quiet_server(self, *ports):
        """Nothing is half-open; wait a moment for the last reset."""
        for _ in range(100):
            left = sum(self.net.half_open(self.net.server, port)
                       for port in ports)
            if not left:
                break
            time.sleep(0.02)
        self.assertEqual(left, 0)


class TestSeveralPorts(BatchCase):
    """80 is open, UDP 7 echoes, UDP 514 is silent; the filters:"""

    FILTERS = {
        2: rules("drop", (120, 121)),
        3: rules("reject", (90, 91)),
        4: rules("drop", list(range(100, 116)) + [200, 201]) + rules(
            "drop", (98, 99), "udp") + rules("reset", range(440, 446)),
        5: rules("reject", (92, 93), icmp=[3, 10]),
        6: rules("icmp_as_destination", (94, 95)),
        8: rules("drop", (300, 301))}

    build = staticmethod(lambda: lab.Path(
        routers=8, delay=0.005, hops=dict(
            (k, {"filters": filters})
            for k, filters in TestSeveralPorts.FILTERS.items())))

    @classmethod
    def prepare(cls):
        return [cls.net.serve(cls.net.server, kind, port=port, **more)
                for kind, port, more in (
                    ("banner", 80, {"banner": b"hi"}), ("echo-udp", 7, {}),
                    ("silent-udp", 514, {}))]

    @classmethod
    def list_calls(cls):
        four, six = cls.net.destination, cls.net.destination6
        calls = cls.both("dropped", "-w1", "-p80,81,100-115")
        calls += cls.both("forged", "-p440-446,80,81")
        calls += cls.both("rejected", "-p90-96")
        for name, address, flags in (
                ("dropped", four, ["-w1", "-p100-115,81,80"]),
                ("dropped", six, ["-w1", "-p81,100-115,80"]),
                ("forged", four, ["-p80,445,446,81,440-444"]),
                ("forged", six, ["-p81,440-446,80"]),
                ("rejected", four, ["-p96,90-95"]),
                ("rejected", four, ["-p94,92,90-91,93,95-96"]),
                ("places", four, ["-w0.5", "-p120,200-201,121,300-301,80"]),
                ("places", six, ["-w0.5", "-p300-301,120-121,200-201"]),
                ("places", four, ["-w0.5", "-p80,200-201,120-121,300-301"]),
                ("udp", four, ["-U", "-w0.5", "-p7,9,10,99,98,514"]),
                ("udp", six, ["-U", "-w0.5", "-p99,98,514,7,9,10"]),
                ("udp", four, ["-U", "-w0.5", "-p514,99,98,7,9,10"]),
                ("absent", "198.51.100.77", ["-w0.2", "-p80-84"])):
            calls.append((name, [address] + flags, USER))
        for flag in ("-f3", "-f6", "-m2", "-q3", "-N1", "-r0",
                     "--control=none", "--control=udp", "-S21000"):
            calls.append(("options", [four, "-p80,81,100", "-w0.8", flag],
                          USER))
        return calls

    def test_dropped_beside_open_and_refused_whatever_comes_first(self):
        for args, status, traces in self.of("dropped"):
            self.assertEqual(status, 1)
            found = by_port(traces)
            self.assertEqual([trace["port"] for trace in traces],
                             ports_of(args[-1].replace("-p", "")))
            self.assertEqual(len(traces), 18)
            self.assertEqual(found[80]["verdict"], "open")
            self.assertEqual(found[80]["banner"], "hi")
            self.assertEqual(found[81]["verdict"], "refused")
            self.assertEqual([found[port]["distance"] for port in (80, 81)],
                             [9, 9])
            for port in range(100, 116):
                self.assertEqual((found[port]["verdict"], pair(found[port])),
                                 ("dropped", (4, 5)), found[port]["summary"])

    def test_forged_resets_beside_honest_ones_whatever_comes_first(self):
        """Once the others were "refused" if the first was forged."""
        for args, status, traces in self.of("forged"):
            self.assertEqual(status, 1)
            self.assertEqual(
                dict((word, sorted(ports)) for word, ports in
                     verdicts(traces).items()),
                {"reset": [440, 441, 442, 443, 444, 445],
                 "refused": [81, 446], "open": [80]}, args)
            for trace in traces:
                if trace["verdict"] == "reset":
                    self.assertEqual(trace["blocked_after"]["ttl"], 4)
                else:
                    self.assertEqual(trace["distance"], 9)

    def test_rejections_name_their_own_router(self):
        for args, status, traces in self.of("rejected"):
            found, hop = by_port(traces), self.hop_of(args)
            self.assertEqual(status, 1)
            for port, ttl in ((90, 3), (91, 3), (92, 5), (93, 5)):
                self.assertEqual(
                    (found[port]["verdict"], found[port]["responder"],
                     found[port]["blocked_after"]["ttl"]),
                    ("rejected", hop(ttl), ttl), found[port]["summary"])
            for port in (94, 95):
                self.assertEqual(found[port]["verdict"], "rejected", args)
                self.assertIn("in the name of", found[port]["summary"])
            self.assertEqual(found[96]["verdict"], "refused")

    def test_ports_dropped_at_different_hops_get_no_wrong_pair(self):
        named = 0
        for args, status, traces in self.of("places"):
            self.assertEqual(status, 1)
            for number, trace in enumerate(traces):
                k = {120: 2, 121: 2, 200: 4, 201: 4, 300: 8,
                     301: 8}.get(trace["port"])
                if k is None:
                    self.assertEqual(trace["verdict"], "open")
                    continue
                self.assertEqual(trace["verdict"], "dropped")
                known = [(k, k + 1)]
                if number:              # else it was traced alone
                    known += [(k, None), (None, None)]
                self.assertIn(pair(trace), known, trace["summary"])
                named += pair(trace) == (k, k + 1)
        # Nothing is limited here; but an answer may come late.
        self.assertGreater(named, 15)

    def test_udp_ports_silent_refused_answered_and_dropped(self):
        for args, status, traces in self.of("udp"):
            found = by_port(traces)
            self.assertEqual(status, 1)
            self.assertEqual([found[port]["verdict"] for port in
                              (7, 9, 10, 514)], [
                "answered", "refused", "refused", "silent"], args)
            for port in (98, 99):
                self.assertIn(found[port]["verdict"], ("dropped", "silent"))
                self.assertIn(pair(found[port]),
                              ((4, 5), (4, None), (None, None)))

    def test_host_that_is_not_there_drops_all(self):
        for args, status, traces in self.of("absent"):
            self.assertEqual((status, verdicts(traces)), (1, {
                "dropped": [80, 81, 82, 83, 84]}))

    def test_other_options_go_with_several_ports(self):
        for args, status, traces in self.of("options"):
            self.assertEqual(
                (status, [trace["verdict"] for trace in traces]),
                (1, ["open", "refused", "dropped"]),
                (args, [trace["summary"] for trace in traces]))
            for trace in traces[:2]:
                self.assertIn(trace["distance"], (9, None), args)
            self.assertIn(pair(traces[2]), (
                (4, 5), (4, None), (2, None), (None, None)),
                (args, traces[2]["summary"]))

    def test_open_port_is_connected_to_once_by_each_call(self):
        self.assert_quiet_server(80)
        opened = sum(1 for _, traces in self.results for trace in traces
                     if trace["verdict"] == "open")
        self.assertGreater(opened, 15)
        self.assertEqual(self.servers[0].accepts(), opened)

    def test_text_report_is_a_table_below_the_hops(self):
        status, out, err = live.run(
            self.net, self.net.destination, "-nv", "-p80,90,98,91")
        lines = out.splitlines()
        self.assertEqual((status, err), (1, ""))
        self.assertEqual(lines[:2], [
            "TCP traceroute to 192.0.2.7 [192.0.2.7] ports 80,90,98,91",
            "from 10.88.0.2"])
        self.assertEqual([line.split("\t")[0] for line in lines[2:11]],
                         [str(ttl) for ttl in range(1, 10)])
        self.assertEqual(lines[11], "mechanism: error-queue, unprivileged")
        self.assertEqual([line.split()[0::2][:2] for line in lines[12:17]], [
            ["Port", "Verdict"], ["80", "open"], ["90", "rejected"],
            ["98", "refused"], ["91", "rejected"]])
        self.assertEqual(lines[17:], [
            "Could not reach destination by 2 of 4 ports",
            "TCP ports 90-91: each is rejected by 10.88.3.1 at hop 3: "
            "ICMP 3/13, communication administratively prohibited; TCP port "
            "80 reaches 192.0.2.7, 9 hops away",
            "2 of 4 ports of 192.0.2.7 were reached"])


class TestSeveralPortsAlone(live.PathCase):
    """What needs a path of its own."""

    def test_findings_of_each_port_are_told_with_its_name(self):
        destination = self.make(routers=2)
        for port in (81, 82):
            self.serve("answer", port=port, banner=b"HTTP/1.0 200 OK\r\n\r\n")
        status, out, err = live.run(self.net, destination, "-n", "--http",
                                    "-p81,82", "--banner-wait=0")
        self.assertEqual((status, err), (0, ""))
        for start in ("Finding: ", "Finding: TCP port 82: "):
            self.assertIn("\n%sAnswer: 'HTTP/1.0 200 OK" % start, out)

    assert_quiet_server = BatchCase.__dict__["assert_quiet_server"]

    def test_loss_makes_no_wrong_verdict_and_no_wrong_distance(self):
        self.serve("tcp", port=80)
        self.make(routers=4, delay=0.005, loss=0.06)
        calls = [([address, "-w3", "-p80-82", "--banner-wait=0"], USER)
                 for address in (self.net.destination,
                                 self.net.destination6)]
        for status, traces in lab.trace_all(self.net, calls):
            self.assertEqual(status, 0)
            self.assertEqual(verdicts(traces), {"open": [80],
                                                "refused": [81, 82]})
            for trace in traces:
                self.assertIn(trace["distance"], (5, None))

    def test_router_that_limits_its_icmp_is_not_the_place(self):
        """Ports 101 on die behind hop 4; hop 3 answers few of them."""
        self.make(routers=6, delay=0.005, hops={
            2: {"filters": rules("drop", [100])},
            3: {"rate": 3, "burst": 3},
            4: {"filters": rules("drop", range(101, 117))}})
        status, out, err = live.run(self.net, self.net.destination, "-n",
                                    "-w0.4", "-p100-116", "--json")
        for trace in json.loads(out)["traces"][1:]:
            self.assertIn(pair(trace), ((4, 5), (4, None), (3, None),
                                        (2, None), (None, None)),
                          trace["summary"])
            self.assertEqual(trace["verdict"], "dropped")

    def test_few_files_end_no_port(self):
        """Once each of 60 ports took one of the 40 holds."""
        self.make(routers=4, delay=0.005)
        status, out, err = self.net.run(self.net.client, [
            "sh", "-c", "ulimit -n 14; exec \"$@\"", "sh", sys.executable,
            lab.compiled("potraceroute"), "-n", "-w1", "-p100-146",
            self.net.destination])
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("47 of 47 ports of 192.0.2.7 were reached\n", out)

    def test_three_hundred_ports_are_one_table(self):
        self.make(routers=3, delay=0.005)
        status, out, err = live.run(self.net, self.net.destination, "-n",
                                    "-p1-300")
        self.assertEqual((status, err), (0, ""))
        rows = [line for line in out.splitlines() if "refused  4  " in line]
        self.assertEqual(len(rows), 300)
        self.assertIn("\n300 of 300 ports", out)

    def test_interrupt_prints_what_is_known_and_leaves_nothing_open(self):
        web = self.serve("tcp", port=80)
        self.make(routers=4, delay=0.005, hops={
            2: {"filters": rules("drop", range(100, 180))}})
        arguments = ["-n", self.net.destination, "-p80,81,100-179"]
        processes = [self.net.popen(
            self.net.client,
            [sys.executable, lab.compiled("potraceroute")] + arguments + more,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            privileged=False) for more in ([], ["--json"])]
        seen = b""
        while b"successful" not in seen:
            line = processes[0].stdout.readline()
            self.assertTrue(line, seen)
            seen += line
        while web.accepts() < 2:
            time.sleep(0.02)
        time.sleep(0.4)
        for process in processes:
            process.send_signal(signal.SIGINT)
        outputs = [process.communicate() for process in processes]
        text = (seen + outputs[0][0]).decode("ascii")
        self.assertEqual([process.returncode for process in processes],
                         [130, 130], outputs)
        self.assertEqual([err for _, err in outputs], [b"", b""])
        self.assertIn("\nInterrupted: ", text)
        self.assertIn("2 of 82 ports of 192.0.2.7 were reached so far", text)
        self.assertNotIn("Could not reach", text)
        self.assertNotIn("after this host", text)
        document = json.loads(outputs[1][0].decode("ascii"))
        self.assertEqual(document["exit_status"], 130)
        self.assertEqual(len(document["traces"]), 82)
        found = by_port(document["traces"])
        self.assertEqual([found[port]["verdict"] for port in (80, 81, 179)],
                         ["open", "refused", None])
        self.assert_quiet_server(80)
        self.assertEqual(web.accepts(), 2)

    def test_closed_output_ends_without_a_traceback(self):
        self.make(routers=3)
        command = "%s %s -n -p81-85 %s" % (
            sys.executable, lab.compiled("potraceroute"), self.net.destination)
        for end, expected in (("| head -n 1", None), (
                ">&-; echo status $?", "status 0\n")):
            status, out, err = self.net.run(self.net.client, [
                "sh", "-c", command + " " + end])
            self.assertEqual(err, "")
            if expected:
                self.assertEqual(out, expected)


class TestPortsOnKernelRouters(BatchCase):
    """With the limits that kernels set themselves."""

    require = staticmethod(lab.require_live)
    build = staticmethod(lambda: lab.Chain(routers=4, icmp_limits=True))

    @classmethod
    def prepare(cls):
        for name, hook, lines in (
                (cls.net.routers[1], "forward", [
                    "tcp dport 101-108 drop",
                    "tcp dport 201-212 reject with icmpx type "
                    "admin-prohibited"]),
                (cls.net.routers[2], "forward", ["tcp dport 109-116 drop"]),
                (cls.net.client, "output", [
                    "tcp dport 31 drop", "tcp dport 32 reject",
                    "udp dport 33 drop"])):
            cls.net.nft(name, "\n".join([
                "table inet t {", "chain c {",
                "type filter hook %s priority 0;" % hook] + lines +
                ["}", "}", ""]))
        cls.net.ip(cls.net.client, "route add blackhole 198.18.0.0/24")
        cls.net.ip(cls.net.routers[1],
                   "route add unreachable 203.0.113.0/24")

    @classmethod
    def list_calls(cls):
        four, six = cls.net.destination, cls.net.destination6
        # The limits are per client: of IPv4 there must be but one.
        return [(name, [address] + flags, USER) for name, address, flags in (
            ("limited", four, ["-w0.5", "-p90,101-116"]),
            ("limited", six, ["-w0.4", "-p201-212,90"]),
            ("limited host", six, ["-U", "-w0.3", "-p101-120"]),
            ("firewall", six, ["-w0.3", "-p30-33"]),
            ("firewall udp", six, ["-U", "-w0.3", "-p30,33"]),
            ("no route", "198.18.0.9", ["-p80-85"]))]

    def test_limited_routers_are_never_a_wrong_place(self):
        for args, status, traces in self.of("limited"):
            self.assertEqual(status, 1)
            found = by_port(traces)
            self.assertEqual(found[90]["verdict"], "refused")
            self.assertIn(found[90]["distance"], (5, None))
            for port, trace in found.items():
                if port == 90:
                    continue
                k = 3 if 109 <= port <= 116 else 2
                after, before = pair(trace)
                self.assertIn(trace["verdict"], ("dropped", "rejected")[
                    :1 + (port > 200)])
                self.assertIn(after, (None,) + tuple(range(1, k + 1)))
                self.assertTrue(before is None or (after or 0) <= k < before,
                                trace["summary"])
                self.assertNotIn("at hop 3", trace["summary"])
            said = verdicts(traces)
            if len(said.get("rejected", ())) > 1 and "dropped" in said:
                self.assertEqual(traces[0]["findings"][0]["kind"], "limit")

    def test_limited_host_makes_no_udp_port_filtered_for_sure(self):
        for args, status, traces in self.of("limited host"):
            said = verdicts(traces)
            self.assertLessEqual(set(said), set(["refused", "silent"]))
            for trace in traces:
                self.assertIn(trace["distance"], (5, None))
            heard = [trace for trace in traces if trace["hops"] and
                     trace["verdict"] == "refused" and
                     trace["hops"][-1]["icmp_type"]]
            if len(heard) > 1 and "silent" in said:
                self.assertEqual(traces[0]["findings"][0]["kind"], "limit")

    def test_local_firewall_on_some_ports_is_an_error_of_these(self):
        (_, status, traces), = self.of("firewall")
        self.assertEqual((status, [each["verdict"] for each in traces]), (
            2, ["refused", "dropped", "error", "refused"]))
        (_, status, traces), = self.of("firewall udp")
        self.assertEqual((status, traces[1]["verdict"]), (2, "error"))
        status, out, err = live.run(self.net, self.net.destination, "-n",
                                    "-p30,32", "-w0.3")
        self.assertEqual((status, err.count("\n")), (2, 1), out)
        self.assertIn("TCP port 32 could not be probed", err)
        self.assertIn("local firewall", err)

    def test_no_route_is_an_error_of_all(self):
        (_, status, traces), = self.of("no route")
        self.assertEqual((status, verdicts(traces)), (2, {
            "error": [80, 81, 82, 83, 84, 85]}))
        status, out, err = live.run(self.net, "198.18.0.9", "-n", "-p80-85")
        self.assertEqual((status, err.count("\n")), (2, 1))
        self.assertIn("TCP ports 80-85: each could not be probed", out)

    def test_router_without_a_route_makes_all_unreachable(self):
        (status, traces), = lab.trace_all(self.net, [
            (["203.0.113.1", "-p80-83", "-w0.4"], USER)])
        self.assertEqual(status, 1)     # its limit may be used up by now
        self.assertLessEqual(set(verdicts(traces)),
                             set(["unreachable", "dropped"]))


def balanced(k, ways=2, **more):
    return dict(more, balance=[
        form % (k, 11 + way) for way in range(ways)
        for form in ("10.88.%d.%d", "fd88:0:0:%d::%d")])


class TestFlows(BatchCase):
    """Hops 3 to 5 are two each; one 4 is silent; the second 3 drops TCP
    port 82 and UDP port 99."""

    build = staticmethod(lambda: lab.Path(routers=6, delay=0.005, hops={
        3: balanced(3, filters=[
            {"proto": "tcp", "port": 82, "action": "drop", "branch": 1},
            {"proto": "udp", "port": 99, "action": "drop", "branch": 1}]),
        4: balanced(4, silent_branch=1), 5: balanced(5)}))

    @classmethod
    def prepare(cls):
        return [cls.net.serve(cls.net.server, "tcp", port=port)
                for port in (80, 82)]

    @classmethod
    def list_calls(cls):
        return cls.both("open", "-p80", "--flows=4", "--banner-wait=0") + \
            cls.both("open", "-U", "--flows=4") + \
            cls.both("open", "-I", "--flows=4") + [
                ("branch", [address, "--flows=4", "-w0.6", "-g2",
                            "--banner-wait=0"] + flags, USER)
                for address in (cls.net.destination, cls.net.destination6)
                for flags in (["-p82", "-S21000"],
                              ["-U", "-p99", "-S22000"])]

    def texts(self, traces):
        return [finding["text"] for finding in traces[0]["findings"]]

    def test_flows_part_and_join_by_every_method(self):
        for args, status, traces in self.of("open"):
            self.assertEqual((status, len(traces)), (0, 4))
            for trace in traces:
                self.assertEqual(trace["distance"], 7, trace["summary"])
            if "-I" not in args:
                sources = [trace["source_port"] for trace in traces]
                self.assertEqual(sources, list(range(
                    sources[0], sources[0] + 4)))
            routers = [dict((hop["ttl"], hop["address"])
                            for hop in trace["hops"]) for trace in traces]
            texts = self.texts(traces)
            if len(set(known[3] for known in routers)) == 1:
                self.assertEqual(texts, [])         # by chance
                continue
            self.assertEqual(len(texts), 3, texts)
            self.assertTrue(texts[0].startswith(
                "the flows part after hop 2 (%s): hop 3 is " %
                self.hop_of(args)(2)), texts)
            for known in routers:
                self.assertIn(known[3] + " (flow", texts[0])
            self.assertTrue(texts[1].startswith("hop 5 is "), texts)
            self.assertTrue(texts[2].endswith(
                "join at hop 6 (%s)" % self.hop_of(args)(6)), texts)

    def test_branch_that_drops_is_named(self):
        for args, status, traces in self.of("branch"):
            bad = "fd88:0:0:3::12" if ":" in args[0] else "10.88.3.12"
            for trace in traces:
                known = [hop["address"] for hop in trace["hops"]]
                self.assertEqual(trace["reached"], bad not in known)
                if bad in known:
                    self.assertEqual(trace["verdict"], "dropped")
                    self.assertEqual(trace["blocked_after"],
                                     {"ttl": 3, "address": bad})
                    self.assertIn(pair(trace)[1], (None, 4, 5))
            lost = [trace["source_port"] for trace in traces
                    if not trace["reached"]]
            if 0 < len(lost) < 4:       # the flow label is by chance
                self.assertEqual(status, 1)
                self.assertIn("; not reached: flow%s %s" % (
                    "s"[:len(lost) > 1], p.format_ports(lost)),
                    self.texts(traces)[0])

    def test_every_probe_of_a_flow_has_its_source_port(self):
        """Other ones ask one ttl only, each one: where a flow was lost."""
        sent = {}
        for packet in self.net.captured():
            if packet.flags == 2 and packet.dport == 82:
                sent.setdefault(packet.sport, set()).add(packet.ttl)
        for flow in (21000, 21001, 21002, 21003):
            self.assertLessEqual(set([1, 2, 3, 4]), sent.pop(flow))
        self.assertLessEqual(len(sent), 24)     # of two runs
        for ttls in sent.values():
            self.assertIn(ttls, ({4}, {5}))     # hop 4 may be silent

    def test_each_flow_is_one_connection(self):
        self.assert_quiet_server(80, 82)
        self.assertEqual([server.accepts() for server in self.servers],
                         [16, 4])

    def test_few_files_are_no_lack_of_permission(self):
        status, out, err = self.net.run(self.net.client, [
            "sh", "-c", "ulimit -n 20; exec \"$@\"", "sh", sys.executable,
            lab.compiled("potraceroute"), "-n", "-I", "--flows=30",
            self.net.destination], privileged=False)
        self.assertEqual((status, err), (0, ""), out)
        self.assertIn("30 of 30 flows", out)


if __name__ == "__main__":
    unittest.main()
