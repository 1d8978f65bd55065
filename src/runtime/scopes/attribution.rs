//! Which scope is responsible for a leaf that ended `Canceled` (C7).

use super::context::{Context, SavedContext};
use crate::error::Canceled;
use crate::runtime::core::Core;
use crate::table::Key;

/// Which scopes are responsible for leaves of a child that ended `Canceled` (C7).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Attribution(u8);

impl Attribution {
    /// The child's own scope, which its handle canceled, or that of its group.
    const INSIDE: u8 = 1;
    /// A scope outside its group.
    const OUTSIDE: u8 = 2;

    #[inline]
    pub(crate) fn any(self) -> bool {
        self.0 != 0
    }

    pub(crate) fn outside(self) -> bool {
        self.0 & Attribution::OUTSIDE != 0
    }

    pub(crate) fn add(&mut self, more: Attribution) {
        self.0 |= more.0;
    }
}

impl Context {
    /// Records a scope that a cancel was attributed to, for the poller of the task or child.
    pub(super) fn note_attribution(&self, scope: Key) {
        self.attributed.set(true);
        let mut attributions = self.attributions.borrow_mut();
        if !attributions.contains(&scope) {
            attributions.push(scope);
        }
    }

    #[inline]
    pub(super) fn take_attributions(&self) -> Vec<Key> {
        match self.attributed.replace(false) {
            true => self.attributions.take(),
            false => Vec::new(),
        }
    }

    /// Clears the attributions that no poller will look at. Keeps their memory, since most tasks have no poller that does.
    #[inline]
    pub(super) fn clear_attributions(&self) {
        if self.attributed.replace(false) {
            self.attributions.borrow_mut().clear();
        }
    }
}

impl Core {
    /// Attributes a leaf that ends `Canceled` to the outermost canceled scope that it sees, and records the scope for
    /// the poller of the task or child (C7).
    pub(crate) fn attribute_canceled(&self) -> Canceled {
        if let Some(scope) = self.scope_around() {
            self.attribute_outermost(scope);
        }
        Canceled
    }

    /// Attributes a cancel below this scope to the outermost canceled scope that it sees.
    #[inline]
    pub(crate) fn attribute_outermost(&self, scope: Key) {
        let attributed = self.scopes.borrow_mut().attribute_outermost(scope);
        if let Some(scope) = attributed {
            self.context.note_attribution(scope);
        }
    }

    /// Takes the attributions of a child's poll. Those to scopes outside its group are also kept for the poller of the
    /// group.
    #[cold]
    pub(crate) fn take_attributions(
        &self,
        group: Key,
        child: Option<Key>,
        saved: &mut SavedContext,
    ) -> Attribution {
        let mut attributions = self.context.take_attributions();
        let child = child.and_then(|child| self.tasks.borrow().task_scope(child));
        let to_itself = |attributed: &Key| {
            child.is_some_and(|child| child.state.has_scope() && child.scope == *attributed)
        };
        let mut flags = 0;
        if attributions.contains(&group) || attributions.iter().any(to_itself) {
            flags |= Attribution::INSIDE;
        }
        let scopes = self.scopes.borrow();
        attributions
            .retain(|attributed| *attributed != group && scopes.is_at_or_below(group, *attributed));
        if !attributions.is_empty() {
            flags |= Attribution::OUTSIDE;
        }
        saved.attributions.append(&mut attributions);
        Attribution(flags)
    }

    /// Whether a scope outside this one canceled it.
    pub(crate) fn is_canceled_from_outside(&self, scope: Key) -> bool {
        let outermost = self.scopes.borrow().outermost(scope);
        outermost.is_some_and(|outermost| outermost != scope)
    }
}
