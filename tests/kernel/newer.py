"""Places of later kernels and of other people's, as these patches meet them; a case is a line of a table.

Only the few lines around the call stand here. They follow drivers/dax of torvalds/linux 059edcc405e4 (7.x),
of the dynamic capacity trees (weiny2/linux-kernel 1874987c4cb7), and the famfs trees.
"""

_CALL = """\
{text}
\tif (!dax_region)
\t\treturn -ENOMEM;

"""
_HMEM = "\tdax_region = alloc_dax_region(dev, pdev->id, &mri->range,\n\t\t\t\t      mri->target_node, {}"
_CXL = "\tdax_region = alloc_dax_region(dev, cxlr->id, &cxlr_dax->hpa_range, nid,\n\t\t\t\t      {}"
_MMAP = """\
\tfile_accessed(file);
\tvma->vm_ops = &{ops};
\tvm_flags_set(vma, {flag});
\treturn 0;
}}
"""
_DEBUGGED = """\
\tfile_accessed(file);
\tvma->vm_ops = &famfs_file_vm_ops;
\t// vm_flags_set(vma, VM_HUGEPAGE);
\tvm_flags_set(vma, VM_NOHUGEPAGE);
\treturn 0;
}
"""


def _hmem(arguments):
    return _CALL.format(text=_HMEM.format(arguments))


def _cxl(arguments):
    return _CALL.format(text=_CXL.format(arguments))


_H, _C = "drivers/dax/hmem/hmem.c", "drivers/dax/cxl.c"
_FUSE, _MAP, _OWN = "fs/fuse/famfs.c", "fs/fuse/ext_map.c", "fs/famfs/famfs_file.c"
_FAMFS = "famfs-nohugepage"

# file, text, patch, standing, and what stands where it should be
NEWER = {
    "7.x": (_H, "\n" * 99 + _hmem("PMD_SIZE, flags);"), "dax-hmem-align-4k", "applies", None),
    "7.x patched": (_H, _hmem("PAGE_SIZE, flags);"), "dax-hmem-align-4k", "already in", None),
    "dynamic capacity": (
        _H,
        _hmem("PMD_SIZE, flags, NULL);"),
        "dax-hmem-align-4k",
        "does not apply",
        "mri->target_node, PMD_SIZE, flags, NULL);",
    ),
    "7.x, cxl": (_C, _cxl("PMD_SIZE, IORESOURCE_DAX_KMEM);"), "dax-cxl-align-4k", "applies", None),
    "dynamic capacity, cxl": (
        _C,
        _cxl("PMD_SIZE, flags, &sparse_ops);"),
        "dax-cxl-align-4k",
        "does not apply",
        "PMD_SIZE, flags, &sparse_ops);",
    ),
    "famfs in fuse": (
        _FUSE,
        _MMAP.format(ops="famfs_file_vm_ops", flag="VM_HUGEPAGE"),
        _FAMFS,
        "applies",
        None,
    ),
    "famfs, patched": (
        _FUSE,
        _MMAP.format(ops="famfs_file_vm_ops", flag="VM_NOHUGEPAGE"),
        _FAMFS,
        "already in",
        None,
    ),
    "famfs, otherwise": (_FUSE, _DEBUGGED, _FAMFS, "does not apply", "// vm_flags_set(vma, VM_HUGEPAGE);"),
    "famfs of 7.4": (
        _MAP,
        _MMAP.format(ops="fuse_ext_map_vm_ops", flag="VM_HUGEPAGE"),
        _FAMFS,
        "applies",
        None,
    ),
    "famfs by itself": (
        _OWN,
        _MMAP.format(ops="famfs_file_vm_ops", flag="VM_HUGEPAGE"),
        _FAMFS,
        "applies",
        None,
    ),
}
