"""Catches every crash on a Linux host and keeps a core that is worth opening."""

VERSION = "0.1.0"
