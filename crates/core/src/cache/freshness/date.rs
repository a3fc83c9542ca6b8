//! HTTP dates as caches parse them (RFC 9110 section 5.6.7, RFC 9111 section 4.2).

use std::time::Duration;

const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];
const DAYS: [&[u8]; 7] = [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// Parses a date in one of the three formats of HTTP, as time since the Unix epoch; earlier dates become the epoch.
///
/// Names are matched without case, as caches should. The day of the week must be a valid name but need not fit the
/// date. Anything else is not a date, above all other time zones.
pub(crate) fn parse_date(value: &[u8]) -> Option<Duration> {
    let value = value.trim_ascii();
    let comma = value.iter().position(|byte| *byte == b',');
    match comma {
        // Sun, 06 Nov 1994 08:49:37 GMT
        Some(3) => {
            day_of_week(&value[..3])?;
            let fields: &[u8; 25] = value[4..].try_into().ok()?;
            let [b' ', d1, d2, b' ', m1, m2, m3, b' ', year @ .., b' ', _, _, _, _, _, _, _, _, b' ', _, _, _] = fields
            else {
                return None;
            };
            zone(&fields[22..])?;
            seconds(number(year)?, month([*m1, *m2, *m3])?, number(&[*d1, *d2])?, &fields[13..21])
        }
        // Sunday, 06-Nov-94 08:49:37 GMT
        Some(end) => {
            DAYS.iter().find(|name| name.eq_ignore_ascii_case(&value[..end]))?;
            let fields: &[u8; 23] = value[end + 1..].try_into().ok()?;
            let [b' ', d1, d2, b'-', m1, m2, m3, b'-', y1, y2, b' ', _, _, _, _, _, _, _, _, b' ', _, _, _] = fields
            else {
                return None;
            };
            zone(&fields[20..])?;
            let year = number(&[*y1, *y2])?;
            // A two-digit year that would be more than about fifty years ahead is of the last century.
            let year = if year < 70 { 2000 + year } else { 1900 + year };
            seconds(year, month([*m1, *m2, *m3])?, number(&[*d1, *d2])?, &fields[11..19])
        }
        // Sun Nov  6 08:49:37 1994
        None => {
            let fields: &[u8; 24] = value.try_into().ok()?;
            let [_, _, _, b' ', m1, m2, m3, b' ', d1, d2, b' ', _, _, _, _, _, _, _, _, b' ', year @ ..] = fields
            else {
                return None;
            };
            day_of_week(&fields[..3])?;
            let day = if *d1 == b' ' { number(&[*d2])? } else { number(&[*d1, *d2])? };
            seconds(number(year)?, month([*m1, *m2, *m3])?, day, &fields[11..19])
        }
    }
}

fn day_of_week(name: &[u8]) -> Option<()> {
    DAYS.iter().any(|day| day[..3].eq_ignore_ascii_case(name)).then_some(())
}

fn zone(name: &[u8]) -> Option<()> {
    name.eq_ignore_ascii_case(b"gmt").then_some(())
}

/// 1 to 12.
fn month(name: [u8; 3]) -> Option<u64> {
    MONTHS.iter().zip(1..).find_map(|(month, number)| month.eq_ignore_ascii_case(&name).then_some(number))
}

fn number(digits: &[u8]) -> Option<u64> {
    let add = |sum: u64, digit: &u8| digit.is_ascii_digit().then(|| sum * 10 + u64::from(digit - b'0'));
    digits.iter().try_fold(0, add)
}

/// The time since the epoch; `time` is `08:49:37`.
fn seconds(year: u64, month: u64, day: u64, time: &[u8]) -> Option<Duration> {
    let &[h1, h2, b':', m1, m2, b':', s1, s2] = time else { return None };
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[m1, m2])?, number(&[s1, s2])?);
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let longest = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    // A minute may have a leap second.
    if day == 0 || day > longest || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    if year < 1970 {
        return Some(Duration::ZERO);
    }
    // Days before the year and before the month; a year begins in March here, so that February is last.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    let since = days - 719_468;
    Some(Duration::from_secs(since * 86_400 + hour * 3600 + minute * 60 + second))
}
