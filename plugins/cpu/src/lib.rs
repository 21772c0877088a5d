//! CPU usage, frequency, temperature and load, overall and per core.
