//! What can go wrong with the log.

use std::io;

use model::ShardId;

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file system refused something. From [`Log::write`](super::Log::write) or
    /// [`Log::sync`](super::Log::sync) this is final: the log takes nothing more.
    #[error("the log can't {context}: {source}")]
    Io {
        /// What was to be done, and to which file.
        context: String,
        /// What the file system said.
        source: io::Error,
    },
    /// Something that was durable is not what was written. It is never taken for a torn end.
    #[error("the log is damaged in segment {segment} at byte {offset}: {detail}")]
    Damaged {
        /// Sequence number of the segment; its file is `<this in 16 hexadecimal digits>.log`.
        segment: u64,
        /// Where in the file the trouble begins.
        offset: u64,
        /// What is wrong there.
        detail: String,
    },
    /// A segment was written by a newer version of this software.
    #[error("segment {segment} of the log has format {found}, this version knows {known} at most")]
    NewerFormat {
        /// Sequence number of the segment.
        segment: u64,
        /// Its format.
        found: u32,
        /// The newest format that this version reads.
        known: u32,
    },
    /// A record does not fit onto what the log has of its group, or is too large. Nothing of the batch
    /// was written, and the log goes on.
    #[error("a record of group {group} is refused: {detail}")]
    Refused {
        /// The group.
        group: ShardId,
        /// What is wrong with the record.
        detail: String,
    },
    /// An earlier write or sync failed. After that nothing is certain about what the disk holds, so this
    /// log takes no more; the process must end, and recovery finds out what is there.
    #[error("the log has failed before and takes no more")]
    Failed,
}

impl LogError {
    /// Names what was to be done, for `map_err`.
    pub(super) fn io(context: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let context = context.into();
        |source| Self::Io { context, source }
    }

    pub(super) fn damaged(segment: u64, offset: u64, detail: impl Into<String>) -> Self {
        Self::Damaged {
            segment,
            offset,
            detail: detail.into(),
        }
    }
}
