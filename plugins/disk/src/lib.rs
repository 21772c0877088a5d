//! Space of the mounted file systems and I/O of the block devices.
