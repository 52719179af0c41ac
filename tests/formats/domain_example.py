"""A domain as libvirt 9.0 writes it, with something of everything."""

DOMAIN = """\
<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>cxl_vmx</name>
  <uuid>6c1f0e6e-1b0a-4d0e-9d52-5a4c2e0f7a11</uuid>
  <metadata>
    <lab:owner xmlns:lab="https://lab.example/owner" since="'24">memory "team"</lab:owner>
    <libosinfo:libosinfo xmlns:libosinfo="http://libosinfo.org/xmlns/libvirt/domain/1.0">
      <libosinfo:os id="http://ubuntu.com/ubuntu/22.04"/>
    </libosinfo:libosinfo>
  </metadata>
  <maxMemory slots='2' unit='KiB'>8388608</maxMemory>
  <memory unit='KiB'>6291456</memory>
  <currentMemory unit='KiB'>6291456</currentMemory>
  <memoryBacking>
    <hugepages>
      <page size='2048' unit='KiB'/>
    </hugepages>
    <locked/>
  </memoryBacking>
  <vcpu placement='static'>4</vcpu>
  <iothreads>2</iothreads>
  <cputune>
    <shares>2048</shares>
    <vcpupin vcpu='0' cpuset='1'/>
    <vcpupin vcpu='3' cpuset='7'/>
    <emulatorpin cpuset='0'/>
    <iothreadpin iothread='2' cpuset='9'/>
  </cputune>
  <numatune>
    <memory mode='strict' nodeset='1'/>
    <memnode cellid='0' mode='strict' nodeset='1'/>
  </numatune>
  <os>
    <type arch='x86_64' machine='pc-q35-10.0'>hvm</type>
    <kernel>/boot/vmlinuz</kernel>
    <initrd>/boot/initrd</initrd>
    <cmdline>root=/dev/vda1 x=&quot;a b&quot;</cmdline>
    <boot dev='hd'/>
  </os>
  <features>
    <acpi/>
    <apic/>
  </features>
  <cpu mode='custom' match='exact' check='partial'>
    <model fallback='allow'>qemu64</model>
    <topology sockets='1' dies='1' cores='4' threads='1'/>
    <feature policy='require' name='vmx'/>
    <numa>
      <cell id='0' cpus='0-3' memory='4194304' unit='KiB' memAccess='shared'/>
    </numa>
  </cpu>
  <clock offset='utc'/>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' io='native' queues='2'/>
      <source file='/images/a.qcow2'/>
      <target dev='vda' bus='virtio'/>
      <iotune>
        <read_iops_sec>9</read_iops_sec>
      </iotune>
      <serial>A</serial>
      <boot order='1'/>
      <address type='pci' domain='0x0000' bus='0x04' slot='0x00' function='0x0'/>
    </disk>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw'/>
      <auth username='lab'>
        <secret type='ceph' usage='lab'/>
      </auth>
      <source protocol='rbd' name='pool/b'>
        <host name='ceph' port='6789'/>
      </source>
      <target dev='vdb' bus='virtio'/>
      <address type='pci' domain='0x0000' bus='0x05' slot='0x00' function='0x0'/>
    </disk>
    <disk type='file' device='cdrom'>
      <driver name='qemu' type='raw'/>
      <target dev='sda' bus='sata'/>
      <readonly/>
      <address type='drive' controller='0' bus='0' target='0' unit='0'/>
    </disk>
    <controller type='pci' index='0' model='pcie-root'/>
    <interface type='network'>
      <mac address='52:54:00:fc:10:bd'/>
      <source network='default' portgroup='web'/>
      <target dev='tap7'/>
      <model type='virtio'/>
      <driver name='vhost' queues='2'/>
      <mtu size='9000'/>
      <address type='pci' domain='0x0000' bus='0x01' slot='0x00' function='0x0'/>
    </interface>
    <interface type='bridge'>
      <mac address='52:54:00:00:00:01'/>
      <source bridge='ovs0'/>
      <virtualport type='openvswitch'>
        <parameters interfaceid='09b11c53-8b5c-4eeb-8f00-d84eaa0aaa4f'/>
      </virtualport>
      <model type='virtio'/>
      <link state='down'/>
      <address type='pci' domain='0x0000' bus='0x02' slot='0x00' function='0x0'/>
    </interface>
    <serial type='pty'>
      <target type='isa-serial' port='0'>
        <model name='isa-serial'/>
      </target>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <graphics type='vnc' port='-1' autoport='yes' passwd='s&lt;cret'/>
    <memory model='nvdimm' access='shared'>
      <source>
        <path>/dev/cxlstate/cxl0</path>
        <alignsize unit='KiB'>2048</alignsize>
        <pmem/>
      </source>
      <target>
        <size unit='KiB'>2097152</size>
        <node>0</node>
        <label>
          <size unit='KiB'>16384</size>
        </label>
      </target>
      <address type='dimm' slot='1' base='0x180000000'/>
    </memory>
  </devices>
  <qemu:commandline>
    <qemu:arg value='-msg'/>
  </qemu:commandline>
</domain>
"""
