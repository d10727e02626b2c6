//! What a compaction is to do: facts about segments in, a plan out. No input or output.

/// What is known of a segment. They come in id order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Facts {
    pub(crate) bytes: u64,
    pub(crate) dead_bytes: u64,
}

/// What rewriting segments takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// Ids to reserve. The last output takes whatever remains.
    pub(crate) outputs: u64,
}

impl Plan {
    /// To rewrite all of these; `None` if nothing is dead and no two neighbours fit into one.
    pub(crate) fn full(segments: &[Facts], segment_size: u64) -> Option<Self> {
        let dead: u64 = segments.iter().map(|facts| facts.dead_bytes).sum();
        let mergeable = segments.windows(2).any(|two| two[0].bytes + two[1].bytes <= segment_size);
        if dead == 0 && !mergeable {
            return None;
        }
        let live: u64 = segments.iter().map(|facts| facts.bytes - facts.dead_bytes).sum();
        // Two outputs in a row hold more than a segment's size.
        Some(Plan { outputs: live.div_ceil(segment_size) * 2 + 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(segments: &[(u64, u64)]) -> Option<u64> {
        let facts = segments.iter().map(|&(bytes, dead_bytes)| Facts { bytes, dead_bytes });
        Plan::full(&facts.collect::<Vec<_>>(), 100).map(|plan| plan.outputs)
    }

    #[test]
    fn a_store_with_nothing_dead_and_nothing_to_merge_is_left_alone() {
        assert_eq!(outputs(&[]), None);
        assert_eq!(outputs(&[(90, 0), (100, 0), (10, 0)]), None);
        assert_eq!(outputs(&[(35, 0), (80, 0), (80, 0), (35, 0)]), None);
    }

    #[test]
    fn any_dead_byte_or_two_neighbours_that_fit_into_one_are_worth_it() {
        assert!(outputs(&[(90, 0), (100, 1)]).is_some());
        assert!(outputs(&[(100, 0), (90, 0), (10, 0)]).is_some());
    }

    #[test]
    fn enough_ids_are_reserved_for_what_is_live() {
        assert_eq!(outputs(&[(100, 100)]), Some(1));
        assert_eq!(outputs(&[(100, 1), (100, 1)]), Some(5));
    }
}
