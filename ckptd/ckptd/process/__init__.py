"""The daemon as a process: one a user and machine, its service unit, its logs, its manners."""
