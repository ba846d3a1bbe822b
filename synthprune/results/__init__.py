"""Results by name: specifications, the store that keeps them, and the solver that computes what is missing."""
