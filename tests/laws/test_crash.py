"""Law 3: stopped anywhere, the next apply comes to the same machine as one that was never stopped."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from cxlstate.core.diagnostic import CxlstateError
from cxlstate.engine.plan import Exit
from cxlstate.simulator.faults import Faults, PowerCut
from tests.laws.bench import OURS, bench
from tests.laws.stops import stops
from tests.strategies import PUBLIC_KEYS

FIRST = {
    "packages": ["libvirt-daemon-system", "hello"],
    "services": {
        "libvirtd": {"enabled": True, "running": True},
        "cron": {"enabled": False, "running": False},
    },
    "users": {
        "admin": {"groups": ["kvm", "libvirt"], "authorized_keys": [PUBLIC_KEYS[0]]},
        "lab": {"shell": "/bin/bash", "authorized_keys": [PUBLIC_KEYS[1]]},
    },
    "files": {"/etc/lab/deep/file": {"content": "a = 1\n", "owner": "lab", "mode": "0640"}},
    "sshd": {"password_authentication": False},
    "grub": {"args": ["quiet", 'dyndbg="file x +p"'], "absent": ["nomodeset"]},
    "memmap": [{"size": "2GiB", "start": "320GiB", "type": "reserved"}],
    "modules": {"kmem": "absent", "dummy": "present", "nd_pmem": "present"},
}
SECOND = {  # where FIRST is in force: files to be replaced and removed, a package to go, a mask
    "packages": ["libvirt-daemon-system", {"name": "hello", "state": "absent"}, "tree"],
    "services": {"virtlogd": {"masked": True, "running": False}, "cron": {"enabled": True, "running": True}},
    "grub": {"args": ["a=1"], "absent": ["x.none"]},
    "memmap": [{"size": "1GiB", "start": "64GiB", "type": "pmem"}],
    "modules": {"dummy": "absent", "veth": "present"},
    "files": {"/etc/lab/deep/file": {"state": "absent"}, "/etc/hostname": {"mode": "0600"}},
    "users": {"lab": {"shell": "/bin/sh", "groups": ["adm"]}},
}
RAM_AWAY = {
    "memmap": [{"size": "2GiB", "start": "320GiB", "type": "reserved"}],
    "modules": {"kmem": "absent"},
}
MEMORY = {
    **RAM_AWAY,
    "dax": {"cxl0": {"range": {"start": "322GiB", "size": "96GiB"}, "align": "2MiB"}},
    "mtrr": {"cxl0": {"cover": "dax.cxl0", "within": {"start": "320GiB", "end": "448GiB"}}},
}
NARROW = {**MEMORY, "mtrr": {"cxl0": {"cover": "dax.cxl0", "within": {"start": "320GiB", "end": "418GiB"}}}}
LIBVIRT = {"packages": ["libvirt-daemon-system"], "modules": {"kmem": "absent"}, "dax": MEMORY["dax"]}
KERNEL = "/boot/vmlinuz-6.12.117+deb13-amd64"
GUEST = {"state": "running", "memory": "1GiB", "vcpu": 2, "vcpupin": [1, 3], "os": {"kernel": KERNEL}}
MACS = [f"52:54:00:fc:10:{last}" for last in ("bd", "be", "bf")]
NVDIMM = {"dax": "dax.cxl0", "size": "96GiB", "label": "2MiB", "access": "shared", "slot": 1}
VIRTUAL = {
    **LIBVIRT,
    "networks": {
        "default": {
            "active": True,
            "autostart": True,
            "reservations": [
                {"mac": MACS[0], "ip": "192.168.122.110", "name": "guest"},
                {"mac": MACS[1], "ip": "192.168.122.111", "name": "other"},
            ],
        },
        "lab": {"active": True, "address": "10.9.8.1/24"},
    },
    "vms": {
        "guest": {
            **GUEST,
            "autostart": True,
            "nvdimm": [NVDIMM],
            "interfaces": [{"network": "default", "mac": MACS[0]}],
        },
        "plain": GUEST,
    },
}
VIRTUAL_TOO = {  # addresses that are swapped, a network to be stopped for it, a restart, a VM to go
    **LIBVIRT,
    "networks": {
        "default": {
            "active": True,
            "domain": "lab",
            "reservations": [
                {"mac": MACS[0], "ip": "192.168.122.111", "name": "guest"},
                {"mac": MACS[1], "ip": "192.168.122.110", "name": "another"},
                {"mac": MACS[2], "ip": "192.168.122.112"},
            ],
        },
        "lab": {"state": "absent"},
    },
    "vms": {
        "guest": {
            **GUEST,
            "memory": "2GiB",
            "vcpupin": [5, 7],
            "nvdimm": [NVDIMM | {"size": "94GiB"}],
            "interfaces": [{"network": "default", "mac": MACS[0], "link": "down"}],
        },
        "plain": {"state": "absent"},
    },
}
GUESTS = {
    **LIBVIRT,
    "vms": {
        "g1": {
            **GUEST,
            "state": "running",
            "guest": {
                "packages": ["hello"],
                "services": {"cron": {"enabled": True, "running": True}},
                "users": {
                    "lab": {"shell": "/bin/sh", "groups": ["kvm"], "authorized_keys": [PUBLIC_KEYS[0]]}
                },
                "files": {"/srv/in.guest": {"content": "a = 1\n", "owner": "lab", "mode": "0640"}},
                "sshd": {"password_authentication": False},
                "modules": {"dummy": "present"},
                "grub": {"args": ["a=1"]},
            },
        },
        "g.2": {**GUEST, "guest": {"modules": {"veth": "present"}}},
    },
}
IN_NVDIMM = {
    **LIBVIRT,
    "vms": {
        "g0": {
            **GUEST,
            "nvdimm": [NVDIMM | {"label": "16MiB"}],
            "guest": {"packages": ["ndctl"], "namespaces": {"cxl": {"nvdimm": 0, "map": "mem"}}},
        }
    },
}
NEW_GUEST = {
    **LIBVIRT,
    "packages": ["libvirt-daemon-system", "qemu-utils"],
    "images": {"system": {"path": "/var/lib/libvirt/images/g1.qcow2", "format": "qcow2", "size": "1GiB"}},
    "vms": {
        "g1": {
            "state": "running",
            "autostart": True,
            "memory": "1GiB",
            "vcpu": 1,
            "disks": [{"target": "vda", "image": "image.system"}],
            "guest": {
                "provision": {
                    "method": "cloud-init",
                    "hostname": "g1",
                    "users": {"lab": {"shell": "/bin/bash", "authorized_keys": [PUBLIC_KEYS[0]]}},
                },
                "modules": {"dummy": "present"},
            },
        },
    },
}
BASE = {"path": "/var/lib/libvirt/images/base.qcow2", "format": "qcow2", "size": "1GiB"}
WITH_BASE = {
    **LIBVIRT,
    "packages": ["libvirt-daemon-system", "qemu-utils", "libguestfs-tools"],
    "images": {"base": BASE},
}
OF_G1 = NEW_GUEST["vms"]["g1"]
CUSTOMIZED = {
    **WITH_BASE,
    "images": {
        "base": BASE,
        "system": {"path": "/var/lib/libvirt/images/g1.qcow2", "source": {"path": BASE["path"]}},
    },
    "vms": {
        "g1": {
            **OF_G1,
            "guest": {
                **OF_G1["guest"],
                "provision": OF_G1["guest"]["provision"] | {"method": "virt-customize"},
            },
        }
    },
}
NO_DEVICE = {"packages": LIBVIRT["packages"], "modules": LIBVIRT["modules"]}
IN_USE = {**LIBVIRT, "vms": {"g1": {**GUEST, "nvdimm": [NVDIMM]}}}
OFF = {"state": "shut-off"}
UNPROVEN = {**NEW_GUEST, "vms": {"g1": NEW_GUEST["vms"]["g1"] | OFF}}
UNPROVISIONED = {**NEW_GUEST, "vms": {"g1": OFF}}
FORWARDED = {
    "packages": ["libvirt-daemon-system", "nftables"],
    "networks": {
        "default": {
            "active": True,
            "autostart": True,
            "reservations": [{"mac": MACS[0], "ip": "192.168.122.110"}],
        }
    },
    "vms": {
        "g1": {**GUEST, "state": "shut-off", "interfaces": [{"network": "default", "mac": MACS[0]}]},
    },
}
FORWARDS = {
    **FORWARDED,
    "forwards": {
        "web": {"listen": {"port": 8080, "address": "192.0.2.1"}, "to": {"vm": "g1", "port": 80}},
        "many": {
            "listen": {"ports": "9000-9009", "protocol": "udp", "interface": "eno1"},
            "to": {"address": "192.168.122.7"},
        },
    },
}
OTHER_FORWARDS = {
    **FORWARDED,
    "forwards": {
        "web": {"listen": {"port": 8080, "address": "192.0.2.1"}, "to": {"address": "192.168.122.7"}},
        "many": {"listen": {"port": 1}, "to": {"vm": "g1"}, "state": "absent"},
        "ssh": {"listen": {"port": 2222, "interface": "eno1"}, "to": {"vm": "g1", "port": 22}},
    },
}
STORIES = {
    "a fresh host": ((), FIRST),
    "another spec was in force": ((FIRST,), SECOND),
    "host memory": ((RAM_AWAY,), MEMORY),
    "another cover was in force": ((MEMORY,), NARROW),
    "host memory is dropped": ((MEMORY,), RAM_AWAY),
    "nothing of grub's is left": ((RAM_AWAY,), {"packages": ["hello"]}),
    "networks and VMs": ((LIBVIRT,), VIRTUAL),
    "other networks and VMs were there": ((VIRTUAL,), VIRTUAL_TOO),
    "guests": ((LIBVIRT,), GUESTS),
    "a namespace in a guest": ((LIBVIRT,), IN_NVDIMM),
    "a guest from nothing": ((LIBVIRT,), NEW_GUEST),
    "a guest from nothing, without a seed": ((WITH_BASE,), CUSTOMIZED),
    "a seed is dropped": ((UNPROVEN,), UNPROVISIONED),
    "a device that a VM has is dropped": ((IN_USE,), NO_DEVICE),
    "forwards": ((FORWARDED,), FORWARDS),
    "other forwards were in force": ((FORWARDS,), OTHER_FORWARDS),
    "forwards are dropped": ((FORWARDS,), FORWARDED),
}
PARTS = 2

pytestmark = pytest.mark.slow


def _state(one):
    """All that lasts: files, packages, unit files, records, of its guests, too; and no draft is left."""
    machine = one.machine()
    running = machine.pop("running")
    del running["since"]  # times
    for domain in running["domains"].values():
        domain.pop("start", None)  # of each start its own
    return {
        "files": one.files(),
        "machine": machine,
        "records": one.records(),
        "drafts": one.drafts(),
        "guests": {name: _state(guest)[0] for name, guest in one.guests().items()},
    }, running


@pytest.fixture(scope="module", params=STORIES)
def story(request):
    """A machine before, the spec, and what an apply that nothing stops makes of it."""
    earlier, host = STORIES[request.param]
    with bench() as before:
        for one in earlier:
            assert before.apply(before.spec(one)).exit is Exit.IN_SYNC
        whole, faults = before.fork("whole"), Faults()
        done = whole.apply(whole.spec(host), faults=faults)
        assert done.exit is Exit.IN_SYNC, (done.diagnostics, done.plan)
        yield before, host, faults.steps, _state(whole)


def _broken_off(one, host, faults, then):
    with suppress(PowerCut, CxlstateError):
        one.apply(one.spec(host), faults=faults)
    match then:
        case "power cut":
            one.power_cut()
        case "guests destroyed":
            one.destroy_guests()


def _converges(story, number, how):
    before, host, steps, (state, running) = story
    fault = {"lose_at": number} if how == "connection lost" else {"stop_at": number}
    one = before.fork(f"{how}{number}{time.monotonic_ns()}".replace(" ", "-"))
    _broken_off(one, host, Faults(**fault), then=how)
    where = f"{how} behind step {number}: {steps[number - 1]}"
    spec = one.spec(host)
    done = one.apply(spec)
    assert done.exit is Exit.IN_SYNC, (where, done.diagnostics)
    now, runs = _state(one)
    for part, content in state.items():
        assert now[part] == content, (where, part)
    if how in ("killed", "connection lost"):  # a boot also does what no spec names
        assert runs == running, where
    assert one.plan(spec).exit is Exit.IN_SYNC, where


STOPS = ("killed", "power cut", "guests destroyed")


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(one, marks=pytest.mark.thorough) for one in range(1, PARTS))]
)
def test_stopped_behind_any_step_it_converges(story, part, every_crash):
    """Killed behind one step, without power behind the next; each behind every step with `--every-crash`."""
    how = STOPS if story[1] is GUESTS else STOPS[:2]
    for turn, number in enumerate(stops(story[2], every=every_crash)[part::PARTS], start=part):
        for one in how if every_crash else (how[turn % len(how)],):
            _converges(story, number, one)


def test_where_the_connection_is_lost_it_converges(story, every_crash):
    for number in stops(story[2][:-1], every=every_crash)[::5]:
        _converges(story, number, "connection lost")


def test_stopped_again_and_again_it_still_gets_there(story, every_crash):
    """Every run ends a few steps further on than the one before; none of them has to be cleaned up after."""
    before, host, _, (state, _) = story
    one = before.fork("again")
    for number in range(1, 40, 3 if every_crash else 5):
        _broken_off(one, host, Faults(stop_at=number), then="power cut" if number % 2 else "killed")
    assert one.apply(one.spec(host)).exit is Exit.IN_SYNC
    now, _ = _state(one)
    assert now == state


EFFECTS = {
    "a fresh host": (
        "begun",
        "journalled",
        "in place",
        "generated, not in place",
        "run",
        "the machine has booted",
    ),
    "forwards": ("ran: nft -f", "ran: iptables-nft-restore"),
    "guests": (
        "domain started: g1",
        "in place: /srv/in.guest",
        "recorded: module.veth",
        "the machine has booted",
    ),
}


def test_the_steps_are_those_of_every_effect_that_an_apply_has(story):
    """On the host, and in each of its guests."""
    name = next(name for name, (_, host) in STORIES.items() if host is story[1])
    for word in EFFECTS.get(name, ()):
        assert any(step.startswith(word) for step in story[2]), word


# A real process, killed ------------------------------------------------------------------------------


@pytest.mark.parametrize("part", range(4))
def test_a_real_apply_that_is_killed_leaves_nothing_in_the_way_of_the_next(part, every_crash):
    for seed in range(part, 12 if every_crash else 4, 4):
        _killed(seed)


def _killed(seed):
    with bench() as one:
        one.spec(FIRST)
        command = [
            sys.executable,
            "-m",
            "cxlstate",
            "apply",
            "--yes",
            "--allow",
            "reboot-host",
            str(one.file),
        ]
        journal = one.path(f"{OURS}/journal.jsonl")
        enough, more = random.Random(seed).randrange(0, 28), random.Random(seed).random() / 50
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and _lines(journal) < enough:
            time.sleep(0.001)
        time.sleep(more)
        process.send_signal(signal.SIGKILL)
        process.wait()
        again = subprocess.run([*command, "--json"], capture_output=True, check=False, text=True)
        assert again.returncode == 0, again.stdout + again.stderr
        assert json.loads(again.stdout)["machines"][0]["status"] == "in-sync"
        assert one.drafts() == []
        assert one.plan(one.spec(FIRST)).exit is Exit.IN_SYNC


def _lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0
