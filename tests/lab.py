"""The test laboratory: real networks, in namespaces that clean up themselves.

    class TestOpenPort(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            lab.require_live()          # skips, or fails when so ordered

        def test_open_port_behind_four_routers_is_reached(self):
            with lab.Chain(routers=4) as net:
                web = net.serve(net.server, "banner", port=80, banner=b"hi")
                status, out, err = net.run(
                    net.client, [sys.executable, SCRIPT, net.destination],
                    privileged=False)
                self.assertIn(net.hop(2), out)
                self.assertEqual(web.accepts(), 1)

Three classes, each a context manager (or call close()):

  Network   namespaces and nothing else:
      namespace(name)              make one; loopback is up
      popen(ns, argv, privileged=True, uid=None, etc=None, **popen)
                                   a subprocess.Popen inside it, in a session
                                   of its own; dies with the thread that
                                   started it, so start it from a live one
      run(ns, argv, input=None, timeout=60, ...same)
                                   -> (status, stdout, stderr), as text
      fork(ns, program, arguments=(), timeout=60, privileged=..., ...)
                                   the same, of the text of a Python program;
                                   fork_all(ns, calls, at_once=4) of several
      ip(ns, "one command per line"), nft(ns, ruleset)
      sysctl(ns, name, value)      and sysctl(ns, name) to read
      ping_group(ns, "0 2147483647")
      serve(ns, kind, port=0, families=(4, 6), banner=b"", after=0,
            hang_up=False)         -> a Server: .port .accepts() .received()
                                   .payloads() .close()
      half_open(ns, port)          connections in state SYN-RECV
      sockets(ns)                  [(proto, local port, state)]

      privileged=False takes CAP_NET_RAW and CAP_NET_ADMIN away for good;
      uid=65534 runs as that user and group (who must be able to read the
      program: a Python below /root is out of reach);
      etc={"resolv.conf": text, "hosts": text} shows the program these files
      in /etc.

  Chain     client - r1 - ... - rN - server, kernel routers:
      link k is 10.77.k.0/24 and fd77:k::/64; the side nearer to the client
      is .1 and ::1, the other .2 and ::2.
      .client .routers .server .destination .destination6 .distance
      .hop(k) .hop6(k)
      ICMP rate limits are off, unless icmp_limits=True.
      filter(node, hook, lines)    nft rules in one of forward, input, output,
                                   nat (prerouting); node: a name, or a k
      mute(node)                   it sends no ICMP, and answers no UDP
      add_branch(k, length=1)      so many routers beside router k, which get
                                   half of the flows, IPv4 only;
                                   -> (name, address) of the first

  Path      client - (emulated routers) - server, over two TUN devices:
      .client .server .destination .destination6 .distance .hop(k) .hop6(k)
      Path(routers=5, delay=0.0, hops={3: {"silent": True}}, ...)
      configure(...)  the same words; what is not named stays, except that a
                      hop that is named gets exactly the settings given
      configure(clear=True, ...)  begins again from nothing
      stats()         {"routers": {k: {...}}, "to_server": {...}, ...}
      captured()      what the client sent: emulator.Packet objects
      The settings are listed at the top of emulator.py.

And for potraceroute, in the client of any of them:

  trace(net, *arguments, **how)            -> (status, stdout, stderr)
  trace_several(net, [(arguments, how)])   -> a list of them, run at once
  trace_all(net, [(arguments, how)])       the same with --json -n:
                                           -> [(status, traces)]
  compiled("potraceroute")                 the file to start it from

How it works.  One holder process per Network makes the namespaces and keeps
them open; nothing has a name, so nothing can be left behind: the holder ends
when its standard input does, that is, with the test process at the latest.
Whenever possible the namespaces belong to a new user namespace, in which even
a test process without CAP_NET_RAW can run privileged commands.

A start of Python with potraceroute takes a tenth of a second of the
processor, and there are a thousand of them: so the holder loads the module,
once, and fork() runs a program in a copy of that process, which enters the
namespace, gives up privileges, and has standard files, a session and an end
of its own.  What is about the process itself - how it starts, is limited or
interrupted, what becomes of its output - is tested by run() and popen().
"""

import ctypes
import errno
import io
import json
import os
import select
import signal
import socket
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCES = {"lab": os.path.join(HERE, "lab.py"),
           "emulator": os.path.join(HERE, "emulator.py"),
           "potraceroute": os.path.join(os.path.dirname(HERE),
                                        "potraceroute.py")}
COMMAND = "import potraceroute, sys\nsys.exit(potraceroute.main())"
OPEN_TO_ALL = "0 2147483647"
CONTROL_TIMEOUT = 30

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
PR_SET_PDEATHSIG = 1
PR_CAPBSET_DROP = 24
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
CAP_NET_ADMIN, CAP_NET_RAW = 12, 13
CAPABILITY_VERSION_3 = 0x20080522
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 0x40000
SIOCSIFFLAGS = 0x8914
IFF_UP = 1
IPV6_V6ONLY = 26
TUNSETIFF = 0x400454ca
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

TCP_STATES = {1: "ESTABLISHED", 2: "SYN-SENT", 3: "SYN-RECV",
              4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT", 7: "CLOSE",
              8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING"}


class LabError(Exception):
    """The laboratory itself does not work."""


# --------------------------------------------------------------------------
# System calls that Python lacks
# --------------------------------------------------------------------------

def system_call(name, *arguments):
    """Call a C library function; raise OSError naming it if it fails."""
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) == -1:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (name, os.strerror(number)))


def prctl(option, value):
    zero = ctypes.c_ulong(0)
    system_call("prctl", option, ctypes.c_ulong(value), zero, zero, zero)


def join_namespaces(joins):
    """Enter namespaces: a list of [kind, path of the namespace file]."""
    # All are opened first: /proc may look different from inside.
    files = [(kind, os.open(path, os.O_RDONLY)) for kind, path in joins]
    for kind, fd in files:
        system_call("setns", fd, kind)
        os.close(fd)


def drop_capabilities(*numbers):
    """Lose capabilities for good, whatever this process may execute."""
    for number in numbers:
        prctl(PR_CAPBSET_DROP, number)
    try:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError:
        pass                        # Linux before 4.3 has no ambient set
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    system_call("capget", header, data)
    sets = list(struct.unpack("=6I", data.raw))
    for number in numbers:
        start = 3 * (number // 32)
        for index in range(start, start + 3):
            sets[index] &= ~(1 << number % 32)
    system_call("capset", header, struct.pack("=6I", *sets))


def cover_etc_files(texts):
    """Show this process, and only it, other files in /etc."""
    import tempfile
    system_call("unshare", CLONE_NEWNS)
    system_call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    for name in sorted(texts):
        fd, path = tempfile.mkstemp()
        try:
            os.write(fd, texts[name].encode("utf-8"))
            os.fchmod(fd, 0o644)
            target = os.path.realpath(os.path.join("/etc", name))
            system_call("mount", path.encode(), target.encode(), None,
                        MS_BIND, None)
        finally:
            os.close(fd)
            os.unlink(path)         # the mount keeps the file alive


def go_first():
    """Have the processor before others: we play a network or a host that
    has nothing else to do.  Only root may."""
    try:
        os.nice(-10)
    except OSError:
        pass


def raise_loopback():
    import fcntl
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        fcntl.ioctl(sock.fileno(), SIOCSIFFLAGS,
                    struct.pack("16sH14x", b"lo", IFF_UP))
    finally:
        sock.close()


def open_tun(name):
    """Make a TUN device in the current namespace; return its descriptor."""
    import fcntl
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(fd, TUNSETIFF, struct.pack(
            "16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    except Exception:
        os.close(fd)
        raise
    return fd


# --------------------------------------------------------------------------
# Child processes of the laboratory
# --------------------------------------------------------------------------

_folders = []           # the one of code_folder(), once it is there


def code_folder():
    """A folder with SOURCES, compiled once, for the processes we start."""
    if not _folders:
        import atexit
        import py_compile
        import shutil
        import tempfile
        folder = tempfile.mkdtemp()
        atexit.register(shutil.rmtree, folder, True)
        for name in SOURCES:
            py_compile.compile(SOURCES[name], os.path.join(
                folder, name + ".pyc"), doraise=True)
        _folders.append(folder)
    return _folders[0]


def compiled(name):
    """The path of the compiled copy of one of SOURCES."""
    return os.path.join(code_folder(), name + ".pyc")


def python_command(module, function):
    """The start of an argv that calls function(arguments) of a module."""
    # A Python without "site" starts in 10 ms.
    switches = ["-E", "-s", "-S"] + ["-B"] * bool(sys.dont_write_bytecode)
    return [sys.executable] + switches + [
        "-c", "import sys; sys.path.insert(0, %r); import %s; %s.%s("
        "sys.argv[1:])" % (code_folder(), module, module, function)]


def answer_requests(answer, wait=None):
    """Main loop of a child: answer JSON lines until standard input ends.

    `wait(readable)`, if any, is called to wait until `readable` is so.
    """
    pending = b""
    while True:
        if wait is not None:
            wait(0)
        chunk = os.read(0, 65536)
        if not chunk:
            return
        pending += chunk
        while b"\n" in pending:
            line, pending = pending.split(b"\n", 1)
            write_reply(answer, json.loads(line.decode("ascii")))


def write_reply(answer, request):
    """Write what answer(request) returns, or its exception, as one line."""
    try:
        reply = answer(request)
    except Exception as error:
        reply = {"error": "%s: %s" % (type(error).__name__, error)}
    line = json.dumps(reply).encode("ascii") + b"\n"
    while line:
        line = line[os.write(1, line):]


class Child(object):
    """A process of the laboratory that answers one JSON line with another."""

    def __init__(self, argv):
        import subprocess
        import threading
        self.lock = threading.Lock()
        self.process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            close_fds=True)
        self.pid = self.process.pid
        self.pending = b""

    def request(self, patience=CONTROL_TIMEOUT, **request):
        """Send a request and return its reply; LabError if it failed."""
        line = json.dumps(request).encode("ascii") + b"\n"
        with self.lock:
            try:
                self.process.stdin.write(line)
                self.process.stdin.flush()
            except (IOError, OSError) as error:
                raise LabError("a process of the laboratory died: %s" % error)
            return self.read_reply(patience)

    def read_reply(self, patience=CONTROL_TIMEOUT):
        reply = json.loads(self.read_line(patience).decode("ascii"))
        if "error" in reply:
            raise LabError(reply["error"])
        return reply

    def read_line(self, patience):
        fd = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            if not select.select([fd], [], [], patience)[0]:
                raise LabError("a process of the laboratory hangs")
            chunk = os.read(fd, 65536)
            if not chunk:
                raise LabError("a process of the laboratory died")
            self.pending += chunk
        line, self.pending = self.pending.split(b"\n", 1)
        return line

    def close(self):
        close_process(self.process)


def close_process(process):
    """Kill a process, its process group too; leave nothing open."""
    kill_group(process)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            try:
                stream.close()
            except (IOError, OSError):
                pass                # what was buffered cannot be sent
    process.wait()


def kill_group(process):
    # A launched program leads a group of its own; just before, it does not.
    for kill in (os.killpg, os.kill):
        if kill is os.kill and process.poll() is not None:
            continue                # reaped: the number may be another's
        try:
            kill(process.pid, signal.SIGKILL)
        except OSError:
            pass


# --------------------------------------------------------------------------
# The holder: makes namespaces, keeps them, works inside them
# --------------------------------------------------------------------------

def hold(arguments):
    """Main program of the holder; `arguments` is ["user"] or ["plain"]."""
    if arguments == ["user"]:
        write_reply(lambda _: system_call("unshare", CLONE_NEWUSER) or {}, {})
    holder = Holder()
    answer_requests(lambda request: getattr(
        holder, "do_" + request.pop("do"))(**request))


class Holder(object):
    """The operations that the test process asks of the holder."""

    def enter(self, namespace):
        system_call("setns", namespace, CLONE_NEWNET)

    def do_create(self):
        system_call("unshare", CLONE_NEWNET)
        raise_loopback()
        return {"fd": os.open("/proc/self/ns/net", os.O_RDONLY)}

    def do_run(self, jobs):
        """Run [namespace, argv, input] each; stop at a failing one."""
        import subprocess
        for namespace, argv, text in jobs:
            self.enter(namespace)
            process = subprocess.Popen(
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, close_fds=True)
            out, err = process.communicate(text.encode("utf-8"))
            if process.returncode:
                raise LabError("%s: %s in:\n%s" % (
                    " ".join(argv), err.decode("utf-8", "replace"), text))
        return {"output": out.decode("utf-8", "replace")}

    def do_write(self, files):
        """Write [namespace, path, text, is needed] each."""
        for namespace, path, text, needed in files:
            self.enter(namespace)
            try:
                fd = os.open(path, os.O_WRONLY)
                try:
                    os.write(fd, text.encode("ascii"))
                finally:
                    os.close(fd)
            except OSError as error:
                if needed:
                    raise LabError("%s = %s: %s" % (path, text, error))
        return {}

    def do_read(self, namespace, paths):
        self.enter(namespace)
        texts = []
        for path in paths:
            with open(path) as stream:
                texts.append(stream.read())
        return {"texts": texts}

    def do_try_tun(self, namespace):
        self.enter(namespace)
        os.close(open_tun("try0"))
        return {}

    def do_load(self):
        """Load what forked programs will want, so that they need not."""
        import binascii         # noqa: F401
        import optparse         # noqa: F401
        import potraceroute
        import tempfile         # noqa: F401
        import threading        # noqa: F401
        potraceroute.new_parser()
        return {}

    def do_fork(self, jobs, at_once):
        """Run programs, the arguments of Fork each, so many at a time."""
        waiting, running, forks = list(jobs), {}, []
        while waiting or running:
            while waiting and len(set(running.values())) < at_once:
                fork = Fork(*waiting.pop(0))
                running.update(dict.fromkeys(fork.pipes, fork))
                forks.append(fork)
            for fd in select.select(list(running), [], [], 0.5)[0]:
                if not running[fd].read(fd):
                    del running[fd]
            for fork in set(running.values()):
                fork.kill_overdue()
        return {"results": [fork.finish() for fork in forks]}


class Fork(object):
    """A program in a copy of the holder's process."""

    def __init__(self, namespace, program, arguments, timeout, how):
        self.timeout, self.overdue = timeout, False
        self.deadline = wall_clock() + timeout
        out, err = os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self.become(namespace, program, arguments, how, out[1], err[1])
        os.close(out[1])
        os.close(err[1])
        self.pipes = [out[0], err[0]]
        self.octets = {out[0]: b"", err[0]: b""}

    def become(self, namespace, program, arguments, how, out, err):
        """In the copy: run the program, and end."""
        status = 1
        try:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.setsid()
            system_call("setns", namespace, CLONE_NEWNET)
            os.closerange(3, 1024)
            give_up_privileges(how)
            sys.argv = [str(word) for word in ["program"] + arguments]
            exec(compile(program, "program", "exec", 0, True),
                 {"__name__": "__main__"})
            status = 0
        except SystemExit as end:
            status = end.code or 0
            if not isinstance(status, int):
                sys.stderr.write("%s\n" % status)
                status = 1
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            self.end(status)

    def end(self, status):
        """As sys.exit() does, without the 30 ms of taking all to pieces."""
        try:
            import threading
            for thread in threading.enumerate():
                if not (thread.daemon or
                        thread is threading.current_thread()):
                    thread.join()
            sys.stdout.flush()
            sys.stderr.flush()
        except BaseException:
            status = 120
        os._exit(status)

    def read(self, fd):
        """Read a pipe; false if that was all."""
        octets = os.read(fd, 65536)
        self.octets[fd] += octets
        if not octets:
            os.close(fd)
        return octets

    def kill_overdue(self):
        if wall_clock() > self.deadline and not self.overdue:
            self.overdue = True
            for kill in (os.killpg, os.kill):   # perhaps not yet a group
                try:
                    kill(self.pid, signal.SIGKILL)
                except OSError:
                    pass

    def finish(self):
        """-> [status, output, error output]"""
        status = os.waitpid(self.pid, 0)[1]
        out, err = [self.octets[fd].decode("utf-8", "replace")
                    for fd in self.pipes]
        if self.overdue:
            err += "\nlab: killed after %s seconds\n" % self.timeout
        return [-(status & 127) or status >> 8, out, err]


# --------------------------------------------------------------------------
# The launcher: becomes a program inside a namespace
# --------------------------------------------------------------------------

def launch(arguments):
    """Enter namespaces, give up privileges, execute the program."""
    __import__("warnings")  # os.execvp wants it, perhaps out of reach then
    how, argv = json.loads(arguments[0]), arguments[1:]
    try:
        enter_as_asked(how)
    except EnvironmentError as error:
        sys.stderr.write("lab: cannot enter the namespace: %s\n" % error)
        sys.exit(126)
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.stderr.write("lab: %s: %s\n" % (argv[0], error))
        sys.exit(127)


def enter_as_asked(how):
    os.setsid()
    join_namespaces(how["joins"])
    give_up_privileges(how)
    # Python ignores these, and what is ignored stays so across exec.
    for name in ("SIGPIPE", "SIGXFSZ"):
        signal.signal(getattr(signal, name), signal.SIG_DFL)


def give_up_privileges(how):
    if how["etc"]:
        cover_etc_files(how["etc"])
    if not how["privileged"]:
        drop_capabilities(CAP_NET_ADMIN, CAP_NET_RAW)
    if how["uid"] is not None:
        os.setgroups([])
        os.setgid(how["uid"])
        os.setuid(how["uid"])
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)     # a change of user clears it


# --------------------------------------------------------------------------
# The little servers
# --------------------------------------------------------------------------

SERVER_KINDS = ("tcp", "banner", "answer", "echo-udp", "silent-udp")


def serve(arguments):
    """Main program of all servers of a namespace."""
    go_first()
    join_namespaces(json.loads(arguments[0]))
    house = House()
    answer_requests(lambda request: getattr(
        house, "do_" + request.pop("do"))(**request), house.work_until)


class House(object):
    """The servers of a namespace, in one process."""

    def __init__(self):
        self.services = {}          # by number
        self.number = 0

    def do_open(self, **options):
        service = (UdpService if options["kind"].endswith("udp")
                   else TcpService)(options)
        self.number += 1
        self.services[self.number] = service
        return {"number": self.number, "port": service.port}

    def do_report(self, number):
        return self.services[number].report()

    def do_close(self, number):
        self.services.pop(number).close()
        return {}

    def work_until(self, control):
        """Let them work until `control` can be read."""
        while True:
            services = list(self.services.values())
            due = [service.due() for service in services]
            waits = [max(0, when - wall_clock()) for when in due
                     if when is not None]
            ready = set(select.select(
                [control] + [sock for service in services
                             for sock in service.sockets()],
                [], [], min(waits) if waits else None)[0])
            for service in services:
                service.work(ready)
            if control in ready:
                return


def open_listeners(kind, families, port):
    """One socket per family, on one port: dual ones would mix them up."""
    sockets = []
    for family in families:
        sock = socket.socket(
            socket.AF_INET6 if family == 6 else socket.AF_INET, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_V6ONLY, 1)
        sock.bind(("::" if family == 6 else "0.0.0.0", port))
        port = sock.getsockname()[1]
        sock.setblocking(False)
        sockets.append(sock)
    return sockets, port


class TcpService(object):
    """Accepts; perhaps says its banner; keeps open until the peer closes."""

    def __init__(self, options):
        self.banner = bytearray.fromhex(options["banner"])
        self.after = options["after"]
        self.answers = options["kind"] == "answer"
        self.hang_up = options["hang_up"]
        self.listeners, self.port = open_listeners(
            socket.SOCK_STREAM, options["families"], options["port"])
        for listener in self.listeners:
            listener.listen(128)
        self.accepted = 0
        self.heard = []             # one bytearray per connection
        self.open = {}              # socket -> its index in heard
        self.to_greet = []          # [due, socket], the earliest first

    def sockets(self):
        return self.listeners + list(self.open)

    def due(self):
        """When something is to be done though nothing comes, or None."""
        return self.to_greet[0][0] if self.to_greet else None

    def work(self, ready):
        for listener in self.listeners:
            if listener in ready:
                self.accept(listener)
        for sock in [s for s in ready if s in self.open]:
            self.receive(sock)
        while self.to_greet and self.to_greet[0][0] <= wall_clock():
            self.greet(self.to_greet.pop(0)[1])

    def accept(self, listener):
        while True:
            try:
                sock = listener.accept()[0]
            except (IOError, OSError):
                return
            sock.setblocking(False)
            self.open[sock] = self.accepted
            self.accepted += 1
            self.heard.append(bytearray())
            if (self.banner or self.hang_up) and not self.answers:
                self.to_greet.append([wall_clock() + self.after, sock])

    def receive(self, sock):
        try:
            octets = sock.recv(65536)
        except (IOError, OSError) as error:
            if error.errno in (errno.EAGAIN, errno.EINTR):
                return
            octets = b""
        self.heard[self.open[sock]] += octets
        if octets and self.answers:
            self.greet(sock)
            return
        if not octets:
            del self.open[sock]
            sock.close()

    def greet(self, sock):
        if sock not in self.open:
            return
        try:
            sock.sendall(self.banner)
        except (IOError, OSError):
            pass                    # the peer has gone
        if self.hang_up:
            del self.open[sock]
            if self.hang_up == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                struct.pack("ii", 1, 0))
            sock.close()

    def close(self):
        for sock in self.sockets():
            sock.close()

    def report(self):
        # What the kernel has completed counts, seen by our loop or not.
        self.work(select.select(self.sockets(), [], [], 0)[0])
        return {"accepts": self.accepted,
                "received": sum(len(octets) for octets in self.heard),
                "payloads": [to_hex(octets) for octets in self.heard]}


class UdpService(object):
    """Takes datagrams; sends them back, or never answers."""

    def __init__(self, options):
        self.echo = options["kind"] == "echo-udp"
        self.listeners, self.port = open_listeners(
            socket.SOCK_DGRAM, options["families"], options["port"])
        self.heard = []

    def sockets(self):
        return self.listeners

    def due(self):
        return None

    def work(self, ready):
        for sock in ready.intersection(self.listeners):
            while True:
                try:
                    octets, peer = sock.recvfrom(65536)
                    self.heard.append(octets)
                    if self.echo:
                        sock.sendto(octets, peer)
                except (IOError, OSError):
                    break

    def close(self):
        for sock in self.listeners:
            sock.close()

    def report(self):
        self.work(set(self.listeners))
        return {"accepts": 0, "received": len(self.heard),
                "payloads": [to_hex(octets) for octets in self.heard]}


def wall_clock():
    import time
    return getattr(time, "monotonic", time.time)()


def to_hex(octets):
    return "".join("%02x" % octet for octet in bytearray(octets))


def from_hex(text):
    return bytes(bytearray.fromhex(text))


class Server(object):
    """What Network.serve returns: a server that runs."""

    def __init__(self, child, **options):
        self._child = child
        reply = child.request(do="open", **options)
        self._number, self.port = reply["number"], reply["port"]

    def _report(self):
        return self._child.request(do="report", number=self._number)

    def accepts(self):
        """The number of TCP connections accepted until now."""
        return self._report()["accepts"]

    def received(self):
        """Octets that came over TCP, or UDP datagrams, until now."""
        return self._report()["received"]

    def payloads(self):
        """What came, as a list of bytes: per connection or datagram."""
        return [from_hex(text) for text in self._report()["payloads"]]

    def close(self):
        """As if its process were killed."""
        if self._number is not None:
            self._child.request(do="close", number=self._number)
            self._number = None


# --------------------------------------------------------------------------
# Network: namespaces, and programs inside them
# --------------------------------------------------------------------------

class Network(object):
    """Unnamed network namespaces; see the top of this file."""

    def __init__(self):
        self._namespaces = {}       # name -> descriptor in the holder
        self._processes = []
        self._houses = {}               # namespace -> process of servers
        self._holder = None
        self._loaded = False            # has the holder potraceroute?
        self.user_namespace = False     # do we have one of our own?
        self.highest_id = highest_id("uid_map")     # of users, and groups
        try:
            self._open_holder()
        except Exception:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """End every process and with them every namespace."""
        for house in self._houses.values():
            house.close()
        for process in self._processes:
            close_process(process)
        if self._holder is not None:
            self._holder.close()
        self._houses, self._processes, self._holder = {}, [], None
        self._namespaces = {}

    def _open_holder(self):
        try:
            self._open_user_holder()
        except (LabError, EnvironmentError):
            if self._holder is not None:
                self._holder.close()
            if os.geteuid() != 0:
                raise
            self.user_namespace = False
            self._holder = Child(python_command("lab", "hold") + ["plain"])
            self._holder.request(do="create")

    def _open_user_holder(self):
        self._holder = Child(python_command("lab", "hold") + ["user"])
        self._holder.read_reply()
        self._map_users(self._holder.pid)
        self._holder.request(do="create")       # may be refused only here
        self.user_namespace = True

    def _map_users(self, pid):
        if os.geteuid() == 0:
            maps = [(name, same_ids(name)) for name in ("uid_map", "gid_map")]
        else:
            self.highest_id = 0
            maps = [("setgroups", "deny"),
                    ("uid_map", "0 %d 1" % os.geteuid()),
                    ("gid_map", "0 %d 1" % os.getegid())]
        for name, text in maps:
            fd = os.open("/proc/%d/%s" % (pid, name), os.O_WRONLY)
            try:
                os.write(fd, text.encode("ascii"))
            finally:
                os.close(fd)

    def namespace(self, name):
        """Make a namespace, its loopback up; return its name."""
        if name in self._namespaces:
            raise ValueError("there is a namespace %r already" % name)
        self._namespaces[name] = self._holder.request(do="create")["fd"]
        settings = [("net.ipv6.conf.%s.%s" % (scope, setting), value, False)
                    for scope in ("all", "default")
                    for setting, value in (("accept_dad", 0),
                                           ("dad_transmits", 0),
                                           ("router_solicitations", 0))]
        self._write_settings([(name,) + each for each in settings])
        return name

    def namespace_file(self, name):
        """The path of a namespace, as `setns` and `ip` take it."""
        return "/proc/%d/fd/%d" % (self._holder.pid, self._namespaces[name])

    def _joins(self, *names):
        """What join_namespaces() needs."""
        joins = [[CLONE_NEWNET, self.namespace_file(name)] for name in names]
        if self.user_namespace:
            user = "/proc/%d/ns/user" % self._holder.pid
            joins.insert(0, [CLONE_NEWUSER, user])
        return joins

    def popen(self, ns, argv, privileged=True, uid=None, etc=None,
              **options):
        """Start a program in a namespace; return its subprocess.Popen."""
        import subprocess
        how = dict(self._how(privileged, uid, etc), joins=self._joins(ns))
        options.setdefault("close_fds", True)
        process = subprocess.Popen(
            python_command("lab", "launch") + [json.dumps(how)] + list(argv),
            **options)
        self._processes.append(process)
        return process

    def _how(self, privileged=True, uid=None, etc=None):
        """What give_up_privileges() needs."""
        if uid is not None and uid > self.highest_id:
            raise LabError("we cannot run a program as uid %d" % uid)
        return {"privileged": privileged, "uid": uid, "etc": etc or {}}

    def fork(self, ns, program, arguments=(), **how):
        """Run the text of a program, as run() does, in a forked process."""
        result, = self.fork_all(ns, [(program, arguments, how)])
        return result

    def fork_all(self, ns, calls, at_once=4):
        """fork() of each (program, arguments, how) -> list of results."""
        jobs, longest = [], 0
        for program, arguments, how in calls:
            how = dict(how)
            timeout = how.pop("timeout", 60)
            longest = max(longest, timeout)
            jobs.append([self._namespaces[ns], program, list(arguments),
                         timeout, self._how(**how)])
        if not self._loaded:
            self._holder.request(do="load")
            self._loaded = True
        return [tuple(result) for result in self._holder.request(
            do="fork", jobs=jobs, at_once=at_once,
            patience=CONTROL_TIMEOUT + longest * len(jobs))["results"]]

    def run(self, ns, argv, input=None, timeout=60, **options):
        """Run a program; return its status, output and error output."""
        import subprocess
        import threading
        with open(os.devnull) as nothing:
            options.setdefault(
                "stdin", nothing if input is None else subprocess.PIPE)
            options.setdefault("stdout", subprocess.PIPE)
            options.setdefault("stderr", subprocess.PIPE)
            process = self.popen(ns, argv, **options)
        if input is not None and not isinstance(input, bytes):
            input = input.encode("utf-8")
        overdue = []
        timer = threading.Timer(timeout, lambda: (
            overdue.append(True), kill_group(process)))
        timer.daemon = True
        timer.start()
        try:
            out, err = process.communicate(input)
        finally:
            timer.cancel()
            timer.join()
            close_process(process)
            self._processes.remove(process)
        err = to_text(err)
        if overdue:
            err += "\nlab: killed after %s seconds\n" % timeout
        return process.returncode, to_text(out), err

    def ip(self, ns, commands):
        """Run iproute2 commands, one per line; return what they print."""
        return self._run_jobs([(ns, ["ip", "-batch", "-"], commands)])

    def nft(self, ns, ruleset):
        """Load a nftables ruleset."""
        return self._run_jobs([(ns, ["nft", "-f", "-"], ruleset)])

    def _run_jobs(self, jobs):
        return self._holder.request(do="run", jobs=[
            [self._namespaces[ns], argv, text + "\n"]
            for ns, argv, text in jobs])["output"]

    def sysctl(self, ns, name, value=None):
        """Set a kernel parameter, or return the text it has."""
        if value is not None:
            return self._write_settings([(ns, name, value, True)])
        return self._holder.request(
            do="read", namespace=self._namespaces[ns],
            paths=[sysctl_path(name)])["texts"][0].strip()

    def _write_settings(self, settings):
        self._holder.request(do="write", files=[
            [self._namespaces[ns], sysctl_path(name), str(value), needed]
            for ns, name, value, needed in settings])

    def ping_group(self, ns, groups=OPEN_TO_ALL):
        """Say which groups may open ping sockets.

        Nobody ("1 0") is what a new namespace starts with.
        """
        if groups == OPEN_TO_ALL:
            groups = "0 %d" % min(2147483647, self.highest_id)
        self.sysctl(ns, "net.ipv4.ping_group_range", groups)

    def serve(self, ns, kind, port=0, families=(4, 6), banner=b"", after=0,
              hang_up=False):
        """Start a server of one of SERVER_KINDS; port 0: any free one.

        "banner" sends its banner `after` seconds from the connection, and
        closes then if it should `hang_up` (by a reset: "reset");
        "answer" sends it whenever something came.
        """
        if kind not in SERVER_KINDS:
            raise ValueError("no kind of server: %r" % kind)
        if ns not in self._houses:
            self._houses[ns] = Child(python_command("lab", "serve") + [
                json.dumps(self._joins(ns))])
        return Server(self._houses[ns], kind=kind, port=port,
                      families=families, banner=to_hex(banner), after=after,
                      hang_up=hang_up)

    def sockets(self, ns):
        """The sockets of a namespace: [(protocol, local port, state)]."""
        names = ["tcp", "tcp6", "udp", "udp6"]
        texts = self._holder.request(
            do="read", namespace=self._namespaces[ns],
            paths=["/proc/self/net/" + name for name in names])["texts"]
        found = []
        for name, text in zip(names, texts):
            for line in text.splitlines()[1:]:
                fields = line.split()
                found.append((name[:3], int(fields[1].split(":")[1], 16),
                              TCP_STATES.get(int(fields[3], 16))))
        return found

    def half_open(self, ns, port):
        """The number of connections to a port in state SYN-RECV."""
        return self.sockets(ns).count(("tcp", port, "SYN-RECV"))


def id_ranges(name):
    """The ids that exist for us: [[first, count], ...]."""
    with open("/proc/self/" + name) as stream:
        return [[int(line.split()[0]), int(line.split()[2])]
                for line in stream]


def same_ids(name):
    """The text of a map by which every id keeps its number."""
    return "".join("%d %d %d\n" % (first, first, count)
                   for first, count in id_ranges(name))


def highest_id(name):
    """The last id of the first range."""
    first, count = id_ranges(name)[0]
    return first + count - 1


def sysctl_path(name):
    return "/proc/sys/" + name.replace(".", "/")


def to_text(octets):
    return (octets or b"").decode("utf-8", "replace")


# --------------------------------------------------------------------------
# Chain: kernel routers
# --------------------------------------------------------------------------

def tell(name, text, passed, folder=None):
    """Print what became of a job of .ci/systems, or leave it in a folder."""
    if not folder:
        print(text)
        return
    base = os.path.join(folder, name)
    with io.open(base + ".out", "w", encoding="utf-8") as stream:
        stream.write(text + "\n")
    if passed:
        open(base + ".passed", "w").close()


class Chain(Network):
    """client - r1 - ... - rN - server; see the top of this file."""

    def __init__(self, routers=4, icmp_limits=False):
        super(Chain, self).__init__()
        self.client = "client"
        self.routers = ["r%d" % k for k in range(1, routers + 1)]
        self._limited = icmp_limits
        self.server = "server"
        self.distance = routers + 1
        self.destination = self.hop(self.distance)
        self.destination6 = self.hop6(self.distance)
        try:
            self._build(icmp_limits)
        except Exception:
            self.close()
            raise

    def hop(self, k):
        """The address that answers at ttl k."""
        return "10.77.%d.2" % (k - 1)

    def hop6(self, k):
        return shorten_ipv6("fd77:%d::2" % (k - 1))

    def _build(self, icmp_limits):
        nodes = [self.client] + self.routers + [self.server]
        for name in nodes:
            self.namespace(name)
        self._write_settings([setting for name in nodes for setting in
                              self._node_settings(name, icmp_limits)])
        # Three rounds, since a route needs both ends of its link to be up.
        for commands in (self._links, self._addresses, self._routes):
            self._run_jobs([(name, ["ip", "-batch", "-"], "\n".join(
                commands(place, nodes))) for place, name in enumerate(nodes)])

    def _node_settings(self, name, icmp_limits):
        settings = [(name, "net.ipv4.conf.%s.rp_filter" % scope, 0, True)
                    for scope in ("all", "default")]
        if name in self.routers:
            settings += [(name, "net.ipv4.ip_forward", 1, True),
                         (name, "net.ipv6.conf.all.forwarding", 1, True)]
        if not icmp_limits:
            settings += [(name, "net.ipv4.icmp_ratelimit", 0, True),
                         (name, "net.ipv6.icmp.ratelimit", 0, True),
                         (name, "net.ipv4.icmp_msgs_per_sec", 1000000, False),
                         (name, "net.ipv4.icmp_msgs_burst", 1000000, False)]
        return settings


    def _links(self, place, nodes):
        if place < len(nodes) - 1:
            peer = self.namespace_file(nodes[place + 1])
            yield ("link add name toserver type veth peer name toclient netns "
                   + peer)
            yield "link set toserver up"
        if place > 0:
            yield "link set toclient up"

    def _addresses(self, place, nodes):
        if place < len(nodes) - 1:
            yield "addr add 10.77.%d.1/24 dev toserver" % place
            yield "addr add fd77:%d::1/64 dev toserver nodad" % place
        if place > 0:
            yield "addr add 10.77.%d.2/24 dev toclient" % (place - 1)
            yield "addr add fd77:%d::2/64 dev toclient nodad" % (place - 1)

    def _routes(self, place, nodes):
        last = place == len(nodes) - 1
        gateway, side = (place - 1, 1) if last else (place, 2)
        yield "route add default via 10.77.%d.%d" % (gateway, side)
        yield "route add ::/0 via fd77:%d::%d" % (gateway, side)
        for link in range(place - 1 if not last else 0):
            yield "route add 10.77.%d.0/24 via 10.77.%d.1" % (link, place - 1)
            yield "route add fd77:%d::/64 via fd77:%d::1" % (link, place - 1)

    def restore_client(self):
        """Give back addresses and routes that a program has taken away."""
        nodes = [self.client] + self.routers + [self.server]
        for commands in (self._addresses, self._routes):
            self.ip(self.client, "\n".join(commands(0, nodes)).replace(
                " add ", " replace "))

    # Faults

    def name_of(self, node):
        """The namespace of router k; a name is one already."""
        return node if node in self._namespaces else self.routers[node - 1]

    def filter(self, node, hook, lines):
        kind = "nat hook prerouting" if hook == "nat" else \
            "filter hook " + hook
        priority = -100 if hook == "nat" else 0
        self.nft(self.name_of(node), "\n".join(
            ["table inet lab {", "chain %s {" % hook,
             "type %s priority %d;" % (kind, priority)] +
            list(lines) + ["}", "}", ""]))

    def mute(self, node):
        self.filter(node, "output", [
            "meta l4proto icmp drop",
            "icmpv6 type { 1, 2, 3, 4, echo-reply } drop"])
        if self.name_of(node) == self.server:
            self.filter(node, "input", ["meta l4proto udp drop"])

    def add_branch(self, k, length=1):
        """r(k-1) - branch1 - ... - r(k+1) beside r(k); flows are told apart
        by their ports."""
        branch = ["branch%d" % (n + 1) for n in range(length)]
        nodes = [self.routers[k - 2]] + branch + [self.routers[k]]
        for name in branch:
            self.namespace(name)
            self._write_settings(self._node_settings(name, self._limited) + [
                (name, "net.ipv4.ip_forward", 1, True)])
        for link, (node, peer) in enumerate(zip(nodes, nodes[1:]), 1):
            self.ip(node, "link add name tobranch type veth peer name "
                    "frombranch netns " + self.namespace_file(peer))
            for name, side, device in ((node, 1, "tobranch"),
                                       (peer, 2, "frombranch")):
                self.ip(name, "link set %s up\naddr add 10.78.%d.%d/24 dev %s"
                        % (device, link, side, device))
        for link, name in enumerate(branch, 1):
            self.ip(name, "route add default via 10.78.%d.2\n"
                    "route add 10.77.0.0/24 via 10.78.%d.1" % (link + 1, link))
        # Policy 1 may take the hash of the sender's socket, which changes
        # when a SYN is sent again; 3 takes these fields: addresses, protocol
        # and ports (Linux 5.13).
        self.sysctl(nodes[0], "net.ipv4.fib_multipath_hash_fields", 0x37)
        self.sysctl(nodes[0], "net.ipv4.fib_multipath_hash_policy", 3)
        self.ip(nodes[0], "route replace default nexthop via 10.77.%d.2 "
                "nexthop via 10.78.1.2" % (k - 1))
        return branch[0], "10.78.1.2"


def shorten_ipv6(address):
    return socket.inet_ntop(
        socket.AF_INET6, socket.inet_pton(socket.AF_INET6, address))


# --------------------------------------------------------------------------
# Path: emulated routers
# --------------------------------------------------------------------------

class Path(Network):
    """client - emulated routers - server; see the top of this file."""

    destination, destination6 = "192.0.2.7", "2001:db8::7"
    client_address, client_address6 = "10.88.0.2", "fd88::2"

    def __init__(self, routers=4, **settings):
        super(Path, self).__init__()
        self.client = self.namespace("client")
        self.server = self.namespace("server")
        self._emulator = None
        try:
            self._build()
            self.configure(clear=True, routers=routers, **settings)
        except Exception:
            self.close()
            raise

    @property
    def distance(self):
        return self._settings["routers"] + 1

    def hop(self, k):
        """The address of router k, or the destination after the last."""
        if k >= self.distance:
            return self.destination
        return "10.88.%d.1" % k

    def hop6(self, k):
        if k >= self.distance:
            return self.destination6
        return shorten_ipv6("fd88:0:0:%d::1" % k)

    def _build(self):
        self._emulator = Child(python_command("emulator", "emulate") + [
            json.dumps({"client": self._joins(self.client),
                        "server": self._joins(self.server)[-1:]})])
        self._emulator.read_reply()
        self._raise_device(
            self.client, self.client_address, self.client_address6)
        self._raise_device(
            self.server, self.destination, self.destination6)

    def _raise_device(self, ns, address, address6):
        self._write_settings([
            (ns, "net.ipv4.conf.all.rp_filter", 0, True),
            (ns, "net.ipv4.conf.tun0.rp_filter", 0, True),
            (ns, "net.ipv4.icmp_ratelimit", 0, True),
            (ns, "net.ipv6.icmp.ratelimit", 0, True),
            (ns, "net.ipv4.icmp_msgs_per_sec", 1000000, False),
            (ns, "net.ipv4.icmp_msgs_burst", 1000000, False)])
        self.ip(ns, "\n".join([
            "link set tun0 addrgenmode none txqueuelen 5000 mtu 1500 up",
            "addr add %s/32 dev tun0" % address,
            "addr add %s/128 dev tun0 nodad" % address6,
            "route add default dev tun0 src %s" % address,
            "route add ::/0 dev tun0 src %s" % address6]))

    def configure(self, clear=False, **settings):
        """Change how the path behaves; returns when it does."""
        import emulator
        merged = {} if clear else dict(self._settings)
        hops = dict(merged.get("hops", {}))
        hops.update(settings.pop("hops", {}))
        merged.update(settings, hops=hops)
        merged.setdefault("routers", 4)
        emulator.check_settings(merged)
        self._emulator.request(do="configure", settings=merged, clear=clear)
        self._settings = merged

    def stats(self):
        """The emulator's counters; "routers" has a dict per router."""
        stats = self._emulator.request(do="stats")
        stats["routers"] = dict(
            (int(k), counters) for k, counters in stats["routers"].items())
        return stats

    def captured(self):
        """The packets the client has sent, as emulator.Packet, oldest first.

        Packet.time is the time.time() at which it came.
        """
        import emulator
        return [emulator.decode_packet(from_hex(text), time)
                for text, time in
                self._emulator.request(do="captured")["packets"]]

    def close(self):
        if getattr(self, "_emulator", None) is not None:
            self._emulator.close()
            self._emulator = None
        super(Path, self).close()


# --------------------------------------------------------------------------
# potraceroute
# --------------------------------------------------------------------------

def trace(net, *arguments, **how):
    """Run the command in the client; -> (status, stdout, stderr)."""
    result, = trace_several(net, [(arguments, how)])
    return result


def trace_several(net, calls, at_once=4):
    """Run the command for each of calls, (arguments, how), several at the
    same time; -> [(status, stdout, stderr)]."""
    return net.fork_all(net.client, [
        (COMMAND, arguments, dict({"privileged": False}, **how))
        for arguments, how in calls], at_once)


def trace_all(net, calls, at_once=4):
    """Run the command with --json -n for each of calls, (arguments, how),
    several at the same time; -> [(status, traces)]."""
    results = []
    for call, (status, out, err) in zip(calls, trace_several(net, [
            (["--json", "-n"] + list(arguments), how)
            for arguments, how in calls], at_once)):
        if "Traceback" in err or not out:
            raise AssertionError("%r: %s" % (call, err))
        traces = json.loads(out)["traces"]
        if not traces:
            raise AssertionError("%r: no trace: %s" % (call, err))
        results.append((status, traces))
    return results


# --------------------------------------------------------------------------
# Can this machine do it?
# --------------------------------------------------------------------------

_problems = {}          # "live" and "tun" -> why it cannot be done, or None


def require_live():
    """Skip the calling test, or fail, where namespaces cannot be built."""
    _require("live", _try_live)


def require_tun():
    """Skip the calling test, or fail, where a Path cannot be built."""
    _require("live", _try_live)
    _require("tun", _try_tun)


def _require(facility, attempt):
    import unittest
    if facility not in _problems:
        _problems[facility] = attempt()
    reason = _problems[facility]
    if reason is None:
        return
    if os.environ.get("POTRACEROUTE_REQUIRE_LIVE") == "1":
        raise AssertionError("required by POTRACEROUTE_REQUIRE_LIVE: " +
                             reason)
    raise unittest.SkipTest(reason)


def _try_live():
    if not sys.platform.startswith("linux"):
        return "no network namespaces: not Linux"
    try:
        with Network() as net:
            net.namespace("first")
            net.namespace("second")
            net.ip("first", "link add name one type veth peer name two "
                   "netns " + net.namespace_file("second"))
    except (LabError, EnvironmentError) as error:
        return "no network namespaces: %s" % error
    return None


def _try_tun():
    try:
        with Network() as net:
            name = net.namespace("first")
            net._holder.request(
                do="try_tun", namespace=net._namespaces[name])
    except (LabError, EnvironmentError) as error:
        return "no TUN device: %s" % error
    return None
