"""`python -m ckptd`: the same as the command `ckptd`."""

from __future__ import annotations

from ckptd.cli import main

if __name__ == "__main__":
    main()
