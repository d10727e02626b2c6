//! What a compaction is to do: facts about segments in, a plan out. No input or output.
//!
//! Invariants:
//! - A plan makes progress: it frees bytes, or leaves fewer files, or brings the oldest segments, without anything dead in them, above
//!   others that can then be freed. So when nobody writes, plans come to an end.
//! - Tombstones and what has expired count as freed only where every older segment goes as well: else they are copied.
//! - A segment that is kept because something in it is damaged is in no plan, and everything above it has something older below it.

use crate::policy::CompactionPolicy;

/// What is known of a segment. They come in id order.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Facts {
    pub(crate) bytes: u64,
    pub(crate) dead_bytes: u64,
    /// Of the dead bytes, those that may hide something older: tombstones and what has expired.
    pub(crate) hiding_bytes: u64,
    /// It was found damaged.
    pub(crate) is_kept: bool,
}

impl Facts {
    /// What rewriting the segment frees, whatever becomes of older ones.
    fn freed(&self) -> u64 {
        self.dead_bytes - self.hiding_bytes
    }

    fn reaches(&self, percent: u8, bytes: u64) -> bool {
        let freed = self.freed();
        freed > 0 && (is_share(freed, self.bytes, percent) || freed >= bytes)
    }
}

/// What a run may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limits {
    pub(crate) segment_size: u64,
    /// What the disk has room for.
    pub(crate) room: u64,
}

/// What rewriting segments takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// Which ones, ascending.
    pub(crate) inputs: Vec<usize>,
    /// Ids to reserve. The last output takes whatever remains.
    pub(crate) outputs: u64,
    /// Bytes to be copied, at the most.
    pub(crate) copied: u64,
    /// Bytes to be freed, at the least.
    pub(crate) freed: u64,
}

impl Plan {
    /// To rewrite all of these; `None` if nothing is dead and no two neighbours fit into one.
    pub(crate) fn full(segments: &[Facts], segment_size: u64) -> Option<Self> {
        let dead: u64 = segments.iter().map(|facts| facts.dead_bytes).sum();
        let mergeable = segments.windows(2).any(|two| two[0].bytes + two[1].bytes <= segment_size);
        if dead == 0 && !mergeable {
            return None;
        }
        Some(Self::of(segments, (0..segments.len()).collect(), segment_size))
    }

    /// What the policy wants done next of what can be done to these, which are sealed.
    pub(crate) fn due(
        segments: &[Facts],
        policy: &CompactionPolicy,
        limits: Limits,
    ) -> Option<Self> {
        let due = Due { segments, policy, limits, most: most_copied(segments, policy, limits) };
        let inputs = due.dead().or_else(|| due.oldest()).or_else(|| due.small())?;
        Some(Self::of(segments, inputs, limits.segment_size))
    }

    fn of(segments: &[Facts], inputs: Vec<usize>, segment_size: u64) -> Self {
        let (mut copied, mut freed) = (0, 0);
        for (n, &input) in inputs.iter().enumerate() {
            let facts = &segments[input];
            // They ascend: all older ones are inputs if as many are as there are.
            let frees = if n == input { facts.dead_bytes } else { facts.freed() };
            freed += frees;
            copied += facts.bytes - frees;
        }
        // Two outputs in a row hold more than a segment's size.
        Plan { inputs, outputs: copied.div_ceil(segment_size) * 2 + 1, copied, freed }
    }
}

/// Whether so much is dead that a run must not be slow.
pub(crate) fn is_pressing(segments: &[Facts], policy: &CompactionPolicy) -> bool {
    let percent = policy.store_percent.saturating_add(5).min(100);
    let (mut freed, mut bytes) = (0, 0);
    for facts in segments.iter().filter(|facts| !facts.is_kept) {
        (freed, bytes) = (freed + facts.freed(), bytes + facts.bytes);
    }
    is_share(freed, bytes, percent)
}

fn is_share(part: u64, of: u64, percent: u8) -> bool {
    of > 0 && u128::from(part) * 100 >= u128::from(of) * u128::from(percent)
}

/// How much one run copies, unless a single segment has more.
fn most_copied(segments: &[Facts], policy: &CompactionPolicy, limits: Limits) -> u64 {
    let all: u64 = segments.iter().map(|facts| facts.bytes).sum();
    let share = (all / 16).clamp(limits.segment_size, limits.segment_size.saturating_mul(16));
    policy.run_bytes.unwrap_or(share)
}

struct Due<'a> {
    segments: &'a [Facts],
    policy: &'a CompactionPolicy,
    limits: Limits,
    most: u64,
}

impl Due<'_> {
    fn sound(&self) -> impl Iterator<Item = (usize, &Facts)> {
        self.segments.iter().enumerate().filter(|(_, facts)| !facts.is_kept)
    }

    /// Takes what fits, in this order; the first even if it is more than a run copies otherwise.
    fn take(&self, order: impl IntoIterator<Item = (usize, u64)>) -> Vec<usize> {
        let (mut inputs, mut copied) = (Vec::new(), 0_u64);
        for (input, copies) in order {
            let with_it = copied.saturating_add(copies);
            let is_one_run = inputs.is_empty() || with_it <= self.most;
            if is_one_run && with_it <= self.limits.room {
                inputs.push(input);
                copied = with_it;
            }
        }
        inputs.sort_unstable();
        inputs
    }

    /// Segments in which much is dead that can be freed wherever they lie, the most dead ones first.
    fn dead(&self) -> Option<Vec<usize>> {
        let policy = self.policy;
        let (mut freed, mut bytes) = (0, 0);
        self.sound().for_each(|(_, facts)| {
            (freed, bytes) = (freed + facts.freed(), bytes + facts.bytes);
        });
        let starts = |facts: &Facts| facts.reaches(policy.start_percent, policy.start_bytes);
        let is_due = is_share(freed, bytes, policy.store_percent)
            || self.sound().any(|(_, facts)| starts(facts));
        if !is_due {
            return None;
        }
        let included = |facts: &Facts| {
            starts(facts) || facts.reaches(policy.include_percent, policy.include_bytes)
        };
        let mut order: Vec<_> = self.sound().filter(|(_, facts)| included(facts)).collect();
        // By what is freed for each byte: a/b against c/d as a·d against c·b.
        let product = |part: u64, of: u64| u128::from(part) * u128::from(of);
        order.sort_by(|(_, a), (_, b)| {
            product(b.freed(), a.bytes).cmp(&product(a.freed(), b.bytes))
        });
        let order = order.into_iter().map(|(input, facts)| (input, facts.bytes - facts.freed()));
        Some(self.take(order)).filter(|inputs| !inputs.is_empty())
    }

    /// The oldest segments, of which everything dead can be freed if they go together, or one after the other from the
    /// oldest on: what has been rewritten lies above the rest.
    fn oldest(&self) -> Option<Vec<usize>> {
        let (mut dead, mut bytes) = (0, 0);
        let mut best: Option<(usize, u64, u64)> = None;
        for (input, facts) in self.segments.iter().enumerate() {
            if facts.is_kept {
                break;
            }
            (dead, bytes) = (dead + facts.dead_bytes, bytes + facts.bytes);
            let is_better = best.is_none_or(|(_, best_dead, best_bytes)| {
                u128::from(dead) * u128::from(best_bytes)
                    > u128::from(best_dead) * u128::from(bytes)
            });
            if facts.dead_bytes > 0 && is_better {
                best = Some((input, dead, bytes));
            }
        }
        let (last, ..) = best.filter(|(_, dead, bytes)| {
            *dead > 0 && is_share(*dead, *bytes, self.policy.store_percent)
        })?;
        let (mut inputs, mut copied) = (Vec::new(), 0_u64);
        for (input, facts) in self.segments[..=last].iter().enumerate() {
            let with_it = copied.saturating_add(facts.bytes - facts.dead_bytes);
            let is_one_run = inputs.is_empty() || with_it <= self.most;
            // None may be left out: what is above it would have something older below it.
            if !is_one_run || with_it > self.limits.room {
                break;
            }
            inputs.push(input);
            copied = with_it;
        }
        Some(inputs).filter(|inputs| !inputs.is_empty())
    }

    /// Small segments, the largest no larger than the others together: each time a byte is copied, it comes to lie in a
    /// file twice as large as the one that it leaves.
    fn small(&self) -> Option<Vec<usize>> {
        let segment_size = self.limits.segment_size;
        let below = self.policy.small_below.unwrap_or(segment_size / 8);
        let mut order: Vec<_> = self.sound().filter(|(_, facts)| facts.bytes < below).collect();
        order.sort_by_key(|(_, facts)| facts.bytes);
        let (mut joined, mut bytes) = (0, 0);
        for (n, (_, facts)) in order.iter().enumerate() {
            let is_large = facts.bytes > bytes;
            bytes += facts.bytes;
            // Two outputs in a row hold more than a segment's size.
            let are_fewer = bytes.div_ceil(segment_size) * 2 < n as u64 + 2;
            if !is_large && are_fewer && bytes <= self.most.min(self.limits.room) {
                joined = n + 1;
            }
        }
        order.truncate(joined);
        let mut inputs: Vec<_> = order.into_iter().map(|(input, _)| input).collect();
        inputs.sort_unstable();
        (inputs.len() >= self.policy.small_files.max(2)).then_some(inputs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: u64 = 100;
    const LIMITS: Limits = Limits { segment_size: SEGMENT, room: u64::MAX };

    fn of(bytes: u64, dead_bytes: u64, hiding_bytes: u64) -> Facts {
        Facts { bytes, dead_bytes, hiding_bytes, is_kept: false }
    }

    fn kept(bytes: u64, dead_bytes: u64) -> Facts {
        Facts { is_kept: true, ..of(bytes, dead_bytes, 0) }
    }

    fn outputs(segments: &[(u64, u64)]) -> Option<u64> {
        let facts = segments.iter().map(|&(bytes, dead_bytes)| of(bytes, dead_bytes, 0));
        Plan::full(&facts.collect::<Vec<_>>(), SEGMENT).map(|plan| plan.outputs)
    }

    /// No small files, and runs of up to three segments.
    fn policy() -> CompactionPolicy {
        CompactionPolicy::new().small_below(Some(0)).bytes_per_run(Some(300))
    }

    fn due(segments: &[Facts], policy: &CompactionPolicy) -> Option<Vec<usize>> {
        Plan::due(segments, policy, LIMITS).map(|plan| plan.inputs)
    }

    #[test]
    fn a_store_with_nothing_dead_and_nothing_to_merge_is_left_alone() {
        assert_eq!(outputs(&[]), None);
        assert_eq!(outputs(&[(90, 0), (100, 0), (10, 0)]), None);
        assert_eq!(outputs(&[(35, 0), (80, 0), (80, 0), (35, 0)]), None);
        assert_eq!(due(&[], &policy()), None);
        assert_eq!(due(&[of(100, 0, 0); 40], &policy()), None);
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

    #[test]
    fn what_starts_a_run_is_apart_from_what_it_takes_along() {
        let (half, more, less) = (of(100, 50, 0), of(100, 25, 0), of(100, 24, 0));
        let live = of(100, 0, 0);
        assert_eq!(due(&[live, more, live, live, less], &policy()), None);
        assert_eq!(due(&[live, more, half, live, less], &policy()), Some(vec![1, 2]));
        let by_bytes = policy().start_at_dead_bytes(20).include_from_dead_bytes(10);
        let long = of(1000, 20, 0);
        assert_eq!(due(&[live, of(1000, 10, 0), long, live], &policy()), None);
        let wide = by_bytes.bytes_per_run(Some(3000));
        assert_eq!(due(&[live, of(1000, 10, 0), long, live], &wide), Some(vec![1, 2]));
        assert_eq!(due(&[live, of(1000, 10, 0), of(1000, 19, 0)], &wide), None);
    }

    #[test]
    fn so_much_dead_of_the_whole_store_starts_a_run_though_no_segment_does() {
        let (a, b) = (of(100, 30, 0), of(100, 29, 0));
        assert_eq!(due(&[b, b, b], &policy()), None);
        assert_eq!(due(&[a, a, a], &policy()), Some(vec![0, 1, 2]));
        assert_eq!(due(&[kept(100, 100), b, b], &policy()), None, "that cannot be freed");
    }

    #[test]
    fn a_run_takes_the_most_dead_ones_up_to_what_it_may_copy_and_one_that_is_larger_alone() {
        let runs_of = |bytes| policy().bytes_per_run(Some(bytes));
        let segments = [of(100, 50, 0), of(100, 90, 0), of(100, 60, 0), of(100, 100, 0)];
        assert_eq!(due(&segments, &runs_of(60)), Some(vec![1, 2, 3]));
        assert_eq!(due(&segments, &runs_of(10)), Some(vec![1, 3]));
        assert_eq!(due(&[of(100, 50, 0), of(100, 51, 0)], &runs_of(9)), Some(vec![1]));
        let sixteenth = policy().bytes_per_run(None);
        let plan = Plan::due(&[of(100, 50, 0); 32], &sixteenth, LIMITS).unwrap();
        assert_eq!((plan.inputs.len(), plan.copied, plan.freed), (4, 200, 200));
    }

    #[test]
    fn no_run_copies_more_than_the_disk_has_room_for() {
        let room = |room| Limits { room, ..LIMITS };
        let segments = [of(100, 50, 0), of(100, 90, 0), of(100, 100, 0)];
        let inputs = |limits| Plan::due(&segments, &policy(), limits).map(|plan| plan.inputs);
        assert_eq!(inputs(room(59)), Some(vec![1, 2]));
        assert_eq!(inputs(room(9)), Some(vec![2]), "nothing of it is copied");
        let plan = |segments: &[Facts]| Plan::due(segments, &policy(), room(40));
        assert_eq!(plan(&[of(100, 50, 0)]), None);
        assert_eq!(plan(&[of(100, 0, 0), of(100, 100, 100)]), None, "the oldest has to go first");
    }

    #[test]
    fn tombstones_are_freed_with_all_that_is_older_and_no_other_way() {
        let (live, tombstones) = (of(100, 0, 0), of(100, 100, 100));
        assert_eq!(due(&[tombstones], &policy()), Some(vec![0]));
        assert_eq!(due(&[live, tombstones], &policy()), Some(vec![0, 1]));
        // It is not worth it.
        assert_eq!(due(&[live, live, live, tombstones], &policy()), None);
        // The oldest of them go first, as many as one run may copy.
        let three = policy().bytes_per_run(Some(200));
        let deep = [live, live, live, tombstones, tombstones];
        assert_eq!(due(&deep, &three), Some(vec![0, 1]));
        assert_eq!(due(&[&deep[2..], &[live, live]].concat(), &three), Some(vec![0, 1, 2]));
        // Where something older stays for good, so do they.
        assert_eq!(due(&[kept(100, 100), tombstones, tombstones], &policy()), None);
        assert_eq!(due(&[tombstones, kept(100, 100), tombstones], &policy()), Some(vec![0]));
    }

    #[test]
    fn what_is_kept_is_in_no_plan() {
        assert_eq!(due(&[kept(100, 100); 9], &policy().small_below(Some(200))), None);
        assert_eq!(due(&[kept(100, 100), of(100, 60, 0)], &policy()), Some(vec![1]));
    }

    #[test]
    fn small_segments_are_joined_when_there_are_enough_of_them_and_without_a_large_one() {
        let small = CompactionPolicy::new().small_files(4).small_below(Some(50));
        let segments = |lengths: &[u64]| lengths.iter().map(|&n| of(n, 0, 0)).collect::<Vec<_>>();
        let due = |lengths: &[u64]| due(&segments(lengths), &small);
        assert_eq!(due(&[9, 9, 9]), None);
        assert_eq!(due(&[9, 100, 9, 9, 50, 9]), Some(vec![0, 2, 3, 5]));
        assert_eq!(due(&[40, 9, 9, 9, 9]), Some(vec![1, 2, 3, 4]), "40 are more than 36");
        assert_eq!(due(&[36, 9, 9, 9, 9]), Some(vec![0, 1, 2, 3, 4]));
        assert_eq!(due(&[1, 2, 4, 8, 16, 32]), None, "each as large as all before it, and more");
        let any = CompactionPolicy::new().small_files(0).small_below(Some(1000));
        assert_eq!(Plan::due(&segments(&[60, 60, 60]), &any, LIMITS), None, "not fewer");
    }

    #[test]
    fn what_presses_is_what_can_be_freed_of_what_can_be_rewritten() {
        let policy = policy().start_at_store_dead_percent(30);
        assert!(is_pressing(&[of(100, 35, 0)], &policy));
        assert!(!is_pressing(&[of(100, 34, 0)], &policy));
        assert!(!is_pressing(&[of(100, 100, 66)], &policy));
        assert!(!is_pressing(&[kept(100, 100), of(100, 34, 0)], &policy));
        assert!(!is_pressing(&[], &policy));
    }

    /// What a run makes of segments in which everything is as it is known to be.
    fn after(segments: &[Facts], plan: &Plan) -> Vec<Facts> {
        let mut left = Vec::new();
        let mut output = Facts::default();
        let mut outputs = Vec::new();
        for (n, facts) in segments.iter().enumerate() {
            if !plan.inputs.contains(&n) {
                left.push(*facts);
                continue;
            }
            let hiding = if left.is_empty() { 0 } else { facts.hiding_bytes };
            let copy = facts.bytes - facts.dead_bytes + hiding;
            if output.bytes > 0 && output.bytes + copy > SEGMENT {
                outputs.push(std::mem::take(&mut output));
            }
            output.bytes += copy;
            output.dead_bytes += hiding;
            output.hiding_bytes += hiding;
        }
        outputs.push(output);
        left.extend(outputs.into_iter().filter(|output| output.bytes > 0));
        left
    }

    fn facts() -> impl Strategy<Value = Facts> {
        let shares = (1u64..=2 * SEGMENT, 0u64..=100, 0u64..=100, prop::bool::weighted(0.1));
        shares.prop_map(|(bytes, dead, hiding, is_kept)| {
            let dead_bytes = bytes * dead / 100;
            Facts { bytes, dead_bytes, hiding_bytes: dead_bytes * hiding / 100, is_kept }
        })
    }

    fn policies() -> impl Strategy<Value = CompactionPolicy> {
        let shares = (1u8..=100, 1u8..=100, 1u8..=100, 1u64..1000, 1u64..1000);
        (shares, 0usize..9, 0u64..300, 1u64..1000).prop_map(
            |((start, store, include, start_bytes, include_bytes), files, below, run)| {
                CompactionPolicy::new()
                    .start_at_dead_percent(start)
                    .start_at_store_dead_percent(store)
                    .include_from_dead_percent(include)
                    .start_at_dead_bytes(start_bytes)
                    .include_from_dead_bytes(include_bytes)
                    .small_files(files)
                    .small_below(Some(below))
                    .bytes_per_run(Some(run))
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn when_nobody_writes_plans_come_to_an_end_and_what_they_leave_is_not_due(
            segments in prop::collection::vec(facts(), 0..40),
            policy in policies(),
        ) {
            let bytes = |segments: &[Facts]| segments.iter().map(|facts| facts.bytes).sum::<u64>();
            let all = bytes(&segments);
            let (mut now, mut runs, mut copied) = (segments.clone(), 0, 0);
            while let Some(plan) = Plan::due(&now, &policy, LIMITS) {
                prop_assert!(!plan.inputs.is_empty() && plan.inputs.is_sorted());
                prop_assert!(plan.inputs.iter().all(|&input| !now[input].is_kept));
                let limit = policy.run_bytes.unwrap();
                prop_assert!(plan.copied <= limit || plan.inputs.len() == 1
                    || plan.inputs.iter().filter(|&&n| now[n].bytes > now[n].dead_bytes).count() <= 1
                    || plan.inputs.iter().map(|&n| now[n].bytes).max() >= Some(limit));
                let next = after(&now, &plan);
                let freed = bytes(&now) - bytes(&next);
                prop_assert!(freed >= plan.freed, "{plan:?} frees {freed}");
                let is_from_oldest = plan.inputs.iter().enumerate().all(|(n, &input)| n == input);
                prop_assert!(freed > 0 || next.len() < now.len() || is_from_oldest, "{plan:?}");
                (now, runs, copied) = (next, runs + 1, copied + plan.copied);
                prop_assert!(runs <= 2 * segments.len() + 10, "{runs} runs so far");
            }
            prop_assert!(copied <= 20 * all, "{copied} bytes copied of {all}");
        }

        #[test]
        fn a_store_that_is_left_to_a_policy_has_no_more_dead_than_it_says(
            segments in prop::collection::vec(facts(), 1..40),
        ) {
            let policy = policy();
            let mut now: Vec<_> = segments;
            now.iter_mut().for_each(|facts| facts.is_kept = false);
            while let Some(plan) = Plan::due(&now, &policy, LIMITS) {
                now = after(&now, &plan);
            }
            let (dead, bytes) = now.iter().fold((0, 0), |(dead, bytes), facts| {
                (dead + facts.dead_bytes, bytes + facts.bytes)
            });
            prop_assert!(dead * 100 <= bytes * u64::from(policy.store_percent), "{dead} of {bytes}");
        }
    }
}
