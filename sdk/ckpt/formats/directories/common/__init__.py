"""What several kinds of checkpoint directories need."""
