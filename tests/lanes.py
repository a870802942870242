"""Test classes that run side by side, each with a network of its own.

A live test mostly waits.  A module says

    from lanes import load_tests

and its classes that have `own_network = True` run in two threads, after the
others; what they report is repeated in order, class by class.  The tests of
a class with `parts = 4` are dealt to four copies of it, each with a network
of its own, which run at one time: for tests that do little but wait.  Tests
that are named on the command line run one after another.
"""

import os
import sys
import threading
import unittest
import zlib

import lab

LANES = 3


class Recorder(unittest.TestResult):
    """Keeps what is reported to it, to be told to another result."""

    def __init__(self):
        super(Recorder, self).__init__()
        self.calls = []

    def tell(self, result):
        for name, arguments in self.calls:
            getattr(result, name)(*arguments)


def keep_calls(name):
    def method(self, *arguments):
        self.calls.append((name, arguments))
    setattr(Recorder, name, method)


for _name in dir(unittest.TestResult):
    if _name.startswith("add") or _name in ("startTest", "stopTest"):
        keep_calls(_name)


class SideBySide(unittest.TestSuite):
    """A suite of suites, of which so many run at one time."""

    lanes = LANES

    def run(self, result, debug=False):
        lab.code_folder()               # one for all threads
        turns = [(suite, Recorder(), threading.Event()) for suite in self]
        waiting = list(turns)

        def work():
            while waiting:
                try:
                    suite, recorder, ended = waiting.pop(0)
                except IndexError:
                    return
                try:
                    suite.run(recorder)
                except BaseException:   # what unittest lets through
                    recorder.addError(next(iter(suite)), sys.exc_info())
                finally:
                    ended.set()

        for _ in range(self.lanes):
            thread = threading.Thread(target=work)
            thread.daemon = True        # an interrupt ends us all
            thread.start()
        for _, recorder, ended in turns:
            while not ended.is_set():   # Python 2.7: an interrupt is heard
                ended.wait(0.1)
            recorder.tell(result)
        return result


def deal(suite, parts):
    """Return so many suites of the tests of a class, each of a copy of it."""
    suites = []
    for number in range(parts):
        tests = list(suite)[number::parts]
        if not tests:
            continue
        kind = type(tests[0])
        copy = type(kind.__name__, (kind,), {
            "__module__": kind.__module__, "__doc__": kind.__doc__})
        suites.append(unittest.TestSuite(copy(test.id().split(".")[-1])
                                         for test in tests))
    return suites


def is_ours(name):
    """Return True if a class is in the share of POTRACEROUTE_SHARE, 1/2 or
    so: with many Pythons not every live test need run with every one."""
    number, _, count = os.environ.get("POTRACEROUTE_SHARE",
                                      "0/1").partition("/")
    return (zlib.crc32(name.encode("ascii")) - int(number)) % int(count) == 0


def load_tests(loader, tests, pattern):
    """Called by unittest: the suite of a module."""
    alone, beside, dealt = [], [], []
    for suite in tests:
        first = next(iter(suite), None)
        parts = getattr(first, "parts", 1)
        if getattr(first, "own_network", False) and \
                not is_ours(type(first).__name__):
            continue
        if not getattr(first, "own_network", False):
            alone.append(suite)
        elif parts > 1:
            dealt += deal(suite, parts)
        else:
            beside.append(suite)
    if beside or dealt:
        alone.append(SideBySide(dealt + beside))
        alone[-1].lanes = max(LANES, len(dealt))
    return unittest.TestSuite(alone)
