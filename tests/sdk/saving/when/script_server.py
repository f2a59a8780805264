"""Scripts in processes of their own: `python script_server.py SOCKET`.

A connection sends one line of JSON with the script, its arguments and the file for what it writes. It gets a line with
the process's id, and one with how that ended. Until it sends a line more the dead process keeps its id.
"""

from __future__ import annotations

import json
import os
import sys

import torch

import ckpt.hook  # noqa: F401
from forking import forked

torch.set_num_threads(1)
connection = forked(sys.argv[1])
lines = connection.makefile("rw")
asked = json.loads(lines.readline())
pid = os.fork()
if pid:
    print(pid, file=lines, flush=True)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    print("ended", file=lines, flush=True)
    lines.readline()
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), file=lines, flush=True)
    os._exit(0)
lines.close()
connection.close()
output = os.open(asked["output"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (output, 2)):
    os.dup2(number, target)
sys.argv = ["script", *asked["argv"]]
exec(compile(asked["script"], "script", "exec"), {"__name__": "__main__"})
