"""Answers written for a person: each function takes the plain data of `--json` and gives escaped lines."""
