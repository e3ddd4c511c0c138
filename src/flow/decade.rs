//! Arithmetic that gives the same bits on every machine: only IEEE additions, multiplications and divisions,
//! never the platform's `log` or `exp`, whose last bit differs from one to the next.

/// log10 of a positive number, in thousandths, rounded down.
///
/// The exponent is taken from the bits; the mantissa m in [1, 2) by ln m = 2 atanh((m-1)/(m+1)).
#[must_use]
pub fn log10_milli(value: f64) -> i32 {
    use std::f64::consts::{LOG10_2, LOG10_E};
    debug_assert!(value.is_finite() && value > 0.0);
    let bits = value.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7ff).unwrap_or(0) - 1023;
    let mantissa = f64::from_bits(bits & 0x000f_ffff_ffff_ffff | 0x3ff0_0000_0000_0000);
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let square = z * z;
    let (mut term, mut sum) = (z, 0.0);
    for odd in [1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0, 17.0, 19.0] {
        sum += term / odd;
        term *= square;
    }
    let log = f64::from(exponent) * LOG10_2 + 2.0 * sum * LOG10_E;
    #[expect(clippy::cast_possible_truncation, reason = "a double's log10 lies within +-308")]
    {
        // A hair is added so that exact powers of ten don't fall to the thousandth below. Its floor, without a call of the
        // library's, which is what it is on processors of the least kind.
        let thousandths = log * 1000.0 + 1e-6;
        let whole = thousandths as i32;
        whole - i32::from(f64::from(whole) > thousandths)
    }
}

/// A quantity that halves every week, counted at hour boundaries.
pub mod weekly {
    /// 2^(-1/168): what an hour leaves of it.
    const HOUR: f64 = 0.995_882_623_658_297_4;

    /// What the hours of six weeks leave: nearly all that is asked for, several times an alert.
    static LEFT: [f64; 1024] = {
        let mut left = [0.0; 1024];
        let mut hours = 0;
        while hours < left.len() {
            left[hours] = power(hours as u64);
            hours += 1;
        }
        left
    };

    /// What `hours` leave of one.
    #[must_use]
    pub fn left(hours: i64) -> f64 {
        let hours = u64::try_from(hours).unwrap_or(0);
        let known = usize::try_from(hours).ok().and_then(|hours| LEFT.get(hours));
        match known {
            Some(left) => *left,
            None if hours > 10_000 => 0.0,
            None => power(hours),
        }
    }

    const fn power(mut power: u64) -> f64 {
        let (mut base, mut product) = (HOUR, 1.0);
        while power > 0 {
            if power & 1 == 1 {
                product *= base;
            }
            base *= base;
            power >>= 1;
        }
        product
    }

    /// How many hours, decayed, lie in `hours` observed ones.
    #[must_use]
    pub fn observed(hours: i64) -> f64 {
        (1.0 - left(hours)) / (1.0 - HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_agree_with_the_library() {
        for value in [1e-9, 0.3, 0.5, 1.0, 1.999, 2.0, 10.0, 19.95, 20.0, 1000.0, 1e300] {
            let expected = f64::log10(value) * 1000.0;
            assert!((f64::from(log10_milli(value)) - expected).abs() <= 1.0, "{value}");
        }
        assert_eq!(log10_milli(1000.0), 3000);
    }

    #[test]
    fn a_week_halves() {
        assert!((weekly::left(168) - 0.5).abs() < 1e-12);
        assert_eq!([weekly::left(-1), weekly::left(0)].map(f64::to_bits), [1.0f64.to_bits(); 2]);
        // A table is what is worked out, and what is worked out when the binary is made is what a processor makes of it.
        let hour = std::hint::black_box(weekly::left(1));
        let squared = |times: u32| (0..times).fold(hour, |base, _| base * base);
        for hours in [2, 3, 25, 168, 1023, 1024, 9_999] {
            let bits = (0..14).filter(|bit| hours >> bit & 1 == 1);
            let product = bits.fold(1.0, |product, bit| product * squared(bit));
            assert_eq!(weekly::left(hours).to_bits(), product.to_bits(), "{hours}");
        }
        assert!((weekly::observed(1) - 1.0).abs() < 1e-12);
        assert!(weekly::left(1_000_000) < f64::MIN_POSITIVE);
    }
}
