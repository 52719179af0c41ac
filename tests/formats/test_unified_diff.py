"""Unified diffs: what is read of a text, and what is refused, with its line."""

import pytest

from cxlstate.formats.unified_diff import MAX_CHARACTERS, DiffError, FileDiff, Hunk, Kind, parse, write

HEAD = "--- a/drivers/dax/x.c\n+++ b/drivers/dax/x.c\n"
BODY = "@@ -3,3 +3,3 @@ static int probe(void)\n one\n-two\n+zwei\n three\n"
EDIT = FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(3, 3, (" one\n", "-two\n", "+zwei\n", " three\n")),))

MAIL = """From 0123 Mon Sep 17 00:00:00 2001
Subject: [PATCH] dax: zwei

--- not a header
+++ nor this
---
 drivers/dax/x.c | 2 +-

"""

READ = {
    "plain": (HEAD + BODY, EDIT),
    "as a mail of git": (
        f"{MAIL}diff --git a/drivers/dax/x.c b/drivers/dax/x.c\nindex 1..2\n{HEAD}{BODY}-- \n2.39.5\n\n",
        EDIT,
    ),
    "as diff -u writes names": (
        "--- linux.orig/drivers/dax/x.c\t2026-01-01 00:00:00.0 +0000\n+++ linux/drivers/dax/x.c\t2026-01-02\n"
        + BODY,
        EDIT,
    ),
    "blank context that a mailer cut": (
        HEAD + "@@ -1,3 +1,3 @@\n\n-a\n+b\n\n",
        FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(1, 1, (" \n", "-a\n", "+b\n", " \n")),)),
    ),
    "counts of one are not written": (
        HEAD + "@@ -7 +7 @@\n-a\n+b\n",
        FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(7, 7, ("-a\n", "+b\n")),)),
    ),
    "no newline at the end, before and after": (
        HEAD + "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n",
        FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(1, 1, ("-a", "+b")),)),
    ),
    "a newline that is added": (
        HEAD + "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a\n",
        FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(1, 1, ("-a", "+a\n")),)),
    ),
    "lines that end in CR LF keep it": (
        HEAD + "@@ -1 +1 @@\r\n-a\r\n+b\r\n",
        FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(1, 1, ("-a\r\n", "+b\r\n")),)),
    ),
    "the text ends without a newline": (
        HEAD + "@@ -1 +1 @@\n-a\n+b",
        FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(1, 1, ("-a\n", "+b\n")),)),
    ),
    "a file that is made": (
        "diff --git a/s/x b/s/x\nnew file mode 100755\n--- /dev/null\n+++ b/s/x\n@@ -0,0 +1,2 @@\n+a\n+b\n",
        FileDiff("s/x", Kind.CREATE, (Hunk(0, 1, ("+a\n", "+b\n")),), 0o755),
    ),
    "a file that is removed": (
        "--- a/x.c\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n",
        FileDiff("x.c", Kind.REMOVE, (Hunk(1, 0, ("-a\n",)),)),
    ),
    "a file that is made, as diff -N names it": (
        "--- o/x.c\t1970-01-01 01:00:00.000000000 +0100\n+++ n/x.c\t2024-03-01\n@@ -0,0 +1,2 @@\n+a\n+b\n",
        FileDiff("x.c", Kind.CREATE, (Hunk(0, 1, ("+a\n", "+b\n")),)),
    ),
    "a file that is removed, as diff -N names it": (
        "--- o/x.c\t2024-03-01\n+++ n/x.c\t1970-01-01 01:00:00.000000000 +0100\n@@ -1 +0,0 @@\n-a\n",
        FileDiff("x.c", Kind.REMOVE, (Hunk(1, 0, ("-a\n",)),)),
    ),
    "bytes that are not UTF-8": (
        HEAD + "@@ -1 +1 @@\n-\udce9\n+e\n",
        FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(1, 1, ("-\udce9\n", "+e\n")),)),
    ),
    "a form feed ends no line": (
        HEAD + "@@ -1 +1 @@\n-a\x0cb\u2028c\n+e\n",
        FileDiff("drivers/dax/x.c", Kind.EDIT, (Hunk(1, 1, ("-a\x0cb\u2028c\n", "+e\n")),)),
    ),
}


@pytest.mark.parametrize(("text", "file"), READ.values(), ids=READ)
def test_what_is_read_and_written_again(text, file):
    patch = parse(text)
    assert patch.files == (file,)
    assert parse(write(patch)) == patch
    assert patch.reversed().reversed() == patch
    assert parse(write(patch.reversed())) == patch.reversed()


# The runbook's patch of the hmem driver: its header says five lines, and there are seven.
RUNBOOK = """--- a/drivers/dax/hmem/hmem.c
+++ b/drivers/dax/hmem/hmem.c
@@ -29,5 +29,5 @@
  mir = dev->platform_data;
  dax_region = alloc_dax_region(dev, pdev->id, &mri->range,
-\t\t\t\t      mri->target_node, PMD_SIZE, flags);
+\t\t\t\t      mri->target_node, PAGE_SIZE, flags);
  if (!dax_region)
    return -ENOMEM;
"""
GIT = "diff --git a/x.c b/x.c\n"
MADE = "--- /dev/null\n+++ b/x.c\n"

REFUSED = {
    "nothing": ("", 1, "no diff"),
    "no diff": ("int main(void);\n", 1, "no diff"),
    "the runbook's own": (RUNBOOK.replace("-29,5 +29,5", "-29,4 +29,4"), 3, "goes on at line 9, after"),
    "too few lines": (HEAD + "@@ -1,4 +1,4 @@\n one\n-two\n+zwei\n", 3, "ends at line 7, before"),
    "too few lines, and another hunk": (
        HEAD + "@@ -1,3 +1,3 @@\n-a\n+b\n" + BODY,
        3,
        "ends at line 6, before",
    ),
    "counts that do not fit": (HEAD + "@@ -1,1 +1,3 @@\n a\n b\n+c\n", 3, "other counts"),
    "odd header": (HEAD + "@@ -1,x +1 @@\n-a\n+b\n", 3, "not a hunk header"),
    "a hunk without a file": ("@@ -1 +1 @@\n-a\n+b\n", 1, "without `---`"),
    "a merge": ("--- a/x\n+++ b/x\n@@@ -1 -1 +1 @@@\n", 3, "without `---`"),
    "changes nothing": (HEAD + "@@ -1 +1 @@\n a\n", 3, "changes nothing"),
    "no context": (HEAD + "@@ -4,0 +5 @@\n+a\n", 3, "without context"),
    "no context, removed": (HEAD + "@@ -4 +3,0 @@\n-a\n", 3, "without context"),
    "twice": ((HEAD + BODY) * 2, 8, "changed twice"),
    "up": ("--- a/../x\n+++ b/../x\n" + BODY, 1, "not a path below a tree"),
    "up, within": ("--- a/b/../../x\n+++ b/b/../../x\n" + BODY, 1, "not a path below a tree"),
    "absolute": ("--- /etc/passwd\n+++ /etc/passwd\n" + BODY, 1, "not a path below a tree"),
    "absolute below a/": ("--- a//etc/passwd\n+++ b//etc/passwd\n" + BODY, 1, "not a path below a tree"),
    "no folder ahead": ("--- x.c\n+++ x.c\n" + BODY, 1, "not a path below a tree"),
    "for patch -p0": (
        "--- drivers/dax/x.c\n+++ drivers/dax/x.c\n" + BODY,
        3,
        "no a/ and b/ ahead",
    ),
    "for patch -p0, made": (
        GIT.replace("a/x.c b/", "drivers/x.c drivers/")
        + "--- /dev/null\n+++ drivers/x.c\n@@ -0,0 +1 @@\n+a\n",
        4,
        "no a/ and b/ ahead",
    ),
    "CR LF": ((HEAD + BODY).replace("\n", "\r\n"), 1, "dos2unix"),
    "hooks of git": ("--- /dev/null\n+++ b/.git/hooks/x\n@@ -0,0 +1 @@\n+a\n", 2, "not a path below a tree"),
    "quoted": ('--- "a/\\303\\251"\n+++ "b/\\303\\251"\n' + BODY, 1, "not a path below a tree"),
    "what a terminal obeys": ("--- a/\x1b[2J\n+++ b/\x1b[2J\n" + BODY, 1, "cannot be printed"),
    "renamed, by names": ("--- a/x.c\n+++ b/y.c\n" + BODY, 3, "a rename, x.c to y.c"),
    "renamed": (GIT + "similarity index 90%\nrename from x.c\nrename to y.c\n", 3, "a rename"),
    "copied": (GIT + "copy from x.c\ncopy to y.c\n", 2, "a copy"),
    "mode": (GIT + "old mode 100644\nnew mode 100755\n", 2, "a change of mode"),
    "binary": (GIT + "Binary files a/x.c and b/x.c differ\n", 2, "a binary file"),
    "git binary": (GIT + "index 1..2\nGIT binary patch\nliteral 1\n", 3, "a binary file"),
    "a link": (GIT + "new file mode 120000\n" + MADE + "@@ -0,0 +1 @@\n+/etc/passwd\n", 2, "mode 120000"),
    "an empty file": (GIT + "new file mode 100644\nindex 0..e69de29\n", 1, "without lines"),
    "an empty file, and another diff": (
        GIT + "new file mode 100644\n" + GIT + HEAD + BODY,
        1,
        "without lines",
    ),
    "made, with context": (MADE + "@@ -1 +1,2 @@\n a\n+b\n", 3, "lines that stay"),
    "made, in two hunks": (MADE + "@@ -0,0 +1 @@\n+a\n@@ -0,0 +9 @@\n+b\n", 6, "one hunk"),
    "nowhere to nowhere": ("--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n+b\n", 3, "both names"),
    "newline in the middle": (
        HEAD + "@@ -1,2 +1,2 @@\n-a\n+b\n\\ No newline at end of file\n c\n",
        3,
        "a line without a newline",
    ),
    "long": ("x" * (MAX_CHARACTERS + 1), 1, "longer than"),
    "many": (
        "".join(f"--- a/{n}\n+++ b/{n}\n@@ -1 +1 @@\n-a\n+b\n" for n in range(101)),
        501,
        "more than 100 files",
    ),
}


@pytest.mark.parametrize(("text", "line", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused(text, line, reason):
    with pytest.raises(DiffError) as refused:
        parse(text)
    assert (refused.value.line, reason in refused.value.reason) == (line, True), refused.value
