"""From the disk to the catalog: which runs are there, what changed in them, which marks are theirs."""
