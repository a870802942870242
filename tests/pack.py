"""Prints potraceroute.py in the fewest characters, to be pasted.

    $ python3 tests/pack.py                     # here; copy what it prints
    $ base64 -d | bunzip2 > potraceroute.py     # there; paste, Ctrl-D

or, where there is no bunzip2,

    $ python -c "import sys, bz2, base64
    out = getattr(sys.stdout, 'buffer', sys.stdout)
    out.write(bz2.decompress(base64.b64decode(sys.stdin.read())))" >FILE

What it prints is the program without its comments, docstrings, blank lines
and most of its indentation, compressed by bzip2 and in base64.
"""

from __future__ import print_function

import base64
import bz2
import io
import os
import sys
import token
import tokenize

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "potraceroute.py")
HEAD = "# potraceroute, MIT license; packed: comments are left out\n"
BLANK = (tokenize.NL, tokenize.COMMENT)


def shorten(source):
    """Return a program's text without what Python does not need.

    Line by line: a line that begins a statement keeps its depth as so many
    blanks, one that goes on with it none, one inside a string is kept.
    """
    lines = source.splitlines()
    kept = [None] * len(lines)          # None: to be left out
    tokens = list(tokenize.generate_tokens(io.StringIO(source).readline))
    inside = set()                      # lines inside a string
    depth, fresh = 0, True
    for number, entry in enumerate(tokens):
        kind, text, (row, column), (last, _) = entry[:4]
        if kind == token.INDENT:
            depth += 1
        elif kind == token.DEDENT:
            depth -= 1
        elif kind == token.NEWLINE:
            fresh = True
        elif kind not in BLANK and text:
            if fresh and is_docstring(tokens, number):
                if alone(tokens, number):
                    kept[row - 1] = " " * depth + "0"
                continue
            if fresh:
                kept[row - 1] = " " * depth + lines[row - 1].lstrip()
            elif row not in inside and kept[row - 1] is None:
                kept[row - 1] = lines[row - 1].lstrip()
            inside.update(range(row + 1, last + 1))
            for each in range(row, last):
                kept[each] = lines[each]
            fresh = False
        elif kind == tokenize.COMMENT and kept[row - 1] is not None:
            kept[row - 1] = kept[row - 1][:-len(text)].rstrip()
    return HEAD + "".join(line + "\n" for line in kept
                          if line is not None)


def is_docstring(tokens, number):
    return tokens[number][0] == token.STRING and \
        tokens[number + 1][0] == token.NEWLINE


def alone(tokens, number):
    """Return True if a docstring is all that its block has."""
    before = [entry[0] for entry in tokens[:number]
              if entry[0] not in BLANK][-1:]
    after = [entry[0] for entry in tokens[number + 2:number + 40]
             if entry[0] not in BLANK][:1]
    return before == [token.INDENT] and after == [token.DEDENT]


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
