"""The disks that runs lie on: how much is free, when they are full, and what has to go before that."""
