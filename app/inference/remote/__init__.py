"""A device in a process of its own, and workers that hand it work: images and codes by shared memory, no pickling."""
