"""Prints potraceroute.py in the fewest characters, to be pasted.

    $ python3 tests/pack.py                     # here; copy what it prints
    $ base64 -d | bunzip2 > potraceroute.py     # there; paste, Ctrl-D

or, where there is no bunzip2,

    $ python -c "import sys, bz2, base64
    out = getattr(sys.stdout, 'buffer', sys.stdout)
    out.write(bz2.decompress(base64.b64decode(sys.stdin.read())))" >FILE

What it prints is the program without comments, docstrings and most blanks,
several statements to a line, its local and private names cut to a letter or
two, compressed by bzip2 and in base64.  What __all__ has, options, keywords
and strings stay.

Local names are changed by units: a function of the module, or a method, with
all that is nested in it.  A name that is local somewhere in a unit, global
nowhere in it and passed as a keyword nowhere at all gets one new name in the
whole unit that nothing else in it has, so every scope stays as it is.
"""

from __future__ import print_function

import base64
import bz2
import collections
import io
import itertools
import keyword
import os
import re
import string
import symtable
import sys
import token
import tokenize

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "potraceroute.py")
HEAD = "# potraceroute, MIT license; packed: no comments, short names\n"
BLANK = (tokenize.NL, tokenize.COMMENT, token.ENDMARKER)
KEYWORDS = set(keyword.kwlist + ["None", "True", "False", "print", "exec",
                                 "nonlocal", "async", "await"])
COMPOUND = ("if", "elif", "else", "for", "while", "try", "except", "finally",
            "with", "def", "class", "@")
# Keywords in calls of these, unless we define one, are none of ours.
FOREIGN = set(["_replace", "dict", "format", "max", "min", "sort", "sorted"])
# Attributes that are ours alone: no interface, and names of nothing in the
# standard library.  What else is safe is found out; this can not be, so a
# new one is not changed before it stands here (tests/test_pack.py checks).
PRIVATE = set("""
FLOOR GRACE IN_FLIGHT LEISURE LIMIT NAMES PORTS STEP STEPS _name_of agreed
all_probes ask asked asked_for available banners began blind blocked_at by_ping
certain checked checks choose_flows choose_ports choose_target complete
conclude confirm connects consider consider_check dead deadline decode_error
default_port denounce done due edge end_banner enrich entry error_items expect
expire explain explains facts fate find_own_address fits forget format_answer
format_away format_label format_line full_retries handle hear held_until high
holds hops_as_known horizon icmp_filter kinds known_distance last_heard
last_hop lead lead_plan least look_after look_up_names low make_hop make_hops
mechanism_name mss needs_more new_payload new_plan next_time next_try nonce
note_answer note_sent one_flow open_engine open_socket pairs place places plan
poller prepare previous proven queue_works reached_at read_banner read_info
ready ready_states receive refuse_source renew repeats retire route_error runs
scout set_filter set_flow set_ttl settle_doubt shown sibling slowest sockets
stamp stamp_items stamp_option states steps stream take tcp_info tidy
to_destination try_option ttl_items turn unsure unwatch wanted_mechanism
watched widen writer writers
""".split())


class Token(object):
    """role: name, attribute, keyword (of a call); None: not a name."""

    def __init__(self, kind, text):
        self.kind, self.text, self.role = kind, text, None


class Statement(object):
    """A logical line: its tokens, and how deep in blocks it stands."""

    def __init__(self, depth, tokens):
        self.depth, self.tokens = depth, tokens
        self.first = tokens[0].text
        self.calls = []         # (what is called, keyword or "**")
        self.defaults = set()   # what a def evaluates outside of itself
        open_, lambdas = [], []
        texts = [each.text for each in tokens] + ["", ""]
        for at, each in enumerate(tokens):
            text, before, after = texts[at], texts[at - 1], texts[at + 1]
            header = self.first == "def" and len(open_) == 1
            if each.kind == token.NAME and text not in KEYWORDS:
                each.role = "name"
                if before == ".":
                    each.role = "attribute"
                elif after == "=" and open_ and not (
                        header or lambdas[-1:] == [len(open_)]):
                    each.role = "keyword"
                    self.calls.append((open_[-1], text))
                if self.first == "def" and open_ and (
                        not header or before not in ("(", ",", "*", "**")):
                    self.defaults.add(text)
            elif text == "lambda":
                lambdas.append(len(open_))
            elif text == ":" and lambdas[-1:] == [len(open_)]:
                lambdas.pop()
            elif text in ("(", "[", "{"):
                open_.append(before)
            elif text in (")", "]", "}"):
                open_.pop()
            elif text == "**" and before in ("(", ",") and not header:
                self.calls.append((open_[-1], text))

    def names(self, role="name"):
        return [each.text for each in self.tokens if each.role == role]

    def rename(self, table, role="name"):
        for each in self.tokens:
            if each.role == role:
                each.text = table.get(each.text, each.text)

    def __str__(self):
        text = ""
        for each in self.tokens:
            apart = re.match(r"\w\w", text[-1:] + each.text[0])
            text += " " + each.text if apart else each.text
        return text


def read_statements(source):
    """Return a program's statements, without docstrings."""
    found, tokens, depth = [], [], 0
    for entry in tokenize.generate_tokens(io.StringIO(source).readline):
        kind, text = entry[:2]
        if kind == token.NEWLINE:
            found.append(Statement(depth, tokens))
            tokens = []
        elif kind in (token.INDENT, token.DEDENT):
            depth += 1 if kind == token.INDENT else -1
        elif kind == token.STRING and tokens and can_join(
                tokens[-1].text, text):
            tokens[-1].text = tokens[-1].text[:-1] + text.lstrip("b")[1:]
        elif kind not in BLANK:
            tokens.append(Token(kind, text))
    depths = [0] + [each.depth for each in found] + [0]
    for each, before, after in zip(found, depths, depths[2:]):
        if [one.kind for one in each.tokens] == [token.STRING]:
            each.tokens = [Token(token.NUMBER, "0")] \
                if before < each.depth > after else []
    return [each for each in found if each.tokens]


def can_join(left, right):
    """Return True for two plain strings that can be written as one."""
    plain = re.compile(r'b?"(?!"")[^"]*"$')
    return plain.match(left) and plain.match(right) and \
        left[0] == right[0] and not re.search(r'\\[0-7]{1,2}"$', left)


def walk(tables):
    for table in tables:
        yield table
        for each in walk(table.get_children()):
            yield each


def names_in(tables, way=None):
    """Return the names that are parameters, say, somewhere in the tables;
    those that are not global if not told."""
    return set(symbol.get_name() for table in tables
               for symbol in table.get_symbols()
               if (getattr(symbol, way)() if way else
                   not symbol.is_global()))


def choose(names, taken):
    """Return a dict of names to short ones, the first to the shortest."""
    letters = string.ascii_letters
    short = (name for name in itertools.chain(letters, map(
        "".join, itertools.product(letters, repeat=2)))
        if name not in taken and name not in KEYWORDS)
    return dict(zip(collections.OrderedDict.fromkeys(names), short))


class Program(object):
    """The statements of a program, whose names can be shortened."""

    def __init__(self, source):
        self.statements = read_statements(source)
        self.module = symtable.symtable(source, SCRIPT, "exec")
        self.strings = set(re.findall(r"\w+", " ".join(
            each.text.replace("-", "_") for statement in self.statements
            for each in statement.tokens if each.kind == token.STRING)))
        self.public = set(re.findall(r"\w+", " ".join(
            str(each) for each in self.statements
            if each.first == "__all__")))
        calls = [call for each in self.statements for call in each.calls]
        foreign = FOREIGN - set(each.tokens[1].text for each in
                                self.statements if each.first == "def")
        self.keywords = set(word for callee, word in calls
                            if callee not in foreign)
        self.starred = set(callee for callee, word in calls if word == "**")
        self.units = []         # (class or "", symbol tables, statements)
        self.bodies = []        # statements of classes, not of their methods
        self.find_units()

    def names(self, role="name"):
        return [name for each in self.statements for name in each.names(role)]

    def find_units(self):
        for each in self.statements:
            if not each.depth:
                owner, unit, within, bound = "", [], [self.module], ()
                if each.first == "class":
                    owner = each.tokens[1].text
                    within = [table for table in self.module.get_children()
                              if table.get_name() == owner]
                    bound = names_in(within)
                    continue
            elif unit and (each.depth > 1 or not owner):
                unit.append(each)
                continue
            unit = []
            if each.first == "def" and each.depth == (owner > ""):
                name, unit = each.tokens[1], [each]
                self.units.append((owner, [
                    table for outer in within for table in
                    outer.get_children() if table.get_name() == name.text],
                    unit))
                name.role = "attribute" if owner else "name"
            elif owner:
                self.bodies.append(each)
                for name in each.tokens:
                    if name.role == "name" and name.text in bound:
                        name.role = "attribute"

    def list_locals(self, owner, tables, unit):
        """Return the names that may be changed within a unit."""
        name = unit[0].tokens[1].text
        tables = list(walk(tables))
        parameters = names_in(tables, "is_parameter") - set(["self"])
        if not (name in self.starred | self.public | set(["__init__"]) or
                owner in self.public and name[0] != "_"):
            parameters &= self.keywords
        fixed = parameters | unit[0].defaults | set([name]) | \
            names_in(tables, "is_global") | names_in(tables, "is_imported")
        for table in tables:
            if table.get_type() == "class":
                fixed |= names_in(walk([table]))
        return set(each for each in names_in(tables) - fixed
                   if each[0].isalpha())

    def list_globals(self):
        """Return the module's private names that nothing else has."""
        module = [self.module]
        return set(each for each in names_in(module, "is_assigned") |
                   names_in(module, "is_namespace") if each[:2] != "__") - \
            self.public - self.strings - names_in(module, "is_imported") - \
            names_in(walk(self.module.get_children()))

    def shorten_names(self):
        """Change the names; return dicts of those of the module and of the
        attributes, old to new."""
        for unit in self.units:
            changed = self.list_locals(*unit)
            names = [name for each in unit[2] for name in each.names()]
            table = choose([name for name in names if name in changed],
                           set(names + self.names("keyword")) - changed)
            for each in unit[2]:
                each.rename(table)
        changed = self.list_globals()
        table = choose([name for name in self.names() if name in changed],
                       set(self.names()))
        for each in self.statements:
            each.rename(table)
        changed = PRIVATE - self.strings - set(self.names("keyword"))
        attributes = choose(
            [name for name in self.names("attribute") if name in changed],
            set(self.names("attribute") + [
                name for each in self.bodies for name in each.names()]))
        for each in self.statements:
            each.rename(attributes, "attribute")
        return table, attributes

    def __str__(self):
        """Return the text, with what can be on one line there."""
        rows = []               # [depth, text, is it compound?]
        for each in self.statements:
            compound = each.first in COMPOUND
            if rows and not compound and rows[-1][::2] == [each.depth, False]:
                rows[-1][1] += ";" + str(each)
            else:
                rows.append([each.depth, str(each), compound])
        text = HEAD.rstrip()
        for (depth, words, compound), after in zip(
                rows, [row[0] for row in rows[1:]] + [0]):
            if compound or depth <= after or text[-1] != ":":
                text += "\n" + " " * depth
            text += words
        return text + "\n"


def shorten(source):
    """Return a program's text without what Python does not need."""
    program = Program(source)
    program.shorten_names()
    return str(program)


def read(path=SCRIPT):
    with io.open(path, encoding="ascii") as stream:
        return stream.read()


def pack(source):
    """Return the text to be pasted, as octets without line ends."""
    return base64.b64encode(bz2.compress(shorten(source).encode("ascii"), 9))


def main():
    text = pack(read()).decode("ascii")
    for start in range(0, len(text), 76):
        print(text[start:start + 76])


if __name__ == "__main__":
    sys.exit(main())
