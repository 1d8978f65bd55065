//! Rows with names: what the four tables of the runtime are made of.
//!
//! A [`Table`] keeps rows and names each by a [`Key`]: an index, and a generation that tells a row from the one that had
//! its place before. Nothing here knows what a row means, makes a system call or holds a pointer.
//!
//! - **T1** A key names one row or none. It is compared in full on every look-up by key.
//! - **T2** A row stays at its index until it is removed.
//! - **T4** `next_index` says where the next row will be.
//! - **T3** Growing copies at most one chunk of rows, however many there are: a table that grows does not stall a turn. Nor does
//!   one that gives memory back.
//! - **T5** A key that was given is not given again before its row has had 2³¹ values more: a chunk that is given back leaves the
//!   highest generation of its rows behind, from which all of them go on when it is made again.

#![forbid(unsafe_code)]

mod key;
mod leaf;
mod rows;

pub(crate) use key::Key;
pub(crate) use leaf::{Kind, Leaf, Owner};
pub(crate) use rows::Table;
