"""Which samples come next: the loader's own order, and orders of samplers that are somebody else's."""
