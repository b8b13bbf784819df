"""Takes a URL out of the settings apart: is it one we can use, and what of it may be shown."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import urllib.parse

import redis

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_REDIS_SCHEMES = ("redis", "rediss", "unix", "sentinel")
#: redis-py takes a database that is no number for 0, and fails late on a wrong port.
_REDIS_URL = re.compile(
    r"rediss?://(?:[^/]*@)?(?:\[[^]]+\]|[^:/@?]+)(?::\d{1,5})?(?:/\d*)?(?:\?.*)?"
)


def check_redis(url: str) -> None:
    """Raise ValueError, with the mend, when `url` is none of redis, rediss, unix and sentinel."""
    if url.partition("://")[0] not in _REDIS_SCHEMES or "://" not in url:
        # Not shown: what is no URL may be a password that was meant for another variable.
        raise ValueError("must start with redis://, rediss://, unix:// or sentinel://")
    if url.startswith("redis") and not _REDIS_URL.fullmatch(url):
        raise ValueError(f"{redact(url)!r} is not redis://[[user]:password@]host[:port][/database]")
    if url.startswith("sentinel://"):
        if not sentinel_parts(url):
            raise ValueError("sentinel://:password@host1:26379,host2:26379/NAME/0 is the form")
    elif url == "unix://" or not _is_understood(url):
        raise ValueError(
            f"{redact(url)!r} cannot be read; percent-encode what is special in a password"
        )


def _is_understood(url: str) -> bool:
    """Whether redis-py can make a connection of it; making one opens nothing."""
    try:
        pool = redis.ConnectionPool.from_url(url)
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, redis.RedisError):
        return False
    return True


def sentinel_parts(url: str) -> tuple[list[tuple[str, int]], str, int, str | None] | None:
    """Split a sentinel URL into hosts, master name, database and password; None if malformed."""
    form = re.fullmatch(
        r"sentinel://(?::(?P<pw>[^@]*)@)?(?P<hosts>[^/@]+)/(?P<name>[^/]+)(?:/(?P<db>\d+))?", url
    )
    if form is None:
        return None
    hosts = []
    for each in form["hosts"].split(","):
        host, _, port = each.rpartition(":") if ":" in each else (each, "", "26379")
        if not host or not port.isdigit():
            return None
        hosts.append((host, int(port)))
    password = urllib.parse.unquote(form["pw"]) if form["pw"] else None
    return hosts, form["name"], int(form["db"] or 0), password


def split(url: str) -> urllib.parse.SplitResult:
    """The parts of an HTTP URL; raises ValueError, with the mend and without the login."""
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(url)
        _ = parts.port  # raises when it is no port
        return parts
    # Out here, so that what the first error quotes is in no traceback.
    raise ValueError("cannot be read as scheme://host[:port]; percent-encode what is special")


def redact(url: str) -> str:
    """`url` without its password and query, fit for a person's eyes."""
    scheme, mark, rest = url.partition("://")
    if not mark or not _SCHEME.fullmatch(scheme):  # forgotten: a password may stand in its place
        scheme, mark, rest = "", "", url
    if "@" in rest.partition("?")[2]:  # nobody can tell where its password ends
        return f"{scheme}{mark}***"
    _, at, place = rest.partition("?")[0].rpartition("@")
    return f"{scheme}{mark}{'***@' if at else ''}{place}"


def is_safe(url: urllib.parse.SplitResult) -> bool:
    """Whether secrets may travel to it: over TLS, or not off this machine."""
    if not url.hostname:
        return False
    return url.scheme == "https" or (url.scheme == "http" and _is_loopback(url.hostname))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
