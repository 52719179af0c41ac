"""Pieces of domain XML that a guest of `domains.py` may have."""

from __future__ import annotations

MACS = ("52:54:00:fc:10:bd", "52:54:00:00:00:01", "52:54:00:0a:0b:0c")
TARGETS = ("vda", "vdb", "sda", "sdb")
NVDIMM_PATHS = ("/dev/cxlstate/cxl0", "/dev/dax1.0", "/var/lib/pmem/a file")


def fragments(text: str) -> tuple[str, ...]:
    """Pieces of XML with blank lines between them."""
    return tuple(text.strip("\n").split("\n\n"))


# What no spec has a word for: each stands in a domain as it is, once or not at all.
TOP = fragments("""
<title>It&apos;s a &quot;title&quot; &amp; more</title>

<description>Two
lines</description>

<memtune>
  <hard_limit unit='KiB'>8388608</hard_limit>
</memtune>

<blkiotune>
  <weight>800</weight>
</blkiotune>

<resource>
  <partition>/machine/lab</partition>
</resource>

<sysinfo type='smbios'>
  <bios>
    <entry name='vendor'>Lab</entry>
  </bios>
</sysinfo>

<clock offset='variable' adjustment='-3600' basis='utc'>
  <timer name='hpet' present='no'/>
</clock>

<on_crash>coredump-destroy</on_crash>

<on_lockfailure>pause</on_lockfailure>

<pm>
  <suspend-to-mem enabled='no'/>
</pm>

<perf>
  <event name='cmt' enabled='no'/>
</perf>

<seclabel type='none' model='dac'/>
""")
METADATA = fragments("""
<lab:owner xmlns:lab="https://lab.example/1.0" rack="'7'">memory "team"<!-- us --></lab:owner>

<x:a xmlns:x="urn:x" x:b="1"><x:c xmlns="urn:y"><d/></x:c>
</x:a>

<libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
  <libosinfo:os id="http://debian.org/debian/12"/>
</libosinfo:libosinfo>
""")
OF_Q35 = fragments("<iommu model='intel'/>")
DEVICES = fragments("""
<controller type='usb' index='0' model='qemu-xhci' ports='15'/>

<controller type='scsi' index='0' model='virtio-scsi'>
  <driver queues='4'/>
</controller>

<filesystem type='mount' accessmode='mapped'>
  <source dir='/srv'/>
  <target dir='srv'/>
</filesystem>

<channel type='unix'>
  <target type='virtio' name='org.qemu.guest_agent.0'/>
</channel>

<channel type='pty'>
  <target type='virtio' name='org.lab.0'/>
</channel>

<parallel type='file'>
  <source path='/tmp/parallel'/>
  <target port='0'/>
</parallel>

<input type='tablet' bus='usb'/>

<tpm model='tpm-tis'>
  <backend type='passthrough'>
    <device path='/dev/tpm0'/>
  </backend>
</tpm>

<graphics type='vnc' port='-1' autoport='yes' passwd='s&lt;cret'/>

<sound model='ich9'/>

<video>
  <model type='vga' vram='16384' heads='1' primary='yes'/>
</video>

<hostdev mode='subsystem' type='pci' managed='yes'>
  <source>
    <address domain='0x0000' bus='0x06' slot='0x12' function='0x5'/>
  </source>
</hostdev>

<hostdev mode='subsystem' type='usb'>
  <source>
    <vendor id='0x1234'/>
    <product id='0xbeef'/>
  </source>
</hostdev>

<redirdev bus='usb' type='tcp'>
  <source mode='connect' host='localhost' service='4000'/>
</redirdev>

<watchdog model='i6300esb' action='poweroff'/>

<rng model='virtio'>
  <rate bytes='1024' period='1000'/>
  <backend model='random'>/dev/urandom</backend>
</rng>

<panic model='isa'/>

<shmem name='lab'>
  <model type='ivshmem-plain'/>
  <size unit='M'>4</size>
</shmem>

<vsock model='virtio'>
  <cid auto='no' address='42'/>
</vsock>

<memballoon model='virtio'>
  <stats period='10'/>
</memballoon>
""")
NAMESPACE = """\
<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <qemu:arg value='-msg'/>
  <qemu:env name='A' value='it&apos;s'/>
</qemu:commandline>"""
FEATURES = ("<apic/>", "<pae/>", "<kvm>\n  <hidden state='on'/>\n</kvm>", "<vmport state='off'/>")
CPUS = (
    (" mode='host-passthrough' check='none' migratable='on'", ""),
    (" mode='host-model' check='partial'", "<feature policy='disable' name='vmx'/>"),
    (" mode='maximum' check='none'", "<cache mode='passthrough'/>"),
    (
        " mode='custom' match='exact' check='none'",
        "<model fallback='allow'>qemu64</model>\n<feature policy='disable' name='svm'/>",
    ),
    ("", ""),
)
BACKING = ("", *fragments("""
<memoryBacking>
  <hugepages/>
  <nosharepages/>
</memoryBacking>

<memoryBacking>
  <hugepages>
    <page size='2048' unit='KiB'/>
  </hugepages>
  <locked/>
</memoryBacking>

<memoryBacking>
  <source type='anonymous'/>
  <allocation mode='immediate'/>
</memoryBacking>

<memoryBacking>
  <source type='memfd'/>
  <access mode='shared'/>
</memoryBacking>
"""))  # fmt: skip
SERIALS = ("", *fragments("""
<serial type='pty'>
  <target type='isa-serial' port='0'/>
</serial>

<serial type='file'>
  <source path='/tmp/serial'/>
  <target port='0'/>
</serial>

<console type='pty'>
  <target type='virtio' port='0'/>
</console>
"""))  # fmt: skip
SOURCES = {
    "file": "<source file='/images/{}.qcow2' startupPolicy='optional'/>",
    "block": "<source dev='/dev/{}1'/>",
    "network": "<source protocol='nbd' name='x'>\n  <host name='h' port='10809'/>\n</source>",
    "volume": "<source pool='default' volume='{}.qcow2'/>",
}
OF_A_DISK = (
    "<serial>S</serial>",
    "<iotune>\n  <read_iops_sec>9</read_iops_sec>\n</iotune>",
    "<geometry cyls='16383' heads='16' secs='63'/>",
    "<alias name='ua-{}'/>",
    "<shareable/>",
)
OF_A_SCSI_DISK = ("<wwn>5000c50015ea71ac</wwn>", "<vendor>LAB</vendor>\n<product>DISK</product>")
NOTES = ("", "<!-- don't touch -->", "<?keep 'this'?>", "\n\n  <!-- <cpu/> -->\n")
LOADERS = (
    (),
    (),
    (
        "<loader readonly='yes' type='pflash'>/usr/share/OVMF/OVMF_CODE_4M.fd</loader>",
        "<nvram template='/usr/share/OVMF/OVMF_VARS_4M.fd'>/var/lib/libvirt/qemu/nvram/guest_VARS.fd</nvram>",
    ),
    ("<loader type='rom'>/usr/share/seabios/bios.bin</loader>",),
)
KERNELS = (
    (),
    ("<kernel>/boot/vmlinuz</kernel>",),
    (
        "<kernel>/boot/vmlinuz</kernel>",
        "<initrd>/boot/initrd</initrd>",
        "<cmdline>a=&quot;b c&quot;</cmdline>",
    ),
)
BOOTS = ((), ("<boot dev='hd'/>",), ("<boot dev='cdrom'/>", "<bootmenu enable='yes'/>"))
