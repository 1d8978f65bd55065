//! The timers against a model: a list that is searched from end to end.

use super::*;
use common::quick_or_full;
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The timers and their model. Every call is checked against the model.
struct Checked {
    timers: Timers<u32>,
    /// Each row's key, deadline, and whether it has fired, by its number. Numbers increase in the order of arming.
    rows: BTreeMap<u32, (Key, u64, bool)>,
    /// The same for the armed ones, in the order in which they must fire.
    armed: BTreeSet<(u64, u32)>,
    /// The deadlines of canceled timers: the only times that `next_deadline` may return although nothing is due then.
    canceled: HashSet<u64>,
    inserted: u32,
}

impl Checked {
    fn new(now: u64) -> Checked {
        Checked {
            timers: Timers::new(now),
            rows: BTreeMap::new(),
            armed: BTreeSet::new(),
            canceled: HashSet::new(),
            inserted: 0,
        }
    }

    fn insert(&mut self, deadline: u64) {
        let number = self.inserted;
        self.inserted += 1;
        let key = self.timers.insert(deadline, number);
        self.rows.insert(number, (key, deadline, false));
        self.armed.insert((deadline, number));
    }

    fn release(&mut self, number: u32) {
        let (key, deadline, fired) = self.rows.remove(&number).unwrap();
        assert_eq!(self.timers.release(key), (!fired).then_some(number));
        if self.armed.remove(&(deadline, number)) {
            self.canceled.insert(deadline);
        }
    }

    fn pop(&mut self, now: u64) -> Option<u32> {
        let due = self.armed.first().copied().filter(|due| due.0 <= now);
        let number = due.map(|(_, number)| number);
        assert_eq!(self.timers.pop_due(now), number);
        match due {
            Some(due) => {
                self.armed.remove(&due);
                self.rows.get_mut(&due.1).unwrap().2 = true;
            }
            None => assert!(self.timers.next_deadline().is_none_or(|next| next > now)),
        }
        number
    }

    fn check(&mut self) {
        assert_eq!(self.timers.armed(), self.armed.len());
        assert_eq!(self.timers.len(), self.rows.len());
        assert_eq!(self.timers.is_empty(), self.rows.is_empty());
        let earliest = self.armed.first().map(|due| due.0);
        match (self.timers.next_deadline(), earliest) {
            (Some(next), Some(earliest)) if next < earliest => {
                assert!(self.canceled.contains(&next));
            }
            (next, earliest) => assert_eq!(next, earliest),
        }
    }

    fn check_rows(&mut self) {
        for (&number, &(key, deadline, fired)) in &self.rows {
            assert_eq!(self.timers.deadline(key), deadline);
            assert_eq!(self.timers.has_fired(key), fired);
            let mut wake = (!fired).then_some(number);
            assert_eq!(self.timers.wake_mut(key), wake.as_mut());
        }
    }

    /// Fires the remaining timers, sleeping as the runtime does. Returns how often it woke needlessly.
    fn drain(&mut self) -> usize {
        let mut needless = 0;
        while let Some(next) = self.timers.next_deadline() {
            needless += usize::from(self.pop(next).is_none());
            while self.pop(next).is_some() {}
        }
        assert!(self.armed.is_empty());
        needless
    }
}

/// Runs every sequence of `events` events. Each event is one of: arm with one of `deadlines`; pop with one of `nows`,
/// which may also go back; release one of the existing rows, fired or not. Returns the number of sequences.
fn every_sequence(events: usize, start: u64, deadlines: &[u64], nows: &[u64]) -> usize {
    let mut tried = 0;
    // The choice at each step, and the number of choices there.
    let mut choices = vec![(0, 0); events];
    loop {
        let mut state = Checked::new(start);
        for (choice, of) in &mut choices {
            *of = deadlines.len() + nows.len() + state.rows.len();
            let pops = *choice - deadlines.len().min(*choice);
            if let Some(&deadline) = deadlines.get(*choice) {
                state.insert(deadline);
            } else if let Some(&now) = nows.get(pops) {
                state.pop(now);
            } else {
                let number = *state.rows.keys().nth(pops - nows.len()).unwrap();
                state.release(number);
            }
            state.check();
        }
        state.check_rows();
        let canceled = state.canceled.len();
        assert!(state.drain() <= canceled, "W4 in {choices:?}");
        tried += 1;
        // The next sequence: increment the last step that has a choice left, and start again after it.
        let Some(step) = choices.iter().rposition(|(choice, of)| choice + 1 < *of) else {
            return tried;
        };
        choices[step].0 += 1;
        choices[step + 1..].fill((0, 0));
    }
}

/// Counts the sequences without running them: `rows` rows to begin with, `events` events.
fn sequences(events: usize, rows: usize, deadlines: usize, nows: usize) -> usize {
    let count = |rows| match events {
        0 => 1,
        _ => sequences(events - 1, rows, deadlines, nows),
    };
    match events {
        0 => 1,
        _ => {
            let released = if rows > 0 { rows * count(rows - 1) } else { 0 };
            deadlines * count(rows + 1) + nows * count(rows) + released
        }
    }
}

#[test]
fn every_short_sequence_matches_the_model() {
    // One is past; 63 is on the position's own level; 64 and 65 share a slot of the next; 4097 is higher still.
    let deadlines = [3, 63, 64, 65, 4097, u64::MAX];
    let nows = [63, 64, u64::MAX];
    let events = quick_or_full(4, 5);
    let tried = every_sequence(events, 62, &deadlines, &nows);
    println!("{tried} sequences");
    assert_eq!(tried, sequences(events, 0, deadlines.len(), nows.len()));
    assert!(tried > quick_or_full(1_000, 100_000));
}

#[test]
fn every_longer_sequence_of_fewer_events_matches_the_model() {
    // All begin in one slot two levels up, so bounds become stale, and half-empty slots are dealt out.
    let (deadlines, nows) = ([4096, 4160, 4161], [4160]);
    let events = quick_or_full(6, 7);
    let tried = every_sequence(events, 0, &deadlines, &nows);
    println!("{tried} sequences");
    assert_eq!(tried, sequences(events, 0, deadlines.len(), nows.len()));
    assert!(tried > quick_or_full(1_000, 100_000));
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ bits >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Returns a number of up to `bits` bits, each length with the same probability.
    fn span(&mut self, bits: u64) -> u64 {
        let length = self.below(bits + 1);
        self.next() & ((1u128 << length) - 1) as u64
    }
}

/// An event in the life of a runtime.
#[derive(Clone, Debug)]
enum LifeEvent {
    /// Arms a timer for the same time as the last one, or one nanosecond later.
    ArmLike {
        later: bool,
    },
    ArmBefore(u64),
    ArmAfter(u64),
    /// Releases the first row that has at least this number.
    Release(u32),
    /// Time passes.
    Pass(u64),
    /// Time passes until something is reported as due.
    Sleep,
    /// Fires some of what is due.
    Pop(usize),
}

/// Numbers of up to `bits` bits, each length with the same probability.
fn span(bits: u32) -> impl Strategy<Value = u64> {
    let number = |(length, number)| number & ((1_u128 << length) - 1) as u64;
    (0..=bits, any::<u64>()).prop_map(number)
}

/// Long lives: timers are armed for near, far, past and equal times, some are canceled, and due ones are fired a few at a
/// time. `bits` bounds how far ahead they are, and `step` how fast time passes.
fn lives(bits: u32, step: u32) -> impl Strategy<Value = (u64, Vec<LifeEvent>)> {
    let event = prop_oneof![
        3 => any::<bool>().prop_map(|later| LifeEvent::ArmLike { later }),
        1 => span(bits).prop_map(LifeEvent::ArmBefore),
        8 => span(bits).prop_map(LifeEvent::ArmAfter),
        8 => (0..1200_u32).prop_map(LifeEvent::Release),
        4 => span(step).prop_map(LifeEvent::Pass),
        2 => Just(LifeEvent::Sleep),
        6 => (0..4_usize).prop_map(LifeEvent::Pop),
    ];
    (span(60), vec(event, 0..3_000))
}

fn live(mut now: u64, events: &[LifeEvent]) {
    let mut state = Checked::new(now);
    let (mut needless, mut cancels, mut last) = (0, 0, now);
    for event in events {
        match *event {
            LifeEvent::ArmLike { later } => {
                last = last.wrapping_add(later.into());
                state.insert(last);
            }
            LifeEvent::ArmBefore(span) => {
                last = now.saturating_sub(span);
                state.insert(last);
            }
            LifeEvent::ArmAfter(span) => {
                last = now.saturating_add(span);
                state.insert(last);
            }
            LifeEvent::Release(number) => {
                if let Some((&number, &(_, _, fired))) = state.rows.range(number..).next() {
                    cancels += usize::from(!fired);
                    state.release(number);
                }
            }
            LifeEvent::Pass(span) => now = now.saturating_add(span),
            LifeEvent::Sleep => {
                now = now.max(state.timers.next_deadline().unwrap_or(now));
                let due = state.timers.next_deadline().is_some();
                needless += usize::from(state.pop(now).is_none() && due);
            }
            LifeEvent::Pop(count) => {
                for _ in 0..count {
                    state.pop(now);
                }
            }
        }
        state.check();
    }
    state.check_rows();
    assert!(needless + state.drain() <= cancels, "W4");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: quick_or_full(2, 10), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn long_lives_match_the_model((now, events) in lives(64, 40)) {
        live(now, &events);
    }

    #[test]
    fn long_lives_of_timers_of_a_second_match_the_model((now, events) in lives(30, 24)) {
        live(now, &events);
    }

    #[test]
    fn long_lives_of_short_timers_match_the_model((now, events) in lives(14, 7)) {
        live(now, &events);
    }

    #[test]
    fn long_lives_of_timers_that_are_due_together_match_the_model((now, events) in lives(3, 2)) {
        live(now, &events);
    }
}

#[test]
fn a_canceled_timer_causes_at_most_one_needless_wake() {
    let mut timers = Timers::new(0);
    let first = timers.insert(5_000, 'a');
    timers.insert(6_000, 'b');
    assert_eq!(timers.release(first), Some('a'));
    assert_eq!(timers.next_deadline(), Some(5_000));
    assert_eq!(timers.pop_due(5_000), None);
    assert_eq!(timers.next_deadline(), Some(6_000));
    assert_eq!(timers.pop_due(6_000), Some('b'));
}

#[test]
fn an_earlier_timer_becomes_the_next_at_once() {
    let mut timers = Timers::new(1 << 40);
    for deadline in [u64::MAX, 1 << 50, 1 << 41, (1 << 40) + 1, 1 << 40, 7, 0] {
        timers.insert(deadline, ());
        assert_eq!(timers.next_deadline(), Some(deadline));
    }
}

#[test]
fn a_payload_can_be_replaced_until_it_fires() {
    let mut timers = Timers::new(0);
    let key = timers.insert(10, 'a');
    *timers.wake_mut(key).unwrap() = 'b';
    assert_eq!(timers.pop_due(9), None);
    assert_eq!(timers.pop_due(10), Some('b'));
    assert_eq!(timers.wake_mut(key), None);
    assert!(timers.has_fired(key));
    assert_eq!((timers.armed(), timers.len()), (0, 1));
    assert_eq!(timers.release(key), None);
    assert!(timers.is_empty());
}

#[test]
#[should_panic(expected = "W6")]
fn a_released_key_names_nothing() {
    let mut timers = Timers::new(0);
    let key = timers.insert(10, ());
    timers.release(key);
    timers.has_fired(key);
}

const MILLION: u32 = 1_000_000;

#[test]
fn a_million_timers_fire_in_order() {
    let mut random = Random(1);
    let mut timers = Timers::new(0);
    let mut armed = Vec::new();
    for number in 0..MILLION {
        let deadline = random.below(10_000_000_000);
        let key = timers.insert(deadline, number);
        if number % 3 == 0 {
            timers.release(key);
        } else {
            armed.push((deadline, number));
        }
    }
    armed.sort_unstable();
    for (deadline, number) in armed {
        assert_eq!(timers.pop_due(deadline), Some(number));
    }
    assert_eq!(timers.armed(), 0);
}

#[test]
fn a_million_equal_deadlines_fire_from_their_slot() {
    let mut timers = Timers::new(0);
    for number in 0..MILLION {
        timers.insert(1 << 33, number);
    }
    let entries = timers.entries();
    for number in 0..MILLION {
        assert_eq!(timers.pop_due(1 << 34), Some(number));
        if number == 0 {
            assert_eq!(timers.entries(), (entries.0 - 1, entries.1));
            assert_eq!(timers.wheel.position(), 1 << 33);
        }
    }
    assert!(timers.entries().1 <= 64);
}

#[test]
fn a_million_canceled_timers_leave_nothing_behind() {
    let mut random = Random(2);
    let mut timers = Timers::new(0);
    let armed = 1000;
    let mut keys: Vec<Key> = (0..armed)
        .map(|n| timers.insert(1 << 35 | n << 20, n))
        .collect();
    for n in 0..u64::from(MILLION) {
        // Half of them at once, half of them after a while.
        let key = timers.insert((1 << 35) + random.span(34), n);
        let which = random.below(2 * armed) as usize;
        let key = keys
            .get_mut(which)
            .map_or(key, |old| std::mem::replace(old, key));
        assert!(timers.release(key).is_some());
        if n % 1024 == 0 {
            let (len, room) = timers.entries();
            assert!(len <= 5000 && room <= 20_000, "{len} {room}");
        }
    }
    for key in keys {
        timers.release(key);
    }
    assert_eq!(timers.entries().0, 0);
    assert_eq!(timers.next_deadline(), None);
}

#[test]
fn a_burst_releases_its_memory() {
    let fill = |timers: &mut Timers<u32>| -> Vec<Key> {
        let mut random = Random(3);
        let deadlines = (0..MILLION / 4).map(|_| 1 << 40 | random.below(1 << 36));
        deadlines
            .map(|deadline| timers.insert(deadline, 0))
            .collect()
    };
    let mut timers = Timers::new(0);
    for key in fill(&mut timers) {
        timers.release(key);
    }
    let (len, room) = timers.entries();
    assert!(len == 0 && room <= 64 * 64, "{room}");
    fill(&mut timers);
    while timers.pop_due(u64::MAX).is_some() {}
    // Room remains for a few timers per slot.
    let (len, room) = timers.entries();
    assert!(len == 0 && room <= 64 * 704, "{room}");
}

#[test]
fn timers_armed_for_the_firing_slot_are_ordered_within_it() {
    let mut random = Random(4);
    let mut state = Checked::new(0);
    for round in 0..20 {
        let start = round << 30 | 1 << 29;
        for _ in 0..200 {
            state.insert(start + random.below(1 << 17));
        }
        for n in 0..1000 {
            let now = start + (n << 7);
            for _ in 0..random.below(4) {
                state.insert((now + random.span(17)).saturating_sub(random.span(6)));
            }
            while state.pop(now).is_some() {}
            if let Some(&(_, number)) = state.armed.iter().nth(random.below(8) as usize) {
                state.release(number);
            }
            state.check();
        }
    }
    state.drain();
}

#[test]
fn a_row_is_small() {
    // For a payload of 16 bytes with a niche. With the table's generation and its tag, a row has 40 bytes, and an entry
    // 16.
    assert!(size_of::<TimerRow<(u64, std::num::NonZeroU64)>>() <= 24);
}

/// Only a large table needs a prefetch: of the row of the timer that fires next.
#[test]
fn a_prefetched_timer_is_the_one_that_fires_then() {
    let mut timers = Timers::new(0);
    let mut keys = Vec::new();
    for n in 0..5000 {
        keys.push(timers.insert(7, n));
        assert!(timers.upcoming(0).is_none(), "no timer is due");
    }
    assert_eq!(timers.pop_due(7), Some(0));
    for others in [0, 8, 4998] {
        let row = timers.rows.place(keys[1 + others].index());
        let row = row.map(|row| std::ptr::from_ref(row).addr());
        let upcoming = timers.upcoming(others);
        let upcoming = upcoming.map(|row| std::ptr::from_ref(row).addr());
        assert!(upcoming.is_some() && upcoming == row, "{others}");
    }
    assert!(timers.upcoming(4999).is_none());
    for key in keys.drain(100..) {
        timers.release(key);
    }
    assert_eq!(timers.pop_due(7), Some(1));
    assert!(timers.upcoming(0).is_none(), "a small table");
}
