"""The grammar of `ckpt`: names, arguments, options and help of every command.

Nothing here does anything: each command imports its part of `ckpt_tui.answers` when it is called, so that help and
wrong usage cost no more than Typer itself.
"""
