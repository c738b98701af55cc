//! Figures in columns.

use std::time::Duration;

use super::plan::Outcome;

pub struct Row {
    pub name: String,
    pub outcome: Outcome,
}

pub fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.name.chars().count()).max().unwrap_or_default().max(4);
    println!("{:<width$} {:>10} {:>9} {:>9} {:>9} {:>8}", "name", "per second", "p50 ms", "p99 ms", "max ms", "errors");
    for Row { name, outcome } in rows {
        let Outcome { per_second, p50, p99, max, errors, .. } = outcome;
        let (p50, p99, max) = (ms(*p50), ms(*p99), ms(*max));
        println!("{name:<width$} {per_second:>10.0} {p50:>9} {p99:>9} {max:>9} {errors:>8}");
    }
    for Row { name, outcome } in rows {
        if let Some(error) = &outcome.first_error {
            println!("  {name}: the first error was {error}");
        }
    }
}

pub fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1000.0)
}
