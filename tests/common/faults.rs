//! Recorded faults.

use gimmal::runtime::Builder;
use std::sync::{Arc, Mutex};

/// The faults reported to a hook, as text.
#[derive(Clone, Default)]
pub struct Faults(Arc<Mutex<Vec<String>>>);

impl Faults {
    pub fn hear(&self, builder: Builder) -> Builder {
        let faults = self.0.clone();
        builder.on_fault(move |fault| faults.lock().unwrap().push(fault.to_string()))
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Takes the recorded faults, and checks that each of them contains the part at its position.
    #[track_caller]
    pub fn expect(&self, parts: &[&str]) {
        let faults = self.take();
        let fits = faults.len() == parts.len()
            && faults
                .iter()
                .zip(parts)
                .all(|(fault, part)| fault.contains(part));
        assert!(fits, "faults {faults:?}, expected {parts:?}");
    }
}
