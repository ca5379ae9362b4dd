"""One file from a local server that truncates, corrupts, refuses, ignores ranges, or disconnects."""

import hashlib
from pathlib import Path

import pytest

from scff_hw.data.download import download
from scff_hw.errors import DownloadError

CONTENT = bytes(range(256)) * 2000
MD5 = hashlib.md5(CONTENT).hexdigest()


def get(urls: list[str], target: Path, **options) -> None:
    download(urls, target, **{"md5": MD5, "limit_bytes": len(CONTENT), "backoff_s": 0.001, **options})


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_with_progress(server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    url = server.add("file.bin", CONTENT)
    get([url], tmp_path / "new" / "file.bin", report=lambda *progress: seen.append(progress))
    assert (tmp_path / "new" / "file.bin").read_bytes() == CONTENT
    assert files_in(tmp_path / "new") == ["file.bin"]
    assert seen[0] == ("file.bin", 0, len(CONTENT)) and seen[-1] == ("file.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)


def test_an_unknown_length_is_reported_as_zero(server, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    server.hides_length = True
    get([server.add("f", CONTENT)], tmp_path / "f", report=lambda *progress: seen.append(progress))
    assert seen[-1] == ("f", len(CONTENT), 0)


def test_a_connection_that_breaks_is_continued_where_it_stopped(server, tmp_path: Path) -> None:
    server.cut_after = [100_000, 200_000]
    get([server.add("f", CONTENT)], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests == [("/f", None), ("/f", "bytes=100000-"), ("/f", "bytes=300000-")]


def test_a_server_that_ignores_ranges_starts_over(server, tmp_path: Path) -> None:
    server.ignores_range = True
    server.cut_after = [100_000]
    get([server.add("f", CONTENT)], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests == [("/f", None), ("/f", "bytes=100000-")]


def test_an_interrupted_download_continues_in_the_next_call(server, tmp_path: Path) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        if done > 200_000:
            raise KeyboardInterrupt

    url = server.add("f", CONTENT)
    with pytest.raises(KeyboardInterrupt):
        get([url], tmp_path / "f", report=interrupt)
    assert files_in(tmp_path) == ["f.part"]
    size = (tmp_path / "f.part").stat().st_size
    assert 0 < size < len(CONTENT)
    get([url], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests[-1] == ("/f", f"bytes={size}-")
    assert files_in(tmp_path) == ["f"]


def test_a_part_that_was_already_whole_is_used(server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(CONTENT)
    get([server.add("f", CONTENT)], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests == [("/f", f"bytes={len(CONTENT)}-")]


@pytest.mark.parametrize("junk", [b"x" * 1000, b"x" * (len(CONTENT) + 1)])
def test_a_part_of_something_else_is_thrown_away(server, tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "f.part").write_bytes(junk)
    get([server.add("f", CONTENT)], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests[-1] == ("/f", None)


def test_without_a_checksum_nothing_is_continued(server, tmp_path: Path) -> None:
    (tmp_path / "f.part").write_bytes(b"x" * 1000)
    server.cut_after = [100_000]
    get([server.add("f", CONTENT)], tmp_path / "f", md5=None)
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert server.requests == [("/f", None), ("/f", None)]


def test_a_busy_server_is_asked_again(server, tmp_path: Path) -> None:
    server.statuses = [503, 429]
    get([server.add("f", CONTENT)], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT


def test_the_pause_between_tries_doubles(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("scff_hw.data.download.time.sleep", pauses.append)
    server.statuses = [500, 500, 500, 500]
    with pytest.raises(DownloadError, match="the server answered 500"):
        get([server.add("f", CONTENT)], tmp_path / "f", backoff_s=1.0)
    assert pauses == [1.0, 2.0, 4.0]


def test_a_missing_file_is_asked_for_once_then_the_next_mirror(server, tmp_path: Path) -> None:
    get([f"{server.url}/gone", server.add("f", CONTENT)], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/gone", "/f"]


def test_a_corrupt_mirror_gives_way_to_the_next(server, tmp_path: Path) -> None:
    corrupt = server.add("corrupt/f", CONTENT[:-1] + b"?")
    get([corrupt, server.add("f", CONTENT)], tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/corrupt/f", "/f"]


def test_when_nothing_helps_the_error_says_what_was_tried(server, tmp_path: Path) -> None:
    corrupt = server.add("corrupt", CONTENT[:-1] + b"?")
    short = server.add("short", CONTENT)
    urls = [f"{server.url}/gone", corrupt, "http://127.0.0.1:9/closed", "no-url", short]
    server.cut_after = [len(CONTENT)] + [1000] * 4
    (tmp_path / "f").write_bytes(b"what was there before")
    with pytest.raises(DownloadError) as caught:
        get(urls, tmp_path / "f")
    message = str(caught.value)
    assert "f could not be downloaded" in message and "\n" not in message
    assert f"{server.url}/gone: the server answered 404" in message
    assert f"{corrupt}: the MD5 checksum is" in message and f"the published one {MD5}" in message
    assert "http://127.0.0.1:9/closed: no connection" in message
    assert "no-url: not a URL to download from" in message
    assert f"{short}: the connection ended early" in message
    assert (tmp_path / "f").read_bytes() == b"what was there before"
    assert files_in(tmp_path) == ["f", "f.part"]


def test_a_server_that_does_not_answer(server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests

    def timeout(*args: object, **options: object) -> None:
        raise requests.ReadTimeout

    monkeypatch.setattr(requests, "get", timeout)
    with pytest.raises(DownloadError, match="no answer within 30 s"):
        get([server.add("f", CONTENT)], tmp_path / "f")


def test_a_server_that_sends_without_end_gives_way_to_the_next(server, tmp_path: Path) -> None:
    server.endless = server.hides_length = True
    url = server.add("f", CONTENT)
    sizes: list[int] = []
    limit = len(CONTENT) + 100_000
    with pytest.raises(DownloadError, match=f"sends more than {limit} bytes, and the published file has fewer"):
        get([url], tmp_path / "f", limit_bytes=limit, report=lambda name, done, total: sizes.append(done))
    assert max(sizes) <= limit and files_in(tmp_path) == []
    assert len(server.requests) == 1

    server.endless = False
    (tmp_path / "f.part").write_bytes(bytes(limit + 1))  # what an earlier version had taken in
    get([url], tmp_path / "f", limit_bytes=limit)
    assert (tmp_path / "f").read_bytes() == CONTENT and files_in(tmp_path) == ["f"]


def test_a_file_announced_as_too_large_is_not_begun(server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=f"sends more than {len(CONTENT) - 1} bytes"):
        get([server.add("f", CONTENT)], tmp_path / "f", limit_bytes=len(CONTENT) - 1)
    assert files_in(tmp_path) == []
