"""The kernel's modules: modprobe, rmmod, and what a boot loads.

Sources: kernel/module; modprobe(8), modprobe.d(5), modules-load.d(5).
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from cxlstate.formats import kernel_cmdline
from cxlstate.simulator.dax import DEVDAX, KMEM, Bus
from cxlstate.simulator.ended import Ended, unknown
from cxlstate.simulator.files import Files
from cxlstate.simulator.ndctl import Nd
from cxlstate.simulator.procfs import memory_map
from cxlstate.simulator.world import Loaded, World

_DRIVERS = ("dax_hmem", DEVDAX, KMEM)
_FOLDERS = ("/etc", "/run", "/usr/local/lib", "/usr/lib", "/lib")
_OFF = ("/bin/false", "/bin/true", "/usr/bin/false", "/usr/bin/true")
_ASKED_AS = {KMEM: "dax:t0"}
_OF_NVDIMMS = ("nd_pmem", DEVDAX, "dax_pmem")
_SET_UP_BY = {KMEM: "dax_kmem_init"}


class Modules:
    """modprobe, and what a boot loads. The modules of a kernel are those of its `modules.dep`."""

    def __init__(self, world: World, files: Files) -> None:
        self._world = world
        self._files = files
        directory = f"/lib/modules/{world.running.kernel}"
        self._directory = directory
        self._depends: dict[str, list[str]] = {}
        self._paths: dict[str, str] = {}
        for line in files.text(f"{directory}/modules.dep").splitlines():
            path, _, needs = line.partition(":")
            self._depends[_module_name(path)] = [_module_name(need) for need in needs.split()]
            self._paths[_module_name(path)] = path
        self._builtin = {_module_name(path) for path in files.text(f"{directory}/modules.builtin").split()}

    def boot(self) -> None:
        """What the hardware asks for, then modules-load.d. Neither loads what is blacklisted."""
        blacklist = self._blacklist()
        asked = [*self._world.autoload, *(_OF_NVDIMMS if self._world.power.dimms else ())]
        elsewhere = [name for name in asked if self._led_elsewhere(name)]
        for name in (*asked, *self._configured()):
            if name not in (*blacklist, *elsewhere) and not (self._refuses(name) or self._replaced(name)):
                self._insert(name)
        if KMEM in self._builtin and not self._refuses(KMEM):
            Bus(self._world).match()

    def modinfo(self, words: Sequence[str]) -> Ended:
        """`modinfo NAME…`, as far as it says which file is meant."""
        said, complaints = "", ""
        for word in words:
            name = word.replace("-", "_")
            if name in self._builtin:
                said += f"name:           {name}\nfilename:       (builtin)\n"
            elif name in self._depends:
                said += f"filename:       {self._directory}/{self._paths[name]}\nname:           {name}\n"
            else:
                complaints += f"modinfo: ERROR: Module {word} not found.\n"
        return Ended(int(bool(complaints)), said, complaints)

    def modprobe(self, words: Sequence[str]) -> Ended:
        """`modprobe [-r] NAME…`: an explicit name is not held back by a blacklist."""
        remove = bool(words) and words[0] in ("-r", "--remove")
        names = [word for word in words[int(remove) :] if word != "--"]
        if any(word.startswith("-") for word in names) or not names:
            return Ended(1, stderr="modprobe: ERROR: missing parameters. See -h.\n")
        for word in names if remove else names[:1]:  # modprobe(8): further words are parameters
            ended = self._remove(word) if remove else self._load(word)
            if ended.status:
                return ended
        return Ended()

    def rmmod(self, words: Sequence[str]) -> Ended:
        """`rmmod NAME`: no other module goes with it."""
        if len(words) != 1 or words[0].startswith("-"):
            return unknown(("rmmod", *words))
        name = words[0].replace("-", "_")
        loaded = self._world.running.modules.get(name)
        if loaded is None:
            built_in = f"Module {name} is builtin."
            reason = built_in if name in self._builtin else f"Module {name} is not currently loaded"
            return Ended(1, stderr=f"rmmod: ERROR: {reason}\n")
        if loaded.used_by or self._references(name):
            users = f" by: {' '.join(loaded.used_by)}" if loaded.used_by else ""
            return Ended(1, stderr=f"rmmod: ERROR: Module {name} is in use{users}\n")
        self._unload(name, with_needs=False)
        return Ended()

    def _load(self, word: str) -> Ended:
        name = word.replace("-", "_")
        if name in self._builtin or name in self._world.running.modules:
            return Ended()
        if name not in self._depends:
            reason = f"Module {word} not found in directory {self._directory}"
            return Ended(1, stderr=f"modprobe: FATAL: {reason}\n")
        if self._replaced(name):
            return Ended(1, stderr=f"modprobe: ERROR: Error running install command for {name}\n")
        if self._refuses(name):
            reason = "Operation not permitted"
            return Ended(1, stderr=f"modprobe: ERROR: could not insert '{name}': {reason}\n")
        self._insert(name)
        return Ended()

    def _remove(self, word: str) -> Ended:
        name = word.replace("-", "_")
        loaded = self._world.running.modules.get(name)
        if name not in self._depends and name not in self._builtin:
            return Ended(1, stderr=f"modprobe: FATAL: Module {word} not found.\n")
        if name in self._builtin:
            return Ended(1, stderr=f"modprobe: FATAL: Module {name} is builtin.\n")
        if loaded is None:
            return Ended()
        if loaded.used_by or self._references(name):
            return Ended(1, stderr=f"modprobe: FATAL: Module {name} is in use.\n")
        self._unload(name)
        return Ended()

    def _unload(self, name: str, *, with_needs: bool = True) -> None:
        """Take it out, and what only it had needed: `modprobe -r` removes unused dependencies too."""
        modules = self._world.running.modules
        del modules[name]
        if name in _DRIVERS:
            Bus(self._world).unload(name)
        for need in self._depends.get(name, ()):
            if need in modules and name in modules[need].used_by:
                modules[need].used_by.remove(name)
                if with_needs and not modules[need].used_by and not modules[need].references:
                    self._unload(need)

    def _insert(self, name: str) -> None:
        modules = self._world.running.modules
        if name in modules or name in self._builtin or name not in self._depends:
            return
        for need in self._depends[name]:
            self._insert(need)
        for need in self._depends[name]:
            if need in modules:
                modules[need].used_by.append(name)
        modules[name] = Loaded()
        if name == "dax_hmem":
            Bus(self._world).discover(memory_map(self._world))
        takes = KMEM in modules or (KMEM in self._builtin and not self._refuses(KMEM))
        if takes and name in ("dax_hmem", KMEM):
            Bus(self._world).match()
        if name in ("nd_pmem", "dax_pmem", DEVDAX):
            Nd(self._world, lambda _: None).drive()

    def _references(self, name: str) -> int:
        """Who else uses a loaded module, without a name: those that hold a dax device, too."""
        held = any(one.holds for one in self._world.running.processes)
        return self._world.running.modules[name].references + (held and name in (DEVDAX, "dax_hmem"))

    def _argument_names(self, argument: str) -> set[str]:
        """Module names in a comma list of the running command line."""
        found = kernel_cmdline.parse(self._world.running.command_line)
        return {name for one in found if one.name == argument for name in (one.value or "").split(",")}

    def _refuses(self, name: str) -> bool:
        """The kernel itself: the last module_blacklist= counts, every initcall_blacklist= does."""
        given = kernel_cmdline.parse(self._world.running.command_line)
        last = [one.value or "" for one in given if one.name == "module_blacklist"][-1:]
        return name in ",".join(last).split(",") or _SET_UP_BY.get(name) in self._argument_names(
            "initcall_blacklist"
        )

    def _blacklist(self) -> set[str]:
        """Names that are not loaded by alias, nor from modules-load.d."""
        names = self._argument_names("modprobe.blacklist")
        listed = (words[1] for words in self._modprobe_d() if words[0] == "blacklist")
        return names | {name.replace("-", "_") for name in listed}

    def _replaced(self, name: str) -> bool:
        """`install NAME /bin/false` is run in the place of loading it. Other commands are not run here."""
        commands = (words for words in self._modprobe_d() if words[0] == "install")
        first = next((words for words in commands if words[1].replace("-", "_") == name), ("",))
        return first[-1] in _OFF

    def _led_elsewhere(self, name: str) -> bool:
        """An alias of the configuration goes before those of the modules."""
        asked = _ASKED_AS.get(name)
        lines = [words for words in self._modprobe_d() if words[0] == "alias" and asked]
        leads = [words[-1] for words in lines if fnmatchcase(asked or "", words[1])]
        return bool(leads) and name not in leads

    def _modprobe_d(self) -> list[tuple[str, ...]]:
        """Lines of two words or more. A file or a link to /dev/null hides its namesakes in later folders."""
        texts: dict[str, str] = {}
        for folder in _FOLDERS:
            for path in self._files.glob(f"{folder}/modprobe.d/*.conf"):
                gone = (self._files.link(path) or "").endswith("/dev/null")
                texts.setdefault(posixpath.basename(path), "" if gone else self._files.text(path))
        lines = (line.split() for _, text in sorted(texts.items()) for line in text.splitlines())
        return [tuple(words) for words in lines if len(words) > 1 and not words[0].startswith("#")]

    def _configured(self) -> list[str]:
        return [line.replace("-", "_") for line in self._lines("/etc/modules-load.d/*.conf")]

    def _lines(self, pattern: str) -> Iterator[str]:
        """Lines of configuration files, without comments; later folders are not modelled."""
        for path in self._files.glob(pattern):
            for raw in self._files.text(path).splitlines():
                line = raw.strip()
                if line and line[0] not in "#;":
                    yield line


def _module_name(path: str) -> str:
    return posixpath.basename(path).split(".", 1)[0].replace("-", "_")
