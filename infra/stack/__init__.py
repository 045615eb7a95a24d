"""The work of `make up` and others. Only the standard library, so that a host needs no packages."""
