"""What the commands do: each function answers one command, through the sink of `ckpt_tui.output`."""
