//! Damages plugin files.

/// Replaces every occurrence; both must have the same length.
pub fn replace_bytes(bytes: &mut [u8], from: &[u8], to: &[u8]) -> usize {
    assert_eq!(from.len(), to.len());
    let mut count = 0;
    let mut at = 0;
    while at + from.len() <= bytes.len() {
        if &bytes[at..at + from.len()] == from {
            bytes[at..at + to.len()].copy_from_slice(to);
            count += 1;
        }
        at += 1;
    }
    count
}

/// Overwrites `count` bytes at places that `next` chooses.
pub fn corrupt(bytes: &mut [u8], count: usize, mut next: impl FnMut(usize) -> usize) {
    for _ in 0..count {
        let at = next(bytes.len());
        bytes[at] = u8::try_from(next(256)).unwrap();
    }
}
