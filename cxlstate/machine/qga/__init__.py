"""The QEMU guest agent as a way into a guest: `sh` by guest-exec, where there is no network to it."""
