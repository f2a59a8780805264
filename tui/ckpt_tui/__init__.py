"""ckpt_tui: the `ckpt` command and its dashboard."""
