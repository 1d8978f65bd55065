//! The life of one operation, as a state machine that knows neither ring nor clock.
//!
//! An operation is submitted to the ring, and lives until its last completion has been reaped *and* its future has
//! released it. Either can come first.
//!
//! | event | InFlight | Done | Orphan |
//! |---|---|---|---|
//! | last completion (`complete`) | keep the result, wake → Done | impossible: assert | dispose of it, free the row |
//! | completion with MORE (`complete`) | collect it, wake; at the limit request a cancel | impossible: assert | dispose of this one |
//! | polled (`poll`, `renew`) | return a collected item, else renew the waker | return the next; the last frees the row | impossible: assert |
//! | future dropped (`abandon`) | its payload moves in, request a cancel → Orphan | dispose of the rest, free the row | impossible: assert |
//! | cancel requested (`ask_cancel`) | ask the kernel, once | nothing: the result stands | nothing: requested when orphaned |
//! | a cancel failed (`cancel_missed`) | ask again | nothing | ask again |
//!
//! `InFlight` begins when the entry is handed to the port. Whether the kernel has taken it from the queue yet makes no
//! difference to any event: a cancel request goes into the same queue, behind it.
//!
//! The machine is generic over what it wakes (`W`) and over the payload of lent memory (`D`), so that the tests can
//! count both. Each transition returns the work left to do: none of it runs in here (R1).

use crate::sys::Completion;
use std::collections::VecDeque;

/// The default limit of completions collected for one operation. At its limit, an operation is asked to stop; taking
/// the last of them may restart it.
pub(crate) const COLLECT_MAX: u32 = 1024;

/// Completions that came before the last one. Most operations have none, at the cost of a null pointer.
type Collected = Option<Box<VecDeque<Completion>>>;

/// The state of an operation.
#[derive(Debug)]
pub(crate) enum Lifecycle<W, D> {
    /// The kernel has it, and a future awaits it.
    InFlight {
        wake: Option<W>,
        collected: Collected,
        /// How often the kernel was asked to stop it.
        asks: u8,
    },
    /// The kernel is done with it, and the future has not been polled since.
    Done {
        last: Completion,
        collected: Collected,
        asked: bool,
    },
    /// The kernel has it, and its future is gone. The payload is taken out while one of its completions is disposed of.
    Orphan { payload: Option<D>, asks: u8 },
}

/// What to do about a completion.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum OnComplete<W> {
    Wake {
        wake: Option<W>,
        /// Too many are collected: ask the kernel to stop the operation.
        ask_cancel: bool,
    },
    /// Not awaited: the payload disposes of it. After the last, it is dropped and the row is freed.
    Dispose { last: bool },
}

/// The result of a poll.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Polled {
    Pending,
    /// One of several; the kernel still has the operation, or more are collected.
    Item(Completion),
    /// The last one: the row must be freed. `asked`: a cancel had been requested.
    Last {
        completion: Completion,
        asked: bool,
    },
}

/// What to do about a dropped future.
#[derive(Debug)]
#[must_use]
pub(crate) enum OnDrop<D> {
    /// The kernel still has the operation, and the row has the payload: request a cancel, unless that was done before.
    /// The second field contains the collected completions, for the payload to dispose of.
    Orphaned {
        ask_cancel: bool,
        collected: Collected,
    },
    /// The kernel is done with it: the payload disposes of the remaining completions, and the row must be freed.
    Ended {
        payload: D,
        collected: Collected,
        last: Completion,
    },
}

impl<W, D> Lifecycle<W, D> {
    /// Creates the state of a submitted operation. Without a waker if it was started without being awaited.
    pub(crate) fn new(wake: Option<W>) -> Lifecycle<W, D> {
        Lifecycle::InFlight {
            wake,
            collected: None,
            asks: 0,
        }
    }

    /// Handles a completion.
    #[inline]
    pub(crate) fn complete(&mut self, completion: Completion, collect_max: u32) -> OnComplete<W> {
        match self {
            Lifecycle::InFlight {
                wake,
                collected,
                asks,
            } => {
                let wake = wake.take();
                if !completion.has_more() {
                    let collected = collected.take();
                    let asked = *asks > 0;
                    *self = Lifecycle::Done {
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
                let ask_cancel = items.len() >= collect_max as usize && *asks == 0;
                *asks += u8::from(ask_cancel);
                OnComplete::Wake { wake, ask_cancel }
            }
            Lifecycle::Orphan { .. } => OnComplete::Dispose {
                last: !completion.has_more(),
            },
            Lifecycle::Done { .. } => panic!("O3: a completion came after the last one"),
        }
    }

    /// Handles a poll of the future.
    #[inline]
    pub(crate) fn poll(&mut self) -> Polled {
        match self {
            Lifecycle::InFlight { collected, .. } => match pop(collected) {
                Some(item) => Polled::Item(item),
                None => Polled::Pending,
            },
            Lifecycle::Done {
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
            Lifecycle::Orphan { .. } => panic!("an orphan has no future that could poll it"),
        }
    }

    /// Stores the waker of a future that found nothing. Returns the replaced waker, to be dropped.
    #[inline]
    pub(crate) fn renew(&mut self, new: W) -> Option<W> {
        match self {
            Lifecycle::InFlight { wake, .. } => wake.replace(new),
            Lifecycle::Done { .. } | Lifecycle::Orphan { .. } => {
                panic!("only an operation that is pending is waited for")
            }
        }
    }

    /// Takes the waker, to be woken for another reason than a completion.
    pub(crate) fn take_wake(&mut self) -> Option<W> {
        match self {
            Lifecycle::InFlight { wake, .. } => wake.take(),
            Lifecycle::Done { .. } | Lifecycle::Orphan { .. } => None,
        }
    }

    /// Handles the drop of the future. `payload` keeps the lent memory alive until the last completion (O1). Also returns
    /// the waker, to be dropped.
    pub(crate) fn abandon(&mut self, payload: D) -> (OnDrop<D>, Option<W>) {
        match self {
            Lifecycle::InFlight {
                wake,
                collected,
                asks,
            } => {
                let wake = wake.take();
                let collected = collected.take();
                let ask_cancel = *asks == 0;
                *self = Lifecycle::Orphan {
                    payload: Some(payload),
                    asks: (*asks).max(1),
                };
                let duty = OnDrop::Orphaned {
                    ask_cancel,
                    collected,
                };
                (duty, wake)
            }
            Lifecycle::Done {
                last, collected, ..
            } => {
                let duty = OnDrop::Ended {
                    payload,
                    collected: collected.take(),
                    last: *last,
                };
                (duty, None)
            }
            Lifecycle::Orphan { .. } => {
                panic!("an operation has one future, and it is dropped once")
            }
        }
    }

    /// Handles a cancel request. Returns whether the kernel must be asked.
    #[inline]
    pub(crate) fn ask_cancel(&mut self) -> bool {
        match self {
            Lifecycle::InFlight { asks, .. } | Lifecycle::Orphan { asks, .. } if *asks == 0 => {
                *asks = 1;
                true
            }
            _ => false,
        }
    }

    /// Handles a failed cancel, after all completions of that reap. If the operation is still in flight, the request
    /// must be repeated, and this returns how often it was made before.
    pub(crate) fn cancel_missed(&mut self) -> Option<u8> {
        match self {
            Lifecycle::InFlight { asks, .. } | Lifecycle::Orphan { asks, .. } if *asks > 0 => {
                let before = *asks;
                *asks = before.saturating_add(1);
                Some(before)
            }
            _ => None,
        }
    }

    /// Returns how often the kernel was asked to stop the operation, while it has it.
    pub(crate) fn asks(&self) -> u8 {
        match self {
            Lifecycle::InFlight { asks, .. } | Lifecycle::Orphan { asks, .. } => *asks,
            Lifecycle::Done { .. } => 0,
        }
    }

    /// Whether the kernel has it.
    #[inline]
    pub(crate) fn is_in_flight(&self) -> bool {
        !matches!(self, Lifecycle::Done { .. })
    }

    /// Whether the kernel has it and a future awaits it.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        matches!(self, Lifecycle::InFlight { .. })
    }

    pub(crate) fn is_orphan(&self) -> bool {
        matches!(self, Lifecycle::Orphan { .. })
    }

    /// Takes the payload of an orphan, to dispose of a completion.
    pub(crate) fn take_payload(&mut self) -> Option<D> {
        match self {
            Lifecycle::Orphan { payload, .. } => payload.take(),
            _ => None,
        }
    }

    /// Gives the payload back: the kernel still has the operation.
    pub(crate) fn return_payload(&mut self, returned: D) {
        match self {
            Lifecycle::Orphan { payload, .. } if payload.is_none() => *payload = Some(returned),
            _ => panic!("a payload is returned only to the orphan it was taken from"),
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
