//! The life of one operation, as a machine that knows neither ring nor clock.
//!
//! An operation is handed to the ring and lives until its last completion has been reaped *and* its future has let go.
//! Either can come first.
//!
//! | event | InFlight | Done | Orphan |
//! |---|---|---|---|
//! | last completion (`complete`) | keep the result, wake → Done | impossible: assert | dispose of it, free the row |
//! | completion with MORE (`complete`) | collect it, wake; at the limit ask to cancel | impossible: assert | dispose of this one |
//! | polled (`poll`, `renew`) | hand out what is collected, else renew the waker | hand out; the last frees the row | impossible: assert |
//! | future dropped (`abandon`) | its owners move in, ask to cancel → Orphan | dispose of what is left, free the row | impossible: assert |
//! | cancel asked (`ask_cancel`) | ask the kernel, once | nothing: the result stands | nothing: it was asked when it was orphaned |
//! | a cancel failed (`cancel_missed`) | ask again | nothing | ask again |
//!
//! `InFlight` begins when the entry is handed to the port. Whether the kernel has taken it from the queue by then makes
//! no difference to any event: a cancel that is asked for goes into the same queue, behind it.
//!
//! The machine is generic over what it wakes (`W`) and over the owners of lent memory (`D`), so that the tests can count
//! both. What a transition gives back is a duty: nothing of it runs in here (R1).

use crate::sys::Completion;
use std::collections::VecDeque;

/// Completions of one operation that are kept until somebody takes them, where the operation says nothing else. Past its
/// limit it is asked to stop; whoever takes the last of them may start it again.
pub(crate) const COLLECT_MAX: u32 = 1024;

/// Completions that came before the last one. Most operations have none, and pay a null pointer for it.
type Collected = Option<Box<VecDeque<Completion>>>;

/// How often the kernel was asked to stop it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CancelAttempts(u8);

impl CancelAttempts {
    pub(super) fn count(self) -> u8 {
        self.0
    }

    fn add(&mut self) {
        self.0 = self.0.saturating_add(1);
    }
}

/// Where an operation stands.
#[derive(Debug)]
pub(crate) enum Life<W, D> {
    /// The kernel has it, and a future waits for it.
    InFlight {
        wake: Option<W>,
        collected: Collected,
        asks: CancelAttempts,
    },
    /// The kernel is done with it, and the future has not looked yet.
    Done {
        last: Completion,
        collected: Collected,
        asked: bool,
    },
    /// The kernel has it, and its future is gone. The owners are out for a moment while one of its completions is being
    /// disposed of.
    Orphan {
        owners: Option<D>,
        asks: CancelAttempts,
    },
}

/// What is to be done about a completion.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum OnComplete<W> {
    Wake {
        wake: Option<W>,
        /// Too much is collected: ask the kernel to stop it.
        ask_cancel: bool,
    },
    /// Nobody waits for it: the owners dispose of it. After the last, they are dropped and the row is free.
    Dispose { last: bool },
}

/// What a future finds.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Polled {
    Pending,
    /// One of several; the kernel still has the operation, or more is collected.
    Item(Completion),
    /// The last one: the row is to be freed. `asked` says whether a cancel had been asked for.
    Last {
        completion: Completion,
        asked: bool,
    },
}

/// What is to be done about a future that was dropped.
#[derive(Debug)]
#[must_use]
pub(crate) enum OnDrop<D> {
    /// The kernel still has it and the row has the owners: ask the kernel to stop it, unless that was done before. The
    /// second is what was collected: to be disposed of by the owners.
    Orphaned {
        ask_cancel: bool,
        collected: Collected,
    },
    /// The kernel is done with it: the owners dispose of what is left, and the row is to be freed.
    Ended {
        owners: D,
        collected: Collected,
        last: Completion,
    },
}

impl<W, D> Life<W, D> {
    /// Handed to the ring. There is nobody to wake if it was started without being awaited.
    pub(crate) fn new(wake: Option<W>) -> Life<W, D> {
        Life::InFlight {
            wake,
            collected: None,
            asks: CancelAttempts::default(),
        }
    }

    /// The kernel posted a completion.
    #[inline]
    pub(crate) fn complete(&mut self, completion: Completion, collect_max: u32) -> OnComplete<W> {
        match self {
            Life::InFlight {
                wake,
                collected,
                asks,
            } => {
                let wake = wake.take();
                if !completion.has_more() {
                    let collected = collected.take();
                    let asked = asks.0 > 0;
                    *self = Life::Done {
                        last: completion,
                        collected,
                        asked,
                    };
                    return OnComplete::Wake {
                        wake,
                        ask_cancel: false,
                    };
                }
                let items = collected.get_or_insert_default();
                items.push_back(completion);
                let ask_cancel = items.len() >= collect_max as usize && asks.0 == 0;
                if ask_cancel {
                    asks.add();
                }
                OnComplete::Wake { wake, ask_cancel }
            }
            Life::Orphan { .. } => OnComplete::Dispose {
                last: !completion.has_more(),
            },
            Life::Done { .. } => panic!("O3: a completion came after the last one"),
        }
    }

    /// The future looks.
    #[inline]
    pub(crate) fn poll(&mut self) -> Polled {
        match self {
            Life::InFlight { collected, .. } => match pop(collected) {
                Some(item) => Polled::Item(item),
                None => Polled::Pending,
            },
            Life::Done {
                last,
                collected,
                asked,
            } => match pop(collected) {
                Some(item) => Polled::Item(item),
                None => Polled::Last {
                    completion: *last,
                    asked: *asked,
                },
            },
            Life::Orphan { .. } => panic!("an orphan has no future that could poll it"),
        }
    }

    /// The future found nothing, and wants to be woken by this. What it replaces comes back to be dropped.
    #[inline]
    pub(crate) fn renew(&mut self, new: W) -> Option<W> {
        match self {
            Life::InFlight { wake, .. } => wake.replace(new),
            Life::Done { .. } | Life::Orphan { .. } => {
                panic!("only an operation that is pending is waited for")
            }
        }
    }

    /// Whom to wake, taken out to be woken for another reason than a completion.
    pub(crate) fn take_wake(&mut self) -> Option<W> {
        match self {
            Life::InFlight { wake, .. } => wake.take(),
            Life::Done { .. } | Life::Orphan { .. } => None,
        }
    }

    /// The future is dropped. `owners` keep what was lent alive until the last completion (O1). The waker comes back to
    /// be dropped.
    pub(crate) fn abandon(&mut self, owners: D) -> (OnDrop<D>, Option<W>) {
        match self {
            Life::InFlight {
                wake,
                collected,
                asks,
            } => {
                let wake = wake.take();
                let collected = collected.take();
                let mut asks = *asks;
                let ask_cancel = asks.0 == 0;
                if ask_cancel {
                    asks.add();
                }
                *self = Life::Orphan {
                    owners: Some(owners),
                    asks,
                };
                let duty = OnDrop::Orphaned {
                    ask_cancel,
                    collected,
                };
                (duty, wake)
            }
            Life::Done {
                last, collected, ..
            } => {
                let duty = OnDrop::Ended {
                    owners,
                    collected: collected.take(),
                    last: *last,
                };
                (duty, None)
            }
            Life::Orphan { .. } => panic!("an operation has one future, and it is dropped once"),
        }
    }

    /// Somebody wants it to stop. True if the kernel is to be asked.
    #[inline]
    pub(crate) fn ask_cancel(&mut self) -> bool {
        match self {
            Life::InFlight { asks, .. } | Life::Orphan { asks, .. } if asks.0 == 0 => {
                asks.add();
                true
            }
            _ => false,
        }
    }

    /// The kernel answered a cancel with a failure, and the completions of that reap have landed. If the operation is
    /// still in flight it is to be asked again, and this is how often it was asked before.
    pub(crate) fn cancel_missed(&mut self) -> Option<CancelAttempts> {
        match self {
            Life::InFlight { asks, .. } | Life::Orphan { asks, .. } if asks.0 > 0 => {
                let before = *asks;
                asks.add();
                Some(before)
            }
            _ => None,
        }
    }

    /// How often the kernel was asked to stop it, as long as it has it.
    pub(crate) fn asks(&self) -> u8 {
        match self {
            Life::InFlight { asks, .. } | Life::Orphan { asks, .. } => asks.0,
            Life::Done { .. } => 0,
        }
    }

    /// The kernel has it.
    #[inline]
    pub(crate) fn is_in_flight(&self) -> bool {
        !matches!(self, Life::Done { .. })
    }

    /// The kernel has it, and a future waits for it.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self, Life::InFlight { .. })
    }

    pub(crate) fn is_orphan(&self) -> bool {
        matches!(self, Life::Orphan { .. })
    }

    /// The owners of an orphan, out to dispose of a completion.
    pub(crate) fn lend_owners(&mut self) -> Option<D> {
        match self {
            Life::Orphan { owners, .. } => owners.take(),
            _ => None,
        }
    }

    /// The owners come back: the kernel still has the operation.
    pub(crate) fn return_owners(&mut self, returned: D) {
        match self {
            Life::Orphan { owners, .. } if owners.is_none() => *owners = Some(returned),
            _ => panic!("owners come back to the orphan that lent them"),
        }
    }
}

#[inline]
fn pop(collected: &mut Collected) -> Option<Completion> {
    collected.as_mut()?.pop_front()
}

#[cfg(test)]
#[path = "lifecycle_tests.rs"]
mod tests;
