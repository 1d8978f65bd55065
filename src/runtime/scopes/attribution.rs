//! Which scope is responsible for a leaf that ended `Canceled` (C7).

use crate::runtime::core::Core;
use crate::table::Key;

impl Core {
    /// Attributes a leaf that ends `Canceled` to the outermost canceled scope that it sees, and records the scope for
    /// the poller of the task or child (C7).
    pub(crate) fn attribute_canceled(&self) {
        if let Some(scope) = self.scope_around() {
            self.attribute_outermost(scope);
        }
    }

    /// Attributes a cancel below this scope to the outermost canceled scope that it sees.
    #[inline]
    pub(crate) fn attribute_outermost(&self, scope: Key) {
        let attributed = self.scopes.borrow_mut().attribute_outermost(scope);
        if let Some(scope) = attributed {
            self.note_attribution(scope);
        }
    }

    pub(super) fn note_attribution(&self, scope: Key) {
        self.attributed.set(true);
        let mut attributions = self.attributions.borrow_mut();
        if !attributions.contains(&scope) {
            attributions.push(scope);
        }
    }

    /// Whether a scope outside this one canceled it.
    pub(crate) fn is_canceled_from_outside(&self, scope: Key) -> bool {
        let outermost = self.scopes.borrow().outermost(scope);
        outermost.is_some_and(|outermost| outermost != scope)
    }
}
