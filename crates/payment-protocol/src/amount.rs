//! Amounts in yuan, as Alipay writes them.

use crate::wit::Error;

/// The amount in yuan, with two decimals.
pub fn yuan(fen: i64) -> Result<String, Error> {
    positive(fen)?;
    Ok(format!("{}.{:02}", fen / 100, fen % 100))
}

/// An amount can be charged or refunded only if there is one.
pub fn positive(amount: i64) -> Result<i64, Error> {
    if amount > 0 { Ok(amount) } else { Err(Error::Rejected("the amount is not positive".to_owned())) }
}

/// The amount in fen, of a text with at most two decimals.
pub fn fen(yuan: &str) -> Option<i64> {
    let (whole, part) = yuan.split_once('.').unwrap_or((yuan, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    if !are_digits(whole) || !are_digits(part) || part.len() > 2 {
        return None;
    }
    let tenths = if part.len() == 1 { 10 } else { 1 };
    whole.parse::<i64>().ok()?.checked_mul(100)?.checked_add(part.parse::<i64>().ok()? * tenths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yuan_have_two_decimals() {
        for (amount, text) in [(1, "0.01"), (10, "0.10"), (8888, "88.88"), (100_000_000_000, "1000000000.00")] {
            assert_eq!(yuan(amount).unwrap(), text);
            assert_eq!(fen(text), Some(amount));
        }
        assert!(yuan(0).is_err() && yuan(-1).is_err());
        assert_eq!((fen("5"), fen("5.1")), (Some(500), Some(510)));
        for text in ["", ".", "1.", ".1", "-1.00", "+1.00", "1.001", "1,00", "1e3", "92233720368547758.08"] {
            assert_eq!(fen(text), None, "{text}");
        }
    }
}
