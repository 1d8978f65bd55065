//! `Debug` of futures, without the futures inside, which need not implement it.

macro_rules! opaque_debug {
    ($($type:ident)+) => {$(
        impl<F> std::fmt::Debug for $type<F> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    )+};
}

pub(crate) use opaque_debug;
