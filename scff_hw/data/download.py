"""HTTP download of one file with resume, retries and several mirrors.

pooch computes the checksum. pooch does not resume downloads or change mirrors, so requests does the transfer.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scff_hw.errors import DownloadError

# file name, bytes received, total bytes (0 if the server does not give them)
Report = Callable[[str, int, int], None]

_CHUNK_BYTES = 1 << 16
_TIMEOUT_S = 30
_RETRIED_STATUS = (408, 429)


def no_report(name: str, done_bytes: int, total_bytes: int) -> None:
    """Do nothing: a `Report` for downloads without progress."""


def download(
    urls: Sequence[str],
    target: Path,
    *,
    md5: str | None,
    report: Report = no_report,
    limit_bytes: int,
    attempts: int = 4,
    backoff_s: float = 1.0,
) -> None:
    """Download `target` from the first of `urls` that provides the complete file; no partial `target` is created.

    A partial download stays in `target`.part, and a later call resumes it with an HTTP Range request. This requires
    `md5`, the checksum of the file; with None every attempt starts anew. Each URL is tried `attempts` times; waits are
    `backoff_s` seconds, doubled each time. HTTP 4xx (except 408 and 429) or more than `limit_bytes` bytes end the
    attempts at a URL at once.

    Raises DownloadError, with the problem of each URL, if no URL provides the file, and OSError if writing fails.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    problems = []
    for url in urls:
        problem = _try(url, part, md5, report, limit_bytes, attempts, backoff_s)
        if problem is None:
            os.replace(part, target)
            return
        problems.append(f"{url}: {problem}")
    raise DownloadError(
        f"{target.name} could not be downloaded ({'; '.join(problems)}); "
        "check the network and run the same command again."
    )


def checksum_matches(path: Path, md5: str) -> bool:
    """Return whether the file at `path` exists and has the MD5 checksum `md5`, in hexadecimal."""
    return path.is_file() and _md5(path) == md5


def _md5(path: Path) -> str:
    import pooch

    return pooch.file_hash(str(path), alg="md5")


class _TooLargeError(Exception):
    """The server sends more bytes than the published file has."""


def _try(
    url: str, part: Path, md5: str | None, report: Report, limit_bytes: int, attempts: int, backoff_s: float
) -> str | None:
    """Download `url` to `part`; return None if `part` is complete, else the problem."""
    import requests
    import urllib3

    problem = "no attempt was made"
    for attempt in range(attempts):
        if attempt:
            time.sleep(backoff_s * 2 ** (attempt - 1))
        if md5 is None or (part.exists() and part.stat().st_size > limit_bytes):
            part.unlink(missing_ok=True)
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _transfer(url, part, report, limit_bytes)
        except _TooLargeError:
            part.unlink(missing_ok=True)
            return f"the server sends more than {limit_bytes} bytes, and the published file has fewer"
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            problem = _reason(error)
            if _is_final(error):
                return problem
            continue
        if md5 is None or (checksum := _md5(part)) == md5:
            return None
        part.unlink()
        problem = f"the MD5 checksum is {checksum}, the published one {md5}"
        # A complete download that differs will differ again; a resumed one may have started from bad bytes.
        if not resumed:
            return problem
    return problem


def _transfer(url: str, part: Path, report: Report, limit_bytes: int) -> None:
    """Append the rest of `url` to `part`, or start anew if the server does not resume.

    Raises _TooLargeError as soon as the received or announced size exceeds `limit_bytes`.
    """
    import requests

    done = part.stat().st_size if part.exists() else 0
    # Without "identity" a server may compress the file again, and byte ranges would refer to that stream.
    headers = {"Accept-Encoding": "identity"}
    if done:
        headers["Range"] = f"bytes={done}-"
    with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
        if done and response.status_code == 416:
            # No bytes after `done`: the checksum decides whether the part is complete.
            return
        response.raise_for_status()
        continues = response.headers.get("Content-Range", "").startswith(f"bytes {done}-")
        if not (response.status_code == 206 and continues):
            done = 0
        length = response.headers.get("Content-Length", "")
        total = done + int(length) if length.isdecimal() else 0
        if total > limit_bytes:
            raise _TooLargeError
        name = part.name.removesuffix(".part")
        report(name, done, total)
        with part.open("ab" if done else "wb") as stream:
            for chunk in response.raw.stream(_CHUNK_BYTES, decode_content=False):
                done += len(chunk)
                if done > limit_bytes:
                    raise _TooLargeError
                stream.write(chunk)
                report(name, done, total)
            stream.flush()
            os.fsync(stream.fileno())


def _is_final(error: Exception) -> bool:
    """Return whether a retry is useless: HTTP 4xx (except 408 and 429), or a malformed URL."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        status = error.response.status_code
        return 400 <= status < 500 and status not in _RETRIED_STATUS
    return isinstance(error, ValueError)


def _reason(error: Exception) -> str:
    import requests
    import urllib3

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return f"no answer within {_TIMEOUT_S} s"
    if isinstance(error, ValueError):
        return "not a URL to download from"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return "the connection ended early"
