//! Compares two builds, which are measured in turn.

use crate::{
    plan::Outcome,
    statistics::{Median, median},
};

/// A ratio of throughputs below this counts as slower.
const SLOWER: f64 = 0.97;

/// The outcomes of a benchmark for both builds, by round.
#[derive(Default)]
pub struct Comparison {
    pub name: String,
    pub this: Vec<Outcome>,
    pub that: Vec<Outcome>,
}

impl Comparison {
    /// The throughput of this divided by that, taken within each round, since the machine's speed changes from round to
    /// round.
    fn ratio(&self) -> Option<Median> {
        let pairs = self.this.iter().zip(&self.that).filter(|(_, that)| that.per_second > 0.0);
        Median::of(pairs.map(|(this, that)| this.per_second / that.per_second).collect())
    }

    /// Whether the whole confidence interval is below [`SLOWER`].
    fn is_slower(&self) -> bool {
        self.ratio().is_some_and(|ratio| ratio.high < SLOWER)
    }
}

pub fn print(comparisons: &[Comparison]) {
    let width = comparisons.iter().map(|comparison| comparison.name.chars().count()).max().unwrap_or_default();
    println!("{:<width$} {:>9} {:>9} {:>10} {:>14}", "", "this/s", "that/s", "this/that", "95 % interval");
    for comparison in comparisons {
        println!("{}", line(comparison, width));
    }
    for Comparison { name, this, that } in comparisons {
        for (side, rounds) in [("this", this), ("that", that)] {
            let Outcome { errors, first_error: Some(error), .. } = Outcome::of_rounds(rounds) else { continue };
            println!("  {name}, {side}: {errors} errors, the first was {error}");
        }
    }
    println!("\n{}", conclusion(comparisons));
}

fn line(comparison: &Comparison, width: usize) -> String {
    let Comparison { name, this, that } = comparison;
    let per_second = |rounds: &[Outcome]| median(rounds.iter().map(|round| round.per_second).collect());
    let (this, that) = (per_second(this), per_second(that));
    let rates = format!("{name:<width$} {this:>9.0} {that:>9.0}");
    match comparison.ratio() {
        Some(Median { value, low, high }) => {
            let mark = if comparison.is_slower() { "  slower" } else { "" };
            format!("{rates} {value:>10.3} {low:>5.3} to {high:>5.3}{mark}")
        }
        None => format!("{rates} {:>10} {:>14}", "-", "-"),
    }
}

fn conclusion(comparisons: &[Comparison]) -> String {
    let names = |which: &dyn Fn(&Comparison) -> bool| {
        let names: Vec<_> = comparisons.iter().filter(|one| which(one)).map(|one| format!("`{}`", one.name)).collect();
        names.join(", ")
    };
    let slower = match names(&Comparison::is_slower) {
        none if none.is_empty() => "Nothing is slower".to_owned(),
        slower => format!("Slower: {slower}"),
    };
    let unknown = match names(&|one| one.ratio().is_none()) {
        none if none.is_empty() => String::new(),
        unknown => format!(" Could not be compared: {unknown}."),
    };
    format!("{slower} (95 % interval below {SLOWER}).{unknown}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn comparison(name: &str, this: [f64; 6], that: [f64; 6]) -> Comparison {
        let rounds = |rates: [f64; 6]| {
            rates.into_iter().map(|per_second| Outcome { per_second, ..Outcome::default() }).collect()
        };
        Comparison { name: name.to_owned(), this: rounds(this), that: rounds(that) }
    }

    #[test]
    fn a_change_of_the_machines_speed_changes_no_ratio() {
        let speed = [100.0, 50.0, 200.0, 80.0, 120.0, 10.0];
        let same = comparison("same", speed, speed);
        assert_eq!(same.ratio(), Some(Median { value: 1.0, low: 1.0, high: 1.0 }));
        let half = comparison("half", speed.map(|rate| rate / 2.0), speed);
        assert_eq!(half.ratio(), Some(Median { value: 0.5, low: 0.5, high: 0.5 }));
        assert_eq!(line(&half, 6), "half          45        90      0.500 0.500 to 0.500  slower");
    }

    #[test]
    fn slower_means_the_whole_interval_is_below_the_limit() {
        let that = [100.0; 6];
        let doubtful = comparison("doubtful", [90.0, 91.0, 92.0, 93.0, 94.0, 99.0], that);
        let slower = comparison("slower", [90.0, 91.0, 92.0, 93.0, 94.0, 96.0], that);
        assert!(!doubtful.is_slower());
        assert!(slower.is_slower());
        assert_eq!(conclusion(&[doubtful]), "Nothing is slower (95 % interval below 0.97).");
        let broken = comparison("broken", that, [0.0; 6]);
        assert_eq!(
            conclusion(&[slower, broken]),
            "Slower: `slower` (95 % interval below 0.97). Could not be compared: `broken`."
        );
    }
}
