//! One file: what a process sees, what is durable, and what lies between.

use std::collections::BTreeMap;
use std::ops::Range;

use super::pages::{Pages, SECTOR, is_zero};

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

/// One file.
#[derive(Clone, Default)]
pub(super) struct Content {
    seen: Pages,
    durable: Pages,
    /// Since the last sync, oldest first.
    writes: Vec<Write>,
    /// What the next sync does not write, because an earlier one that should have failed: what each write made of a
    /// sector, oldest first.
    lost: BTreeMap<usize, Vec<Sector>>,
}

type Sector = [u8; SECTOR];

/// What a write has made of some sectors.
#[derive(Clone)]
struct Write {
    sectors: Range<usize>,
    /// `None` for zeros.
    content: Option<Box<[u8]>>,
}

impl Write {
    fn sector(&self, sector: usize) -> Sector {
        let start = (sector - self.sectors.start) * SECTOR;
        let content = self.content.as_deref().unwrap_or_default();
        let part = content.get(start..).and_then(|rest| rest.first_chunk());
        part.copied().unwrap_or([0; SECTOR])
    }
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
        self.seen.read(buffer, offset as usize)
    }

    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        let start = offset as usize;
        let end = start + bytes.len();
        self.seen.write(bytes, start);
        if bytes.is_empty() {
            return;
        }
        let sectors = start / SECTOR..end.div_ceil(SECTOR);
        let whole = start.is_multiple_of(SECTOR) && end.is_multiple_of(SECTOR);
        let content = (!whole || !is_zero(bytes)).then(|| {
            let mut content = vec![0; sectors.len() * SECTOR];
            self.seen.read(&mut content, sectors.start * SECTOR);
            content.into()
        });
        self.writes.push(Write { sectors, content });
    }

    /// What is cut off is gone at once, so that it can't come back when the file grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        let len = len as usize;
        self.seen.resize(len);
        if len < self.durable.len() {
            self.durable.resize(len);
        }
        let sectors = len.div_ceil(SECTOR);
        for write in &mut self.writes {
            write.sectors.end = write.sectors.end.min(sectors);
        }
        self.writes.retain(|write| !write.sectors.is_empty());
        self.lost.split_off(&sectors);
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.seen.len());
        for Write { sectors, .. } in self.writes.drain(..) {
            let part = sectors.start * SECTOR..sectors.end * SECTOR;
            self.durable.copy(&self.seen, part);
            if !self.lost.is_empty() {
                self.lost.retain(|sector, _| !sectors.contains(sector));
            }
        }
    }

    pub(super) fn fail_sync(&mut self) {
        for write in self.writes.drain(..) {
            for sector in write.sectors.clone() {
                let versions = self.lost.entry(sector).or_default();
                versions.push(write.sector(sector));
            }
        }
    }

    pub(super) fn crash(&mut self, dice: &mut Dice) {
        if dice.below(2) == 0 {
            self.durable.resize(self.seen.len());
        }
        // A crash is a sync that has failed, and more.
        self.fail_sync();
        for (sector, versions) in std::mem::take(&mut self.lost) {
            let choice = dice.below(versions.len() as u64 + 1) as usize;
            if let Some(version) = versions.get(choice) {
                self.durable.put_sector(sector, version);
            }
        }
        self.seen = self.durable.clone();
    }

    pub(super) fn flip(&mut self, offset: usize, mask: u8) {
        for bytes in [&mut self.seen, &mut self.durable] {
            bytes.flip(offset, mask);
        }
    }
}
