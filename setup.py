"""Installs potraceroute.py as a module and as the command `potraceroute`.

Nothing needs to be installed to use it: the file runs by itself.
"""

import io
import os
import re

try:
    from setuptools import setup
    COMMAND = {"entry_points": {
        "console_scripts": ["potraceroute = potraceroute:main"]}}
except ImportError:
    from distutils.core import setup
    COMMAND = {"scripts": ["potraceroute.py"]}

HERE = os.path.dirname(os.path.abspath(__file__))


def read(name):
    with io.open(os.path.join(HERE, name), encoding="utf-8") as stream:
        return stream.read()


def find_version():
    """The version, read and not imported: nothing of it is to run here."""
    return re.search(r'^__version__ = "([^"]+)"$', read("potraceroute.py"),
                     re.MULTILINE).group(1)


setup(
    name="potraceroute",
    version=find_version(),
    description="A traceroute that tells which hop blocks a connection, "
                "in one file and without root",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    author="the potraceroute developers",
    license="MIT",
    py_modules=["potraceroute"],
    python_requires=">=2.7,!=3.0.*,!=3.1.*,!=3.2.*,!=3.3.*,!=3.4.*,!=3.5.*",
    classifiers=[
        "Environment :: Console",
        "Intended Audience :: System Administrators",
        "Programming Language :: Python :: 2.7",
        "Programming Language :: Python :: 3",
        "Topic :: System :: Networking :: Monitoring",
    ],
    **COMMAND
)
