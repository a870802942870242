"""--doctor, and the choice of a mechanism, on this very kernel."""

import json
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.dirname(HERE))

import lab                          # noqa: E402
import potraceroute as pt           # noqa: E402
import test_live                    # noqa: E402


class TestChoice(unittest.TestCase):
    """Which mechanism is tried where."""

    def test_every_platform_has_a_row_and_a_cure(self):
        for platform, word in (
                ("linux", "setcap"), ("linux2", "setcap"),
                ("android", "setcap"), ("darwin", "sudo"),
                ("freebsd14", "root"), ("openbsd7", "root"),
                ("netbsd10", "root"), ("dragonfly6", "root"),
                ("sunos5", "ppriv"), ("aix", "root"), ("aix7", "root"),
                ("win32", "administrator"), ("cygwin", "Python for Windows"),
                ("emscripten", "root")):
            self.assertIn(word, pt.find_system(platform).cure, platform)

    def test_mechanism_that_is_not_to_be_had_is_refused_with_the_cure(self):
        tracer = pt.Traceroute(None, "127.0.0.1", no_dns=True,
                               mechanism="icmp-api")
        try:
            tracer.run()
        except pt.RunError as error:
            self.assertIn("'icmp-api'", str(error))
            self.assertIn("run it as root", str(error))
        else:
            self.fail("no error")

    def test_error_queue_counts_only_if_it_tells_who_sent_an_error(self):
        """gVisor and WSL 1 accept the option, and no more."""
        class Mute(pt.ErrorQueue):
            works = None

            def errors(self, sock, protocol, version):
                return []

        class Wrong(pt.ErrorQueue):
            works = None

            def errors(self, sock, protocol, version):
                return [reply._replace(responder="10.0.0.1") for reply in
                        pt.ErrorQueue.errors(self, sock, protocol, version)]

        class Unknown(pt.ErrorQueue):
            works = None
            options = {4: ((0, 4660),)}

        self.assertTrue(pt.ErrorQueue.available())
        for kind in (Mute, Wrong, Unknown):
            self.assertFalse(kind.available(), kind)


class TestDoctor(test_live.LiveCase):
    """One screen on what a host can do."""

    require = staticmethod(lab.require_live)

    @staticmethod
    def build():
        return lab.Chain(routers=1)

    def doctor(self, *arguments, **how):
        status, out, err = test_live.run(self.net, "--doctor", *arguments,
                                         **how)
        self.assertEqual(err, "")
        return status, out

    def ip(self, command, undo):
        self.net.ip(self.net.client, command)
        self.addCleanup(self.net.ip, self.net.client, undo)

    def test_privileged_host_lacks_nothing(self):
        status, out = self.doctor(privileged=True)
        rows = [line.split() for line in out.splitlines()[2:]]
        self.assertEqual(status, 0)
        self.assertEqual(rows, [
            [method, family, "yes", mechanism, "yes", "nothing"]
            for method, mechanism in (("TCP", "raw-socket"), (
                "UDP", "error-queue"), ("ICMP", "error-queue"))
            for family in ("IPv4", "IPv6")])

    def test_user_without_icmp_is_told_the_command(self):
        status, out = self.doctor()
        lines = out.splitlines()
        self.assertEqual(status, 0)
        self.assertEqual([line.split() for line in lines[2:8]], [
            [method, family] + rest for method, rest in (
                ("TCP", ["yes", "-", "no", "(1)"]),
                ("UDP", ["yes", "error-queue", "no", "nothing"]),
                ("ICMP", ["no", "-", "no", "(2)"]))
            for family in ("IPv4", "IPv6")])
        self.assertEqual(len(lines), 10)
        self.assertIn("not known before a router does", lines[8])
        self.assertIn("`sysctl -w net.ipv4.ping_group_range=", lines[9])

    def test_user_lacks_nothing_once_the_command_has_run(self):
        self.net.ping_group(self.net.client)
        self.addCleanup(self.net.ping_group, self.net.client, "1 0")
        status, out = self.doctor()
        self.assertEqual(status, 0)
        self.assertEqual(out.count("nothing"), 4)

    def test_host_without_ipv6_says_so(self):
        self.ip("addr del ::1/128 dev lo", "addr add ::1/128 dev lo")
        status, out = self.doctor(privileged=True)
        self.assertEqual(status, 0)
        rows = [line.split() for line in out.splitlines()[2:8]]
        self.assertEqual([row[2] for row in rows], ["yes", "no"] * 3)
        self.assertIn("(1) there is no IPv6 here: ", out)

    def test_host_that_can_do_nothing_exits_with_2(self):
        self.ip("link set lo down", "link set lo up")
        status, out = self.doctor()
        self.assertEqual(status, 2)
        self.assertNotIn(" yes ", out)

    def test_json_is_one_document_with_the_rows(self):
        status, out = self.doctor("--json")
        document = json.loads(out)
        self.assertEqual(document["exit_status"], status)
        self.assertEqual(document["traces"], [])
        self.assertEqual(
            [(row["method"], row["family"], row["works"], row["mechanism"])
             for row in document["doctor"]],
            [("tcp", 4, True, None), ("tcp", 6, True, None),
             ("udp", 4, True, "error-queue"), ("udp", 6, True, "error-queue"),
             ("icmp", 4, False, None), ("icmp", 6, False, None)])


if __name__ == "__main__":
    unittest.main()
