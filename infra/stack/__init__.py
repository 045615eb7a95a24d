"""The work of `make up` and others, by the standard library alone: a host needs no packages."""
