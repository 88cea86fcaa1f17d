//! One file: what a process sees, what is durable, and what lies between.

use std::collections::BTreeMap;

const SECTOR: usize = 512;

/// A small seeded source of choices (SplitMix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `bound - 1`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// A sector that was written since the last sync.
#[derive(Clone)]
struct Pending {
    /// What each write since then made of it, oldest first.
    versions: Vec<[u8; SECTOR]>,
    /// Whether the next sync writes it. Not so after a sync that failed.
    dirty: bool,
}

/// One file.
#[derive(Clone, Default)]
pub(super) struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: BTreeMap<usize, Pending>,
}

impl Content {
    pub(super) fn len(&self) -> usize {
        self.seen.len()
    }

    /// By how much a write that ends at `end` makes the file longer.
    pub(super) fn growth(&self, end: u64) -> u64 {
        end.saturating_sub(self.seen.len() as u64)
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> usize {
        let rest = self.seen.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        count
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let start = offset as usize;
        let end = start + bytes.len();
        if self.seen.len() < end {
            self.seen.resize(end, 0);
        }
        self.seen[start..end].copy_from_slice(bytes);
        if bytes.is_empty() {
            return;
        }
        for sector in start / SECTOR..=(end - 1) / SECTOR {
            let version = sector_of(&self.seen, sector);
            let pending = self.pending.entry(sector).or_insert(Pending {
                versions: Vec::new(),
                dirty: true,
            });
            pending.versions.push(version);
            pending.dirty = true;
        }
    }

    /// What is cut off is gone at once, so that it can't come back when the file grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        let len = len as usize;
        self.seen.resize(len, 0);
        self.durable.truncate(len);
        self.pending.split_off(&len.div_ceil(SECTOR));
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.seen.len(), 0);
        let (seen, durable) = (&self.seen, &mut self.durable);
        self.pending.retain(|sector, pending| {
            if pending.dirty {
                put_sector(durable, *sector, &sector_of(seen, *sector));
            }
            !pending.dirty
        });
    }

    pub(super) fn fail_sync(&mut self) {
        for pending in self.pending.values_mut() {
            pending.dirty = false;
        }
    }

    pub(super) fn crash(&mut self, dice: &mut Dice) {
        if dice.below(2) == 0 {
            self.durable.resize(self.seen.len(), 0);
        }
        for (sector, pending) in std::mem::take(&mut self.pending) {
            let choice = dice.below(pending.versions.len() as u64 + 1) as usize;
            if let Some(version) = pending.versions.get(choice) {
                put_sector(&mut self.durable, sector, version);
            }
        }
        self.seen = self.durable.clone();
    }

    pub(super) fn flip(&mut self, offset: usize, mask: u8) {
        for bytes in [&mut self.seen, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(offset) {
                *byte ^= mask;
            }
        }
    }
}

fn sector_of(bytes: &[u8], sector: usize) -> [u8; SECTOR] {
    let mut copy = [0; SECTOR];
    let start = sector * SECTOR;
    let end = bytes.len().min(start + SECTOR);
    if let Some(part) = bytes.get(start..end) {
        copy[..part.len()].copy_from_slice(part);
    }
    copy
}

/// Puts back as much of a sector as lies within the file's length.
fn put_sector(bytes: &mut [u8], sector: usize, content: &[u8; SECTOR]) {
    let start = sector * SECTOR;
    let end = bytes.len().min(start + SECTOR);
    if let Some(part) = bytes.get_mut(start..end) {
        let count = part.len();
        part.copy_from_slice(&content[..count]);
    }
}
