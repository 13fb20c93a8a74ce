//! Moments and durations, as people write and read them.

use std::str::FromStr;
use std::time::Duration;

use ledger::types::Time;
use prost_types::Timestamp;

use crate::wire::pb;

/// A position or a time: what follows `--at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// After the event at this position.
    Position(u64),
    /// What had occurred by then.
    Time(Time),
}

/// A text is neither a position nor a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither a position such as 4711 nor a time in RFC 3339 such as 2024-09-11T00:00:00Z")]
pub struct NotAMoment;

impl FromStr for Moment {
    type Err = NotAMoment;
    fn from_str(text: &str) -> Result<Self, NotAMoment> {
        let position = text.parse().map(Self::Position);
        position.or_else(|_| text.parse().map(Self::Time)).map_err(|_| NotAMoment)
    }
}

/// A moment as the server is asked for it; `None`: now, with all that is known.
#[must_use]
pub fn as_of(at: Option<Moment>, known_at: Option<Time>) -> Option<pb::AsOf> {
    if at.is_none() && known_at.is_none() {
        return None;
    }
    let moment = at.map(|at| match at {
        Moment::Position(position) => pb::as_of::Moment::Position(position),
        Moment::Time(time) => pb::as_of::Moment::OccurredAt(timestamp(time)),
    });
    Some(pb::AsOf { moment, known_at: known_at.map(timestamp) })
}

/// A time as messages hold it.
#[must_use]
pub fn timestamp(time: Time) -> Timestamp {
    let (seconds, nanos) = time.parts();
    Timestamp { seconds, nanos }
}

/// A time out of a message; `None` where it is absent, or is no time.
#[must_use]
pub fn time(timestamp: Option<&Timestamp>) -> Option<Time> {
    timestamp.and_then(|t| Time::from_parts(t.seconds, t.nanos))
}

/// A time in full, in RFC 3339.
#[must_use]
pub fn in_full(timestamp: Option<&Timestamp>) -> Option<String> {
    time(timestamp).map(|time| time.to_string())
}

/// A time to the second, for tables; empty where there is none.
#[must_use]
pub fn to_the_second(time: Option<Time>) -> String {
    time.map(|time| Time(time.0 - time.0.rem_euclid(1_000_000_000)).to_string()).unwrap_or_default()
}

/// A text is no duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a duration such as 500ms, 5s or 2m")]
pub struct NotADuration;

/// Reads `500ms`, `5s`, `2m` or, in seconds, `5`.
///
/// # Errors
/// [`NotADuration`] where it is none of these, or zero.
pub fn duration(text: &str) -> Result<Duration, NotADuration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u32 = number.parse().map_err(|_| NotADuration)?;
    let duration = match unit {
        "ms" => Duration::from_millis(number.into()),
        "" | "s" => Duration::from_secs(number.into()),
        "m" => Duration::from_secs(u64::from(number) * 60),
        _ => return Err(NotADuration),
    };
    if duration.is_zero() { Err(NotADuration) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_position_or_a_time() {
        assert_eq!("17".parse(), Ok(Moment::Position(17)));
        assert_eq!("1970-01-01T00:00:01Z".parse(), Ok(Moment::Time(Time(1_000_000_000))));
        assert_eq!("yesterday".parse::<Moment>(), Err(NotAMoment));
        assert_eq!("-1".parse::<Moment>(), Err(NotAMoment));
    }

    #[test]
    fn no_moment_means_now_and_a_known_time_alone_is_sent() {
        assert_eq!(as_of(None, None), None);
        let known = as_of(None, Some(Time(5))).unwrap();
        assert_eq!((known.moment, known.known_at), (None, Some(Timestamp { seconds: 0, nanos: 5 })));
    }

    #[test]
    fn times_in_tables_end_at_the_second_also_before_1970() {
        assert_eq!(to_the_second(Some(Time(1_999_999_999))), "1970-01-01T00:00:01Z");
        assert_eq!(to_the_second(Some(Time(-1))), "1969-12-31T23:59:59Z");
        assert_eq!(to_the_second(None), "");
    }

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("7"), Ok(Duration::from_secs(7)));
        for bad in ["", "s", "0s", "1h", "5 s", "99999999999s"] {
            assert_eq!(duration(bad), Err(NotADuration), "{bad}");
        }
    }
}
