"""The command line. Its first act, before anything that takes time is imported, is to listen for Ctrl-C."""

from cli.interrupt import listen

listen()
