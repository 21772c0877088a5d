//! Seeded damage: bits, bytes, numbers, cuts, splices.

use std::ops::Range;

use fastrand::Rng;

/// Numbers at which lengths and offsets break.
const NUMBERS: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    i64::MAX as u64,
    1 << 63,
    u64::MAX,
];

/// Makes inputs of seeds. The same seed gives the same inputs.
pub(crate) struct Mutator<'a> {
    random: Rng,
    seeds: &'a [Vec<u8>],
}

impl<'a> Mutator<'a> {
    pub(crate) fn new(seed: u64, seeds: &'a [Vec<u8>]) -> Self {
        Self { random: Rng::with_seed(seed), seeds }
    }

    /// A seed with one to six changes.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        let mut bytes = self.seed().to_vec();
        for _ in 0..=self.random.usize(..6) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn seed(&mut self) -> &'a [u8] {
        &self.seeds[self.random.usize(..self.seeds.len())]
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.place(bytes.len());
        match self.random.u8(..16) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(self.range(bytes.len()))),
            2..5 => {
                let other = self.seed();
                let piece = other[self.range(other.len())].to_vec();
                let over = if self.random.bool() { piece.len() } else { 0 };
                bytes.splice(at..(at + over).min(bytes.len()), piece);
            }
            5 => {
                let length = self.random.usize(..8);
                let random: Vec<u8> = (0..length).map(|_| self.random.u8(..)).collect();
                bytes.splice(at..at, random);
            }
            6..10 => self.number(bytes, at),
            10..13 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = self.random.u8(..)),
            _ => {
                bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << self.random.u8(..8))
            }
        }
    }

    /// Writes a number of 1, 2, 4 or 8 bytes: an odd one, or one near the length of the input.
    fn number(&mut self, bytes: &mut [u8], at: usize) {
        let number = match self.random.usize(..NUMBERS.len() + 2) {
            index if index < NUMBERS.len() => NUMBERS[index],
            _ => (bytes.len() as u64).wrapping_add(self.random.u64(..5)).wrapping_sub(2),
        };
        let number = number.to_le_bytes();
        let width = 1 << self.random.u8(..4);
        for (byte, new) in bytes.iter_mut().skip(at).zip(&number[..width]) {
            *byte = *new;
        }
    }

    /// Headers stand at the front and at the end, so half of all changes are made there.
    fn place(&mut self, length: usize) -> usize {
        const NEAR: usize = 1 << 10;
        match self.random.u8(..4) {
            0 => self.random.usize(..=length.min(NEAR)),
            1 => length - self.random.usize(..=length.min(NEAR)),
            _ => self.random.usize(..=length),
        }
    }

    /// Up to 64 bytes, seldom more.
    fn range(&mut self, length: usize) -> Range<usize> {
        let start = self.place(length);
        let most = if self.random.u8(..8) == 0 { length } else { 64 };
        start..(start + self.random.usize(..=most)).min(length)
    }
}
