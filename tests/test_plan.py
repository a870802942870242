"""What to send when, and what it all means: Plan, Hop, decide() and Trace.

No socket is opened and no clock is read: times are numbers.  Simulation
plays the engine against a path that is a function of the ttl.
"""

import os
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import potraceroute as pt  # noqa: E402

DESTINATION = "198.51.100.7"


def router(ttl):
    return "10.0.%d.1" % ttl


def make_answer(outcome, address=None, rtt=0.02, icmp=(None, None), **more):
    return pt.NO_ANSWER._replace(
        outcome=outcome, address=address, rtt=rtt, icmp_type=icmp[0],
        icmp_code=icmp[1], **more)


def exceeded(ttl, rtt=0.02):
    return make_answer("time-exceeded", router(ttl), rtt, (11, 0))


def prohibited(address, rtt=0.02, icmp=(3, 13)):
    return make_answer("prohibited", address, rtt, icmp)


def opened(rtt=0.02):
    return make_answer("open", DESTINATION, rtt)


class Simulation(object):
    """Plays a Plan against path(ttl, count), which returns the Answer to
    the count-th probe (from 1) of a ttl (0: the system's own), or None."""

    def __init__(self, plan, path):
        self.plan = plan
        self.path = path
        self.now = 0.0
        self.sent = []          # (time, ttl)
        self.most = 0           # the most ttls in flight at once
        self.coming = []        # (time, state, probe, answer)

    def times(self, ttl):
        return [when for when, sent in self.sent if sent == ttl]

    def state(self, ttl):
        return [state for state in [self.plan.full] + self.plan.states
                if state.ttl == ttl][0]

    def send(self):
        plan = self.plan
        due = plan.due(self.now)
        for state in due:
            probe = pt.Probe(state.ttl, state is plan.full)
            probe.sent = self.now
            plan.note_sent(state, probe)
            self.sent.append((self.now, state.ttl))
            answer = self.path(state.ttl, len(state.probes))
            if answer is not None:
                self.coming.append((self.now + (answer.rtt or 0), state,
                                    probe, answer))
        self.most = max(self.most, sum(
            1 for state in [plan.full] + plan.states
            if state.probes and not state.settled))
        return len(due)

    def deliver(self):
        for entry in [one for one in self.coming if one[0] <= self.now]:
            self.coming.remove(entry)
            _, state, probe, answer = entry
            probe.answer = answer
            if not state.settled:
                self.plan.note_answer(state, answer)

    def run(self, until=100.0):
        """Run until done, or until a time; returns self."""
        idle = 0
        while not self.plan.done:
            before = self.now
            sent = self.send()
            if not sent:
                self.now = max(self.now, min(
                    [self.plan.next_time(self.now)] +
                    [entry[0] for entry in self.coming]))
            if self.now >= until:
                break
            self.deliver()
            self.plan.update(self.now)
            idle = idle + 1 if not sent and self.now == before else 0
            if idle > 3:
                raise AssertionError("the plan spins at %s" % self.now)
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


class SendingTests(unittest.TestCase):

    def test_plan_at_the_start_sends_the_full_ttl_first_then_upwards(self):
        plan = pt.Plan(full_retries=0)
        self.assertIs(plan.due(0)[0], plan.full)
        self.assertEqual([state.ttl for state in plan.due(0)], [0, 1, 2, 3])

    def test_plan_starts_at_the_first_ttl_asked_for(self):
        plan = pt.Plan(first=7, last=9)
        self.assertEqual([state.ttl for state in plan.due(0, 99)],
                         [0, 7, 8, 9])

    def test_plan_sends_no_more_states_at_once_than_asked(self):
        plan = pt.Plan()
        for most in (1, 2, 7):
            self.assertEqual(len(plan.due(0, most)), most)

    def test_window_is_never_exceeded_on_a_path_of_any_kind(self):
        for parallel in (1, 2, 5, 16, 40):
            for path in (straight(12), straight(12, (3, 4, 5)), dropping(4),
                         dropping(0), dropping(20)):
                run = Simulation(pt.Plan(parallel=parallel), path).run()
                self.assertLessEqual(run.most, parallel)

    def test_window_is_used_whole_when_nothing_answers(self):
        run = Simulation(pt.Plan(parallel=8), dropping(0)).run(0.1)
        self.assertEqual(run.most, 8)
        self.assertEqual([ttl for _, ttl in run.sent], list(range(8)))

    def test_window_moves_on_as_answers_come(self):
        run = Simulation(pt.Plan(parallel=4), straight(12)).run()
        self.assertEqual(sorted(set(ttl for _, ttl in run.sent))[:13],
                         list(range(13)))

    def test_answered_hops_are_probed_once(self):
        run = Simulation(pt.Plan(full_retries=0), straight(9)).run()
        for ttl in range(10):
            self.assertEqual(len(run.times(ttl)), 1)

    def test_full_ttl_without_retries_is_sent_once_even_in_silence(self):
        run = Simulation(pt.Plan(full_retries=0), dropping(3)).run()
        self.assertEqual(len(run.times(0)), 1)

    def test_full_ttl_with_retries_is_sent_again_in_silence(self):
        run = Simulation(pt.Plan(retries=2), dropping(3)).run()
        self.assertEqual(len(run.times(0)), 3)

    def test_three_queries_are_answered_and_no_more_are_sent(self):
        run = Simulation(pt.Plan(queries=3, full_retries=0),
                         straight(6)).run()
        for ttl in range(1, 7):
            self.assertEqual(len(run.times(ttl)), 3)
            self.assertEqual(len(run.state(ttl).answers), 3)
        self.assertEqual(len(run.times(0)), 1)

    def test_three_queries_follow_each_other_one_answer_at_a_time(self):
        run = Simulation(pt.Plan(queries=3, full_retries=0),
                         straight(6, delay=0.05)).run()
        first, second, third = run.times(1)
        self.assertAlmostEqual(second - first, 0.05)
        self.assertAlmostEqual(third - second, 0.05)

    def test_three_queries_with_one_lost_are_made_up_for(self):
        def path(ttl, count):
            if ttl == 2 and count == 2:
                return None
            return straight(5)(ttl, count)

        run = Simulation(pt.Plan(queries=3, full_retries=0), path).run()
        self.assertEqual(len(run.state(2).answers), 3)
        self.assertEqual(len(run.times(2)), 4)

    def test_three_queries_ask_the_full_ttl_once(self):
        run = Simulation(pt.Plan(queries=3), straight(6)).run()
        self.assertEqual(len(run.times(0)), 1)
        self.assertLess(run.now, 1.0)

    def test_three_queries_of_a_silent_hop_end(self):
        run = Simulation(pt.Plan(queries=3, retries=2), dropping(0)).run()
        self.assertEqual(len(run.times(1)), 3)
        self.assertTrue(run.plan.done)

    def test_one_flow_sends_one_probe_at_a_time_in_order(self):
        plan = pt.Plan(parallel=1, one_flow=True, full_retries=0, last=9)
        run = Simulation(plan, straight(6, silent=(3,))).run()
        ttls = [ttl for _, ttl in run.sent]
        self.assertEqual(ttls, [0, 1, 2, 3, 3, 3, 4, 5, 6])
        self.assertEqual(run.most, 1)
        self.assertEqual(plan.end, 6)

    def test_failed_send_settles_its_hop_and_no_other(self):
        plan = pt.Plan(full_retries=0, last=3)
        failed = make_answer("send-failed", rtt=None, error="denied")

        def path(ttl, count):
            return failed if ttl == 2 else exceeded(ttl) if ttl else None

        run = Simulation(plan, path).run(0.5)
        self.assertEqual(len(run.times(2)), 1)
        self.assertTrue(run.state(2).settled)
        self.assertEqual(run.state(3).outcome, "time-exceeded")

    def test_held_hop_is_neither_settled_nor_probed_again(self):
        plan = pt.Plan(last=1)
        for state in plan.due(0):
            probe = pt.Probe(state.ttl, False)
            probe.sent = 0
            plan.note_sent(state, probe)
        plan.full.probes[0].answer = opened()
        plan.note_answer(plan.full, opened())
        plan.full.held = True
        plan.update(50)
        self.assertFalse(plan.full.settled)
        self.assertNotIn(plan.full, plan.due(50))
        plan.full.held = False
        plan.update(50)
        self.assertTrue(plan.full.settled)

    def test_next_time_is_never_in_the_past_without_something_due(self):
        for path in (straight(9, (2, 3)), dropping(4), dropping(0)):
            plan = pt.Plan(wait=1.0)
            # Simulation.run() fails if time stands still.
            self.assertTrue(Simulation(plan, path).run().plan.done)


class RetryTests(unittest.TestCase):

    def test_retries_of_a_silent_hop_are_spread_over_the_wait(self):
        run = Simulation(pt.Plan(wait=2.0, retries=2), dropping(0)).run()
        times = run.times(1)
        self.assertEqual(len(times), 3)
        for number, when in enumerate(times):
            self.assertAlmostEqual(when, number * 2 / 3.0, places=2)

    def test_retry_one_second_after_the_first_at_wait_2_gets_the_token(self):
        # A Linux router answers one error a second, once its bucket is
        # empty.
        run = Simulation(pt.Plan(wait=2.0, retries=2), dropping(0)).run()
        for ttl in range(1, 6):
            times = run.times(ttl)
            self.assertTrue(any(1.0 <= when - times[0] < 2.0
                                for when in times), times)

    def test_hop_that_answers_the_last_retry_is_heard(self):
        def path(ttl, count):
            if ttl == 0:
                return None
            return exceeded(ttl) if ttl < 4 and (ttl != 3 or count == 3) \
                else None

        run = Simulation(pt.Plan(), path).run()
        self.assertEqual(run.state(3).outcome, "time-exceeded")
        self.assertEqual(run.plan.heard, 3)

    def test_no_retries_means_one_probe_for_a_silent_hop(self):
        run = Simulation(pt.Plan(retries=0), dropping(2)).run()
        self.assertEqual(len(run.times(4)), 1)
        self.assertEqual(len(run.times(0)), 1)

    def test_nearer_silent_hop_is_hurried_by_a_farther_answer(self):
        run = Simulation(pt.Plan(wait=2.0, full_retries=0),
                         straight(9, silent=(4,), delay=0.1)).run()
        first, second, third = run.times(4)
        self.assertLess(second - first, 0.2)
        self.assertAlmostEqual(third - second, 0.025)
        self.assertLess(run.now, 0.5)

    def test_hurried_hop_is_given_the_floor_after_its_last_try(self):
        # The farther hop answers in 1 ms; a router may take much longer.
        run = Simulation(pt.Plan(wait=2.0, full_retries=0),
                         straight(6, silent=(3,), delay=0.001)).run()
        self.assertGreaterEqual(run.now - run.times(3)[-1], pt.Plan.FLOOR)
        self.assertGreaterEqual(pt.Plan.FLOOR, 0.05)
        self.assertLess(run.now, 0.3)

    def test_hurried_hop_that_answers_within_the_floor_is_heard(self):
        def path(ttl, count):
            answer = straight(6, delay=0.001)(ttl, count)
            return exceeded(3, 0.07) if ttl == 3 else answer

        run = Simulation(pt.Plan(full_retries=0), path).run()
        self.assertEqual(run.state(3).outcome, "time-exceeded")

    def test_hurried_hop_waits_as_long_as_the_farther_one_took(self):
        # 0.8 s to the destination, and the silent hop takes as long.
        def path(ttl, count):
            answer = straight(6, delay=0.8)(ttl, count)
            return exceeded(3, 0.9) if ttl == 3 else answer

        run = Simulation(pt.Plan(wait=2.0, full_retries=0), path).run()
        self.assertEqual(run.state(3).outcome, "time-exceeded")

    def test_hop_behind_the_last_answer_is_not_hurried(self):
        run = Simulation(pt.Plan(wait=2.0, full_retries=0),
                         dropping(4)).run()
        self.assertGreaterEqual(run.now, 2.0)
        self.assertAlmostEqual(run.times(6)[1] - run.times(6)[0], 2 / 3.0,
                               places=2)

    def test_failed_send_farther_away_hurries_nobody(self):
        plan = pt.Plan(full_retries=0, last=3)
        failed = make_answer("send-failed", rtt=None, error="denied")
        run = Simulation(plan, lambda ttl, count:
                         failed if ttl == 3 else None).run()
        self.assertAlmostEqual(run.times(1)[1] - run.times(1)[0], 2 / 3.0,
                               places=2)


class EndTests(unittest.TestCase):

    def test_path_ends_at_the_destinations_smallest_ttl(self):
        plan = pt.Plan()
        plan.note_answer(plan.states[5], opened())
        self.assertEqual(plan.end, 6)
        plan.note_answer(plan.states[3], opened())
        self.assertEqual(plan.end, 4)
        plan.note_answer(plan.states[8], opened())
        self.assertEqual(plan.end, 4)

    def test_nothing_is_sent_behind_the_destination_once_it_is_known(self):
        run = Simulation(pt.Plan(parallel=4, full_retries=0),
                         straight(6)).run()
        self.assertEqual(run.plan.end, 6)
        self.assertLessEqual(max(ttl for _, ttl in run.sent), 6 + 4)
        self.assertFalse(any(ttl > 10 for _, ttl in run.sent))

    def test_silent_hop_that_turns_out_to_be_the_destination_ends_it(self):
        # The answer to the first probe at its distance got lost.
        def path(ttl, count):
            if ttl == 5 and count == 1:
                return None
            return straight(5)(ttl, count)

        run = Simulation(pt.Plan(full_retries=0), path).run()
        self.assertEqual(run.plan.end, 5)
        self.assertGreater(len(run.times(5)), 1)

    def test_plan_is_not_done_before_the_full_ttl_is_settled(self):
        plan = pt.Plan(last=2)
        for state in plan.states:
            plan.note_answer(state, exceeded(state.ttl))
            state.settled = True
        self.assertFalse(plan.done)
        plan.full.settled = True
        self.assertTrue(plan.done)

    def test_plan_is_not_done_before_every_hop_in_front_is_settled(self):
        plan = pt.Plan()
        plan.full.settled = True
        plan.note_answer(plan.states[4], opened())
        for state in plan.states[:5]:
            self.assertFalse(plan.done)
            state.settled = True
        self.assertTrue(plan.done)

    def test_plan_for_one_ttl_alone_is_done_when_it_is_settled(self):
        plan = pt.Plan(first=1, last=0)
        plan.full = pt.State(3)
        run = Simulation(plan, straight(5)).run()
        self.assertEqual([ttl for _, ttl in run.sent], [3])
        self.assertEqual(plan.full.outcome, "time-exceeded")

    def test_gap_limit_ends_a_silent_path(self):
        run = Simulation(pt.Plan(gap=5, parallel=1, full_retries=0),
                         dropping(3)).run()
        self.assertEqual(max(ttl for _, ttl in run.sent), 8)
        self.assertTrue(run.plan.done)

    def test_gap_limit_of_2_gives_up_after_two_silent_hops(self):
        run = Simulation(pt.Plan(gap=2, parallel=1, full_retries=0),
                         dropping(3)).run()
        self.assertEqual(max(ttl for _, ttl in run.sent), 5)

    def test_gap_limit_with_a_wide_window_ends_after_one_wait(self):
        run = Simulation(pt.Plan(gap=5, parallel=16, full_retries=0),
                         dropping(3)).run()
        self.assertLess(run.now, 2.5)
        self.assertLessEqual(max(ttl for _, ttl in run.sent), 3 + 16)

    def test_answer_beyond_the_gap_extends_the_path(self):
        # Hops 3 to 9 are silent, 10 answers, and it was on its way already.
        silent = tuple(range(3, 10))
        run = Simulation(pt.Plan(gap=5, full_retries=0),
                         dropping(10, silent)).run()
        self.assertEqual(run.plan.heard, 10)
        self.assertEqual(run.plan.horizon, 15)
        self.assertTrue(all(run.state(ttl).settled for ttl in range(1, 16)))

    def test_gap_of_0_goes_on_to_the_last_hop(self):
        run = Simulation(pt.Plan(gap=0, last=12, parallel=4,
                                 full_retries=0), dropping(2)).run()
        self.assertEqual(sorted(set(ttl for _, ttl in run.sent)),
                         list(range(13)))

    def test_gap_does_not_count_when_the_destination_has_answered(self):
        # It answers at ttl 10 and at full ttl; 2 to 9 are silent.
        run = Simulation(
            pt.Plan(gap=5, parallel=16, full_retries=0),
            straight(10, silent=tuple(range(2, 10)))).run()
        self.assertEqual(run.plan.end, 10)

    def test_prohibition_by_a_router_ends_the_path(self):
        plan = pt.Plan()
        plan.note_answer(plan.states[1], exceeded(2))
        plan.note_answer(plan.states[2], prohibited(router(2)))
        plan.note_answer(plan.states[3], prohibited(router(2)))
        self.assertEqual(plan.end, 3)

    def test_prohibition_by_a_router_yields_to_a_farther_hop(self):
        plan = pt.Plan()
        plan.note_answer(plan.states[2], prohibited(router(2)))
        plan.note_answer(plan.states[4], exceeded(5))
        self.assertIsNone(plan.end)
        plan.note_answer(plan.states[6], prohibited(router(6)))
        self.assertEqual(plan.end, 7)

    def test_prohibition_by_a_router_yields_to_the_destination(self):
        plan = pt.Plan()
        plan.note_answer(plan.states[2], prohibited(router(2)))
        plan.note_answer(plan.full, opened())
        self.assertIsNone(plan.end)
        plan.note_answer(plan.states[6], opened())
        self.assertEqual(plan.end, 7)

    def test_destinations_word_counts_more_than_a_routers(self):
        plan = pt.Plan(queries=2)
        state = plan.states[4]
        plan.note_answer(state, exceeded(5))
        plan.note_answer(state, opened())
        self.assertEqual(state.outcome, "open")
        self.assertEqual(plan.end, 5)

    def test_full_ttl_that_failed_does_not_count_as_heard(self):
        plan = pt.Plan()
        plan.note_answer(plan.states[4], make_answer("send-failed",
                                                     rtt=None))
        self.assertEqual(plan.heard, 0)
        self.assertEqual(pt.Plan(first=6).heard, 5)

    def test_port_dropped_after_hop_7_is_known_in_one_wait(self):
        run = Simulation(pt.Plan(wait=2.0, full_retries=0),
                         dropping(7, delay=0.03)).run()
        self.assertEqual(run.plan.heard, 7)
        self.assertLess(run.now, 2.5)

    def test_open_port_20_hops_away_takes_a_few_round_trips(self):
        run = Simulation(pt.Plan(full_retries=0), straight(
            20, silent=(3, 9, 14, 15), delay=0.06)).run()
        self.assertEqual(run.plan.end, 20)
        self.assertEqual([ttl for ttl in range(1, 21)
                          if run.state(ttl).outcome == "timeout"],
                         [3, 9, 14, 15])
        self.assertLess(run.now, 0.5)


class FakeTraceroute(object):
    """What a Trace wants to know of its Traceroute."""

    destination = "mail.example.com"
    mechanism_name = "error-queue"
    privileged = False
    flow = None

    def __init__(self, proto="tcp", port=443, version=4):
        values = dict.fromkeys(pt.Target._fields)
        values.update(family=pt.FAMILIES[version], port=port,
                      address=DESTINATION if version == 4 else
                      "2001:db8::7", own_address="192.0.2.99")
        self.proto = proto
        self.port = port
        self.target = pt.Target(**values)
        self.label = "ICMP echo" if port is None else "%s port %d" % (
            proto.upper(), port)


def make_trace(full=None, hops=None, proto="tcp", port=443, first=1, last=30,
               complete=True, control=()):
    """Return the Trace of a plan with these answers.

    hops: ttl -> Answer; a ttl that is not there was silent.
    """
    plan = pt.Plan(first=first, last=last)
    if full is not None:
        plan.note_answer(plan.full, full)
    for state in plan.states:
        if (hops or {}).get(state.ttl):
            plan.note_answer(state, hops[state.ttl])
    listed = [make_hop(*state.answers, ttl=state.ttl, method=proto,
                       port=port)
              for state in plan.states
              if state.ttl <= (plan.end or plan.heard)]
    return pt.Trace(FakeTraceroute(proto, port), plan, listed, 0.5, complete,
                    control)


def walk(count, **more):
    """Return the answers of routers 1 to count, and more by ttl."""
    hops = dict((ttl, exceeded(ttl)) for ttl in range(1, count + 1))
    hops.update((int(key[1:]), value) for key, value in more.items())
    return hops


def echo_trace(distance, reached=True, **more):
    """Return the control Trace of an ICMP echo to the same host."""
    echo = make_answer("echo-reply", DESTINATION, icmp=(0, 0))
    hops = walk(distance - 1, **more)
    if reached:
        hops[distance] = echo
    return make_trace(echo if reached else None, hops, "icmp", None)


class VerdictTests(unittest.TestCase):

    def check(self, trace, verdict, summary, status):
        self.assertEqual((trace.verdict, trace.summary, trace.exit_status),
                         (verdict, summary, status))
        self.assertEqual(trace.reached, status == 0)

    def test_verdict_open_says_how_far(self):
        trace = make_trace(opened(0.012), walk(3, t4=opened()))
        self.check(trace, "open", "TCP port 443 is open: 198.51.100.7 "
                   "accepted the connection, 4 hops away", 0)
        self.assertEqual((trace.distance, trace.rtt, trace.responder,
                          trace.blocked_after),
                         (4, 0.012, DESTINATION, None))

    def test_verdict_open_one_hop_away_is_in_the_singular(self):
        self.check(make_trace(opened(), {1: opened()}), "open",
                   "TCP port 443 is open: 198.51.100.7 accepted the "
                   "connection, 1 hop away", 0)

    def test_verdict_open_with_every_hop_silent_claims_no_distance(self):
        trace = make_trace(opened(), {})
        self.assertEqual(trace.verdict, "open")
        self.assertIsNone(trace.distance)

    def test_verdict_open_farther_than_max_hops_says_so(self):
        trace = make_trace(opened(), walk(3), last=3)
        self.check(trace, "open", "TCP port 443 is open: 198.51.100.7 "
                   "accepted the connection, more than 3 hops away", 0)
        self.assertIsNone(trace.distance)

    def test_verdict_with_first_hop_beyond_the_destination_is_at_most(self):
        trace = make_trace(opened(), {6: opened()}, first=6)
        self.check(trace, "open", "TCP port 443 is open: 198.51.100.7 "
                   "accepted the connection, at most 6 hops away", 0)
        self.assertIsNone(trace.distance)

    def test_verdict_with_first_hop_before_the_destination_is_exact(self):
        trace = make_trace(opened(), {6: exceeded(6), 7: opened()}, first=6)
        self.assertEqual(trace.distance, 7)
        self.assertTrue(trace.summary.endswith(", 7 hops away"))

    def test_verdict_refused_by_the_destination(self):
        reset = make_answer("refused", DESTINATION)
        self.check(make_trace(reset, walk(3, t4=reset)), "refused",
                   "TCP port 443 is closed: 198.51.100.7 refused it, "
                   "4 hops away", 0)

    def test_verdict_refused_by_port_unreachable_says_which(self):
        closed = make_answer("port-unreachable", DESTINATION, icmp=(3, 3))
        self.check(
            make_trace(closed, walk(3, t4=closed), "udp", 33434), "refused",
            "UDP port 33434 is closed: 198.51.100.7 refused it (ICMP 3/3, "
            "port unreachable), 4 hops away", 0)

    def test_verdict_refused_by_an_errno_alone_says_what_it_can_not_see(self):
        refused = make_answer("refused", None)
        trace = make_trace(refused, {})
        self.assertEqual((trace.verdict, trace.responder, trace.reached),
                         ("rejected", None, False))
        self.assertIn("by a device on the way, or 198.51.100.7 itself: "
                      "which one is not visible", trace.summary)
        self.assertIsNone(trace.blocked_after)

    def test_verdict_answered_by_udp_data(self):
        data = make_answer("data", DESTINATION, data=b"12345")
        trace = make_trace(data, walk(3, t4=data), "udp", 7)
        self.check(trace, "answered", "UDP port 7 answered: 5 bytes of "
                   "data came from 198.51.100.7, 4 hops away", 0)
        self.assertEqual(trace.banner, b"12345")

    def test_open_from_nearer_than_the_control_is_a_proxy(self):
        opened = make_answer("open", DESTINATION)
        trace = make_trace(opened, walk(2, t3=opened),
                           control=[echo_trace(6)])
        self.assertEqual((trace.verdict, trace.reached), ("open", True))
        self.assertEqual([(found["kind"], found["hop"])
                          for found in trace.findings], [("proxy", 3)])
        self.assertIn("something at hop 3 (%s) or just before it, not "
                      "%s itself, accepted" % (router(3), DESTINATION),
                      trace.summary)

    def test_open_on_a_path_one_hop_shorter_or_of_others_is_no_proxy(self):
        opened = make_answer("open", DESTINATION)
        other = echo_trace(6, t2=exceeded(2)._replace(address="10.9.9.9"))
        for control in (echo_trace(4), echo_trace(3), echo_trace(6, False),
                        other):
            trace = make_trace(opened, walk(2, t3=opened), control=[control])
            self.assertEqual(trace.findings, [])
            self.assertIn("%s accepted the connection" % DESTINATION,
                          trace.summary)

    def test_verdict_answered_by_an_echo_reply(self):
        echo = make_answer("echo-reply", DESTINATION, icmp=(0, 0))
        self.check(make_trace(echo, walk(3, t4=echo), "icmp", None),
                   "answered", "ICMP echo answered: an echo reply came from "
                   "198.51.100.7, 4 hops away", 0)

    def test_verdict_rejected_names_the_router_and_its_hop(self):
        no = prohibited(router(2))
        trace = make_trace(no, walk(2, t3=no))
        self.check(trace, "rejected", "TCP port 443 is rejected by 10.0.2.1 "
                   "at hop 2: ICMP 3/13, communication administratively "
                   "prohibited", 1)
        self.assertEqual(trace.blocked_after,
                         {"ttl": 2, "address": "10.0.2.1"})
        self.assertEqual(trace.responder, "10.0.2.1")
        self.assertIsNone(trace.distance)

    def test_verdict_rejected_by_port_unreachable_of_a_router(self):
        no = prohibited(router(2), icmp=(3, 3))
        self.check(make_trace(no, walk(2, t3=no), "udp", 33434), "rejected",
                   "UDP port 33434 is rejected by 10.0.2.1 at hop 2: ICMP "
                   "3/3, port unreachable", 1)

    def test_verdict_rejected_by_the_destinations_own_firewall(self):
        no = prohibited(DESTINATION)
        trace = make_trace(no, walk(3, t4=no))
        self.check(trace, "rejected", "TCP port 443 is rejected by "
                   "198.51.100.7 itself: ICMP 3/13, communication "
                   "administratively prohibited (its own firewall)", 1)

    def test_verdict_rejected_at_a_small_ttl_but_open_is_open(self):
        trace = make_trace(opened(), walk(2, t3=prohibited(router(2))))
        self.assertEqual(trace.verdict, "open")
        self.assertIsNone(trace.distance)

    def test_verdict_open_though_routers_refused_some_probes_says_so(self):
        trace = make_trace(opened(), walk(2, t3=prohibited(router(2)),
                                          t4=opened()))
        self.check(trace, "open", "TCP port 443 is open: 198.51.100.7 "
                   "accepted the connection, at most 4 hops away; but "
                   "10.0.2.1 refused some of the probes", 0)

    def test_verdict_open_but_reset_before_a_farther_hop_is_a_device(self):
        # Hop 4 lies behind the one in whose place somebody refused.
        reset = make_answer("refused", DESTINATION)
        trace = make_trace(opened(), walk(2, t3=reset, t4=exceeded(4),
                                          t5=opened()))
        self.assertEqual(trace.verdict, "open")
        self.assertIsNone(trace.distance)
        self.assertIn("device on the way", trace.summary)

    def test_verdict_open_of_a_service_for_one_connection_blames_nobody(
            self):
        # `nc -l` takes the first connection and refuses the next.
        reset = make_answer("refused", DESTINATION)
        for hops in ({1: reset}, walk(3, t4=reset, t5=reset)):
            trace = make_trace(opened(), hops)
            self.assertEqual(trace.verdict, "open")
            self.assertNotIn("in its name", trace.summary)
            self.assertIn("refused, by it or by a device", trace.summary)

    def test_verdict_unreachable_names_the_router_without_a_route(self):
        no = make_answer("unreachable", router(2), icmp=(3, 0))
        trace = make_trace(no, walk(2, t3=no))
        self.check(trace, "unreachable", "198.51.100.7 is unreachable: "
                   "10.0.2.1 at hop 2 says so, ICMP 3/0, network "
                   "unreachable", 1)
        self.assertEqual(trace.blocked_after,
                         {"ttl": 2, "address": "10.0.2.1"})

    def test_verdict_dropped_says_after_which_hop(self):
        trace = make_trace(None, walk(4))
        self.check(trace, "dropped", "TCP port 443 is dropped after hop 4 "
                   "(10.0.4.1): neither 198.51.100.7 nor any hop behind "
                   "that one answered", 1)
        self.assertEqual(trace.blocked_after,
                         {"ttl": 4, "address": "10.0.4.1"})
        self.assertIsNone(trace.responder)

    def test_verdict_dropped_with_no_hop_heard_claims_nothing(self):
        trace = make_trace(None, {})
        self.check(trace, "dropped", "TCP port 443 is dropped after this "
                   "host: no hop answered at all, not even the first; look "
                   "at this host's own firewall and gateway first", 1)
        self.assertIsNone(trace.blocked_after)

    def test_verdict_dropped_at_max_hops_suspects_the_limit(self):
        trace = make_trace(None, walk(3), last=3)
        self.check(trace, "dropped", "TCP port 443 is dropped after hop 3 "
                   "(10.0.3.1): the path is longer than that or loops (see "
                   "-m), and 198.51.100.7 did not answer", 1)

    def test_verdict_dropped_names_the_pair_of_hops_by_the_control(self):
        trace = make_trace(None, walk(4), control=[echo_trace(7)])
        self.check(trace, "dropped", "TCP port 443 is dropped between hop 4 "
                   "(10.0.4.1) and hop 5 (10.0.5.1): ICMP echo reaches "
                   "198.51.100.7, 7 hops away", 1)
        self.assertEqual((trace.blocked_after, trace.blocked_before),
                         ({"ttl": 4, "address": "10.0.4.1"},
                          {"ttl": 5, "address": "10.0.5.1"}))

    def test_verdict_dropped_right_before_the_destination_says_so(self):
        trace = make_trace(None, walk(4), control=[echo_trace(5)])
        self.assertEqual(trace.verdict, "dropped")
        self.assertIn("between hop 4 (10.0.4.1) and 198.51.100.7",
                      trace.summary)
        self.assertEqual(trace.blocked_before,
                         {"ttl": 5, "address": DESTINATION})

    def test_verdict_dropped_where_the_control_ends_too_blames_no_filter(
            self):
        trace = make_trace(None, walk(4), control=[echo_trace(5, False)])
        self.assertEqual(trace.verdict, "dropped")
        self.assertIn("after hop 4 (10.0.4.1)", trace.summary)
        self.assertNotIn("between", trace.summary)
        self.assertIn("gets no farther", trace.summary)
        self.assertIsNone(trace.blocked_before)

    def test_verdict_dropped_on_another_path_names_no_pair_of_hops(self):
        other = echo_trace(7, t3=exceeded(3)._replace(address="10.9.3.1"))
        trace = make_trace(None, walk(4), control=[other])
        self.assertNotIn("between", trace.summary)
        self.assertIn("other routers from hop 3", trace.summary)
        self.assertIsNone(trace.blocked_before)

    def test_verdict_dropped_takes_the_control_that_got_farthest(self):
        trace = make_trace(None, walk(4), control=[
            echo_trace(5, False), echo_trace(9, False), echo_trace(6)])
        self.assertIn("hop 5 (10.0.5.1): ICMP echo reaches", trace.summary)
        trace = make_trace(None, walk(4), control=[
            echo_trace(6, False), echo_trace(9, False)])
        self.assertIn("hop 8 (10.0.8.1), no farther", trace.summary)

    def forged(self, *controls):
        """A reset in the destination's name that comes back at ttl 4, where
        a packet of another kind gets to a router only."""
        reset = make_answer("reset", DESTINATION, notes=(pt.FORGED,))
        return make_trace(reset, walk(3, t4=reset), control=controls)

    def test_verdict_reset_by_a_device_on_the_path_names_the_place(self):
        trace = self.forged(make_trace(None, {4: exceeded(4)}, "icmp", None,
                                       first=4, last=4))
        self.check(trace, "reset", "TCP port 443 is reset by a device at "
                   "hop 3 (10.0.3.1) or just behind it, not by "
                   "198.51.100.7: with ttl 4 ICMP echo gets to 10.0.4.1 "
                   "only", 1)
        self.assertEqual((trace.blocked_after, trace.blocked_before),
                         ({"ttl": 3, "address": "10.0.3.1"},
                          {"ttl": 4, "address": "10.0.4.1"}))
        self.assertIsNone(trace.distance)

    def test_verdict_reset_with_a_whole_control_trace_says_the_same(self):
        check = make_trace(None, {4: exceeded(4)}, "icmp", None, first=4,
                           last=4)
        for controls in ([echo_trace(9)], [echo_trace(9), check]):
            self.assertEqual(self.forged(*controls).summary,
                             self.forged(check).summary)

    def test_verdict_silent_is_of_a_udp_host_that_is_reachable(self):
        trace = make_trace(None, walk(4), "udp", 514,
                           control=[echo_trace(5)])
        self.check(trace, "silent", "UDP port 514 is open or filtered: "
                   "nothing came from it, though 198.51.100.7 is up (ICMP "
                   "echo reaches 198.51.100.7, 5 hops away); syslog answers "
                   "no such probe", 1)
        self.assertIsNone(trace.blocked_after)

    def test_verdict_error_says_why_and_has_its_exit_status(self):
        failed = make_answer("send-failed", rtt=None,
                             error="Operation not permitted")
        trace = make_trace(failed, {1: failed, 2: failed})
        self.check(trace, "error", "TCP port 443 could not be probed: "
                   "Operation not permitted", 2)
        self.assertEqual(trace.error, "Operation not permitted")

    def test_verdict_of_one_failed_hop_is_not_an_error(self):
        failed = make_answer("send-failed", rtt=None, error="denied")
        trace = make_trace(opened(), walk(3, t2=failed, t4=opened()))
        self.assertEqual((trace.verdict, trace.distance, trace.error),
                         ("open", 4, None))

    def test_verdict_of_an_interrupted_trace_is_none(self):
        trace = make_trace(None, walk(2), complete=False)
        self.assertIsNone(trace.verdict)
        self.assertEqual(trace.exit_status, 1)

    def test_verdict_of_an_interrupted_trace_that_reached_stands(self):
        trace = make_trace(opened(), walk(2), complete=False)
        self.assertEqual((trace.verdict, trace.exit_status), ("open", 0))

    def test_verdict_words_cover_every_outcome_that_ends_a_trace(self):
        for word, outcome in pt.OUTCOMES.items():
            if outcome.reached:
                self.assertIn(pt.REACHED_VERDICTS[word], pt.VERDICTS)
            elif outcome.final:
                self.assertIn(word, ("unreachable", "prohibited", "reset"))

    def test_trace_as_dict_is_what_the_design_describes(self):
        data = make_answer("data", DESTINATION, 0.0231, data=b"\xff\x1b")
        entry = make_trace(data, walk(3, t4=data), "udp", 53).as_dict()
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
                ("findings", [])):
            self.assertEqual((key, entry[key]), (key, value))
        self.assertEqual([hop["ttl"] for hop in entry["hops"]],
                         [1, 2, 3, 4])


def make_hop(*answers, **more):
    values = dict.fromkeys(pt.Hop._fields)
    values.update(ttl=4, method="tcp", port=25, destination=DESTINATION,
                  answers=answers, destination_name="mail.example.com",
                  version=4, verbose=False, more=False)
    values.update(more)
    return pt.Hop(**values)


class HopTests(unittest.TestCase):

    def check(self, hop, line, timed=None):
        self.assertEqual(str(hop), line)
        if timed is not None:
            self.assertEqual(hop.format_line(), line + timed)

    def test_hop_of_a_router_shows_name_address_type_and_time(self):
        self.check(make_hop(exceeded(2, 0.000412)),
                   "4\t10.0.2.1 (10.0.2.1)  ICMP 11/0", "  0.412 ms")
        self.check(make_hop(exceeded(2, 0.000412), name="gw.example.net"),
                   "4\tgw.example.net (10.0.2.1)  ICMP 11/0", "  0.412 ms")

    def test_hop_that_was_silent_timed_out(self):
        hop = make_hop()
        self.check(hop, "4\t*\ttimed out", "")
        self.assertEqual(
            (hop.outcome, hop.address, hop.rtt, hop.icmp_type, hop.icmp_code,
             hop.reply_ttl, hop.rxdata, hop.ipfields, hop.icmpfields,
             hop.reached, hop.final),
            ("timeout", None, None, None, None, None, None, None, None,
             False, False))

    def test_hop_of_the_destination_has_the_fixed_wording(self):
        self.check(make_hop(opened()), "4\tTCP port 25 connection "
                   "successful. [Reached Destination]", "  20.000 ms")
        self.check(make_hop(make_answer(
            "open", DESTINATION, data=b"220 mail\r\n")),
            "4\tTCP port 25 connection successful, received data: "
            "'220 mail\\r\\n'")
        self.check(make_hop(make_answer("refused", DESTINATION)),
                   "4\tTCP port 25 connection refused [Reached Destination]")
        self.check(make_hop(make_answer("data", DESTINATION, data=b"\0hi"),
                            method="udp", port=53),
                   "4\tUDP port 53 responded, received data: '\\x00hi'")
        self.check(make_hop(make_answer("port-unreachable", DESTINATION,
                                        icmp=(3, 3)), method="udp"),
                   "4\tmail.example.com (198.51.100.7)  ICMP 3/3 "
                   "[Reached Destination]")
        self.check(make_hop(make_answer("echo-reply", DESTINATION,
                                        icmp=(0, 0)), method="icmp"),
                   "4\tmail.example.com (198.51.100.7) ICMP echo reply "
                   "[Reached Destination]")

    def test_hop_that_was_not_sent_says_why(self):
        self.check(make_hop(make_answer("send-failed", rtt=None,
                                        error="not permitted")),
                   "4\t*\tnot sent: not permitted", "")

    def test_hop_without_an_address_shows_that_it_is_not_visible(self):
        hop = make_hop(make_answer("time-exceeded"))
        self.assertIn("not visible", str(hop))
        self.assertNotIn("None", hop.format_line())

    def test_hop_with_several_answers_shows_every_time(self):
        self.check(make_hop(exceeded(2, 0.001), exceeded(2, 0.002)),
                   "4\t10.0.2.1 (10.0.2.1)  ICMP 11/0",
                   "  1.000 ms  2.000 ms")

    def test_hop_with_a_second_router_shows_its_address_too(self):
        line = make_hop(exceeded(2, 0.001), exceeded(3, 0.002)).format_line()
        self.assertEqual(line.count("\n"), 0)
        self.assertIn("10.0.2.1 (10.0.2.1)  ICMP 11/0  1.000 ms", line)
        self.assertIn("10.0.3.1 (10.0.3.1)  ICMP 11/0  2.000 ms", line)

    def test_hop_with_unknown_time_shows_none(self):
        self.check(make_hop(exceeded(2, None)),
                   "4\t10.0.2.1 (10.0.2.1)  ICMP 11/0", "")

    def test_hop_that_is_verbose_names_icmp_and_reply_ttl(self):
        line = make_hop(exceeded(2)._replace(reply_ttl=62),
                        verbose=True).format_line()
        self.assertIn("reply ttl 62", line)
        self.assertIn("time exceeded in transit", line)

    def test_hop_farther_than_max_hops_is_marked(self):
        self.assertTrue(str(make_hop(opened(), more=True)).startswith(">4"))

    def test_hop_with_a_hostile_name_is_escaped(self):
        hop = make_hop(exceeded(2), name="a\x1b[2J\nb{ttl}%s")
        self.check(hop, "4\ta\\x1b[2J\\nb{ttl}%s (10.0.2.1)  ICMP 11/0")

    def test_hop_with_hostile_data_is_escaped_and_cut(self):
        text = str(make_hop(make_answer("open", DESTINATION,
                                        data=b"{ttl}\x1b\n" + b"\xff" * 500)))
        self.assertTrue(all(c == "\t" or " " <= c <= "~" for c in text))
        self.assertIn("'{ttl}\\x1b\\n\\xff", text)
        self.assertEqual(text.count("\\xff"), 120 - 7)

    def test_hop_fields_of_the_old_interface_are_there(self):
        hop = make_hop(exceeded(2)._replace(reply_ttl=62))
        self.assertEqual(hop.ipfields.ip_source_address, "10.0.2.1")
        self.assertEqual((hop.icmpfields.icmp_type,
                          hop.icmpfields.icmp_code), (11, 0))
        self.assertEqual((hop.ttl, hop.reached, hop.final, hop.rxdata),
                         (4, False, False, None))
        self.assertEqual(hop.msg, "10.0.2.1 (10.0.2.1)  ICMP 11/0")

    def test_hop_reached_and_final_follow_from_the_outcome(self):
        for outcome, reached, final in (
                ("time-exceeded", False, False), ("echo-reply", True, True),
                ("open", True, True), ("data", True, True),
                ("refused", True, True), ("port-unreachable", True, True),
                ("unreachable", False, True), ("prohibited", False, True),
                ("timeout", False, False), ("send-failed", False, False)):
            hop = make_hop(make_answer(outcome, DESTINATION))
            self.assertEqual((outcome, hop.reached, hop.final),
                             (outcome, reached, final))

    def test_hop_as_dict_is_what_the_design_describes(self):
        answer = exceeded(2, 0.0004)._replace(reply_ttl=64)
        entry = make_hop(answer, exceeded(3), name="gw").as_dict()
        for key, value in (
                ("ttl", 4), ("outcome", "time-exceeded"),
                ("address", "10.0.2.1"), ("name", "gw"), ("rtt_ms", 0.4),
                ("icmp_type", 11), ("icmp_code", 0), ("reply_ttl", 64),
                ("labels", []), ("notes", [])):
            self.assertEqual((key, entry[key]), (key, value))
        self.assertEqual([probe["address"] for probe in entry["probes"]],
                         ["10.0.2.1", "10.0.3.1"])
        self.assertEqual(make_hop().as_dict()["rtt_ms"], None)
        self.assertEqual(make_hop().as_dict()["probes"], [])


if __name__ == "__main__":
    unittest.main()
