"""Sending and hearing: Engine, TcpMethod, Poller and Names, all faked.

A World has its own clock, sockets, poller and network.  Nothing here opens
a socket but the tests of Poller, and nothing waits.  Not tested here: what
a real kernel does; that is for the tests with networks of their own.
"""

import errno
import os
import select
import socket
import struct
import sys
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import potraceroute as pt  # noqa: E402

DESTINATION = "198.51.100.7"
OWN = "192.0.2.99"
PORT = 443


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

    def __init__(self, world):
        FakeSocket.last += 1
        self.number = self.port = FakeSocket.last
        self.world = world
        self.ttl = 0
        self.log = []               # (option or call, value)
        self.queue = []             # Reply, in the error queue
        self.inbox = []             # octets
        self.so_error = 0
        self.connected = self.dead = False
        self.info = pt.TcpInfo(*[0] * 7)
        self.tsval = 5000
        self.closed_at = None
        self.sent = []
        self.datagram = None        # that was sent

    def tell(self, **info):
        """Change what TCP_INFO says."""
        self.info = self.info._replace(**info)

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
        return self.world.leave(self)

    def sendto(self, data, sockaddr):
        self.datagram = data
        error = self.world.leave(self)
        if error:
            raise socket.error(error, os.strerror(error))

    def send(self, data):
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
        self.sockets = [FakeSocket(world)]
        world.sockets[self.sockets[0].number] = self.sockets[0]

    def replies(self, sock):
        found, sock.queue = sock.queue, []
        return found

    def close(self):
        self.sockets[0].close()


class FakeTcp(pt.LinuxTcpMethod):
    world = None

    def open_socket(self, kind, protocol=0, port=None):
        return self.world.open()

    @staticmethod
    def read_info(sock):
        return sock.info


class FakeUdp(pt.UdpMethod):
    world = None

    def open_socket(self, kind, protocol=0, port=None):
        return self.world.open()


class World(object):
    """An engine with one run, and the network it is in.

    on_send(ttl, count, sock)  is called for the count-th probe of a ttl (0:
    the system's own) and schedules what comes of it with at(); the errno
    it returns is that of the send.
    """

    def __init__(self, case, kind=FakeUdp, raw=False, banner_wait=0.5,
                 payload=None, sight="addresses", **plan):
        self.clock = Clock()
        self.events = []            # (when, function)
        self.sockets = {}
        self.counts = {}
        self.sent = []              # (when, ttl, socket)
        self.delay = 0              # between an event and our hearing of it
        self.on_send = lambda ttl, count, sock: None
        for name, value in (("time", self.clock),
                            ("monotonic", self.clock.monotonic)):
            case.addCleanup(setattr, pt, name, getattr(pt, name))
            setattr(pt, name, value)
        values = dict.fromkeys(pt.Target._fields)
        values.update(family=pt.FAMILIES[4], address=DESTINATION, port=PORT,
                      sockaddr=(DESTINATION, PORT), tos=0, payload=payload,
                      own_address=OWN)
        self.target = pt.Target(**values)
        self.mechanism = FakeMechanism()
        self.mechanism.sight = sight
        self.raw = FakeRaw(self) if raw else None
        self.poller = FakePoller(self)
        self.method = kind(self.target, self.mechanism, self.raw)
        self.method.world = self
        plan.setdefault("last", 3)
        plan.setdefault("full_retries", 0)
        self.series = pt.Series(
            aim=pt.Aim(self.method.name, self.target, None),
            method=self.method, **plan)
        self.engine = pt.Engine(self.raw, banner_wait, poller=self.poller,
                                clock=self.clock.monotonic)
        self.engine.add(self.series)

    # What the kernel and the network do

    def open(self):
        sock = FakeSocket(self)
        self.sockets[sock.number] = sock
        return sock

    def leave(self, sock):
        count = self.counts[sock.ttl] = self.counts.get(sock.ttl, 0) + 1
        error = self.on_send(sock.ttl, count, sock) or 0
        if not error:
            self.sent.append((self.clock.now, sock.ttl, sock))
            return errno.EINPROGRESS if \
                isinstance(self.method, pt.TcpMethod) else 0
        return error

    def at(self, delay, action, *args):
        self.events.append((self.clock.now + delay, lambda: action(*args)))

    def quoted(self, sock, **more):
        """Return what is quoted of a probe, as its method sees it."""
        if self.method.name == "tcp":
            quoted = pt.NOTHING_QUOTED._replace(
                protocol=6, source_port=sock.port, dest_port=PORT,
                destination=DESTINATION)
        else:
            quoted = pt.NOTHING_QUOTED._replace(
                protocol=17, dest_port=PORT, destination=DESTINATION,
                payload=sock.datagram)
        return quoted._replace(**more)

    def icmp(self, sock, responder, icmp=(11, 0), received=None, raw=None,
             reply_ttl=None, **quoted):
        """Return the Reply of an ICMP error about a probe."""
        fields = self.quoted(sock, **quoted)
        if raw:
            fields = fields._replace(source_port=quoted.get(
                "source_port", sock.port))
        return pt.NO_REPLY._replace(
            kind="icmp", responder=responder, icmp_type=icmp[0],
            icmp_code=icmp[1], received=received, raw=raw,
            reply_ttl=reply_ttl, quoted=fields)

    def queue(self, delay, sock, responder, **more):
        """An ICMP error arrives in a socket's error queue."""
        def arrive():
            sock.queue.append(self.icmp(sock, responder, **more))
        self.at(delay, arrive)

    def accept(self, delay, sock, *banner):
        """The handshake is completed; octets or errnos may follow."""
        def arrive():
            sock.connected = True
            sock.tell(segs_in=1)
        self.at(delay, arrive)
        for number, data in enumerate(banner):
            self.at(delay + 0.01 * (number + 1), sock.inbox.append, data)

    def fail(self, delay, sock, error, segments=0):
        """The kernel gives the socket up."""
        def arrive():
            sock.so_error, sock.dead = error, True
            sock.tell(segs_in=segments)
        self.at(delay, arrive)

    # What is asked of it

    def run(self, until=30.0):
        """Turn until all is done, or for so many seconds; returns self."""
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

    def probes(self, ttl):
        return [sock for _, sent, sock in self.sent if sent == ttl]

    def open_sockets(self):
        return [sock for sock in self.sockets.values()
                if sock.closed_at is None]


def all_hops(world, delay=0.02):
    """Return an on_send for a path on which every router answers, and the
    destination does not."""
    def on_send(ttl, count, sock):
        if ttl:
            world.queue(delay, sock, router(ttl))
    return on_send


class MatchingTests(unittest.TestCase):

    def test_answer_that_is_late_counts_from_its_own_probe(self):
        world = World(self, wait=2.0)

        def on_send(ttl, count, sock):
            if ttl == 1 and count == 1:     # a retry leaves meanwhile
                world.queue(0.9, sock, router(1))
        world.on_send = on_send
        world.run()
        self.assertEqual(len(world.probes(1)), 2)
        self.assertEqual(world.answer(1).address, router(1))
        self.assertAlmostEqual(world.answer(1).rtt, 0.9)

    def test_answer_after_the_hop_was_given_up_changes_nothing(self):
        world = World(self, wait=1.0, last=2)

        def on_send(ttl, count, sock):
            if ttl == 1:
                world.queue(1.5, sock, router(1))
        world.on_send = on_send
        world.run()
        self.assertEqual(world.state(1).outcome, "timeout")
        self.assertEqual(world.state(1).answers, [])
        world.clock.now += 5
        world.engine.turn()
        self.assertEqual(world.state(1).answers, [])

    def test_answer_that_comes_twice_is_taken_once(self):
        world = World(self, queries=2, last=1)

        def on_send(ttl, count, sock):
            if ttl == 1 and count == 1:
                for _ in range(2):
                    world.queue(0.02, sock, router(1))
            elif ttl == 1:
                world.queue(0.05, sock, router(9))
        world.on_send = on_send
        world.run()
        self.assertEqual([answer.address for answer in
                          world.state(1).answers], [router(1), router(9)])

    def test_reply_that_is_foreign_is_ignored(self):
        for wrong in ({"dest_port": 9}, {"payload": b"someone else's"},
                      {"protocol": 6}):
            world = World(self, last=1)
            world.on_send = lambda ttl, count, sock: ttl and world.queue(
                0.02, sock, "203.0.113.66", **wrong)
            world.run()
            self.assertIsNone(world.answer(1), wrong)

    def test_reply_that_is_foreign_does_not_hide_the_true_one(self):
        world = World(self, last=1)

        def on_send(ttl, count, sock):
            world.queue(0.01, sock, "203.0.113.66", dest_port=9)
            world.queue(0.03, sock, router(1))
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(1).address, router(1))

    def test_quote_of_another_destination_is_believed_last_and_noted(self):
        world = World(self, last=1, wait=1.0)
        world.on_send = lambda ttl, count, sock: ttl and world.queue(
            0.01, sock, router(1), destination="10.9.9.9")
        world.run()
        self.assertEqual(world.answer(1).address, router(1))
        self.assertIn("10.9.9.9", " ".join(pt.format_notes(
            world.answer(1))))

    def test_quote_of_another_destination_yields_to_the_true_one(self):
        world = World(self, last=1)

        def on_send(ttl, count, sock):
            if ttl:
                world.queue(0.01, sock, "203.0.113.66",
                            destination="10.9.9.9")
                world.queue(0.3, sock, router(1))
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(1).address, router(1))

    def test_each_udp_probe_has_a_payload_of_its_own(self):
        world = World(self, last=9)
        world.run(until=0.1)
        payloads = [sock.datagram for _, _, sock in world.sent]
        self.assertEqual(len(set(payloads)), len(payloads))
        self.assertEqual(len(set(map(len, payloads))), 1)

    def test_answer_to_the_probe_before_on_the_same_port_is_foreign(self):
        # One flow: the next hop's socket has the port of the last one's.
        world = World(self, last=2, wait=1.0, retries=0, parallel=1,
                      one_flow=True)

        def on_send(ttl, count, sock):
            if ttl == 2:
                late = world.icmp(world.probes(1)[0], router(1))
                world.at(0.01, sock.queue.append, late)
                world.queue(0.02, sock, router(2))
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(2).address, router(2))

    def test_every_hop_gets_the_answer_to_its_own_probe(self):
        world = World(self, last=9)
        world.on_send = lambda ttl, count, sock: ttl and world.queue(
            0.1 - ttl * 0.01, sock, router(ttl))     # in reverse order
        world.run()
        self.assertEqual([world.answer(ttl).address
                          for ttl in range(1, 10)],
                         [router(ttl) for ttl in range(1, 10)])

    def test_udp_data_from_the_destination_reaches_it(self):
        world = World(self, last=1)
        world.on_send = lambda ttl, count, sock: world.at(
            0.02, sock.inbox.append, b"hello")
        world.run()
        self.assertEqual((world.answer(0).outcome, world.answer(0).data),
                         ("data", b"hello"))


class ClockTests(unittest.TestCase):

    def rtt(self, world, step=0, stamp=None, heard_after=0.0):
        """Return the rtt of an answer 20 ms away, when the real clock is
        set by `step` meanwhile, stamped by the kernel `stamp` seconds after
        it was sent, and heard some time after."""
        def on_send(ttl, count, sock):
            if ttl != 1:
                return

            def arrive():
                world.clock.offset += step
                received = None if stamp is None else \
                    sent_at + stamp + step
                sock.queue.append(world.icmp(sock, router(1),
                                             received=received))
            sent_at = world.clock.time()
            world.at(0.02, arrive)
        world.on_send = on_send
        world.delay = heard_after
        world.run(1.0)
        return world.answer(1).rtt

    def test_rtt_without_a_kernel_stamp_is_the_time_heard(self):
        self.assertAlmostEqual(self.rtt(World(self, last=1)), 0.02)

    def test_rtt_by_the_kernels_stamp_leaves_out_our_own_delay(self):
        world = World(self, last=1)
        self.assertAlmostEqual(
            self.rtt(world, stamp=0.02, heard_after=0.015), 0.02, places=5)

    def test_rtt_by_a_stamp_after_the_time_heard_is_the_time_heard(self):
        self.assertAlmostEqual(self.rtt(World(self, last=1), stamp=0.5),
                               0.02)

    def test_rtt_by_a_stamp_before_the_probe_is_the_time_heard(self):
        self.assertAlmostEqual(self.rtt(World(self, last=1), stamp=-0.001),
                               0.02)

    def test_rtt_when_the_clock_is_set_back_is_the_monotonic_one(self):
        for step in (-3600, -0.015, 0.5, 86400):
            self.assertAlmostEqual(
                self.rtt(World(self, last=1), step=step, stamp=0.02,
                         heard_after=0.005), 0.025)

    def test_rtt_of_an_answer_with_a_stamp_when_nothing_was_set_is_exact(
            self):
        world = World(self, last=1)
        self.assertAlmostEqual(
            self.rtt(world, stamp=0.0195, heard_after=0.0), 0.0195,
            places=5)


class SendingTests(unittest.TestCase):

    def test_send_without_buffers_is_held_and_tried_again(self):
        for error in (errno.ENOBUFS, errno.EMFILE, errno.ENFILE,
                      errno.ENOMEM):
            world = World(self)
            until = world.clock.now + 0.3
            hops = all_hops(world)
            world.on_send = lambda ttl, count, sock: (
                error if world.clock.now < until else hops(ttl, count, sock))
            world.run()
            self.assertEqual([world.state(ttl).outcome
                              for ttl in (1, 2, 3)], ["time-exceeded"] * 3)

    def test_send_without_buffers_for_a_second_loses_no_hop(self):
        world = World(self)
        until = world.clock.now + 1.0
        hops = all_hops(world)
        world.on_send = lambda ttl, count, sock: (
            errno.ENOBUFS if world.clock.now < until
            else hops(ttl, count, sock))
        world.run()
        self.assertEqual([world.state(ttl).outcome for ttl in (1, 2, 3)],
                         ["time-exceeded"] * 3)

    def test_send_without_buffers_for_good_fails_in_bounded_time(self):
        world = World(self)
        world.on_send = lambda ttl, count, sock: errno.ENOBUFS
        start = world.clock.now
        world.run()
        self.assertLess(world.clock.now - start, 10)
        self.assertEqual([world.state(ttl).outcome for ttl in range(4)],
                         ["send-failed"] * 4)
        self.assertEqual(world.answer(1).error, os.strerror(errno.ENOBUFS))
        self.assertEqual(world.open_sockets(), [])

    def test_send_without_buffers_does_not_busy_the_processor(self):
        world = World(self)
        world.on_send = lambda ttl, count, sock: errno.ENOBUFS
        turns = []
        turn = world.engine.turn
        world.engine.turn = lambda: turns.append(1) or turn()
        world.run()
        self.assertLess(len(turns), 500)

    def test_socket_that_can_not_be_opened_is_held_and_tried_again(self):
        world = World(self, last=1)
        world.on_send = all_hops(world)
        until = world.clock.now + 0.2
        opened = world.open

        def refuse():
            if world.clock.now < until:
                raise socket.error(errno.EMFILE, "too many open files")
            return opened()
        world.open = refuse
        world.run()
        self.assertEqual(world.state(1).outcome, "time-exceeded")

    def test_send_that_is_not_permitted_fails_its_hop_only(self):
        for kind in (FakeUdp, FakeTcp):
            world = World(self, kind)
            hops = all_hops(world)
            world.on_send = lambda ttl, count, sock: (
                errno.EPERM if ttl == 2 else hops(ttl, count, sock))
            world.run()
            self.assertEqual(
                [world.state(ttl).outcome for ttl in (1, 2, 3)],
                ["time-exceeded", "send-failed", "time-exceeded"])
            self.assertEqual(world.answer(2).error, os.strerror(errno.EPERM))
            self.assertEqual(world.open_sockets(), [])

    def test_send_without_a_route_is_not_tried_again(self):
        world = World(self, FakeTcp)
        world.on_send = lambda ttl, count, sock: errno.ENETUNREACH
        world.run()
        self.assertEqual(world.counts, {0: 1, 1: 1, 2: 1, 3: 1})

    def test_probes_with_a_small_ttl_leave_with_it(self):
        world = World(self, FakeTcp)
        world.on_send = all_hops(world)
        world.run()
        self.assertEqual(sorted(set(ttl for _, ttl, _ in world.sent)),
                         [0, 1, 2, 3])

    def test_one_flow_closes_a_probe_before_the_next_of_its_hop(self):
        world = World(self, FakeUdp, parallel=1, one_flow=True, last=1)
        world.run()
        times = [when for when, ttl, _ in world.sent if ttl == 1]
        closed = [sock.closed_at for sock in world.probes(1)]
        self.assertGreater(len(times), 1)
        for sent, closed_at in zip(times[1:], closed):
            self.assertLessEqual(closed_at, sent)


class TcpTests(unittest.TestCase):
    """TcpMethod on sockets that behave as Linux's."""

    def test_small_ttl_probe_can_not_complete_a_handshake(self):
        world = World(self, FakeTcp, last=2)
        world.on_send = all_hops(world)
        world.run()
        log = world.probes(2)[0].log
        names = [name for name, _ in log]
        at = names.index("connect")
        self.assertIn(("ttl", 2), log[:at])
        self.assertIn((socket.SO_LINGER, struct.pack("ii", 1, 0)), log[:at])
        self.assertIn((pt.TCP_DEFER_ACCEPT, 1), log[:at])
        self.assertEqual(log[at + 1], ("ttl", 1))

    def test_small_ttl_probe_is_reset_with_a_ttl_that_reaches(self):
        world = World(self, FakeTcp, last=2)
        world.on_send = lambda ttl, count, sock: ttl and world.accept(
            0.02, sock)
        world.run()
        self.assertEqual(world.answer(1).outcome, "open")
        for sock in world.probes(1) + world.probes(2):
            self.assertGreaterEqual(sock.ttl, 64)
            self.assertEqual(sock.log[-1], ("close", sock.ttl))

    def test_real_connection_keeps_the_systems_ttl(self):
        world = World(self, FakeTcp, last=1)
        world.on_send = lambda ttl, count, sock: world.accept(0.02, sock)
        world.run()
        self.assertEqual(len(world.probes(0)), 1)
        self.assertNotIn("ttl", [name for name, _ in world.probes(0)[0].log])

    def receive(self, **state):
        """Return what TcpMethod.receive says of a socket, and the probe."""
        world = World(self, FakeTcp)
        sock = world.open()
        probe = pt.Probe(state.pop("ttl", 3), state.pop("real", False))
        probe.source_port = sock.port
        if state.pop("icmp", False):
            sock.queue.append(world.icmp(sock, router(3)))
        sock.tell(**state.pop("info", {}))
        for name, value in state.items():
            setattr(sock, name, value)
        return world.method.receive(sock, probe), probe

    def test_so_error_0_without_a_peer_is_not_connected(self):
        replies, probe = self.receive(so_error=0, connected=False)
        self.assertEqual(replies, [])
        self.assertIsNone(probe.answer)

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
            sock, probe = world.open(), pt.Probe(0, True)
            if known:           # it has told who answers before
                sock.queue.append(world.icmp(sock, router(3)))
                world.method.receive(sock, probe)
            sock.so_error = errno.EHOSTUNREACH
            world.method.receive(sock, probe)
            self.assertEqual((world.method.kernel_sight, world.method.sight),
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
        (reply,), _ = self.receive(so_error=errno.ECONNREFUSED)
        world = World(self, FakeTcp)
        sock = world.open()
        sock.so_error, sock.info = errno.ECONNREFUSED, None
        (reply,) = world.method.receive(sock, pt.Probe(0, True))
        self.assertEqual((reply.kind, reply.responder), ("failed", None))

    def test_repeated_syn_with_ttl_1_makes_the_probe_worthless(self):
        for state in ({"icmp": True}, {"connected": True},
                      {"so_error": errno.EHOSTUNREACH}):
            replies, probe = self.receive(info={"total_retrans": 1}, **state)
            self.assertEqual((replies, probe.gone), ([], True))

    def test_timed_out_connection_is_nobodys_answer(self):
        replies, probe = self.receive(so_error=errno.ETIMEDOUT)
        self.assertEqual((replies, probe.gone), ([], True))

    def test_dead_socket_without_an_answer_does_not_busy_the_processor(
            self):
        # FakePoller fails when the engine spins.
        world = World(self, FakeTcp, last=1, wait=1.0)

        def on_send(ttl, count, sock):
            world.at(0.02, setattr, sock, "dead", True)
        world.on_send = on_send
        world.run()
        self.assertEqual(world.state(1).outcome, "timeout")

    def rtt(self, quoted_tsval, elapsed=1.072, retransmits=1,
            probe_tsval=5000):
        world = World(self, FakeTcp)
        probe = pt.Probe(3, True)
        probe.retransmits, probe.tsval = retransmits, probe_tsval
        reply = world.icmp(world.open(), router(3), tsval=quoted_tsval)
        return world.method.rtt(probe, reply, elapsed)

    def test_rtt_of_a_repeated_syn_is_told_by_its_tsval(self):
        self.assertAlmostEqual(self.rtt(6022), 0.050)
        self.assertAlmostEqual(self.rtt(5000, 1.2), 1.2)

    def test_rtt_of_a_repeated_syn_with_a_wrapped_tsval_is_right(self):
        self.assertAlmostEqual(self.rtt(22, probe_tsval=0xfffffc18), 0.050)

    def test_rtt_of_a_repeated_syn_that_is_not_quoted_whole_is_none(self):
        self.assertIsNone(self.rtt(None))
        self.assertIsNone(self.rtt(6022, probe_tsval=None))

    def test_rtt_of_a_repeated_syn_that_can_not_be_is_none(self):
        self.assertIsNone(self.rtt(9000))

    def test_rtt_of_a_syn_sent_once_is_the_time_it_took(self):
        self.assertEqual(self.rtt(None, 0.5, 0), 0.5)
        self.assertEqual(self.rtt(None, 0.5, None), 0.5)

    def test_rtt_of_a_handshake_is_the_kernels(self):
        world = World(self, FakeTcp, last=1)

        def on_send(ttl, count, sock):
            sock.tell(rtt=19500)
            world.accept(0.02, sock)
        world.on_send = on_send
        world.delay = 0.01
        world.run()
        self.assertAlmostEqual(world.answer(0).rtt, 0.0195)

    def test_probe_on_a_fast_path_is_closed_before_its_syn_repeats(self):
        world = World(self, FakeTcp, last=6, wait=2.0)
        world.on_send = lambda ttl, count, sock: \
            0 < ttl < 3 and world.queue(0.02, sock, router(ttl))
        world.run()
        self.assertEqual(world.state(5).outcome, "timeout")
        for ttl in (3, 4, 5, 6):
            for sent, number, sock in world.sent:
                if number == ttl:
                    self.assertLess(sock.closed_at - sent, 1.0)

    def test_probe_on_a_slow_path_is_renewed_before_its_syn_repeats(self):
        world = World(self, FakeTcp, last=3, wait=4.0, retries=0)
        seen = []

        def on_send(ttl, count, sock):
            if ttl == 1:
                world.queue(0.8, sock, router(1))
            elif ttl:
                world.at(1.0, lambda: seen.append((ttl, sock.ttl)))
        world.on_send = on_send
        world.run()
        self.assertEqual(sorted(seen), [(2, 2), (3, 3)])
        self.assertTrue(all(probe.renewed
                            for probe in world.state(2).probes))

    def test_probe_that_was_renewed_is_still_heard(self):
        world = World(self, FakeTcp, last=1, wait=4.0, retries=0)

        def on_send(ttl, count, sock):
            def arrive():
                sock.tell(total_retrans=1)
                sock.queue.append(world.icmp(sock, router(1), tsval=6022))
            if ttl == 1:
                world.at(1.372, arrive)
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(1).address, router(1))
        self.assertAlmostEqual(world.answer(1).rtt, 0.350)

    def test_real_connection_outlives_the_repeat_of_its_syn(self):
        world = World(self, FakeTcp, last=2, wait=3.0)

        def on_send(ttl, count, sock):
            if ttl:
                world.queue(0.02, sock, router(ttl))
            else:
                world.accept(1.4, sock)
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(0).outcome, "open")
        self.assertEqual(len(world.probes(0)), 1)

    def test_router_that_rejects_is_not_the_destination(self):
        world = World(self, FakeTcp, last=3)

        def on_send(ttl, count, sock):
            if ttl == 1:
                world.queue(0.01, sock, router(1))
            else:
                world.queue(0.02, sock, router(2), icmp=(3, 3))
        world.on_send = on_send
        world.run()
        self.assertEqual((world.answer(0).outcome, world.answer(2).outcome),
                         ("prohibited", "prohibited"))


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

    def test_short_info_is_none(self):
        for size in (0, 8, 103):
            self.assertIsNone(self.info(size))

    def test_info_of_the_oldest_kernels_is_enough(self):
        self.assertIsNone(self.info(104).segs_in)
        self.assertEqual(self.info(143).total_retrans, 25)
        self.assertEqual(self.info(144).segs_in, 35)

    def test_info_of_nothing_but_zeros_is_none(self):
        """As of emulators that do not know: even a fresh socket has a
        segment size."""
        self.assertIsNone(pt.decode_tcp_info(b"\0" * 256))
        sock = pt.socket.socket()
        self.addCleanup(sock.close)
        self.assertTrue(pt.LinuxTcpMethod.read_info(sock))


class RawSocketTests(unittest.TestCase):
    """A raw socket adds to what the kernel said, and rarely replaces it."""

    def raw_reply(self, world, delay, reply):
        world.at(delay, lambda: world.raw.sockets[0].queue.append(reply))

    def segment(self, sock, kind, **more):
        quoted = pt.NOTHING_QUOTED._replace(
            protocol=6, source_port=sock.port, dest_port=PORT)
        return pt.NO_REPLY._replace(kind=kind, responder=DESTINATION,
                                    raw=True, quoted=quoted, **more)

    def test_raw_reply_alone_is_not_believed_where_the_queue_works(self):
        world = World(self, FakeTcp, raw=True, last=2)

        def on_send(ttl, count, sock):
            if ttl == 1:
                world.queue(0.02, sock, router(1))
            elif ttl == 2:      # a forgery: the kernel did not pass it on
                self.raw_reply(world, 0.01, world.icmp(
                    sock, "203.0.113.66", raw=True))
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(1).address, router(1))
        self.assertIsNone(world.answer(2))

    def test_raw_error_behind_a_raw_syn_ack_is_about_a_later_segment(self):
        world = World(self, FakeTcp, raw=True, last=1, sight="distance")

        def on_send(ttl, count, sock):
            if ttl == 1:        # its router quotes 8 octets: no flags
                self.raw_reply(world, 0.01, self.segment(sock, "accepted"))
                self.raw_reply(world, 0.02, world.icmp(
                    sock, router(1), raw=True))
            world.accept(0.03, sock)
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(1).outcome, "open")

    def test_raw_reply_adds_the_quoted_header_and_the_reply_ttl(self):
        for first in (0.01, 0.03):          # before the queue's, and after
            world = World(self, FakeTcp, raw=True, last=1)

            def on_send(ttl, count, sock):
                world.queue(0.02, sock, router(1))
                self.raw_reply(world, first, world.icmp(
                    sock, router(1), raw=True, ttl=1, tos=0x28,
                    reply_ttl=63))
                if ttl == 0:
                    world.accept(0.1, sock)
            world.on_send = lambda ttl, count, sock: \
                on_send(ttl, count, sock) if ttl else None
            world.run()
            answer = world.answer(1)
            self.assertEqual((answer.address, answer.reply_ttl,
                              answer.quoted.tos),
                             (router(1), 63, 0x28))
            self.assertAlmostEqual(answer.rtt, 0.02)

    def test_raw_reply_of_another_router_adds_nothing(self):
        world = World(self, FakeTcp, raw=True, last=1)

        def on_send(ttl, count, sock):
            if ttl:
                self.raw_reply(world, 0.01, world.icmp(
                    sock, "203.0.113.66", raw=True, reply_ttl=99))
                world.queue(0.02, sock, router(1))
        world.on_send = on_send
        world.run()
        self.assertEqual((world.answer(1).address, world.answer(1).reply_ttl),
                         (router(1), None))

    def test_raw_reply_is_believed_where_the_queue_does_not_work(self):
        # A kernel before 5.8: EHOSTUNREACH and an empty queue.
        for first in (0.01, 0.03):
            world = World(self, FakeTcp, raw=True, last=1)

            def on_send(ttl, count, sock):
                if ttl:
                    world.fail(0.02, sock, errno.EHOSTUNREACH)
                    self.raw_reply(world, first, world.icmp(
                        sock, router(1), raw=True))
            world.on_send = on_send
            world.run()
            self.assertEqual((world.answer(1).outcome,
                              world.answer(1).address),
                             ("time-exceeded", router(1)))

    def test_raw_reply_is_believed_if_a_nat_changed_the_quote(self):
        world = World(self, FakeTcp, raw=True, last=2)

        def on_send(ttl, count, sock):
            if ttl == 1:
                world.queue(0.02, sock, router(1))
            elif ttl == 2:
                self.raw_reply(world, 0.02, world.icmp(
                    sock, router(2), raw=True, destination="10.9.9.9"))
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(2).address, router(2))
        self.assertIn("10.9.9.9", " ".join(pt.format_notes(
            world.answer(2))))

    def test_raw_replies_that_contradict_each_other_are_not_believed(self):
        world = World(self, FakeTcp, raw=True, last=1, retries=0)

        def on_send(ttl, count, sock):
            for responder in (router(1), "203.0.113.66"):
                self.raw_reply(world, 0.02, world.icmp(
                    sock, responder, raw=True, destination="10.9.9.9"))
        world.on_send = lambda ttl, count, sock: \
            on_send(ttl, count, sock) if ttl else None
        world.run()
        self.assertIsNone(world.answer(1))

    def test_raw_segment_alone_neither_opens_nor_refuses(self):
        for kind in ("accepted", "reset"):
            world = World(self, FakeTcp, raw=True, last=1, wait=1.0)
            world.on_send = lambda ttl, count, sock: self.raw_reply(
                world, 0.01, self.segment(sock, kind))
            world.run()
            self.assertIsNone(world.answer(0))
            self.assertIsNone(world.answer(1))

    def test_raw_segment_adds_the_reply_ttl(self):
        world = World(self, FakeTcp, raw=True, last=1)

        def on_send(ttl, count, sock):
            self.raw_reply(world, 0.019, self.segment(sock, "reset",
                                                      reply_ttl=57))
            world.fail(0.02, sock, errno.ECONNREFUSED, segments=1)
        world.on_send = on_send
        world.run()
        self.assertEqual((world.answer(0).outcome, world.answer(0).reply_ttl),
                         ("refused", 57))

    def test_errno_that_nobody_explains_is_expired_without_an_address(self):
        world = World(self, FakeTcp, raw=True, last=1, wait=1.0)
        world.on_send = lambda ttl, count, sock: ttl and world.fail(
            0.02, sock, errno.EHOSTUNREACH)
        world.run()
        self.assertEqual((world.answer(1).outcome, world.answer(1).address),
                         ("time-exceeded", None))

    def test_errno_that_nobody_explains_took_no_longer_for_our_waiting(self):
        world = World(self, FakeTcp, raw=True, last=1, wait=1.0)
        world.on_send = lambda ttl, count, sock: ttl and world.fail(
            0.02, sock, errno.EHOSTUNREACH)
        world.run()
        self.assertTrue(world.answer(1).rtt is None or
                        abs(world.answer(1).rtt - 0.02) < 0.005,
                        world.answer(1).rtt)

    def test_errno_heard_as_its_hop_is_given_up_does_not_busy_the_processor(
            self):
        # FakePoller fails when the engine spins.
        world = World(self, FakeTcp, raw=True, last=1, wait=0.9, retries=0,
                      banner_wait=3.0)

        def on_send(ttl, count, sock):
            if ttl:
                world.fail(0.88, sock, errno.EHOSTUNREACH)
            else:
                world.accept(0.02, sock)
        world.on_send = on_send
        world.run()
        self.assertTrue(world.state(1).settled)

    def test_doubtful_reply_took_no_longer_for_our_doubts(self):
        world = World(self, FakeUdp, last=1, wait=1.0)
        world.on_send = lambda ttl, count, sock: ttl and world.queue(
            0.01, sock, router(1), destination="10.9.9.9")
        world.run()
        self.assertTrue(world.answer(1).rtt is None or
                        abs(world.answer(1).rtt - 0.01) < 0.005,
                        world.answer(1).rtt)

    def test_errno_without_error_queue_and_raw_socket_is_a_hop(self):
        world = World(self, FakeTcp, sight="distance", last=2)
        world.on_send = lambda ttl, count, sock: ttl and world.fail(
            0.02, sock, errno.EHOSTUNREACH)
        world.run()
        self.assertEqual((world.answer(2).outcome, world.answer(2).address),
                         ("time-exceeded", None))


class BannerTests(unittest.TestCase):

    def banner(self, world, *banner):
        world.on_send = lambda ttl, count, sock: \
            world.accept(0.02, sock, *([] if ttl else banner))
        world.run()
        return world.answer(0)

    def test_banner_is_read_from_the_real_connection(self):
        world = World(self, FakeTcp, last=1)
        answer = self.banner(world, b"220 mail\r\n")
        self.assertEqual((answer.outcome, answer.data),
                         ("open", b"220 mail\r\n"))

    def test_banner_does_not_change_the_rtt_of_the_handshake(self):
        world = World(self, FakeTcp, last=1)
        self.assertAlmostEqual(self.banner(world, b"220").rtt, 0.02)

    def test_banner_that_never_comes_is_waited_for_as_long_as_asked(self):
        for seconds in (0, 0.25, 3.0):
            world = World(self, FakeTcp, last=1, banner_wait=seconds)
            start = world.clock.now
            answer = self.banner(world)
            self.assertEqual((answer.outcome, answer.data), ("open", None))
            self.assertAlmostEqual(world.clock.now - start, 0.02 + seconds,
                                   places=2)

    def test_banner_wait_above_the_wait_of_a_hop_is_granted(self):
        world = World(self, FakeTcp, last=1, wait=0.1, banner_wait=2.0)

        def on_send(ttl, count, sock):
            world.accept(0.02, sock)
            if not ttl:
                world.at(1.5, sock.inbox.append, b"slow")
        world.on_send = on_send
        world.run()
        self.assertEqual(world.answer(0).data, b"slow")

    def test_banner_of_a_connection_that_is_closed_is_none(self):
        for end in (b"", errno.ECONNRESET):
            world = World(self, FakeTcp, last=1)
            answer = self.banner(world, end)
            self.assertEqual((answer.outcome, answer.data), ("open", None))
            self.assertLess(world.clock.now, 1000.3)

    def test_banner_that_is_huge_is_bounded(self):
        world = World(self, FakeTcp, last=1)
        self.assertEqual(len(self.banner(world, b"u" * 5000).data),
                         pt.DATA_LIMIT)

    def test_payload_is_sent_on_the_real_connection_only(self):
        world = World(self, FakeTcp, last=2, payload=b"HEAD")
        self.banner(world, b"reply")
        self.assertEqual(world.probes(0)[0].sent, [b"HEAD"])
        for ttl in (1, 2):
            for sock in world.probes(ttl):
                self.assertEqual(sock.sent, [])

    def test_small_ttl_probe_that_connects_waits_for_no_banner(self):
        world = World(self, FakeTcp, last=1, banner_wait=5.0)
        world.on_send = lambda ttl, count, sock: world.accept(
            0.02, sock) if ttl else None
        world.run(until=0.5)
        self.assertEqual(world.answer(1).outcome, "open")
        self.assertIsNotNone(world.probes(1)[0].closed_at)


class ClosingTests(unittest.TestCase):

    def test_engine_that_is_done_has_closed_every_probe(self):
        for kind in (FakeUdp, FakeTcp):
            world = World(self, kind, last=5)
            world.on_send = all_hops(world)
            world.run()
            self.assertEqual(world.open_sockets(), [])
            self.assertEqual(world.poller.writers, {})

    def test_engine_closed_half_way_closes_probes_in_every_state(self):
        world = World(self, FakeTcp, raw=True, last=6, wait=5.0,
                      banner_wait=5.0)

        def on_send(ttl, count, sock):
            if ttl == 0:
                world.accept(0.02, sock)            # held for its banner
            elif ttl == 1:
                world.queue(0.02, sock, router(1))      # answered
            elif ttl == 2:
                world.fail(0.02, sock, errno.EHOSTUNREACH)
            elif ttl == 3:
                world.accept(5.0, sock)             # still connecting
            elif ttl == 4:
                return errno.EPERM                  # never sent
        world.on_send = on_send
        world.run(until=0.04)
        self.assertTrue(world.series.full.held)
        self.assertNotEqual(world.open_sockets(), [])
        world.engine.close()
        self.assertEqual(world.open_sockets(), [])

    def test_engine_closed_half_way_resets_what_may_be_half_open(self):
        world = World(self, FakeTcp, last=4)
        world.on_send = lambda ttl, count, sock: None
        world.run(until=0.01)
        world.engine.close()
        for ttl in (1, 2, 3, 4):
            for sock in world.probes(ttl):
                self.assertIn((socket.SO_LINGER, struct.pack("ii", 1, 0)),
                              sock.log)
                self.assertGreaterEqual(sock.ttl, 64)

    def test_engine_closed_twice_does_not_fail(self):
        world = World(self, FakeTcp, raw=True)
        world.run(until=0.01)
        world.engine.close()
        world.engine.close()
        self.assertEqual(world.open_sockets(), [])

    def test_probes_behind_the_destination_are_closed_at_once(self):
        world = World(self, FakeTcp, last=8, banner_wait=3.0)

        def on_send(ttl, count, sock):
            if ttl == 0 or ttl == 3:
                world.accept(0.02, sock)
            elif ttl < 3:
                world.queue(0.02, sock, router(ttl))
        world.on_send = on_send
        world.run(until=0.05)
        self.assertTrue(world.series.full.held)
        for ttl in range(4, 9):
            sock, = world.probes(ttl)
            self.assertAlmostEqual(sock.closed_at, 1000.02)

    def test_interrupt_while_waiting_leaves_nothing_open_after_close(self):
        world = World(self, FakeTcp, last=3)

        def guard(wait, seconds):
            raise KeyboardInterrupt
        world.engine.guard = guard
        self.assertRaises(KeyboardInterrupt, world.engine.turn)
        self.assertNotEqual(world.open_sockets(), [])
        world.engine.close()
        self.assertEqual(world.open_sockets(), [])


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
