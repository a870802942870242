"""What is lost: SYNs of the real connection, and probes; where, and how much.

And what only looks like it: routers and hosts that limit their ICMP, hops
that are slow, paths that are long.  Not tested here: kernels that have no
TCP_INFO (what is made of their silence is), limits that many share.
"""

import os
import random
import re
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import lab  # noqa: E402
from lanes import load_tests  # noqa: F401,E402
import potraceroute as pt  # noqa: E402

import test_live  # noqa: E402
from test_engine import FakeTcp, World, accepted  # noqa: E402
from test_engine import expired as expires  # noqa: E402
from test_notes import end, findings, make_hop, silent  # noqa: E402
from test_plan import (  # noqa: E402
    REFUSED, exceeded, make_path, make_trace, opened, simulate, walk)

ROOT, USER = {"privileged": True}, {"privileged": False}
AGAIN = opened(flags=("syn-repeated",), syns=2)


# --------------------------------------------------------------------------
# The line of a hop
# --------------------------------------------------------------------------

def answered(*rtts, **more):
    """Return a Hop of this many ms each; of: how many were sent."""
    sent, queries = more.pop("of", len(rtts)), more.pop("queries", 20)
    hop = make_hop(4, sent=sent, lost=sent - len(rtts))
    answer = hop.answer._replace(**more)
    return hop._replace(queries=queries, answers=tuple(
        answer._replace(rtt=rtt and rtt * 1e-3) for rtt in rtts))


class LineTests(unittest.TestCase):

    def test_many_answers_are_counted_and_their_times_summed_up(self):
        hop = answered(*[0.41] + [0.5] * 16 + [1.2], of=20)
        self.assertEqual(hop.format_line(), (
            "4\t10.0.4.1 (10.0.4.1)  ICMP 11/0  0.41/0.53/1.20 ms  18 of "
            "20"))
        self.assertEqual(str(hop), "4\t10.0.4.1 (10.0.4.1)  ICMP 11/0")

    def test_up_to_three_queries_show_each_time(self):
        for queries in (1, 3, None):
            self.assertEqual(
                answered(1, 2, 3, of=5, queries=queries).format_line(),
                "4\t10.0.4.1 (10.0.4.1)  ICMP 11/0  1.000 ms  2.000 ms  "
                "3.000 ms")

    def test_several_routers_of_a_hop_have_a_count_each(self):
        ours, other = answered(1, 2), answered(4, responder="10.9.9.9")
        hop = ours._replace(sent=6, answers=(
            ours.answers[0], other.answers[0], ours.answers[1]))
        self.assertEqual(hop.format_line(), (
            "4\t10.0.4.1 (10.0.4.1)  ICMP 11/0  1.00/1.50/2.00 ms  2 of 6  "
            "10.9.9.9 (10.9.9.9)  ICMP 11/0  4.00/4.00/4.00 ms  1 of 6"))
        few = hop._replace(queries=3).format_line()
        self.assertEqual(few.count("10.0.4.1 (10.0.4.1)"), 2)
        self.assertNotIn(" of ", few)

    def test_answers_without_a_time_are_counted_all_the_same(self):
        self.assertTrue(answered(None, None, of=5).format_line().endswith(
            "ICMP 11/0  2 of 5"))
        self.assertTrue(answered(None, 2, of=5).format_line().endswith(
            "  2.00/2.00/2.00 ms  2 of 5"))

    def test_what_was_asked_once_or_never_answered_is_as_ever(self):
        self.assertTrue(answered(2, of=1).format_line().endswith(
            "  2.000 ms"))
        self.assertEqual(silent(5, 20)._replace(queries=20).format_line(),
                         "5\t*\ttimed out")

    def test_more_answers_than_probes_are_never_shown(self):
        """The real connection's answer stands with the others."""
        self.assertIn("  3 of 3", answered(1, 1, 1, of=2).format_line())

    def test_labels_stand_once_behind_the_count(self):
        line = answered(1, 2, 3, labels=(pt.Label(16, 0, 1),)).format_line()
        self.assertTrue(line.endswith(" ms  3 of 3  [MPLS 16/0]"), line)

    def test_line_of_a_repeated_syn_says_so_once(self):
        for verbose in (False, True):
            hop = answered(1, flags=("syn-repeated",), syns=3, of=1)
            line = hop._replace(verbose=verbose).format_line()
            self.assertEqual(line.count("(its SYN was sent 3 times)"), 1)

    def test_json_of_a_hop_counts_its_probes(self):
        entry = answered(1, 2, of=5, syns=2).as_dict()
        self.assertEqual((entry["sent"], entry["lost"], entry["syns"]),
                         (5, 3, 2))
        self.assertEqual(len(entry["probes"]), 2)


# --------------------------------------------------------------------------
# How often a SYN was sent
# --------------------------------------------------------------------------

class SynTests(unittest.TestCase):

    def world(self, fate, **known):
        world = World(self, FakeTcp, last=2, wait=4.0)
        world.run({0: lambda world, ttl, sock: (
            sock.tell(**known), fate(world, ttl, sock))[1],
            "small": expires()})
        return world.answer(0)

    def test_connection_says_how_many_syns_it_took(self):
        for repeats, syns, flags in ((0, 1, ()), (1, 2, ("syn-repeated",)),
                                     (2, 3, ("syn-repeated",))):
            answer = self.world(accepted(0.02), total_retrans=repeats,
                                rtt=1200)
            self.assertEqual((answer.syns, answer.flags), (syns, flags))
            self.assertEqual(answer.rtt, None if repeats else 0.0012)

    def test_time_of_a_repeated_syn_is_not_known(self):
        """Which one was answered, and was that answer the first?"""
        for repeats, known, rtt in ((1, 1000, None), (1, 4999, None),
                                    (1, 5000, None), (2, 1024000, None),
                                    (0, 4999, 0.004999), (1, 0, None)):
            answer = self.world(accepted(0.03), total_retrans=repeats,
                                rtt=known)
            self.assertEqual((answer.outcome, answer.syns),
                             ("open", repeats + 1))
            self.assertEqual(answer.rtt and round(answer.rtt, 6), rtt)

    def test_note_tells_the_number(self):
        self.assertEqual(pt.format_notes(AGAIN), [
            "its SYN was sent 2 times"])

    def test_system_that_does_not_tell_has_its_time_only(self):
        for elapsed, flags in ((0.02, ()), (1.03, ("syn-late",))):
            method = World(self, FakeTcp).method
            probe = pt.Probe(0, True)
            answer = method.count_sent(probe, opened(), elapsed)
            self.assertEqual((answer.syns, answer.flags), (None, flags))
            # Windows takes a second to believe a refusal.
            answer = method.count_sent(probe, REFUSED, elapsed)
            self.assertEqual((answer.syns, answer.flags), (None, ()))

    def test_probe_with_a_small_ttl_is_no_connection(self):
        method, probe = World(self, FakeTcp).method, pt.Probe(3, False)
        probe.retransmits = 1
        self.assertIsNone(method.count_sent(probe, opened(), 1.1).syns)

    def test_verdict_says_that_the_syn_was_repeated(self):
        for syns, words in ((2, "twice"), (3, "3 times")):
            trace = make_trace(AGAIN._replace(syns=syns, data=b"220"), walk(
                3, t4=opened()), refusal="confirmed")
            self.assertTrue(trace.summary.endswith(
                ", 4 hops away; its SYN had to be sent " + words))
            self.assertEqual(trace.judged.facts("syn-repeated"),
                             {"count": syns})
            self.assertEqual(trace.exit_status, 0)

    def test_refusal_of_a_second_syn_says_so(self):
        refused = REFUSED._replace(flags=("syn-repeated",), syns=2)
        self.assertIn("refused it, 4 hops away; its SYN had to be sent twice",
                      make_trace(refused, walk(3, t4=REFUSED),
                                 refusal="confirmed").summary)

    def test_path_of_more_than_a_second_proves_no_loss(self):
        for full, hops in (
                (AGAIN._replace(rtt=1.3), walk(3, t4=opened(1.3))),
                (AGAIN._replace(rtt=None), walk(3, t3=exceeded(3, 1.2),
                                                t4=opened()))):
            trace = make_trace(full, hops)
            self.assertNotIn("SYN", trace.summary)
            self.assertEqual(trace.findings, [])

    def test_connection_that_never_came_about_is_told_from_a_probe(self):
        trace = make_trace(None, walk(3, t4=opened()))
        self.assertIn("accepted a probe with a small ttl, 4 hops away",
                      trace.summary)
        self.assertIn("but the SYNs of a whole connection were lost, "
                      "filtered by their source port, or not answered in "
                      "time", trace.summary)
        for more in (dict(complete=False), dict(proto="udp", port=9)):
            answer = opened() if "complete" in more else opened()._replace(
                outcome="data", data=b"x")
            self.assertNotIn("whole connection", make_trace(
                None, walk(3, t4=answer), **more).summary)

    def test_ports_whose_syn_was_repeated_are_named_beside_the_table(self):
        cases = [pt.Case(make_path(full, walk(3, t4=opened()), port=port))
                 for port, full in ((22, AGAIN), (80, opened()),
                                    (81, AGAIN), (82, AGAIN))]
        found, = pt.check_syns(cases, [pt.judge(case) for case in cases])
        self.assertEqual((found.kind, pt.say_finding(found)), (
            "loss", "the SYN had to be sent more than once for ports "
            "22,81-82 (3 of 4)"))
        self.assertEqual(pt.check_syns(cases[1:2], [pt.judge(cases[1])]), [])
        cases[1] = pt.Case(make_path(None, walk(3, t4=opened()), port=80))
        found = pt.check_syns(cases[:2], [pt.judge(case)
                                          for case in cases[:2]])
        self.assertEqual([pt.say_finding(each) for each in found], [
            "the SYN had to be sent more than once for port 22 (1 of 2)",
            "SYNs from one source port got no answer for port 80 (1 of 2), "
            "others did: some are lost, or a path or a rule drops some "
            "source ports"])


# --------------------------------------------------------------------------
# What is sent, and what of it counts as lost
# --------------------------------------------------------------------------

def limiting(ttl, burst=6):
    """Return a path whose router at ttl leaves out one answer, behind a
    burst, as one does that then allows one a second."""
    def path(which, count):
        if which == ttl and count == burst + 1:
            return None
        return opened() if which == 0 or which >= 5 else exceeded(which)
    return path


def lossy(from_ttl, part, seed):
    chance = random.Random(seed)

    def path(ttl, count):
        lost = chance.random() < part
        if ttl == 0:
            return opened()
        if lost and ttl >= from_ttl:
            return None
        return opened() if ttl >= 5 else exceeded(ttl)
    return path


class CountingTests(unittest.TestCase):

    def test_of_many_queries_each_is_sent_once(self):
        run = simulate(limiting(2), queries=20, full_retries=0)
        for ttl, heard in ((1, 20), (2, 19), (3, 20), (5, 20)):
            self.assertEqual((len(run.times(ttl)),
                              len(run.state(ttl).answers)), (20, heard))

    def test_probes_behind_one_that_was_lost_follow_slowly(self):
        run = simulate(limiting(2), queries=20, full_retries=0)
        times = run.times(2)
        gaps = [after - before for before, after in zip(times, times[1:])]
        self.assertLess(max(gaps[:6]), 0.1)
        for gap in gaps[6:]:
            self.assertAlmostEqual(gap, pt.Series.PACE)
        self.assertLess(run.times(3)[-1], 1.0)      # they are not held up

    def test_last_probe_of_many_has_time_to_be_answered(self):
        def path(ttl, count):
            answer = lossy(9, 0, 0)(ttl, count)
            return None if ttl == 2 and count == 2 else answer

        run = simulate(path, queries=4, full_retries=0)
        self.assertEqual(len(run.state(2).answers), 3)
        self.assertAlmostEqual(run.times(2)[-1] - run.times(2)[-2],
                               pt.Series.PACE)

    def test_silent_hop_is_not_asked_so_often(self):
        run = simulate(lambda ttl, count: None if ttl == 2 else
                       opened() if ttl in (0, 5) else exceeded(ttl),
                       queries=20, full_retries=0)
        self.assertLessEqual(len(run.times(2)), 8)
        self.assertLess(run.now, 4)

    def test_silent_hop_whose_limit_is_used_up_has_another_chance(self):
        run = simulate(lambda ttl, count: None if ttl == 2 and count < 7 else
                       opened() if ttl in (0, 5) else exceeded(ttl),
                       queries=20, full_retries=0)
        self.assertEqual(len(run.state(2).answers), 14)
        self.assertGreater(run.times(2)[6] - run.times(2)[5], 1.0)

    def test_loss_never_keeps_a_series_from_its_end(self):
        for seed in range(5):
            run = simulate(lossy(2, 0.5, seed), queries=20, full_retries=0)
            self.assertTrue(run.series.done)
            self.assertLess(run.now, 30)

    def test_hops_that_wait_for_each_other_are_not_slowed_down(self):
        for more in (dict(one_flow=True, parallel=1), dict(parallel=2)):
            run = simulate(lossy(2, 0.3, 1), queries=5, full_retries=0,
                           **more)
            self.assertTrue(run.series.done)
            self.assertLess(run.now, 10)

    def test_long_path_of_limits_takes_no_longer_than_a_short_one(self):
        def path(ttl, count):
            if 0 < ttl < 28 and count == 7:
                return None
            return opened() if ttl == 0 or ttl >= 28 else exceeded(ttl)

        run = simulate(path, queries=20, full_retries=0)
        self.assertEqual(run.series.end, 28)
        self.assertLess(run.now, 20)

    def test_many_queries_do_not_go_far_beyond_the_last_hop(self):
        def path(ttl, count):
            return None if not 0 < ttl < 4 or count == 7 else exceeded(ttl)

        run = simulate(path, queries=20, full_retries=0)
        self.assertLessEqual(max(ttl for _, ttl in run.sent), 16)

    def counts(self, rtt, sent):
        """(sent, lost) of a state whose probes were (closed after so many
        seconds, or None, if it was answered)."""
        series = pt.Series(last=1)
        state = series.at(1)
        for age in sent:
            probe = pt.Probe(1, False)
            probe.sent = 100.0
            if age is None:
                probe.answer = exceeded(1, rtt)
            else:
                probe.closed = 100.0 + age
            series.note_sent(state, probe)
            if probe.answer:
                series.note_answer(state, probe)
        series.aim = make_path().aim
        hop = pt.make_hop(series, state, pt.Show("host", False, 1, None),
                          now=500.0)
        return hop.sent, hop.lost

    def test_probe_closed_before_its_answer_was_due_is_not_lost(self):
        self.assertEqual(self.counts(0.02, [0.01, None, 0.001]), (1, 0))
        self.assertEqual(self.counts(0.02, [0.04, None, 0.02]), (2, 1))
        self.assertEqual(self.counts(0.6, [0.5, None, 0.6]), (1, 0))


# --------------------------------------------------------------------------
# What is found in it
# --------------------------------------------------------------------------

def path_of(losses, sent=20, outcome="echo-reply", **more):
    """Return the Hops of which so many probes were lost each, the last of
    them the destination."""
    hops = [make_hop(ttl, sent=sent, lost=lost)
            for ttl, lost in enumerate(losses[:-1], 1)]
    return hops + [end(len(losses), outcome, sent=sent, lost=losses[-1],
                       **more)]


def lost(hops, queries=20, method="icmp", verdict=None, full=None):
    """The findings of loss, and of limits, of Hops; full: that of the
    system's own ttl."""
    path = make_path(proto=method, port=None)
    case = pt.Case(path._replace(shown=tuple(hops), full=full or path.full,
                                 reached=hops[-1].answer))
    look = pt.Look(pt.default_options(queries=queries), False, True, None)
    return [(found.kind, found.hop, pt.say_finding(found))
            for found in pt.check_loss(
                case, verdict or pt.Verdict("answered"), look)]


class LossTests(unittest.TestCase):

    def test_healthy_path_has_no_finding(self):
        for hops in (path_of([0] * 6), path_of([1] * 5 + [0]),
                     path_of([0, 2, 1, 0, 1, 1]), path_of([1] * 6, outcome=(
                         "port-unreachable"))):
            self.assertEqual(lost(hops), [])

    def test_place_is_where_it_begins(self):
        (kind, ttl, text), = lost(path_of([0, 1, 0, 6, 7, 5, 6, 6]))
        self.assertEqual((kind, ttl), ("loss", 4))
        self.assertEqual(text, (
            "6 of 20 probes, or their answers, are lost from between hop 3 "
            "(10.0.3.1) and hop 4 (10.0.4.1) on, up to the destination"))

    def test_first_link_may_be_it(self):
        (_, ttl, text), = lost(path_of([7, 6, 7, 5, 6]))
        self.assertEqual(ttl, 1)
        self.assertIn("lost from between this host and hop 1 (10.0.1.1) on",
                      text)

    def test_last_link_may_be_it_or_the_host(self):
        (_, ttl, text), = lost(path_of([1, 0, 1, 0, 11]))
        self.assertEqual((ttl, text), (5, (
            "11 of 20 probes, or their answers, are lost between hop 4 "
            "(10.0.4.1) and 198.51.100.7 itself, hop 5, or it does not "
            "answer them all")))

    def test_counts_that_carry_no_place_name_none(self):
        for losses in ([0, 0, 1, 2, 3], [12, 11, 13, 12, 4],
                       [2, 3, 1, 4, 3]):
            for _, _, text in lost(path_of(losses)):
                self.assertIn("lost on the way to 198.51.100.7; the answers "
                              "of the hops do not show where", text)

    def test_host_that_answers_all_proves_that_nothing_is_lost(self):
        (kind, ttl, text), = lost(path_of([0, 0, 12, 1, 0, 0]))
        self.assertEqual((kind, ttl), ("rate-limit", 3))
        self.assertEqual(text, (
            "hop 3 (10.0.3.1) answered 8 of 20 probes: ICMP is limited there "
            "rather than lost: 59 of 60 probes to what lies behind were "
            "answered"))
        (kind, _, text), = lost(path_of([12] * 5 + [0]))
        self.assertEqual(kind, "rate-limit")
        self.assertIn("hops 1-5 answered 40 of 100 probes", text)

    def test_router_that_limits_before_the_loss_moves_no_place(self):
        for at in (0, 1, 2):
            losses = [1, 0, 1, 8, 7, 8, 9, 8]
            losses[at] = 16
            (_, _, text), = lost(path_of(losses))
            self.assertIn("from between hop %d (10." % (2 if at == 2 else 3),
                          text)
            self.assertIn(" and hop 4 ", text)

    def test_host_that_limits_its_port_unreachables_loses_nothing(self):
        self.assertEqual(lost(path_of([8] * 6, outcome="port-unreachable"),
                              method="udp"), [])

    def test_something_else_in_its_place_is_not_the_destination(self):
        self.assertEqual(lost(path_of([0, 0, 8, 9, 8]), verdict=pt.Verdict(
            "intercepted")), [])

    def test_branches_are_not_named_as_if_they_were_one_router(self):
        hops = path_of([0, 1, 0, 6, 7, 5, 6, 6])
        other = hops[3].answer._replace(responder="10.9.9.9")
        hops[3] = hops[3]._replace(answers=hops[3].answers + (other,))
        (_, _, text), = lost(hops)
        self.assertIn("6 of 20 probes with the ttl of 198.51.100.7 were not "
                      "answered, but the path has branches", text)
        self.assertNotIn("10.0.", text)

    def test_place_is_right_whatever_chance_does(self):
        """Or wider than need be: 300 paths of known places."""
        named = wrong = 0
        for seed in range(300):
            chance = random.Random(seed)
            link, part = seed % 9, (0.3, 0.5)[seed % 2]
            losses = [sum(1 for _ in range(20) if chance.random() < (
                1 - (1 - part * (ttl > link)) * 0.95)) for ttl in range(1, 9)]
            losses.append(sum(1 for _ in range(20)
                              if chance.random() < part))
            for _, _, text in lost(path_of(losses)):
                match = re.search("between (?:hop (\\d)|this host).* and "
                                  "(?:hop (\\d)|198.*hop (9))", text)
                if match is None:
                    continue
                named += 1
                near = int(match.group(1) or 0)
                far = int(match.group(2) or match.group(3))
                wrong += not near <= link < far
        self.assertGreater(named, 200)
        self.assertLessEqual(wrong, 3)

    def test_any_counts_are_judged_without_an_error(self):
        for losses in ([], [0], [20], [19, 20], [20] * 30, [0] * 29 + [19]):
            for sent in (20, 100, 101):
                hops = path_of(losses, sent) if losses else []
                if hops:
                    lost(hops)
                    lost(hops[:-1] or hops)
        self.assertEqual(findings([]), [])

    def test_chance_is_fishers(self):
        for these, others, value in (
                ((3, 3), (3, 0), 1 / 20.0), ((4, 2), (9, 0), 6 / 78.0),
                ((5, 0), (5, 5), 1.0), ((0, 0), (5, 5), 1.0),
                ((8, 1), (0, 0), 1.0)):
            self.assertAlmostEqual(pt.chance(
                pt.Count(None, *these), pt.Count(None, *others)), value)


class FewProbesTests(unittest.TestCase):
    """-q 3 and less."""

    def test_router_that_limits_its_icmp_is_told_from_loss(self):
        hops = [make_hop(1, sent=3), make_hop(2, sent=4, lost=3),
                make_hop(3, sent=3), make_hop(4, sent=5, lost=4),
                silent(5, 5),
                make_hop(6, sent=3), end(7, sent=3)]
        self.assertEqual(findings(hops, queries=3), [(
            "rate-limit", 2, "hop 2 (10.0.2.1) answered 1 of 4 probes, hop 4 "
            "(10.0.4.1) answered 1 of 5 probes: ICMP is limited there rather "
            "than lost: all 6 probes to what lies behind were answered")])

    def test_single_lost_answer_is_neither_limit_nor_loss(self):
        good = [make_hop(ttl) for ttl in range(1, 10)]
        for at in range(9):
            hops = list(good)
            hops[at] = make_hop(at + 1, sent=2, lost=1)
            self.assertEqual(findings(hops + [end(10)]), [])

    def test_limit_is_not_proven_by_few_or_lossy_hops_behind(self):
        limited = make_hop(2, sent=3, lost=2)
        self.assertEqual(findings([make_hop(1), limited, end(3)]), [])
        (kind, _, _), = findings([make_hop(1), limited] + [
            make_hop(ttl, sent=3) for ttl in (3, 4)] + [
                make_hop(5, sent=2, lost=1), end(6)])
        self.assertEqual(kind, "loss")

    def test_several_hops_are_counted_and_no_place_is_named(self):
        hops = [make_hop(1), make_hop(2, sent=2, lost=1), make_hop(3),
                make_hop(4, sent=3, lost=2), silent(5, 3), end(6)]
        (kind, _, text), = findings(hops)
        self.assertEqual((kind, text), (
            "loss", "3 of 8 probes were not answered, at 2 hops: packets are "
            "lost, or routers limit their ICMP (-q 20 tells)"))

    def test_destination_that_misses_some_proves_loss(self):
        hops = [make_hop(1), make_hop(2), make_hop(3, sent=2, lost=1),
                end(4, sent=1)]
        full = end(64, sent=3, lost=2)
        (_, _, text), = lost(hops, 1, full=full)
        self.assertEqual(text, (
            "3 of 8 probes were not answered, of those to 198.51.100.7 "
            "itself 2 of 4: packets are lost on the way, or dropped there "
            "(-q 20 may tell)"))
        hops[-1] = end(4, "port-unreachable", sent=3, lost=2)
        self.assertEqual(lost(hops, 1, full=full), [])

    def test_what_is_lost_at_the_hosts_own_ttl_may_have_come_less_far(self):
        hops = [make_hop(1), make_hop(2), make_hop(3, sent=2, lost=1),
                end(4, sent=3, lost=2)]
        self.assertEqual(lost(hops, 1), [])
        self.assertEqual(lost(hops, 1, full=end(64)), [])

    def test_repeated_syn_counts_as_a_probe_of_the_destination(self):
        path = make_path(AGAIN, walk(2, t3=[exceeded(3), None], t4=opened()))
        case = pt.Case(path)
        counts = pt.count_hops(path, True)
        self.assertEqual([(one.sent, one.lost) for one in counts],
                         [(1, 0), (1, 0), (2, 1), (3, 1)])
        found, = make_trace(case=case).findings
        self.assertIn("2 of 7 probes were not answered, of those to "
                      "198.51.100.7 itself 1 of 3", found["text"])

    def test_further_port_of_two_hops_is_not_worth_a_line(self):
        hops = [make_hop(2, sent=2, lost=1), make_hop(3, sent=2, lost=1),
                end(4)]
        case = pt.Case(make_path(proto="udp")._replace(shown=tuple(hops)))
        for lead, count in ((True, 1), (False, 0)):
            look = pt.Look(pt.default_options(), False, lead, None)
            self.assertEqual(len(list(pt.check_loss(
                case, pt.judge(case), look))), count)


# --------------------------------------------------------------------------
# Live
# --------------------------------------------------------------------------

LOSS = """
table inet t {
    chain c {
        type filter hook forward priority 0
        %s
    }
}
"""
SYN = "tcp flags & (syn|ack) == syn "
REAL = ("meta nfproto ipv4 ip ttl > 40 ",
        "meta nfproto ipv6 ip6 hoplimit > 40 ")


def text_of(trace, kind="loss"):
    return " ".join(found["text"] for found in trace["findings"]
                    if found["kind"] == kind)


def answers(trace):
    return [(hop["sent"] - hop["lost"], hop["sent"])
            for hop in trace["hops"]]


def assert_place(case, text, link):
    """Loss is told; if it is told where, behind hop `link`, or before it and
    behind the next: chance may hide the place."""
    case.assertTrue(re.search(r"(\d+ of \d+ probes, or their answers,|about "
                              r"\d+ % \(\d+ of \d+\) of the probes, or of "
                              r"their answers,) are lost", text), text)
    named = re.search(r"from between hop (\d) .* and hop (\d) .* on, up to "
                      "the destination", text)
    if named is None:
        case.assertIn("do not show where", text)
        return False
    case.assertTrue(int(named.group(1)) <= link < int(named.group(2)), text)
    return True


class TestKernelRouters(test_live.ChainCase):
    """With the limits of ICMP that kernels have."""

    parts = 4

    @staticmethod
    def build():
        return lab.Chain(routers=4, icmp_limits=True)

    def setUp(self):
        self.net.ping_group(self.net.client)
        self.serve("tcp", port=80)

    def tearDown(self):
        for name in self.net.routers:
            self.net.nft(name, "flush ruleset\n")

    def lose(self, router, *rules):
        self.net.nft(router, "flush ruleset\n" + LOSS % "\n".join(
            rule + " drop" for rule in rules))

    def trace(self, *args, **how):
        how = how or USER
        return test_live.run_json(self.net, *args, **how)

    def test_syns_that_are_lost_are_said(self):
        """The first SYN of the real connection, but no probe's, is lost."""
        for address, words in (
                (self.net.destination, "accepted the connection"),
                (self.net.destination6, "accepted the connection")):
            for how in (ROOT, USER):
                self.lose("r2", *[start + SYN + "numgen inc mod 2 == 0"
                                  for start in REAL])
                result = self.trace(address, "--banner-wait=0", **how)
                self.assert_verdict(result, "open", 0)
                self.assertIn("; its SYN had to be sent twice",
                              result[1]["summary"])
                last = result[1]["hops"][-1]
                self.assertEqual(last["syns"], 2)
                self.assertIn("its SYN was sent 2 times", last["notes"])
                # Of the one answered: too short to be known.
                self.assertIsNone(last["rtt_ms"])

    def test_third_syn_and_that_of_a_closed_port_are_said(self):
        self.lose("r2", REAL[0] + SYN + "numgen inc mod 3 < 2")
        result = self.trace(self.net.destination, "-w4")
        self.assert_verdict(result, "open", 0)
        self.assertIn("; its SYN had to be sent 3 times",
                      result[1]["summary"])
        self.lose("r2", REAL[0] + SYN + "numgen inc mod 2 == 0")
        result = self.trace(self.net.destination, "-p81")
        self.assert_verdict(result, "refused", 0)
        self.assertIn("; its SYN had to be sent twice", result[1]["summary"])

    def test_table_of_ports_says_whose_syn_was_repeated(self):
        self.lose("r2", REAL[0] + SYN +
                  "tcp dport 81 numgen inc mod 2 == 0")
        status, out, err = test_live.run(self.net, self.net.destination,
                                         "-n", "-p80-82", **USER)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("\nFinding: the SYN had to be sent more than once for "
                      "port 81 (1 of 3)\n", out)

    def test_connection_without_an_answer_is_not_hidden_by_a_probe(self):
        self.lose("r2", REAL[0] + SYN)
        status, trace = self.trace(self.net.destination)
        if trace["verdict"] == "open":
            self.assertIn("accepted a probe with a small ttl",
                          trace["summary"])
            self.assertIn("the SYNs of a whole connection were lost, "
                          "filtered by their source port, or not answered "
                          "in time", trace["summary"])

    def test_half_of_all_syns_lost_never_looks_healthy(self):
        self.lose("r2", SYN + "numgen random mod 2 == 0")
        for _ in range(4):
            status, trace = self.trace(self.net.destination)
            again = (trace["hops"][-1]["syns"] or 1) > 1
            self.assertEqual("its SYN had to be sent" in trace["summary"],
                             again, trace)
            missed = [hop for hop in trace["hops"]
                      if hop["outcome"] == "time-exceeded" and hop["lost"]]
            self.assertTrue(len(missed) < 2 or text_of(trace), trace)
            self.assertTrue(missed or again or not text_of(trace), trace)
            ttls = [hop["ttl"] for hop in trace["hops"]]
            self.assertTrue(ttls == sorted(ttls), trace)

    def test_healthy_path_of_limited_routers_has_no_finding(self):
        self.look_at_health(3, [])
        self.look_at_health(0, ["-q12"])

    def test_healthy_path_of_limited_routers_has_none_by_udp(self):
        self.look_at_health(4, ["-q12", "-U"])

    def look_at_health(self, pause, flags):
        time.sleep(pause)           # for the limits to be as at rest
        status, trace = self.trace(self.net.destination, *flags)
        self.assertEqual((status, trace["findings"]), (0, []), trace)
        for count, sent in answers(trace) if flags else ():
            self.assertGreaterEqual(count, 10)
            self.assertEqual(sent, 12)

    def test_loss_is_told_from_limits_with_its_place(self):
        self.lose("r2", "numgen random mod 100 < 30")
        status, out, err = test_live.run(self.net, self.net.destination,
                                         "-n", "-q20", **USER)
        self.assertEqual((status, err), (0, ""))
        found, = [line for line in out.splitlines()
                  if line.startswith("Finding: ")]
        assert_place(self, found, 2)
        for line in (
                r"1\t10.77.0.2 \(10.77.0.2\)  ICMP 11/0  \d+\.\d\d/"
                r"\d+\.\d\d/\d+\.\d\d ms  \d+ of 20",
                r"[567]\tTCP port 80 connection successful.* ms  \d+ of 20.*"):
            self.assertTrue(re.search("\n%s\n" % line, out), out)


class TestEmulatedPath(test_live.PathCase):

    parts = 4

    def each(self, *flags):
        """The traces by each method at the same time."""
        self.serve("tcp", port=80)
        return [trace for _, trace in test_live.run_json_all(self.net, [
            ([self.net.destination] + list(flags) + more, how)
            for more, how in (([], USER), (["-I"], ROOT), (["-I"], USER))])]

    def test_router_of_one_answer_is_said_to_limit_them(self):
        destination = self.make(routers=6, delay=0.01, hops={
            3: {"rate": 0.01}})
        _, trace = test_live.run_json(self.net, destination, "-I", "-q3",
                                      "-w0.9")
        self.assertEqual([(found["kind"], found["hop"])
                          for found in trace["findings"]],
                         [("rate-limit", 3)], trace)

    def test_loss_on_the_way_has_a_place_by_every_method(self):
        self.make(routers=6, delay=0.005, hops={
            3: {"filters": [{"action": "drop", "chance": 0.5}]}})
        named = [assert_place(self, text_of(trace), 3)
                 for trace in self.each("-q20")]
        self.assertIn(True, named)

    def test_router_that_loses_its_own_answers_loses_no_packets(self):
        self.make(routers=6, delay=0.005, hops={4: {"loss": 0.7}})
        for trace in self.each("-q12"):
            self.assertEqual(text_of(trace), "", answers(trace))

    def test_slow_hop_loses_nothing(self):
        self.make(routers=4, delay=0.005, hops={2: {"late": 0.2}})
        for trace in self.each("-q5"):
            self.assertEqual(trace["findings"], [], answers(trace))
            self.assertEqual(answers(trace), [(5, 5)] * 5)

    def test_lossy_branch_is_not_pinned_on_a_router(self):
        """One of two: UDP, as each probe has a source port of its own."""
        self.serve("echo-udp", port=4000)
        destination = self.make(routers=6, delay=0.005, hops={
            3: {"balance": ["10.88.3.1", "10.88.3.9"],
                "filters": [{"action": "drop", "branch": 1,
                             "chance": 0.9}]}})
        _, trace = test_live.run_json(self.net, destination, "-U", "-q20",
                                      "-p4000")
        text = text_of(trace)
        self.assertIn("--flows=8", text)
        self.assertIn("the path has branches", text)
        self.assertNotIn("10.88.3.", text)

    def test_loss_of_a_slow_path_is_not_mended_by_the_kernel(self):
        """Which sends a SYN again after a second, where none is back yet."""
        self.make(routers=4, delay=0.28, hops={
            2: {"filters": [{"action": "drop", "chance": 0.4}]}})
        self.serve("tcp", port=80)
        _, trace = test_live.run_json(self.net, self.net.destination, "-q20",
                                      "--banner-wait=0")
        assert_place(self, text_of(trace), 2)
        counts = answers(trace)
        self.assertEqual(counts[0], (20, 20))
        self.assertLess(counts[-1][0], counts[-1][1] - 2)

    def test_path_of_more_than_a_second_is_no_loss(self):
        self.make(routers=3, delay=0.65)
        self.serve("tcp", port=80)
        _, trace = test_live.run_json(self.net, self.net.destination, "-w5",
                                      "--banner-wait=0")
        self.assertEqual((trace["verdict"], trace["findings"]),
                         ("open", []), trace)
        self.assertNotIn("SYN", trace["summary"])
        self.assertGreater(trace["rtt_ms"] or 1201, 1200)


if __name__ == "__main__":
    unittest.main()
