"""The problems of exports."""

from __future__ import annotations

from app.core.errors import ServiceUnavailable


class RecordsTooLarge(ServiceUnavailable):
    """The collection has records so large that the server's memory is too small to export them."""

    code = "records_too_large"
