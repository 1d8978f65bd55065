//! Rows with keys: the structure of the runtime's tables.
//!
//! A [`Table`] stores rows and gives each a [`Key`]: an index, and a generation that tells a row from earlier ones at
//! the same index. Nothing here knows what a row means, makes a system call or holds a pointer.
//!
//! - **T1** A key names one row or none. It is compared in full on every lookup by key.
//! - **T2** A row stays at its index until it is removed.
//! - **T3** Growing copies at most one chunk of rows, however many there are: a growing table does not stall a turn.
//!   Neither does one that releases memory.
//! - **T4** A key is not reused before its row has had 2³¹ more values: a released chunk leaves the highest generation
//!   of its rows behind, from which all of them continue when it is allocated again.

#![forbid(unsafe_code)]

mod cell;
mod key;
mod leaf;
mod rows;

pub(crate) use cell::TableCell;
pub(crate) use key::Key;
pub(crate) use leaf::{Leaf, LeafKind, Owner, OwnerKind};
pub(crate) use rows::{Excess, Table};
