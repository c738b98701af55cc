//! Statistics of repeated measurements.

/// The middle value, or the mean of the two middle ones; zero if there are no values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or_default();
    let half = values.len() / 2;
    if values.len() % 2 == 1 { at(half) } else { (at(half.saturating_sub(1)) + at(half)) / 2.0 }
}

/// A median with its confidence interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Median {
    /// The median of a sample, and an interval that contains the median of the population with a probability of at
    /// least 95 %. Nothing is assumed about the distribution: the interval reaches from the k-th smallest value to the
    /// k-th largest. It misses the true median only if fewer than k values lie on one side of it, and the number of
    /// values on one side is binomial, since each lies there with probability 1/2.
    ///
    /// W. J. Conover, *Practical Nonparametric Statistics*, 3rd edition, 1999, section 3.2; H. A. David and
    /// H. N. Nagaraja, *Order Statistics*, 3rd edition, 2003, section 7.1.
    ///
    /// None for fewer than six values: even the interval from the smallest to the largest would have less than 95 %.
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let k = rank(values.len());
        let low = *values.get(k.checked_sub(1)?)?;
        let high = *values.get(values.len() - k)?;
        Some(Self { value: median(values), low, high })
    }
}

/// The largest k for which 2 P(B < k) ≤ 5 %, where B is binomial with `count` trials of probability 1/2. Zero if there
/// is none.
fn rank(count: usize) -> usize {
    let n = count as f64;
    // P(B = k), from one k to the next; in logarithms, since 2^-n alone can be too small for a number.
    let mut logarithm = -n * std::f64::consts::LN_2;
    let mut below = 0.0;
    for k in 0..count {
        below += logarithm.exp();
        if 2.0 * below > 0.05 {
            return k;
        }
        logarithm += ((n - k as f64) / (k as f64 + 1.0)).ln();
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
        assert_eq!(median(Vec::new()), 0.0);
    }

    /// As in published tables of this interval.
    #[test]
    fn ranks_are_those_of_the_tables() {
        let known = [
            (0, 0),
            (5, 0),
            (6, 1),
            (8, 1),
            (9, 2),
            (11, 2),
            (12, 3),
            (15, 4),
            (17, 5),
            (20, 6),
            (25, 8),
            (30, 10),
            (50, 18),
            (100, 40),
        ];
        for (count, k) in known {
            assert_eq!(rank(count), k, "{count} values");
        }
        // 2^-5000 is too small for an `f64`, and the normal approximation is close: n/2 - 0.98 √n.
        assert!((2429..=2432).contains(&rank(5000)), "{}", rank(5000));
    }

    #[test]
    fn an_interval_excludes_as_many_values_on_both_sides() {
        let values = (1..=15).rev().map(f64::from).collect();
        assert_eq!(Median::of(values), Some(Median { value: 8.0, low: 4.0, high: 12.0 }));
        assert_eq!(Median::of((1..=5).map(f64::from).collect()), None);
        let one_outlier = vec![1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 50.0];
        assert_eq!(Median::of(one_outlier), Some(Median { value: 1.0, low: 1.0, high: 1.0 }));
    }

    /// With fifteen values, the interval contains the true median, here 1/2, with a probability of 96.5 %.
    #[test]
    fn an_interval_contains_the_true_median_as_often_as_it_says() {
        // Numbers between 0 and 1, the same in every run: https://en.wikipedia.org/wiki/Linear_congruential_generator
        let mut state = 1_u64;
        let mut random = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1_u64 << 53) as f64
        };
        let mut covered = 0;
        for _ in 0..4000 {
            let Some(median) = Median::of((0..15).map(|_| random()).collect()) else { continue };
            covered += usize::from(median.low <= 0.5 && 0.5 <= median.high);
        }
        assert!((3800..=3920).contains(&covered), "{covered} of 4000");
    }
}
