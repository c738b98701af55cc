//! The posting lists of the index: the products of a term, in blocks of consecutive ids. Within a block, a product
//! takes two bytes.

use std::collections::BTreeMap;

/// How many ids a block covers.
const BLOCK_SIZE: u16 = 4096;

/// A product's offset in its block, big-endian.
pub type Offset = [u8; 2];

/// The block of a product, and its offset there.
pub fn locate(product_id: i64) -> (i64, Offset) {
    let at = u16::try_from(product_id.rem_euclid(BLOCK_SIZE.into())).unwrap_or_default();
    (product_id.div_euclid(BLOCK_SIZE.into()), at.to_be_bytes())
}

/// The products of a block without one of them.
pub fn without(products: &[u8], offset: Offset) -> Vec<u8> {
    products.chunks_exact(2).filter(|at| *at != offset).flatten().copied().collect()
}

/// Intersects posting lists: the products that are in all of them, in ascending order. `lists` is the number of lists,
/// `blocks` are all of their blocks in any order.
pub fn intersect(lists: usize, blocks: impl IntoIterator<Item = (i64, Vec<u8>)>) -> Vec<i64> {
    let mut counts: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (block, products) in blocks {
        let counts = counts.entry(block).or_insert_with(|| vec![0; BLOCK_SIZE.into()]);
        for offset in products.chunks_exact(2) {
            let at = offset.iter().fold(0, |at, byte| at << 8 | usize::from(*byte));
            if let Some(count) = counts.get_mut(at) {
                *count += 1;
            }
        }
    }
    let ids = counts.into_iter().flat_map(|(block, counts)| {
        let first = block.saturating_mul(BLOCK_SIZE.into());
        (first..).zip(counts).filter(|(_, count)| *count == lists).map(|(id, _)| id)
    });
    ids.collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::{collection::btree_set, prelude::*};

    use super::*;

    fn blocks(ids: &BTreeSet<i64>) -> BTreeMap<i64, Vec<u8>> {
        let mut blocks = BTreeMap::<_, Vec<u8>>::new();
        // Appended in any order.
        for id in ids.iter().rev() {
            let (block, offset) = locate(*id);
            blocks.entry(block).or_default().extend(offset);
        }
        blocks
    }

    proptest! {
        #[test]
        fn intersects_lists(
            lists in proptest::collection::vec(btree_set(0_i64..9000, 0..3000), 1..4), far in 0..i64::MAX / 2
        ) {
            let lists: Vec<BTreeSet<i64>> =
                lists.into_iter().map(|ids| ids.into_iter().map(|id| id + far).collect()).collect();
            let all = lists.iter().cloned().reduce(|a, b| &a & &b).unwrap();
            let found = intersect(lists.len(), lists.iter().flat_map(blocks));
            prop_assert_eq!(found, all.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn removes_only_one_product(ids in btree_set(0_i64..4096, 1..50), which in 0_usize..50) {
            let removed = *ids.iter().nth(which % ids.len()).unwrap();
            let rest = without(&blocks(&ids)[&0], locate(removed).1);
            let left: Vec<i64> = ids.into_iter().filter(|id| *id != removed).collect();
            prop_assert_eq!(intersect(1, [(0, rest)]), left);
        }
    }
}
