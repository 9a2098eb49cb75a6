//! Random numbers by place: a number is a hash of where it is used, so nothing has to be kept or
//! drawn in order.

use crate::kernels;

/// Where dropout is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Site {
    /// To the sum of the three embeddings, after its norm.
    Embeddings,
    /// To what a layer's heads give to hidden, before it is added.
    AttentionOutput(usize),
    /// To the weights of a layer's attention.
    Attention(usize),
    /// To what a layer's second linear layer gives, before it is added.
    Output(usize),
    /// To the input of an adapter, by the layer and the place of its matrix in the layer.
    Adapter(usize, usize),
    /// To the pooled rows.
    Pooled,
}

/// The dropout of one pass: the same key drops the same numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Noise {
    /// Differs from pass to pass.
    pub(crate) key: u64,
    /// Share of numbers cleared of hidden states.
    pub(crate) hidden: f32,
    /// Of the weights of attention.
    pub(crate) attention: f32,
    /// Of the inputs of adapters.
    pub(crate) adapter: f32,
}

impl Noise {
    /// None at all.
    pub(crate) const NONE: Self = Self { key: 0, hidden: 0.0, attention: 0.0, adapter: 0.0 };

    /// Share of numbers that are cleared there.
    pub(crate) fn rate(&self, site: Site) -> f32 {
        match site {
            Site::Attention(_) => self.attention,
            Site::Adapter(..) => self.adapter,
            _ => self.hidden,
        }
    }

    /// Clears its share of numbers and scales the others up to the same mean. `rows` are those from
    /// `first` on, whichever way they are cut.
    pub(crate) fn drop(&self, site: Site, rows: &mut [f32], columns: usize, first: usize) {
        let rate = self.rate(site);
        if rate == 0.0 {
            return;
        }
        // Of 2³² hashes.
        let limit = (f64::from(rate) * 4_294_967_296.0) as u32;
        for (row, place) in rows.chunks_exact_mut(columns).zip(first as u64..) {
            let key = mix(mix(self.key ^ site.code()) ^ place);
            kernels::drop_by_hash(row, [key as u32, (key >> 32) as u32], limit, 1.0 / (1.0 - rate));
        }
    }
}

impl Site {
    fn code(self) -> u64 {
        let (kind, layer) = match self {
            Self::Embeddings => (0, 0),
            Self::Pooled => (1, 0),
            Self::AttentionOutput(layer) => (2, layer),
            Self::Attention(layer) => (3, layer),
            Self::Output(layer) => (4, layer),
            Self::Adapter(layer, matrix) => (5 + matrix as u64, layer),
        };
        kind << 32 | layer as u64
    }
}

/// A number that looks random and follows from another (the finisher of splitmix64).
pub(crate) fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// `count` numbers, even between −`bound` and `bound`.
pub(crate) fn uniform(count: usize, bound: f32, seed: u64) -> Vec<f32> {
    // 24 bits are the numbers that a single float tells apart.
    let unit = |place| (mix(mix(seed) ^ place) >> 40) as f32 / 16_777_216.0;
    (0..count as u64).map(|place| bound * (2.0 * unit(place) - 1.0)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_clears_its_share_and_keeps_the_mean() {
        let noise = Noise { key: 7, hidden: 0.1, ..Noise::NONE };
        let mut rows = vec![1.0; 1000 * 384];
        noise.drop(Site::Output(3), &mut rows, 384, 0);
        let cleared = rows.iter().filter(|x| **x == 0.0).count() as f64 / rows.len() as f64;
        // Four standard deviations of a share of that many numbers.
        assert!((cleared - 0.1).abs() < 0.002, "{cleared}");
        assert!(rows.iter().all(|x| *x == 0.0 || *x == 1.0 / 0.9));
    }

    #[test]
    fn places_steps_and_sites_differ_and_cuts_do_not() {
        let noise = Noise { key: 7, hidden: 0.5, ..Noise::NONE };
        let dropped = |noise: Noise, site| {
            let mut rows = vec![1.0; 64 * 64];
            noise.drop(site, &mut rows, 64, 0);
            rows
        };
        let rows = dropped(noise, Site::Pooled);
        let mut cut = vec![1.0; 64 * 64];
        for (index, part) in cut.chunks_mut(7 * 64).enumerate() {
            noise.drop(Site::Pooled, part, 64, index * 7);
        }
        assert_eq!(rows, cut);
        let agreement = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / a.len() as f64
        };
        let others = [
            dropped(noise, Site::Embeddings),
            dropped(noise, Site::Output(0)),
            dropped(noise, Site::Output(1)),
            dropped(Noise { key: 8, ..noise }, Site::Pooled),
            [&rows[64..], &rows[..64]].concat(),
            [&rows[1..], &rows[..1]].concat(),
        ];
        for other in others {
            let agreement = agreement(&rows, &other);
            assert!((agreement - 0.5).abs() < 0.04, "{agreement}");
        }
    }
}
