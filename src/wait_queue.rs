//! Waiters in order of arrival.
//!
//! A [`WaitQueue`] keeps a value for each waiter, usually its waker, and its place in line. It runs no user code:
//! values that are taken out or replaced are returned to the caller, to be woken or dropped where nothing is borrowed
//! (R1). FIFO locks, groups, listeners and the waits of `close` have one each.
//!
//! A wait that is dropped leaves the line from any position. So the places are rows of a slab, linked in order, and
//! each is identified by a [`Ticket`].
//!
//! | event | in line | turn has come |
//! |---|---|---|
//! | `push` | a new place, the last in line | |
//! | `renew` | the value is replaced | last in line again |
//! | `take_first`, `take_all` | the value is returned: its turn has come | nothing |
//! | `remove` (also when the wait is dropped) | the place is removed, and the value returned | the place is removed |
//!
//! - **Q1** A ticket identifies its place from `push` to `remove`. Only its holder removes it, so no other waiter has
//!   it before.
//! - **Q2** The line consists of the places with a value, each once, in the order in which they last joined it.
//! - **Q3** Every call takes constant time, except `take_all` and `each`, which visit the whole line.

#![forbid(unsafe_code)]

use slab::Slab;
use std::num::NonZeroU32;

/// No place: the end of the line.
const NONE: u32 = u32::MAX;

/// The capacity that an empty queue keeps, in places.
const ROOM_KEPT: usize = 64;

/// A place in a [`WaitQueue`] (Q1): its number plus one, so that an `Option` of it takes no more space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(NonZeroU32);

impl Ticket {
    fn new(at: u32) -> Ticket {
        match NonZeroU32::MIN.checked_add(at) {
            Some(ticket) => Ticket(ticket),
            None => unreachable!("no place has the number `NONE`"),
        }
    }

    fn at(self) -> u32 {
        self.0.get() - 1
    }
}

#[derive(Debug)]
struct QueuePlace<T> {
    /// `None` once its turn has come.
    value: Option<T>,
    /// The neighbors in line.
    before: u32,
    next: u32,
}

/// Values in order of arrival, each of which may leave at any time.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    places: Slab<QueuePlace<T>>,
    first: u32,
    last: u32,
}

impl<T> WaitQueue<T> {
    pub(crate) const fn new() -> WaitQueue<T> {
        WaitQueue {
            places: Slab::new(),
            first: NONE,
            last: NONE,
        }
    }

    /// Whether the line is empty.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Returns the number of places, in line or not.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a place at the end of the line.
    pub(crate) fn push(&mut self, value: T) -> Ticket {
        let at = self.places.insert(QueuePlace {
            value: Some(value),
            before: NONE,
            next: NONE,
        });
        let at = u32::try_from(at).unwrap_or(NONE);
        assert!(at != NONE, "a queue has less than 2^32 places");
        self.link_last(at);
        Ticket::new(at)
    }

    /// Replaces the value, and returns the old one. A place whose turn has come joins the end of the line again.
    pub(crate) fn renew(&mut self, ticket: Ticket, value: T) -> Option<T> {
        let replaced = self.place(ticket.at()).value.replace(value);
        if replaced.is_none() {
            self.link_last(ticket.at());
        }
        replaced
    }

    /// Takes the value of the first in line: its turn has come.
    #[inline]
    pub(crate) fn take_first(&mut self) -> Option<(Ticket, T)> {
        match self.first {
            NONE => None,
            first => Some((Ticket::new(first), self.take(first)?)),
        }
    }

    /// Takes all values in line: their turn has come.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.take_first())
            .map(|(_, value)| value)
            .collect()
    }

    /// Removes a place, and returns its value.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let value = self.take(ticket.at());
        let removed = self.places.try_remove(ticket.at() as usize);
        assert!(removed.is_some(), "Q1: a place is removed by its holder");
        if self.places.is_empty() && self.places.capacity() > ROOM_KEPT {
            self.places = Slab::new();
        }
        value
    }

    /// Calls `look` with each value in line, in order.
    pub(crate) fn each(&mut self, mut look: impl FnMut(&mut T)) {
        let mut at = self.first;
        while at != NONE {
            let place = self.place(at);
            at = place.next;
            if let Some(value) = &mut place.value {
                look(value);
            }
        }
    }

    fn place(&mut self, at: u32) -> &mut QueuePlace<T> {
        match self.places.get_mut(at as usize) {
            Some(place) => place,
            None => unreachable!("Q1: a place is there until its holder removes it"),
        }
    }

    fn link_last(&mut self, at: u32) {
        let before = std::mem::replace(&mut self.last, at);
        match before {
            NONE => self.first = at,
            before => self.place(before).next = at,
        }
        let place = self.place(at);
        place.before = before;
        place.next = NONE;
    }

    /// Takes the value of a place, and the place out of the line, if it is in line.
    fn take(&mut self, at: u32) -> Option<T> {
        let place = self.place(at);
        let value = place.value.take()?;
        let (before, next) = (place.before, place.next);
        match before {
            NONE => self.first = next,
            before => self.place(before).next = next,
        }
        match next {
            NONE => self.last = before,
            next => self.place(next).before = before,
        }
        Some(value)
    }
}

impl<T> Default for WaitQueue<T> {
    fn default() -> WaitQueue<T> {
        WaitQueue::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of ticket holders.
    const HOLDERS: usize = 3;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Push(usize),
        Renew(usize),
        Remove(usize),
        TakeFirst,
        TakeAll,
    }

    fn events() -> Vec<Event> {
        let each = |event: fn(usize) -> Event| (0..HOLDERS).map(event);
        each(Event::Push)
            .chain(each(Event::Renew))
            .chain(each(Event::Remove))
            .chain([Event::TakeFirst, Event::TakeAll])
            .collect()
    }

    /// A model that searches a vector.
    #[derive(Default)]
    struct Model {
        line: Vec<(usize, u32)>,
        has_place: [bool; HOLDERS],
    }

    impl Model {
        fn take(&mut self, holder: usize) -> Option<u32> {
            let at = self.line.iter().position(|(waits, _)| *waits == holder)?;
            Some(self.line.remove(at).1)
        }
    }

    #[derive(Default)]
    struct Pair {
        model: Model,
        queue: WaitQueue<u32>,
        tickets: [Option<Ticket>; HOLDERS],
        next_value: u32,
    }

    impl Pair {
        /// Returns false if the event is not possible.
        fn apply(&mut self, event: Event) -> bool {
            let value = self.next_value;
            self.next_value += 1;
            let Pair {
                model,
                queue,
                tickets,
                ..
            } = self;
            match event {
                Event::Push(holder) => {
                    if tickets[holder].is_some() {
                        return false;
                    }
                    tickets[holder] = Some(queue.push(value));
                    model.line.push((holder, value));
                    model.has_place[holder] = true;
                }
                Event::Renew(holder) => {
                    let Some(ticket) = tickets[holder] else {
                        return false;
                    };
                    let waits = model.line.iter_mut().find(|(waits, _)| *waits == holder);
                    let expected = waits.map(|(_, kept)| std::mem::replace(kept, value));
                    if expected.is_none() {
                        model.line.push((holder, value));
                    }
                    assert_eq!(queue.renew(ticket, value), expected);
                }
                Event::Remove(holder) => {
                    let Some(ticket) = tickets[holder].take() else {
                        return false;
                    };
                    model.has_place[holder] = false;
                    assert_eq!(queue.remove(ticket), model.take(holder));
                }
                Event::TakeFirst => {
                    let first = (!model.line.is_empty()).then(|| model.line.remove(0));
                    let expected = first.map(|(holder, value)| (tickets[holder], value));
                    let taken = queue.take_first();
                    assert_eq!(taken.map(|(ticket, value)| (Some(ticket), value)), expected);
                }
                Event::TakeAll => {
                    let all = model.line.drain(..).map(|(_, value)| value);
                    assert_eq!(queue.take_all(), all.collect::<Vec<_>>());
                }
            }
            true
        }

        fn compare(&mut self) {
            let Pair {
                model,
                queue,
                tickets,
                ..
            } = self;
            let mut line = Vec::new();
            queue.each(|value| line.push(*value));
            assert!(line.iter().eq(model.line.iter().map(|(_, value)| value)));
            assert_eq!(queue.is_empty(), line.is_empty());
            let places = model.has_place.iter().filter(|has| **has).count();
            assert_eq!(queue.places.len(), places);
            let value = |ticket: Ticket| queue.places[ticket.at() as usize].value.as_ref();
            for (holder, ticket) in tickets.iter().enumerate() {
                let waits = model.line.iter().find(|(waits, _)| *waits == holder);
                let expected = waits.map(|(_, value)| value);
                assert_eq!(ticket.and_then(value), expected);
            }
        }
    }

    #[test]
    fn every_sequence_of_events_matches_a_vector() {
        let events = events();
        let count = events.len();
        let (length, sequences_min) = common::quick_or_full((6, 43_000), (7, 100_000));
        let mut sequences = 0_u32;
        // Each number encodes a sequence, by its digits.
        let mut number = 0;
        while number < count.pow(length) {
            let mut pair = Pair::default();
            let mut step = count.pow(length);
            let mut possible = true;
            while step > 1 && possible {
                step /= count;
                possible = pair.apply(events[number / step % count]);
            }
            if possible {
                sequences += 1;
                pair.compare();
            }
            // Sequences that start with an impossible one are skipped.
            number = (number / step + 1) * step;
        }
        assert!(sequences > sequences_min, "{sequences}");
    }

    #[test]
    fn the_memory_of_many_waiters_is_released_when_they_are_gone() {
        let mut queue = WaitQueue::new();
        for _ in 0..2 {
            let tickets: Vec<_> = (0..100_000).map(|n| queue.push(n)).collect();
            assert_eq!(queue.take_first().map(|(_, value)| value), Some(0));
            for ticket in tickets.into_iter().rev() {
                queue.remove(ticket);
            }
            assert!(queue.places.capacity() <= ROOM_KEPT);
        }
    }
}
