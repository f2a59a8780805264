"""The sources that the dashboard can show: the daemon, a directory, a script."""
