"""A limited process that renders: `python -m app.rendering.child NICENESS`, started by the pool and by nobody else.

It reads a request, answers it, and waits for the next; both are four bytes of length and JSON. What a template can reach from here:
256 MB of address space, one second of CPU (told to it as a Fault with the line), no file of its own, no process, no socket. After it is
warm, an audit hook refuses whatever would open a file outside of Python's own code and the tables of languages and time zones. The
environment is empty of secrets: the pool gives none. Wall time is the pool's to watch, which kills.

A process that ran out of time or memory says so and leaves. Only a new one is believed: what others had rendered before takes memory too,
so any other leaves with "again". Long before, when half of the room is taken, it leaves behind an answer as good as any.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import zoneinfo
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import babel
import orjson

from app.mail.template import Compiled, Fault, FrozenSet, Source, TemplateFault, UnknownNames, freeze, place_of
from app.recent import Recent

MOST_MEMORY = 256 * 1024 * 1024
CPU_SECONDS = 1.0
_MOST_FILES = 16
_KEPT_SETS = 64
_PR_SET_PDEATHSIG = 1
# What a template could not need: these events are refused whatever their arguments.
_REFUSED = (
    *("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "os.kill", "os.remove", "os.rename"),
    *("os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.chown", "os.truncate", "os.putenv", "ctypes.", "shutil.", "pty."),
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class _OutOfTime(BaseException):
    """Not an Exception: nothing on the way may take it for its own."""


def main() -> NoReturn:
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    os.nice(int(sys.argv[1]))
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    sets: Recent[str, Compiled] = Recent(_KEPT_SETS)
    _warm(sets)
    memory = os.open("/proc/self/statm", os.O_RDONLY)
    _limit()
    leaves_with = (MOST_MEMORY + _taken(memory)) // 2
    is_new = True
    signal.signal(signal.SIGPROF, _end)
    _write(answers, {"ready": True})
    while os.getppid() == parent:
        request = _read(requests)
        if request is None:
            break
        answer = _answer(request, sets)
        if answer.get("fault", {}).get("code") == "too_much" and not is_new:
            answer = {"again": True, "leave": True}
        elif _taken(memory) > leaves_with:
            answer["leave"] = True
        is_new = False
        _write(answers, answer)
        if answer.get("leave"):
            break
    os._exit(0)


def _answer(request: dict[str, Any], sets: Recent[str, Compiled]) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        return _freeze(request) if request["op"] == "freeze" else _render(request, sets)
    except UnknownNames as error:
        return {"unknown": sorted(error.names)}
    except TemplateFault as error:
        return {"fault": asdict(error.fault), "leave": error.fault.code == "too_much"}
    except _OutOfTime as error:
        name, line = place_of(error.__traceback__)
        return {"fault": asdict(Fault("too_slow", f"It takes more than {CPU_SECONDS:g} second.", None, name, line)), "leave": True}
    except MemoryError:
        return {"fault": asdict(Fault("too_much", "It needs too much memory.")), "leave": True}
    except Exception:
        return {"fault": asdict(Fault("not_allowed", "The template cannot be read.")), "leave": True}
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _freeze(request: dict[str, Any]) -> dict[str, Any]:
    sources = {name: Source(*parts) for name, parts in request["sources"].items()}
    return {"frozen": asdict(freeze(request["main"], sources))}


def _render(request: dict[str, Any], sets: Recent[str, Compiled]) -> dict[str, Any]:
    key = request["key"]
    compiled = sets[key] = sets.get(key) or Compiled(FrozenSet(**request["frozen"]))
    return {"rendered": asdict(compiled.render(request["variables"], request["locale"]))}


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise _OutOfTime


def _warm(sets: Recent[str, Compiled]) -> None:
    """What the first template would load: parser, languages, a time zone."""
    html = '<style>p{color:red}</style><p>{{ n|money("EUR") }} {{ n|number(2) }} {{ d|date }} {{ d|datetime("short", "Europe/Rome") }}</p>'
    frozen = freeze("warm", {"warm": Source("{{ n }}", html, None)})
    compiled = Compiled(frozen)
    for locale in ("en_US", "it_IT", "de_DE"):
        compiled.render({"n": 1, "d": "2026-01-01T10:00:00+01:00"}, locale)
    sets.clear()


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_FILES, _MOST_FILES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    read_only = tuple(str(Path(place).resolve()) + os.sep for place in (*_code_places(), *zoneinfo.TZPATH) if Path(place).is_dir())

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if (isinstance(flags, int) and flags & _WRITING) or not os.path.realpath(os.fsdecode(path)).startswith(read_only):
                raise PermissionError("a template opens no file")
        elif event.startswith(_REFUSED):
            raise PermissionError("a template does not do this")

    sys.addaudithook(refuse)


def _taken(memory: int) -> int:
    """Octets of address space, as the limit counts them."""
    return int(os.pread(memory, 100, 0).split()[0]) * resource.getpagesize()


def _code_places() -> tuple[str, ...]:
    """Where Python's own modules and the tables of the libraries lie; this project's directory is none of them."""
    return str(Path(os.__file__).parent), str(Path(babel.__file__).parent.parent)


def _read(requests: Any) -> Any:
    head = requests.read(4)
    return orjson.loads(requests.read(int.from_bytes(head, "big"))) if len(head) == 4 else None


def _write(answers: Any, answer: dict[str, Any]) -> None:
    try:
        octets = orjson.dumps(answer)
    except TypeError:  # half of a surrogate pair, from an escape in a string of the template
        octets = orjson.dumps({"fault": asdict(Fault("not_allowed", "It contains half of a surrogate pair."))})
    answers.write(len(octets).to_bytes(4, "big") + octets)
    answers.flush()


if __name__ == "__main__":
    main()
