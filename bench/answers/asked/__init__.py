"""The parts of the sequence: the `ask` of each asks about the subject in its name."""
