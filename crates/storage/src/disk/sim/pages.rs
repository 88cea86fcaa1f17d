//! The bytes of a file, in pages that copies share until one of them writes.
//!
//! A crash copies every file, and a log reserves segments long before it fills them; neither may cost what
//! the files are long.

use std::ops::Range;
use std::sync::Arc;

pub(super) const SECTOR: usize = 512;
/// A multiple of [`SECTOR`].
const PAGE: usize = 16 * 1024;
static ZEROS: [u8; PAGE] = [0; PAGE];

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(PAGE).all(|part| *part == ZEROS[..part.len()])
}

/// Bytes in pages. Clones share them.
#[derive(Clone, Default)]
pub(super) struct Pages {
    len: usize,
    /// `None` where nothing but zeros is. What lies behind `len` in the last one is zeros, too.
    pages: Vec<Option<Arc<[u8; PAGE]>>>,
}

impl Pages {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Cuts, or grows by zeros.
    pub(super) fn resize(&mut self, len: usize) {
        if len < self.len
            && !len.is_multiple_of(PAGE)
            && let Some(Some(page)) = self.pages.get_mut(len / PAGE)
        {
            Arc::make_mut(page)[len % PAGE..].fill(0);
        }
        self.pages.resize(len.div_ceil(PAGE), None);
        self.len = len;
    }

    /// Reads what there is, and says how much that was.
    pub(super) fn read(&self, buffer: &mut [u8], offset: usize) -> usize {
        let count = self.len.saturating_sub(offset).min(buffer.len());
        let mut rest = &mut buffer[..count];
        let mut at = offset;
        while !rest.is_empty() {
            let (start, part) = (at % PAGE, rest.len().min(PAGE - at % PAGE));
            let (now, later) = rest.split_at_mut(part);
            match &self.pages[at / PAGE] {
                Some(page) => now.copy_from_slice(&page[start..start + part]),
                None => now.fill(0),
            }
            (rest, at) = (later, at + part);
        }
        count
    }

    /// Writes, and grows as far as that needs it.
    pub(super) fn write(&mut self, bytes: &[u8], offset: usize) {
        if self.len < offset + bytes.len() {
            self.resize(offset + bytes.len());
        }
        let (mut rest, mut at) = (bytes, offset);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(PAGE - at % PAGE));
            self.write_in_page(now, at);
            (rest, at) = (later, at + now.len());
        }
    }

    /// Writes what lies within a page and the length.
    fn write_in_page(&mut self, bytes: &[u8], at: usize) {
        let page = &mut self.pages[at / PAGE];
        if page.is_none() && is_zero(bytes) {
            return;
        }
        let page = page.get_or_insert_with(|| Arc::new([0; PAGE]));
        Arc::make_mut(page)[at % PAGE..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Takes over a part of other bytes, as far as it lies within the length.
    pub(super) fn copy(&mut self, from: &Self, part: Range<usize>) {
        let end = part.end.min(self.len).min(from.len);
        let mut at = part.start;
        while at < end {
            let (start, count) = (at % PAGE, (end - at).min(PAGE - at % PAGE));
            match &from.pages[at / PAGE] {
                Some(page) => self.write_in_page(&page[start..start + count], at),
                None => self.write_in_page(&ZEROS[..count], at),
            }
            at += count;
        }
    }

    /// Puts back as much of a sector as lies within the length.
    pub(super) fn put_sector(&mut self, sector: usize, content: &[u8; SECTOR]) {
        let start = sector * SECTOR;
        let count = self.len.saturating_sub(start).min(SECTOR);
        self.write(&content[..count], start.min(self.len));
    }

    /// Flips the bits of a mask, if there is such a byte.
    pub(super) fn flip(&mut self, offset: usize, mask: u8) {
        let mut byte = [0];
        if self.read(&mut byte, offset) == 1 {
            self.write(&[byte[0] ^ mask], offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same on plain bytes.
    fn resized(mut bytes: Vec<u8>, len: usize) -> Vec<u8> {
        bytes.resize(len, 0);
        bytes
    }

    fn all(pages: &Pages) -> Vec<u8> {
        let mut bytes = vec![9; pages.len() + 10];
        let count = pages.read(&mut bytes, 0);
        bytes.truncate(count);
        bytes
    }

    #[test]
    fn pages_are_plain_bytes() {
        let (mut pages, mut plain) = (Pages::default(), Vec::new());
        let lens = [1, 700, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 5];
        for (step, &len) in lens.iter().cycle().take(60).enumerate() {
            let offset = (step * 7919) % (2 * PAGE);
            let bytes = vec![step as u8 + 1; len];
            if plain.len() < offset + len {
                plain = resized(plain, offset + len);
            }
            plain[offset..offset + len].copy_from_slice(&bytes);
            pages.write(&bytes, offset);
            assert_eq!(all(&pages), plain, "step {step}");
            let cut = (step * 104_729) % (4 * PAGE);
            plain = resized(plain, cut);
            pages.resize(cut);
            // What was cut off does not come back.
            plain = resized(plain, cut + 2 * PAGE);
            pages.resize(cut + 2 * PAGE);
            assert_eq!(all(&pages), plain, "step {step}");
        }
    }

    #[test]
    fn copies_share_until_one_of_them_writes() {
        let mut pages = Pages::default();
        pages.write(&[1; 100], PAGE);
        let copy = pages.clone();
        pages.write(&[2], PAGE);
        pages.flip(PAGE + 1, 4);
        pages.put_sector(PAGE / SECTOR + 1, &[3; SECTOR]);
        assert_eq!(all(&pages)[PAGE..PAGE + 3], [2, 5, 1]);
        assert_eq!(all(&copy)[PAGE..], [1; 100]);
        let mut copied = copy.clone();
        copied.copy(&pages, PAGE + 1..PAGE + 2);
        assert_eq!(all(&copied)[PAGE..PAGE + 3], [1, 5, 1]);
        copied.copy(&Pages::default(), 0..2 * PAGE);
        assert_eq!(
            all(&copied)[PAGE..PAGE + 3],
            [1, 5, 1],
            "it has nothing there"
        );
    }
}
