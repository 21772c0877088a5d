//! Memory and swap.
