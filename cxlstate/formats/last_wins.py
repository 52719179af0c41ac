"""Kernel arguments of which a later value takes the place of an earlier one.

Source: Linux 6.12. Each has one handler (`early_param`, `__setup`, `core_param`) that does nothing but
store its value, or is looked up with `cmdline_find_option()`, which "returns the last instance"
(`arch/x86/lib/cmdline.c`). Old and foreign hardware's are left out: they count as not known.
"""

from __future__ import annotations

from typing import Final

_NAMES: Final = """
    accept_memory acpi_apic_instance acpi_backlight acpi_enforce_resources acpi_force_32bit_fadt_addr
    acpi_force_table_verification acpi_irq_balance acpi_irq_nobalance acpi_no_auto_serialize
    acpi_no_memhotplug acpi_no_static_ssdt acpi_no_watchdog acpi_pm_good acpi_rev_override acpi_rsdp
    acpi_skip_timer_override acpi_use_timer_override acpica_no_return_repair add_efi_memmap
    alloc_mptable amd_iommu_dump amd_iommu_intr amd_prefcore amd_pstate apparmor audit
    audit_backlog_limit bert_disable blkdevparts boot_delay bootconfig cgroup_debug cgroup_favordynmods
    clearcpuid clk_ignore_unused clocksource cma cma_pernuma consoleblank coredump_filter cpuhp.parallel
    crash_kexec_post_notifiers debug_boot_weak_hash debug_callthunks debug_guardpage_minorder
    debug_non_panic_cpus debug_objects debug_pagealloc debugpat deferred_probe_timeout delayacct
    devtmpfs.mount dhash_entries disable_mtrr_trim disable_timer_pin_1 disableapic driver_async_probe
    early_ioremap_debug early_page_ext edd efi_no_storage_paranoia elevator elfcorehdr enforcing
    erst_disable fred ftrace ftrace_boot_snapshot ftrace_dump_on_oops ftrace_filter ftrace_graph_filter
    ftrace_graph_max_depth fw_devlink fw_devlink.strict gart_fix_e820 gather_data_sampling gcov_persist
    gpt hardened_usercopy hashdist hest_disable highmem highres hlt hostname hugetlb_free_vmemmap
    hv_nopvspin ia32_emulation ibt idle ignore_loglevel ihash_entries ima_appraise_tcb ima_canonical_fmt
    ima_tcb indirect_target_selection init init_on_alloc init_on_free init_pkru
    initcall_debug initramfs_async initrd initrdmem int_pln_enable integrity_audit io_delay
    iommu.forcedac iommu.passthrough irqaffinity irqfixup irqpoll irqtime kasan.page_alloc.sample
    kasan.page_alloc.sample.order kasan.stack_ring_size keep_bootcon keepinitrd kgdbcon kgdboc kgdbwait
    kmemleak kprobe_event l1d_flush l1tf lapic_timer_c2_ok log_buf_len lpj lsm
    lsm.debug maxcpus mds mem_encrypt mem_sleep_default memblock memhp_default_state
    memory_corruption_check memory_corruption_check_period memory_corruption_check_size memtest
    mhash_entries mitigations mmio_stale_data movable_node movablecore mphash_entries mtdparts mtrr
    mtrr_chunk_size mtrr_gran_size mtrr_spare_reg_nr nfsroot no5lvl no_console_suspend no_debug_objects
    no_file_caps no_hash_pointers no_kvmapf no_kvmclock no_kvmclock_vsyscall no_scroll no_steal_acc
    no_timer_check noapic noapictimer noautogroup nofsgsbase nohibernate nohlt nohpet nohugeiomap
    nohugevmalloc nohz noinitrd noinvpcid noirqdebug noisapnp nokaslr nokgdbroundup nolapic
    nolapic_timer nomce nomodeset nomodule nonmi_ipi nopat nopcid nopku nopv nopvspin norandmaps
    noreplace_smp noresume nosgx nosmp nosoftlockup nospectre_v1 nospectre_v2 notsc nousb novmcoredd
    nowatchdog nox2apic noxsave ntp_tick_adj numa_balancing oops page_owner page_poison page_table_check
    panic panic_on_taint panic_on_warn panic_print pause_on_oops pd_ignore_unused percpu_alloc
    pm_debug_messages pmtmr possible_cpus preempt print_fatal_signals proc_mem.force_override profile
    psi ramdisk_size random.trust_bootloader random.trust_cpu randomize_kstack_offset ras
    rcu_nocbs rdinit rdrand reg_file_data_sampling relax_domain_level resched_latency_warn_ms reservetop
    reset_devices resume resume_offset resumedelay resumewait retain_initrd rodata root rootdelay
    rootflags rootfstype rootwait sched_thermal_decay_shift sched_verbose schedstats security selinux
    setcpuid skew_tick slab_debug slab_max_order slab_min_objects slab_min_order slub_debug
    softlockup_panic spec_rstack_overflow spec_store_bypass_disable spectre_bhi spectre_v2
    spectre_v2_user split_lock_detect srbds stack_depot_disable stack_guard_gap stacktrace swapaccount
    sysrq_always_enabled tcpmhash_entries test_suspend thash_entries thread_backlog_napi threadirqs
    tp_printk tp_printk_stop_on_boot trace_buf_size trace_clock trace_options trace_trigger
    tracing_thresh transparent_hugepage transparent_hugepage_shmem tsa tsc_early_khz tsx tsx_async_abort
    uhash_entries unknown_nmi_panic unwind_debug update_mptable vdso vdso32 vm_debug vmalloc vmscape
    vsyscall watchdog_thresh workqueue.unbound_cpus x2apic_phys xen_msr_safe xen_no_vector_callback
    xen_nopv xen_timer_slop
"""

LAST_WINS: Final = frozenset(_NAMES.split())
"""Names with every `-` as `_`."""
