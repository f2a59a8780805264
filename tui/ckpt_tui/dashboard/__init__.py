"""The dashboard: `ckpt tui`. Everything that needs Textual is in this room."""
