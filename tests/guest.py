"""A Linux of its own on a lab.Chain: a User Mode Linux kernel as a process.

    with lab.Chain(routers=3) as net:
        put_on_the_wire(net)
        with Guest(net, kernel) as guest:
            guest.jobs.append(job("/usr/bin/python3", "--version"))
            guest.start()
            (status, out, err), = guest.results()

The guest stands beside the client of the Chain, on the same wire, a host
like it with an address of its own; so the same program in both sees the same
routers at the same distances, through two kernels:

    client 10.77.0.1 --+
                       +-- lan -- r1 10.77.0.2 - r2 - ... - server
    guest  10.77.0.3 --+

Its files are this machine's, read-only; only /mnt, where the results go, can
be written.  A guest boots, runs a list of jobs and powers off; that it boots
in a second makes anything more clever needless.  Process 1 of the guest is
this file, below "In the guest".  For /usr/bin/python3 of Debian 12 and later.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
INIT_PYTHON = "/usr/bin/python3"
FOLDER = "/mnt"                 # in the guest: what both sides can write
ADDRESS, ADDRESS6 = "10.77.0.3", "fd77::3"
GATEWAY, GATEWAY6 = "10.77.0.2", "fd77::2"
TAP = "tap0"

MEMORY = "192M"
BOOT_SECONDS = 30               # to boot and to power off, on a busy machine

# The client's end of the first link becomes a bridge with the guest's tap.
BRIDGE = """
    addr flush dev toserver scope global
    link add name lan type bridge
    link set toserver master lan
    tuntap add dev tap0 mode tap
    link set tap0 master lan
    link set tap0 up
    link set lan up
    addr add 10.77.0.1/24 dev lan
    addr add fd77::1/64 dev lan nodad
    route replace default via 10.77.0.2
    route replace ::/0 via fd77::2
"""

# What the guest does before its jobs; the device is eth0.
NETWORK = [
    "ip link set lo up",
    "ip link set eth0 up",
    "ip addr add %s/24 dev eth0" % ADDRESS,
    "ip addr add %s/64 dev eth0 nodad" % ADDRESS6,
    "ip route add default via " + GATEWAY,
    "ip -6 route add default via " + GATEWAY6,
]


def job(*argv, **how):
    """A program to run in the guest: uid (0), ping: may users ping (True),
    timeout (60)."""
    return dict({"uid": 0, "ping": True, "timeout": 60}, argv=list(argv),
                **how)


def put_on_the_wire(net):
    """Make room for a guest beside the client of a Chain."""
    net.ip(net.client, BRIDGE)


class Guest(object):
    """Boots, runs jobs, powers off."""

    def __init__(self, net, kernel, delay_ms=0, network=NETWORK,
                 pythons=(), at_once=1, modules=()):
        self.net, self.kernel, self.jobs = net, kernel, []
        self.folder = tempfile.mkdtemp()
        os.chmod(self.folder, 0o755)        # it is /mnt, also to users
        network = list(network)
        if delay_ms:
            network.append("tc qdisc add dev eth0 root netem limit 10000 "
                           "delay %sms" % delay_ms)
        self.task = {"jobs": self.jobs, "network": network, "at_once": at_once,
                     "folders": sorted(set(map(prefix_of, pythons))),
                     "modules": list(modules),
                     "seed": os.urandom(64).hex()}
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, True)

    def copy(self, path, python=None):
        """Put a file where the guest has it; compile it for a Python.
        -> its name in the guest."""
        name = os.path.basename(path)
        if python is None:
            shutil.copy(path, self.folder)
            return "%s/%s" % (FOLDER, name)
        name = "%s-%s.pyc" % (name[:-3], os.path.basename(python))
        subprocess.check_call([python, "-c", (
            "import py_compile, sys\n"
            "py_compile.compile(sys.argv[1], sys.argv[2], doraise=True)"),
            path, os.path.join(self.folder, name)])
        return "%s/%s" % (FOLDER, name)

    def start(self):
        with open(os.path.join(self.folder, "task.json"), "w") as stream:
            json.dump(self.task, stream)
        with open(os.path.join(self.folder, "console"), "wb") as console, \
                open(os.devnull) as nothing:
            self.process = self.popen(
                self.command(), stdin=nothing, stdout=console, stderr=console)

    def popen(self, argv, **options):
        if self.net is None:
            return subprocess.Popen(argv, start_new_session=True, **options)
        return self.net.popen(self.net.client, argv, **options)

    def command(self):
        # A process namespace: else one of the kernel's processes would
        # survive should we be killed.
        words = ["unshare", "--pid", "--fork", "--kill-child", self.kernel,
                 "mem=" + MEMORY, "root=/dev/root", "ro",
                 "rootfstype=hostfs", "rootflags=/", "con=null",
                 "con0=null,fd:1", "quiet", "init=" + INIT_PYTHON]
        if self.net is not None:
            words.append("eth0=tuntap," + TAP)
        return words + ["--", "-E", "-s", "-S", "-B",
                        os.path.abspath(__file__), self.folder]

    def results(self):
        """Wait for the end; -> [(status, output, error output)]."""
        longest = sum(each["timeout"] for each in self.jobs)
        try:
            self.process.wait(BOOT_SECONDS + longest)
        except subprocess.TimeoutExpired:
            self.fail("does not end")
        try:
            return [self.result(number) for number in range(len(self.jobs))]
        except EnvironmentError as error:
            self.fail("has no result: %s" % error)

    def result(self, number):
        texts = []
        for kind in ("status", "out", "err"):
            with open(os.path.join(self.folder, "%d.%s" % (number, kind)),
                      encoding="utf-8", errors="replace") as stream:
                texts.append(stream.read())
        return (int(texts[0]),) + tuple(texts[1:])

    def console(self):
        with open(os.path.join(self.folder, "console"), encoding="utf-8",
                  errors="replace") as stream:
            return stream.read()

    def fail(self, what):
        raise RuntimeError("the guest %s; its console:\n%s" % (
            what, self.console()))


def prefix_of(python):
    """The folder of an installation of Python."""
    return os.path.dirname(os.path.dirname(os.path.realpath(python)))


# --------------------------------------------------------------------------
# In the guest
# --------------------------------------------------------------------------

POWER_OFF = 0x4321fedc          # LINUX_REBOOT_CMD_POWER_OFF
RNDADDENTROPY = 0x40085203
FINIT_MODULE = 313              # the number of a system call
OVERDUE = -9


def mount(source, target, kind, data=""):
    import ctypes
    if ctypes.CDLL(None).mount(source.encode(), target.encode(),
                               kind.encode(), 0, data.encode()):
        raise OSError("cannot mount %s on %s" % (kind, target))


def seed_random(seed):
    """Without it the first os.urandom() waits for seconds."""
    import fcntl
    import struct
    with open("/dev/random", "wb") as device:
        fcntl.ioctl(device, RNDADDENTROPY, struct.pack(
            "=ii", 8 * len(seed), len(seed)) + seed)


def show_folder(folder):
    """Let users reach a folder of this machine below one that they may not
    enter, as /root mostly is."""
    parts = folder.strip("/").split("/")
    for depth in range(1, len(parts)):
        above = "/" + "/".join(parts[:depth])
        if not os.path.exists(above) or not os.stat(above).st_mode & 1:
            if os.path.exists(above):
                mount("none", above, "tmpfs", "mode=755")
            os.makedirs(folder)
            mount("none", folder, "hostfs", folder)
            return
    if not os.path.exists(folder):          # below a tmpfs of ours
        os.makedirs(folder)
        mount("none", folder, "hostfs", folder)


def load_modules(folder, names):
    """Load modules of the kernel and what they need, as modprobe does."""
    with open(folder + "/modules.dep") as stream:
        needs = dict(line.strip().split(":") for line in stream)
    paths = dict((os.path.basename(path)[:-len(".ko")], path)
                 for path in needs)
    loaded = set()
    for name in names:
        path = paths[name]
        for each in needs[path].split()[::-1] + [path]:
            if each not in loaded:
                load_module(folder + "/" + each)
                loaded.add(each)


def load_module(path):
    import ctypes
    with open(path, "rb") as stream:
        if ctypes.CDLL(None).syscall(FINIT_MODULE, stream.fileno(), b"", 0):
            raise OSError("cannot load " + path)


def run_job(number, task):
    name = "%s/%d." % (FOLDER, number)
    with open(name + "out", "wb") as out, open(name + "err", "wb") as err:
        users = {}
        if task["uid"]:
            users = {"user": task["uid"], "group": task["uid"],
                     "extra_groups": []}
        process = subprocess.Popen(
            task["argv"], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
            cwd="/", start_new_session=True, **users)
        try:
            status = process.wait(task["timeout"])
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()
            status = OVERDUE
    with open(name + "status", "w") as stream:
        stream.write("%d" % status)


def run_jobs(jobs, at_once):
    """All, those that run at the same time with one setting of ping."""
    import concurrent.futures
    import itertools
    for ping, some in itertools.groupby(
            enumerate(jobs), key=lambda each: each[1]["ping"]):
        with open("/proc/sys/net/ipv4/ping_group_range", "w") as stream:
            stream.write("0 2147483647" if ping else "1 0")
        with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
            list(pool.map(lambda each: run_job(*each), list(some)))


def prepare(task):
    os.environ.update(PATH="/usr/sbin:/usr/bin:/sbin:/bin", HOME="/",
                      LANG="C.UTF-8")
    seed_random(bytes.fromhex(task["seed"]))
    if task["modules"]:
        load_modules(task["modules"][0], task["modules"][1:])
    for folder in task["folders"]:
        show_folder(folder)
    mount("none", "/run", "tmpfs")
    mount("none", "/tmp", "tmpfs", "mode=1777")
    for command in task["network"]:
        process = subprocess.run(command.split(), stderr=subprocess.PIPE)
        if process.returncode:
            print("%s: %s" % (command, process.stderr), flush=True)


def be_process_one(folder):
    import ctypes
    import traceback
    try:
        for kind, target in (("proc", "/proc"), ("sysfs", "/sys")):
            mount(kind, target, kind)
        mount("none", FOLDER, "hostfs", folder)
        with open(FOLDER + "/task.json") as stream:
            task = json.load(stream)
        prepare(task)
        run_jobs(task["jobs"], task["at_once"])
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os.sync()
        ctypes.CDLL(None).reboot(POWER_OFF)


if __name__ == "__main__":
    be_process_one(sys.argv[1])
