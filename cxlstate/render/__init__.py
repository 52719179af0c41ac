"""What a person reads and what a program reads. Nothing here decides anything."""
