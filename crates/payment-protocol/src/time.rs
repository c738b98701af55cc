//! Times in UTC+8, where Alipay and WeChat Pay are.

/// Such as `2026-08-01 08:00:00`, of milliseconds since 1970 in UTC. Years beyond 9999 are cut to it, and 1970 is the first.
pub fn beijing(millis: i64) -> String {
    const DAY: i64 = 86_400;
    const LAST: i64 = 253_402_300_799;
    let seconds = millis.div_euclid(1_000).saturating_add(8 * 3_600).clamp(0, LAST);
    let (days, second) = (seconds / DAY, seconds % DAY);
    // The days of the civil calendar in eras of 400 years that begin on 1 March:
    // https://howardhinnant.github.io/date_algorithms.html#civil_from_days
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
}

/// The same as RFC 3339 writes it: `2026-08-01T08:00:00+08:00`.
pub fn rfc3339(millis: i64) -> String {
    format!("{}+08:00", beijing(millis).replace(' ', "T"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, expected) in [
            (0, "1970-01-01 08:00:00"),
            (951_782_399, "2000-02-29 07:59:59"),
            (951_839_999, "2000-02-29 23:59:59"),
            (951_840_000, "2000-03-01 00:00:00"),
            (1_793_505_600, "2026-11-01 12:00:00"),
            (1_798_732_799, "2026-12-31 23:59:59"),
            (1_798_732_800, "2027-01-01 00:00:00"),
            (4_107_513_599, "2100-02-28 23:59:59"),
            (4_107_513_600, "2100-03-01 00:00:00"),
        ] {
            assert_eq!(beijing(seconds * 1_000), expected);
        }
        assert_eq!(rfc3339(1_793_505_600_999), "2026-11-01T12:00:00+08:00");
        assert_eq!(
            (beijing(i64::MIN).as_str(), beijing(i64::MAX).as_str()),
            ("1970-01-01 00:00:00", "9999-12-31 23:59:59")
        );
    }
}
