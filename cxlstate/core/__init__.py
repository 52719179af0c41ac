"""Pure words everybody uses. Nothing here touches a machine, a file or a terminal."""
