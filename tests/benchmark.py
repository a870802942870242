"""Measures the numbers of design.md, section 8, on this machine.

    python3 tests/benchmark.py [--runs N] [--rows a,b,...] [--python PATH]

Beside the tools that are installed here, on emulated paths, as root or where
user namespaces are to be had.  One line per measurement: what, measured,
target, ok or miss.  Times are medians of N runs (fewer of a tool that takes
long; the line says how many), of whole commands: from the start of the
process to its end.  The exit status is 1 if a target was missed.

Rows:
  a  20 hops, 4 of them silent, 60 ms away: how long, and which hops
  b  a port dropped after hop 7: how long, and what is said
  c  round trip times against the kernel's time stamps
  d  --version against `python -c pass`, with each Python found here
  e  connections opened on the service, and left half-open
  f  sockets left open after 1000 probes
  g  peak memory
  h  size of the file
  i  seconds to each verdict, 10 hops, 60 ms away
  j  16 dropped ports against one and two

For row c the truth is a packet ring on the client's interface: the kernel
writes a time beside every packet that leaves or comes, without the socket
options that potraceroute relies on, so that it finds the kernel as it is in
daily use; the ring is read when all is over.  A packet that comes is matched
with the probe that it quotes.
"""

import argparse
import collections
import glob
import json
import mmap
import os
import re
import resource
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True

import lab      # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, ROOT)

import potraceroute as pt   # noqa: E402

SCRIPT = os.path.join(ROOT, "potraceroute.py")

SILENT_HOPS = (4, 8, 12, 16)
BANNER = b"220 mail.example.com ESMTP\r\n"
ANSWERS = 1000              # for rows c and f
ENOUGH_SECONDS = 15         # a command is not repeated after so long
PASTE_LIMIT = 56 * 1024

RING_FRAMES, RING_FRAME, RING_BLOCK = 16384, 256, 65536
SOL_PACKET, PACKET_RX_RING, PACKET_VERSION, TPACKET_V2 = 263, 5, 10, 1
PACKET_OUTGOING, ETH_P_ALL = 4, 3

Measured = collections.namedtuple(
    "Measured", "seconds status output memory")
Packet = collections.namedtuple("Packet", "time outgoing octets")


# --------------------------------------------------------------------------
# Inside a namespace: runs commands, or records packets
# --------------------------------------------------------------------------

def answer_commands():
    """Main program of an Inside: run what the lines on stdin ask for."""
    for line in sys.stdin:
        print(json.dumps(run_command(**json.loads(line))), flush=True)


def run_command(argv, timeout, watch_memory):
    """Run a command; return the fields of Measured."""
    with tempfile.TemporaryFile() as output:
        began = time.monotonic()
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        timer = threading.Timer(timeout, process.kill)
        timer.start()
        memory = [watch_peak(process.pid)] if watch_memory else [0]
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
        timer.cancel()
        process.returncode = status
        # A process is charged with the memory of the one that started it:
        # usage counts only when it is above ours.
        if usage.ru_maxrss > resource.getrusage(
                resource.RUSAGE_SELF).ru_maxrss:
            memory.append(usage.ru_maxrss)
        output.seek(0)
        return {"seconds": seconds, "memory": max(memory),
                "status": -os.WTERMSIG(status) if os.WIFSIGNALED(status)
                else os.WEXITSTATUS(status),
                "output": output.read().decode("utf-8", "replace")}


def watch_peak(pid):
    """Return the peak of a process's resident memory in KiB, as last seen
    before its end."""
    peak = 0
    while True:
        with open("/proc/%d/status" % pid) as stream:
            found = re.search(r"^VmHWM:\s*(\d+)", stream.read(), re.M)
        if not found:               # it has ended
            return peak
        peak = int(found.group(1))
        time.sleep(0.0005)


def record_packets(interface):
    """Main program of a Recorder: fill a ring until stdin ends, print it."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
        sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V2)
        size = RING_FRAMES * RING_FRAME
        sock.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack(
            "=4I", RING_BLOCK, size // RING_BLOCK, RING_FRAME, RING_FRAMES))
        ring = mmap.mmap(sock.fileno(), size)
        sock.bind((interface, ETH_P_ALL))
        print("ready", flush=True)
        sys.stdin.read()
        print(json.dumps(list(read_ring(ring))))


def read_ring(ring):
    """Yield [time, outgoing, octets in hex] of each frame in use."""
    for offset in range(0, RING_FRAMES * RING_FRAME, RING_FRAME):
        # struct tpacket2_hdr; struct sockaddr_ll follows it.
        used, _, length, _, start, seconds, nanoseconds = struct.unpack_from(
            "=IIIHHII", ring, offset)
        if not used:
            return
        kind = ring[offset + 32 + 10]
        octets = ring[offset + start:offset + start + length]
        yield [seconds + nanoseconds * 1e-9, kind == PACKET_OUTGOING,
               octets.hex()]


class Inside(object):
    """Runs commands in a namespace, measured from within: starting it from
    outside takes a Python of its own."""

    def __init__(self, net, privileged, **options):
        self.process = net.popen(
            net.client, [sys.executable, "-B", __file__, "--inside"],
            privileged=privileged, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, universal_newlines=True, **options)

    def run(self, argv, timeout=120, watch_memory=False):
        self.process.stdin.write(json.dumps(
            {"argv": argv, "timeout": timeout,
             "watch_memory": watch_memory}) + "\n")
        self.process.stdin.flush()
        return Measured(**json.loads(self.process.stdout.readline()))


class Recorder(object):
    """Records the packets of the client's interface."""

    def __init__(self, net, interface="tun0"):
        self.process = net.popen(
            net.client, [sys.executable, "-B", __file__, "--record",
                         interface],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.process.stdout.readline() != b"ready\n":
            raise lab.LabError("the packet recorder does not run")

    def packets(self):
        """Stop, and return what was seen: a list of Packet."""
        output = self.process.communicate()[0]
        return [Packet(when, outgoing, bytes.fromhex(text))
                for when, outgoing, text in json.loads(output.decode())]


# --------------------------------------------------------------------------
# What is compared
# --------------------------------------------------------------------------

class Table(object):
    """Prints a line per measurement; knows if a target was missed."""

    FORM = "%-2s %-41s %-53s %-17s %s"

    def __init__(self):
        self.missed = 0
        print(self.FORM % ("", "what", "measured", "target", ""))

    def line(self, row, what, measured, target="-", ok=None):
        if ok is False:
            self.missed += 1
        verdict = {None: "", True: "ok", False: "miss"}[ok]
        print((self.FORM % (row, what, measured, target, verdict)).rstrip(),
              flush=True)


def tool(*argv):
    """A command line, or None if the tool is not installed."""
    return list(argv) if shutil.which(argv[0]) else None


HOP_LINES = {
    "potraceroute": r"^(\d+)\t.*\((\d+\.\d+\.\d+\.\d+)\)",
    "traceroute": r"^\s*(\d+)\s+(\d+\.\d+\.\d+\.\d+)\s",
    "tcptraceroute": r"^\s*(\d+)\s+(\d+\.\d+\.\d+\.\d+)\s",
    "mtr": r"^\s*(\d+)\.\|--\s+(\d+\.\d+\.\d+\.\d+)\s",
    "tracepath": r"^\s*(\d+):\s+(\d+\.\d+\.\d+\.\d+)\s",
}


def found_hops(program, output, net):
    """Return {ttl: address} of what a tool has printed."""
    hops = dict((int(ttl), address) for ttl, address in
                re.findall(HOP_LINES[program], output, re.M))
    if program == "potraceroute":   # an open port's line has no address
        hops.update((int(ttl), net.destination) for ttl in re.findall(
            r"^(\d+)\tTCP port \d+ connection successful", output, re.M))
    return hops


def measure(commands, runs):
    """Run (key, Inside, argv) in turns; return {key: [Measured, ...]}."""
    results = dict((key, []) for key, _, _ in commands)
    for _ in range(runs):
        for key, inside, argv in commands:
            done = results[key]
            if sum(each.seconds for each in done) < ENOUGH_SECONDS:
                done.append(inside.run(argv))
    return results


def median_seconds(measured):
    return statistics.median(each.seconds for each in measured)


def format_runs(count):
    return "%d run%s" % (count, "" if count == 1 else "s")


class Benchmark(object):
    """The rows: a method each."""

    def __init__(self, table, runs, python):
        self.table = table
        self.runs = runs
        self.python = python
        self.probed = {}

    def ours(self, *arguments):
        return [self.python, SCRIPT] + list(arguments)

    # Speed

    def row_a(self):
        with lab.Path(routers=19, delay=0.030, hops=dict(
                (ttl, {"silent": True}) for ttl in SILENT_HOPS)) as net:
            net.serve(net.server, "banner", port=25, banner=BANNER)
            net.serve(net.server, "tcp", port=80)
            user, root = Inside(net, False), Inside(net, True)
            to = net.destination
            udp, ban = "potraceroute -n -U", "potraceroute -n -p 25 (banner)"
            now = "potraceroute -n --banner-wait 0"
            late = "potraceroute -n (no banner, waits 0.5 s)"
            base, syn = "traceroute -n -q1 -N30", "traceroute -n -q1 -N30 -T"
            commands = [command for command in [
                (base, user, tool(*(base.split() + [to]))),
                (udp, user, self.ours("-n", "-U", to)),
                (ban, user, self.ours("-n", "-p", "25", to)),
                (now, user, self.ours("-n", "--banner-wait", "0", to)),
                (late, user, self.ours("-n", to)),
                (syn, root, tool(*(syn.split() + [to]))),
                ("mtr -n -r -c1", root, tool("mtr", "-n", "-r", "-c1", to)),
                ("tcptraceroute -n", root, tool("tcptraceroute", "-n", to)),
                ("tracepath -n", user, tool("tracepath", "-n", to))]
                if command[2]]
            results = measure(commands, self.runs)
            expected = dict((ttl, net.hop(ttl)) for ttl in range(1, 21)
                            if ttl not in SILENT_HOPS)
            for key, _, _ in commands:
                self.line_a(net, key, results, base, expected, {
                    udp: 0.4, ban: 0.4, now: 0.4}.get(key))

    def line_a(self, net, key, results, base, expected, target):
        done = results[key]
        seconds, text = median_seconds(done), ""
        right = min(self.count_right(net, key, each.output, expected)
                    for each in done)
        ratio = None
        if results.get(base):
            ratio = seconds / median_seconds(results[base])
            text = "%.2f of traceroute, " % ratio
        self.table.line(
            "a", key, "%.3f s, %s%d/%d hops, %s" % (
                seconds, text, right, len(expected), format_runs(len(done))),
            "<= %.2f, all hops" % target if target else "-",
            None if target is None or ratio is None else
            ratio <= target and right == len(expected))

    @staticmethod
    def count_right(net, key, output, expected):
        """The number of hops found as they are; -1 if one is wrong."""
        hops = found_hops(key.split()[0], output, net)
        if any(expected.get(ttl) != hops[ttl] for ttl in hops):
            return -1
        return len(hops)

    def row_b(self):
        drop = {"proto": "tcp", "port": 443, "action": "drop"}
        with lab.Path(routers=13, delay=0.030,
                      hops={7: {"filters": [drop]}}) as net:
            # Names are looked up, and refused at once.
            user = Inside(net, False, etc={
                "resolv.conf": "nameserver 127.0.0.1\n"})
            root, to = Inside(net, True), net.destination
            argv = self.ours("-p", "443", "-w", "2", to)
            base = "traceroute -n -q1 -N30 -w2 -T -p443"
            commands = [("ours", user, argv)]
            if tool("traceroute"):
                commands.append((base, root, base.split() + [to]))
            results = measure(commands, self.runs)
            seconds = median_seconds(results["ours"])
            self.table.line("b", "potraceroute -p 443 -w 2", "%.2f s, %s" % (
                seconds, format_runs(len(results["ours"]))), "<= 3 s",
                seconds <= 3)
            if base in results:
                theirs = median_seconds(results[base])
                self.table.line("b", base, "%.2f s (ours takes %.2f of it), "
                                "%s" % (theirs, seconds / theirs,
                                        format_runs(len(results[base]))))
            self.verdict_b(user.run(argv[:2] + ["--json"] + argv[2:]))

    def verdict_b(self, done):
        trace = json.loads(done.output)["traces"][0]
        after, before = [(trace[key] or {}).get("ttl") for key in
                         ("blocked_after", "blocked_before")]
        self.table.line(
            "b", "verdict of it", "%s after hop %s before hop %s, %s" % (
                trace["verdict"], after, before, "with a control trace"
                if trace["control"] else "no control trace"),
            "dropped, 7 and 8", trace["verdict"] == "dropped" and
            (after, before) == (7, 8) and bool(trace["control"]))

    # Truth of times; sockets

    def row_c(self):
        for method in ("tcp", "udp", "icmp"):
            for burst in (False, True):
                answers, errors = self.probe(method, burst)[:2]
                what = "%s, %d answers, %s" % (
                    method, answers, "burst of 20 hops" if burst
                    else "one at a time")
                if len(errors) < answers:
                    what += ", %d timed" % len(errors)
                middle = statistics.median(errors) if errors else None
                self.table.line(
                    "c", what, "error %.3f ms median, %.3f ms worst" % (
                        middle * 1e3, max(errors) * 1e3) if errors else
                    "no times", "<= 0.1, 0.5 ms", bool(errors) and
                    len(errors) == answers >= ANSWERS and
                    middle <= 0.0001 and max(errors) <= 0.0005)

    def row_f(self):
        for method in ("tcp", "udp", "icmp"):
            for burst in (False, True):
                probes, left = self.probe(method, burst)[2:]
                self.table.line("f", "%s, %s" % (
                    method, "whole traces" if burst else "one at a time"),
                    "%d sockets left after %d probes" % (left, probes),
                    "0", left == 0 and probes >= ANSWERS)

    def probe(self, method, burst):
        """Have 1000 answers; return (answers, errors of their rtt in
        seconds, probes sent, sockets left open)."""
        if (method, burst) not in self.probed:
            # All routers answer at the same time.
            with lab.Path(routers=20, delay=0.002, hops=dict(
                    (ttl, {"delay": 0.002}) for ttl in range(1, 21))) as net:
                net.ping_group(net.client)
                net.serve(net.server, "tcp", port=443)
                recorder = Recorder(net)
                status, out, err = net.run(
                    net.client, [self.python, "-B", "-c", DRIVER, ROOT,
                                 method, str(int(burst)), net.destination,
                                 str(ANSWERS)],
                    privileged=False, timeout=120)
                if status:
                    raise lab.LabError(err)
                report = json.loads(out)
                probes = pair_packets(recorder.packets())
            answers, errors = compare_times(report["traces"], probes)
            self.probed[method, burst] = (answers, errors, len(probes),
                                          report["left"])
        return self.probed[method, burst]

    # The rest

    def row_d(self):
        for version, python in find_pythons():
            argvs = ([python, SCRIPT, "--version"], [python, "-c", "pass"])
            times = ([], [])
            for _ in range(max(20, self.runs)):
                for argv, into in zip(argvs, times):
                    began = time.monotonic()
                    subprocess.check_call(argv, stdout=subprocess.DEVNULL)
                    into.append(time.monotonic() - began)
            ours, least = map(statistics.median, times)
            self.table.line(
                "d", "--version, Python %s" % version,
                "%.1f ms, %.2f of the %.1f ms of -c pass, %s" % (
                    ours * 1e3, ours / least, least * 1e3,
                    format_runs(len(times[0]))),
                "<= 1.60", ours / least <= 1.6)

    def row_e(self):
        with lab.Chain(routers=4) as net:
            self.count_connections(net, "4 kernel routers")
        with lab.Path(routers=19, delay=0.030) as net:
            self.count_connections(net, "20 hops, 60 ms")

    def count_connections(self, net, what):
        service = net.serve(net.server, "tcp", port=80)
        done = Inside(net, False).run(self.ours("-n", net.destination))
        at_once = net.half_open(net.server, 80)
        time.sleep(0.2)
        later, accepts = net.half_open(net.server, 80), service.accepts()
        self.table.line(
            "e", "default TCP trace, " + what,
            "%d accepted, %d SYN-RECV at its end, %d after 0.2 s" % (
                accepts, at_once, later),
            "1, 0 half-open", done.status == 0 and
            (accepts, later) == (1, 0))

    def row_g(self):
        with lab.Path(routers=19, delay=0.005) as net:
            net.serve(net.server, "tcp", port=80)
            user, root = Inside(net, False), Inside(net, True)
            to, base = net.destination, None
            for what, inside, argv in [
                    ("traceroute -n -q1 -N30", user,
                     tool("traceroute", "-n", "-q1", "-N30", to)),
                    ("python -c pass", user, [self.python, "-c", "pass"]),
                    ("potraceroute -n", user, self.ours("-n", to)),
                    ("potraceroute -n -U", user, self.ours("-n", "-U", to)),
                    ("mtr -n -r -c1", root, tool("mtr", "-nrc1", to)),
                    ("tcptraceroute -n", root, tool("tcptraceroute", "-n",
                                                    to)),
                    ("tracepath -n", user, tool("tracepath", "-n", to))]:
                if not argv:
                    continue
                memory = statistics.median(
                    inside.run(argv, watch_memory=True).memory
                    for _ in range(self.runs)) / 1024
                base = base or memory
                self.table.line("g", what, "%.1f MiB, %.1f of the first, %s"
                                % (memory, memory / base,
                                   format_runs(self.runs)))

    def row_h(self):
        with open(SCRIPT, "rb") as stream:
            data = stream.read()
        pasted = len(pt.format_paste())
        self.table.line("h", "potraceroute.py", "%d octets, %d lines" % (
            len(data), data.count(b"\n")))
        self.table.line("h", "printed by --paste", "%d octets" % pasted,
                        "<= %d" % PASTE_LIMIT, pasted <= PASTE_LIMIT)
        longest = max(map(len, data.split(b"\n")))
        odd = sum(not (32 <= octet <= 126 or octet == 10) for octet in data)
        self.table.line(
            "h", "characters", "longest line %d, %d not ASCII, tab or CR" % (
                longest, odd), "<= 79, 0", longest <= 79 and odd == 0)

    # Verdicts

    def row_i(self):
        tcp = [{"proto": "tcp", "port": port, "action": action}
               for port, action in ((1, "drop"), (2, "reject"), (3, "reset"),
                                    (4, "accept"))]
        udp = [{"proto": "udp", "port": 514, "action": "drop"}]
        deny = [{"proto": "tcp", "port": 22, "action": "pass"},
                {"action": "drop"}]
        for name, filters, calls in (
                ("", {4: tcp, 9: udp}, (
                    ("open", ["-p25"]), ("open", ["-p27"]),
                    ("refused", ["-p26"]), ("refused", ["-U"]),
                    ("dropped", ["-p1"]), ("rejected", ["-p2"]),
                    ("reset", ["-p3"]), ("intercepted", ["-p4"]),
                    ("silent", ["-U", "-p514"]))),
                (", all but 22 denied", {4: deny}, (
                    ("dropped", ["-p1"]), ("open", ["-p22"]))),
                (", all denied", {4: deny[1:]}, (("dropped", ["-p1"]),))):
            hops = dict((k, {"filters": filters[k]}) for k in filters)
            with lab.Path(routers=9, delay=0.030, hops=hops) as net:
                net.serve(net.server, "banner", port=25, banner=BANNER)
                net.serve(net.server, "tcp", port=27)
                net.serve(net.server, "tcp", port=22)
                for verdict, flags in calls:
                    self.time_verdict(net, name, verdict, flags)
        with lab.Chain(routers=3, icmp_limits=True) as net:
            net.ip("server", "addr flush dev toclient")
            self.time_verdict(net, ", kernel, dead host", "unreachable",
                              ["-p1"])

    def time_verdict(self, net, name, verdict, flags):
        user = Inside(net, False)
        done = [user.run(self.ours("-n", "--json", net.destination, *flags))
                for _ in range(self.runs)]
        said = json.loads(done[-1].output)["traces"][0]["verdict"]
        seconds = median_seconds(done)
        self.table.line("i", " ".join(["potraceroute"] + flags) + name,
                        "%s in %.2f s, %s" % (said, seconds,
                                              format_runs(len(done))),
                        verdict + ", 3.3 s",
                        said == verdict and seconds <= 3.3)

    def row_j(self):
        filters = [{"proto": "tcp", "port": port, "action": "drop"}
                   for port in range(101, 117)]
        with lab.Path(routers=9, delay=0.030,
                      hops={4: {"filters": filters}}) as net:
            user, to, base = Inside(net, False), net.destination, None
            for what in ("101", "101-102", "101-116"):
                done = [user.run(self.ours("-n", "--json", "-p", what, to))
                        for _ in range(self.runs)]
                seconds = median_seconds(done)
                traces = json.loads(done[-1].output)["traces"]
                right = sum(trace["blocked_after"] ==
                            {"ttl": 4, "address": net.hop(4)}
                            for trace in traces)
                base = seconds if what == "101-102" else base
                self.table.line(
                    "j", "potraceroute -p " + what, "%.2f s, %d of %d placed"
                    " rightly, %s" % (seconds, right, len(traces),
                                      format_runs(len(done))),
                    "1.1 of two" if what == "101-116" else "-",
                    right == len(traces) and seconds <= 1.1 * (
                        base or seconds))


# Runs on any Python.  Without the garbage collector, so that nothing is
# closed by chance.
DRIVER = r"""
import gc, json, os, sys, time
root, method, burst, host, wanted = sys.argv[1:]
sys.path.insert(0, root)
gc.disable()

def open_sockets():
    count = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            count += os.readlink("/proc/self/fd/" + name)[:7] == "socket:"
        except OSError:
            pass
    return count

before = open_sockets()
import potraceroute
words = dict(destination=host, method=method, no_dns=True)
if method == "tcp":
    words.update(port=443, banner_wait=0)
traces, count = [], 0
single = potraceroute.Traceroute(**words)
while count < int(wanted):
    began = time.time()
    if int(burst):
        hops = potraceroute.Traceroute(**words).run().hops
    else:
        hops = [single.probe(1 + count % 20)]
    hops = [[hop.ttl, hop.rtt] for hop in hops
            if hop.outcome == "time-exceeded"]
    traces.append([began, time.time(), hops])
    count += len(hops)
    if not hops:
        sys.exit("nothing answers")
print(json.dumps({"traces": traces, "left": open_sockets() - before}))
"""


def pair_packets(packets):
    """Return [ttl, left, came] of each probe in a record; `came` is None if
    no time exceeded came for it."""
    probes, latest = [], {}
    for packet in packets:
        octets = packet.octets
        if packet.outgoing:
            key, is_probe = flow_of(octets)
            if is_probe:
                latest[key] = [octets[8], packet.time, None]
                probes.append(latest[key])
        elif octets[9] == 1 and octets[20] == 11:
            probe = latest.get(flow_of(octets[28:])[0])
            if probe and probe[2] is None:
                probe[2] = packet.time
    return probes


def flow_of(octets):
    """Return what identifies a probe, and if it is one: not an ACK or RST.

    TCP: ports and sequence number; UDP: ports; ICMP: id and sequence
    number.
    """
    head = octets[20:]
    if octets[9] == 6:
        return octets[9:10] + head[:8], \
            len(head) < 14 or head[13] & 0x17 == 2
    if octets[9] == 17:
        return octets[9:10] + head[:4], True
    return octets[9:10] + head[4:8], head[0] == 8


def compare_times(traces, probes):
    """Return (answers, errors): how far each rtt is from the record's."""
    answers, errors = 0, []
    for began, ended, hops in traces:
        for ttl, rtt in hops:
            answers += 1
            # Of several tries the one that was answered first.
            tries = [(came, came - left) for place, left, came in probes
                     if place == ttl and came and began <= left <= ended]
            if tries and rtt is not None:
                errors.append(abs(rtt - min(tries)[1]))
    return answers, errors


def find_pythons():
    """Return [(version, path)], each version once, oldest first."""
    paths = sorted(glob.glob("/root/.pyenv/versions/*/bin/python")) + [
        path for path in map(shutil.which, ("python2", "python3")) if path]
    paths += ["/usr/bin/python3", sys.executable]
    found = {}
    for path in paths:
        try:
            text = subprocess.check_output(
                [path, "-c", "import sys; print(sys.version.split()[0])"],
                stderr=subprocess.DEVNULL).decode().strip()
        except (OSError, subprocess.CalledProcessError):
            continue
        found.setdefault(text, path)
    return sorted(found.items(), key=lambda item: [
        int(digits) for digits in re.findall(r"\d+", item[0])])


# --------------------------------------------------------------------------
# Command line
# --------------------------------------------------------------------------

LIVE_ROWS = "abcefgij"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=5, metavar="N")
    parser.add_argument("--rows", default="a,b,c,d,e,f,g,h,i,j", metavar="a,b,..")
    parser.add_argument("--python", default=sys.executable, metavar="PATH",
                        help="the Python that runs potraceroute")
    options = parser.parse_args()
    rows = options.rows.split(",")
    for row in rows:
        if not hasattr(Benchmark, "row_" + row):
            parser.error("no row %r" % row)
    print("Linux %s, %d processors, load %.2f; Python %s" % (
        os.uname().release, os.cpu_count(), os.getloadavg()[0],
        subprocess.check_output(
            [options.python, "-c", "import sys; print(sys.version.split()"
             "[0])"]).decode().strip()))
    table = Table()
    benchmark = Benchmark(table, options.runs, options.python)
    for row in rows:
        try:
            if row in LIVE_ROWS:
                lab.require_tun()
            getattr(benchmark, "row_" + row)()
        except (unittest.SkipTest, lab.LabError) as error:
            table.line(row, "not measured", str(error), ok=False)
    return 1 if table.missed else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--inside"]:
        answer_commands()
    elif sys.argv[1:2] == ["--record"]:
        record_packets(sys.argv[2])
    else:
        sys.exit(main())
