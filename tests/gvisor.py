"""Run a program in gVisor, whose network stack is not Linux'.

    python3 tests/gvisor.py run TREE [--raw] PROGRAM [ARGUMENT..]
    python3 tests/gvisor.py checksums

Both work in the network namespace in which they are started.  "run" ends as
the program does; the sandbox has taken the addresses and routes then.  TREE
is a folder of unpacked packages with runsc; it is the root directory of the
program.  With --raw the program may open raw sockets.

"checksums" comes once before, in every namespace of the network: a veth
leaves checksums to be filled in by a card that it has not, which Linux knows
and gVisor does not.

Needs root.  foreign.py uses this.
"""

import ctypes
import fcntl
import json
import os
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
        process = subprocess.Popen([
            "unshare", "--mount", "sh", "-c", HIDE, "sh",
            os.path.join(tree, "usr/bin/runsc"), "--platform=ptrace",
            "--ignore-cgroups", "--net-raw=%s" % str(raw).lower(),
            "--root=" + os.path.join(folder, "state"),
            "run", "--bundle", folder, "sandbox%d" % os.getpid()])
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, _:
                          process.send_signal(number))
        return process.wait()
    finally:
        shutil.rmtree(folder)


def main(arguments):
    if arguments == ["checksums"]:
        return fill_in_checksums()
    tree, argv = arguments[1], arguments[2:]
    raw = argv[0] == "--raw"
    return run(tree, argv[raw:], raw)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
