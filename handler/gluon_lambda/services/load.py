"""From an opened archive to its service: which contract its code was written for, and what starts it.

What decides is the code itself, not the manifest's form, so that a 1.x archive may bring a 0.4 service and the other way round:

- no service file, and an exported net: the built-in services;
- the service file holds a class derived from ``NativeService``: a native service;
- a class derived from MMS 0.4's ``SingleNodeService``: an MMS 0.4 service;
- a function or one class with a method of the handler's name (``handle``): an MMS 1.x handler.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from gluon_lambda.errors import ServiceLoadError
from gluon_lambda.services.base import SAME_ANSWERS, EntryModule, load_step
from gluon_lambda.services.exported_net import load_net, require_signature

if TYPE_CHECKING:
    from gluon_lambda.archive_store.archive import Archive
    from gluon_lambda.services.builtin import BuiltinService
    from gluon_lambda.types import NetOptions, PredictorFactory, Service

NATIVE_BASE = ("gluon_lambda.services.native", "NativeService")
MMS_0_4_BASE = ("mms.model_service.model_service", "SingleNodeService")

# MMS 1.x's `[dir/]module[.py][:function]` (mms/model_loader.py); 0.4's service file is the same without a function.
_ENTRY_POINT = re.compile(r"(?:(?P<directory>.*)/)?(?P<module>[^/:]+?)(?:\.py)?(?::(?P<function>[^:]*))?")
_DEFAULT_FUNCTION = "handle"

# What the built-in services import, by what they take. Pillow's usual formats are modules of their own.
_NEEDED = ("gluon_lambda.services.builtin",)
_NEEDED_FOR_IMAGES = (
    "gluon_lambda.services.builtin_image",
    *(f"PIL.{name}ImagePlugin" for name in ("Jpeg", "Png", "Gif", "Bmp", "Ppm")),
)
_NEEDED_FOR_TENSORS = ("gluon_lambda.services.builtin_tensor",)


# Times a phase by its name.
Timed = Callable[[str], AbstractContextManager[object]]


class EntryPoint(NamedTuple):
    """Where an archive's code is entered.

    Attributes:
        directory: The module's folder inside the archive, ``""`` at its top.
        module: The module's name; dotted for one in a package.
        function: The function, or the method of the one class that has it.
    """

    directory: str
    module: str
    function: str


def nobody_imports(_module: str) -> None:
    """What ``load_service`` tells its wishes where nobody is there to fulfil them: it then imports everything itself."""


def load_service(
    archive: Archive,
    *,
    make_predictor: PredictorFactory,
    import_ahead: Callable[[str], None] = nobody_imports,
    options: NetOptions = SAME_ANSWERS,
    timed: Timed = nullcontext,
) -> Service:
    """Load the service of an archive: import its code, construct and initialise it, warm it up.

    Args:
        archive: An opened archive; it stays open as long as the service is used, and is closed by the caller.
        make_predictor: Builds the predictor of an exported net.
        import_ahead: Told the names of modules that will be needed once the net is loaded, so that another thread may import them.
        options: How Gluon blocks are made ready that the archive's code builds.
        timed: Times the phases ``unpack``, ``service code`` (its import) and ``service start`` of an archive with code.

    Raises:
        ServiceLoadError: The entry point is missing or ambiguous, or the archive's code raised.
        ArchiveError: The net or the signature that the service needs is at fault.
    """
    if not archive.manifest.service:
        return _load_builtin(archive, make_predictor, import_ahead)
    return _load_code(archive, make_predictor, options, timed)


def parse_entry_point(text: str, *, archive: str) -> EntryPoint:
    """Read a manifest's service file or handler.

    Raises:
        ServiceLoadError: It is not ``[folder/]module[.py][:function]``.
    """
    match = _ENTRY_POINT.fullmatch(text.strip())
    if match is None:
        raise ServiceLoadError(
            f"Archive {archive}: the manifest's service {text!r} is not of the form [folder/]module[.py][:function]."
        )
    return EntryPoint(match["directory"] or "", match["module"], match["function"] or _DEFAULT_FUNCTION)


def derived_classes(module: ModuleType, base: tuple[str, str]) -> list[type]:
    """The classes in ``module`` that derive from ``base``, without those from which another one of them derives.

    ``base`` (module and name) is looked up among the loaded modules only: code that derives from it has loaded it.
    """
    ancestor = getattr(sys.modules.get(base[0]), base[1], None)
    if ancestor is None:
        return []
    things = dict.fromkeys(thing for thing in vars(module).values() if isinstance(thing, type))
    classes = [thing for thing in things if issubclass(thing, ancestor) and thing is not ancestor]
    return [thing for thing in classes if not any(other is not thing and issubclass(other, thing) for other in classes)]


def _load_builtin(
    archive: Archive, make_predictor: PredictorFactory, import_ahead: Callable[[str], None]
) -> BuiltinService:
    """The net first: loading it is the library's work and needs no NumPy, which, with the rest, another thread imports meanwhile."""
    input_type = require_signature(archive).input_type
    for module in (*_NEEDED, *(_NEEDED_FOR_IMAGES if input_type.startswith("image/") else _NEEDED_FOR_TENSORS)):
        import_ahead(module)
    net = load_net(archive, make_predictor)
    # Lazily: see above; and an archive that brings its own code needs none of this.
    from gluon_lambda.services import builtin

    return builtin.load(archive, net)


def _load_code(archive: Archive, make_predictor: PredictorFactory, options: NetOptions, timed: Timed) -> Service:
    # Lazily: the built-in services, the quickest to start, do without the import machinery.
    from gluon_lambda.services.modules import ArchiveCode

    point = parse_entry_point(archive.manifest.service, archive=archive.name)
    with timed("unpack"):
        folder = archive.folder()
    code = ArchiveCode(name=archive.name, folder=folder, directory=point.directory)
    with ExitStack() as on_failure:
        on_failure.callback(code.close)
        with code.at_work():
            doing = f"importing {archive.manifest.service}"
            with timed("service code"):
                module = load_step(archive.name, doing, folder, code.load, point.module, _file_of(point, archive))
            with timed("service start"):
                service = _start(EntryModule(archive, code, module, point.function, options), make_predictor)
        on_failure.pop_all()
    return service


def _file_of(point: EntryPoint, archive: Archive) -> str:
    """The entry point's file; empty where it is a package or a module in one, to be found by its name."""
    member = os.path.join(point.directory, point.module + ".py")
    return os.path.join(archive.folder(), member) if member in archive.members else ""


def _start(entry: EntryModule, make_predictor: PredictorFactory) -> Service:
    """Construct the service by the contract that the module's content shows. Each contract is loaded only where it is met."""
    natives = derived_classes(entry.module, NATIVE_BASE)
    if natives:
        from gluon_lambda.services import native

        return native.load(entry, natives, make_predictor)
    services = _mms_0_4_classes(entry)
    if services:
        from gluon_lambda.services import mms_0_4

        return mms_0_4.load(entry, services)
    from gluon_lambda.services import mms_1_x

    return mms_1_x.load(entry)


def _mms_0_4_classes(entry: EntryModule) -> list[type]:
    """The MMS 0.4 services in the module: the archive's own, or, in a 0.4 archive, one of MMS's that it only imports."""
    found = derived_classes(entry.module, MMS_0_4_BASE)
    own = [each for each in found if entry.code.defines(each)]
    return own or (found if entry.archive.manifest.form == "mms-0.4" else [])
