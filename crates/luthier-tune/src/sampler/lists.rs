//! Permutations and subsets by number, and what is near them.

use luthier_space::Value;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

/// The lists that one dimension takes. Their numbers count permutations in lexicographic order, and
/// subsets so that those without the first item come first, and so on.
///
/// How far two lists are apart is the number of bits in which they differ: for permutations one for
/// each pair of items, which tells which of them comes first (the distance of Kendall 1938), for
/// subsets one for each item, which tells whether it is there.
pub(super) struct Lists {
    items: Vec<Value>,
    kind: Kind,
    count: u64,
}

enum Kind {
    Permutation,
    /// With the number of ways to go on from each item, given how many were taken before it.
    Subset {
        least: usize,
        most: usize,
        ways: Vec<Vec<u64>>,
    },
}

/// Bits in a word, as many as a float tells apart with room to spare.
const WORD: usize = 48;

impl Lists {
    /// All orders of some items.
    pub(super) fn permutations(items: &[Value]) -> Self {
        let count = (1..=items.len() as u64).fold(1, u64::saturating_mul);
        Self { items: items.to_vec(), kind: Kind::Permutation, count }
    }

    /// All choices of `least` to `most` of some items.
    pub(super) fn subsets(items: &[Value], least: usize, most: usize) -> Self {
        let ways = ways(items.len(), least, most);
        let count = ways[0][0];
        Self { items: items.to_vec(), kind: Kind::Subset { least, most, ways }, count }
    }

    /// Number of lists, at most 2⁵³.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The number of a list; `None` if it is none of them.
    pub(super) fn number(&self, value: &Value) -> Option<u64> {
        let Value::List(list) = value else { return None };
        let place = |item: &Value| self.items.iter().position(|other| other == item);
        let places: Vec<usize> = list.iter().map(place).collect::<Option<_>>()?;
        let fits = match &self.kind {
            Kind::Permutation => {
                let met = places.iter().fold(0u32, |met, place| met | 1 << place);
                places.len() == self.items.len() && met.count_ones() as usize == places.len()
            }
            Kind::Subset { least, most, .. } => {
                (*least..=*most).contains(&places.len()) && places.is_sorted_by(|a, b| a < b)
            }
        };
        fits.then(|| self.rank(&places))
    }

    /// The list with a number below [`Lists::count`].
    pub(super) fn value(&self, number: u64) -> Value {
        Value::List(
            self.places(number).into_iter().map(|place| self.items[place].clone()).collect(),
        )
    }

    /// The number of the list of the items in these places.
    fn rank(&self, places: &[usize]) -> u64 {
        match &self.kind {
            Kind::Permutation => places.iter().enumerate().fold(0, |rank, (i, place)| {
                // How many of those that are left come before it: a digit of the Lehmer code.
                let digit = places[i + 1..].iter().filter(|later| *later < place).count();
                rank * (places.len() - i) as u64 + digit as u64
            }),
            Kind::Subset { ways, .. } => {
                places.iter().enumerate().map(|(taken, place)| ways[place + 1][taken]).sum()
            }
        }
    }

    /// The inverse of [`Lists::rank`].
    fn places(&self, number: u64) -> Vec<usize> {
        let (items, mut rest) = (self.items.len(), number);
        match &self.kind {
            Kind::Permutation => {
                let mut digits: Vec<usize> = (1..=items as u64)
                    .map(|radix| {
                        let digit = rest % radix;
                        rest /= radix;
                        digit as usize
                    })
                    .collect();
                digits.reverse();
                let mut left: Vec<usize> = (0..items).collect();
                digits.into_iter().map(|digit| left.remove(digit)).collect()
            }
            Kind::Subset { ways, .. } => {
                let mut places = Vec::new();
                for place in 0..items {
                    let without = ways[place + 1].get(places.len()).copied().unwrap_or(0);
                    if rest >= without {
                        rest -= without;
                        places.push(place);
                    }
                }
                places
            }
        }
    }

    /// Number of bits of a list.
    pub(super) fn bits(&self) -> usize {
        let items = self.items.len();
        match self.kind {
            Kind::Permutation => items * (items - 1) / 2,
            Kind::Subset { .. } => items,
        }
    }

    /// Number of bits in each word of a list.
    pub(super) fn words(&self) -> impl Iterator<Item = usize> {
        let bits = self.bits();
        (0..bits.div_ceil(WORD)).map(move |word| (bits - word * WORD).min(WORD))
    }

    /// Appends the bits of a list to `words`.
    pub(super) fn write_bits(&self, number: u64, words: &mut Vec<u64>) {
        let start = words.len();
        words.resize(start + self.words().count(), 0);
        let mut set = |bit: usize| words[start + bit / WORD] |= 1 << (bit % WORD);
        let places = self.places(number);
        match self.kind {
            Kind::Permutation => {
                for (i, &first) in places.iter().enumerate() {
                    let later = places[i + 1..].iter().filter(|later| **later < first);
                    later.for_each(|later| set(first * (first - 1) / 2 + later));
                }
            }
            Kind::Subset { .. } => places.into_iter().for_each(&mut set),
        }
    }

    /// The list drawn from all with probabilities that fall by the factor `ratio`, below 1, with each
    /// bit in which they differ from list `number`: of permutations the model of Mallows (1957).
    pub(super) fn draw_near(&self, number: u64, ratio: f64, rng: &mut ChaCha8Rng) -> u64 {
        let places = self.places(number);
        match self.kind {
            Kind::Permutation => {
                // Repeated insertion: an item goes past each of those before it at that price.
                let mut drawn = Vec::with_capacity(places.len());
                for (before, place) in places.into_iter().enumerate() {
                    let prices = (0..=before as i32).map(|passed| ratio.powi(passed));
                    drawn.insert(before - pick(prices, rng), place);
                }
                self.rank(&drawn)
            }
            Kind::Subset { .. } => {
                let changes: Vec<_> = self.changes(places.len(), ratio).collect();
                let picked = pick(changes.iter().map(|(_, _, weight)| *weight), rng);
                let (dropped, added, _) = changes[picked];
                self.rank(&self.changed(places, dropped, added, rng))
            }
        }
    }

    /// Logarithm of the sum of those factors over all lists.
    pub(super) fn log_sum(&self, number: u64, ratio: f64) -> f64 {
        match self.kind {
            Kind::Permutation => {
                let sums = (1..=self.items.len() as i32)
                    .map(|count| (1.0 - ratio.powi(count)) / (1.0 - ratio));
                sums.map(f64::ln).sum()
            }
            Kind::Subset { .. } => {
                let size = self.places(number).len();
                self.changes(size, ratio).map(|(_, _, weight)| weight).sum::<f64>().ln()
            }
        }
    }

    /// How many items a subset of `size` may drop and add together, and the sum of the factors of
    /// the subsets that come of it.
    fn changes(&self, size: usize, ratio: f64) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        let (least, most) = match self.kind {
            Kind::Permutation => (size, size),
            Kind::Subset { least, most, .. } => (least, most),
        };
        let others = self.items.len() - size;
        (0..=size).flat_map(move |dropped| {
            let kept = size - dropped;
            let added = least.saturating_sub(kept)..=most.saturating_sub(kept).min(others);
            added.map(move |added| {
                let ways = binomial(size, dropped) * binomial(others, added);
                (dropped, added, ways * ratio.powi((dropped + added) as i32))
            })
        })
    }

    /// A subset with random items dropped and added.
    fn changed(
        &self,
        mut places: Vec<usize>,
        dropped: usize,
        added: usize,
        rng: &mut ChaCha8Rng,
    ) -> Vec<usize> {
        let mut others: Vec<usize> =
            (0..self.items.len()).filter(|place| places.binary_search(place).is_err()).collect();
        places.shuffle(rng);
        places.truncate(places.len() - dropped);
        let (more, _) = others.partial_shuffle(rng, added);
        places.extend(more.iter());
        places.sort_unstable();
        places
    }

    /// A list next to another: two items of a permutation swapped or one of them moved; an item of a
    /// subset dropped, added or exchanged for another.
    pub(super) fn draw_neighbour(&self, number: u64, rng: &mut ChaCha8Rng) -> u64 {
        let mut places = self.places(number);
        let (size, items) = (places.len(), self.items.len());
        match self.kind {
            Kind::Permutation => {
                let (from, to) = (rng.random_range(0..size), rng.random_range(0..size));
                if rng.random() {
                    places.swap(from, to);
                } else {
                    let moved = places.remove(from);
                    places.insert(to, moved);
                }
            }
            Kind::Subset { least, most, .. } => {
                let changes = [
                    (size > least).then_some((1, 0)),
                    (size < most).then_some((0, 1)),
                    (size > 0 && size < items).then_some((1, 1)),
                ];
                let changes: Vec<(usize, usize)> = changes.into_iter().flatten().collect();
                if !changes.is_empty() {
                    let (dropped, added) = changes[rng.random_range(0..changes.len())];
                    places = self.changed(places, dropped, added, rng);
                }
            }
        }
        self.rank(&places)
    }
}

/// In how many bits lists differ.
pub(super) fn distance(a: &[u64], b: &[u64]) -> u32 {
    a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum()
}

/// For each of `items` places, and the end, how many subsets go on from there with each number of
/// items taken before.
fn ways(items: usize, least: usize, most: usize) -> Vec<Vec<u64>> {
    let mut ways: Vec<Vec<u64>> = vec![(0..=most).map(|taken| u64::from(taken >= least)).collect()];
    for _ in 0..items {
        let after = &ways[ways.len() - 1];
        let with = after.iter().skip(1).copied().chain([0]);
        ways.push(
            after.iter().zip(with).map(|(without, with)| without.saturating_add(with)).collect(),
        );
    }
    ways.reverse();
    ways
}

fn binomial(items: usize, size: usize) -> f64 {
    (0..size.min(items - size))
        .fold(1.0, |ways, taken| ways * (items - taken) as f64 / (taken as f64 + 1.0))
}

/// An index drawn in proportion to weights, the last one if rounding leaves none.
fn pick(mut weights: impl Iterator<Item = f64> + Clone, rng: &mut ChaCha8Rng) -> usize {
    let mut rest = rng.random::<f64>() * weights.clone().sum::<f64>();
    let last = weights.clone().count().saturating_sub(1);
    weights
        .position(|weight| {
            rest -= weight;
            rest < 0.0
        })
        .unwrap_or(last)
}

#[cfg(test)]
mod tests;
