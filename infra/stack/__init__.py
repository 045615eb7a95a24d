"""What `make up` and its like do. Only the standard library, so that a host needs no packages."""
