//! Kubernetes quantities: `100m`, `0.5`, `64Mi`, `1e3`.

use anyhow::{Context as _, bail};
use serde_yaml_ng::Value;

/// Decimal digits kept after the point; a quantity finer than that is rounded up, as Kubernetes
/// does.
const MILLI: f64 = 1000.0;

/// Thousandths of the quantity that a YAML value holds, rounded up.
///
/// # Errors
/// If it is neither a number nor a quantity, is negative, or is beyond 2^53.
pub(crate) fn milli(value: &Value) -> anyhow::Result<i64> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        other => bail!("{other:?} is not a quantity"),
    };
    parse(&text).with_context(|| format!("{text:?} is not a quantity"))
}

fn parse(text: &str) -> anyhow::Result<i64> {
    let (digits, factor) = split(text);
    let number: f64 = digits.parse()?;
    let scaled = (number * factor * MILLI).ceil();
    if !(0.0..9_007_199_254_740_992.0).contains(&scaled) {
        bail!("out of range");
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an integer within the range just checked"
    )]
    Ok(scaled as i64)
}

/// The number and what its suffix multiplies it by. A trailing `e3` is part of the number.
fn split(text: &str) -> (&str, f64) {
    const SUFFIXES: &[(&str, f64)] = &[
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("m", 0.001),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
    ];
    SUFFIXES
        .iter()
        .find_map(|(suffix, factor)| Some((text.strip_suffix(suffix)?, *factor)))
        .unwrap_or((text, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, expected) in [
            ("100m", 100),
            ("0.5", 500),
            ("2", 2000),
            ("64Mi", 64 * 1_048_576 * 1000),
            ("1G", 1_000_000_000_000),
            ("1e3", 1_000_000),
            ("0.0001", 1),
        ] {
            assert_eq!(
                milli(&Value::String(text.into())).unwrap(),
                expected,
                "{text}"
            );
        }
        for bad in ["", "m", "1Q", "-1", "NaN", "1e300", "inf"] {
            assert!(milli(&Value::String(bad.into())).is_err(), "{bad}");
        }
    }
}
