//! How the products of a term are kept: in blocks of consecutive ids, in each of which a product is two bytes.

use std::collections::BTreeMap;

/// Ids of a block.
const BLOCK: u16 = 4096;

/// A product's place in its block.
pub type Place = [u8; 2];

/// The block that a product is in, and its place there.
pub fn place(product_id: i64) -> (i64, Place) {
    let at = u16::try_from(product_id.rem_euclid(BLOCK.into())).unwrap_or_default();
    (product_id.div_euclid(BLOCK.into()), at.to_be_bytes())
}

/// What is left of a block without a product.
pub fn without(products: &[u8], place: Place) -> Vec<u8> {
    products.chunks_exact(2).filter(|at| *at != place).flatten().copied().collect()
}

/// The products that are in so many lists, in ascending order: each list in blocks, all blocks of all lists together.
pub fn in_all(lists: usize, blocks: impl IntoIterator<Item = (i64, Vec<u8>)>) -> Vec<i64> {
    let mut counts: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
    for (block, products) in blocks {
        let counts = counts.entry(block).or_insert_with(|| vec![0; BLOCK.into()]);
        for place in products.chunks_exact(2) {
            let at = place.iter().fold(0, |at, byte| at << 8 | usize::from(*byte));
            if let Some(count) = counts.get_mut(at) {
                *count += 1;
            }
        }
    }
    let ids = counts.into_iter().flat_map(|(block, counts)| {
        let first = block.saturating_mul(BLOCK.into());
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
            let (block, place) = place(*id);
            blocks.entry(block).or_default().extend(place);
        }
        blocks
    }

    proptest! {
        #[test]
        fn lists_meet_in_what_is_in_all_of_them(
            lists in proptest::collection::vec(btree_set(0_i64..9000, 0..3000), 1..4), far in 0..i64::MAX / 2
        ) {
            let lists: Vec<BTreeSet<i64>> =
                lists.into_iter().map(|ids| ids.into_iter().map(|id| id + far).collect()).collect();
            let all = lists.iter().cloned().reduce(|a, b| &a & &b).unwrap();
            let seen = in_all(lists.len(), lists.iter().flat_map(blocks));
            prop_assert_eq!(seen, all.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn what_is_taken_out_is_gone_and_nothing_else(ids in btree_set(0_i64..4096, 1..50), which in 0_usize..50) {
            let gone = *ids.iter().nth(which % ids.len()).unwrap();
            let rest = without(&blocks(&ids)[&0], place(gone).1);
            let left: Vec<i64> = ids.into_iter().filter(|id| *id != gone).collect();
            prop_assert_eq!(in_all(1, [(0, rest)]), left);
        }
    }
}
