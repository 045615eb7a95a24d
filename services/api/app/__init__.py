"""Listo: JSON-Schema collections as REST resources, on PostgreSQL."""

__version__ = "0.1.0"
