"""Write Alertmanager's configuration, made from the settings, to standard output.

Alert channels, each enabled by its settings:

    ALERT_WEBHOOK_URL     POST of Alertmanager's JSON
    ALERT_SLACK_URL       Slack's incoming webhook; ALERT_SLACK_CHANNEL
    ALERT_EMAIL_TO        addresses; needs ALERT_EMAIL_FROM and SMTP_ADDRESS (host:port);
                          SMTP_USERNAME with SMTP_PASSWORD_FILE if the server asks for them;
                          SMTP_REQUIRE_TLS=false for a server without TLS
    ALERT_PAGE, ALERT_TICKET
                          the channels for that severity, comma-separated: webhook, slack, email;
                          if empty, all that are set
    WATCHDOG_WEBHOOK_URL  called every minute while alerts get through

Each URL may be in a file instead: the setting NAME_FILE has its path. This script reads the files,
since Alertmanager's container cannot. The configuration has their content, so keep it secret.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

CHANNELS = ("webhook", "slack", "email")
SEVERITIES = ("page", "ticket")

_TITLE = (
    "[{{ .Status | toUpper }}{{ if eq .Status `firing` }} {{ .Alerts.Firing | len }}{{ end }}]"
    " {{ .CommonLabels.severity }}: {{ .GroupLabels.alertname }}"
)
_TEXT = (
    "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.description }}\n"
    "{{ .Annotations.runbook_url }}\n\n{{ end }}"
)

# Intervals of pages and of tickets: before the first message, between messages of a group that
# changed, between repetitions.
_PACE = {
    "page": {"group_wait": "5s", "group_interval": "1m", "repeat_interval": "1h"},
    "ticket": {"group_wait": "30s", "group_interval": "5m", "repeat_interval": "24h"},
}

# The cause on the left, its consequences on the right.
_CONSEQUENCES = {
    "DatabaseDown": (
        "DatabaseUnreachable|NoReplicaReady|ReplicaNotReady|ErrorBudgetBurn|LatencyBudgetBurn"
        "|PoolSaturated|NotificationsLost|WorkerLoopStalled|WorkerLoopFailing|QueueOld"
    ),
    "DatabaseUnreachable": "ErrorBudgetBurn|NotificationsLost|WorkerLoopFailing",
    "NoReplicaReady": "ReplicaDown|ReplicaNotReady|ReplicasMissing|EdgeDown",
    "RedisDown": "RedisFallbacks",
}


class Refused(Exception):
    """The settings cannot be used; the message says why."""


def configuration(settings: Mapping[str, str]) -> dict[str, Any]:
    """The configuration that `settings` ask for. Raises Refused."""
    channels = {
        name: entry
        for name, entry in (
            ("webhook", _webhook(settings)),
            ("slack", _slack(settings)),
            ("email", _email(settings)),
        )
        if entry is not None
    }
    routed = {severity: _chosen(settings, severity, channels) for severity in SEVERITIES}
    watchdog = _url(settings, "WATCHDOG_WEBHOOK_URL")
    return {
        "route": {
            "receiver": "nobody",
            "group_by": ["alertname", "job"],
            "routes": [
                {
                    "matchers": ['alertname="Watchdog"'],
                    "receiver": "watchdog",
                    "group_wait": "0s",
                    "group_interval": "1m",
                    # Less than group_interval: at exactly one minute, a repetition due milliseconds
                    # later would wait for the next interval.
                    "repeat_interval": "50s",
                },
                *(
                    {"matchers": [f'severity="{name}"'], "receiver": name, **_PACE[name]}
                    for name in SEVERITIES
                ),
            ],
        },
        "inhibit_rules": _inhibitions(),
        "receivers": [
            {"name": "nobody"},
            {"name": "watchdog"}
            | ({"webhook_configs": [{**watchdog, "send_resolved": False}]} if watchdog else {}),
            *(
                {"name": severity}
                | {f"{channel}_configs": [channels[channel]] for channel in routed[severity]}
                for severity in SEVERITIES
            ),
        ],
    }


def _inhibitions() -> list[dict[str, Any]]:
    return [
        # A page silences the ticket of the same alert about the same target.
        {
            "source_matchers": ['severity="page"'],
            "target_matchers": ['severity="ticket"'],
            "equal": ["alertname", "job", "instance", "device"],
        },
        {
            "source_matchers": ['alertname="ReplicaDown"'],
            "target_matchers": ['alertname="ReplicaNotReady"'],
            "equal": ["instance"],
        },
        *(
            {
                "source_matchers": [f'alertname="{cause}"'],
                "target_matchers": [f'alertname=~"{consequences}"'],
            }
            for cause, consequences in _CONSEQUENCES.items()
        ),
    ]


def _chosen(settings: Mapping[str, str], severity: str, channels: Mapping[str, Any]) -> list[str]:
    name = f"ALERT_{severity.upper()}"
    given = [word.strip() for word in settings.get(name, "").split(",") if word.strip()]
    for word in given:
        if word not in CHANNELS:
            raise Refused(f"{name}: there is no channel {word!r}, only {', '.join(CHANNELS)}.")
        if word not in channels:
            raise Refused(f"{name}: {word} is not set up; set {_SETTING_OF_CHANNEL[word]}.")
    return list(dict.fromkeys(given)) or list(channels)


_SETTING_OF_CHANNEL = {
    "webhook": "ALERT_WEBHOOK_URL",
    "slack": "ALERT_SLACK_URL",
    "email": "ALERT_EMAIL_TO",
}


def _url(settings: Mapping[str, str], name: str, prefix: str = "") -> dict[str, str] | None:
    url, file = settings.get(name, ""), settings.get(f"{name}_FILE", "")
    if url and file:
        raise Refused(f"Set {name} or {name}_FILE, not both.")
    if file:
        name = f"{name}_FILE"
        url = _content(name, file)
    if not url:
        return None
    if not url.startswith(("http://", "https://")):
        raise Refused(f"{name} does not begin with http:// or https://.")
    return {f"{prefix}url": url}


def _content(name: str, file: str) -> str:
    """The content of the file, without the end of its line. Raises Refused."""
    try:
        found = Path(file).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise Refused(f"{name}: {file} cannot be read ({reason}).") from None
    if not found:
        raise Refused(f"{name}: {file} is empty.")
    return found


def _webhook(settings: Mapping[str, str]) -> dict[str, Any] | None:
    url = _url(settings, "ALERT_WEBHOOK_URL")
    return None if url is None else {**url, "send_resolved": True}


def _slack(settings: Mapping[str, str]) -> dict[str, Any] | None:
    url = _url(settings, "ALERT_SLACK_URL", "api_")
    if url is None:
        return None
    channel = settings.get("ALERT_SLACK_CHANNEL", "")
    return {
        **url,
        **({"channel": channel} if channel else {}),
        "send_resolved": True,
        "title": _TITLE,
        "text": _TEXT,
    }


def _email(settings: Mapping[str, str]) -> dict[str, Any] | None:
    to = settings.get("ALERT_EMAIL_TO", "")
    if not to:
        return None
    for name in ("ALERT_EMAIL_FROM", "SMTP_ADDRESS"):
        if not settings.get(name):
            raise Refused(f"ALERT_EMAIL_TO needs {name}.")
    user, password = settings.get("SMTP_USERNAME", ""), settings.get("SMTP_PASSWORD_FILE", "")
    if bool(user) != bool(password):
        raise Refused("SMTP_USERNAME and SMTP_PASSWORD_FILE go together.")
    login: dict[str, str] = {}
    if user:
        login = {
            "auth_username": user,
            "auth_password": _content("SMTP_PASSWORD_FILE", password),
        }
    tls = settings.get("SMTP_REQUIRE_TLS", "") or "true"
    if tls not in {"true", "false"}:
        raise Refused("SMTP_REQUIRE_TLS must be true or false.")
    return {
        "to": to,
        "from": settings["ALERT_EMAIL_FROM"],
        "smarthost": settings["SMTP_ADDRESS"],
        "require_tls": tls == "true",
        "send_resolved": True,
        "headers": {"Subject": _TITLE},
        "text": _TEXT,
        "html": "",
        **login,
    }


def main() -> int:
    try:
        rendered = configuration(os.environ)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 4
    # JSON is valid YAML, and its quoting is unambiguous.
    sys.stdout.write(json.dumps(rendered, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
