"""Reading the samples of an epoch, here or in workers, and what was read and what was taken."""
