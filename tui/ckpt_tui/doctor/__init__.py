"""Everything that can be wrong on this machine: facts are gathered, then judged, and nothing is started."""
