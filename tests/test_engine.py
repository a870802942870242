"""Sending and hearing: Engine, Run, TcpMethod, Poller and Names, faked.

A World has its own clock, sockets, poller and network; nothing in it waits.
Real sockets, of loopback only, have the tests of Poller and of interrupts.
Not tested here: what a real kernel does; that is for the tests with networks
of their own.
"""

import ast
import errno
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import potraceroute as pt  # noqa: E402

DESTINATION = "198.51.100.7"
FORGER = "203.0.113.66"
OWN = "192.0.2.99"
PORT = 443
RESET = (socket.SO_LINGER, struct.pack("ii", 1, 0))


def router(ttl):
    return "10.0.%d.1" % ttl


class Clock(object):
    """Two clocks: one that never jumps and one that can be set."""

    def __init__(self):
        self.now = 1000.0
        self.offset = 1.7e9

    def monotonic(self):
        return self.now

    def time(self):
        return self.now + self.offset

    def sleep(self, seconds):
        self.now += max(seconds, 0)


class FakeSocket(object):
    """A socket of any kind, of which the world decides what happens."""

    last = 100

    def __init__(self, world, method=None):
        FakeSocket.last += 1
        self.number = self.port = FakeSocket.last
        self.world, self.method = world, method
        self.ttl = 0
        self.log = []               # (option or call, value)
        self.queue = []             # Reply, in the error queue
        self.inbox = []             # bytes, or an errno
        self.so_error = 0
        self.connected = self.dead = False
        self.info = pt.TcpInfo(*[0] * 7)
        self.tsval = 5000
        self.closed_at = None
        self.sent = []
        self.datagram = None        # that was sent

    def tell(self, **known):
        """Change what TCP_INFO says, or anything else."""
        for name, value in known.items():
            if name in self.info._fields:
                self.info = self.info._replace(**{name: value})
            else:
                setattr(self, name, value)

    def fileno(self):
        return self.number

    @property
    def ready(self):
        return bool(self.queue or self.inbox or self.so_error or self.dead or
                    (self.connected and self.writing))

    writing = property(lambda self: self.world.poller.writers.get(
        self.number))

    def setsockopt(self, level, option, value):
        if option == pt.FAMILIES[4].ttl and level == 0:
            self.ttl = value
            self.log.append(("ttl", value))
        else:
            self.log.append((option, value))

    def getsockopt(self, level, option, size=0):
        if level == socket.SOL_SOCKET and option == socket.SO_ERROR:
            error, self.so_error = self.so_error, 0
            return error
        if option == pt.TCP_TIMESTAMP:
            return self.tsval
        raise socket.error(errno.ENOPROTOOPT, "no such option")

    def getsockname(self):
        return OWN, self.port

    def getpeername(self):
        if not self.connected:
            raise socket.error(errno.ENOTCONN, "not connected")
        return DESTINATION, PORT

    def connect_ex(self, sockaddr):
        self.log.append(("connect", sockaddr))
        return self.world.leave(self) or errno.EINPROGRESS

    def sendto(self, data, sockaddr):
        self.datagram = data
        error = self.world.leave(self)
        if error:
            raise socket.error(error, os.strerror(error))

    def connect(self, sockaddr):
        self.log.append(("connect", sockaddr))

    def send(self, data):
        if self.method.name == "udp":       # a connected one
            self.sendto(data, None)
        else:
            self.sent.append(data)

    def recv(self, size):
        if not self.inbox:
            raise socket.error(errno.EAGAIN, "nothing")
        data = self.inbox.pop(0)
        if isinstance(data, int):
            raise socket.error(data, os.strerror(data))
        return data[:size]

    def close(self):
        if self.closed_at is None:
            self.closed_at = self.world.clock.now
            self.log.append(("close", self.ttl))


class FakeMechanism(pt.Mechanism):
    name = "error-queue"
    sight = "addresses"
    why = ""

    def errors(self, sock, protocol, version):
        found, sock.queue = sock.queue, []
        if found:
            sock.so_error = 0       # as the kernel does
        return found

    def receive(self, sock, flags=0):
        return sock.recv(4096), DESTINATION, PORT, {}, []


class FakePoller(object):
    """Time passes here: up to the next event, or to the time-out."""

    full = False

    def __init__(self, world):
        self.world = world
        self.writers = {}
        self.idle = 0

    def add(self, number, write=False):
        self.writers[number] = write

    def remove(self, number):
        self.writers.pop(number, None)

    def ready(self):
        return sorted(number for number in self.writers
                      if self.world.sockets[number].ready)

    def wait(self, seconds):
        clock, events = self.world.clock, self.world.events
        start, end = clock.now, clock.now + max(seconds, 0)
        while not self.ready():
            events.sort(key=lambda event: event[0])
            if not events or events[0][0] > end:
                clock.now = end
                break
            when, action = events.pop(0)
            clock.now = max(clock.now, when)
            action()
        clock.now += self.world.delay if self.ready() else 0
        self.idle = self.idle + 1 if clock.now == start else 0
        if self.idle > 500:
            raise AssertionError("the engine spins at %s" % clock.now)
        return self.ready()


class FakeRaw(object):
    """A raw socket: whatever the world puts into its queue."""

    name = "raw-socket"
    sight = "addresses"

    def __init__(self, world):
        self.sockets = [world.open(None)]

    def replies(self, sock):
        found, sock.queue = sock.queue, []
        return found

    def close(self):
        self.sockets[0].close()


class FakeTcp(pt.LinuxTcpMethod):
    world = None

    def open_socket(self, kind, protocol=0, port=None):
        return self.world.open(self)

    @staticmethod
    def read_info(sock):
        return sock.info


class FakeUdp(pt.UdpMethod):
    world = None

    def open_socket(self, kind, protocol=0, port=None):
        return self.world.open(self)


class World(object):
    """An engine with one Series, and the network it is in.

    What becomes of a probe is told to run() by a dict: of its ttl (0: the
    system's own), of (ttl, count) for the count-th of a ttl, or of "small"
    for any other ttl but 0.  A value is an errno of the send, or one of the
    functions below, of the world, the ttl and the socket.
    """

    def __init__(self, case, kind=FakeUdp, raw=False, banner_wait=0.5,
                 payload=None, sight="addresses", **plan):
        self.clock = Clock()
        self.events = []            # (when, function)
        self.sockets = {}
        self.counts = {}
        self.sent = []              # (when, ttl, socket)
        self.delay = 0              # between an event and our hearing of it
        self.fates = {}
        for name, value in (("time", self.clock),
                            ("monotonic", self.clock.monotonic)):
            case.addCleanup(setattr, pt, name, getattr(pt, name))
            setattr(pt, name, value)
        values = dict.fromkeys(pt.Target._fields)
        values.update(family=pt.FAMILIES[4], address=DESTINATION, port=PORT,
                      sockaddr=(DESTINATION, PORT), tos=0, payload=payload,
                      own_address=OWN)
        self.mechanism = FakeMechanism()
        self.mechanism.sight = sight
        self.raw = FakeRaw(self) if raw else None
        self.poller = FakePoller(self)
        self.engine = pt.Engine(self.raw, banner_wait, poller=self.poller,
                                clock=self.clock.monotonic)
        self.aim = pt.Aim(kind.name, pt.Target(**values), None)
        self.method = self.open_method(self.aim)
        plan.setdefault("last", 3)
        plan.setdefault("full_retries", 0)
        self.series = pt.Series(aim=self.aim, method=self.method, **plan)
        self.engine.add(self.series)

    def open_method(self, aim):
        if aim.method == "icmp":
            raise pt.RunError("not permitted here")
        kind = {"tcp": FakeTcp, "udp": FakeUdp}[aim.method]
        method = kind(aim.target, self.mechanism, self.raw)
        method.world = self
        return method

    # What the kernel and the network do

    def open(self, method):
        sock = FakeSocket(self, method)
        self.sockets[sock.number] = sock
        return sock

    def leave(self, sock):
        """A probe leaves, or not: return the errno."""
        ttl = sock.ttl
        count = self.counts[ttl] = self.counts.get(ttl, 0) + 1
        fates = self.fates
        if callable(fates):
            fates = {ttl: fates}
        fate = fates.get((ttl, count), fates.get(
            ttl, fates.get("small") if ttl else None))
        error = fate(self, ttl, sock) if callable(fate) else fate
        if not isinstance(error, int):
            self.sent.append((self.clock.now, ttl, sock))
            return 0
        return error

    def at(self, delay, action, *args):
        self.events.append((self.clock.now + delay, lambda: action(*args)))

    @staticmethod
    def icmp(sock, responder, icmp=(11, 0), received=None, raw=None,
             reply_ttl=None, **quoted):
        """Return the Reply of an ICMP error about a probe."""
        tcp = sock.method.name == "tcp"
        fields = dict(protocol=6 if tcp else 17, destination=DESTINATION,
                      dest_port=sock.method.target.port)
        if tcp or raw:
            fields["source_port"] = sock.port
        if not tcp:
            fields["payload"] = sock.datagram
        fields.update(quoted)
        return pt.NO_REPLY._replace(
            kind="icmp", responder=responder, icmp_type=icmp[0],
            icmp_code=icmp[1], received=received, raw=raw,
            reply_ttl=reply_ttl,
            quoted=pt.NOTHING_QUOTED._replace(**fields))

    # What is asked of it

    def run(self, fates=None, until=30.0):
        """Turn until all is done, or for so many seconds; returns self."""
        self.fates = fates or self.fates
        end = self.clock.now + until
        for _ in range(5000):
            if self.engine.done or self.clock.now >= end:
                return self
            self.engine.turn()
        raise AssertionError("the engine does not come to an end")

    def state(self, ttl):
        return [state for state in self.series.all_states
                if state.ttl == ttl][0]

    def answer(self, ttl):
        """Return the answer to a ttl with all facts, None if silent."""
        for probe in self.state(ttl).answered:
            return pt.complete(probe)
        return None

    def outcomes(self, *ttls):
        return [self.state(ttl).outcome for ttl in ttls]

    def probes(self, ttl):
        return [sock for _, sent, sock in self.sent if sent == ttl]

    def open_sockets(self):
        return [sock for sock in self.sockets.values()
                if sock.closed_at is None]


# What becomes of a probe

def expired(delay=0.02, responder=None, **more):
    """An ICMP error arrives in its error queue."""
    return lambda world, ttl, sock: world.at(
        delay, lambda: sock.queue.append(world.icmp(
            sock, responder or router(ttl), **more)))


def accepted(delay=0.02, *banner):
    """The handshake is completed; bytes or errnos may follow."""
    def fate(world, ttl, sock):
        world.at(delay, lambda: sock.tell(segs_in=1, connected=True))
        for number, data in enumerate(banner, 1):
            world.at(delay + 0.01 * number, sock.inbox.append, data)
    return fate


def failed(delay, error, segments=0):
    """The kernel gives the socket up."""
    def fate(world, ttl, sock):
        world.at(delay, lambda: sock.tell(so_error=error, dead=True,
                                          segs_in=segments))
    return fate


def raw_error(delay, responder=None, **more):
    """A raw socket hears an ICMP error."""
    return lambda world, ttl, sock: world.at(
        delay, lambda: world.raw.sockets[0].queue.append(world.icmp(
            sock, responder or router(ttl), raw=True, **more)))


def raw_segment(delay, kind, **more):
    """A raw socket hears a segment of the destination."""
    return lambda world, ttl, sock: world.at(
        delay, world.raw.sockets[0].queue.append, pt.NO_REPLY._replace(
            kind=kind, responder=DESTINATION, raw=True,
            quoted=pt.NOTHING_QUOTED._replace(
                protocol=6, source_port=sock.port, dest_port=PORT), **more))


def all_of(*fates):
    def fate(world, ttl, sock):
        for each in fates:
            each(world, ttl, sock)
    return fate


def until(seconds, early, late):
    """early, an errno, for so many seconds, then late."""
    return lambda world, ttl, sock: (
        early if world.clock.now < 1000 + seconds or late is None
        else late(world, ttl, sock) if ttl else None)


def nothing(world, ttl, sock):
    """It is lost."""


class MatchingTests(unittest.TestCase):

    def test_answer_that_is_late_counts_from_its_own_probe(self):
        # A retry leaves meanwhile.
        world = World(self, wait=2.0).run({(1, 1): expired(0.9)})
        self.assertEqual(len(world.probes(1)), 2)
        self.assertEqual(world.answer(1).address, router(1))
        self.assertAlmostEqual(world.answer(1).rtt, 0.9)

    def test_answer_after_the_hop_was_given_up_changes_nothing(self):
        world = World(self, wait=1.0, last=2).run({1: expired(1.5)})
        self.assertEqual(world.outcomes(1), ["timeout"])
        self.assertEqual(world.state(1).answers, [])
        world.clock.now += 5
        world.engine.turn()
        self.assertEqual(world.state(1).answers, [])

    def test_answer_that_comes_twice_is_taken_once(self):
        world = World(self, queries=2, last=1).run({
            (1, 1): all_of(expired(), expired()),
            1: expired(0.05, router(9))})
        self.assertEqual([answer.address for answer in
                          world.state(1).answers], [router(1), router(9)])

    def test_reply_that_is_foreign_is_ignored(self):
        for wrong in ({"dest_port": 9}, {"payload": b"someone else's"},
                      {"protocol": 6}):
            world = World(self, last=1).run({1: expired(
                0.02, FORGER, **wrong)})
            self.assertIsNone(world.answer(1), wrong)

    def test_reply_that_is_wrong_does_not_hide_the_true_one(self):
        for wrong, later in (({"dest_port": 9}, 0.03),
                             ({"destination": "10.9.9.9"}, 0.3)):
            world = World(self, last=1).run({1: all_of(
                expired(0.01, FORGER, **wrong), expired(later))})
            self.assertEqual(world.answer(1).address, router(1))

    def test_quote_of_another_destination_is_believed_last_and_noted(self):
        world = World(self, last=1, wait=1.0).run({1: expired(
            0.01, destination="10.9.9.9")})
        answer = world.answer(1)
        self.assertEqual(answer.address, router(1))
        self.assertIn("10.9.9.9", "".join(pt.format_notes(answer)))
        self.assertLess(abs((answer.rtt or 0.01) - 0.01), 0.005)

    def test_each_udp_probe_has_a_payload_of_its_own(self):
        world = World(self, last=9).run(until=0.1)
        payloads = [sock.datagram for _, _, sock in world.sent]
        self.assertEqual(len(set(payloads)), len(payloads))
        self.assertEqual(len(set(map(len, payloads))), 1)

    def test_answer_to_the_probe_before_on_the_same_port_is_foreign(self):
        # One flow: the next hop's socket has the port of the last one's.
        def fate(world, ttl, sock):
            late = world.icmp(world.probes(1)[0], router(1))
            world.at(0.01, sock.queue.append, late)
            expired(0.02)(world, ttl, sock)
        world = World(self, last=2, wait=1.0, retries=0, parallel=1,
                      one_flow=True).run({2: fate})
        self.assertEqual(world.answer(2).address, router(2))

    def test_every_hop_gets_the_answer_to_its_own_probe(self):
        world = World(self, last=9).run(dict(   # in reverse order
            (ttl, expired(0.1 - ttl * 0.01)) for ttl in range(1, 10)))
        for ttl in range(1, 10):
            self.assertEqual(world.answer(ttl).address, router(ttl))

    def test_udp_data_from_the_destination_reaches_it(self):
        world = World(self, last=1).run({0: lambda world, ttl, sock: world.at(
            0.02, sock.inbox.append, b"hello")})
        self.assertEqual((world.answer(0).outcome, world.answer(0).data),
                         ("data", b"hello"))


class ClockTests(unittest.TestCase):

    def test_rtt_is_told_by_a_stamp_of_the_kernel_that_is_possible(self):
        """The answer is 20 ms away; the real clock is set by `step`
        meanwhile, the kernel stamps it `stamp` seconds after it was sent,
        and it is heard some time after."""
        for step, stamp, heard_after, rtt in (
                (0, None, 0, 0.02),
                (0, 0.02, 0.015, 0.02),         # without our own delay
                (0, 0.0195, 0, 0.0195),
                (0, 0.5, 0, 0.02),              # after it was heard
                (0, -0.001, 0, 0.02),           # before it was sent
                (-3600, 0.02, 0.005, 0.025), (-0.015, 0.02, 0.005, 0.025),
                (0.5, 0.02, 0.005, 0.025), (86400, 0.02, 0.005, 0.025)):
            def fate(world, ttl, sock):
                def arrive():
                    world.clock.offset += step
                    received = stamp and sent_at + stamp + step
                    sock.queue.append(world.icmp(sock, router(1),
                                                 received=received))
                sent_at = world.clock.time()
                world.at(0.02, arrive)
            world = World(self, last=1)
            world.delay = heard_after
            self.assertAlmostEqual(world.run({1: fate}, 1.0).answer(1).rtt,
                                   rtt, places=5)


class SendingTests(unittest.TestCase):

    def test_send_without_buffers_is_held_and_tried_again(self):
        for error, seconds in ((errno.ENOBUFS, 0.3), (errno.EMFILE, 0.3),
                               (errno.ENFILE, 0.3), (errno.ENOMEM, 0.3),
                               (errno.ENOBUFS, 1.0)):
            world = World(self).run(until(seconds, error, expired()))
            self.assertEqual(world.outcomes(1, 2, 3), ["time-exceeded"] * 3)

    def test_send_without_buffers_for_good_fails_in_bounded_time(self):
        world = World(self)
        turns, turn = [], world.engine.turn
        world.engine.turn = lambda: turns.append(1) or turn()
        world.run(until(0, errno.ENOBUFS, None))
        self.assertLess(world.clock.now, 1010)
        self.assertLess(len(turns), 500)        # the processor is not busy
        self.assertEqual(world.outcomes(0, 1, 2, 3), ["send-failed"] * 4)
        self.assertEqual(world.answer(1).error, errno.ENOBUFS)
        self.assertEqual(world.open_sockets(), [])

    def test_socket_that_cannot_be_opened_is_held_and_tried_again(self):
        world = World(self, last=1)
        opened = world.open

        def refuse(method):
            if world.clock.now < 1000.2:
                raise socket.error(errno.EMFILE, "too many open files")
            return opened(method)
        world.open = refuse
        world.run({1: expired()})
        self.assertEqual(world.outcomes(1), ["time-exceeded"])

    def test_send_that_is_not_permitted_fails_its_hop_only(self):
        for kind in (FakeUdp, FakeTcp):
            world = World(self, kind).run({2: errno.EPERM,
                                           "small": expired()})
            self.assertEqual(world.outcomes(1, 2, 3), [
                "time-exceeded", "send-failed", "time-exceeded"])
            self.assertEqual(world.answer(2).error, errno.EPERM)
            self.assertEqual(world.open_sockets(), [])

    def test_send_without_a_route_is_not_tried_again(self):
        world = World(self, FakeTcp).run(
            lambda world, ttl, sock: errno.ENETUNREACH)
        self.assertEqual(world.counts, {0: 1, 1: 1, 2: 1, 3: 1})

    def test_probes_with_a_small_ttl_leave_with_it(self):
        world = World(self, FakeTcp).run({"small": expired()})
        self.assertEqual(sorted(set(ttl for _, ttl, _ in world.sent)),
                         [0, 1, 2, 3])

    def test_one_flow_closes_a_probe_before_the_next_of_its_hop(self):
        world = World(self, parallel=1, one_flow=True, last=1).run()
        times = [when for when, ttl, _ in world.sent if ttl == 1]
        self.assertGreater(len(times), 1)
        for sent, sock in zip(times[1:], world.probes(1)):
            self.assertLessEqual(sock.closed_at, sent)


class TcpTests(unittest.TestCase):
    """TcpMethod on sockets that behave as Linux's."""

    def test_small_ttl_probe_cannot_complete_a_handshake(self):
        world = World(self, FakeTcp, last=2).run({"small": expired()})
        log = world.probes(2)[0].log
        at = [name for name, _ in log].index("connect")
        for entry in (("ttl", 2), RESET, (pt.TCP_DEFER_ACCEPT, 1)):
            self.assertIn(entry, log[:at])
        self.assertEqual(log[at + 1], ("ttl", 1))

    def test_small_ttl_probe_is_reset_with_a_ttl_that_reaches(self):
        world = World(self, FakeTcp, last=2).run({"small": accepted()})
        self.assertEqual(world.outcomes(1), ["open"])
        for sock in world.probes(1) + world.probes(2):
            self.assertGreaterEqual(sock.ttl, 64)
            self.assertEqual(sock.log[-1], ("close", sock.ttl))

    def test_real_connection_keeps_the_systems_ttl(self):
        world = World(self, FakeTcp, last=1).run({0: accepted()})
        sock, = world.probes(0)
        self.assertNotIn("ttl", [name for name, _ in sock.log])

    def receive(self, info=(), icmp=False, **state):
        """Return what TcpMethod.receive says of a socket, and the probe."""
        world = World(self, FakeTcp)
        sock, probe = world.open(world.method), pt.Probe(3, False)
        probe.source_port = sock.port
        if icmp:
            sock.queue.append(world.icmp(sock, router(3)))
        sock.tell(**dict(info, **state))
        return world.method.receive(sock, probe), probe

    def test_so_error_0_without_a_peer_is_not_connected(self):
        replies, probe = self.receive(so_error=0, connected=False)
        self.assertEqual((replies, probe.answer), ([], None))

    def test_so_error_0_with_a_peer_is_connected(self):
        (reply,), probe = self.receive(connected=True, info={"rtt": 20500})
        self.assertEqual((reply.kind, reply.responder),
                         ("accepted", DESTINATION))
        self.assertAlmostEqual(probe.kernel_rtt, 0.0205)

    def test_error_queue_goes_before_so_error(self):
        (reply,), _ = self.receive(so_error=errno.EHOSTUNREACH, dead=True,
                                   icmp=True)
        self.assertEqual((reply.kind, reply.responder), ("icmp", router(3)))

    def test_errno_without_its_icmp_error_leaves_the_distance_to_see(self):
        for raw, known, kernel, sight in (
                (False, False, "distance", "distance"),
                (True, False, "distance", "addresses"),
                (False, True, "addresses", "addresses")):
            world = World(self, FakeTcp, raw=raw)
            sock, probe = world.open(world.method), pt.Probe(0, True)
            if known:           # it has told who answers before
                sock.queue.append(world.icmp(sock, router(3)))
                world.method.receive(sock, probe)
            sock.so_error = errno.EHOSTUNREACH
            world.method.receive(sock, probe)
            self.assertEqual((world.method.mechanism.sight,
                              world.method.sight),
                             (kernel, sight))

    def test_refusal_with_no_segment_received_is_an_icmp_rejection(self):
        (reply,), _ = self.receive(so_error=errno.ECONNREFUSED,
                                   info={"segs_in": 0})
        self.assertNotEqual(reply.kind, "reset")
        outcome, _ = pt.classify(reply, DESTINATION, OWN)
        self.assertEqual(outcome, "prohibited")

    def test_refusal_with_a_segment_received_is_a_reset(self):
        (reply,), _ = self.receive(so_error=errno.ECONNREFUSED,
                                   info={"segs_in": 1})
        self.assertEqual((reply.kind, reply.responder),
                         ("reset", DESTINATION))

    def test_refusal_without_tcp_info_is_not_blamed_on_the_destination(self):
        world = World(self, FakeTcp)
        sock = world.open(world.method)
        sock.so_error, sock.info = errno.ECONNREFUSED, None
        (reply,) = world.method.receive(sock, pt.Probe(0, True))
        self.assertEqual((reply.kind, reply.responder), ("failed", None))

    def test_repeated_syn_or_time_out_makes_the_probe_worthless(self):
        repeated = {"total_retrans": 1}
        for state in ({"icmp": True, "info": repeated},
                      {"connected": True, "info": repeated},
                      {"so_error": errno.EHOSTUNREACH, "info": repeated},
                      {"so_error": errno.ETIMEDOUT}):
            replies, probe = self.receive(**state)
            self.assertEqual((replies, probe.gone), ([], True), state)

    def test_dead_socket_without_an_answer_does_not_busy_the_processor(
            self):
        # FakePoller fails when the engine spins.
        world = World(self, FakeTcp, last=1, wait=1.0).run(
            lambda world, ttl, sock: world.at(0.02, setattr, sock, "dead",
                                              True))
        self.assertEqual(world.outcomes(1), ["timeout"])

    def test_rtt_of_a_repeated_syn_is_told_by_its_tsval(self):
        world = World(self, FakeTcp)
        for tsval, elapsed, retransmits, probe_tsval, rtt in (
                (6022, 1.072, 1, 5000, 0.05), (5000, 1.2, 1, 5000, 1.2),
                (22, 1.072, 1, 0xfffffc18, 0.05),       # it wraps
                (None, 1.072, 1, 5000, None),           # not quoted whole
                (6022, 1.072, 1, None, None),
                (9000, 1.072, 1, 5000, None),           # not possible
                (None, 0.5, 0, 5000, 0.5),              # sent once
                (None, 0.5, None, 5000, 0.5)):
            probe = pt.Probe(3, True)
            probe.retransmits, probe.tsval = retransmits, probe_tsval
            found = world.method.rtt(probe, world.icmp(
                world.open(world.method), router(3), tsval=tsval), elapsed)
            self.assertEqual(found and round(found, 6), rtt)

    def test_rtt_of_a_handshake_is_the_kernels(self):
        world = World(self, FakeTcp, last=1)
        world.delay = 0.01
        world.run({0: lambda world, ttl, sock: (
            sock.tell(rtt=19500), accepted()(world, ttl, sock))[1]})
        self.assertAlmostEqual(world.answer(0).rtt, 0.0195)

    def test_probe_on_a_fast_path_is_closed_before_its_syn_repeats(self):
        world = World(self, FakeTcp, last=6, wait=2.0).run({
            1: expired(), 2: expired()})
        self.assertEqual(world.outcomes(5), ["timeout"])
        late = [sock.closed_at - sent for sent, ttl, sock in world.sent
                if ttl > 2]
        self.assertGreaterEqual(len(late), 4)
        self.assertLess(max(late), 1.0)

    def test_probe_on_a_slow_path_is_renewed_before_its_syn_repeats(self):
        seen = []
        world = World(self, FakeTcp, last=3, wait=4.0, retries=0).run({
            1: expired(0.8), "small": lambda world, ttl, sock: world.at(
                1.0, lambda: seen.append((ttl, sock.ttl)))})
        self.assertEqual(sorted(seen), [(2, 2), (3, 3)])
        self.assertTrue(all(probe.renewed
                            for probe in world.state(2).probes))

    def test_probe_that_was_renewed_is_still_heard(self):
        world = World(self, FakeTcp, last=1, wait=4.0, retries=0).run({
            1: lambda world, ttl, sock: all_of(
                lambda *_: world.at(1.37, lambda: sock.tell(total_retrans=1)),
                expired(1.372, tsval=6022))(world, ttl, sock)})
        self.assertEqual(world.answer(1).address, router(1))
        self.assertAlmostEqual(world.answer(1).rtt, 0.350)

    def test_real_connection_outlives_the_repeat_of_its_syn(self):
        world = World(self, FakeTcp, last=2, wait=3.0).run({
            0: accepted(1.4), "small": expired()})
        self.assertEqual(world.outcomes(0), ["open"])
        self.assertEqual(len(world.probes(0)), 1)

    def test_router_that_rejects_is_not_the_destination(self):
        says_no = expired(0.02, router(2), icmp=(3, 3))
        world = World(self, FakeTcp).run({1: expired(0.01), 0: says_no,
                                          "small": says_no})
        self.assertEqual(world.outcomes(0, 2), ["prohibited"] * 2)


class InfoTests(unittest.TestCase):
    """What TCP_INFO gives, by kernels and emulators of any age."""

    def info(self, size):
        """Return what is made of so many bytes; each word is its number."""
        return pt.decode_tcp_info(struct.pack("=62I", *range(62))[:size])

    def test_info_has_each_field_from_its_word(self):
        self.assertEqual(self.info(248), pt.TcpInfo(
            options=struct.unpack("=4B", struct.pack("=I", 1))[1], snd_mss=4,
            unacked=6, pmtu=15, rtt=17, total_retrans=25, segs_in=35))

    def test_options_of_info_are_in_the_byte_behind_the_backoff(self):
        data = b"\0" * 5 + b"\7" + b"\0" * 10 + b"\x50" + b"\0" * 90
        self.assertEqual(pt.decode_tcp_info(data).options, 7)

    def test_info_of_the_oldest_kernels_is_enough_and_a_short_one_none(self):
        for size in (0, 8, 103):
            self.assertIsNone(self.info(size))
        self.assertIsNone(self.info(104).segs_in)
        self.assertEqual(self.info(143).total_retrans, 25)
        self.assertEqual(self.info(144).segs_in, 35)

    def test_info_of_nothing_but_zeros_is_none(self):
        """As of emulators that do not know: even a fresh socket has a
        segment size."""
        self.assertIsNone(pt.decode_tcp_info(b"\0" * 256))
        if sys.platform.startswith("linux"):
            sock = socket.socket()
            self.addCleanup(sock.close)
            self.assertTrue(pt.LinuxTcpMethod.read_info(sock))


class CountTests(unittest.TestCase):
    """EHOSTUNREACH of a connect(), and what the kernel has counted."""

    def explain(self, ttl, *counts):
        """Return how the Reply is understood; counts: before and after."""
        world = World(self, FakeTcp)
        probe = pt.Probe(ttl, real=not ttl)
        probe.counts, after = counts
        self.addCleanup(setattr, pt, "count_icmp_errors",
                        pt.count_icmp_errors)
        pt.count_icmp_errors = lambda version: after
        reply = world.method.explain_failure(probe, errno.EHOSTUNREACH)
        return reply and (reply.icmp_type, reply.flags)

    def test_error_is_the_one_that_was_counted(self):
        self.assertEqual(self.explain(3, (5, 7), (5, 8)), (11, ()))
        self.assertEqual(self.explain(3, (5, 7), (6, 7)),
                         (None, ("not-expired",)))

    def test_error_beside_one_of_the_other_kind_may_be_either(self):
        self.assertEqual(self.explain(3, (5, 7), (6, 8)), (None, ()))
        self.assertEqual(self.explain(0, (5, 7), (6, 8)), (None, ()))

    def test_errors_that_are_not_counted_are_what_they_were(self):
        self.assertEqual(self.explain(3, (5, 7), (5, 7)), (None, ()))
        self.assertEqual(self.explain(3, None, None), (None, ()))


class RawSocketTests(unittest.TestCase):
    """A raw socket adds to what the kernel said, and rarely replaces it."""

    def world(self, kind=FakeTcp, **plan):
        plan.setdefault("last", 1)
        return World(self, kind, raw=True, **plan)

    def test_raw_reply_alone_is_not_believed_where_the_queue_works(self):
        # A forgery: the kernel did not pass it on.
        world = self.world(last=2).run({1: expired(),
                                        2: raw_error(0.01, FORGER)})
        self.assertEqual(world.answer(1).address, router(1))
        self.assertIsNone(world.answer(2))

    def test_raw_error_behind_a_raw_syn_ack_is_about_a_later_segment(self):
        # The router quotes 8 bytes: no flags.
        world = self.world(sight="distance").run({0: accepted(0.03), 1: all_of(
            raw_segment(0.01, "accepted"), raw_error(0.02),
            accepted(0.03))})
        self.assertEqual(world.outcomes(1), ["open"])

    def test_raw_reply_adds_the_quoted_header_and_the_reply_ttl(self):
        for first in (0.01, 0.03):          # before the queue's, and after
            world = self.world().run({1: all_of(expired(), raw_error(
                first, ttl=1, tos=0x28, reply_ttl=63))})
            answer = world.answer(1)
            self.assertEqual(
                (answer.address, answer.reply_ttl, answer.quoted.tos),
                (router(1), 63, 0x28))
            self.assertAlmostEqual(answer.rtt, 0.02)

    def test_raw_reply_of_another_router_adds_nothing(self):
        world = self.world().run({1: all_of(
            raw_error(0.01, FORGER, reply_ttl=99), expired())})
        self.assertEqual((world.answer(1).address, world.answer(1).reply_ttl),
                         (router(1), None))

    def test_raw_reply_is_believed_where_the_queue_does_not_work(self):
        # A kernel before 5.8: EHOSTUNREACH and an empty queue.
        for first in (0.01, 0.03):
            world = self.world().run({1: all_of(
                failed(0.02, errno.EHOSTUNREACH), raw_error(first))})
            self.assertEqual(
                (world.answer(1).outcome, world.answer(1).address),
                ("time-exceeded", router(1)))

    def test_raw_reply_is_believed_if_a_nat_changed_the_quote(self):
        world = self.world(last=2).run({1: expired(), 2: raw_error(
            0.02, destination="10.9.9.9")})
        self.assertEqual(world.answer(2).address, router(2))
        self.assertIn("10.9.9.9", "".join(pt.format_notes(world.answer(2))))

    def test_raw_replies_that_contradict_each_other_are_not_believed(self):
        world = self.world(retries=0).run({1: all_of(*[
            raw_error(0.02, responder, destination="10.9.9.9")
            for responder in (router(1), FORGER)])})
        self.assertIsNone(world.answer(1))

    def test_raw_segment_alone_neither_opens_nor_refuses(self):
        for kind in ("accepted", "reset"):
            world = self.world(wait=1.0).run(raw_segment(0.01, kind))
            self.assertEqual((world.answer(0), world.answer(1)),
                             (None, None))

    def test_raw_segment_adds_the_reply_ttl(self):
        world = self.world().run(all_of(
            raw_segment(0.019, "reset", reply_ttl=57),
            failed(0.02, errno.ECONNREFUSED, segments=1)))
        self.assertEqual((world.answer(0).outcome, world.answer(0).reply_ttl),
                         ("refused", 57))

    def test_errno_that_nobody_explains_is_expired_without_an_address(self):
        world = self.world(wait=1.0).run({1: failed(0.02,
                                                    errno.EHOSTUNREACH)})
        answer = world.answer(1)
        self.assertEqual((answer.outcome, answer.address),
                         ("time-exceeded", None))
        # Nor did it take longer for our waiting.
        self.assertLess(abs((answer.rtt or 0.02) - 0.02), 0.005)

    def test_errno_heard_as_its_hop_is_given_up_does_not_busy_the_processor(
            self):
        # FakePoller fails when the engine spins.
        world = self.world(wait=0.9, retries=0, banner_wait=3.0).run({
            0: accepted(), 1: failed(0.88, errno.EHOSTUNREACH)})
        self.assertTrue(world.state(1).settled)

    def test_errno_without_error_queue_and_raw_socket_is_a_hop(self):
        world = World(self, FakeTcp, sight="distance", last=2).run({
            "small": failed(0.02, errno.EHOSTUNREACH)})
        self.assertEqual((world.answer(2).outcome, world.answer(2).address),
                         ("time-exceeded", None))


class BannerTests(unittest.TestCase):

    def world(self, *banner, **plan):
        plan.setdefault("last", 1)
        return World(self, FakeTcp, **plan).run({
            0: accepted(0.02, *banner), "small": accepted()})

    def test_banner_is_read_from_the_real_connection(self):
        answer = self.world(b"220 mail\r\n").answer(0)
        self.assertEqual((answer.outcome, answer.data),
                         ("open", b"220 mail\r\n"))
        self.assertAlmostEqual(answer.rtt, 0.02)    # of the handshake

    def test_banner_that_never_comes_is_waited_for_as_long_as_asked(self):
        for seconds in (0, 0.25, 3.0):
            world = self.world(banner_wait=seconds)
            answer = world.answer(0)
            self.assertEqual((answer.outcome, answer.data), ("open", None))
            self.assertAlmostEqual(world.clock.now, 1000.02 + seconds,
                                   places=2)

    def test_banner_wait_above_the_wait_of_a_hop_is_granted(self):
        world = World(self, FakeTcp, last=1, wait=0.1, banner_wait=2.0).run({
            1: accepted(), 0: lambda world, ttl, sock: all_of(
                accepted(), lambda *_: world.at(
                    1.5, sock.inbox.append, b"slow"))(world, ttl, sock)})
        self.assertEqual(world.answer(0).data, b"slow")

    def test_banner_of_a_connection_that_is_closed_is_none(self):
        for end in (b"", errno.ECONNRESET):
            world = self.world(end)
            answer = world.answer(0)
            self.assertEqual((answer.outcome, answer.data), ("open", None))
            self.assertLess(world.clock.now, 1000.3)

    def test_banner_that_is_huge_is_bounded(self):
        self.assertEqual(len(self.world(b"u" * 5000).answer(0).data),
                         pt.DATA_LIMIT)

    def test_payload_is_sent_on_the_real_connection_only(self):
        world = self.world(b"reply", payload=b"HEAD", last=2)
        self.assertEqual(world.probes(0)[0].sent, [b"HEAD"])
        self.assertEqual([sock.sent for sock in
                          world.probes(1) + world.probes(2)], [[], []])

    def test_small_ttl_probe_that_connects_waits_for_no_banner(self):
        world = World(self, FakeTcp, last=1, banner_wait=5.0).run(
            {1: accepted()}, until=0.5)
        self.assertEqual(world.outcomes(1), ["open"])
        self.assertIsNotNone(world.probes(1)[0].closed_at)


class FactTests(unittest.TestCase):
    """What was heard stays as it was heard; what comes later is added."""

    def test_banner_is_added_and_the_answer_stays(self):
        for banner, data, flags, after in (
                ([b"220 mail"], b"220 mail", (), 0.01),
                ([b""], None, ("closed-at-once",), 0.01),
                ([], None, (), 0.5),
                ([errno.ECONNRESET], None, ("reset-at-once",), 0.01)):
            world = World(self, FakeTcp, last=1, banner_wait=0.5)
            world.run({0: accepted(0.02, *banner)}, until=0.015)
            probe, = world.state(0).answered
            heard = probe.answer
            self.assertEqual((heard.outcome, heard.data, probe.facts),
                             ("open", None, []))
            world.run()
            self.assertIs(probe.answer, heard)
            self.assertEqual([fact.kind for fact in probe.facts], ["banner"])
            whole = pt.complete(probe)
            self.assertEqual(whole, heard._replace(
                data=data, flags=flags, after=whole.after))
            self.assertAlmostEqual(whole.after, after, delta=0.02)

    def test_what_a_raw_socket_hears_is_added_and_the_answer_stays(self):
        for late, more in (
                (raw_error(0.03, tos=0x28, reply_ttl=63),
                 {"reply_ttl": 63}),
                (raw_error(0.03, FORGER, reply_ttl=99), {})):
            world = World(self, FakeTcp, raw=True, last=2, wait=1.0)
            world.run({1: all_of(expired(), late)}, until=0.015)
            probe, = world.state(1).answered
            heard = probe.answer
            world.run()
            self.assertIs(probe.answer, heard)
            self.assertIsNone(heard.reply_ttl)
            known = pt.complete(probe)
            self.assertEqual(known._replace(quoted=None), heard._replace(
                quoted=None, **more))
            self.assertEqual(known.quoted.tos, 0x28 if more else None)

    def test_path_frozen_before_an_answer_does_not_change_with_it(self):
        world = World(self, FakeTcp, last=2, wait=1.0)
        world.run({1: expired(), 2: expired(0.3), 0: accepted(0.4)},
                  until=0.015)
        show = pt.Show("host", False, 1, None)
        early = pt.freeze(world.series, show)
        copy = repr(early)
        late = pt.freeze(world.run().series, show)
        self.assertEqual(repr(early), copy)
        self.assertEqual([[hop.outcome for hop in path.hops + (path.full,)]
                          for path in (early, late)], [
            ["time-exceeded", "timeout", "timeout"],
            ["time-exceeded", "time-exceeded", "open"]])
        self.assertRaises(AttributeError, setattr, late, "end", 3)


class ClosingTests(unittest.TestCase):

    def test_engine_that_is_done_has_closed_every_probe(self):
        for kind in (FakeUdp, FakeTcp):
            world = World(self, kind, last=5).run({"small": expired()})
            self.assertEqual((world.open_sockets(), world.poller.writers),
                             ([], {}))

    def test_engine_closed_half_way_closes_probes_in_every_state(self):
        world = World(self, FakeTcp, raw=True, last=6, wait=5.0,
                      banner_wait=5.0)
        world.run({0: accepted(),               # held for its banner
                   1: expired(), 2: failed(0.02, errno.EHOSTUNREACH),
                   3: accepted(5.0),            # still connecting
                   4: errno.EPERM}, until=0.04)     # never sent
        self.assertTrue(world.series.full.held)
        self.assertNotEqual(world.open_sockets(), [])
        for _ in range(2):                      # twice does not fail
            world.engine.close()
            self.assertEqual(world.open_sockets(), [])

    def test_engine_closed_half_way_resets_what_may_be_half_open(self):
        world = World(self, FakeTcp, last=4).run(until=0.01)
        world.engine.close()
        for ttl in (1, 2, 3, 4):
            sock, = world.probes(ttl)
            self.assertIn(RESET, sock.log)
            self.assertGreaterEqual(sock.ttl, 64)

    def test_series_that_is_retired_is_closed_and_heard_no_more(self):
        world = World(self, FakeTcp, last=4, banner_wait=5.0)
        world.run({0: accepted(0.01), "small": expired(0.1)}, until=0.005)
        self.assertTrue(world.engine.timed)
        world.engine.retire(world.series)
        self.assertEqual((world.open_sockets(), world.poller.writers,
                          world.engine.timed, world.engine.done),
                         ([], {}, {}, True))
        world.engine.turn()
        self.assertEqual(world.outcomes(1, 2), ["timeout"] * 2)

    def test_probes_behind_the_destination_are_closed_at_once(self):
        world = World(self, FakeTcp, last=8, banner_wait=3.0).run({
            0: accepted(), 3: accepted(), 1: expired(), 2: expired()},
            until=0.05)
        self.assertTrue(world.series.full.held)
        for ttl in range(4, 9):
            sock, = world.probes(ttl)
            self.assertAlmostEqual(sock.closed_at, 1000.02)

    def test_interrupt_while_waiting_leaves_nothing_open_after_close(self):
        world = World(self, FakeTcp)
        world.engine.guard = Guard(0)
        self.assertRaises(KeyboardInterrupt, world.engine.turn)
        self.assertNotEqual(world.open_sockets(), [])
        world.engine.close()
        self.assertEqual(world.open_sockets(), [])


class SharingTests(unittest.TestCase):

    def test_socket_that_others_add_wakes_the_engine_once(self):
        world = World(self, last=1, wait=90.0, retries=0)
        world.run(until=0.01)
        sock = world.open(None)
        world.at(0.5, sock.inbox.append, b"x")
        for adds, passed in ((True, 0.5), (False, 1.0), (True, 0.0),
                             (False, 1.0)):
            if adds:
                world.poller.add(sock.number)
            start = world.clock.now
            world.engine.turn(1.0)
            self.assertAlmostEqual(world.clock.now - start, passed)
            self.assertNotIn(sock.number, world.poller.writers)
            self.assertEqual(sock.inbox, [b"x"])    # it is not read either


class Guard(object):
    """Raises what Ctrl-C does at the wait after so many."""

    def __init__(self, left):
        self.left = left

    def __call__(self, wait, seconds):
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        return wait(seconds)


class RunTests(unittest.TestCase):
    """Questions, in a world where several ports are open, or nothing is."""

    def start(self, question, ports=(PORT,), sight="addresses", **options):
        """Return a World and its Run, which has been asked a question."""
        options.setdefault("control", "udp")
        world = World(self, FakeTcp, sight=sight)
        world.engine.retire(world.series)
        options = pt.default_options(max_hops=5, **options)
        aims = [world.aim.other("tcp", port) for port in ports]
        run = pt.Run(world.engine, aims, options,
                     pt.Show("host", False, 1, None), world.open_method)
        run.ask(question(run))
        return world, run

    def finish(self, world, run, fates):
        """Turn to the end.  FakePoller fails when turn() spins."""
        world.fates = fates
        for _ in range(2000):
            if run.done:
                run.close()
                self.assertEqual(world.open_sockets(), [])
                return [(pt.judge(case).word, case.path.distance)
                        for case in run.cases([])]
            run.turn(1.0)
        raise AssertionError("the run does not come to an end")

    def trace(self, fates, ports=(PORT,), other=pt.trace_port, **options):
        return self.finish(*self.start(
            lambda run: pt.trace_all(run, other), ports, **options) +
            (fates,))

    def test_refusal_that_is_heard_late_is_checked_all_the_same(self):
        """Resets forged at hop 5, the first of them lost, and routers that
        only the control hears, late: the host is at hop 9."""
        refused = failed(0.03, errno.ECONNREFUSED, segments=1)
        closed = expired(0.05, DESTINATION, icmp=(3, 3))
        seen = {}

        def fate(world, ttl, sock):
            by_tcp = sock.method.name == "tcp"
            if by_tcp and 0 < ttl <= 5 or not by_tcp and (
                    ttl in (3, 6, 7, 8)):
                expired()(world, ttl, sock)
            elif by_tcp and (not ttl or world.clock.now > 1007):
                refused(world, ttl, sock)
            elif not by_tcp and ttl in (0, 9, 10, 11, 12):
                closed(world, ttl, sock)
            seen[by_tcp, ttl] = True

        world, run = self.start(
            lambda run: pt.trace_all(run, pt.trace_port), parallel=1,
            gap_limit=3, retries=0)
        run.lead.series.look(1, 12)
        run.options.max_hops = 12
        self.assertEqual(self.finish(world, run, fate), [("reset", None)])
        self.assertIn((False, 9), seen)

    def test_check_whose_ttl_an_errno_takes_away_is_over(self):
        """Errnos are all there is, and the host's firewall answers UDP with
        one that may also be a router's: nothing confirms the refusal."""
        def fate(world, ttl, sock):
            refused = ttl == 0 or ttl >= 3
            if sock.method.name == "tcp":
                failed(0.02, errno.ECONNREFUSED if refused else
                       errno.EHOSTUNREACH, segments=int(refused))(
                           world, ttl, sock)
            else:
                world.at(soon if ttl == 0 else 0.05, sock.inbox.append,
                         errno.EHOSTUNREACH)

        for soon in 0.02, 0.08:
            world, run = self.start(
                lambda run: pt.trace_all(run, pt.trace_port),
                sight="nothing")
            self.assertEqual(self.finish(world, run, fate),
                             [("refused", 3)])

    def test_refusals_at_two_distances_are_both_the_hosts(self):
        """No ping, and one port-unreachable a second, on ways of unequal
        length: the proof for one port is none against the other."""
        last = [999.4]

        def fate(world, ttl, sock):
            port = sock.method.target.port
            length = 6 if port == 21 else 5
            if 0 < ttl < length and (
                    sock.method.name == "tcp" or ttl < 5):
                expired()(world, ttl, sock)
            elif sock.method.name == "tcp":
                failed(0.4 if port == 21 else 0.03, errno.ECONNREFUSED,
                       segments=1)(world, ttl, sock)
            elif world.clock.now - last[0] >= 1:
                last[0] = world.clock.now
                expired(0.03, DESTINATION, icmp=(3, 3))(world, ttl, sock)

        world, run = self.start(
            lambda run: pt.trace_all(run, pt.trace_port), (20, 21),
            control="auto")
        run.lead.series.look(1, 12)
        run.options.max_hops = 12
        self.assertEqual([word for word, _ in self.finish(
            world, run, fate)], ["refused", "refused"])

    def test_run_comes_to_its_end_whatever_happens(self):
        by_port = {1: expired(), 2: expired(), 3: accepted(), 4: accepted(),
                   5: accepted(), 0: accepted()}
        refusing = failed(0.03, errno.ECONNREFUSED, segments=1)
        ends = {"open": by_port, "dropped": {1: expired(), 2: expired()},
                "closed": {1: expired(), "small": refusing, 0: refusing},
                "silent": {},
                "error": lambda world, ttl, sock: errno.ENETUNREACH}
        words = {"open": "open", "dropped": "dropped", "closed": "refused",
                 "silent": "dropped", "error": "error"}
        for name in sorted(ends):
            for ports in ((PORT,), tuple(range(20, 25))):
                for control in ("none", "udp"):
                    found = self.trace(ends[name], ports, control=control)
                    self.assertEqual(len(found), len(ports))
                    if control == "none":
                        self.assertEqual([word for word, _ in found],
                                         [words[name]] * len(ports), name)
                    if name == "open":
                        self.assertEqual(found, [("open", 3)] * len(ports))

    def test_ports_behind_one_that_is_reset_on_the_way_are_open(self):
        def fate(world, ttl, sock):
            name, port = sock.method.name, sock.method.target.port
            if ttl > 2 and name == "tcp" and port == 20 or not (
                    ttl or port != 20):
                failed(0.03, errno.ECONNREFUSED, segments=1)(world, ttl, sock)
            elif 0 < ttl < 5:
                expired()(world, ttl, sock)
            elif name == "tcp":
                accepted(0.05)(world, ttl, sock)
            else:
                expired(0.05, DESTINATION, icmp=(3, 3))(world, ttl, sock)
        for ports in ((20,), (20, 21, 22), (21, 20, 22)):
            self.assertEqual(self.trace(fate, ports, control="auto"), [
                ("reset", None) if port == 20 else ("open", 5)
                for port in ports])

    def test_more_ports_than_go_at_once_are_all_traced(self):
        count = pt.Run.IN_FLIGHT * 2 + 3
        found = self.trace({1: expired(), "small": accepted(),
                            0: accepted()}, tuple(range(1, count + 1)),
                           banner_wait=0)
        self.assertEqual(found, [("open", 2)] * count)

    def test_questions_that_wait_for_each_other_are_asked_in_one_turn(self):
        order = []

        def question(run):
            inner = run.ask(ask_twice())
            yield lambda: inner.done
            order.append("outer")

        def ask_twice():
            order.append("begun")           # at once
            yield lambda: True
            order.append("inner")
        world, run = self.start(question)
        self.assertEqual(order, ["begun"])
        run.turn(0.01)
        self.assertEqual((order, run.done), (["begun", "inner", "outer"],
                                             True))
        self.finish(world, run, {})

    def test_question_that_is_not_ready_lets_the_time_pass(self):
        def question(run):
            until = run.clock() + 0.5
            yield lambda: run.clock() >= until
        world, run = self.start(question)
        turns = 0
        while not run.done:
            run.turn(0.1)
            turns += 1
        self.assertAlmostEqual(world.clock.now, 1000.5, places=1)
        self.assertLess(turns, 40)
        self.finish(world, run, {})

    def test_what_a_run_keeps_is_closed_with_it_if_it_was_not_dropped(self):
        class Thing(object):
            closed = 0

            def close(self):
                self.closed += 1
        world, run = self.start(lambda run: iter(()))
        dropped, kept = run.keep(Thing()), run.keep(Thing())
        run.drop(dropped)
        self.assertEqual((dropped.closed, kept.closed), (1, 0))
        self.finish(world, run, {})
        self.assertEqual((dropped.closed, kept.closed), (1, 1))

    def test_interrupt_at_any_turn_leaves_nothing_open(self):
        fates = {1: expired(), 2: expired(), "small": accepted(),
                 0: accepted()}
        for left in range(200):
            world, run = self.start(
                lambda run: pt.trace_all(run, pt.trace_port), (80, 81, 82))
            world.engine.guard = Guard(left)
            try:
                found = self.finish(world, run, fates)
            except KeyboardInterrupt:
                run.close()
                self.assertEqual(world.open_sockets(), [])
                cases = run.cases([])
                self.assertEqual([case.path.aim.port for case in cases],
                                 [80, 81, 82])
                self.assertFalse(cases[0].path.complete)
            else:
                self.assertEqual(found, [("open", 3)] * 3)
                self.assertGreater(left, 4)
                return
        raise AssertionError("the run does not come to an end")


# Answers at each port what is given in hex, to whatever comes.
SERVER = """
import select, socket, sys
answers = {}
for word in sys.argv[1:]:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    answers[sock] = bytes(bytearray.fromhex(word))
listeners = list(answers)
print(" ".join("%s:%d" % (word, sock.getsockname()[1])
               for word in sys.argv[1:] for sock in listeners
               if answers[sock] == bytes(bytearray.fromhex(word))))
sys.stdout.flush()
while True:
    for sock in select.select(list(answers) + [sys.stdin], [], [])[0]:
        if sock is sys.stdin:
            for each in answers:
                each.close()
            sys.exit()
        if sock in listeners:
            peer, _ = sock.accept()
            answers[peer] = answers[sock]
            continue
        try:
            if sock.recv(65536):
                sock.send(answers[sock])
                continue
        except socket.error:
            pass
        del answers[sock]
        sock.close()
"""
ALERT, STALL, HTTP = "15030100020228", "1603031000", "485454502f312e3020"


@unittest.skipUnless(os.path.isdir("/proc/self/fd"),
                     "open files cannot be counted here")
class InterruptTests(unittest.TestCase):
    """For real, over loopback: Ctrl-C at every wait, one after the other."""

    @classmethod
    def setUpClass(cls):
        cls.server = subprocess.Popen(
            [sys.executable, "-c", SERVER, ALERT, STALL, HTTP],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = cls.server.stdout.readline().decode("ascii")
        cls.ports = dict(word.split(":") for word in line.split())
        os.urandom(1)               # Python 2.7 keeps a file open for it
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        cls.closed_port = sock.getsockname()[1]
        sock.close()

    @classmethod
    def tearDownClass(cls):
        cls.server.stdin.close()
        cls.server.wait()
        cls.server.stdout.close()

    def interrupt_at_each_wait(self, *ports, **options):
        """Return the results of the trace that came to its end."""
        options = dict(options, port=list(ports), destination="127.0.0.1",
                       no_dns=True, banner_wait=0.01, wait_time=0.06)
        for left in range(500):
            before = os.listdir("/proc/self/fd")
            tracer = pt.Traceroute(guard=Guard(left), **options)
            hops, interrupted = [], False
            try:
                hops.extend(tracer)
            except KeyboardInterrupt:
                interrupted = True
            self.assertEqual(len(os.listdir("/proc/self/fd")), len(before),
                             left)
            self.assertEqual(len(tracer.results), max(
                len(ports), tracer.options.flows))
            self.assertEqual(hops, tracer.result.hops[:len(hops)])
            for each in tracer.results:
                self.assertTrue(each.complete or interrupted)
                self.assertEqual(each.as_dict()["summary"], each.summary)
            if not interrupted:
                self.assertGreater(left, 2)
                return tracer.results
        raise AssertionError("the trace does not come to an end")

    def test_interrupt_of_several_ports_or_flows_leaves_nothing_open(self):
        http, closed = self.ports[HTTP], self.closed_port
        results = self.interrupt_at_each_wait(http, closed, self.ports[ALERT])
        self.assertEqual([each.verdict for each in results],
                         ["open", "refused", "open"])
        results = self.interrupt_at_each_wait(http, flows=3)
        self.assertEqual([each.verdict for each in results], ["open"] * 3)

    def test_interrupt_of_requests_and_mtu_leaves_nothing_open(self):
        result = self.interrupt_at_each_wait(
            self.ports[HTTP], http="x.example", mtu=True)[0]
        self.assertEqual((result.verdict, result.path_mtu is None),
                         ("open", not pt.ErrorQueue.available()))
        self.assertIn("http", [each["kind"] for each in result.findings])

    def test_interrupt_of_a_tls_handshake_leaves_nothing_open(self):
        for answer, words in ((ALERT, "is refused by a TLS alert: "),
                              (STALL, "starts a handshake that stalls: ")):
            result = self.interrupt_at_each_wait(self.ports[answer],
                                                 tls="x.example")[0]
            self.assertEqual(result.verdict, "unanswered")
            self.assertIn(words, result.summary)


class SourceTests(unittest.TestCase):

    def test_poller_alone_waits(self):
        """In all the source one select(), one poll(), and no other sleep."""
        with open(os.path.join(ROOT, "potraceroute.py"), "rb") as stream:
            tree = ast.parse(stream.read())
        found = []

        def visit(node, place):
            if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
                place = node.name
            if isinstance(node, ast.Attribute) and node.attr in (
                    "sleep", "select", "poll", "epoll", "kqueue"):
                owner = getattr(node.value, "id",
                                getattr(node.value, "attr", None))
                found.append((place, owner, node.attr))
            for child in ast.iter_child_nodes(node):
                visit(child, place)
        visit(tree, None)
        calls = [each for each in found if each[1] != "self"]
        self.assertEqual(sorted(calls), [
            ("__init__", "select", "poll"), ("wait", "poll", "poll"),
            ("wait", "select", "select"), ("wait", "time", "sleep")])


class FakeSelectModule(object):
    """Stands for the select module inside potraceroute."""

    POLLIN, POLLOUT = 1, 4
    error = select.error

    def __init__(self, result):
        self.result = result
        self.calls = []
        self.registered = {}

    def poll(self):
        outer = self

        class FakePoll(object):
            def register(self, number, events):
                outer.registered[number] = events

            def unregister(self, number):
                del outer.registered[number]

            def poll(self, milliseconds):
                outer.calls.append(milliseconds)
                if isinstance(outer.result, Exception):
                    raise outer.result
                return outer.result

        return FakePoll()

    def select(self, *sets):
        self.calls.append(sets)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class PollerTests(unittest.TestCase):

    def replace_select(self, result):
        fake = FakeSelectModule(result)
        self.addCleanup(setattr, pt, "select", pt.select)
        pt.select = fake
        return fake

    def test_poll_that_is_interrupted_reports_nothing(self):
        for error in (select.error(errno.EINTR, "interrupted"),
                      OSError(errno.EINTR, "interrupted")):
            self.replace_select(error)
            poller = pt.Poller()
            poller.add(5)
            self.assertEqual(poller.wait(1), [])

    def test_select_that_is_interrupted_reports_nothing(self):
        for error in (select.error(errno.EINTR, "interrupted"),
                      OSError(errno.EINTR, "interrupted")):
            self.replace_select(error)
            poller = pt.Poller(use_poll=False)
            poller.add(5)
            self.assertEqual(poller.wait(1), [])

    def test_poll_that_fails_otherwise_is_not_hidden(self):
        self.replace_select(OSError(errno.EBADF, "bad"))
        for use_poll in (True, False):
            poller = pt.Poller(use_poll=use_poll)
            poller.add(5)
            self.assertRaises(OSError, poller.wait, 1)

    def test_poll_asks_for_writing_of_connections_only(self):
        fake = self.replace_select([(5, 4), (6, 8)])
        poller = pt.Poller()
        poller.add(5, write=True)
        poller.add(6)
        self.assertEqual(fake.registered, {5: 5, 6: 1})
        self.assertEqual(poller.wait(0.25), [5, 6])
        poller.remove(5)
        poller.remove(5)
        self.assertEqual(fake.registered, {6: 1})

    def test_poll_never_waits_less_than_asked_nor_a_negative_time(self):
        fake = self.replace_select([])
        poller = pt.Poller()
        for seconds in (0.0001, 0.0015, 1, -5, 1e9):
            poller.wait(seconds)
        self.assertEqual(fake.calls[:4], [1, 2, 1000, 0])
        self.assertLessEqual(fake.calls[4], 2 ** 31 - 1)

    def test_select_hears_failed_connects_in_the_third_set(self):
        # Windows reports a refused connect nowhere else.
        fake = self.replace_select(([], [], [7]))
        poller = pt.Poller(use_poll=False)
        poller.add(7, write=True)
        poller.add(8)
        self.assertEqual(poller.wait(1), [7])
        reading, writing, failing, seconds = fake.calls[0]
        self.assertEqual((sorted(reading), writing, seconds),
                         ([7, 8], [7], 1))
        self.assertIn(7, failing)

    def test_select_reports_a_socket_in_several_sets_once(self):
        self.replace_select(([7], [7], [7]))
        poller = pt.Poller(use_poll=False)
        poller.add(7, write=True)
        self.assertEqual(poller.wait(1), [7])

    def test_select_without_sockets_sleeps(self):
        # Windows refuses three empty sets.
        fake = self.replace_select(([], [], []))
        clock = Clock()
        self.addCleanup(setattr, pt, "time", pt.time)
        pt.time = clock
        self.assertEqual(pt.Poller(use_poll=False).wait(0.5), [])
        self.assertEqual((clock.now, fake.calls), (1000.5, []))

    def test_both_back_ends_hear_a_real_pair_of_sockets(self):
        if not hasattr(socket, "socketpair"):
            self.skipTest("this system has no socketpair()")
        for use_poll in (True, False):
            ours, theirs = socket.socketpair()
            try:
                poller = pt.Poller(use_poll=use_poll)
                poller.add(ours.fileno())
                self.assertEqual(poller.wait(0), [])
                theirs.send(b"x")
                self.assertEqual(poller.wait(5), [ours.fileno()])
                poller.remove(ours.fileno())
                self.assertEqual(poller.wait(0), [])
                poller.add(ours.fileno(), write=True)
                ours.recv(1)
                self.assertEqual(poller.wait(5), [ours.fileno()])
            finally:
                ours.close()
                theirs.close()


class NamesTests(unittest.TestCase):

    def make(self, answers):
        """Return Names whose look-ups end when they are in `answers`."""
        self.clock = Clock()
        self.asked = []
        self.pending = {}

        class FakeBeside(object):
            def __init__(beside, lookup, address):
                self.asked.append(address)
                beside.result = self.pending[address] = [
                    answers[address]] if address in answers else []

        self.addCleanup(setattr, pt, "Beside", pt.Beside)
        pt.Beside = FakeBeside
        return pt.Names(lookup=None, clock=self.clock.monotonic)

    def test_name_that_is_found_is_known_and_asked_for_once(self):
        names = self.make({"10.0.0.1": "gw.example.net"})
        self.assertTrue(names.known("10.0.0.1"))
        self.assertTrue(names.known("10.0.0.1"))
        self.assertEqual(names.get("10.0.0.1"), "gw.example.net")
        self.assertEqual(self.asked, ["10.0.0.1"])

    def test_name_of_nobody_is_known_at_once(self):
        names = self.make({})
        self.assertTrue(names.known(None))
        self.assertIsNone(names.get(None))
        self.assertEqual(self.asked, [])

    def test_name_that_does_not_exist_is_none_at_once(self):
        names = self.make({"10.0.0.1": socket.herror(1, "unknown host")})
        self.assertTrue(names.known("10.0.0.1"))
        self.assertIsNone(names.get("10.0.0.1"))

    def test_name_that_does_not_come_is_waited_for_a_bounded_time(self):
        names = self.make({})
        self.assertFalse(names.known("10.0.0.1"))
        self.clock.now += names.LIMIT * 0.9
        self.assertFalse(names.known("10.0.0.1"))
        self.clock.now += names.LIMIT * 0.2
        self.assertTrue(names.known("10.0.0.1"))
        self.assertIsNone(names.get("10.0.0.1"))

    def test_resolver_that_never_answered_is_not_asked_again(self):
        names = self.make({})
        names.known("10.0.0.1")
        self.clock.now += names.LIMIT * 1.1
        names.known("10.0.0.1")
        for number in range(2, 30):
            self.assertTrue(names.known("10.0.0.%d" % number))
        self.assertEqual(self.asked, ["10.0.0.1"])

    def test_resolver_that_is_dead_holds_up_a_whole_trace_for_one_limit(
            self):
        names = self.make({})
        start = self.clock.now
        for number in range(1, 30):
            address = "10.0.0.%d" % number
            for _ in range(1000):
                if names.known(address):
                    break
                self.clock.now += 0.01
        self.assertLess(self.clock.now - start, names.LIMIT * 1.5)

    def test_resolver_that_once_answered_is_asked_on(self):
        names = self.make({"10.0.0.1": "gw", "10.0.0.3": "far"})
        names.known("10.0.0.1")
        names.known("10.0.0.2")
        self.clock.now += names.LIMIT * 1.1
        self.assertTrue(names.known("10.0.0.2"))
        self.assertTrue(names.known("10.0.0.3"))
        self.assertEqual(names.get("10.0.0.3"), "far")

    def test_name_that_comes_late_is_still_shown(self):
        names = self.make({})
        names.known("10.0.0.1")
        self.clock.now += names.LIMIT * 1.1
        names.known("10.0.0.1")
        self.pending["10.0.0.1"].append("late.example.net")
        self.assertEqual(names.get("10.0.0.1"), "late.example.net")

    def test_look_up_runs_beside_and_hands_back_what_it_raised(self):
        gate = threading.Event()

        def wait_and_add(one, two):
            gate.wait(5)
            return one + two

        slow = pt.Beside(wait_and_add, 1, 2)
        slow.wait(0.01)
        self.assertEqual(slow.result, [])
        gate.set()
        slow.wait(5)
        self.assertEqual(slow.result, [3])
        failed = pt.Beside(wait_and_add, 1, "2")
        failed.wait(5)
        self.assertIsInstance(failed.result[0], TypeError)


if __name__ == "__main__":
    unittest.main()
