//! Amounts by key, and quickly one that is large.

use std::collections::BTreeMap;

/// Amounts by key, of which [`Shares::large`] finds one of the largest.
#[derive(Debug, Clone)]
pub(super) struct Shares<K> {
    amounts: BTreeMap<K, usize>,
    total: usize,
    /// Key with the largest amount when it was last looked for.
    large: Option<K>,
}

impl<K> Default for Shares<K> {
    fn default() -> Self {
        Shares {
            amounts: BTreeMap::new(),
            total: 0,
            large: None,
        }
    }
}

impl<K: Copy + Ord> Shares<K> {
    pub(super) fn add(&mut self, key: K, amount: usize) {
        *self.amounts.entry(key).or_default() += amount;
        self.total += amount;
    }

    pub(super) fn subtract(&mut self, key: K, amount: usize) {
        if let Some(left) = self.amounts.get_mut(&key) {
            let taken = amount.min(*left);
            *left -= taken;
            self.total -= taken;
            if *left == 0 {
                self.amounts.remove(&key);
            }
        }
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    pub(super) fn amount(&self, key: K) -> usize {
        self.amounts.get(&key).copied().unwrap_or(0)
    }

    /// Returns whether an amount is no less than the mean.
    pub(super) fn is_large(&self, key: K) -> bool {
        let amount = self.amount(key).saturating_mul(self.amounts.len());
        amount > 0 && amount >= self.total
    }

    /// Returns the key with the largest amount, and this. Looks at all keys.
    pub(super) fn largest(&self) -> Option<(K, usize)> {
        let largest = self.amounts.iter().max_by_key(|(_, amount)| **amount);
        largest.map(|(key, amount)| (*key, *amount))
    }

    /// Returns the key with the largest amount, or the one that was it and still has no less than the mean. So not
    /// every call looks at all keys.
    pub(super) fn large(&mut self) -> Option<K> {
        let large = self.large.filter(|key| self.is_large(*key));
        self.large = large.or_else(|| self.largest().map(|(key, _)| key));
        self.large
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_one_is_the_largest_or_no_less_than_the_mean() {
        let mut shares = Shares::default();
        assert_eq!(shares.large(), None);
        for (key, amount) in [('a', 3), ('b', 9), ('c', 1)] {
            shares.add(key, amount);
        }
        assert_eq!(shares.large(), Some('b'));
        shares.subtract('b', 5);
        shares.add('a', 2);
        assert_eq!(
            shares.large(),
            Some('b'),
            "4 of 10 is above the mean of three"
        );
        shares.subtract('b', 2);
        assert_eq!(
            shares.large(),
            Some('a'),
            "2 of 8 is below it, and 5 is the largest"
        );
    }

    #[test]
    fn no_more_is_taken_than_there_is() {
        let mut shares = Shares::default();
        shares.add(1, 5);
        shares.subtract(1, 9);
        shares.subtract(2, 1);
        assert_eq!((shares.large(), shares.total), (None, 0));
    }
}
