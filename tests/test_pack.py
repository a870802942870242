"""The program as tests/pack.py packs it: small, and the same program.

The two syntax trees are compared with the local names of every function
replaced by their numbers, so that nothing but those may differ, and the
private names that pack.py says it has changed.
"""

import ast
import ctypes
import inspect
import io
import json
import optparse
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import types
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests"))

import pack  # noqa: E402

LOOPBACK = "127.0.0.1"
LIMIT = 48 * 1024
# What potraceroute.py imports, and what that hands out.
MODULES = ("binascii", "collections", "copy", "ctypes", "errno", "itertools",
           "json", "optparse", "os", "re", "select", "signal", "socket",
           "ssl", "struct", "sys", "threading", "time")
FUNCTIONS = (ast.FunctionDef, ast.Lambda)
# In Python 2 the names of a list comprehension are those around it.
COMPREHENSIONS = (ast.GeneratorExp, ast.SetComp, ast.DictComp) + (
    (ast.ListComp,) if sys.version_info[0] > 2 else ())


def setUpModule():
    if os.environ.get("POTRACEROUTE_SKIP_SAME"):
        raise unittest.SkipTest("packing knows no privilege of ours; another "
                                "run has it")


class Scope(object):

    def __init__(self, outer=None, nodes=(), is_class=False):
        self.outer, self.is_class = outer, is_class
        self.depth = outer.depth + 1 if outer else 0
        self.bound, self.declared, self.order = set(), set(), []
        for node in nodes:
            self.bind(node)
        self.bound -= self.declared

    def bind(self, node):
        """Note which names a node binds here."""
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            self.bound.add(node.name)
        elif isinstance(node, ast.Global):
            self.declared.update(node.names)
        elif isinstance(node, ast.alias):
            self.bound.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Name) and \
                not isinstance(node.ctx, ast.Load):
            self.bound.add(node.id)
        elif type(node).__name__ == "arg":
            self.bound.add(node.arg)
        if isinstance(getattr(node, "name", None), str) and \
                isinstance(node, ast.ExceptHandler):
            self.bound.add(node.name)
        if isinstance(node, ast.arguments):
            self.bound.update(each for each in (node.vararg, node.kwarg)
                              if isinstance(each, str))
            for each in node.args + getattr(node, "kwonlyargs", []):
                self.bind(each)
            for each in node.vararg, node.kwarg:
                if isinstance(each, ast.AST):
                    self.bind(each)
        elif not isinstance(node, FUNCTIONS + COMPREHENSIONS +
                            (ast.ClassDef,)):
            for each in ast.iter_child_nodes(node):
                self.bind(each)

    def resolve(self, name):
        """Return the Scope to which a name belongs, None if global."""
        scope = self
        while scope.outer:
            if name in scope.declared:
                return None
            if name in scope.bound and (scope is self or
                                        not scope.is_class):
                return scope
            scope = scope.outer
        return None


class Description(object):
    """A syntax tree as nested tuples, local names as (depth, number).

    names, attributes: what those are to be called instead.
    """

    def __init__(self, source, names=None, attributes=None):
        self.names, self.attributes = names or {}, attributes or {}
        self.globals, self.members = set(), set()       # as they are
        self.parameters, self.calls, self.words = [], [], set()
        self.scope = Scope()
        self.text = self.see(ast.parse(source))

    def see(self, node):
        if isinstance(node, list):
            return [self.see(each) for each in node]
        if not isinstance(node, ast.AST):
            if isinstance(node, str):
                self.words.update(re.findall(r"\w+", node))
            return type(node).__name__, node
        kind = type(node).__name__
        if isinstance(node, COMPREHENSIONS):
            return self.see_generators(node)
        return getattr(self, "see_" + kind, self.see_fields)(node)

    def see_fields(self, node, skip=(), **words):
        return type(node).__name__, sorted(words.items()), [
            (field, self.see(getattr(node, field, None)))
            for field in node._fields if field not in skip and
            field not in words]

    def within(self, scope, function, *args):
        """Return function(*args), called inside a scope."""
        scope.outer, self.scope = self.scope, scope
        try:
            return function(*args)
        finally:
            self.scope = scope.outer

    def name(self, name):
        scope = self.scope.resolve(name)
        if scope is None:
            self.globals.add(name)
            return "global", self.names.get(name, name)
        if scope.is_class:
            return "member", self.member(name)
        if name not in scope.order:
            scope.order.append(name)
        return "local", scope.depth, scope.order.index(name)

    def member(self, name):
        self.members.add(name)
        return self.attributes.get(name, name)

    def body(self, node):
        body = node.body
        if ast.get_docstring(node) is not None:
            body = body[1:] or ast.parse("0").body
        return self.see(body)

    def see_Module(self, node):
        return self.body(node)

    def see_Name(self, node):
        return self.name(node.id), type(node.ctx).__name__

    def see_arg(self, node):
        return self.name(node.arg)

    def see_arguments(self, node):
        """The parameters; what they default to is seen outside."""
        every = [each for each in node.args + getattr(
            node, "kwonlyargs", []) + [node.vararg, node.kwarg] if each]
        self.parameters[-1][1].extend(
            getattr(each, "arg", getattr(each, "id", each))
            for each in every)
        return [len(node.args), node.vararg is None, node.kwarg is None] + [
            self.name(each) if isinstance(each, str) else self.see(each)
            for each in every]

    def see_function(self, node, name):
        outside = [self.see(node.args.defaults),
                   self.see(getattr(node.args, "kw_defaults", [])),
                   self.see(getattr(node, "decorator_list", [])),
                   name and self.name(name)]
        self.parameters.append((name, []))
        body = node.body if isinstance(node.body, list) else [node.body]
        scope = Scope(self.scope, [node.args] + body)
        return "function", outside, self.within(
            scope, self.see, node.args), self.within(
                scope, self.body if name else self.see,
                node if name else node.body)

    def see_FunctionDef(self, node):
        return self.see_function(node, node.name)

    def see_Lambda(self, node):
        return self.see_function(node, None)

    def see_ClassDef(self, node):
        return "class", self.name(node.name), self.see(
            node.bases), self.see(node.decorator_list), self.within(
                Scope(self.scope, node.body, True), self.body, node)

    def see_generators(self, node):
        outside = self.see(node.generators[0].iter)
        scope = Scope(self.scope, [each.target for each in node.generators])
        return type(node).__name__, outside, self.within(
            scope, lambda: [
                (self.see(each.target), self.see(each.ifs),
                 each is not node.generators[0] and self.see(each.iter))
                for each in node.generators] + [
                    self.see(getattr(node, field))
                    for field in ("elt", "key", "value")
                    if hasattr(node, field)])

    def see_Attribute(self, node):
        return "attribute", self.see(node.value), self.member(
            node.attr), type(node.ctx).__name__

    def see_Global(self, node):
        return "declared", [self.name(each) for each in node.names]

    def see_ExceptHandler(self, node):
        if isinstance(node.name, str):
            return self.see_fields(node, name=self.name(node.name))
        return self.see_fields(node)

    def see_Call(self, node):
        called = getattr(node.func, "id", getattr(node.func, "attr", None))
        words = [each.arg for each in node.keywords]
        if getattr(node, "kwargs", None):       # Python 2's **
            words.append(None)
        self.calls.append((called, words))
        return self.see_fields(node)


def library_words():
    """Return every name that the standard library has for us: of modules,
    of classes and, from the source text, of instances and functions."""
    words = set()
    for name in MODULES:
        module = __import__(name)
        for each in [module] + list(vars(module).values()):
            if isinstance(each, (type, types.ModuleType)):
                words.update(dir(each))
        path = re.sub("c$", "", getattr(module, "__file__", None) or "")
        if path.endswith(".py"):
            with io.open(path, encoding="utf-8", errors="replace") as stream:
                words.update(re.findall(r"(?:\.|\bdef )([A-Za-z_]\w*)",
                                        stream.read()))
    for each in (object, str, bytes, int, float, list, tuple, dict, set,
                 Exception, OSError, SystemExit, KeyboardInterrupt, type,
                 type(u"")):
        words.update(dir(each))
    return words


def run(path, *args):
    """Return status, stdout and stderr, times and ports replaced."""
    process = subprocess.Popen(
        [sys.executable, path] + list(args), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, cwd=os.path.dirname(path),
        env=dict(os.environ, COLUMNS="80"))
    out, err = process.communicate()
    return process.returncode, re.sub(
        "[0-9]+[.][0-9]{3} ms", "MS", out.decode("ascii")), \
        err.decode("ascii")


class PackTests(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.source = pack.read()
        cls.program = pack.Program(cls.source)
        cls.names, cls.attributes = cls.program.shorten_names()
        cls.text = str(cls.program)
        cls.before = Description(cls.source, cls.names, cls.attributes)
        cls.after = Description(cls.text)

    def test_file_can_be_pasted_in_48_kib(self):
        self.assertLessEqual(len(pack.pack(self.source)), LIMIT)

    def test_packed_program_differs_only_in_names_of_its_own(self):
        self.assertTrue(self.before.text == self.after.text)

    def test_description_tells_other_programs_from_one_another(self):
        source = u"x = 1\ndef f(a, b):\n    return [a for c in b if x]\n"
        alike = source.replace(u"b", u"z")
        self.assertEqual(Description(source).text, Description(alike).text)
        for old, new in ((u"return [a", u"return [b"), (u"[a", u"[c"),
                         (u"if x", u"if y"), (u"1", u"2"), (u"f(", u"g("),
                         (u"a, b", u"a, x"), (u"a, b", u"b, a"),
                         (u"[a", u"[a.b"), (u"a, b", u"a, *b")):
            other = source.replace(old, new, 1)
            self.assertNotEqual(Description(source).text,
                                Description(other).text, other)

    def test_no_two_names_become_one(self):
        for table, taken in (
                (self.names, self.before.globals | set(dir(__builtins__))),
                (self.attributes, self.before.members)):
            self.assertEqual(len(set(table.values())), len(table))
            self.assertEqual(taken & set(table.values()), set())

    def test_names_that_change_are_in_no_string(self):
        for table in self.names, self.attributes:
            self.assertEqual(self.before.words & set(table), set())

    def test_names_are_nowhere_used_as_data(self):
        used = self.before.globals | self.before.members
        self.assertEqual(used & set((
            "locals", "globals", "eval", "exec", "dir", "partial",
            "__dict__", "func_code", "__code__")), set())
        for match in re.finditer(r"\bvars\((\)?)", self.source):
            self.assertEqual(match.group(1), "")

    def test_public_names_do_not_change(self):
        with open(os.path.join(ROOT, "README.md"), "rb") as stream:
            text = stream.read().decode("utf-8")
        module = text[text.index("## As a module"):]
        documented = set(re.findall(r"\w+", " ".join(re.findall(
            "`[^`]+`|>>> .*", module[:module.index("\n## ")]))))
        self.assertIn("blocked_after", documented)
        for table in self.names, self.attributes:
            self.assertEqual(documented & set(table), set())

    def test_attributes_that_change_are_nothing_the_library_has(self):
        words = library_words()
        self.assertIn("fileno", words)
        self.assertIn("rargs", words)
        self.assertEqual(words & pack.PRIVATE, set())
        words = set(sum([dir(each) for each in (
            Exception, OSError, SystemExit, ValueError, tuple, object,
            optparse.OptionParser, ctypes.Structure)], []))
        self.assertEqual(words & set(self.attributes.values()), set())

    def test_parameters_passed_by_keyword_keep_their_names(self):
        """Which may be by **, too."""
        own = set(name for name, _ in self.before.parameters)
        words, starred = set(), set()
        for called, keywords in self.before.calls:
            if called in own or called not in (
                    "_replace", "dict", "format", "max", "min", "sort",
                    "sorted"):
                words.update(keywords)
            if None in keywords:
                starred.add(called)
        self.assertIn("greets", words)
        self.assertIn("decode_icmp", starred)
        for (name, old), (_, new) in zip(self.before.parameters,
                                         self.after.parameters):
            self.assertEqual(len(old), len(new))
            changed = [one for one, other in zip(old, new) if one != other]
            self.assertEqual(words & set(changed), set(), name)
            if name in starred or name == "__init__":
                self.assertIn(changed, ([], ["self"]))

    def test_functions_of_the_module_are_called_the_same(self):
        old, new = [self.load(text) for text in (self.source, self.text)]
        self.assertEqual(old.__all__, new.__all__)
        for name in old.__all__:
            one, other = getattr(old, name), getattr(new, name)
            if not isinstance(one, type):
                self.assertEqual(self.read_parameters(one),
                                 self.read_parameters(other))
                continue
            for method in set(vars(one)) - set(self.attributes):
                function = getattr(one, method)
                if method[0] != "_" and (
                        inspect.ismethod(function) or
                        inspect.isfunction(function)):
                    self.assertEqual(
                        self.read_parameters(function)[1:],
                        self.read_parameters(getattr(other, method))[1:])

    @staticmethod
    def read_parameters(function):
        code = function.__code__
        return code.co_varnames[:code.co_argcount]

    @staticmethod
    def load(text):
        module = types.ModuleType("packed")
        sys.modules["packed"] = module
        try:
            exec(compile(text, "packed", "exec"), vars(module))
        finally:
            del sys.modules["packed"]
        return module


class PackedTests(unittest.TestCase):
    """Both programs are run, and say the same."""

    def setUp(self):
        self.folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.folder)
        self.paths = []
        for name, text in (("one", pack.read()),
                           ("two", pack.shorten(pack.read()))):
            os.mkdir(os.path.join(self.folder, name))
            self.paths.append(os.path.join(self.folder, name,
                                           "potraceroute.py"))
            with open(self.paths[-1], "wb") as stream:
                stream.write(text.encode("ascii"))

    def refused_port(self):
        sock = socket.socket()
        self.addCleanup(sock.close)
        sock.bind((LOOPBACK, 0))        # and no listen()
        return str(sock.getsockname()[1])

    def both(self, *args):
        old, new = [run(path, *args) for path in self.paths]
        self.assertEqual(old, new)
        return new

    def test_packed_program_prints_the_same_help_and_errors(self):
        status, out, _ = self.both("--help")
        self.assertEqual(status, 0)
        self.assertIn("--first-hop", out)
        self.assertEqual(self.both("--version")[0], 0)
        for args in (["-p", "0", LOOPBACK], ["--nonsense"], [],
                     ["-U", "-I", LOOPBACK], ["--tls", "-U", LOOPBACK]):
            status, _, err = self.both(*args)
            self.assertEqual(status, 2)
            self.assertIn("potraceroute: error: ", err)

    def test_packed_program_traces_the_loopback_in_the_same_words(self):
        port = self.refused_port()
        status, out, err = self.both("-n", "-v", "-p", port, LOOPBACK)
        self.assertEqual((status, err), (0, ""))
        self.assertIn("TCP port %s is closed: " % port, out)
        status, out, _ = self.both("-U", "-n", "-p", port, LOOPBACK)
        self.assertIn("UDP port %s " % port, out)
        status, out, _ = self.both("-n", "-p", port + "," + port[:-1] + "0",
                                   "--flows=1", "-N", "1", LOOPBACK)
        self.assertIn("Verdict", out)

    def test_packed_program_reads_a_banner_and_makes_a_request(self):
        server = socket.socket()
        self.addCleanup(server.close)
        server.bind((LOOPBACK, 0))
        server.listen(64)
        port = str(server.getsockname()[1])
        for args in ([], ["--http", "-w", "0.3"], ["--mtu", "-w", "0.3"]):
            status, out, _ = self.both(
                "-n", "-p", port, "--banner-wait=0.1", LOOPBACK, *args)
            self.assertEqual(status, 0, out)
            self.assertIn("TCP port " + port, out)

    def test_packed_program_prints_the_same_json(self):
        documents = []
        for path in self.paths:
            status, out, err = run(path, "--json", "-n", "-p",
                                   self.refused_port(), LOOPBACK)
            self.assertEqual((status, err), (0, ""))
            documents.append(self.outline(json.loads(out)))
        self.assertEqual(*documents)
        self.assertIn("('verdict', 'refused')", repr(documents[0]).replace(
            "u'", "'"))

    def outline(self, value, key=None):
        """Return a document without what differs from run to run."""
        if isinstance(value, dict):
            return sorted((each, self.outline(value[each], each))
                          for each in value)
        if isinstance(value, list):
            return [self.outline(each, key) for each in value]
        if isinstance(value, float) or key == "started":
            return type(value).__name__
        return re.sub(r"\b[0-9]{4,5}\b", "PORT", value) if hasattr(
            value, "join") else value if key != "port" else "PORT"


class LanguageTests(unittest.TestCase):
    """Small programs with what is hard to change the names in."""

    def check(self, source):
        """Compare the values of `result`, and return the packed text."""
        source += u'__all__ = ["result"]\n'
        text = pack.shorten(source)
        self.assertLess(len(text) - len(pack.HEAD), len(source))
        values = []
        for each in source, text:
            space = {}
            exec(compile(each, "small", "exec"), space)
            values.append(space["result"])
        self.assertEqual(*values)
        program = pack.Program(source)
        tables = program.shorten_names()
        self.assertEqual(Description(source, *tables).text,
                         Description(text).text)
        return text

    def test_strings_and_blocks_of_a_docstring_alone_are_kept(self):
        self.check(u'''"""Title."""
class Only(Exception):
    """All there is."""  # indeed


def text():
    """Say it."""
    # why
    return """ # no comment

      kept"""


result = [text(),   # and so on

          len("# two" "x" '"' "\\\\0" "1"), b"\\0" b"1",
          issubclass(Only, Exception)]
''')

    def test_scopes_of_every_kind_stay_as_they_are(self):
        self.check(u'''
seen, other = [], 5
def outer(number, second=other, *more, **words):
    global seen
    count = [number]
    def inner(step, number=number):
        count[0] += step
        return number + count[0] + other
    class Local(object):
        number = 7
        count = number + 1
        def value(self, count=count):
            return number, count, self.number
    try:
        raise ValueError(number)
    except ValueError as error:
        seen = seen + [str(error)]
    rows = [(one, two) for one in range(3) for two in range(one) if one]
    pairs = dict((key, [key for key in range(key)]) for key in range(3))
    add = lambda step, start=second: step + start + len(more)
    return (inner(1), inner(2, number=9), Local().value(), rows, pairs,
            add(4), add(4, start=1), sorted(words))
def shade(value=other):
    other = value + 1
    return value, other
def mixed(number):
    def local():
        other = number
        return other
    def common():
        return other
    return local(), common()
result = outer(1, 2, 3, number_=4, a=1), outer(7), seen, shade(), mixed(3)
''')

    def test_names_known_by_keyword_or_string_stay(self):
        text = self.check(u'''
from collections import namedtuple
Pair = namedtuple("Pair", "left right")
class Thing(object):
    """With an option."""
    limit = 3
    twice = 2 * limit
    def __init__(self, width, height=limit):
        self.width, self.height = width, height
    def area(self, factor, extra=0):
        product = self.width * self.height * factor
        return product + extra + self.limit + self.twice
def passed(number, option=None, unseen=1):
    """Called by keyword, by name, and with all of a dict."""
    return number, option, unseen
def helper(**words):
    return sorted(words.items())
def starred(first, second_one):
    return first, second_one
helpers = {"helper": helper}
result = [Thing(width=2).area(3, extra=4), passed(1, option=2),
          helper(number=1), starred(**{"first": 1, "second_one": 2}),
          Pair(left=1, right=2)._replace(left=3),
          getattr(Thing(1), "width"), helpers["helper"](a=1)]
''')
        for word in ("option", "first", "second_one", "width", "left",
                     "extra", "helper"):
            self.assertIn(word, text)
        for word in ("unseen", "product", "factor", "Called"):
            self.assertNotIn(word, text)

    def test_statements_are_joined_only_where_they_mean_the_same(self):
        self.check(u'''
result = []
def decide(value):
    if value > 2:
        for each in range(value):
            if each: continue
            result.append(each)
        else:
            result.append("else")
        result.append("many")
    elif value:
        result.append("one"); result.append(not value)
    else:
        pass
    while value:
        value -= 1
        if value == 3:
            break
    for each in range(value):
        if each: continue
    return -value if value else(value)
result.append([decide(value) for value in (0, 1, 5)])
''')


if __name__ == "__main__":
    unittest.main()
