//! Outcomes as a table, and ratios between its rows.

use std::time::Duration;

use crate::{plan::Outcome, statistics::median};

pub struct Row {
    pub name: String,
    pub rounds: Vec<Outcome>,
}

pub fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default().max(4);
    println!("{:<width$} {:>10} {:>9} {:>9} {:>9} {:>8}", "name", "per second", "p50 ms", "p99 ms", "max ms", "errors");
    for Row { name, rounds } in rows {
        let Outcome { per_second, p50, p99, max, errors, .. } = Outcome::of_rounds(rounds);
        let (p50, p99, max) = (ms(p50), ms(p99), ms(max));
        println!("{name:<width$} {per_second:>10.0} {p50:>9} {p99:>9} {max:>9} {errors:>8}");
    }
    for Row { name, rounds } in rows {
        if let Some(error) = rounds.iter().find_map(|round| round.first_error.as_ref()) {
            println!("  {name}: the first error was {error}");
        }
    }
}

/// Prints the throughput of the row whose name begins with `name`, relative to that of the row whose name begins with
/// `of`; nothing if there is no such row.
pub fn compare(rows: &[Row], name: &str, of: &str, target: &str) {
    let find = |name: &str| rows.iter().find(|row| row.name.starts_with(name));
    let (Some(a), Some(b)) = (find(name), find(of)) else { return };
    if let Some(Ratio { median_ratio, min, max }) = Ratio::of(&a.rounds, &b.rounds) {
        let (median_ratio, min, max) = (share(median_ratio), share(min), share(max));
        println!("{name}: {median_ratio} of {of} ({target}); round by round {min} to {max}");
    }
}

fn share(ratio: f64) -> String {
    if ratio < 10.0 { format!("{:.0} %", ratio * 100.0) } else { format!("{ratio:.0} times") }
}

/// The ratio of two rates, taken within each round, since the machine's speed changes from round to round.
#[derive(Debug, PartialEq)]
struct Ratio {
    median_ratio: f64,
    min: f64,
    max: f64,
}

impl Ratio {
    fn of(a: &[Outcome], b: &[Outcome]) -> Option<Self> {
        let pairs = a.iter().zip(b).filter(|(_, b)| b.per_second > 0.0);
        let ratios: Vec<_> = pairs.map(|(a, b)| a.per_second / b.per_second).collect();
        let (min, max) = (ratios.iter().copied().reduce(f64::min)?, ratios.iter().copied().reduce(f64::max)?);
        Some(Self { median_ratio: median(ratios), min, max })
    }
}

pub fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_compared_round_by_round() {
        let rounds = |rates: [f64; 3]| rates.map(|per_second| Outcome { per_second, ..Outcome::default() });
        let ratio = Ratio::of(&rounds([90.0, 40.0, 20.0]), &rounds([100.0, 50.0, 10.0]));
        assert_eq!(ratio, Some(Ratio { median_ratio: 0.9, min: 0.8, max: 2.0 }));
        assert_eq!(Ratio::of(&rounds([1.0; 3]), &rounds([0.0; 3])), None);
        assert_eq!((share(0.664), share(339.8)), ("66 %".to_owned(), "340 times".to_owned()));
    }
}
