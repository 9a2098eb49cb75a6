//! RFC 3339 dates and date-times as microseconds since 1970, and back.

use std::fmt::Write;

const DAY: i64 = 86_400_000_000;

/// Microseconds since 1970-01-01T00:00:00Z of `text`: `2024-05-06`, or
/// `2024-05-06T07:08:09.123Z` with `T`, `t` or a space between and `Z` or an offset behind. A time
/// without an offset, which RFC 3339 does not allow but most exports write, is taken as UTC. Digits
/// past the microsecond are dropped; second 60 counts as the next minute.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (date, rest) = (bytes.get(..10)?, &bytes[10..]);
    if date[4] != b'-' || date[7] != b'-' {
        return None;
    }
    let (year, month, day) = (number(&date[..4])?, number(&date[5..7])?, number(&date[8..])?);
    if !(1..=12).contains(&month) || !(1..=days_in(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * DAY;
    match rest.split_first() {
        None => Some(midnight),
        Some((b'T' | b't' | b' ', clock)) => Some(midnight + parse_clock(clock)?),
        Some(_) => None,
    }
}

/// Microseconds of `hh:mm:ss[.fraction][Z|±hh:mm]`, less the offset.
fn parse_clock(clock: &[u8]) -> Option<i64> {
    let (time, rest) = (clock.get(..8)?, &clock[8..]);
    if time[2] != b':' || time[5] != b':' {
        return None;
    }
    let (hour, minute, second) = (number(&time[..2])?, number(&time[3..5])?, number(&time[6..])?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (micros, rest) = match rest.split_first() {
        Some((b'.', tail)) => {
            let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
            let kept = number(&tail[..digits.min(6)])?;
            (kept * 10i64.pow(6 - digits.min(6) as u32), &tail[digits..])
        }
        _ => (0, rest),
    };
    let seconds = hour * 3600 + minute * 60 + second - parse_offset(rest)?;
    Some(seconds * 1_000_000 + micros)
}

/// Seconds east of UTC.
fn parse_offset(offset: &[u8]) -> Option<i64> {
    match offset {
        [] | [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), a, b, b':', c, d] => {
            let (hours, minutes) = (number(&[*a, *b])?, number(&[*c, *d])?);
            let seconds = hours * 3600 + minutes * 60;
            (hours < 24 && minutes < 60).then_some(if *sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    let whole = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    whole.then(|| digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// `2024-05-06` of a number of days since 1970.
pub(crate) fn date(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// `2024-05-06T07:08:09Z` of microseconds since 1970, with a fraction where there is one.
pub(crate) fn date_time(micros: i64) -> String {
    let (days, rest) = (micros.div_euclid(DAY), micros.rem_euclid(DAY));
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut text = format!("{}T{hour:02}:{minute:02}:{second:02}", date(days));
    if fraction != 0 {
        let digits = format!("{fraction:06}");
        // Writing to a string cannot fail.
        let _ = write!(text, ".{}", digits.trim_end_matches('0'));
    }
    text.push('Z');
    text
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: Howard Hinnant's `days_from_civil`,
/// which counts years from March so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse, by the same author.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{date_time, parse};

    /// Expected values from Python's `datetime.fromisoformat(text).timestamp()`.
    #[test]
    fn rfc_3339_is_read() {
        let check = |text: &str, expected: Option<i64>| assert_eq!(parse(text), expected, "{text}");
        check("1970-01-01", Some(0));
        check("2024-02-29", Some(1_709_164_800_000_000));
        check("2024-05-06T07:08:09Z", Some(1_714_979_289_000_000));
        check("2024-05-06 07:08:09.5+02:00", Some(1_714_972_089_500_000));
        check("1969-12-31T23:59:59.999999Z", Some(-1));
        check("2024-05-06t07:08:09.1234567z", Some(1_714_979_289_123_456));
        check("2024-05-06T07:08:09", Some(1_714_979_289_000_000));
        for bad in [
            "",
            "2024",
            "2023-02-29",
            "2024-13-01",
            "2024-05-06T",
            "2024-05-06T25:00:00Z",
            "2024-05-06T07:08:09.Z",
            "2024-05-06T07:08:09+2",
            "2024-05-06x",
            "２０２４-05-06",
            "06/05/2024",
            "2024-05-0é",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for micros in (-3_000_000_000_000_000..5_000_000_000_000_000i64).step_by(7_919_003_999_999)
        {
            assert_eq!(parse(&date_time(micros)), Some(micros), "{}", date_time(micros));
        }
        assert_eq!(date_time(1_714_979_289_120_000), "2024-05-06T07:08:09.12Z");
    }
}
