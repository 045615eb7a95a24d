"""`make dev`: the service on an embedded PostgreSQL, for trying it and working on it."""
