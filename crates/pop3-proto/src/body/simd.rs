//! Many bytes at once, with the best instructions that the processor has.

use fearless_simd::prelude::*;
use fearless_simd::u8x64;

/// Bytes that are examined together: a bit of a mask for each.
pub(super) const BLOCK: usize = 64;

/// Which bytes of a block are of a kind that stuffing looks at, a bit for each.
pub(super) struct Classes {
    pub(super) lf: u64,
    pub(super) cr: u64,
    pub(super) dot: u64,
}

impl Classes {
    /// Those of a block, which must have the length [`BLOCK`].
    #[inline(always)]
    pub(super) fn of<S: Simd>(simd: S, block: &[u8]) -> Self {
        let block = u8x64::from_slice(simd, block);
        let all = |byte| block.simd_eq(byte).to_bitmask();
        Self {
            lf: all(b'\n'),
            cr: all(b'\r'),
            dot: all(b'.'),
        }
    }
}

/// What this processor has, from the least to the best.
#[cfg(test)]
pub(super) fn levels() -> Vec<fearless_simd::Level> {
    use fearless_simd::Level;
    let best = Level::new();
    #[cfg(target_arch = "x86_64")]
    let lesser = [
        best.as_sse2().map(Level::Sse2),
        best.as_sse4_2().map(Level::Sse4_2),
        best.as_avx2().map(Level::Avx2),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let lesser: [Option<Level>; 0] = [];
    lesser.into_iter().flatten().chain([best]).collect()
}
