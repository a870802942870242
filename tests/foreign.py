r"""potraceroute for real on the Pythons of other systems.

    python3 tests/foreign.py --trees .cache/systems NAME...
    python3 tests/foreign.py --trees .cache/systems --once NAME [--as-user] \
        -- -n -p 81 10.77.3.2       one run, as text

.ci/systems fetches what this needs and starts it.  The checks are written
once.  They run in this machine's own Python, which builds a network of kernel
routers and servers (lab.Chain); the other Python is a command in a tree of
files, entered by chroot inside the client's namespace.  Where a system shows
less than Linux, Shows says so, and the checks ask for exactly that.

Not shown by this: Windows' own network stack (Wine asks Linux), its firewall,
SIO_RCVALL, TCP options 18 and 19 and ICMPv6, which Wine has not.
"""

import argparse
import collections
import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import gvisor  # noqa: E402
import lab  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(HERE), "potraceroute.py")
FOLDER = "/work"        # in a tree: below it each Python has potraceroute.py

# A mount namespace of its own keeps these out of everybody else's sight.
ENTER = """
mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" &&
mount --rbind /sys "$0/sys" && exec chroot "$0" "$@"
"""

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
WINE_ENVIRONMENT = dict(
    ENVIRONMENT, WINEARCH="win64",
    WINESERVER="/usr/lib/wine/wineserver64", WINEDEBUG="-all",
    WINEDLLOVERRIDES="mscoree=;mshtml=")
WINE = "/usr/lib/wine/wine64"

DISTANCE = 4            # client - r1 - r2 - r3 - server
RULES = """
    table inet t {
        chain c {
            type filter hook forward priority 0;
            tcp dport 445 drop
            tcp dport 3389 reject with icmpx type admin-prohibited
            udp dport 3389 reject with icmpx type admin-prohibited
        }
    }
"""
BANNER = "220 mail.example.com ESMTP"


# --------------------------------------------------------------------------
# Systems
# --------------------------------------------------------------------------

# What a system shows of a trace, to root and to others.  hops: the addresses
# of the routers, by method and version of IP; closed_udp: that a UDP port is
# closed; rejected: that a connection was rejected, not only that it failed.
Shows = collections.namedtuple("Shows", "hops closed_udp rejected")

ALL = frozenset(method + version for method in ("tcp", "udp", "icmp")
                for version in "46")
LINUX = Shows(ALL, "46", True)


class System(object):
    """A tree, and in it the command that is a Python."""

    environment = ENVIRONMENT
    line_end = "\n"
    echo6 = True                    # can send ICMPv6 echo requests
    icmp_hint = ("ping_group_range", "-U")      # to who may not
    # Probes that get farther than asked for are no connections to the server
    one_connection = True
    as_root = as_user = LINUX
    enters_as_root = False
    pings = False                   # is everybody allowed to?
    own_checks = {}                 # "AsRoot", "AsUser" -> a class to mix in

    def __init__(self, tree, *argv, **options):
        self.tree, self.argv = tree, list(argv)
        self.origin = options.get("origin", "")

    def enter(self, trees, argv, privileged=True):
        """Who may enter has privileges as asked for by then, or gives them
        up on the way (enters_as_root)."""
        return ["unshare", "--mount", "sh", "-c", ENTER,
                os.path.join(trees, self.tree)] + argv

    def folder(self, trees):
        """Where potraceroute.py is, seen from outside."""
        return os.path.join(trees, self.tree, self.inside()[1:])

    def inside(self):
        return "%s/%s" % (FOLDER, self.argv[-1].replace("/", "-").strip("-"))

    def path(self, name):
        return "%s/%s" % (self.inside(), name)

    def build(self, net):
        """Change the network, once, before anything is run in it."""

    def restore(self, net):
        """Before each program: mend what the one before has taken away."""

    def start(self, run):
        """Before the first program; run(argv) runs one in the client."""

    def stop(self, run):
        pass

    def leaves_stuck(self, privileged):
        """Can no program run well after another?"""
        return False


class Wine(System):
    """Windows' CPython: sockets are made by the wineserver, so it starts in
    the client's namespace, and with the privilege that is to be had."""

    line_end = "\r\n"
    echo6 = False
    icmp_hint = ("ICMP",)
    one_connection = False      # Wine needs longer than a path of 50 us
    # Linux' raw sockets, by Winsock's names; Wine has no raw ICMPv6.
    as_root = Shows(frozenset(["tcp4", "udp4", "icmp4"]), "4", True)
    as_user = Shows(frozenset(), "", False)

    def __init__(self, name):
        super(Wine, self).__init__(
            "wine", WINE, "/opt/%s/python.exe" % name, origin="wine 8.0")
        self.environment = dict(WINE_ENVIRONMENT,
                                WINEPREFIX="/root/" + name)

    def path(self, name):
        return "Z:" + super(Wine, self).path(name).replace("/", "\\")

    def start(self, run):
        # Should we be killed, it ends by itself 5 s after the last program.
        # Services keep what the first program had as output: not a pipe.
        with open(os.devnull, "r+") as nothing:
            for argv in (["/usr/lib/wine/wineserver64", "-p5"],
                         [WINE, "cmd", "/c", "exit"]):
                run(argv, stdin=nothing, stdout=nothing, stderr=nothing)

    def stop(self, run):
        run(["/usr/lib/wine/wineserver64", "-k"])
        run(["/usr/lib/wine/wineserver64", "-w"])

    def leaves_stuck(self, privileged):
        # A program that ends before its IcmpSendEcho2Ex() is answered leaves
        # Wine so that the next one waits for ever, if Linux' ping socket is
        # what Wine has for ICMP.  Any trace may ask the ICMP API who is there.
        return not privileged


class Gvisor(System):
    """Linux' system calls, but a network stack of its own (netstack) that
    takes over the client's interface."""

    enters_as_root = pings = True
    one_connection = False      # as with Wine
    own_checks = {"AsRoot": gvisor.AsRoot, "AsUser": gvisor.AsUser}
    # The error queue is accepted, but no ICMP message ever enters it with
    # its sender: only what ends a connect() is known.
    as_user = Shows(frozenset(), "46", False)

    def enter(self, trees, argv, privileged=True):
        return [sys.executable, os.path.join(HERE, "gvisor.py"), "run",
                os.path.join(trees, self.tree)] + [
                    "--raw"] * privileged + argv

    def build(self, net):
        for name in [net.client] + net.routers + [net.server]:
            status, _, err = net.run(name, [
                sys.executable, os.path.join(HERE, "gvisor.py"),
                "checksums"])
            if status:
                raise lab.LabError("no checksums: " + err)

    def restore(self, net):
        net.restore_client()


SYSTEMS = {
    "windows-python3.8": Wine("python3.8"),
    "windows-python3.13": Wine("python3.13"),
    "s390x-python3.11": System("s390x", "/usr/bin/qemu-s390x-static",
                               "/usr/bin/python3.11", origin="qemu-user"),
    "i386-python2.7": System("i386-old", "/usr/bin/python2.7"),
    "i386-python3.11": System("i386", "/usr/bin/python3.11"),
    "pypy3.9": System("pypy", "/usr/bin/pypy3"),
    "python3.14": System("python3.14", "/usr/bin/python3.14"),
    "python3.15": System("python3.15", "/usr/bin/python3.15"),
    "gvisor": Gvisor("gvisor", "/usr/bin/python3.11", origin="runsc"),
}


def make_prefix(root):
    """Let Wine make its registry and folders, those of Windows 10."""
    system, trees = SYSTEMS["windows-python3.8"], os.path.dirname(root)
    for argv in ([WINE, "wineboot", "-i"], [WINE, "winecfg", "-v", "win10"]):
        with open(os.devnull, "r+") as nothing:
            for command in (argv, [system.environment["WINESERVER"], "-w"]):
                subprocess.check_call(
                    system.enter(trees, command), env=system.environment,
                    stdin=nothing, stdout=nothing, stderr=nothing)


# --------------------------------------------------------------------------
# The checks
# --------------------------------------------------------------------------

class Checks(unittest.TestCase):
    """What root and others ask alike."""

    system = trees = None
    privileged = True
    versions = []           # of the Python, as said by it
    maxDiff = 2000

    @classmethod
    def setUpClass(cls):
        cls.shows = (cls.system.as_root if cls.privileged
                     else cls.system.as_user)
        cls.net = lab.Chain(routers=DISTANCE - 1)
        try:
            cls.net.nft(cls.net.routers[1], RULES)
            cls.net.ping_group(cls.net.client)
            cls.system.build(cls.net)
            cls.servers = dict(
                (port, cls.net.serve(cls.net.server, kind, port=port,
                                     banner=banner))
                for port, kind, banner in (
                    (80, "tcp", b""), (7, "echo-udp", b""),
                    (25, "banner", BANNER.encode("ascii") + b"\r\n")))
            cls.system.start(cls.run_in_tree)
            cls.versions.append(cls.version())
            cls.compile()
        except Exception:
            cls.net.close()
            raise

    @classmethod
    def tearDownClass(cls):
        try:
            cls.system.stop(cls.run_in_tree)
        finally:
            cls.net.close()

    @classmethod
    def version(cls):
        """The Python's version, and PyPy's."""
        status, out, err = cls.run_in_tree(cls.system.argv + ["-c", (
            "import sys\n"
            "pypy = getattr(sys, 'pypy_version_info', ())[:3]\n"
            "print('.'.join(str(n) for n in sys.version_info[:3])\n"
            "      + bool(pypy) * ', PyPy ' + '.'.join(str(n) for n in pypy))"
        )])
        if status:
            raise lab.LabError("%s does not start: %s %s" % (
                cls.system.argv, out, err))
        return out.strip()

    @classmethod
    def compile(cls):
        """Once, since that takes longer than a trace."""
        status, out, err = cls.run_in_tree(cls.system.argv + ["-c", (
            "import py_compile; py_compile.compile(%r, %r, doraise=True)" % (
                cls.system.path("potraceroute.py"),
                cls.system.path("potraceroute.pyc")))])
        if status:
            raise lab.LabError("does not compile: %s %s" % (out, err))

    @classmethod
    def run_in_tree(cls, argv, **options):
        options.setdefault("timeout", 30)
        return cls.net.run(
            cls.net.client, cls.enter(argv), env=cls.system.environment,
            privileged=cls.privileged or cls.system.enters_as_root,
            **options)

    @classmethod
    def enter(cls, argv):
        """Have all ready for a program; -> its argv, seen from outside."""
        cls.system.restore(cls.net)
        return cls.system.enter(cls.trees, argv, cls.privileged)

    def restart(self):
        self.system.stop(self.run_in_tree)
        self.system.start(self.run_in_tree)

    def python(self, *args, **options):
        """Run the Python; -> (status, output, errors), lines as here."""
        status, out, err = self.run_in_tree(
            self.system.argv + list(args), **options)
        hangs = status == -signal.SIGKILL
        if hangs or self.system.leaves_stuck(self.privileged):
            self.restart()
        if hangs:
            self.fail("hangs: " + out + err)
        self.assert_line_ends(out)
        self.assert_line_ends(err)
        self.assert_nothing_open()
        return status, out.replace("\r\n", "\n"), err.replace("\r\n", "\n")

    def command(self, *args, **options):
        return self.python(self.system.path("potraceroute.pyc"), *args,
                           **options)

    def trace(self, *args, **options):
        """Run it with --json -n; -> (status, the trace)."""
        status, out, err = self.command("--json", "-n", *args, **options)
        self.assertEqual(err, "")
        document = json.loads(out)
        self.assertEqual(document["exit_status"], status)
        self.assertEqual(len(document["traces"]), 1, document)
        return status, document["traces"][0]

    def module(self, code):
        """Run code that has imported potraceroute as p; -> its output."""
        status, out, err = self.python("-c", (
            "import sys; sys.path.insert(0, %r); import potraceroute as p\n"
            % self.system.path("")) + code)
        self.assertEqual((status, err), (0, ""))
        return out

    # What is asked of each run

    def assert_claims_nothing(self, text):
        """Where nothing is dropped, no sentence says so and no more."""
        for sentence in re.split("[;\n]", text):
            if "dropped" in sentence:
                self.assertIn("or not answered", sentence)

    def assert_line_ends(self, text):
        if self.system.line_end == "\n":
            self.assertNotIn("\r", text)
        else:
            self.assertEqual(text.count("\n"), text.count("\r\n"), text)

    def assert_nothing_open(self):
        """No socket in the client, no half-open connection at the server."""
        until = time.time() + 3
        while True:
            left = [row for row in self.net.sockets(self.net.client)
                    if row[2] != "TIME-WAIT"] + [
                row for row in self.net.sockets(self.net.server)
                if row[2] in ("SYN-RECV", "ESTABLISHED")
                and row[1] in self.servers]
            if not left or time.time() > until:
                break
            time.sleep(0.05)
        self.assertEqual(left, [])

    def assert_path(self, trace, shown, hop):
        """The hops before the destination: there, and the addresses those
        that the system can show, or none."""
        self.assertEqual(trace["distance"], DISTANCE, trace)
        found = [each["address"] for each in trace["hops"]][:DISTANCE - 1]
        wanted = [hop(k) if shown else None for k in range(1, DISTANCE)]
        self.assertEqual(found, wanted, trace)
        self.assertEqual([each["ttl"] for each in trace["hops"]],
                         list(range(1, DISTANCE + 1)), trace)

    def assert_trace(self, verdict, shown, *args):
        """A trace that reaches IPv4's or IPv6's destination."""
        six = "-6" in args
        destination = self.net.destination6 if six else self.net.destination
        status, trace = self.trace(destination, *args)
        self.assertEqual((trace["verdict"], status), (verdict, 0), trace)
        self.assertTrue(trace["reached"])
        self.assert_path(trace, shown in self.shows.hops,
                         self.net.hop6 if six else self.net.hop)
        return trace

    @contextlib.contextmanager
    def connections(self, port):
        """What is done inside opens one connection."""
        before = self.servers[port].accepts()
        yield
        count = self.servers[port].accepts() - before
        if self.system.one_connection:
            self.assertEqual(count, 1)
        else:
            self.assertGreaterEqual(count, 1)

    def assert_one_line(self, result, *words):
        """Exit status 2 and one line that says why, no traceback."""
        status, out, err = result
        self.assertEqual((status, err.count("\n")), (2, 1), result)
        self.assertTrue(err.startswith("potraceroute: error: "), err)
        for word in words:
            self.assertIn(word, err)

    def test_doctor_says_what_works(self):
        status, out, err = self.command("--doctor")
        self.assertEqual((status, err), (0, ""))
        works = set(re.findall(r"(?m)^(TCP|UDP|ICMP) +IPv([46]) +yes ", out))
        wanted = set((name[:-1].upper(), name[-1]) for name in
                     ALL if self.system.echo6) or set(
            [("TCP", "4"), ("TCP", "6"), ("ICMP", "4")] +
            [("UDP", version) for version in self.shows.closed_udp])
        self.assertEqual(works, wanted, out)
        self.assert_claims_nothing(out)         # over loopback

    # TCP

    def test_open_port_is_open(self):
        with self.connections(80):
            self.assert_trace("open", "tcp4", "-p80", "--banner-wait=0.1")

    def test_closed_port_is_refused(self):
        self.assert_trace("refused", "tcp4", "-p81")

    def test_banner_is_shown(self):
        with self.connections(25):
            trace = self.assert_trace("open", "tcp4", "-p25")
        self.assertIn(BANNER, trace["banner"])

    def test_text_shows_hops_with_names_then_the_verdict(self):
        status, out, err = self.command("-p25", "mail.example.com")
        lines = out.splitlines()
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(lines[0], "TCP traceroute to mail.example.com [%s] "
                         "port 25" % self.net.destination)
        self.assertEqual("gw.example.net (%s)" % self.net.hop(1) in lines[1],
                         "tcp4" in self.shows.hops, out)
        for ttl in range(1, DISTANCE + 1):
            self.assertTrue(lines[ttl].startswith("%d\t" % ttl), out)
        self.assertIn("received data: '%s\\r\\n'" % BANNER, lines[DISTANCE])
        self.assertEqual(
            lines[-1], "TCP port 25 is open: %s accepted the connection, "
            "4 hops away" % self.net.destination)

    def test_rejected_port_is_not_refused(self):
        status, trace = self.trace(self.net.destination, "-p3389")
        self.assertFalse(trace["reached"], trace)
        if self.shows.rejected:
            self.assertEqual((trace["verdict"], status), ("rejected", 1),
                             trace)
            self.assertEqual(trace["responder"], self.net.hop(2))
        else:
            # Host unreachable is all that connect() says, for both.
            # gVisor says nothing at all.
            self.assertIn((trace["verdict"], status), (
                ("rejected", 1), ("unreachable", 1), ("dropped", 1)), trace)
            if trace["verdict"] == "dropped":
                self.assertIn("dropped or rejected", trace["summary"])
            self.assertIsNone(trace["responder"], trace)
            self.assertLess(len(trace["hops"]), 10, trace)

    def test_dropped_port_is_dropped_behind_the_last_hop_heard(self):
        status, trace = self.trace(self.net.destination, "-p445", "-w1",
                                   "-r1")
        self.assertEqual((trace["verdict"], status), ("dropped", 1), trace)
        if "tcp4" in self.shows.hops:
            self.assertEqual(trace["blocked_after"],
                             {"ttl": 2, "address": self.net.hop(2)})
        self.assertNotIn(self.net.destination, [
            hop["address"] for hop in trace["hops"]])

    def test_closed_port_is_refused_in_ipv6(self):
        self.assert_trace("refused", "tcp6", "-6", "-p81")

    # UDP

    def test_closed_udp_port_is_refused(self):
        self.assert_closed_udp("4", self.net.destination)

    def test_closed_udp_port_is_refused_in_ipv6(self):
        self.assert_closed_udp("6", self.net.destination6, "-6")

    def assert_closed_udp(self, version, destination, *args):
        if version in self.shows.closed_udp:
            self.assert_trace("refused", "udp" + version, "-U", *args)
            return
        # Nothing is heard: then nothing may be claimed.
        status, trace = self.trace(destination, "-U", "-w1", "-r0", *args)
        self.assertFalse(trace["reached"], trace)
        self.assertEqual(status, 1)
        self.assert_claims_nothing(trace["summary"])

    def test_udp_port_that_answers_has_answered(self):
        self.assert_trace("answered", "udp4", "-U", "-p7", "-P", "68690a")

    # ICMP

    def test_icmp_echo_is_answered(self):
        self.assert_trace("answered", "icmp4", "-I")

    def test_icmp_echo_is_answered_in_ipv6(self):
        if self.system.echo6:
            self.assert_trace("answered", "icmp6", "-6", "-I")
        else:
            self.assert_one_line(self.command(
                "-I", "-n", self.net.destination6), "ICMP")


class AsRoot(Checks):
    """What is different with privilege: the network."""

    privileged = True


class AsUser(Checks):
    """Without CAP_NET_RAW and CAP_NET_ADMIN; the program itself too."""

    privileged = False

    def test_import_prints_and_leaves_nothing(self):
        self.assertEqual(self.module("pass"), "")
        self.assertEqual(
            [name for name in os.listdir(self.system.folder(self.trees))
             if name not in ("potraceroute.py", "potraceroute.pyc",
                             "__pycache__")], [])

    def test_version_is_that_of_the_file(self):
        with io.open(SCRIPT, encoding="ascii") as stream:
            version = re.search('^__version__ = "(.*)"$', stream.read(), re.M)
        self.assertEqual(self.command("--version"),
                         (0, version.group(1) + "\n", ""))

    def test_help_shows_every_option_once(self):
        status, out, err = self.python(
            self.system.path("potraceroute.py"), "--help")
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("Usage: potraceroute.py "), out)
        for option in ("--tcp", "--udp", "--icmp", "--json", "--control="):
            self.assertEqual(len(re.findall(
                "^ .*" + option, out, re.M)), 1, option)

    def test_bad_arguments_end_in_one_line(self):
        self.assert_one_line(self.command("-p", "0", "localhost"), "port 0")
        self.assert_one_line(self.command("--no-such-option", "localhost"),
                             "--no-such-option")
        self.assert_one_line(self.command("no-such-host.invalid"),
                             "no-such-host.invalid")

    def test_stdin_may_be_the_file(self):
        with io.open(SCRIPT, "rb") as stream:
            text = stream.read()
        status, out, err = self.python(
            "-", "-n", "-p81", self.net.destination, input=text)
        self.assertEqual((status, err), (0, ""))
        words = "\nTCP port 81 is closed: %s refused it"
        if "refused, by whom is not visible" in out:
            words = "\nTCP port 81 is closed or filtered: %s, or a router " \
                "on the way, refused it"
        self.assertIn(words % self.net.destination, out)

    def test_module_probes_one_ttl_and_traces(self):
        out = self.module(
            "options, args = p.parse_options(['-n', '-p', '81', %r])\n"
            "hop = p.Traceroute(options, args[0]).probe(%d)\n"
            "print([hop.ttl, hop.outcome, bool(hop.reached)])\n"
            "t = p.trace(%r, port=80, no_dns=True, banner_wait=0.1)\n"
            "print([str(t.verdict), t.reached, t.distance])\n"
            % (self.net.destination, DISTANCE, self.net.destination))
        self.assertEqual(out.splitlines(), [
            "[%d, 'refused', True]" % DISTANCE, "['open', True, 4]"])

    def test_interrupt_prints_what_is_known(self):
        if isinstance(self.system, Gvisor):
            self.skipTest("runsc without a terminal passes no Ctrl-C on")
        process = self.net.popen(
            self.net.client, self.enter(
                self.system.argv +
                [self.system.path("potraceroute.py"), "-n", "-g0", "-w9",
                 "-p445", self.net.destination]),
            env=self.system.environment,
            privileged=self.privileged or self.system.enters_as_root,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        line = process.stdout.readline()
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        self.assertEqual((process.returncode, err), (130, b""))
        self.assertTrue(line.startswith(b"TCP traceroute"), line)
        self.assertTrue(first.startswith(b"1\t"), first)
        self.assertIn(b"Interrupted", out)
        self.assert_nothing_open()
        self.restart()

    def test_icmp_without_privilege_ends_in_one_line(self):
        if self.system.pings:
            self.skipTest("everybody may send ICMP echo requests")
        self.net.ping_group(self.net.client, "1 0")
        self.addCleanup(self.net.ping_group, self.net.client)
        status, out, err = self.command("-I", "-n", self.net.destination)
        self.assert_one_line((status, out, err), *self.system.icmp_hint)
        if isinstance(self.system, Wine):
            self.assertNotIn("ip route", err)   # no command of Windows


# --------------------------------------------------------------------------
# Running them
# --------------------------------------------------------------------------

class Result(unittest.TextTestResult):
    """Counts what passed: a class that can not start is no test."""

    passed = 0

    def addSuccess(self, test):
        super(Result, self).addSuccess(test)
        self.passed += 1


def write_hosts(path):
    """Names for the network's addresses; a job beside us may be reading."""
    with open("%s.%d" % (path, os.getpid()), "w") as stream:
        stream.write("127.0.0.1 localhost\n::1 localhost\n"
                     "10.77.3.2 mail.example.com\n10.77.0.2 gw.example.net\n")
    os.rename(stream.name, path)


def fill_tree(system, trees, script=None):
    folder = system.folder(trees)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    shutil.copy(script or SCRIPT, os.path.join(folder, "potraceroute.py"))
    write_hosts(os.path.join(trees, system.tree, "etc", "hosts"))


def make_checks(base, system, trees, own=None):
    """A class of checks for a system, with its own ones if `own` is named."""
    bases = (base,)
    if own in system.own_checks:
        bases = (system.own_checks[own], base)
    return type(base.__name__, bases, {"system": system, "trees": trees})


def run_once(name, trees, privileged, arguments, script=None):
    """One run in the checks' network; -> (status, output, errors)."""
    system = SYSTEMS[name]
    fill_tree(system, trees, script)
    base = AsRoot if privileged else AsUser
    checks = make_checks(base, system, trees)
    checks.setUpClass()
    try:
        return checks.run_in_tree(
            system.argv + [system.path("potraceroute.pyc")] + arguments,
            timeout=300)
    finally:
        checks.tearDownClass()


def run_system(name, trees):
    """-> (the text to print, have all passed?)"""
    system = SYSTEMS[name]
    problem = os.path.join(trees, system.tree + ".problem")
    if not os.path.exists(os.path.join(trees, system.tree + ".ready")):
        reason = "not prepared"
        if os.path.exists(problem):
            with io.open(problem, encoding="utf-8") as stream:
                reason = " ".join(stream.read().split())
        return "%s: NOT RUN: %s" % (name, reason), False
    fill_tree(system, trees)
    output, began = io.StringIO(), time.time()
    suite = unittest.TestSuite(
        unittest.defaultTestLoader.loadTestsFromTestCase(
            make_checks(base, system, trees, base.__name__))
        for base in (AsRoot, AsUser))
    result = unittest.TextTestRunner(
        stream=output, verbosity=2, resultclass=Result).run(suite)
    failed = len(result.failures) + len(result.errors)
    text = output.getvalue() if failed else ""
    text += "%s (%s): %d passed, %d failed, %d skipped, %.0f s" % (
        name, ", ".join(part for part in (
            "".join(Checks.versions[-1:]), system.origin) if part),
        result.passed, failed, len(result.skipped), time.time() - began)
    for reason in sorted(set(reason for _, reason in result.skipped)):
        text += "\n  skipped: " + reason
    return text, bool(result.passed) and not failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--make-prefix", metavar="ROOT")
    parser.add_argument("--trees")
    parser.add_argument("--results", metavar="FOLDER")
    parser.add_argument("--once", metavar="NAME",
                        help="run it once, with the arguments after --")
    parser.add_argument("--as-user", action="store_true")
    parser.add_argument("--script", default=SCRIPT,
                        help="another potraceroute.py")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    if options.make_prefix:
        make_prefix(os.path.abspath(options.make_prefix))
        return 0
    if options.once:
        status, out, err = run_once(
            options.once, os.path.abspath(options.trees),
            not options.as_user, options.names, options.script)
        sys.stdout.write(out)
        sys.stderr.write(err)
        return status
    status = 0
    for name in options.names:
        text, passed = run_system(name, os.path.abspath(options.trees))
        status = status if passed else 1
        lab.tell(name, text, passed, options.results)
    return status


if __name__ == "__main__":
    sys.exit(main())
