"""Plain values for the constructors that a checkpoint may name, a module for each sort of value."""
