"""The XML that libvirt tests itself with: what a parser, a merge and a comparison of it have to stand."""
