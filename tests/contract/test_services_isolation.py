"""Archives that share a process do not see one another's modules, and nobody else sees them."""

from __future__ import annotations

import inspect
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gluon_lambda.errors import InferenceError, ServiceLoadError
from gluon_lambda.services.modules import ArchiveCode
from gluon_lambda.types import Service
from tests.service_archives import Code, field, payload, served_0_4, served_1_x

HANDLER = """
    import utils
    from services import NAME as SERVICES
    from pack.inner import deep

    def handle(data, context):
        if data is None:
            return None
        import late
        return [[utils.NAME, SERVICES, late.NAME, deep()]]
"""


def modules(tag: str) -> Code:
    return {
        "utils.py": f"NAME = '{tag} utils'",
        "services.py": f"NAME = '{tag} services'",
        "late.py": f"NAME = '{tag} late'",
        "pack/__init__.py": "",
        "pack/inner.py": "from . import sibling\ndef deep():\n    from .sibling import NAME\n    return NAME",
        "pack/sibling.py": f"NAME = '{tag} sibling'",
    }


def answer(service: Service) -> Any:
    return service.predict(payload()).value


def test_two_archives_with_modules_of_the_same_names_keep_their_own(tmp_path: Path) -> None:
    one = served_1_x(tmp_path / "one", HANDLER, modules("one"), name="one")
    two = served_1_x(tmp_path / "two", HANDLER, modules("two"), name="two")
    for _ in range(2):
        assert answer(one) == ["one utils", "one services", "one late", "one sibling"]
        assert answer(two) == ["two utils", "two services", "two late", "two sibling"]


def test_the_same_archive_under_two_names_has_two_sets_of_modules(tmp_path: Path) -> None:
    code = "seen = []\ndef handle(data, context):\n    seen.append(data)\n    return [len(seen)]"
    one, two = (served_1_x(tmp_path / "same", code, name="same") for _ in range(2))
    assert [answer(one), answer(one), answer(two)] == [2, 3, 2]


def test_nothing_is_left_on_the_import_path_or_among_plain_module_names(tmp_path: Path) -> None:
    path, names = list(sys.path), set(sys.modules)
    answer(served_1_x(tmp_path / "one", HANDLER, modules("one"), name="clean"))
    assert sys.path == path
    added = {name for name in set(sys.modules) - names if getattr(sys.modules[name], "__file__", "") or ""}
    in_archive = {name for name in added if str(tmp_path) in str(sys.modules[name].__file__)}
    assert in_archive
    assert all(name.startswith("gluon_archive_clean") for name in in_archive)


def test_a_module_named_like_one_of_python_is_the_archives_own_for_it_alone(tmp_path: Path) -> None:
    files: Code = {"queue.py": "NAME = 'mine'", "statistics.py": "NAME = 'mine too'"}
    code = """
        import queue, statistics
        from concurrent.futures import ThreadPoolExecutor   # imports queue itself
        def handle(data, context):
            return [[queue.NAME, statistics.NAME, ThreadPoolExecutor(1).submit(lambda: 7).result()]]
    """
    assert answer(served_1_x(tmp_path / "shadow", code, files)) == ["mine", "mine too", 7]
    import queue
    import statistics

    assert queue.Queue().empty()
    assert statistics.mean([1, 3]) == 2


@pytest.mark.parametrize("name", ["gluon_lambda", "mms", "numpy"])
def test_an_archive_cannot_put_its_own_in_the_place_of_what_the_process_shares(tmp_path: Path, name: str) -> None:
    code = f"import {name}\ndef handle(data, context):\n    return [{name}.__file__]"
    service = served_1_x(tmp_path / "a", code, {f"{name}/__init__.py": "raise RuntimeError('the archive\\'s own')"})
    assert str(tmp_path) not in answer(service)


def test_importlib_pickles_and_sys_path_find_an_archives_modules_while_it_is_at_work(tmp_path: Path) -> None:
    code = """
        import importlib, os, pickle, sys
        sys.path.insert(0, os.path.join(os.path.dirname(__file__), "lib"))
        import extra

        def handle(data, context):
            model = importlib.import_module("model")
            word = pickle.loads(b"cwords\\nWord\\n(tR.")
            again = pickle.loads(pickle.dumps(word))
            return [[extra.NAME, model.NAME, word.text, type(again) is type(word), model.__spec__.name == model.__name__]]
    """
    words = "class Word:\n    text = 'a word'"
    files: Code = {"lib/extra.py": "NAME = 'extra'", "model.py": "NAME = 'model'", "words.py": words}
    service = served_1_x(tmp_path / "dynamic", code, files)
    for _ in range(2):
        assert answer(service) == ["extra", "model", "a word", True, True]
    assert not {"model", "words", "extra"} & set(sys.modules)
    assert not any(str(tmp_path) in entry for entry in sys.path)


def test_a_thread_that_outlives_the_request_still_imports_the_archives_modules(tmp_path: Path) -> None:
    code = """
        from threading import Event, Thread
        go, done, found = Event(), Event(), []
        def work():
            go.wait(10)
            import late
            found.append(late.NAME)
            done.set()
        Thread(target=work, daemon=True).start()
        def handle(data, context):
            return [[go, done, *found]]
    """
    service = served_1_x(tmp_path / "threads", code, {"late.py": "NAME = 'late'"})
    go, done = answer(service)
    go.set()
    assert done.wait(10)
    assert answer(service)[2:] == ["late"]


def test_the_source_of_an_archives_class_can_be_shown(tmp_path: Path) -> None:
    code = "class Thing:\n    pass\ndef handle(data, context):\n    return [Thing]"
    thing = answer(served_1_x(tmp_path / "source", code))
    assert inspect.getsource(thing) == "class Thing:\n    pass\n"


def test_the_archives_folder_is_the_current_one_for_its_code_and_not_for_others(tmp_path: Path) -> None:
    before = os.getcwd()
    code = """
        AT_LOAD = open("words.txt").read()
        def handle(data, context):
            import os
            text = open("words.txt").read()
            os.chdir("/")
            return [[AT_LOAD, text, context.system_properties["model_dir"]]]
    """
    service = served_1_x(tmp_path / "cwd", code, {"words.txt": "some words"})
    assert answer(service) == ["some words", "some words", str(tmp_path / "cwd")]
    assert answer(service)[1] == "some words"
    assert os.getcwd() == before


def test_no_bytecode_is_written_into_an_archives_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    served_1_x(tmp_path / "clean", HANDLER, modules("clean"))
    assert not list((tmp_path / "clean").rglob("*.pyc"))


def test_an_archive_of_bytecode_only_is_served(tmp_path: Path) -> None:
    import py_compile

    source = tmp_path / "utils.py"
    source.write_text("import queue\nNAME = queue.NAME")
    compiled = py_compile.compile(str(source), cfile=str(tmp_path / "utils.pyc"))
    assert compiled is not None
    files: Code = {"utils.pyc": Path(compiled).read_bytes(), "queue.py": "NAME = 'own'"}
    code = "import utils\ndef handle(data, context):\n    return [utils.NAME]"
    assert answer(served_1_x(tmp_path / "compiled", code, files)) == "own"


def test_closing_forgets_the_modules(tmp_path: Path) -> None:
    finders = len(sys.meta_path)
    service = served_1_x(tmp_path / "closing", HANDLER, modules("x"), name="closing")
    assert "gluon_archive_closing.utils" in sys.modules
    service.close()
    assert not [name for name in sys.modules if name.startswith("gluon_archive_closing")]
    assert len(sys.meta_path) == finders


CLASS_HANDLER = """
    import weakref
    class Model:
        def initialize(self, context):
            self.net = type("Net", (), {})()
        def handle(self, data, context):
            return [weakref.ref(self.net)]
"""
FUNCTION_HANDLER = (
    CLASS_HANDLER
    + """
    model = Model()
    def handle(data, context):
        return model.initialize(context) if data is None else model.handle(data, context)
"""
)
SERVICE_0_4 = """
    import weakref
    from mms.model_service.model_service import SingleNodeService
    class Model(SingleNodeService):
        def __init__(self, *args):
            self.net = type("Net", (), {})()
        def _inference(self, data):
            return [weakref.ref(self.net)]
"""


@pytest.mark.parametrize("code", [CLASS_HANDLER, FUNCTION_HANDLER])
def test_what_a_handler_held_is_freed_when_it_is_closed(tmp_path: Path, code: str) -> None:
    service = served_1_x(tmp_path, code)
    net = answer(service)
    assert net() is not None
    service.close()
    assert net() is None


def test_what_a_0_4_service_held_is_freed_when_it_is_closed(tmp_path: Path) -> None:
    service = served_0_4(tmp_path, SERVICE_0_4)
    net = service.predict(payload(field("[1]"))).value["prediction"][0]
    assert net() is not None
    service.close()
    assert net() is None


def test_an_archive_that_does_not_load_leaves_no_modules_behind(tmp_path: Path) -> None:
    finders = len(sys.meta_path)
    with pytest.raises(ServiceLoadError):
        served_1_x(tmp_path / "broken", "import utils\n1 / 0", {"utils.py": ""}, name="broken")
    assert not [name for name in sys.modules if name.startswith("gluon_archive_broken")]
    assert len(sys.meta_path) == finders


@pytest.mark.parametrize(
    ("code", "where", "what"),
    [
        ("import utils", "utils.py:2", "ZeroDivisionError: division by zero"),
        ("x = 1\nimport nowhere_at_all", "handler.py:2", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def handle(data, context:\n    pass", "handler.py:1", "SyntaxError"),
        ("import sys\n\nsys.exit(3)", "handler.py:3", "SystemExit: 3"),
    ],
)
def test_the_error_of_a_service_file_that_does_not_import_names_file_and_line(
    tmp_path: Path, code: str, where: str, what: str
) -> None:
    with pytest.raises(ServiceLoadError) as caught:
        served_1_x(tmp_path / "bad", code, {"utils.py": "x = 1\n1 / 0"}, name="bad")
    assert f"Archive bad: importing handler.py:handle failed at {where}: " in str(caught.value)
    assert what in str(caught.value)
    assert caught.value.__cause__ is not None


def test_an_error_in_a_request_keeps_its_cause_for_the_log(tmp_path: Path) -> None:
    service = served_1_x(
        tmp_path / "a", "def handle(data, context):\n    return None if data is None else data.missing"
    )
    with pytest.raises(InferenceError) as caught:
        service.predict(payload())
    assert isinstance(caught.value.__cause__, AttributeError)


def test_a_folder_of_data_does_not_hide_an_installed_package(tmp_path: Path) -> None:
    code = "import PIL\ndef handle(data, context):\n    return [PIL.__file__]"
    service = served_1_x(tmp_path / "a", code, {"PIL/words.txt": "no code"})
    assert answer(service).endswith("/PIL/__init__.py")


def test_modules_whose_code_is_gone_are_not_found_by_others(tmp_path: Path) -> None:
    (tmp_path / "lonely.py").write_text("NAME = 1")
    code = ArchiveCode(name="lonely", folder=str(tmp_path))
    with code.at_work():
        assert code.load("lonely").NAME == 1
    code.close()
    with pytest.raises(ModuleNotFoundError):
        __import__("lonely")


def test_an_archive_is_forgotten_while_another_thread_imports(tmp_path: Path) -> None:
    ended, usual = threading.Event(), sys.getswitchinterval()

    def import_more() -> None:
        while not ended.is_set():
            for number in range(50):
                sys.modules[f"made_up_{number}"] = ModuleType("made_up")
            for number in range(50):
                del sys.modules[f"made_up_{number}"]

    other = threading.Thread(target=import_more)
    sys.setswitchinterval(1e-6)
    other.start()
    try:
        for _ in range(300):
            ArchiveCode(name="forgotten", folder=str(tmp_path)).close()
    finally:
        sys.setswitchinterval(usual)
        ended.set()
        other.join()
