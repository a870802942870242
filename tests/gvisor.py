"""gVisor: run a program in it; and what potraceroute has to say there.

    python3 tests/gvisor.py run TREE [--raw] PROGRAM [ARGUMENT..]
    python3 tests/gvisor.py checksums

Both work in the network namespace in which they are started.  "run" ends as
the program does; the sandbox has taken the addresses and routes then.  TREE
is a folder of unpacked packages with runsc; it is the root directory of the
program.  With --raw the program may open raw sockets.

"checksums" comes once before, in every namespace of the network: a veth
leaves checksums to be filled in by a card that it has not, which Linux knows
and gVisor does not.

Needs root.  foreign.py uses both.

What gVisor's network stack (netstack) shows of what comes [seen by running
runsc 20221219; IPv4 and IPv6 alike unless said otherwise]:

    TCP     a reset ends connect(): ECONNREFUSED.  Host unreachable (IPv4's
            3/1) ends it with EHOSTUNREACH, no route (IPv6's 1/0) with
            ENETUNREACH, whoever has sent it; the address of a neighbor that
            is not found ends it as host unreachable, after 3 s.  Any other
            ICMP error, 3/13 and 11/0 among them: nothing, the SYN is
            repeated
    UDP     a port unreachable, whoever has sent it, comes to a connected
            socket: ECONNREFUSED.  Any other: nothing; and nothing ever comes
            to one that is not connected
    ICMP    a datagram socket is allowed to everybody, by no sysctl, and gets
            echo replies; no error ever
    queue   IP_RECVERR and IPV6_RECVERR are accepted.  What ends a connect()
            by ICMP, or comes to connected UDP, enters the error queue, too,
            but as sent by our own address
    raw     sockets hear all of it, if they are allowed
"""

import collections
import ctypes
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile

SIOCETHTOOL = 0x8946
ETHTOOL_STXCSUM = 0x17
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_SETGID",
                "CAP_SETUID", "CAP_NET_BIND_SERVICE"]      # as Docker's

# Where this folder has files of the host's, as new kernels show them in every
# namespace, runsc believes itself in the host's and refuses to go on.
HIDE = 'mount -t tmpfs none /proc/sys/net/core && exec "$@"'


def fill_in_checksums():
    sock = socket.socket()
    for _, name in socket.if_nameindex():
        if name == "lo":
            continue
        value = ctypes.create_string_buffer(
            struct.pack("=II", ETHTOOL_STXCSUM, 0))
        fcntl.ioctl(sock, SIOCETHTOOL, struct.pack(
            "16sP16x", name.encode("ascii"), ctypes.addressof(value)))
    sock.close()


def make_config(tree, argv, raw):
    """config.json of an OCI bundle."""
    allowed = CAPABILITIES + ["CAP_NET_RAW"] * raw
    return {
        "ociVersion": "1.0.0",
        "hostname": "sandbox",
        "root": {"path": os.path.abspath(tree), "readonly": False},
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": argv,
            "env": ["%s=%s" % item for item in sorted(os.environ.items())],
            "capabilities": dict((name, allowed) for name in (
                "bounding", "effective", "inheritable", "permitted"))},
        "mounts": [{"type": "proc", "source": "proc",
                    "destination": "/proc"},
                   {"type": "tmpfs", "source": "tmpfs",
                    "destination": "/tmp"}],
        "linux": {"namespaces": [
            {"type": "pid"}, {"type": "ipc"}, {"type": "uts"},
            {"type": "mount"},
            {"type": "network", "path": "/proc/self/ns/net"}]}}


def run(tree, argv, raw):
    """-> the status of the program"""
    folder = tempfile.mkdtemp()
    try:
        with open(os.path.join(folder, "config.json"), "w") as stream:
            json.dump(make_config(tree, argv, raw), stream)
        name = "sandbox%d" % os.getpid()
        runsc = [os.path.join(tree, "usr/bin/runsc"), "--platform=ptrace",
                 "--ignore-cgroups", "--net-raw=%s" % str(raw).lower(),
                 "--root=" + os.path.join(folder, "state")]
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", HIDE, "sh"] + runsc +
            ["run", "--bundle", folder, name])
        # runsc itself would die of it, and the sandbox with it.
        signal.signal(signal.SIGINT, lambda number, _: subprocess.call(
            runsc + ["kill", name, "INT"]))
        return process.wait()
    finally:
        shutil.rmtree(folder)


# --------------------------------------------------------------------------
# The checks
# --------------------------------------------------------------------------

# By router 2, and by the server itself: a port, and how it is rejected
ROUTER_RULES = """
    table inet rejecting {
        chain c {
            type filter hook forward priority 0;
            meta l4proto { tcp, udp } th dport 3380 reject with icmpx type no-route
            meta l4proto { tcp, udp } th dport 3381 reject with icmpx type host-unreachable
            meta l4proto { tcp, udp } th dport 3383 reject with icmpx type port-unreachable
            tcp dport 3392 reject with tcp reset
            udp dport 4450 drop
        }
    }
"""
SERVER_RULES = """
    table inet rejecting {
        chain c {
            type filter hook input priority 0;
            meta l4proto { tcp, udp } th dport 3390 reject with icmpx type port-unreachable
            meta l4proto { tcp, udp } th dport 3391 reject with icmpx type admin-prohibited
        }
    }
"""

# A row is a run.  seen: the verdicts, of each port, that are true where no
# ICMP error is shown, by netstack or another; "dropped" stands for silence.
Case = collections.namedtuple("Case", "name options host seen")
CASES = [Case(name, options.split(), host, [
    verdicts.split(",") for verdicts in seen.split()])
         for name, options, host, seen in (
    ("open", "-p80 --banner-wait=0.3", "server", "open"),
    ("closed", "-p81", "server", "refused"),
    ("dropped", "-p445", "server", "dropped"),
    ("prohibited", "-p3389", "server", "dropped rejected unreachable"),
    ("no route", "-p3380", "server", "dropped unreachable rejected"),
    ("host unreachable", "-p3381", "server", "dropped unreachable rejected"),
    ("port unreachable", "-p3383", "server", "dropped rejected unreachable"),
    ("reset by a router", "-p3392", "server", "refused reset"),
    ("port unreachable, by the host", "-p3390", "server",
     "dropped rejected unreachable"),
    ("prohibited by the host", "-p3391", "server",
     "dropped rejected unreachable"),
    ("host down", "-p80", "nobody", "dropped unreachable"),
    ("several ports", "-p80,81,445,3389", "server",
     "open,refused,dropped,dropped open,refused,dropped,rejected "
     "open,refused,dropped,unreachable"),
    ("UDP answered", "-U -p7 -P68690a", "server", "answered"),
    ("UDP closed", "-U", "server", "refused silent dropped"),
    ("UDP dropped", "-U -p4450", "server", "silent dropped"),
    ("UDP prohibited", "-U -p3389", "server",
     "silent dropped rejected unreachable"),
    ("UDP port unreachable", "-U -p3383", "server",
     "refused rejected silent dropped"),
    ("UDP prohibited by the host", "-U -p3391", "server",
     "silent dropped rejected unreachable"),
    ("UDP, host down", "-U", "nobody", "silent dropped unreachable"),
    ("ICMP", "-I", "server", "answered"),
    ("ICMP, host down", "-I", "nobody", "dropped unreachable"))]

# Of a case: what text says, and what JSON
Run = collections.namedtuple("Run", "case version status text traces")

# In the sandbox, several at a time: starting it costs a second.
RUN_ALL = """
import concurrent.futures, json, subprocess, sys

def run(arguments):
    done = subprocess.run([sys.executable, sys.argv[1]] + arguments,
                          capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr

pool = concurrent.futures.ThreadPoolExecutor(8)
print(json.dumps(list(pool.map(run, json.load(sys.stdin)))))
"""

# Not so in this network, whatever is shown and whatever is not.
FALSE = (
    "Traceback", "hop 0",
    "address resolution", "gateway or host is down",
    "packets are lost", "limit their", "limits what it says",
    "no hop answered", "no router on the way answers",
    "look at this host's own firewall",
    "Linux 5.8",                        # it says that it is Linux 4.4
    "ping_group_range", "not permitted")        # everybody may


class Checks(object):
    """What is said in each of CASES, by IPv4 and IPv6; see foreign.Checks,
    which this is mixed into."""

    @classmethod
    def setUpClass(cls):
        super(Checks, cls).setUpClass()
        try:
            cls.net.nft(cls.net.routers[1], ROUTER_RULES)
            cls.net.nft(cls.net.server, SERVER_RULES)
            cls.nobody = re.sub("2$", "9", cls.net.destination)
            cls.nobody6 = re.sub("2$", "9", cls.net.destination6)
            cls.runs = cls.run_all()
        except Exception:
            cls.tearDownClass()
            raise

    @classmethod
    def arguments(cls, case, version):
        server, nobody = ((cls.net.destination6, cls.nobody6)
                          if version == "6" else
                          (cls.net.destination, cls.nobody))
        return ["-n"] + case.options + [
            server if case.host == "server" else nobody]

    @classmethod
    def run_all(cls):
        """-> a list of Run"""
        keys = [(case, version) for case in CASES for version in "46"]
        results = iter(cls.execute([
            more + cls.arguments(*key) for key in keys
            for more in ([], ["--json"])]))
        runs = []
        for case, version in keys:
            (status, out, err), (_, document, _) = \
                next(results), next(results)
            runs.append(Run(case, version, status, out + err,
                            json.loads(document)["traces"]))
        return runs

    @classmethod
    def execute(cls, calls):
        status, out, err = cls.run_in_tree(
            cls.system.argv + ["-c", RUN_ALL,
                               cls.system.path("potraceroute.pyc")],
            input=json.dumps(calls), timeout=200)
        if status:
            raise AssertionError("%s %s %s" % (status, out, err))
        return json.loads(out)

    def check_each(self, check):
        """check(Run) each of them, however many fail."""
        for run in self.runs:
            with self.subTest("%s, IPv%s" % (run.case.name, run.version)):
                check(run)

    def check_lines(self, word, check):
        """check(line, text) each line of a text that has this word."""
        def check_run(run):
            for line in run.text.splitlines():
                if word in line:
                    check(line, run.text)
        self.check_each(check_run)

    def test_no_sentence_is_false_of_this_network(self):
        self.check_each(lambda run: self.assertEqual(
            [words for words in FALSE if words in run.text], [], run.text))

    def test_status_is_that_of_a_trace(self):
        self.check_each(lambda run: self.assertEqual(
            run.status, 0 if all(
                trace["reached"] for trace in run.traces) else 1, run.text))

    def test_doctor_says_nothing_false(self):
        status, out, err = self.command("--doctor")
        self.assertEqual((status, err), (0, ""))
        self.assertEqual([words for words in FALSE if words in out], [], out)
        for line in out.splitlines()[2:8]:
            method, _, works, mechanism = line.split()[:4]
            self.assertEqual(works, "yes", out)
            self.assertNotEqual(mechanism, "error-queue", out)


class AsRoot(Checks):
    """With raw sockets: all as on Linux."""

    @classmethod
    def run_all(cls):
        import lab
        calls = [(["--json"] + cls.arguments(case, version),
                  {"privileged": True})
                 for case in CASES for version in "46"]
        cls.system.restore(cls.net)
        cls.linux = [json.loads(out)["traces"] for _, out, _ in
                     lab.trace_several(cls.net, calls, at_once=8)]
        return super(AsRoot, cls).run_all()

    @staticmethod
    def summarize(traces):
        """What has to be the same.  Not the ttl of a reset, which gVisor
        does not show, nor what many runs side by side leave to chance."""
        keys = "verdict", "reached", "responder", "blocked_after"
        return [dict((key, trace[key]) for key in keys) for trace in traces]

    def test_all_is_told_as_on_linux(self):
        """But for a host that is down: of several runs at once the router
        tells some only that it is."""
        linux = iter(self.linux)

        def check(run):
            known = next(linux)
            if "host down" not in run.case.name:
                self.assertEqual(self.summarize(run.traces),
                                 self.summarize(known))
        self.check_each(check)


class AsUser(Checks):
    """Without: what is not shown is called so."""

    def test_verdict_is_what_an_errno_shows(self):
        self.check_each(lambda run: self.assertIn(
            [trace["verdict"] for trace in run.traces],
            run.case.seen, run.text))

    def test_hop_is_not_visible_and_has_not_timed_out(self):
        def check(run):
            self.assertNotIn("timed out", run.text)
            # Who accepts or replies is heard.
            self.assertLessEqual(
                set(hop["address"] for trace in run.traces
                    for hop in trace["hops"]),
                set([None, self.net.destination, self.net.destination6]))
        self.check_each(check)

    def test_what_is_dropped_may_be_rejected(self):
        self.check_lines(" is dropped", lambda line, text:
                         self.assertIn("reject", line, text))

    def test_who_has_refused_is_left_open(self):
        self.check_lines(" refused it", lambda line, text:
                         self.assertIn("or a router on the way", line, text))

    def test_udp_port_that_is_silent_may_be_closed(self):
        self.check_lines("open or filtered", lambda line, text:
                         self.assertIn("or closed", line, text))


def main(arguments):
    if arguments == ["checksums"]:
        return fill_in_checksums()
    tree, argv = arguments[1], arguments[2:]
    raw = argv[0] == "--raw"
    return run(tree, argv[raw:], raw)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
