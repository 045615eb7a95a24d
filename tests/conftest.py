"""Fixtures of all tests: a PostgreSQL of their own, databases, and the server that ships."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from app.core.settings import Settings
from fixtures.cluster import Cluster, database
from fixtures.server import Server, serving, settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

hypothesis_settings.register_profile(
    "listo",
    deadline=None,
    max_examples=int(os.environ.get("EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
hypothesis_settings.load_profile("listo")

_CLUSTER = pytest.StashKey[Cluster]()
_URL = pytest.StashKey[str]()

# The caller's environment and umask must not change the tests.
os.umask(0o022)
for _name in Settings.model_fields:
    os.environ.pop(_name.upper(), None)


def pytest_configure(config: pytest.Config) -> None:
    if config.option.collectonly:
        return
    given = getattr(config, "workerinput", None)
    if given is not None:
        config.stash[_URL] = given["cluster_url"]
        return
    # A run that is ended from outside, by a time limit say, stops PostgreSQL too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    cluster = config.stash[_CLUSTER] = Cluster()
    config.stash[_URL] = cluster.start()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["cluster_url"] = node.config.stash[_URL]


def pytest_unconfigure(config: pytest.Config) -> None:
    cluster = config.stash.get(_CLUSTER, None)
    if cluster is not None:
        cluster.stop()


@pytest.fixture(scope="session")
def cluster_url(pytestconfig: pytest.Config) -> str:
    """The database `postgres` of the run's cluster."""
    return pytestconfig.stash[_URL]


@pytest.fixture(scope="module")
def database_url(cluster_url: str) -> Iterator[str]:
    """A migrated, empty database for the tests of one file."""
    with database(cluster_url) as url:
        yield url


@pytest.fixture(scope="module")
def server(database_url: str) -> Iterator[Server]:
    with serving(settings(database_url)) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: Server) -> httpx.Client:
    return server.admin()


@pytest.fixture(scope="module")
def anonymous(server: Server) -> httpx.Client:
    return server.client()


@pytest.fixture(scope="module")
def ada(server: Server) -> httpx.Client:
    return server.member("ada@example.com")


@pytest.fixture(scope="module")
def bob(server: Server) -> httpx.Client:
    return server.member("bob@example.com")
