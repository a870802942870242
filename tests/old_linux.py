"""potraceroute for real on a Linux before 5.8, whose TCP sockets have no
error queue: RHEL 7 and 8, Debian 10, Ubuntu 18.04.

    python3 tests/old_linux.py --kernel FILE [--results FOLDER] NAME..

runs the checks; .ci/systems builds the kernel and does that.  By hand,

    python3 tests/old_linux.py --kernel FILE [--user user] [--no-ping] [-6]
                [--delay 5] [--python PATH] [--here] CASE [OPTION..]

prints what one run says in one of CASES; OPTIONs go to potraceroute.py, and
--here asks this machine's own kernel.

The kernel is User Mode Linux (guest.py), as Debian 11 has it, with the effect
of commit 45af29ca761c (Linux 5.8) undone.  There an ICMP error ends connect()
with its errno, and says no more: root hears the rest by a raw socket, a user
by what UDP or ICMP echo are told at the same ttl.

Two guests, since it matters when an answer comes: with a delay of 5 ms all
come after connect() has returned.  Without, routers answer within its call,
when the socket is held, and the kernel only counts the error
(LockDroppedIcmps): the probe seems unanswered, though the router did answer.

What is asked: the verdict is that of the machine's own kernel, every hop that
let the port pass has its address, and no word is false.
"""

import argparse
import collections
import contextlib
import glob
import io
import json
import os
import shutil
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import guest  # noqa: E402
import lab  # noqa: E402

SCRIPT = os.path.join(os.path.dirname(HERE), "potraceroute.py")
ROUTERS = 3             # client - r1 - r2 - r3 - server
USER = 1000
AT_ONCE = 5             # runs in a guest: they mostly wait

# What happens to a port: the verdict; the same for a user whom only the
# errno of connect() tells; how many routers let it pass; and whose answer
# ends it, by number, 4 is the server.
Case = collections.namedtuple("Case", "port verdict by_errno passed by")
CASES = collections.OrderedDict([
    ("open", Case(80, "open", "open", 3, 4)),
    ("refused", Case(81, "refused", "refused", 3, 4)),
    ("dropped", Case(445, "dropped", "dropped", 2, None)),
    ("prohibited", Case(3389, "rejected", "rejected", 2, 2)),
    ("reset", Case(6667, "reset", "reset", 2, None)),
    # These two look alike to him: none may be called the host's refusal.
    ("host-3/3", Case(3306, "refused", "rejected", 3, 4)),
    ("router-3/3", Case(3308, "rejected", "rejected", 3, 3)),
    ("host-3/10", Case(3307, "rejected", "rejected", 3, 4)),
    ("down", Case(80, "unreachable", "unreachable", 3, 3)),
])
REACHED = ("open", "refused")
RULES = {2: """
    table inet t {
        chain c {
            type filter hook forward priority 0;
            tcp dport 445 drop
            tcp dport 3389 reject with icmpx type admin-prohibited
            tcp dport 6667 reject with tcp reset
        }
    }
""", 3: """
    table inet t {
        chain c {
            type filter hook forward priority 0;
            tcp dport 3308 reject with icmpx type port-unreachable
        }
    }
"""}
# 3/10 has no equal in IPv6: 1/1 is nearest.
SERVER_RULES = """
    table inet t {
        chain c {
            type filter hook input priority 0;
            tcp dport 3306 reject with icmpx type port-unreachable
            tcp dport 3307 ip version 4 reject with icmp type host-prohibited
            tcp dport 3307 reject with icmpx type admin-prohibited
        }
    }
"""

# Who runs it: uid, and whether users may open ping sockets.
Who = collections.namedtuple("Who", "uid ping")
ROOT, PINGS, NO_PING = Who(0, True), Who(USER, True), Who(USER, False)
TITLES = {ROOT: "root", PINGS: "a user", NO_PING: "a user without ping"}

# Where and what: delay in ms, None is this machine's own kernel.
Run = collections.namedtuple("Run", "delay who case six")


def runs_of(delay, whos):
    return [Run(delay, who, case, six) for who in whos
            for six in (False, True) for case in CASES]


# The one with this machine's Python has everything, the others what their
# Python could change.
SYSTEMS = collections.OrderedDict([
    ("old-linux-python3.11", runs_of(5, (ROOT, PINGS, NO_PING)) +
     runs_of(0, (ROOT, PINGS, NO_PING)) + runs_of(None, (PINGS,))),
    ("old-linux-python2.7", runs_of(5, (PINGS,)) + runs_of(0, (ROOT,))),
    ("old-linux-python3.6", runs_of(5, (NO_PING,)) + runs_of(0, (PINGS,))),
])


# --------------------------------------------------------------------------
# The network
# --------------------------------------------------------------------------

def make_network():
    net = lab.Chain(routers=ROUTERS)
    try:
        guest.put_on_the_wire(net)
        for router in RULES:
            net.nft(net.name_of(router), RULES[router])
        net.nft(net.server, SERVER_RULES)
        net.ping_group(net.client)
        net.web = net.serve(net.server, "tcp", port=80)
    except Exception:
        net.close()
        raise
    return net


def arguments(net, case, six=False, absent=99):
    """absent: the number, on the last link, of a host that is down."""
    address = net.destination6 if six else net.destination
    if case == "down":
        # Each run has its own: one's errors shorten another's wait.
        address = address[:-1] + str(absent)
    return ["-p%d" % CASES[case].port, address]


# --------------------------------------------------------------------------
# The checks
# --------------------------------------------------------------------------

class Check(unittest.TestCase):
    """One run of a program, looked at after the guest has powered off."""

    python = script = None      # as the guest has them
    net = result = None
    delay, who = 5, PINGS
    number = 99                 # of this check
    connections = 0             # to the server

    def __str__(self):
        return "%s, %s, %s" % (self.title(), TITLES[self.who], (
            "this kernel" if self.delay is None else "%d ms" % self.delay))

    def title(self):
        return self.__doc__.split("\n")[0]

    def argv(self):
        raise NotImplementedError

    def job(self):
        return guest.job(self.python, self.script, *self.argv(),
                         uid=self.who.uid, ping=self.who.ping)

    def run_here(self):
        self.result = lab.trace(self.net, *self.argv(),
                                privileged=not self.who.uid)

    def output(self, status):
        """What was printed, if the status is right and nothing crashed."""
        found, out, err = self.result
        self.assertNotIn("Traceback", err)
        self.assertEqual((found, err), (status, ""), out)
        return out

    def assert_nothing_false(self, text):
        """What no run here may say, since UDP's errors are shown."""
        for word in ("does not show ICMP errors", "packets are lost",
                     "this host's own firewall", "loops", "None", " ? "):
            self.assertNotIn(word, text)


class CheckTrace(Check):
    """One of CASES, by JSON."""

    def __init__(self, run):
        super(CheckTrace, self).__init__("check")
        self.run_, self.delay, self.who = run, run.delay, run.who
        self.case = CASES[run.case]
        self.connections = run.case == "open"

    def title(self):
        return "%s, IPv%d" % (self.run_.case, 6 if self.run_.six else 4)

    def argv(self):
        return ["--json", "-n"] + arguments(
            self.net, self.run_.case, self.run_.six, self.number)

    def hop(self, k):
        if k == 0:              # ">0": nobody knows where
            return None
        return self.net.hop6(k) if self.run_.six else self.net.hop(k)

    def by_connect_alone(self):
        """Has TCP nothing but the errno of connect()?"""
        return self.delay is not None and self.who.uid

    def verdict(self):
        return (self.case.by_errno if self.by_connect_alone()
                else self.case.verdict)

    def check(self):
        verdict = self.verdict()
        reached = verdict in REACHED
        document = json.loads(self.output(0 if reached else 1))
        trace, = document["traces"]
        told = "%s\n%s" % (trace["summary"], [
            (hop["ttl"], hop["outcome"], hop["address"], hop.get("lent"))
            for hop in trace["hops"]])
        if self.run_.case == "down" and trace["verdict"] == "dropped":
            # Its router's word came too late: then that is left open.
            self.assertRegex(trace["summary"], "a host that is off|cannot "
                             "tell now where|, no farther|or not answered")
            verdict = "dropped"
        if self.delay == 0 and self.by_connect_alone() and \
                "is dropped or rejected" in trace["summary"]:
            self.assertFalse(reached, told)
            verdict = "dropped"     # what came at once was lost
        self.assertEqual(trace["verdict"], verdict, told)
        self.assertEqual(trace["reached"], reached, told)
        self.assertEqual(trace["findings"], [], told)
        self.assert_nothing_false(trace["summary"])
        if self.delay == 0:
            self.check_nothing_false(trace, told)
            return
        self.check_hops(trace["hops"], told)
        self.check_place(trace, told)

    def check_hops(self, hops, told):
        ttls = [hop["ttl"] for hop in hops]
        if hops[-1]["address"] is None and len(ttls) > 1 and \
                ttls[-1] == ttls[-2]:
            del ttls[-1]        # ">3": behind that, nobody knows where
        self.assertEqual(ttls, list(range(1, len(ttls) + 1)), told)
        passed = hops[:self.case.passed]
        self.assertEqual([hop["address"] for hop in passed], [
            self.hop(k + 1) for k in range(self.case.passed)], told)
        for hop in passed:
            if not hop.get("lent"):     # the kernel may have missed TCP's
                self.assertNotEqual(hop["outcome"], "timeout", told)
            if self.by_connect_alone():
                self.assertIn(hop.get("lent"), ("udp", "icmp"), told)
            else:
                self.assertIsNone(hop.get("lent"), told)
        answerer = self.answerer()
        for hop in hops[self.case.passed:]:
            self.assertIn(hop["address"], (
                None, self.hop(hop["ttl"]), answerer), told)

    def answerer(self):
        """Who seems to answer in the end."""
        if self.run_.case == "reset":       # in the name of the host
            return self.hop(ROUTERS + 1)
        return self.case.by and self.hop(self.case.by)

    def check_nothing_false(self, trace, told):
        """Where routers answer at once, the kernel loses answers: less is
        known, and nothing else is said."""
        for hop in trace["hops"]:
            self.assertIn(hop["address"], (
                None, self.hop(hop["ttl"]), self.answerer(),
                self.hop(ROUTERS + 1)), told)
        place = trace["blocked_after"]
        if place and place["ttl"] <= ROUTERS:
            self.assertLessEqual(place["ttl"], self.case.passed, told)
            self.assertIn(place["address"], (None, self.hop(place["ttl"])),
                          told)

    def check_place(self, trace, told):
        """A place that is said is the right one; and it is said, unless
        nobody could know."""
        if self.verdict() in REACHED:
            self.assertEqual(trace["distance"], ROUTERS + 1, told)
            self.assertEqual(trace["responder"], self.answerer(), told)
            return
        allowed = [{"ttl": self.case.passed,
                    "address": self.hop(self.case.passed)}]
        responders = [self.case.by and self.hop(self.case.by)]
        if self.by_connect_alone() and self.case.by:
            # An errno tells neither who sent the error nor which it was.
            allowed.append(None)
            responders.append(None)
        self.assertIn(trace["blocked_after"], allowed, told)
        self.assertIn(trace["responder"], responders, told)


class CheckText(Check):
    """What a user reads"""

    def __init__(self, case, who):
        super(CheckText, self).__init__("check")
        self.name, self.case, self.who = case, CASES[case], who
        self.connections = case == "open"

    def title(self):
        return self.name + " as text"

    def argv(self):
        return ["-n"] + arguments(self.net, self.name, absent=self.number)

    def check(self):
        reached = self.case.by_errno in REACHED
        out = self.output(0 if reached else 1)
        self.assert_nothing_false(out)
        for ttl, line in enumerate(out.splitlines()[1:1 + self.case.passed],
                                   1):
            self.assertTrue(line.startswith("%d\t" % ttl), out)
            self.assertIn(self.net.hop(ttl), line, out)
            self.assertRegex(line, r"\bby (UDP|ICMP)\b", out)
        if not reached:
            self.assertNotIn("not visible)", out)


class CheckPorts(Check):
    """Ports of every kind in one run"""

    connections = 1

    def __init__(self, who, delay):
        super(CheckPorts, self).__init__("check")
        self.who, self.delay = who, delay

    def argv(self):
        return ["--json", "-n", "-p" + ",".join(
            str(case.port) for case in self.cases()), self.net.destination]

    @staticmethod
    def cases():
        return [CASES[name] for name in CASES if name != "down"]

    def check(self):
        traces = json.loads(self.output(1))["traces"]
        self.assertEqual(
            [(trace["port"], trace["verdict"]) for trace in traces],
            [(case.port, case.by_errno if self.who.uid else case.verdict)
             for case in self.cases()], [trace["summary"] for trace in traces])
        for trace in traces:
            self.assert_nothing_false(trace["summary"])
            # Port 80 is open.
            self.assertNotIn("is unreachable", trace["summary"])


class CheckDoctor(Check):
    """--doctor"""

    def __init__(self, who):
        super(CheckDoctor, self).__init__("check")
        self.who = who

    def argv(self):
        return ["--doctor"]

    def check(self):
        out = self.output(0)
        for line in out.splitlines():
            if line.startswith("TCP"):
                self.assertNotIn("error-queue", line, out)
            if line.startswith("UDP"):
                self.assertIn("error-queue", line, out)
        self.assertNotIn("they need Linux 5.8", out)    # perhaps backported
        if self.who.uid:
            self.assertRegex(out, r"\bby (UDP|ICMP)\b")


class CheckOther(Check):
    """UDP and ICMP, which are as everywhere"""

    def __init__(self, who, delay, option, verdict):
        super(CheckOther, self).__init__("check")
        self.who, self.delay, self.verdict = who, delay, verdict
        self.option = option

    def title(self):
        return self.option

    def argv(self):
        return ["--json", "-n", self.option, self.net.destination]

    def check(self):
        trace, = json.loads(self.output(0))["traces"]
        self.assertEqual(trace["verdict"], self.verdict, trace["summary"])
        self.assertEqual(
            [(hop["address"], hop.get("lent")) for hop in trace["hops"]],
            [(self.net.hop(k), None) for k in range(1, ROUTERS + 2)])


class CheckServer(Check):
    """One connection for each run, and none that is half open"""

    def __init__(self, net, checks):
        super(CheckServer, self).__init__("check")
        self.net, self.delay = net, checks[0].delay
        self.runs = sum(each.connections for each in checks)

    def __str__(self):
        return "%s, %d ms" % (self.title(), self.delay)

    def check(self):
        self.assertEqual(self.accepts, self.runs)
        self.assertEqual(self.half_open, 0)

    def look(self):
        self.accepts = self.net.web.accepts()
        self.half_open = self.net.half_open(self.net.server, 80)


def checks_of(name):
    checks = [CheckTrace(run) for run in SYSTEMS[name]]
    if name == "old-linux-python3.11":
        checks += [CheckText(case, who) for case in CASES
                   for who in (PINGS, NO_PING) if case != "prohibited"]
        checks += [CheckPorts(who, delay) for who in TITLES
                   for delay in (5, 0)]
        checks += [CheckDoctor(who) for who in TITLES]
        checks += [CheckOther(who, delay, "-U", "refused")
                   for who in TITLES for delay in (5, 0)]
        checks += [CheckOther(who, delay, "-I", "answered")
                   for who in (ROOT, PINGS) for delay in (5, 0)]
    for number, check in enumerate(checks, 3):
        check.number = number
    return checks


# --------------------------------------------------------------------------
# Running them
# --------------------------------------------------------------------------

class Result(unittest.TextTestResult):
    """Counts what passed."""

    passed = 0

    def addSuccess(self, test):
        super(Result, self).addSuccess(test)
        self.passed += 1


def find_python(version):
    """The path of Python 2.7, say, on this machine; or None."""
    root = os.environ.get("PYENV_ROOT") or os.path.expanduser("~/.pyenv")
    paths = sorted(glob.glob("%s/versions/%s.*/bin/python%s" % (
        root, version, version)))
    return shutil.which("python" + version, path="/usr/bin:/usr/local/bin") \
        or (paths[-1] if paths else None)


def run_all(checks, kernel, python):
    """Give each check its result: one guest for each delay, all at once.
    -> more checks, of the servers."""
    with contextlib.ExitStack() as stack:
        guests = []
        for delay in sorted(set(check.delay for check in checks
                                if check.delay is not None)):
            mine = sorted((check for check in checks
                           if check.delay == delay),
                          key=lambda check: not check.who.ping)
            net = stack.enter_context(make_network())
            host = stack.enter_context(guest.Guest(
                net, kernel, delay, pythons=[python], at_once=AT_ONCE))
            start_guest(host, mine, python)
            guests.append((host, mine))
        for host, mine in guests:
            for check, result in zip(mine, host.results()):
                check.result = result
        servers = [CheckServer(host.net, mine) for host, mine in guests]
        for check in servers:
            check.look()
        for check in checks:
            if check.delay is None:
                check.net = guests[0][0].net
                check.run_here()
        return servers


def start_guest(host, checks, python):
    script = host.copy(SCRIPT, python)
    for check in checks:
        check.net, check.python, check.script = host.net, python, script
        host.jobs.append(check.job())
    host.start()


def problem(kernel):
    """Why there is no kernel, or None; .ci/systems leaves the reason."""
    if os.path.exists(kernel):
        return None
    try:
        with io.open(os.path.dirname(kernel) + ".problem",
                     encoding="utf-8") as stream:
            return " ".join(stream.read().split())
    except EnvironmentError:
        return "no kernel %s" % kernel


def run_system(name, kernel):
    """-> (the text to print, have all passed?)"""
    python = find_python(name.split("python")[1])
    reason = problem(kernel)
    if python is None:
        reason = "no such Python here"
    if reason:
        return "%s: NOT RUN: %s" % (name, reason), True
    output, began = io.StringIO(), time.time()
    checks = checks_of(name)
    checks += run_all(checks, kernel, python)
    result = unittest.TextTestRunner(
        stream=output, verbosity=1, resultclass=Result).run(
            unittest.TestSuite(checks))
    failed = len(result.failures) + len(result.errors)
    text = output.getvalue() if failed else ""
    text += "%s (User Mode Linux): %d passed, %d failed, 0 skipped, %.0f s" \
        % (name, result.passed, failed, time.time() - began)
    return text, bool(result.passed) and not failed


# --------------------------------------------------------------------------
# By hand
# --------------------------------------------------------------------------

def show(case, options, words):
    """One run in the guest, or by this kernel, as text."""
    uid = USER if options.user == "user" else 0
    with make_network() as net:
        argv = ["-n"] + words + arguments(net, case, options.six)
        if options.here:
            if options.no_ping:
                net.ping_group(net.client, "1 0")
            result = lab.trace(net, *argv, privileged=not uid)
        else:
            result = trace_in_guest(net, options, argv, uid)
    print("%s%s(exit status %d)" % (result[1], result[2], result[0]))


def trace_in_guest(net, options, argv, uid):
    with guest.Guest(net, options.kernel, options.delay,
                     pythons=[options.python]) as host:
        script = host.copy(SCRIPT, options.python)
        host.jobs.append(guest.job(options.python, script, *argv, uid=uid,
                                   ping=not options.no_ping))
        host.start()
        result, = host.results()
        return result


def new_parser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--results", metavar="FOLDER")
    parser.add_argument("--user", choices=("root", "user"), default="root")
    parser.add_argument("--no-ping", action="store_true",
                        help="ping_group_range is closed")
    parser.add_argument("--delay", type=int, default=5, metavar="MS")
    parser.add_argument("--python", default="/usr/bin/python3")
    parser.add_argument("--here", action="store_true",
                        help="the same by this machine's own kernel")
    parser.add_argument("-6", dest="six", action="store_true")
    parser.add_argument("names", nargs="+", metavar="CASE or NAME",
                        choices=list(CASES) + list(SYSTEMS))
    return parser


def main():
    options, words = new_parser().parse_known_args()
    status = 0
    for name in options.names:
        if name in CASES:
            show(name, options, words)
            continue
        text, passed = run_system(name, options.kernel)
        status = status if passed else 1
        lab.tell(name, text, passed, options.results)
    return status


if __name__ == "__main__":
    sys.exit(main())
