"""What --paste prints: small, the same program, and never half of it.

Also potraceroute.py itself, cut off where the rest is valid Python.
"""

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

import potraceroute as pt  # noqa: E402

SCRIPT = os.path.join(ROOT, "potraceroute.py")
LOOPBACK = "127.0.0.1"
LIMIT = 76 * 1024
HEAD = len(pt.PASTE_HEAD)
AGAIN = r"potraceroute: error: cut off, damaged or not in a file: paste it " \
    r"again, into a file \(.+\)\n$"
CUT_OFF = "potraceroute: error: this file was cut off: copy it again\n"


def setUpModule():
    if os.environ.get("POTRACEROUTE_SKIP_SAME"):
        raise unittest.SkipTest("the same without privilege")
    global BLOCK
    BLOCK = pt.format_paste()


def read_script():
    with open(SCRIPT) as stream:
        return stream.read()


def describe(source):
    """Return a program's syntax tree, without docstrings, as a text."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_string(body[0]):
            node.body = body[1:]
            if not node.body and not isinstance(node, ast.Module):
                node.body = [ast.Pass()]
    return ast.dump(tree)


def is_string(statement):
    if not isinstance(statement, ast.Expr):
        return False
    value = getattr(statement.value, "value", None)     # Python 3.8 and later
    return type(statement.value).__name__ == "Str" or isinstance(value, str)


class TextTests(unittest.TestCase):

    def test_block_has_72_kib_at_most(self):
        self.assertLessEqual(len(BLOCK), LIMIT)

    def test_block_is_a_head_and_comments_that_a_terminal_takes(self):
        lines = BLOCK[HEAD:].splitlines()
        self.assertEqual([line for line in lines if line[:1] != "#"], [])
        self.assertTrue(BLOCK[HEAD:].startswith(
            "# potraceroute " + pt.__version__), BLOCK[:HEAD + 40])
        for line in BLOCK.splitlines():
            self.assertLess(len(line), 255)
            self.assertEqual(line, line.strip())
        self.assertEqual(BLOCK, re.sub("[^ -~\n]", "?", BLOCK))

    def test_syntax_tree_is_the_same_and_so_are_all_names(self):
        text = pt.strip_source(read_script())
        self.assertTrue(describe(text) == describe(read_script()))
        for name in pt.__all__:
            self.assertTrue(re.search(r"\b%s\b" % name, text), name)

    def test_comments_and_docstrings_are_gone(self):
        text = pt.strip_source(read_script())
        self.assertLess(len(text), 0.7 * len(read_script()))
        self.assertNotIn("# Ctrl-C before main()", text)
        self.assertNotIn(pt.strip_source.__doc__[:30], text)
        self.assertNotIn("\n\n", text)

    def test_what_was_stripped_stays_the_same_when_stripped_again(self):
        text = pt.strip_source(read_script())
        self.assertTrue(pt.strip_source(text) == text)

    def test_awkward_programs_keep_their_syntax_trees(self):
        for source in (
                'class A(object):\n    """Doc."""\n\n\nclass B(A):\n'
                '    """Doc."""\n    def f(self):\n        """Doc."""\n'
                '        # why\n    x = 1\n',
                'def f():\n    """Doc."""  # why\n\n    return """# no\n'
                '\n    comment"""\n',
                'x = ("a" "b" \'c\' "" "\\"" "d"\n     r"\\e" "f" """g""" '
                '"h")\ny = b"i" b"j"\n',
                'x = [1 if y else"z" for y in(1, 2)if not y] or-1\n',
                'x = 1 + \\\n    2; y = 3\nif x: y = 4\nelse:\n    y = 5\n',
                'if 1:\n    x = "doc"\n    if 2:\n        pass\n    y = x\n',
                '@staticmethod\ndef f(a, *b, **c):\n    "Doc."\n    yield\n',
                '"""Only a docstring."""\n', ''):
            self.assertEqual(describe(pt.strip_source(source)),
                             describe(source))

    def test_comparison_can_fail(self):
        self.assertNotEqual(describe("def f(a):\n    return a\n"),
                            describe("def f(b):\n    return b\n"))
        self.assertEqual(describe("def f():\n    'Doc.'\n    return 1\n"),
                         describe("def f():\n    return 1\n"))


class BlockCase(unittest.TestCase):

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)

    def write(self, text, name="block.py"):
        path = os.path.join(self.folder, name)
        with open(path, "wb") as stream:
            stream.write(text.encode("latin-1"))
        return path

    def run_python(self, *words, **how):
        """Return (status, stdout, stderr)."""
        process = subprocess.Popen(
            [sys.executable] + list(words), cwd=how.get("cwd", self.folder),
            env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1",
                     **how.get("env", {})),
            stdin=how.get("stdin", subprocess.PIPE),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        out, err = process.communicate(how.get("input"))
        watchdog.cancel()
        return [process.returncode] + [
            text.decode("latin-1").replace("\r\n", "\n")
            for text in (out, err)]

    def run_text(self, text, *words):
        """Run a text as a file: return (status, stdout, stderr)."""
        return self.run_python(self.write(text), *words)

    def run_stdin(self, path, *words):
        with open(path, "rb") as stream:
            return self.run_python("-", *words, stdin=stream)

    def refused_port(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind((LOOPBACK, 0))        # and no listen()
        return str(sock.getsockname()[1])

    def assert_version(self, result):
        self.assertEqual(result, [0, pt.__version__ + "\n", ""])

    def assert_refused(self, result, text=AGAIN):
        status, out, err = result
        self.assertEqual((status, out), (2, ""), result)
        self.assertTrue(re.match(text, err), err)
        self.assertEqual(err.count("\n"), 1, err)


class RunTests(BlockCase):

    def test_block_runs_as_a_file(self):
        self.assert_version(self.run_text(BLOCK, "--version"))

    def test_block_prints_the_same_help_and_errors(self):
        for words in (["--help"], ["-p", "0", LOOPBACK], ["--no-such-option"],
                      [], ["-U", "-I", LOOPBACK]):
            expected = self.run_python(SCRIPT, *words)
            self.assertNotEqual(expected[1:], ["", ""])
            self.assertEqual(self.run_text(BLOCK, *words), expected)

    def test_block_traces(self):
        path, port = self.write(BLOCK), self.refused_port()
        for run in self.run_python, self.run_stdin:
            status, out, err = run(path, "-n", "-p", port, LOOPBACK)
            self.assertEqual((status, err), (0, ""))
            self.assertIn("\nTCP port %s is closed: " % port, out)

    def test_block_runs_from_stdin_if_that_is_a_file(self):
        self.assert_version(self.run_stdin(self.write(BLOCK), "--version"))

    def test_block_with_other_line_ends_and_blanks_runs(self):
        for text in (BLOCK.replace("\n", "\r\n"), BLOCK.rstrip("\n"),
                     BLOCK.replace("\n", "  \n"), BLOCK + "\n \n",
                     BLOCK.replace("\n#", "\n   # "),
                     u"\xef\xbb\xbf" + BLOCK):
            path = self.write(text)
            self.assert_version(self.run_python(path, "--version"))
            self.assert_version(self.run_stdin(path, "--version"))

    def test_block_runs_from_another_directory(self):
        self.write(BLOCK)
        self.assert_version(self.run_python(
            os.path.join(os.path.basename(self.folder), "block.py"),
            "--version", cwd=os.path.dirname(self.folder)))

    def test_block_runs_by_any_name(self):
        name = u"caf\xe9 'x' $(y) #z".encode("utf-8")
        if not isinstance(name, str):
            name = os.fsdecode(name)
        self.assert_version(self.run_python(self.write(BLOCK, name),
                                            "--version"))

    def test_block_prints_itself(self):
        for text in BLOCK, BLOCK.replace("\n", "\r\n"):
            path = self.write(text)
            for result in (self.run_python(path, "--paste"),
                           self.run_stdin(path, "--paste")):
                self.assertEqual(result, [0, BLOCK, ""])

    def test_block_can_be_imported_and_become_root(self):
        self.write(BLOCK)
        os.chmod(self.write("#!/bin/sh\nfor last; do :; done\n"
                            "exec sh -c \"$last\"\n", "su"), 0o755)
        path = self.folder + os.pathsep + os.environ["PATH"]
        result = self.run_python(
            "-c", "import block\n"
            "status, text = block.run_as_root(['--version'])\n"
            "print(text)\nraise SystemExit(status)", env={"PATH": path})
        self.assert_version(result)

    def test_arguments_reach_the_block_as_they_are(self):
        result = self.run_text(BLOCK, "--json", "a b", "$c", "d")
        self.assertEqual(result[0], 2)
        self.assertIn("not 'a b' '$c' 'd' ", result[2])
        self.assertEqual(json.loads(result[1])["command"], [
            "potraceroute.py", "--json", "a b", "$c", "d"])


class OptionTests(BlockCase):

    def test_option_prints_the_block_and_needs_no_host(self):
        self.assertEqual(self.run_python(SCRIPT, "--paste"), [0, BLOCK, ""])

    def test_file_that_cannot_be_read_is_an_error_of_one_line(self):
        error = "potraceroute: error: --paste: the source of this program " \
            "cannot be read; run it from a file\n$"
        source = read_script().encode("ascii")
        self.assert_refused(self.run_python("-", "--paste", input=source),
                            error)
        path = self.write(read_script())
        call = "import sys, os\nsys.path.insert(0, %r)\n" \
            "import block\nos.remove(%r)\n" \
            "sys.exit(block.main(['--paste']))" % (self.folder, path)
        self.assert_refused(self.run_python("-c", call), error)


class CutTests(BlockCase):

    def test_cut_within_the_data_is_told_in_one_line(self):
        cuts = list(range(HEAD, HEAD + 40)) + list(range(
            HEAD + 40, len(BLOCK), len(BLOCK) // 20)) + list(range(
                len(BLOCK) - 82, len(BLOCK) - 1, 3)) + [len(BLOCK) - 2]
        for cut in cuts:
            self.assert_refused(self.run_text(BLOCK[:cut], "--version"))

    def test_cut_within_the_head_is_an_error(self):
        """Most are for Python to tell: it runs nothing of the file then."""
        end = BLOCK.index("sys.exit(2))") + len("sys.exit(2))")
        valid = []
        for cut in range(1, HEAD):      # nobody tells an empty file
            try:
                compile(BLOCK[:cut], "block", "exec")
            except SyntaxError:
                continue
            valid.append(cut)
            result = self.run_text(BLOCK[:cut], "--version")
            if cut in (1, 2):           # "t" and "tr"
                self.assertEqual(result[:2], [1, ""])
                self.assertIn("NameError", result[2])
            else:
                self.assert_refused(result)
        self.assertEqual(valid[:3], [1, 2, end])
        self.assertIn(HEAD - 1, valid)

    def test_cut_from_stdin_is_told_in_one_line(self):
        for cut in HEAD, HEAD + 50, len(BLOCK) // 2, len(BLOCK) - 3:
            self.assert_refused(self.run_stdin(self.write(BLOCK[:cut])))

    def test_cut_with_other_line_ends_is_told_in_one_line(self):
        text = BLOCK.replace("\n", "\r\n")
        for cut in range(len(text) // 2, len(text) // 2 + 85, 7):
            self.assert_refused(self.run_text(text[:cut], "--version"))

    def test_block_without_a_part_is_told_in_one_line(self):
        lines = BLOCK.splitlines(True)
        for at in 14, len(lines) // 2, len(lines) - 2:
            self.assert_refused(self.run_text(
                "".join(lines[:at] + lines[at + 1:])))
            self.assert_refused(self.run_text(
                "".join(lines[:at + 1] + lines[at:])))

    def test_one_changed_character_of_the_data_is_told_in_one_line(self):
        first = BLOCK.index("\n#", HEAD) + 2
        for at in list(range(first, first + 8)) + list(range(
                first + 8, len(BLOCK) - 4, len(BLOCK) // 25)):
            if BLOCK[at] in "#\n":
                at += 3
            other = "A" if BLOCK[at] != "A" else "B"
            self.assert_refused(self.run_text(
                BLOCK[:at] + other + BLOCK[at + 1:]))

    def test_block_in_a_pipe_is_told_to_become_a_file(self):
        self.assert_refused(self.run_python(
            "-", "--version", input=BLOCK.encode("ascii")))

    def test_block_without_a_file_is_told_to_become_one(self):
        self.assert_refused(self.run_python(
            "-c", "import sys\nexec(%r)" % BLOCK))

    def test_python_without_bz2_is_told_in_one_line(self):
        self.write("raise ImportError('no bz2 here')", "bz2.py")
        # -S: or site may have loaded the real one.
        result = self.run_python("-S", self.write(BLOCK), "--version")
        self.assert_refused(result)
        self.assertIn("(no bz2 here)", result[2])


class PlainFileTests(BlockCase):
    """potraceroute.py itself: a part of it must not end with status 0."""

    def assert_told(self, text):
        status, out, err = self.run_text(text, "--version")
        self.assertEqual((status, out), (2, ""), err)
        self.assertTrue(err.endswith(CUT_OFF), err)
        return err

    def test_cut_between_two_statements_is_told_in_one_line(self):
        source = read_script()
        places = [match.start() for match in re.finditer(
            r"^(?:import|class|def|# 2)\b", source, re.M)]
        self.assertGreater(len(places), 99)
        for place in places[1:-20:20] + places[-12::4]:
            self.assertEqual(self.assert_told(source[:place]), CUT_OFF)

    def test_cut_within_the_last_lines_is_told(self):
        source = read_script()
        start = source.rindex("if __name__")
        valid = []
        for cut in range(start, len(source) - 1):
            try:
                compile(source[start:cut] + "\n", "end", "exec")
            except SyntaxError:
                continue
            valid.append(source[start:cut])
            self.assert_told(source[:cut])
        self.assertIn('if __name__ == "__main__":\n    sys.exit', valid)

    def test_whole_file_is_not_complained_about(self):
        self.assert_version(self.run_text(read_script(), "--version"))
        self.assert_version(self.run_text(read_script().rstrip("\n"),
                                          "--version"))


if __name__ == "__main__":
    unittest.main()
