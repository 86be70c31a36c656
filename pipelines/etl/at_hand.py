"""A recipe whose source is in an object store, with copies on the disk while a dataset is built. It
is named by the content of all that it is made of, so every byte is read anyway."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

from falconer.pipelines.console import say
from falconer.pipelines.errors import DataError, PipelineError
from falconer.pipelines.etl.recipe import EtlRecipe
from falconer.pipelines.etl.sources import Criteo, Files
from falconer.pipelines.etl.sources.declared import EntityTable, Paths
from falconer.pipelines.etl.sources.stores import Address, Mark, Store, changed, file_of
from falconer.pipelines.files import scratch_folder

AT_ONCE = 8
"""Objects that are copied side by side: most of the time of a small one is waiting."""

Move = Callable[[Paths], Paths]


def whole(path: Path) -> bool:
    """Of every file its content is wanted, too."""
    return True


@contextmanager
def at_hand(
    recipe: EtlRecipe, folder: Path | None = None, wanted: Callable[[Path], bool] = whole
) -> Iterator[EtlRecipe]:
    """The recipe with files of this machine for all that it names in a store, until the block ends;
    itself where it names nothing there. They are in `folder`, or among the system's temporary
    files. Of those that are not `wanted` there are name and size, and no content.

    Raises `DataError` for what is not there or cannot be read, for what changes while it is copied,
    and where the disk is too small.
    """
    addresses = _addresses(recipe)
    if not addresses:
        yield recipe
        return
    with scratch_folder(folder) as root:
        copies = {path: _copied(one, root, wanted) for path, one in addresses.items()}
        try:
            yield _moved(recipe, lambda paths: _instead(paths, copies))
        except PipelineError as error:
            error.args = tuple(_with_addresses(one, root, addresses) for one in error.args)
            raise


def _addresses(recipe: EtlRecipe) -> dict[str, Address]:
    """Path -> address, of those of the recipe's paths that are one."""
    found: dict[str, Address] = {}

    def note(paths: Paths) -> Paths:
        for path in [paths] if isinstance(paths, str) else paths:
            if (address := Address.of(path)) is not None:
                found[path] = address
        return paths

    _moved(recipe, note)
    return found


def _moved(recipe: EtlRecipe, move: Move) -> EtlRecipe:
    """The recipe with other paths."""
    source, logged = recipe.source, recipe.logged
    if logged is not None:
        logged = logged.model_copy(update={"events": move(logged.events)})
    changes: dict[str, Any] = {"logged": logged}
    if isinstance(source, Files):
        parts = source.parts and source.parts.model_copy(
            update={name: move(paths) for name, paths in source.parts if paths is not None}
        )
        tables = {
            "events": move(source.events),
            "parts": parts,
            "users": _table(source.users, move),
            "items": _table(source.items, move),
            "external": tuple(
                one.model_copy(update={"path": _single(one.path, move)}) for one in source.external
            ),
        }
        changes["source"] = source.model_copy(update=tables)
    elif isinstance(source, Criteo):
        changes["source"] = source.model_copy(update={"path": move(source.path)})
    return recipe.model_copy(update=changes)


def _table(table: EntityTable | None, move: Move) -> EntityTable | None:
    return table and table.model_copy(update={"path": _single(table.path, move)})


def _single(path: str, move: Move) -> str:
    found = move(path)
    if isinstance(found, str):
        return found
    if len(found) > 1:
        raise DataError(f"{path}: a table is one file, and this is {len(found)}")
    return found[0]


def _instead(paths: Paths, copies: dict[str, list[str]]) -> Paths:
    given = [paths] if isinstance(paths, str) else paths
    found = tuple(one for path in given for one in copies.get(path, [path]))
    return paths if isinstance(paths, str) and paths not in copies else found


def _copied(address: Address, root: Path, wanted: Callable[[Path], bool]) -> list[str]:
    """Copies below `root` of the objects that an address means, in their order."""
    store = Store.of(address)
    there = store.objects(address)
    objects = {key: Address(address.scheme, address.name, key) for key in there}
    files = {key: file_of(one, root) for key, one in objects.items()}
    fetched = [key for key, file in files.items() if wanted(file)]
    total = sum(there[key][0] for key in fetched)
    if total > shutil.disk_usage(root).free:
        raise DataError(f"{address}: {total:,} bytes do not fit onto the disk of {root.parent}")
    say(f"fetch   {len(fetched):,} objects, {total:,} bytes of {address}")
    stopped = Event()

    def copy(key: str) -> None:
        size, _ = there[key]
        _make_room(objects[key], files[key])
        if wanted(files[key]):
            store.copy(objects[key], size, files[key], stopped.is_set)
        else:
            with files[key].open("wb") as stream:
                stream.truncate(size)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for done in as_completed([pool.submit(copy, key) for key in files]):
                done.result()
        finally:  # what failed, or Ctrl-C, does not wait for gigabytes that nobody wants any more
            stopped.set()
            pool.shutdown(cancel_futures=True)
    _refuse_change(address, there, store.objects(address))
    return [str(file) for file in files.values()]


def _make_room(address: Address, file: Path) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"{address}: no file can have this name ({error.strerror})") from error


def _refuse_change(address: Address, before: dict[str, Mark], now: dict[str, Mark]) -> None:
    other = sorted(key for key in {*before, *now} if before.get(key) != now.get(key))
    if other:
        raise changed([f"{address.scheme}://{address.name}/{key}" for key in other])


def _with_addresses(text: object, root: Path, addresses: dict[str, Address]) -> object:
    """A text in which copies are called by their addresses."""
    if not isinstance(text, str):
        return text
    for scheme in {one.scheme for one in addresses.values()}:
        text = text.replace(f"{root / scheme}/", f"{scheme}://")
    return text
