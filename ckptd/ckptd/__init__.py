"""ckptd: the daemon that watches directories, indexes their checkpoints and enforces retention."""
