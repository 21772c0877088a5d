//! Hardware and software performance events by perf_event_open.
