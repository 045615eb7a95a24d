"""`make up` and the stack's other commands; they use only the standard library."""
