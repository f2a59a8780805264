"""Hints that something changed on disk, and which directories they are asked for."""
