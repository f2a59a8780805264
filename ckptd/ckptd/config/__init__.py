"""config.toml: what it may say, reading it, and what a change of it means."""
