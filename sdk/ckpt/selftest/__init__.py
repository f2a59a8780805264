"""Whether a training goes on as if it had not stopped: what it does is recorded, with and without a kill, and compared."""
