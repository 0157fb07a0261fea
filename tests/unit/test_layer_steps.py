"""The steps of a layer's build, each by itself: what is taken, removed, compiled, packed, measured and refused."""

from __future__ import annotations

import importlib.util
import marshal
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections import Counter
from pathlib import Path, PurePosixPath

import pytest

from layers import (
    build,
    bytecode,
    compiler,
    folders,
    function,
    images,
    packing,
    removals,
    report,
    sizes,
    targets,
    wheels,
)

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"

SMALL = sizes.Sizes(
    unpacked=900, trimmed=700, cut=650, layer=800, function=50, source=100, bytecode=120, layer_zip=300, function_zip=20
)


def tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


# Wheels


@pytest.mark.parametrize(("version", "numpy"), [("3.11", "1.26.4"), ("3.12", "1.26.4"), ("3.13", "2.5.5")])
def test_each_python_gets_the_numpy_that_its_marker_says(version: str, numpy: str) -> None:
    wanted = wheels.requirements(build.REQUIREMENTS.read_text(), targets.target(version))
    assert [str(each.specifier) for each in wanted if each.name == "numpy"] == [f"=={numpy}"]


def test_what_lambda_brings_itself_stays_out_and_what_requests_needs_does_not() -> None:
    names = {each.name for each in wheels.requirements(build.REQUIREMENTS.read_text(), targets.target("3.12"))}
    assert not names & {"boto3", "botocore", "s3transfer", "jmespath", "awslambdaric"}
    assert names >= {"mxnet", "numpy", "pillow", "fastapi", "mangum", "pydantic_core", "requests", "urllib3"}


@pytest.mark.parametrize(
    ("member", "installed"),
    [
        ("numpy/core/a.so", "numpy/core/a.so"),
        ("mxnet-1.9.1.data/purelib/mxnet/b.py", "mxnet/b.py"),
        ("mxnet-1.9.1.data/platlib/mxnet/c.so", "mxnet/c.so"),
        ("numpy-1.26.4.data/scripts/f2py", None),
        ("numpy-1.26.4.dist-info/METADATA", "numpy-1.26.4.dist-info/METADATA"),
    ],
)
def test_a_wheels_files_go_where_site_packages_would_have_them(member: str, installed: str | None) -> None:
    assert wheels.installed_path(member) == (PurePosixPath(installed) if installed else None)


def test_a_package_without_a_wheel_for_the_image_is_named_with_where_to_look() -> None:
    said = (
        "ERROR: Could not find a version that satisfies the requirement pillow==13.0.0 (from versions: 12.1.0, 12.2.0)\n"
        "ERROR: No matching distribution found for pillow==13.0.0"
    )
    refusal = wheels.refusal(said, targets.target("3.11"))
    assert "pillow==13.0.0 has no wheel for Python 3.11" in refusal
    assert "Amazon Linux 2 (GLIBC 2.26)" in refusal
    assert "https://pypi.org/project/pillow/#files" in refusal


def test_an_index_that_cannot_be_reached_is_not_taken_for_a_missing_wheel() -> None:
    said = "(from versions: none)\nERROR: No matching distribution found for numpy==1.26.4"
    assert "Is there a way to the package index?" in wheels.refusal(said, targets.target("3.12"))
    assert "The wheels cannot be fetched" in wheels.refusal("ERROR: disk full", targets.target("3.12"))


def test_wheels_for_newer_systems_than_the_image_are_not_asked_for() -> None:
    assert targets.platforms(targets.target("3.11"))[0] == "manylinux_2_26_x86_64"
    assert targets.platforms(targets.target("3.12"))[0] == "manylinux_2_34_x86_64"
    assert "manylinux2014_x86_64" in targets.platforms(targets.target("3.11"))


def test_wheels_for_another_processor_are_asked_for_by_its_name_and_kept_apart() -> None:
    made_for = targets.target("3.12", "arm64")
    assert targets.platforms(made_for)[0] == "manylinux_2_34_aarch64"
    assert not [tag for tag in targets.platforms(made_for) if "x86" in tag]
    assert (made_for.name, made_for.machine) == ("3.12-arm64", "aarch64")
    assert "on arm64" in wheels.refusal("No matching distribution found for a==1 (from versions: 1.0)", made_for)


@pytest.mark.parametrize(
    ("architecture", "loader"), [("x86_64", "ld-linux-x86-64.so.2"), ("arm64", "ld-linux-aarch64.so.1")]
)
def test_each_architectures_image_has_its_own_loader(architecture: str, loader: str) -> None:
    for version in images.IMAGES:
        libraries = targets.target(version, architecture).image.libraries
        assert [name for name in libraries if name.startswith("ld-linux")] == [loader]
        assert "libm.so.6" in libraries


def test_the_folder_of_a_layer_says_for_what_it_is() -> None:
    options, _ = build.read(["--python", "3.12", "--architecture", "arm64", "--no-bytecode"])
    assert options.folder.name == "3.12-arm64"
    options, _ = build.read(["--python", "3.12", "--no-bytecode"])
    assert options.folder.name == "3.12"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--python", "3.14"], "No layer is built for Python 3.14"),
        (["--python", "3.14", "--architecture", "arm64"], "No layer is built for Python 3.14"),
        (["--python", "3.12", "--architecture", "riscv64"], "No layer is built for riscv64"),
    ],
)
def test_what_cannot_be_built_is_refused_by_name(arguments: list[str], said: str) -> None:
    with pytest.raises(SystemExit, match=said):
        build.read(arguments)


# Removals


def test_a_rule_takes_files_and_whole_folders_and_says_what_they_were(tmp_path: Path) -> None:
    files = {"a/tests/one.py": "12345", "a/tests/deep/two.py": "123", "a/code.py": "1", "b/tests/three.py": "12"}
    rule = removals.Rule("tests", ("a/**/tests", "a/**/*.txt"), "never run")
    removed = removals.remove(tree(tmp_path, files), (rule,))
    assert removed == [removals.Removed("a/tests", 8, 2, rule)]
    assert [path.relative_to(tmp_path).as_posix() for path in packing.files(tmp_path)] == [
        "a/code.py",
        "b/tests/three.py",
    ]


def test_folders_that_are_left_empty_go_too(tmp_path: Path) -> None:
    removals.remove(
        tree(tmp_path, {"a/b/c.pyi": "", "d.py": ""}), (removals.Rule("stubs", ("**/*.pyi",), "for editors"),)
    )
    assert [path.name for path in tmp_path.iterdir()] == ["d.py"]


def test_numpys_openblas_and_fortrans_runtime_go_where_mxnet_brings_an_openblas_and_stay_where_it_brings_none() -> None:
    on_x86_64, on_arm64 = ({rule.name for rule in removals.rules_for(each)} for each in ("x86_64", "arm64"))
    assert on_x86_64 - on_arm64 == {"numpy-openblas", "mxnet-fortran"}
    assert on_arm64 < on_x86_64 == {rule.name for rule in removals.RULES}


def test_every_rule_has_a_name_of_its_own_and_a_reason() -> None:
    assert len({rule.name for rule in removals.RULES}) == len(removals.RULES)
    assert all(len(rule.reason) > 20 for rule in removals.RULES)


# Bytecode


def compiled(folder: Path, *, alone: bool = False) -> dict[str, bytes]:
    tree(
        folder,
        {"pack/a.py": "names = {'x', 'y', 'z', 'w'}\ndef fail(): 1 / 0\n", "pack/__init__.py": "", "b.py": "x = 1\n"},
    )
    bytecode.compile_folder(sys.executable, folder, "/opt/python", alone=alone)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in packing.files(folder)
        if path.suffix == ".pyc"
    }


def test_bytecode_is_the_same_bytes_wherever_it_is_compiled(tmp_path: Path) -> None:
    first, second = compiled(tmp_path / "one"), compiled(tmp_path / "a folder with another name")
    assert first == second
    assert len(first) == 3


def test_bytecode_is_taken_without_a_look_at_the_source_and_names_it_as_lambda_has_it(tmp_path: Path) -> None:
    content = next(value for name, value in compiled(tmp_path).items() if "/a." in name)
    assert content[4:8] == (1).to_bytes(4, "little")  # PEP 552: hash-based, unchecked
    assert marshal.loads(content[16:]).co_filename == "/opt/python/pack/a.py"


def test_bytecode_alone_runs_without_the_source(tmp_path: Path) -> None:
    assert set(compiled(tmp_path, alone=True)) == {"b.pyc", "pack/__init__.pyc", "pack/a.pyc"}
    assert not list(tmp_path.rglob("*.py"))
    done = subprocess.run(
        [sys.executable, "-c", "import pack.a, b; print(b.x)"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == "1\n"


DOCUMENTED = '''"""Of the module."""
from __future__ import annotations
import dataclasses
class Plain:
    """Of a class."""
    def fail(self) -> None:
        """Of a method, on
        two lines."""
        assert False, "asserted"
@dataclasses.dataclass
class Kept:
    """A dataclass makes one up where it has none."""
    one: int = 1
def only(): "Nothing else."
'''


def test_bytecode_without_docstrings_keeps_lines_asserts_and_docstrings_that_are_read(tmp_path: Path) -> None:
    tree(tmp_path, {"a.py": DOCUMENTED, "b.py": '"""Read."""\nread = __doc__\ndef c():\n    "C."\n'})
    bytecode.compile_folder(sys.executable, tmp_path, "/opt/python", alone=True, documented=False)
    assert [path.name for path in packing.files(tmp_path)] == ["a.pyc", "b.pyc"]
    assert (tmp_path / "a.pyc").read_bytes()[4:8] == (1).to_bytes(4, "little")
    code = """
import traceback, a, b
print(repr([each.__doc__ for each in (a, a.Plain, a.Plain.fail, a.only, a.Kept, b, b.c)]), b.read)
try:
    a.Plain().fail()
except AssertionError as error:
    print(error, [(each.lineno, each.filename) for each in traceback.extract_tb(error.__traceback__)][-1])
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "['', '', '', '', 'A dataclass makes one up where it has none.', 'Read.', 'C.'] Read.",
        "asserted (9, '/opt/python/a.py')",
    ], done.stderr


def test_a_python_that_is_not_here_is_named_with_how_to_get_it_and_what_goes_without(tmp_path: Path) -> None:
    other = "3.12" if HERE == "3.13" else "3.13"
    with pytest.raises(SystemExit) as refused:
        bytecode.python_for(other, {"PATH": str(tmp_path), "HOME": str(tmp_path)})
    for part in (f"python{other}", f"pyenv install {other}", "--no-bytecode", bytecode.MEASURED_COST):
        assert part in str(refused.value)


def test_the_python_that_builds_compiles_for_its_own_version_where_none_is_found_by_name(tmp_path: Path) -> None:
    assert bytecode.python_for(HERE, {"PATH": str(tmp_path), "HOME": str(tmp_path)}) == sys.executable


def test_without_bytecode_no_python_of_the_version_is_looked_for(tmp_path: Path) -> None:
    options, _ = build.read(["--python", "3.13", "--no-bytecode"], {"PATH": str(tmp_path), "HOME": str(tmp_path)})
    assert options.python is None


def test_a_file_that_does_not_compile_stops_the_build(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="cannot compile"):
        bytecode.compile_folder(sys.executable, tree(tmp_path, {"a.py": "def"}), "/opt/python", alone=False)


# Packing


def test_a_zip_is_the_same_bytes_whatever_time_order_and_permissions_its_files_have(tmp_path: Path) -> None:
    one, other = (tree(tmp_path / name, {"b/c.py": "1" * 99, "a.py": "2"}) for name in ("one", "other"))
    os.utime(other / "a.py", (1, 10**9))
    (other / "a.py").chmod(0o600)
    packing.pack(one, tmp_path / "one.zip")
    packing.pack(other, tmp_path / "other.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "other.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as packed:
        assert packed.namelist() == ["a.py", "b/c.py"]
        assert {entry.external_attr >> 16 for entry in packed.infolist()} == {0o100644}


def test_whoever_packs_a_settled_folder_finds_the_same_times_and_permissions(tmp_path: Path) -> None:
    packing.settle(tree(tmp_path / "x", {"b/c.py": "1"}))
    found = [(path.stat().st_mtime, path.stat().st_mode & 0o777) for path in sorted((tmp_path / "x").rglob("*"))]
    assert found == [(315532800, 0o755), (315532800, 0o644)]


# Sizes


def test_bytecode_belongs_to_the_package_of_its_source() -> None:
    found = [
        sizes.top_level(PurePosixPath(name))
        for name in (
            "numpy/core/a.py",
            "numpy.libs/b.so",
            "__pycache__/typing_extensions.cpython-312.pyc",
            "typing_extensions.py",
        )
    ]
    assert found == ["numpy", "numpy.libs", "typing_extensions", "typing_extensions"]


def test_what_fits_is_not_refused() -> None:
    sizes.refuse_excess(SMALL, sizes.Budgets(unzipped=850, without_source=750, zipped=320), Counter())


@pytest.mark.parametrize(
    ("budgets", "said"),
    [
        (sizes.Budgets(unzipped=849, without_source=750, zipped=320), "unzipped: 850 bytes, 1 over the budget of 849"),
        (
            sizes.Budgets(unzipped=850, without_source=740, zipped=320),
            "with bytecode alone: 750 bytes, 10 over the budget of 740",
        ),
        (sizes.Budgets(unzipped=850, without_source=750, zipped=300), "zipped: 320 bytes, 20 over the budget of 300"),
    ],
)
def test_what_is_too_large_fails_with_the_five_largest(budgets: sizes.Budgets, said: str) -> None:
    packages = Counter({"mxnet": 600, "numpy": 70, "pillow": 60, "fastapi": 40, "pydantic": 20, "idna": 10})
    with pytest.raises(SystemExit) as refused:
        sizes.refuse_excess(SMALL, budgets, packages)
    assert said in str(refused.value)
    assert "mxnet 600, numpy 70, pillow 60, fastapi 40, pydantic 20" in str(refused.value)
    assert "idna" not in str(refused.value)


def test_the_budgets_are_within_what_lambda_allows() -> None:
    assert sizes.Budgets() == (250_000_000, 235_000_000, 85_000_000)
    assert sizes.Budgets().unzipped < sizes.LAMBDA_LIMIT


# Report, function and folders


def test_the_report_names_every_removed_path_with_its_reason(tmp_path: Path) -> None:
    rule = removals.Rule("tests", ("a/tests",), "nobody runs them")
    removed = [removals.Removed("a/tests", 1234567, 12, rule), removals.Removed("a/conftest.py", 8, 1, rule)]
    wheel = tmp_path / "a-1.0-py3-none-any.whl"
    wheel.write_bytes(b"x")
    made = report.Report(targets.target("3.12"), "python3.12", SMALL, Counter({"a": 800}), removed, [wheel])
    page = report.markdown(made)
    for part in (
        "### tests: 1,234,575 bytes",
        "nobody runs them.",
        "- `a/tests`: 1,234,567 in 12 files",
        "- `a/conftest.py`: 8",
        "| a | 800 |",
    ):
        assert part in page
    report.write(made, tmp_path)
    assert '"without_source": 750' in (tmp_path / "report.json").read_text()


def test_the_functions_folder_holds_the_handler_with_bytecode_and_nothing_of_before(tmp_path: Path) -> None:
    tree(tmp_path, {"old/file.py": "", "old.txt": ""})
    function.make(tmp_path, sys.executable, alone=False)
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "lambda_function.py").is_file()
    compiled_file = Path(importlib.util.cache_from_source(str(tmp_path / "gluon_lambda" / "bootstrap.py")))
    assert marshal.loads(compiled_file.read_bytes()[16:]).co_filename == "/var/task/gluon_lambda/bootstrap.py"


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"file/layer cannot be written to \(Not a directory\).*--out FOLDER"):
        folders.refuse_what_cannot_be_filled(tmp_path / "file" / "layer", folders.LAYER)
    with pytest.raises(SystemExit, match=r"file/layer cannot be written to \(Not a directory\). Make it yours"):
        folders.empty(tmp_path / "file" / "layer")


@pytest.mark.parametrize("made", [folders.LAYER, folders.FUNCTION], ids=["layer", "function"])
@pytest.mark.parametrize(
    "files",
    [{"thesis.txt": "mine"}, {"python/mine.py": "mine", "lib/mine.so": "mine"}, {"python/mxnet/a": "", "b": "mine"}],
)
def test_a_folder_with_other_peoples_files_is_refused_and_left_alone(
    tmp_path: Path, files: dict[str, str], made: folders.Made
) -> None:
    tree(tmp_path, files)
    with pytest.raises(
        SystemExit, match=r"which no earlier build has put there. Nothing in it was touched.*--out FOLDER"
    ):
        folders.refuse_what_cannot_be_filled(tmp_path, made)
    assert {path.relative_to(tmp_path).as_posix() for path in packing.files(tmp_path)} == set(files)


@pytest.mark.parametrize(
    ("made", "files"),
    [
        (folders.LAYER, {"python/mxnet/a.py": "", "lib/libgomp.so.1": ""}),
        (folders.LAYER, {"lib/libgomp.so.1": ""}),
        (folders.FUNCTION, {"gluon_lambda/bootstrap.py": "", "lambda_function.py": "", "__pycache__/a.pyc": ""}),
        (folders.FUNCTION, {}),
    ],
)
def test_what_an_earlier_build_has_left_may_go(tmp_path: Path, made: folders.Made, files: dict[str, str]) -> None:
    folders.refuse_what_cannot_be_filled(tree(tmp_path, files), made)


def test_what_is_made_is_known_as_made(tmp_path: Path) -> None:
    function.make(tmp_path, sys.executable, alone=False)
    folders.refuse_what_cannot_be_filled(tmp_path, folders.FUNCTION)


def test_the_functions_folder_is_never_the_source_that_it_is_made_of() -> None:
    before = packing.files(function.HANDLER)
    for out in (function.HANDLER, function.HANDLER / "gluon_lambda" / "made"):
        with pytest.raises(SystemExit, match="is the handler's source"):
            function.main(["--python", HERE, "--out", str(out)])
    assert packing.files(function.HANDLER) == before


# A build that cannot be finished

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_CONFIG_FILE": os.devnull}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a build needs of the repository."""
    shutil.copytree(build.ROOT / "layers", tmp_path / "layers", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(build.REQUIREMENTS, tmp_path)
    return tmp_path


def said_of_build(clone: Path, *, python: str = sys.executable, **environ: str) -> str:
    """What a build in the clone says that fails."""
    done = subprocess.run(
        [python, "-m", "layers.build", "--python", HERE],
        cwd=clone,
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_without_a_way_to_the_index_what_was_built_stays(clone: Path) -> None:
    built = {"layer/python/mxnet/a.py": "", "layer.zip": "zip", "report.json": "{}"}
    folder = tree(clone / "build" / "layers" / HERE, built)
    assert "Is there a way to the package index?" in said_of_build(clone, **OFFLINE)
    assert {path.relative_to(folder).as_posix() for path in packing.files(folder)} == set(built)


def test_a_build_folder_that_cannot_be_written_to_is_named(clone: Path) -> None:
    (clone / "build").write_text("")
    assert f"{clone}/build: " in said_of_build(clone)


def test_a_python_without_pip_is_named_with_how_to_get_one(clone: Path) -> None:
    venv.create(clone / "bare", with_pip=False)
    python = str(clone / "bare" / "bin" / "python")
    assert f"{python} has no pip" in said_of_build(clone, python=python)


def test_a_pip_that_is_gone_is_not_taken_for_an_index_that_cannot_be_reached(tmp_path: Path) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    code = "from layers.package_index import complaint; complaint('download', ['six==1.17.0'])"
    command = [str(tmp_path / "bare" / "bin" / "python"), "-c", code]
    done = subprocess.run(command, cwd=build.ROOT, env={}, capture_output=True, text=True, check=False)
    assert "has no pip" in done.stderr


def test_a_half_built_layer_has_neither_report_nor_zip(tmp_path: Path) -> None:
    options = build.Options(targets.target(HERE), tmp_path, None)
    tree(
        tmp_path, dict.fromkeys(("report.json", "report.md", "layer.zip", "function.zip", "layer/a", "function/b"), "")
    )
    build.clear(options)
    assert packing.files(tmp_path) == []


def test_a_damaged_wheel_is_named(tmp_path: Path) -> None:
    wheel = tmp_path / "a-1.0-py3-none-any.whl"
    wheel.write_bytes(b"PK half of it")
    with pytest.raises(SystemExit, match=r"a-1.0-py3-none-any.whl is damaged .*Remove it and build again"):
        list(wheels.unpack(wheel, tmp_path / "out"))


def test_a_compiler_that_cannot_be_fetched_leaves_nothing_half_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in OFFLINE.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit, match=r"needs a C compiler.*Is there a way to the package index"):
        compiler.zig(tmp_path)
    assert packing.files(tmp_path) == []


def test_native_libraries_that_cannot_be_fetched_are_named(tmp_path: Path) -> None:
    program = [sys.executable, str(build.ROOT / "layers" / "native_libraries.py"), str(tmp_path / "lib")]
    done = subprocess.run(program, env=OFFLINE, capture_output=True, text=True, check=False)
    assert done.stderr.startswith("scikit-learn==1.7.2, which holds a library that MXNet needs, cannot be fetched.")


def test_one_build_waits_for_another(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from layers.turns import turn\nwith turn(Path(sys.argv[1])): print('in', flush=True); input()"

    def starting() -> subprocess.Popen[str]:
        command, pipe = [sys.executable, "-c", code, str(tmp_path / "build" / "lock")], subprocess.PIPE
        return subprocess.Popen(command, cwd=build.ROOT, stdin=pipe, stdout=pipe, text=True)

    with starting() as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with starting() as second:
            assert second.stdout is not None
            assert second.stdout.readline().startswith("Another build is under way here")
            assert second.poll() is None
            first.communicate("\n")
            assert second.communicate("\n")[0] == "in\n"


def test_a_compiler_that_does_not_run_is_named(tmp_path: Path) -> None:
    program = tmp_path / compiler.WHEEL.replace("==", "-") / "ziglang" / "zig"
    tree(tmp_path, {str(program.relative_to(tmp_path)): "#!/bin/sh\nexit 1\n"})
    with pytest.raises(SystemExit, match="does not run here"):
        compiler.zig(tmp_path)
    program.chmod(0o755)
    with pytest.raises(SystemExit, match="does not run here"):
        compiler.zig(tmp_path)
