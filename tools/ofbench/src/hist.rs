//! Log-linear latency histogram (64 sub-buckets per power of two: under 1.6 % error), in nanoseconds.

const SUB_BITS: u32 = 6;
const SUB: usize = 1 << SUB_BITS;

pub(crate) struct Hist {
    counts: Vec<u64>,
    n: u64,
    sum: u128,
    max: u64,
}

impl Hist {
    pub(crate) fn new() -> Hist {
        Hist {
            counts: vec![0; SUB * (64 - SUB_BITS as usize + 1)],
            n: 0,
            sum: 0,
            max: 0,
        }
    }

    fn index(v: u64) -> usize {
        if v < SUB as u64 {
            return v as usize;
        }
        let exp = 63 - v.leading_zeros(); // >= SUB_BITS
        let shift = exp - SUB_BITS;
        let sub = (v >> shift) as usize & (SUB - 1);
        (exp - SUB_BITS + 1) as usize * SUB + sub
    }

    fn value(i: usize) -> u64 {
        if i < SUB {
            return i as u64;
        }
        let exp = (i / SUB) as u32 - 1 + SUB_BITS;
        let shift = exp - SUB_BITS;
        let low = ((SUB + i % SUB) as u64) << shift;
        low + (1u64 << shift) / 2
    }

    /// Adds the value `times` times.
    pub(crate) fn add(&mut self, v: u64, times: u64) {
        if times == 0 {
            return;
        }
        self.counts[Self::index(v)] += times;
        self.n += times;
        self.sum += v as u128 * times as u128;
        self.max = self.max.max(v);
    }

    pub(crate) fn len(&self) -> u64 {
        self.n
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    pub(crate) fn mean(&self) -> f64 {
        if self.n == 0 {
            0.0
        } else {
            self.sum as f64 / self.n as f64
        }
    }

    pub(crate) fn quantile(&self, q: f64) -> u64 {
        if self.n == 0 {
            return 0;
        }
        let want = ((self.n as f64 * q).ceil() as u64).clamp(1, self.n);
        let mut seen = 0;
        for (i, c) in self.counts.iter().enumerate() {
            seen += c;
            if seen >= want {
                return Self::value(i).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_is_close_to_what_was_added() {
        for v in [
            0u64,
            1,
            63,
            64,
            65,
            127,
            128,
            1000,
            12_345,
            1_000_000,
            987_654_321,
            1 << 40,
        ] {
            let got = Hist::value(Hist::index(v));
            let err = (got as f64 - v as f64).abs() / (v.max(1) as f64);
            assert!(err < 0.016, "{v} -> {got}");
        }
    }

    #[test]
    fn indexes_are_monotonic() {
        let mut last = 0;
        for v in 0..200_000u64 {
            let i = Hist::index(v);
            assert!(i >= last && i - last <= 1, "{v}: {last} -> {i}");
            last = i;
        }
    }

    #[test]
    fn quantiles() {
        let mut h = Hist::new();
        for v in 1..=10_000u64 {
            h.add(v * 1000, 2);
        }
        h.add(1 << 50, 0);
        for (q, want) in [
            (0.5, 5_000_000f64),
            (0.99, 9_900_000.0),
            (0.999, 9_990_000.0),
        ] {
            let got = h.quantile(q) as f64;
            assert!((got - want).abs() / want < 0.016, "{q}: {got}");
        }
        assert_eq!(h.quantile(1.0), 10_000_000);
        assert_eq!(h.len(), 20_000);
    }
}
