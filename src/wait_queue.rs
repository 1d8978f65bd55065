//! Who waits for something, in order of arrival.
//!
//! A [`WaitQueue`] keeps a value for each that waits, mostly its waker, and a place in line. It runs no code of a user: what is
//! taken out or replaced goes to the caller, to be woken or dropped where nothing is borrowed (R1). Gates and groups have
//! one each, and so have the tasks that close descriptors.
//!
//! A wait that is dropped has to leave the line, from wherever in it. So the places are rows of a slab, linked in order, and
//! each is named by a [`Ticket`].
//!
//! | event | in line | turn has come |
//! |---|---|---|
//! | `push` | a new place, the last in line | |
//! | `renew` | the value is replaced | last in line again |
//! | `take_first`, `take_all` | the value goes out: its turn has come | nothing |
//! | `remove` (so when the wait is dropped) | the place is gone, and the value goes out | the place is gone |
//!
//! - **Q1** A ticket names its place from `push` to `remove`. Only its holder removes it, so no other has it meanwhile.
//! - **Q2** In line are the places with a value, each once, in the order in which they were put there last.
//! - **Q3** Every call takes constant time, but for `take_all` and `each`, which look at those in line.

#![forbid(unsafe_code)]

use slab::Slab;
use std::num::NonZeroU32;

/// No place: the end of the line.
const NONE: u32 = u32::MAX;

/// The room of an empty queue that is kept, in places.
const ROOM_KEPT: usize = 64;

/// A place in a [`WaitQueue`] (Q1): one more than its number, so that one that may be there takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(NonZeroU32);

impl Ticket {
    fn new(at: u32) -> Ticket {
        match NonZeroU32::MIN.checked_add(at) {
            Some(ticket) => Ticket(ticket),
            None => unreachable!("no place has the number that names none"),
        }
    }

    fn at(self) -> u32 {
        self.0.get() - 1
    }
}

#[derive(Debug)]
struct Place<T> {
    /// Not there once its turn has come.
    value: Option<T>,
    /// The neighbors in line.
    before: u32,
    next: u32,
}

/// Values in order of arrival, each of which may leave at any time.
#[derive(Debug)]
pub(crate) struct WaitQueue<T> {
    places: Slab<Place<T>>,
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

    /// Whether nobody is in line.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    /// Places, in line or not.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// A place at the end of the line.
    pub(crate) fn push(&mut self, value: T) -> Ticket {
        let at = self.places.insert(Place {
            value: Some(value),
            before: NONE,
            next: NONE,
        });
        let at = u32::try_from(at).unwrap_or(NONE);
        assert!(at != NONE, "a queue has less than 2^32 places");
        self.link_last(at);
        Ticket::new(at)
    }

    /// Replaces the value. A place whose turn has come is the last in line again.
    pub(crate) fn renew(&mut self, ticket: Ticket, value: T) -> Option<T> {
        let replaced = self.place(ticket.at()).value.replace(value);
        if replaced.is_none() {
            self.link_last(ticket.at());
        }
        replaced
    }

    /// The value of a place that is in line.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<&T> {
        self.places.get(ticket.at() as usize)?.value.as_ref()
    }

    /// The turn of the first in line has come.
    #[inline]
    pub(crate) fn take_first(&mut self) -> Option<(Ticket, T)> {
        match self.first {
            NONE => None,
            first => Some((Ticket::new(first), self.take(first)?)),
        }
    }

    /// The turn of all that are in line has come.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        std::iter::from_fn(|| self.take_first())
            .map(|(_, value)| value)
            .collect()
    }

    /// Gives up a place, with what is in it.
    pub(crate) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let value = self.take(ticket.at());
        let removed = self.places.try_remove(ticket.at() as usize);
        assert!(removed.is_some(), "Q1: a place is removed by its holder");
        if self.places.is_empty() && self.places.capacity() > ROOM_KEPT {
            self.places = Slab::new();
        }
        value
    }

    /// Looks at each value in line, in order.
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

    fn place(&mut self, at: u32) -> &mut Place<T> {
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

    /// Takes a value out, and its place out of the line, if it is there.
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

    /// Holders of a ticket.
    const HOLDERS: usize = 3;
    const LENGTH: u32 = 7;

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

    /// The same, by searching a vector.
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
        /// False if the event is not possible here.
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
            for (holder, ticket) in tickets.iter().enumerate() {
                let waits = model.line.iter().find(|(waits, _)| *waits == holder);
                let expected = waits.map(|(_, value)| value);
                assert_eq!(ticket.and_then(|ticket| queue.get(ticket)), expected);
            }
        }
    }

    #[test]
    fn every_sequence_of_events_is_as_in_a_vector() {
        let events = events();
        let count = events.len();
        let mut sequences = 0_u32;
        // Each number names a sequence, by its digits.
        let mut number = 0;
        while number < count.pow(LENGTH) {
            let mut pair = Pair::default();
            let mut step = count.pow(LENGTH);
            let mut possible = true;
            while step > 1 && possible {
                step /= count;
                possible = pair.apply(events[number / step % count]);
            }
            if possible {
                sequences += 1;
                pair.compare();
            }
            // What begins with an impossible sequence is passed over.
            number = (number / step + 1) * step;
        }
        assert!(sequences > 100_000, "{sequences}");
    }

    #[test]
    fn the_memory_of_a_crowd_is_given_back_when_it_has_gone() {
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
