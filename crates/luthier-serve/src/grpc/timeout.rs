//! How long a client waits.

use std::time::Duration;

use hyper::header::HeaderMap;

/// The time that `grpc-timeout` gives, `None` where it is absent or, as gRPC's own servers have it,
/// cannot be read: at most eight digits and a unit.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get("grpc-timeout")?.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |number, digit| 10 * number + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(3600 * number),
        b'M' => Duration::from_secs(60 * number),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts() {
        let check = |text: &'static str, expected: Option<Duration>| {
            let headers = HeaderMap::from_iter([(
                "grpc-timeout".parse().unwrap(),
                hyper::header::HeaderValue::from_static(text),
            )]);
            assert_eq!(timeout(&headers), expected, "{text}");
        };
        check("0n", Some(Duration::ZERO));
        check("15u", Some(Duration::from_micros(15)));
        check("250m", Some(Duration::from_millis(250)));
        check("00000002S", Some(Duration::from_secs(2)));
        check("2M", Some(Duration::from_secs(120)));
        check("99999999H", Some(Duration::from_secs(99_999_999 * 3600)));
        for wrong in ["", "S", "5", "5s", "+5S", "-5S", "1.5S", "100000000S", "5S ", "5 S"] {
            check(wrong, None);
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
