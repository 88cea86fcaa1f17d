//! One record of one group: its bytes.
//!
//! ```text
//!  0        8      12     13      16       28
//!  | check  | len  | type | 0 0 0 | group  | body (len bytes) …
//! ```
//!
//! | type | body |
//! |---|---|
//! | 1 append, 6 keep | first index `u64`, count `u32`, then per entry: term `u64`, length `u32`, kind `u8`, payload |
//! | 2 hard state | term `u64`, has vote `u8`, vote `u64` |
//! | 3 purge, 4 reset | index `u64`, term `u64` |
//! | 5 forget | nothing |
//! | 7 state | 1 if there is a hard state `u8`, the body of 2, the body of 3 |
//!
//! Numbers are little-endian. `check` is over everything behind it, seeded with the place (see
//! [`Seal`](super::batch::Seal)). Types 6 and 7 are the log's own: what a lagging or idle group still needs from an old
//! segment, written again. They add what the reader of the log may lack at that point and change
//! nothing else; in particular a *keep* truncates nothing behind it.

use model::ShardId;

use super::Record;
use super::batch::Seal;

/// Bytes before the body.
pub(super) const HEADER_LEN: usize = 28;
/// Bytes of an entry besides its payload.
pub(super) const ENTRY_LEN: usize = 13;
/// An append is cut into records of about this many bytes, because a record is read back as a whole.
pub(super) const SPLIT_LEN: usize = 256 * 1024;

const APPEND: u8 = 1;
const HARD_STATE: u8 = 2;
const PURGE: u8 = 3;
const RESET: u8 = 4;
const FORGET: u8 = 5;
const KEEP: u8 = 6;
const STATE: u8 = 7;

/// An index and its term.
pub(super) type Point = (u64, u64);
/// Term and vote.
pub(super) type Hard = (u64, Option<u64>);

/// A record, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View<'a> {
    pub(super) group: ShardId,
    pub(super) body: Body<'a>,
    /// Bytes of the whole record.
    pub(super) len: usize,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// These entries replace everything of the group from the first one on.
    Append(Entries<'a>),
    HardState(Hard),
    Purge(Point),
    Reset(Point),
    Forget,
    /// These entries were there already when this was written.
    Keep(Entries<'a>),
    /// These were the group's hard state and point already when this was written.
    State(Option<Hard>, Point),
}

/// The entries of a record: contiguous, and known to have the right shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entries<'a> {
    pub(super) first: u64,
    pub(super) count: u32,
    bytes: &'a [u8],
}

/// One entry, with its payload still in the record's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryView<'a> {
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

impl<'a> Entries<'a> {
    fn parse(body: &'a [u8]) -> Option<Self> {
        let (first, rest) = take_u64(body)?;
        let (count, bytes) = take_u32(rest)?;
        let mut rest = bytes;
        for _ in 0..count {
            (_, rest) = take_entry(rest, 0)?;
        }
        let fits = count > 0 && rest.is_empty() && first.checked_add(u64::from(count)).is_some();
        fits.then_some(Self {
            first,
            count,
            bytes,
        })
    }

    pub(super) fn iter(self) -> impl Iterator<Item = EntryView<'a>> {
        let mut rest = self.bytes;
        (self.first..self.first + u64::from(self.count)).map_while(move |index| {
            let (entry, behind) = take_entry(rest, index)?;
            rest = behind;
            Some(entry)
        })
    }

    pub(super) fn terms(self) -> impl Iterator<Item = u64> {
        self.iter().map(|entry| entry.term)
    }
}

/// Why bytes are not a record.
pub(super) type Malformed = &'static str;

/// Length of the record that begins here, if its header is all there and plausible.
pub(super) fn total_len(bytes: &[u8]) -> Option<usize> {
    let (len, _) = take_u32(bytes.get(8..)?)?;
    HEADER_LEN.checked_add(len as usize)
}

/// The checksum that stands at the start of a record; 0 if it isn't all there.
pub(super) fn stored_check(bytes: &[u8]) -> u64 {
    take_u64(bytes).map_or(0, |(check, _)| check)
}

/// Writes the checksum of a record for its place.
pub(super) fn seal(bytes: &mut [u8], seal: Seal, offset: u64) {
    if let Some((check, rest)) = bytes.split_first_chunk_mut::<8>() {
        *check = seal.check(offset, rest).to_le_bytes();
    }
}

/// Reads exactly one record that stands at `offset` of the sealed segment.
pub(super) fn parse(bytes: &[u8], seal: Seal, offset: u64) -> Result<View<'_>, Malformed> {
    let (check, rest) = take_u64(bytes).ok_or("a record without a header")?;
    if seal.check(offset, rest) != check && !mutant!(ChecksumSkipped) {
        return Err("a record's checksum doesn't match");
    }
    view(bytes)
}

/// Reads exactly one record without looking at its checksum.
pub(super) fn view(bytes: &[u8]) -> Result<View<'_>, Malformed> {
    if total_len(bytes) != Some(bytes.len()) {
        return Err("a record's length doesn't match");
    }
    let body = bytes.get(HEADER_LEN..).ok_or("a record without a body")?;
    let (kind, group) = bytes[12..HEADER_LEN]
        .split_first()
        .ok_or("a record without a type")?;
    let group = group.last_chunk().ok_or("a record without a group")?;
    Ok(View {
        group: ShardId::from_bytes(*group),
        body: parse_body(*kind, body).ok_or("a record's body doesn't fit its type")?,
        len: bytes.len(),
    })
}

fn parse_body(kind: u8, body: &[u8]) -> Option<Body<'_>> {
    let (parsed, rest) = match kind {
        APPEND => (Body::Append(Entries::parse(body)?), &body[..0]),
        KEEP => (Body::Keep(Entries::parse(body)?), &body[..0]),
        HARD_STATE => {
            let (hard, rest) = take_hard(body)?;
            (Body::HardState(hard), rest)
        }
        PURGE => {
            let (point, rest) = take_point(body)?;
            (Body::Purge(point), rest)
        }
        RESET => {
            let (point, rest) = take_point(body)?;
            (Body::Reset(point), rest)
        }
        FORGET => (Body::Forget, body),
        STATE => {
            let (has_hard, rest) = body.split_first()?;
            let (hard, rest) = take_hard(rest)?;
            let (point, rest) = take_point(rest)?;
            (Body::State((*has_hard != 0).then_some(hard), point), rest)
        }
        _ => return None,
    };
    rest.is_empty().then_some(parsed)
}

/// Appends records to `buffer`, without their checksums. Each call of `placed` names one record's place
/// in the buffer. Appends are cut at about [`SPLIT_LEN`].
pub(super) fn encode(record: &Record, buffer: &mut Vec<u8>, mut placed: impl FnMut(usize)) {
    match record {
        Record::Append { group, entries } => {
            let mut rest = entries.as_slice();
            while let Some(first) = rest.first() {
                let mut len = 0;
                let fits = |entry: &&super::LogEntry| {
                    let before = len;
                    len += ENTRY_LEN + entry.payload.len();
                    before == 0 || len <= SPLIT_LEN
                };
                let count = rest.iter().take_while(fits).count();
                let (now, later) = rest.split_at(count);
                placed(buffer.len());
                write_record(buffer, APPEND, *group, |b| {
                    put_entries(b, first.index, now.iter().map(super::LogEntry::view));
                });
                rest = later;
            }
        }
        Record::HardState { group, term, vote } => {
            placed(buffer.len());
            write_record(buffer, HARD_STATE, *group, |b| put_hard(b, (*term, *vote)));
        }
        Record::Purge { group, index, term } => {
            placed(buffer.len());
            write_record(buffer, PURGE, *group, |b| put_point(b, (*index, *term)));
        }
        Record::Reset { group, index, term } => {
            placed(buffer.len());
            write_record(buffer, RESET, *group, |b| put_point(b, (*index, *term)));
        }
        Record::Forget { group } => {
            placed(buffer.len());
            write_record(buffer, FORGET, *group, |_| {});
        }
    }
}

/// Appends a *keep* record. The entries must be contiguous and at least one.
pub(super) fn encode_keep<'a>(
    buffer: &mut Vec<u8>,
    group: ShardId,
    first: u64,
    entries: impl ExactSizeIterator<Item = EntryView<'a>>,
) {
    write_record(buffer, KEEP, group, |b| put_entries(b, first, entries));
}

/// Appends a *state* record.
pub(super) fn encode_state(buffer: &mut Vec<u8>, group: ShardId, hard: Option<Hard>, point: Point) {
    write_record(buffer, STATE, group, |b| {
        b.push(u8::from(hard.is_some()));
        put_hard(b, hard.unwrap_or_default());
        put_point(b, point);
    });
}

fn write_record(buffer: &mut Vec<u8>, kind: u8, group: ShardId, body: impl FnOnce(&mut Vec<u8>)) {
    let start = buffer.len();
    buffer.extend_from_slice(&[0; 12]);
    buffer.extend_from_slice(&[kind, 0, 0, 0]);
    buffer.extend_from_slice(&group.to_bytes());
    body(buffer);
    let len = (buffer.len() - start - HEADER_LEN) as u32;
    buffer[start + 8..start + 12].copy_from_slice(&len.to_le_bytes());
}

fn put_entries<'a>(
    buffer: &mut Vec<u8>,
    first: u64,
    entries: impl ExactSizeIterator<Item = EntryView<'a>>,
) {
    buffer.extend_from_slice(&first.to_le_bytes());
    buffer.extend_from_slice(&(entries.len() as u32).to_le_bytes());
    for entry in entries {
        buffer.extend_from_slice(&entry.term.to_le_bytes());
        buffer.extend_from_slice(&(entry.payload.len() as u32).to_le_bytes());
        buffer.push(entry.kind);
        buffer.extend_from_slice(entry.payload);
    }
}

fn put_hard(buffer: &mut Vec<u8>, (term, vote): Hard) {
    buffer.extend_from_slice(&term.to_le_bytes());
    buffer.push(u8::from(vote.is_some()));
    buffer.extend_from_slice(&vote.unwrap_or(0).to_le_bytes());
}

fn put_point(buffer: &mut Vec<u8>, (index, term): Point) {
    buffer.extend_from_slice(&index.to_le_bytes());
    buffer.extend_from_slice(&term.to_le_bytes());
}

fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u32::from_le_bytes(*number), rest))
}

fn take_u64(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_le_bytes(*number), rest))
}

fn take_hard(bytes: &[u8]) -> Option<(Hard, &[u8])> {
    let (term, rest) = take_u64(bytes)?;
    let (has_vote, rest) = rest.split_first()?;
    let (vote, rest) = take_u64(rest)?;
    Some(((term, (*has_vote != 0).then_some(vote)), rest))
}

fn take_point(bytes: &[u8]) -> Option<(Point, &[u8])> {
    let (index, rest) = take_u64(bytes)?;
    let (term, rest) = take_u64(rest)?;
    Some(((index, term), rest))
}

fn take_entry(bytes: &[u8], index: u64) -> Option<(EntryView<'_>, &[u8])> {
    let (term, rest) = take_u64(bytes)?;
    let (len, rest) = take_u32(rest)?;
    let (kind, rest) = rest.split_first()?;
    let (payload, rest) = rest.split_at_checked(len as usize)?;
    let entry = EntryView {
        index,
        term,
        kind: *kind,
        payload,
    };
    Some((entry, rest))
}
