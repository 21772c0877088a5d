//! Paging and fault counters of the kernel, from `/proc/vmstat`.
