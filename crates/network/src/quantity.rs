//! Kubernetes quantities, `10M` or `1.5Gi`, as annotations write them.

use std::str::FromStr;

/// Text that is not a quantity, or one too large to hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a quantity")]
pub struct QuantityError(String);

/// A non-negative amount, rounded up to a whole number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quantity(u64);

impl Quantity {
    /// The whole number.
    #[must_use]
    pub fn value(self) -> u64 {
        self.0
    }
}

/// What a suffix multiplies with, as numerator and denominator.
fn factor(suffix: &str) -> Option<(u128, u128)> {
    let binary = |power: u32| Some((1_u128 << (10 * power), 1));
    match suffix {
        "n" => return Some((1, 1_000_000_000)),
        "u" => return Some((1, 1_000_000)),
        "m" => return Some((1, 1_000)),
        "" => return Some((1, 1)),
        "k" => return Some((1_000, 1)),
        "M" => return Some((1_000_000, 1)),
        "G" => return Some((1_000_000_000, 1)),
        "T" => return Some((1_000_000_000_000, 1)),
        "P" => return Some((1_000_000_000_000_000, 1)),
        "E" => return Some((1_000_000_000_000_000_000, 1)),
        "Ki" => return binary(1),
        "Mi" => return binary(2),
        "Gi" => return binary(3),
        "Ti" => return binary(4),
        "Pi" => return binary(5),
        "Ei" => return binary(6),
        _ => {}
    }
    // A decimal exponent: `e3`, `E-2`. A bare `E` was exa above.
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_u128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

fn parse(text: &str) -> Option<u64> {
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || fraction.contains('.') {
        return None;
    }
    let mantissa: u128 = digits.parse().ok()?;
    let scale = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let (numerator, denominator) = factor(suffix)?;
    let amount = mantissa
        .checked_mul(numerator)?
        .div_ceil(denominator.checked_mul(scale)?);
    u64::try_from(amount).ok()
}

impl FromStr for Quantity {
    type Err = QuantityError;

    /// Takes a decimal number with an SI suffix (`n u m k M G T P E`), a binary one (`Ki` to
    /// `Ei`), or an exponent (`e3`).
    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse(text)
            .map(Self)
            .ok_or_else(|| QuantityError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("+7", 7),
            ("10M", 10_000_000),
            ("1Mi", 1_048_576),
            ("1.5Gi", 1_610_612_736),
            ("100k", 100_000),
            ("1500m", 2),
            ("1000m", 1),
            ("0.1", 1),
            (".5k", 500),
            ("5.", 5),
            ("1e3", 1000),
            ("1E3", 1000),
            ("1E", 1_000_000_000_000_000_000),
            ("15e-1", 2),
            ("1n", 1),
            ("15Ei", 17_293_822_569_102_704_640),
        ] {
            assert_eq!(text.parse(), Ok(Quantity(value)), "{text}");
        }
        for bad in [
            "",
            ".",
            "-1",
            "1.2.3",
            "M",
            "1K",
            "1ki",
            "1 M",
            "16Ei",
            "1e99",
            "1e",
            "0x10",
            "1MM",
            "99999999999999999999999999999999999999999",
        ] {
            assert!(bad.parse::<Quantity>().is_err(), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics_and_whole_numbers_keep_their_value(text in "\\PC{0,24}", number: u64) {
            drop(text.parse::<Quantity>());
            proptest::prop_assert_eq!(number.to_string().parse(), Ok(Quantity(number)));
        }
    }
}
