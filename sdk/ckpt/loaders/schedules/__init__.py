"""Several loaders in one order: who is next, when an epoch ends, and how that goes on."""
