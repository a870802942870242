"""Dialogs on Android (QPython), becoming root by su, and Termux.

Not tested here: a real phone, its SL4A server, its su, SELinux.  The droid
is simulated after the source of SL4A (UiFacade.java, AlertDialogTask.java)
and notes every call that SL4A would refuse; su is a shell script.
"""

import collections
import errno
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import potraceroute as pt  # noqa: E402

SCRIPT = os.path.join(ROOT, "potraceroute.py")
LOOPBACK = "127.0.0.1"
TIME = re.compile(r"[0-9]+\.[0-9]{3} ms")
CANCEL, LOST = "(cancel)", "(lost)"
# What is answered to each dialog when only the host is typed.
PLAIN = (LOOPBACK, "-T TCP", "", "30", "2", "-n IP addresses", "")
HOSTILE = ("a;touch FILE", "$(touch FILE)", "`touch FILE`", "'; touch FILE;'",
           '"; touch FILE;"', "a\ntouch FILE", "\\", "'", '"""', "--", "-c",
           "%s%d", u"\xe9\u20ac", "\x1b[2J")
NO_HOST = "potraceroute: error: exactly one HOST is needed, not none (see " \
    "--help)\n"

WRITE_LINE = pt.Writer.line.__code__    # of before any dialog
Result = collections.namedtuple("Result", "id, result, error")


class Droid(object):
    """SL4A's dialogs, answered by a script: what is typed, the item that is
    tapped, "OK", CANCEL, LOST (the RPC failed: no result) or an exception.

    Answers pass through JSON, so that Python 2.7 gets unicode.
    """

    def __init__(self, script):
        self.script = list(script)
        self.calls = []
        self.refused = []
        self.shown = []         # the messages of dialogs with an OK
        self.asked = []         # the words of the other dialogs
        self.dialog = None

    def __getattr__(self, name):
        def call(*args):
            self.calls.append(name)
            args = json.loads(json.dumps(args))
            result, error = None, None
            if not hasattr(self, "rpc_" + name):
                self.refused.append("Unknown RPC: " + name)
                error = self.refused[-1]
            else:
                result = getattr(self, "rpc_" + name)(*args)
            return Result(1, json.loads(json.dumps(result)), error)
        return call

    def need(self, condition, why):
        if not condition:
            self.refused.append(why)

    def next(self):
        self.need(self.script, "one dialog too many: %s" % self.asked[-1:])
        answer = self.script.pop(0) if self.script else CANCEL
        if isinstance(answer, Exception):
            raise answer
        return answer

    def text(self, *texts):
        for text in texts:
            self.need(isinstance(text, type(u"")), "%r is no text" % (text,))

    def rpc_dialogGetInput(self, title, message, default):
        self.text(title, message, default)
        self.asked.append(message)
        answer = self.next()
        return None if answer in (CANCEL, LOST) else answer

    def rpc_dialogCreateAlert(self, title, message):
        self.text(title, message)
        self.dialog = {"title": title, "message": message, "items": (),
                       "shown": False}

    def rpc_dialogSetItems(self, items):
        self.need(self.dialog, "No dialog to add list to.")
        self.text(*items)
        self.dialog["items"] = items

    def rpc_dialogSetPositiveButtonText(self, text):
        self.need(self.dialog, "No dialog to add button to.")
        self.text(text)

    def rpc_dialogShow(self):
        self.need(self.dialog and not self.dialog["shown"],
                  "No dialog to show.")
        self.dialog["shown"] = True

    def rpc_dialogGetResponse(self):
        dialog = self.dialog
        self.need(dialog and dialog["shown"], "nothing to wait for")
        if dialog["items"]:
            self.asked.append(dialog["title"])
        else:
            self.shown.append(dialog["message"])
        answer = self.next()
        if answer == LOST:
            return None
        if answer == CANCEL:
            return {"canceled": True}
        if not dialog["items"]:
            self.need(answer == "OK", "%r is no button" % answer)
            return {"which": "positive"}
        self.need(answer in dialog["items"], "%r is not on the menu" % answer)
        return {"item": dialog["items"].index(answer)}


class Capture(object):
    """Stands for sys.stdout or sys.stderr."""

    encoding = "ascii"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += str(text)

    def flush(self):
        """Nothing is held back."""


class AndroidCase(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def replace(self, owner, name, value):
        """Set an attribute until the test ends."""
        old = getattr(owner, name)
        self.addCleanup(setattr, owner, name, old)
        setattr(owner, name, value)

    def set_environment(self, name, value):
        """Set a variable of the environment until the test ends."""
        old = os.environ.get(name)
        self.addCleanup(os.environ.pop if old is None else
                        os.environ.__setitem__, name, old)
        os.environ[name] = value

    def give_module(self, name, droid):
        module = types.ModuleType(name)
        module.Android = lambda: droid
        self.addCleanup(sys.modules.pop, name, None)
        sys.modules[name] = module

    def run_dialogs(self, *script, **more):
        """Return (status, stdout, stderr, the droid) of a run in this
        process."""
        droid = Droid(script)
        status, out, err = self.run_with(
            droid, more.get("module", "androidhelper"))
        self.assertEqual(droid.refused, [])
        return status, out.text, err.text, droid

    def run_with(self, droid, module="androidhelper"):
        """Return (status, stdout, stderr), the latter two as Captures."""
        self.give_module(module, droid)
        out, err = Capture(), Capture()
        old = sys.stdout, sys.stderr
        sys.stdout, sys.stderr = out, err
        try:
            return pt.run_dialogs(), out, err
        finally:
            sys.stdout, sys.stderr = old

    def instead_of_command(self, *lines, **more):
        """Let Command print lines only; return the list of arguments."""
        calls = []

        class Command(object):
            needs_root = more.get("needs_root", False)

            def __init__(self, argv):
                calls.append(argv)

            def run(self):
                for line in lines:
                    pt.Writer(sys.stdout).line(line)
                return more.get("status", 0)
        self.replace(pt, "Command", Command)
        return calls

    def listen(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind((LOOPBACK, 0))
        sock.listen(16)
        return sock.getsockname()[1]

    def write_file(self, name, text, mode=0o755):
        path = os.path.join(self.folder, name)
        with open(path, "w") as stream:
            stream.write(text)
        os.chmod(path, mode)
        return path

    def start(self, words, **environment):
        """Return a process of this Python, which is killed after 20 s."""
        process = subprocess.Popen(
            [sys.executable] + words, cwd=self.folder, env=dict(
                os.environ, LC_ALL="C", PYTHONDONTWRITEBYTECODE="1",
                **environment),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watchdog = threading.Timer(20, process.kill)
        watchdog.daemon = True
        watchdog.start()
        self.addCleanup(watchdog.cancel)
        return process

    def run_script(self, *words, **environment):
        """Return (status, stdout, stderr) of potraceroute.py."""
        process = self.start([SCRIPT] + list(words), **environment)
        out, err = process.communicate()
        return process.returncode, out.decode("latin-1"), \
            err.decode("latin-1")


class DialogTest(AndroidCase):

    def test_every_common_option_is_asked_for_and_used(self):
        calls = self.instead_of_command()
        status, _, _, droid = self.run_dialogs(
            "host.example", "-U UDP", "53,123", "9", "0.5", "-n IP addresses",
            "68690a", "OK")
        self.assertEqual(status, 0)
        (argv,) = calls
        options, args = pt.parse_options(argv)
        self.assertEqual(args, ["host.example"])
        self.assertEqual(vars(options), vars(pt.default_options(
            udp=True, port="53,123", max_hops=9, wait_time=0.5, no_dns=True,
            payload="68690a")))
        self.assertEqual(droid.script, [])
        words = " ".join(droid.asked)
        for word in ("host", "method", "-p port", "-m max hops", "-w timeout",
                     "hops", "-P data"):
            self.assertIn(word, words)

    def test_what_is_left_as_it_is_gives_the_defaults(self):
        calls = self.instead_of_command()
        self.run_dialogs(LOOPBACK, "-T TCP", "", "30", "2",
                         "hostnames and IP addresses", "", "OK")
        options, args = pt.parse_options(calls[0])
        self.assertEqual(args, [LOOPBACK])
        self.assertEqual(vars(options), vars(pt.default_options(tcp=True)))

    def test_defaults_of_the_dialogs_are_those_of_the_options(self):
        defaults = dict((option.flags.split()[0], option.default)
                        for option in pt.OPTIONS)
        texts = [each for each in pt.DIALOGS if hasattr(each, "flag")]
        self.assertEqual([each.flag for each in texts],
                         ["", "-p", "-m", "-w", "-P"])
        for each in texts[1:]:
            default = defaults[each.flag]
            self.assertEqual(each.default, "" if default is None else
                             "%g" % default)
        menus = [each for each in pt.DIALOGS if each not in texts]
        self.assertEqual(len(menus), 2)
        for menu in menus:
            for flag, _ in menu.items:
                self.assertIn(flag, list(defaults) + [""])

    def test_trace_is_printed_and_shown(self):
        port = self.listen()
        status, out, err, droid = self.run_dialogs(
            *(PLAIN[:2] + (str(port),) + PLAIN[3:] + ("OK",)))
        self.assertEqual((status, err), (0, ""))
        self.assertTrue(out.startswith("TCP traceroute to 127.0.0.1 "), out)
        self.assertIn("\nTCP port %d is open: " % port, out)
        self.assertEqual(droid.shown, [out.rstrip("\n")])

    def test_blanks_around_an_answer_do_not_count(self):
        calls = self.instead_of_command()
        self.run_dialogs(" h.example\n", "-T TCP", " 25 ", "30", "2 ",
                         "-n IP addresses", " \n", "OK")
        self.assertEqual(calls, [["h.example", "-T", "-p25", "-m30", "-w2",
                                  "-n"]])

    def test_cancel_at_any_dialog_ends_before_the_first_probe(self):
        calls = self.instead_of_command()
        for answer in (CANCEL, LOST):
            for number in range(len(PLAIN)):
                status, out, err, droid = self.run_dialogs(
                    *(PLAIN[:number] + (answer,)))
                self.assertEqual((status, out), (130, ""))
                self.assertEqual(
                    err, "potraceroute: error: canceled, or no dialog\n")
                self.assertEqual(len(droid.asked), number + 1)
        self.assertEqual(calls, [])

    def test_cancel_of_the_shown_trace_changes_nothing(self):
        self.instead_of_command("some line", status=1)
        for answer in (CANCEL, LOST):
            status, out, err, droid = self.run_dialogs(*(PLAIN + (answer,)))
            self.assertEqual((status, out, err), (1, "some line\n", ""))
            self.assertEqual(droid.shown, ["some line"])

    def test_bad_answers_are_explained_as_on_the_command_line(self):
        for number, answer, words in (
                (0, "", ["-T", "-m30", "-w2", "-n"]),
                (0, u"a..b", [u"a..b"]),
                (0, u"a..\xfc", [u"a..\xfc"]),
                (0, "-x", ["-x"]),
                (2, "0", ["-p0", LOOPBACK]),
                (2, "no-such-service", ["-pno-such-service", LOOPBACK]),
                (2, "-p", ["-p-p", LOOPBACK]),
                (3, "0", ["-m0", LOOPBACK]),
                (3, "many", ["-mmany", LOOPBACK]),
                (4, "nan", ["-wnan", LOOPBACK]),
                (4, "2s", ["-w2s", LOOPBACK]),
                (6, "zz", ["-Pzz", LOOPBACK])):
            answers = list(PLAIN) + ["OK"]
            answers[number] = answer
            status, out, err, droid = self.run_dialogs(*answers)
            self.assertEqual((status, out), (2, ""))
            self.assertEqual(err.count("\n"), 1, err)
            self.assertEqual(droid.shown, [err.rstrip("\n")])
            old, sys.stderr = sys.stderr, Capture()
            try:
                self.assertEqual(pt.main(words), 2)
                # The parser of Python 2.7 quotes unicode as u'2s'.
                self.assertEqual(err.replace("u'", "'"), sys.stderr.text)
            finally:
                sys.stderr = old

    def test_droid_that_fails_ends_plainly_at_every_call(self):
        self.instead_of_command("some line", status=1)
        whole = self.run_dialogs(*(PLAIN + ("OK",)))[3].calls
        self.assertGreater(len(whole), 15)
        for number in range(len(whole)):
            for error in (socket.error("gone"), ValueError("no JSON"),
                          AttributeError("no such call")):
                droid = Droid(PLAIN + ("OK",))
                name = whole[number]
                droid.left = whole[:number + 1].count(name)
                real = getattr(droid, name)

                def fail(*args):
                    droid.left -= 1
                    if not droid.left:
                        raise error
                    return real(*args)
                setattr(droid, name, fail)
                status, out, err = self.run_with(droid)
                ran = droid.asked[6:7] != [] and number > len(whole) - 5
                self.assertEqual(status, 1 if ran else 130)
                self.assertEqual(out.text, "some line\n" * ran)
                self.assertEqual(
                    err.text, "potraceroute: error: canceled, or no dialog\n")

    def test_what_is_printed_is_kept_no_longer_than_the_dialogs(self):
        self.instead_of_command("some line")
        self.run_dialogs(*(PLAIN + ("OK",)))
        out = Capture()
        pt.Writer(out).line("more")
        self.assertEqual(out.text, "more\n")
        self.assertIs(pt.Writer.line.__code__, WRITE_LINE)


class LookForDroidTest(AndroidCase):
    """Only potraceroute.py without any argument looks for the droid."""

    def give_file(self, text, name="androidhelper.py"):
        self.write_file(name, text)
        return {"PYTHONPATH": self.folder}

    def test_without_dialogs_a_host_is_asked_for_as_always(self):
        self.assertEqual(self.run_script(), (2, "", NO_HOST))

    def test_module_that_fails_leads_to_the_ordinary_message(self):
        for text in ("raise ImportError('x')", "raise ValueError('x')",
                     "1 / 0", "def broken(:", "pass", "Android = None",
                     "def Android():\n raise OSError('no server')",
                     "import no_such_module_at_all"):
            self.assertEqual(self.run_script(**self.give_file(text)),
                             (2, "", NO_HOST))

    def test_folder_called_android_is_no_droid(self):
        os.mkdir(os.path.join(self.folder, "android"))
        self.assertEqual(self.run_script(PYTHONPATH=self.folder),
                         (2, "", NO_HOST))

    def test_with_any_argument_the_module_is_not_imported(self):
        text = "open(%r, 'w').close()" % os.path.join(self.folder, "seen")
        both = self.give_file(text)
        self.give_file(text, "android.py")
        for words in (["--version"], ["--help"], ["--no-such-option"],
                      ["-p", "0", LOOPBACK], [""]):
            self.run_script(*words, **both)
            self.assertFalse(os.path.exists(
                os.path.join(self.folder, "seen")), words)
        self.run_script(**both)         # the check can fail
        self.assertTrue(os.path.exists(os.path.join(self.folder, "seen")))

    def test_main_without_arguments_does_not_look_for_it(self):
        droid = Droid(())
        self.give_module("androidhelper", droid)
        old, sys.stderr = sys.stderr, Capture()
        try:
            self.assertEqual(pt.main([]), 2)
            self.assertEqual(sys.stderr.text, NO_HOST)
        finally:
            sys.stderr = old
        self.assertEqual(droid.calls, [])

    def test_module_called_android_will_do(self):
        calls = self.instead_of_command()
        self.run_dialogs(*(PLAIN + ("OK",)), module="android")
        self.assertEqual([argv[0] for argv in calls], [LOOPBACK])

    def test_script_without_arguments_asks_and_traces(self):
        port = self.listen()
        given = self.give_file(
            "import json, os, sys\n"
            "sys.path.append(%r)\n"
            "from test_android import Droid\n"
            "def Android():\n"
            "    return Droid(json.loads(os.environ['SCRIPT']))\n"
            % os.path.dirname(os.path.abspath(__file__)))
        status, out, err = self.run_script(SCRIPT=json.dumps(
            PLAIN[:2] + (str(port),) + PLAIN[3:] + ("OK",)), **given)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("\nTCP port %d is open: " % port, out)

    def test_ctrl_c_in_a_dialog_leaves_no_traceback(self):
        given = self.give_file(
            "import sys, time\n"
            "class Android(object):\n"
            "    def dialogGetInput(self, *args):\n"
            "        sys.stdout.write('asked\\n')\n"
            "        sys.stdout.flush()\n"
            "        time.sleep(20)\n")
        process = self.start([SCRIPT], **given)
        self.assertEqual(process.stdout.readline(), b"asked\n")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
        self.assertEqual((process.returncode, out, err),
                         (-signal.SIGINT, b"", b""))


class RootTest(AndroidCase):

    def give_su(self, text="for last; do :; done\nexec sh -c \"$last\"\n"):
        """Put a su on the PATH that makes nobody root."""
        self.write_file("su", "#!/bin/sh\n" + text)
        self.set_environment("PATH", self.folder + os.pathsep +
                             os.environ["PATH"])

    def no_su(self):
        self.set_environment("PATH", self.folder)

    def test_root_is_offered_where_hops_are_not_visible(self):
        self.no_su()
        port = self.listen()
        self.replace(pt, "select_mechanism",
                     lambda *args: pt.Mechanism())
        self.replace(pt, "open_witness", lambda *args: None)
        status, out, _, droid = self.run_dialogs(
            *(PLAIN[:2] + (str(port),) + PLAIN[3:] + ("OK", "no")))
        self.assertEqual((status, droid.script), (0, []))
        self.assertIn("\nNote: this system does not show", out)

    def test_root_is_offered_where_icmp_is_not_permitted(self):
        self.deny_icmp(errno.EACCES)
        status, out, err, droid = self.run_dialogs(
            LOOPBACK, "-I ICMP", "", "30", "2", "-n IP addresses", "", "OK",
            "no")
        self.assertEqual((status, droid.script), (2, []))
        self.assertTrue(err.startswith(
            "potraceroute: error: ICMP echo is not permitted here: "), err)
        self.assertEqual(droid.shown, [(out + err).rstrip("\n")])

    def deny_icmp(self, number):
        """Let every ICMP and raw socket fail, as SELinux does."""
        class Denied(socket.socket):
            def __init__(self, family=socket.AF_INET,
                         kind=socket.SOCK_STREAM, proto=0, *args, **more):
                if proto == 1 or kind == socket.SOCK_RAW:
                    raise socket.error(number, os.strerror(number))
                socket_class.__init__(self, family, kind, proto, *args,
                                      **more)
        socket_class = socket.socket
        self.replace(socket, "socket", Denied)

    def test_eacces_and_eperm_for_icmp_lead_to_the_plain_message(self):
        for number in (errno.EACCES, errno.EPERM):
            self.deny_icmp(number)
            with self.assertRaises(pt.RunError) as caught:
                pt.trace(LOOPBACK, method="icmp", no_dns=True)
            self.assertTrue(str(caught.exception).startswith(
                "ICMP echo is not permitted here: "))

    def test_root_is_not_offered_without_need(self):
        port = self.listen()
        for answers in (
                PLAIN[:2] + (str(port),) + PLAIN[3:],
                ("a..b",) + PLAIN[1:],
                ("a..b", "-I ICMP") + PLAIN[2:],
                PLAIN[:2] + ("0",) + PLAIN[3:],
                (LOOPBACK, "-I ICMP", "80") + PLAIN[3:],
                PLAIN[:3] + ("none",) + PLAIN[4:]):
            droid = self.run_dialogs(*(answers + ("OK",)))[3]
            self.assertEqual(droid.asked[len(PLAIN):], [], answers)

    def test_what_a_service_says_does_not_lead_to_the_offer(self):
        self.instead_of_command(
            "x", "Note: y", "potraceroute: error: ICMP echo is not")
        droid = self.run_dialogs(*(PLAIN + ("OK",)))[3]
        self.assertEqual(droid.asked[len(PLAIN):], [])

    def need_root(self, status=2):
        self.instead_of_command("x", status=status, needs_root=True)
        return self.run_dialogs(*(PLAIN + ("OK", "yes", "OK")))

    def test_no_or_cancel_keeps_the_status_and_starts_nothing(self):
        self.give_su("touch %s/started\n" % self.folder)
        for answer in ("no", CANCEL, LOST):
            self.instead_of_command("x", "y", status=1, needs_root=True)
            status, out, _, droid = self.run_dialogs(
                *(PLAIN + ("OK", answer)))
            self.assertEqual((status, out), (1, "x\ny\n"))
        self.assertFalse(os.path.exists(self.folder + "/started"))

    def test_no_su_is_said_plainly(self):
        self.no_su()
        status, out, _, droid = self.need_root()
        self.assertEqual(status, 2)
        self.assertTrue(droid.shown[1].startswith(
            "cannot become root by su: [Errno 2] No such file"), droid.shown)
        self.assertTrue(out.endswith(droid.shown[1] + "\n"), out)

    def test_su_that_refuses_is_quoted(self):
        self.give_su("echo Permission denied >&2\nexit 13\n")
        status, out, _, droid = self.need_root()
        self.assertEqual((status, droid.shown[1:]),
                         (13, ["Permission denied"]))
        self.assertIn("\nPermission denied\n", out)

    def test_su_that_refuses_without_a_word_is_told(self):
        self.give_su("exit 1\n")
        status, out, _, droid = self.need_root()
        self.assertEqual((status, droid.shown[1:]), (1, ["su failed"]))

    def test_program_without_a_file_cannot_become_root(self):
        self.give_su()
        self.addCleanup(setattr, pt, "__file__", pt.__file__)
        del pt.__file__
        status, text = pt.run_as_root(["x"])
        self.assertEqual(status, 2)
        self.assertTrue(text.startswith("cannot become root by su: "), text)

    def test_words_arrive_as_they_are_and_no_shell_sees_them(self):
        self.give_su("for last; do :; done\necho \"$last\" >>%s/commands\n"
                     "exec sh -c \"$last\"\n" % self.folder)
        self.replace(pt, "__file__", self.write_file(
            "it's a \"$(touch FILE)\" file.py", "import json, sys\n"
            "print(json.dumps(sys.argv))\nsys.exit(len(sys.argv))\n"))
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        status, text = pt.run_as_root(list(HOSTILE))
        self.assertEqual(json.loads(text), [pt.__file__] + list(HOSTILE))
        self.assertEqual(status, 1 + len(HOSTILE))
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(
            ["su", "commands", os.path.basename(pt.__file__)]))
        with open("commands") as stream:
            self.assertEqual(stream.read(),
                             pt.quote_shell(sys.executable) + " -\n")

    def test_path_of_python_is_quoted(self):
        python = "it's $(touch FILE) \"`touch FILE`\" python"
        self.write_file(python, "#!/bin/sh\nexec '%s' \"$@\"\n"
                        % sys.executable)
        self.give_su()
        self.replace(sys, "executable", os.path.join(self.folder, python))
        self.replace(pt, "__file__", SCRIPT)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(self.folder)
        self.assertEqual(pt.run_as_root(["--version"]),
                         (0, pt.__version__))
        self.assertEqual(sorted(os.listdir(self.folder)),
                         sorted(["su", python]))

    def test_environment_reaches_the_other_python(self):
        self.give_su("case \" $* \" in *\" -p \"*) ;; *) exit 9;; esac\n"
                     "for last; do :; done\nexec sh -c \"$last\"\n")
        self.set_environment("LD_FOR_TEST", "/data/files/lib")
        self.replace(pt, "__file__", self.write_file(
            "show.py", "import os\nprint(os.environ['LD_FOR_TEST'])\n"))
        self.assertEqual(pt.run_as_root(["x"]), (0, "/data/files/lib"))

    def test_long_payload_does_not_stop_the_pipes(self):
        self.give_su("exit 3\n")
        self.assertEqual(pt.run_as_root(["-P" + "61" * 200000]),
                         (3, "su failed"))

    def test_trace_is_made_again_by_su_printed_and_shown(self):
        port = self.listen()
        self.give_su()
        self.replace(pt, "__file__", SCRIPT)
        self.instead_of_command("x", "y", status=1, needs_root=True)
        status, out, err, droid = self.run_dialogs(
            *(PLAIN[:2] + (str(port),) + PLAIN[3:] + ("OK", "yes", "OK")))
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(droid.shown[0], "x\ny")
        self.assertTrue(droid.shown[1].startswith("TCP traceroute to "))
        self.assertIn("\nTCP port %d is open: " % port, droid.shown[1])
        self.assertEqual(out, "x\ny\n%s\n" % droid.shown[1])


class TermuxTest(AndroidCase):

    def trace_on(self, platform, *words, **more):
        """Return (status, stdout, stderr) as on a platform of that name."""
        process = self.start(
            ["-c", "import select, socket, subprocess, sys, time\n"
             "sys.path.insert(0, %r)\nsys.platform = %r\n"
             "import potraceroute\n%s" % (ROOT, platform, more.get(
                 "call", "sys.exit(potraceroute.main(sys.argv[1:]))"))]
            + list(words))
        out, err = process.communicate()
        return process.returncode, TIME.sub("", out.decode("ascii")), \
            err.decode("ascii")

    def test_all_names_of_the_platform_mean_the_same(self):
        port = self.listen()
        for words in (["-p", str(port)], ["-U", "-p", "33434"]):
            words += ["-n", "-v", LOOPBACK]
            linux = self.trace_on("linux", *words)
            self.assertEqual(linux[0], 0, linux)
            self.assertIn("\nmechanism: error-queue, ", linux[1])
            for platform in ("linux2", "android"):
                self.assertEqual(self.trace_on(platform, *words), linux)
            self.assertNotEqual(self.trace_on("other", *words), linux)

    def test_tcp_info_is_read_by_every_name(self):
        port = self.listen()
        read = dict((platform, self.trace_on(platform, call=(
            "sock = socket.create_connection(('%s', %d))\n"
            "print(potraceroute.METHODS['tcp'].read_info(sock) is not None)\n"
            "sock.close()" % (LOOPBACK, port))))
            for platform in ("linux", "linux2", "android", "other"))
        self.assertEqual(read.pop("other"), (0, "False\n", ""))
        for found in read.values():
            self.assertEqual(found, (0, "True\n", ""))

    def test_icmp_is_the_same_by_every_name(self):
        words = ["-I", "-n", LOOPBACK]
        linux = self.trace_on("linux", *words)
        for platform in ("linux2", "android"):
            self.assertEqual(self.trace_on(platform, *words), linux)


if __name__ == "__main__":
    unittest.main()
