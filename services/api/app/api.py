"""The routes, in order."""

from __future__ import annotations

from app.auth.api_keys.router import router as api_keys
from app.auth.sessions.router import router as auth
from app.auth.users.router import router as users
from app.collections.router import router as collections
from app.jobs.router import router as jobs
from app.ops.docs import router as docs
from app.ops.router import router as operations
from app.records.aggregates.router import router as aggregates
from app.records.router import router as records
from app.records.search.router import router as searches
from app.transfers.exports.router import router as exports
from app.transfers.imports.http.router import router as imports
from app.transfers.imports.http.undo_router import router as undo

# These routes bypass FastAPI, see http/plain.py. They are tried before all others, since most
# requests are for records.
PLAIN_ROUTES = [
    *records.routes,
    *aggregates.routes,
    *searches.routes,
    *exports.routes,
    *imports.routes,
]
ROUTERS = (collections, auth, api_keys, users, jobs, undo, operations, docs)
