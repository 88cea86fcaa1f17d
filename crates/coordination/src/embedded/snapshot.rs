//! The snapshot: the whole tree at one transaction, so that the journal before it can go.
//!
//! ```text
//! file = magic(8) crc32 of the rest(4) postcard of (zxid, [(path, znode)])
//! ```
//!
//! It is written beside the old one, synced and renamed, so a crash leaves one of the two, whole. A snapshot
//! that does not check was damaged later, and is refused.

use std::fs;
use std::io;
use std::path::Path;

use super::journal::{unavailable, write_whole};
use crate::Error;
use crate::tree_state::{Node, State};

const MAGIC: [u8; 8] = *b"MDSNAPS\x01";
const HEADER: usize = 12;

/// Writes the state to a file; returns its length.
pub(super) fn write(path: &Path, state: &State) -> io::Result<u64> {
    let body = (state.zxid(), state.export());
    let body = postcard::to_stdvec(&body).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&crc32fast::hash(&body).to_le_bytes());
    bytes.extend_from_slice(&body);
    write_whole(path, &bytes)?;
    Ok(bytes.len() as u64)
}

/// The state in a file, and the file's length. `None`: there is no file.
pub(super) fn read(path: &Path) -> Result<Option<(State, u64)>, Error> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unavailable(path, &error)),
    };
    match decode(&bytes) {
        Ok(state) => Ok(Some((state, bytes.len() as u64))),
        Err(reason) => Err(Error::Damaged {
            file: path.display().to_string(),
            offset: 0,
            reason,
        }),
    }
}

fn decode(bytes: &[u8]) -> Result<State, String> {
    let body = bytes
        .get(HEADER..)
        .filter(|_| bytes.starts_with(&MAGIC))
        .ok_or("it does not begin like a snapshot of this version")?;
    if bytes[MAGIC.len()..HEADER] != crc32fast::hash(body).to_le_bytes() {
        return Err("its checksum does not match".into());
    }
    let (zxid, nodes): (i64, Vec<(String, Node)>) =
        postcard::from_bytes(body).map_err(|error| error.to_string())?;
    State::import(zxid, nodes).ok_or_else(|| "its znodes don't make a tree".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CreateMode, Operation};

    #[test]
    fn a_snapshot_gives_the_state_back_and_any_flipped_bit_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("snapshot");
        let mut state = State::new();
        let operations = vec![
            Operation::create("/a", "1", CreateMode::Persistent),
            Operation::create("/a/b-", "2", CreateMode::EphemeralSequential),
            Operation::set("/a", "3", 0),
        ];
        state.stage(7, operations).unwrap();
        let length = write(&path, &state).unwrap();
        assert_eq!(read(&path), Ok(Some((state, length))));

        let whole = fs::read(&path).unwrap();
        for offset in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[offset] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(
                matches!(read(&path), Err(Error::Damaged { .. })),
                "{offset}"
            );
        }
        assert_eq!(read(&directory.path().join("none")), Ok(None));
    }
}
