"""What the daemon changes: removals by policy, marks, and taking either back."""
