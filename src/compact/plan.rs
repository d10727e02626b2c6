//! What a compaction is to do: facts about segments in, a plan out. No input or output.

use crate::location::SegmentId;

/// What is known of a segment, in id order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) id: SegmentId,
    pub(crate) bytes: u64,
    pub(crate) dead_bytes: u64,
}

/// Which segments to rewrite, and into how many at most.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// Ascending.
    pub(crate) inputs: Vec<SegmentId>,
    /// Ids to reserve. The last output takes whatever remains.
    pub(crate) outputs: u64,
}

impl Plan {
    /// A full compaction: every segment, unless nothing is dead and no two neighbours fit into one.
    pub(crate) fn full(segments: &[Facts], segment_size: u64) -> Self {
        let dead: u64 = segments.iter().map(|facts| facts.dead_bytes).sum();
        let mergeable = segments.windows(2).any(|two| two[0].bytes + two[1].bytes <= segment_size);
        if dead == 0 && !mergeable {
            return Plan { inputs: Vec::new(), outputs: 0 };
        }
        let live: u64 = segments.iter().map(|facts| facts.bytes - facts.dead_bytes).sum();
        Plan {
            inputs: segments.iter().map(|facts| facts.id).collect(),
            // Two outputs in a row hold more than a segment's size.
            outputs: live.div_ceil(segment_size).saturating_mul(2).saturating_add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(id: u64, bytes: u64, dead_bytes: u64) -> Facts {
        Facts { id: SegmentId::new(id), bytes, dead_bytes }
    }

    fn inputs(segments: &[Facts]) -> Vec<u64> {
        Plan::full(segments, 100).inputs.iter().map(|id| id.get()).collect()
    }

    #[test]
    fn a_store_with_nothing_dead_and_nothing_to_merge_is_left_alone() {
        assert!(inputs(&[]).is_empty());
        assert!(inputs(&[facts(1, 90, 0), facts(2, 100, 0), facts(3, 10, 0)]).is_empty());
        assert!(
            inputs(&[facts(1, 35, 0), facts(2, 80, 0), facts(3, 80, 0), facts(4, 35, 0)])
                .is_empty()
        );
    }

    #[test]
    fn any_dead_byte_or_two_neighbours_that_fit_into_one_bring_in_every_segment() {
        assert_eq!(inputs(&[facts(1, 90, 0), facts(2, 100, 1)]), [1, 2]);
        assert_eq!(inputs(&[facts(1, 100, 0), facts(2, 10, 0), facts(3, 10, 0)]), [1, 2, 3]);
    }

    #[test]
    fn enough_ids_are_reserved_for_what_is_live() {
        assert_eq!(Plan::full(&[facts(1, 100, 100)], 100).outputs, 1);
        assert_eq!(Plan::full(&[facts(1, 100, 1), facts(2, 100, 1)], 100).outputs, 5);
    }
}
