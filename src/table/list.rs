//! Rows of one table strung together by index, so that a row leaves its list in constant time.

use super::Table;

/// No row: the end of a list.
const NONE: u32 = u32::MAX;

/// What a row keeps of the list that it is in. It is in one list at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Links {
    prev: u32,
    next: u32,
}

impl Links {
    pub(crate) const fn new() -> Links {
        Links {
            prev: NONE,
            next: NONE,
        }
    }
}

/// A row that can be in a list.
pub(crate) trait Linked {
    fn links(&mut self) -> &mut Links;
}

/// The two ends of a list. The rows between are found through their [`Links`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    head: u32,
    tail: u32,
}

impl List {
    pub(crate) const fn new() -> List {
        List {
            head: NONE,
            tail: NONE,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.head == NONE
    }

    /// The index of the first row.
    pub(crate) fn first(&self) -> Option<u32> {
        (self.head != NONE).then_some(self.head)
    }

    /// Appends the row at `index`, which is in no list.
    #[inline]
    pub(crate) fn push_back<T: Linked>(&mut self, table: &mut Table<T>, index: u32) {
        *links(table, index) = Links {
            prev: self.tail,
            next: NONE,
        };
        match self.tail {
            NONE => self.head = index,
            tail => links(table, tail).next = index,
        }
        self.tail = index;
    }

    /// Takes the row at `index` out, which is in this list.
    #[inline]
    pub(crate) fn remove<T: Linked>(&mut self, table: &mut Table<T>, index: u32) {
        let Links { prev, next } = std::mem::replace(links(table, index), Links::new());
        match prev {
            NONE => self.head = next,
            prev => links(table, prev).next = next,
        }
        match next {
            NONE => self.tail = prev,
            next => links(table, next).prev = prev,
        }
    }

    /// Takes the first row out.
    #[inline]
    pub(crate) fn pop_front<T: Linked>(&mut self, table: &mut Table<T>) -> Option<u32> {
        let index = self.first()?;
        self.remove(table, index);
        Some(index)
    }
}

fn links<T: Linked>(table: &mut Table<T>, index: u32) -> &mut Links {
    match table.at_mut(index) {
        Some((_, row)) => row.links(),
        None => unreachable!("a list names a row that is not in the table"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Row(Links, u32);

    impl Linked for Row {
        fn links(&mut self) -> &mut Links {
            &mut self.0
        }
    }

    /// Every order of removing four rows leaves the others in their order.
    #[test]
    fn any_row_can_leave_at_any_time() {
        fn drain(order: &mut Vec<u32>, checked: &mut u32) {
            if order.len() == 4 {
                let mut table = Table::new();
                let mut list = List::new();
                let keys: Vec<_> = (0..4).map(|n| table.insert(Row(Links::new(), n))).collect();
                for key in &keys {
                    list.push_back(&mut table, key.index());
                }
                for (left, &gone) in (0..4).rev().zip(order.iter()) {
                    list.remove(&mut table, keys[gone as usize].index());
                    let mut copy = Vec::new();
                    let mut next = list.first();
                    while let Some(index) = next {
                        let row = table.at(index).unwrap().1;
                        copy.push(row.1);
                        next = (row.0.next != NONE).then_some(row.0.next);
                    }
                    assert_eq!(copy.len(), left);
                    assert!(copy.is_sorted());
                    assert!(!copy.contains(&gone));
                }
                assert!(list.is_empty());
                *checked += 1;
                return;
            }
            for n in 0..4 {
                if !order.contains(&n) {
                    order.push(n);
                    drain(order, checked);
                    order.pop();
                }
            }
        }
        let mut checked = 0;
        drain(&mut Vec::new(), &mut checked);
        assert_eq!(checked, 24);
    }

    #[test]
    fn the_first_to_come_is_the_first_to_go() {
        let mut table = Table::new();
        let mut list = List::new();
        for n in 0..5 {
            let key = table.insert(Row(Links::new(), n));
            list.push_back(&mut table, key.index());
        }
        let mut out = Vec::new();
        while let Some(index) = list.pop_front(&mut table) {
            out.push(table.at(index).unwrap().1.1);
        }
        assert_eq!(out, [0, 1, 2, 3, 4]);
    }
}
