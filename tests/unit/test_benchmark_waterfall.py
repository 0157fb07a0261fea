"""The waterfall of a user's own archive: what it shows, and what it says where the archive cannot be served."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.fetch import BareFetch, FetchFailed
from benchmarks.import_log import Imported, by_package, costliest, read_imports
from benchmarks.s3_server import serve
from benchmarks.sandbox import ColdStart
from benchmarks.timeline import AFTER, BEFORE, Span
from benchmarks.waterfall import absolute_location, handler_of, main, parse_arguments, read_event, sum_up, table

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "build" / "archives" / "digits_lenet.model"
MODULES = [Imported("numpy.core", 20.0, 30.0), Imported("numpy", 5.0, 60.0), Imported("json", 2.0, 2.0)]


def cold(total: float) -> ColdStart:
    """A cold start with one phase in another thread."""
    spans = (Span("imports", 40, 90), Span("load", 50, 99, "models", "cat"))
    return ColdStart(total, 100.0, spans, 2048, b"{}")


@pytest.mark.slow
def test_a_run_shows_the_whole_cold_start_of_a_real_archive(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(DIGITS.parent)
    monkeypatch.delenv("GLUON_MODELS", raising=False)
    if not DIGITS.exists():
        pytest.skip("build/archives/digits_lenet.model is made by `make test`")
    assert main(["--models", "digits=digits_lenet.model", "--rounds", "1", "--out", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    told = json.loads((tmp_path / "waterfall.json").read_text())
    assert [span["phase"] for span in told["path"]][0 :: len(told["path"]) - 1] == [BEFORE, AFTER]
    assert told["path"][-1]["end_ms"] == pytest.approx(told["total_ms"])
    assert {"numpy", "gluon_lambda.bootstrap"} <= {module["name"] for module in told["modules"]}
    assert "first answer after" in shown
    assert "dlopen" in shown


@pytest.mark.parametrize(
    ("models", "said"),
    [
        (["m=nowhere.model"], "INIT failed with ArchiveNotFound: "),
        (["m"], "INIT failed with ConfigurationError: GLUON_MODELS"),
    ],
)
def test_an_archive_that_cannot_be_served_is_told_in_inits_own_words(
    models: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--models", *models, "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(said)


def test_without_a_model_the_two_ways_to_name_one_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GLUON_MODELS", raising=False)
    with pytest.raises(SystemExit):
        parse_arguments([])
    assert "--models NAME=LOCATION, or in GLUON_MODELS" in capsys.readouterr().err


def test_the_users_settings_and_credentials_reach_the_handler_but_no_cache_of_his(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in {"GLUON_MODELS": "m=s3://b/k", "AWS_PROFILE": "mine", "GLUON_CACHE_DIR": "/full"}.items():
        monkeypatch.setenv(name, value)
    environ = dict(handler_of(parse_arguments(["--memory", "1769"])).environ)
    assert (environ["GLUON_MODELS"], environ["AWS_PROFILE"]) == ("m=s3://b/k", "mine")
    assert environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"] == "1769"
    assert "GLUON_CACHE_DIR" not in environ


@pytest.mark.parametrize(
    ("word", "absolute"),
    [
        ("m=a/b.model#sha256=12", "m=/my%20home/a/b.model#sha256=12"),
        ("m=/a.model", "m=/a.model"),
        ("m=s3://bucket/key", "m=s3://bucket/key"),
        ("m", "m"),
    ],
)
def test_a_relative_path_means_the_users_folder(word: str, absolute: str) -> None:
    assert absolute_location(word, "/my home") == absolute


@pytest.mark.parametrize("content", ["[]", "{", None], ids=["no object", "no JSON", "no file"])
def test_an_event_that_is_none_is_refused_by_name(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SystemExit, match=r"--event .*event\.json: "):
        read_event(file)


def test_the_table_has_every_phase_with_its_thread_and_model() -> None:
    waterfall = sum_up([cold(140.0), cold(150.0), cold(160.0)], "cat=cat.model", "GET /ping", MODULES)
    shown = table(waterfall)
    assert "first answer after 150 ms, of it INIT 100 ms; peak memory 2 MiB" in shown
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    assert "load cat 50.0 99.0 49.0 models" in lines
    assert "first invocation 100.0 150.0 50.0 main" in lines
    assert "imports 50.0 33%" in lines


def test_without_matplotlib_the_table_comes_all_the_same(tmp_path: Path) -> None:
    blocked = "import sys; sys.modules['matplotlib'] = None; sys.path.insert(0, '')\n"
    script = blocked + (
        "from pathlib import Path; from benchmarks.waterfall import sum_up, write_result\n"
        "from benchmarks.sandbox import ColdStart\n"
        f"waterfall = sum_up([ColdStart(9.0, 8.0, (), 1, b'')], 'm', 'e', [])\n"
        f"print(write_result(waterfall, Path({str(tmp_path)!r})))"
    )
    told = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True)
    assert "pip install -r benchmarks/requirements.txt" in told
    assert (tmp_path / "waterfall.json").is_file()


LOG = [
    "import time: self [us] | cumulative | imported package",
    "import time:      1500 |       2500 |   numpy.core",
    json.dumps({"level": "INFO", "message": "import time:       500 |      40000 | numpy"}),
    "import time:       100 |        100 |     json.decoder",
    "another line | 5 | x",
]


def test_python_s_import_lines_are_found_plain_and_inside_log_records() -> None:
    assert read_imports(LOG) == [
        Imported("numpy.core", 1.5, 2.5),
        Imported("numpy", 0.5, 40.0),
        Imported("json.decoder", 0.1, 0.1),
    ]


def test_a_packages_own_time_is_its_modules_and_the_costliest_comes_first() -> None:
    assert by_package(MODULES) == [Imported("numpy", 25.0, 60.0, 2), Imported("json", 2.0, 2.0, 1)]
    assert [module.name for module in costliest(MODULES, 2)] == ["numpy.core", "numpy"]


def test_a_bare_fetch_gets_the_whole_file_again_and_again(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "key").write_bytes(bytes(range(256)) * 5000)
    with serve(tmp_path) as endpoint, BareFetch(endpoint, "/bucket/key") as fetch:
        taken = [fetch.milliseconds() for _ in range(3)]
        assert fetch.size == 1_280_000
    assert min(taken) > 0


def test_a_bare_fetch_that_gets_less_than_the_file_is_no_measurement(tmp_path: Path) -> None:
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "key").write_bytes(b"0" * 1000)
    with serve(tmp_path) as endpoint, BareFetch(endpoint, "/bucket/key") as fetch:
        (tmp_path / "bucket" / "key").write_bytes(b"0" * 10)
        with pytest.raises(FetchFailed, match="10 bytes came of 1000"):
            fetch.milliseconds()


def test_a_bare_fetch_of_nothing_says_what_the_server_answered(tmp_path: Path) -> None:
    with serve(tmp_path) as endpoint, pytest.raises(FetchFailed, match="404"):
        BareFetch(endpoint, "/bucket/key")


def test_the_pictures_are_drawn_from_what_a_run_leaves(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.waterfall_picture import draw

    waterfall = sum_up([cold(140.0)], "cat=cat.model", "GET /ping", MODULES)
    paths = [tmp_path / "one.svg", tmp_path / "one.png"]
    draw(waterfall, paths)
    svg = paths[0].read_text()
    for words in ("load cat  49.0 ms", "INIT ends", "imports by package"):
        assert words in svg
    assert paths[1].read_bytes().startswith(b"\x89PNG")


def test_the_cold_starts_picture_has_every_contender_and_every_phase(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.plot import draw

    def contender(*spans: Span) -> dict[str, Any]:
        return {
            "workload": "mobilenet",
            "cold_ms": {"median": 100.0},
            "warm_ms": {"values": [1.0, 2.0]},
            "timeline": [span._asdict() for span in spans],
        }

    both = {
        "ours": contender(Span("imports", 0, 100), Span("dlopen", 5, 40, "engine")),
        "floor": contender(Span("numpy", 0, 100)),
    }
    draw({"contenders": both}, [tmp_path / "cold.svg"])
    svg = (tmp_path / "cold.svg").read_text()
    for words in ("ours", "floor", "imports", "dlopen", "numpy", "100 ms"):
        assert f">{words}" in svg.replace("> ", ">")


def test_no_two_phases_have_one_colour() -> None:
    pytest.importorskip("matplotlib")
    from benchmarks.plot import colors_of

    phases = [Span(f"phase {number}", number, number + 1)._asdict() for number in range(30)]
    assert len(set(colors_of({"ours": {"timeline": phases}}).values())) == 30
