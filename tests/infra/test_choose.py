"""`make up` keeps choices in `.env`, so that `docker compose` by hand means the same stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fixtures.checkout import Checkout


def settings_kept(checkout: Checkout) -> dict[str, str]:
    lines = (checkout.path / ".env").read_text(encoding="latin-1").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def test_the_files_are_chosen_once(checkout: Checkout) -> None:
    checkout.environment.pop("COMPOSE_FILE")
    checkout.up()
    run = str(checkout.state / "run")
    assert settings_kept(checkout) == {"COMPOSE_FILE": "compose.yaml", "RUN_DIR": run}
    checkout.has(answers={"image inspect redis": [1, "No such image\n"], "pull": [1, "no route\n"]})
    checkout.up()
    assert settings_kept(checkout)["COMPOSE_FILE"] == "compose.yaml"


def test_all_other_bytes_of_the_file_stay(checkout: Checkout) -> None:
    path = checkout.path / ".env"
    content = b"NAME=caf\xe9\nODD=a\x0bb\xe2\x80\xa8c\n\n# ours\n"
    path.write_bytes(content)
    checkout.up()
    assert path.read_bytes().startswith(content)
    for command in ("down", "destroy-now"):
        done = checkout.run(command)
        assert (done.returncode, done.stderr) == (0, "")
    assert path.read_bytes().startswith(content)


def test_the_number_of_replicas_outlives_the_command(checkout: Checkout) -> None:
    (checkout.path / ".env").write_text("REPLICAS=2\n")
    checkout.up()
    assert settings_kept(checkout)["REPLICAS"] == "2"
    checkout.up(REPLICAS="5")
    checkout.up()
    assert settings_kept(checkout)["REPLICAS"] == "5"


@pytest.mark.parametrize("command", ["down", "destroy-now"])
def test_only_make_up_keeps_the_number_of_replicas(checkout: Checkout, command: str) -> None:
    checkout.up()
    checkout.run(command, REPLICAS="7")
    assert "REPLICAS" not in settings_kept(checkout)


def test_acme_is_a_profile_while_there_is_a_domain(checkout: Checkout) -> None:
    (checkout.path / ".env").write_text("COMPOSE_PROFILES=mine\n")
    checkout.up()
    assert settings_kept(checkout)["COMPOSE_PROFILES"] == "mine"
    checkout.up(DOMAIN="api.listo.test")
    assert settings_kept(checkout)["COMPOSE_PROFILES"] == "mine,acme"
    checkout.up()
    assert settings_kept(checkout)["COMPOSE_PROFILES"] == "mine"
