//! Texts that many accounts have, held once: each event comes with a copy of its own.

use std::collections::HashSet;

use super::account::Account;
use super::slot::Slot;
use crate::event::{AccountId, Handle, Namespace, Text};

/// No more texts are remembered than this. Where there are more the accounts hold copies, and all is well otherwise.
const TEXTS_MAX: usize = 4096;

/// Texts that were met, so that the next account with one of them shares it.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedTexts(HashSet<Text>);

impl SharedTexts {
    /// Has the life of an account that counts now share its texts with others, and with itself.
    pub(super) fn share(&mut self, slot: &mut Slot) {
        let Account { id, handle, owner, namespace, environment, .. } = slot.current_mut();
        if handle.0 == id.0 {
            *handle = Handle(id.0.clone());
        }
        if let Some(AccountId(text)) = owner {
            self.once(text);
        }
        if let Some(Namespace(text)) = namespace {
            self.once(text);
        }
        if let Some(text) = environment {
            self.once(text);
        }
    }

    fn once(&mut self, text: &mut Text) {
        if let Some(known) = self.0.get(text) {
            *text = known.clone();
        } else if self.0.len() < TEXTS_MAX {
            self.0.insert(text.clone());
        }
    }
}
