//! The times that CloudTrail writes: RFC 3339 for events, and for expirations whatever the service's own log had.

use chrono::NaiveDateTime;
use ledger::types::Time;

/// Forms of `credentials.expiration` without a zone, which are UTC: `Jul 10, 2023, 1:04:53 PM`, the same without the
/// second comma, the form of ISO 8601 without separators, and with a space.
const FORMS: &[&str] =
    &["%b %d, %Y, %I:%M:%S %p", "%b %d, %Y %I:%M:%S %p", "%Y%m%dT%H%M%SZ", "%Y-%m-%d %H:%M:%S"];

/// From here on a number is milliseconds since 1970, below it seconds: the seconds of the year 5138.
const MILLIS_FROM: i64 = 100_000_000_000;

/// Reads an expiration; `None` where it has none of the known forms.
pub(super) fn parse(text: &str) -> Option<Time> {
    text.parse().ok().or_else(|| epoch(text)).or_else(|| written_out(text))
}

fn epoch(text: &str) -> Option<Time> {
    // Some writers add a fraction; whole units are precise enough for an end.
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    match whole.parse::<i64>().ok()? {
        ..=0 => None,
        seconds @ 1..MILLIS_FROM => Time::from_parts(seconds, 0),
        millis => millis.checked_mul(1_000_000).map(Time),
    }
}

fn written_out(text: &str) -> Option<Time> {
    // Newer versions of Java put a narrow no-break space before AM and PM.
    let text: String = text.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    let parsed = FORMS.iter().find_map(|form| NaiveDateTime::parse_from_str(text.trim(), form).ok())?;
    parsed.and_utc().timestamp_nanos_opt().map(Time)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn every_form_of_the_same_moment_is_the_same_time() {
        for form in [
            "Jul 10, 2023, 1:04:53 PM",
            "Jul 10, 2023 1:04:53 PM",
            "Jul 10, 2023, 1:04:53\u{202F}PM",
            "2023-07-10T13:04:53Z",
            "2023-07-10T15:04:53+02:00",
            "2023-07-10T13:04:53.000Z",
            "20230710T130453Z",
            "2023-07-10 13:04:53",
            "1688994293000",
            "1688994293",
            "1688994293.0",
        ] {
            let time = parse(form).unwrap_or_else(|| panic!("{form}"));
            assert_eq!(time.to_string(), "2023-07-10T13:04:53Z", "{form}");
        }
    }

    #[test]
    fn midnight_and_noon_are_told_apart() {
        assert_eq!(parse("Jan 1, 2024, 12:00:00 AM").unwrap().to_string(), "2024-01-01T00:00:00Z");
        assert_eq!(parse("Jan 1, 2024, 12:00:00 PM").unwrap().to_string(), "2024-01-01T12:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in
            ["", "soon", "0", "-5", "99999999999999999999", "1688994293.x", "Jul 40, 2023, 1:04:53 PM"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
