"""What to send when, and what it all means: Series, Hop, judge() and Trace.

No socket is opened: times are numbers, answers are made up.  Simulation
plays the engine against a path that is a function of the ttl; make_path()
and make_trace() freeze what was heard of one.
"""

import os
import re
import sys
import unittest
from collections import namedtuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import potraceroute as pt  # noqa: E402

DESTINATION = "198.51.100.7"


def router(ttl):
    return "10.0.%d.1" % ttl


def make_answer(outcome, address=None, rtt=0.02, icmp=(None, None), **more):
    return pt.NO_REPLY._replace(
        outcome=outcome, responder=address, rtt=rtt, icmp_type=icmp[0],
        icmp_code=icmp[1], **more)


def exceeded(ttl, rtt=0.02, **more):
    return make_answer("time-exceeded", router(ttl), rtt, (11, 0), **more)


def prohibited(address, rtt=0.02, icmp=(3, 13)):
    return make_answer("prohibited", address, rtt, icmp)


def opened(rtt=0.02, **more):
    return make_answer("open", DESTINATION, rtt, **more)


REFUSED = make_answer("refused", DESTINATION)
CLOSED = make_answer("port-unreachable", DESTINATION, icmp=(3, 3))
ECHO = make_answer("echo-reply", DESTINATION, icmp=(0, 0))
NO_ROUTE = make_answer("unreachable", router(2), icmp=(3, 0))
DENIED = make_answer("send-failed", rtt=None, error="not permitted")
UNSEEN = make_answer("time-exceeded")       # an errno is all there is


# --------------------------------------------------------------------------
# From facts to a Series, a Path and a Trace
# --------------------------------------------------------------------------

def hear(series, *heard):
    """Let a Series hear (ttl, answer) in this order; ttl 0 is the full."""
    for ttl, answer in heard:
        state = series.at(ttl) if ttl else series.full
        probe = pt.Probe(ttl, False)
        probe.sent, probe.answer = pt.monotonic() - 100, answer
        series.note_sent(state, probe)
        if answer is not None:
            series.note_answer(state, probe)
    return series


def make_target(port=443, version=4, **more):
    address = DESTINATION if version == 4 else "2001:db8::7"
    values = dict.fromkeys(pt.Target._fields)
    values.update(family=pt.FAMILIES[version], port=port, address=address,
                  sockaddr=(address, port or 0), own_address="192.0.2.99")
    values.update(more)
    return pt.Target(**values)


def make_path(full=None, hops=None, proto="tcp", port=443, first=1, last=30,
              version=4, own="192.0.2.99", flow=None, refusal=None,
              **facts):
    """Return the Path on which this was heard.

    hops: ttl -> answer, or a list of them; a ttl that is not there was
    silent.  facts: as freeze() takes them.
    """
    aim = pt.Aim(proto, make_target(port, version, own_address=own), flow)
    series = pt.Series(first, last, aim=aim)
    for ttl in range(first, last + 1):
        answers = (hops or {}).get(ttl)
        for answer in answers if isinstance(answers, list) else [answers]:
            hear(series, (ttl, answer))
    hear(series, (0, full))
    facts.setdefault("elapsed", 0.5)
    return pt.freeze(series, pt.Show("mail.example.com", False, 9, None),
                     refusal, **facts)


class Maker(pt.Traceroute):
    """Makes Traces of what was not traced."""

    def __init__(self):
        self.destination = "mail.example.com"
        self.mechanism_name, self.privileged = "error-queue", False
        self.options, self.why = pt.default_options(), ""
        self.aims = []


def make_trace(full=None, hops=None, proto="tcp", port=443, control=(),
               request=None, case=None, **facts):
    """Return the Trace of a path; control: the Traces to compare with."""
    if case is None:
        case = pt.Case(make_path(full, hops, proto, port, **facts),
                       tuple(each.path for each in control), request)
    verdict = pt.judge(case)
    found = pt.find_all(case, verdict, pt.Look(pt.default_options(), False,
                                               True, None))
    return Maker().make_trace(case, verdict, found, case.controls)


def walk(count, first=1, **more):
    """Return the answers of routers up to count, and more by ttl."""
    hops = dict((ttl, exceeded(ttl)) for ttl in range(first, count + 1))
    hops.update((int(key[1:]), value) for key, value in more.items())
    return hops


def echo_trace(distance, reached=True, **more):
    """Return the control Trace of an ICMP echo to the same host."""
    hops = walk(distance - 1, **more)
    if reached:
        hops[distance] = ECHO
    return make_trace(ECHO if reached else None, hops, "icmp", None)


# What became of a request inside the session, as far as it is judged.
Session = namedtuple("Session", "limit outcome reply mss")


def make_request(outcomes, full, idle="silent", kind="tls", last=None,
                 reply=None, name=b"app.example", **facts):
    """Return the Request of which these are the outcomes from ttl 1 on."""
    return pt.Request(
        kind, name,
        len(outcomes) + 1 if last is None else last,
        tuple(Session(ttl, outcome, None, 0)
              for ttl, outcome in enumerate(outcomes, 1)),
        Session(0, idle, None, 0), Session(0, full, reply, 0), wait=2.0,
        **facts)


# --------------------------------------------------------------------------
# What to send when
# --------------------------------------------------------------------------

class Simulation(object):
    """Plays a Series against path(ttl, count), which returns the Reply to
    the count-th probe (from 1) of a ttl (0: the system's own), or None."""

    def __init__(self, series, path):
        self.series = series
        self.path = path
        self.now = 0.0
        self.sent = []          # (time, ttl)
        self.most = 0           # the most ttls in flight at once
        self.coming = []        # (time, state, probe, answer)

    def times(self, ttl):
        return [when for when, sent in self.sent if sent == ttl]

    def state(self, ttl):
        return [state for state in self.series.all_states
                if state.ttl == ttl][0]

    def send(self):
        series = self.series
        due = series.due(self.now)
        for state in due:
            probe = pt.Probe(state.ttl, state is series.full)
            probe.sent = self.now
            series.note_sent(state, probe)
            self.sent.append((self.now, state.ttl))
            answer = self.path(state.ttl, len(state.probes))
            if answer is not None:
                self.coming.append((self.now + (answer.rtt or 0), state,
                                    probe, answer))
        self.most = max(self.most, sum(
            1 for state in series.all_states
            if state.probes and not state.settled))
        return len(due)

    def deliver(self):
        for entry in [one for one in self.coming if one[0] <= self.now]:
            self.coming.remove(entry)
            _, state, probe, answer = entry
            probe.answer = answer
            if not state.settled:
                self.series.note_answer(state, probe)

    def run(self, until=100.0):
        """Run until done, or until a time; returns self."""
        idle = 0
        while not self.series.done:
            before = self.now
            sent = self.send()
            if not sent:
                self.now = max(self.now, min(
                    [self.series.next_time(self.now)] +
                    [entry[0] for entry in self.coming]))
            if self.now >= until:
                break
            self.deliver()
            self.series.update(self.now)
            idle = idle + 1 if not sent and self.now == before else 0
            if idle > 3:
                raise AssertionError("the series spins at %s" % self.now)
        return self


def straight(distance, silent=(), delay=0.02, last=opened):
    """Return a path: routers up to the destination, some of them silent."""
    def path(ttl, count):
        if ttl == 0 or ttl >= distance:
            return last(delay)
        return None if ttl in silent else exceeded(ttl, delay)
    return path


def dropping(after, silent=(), delay=0.02):
    """Return a path on which nothing comes back from behind a hop."""
    def path(ttl, count):
        return None if ttl == 0 or ttl > after or ttl in silent else \
            exceeded(ttl, delay)
    return path


def simulate(path, until=100.0, **timing):
    return Simulation(pt.Series(**timing), path).run(until)


PATHS = (straight(12), straight(12, (3, 4, 5)), straight(9, (2, 3)),
         dropping(4), dropping(0), dropping(20))


class SendingTests(unittest.TestCase):

    def test_series_sends_the_full_ttl_first_then_upwards(self):
        series = pt.Series(full_retries=0)
        self.assertIs(series.due(0)[0], series.full)
        for series, most, ttls in (
                (series, 4, [0, 1, 2, 3]), (series, 1, [0]),
                (pt.Series(first=7, last=9), 99, [0, 7, 8, 9])):
            self.assertEqual([state.ttl for state in series.due(0, most)],
                             ttls)

    def test_window_is_never_exceeded_on_a_path_of_any_kind(self):
        for parallel in (1, 2, 5, 16, 40):
            for path in PATHS:
                run = simulate(path, parallel=parallel)
                self.assertLessEqual(run.most, parallel)

    def test_window_is_used_whole_when_nothing_answers(self):
        run = simulate(dropping(0), 0.1, parallel=8)
        self.assertEqual(run.most, 8)
        self.assertEqual([ttl for _, ttl in run.sent], list(range(8)))

    def test_window_moves_on_as_answers_come(self):
        run = simulate(straight(12), parallel=4)
        self.assertEqual(sorted(set(ttl for _, ttl in run.sent))[:13],
                         list(range(13)))

    def test_answered_hops_are_probed_once(self):
        run = simulate(straight(9), full_retries=0)
        for ttl in range(10):
            self.assertEqual(len(run.times(ttl)), 1)

    def test_number_of_probes_follows_queries_and_retries(self):
        for timing, path, count, full_count in (
                (dict(full_retries=0), dropping(0), 3, 1),
                (dict(retries=2), dropping(0), 3, 3),
                (dict(retries=0), dropping(0), 1, 1),
                (dict(queries=3, full_retries=0), straight(6), 3, 1),
                (dict(queries=3), straight(6), 3, 1),
                (dict(queries=3, retries=2), dropping(0), 3, 3)):
            run = simulate(path, **timing)
            self.assertTrue(run.series.done)
            self.assertEqual((len(run.times(0)), len(run.times(4))),
                             (full_count, count), timing)
            if path(0, 1):
                self.assertEqual(len(run.state(4).answers), 3)
                self.assertLess(run.now, 1.0)

    def test_three_queries_follow_each_other_one_answer_at_a_time(self):
        first, second, third = simulate(
            straight(6, delay=0.05), queries=3, full_retries=0).times(1)
        self.assertAlmostEqual(second - first, 0.05)
        self.assertAlmostEqual(third - second, 0.05)

    def test_three_queries_with_one_lost_are_made_up_for(self):
        def path(ttl, count):
            if ttl == 2 and count == 2:
                return None
            return straight(5)(ttl, count)

        run = simulate(path, queries=3, full_retries=0)
        self.assertEqual(len(run.state(2).answers), 3)
        self.assertEqual(len(run.times(2)), 4)

    def test_one_flow_sends_one_probe_at_a_time_in_order(self):
        run = simulate(straight(6, silent=(3,)), parallel=1, one_flow=True,
                       full_retries=0, last=9)
        self.assertEqual([ttl for _, ttl in run.sent],
                         [0, 1, 2, 3, 3, 3, 4, 5, 6])
        self.assertEqual((run.most, run.series.end), (1, 6))

    def test_failed_send_settles_its_hop_and_no_other(self):
        def path(ttl, count):
            return DENIED if ttl == 2 else exceeded(ttl) if ttl else None

        run = simulate(path, 0.5, full_retries=0, last=3)
        self.assertEqual(len(run.times(2)), 1)
        self.assertTrue(run.state(2).settled)
        self.assertEqual(run.state(3).outcome, "time-exceeded")

    def test_held_hop_is_neither_settled_nor_probed_again(self):
        series = hear(pt.Series(last=1), (0, opened()))
        series.full.held = True
        for held in (True, False):
            series.full.held = held
            series.update(pt.monotonic() + 50)
            self.assertEqual(series.full.settled, not held)
            self.assertNotIn(series.full, series.due(pt.monotonic() + 50))

    def test_next_time_is_never_in_the_past_without_something_due(self):
        for path in PATHS:      # Simulation.run() fails if time stands still
            self.assertTrue(simulate(path, wait=1.0).series.done)


class RetryTests(unittest.TestCase):

    def test_retries_of_a_silent_hop_are_spread_over_the_wait(self):
        run = simulate(dropping(0), wait=2.0, retries=2)
        for ttl in range(1, 6):
            times = run.times(ttl)
            self.assertEqual(len(times), 3)
            for number, when in enumerate(times):
                self.assertAlmostEqual(when, number * 2 / 3.0, places=2)
            # A Linux router answers one error a second, once its bucket is
            # empty: one try gets that token.
            self.assertTrue(any(1.0 <= when - times[0] < 2.0
                                for when in times), times)

    def test_hop_that_answers_the_last_retry_is_heard(self):
        def path(ttl, count):
            if ttl not in (1, 2, 3) or ttl == 3 and count < 3:
                return None
            return exceeded(ttl)

        run = simulate(path)
        self.assertEqual(run.state(3).outcome, "time-exceeded")
        self.assertEqual(run.series.farthest, 3)

    def test_nearer_silent_hop_is_hurried_by_a_farther_answer(self):
        run = simulate(straight(9, silent=(4,), delay=0.1), wait=2.0,
                       full_retries=0)
        first, second, third = run.times(4)
        self.assertLess(second - first, 0.2)
        self.assertAlmostEqual(third - second, 0.025)
        self.assertLess(run.now, 0.5)

    def test_hurried_hop_is_given_the_floor_after_its_last_try(self):
        # The farther hop answers in 1 ms; a router may take much longer.
        run = simulate(straight(6, silent=(3,), delay=0.001), wait=2.0,
                       full_retries=0)
        self.assertGreaterEqual(run.now - run.times(3)[-1], pt.Series.FLOOR)
        self.assertGreaterEqual(pt.Series.FLOOR, 0.05)
        self.assertLess(run.now, 0.3)

    def test_hurried_hop_waits_as_long_as_the_floor_or_the_farther_one(self):
        for delay, answers_after in ((0.001, 0.07), (0.8, 0.9)):
            def path(ttl, count):
                if ttl == 3:
                    return exceeded(3, answers_after)
                return straight(6, delay=delay)(ttl, count)

            run = simulate(path, wait=2.0, full_retries=0)
            self.assertEqual(run.state(3).outcome, "time-exceeded")

    def test_hop_behind_the_last_answer_is_not_hurried(self):
        def failing(ttl, count):
            return DENIED if ttl == 3 else None

        for path, ttl, last in ((dropping(4), 6, 30), (failing, 1, 3)):
            run = simulate(path, wait=2.0, full_retries=0, last=last)
            self.assertGreaterEqual(run.now, 2.0)
            self.assertAlmostEqual(run.times(ttl)[1] - run.times(ttl)[0],
                                   2 / 3.0, places=2)


class EndTests(unittest.TestCase):

    def test_path_ends_where_the_destination_or_a_refusal_is_nearest(self):
        no = prohibited(router(2))
        for heard, end in (
                ([(6, opened())], 6),
                ([(6, opened()), (4, opened())], 4),
                ([(6, opened()), (4, opened()), (9, opened())], 4),
                ([(2, exceeded(2)), (3, no), (4, no)], 3),
                # It yields to a farther hop, and to the destination.
                ([(3, no), (5, exceeded(5))], None),
                ([(3, no), (5, exceeded(5)), (7, prohibited(router(6)))], 7),
                ([(3, no), (0, opened())], None),
                ([(3, no), (0, opened()), (7, opened())], 7)):
            self.assertEqual(hear(pt.Series(), *heard).end, end, heard)

    def test_destinations_word_counts_more_than_a_routers(self):
        series = hear(pt.Series(queries=2), (5, exceeded(5)), (5, opened()))
        self.assertEqual((series.at(5).outcome, series.end), ("open", 5))

    def test_ttl_that_was_not_sent_does_not_count_as_heard(self):
        self.assertEqual(hear(pt.Series(), (5, DENIED)).farthest, 0)
        self.assertEqual(pt.Series(first=6).farthest, 5)

    def test_nothing_is_sent_behind_the_destination_once_it_is_known(self):
        run = simulate(straight(6), parallel=4, full_retries=0)
        self.assertEqual(run.series.end, 6)
        self.assertLessEqual(max(ttl for _, ttl in run.sent), 6 + 4)

    def test_silent_hop_that_turns_out_to_be_the_destination_ends_it(self):
        # The answer to the first probe at its distance got lost.
        def path(ttl, count):
            if ttl == 5 and count == 1:
                return None
            return straight(5)(ttl, count)

        run = simulate(path, full_retries=0)
        self.assertEqual(run.series.end, 5)
        self.assertGreater(len(run.times(5)), 1)

    def test_series_is_done_when_the_full_ttl_and_all_in_front_are(self):
        series = hear(pt.Series(last=2), (1, exceeded(1)), (2, exceeded(2)))
        for state in series.states:
            state.settled = True
        self.assertFalse(series.done)
        series.full.settled = True
        self.assertTrue(series.done)
        series = hear(pt.Series(), (5, opened()))
        series.full.settled = True
        for state in series.states[:5]:
            self.assertFalse(series.done)
            state.settled = True
        self.assertTrue(series.done)

    def test_series_for_one_ttl_alone_is_done_when_it_is_settled(self):
        run = simulate(straight(5), first=1, last=0, full_ttl=3)
        self.assertEqual([ttl for _, ttl in run.sent], [3])
        self.assertEqual(run.series.full.outcome, "time-exceeded")

    def test_gap_limit_ends_a_silent_path(self):
        for after, timing, last in ((3, dict(gap=5), 8), (3, dict(gap=2), 5),
                                    (2, dict(gap=0, last=12), 12)):
            run = simulate(dropping(after), parallel=1, full_retries=0,
                           **timing)
            self.assertEqual(sorted(set(ttl for _, ttl in run.sent)),
                             list(range(last + 1)))
            self.assertTrue(run.series.done)

    def test_gap_limit_with_a_wide_window_ends_after_one_wait(self):
        run = simulate(dropping(3), gap=5, parallel=16, full_retries=0)
        self.assertLess(run.now, 2.5)
        self.assertLessEqual(max(ttl for _, ttl in run.sent), 3 + 16)

    def test_answer_beyond_the_gap_extends_the_path(self):
        # Hops 3 to 9 are silent, 10 answers, and it was on its way already.
        run = simulate(dropping(10, range(3, 10)), gap=5, full_retries=0)
        self.assertEqual((run.series.farthest, run.series.horizon), (10, 15))
        self.assertTrue(all(run.state(ttl).settled for ttl in range(1, 16)))

    def test_gap_does_not_count_when_the_destination_has_answered(self):
        # It answers at ttl 10 and at full ttl; 2 to 9 are silent.
        run = simulate(straight(10, range(2, 10)), gap=5, parallel=16,
                       full_retries=0)
        self.assertEqual(run.series.end, 10)

    def test_port_dropped_after_hop_7_is_known_in_one_wait(self):
        run = simulate(dropping(7, delay=0.03), wait=2.0, full_retries=0)
        self.assertEqual(run.series.farthest, 7)
        self.assertLess(run.now, 2.5)

    def test_open_port_20_hops_away_takes_a_few_round_trips(self):
        run = simulate(straight(20, (3, 9, 14, 15), 0.06), full_retries=0)
        self.assertEqual(run.series.end, 20)
        self.assertEqual([ttl for ttl in range(1, 21)
                          if run.state(ttl).outcome == "timeout"],
                         [3, 9, 14, 15])
        self.assertLess(run.now, 0.5)


# --------------------------------------------------------------------------
# Judging: facts in, record out
# --------------------------------------------------------------------------

# What answers, as a letter; "." is silence, r the router of that ttl.
UNSEEN_NO = make_answer("refused")
DATA = make_answer("data", DESTINATION, data=b"12345")
NO = prohibited(router(2))
LETTERS = {
    "O": opened(), "R": REFUSED, "C": CLOSED, "E": ECHO, "D": DATA, "N": NO,
    "F": prohibited(DESTINATION), "U": NO_ROUTE, "X": DENIED, ".": None,
    "A": prohibited("192.0.2.50", icmp=(3, 3)), "3": exceeded(3),
    "o": exceeded(2)._replace(responder="10.9.9.9"), "u": UNSEEN,
    "e": UNSEEN._replace(icmp_type=11, icmp_code=0),
    "n": UNSEEN_NO, "l": make_answer("unreachable", error="No route"),
    "T": opened(flags=("reset-at-once",)),
    "S": opened(flags=("syn-repeated",), syns=2),
    "L": opened(flags=("syn-late",)), "B": opened(data=b"220 mail"),
    "H": opened(flags=("closed-at-once",), after=0.003),
    "W": opened(after=0.5),
    "a": exceeded(3, reply_ttl=253), "b": exceeded(4, reply_ttl=252),
    "c": REFUSED._replace(reply_ttl=253),
    "d": exceeded(3)._replace(responder=DESTINATION)}
FACTS = {
    "-": {}, "forged": dict(refusal="forged"), "own": dict(own=DESTINATION),
    "last": dict(refusal="forged", arrival=pt.Arrival(61, 3, 4)),
    "confirmed": dict(refusal="confirmed"), "limited": dict(limited=True),
    "blind": dict(sight="distance"), "dark": dict(sight="nothing"),
    "cut": dict(complete=False), "parted": dict(parted=True),
    "nearer": dict(nearer=True), "icmp": dict(proto="icmp", port=None),
    "udp": dict(proto="udp", port=40000), "syslog": dict(
        proto="udp", port=514), "ntp": dict(proto="udp", port=123),
    "closed": dict(proto="udp", port=33434),
    "http": dict(port=80), "ssh": dict(port=22), "alt": dict(port=8443)}


def read_path(text):
    """Return the Path of facts in letters, e.g. "O/rrrO+udp": what the full
    ttl brings, what each ttl does, from first=3 if there is a 3> before
    them, up to last if there is a < behind, and words of FACTS."""
    heard, _, words = text.partition("+")
    full, _, letters = heard.partition("/")
    facts = {}
    for word in words.split("+") if words else ():
        facts.update(FACTS[word])
    first, _, letters = letters.rpartition(">")
    first = int(first or 1)
    if letters.endswith("<"):
        letters = letters[:-1]
        facts["last"] = first + len(letters) - 1
    hops = dict((ttl, exceeded(ttl) if letter == "r" else LETTERS[letter])
                for ttl, letter in enumerate(letters, first))
    return make_path(LETTERS[full], hops, first=first, **facts)


def read_case(text, request=None):
    """Return the Case of "path control control"."""
    paths = [read_path(word) for word in text.split()]
    return pt.Case(paths[0], tuple(paths[1:]), request)


# rule | path and controls | word, who, after which ttl (0: this host) and
# before which it is blocked | names of the reasons
JUDGED = """
reached | B/rrrB+confirmed     | open host - -  |
reached | B/rrrB               | open host - -  | unconfirmed
reached | B/rrrB+own           | open host - -  |
reached | O/rrrO+confirmed     | open host - -  | handshake-only
reached | O/rrrO               | open host - -  | unconfirmed handshake-only
reached | W/rrrO+confirmed     | open host - -  | handshake-only
reached | H/rrrO+confirmed     | open host - -  | closed-at-once
reached | O/                   | open host - -  | unconfirmed handshake-only
reached | O/rr+cut             | open host - -  | handshake-only
reached | B/6>O+confirmed      | open host - -  |
reached | B/rXrO+confirmed     | open host - -  |
reached | T/rrrO+confirmed     | open host - -  | reset-at-once
reached | T/rrrO               | open host - -  | unconfirmed reset-at-once
reached | O/rrR+forged         | open host - -  | reset-nearer
reached | O/rrRO+confirmed     | open host - -  | refused-later
reached | O/rrRR               | open host - -  | unconfirmed refused-from
reached | R/rrO                | refused host - - | unconfirmed
reached | O/rrNO+confirmed     | open host - -  | refused-some
reached | B/rrO E/rrrrrE+icmp  | open host - -  | unconfirmed
reached | B/rrO+confirmed E/rrrE+icmp | open host - - |
reached | B/rrO+confirmed E/rrE+icmp | open host - - |
reached | B/rrO+confirmed ./rrrrr+icmp | open host - - |
reached | B/rrO+confirmed E/rorrrE+icmp | open host - - |
reached | B/rrO+confirmed O/rrddO | open host - - |
reached | B/rrO+limited E/rrrrrE+icmp | open host - - | unconfirmed
reached | S/rrrO+confirmed     | open host - -  | handshake-only syn-repeated
reached | L/rrrO+confirmed     | open host - -  | handshake-only syn-late
reached | ./rrrB+confirmed     | open host - -  | syn-unanswered
reached | E/rrrE+icmp          | answered host - - |
reached | D/rrrD+udp+confirmed | answered host - - |
reached | D/rrrD+udp           | answered host - - | unconfirmed
reached | R/rrrR+confirmed     | refused host - - |
reached | R/rrrR               | refused host - - | unconfirmed
reached | C/rrrC+udp+confirmed | refused host - - |
reached | C/rrrC+udp           | refused host - - | unconfirmed
reached | n/uuun+blind+confirmed | refused - - - | refused-by-whom
reached | n/+blind+own         | refused - - -  |

forged  | R/rrrR+forged ./4>r<+icmp | reset - 3 4 | nearer-than-host
forged  | R/rrrR+forged E/rrrrrE+icmp ./4>r<+icmp | reset - 3 4 | \
nearer-than-host
forged  | R/rrrR+forged        | reset - 3 -    | nearer-than-host
forged  | R/rr.R+forged E/rrr.rE+icmp | reset - 2 - | nearer-than-host
forged  | R/R+forged E/rrrrE+icmp | reset - - 1 | nearer-than-host
forged  | R/Rrr+forged E/rrrrE+icmp | reset - - 1 | nearer-than-host
forged  | R/rrrRr+forged ./4>r<+icmp | reset - 3 4 | nearer-than-host
forged  | n/uuun+blind+forged  | reset - 3 -    | perhaps-icmp \
nearer-than-host
forged  | c/rrac+forged ./4>b<+icmp | reset - 3 4 | nearer-than-host \
reply-ttl
forged  | R/rrrR+last E/rrrE+icmp | reset - 3 4 | last-router
forged  | R/rr.R+last E/rr.E+icmp | reset - 2 4 | last-router
forged  | C/rrrC+udp+forged ./4>r<+icmp | rejected - 3 - | icmp \
nearer-than-host
forged  | O/rrO+forged E/rrrrrE+icmp | intercepted - 2 - | nearer-than-host
forged  | B/rrO+forged         | intercepted - 2 - | nearer-than-host
forged  | O/rrO+forged ./3>...r<+icmp | intercepted - 2 - | nearer-than-host
forged  | O/O+forged E/rrrrE+icmp | intercepted - - - | nearer-than-host
forged  | D/rrD+udp+forged E/rrrrrE+icmp | intercepted - 2 - | \
nearer-than-host
forged  | O/uuO+blind+forged E/uuuuuE+icmp+blind | intercepted - 2 - | \
nearer-than-host

rejected | N/rrN               | rejected 10.0.2.1 2 - | icmp
rejected | N/rrN N/rrN+icmp     | rejected 10.0.2.1 2 - | icmp rejects-too
rejected | N/rrN+cut           | rejected 10.0.2.1 2 - | icmp
rejected | N/3>N               | rejected 10.0.2.1 - - | icmp
rejected | N/rrN E/rrrrE+icmp  | rejected 10.0.2.1 2 - | icmp reaches
rejected | N/rrN N/rrN+icmp E/rrrrE+icmp | rejected 10.0.2.1 2 - | icmp \
reaches rejects-too
rejected | N/rrN N/rrN+icmp N/rrN+udp | rejected 10.0.2.1 2 - | icmp \
rejects-too
rejected | N/rrN ./rr+icmp     | rejected 10.0.2.1 2 - | icmp
rejected | N/rrN A/rrA+icmp    | rejected 10.0.2.1 2 - | icmp
rejected | U/rrU E/rrrrE+icmp  | rejected 10.0.2.1 2 - | icmp reaches
rejected | U/rrU               | unreachable 10.0.2.1 2 - | icmp
rejected | F/rrrF              | rejected host 3 - | icmp unconfirmed
rejected | F/rrrF+confirmed    | rejected host 3 - | icmp own-firewall
rejected | F/rrdrF             | rejected host 4 - | icmp behind
forged  | F/rrrF+forged E/rrrrrE+icmp | rejected - 3 - | icmp nearer-than-host
rejected | F/rrrF F/rrrF+icmp  | rejected host 3 - | icmp unconfirmed
rejected | F/rrdF E/rrE+icmp   | rejected host 3 - | icmp or-behind reaches
rejected | A/rrrA+udp E/rrrE+icmp | rejected 192.0.2.50 4 - | icmp \
other-address reaches
rejected | A/rrr<+udp ./rrr+icmp | rejected 192.0.2.50 3 - | icmp
rejected | n/+blind            | rejected - - - | icmp
rejected | l/uuu+blind         | unreachable - - - | icmp
rejected | l/eeel+blind        | unreachable - 3 - | icmp
rejected | l/eeel+blind E/rrrrrE+icmp | rejected - 3 - | icmp reaches
rejected | l/eeel+blind E/rrrE+icmp | rejected - 3 - | icmp or-itself \
reaches
rejected | l/ee+blind U/rr+icmp | unreachable 10.0.2.1 2 - | icmp told-too

not_sent | X/XX                | error - - -    | not-sent
not_sent | ./rrrX E/rrrrE+icmp | error - - -    | not-sent

unreachable_for_all | ./rr U/rrU+icmp | unreachable 10.0.2.1 2 - | icmp told

looping | ./rrabababab         | dropped - 4 -  | loop
looping | ./rrabababab E/rrrrE+icmp | dropped - 4 - | loop

silent  | ./rrrr+udp E/rrrrE+icmp | silent - - - | is-up
silent  | ./rrrr+syslog E/rrrrE+icmp | silent - - - | is-up mute
silent  | ./rrrr+ntp E/rrrrE+icmp C/+closed | silent - - - | is-up \
udp-refused shy from-port
silent  | ./rrrr+udp E/rrrrE+icmp ./+closed | silent - - - | is-up udp-dropped
silent  | ./rrrr+udp E/rrrrE+icmp ./+closed D/rrrrD+udp | silent - - - | is-up
silent  | ./rr+udp+limited E/rrrrrE+icmp | silent - - - | is-up seen-up-to
silent  | ./rrrr+udp+limited E/rrrrE+icmp | silent - - - | is-up
silent  | ./rrrr+udp C/rrrrC+syslog | silent - - - | is-up
silent  | ./uuuuu+udp+blind E/uuuuuE+icmp+blind | silent - - - | is-up
silent  | ./3>.+udp E/rrrrrE+icmp | silent - - - | is-up

dropped | ./rrrr               | dropped - 4 -  | nobody-behind
dropped | ./rrrr+udp           | dropped - 4 -  | nobody-behind no-answer-due
dropped | ./rr+udp E/rrrrrE+icmp | dropped - 2 3 | reaches
dropped | ./rrr<               | dropped - 3 -  | max-hops
dropped | ./rrrr E/rrrrrrE+icmp | dropped - 4 5 | reaches
dropped | ./rrrr E/rrrrE+icmp  | dropped - 4 5  | reaches way-back
dropped | ./rrrr E/rrrr.rE+icmp | dropped - 4 6 | reaches
dropped | ./rrrr ./rrrr+icmp   | dropped - 4 -  | no-farther
dropped | ./rrrr ./rrrrrr+icmp | dropped - 4 5  | reaches
dropped | ./rrrr ./rrrr+icmp ./rrrrrrrr+icmp E/rrrrrE+icmp | dropped - 4 5 \
| reaches
dropped | ./rrrr E/rrorrrE+icmp | dropped - 4 - | reaches other-routers
dropped | ./rrrr E/rrorE+icmp  | dropped - 4 -  | reaches \
other-routers
dropped | ./rrrr+limited E/rrrrrrE+icmp | dropped - 4 - | reaches limited
dropped | ./rrrr+limited E/rrrrE+icmp | dropped - 4 - | reaches limited
dropped | ./+limited E/.....E+icmp | dropped - 0 - | reaches mute-routers
dropped | ./rrrr+limited ./rr+icmp | dropped - 4 - | no-farther limited
dropped | ./rrrr O/rrrrrrO     | dropped - 4 -  | reaches other-flow
dropped | ./rrrr+parted E/rrrrrrE+icmp | dropped - 4 - | reaches other-flow
dropped | ./rrrr+http R/rrrrrrR+confirmed | dropped - 4 5 | reaches
dropped | ./rrrr+http R/rrrr..R | dropped - 4 7 | gets-there \
way-back
dropped | ./rrrr+http E/rrrr....E+icmp R/rrrr..R | dropped - 4 7 | reaches \
way-back
dropped | ./rrrr+http R/rrrR   | dropped - 4 -  | answered-nearer
dropped | ./rrrr E/rrE+icmp    | dropped - 4 -  | answered-nearer
dropped | ./rrrr E/rrrr+icmp  | dropped - 4 -  | reaches
dropped | ./rrd                | dropped - 3 -  | forwarded
dropped | ./rrdd E/rrE+icmp    | dropped - 4 -  | forwarded
dropped | ./rrd O/rrddO        | dropped - 3 -  | forwarded
dropped | ./                   | dropped - 0 -  | no-hop
dropped | ./ E/rrrrrE+icmp     | dropped - 0 1  | reaches local-firewall
dropped | ./3>.                | dropped - - -  | silent-hops
dropped | ./3>. E/rrrrrrrrE+icmp | dropped - - - | silent-hops reaches
dropped | ./3>rrr E/rrrrrrrrE+icmp | dropped - 5 6 | reaches
dropped | ./rrr ./rrr............3+icmp | dropped - 3 - | again
dropped | ./rrr ./rrr.3+icmp   | dropped - 3 5  | reaches
dropped | ./rrr E/rrrr...3E+icmp | dropped - 3 4 | reaches
dropped | ./uuu+blind          | dropped - 3 -  | nobody-behind
dropped | ./uuu+blind E/uuuuuE+icmp+blind | dropped - 3 4 | reaches
dropped | ./uuu+blind n/uuuun+udp+blind | dropped - 3 4 | reaches
dropped | ./rr+limited n/...n+udp+dark | dropped - 2 - | reaches unseen
dropped | ./+dark              | dropped - - -  | no-sight \
perhaps-unanswered
dropped | ./+dark E/+icmp+dark | dropped - - -  | reaches perhaps-unanswered
dropped | ./+dark ./rrr+icmp  | dropped - - -  | reaches perhaps-unanswered
"""
JUDGED = [[part.strip() for part in row.split("|")]
          for row in JUDGED.replace("\\\n", "").splitlines() if row]


def no_tls(failure):
    """Return the Tls of a handshake that failed."""
    return pt.Tls(None, None, None, None, None, "as it is", failure)


# By ttl what becomes of a request on an open port 5 hops away, and of one
# with the full ttl; a path of its own; more of the request | what is judged,
# or why it is unanswered
EXPIRED = 4 * "expired "
REQUESTS = (
    ("expired expired reset reset reset", "O/rrrrO", {}, "reset 2 3"),
    ("reset reset reset reset reset", "O/rrrrO", {}, "reset - 1"),
    ("expired expired silent silent silent", "O/rrrrO", {}, "dropped 2 3"),
    ("expired expired expired expired silent", "O/rrrrO", {},
     "dropped 4 5"),
    ("silent silent silent silent silent", "O/rrrrO", {}, "dropped - 1"),
    ("expired rejected rejected rejected rejected", "O/rrrrO", {},
     "rejected 1 2"),
    # Who was not heard before is no place.
    ("expired expired expired silent silent", "O/rr.rO", {}, "dropped 2 4"),
    ("expired expired greeted greeted silent", "O/rrrrO", {},
     "dropped 2 5"),
    # What did not come about proves no place, nor what cannot be seen.
    ("expired unconnected silent silent silent", "O/rrrrO", {},
     "dropped - -"),
    ("expired unconnected reset reset reset", "O/rrrrO", {}, "reset - -"),
    ("reset", "O/rrrrO", dict(last=0), "reset - -"),
    # Answered; data of -P is not always.
    (EXPIRED + "answered", "O/rrrrO", {}, "open - -"),
    (EXPIRED + "answered", "O/rrrrO", dict(kind="http", reply=b"HTTP/1.1 5"),
     "open - -"),
    (EXPIRED + "answered", "O/rrrrO", dict(reply=b"\x16"), "open - -"),
    (4 * "closed " + "answered", "O/rrrrO", dict(
        reply=b"\x16\3\3", idle="closed"), "open - -"),
    (EXPIRED + "answered", "O/rrrrO", dict(
        reply=b"\x15\3\3\0\2\1\x70", tls=no_tls("unable")), "open - -"),
    (EXPIRED + "answered", "O/rrrrO", dict(
        reply=b"\x16\3", tls=no_tls("certificate")), "open - -"),
    (EXPIRED + "reset", "O/rrrrO", dict(kind="payload"), "open - -"),
    (EXPIRED + "closed", "O/rrrrO", dict(kind="payload"), "open - -"),
    ("reset reset reset reset reset", "O/rrrrO", dict(
        kind="payload", idle="reset"), "open - -"),
    # No answer, and no router's ttl shows why
    (EXPIRED + "reset", "O/rrrrO", {}, "request-reset"),
    (EXPIRED + "reset", "O/rrrrO", dict(name=b""), "request-reset no-name"),
    ("reset", "O/O", {}, "request-reset"),      # on this very link
    (EXPIRED + "rejected", "O/rrrrO", dict(name=b""), "request-rejected"),
    (EXPIRED + "closed", "O/rrrrO", {}, "request-closed"),
    (EXPIRED + "closed", "O/rrrrO", dict(idle="closed"), "all-closed"),
    (EXPIRED + "reset", "O/rrrrO", dict(idle="closed"), "all-closed"),
    ("reset reset reset reset reset", "O/rrrrO", dict(idle="reset"),
     "all-reset"),
    (EXPIRED + "unconnected", "O/rrrrO", {}, "request-unconnected"),
    (EXPIRED + "ungreeted", "O/rrrrO", {}, "request-ungreeted"),
    (EXPIRED + "acknowledged", "O/rrrrO", {}, "hangs"),
    (EXPIRED + "acknowledged", "O/rrrrO", dict(small=Session(
        0, "acknowledged", None, 0)), "hangs"),
    (EXPIRED + "acknowledged", "O/rrrrO", dict(small=Session(
        0, "answered", b"\x16\3", 0)), "small-only"),
    ("expired expired acknowledged acknowledged acknowledged", "O/rrrrO", {},
     "taken"),
    # An answer that is none
    (EXPIRED + "answered", "O/rrrrO", dict(reply=b"HTTP/1.1 400 Bad"),
     "other-answer"),
    (EXPIRED + "answered", "O/rrrrO", dict(kind="http", reply=b"\x15\3\1"),
     "other-answer"),
    (EXPIRED + "closed", "O/rrrrO", dict(reply=b"SSH-2.0-x\r\n"),
     "other-answer"),
    (EXPIRED + "answered", "O/rrrrO", dict(
        reply=b"\x15\3\3\0\2\2\x28", tls=no_tls("unable")), "tls-alert"),
    (EXPIRED + "answered", "O/rrrrO", dict(
        name=b"", reply=b"\x15\3", tls=no_tls("alert")),
     "tls-alert no-name"),
    (EXPIRED + "answered", "O/rrrrO", dict(
        reply=b"\x16\3", tls=no_tls("protocol")), "tls-protocol"),
    (EXPIRED + "answered", "O/rrrrO", dict(
        reply=b"\x16\3", tls=no_tls("stalled")), "tls-stalled"),
    (EXPIRED + "answered", "O/rrrrO", dict(
        reply=b"\x16\3", tls=no_tls("small")), "tls-small"),
    (EXPIRED + "answered", "O/rrrrO", dict(
        reply=b"\x16\3", tls=no_tls("lost")), "tls-lost"),
    # Nor is a port judged by its request that is not open.
    ("reset reset reset reset reset", "R/rrrrR", {}, "refused - -"),
    ("reset reset reset reset reset", "./rrrr", {}, "dropped 4 -"))


def all_cases():
    """Yield the Case of each row of both tables."""
    for row in JUDGED:
        yield read_case(row[1])
    for outcomes, path, facts, _ in REQUESTS:
        words = outcomes.split()
        yield read_case(path, make_request(words[:-1], words[-1], **facts))


def say_ttls(verdict):
    return " ".join([verdict.word] + [
        "-" if place is None else str(place.ttl)
        for place in (verdict.after, verdict.before)])


class JudgementTests(unittest.TestCase):

    def test_each_rule_judges_its_facts(self):
        for case, (rule, text, judged, reasons) in zip(all_cases(), JUDGED):
            verdict = pt.judge(case)
            word, who, after, before = judged.split()
            self.assertEqual(
                (say_ttls(verdict), verdict.who, verdict.request, " ".join(
                    each.name for each in verdict.reasons)),
                (" ".join([word, after, before]), {
                    "-": None, "host": DESTINATION}.get(who, who), None,
                 " ".join(reasons.split())), text)
            best = pt.select_control(case)
            first = [each for each in pt.RULES if each(case, best)][0]
            self.assertEqual(first.__name__, "judge_" + rule, text)
            trace = make_trace(case=case)
            self.assertEqual(
                (trace.verdict, trace.reached, trace.exit_status),
                (word, word in ("open", "answered", "refused"), {
                    "open": 0, "answered": 0, "refused": 0,
                    "error": 2}.get(word, 1)) if "+cut" not in text or
                verdict.reached else (None, False, 1))
            if trace.verdict:
                self.assertEqual([
                    "-" if place is None else str(place["ttl"]) for place in
                    (trace.blocked_after, trace.blocked_before)],
                    [after.replace("0", "-"), before])
        self.assertEqual(set("judge_" + row[0] for row in JUDGED),
                         set(rule.__name__ for rule in pt.RULES))

    def test_request_inside_the_session_has_a_verdict_of_its_own(self):
        cases = list(all_cases())[len(JUDGED):]
        for case, (outcomes, path, _, judged) in zip(cases, REQUESTS):
            verdict = pt.judge(case)
            unanswered = verdict.word == "unanswered"
            if unanswered:
                self.assertEqual(verdict.reached, False)
                self.assertEqual("port-open " + judged, " ".join(
                    each.name for each in verdict.reasons), outcomes)
                judged = "unanswered - -"
            self.assertEqual(say_ttls(verdict), judged, outcomes)
            inside = verdict.facts("port-open") is not None
            self.assertEqual(inside, verdict.word != "open" and path[0] ==
                             "O", outcomes)
            self.assertIs(verdict.request, case.request if inside else None)
            if inside:
                self.assertIsNone(verdict.who)
            if inside and not unanswered:
                self.assertEqual(verdict.before is None,
                                 verdict.facts("no-place") is not None)

    def test_names_of_reasons_are_all_tried_and_all_have_words(self):
        given = set(each.name for case in all_cases()
                    for each in pt.judge(case).reasons)
        elsewhere = ("refused-by-whom", "icmp", "behind", "gets-there",
                     "perhaps-unanswered", "port-open", "place", "no-place",
                     "or-itself")
        self.assertEqual(given, set(pt.CLAUSES) | set(elsewhere))

    def test_every_verdict_is_a_sentence_of_printable_words(self):
        for case in all_cases():
            text = pt.sentence(pt.judge(case), case.path)
            self.assertTrue(re.match(r"[ -~]+\Z", text), text)
            for word in ("None", "{", "  ", "Place(", " ,", "; ;", ";;"):
                self.assertNotIn(word, text)

    def test_nothing_of_the_words_is_needed_to_judge(self):
        with open(os.path.join(ROOT, "potraceroute.py")) as stream:
            words = re.search(r"\n# \d+ Words\b.*?\n(.*?)\n# \d+ ",
                              stream.read(), re.DOTALL).group(1)
        names = ["".join(found) for found in re.findall(
            r"^(?:def (\w+)|(\w+) = )", words, re.MULTILINE)]
        self.assertLessEqual(set(["sentence", "CLAUSES", "say_finding"]),
                             set(names))
        before = [pt.judge(case).word for case in all_cases()]
        look = pt.Look(pt.default_options(), False, True, None)
        for name in names:
            self.addCleanup(setattr, pt, name, getattr(pt, name))
            delattr(pt, name)
        for case, word in zip(all_cases(), before):
            verdict = pt.judge(case)
            pt.find_all(case, verdict, look)
            self.assertEqual(verdict.word, word)

    def test_facts_and_what_they_mean_are_frozen(self):
        trace = make_trace(None, walk(3), control=[echo_trace(6)])
        verdict, path = trace.judged, trace.path
        for record in (trace, path, verdict, verdict.after, path.hops[0],
                       verdict.reasons[0], path.hops[0].answer, path.aim):
            for name in record._fields:
                with self.assertRaises(AttributeError):
                    setattr(record, name, 1)
        self.assertEqual([type(path.hops), type(path.shown)], [tuple] * 2)

    def test_judging_changes_no_fact_and_says_the_same_again(self):
        for case in all_cases():
            before = repr(case.path), repr(case.controls)
            verdict = pt.judge(case)
            self.assertEqual(pt.judge(case), verdict)
            self.assertEqual((repr(case.path), repr(case.controls)), before)


class PathTests(unittest.TestCase):
    """What freeze() makes of a Series."""

    def test_distance_is_claimed_where_a_nearer_ttl_did_not_get_there(self):
        for text, distance in (
                ("O/rrrO", 4), ("O/O", 1), ("O/", None), ("O/rrr<", None),
                ("O/6>O", None), ("O/6>rO", 7), ("O/rrN", None),
                ("O/rrRR", None), ("n/uuun+blind", None), ("./rrr", None)):
            self.assertEqual(read_path(text).distance, distance, text)
        retried = opened(flags=("retried",))
        for last, tries, distance in (
                (opened(), 3, 4), (opened(), 2, None), (retried, 3, None),
                (CLOSED, 3, None)):     # a host may limit those
            path = make_path(last, walk(2, t3=[None] * tries, t4=last))
            self.assertEqual(path.distance, distance)

    def test_answers_that_do_not_fit_are_flagged(self):
        quoted = pt.NOTHING_QUOTED._replace
        for answer, flags in (
                (exceeded(2), ()),
                (exceeded(2, quoted=quoted(source="192.0.2.99", ttl=1)), ()),
                (exceeded(2, quoted=quoted(source="10.9.9.9", ttl=3)),
                 ("nat-source", "quoted-ttl")),
                (exceeded(2, flags=("nat-destination",)),
                 ("nat-destination",)),
                (NO._replace(quoted=quoted(ttl=56)), ()),
                (CLOSED._replace(quoted=quoted(tos=0)), ())):
            self.assertEqual(make_path(None, {2: answer}).at(2).answer.flags,
                             flags)

    def test_refusal_that_is_forged_is_not_the_destinations(self):
        for text, outcome in (
                ("R/rrrR", "reset"), ("C/rrrC", "prohibited"),
                ("n/rrrn+udp", "prohibited"), ("C/rrrC+udp", "prohibited"),
                ("O/rrrO", "intercepted"), ("D/rrrD+udp", "intercepted"),
                ("E/rrrE+icmp", "echo-reply"), ("r/rrrr", "time-exceeded")):
            text = text.replace("r/", "3/", 1)
            path, as_heard = read_path(text + "+forged"), read_path(text)
            for hop, before in ((path.full, as_heard.full),
                                (path.at(4), as_heard.at(4))):
                self.assertEqual(hop.outcome, outcome)
                self.assertEqual("forged" in hop.answer.flags,
                                 before.outcome != outcome)

    def test_hops_are_shown_up_to_the_end_with_what_the_full_ttl_found(self):
        banner = opened(data=b"220")
        for full, hops, last, shown in (
                (banner, walk(3, t4=opened(), t5=opened()), 30,
                 [(1, None), (2, None), (3, None), (4, b"220")]),
                (banner, walk(2), 2, [(1, None), (2, None), (2, b"220")]),
                (None, walk(1, t3=exceeded(3)), 30,
                 [(1, None), (2, None), (3, None)]),
                (None, {}, 30, [])):
            path = make_path(full, hops, last=last)
            self.assertEqual([(hop.ttl, hop.rxdata) for hop in path.shown],
                             shown)
            self.assertEqual([hop.ttl for hop in path.shown if hop.more],
                             [2] if last == 2 else [])


    def test_silent_ttls_before_a_limited_answer_are_no_hops(self):
        for text, last, hops in (
                ("C/rr..C+udp", 2, [1, 2, 5]),
                ("O/rr..O+nearer", 2, [1, 2, 5]),
                ("C/r.r.C+udp", 3, [1, 2, 3, 5]),
                # The distance is known, or none was heard before it, or
                # nothing limits what came.
                ("C/rrrC+udp", None, [1, 2, 3, 4]),
                ("C/...C+udp", None, [1, 2, 3, 4]),
                ("O/rr..O", None, [1, 2, 3, 4, 5]),
                ("./rr..", None, [1, 2, 3, 4])):
            path = read_path(text)
            self.assertEqual(path.last_before, last, text)
            self.assertEqual([hop.ttl for hop in path.hops[:hops[-1]]
                              if pt.is_hop(path, hop)], hops, text)
        shown = read_path("C/rr..C+udp").shown
        self.assertEqual([(hop.ttl, hop.more) for hop in shown],
                         [(1, False), (2, False), (2, True)])

    def test_paths_are_sorted_by_how_far_they_got(self):
        order = ["./", "./r", "./rrr", "O/O", "O/rrrO", "R/rrrR+confirmed",
                 "E/rrrrE+icmp"]
        paths = [read_path(text) for text in order]
        self.assertEqual(sorted(paths[::-1], key=pt.how_far), paths)

    def test_what_answers_nearer_than_a_router_is_another(self):
        for control, path, nearer in (
                ("E/rrE+icmp", "./rrrr", True), ("E/rrE+icmp", "./rrr", True),
                ("E/rrrE+icmp", "./rrr", False), ("E/E+icmp", "./", False),
                ("./rr+icmp", "./rrrr", False), ("E/+icmp", "./rr", False),
                # It is the router that forwards the port.
                ("E/rrE+icmp", "./rrdd", False),
                ("E/rrE+icmp", "./rrdr", True)):
            self.assertIs(pt.is_nearer(read_path(control), read_path(path)),
                          nearer, (control, path))


class Hears(object):
    """A method that misses no answer."""

    misses_quick = False


class Beside(object):
    """A Run, of which a port's peers are all that is asked."""

    def __init__(self, *texts):
        self.series = [read_series(text) for text in texts]

    def peers(self, port):
        return self.series


def read_series(text):
    """Return the Series of "full/letters", each ttl asked once, or as often
    as there are letters in brackets."""
    full, _, letters = text.partition("/")
    groups = re.findall(r"\[.*?\]|.", letters)
    series = pt.Series(1, len(groups), aim=make_path().aim)
    for ttl, group in enumerate(groups, 1):
        for letter in group.strip("[]"):
            hear(series, (ttl, exceeded(ttl) if letter == "r" else
                          LETTERS[letter]))
    return hear(series, (0, LETTERS[full]))


class PlaceTests(unittest.TestCase):
    """Where a port's silence begins, by what gets farther."""

    def port(self, text):
        series = read_series(text)
        series.method = Hears()
        return pt.Port(series.aim, series, 0)

    def test_first_ttl_that_only_others_got_to_is_asked_again(self):
        for port, others, found in (
                ("./rr....", ["E/rrrrE"], (0, 3)),
                ("./rr....", ["E/rr.rE"], (0, 4)),
                ("./rr....", ["E/rr.rE", "./rrr..."], (1, 3)),
                ("./rr....", ["E/rrE..."], (0, 3)),
                ("./......", ["E/rrrrE"], (0, 1)),
                ("./rr....", ["./rr...."], None),
                ("./rrrr..", ["./rr...."], None),
                # What is nearer than a hop of the port is another host.
                ("./rrrr..", ["E/rrE..."], None)):
            run = Beside(*others)
            beyond = pt.find_beyond(run, self.port(port))
            if found:
                found = run.series[found[0]], found[1]
            self.assertEqual(beyond, found, (port, others))

    def test_place_is_proven_by_what_both_its_hops_answer_at_once(self):
        for port, theirs, ttl, others, proven in (
                ("./rr....", "./rrr", 3, [], True),
                ("./rr....", "./rr.", 3, [], False),
                ("./rr....", "./r.r", 3, [], False),
                ("./......", "./r", 1, [], True),
                # A silent hop between: only if nothing else is limited.
                ("./rr....", "./rr.r", 4, [], True),
                ("./rr....", "./rrrr", 4, [], False),
                ("./r[.r]....", "./rr.r", 4, [], False),
                ("./rr....", "./rr.r", 4, ["./r[r.]"], False),
                ("./......", "./.r", 2, [], False)):
            self.assertEqual(pt.is_proven(
                Beside(*others), self.port(port), read_series(theirs), ttl),
                proven, (port, theirs, ttl))

    def test_what_the_kernel_may_have_missed_is_silent_if_repeated(self):
        for renewed, closed, proven in (
                (False, 2, False), (True, 1.1, False), (True, 2, True)):
            port, run = self.port("./rr...."), Beside()
            port.series.method.misses_quick = True
            for probe in port.series.at(3).probes:
                probe.sent, probe.closed, probe.renewed = 0, closed, renewed
            self.assertEqual(pt.is_proven(run, port, read_series("./rrr"), 3),
                             proven, (renewed, closed))

    def test_errnos_from_behind_all_that_is_answered_are_no_hops(self):
        for port, others, counts, sure in (
                ("./rruuu.", ["./rr...."], (3, 4), 2),
                ("./rruuu.", ["./......"], (3, 4), 2),
                ("./uuu...", [], (3, 4), 0),
                ("./uuu...", ["E/rrrE"], (3, 4), 255),
                ("./rr....", ["./r....."], (3, 4), 255),
                ("l/rruuu.", ["./rr...."], (3, 4), 255),
                # Where nothing is counted they cannot be told apart.
                ("./uuu...", [], None, 255)):
            port = self.port(port)
            port.series.method.counts = counts
            self.assertEqual(pt.find_sure(Beside(*others), port), sure,
                             (others, sure))

    def test_hop_that_answers_a_part_is_limited(self):
        for port, others, limited in (
                ("./rr..", [], False), ("./r[r.]..", [], True),
                ("./rr..", ["./rr[r.]"], True),
                ("./rr..", ["./r.[..]"], True),     # the port has had one
                ("./rr..", ["./rr[..]"], False),
                # Behind the port's last hop its own silence says nothing.
                ("./rr..", ["./rrr"], False)):
            self.assertEqual(pt.is_limited(Beside(*others),
                                           self.port(port)), limited,
                             (port, others))

    def test_what_another_flow_of_the_port_heard_is_adopted(self):
        series = read_series("./rr....")
        pt.adopt(series, read_series("./..rrr."), 3)
        self.assertEqual((series.farthest, series.at(3).address,
                          series.at(4).address), (3, router(3), None))
        pt.adopt(series, read_series("./....rr"), 4)    # it was silent
        pt.adopt(series, read_series("./......rr"), 8)  # not to be asked
        self.assertEqual(series.farthest, 3)
        self.assertEqual(len(series.at(3).probes), 2)

    def test_what_the_destination_answers_as_a_router_is_forwarded(self):
        port = self.port("R/rrR")
        for text, ttl, forwards in (
                ("O/rrdrO", None, True), ("O/rrdrO", 3, True),
                ("O/rrdrO", 4, False), ("O/rrrO", None, False),
                ("O/rrO", 3, False), ("O/rrdrO", 9, False)):
            self.assertEqual(pt.forwards(port, read_series(text), ttl),
                             forwards, (text, ttl))

    def test_what_is_open_farther_on_shows_a_forgery_if_not_forwarded(self):
        for port, behind, services, forged in (
                ("R/rrR", [], ["O/....O"], True),
                ("R/rrR", [], ["O/..r.O"], True),
                ("R/rrR", ["./...r"], [], True),
                ("R/rrR", [], ["O/..O"], False),
                ("R/rrR", [], ["O/..drO"], False),
                ("R/rrR", [], ["O/...drO"], False),
                ("R/rrR", [], ["O/..rdrO"], True),
                ("R/rrR", ["./...d"], [], False),
                # All routers are silent: it may be forwarded.
                ("R/..R", [], ["O/....O"], False),
                ("R/R", [], ["O/....O"], True)):
            port = self.port(port)
            self.assertEqual(pt.lies_behind(
                port, [read_series(text) for text in behind],
                [read_series(text) for text in services], port.series.end),
                forged, (behind, services))


# --------------------------------------------------------------------------
# Words
# --------------------------------------------------------------------------

# The facts, and the sentence from behind the port on, or the whole one.
OPEN = "is open: 198.51.100.7 accepted the connection"
SOMEBODY = "198.51.100.7, or a device in its name, "
EXPLAINS = " that drops all of it, a null route, a host that is off, or a " \
    "broken way back would explain this"
WHICH = "; which of them is not confirmed"
AT_3_OR_BEHIND = "a device at hop 3 (10.0.3.1) or just behind it, "
INTERCEPTED = "is intercepted: a device at "
AT_2_TO_3 = INTERCEPTED + "hop 2 (10.0.2.1), at hop 3 (10.0.3.1) or " \
    "between them answered in the name of 198.51.100.7"
SENTENCES = (
    ("B/rrrB+confirmed", OPEN + ", 4 hops away"),
    ("B/rrrB", "is open: " + SOMEBODY + "accepted the connection, 4 hops "
     "away" + WHICH),
    ("B/B+own", OPEN + ", 1 hop away"),
    ("W/rrrO+confirmed", OPEN + ", 4 hops away; only the handshake is "
     "proven: nothing came within 0.5 s"),
    ("W/rrrO", "is open: " + SOMEBODY + "accepted the connection, 4 hops "
     "away" + WHICH + "; only the handshake is proven: nothing came within "
     "0.5 s"),
    ("O/rrrO+confirmed", OPEN + ", 4 hops away; only the handshake is "
     "proven"),
    ("H/rrrO+confirmed", OPEN + ", 4 hops away; the peer closed the "
     "connection after 3 ms"),
    ("T/rrrO+confirmed", OPEN + ", 4 hops away; but the connection was "
     "reset at once"),
    ("B/rrr<+confirmed", OPEN + ", more than 3 hops away"),
    ("B/6>O+confirmed", OPEN + ", at most 6 hops away"),
    ("B/6>rO+confirmed", OPEN + ", 7 hops away"), ("B/rr+cut", OPEN),
    ("B/rrNO+confirmed", OPEN + ", at most 4 hops away; but 10.0.2.1 refused "
     "some of the probes"),
    # Hop 4 lies behind the one in whose place somebody refused.
    ("O/rrRrO", "is open: " + SOMEBODY + "accepted the connection, more than "
     "2 hops away" + WHICH + "; but from ttl 3 on further connections were "
     "refused, by it or by a device on the way"),
    ("S/rrrO+confirmed", OPEN + ", 4 hops away; only the handshake is "
     "proven; its SYN had to be sent twice"),
    ("L/rrrO+confirmed", OPEN + ", 4 hops away; only the handshake is "
     "proven; it took so long that its SYN may have been sent more than "
     "once"),
    ("./rrrB+confirmed", "is open: 198.51.100.7 accepted a probe with a "
     "small ttl, 4 hops away; but the SYNs of a whole connection were lost, "
     "filtered by their source port, or not answered in time"),
    # `nc -l` takes the first connection and refuses the next.
    ("O/R+own", OPEN + "; but from ttl 1 on further "
     "connections were refused, by it or by a device on the way"),
    ("O/rrO+forged E/rrrrrE+icmp", AT_2_TO_3 + "; with ttl 3 ICMP echo "
     "gets to 10.0.3.1 only"),
    ("O/rrO+forged E/rr..rE+icmp", "is intercepted: a device at hop 2 "
     "(10.0.2.1) or just behind it answered in the name of 198.51.100.7; "
     "ICMP echo gets on to hop 5 (10.0.5.1)"),
    ("O/r.O+forged E/r.rrrE+icmp", INTERCEPTED + "hop 3 (10.0.3.1) or before "
     "it answered in the name of 198.51.100.7; with ttl 3 ICMP echo gets to "
     "10.0.3.1 only"),
    ("D/rrD+udp+forged E/rrrrrE+icmp", AT_2_TO_3 + "; with ttl 3 ICMP "
     "echo gets to 10.0.3.1 only"),
    ("R/rrrR+confirmed", "is closed: 198.51.100.7 refused it, 4 hops away"),
    ("R/rrrR", "is closed: " + SOMEBODY + "refused it, 4 hops away" + WHICH),
    ("C/rrrC+udp+confirmed", "is closed: 198.51.100.7 refused it (ICMP 3/3, "
     "port unreachable), 4 hops away"),
    ("C/rrrC+confirmed", "is closed or filtered: 198.51.100.7 refused it "
     "(ICMP 3/3, port unreachable, as its firewall would), 4 hops away"),
    ("n/+blind", "is rejected by a device on the way, or 198.51.100.7 "
     "itself: a reset or an ICMP error, which is not visible"),
    ("l/uuu+blind", "198.51.100.7 is unreachable, or TCP port 443 is "
     "rejected: a device on the way, or a missing ARP answer says so, the "
     "ICMP error is not visible"),
    ("D/rrrD+udp+confirmed", "answered: 5 bytes of data came from "
     "198.51.100.7, 4 hops away"),
    ("D/rrrD+udp", "answered: 5 bytes of data came from 198.51.100.7 or a "
     "device in its name, 4 hops away" + WHICH),
    ("D/rrrD+udp+nearer", "answered: 5 bytes of data came from 198.51.100.7 "
     "or a device in its name, at most 4 hops away" + WHICH),
    ("E/rrrE+icmp", "answered: an echo reply came from 198.51.100.7, 4 hops "
     "away"),
    ("N/rrN", "is rejected by 10.0.2.1 at hop 2: ICMP 3/13, communication "
     "administratively prohibited"),
    ("A/rrA+udp", "is rejected by 192.0.2.50 at hop 3: ICMP 3/3, port "
     "unreachable"),
    ("F/rrrF", "is rejected by " + SOMEBODY.replace(",", "").strip() +
     ": ICMP 3/13, communication administratively prohibited" + WHICH),
    ("F/rrrF+confirmed", "is rejected by 198.51.100.7 itself: ICMP 3/13, "
     "communication administratively prohibited (its own firewall)"),
    ("N/rrN N/rrN+icmp N/rrN+udp", "is rejected by 10.0.2.1 at hop 2: ICMP "
     "3/13, communication administratively prohibited; it rejects ICMP echo, "
     "UDP port 40000, too"),
    ("U/rrU", "198.51.100.7 is unreachable: 10.0.2.1 at hop 2 says so, ICMP "
     "3/0, network unreachable"),
    ("./rrrr", "is dropped after hop 4 (10.0.4.1): neither 198.51.100.7 nor "
     "any hop behind that one answered"),
    ("./", "is dropped after this host: no hop answered at all, not even "
     "the first; look at this host's own firewall and gateway first"),
    ("./rrr<", "is dropped after hop 3 (10.0.3.1): the path is longer than "
     "that or loops (see -m), and 198.51.100.7 did not answer"),
    ("./rrrr E/rrrrrrE+icmp", "is dropped between hop 4 (10.0.4.1) and hop 5"
     " (10.0.5.1): ICMP echo reaches 198.51.100.7, 7 hops away"),
    ("./rrrr E/rrrrE+icmp", "is dropped between hop 4 (10.0.4.1) and "
     "198.51.100.7 itself, hop 5: ICMP echo reaches 198.51.100.7, 5 hops "
     "away; or the port's answers are lost on the way back"),
    ("./rrrr ./rrrr+icmp", "is dropped after hop 4 (10.0.4.1): nothing "
     "else that was tried is answered from farther (ICMP echo): a firewall "
     "there" + EXPLAINS),
    ("./rrrr ./rrrr+icmp ./rrrr+udp ./rrrr ./rrrr+ssh", "is dropped after "
     "hop 4 (10.0.4.1): nothing else that was tried is answered from farther "
     "(ICMP echo, UDP port 40000, TCP ports 443,22): a firewall there" +
     EXPLAINS),
    ("./rrrr E/rrrr+icmp", "is dropped after hop 4 (10.0.4.1): ICMP echo "
     "reaches 198.51.100.7, more than 4 hops away"),
    ("./rrrr E/rrE+icmp", "is dropped after hop 4 (10.0.4.1): ICMP echo is "
     "answered with ttl 3 by 198.51.100.7 or in its name"),
    ("./rrrr+http R/rrrrrrR+confirmed", "is dropped between hop 4 (10.0.4.1) "
     "and hop 5 (10.0.5.1): TCP port 443 reaches 198.51.100.7, 7 hops away"),
    ("./rrrr+http O/rrrr..O", "is dropped between hop 4 (10.0.4.1) and hop 7,"
     " where TCP port 443 is accepted by 198.51.100.7 or in its name; or the "
     "port's answers are lost on the way back"),
    ("./rrrr+limited E/rrrrrrE+icmp", "is dropped somewhere after hop 4 "
     "(10.0.4.1): ICMP echo reaches 198.51.100.7, 7 hops away; cannot tell "
     "now where: the routers are limiting their answers, "
     "or some are lost"),
    ("./rrrr O/rrrrO", "is dropped after hop 4 (10.0.4.1): TCP port 443 is "
     "accepted with ttl 5 by 198.51.100.7 or in its name; from other "
     "source ports it gets farther: one of several paths drops it, or a rule "
     "looks at the source port"),
    ("./rrrr E/rrorrrE+icmp", "is dropped after hop 4 (10.0.4.1): ICMP echo "
     "reaches 198.51.100.7, 7 hops away, but there are several paths from "
     "hop 3 on"),
    ("./rrrr ./rrrrr+icmp ./rrrrrrrr+icmp", "is dropped between hop 4 "
     "(10.0.4.1) and hop 5 (10.0.5.1): ICMP echo gets on to hop 8 "
     "(10.0.8.1), no farther"),
    ("./uuu+blind E/uuuuuE+icmp+blind", "is dropped between hop 3 (not "
     "visible) and hop 4 (not visible): ICMP echo reaches 198.51.100.7, 6 "
     "hops away"),
    ("./uuu+blind n/uuuun+udp+blind", "is dropped between hop 3 (not "
     "visible) and hop 4 (not visible): UDP port 40000 is refused with ttl "
     "5, by whom is not visible"),
    ("./rr+limited n/...n+udp+dark", "is dropped after hop 2 (10.0.2.1): UDP "
     "port 40000 is refused with ttl 4, by whom is not visible; cannot tell "
     "where: this system does not show who answers UDP"),
    ("l/eeel+blind", "198.51.100.7 is unreachable, or TCP port 443 is "
     "rejected: a device at hop 3 (not visible) or just behind it says so, "
     "the ICMP error is not visible"),
    ("l/eeel+blind E/rrrE+icmp", "is rejected by 198.51.100.7 itself, or a "
     "device at hop 3 (not visible) or behind it: the ICMP error is not "
     "visible; ICMP echo reaches 198.51.100.7, 4 hops away"),
    ("l/ee+blind U/rr+icmp", "198.51.100.7 is unreachable: 10.0.2.1 at "
     "hop 2 says so, ICMP 3/0, network unreachable (to ICMP echo; TCP port "
     "443 gets no farther)"),
    ("./+dark ./rrr+icmp", "is dropped or rejected on the way or by the "
     "host, or not answered: ICMP echo gets on to hop 3 (10.0.3.1), no "
     "farther"),
    ("n/uuun+blind+forged", "is reset, or rejected by ICMP, by a device at "
     "hop 3 (not visible) or just behind it, not by 198.51.100.7: which of "
     "the two is not visible to this user; with ttl 4 other probes get to a "
     "router only"),
    ("./+dark", "is dropped or rejected on the way or by the host, or not "
     "answered: where "
     "is not visible here"),
    ("./rrr ./rrr............3+icmp", "is dropped after hop 3 (10.0.3.1): "
     "10.0.3.1 answers as hop 3 and as hop 16: the path loops, or it "
     "answers for others"),
    ("R/rrrR+forged ./4>r<+icmp", "is reset by " + AT_3_OR_BEHIND + "not by "
     "198.51.100.7: with ttl 4 ICMP echo gets to 10.0.4.1 only"),
    ("R/rrrR+forged E/rrrrrrrrE+icmp ./4>r<+icmp", "is reset by " +
     AT_3_OR_BEHIND + "not by 198.51.100.7: with ttl 4 ICMP echo gets to "
     "10.0.4.1 only"),
    ("R/rrrR+last E/rrrE+icmp", "is reset by a device at hop 3 (10.0.3.1), "
     "not by 198.51.100.7: its reset (ttl 61) has passed 3 routers, as has "
     "what that hop says; what 198.51.100.7 says passes 4"),
    ("R/rr.R+last E/rr.E+icmp", "is reset by a device before hop 4 and "
     "behind hop 2 (10.0.2.1), not by 198.51.100.7: its reset (ttl 61) has "
     "passed 3 routers; what 198.51.100.7 says passes 4"),
    ("C/rrrC+udp+forged ./4>r<+icmp", "is rejected by " + AT_3_OR_BEHIND +
     "in the name of 198.51.100.7: ICMP 3/3, port unreachable; with ttl 4 "
     "ICMP echo gets to 10.0.4.1 only"),
    ("./rrrr+syslog E/rrrrE+icmp", "is open or filtered: nothing came from "
     "it, though 198.51.100.7 is up (ICMP echo reaches 198.51.100.7, 5 hops "
     "away); syslog answers no such probe"),
    ("./rrrr+syslog C/rrrrC+udp", "is open or filtered: nothing came from it; "
     "UDP port 40000 is refused with ttl 5 by 198.51.100.7 or in its name; "
     "syslog answers no such probe"),
    ("X/XX", "could not be probed: not permitted"),
    ("./rr+cut", "No verdict yet: so far hop 2 is the last that answered"),
    ("./+cut", "No verdict yet: no hop has answered so far"))


class TraceTests(unittest.TestCase):

    def test_trace_says_its_verdict_in_a_sentence(self):
        for text, words in SENTENCES:
            case = read_case(text)
            trace = make_trace(case=case)
            if words[0].islower():
                words = "%s %s" % (case.path.subject, words)
            self.assertEqual(trace.summary, words, text)
            self.assertEqual(trace.error, "not permitted" if
                             trace.verdict == "error" else None)

    def test_request_that_is_reset_at_hop_2_is_so_wherever_it_is_said(self):
        lost = make_trace(opened(0.012), walk(4, t5=opened()),
                          request=make_request(
                              "expired expired reset reset".split(),
                              "reset"))
        place = "at hop 2 (10.0.2.1) or just behind it"
        summary = "TLS ClientHello for app.example is reset %s; TCP port " \
            "443 is open" % place
        entry = lost.as_dict()
        for key, value in (
                ("verdict", "reset"), ("reached", False),
                ("responder", None), ("summary", summary),
                ("blocked_after", {"ttl": 2, "address": "10.0.2.1"}),
                ("blocked_before", {"ttl": 3, "address": "10.0.3.1"})):
            self.assertEqual((key, entry[key], getattr(lost, key)),
                             (key, value, value))
        self.assertEqual(lost.exit_status, 1)
        self.assertEqual([finding["text"] for finding in lost.findings], [
            "TLS ClientHello for app.example: expired with ttl 1-2, reset "
            "with ttl 3-4, reset with the full ttl"])
        other = make_trace(
            opened(), walk(4, t5=opened()), port=80,
            request=make_request(["expired"] * 4, "answered",
                                 reply=b"\x16\3"))
        row = pt.format_table([lost, other])[1]
        self.assertEqual(row.split()[:4], ["443", "https", "reset", "5"])
        self.assertTrue(row.endswith(place), row)
        self.assertEqual(pt.format_summaries([lost, other]), [
            summary, "1 of 2 ports of 198.51.100.7 answered the request"])
        closed = make_trace(REFUSED, walk(4, t5=REFUSED), port=81,
                            request=pt.Request("tls", b"", 0))
        away = make_trace(None, walk(4), port=82,
                          request=pt.Request("tls", b"", 0))
        for traces, words in (
                ([other], "Successfully reached destination"),
                ([lost], "Reached destination, but the request failed"),
                ([closed], "Reached destination, but the request failed"),
                ([away], "Could not reach destination"),
                ([lost, other], "Reached destination, but the request "
                                "failed on 1 of 2 ports"),
                ([lost, other, away, closed],
                 "Could not reach destination by 1 of 4 ports, but the "
                 "request failed on 2 of 4 ports")):
            self.assertEqual(pt.format_success(traces), words)
            self.assertEqual(
                max(each.exit_status for each in traces),
                0 if words.startswith("Success") else 1)
        self.assertEqual((closed.verdict, closed.reached), ("refused", True))

    def test_circle_is_a_finding_where_it_is(self):
        for text, found in (
                ("./rrrr", []), ("O/rrO E/rrrE+icmp", []),
                ("./rrabababab", [
                    ("loop", 3, "the path loops between hop 3 (10.0.3.1) "
                     "and hop 4 (10.0.4.1)")]),
                ("./rrr ./rrr............3+icmp", [
                    ("loop", 3, "10.0.3.1 answers as hop 3 and as hop 16: "
                     "the path loops, or it answers for others")])):
            self.assertEqual([
                (each["kind"], each["hop"], each["text"])
                for each in make_trace(case=read_case(text)).findings],
                found)

    def test_services_that_may_be_anothers_are_said_to_answer(self):
        for text, words in (
                ("R/rrrR", "%s is refused with ttl 4 by 198.51.100.7 or in "
                 "its name"),
                ("O/", "%s is accepted by 198.51.100.7 or in its name"),
                ("D/rrD+udp", "%s is answered with ttl 3 by 198.51.100.7 or "
                 "in its name"),
                ("R/rrrR+confirmed", "%s reaches 198.51.100.7, 4 hops away"),
                ("E/rrrE+icmp", "%s reaches 198.51.100.7, 4 hops away"),
                ("./rr+icmp", "%s gets on to hop 2 (10.0.2.1), no farther"),
                ("./+udp", "%s gets no answer from any hop")):
            path = read_path(text)
            self.assertEqual(pt.say_reach(path), words % path.subject)

    def test_next_command_is_the_one_that_would_tell_more(self):
        for text, options in (
                ("W/rrO+confirmed", "-p 443 --tls"),
                ("W/rrO+confirmed+http", "-p 80 --http"),
                ("W/rrO+confirmed+ssh", "-p 22 --mtu"),
                ("B/rrB+confirmed", None), ("H/rrO+confirmed", None),
                ("S/rrO+confirmed", "-p 443 -q 20"),
                ("./rrO+confirmed", "-p 443 -q 20"),
                ("./rrrr E/rrorrE+icmp", "-p 443 --flows=8"),
                ("./rrrr O/rrrrrO", "-p 443 --flows=8"),
                ("./rrrr E/rrrrE+icmp", "-p 443 --return-path"),
                ("./rrrr O/rrrrO+ssh", "-p 443 --return-path"),
                ("./rrrr O/rrrrO+alt", "-p 443 --return-path "
                 "--control=tcp:8443"),
                ("./rrrr E/rrrrrE+icmp", None), ("./rrrr", None),
                ("W/rrO+cut", None), ("R/rrR", None)):
            self.assertEqual(make_trace(case=read_case(text)).next, [
                "potraceroute.py mail.example.com " + options]
                if options else [], text)
        flow = make_trace(None, walk(4), flow=2, parted=True,
                          control=[echo_trace(7)])
        self.assertIn("one of several paths drops it", flow.summary)
        self.assertEqual(flow.next, [])         # it has just been asked

    def test_command_repeats_the_options_and_can_be_pasted(self):
        aim = read_path("./").aim
        for options, words, command in (
                ({}, ["--tls"], "mail.example.com -p 443 --tls"),
                (dict(no_dns=True, wait_time=0.5), ["-q", "20"],
                 "mail.example.com -p 443 -w 0.5 -n -q 20"),
                (dict(no_dns=True, json=True, verbose=True), ["--mtu"],
                 "mail.example.com -p 443 -n --mtu"),
                (dict(control="tcp:80"), ["--mtu"],
                 "mail.example.com -p 443 --control=tcp:80 --mtu")):
            maker = Maker()
            maker.options = pt.default_options(**options)
            self.assertEqual(maker.format_command(aim, words),
                             "potraceroute.py " + command)
        self.assertEqual(maker.format_command(aim._replace(
            target=make_target(None)), []), "potraceroute.py "
            "mail.example.com --control=tcp:80")
        for word, quoted in (("a.b-c:1", "a.b-c:1"), ("", "''"),
                             ("x; rm y", "'x; rm y'"),
                             ("it's", "'it'\\''s'")):
            self.assertEqual(pt.quote_shell(word), quoted)

    def test_next_command_is_printed_and_is_in_json(self):
        trace = make_trace(case=read_case("W/rrO+confirmed"))
        command = "potraceroute.py mail.example.com -p 443 --tls"
        self.assertEqual(trace.as_dict()["next"], [command])
        self.assertNotIn("beyond", trace.as_dict())
        self.assertEqual(pt.format_next([trace]), ["Next: " + command])
        # All of several are reached: the first.
        other = make_trace(case=read_case("W/rrO+confirmed+ssh"))
        self.assertEqual(pt.format_next([trace, other]),
                         ["Next: " + command])
        lost = make_trace(case=read_case("./rrrr E/rrrrE+icmp"))
        self.assertEqual(pt.format_next([trace, lost]), [
            "Next: potraceroute.py mail.example.com -p 443 --return-path"])

    def test_verdicts_cover_every_outcome_that_ends_a_trace(self):
        for word, outcome in pt.OUTCOMES.items():
            if outcome.reached:
                self.assertIn(pt.REACHED_VERDICTS[word], pt.SENTENCES)
            elif outcome.final:
                self.assertIn(word, ("unreachable", "prohibited", "reset",
                                     "intercepted"))
                self.assertIn(word.replace("prohibited", "rejected"),
                              pt.SENTENCES)

    def test_trace_as_dict_is_what_the_design_describes(self):
        data = make_answer("data", DESTINATION, 0.0231, data=b"\xff\x1b")
        trace = make_trace(data, walk(3, t4=data), "udp", 53)
        self.assertEqual((trace.rtt, trace.banner), (0.0231, b"\xff\x1b"))
        entry = trace.as_dict()
        for key, value in (
                ("destination", "mail.example.com"),
                ("address", DESTINATION), ("family", 4), ("method", "udp"),
                ("port", 53), ("source_address", "192.0.2.99"),
                ("mechanism", "error-queue"), ("privileged", False),
                ("reached", True), ("verdict", "answered"),
                ("distance", 4), ("rtt_ms", 23.1),
                ("responder", DESTINATION), ("blocked_after", None),
                ("blocked_before", None), ("banner", u"\xff\x1b"),
                ("elapsed_ms", 500.0), ("error", None), ("control", []),
                ("findings", []), ("path_mtu", None),
                ("source_port", None)):
            self.assertEqual((key, entry[key]), (key, value))
        self.assertEqual([hop["ttl"] for hop in entry["hops"]],
                         [1, 2, 3, 4])


class NextTests(unittest.TestCase):
    """The command that would tell more."""

    def propose(self, text, **options):
        """Return what follows the name of the host."""
        case, maker = read_case(text), Maker()
        verdict = pt.judge(case)
        maker.options = pt.default_options(**options)
        found = pt.find_all(case, verdict, pt.Look(maker.options, False,
                                                   True, None))
        start = "potraceroute.py mail.example.com"
        commands = maker.make_trace(case, verdict, found).next
        for command in commands:
            self.assertTrue(command.startswith(start), command)
        return [command[len(start):].strip() for command in commands]

    def test_option_that_the_run_had_is_not_proposed_again(self):
        for text, command, options in (
                ("S/rrrO+confirmed", "-p 443 -q 20", dict(queries=20)),
                ("./rrrO+confirmed", "-p 443 -q 20", dict(queries=5)),
                ("./rrrr E/rrrrE+icmp", "-p 443 --return-path",
                 dict(return_path=True)),
                ("./rrrr O/rrrrrrO", "-p 443 --flows=8", dict(flows=8)),
                ("O/rrNO+confirmed", "-p 443 --flows=8", dict(flows=4)),
                ("O/rrrO+confirmed", "-p 443 --tls", dict(tls="")),
                ("O/rrrO+confirmed+http", "-p 80 --http", dict(http="/x")),
                ("O/rrrO+confirmed+ssh", "-p 22 --mtu", dict(mtu=True)),
                ("./rrrr+ntp E/rrrrE+icmp", "-p 123 -S 123",
                 dict(source_port=999))):
            self.assertEqual(self.propose(text), [command], text)
            self.assertEqual(self.propose(text, **options), [], text)

    def test_silent_ntp_is_asked_from_its_own_port_next(self):
        self.assertEqual(self.propose("./rrrr+ntp E/rrrrE+icmp", udp=True),
                         ["-p 123 -U -S 123"])
        for text in ("./rrrr+udp E/rrrrE+icmp", "D/rrrD+udp+confirmed",
                     "C/rrrC+ntp+confirmed"):
            self.assertEqual(self.propose(text, udp=True), [], text)

    def test_many_probes_and_flows_are_never_proposed_together(self):
        for text, command, options in (
                ("S/rrrO+confirmed", "-p 443 -q 20", dict(flows=8)),
                ("./rrrr O/rrrrrrO", "-p 443 --flows=8", dict(queries=20)),
                ("O/rrrO+confirmed", "-p 443 --tls",
                 dict(queries=20, flows=8))):
            self.assertEqual(self.propose(text, **options), [command])

    def test_whatever_is_proposed_the_run_had_not(self):
        several = (dict(), dict(queries=20), dict(flows=8), dict(mtu=True),
                   dict(return_path=True), dict(queries=20, mtu=True))
        flags = {"queries": "-q 20", "flows": "--flows", "mtu": "--mtu",
                 "return_path": "--return-path"}
        for text in [row[1] for row in JUDGED]:
            for options in several:
                found = self.propose(text, **options)
                self.assertLessEqual(len(found), 1)
                for command in found:
                    self.assertFalse("-q " in command and
                                     "--flows" in command, command)
                    new = [flag for flag in flags.values()
                           if command.endswith(flag)]
                    for name in options:
                        self.assertNotIn(flags[name], new)


def make_hop(*answers, **more):
    values = dict.fromkeys(pt.Hop._fields)
    values.update(ttl=4, method="tcp", port=25, destination=DESTINATION,
                  answers=answers, destination_name="mail.example.com",
                  version=4, verbose=False, more=False)
    values.update(more)
    return pt.Hop(**values)


class HopTests(unittest.TestCase):

    def test_hop_is_a_line_and_its_times_follow(self):
        router_2 = "4\t10.0.2.1 (10.0.2.1)  ICMP 11/0"
        for hop, line, times in (
                (make_hop(exceeded(2, 0.000412)), router_2, "  0.412 ms"),
                (make_hop(exceeded(2, 0.000412), name="gw.example.net"),
                 "4\tgw.example.net (10.0.2.1)  ICMP 11/0", "  0.412 ms"),
                (make_hop(exceeded(2, 0.001), exceeded(2, 0.002)), router_2,
                 "  1.000 ms  2.000 ms"),
                (make_hop(exceeded(2, 0.001), exceeded(3, 0.002)), router_2,
                 "  1.000 ms  10.0.3.1 (10.0.3.1)  ICMP 11/0  2.000 ms"),
                (make_hop(exceeded(2, None)), router_2, ""),
                (make_hop(exceeded(2, None, reply_ttl=62), verbose=True),
                 router_2, "  reply ttl 62  (time exceeded in transit)"),
                (make_hop(), "4\t*\ttimed out", ""),
                (make_hop(DENIED), "4\t*\tnot sent: not permitted", ""),
                (make_hop(UNSEEN),
                 "4\t?  time-exceeded, address not visible", "  20.000 ms"),
                (make_hop(UNSEEN_NO), "4\tTCP port 25 connection refused, "
                 "by whom is not visible", "  20.000 ms"),
                (make_hop(opened(), more=True), ">4\tTCP port 25 connection "
                 "successful. [Reached Destination]", "  20.000 ms"),
                (make_hop(opened(data=b"220 mail\r\n")), "4\tTCP port 25 "
                 "connection successful, received data: '220 mail\\r\\n'",
                 "  20.000 ms"),
                (make_hop(REFUSED), "4\tTCP port 25 connection refused "
                 "[Reached Destination]", "  20.000 ms"),
                (make_hop(make_answer("data", DESTINATION, data=b"\0hi"),
                          method="udp", port=53), "4\tUDP port 53 "
                 "responded, received data: '\\x00hi'", "  20.000 ms"),
                (make_hop(CLOSED, method="udp"), "4\tmail.example.com "
                 "(198.51.100.7)  ICMP 3/3 [Reached Destination]",
                 "  20.000 ms"),
                (make_hop(ECHO, method="icmp"), "4\tmail.example.com "
                 "(198.51.100.7) ICMP echo reply [Reached Destination]",
                 "  20.000 ms"),
                (make_hop(exceeded(2), name="a\x1b[2J\nb{ttl}%s"),
                 "4\ta\\x1b[2J\\nb{ttl}%s (10.0.2.1)  ICMP 11/0",
                 "  20.000 ms")):
            self.assertEqual((str(hop), hop.format_line()),
                             (line, line + times))

    def test_hop_that_was_silent_knows_nothing(self):
        hop = make_hop()
        self.assertEqual(
            (hop.outcome, hop.address, hop.rtt, hop.icmp_type, hop.icmp_code,
             hop.reply_ttl, hop.rxdata, hop.ipfields, hop.icmpfields,
             hop.reached, hop.final, hop.heard),
            ("timeout",) + (None,) * 8 + (False,) * 3)

    def test_hop_with_hostile_data_is_escaped_and_cut(self):
        text = str(make_hop(opened(data=b"{ttl}\x1b\n" + b"\xff" * 500)))
        self.assertTrue(all(c == "\t" or " " <= c <= "~" for c in text))
        self.assertIn("'{ttl}\\x1b\\n\\xff", text)
        self.assertEqual(text.count("\\xff"), 120 - 7)

    def test_hop_fields_of_the_old_interface_are_there(self):
        hop = make_hop(exceeded(2, reply_ttl=62))
        self.assertEqual(
            (hop.ipfields.ip_source_address, hop.icmpfields.icmp_type,
             hop.icmpfields.icmp_code, hop.ttl, hop.reached, hop.final,
             hop.rxdata, hop.msg),
            ("10.0.2.1", 11, 0, 4, False, False, None,
             "10.0.2.1 (10.0.2.1)  ICMP 11/0"))

    def test_hop_reached_and_final_follow_from_the_outcome(self):
        for outcome, reached, final in (
                ("time-exceeded", False, False), ("echo-reply", True, True),
                ("open", True, True), ("data", True, True),
                ("refused", True, True), ("port-unreachable", True, True),
                ("unreachable", False, True), ("prohibited", False, True),
                ("reset", False, True), ("timeout", False, False),
                ("send-failed", False, False)):
            hop = make_hop(make_answer(outcome, DESTINATION))
            self.assertEqual((outcome, hop.reached, hop.final),
                             (outcome, reached, final))

    def test_hop_as_dict_is_what_the_design_describes(self):
        entry = make_hop(exceeded(2, 0.0004, reply_ttl=64), exceeded(3),
                         name="gw").as_dict()
        for key, value in (
                ("ttl", 4), ("outcome", "time-exceeded"),
                ("address", "10.0.2.1"), ("name", "gw"), ("rtt_ms", 0.4),
                ("icmp_type", 11), ("icmp_code", 0), ("reply_ttl", 64),
                ("labels", []), ("notes", [])):
            self.assertEqual((key, entry[key]), (key, value))
        self.assertEqual([probe["address"] for probe in entry["probes"]],
                         ["10.0.2.1", "10.0.3.1"])
        entry = make_hop().as_dict()
        self.assertEqual((entry["rtt_ms"], entry["probes"]), (None, []))


if __name__ == "__main__":
    unittest.main()
