"""Whether a training goes on as if it had not stopped: recorded with and without a kill, and compared."""
