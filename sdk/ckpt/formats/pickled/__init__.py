"""Pickle streams read by an own opcode loop into plain records: nothing that they name is imported or called."""
