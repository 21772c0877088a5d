//! Traffic of the network interfaces, each and in total.
