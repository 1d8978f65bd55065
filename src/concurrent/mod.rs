//! Several futures in one task: each is polled as a part of the future that awaits them.
//!
//! A combinator holds its futures as [`Branches`](branches::Branches): a tuple, polled whole, or a list, of which only
//! the woken ones are polled. Both call each [`Branch`](branches::Branch), which keeps its output until all are taken.
//! What ends the wait early is the branches' common `stop`: nothing for `join`, the first error for `try_join`, the
//! index of the winner for `race`.

mod branches;
mod join;
mod race;
mod select;
mod sub_wakers;
mod try_join;
mod wait;

pub use join::{Join, JoinAll, join, join_all};
pub use race::{Race, RaceAll, Raced, race};
pub use select::{
    Select, Select2, Select3, Select4, Select5, Select6, Select7, Select8, Selecting, select,
};
pub use try_join::{TryJoin, TryJoined, try_join, try_join_all};
pub use wait::{Wait, Within, wait};
