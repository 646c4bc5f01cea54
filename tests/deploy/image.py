"""The image without Docker: the tree that the Dockerfile copies, and its programs in a clean environment as an unprivileged user.

What stands below / in the image stands below a directory here; the packages are those of the test's own environment. The tree belongs
to somebody else than the user who runs in it, so nothing can be written there.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from app.embedded.owner import Owner, closed_to

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """(instruction, its words) of the last stage."""
    text = re.sub(r"\\\n", " ", "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")))
    found = [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]
    last = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return found[last:]


def value_of(instruction: str) -> list[str]:
    """The list that an instruction in its JSON form gives."""
    words = next(words for name, words in instructions() if name == instruction)
    listed: list[str] = json.loads(words[words.index("[") :])
    return listed


def environment() -> dict[str, str]:
    return dict(pair.split("=", 1) for name, words in instructions() if name == "ENV" for pair in shlex.split(words))


class Image:
    """The image's tree below `place`, run as `owner`."""

    def __init__(self, place: Path, owner: Owner) -> None:
        self.place = place
        self._owner = owner
        self.home = place / "var/lib/staffetta"
        self._build()

    def _build(self) -> None:
        for name, words in instructions():
            if name != "COPY":
                continue
            *sources, target = [word for word in shlex.split(words) if not word.startswith("--chmod")]
            if sources[0].startswith("--from="):
                continue
            for source in sources:
                self._copy(ROOT / source, target)
        venv = self.place / "opt/staffetta/venv"
        venv.symlink_to(sys.prefix)
        program = self.place / "usr/local/bin/staffetta"
        program.write_text(program.read_text().replace("/opt/", f"{self.place}/opt/"))
        program.chmod(0o755)
        self.home.mkdir(parents=True, mode=0o700)
        if self._owner.switched:
            shutil.chown(self.home, self._owner.uid, self._owner.gid)

    def _copy(self, source: Path, target: str) -> None:
        place = self.place / target.lstrip("/")
        if target.endswith("/"):
            place = place / source.name
        place.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)

    def inside(self, value: str) -> str:
        """A path of the image as it is here; anything else as it is."""
        return f"{self.place}{value}" if value.startswith("/") else value

    def command(self, words: Sequence[str], settings: Mapping[str, str]) -> list[str]:
        """The command line of a container with these words as its command and these variables besides the image's."""
        variables = {name: self.inside(value) for name, value in (environment() | settings).items()}
        entry = value_of("ENTRYPOINT")
        assert entry[:2] == ["tini", "--"]
        path = f"{self.place}/usr/local/bin:/usr/bin:/bin"
        clean = ["env", "-i", f"--chdir={self.home}", f"PATH={path}", *(f"{name}={value}" for name, value in variables.items())]
        return [*self._as_owner(), *clean, *entry[2:], *words]

    def start(self, words: Sequence[str], settings: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self.place / f"{words[0]}.log").open("ab") as log:
            return subprocess.Popen(self.command(words, settings), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def run(self, words: Sequence[str], settings: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.command(words, settings), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)

    def _as_owner(self) -> list[str]:
        if not self._owner.switched:
            return []
        switch = ["setpriv", f"--reuid={self._owner.uid}", f"--regid={self._owner.gid}", "--clear-groups", "--bounding-set=-all"]
        if closed_to(self._owner, Path(sys.executable).resolve().parent) is None:
            return switch
        # The interpreter of the tests lies in root's home: the user may read and pass there, and nothing else.
        reading = "-all,+dac_read_search"
        return [*switch[:-1], f"--bounding-set={reading}", f"--inh-caps={reading}", f"--ambient-caps={reading}"]
