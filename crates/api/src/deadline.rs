//! Deadlines: what the caller set in `grpc-timeout` or for an operation of a stream, or the default.
//!
//! Of what the caller set a little is kept for the way of the answer. Otherwise it would meet its own end of the call there, where
//! the caller's gRPC library says `DEADLINE_EXCEEDED` and nothing about what became of the request.

use std::time::Duration;

use model::limits;
use tonic::metadata::MetadataMap;

use crate::Error;

/// For data operations, where the caller sets none.
pub const DEFAULT_DATA: Duration = Duration::from_secs(5);
/// For administration, where the caller sets none.
pub const DEFAULT_ADMIN: Duration = Duration::from_secs(60);

/// The most that is kept for the answer.
const MAX_WAY_BACK: Duration = Duration::from_millis(100);

/// The time that a caller gives a data operation.
///
/// Longer than [`limits::MAX_DATA_DEADLINE_MILLIS`] counts as that: a write must not be tried for longer
/// than shards remember its identity.
pub fn of_data(metadata: &MetadataMap) -> Result<Duration, Error> {
    Ok(bounded(from_metadata(metadata)?))
}

/// The same of an operation that came over a stream, in milliseconds; 0 for none.
pub fn of_operation(timeout_millis: u32) -> Duration {
    let given = Duration::from_millis(timeout_millis.into());
    bounded((timeout_millis > 0).then(|| without_way_back(given)))
}

fn bounded(time: Option<Duration>) -> Duration {
    let most = Duration::from_millis(limits::MAX_DATA_DEADLINE_MILLIS);
    time.unwrap_or(DEFAULT_DATA).min(most)
}

/// The time that a caller gives an administrative operation.
pub fn of_admin(metadata: &MetadataMap) -> Result<Duration, Error> {
    Ok(from_metadata(metadata)?.unwrap_or(DEFAULT_ADMIN))
}

fn from_metadata(metadata: &MetadataMap) -> Result<Option<Duration>, Error> {
    let Some(value) = metadata.get("grpc-timeout") else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(parse);
    parsed
        .map(|time| Some(without_way_back(time)))
        .ok_or_else(|| Error::invalid("grpc-timeout", "not a timeout of gRPC's form"))
}

fn without_way_back(time: Duration) -> Duration {
    time.saturating_sub((time / 5).min(MAX_WAY_BACK))
}

/// `TimeoutValue TimeoutUnit`: 1 to 8 digits and one of `H M S m u n`.
fn parse(text: &str) -> Option<Duration> {
    let unit = text.bytes().last()?;
    let digits = text.get(..text.len() - 1)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let value = digits.parse::<u64>().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(value * 3600),
        b'M' => Duration::from_secs(value * 60),
        b'S' => Duration::from_secs(value),
        b'm' => Duration::from_millis(value),
        b'u' => Duration::from_micros(value),
        b'n' => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit_of_grpc() {
        assert_eq!(parse("2S"), Some(Duration::from_secs(2)));
        assert_eq!(parse("1500m"), Some(Duration::from_millis(1500)));
        assert_eq!(
            parse("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for text in ["", "S", "5", "-1S", "123456789S", "1X", "1é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_missing_deadline_is_the_default_and_a_long_one_is_bounded() {
        let mut metadata = MetadataMap::new();
        assert_eq!(of_data(&metadata), Ok(DEFAULT_DATA));
        metadata.insert("grpc-timeout", "5H".parse().unwrap());
        assert_eq!(of_data(&metadata), Ok(Duration::from_secs(60)));
        let five_hours = Duration::from_secs(5 * 3600);
        assert_eq!(
            of_admin(&metadata),
            Ok(five_hours.saturating_sub(MAX_WAY_BACK))
        );
    }

    #[test]
    fn an_operation_of_a_stream_has_the_deadline_that_a_call_would_have() {
        assert_eq!(of_operation(0), DEFAULT_DATA);
        assert_eq!(of_operation(1), Duration::from_micros(800));
        assert_eq!(of_operation(2000), Duration::from_millis(1900));
        assert_eq!(of_operation(u32::MAX), Duration::from_secs(60));
    }

    #[test]
    fn a_little_is_kept_for_the_way_of_the_answer() {
        let given = |timeout: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", timeout.parse().unwrap());
            of_data(&metadata).unwrap()
        };
        assert_eq!(given("100m"), Duration::from_millis(80));
        assert_eq!(given("2S"), Duration::from_millis(1900));
        assert_eq!(given("0m"), Duration::ZERO);
    }
}
